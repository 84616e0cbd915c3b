//! The log: records in, one frame a tick out, and how much of it a crash can no longer take.
//!
//! ```text
//!  append ──► buffer ──commit──► current file ──sync (worker)──► durable
//!   offset()     │ one write, one frame                             durable()
//!                └ a failed write keeps the frame here and is tried again by poll
//! ```
//!
//! Offsets count payload bytes since the log was opened. At most one sync is in flight; it covers
//! everything written before it began, in the current file and in those before it that a rewrite
//! left behind. [`Log::poll`] collects what the workers have done.
//!
//! Invariants:
//! - A file gets whole frames only; where part of one was written, it is cut off again, or nothing
//!   more goes into that file.
//! - `durable() <= offset()`, and it only advances past bytes whose sync succeeded, in order. After
//!   a failed sync it stands still until a rewrite has put a new base in the place of the files in
//!   question: [`Log::needs_rewrite`].
//! - Frames are numbered without a gap through all files. A frame that says `#SYNCED:n` was written
//!   when the frames up to `n` were durable; recovery takes it at its word.
//!
//! Changing the files is in [`crate::persist::log_rewrite`]. Deliberately absent: what a record
//! means, and any decision about clients.

mod sync;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::env::{DiskFile, Env, SyncPoint};
use crate::config::kinds::AppendFsync;
use crate::persist::aof_encode::{
    EXEC, FrameHeader, HEADER_BYTES_MAX, MULTI, SYNCED_MARK, TIME_MARK, push_annotation,
    push_select,
};
use crate::persist::log_rewrite::{Rewrite, RewriteEvent, RewriteStep};
use crate::persist::manifest::{BaseForm, Layout, Manifest};
use crate::persist::worker::{Urgency, Waker, Worker};
use sync::{Done, Durability, InFlight};

/// Frames in the current file.
pub const SYNC_FRAMES: SyncPoint = SyncPoint("frames");
/// Frames in a file that a rewrite left behind.
pub const SYNC_PREVIOUS: SyncPoint = SyncPoint("frames of the previous increment");

/// The buffer keeps up to this much room between ticks.
const BUFFER_KEPT_BYTES: usize = 1 << 20;
const SECOND_NANOS: u64 = 1_000_000_000;
/// Between syncs the system writes the file out in parts of so many bytes.
const WRITE_OUT_BYTES: u64 = 1 << 20;
/// How long a write that failed waits before it is tried again.
const RETRY_NANOS: u64 = SECOND_NANOS / 10;
/// How long it takes until one that goes on failing is told again: upstream's rate.
const TELL_AGAIN_NANOS: u64 = 30 * SECOND_NANOS;
/// A sync that takes longer than this while writes go on counts as delayed, as upstream has it.
const DELAYED_NANOS: u64 = 2 * SECOND_NANOS;

/// How the log is kept.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Where the files are.
    pub layout: Layout,
    /// When the log is made durable (`appendfsync`).
    pub policy: AppendFsync,
    /// Whether frames tell the time (`aof-timestamp-enabled`).
    pub timestamps: bool,
    /// Whether syncs pause while a snapshot is written (`no-appendfsync-on-rewrite`).
    pub pause_while_saving: bool,
    /// Whether superseded files stay (`aof-disable-auto-gc`).
    pub keep_history: bool,
    /// After how many bytes the system is asked to write them to the disk, between the syncs of
    /// `everysec`; 0 for not at all (`aof-write-out-bytes`).
    pub write_out_bytes: u64,
}

impl LogOptions {
    /// Upstream's defaults.
    pub fn new(layout: Layout, policy: AppendFsync) -> Self {
        Self {
            layout,
            policy,
            timestamps: false,
            pause_while_saving: false,
            keep_history: false,
            write_out_bytes: WRITE_OUT_BYTES,
        }
    }
}

/// What was being done when the disk refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Writing a frame.
    Write,
    /// Making frames durable.
    Sync,
    /// Opening the log or a file of it.
    Open,
    /// Putting a new base in place.
    Rewrite,
}

/// The disk refused.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", match doing {
    Doing::Write => "Error writing to the AOF file",
    Doing::Sync => "Fail to fsync the AOF file",
    Doing::Open => "Can't open the append-only log",
    Doing::Rewrite => "Error rewriting the append-only log",
})]
pub struct LogError {
    /// What was being done.
    pub doing: Doing,
    /// What the disk said.
    pub source: io::Error,
}

impl LogError {
    pub(super) fn new(doing: Doing) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { doing, source }
    }
}

/// What [`Log::poll`] found out.
#[derive(Debug, Default)]
pub struct LogStatus {
    /// A write or a sync failed since the last poll.
    pub error: Option<LogError>,
    /// A write succeeded after writes had failed.
    pub healed: bool,
    /// A step of a rewrite is done.
    pub rewrite: Option<RewriteEvent>,
}

/// A file of the log that is written, or was and may have to be synced.
pub(super) struct Segment {
    pub file: Box<dyn DiskFile>,
    pub handle: Arc<dyn DiskFile>,
    /// Length up to the last whole frame.
    pub bytes: u64,
    /// Up to where the system has been asked to write it to the disk.
    pub written_out: u64,
    /// Counts up with each file.
    pub generation: u64,
    /// Its name, where no manifest has it yet.
    pub temporary: Option<PathBuf>,
}

impl Segment {
    pub fn new(file: Box<dyn DiskFile>, bytes: u64, generation: u64) -> io::Result<Self> {
        let handle = Arc::from(file.duplicate()?);
        Ok(Self { file, handle, bytes, written_out: bytes, generation, temporary: None })
    }
}

/// A failed write, to be tried again.
struct WriteFailure {
    text: String,
    /// Part of a frame could not be cut off: nothing may follow it in this file.
    stuck: bool,
    /// When it was last tried.
    tried_nanos: u64,
    /// When it was last told.
    told_nanos: u64,
}

impl WriteFailure {
    fn is_due(&self, now_nanos: u64) -> bool {
        !self.stuck && now_nanos.saturating_sub(self.tried_nanos) >= RETRY_NANOS
    }
}

/// The log of a server.
pub struct Log {
    pub(super) env: Env,
    pub(super) options: LogOptions,
    pub(super) manifest: Manifest,
    /// The highest numbers ever used for a base and an increment.
    pub(super) numbers: (u64, u64),
    pub(super) current: Segment,
    /// Files switched away from that may hold frames not synced.
    pub(super) previous: Vec<Segment>,
    /// Room for a header, then the pending frame's payload.
    buffer: Vec<u8>,
    /// The next frame's number.
    pub(super) sequence: u64,
    /// The database that the current file's commands are in.
    pub(super) selected: Option<u32>,
    /// Payload bytes appended, and those that were written to a file.
    appended: u64,
    pub(super) written: u64,
    pub(super) durability: Durability,
    /// The last `#SYNCED` written.
    told_frame: u64,
    told_seconds: i64,
    syncs: Worker<Done>,
    in_flight: Option<InFlight>,
    /// A part of the current file, or of the one before, is being written out.
    writing_out: bool,
    last_sync_nanos: u64,
    delayed_syncs: u64,
    write_failure: Option<WriteFailure>,
    error: Option<LogError>,
    saving: bool,
    pub(super) rewrite: Rewrite,
    /// How the base is written that a rewrite is making.
    pub(super) base_form: BaseForm,
    pub(super) steps: Worker<RewriteStep>,
    /// Bytes of the base and of the increments before the current one.
    pub(super) base_bytes: u64,
    pub(super) earlier_bytes: u64,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("sequence", &self.sequence)
            .field("offset", &self.appended)
            .field("durable", &self.durability.offset)
            .finish_non_exhaustive()
    }
}

impl Log {
    pub(super) fn assemble(
        env: Env,
        options: LogOptions,
        manifest: Manifest,
        current: Segment,
        wake: &Waker,
    ) -> Self {
        let last_sync_nanos = env.clock.monotonic_nanos();
        Self {
            syncs: Worker::new("log-sync", Urgency::Waited, env.threads, Arc::clone(wake)),
            steps: Worker::new("log-files", Urgency::CanWait, env.threads, Arc::clone(wake)),
            numbers: manifest.numbers(),
            manifest,
            current,
            previous: Vec::new(),
            buffer: vec![0; HEADER_BYTES_MAX],
            sequence: 1,
            selected: None,
            appended: 0,
            written: 0,
            durability: Durability::default(),
            told_frame: 0,
            told_seconds: 0,
            in_flight: None,
            writing_out: false,
            last_sync_nanos,
            delayed_syncs: 0,
            write_failure: None,
            error: None,
            saving: false,
            rewrite: Rewrite::Idle,
            base_form: BaseForm::Rdb,
            base_bytes: 0,
            earlier_bytes: 0,
            env,
            options,
        }
    }

    // ---- what goes in

    /// Adds a record, a command in RESP, that is a unit of its own.
    #[inline]
    pub fn append(&mut self, db: u32, record: &[u8]) {
        let before = self.buffer.len();
        self.open_frame();
        self.push(db, record);
        self.appended += (self.buffer.len() - before) as u64;
    }

    /// Adds records that are recovered together or not at all.
    pub fn append_unit<'a>(&mut self, records: impl Iterator<Item = (u32, &'a [u8])>) {
        let mut records = records.peekable();
        let Some(&(db, _)) = records.peek() else { return };
        let before = self.buffer.len();
        self.open_frame();
        // Before MULTI, so that a transaction that stays in one database holds only its commands.
        self.select(db);
        self.buffer.extend_from_slice(MULTI);
        for (db, record) in records {
            self.push(db, record);
        }
        self.buffer.extend_from_slice(EXEC);
        self.appended += (self.buffer.len() - before) as u64;
    }

    #[inline]
    fn push(&mut self, db: u32, record: &[u8]) {
        self.select(db);
        self.buffer.extend_from_slice(record);
    }

    #[inline]
    fn select(&mut self, db: u32) {
        if self.selected != Some(db) {
            push_select(&mut self.buffer, db);
            self.selected = Some(db);
        }
    }

    /// What a frame begins with, when this is its first record.
    #[inline]
    fn open_frame(&mut self) {
        if self.buffer.len() > HEADER_BYTES_MAX {
            return;
        }
        if self.durability.frame > self.told_frame {
            self.told_frame = self.durability.frame;
            push_annotation(&mut self.buffer, SYNCED_MARK, self.told_frame);
        }
        if self.options.timestamps {
            let seconds = self.env.clock.unix_micros() / 1_000_000;
            if seconds > self.told_seconds {
                self.told_seconds = seconds;
                push_annotation(&mut self.buffer, TIME_MARK, seconds as u64);
            }
        }
    }

    /// The end of a tick: writes what was appended as one frame, and starts a sync where the policy
    /// asks for it now. Returns [`Log::offset`].
    ///
    /// # Errors
    /// The write failed. The frame is kept, and [`Log::poll`] tries again; until then this does
    /// nothing, and [`Log::failure`] says why.
    #[inline]
    pub fn commit(&mut self) -> Result<u64, LogError> {
        if self.buffer.len() > HEADER_BYTES_MAX && self.write_failure.is_none() {
            self.write_frame()?;
        }
        if self.options.policy == AppendFsync::Always {
            self.start_sync();
        }
        Ok(self.appended)
    }

    fn write_frame(&mut self) -> Result<(), LogError> {
        let (room, payload) = self.buffer.split_at_mut(HEADER_BYTES_MAX);
        let start = FrameHeader::of(self.sequence, payload).write_before(room);
        let frame = &self.buffer[start..];
        match self.current.file.append(frame) {
            Ok(()) => {
                self.current.bytes += frame.len() as u64;
                self.sequence += 1;
                self.written = self.appended;
                self.buffer.truncate(HEADER_BYTES_MAX);
                if self.buffer.capacity() > BUFFER_KEPT_BYTES {
                    self.buffer.shrink_to(BUFFER_KEPT_BYTES);
                }
                self.write_failure = None;
                if self.current.bytes - self.current.written_out >= self.options.write_out_bytes {
                    self.write_out();
                }
                Ok(())
            }
            Err(source) => {
                let stuck = self.current.file.truncate(self.current.bytes).is_err();
                let tried_nanos = self.env.clock.monotonic_nanos();
                let told_nanos =
                    self.write_failure.take().map_or(tried_nanos, |old| old.told_nanos);
                let text = reason(&source);
                self.write_failure = Some(WriteFailure { text, stuck, tried_nanos, told_nanos });
                Err(LogError { doing: Doing::Write, source })
            }
        }
    }

    /// Brings the current file up to date before another takes its place. Where that fails, the
    /// frame is given up: the new base will have what is in it, and until there is one, recovery
    /// sees the gap in the numbers and goes no further.
    pub(super) fn finish_current(&mut self) {
        let stuck = self.write_failure.as_ref().is_some_and(|failure| failure.stuck);
        if self.buffer.len() == HEADER_BYTES_MAX {
            return;
        }
        if !stuck {
            match self.write_frame() {
                Ok(()) => return,
                Err(error) => self.error = Some(error),
            }
        }
        let text = self.write_failure.take().map_or_else(String::new, |failure| failure.text);
        self.buffer.truncate(HEADER_BYTES_MAX);
        self.sequence += 1;
        self.durability.kept.get_or_insert(self.written);
        self.written = self.appended;
        self.durability.failed = Some((self.current.generation, text));
    }

    // ---- what is durable

    /// Collects what the workers have done, tries a failed write again, and starts the sync that
    /// is due. Called when the waker was called, and ten times a second or so.
    pub fn poll(&mut self, now_nanos: u64) -> LogStatus {
        self.collect_syncs();
        let mut status = LogStatus { rewrite: self.poll_rewrite(), ..LogStatus::default() };
        if self.write_failure.as_ref().is_some_and(|failure| failure.is_due(now_nanos)) {
            match self.write_frame() {
                Ok(()) => status.healed = true,
                Err(error) => self.tell_again(error, now_nanos),
            }
        }
        match self.options.policy {
            AppendFsync::Always => self.start_sync(),
            AppendFsync::Everysec => {
                if now_nanos.saturating_sub(self.last_sync_nanos) >= SECOND_NANOS {
                    self.start_sync();
                }
            }
            AppendFsync::No => {}
        }
        if let Some(sync) = &mut self.in_flight
            && !sync.counted
            && self.written > sync.offset
            && now_nanos.saturating_sub(sync.started_nanos) >= DELAYED_NANOS
        {
            sync.counted = true;
            self.delayed_syncs += 1;
        }
        status.error = self.error.take();
        status
    }

    /// A write has failed once more. A full disk must not be filled with news of it.
    fn tell_again(&mut self, error: LogError, now_nanos: u64) {
        let Some(failure) = &mut self.write_failure else { return };
        if now_nanos.saturating_sub(failure.told_nanos) >= TELL_AGAIN_NANOS {
            failure.told_nanos = now_nanos;
            self.error = Some(error);
        }
    }

    /// Writes and syncs everything, waiting for it: the end of the server, or of logging.
    ///
    /// # Errors
    /// Not all of it is durable.
    pub fn close(&mut self) -> Result<(), LogError> {
        if self.write_failure.as_ref().is_some_and(|failure| failure.stuck) {
            // Behind a part of a frame a whole one would make damage of it.
            let cut = self.current.file.truncate(self.current.bytes);
            cut.map_err(LogError::new(Doing::Write))?;
        }
        if self.buffer.len() > HEADER_BYTES_MAX {
            self.write_frame()?;
        }
        while let Some(done) = self.syncs.wait() {
            self.take_done(done);
        }
        self.saving = false;
        self.start_sync();
        while let Some(done) = self.syncs.wait() {
            self.take_done(done);
        }
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        if let Some((_, text)) = &self.durability.failed {
            // Told before, and still so: no sync of now makes up for one that failed.
            return Err(LogError { doing: Doing::Sync, source: io::Error::other(text.clone()) });
        }
        if self.durability.frame > self.told_frame {
            // The last word: all of it was durable, so any damage found later is damage.
            self.open_frame();
            self.write_frame()?;
        }
        Ok(())
    }

    // ---- what is known

    /// Where its files are.
    pub fn layout(&self) -> &Layout {
        &self.options.layout
    }

    /// Payload bytes appended since the log was opened.
    #[inline]
    pub fn offset(&self) -> u64 {
        self.appended
    }

    /// Payload bytes that a crash can't take. Advances in [`Log::commit`] and [`Log::poll`].
    #[inline]
    pub fn durable(&self) -> u64 {
        self.durability.offset
    }

    /// Whether replies wait until what they show is durable. Not while there is no base yet: the
    /// log was turned on just now and promises nothing before.
    #[inline]
    pub fn gates_replies(&self) -> bool {
        self.options.policy == AppendFsync::Always && !self.durability.waiting && !self.paused()
    }

    /// Payload bytes up to which what was done may be acknowledged: what is durable where replies
    /// wait for that, else what the system has taken. Less than [`Log::offset`] after a write that
    /// failed, until [`Log::poll`] has repeated it.
    #[inline]
    pub fn answerable(&self) -> u64 {
        if self.gates_replies() {
            self.durability.offset
        } else if let Some(kept) = self.durability.kept {
            kept
        } else if self.write_failure.is_some() {
            self.written
        } else {
            self.appended
        }
    }

    /// Why writes must be refused, in the disk's words.
    #[inline]
    pub fn failure(&self) -> Option<&str> {
        match (&self.write_failure, &self.durability.failed) {
            (Some(failure), _) => Some(&failure.text),
            (None, Some((_, text))) => Some(text),
            (None, None) => None,
        }
    }

    /// Whether only a rewrite can make the log reliable again: a sync has failed, or a part of a
    /// frame could not be removed.
    pub fn needs_rewrite(&self) -> bool {
        self.durability.failed.is_some()
            || self.write_failure.as_ref().is_some_and(|failure| failure.stuck)
    }

    /// Changes how the log is kept from now on, but for where the files are.
    pub fn set_options(&mut self, options: LogOptions) {
        let layout = std::mem::replace(&mut self.options, options).layout;
        self.options.layout = layout;
        if self.options.policy == AppendFsync::Always {
            self.start_sync();
        }
    }

    /// Tells whether a snapshot or rewrite is being written.
    pub fn set_saving(&mut self, saving: bool) {
        self.saving = saving;
    }

    /// Bytes of all files of the log (INFO `aof_current_size`).
    pub fn size_bytes(&self) -> u64 {
        self.base_bytes + self.earlier_bytes + self.current.bytes
    }

    /// Bytes that were appended and are not written (INFO `aof_buffer_length`).
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len() - HEADER_BYTES_MAX
    }

    /// Syncs in flight (INFO `aof_pending_bio_fsync`).
    pub fn syncs_in_flight(&self) -> u64 {
        u64::from(self.in_flight.is_some())
    }

    /// Syncs that writes went on without for two seconds (INFO `aof_delayed_fsync`).
    pub fn delayed_syncs(&self) -> u64 {
        self.delayed_syncs
    }

    /// Sets the count of delayed syncs back (CONFIG RESETSTAT).
    pub fn reset_delayed_syncs(&mut self) {
        self.delayed_syncs = 0;
    }
}

/// What the disk said, as clients are told it: without the error's number.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
