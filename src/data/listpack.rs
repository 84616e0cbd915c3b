//! A listpack: elements one behind the other in one block of memory, walked from either end. The
//! compact form of lists, hashes, sets and sorted sets, and a node of a long list.
//!
//! The bytes are upstream's (antirez, "Listpack specification", 2017), so that a listpack goes into
//! an RDB as it is:
//!
//! ```text
//! | total bytes 4 | elements 2 | entry ... | 0xff |      little-endian; 65535 elements: not known
//!
//! entry     | encoding and data | length of those, to be read backwards 1-5 |
//! encoding  0xxxxxxx                       integer of 7 bits, unsigned
//!           110xxxxx x8                    integer of 13 bits, big-endian
//!           f1 x16  f2 x24  f3 x32  f4 x64 integers, little-endian
//!           10nnnnnn ...                   string of up to 63 bytes
//!           1110nnnn n8 ...                string of up to 4095 bytes, big-endian
//!           f0 n32 ...                     string of up to 2^32-1 bytes, little-endian
//! ```
//!
//! What is the canonical decimal form of an integer is stored as one. `entry` reads and writes
//! single entries, `validate` looks at bytes that came from elsewhere, `widths` brings newer servers' to
//! this form; every `Listpack` is well-formed, so walking it can't fail.

mod entry;
mod validate;
mod widths;

#[cfg(test)]
mod tests;

use std::fmt;
use std::ptr::NonNull;

use crate::data::block::{Block, Format, HEAD_BYTES};
use crate::data::element::Element;

pub use entry::Entries;
#[cfg(test)]
pub(crate) use entry::entry_bytes;
pub(crate) use validate::{Cells, ListpackError};
pub(crate) use widths::widened;

/// Bytes before the first entry.
pub(crate) const HEADER_BYTES: usize = 6;
/// What ends the entries.
pub(crate) const END: u8 = 0xff;
/// A header's number of elements where they are so many that they have to be counted.
const MANY: u16 = u16::MAX;
/// Whoever adds to a listpack keeps it below this many bytes; upstream refuses more.
pub(crate) const BYTES_MAX: usize = 1 << 30;

struct Framing;

impl Format for Framing {
    #[inline]
    fn length(head: [u8; HEAD_BYTES]) -> usize {
        u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize
    }
}

/// An element's place, until the listpack changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(usize);

/// See the file's head.
#[derive(Clone)]
pub struct Listpack(Block<Framing>);

impl Listpack {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self(Block::new(&[7, 0, 0, 0, 0, 0, END]))
    }

    /// A copy of bytes from elsewhere, if they are well-formed.
    ///
    /// # Errors
    /// [`ListpackError`] says what is wrong with them, and where.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ListpackError> {
        let widened = widened(bytes);
        let bytes = widened.as_deref().unwrap_or(bytes);
        validate::validate(bytes)?;
        Ok(Self(Block::new(bytes)))
    }

    /// A copy of bytes from elsewhere over whose entries a walk has passed.
    ///
    /// # Errors
    /// [`ListpackError`], where it isn't at their end.
    pub(crate) fn from_cells(cells: &Cells<'_>) -> Result<Self, ListpackError> {
        cells.end()?;
        Ok(Self(Block::new(cells.whole())))
    }

    /// The bytes, as they stand in an RDB.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// How many elements there are. Counts them where they are more than 65534.
    #[inline]
    pub fn len(&self) -> usize {
        let bytes = self.0.bytes();
        match u16::from_le_bytes([bytes[4], bytes[5]]) {
            MANY => self.cursors().count(),
            count => usize::from(count),
        }
    }

    /// Whether there is no element.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.bytes()[HEADER_BYTES] == END
    }

    /// The length of [`Listpack::as_bytes`].
    #[inline]
    pub(crate) fn byte_len(&self) -> usize {
        self.0.len()
    }

    /// Bytes of heap that the listpack takes.
    #[inline]
    pub(crate) fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }

    /// Hands the listpack out as a raw pointer. It leaks unless [`Listpack::from_raw`] takes it back.
    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<u8> {
        self.0.into_raw()
    }

    /// Takes back what [`Listpack::into_raw`] gave.
    ///
    /// # Safety
    /// As [`Block::from_raw`].
    #[inline]
    pub(crate) unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { Block::from_raw(raw) })
    }

    /// The first element.
    #[inline]
    pub(crate) fn first(&self) -> Option<Cursor> {
        self.at_or_end(HEADER_BYTES)
    }

    /// The last element.
    #[inline]
    pub(crate) fn last(&self) -> Option<Cursor> {
        self.previous(Cursor(self.0.len() - 1))
    }

    /// The element behind one.
    #[inline]
    pub(crate) fn next(&self, at: Cursor) -> Option<Cursor> {
        self.at_or_end(at.0 + entry::len_at(self.0.bytes(), at.0))
    }

    /// The element before one.
    #[inline]
    pub(crate) fn previous(&self, at: Cursor) -> Option<Cursor> {
        (at.0 > HEADER_BYTES).then(|| Cursor(entry::start_before(self.0.bytes(), at.0)))
    }

    #[inline]
    fn at_or_end(&self, offset: usize) -> Option<Cursor> {
        (self.0.bytes()[offset] != END).then_some(Cursor(offset))
    }

    /// The element at an index.
    pub fn seek(&self, index: usize) -> Option<Cursor> {
        let count = self.len();
        if index >= count {
            return None;
        }
        if index <= count / 2 {
            let mut at = self.first()?;
            for _ in 0..index {
                at = self.next(at)?;
            }
            Some(at)
        } else {
            let mut at = self.last()?;
            for _ in index + 1..count {
                at = self.previous(at)?;
            }
            Some(at)
        }
    }

    /// The element at a cursor.
    #[inline]
    pub fn get(&self, at: Cursor) -> Element<'_> {
        entry::element_at(self.0.bytes(), at.0)
    }

    /// Looks for an element, from `from` on at every `step`th: 1 for all, 2 for the keys of pairs.
    pub fn find(&self, from: Cursor, element: &[u8], step: usize) -> Option<Cursor> {
        let bytes = self.0.bytes();
        let wanted = Element::of(element);
        let (mut at, mut skip) = (from.0, 0);
        loop {
            if bytes[at] == END {
                return None;
            }
            if skip == 0 {
                if entry::is_at(bytes, at, wanted) {
                    return Some(Cursor(at));
                }
                skip = step;
            }
            skip -= 1;
            at += entry::len_at(bytes, at);
        }
    }

    fn cursors(&self) -> impl Iterator<Item = Cursor> {
        std::iter::successors(self.first(), |at| self.next(*at))
    }

    /// All elements.
    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        let bytes = self.0.bytes();
        Iter { bytes, front: HEADER_BYTES, back: bytes.len() - 1 }
    }

    /// The elements from one on.
    pub fn iter_from(&self, from: Cursor) -> Iter<'_> {
        let bytes = self.0.bytes();
        Iter { bytes, front: from.0, back: bytes.len() - 1 }
    }

    /// The elements up to one and with it, to be walked backwards.
    pub(crate) fn iter_up_to(&self, last: Cursor) -> Iter<'_> {
        let bytes = self.0.bytes();
        Iter { bytes, front: HEADER_BYTES, back: last.0 + entry::len_at(bytes, last.0) }
    }

    /// All elements by twos: fields and values, members and scores. One without its second is left
    /// out.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (Element<'_>, Element<'_>)> {
        let mut elements = self.iter();
        std::iter::from_fn(move || Some((elements.next()?, elements.next()?)))
    }

    /// Adds an element at the end.
    #[inline]
    pub fn push_back(&mut self, element: &[u8]) {
        self.write(self.0.len() - 1, 0, &[Element::of(element)], 0);
    }

    /// Adds an integer at the end.
    #[inline]
    #[cfg(test)]
    pub(crate) fn push_back_int(&mut self, number: i64) {
        self.write(self.0.len() - 1, 0, &[Element::Int(number)], 0);
    }

    /// Adds several elements at the end.
    pub(crate) fn push_back_all(&mut self, elements: &[Element<'_>]) {
        self.write(self.0.len() - 1, 0, elements, 0);
    }

    /// Adds entries that are encoded already.
    #[inline]
    pub(crate) fn push_back_encoded(&mut self, entries: &Entries) {
        self.append_entries(entries.bytes(), entries.len());
    }

    /// Adds an element at the beginning.
    #[inline]
    pub fn push_front(&mut self, element: &[u8]) {
        self.write(HEADER_BYTES, 0, &[Element::of(element)], 0);
    }

    /// Adds an element before another.
    pub fn insert_before(&mut self, at: Cursor, element: &[u8]) {
        self.write(at.0, 0, &[Element::of(element)], 0);
    }

    /// Adds several elements before another.
    pub(crate) fn insert_all_before(&mut self, at: Cursor, elements: &[Element<'_>]) {
        self.write(at.0, 0, elements, 0);
    }

    /// Adds an element behind another.
    pub fn insert_after(&mut self, at: Cursor, element: &[u8]) {
        let end = at.0 + entry::len_at(self.0.bytes(), at.0);
        self.write(end, 0, &[Element::of(element)], 0);
    }

    /// Puts an element in another's place, which the cursor then names.
    pub fn replace(&mut self, at: Cursor, element: &[u8]) {
        let len = entry::len_at(self.0.bytes(), at.0);
        self.write(at.0, len, &[Element::of(element)], 1);
    }

    /// Puts an integer in an element's place, which the cursor then names.
    #[inline]
    pub(crate) fn replace_int(&mut self, at: Cursor, number: i64) {
        let len = entry::len_at(self.0.bytes(), at.0);
        let (entry, new_len) = entry::int_entry(number);
        let entry = &entry[..new_len];
        if new_len == len {
            // Counters nearly always.
            return self.0.overwrite(at.0, entry);
        }
        let head = header(self.0.len() - len + new_len, self.counted_after(1, 1));
        self.0.splice(at.0, len, entry, &head);
    }

    /// Removes up to `count` elements from one on, and names what follows them.
    pub fn remove(&mut self, at: Cursor, count: usize) -> Option<Cursor> {
        let bytes = self.0.bytes();
        let (mut end, mut removed) = (at.0, 0);
        while removed < count && bytes[end] != END {
            end += entry::len_at(bytes, end);
            removed += 1;
        }
        self.write(at.0, end - at.0, &[], removed);
        self.at_or_end(at.0)
    }

    /// Removes up to `count` elements at the beginning.
    pub fn truncate_front(&mut self, count: usize) {
        if let Some(first) = self.first() {
            self.remove(first, count);
        }
    }

    /// Removes up to `count` elements at the end.
    pub fn truncate_back(&mut self, count: usize) {
        let keep = self.len().saturating_sub(count);
        if let Some(at) = self.seek(keep) {
            self.remove(at, count);
        }
    }

    /// Takes the elements from an index on away into a listpack of their own.
    #[must_use]
    pub fn split_off(&mut self, index: usize) -> Self {
        let mut rest = Self::new();
        if let Some(at) = self.seek(index) {
            let count = self.len() - index;
            rest.append_entries(&self.0.bytes()[at.0..self.0.len() - 1], count);
            self.remove(at, count);
        }
        rest
    }

    /// Adds another's elements at the end.
    pub fn append(&mut self, other: &Self) {
        let bytes = other.0.bytes();
        self.append_entries(&bytes[HEADER_BYTES..bytes.len() - 1], other.len());
    }

    /// Adds entries that are well-formed.
    fn append_entries(&mut self, entries: &[u8], count: usize) {
        let end = self.0.len() - 1;
        let head = header(self.0.len() + entries.len(), self.counted_after(0, count));
        self.0.splice(end, 0, entries, &head);
    }

    /// The header's count after so many elements went and others came.
    #[inline]
    fn counted_after(&self, gone: usize, come: usize) -> usize {
        let bytes = self.0.bytes();
        match u16::from_le_bytes([bytes[4], bytes[5]]) {
            // Where few enough are left, they are counted from here on.
            MANY if gone > 0 => self.len() - gone + come,
            MANY => usize::from(MANY),
            count => usize::from(count) - gone + come,
        }
    }

    /// Puts elements in the place of `removed` bytes at an offset, which are `gone` entries.
    #[inline]
    fn write(&mut self, at: usize, removed: usize, elements: &[Element<'_>], gone: usize) {
        let mut inline = entry::Scratch::new();
        let entries = inline.encode(elements);
        let head = header(
            self.0.len() - removed + entries.len(),
            self.counted_after(gone, elements.len()),
        );
        self.0.splice(at, removed, entries, &head);
    }
}

/// A header.
///
/// # Panics
/// Past what 32 bits hold; see [`BYTES_MAX`].
#[inline]
fn header(bytes: usize, count: usize) -> [u8; HEADER_BYTES] {
    let Ok(bytes) = u32::try_from(bytes) else { panic!("a listpack of {bytes} bytes") };
    let mut head = [0; HEADER_BYTES];
    head[..4].copy_from_slice(&bytes.to_le_bytes());
    head[4..].copy_from_slice(&u16::try_from(count).unwrap_or(MANY).to_le_bytes());
    head
}

impl Default for Listpack {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Listpack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for Listpack {
    fn eq(&self, other: &Self) -> bool {
        self.0.bytes() == other.0.bytes()
    }
}

impl Eq for Listpack {}

impl<'a> IntoIterator for &'a Listpack {
    type Item = Element<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Elements of a listpack, from either end.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    bytes: &'a [u8],
    front: usize,
    back: usize,
}

impl Iter<'_> {
    /// The element that comes next from the front.
    #[inline]
    pub(crate) fn cursor(&self) -> Option<Cursor> {
        (self.front < self.back).then_some(Cursor(self.front))
    }

    /// How far the front is from the listpack's first byte.
    #[inline]
    pub(crate) fn offset(&self) -> usize {
        self.front
    }

    /// Passes over so many bytes at the front, which are whole elements.
    #[inline]
    pub(crate) fn skip_bytes(&mut self, bytes: usize) {
        self.front += bytes;
        debug_assert!(self.front <= self.back, "no element is behind the last");
    }

    /// Passes over elements at the front.
    #[inline]
    pub(crate) fn skip_front(&mut self, count: usize) {
        for _ in 0..count {
            if self.front >= self.back {
                return;
            }
            self.front += entry::len_at(self.bytes, self.front);
        }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        if self.front >= self.back {
            return None;
        }
        let (element, len) = entry::read_at(self.bytes, self.front);
        self.front += len;
        Some(element)
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        self.back = entry::start_before(self.bytes, self.back);
        Some(entry::element_at(self.bytes, self.back))
    }
}
