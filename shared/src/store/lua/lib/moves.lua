-- A job goes from stage to stage: timeline, feed, indexes and counters with it.

-- A line of a timeline, in JSON. Jobs of a run that moved alike share a line, which is encoded once: whoever changes one that
-- was used says so by `changed`.
local encoded = {}
local function text_of(line, changed)
  local text = not changed and encoded[line]
  if not text then
    line.at = NOW
    text = cjson.encode(line)
    encoded[line] = text
  end
  return text
end

-- What a job has only in some stages.
local OF_STAGE = {
  queued = { 'entry' }, retrying = { 'entry' }, checking = { 'entry', 'worker', 'redelivered' }, ready = { 'entry' },
  submitted = { 'nonce', 'signer' }, confirming = { 'nonce', 'signer' }, delayed = { 'due' }, held = { 'due' },
  gated = { 'gate' },
}

-- What `detach` reads of a job to take it out of a stage.
local LEFT_BY = {
  queued = 'entry', retrying = 'entry', checking = 'entry', ready = 'entry', confirming = 'nonce', gated = 'gate',
}

-- What is asked of a job where so many move that reading all of it costs, by `job_of` instead of `record`: what any move needs,
-- what it takes to leave the stages that it is taken `from`, and what else the script names.
local function fields_of(from, ...)
  local fields, has = { 'kind', 'stage', 'epoch', 'lines', ... }, {}
  for stage in pairs(from) do
    local field = LEFT_BY[stage]
    if field and not has[field] then fields[#fields + 1] = field; has[field] = true end
  end
  return fields
end
local function job_of(id, fields)
  local values = redis.call('HMGET', job_key(id), unpack(fields))
  -- A table that is made with room for its fields need not grow with each of them.
  local job = { kind = nil, stage = nil, epoch = nil, lines = nil, entry = nil, payload = nil, attempts = nil, pack_max = nil,
    refund_requested = nil, created_at = nil }
  for i = 1, #fields do job[fields[i]] = values[i] or nil end
  return job
end

-- What a job is asked to do.
local function asked_of(id, job)
  return cjson.decode(job.payload or redis.call('HGET', job_key(id), 'payload'))
end

-- Writes fields of a job, and a line of its timeline. The lines are fields, so that nobody has to read them to add one; the
-- first is not counted, as all jobs have it and many have no other. A long timeline loses its middle.
local function put(id, job, line, ...)
  if not job.stage then
    redis.call('HSET', job_key(id), 'log:1', line, ...)
    return
  end
  local n = (tonumber(job.lines) or 1) + 1
  job.lines = digits(n)
  redis.call('HSET', job_key(id), 'lines', job.lines, 'log:' .. job.lines, line, ...)
  if n > LINES_MAX then redis.call('HDEL', job_key(id), 'log:' .. digits(n - LINES_MAX + LINES_FIRST)) end
end

-- Adds a line to the job's timeline.
local function log(id, job, line) put(id, job, text_of(line, true)) end

local STATE_OF = {
  queued = 'pending', waiting = 'pending', delayed = 'pending', held = 'pending', gated = 'pending',
  checking = 'processing', ready = 'processing', submitted = 'processing', confirming = 'processing',
  retrying = 'retrying', done = 'done', failed = 'failed', cancelled = 'cancelled',
}

-- Whether `fence` is the value of a lease that exists. Leaders that are none any more are counted.
local holder
local function is_fenced_in(fence)
  if fence == '' then return false end
  holder = holder or redis.call('GET', key('lease'))
  if holder == fence then return true end
  count('fenced_writes')
  return false
end

-- What of the hash is to go between two stages.
local left_behind = {}
local function gone_between(stage, next)
  local by_next = left_behind[stage] or {}
  left_behind[stage] = by_next
  if not by_next[next] then
    local stays, gone = {}, {}
    for _, field in ipairs(OF_STAGE[next] or {}) do stays[field] = true end
    for _, field in ipairs(OF_STAGE[stage] or {}) do
      if not stays[field] then gone[#gone + 1] = field end
    end
    by_next[next] = gone
  end
  return by_next[next]
end

-- Removes whatever the job's present stage keeps outside its hash, and what it keeps in it and the `next` stage does not.
local function detach(id, job, next)
  local stage = job.stage
  if stage == 'queued' or stage == 'retrying' or stage == 'checking' then
    -- A claimed entry is done with when the claim is.
    if job.entry and next ~= 'checking' then spend(job.entry) end
  elseif stage == 'ready' then
    if job.entry then redis.call('XDEL', key('ready'), job.entry) end
  elseif stage == 'delayed' or stage == 'held' then
    redis.call('ZREM', key('delayed'), id)
  elseif stage == 'gated' then
    if job.gate then redis.call('ZREM', key('parked:') .. job.gate, id) end
  elseif stage == 'confirming' then
    displace(key('settling'), id)
  end
  local gone = gone_between(stage, next)
  -- One that was settled has no nonce.
  if gone[1] and (stage ~= 'confirming' or job.nonce) then redis.call('HDEL', job_key(id), unpack(gone)) end
  for i = 1, #gone do job[gone[i]] = nil end
end

-- Takes the job to `stage` by `event`: indexes, timeline, feed and counters together. `line` may carry more of the
-- timeline's fields; `...` are further fields of the hash.
local function move(id, job, stage, event, line, ...)
  local before = job.stage
  if before and stage ~= before then detach(id, job, stage) end
  local state, was = STATE_OF[stage], before and STATE_OF[before]
  line = line or {}
  local changed = line.event ~= event or line.stage ~= stage
  line.event, line.stage = event, stage
  if state == was then
    put(id, job, text_of(line, changed), 'stage', stage, 'updated_at', NOW, ...)
  else
    put(id, job, text_of(line, changed), 'state', state, 'stage', stage, 'updated_at', NOW, ...)
  end
  job.stage = stage
  stands(id, was, state)
  tell(id, job.kind, event, stage)
end

-- Puts the job into the `jobs` stream and takes it to `stage` (queued or retrying).
local function enqueue(id, job, stage, event, line, ...)
  local entry = redis.call('XADD', key('jobs'), '*', 'job', id, 'epoch', job.epoch or '0')
  move(id, job, stage, event, line, 'entry', entry, ...)
  job.entry = entry
end

-- Puts a checked job where the leader finds it.
local function hand_over(id, job, event, line)
  local entry = redis.call('XADD', key('ready'), '*', 'job', id, 'epoch', job.epoch)
  move(id, job, 'ready', event, line, 'entry', entry)
end

-- The stages in which an entry of `jobs` may bring a job to a worker.
local CLAIMABLE = { queued = true, retrying = true, checking = true }

-- Gives the job to `worker` under a new epoch. Its entry stays pending in the group until the verdict is stored.
-- `redelivered`: how often it came back from a worker that died, where it does now.
local claim_lines = {}
local function claim(id, job, worker, redelivered)
  local before = job.stage
  job.epoch = digits((job.epoch or 0) + 1)
  -- A run claims for one worker, and only one job that comes back.
  local line = claim_lines[before] or { by = worker, from = before, redelivered = redelivered }
  claim_lines[before] = line
  move(id, job, 'checking', 'claim', line, 'epoch', job.epoch, 'worker', worker)
  if redelivered then
    redis.call('HSET', job_key(id), 'redelivered', redelivered)
  end
end

-- Acknowledges and deletes an entry that its job does not name.
local function drop_entry(entry)
  spend(entry)
  count('stale_entries')
end

-- What stands in the way of an event on this job, as the numbers that `Refusal` in script.rs mirrors; 0 = nothing.
-- `allowed` maps the stages the event may leave. Stages that belong to the leader need the fence.
local LEADER_STAGES = { ready = true, submitted = true, confirming = true }
local function refusal(job, epoch, allowed, fence)
  if not job.stage then return 1 end
  if (job.epoch or '0') ~= epoch then return 2 end
  if not allowed[job.stage] then return 3 end
  if LEADER_STAGES[job.stage] and not is_fenced_in(fence) then return 4 end
  return 0
end

-- The record that workers and the leader need of a job that no nonce holds, and what of it no move needs.
local OF_A_BRIEF = { 'payload', 'attempts', 'pack_max', 'refund_requested', 'created_at' }
local function brief(id, job)
  return { id, job.epoch or '0', job.payload, job.attempts or '0', job.pack_max or '0', job.refund_requested or '0',
    job.created_at, job.stage, '', job.kind }
end
