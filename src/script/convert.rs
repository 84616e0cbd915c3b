//! A command's reply as a Lua value.
//!
//! | reply | Lua |
//! |---|---|
//! | integer | number |
//! | bulk string | string |
//! | null, null array | false (RESP3: nil) |
//! | status | table with `ok` |
//! | error | table with `err` |
//! | array | table of its elements |
//! | map, set | table with `map`, `set` |
//! | double, big number | table with `double`, `big_number` |
//! | boolean | boolean |
//! | verbatim string | table with `verbatim_string` |

use std::ffi::c_int;

use memchr::memchr;

use crate::base::text;
use crate::script::raw::{Raised, State};
use crate::script::redis_lib;

/// A reply that is being read.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn mark(&mut self) -> u8 {
        let mark = self.bytes.get(self.at).copied().unwrap_or(b'_');
        self.at += 1;
        mark
    }

    /// The bytes up to the end of the line.
    fn line(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let len = memchr(b'\r', rest).unwrap_or(rest.len());
        self.at += len + 2;
        &rest[..len]
    }

    fn number(&mut self) -> i64 {
        text::parse_i64(self.line()).unwrap_or(0)
    }

    /// So many bytes and the line's end.
    fn bulk(&mut self, len: i64) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let len = usize::try_from(len).unwrap_or(0).min(rest.len());
        self.at += len + 2;
        &rest[..len]
    }
}

/// Whether a reply is an error.
#[inline]
pub(super) fn is_error(reply: &[u8]) -> bool {
    reply.first() == Some(&b'-')
}

/// Pushes a reply as a value.
#[inline]
pub(super) fn push(lua: State, reply: &[u8]) -> Result<(), Raised> {
    push_next(lua, &mut Reader { bytes: reply, at: 0 })
}

fn push_next(lua: State, reader: &mut Reader<'_>) -> Result<(), Raised> {
    match reader.mark() {
        b'$' => match reader.number() {
            len if len < 0 => lua.push_boolean(false),
            len => lua.push_bytes(reader.bulk(len)),
        },
        b':' => {
            let number = reader.number();
            lua.push_number(number as f64);
        }
        b'*' | b'>' => match reader.number() {
            count if count < 0 => lua.push_boolean(false),
            count => push_elements(lua, reader, count)?,
        },
        b'+' => push_field(lua, "ok", reader.line()),
        b'-' => {
            push_field(lua, "err", reader.line());
            lua.push_boolean(true);
            lua.set_field(lua.top() - 1, "ignore_error_stats_update");
        }
        b'_' => {
            reader.line();
            lua.push_nil();
        }
        b'#' => lua.push_boolean(reader.line() == b"t"),
        b',' => {
            let number = text::parse_f64(reader.line()).unwrap_or(f64::NAN);
            lua.new_table(0, 1);
            lua.push_number(number);
            lua.set_field(lua.top() - 1, "double");
        }
        b'(' => push_field(lua, "big_number", reader.line()),
        b'%' => {
            let count = reader.number();
            push_map(lua, reader, count, "map")?;
        }
        b'~' => {
            let count = reader.number();
            push_map(lua, reader, count, "set")?;
        }
        b'=' => {
            let len = reader.number();
            let verbatim = reader.bulk(len);
            lua.new_table(0, 1);
            lua.new_table(0, 2);
            let inner = lua.top();
            lua.push_bytes(verbatim.get(..3).unwrap_or_default());
            lua.set_field(inner, "format");
            lua.push_bytes(verbatim.get(4..).unwrap_or_default());
            lua.set_field(inner, "string");
            lua.set_field(inner - 1, "verbatim_string");
        }
        b'|' => {
            // What is said of the reply that follows has no place in it.
            let count = reader.number();
            push_map(lua, reader, count, "map")?;
            lua.pop(1);
            push_next(lua, reader)?;
        }
        _ => lua.push_nil(),
    }
    Ok(())
}

fn make_room(lua: State) -> Result<(), Raised> {
    if lua.check_stack(8) {
        return Ok(());
    }
    Err(redis_lib::error_table(lua, b"lua stack limit reach when parsing redis.call reply"))
}

fn push_field(lua: State, name: &str, value: &[u8]) {
    lua.new_table(0, 1);
    lua.push_bytes(value);
    lua.set_field(lua.top() - 1, name);
}

fn push_elements(lua: State, reader: &mut Reader<'_>, count: i64) -> Result<(), Raised> {
    make_room(lua)?;
    lua.new_table(count as usize, 0);
    for index in 1..=count {
        push_next(lua, reader)?;
        lua.raw_set_index(-2, index as c_int);
    }
    Ok(())
}

/// A map, or a set as a map to true.
fn push_map(lua: State, reader: &mut Reader<'_>, count: i64, name: &str) -> Result<(), Raised> {
    make_room(lua)?;
    lua.new_table(0, 1);
    lua.new_table(0, count as usize);
    let inner = lua.top();
    for _ in 0..count {
        push_next(lua, reader)?;
        if name == "map" {
            push_next(lua, reader)?;
        } else {
            lua.push_boolean(true);
        }
        lua.raw_set(inner);
    }
    lua.set_field(inner - 1, name);
    Ok(())
}
