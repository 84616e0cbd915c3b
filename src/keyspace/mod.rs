//! The keys: the dictionary, the databases made of it, and the only door to a change.
//!
//! Invariant: nobody above this layer gets `&mut` to anything stored except through
//! [`databases::Db`], which notes every change in the [`unit::Unit`]. Knows no command, no log.

pub mod databases;
pub mod digest;
pub mod reclaim;
pub mod table;
pub mod unit;
pub mod watch;
