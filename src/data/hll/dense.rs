//! Registers of six bits, one behind the other: register `n` begins at bit `6 * n`, the lowest bit of a
//! byte being its first.

use crate::data::hll::{REGISTERS, Registers};

/// Bits of a register.
pub(crate) const BITS: usize = 6;
/// The greatest value of one.
pub(crate) const MAX: u8 = (1 << BITS) - 1;
/// Bytes of eight registers.
const EIGHT_BYTES: usize = 6;

/// What a register holds.
#[inline]
pub(crate) fn get(registers: &[u8], register: usize) -> u8 {
    let (at, shift) = (register * BITS / 8, register * BITS % 8);
    let next = registers.get(at + 1).copied().unwrap_or(0);
    let two = u16::from_le_bytes([registers[at], next]) >> shift;
    two.to_le_bytes()[0] & MAX
}

/// Makes a register at least `value`; says whether it has changed.
#[inline]
pub(crate) fn raise(registers: &mut [u8], register: usize, value: u8) -> bool {
    if get(registers, register) >= value {
        return false;
    }
    let (at, shift) = (register * BITS / 8, register * BITS % 8);
    let next = registers.get(at + 1).copied().unwrap_or(0);
    let two = u16::from_le_bytes([registers[at], next]);
    let two = two & !(u16::from(MAX) << shift) | u16::from(value & MAX) << shift;
    let [low, high] = two.to_le_bytes();
    registers[at] = low;
    if let Some(next) = registers.get_mut(at + 1) {
        *next = high;
    }
    true
}

/// Six bytes' registers, a byte each.
#[inline(always)]
fn spread(packed: u64) -> u64 {
    let halves = packed & 0xff_ffff | (packed & 0xffff_ff00_0000) << 8;
    let quarters = halves & 0x0fff_0000_0fff | (halves & 0x00ff_f000_00ff_f000) << 4;
    quarters & 0x003f_003f_003f_003f | (quarters & 0x0fc0_0fc0_0fc0_0fc0) << 2
}

/// The low six bits of eight bytes.
const EIGHT_MASK: u64 = 0x3f3f_3f3f_3f3f_3f3f;
/// The bits of eight registers.
const PACKED_MASK: u64 = (1 << (8 * BITS)) - 1;

/// A byte each in six bytes again.
#[inline(always)]
fn gather(eight: u64) -> u64 {
    let pairs = eight & 0x003f_003f_003f_003f | (eight & 0x3f00_3f00_3f00_3f00) >> 2;
    let fours = pairs & 0x0fff_0000_0fff | (pairs & 0x0fff_0000_0fff_0000) >> 4;
    fours & 0xff_ffff | (fours & 0x00ff_ffff_0000_0000) >> 8
}

/// Visits the registers eight at a time, each with the first one's number.
#[inline(always)]
pub(crate) fn each_eight(registers: &[u8], each: impl FnMut(usize, u64)) {
    each_eight_by(spread, registers, each);
}

#[inline(always)]
fn each_eight_by(spread: impl Fn(u64) -> u64, registers: &[u8], mut each: impl FnMut(usize, u64)) {
    let mut first = 0;
    // All but the last can be read with two bytes of the next.
    let mut left = registers;
    while let Some(packed) = left.first_chunk() {
        each(first, spread(u64::from_le_bytes(*packed) & PACKED_MASK));
        first += 8;
        left = &left[EIGHT_BYTES..];
    }
    if let Some(packed) = left.first_chunk::<EIGHT_BYTES>() {
        let mut word = [0; 8];
        word[..EIGHT_BYTES].copy_from_slice(packed);
        each(first, spread(u64::from_le_bytes(word)));
    }
}

/// Raises registers to what others have.
pub(crate) fn merge(into: &mut Registers, registers: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    if has_bmi2() {
        // SAFETY: the processor has these instructions, as was just looked up.
        return unsafe { merge_bmi2(into, registers) };
    }
    merge_by(spread, into, registers);
}

/// The registers in six bits each.
pub(crate) fn pack(registers: &Registers, into: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if has_bmi2() {
        // SAFETY: as in `merge`.
        return unsafe { pack_bmi2(registers, into) };
    }
    pack_by(gather, registers, into);
}

#[cfg(target_arch = "x86_64")]
fn has_bmi2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2")
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi2")]
fn merge_bmi2(into: &mut Registers, registers: &[u8]) {
    merge_by(|packed| std::arch::x86_64::_pdep_u64(packed, EIGHT_MASK), into, registers);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi2")]
fn pack_bmi2(registers: &Registers, into: &mut [u8]) {
    pack_by(|eight| std::arch::x86_64::_pext_u64(eight, EIGHT_MASK), registers, into);
}

#[inline(always)]
fn merge_by(spread: impl Fn(u64) -> u64, into: &mut Registers, registers: &[u8]) {
    let mut other = [0; REGISTERS];
    let (words, _) = other.as_chunks_mut::<8>();
    each_eight_by(spread, registers, |first, eight| {
        if let Some(word) = words.get_mut(first / 8) {
            *word = eight.to_le_bytes();
        }
    });
    for (held, other) in into.iter_mut().zip(&other) {
        *held = (*held).max(*other);
    }
}

#[inline(always)]
fn pack_by(gather: impl Fn(u64) -> u64, registers: &Registers, into: &mut [u8]) {
    let places = into.as_chunks_mut::<EIGHT_BYTES>().0;
    for (eight, packed) in registers.as_chunks::<8>().0.iter().zip(places) {
        let word = gather(u64::from_le_bytes(*eight)).to_le_bytes();
        packed.copy_from_slice(&word[..EIGHT_BYTES]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::env::Rng;

    #[test]
    fn what_the_processor_has_does_as_plain_words() {
        let mut rng = Rng::from_seed(5);
        for _ in 0..20 {
            let mut one = [0; REGISTERS];
            one.iter_mut().for_each(|held| *held = rng.below(64) as u8);
            let (mut packed, mut plain) = ([0; REGISTERS * BITS / 8], [0; REGISTERS * BITS / 8]);
            pack(&one, &mut packed);
            pack_by(gather, &one, &mut plain);
            assert_eq!(packed, plain);
            let mut held = [0; REGISTERS];
            held.iter_mut().for_each(|held| *held = rng.below(64) as u8);
            let (mut fast, mut slow) = (held, held);
            merge(&mut fast, &packed);
            merge_by(spread, &mut slow, &packed);
            assert_eq!(fast, slow);
            let highest: Vec<u8> = held.iter().zip(&one).map(|(a, b)| *a.max(b)).collect();
            assert_eq!(fast[..], highest);
        }
    }
}
