-- Records that the chain shows these referrals, and lets the payouts go that waited for them.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = lease value, then triples of child, referrer, block
-- Returns: 0 recorded, 1 lease not ours
if not is_fenced_in(ARGV[1]) then return 1 end
for i = 2, #ARGV, 3 do
  local child, referrer, block = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local k = key('referral:') .. child
  local known = redis.call('HMGET', k, 'status', 'referrer')
  if known[1] ~= 'registered' or known[2] ~= referrer then
    redis.call('HSET', k, 'status', 'registered', 'referrer', referrer, 'block', block)
    redis.call('HSETNX', k, 'created_at', NOW)
  end
  if redis.call('EXISTS', key('waiting:') .. child, key('stranded:') .. child) > 0 then redis.call('HSET', key('unblock'), child, 'release') end
end
return 0
