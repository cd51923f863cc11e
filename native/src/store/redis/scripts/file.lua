-- Files a session under its subject, and takes out those beyond the limit: the ones that were used least recently.
-- KEYS: index of the subject. ARGV: session, until when it may live, now, milliseconds to live of the index, limit (0: none).
-- The sessions that were taken out.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[3])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
local out = {}
local limit = tonumber(ARGV[5])
local surplus = limit > 0 and redis.call('ZCARD', KEYS[1]) - limit or 0
if surplus > 0 then
  for _, session in ipairs(redis.call('ZRANGE', KEYS[1], 0, surplus)) do
    if #out < surplus and session ~= ARGV[1] then
      redis.call('ZREM', KEYS[1], session)
      out[#out + 1] = session
    end
  end
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return out
