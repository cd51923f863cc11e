-- Stores a record under a key that isn't taken, and was not a moment ago.
-- KEYS: record. ARGV: value, milliseconds to live.
-- 1: stored, or stored by an earlier try of this call; 0: taken, or deleted.
local version = redis.call('GETRANGE', KEYS[1], 0, 15)
if version == '' then
  -- A tombstone: this is a try that the network held back until the record of a later one had come and gone.
  if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 1
end
return version == string.sub(ARGV[1], 1, 16) and 1 or 0
