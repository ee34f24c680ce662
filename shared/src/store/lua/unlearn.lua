-- Takes back what only a block said that is no more: without a job, nothing else would bring it about again. Payments and
-- registrations get one; a payment that was never delivered to this Redis is forgotten, so that it can be.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = lease value, 2 = who, 3 = the block up to which it is not so, then pairs: a member of `learned`, a new job id
-- Returns: how many were taken back; -1 lease not ours
if not is_fenced_in(ARGV[1]) then return -1 end
local line = function() return { by = ARGV[2], block = ARGV[3] } end

-- The sums of an affiliate without a payment whose job was removed after it was done.
local function uncount(payment, archived)
  local k = key('affiliate:') .. payment.referrer
  local sums = redis.call('HMGET', k, 'past_usdc', 'past_sge')
  redis.call('HINCRBY', k, 'past_done', -1)
  if archived then redis.call('HINCRBY', k, 'past_' .. archived, 1) end
  redis.call('HSET', k, 'past_usdc', sub(sums[1] or '0', payment.usdc), 'past_sge', sub(sums[2] or '0', payment.sge))
end

local take_back = {}

function take_back.payment(id, job)
  local k = key('payment:') .. id
  local payment = record(k)
  local was_done = payment.archived == 'done'
  if payment.decision ~= 'paid_on_chain' and not was_done then return 0 end
  if not payment.fingerprint and payment.refunded then
    -- A refund that came first stays, and meets the payment when that is delivered.
    redis.call('HDEL', k, 'decision', 'paid_block', 'paid_hash', 'referrer', 'usdc', 'sge')
    return 1
  elseif not payment.fingerprint then
    redis.call('ZREM', key('payments:') .. payment.wallet, id)
    redis.call('DEL', k)
    return 1
  end
  local refunded = payment.refunded and cmp(payment.refunded, payment.amount) >= 0
  if was_done then uncount(payment, refunded and 'cancelled') end
  redis.call('HDEL', k, 'paid_block', 'paid_hash', 'archived', 'archived_at')
  if refunded then
    if was_done then redis.call('HSET', k, 'archived', 'cancelled', 'archived_at', NOW) end
    redis.call('HSET', k, 'decision', 'refunded', 'refund_outcome', 'cancelled')
    owe_nothing(id)
    return 1
  end
  redis.call('HSET', k, 'decision', 'due', 'job', job)
  local payload = cjson.encode({ kind = 'payout', payment_id = id, source = payment.source, child = payment.wallet,
    external_id = payment.external_id, referrer = payment.referrer, usdc = payment.usdc, sge = payment.sge })
  local referral = record(key('referral:') .. payment.wallet)
  start_payout(job, id, payload, payment.wallet, { status = referral.status, referrer = payment.referrer }, 0, line())
  return 1
end

function take_back.referral(child, job)
  local k = key('referral:') .. child
  local referral = record(k)
  if referral.status ~= 'registered' or is_carried(referral.job) then return 0 end
  if referral.archived then
    redis.call('HDEL', k, 'archived')
    redis.call('HINCRBY', key('affiliate:') .. referral.referrer, 'past_children', -1)
  end
  local payload = cjson.encode({ kind = 'register', child = child, referrer = referral.referrer })
  start_registration(job, child, referral.referrer, payload, line())
  return 1
end

local taken = 0
for i = 4, #ARGV, 2 do
  local kind, id = string.match(ARGV[i], '^(%a+):(.+)$')
  taken = taken + take_back[kind](id, ARGV[i + 1])
  redis.call('ZREM', key('learned'), ARGV[i])
end
return taken
