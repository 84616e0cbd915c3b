//! Rewrites of the log and the first base of one that was turned on: what begins them and what their
//! steps mean to the engine. The files are the log's business ([`crate::persist::log_rewrite`]).
//!
//! A rewrite's walk becomes the log's new base; what is committed after its beginning goes into the
//! log's next increment. Without a log it becomes a base that none follows.

use std::io;

use crate::engine::Engine;
use crate::engine::keep::walk_job::Job;
use crate::engine::keep::walks::{Pace, Purpose, Stage, Walk};
use crate::persist::log::{Doing, Log, LogError};
use crate::persist::log_rewrite::RewriteEvent;
use crate::persist::snapshot::Outcome;

impl Engine {
    /// Begins a rewrite or a first base: the log prepares its next increment, then the walk begins;
    /// without a log it begins at once. False where it can't.
    pub(in crate::engine) fn start_rewrite(&mut self, purpose: Purpose) -> bool {
        if let Some(log) = &mut self.log {
            log.begin_rewrite();
            let stage = Stage::Preparing(self.now_seconds());
            self.persistence.walk = Walk::at(purpose, stage);
            return true;
        }
        if purpose == Purpose::FirstBase
            && let Err(error) = self.enable_log()
        {
            tracing::error!("Can't turn the append only file on: {error}");
            self.put_off(purpose);
            return false;
        }
        self.start_base(purpose)
    }

    /// Begins the walk for a base at once. False where it can't.
    pub(in crate::engine) fn start_base(&mut self, purpose: Purpose) -> bool {
        match self.begin_job(purpose) {
            Ok(job) => {
                tracing::info!("Background append only file rewriting started by this process");
                self.set_walk(Walk::of(job));
                true
            }
            Err(error) => {
                tracing::error!(
                    "Background AOF rewrite terminated by an error: can't open the temporary file: \
                     {error}"
                );
                self.rewrite_failed(purpose, 0);
                false
            }
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
        if let Some(event) = status.rewrite {
            self.take_rewrite_event(event);
            self.start_wanted();
        }
        self.note_latency_millis("aof-fsync-always", status.synced_in_nanos / 1_000_000);
        self.tell_durable();
    }

    fn take_rewrite_event(&mut self, event: RewriteEvent) {
        let walk = &self.persistence.walk;
        let purpose = walk.purpose().unwrap_or(Purpose::Rewrite);
        let started = walk.started_seconds().unwrap_or_else(|| self.now_seconds());
        if !walk.is_rewrite() {
            // Given up while the log was at it: what came of that step is of no interest.
            return;
        }
        match event {
            RewriteEvent::Prepared => {
                // The base has what was done so far, and it goes to the increment before.
                self.write_log();
                let position = self.journal.end();
                if self.log.as_mut().is_some_and(|log| log.switch(position)) {
                    self.start_base(purpose);
                } else {
                    self.rewrite_failed(purpose, 0);
                }
            }
            RewriteEvent::Finished => {
                self.bound_superseded();
                self.rewrite_done(purpose, started);
            }
            RewriteEvent::Failed(error) => {
                tracing::error!("Background AOF rewrite failed: {error}");
                self.rewrite_failed(purpose, -1);
            }
        }
    }

    /// The walk for a base has ended: the log puts it in its place.
    pub(in crate::engine) fn base_ended(&mut self, job: &Job, outcome: io::Result<Outcome>) {
        self.set_walk(Walk::Idle);
        self.mark_log_left();
        match (outcome, &mut self.log) {
            (Ok(_), Some(log)) => {
                log.finish_rewrite(&log.base_temporary());
                self.persistence.walk = Walk::at(job.purpose, Stage::Placing(job.started_seconds));
            }
            (Ok(_), None) => self.rewrite_done(job.purpose, job.started_seconds),
            (Err(error), _) => {
                tracing::error!("Background AOF rewrite terminated by an error: {error}");
                self.rewrite_failed(job.purpose, 0);
            }
        }
    }

    fn rewrite_done(&mut self, purpose: Purpose, started_seconds: i64) {
        tracing::info!("Background AOF rewrite finished successfully");
        self.set_walk(Walk::Idle);
        self.fulfil(purpose);
        // A first base is what a rewrite would bring, and later than it was asked for.
        self.fulfil(Purpose::Rewrite);
        let size = self.log.as_ref().map_or(0, Log::size_bytes);
        let now = self.now_seconds();
        let state = &mut self.persistence;
        state.last_rewrite_ok = true;
        state.last_rewrite_took = now - started_seconds;
        state.log_base_bytes = size;
        state.rewrites += 1;
        state.rewrites_failed_in_a_row = 0;
    }

    fn rewrite_failed(&mut self, purpose: Purpose, took: i64) {
        self.set_walk(Walk::Idle);
        if let Some(log) = &mut self.log {
            log.abort_rewrite();
        }
        self.persistence.last_rewrite_ok = false;
        self.persistence.last_rewrite_took = took;
        self.persistence.rewrites_failed_in_a_row += 1;
        self.put_off(purpose);
    }

    /// Does what is left of the log's first base now, clients waiting, or all of it. False where it
    /// came to nothing.
    pub(in crate::engine) fn complete_first_base(&mut self) -> bool {
        loop {
            match std::mem::take(&mut self.persistence.walk) {
                Walk::FirstBase(Stage::Walking(mut job)) => {
                    let Some(outcome) = self.complete(&mut job) else { return false };
                    self.base_ended(&job, outcome);
                }
                other => {
                    self.persistence.walk = other;
                    match self.log.as_mut().and_then(Log::wait_for_rewrite) {
                        Some(event) => self.take_rewrite_event(event),
                        None => break,
                    }
                }
            }
        }
        !self.persistence.wanted.first_base.is_wanted()
    }

    /// Waits until the log's workers have nothing more to do with a rewrite.
    pub(in crate::engine) fn end_rewrite(&mut self) {
        if let Some(event) = self.log.as_mut().and_then(Log::wait_for_rewrite) {
            self.take_rewrite_event(event);
        }
        if self.persistence.walk.is_rewrite() {
            self.set_walk(Walk::Idle);
        }
    }

    /// A frame could not be written, or not be made durable.
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

    /// Wants a rewrite where the log has grown enough, or can't be relied on any more.
    pub(in crate::engine) fn want_grown_rewrite(&mut self) {
        let Some(log) = &self.log else { return };
        let now = self.steady();
        let wanted = &mut self.persistence.wanted;
        if log.needs_rewrite() {
            // What failed when nobody waited for it would be put off for longer.
            wanted.rewrite.hasten(now, Pace::AWAITED);
        }
        let under_way = self.persistence.walk.is_rewrite();
        if under_way || wanted.rewrite.is_wanted() || wanted.first_base.is_wanted() {
            return;
        }
        if log.needs_rewrite() {
            tracing::info!("Rewriting the append only file, which can't be relied on any more");
            wanted.rewrite.ask();
            return;
        }
        let percentage = self.settings.auto_aof_rewrite_percentage;
        let size = log.size_bytes();
        if percentage == 0 || size < self.settings.auto_aof_rewrite_min_size {
            return;
        }
        let base = self.persistence.log_base_bytes.max(1);
        let growth = size.saturating_mul(100) / base;
        if growth >= percentage + 100 {
            tracing::info!("Starting automatic rewriting of AOF on {}% growth", growth - 100);
            wanted.rewrite.ask();
        }
    }
}
