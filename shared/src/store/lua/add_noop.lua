-- Adds jobs that nobody is paid by, for measurements: no payment, no delivery and no wallet is recorded with them.
-- KEYS: 1 = lane prefix
-- ARGV: per job: id, payload of a payout
-- Returns: per job {0, '', job id}
local out, line = {}, { by = 'bench' }
for i = 1, #ARGV, 2 do
  local id = ARGV[i]
  enqueue(id, { kind = 'payout' }, 'queued', 'accept', line, 'kind', 'payout', 'payload', ARGV[i + 1], 'created_at', NOW)
  out[#out + 1] = { 0, '', id }
end
return out
