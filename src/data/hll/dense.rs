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
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has these instructions, as was just looked up.
        return unsafe { vectors::merge(into, registers) };
    }
    merge_by(spread, into, registers);
}

/// The registers in six bits each.
pub(crate) fn pack(registers: &Registers, into: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: as in `merge`.
        return unsafe { vectors::pack(registers, into) };
    }
    pack_by(gather, registers, into);
}

/// Thirty-two registers at a time. Three bytes hold four registers and become a lane of 32 bits.
#[cfg(target_arch = "x86_64")]
#[expect(clippy::cast_ptr_alignment, reason = "what is loaded and stored needs no alignment")]
mod vectors {
    use std::arch::x86_64::{
        __m128i, __m256i, _mm_loadu_si128, _mm_storeu_si128, _mm256_and_si256,
        _mm256_castsi128_si256, _mm256_castsi256_si128, _mm256_extracti128_si256,
        _mm256_inserti128_si256, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16,
        _mm256_max_epu8, _mm256_or_si256, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_setr_epi8,
        _mm256_shuffle_epi8, _mm256_slli_epi32, _mm256_storeu_si256,
    };

    use super::BITS;
    use crate::data::hll::{REGISTERS, Registers};

    /// Registers of a vector, and the bytes that hold half of them.
    const LANES: usize = 32;
    const HALF_BYTES: usize = 12;
    /// Two halves of a vector's registers, each with the four bytes behind it, which make it up to 16.
    type Wide = [u8; 2 * HALF_BYTES + 4];

    #[target_feature(enable = "avx2")]
    pub(super) fn merge(into: &mut Registers, registers: &[u8]) {
        let mut left = registers;
        for held in into.as_chunks_mut::<LANES>().0 {
            let spread = match left.first_chunk() {
                Some(wide) => spread(wide),
                // Nothing is behind the last.
                None => {
                    let mut padded = [0; size_of::<Wide>()];
                    let Some(last) = left.get(..2 * HALF_BYTES) else { return };
                    padded[..last.len()].copy_from_slice(last);
                    spread(&padded)
                }
            };
            left = &left[2 * HALF_BYTES..];
            // SAFETY: both pointers are of 32 bytes, which need no alignment.
            unsafe {
                let at = held.as_mut_ptr().cast::<__m256i>();
                _mm256_storeu_si256(at, _mm256_max_epu8(_mm256_loadu_si256(at), spread));
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn spread(packed: &Wide) -> __m256i {
        // SAFETY: 16 bytes are there behind each of the pointers, which need no alignment.
        let (low, high) = unsafe {
            let at = packed.as_ptr();
            (
                _mm_loadu_si128(at.cast::<__m128i>()),
                _mm_loadu_si128(at.add(HALF_BYTES).cast::<__m128i>()),
            )
        };
        let both = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high);
        let threes = _mm256_setr_epi8(
            0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1, 0, 1, 2, -1, 3, 4, 5, -1, 6, 7,
            8, -1, 9, 10, 11, -1,
        );
        let lanes = _mm256_shuffle_epi8(both, threes);
        let field = |mask: i32| _mm256_and_si256(lanes, _mm256_set1_epi32(mask));
        _mm256_or_si256(
            _mm256_or_si256(field(0x3f), _mm256_slli_epi32::<2>(field(0x3f << 6))),
            _mm256_or_si256(
                _mm256_slli_epi32::<4>(field(0x3f << 12)),
                _mm256_slli_epi32::<6>(field(0x3f << 18)),
            ),
        )
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn pack(registers: &Registers, into: &mut [u8]) {
        let end = into.len().min(REGISTERS * BITS / 8);
        let mut left = &mut into[..end];
        for held in registers.as_chunks::<LANES>().0 {
            if let Some(wide) = left.first_chunk_mut() {
                // The four bytes behind are the next ones'.
                gather(held, wide);
            } else {
                let mut wide = [0; size_of::<Wide>()];
                gather(held, &mut wide);
                let Some(last) = left.get_mut(..2 * HALF_BYTES) else { return };
                last.copy_from_slice(&wide[..2 * HALF_BYTES]);
            }
            left = &mut left[2 * HALF_BYTES..];
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn gather(held: &[u8; LANES], into: &mut Wide) {
        // SAFETY: the pointer is of 32 bytes, which need no alignment.
        let held = unsafe { _mm256_loadu_si256(held.as_ptr().cast::<__m256i>()) };
        // The first of two registers, and the second 6 bits higher; the same of pairs, 12 bits.
        let pairs = _mm256_maddubs_epi16(held, _mm256_set1_epi16(1 | 64 << 8));
        let fours = _mm256_madd_epi16(pairs, _mm256_set1_epi32(1 | 4096 << 16));
        let together = _mm256_setr_epi8(
            0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1, 0, 1, 2, 4, 5, 6, 8, 9, 10, 12,
            13, 14, -1, -1, -1, -1,
        );
        let packed = _mm256_shuffle_epi8(fours, together);
        // SAFETY: 16 bytes are there behind each of the pointers, which need no alignment.
        unsafe {
            let at = into.as_mut_ptr();
            _mm_storeu_si128(at.cast::<__m128i>(), _mm256_castsi256_si128(packed));
            let high = _mm256_extracti128_si256::<1>(packed);
            _mm_storeu_si128(at.add(HALF_BYTES).cast::<__m128i>(), high);
        }
    }
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
