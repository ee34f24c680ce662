-- Claims jobs that were read from the stream: a new epoch for each, so that an earlier claimant changes nothing more.
-- An entry that is not the one its job names is acknowledged and deleted.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = worker, then pairs of entry id, job id
-- Returns: one array per claimed job, as `brief` in lib.lua gives it
local worker, out = ARGV[1], {}
for i = 2, #ARGV, 2 do
  local entry, id = ARGV[i], ARGV[i + 1]
  local job = record(job_key(id))
  local claimable = job.stage == 'queued' or job.stage == 'retrying' or job.stage == 'checking'
  if job.entry == entry and claimable then
    job.epoch = string.format('%.0f', job.epoch + 1)
    -- The entry stays pending in the group until the verdict is stored.
    local before = job.stage
    job.stage = 'checking'
    move(id, job, 'checking', 'claim', { by = worker, from = before }, 'epoch', job.epoch, 'worker', worker)
    out[#out + 1] = brief(id, job)
  else
    redis.call('XACK', key('jobs'), 'relayers', entry)
    redis.call('XDEL', key('jobs'), entry)
    count('stale_entries')
  end
end
return out
