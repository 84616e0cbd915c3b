//! What is in the stream but not in the log: PING and REPLCONF GETACK. A frame's header notes what stood
//! before it as counts and letters (`8640p1g`), from which the bytes can be made again.

use std::fmt;

/// What the log only notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlogged {
    /// `PING`, which tells replicas that the link lives.
    Ping,
    /// `REPLCONF GETACK *`, which asks replicas how far they are.
    GetAck,
}

impl Unlogged {
    /// Its bytes in the stream.
    pub const fn bytes(self) -> &'static [u8] {
        match self {
            Self::Ping => b"*1\r\n$4\r\nPING\r\n",
            Self::GetAck => b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n",
        }
    }

    const fn letter(self) -> char {
        match self {
            Self::Ping => 'p',
            Self::GetAck => 'g',
        }
    }
}

/// Notes of what was skipped, in order; equals that follow each other are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped(Vec<(u64, Unlogged)>);

/// Kinds that follow each other in one note. A frame has to be written before there are more.
pub(crate) const RUNS_MAX: usize = 16;
/// The longest note.
#[cfg(test)]
pub(crate) const NOTE_BYTES_MAX: usize = RUNS_MAX * 21;

impl Skipped {
    /// Adds one.
    pub(crate) fn push(&mut self, what: Unlogged) {
        match self.0.last_mut() {
            Some((count, last)) if *last == what => *count += 1,
            _ => self.0.push((1, what)),
        }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether no further kind has room.
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= RUNS_MAX
    }

    /// How many bytes of the stream they are; nothing where that is more than any stream has.
    pub(crate) fn stream_bytes(&self) -> Option<u64> {
        self.0.iter().try_fold(0_u64, |sum, (count, what)| {
            sum.checked_add(count.checked_mul(what.bytes().len() as u64)?)
        })
    }

    /// The pieces that they were, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Unlogged> {
        self.0.iter().flat_map(|(count, what)| (0..*count).map(|_| *what))
    }

    /// Reads a note, in the form that is written and no other.
    pub(crate) fn parse(note: &[u8]) -> Option<Self> {
        let mut runs = Vec::new();
        let mut rest = note;
        while !rest.is_empty() {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let count = crate::base::text::parse_u64(&rest[..digits])?;
            let what = match rest.get(digits)? {
                b'p' => Unlogged::Ping,
                b'g' => Unlogged::GetAck,
                _ => return None,
            };
            let repeats = runs.last().is_some_and(|(_, last)| *last == what);
            if count == 0 || repeats || runs.len() == RUNS_MAX {
                return None;
            }
            runs.push((count, what));
            rest = &rest[digits + 1..];
        }
        let skipped = Self(runs);
        (skipped.to_string().as_bytes() == note).then_some(skipped)
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(count, what)| write!(f, "{count}{}", what.letter()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Unlogged::{GetAck, Ping};

    #[test]
    fn a_note_says_which_bytes_were_skipped() {
        let mut skipped = Skipped::default();
        let stream = [Ping, Ping, Ping, GetAck, Ping];
        stream.iter().for_each(|what| skipped.push(*what));
        assert_eq!(skipped.to_string(), "3p1g1p");
        assert_eq!(Skipped::parse(b"3p1g1p"), Some(skipped.clone()));
        assert!(skipped.iter().eq(stream));
        let bytes: usize = stream.iter().map(|what| what.bytes().len()).sum();
        assert_eq!(skipped.stream_bytes(), Some(bytes as u64));
        for wrong in ["p", "0p", "1p2p", "1x", "1p1", "01p", "18446744073709551616p"] {
            assert_eq!(Skipped::parse(wrong.as_bytes()), None, "{wrong}");
        }
        let huge = Skipped::parse(b"18446744073709551615p").unwrap();
        assert_eq!(huge.stream_bytes(), None);
        assert!(!skipped.is_full());
        (0..RUNS_MAX).for_each(|at| skipped.push(if at % 2 == 0 { GetAck } else { Ping }));
        assert!(skipped.is_full() && skipped.to_string().len() <= NOTE_BYTES_MAX);
    }
}
