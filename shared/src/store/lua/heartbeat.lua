-- Tells the fleet that a relayer lives and what it does, and forgets relayers that have been silent for long.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = worker, 2 = milliseconds of silence after which a relayer is forgotten, 3 = milliseconds since this one
--       started, then pairs of field, value; an empty value takes the field away
-- Returns: how many relayers were forgotten
local worker, fleet = ARGV[1], key('fleet')
local k = key('fleet:') .. worker
-- Two commands for all fields: thirty relayers do this every few seconds.
local gone, fields = {}, {}
for i = 4, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    gone[#gone + 1] = ARGV[i]
  else
    fields[#fields + 1] = ARGV[i]
    fields[#fields + 1] = ARGV[i + 1]
  end
end
if #gone > 0 then redis.call('HDEL', k, unpack(gone)) end
-- Where no field is new, the record is not.
if #fields > 0 and redis.call('HSET', k, unpack(fields)) > 0 then
  redis.call('HSETNX', k, 'started_at', digits(NOW - ARGV[3]))
end
redis.call('PEXPIRE', k, ARGV[2])
if redis.call('ZADD', fleet, NOW, worker) == 1 then feed('type', 'relayer', 'event', 'joined', 'worker', worker) end
return redis.call('ZREMRANGEBYSCORE', fleet, '-inf', '(' .. digits(NOW - ARGV[2]))
