//! What Redis gives its scripts, in Lua: the table `redis`, `cjson`, and a guard around globals.

/// Takes the functions `call`, `encode` and `decode` of Rust, each of which returns a value, and after it what went wrong or
/// nothing. Returns a function that runs another and returns whether it came to its end, and its result or error.
pub(super) const PRELUDE: &str = r"
local call, encode, decode = ...
-- Interpreted, as in Redis: scripts are too short for more to pay.
jit.off()
jit = nil
local error, pcall, setmetatable, tostring, type = error, pcall, setmetatable, tostring, type

-- The error of a command is a table, of which a script that catches it sees the text.
local function caught(fine, first, ...)
  if not fine and type(first) == 'table' and first.err then return false, first.err end
  return fine, first, ...
end

redis = {
  call = function(...)
    local reply, wrong = call(...)
    if wrong then error(wrong, 0) end
    return reply
  end,
  pcall = function(...)
    local reply, wrong = call(...)
    return wrong or reply
  end,
  error_reply = function(text) return { err = text } end,
  status_reply = function(text) return { ok = text } end,
}

cjson = {
  encode = function(value)
    local text, wrong = encode(value)
    if wrong then error(wrong, 2) end
    return text
  end,
  decode = function(text)
    local value, wrong = decode(text)
    if wrong then error(wrong, 2) end
    return value
  end,
}

_G.pcall = function(...) return caught(pcall(...)) end

-- Set before each run.
KEYS, ARGV = {}, {}
loadfile, dofile, print, collectgarbage, newproxy = nil, nil, nil, nil, nil

setmetatable(_G, {
  __index = function(_, name)
    error('Script attempted to access nonexistent global variable \'' .. tostring(name) .. '\'', 2)
  end,
  __newindex = function() error('Attempt to modify a readonly table', 2) end,
})

return function(script) return pcall(script) end
";
