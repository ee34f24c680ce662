//! What a command answers.

use super::keyspace::Bytes;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reply {
    /// RESP2 has two, the null bulk string and the null array; clients and Lua see the same in both.
    Nil,
    Int(i64),
    Bulk(Bytes),
    Status(String),
    Array(Vec<Reply>),
    /// An error inside an array, or one that a script returns.
    Error(Failure),
}

pub(super) type Outcome = Result<Reply, Failure>;

/// A refusal as it travels: the code, a space and the text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failure(pub(super) String);

impl Failure {
    pub(super) fn new(line: impl Into<String>) -> Self {
        Self(line.into())
    }

    pub(super) fn wrong_type() -> Self {
        Self::new("WRONGTYPE Operation against a key holding the wrong kind of value")
    }

    pub(super) fn syntax() -> Self {
        Self::new("ERR syntax error")
    }

    pub(super) fn not_an_integer() -> Self {
        Self::new("ERR value is not an integer or out of range")
    }

    pub(super) fn not_simulated(what: &[u8]) -> Self {
        Self::new(format!("ERR `{}` is not simulated", String::from_utf8_lossy(what)))
    }

    pub(super) fn out_of_memory() -> Self {
        Self::new("OOM command not allowed when used memory > 'maxmemory'.")
    }

    /// Read from its wire form by the client itself, so that kinds and codes are the client's.
    fn into_value(self) -> ::redis::Value {
        let line = self.0.replace(['\r', '\n'], " ");
        ::redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap_or_default()
    }

    pub(super) fn into_error(self) -> ::redis::RedisError {
        let line = self.0.clone();
        match self.into_value().extract_error() {
            Err(error) => error,
            Ok(_) => (::redis::ErrorKind::UnexpectedReturnType, "not an error line", line).into(),
        }
    }
}

impl Reply {
    pub(super) const OK: &str = "OK";

    pub(super) fn ok() -> Self {
        Self::Status(Self::OK.to_owned())
    }

    pub(super) fn bulk(bytes: &[u8]) -> Self {
        Self::Bulk(bytes.into())
    }

    pub(super) fn text(text: &str) -> Self {
        Self::bulk(text.as_bytes())
    }

    /// A number as a bulk string.
    pub(super) fn digits(number: u64) -> Self {
        Self::text(&number.to_string())
    }

    pub(super) fn count(count: usize) -> Self {
        Self::Int(i64::try_from(count).unwrap_or(i64::MAX))
    }

    pub(super) fn optional(value: Option<&Bytes>) -> Self {
        value.map_or(Self::Nil, |bytes| Self::Bulk(bytes.clone()))
    }

    pub(super) fn into_value(self) -> ::redis::RedisResult<::redis::Value> {
        Ok(match self {
            Self::Nil => ::redis::Value::Nil,
            Self::Int(number) => ::redis::Value::Int(number),
            Self::Bulk(bytes) => ::redis::Value::BulkString(bytes.to_vec()),
            Self::Status(text) if text == Self::OK => ::redis::Value::Okay,
            Self::Status(text) => ::redis::Value::SimpleString(text),
            Self::Array(items) => {
                let items: ::redis::RedisResult<_> = items.into_iter().map(Self::into_value).collect();
                ::redis::Value::Array(items?)
            }
            Self::Error(failure) => return Err(failure.into_error()),
        })
    }
}

impl From<bool> for Reply {
    fn from(yes: bool) -> Self {
        Self::Int(i64::from(yes))
    }
}

/// Strictly as Redis reads integers: no sign of plus, no space, no leading zero.
pub(super) fn integer(text: &[u8]) -> Result<i64, Failure> {
    let parsed: Option<i64> = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    parsed.filter(|number| number.to_string().as_bytes() == text).ok_or_else(Failure::not_an_integer)
}

pub(super) fn float(text: &[u8]) -> Option<f64> {
    let parsed: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (!parsed.is_nan()).then_some(parsed)
}

pub(super) fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}
