//! Snapshots: what begins one, what its end means, and SAVE, for which clients wait.
//!
//! One in the background is a walk of [`super::walks`]. It is wanted until one has succeeded, be it
//! that of SAVE: a snapshot of later data serves whoever asked for an earlier one.

use std::io::{self, ErrorKind};

use crate::engine::Engine;
use crate::engine::keep::walk_job::Job;
use crate::engine::keep::walks::{Purpose, Walk};
use crate::persist::snapshot::Outcome;

impl Engine {
    /// Begins a snapshot in the background. False where it can't.
    pub(in crate::engine) fn start_save(&mut self) -> bool {
        match self.begin_job(Purpose::Save) {
            Ok(job) => {
                tracing::info!("Background saving started by this process");
                self.set_walk(Walk::of(job));
                true
            }
            Err(error) => {
                tracing::error!("Background saving error: can't open the temporary file: {error}");
                self.persistence.last_save_ok = false;
                self.put_off(Purpose::Save);
                false
            }
        }
    }

    /// A snapshot in the background has ended.
    pub(in crate::engine) fn save_ended(&mut self, job: &Job, outcome: io::Result<Outcome>) {
        self.set_walk(Walk::Idle);
        self.mark_log_left();
        self.persistence.last_save_took = self.now_seconds() - job.started_seconds;
        match outcome {
            Ok(_) => {
                self.note_saved(job);
                tracing::info!("Background saving terminated with success");
            }
            // The disk may have been faster, or have refused.
            Err(error) if job.is_cancelled() && error.kind() == ErrorKind::Interrupted => {
                tracing::info!("Background saving cancelled");
            }
            Err(error) => {
                tracing::error!("Background saving error: {error}");
                self.persistence.last_save_ok = false;
                if job.is_cancelled() {
                    return;
                }
                self.put_off(Purpose::Save);
            }
        }
    }

    /// Has the snapshot in the background end without a result.
    pub(in crate::engine) fn cancel_save(&mut self) {
        self.fulfil(Purpose::Save);
        if let Walk::Save(job) = &mut self.persistence.walk {
            job.cancel(&mut self.databases);
        }
    }

    fn note_saved(&mut self, job: &Job) {
        tracing::info!("DB saved on disk");
        let now = self.steady();
        let state = &mut self.persistence;
        state.dirty -= job.dirty_at_start.min(state.dirty);
        state.last_save_seconds = self.now_micros / 1_000_000;
        state.last_save = now;
        state.last_save_ok = true;
        state.saves += 1;
        self.fulfil(Purpose::Save);
    }

    /// Writes a snapshot now, clients waiting. A walk for another purpose goes on; a snapshot in the
    /// background is superseded. False where it failed: whoever asked for it is told, and only one in
    /// the background stops writes.
    pub(crate) fn save_now(&mut self) -> bool {
        if self.persistence.saving() {
            self.abort_walk();
        }
        self.take_rest_of_walk();
        let began = self.begin_job(Purpose::Save).map_err(|error| {
            tracing::error!("Error saving: can't open the temporary file: {error}");
        });
        let Ok(mut job) = began else { return false };
        match self.complete(&mut job) {
            Some(Ok(_)) => {
                self.note_saved(&job);
                self.mark_log_left();
                true
            }
            Some(Err(error)) => {
                tracing::error!("Error saving: {error}");
                self.mark_log_left();
                false
            }
            None => false,
        }
    }

    /// After FLUSHALL: the snapshot on disk must not bring back what was emptied. One under way is
    /// given up, and where `save` points are set an empty one is written before the reply.
    #[cold]
    pub(in crate::engine) fn save_emptiness(&mut self) {
        if self.persistence.loading {
            return;
        }
        if self.persistence.saving() {
            // It is wanted still.
            self.abort_walk();
        }
        if self.settings.save.is_empty() {
            return;
        }
        if self.log.is_some() && self.persistence.walk.is_rewrite() {
            // The empty snapshot follows that walk; until then the log says that the data is gone.
            self.persistence.wanted.save.ask();
        } else if !self.save_now() {
            self.put_off(Purpose::Save);
        }
    }

    /// Wants a snapshot where enough has changed for one of the `save` points.
    pub(in crate::engine) fn want_due_save(&mut self) {
        let state = &self.persistence;
        if state.wanted.save.is_wanted() {
            return;
        }
        let since = self.steady().since(state.last_save) / 1000;
        let points = &self.settings.save;
        let due = points
            .iter()
            .find(|point| state.dirty >= point.changes && since > point.seconds as i64);
        if let Some(point) = due {
            tracing::info!("{} changes in {} seconds. Saving...", point.changes, point.seconds);
            self.persistence.wanted.save.ask();
        }
    }
}
