//! Strings as arrays of bits, the highest bit of each byte first: counting, searching, combining, and
//! integers of any width at any place.
//!
//! What walks over whole strings is written as plain loops over words, which the compiler turns into
//! vectors; where the processor has wider ones than the target's baseline, the same loop compiled for
//! those runs instead.

use std::ops::Range;

use crate::data::string::HeapString;

/// Bits in a byte.
const BYTE_BITS: u64 = 8;
/// Bytes of each source that are combined before the next piece: sources and result stay in the
/// fastest cache.
const PIECE_BYTES: usize = 8 << 10;
/// Bytes that are looked at together in a search.
const STRIDE_BYTES: usize = 64;

/// What is done to the bits of several strings. X is the first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Set in all.
    And,
    /// Set in any.
    Or,
    /// Set in an odd number of them.
    Xor,
    /// Not set in the only one.
    Not,
    /// Set in X and in no other.
    Diff,
    /// Set in some other, but not in X.
    Diff1,
    /// Set in X and in some other.
    AndOr,
    /// Set in exactly one.
    One,
}

/// How many bits are set.
#[inline]
pub(crate) fn count(bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512vpopcntdq") && is_x86_feature_detected!("avx512vl") {
            // SAFETY: the processor has these instructions, as was just looked up.
            return unsafe { count_avx512(bytes) };
        }
        if has_avx2() {
            return count_with_avx2(bytes);
        }
    }
    count_words(bytes)
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt")
}

/// As [`count`], for a processor that [`has_avx2`].
#[cfg(target_arch = "x86_64")]
fn count_with_avx2(bytes: &[u8]) -> u64 {
    debug_assert!(has_avx2(), "the caller has looked");
    // SAFETY: the processor has these instructions (caller).
    unsafe { count_avx2(bytes) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512vpopcntdq,popcnt")]
fn count_avx512(bytes: &[u8]) -> u64 {
    count_words(bytes)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt")]
fn count_avx2(bytes: &[u8]) -> u64 {
    count_words(bytes)
}

#[inline(always)]
fn count_words(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let whole: u64 =
        words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    whole + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// How many bits are set in a range of them; what is beyond the end isn't.
pub(crate) fn count_range(bytes: &[u8], bits: Range<u64>) -> u64 {
    let end = bits.end.min(bytes.len() as u64 * BYTE_BITS);
    if bits.start >= end {
        return 0;
    }
    let (first, last) = (byte_at(bits.start), byte_at(end - 1));
    let whole = count(&bytes[first..=last]);
    let before = bytes[first] & !kept_from(bits.start);
    let after = bytes[last] & !kept_to(end - 1);
    whole - u64::from(before.count_ones()) - u64::from(after.count_ones())
}

/// The index of the byte that holds a bit, which must be one of a string's.
fn byte_at(bit: u64) -> usize {
    (bit / BYTE_BITS) as usize
}

/// The bits of a byte from one on.
fn kept_from(bit: u64) -> u8 {
    0xff >> (bit % BYTE_BITS)
}

/// The bits of a byte up to and with one.
fn kept_to(bit: u64) -> u8 {
    !(0x7f >> (bit % BYTE_BITS))
}

/// The first bit of a range that is set, or isn't.
pub(crate) fn find(bytes: &[u8], bits: Range<u64>, wanted: bool) -> Option<u64> {
    let end = bits.end.min(bytes.len() as u64 * BYTE_BITS);
    if bits.start >= end {
        return None;
    }
    let (first, last) = (byte_at(bits.start), byte_at(end - 1));
    let none: u8 = if wanted { 0 } else { 0xff };
    // The bits that are looked for are ones of this.
    let found = |byte: u8, index: usize| -> Option<u64> {
        let mut sought = byte ^ none;
        if index == first {
            sought &= kept_from(bits.start);
        }
        if index == last {
            sought &= kept_to(end - 1);
        }
        let place = u64::from(sought.leading_zeros());
        (sought != 0).then(|| index as u64 * BYTE_BITS + place)
    };
    if let Some(bit) = found(bytes[first], first) {
        return Some(bit);
    }
    let mut index = first + 1;
    for stride in bytes[index.min(last)..last].as_chunks::<STRIDE_BYTES>().0 {
        if stride.iter().fold(0, |any, byte| any | (byte ^ none)) != 0 {
            break;
        }
        index += STRIDE_BYTES;
    }
    (index..=last).find_map(|index| found(bytes[index], index))
}

/// Whether a bit is set; none is beyond the end.
#[inline]
pub(crate) fn get(bytes: &[u8], bit: u64) -> bool {
    let byte = usize::try_from(bit / BYTE_BITS).ok().and_then(|index| bytes.get(index));
    byte.is_some_and(|byte| byte & (0x80 >> (bit % BYTE_BITS)) != 0)
}

/// Sets or clears a bit, which must be there, and says what it was.
#[inline]
pub(crate) fn set(bytes: &mut [u8], bit: u64, value: bool) -> bool {
    let byte = &mut bytes[byte_at(bit)];
    let mask = 0x80 >> (bit % BYTE_BITS);
    let old = *byte & mask != 0;
    *byte = if value { *byte | mask } else { *byte & !mask };
    old
}

/// The unsigned integer of up to 64 bits at a place; what is beyond the end is 0.
pub(crate) fn get_field(bytes: &[u8], bit: u64, width: u32) -> u64 {
    let mut window = [0_u8; 16];
    let start = usize::try_from(bit / BYTE_BITS).unwrap_or(usize::MAX);
    let held = bytes.get(start..).unwrap_or(&[]);
    let len = held.len().min(9);
    window[..len].copy_from_slice(&held[..len]);
    let from_start = u128::from_be_bytes(window) << (bit % BYTE_BITS);
    low_half(from_start >> (128 - width))
}

/// Puts an unsigned integer of up to 64 bits at a place, all of which must be there.
pub(crate) fn set_field(bytes: &mut [u8], bit: u64, width: u32, value: u64) {
    let start = byte_at(bit);
    let len = (bytes.len() - start).min(9);
    let mut window = [0_u8; 16];
    window[..len].copy_from_slice(&bytes[start..start + len]);
    let shift = 128 - width - low_bits(bit);
    let mask = (u128::MAX >> (128 - width)) << shift;
    let old = u128::from_be_bytes(window);
    let new = old & !mask | (u128::from(value) << shift) & mask;
    bytes[start..start + len].copy_from_slice(&new.to_be_bytes()[..len]);
}

#[expect(clippy::cast_possible_truncation, reason = "that is what it's for")]
fn low_half(number: u128) -> u64 {
    number as u64
}

/// A bit's place in its byte.
fn low_bits(bit: u64) -> u32 {
    (bit % BYTE_BITS) as u32
}

/// The strings' bits combined, as long as the longest of them; shorter ones go on with zeros. The
/// result is written into a block that is no longer needed; `None` among the sources is what that
/// block held.
pub(crate) fn combine(
    operation: Operation,
    sources: &[Option<&[u8]>],
    block: HeapString,
) -> HeapString {
    let (mut result, held) = (block, sources.contains(&None));
    if !held {
        result.resize(0, 0);
    }
    let own = result.len();
    let len = sources.iter().map(|source| source.map_or(own, <[u8]>::len)).max().unwrap_or(0);
    let (mut out, mut twice) = ([0; PIECE_BYTES], [0; PIECE_BYTES]);
    let mut start = 0;
    while start < len {
        let end = len.min(start + PIECE_BYTES);
        // The result's own bytes of this piece are read before they are written over.
        let part = |source: &Option<_>| piece(source.unwrap_or(&result[..own]), start, end);
        let pieces: Vec<&[u8]> = sources.iter().map(part).collect();
        let out = &mut out[..end - start];
        combine_pieces(operation, &pieces, out, &mut twice);
        let (over, behind) = out.split_at(out.len().min(result.len().saturating_sub(start)));
        result[start..start + over.len()].copy_from_slice(over);
        result.extend_from_slice(behind);
        start = end;
    }
    result
}

/// What a string has of a range of bytes.
fn piece(source: &[u8], start: usize, end: usize) -> &[u8] {
    &source[start.min(source.len())..end.min(source.len())]
}

fn combine_pieces(
    operation: Operation,
    sources: &[&[u8]],
    out: &mut [u8],
    twice: &mut [u8; PIECE_BYTES],
) {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the processor has these instructions, as was just looked up.
        return unsafe { combine_avx2(operation, sources, out, twice) };
    }
    combine_words(operation, sources, out, twice);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn combine_avx2(
    operation: Operation,
    sources: &[&[u8]],
    out: &mut [u8],
    twice: &mut [u8; PIECE_BYTES],
) {
    combine_words(operation, sources, out, twice);
}

#[inline(always)]
fn combine_words(
    operation: Operation,
    sources: &[&[u8]],
    out: &mut [u8],
    twice: &mut [u8; PIECE_BYTES],
) {
    let Some((first, others)) = sources.split_first() else { return };
    // Two operations begin with the others' union instead of the first.
    let (base, rest): (&[u8], &[&[u8]]) = match (operation, others.split_first()) {
        (Operation::Diff1 | Operation::AndOr, Some((second, rest))) => (second, rest),
        _ => (first, others),
    };
    out[..base.len()].copy_from_slice(base);
    out[base.len()..].fill(0);
    match operation {
        Operation::And => fold(out, rest, |a, b| a & b),
        Operation::Or => fold(out, rest, |a, b| a | b),
        Operation::Xor => fold(out, rest, |a, b| a ^ b),
        Operation::Not => out.iter_mut().for_each(|byte| *byte = !*byte),
        Operation::Diff => fold(out, rest, |a, b| a & !b),
        Operation::Diff1 => {
            fold(out, rest, |a, b| a | b);
            fold(out, &[first], |a, b| !b & a);
        }
        Operation::AndOr => {
            fold(out, rest, |a, b| a | b);
            fold(out, &[first], |a, b| a & b);
        }
        Operation::One => only_one(out, rest, twice),
    }
}

/// Combines each of the sources' pieces into a result's.
#[inline(always)]
fn fold(out: &mut [u8], sources: &[&[u8]], join: impl Fn(u8, u8) -> u8) {
    for source in sources {
        let (with, without) = out.split_at_mut(source.len());
        for (byte, other) in with.iter_mut().zip(*source) {
            *byte = join(*byte, *other);
        }
        for byte in without {
            *byte = join(*byte, 0);
        }
    }
}

/// Leaves the bits that are set in exactly one, `out` being the first.
#[inline(always)]
fn only_one(out: &mut [u8], sources: &[&[u8]], twice: &mut [u8; PIECE_BYTES]) {
    let twice = &mut twice[..out.len()];
    twice.fill(0);
    for source in sources {
        for ((once, twice), byte) in out.iter_mut().zip(twice.iter_mut()).zip(*source) {
            *twice |= *once & byte;
            *once |= byte;
        }
    }
    for (once, twice) in out.iter_mut().zip(twice) {
        *once &= !*twice;
    }
}

#[cfg(test)]
mod tests;
