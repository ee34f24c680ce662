-- Takes back what only a block said that is no more: without a job, nothing else would bring it about again. Payments and
-- registrations get one. A payment that was never delivered to this Redis is forgotten, so that it can be, and people are told.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = lease value, 2 = who, 3 = the block at which it is not so, then pairs: a member of `learned`, a new job id
-- Returns: {code, how many were taken back}, and the members that cannot be read and stay as they are; code: 0 done,
--          1 lease not ours
if not is_fenced_in(ARGV[1]) then return { 1, 0 } end
local out, missed = { 0, 0 }, {}
local function line() return { by = ARGV[2], block = ARGV[3] } end

local take_back = {}

function take_back.payment(id, job)
  local k = key('payment:') .. id
  local payment = record(k)
  if payment.decision ~= 'paid_on_chain' then return 0 end
  if not payment.fingerprint then
    if payment.refunded then
      -- A refund that came first stays, and meets the payment when that is delivered.
      redis.call('HDEL', k, 'decision', 'paid_block', 'paid_hash', 'referrer', 'usdc', 'sge')
    else
      redis.call('ZREM', key('payments:') .. payment.wallet, id)
      redis.call('DEL', k)
    end
    missed[#missed + 1] = id
    return 1
  end
  -- Nothing is written before all of it could be read.
  local refunded = payment.refunded and cmp(payment.refunded, payment.amount) >= 0
  local status = redis.call('HGET', key('referral:') .. payment.wallet, 'status')
  for _, field in ipairs({ 'source', 'external_id', 'referrer', 'usdc', 'sge' }) do assert(payment[field], field) end
  local payload = cjson.encode({ source = payment.source, child = payment.wallet,
    external_id = payment.external_id, referrer = payment.referrer, usdc = payment.usdc, sge = payment.sge })
  redis.call('HDEL', k, 'paid_block', 'paid_hash')
  if refunded then
    redis.call('HSET', k, 'decision', 'refunded', 'refund_outcome', 'cancelled')
    owe_nothing(id)
    return 1
  end
  -- It waits only where somebody is on the way to register the wallet; otherwise the check finds out.
  local waits = status == 'registering' or status == 'failed'
  local referral = { status = waits and status or 'registered', referrer = payment.referrer }
  start_payout(job, id, payload, payment.wallet, referral, 0, line())
  redis.call('HSET', k, 'decision', 'due', 'job', job)
  redis.call('ZREM', key('payments:') .. payment.wallet, id)
  return 1
end

-- A payout that was checked meanwhile may have found out before, and called it failed.
function take_back.referral(child, job)
  local referral = record(key('referral:') .. child)
  local is_open = referral.status == 'registered' or referral.status == 'failed'
  if not is_open or is_carried(referral.job) then return 0 end
  local payload = cjson.encode({ child = child, referrer = referral.referrer })
  start_registration(job, child, referral.referrer, payload, line())
  return 1
end

for i = 4, #ARGV, 2 do
  local kind, id = string.match(ARGV[i], '^(%a+):(.+)$')
  local could, taken = pcall(take_back[kind], id, ARGV[i + 1])
  if could then
    out[2] = out[2] + taken
    redis.call('ZREM', key('learned'), ARGV[i])
  else
    out[#out + 1] = ARGV[i]
  end
end

if #missed > 0 then
  for _, id in ipairs(missed) do
    audit(ARGV[2], 'unlearned', 'paid in a block that is no more at ' .. ARGV[3] .. ', and its webhook never came', id)
  end
  close_gate('lane:reconcile', 'of payments in blocks that are no more, this Redis never got the webhooks (' .. #missed
    .. '): have them delivered again, or they are not paid. `audit` names each as `unlearned`; the first is ' .. missed[1],
    ARGV[2], NOW)
end
return out
