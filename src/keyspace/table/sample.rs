//! Random keys: uniform ones (RANDOMKEY), and cheap handfuls for eviction.
//!
//! A random directory entry is too likely to be a segment that stands there many times, and a
//! random entry of a random bucket is too likely to be one with few neighbours. So both are thinned
//! out: a segment is taken with a probability inverse to its share of the directory, and a slot is
//! chosen among all slots, vacant ones included, and chosen again if it is vacant.

use crate::base::env::Rng;

use super::bucket::SLOTS;
use super::grow::chain;
use super::segment::{BUCKETS, SEGMENT_SLOTS, Segment};
use super::{Entry, Table};

/// Tries before the exact, slow way. Even a table just emptied to a tenth finds a key in twenty.
const TRIES_MAX: usize = 512;

impl Table {
    /// A key, each with the same probability.
    pub fn sample(&self, rng: &mut Rng) -> Option<Entry<'_>> {
        if self.len == 0 {
            return None;
        }
        // In one segment counting is faster than trying.
        if self.tally.segments > 1 {
            for _ in 0..TRIES_MAX {
                if let Some(entry) = self.try_sample(rng) {
                    return Some(entry);
                }
            }
        }
        self.nth(rng.below(self.len as u64) as usize)
    }

    /// Shows `visit` the entries of a random bucket, up to twenty: candidates for eviction at the
    /// price of one or two cache misses. Not uniform. Shows at least one if there is a key.
    pub fn sample_bucket(&self, rng: &mut Rng, mut visit: impl FnMut(Entry<'_>)) {
        if self.len == 0 {
            return;
        }
        for _ in 0..TRIES_MAX {
            let handle = self.directory.get(rng.next_u64());
            let start = rng.below(BUCKETS as u64) as usize;
            for segment in chain(handle) {
                if segment.count() == 0 {
                    continue;
                }
                if visit_bucket_from(segment, start, &mut visit, |_| true) {
                    return;
                }
            }
        }
        if let Some(entry) = self.sample(rng) {
            visit(entry);
        }
    }

    /// The same among keys that have an expiry. Looks at so many segments at most, so it may find none
    /// where such keys are rare; never so where it may look at all of them.
    pub(crate) fn sample_volatile_bucket(
        &self,
        rng: &mut Rng,
        segments_max: usize,
        mut visit: impl FnMut(Entry<'_>),
    ) {
        if self.expiring == 0 {
            return;
        }
        let mut position = rng.next_u64();
        for _ in 0..segments_max.min(self.tally.segments.saturating_add(1)) {
            let handle = self.directory.get(position);
            let start = rng.below(BUCKETS as u64) as usize;
            for segment in chain(handle) {
                if segment.expiring() > 0
                    && visit_bucket_from(segment, start, &mut visit, |e| e.expiry().is_some())
                {
                    return;
                }
            }
            position = super::scan::segment_end(position, handle.depth());
        }
    }

    /// One throw of the dice: every entry has the same chance, and mostly none is hit.
    #[inline]
    fn try_sample(&self, rng: &mut Rng) -> Option<Entry<'_>> {
        let random = rng.next_u64();
        let handle = self.directory.get(random);
        // The low bits: the high ones chose the segment.
        let thinning = self.directory.depth() - handle.depth();
        if random & ((1 << thinning) - 1) != 0 {
            return None;
        }
        let segment = if self.chain_max == 1 {
            // SAFETY: `&self` keeps the segments as they are.
            unsafe { handle.segment() }
        } else {
            chain(handle).nth(rng.below(self.chain_max as u64) as usize)?
        };
        let slot = rng.below(SEGMENT_SLOTS as u64) as usize;
        let (index, slot) = (slot / SLOTS, slot % SLOTS);
        if !segment.bucket(index).occupied().contains(slot) {
            return None;
        }
        // SAFETY: `&self` keeps the entry as it is.
        Some(unsafe { Entry::new(segment.entry(index, slot)) })
    }

    /// The entry at a place in the table's order.
    fn nth(&self, mut n: usize) -> Option<Entry<'_>> {
        for segment in self.directory.iter().flat_map(chain) {
            if n >= segment.count() {
                n -= segment.count();
                continue;
            }
            for index in 0..BUCKETS {
                let mut occupied = segment.bucket(index).occupied();
                if n >= occupied.occupancy() {
                    n -= occupied.occupancy();
                    continue;
                }
                let slot = occupied.nth(n)?;
                // SAFETY: `&self` keeps the entry as it is.
                return Some(unsafe { Entry::new(segment.entry(index, slot)) });
            }
        }
        None
    }
}

/// Visits the first bucket from `start` on that has entries which `wanted` wants.
fn visit_bucket_from(
    segment: &Segment,
    start: usize,
    visit: &mut impl FnMut(Entry<'_>),
    wanted: impl Fn(&Entry<'_>) -> bool,
) -> bool {
    for index in (start..BUCKETS).chain(0..start) {
        segment.prefetch_entries(index);
        let mut any = false;
        for slot in segment.bucket(index).occupied() {
            // SAFETY: the caller's borrow of the table keeps the entry as it is.
            let entry = unsafe { Entry::new(segment.entry(index, slot)) };
            if wanted(&entry) {
                any = true;
                visit(entry);
            }
        }
        if any {
            return true;
        }
    }
    false
}
