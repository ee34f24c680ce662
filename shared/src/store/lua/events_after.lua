-- Reads the live feed after one entry, with what it takes to tell whether entries in between are gone. Writes nothing.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = from where on, as XRANGE takes it, or '' to read nothing but the end, 2 = at most this many
-- Returns: rows of texts: {oldest id or '', newest id ever given, entries ever added, entries}, then per entry:
--          its id, then fields and values
local k = key('events')
if redis.call('EXISTS', k) == 0 then return { { '', '0-0', 0, 0 } } end
local info = redis.call('XINFO', 'STREAM', k)
local stream = {}
for i = 1, #info, 2 do stream[info[i]] = info[i + 1] end
local first = stream['first-entry']
local out = { { first and first[1] or '', stream['last-generated-id'], stream['entries-added'], stream.length } }
if ARGV[1] == '' then return out end
for _, entry in ipairs(redis.call('XRANGE', k, ARGV[1], '+', 'COUNT', ARGV[2])) do
  out[#out + 1] = { entry[1], unpack(entry[2]) }
end
return out
