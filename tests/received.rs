//! What becomes of a snapshot that a primary sends: a damaged one costs nothing that is there, a server that
//! is killed meanwhile has what it had, and the log begins on it without a walk.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use support::client::{Client, Value};
use support::group::{assert_equal, await_that, follower, info, number, start};
use support::server::{Program, Server};

const LOGGED: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

/// The log's base, where the manifest names one.
fn base_of(server: &Server) -> Vec<u8> {
    let dir = server.dir().join("appendonlydir");
    let manifest = fs::read_to_string(dir.join("appendonly.aof.manifest")).unwrap_or_default();
    let base = manifest.lines().find(|line| line.contains(" type b")).and_then(|line| {
        let name = line.strip_prefix("file ")?.split(' ').next()?;
        fs::read(dir.join(name)).ok()
    });
    base.unwrap_or_default()
}

fn follow(client: &mut Client, port: u16) {
    assert_eq!(client.words(&format!("REPLICAOF 127.0.0.1 {port}")).text(), "OK");
}

/// Has this snapshot sent to whoever connects, once for each connection.
fn serve_snapshot(snapshot: Vec<u8>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        for link in listener.incoming() {
            let mut link = link.expect("a connection");
            let mut reader = BufReader::new(link.try_clone().expect("a second handle"));
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
                let answer = match line.trim() {
                    "PING" => b"+PONG\r\n".to_vec(),
                    "REPLCONF" => b"+OK\r\n".to_vec(),
                    "PSYNC" => {
                        let head = format!("+FULLRESYNC {:040} 0\r\n${}\r\n", 1, snapshot.len());
                        [head.as_bytes(), &snapshot].concat()
                    }
                    _ => Vec::new(),
                };
                if link.write_all(&answer).is_err() {
                    break;
                }
                line.clear();
            }
        }
    });
    port
}

#[test]
fn a_damaged_snapshot_costs_nothing_that_is_there() {
    let source = start(Program::Redstart, &[]);
    let mut writer = source.connect();
    for key in 0..100 {
        writer.words(&format!("SET theirs:{key} some-value-of-theirs"));
    }
    writer.words("SAVE");
    let mut snapshot = fs::read(source.dir().join("dump.rdb")).expect("the snapshot");
    let at = snapshot.windows(6).position(|part| part == b"theirs").expect("a key");
    // A letter of a key: only the checksum can tell.
    snapshot[at] = b'T';
    let mut replica = start(Program::Redstart, &LOGGED);
    let mut client = replica.connect();
    client.words("SET ours kept");
    follow(&mut client, serve_snapshot(snapshot));
    await_that("it says so", || replica.log().contains("RDB CRC error"));
    assert_eq!(client.words("GET ours").text(), "kept");
    assert_eq!(client.words("DBSIZE"), Value::Integer(1));
    assert!(!replica.log().contains("Flushing old data"));
    replica.kill();
    replica.restart();
    assert_eq!(replica.connect().words("GET ours").text(), "kept");
}

#[test]
fn what_a_primary_sends_is_the_base_of_the_log() {
    for program in [Program::Redis, Program::Redstart] {
        let primary = start(program, &[]);
        let mut writer = primary.connect();
        writer.words("DEBUG POPULATE 5000");
        writer.words("RPUSH list a b c");
        let mut replica = follower(Program::Redstart, &primary, &LOGGED);
        assert_equal(&[&primary, &replica]);
        await_that("the log has it as its base", || base_of(&replica).len() > 5000);
        let base = base_of(&replica);
        assert!(base.starts_with(b"REDIS"));
        // None that was written here: those say who wrote them.
        if program == Program::Redis {
            let version = [&b"redis-ver"[..], b"\x067.0.15"].concat();
            assert!(base.windows(version.len()).any(|part| part == version));
        }
        assert!(!replica.log().contains("Background append only file rewriting started"));
        // Only what no log follows is left in the data directory.
        let left = fs::read_dir(replica.dir()).expect("the directory").filter_map(Result::ok);
        assert!(
            left.into_iter().all(|file| !file.file_name().to_string_lossy().starts_with("temp"))
        );
        writer.words("RPUSH list d");
        assert_equal(&[&primary, &replica]);
        replica.kill();
        replica.restart();
        assert_equal(&[&primary, &replica]);
        assert_eq!(number(&mut writer, "sync_full"), 1, "{}", program.name());
        // And redis-server begins on what is left here.
        replica.kill();
        let dir = replica.into_dir();
        let directives = ["--appendonly", "yes", "--enable-debug-command", "yes", "--save", ""];
        let heir = Server::start_in(Program::Redis, dir, &directives);
        let mut client = heir.connect();
        assert_eq!(client.words("DEBUG DIGEST"), writer.words("DEBUG DIGEST"));
    }
}

/// Files of versions that Redis 7 does not read are replaced by our own.
#[test]
fn a_snapshot_of_a_foreign_version_is_written_again() {
    let source = start(Program::Valkey, &[]);
    let mut writer = source.connect();
    writer.words("DEBUG POPULATE 100");
    writer.words("SAVE");
    let snapshot = fs::read(source.dir().join("dump.rdb")).expect("the snapshot");
    assert!(snapshot.starts_with(b"VALKEY"));
    let replica = start(Program::Redstart, &LOGGED);
    let mut client = replica.connect();
    follow(&mut client, serve_snapshot(snapshot));
    await_that("it follows", || info(&mut client, "master_link_status") == "up");
    assert_eq!(client.words("DEBUG DIGEST"), writer.words("DEBUG DIGEST"));
    await_that("it is written", || replica.log().contains("file rewriting started"));
    await_that("the log has a base", || info(&mut client, "aof_rewrite_in_progress") == "0");
    assert!(base_of(&replica).starts_with(b"REDIS0010"));
}

#[test]
fn a_replica_that_is_killed_while_it_loads_has_what_it_had() {
    let primary = start(Program::Redstart, &[]);
    primary.connect().words("DEBUG POPULATE 3000");
    let mut replica = start(Program::Redstart, &LOGGED);
    let mut client = replica.connect();
    client.words("SET ours kept");
    client.words("CONFIG SET key-load-delay 1000");
    follow(&mut client, primary.port());
    await_that("it loads", || info(&mut client, "loading") == "1");
    replica.kill();
    replica.restart();
    let mut client = replica.connect();
    assert_eq!(client.words("GET ours").text(), "kept");
    assert_eq!(client.words("DBSIZE"), Value::Integer(1));
    // And begins again, to the end.
    client.words("CONFIG SET key-load-delay 0");
    follow(&mut client, primary.port());
    assert_equal(&[&primary, &replica]);
}

/// What was there has gone, and what comes is not there yet: a replica that was promoted then was empty.
#[test]
fn a_replica_is_not_promoted_while_it_loads() {
    let primary = start(Program::Redstart, &[]);
    primary.connect().words("DEBUG POPULATE 1000");
    let replica = start(Program::Redstart, &[]);
    let mut client = replica.connect();
    client.words("CONFIG SET key-load-delay 1000");
    follow(&mut client, primary.port());
    await_that("it loads", || info(&mut client, "loading") == "1");
    let answer = client.words("REPLICAOF NO ONE").text();
    assert_eq!(answer, "LOADING Redis is loading the dataset in memory");
    // As with Redis, the link is no client before the stream comes: nobody ends it in the middle.
    assert_eq!(client.words("CLIENT KILL TYPE master"), Value::Integer(0));
    drop(primary);
    await_that("it has loaded", || info(&mut client, "loading") == "0");
    assert_eq!(client.words("REPLICAOF NO ONE").text(), "OK");
    assert_eq!(client.words("DBSIZE"), Value::Integer(1000));
}
