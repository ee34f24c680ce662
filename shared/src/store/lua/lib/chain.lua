-- What the chain shows, and what follows from it for referrals and jobs.

-- Whether contract events were replayed since this very server process started.
local function is_synced()
  local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  return redis.call('HGET', key('synced'), 'run_id') == run_id
end

-- Opens a nonce again that was consumed in a block which is no more. Returns whether it was closed.
local function reopen_nonce(signer, nonce)
  local tx_key = key('tx:') .. signer .. ':' .. nonce
  local tx = record(tx_key)
  if tx.state == 'closed' then
    local last = cjson.decode(tx['attempt:' .. digits(tx.attempts - 1)])
    redis.call('HSET', tx_key, 'state', last.cancel and 'cancelling' or 'open')
    redis.call('HDEL', tx_key, 'consumed_by', 'final_hash', 'closed_at', 'included_hash', 'included_block')
    redis.call('ZADD', key('open:') .. signer, nonce, nonce)
    feed('type', 'tx', 'event', 'reopened', 'signer', signer, 'nonce', nonce)
  end
  return tx.state == 'closed'
end

-- Notes that a record rests on the chain alone: with that block it would be gone, and no job would bring it about again.
-- `what` is the record's key. What is learned late is held against the next final block: those before were without it.
local function learn(what, block)
  local compared = tonumber(redis.call('HGET', key('synced'), 'compared_block') or '-1')
  redis.call('ZADD', key('learned'), math.max(block, compared + 1), what)
end

-- Whether there is a job that brings it about, or has.
local function is_carried(job)
  local stage = job and redis.call('HGET', job_key(job), 'stage')
  return stage and stage ~= 'failed' and stage ~= 'cancelled'
end

-- Records that the chain shows a referral, and lets the payouts go that waited for it or failed with an earlier one.
local function registered(child, referrer, block)
  local k = key('referral:') .. child
  local job = redis.call('HGET', k, 'job')
  redis.call('HSET', k, 'status', 'registered', 'referrer', referrer, 'block', block)
  redis.call('HSETNX', k, 'created_at', NOW)
  if not is_carried(job) then learn('referral:' .. child, block) end
  if redis.call('EXISTS', key('waiting:') .. child, key('stranded:') .. child) > 0 then
    redis.call('HSET', key('unblock'), child, 'release')
  end
end

-- Records that registration `id` ended without success. A wallet that the chain shows as registered stays so, unless
-- `is_deep`: the verdict on this very registration is as deep as verdicts get.
local function registration_failed(id, job, is_deep)
  local asked = cjson.decode(job.payload)
  local k = key('referral:') .. asked.child
  local known = record(k)
  if known.job ~= id then return end
  if known.status == 'registering' or (is_deep and known.referrer == asked.referrer) then
    redis.call('HSET', k, 'status', 'failed')
    redis.call('HSET', key('unblock'), asked.child, 'fail')
  elseif known.status == 'registered' then
    learn('referral:' .. asked.child, known.block or 0)
  end
end

-- Dead-letters the job. Payouts that fail with a registration are found again by a later one.
local function fail(id, job, line, ...)
  if job.kind == 'payout' and line.class == 'registration_failed' then
    redis.call('SADD', key('stranded:') .. cjson.decode(job.payload).child, id)
  end
  if job.kind == 'register' then
    registration_failed(id, job, job.stage == 'submitted' or job.stage == 'confirming')
  end
  move(id, job, 'failed', 'fail', line, ...)
end

-- The stages in which no transaction of ours carries a job that has not succeeded: the chain may show it as done all the same.
local UNCARRIED = {
  queued = true, waiting = true, delayed = true, held = true, gated = true, retrying = true, checking = true, ready = true,
  failed = true,
}

-- Takes a job that the chain shows as done to `confirming` without a nonce; the leader finishes it N deep.
local function settle(id, job, line, block)
  if job.stage == 'waiting' or job.stage == 'failed' then unwait(asked_of(id, job).child, id) end
  line.block = block
  move(id, job, 'confirming', 'settle', line, 'block', block)
  place(key('settling'), id, block)
end
