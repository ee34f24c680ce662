-- Reads everything about the fleet at one moment, and writes nothing.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = at most this many relayers and this many consumers
-- Returns: six lists of rows of texts:
--          1 one row: now, run id, lease value or '', its remaining ms, entries of `jobs`, those of them in workers'
--            hands, the oldest entry that no worker has or '', entries of `ready`
--          2 one row: the fields and values of `synced`
--          3 relayers, newest heartbeat first: worker, heartbeat, then fields and values
--          4 consumers: name, pending entries, idle ms
--          5 closed gates: gate, its JSON, jobs parked under it
--          6 signers: address, open nonces, the lowest of them or '', when that was journaled or ''
local most = tonumber(ARGV[1])
local jobs = key('jobs')

-- The reply of XINFO, which names each value.
local function named(flat)
  local out = {}
  for i = 1, #flat, 2 do out[flat[i]] = flat[i + 1] end
  return out
end

local groups = redis.call('EXISTS', jobs) == 1 and redis.call('XINFO', 'GROUPS', jobs) or {}
local group = groups[1] and named(groups[1]) or { pending = 0 }
local oldest = group['last-delivered-id'] and
  redis.call('XRANGE', jobs, '(' .. group['last-delivered-id'], '+', 'COUNT', 1)[1]
local lane = { NOW, string.match(redis.call('INFO', 'server'), 'run_id:(%w+)'), redis.call('GET', key('lease')) or '',
  redis.call('PTTL', key('lease')), redis.call('XLEN', jobs), group.pending, oldest and oldest[1] or '',
  redis.call('XLEN', key('ready')) }

local relayers, known = {}, {}
local beats = redis.call('ZREVRANGE', key('fleet'), 0, most - 1, 'WITHSCORES')
for i = 1, #beats, 2 do
  local fields = redis.call('HGETALL', key('fleet:') .. beats[i])
  if #fields > 0 then
    relayers[#relayers + 1] = { beats[i], beats[i + 1], unpack(fields) }
    known[beats[i]] = true
  end
end

-- What a relayer that is long gone leaves behind matters only while entries are pending in its name.
local consumers = {}
for _, flat in ipairs(group.name and redis.call('XINFO', 'CONSUMERS', jobs, group.name) or {}) do
  local consumer = named(flat)
  if (consumer.pending > 0 or known[consumer.name]) and #consumers < most then
    consumers[#consumers + 1] = { consumer.name, consumer.pending, consumer.idle }
  end
end

local gates = {}
for gate, json in pairs(record(key('gate'))) do
  gates[#gates + 1] = { gate, json, redis.call('ZCARD', key('parked:') .. gate) }
end

local signers = {}
for _, signer in ipairs(redis.call('SMEMBERS', key('signers'))) do
  local open = key('open:') .. signer
  local lowest = redis.call('ZRANGE', open, 0, 0)[1]
  local since = lowest and redis.call('HGET', key('tx:') .. signer .. ':' .. lowest, 'created_at')
  signers[#signers + 1] = { signer, redis.call('ZCARD', open), lowest or '', since or '' }
end

return { { lane }, { redis.call('HGETALL', key('synced')) }, relayers, consumers, gates, signers }
