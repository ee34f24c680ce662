-- Closes a gate, or renews the detail of one that is closed. Operators' pauses are gates too, and are audited. Who saw the
-- condition in a block before the one that opened the gate is too late: the condition is over.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = gate, 2 = reason, 3 = who, 4 = 1 when an operator does it, 5 = block in which the condition was seen, or ''
-- Returns: 1 closed now, 0 was closed already, or was opened in a later block
local gate, block = ARGV[1], ARGV[5]
if block ~= '' then
  local opened = redis.call('HGET', key('gate:opened'), gate)
  if opened and tonumber(block) < tonumber(opened) then return 0 end
end
local was = redis.call('HGET', key('gate'), gate)
local before = was and cjson.decode(was) or { since = NOW, block = block ~= '' and block or nil }
redis.call('HSET', key('gate'), gate,
  cjson.encode({ reason = ARGV[2], by = ARGV[3], since = before.since, block = before.block }))
if ARGV[4] == '1' then audit(ARGV[3], 'pause', ARGV[2], gate) end
if not was then
  feed('type', 'gate', 'event', 'closed', 'gate', gate, 'reason', ARGV[2])
  count('gate_closed:' .. gate)
end
return was and 0 or 1
