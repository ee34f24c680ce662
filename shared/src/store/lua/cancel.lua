-- Cancels a job that is not journaled. The payment id stays spent.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = job id, 2 = actor, 3 = reason
-- Returns: {code, stage before}: 0 cancelled, 1 no such job, 2 done or cancelled already, 3 journaled, 4 not synced
local id = ARGV[1]
local job = record(job_key(id))
if not job.stage then return { 1, '' } end
if not is_synced() then return { 4, job.stage } end
local before = job.stage
if before == 'done' or before == 'cancelled' then return { 2, before } end
if before == 'submitted' or before == 'confirming' then return { 3, before } end
if job.kind == 'register' then
  registration_failed(id, job, false)
else
  unwait(cjson.decode(job.payload).child, id)
  redis.call('HSET', key('payment:') .. job.payment, 'decision', 'cancelled')
  owe_nothing(job.payment)
end
move(id, job, 'cancelled', 'cancel', { by = ARGV[2], reason = ARGV[3] })
audit(ARGV[2], 'cancel', ARGV[3], id)
return { 0, before }
