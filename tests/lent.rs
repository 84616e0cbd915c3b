//! Values that a walk lends to the snapshot's thread while commands change and remove them: what is
//! saved is what was there when the walk began, in a snapshot and in a rewritten log.
//!
//! The walk is held up (`rdb-key-save-delay`), and little data makes a chunk late: most values wait for
//! the end of it.

mod support;

use support::client::{Client, argv};
use support::group::{await_that, digest, number};
use support::random::{Random, seed_from_environment};
use support::server::{Program, Server};

const KEYS: usize = 150;

fn fill(client: &mut Client, random: &mut Random) {
    for key in 0..KEYS {
        let len = 225 + random.below(800);
        let letter = random.pick(&["a", "b", "\u{1}"]);
        client.call(&["SET", &key.to_string(), &letter.repeat(len)]);
    }
    client.call(&["SET", "long", &"0123456789".repeat(30_000)]);
}

/// Something that changes a string in its place, replaces it, moves it or removes it.
fn change(random: &mut Random) -> Vec<Vec<u8>> {
    let (key, other, number) = (random.below(KEYS), random.below(KEYS), random.below(1000));
    let key = if random.chance(3) { "long".to_owned() } else { key.to_string() };
    argv(&match random.below(12) {
        0 => format!("APPEND {key} more"),
        1 => format!("SETRANGE {key} {number} xyz"),
        2 => format!("SETBIT {key} {number} 1"),
        3 => format!("BITFIELD {key} SET u8 {number} 7"),
        4 => format!("SET {key} {}", "n".repeat(300 + number)),
        5 => format!("DEL {key}"),
        6 => format!("RENAME {key} {other}"),
        7 => format!("COPY {key} {other} REPLACE"),
        8 => format!("GETDEL {key}"),
        9 => format!("BITOP NOT {key} {other}"),
        10 => format!("SETRANGE {key} 5000 x"),
        _ => format!("MOVE {key} 1"),
    })
}

/// A server that was given data, and its digest.
fn filled(random: &mut Random, more: &[&str]) -> (Server, String) {
    let directives = ["--save", "", "--enable-debug-command", "yes"];
    let server = Server::start_with(Program::Redstart, &[&directives[..], more].concat());
    let mut client = server.connect();
    fill(&mut client, random);
    let before = digest(&mut client);
    client.words("CONFIG SET rdb-key-save-delay 500");
    (server, before)
}

/// Changes data at random until the walk has ended.
fn change_during(client: &mut Client, random: &mut Random, field: &str) {
    let mut changes = 0;
    while number(client, field) == 1 {
        let commands: Vec<_> = (0..5).map(|_| change(random)).collect();
        client.pipeline(&commands);
        changes += 5;
    }
    assert!(changes > 50, "{changes} changes: too few to meet the walk");
}

#[test]
fn a_snapshot_has_what_was_there_when_it_began() {
    let seed = seed_from_environment("LENT_SEED");
    for round in 0..6 {
        let mut random = Random::new(seed * 1000 + round);
        let compression = if round % 2 == 0 { "yes" } else { "no" };
        let (server, before) =
            filled(&mut random, &["--appendonly", "no", "--rdbcompression", compression]);
        let mut client = server.connect();
        client.words("BGSAVE");
        change_during(&mut client, &mut random, "rdb_bgsave_in_progress");
        assert_eq!(support::group::info(&mut client, "rdb_last_bgsave_status"), "ok");
        assert_eq!(client.words("DEBUG RELOAD NOSAVE").text(), "OK");
        assert_eq!(digest(&mut client), before, "round {round}");
    }
}

#[test]
fn a_snapshot_that_is_given_up_leaves_the_values_to_their_owner() {
    let mut random = Random::new(seed_from_environment("LENT_SEED"));
    let (server, _) = filled(&mut random, &["--appendonly", "no"]);
    let mut client = server.connect();
    for _ in 0..5 {
        client.words("BGSAVE");
        let commands: Vec<_> = (0..100).map(|_| change(&mut random)).collect();
        client.pipeline(&commands);
        client.words("BGSAVE CANCEL");
        await_that("its end", || number(&mut client, "rdb_bgsave_in_progress") == 0);
    }
    client.words("CONFIG SET rdb-key-save-delay 0");
    let before = digest(&mut client);
    assert_eq!(client.words("DEBUG RELOAD").text(), "OK");
    assert_eq!(digest(&mut client), before);
}

#[test]
fn a_rewritten_log_has_what_was_there_and_what_came_then() {
    let mut random = Random::new(seed_from_environment("LENT_SEED"));
    let (mut server, _) = filled(&mut random, &["--appendonly", "yes"]);
    let mut client = server.connect();
    client.words("BGREWRITEAOF");
    change_during(&mut client, &mut random, "aof_rewrite_in_progress");
    let before = digest(&mut client);
    server.kill();
    server.restart();
    assert_eq!(digest(&mut server.connect()), before);
}
