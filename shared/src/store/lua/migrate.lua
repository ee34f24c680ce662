-- Creates the consumer group and the schema version. Safe to run again.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = schema version of this program
-- Returns: {code, stored version}: 0 created, 1 was there, 2 upgraded, 3 the stored schema is newer than this program
local stored = redis.call('GET', key('schema'))
if stored and tonumber(stored) > tonumber(ARGV[1]) then return { 3, stored } end
local groups = redis.call('EXISTS', key('jobs')) == 1 and redis.call('XINFO', 'GROUPS', key('jobs')) or {}
if #groups == 0 then redis.call('XGROUP', 'CREATE', key('jobs'), 'relayers', '0', 'MKSTREAM') end
redis.call('SET', key('schema'), ARGV[1])
if not stored then return { 0, ARGV[1] } end
return { stored == ARGV[1] and 1 or 2, stored }
