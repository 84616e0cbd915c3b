//! Keeping: everything between the data in memory and the files.
//!
//! [`persistence`] drives snapshot and rewrite, [`log_switch`] turns the log on and off, [`startup`] builds an
//! engine, [`loading`] and [`load_slices`] fill it, [`shutdown`] ends it.

pub mod load_slices;
pub mod loading;
pub mod log_switch;
pub mod persistence;
pub mod save_commands;
pub mod shutdown;
pub mod startup;
pub mod stream;
pub mod walk_buffer;
