-- Deletes a record.
-- KEYS: record. ARGV: PUBLISH or SPUBLISH or nothing, channel, message.
-- 1: deleted; 0: there was none. The message is sent in both cases: an earlier try may have been cut off from its subscribers.
if ARGV[1] ~= '' then redis.call(ARGV[1], ARGV[2], ARGV[3]) end
return redis.call('UNLINK', KEYS[1])
