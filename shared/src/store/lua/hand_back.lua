-- Gives claimed jobs back to the queue on shutdown. No attempt is charged.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = worker, then pairs of job id, epoch
-- Returns: one refusal code per job
local out = {}
for i = 2, #ARGV, 2 do
  local id = ARGV[i]
  local job = record(job_key(id))
  local no = refusal(job, ARGV[i + 1], { checking = true }, '')
  if no == 0 then enqueue(id, job, 'queued', 'hand_back', { by = ARGV[1] }) end
  out[#out + 1] = no
end
return out
