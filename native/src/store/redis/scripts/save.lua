-- Replaces the record of the expected version; never creates one.
-- KEYS: record. ARGV: expected version, value, milliseconds to live, PUBLISH or SPUBLISH or nothing, channel, message.
-- 0: there is none; 1: stored; 2: stored, and to be filed under its subject; a string: the other version that is stored.
local head = redis.call('GETRANGE', KEYS[1], 0, 39)
if head == '' then return 0 end
local version = string.sub(head, 1, 16)
if version ~= ARGV[1] then
  if version == string.sub(ARGV[2], 1, 16) then return 2 end -- by an earlier try of this call
  return redis.call('GET', KEYS[1])
end
-- First: a script isn't rolled back, and nothing may be written whose message is refused.
if ARGV[4] ~= '' then redis.call(ARGV[4], ARGV[5], ARGV[6]) end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return string.sub(head, 25, 40) == string.sub(ARGV[2], 25, 40) and 1 or 2
