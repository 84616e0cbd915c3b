//! SHUTDOWN, SIGTERM and SIGINT: the orderly end.

use crate::command::spec::Command;
use crate::engine::{ControlHandler, Engine};

/// The rows of this family.
pub const COMMANDS: &[Command<ControlHandler>] = &[];

/// A shutdown under way, or asked for.
#[derive(Debug, Default)]
pub struct State {
    exit: Option<i32>,
}

impl State {
    /// The exit code, when the server is to end now.
    pub fn exit_code(&self) -> Option<i32> {
        self.exit
    }
}

impl Engine {
    /// Ten times a second.
    pub(super) fn shutdown_cron(&mut self) {}
}
