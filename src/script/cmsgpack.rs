//! The library `cmsgpack`: values to and from `MessagePack`.

use std::ffi::c_int;

use crate::base::text;
use crate::script::machine;
use crate::script::raw::{CFunction, Kind, Native, Raised, State, native};

/// How deep tables may be nested; what is deeper is nil.
const DEPTH_MAX: usize = 16;

/// Puts the library into the globals.
pub(super) fn install(lua: State, globals: c_int) {
    let functions: [(&str, CFunction); 4] = [
        ("pack", native!(pack)),
        ("unpack", native!(unpack)),
        ("unpack_one", native!(unpack_one)),
        ("unpack_limit", native!(unpack_limit)),
    ];
    super::base_lib::set_library(lua, globals, "cmsgpack", &functions);
    lua.get_field(globals, "cmsgpack");
    let table = lua.top();
    lua.push_bytes(b"cmsgpack");
    lua.set_field(table, "_NAME");
    lua.push_bytes(b"lua-cmsgpack 0.4.0");
    lua.set_field(table, "_VERSION");
    lua.pop(1);
}

fn pack(lua: State) -> Native {
    let count = lua.top();
    if count == 0 {
        lua.argument_error(0, c"MessagePack pack needs input.");
    }
    if !lua.check_stack(count) {
        return Err(lua.fail("Too many arguments for MessagePack pack."));
    }
    let host = lua.host();
    host.scratch.clear();
    for index in 1..=count {
        lua.push_value(index);
        encode(lua, &mut host.scratch, 0)?;
    }
    machine::push_scratch(lua);
    Ok(1)
}

/// Takes the value on top off and appends it.
fn encode(lua: State, out: &mut Vec<u8>, depth: usize) -> Result<(), Raised> {
    machine::spend_making(lua, 1, 0)?;
    match lua.kind(-1) {
        Kind::String => {
            let bytes = lua.bytes(-1).unwrap_or_default();
            machine::spend_making(lua, 0, bytes.len())?;
            encode_string(out, bytes);
        }
        Kind::Boolean => out.push(if lua.boolean(-1) { 0xc3 } else { 0xc2 }),
        Kind::Number => encode_number(out, lua.number(-1)),
        Kind::Table if depth < DEPTH_MAX => return encode_table(lua, out, depth),
        _ => out.push(0xc0),
    }
    lua.pop(1);
    Ok(())
}

fn encode_string(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        len @ 0..32 => out.push(0xa0 | len as u8),
        len @ 32..0x100 => out.extend_from_slice(&[0xd9, len as u8]),
        len @ 0x100..0x1_0000 => {
            out.push(0xda);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0xdb);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

fn encode_number(out: &mut Vec<u8>, number: f64) {
    let whole = number as i64;
    if whole as f64 == number && whole != i64::MAX {
        return encode_integer(out, whole);
    }
    let short = number as f32;
    if f64::from(short) == number {
        out.push(0xca);
        out.extend_from_slice(&short.to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend_from_slice(&number.to_be_bytes());
    }
}

fn encode_integer(out: &mut Vec<u8>, number: i64) {
    match number {
        -32..=0x7f => out.push(number as u8),
        0x80..=0xff => out.extend_from_slice(&[0xcc, number as u8]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend_from_slice(&(number as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend_from_slice(&(number as u32).to_be_bytes());
        }
        0x1_0000_0000.. => {
            out.push(0xcf);
            out.extend_from_slice(&number.to_be_bytes());
        }
        -0x80..-32 => out.extend_from_slice(&[0xd0, number as u8]),
        -0x8000..-0x80 => {
            out.push(0xd1);
            out.extend_from_slice(&(number as i16).to_be_bytes());
        }
        -0x8000_0000..-0x8000 => {
            out.push(0xd2);
            out.extend_from_slice(&(number as i32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

/// How many elements a table has, and whether they are those of an array from 1 on.
fn shape(lua: State, table: c_int) -> Result<(usize, bool), Raised> {
    let (mut count, mut highest, mut array) = (0usize, 0usize, true);
    lua.push_nil();
    while lua.next(table) {
        machine::spend(lua, 1)?;
        lua.pop(1);
        count += 1;
        let number = lua.number(-1);
        if lua.kind(-1) == Kind::Number && number > 0.0 && number.trunc() == number {
            highest = highest.max(number as usize);
        } else {
            array = false;
        }
    }
    Ok((count, array && highest == count))
}

fn encode_table(lua: State, out: &mut Vec<u8>, depth: usize) -> Result<(), Raised> {
    if !lua.check_stack(5) {
        return Err(lua.fail("stack overflow (in function mp_encode_lua_table)"));
    }
    let table = lua.top();
    let (count, array) = shape(lua, table)?;
    let [tiny, short, long] = if array { [0x90, 0xdc, 0xdd] } else { [0x80, 0xde, 0xdf] };
    match count {
        0..16 => out.push(tiny | count as u8),
        16..0x1_0000 => {
            out.push(short);
            out.extend_from_slice(&(count as u16).to_be_bytes());
        }
        _ => {
            out.push(long);
            out.extend_from_slice(&(count as u32).to_be_bytes());
        }
    }
    if array {
        for index in 1..=count {
            lua.raw_get_index(table, index as c_int);
            encode(lua, out, depth + 1)?;
        }
    } else {
        lua.push_nil();
        while lua.next(table) {
            lua.push_value(-2);
            encode(lua, out, depth + 1)?;
            encode(lua, out, depth + 1)?;
        }
    }
    lua.set_top(table - 1);
    Ok(())
}

/// Bytes that are being read.
struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, lua: State, count: usize) -> Result<&'a [u8], Raised> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..count) else {
            return Err(lua.fail("Missing bytes in input."));
        };
        self.at += count;
        Ok(taken)
    }

    /// An unsigned number of so many bytes.
    fn number(&mut self, lua: State, bytes: usize) -> Result<u64, Raised> {
        let taken = self.take(lua, bytes)?;
        Ok(taken.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }
}

/// Pushes the next value.
fn decode(lua: State, input: &mut Input<'_>) -> Result<(), Raised> {
    machine::spend(lua, 1)?;
    let mark = input.number(lua, 1)? as u8;
    match mark {
        0..=0x7f => lua.push_number(f64::from(mark)),
        0xe0..=0xff => lua.push_number(f64::from(mark.cast_signed())),
        0xa0..=0xbf => lua.push_bytes(input.take(lua, usize::from(mark & 31))?),
        0x90..=0x9f => decode_array(lua, input, usize::from(mark & 15))?,
        0x80..=0x8f => decode_map(lua, input, usize::from(mark & 15))?,
        0xc0 => lua.push_nil(),
        0xc2 | 0xc3 => lua.push_boolean(mark == 0xc3),
        0xca => {
            let bits = input.number(lua, 4)? as u32;
            lua.push_number(f64::from(f32::from_bits(bits)));
        }
        0xcb => {
            let bits = input.number(lua, 8)?;
            lua.push_number(f64::from_bits(bits));
        }
        0xcc..=0xcf => {
            let number = input.number(lua, 1 << (mark - 0xcc))?;
            // Upstream's go through Lua's integers, which have a sign.
            lua.push_number(number.cast_signed() as f64);
        }
        0xd0..=0xd3 => {
            let bytes = 1 << (mark - 0xd0);
            let unused = 64 - 8 * bytes as u32;
            let number = (input.number(lua, bytes)? << unused).cast_signed() >> unused;
            lua.push_number(number as f64);
        }
        0xd9..=0xdb => {
            let len = input.number(lua, 1 << (mark - 0xd9))? as usize;
            lua.push_bytes(input.take(lua, len)?);
        }
        0xdc | 0xdd => {
            let count = input.number(lua, 2 << (mark - 0xdc))? as usize;
            decode_array(lua, input, count)?;
        }
        0xde | 0xdf => {
            let count = input.number(lua, 2 << (mark - 0xde))? as usize;
            decode_map(lua, input, count)?;
        }
        _ => return Err(lua.fail("Bad data format in input.")),
    }
    Ok(())
}

fn make_room(lua: State) -> Result<(), Raised> {
    if lua.check_stack(4) {
        return Ok(());
    }
    Err(lua.fail("stack overflow (in function mp_decode_to_lua_type)"))
}

fn decode_array(lua: State, input: &mut Input<'_>, count: usize) -> Result<(), Raised> {
    make_room(lua)?;
    // What is announced may not be there: room for what there can be.
    lua.new_table(count.min(input.bytes.len() - input.at), 0);
    for index in 1..=count {
        decode(lua, input)?;
        lua.raw_set_index(-2, index as c_int);
    }
    Ok(())
}

fn decode_map(lua: State, input: &mut Input<'_>, count: usize) -> Result<(), Raised> {
    make_room(lua)?;
    lua.new_table(0, count.min((input.bytes.len() - input.at) / 2));
    let table = lua.top();
    for _ in 0..count {
        decode(lua, input)?;
        decode(lua, input)?;
        if lua.kind(-2) == Kind::Nil {
            return Err(lua.fail_plainly(b"table index is nil"));
        }
        if lua.kind(-2) == Kind::Number && lua.number(-2).is_nan() {
            return Err(lua.fail_plainly(b"table index is NaN"));
        }
        lua.raw_set(table);
    }
    Ok(())
}

fn unpack(lua: State) -> Native {
    unpack_from(lua, 0, 0)
}

fn unpack_one(lua: State) -> Native {
    let offset = lua.optional_number(2, 0.0) as i64;
    lua.set_top(1);
    unpack_from(lua, 1, offset)
}

fn unpack_limit(lua: State) -> Native {
    let limit = lua.check_number(2) as i64;
    let offset = lua.optional_number(3, 0.0) as i64;
    lua.set_top(1);
    unpack_from(lua, limit, offset)
}

/// Returns up to `limit` values, all of them where that is 0; in front of them where the next is, -1 at
/// the end, unless all were wanted.
fn unpack_from(lua: State, limit: i64, offset: i64) -> Native {
    let bytes = lua.check_bytes(1);
    let host = lua.host();
    let (Ok(start), Ok(most)) = (usize::try_from(offset), usize::try_from(limit)) else {
        host.scratch.clear();
        host.scratch.extend_from_slice(b"Invalid request to unpack with offset of ");
        text::push_i64(&mut host.scratch, offset);
        host.scratch.extend_from_slice(b" and limit of ");
        text::push_u64(&mut host.scratch, bytes.len() as u64);
        host.scratch.push(b'.');
        return Err(lua.fail_with(&host.scratch));
    };
    if start > bytes.len() {
        host.scratch.clear();
        host.scratch.extend_from_slice(b"Start offset ");
        text::push_u64(&mut host.scratch, start as u64);
        host.scratch.extend_from_slice(b" greater than input length ");
        text::push_u64(&mut host.scratch, bytes.len() as u64);
        host.scratch.push(b'.');
        return Err(lua.fail_with(&host.scratch));
    }
    let all = limit == 0 && offset == 0;
    let most = if all { usize::MAX } else { most };
    let mut input = Input { bytes, at: start };
    let mut count = 0;
    while count < most && !input.is_empty() {
        if !lua.check_stack(2) {
            return Err(lua.fail("stack overflow (too many results)"));
        }
        decode(lua, &mut input)?;
        count += 1;
    }
    if !all {
        lua.push_number(if input.is_empty() { -1.0 } else { input.at as f64 });
        lua.insert(2);
        count += 1;
    }
    Ok(count as c_int)
}
