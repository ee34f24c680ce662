-- Opens a gate. The jobs parked under it are released by `release_parked`, in slices.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = gate, 2 = reason, 3 = who, 4 = 1 when an operator does it, 5 = block in which the condition is over, or ''
-- Returns: 1 opened now, 0 was open
local gate = ARGV[1]
local closed = redis.call('HGET', key('gate'), gate)
redis.call('HDEL', key('gate'), gate)
if ARGV[5] ~= '' then redis.call('HSET', key('gate:opened'), gate, ARGV[5]) end
-- For `gate_close`, should it close again soon. An operator knows; relayers may only be trying.
if closed and ARGV[4] ~= '1' then
  redis.call('HSET', key('gate:opened'), 'since:' .. gate, cjson.decode(closed).since .. ':' .. NOW)
end
if ARGV[4] == '1' then audit(ARGV[3], 'resume', ARGV[2], gate) end
if closed then feed('type', 'gate', 'event', 'opened', 'gate', gate, 'reason', ARGV[2]) end
return closed and 1 or 0
