-- What a script writes once, at its end, for all the jobs it moved: `linked` in script.rs runs `conclude` behind every body
-- that names any of this, also where the body fails half-way.
local counted = {}
local places = {}
local spent = {}
local stood_in = {}
local stands_in = {}
local displaced = {}
local told = {}
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
-- Puts a job into the index of its state, and out of that of the state before.
local function stands(id, was, state)
  if not stands_in[id] then stood_in[id] = was end
  stands_in[id] = state
end
-- Lets those who watch know that a job moved. Jobs that moved alike share an entry of the feed.
local function tell(id, kind, event, stage)
  local like = event .. ' ' .. stage .. ' ' .. kind
  local moved = told[like]
  if not moved or #moved.jobs == TOLD_MAX then
    moved = { jobs = {}, 'type', 'job', 'kind', kind, 'event', event, 'stage', stage, 'job' }
    told[like] = moved
    told[#told + 1] = moved
  end
  moved.jobs[#moved.jobs + 1] = id
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
    if was and was ~= state then displace(key('by:') .. was, id) end
    place(key('by:') .. state, id)
  end
  for k, all in pairs(displaced) do write('ZREM', k, unpack(all)) end
  for k, all in pairs(places) do write('ZADD', k, unpack(all)) end
  for name, by in pairs(counted) do write('HINCRBY', key('stats'), name, by) end
  for _, moved in ipairs(told) do
    moved[#moved + 1] = table.concat(moved.jobs, ' ')
    write('XADD', key('events'), 'MAXLEN', '~', FEED_MAX, '*', 'at', now(), unpack(moved))
  end
  if spent[1] then
    write('XACK', key('jobs'), 'relayers', unpack(spent))
    write('XDEL', key('jobs'), unpack(spent))
  end
end
