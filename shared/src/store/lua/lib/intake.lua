-- Payments, refunds and the jobs that they begin.

-- Records what the affiliate owes back of a payment's commission.
local function owe(payment_id, usdc, sge)
  redis.call('HSET', key('payment:') .. payment_id, 'owed_usdc', usdc, 'owed_sge', sge, 'refund_outcome', 'owed')
  redis.call('ZADD', key('owed'), NOW, payment_id)
  local referrer = redis.call('HGET', key('payment:') .. payment_id, 'referrer')
  if referrer then redis.call('SADD', key('owing:') .. referrer, payment_id) end
end

-- Nothing was paid after all, so nothing is owed.
local function owe_nothing(payment_id)
  redis.call('HDEL', key('payment:') .. payment_id, 'owed_usdc', 'owed_sge')
  redis.call('ZREM', key('owed'), payment_id)
  local referrer = redis.call('HGET', key('payment:') .. payment_id, 'referrer')
  if referrer then redis.call('SREM', key('owing:') .. referrer, payment_id) end
end

-- Notes on the timeline of a payment's job that a delivery came again, the first eight times. It may have been removed.
local function note_delivery(job, event, delivery)
  local known = job and redis.call('HMGET', job_key(job), 'stage', 'lines')
  if not known or not known[1] then return end
  if redis.call('HINCRBY', job_key(job), event, 1) <= 8 then
    log(job, { stage = known[1], lines = known[2] or nil }, { event = event, delivery = delivery })
  end
end

-- Cancels a job that was refunded before it was paid.
local function cancel_unpaid(id, job, event, line, ...)
  move(id, job, 'cancelled', event, line, ...)
  if job.payment then
    redis.call('HSET', key('payment:') .. job.payment, 'decision', 'refunded', 'refund_outcome', 'cancelled')
    owe_nothing(job.payment)
  end
end

-- Forgets that a payout waits for its child's registration, or failed with it.
local function unwait(child, id)
  redis.call('SREM', key('waiting:') .. child, id)
  redis.call('SREM', key('stranded:') .. child, id)
end

-- Makes the job of a payout that is due, and takes it to where it waits, or to the workers.
local function start_payout(id, payment_id, payload, child, referral, hold, line)
  local job = { kind = 'payout' }
  local function begin(how, stage, ...)
    how(id, job, stage, 'accept', line, 'kind', 'payout', 'payload', payload, 'created_at', NOW,
      'payment', payment_id, ...)
  end
  if hold > 0 then
    local due = digits(NOW + hold)
    redis.call('ZADD', key('delayed'), due, id)
    begin(move, 'held', 'due', due)
  elseif referral.status == 'registered' then
    begin(enqueue, 'queued')
  elseif referral.status == 'failed' then
    local failure = cjson.encode({ class = 'registration_failed', reason = 'the registration of ' .. child .. ' failed' })
    redis.call('SADD', key('stranded:') .. child, id)
    begin(move, 'failed', 'error', failure)
  else
    redis.call('SADD', key('waiting:') .. child, id)
    begin(move, 'waiting')
  end
  place(key('wallet:') .. child, id)
  place(key('wallet:') .. referral.referrer, id)
end

-- Makes the job that writes a referral to the chain.
local function start_registration(id, child, referrer, payload, line)
  local k = key('referral:') .. child
  redis.call('HSET', k, 'status', 'registering', 'referrer', referrer, 'job', id)
  redis.call('HSETNX', k, 'created_at', NOW)
  redis.call('HDEL', key('unblock'), child)
  enqueue(id, { kind = 'register' }, 'queued', 'accept', line, 'kind', 'register', 'payload', payload,
    'created_at', NOW)
  place(key('wallet:') .. child, id)
  place(key('wallet:') .. referrer, id)
end
