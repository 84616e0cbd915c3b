//! Walking the table: SCAN's cursor, and all of it at once.
//!
//! A cursor is a position in hash order, so it needs no state here and outlives splits, merges and
//! compactions: each call covers all hashes from its cursor up to the one it returns, so a key that
//! is there throughout is met exactly once. Positions are borders between home buckets; the
//! directory never looks at more than 26 bits, a bucket needs 32 more, so the lowest bit of a
//! position is 0, and the cursor goes out shifted by one: it fits a positive signed number.

use super::directory::{DEPTH_MAX, Handle};
use super::grow::chain;
use super::segment::{BUCKETS, Segment, after, home_of};
use super::{Entry, Table};

/// A call looks at so many buckets for each key it was asked for, found or not...
const BUCKETS_PER_KEY: usize = 10;
/// ...but always at as many as a segment has, so that one call covers a table of one segment that
/// holds fewer keys than were asked for. A segment without keys counts as one bucket.
const BUCKETS_MIN: usize = BUCKETS;

const _: () = assert!(DEPTH_MAX + 32 < 64);

impl Table {
    /// Visits about `count` keys from `cursor` on and returns the next cursor; 0 is both start and
    /// end. A key that is in the table from the first call to the last is visited exactly once,
    /// whatever else changes. Always whole buckets, so it may visit some more than `count`, or
    /// fewer where the table is sparse. A table with fewer keys than `count` in one segment takes one
    /// call.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(Entry<'_>)) -> u64 {
        let mut position = cursor << 1;
        let mut found = 0;
        for _ in 0..count.saturating_mul(BUCKETS_PER_KEY).max(BUCKETS_MIN) {
            let handle = self.directory.get(position);
            if chain(handle).all(|segment| segment.count() == 0) {
                position = segment_end(position, handle.depth());
            } else {
                found += self.visit_home(handle, position, &mut visit);
                position = next_home(position, handle.depth());
            }
            if position == 0 || found >= count {
                break;
            }
        }
        if cursor == 0 && found == self.len {
            // What is behind the last key is empty.
            return 0;
        }
        position >> 1
    }

    /// Visits every key.
    pub fn for_each(&self, mut visit: impl FnMut(Entry<'_>)) {
        for handle in self.directory.iter() {
            for segment in chain(handle) {
                // SAFETY: `&self` keeps the entries as they are.
                segment.for_each(|_, entry| visit(unsafe { Entry::new(entry) }));
            }
        }
    }

    /// Visits the entries that are at home where `position` is, and not before it.
    fn visit_home(
        &self,
        handle: Handle,
        position: u64,
        visit: &mut impl FnMut(Entry<'_>),
    ) -> usize {
        let home = home_of(position, handle.depth());
        let mut found = 0;
        for segment in chain(handle) {
            found += self.visit_probes(segment, home, handle.depth(), position, visit);
            if segment.bucket(home).spilled() == 0 {
                break;
            }
        }
        found
    }

    fn visit_probes(
        &self,
        segment: &Segment,
        home: usize,
        depth: u32,
        position: u64,
        visit: &mut impl FnMut(Entry<'_>),
    ) -> usize {
        let mut found = 0;
        let mut index = home;
        for _ in 0..super::segment::PROBES {
            segment.prefetch_entries(index);
            let bucket = segment.bucket(index);
            for slot in bucket.occupied() {
                let entry = segment.entry(index, slot);
                let hash = self.hasher.hash(entry.key());
                if hash >= position && home_of(hash, depth) == home {
                    // SAFETY: `&self` keeps the entry as it is.
                    visit(unsafe { Entry::new(entry) });
                    found += 1;
                }
            }
            if bucket.overflow() == 0 {
                break;
            }
            index = after(index);
        }
        found
    }
}

/// Where the segment of `position` ends: the first hash of the next one, 0 after the last.
pub(super) fn segment_end(position: u64, depth: u32) -> u64 {
    if depth == 0 {
        return 0;
    }
    let span = 1 << (64 - depth);
    (position & !(span - 1)).wrapping_add(span)
}

/// The first hash of the home bucket after the one of `position`, 0 after the last.
fn next_home(position: u64, depth: u32) -> u64 {
    let home = home_of(position, depth);
    if home + 1 == BUCKETS {
        return segment_end(position, depth);
    }
    let start = if depth == 0 { 0 } else { position & !((1 << (64 - depth)) - 1) };
    let border = ((home as u64 + 1) << 32).div_ceil(BUCKETS as u64);
    start + (border << (32 - depth))
}
