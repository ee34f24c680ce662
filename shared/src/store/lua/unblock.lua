-- Settles the payouts that wait for a child's registration: queues them once it is on-chain, fails them once it failed
-- for good. Payouts that failed with an earlier registration are picked up too.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = child, 2 = at most this many
-- Returns: how many were looked at; 0 when nothing is left
local child = ARGV[1]
local verdict = redis.call('HGET', key('unblock'), child)
if not verdict then return 0 end
local waiting = redis.call('SRANDMEMBER', key('waiting:') .. child, ARGV[2])
local moved = 0
for _, id in ipairs(waiting) do
  local job = record(job_key(id))
  local class = job.error and cjson.decode(job.error).class
  if verdict == 'release' then
    if job.stage == 'waiting' or (job.stage == 'failed' and class == 'registration_failed') then
      enqueue(id, job, 'queued', 'release')
    end
    redis.call('SREM', key('waiting:') .. child, id)
    moved = moved + 1
  elseif job.stage == 'waiting' then
    local failure = { class = 'registration_failed', reason = 'the registration of ' .. child .. ' failed' }
    count('failure:registration_failed')
    move(id, job, 'failed', 'fail', { class = failure.class, reason = failure.reason }, 'error', cjson.encode(failure))
    moved = moved + 1
  end
end
if moved == 0 and (verdict == 'release' or #waiting < tonumber(ARGV[2])) then redis.call('HDEL', key('unblock'), child) end
return #waiting
