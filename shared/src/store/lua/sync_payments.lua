-- Holds payments that the chain shows as paid, deep enough, against what is recorded. One that is not known is marked, so
-- that it is never accepted again; a job that failed is settled; where the chain paid what was cancelled, or other amounts
-- than recorded, only people can help.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = lease value, then per payment: payment id, block, hash, referrer, child, usdc, sge
-- Returns: {code, marked, settled}, and per payment that people must look at: its id and what is wrong with it; code: 0 done,
--          1 lease not ours
if not is_fenced_in(ARGV[1]) then return { 1, 0, 0 } end
local out = { 0, 0, 0 }

local function mark(k, at)
  redis.call('HSET', k, 'decision', 'paid_on_chain', 'paid_block', ARGV[at + 1], 'paid_hash', ARGV[at + 2], 'referrer',
    ARGV[at + 3], 'wallet', ARGV[at + 4], 'usdc', ARGV[at + 5], 'sge', ARGV[at + 6], 'created_at', NOW)
  redis.call('ZADD', key('payments:') .. ARGV[at + 4], NOW, ARGV[at])
  out[2] = out[2] + 1
end

-- What is wrong with a payment that has, or had, a job.
local function differs(payment, stage, at)
  if stage == 'cancelled' then return 'its job ' .. payment.job .. ' was cancelled, and it is paid' end
  for i, field in ipairs({ 'referrer', '', 'usdc', 'sge' }) do
    local said = ARGV[at + 2 + i]
    if field ~= '' and payment[field] ~= said then
      return field .. ' is ' .. said .. ' on the chain and ' .. (payment[field] or 'nothing') .. ' in its job ' .. payment.job
    end
  end
end

for at = 2, #ARGV, 7 do
  local k = key('payment:') .. ARGV[at]
  local payment = record(k)
  if not payment.decision then
    mark(k, at)
  elseif payment.job then
    local job = record(job_key(payment.job))
    local wrong = differs(payment, job.stage or payment.archived, at)
    if wrong then
      -- Told once: the same events are read again after a restart, and people may have explained it meanwhile.
      if payment.disagreement ~= wrong then
        redis.call('HSET', k, 'disagreement', wrong)
        out[#out + 1] = ARGV[at]
        out[#out + 1] = wrong
      end
    elseif job.stage == 'failed' then
      settle(payment.job, job, { by = 'sync' }, ARGV[at + 1])
      out[3] = out[3] + 1
    end
  end
end
return out
