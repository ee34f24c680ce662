-- Takes back that jobs are done: the block that said so is no more, by a reorganisation deeper than the confirmations. The
-- nonce that carried a job is open again and holds it, so that the very same transaction settles it; one that no journaled
-- nonce carried is checked again. A full refund that came meanwhile is settled with it.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = lease value, 2 = the block that is no more, then job ids
-- Returns: one refusal code per job
local function refunded(job)
  if job.kind ~= 'payout' then return false end
  local payment = redis.call('HMGET', key('payment:') .. job.payment, 'refunded', 'amount')
  return payment[1] and payment[2] and cmp(payment[1], payment[2]) >= 0
end

-- Whether it was this nonce that carried the job to its end, and not one that it had left before.
local function carried(id, job)
  if not job.last_nonce then return false end
  local intent = redis.call('HGET', key('tx:') .. job.last_signer .. ':' .. job.last_nonce, 'intent')
  for _, held in ipairs(intent and cjson.decode(intent).jobs or {}) do
    if held.job == id and tonumber(held.epoch) == tonumber(job.epoch) then return true end
  end
  return false
end

local function undo(id, job)
  local nonce, signer = job.last_nonce, job.last_signer
  redis.call('HDEL', job_key(id), 'block', 'hash', 'log_index', 'done_at')
  if job.kind == 'register' then
    redis.call('HSET', key('referral:') .. cjson.decode(job.payload).child, 'status', 'registering', 'job', id)
  end
  if carried(id, job) then
    reopen_nonce(signer, nonce)
    move(id, job, 'submitted', 'undo', { block = ARGV[2], nonce = nonce }, 'nonce', nonce, 'signer', signer)
    if refunded(job) then
      redis.call('HSET', job_key(id), 'refund_requested', '1')
      owe_nothing(job.payment)
      redis.call('HSET', key('payment:') .. job.payment, 'refund_outcome', 'refund_requested')
    end
    return
  end
  enqueue(id, job, 'queued', 'requeue', { block = ARGV[2] })
  if refunded(job) then cancel_unpaid(id, job, 'cancel', { by = 'refund' }) end
end

local out = {}
for i = 3, #ARGV do
  local id = ARGV[i]
  local job = record(job_key(id))
  local no = 0
  if not job.stage then no = 1 elseif job.stage ~= 'done' then no = 3 elseif not is_fenced_in(ARGV[1]) then no = 4 end
  if no == 0 then undo(id, job) end
  out[#out + 1] = no
end
return out
