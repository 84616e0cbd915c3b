//! Keeping: everything between the data in memory and the files.
//!
//! Read [`walks`] first: what walks over the keyspace, and what is wanted to. [`walk_job`] is one walk,
//! [`saves`] and [`rewrites`] say what they are for, [`persistence`] keeps what is known of them.
//! [`log_switch`] turns the log on and off, [`startup`] builds an engine, [`loading`] and [`load_slices`]
//! fill it, [`shutdown`] ends it.

pub mod load_slices;
pub(crate) mod loading;
pub(crate) mod log_switch;
pub(crate) mod persistence;
pub(crate) mod rewrites;
pub(crate) mod save_commands;
pub(crate) mod saves;
pub(crate) mod shutdown;
pub mod startup;
pub(crate) mod stream;
pub(crate) mod walk_buffer;
pub(crate) mod walk_job;
pub mod walks;
