//! Strings: bytes as they are, integers, and LZF.

use std::io::Read;

use super::DecodeError;
use super::reader::{Prefix, Reader};
use crate::base::{lzf, text};
use crate::rdb::OwnedValue;
use crate::rdb::format;

/// A string as it was encoded.
enum Encoded {
    Int(i64),
    Bytes(Vec<u8>),
}

/// Reads a value; integers are found in whatever form they were written.
pub(super) fn value<R: Read>(reader: &mut Reader<R>) -> Result<OwnedValue, DecodeError> {
    Ok(match encoded(reader, "a string")? {
        Encoded::Int(number) => OwnedValue::Int(number),
        Encoded::Bytes(bytes) => match text::parse_i64(&bytes) {
            Some(number) => OwnedValue::Int(number),
            None => OwnedValue::Str(bytes),
        },
    })
}

/// Reads a string of which only the bytes matter.
pub(super) fn bytes<R: Read>(
    reader: &mut Reader<R>,
    expected: &'static str,
) -> Result<Vec<u8>, DecodeError> {
    Ok(match encoded(reader, expected)? {
        Encoded::Int(number) => {
            let mut bytes = Vec::new();
            text::push_i64(&mut bytes, number);
            bytes
        }
        Encoded::Bytes(bytes) => bytes,
    })
}

/// Reads such a string in the place of what is in `out`; a compressed one that the reader hasn't in one
/// piece goes through `spare`.
pub(super) fn bytes_into<R: Read>(
    reader: &mut Reader<R>,
    out: &mut Vec<u8>,
    spare: &mut Vec<u8>,
    expected: &'static str,
) -> Result<(), DecodeError> {
    let offset = reader.offset();
    match reader.prefix(expected)? {
        Prefix::Length(length) => reader.bytes_into(length, out, expected),
        Prefix::Special(format::SPECIAL_LZF) => decompress_into(reader, out, spare, expected),
        Prefix::Special(code) => match special(reader, offset, code, expected)? {
            Encoded::Int(number) => {
                out.clear();
                text::push_i64(out, number);
                Ok(())
            }
            Encoded::Bytes(bytes) => {
                *out = bytes;
                Ok(())
            }
        },
    }
}

fn encoded<R: Read>(
    reader: &mut Reader<R>,
    expected: &'static str,
) -> Result<Encoded, DecodeError> {
    let offset = reader.offset();
    let code = match reader.prefix(expected)? {
        Prefix::Length(length) => return reader.bytes(length, expected).map(Encoded::Bytes),
        Prefix::Special(code) => code,
    };
    special(reader, offset, code, expected)
}

/// Reads what stands behind the code of a special encoding, which stood at `offset`.
fn special<R: Read>(
    reader: &mut Reader<R>,
    offset: u64,
    code: u8,
    expected: &'static str,
) -> Result<Encoded, DecodeError> {
    Ok(match code {
        format::SPECIAL_INT8 => Encoded::Int(i64::from(i8::from_le_bytes(reader.array(expected)?))),
        format::SPECIAL_INT16 => {
            Encoded::Int(i64::from(i16::from_le_bytes(reader.array(expected)?)))
        }
        format::SPECIAL_INT32 => {
            Encoded::Int(i64::from(i32::from_le_bytes(reader.array(expected)?)))
        }
        format::SPECIAL_LZF => {
            let mut out = Vec::new();
            decompress_into(reader, &mut out, &mut Vec::new(), expected)?;
            Encoded::Bytes(out)
        }
        _ => {
            let found = format::SPECIAL | code;
            return Err(DecodeError::Encoding { offset, expected, found });
        }
    })
}

fn decompress_into<R: Read>(
    reader: &mut Reader<R>,
    out: &mut Vec<u8>,
    spare: &mut Vec<u8>,
    expected: &'static str,
) -> Result<(), DecodeError> {
    let compressed_len = reader.length(expected)?;
    let len = usize::try_from(reader.length(expected)?).unwrap_or(usize::MAX);
    let offset = reader.offset();
    let compressed = reader.view(compressed_len, spare, expected)?;
    lzf::decompress_into(compressed, len, out).map_err(|source| DecodeError::Lzf {
        offset,
        expected,
        source,
    })
}

/// Passes over a string.
pub(super) fn skip<R: Read>(
    reader: &mut Reader<R>,
    expected: &'static str,
) -> Result<(), DecodeError> {
    let offset = reader.offset();
    let len = match reader.prefix(expected)? {
        Prefix::Length(length) => length,
        Prefix::Special(format::SPECIAL_INT8) => 1,
        Prefix::Special(format::SPECIAL_INT16) => 2,
        Prefix::Special(format::SPECIAL_INT32) => 4,
        Prefix::Special(format::SPECIAL_LZF) => {
            let compressed_len = reader.length(expected)?;
            reader.length(expected)?;
            compressed_len
        }
        Prefix::Special(code) => {
            let found = format::SPECIAL | code;
            return Err(DecodeError::Encoding { offset, expected, found });
        }
    };
    reader.skip(len, expected)
}
