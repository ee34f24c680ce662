-- Takes jobs out of a worker's or the leader's hands without success: a backoff, a gate or a failure. A job whose full
-- refund arrived while it was journaled is cancelled instead.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = who, 2 = lease value or '', then one JSON object per job:
--       {id, epoch, event: back_off | park | fail, charge: 0|1, delay_ms, gate, error: {class, reason} or nil,
--        pack_max or nil, nonce or nil}
-- Returns: one refusal code per job
local who, fence, out = ARGV[1], ARGV[2], {}
local from = { checking = true, ready = true, submitted = true, confirming = true }
for i = 3, #ARGV do
  local item = cjson.decode(ARGV[i])
  local id = item.id
  local job = record(job_key(id))
  local no = refusal(job, item.epoch, from, fence)
  if no == 0 and item.nonce and job.nonce ~= item.nonce then no = 2 end
  if no == 0 then
    local journaled = job.stage == 'submitted' or job.stage == 'confirming'
    local attempts = tonumber(job.attempts or '0') + item.charge
    local line = { by = who, nonce = job.nonce, charge = item.charge, class = item.error and item.error.class,
      reason = item.error and item.error.reason }
    local fields = { 'attempts', attempts }
    if item.error then fields[#fields + 1] = 'error'; fields[#fields + 1] = cjson.encode(item.error) end
    if item.pack_max then fields[#fields + 1] = 'pack_max'; fields[#fields + 1] = item.pack_max end
    if item.error then count('failure:' .. item.error.class) end
    if item.charge == 1 then count('attempts') end
    if journaled and job.refund_requested == '1' then
      move(id, job, 'cancelled', 'cancel_unpaid', line, unpack(fields))
      if job.payment then
        redis.call('HSET', key('payment:') .. job.payment, 'decision', 'refunded', 'refund_outcome', 'cancelled')
        owe_nothing(job.payment)
      end
    elseif item.event == 'back_off' then
      local due = string.format('%.0f', NOW + item.delay_ms)
      line.due = due
      move(id, job, 'delayed', 'back_off', line, 'due', due, unpack(fields))
      redis.call('ZADD', key('delayed'), due, id)
    elseif item.event == 'park' then
      line.gate = item.gate
      move(id, job, 'gated', 'park', line, 'gate', item.gate, unpack(fields))
      park(id, item.gate)
    else
      fail(id, job, line, unpack(fields))
    end
  end
  out[#out + 1] = no
end
return out
