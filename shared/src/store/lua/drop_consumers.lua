-- Removes consumers that left the group's memory full of names: silent for long, and with nothing pending. One with
-- pending entries stays until those are taken over: removing it would forget them.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = least idle ms
-- Returns: the names removed
local out = {}
if redis.call('EXISTS', key('jobs')) == 0 then return out end
for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', key('jobs'), 'relayers')) do
  local consumer = {}
  for i = 1, #flat, 2 do consumer[flat[i]] = flat[i + 1] end
  if consumer.pending == 0 and consumer.idle >= tonumber(ARGV[1]) then
    redis.call('XGROUP', 'DELCONSUMER', key('jobs'), 'relayers', consumer.name)
    out[#out + 1] = consumer.name
  end
end
return out
