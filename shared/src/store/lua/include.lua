-- Records that a nonce's transaction was seen in a block, or is no longer seen in one. Says nothing about
-- what became of its items: `registered` and `finish` do, from the contracts' state.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = lease value, 2 = signer, 3 = nonce, 4 = hash or '' when it is no longer included, 5 = block
-- Returns: {0, ms} recorded, {1} lease not ours, {2} no open transaction at this nonce
local signer, nonce, hash, block = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if not is_fenced_in(ARGV[1]) then return { 1 } end
local tx_key = key('tx:') .. signer .. ':' .. nonce
local tx = record(tx_key)
if tx.state ~= 'open' and tx.state ~= 'cancelling' then return { 2 } end
if (tx.included_hash or '') == hash and (tx.included_block or '') == block then return { 0, NOW } end
if hash == '' then
  redis.call('HDEL', tx_key, 'included_hash', 'included_block')
else
  redis.call('HSET', tx_key, 'included_hash', hash, 'included_block', block)
end
local fields = fields_of({ submitted = true, confirming = true }, 'signer')
local seen = { nonce = nonce, hash = hash, block = block }
for _, held in ipairs(cjson.decode(tx.intent).jobs) do
  local id = held.job
  local job = job_of(id, fields)
  if job.nonce == nonce and job.signer == signer then
    if hash == '' then
      if job.stage == 'confirming' then
        redis.call('HDEL', job_key(id), 'block')
        move(id, job, 'submitted', 'exclude', { nonce = nonce })
      end
    elseif job.stage == 'submitted' then
      move(id, job, 'confirming', 'include', seen, 'block', block)
    elseif job.stage == 'confirming' then
      redis.call('HSET', job_key(id), 'block', block)
    end
  end
end
return { 0, NOW }
