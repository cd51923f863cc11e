-- Loads a record and extends its life; never shortens it.
-- KEYS: record. ARGV: expiry (8 bytes), milliseconds to live.
if redis.call('STRLEN', KEYS[1]) == 0 then return false end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  -- First what needs no memory: a script that has written is not refused for want of it any more, and pages are read while the server is full.
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  redis.call('SETRANGE', KEYS[1], 16, ARGV[1])
end
return redis.call('GET', KEYS[1])
