-- Claims jobs that were read from the stream: a new epoch for each, so that an earlier claimant changes nothing more.
-- An entry that is not the one its job names is acknowledged and deleted.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = worker, then pairs of entry id, job id
-- Returns: one array per claimed job, as `brief` in lib/moves.lua gives it
local out = {}
for i = 2, #ARGV, 2 do
  local entry, id = ARGV[i], ARGV[i + 1]
  local job = record(job_key(id))
  if job.entry == entry and CLAIMABLE[job.stage] then
    claim(id, job, ARGV[1])
    out[#out + 1] = brief(id, job)
  else
    drop_entry(entry)
  end
end
return out
