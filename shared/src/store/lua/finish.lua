-- Takes jobs to `done`: the contract's own state says so at the configured depth.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = lease value, then per job: job id, epoch, block, hash or '', log index or ''
-- Returns: one refusal code per job
local fence, out = ARGV[1], {}
local from = { submitted = true, confirming = true }
local fields = fields_of(from, 'payment', 'refund_requested', 'error', 'pack_max')

-- Jobs of one transaction share the line.
local lines = {}
local function line_of(block, hash, nonce)
  local like = block .. ' ' .. hash .. ' ' .. (nonce or '')
  lines[like] = lines[like] or { block = block, hash = hash, nonce = nonce, fence = fence }
  return lines[like]
end

for i = 2, #ARGV, 5 do
  local id, block, hash = ARGV[i], ARGV[i + 2], ARGV[i + 3]
  local job = job_of(id, fields)
  local no = refusal(job, ARGV[i + 1], from, fence)
  if no == 0 then
    move(id, job, 'done', 'finish', line_of(block, hash, job.nonce), 'block', block, 'hash', hash, 'log_index',
      ARGV[i + 4], 'done_at', NOW)
    if job.error or job.pack_max then redis.call('HDEL', job_key(id), 'error', 'pack_max') end
    count('done:' .. job.kind)
    if job.kind == 'register' then
      local asked = asked_of(id, job)
      registered(asked.child, asked.referrer, block)
    elseif job.refund_requested == '1' then
      local due = redis.call('HMGET', key('payment:') .. job.payment, 'usdc', 'sge')
      owe(job.payment, due[1], due[2])
      log(id, job, { event = 'owed' })
    end
  end
  out[#out + 1] = no
end
return out
