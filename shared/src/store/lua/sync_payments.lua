-- Holds payments that the chain shows as paid, deep enough, against what is recorded. One that is not known is marked, so
-- that it is never accepted again; a job that no transaction of ours carries is settled; where the chain paid what was not
-- due or other amounts than recorded, only people can help, and no new nonces are given out until they have.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = lease value, 2 = who, then per payment: payment id, block, hash, referrer, child, usdc, sge
-- Returns: {code, marked, settled}, and per payment that people must look at: its id and what is wrong with it; code: 0 done,
--          1 lease not ours
if not is_fenced_in(ARGV[1]) then return { 1, 0, 0 } end
local out = { 0, 0, 0 }

local function mark(k, at)
  learn('payment:' .. ARGV[at], ARGV[at + 1])
  redis.call('HSET', k, 'decision', 'paid_on_chain', 'paid_block', ARGV[at + 1], 'paid_hash', ARGV[at + 2], 'referrer',
    ARGV[at + 3], 'wallet', ARGV[at + 4], 'usdc', ARGV[at + 5], 'sge', ARGV[at + 6], 'created_at', NOW)
  redis.call('ZADD', key('payments:') .. ARGV[at + 4], NOW, ARGV[at])
  out[2] = out[2] + 1
end

-- What is wrong with a payment that was decided, at `stage` where it has a job, or had one.
local function differs(payment, stage, at)
  if payment.decision == 'paid_on_chain' then return nil end
  if not payment.job then return 'it was decided as ' .. payment.decision .. ', without a job, and it is paid' end
  if stage == 'cancelled' then return 'its job ' .. payment.job .. ' was cancelled, and it is paid' end
  for _, place in ipairs({ { 'referrer', 3 }, { 'usdc', 5 }, { 'sge', 6 } }) do
    local field, said = place[1], ARGV[at + place[2]]
    if payment[field] ~= said then
      return field .. ' is ' .. said .. ' on the chain and ' .. (payment[field] or 'nothing') .. ' in its job ' .. payment.job
    end
  end
end

local function tell(id, wrong)
  close_gate('lane:reconcile', 'payment ' .. id .. ': ' .. wrong, ARGV[2], NOW)
  out[#out + 1] = id
  out[#out + 1] = wrong
end

local function compare(id, at)
  local k = key('payment:') .. id
  local payment = record(k)
  local job = payment.job and record(job_key(payment.job)) or {}
  local wrong = payment.decision and differs(payment, job.stage or payment.archived, at)
  if not payment.decision then
    mark(k, at)
  elseif payment.decision == 'paid_on_chain' and payment.paid_block ~= ARGV[at + 1] then
    -- In another block than before.
    learn('payment:' .. id, ARGV[at + 1])
    redis.call('HSET', k, 'paid_block', ARGV[at + 1], 'paid_hash', ARGV[at + 2])
  elseif wrong and payment.disagreement ~= ARGV[at + 2] then
    -- Told once per transaction: the same events are read again after a restart, and people may have explained it meanwhile.
    redis.call('HSET', k, 'disagreement', ARGV[at + 2])
    tell(id, wrong)
  elseif not wrong and UNCARRIED[job.stage] then
    settle(payment.job, job, { by = ARGV[2] }, ARGV[at + 1])
    out[3] = out[3] + 1
  end
end

for at = 3, #ARGV, 7 do
  -- One that cannot be read keeps no other from being compared.
  local could, why = pcall(compare, ARGV[at], at)
  if not could then tell(ARGV[at], 'its record or its job cannot be read: ' .. in_words(why)) end
end
return out
