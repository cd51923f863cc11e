-- Takes a lease, or takes it anew.
-- KEYS: lease. ARGV: holder, milliseconds.
-- 1: taken; 0: another holds it.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
