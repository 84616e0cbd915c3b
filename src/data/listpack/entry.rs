//! Single entries of a listpack: their lengths, what they hold, and how they are written. All
//! functions but the writing ones are given well-formed bytes.

use crate::data::element::Element;

pub(super) const STRING_6: u8 = 0x80;
pub(super) const INT_13: u8 = 0xc0;
pub(super) const STRING_12: u8 = 0xe0;
pub(super) const STRING_32: u8 = 0xf0;
pub(super) const INT_16: u8 = 0xf1;
pub(super) const INT_24: u8 = 0xf2;
pub(super) const INT_32: u8 = 0xf3;
pub(super) const INT_64: u8 = 0xf4;

/// The longest integer entry: a byte that says so, 8 bytes, and 1 byte of length.
const INT_ENTRY_MAX: usize = 10;
/// The most bytes of a backward length.
const BACK_BYTES_MAX: usize = 5;
/// Entries up to this length are made on the stack.
const INLINE: usize = 160;
/// And several of them up to this length together.
const ENTRIES_INLINE: usize = 320;

/// Bytes of encoding and data of the entry at an offset; nothing where the encoding is unknown.
/// Reads up to 4 bytes behind the first, as far as the encoding asks for them.
#[inline]
pub(super) fn data_len(bytes: &[u8], at: usize) -> Option<usize> {
    Some(match bytes[at] {
        0x00..STRING_6 => 1,
        first @ STRING_6..INT_13 => 1 + usize::from(first & 0x3f),
        INT_13..STRING_12 => 2,
        first @ STRING_12..STRING_32 => {
            2 + (usize::from(first & 0x0f) << 8 | usize::from(bytes[at + 1]))
        }
        STRING_32 => 5 + u32::from_le_bytes(load(bytes, at + 1)) as usize,
        INT_16 => 3,
        INT_24 => 4,
        INT_32 => 5,
        INT_64 => 9,
        _ => return None,
    })
}

/// How many bytes the backward length of `len` bytes of encoding and data takes. Upstream's bounds,
/// which are one or two below the most that fits.
#[inline]
pub(super) fn back_bytes(len: usize) -> usize {
    match len {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

/// The whole length of the entry at an offset.
#[inline]
pub(super) fn len_at(bytes: &[u8], at: usize) -> usize {
    let len = known(data_len(bytes, at));
    len + back_bytes(len)
}

/// Where the entry that ends at an offset begins.
#[inline]
pub(super) fn start_before(bytes: &[u8], end: usize) -> usize {
    let (mut len, mut shift, mut at) = (0, 0, end);
    loop {
        at -= 1;
        len |= usize::from(bytes[at] & 0x7f) << shift;
        if bytes[at] & 0x80 == 0 {
            return at - len;
        }
        shift += 7;
    }
}

/// The element of the entry at an offset.
#[inline]
pub(super) fn element_at(bytes: &[u8], at: usize) -> Element<'_> {
    read_at(bytes, at).0
}

/// The element of the entry at an offset, and the entry's whole length.
#[inline]
pub(super) fn read_at(bytes: &[u8], at: usize) -> (Element<'_>, usize) {
    let len = known(data_len(bytes, at));
    let text = |head: usize| Element::Bytes(&bytes[at + head..at + len]);
    let element = match bytes[at] {
        first @ 0x00..STRING_6 => Element::Int(i64::from(first)),
        STRING_6..INT_13 => text(1),
        first @ INT_13..STRING_12 => {
            let number = u16::from(first & 0x1f) << 8 | u16::from(bytes[at + 1]);
            // The sign is bit 12.
            Element::Int(i64::from((number << 3).cast_signed() >> 3))
        }
        STRING_12..STRING_32 => text(2),
        STRING_32 => text(5),
        INT_16 => Element::Int(i64::from(i16::from_le_bytes(load(bytes, at + 1)))),
        INT_24 => {
            let [a, b, c] = load(bytes, at + 1);
            Element::Int(i64::from(i32::from_le_bytes([0, a, b, c]) >> 8))
        }
        INT_32 => Element::Int(i64::from(i32::from_le_bytes(load(bytes, at + 1)))),
        _ => Element::Int(i64::from_le_bytes(load(bytes, at + 1))),
    };
    (element, len + back_bytes(len))
}

/// Whether the entry at an offset holds this element, which is in its densest form.
#[inline]
pub(super) fn is_at(bytes: &[u8], at: usize, wanted: Element<'_>) -> bool {
    match (element_at(bytes, at), wanted) {
        (Element::Int(found), Element::Int(wanted)) => found == wanted,
        (Element::Bytes(found), Element::Bytes(wanted)) => found == wanted,
        // Whoever wrote it elsewhere may have left an integer as a string.
        (Element::Bytes(found), wanted @ Element::Int(_)) => wanted.is(found),
        (Element::Int(_), Element::Bytes(_)) => false,
    }
}

#[inline]
fn load<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut loaded = [0; N];
    loaded.copy_from_slice(&bytes[at..at + N]);
    loaded
}

#[inline]
fn known(len: Option<usize>) -> usize {
    match len {
        Some(len) => len,
        None => unreachable!("entries are validated before they are walked"),
    }
}

/// The whole length of the entry that an element is going to be.
#[inline]
#[cfg(test)]
pub(crate) fn entry_bytes(element: &[u8]) -> usize {
    let len = match Element::of(element) {
        Element::Int(number) => int_len(number),
        Element::Bytes(bytes) => match bytes.len() {
            len @ 0..64 => 1 + len,
            len @ 64..4096 => 2 + len,
            len => 5 + len,
        },
    };
    len + back_bytes(len)
}

/// Bytes of encoding and data of an integer.
#[inline]
fn int_len(number: i64) -> usize {
    match number {
        0..=127 => 1,
        -4096..=4095 => 2,
        -32_768..=32_767 => 3,
        -8_388_608..=8_388_607 => 4,
        -2_147_483_648..=2_147_483_647 => 5,
        _ => 9,
    }
}

/// Where entries are made before they go into a listpack: on the stack where they are short.
pub(super) struct Scratch {
    inline: [u8; INLINE],
    heap: Vec<u8>,
}

impl Scratch {
    #[inline]
    pub(super) fn new() -> Self {
        Self { inline: [0; INLINE], heap: Vec::new() }
    }

    /// The entries of elements.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "below 64")]
    pub(super) fn encode(&mut self, elements: &[Element<'_>]) -> &[u8] {
        if let [Element::Bytes(bytes)] = elements
            && bytes.len() < 64
        {
            // By far the most frequent: worth a way of its own.
            let len = bytes.len();
            self.inline[0] = STRING_6 | len as u8;
            self.inline[1..=len].copy_from_slice(bytes);
            self.inline[len + 1] = len as u8 + 1;
            return &self.inline[..len + 2];
        }
        self.encode_all(elements)
    }

    fn encode_all(&mut self, elements: &[Element<'_>]) -> &[u8] {
        for element in elements {
            match element {
                Element::Int(number) => push_int(&mut self.heap, *number),
                Element::Bytes(bytes) => push_string(&mut self.heap, bytes),
            }
        }
        &self.heap
    }
}

fn push_int(out: &mut Vec<u8>, number: i64) {
    let (entry, len) = int_entry(number);
    out.extend_from_slice(&entry[..len]);
}

/// The entry of an integer, and how many of the bytes it takes.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "at most 9")]
pub(super) fn int_entry(number: i64) -> ([u8; INT_ENTRY_MAX], usize) {
    let mut entry = [0; INT_ENTRY_MAX];
    let bytes = number.to_le_bytes();
    let len = int_len(number);
    match len {
        1 => entry[0] = bytes[0],
        2 => entry[..2].copy_from_slice(&[INT_13 | bytes[1] & 0x1f, bytes[0]]),
        _ => {
            entry[0] = match len {
                3 => INT_16,
                4 => INT_24,
                5 => INT_32,
                _ => INT_64,
            };
            entry[1..len].copy_from_slice(&bytes[..len - 1]);
        }
    }
    entry[len] = len as u8;
    (entry, len + 1)
}

/// Several entries in the making, to be added to a listpack in one step: on the stack while they are
/// few and short.
pub struct Entries {
    inline: [u8; ENTRIES_INLINE],
    /// Bytes of `inline` in use, as long as nothing is on the heap.
    filled: usize,
    heap: Vec<u8>,
    len: usize,
}

impl Entries {
    /// None.
    #[inline]
    pub(crate) fn new() -> Self {
        Self { inline: [0; ENTRIES_INLINE], filled: 0, heap: Vec::new(), len: 0 }
    }

    /// How many there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The entries, one behind the other.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        if self.heap.is_empty() { &self.inline[..self.filled] } else { &self.heap }
    }

    #[inline]
    fn extend(&mut self, bytes: &[u8]) {
        let end = self.filled + bytes.len();
        if self.heap.is_empty() && end <= ENTRIES_INLINE {
            self.inline[self.filled..end].copy_from_slice(bytes);
            self.filled = end;
            return;
        }
        self.spill().extend_from_slice(bytes);
    }

    /// Where entries go that are too long for the stack, with what came before them.
    #[cold]
    fn spill(&mut self) -> &mut Vec<u8> {
        if self.heap.is_empty() {
            self.heap.reserve(2 * ENTRIES_INLINE);
            self.heap.extend_from_slice(&self.inline[..self.filled]);
        }
        &mut self.heap
    }

    /// Adds an integer.
    #[inline]
    pub(crate) fn push_int(&mut self, number: i64) {
        let (entry, len) = int_entry(number);
        self.extend(&entry[..len]);
        self.len += 1;
    }

    /// Adds an element in its densest form.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "below 64")]
    pub(crate) fn push(&mut self, element: &[u8]) {
        match Element::of(element) {
            Element::Int(number) => return self.push_int(number),
            Element::Bytes(bytes) if bytes.len() < 64 => {
                let len = bytes.len();
                self.extend(&[STRING_6 | len as u8]);
                self.extend(bytes);
                self.extend(&[len as u8 + 1]);
            }
            Element::Bytes(bytes) => push_string(self.spill(), bytes),
        }
        self.len += 1;
    }
}

impl Default for Entries {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "each arm's bound; the last: a listpack's own")]
fn push_string(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    match bytes.len() {
        len @ 0..64 => out.push(STRING_6 | len as u8),
        len @ 64..4096 => out.extend_from_slice(&[STRING_12 | (len >> 8) as u8, len as u8]),
        len => {
            out.push(STRING_32);
            out.extend_from_slice(&(len as u32).to_le_bytes());
        }
    }
    out.extend_from_slice(bytes);
    push_back_length(out, out.len() - start);
}

/// Seven bits a byte, the highest first; all but the first have their highest bit set. And how many bytes
/// those are.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
pub(super) fn back_length(len: usize) -> ([u8; BACK_BYTES_MAX], usize) {
    let count = back_bytes(len);
    let mut bytes = [0; BACK_BYTES_MAX];
    for (index, byte) in bytes[..count].iter_mut().enumerate() {
        let more = if index == 0 { 0 } else { 0x80 };
        *byte = (len >> (7 * (count - 1 - index))) as u8 & 0x7f | more;
    }
    (bytes, count)
}

fn push_back_length(out: &mut Vec<u8>, len: usize) {
    let (bytes, count) = back_length(len);
    out.extend_from_slice(&bytes[..count]);
}
