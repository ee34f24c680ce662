-- Accepts successful payments, each once: dedupes delivery and payment, records the decision, and enqueues the payout.
-- KEYS: 1 = lane prefix
-- ARGV: per payment 15: 1 = source, 2 = event id, 3 = payment id, 4 = external id, 5 = fingerprint, 6 = child, 7 = amount,
--       8 = usdc, 9 = sge (mode usdc), 10 = usdc, 11 = sge (mode hybrid), 12 = new job id, 13 = payload without
--       referrer and amounts, 14 = hold in ms, 15 = '' where nothing was refunded, as read before; otherwise
--       five numbers with a space between: refunded so far, and what is owed of the commission for that: usdc, sge (mode usdc),
--       usdc, sge (mode hybrid)
-- Returns: per payment {code, decision, job id or ''}: 0 decided now, 1 same content as before, 2 other content than before,
--          3 not synced, 4 intake is paused, 5 a refund came in between: {5, refunded so far, ''}, 6 what is known of it cannot
--          be read: {6, why, ''}

-- What many payments of one run have in common.
local referrals, modes = {}, {}
local function referral_of(child)
  if not referrals[child] then
    local known = redis.call('HMGET', key('referral:') .. child, 'status', 'referrer')
    referrals[child] = { status = known[1], referrer = known[2] }
  end
  return referrals[child]
end
local function mode_of(referrer)
  modes[referrer] = modes[referrer] or redis.call('HGET', key('affiliate:') .. referrer, 'mode') or 'usdc'
  return modes[referrer]
end

local function again(code, event, event_id, payment)
  count('intake:' .. event)
  note_delivery(payment.job, event, event_id)
  return { code, payment.decision or '', payment.job or '' }
end

local function accept(source, event_id, payment_id, external_id, fingerprint, child, amount, usdc, sge, hybrid_usdc,
    hybrid_sge, id, payload, hold, refund)
  local refunded, owed_usdc, owed_sge, owed_hybrid_usdc, owed_hybrid_sge = '0', '0', '0', '0', '0'
  if refund ~= '' then
    refunded, owed_usdc, owed_sge, owed_hybrid_usdc, owed_hybrid_sge = string.match(refund, '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
    assert(refunded, refund)
  end
  local event_key = key('event:') .. source .. ':' .. event_id
  local payment_key = key('payment:') .. payment_id
  local payment, seen = {}, nil
  -- Most come for the first time, and are asked for once.
  if redis.call('EXISTS', payment_key, event_key) > 0 then
    payment, seen = record(payment_key), redis.call('GET', event_key)
  end

  if seen and seen ~= fingerprint then return again(2, 'conflict', event_id, payment) end
  if payment.fingerprint then
    if payment.fingerprint ~= fingerprint then return again(2, 'conflict', event_id, payment) end
    -- Asked once more, because whoever ran it with others was cut off.
    if payment.job == id then return { 0, payment.decision, id } end
    redis.call('SET', event_key, fingerprint)
    return again(1, 'duplicate', event_id, payment)
  end
  -- A refund that came first named another wallet: as much a conflict as when it comes second.
  if payment.refunded and payment.wallet ~= child then return again(2, 'conflict', event_id, payment) end
  if (payment.refunded or '0') ~= refunded then return { 5, payment.refunded or '0', '' } end

  local referral, decision = referral_of(child), 'due'
  if not referral.status then
    decision = 'unknown_wallet'
  elseif not referral.referrer then
    decision = 'no_referrer'
  else
    if mode_of(referral.referrer) == 'hybrid' then
      usdc, sge, owed_usdc, owed_sge = hybrid_usdc, hybrid_sge, owed_hybrid_usdc, owed_hybrid_sge
    end
    if usdc == '0' and sge == '0' then decision = 'nothing_due' end
  end
  -- The chain outlives Redis: a payment found paid there is never paid again, whatever its content.
  if payment.decision == 'paid_on_chain' then
    decision = 'paid_on_chain'
  elseif payment.refunded and cmp(payment.refunded, amount) >= 0 then
    decision = 'refunded'
  end

  -- The payment's record comes last: one whose job cannot be made is not accepted, and comes again.
  local function decide(...)
    redis.call('HSET', payment_key, 'source', source, 'external_id', external_id, 'fingerprint', fingerprint,
      'wallet', child, 'amount', amount, 'decision', decision, 'created_at', payment.created_at or NOW, ...)
    redis.call('SET', event_key, fingerprint)
    count('intake:' .. decision)
  end
  if decision ~= 'due' then
    place(key('payments:') .. child, payment_id)
    if payment.refunded and decision == 'paid_on_chain' then owe(payment_id, owed_usdc, owed_sge) end
    decide()
    return { 0, decision, '' }
  end

  if payment.refunded then
    redis.call('HSET', payment_key, 'referrer', referral.referrer)
    owe(payment_id, owed_usdc, owed_sge)
  end
  payload = string.sub(payload, 1, -2) .. ',"referrer":"' .. referral.referrer .. '","usdc":"' .. usdc .. '","sge":"'
    .. sge .. '"}'
  start_payout(id, payment_id, payload, child, referral, tonumber(hold), { by = 'webhook', delivery = event_id })
  decide('job', id, 'usdc', usdc, 'sge', sge, 'referrer', referral.referrer)
  return { 0, decision, id }
end

local closed
if not is_synced() then
  closed = { 3, '', '' }
elseif redis.call('HEXISTS', key('gate'), 'intake') == 1 then
  closed = { 4, '', '' }
end
local out = {}
for i = 1, #ARGV, 15 do
  local answer = closed
  if not answer then
    -- One that cannot be read keeps no other out. What Redis refuses as a whole, it refuses to all.
    local could, accepted = pcall(accept, unpack(ARGV, i, i + 14))
    local why = not could and in_words(accepted)
    if why and string.match(why, '^%u+') and not string.match(why, '^WRONGTYPE') and not string.match(why, '^ERR') then
      error(accepted, 0)
    end
    answer = could and accepted or { 6, why, '' }
  end
  out[#out + 1] = answer
end
return out
