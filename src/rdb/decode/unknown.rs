//! Values of types that there is no place for, passed over where their layout is known: arrays of
//! Redis 8.8, and modules' values, whose elements say what they are.

use std::io::Read;

use super::collection::wrong;
use super::reader::Reader;
use super::{DecodeError, module, string};
use crate::rdb::format;

/// What an element of an array is.
const TEXT: u64 = 0;
const INTEGER: u64 = 1;
const FLOAT: u64 = 2;
const SHORT_TEXT: u64 = 3;

/// Passes over a value behind its key; false, and nothing is read, where its layout isn't known.
pub(super) fn skip<R: Read>(reader: &mut Reader<R>, type_byte: u8) -> Result<bool, DecodeError> {
    match type_byte {
        format::TYPE_ARRAY => array(reader)?,
        format::TYPE_MODULE => {
            reader.length("a module's identifier")?;
            module::skip_elements(reader)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// How many elements, where the next is put if that is known, and each element with its index.
fn array<R: Read>(reader: &mut Reader<R>) -> Result<(), DecodeError> {
    let count = reader.length("a number of elements")?;
    let offset = reader.offset();
    match reader.length("whether an array knows where to go on")? {
        0 => {}
        1 => {
            reader.length("where an array goes on")?;
        }
        found => return Err(wrong(offset, "0 or 1", found.to_string())),
    }
    for _ in 0..count {
        reader.length("an element's index")?;
        let offset = reader.offset();
        match reader.length("an element's kind")? {
            TEXT | SHORT_TEXT => string::skip(reader, "an element")?,
            INTEGER | FLOAT => reader.skip(8, "an element")?,
            found => return Err(wrong(offset, "an element's kind", found.to_string())),
        }
    }
    Ok(())
}
