-- Takes the lease if nobody holds it.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = boot uuid, 2 = ttl in ms
-- Returns: {1, value} when taken; {0, value of the holder, its remaining ms} otherwise
local k = key('lease')
local holder = redis.call('GET', k)
if holder then return { 0, holder, redis.call('PTTL', k) } end
local term = redis.call('INCR', key('term'))
local value = ARGV[1] .. ':' .. digits(term)
redis.call('SET', k, value, 'PX', ARGV[2])
redis.call('XADD', key('lease:changes'), 'MAXLEN', '~', 100, '*', 'at', NOW, 'event', 'acquired', 'value', value)
feed('type', 'lease', 'event', 'acquired', 'value', value)
return { 1, value }
