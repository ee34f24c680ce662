-- Hands checked jobs to the leader. One whose full refund arrived while a nonce held it that the journal has lost since is
-- cancelled: it would never be signed.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = worker, then pairs of job id, epoch
-- Returns: one refusal code per job
local out, line = {}, { by = ARGV[1] }
local from = { checking = true }
local fields = fields_of(from, 'payment', 'refund_requested')
for i = 2, #ARGV, 2 do
  local id = ARGV[i]
  local job = job_of(id, fields)
  local no = refusal(job, ARGV[i + 1], from, '')
  if no == 0 and job.refund_requested == '1' then
    cancel_unpaid(id, job, 'cancel', { by = ARGV[1] })
  elseif no == 0 then
    hand_over(id, job, 'ready', line)
  end
  out[#out + 1] = no
end
return out
