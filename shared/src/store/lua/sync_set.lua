-- Records up to which block contract events were replayed into this very server process; a replay that ran is over.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = lease value, 2 = run id that the replay began on, 3 = block
-- Returns: 0 set, 1 lease not ours, 2 the server is another process by now
if not is_fenced_in(ARGV[1]) then return 1 end
if string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') ~= ARGV[2] then return 2 end
redis.call('HSET', key('synced'), 'run_id', ARGV[2], 'block', ARGV[3], 'at', NOW)
redis.call('HDEL', key('synced'), 'replaying_from', 'replaying_to', 'replaying_at', 'events',
  'replaying_run')
return 0
