-- Holds one slice of the jobs of a state against what their stage needs outside the hash (an entry, a due time, a place
-- under a gate, an open nonce) and rebuilds from the hash what is gone. Nothing but a rollback of Redis, a defect or a
-- hand in Redis makes that necessary.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = state, 2 = how many jobs of it to skip, 3 = at most this many, 4 = who
-- Returns: {how many were looked at}, then per job that was rebuilt or cannot be read: its id, its stage, and the error
--          or ''

-- Whether a stream id is at or before another one.
local function at_or_before(a, b)
  local a_ms, a_seq = string.match(a, '(%d+)-(%d+)')
  local b_ms, b_seq = string.match(b, '(%d+)-(%d+)')
  if tonumber(a_ms) ~= tonumber(b_ms) then return tonumber(a_ms) < tonumber(b_ms) end
  return tonumber(a_seq) <= tonumber(b_seq)
end

local function exists(stream, entry)
  return entry and #redis.call('XRANGE', key(stream), entry, entry) > 0
end

local delivered
local function last_delivered()
  if not delivered then
    local group = redis.call('XINFO', 'GROUPS', key('jobs'))[1] or {}
    for i = 1, #group, 2 do
      if group[i] == 'last-delivered-id' then delivered = group[i + 1] end
    end
  end
  return delivered or '0-0'
end

-- Whether a worker will get this entry: it is yet to be delivered, or pending for somebody.
local function will_be_delivered(entry)
  if not exists('jobs', entry) then return false end
  if not at_or_before(entry, last_delivered()) then return true end
  return #redis.call('XPENDING', key('jobs'), 'relayers', entry, entry, 1) > 0
end

local function is_open(job)
  return job.nonce and redis.call('ZSCORE', key('open:') .. job.signer, job.nonce)
end

-- Puts a nonce that the journal still holds back among the open ones; a job that no open nonce holds is queued again, and
-- the check stage looks at the chain first.
local function reopen(id, job, line)
  local state = redis.call('HGET', key('tx:') .. job.signer .. ':' .. job.nonce, 'state')
  if state == 'open' or state == 'cancelling' then
    redis.call('ZADD', key('open:') .. job.signer, job.nonce, job.nonce)
    move(id, job, job.stage, 'rebuild', line)
  else
    enqueue(id, job, 'queued', 'requeue', line)
  end
end

-- One function per stage: rebuilds, or returns false where nothing is missing.
local rebuild = {}
local function rebuild_entry(stage)
  return function(id, job, line)
    if will_be_delivered(job.entry) then return false end
    if job.entry then drop_entry(job.entry) end
    enqueue(id, job, stage, 'rebuild', line)
  end
end
rebuild.queued = rebuild_entry('queued')
rebuild.retrying = rebuild_entry('retrying')
rebuild.checking = rebuild_entry('queued')
function rebuild.ready(id, job, line)
  if exists('ready', job.entry) then return false end
  hand_over(id, job, 'rebuild', line)
end
local function rebuild_due(id, job, line)
  if redis.call('ZSCORE', key('delayed'), id) then return false end
  redis.call('ZADD', key('delayed'), job.due or NOW, id)
  move(id, job, job.stage, 'rebuild', line)
end
rebuild.delayed, rebuild.held = rebuild_due, rebuild_due
function rebuild.gated(id, job, line)
  if not job.gate then return enqueue(id, job, 'queued', 'release', line) end
  if redis.call('ZSCORE', key('parked:') .. job.gate, id)
    and redis.call('SISMEMBER', key('parking'), job.gate) == 1 then return false end
  park(id, job.gate)
  move(id, job, 'gated', 'rebuild', line)
end
function rebuild.waiting(id, job, line)
  local child = cjson.decode(job.payload).child
  local status = redis.call('HGET', key('referral:') .. child, 'status')
  local verdict = ({ registered = 'release', failed = 'fail' })[status]
  local is_called = not verdict or redis.call('HEXISTS', key('unblock'), child) == 1
  if is_called and redis.call('SISMEMBER', key('waiting:') .. child, id) == 1 then return false end
  redis.call('SADD', key('waiting:') .. child, id)
  if verdict then redis.call('HSET', key('unblock'), child, verdict) end
  move(id, job, 'waiting', 'rebuild', line)
end
function rebuild.submitted(id, job, line)
  if is_open(job) then return false end
  reopen(id, job, line)
end
function rebuild.confirming(id, job, line)
  if job.nonce then return rebuild.submitted(id, job, line) end
  if redis.call('ZSCORE', key('settling'), id) then return false end
  redis.call('ZADD', key('settling'), job.block or 0, id)
  move(id, job, 'confirming', 'rebuild', line)
end

local by = key('by:') .. ARGV[1]
local ids = redis.call('ZRANGE', by, ARGV[2], ARGV[2] + ARGV[3] - 1)
local out = { #ids }
for _, id in ipairs(ids) do
  local could, job = pcall(record, job_key(id))
  local stage = could and job.stage
  if not could then
    count('unreadable:record')
    for _, field in ipairs({ id, 'unknown', in_words(job) }) do out[#out + 1] = field end
  elseif not stage or STATE_OF[stage] ~= ARGV[1] then
    redis.call('ZREM', by, id)
    if stage then redis.call('ZADD', key('by:') .. STATE_OF[stage], job.updated_at, id) end
  elseif rebuild[stage] then
    -- A record that cannot be read must not keep the others from being looked at.
    local fine, rebuilt = pcall(rebuild[stage], id, job, { by = ARGV[4], from = stage })
    if not fine or rebuilt ~= false then
      count((fine and 'rebuilt:' or 'unreadable:') .. stage)
      for _, field in ipairs({ id, stage, fine and '' or in_words(rebuilt) }) do out[#out + 1] = field end
    end
  end
end
return out
