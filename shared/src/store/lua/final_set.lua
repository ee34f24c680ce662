-- Remembers the newest block that is final, so that a reorganisation deeper than the confirmations is noticed, also by the
-- next leader. What was compared and lies deeper than any reorganisation is not watched any more.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = lease value, 2 = block, 3 = its hash, 4 = `final`, or `replayed`: it counted as final in a replay; for `final`:
--       5 = how many blocks below it may be undone, 6 = the block up to which all that was learned was held against a final
--       one, or ''
-- Returns: 0 written, 1 lease not ours
if not is_fenced_in(ARGV[1]) then return 1 end
redis.call('HSET', key('synced'), ARGV[4] .. '_block', ARGV[2], ARGV[4] .. '_hash', ARGV[3])
if ARGV[4] == 'replayed' then return 0 end
local replayed = redis.call('HGET', key('synced'), 'replayed_block')
if replayed and tonumber(replayed) <= tonumber(ARGV[2]) then
  redis.call('HDEL', key('synced'), 'replayed_block', 'replayed_hash')
end
if ARGV[6] == '' then
  redis.call('HDEL', key('synced'), 'compared_block')
else
  redis.call('HSET', key('synced'), 'compared_block', ARGV[6])
  redis.call('ZREMRANGEBYSCORE', key('learned'), '-inf', math.min(ARGV[2] - ARGV[5], ARGV[6]))
end
return 0
