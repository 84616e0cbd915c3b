//! What DUMP replied, on its way back through RESTORE.
//!
//! ```text
//! [F3 what modules know of the key] type value version:2 crc64:8
//! ```
//! Version and checksum are little-endian; the checksum is of all before it.

use super::collection::Context;
use super::reader::Reader;
use super::template::Templates;
use super::{Checksum, DecodeError, module, object, string};
use crate::base::checksum::crc64;
use crate::data::thresholds::Thresholds;
use crate::rdb::OwnedValue;
use crate::rdb::format::{self, Dialect};

/// Version and checksum.
const FOOTER_LEN: usize = 10;

/// Why a payload was refused.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Too short, of an unknown version, or with a wrong checksum.
    #[error("DUMP payload version or checksum are wrong")]
    Footer,
    /// The footer is right, but the value is not.
    #[error("Bad data format")]
    Value(#[source] DecodeError),
    /// There is more than a value.
    #[error("Bad data format")]
    Excess {
        /// How many bytes there are besides.
        bytes: u64,
    },
}

/// The value in a DUMP payload. Offsets in errors count from the payload's first byte.
///
/// # Errors
/// [`RestoreError`]; its text is the one that RESTORE replies, without the code word.
pub fn restore_payload(
    payload: &[u8],
    checksum: Checksum,
    thresholds: &Thresholds,
) -> Result<OwnedValue, RestoreError> {
    let (body, version) = checked(payload, checksum)?;
    let mut reader = Reader::new(body, body.len().min(super::BUFFER_LEN), Checksum::Ignore);
    let templates = Templates::default();
    let context = Context { thresholds, writer: Dialect::of(version), templates: &templates };
    let value = value(&mut reader, context).map_err(RestoreError::Value)?;
    match body.len() as u64 - reader.offset() {
        0 => Ok(value),
        bytes => Err(RestoreError::Excess { bytes }),
    }
}

/// What is in front of the footer, where that is right, and the version.
fn checked(payload: &[u8], checksum: Checksum) -> Result<(&[u8], u16), RestoreError> {
    let (body, footer) = payload.split_last_chunk::<FOOTER_LEN>().ok_or(RestoreError::Footer)?;
    let [low, high, crc @ ..] = *footer;
    let version = u16::from_le_bytes([low, high]);
    if version > format::VERSION_MAX && !format::VERSIONS_VALKEY.contains(&version) {
        return Err(RestoreError::Footer);
    }
    // Unlike in files, upstream takes a checksum of zero for a wrong one.
    let summed = &payload[..body.len() + 2];
    if checksum == Checksum::Verify && u64::from_le_bytes(crc) != crc64(summed) {
        return Err(RestoreError::Footer);
    }
    Ok((body, version))
}

/// Why the libraries of a payload were refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FunctionsError {
    /// As RESTORE's.
    #[error("DUMP payload version or checksum are wrong")]
    Footer,
    /// There is something else in it.
    #[error("failed loading the given functions payload")]
    Body,
}

/// The texts of the libraries in what FUNCTION DUMP replied.
pub(crate) fn functions_payload(
    payload: &[u8],
    checksum: Checksum,
) -> Result<Vec<Vec<u8>>, FunctionsError> {
    let (body, _) = checked(payload, checksum).map_err(|_| FunctionsError::Footer)?;
    let mut reader = Reader::new(body, body.len().min(super::BUFFER_LEN), Checksum::Ignore);
    let mut texts = Vec::new();
    while reader.offset() < body.len() as u64 {
        match reader.byte("a library") {
            Ok(format::OPCODE_FUNCTION) => {}
            _ => return Err(FunctionsError::Body),
        }
        let text = string::bytes(&mut reader, "a function library");
        texts.push(text.map_err(|_| FunctionsError::Body)?);
    }
    Ok(texts)
}

fn value(reader: &mut Reader<&[u8]>, context: Context<'_>) -> Result<OwnedValue, DecodeError> {
    let mut type_byte = reader.byte("a type")?;
    if type_byte == format::OPCODE_KEY_METADATA && context.writer == Dialect::Redis {
        module::skip_key_metadata(reader)?;
        type_byte = reader.byte("a type")?;
    }
    object(reader, 0, type_byte, context)
}
