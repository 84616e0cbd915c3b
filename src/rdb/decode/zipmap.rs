//! The zipmap: fields and values one behind the other, the compact hash of Redis before 2.6.
//!
//! ```text
//! | fields 1 | length | field | length | unused 1 | value | unused bytes | ... | 0xff |
//!
//! length  1 byte up to 253; fe and 4 bytes, little-endian
//! ```
//!
//! Source: upstream's `zipmap.c`, as a description of the format.

use crate::data::element::Element;

const END: u8 = 0xff;
const LONG: u8 = 0xfe;
/// A number of fields that has to be counted.
const MANY: usize = 254;

/// Fields and values by turns; nothing where the bytes are no zipmap.
pub(super) fn elements(bytes: &[u8]) -> Option<Vec<Element<'_>>> {
    let count = usize::from(*bytes.first()?);
    let mut at = 1;
    let mut elements = Vec::new();
    while *bytes.get(at)? != END {
        let (field, end) = part(bytes, at, 0)?;
        let (value, end) = part(bytes, end, 1)?;
        elements.extend([Element::Bytes(field), Element::Bytes(value)]);
        at = end;
    }
    let counted = count >= MANY || 2 * count == elements.len();
    (at + 1 == bytes.len() && counted).then_some(elements)
}

/// A length, `head` bytes of which the first counts what is unused behind, and as many bytes as the
/// length says; and where all that ends.
fn part(bytes: &[u8], at: usize, head: usize) -> Option<(&[u8], usize)> {
    let (len, at) = match *bytes.get(at)? {
        END => return None,
        LONG => {
            let len = bytes.get(at + 1..)?.first_chunk().copied()?;
            (u32::from_le_bytes(len) as usize, at + 5)
        }
        short => (usize::from(short), at + 1),
    };
    let unused = if head == 0 { 0 } else { usize::from(*bytes.get(at)?) };
    let start = at + head;
    let end = start.checked_add(len)?;
    Some((bytes.get(start..end)?, end.checked_add(unused).filter(|end| *end <= bytes.len())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_and_damage_is_seen() {
        let mut good = b"\x02\x03foo\x03\0bar\x05hello\x05\x02world??".to_vec();
        good.push(END);
        let found: Vec<Vec<u8>> =
            elements(&good).unwrap().into_iter().map(Element::to_vec).collect();
        assert_eq!(found, [&b"foo"[..], b"bar", b"hello", b"world"]);
        for end in 0..good.len() {
            assert!(elements(&good[..end]).is_none());
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let _ = elements(&bad);
        }
        let mut long = b"\x01\xfe\x2c\x01\0\0".to_vec();
        long.extend_from_slice(&[b'f'; 300]);
        long.extend_from_slice(b"\x01\0v\xff");
        assert_eq!(elements(&long).map(|found| found.len()), Some(2));
    }
}
