//! The ziplist: elements one behind the other, the compact form that Redis wrote before 7.0.
//!
//! ```text
//! | total bytes 4 | offset of the last entry 4 | entries 2 | entry ... | 0xff |     little-endian
//!
//! entry   | length of the entry before: 1, or fe and 4 | encoding | data |
//! 00pppppp                  string of up to 63 bytes
//! 01pppppp q8               string of up to 16383 bytes, big-endian
//! 80 q32                    string, big-endian
//! c0 x16  d0 x32  e0 x64  f0 x24  fe x8    integers, little-endian
//! 1111xxxx                  the integer xxxx - 1, for xxxx from 1 to 13
//! ```
//!
//! Source: upstream's `ziplist.c`, as a description of the format. Every length is checked before it
//! is followed; what the entries say of their predecessors is checked, too, though nobody walks
//! backwards here.

use crate::data::element::Element;

const HEADER_BYTES: usize = 10;
const END: u8 = 0xff;
/// An entry length that takes 4 bytes more.
const LONG: u8 = 0xfe;
/// A header's number of entries where they have to be counted.
const MANY: usize = 0xffff;

/// The elements of a ziplist; nothing where the bytes are none.
pub(super) fn elements(bytes: &[u8]) -> Option<Vec<Element<'_>>> {
    let head = bytes.first_chunk::<HEADER_BYTES>()?;
    let total = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let tail = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    let count = usize::from(u16::from_le_bytes([head[8], head[9]]));
    if total != bytes.len() || bytes.len() == HEADER_BYTES {
        return None;
    }
    let (mut at, mut before, mut last) = (HEADER_BYTES, 0, HEADER_BYTES);
    let mut elements = Vec::new();
    while bytes[at] != END {
        let (element, end) = entry(bytes, at, before)?;
        elements.push(element);
        last = at;
        before = end - at;
        at = end;
        // The end mark is still to come.
        if at >= bytes.len() {
            return None;
        }
    }
    let counted = count == MANY || count == elements.len();
    (at + 1 == bytes.len() && tail == last && counted).then_some(elements)
}

/// The element of the entry at an offset, and where the entry ends. `before` is the length of the
/// entry before it.
fn entry(bytes: &[u8], at: usize, before: usize) -> Option<(Element<'_>, usize)> {
    let (told, at) = match *bytes.get(at)? {
        LONG => (u32::from_le_bytes(load(bytes, at + 1)?) as usize, at + 5),
        short => (usize::from(short), at + 1),
    };
    if told != before {
        return None;
    }
    let first = *bytes.get(at)?;
    let text = |start: usize, len: usize| {
        let end = start.checked_add(len)?;
        Some((Element::Bytes(bytes.get(start..end)?), end))
    };
    let number = |number: i64, len: usize| Some((Element::Int(number), at + 1 + len));
    match first {
        0x00..0x40 => text(at + 1, usize::from(first)),
        0x40..0x80 => {
            text(at + 2, usize::from(first & 0x3f) << 8 | usize::from(*bytes.get(at + 1)?))
        }
        0x80 => text(at + 5, u32::from_be_bytes(load(bytes, at + 1)?) as usize),
        0xc0 => number(i64::from(i16::from_le_bytes(load(bytes, at + 1)?)), 2),
        0xd0 => number(i64::from(i32::from_le_bytes(load(bytes, at + 1)?)), 4),
        0xe0 => number(i64::from_le_bytes(load(bytes, at + 1)?), 8),
        0xf0 => {
            let [a, b, c] = load(bytes, at + 1)?;
            number(i64::from(i32::from_le_bytes([0, a, b, c]) >> 8), 3)
        }
        0xfe => number(i64::from(i8::from_le_bytes(load(bytes, at + 1)?)), 1),
        0xf1..=0xfd => number(i64::from(first & 0x0f) - 1, 0),
        _ => None,
    }
}

fn load<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ziplist of entries whose encodings and data are given.
    fn ziplist(entries: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        let (mut before, mut last) = (0, HEADER_BYTES);
        for entry in entries {
            last = bytes.len();
            if before < 254 {
                bytes.push(before as u8);
            } else {
                bytes.push(LONG);
                bytes.extend_from_slice(&(before as u32).to_le_bytes());
            }
            bytes.extend_from_slice(entry);
            before = bytes.len() - last;
        }
        bytes.push(END);
        let total = bytes.len() as u32;
        bytes[..4].copy_from_slice(&total.to_le_bytes());
        bytes[4..8].copy_from_slice(&(last as u32).to_le_bytes());
        bytes[8..10].copy_from_slice(&(entries.len() as u16).to_le_bytes());
        bytes
    }

    #[test]
    fn each_encoding_is_read_and_damage_is_seen() {
        let medium = [&[0x41, 0x2c][..], &[b'm'; 300]].concat();
        let mut long = vec![0x80, 0, 1, 0x11, 0x70];
        long.resize(5 + 70_000, b'l');
        let entries: [&[u8]; 10] = [
            b"\x05hello",
            &medium,
            &long,
            b"\xc0\x39\x30",
            b"\xd0\xff\xff\xff\xff",
            b"\xe0\0\0\0\0\0\0\0\x80",
            b"\xf0\0\0\x80",
            b"\xfe\x80",
            b"\xf1",
            b"\xfd",
        ];
        let good = ziplist(&entries);
        let found: Vec<Vec<u8>> =
            elements(&good).unwrap().into_iter().map(Element::to_vec).collect();
        let numbers = ["12345", "-1", "-9223372036854775808", "-8388608", "-128", "0", "12"];
        let mut expected = vec![b"hello".to_vec(), vec![b'm'; 300], vec![b'l'; 70_000]];
        expected.extend(numbers.map(|number| number.as_bytes().to_vec()));
        assert!(found == expected);
        assert_eq!(elements(&ziplist(&[])).map(|found| found.len()), Some(0));

        let good = ziplist(&[b"\x05hello", b"\xc0\x39\x30", b"\xf1"]);
        for end in 0..good.len() {
            assert!(elements(&good[..end]).is_none());
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            // Some other ziplist, or none; but never a panic.
            let _ = elements(&bad);
        }
    }
}
