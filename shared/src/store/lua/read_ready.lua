-- Reads what waits for a nonce, oldest first, and drops entries that their job no longer names.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = lease value, 2 = at most this many, 3 = only entries after this one
-- Returns: {0, newest entry id looked at} and one `brief` per job; {1} when the lease is not ours
if not is_fenced_in(ARGV[1]) then return { 1 } end
local out, fields = { 0, ARGV[3] }, fields_of({ ready = true }, unpack(OF_A_BRIEF))
for _, entry in ipairs(redis.call('XRANGE', key('ready'), '(' .. ARGV[3], '+', 'COUNT', ARGV[2])) do
  local id = entry[2][2]
  local job = job_of(id, fields)
  if job.stage == 'ready' and job.entry == entry[1] then
    out[#out + 1] = brief(id, job)
  else
    redis.call('XDEL', key('ready'), entry[1])
    count('stale_entries')
  end
  out[2] = entry[1]
end
return out
