//! Turning the log on and off at run time.

use std::path::Path;

use crate::engine::Engine;
use crate::engine::keep::walks::{Purpose, Stage, Walk, Want};
use crate::journal::ReplicationId;
use crate::persist::detached;
use crate::persist::log::Log;

impl Engine {
    /// Turns the log on at run time: a walk makes its first base, which is wanted until it is there.
    /// Until then the log promises nothing.
    ///
    /// # Errors
    /// Why that is not possible. The log is off then, as before.
    pub(crate) fn start_log(&mut self) -> Result<(), String> {
        if self.persistence.walk.is_rewrite() {
            // One without a log. The first base takes its place.
            self.abort_walk();
        }
        self.enable_log()?;
        self.persistence.wanted.rewrite = Want::No;
        self.persistence.wanted.first_base.ask();
        if !self.persistence.walk.is_idle() {
            // It begins when the walk under way has ended, as a rewrite of what is in the log then.
            if let Some(log) = &mut self.log {
                log.abort_rewrite();
            }
            return Ok(());
        }
        if self.start_base(Purpose::FirstBase) {
            return Ok(());
        }
        let stopped = self.stop_log();
        debug_assert!(stopped.is_ok(), "a log without a base promises nothing");
        Err("Can't begin rewriting the append only file".into())
    }

    /// Turns the log on over data that a file has as it is now, which becomes the first base: no walk is
    /// needed. One is wanted if that comes to nothing.
    ///
    /// # Errors
    /// Why that is not possible. The log is off then.
    pub(in crate::engine) fn start_log_on(&mut self, base: &Path) -> Result<(), String> {
        debug_assert!(self.persistence.walk.is_idle(), "nothing walks before the data is there");
        self.enable_log()?;
        self.persistence.wanted.rewrite = Want::No;
        self.persistence.wanted.first_base.ask();
        let Some(log) = &mut self.log else { return Ok(()) };
        // Out of the way of the next file that comes.
        let temporary = log.base_temporary();
        if let Err(error) = self.env.disk.rename(base, &temporary) {
            tracing::warn!("Can't make {} the log's base: {error}", base.display());
            log.abort_rewrite();
            return Ok(());
        }
        log.finish_with_given(&temporary);
        let since = self.now_seconds();
        self.persistence.walk = Walk::at(Purpose::FirstBase, Stage::Placing(since));
        Ok(())
    }

    /// Begins a log's files. Its walk must begin before another command is executed, or be aborted.
    pub(in crate::engine) fn enable_log(&mut self) -> Result<(), String> {
        // What was done before is in the first base.
        self.write_log();
        let rng = &mut self.rng;
        self.journal.set_recording(true, || ReplicationId::random(rng));
        let (env, options, position) = (self.env.clone(), self.log_options(), self.journal.end());
        let log = Log::enable(env, options, position, self.remote_waker());
        let log = log.map_err(|error| error.to_string());
        let outcome = log.map(|log| self.log = Some(log));
        self.note_readers();
        outcome?;
        self.persistence.log_left = None;
        Ok(())
    }

    /// Turns the log off at run time. What is wanted of it is withdrawn.
    ///
    /// # Errors
    /// Clients wait until what they are told is durable, and it can't be made so. The log is still
    /// there, they are told nothing, and the server ends, as after any sync that failed.
    pub(crate) fn stop_log(&mut self) -> Result<(), String> {
        self.close_log()?;
        self.mark_log_left();
        Ok(())
    }

    /// Turns the log off, and leaves its files as those that a start goes on from: until other data has
    /// taken the place of what they hold, or the log is turned off ([`Engine::stop_log`]).
    ///
    /// # Errors
    /// As [`Engine::stop_log`].
    pub(in crate::engine) fn close_log(&mut self) -> Result<(), String> {
        if self.persistence.walk.is_rewrite() {
            tracing::info!("Killing running AOF rewrite (a walk of the server, no child process)");
            self.abort_walk();
        }
        // The next log must find the files as the last step of this one leaves them.
        self.end_rewrite();
        self.persistence.wanted.rewrite = Want::No;
        self.persistence.wanted.first_base = Want::No;
        self.write_log();
        if let Some(log) = &mut self.log {
            if let Err(error) = log.close() {
                if log.gates_replies() {
                    self.log_failed(&error);
                    return Err(error.to_string());
                }
                tracing::warn!("Fail to fsync the AOF file: {error}");
            }
            self.persistence.log_left = Some(log.layout().clone());
            self.log = None;
        }
        self.note_readers();
        self.drop_gates();
        self.refuse_copies_here();
        Ok(())
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
