//! Entries' ids: a millisecond and a number within it, ordered by both.

use std::fmt;

use crate::base::text;

/// The longest text that is read as an id.
const TEXT_MAX: usize = 127;
/// The longest text of an id that is written: two numbers of 64 bits and the sign between them.
const TEXT_WRITTEN_MAX: usize = 41;

/// An entry's id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Milliseconds, by the clock of whoever chose it.
    pub ms: u64,
    /// Its number within the millisecond.
    pub seq: u64,
}

/// An id as a client names it, which may leave its second number open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdText {
    /// Both numbers.
    Whole(StreamId),
    /// A millisecond alone.
    Millisecond(u64),
    /// A millisecond and `*`: the next number in it.
    NextIn(u64),
}

impl StreamId {
    /// The least, which no entry has.
    pub const MIN: Self = Self { ms: 0, seq: 0 };
    /// The greatest.
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    /// The id that follows; nothing behind the greatest.
    #[inline]
    pub fn next(self) -> Option<Self> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Self { seq, ..self }),
            None => Some(Self { ms: self.ms.checked_add(1)?, seq: 0 }),
        }
    }

    /// The id before; nothing before the least.
    #[inline]
    pub(crate) fn previous(self) -> Option<Self> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Self { seq, ..self }),
            None => Some(Self { ms: self.ms.checked_sub(1)?, seq: u64::MAX }),
        }
    }

    /// The 16 bytes that it is in an RDB, whose order is that of ids.
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    /// The id of 16 bytes.
    #[expect(clippy::cast_possible_truncation, reason = "the lower and the upper half")]
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Self { ms: (both >> 64) as u64, seq: both as u64 }
    }

    /// The id as text: `ms-seq`.
    #[inline]
    pub(crate) fn text(self) -> IdDigits {
        let (mut ms, mut seq) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (ms, seq) = (ms.format(self.ms).as_bytes(), seq.format(self.seq).as_bytes());
        let mut digits = IdDigits { bytes: [0; TEXT_WRITTEN_MAX], len: ms.len() + 1 + seq.len() };
        digits.bytes[..ms.len()].copy_from_slice(ms);
        digits.bytes[ms.len()] = b'-';
        digits.bytes[ms.len() + 1..digits.len].copy_from_slice(seq);
        digits
    }

    /// Reads what a client wrote, `ms-seq`, `ms` or `ms-*`; nothing where it is none of them.
    pub fn parse(text: &[u8]) -> Option<IdText> {
        if text.len() > TEXT_MAX {
            return None;
        }
        // Upstream reads it as a string of C.
        let text = &text[..text.iter().position(|byte| *byte == 0).unwrap_or(text.len())];
        let Some(at) = text.iter().position(|byte| *byte == b'-') else {
            return number(text).map(IdText::Millisecond);
        };
        let ms = number(&text[..at])?;
        match &text[at + 1..] {
            b"*" => Some(IdText::NextIn(ms)),
            seq => number(seq).map(|seq| IdText::Whole(Self { ms, seq })),
        }
    }
}

/// A number of 64 bits without a sign. As upstream, which leaves to `strtoull` what isn't in canonical
/// form: space before it, a sign, and zeros are allowed, and a negative number counts from 2^64 down.
fn number(text: &[u8]) -> Option<u64> {
    match text::parse_i64(text) {
        Some(number) => return u64::try_from(number).ok(),
        None if text.is_empty() => return None,
        None => {}
    }
    let is_space = |byte: &&u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let text = &text[text.iter().take_while(is_space).count()..];
    let negative = text.first() == Some(&b'-');
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    if digits.is_empty() {
        return None;
    }
    let sum = digits.iter().try_fold(0_u64, |sum, byte| match byte {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })?;
    Some(if negative { sum.wrapping_neg() } else { sum })
}

/// An id's text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdDigits {
    bytes: [u8; TEXT_WRITTEN_MAX],
    len: usize,
}

impl IdDigits {
    /// The text.
    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_upstream_reads_them() {
        let whole = |ms, seq| Some(IdText::Whole(StreamId { ms, seq }));
        for (text, expected) in [
            (&b"5-7"[..], whole(5, 7)),
            (b"5", Some(IdText::Millisecond(5))),
            (b"5-*", Some(IdText::NextIn(5))),
            (b"18446744073709551615-18446744073709551615", whole(u64::MAX, u64::MAX)),
            (b"18446744073709551616", None),
            (b"007-+1", whole(7, 1)),
            (b" 7- 1", whole(7, 1)),
            (b"7- -1", whole(7, u64::MAX)),
            (b"7--1", None),
            (b"-1", None),
            (b"7-", None),
            (b"", None),
            (b"7-1x", None),
            (b"7-1\0x", whole(7, 1)),
            (b"*", None),
            (b"$", None),
        ] {
            assert_eq!(StreamId::parse(text), expected, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn ids_follow_each_other() {
        let id = |ms, seq| StreamId { ms, seq };
        assert_eq!(id(1, 2).next(), Some(id(1, 3)));
        assert_eq!(id(1, u64::MAX).next(), Some(id(2, 0)));
        assert_eq!(StreamId::MAX.next(), None);
        assert_eq!(id(2, 0).previous(), Some(id(1, u64::MAX)));
        assert_eq!(StreamId::MIN.previous(), None);
        let longest = StreamId::MAX.text();
        assert_eq!(longest.as_bytes(), StreamId::MAX.to_string().as_bytes());
        assert_eq!(StreamId::from_bytes(id(3, 4).to_bytes()), id(3, 4));
    }
}
