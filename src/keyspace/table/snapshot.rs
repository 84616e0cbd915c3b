//! A snapshot of the table as it is at one moment, taken in slices while the table goes on
//! changing.
//!
//! Each bucket is handed to the sink once: by the walk when it comes there, or before, by the
//! operation that is about to change something in it. A segment's header says which snapshot its marks belong to,
//! in 64 bits that never wrap, so marks that an aborted snapshot left behind mean nothing to the
//! next one. New segments are born fully marked: what goes into them is new, or was handed out
//! where it came from. Compaction and access bits are no change.

use std::ptr::NonNull;

use super::directory::Handle;
use super::grow::chain;
use super::scan::segment_end;
use super::segment::Segment;
use super::{Entry, Table};
use crate::base::env::UnixMillis;
use crate::data::value::Object;

/// Takes the entries of a snapshot, each exactly once, in no particular order.
pub trait EntrySink: Send {
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
}

impl Table {
    /// Starts a snapshot of the table as it is now. An unfinished one is dropped.
    pub fn begin_snapshot(&mut self, sink: Box<dyn EntrySink>) {
        self.epoch += 1;
        self.snapshot = Some(Running { sink, position: 0 });
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
    pub fn abort_snapshot(&mut self) {
        self.snapshot = None;
    }

    /// To be called before anything in a bucket changes.
    #[inline(always)]
    pub(super) fn hand_out(&mut self, segment: NonNull<Segment>, bucket: usize) {
        if self.snapshot.is_some() {
            self.hand_out_now(segment, bucket);
        }
    }

    #[cold]
    #[inline(never)]
    fn hand_out_now(&mut self, mut pointer: NonNull<Segment>, bucket: usize) {
        let Some(running) = &mut self.snapshot else { return };
        // SAFETY: a live segment, and we hold the table exclusively.
        hand_bucket(unsafe { pointer.as_mut() }, bucket, self.epoch, running);
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

/// Hands a bucket's entries out unless that was done; says how many there were.
fn hand_bucket(segment: &mut Segment, bucket: usize, epoch: u64, running: &mut Running) -> usize {
    if !segment.mark_handed(bucket, epoch) {
        return 0;
    }
    segment.prefetch_entries(bucket);
    let mut handed = 0;
    for slot in segment.bucket(bucket).occupied() {
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
        handed += 1;
    }
    handed
}
