-- Shows how far a replay of contract events has come; `sync_set` takes it away again.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = lease value, 2 = first block of the replay, 3 = its last block, 4 = the block up to which it has come or '',
--       5 = events so far, 6 = run id of the server process that is replayed into
-- Returns: 0 written, 1 lease not ours
if not is_fenced_in(ARGV[1]) then return 1 end
redis.call('HSET', key('synced'), 'replaying_from', ARGV[2], 'replaying_to', ARGV[3], 'replaying_at', ARGV[4], 'events',
  ARGV[5], 'replaying_run', ARGV[6])
return 0
