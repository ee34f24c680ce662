-- Gates, and the jobs that wait for one.

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
