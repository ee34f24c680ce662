-- Records that the chain shows these referrals, and lets the payouts go that waited for them.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = lease value, then triples of child, referrer, block
-- Returns: 0 recorded, 1 lease not ours
if not is_fenced_in(ARGV[1]) then return 1 end
for i = 2, #ARGV, 3 do
  registered(ARGV[i], ARGV[i + 1], ARGV[i + 2])
end
return 0
