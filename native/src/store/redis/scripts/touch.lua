-- Loads a record and extends its life; never shortens it.
-- KEYS: record. ARGV: expiry (8 bytes), milliseconds to live.
if redis.call('STRLEN', KEYS[1]) == 0 then return false end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('SETRANGE', KEYS[1], 16, ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return redis.call('GET', KEYS[1])
