//! Replication: what a primary knows of a replica, apart from sockets and data.
//!
//! Deliberately absent: how bytes get to the socket and what commands mean; the engine knows those
//! (`engine::replicate`).

pub(crate) mod replica;
