-- Takes jobs out of a worker's or the leader's hands without success: a backoff, a gate or a failure. A job whose full
-- refund arrived while it was journaled is cancelled instead.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = who, 2 = lease value or '', then one JSON object per job:
--       {id, epoch, event: back_off | park | fail | unregistered, charge: 0|1, delay_ms, gate, error: {class, reason}
--        or nil, pack_max or nil, nonce or nil, block: for unregistered}
-- Returns: one refusal code per job
local who, fence, out = ARGV[1], ARGV[2], {}
local from = { checking = true, ready = true, submitted = true, confirming = true }
local from_checking = { checking = true }

-- The chain, up to `block`, does not know the registration of a payout's child: what that means for the payout. Changes
-- `item` into it; true when the payout has to wait for the registration instead.
local function is_to_wait(item, job)
  local child = cjson.decode(job.payload).child
  local referral = record(key('referral:') .. child)
  if referral.status == 'registering' then return true, child end
  item.event = 'back_off'
  if referral.status == 'registered' and tonumber(referral.block or '0') > tonumber(item.block) then return false end
  -- It was in a block that is no more, or it failed: nobody is on the way to register this wallet.
  if referral.status == 'registered' then redis.call('HSET', key('referral:') .. child, 'status', 'failed') end
  item.event = 'fail'
  item.error = { class = 'registration_failed', reason = 'the chain does not show the registration of ' .. child }
  return false
end

for i = 3, #ARGV do
  local item = cjson.decode(ARGV[i])
  local id = item.id
  local job = record(job_key(id))
  local no = refusal(job, item.epoch, item.event == 'unregistered' and from_checking or from, fence)
  if no == 0 and item.nonce and job.nonce ~= item.nonce then no = 2 end
  local waits, child = false, nil
  if no == 0 and item.event == 'unregistered' then waits, child = is_to_wait(item, job) end
  if no == 0 then
    local journaled = job.stage == 'submitted' or job.stage == 'confirming'
    local attempts = tonumber(job.attempts or '0') + item.charge
    local line = { by = who, nonce = job.nonce, charge = item.charge, class = item.error and item.error.class,
      reason = item.error and item.error.reason }
    local fields = { 'attempts', attempts }
    if item.error then fields[#fields + 1] = 'error'; fields[#fields + 1] = cjson.encode(item.error) end
    if item.pack_max then fields[#fields + 1] = 'pack_max'; fields[#fields + 1] = item.pack_max end
    -- Parked jobs carry the reason, but nothing of theirs failed.
    if item.error and item.event ~= 'park' then count('failure:' .. item.error.class) end
    if item.charge == 1 then count('attempts') end
    if journaled and job.refund_requested == '1' then
      cancel_unpaid(id, job, 'cancel_unpaid', line, unpack(fields))
    elseif waits then
      redis.call('SADD', key('waiting:') .. child, id)
      move(id, job, 'waiting', 'await', line)
    elseif item.event == 'back_off' then
      local due = digits(NOW + item.delay_ms)
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
