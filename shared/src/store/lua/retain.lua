-- Removes the oldest ended jobs of a state, beyond a count or an age, with their timelines and places in indexes. What they
-- came to stays: the payment, its id spent, and the sums of the affiliate.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = state: done | cancelled, 2 = how many of it to keep at most, 3 = ms after which none is kept,
--       4 = at most this many, 5 = how many of the oldest to skip: those that could not be read, 6 = how many blocks above a
--       done job's must be final: while a reorganisation may undo it, it stays, whatever the count and the age
-- Returns: {how many were removed, how many cannot be read and stay}
local state, slice = ARGV[1], tonumber(ARGV[4])
local by = key('by:') .. state
local surplus = redis.call('ZCARD', by) - tonumber(ARGV[2])
local oldest = redis.call('ZRANGE', by, ARGV[5], ARGV[5] + slice - 1, 'WITHSCORES')

local final = tonumber(redis.call('HGET', key('synced'), 'final_block') or '-1')

-- What outlives a job.
local forget = {}
function forget.register(id, asked, job)
  local referral = 'referral:' .. asked.child
  if redis.call('HGET', key(referral), 'job') == id then redis.call('HDEL', key(referral), 'job') end
  if state ~= 'done' then return end
  -- Once: it may have been registered anew.
  if redis.call('HSET', key(referral), 'archived', state) == 1 then
    redis.call('HINCRBY', key('affiliate:') .. asked.referrer, 'past_children', 1)
  end
end
function forget.payout(id, asked, job)
  local payment, k = key('payment:') .. job.payment, key('affiliate:') .. asked.referrer
  local sums = redis.call('HMGET', k, 'past_usdc', 'past_sge')
  -- Nothing is written before all of it could be read: a script that ends half-way stays half-done.
  local usdc, sge = add(sums[1] or '0', asked.usdc), add(sums[2] or '0', asked.sge)
  unwait(asked.child, id)
  redis.call('ZADD', key('payments:') .. asked.child, job.created_at or NOW, job.payment)
  redis.call('HSET', payment, 'archived', state, 'archived_at', NOW)
  redis.call('HINCRBY', k, 'past_' .. state, 1)
  if state ~= 'done' then return end
  redis.call('HSET', payment, 'paid_block', job.block or '', 'paid_hash', job.hash or '')
  redis.call('HSET', k, 'past_usdc', usdc, 'past_sge', sge)
end

local function remove(id, job)
  local asked = cjson.decode(job.payload)
  forget[job.kind](id, asked, job)
  redis.call('ZREM', key('wallet:') .. asked.child, id)
  redis.call('ZREM', key('wallet:') .. asked.referrer, id)
  redis.call('DEL', job_key(id))
end

local removed, unreadable = 0, 0
for i = 1, #oldest, 2 do
  local id, ended = oldest[i], tonumber(oldest[i + 1])
  if removed >= surplus and ended > NOW - tonumber(ARGV[3]) then break end
  local could, job = pcall(record, job_key(id))
  if could and state == 'done' and job.stage == state and final < (tonumber(job.block) or 0) + ARGV[6] then break end
  -- One that is somewhere else by its hash is put there by the sweeper; one that cannot be read keeps no other.
  if could and (STATE_OF[job.stage] ~= state or pcall(remove, id, job)) then
    redis.call('ZREM', by, id)
    removed = removed + 1
  else
    unreadable = unreadable + 1
  end
end
if removed > 0 then count('retained:' .. state, removed) end
return { removed, unreadable }
