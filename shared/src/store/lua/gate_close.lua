-- Closes a gate, or renews the detail of one that is closed. Operators' pauses are gates too, and are audited.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = gate, 2 = reason, 3 = who, 4 = 1 when an operator does it
-- Returns: 1 closed now, 0 was closed already
local gate = ARGV[1]
local was = redis.call('HGET', key('gate'), gate)
local since = was and cjson.decode(was).since or NOW
redis.call('HSET', key('gate'), gate, cjson.encode({ reason = ARGV[2], by = ARGV[3], since = since }))
if ARGV[4] == '1' then audit(ARGV[3], 'pause', ARGV[2], gate) end
if not was then
  feed('type', 'gate', 'event', 'closed', 'gate', gate, 'reason', ARGV[2])
  count('gate_closed:' .. gate)
end
return was and 0 or 1
