//! Showing: commands that tell about the server and set its configuration.
//!
//! INFO, COMMAND, CONFIG, DEBUG, SLOWLOG, LATENCY, MEMORY, TIME, ROLE.

pub mod command_info;
pub mod command_info_reply;
pub mod configure;
pub mod debug;
pub mod debug_protocol;
pub mod debug_values;
pub mod diagnose;
pub mod info;
pub mod info_memory;
pub mod info_stats;
pub mod server_facts;
