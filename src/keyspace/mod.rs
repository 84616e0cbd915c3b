//! The keys: the dictionary, the databases made of it, and the only door to a change.
//!
//! Invariant: nobody above this layer gets `&mut` to anything stored except through
//! [`databases::Db`], which notes every change in the [`unit::Unit`]. Knows no command, no log.

pub(crate) mod access;
mod beside;
pub(crate) mod collection;
pub mod databases;
pub(crate) mod db;
pub mod digest;
mod field_expiry;
mod own_expiry;
pub(crate) mod reclaim;
pub(crate) mod shared_digest;
pub(crate) mod string_edit;
pub mod table;
pub mod unit;
pub(crate) mod waits;
mod walk;
pub(crate) mod watch;
