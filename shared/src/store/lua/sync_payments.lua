-- Marks payment ids that the chain shows as paid, so that none of them is accepted again after Redis was emptied.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = lease value, then per payment: payment id, block, hash, referrer, child, usdc, sge
-- Returns: {code, marked}: 0 done, 1 lease not ours
if not is_fenced_in(ARGV[1]) then return { 1, 0 } end
local marked = 0
for i = 2, #ARGV, 7 do
  local k = key('payment:') .. ARGV[i]
  if redis.call('HSETNX', k, 'decision', 'paid_on_chain') == 1 then
    redis.call('HSET', k, 'paid_block', ARGV[i + 1], 'paid_hash', ARGV[i + 2], 'referrer', ARGV[i + 3], 'wallet',
      ARGV[i + 4], 'usdc', ARGV[i + 5], 'sge', ARGV[i + 6], 'created_at', NOW)
    redis.call('ZADD', key('payments:') .. ARGV[i + 4], NOW, ARGV[i])
    marked = marked + 1
  end
end
return { 0, marked }
