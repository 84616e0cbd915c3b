//! The walk behind SAVE, BGSAVE and BGREWRITEAOF, and what begins it by itself.
//!
//! A snapshot and a log rewrite are the same walk over the keyspace, without fork: each tick does a
//! slice of it, entries about to change are taken first (the table sees to that), and the bytes go
//! to a writer on its own thread. What the walk has produced and the writer hasn't taken is
//! bounded: past [`snapshot::BACKLOG_BYTES_MAX`] the walk waits. One walk at a time; the other waits its turn.
//!
//! A rewrite's snapshot becomes the log's new base; what is committed after its beginning goes into
//! the log's next increment. Without a log it becomes a base that none follows.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::Engine;
use crate::engine::keep::load_slices::{Load, Progress};
use crate::engine::keep::walk_buffer::{DbSink, Form, WalkBuffer};
use crate::keyspace::databases::DbIndex;
use crate::persist::detached::DetachedBase;
use crate::persist::log::{Doing, Log, LogError};
use crate::persist::log_rewrite::RewriteEvent;
use crate::persist::manifest::{BaseForm, Layout};
use crate::persist::snapshot::{self, SnapshotOptions, SnapshotWriter, Target, Trailer};
use crate::rdb::encode::{self, EncodeOptions};
use crate::rdb::format::VERSION_FIELD_EXPIRY;

/// Bytes that are handed to the writer at once.
const CHUNK_BYTES: usize = 16 << 10;
/// Entries between two looks at the clock.
const SLICE_ENTRIES: usize = 32;
/// Time that one tick gives the walk, in microseconds.
const SLICE_MICROS: u64 = 25;

/// The same while clients wait for the walk: between two looks for a second SIGINT.
const FOREGROUND_MICROS: u64 = 10_000;

/// What a walk is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `dump.rdb`.
    Snapshot,
    /// The log's new base.
    Rewrite,
}

/// A walk under way.
#[derive(Debug)]
pub struct Job {
    /// What it is for.
    pub purpose: Purpose,
    /// When it began, in seconds since the epoch.
    pub started_seconds: i64,
    /// The same on the monotonic clock, in nanoseconds.
    started_nanos: u64,
    writer: SnapshotWriter,
    buffer: Arc<Mutex<WalkBuffer>>,
    /// Whether every entry has been taken.
    taken: bool,
    /// Whether every entry has been handed over, or no more will be.
    walked: bool,
    /// A client has asked for its end.
    cancelled: bool,
    /// Changes since the last snapshot, at the beginning.
    dirty_at_start: u64,
    /// Keys that there were at the beginning.
    pub keys: u64,
}

impl Job {
    /// Keys that have been taken.
    pub fn keys_taken(&self) -> u64 {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner).entries
    }
}

/// What is known of snapshots and rewrites.
#[derive(Debug)]
pub struct State {
    /// Changes since the last snapshot.
    pub dirty: u64,
    /// When the last snapshot was complete, in seconds since the epoch.
    pub last_save_seconds: i64,
    /// Whether the last snapshot succeeded.
    pub last_save_ok: bool,
    /// When the last background snapshot was tried.
    last_try_seconds: i64,
    /// How long the last background snapshot took, in seconds; -1 where there was none.
    pub last_save_took: i64,
    /// Snapshots written.
    pub saves: u64,
    /// Whether the last rewrite succeeded.
    pub last_rewrite_ok: bool,
    /// How long the last rewrite took, in seconds; -1 where there was none.
    pub last_rewrite_took: i64,
    /// Rewrites done.
    pub rewrites: u64,
    /// Rewrites that failed since the last that didn't.
    pub rewrites_failed_in_a_row: u64,
    /// Keys that the snapshots loaded last brought.
    pub load_keys: u64,
    /// Keys that they held but whose time had come.
    pub load_expired: u64,
    /// Whether what is being loaded is a snapshot by itself, not the base of a log.
    pub loading_snapshot: bool,
    /// A snapshot waits for its turn.
    pub save_scheduled: bool,
    /// Where the log is that was turned off, and whose manifest doesn't say so yet.
    pub(in crate::engine) log_left: Option<Layout>,
    /// A rewrite waits for its turn.
    pub rewrite_scheduled: bool,
    /// The log was turned on within a transaction, and begins behind it.
    pub log_scheduled: bool,
    /// The walk under way.
    pub job: Option<Job>,
    /// Whether a rewrite is under way: its increment is being prepared, its base walked, or put in
    /// place.
    pub rewriting: bool,
    /// Whether that is the first base of a log that was turned on at run time: there is no complete
    /// log before it is in place.
    pub rewriting_first: bool,
    /// Whether data is being loaded.
    pub loading: bool,
    /// How far loading is, or was when it ended.
    pub progress: Progress,
    /// The loading under way, where clients are served meanwhile.
    pub(in crate::engine) load: Option<Load>,
    /// Bytes of the log at the last rewrite, for its growth.
    pub log_base_bytes: u64,
    rewrite_started_seconds: i64,
    pub(in crate::engine) failed_rewrites: u32,
    next_rewrite_seconds: i64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            dirty: 0,
            last_save_seconds: 0,
            last_save_ok: true,
            last_try_seconds: 0,
            last_save_took: -1,
            saves: 0,
            last_rewrite_ok: true,
            last_rewrite_took: -1,
            rewrites: 0,
            rewrites_failed_in_a_row: 0,
            load_keys: 0,
            load_expired: 0,
            loading_snapshot: false,
            save_scheduled: false,
            log_left: None,
            rewrite_scheduled: false,
            log_scheduled: false,
            job: None,
            rewriting: false,
            rewriting_first: false,
            loading: false,
            progress: Progress::default(),
            load: None,
            log_base_bytes: 0,
            rewrite_started_seconds: 0,
            failed_rewrites: 0,
            next_rewrite_seconds: 0,
        }
    }
}

impl State {
    /// Whether a snapshot is being written.
    pub fn saving(&self) -> bool {
        self.job.as_ref().is_some_and(|job| job.purpose == Purpose::Snapshot)
    }

    /// Whether nothing may begin to walk now.
    pub(in crate::engine) fn busy(&self) -> bool {
        self.job.is_some() || self.rewriting
    }
}

impl Engine {
    fn now_seconds(&self) -> i64 {
        self.now_micros / 1_000_000
    }

    /// Begins a rewrite: the log prepares its next increment, then the walk begins; without a log it
    /// begins at once.
    pub fn begin_rewrite(&mut self) {
        self.persistence.rewriting = true;
        match &mut self.log {
            Some(log) => log.begin_rewrite(),
            // Where it can't begin, that has been logged and noted.
            None => drop(self.begin_walk(Purpose::Rewrite)),
        }
    }

    /// Looks after what the log's workers have done. At the end of each tick, when the tick's frame
    /// has been written.
    pub(in crate::engine) fn poll_log(&mut self) {
        let Some(log) = &mut self.log else { return };
        let status = log.poll(self.env.clock.monotonic_nanos());
        if let Some(error) = status.error {
            self.log_failed(&error);
        }
        if status.healed {
            tracing::warn!("AOF write error looks solved. The server can write again.");
        }
        self.take_rewrite_event(status.rewrite);
    }

    fn take_rewrite_event(&mut self, event: Option<RewriteEvent>) {
        match event {
            None => {}
            Some(RewriteEvent::Prepared) => {
                // The base has what was done so far, and it goes to the increment before.
                self.write_log();
                let position = self.journal.end();
                let switched = self.log.as_mut().is_some_and(|log| log.switch(position));
                if !switched || !self.begin_walk(Purpose::Rewrite) {
                    self.walk_failed(Purpose::Rewrite);
                }
            }
            Some(RewriteEvent::Finished) => self.rewrite_done(),
            Some(RewriteEvent::Failed(error)) => {
                tracing::error!("Background AOF rewrite failed: {error}");
                self.note_rewrite(false, -1);
            }
        }
    }

    fn rewrite_done(&mut self) {
        tracing::info!("Background AOF rewrite finished successfully");
        let took = self.now_seconds() - self.persistence.rewrite_started_seconds;
        self.note_rewrite(true, took);
    }

    /// Begins a walk. False where that is not possible, which is logged.
    pub(in crate::engine) fn begin_walk(&mut self, purpose: Purpose) -> bool {
        debug_assert!(self.persistence.job.is_none(), "one walk at a time");
        self.persistence.last_try_seconds = self.now_seconds();
        if purpose == Purpose::Snapshot {
            self.mark_log_left();
            // Later it would be too late: this snapshot holds more than that log.
            self.persistence.log_left = None;
        }
        let writer = match self.snapshot_writer(purpose) {
            Ok(writer) => writer,
            Err(error) => {
                let what = match purpose {
                    Purpose::Snapshot => "Background saving error",
                    Purpose::Rewrite => "Background AOF rewrite terminated by an error",
                };
                tracing::error!("{what}: can't open the temporary file: {error}");
                self.walk_failed(purpose);
                return false;
            }
        };
        let mut version = self.settings.rdb_version as u16;
        if (0..self.databases.count()).any(|db| self.databases.expiring_hashes(DbIndex(db)) > 0) {
            // Fields' expiry times can't be told in less.
            version = version.max(VERSION_FIELD_EXPIRY);
        }
        let options = EncodeOptions { version, compress: self.settings.rdbcompression };
        let mut bytes = Vec::with_capacity(CHUNK_BYTES + 4096);
        let form = match self.base_form(purpose) {
            BaseForm::Rdb => {
                self.push_header(&mut bytes, &options, purpose);
                Form::Rdb(options)
            }
            BaseForm::Commands => Form::Commands,
        };
        let buffer = Arc::new(Mutex::new(WalkBuffer::new(form, bytes)));
        self.databases.begin_snapshot(|db| Box::new(DbSink { db, buffer: Arc::clone(&buffer) }));
        match purpose {
            Purpose::Snapshot => tracing::info!("Background saving started by this process"),
            Purpose::Rewrite => {
                self.persistence.rewrite_started_seconds = self.now_seconds();
                tracing::info!("Background append only file rewriting started by this process");
            }
        }
        let base_form = self.base_form(purpose);
        if let Some(log) = &mut self.log {
            log.set_saving(true);
            if purpose == Purpose::Rewrite {
                log.set_base_form(base_form);
            }
        }
        self.persistence.job = Some(Job {
            purpose,
            started_seconds: self.now_seconds(),
            started_nanos: self.env.clock.monotonic_nanos(),
            writer,
            buffer,
            taken: false,
            walked: false,
            cancelled: false,
            dirty_at_start: self.persistence.dirty,
            keys: self.databases.total_keys(),
        });
        true
    }

    fn base_form(&self, purpose: Purpose) -> BaseForm {
        match purpose {
            Purpose::Rewrite if !self.settings.aof_use_rdb_preamble => BaseForm::Commands,
            _ => BaseForm::Rdb,
        }
    }

    fn snapshot_writer(&self, purpose: Purpose) -> std::io::Result<SnapshotWriter> {
        let layout = self.layout();
        let (temporary, target) = match (purpose, &self.log) {
            (Purpose::Rewrite, Some(log)) => (log.base_temporary(), Target::Base),
            (Purpose::Rewrite, None) => {
                let form = self.base_form(purpose);
                let keep_history = self.settings.aof_disable_auto_gc;
                let base = DetachedBase::begin(&*self.env.disk, layout, form, keep_history)?;
                (base.temporary(), Target::DetachedBase(base))
            }
            (Purpose::Snapshot, _) => {
                let name = layout.data_file(&layout.snapshot_name);
                (snapshot::temporary_name(&layout.dir), Target::Name(name))
            }
        };
        let options = SnapshotOptions {
            temporary,
            target,
            trailer: match self.base_form(purpose) {
                BaseForm::Commands => Trailer::Bare,
                BaseForm::Rdb if self.settings.rdbchecksum => Trailer::Checksum,
                BaseForm::Rdb => Trailer::NoChecksum,
            },
            incremental_sync: match purpose {
                Purpose::Snapshot => self.settings.rdb_save_incremental_fsync,
                Purpose::Rewrite => self.settings.aof_rewrite_incremental_fsync,
            },
        };
        SnapshotWriter::create(&self.env, options, self.remote_waker())
    }

    fn push_header(&mut self, bytes: &mut Vec<u8>, options: &EncodeOptions, purpose: Purpose) {
        let base: &[u8] = if purpose == Purpose::Rewrite { b"1" } else { b"0" };
        // Tells any two files apart; `persist::detached` needs that.
        let id = format!("{:016x}", self.rng.next_u64());
        let now = self.now_seconds().to_string();
        let used = self.used_memory().to_string();
        encode::header(bytes, options);
        for (key, value) in [
            (&b"redis-ver"[..], crate::config::REDIS_VERSION.as_bytes()),
            (b"redis-bits", b"64"),
            (b"ctime", now.as_bytes()),
            (b"used-mem", used.as_bytes()),
            (b"aof-base", base),
            (b"redstart-id", id.as_bytes()),
        ] {
            encode::aux(bytes, options, key, value);
        }
        if let Some(position) = self.stream_position() {
            let db = self.journal.selected().unwrap_or_default().to_string();
            encode::aux(bytes, options, b"repl-stream-db", db.as_bytes());
            encode::aux(bytes, options, b"repl-id", position.id.digits());
            encode::aux(bytes, options, b"repl-offset", position.offset.to_string().as_bytes());
        }
    }

    /// Does a slice of the walk; true where the next should follow soon.
    pub(in crate::engine) fn background_slice(&mut self) -> bool {
        if self.persistence.load.is_some() {
            return self.load_slice();
        }
        let Some(mut job) = self.persistence.job.take() else { return false };
        let more = self.walk_slice(&mut job, SLICE_MICROS);
        match job.writer.poll() {
            None => self.persistence.job = Some(job),
            Some(result) => {
                // The disk may have been faster.
                job.cancelled &=
                    matches!(&result, Err(error) if error.kind() == ErrorKind::Interrupted);
                self.walk_done(job, result.map(|_| ()).map_err(|error| error.to_string()));
            }
        }
        more
    }

    /// Walks for about `micros`; false where the walk is over or has to wait for the writer.
    fn walk_slice(&mut self, job: &mut Job, micros: u64) -> bool {
        if job.walked {
            return false;
        }
        let bound = self.env.stopwatch.ticks_of(micros);
        let began = self.env.stopwatch.ticks();
        loop {
            if job.writer.backlog_bytes() > snapshot::BACKLOG_BYTES_MAX || self.is_ahead(job) {
                return false;
            }
            let complete = job.taken;
            job.taken = complete || self.databases.snapshot_slice(SLICE_ENTRIES);
            let mut buffer = job.buffer.lock().unwrap_or_else(PoisonError::into_inner);
            for part in std::mem::take(&mut buffer.parts) {
                job.writer.write(part.before);
                job.writer.write_later(part.bytes, part.encode);
            }
            if complete {
                buffer.end();
            }
            if complete || buffer.bytes.len() >= CHUNK_BYTES {
                let next = job.writer.take_buffer();
                let chunk = std::mem::replace(&mut buffer.bytes, next);
                drop(buffer);
                job.writer.write(chunk);
            }
            if complete {
                job.walked = true;
                job.writer.finish();
                return false;
            }
            if self.env.stopwatch.ticks() - began > bound {
                return true;
            }
        }
    }

    /// Whether the walk is faster than `rdb-key-save-delay` wants it: a test's way to have a walk
    /// under way for as long as it likes.
    fn is_ahead(&self, job: &Job) -> bool {
        let delay_micros = self.settings.rdb_key_save_delay;
        if delay_micros <= 0 {
            return false;
        }
        let due = job.keys_taken().saturating_mul(delay_micros as u64).saturating_mul(1000);
        self.env.clock.monotonic_nanos().saturating_sub(job.started_nanos) < due
    }

    /// The writer has finished, one way or the other.
    fn walk_done(&mut self, job: Job, result: Result<(), String>) {
        if !job.walked {
            self.databases.abort_snapshot();
        }
        self.mark_log_left();
        if let Some(log) = &mut self.log {
            log.set_saving(false);
        }
        let took = self.now_seconds() - job.started_seconds;
        match (job.purpose, result) {
            (Purpose::Snapshot, Ok(())) => {
                tracing::info!("DB saved on disk");
                tracing::info!("Background saving terminated with success");
                self.persistence.dirty -= job.dirty_at_start.min(self.persistence.dirty);
                self.persistence.last_save_seconds = self.now_seconds();
                self.persistence.last_save_ok = true;
                self.persistence.last_save_took = took;
                self.persistence.saves += 1;
            }
            (Purpose::Snapshot, Err(_)) if job.cancelled => {
                tracing::info!("Background saving cancelled");
                self.persistence.last_save_took = took;
            }
            (Purpose::Snapshot, Err(error)) => {
                tracing::error!("Background saving error: {error}");
                self.persistence.last_save_ok = false;
                self.persistence.last_save_took = took;
            }
            (Purpose::Rewrite, Ok(())) => match &mut self.log {
                Some(log) => log.finish_rewrite(&log.base_temporary()),
                None => self.rewrite_done(),
            },
            (Purpose::Rewrite, Err(error)) => {
                tracing::error!("Background AOF rewrite terminated by an error: {error}");
                self.walk_failed(Purpose::Rewrite);
            }
        }
    }

    fn walk_failed(&mut self, purpose: Purpose) {
        match purpose {
            Purpose::Snapshot => self.persistence.last_save_ok = false,
            Purpose::Rewrite => {
                if let Some(log) = &mut self.log {
                    log.abort_rewrite();
                }
                self.note_rewrite(false, 0);
            }
        }
    }

    fn note_rewrite(&mut self, ok: bool, took: i64) {
        let size = self.log.as_ref().map_or(0, Log::size_bytes);
        let state = &mut self.persistence;
        state.rewriting = false;
        // A first base that failed is tried again.
        state.rewriting_first &= !ok;
        state.last_rewrite_ok = ok;
        state.last_rewrite_took = took;
        if ok {
            state.log_base_bytes = size;
            state.rewrites += 1;
            state.rewrites_failed_in_a_row = 0;
            state.failed_rewrites = 0;
            state.next_rewrite_seconds = 0;
        } else {
            state.rewrites_failed_in_a_row += 1;
            // Upstream's pace of repeats: a minute at first, doubled up to an hour. While writes are
            // refused until one succeeds, it is that of snapshots at first, up to a minute.
            state.failed_rewrites = (state.failed_rewrites + 1).min(7);
            let doubled = 1i64 << (state.failed_rewrites - 1);
            let awaited = self.log.as_ref().is_some_and(Log::needs_rewrite);
            let pause = if awaited { (5 * doubled).min(60) } else { doubled.min(60) * 60 };
            state.next_rewrite_seconds = self.now_micros / 1_000_000 + pause;
        }
    }

    /// Has the walk under way end without a result, as soon as its file is removed.
    pub(in crate::engine) fn cancel_walk(&mut self) {
        if let Some(job) = &mut self.persistence.job {
            job.cancelled = true;
            job.writer.cancel();
            if !std::mem::replace(&mut job.walked, true) {
                self.databases.abort_snapshot();
            }
        }
    }

    /// Ends the walk and the rewrite under way without a result.
    pub fn abort_walk(&mut self) {
        if let Some(job) = self.persistence.job.take() {
            self.databases.abort_snapshot();
            job.writer.abort();
            if let Some(log) = &mut self.log {
                log.set_saving(false);
            }
            self.mark_log_left();
        }
        if self.persistence.rewriting {
            self.persistence.rewriting = false;
            if let Some(log) = &mut self.log {
                log.abort_rewrite();
            }
        }
    }

    /// Does the whole walk under way now, clients waiting. False where it failed.
    pub fn finish_walk(&mut self) -> bool {
        let Some(mut job) = self.persistence.job.take() else { return true };
        while !job.walked {
            if self.shutdown.is_insisted() {
                tracing::warn!("You insist... exiting now.");
                self.databases.abort_snapshot();
                job.writer.abort();
                self.shutdown.exit_now(1);
                return false;
            }
            if !self.walk_slice(&mut job, FOREGROUND_MICROS) && !job.walked {
                // The writer is behind: the thread needs the processor more than this one does.
                std::thread::sleep(std::time::Duration::from_micros(100));
            }
        }
        let result = job.writer.wait().map(|_| ()).map_err(|error| error.to_string());
        let ok = result.is_ok();
        self.walk_done(job, result);
        ok
    }

    /// Waits until the rewrite under way is in place, or has failed.
    pub(in crate::engine) fn wait_for_rewrite(&mut self) {
        let event = self.log.as_mut().and_then(Log::wait_for_rewrite);
        self.take_rewrite_event(event);
    }

    /// Writes a snapshot now. A walk for another purpose is ended first.
    pub fn save_now(&mut self) -> bool {
        self.abort_walk();
        let was_ok = self.persistence.last_save_ok;
        let saved = self.begin_walk(Purpose::Snapshot) && self.finish_walk();
        if !saved {
            // Whoever asked for it is told; only a snapshot in the background stops writes.
            self.persistence.last_save_ok = was_ok;
        }
        saved
    }

    /// After FLUSHALL: the snapshot on disk must not bring back what was emptied. One under way is
    /// given up, and where `save` points are set an empty one is written before the reply.
    #[cold]
    pub(in crate::engine) fn save_emptiness(&mut self) {
        if self.persistence.loading {
            return;
        }
        if self.persistence.saving() {
            self.abort_walk();
        }
        if self.settings.save.is_empty() {
            return;
        }
        if self.persistence.busy() {
            // The log is being rewritten, and says it all.
            self.persistence.save_scheduled = true;
        } else {
            self.save_now();
        }
    }

    /// A frame could not be written.
    pub(in crate::engine) fn log_failed(&mut self, error: &LogError) {
        tracing::error!("{error}");
        if self.log.as_ref().is_some_and(|log| log.gates_replies()) {
            // Replies of this tick would be a lie, and there is no way to take the changes back.
            match error.doing {
                Doing::Sync => tracing::error!(
                    "Can't persist AOF for fsync error when the AOF fsync policy is 'always': {}. \
                     Exiting...",
                    error.source
                ),
                _ => tracing::error!(
                    "Can't recover from AOF write error when the AOF fsync policy is 'always'. \
                     Exiting..."
                ),
            }
            self.shutdown.exit_now(1);
        }
    }

    /// Ten times a second: what waits for its turn, `save` points, the log's growth.
    pub(in crate::engine) fn persistence_cron(&mut self) {
        if std::mem::take(&mut self.persistence.log_scheduled)
            && let Err(error) = self.start_log()
        {
            tracing::error!("Can't turn the append only file on: {error}");
            self.settings.appendonly = false;
        }
        if self.persistence.busy() || self.persistence.loading {
            return;
        }
        let now = self.now_seconds();
        if self.persistence.rewrite_scheduled {
            self.persistence.rewrite_scheduled = false;
            self.begin_rewrite();
            return;
        }
        if self.persistence.save_scheduled {
            self.persistence.save_scheduled = false;
            self.begin_walk(Purpose::Snapshot);
            return;
        }
        let state = &self.persistence;
        let since = now - state.last_save_seconds;
        // After a failure: not more often than every five seconds.
        let may_try = state.last_save_ok || now - state.last_try_seconds > 5;
        let due = self
            .settings
            .save
            .iter()
            .find(|point| state.dirty >= point.changes && since > point.seconds as i64);
        if let Some(point) = due
            && may_try
        {
            tracing::info!("{} changes in {} seconds. Saving...", point.changes, point.seconds);
            self.begin_walk(Purpose::Snapshot);
            return;
        }
        self.rewrite_if_grown(now);
    }

    fn rewrite_if_grown(&mut self, now: i64) {
        let Some(log) = &self.log else { return };
        if log.needs_rewrite() && now >= self.persistence.next_rewrite_seconds {
            tracing::info!("Rewriting the append only file, which can't be relied on any more");
            self.begin_rewrite();
            return;
        }
        let percentage = self.settings.auto_aof_rewrite_percentage;
        let size = log.size_bytes();
        if percentage == 0
            || size < self.settings.auto_aof_rewrite_min_size
            || now < self.persistence.next_rewrite_seconds
        {
            return;
        }
        let base = self.persistence.log_base_bytes.max(1);
        let growth = size.saturating_mul(100) / base;
        if growth >= percentage + 100 {
            tracing::info!("Starting automatic rewriting of AOF on {}% growth", growth - 100);
            self.begin_rewrite();
        }
    }
}
