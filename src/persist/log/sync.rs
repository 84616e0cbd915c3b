//! How much of the log a crash can no longer take: syncs and what they have shown.
//!
//! A sync is a job of the thread `log-sync`, and so is having the system write a part of the file ahead
//! of it; they are done in the order they were given. What fails here is never tried again: the system
//! may say yes the next time without having written.

use std::io;
use std::sync::Arc;

use super::{Doing, Log, LogError, SYNC_FRAMES, SYNC_PREVIOUS, reason};
use crate::config::kinds::AppendFsync;

/// What is written out ends at a multiple of this, the largest folio that a frame's write makes the
/// system allocate: the page where the next frame goes must not be part of it.
const WRITE_OUT_BLOCK: u64 = 64 << 10;

/// What the thread has done.
pub(super) enum Done {
    /// A sync.
    Sync(SyncDone),
    /// Had the system write a part of the file of this generation.
    WriteOut(u64, io::Result<()>),
}

pub(super) struct SyncDone {
    outcome: io::Result<()>,
    /// The offset that it covers, and the last frame.
    offset: u64,
    frame: u64,
    /// The file that it began with, and the one that failed or was the last.
    last_generation: u64,
}

pub(super) struct InFlight {
    pub offset: u64,
    pub(crate) started_nanos: u64,
    pub counted: bool,
}

/// What is known to be durable.
#[derive(Default)]
pub(in crate::persist) struct Durability {
    /// Covered by successful syncs, whatever failed before.
    pub synced: u64,
    pub(crate) synced_frame: u64,
    /// What may be relied on: stands still after a failure.
    pub offset: u64,
    pub frame: u64,
    /// The newest file in which a sync has failed, and what the disk said.
    pub failed: Option<(u64, String)>,
    /// The offset where a frame was given up, until a base has what was in it.
    pub kept: Option<u64>,
    /// There is no base yet: nothing is durable before it is.
    pub waiting: bool,
}

impl Durability {
    pub(crate) fn settle(&mut self) {
        if self.failed.is_none() && !self.waiting {
            self.offset = self.synced;
            self.frame = self.synced_frame;
        }
    }
}

impl Log {
    /// Starts a sync of everything written, unless one is in flight or there is nothing to sync.
    #[inline]
    pub(in crate::persist) fn start_sync(&mut self) {
        if self.in_flight.is_none() && self.written > self.durability.synced && !self.paused() {
            self.launch_sync();
        }
    }

    fn launch_sync(&mut self) {
        let now = self.env.clock.monotonic_nanos();
        self.last_sync_nanos = now;
        let (offset, frame) = (self.written, self.sequence - 1);
        self.in_flight = Some(InFlight { offset, started_nanos: now, counted: false });
        let previous: Vec<_> = self
            .previous
            .iter()
            .map(|segment| (Arc::clone(&segment.handle), segment.generation))
            .collect();
        let (handle, generation) = (Arc::clone(&self.current.handle), self.current.generation);
        self.syncs.run(move || {
            let mut done = SyncDone { outcome: Ok(()), offset, frame, last_generation: generation };
            // In the order of writing: a later file is of no use without an earlier one.
            for (handle, generation) in previous {
                if let Err(error) = handle.sync_at(SYNC_PREVIOUS) {
                    (done.outcome, done.last_generation) = (Err(error), generation);
                    return Done::Sync(done);
                }
            }
            done.outcome = handle.sync_at(SYNC_FRAMES);
            Done::Sync(done)
        });
        if !self.syncs.busy() {
            self.collect_syncs();
        }
    }

    /// Between the syncs of `everysec`: has the system write what the current file has got, but for
    /// the last block, to the disk. A sync finds little to do then. One that finds a second's writes
    /// keeps the pages' locks for as long as the device's queue is full, that of the last page among
    /// them, which is where the next frame goes: the actor has been seen waiting for 30 ms.
    #[cold]
    pub(super) fn write_out(&mut self) {
        let part = self.options.write_out_bytes;
        let wanted = part > 0 && self.options.policy == AppendFsync::Everysec;
        if !wanted || self.writing_out || self.paused() {
            return;
        }
        let block = WRITE_OUT_BLOCK.min(part);
        let end = self.current.bytes / block * block;
        let window = self.current.written_out..end;
        self.current.written_out = end;
        self.writing_out = true;
        let (handle, generation) = (Arc::clone(&self.current.handle), self.current.generation);
        self.syncs.run(move || Done::WriteOut(generation, handle.write_out(window, false)));
    }

    pub(super) fn collect_syncs(&mut self) {
        while let Some(done) = self.syncs.poll() {
            self.take_done(done);
        }
    }

    pub(super) fn take_done(&mut self, done: Done) {
        match done {
            Done::Sync(done) => self.sync_done(done),
            Done::WriteOut(generation, outcome) => {
                self.writing_out = false;
                // Of a file that a new base has superseded it means nothing.
                let counts = generation == self.current.generation
                    || self.previous.iter().any(|segment| segment.generation == generation);
                if let Err(source) = outcome
                    && counts
                {
                    self.sync_failed(generation, source);
                }
            }
        }
    }

    fn sync_failed(&mut self, generation: u64, source: io::Error) {
        let newest = self.durability.failed.as_ref().map_or(0, |(newest, _)| *newest);
        self.durability.failed = Some((newest.max(generation), reason(&source)));
        self.error = Some(LogError { doing: Doing::Sync, source });
    }

    fn sync_done(&mut self, done: SyncDone) {
        self.in_flight = None;
        match done.outcome {
            Ok(()) => {
                self.previous.retain(|segment| segment.generation >= done.last_generation);
            }
            Err(source) => {
                self.previous.retain(|segment| segment.generation > done.last_generation);
                self.sync_failed(done.last_generation, source);
                if done.last_generation < self.current.generation {
                    return;
                }
            }
        }
        self.durability.synced = self.durability.synced.max(done.offset);
        self.durability.synced_frame = self.durability.synced_frame.max(done.frame);
        self.durability.settle();
    }

    pub(super) fn paused(&self) -> bool {
        self.saving && self.options.pause_while_saving
    }
}
