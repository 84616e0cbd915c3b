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

fn encoded<R: Read>(
    reader: &mut Reader<R>,
    expected: &'static str,
) -> Result<Encoded, DecodeError> {
    let offset = reader.offset();
    let code = match reader.prefix(expected)? {
        Prefix::Length(length) => return reader.bytes(length, expected).map(Encoded::Bytes),
        Prefix::Special(code) => code,
    };
    Ok(match code {
        format::SPECIAL_INT8 => Encoded::Int(i64::from(i8::from_le_bytes(reader.array(expected)?))),
        format::SPECIAL_INT16 => {
            Encoded::Int(i64::from(i16::from_le_bytes(reader.array(expected)?)))
        }
        format::SPECIAL_INT32 => {
            Encoded::Int(i64::from(i32::from_le_bytes(reader.array(expected)?)))
        }
        format::SPECIAL_LZF => Encoded::Bytes(compressed(reader, expected)?),
        _ => {
            let found = format::SPECIAL | code;
            return Err(DecodeError::Encoding { offset, expected, found });
        }
    })
}

fn compressed<R: Read>(
    reader: &mut Reader<R>,
    expected: &'static str,
) -> Result<Vec<u8>, DecodeError> {
    let compressed_len = reader.length(expected)?;
    let len = usize::try_from(reader.length(expected)?).unwrap_or(usize::MAX);
    let offset = reader.offset();
    let compressed = reader.bytes(compressed_len, expected)?;
    lzf::decompress(&compressed, len).map_err(|source| DecodeError::Lzf {
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
