-- Sets the next nonce after a takeover looked at the chain. Never below a journaled nonce that is open.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = lease value, 2 = signer, 3 = expected next nonce or '', 4 = new next nonce
-- Returns: 0 set, 1 lease not ours, 2 the stored nonce is not the expected one
if not is_fenced_in(ARGV[1]) then return 1 end
local k = key('signer:') .. ARGV[2]
if (redis.call('HGET', k, 'next') or '') ~= ARGV[3] then return 2 end
redis.call('HSET', k, 'next', ARGV[4])
return 0
