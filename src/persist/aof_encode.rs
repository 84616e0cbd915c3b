//! What the log has beside commands: annotation lines, and the frames of its earlier form, which are
//! still read (the present form is in [`crate::persist::frame`]):
//!
//! ```text
//! #RS1:<sequence>:<payload bytes>:<crc32>\r\n<payload>
//! ```
//!
//! The checksum covers the sequence number (8 bytes, little endian) and the payload; the length
//! is checked by where the payload then ends. A payload may begin with annotations of its own:
//! `#SYNCED:<sequence>`, up to which frame the log was durable when this one was written, and
//! `#TS:<seconds>`, upstream's.

use crate::base::checksum::Crc32;
use crate::base::text;
pub use crate::journal::encode::{EXEC, MULTI, push_select};

/// How the line before a frame begins.
pub(crate) const FRAME_MARK: &[u8] = b"#RS1:";
/// How the annotation begins that says which frames are durable.
pub const SYNCED_MARK: &[u8] = b"#SYNCED:";
/// How upstream's annotation of the time begins.
pub const TIME_MARK: &[u8] = b"#TS:";
/// The longest line before a frame.
pub const HEADER_BYTES_MAX: usize = FRAME_MARK.len() + 20 + 1 + 20 + 1 + 8 + 2;

/// Appends an annotation line: its mark and a number.
pub fn push_annotation(out: &mut Vec<u8>, mark: &[u8], number: u64) {
    out.extend_from_slice(mark);
    text::push_u64(out, number);
    out.extend_from_slice(b"\r\n");
}

/// The checksum of a frame.
#[inline]
pub fn frame_checksum(sequence: u64, payload: &[u8]) -> u32 {
    let mut hasher = Crc32::new();
    hasher.update(&sequence.to_le_bytes());
    hasher.update(payload);
    hasher.value()
}

/// What the line before a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// The frame's number; the next frame has the next one.
    pub sequence: u64,
    /// Length of the payload.
    pub bytes: u64,
    /// [`frame_checksum`].
    pub checksum: u32,
}

impl FrameHeader {
    /// The header of a payload.
    #[inline]
    pub fn of(sequence: u64, payload: &[u8]) -> Self {
        let checksum = frame_checksum(sequence, payload);
        Self { sequence, bytes: payload.len() as u64, checksum }
    }

    /// Writes the line so that it ends at the end of `room`; returns where it begins.
    ///
    /// # Panics
    /// Where `room` is shorter than [`HEADER_BYTES_MAX`].
    #[inline]
    pub fn write_before(self, room: &mut [u8]) -> usize {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut at = room.len();
        let mut put = |bytes: &[u8]| {
            at -= bytes.len();
            room[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(b"\r\n");
        let checksum: [u8; 8] =
            std::array::from_fn(|digit| HEX[(self.checksum >> (28 - 4 * digit)) as usize & 15]);
        put(&checksum);
        put(b":");
        put(itoa::Buffer::new().format(self.bytes).as_bytes());
        put(b":");
        put(itoa::Buffer::new().format(self.sequence).as_bytes());
        put(FRAME_MARK);
        at
    }

    /// Reads a line, its end included. Only what [`FrameHeader::write_before`] writes is taken, to
    /// the byte, so that no flipped bit goes unseen.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let fields = line.strip_prefix(FRAME_MARK)?.strip_suffix(b"\r\n")?;
        let mut fields = fields.split(|byte| *byte == b':');
        let sequence = parse_number(fields.next()?)?;
        let bytes = parse_number(fields.next()?)?;
        let digits = fields.next()?;
        if fields.next().is_some() || digits.len() != 8 {
            return None;
        }
        let mut checksum = 0;
        for digit in digits {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            checksum = checksum << 4 | u32::from(value);
        }
        Some(Self { sequence, bytes, checksum })
    }
}

/// A number without sign and leading zeros.
pub(crate) fn parse_number(digits: &[u8]) -> Option<u64> {
    if digits.len() > 1 && digits[0] == b'0' || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The number of an annotation line of this mark, its line end included.
pub(crate) fn parse_annotation(line: &[u8], mark: &[u8]) -> Option<u64> {
    parse_number(line.strip_prefix(mark)?.strip_suffix(b"\r\n")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written_and_in_no_other_form() {
        for (sequence, payload) in
            [(1, b"x".as_slice()), (u64::MAX, &[0; 1000]), (0, b""), (77, b"*1\r\n$4\r\nPING\r\n")]
        {
            let header = FrameHeader::of(sequence, payload);
            let mut room = [0; HEADER_BYTES_MAX];
            let start = header.write_before(&mut room);
            let line = &room[start..];
            assert_eq!(FrameHeader::parse(line), Some(header));
            for bit in 0..line.len() * 8 {
                let mut flipped = line.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(FrameHeader::parse(&flipped), Some(header));
            }
            for end in 0..line.len() {
                assert_eq!(FrameHeader::parse(&line[..end]), None);
            }
        }
        for bad in ["#RS1:01:1:00000000\r\n", "#RS1:1:1:0000000G\r\n", "#RS1:1:+1:00000000\r\n"] {
            assert_eq!(FrameHeader::parse(bad.as_bytes()), None);
        }
    }

    #[test]
    fn annotations_are_read_in_one_form() {
        let mut out = Vec::new();
        push_annotation(&mut out, SYNCED_MARK, 5);
        assert_eq!(out, b"#SYNCED:5\r\n");
        assert_eq!(parse_annotation(b"#TS:123\r\n", TIME_MARK), Some(123));
        assert_eq!(parse_annotation(b"#TS:12x\r\n", TIME_MARK).or(parse_number(b"")), None);
    }
}
