//! The library `struct`: values to and from bytes, by a format.
//!
//! | letter | value |
//! |---|---|
//! | `<` `>` | little, big endian from here on |
//! | `!n` | align to at most n bytes (8) |
//! | `b` `h` `l` `T` `in`, capitals unsigned | integers of 1, 2, 8, 8, n (4) bytes |
//! | `f` `d` | float, double |
//! | `cn` | n bytes; `c0`: all, and as many as the number before says |
//! | `s` | bytes up to a zero |
//! | `x` | a zero |

use std::ffi::{CStr, c_int};

use crate::script::machine;
use crate::script::raw::{CFunction, Native, Raised, State, native};

/// The longest integer, in bytes.
const INTEGER_BYTES_MAX: usize = 32;
/// What a format is aligned to where `!` stands alone.
const ALIGNMENT: usize = 8;
/// The longest result, in bytes: what a string may be.
const RESULT_BYTES_MAX: usize = 512 << 20;

/// Puts the library into the globals.
pub(super) fn install(lua: State, globals: c_int) {
    let functions: [(&str, CFunction); 3] =
        [("pack", native!(pack)), ("unpack", native!(unpack)), ("size", native!(size))];
    super::base_lib::set_library(lua, globals, "struct", &functions);
}

/// A format that is being read.
struct Format<'a> {
    letters: &'a [u8],
    at: usize,
    big_endian: bool,
    alignment: usize,
    /// Whether only the size is asked for: a letter that means nothing is no error then.
    sizing: bool,
}

/// A value's place: its letter, its bytes, and the bytes in front that align it.
struct Item {
    letter: u8,
    size: usize,
    padding: usize,
}

impl<'a> Format<'a> {
    fn new(letters: &'a [u8]) -> Self {
        // A format ends at a zero, as a string of C.
        let end = memchr::memchr(0, letters).unwrap_or(letters.len());
        let big_endian = cfg!(target_endian = "big");
        Self { letters: &letters[..end], at: 0, big_endian, alignment: 1, sizing: false }
    }

    fn number(&mut self, lua: State, default: usize) -> Result<usize, Raised> {
        let digits = self.letters[self.at..].iter().take_while(|letter| letter.is_ascii_digit());
        let count = digits.clone().count();
        if count == 0 {
            return Ok(default);
        }
        let number = digits.clone().try_fold(0i32, |number, digit| {
            number.checked_mul(10)?.checked_add(i32::from(digit - b'0'))
        });
        self.at += count;
        number
            .and_then(|number| usize::try_from(number).ok())
            .ok_or_else(|| lua.fail("integral size overflow"))
    }

    /// The next value, `len` bytes being there already.
    fn next(&mut self, lua: State, len: usize) -> Result<Option<Item>, Raised> {
        while let Some(&letter) = self.letters.get(self.at) {
            self.at += 1;
            machine::spend(lua, 1)?;
            let size = match letter {
                b'b' | b'B' | b'x' => 1,
                b'h' | b'H' => 2,
                b'f' => 4,
                b'l' | b'L' | b'T' | b'd' => 8,
                b'c' => self.number(lua, 1)?,
                b's' => 0,
                b'i' | b'I' => match self.number(lua, 4)? {
                    size if size <= INTEGER_BYTES_MAX => size,
                    size => {
                        let text = too_long(lua, size);
                        return Err(lua.fail_with(text));
                    }
                },
                _ => {
                    self.control(lua, letter)?;
                    continue;
                }
            };
            let aligned = size.min(self.alignment);
            let padding = if aligned == 0 || letter == b'c' {
                0
            } else {
                (aligned - (len & (aligned - 1))) & (aligned - 1)
            };
            return Ok(Some(Item { letter, size, padding }));
        }
        Ok(None)
    }

    fn control(&mut self, lua: State, letter: u8) -> Result<(), Raised> {
        match letter {
            b' ' => {}
            b'>' => self.big_endian = true,
            b'<' => self.big_endian = false,
            b'!' => {
                let alignment = self.number(lua, ALIGNMENT)?;
                if !alignment.is_power_of_two() {
                    let host = lua.host();
                    host.scratch.clear();
                    host.scratch.extend_from_slice(b"alignment ");
                    crate::base::text::push_u64(&mut host.scratch, alignment as u64);
                    host.scratch.extend_from_slice(b" is not a power of 2");
                    return Err(lua.fail_with(&host.scratch));
                }
                self.alignment = alignment;
            }
            _ if self.sizing => {}
            _ => {
                let mut text = *b"invalid format option ' '\0";
                text[23] = letter;
                lua.argument_error(1, CStr::from_bytes_with_nul(&text).unwrap_or_default());
            }
        }
        Ok(())
    }
}

fn too_long<'a>(lua: State, size: usize) -> &'a [u8] {
    let host = lua.host();
    host.scratch.clear();
    host.scratch.extend_from_slice(b"integral size ");
    crate::base::text::push_u64(&mut host.scratch, size as u64);
    host.scratch.extend_from_slice(b" is larger than limit of 32");
    &host.scratch
}

fn pack(lua: State) -> Native {
    let mut format = Format::new(lua.check_bytes(1));
    let host = lua.host();
    host.scratch.clear();
    // An argument that is missing reads as nil.
    lua.push_nil();
    let mut argument = 2;
    while let Some(item) = format.next(lua, host.scratch.len())? {
        if host.scratch.len() + item.padding + item.size > RESULT_BYTES_MAX {
            return Err(lua.fail("format result too large"));
        }
        host.scratch.resize(host.scratch.len() + item.padding, 0);
        match item.letter {
            b'x' => host.scratch.push(0),
            b'f' | b'd' => {
                let number = lua.check_number(argument);
                let start = host.scratch.len();
                if item.letter == b'f' {
                    host.scratch.extend_from_slice(&(number as f32).to_le_bytes());
                } else {
                    host.scratch.extend_from_slice(&number.to_le_bytes());
                }
                if format.big_endian {
                    host.scratch[start..].reverse();
                }
            }
            b'c' | b's' => {
                let text = lua.check_bytes(argument);
                let size = if item.size == 0 { text.len() } else { item.size };
                if text.len() < size {
                    lua.argument_error(argument + 1, c"string too short");
                }
                if host.scratch.len() + size > RESULT_BYTES_MAX {
                    return Err(lua.fail("format result too large"));
                }
                host.scratch.extend_from_slice(&text[..size]);
                if item.letter == b's' {
                    host.scratch.push(0);
                }
            }
            _ => {
                let number = lua.check_number(argument);
                let value = bits_of(number);
                let start = host.scratch.len();
                host.scratch.extend_from_slice(&value.to_le_bytes());
                host.scratch.resize(start + item.size, 0);
                if format.big_endian {
                    host.scratch[start..].reverse();
                }
            }
        }
        if item.letter != b'x' {
            argument += 1;
        }
    }
    machine::push_scratch(lua);
    Ok(1)
}

/// A number as an integer: what is beyond the signed ones may be an unsigned one. What fits neither is
/// what C makes of it on x86, and so upstream.
fn bits_of(number: f64) -> u64 {
    const BOUND: f64 = 18_446_744_073_709_551_616.0;
    if number.is_nan() {
        1 << 63
    } else if number < 0.0 {
        (number as i64).cast_unsigned()
    } else if number < BOUND {
        number as u64
    } else {
        0
    }
}

/// The bytes of an integer as a number.
fn integer(bytes: &[u8], big_endian: bool, signed: bool) -> f64 {
    let mut value = 0u64;
    let mut add = |byte: &u8| value = value << 8 | u64::from(*byte);
    if big_endian {
        bytes.iter().for_each(&mut add);
    } else {
        bytes.iter().rev().for_each(&mut add);
    }
    if !signed {
        return value as f64;
    }
    let unused = 64 - 8 * bytes.len().min(8) as u32;
    if unused >= 64 {
        return 0.0;
    }
    ((value << unused).cast_signed() >> unused) as f64
}

fn unpack(lua: State) -> Native {
    let mut format = Format::new(lua.check_bytes(1));
    let data = lua.check_bytes(2);
    let start = lua.optional_number(3, 1.0);
    if start < 1.0 {
        lua.argument_error(3, c"offset must be 1 or greater");
    }
    let mut at = (start as usize).saturating_sub(1);
    lua.set_top(2);
    let mut count = 0;
    while let Some(item) = format.next(lua, at)? {
        at = at.saturating_add(item.padding);
        if at.saturating_add(item.size) > data.len() {
            lua.argument_error(2, c"data string too short");
        }
        if !lua.check_stack(2) {
            return Err(lua.fail("stack overflow (too many results)"));
        }
        let mut size = item.size;
        let mut bytes = &data[at..at + size];
        count += 1;
        match item.letter {
            b'x' => count -= 1,
            b'f' | b'd' => lua.push_number(float(bytes, format.big_endian)),
            b'c' => {
                if size == 0 {
                    if count == 1 || !lua.is_number(-1) {
                        return Err(lua.fail("format 'c0' needs a previous size"));
                    }
                    let wanted = lua.number(-1);
                    lua.pop(1);
                    count -= 1;
                    if wanted < 0.0 || wanted > (data.len() - at) as f64 {
                        lua.argument_error(2, c"data string too short");
                    }
                    size = wanted as usize;
                    bytes = &data[at..at + size];
                }
                lua.push_bytes(bytes);
            }
            b's' => {
                let Some(len) = memchr::memchr(0, &data[at..]) else {
                    return Err(lua.fail("unfinished string in data"));
                };
                lua.push_bytes(&data[at..at + len]);
                size = len + 1;
            }
            letter => {
                let signed = letter.is_ascii_lowercase();
                lua.push_number(integer(bytes, format.big_endian, signed));
            }
        }
        at += size;
    }
    lua.push_number(at as f64 + 1.0);
    Ok(count + 1)
}

fn float(bytes: &[u8], big_endian: bool) -> f64 {
    let mut ordered = [0u8; 8];
    let ordered = &mut ordered[..bytes.len()];
    ordered.copy_from_slice(bytes);
    if big_endian {
        ordered.reverse();
    }
    match <[u8; 4]>::try_from(&*ordered) {
        Ok(single) => f64::from(f32::from_le_bytes(single)),
        Err(_) => f64::from_le_bytes(ordered.try_into().unwrap_or_default()),
    }
}

fn size(lua: State) -> Native {
    let mut format = Format { sizing: true, ..Format::new(lua.check_bytes(1)) };
    let mut total = 0usize;
    while let Some(item) = format.next(lua, total)? {
        if item.letter == b's' {
            lua.argument_error(1, c"option 's' has no fixed size");
        }
        if item.letter == b'c' && item.size == 0 {
            lua.argument_error(1, c"option 'c0' has no fixed size");
        }
        total = total.saturating_add(item.padding + item.size);
        if total > i32::MAX as usize {
            return Err(lua.fail("format result too large"));
        }
    }
    lua.push_number(total as f64);
    Ok(1)
}
