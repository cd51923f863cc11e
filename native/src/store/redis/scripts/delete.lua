-- Deletes a record, and leaves a tombstone, so that it stays deleted.
-- KEYS: record, its tombstone. ARGV: milliseconds to live of the tombstone, PUBLISH or SPUBLISH or nothing, channel, message.
-- 1: deleted; 0: there was none. The message is sent in both cases: an earlier try may have been cut off from its subscribers.
if ARGV[2] ~= '' then redis.call(ARGV[2], ARGV[3], ARGV[4]) end
local deleted = redis.call('UNLINK', KEYS[1])
-- After the deletion: what has written is not refused for want of memory any more.
if deleted == 1 then redis.call('SET', KEYS[2], '', 'PX', ARGV[1]) end
return deleted
