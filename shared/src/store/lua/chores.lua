-- What is due to be put back into the queue, for the one relayer whose turn it is to do so. Takes no job anywhere.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = worker, 2 = ms that its turn lasts, 3 = at most this many children, 4 = least idle ms of a silent worker
-- Returns: {1, ms until the next delay is over or -1, children to unblock, gates that are open with jobs parked,
--          whether a silent worker holds an entry}; {0} when it is another's turn
local turn = key('turn')
local holder = redis.call('GET', turn)
if holder and holder ~= ARGV[1] then return { 0 } end
redis.call('SET', turn, ARGV[1], 'PX', ARGV[2])
local first = redis.call('ZRANGE', key('delayed'), 0, 0, 'WITHSCORES')
local children = {}
for i, field in ipairs(redis.call('HSCAN', key('unblock'), 0, 'COUNT', ARGV[3])[2]) do
  if i % 2 == 1 then children[#children + 1] = field end
end
local open = {}
for _, gate in ipairs(redis.call('SMEMBERS', key('parking'))) do
  if redis.call('HEXISTS', key('gate'), gate) == 0 then open[#open + 1] = gate end
end
-- An emptied Redis has no group until a relayer makes sure of it: then nobody holds anything.
local silent = redis.pcall('XPENDING', key('jobs'), 'relayers', 'IDLE', ARGV[4], '-', '+', 1)
if silent.err then
  if string.sub(silent.err, 1, 7) ~= 'NOGROUP' then return silent end
  silent = {}
end
return { 1, first[2] and math.max(0, first[2] - NOW) or -1, children, open, #silent }
