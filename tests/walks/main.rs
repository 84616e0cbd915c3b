//! The control of walks (snapshots, rewrites, a log's first base): whatever was accepted happens in the
//! end, no log stays without a base, what was acknowledged is kept, and a disk that stands still costs
//! bounded memory and nobody's patience.
//!
//! `WALKS_SEEDS=n cargo test --test walks` makes the random run longer; `WALKS_SEED=n` runs that seed
//! alone. What fails prints what had happened.

#![expect(clippy::unwrap_used, reason = "a test may fail this way")]

#[path = "../embedded/mod.rs"]
mod embedded;
mod gate;
mod promises;
mod stuck;
