//! A segment: the keys of one stretch of the hash space, buckets and entries together, in one frame
//! of the pool.
//!
//! ```text
//! 0         320                     8192                                      256 KiB
//! | header  | 123 buckets of 64 B   | heap: entries and holes, granules of 4 B |
//!                                    ^ grows up to `bump`; pages beyond don't exist yet
//! ```
//!
//! An entry's home bucket follows from its hash, monotonously: scanning home buckets in order is
//! scanning in hash order. An entry whose home is full stands in one of the next three.
//!
//! The heap is a bump allocator with a free list for each size in granules (a hole's first two
//! bytes link to the next one of its size). Holes are not joined; compaction joins them all.
//!
//! A segment may have a *next* one, which takes what fits neither here nor into a split: keys whose
//! hashes agree in so many bits that no directory could part them. That never happens with a good
//! hash; it's here so that a bad one costs time and not the server. A bucket counts the keys at
//! home in it that were sent on (`spilled`).

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::bucket::{Bucket, SLOTS, Slots};
use super::entry::{ENTRY_BYTES_MAX, RawEntry};
use super::pool::{FRAME_BYTES, Frame, PAGE_BYTES, Pool};
use crate::base::prefetch::prefetch;

/// Buckets in a segment: header and buckets fill two pages.
pub(super) const BUCKETS: usize = 123;
/// Most entries in a segment.
pub(super) const SEGMENT_SLOTS: usize = BUCKETS * SLOTS;
/// Buckets a lookup may touch.
pub(super) const PROBES: usize = 4;
/// The heap's unit.
const GRANULE: usize = 4;
const HEAP_AT: usize = 8192;
const HEAP_BYTES: usize = FRAME_BYTES - HEAP_AT;
/// The heap's length in granules; all offsets fit 16 bits.
pub(super) const HEAP_GRANULES: u16 = (HEAP_BYTES / GRANULE) as u16;
/// Free lists: sizes below this many granules.
const CLASSES: usize = 124;
/// The smallest rest worth keeping when a hole is cut; no entry is smaller.
const REST_MIN: usize = 2;
const PAGE_GRANULES: u16 = (PAGE_BYTES / GRANULE) as u16;
/// All buckets of a segment, as bits.
const ALL_BUCKETS: u128 = (1 << BUCKETS) - 1;

const _: () = assert!(HEAP_BYTES / GRANULE < u16::MAX as usize);
const _: () = assert!(ENTRY_BYTES_MAX.div_ceil(GRANULE) < CLASSES);
const _: () = assert!(size_of::<Segment>() == FRAME_BYTES);
const _: () = assert!(size_of::<Header>() == 320);
const _: () = assert!(std::mem::offset_of!(Segment, heap) == HEAP_AT);

/// The figures of one segment; the first cache line holds all that a change needs.
#[repr(C, align(64))]
struct Header {
    /// Entries here.
    count: u16,
    /// Entries here that have an expiry.
    expiring: u16,
    /// Granules of the heap in use or in holes.
    bump: u16,
    /// Granules in holes.
    dead: u16,
    /// Pages from the segment's start that have been touched.
    pages: u16,
    /// How many leading bits all hashes here share.
    depth: u8,
    /// Where the snapshot `epoch` keeps the marks of this segment's slots, plus one; 0 if it has
    /// none.
    slot_marks: u32,
    /// No entry here expires before this; `i64::MAX` if none does.
    earliest: i64,
    /// The snapshot that `handed` is about.
    epoch: u64,
    /// Which sizes have holes.
    holes: u128,
    /// The buckets whose entries that snapshot has, or needn't have.
    handed: u128,
    /// The next segment for the same hashes.
    next: Option<NonNull<Segment>>,
    /// The first hole of each size, plus one; 0 if there is none.
    heads: [u16; CLASSES],
}

/// See the head of this file.
#[repr(C, align(4096))]
pub(super) struct Segment {
    header: Header,
    buckets: [Bucket; BUCKETS],
    heap: UnsafeCell<MaybeUninit<[u8; HEAP_BYTES]>>,
}

/// What a table counts over all its segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Segments, those in chains included.
    pub(super) segments: usize,
    /// Pages that segments have touched.
    pub(super) pages: usize,
    /// Heap blocks that entries own.
    pub(super) owned_blocks: usize,
    /// Their bytes.
    pub(super) owned_bytes: usize,
}

/// An entry's whereabouts in a segment.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    pub(super) home: usize,
    pub(super) bucket: usize,
    pub(super) slot: usize,
}

/// Why a segment couldn't take an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// All slots that a lookup would look at are taken.
    Buckets,
    /// There's no room for the bytes, or only on a page that compaction would save.
    Heap,
}

/// The bucket where a hash is at home, in a segment whose hashes share `depth` bits.
#[inline(always)]
pub(super) fn home_of(hash: u64, depth: u32) -> usize {
    ((((hash << depth) >> 32) * BUCKETS as u64) >> 32) as usize
}

/// The byte by which a bucket tells its entries apart; never 0.
#[inline(always)]
pub(super) fn fingerprint_of(hash: u64) -> u8 {
    (hash as u8).max(1)
}

/// An entry's length in granules.
#[inline(always)]
pub(super) fn granules(bytes: usize) -> u16 {
    bytes.div_ceil(GRANULE) as u16
}

impl Segment {
    /// Makes a segment of a frame. `epoch` is the running snapshot's: what comes into a new
    /// segment is either new or was handed out where it came from.
    pub(super) fn create<'a>(
        pool: &Pool,
        depth: u32,
        epoch: u64,
        tally: &mut Tally,
    ) -> &'a mut Self {
        let frame = pool.take();
        let mut start = frame.start.cast::<Self>();
        // SAFETY: the frame is as large and as aligned as a segment, and ours alone. All zeros is
        // a valid segment (no entry, no hole, no next), and a frame without touched pages is all
        // zeros. Beyond header and buckets there is only the heap, which needs no initial value.
        let segment = unsafe {
            if frame.touched_pages > 0 {
                start.cast::<u8>().write_bytes(0, HEAP_AT);
            }
            start.as_mut()
        };
        segment.header.depth = depth as u8;
        segment.header.pages = frame.touched_pages.max((HEAP_AT / PAGE_BYTES) as u16);
        segment.header.earliest = i64::MAX;
        segment.header.epoch = epoch;
        segment.header.handed = ALL_BUCKETS;
        tally.segments += 1;
        tally.pages += usize::from(segment.header.pages);
        segment
    }

    /// Gives the segment's frame back. What its entries own must be gone or elsewhere.
    ///
    /// # Safety
    /// Nothing may use the segment afterwards.
    pub(super) unsafe fn destroy(&mut self, pool: &Pool, tally: &mut Tally) {
        tally.segments -= 1;
        tally.pages -= usize::from(self.header.pages);
        let touched_pages = self.header.pages;
        pool.give(Frame { start: NonNull::from(self).cast(), touched_pages });
    }

    pub(super) fn count(&self) -> usize {
        usize::from(self.header.count)
    }

    pub(super) fn expiring(&self) -> usize {
        usize::from(self.header.expiring)
    }

    pub(super) fn earliest(&self) -> i64 {
        self.header.earliest
    }

    pub(super) fn set_earliest(&mut self, earliest: i64) {
        self.header.earliest = earliest;
    }

    #[inline(always)]
    pub(super) fn next(&self) -> Option<NonNull<Self>> {
        self.header.next
    }

    pub(super) fn set_next(&mut self, next: Option<NonNull<Self>>) {
        self.header.next = next;
    }

    pub(super) fn dead(&self) -> u16 {
        self.header.dead
    }

    pub(super) fn bump(&self) -> u16 {
        self.header.bump
    }

    /// Granules that entries use.
    pub(super) fn live(&self) -> usize {
        usize::from(self.header.bump - self.header.dead)
    }

    #[inline(always)]
    pub(super) fn bucket(&self, index: usize) -> &Bucket {
        &self.buckets[index]
    }

    pub(super) fn bucket_mut(&mut self, index: usize) -> &mut Bucket {
        &mut self.buckets[index]
    }

    /// Notes that an entry with an expiry has come.
    pub(super) fn add_expiry(&mut self, at: i64) {
        self.header.expiring += 1;
        self.header.earliest = self.header.earliest.min(at);
    }

    /// Notes that an entry with an expiry has gone. The bound stays a bound.
    pub(super) fn drop_expiry(&mut self) {
        debug_assert!(self.header.expiring > 0);
        self.header.expiring -= 1;
        if self.header.expiring == 0 {
            self.header.earliest = i64::MAX;
        }
    }

    #[inline(always)]
    fn heap_start(&self) -> NonNull<u8> {
        // SAFETY: the cell is part of the segment, so its address isn't null.
        unsafe { NonNull::new_unchecked(self.heap.get().cast::<u8>()) }
    }

    /// The address of a place in the heap.
    #[inline(always)]
    pub(super) fn address(&self, place: u16) -> NonNull<u8> {
        // A place is a u16 of granules, and the whole range of addresses below stays in or just
        // behind the heap; buckets only hold places below `bump`.
        debug_assert!(place < HEAP_GRANULES);
        // SAFETY: the heap is HEAP_GRANULES granules long.
        unsafe { self.heap_start().add(usize::from(place) * GRANULE) }
    }

    /// The entry in an occupied slot.
    #[inline(always)]
    pub(super) fn entry(&self, bucket: usize, slot: usize) -> RawEntry {
        let place = self.buckets[bucket].place(slot);
        // SAFETY: an occupied slot's place holds a well-formed entry (the segment's invariant).
        unsafe { RawEntry::new(self.address(place)) }
    }

    /// Looks for a key here (not in the next segment).
    #[inline(always)]
    pub(super) fn find(
        &self,
        home: usize,
        fingerprint: u8,
        key: &[u8],
    ) -> Option<(Spot, RawEntry)> {
        let mut index = home;
        for _ in 0..PROBES {
            let bucket = &self.buckets[index];
            for slot in bucket.matches(fingerprint) {
                let entry = self.entry(index, slot);
                if entry.key() == key {
                    return Some((Spot { home, bucket: index, slot }, entry));
                }
            }
            if bucket.overflow() == 0 {
                return None;
            }
            index = after(index);
        }
        None
    }

    /// A vacant slot where a lookup from `home` would look.
    #[inline]
    pub(super) fn vacancy(&self, home: usize) -> Option<Spot> {
        let mut bucket = home;
        for _ in 0..PROBES {
            if let Some(slot) = self.buckets[bucket].vacancy() {
                return Some(Spot { home, bucket, slot });
            }
            bucket = after(bucket);
        }
        None
    }

    /// Fills the slot that [`Segment::vacancy`] gave.
    #[inline]
    pub(super) fn occupy(&mut self, spot: Spot, fingerprint: u8, place: u16) {
        self.buckets[spot.bucket].fill(spot.slot, fingerprint, place);
        let mut passed = spot.home;
        while passed != spot.bucket {
            self.buckets[passed].add_overflow();
            passed = after(passed);
        }
        self.header.count += 1;
    }

    /// Empties a slot and frees its `granules`.
    #[inline]
    pub(super) fn release(&mut self, spot: Spot, granules: u16) {
        let place = self.buckets[spot.bucket].place(spot.slot);
        self.free(place, granules);
        self.buckets[spot.bucket].vacate(spot.slot);
        let mut passed = spot.home;
        while passed != spot.bucket {
            self.buckets[passed].drop_overflow();
            passed = after(passed);
        }
        self.header.count -= 1;
        if self.header.count == 0 {
            self.reset_heap();
        }
    }

    // ---- the heap

    /// Room for an entry.
    #[inline]
    pub(super) fn allocate(&mut self, granules: u16, tally: &mut Tally) -> Option<u16> {
        let size = usize::from(granules);
        if self.header.heads[size] != 0 {
            let place = self.pop_hole(size);
            self.header.dead -= granules;
            return Some(place);
        }
        let (bump, dead) = (self.header.bump, self.header.dead);
        if dead > bump / 16 {
            let cut = self.cut_hole(size);
            if cut.is_some() {
                return cut;
            }
            // Rather compact than touch a page more.
            let new_page = bump % PAGE_GRANULES + granules >= PAGE_GRANULES;
            if new_page && dead > bump / 6 && dead > PAGE_GRANULES {
                return None;
            }
        }
        if granules <= HEAP_GRANULES - bump {
            self.header.bump = bump + granules;
            self.note_pages(tally);
            return Some(bump);
        }
        self.cut_hole(size)
    }

    /// Counts the pages that the heap has grown onto.
    #[inline]
    fn note_pages(&mut self, tally: &mut Tally) {
        let pages = self.pages_needed();
        if pages > self.header.pages {
            tally.pages += usize::from(pages - self.header.pages);
            self.header.pages = pages;
        }
    }

    fn pages_needed(&self) -> u16 {
        (HEAP_AT + usize::from(self.header.bump) * GRANULE).div_ceil(PAGE_BYTES) as u16
    }

    /// Gives room back.
    #[inline]
    pub(super) fn free(&mut self, place: u16, granules: u16) {
        if place + granules == self.header.bump {
            self.header.bump = place;
            return;
        }
        self.header.dead += granules;
        self.push_hole(place, usize::from(granules));
    }

    #[inline]
    fn push_hole(&mut self, place: u16, size: usize) {
        let link = self.address(place).cast::<u16>();
        // SAFETY: a hole is at least a granule long, in the heap, aligned to a granule, and no
        // entry is there any more.
        unsafe { link.write(self.header.heads[size]) };
        self.header.heads[size] = place + 1;
        self.header.holes |= 1 << size;
    }

    #[inline]
    fn pop_hole(&mut self, size: usize) -> u16 {
        let place = self.header.heads[size] - 1;
        // SAFETY: the list holds holes only, and `push_hole` wrote the link.
        let next = unsafe { self.address(place).cast::<u16>().read() };
        self.header.heads[size] = next;
        if next == 0 {
            self.header.holes &= !(1 << size);
        }
        place
    }

    /// Takes the room from a larger hole.
    fn cut_hole(&mut self, size: usize) -> Option<u16> {
        let larger = self.header.holes >> (size + REST_MIN);
        if larger == 0 {
            return None;
        }
        let found = size + REST_MIN + larger.trailing_zeros() as usize;
        let place = self.pop_hole(found);
        self.push_hole(place + size as u16, found - size);
        self.header.dead -= size as u16;
        Some(place)
    }

    fn reset_heap(&mut self) {
        self.header.bump = 0;
        self.header.dead = 0;
        self.header.holes = 0;
        self.header.heads = [0; CLASSES];
    }

    /// Joins all holes: the heap is copied to a spare frame and comes back without them. Slots stay
    /// where they are, so this isn't a change that a snapshot or a scan could see.
    pub(super) fn compact(&mut self, pool: &Pool, tally: &mut Tally) {
        let mut spare = pool.take();
        let used = usize::from(self.header.bump) * GRANULE;
        // SAFETY: both ranges are heaps of `used` bytes at least; the spare frame is ours.
        let copy = unsafe {
            let copy = spare.start.add(HEAP_AT);
            copy.copy_from_nonoverlapping(self.heap_start(), used);
            copy
        };
        spare.touched_pages = spare.touched_pages.max(self.pages_needed());
        self.reset_heap();
        for index in 0..BUCKETS {
            for slot in self.buckets[index].occupied() {
                let old = usize::from(self.buckets[index].place(slot)) * GRANULE;
                // SAFETY: the copy holds a well-formed entry where the heap had one. There is room
                // for it again, since the entries' lengths sum up to no more than before.
                unsafe {
                    let entry = RawEntry::new(copy.add(old));
                    let place = self.header.bump;
                    self.header.bump += granules(entry.bytes());
                    self.address(place).copy_from_nonoverlapping(entry.start(), entry.bytes());
                    self.buckets[index].set_place(slot, place);
                }
            }
        }
        pool.give(spare);
        self.trim(tally);
    }

    /// Gives pages beyond the heap's end back to the kernel.
    pub(super) fn trim(&mut self, tally: &mut Tally) {
        let mut frame =
            Frame { start: NonNull::from(&mut *self).cast(), touched_pages: self.header.pages };
        frame.trim(self.pages_needed());
        tally.pages -= usize::from(self.header.pages - frame.touched_pages);
        self.header.pages = frame.touched_pages;
    }

    /// All holes, with their sizes.
    #[cfg(test)]
    pub(super) fn all_holes(&self) -> Vec<(u16, u16)> {
        let mut holes = Vec::new();
        for (size, &head) in self.header.heads.iter().enumerate() {
            let mut link = head;
            assert_eq!(link != 0, self.header.holes >> size & 1 != 0);
            while link != 0 {
                holes.push((link - 1, size as u16));
                // SAFETY: the list holds holes only, and `push_hole` wrote the link.
                link = unsafe { self.address(link - 1).cast::<u16>().read() };
            }
        }
        holes
    }

    /// Pages touched so far.
    #[cfg(test)]
    pub(super) fn pages(&self) -> usize {
        usize::from(self.header.pages)
    }

    #[cfg(test)]
    pub(super) fn depth(&self) -> u32 {
        u32::from(self.header.depth)
    }

    // ---- the snapshot's marks

    /// Forgets the marks of an earlier snapshot than `epoch`.
    #[inline]
    fn begin_marks(&mut self, epoch: u64) {
        if self.header.epoch != epoch {
            self.header.epoch = epoch;
            self.header.handed = 0;
            self.header.slot_marks = 0;
        }
    }

    /// Whether snapshot `epoch` has all of a bucket.
    #[inline]
    pub(super) fn is_handed(&self, bucket: usize, epoch: u64) -> bool {
        self.header.epoch == epoch && self.header.handed >> bucket & 1 != 0
    }

    /// Where snapshot `epoch` keeps this segment's marks: from now on at `place` if it had none.
    #[inline]
    pub(super) fn slot_marks_or(&mut self, place: usize, epoch: u64) -> usize {
        self.begin_marks(epoch);
        if self.header.slot_marks == 0 {
            // Segments of 256 KiB in 47 bits of address space: their number fits.
            self.header.slot_marks = place as u32 + 1;
        }
        self.header.slot_marks as usize - 1
    }

    /// Where the snapshot that this segment's marks belong to keeps those of its slots.
    #[inline]
    pub(super) fn slot_marks(&self) -> Option<usize> {
        (self.header.slot_marks as usize).checked_sub(1)
    }

    /// Marks a bucket as handed out to snapshot `epoch`; says whether it was still to be done.
    #[inline]
    pub(super) fn mark_handed(&mut self, bucket: usize, epoch: u64) -> bool {
        self.begin_marks(epoch);
        let bit = 1 << bucket;
        let fresh = self.header.handed & bit == 0;
        self.header.handed |= bit;
        fresh
    }

    /// The first bucket that snapshot `epoch` still needs.
    pub(super) fn next_unhanded(&self, epoch: u64) -> Option<usize> {
        if self.header.epoch != epoch {
            return Some(0);
        }
        let bucket = self.header.handed.trailing_ones() as usize;
        (bucket < BUCKETS).then_some(bucket)
    }

    // ---- the processor's cache

    /// Asks for the header's first cache line.
    #[inline(always)]
    pub(super) fn prefetch_header(&self) {
        prefetch((&raw const *self).cast());
    }

    /// Asks for a bucket.
    #[inline(always)]
    pub(super) fn prefetch_bucket(&self, bucket: usize) {
        prefetch((&raw const self.buckets[bucket]).cast());
    }

    /// Asks for the entry that a lookup would compare first, both its cache lines.
    #[inline(always)]
    pub(super) fn prefetch_match(&self, home: usize, fingerprint: u8) {
        let mut index = home;
        let mut matches = self.buckets[home].matches(fingerprint);
        if matches.is_empty() {
            if self.buckets[home].overflow() == 0 {
                return;
            }
            // The next bucket's line is the neighbour that the processor fetches by itself.
            index = after(home);
            matches = self.buckets[index].matches(fingerprint);
        }
        if let Some(slot) = matches.next() {
            let entry = self.entry(index, slot).start().as_ptr();
            prefetch(entry);
            prefetch(entry.wrapping_add(39));
        }
    }

    /// Asks for all entries of a bucket.
    pub(super) fn prefetch_entries(&self, bucket: usize) {
        self.prefetch_slots(bucket, self.buckets[bucket].occupied());
    }

    /// Asks for these entries of a bucket.
    pub(super) fn prefetch_slots(&self, bucket: usize, slots: Slots) {
        for slot in slots {
            prefetch(self.entry(bucket, slot).start().as_ptr());
        }
    }
}

/// The bucket after this one, in a ring.
#[inline(always)]
pub(super) fn after(bucket: usize) -> usize {
    if bucket + 1 == BUCKETS { 0 } else { bucket + 1 }
}
