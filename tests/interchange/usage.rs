//! How keys were used (IDLE, FREQ) and how many there are (RESIZEDB) in snapshots and bases: both
//! servers write it, both read it.

use super::{LOG, SNAPSHOT, await_background, hand_over};
use crate::support::client::{Client, argv};
use crate::support::server::{Program, Server};
use std::fs;

const LRU: &[&str] = &["--maxmemory-policy", "allkeys-lru"];
const LFU: &[&str] = &["--maxmemory-policy", "volatile-lfu", "--lfu-decay-time", "0"];

/// Keys of several forms, the last one so big that it is written in the background; each with how it
/// was used.
const USED: &[(&str, i64)] = &[("int", 0), ("text", 200), ("list", 7), ("big", 100)];

fn fill(client: &mut Client, option: &str) {
    client.words("SET int 12");
    client.words(&format!("SET text {}", "x".repeat(300)));
    client.words("RPUSH list a b c");
    let members: Vec<_> = (0..8_000).map(|n| format!("member:{n}")).collect();
    client.words(&format!("SADD big {}", members.join(" ")));
    for (key, used) in USED {
        let payload = client.words(&format!("DUMP {key}"));
        let payload = payload.bytes().expect("a payload");
        let used = used.to_string();
        let words: [&[u8]; 7] = [
            b"RESTORE",
            key.as_bytes(),
            b"0",
            payload,
            b"REPLACE",
            option.as_bytes(),
            used.as_bytes(),
        ];
        assert_eq!(client.call(&words).text(), "OK");
    }
}

/// That a key's idle time or frequency is what it was; idle times go on meanwhile.
fn check(client: &mut Client, question: &str) {
    for (key, used) in USED {
        let told = client.words(&format!("OBJECT {question} {key}")).integer().expect("a number");
        let tolerance = if question == "IDLETIME" { 60 } else { 0 };
        assert!((*used..=used + tolerance).contains(&told), "{question} {key}: {told}, was {used}");
    }
}

fn is_handed_on(from: Program, to: Program, files: &[&'static str]) {
    for (policy, option, question) in [(LRU, "IDLETIME", "IDLETIME"), (LFU, "FREQ", "FREQ")] {
        let directives = [files, policy].concat();
        let server = Server::start_with(from, &directives);
        let mut client = server.connect();
        fill(&mut client, option);
        check(&mut client, question);
        if from == Program::Redstart {
            assert_eq!(client.words("DEBUG RELOAD").text(), "OK");
            check(&mut client, question);
        }
        if files == LOG {
            assert!(!client.words("BGREWRITEAOF").is_error());
            await_background(&mut client);
        }
        drop(client);
        let server = if files == LOG {
            hand_over(server, to, &directives)
        } else {
            assert_eq!(server.connect().words("SAVE").text(), "OK");
            Server::start_in(to, server.into_dir(), &directives)
        };
        check(&mut server.connect(), question);
    }
}

#[test]
fn the_use_of_keys_survives_a_restart() {
    is_handed_on(Program::Redstart, Program::Redstart, SNAPSHOT);
    is_handed_on(Program::Redstart, Program::Redstart, LOG);
}

#[test]
fn the_use_of_keys_comes_from_redis() {
    is_handed_on(Program::Redis, Program::Redstart, SNAPSHOT);
    is_handed_on(Program::Redis, Program::Redstart, LOG);
}

#[test]
fn the_use_of_keys_goes_to_redis() {
    is_handed_on(Program::Redstart, Program::Redis, SNAPSHOT);
    is_handed_on(Program::Redstart, Program::Redis, LOG);
}

/// Without an LRU or LFU policy it isn't told, as upstream has it; with one of them, what the other
/// remembered means nothing.
#[test]
fn the_use_of_keys_is_told_where_the_policy_asks() {
    let mut server = Server::start_with(Program::Redstart, SNAPSHOT);
    let mut client = server.connect();
    fill(&mut client, "IDLETIME");
    let mut sizes = Vec::new();
    for policy in ["noeviction", "allkeys-random", "allkeys-lru"] {
        client.words(&format!("CONFIG SET maxmemory-policy {policy}"));
        assert_eq!(client.words("SAVE").text(), "OK");
        sizes.push(fs::metadata(server.dir().join("dump.rdb")).expect("a snapshot").len());
    }
    assert_eq!(sizes[0], sizes[1]);
    assert!(sizes[2] >= sizes[0] + 2 * USED.len() as u64, "{sizes:?}");
    server.kill();
    let lfu = Server::start_in(Program::Redstart, server.into_dir(), &[SNAPSHOT, LFU].concat());
    assert_eq!(lfu.connect().words("OBJECT FREQ list").integer(), Some(5), "a new key's");
}

/// Where each database begins stands how many keys it has and how many of them expire, once.
#[test]
fn a_snapshot_says_how_many_keys_there_are() {
    for program in [Program::Redis, Program::Redstart] {
        let server = Server::start_with(program, SNAPSHOT);
        let mut client = server.connect();
        for (db, keys, expiring) in [(0, 60, 20), (7, 3, 3)] {
            client.words(&format!("SELECT {db}"));
            let set =
                |n| argv(&format!("SET key:{n} {n}{}", if n < expiring { " EX 1000" } else { "" }));
            client.pipeline(&(0..keys).map(set).collect::<Vec<_>>());
        }
        assert_eq!(client.words("SAVE").text(), "OK");
        let file = fs::read(server.dir().join("dump.rdb")).expect("a snapshot");
        for begins in [&b"\xfe\x00\xfb\x3c\x14"[..], b"\xfe\x07\xfb\x03\x03"] {
            let found = file.windows(begins.len()).filter(|window| *window == begins).count();
            assert_eq!(found, 1, "{}: {}", program.name(), begins.escape_ascii());
        }
    }
}

/// A count that the file has no room for is not believed: nothing is made ahead for it.
#[test]
fn a_count_that_cannot_be_costs_no_memory() {
    let mut file = b"REDIS0010".to_vec();
    for db in 0..16 {
        file.extend([0xfe, db, 0xfb, 0x81, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
        file.extend(b"\x00\x01k\x01v");
    }
    file.push(0xff);
    file.extend([0; 8]);
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("dump.rdb"), file).expect("a file");
    let server = Server::start_in(Program::Redstart, dir, SNAPSHOT);
    let mut client = server.connect();
    let info = client.words("INFO memory").text();
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("a field");
    assert!(used.parse::<u64>().expect("a number") < 8 << 20, "{used}");
    assert_eq!(client.words("DBSIZE").integer(), Some(1));
}
