-- Takes a relayer that stops in good order off the fleet's list.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = worker
-- Returns: 1 it was on the list, 0 it was not
redis.call('DEL', key('fleet:') .. ARGV[1])
local was = redis.call('ZREM', key('fleet'), ARGV[1])
if was == 1 then feed('type', 'relayer', 'event', 'left', 'worker', ARGV[1]) end
return was
