-- Gives the lease up if it is still exactly ours, and wakes the followers.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = our value
-- Returns: 1 released, 0 was not ours
if redis.call('GET', key('lease')) ~= ARGV[1] then return 0 end
redis.call('DEL', key('lease'))
redis.call('XADD', key('lease:changes'), 'MAXLEN', '~', 100, '*', 'at', NOW, 'event', 'released', 'value', ARGV[1])
feed('type', 'lease', 'event', 'released', 'value', ARGV[1])
return 1
