//! Histories: what makes two servers' offsets comparable.

use std::fmt;

use crate::base::env::Rng;
use crate::base::mutation::{self, Mutation};

/// A history's name: 40 hexadecimal digits, random (`master_replid`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicationId([u8; 40]);

impl ReplicationId {
    /// One that no other history has.
    pub fn random(rng: &mut Rng) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0; 40];
        for part in digits.chunks_mut(16) {
            let mut bits = rng.next_u64();
            for digit in part {
                *digit = HEX[(bits & 15) as usize];
                bits >>= 4;
            }
        }
        Self(digits)
    }

    /// Reads 40 hexadecimal digits in lower case; servers write no others.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let digits: [u8; 40] = text.try_into().ok()?;
        let is_digit = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        digits.iter().all(is_digit).then_some(Self(digits))
    }

    /// The digits.
    pub(crate) fn digits(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for ReplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|digit| fmt::Write::write_char(f, char::from(*digit)))
    }
}

impl fmt::Debug for ReplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A history that this one went on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Previous {
    /// Its name (`master_replid2`).
    pub id: ReplicationId,
    /// Bytes of the stream that both have. (`second_repl_offset`, which is that of the first byte that
    /// they don't share counted from 1, is one more.)
    pub end: u64,
}

/// The history in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Its name (`master_replid`).
    pub id: ReplicationId,
    /// The one before, where it is known.
    pub previous: Option<Previous>,
    /// Whether another server may know the name: it was learned from one, or told to one.
    pub is_shared: bool,
}

impl History {
    /// Whether who has so many bytes of that history has nothing that this one hasn't.
    pub(crate) fn continues(&self, id: ReplicationId, offset: u64) -> bool {
        id == self.id
            || self.previous.is_some_and(|previous| {
                let ends = mutation::is_on(Mutation::ForkIsContinued) || offset <= previous.end;
                id == previous.id && ends
            })
    }
}

/// A place in a stream. It stands for data: what whoever applied the stream up to there has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamPosition {
    /// The history.
    pub id: ReplicationId,
    /// Bytes of the stream before it.
    pub offset: u64,
}

impl StreamPosition {
    /// Reads `<id>:<offset>`, in the form that is written and no other.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let (id, offset) = text.split_at_checked(40)?;
        let offset = crate::base::text::parse_u64(offset.strip_prefix(b":")?)?;
        let position = Self { id: ReplicationId::parse(id)?, offset };
        (position.to_string().as_bytes() == text).then_some(position)
    }
}

impl fmt::Display for StreamPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.id, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_positions_are_read_as_they_were_written() {
        let mut rng = Rng::from_seed(1);
        let (id, other) = (ReplicationId::random(&mut rng), ReplicationId::random(&mut rng));
        assert_ne!(id, other);
        assert_eq!(ReplicationId::parse(id.to_string().as_bytes()), Some(id));
        assert_eq!(ReplicationId::parse(&[b'A'; 40]), None);
        assert_eq!(ReplicationId::parse(&[b'a'; 41]), None);
        for offset in [0, 7, u64::MAX] {
            let position = StreamPosition { id, offset };
            assert_eq!(StreamPosition::parse(position.to_string().as_bytes()), Some(position));
        }
        for wrong in [format!("{id}"), format!("{id}:"), format!("{id}:07"), format!("{id}:-1")] {
            assert_eq!(StreamPosition::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn a_history_continues_the_one_before_up_to_its_end() {
        let mut rng = Rng::from_seed(1);
        let [id, old, other] = [0; 3].map(|_| ReplicationId::random(&mut rng));
        let history =
            History { id, previous: Some(Previous { id: old, end: 100 }), is_shared: false };
        assert!(history.continues(id, 1000) && history.continues(old, 100));
        assert!(!history.continues(old, 101) && !history.continues(other, 0));
    }
}
