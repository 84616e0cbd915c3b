//! Random sessions: a few clients whose requests meet in one tick, on redis-server and on Redstart.
//!
//! A round is made from its seed ([`plan`]) and played on both servers ([`world`]): pipelines, blocking
//! commands, pushes, transactions, scripts, CLIENT PAUSE, REPLY, UNBLOCK and KILL, connections that are
//! closed, half or wholly. There are rounds of two kinds:
//!
//! - [`exact`]: made so that it doesn't matter who is read first: both servers must say the same.
//! - [`racy`]: anything goes, and each server's outcome is judged by itself: every client is answered
//!   in order and completely, and what was pushed is somewhere exactly once ([`judge`]).
//!
//! [`idle`] is about the `timeout` directive, which counts in seconds: a round of its own.
//!
//! `SESSION_ROUNDS` says how many, `SESSION_SEED` which; `SESSION_ROUND` plays one round alone, whose
//! number a failing run prints.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod exact;
mod idle;
mod judge;
mod plan;
mod racy;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use support::client::Value;
use support::random::{from_environment, seed_from_environment};
use support::server::Program;
use world::{End, Outcome, World};

/// Rounds without `SESSION_ROUNDS`.
const ROUNDS: u64 = 2_000;
/// Pairs of servers at work at the same time: rounds spend much of their time waiting.
const LANES: usize = 4;
/// Rounds that fail before a run ends early.
const FAILURES_MAX: usize = 8;

/// Where two outcomes of one round differ.
fn differences(theirs: &Outcome, ours: &Outcome) -> String {
    let mut text = String::new();
    for (client, (theirs, ours)) in theirs.clients.iter().zip(&ours.clients).enumerate() {
        if theirs.end != ours.end {
            let _ = writeln!(text, "  c{client}: theirs {:?}, ours {:?}", theirs.end, ours.end);
        }
        if theirs.end == End::Left {
            continue;
        }
        for (what, theirs, ours) in [
            ("replies", &theirs.replies, &ours.replies),
            ("messages", &theirs.messages, &ours.messages),
        ] {
            if theirs != ours {
                let same = theirs.iter().zip(ours).take_while(|(a, b)| a == b).count();
                let _ = writeln!(text, "  c{client}: {what} differ after {same}:");
                let _ = writeln!(text, "    theirs {}", values(&theirs[same..]));
                let _ = writeln!(text, "    ours   {}", values(&ours[same..]));
            }
        }
    }
    for (whose, these, others) in
        [("theirs", &theirs.contents, &ours.contents), ("ours", &ours.contents, &theirs.contents)]
    {
        for line in these.iter().filter(|line| !others.contains(line)) {
            let _ = writeln!(text, "  data, only in {whose}: {}", shorten(line));
        }
    }
    text
}

fn values(values: &[Value]) -> String {
    values.iter().map(shorten).collect::<Vec<_>>().join(", ")
}

/// A reply, or another text, cut to a length that can be read.
fn shorten(text: &impl ToString) -> String {
    let text = text.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}... ({} characters)", &text[..end], text.len()),
        None => text,
    }
}

/// Plays one round on both servers; what is wrong with it, or nothing. Every third is one of those in
/// which clients race.
fn play(worlds: &mut [World; 2], seed: u64) -> Option<String> {
    let racy = seed.is_multiple_of(3);
    let round = if racy { racy::round(seed) } else { exact::round(seed) };
    let mut wrong = String::new();
    let mut outcomes = Vec::new();
    for world in worlds {
        match world.play(&round) {
            Ok(outcome) if racy => {
                let problems = judge::judge(&round, &outcome, world.strict);
                if !problems.is_empty() {
                    let _ = writeln!(wrong, "{}:\n{problems}", world.name());
                }
            }
            Ok(outcome) => outcomes.push(outcome),
            Err(error) => wrong.push_str(&error),
        }
    }
    if let [theirs, ours] = outcomes.as_slice() {
        wrong.push_str(&differences(theirs, ours));
    }
    (!wrong.is_empty()).then(|| format!("SESSION_ROUND={seed}: {round}{wrong}"))
}

#[test]
fn sessions_go_as_with_redis() {
    let rounds = from_environment("SESSION_ROUNDS", ROUNDS);
    let alone = std::env::var("SESSION_ROUND").is_ok();
    let first = if alone {
        from_environment("SESSION_ROUND", 0)
    } else {
        seed_from_environment("SESSION_SEED") * 1_000_000
    };
    let (rounds, lanes) = if alone { (1, 1) } else { (rounds, LANES) };
    let next = AtomicU64::new(0);
    let failures = Mutex::new(Vec::new());
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                let mut worlds = [Program::Redis, Program::Redstart].map(World::new);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let failed = failures.lock().expect("no lane panics with it").len();
                    if number >= rounds || failed >= FAILURES_MAX {
                        return;
                    }
                    if let Some(wrong) = play(&mut worlds, first + number) {
                        failures.lock().expect("no lane panics with it").push(wrong);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no lane panics with it");
    let played = next.load(Ordering::Relaxed).min(rounds);
    println!("{played} rounds in {:.1?}", began.elapsed());
    for wrong in &failures {
        println!("{wrong}");
    }
    assert!(failures.is_empty(), "{} of {played} rounds failed", failures.len());
}
