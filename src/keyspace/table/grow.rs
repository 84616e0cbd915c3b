//! How a table grows and shrinks: a full segment is compacted or split, a sparse one is compacted
//! or merged with its buddy. One such step moves at most a segment or two of entries.
//!
//! Where a split can't help (hashes that agree in more bits than the directory looks at), the
//! segment gets a further one behind it, a chain. Chains go when their keys do, or with the next
//! split or merge.

use std::ptr::NonNull;

use super::directory::{Directory, Handle};
use super::entry::RawEntry;
use super::scan::segment_end;
use super::segment::{
    BUCKETS, Full, HEAP_GRANULES, SEGMENT_SLOTS, Segment, fingerprint_of, granules, home_of,
};
use super::{Hit, Table};

/// A segment with fewer entries looks for its buddy...
const MERGE_BELOW: usize = 650;
/// ...and joins it if both together have fewer than this: half full, so that the next insertion
/// doesn't split them again...
const MERGED_MAX: usize = SEGMENT_SLOTS * 54 / 100;
/// ...and if their bytes fill no more than half a heap.
const MERGED_GRANULES_MAX: usize = HEAP_GRANULES as usize / 2;
/// How often a sparse segment looks: every so many removals, since looking is a cache miss.
const MERGE_CHECK_EVERY: usize = 16;
/// Holes are worth compacting, after a removal, from so many granules (8 KiB) on...
const COMPACT_DEAD_MIN: u16 = 2048;
/// What a segment holds where a table of small entries has grown by itself, at most: to reserve for
/// fewer a segment would cost memory that such a table doesn't need.
const RESERVED_FILL: usize = SEGMENT_SLOTS * 15 / 16;
/// No more segments are made ahead than two to this: 9 million keys, which takes some milliseconds.
const RESERVED_DEPTH_MAX: u32 = 12;
/// A chain of more segments isn't split: with so many equal hashes that's hopeless and slow.
const SPLIT_CHAIN_MAX: usize = 4;

impl Segment {
    /// Calls `visit` for every entry, bucket by bucket, with the entries of the next bucket on
    /// their way into the cache.
    pub(super) fn for_each(&self, mut visit: impl FnMut(usize, RawEntry)) {
        self.prefetch_entries(0);
        for bucket in 0..BUCKETS {
            if bucket + 1 < BUCKETS {
                self.prefetch_entries(bucket + 1);
            }
            for slot in self.bucket(bucket).occupied() {
                visit(bucket, self.entry(bucket, slot));
            }
        }
    }
}

impl Table {
    /// Finds room for a new entry and makes a slot name it. Grows what has to grow.
    #[inline]
    pub(super) fn make_place(
        &mut self,
        hash: u64,
        granules: u16,
    ) -> (NonNull<Segment>, NonNull<u8>) {
        loop {
            let handle = self.directory.get(hash);
            match self.place_in(handle.pointer(), handle.depth(), hash, granules) {
                Ok(address) => return (handle.pointer(), address),
                Err(full) => {
                    if !self.make_room(hash, full, granules) {
                        return self.place_in_chain(hash, granules);
                    }
                }
            }
        }
    }

    /// Finds room in one segment.
    #[inline]
    fn place_in(
        &mut self,
        mut pointer: NonNull<Segment>,
        depth: u32,
        hash: u64,
        granules: u16,
    ) -> Result<NonNull<u8>, Full> {
        // SAFETY: a live segment, and we hold the table exclusively.
        let segment = unsafe { pointer.as_mut() };
        let spot = segment.vacancy(home_of(hash, depth)).ok_or(Full::Buckets)?;
        let place = segment.allocate(granules, &mut self.tally).ok_or(Full::Heap)?;
        self.mark_new(pointer, spot.bucket, spot.slot);
        segment.occupy(spot, fingerprint_of(hash), place);
        Ok(segment.address(place))
    }

    /// Makes room in a full segment; false if neither compaction nor a split can. Ends: after a
    /// compaction there are no holes, and each split goes a bit deeper.
    #[cold]
    #[inline(never)]
    fn make_room(&mut self, hash: u64, full: Full, granules: u16) -> bool {
        let handle = self.directory.get(hash);
        let mut pointer = handle.pointer();
        // SAFETY: a live segment, and we hold the table exclusively.
        let segment = unsafe { pointer.as_mut() };
        if full == Full::Heap && segment.dead() > segment.bump() / 8 {
            segment.compact(&self.pool, &mut self.tally);
            return true;
        }
        if self.directory.may_split(handle.depth()) && chain_len(handle) <= SPLIT_CHAIN_MAX {
            self.split(hash);
            return true;
        }
        if full == Full::Heap && segment.dead() >= granules {
            segment.compact(&self.pool, &mut self.tally);
            return true;
        }
        false
    }

    /// Finds room in the chain behind a hash's segment.
    #[cold]
    #[inline(never)]
    fn place_in_chain(&mut self, hash: u64, granules: u16) -> (NonNull<Segment>, NonNull<u8>) {
        let handle = self.directory.get(hash);
        let depth = handle.depth();
        let mut earlier = handle.pointer();
        let mut links = 1;
        loop {
            // SAFETY: a live segment, and we hold the table exclusively.
            let segment = unsafe { earlier.as_mut() };
            segment.bucket_mut(home_of(hash, depth)).add_spilled();
            let mut pointer = segment.next().unwrap_or_else(|| {
                let new = Segment::create(&self.pool, depth, self.epoch, &mut self.tally);
                let new = NonNull::from(new);
                segment.set_next(Some(new));
                new
            });
            links += 1;
            self.chain_max = self.chain_max.max(links);
            let mut placed = self.place_in(pointer, depth, hash, granules);
            // SAFETY: as above.
            let segment = unsafe { pointer.as_mut() };
            if placed == Err(Full::Heap) && segment.dead() >= granules {
                segment.compact(&self.pool, &mut self.tally);
                placed = self.place_in(pointer, depth, hash, granules);
            }
            if let Ok(address) = placed {
                return (pointer, address);
            }
            earlier = pointer;
        }
    }

    /// Parts a segment (with its chain) in two by the next bit of the hash.
    fn split(&mut self, hash: u64) {
        let old = self.directory.get(hash);
        let depth = old.depth();
        self.hand_out_chain(old);
        let mut create =
            || NonNull::from(Segment::create(&self.pool, depth + 1, self.epoch, &mut self.tally));
        let halves = [create(), create()];
        let bit = 63 - depth;
        self.move_chain(old, depth + 1, |hash| halves[(hash >> bit & 1) as usize]);
        self.directory.split(hash, halves);
        self.finish_move(old, &halves);
    }

    /// Joins a segment and its buddy (with their chains).
    fn merge(&mut self, hash: u64, old: Handle, buddy: Handle) {
        let depth = old.depth();
        self.hand_out_chain(old);
        self.hand_out_chain(buddy);
        let merged = Segment::create(&self.pool, depth - 1, self.epoch, &mut self.tally);
        let merged = NonNull::from(merged);
        self.move_chain(old, depth - 1, |_| merged);
        self.move_chain(buddy, depth - 1, |_| merged);
        self.directory.merge(hash, merged);
        self.destroy_chain(buddy);
        self.finish_move(old, &[merged]);
    }

    /// Copies all entries of a chain to the new segments that `target` names.
    fn move_chain(&mut self, from: Handle, depth: u32, target: impl Fn(u64) -> NonNull<Segment>) {
        let mut next = Some(from.pointer());
        while let Some(pointer) = next {
            // SAFETY: a live segment; only others are changed while it's read.
            let segment = unsafe { pointer.as_ref() };
            segment.for_each(|_, entry| {
                let hash = self.hasher.hash(entry.key());
                self.move_entry(target(hash), depth, hash, entry);
            });
            next = segment.next();
        }
    }

    /// Copies an entry into a segment that isn't in the directory yet, or its chain.
    #[inline]
    fn move_entry(
        &mut self,
        mut pointer: NonNull<Segment>,
        depth: u32,
        hash: u64,
        entry: RawEntry,
    ) {
        let granules = granules(entry.bytes());
        let mut links = 1;
        loop {
            // SAFETY: a live segment that nothing else reads; the entry is in another one.
            let segment = unsafe { pointer.as_mut() };
            let vacancy = segment.vacancy(home_of(hash, depth));
            let room =
                vacancy.and_then(|spot| Some((spot, segment.allocate(granules, &mut self.tally)?)));
            if let Some((spot, place)) = room {
                // SAFETY: the place has room for the entry's bytes, and segments don't overlap.
                unsafe {
                    let to = segment.address(place);
                    to.copy_from_nonoverlapping(entry.start(), entry.bytes());
                }
                segment.occupy(spot, fingerprint_of(hash), place);
                if let Some(expiry) = entry.expiry() {
                    segment.add_expiry(expiry.0);
                }
                return;
            }
            segment.bucket_mut(home_of(hash, depth)).add_spilled();
            pointer = segment.next().unwrap_or_else(|| {
                let new = Segment::create(&self.pool, depth, self.epoch, &mut self.tally);
                let new = NonNull::from(new);
                segment.set_next(Some(new));
                new
            });
            links += 1;
            self.chain_max = self.chain_max.max(links);
        }
    }

    /// Frees the segments that entries were moved from, and the pages that new ones don't need.
    fn finish_move(&mut self, old: Handle, new: &[NonNull<Segment>]) {
        self.destroy_chain(old);
        for &pointer in new {
            let mut next = Some(pointer);
            while let Some(mut pointer) = next {
                // SAFETY: a live segment, and we hold the table exclusively.
                let segment = unsafe { pointer.as_mut() };
                segment.trim(&mut self.tally);
                next = segment.next();
            }
        }
    }

    fn destroy_chain(&mut self, chain: Handle) {
        let mut next = Some(chain.pointer());
        while let Some(mut pointer) = next {
            // SAFETY: the directory no longer names this segment, nor does any chain, and its
            // entries were moved.
            unsafe {
                next = pointer.as_ref().next();
                pointer.as_mut().destroy(&self.pool, &mut self.tally);
            }
        }
    }

    /// Sizes an empty table ahead for so many keys. One that has keys stays as it is.
    pub(crate) fn reserve(&mut self, keys: usize) {
        let mut depth = 0;
        while keys >> depth > RESERVED_FILL && depth < RESERVED_DEPTH_MAX {
            depth += 1;
        }
        let only = self.directory.get(0);
        if depth == 0 || !self.is_empty() || only.depth() > 0 || self.snapshot.is_some() {
            return;
        }
        let (pool, epoch, tally) = (&self.pool, self.epoch, &mut self.tally);
        let create = || NonNull::from(Segment::create(pool, depth, epoch, tally));
        self.directory = Directory::full(depth, std::iter::repeat_with(create).take(1 << depth));
        self.destroy_chain(only);
    }

    /// Merges what is sparse, where a table was made for many more keys than came.
    pub(crate) fn fit(&mut self) {
        if self.len >= self.directory.segments() * MERGED_MAX / 4 {
            return;
        }
        let mut position = 0;
        loop {
            let handle = self.directory.get(position);
            if let Some(buddy) = self.mergeable(position, handle) {
                self.merge(position, handle, buddy);
                continue;
            }
            position = segment_end(position, handle.depth());
            if position == 0 {
                return;
            }
        }
    }

    /// After a removal: gives room back where that is worth it.
    pub(super) fn shrink(&mut self, hash: u64, hit: &Hit) {
        let mut pointer = hit.segment;
        // SAFETY: a live segment, and we hold the table exclusively.
        let segment = unsafe { pointer.as_mut() };
        let handle = self.directory.get(hash);
        if segment.count() == 0 && pointer != handle.pointer() {
            self.unlink(handle, pointer);
            return;
        }
        if segment.count() == 0 {
            segment.trim(&mut self.tally);
        }
        let due = segment.count() < MERGE_BELOW && segment.count() % MERGE_CHECK_EVERY == 0;
        if due && let Some(buddy) = self.mergeable(hash, handle) {
            self.merge(hash, handle, buddy);
            return;
        }
        if segment.dead() > COMPACT_DEAD_MIN && segment.dead() > segment.bump() / 4 {
            segment.compact(&self.pool, &mut self.tally);
        }
    }

    /// The buddy to merge with, if there is one and both fit into one segment with room to spare.
    fn mergeable(&self, hash: u64, handle: Handle) -> Option<Handle> {
        let buddy = self.directory.buddy(hash)?;
        debug_assert!(buddy != handle);
        let ((a, a_live), (b, b_live)) = (chain_load(handle), chain_load(buddy));
        (a + b < MERGED_MAX && a_live + b_live < MERGED_GRANULES_MAX).then_some(buddy)
    }

    /// Takes an empty segment out of its chain.
    fn unlink(&mut self, chain: Handle, mut empty: NonNull<Segment>) {
        let mut earlier = chain.pointer();
        loop {
            // SAFETY: live segments of one chain, and we hold the table exclusively.
            let segment = unsafe { earlier.as_mut() };
            let Some(next) = segment.next() else { unreachable!("the segment is in this chain") };
            if next == empty {
                // SAFETY: nothing names the segment any more after this, and it has no entry.
                unsafe {
                    segment.set_next(empty.as_ref().next());
                    empty.as_mut().destroy(&self.pool, &mut self.tally);
                }
                return;
            }
            earlier = next;
        }
    }
}

/// The segments of a chain.
pub(super) fn chain<'a>(handle: Handle) -> impl Iterator<Item = &'a Segment> {
    // SAFETY: callers hold the table and don't change it while they iterate.
    std::iter::successors(Some(unsafe { handle.segment() }), |segment| {
        // SAFETY: as above.
        segment.next().map(|next| unsafe { next.as_ref() })
    })
}

fn chain_len(handle: Handle) -> usize {
    chain(handle).count()
}

/// Entries of a chain, and the granules they use.
fn chain_load(handle: Handle) -> (usize, usize) {
    chain(handle)
        .fold((0, 0), |(count, live), segment| (count + segment.count(), live + segment.live()))
}
