//! Between Redis's replies and Lua's values, by Redis's rules.

use mlua::{BorrowedBytes, Either, Lua, MultiValue, Table, Value};

use super::super::reply::{Failure, Outcome, Reply};
use super::encode::general;

/// One argument of a command.
pub(super) enum Word {
    Text(BorrowedBytes),
    Number(String),
}

impl AsRef<[u8]> for Word {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Text(bytes) => bytes,
            Self::Number(digits) => digits.as_bytes(),
        }
    }
}

/// `None` where one is neither a text nor a number.
pub(super) fn to_words(values: &MultiValue) -> Option<Vec<Word>> {
    let word = |value: &Value| match value {
        Value::String(text) => Some(Word::Text(text.as_bytes())),
        Value::Integer(number) => Some(Word::Number(general(*number as f64, 17))),
        Value::Number(number) => Some(Word::Number(general(*number, 17))),
        _ => None,
    };
    values.iter().map(word).collect()
}

/// Either a text, which is pushed as it is, or any other value.
type Item<'a> = Either<&'a str, Value>;

fn text<'a>(lua: &Lua, bytes: &'a [u8]) -> mlua::Result<Item<'a>> {
    Ok(match std::str::from_utf8(bytes) {
        Ok(text) => Either::Left(text),
        Err(_) => Either::Right(Value::String(lua.create_string(bytes)?)),
    })
}

pub(super) fn texts(lua: &Lua, words: &[&[u8]]) -> mlua::Result<Table> {
    let items: mlua::Result<Vec<Item<'_>>> = words.iter().map(|word| text(lua, word)).collect();
    lua.create_sequence_from(items?)
}

pub(super) fn to_lua(lua: &Lua, reply: &Reply) -> mlua::Result<Value> {
    Ok(match reply {
        Reply::Nil => Value::Boolean(false),
        Reply::Int(number) => Value::Integer(*number),
        Reply::Bulk(bytes) => Value::String(lua.create_string(bytes)?),
        Reply::Status(text) => named(lua, "ok", text)?,
        Reply::Error(failure) => named(lua, "err", &failure.0)?,
        Reply::Array(items) => {
            let items: mlua::Result<Vec<Item<'_>>> = items.iter().map(|reply| item(lua, reply)).collect();
            Value::Table(lua.create_sequence_from(items?)?)
        }
    })
}

fn item<'a>(lua: &Lua, reply: &'a Reply) -> mlua::Result<Item<'a>> {
    match reply {
        Reply::Bulk(bytes) => text(lua, bytes),
        other => Ok(Either::Right(to_lua(lua, other)?)),
    }
}

fn named(lua: &Lua, name: &str, text: &str) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    table.raw_set(name, text)?;
    Ok(Value::Table(table))
}

/// What a script returns: numbers lose their fraction, and an array ends before its first nil.
pub(super) fn to_reply(value: &Value) -> Outcome {
    Ok(match value {
        Value::String(text) => Reply::bulk(&text.as_bytes()),
        Value::Integer(number) => Reply::Int(*number),
        Value::Number(number) => Reply::Int(*number as i64),
        Value::Boolean(true) => Reply::Int(1),
        Value::Table(table) => return of_table(table),
        _ => Reply::Nil,
    })
}

fn of_table(table: &Table) -> Outcome {
    let read = |error: mlua::Error| Failure::new(format!("ERR Lua itself failed: {error}"));
    if let Value::String(text) = table.raw_get("err").map_err(read)? {
        return Err(Failure::new(text.to_string_lossy()));
    }
    if let Value::String(text) = table.raw_get("ok").map_err(read)? {
        return Ok(Reply::Status(text.to_string_lossy()));
    }
    let mut items = Vec::with_capacity(table.raw_len());
    for at in 1.. {
        let item: Value = table.raw_get(at).map_err(read)?;
        if item.is_nil() {
            break;
        }
        items.push(to_reply(&item).unwrap_or_else(Reply::Error));
    }
    Ok(Reply::Array(items))
}
