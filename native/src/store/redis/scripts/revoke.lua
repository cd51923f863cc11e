-- Moves the epoch of a subject on: beyond every one that it ever had, even if that is forgotten, because an epoch is a time.
-- What its index lists is dead by that, and is let go when the next session is filed. (One that signs in again is filed again when it is extended.)
-- KEYS: epoch of the subject, its index. ARGV: milliseconds to live, PUBLISH or SPUBLISH or nothing, channel, start of the message.
-- First what needs no memory, whether the key is there or not: a script that has written is not refused for want of it any more.
redis.call('PEXPIRE', KEYS[1], ARGV[1])
local now = redis.call('TIME')
local epoch = now[1] * 1000 + math.floor(now[2] / 1000)
local last = tonumber(redis.call('GET', KEYS[1]) or '0')
if epoch <= last then epoch = last + 1 end
if ARGV[2] ~= '' then redis.call(ARGV[2], ARGV[3], ARGV[4] .. struct.pack('>I8', epoch) .. string.rep('\0', 8)) end
redis.call('SET', KEYS[1], string.format('%.0f', epoch), 'PX', ARGV[1])
for _, session in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do redis.call('ZADD', KEYS[2], 0, session) end
return epoch
