//! One Lua per thread, for every simulated Redis of that thread. Scripts are compiled once; nothing of a run is left for
//! the next, since scripts cannot make globals.

use std::cell::RefCell;
use std::collections::HashMap;

use mlua::state::{GcIncParams, GcMode};
use mlua::{Function, Lua, LuaOptions, MultiValue, StdLib, Value};

use super::super::SimRedis;
use super::super::reply::{Failure, Outcome, Reply};
use super::super::table;
use super::prelude::PRELUDE;
use super::{convert, decode, encode};

/// Redis's own name for every script, which shows in errors.
const CHUNK: &str = "user_script";
/// How far memory may grow before garbage is looked for, in percent of what was in use the last time. More would look less
/// often, and take longer: what is used again is still in the processor's cache.
const GC_PAUSE: i32 = 200;

struct Vm {
    lua: Lua,
    /// Runs a function under `pcall`.
    runner: Function,
    compiled: RefCell<HashMap<String, Function>>,
}

/// The server that the running script speaks to.
struct Running {
    redis: SimRedis,
    now: u64,
    has_written: bool,
}

thread_local! {
    static VM: mlua::Result<Vm> = Vm::new();
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

impl Vm {
    fn new() -> mlua::Result<Self> {
        let lua =
            Lua::new_with(StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::JIT, LuaOptions::new())?;
        lua.gc_set_mode(GcMode::Incremental(GcIncParams::default().pause(GC_PAUSE)));
        let call = lua.create_function(|lua, words: MultiValue| call(lua, &words))?;
        let encode = lua.create_function(|lua, value: Value| match encode::encode(&value) {
            Ok(text) => Ok((Value::String(lua.create_string(text)?), None)),
            Err(wrong) => Ok((Value::Nil, Some(wrong))),
        })?;
        let decode =
            lua.create_function(|lua, text: mlua::LuaString| match decode::decode(lua, &text.as_bytes()) {
                Ok(value) => Ok((value, None)),
                Err(decode::Wrong::Text(wrong)) => Ok((Value::Nil, Some(wrong))),
                Err(decode::Wrong::Lua(error)) => Err(error),
            })?;
        let runner = lua.load(PRELUDE).set_name("=prelude").call((call, encode, decode))?;
        Ok(Self { lua, runner, compiled: RefCell::default() })
    }

    fn script(&self, sha: &str, code: &[u8]) -> mlua::Result<Function> {
        if let Some(known) = self.compiled.borrow().get(sha) {
            return Ok(known.clone());
        }
        let function = self.lua.load(code).set_name(format!("@{CHUNK}")).into_function()?;
        self.compiled.borrow_mut().insert(sha.to_owned(), function.clone());
        Ok(function)
    }

    fn run(&self, script: &Function, keys: &[&[u8]], argv: &[&[u8]]) -> mlua::Result<(bool, Value)> {
        let globals = self.lua.globals();
        globals.raw_set("KEYS", convert::texts(&self.lua, keys)?)?;
        globals.raw_set("ARGV", convert::texts(&self.lua, argv)?)?;
        self.runner.call(script)
    }
}

fn with_vm<T>(act: impl FnOnce(&Vm) -> Result<T, Failure>) -> Result<T, Failure> {
    VM.with(|vm| match vm {
        Ok(vm) => act(vm),
        Err(error) => Err(internal(error)),
    })
}

/// What no script can bring about.
fn internal(error: &mlua::Error) -> Failure {
    Failure::new(format!("ERR Lua itself failed: {error}"))
}

pub(super) fn compile(sha: &str, code: &[u8]) -> Result<(), Failure> {
    with_vm(|vm| match vm.script(sha, code) {
        Ok(_) => Ok(()),
        Err(mlua::Error::SyntaxError { message, .. }) => {
            Err(Failure::new(format!("ERR Error compiling script (new function): {message}")))
        }
        Err(error) => Err(internal(&error)),
    })
}

pub(super) fn run(
    redis: &mut SimRedis,
    now: u64,
    sha: &str,
    code: &[u8],
    keys: &[&[u8]],
    argv: &[&[u8]],
) -> Outcome {
    with_vm(|vm| {
        let script = vm.script(sha, code).map_err(|error| internal(&error))?;
        // The server moves to where the functions of Lua find it, and back, whatever the script came to.
        let running = Running { redis: std::mem::take(redis), now, has_written: false };
        RUNNING.with_borrow_mut(|place| *place = Some(running));
        let result = vm.run(&script, keys, argv);
        if let Some(running) = RUNNING.with_borrow_mut(Option::take) {
            *redis = running.redis;
        }
        match result.map_err(|error| internal(&error))? {
            (true, value) => convert::to_reply(&value),
            (false, wrong) => Err(failure(&wrong, sha)),
        }
    })
}

/// An error as Redis tells it: its text, and which line of which script it came from.
fn failure(wrong: &Value, sha: &str) -> Failure {
    match wrong {
        Value::Table(table) => {
            let text: String = table.raw_get("err").unwrap_or_default();
            let line: i64 = table.raw_get("line").unwrap_or_default();
            Failure::new(format!("{text} script: {sha}, on @{CHUNK}:{line}."))
        }
        Value::String(text) => {
            let text = text.to_string_lossy();
            let line = text.split(':').nth(1).unwrap_or_default();
            Failure::new(format!("ERR {text} script: {sha}, on @{CHUNK}:{line}."))
        }
        other => Failure::new(format!("ERR {other:?} script: {sha}, on @{CHUNK}:0.")),
    }
}

/// `redis.call` and `redis.pcall`: the reply, or nothing and what went wrong.
fn call(lua: &Lua, words: &MultiValue) -> mlua::Result<(Value, Value)> {
    let outcome = match convert::to_words(words) {
        Some(words) => {
            let words: Vec<&[u8]> = words.iter().map(AsRef::as_ref).collect();
            RUNNING.with_borrow_mut(|running| match running {
                Some(running) => running.call(&words),
                None => Err(Failure::new("ERR no script is running")),
            })
        }
        None => Err(Failure::new("ERR Lua redis lib command arguments must be strings or integers")),
    };
    match outcome {
        Ok(reply) => Ok((convert::to_lua(lua, &reply)?, Value::Nil)),
        Err(failure) => {
            let table = lua.create_table()?;
            table.raw_set("err", failure.0)?;
            table.raw_set("source", format!("@{CHUNK}"))?;
            // This function, the one of the prelude, and who called it; after a tail call, nobody knows.
            if let Some(Some(line)) = lua.inspect_stack(2, |frame| frame.current_line()) {
                table.raw_set("line", line)?;
            }
            Ok((Value::Nil, Value::Table(table)))
        }
    }
}

impl Running {
    fn call(&mut self, words: &[&[u8]]) -> Result<Reply, Failure> {
        let (name, args) = words.split_first().ok_or_else(|| {
            Failure::new("ERR Please specify at least one argument for this redis lib call")
        })?;
        let Some(command) = table::find(name) else {
            let name = String::from_utf8_lossy(name);
            return Err(Failure::new(format!("ERR Unknown Redis command called from script: {name}")));
        };
        if !command.is_for_scripts() {
            return Err(Failure::new("ERR This Redis command is not allowed from script"));
        }
        if !command.takes(args.len()) {
            return Err(Failure::new("ERR Wrong number of args calling Redis command from script"));
        }
        // A script that has begun to write is let through: half of it would be worse.
        if self.redis.is_full && !self.has_written && command.grows(args) {
            return Err(Failure::out_of_memory());
        }
        self.has_written |= command.writes();
        (command.run)(&mut self.redis, self.now, args)
    }
}
