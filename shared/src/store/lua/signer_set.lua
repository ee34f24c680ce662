-- Sets the next nonce after a takeover looked at the chain. Never below a journaled nonce that is open. Takes out from among the
-- open ones what a hand put there: what is no nonce, and what is closed, would take the places of those that are.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = lease value, 2 = signer, 3 = expected next nonce or '', 4 = new next nonce
-- Returns: 0 set, 1 lease not ours, 2 the stored nonce is neither the expected one nor the new one, 3 a nonce is open at or
--          above the new one
if not is_fenced_in(ARGV[1]) then return 1 end
local k = key('signer:') .. ARGV[2]
local stored = redis.call('HGET', k, 'next') or ''
-- What arrives a second time finds the new one.
if stored ~= ARGV[3] and stored ~= ARGV[4] then return 2 end
local open = key('open:') .. ARGV[2]
for _, nonce in ipairs(redis.call('ZRANGE', open, 0, -1)) do
  local is_nonce = string.match(nonce, '^%d+$') and #nonce < 20
  if not is_nonce or redis.pcall('HGET', key('tx:') .. ARGV[2] .. ':' .. nonce, 'state') == 'closed' then
    redis.call('ZREM', open, nonce)
  end
end
local top = redis.call('ZRANGE', open, -1, -1)[1]
if top and tonumber(top) >= tonumber(ARGV[4]) then return 3 end
redis.call('HSET', k, 'next', ARGV[4])
redis.call('SADD', key('signers'), ARGV[2])
return 0
