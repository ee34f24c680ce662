-- Reads a slice of an index of jobs, newest first, and writes nothing. It begins behind a place, a score and a job, whether
-- that job is still there or not: what left the index before it does not move the place, as it would an offset. Entries of
-- one score are ordered by job, so the place among them is searched by halves; the cost is a logarithm of the index.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = index, 2 = greatest score, or +inf, 3 = job of that score behind which to begin, or '' to begin with the score,
--       4 = least score, or -inf, 5 = at most this many
-- Returns: job, score, job, score, …
local index, score, behind, least = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]) or -math.huge
local first = redis.call('ZCOUNT', index, '(' .. score, '+inf')
if behind ~= '' then
  local last = first + redis.call('ZCOUNT', index, score, score)
  while first < last do
    local middle = math.floor((first + last) / 2)
    if redis.call('ZREVRANGE', index, middle, middle)[1] < behind then last = middle else first = middle + 1 end
  end
end
local found = redis.call('ZREVRANGE', index, first, first + ARGV[5] - 1, 'WITHSCORES')
local out = {}
for i = 1, #found, 2 do
  if tonumber(found[i + 1]) < least then break end
  out[i], out[i + 1] = found[i], found[i + 1]
end
return out
