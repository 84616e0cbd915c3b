//! Client-side caching: what clients that track are told, compared with the real redis-server's word for
//! word ([`random`], from a printed seed: `TRACKING_SEED`, `TRACKING_ROUNDS`), and what only Redstart does
//! or what chance can't reach ([`stories`]).

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod random;
mod stories;
#[path = "../support/mod.rs"]
mod support;
