//! Finding keys that are due to expire, without a second dictionary: each segment knows a time
//! before which none of its keys expires, so most segments cost a look at their header.

use crate::base::env::UnixMillis;

use super::directory::Handle;
use super::grow::chain;
use super::scan::segment_end;
use super::{Entry, Table};

/// What one [`Table::expire_step`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpireProgress {
    /// Segments looked at.
    pub segments: usize,
    /// Segments walked, since something in them might have been due.
    pub opened: usize,
    /// Due keys found.
    pub due: usize,
    /// Keys seen that have an expiry in the future...
    pub waiting: usize,
    /// ...and the sum of the time they have left, for an estimate of the average.
    pub(crate) waiting_ms: u64,
    /// Whether the step came to the table's end; the next one starts over.
    pub finished: bool,
}

impl Table {
    /// Goes on through the table in hash order and calls `found` with keys that are due. Looks at
    /// up to `segments_max` segments (a cache miss each, more where something is due), and ends
    /// with the bucket in which it has found `keys_max` keys. The caller must remove the keys, or
    /// change their expiry, before the next step: a later step passes by what an earlier one has
    /// found.
    pub fn expire_step(
        &mut self,
        now: UnixMillis,
        segments_max: usize,
        keys_max: usize,
        found: &mut impl FnMut(&[u8]),
    ) -> ExpireProgress {
        let mut progress = ExpireProgress::default();
        if self.expiring == 0 {
            self.expire_position = 0;
            progress.finished = true;
            return progress;
        }
        while progress.segments < segments_max && progress.due < keys_max {
            let handle = self.directory.get(self.expire_position);
            progress.segments += 1;
            if !expire_chain(handle, now, keys_max, &mut progress, found) {
                break;
            }
            self.expire_position = segment_end(self.expire_position, handle.depth());
            if self.expire_position == 0 {
                progress.finished = true;
                break;
            }
        }
        progress
    }
}

/// Visits the segments of a chain; false if the budget of keys ended before the chain did.
fn expire_chain(
    handle: Handle,
    now: UnixMillis,
    keys_max: usize,
    progress: &mut ExpireProgress,
    found: &mut impl FnMut(&[u8]),
) -> bool {
    let mut next = Some(handle.pointer());
    while let Some(mut pointer) = next {
        // SAFETY: a live segment, and the caller holds the table exclusively.
        let segment = unsafe { pointer.as_mut() };
        next = segment.next();
        if segment.earliest() > now.0 {
            continue;
        }
        progress.opened += 1;
        let mut earliest = i64::MAX;
        let mut whole = true;
        let mut last_bucket = 0;
        segment.for_each(|bucket, entry| {
            let Some(at) = entry.expiry() else { return };
            if bucket > last_bucket {
                whole &= progress.due < keys_max;
                last_bucket = bucket;
            }
            if !whole {
                return;
            }
            if at <= now {
                progress.due += 1;
                // SAFETY: nothing changes the entry while `found` looks at its key.
                found(unsafe { Entry::new(entry) }.key());
            } else {
                progress.waiting += 1;
                progress.waiting_ms += (at.0 - now.0) as u64;
                earliest = earliest.min(at.0);
            }
        });
        if !whole {
            // The bound stays: the next step comes back for the rest.
            return false;
        }
        segment.set_earliest(earliest);
    }
    debug_assert!(chain(handle).all(|segment| segment.earliest() > now.0));
    true
}
