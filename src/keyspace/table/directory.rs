//! The directory: which segment holds the keys of a hash.
//!
//! The top `depth` bits of a hash are the index. A segment whose hashes share fewer bits than that
//! stands in several entries side by side: `1 << (depth - its own depth)` of them, aligned to as
//! many. An entry is one word: a segment's address is a multiple of 256 KiB, and the segment's own
//! depth is in the low bits, so that a lookup knows the bucket without touching the segment's
//! header.

use std::ptr::NonNull;

use super::pool::FRAME_BYTES;
use super::segment::Segment;
use crate::base::prefetch::prefetch;

/// Most bits of a hash that the directory looks at: 64 M segments. It also keeps bucket borders on
/// even hashes, which the SCAN cursor relies on.
pub(super) const DEPTH_MAX: u32 = 26;
/// The directory may always grow to this many entries...
const SPARSE_ENTRIES: usize = 1024;
/// ...and beyond only while it has at most so many entries a segment. Good hashes need 2 to 4;
/// with bad ones a split parts nothing, and doubling would eat all memory.
const ENTRIES_PER_SEGMENT: usize = 16;

/// A segment and its depth, in one word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Handle(NonNull<u8>);

const _: () = assert!((DEPTH_MAX as usize) < FRAME_BYTES);

impl Handle {
    pub(super) fn new(segment: NonNull<Segment>, depth: u32) -> Self {
        debug_assert!(depth <= DEPTH_MAX && segment.addr().get().is_multiple_of(FRAME_BYTES));
        Self(segment.cast::<u8>().map_addr(|address| address | depth as usize))
    }

    #[inline(always)]
    pub(super) fn depth(self) -> u32 {
        (self.0.addr().get() & (FRAME_BYTES - 1)) as u32
    }

    #[inline(always)]
    pub(super) fn pointer(self) -> NonNull<Segment> {
        let start = self.0.as_ptr().map_addr(|address| address & !(FRAME_BYTES - 1));
        // SAFETY: the address had a segment's bits above the low ones, so it isn't null.
        unsafe { NonNull::new_unchecked(start.cast()) }
    }

    /// The segment, to be read.
    ///
    /// # Safety
    /// The segment must be alive and unchanged for `'a`.
    #[inline(always)]
    pub(super) unsafe fn segment<'a>(self) -> &'a Segment {
        // SAFETY: the caller's promise.
        unsafe { self.pointer().as_ref() }
    }
}

/// See the head of this file.
pub(super) struct Directory {
    entries: Vec<Handle>,
    depth: u32,
    /// How many segments have each depth.
    at_depth: [usize; DEPTH_MAX as usize + 1],
    segments: usize,
}

impl Directory {
    /// A directory of one segment, of depth 0.
    pub(super) fn new(segment: NonNull<Segment>) -> Self {
        let mut at_depth = [0; DEPTH_MAX as usize + 1];
        at_depth[0] = 1;
        Self { entries: vec![Handle::new(segment, 0)], depth: 0, at_depth, segments: 1 }
    }

    /// A directory of `1 << depth` segments, each of that depth, in hash order.
    pub(super) fn full(depth: u32, segments: impl Iterator<Item = NonNull<Segment>>) -> Self {
        let entries: Vec<Handle> = segments.map(|segment| Handle::new(segment, depth)).collect();
        debug_assert_eq!(entries.len(), 1 << depth);
        let mut at_depth = [0; DEPTH_MAX as usize + 1];
        at_depth[depth as usize] = entries.len();
        let segments = entries.len();
        Self { entries, depth, at_depth, segments }
    }

    #[inline(always)]
    fn index(&self, hash: u64) -> usize {
        // Two shifts, because shifting by 64 (depth 0) isn't defined.
        (hash >> 1 >> (63 - self.depth)) as usize
    }

    /// The segment of a hash.
    #[inline(always)]
    pub(super) fn get(&self, hash: u64) -> Handle {
        let index = self.index(hash);
        debug_assert!(index < self.entries.len());
        // SAFETY: `index` has `depth` bits, and there are `1 << depth` entries.
        unsafe { *self.entries.get_unchecked(index) }
    }

    /// How many segments there are, chains counted once.
    pub(super) fn segments(&self) -> usize {
        self.segments
    }

    /// Asks for the cache line of a hash's entry.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        prefetch((&raw const self.entries[self.index(hash)]).cast());
    }

    pub(super) fn depth(&self) -> u32 {
        self.depth
    }

    pub(super) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Handle>()
    }

    /// All segments in hash order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Handle> + '_ {
        let mut index = 0;
        std::iter::from_fn(move || {
            let handle = *self.entries.get(index)?;
            index += 1 << (self.depth - handle.depth());
            Some(handle)
        })
    }

    /// The segment beside this one that a merge would join it with, if that isn't split further.
    pub(super) fn buddy(&self, hash: u64) -> Option<Handle> {
        let depth = self.get(hash).depth();
        let bit = 1_u64.checked_shl(64 - depth)?;
        let buddy = self.get(hash ^ bit);
        (buddy.depth() == depth).then_some(buddy)
    }

    /// Whether a segment of this depth may be split.
    pub(super) fn may_split(&self, depth: u32) -> bool {
        depth < self.depth
            || (depth < DEPTH_MAX
                && (self.entries.len() < SPARSE_ENTRIES
                    || self.entries.len() < ENTRIES_PER_SEGMENT * self.segments))
    }

    /// Puts two segments where one was, doubling the directory where it has to.
    pub(super) fn split(&mut self, hash: u64, [low, high]: [NonNull<Segment>; 2]) {
        let depth = self.get(hash).depth();
        debug_assert!(depth < DEPTH_MAX);
        if depth == self.depth {
            let mut doubled = Vec::with_capacity(self.entries.len() * 2);
            doubled.extend(self.entries.iter().flat_map(|&handle| [handle, handle]));
            self.entries = doubled;
            self.depth += 1;
        }
        let span = 1 << (self.depth - depth);
        let first = self.index(hash) & !(span - 1);
        let (lows, highs) = self.entries[first..first + span].split_at_mut(span / 2);
        lows.fill(Handle::new(low, depth + 1));
        highs.fill(Handle::new(high, depth + 1));
        self.at_depth[depth as usize] -= 1;
        self.at_depth[depth as usize + 1] += 2;
        self.segments += 1;
    }

    /// Puts one segment where two buddies were, halving the directory where that's due.
    pub(super) fn merge(&mut self, hash: u64, merged: NonNull<Segment>) {
        let depth = self.get(hash).depth();
        debug_assert!(depth > 0);
        let span = 2 << (self.depth - depth);
        let first = self.index(hash) & !(span - 1);
        self.entries[first..first + span].fill(Handle::new(merged, depth - 1));
        self.at_depth[depth as usize] -= 2;
        self.at_depth[depth as usize - 1] += 1;
        self.segments -= 1;
        // Not as soon as it could: the next split would double it again.
        while self.depth > 0
            && self.at_depth[self.depth as usize] == 0
            && self.at_depth[self.depth as usize - 1] <= self.entries.len() / 8
        {
            self.entries = self.entries.iter().copied().step_by(2).collect();
            self.depth -= 1;
        }
    }
}
