-- Claims jobs of the stream: a new epoch for each, so that an earlier claimant changes nothing more. Those of entries that were
-- read before come first, then those of new ones. An entry that is not the one its job names is acknowledged and deleted.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = worker, 2 = at most so many new entries, then pairs of entry id, job id: entries that were read before
-- Returns: {how many entries there were, one array per claimed job, as `brief` in lib/moves.lua gives it}
local worker, count, entries, out = ARGV[1], tonumber(ARGV[2]), (#ARGV - 2) / 2, {}
local fields = fields_of({ queued = true }, unpack(OF_A_BRIEF))

local function take(entry, id)
  local job = job_of(id, fields)
  if job.entry == entry and CLAIMABLE[job.stage] then
    claim(id, job, worker)
    out[#out + 1] = brief(id, job)
  else
    drop_entry(entry)
  end
end

for i = 3, #ARGV, 2 do take(ARGV[i], ARGV[i + 1]) end
if count > 0 then
  local read = redis.call('XREADGROUP', 'GROUP', 'relayers', worker, 'COUNT', count, 'STREAMS', key('jobs'), '>')
  for _, found in ipairs(read and read[1][2] or {}) do
    entries = entries + 1
    take(found[1], found[2][2])
  end
end
return { entries, out }
