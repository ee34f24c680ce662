-- Takes jobs that the chain already shows as done, and those that failed and are done there all the same, to `confirming`.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = who, 2 = lease value or '', then triples of job id, epoch, block
-- Returns: one refusal code per job
local who, fence, out = ARGV[1], ARGV[2], {}
for i = 3, #ARGV, 3 do
  local id, block = ARGV[i], ARGV[i + 2]
  local job = record(job_key(id))
  local no = refusal(job, ARGV[i + 1], { checking = true, ready = true, failed = true }, fence)
  if no == 0 then
    settle(id, job, { by = who }, block)
  end
  out[#out + 1] = no
end
return out
