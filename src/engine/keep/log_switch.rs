//! Turning the log on and off at run time.

use crate::engine::Engine;
use crate::engine::keep::persistence::Purpose;
use crate::journal::ReplicationId;
use crate::persist::detached;
use crate::persist::log::Log;

impl Engine {
    /// Turns the log on at run time: a walk makes its first base.
    ///
    /// # Errors
    /// Why that is not possible.
    pub fn start_log(&mut self) -> Result<(), String> {
        self.abort_walk();
        // What was done before is in the first base.
        self.write_log();
        let rng = &mut self.rng;
        self.journal.set_recording(true, || ReplicationId::random(rng));
        let position = self.journal.end();
        let (env, options) = (self.env.clone(), self.log_options());
        let log = Log::enable(env, options, position, self.remote_waker());
        self.log = match log {
            Ok(log) => Some(log),
            Err(error) => {
                self.note_readers();
                return Err(error.to_string());
            }
        };
        self.note_readers();
        self.persistence.log_left = None;
        self.forget_written();
        self.persistence.rewriting = true;
        self.persistence.rewriting_first = true;
        if !self.begin_walk(Purpose::Rewrite) {
            self.stop_log();
            return Err("Can't begin rewriting the append only file".into());
        }
        Ok(())
    }

    /// Turns the log off at run time.
    pub fn stop_log(&mut self) {
        self.persistence.log_scheduled = false;
        if self.persistence.rewriting {
            tracing::info!("Killing running AOF rewrite (a walk of the server, no child process)");
            self.abort_walk();
        }
        self.write_log();
        if let Some(mut log) = self.log.take() {
            // The next log must find the files as the last step of this one leaves them.
            log.wait_for_rewrite();
            if let Err(error) = log.close() {
                tracing::warn!("Fail to fsync the AOF file: {error}");
            }
            self.persistence.log_left = Some(log.layout().clone());
        }
        self.note_readers();
        self.persistence.rewriting_first = false;
        self.drop_gates();
        self.refuse_copies_here();
        self.mark_log_left();
    }

    /// Has later starts prefer a snapshot that is begun from now on to a log that was turned off. One
    /// that is under way holds less than that log: its end is waited for. Where it fails it is tried
    /// again before the next snapshot.
    pub(in crate::engine) fn mark_log_left(&mut self) {
        if self.persistence.saving() {
            return;
        }
        let Some(layout) = self.persistence.log_left.take() else { return };
        if let Err(error) = detached::mark_left(&*self.env.disk, &layout) {
            tracing::warn!("Can't mark the append only file as turned off: {error}");
            self.persistence.log_left = Some(layout);
        }
    }
}
