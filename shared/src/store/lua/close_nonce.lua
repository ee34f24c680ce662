-- Closes a nonce that is consumed at the configured depth, once no job is held by it any more.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = lease value, 2 = signer, 3 = nonce, 4 = consumed by: ours | cancel | stranger, 5 = hash or ''
-- Returns: 0 closed, 1 lease not ours, 2 no open transaction at this nonce, 3 a job is still held by it
local signer, nonce = ARGV[2], ARGV[3]
if not is_fenced_in(ARGV[1]) then return 1 end
local tx_key = key('tx:') .. signer .. ':' .. nonce
local tx = record(tx_key)
if tx.state ~= 'open' and tx.state ~= 'cancelling' then return 2 end
for _, held in ipairs(cjson.decode(tx.intent).jobs) do
  local job = redis.call('HMGET', job_key(held.job), 'nonce', 'signer')
  if job[1] == nonce and job[2] == signer then return 3 end
end
redis.call('HSET', tx_key, 'state', 'closed', 'consumed_by', ARGV[4], 'final_hash', ARGV[5], 'closed_at', NOW)
redis.call('ZREM', key('open:') .. signer, nonce)
redis.call('HINCRBY', key('signer:') .. signer, 'closed:' .. ARGV[4], 1)
feed('type', 'tx', 'event', 'closed', 'signer', signer, 'nonce', nonce, 'by', ARGV[4])
return 0
