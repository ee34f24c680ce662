-- Takes over one entry whose worker went silent. One at a time, so that a job that kills its worker is alone when it does
-- so again; only these deliveries count, and the job that keeps coming back is dead-lettered.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = worker, 2 = least idle ms, 3 = cursor, 4 = the most deliveries after a death
-- Returns: {next cursor, entries found deleted while pending, id of a job dead-lettered as poison or ''}, and a fourth
--          element, as `brief` in lib/moves.lua gives it, when a job was taken over
local worker, most = ARGV[1], tonumber(ARGV[4])
local reply = redis.call('XAUTOCLAIM', key('jobs'), 'relayers', worker, ARGV[2], ARGV[3], 'COUNT', 1)
local deleted = reply[3] and #reply[3] or 0
if deleted > 0 then count('deleted_entries', deleted) end
local out = { reply[1], deleted, '' }
local found = reply[2][1]
if not found then return out end

local entry, id = found[1], found[2][2]
local job = record(job_key(id))
if job.entry ~= entry or not CLAIMABLE[job.stage] then
  drop_entry(entry)
  return out
end
local deliveries = tonumber(job.redelivered or '0') + 1
claim(id, job, worker, deliveries)
if deliveries <= most then
  out[4] = brief(id, job)
  return out
end
local failure = { class = 'poison', reason = 'its workers died ' .. deliveries .. ' times while they handled it' }
count('failure:poison')
fail(id, job, { by = worker, class = failure.class, reason = failure.reason }, 'error', cjson.encode(failure))
out[3] = id
return out
