//! What Redis gives its scripts, in Lua: the table `redis`, `cjson`, and a guard around globals.

/// Takes the functions `call`, `encode` and `decode` of Rust, each of which returns a value, and after it what went wrong or
/// nothing. Returns a function that runs another and returns whether it came to its end, and its result or error.
pub(super) const PRELUDE: &str = r"
local call, encode, decode = ...
local error, pcall, setmetatable, tostring = error, pcall, setmetatable, tostring

-- The error of a command is a table, as it is in Redis. It tells its text where Redis would tell its address.
local failure = { __tostring = function(self) return self.err end }

redis = {
  call = function(...)
    local reply, wrong = call(...)
    if wrong then error(setmetatable(wrong, failure), 0) end
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
