//! Kills of a server whose log is turned on and off, snapshots and rewrites going on and given up, in
//! random order and also within transactions.
//!
//! What is held against it: once the log is on and has its first base (README), whatever was
//! acknowledged is there after a SIGKILL, also while the next rewrite, snapshot or first base is under
//! way. The digest of all data tells.
//!
//! `SWITCH_ROUNDS` says how many rounds, `SWITCH_SEED` replays the choices (not the timing).

mod support;

use support::client::{Client, argv};
use support::group::{await_that, digest, number};
use support::random::{Random, from_environment, seed_from_environment};
use support::server::{Program, Server};

/// What starts, ends or changes a walk or the log.
const CONTROL: [&str; 12] = [
    "CONFIG SET appendonly yes",
    "CONFIG SET appendonly yes",
    "CONFIG SET appendonly no",
    "CONFIG SET appendfsync always",
    "CONFIG SET appendfsync everysec",
    "CONFIG SET aof-use-rdb-preamble no",
    "CONFIG SET aof-use-rdb-preamble yes",
    "BGSAVE",
    "BGSAVE SCHEDULE",
    "BGSAVE CANCEL",
    "BGREWRITEAOF",
    "BGREWRITEAOF",
];

/// What may not be in a transaction.
const ALONE: [&str; 2] = ["SAVE", "DEBUG RELOAD"];

/// One that changes data.
fn change(random: &mut Random) -> String {
    let number = random.below(1000);
    let key = random.below(9);
    match random.below(9) {
        0 => format!("SET {key} {number}"),
        1 => format!("INCR counter:{key}"),
        2 => format!("DEL {key} list:{key}"),
        3 => format!("RPUSH list:{key} {number}"),
        4 => format!("HSET hash:{key} {number} 1"),
        5 => format!("MOVE {key} 1"),
        6 => format!("SADD set:{key} {number}"),
        7 if random.chance(10) => "FLUSHALL".to_owned(),
        7 => format!("APPEND {key} x"),
        _ => "SWAPDB 0 1".to_owned(),
    }
}

/// A command, or a transaction of several.
fn step(client: &mut Client, random: &mut Random) -> String {
    let line = match random.below(10) {
        0..=3 => change(random),
        4 => format!("DEBUG POPULATE {} more", random.pick(&[10, 1000, 20_000])),
        5 | 6 => random.pick(&CONTROL).to_owned(),
        7 => random.pick(&ALONE).to_owned(),
        _ => {
            let mut lines = vec!["MULTI".to_owned()];
            for _ in 0..=random.below(5) {
                let control = random.chance(60);
                lines.push(if control { random.pick(&CONTROL).into() } else { change(random) });
            }
            lines.push("EXEC".to_owned());
            let commands: Vec<_> = lines.iter().map(|line| argv(line)).collect();
            client.pipeline(&commands);
            return lines.join("; ");
        }
    };
    client.words(&line);
    line
}

/// The log is on and has a base, and nothing is under way.
fn settle(client: &mut Client) {
    client.words("CONFIG SET appendonly yes");
    // One INFO for all of them: between two a rewrite that waited begins.
    await_that("a log with its base", || {
        let persistence = client.words("INFO persistence").text();
        ["aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0", "rdb_bgsave_in_progress:0"]
            .iter()
            .all(|field| persistence.contains(field))
    });
    assert_eq!(number(client, "aof_enabled"), 1);
}

#[test]
fn what_a_log_with_a_base_was_told_survives_a_kill() {
    let rounds = from_environment("SWITCH_ROUNDS", 25);
    let seed = seed_from_environment("SWITCH_SEED");
    for round in 0..rounds {
        let mut random = Random::new(seed * 1_000_000 + round);
        let directives = ["--appendonly", "yes", "--save", "", "--enable-debug-command", "yes"];
        let mut server = Server::start_with(Program::Redstart, &directives);
        let mut story = Vec::new();
        for _ in 0..3 {
            let mut client = server.connect();
            for _ in 0..2 + random.below(25) {
                story.push(step(&mut client, &mut random));
            }
            settle(&mut client);
            story.push("(settled)".to_owned());
            for _ in 0..random.below(6) {
                let line = match random.below(4) {
                    0 => "BGSAVE".to_owned(),
                    1 => "BGREWRITEAOF".to_owned(),
                    2 => "DEBUG POPULATE 5000 late".to_owned(),
                    _ => change(&mut random),
                };
                client.words(&line);
                story.push(line);
            }
            let before = digest(&mut client);
            server.kill();
            server.restart();
            story.push("(killed)".to_owned());
            let after = digest(&mut server.connect());
            assert_eq!(before, after, "seed {seed}, round {round}:\n{}", story.join("\n"));
        }
    }
}
