-- Tells the fleet that a relayer lives and what it does, and forgets relayers that have been silent for long.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = worker, 2 = milliseconds of silence after which a relayer is forgotten, 3 = milliseconds since this one
--       started, then pairs of field, value; an empty value takes the field away
-- Returns: how many relayers were forgotten
local worker, fleet = ARGV[1], key('fleet')
local k = key('fleet:') .. worker
for i = 4, #ARGV, 2 do
  if ARGV[i + 1] == '' then redis.call('HDEL', k, ARGV[i]) else redis.call('HSET', k, ARGV[i], ARGV[i + 1]) end
end
redis.call('HSETNX', k, 'started_at', string.format('%.0f', NOW - ARGV[3]))
redis.call('PEXPIRE', k, ARGV[2])
if redis.call('ZADD', fleet, NOW, worker) == 1 then feed('type', 'relayer', 'event', 'joined', 'worker', worker) end
return redis.call('ZREMRANGEBYSCORE', fleet, '-inf', string.format('(%.0f', NOW - ARGV[2]))
