//! Whether bytes from elsewhere are a listpack, so that walking it forwards and backwards can't
//! leave it.

use super::entry::{self, INT_13, INT_16, INT_24, INT_32, INT_64, STRING_6, STRING_12, STRING_32};
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

/// Behind the encodings of numbers of 13 bits whose sign isn't set.
const INT_13_NEGATIVE: u8 = INT_13 | 0x10;

/// Bytes of encoding and data by an entry's first byte; 0 where that alone doesn't tell them, or is no
/// encoding. A table, since numbers of all widths by turns would mispredict a chain of comparisons.
pub(super) const SHORT_LENGTHS: [u8; 256] = short_lengths();

const fn short_lengths() -> [u8; 256] {
    let mut lengths = [0; 256];
    let mut first = 0;
    loop {
        lengths[first as usize] = match first {
            0x00..STRING_6 => 1,
            STRING_6..INT_13 => 1 + (first & 0x3f),
            INT_13..STRING_12 => 2,
            INT_16 => 3,
            INT_24 => 4,
            INT_32 => 5,
            INT_64 => 9,
            _ => 0,
        };
        if first == u8::MAX {
            return lengths;
        }
        first += 1;
    }
}

/// Walks over all entries; returns how many there are.
pub(super) fn validate(bytes: &[u8]) -> Result<usize, ListpackError> {
    let mut cells = Cells::new(bytes)?;
    while cells.pass() {}
    cells.end()
}

/// A walk over the entries of bytes from elsewhere, each of which is looked at before it is passed. What
/// can't be passed stops the walk: an entry that is damaged, or the end; [`Cells::end`] tells which.
#[derive(Clone, Debug)]
pub(crate) struct Cells<'a> {
    whole: &'a [u8],
    /// All that is before the end mark.
    bytes: &'a [u8],
    at: usize,
    passed: usize,
    told: u16,
}

impl<'a> Cells<'a> {
    /// Looks at the header and the end mark.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, ListpackError> {
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
        let told = u16::from_le_bytes([bytes[4], bytes[5]]);
        Ok(Self { whole: bytes, bytes: &bytes[..end], at: HEADER_BYTES, passed: 0, told })
    }

    /// The bytes that it walks over, header and end mark included.
    pub(super) fn whole(&self) -> &'a [u8] {
        self.whole
    }

    /// Passes over an entry; false where the walk stops.
    #[inline]
    pub(crate) fn pass(&mut self) -> bool {
        let Some(&first) = self.bytes.get(self.at) else { return false };
        // A backward length of one byte is compared in place; longer ones are rare.
        match SHORT_LENGTHS[usize::from(first)] {
            0 => self.pass_long(),
            len => self.pass_short(usize::from(len)),
        }
    }

    /// Passes over an entry with `len` bytes of encoding and data.
    #[inline]
    fn pass_short(&mut self, len: usize) -> bool {
        let is_right = self.bytes.get(self.at + len).is_some_and(|back| usize::from(*back) == len);
        if is_right {
            self.at += len + 1;
            self.passed += 1;
        }
        is_right
    }

    #[inline(never)]
    fn pass_long(&mut self) -> bool {
        let len = entry_len(self.bytes, self.at);
        if let Ok(len) = len {
            self.at += len;
            self.passed += 1;
        }
        len.is_ok()
    }

    /// Passes over an entry that spells a number; nothing where the walk stops or it doesn't.
    #[inline]
    pub(crate) fn int(&mut self) -> Option<i64> {
        match self.bytes.get(self.at..)?.first_chunk() {
            Some(&[number @ 0x00..STRING_6, 1, _]) => {
                self.at += 2;
                self.passed += 1;
                Some(i64::from(number))
            }
            // Of 13 bits, and not negative.
            Some(&[high @ INT_13..INT_13_NEGATIVE, low, 2]) => {
                self.at += 3;
                self.passed += 1;
                Some(i64::from(high - INT_13) << 8 | i64::from(low))
            }
            _ => self.long_int(),
        }
    }

    #[inline(never)]
    fn long_int(&mut self) -> Option<i64> {
        let (bytes, at) = (self.bytes, self.at);
        self.pass().then(|| entry::element_at(bytes, at).as_int()).flatten()
    }

    /// Passes over an entry that is a number from 0 to 127 in its densest form; nothing, and it is still
    /// there, where it isn't.
    #[inline]
    pub(crate) fn small(&mut self) -> Option<u8> {
        match self.bytes.get(self.at..)?.first_chunk() {
            Some(&[number @ 0x00..STRING_6, 1]) => {
                self.at += 2;
                self.passed += 1;
                Some(number)
            }
            _ => None,
        }
    }

    /// Whether the walk is at the end mark.
    #[inline]
    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Ends the walk, which must have passed over all entries; returns how many there are.
    pub(crate) fn end(&self) -> Result<usize, ListpackError> {
        if !self.is_at_end() {
            entry_len(self.bytes, self.at)?;
            // It could be passed, but wasn't.
            return Err(ListpackError::Entry { offset: self.at });
        }
        match self.told {
            MANY => {}
            told if usize::from(told) == self.passed => {}
            told => {
                let (told, found) = (usize::from(told), self.passed);
                return Err(ListpackError::Count { told, found });
            }
        }
        Ok(self.passed)
    }
}

/// The whole length of an entry that must end where `bytes` do or before.
fn entry_len(bytes: &[u8], at: usize) -> Result<usize, ListpackError> {
    let (end, wrong) = (bytes.len(), ListpackError::Entry { offset: at });
    let head = match bytes[at] {
        STRING_12..STRING_32 => 2,
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
    let (expected, count) = entry::back_length(len);
    if bytes[at + len..at + len + back] != expected[..count] {
        return Err(ListpackError::BackLength { offset: at + len });
    }
    Ok(len + back)
}
