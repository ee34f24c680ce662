-- Takes jobs that the chain shows as done, without a transaction that we know of, to `confirming`.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = who, 2 = lease value or '', then triples of job id, epoch, block
-- Returns: one refusal code per job
local who, fence, out, lines, fields = ARGV[1], ARGV[2], {}, {}, fields_of(UNCARRIED)
for i = 3, #ARGV, 3 do
  local id, block = ARGV[i], ARGV[i + 2]
  local job = job_of(id, fields)
  local no = refusal(job, ARGV[i + 1], UNCARRIED, fence)
  if no == 0 then
    lines[block] = lines[block] or { by = who }
    settle(id, job, lines[block], block)
  end
  out[#out + 1] = no
end
return out
