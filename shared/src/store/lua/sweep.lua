-- Holds one slice of the jobs of a state against what their stage needs outside the hash (an entry, a due time, a place
-- under a gate, an open nonce) and rebuilds from the hash what is gone. Nothing but a rollback of Redis, a defect or a
-- hand in Redis makes that necessary. The slice goes by the time of the last change, so that a sweep meets everything that
-- does not move, however much of the rest moves meanwhile.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = state, 2 and 3 = score and id of the last job before this slice, '-inf' and '' where it is the first, 4 = the
--       newest change that this sweep looks at, '' in its first slice, 5 = at most about this many, 6 = at most this many of
--       them by their hashes, 7 = who
-- Returns: {the next slice's 2, 3 and 4, '1' where there may be one}, then per job that was rebuilt or cannot be read: its
--          id, its stage, and the error or ''

local AT_ONCE = 64
-- The most jobs that one script moves, and so gives the same time.
local ALIKE = 256

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
    local group = redis.pcall('XINFO', 'GROUPS', key('jobs'))[1] or {}
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

local open = {}
local function is_open(job)
  if not job.nonce then return false end
  local nonce = job.signer .. ':' .. job.nonce
  if open[nonce] == nil then open[nonce] = redis.call('ZSCORE', key('open:') .. job.signer, job.nonce) end
  return open[nonce]
end

-- Puts a nonce that the journal still holds back among the open ones; a job that no open nonce holds is queued again, and
-- the check stage looks at the chain first.
local function reopen(id, job, line)
  local state = redis.call('HGET', key('tx:') .. job.signer .. ':' .. job.nonce, 'state')
  if state == 'open' or state == 'cancelling' then
    redis.call('ZADD', key('open:') .. job.signer, job.nonce, job.nonce)
    open[job.signer .. ':' .. job.nonce] = job.nonce
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

-- The jobs that an entry of the stream names which was made when they changed last, so that somebody gets them. That need
-- not be the entry that the hash names: then it is dropped when it is delivered, and the next sweep looks again.
local function named(first, last)
  local stream = ARGV[1] == 'processing' and 'ready' or 'jobs'
  if stream == 'jobs' then
    local seen = last_delivered()
    if tonumber(string.match(seen, '%d+')) >= tonumber(first) then first = '(' .. seen end
  end
  local jobs, found = {}, redis.pcall('XRANGE', key(stream), first, last, 'COUNT', ALIKE + 2 * AT_ONCE)
  for _, entry in ipairs(found) do jobs[entry[2][2]] = true end
  return jobs
end

local out
local function tell_of(id, stage, error)
  count((error and 'unreadable:' or 'rebuilt:') .. stage)
  for _, field in ipairs({ id, stage, error or '' }) do out[#out + 1] = field end
end

-- Looks at the hash of a job. Returns whether it left the index at once.
local by = key('by:') .. ARGV[1]
local function look_at(id)
  -- The many jobs of an open nonce need nothing but it.
  local held = redis.call('HMGET', job_key(id), 'stage', 'nonce', 'signer')
  if (held[1] == 'submitted' or held[1] == 'confirming') and ARGV[1] == 'processing'
    and is_open({ nonce = held[2], signer = held[3] }) then return false end
  local job = record(job_key(id))
  local stage = job.stage
  if stage and not STATE_OF[stage] then error('no such stage: ' .. stage, 0) end
  if not stage or STATE_OF[stage] ~= ARGV[1] then
    if stage then redis.call('ZADD', key('by:') .. STATE_OF[stage], job.updated_at or NOW, id) end
    redis.call('ZREM', by, id)
    return true
  end
  if rebuild[stage] and rebuild[stage](id, job, { by = ARGV[7], from = stage }) ~= false then tell_of(id, stage) end
  return false
end

local score, member, last = ARGV[2], ARGV[3], ARGV[4]
if last == '' then
  -- Who changed under a clock that was ahead is not left out.
  local newest = redis.call('ZRANGE', by, -1, -1, 'WITHSCORES')[2] or NOW
  last = tonumber(newest) > tonumber(NOW) and newest or NOW
end
local rank = member == '' and 0 or redis.call('ZCOUNT', by, '-inf', '(' .. score)
local left, looks, has_more = tonumber(ARGV[5]), tonumber(ARGV[6]), true
local since, after = score, member
out = {}
-- A few at a time: where most have to be looked at, what was read of the others is read in vain.
while has_more and left > 0 and looks > 0 do
  local rows = redis.call('ZRANGE', by, rank, rank + AT_ONCE - 1, 'WITHSCORES')
  local jobs = rows[1] and named(rows[2], rows[#rows])
  has_more = #rows == 2 * AT_ONCE
  for i = 1, #rows, 2 do
    local id, changed_at = rows[i], rows[i + 1]
    if tonumber(changed_at) > tonumber(last) then has_more = false; break end
    local is_gone = false
    if changed_at ~= since or id > after then
      if not jobs[id] then
        if looks == 0 then has_more = true; break end
        looks = looks - 1
        -- A record that cannot be read must not keep the others from being looked at.
        local fine, came_to = pcall(look_at, id)
        if not fine then tell_of(id, 'record', in_words(came_to)) end
        is_gone = fine and came_to
      end
      left, score, member = left - 1, changed_at, id
    end
    if not is_gone then rank = rank + 1 end
  end
end
return { score, member, last, has_more and '1' or '', unpack(out) }
