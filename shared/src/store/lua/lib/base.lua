-- What every script may need. Only what one names of these files is put in front of it when it is loaded: blank lines part
-- what can be left out, and a part names only those above it, in the order in which `script.rs` gives the files.

-- The lane prefix, such as `ail:{main}:`: the only key that a script is given. Every other is derived below it.
local LANE = KEYS[1]
local FEED_MAX = 10000
-- Lines of a timeline, and how many of its first ones stay.
local LINES_MAX = 128
local LINES_FIRST = 16
local REASONS_MAX = 2000
-- Jobs that share an entry of the feed.
local TOLD_MAX = 16

local function key(suffix) return LANE .. suffix end
local function job_key(id) return LANE .. 'job:' .. id end

-- Unix milliseconds of the Redis clock.
local function clock()
  local t = redis.call('TIME')
  return string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
end

-- The same, asked for once, and only where somebody wants to know.
local moment
local function now()
  moment = moment or clock()
  return moment
end

local NOW = now()

-- A whole number in digits. The same few are asked for again and again.
local written = {}
local function digits(n)
  local text = written[n] or string.format('%.0f', n)
  written[n] = text
  return text
end

-- HGETALL as a table.
local function record(k)
  local flat = redis.call('HGETALL', k)
  local out = {}
  for i = 1, #flat, 2 do out[flat[i]] = flat[i + 1] end
  return out
end

-- Compares two decimal integers without leading zeros, of any length: -1, 0 or 1.
local function cmp(a, b)
  if #a ~= #b then return #a < #b and -1 or 1 end
  if a == b then return 0 end
  return a < b and -1 or 1
end

-- The sum of two decimal integers of any length.
local function add(a, b)
  local reversed, carry = {}, 0
  for i = 0, math.max(#a, #b) - 1 do
    -- Counted from the end: before the first digit there is nothing.
    local sum = (tonumber(string.sub(a, -i - 1, -i - 1)) or 0) + (tonumber(string.sub(b, -i - 1, -i - 1)) or 0) + carry
    reversed[#reversed + 1] = sum % 10
    carry = math.floor(sum / 10)
  end
  if carry > 0 then reversed[#reversed + 1] = carry end
  return string.reverse(table.concat(reversed))
end

-- What `pcall` caught, in words: an error of Redis is a table.
local function in_words(caught) return type(caught) == 'table' and caught.err or tostring(caught) end

local function feed(...)
  redis.call('XADD', key('events'), 'MAXLEN', '~', FEED_MAX, '*', 'at', NOW, ...)
end

local function audit(who, what, why, on)
  redis.call('XADD', key('audit'), '*', 'at', NOW, 'who', who, 'what', what, 'why', why, 'on', on)
end
