//! The differential test: the real redis-server is the oracle. The same commands go to it and to
//! Redstart, and every reply and the final data must agree.
//!
//! - [`run`]: seeded random commands over several connections, in RESP2 and RESP3, replies compared
//!   one by one, data at intervals. `DIFF_COMMANDS` says how many, `DIFF_SEED` replays a run,
//!   `DIFF_FAVOUR` names a family that gives every other command.
//! - [`strings`], [`bitmaps`], [`hyperloglogs`], [`geo`], [`hashes`], [`lists`], [`sets`], [`zsets`],
//!   [`streams`], [`sorting`], [`keys`], [`connection`], [`transactions`]: one file a family of generators.
//!   A new data type adds a file and its line in [`generate::FAMILIES`], and [`state`] its way of reading.
//! - [`raw`]: fixed conversations in bytes: the protocol's corners and sessions that end.
//! - [`events`]: what a listener hears of keyspace events while random commands run.
//! - [`pubsub`]: what random subscribers are told.
//! - [`introspection`]: COMMAND INFO, COMMAND DOCS, the names of CONFIG GET and INFO.
//! - [`newer`]: what 7.0 lacks, in a run of the same kind against Valkey.
//! - [`exceptions`]: where Redstart may differ, and why. Everything else is a bug.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod bitmaps;
mod compare;
mod connection;
mod events;
mod exceptions;
mod generate;
mod geo;
mod hashes;
mod hyperloglogs;
mod introspection;
mod keys;
mod lists;
mod newer;
mod pubsub;
mod raw;
mod run;
mod sets;
mod sorting;
mod state;
mod streams;
mod strings;
#[path = "../support/mod.rs"]
mod support;
mod transactions;
mod zsets;
