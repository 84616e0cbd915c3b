//! The commands that a script calls.

use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::engine::Engine;
use crate::resp::reply::Protocol;
use crate::script::{Pace, Server};

impl Server for Engine {
    fn call(&mut self, args: Args<'_>) -> &[u8] {
        let slot = self.scripts.caller;
        self.sessions[slot].output.buffer.clear();
        match self.admit_call(args) {
            Ok(command) => {
                let db = self.sessions[slot].db;
                self.call(slot, command, args);
                self.keep_large_reply(slot, command, args, 0);
                self.join_unit(db, args, None);
            }
            Err(error) => self.refuse_call(args, &error),
        }
        &self.sessions[slot].output.buffer
    }

    fn set_protocol(&mut self, protocol: Protocol) {
        let slot = self.scripts.caller;
        self.sessions[slot].protocol = protocol;
    }

    fn protocol(&self) -> Protocol {
        self.sessions[self.scripts.caller].protocol
    }

    fn set_replication(&mut self, flags: u8) {
        let wanted = self.scripts.running.is_none_or(|running| running.recording);
        // Log and replicas have one stream.
        self.databases.unit.recording = wanted && flags != 0;
    }

    fn may_run(&self, args: Args<'_>) -> Option<bool> {
        let command = self.registry.resolve(args)?;
        let entry = &self.registry[command];
        (entry.subcommands.is_empty() || args.len() == 1).then_some(true)
    }

    fn log(&self, level: u8, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        match level {
            0 => tracing::trace!("{text}"),
            1 => tracing::debug!("{text}"),
            2 => tracing::info!("{text}"),
            _ => tracing::warn!("{text}"),
        }
    }

    #[inline]
    fn check_time(&mut self) -> Result<Pace, &'static str> {
        self.check_script_time()
    }
}

impl Engine {
    /// Answers a call that may not run.
    #[cold]
    fn refuse_call(&mut self, args: Args<'_>, error: &CommandError) {
        if let Some(command) = self.registry.resolve(args) {
            self.metrics.by_command[command.0 as usize].rejected += 1;
        }
        let text = error.wire();
        self.metrics.count_error(&text);
        self.sessions[self.scripts.caller].reply().error_bytes(&text);
    }
}
