//! Showing: commands that tell about the server and set its configuration.
//!
//! INFO, COMMAND, CONFIG, DEBUG, MONITOR, SLOWLOG, COMMANDLOG, LATENCY, HOTKEYS, MEMORY, MODULE,
//! TIME, ROLE.

use crate::command::spec::{Arity, Command, Flags, Group, control};
use crate::engine::ControlHandler;

pub(crate) mod command_info;
pub(crate) mod command_info_reply;
pub(crate) mod command_log;
pub(crate) mod configure;
pub(crate) mod debug;
pub(crate) mod debug_protocol;
pub(crate) mod debug_values;
pub(crate) mod diagnose;
pub(crate) mod hotkeys;
pub(crate) mod info;
pub(crate) mod info_memory;
pub(crate) mod info_stats;
pub(crate) mod latency;
mod memory_doctor;
pub(crate) mod modules;
pub(crate) mod monitor;
pub(crate) mod server_facts;

/// A row of a command that tells about the server.
const fn row(
    name: &'static str,
    arity: Arity,
    run: ControlHandler,
    flags: Flags,
    since: &'static str,
) -> Command<ControlHandler> {
    control(name, arity, run).group(Group::Server).flags(flags).since(since)
}
