//! The library `cjson`: its settings, and values to JSON. From JSON: [`decode`](super::cjson_decode).
//!
//! `cjson.new` gives another table of the same functions with settings of its own; settings are a
//! userdata that each function has as its own value.

use std::ffi::c_int;

use crate::base::text;
use crate::script::cjson_decode;
use crate::script::machine;
use crate::script::raw::{CFunction, Kind, Native, Raised, State, native, push_digits, upvalue};

/// What scripts may choose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    sparse_convert: bool,
    sparse_ratio: i64,
    sparse_safe: i64,
    encode_depth_max: usize,
    pub(super) decode_depth_max: usize,
    encode_invalid: Invalid,
    pub(super) decode_invalid: bool,
    precision: i32,
    keep_buffer: bool,
    /// Whether an empty array that is decoded becomes one when it is encoded again.
    pub(super) mark_arrays: bool,
}

/// What becomes of numbers that JSON doesn't have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Invalid {
    Refused,
    Written,
    Null,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sparse_convert: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_depth_max: 1000,
            decode_depth_max: 1000,
            encode_invalid: Invalid::Refused,
            decode_invalid: true,
            precision: 14,
            keep_buffer: true,
            mark_arrays: false,
        }
    }
}

/// The field of a metatable that makes a table an array, and the key that decoded ones are kept under.
pub(super) const ARRAY_MARK: &str = "__is_cjson_array";

/// Bytes of a string that are written between two counts of steps.
const PIECE_BYTES: usize = 64 << 10;

/// Puts the library into the globals.
pub(super) fn install(lua: State, globals: c_int) {
    push_library(lua);
    lua.set_field(globals, "cjson");
}

fn push_library(lua: State) {
    const FUNCTIONS: [(&str, CFunction); 11] = [
        ("encode", native!(encode)),
        ("decode", native!(decode)),
        ("encode_sparse_array", native!(encode_sparse_array)),
        ("encode_max_depth", native!(encode_max_depth)),
        ("decode_max_depth", native!(decode_max_depth)),
        ("encode_number_precision", native!(encode_number_precision)),
        ("encode_keep_buffer", native!(encode_keep_buffer)),
        ("encode_invalid_numbers", native!(encode_invalid_numbers)),
        ("decode_invalid_numbers", native!(decode_invalid_numbers)),
        ("decode_array_with_array_mt", native!(decode_array_with_array_mt)),
        ("new", native!(new)),
    ];
    lua.new_table(0, 16);
    let table = lua.top();
    lua.push_userdata(Settings::default());
    for (name, function) in FUNCTIONS {
        lua.push_value(table + 1);
        lua.push_function(function, 1);
        lua.set_field(table, name);
    }
    lua.set_top(table);
    lua.push_null();
    lua.set_field(table, "null");
    lua.push_bytes(b"cjson");
    lua.set_field(table, "_NAME");
    lua.push_bytes(b"2.1.0");
    lua.set_field(table, "_VERSION");
}

fn new(lua: State) -> Native {
    push_library(lua);
    Ok(1)
}

/// The settings of the function that runs.
fn settings<'a>(lua: State) -> &'a mut Settings {
    lua.userdata(upvalue(1))
}

/// An argument that is a whole number in a range, where there is one.
fn chosen_number(
    lua: State,
    argument: c_int,
    range: (i64, i64),
    error: &std::ffi::CStr,
) -> Option<i64> {
    if lua.kind(argument) == Kind::Nil {
        return None;
    }
    let number = lua.check_number(argument) as i64;
    if number < range.0 || number > range.1 {
        lua.argument_error(argument, error);
    }
    Some(number)
}

/// An argument that is a truth value, or "on" or "off".
fn chosen_flag(lua: State, argument: c_int) -> Option<bool> {
    match lua.kind(argument) {
        Kind::Nil => None,
        Kind::Boolean => Some(lua.boolean(argument)),
        _ => match lua.check_bytes(argument) {
            b"on" => Some(true),
            b"off" => Some(false),
            _ => {
                lua.argument_error(argument, c"invalid option");
                None
            }
        },
    }
}

fn at_most(lua: State, count: c_int) {
    if lua.top() > count {
        lua.argument_error(count + 1, c"found too many arguments");
    }
    lua.set_top(count);
}

fn encode_sparse_array(lua: State) -> Native {
    at_most(lua, 3);
    let settings = settings(lua);
    if let Some(flag) = chosen_flag(lua, 1) {
        settings.sparse_convert = flag;
    }
    let range = (0, i64::from(i32::MAX));
    let error = c"expected integer between 0 and 2147483647";
    if let Some(ratio) = chosen_number(lua, 2, range, error) {
        settings.sparse_ratio = ratio;
    }
    if let Some(safe) = chosen_number(lua, 3, range, error) {
        settings.sparse_safe = safe;
    }
    lua.push_boolean(settings.sparse_convert);
    lua.push_number(settings.sparse_ratio as f64);
    lua.push_number(settings.sparse_safe as f64);
    Ok(3)
}

fn depth(lua: State, depth: &mut usize) -> Native {
    at_most(lua, 1);
    let range = (1, i64::from(i32::MAX));
    let error = c"expected integer between 1 and 2147483647";
    if let Some(number) = chosen_number(lua, 1, range, error) {
        *depth = number as usize;
    }
    lua.push_number(*depth as f64);
    Ok(1)
}

fn encode_max_depth(lua: State) -> Native {
    depth(lua, &mut settings(lua).encode_depth_max)
}

fn decode_max_depth(lua: State) -> Native {
    depth(lua, &mut settings(lua).decode_depth_max)
}

fn encode_number_precision(lua: State) -> Native {
    at_most(lua, 1);
    let settings = settings(lua);
    let error = c"expected integer between 1 and 14";
    if let Some(number) = chosen_number(lua, 1, (1, 14), error) {
        settings.precision = number as i32;
    }
    lua.push_number(f64::from(settings.precision));
    Ok(1)
}

fn flag(lua: State, flag: &mut bool) -> Native {
    at_most(lua, 1);
    if let Some(chosen) = chosen_flag(lua, 1) {
        *flag = chosen;
    }
    lua.push_boolean(*flag);
    Ok(1)
}

fn encode_keep_buffer(lua: State) -> Native {
    flag(lua, &mut settings(lua).keep_buffer)
}

fn decode_invalid_numbers(lua: State) -> Native {
    flag(lua, &mut settings(lua).decode_invalid)
}

fn decode_array_with_array_mt(lua: State) -> Native {
    flag(lua, &mut settings(lua).mark_arrays)
}

fn encode_invalid_numbers(lua: State) -> Native {
    at_most(lua, 1);
    let settings = settings(lua);
    if lua.bytes(1) == Some(b"null") {
        settings.encode_invalid = Invalid::Null;
    } else if let Some(flag) = chosen_flag(lua, 1) {
        settings.encode_invalid = if flag { Invalid::Written } else { Invalid::Refused };
    }
    match settings.encode_invalid {
        Invalid::Null => lua.push_bytes(b"null"),
        other => lua.push_boolean(other == Invalid::Written),
    }
    Ok(1)
}

fn decode(lua: State) -> Native {
    if lua.top() != 1 {
        lua.argument_error(1, c"expected 1 argument");
    }
    let settings = *settings(lua);
    cjson_decode::decode(lua, lua.check_bytes(1), settings)?;
    Ok(1)
}

fn encode(lua: State) -> Native {
    if lua.top() != 1 {
        lua.argument_error(1, c"expected 1 argument");
    }
    let settings = *settings(lua);
    let host = lua.host();
    host.scratch.clear();
    Encoder { lua, settings, out: &mut host.scratch }.value(0)?;
    machine::push_scratch(lua);
    Ok(1)
}

/// Writes JSON.
struct Encoder<'a> {
    lua: State,
    settings: Settings,
    out: &'a mut Vec<u8>,
}

impl Encoder<'_> {
    /// Takes the value on top off and writes it.
    fn value(&mut self, depth: usize) -> Result<(), Raised> {
        let lua = self.lua;
        machine::spend_making(lua, 1, 0)?;
        match lua.kind(-1) {
            Kind::String => self.string(lua.bytes(-1).unwrap_or_default())?,
            Kind::Number => self.number(lua.number(-1))?,
            Kind::Boolean if lua.boolean(-1) => self.out.extend_from_slice(b"true"),
            Kind::Boolean => self.out.extend_from_slice(b"false"),
            Kind::Nil => self.out.extend_from_slice(b"null"),
            Kind::Table => self.table(depth + 1)?,
            Kind::Other if lua.is_light(-1) => self.out.extend_from_slice(b"null"),
            _ => {
                let name = lua.type_name(-1);
                return Err(self.refuse(&["Cannot serialise ", name, ": type not supported"]));
            }
        }
        lua.pop(1);
        Ok(())
    }

    fn refuse(&mut self, parts: &[&str]) -> Raised {
        self.out.clear();
        parts.iter().for_each(|part| self.out.extend_from_slice(part.as_bytes()));
        self.lua.fail_with(self.out)
    }

    fn number(&mut self, number: f64) -> Result<(), Raised> {
        if !number.is_finite() {
            let text: &[u8] = match self.settings.encode_invalid {
                Invalid::Refused => {
                    let text = "Cannot serialise number: must not be NaN or Inf";
                    return Err(self.refuse(&[text]));
                }
                Invalid::Null => b"null",
                Invalid::Written if number.is_nan() => b"nan",
                Invalid::Written if number > 0.0 => b"inf",
                Invalid::Written => b"-inf",
            };
            self.out.extend_from_slice(text);
            return Ok(());
        }
        push_decimal(self.out, number, self.settings.precision);
        Ok(())
    }

    fn string(&mut self, bytes: &[u8]) -> Result<(), Raised> {
        self.out.push(b'"');
        for piece in bytes.chunks(PIECE_BYTES) {
            machine::spend_making(self.lua, 0, piece.len())?;
            self.out.reserve(piece.len() + 1);
            let mut rest = piece;
            while let Some(at) = rest.iter().position(|byte| ESCAPED[usize::from(*byte)]) {
                self.out.extend_from_slice(&rest[..at]);
                push_escaped(self.out, rest[at]);
                rest = &rest[at + 1..];
            }
            self.out.extend_from_slice(rest);
        }
        self.out.push(b'"');
        Ok(())
    }

    fn table(&mut self, depth: usize) -> Result<(), Raised> {
        let lua = self.lua;
        if depth > self.settings.encode_depth_max || !lua.check_stack(4) {
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(depth);
            return Err(self.refuse(&["Cannot serialise, excessive nesting (", digits, ")"]));
        }
        match self.array_len()? {
            Some(len) if len > 0 || self.is_marked() => self.array(len, depth),
            _ => self.object(depth),
        }
    }

    fn is_marked(&self) -> bool {
        let lua = self.lua;
        if !lua.get_metatable(-1) {
            return false;
        }
        lua.get_field(lua.top(), ARRAY_MARK);
        let marked = lua.boolean(-1);
        lua.pop(2);
        marked
    }

    /// How many elements the array on top has; nothing where it is no array.
    fn array_len(&mut self) -> Result<Option<i64>, Raised> {
        let lua = self.lua;
        let table = lua.top();
        let (mut highest, mut count) = (0i64, 0i64);
        lua.push_nil();
        while lua.next(table) {
            machine::spend(lua, 1)?;
            lua.pop(1);
            let number = lua.number(-1);
            if lua.kind(-1) == Kind::Number && number >= 1.0 && number.trunc() == number {
                highest = highest.max(number as i64);
                count += 1;
                continue;
            }
            lua.pop(1);
            return Ok(None);
        }
        let Settings { sparse_convert, sparse_ratio, sparse_safe, .. } = self.settings;
        if sparse_ratio > 0 && highest > count.saturating_mul(sparse_ratio) && highest > sparse_safe
        {
            if !sparse_convert {
                let text = "Cannot serialise table: excessively sparse array";
                return Err(self.refuse(&[text]));
            }
            return Ok(None);
        }
        Ok(Some(highest))
    }

    fn array(&mut self, len: i64, depth: usize) -> Result<(), Raised> {
        let table = self.lua.top();
        self.out.push(b'[');
        for index in 1..=len {
            if index > 1 {
                self.out.push(b',');
            }
            self.lua.push_element(table, index);
            self.value(depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<(), Raised> {
        let lua = self.lua;
        let table = lua.top();
        self.out.push(b'{');
        let mut first = true;
        lua.push_nil();
        while lua.next(table) {
            if !std::mem::replace(&mut first, false) {
                self.out.push(b',');
            }
            match lua.kind(-2) {
                Kind::String => self.string(lua.bytes(-2).unwrap_or_default())?,
                Kind::Number => {
                    self.out.push(b'"');
                    self.number(lua.number(-2))?;
                    self.out.push(b'"');
                }
                _ => {
                    let name = lua.type_name(-2);
                    let text = ": table key must be a number or string";
                    return Err(self.refuse(&["Cannot serialise ", name, text]));
                }
            }
            self.out.push(b':');
            self.value(depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }
}

/// Appends a number with so many digits.
fn push_decimal(out: &mut Vec<u8>, number: f64, precision: i32) {
    let whole = number as i64;
    let bound = 10u64.pow(precision.unsigned_abs().min(17));
    if whole as f64 == number
        && whole.unsigned_abs() < bound
        && (whole != 0 || number.is_sign_positive())
    {
        text::push_i64(out, whole);
    } else {
        push_digits(out, number, precision);
    }
}

/// Bytes that don't stand for themselves in a string.
const ESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 32 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table[b'/' as usize] = true;
    table[127] = true;
    table
};

fn push_escaped(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let letter = match byte {
        b'"' | b'\\' | b'/' => byte,
        8 => b'b',
        9 => b't',
        10 => b'n',
        12 => b'f',
        13 => b'r',
        _ => {
            let [high, low] = [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
}
