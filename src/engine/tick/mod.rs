//! The tick: everything that happens between a parsed request and a written log.
//!
//! [`actor`] takes a tick's messages and prefetches their keys; [`admit`] decides whether a command may
//! run; [`execute`] runs it; [`transaction`] queues and runs MULTI; [`commit`] turns what a unit changed
//! into log records. [`cron`] does what time brings, [`evict`] makes room by what [`memory`] says is in
//! use, [`notify`] publishes keyspace events, [`observe`] shows commands to whoever looks at them, and
//! [`pacing`] decides when the next tick begins.

pub mod actor;
pub(crate) mod admit;
pub(crate) mod commit;
pub(crate) mod cron;
pub(crate) mod evict;
pub(crate) mod execute;
pub(crate) mod memory;
mod notify;
pub(crate) mod observe;
pub(crate) mod pacing;
pub(crate) mod transaction;
