-- Opens nonces again that were consumed in blocks which are no more. Their journaled bytes are handed to the nodes again;
-- their jobs have left them.
-- KEYS: 1 = lane prefix
-- ARGV: 1 = lease value, 2 = signer, 3 = lowest nonce, 4 = how many from there on
-- Returns: how many were opened; -1 lease not ours
if not is_fenced_in(ARGV[1]) then return -1 end
local signer, opened = ARGV[2], 0
for n = ARGV[3], ARGV[3] + ARGV[4] - 1 do
  local nonce = digits(n)
  if reopen_nonce(signer, nonce) then opened = opened + 1 end
end
return opened
