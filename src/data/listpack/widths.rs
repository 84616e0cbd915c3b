//! Listpacks of Redis from 8.8 and Valkey from 9.1 on, where they differ from ours: the backward lengths
//! of three lengths take a byte less there (redis#15151, valkey#3601). Neither side's older servers read
//! the other form; here what comes from elsewhere is brought to ours, which is everybody's until then.

use super::entry::{back_bytes, back_length, data_len};
use super::{END, HEADER_BYTES};

/// Lengths of encoding and data that fill a backward length to its last bit.
const FULL: [usize; 3] = [0x3fff, 0x1f_ffff, 0xfff_ffff];

/// The same listpack with the lengths as we write them, where it has any of the others. What isn't
/// well-formed is left to be found so.
pub(crate) fn widened(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() <= FULL[0] || bytes.last() != Some(&END) {
        return None;
    }
    let end = bytes.len() - 1;
    let (mut wide, mut copied, mut at) = (Vec::new(), 0, HEADER_BYTES);
    // `data_len` reads up to five bytes; so near to the end no entry is as long as one of these.
    while at + 5 <= end {
        let len = data_len(bytes, at)?;
        let behind = bytes.get(at + len..end)?;
        let mut width = back_bytes(len);
        // All bits are set, seven in a byte; our form has a byte 0 in front.
        if FULL.contains(&len) && behind.starts_with(&[0x7f, 0xff, 0xff, 0xff][..width - 1]) {
            width -= 1;
            wide.extend_from_slice(&bytes[copied..at + len]);
            let (length, count) = back_length(len);
            wide.extend_from_slice(&length[..count]);
            copied = at + len + width;
        }
        at += len + width;
    }
    if wide.is_empty() {
        return None;
    }
    wide.extend_from_slice(&bytes[copied..]);
    let total = u32::try_from(wide.len()).ok()?;
    // Only where the header told its length before.
    let told = bytes.first_chunk().map(|told| u32::from_le_bytes(*told) as usize);
    if told == Some(bytes.len()) {
        wide[..4].copy_from_slice(&total.to_le_bytes());
    }
    Some(wide)
}
