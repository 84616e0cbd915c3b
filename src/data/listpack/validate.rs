//! Whether bytes from elsewhere are a listpack, so that walking it forwards and backwards can't
//! leave it.

use super::entry::{self, STRING_32};
use super::{END, HEADER_BYTES, MANY};

/// What is wrong with bytes that should be a listpack. Offsets count from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListpackError {
    /// Too short for a header and an end, or of another length than the header says.
    #[error("a listpack of {told} bytes expected, found {found}")]
    Length {
        /// What the header says.
        told: usize,
        /// How many bytes there are.
        found: usize,
    },
    /// The last byte isn't the end mark.
    #[error("the end of a listpack expected at offset {offset}")]
    End {
        /// Where.
        offset: usize,
    },
    /// An entry begins with a byte that is no encoding, or goes on behind the end.
    #[error("a listpack entry expected at offset {offset}")]
    Entry {
        /// Where it begins.
        offset: usize,
    },
    /// The length behind an entry isn't the entry's.
    #[error("the length of a listpack entry expected at offset {offset}")]
    BackLength {
        /// Where it stands.
        offset: usize,
    },
    /// The header counts other elements than there are.
    #[error("a listpack of {told} elements expected, found {found}")]
    Count {
        /// What the header says.
        told: usize,
        /// How many there are.
        found: usize,
    },
}

/// Walks over all entries; returns how many there are.
pub(super) fn validate(bytes: &[u8]) -> Result<usize, ListpackError> {
    let found = bytes.len();
    let told = match bytes.first_chunk() {
        Some(total) => u32::from_le_bytes(*total) as usize,
        None => 0,
    };
    if told != found || found <= HEADER_BYTES {
        return Err(ListpackError::Length { told, found });
    }
    let end = found - 1;
    if bytes[end] != END {
        return Err(ListpackError::End { offset: end });
    }
    let (mut at, mut count) = (HEADER_BYTES, 0);
    while at < end {
        at += entry_len(bytes, at, end)?;
        count += 1;
    }
    match u16::from_le_bytes([bytes[4], bytes[5]]) {
        MANY => {}
        told if usize::from(told) == count => {}
        told => return Err(ListpackError::Count { told: usize::from(told), found: count }),
    }
    Ok(count)
}

/// The whole length of an entry that must end at `end` or before.
fn entry_len(bytes: &[u8], at: usize, end: usize) -> Result<usize, ListpackError> {
    let wrong = ListpackError::Entry { offset: at };
    let head = match bytes[at] {
        0xe0..STRING_32 => 2,
        STRING_32 => 5,
        _ => 1,
    };
    if head > end - at {
        return Err(wrong);
    }
    let len = entry::data_len(bytes, at).ok_or(wrong)?;
    let back = entry::back_bytes(len);
    if len > end - at || back > end - at - len {
        return Err(wrong);
    }
    let found = &bytes[at + len..at + len + back];
    // Nearly all are of one byte.
    let is_right = if let &[found] = found {
        usize::from(found) == len
    } else {
        let mut expected = Vec::with_capacity(back);
        entry::push_back_length(&mut expected, len);
        found == expected
    };
    if !is_right {
        return Err(ListpackError::BackLength { offset: at + len });
    }
    Ok(len + back)
}
