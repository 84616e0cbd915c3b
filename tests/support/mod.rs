//! What the tests that talk to a real server share: a server process on a free port in a directory
//! of its own ([`server`]), a small RESP client ([`client`]), what a key holds as text ([`contents`]), a
//! generator of seeded random numbers ([`random`]), and servers that replicate ([`group`]).
//!
//! Nothing here uses the library under test: a bug in it can't hide itself.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![expect(clippy::expect_used, reason = "a test may fail this way")]

pub mod client;
pub mod contents;
pub mod group;
pub mod random;
pub mod server;
