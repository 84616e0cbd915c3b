//! Redstart: a Redis-protocol-compatible in-memory server that keeps what it acknowledges.
//!
//! The layers, in the order data flows up from the bytes; each uses only what stands above it in
//! this list (`tests/tidy` checks that from the `use crate::` lines):
//!
//! 1. [`base`]: numbers as text, checksums, compression, and the world outside (clock, randomness,
//!    disk), real or simulated.
//! 2. [`resp`]: the wire: requests in, replies out.
//! 3. [`data`]: the values a key can hold. Knows no protocol.
//! 4. [`rdb`]: values to and from RDB bytes. Knows no files.
//! 5. [`keyspace`]: the dictionary, the databases, and the only way to change a value: `databases::Db`.
//! 6. [`command`]: one row and one handler for each data command. Knows neither log nor socket.
//! 7. [`config`], [`metrics`], [`mailbox`], [`script`]: what the server is told, what it counts,
//!    how a connection hands its requests to the store actor, and the Lua machine.
//! 8. [`journal`]: every change as one numbered stream of bytes, for log and replicas.
//! 9. [`persist`]: the log, the snapshot, and the way back from both.
//! 10. [`replication`]: what is known of a replica, and what it gets next.
//! 11. [`engine`]: the store actor: it admits, executes, commits, and replies.
//! 12. [`net`]: sockets. Knows the mailbox, never the engine.

pub mod base;
pub mod command;
pub mod config;
pub mod data;
pub mod engine;
pub mod journal;
pub mod keyspace;
pub mod mailbox;
pub(crate) mod metrics;
pub mod net;
pub mod persist;
pub mod rdb;
pub(crate) mod replication;
pub mod resp;
pub(crate) mod script;
pub mod server;
