//! `cjson.decode`, as Redis's `cjson` reads documents, with its errors.

use mlua::{Lua, Value};

use super::encode::DEEPEST;

pub(super) enum Wrong {
    /// Raised in the script.
    Text(String),
    Lua(mlua::Error),
}

impl From<mlua::Error> for Wrong {
    fn from(error: mlua::Error) -> Self {
        Self::Lua(error)
    }
}

pub(super) fn decode(lua: &Lua, text: &[u8]) -> Result<Value, Wrong> {
    let mut reader = Reader { lua, text, at: 0 };
    let value = reader.value(0)?;
    if reader.peek() == Token::End { Ok(value) } else { Err(reader.expected("the end")) }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    Text,
    Number,
    True,
    False,
    Null,
    Colon,
    Comma,
    End,
    Invalid,
}

impl Token {
    /// As `cjson` calls it in errors.
    fn name(self) -> &'static str {
        match self {
            Self::ObjectBegin => "T_OBJ_BEGIN",
            Self::ObjectEnd => "T_OBJ_END",
            Self::ArrayBegin => "T_ARR_BEGIN",
            Self::ArrayEnd => "T_ARR_END",
            Self::Text => "T_STRING",
            Self::Number => "T_NUMBER",
            Self::True | Self::False => "T_BOOLEAN",
            Self::Null => "T_NULL",
            Self::Colon => "T_COLON",
            Self::Comma => "T_COMMA",
            Self::End => "T_END",
            Self::Invalid => "invalid token",
        }
    }
}

struct Reader<'a> {
    lua: &'a Lua,
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &[u8] {
        &self.text[self.at.min(self.text.len())..]
    }

    /// What comes next, past white space; it is not passed.
    fn peek(&mut self) -> Token {
        self.at += self.rest().iter().take_while(|byte| b" \t\r\n".contains(byte)).count();
        match self.rest() {
            [] => Token::End,
            [b'{', ..] => Token::ObjectBegin,
            [b'}', ..] => Token::ObjectEnd,
            [b'[', ..] => Token::ArrayBegin,
            [b']', ..] => Token::ArrayEnd,
            [b'"', ..] => Token::Text,
            [b':', ..] => Token::Colon,
            [b',', ..] => Token::Comma,
            [b'-' | b'0'..=b'9', ..] => Token::Number,
            rest if rest.starts_with(b"true") => Token::True,
            rest if rest.starts_with(b"false") => Token::False,
            rest if rest.starts_with(b"null") => Token::Null,
            _ => Token::Invalid,
        }
    }

    fn wrong(&self, what: &str, found: &str) -> Wrong {
        Wrong::Text(format!("Expected {what} but found {found} at character {}", self.at + 1))
    }

    fn expected(&mut self, what: &str) -> Wrong {
        let found = self.peek();
        self.wrong(what, found.name())
    }

    fn passes(&mut self, token: Token) -> bool {
        let is_next = self.peek() == token;
        self.at += usize::from(is_next);
        is_next
    }

    fn value(&mut self, depth: usize) -> Result<Value, Wrong> {
        if depth > DEEPEST {
            return Err(Wrong::Text(format!("Found too many nested data structures ({depth})")));
        }
        let token = self.peek();
        match token {
            Token::Text => {
                let text = self.string("value")?;
                return Ok(Value::String(self.lua.create_string(text)?));
            }
            Token::Number => return self.number(),
            Token::ObjectBegin => return self.object(depth),
            Token::ArrayBegin => return self.array(depth),
            Token::True | Token::Null => self.at += 4,
            Token::False => self.at += 5,
            _ => return Err(self.expected("value")),
        }
        Ok(if token == Token::Null { Value::NULL } else { Value::Boolean(token == Token::True) })
    }

    fn number(&mut self) -> Result<Value, Wrong> {
        let len = self.rest().iter().take_while(|byte| b"+-.0123456789eE".contains(byte)).count();
        let digits = std::str::from_utf8(&self.rest()[..len]).unwrap_or_default();
        match digits.parse::<f64>() {
            Ok(number) => {
                self.at += len;
                Ok(Value::Number(number))
            }
            Err(_) => Err(self.wrong("value", "invalid number")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Wrong> {
        self.at += 1;
        let table = self.lua.create_table()?;
        if self.passes(Token::ObjectEnd) {
            return Ok(Value::Table(table));
        }
        loop {
            if self.peek() != Token::Text {
                return Err(self.expected("object key string"));
            }
            let name = self.string("object key string")?;
            let name = self.lua.create_string(name)?;
            if !self.passes(Token::Colon) {
                return Err(self.expected("colon"));
            }
            table.raw_set(name, self.value(depth + 1)?)?;
            if self.passes(Token::ObjectEnd) {
                return Ok(Value::Table(table));
            }
            if !self.passes(Token::Comma) {
                return Err(self.expected("comma or object end"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, Wrong> {
        self.at += 1;
        let table = self.lua.create_table()?;
        if self.passes(Token::ArrayEnd) {
            return Ok(Value::Table(table));
        }
        for at in 1.. {
            table.raw_set(at, self.value(depth + 1)?)?;
            if self.passes(Token::ArrayEnd) {
                break;
            }
            if !self.passes(Token::Comma) {
                return Err(self.expected("comma or array end"));
            }
        }
        Ok(Value::Table(table))
    }

    fn string(&mut self, what: &str) -> Result<Vec<u8>, Wrong> {
        let start = self.at;
        let mut out = Vec::new();
        let mut at = start + 1;
        loop {
            match self.text.get(at..).unwrap_or_default() {
                [b'"', ..] => {
                    self.at = at + 1;
                    return Ok(out);
                }
                [b'\\', b'u', ..] => {
                    let Some((letter, len)) = unicode(&self.text[at..]) else {
                        self.at = at;
                        return Err(self.wrong(what, "invalid unicode escape code"));
                    };
                    out.extend(letter.encode_utf8(&mut [0; 4]).bytes());
                    at += len;
                }
                [b'\\', escaped, ..] => {
                    out.push(match escaped {
                        b'"' | b'\\' | b'/' => *escaped,
                        b'b' => 0x08,
                        b'f' => 0x0c,
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        _ => {
                            self.at = at;
                            return Err(self.wrong(what, "invalid escape code"));
                        }
                    });
                    at += 2;
                }
                [byte, ..] => {
                    out.push(*byte);
                    at += 1;
                }
                [] => {
                    self.at = at;
                    return Err(self.wrong(what, "unexpected end of string"));
                }
            }
        }
    }
}

/// The letter of `\uXXXX` or of a pair of them, and how many bytes that takes.
fn unicode(text: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = std::str::from_utf8(text.get(at..)?.strip_prefix(b"\\u")?.get(..4)?).ok()?;
        u16::from_str_radix(digits, 16).ok()
    };
    let first = unit(0)?;
    match char::from_u32(u32::from(first)) {
        Some(letter) => Some((letter, 6)),
        None => char::decode_utf16([first, unit(6)?]).next()?.ok().map(|letter| (letter, 12)),
    }
}
