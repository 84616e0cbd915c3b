//! A segment of the index: buckets of fingerprints and handles, one cache line each.
//!
//! ```text
//! bucket  | fingerprints 12 | overflow 4 | handles 12 x 4 |     64 bytes
//! ```
//!
//! A hash's top bits, as many as the segment's depth, chose the segment; the next 32 choose the
//! bucket where it is at home, in order; the lowest 8 are the fingerprint, of which 0 stands for an
//! empty slot. A handle lies in its home bucket or one of the next three, and every bucket that was
//! too full for a key of its own counts it, so that a lookup nearly always ends after one line. What
//! finds no slot spills into a list, which only colliding hashes fill.
//!
//! The only segment of a small table has few buckets; all others have [`BUCKETS`].

use super::Handle;
use crate::base::courtesy;
use crate::base::env::Rng;

/// Slots of a bucket.
const SLOTS: usize = 12;
/// Buckets of a full segment.
pub(super) const BUCKETS: usize = 64;
/// Slots of a full segment.
pub(super) const SLOTS_MAX: usize = SLOTS * BUCKETS;
/// Buckets that a key may be in, its home first.
const WINDOW: usize = 4;
/// With more bits a hash would be left with too few for its bucket.
pub(super) const DEPTH_MAX: u32 = 24;

const _: () = assert!(DEPTH_MAX + 32 < 64, "the lowest bit decides no bucket");

#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
struct Bucket {
    fingerprints: [u8; SLOTS],
    /// Keys that are at home here but lie elsewhere.
    overflow: u32,
    handles: [u32; SLOTS],
}

const _: () = assert!(size_of::<Bucket>() == 64);

/// One bit for each slot whose fingerprint is this one: bit 8 n + 7 for slot n.
#[inline]
fn matches(bucket: &Bucket, fingerprint: u8) -> u128 {
    const LOW: u128 = u128::from_le_bytes([0x7f; 16]);
    const SLOTS_ONLY: u128 = (1 << (8 * SLOTS)) - 1;
    let mut bytes = [0; 16];
    bytes[..SLOTS].copy_from_slice(&bucket.fingerprints);
    let differs = u128::from_le_bytes(bytes) ^ u128::from_le_bytes([fingerprint; 16]);
    // The highest bit of each byte that is zero, exactly.
    !(((differs & LOW) + LOW) | differs | LOW) & SLOTS_ONLY
}

#[inline]
fn slots(mut bits: u128) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let slot = (bits != 0).then(|| bits.trailing_zeros() as usize / 8)?;
        bits &= bits - 1;
        Some(slot)
    })
}

#[inline]
fn fingerprint_of(hash: u64) -> u8 {
    hash.to_le_bytes()[0].max(1)
}

/// The bucket where a hash is at home in a segment of a depth.
#[inline]
pub(super) fn home_of(hash: u64, depth: u32, buckets: usize) -> usize {
    ((((hash << depth) >> 32) * buckets as u64) >> 32) as usize
}

/// See the file's head.
#[derive(Clone, Debug, Default)]
pub(super) struct Segment {
    buckets: Box<[Bucket]>,
    spill: Vec<(u64, Handle)>,
    count: u32,
    depth: u32,
}

impl Drop for Segment {
    fn drop(&mut self) {
        courtesy::give_way();
    }
}

impl Segment {
    /// An empty one.
    pub(super) fn new(buckets: usize, depth: u32) -> Self {
        let buckets = vec![Bucket::default(); buckets].into();
        Self { buckets, spill: Vec::new(), count: 0, depth }
    }

    /// An empty one as large as they get.
    pub(super) fn full_size(depth: u32) -> Self {
        Self::new(BUCKETS, depth)
    }

    #[inline]
    pub(super) fn depth(&self) -> u32 {
        self.depth
    }

    #[inline]
    pub(super) fn buckets(&self) -> usize {
        self.buckets.len()
    }

    pub(super) fn count(&self) -> usize {
        self.count as usize
    }

    pub(super) fn spilled(&self) -> usize {
        self.spill.len()
    }

    pub(super) fn spilled_handles(&self) -> impl Iterator<Item = Handle> {
        self.spill.iter().map(|(_, handle)| *handle)
    }

    /// Bytes of heap but for the spilled handles, which are hardly ever there.
    pub(super) fn heap_bytes(&self) -> usize {
        self.buckets.len() * size_of::<Bucket>()
    }

    /// Whether it may still get more buckets.
    pub(super) fn is_growing(&self) -> bool {
        self.depth == 0 && self.buckets.len() < BUCKETS
    }

    /// Whether it is full because there are many keys, and not because their hashes collide.
    pub(super) fn is_crowded(&self) -> bool {
        self.count as usize >= SLOTS_MAX / 2
    }

    /// An empty one with more buckets.
    pub(super) fn larger(&self) -> Self {
        let buckets = self.buckets.len();
        Self::new((buckets + buckets / 3 + 1).min(BUCKETS), self.depth)
    }

    /// An empty one with fewer buckets, where these are much too many.
    pub(super) fn smaller(&self) -> Option<Self> {
        let buckets = self.buckets.len();
        let few = self.count as usize * 4 < buckets * SLOTS;
        (few && buckets > 1).then(|| Self::new((buckets / 2).max(1), self.depth))
    }

    /// The buckets that a key may be in, its home first.
    #[inline]
    fn window(&self, home: usize) -> impl Iterator<Item = usize> + use<> {
        let buckets = self.buckets.len();
        (home..home + WINDOW.min(buckets))
            .map(move |at| if at >= buckets { at - buckets } else { at })
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        home_of(hash, self.depth, self.buckets.len())
    }

    /// The handle of a hash that is the wanted one.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_wanted: impl Fn(Handle) -> bool) -> Option<Handle> {
        let (home, fingerprint) = (self.home(hash), fingerprint_of(hash));
        for at in self.window(home) {
            let bucket = &self.buckets[at];
            for slot in slots(matches(bucket, fingerprint)) {
                let handle = Handle(bucket.handles[slot]);
                if is_wanted(handle) {
                    return Some(handle);
                }
            }
            if self.buckets[home].overflow == 0 {
                return None;
            }
        }
        let spilled = self.spill.iter().find(|(other, at)| *other == hash && is_wanted(*at));
        spilled.map(|(_, handle)| *handle)
    }

    /// Puts a handle into a slot; false where there is none.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, handle: Handle) -> bool {
        let home = self.home(hash);
        for at in self.window(home) {
            let bucket = &mut self.buckets[at];
            let empty = matches(bucket, 0);
            if empty != 0 {
                let slot = empty.trailing_zeros() as usize / 8;
                bucket.fingerprints[slot] = fingerprint_of(hash);
                bucket.handles[slot] = handle.0;
                self.count += 1;
                self.buckets[home].overflow += u32::from(at != home);
                return true;
            }
        }
        false
    }

    /// Puts a handle aside that finds no slot.
    #[cold]
    pub(super) fn spill(&mut self, hash: u64, handle: Handle) {
        let home = self.home(hash);
        self.buckets[home].overflow += 1;
        self.count += 1;
        self.spill.push((hash, handle));
    }

    /// Where a handle of a hash is: bucket and slot.
    fn locate(&self, hash: u64, handle: Handle) -> Option<(usize, usize)> {
        self.window(self.home(hash)).find_map(|at| {
            let bucket = &self.buckets[at];
            let mut slots = slots(matches(bucket, fingerprint_of(hash)));
            let slot = slots.find(|slot| bucket.handles[*slot] == handle.0)?;
            Some((at, slot))
        })
    }

    /// Removes a handle; says whether it was a spilled one.
    pub(super) fn remove(&mut self, hash: u64, handle: Handle) -> bool {
        let home = self.home(hash);
        self.count -= 1;
        if let Some((at, slot)) = self.locate(hash, handle) {
            self.buckets[at].fingerprints[slot] = 0;
            self.buckets[home].overflow -= u32::from(at != home);
            return false;
        }
        self.spill.retain(|(_, other)| *other != handle);
        self.buckets[home].overflow -= 1;
        true
    }

    /// An entry has another handle now.
    pub(super) fn rehandle(&mut self, hash: u64, old: Handle, new: Handle) {
        if let Some((at, slot)) = self.locate(hash, old) {
            self.buckets[at].handles[slot] = new.0;
        } else if let Some(spilled) = self.spill.iter_mut().find(|(_, other)| *other == old) {
            spilled.1 = new;
        }
    }

    /// Every handle that may be at home in a bucket, and some that are not.
    pub(super) fn for_each_near(&self, home: usize, mut each: impl FnMut(Handle)) {
        for at in self.window(home) {
            let bucket = &self.buckets[at];
            for slot in 0..SLOTS {
                if bucket.fingerprints[slot] != 0 {
                    each(Handle(bucket.handles[slot]));
                }
            }
            if self.buckets[home].overflow == 0 {
                return;
            }
        }
        self.spilled_handles().for_each(each);
    }

    /// Where the bucket ends in which a position is: the first position of the next, 0 after the last
    /// of all.
    pub(super) fn next_position(&self, position: u64) -> u64 {
        let next = self.home(position) as u64 + 1;
        let buckets = self.buckets.len() as u64;
        if next == buckets {
            return self.end_position(position);
        }
        // The least 32 bits that lead to the next bucket.
        let bits = (next << 32).div_ceil(buckets);
        let low = u64::MAX.checked_shr(self.depth).unwrap_or(0);
        position & !low | bits << 32 >> self.depth
    }

    /// Where the segment ends in which a position is: the first position of the next, 0 after the
    /// last of all.
    pub(super) fn end_position(&self, position: u64) -> u64 {
        let low = u64::MAX.checked_shr(self.depth).unwrap_or(0);
        (position | low).wrapping_add(1)
    }

    /// A random slot's handle; nothing where it is empty.
    pub(super) fn sample(&self, rng: &mut Rng) -> Option<Handle> {
        let slot = rng.index(self.buckets.len() * SLOTS);
        let bucket = &self.buckets[slot / SLOTS];
        (bucket.fingerprints[slot % SLOTS] != 0).then(|| Handle(bucket.handles[slot % SLOTS]))
    }

    /// All handles.
    pub(super) fn into_handles(self) -> Vec<Handle> {
        let mut handles = Vec::with_capacity(self.count as usize);
        for bucket in &self.buckets {
            for slot in 0..SLOTS {
                if bucket.fingerprints[slot] != 0 {
                    handles.push(Handle(bucket.handles[slot]));
                }
            }
        }
        handles.extend(self.spilled_handles());
        handles
    }
}
