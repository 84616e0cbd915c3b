//! Snapshots, log rewrites, and what is known of the last ones.

use crate::command::spec::Command;
use crate::engine::{ControlHandler, Engine};
use crate::persist::log::LogError;

/// The rows of this family.
pub const COMMANDS: &[Command<ControlHandler>] = &[];

/// What is known of snapshots and rewrites.
#[derive(Debug)]
pub struct State {
    /// Changes since the last snapshot.
    pub dirty: u64,
    /// Whether the last snapshot succeeded.
    pub last_save_ok: bool,
    /// Whether data is being loaded.
    pub loading: bool,
}

impl Default for State {
    fn default() -> Self {
        Self { dirty: 0, last_save_ok: true, loading: false }
    }
}

impl Engine {
    /// Does a slice of background work; true where there is more.
    pub(super) fn background_slice(&mut self) -> bool {
        false
    }

    /// A frame could not be written.
    pub(super) fn log_failed(&mut self, error: &LogError) {
        tracing::error!("{error}");
    }

    /// Ten times a second.
    pub(super) fn persistence_cron(&mut self) {}

    /// Makes everything durable that the flags and the configuration ask for.
    pub(super) fn save_for_shutdown(
        &mut self,
        _flags: crate::config::kinds::ShutdownFlags,
    ) -> bool {
        true
    }
}
