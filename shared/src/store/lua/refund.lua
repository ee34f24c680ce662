-- Applies a refund once. The new total and what is owed of the commission were computed from `expected`, the total
-- refunded so far, and from the payment's amount; when either has changed meanwhile, nothing is written and the caller
-- computes again.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = source, 2 = event id, 3 = payment id, 4 = external id, 5 = fingerprint, 6 = child, 7 = expected total,
--       8 = new total, 9 = owed usdc, 10 = owed sge (both for the new total), 11 = expected amount of the payment or ''
-- Returns: {code, outcome, job id or ''}: 0 applied, 1 same delivery as before, 2 other content than before,
--          3 not synced, 4 intake is paused, 5 the total or the amount has changed

local source, event_id, payment_id, external_id, fingerprint = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local child, expected, total, owed_usdc, owed_sge = ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]
if not is_synced() then return { 3, '', '' } end
if redis.call('HEXISTS', key('gate'), 'intake') == 1 then return { 4, '', '' } end

local event_key = key('event:') .. source .. ':' .. event_id
local payment_key = key('payment:') .. payment_id
local payment = record(payment_key)

local function conflict()
  count('intake:conflict')
  note_delivery(payment.job, 'conflict', event_id)
  return { 2, '', payment.job or '' }
end

local seen = redis.call('GET', event_key)
if seen then
  if seen ~= fingerprint then return conflict() end
  count('intake:duplicate')
  return { 1, payment.refund_outcome or '', payment.job or '' }
end
if payment.wallet and payment.wallet ~= child then return conflict() end
if (payment.refunded or '0') ~= expected or (payment.amount or '') ~= ARGV[11] then return { 5, '', '' } end

local outcome
local full = payment.amount and cmp(total, payment.amount) >= 0

if not payment.fingerprint then
  outcome = 'tombstone'
elseif payment.decision == 'paid_on_chain' then
  outcome = 'owed'
elseif not payment.job then
  outcome = 'nothing_paid'
else
  local job = record(job_key(payment.job))
  local line = { by = 'webhook', delivery = event_id, refunded = total }
  local stage = job.stage or payment.archived
  if stage == 'cancelled' then
    outcome = 'cancelled'
  elseif stage == 'done' or not full then
    outcome = 'owed'
    line.event = 'owed'
    if job.stage then log(payment.job, job, line) end
  elseif stage == 'submitted' or stage == 'confirming' then
    outcome = 'refund_requested'
    redis.call('HSET', job_key(payment.job), 'refund_requested', '1')
    line.event = 'refund_requested'
    log(payment.job, job, line)
  else
    outcome = 'cancelled'
    unwait(child, payment.job)
    owe_nothing(payment_id)
    redis.call('HSET', payment_key, 'decision', 'refunded')
    move(payment.job, job, 'cancelled', 'cancel', line)
  end
end
if outcome == 'owed' then owe(payment_id, owed_usdc, owed_sge) end
redis.call('SET', event_key, fingerprint)
redis.call('HSET', payment_key, 'source', source, 'external_id', external_id, 'wallet', child, 'refunded', total,
  'refund_outcome', outcome, 'created_at', payment.created_at or NOW)
count('intake:refund:' .. outcome)
return { 0, outcome, payment.job or '' }
