-- Closes a gate, or renews the detail of one that is closed. Operators' pauses are gates too, and are audited. Who saw the
-- condition in a block before the one that opened the gate is too late: the condition is over. A gate that closes again soon
-- after a relayer opened it was opened for a try, or in vain: it counts as closed since it closed first.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = gate, 2 = reason, 3 = who, 4 = 1 when an operator does it, 5 = block in which the condition was seen, or '',
--       6 = ms after an opening within which a closing goes on with the one before
-- Returns: 1 closed now, 0 was closed already, or was opened in a later block
local gate, block, by_operator = ARGV[1], ARGV[5], ARGV[4] == '1'
if block ~= '' then
  local opened = redis.call('HGET', key('gate:opened'), gate)
  if opened and tonumber(block) < tonumber(opened) then return 0 end
end
local since = NOW
if not by_operator then
  local last = redis.call('HGET', key('gate:opened'), 'since:' .. gate) or ''
  local closed_at, opened_at = string.match(last, '^(%d+):(%d+)$')
  if closed_at and NOW - opened_at <= tonumber(ARGV[6]) then since = closed_at end
end
if by_operator then audit(ARGV[3], 'pause', ARGV[2], gate) end
return close_gate(gate, ARGV[2], ARGV[3], since, block ~= '' and block or nil) and 1 or 0
