//! Writes ziplists, the compact form that versions before 10 have in the listpack's place. The
//! layout is drawn in `rdb/decode/ziplist.rs`.

use crate::data::element::Element;

const HEADER_BYTES: usize = 10;
const END: u8 = 0xff;
/// Says that the length of the entry before takes 4 bytes more.
const LONG: u8 = 0xfe;
/// A header's number of entries where they have to be counted.
const MANY: usize = 0xffff;

/// The ziplist of some elements, which must take less than 4 GiB. A listpack's do: it is shorter than
/// 1 GiB, and no entry is more than twice as long here.
pub(super) fn ziplist<'a>(elements: impl Iterator<Item = Element<'a>>) -> Vec<u8> {
    let mut out = vec![0; HEADER_BYTES];
    let (mut before, mut last, mut count) = (0, HEADER_BYTES, 0_usize);
    for element in elements {
        last = out.len();
        match u8::try_from(before) {
            Ok(short) if short < LONG => out.push(short),
            _ => {
                out.push(LONG);
                out.extend_from_slice(&(before as u32).to_le_bytes());
            }
        }
        match element {
            Element::Int(number) => push_integer(&mut out, number),
            Element::Bytes(bytes) => push_bytes(&mut out, bytes),
        }
        before = out.len() - last;
        count += 1;
    }
    out.push(END);
    let total = u32::try_from(out.len()).unwrap_or(u32::MAX);
    debug_assert_eq!(total as usize, out.len(), "a ziplist is shorter than 4 GiB");
    out[..4].copy_from_slice(&total.to_le_bytes());
    out[4..8].copy_from_slice(&(last as u32).to_le_bytes());
    out[8..10].copy_from_slice(&(count.min(MANY) as u16).to_le_bytes());
    out
}

fn push_integer(out: &mut Vec<u8>, number: i64) {
    const INT24: std::ops::RangeInclusive<i64> = -0x80_0000..=0x7f_ffff;
    if (0..=12).contains(&number) {
        out.push(0xf1 + number as u8);
    } else if let Ok(number) = i8::try_from(number) {
        out.extend_from_slice(&[0xfe, number as u8]);
    } else if let Ok(number) = i16::try_from(number) {
        out.push(0xc0);
        out.extend_from_slice(&number.to_le_bytes());
    } else if INT24.contains(&number) {
        out.push(0xf0);
        out.extend_from_slice(&number.to_le_bytes()[..3]);
    } else if let Ok(number) = i32::try_from(number) {
        out.push(0xd0);
        out.extend_from_slice(&number.to_le_bytes());
    } else {
        out.push(0xe0);
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        len @ 0..0x40 => out.push(len as u8),
        len @ 0x40..0x4000 => out.extend_from_slice(&(0x4000 | len as u16).to_be_bytes()),
        len => {
            out.push(0x80);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by hand from the drawing.
    #[test]
    fn the_bytes_are_the_formats() {
        let elements = [b"hello".as_slice(), b"12", b"13", b"12345", b"8388607", b"4294967296"];
        let expected = [
            b"\x2a\0\0\0\x1f\0\0\0\x06\0".as_slice(),
            b"\x00\x05hello",
            b"\x07\xfd",
            b"\x02\xfe\x0d",
            b"\x03\xc0\x39\x30",
            b"\x04\xf0\xff\xff\x7f",
            b"\x05\xe0\0\0\0\0\x01\0\0\0",
            b"\xff",
        ]
        .concat();
        assert_eq!(ziplist(elements.into_iter().map(Element::of)), expected);
        assert_eq!(ziplist([].into_iter()), b"\x0b\0\0\0\x0a\0\0\0\0\0\xff");
        let long = [vec![b'x'; 63], vec![b'y'; 64], vec![b'z'; 300], b"-9".to_vec()];
        let found = ziplist(long.iter().map(|bytes| Element::of(bytes)));
        assert_eq!(found[10..12], *b"\0\x3f");
        assert_eq!(found[75..78], *b"\x41\x40\x40");
        assert_eq!(found[142..145], *b"\x43\x41\x2c");
        assert_eq!(found[445..], *b"\xfe\x2f\x01\0\0\xfe\xf7\xff");
    }
}
