-- Replaces the record of the expected version; never creates one.
-- KEYS: record. ARGV: expected version, value, milliseconds to live, PUBLISH or SPUBLISH or nothing, channel, message.
-- 0: there is none; 1: stored; 2: stored, and to be filed under its subject; a string: the other version that is stored.
local head = redis.call('GETRANGE', KEYS[1], 0, 71)
if head == '' then return 0 end
local nonces = string.sub(head, 9, 16) .. string.sub(head, 41, 72)
if string.sub(head, 1, 16) ~= ARGV[1] then
  if #head == 72 then
    -- By an earlier try of this call, upon which others may have built since: counters go up by one.
    local since = struct.unpack('>I8', head) - struct.unpack('>I8', ARGV[2])
    if since >= 0 and string.sub(nonces, since * 8 + 1, since * 8 + 8) == string.sub(ARGV[2], 9, 16) then return 2 end
  end
  return redis.call('GET', KEYS[1])
end
-- First: a script isn't rolled back, and nothing may be written whose message is refused.
if ARGV[4] ~= '' then redis.call(ARGV[4], ARGV[5], ARGV[6]) end
local value = string.sub(ARGV[2], 1, 40) .. string.sub(nonces, 1, 32) .. string.sub(ARGV[2], 73)
redis.call('SET', KEYS[1], value, 'PX', ARGV[3])
return string.sub(head, 25, 40) == string.sub(ARGV[2], 25, 40) and 1 or 2
