-- Deletes a record. An empty value takes its place for a while, a tombstone, so that it stays deleted.
-- KEYS: record. ARGV: milliseconds to live of the tombstone, PUBLISH or SPUBLISH or nothing, channel, message.
-- 1: deleted; 0: there was none. The message is sent in both cases: an earlier try may have been cut off from its subscribers.
if ARGV[2] ~= '' then redis.call(ARGV[2], ARGV[3], ARGV[4]) end
if redis.call('STRLEN', KEYS[1]) == 0 then return 0 end
-- First something that needs no memory: what has written is not refused for want of it any more. And the key stays there all along: while its slot
-- moves, one that is missing is another node's.
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('SET', KEYS[1], '', 'PX', ARGV[1])
return 1
