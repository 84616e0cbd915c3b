//! A snapshot of the table as it is at one moment, taken in slices while the table goes on
//! changing.
//!
//! Each entry is handed to the sink once: with its bucket when the walk comes there, or before, by
//! the operation that is about to change it. Marks tell what is done: a bit a bucket in the
//! segment's header, and, in segments that were written to before the walk came, a bit a slot
//! ([`SlotMarks`]), so that a write costs the snapshot one entry and not the twelve or so of its
//! bucket. A segment's header says which snapshot its marks belong to, in 64 bits that never wrap,
//! so marks that an aborted snapshot left behind mean nothing to the next one. New segments are
//! born fully marked: what goes into them is new, or was handed out where it came from. Compaction
//! and access bits are no change.

use std::ptr::NonNull;

use super::directory::Handle;
use super::grow::chain;
use super::scan::segment_end;
use super::segment::{BUCKETS, Segment};
use super::{Entry, Table};
use crate::base::env::UnixMillis;
use crate::data::value::Object;

/// Takes the entries of a snapshot, each exactly once, in no particular order.
pub trait EntrySink: Send {
    /// Whether it reads strings' bytes, or only has them lent.
    fn reads_strings(&self) -> bool {
        true
    }

    /// One entry, as it was when the snapshot began (its access bits may be newer).
    fn entry(&mut self, entry: &Entry<'_>);

    /// One entry that is a collection, with its access bits. It may be frozen, so that it can be
    /// looked at later as it is now; nothing else may be done to it.
    fn object(&mut self, key: &[u8], expiry: Option<UnixMillis>, access: u32, object: &mut Object);
}

/// A snapshot under way.
pub(super) struct Running {
    sink: Box<dyn EntrySink>,
    /// All hashes below this are handed out.
    position: u64,
    /// [`EntrySink::reads_strings`].
    reads_strings: bool,
    /// The marks of the segments that were written to; a segment's header has its place here. At
    /// most half a kilobyte a segment, until the snapshot ends.
    marks: Vec<SlotMarks>,
}

/// The slots of each bucket that the snapshot has, or needn't have, as bits.
type SlotMarks = [u32; BUCKETS];

impl Table {
    /// Starts a snapshot of the table as it is now. An unfinished one is dropped.
    pub fn begin_snapshot(&mut self, sink: Box<dyn EntrySink>) {
        self.epoch += 1;
        let reads_strings = sink.reads_strings();
        self.snapshot = Some(Running { sink, position: 0, reads_strings, marks: Vec::new() });
    }

    /// Whether a snapshot is under way.
    pub fn is_snapshotting(&self) -> bool {
        self.snapshot.is_some()
    }

    /// Hands about `budget` entries to the sink (at least a bucket's). True when the sink has them
    /// all: it's dropped then. True at once when no snapshot is under way.
    pub fn snapshot_slice(&mut self, budget: usize) -> bool {
        let mut cost = 0;
        loop {
            let Some(running) = &mut self.snapshot else { return true };
            let handle = self.directory.get(running.position);
            let mut next = Some(handle.pointer());
            while let Some(mut pointer) = next {
                // SAFETY: a live segment, and we hold the table exclusively.
                let segment = unsafe { pointer.as_mut() };
                while let Some(bucket) = segment.next_unhanded(self.epoch) {
                    if cost >= budget.max(1) {
                        return false;
                    }
                    // An empty bucket costs something too.
                    cost += 1 + hand_bucket(segment, bucket, self.epoch, running);
                }
                next = segment.next();
            }
            // As does a segment that's done already.
            cost += 1;
            running.position = segment_end(running.position, handle.depth());
            if running.position == 0 {
                self.snapshot = None;
                return true;
            }
        }
    }

    /// Drops a snapshot under way, with its sink.
    pub(crate) fn abort_snapshot(&mut self) {
        self.snapshot = None;
    }

    /// To be called before an entry changes or goes.
    #[inline(always)]
    pub(super) fn hand_out(&mut self, segment: NonNull<Segment>, bucket: usize, slot: usize) {
        if self.snapshot.is_some() {
            self.hand_out_now(segment, bucket, slot);
        }
    }

    #[cold]
    #[inline(never)]
    fn hand_out_now(&mut self, mut pointer: NonNull<Segment>, bucket: usize, slot: usize) {
        let Some(running) = &mut self.snapshot else { return };
        // SAFETY: a live segment, and we hold the table exclusively.
        let segment = unsafe { pointer.as_mut() };
        if running.mark_slot(segment, bucket, slot, self.epoch) {
            hand_slot(segment, bucket, slot, running);
        }
    }

    /// To be called before a new entry takes a slot, which the snapshot is to pass over.
    #[inline(always)]
    pub(super) fn mark_new(&mut self, mut segment: NonNull<Segment>, bucket: usize, slot: usize) {
        if let Some(running) = &mut self.snapshot {
            // SAFETY: a live segment, and we hold the table exclusively.
            running.mark_slot(unsafe { segment.as_mut() }, bucket, slot, self.epoch);
        }
    }

    /// To be called before the entries of a chain move to other segments.
    pub(super) fn hand_out_chain(&mut self, handle: Handle) {
        let Some(running) = &mut self.snapshot else { return };
        let mut next = Some(handle.pointer());
        while let Some(mut pointer) = next {
            // SAFETY: a live segment, and we hold the table exclusively.
            let segment = unsafe { pointer.as_mut() };
            while let Some(bucket) = segment.next_unhanded(self.epoch) {
                hand_bucket(segment, bucket, self.epoch, running);
            }
            next = segment.next();
        }
        debug_assert!(chain(handle).all(|s| s.next_unhanded(self.epoch).is_none()));
    }
}

impl Running {
    /// Marks a slot; says whether its entry is still to be handed out.
    fn mark_slot(&mut self, segment: &mut Segment, bucket: usize, slot: usize, epoch: u64) -> bool {
        if segment.is_handed(bucket, epoch) {
            return false;
        }
        let place = segment.slot_marks_or(self.marks.len(), epoch);
        if place == self.marks.len() {
            self.marks.push([0; BUCKETS]);
        }
        let marks = &mut self.marks[place][bucket];
        let fresh = *marks >> slot & 1 == 0;
        *marks |= 1 << slot;
        fresh
    }
}

/// Hands out what is left of a bucket; says how many entries that were.
fn hand_bucket(segment: &mut Segment, bucket: usize, epoch: u64, running: &mut Running) -> usize {
    if !segment.mark_handed(bucket, epoch) {
        return 0;
    }
    let done = segment.slot_marks().map_or(0, |place| running.marks[place][bucket]);
    let left = segment.bucket(bucket).occupied().without(done);
    // Two loads stand between a slot and its value, and neither is in the cache: the entries of the
    // next bucket come while this one is copied, and the beginnings of a whole bucket's values at the same time, and
    // of each value the rest while the one before is copied.
    segment.prefetch_slots(bucket, left.clone());
    for slot in left.clone() {
        segment.entry(bucket, slot).prefetch_value(running.reads_strings);
    }
    if bucket + 1 < BUCKETS {
        segment.prefetch_entries(bucket + 1);
    }
    let handed = left.occupancy();
    let mut ahead = left.clone().skip(1);
    for slot in left {
        if let Some(next) = ahead.next()
            && running.reads_strings
        {
            segment.entry(bucket, next).prefetch_rest();
        }
        hand_slot(segment, bucket, slot, running);
    }
    handed
}

/// Hands one entry out.
fn hand_slot(segment: &mut Segment, bucket: usize, slot: usize, running: &mut Running) {
    let raw = segment.entry(bucket, slot);
    // SAFETY: we hold the table exclusively. What is taken out is put back before any other code
    // looks at the entry, whose key and expiry stay as they are.
    if let Some(mut object) = unsafe { raw.take_object() } {
        running.sink.object(raw.key(), raw.expiry(), raw.access(), &mut object);
        // SAFETY: as above.
        unsafe { raw.put_object(object) };
    } else {
        // SAFETY: nothing changes the entry while the sink looks at it.
        running.sink.entry(&unsafe { Entry::new(raw) });
    }
}
