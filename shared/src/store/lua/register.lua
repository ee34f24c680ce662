-- Accepts a registration: records the referral and, with a referrer, enqueues the job that writes it on-chain.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = child, 2 = referrer or '', 3 = new job id, 4 = payload, 5 = actor
-- Returns: {code, job id or '', referrer or ''}: 0 accepted, 1 known already, 2 recorded without referrer,
--          3 another referrer is recorded, 4 cycle of two, 5 not synced, 6 intake is paused

local child, referrer, id, payload, actor = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if not is_synced() then return { 5, '', '' } end
if redis.call('HEXISTS', key('gate'), 'intake') == 1 then return { 6, '', '' } end

local k = key('referral:') .. child
local known = record(k)
if referrer == '' then
  if known.referrer then return { 1, known.job or '', known.referrer } end
  if not known.status then
    redis.call('HSET', k, 'status', 'unreferred', 'created_at', NOW)
    return { 2, '', '' }
  end
  return { 2, '', '' }
end

local open_again = known.status == 'failed'
if known.referrer and not open_again then
  if known.referrer == referrer then return { 1, known.job or '', referrer } end
  return { 3, known.job or '', known.referrer }
end
local above = record(key('referral:') .. referrer)
if above.referrer == child and above.status ~= 'failed' then return { 4, above.job or '', above.referrer } end

start_registration(id, child, referrer, payload, { by = actor })
return { 0, id, referrer }
