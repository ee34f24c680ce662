-- Gives the next nonce to one intent: writes the signed bytes before anybody may broadcast them, and takes the jobs to
-- `submitted`. Writes all of it or nothing.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = lease value, 2 = signer, 3 = nonce, 4 = kind, 5 = intent, 6 = attempt, 7 = hash, 8 = most open nonces,
--       then pairs of job id, epoch
-- Returns: {0, ms} journaled; {1} this very hash is journaled already; {2} lease not ours; {3, next} another nonce is
--          next; {4} signing is paused, by an operator or by a disagreement about money; {5} too many open nonces;
--          {6} not synced; {7, job ids} these may not be signed
local fence, signer, nonce, kind, hash = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[7]
if not is_fenced_in(fence) then return { 2 } end
local tx_key = key('tx:') .. signer .. ':' .. nonce
local signer_key = key('signer:') .. signer
local held = redis.call('HGET', tx_key, 'hash:0')
if held then
  if held == hash then return { 1 } end
  return { 3, redis.call('HGET', signer_key, 'next') or '' }
end
local counts = redis.call('HMGET', signer_key, 'next', 'first')
local next, first = counts[1], counts[2]
local fills_a_hole = kind == 'filler' and next and tonumber(nonce) < tonumber(next)
if not fills_a_hole and next ~= nonce then return { 3, next or '' } end
if kind ~= 'filler' then
  -- An operator's pause, and money on which chain and Redis disagree, both stop new nonces.
  if redis.call('HEXISTS', key('gate'), 'signing') == 1 then return { 4 } end
  if redis.call('HEXISTS', key('gate'), 'lane:reconcile') == 1 then return { 4 } end
  if redis.call('ZCARD', key('open:') .. signer) >= tonumber(ARGV[8]) then return { 5 } end
end
if not is_synced() then return { 6 } end

local offenders, jobs, named, fields = {}, {}, {}, fields_of({ ready = true }, 'refund_requested')
for i = 9, #ARGV, 2 do
  local id = ARGV[i]
  local job = job_of(id, fields)
  if named[id] or job.stage ~= 'ready' or job.epoch ~= ARGV[i + 1] or job.refund_requested == '1' then
    offenders[#offenders + 1] = id
  end
  named[id], jobs[#jobs + 1] = true, { id, job }
end
if #offenders > 0 then return { 7, offenders } end

redis.call('HSET', tx_key, 'state', 'open', 'kind', kind, 'intent', ARGV[5], 'attempts', '1', 'attempt:0', ARGV[6],
  'hash:0', hash, 'at:0', NOW, 'created_at', NOW, 'fence', fence)
redis.call('ZADD', key('open:') .. signer, nonce, nonce)
if not fills_a_hole then redis.call('HSET', signer_key, 'next', digits(nonce + 1)) end
if not first or tonumber(nonce) < tonumber(first) then redis.call('HSET', signer_key, 'first', nonce) end
redis.call('HINCRBY', signer_key, 'journaled', 1)
redis.call('SADD', key('signers'), signer)
redis.call('SET', key('hash:') .. hash, signer .. ':' .. nonce)
local line = { nonce = nonce, hash = hash, fence = fence }
for _, pair in ipairs(jobs) do
  move(pair[1], pair[2], 'submitted', 'journal', line, 'nonce', nonce, 'signer', signer, 'last_nonce', nonce,
    'last_signer', signer)
end
feed('type', 'tx', 'event', 'journaled', 'signer', signer, 'nonce', nonce, 'hash', hash, 'jobs', #jobs)
return { 0, NOW }
