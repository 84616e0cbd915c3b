//! A script's result as a reply: the opposite of [`crate::script::convert`].

use std::borrow::Cow;

use crate::resp::reply::{Protocol, Reply};
use crate::script::raw::{Kind, Raised, State};
use crate::script::sandbox;

/// Takes the value on top off and makes it the machine's reply.
pub(super) fn write(lua: State) -> Result<(), Raised> {
    let host = lua.host();
    host.reply.bytes.clear();
    host.reply.errors.clear();
    let in_script = host.server().map_or(Protocol::Resp2, |server| server.protocol());
    let mut reply = Reply::new(&mut host.reply.bytes, host.client_protocol);
    write_value(lua, &mut reply, in_script);
    Ok(())
}

/// A text up to its first zero, as strings of C are.
pub(super) fn before_zero(text: &[u8]) -> &[u8] {
    memchr::memchr(0, text).map_or(text, |end| &text[..end])
}

/// A text without the line ends behind it.
pub(super) fn without_line_ends(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b'\r' | b'\n'] = text {
        text = rest;
    }
    text
}

/// Bytes without line ends.
fn single_line(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'\r', b'\n', text).is_none() {
        return text.into();
    }
    let line = |byte: &u8| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte };
    text.iter().map(line).collect()
}

fn write_value(lua: State, reply: &mut Reply<'_>, in_script: Protocol) {
    match lua.kind(-1) {
        Kind::String => reply.bulk(lua.bytes(-1).unwrap_or_default()),
        Kind::Number => reply.int(whole(lua.number(-1))),
        Kind::Boolean if in_script == Protocol::Resp3 => reply.boolean(lua.boolean(-1)),
        Kind::Boolean if lua.boolean(-1) => reply.int(1),
        Kind::Table => write_table(lua, reply, in_script),
        _ => reply.null(),
    }
    lua.pop(1);
}

/// A number without its fraction, as C makes it.
#[inline]
pub(super) fn whole(number: f64) -> i64 {
    // What doesn't fit, infinities and NaN included, is the smallest number on x86, and so upstream.
    const BOUND: f64 = (1u64 << 63) as f64;
    if (-BOUND..BOUND).contains(&number) { number as i64 } else { i64::MIN }
}

fn write_table(lua: State, reply: &mut Reply<'_>, in_script: Protocol) {
    let table = lua.top();
    if !lua.check_stack(8) {
        reply.error("ERR reached lua stack limit");
        return;
    }
    if sandbox::push_real(lua, table) {
        lua.replace(table);
    }
    // An array, most likely: nothing that the special forms look for.
    lua.get_field(table, "err");
    if lua.kind(-1) == Kind::String {
        let text = without_line_ends(before_zero(lua.bytes(-1).unwrap_or_default()));
        let text = single_line(text);
        reply.error_bytes(&text);
        lua.get_field(table, "ignore_error_stats_update");
        let uncounted = (!lua.boolean(-1)).then(|| text.into_owned());
        lua.host().reply.errors.push(uncounted);
        return lua.set_top(table);
    }
    lua.set_top(table);
    lua.get_field(table, "ok");
    if lua.kind(-1) == Kind::String {
        let line = single_line(before_zero(lua.bytes(-1).unwrap_or_default()));
        reply.raw(b"+");
        reply.raw(&line);
        reply.raw(b"\r\n");
        return lua.set_top(table);
    }
    lua.set_top(table);
    lua.get_field(table, "double");
    if lua.kind(-1) == Kind::Number {
        reply.double(lua.number(-1));
        return lua.set_top(table);
    }
    lua.set_top(table);
    lua.get_field(table, "map");
    if lua.kind(-1) == Kind::Table {
        write_map(lua, reply, in_script, true);
        return lua.set_top(table);
    }
    lua.set_top(table);
    lua.get_field(table, "set");
    if lua.kind(-1) == Kind::Table {
        write_map(lua, reply, in_script, false);
        return lua.set_top(table);
    }
    lua.set_top(table);
    lua.get_field(table, "big_number");
    if lua.kind(-1) == Kind::String {
        let line = single_line(lua.bytes(-1).unwrap_or_default());
        reply.big_number(&line);
        return lua.set_top(table);
    }
    lua.set_top(table);
    if write_verbatim(lua, reply, table) {
        return;
    }
    write_array(lua, reply, table, in_script);
}

/// A table with `verbatim_string`, which has `string` and `format`; false where it is none.
fn write_verbatim(lua: State, reply: &mut Reply<'_>, table: std::ffi::c_int) -> bool {
    lua.get_field(table, "verbatim_string");
    let inner = lua.top();
    if lua.kind(inner) == Kind::Table {
        lua.get_field(inner, "string");
        lua.get_field(inner, "format");
        if let (Some(text), Some(format)) = (lua.bytes(-2), lua.bytes(-1)) {
            let mut short = *b"txt";
            for (to, from) in short.iter_mut().zip(format.iter().chain(b"   ")) {
                *to = if from.is_ascii_graphic() { *from } else { b' ' };
            }
            reply.verbatim(std::str::from_utf8(&short).unwrap_or("txt"), text);
            lua.set_top(table);
            return true;
        }
    }
    lua.set_top(table);
    false
}

/// The map or set on top, whose elements' number is known when all have been seen.
fn write_map(lua: State, reply: &mut Reply<'_>, in_script: Protocol, pairs: bool) {
    let inner = lua.top();
    let start = reply.deferred();
    let mut count = 0;
    lua.push_nil();
    while lua.next(inner) {
        // The key stays for `next`, which would lose its way if a number became a string in place.
        lua.push_value(-2);
        write_value(lua, reply, in_script);
        if pairs {
            write_value(lua, reply, in_script);
        } else {
            lua.pop(1);
        }
        count += 1;
    }
    if pairs {
        reply.finish_map(start, count);
    } else {
        reply.finish_set(start, count);
    }
}

/// The elements up to the first nil.
fn write_array(lua: State, reply: &mut Reply<'_>, table: std::ffi::c_int, in_script: Protocol) {
    let start = reply.deferred();
    let mut count = 0;
    loop {
        lua.raw_get_index(table, count as std::ffi::c_int + 1);
        if lua.kind(-1) == Kind::Nil {
            break;
        }
        write_value(lua, reply, in_script);
        count += 1;
    }
    lua.pop(1);
    reply.finish_array(start, count);
}
