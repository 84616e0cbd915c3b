//! Keeping: everything between the data in memory and the files.
//!
//! Read [`walks`] first: what walks over the keyspace, and what is wanted to. [`walk_job`] is one walk,
//! [`saves`] and [`rewrites`] say what they are for, [`persistence`] keeps what is known of them.
//! [`log_switch`] turns the log on and off, [`startup`] builds an engine, [`loading`] and [`load_slices`]
//! fill it, [`shutdown`] ends it.

pub mod load_slices;
pub mod loading;
pub mod log_switch;
pub mod persistence;
pub mod rewrites;
pub mod save_commands;
pub mod saves;
pub mod shutdown;
pub mod startup;
pub mod stream;
pub mod walk_buffer;
pub mod walk_job;
pub mod walks;
