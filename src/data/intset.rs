//! A sorted set of integers in one block of memory, in upstream's form: the compact form of a set
//! whose members are all integers.
//!
//! ```text
//! | bytes of each 4 | how many 4 | integer ... |     little-endian, ascending; 2, 4 or 8 bytes each
//! ```
//!
//! All take as many bytes as the largest needs; they are widened when a larger one comes, and never
//! narrowed.

use std::fmt;
use std::ptr::NonNull;

use crate::data::block::{Block, Format, HEAD_BYTES};

struct Framing;

impl Format for Framing {
    #[inline]
    fn length(head: [u8; HEAD_BYTES]) -> usize {
        let (width, count) = parts(head);
        HEAD_BYTES + width * count
    }
}

#[inline]
fn parts(head: [u8; HEAD_BYTES]) -> (usize, usize) {
    let both = u64::from_le_bytes(head);
    #[expect(clippy::cast_possible_truncation, reason = "32 bits each")]
    let [width, count] = [both as u32, (both >> 32) as u32];
    (width as usize, count as usize)
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "2, 4 or 8; and a set keeps to 2^28 integers")]
fn header(width: usize, count: usize) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&(width as u32).to_le_bytes());
    head[4..].copy_from_slice(&(count as u32).to_le_bytes());
    head
}

/// Bytes that an integer needs.
#[inline]
fn width_of(number: i64) -> usize {
    if i16::try_from(number).is_ok() {
        2
    } else if i32::try_from(number).is_ok() {
        4
    } else {
        8
    }
}

#[inline]
fn load(bytes: &[u8], width: usize) -> i64 {
    let mut wide = [0; 8];
    wide[..width].copy_from_slice(&bytes[..width]);
    let shift = 64 - 8 * width;
    i64::from_le_bytes(wide) << shift >> shift
}

/// What is wrong with bytes that should be a set of integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntSetError {
    /// Too short, or of another length than the header says, or of integers of no known width.
    #[error("a set of {count} integers of {width} bytes expected, found {found} bytes")]
    Length {
        /// Bytes of each, as the header says.
        width: usize,
        /// How many, as the header says.
        count: usize,
        /// How many bytes there are.
        found: usize,
    },
    /// Not ascending, or one twice.
    #[error("an integer greater than the one before it expected at index {index}")]
    Order {
        /// Which one.
        index: usize,
    },
}

/// See the file's head.
#[derive(Clone)]
pub struct IntSet(Block<Framing>);

impl IntSet {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self(Block::new(&header(2, 0)))
    }

    /// A copy of bytes from elsewhere, if they are well-formed.
    ///
    /// # Errors
    /// [`IntSetError`] says what is wrong with them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, IntSetError> {
        let (width, count) = bytes.first_chunk().map_or((0, 0), |head| parts(*head));
        let found = bytes.len();
        if !matches!(width, 2 | 4 | 8) || width * count != found - HEAD_BYTES.min(found) {
            return Err(IntSetError::Length { width, count, found });
        }
        let set = Self(Block::new(bytes));
        let mut before = None;
        for (index, number) in set.iter().enumerate() {
            if before.is_some_and(|before| before >= number) {
                return Err(IntSetError::Order { index });
            }
            before = Some(number);
        }
        Ok(set)
    }

    /// The bytes, as they stand in an RDB.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// Bytes of heap that the set takes.
    #[inline]
    pub(crate) fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }

    /// Hands the set out as a raw pointer. It leaks unless [`IntSet::from_raw`] takes it back.
    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<u8> {
        self.0.into_raw()
    }

    /// Takes back what [`IntSet::into_raw`] gave.
    ///
    /// # Safety
    /// As [`Block::from_raw`].
    #[inline]
    pub(crate) unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { Block::from_raw(raw) })
    }

    #[inline]
    fn parts(&self) -> (usize, usize, &[u8]) {
        let bytes = self.0.bytes();
        let (width, count) = bytes.first_chunk().map_or((2, 0), |head| parts(*head));
        (width, count, &bytes[HEAD_BYTES..])
    }

    /// How many members there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.parts().1
    }

    /// Whether there is no member.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The member at a place of the order.
    #[inline]
    pub fn get(&self, index: usize) -> Option<i64> {
        let (width, count, members) = self.parts();
        (index < count).then(|| load(&members[index * width..], width))
    }

    /// The members in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = i64> + ExactSizeIterator + '_ {
        let (width, _, members) = self.parts();
        members.chunks_exact(width).map(move |bytes| load(bytes, width))
    }

    /// Where a number is, or where it would be.
    fn search(&self, number: i64) -> Result<usize, usize> {
        let (width, count, members) = self.parts();
        let at = |index: usize| load(&members[index * width..], width);
        // Numbers often come in ascending order.
        if count == 0 || number > at(count - 1) {
            return Err(count);
        }
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = usize::midpoint(low, high);
            match at(middle).cmp(&number) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Whether a number is a member.
    #[inline]
    pub fn contains(&self, number: i64) -> bool {
        self.search(number).is_ok()
    }

    /// Adds a number; false where it was there.
    pub fn insert(&mut self, number: i64) -> bool {
        let Err(index) = self.search(number) else { return false };
        let (width, count, _) = self.parts();
        if width_of(number) > width {
            self.widen(width_of(number));
        }
        let (width, ..) = self.parts();
        let bytes = number.to_le_bytes();
        let at = HEAD_BYTES + index * width;
        self.0.splice(at, 0, &bytes[..width], &header(width, count + 1));
        true
    }

    fn widen(&mut self, width: usize) {
        let mut bytes = header(width, self.len()).to_vec();
        bytes.reserve(self.len() * width);
        for number in self.iter() {
            bytes.extend_from_slice(&number.to_le_bytes()[..width]);
        }
        self.0 = Block::new(&bytes);
    }

    /// Removes a number; false where it wasn't there.
    pub fn remove(&mut self, number: i64) -> bool {
        let Ok(index) = self.search(number) else { return false };
        let (width, count, _) = self.parts();
        self.0.splice(HEAD_BYTES + index * width, width, &[], &header(width, count - 1));
        true
    }
}

impl Default for IntSet {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for IntSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn behaves_like_a_sorted_set() {
        let mut rng = crate::base::env::Rng::from_seed(5);
        for _ in 0..40 {
            let mut set = IntSet::new();
            let mut model = BTreeSet::new();
            for step in 0..3_000 {
                let number = match rng.below(6) {
                    0 if step > 1_000 => rng.next_u64() as i64,
                    1 if step > 500 => i64::from(rng.next_u64() as i32),
                    _ => i64::from(rng.next_u64() as i16 % 300),
                };
                if rng.below(3) == 0 {
                    assert_eq!(set.remove(number), model.remove(&number));
                } else {
                    assert_eq!(set.insert(number), model.insert(number));
                }
                assert_eq!(set.contains(number), model.contains(&number));
                assert_eq!(set.len(), model.len());
            }
            assert!(set.iter().eq(model.iter().copied()));
            assert_eq!(set.get(7), model.iter().nth(7).copied());
            assert_eq!(set.get(model.len()), None);
            let again = IntSet::from_bytes(set.as_bytes()).unwrap();
            assert!(again.iter().eq(model));
        }
    }

    #[test]
    fn refuses_damage() {
        let mut set = IntSet::new();
        for number in [1, 5, 70_000, -3] {
            set.insert(number);
        }
        let good = set.as_bytes();
        for end in 0..good.len() {
            assert!(IntSet::from_bytes(&good[..end]).is_err());
        }
        let mut bad = good.to_vec();
        bad.copy_within(8..12, 12);
        assert!(matches!(IntSet::from_bytes(&bad), Err(IntSetError::Order { index: 1 })));
        bad[0] = 3;
        assert!(IntSet::from_bytes(&bad).is_err());
    }
}
