//! The log: what the journal sealed in, one frame a tick out, and how much of it a crash can no longer
//! take.
//!
//! ```text
//!  journal ──commit──► current file ──sync (worker)──► durable
//!              │  one write, one frame (offset())         durable()
//!              └► pending: a frame whose write failed is kept, and tried again by poll
//! ```
//!
//! Offsets are those of the stream ([`crate::journal`]), up to the last byte that is for the log. The bytes
//! are written from where the journal has them; they are copied only where a write fails. At most one
//! sync is in flight; it covers everything written before it began, in the current file and in those
//! before it that a rewrite left behind. [`Log::poll`] collects what the workers have done.
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

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::env::{DiskFile, Env, SyncPoint};
use crate::base::mutation::{self, Mutation};
use crate::config::kinds::AppendFsync;
use crate::journal::encode::push_select;
use crate::journal::skipped::Skipped;
use crate::journal::{ReplicationId, Sealed, SealedPart, StreamPosition};
use crate::persist::aof_encode::{SYNCED_MARK, TIME_MARK, push_annotation};
use crate::persist::frame::{self, HISTORY_MARK};
use crate::persist::log_rewrite::{Rewrite, RewriteEvent, RewriteStep};
use crate::persist::manifest::{BaseForm, Layout, Manifest};
use crate::persist::stream_files::{Framed, StreamFiles};
use crate::persist::worker::{Urgency, Waker, Worker};
use sync::{Done, Durability, InFlight};

/// Frames in the current file.
pub(crate) const SYNC_FRAMES: SyncPoint = SyncPoint("frames");
/// Frames in a file that a rewrite left behind.
pub(crate) const SYNC_PREVIOUS: SyncPoint = SyncPoint("frames of the previous increment");

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
    pub(crate) pause_while_saving: bool,
    /// Whether superseded files stay (`aof-disable-auto-gc`).
    pub(crate) keep_history: bool,
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
    pub(crate) healed: bool,
    /// A step of a rewrite is done.
    pub rewrite: Option<RewriteEvent>,
    /// How long a sync took that replies waited for; 0 where none has ended.
    pub(crate) synced_in_nanos: u64,
}

/// A file of the log that is written, or was and may have to be synced.
pub(super) struct Segment {
    pub file: Box<dyn DiskFile>,
    pub handle: Arc<dyn DiskFile>,
    /// Length up to the last whole frame.
    pub bytes: u64,
    /// Up to where the system has been asked to write it to the disk.
    pub(crate) written_out: u64,
    /// Counts up with each file.
    pub(crate) generation: u64,
    /// Its name, where no manifest has it yet.
    pub temporary: Option<PathBuf>,
}

impl Segment {
    pub(crate) fn new(file: Box<dyn DiskFile>, bytes: u64, generation: u64) -> io::Result<Self> {
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

/// Units that could not be written yet.
struct Pending {
    offset: u64,
    /// The database selected before them.
    db: Option<u32>,
    skipped: Skipped,
    units: Vec<u8>,
}

/// What the frames so far have told, for those behind them.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// The last `#SYNCED`.
    frame: u64,
    /// The last `#TS`.
    seconds: i64,
    /// The history, in the current file.
    history: Option<ReplicationId>,
    /// Whether the current file has units.
    units: bool,
}

/// Room for a frame's first bytes, and for what of them belongs to the payload.
#[derive(Default)]
struct Scratch {
    head: Vec<u8>,
    preface: Vec<u8>,
}

/// The stream, as far as the log has been given it.
struct Stream {
    /// The history that it is of.
    history: ReplicationId,
    /// What it has behind the last units that the log only notes.
    skipped: Skipped,
    end: u64,
}

/// Bytes of the files before the current one.
#[derive(Clone, Copy, Default)]
pub(super) struct OlderBytes {
    pub(super) base: u64,
    pub(super) increments: u64,
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
    /// What could not be written yet, in order.
    pending: VecDeque<Pending>,
    scratch: Scratch,
    /// The next frame's number.
    pub(super) sequence: u64,
    told: Told,
    stream: Stream,
    /// Where the last units end, and the last that were written to a file.
    appended: u64,
    pub(super) written: u64,
    pub(super) durability: Durability,
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
    /// The stream in the files.
    pub(super) stream_files: StreamFiles,
    pub(super) older: OlderBytes,
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
        position: StreamPosition,
        wake: &Waker,
    ) -> Self {
        let last_sync_nanos = env.clock.monotonic_nanos();
        let StreamPosition { id: history, offset } = position;
        Self {
            syncs: Worker::new("log-sync", Urgency::Waited, &env.threads, Arc::clone(wake)),
            steps: Worker::new("log-files", Urgency::CanWait, &env.threads, Arc::clone(wake)),
            numbers: manifest.numbers(),
            manifest,
            current,
            previous: Vec::new(),
            pending: VecDeque::new(),
            scratch: Scratch::default(),
            sequence: 1,
            told: Told::default(),
            stream: Stream { history, skipped: Skipped::default(), end: offset },
            appended: offset,
            written: offset,
            durability: Durability { synced: offset, offset, ..Durability::default() },
            in_flight: None,
            writing_out: false,
            last_sync_nanos,
            delayed_syncs: 0,
            write_failure: None,
            error: None,
            saving: false,
            rewrite: Rewrite::Idle,
            base_form: BaseForm::Rdb,
            stream_files: StreamFiles::default(),
            older: OlderBytes::default(),
            env,
            options,
        }
    }

    // ---- what goes in

    /// Names the history that the units behind this are of.
    pub(crate) fn set_history(&mut self, history: ReplicationId) {
        self.stream.history = history;
    }

    /// The end of a tick: writes what the journal sealed as one frame, and starts a sync where the policy
    /// asks for it now. Returns [`Log::offset`].
    ///
    /// # Errors
    /// The write failed. The units are kept, and [`Log::poll`] tries again; until then further ones are
    /// kept, too, and [`Log::failure`] says why.
    #[inline]
    pub fn commit(&mut self, sealed: &Sealed<'_>) -> Result<u64, LogError> {
        if !sealed.is_empty() {
            self.take(sealed)?;
        }
        if self.options.policy == AppendFsync::Always {
            self.start_sync();
        }
        Ok(self.appended)
    }

    fn take(&mut self, sealed: &Sealed<'_>) -> Result<(), LogError> {
        let mut outcome = Ok(());
        for part in sealed.parts() {
            match part {
                SealedPart::Units { offset, db, bytes } => {
                    self.stream.end = offset + bytes.len() as u64;
                    self.appended = self.stream.end;
                    outcome = outcome.and(self.write_or_keep(offset, db, bytes));
                }
                SealedPart::Unlogged(what) => {
                    if self.stream.skipped.is_full() {
                        outcome = outcome.and(self.write_or_keep(self.stream.end, None, b""));
                    }
                    self.stream.skipped.push(what);
                    self.stream.end += what.bytes().len() as u64;
                }
            }
        }
        if !self.stream.skipped.is_empty() {
            // A restarted server must know of everything that its replicas may have got.
            outcome = outcome.and(self.write_or_keep(self.stream.end, None, b""));
        }
        outcome
    }

    fn write_or_keep(
        &mut self,
        offset: u64,
        db: Option<u32>,
        units: &[u8],
    ) -> Result<(), LogError> {
        let skipped = std::mem::take(&mut self.stream.skipped);
        let outcome = if self.write_failure.is_none() {
            match self.write_frame(offset, db, &skipped, units) {
                Ok(()) => return Ok(()),
                failed => failed,
            }
        } else {
            Ok(())
        };
        match self.pending.back_mut() {
            Some(last) if skipped.is_empty() => {
                if last.units.is_empty() {
                    // Only signs of life so far: the database is that of the first unit.
                    last.db = db;
                }
                last.units.extend_from_slice(units);
            }
            _ => self.pending.push_back(Pending { offset, db, skipped, units: units.to_vec() }),
        }
        outcome
    }

    /// What a frame's payload begins with that is not in the stream, and what is told with it.
    fn push_preface(&mut self, db: Option<u32>, units: &[u8]) -> Told {
        let mut told = self.told;
        self.scratch.preface.clear();
        if self.durability.frame > told.frame {
            told.frame = self.durability.frame;
            push_annotation(&mut self.scratch.preface, SYNCED_MARK, told.frame);
        }
        if told.history != Some(self.stream.history) {
            told.history = Some(self.stream.history);
            self.scratch.preface.extend_from_slice(HISTORY_MARK);
            self.scratch.preface.extend_from_slice(self.stream.history.digits());
            self.scratch.preface.extend_from_slice(b"\r\n");
        }
        if self.options.timestamps {
            let seconds = self.env.clock.unix_micros() / 1_000_000;
            if seconds > told.seconds {
                told.seconds = seconds;
                push_annotation(&mut self.scratch.preface, TIME_MARK, seconds as u64);
            }
        }
        if !told.units && !units.is_empty() {
            told.units = true;
            // Loaders begin each file in database 0.
            if let Some(db) = db {
                push_select(&mut self.scratch.preface, db);
            }
        }
        told
    }

    fn write_frame(
        &mut self,
        offset: u64,
        db: Option<u32>,
        skipped: &Skipped,
        units: &[u8],
    ) -> Result<(), LogError> {
        let told = self.push_preface(db, units);
        let place = (offset, skipped);
        frame::write_head(
            &mut self.scratch.head,
            self.sequence,
            place,
            &self.scratch.preface,
            units,
        );
        match self.current.file.append_two(&self.scratch.head, units) {
            Ok(()) => {
                let at = self.current.bytes;
                self.current.bytes += (self.scratch.head.len() + units.len()) as u64;
                let behind = self.current.bytes;
                if let Some(frame) = Framed::of(offset, units.len() as u64, skipped, at, behind) {
                    self.stream_files.note(frame);
                }
                self.sequence += 1;
                self.told = told;
                self.written = self.written.max(offset + units.len() as u64).min(self.appended);
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

    /// Writes what could not be written before.
    fn write_pending(&mut self) -> Result<(), LogError> {
        while let Some(Pending { offset, db, skipped, units }) = self.pending.pop_front() {
            if let Err(error) = self.write_frame(offset, db, &skipped, &units) {
                self.pending.push_front(Pending { offset, db, skipped, units });
                return Err(error);
            }
        }
        Ok(())
    }

    /// Brings the current file up to date before another takes its place. Where that fails, what is
    /// pending is given up: the new base will have what is in it, and until there is one, recovery
    /// sees the gap in the numbers and goes no further.
    pub(super) fn finish_current(&mut self) {
        let stuck = self.write_failure.as_ref().is_some_and(|failure| failure.stuck);
        if self.pending.is_empty() {
            return;
        }
        if !stuck {
            match self.write_pending() {
                Ok(()) => return,
                Err(error) => self.error = Some(error),
            }
        }
        let text = self.write_failure.take().map_or_else(String::new, |failure| failure.text);
        self.pending.clear();
        self.sequence += 1;
        self.durability.kept.get_or_insert(self.written);
        self.written = self.appended;
        self.durability.failed = Some((self.current.generation, text));
    }

    /// The file that comes next begins in no database, and names its history.
    pub(super) fn begin_file(&mut self) {
        (self.told.history, self.told.units) = (None, false);
    }

    // ---- what is durable

    /// Collects what the workers have done, tries a failed write again, and starts the sync that
    /// is due. Called when the waker was called, and ten times a second or so.
    pub fn poll(&mut self, now_nanos: u64) -> LogStatus {
        let began = self.in_flight.as_ref().map(|sync| sync.started_nanos);
        self.collect_syncs();
        let mut status = LogStatus { rewrite: self.poll_rewrite(), ..LogStatus::default() };
        if self.options.policy == AppendFsync::Always && self.in_flight.is_none() {
            status.synced_in_nanos = began.map_or(0, |began| now_nanos.saturating_sub(began));
        }
        if self.write_failure.as_ref().is_some_and(|failure| failure.is_due(now_nanos)) {
            match self.write_pending() {
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
        self.write_pending()?;
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
        let untold =
            self.told.history != Some(self.stream.history) || !self.stream.skipped.is_empty();
        if self.durability.frame > self.told.frame || untold {
            // The last word: all of it was durable, so any damage found later is damage. And this is
            // where the stream ends.
            let skipped = std::mem::take(&mut self.stream.skipped);
            self.write_frame(self.stream.end, None, &skipped, b"")?;
        }
        Ok(())
    }

    // ---- what is known

    /// Where its files are.
    pub(crate) fn layout(&self) -> &Layout {
        &self.options.layout
    }

    /// Bytes of the stream up to the last that the log got.
    #[inline]
    pub fn offset(&self) -> u64 {
        self.appended
    }

    /// Bytes of the stream that a crash can't take. Advances in [`Log::commit`] and [`Log::poll`].
    #[inline]
    pub fn durable(&self) -> u64 {
        self.durability.offset
    }

    /// Whether replies wait until what they show is durable. Not while there is no base yet: the
    /// log was turned on just now and promises nothing before.
    #[inline]
    pub(crate) fn gates_replies(&self) -> bool {
        self.options.policy == AppendFsync::Always && !self.durability.waiting && !self.paused()
    }

    /// Bytes of the stream up to which what was done may be acknowledged: what is durable where replies
    /// wait for that, else what the system has taken. Less than [`Log::offset`] after a write that
    /// failed, until [`Log::poll`] has repeated it.
    #[inline]
    pub fn answerable(&self) -> u64 {
        if self.gates_replies() && !mutation::is_on(Mutation::AnswerBeforeSync) {
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
    pub(crate) fn needs_rewrite(&self) -> bool {
        self.durability.failed.is_some()
            || self.write_failure.as_ref().is_some_and(|failure| failure.stuck)
    }

    /// Changes how the log is kept from now on, but for where the files are.
    pub(crate) fn set_options(&mut self, options: LogOptions) {
        let layout = std::mem::replace(&mut self.options, options).layout;
        self.options.layout = layout;
        if self.options.policy == AppendFsync::Always {
            self.start_sync();
        }
    }

    /// Tells whether a snapshot or rewrite is being written.
    pub(crate) fn set_saving(&mut self, saving: bool) {
        self.saving = saving;
    }

    /// Bytes of all files of the log (INFO `aof_current_size`).
    pub fn size_bytes(&self) -> u64 {
        self.older.base + self.older.increments + self.current.bytes
    }

    /// Bytes that were appended and are not written (INFO `aof_buffer_length`).
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending.iter().map(|pending| pending.units.len()).sum()
    }

    /// Syncs in flight (INFO `aof_pending_bio_fsync`).
    pub(crate) fn syncs_in_flight(&self) -> u64 {
        u64::from(self.in_flight.is_some())
    }

    /// Syncs that writes went on without for two seconds (INFO `aof_delayed_fsync`).
    pub(crate) fn delayed_syncs(&self) -> u64 {
        self.delayed_syncs
    }

    /// Sets the count of delayed syncs back (CONFIG RESETSTAT).
    pub(crate) fn reset_delayed_syncs(&mut self) {
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
