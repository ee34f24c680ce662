-- Remembers the newest block that is final, so that a reorganisation deeper than the confirmations is noticed, also by the
-- next leader. What lies deeper than any reorganisation is not watched any more.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = lease value, 2 = block, 3 = its hash
-- Returns: 0 written, 1 lease not ours
if not is_fenced_in(ARGV[1]) then return 1 end
redis.call('HSET', key('synced'), 'final_block', ARGV[2], 'final_hash', ARGV[3])
redis.call('ZREMRANGEBYSCORE', key('learned'), '-inf', ARGV[2] - UNDOABLE)
return 0
