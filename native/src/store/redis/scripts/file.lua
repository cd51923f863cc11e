-- Files a session under its subject; or, later, condemns those beyond the limit: the ones that end first, but not this one.
-- KEYS: index of the subject, its condemned sessions if there is a limit. ARGV: session, until when it may live, now, milliseconds to live of the index,
-- limit (0: none), 0 to file or 1 to condemn.
-- How many are beyond the limit, then all condemned ones: they are named to everyone until they are deleted and taken out.
local limit = tonumber(ARGV[5])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[3])
-- One that was condemned meanwhile, by a later one, stays so.
local is_condemned = limit > 0 and redis.call('SISMEMBER', KEYS[2], ARGV[1]) == 1
if ARGV[6] == '0' and not is_condemned then redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1]) end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
if limit == 0 then return {0} end
local surplus = math.max(redis.call('ZCARD', KEYS[1]) - limit, 0)
if surplus > 0 and ARGV[6] == '1' then
  local left = surplus
  for _, session in ipairs(redis.call('ZRANGE', KEYS[1], 0, surplus)) do
    if left > 0 and session ~= ARGV[1] then
      redis.call('ZREM', KEYS[1], session)
      redis.call('SADD', KEYS[2], session)
      left = left - 1
    end
  end
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
end
return {surplus, unpack(redis.call('SMEMBERS', KEYS[2]))}
