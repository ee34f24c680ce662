-- Writes a further signed attempt at an open nonce before anybody may broadcast it: a fee bump, or a cancel.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = lease value, 2 = signer, 3 = nonce, 4 = attempts so far, 5 = attempt, 6 = hash, 7 = 1 when it cancels
-- Returns: {0, ms} journaled; {1} this very hash is journaled already; {2} lease not ours; {3} no open transaction at
--          this nonce; {4, attempts} another attempt came first; {5} only cancels may follow a cancel
local signer, nonce, n, hash, cancels = ARGV[2], ARGV[3], ARGV[4], ARGV[6], ARGV[7] == '1'
if not is_fenced_in(ARGV[1]) then return { 2 } end
local tx_key = key('tx:') .. signer .. ':' .. nonce
local state = redis.call('HGET', tx_key, 'state')
if state ~= 'open' and state ~= 'cancelling' then return { 3 } end
local so_far = redis.call('HGET', tx_key, 'attempts')
if so_far ~= n then
  if redis.call('HGET', tx_key, 'hash:' .. n) == hash then return { 1 } end
  return { 4, so_far }
end
if state == 'cancelling' and not cancels then return { 5 } end
redis.call('HSET', tx_key, 'state', cancels and 'cancelling' or 'open', 'attempts', digits(n + 1),
  'attempt:' .. n, ARGV[5], 'hash:' .. n, hash, 'at:' .. n, NOW)
redis.call('SET', key('hash:') .. hash, signer .. ':' .. nonce)
redis.call('HINCRBY', key('signer:') .. signer, cancels and 'cancels' or 'bumps', 1)
feed('type', 'tx', 'event', cancels and 'cancelling' or 'bumped', 'signer', signer, 'nonce', nonce, 'hash', hash)
return { 0, NOW }
