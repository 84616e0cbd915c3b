//! Data of modules, which is skipped: each element says what it is, so no module is needed.

use std::io::Read;

use super::reader::Reader;
use super::{DecodeError, string};

/// What the elements of a module's data begin with.
const END: u64 = 0;
const SIGNED: u64 = 1;
const UNSIGNED: u64 = 2;
const FLOAT: u64 = 3;
const DOUBLE: u64 = 4;
const STRING: u64 = 5;

const EXPECTED: &str = "an element of a module's data";

/// Passes over what a module kept outside of keys. Returns the module's type name.
pub(super) fn skip_aux<R: Read>(reader: &mut Reader<R>) -> Result<String, DecodeError> {
    let name = type_name(reader.length("a module's identifier")?);
    skip_elements(reader)?;
    Ok(name)
}

/// Passes over what modules know of the next key (Redis 8.6): of each its identifier, and its elements.
pub(super) fn skip_key_metadata<R: Read>(reader: &mut Reader<R>) -> Result<(), DecodeError> {
    for _ in 0..reader.length("a number of modules")? {
        reader.skip(4, "a module's identifier")?;
        skip_elements(reader)?;
    }
    Ok(())
}

/// Passes over elements up to their end.
pub(super) fn skip_elements<R: Read>(reader: &mut Reader<R>) -> Result<(), DecodeError> {
    loop {
        let offset = reader.offset();
        match reader.length(EXPECTED)? {
            END => return Ok(()),
            SIGNED | UNSIGNED => {
                reader.length(EXPECTED)?;
            }
            FLOAT => reader.skip(4, EXPECTED)?,
            DOUBLE => reader.skip(8, EXPECTED)?,
            STRING => string::skip(reader, EXPECTED)?,
            found => return Err(DecodeError::Module { offset, found }),
        }
    }
}

/// The name in a module's identifier: 9 characters of 6 bits, then 10 bits of version.
fn type_name(identifier: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9)
        .map(|place| char::from(LETTERS[(identifier >> (58 - 6 * place)) as usize & 63]))
        .collect()
}
