-- Accepts a successful payment once: dedupes delivery and payment, records the decision, and enqueues the payout.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = source, 2 = event id, 3 = payment id, 4 = external id, 5 = fingerprint, 6 = child, 7 = amount,
--       8 = usdc, 9 = sge (mode usdc), 10 = usdc, 11 = sge (mode hybrid), 12 = new job id, 13 = payload without
--       referrer and amounts, 14 = hold in ms, 15 = refunded so far, as read before; what is owed of the commission
--       for that: 16 = usdc, 17 = sge (mode usdc), 18 = usdc, 19 = sge (mode hybrid)
-- Returns: {code, decision, job id or ''}: 0 decided now, 1 same content as before, 2 other content than before,
--          3 not synced, 4 intake is paused, 5 a refund came in between: {5, refunded so far, ''}

local source, event_id, payment_id, external_id, fingerprint = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local child, amount, id, hold = ARGV[6], ARGV[7], ARGV[12], tonumber(ARGV[14])
if not is_synced() then return { 3, '', '' } end
if redis.call('HEXISTS', key('gate'), 'intake') == 1 then return { 4, '', '' } end

local event_key = key('event:') .. source .. ':' .. event_id
local payment_key = key('payment:') .. payment_id
local payment = record(payment_key)

local function again(code, event)
  count('intake:' .. event)
  note_delivery(payment.job, event, event_id)
  return { code, payment.decision or '', payment.job or '' }
end

local seen = redis.call('GET', event_key)
if seen and seen ~= fingerprint then return again(2, 'conflict') end
if payment.fingerprint then
  if payment.fingerprint ~= fingerprint then return again(2, 'conflict') end
  redis.call('SET', event_key, fingerprint)
  return again(1, 'duplicate')
end
-- A refund that came first named another wallet: as much a conflict as when it comes second.
if payment.refunded and payment.wallet ~= child then return again(2, 'conflict') end
if (payment.refunded or '0') ~= ARGV[15] then return { 5, payment.refunded or '0', '' } end
redis.call('SET', event_key, fingerprint)

local referral = record(key('referral:') .. child)
local usdc, sge, owed_usdc, owed_sge, decision = ARGV[8], ARGV[9], ARGV[16], ARGV[17], 'due'
if not referral.status then
  decision = 'unknown_wallet'
elseif not referral.referrer then
  decision = 'no_referrer'
else
  if redis.call('HGET', key('affiliate:') .. referral.referrer, 'mode') == 'hybrid' then
    usdc, sge, owed_usdc, owed_sge = ARGV[10], ARGV[11], ARGV[18], ARGV[19]
  end
  if usdc == '0' and sge == '0' then decision = 'nothing_due' end
end
-- The chain outlives Redis: a payment found paid there is never paid again, whatever its content.
if payment.decision == 'paid_on_chain' then
  decision = 'paid_on_chain'
elseif payment.refunded and cmp(payment.refunded, amount) >= 0 then
  decision = 'refunded'
end

redis.call('HSET', payment_key, 'source', source, 'external_id', external_id, 'fingerprint', fingerprint,
  'wallet', child, 'amount', amount, 'decision', decision, 'created_at', payment.created_at or NOW)
redis.call('ZADD', key('payments:') .. child, NOW, payment_id)
count('intake:' .. decision)
if decision == 'paid_on_chain' and payment.refunded then owe(payment_id, owed_usdc, owed_sge) end
if decision ~= 'due' then return { 0, decision, '' } end

local payload = string.gsub(ARGV[13], '}$', function()
  return ',"referrer":"' .. referral.referrer .. '","usdc":"' .. usdc .. '","sge":"' .. sge .. '"}'
end)
redis.call('HSET', payment_key, 'job', id, 'usdc', usdc, 'sge', sge, 'referrer', referral.referrer)
if payment.refunded then owe(payment_id, owed_usdc, owed_sge) end
start_payout(id, payment_id, payload, child, referral, hold, { by = 'webhook', delivery = event_id })
return { 0, decision, id }
