-- Extends the lease if it is still exactly ours.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = our value, 2 = ttl in ms
-- Returns: 1 extended, 0 lost
if redis.call('GET', key('lease')) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', key('lease'), ARGV[2])
return 1
