//! Turning the log on and off at run time.

use crate::engine::Engine;
use crate::engine::persistence::Purpose;
use crate::persist::log::Log;

impl Engine {
    /// Turns the log on at run time: a walk makes its first base.
    ///
    /// # Errors
    /// Why that is not possible.
    pub fn start_log(&mut self) -> Result<(), String> {
        self.abort_walk();
        let log = Log::enable(self.env.clone(), self.log_options(), self.remote_waker())
            .map_err(|error| error.to_string())?;
        self.log = Some(log);
        self.forget_written();
        self.databases.unit.recording = true;
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
        if let Some(mut log) = self.log.take()
            && let Err(error) = log.close()
        {
            tracing::warn!("Fail to fsync the AOF file: {error}");
        }
        self.databases.unit.recording = false;
        self.persistence.rewriting_first = false;
        self.drop_gates();
        self.refuse_copies_here();
    }
}
