-- What a script writes once, at its end, for all the jobs it moved: `linked` in script.rs runs `conclude` behind every body
-- that names any of this, also where the body fails half-way.
local counted = {}
local places = {}
local spent = {}
local stood_in = {}
local stands_in = {}
local displaced = {}
local told = {}
local told_last = {}
local happened = {}
local function count(name, by) counted[name] = (counted[name] or 0) + (by or 1) end
-- Puts `member` into the sorted set `k`, by the time of now where there is no `score`.
local function place(k, member, score)
  local all = places[k] or {}
  places[k] = all
  all[#all + 1] = score or now()
  all[#all + 1] = member
end
-- Takes `member` out of the sorted set `k`.
local function displace(k, member)
  local all = displaced[k] or {}
  displaced[k] = all
  all[#all + 1] = member
end
-- The index of the jobs of a state.
local by_state_keys = {}
local function by_state(state)
  by_state_keys[state] = by_state_keys[state] or key('by:') .. state
  return by_state_keys[state]
end
-- Puts a job into the index of its state, and out of that of the state before.
local function stands(id, was, state)
  if not stands_in[id] then stood_in[id] = was end
  stands_in[id] = state
end
-- Lets those who watch know that a job moved, and counts it. Jobs that moved alike share an entry of the feed.
local function tell(id, kind, event, stage)
  local moved = told_last
  -- Most move like the one before.
  if moved.event ~= event or moved.stage ~= stage or moved.kind ~= kind then
    moved = told[event .. ' ' .. stage .. ' ' .. kind]
  end
  if not moved or #moved.jobs == TOLD_MAX then
    moved = { event = event, stage = stage, kind = kind, jobs = {} }
    told[event .. ' ' .. stage .. ' ' .. kind] = moved
    told[#told + 1] = moved
  end
  told_last = moved
  moved.jobs[#moved.jobs + 1] = id
  happened[event] = (happened[event] or 0) + 1
end
-- An entry of `jobs` that is done with.
local function spend(entry) spent[#spent + 1] = entry end
local function conclude()
  -- What cannot be written, because a key holds something else, keeps nothing else from being written: the jobs have moved.
  local function write(command, k, ...)
    local reply = redis.pcall(command, k, ...)
    if type(reply) == 'table' and reply.err then redis.pcall('HINCRBY', key('stats'), 'unwritten:' .. command, 1) end
  end
  for id, state in pairs(stands_in) do
    local was = stood_in[id]
    if was and was ~= state then displace(by_state(was), id) end
    place(by_state(state), id)
  end
  for k, all in pairs(displaced) do write('ZREM', k, unpack(all)) end
  for k, all in pairs(places) do write('ZADD', k, unpack(all)) end
  for name, by in pairs(counted) do write('HINCRBY', key('stats'), name, by) end
  for event, by in pairs(happened) do write('HINCRBY', key('stats'), 'event:' .. event, by) end
  for _, moved in ipairs(told) do
    write('XADD', key('events'), 'MAXLEN', '~', FEED_MAX, '*', 'at', now(), 'type', 'job', 'kind', moved.kind, 'event',
      moved.event, 'stage', moved.stage, 'job', table.concat(moved.jobs, ' '))
  end
  if spent[1] then
    write('XACK', key('jobs'), 'relayers', unpack(spent))
    write('XDEL', key('jobs'), unpack(spent))
  end
end
