//! The server in hostile or careless hands: what it hides, what it refuses, and what it costs. Where
//! redis-server does the same, it is asked as well.
//!
//! - [`secrets`]: passwords are shown nowhere.
//! - [`strangers`]: clients that have not authenticated cost bounded memory.
//! - [`signals`]: what ends the server and what doesn't.
//! - [`absurd`]: numbers that no machine can serve.
//! - [`configuration`]: lines that can't be.
//! - [`quoting`]: replies that repeat what a client sent stay inside the protocol.
//! - [`statistics`]: what happened once counts once.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod absurd;
mod configuration;
mod quoting;
mod secrets;
mod signals;
mod statistics;
mod strangers;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use support::server::{Program, Server};

const BOTH: [Program; 2] = [Program::Redis, Program::Redstart];

/// How long to wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

fn start(program: Program, directives: &[&str]) -> Server {
    Server::start_with(program, &[&["--appendonly", "no", "--save", ""], directives].concat())
}

/// Waits for a condition; the text says what was awaited.
fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
