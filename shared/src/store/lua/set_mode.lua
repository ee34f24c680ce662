-- Sets how a referrer is paid, from the next accepted payment on.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = referrer, 2 = mode, 3 = actor
-- Returns: the previous mode
local k = key('affiliate:') .. ARGV[1]
local previous = redis.call('HGET', k, 'mode') or 'usdc'
redis.call('HSET', k, 'mode', ARGV[2], 'updated_at', NOW)
audit(ARGV[3], 'set_mode', previous .. ' -> ' .. ARGV[2], ARGV[1])
return previous
