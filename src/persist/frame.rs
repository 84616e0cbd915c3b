//! A frame: what was committed together, and where in the stream it stands.
//!
//! ```text
//! #RS2:<sequence>:<bytes>:<uncounted>:<offset>:<skipped>:<crc32>\r\n<payload>
//! ```
//! The payload is `bytes` long; its first `uncounted` bytes are not in the stream: annotations, and the
//! SELECT that a file begins with. The rest are the stream's bytes from `offset` on, whole units. In front
//! of them the stream has what `skipped` notes ([`crate::journal::skipped`]), mostly nothing. The checksum
//! covers the line up to itself and the payload.
//!
//! A payload may begin with annotations: `#SYNCED:<sequence>`, up to which frame the log was durable when
//! this one was written; `#HISTORY:<id>`, the history that this frame and those behind it are of;
//! `#TS:<seconds>`, upstream's. Every loader since Redis 7.0 skips lines that begin with `#`.
//!
//! Logs of the earlier form, `#RS1:` ([`crate::persist::aof_encode::FrameHeader`]), are read; their frames
//! say nothing of the stream.

use crate::base::checksum::Crc32;
use crate::base::text;
use crate::journal::skipped::Skipped;
use crate::persist::aof_encode::{FRAME_MARK, FrameHeader, frame_checksum, parse_number};

/// How the line before a frame begins.
pub(crate) const MARK: &[u8] = b"#RS2:";
/// What the lines before frames of all forms begin with.
pub(crate) const ANY_MARK: &[u8] = b"#RS";
/// How the annotation begins that names the history.
pub(crate) const HISTORY_MARK: &[u8] = b"#HISTORY:";

/// Where a frame stands in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FramePlace {
    /// Bytes at the payload's beginning that are not in the stream.
    pub uncounted: u64,
    /// The offset of the byte behind them.
    pub offset: u64,
    /// What the stream has before that and the log hasn't.
    pub skipped: Skipped,
}

/// Puts the line before a frame into `out`, which it empties first, and then `preface`: the payload's
/// first bytes, which are not in the stream. `units` follow.
pub fn write_head(
    out: &mut Vec<u8>,
    sequence: u64,
    (offset, skipped): (u64, &Skipped),
    preface: &[u8],
    units: &[u8],
) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.clear();
    out.extend_from_slice(MARK);
    let bytes = (preface.len() + units.len()) as u64;
    for number in [sequence, bytes, preface.len() as u64, offset] {
        text::push_u64(out, number);
        out.push(b':');
    }
    if !skipped.is_empty() {
        out.extend_from_slice(skipped.to_string().as_bytes());
    }
    out.push(b':');
    let mut checksum = Crc32::new();
    for part in [out.as_slice(), preface, units] {
        checksum.update(part);
    }
    let checksum = checksum.value();
    out.extend((0..8).map(|digit| HEX[(checksum >> (28 - 4 * digit)) as usize & 15]));
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(preface);
}

/// What the line before a frame says, of any form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FrameHead {
    /// The frame's number; the next frame has the next one.
    pub sequence: u64,
    /// Length of the payload.
    pub bytes: u64,
    /// What the checksum must be.
    pub checksum: u32,
    /// Where it stands in the stream; nothing in the earlier form.
    pub place: Option<FramePlace>,
}

impl FrameHead {
    /// Reads a line, its end included. Only what is written is taken, to the byte, so that no flipped bit
    /// goes unseen.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        if line.starts_with(FRAME_MARK) {
            let FrameHeader { sequence, bytes, checksum } = FrameHeader::parse(line)?;
            return Some(Self { sequence, bytes, checksum, place: None });
        }
        let fields = line.strip_prefix(MARK)?.strip_suffix(b"\r\n")?;
        let mut fields = fields.split(|byte| *byte == b':');
        let mut number = || parse_number(fields.next()?);
        let (sequence, bytes, uncounted, offset) = (number()?, number()?, number()?, number()?);
        let skipped = Skipped::parse(fields.next()?)?;
        let digits = fields.next()?;
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if fields.next().is_some() || digits.len() != 8 || !digits.iter().all(is_digit) {
            return None;
        }
        let checksum = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        let place = FramePlace { uncounted, offset, skipped };
        (uncounted <= bytes).then_some(Self { sequence, bytes, checksum, place: Some(place) })
    }

    /// The checksum that a payload behind this line has.
    pub(crate) fn checksum_of(&self, line: &[u8], payload: &[u8]) -> u32 {
        if self.place.is_none() {
            return frame_checksum(self.sequence, payload);
        }
        let mut checksum = Crc32::new();
        // Without the checksum itself and the line's end.
        checksum.update(&line[..line.len().saturating_sub(10)]);
        checksum.update(payload);
        checksum.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Unlogged;

    #[test]
    fn a_head_is_read_as_it_was_written_and_no_bit_goes_unseen() {
        let mut skipped = Skipped::default();
        for (sequence, offset, preface, units) in [
            (1, 0, &b"#SYNCED:5\r\n"[..], &b"*1\r\n$4\r\nPING\r\n"[..]),
            (u64::MAX, u64::MAX, b"", &[0; 1000]),
            (0, 7, b"", b""),
        ] {
            let mut out = b"from before".to_vec();
            write_head(&mut out, sequence, (offset, &skipped), preface, units);
            let line = out.strip_suffix(preface).unwrap().to_vec();
            let head = FrameHead::parse(&line).unwrap();
            let payload = [preface, units].concat();
            assert_eq!(head.checksum_of(&line, &payload), head.checksum);
            assert_eq!((head.sequence, head.bytes), (sequence, payload.len() as u64));
            let uncounted = preface.len() as u64;
            assert_eq!(
                head.place,
                Some(FramePlace { uncounted, offset, skipped: skipped.clone() })
            );
            for bit in 0..line.len() * 8 {
                let mut flipped = line.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                if let Some(other) = FrameHead::parse(&flipped) {
                    // Cut as it says, its checksum is another.
                    let len = (other.bytes as usize).min(payload.len());
                    assert_ne!(other.checksum_of(&flipped, &payload[..len]), other.checksum);
                }
            }
            for end in 0..line.len() {
                assert_eq!(FrameHead::parse(&line[..end]), None);
            }
            skipped.push(Unlogged::Ping);
        }
        for bad in ["#RS2:1:1:2:0::00000000\r\n", "#RS2:1:2:1:0:0p:00000000\r\n", "#RS2:1\r\n"] {
            assert_eq!(FrameHead::parse(bad.as_bytes()), None);
        }
    }
}
