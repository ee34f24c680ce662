-- Removes a signer's oldest transactions, once their nonces are closed and no ended job is left that shows them. The newest
-- stay: a takeover looks at them. Jobs that failed, or are at it again, keep none: they stay for as long as it takes.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = signer, 2 = how many of the newest nonces stay, 3 = at most this many
-- Returns: how many nonces were passed
local signer = ARGV[1]
local k = key('signer:') .. signer
local range = redis.call('HMGET', k, 'first', 'next')
local first, last = tonumber(range[1] or ''), tonumber(range[2] or '0') - tonumber(ARGV[2]) - 1
if not first then return 0 end

local function is_shown(tx)
  for _, held in ipairs(cjson.decode(tx.intent).jobs) do
    local stage = redis.call('HGET', job_key(held.job), 'stage')
    if stage == 'done' or stage == 'cancelled' then return true end
  end
  return false
end

local passed = 0
while passed < tonumber(ARGV[3]) and first + passed <= last do
  local tx_key = key('tx:') .. signer .. ':' .. digits(first + passed)
  local tx = record(tx_key)
  if tx.state then
    if tx.state ~= 'closed' or is_shown(tx) then break end
    for n = 0, tx.attempts - 1 do redis.call('DEL', key('hash:') .. tx['hash:' .. n]) end
    redis.call('DEL', tx_key)
  end
  passed = passed + 1
end
if passed > 0 then redis.call('HSET', k, 'first', digits(first + passed)) end
return passed
