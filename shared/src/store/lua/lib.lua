-- Shared by all scripts: what one needs of it is put in front when it is loaded. Blank lines part what can be left out.
-- KEYS: 1 = lane prefix, such as `ail:{main}:`. Every other key is derived below that prefix.
-- ARGV: none of its own.
-- Returns: nothing; defines functions.

local LANE = KEYS[1]
local FEED_MAX = 10000
-- In bytes.
local LOG_MAX = 16384
local REASONS_MAX = 2000
-- Ids of sixteen jobs.
local TOLD_MAX = 16 * 27 - 1

local function key(suffix) return LANE .. suffix end
local function job_key(id) return LANE .. 'job:' .. id end

-- Unix milliseconds of the Redis clock.
local function clock()
  local t = redis.call('TIME')
  return string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
end

-- The same, asked for once, and only where somebody wants to know.
local moment
local function now()
  moment = moment or clock()
  return moment
end

local NOW = now()

-- HGETALL as a table.
local function record(k)
  local flat = redis.call('HGETALL', k)
  local out = {}
  for i = 1, #flat, 2 do out[flat[i]] = flat[i + 1] end
  return out
end

-- Compares two decimal integers without leading zeros, of any length: -1, 0 or 1.
local function cmp(a, b)
  if #a ~= #b then return #a < #b and -1 or 1 end
  if a == b then return 0 end
  return a < b and -1 or 1
end

-- The sum of two decimal integers of any length.
local function add(a, b)
  local digits, carry = {}, 0
  for i = 0, math.max(#a, #b) - 1 do
    -- Counted from the end: before the first digit there is nothing.
    local sum = (tonumber(string.sub(a, -i - 1, -i - 1)) or 0) + (tonumber(string.sub(b, -i - 1, -i - 1)) or 0) + carry
    digits[#digits + 1] = sum % 10
    carry = math.floor(sum / 10)
  end
  if carry > 0 then digits[#digits + 1] = carry end
  return string.reverse(table.concat(digits))
end

-- What `pcall` caught, in words: an error of Redis is a table.
local function in_words(caught) return type(caught) == 'table' and caught.err or tostring(caught) end

-- What a script writes once, at its end, for all the jobs it moved: `linked` in script.rs runs `conclude` behind every body
-- that names any of this, also where the body fails half-way.
local counted = {}
local places = {}
local spent = {}
local stood_in = {}
local stands_in = {}
local displaced = {}
local told = {}
local function count(name, by) counted[name] = (counted[name] or 0) + (by or 1) end
-- Puts `member` into the sorted set `k`, by the time of now where there is no `score`.
local function place(k, member, score)
  local all = places[k] or {}
  places[k] = all
  all[#all + 1] = score or now()
  all[#all + 1] = member
end
-- Takes `member` out of the sorted set `k`.
local function displace(k, member)
  local all = displaced[k] or {}
  displaced[k] = all
  all[#all + 1] = member
end
-- Puts a job into the index of its state, and out of that of the state before.
local function stands(id, was, state)
  if not stands_in[id] then stood_in[id] = was end
  stands_in[id] = state
end
-- Lets those who watch know that a job moved. Jobs that moved alike share an entry of the feed.
local function tell(id, kind, event, stage)
  local like = event .. ' ' .. stage .. ' ' .. kind
  local moved = told[like]
  if moved and #moved[10] < TOLD_MAX then
    moved[10] = moved[10] .. ' ' .. id
  else
    moved = { 'type', 'job', 'kind', kind, 'event', event, 'stage', stage, 'job', id }
    told[like] = moved
    told[#told + 1] = moved
  end
end
-- An entry of `jobs` that is done with.
local function spend(entry) spent[#spent + 1] = entry end
local function conclude()
  -- What cannot be written, because a key holds something else, keeps nothing else from being written: the jobs have moved.
  local function write(command, k, ...)
    local reply = redis.pcall(command, k, ...)
    if type(reply) == 'table' and reply.err then redis.pcall('HINCRBY', key('stats'), 'unwritten:' .. command, 1) end
  end
  for id, state in pairs(stands_in) do
    local was = stood_in[id]
    if was and was ~= state then displace(key('by:') .. was, id) end
    place(key('by:') .. state, id)
  end
  for k, all in pairs(displaced) do write('ZREM', k, unpack(all)) end
  for k, all in pairs(places) do write('ZADD', k, unpack(all)) end
  for name, by in pairs(counted) do write('HINCRBY', key('stats'), name, by) end
  for _, moved in ipairs(told) do
    write('XADD', key('events'), 'MAXLEN', '~', FEED_MAX, '*', 'at', now(), unpack(moved))
  end
  if spent[1] then
    write('XACK', key('jobs'), 'relayers', unpack(spent))
    write('XDEL', key('jobs'), unpack(spent))
  end
end

local function feed(...)
  redis.call('XADD', key('events'), 'MAXLEN', '~', FEED_MAX, '*', 'at', NOW, ...)
end

local function audit(who, what, why, on)
  redis.call('XADD', key('audit'), '*', 'at', NOW, 'who', who, 'what', what, 'why', why, 'on', on)
end

-- A timeline with one line more: JSON objects, parted by tabs, which JSON has none of. A long one loses its middle, never its
-- first or newest lines.
local function with_line(log, line)
  line.at = NOW
  local text = cjson.encode(line)
  if not log then return text end
  while #log + #text > LOG_MAX do
    local before = string.find(log, '\t', LOG_MAX / 8, true)
    local after = string.find(log, '\t', before + 1, true)
    if not after then break end
    log = string.sub(log, 1, before) .. string.sub(log, after + 1)
  end
  return log .. '\t' .. text
end

-- Adds a line to the job's timeline.
local function log(id, job, line)
  job.log = with_line(job.log, line)
  redis.call('HSET', job_key(id), 'log', job.log)
end

local STATE_OF = {
  queued = 'pending', waiting = 'pending', delayed = 'pending', held = 'pending', gated = 'pending',
  checking = 'processing', ready = 'processing', submitted = 'processing', confirming = 'processing',
  retrying = 'retrying', done = 'done', failed = 'failed', cancelled = 'cancelled',
}

-- Whether contract events were replayed since this very server process started.
local function is_synced()
  local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  return redis.call('HGET', key('synced'), 'run_id') == run_id
end

-- Whether `fence` is the value of a lease that exists. Leaders that are none any more are counted.
local holder
local function is_fenced_in(fence)
  if fence == '' then return false end
  holder = holder or redis.call('GET', key('lease'))
  if holder == fence then return true end
  count('fenced_writes')
  return false
end

-- What a job has only in some stages.
local OF_A_STAGE = { 'entry', 'due', 'gate', 'worker', 'nonce', 'signer', 'redelivered' }

-- Removes whatever the job's present stage keeps outside its hash, and what it keeps in it.
local function detach(id, job)
  local stage = job.stage
  if stage == 'queued' or stage == 'retrying' or stage == 'checking' then
    if job.entry then spend(job.entry) end
  elseif stage == 'ready' then
    if job.entry then redis.call('XDEL', key('ready'), job.entry) end
  elseif stage == 'delayed' or stage == 'held' then
    redis.call('ZREM', key('delayed'), id)
  elseif stage == 'gated' then
    redis.call('ZREM', key('parked:') .. job.gate, id)
  elseif stage == 'confirming' then
    displace(key('settling'), id)
  end
  local gone = {}
  for _, field in ipairs(OF_A_STAGE) do
    if job[field] then gone[#gone + 1] = field; job[field] = nil end
  end
  if gone[1] then redis.call('HDEL', job_key(id), unpack(gone)) end
end

-- Takes the job to `stage` by `event`: indexes, timeline, feed and counters together. `line` may carry more of the
-- timeline's fields; `...` are further fields of the hash.
local function move(id, job, stage, event, line, ...)
  if job.stage and stage ~= job.stage then detach(id, job) end
  local state, was = STATE_OF[stage], job.state
  line = line or {}
  line.event, line.stage = event, stage
  job.log = with_line(job.log, line)
  redis.call('HSET', job_key(id), 'state', state, 'stage', stage, 'updated_at', NOW, 'log', job.log, ...)
  job.state, job.stage = state, stage
  local more = { ... }
  for i = 1, #more, 2 do job[more[i]] = more[i + 1] end
  stands(id, was, state)
  tell(id, job.kind, event, stage)
  count('event:' .. event)
end

-- Puts the job into the `jobs` stream and takes it to `stage` (queued or retrying).
local function enqueue(id, job, stage, event, line, ...)
  local entry = redis.call('XADD', key('jobs'), '*', 'job', id, 'epoch', job.epoch or '0')
  move(id, job, stage, event, line, 'entry', entry, ...)
end

-- Puts a checked job where the leader finds it.
local function hand_over(id, job, event, line)
  local entry = redis.call('XADD', key('ready'), '*', 'job', id, 'epoch', job.epoch)
  move(id, job, 'ready', event, line, 'entry', entry)
end

-- Puts a job among those that wait for a gate. `parking` names the gates that have any.
local function park(id, gate)
  redis.call('ZADD', key('parked:') .. gate, NOW, id)
  redis.call('SADD', key('parking'), gate)
end

-- What is told of `lane:reconcile`: all that people must look at, not only the newest of it.
local function gathered(before, reason)
  if string.find(before, reason, 1, true) then return before end
  if #before < REASONS_MAX then return before .. '; ' .. reason end
  local more = '; and more: see the logs'
  return string.find(before, more, 1, true) and before or before .. more
end

-- Closes a gate, or renews what is told of one that is closed; `since` and `block` are those of the first closing. Returns
-- whether it was open.
local function close_gate(gate, reason, by, since, block)
  local was = redis.call('HGET', key('gate'), gate)
  local first = was and cjson.decode(was) or { since = since }
  if was and gate == 'lane:reconcile' then reason = gathered(first.reason, reason) end
  local told = { reason = reason, by = by, since = first.since, block = first.block or block }
  redis.call('HSET', key('gate'), gate, cjson.encode(told))
  if was then return false end
  feed('type', 'gate', 'event', 'closed', 'gate', gate, 'reason', reason)
  count('gate_closed:' .. gate)
  return true
end

-- Opens a nonce again that was consumed in a block which is no more. Returns whether it was closed.
local function reopen_nonce(signer, nonce)
  local tx_key = key('tx:') .. signer .. ':' .. nonce
  local tx = record(tx_key)
  if tx.state == 'closed' then
    local last = cjson.decode(tx['attempt:' .. string.format('%.0f', tx.attempts - 1)])
    redis.call('HSET', tx_key, 'state', last.cancel and 'cancelling' or 'open')
    redis.call('HDEL', tx_key, 'consumed_by', 'final_hash', 'closed_at', 'included_hash', 'included_block')
    redis.call('ZADD', key('open:') .. signer, nonce, nonce)
    feed('type', 'tx', 'event', 'reopened', 'signer', signer, 'nonce', nonce)
  end
  return tx.state == 'closed'
end

-- The stages in which an entry of `jobs` may bring a job to a worker.
local CLAIMABLE = { queued = true, retrying = true, checking = true }

-- Gives the job to `worker` under a new epoch. Its entry stays pending in the group until the verdict is stored.
-- `redelivered`: how often it came back from a worker that died, where it does now.
local function claim(id, job, worker, redelivered)
  local before = job.stage
  job.epoch = string.format('%.0f', job.epoch + 1)
  -- Not a departure from one stage to the other: nothing outside the hash changes.
  job.stage = 'checking'
  local line = { by = worker, from = before, redelivered = redelivered }
  move(id, job, 'checking', 'claim', line, 'epoch', job.epoch, 'worker', worker)
  if redelivered then
    redis.call('HSET', job_key(id), 'redelivered', redelivered)
    job.redelivered = redelivered
  end
end

-- Acknowledges and deletes an entry that its job does not name.
local function drop_entry(entry)
  spend(entry)
  count('stale_entries')
end

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
  local known = job and redis.call('HMGET', job_key(job), 'stage', 'log')
  if not known or not known[1] then return end
  if redis.call('HINCRBY', job_key(job), event, 1) <= 8 then
    log(job, { log = known[2] or nil }, { event = event, delivery = delivery })
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
  local job = { kind = 'payout', epoch = '0' }
  local function begin(how, stage, ...)
    how(id, job, stage, 'accept', line, 'kind', 'payout', 'payload', payload, 'epoch', '0', 'attempts', '0',
      'created_at', NOW, 'payment', payment_id, ...)
  end
  if hold > 0 then
    local due = string.format('%.0f', NOW + hold)
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
  enqueue(id, { kind = 'register', epoch = '0' }, 'queued', 'accept', line, 'kind', 'register', 'payload', payload,
    'epoch', '0', 'attempts', '0', 'created_at', NOW)
  place(key('wallet:') .. child, id)
  place(key('wallet:') .. referrer, id)
end

-- Notes that a record rests on the chain alone: with that block it would be gone, and no job would bring it about again.
-- `what` is the record's key. What is learned late is held against the next final block: those before were without it.
local function learn(what, block)
  local compared = tonumber(redis.call('HGET', key('synced'), 'compared_block') or '-1')
  redis.call('ZADD', key('learned'), math.max(block, compared + 1), what)
end

-- Whether there is a job that brings it about, or has.
local function is_carried(job)
  local state = job and redis.call('HGET', job_key(job), 'state')
  return state and state ~= 'failed' and state ~= 'cancelled'
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
  if job.stage == 'waiting' or job.stage == 'failed' then unwait(cjson.decode(job.payload).child, id) end
  line.block = block
  move(id, job, 'confirming', 'settle', line, 'block', block)
  place(key('settling'), id, block)
end

-- What stands in the way of an event on this job, as the numbers that `Refusal` in script.rs mirrors; 0 = nothing.
-- `allowed` maps the stages the event may leave. Stages that belong to the leader need the fence.
local LEADER_STAGES = { ready = true, submitted = true, confirming = true }
local function refusal(job, epoch, allowed, fence)
  if not job.stage then return 1 end
  if job.epoch ~= epoch then return 2 end
  if not allowed[job.stage] then return 3 end
  if LEADER_STAGES[job.stage] and not is_fenced_in(fence) then return 4 end
  return 0
end

-- The record that workers and the leader need of a job.
local function brief(id, job)
  return { id, job.epoch or '0', job.payload, job.attempts or '0', job.pack_max or '0', job.refund_requested or '0',
    job.created_at, job.stage, job.nonce or '' }
end
