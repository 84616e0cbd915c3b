//! One cache line of a segment: the fingerprints and the places of up to twenty entries.
//!
//! ```text
//! 0          20                              60         61      62       64
//! | 20 x u8  | 20 x u16                      | u8       | u8    | u16    |
//! | finger-  | places in the segment's heap, | overflow | spare | spilled|
//! | prints   | in granules of 4 bytes        |          |       |        |
//! ```
//!
//! A fingerprint of 0 marks a vacant slot. `overflow` counts the entries that wanted a place in
//! this bucket or before it and stand in a later one: while it is 0, a lookup stops here.
//! `spilled` counts the entries whose home is this bucket and which live in a further segment of
//! the chain (see `segment`); it is 0 in all but pathological tables.

/// Slots in a bucket.
pub(super) const SLOTS: usize = 20;
const ALL: u32 = (1 << SLOTS) - 1;
/// A `spilled` count that has come this far stays: it only costs lookups a look further.
const SPILLED_STICKY: u16 = u16::MAX;

/// Twenty slots and their counters.
#[repr(C, align(64))]
pub(super) struct Bucket {
    fingerprints: [u8; SLOTS],
    places: [u16; SLOTS],
    overflow: u8,
    spare: u8,
    spilled: u16,
}

const _: () = assert!(size_of::<Bucket>() == 64);

/// A set of slots; iterates in ascending order.
#[derive(Clone, Debug)]
pub(super) struct Slots(u32);

impl Slots {
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.0 == 0
    }

    #[inline(always)]
    pub(super) fn occupancy(&self) -> usize {
        self.0.count_ones() as usize
    }

    /// Those of them that aren't among these bits.
    #[inline(always)]
    pub(super) fn without(self, bits: u32) -> Self {
        Self(self.0 & !bits)
    }

    #[inline(always)]
    pub(super) fn contains(&self, slot: usize) -> bool {
        self.0 >> slot & 1 != 0
    }
}

impl Iterator for Slots {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let slot = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(slot)
    }
}

impl Bucket {
    /// The slots whose fingerprint is this one.
    #[inline(always)]
    pub(super) fn matches(&self, fingerprint: u8) -> Slots {
        #[cfg(target_arch = "x86_64")]
        let mask = matches_sse2(&self.fingerprints, fingerprint);
        #[cfg(not(target_arch = "x86_64"))]
        let mask = matches_portable(&self.fingerprints, fingerprint);
        Slots(mask)
    }

    /// The slots that hold an entry.
    #[inline(always)]
    pub(super) fn occupied(&self) -> Slots {
        Slots(!self.matches(0).0 & ALL)
    }

    /// The first slot without an entry.
    #[inline(always)]
    pub(super) fn vacancy(&self) -> Option<usize> {
        self.matches(0).next()
    }

    /// Where the slot's entry is stored, in granules from the start of the heap.
    #[inline(always)]
    pub(super) fn place(&self, slot: usize) -> u16 {
        self.places[slot]
    }

    /// The slot's fingerprint.
    #[cfg(test)]
    pub(super) fn fingerprint(&self, slot: usize) -> u8 {
        self.fingerprints[slot]
    }

    /// Notes that the slot's entry has moved.
    #[inline(always)]
    pub(super) fn set_place(&mut self, slot: usize, place: u16) {
        self.places[slot] = place;
    }

    /// Fills a vacant slot.
    #[inline(always)]
    pub(super) fn fill(&mut self, slot: usize, fingerprint: u8, place: u16) {
        debug_assert!(fingerprint != 0);
        debug_assert!(self.fingerprints[slot] == 0);
        self.fingerprints[slot] = fingerprint;
        self.places[slot] = place;
    }

    /// Empties a slot.
    #[inline(always)]
    pub(super) fn vacate(&mut self, slot: usize) {
        debug_assert!(self.fingerprints[slot] != 0);
        self.fingerprints[slot] = 0;
    }

    /// Entries that passed this bucket by on their way to a later one.
    #[inline(always)]
    pub(super) fn overflow(&self) -> u8 {
        self.overflow
    }

    /// Counts an entry that passes this bucket by. At most three buckets of 20 slots come before
    /// it, so this can't wrap.
    #[inline(always)]
    pub(super) fn add_overflow(&mut self) {
        debug_assert!(self.overflow < 3 * SLOTS as u8);
        self.overflow += 1;
    }

    /// An entry that had passed by is gone.
    #[inline(always)]
    pub(super) fn drop_overflow(&mut self) {
        debug_assert!(self.overflow > 0);
        self.overflow -= 1;
    }

    /// Entries at home here that live in a later segment of the chain.
    #[inline(always)]
    pub(super) fn spilled(&self) -> u16 {
        self.spilled
    }

    /// An entry at home here goes to a later segment of the chain.
    pub(super) fn add_spilled(&mut self) {
        self.spilled = self.spilled.saturating_add(1);
    }

    /// An entry at home here has left a later segment of the chain.
    pub(super) fn drop_spilled(&mut self) {
        debug_assert!(self.spilled > 0);
        if self.spilled != SPILLED_STICKY {
            self.spilled -= 1;
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(clippy::cast_ptr_alignment, reason = "these loads take any alignment")]
#[inline(always)]
fn matches_sse2(fingerprints: &[u8; SLOTS], wanted: u8) -> u32 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8,
    };
    let start = fingerprints.as_ptr();
    // SAFETY: SSE2 is part of x86-64; the loads cover bytes 0..16 and 4..20 of the array.
    unsafe {
        let wanted = _mm_set1_epi8(wanted as i8);
        let low = _mm_loadu_si128(start.cast::<__m128i>());
        let high = _mm_loadu_si128(start.add(4).cast::<__m128i>());
        let low = _mm_movemask_epi8(_mm_cmpeq_epi8(low, wanted)) as u32;
        let high = _mm_movemask_epi8(_mm_cmpeq_epi8(high, wanted)) as u32;
        low | high << 4
    }
}

/// The same compare in plain integers, eight bytes at a time; for processors without SSE2.
#[cfg(any(test, not(target_arch = "x86_64")))]
#[inline(always)]
fn matches_portable(fingerprints: &[u8; SLOTS], wanted: u8) -> u32 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const SEVEN: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let group = |bytes: [u8; 8]| {
        let differing = u64::from_le_bytes(bytes) ^ (LOW * u64::from(wanted));
        // The top bit of a byte ends up set exactly where the byte is 0: the sum of seven bits
        // can't carry into the next byte, so unlike the shorter trick this has no false matches.
        let zero = !(((differing & SEVEN) + SEVEN) | differing | SEVEN);
        // Gathers the eight bits into the top byte.
        ((zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
    };
    let f = fingerprints;
    let low = group([f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7]]);
    let middle = group([f[8], f[9], f[10], f[11], f[12], f[13], f[14], f[15]]);
    // The last twelve bytes again as eight: four of them were in `middle`.
    let high = group([f[12], f[13], f[14], f[15], f[16], f[17], f[18], f[19]]);
    low | middle << 8 | high << 12
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::env::Rng;

    #[test]
    fn both_compares_agree() {
        let mut rng = Rng::from_seed(7);
        for round in 0..20_000 {
            // Few different bytes, so that matches are common, with the tricky ones among them.
            let alphabet = [0, 1, 0x7f, 0x80, 0x81, 0xff, rng.next_u64() as u8];
            let fingerprints: [u8; SLOTS] =
                std::array::from_fn(|_| alphabet[rng.below(alphabet.len() as u64) as usize]);
            for wanted in alphabet.into_iter().chain([round as u8]) {
                let expected = fingerprints
                    .iter()
                    .enumerate()
                    .fold(0, |mask, (slot, &f)| mask | u32::from(f == wanted) << slot);
                assert_eq!(matches_portable(&fingerprints, wanted), expected);
                #[cfg(target_arch = "x86_64")]
                assert_eq!(matches_sse2(&fingerprints, wanted), expected);
            }
        }
    }
}
