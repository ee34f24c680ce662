//! Small scripts that hold what crosses between Redis and Lua, in both directions, against the real server.

use redis::Value;

use super::pair::{Pair, text};

/// What each of them returns must be the same, to the letter. None fails in a tail call: of one, ours cannot tell the line.
const SCRIPTS: [&str; 61] = [
    "return",
    "return nil",
    "return true",
    "return false",
    "return 3.99",
    "return -3.99",
    "return 1e15",
    "return 'text'",
    "return {1, 2.5, 'three', true, false, {4, nil, 5}}",
    "return {1, nil, 3}",
    "return {}",
    "return {ok = 'FINE'}",
    "return {err = 'MINE an error of my own'}",
    "return {1, {err = 'MINE inside'}}",
    "return redis.error_reply('MINE made')",
    "return redis.status_reply('GOOD')",
    "return redis.call('SET', KEYS[1], 'v')",
    "return redis.call('SET', KEYS[1], 'v')['ok']",
    "return redis.call('GET', 'nothing')",
    "return tostring(redis.call('GET', 'nothing'))",
    "return redis.call('HMGET', 'nothing', 'a', 'b')",
    "return tostring(redis.call('HMGET', 'nothing', 'a')[1])",
    "return redis.call('INCR', 'counter')",
    "return redis.call('incr', 'counter') + 0.5",
    "redis.call('HSET', KEYS[2], 'a', 1, 'b', 2.5, 'c', 1e15, 'd', 0.1, 'e', -7) return redis.call('HMGET', KEYS[2], 'a', 'b', 'c', 'd', 'e')",
    "redis.call('HSET', KEYS[2], 'big', 123456789012345678, 'tiny', 1e-7, 'huge', 1e300) return redis.call('HMGET', KEYS[2], 'big', 'tiny', 'huge')",
    "return redis.call('GET', KEYS[2])",
    "return redis.pcall('GET', KEYS[2])",
    "return redis.pcall('GET', KEYS[2]).err",
    "local fine, wrong = pcall(redis.call, 'GET', KEYS[2]) return {tostring(fine), tostring(wrong)}",
    "local fine, wrong = pcall(function() redis.call('GET', KEYS[2]) end) return {tostring(fine), type(wrong), wrong}",
    "local fine, wrong = pcall(function() error('mine') end) return wrong",
    "local fine, wrong = pcall(function() error({err = 'MINE'}) end) return wrong",
    "local fine, wrong = pcall(function() return nil + 1 end) return wrong",
    "local a, b, c = pcall(function() return 1, 2 end) return {tostring(a), b, c}",
    "error('mine')",
    "error({err = 'MINE of a table'})",
    "local x = nil\nlocal y = 1\nreturn x.field",
    "return 'a' < 1",
    "return redis.call('GET')",
    "return redis.call('GET', nil)",
    "return redis.call('GET', {})",
    "return redis.call('GET', true)",
    "return redis.call()",
    "return redis.call('SCRIPT', 'FLUSH')",
    "return unknown_name",
    "new_global = 1",
    "return cjson.encode({a = 1, b = 'x', c = {1, 2, 3}, d = {}, e = true, f = 1.5, g = 1e15, h = 1/3})",
    "return cjson.encode({by = 'w', from = 'queued', redelivered = 2, at = '17', event = 'claim', stage = 'checking'})",
    "local line = {by = 'w', delivery = 'd'} line.event, line.stage = 'e', 's' line.at = '1' return cjson.encode(line)",
    "return cjson.encode('a\"b\\\\c/d\\n\\t\\1\\127ä')",
    "return cjson.encode({1, nil, 3}) .. cjson.encode({[1] = 1, [5] = 2}) .. cjson.encode({[1.5] = 1})",
    "local text = cjson.encode({[1] = 1, [50] = 2}) return text",
    "return cjson.encode(nil) .. cjson.encode(cjson.decode('[null]'))",
    "local text = cjson.encode(function() end) return text",
    "return cjson.decode('{\"a\": [1, 2.5, \"x\", null, true], \"b\": \"\\\\u00e4\\\\n\\\\/\"}').a",
    "return cjson.decode('{\"b\": \"\\\\u00e4\\\\n\\\\/ \\\\ud83d\\\\ude00\"}').b",
    "local t = cjson.decode('{\"one\": 1, \"two\": 2, \"three\": 3, \"four\": 4, \"five\": 5}') local out = {} for k, v in pairs(t) do out[#out + 1] = k .. v end table.sort(out) return out",
    "return string.format('%.0f', 1732000000000) .. '|' .. 1e13 .. '|' .. 123456789012345",
    "return {#KEYS, #ARGV, KEYS[1], ARGV[1], ARGV[2]}",
    "return {string.match('run_id:abc', 'run_id:(%w+)'), tostring(math.huge), tonumber('0x10'), tonumber('')}",
];

/// Documents that `cjson.decode` refuses, or takes though it should not.
const DOCUMENTS: [&str; 18] = [
    "",
    " ",
    "{",
    "[",
    "[1,",
    "[1 2]",
    "{\"a\"}",
    "{\"a\" 1}",
    "{\"a\":1,}",
    "{1:2}",
    "nil",
    "\"open",
    "01",
    "-",
    "1 2",
    "[1,]",
    "{\"a\":1",
    "\"\\x\"",
];

pub(crate) fn all() {
    let mut pair = Pair::start();
    for full in [false, true] {
        for script in SCRIPTS {
            run(&mut pair, script);
        }
        for document in DOCUMENTS {
            run(
                &mut pair,
                &format!("local value = cjson.decode('{}') return value", document.replace('\\', "\\\\")),
            );
        }
        pair.set_full(!full);
    }
    for script in [
        "redis.call('SET', KEYS[1], 'v') return redis.call('GET', KEYS[1])",
        "redis.call('DEL', KEYS[1]) return redis.call('SET', KEYS[1], 'after a write')",
        "return redis.call('GET', KEYS[1])",
    ] {
        pair.set_full(true);
        run(&mut pair, script);
        pair.set_full(false);
        run(&mut pair, script);
    }
    pair.compare_all();
}

fn run(pair: &mut Pair, script: &str) {
    let sha = pair.exec(&["SCRIPT", "LOAD", script]).unwrap();
    let sha: Value = sha;
    let _ = pair.exec(&["EVALSHA", &text(&sha), "2", "key", "hash", "first", "second"]);
}
