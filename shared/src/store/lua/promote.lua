-- Queues jobs whose delay or hold is over. A held job whose child is not registered yet starts waiting instead.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = at most this many
-- Returns: {how many were due, milliseconds until the next is due, or -1}
local due = redis.call('ZRANGEBYSCORE', key('delayed'), '-inf', NOW, 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
  local job = record(job_key(id))
  local child = job.stage == 'held' and cjson.decode(job.payload).child
  local status = child and redis.call('HGET', key('referral:') .. child, 'status') or 'registered'
  if job.stage == 'held' and status ~= 'registered' then
    redis.call('SADD', key('waiting:') .. child, id)
    move(id, job, 'waiting', 'await')
    if status == 'failed' then redis.call('HSET', key('unblock'), child, 'fail') end
  elseif job.stage == 'delayed' or job.stage == 'held' then
    enqueue(id, job, 'queued', 'promote')
  else
    redis.call('ZREM', key('delayed'), id)
  end
end
local next = redis.call('ZRANGE', key('delayed'), 0, 0, 'WITHSCORES')
return { #due, next[2] and math.max(0, next[2] - NOW) or -1 }
