//! A walk over the keyspace, from its first entry to its writer's last word.
//!
//! ```text
//!  begin_job ──► Taking ──────────────────► Handed ──► the writer's outcome
//!                  │   all entries are taken    │
//!                  └──────► GivenUp ◄───────────┘  by a client; or while taking: the disk stands
//!                                                  still, or more waits for it than may
//! ```
//!
//! Without fork: each tick does a slice of it, entries about to change are taken first (the table sees
//! to that), and the bytes go to a writer on its own thread ([`crate::persist::snapshot`]). The walk
//! itself waits where `BACKLOG_BYTES_MAX` do; what commands hand it before they change something
//! can't wait, and is bounded by having those commands wait: see `Job::writers_wait`.
//!
//! A job belongs to [`super::walks`], but for that of SAVE, which nobody else ever sees. Proven by
//! `tests/walks` (a disk that stands still) and `tests/engine_crash` (one that fails).

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::env::Env;
use crate::config::kinds::EvictionPolicy;
use crate::engine::Engine;
use crate::engine::keep::walk_buffer::{DbSink, Form, WalkBuffer};
use crate::engine::keep::walks::Purpose;
use crate::keyspace::access::Remembered;
use crate::keyspace::databases::{Databases, DbIndex};
use crate::keyspace::table::EntrySink;
use crate::persist::detached::DetachedBase;
use crate::persist::manifest::BaseForm;
use crate::persist::snapshot::{Outcome, SnapshotOptions, SnapshotWriter, Target, Trailer};
use crate::persist::temporaries;
use crate::rdb::encode::{self, EncodeOptions};
use crate::rdb::format::VERSION_FIELD_EXPIRY;
use crate::resp::record::push_command;

/// Bytes queued with the writer above which a walk takes no more, unless `walk-memory-max` is small.
const BACKLOG_BYTES_MAX: usize = 8 << 20;
/// Room for the first chunk.
const FIRST_CHUNK_BYTES: usize = 20 << 10;
/// Entries between two looks at the clock.
const SLICE_ENTRIES: usize = 32;
/// Time that one tick gives the walk, in microseconds.
pub(in crate::engine) const SLICE_MICROS: u64 = 25;
/// The same while clients wait for the walk: between two looks for a second SIGINT.
const FOREGROUND_MICROS: u64 = 10_000;
/// How long the writer may make no headway while the walk takes entries.
const STUCK_NANOS: u64 = 5_000_000_000;

/// The part of a core, in percent, that the writer's thread may take while clients are at it: what it
/// takes, they don't get. Beside 8 clients that write 1 KB each on two cores, 28 costs them 33 % of
/// their writes for 1.3 s a GB (26: 31 % for 1.5 s); alone a walk lasts 0.8 s.
const LOADED_PERCENT: u64 = 28;
/// It takes its part in turns, which begin when it has saved up so much time, and end when it owes as
/// much, in nanoseconds. With turns as short as a slice, 26 % of a core costs clients 39 % of their writes:
/// they and the server then sleep before each reply, and waking a thread costs time on both sides.
/// Between long turns both stay awake.
const TURN_NANOS: i64 = 30_000_000;
/// How much of that time may be owed: a burst, not a standstill.
const ALLOWANCE_NANOS: i64 = 5 * TURN_NANOS;
/// Clients are at it when they have sent so many commands in a time.
const LOADED_COMMANDS: u64 = 10;
const LOADED_NANOS: u64 = 1_000_000;

/// Processor time that the writer may take now.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    nanos: i64,
    /// It has had its turn, and saves up for the next.
    rests: bool,
    /// When it was last looked at.
    since_nanos: u64,
    /// What the writer had taken by then.
    cost_nanos: u64,
    /// When commands were last counted, and how many had been executed.
    counted_nanos: u64,
    commands: u64,
    /// Whether many came.
    loaded: bool,
}

impl Allowance {
    fn new(now_nanos: u64, commands: u64) -> Self {
        let (since_nanos, counted_nanos) = (now_nanos, now_nanos);
        Self {
            nanos: 0,
            rests: false,
            since_nanos,
            cost_nanos: 0,
            counted_nanos,
            commands,
            loaded: false,
        }
    }

    /// Goes on to now; says whether the walk should leave the processor to clients.
    fn is_spent(&mut self, now_nanos: u64, cost_nanos: u64, commands: u64) -> bool {
        let earned = now_nanos.saturating_sub(self.since_nanos) * LOADED_PERCENT / 100;
        let taken = cost_nanos.saturating_sub(self.cost_nanos);
        let nanos = self.nanos.saturating_add_unsigned(earned).saturating_sub_unsigned(taken);
        self.nanos = nanos.clamp(-ALLOWANCE_NANOS, TURN_NANOS);
        self.rests = if self.rests { nanos < TURN_NANOS } else { nanos < -TURN_NANOS };
        (self.since_nanos, self.cost_nanos) = (now_nanos, cost_nanos);
        let elapsed = now_nanos.saturating_sub(self.counted_nanos);
        if elapsed >= LOADED_NANOS {
            let came = commands.saturating_sub(self.commands);
            self.loaded = came * LOADED_NANOS >= LOADED_COMMANDS * elapsed;
            (self.counted_nanos, self.commands) = (now_nanos, commands);
        }
        self.loaded && self.rests
    }
}

/// How far a walk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Entries are taken; those about to change first.
    Taking,
    /// Every entry has been handed to the writer.
    Handed,
    /// It comes to nothing; its file is being removed.
    GivenUp(Cause),
}

/// Why a walk was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// A client asked for it.
    Cancelled,
    /// The writer made no headway.
    Stuck,
    /// More waited for the writer than may.
    Overflowed,
}

impl Cause {
    fn error(self) -> io::Error {
        match self {
            Self::Cancelled => ErrorKind::Interrupted.into(),
            Self::Stuck => io::Error::new(
                ErrorKind::TimedOut,
                format!("the disk has taken nothing for {} seconds", STUCK_NANOS / 1_000_000_000),
            ),
            Self::Overflowed => io::Error::other(
                "changes came faster than the disk takes them, and walk-memory-max was reached",
            ),
        }
    }
}

/// What the writer had done when it was last looked at.
#[derive(Clone, Copy, Debug)]
struct Headway {
    bytes: u64,
    since_nanos: u64,
}

/// A walk under way.
#[derive(Debug)]
pub struct Job {
    /// What it is for.
    pub purpose: Purpose,
    /// When it began, in seconds since the epoch.
    pub(crate) started_seconds: i64,
    /// The same on the monotonic clock, in nanoseconds.
    started_nanos: u64,
    buffer: Arc<Mutex<WalkBuffer>>,
    phase: Phase,
    headway: Headway,
    allowance: Allowance,
    /// `walk-memory-max`, as it was when the walk began.
    memory_max: usize,
    /// Commands that write wait while more copies than this wait for the writer.
    writers_limit: usize,
    /// Changes since the last snapshot, at the beginning.
    pub(crate) dirty_at_start: u64,
    /// Keys that there were at the beginning.
    pub keys: u64,
}

/// How a foreground walk is interrupted: by this, where it is set.
pub(in crate::engine) type Interrupt<'a> = &'a dyn Fn() -> bool;

impl Job {
    fn buffer(&self) -> MutexGuard<'_, WalkBuffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keys that have been taken.
    pub(crate) fn keys_taken(&self) -> u64 {
        self.buffer().entries
    }

    /// Bytes of copies that wait for the writer.
    pub fn waiting_bytes(&self) -> usize {
        self.buffer().writer.copied_bytes()
    }

    /// Bytes that wait for the writer, in memory.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.buffer().writer.backlog_bytes()
    }

    /// Whether a client has asked for its end.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.phase == Phase::GivenUp(Cause::Cancelled)
    }

    /// Whether commands that change something must wait for the writer: from half of the memory that
    /// may wait on. While the writer stands still the bound rises to the whole within the time after
    /// which the walk is given up, so that clients get on slowly and never stand still for long.
    pub(in crate::engine) fn writers_wait(&self) -> bool {
        self.phase == Phase::Taking && self.waiting_bytes() > self.writers_limit
    }

    /// Walks for about `micros`, not faster than a key in `delay_micros` (`rdb-key-save-delay`: a
    /// test's way to have a walk under way for as long as it likes). False where it is over or has to
    /// wait for the writer.
    fn slice(
        &mut self,
        databases: &mut Databases,
        env: &Env,
        micros: u64,
        delay_micros: i64,
    ) -> bool {
        let bound = env.stopwatch.ticks_of(micros);
        let began = env.stopwatch.ticks();
        while self.phase == Phase::Taking {
            let queued = self.buffer().writer.backlog_bytes();
            if queued > BACKLOG_BYTES_MAX.min(self.memory_max / 4)
                || self.is_ahead(env, delay_micros)
            {
                return false;
            }
            if databases.snapshot_slice(SLICE_ENTRIES) {
                // The last entries count for `rdb-key-save-delay` as well.
                if self.is_ahead(env, delay_micros) {
                    return false;
                }
                self.phase = Phase::Handed;
                self.buffer().end();
                return false;
            }
            if env.stopwatch.ticks() - began > bound {
                return true;
            }
        }
        false
    }

    fn is_ahead(&self, env: &Env, delay_micros: i64) -> bool {
        if delay_micros <= 0 {
            return false;
        }
        let due = self.keys_taken().saturating_mul(delay_micros as u64).saturating_mul(1000);
        env.clock.monotonic_nanos().saturating_sub(self.started_nanos) < due
    }

    /// Looks after the bounds: gives the walk up where they don't hold.
    fn check(&mut self, databases: &mut Databases, env: &Env) {
        if self.phase != Phase::Taking {
            return;
        }
        let now = env.clock.monotonic_nanos();
        let (done, queued, overflowed) = {
            let buffer = self.buffer();
            (buffer.writer.done_bytes(), buffer.writer.backlog_bytes(), buffer.overflowed)
        };
        if queued == 0 || done != self.headway.bytes {
            self.headway = Headway { bytes: done, since_nanos: now };
        }
        let stuck = now.saturating_sub(self.headway.since_nanos).min(STUCK_NANOS);
        if overflowed {
            self.give_up(databases, Cause::Overflowed);
        } else if stuck == STUCK_NANOS {
            self.give_up(databases, Cause::Stuck);
        }
        let half = self.memory_max / 2;
        self.writers_limit = half + (half as u64 * (stuck / 1000) / (STUCK_NANOS / 1000)) as usize;
    }

    fn give_up(&mut self, databases: &mut Databases, cause: Cause) {
        if self.phase == Phase::Taking {
            databases.abort_snapshot();
        }
        self.phase = Phase::GivenUp(cause);
        if cause != Cause::Cancelled {
            tracing::warn!("Giving up the {} under way: {}", self.purpose, cause.error());
        }
        self.buffer().writer.cancel(cause.error());
    }

    /// Has it end without a result, as soon as its file is removed.
    pub(in crate::engine) fn cancel(&mut self, databases: &mut Databases) {
        self.give_up(databases, Cause::Cancelled);
    }

    /// A slice of it, and what came of it where it is over. `commands` is how many the server has
    /// executed.
    pub(in crate::engine) fn advance(
        &mut self,
        databases: &mut Databases,
        env: &Env,
        delay_micros: i64,
        commands: u64,
    ) -> (bool, Option<io::Result<Outcome>>) {
        let cost = self.buffer().writer.cost_nanos();
        let spent = self.allowance.is_spent(env.clock.monotonic_nanos(), cost, commands);
        let more = !spent && self.slice(databases, env, SLICE_MICROS, delay_micros);
        self.check(databases, env);
        let outcome = self.buffer().writer.poll();
        if outcome.is_some() && self.phase == Phase::Taking {
            // The disk has failed before all entries were taken: the table goes on without a snapshot.
            databases.abort_snapshot();
            self.phase = Phase::Handed;
        }
        (more, outcome)
    }

    /// Takes all that is left to be taken, clients waiting. False where it was interrupted.
    pub(in crate::engine) fn take_rest(
        &mut self,
        databases: &mut Databases,
        env: &Env,
        delay_micros: i64,
        interrupted: Interrupt<'_>,
    ) -> bool {
        while self.phase == Phase::Taking {
            if interrupted() {
                return false;
            }
            let more = self.slice(databases, env, FOREGROUND_MICROS, delay_micros);
            if !more && self.phase == Phase::Taking {
                // The writer is behind: the thread needs the processor more than this one does.
                std::thread::sleep(Duration::from_micros(100));
            }
            self.check(databases, env);
        }
        true
    }

    /// Waits for what comes of it. Every entry must have been taken.
    pub(in crate::engine) fn wait(&self) -> io::Result<Outcome> {
        self.buffer().writer.wait()
    }

    /// Ends it without a result; its file is gone afterwards.
    pub(in crate::engine) fn abort(&mut self, databases: &mut Databases) {
        if self.phase == Phase::Taking {
            databases.abort_snapshot();
        }
        self.buffer().writer.abort();
    }
}

impl Engine {
    /// Begins a walk over the keyspace, as it is now.
    ///
    /// # Errors
    /// Its file can't be created.
    pub(in crate::engine) fn begin_job(&mut self, purpose: Purpose) -> io::Result<Job> {
        if purpose == Purpose::Save {
            self.mark_log_left();
            // Later it would be too late: this snapshot holds more than that log.
            self.persistence.log_left = None;
        }
        let writer = self.snapshot_writer(purpose)?;
        let of_sync = if purpose == Purpose::Sync { self.sync_walk_version() } else { None };
        let mut version = of_sync.unwrap_or(self.settings.rdb_version as u16);
        if (0..self.databases.count()).any(|db| self.databases.expiring_hashes(DbIndex(db)) > 0) {
            // Fields' expiry times can't be told in less.
            version = version.max(VERSION_FIELD_EXPIRY);
        }
        let options = EncodeOptions { version, compress: self.settings.rdbcompression };
        let mut bytes = Vec::with_capacity(FIRST_CHUNK_BYTES);
        let base_form = self.base_form(purpose);
        let form = match base_form {
            BaseForm::Rdb => {
                self.push_header(&mut bytes, &options, purpose);
                Form::Rdb(options)
            }
            BaseForm::Commands => {
                if self.library_texts().next().is_some() {
                    // As redis-server's do, commands without frames begin with SELECT.
                    let words: [&[u8]; 2] = [b"SELECT", b"0"];
                    push_command(&mut bytes, words.into_iter());
                }
                for text in self.library_texts() {
                    let words: [&[u8]; 3] = [b"FUNCTION", b"LOAD", text];
                    push_command(&mut bytes, words.into_iter());
                }
                Form::Commands
            }
        };
        let memory_max = self.settings.walk_memory_max as usize;
        let remembered = match self.settings.maxmemory_policy {
            EvictionPolicy::AllkeysLru | EvictionPolicy::VolatileLru => self.databases.recency(),
            EvictionPolicy::AllkeysLfu | EvictionPolicy::VolatileLfu => self.databases.frequency(),
            _ => Remembered::Nothing,
        };
        let buffer = WalkBuffer::new(form, bytes, remembered, writer, memory_max);
        let buffer = Arc::new(Mutex::new(buffer));
        let sink = |db| Box::new(DbSink { db, buffer: Arc::clone(&buffer) }) as Box<dyn EntrySink>;
        let sizes = self.databases.begin_snapshot(sink);
        buffer.lock().unwrap_or_else(PoisonError::into_inner).expect(sizes);
        if matches!(purpose, Purpose::Rewrite | Purpose::FirstBase)
            && let Some(log) = &mut self.log
        {
            log.set_base_form(base_form);
        }
        let now_nanos = self.env.clock.monotonic_nanos();
        Ok(Job {
            purpose,
            started_seconds: self.now_seconds(),
            started_nanos: now_nanos,
            buffer,
            phase: Phase::Taking,
            headway: Headway { bytes: 0, since_nanos: now_nanos },
            allowance: Allowance::new(now_nanos, self.metrics.commands),
            memory_max,
            writers_limit: memory_max / 2,
            dirty_at_start: self.persistence.dirty,
            keys: self.databases.total_keys(),
        })
    }

    /// Does a whole walk now, clients waiting. None where a second SIGINT ended it, and the server.
    pub(in crate::engine) fn complete(&mut self, job: &mut Job) -> Option<io::Result<Outcome>> {
        let delay = self.settings.rdb_key_save_delay;
        let shutdown = &self.shutdown;
        if job.take_rest(&mut self.databases, &self.env, delay, &|| shutdown.is_insisted()) {
            return Some(job.wait());
        }
        tracing::warn!("You insist... exiting now.");
        job.abort(&mut self.databases);
        self.shutdown.exit_now(1);
        None
    }

    pub(in crate::engine) fn base_form(&self, purpose: Purpose) -> BaseForm {
        match purpose {
            Purpose::Rewrite | Purpose::FirstBase if !self.settings.aof_use_rdb_preamble => {
                BaseForm::Commands
            }
            _ => BaseForm::Rdb,
        }
    }

    fn snapshot_writer(&self, purpose: Purpose) -> io::Result<SnapshotWriter> {
        let layout = self.layout();
        let (temporary, target) = match (purpose, &self.log) {
            (Purpose::Rewrite | Purpose::FirstBase, Some(log)) => {
                (log.base_temporary(), Target::Base)
            }
            (Purpose::Rewrite | Purpose::FirstBase, None) => {
                let form = self.base_form(purpose);
                let keep_history = self.settings.aof_disable_auto_gc;
                let base = DetachedBase::begin(&*self.env.disk, layout, form, keep_history)?;
                (base.temporary(), Target::DetachedBase(base))
            }
            (Purpose::Sync, _) => (self.sync_temporary(), self.sync_target()),
            (Purpose::Save, _) => {
                let name = layout.data_file(&layout.snapshot_name);
                (temporaries::temporary_name(&layout.dir), Target::Name(name))
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
                Purpose::Save => self.settings.rdb_save_incremental_fsync,
                Purpose::Sync => false,
                Purpose::Rewrite | Purpose::FirstBase => {
                    self.settings.aof_rewrite_incremental_fsync
                }
            },
        };
        SnapshotWriter::create(&self.env, options, self.remote_waker())
    }

    fn push_header(&mut self, bytes: &mut Vec<u8>, options: &EncodeOptions, purpose: Purpose) {
        self.push_aux(bytes, options, purpose);
        self.library_texts().for_each(|text| encode::function(bytes, options, text));
    }

    /// What a snapshot says of itself.
    pub(in crate::engine) fn push_aux(
        &mut self,
        bytes: &mut Vec<u8>,
        options: &EncodeOptions,
        purpose: Purpose,
    ) {
        let base: &[u8] = match purpose {
            Purpose::Save | Purpose::Sync => b"0",
            Purpose::Rewrite | Purpose::FirstBase => b"1",
        };
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
            // That of a primary's stream, where one is followed.
            let applied = self.is_replica().then(|| self.sessions[self.replication.applier].db.0);
            let db = applied.or(self.journal.selected()).unwrap_or_default().to_string();
            encode::aux(bytes, options, b"repl-stream-db", db.as_bytes());
            encode::aux(bytes, options, b"repl-id", position.id.digits());
            encode::aux(bytes, options, b"repl-offset", position.offset.to_string().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays the writer: it takes what the walk gives it, a millisecond's worth at a time. The share
    /// of the time that it got, and in how many turns.
    fn share(commands_a_milli: u64) -> (f64, u64) {
        let mut allowance = Allowance::new(0, 0);
        let (mut cost, mut commands, mut turns, mut rested) = (0, 0, 0, true);
        let millis = 10_000;
        for milli in 1..=millis {
            commands += commands_a_milli;
            let rests = allowance.is_spent(milli * 1_000_000, cost, commands);
            if !rests {
                cost += 1_000_000;
            }
            turns += u64::from(rested && !rests);
            rested = rests;
        }
        (cost as f64 / (millis * 1_000_000) as f64, turns)
    }

    #[test]
    fn beside_clients_the_writer_takes_its_part_of_a_core_and_alone_all_it_wants() {
        assert!(share(0).0 > 0.99);
        assert!(share(LOADED_COMMANDS / 2).0 > 0.99, "a few commands are no load");
        let (loaded, turns) = share(100);
        assert!((loaded - LOADED_PERCENT as f64 / 100.0).abs() < 0.01, "{loaded}");
        assert!(
            (20..50).contains(&turns),
            "of 10 s it gets 2.8 s, 60 ms and more at a time: {turns}"
        );
    }
}
