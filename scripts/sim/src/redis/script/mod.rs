//! Scripts: kept by their hash, and run as they are loaded.

mod convert;
mod decode;
mod encode;
mod prelude;
mod vm;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::SimRedis;
use super::reply::{Failure, Outcome, Reply, integer, is};

/// A script's hash and text.
type Script = (String, Arc<[u8]>);

thread_local! {
    /// Every script that was loaded on this thread and compiles, by its length: each simulated server is given the same ones,
    /// and to hash one takes longer than to run it.
    static SEEN: RefCell<HashMap<usize, Vec<Script>>> = RefCell::default();
}

/// The script, compiled, with its hash.
fn seen(code: &[u8]) -> Result<Script, Failure> {
    let is_it = |(_, known): &&Script| **known == *code;
    let known = SEEN.with_borrow(|seen| seen.get(&code.len())?.iter().find(is_it).cloned());
    if let Some(known) = known {
        return Ok(known);
    }
    let text =
        std::str::from_utf8(code).map_err(|_| Failure::not_simulated(b"a script that is not UTF-8"))?;
    let sha = ::redis::Script::new(text).get_hash().to_owned();
    vm::compile(&sha, code)?;
    let script: Script = (sha, code.into());
    SEEN.with_borrow_mut(|seen| seen.entry(code.len()).or_default().push(script.clone()));
    Ok(script)
}

pub(super) fn evalsha(redis: &mut SimRedis, now: u64, args: &[&[u8]]) -> Outcome {
    let sha = String::from_utf8_lossy(args[0]).to_lowercase();
    let keys = usize::try_from(integer(args[1])?)
        .map_err(|_| Failure::new("ERR Number of keys can't be negative"))?;
    let (keys, argv) = args[2..]
        .split_at_checked(keys)
        .ok_or_else(|| Failure::new("ERR Number of keys can't be greater than number of args"))?;
    let Some(code) = redis.scripts.get(&sha).cloned() else {
        return Err(Failure::new("NOSCRIPT No matching script. Please use EVAL."));
    };
    vm::run(redis, now, &sha, &code, keys, argv)
}

pub(super) fn script(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    match args {
        [what, code] if is(what, "LOAD") => {
            let (sha, code) = seen(code)?;
            let reply = Reply::text(&sha);
            if !redis.scripts.contains_key(&sha) {
                Arc::make_mut(&mut redis.scripts).insert(sha, code);
            }
            Ok(reply)
        }
        [what, shas @ ..] if is(what, "EXISTS") => {
            let known = shas.iter().map(|sha| {
                Reply::from(redis.scripts.contains_key(&String::from_utf8_lossy(sha).to_lowercase()))
            });
            Ok(Reply::Array(known.collect()))
        }
        [what] if is(what, "FLUSH") => {
            redis.scripts = Arc::default();
            Ok(Reply::ok())
        }
        [what, ..] => Err(Failure::not_simulated(what)),
        [] => Err(Failure::syntax()),
    }
}
