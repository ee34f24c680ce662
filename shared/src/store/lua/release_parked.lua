-- Queues jobs parked under a gate that is open again, longest parked first.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = gate, 2 = at most this many
-- Returns: how many were released; -1 while the gate is closed
local gate = ARGV[1]
if redis.call('HEXISTS', key('gate'), gate) == 1 then return -1 end
local parked = redis.call('ZRANGE', key('parked:') .. gate, 0, ARGV[2] - 1)
for _, id in ipairs(parked) do
  local job = record(job_key(id))
  if job.stage == 'gated' and job.gate == gate then
    enqueue(id, job, 'queued', 'release', { gate = gate })
  else
    redis.call('ZREM', key('parked:') .. gate, id)
  end
end
if #parked < tonumber(ARGV[2]) then redis.call('SREM', key('parking'), gate) end
return #parked
