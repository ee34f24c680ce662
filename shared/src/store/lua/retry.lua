-- Queues a failed job again, by hand, with a fresh count of attempts.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = job id, 2 = actor, 3 = reason
-- Returns: {code, stage}: 0 queued, 1 no such job, 2 not failed, 3 its payment was refunded
local id = ARGV[1]
local job = record(job_key(id))
if not job.stage then return { 1, '' } end
if job.stage ~= 'failed' then return { 2, job.stage } end
if job.refund_requested == '1' then return { 3, job.stage } end
if job.kind == 'register' then
  local child = cjson.decode(job.payload).child
  -- A later registration may have taken this one's place.
  if redis.call('HGET', key('referral:') .. child, 'job') ~= id then return { 2, 'superseded' } end
  -- The chain may show the wallet as registered meanwhile.
  if redis.call('HGET', key('referral:') .. child, 'status') == 'failed' then
    redis.call('HSET', key('referral:') .. child, 'status', 'registering')
    redis.call('HDEL', key('unblock'), child)
  end
elseif job.kind == 'payout' then
  unwait(cjson.decode(job.payload).child, id)
end
enqueue(id, job, 'retrying', 'retry', { by = ARGV[2], reason = ARGV[3] }, 'attempts', '0')
audit(ARGV[2], 'retry', ARGV[3], id)
return { 0, 'retrying' }
