-- Settles the payouts that wait for a child's registration: queues them once it is on-chain, and with them those that
-- failed with an earlier registration; fails them once it failed for good.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = child, 2 = at most this many
-- Returns: how many were looked at; 0 when nothing is left
local child, most = ARGV[1], tonumber(ARGV[2])
local verdict = redis.call('HGET', key('unblock'), child)
if not verdict then return 0 end
local waiting, stranded = key('waiting:') .. child, key('stranded:') .. child
local looked_at = 0

-- Every job looked at leaves its set, so that this ends.
local function each(set, act)
  for _, id in ipairs(redis.call('SRANDMEMBER', set, most - looked_at)) do
    redis.call('SREM', set, id)
    act(id, record(job_key(id)))
    looked_at = looked_at + 1
  end
end

local function release(id, job)
  local class = job.stage == 'failed' and job.error and cjson.decode(job.error).class
  if job.stage == 'waiting' or class == 'registration_failed' then enqueue(id, job, 'queued', 'release') end
end

local function strand(id, job)
  if job.stage ~= 'waiting' then return end
  local failure = { class = 'registration_failed', reason = 'the registration of ' .. child .. ' failed' }
  count('failure:registration_failed')
  fail(id, job, { class = failure.class, reason = failure.reason }, 'error', cjson.encode(failure))
end

if verdict == 'release' then
  each(waiting, release)
  each(stranded, release)
else
  each(waiting, strand)
end
if looked_at < most then redis.call('HDEL', key('unblock'), child) end
return looked_at
