//! Showing: commands that tell about the server and set its configuration.
//!
//! INFO, COMMAND, CONFIG, DEBUG, MONITOR, SLOWLOG, COMMANDLOG, LATENCY, MEMORY, TIME, ROLE.

pub(crate) mod command_info;
pub(crate) mod command_info_reply;
pub(crate) mod command_log;
pub(crate) mod configure;
pub(crate) mod debug;
pub(crate) mod debug_protocol;
pub(crate) mod debug_values;
pub(crate) mod diagnose;
pub(crate) mod info;
pub(crate) mod info_memory;
pub(crate) mod info_stats;
pub(crate) mod latency;
pub(crate) mod monitor;
pub(crate) mod server_facts;
