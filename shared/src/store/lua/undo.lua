-- Queues jobs again that were done in a block which is no more: a reorganisation deeper than the confirmations. The check
-- stage looks at the chain first. A payout that was refunded meanwhile is cancelled instead.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = lease value, 2 = the block that is no more, then job ids
-- Returns: one refusal code per job
local out = {}
for i = 3, #ARGV do
  local id = ARGV[i]
  local job = record(job_key(id))
  local no = 0
  if not job.stage then no = 1 elseif job.stage ~= 'done' then no = 3 elseif not is_fenced_in(ARGV[1]) then no = 4 end
  if no == 0 then
    redis.call('HDEL', job_key(id), 'block', 'hash', 'log_index', 'done_at')
    enqueue(id, job, 'queued', 'undo', { block = ARGV[2] })
    if job.kind == 'register' then
      local referral = key('referral:') .. cjson.decode(job.payload).child
      redis.call('HSET', referral, 'status', 'registering', 'job', id)
    else
      local payment_key = key('payment:') .. job.payment
      redis.call('HDEL', payment_key, 'paid_block', 'paid_hash')
      local payment = record(payment_key)
      if payment.refunded and cmp(payment.refunded, payment.amount) >= 0 then
        cancel_unpaid(id, job, 'cancel', { by = 'refund' })
      end
    end
  end
  out[#out + 1] = no
end
return out
