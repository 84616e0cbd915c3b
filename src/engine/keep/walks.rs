//! What walks over the keyspace, what is wanted to, and what begins it.
//!
//! Four purposes need a walk: a snapshot (SAVE, BGSAVE, `save` points), a rewrite of the log
//! (BGREWRITEAOF, its growth, a log that failed), the first base of a log that was turned on, and a
//! full sync of replicas. A keyspace has one walk at a time, and [`Walk`] says which:
//!
//! ```text
//!            ┌────────────── Save(job) / Sync(job) ──────────────┐
//!    Idle ───┤                                                   ├──► Idle
//!      ▲     └─ Rewrite(..) / FirstBase(..): ────────────────────┘     │
//!      │          Preparing ──► Walking(job) ──► Placing               │
//!      │          the log's     the base is      it gets its name,     │
//!      │          next file     written          on the log's thread   │
//!      └──────── start_wanted: the first purpose of Wanted that is due ◄┘
//! ```
//!
//! A rewrite without a log, and a first base that can begin at once, start at `Walking`.
//!
//! Beside it stands what is [`Wanted`]: each purpose is wanted from the moment it is accepted until it
//! has succeeded, whatever comes between: another walk, a failure, a disk that stands still, FLUSHALL.
//! A failure puts it off, for longer each time (`Pace`). Only `Engine::start_wanted` begins walks; it
//! is called when a walk has ended, when something was asked for, and by cron. Withdrawn is what a
//! client takes back (BGSAVE CANCEL, CONFIG SET appendonly no), and a full sync for which no replica
//! waits any more.
//!
//! SAVE is no walk of this state: clients wait for it, so nothing can be seen of it. Where a rewrite
//! takes entries at that moment, the rest of them is taken first, since a table has one snapshot; its
//! writer goes on beside SAVE ([`super::saves`]).
//!
//! Who owns what: this file the state, [`super::walk_job`] one walk, [`super::saves`] and
//! [`super::rewrites`] what the ends of theirs mean, [`crate::persist`] the files. Faults: a disk
//! that refuses (retried, and told to clients by `stop-writes-on-bgsave-error` and MISCONF), one that
//! stands still (given up after seconds, clients paced meanwhile), a kill at any moment. A log never
//! counts as one before it has a base: while the first base is wanted, it promises nothing.
//!
//! Proven by `tests/walks`: random sequences of everything that begins, ends or disturbs a walk, on a
//! simulated disk that fails; by `tests/engine_crash`, a crash at every operation of the disk; and by
//! `tests/faults`, on a real disk.

use std::fmt;

use crate::base::env::SteadyMillis;
use crate::engine::Engine;
use crate::engine::keep::walk_job::Job;
use crate::engine::session::run::Run;
use crate::mailbox::SessionId;
use crate::persist::log::Log;

/// What a walk is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `dump.rdb`.
    Save,
    /// The log's new base, or a base that no log follows.
    Rewrite,
    /// The base of a log that was turned on and has none.
    FirstBase,
    /// A copy of all data for replicas.
    Sync,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Save => "background saving",
            Self::Rewrite => "rewriting of the append only file",
            Self::FirstBase => "writing of the append only file's first base",
            Self::Sync => "writing of a snapshot for replicas",
        })
    }
}

/// How far a new base is.
#[derive(Debug)]
pub enum Stage {
    /// The log's next file is being created. Since when, in seconds since the epoch.
    Preparing(i64),
    /// The base is being written.
    Walking(Job),
    /// It gets its name, and the manifest is written. The walk began then.
    Placing(i64),
}

impl Stage {
    /// When it began, in seconds since the epoch.
    pub(crate) fn started_seconds(&self) -> i64 {
        match self {
            Self::Preparing(since) | Self::Placing(since) => *since,
            Self::Walking(job) => job.started_seconds,
        }
    }
}

/// What walks over the keyspace.
#[derive(Debug, Default)]
pub enum Walk {
    /// Nothing.
    #[default]
    Idle,
    /// A snapshot in the background.
    Save(Job),
    /// A rewrite.
    Rewrite(Stage),
    /// A log's first base.
    FirstBase(Stage),
    /// A full sync.
    Sync(Job),
}

impl Walk {
    /// The walk of a job that has begun.
    pub(in crate::engine) fn of(job: Job) -> Self {
        match job.purpose {
            Purpose::Save => Self::Save(job),
            Purpose::Sync => Self::Sync(job),
            Purpose::Rewrite => Self::Rewrite(Stage::Walking(job)),
            Purpose::FirstBase => Self::FirstBase(Stage::Walking(job)),
        }
    }

    /// A new base at this stage.
    pub(in crate::engine) fn at(purpose: Purpose, stage: Stage) -> Self {
        match purpose {
            Purpose::FirstBase => Self::FirstBase(stage),
            Purpose::Rewrite | Purpose::Save | Purpose::Sync => Self::Rewrite(stage),
        }
    }

    /// What it is for.
    pub(crate) fn purpose(&self) -> Option<Purpose> {
        match self {
            Self::Idle => None,
            Self::Save(_) => Some(Purpose::Save),
            Self::Rewrite(_) => Some(Purpose::Rewrite),
            Self::FirstBase(_) => Some(Purpose::FirstBase),
            Self::Sync(_) => Some(Purpose::Sync),
        }
    }

    /// Whether there is none.
    #[inline]
    pub fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }

    /// Its job, where it is at the keyspace or its file.
    #[inline]
    pub fn job(&self) -> Option<&Job> {
        match self {
            Self::Save(job)
            | Self::Sync(job)
            | Self::Rewrite(Stage::Walking(job))
            | Self::FirstBase(Stage::Walking(job)) => Some(job),
            _ => None,
        }
    }

    /// The same, to go on with it.
    pub(in crate::engine) fn job_mut(&mut self) -> Option<&mut Job> {
        match self {
            Self::Save(job)
            | Self::Sync(job)
            | Self::Rewrite(Stage::Walking(job))
            | Self::FirstBase(Stage::Walking(job)) => Some(job),
            _ => None,
        }
    }

    /// Whether it is for a log's base, be it the first.
    pub fn is_rewrite(&self) -> bool {
        matches!(self, Self::Rewrite(_) | Self::FirstBase(_))
    }

    /// When it began, in seconds since the epoch.
    pub(crate) fn started_seconds(&self) -> Option<i64> {
        match self {
            Self::Idle => None,
            Self::Save(job) | Self::Sync(job) => Some(job.started_seconds),
            Self::Rewrite(stage) | Self::FirstBase(stage) => Some(stage.started_seconds()),
        }
    }
}

/// How long what failed waits: `first` seconds, doubled with each failure up to `most`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Pace {
    first: i64,
    most: i64,
}

impl Pace {
    /// A snapshot: upstream's five seconds at first.
    const SAVE: Self = Self { first: 5, most: 60 };
    /// A rewrite: upstream's pace, a minute up to an hour.
    const REWRITE: Self = Self { first: 60, most: 3600 };
    /// One that writes wait for: they are refused until it succeeds.
    pub(in crate::engine) const AWAITED: Self = Self { first: 5, most: 60 };
    /// A full sync: replicas wait for it.
    const SYNC: Self = Self { first: 1, most: 60 };
    /// A first base: nothing is promised before it is there.
    const FIRST_BASE: Self = Self { first: 1, most: 60 };

    /// The wait after so many failures in a row.
    fn after(self, failures: u32) -> i64 {
        let doubled = self.first << failures.saturating_sub(1).min(16);
        doubled.min(self.most)
    }
}

/// Whether a purpose is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Want {
    /// It isn't.
    #[default]
    No,
    /// It is, since it was accepted and has not succeeded yet.
    Yes {
        /// Not to be tried before.
        not_before: SteadyMillis,
        /// How often it has failed.
        failures: u32,
    },
}

impl Want {
    /// It is wanted, as soon as it can be.
    pub(crate) fn ask(&mut self) {
        let failures = if let Self::Yes { failures, .. } = self { *failures } else { 0 };
        *self = Self::Yes { not_before: SteadyMillis::default(), failures };
    }

    /// Whether it is wanted.
    pub fn is_wanted(self) -> bool {
        self != Self::No
    }

    fn is_due(self, now: SteadyMillis) -> bool {
        matches!(self, Self::Yes { not_before, .. } if not_before <= now)
    }

    /// Where it is put off for longer than `pace` ever does, it is due that soon.
    pub(in crate::engine) fn hasten(&mut self, now: SteadyMillis, pace: Pace) {
        if let Self::Yes { not_before, .. } = self {
            *not_before = (*not_before).min(now.later(pace.most * 1000));
        }
    }

    /// It has failed, and is wanted later.
    fn put_off(&mut self, now: SteadyMillis, pace: Pace) {
        let failures = if let Self::Yes { failures, .. } = self { *failures + 1 } else { 1 };
        *self = Self::Yes { not_before: now.later(pace.after(failures) * 1000), failures };
    }
}

/// What is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// A snapshot.
    pub save: Want,
    /// A rewrite.
    pub rewrite: Want,
    /// The first base of a log that has none, or a log at all: CONFIG SET appendonly yes within a
    /// transaction, which begins behind it.
    pub first_base: Want,
    /// A copy for replicas.
    pub sync: Want,
}

impl Wanted {
    /// The want of a purpose.
    pub(crate) fn of(&mut self, purpose: Purpose) -> &mut Want {
        match purpose {
            Purpose::Save => &mut self.save,
            Purpose::Rewrite => &mut self.rewrite,
            Purpose::FirstBase => &mut self.first_base,
            Purpose::Sync => &mut self.sync,
        }
    }

    /// What is to be tried now: what most depends on comes first.
    fn due(mut self, now: SteadyMillis) -> Option<Purpose> {
        [Purpose::FirstBase, Purpose::Rewrite, Purpose::Sync, Purpose::Save]
            .into_iter()
            .find(|purpose| self.of(*purpose).is_due(now))
    }
}

impl Engine {
    pub(in crate::engine) fn now_seconds(&self) -> i64 {
        self.now_micros / 1_000_000
    }

    /// Begins what is wanted and due, where nothing walks. Not within a transaction, which must be in
    /// a snapshot wholly or not at all.
    pub(in crate::engine) fn start_wanted(&mut self) {
        while self.persistence.walk.is_idle() && !self.persistence.loading {
            let Some(purpose) = self.persistence.wanted.due(self.steady()) else { return };
            // One that can't begin is put off, and so not found again.
            self.start(purpose);
        }
    }

    /// Has a purpose begin, now where nothing else walks. False where it can't begin, which is logged;
    /// it is wanted then only if it was before.
    pub(in crate::engine) fn ask(&mut self, purpose: Purpose) -> bool {
        let before = *self.persistence.wanted.of(purpose);
        self.persistence.wanted.of(purpose).ask();
        if !self.persistence.walk.is_idle() {
            return true;
        }
        let begun = self.start(purpose);
        if !begun && !before.is_wanted() {
            *self.persistence.wanted.of(purpose) = Want::No;
        }
        begun
    }

    fn start(&mut self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Save => self.start_save(),
            Purpose::Sync => self.start_sync(),
            Purpose::Rewrite | Purpose::FirstBase => self.start_rewrite(purpose),
        }
    }

    /// Puts a walk that has begun in its place.
    pub(in crate::engine) fn set_walk(&mut self, walk: Walk) {
        self.persistence.walk = walk;
        let walks = self.persistence.walk.job().is_some();
        if let Some(log) = &mut self.log {
            log.set_saving(walks);
        }
    }

    /// A purpose has failed: it stays wanted, for later.
    pub(in crate::engine) fn put_off(&mut self, purpose: Purpose) {
        let awaited = self.log.as_ref().is_some_and(Log::needs_rewrite);
        let pace = match purpose {
            Purpose::Save => Pace::SAVE,
            Purpose::Sync => Pace::SYNC,
            Purpose::Rewrite if awaited => Pace::AWAITED,
            Purpose::Rewrite => Pace::REWRITE,
            Purpose::FirstBase => Pace::FIRST_BASE,
        };
        let now = self.steady();
        self.persistence.wanted.of(purpose).put_off(now, pace);
    }

    /// A purpose has succeeded.
    pub(in crate::engine) fn fulfil(&mut self, purpose: Purpose) {
        *self.persistence.wanted.of(purpose) = Want::No;
    }

    /// Does a slice of the walk; true where the next should follow soon. At the end of each tick.
    #[inline]
    pub(in crate::engine) fn background_slice(&mut self) -> bool {
        let loads = self.persistence.load.is_some() && self.load_slice();
        let walks = self.persistence.walk.job().is_some() && self.advance_walk();
        loads | walks
    }

    #[cold]
    fn advance_walk(&mut self) -> bool {
        let Some(job) = self.persistence.walk.job_mut() else { return false };
        let (delay, commands) = (self.settings.rdb_key_save_delay, self.metrics.commands);
        let (more, outcome) = job.advance(&mut self.databases, &self.env, delay, commands);
        if let Purpose::Sync = job.purpose {
            self.feed_streaming();
        }
        if let Some(outcome) = outcome {
            let walk = std::mem::take(&mut self.persistence.walk);
            match walk {
                Walk::Save(job) => self.save_ended(&job, outcome),
                Walk::Sync(job) => self.sync_ended(&job, outcome),
                Walk::Rewrite(Stage::Walking(job)) | Walk::FirstBase(Stage::Walking(job)) => {
                    self.base_ended(&job, outcome);
                }
                other => self.persistence.walk = other,
            }
            self.start_wanted();
        }
        self.resume_paced();
        more
    }

    /// Ends the walk under way without a result, and without its having failed. It is wanted still. A
    /// base that is being put in its place is left to that.
    pub(crate) fn abort_walk(&mut self) {
        if let Walk::Rewrite(Stage::Placing(_)) | Walk::FirstBase(Stage::Placing(_)) =
            self.persistence.walk
        {
            return;
        }
        let mut walk = std::mem::take(&mut self.persistence.walk);
        let rewrites = walk.is_rewrite();
        if let Some(job) = walk.job_mut() {
            job.abort(&mut self.databases);
            self.set_walk(Walk::Idle);
            self.mark_log_left();
        }
        if rewrites && let Some(log) = &mut self.log {
            log.abort_rewrite();
        }
        self.resume_paced();
    }

    /// Takes what is left to be taken of the walk under way, clients waiting: another one can begin
    /// then, and this one's writer goes on beside it.
    pub(in crate::engine) fn take_rest_of_walk(&mut self) {
        if let Some(job) = self.persistence.walk.job_mut() {
            job.take_rest(&mut self.databases, &self.env, 0, &|| false);
        }
    }

    /// Ten times a second: what time and growth ask for, and what waits for its turn.
    pub(in crate::engine) fn persistence_cron(&mut self) {
        if self.persistence.loading {
            return;
        }
        self.want_due_save();
        self.want_due_sync();
        self.want_grown_rewrite();
        self.start_wanted();
    }

    // ---- commands that write wait for the walk's writer

    /// Whether commands that write must wait.
    #[inline]
    pub(in crate::engine) fn walk_holds_writers(&self) -> bool {
        self.persistence.walk.job().is_some_and(Job::writers_wait)
    }

    /// Whether a walk takes entries: what changes is handed to it first.
    pub fn walk_is_taking(&self) -> bool {
        self.databases.snapshotting()
    }

    /// A session's command waits for the walk's writer.
    pub(in crate::engine) fn pace(&mut self, slot: SessionId) {
        self.persistence.paced.push(slot);
    }

    /// Lets sessions go on that wait for the walk's writer, where the bound has room again.
    fn resume_paced(&mut self) {
        if self.persistence.paced.is_empty() || self.walk_holds_writers() {
            return;
        }
        for slot in std::mem::take(&mut self.persistence.paced) {
            // Where CLIENT PAUSE holds it, too, it is stopped again by that.
            if matches!(self.sessions.get(slot).map(|session| &session.run), Some(Run::Paced)) {
                self.go_on(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Pace, Purpose, SteadyMillis, Want, Wanted};

    fn at(seconds: i64) -> SteadyMillis {
        SteadyMillis(seconds * 1000)
    }

    #[test]
    fn what_fails_is_put_off_for_longer_each_time_and_asked_for_is_due_at_once() {
        let mut want = Want::No;
        let waits: Vec<i64> = (0..20)
            .map(|_| {
                want.put_off(at(1000), Pace::SAVE);
                let Want::Yes { not_before, .. } = want else { panic!("it is wanted") };
                assert!(!want.is_due(not_before.later(-1)) && want.is_due(not_before));
                not_before.since(at(1000)) / 1000
            })
            .collect();
        assert_eq!(waits[..5], [5, 10, 20, 40, 60]);
        assert!(waits[5..].iter().all(|wait| *wait == 60));
        want.ask();
        assert!(want.is_due(at(0)));
        want.put_off(at(0), Pace::REWRITE);
        assert!(!want.is_due(at(3599)) && want.is_due(at(3600)));
        want.hasten(at(100), Pace::AWAITED);
        assert!(!want.is_due(at(159)) && want.is_due(at(160)));
    }

    #[test]
    fn a_first_base_comes_before_a_rewrite_and_that_before_a_snapshot() {
        let mut wanted = Wanted::default();
        assert_eq!(wanted.due(at(0)), None);
        for purpose in [Purpose::Save, Purpose::Rewrite, Purpose::FirstBase] {
            wanted.of(purpose).ask();
            assert_eq!(wanted.due(at(0)), Some(purpose));
        }
        wanted.first_base.put_off(at(0), Pace::FIRST_BASE);
        assert_eq!(wanted.due(at(0)), Some(Purpose::Rewrite));
        assert_eq!(wanted.due(at(1)), Some(Purpose::FirstBase));
    }
}
