-- Takes jobs that the chain already shows as done to `confirming` without a nonce; the leader finishes them N deep.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = who, 2 = lease value or '', then triples of job id, epoch, block
-- Returns: one refusal code per job
local who, fence, out = ARGV[1], ARGV[2], {}
for i = 3, #ARGV, 3 do
  local id, block = ARGV[i], ARGV[i + 2]
  local job = record(job_key(id))
  local no = refusal(job, ARGV[i + 1], { checking = true, ready = true }, fence)
  if no == 0 then
    move(id, job, 'confirming', 'settle', { by = who, block = block }, 'block', block)
    redis.call('ZADD', key('settling'), block, id)
  end
  out[#out + 1] = no
end
return out
