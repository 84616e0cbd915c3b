//! Data directories go both ways: what redis-server 7.0 wrote, Redstart loads, and what Redstart
//! wrote, redis-server loads; as snapshot and as multi-part log. Compared key by key in every
//! database: type, encoding, time to live, value.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::client::{Client, Value, argv, quote};
use support::random::Random;
use support::server::{Program, Server};
use tempfile::TempDir;

const SNAPSHOT: &[&str] = &["--appendonly", "no", "--save", ""];
const LOG: &[&str] = &["--appendonly", "yes", "--appendfsync", "always", "--save", ""];

/// Databases that hold data.
const DATABASES: &[usize] = &[0, 1, 9, 15];

/// The facts of each key by database and name: type, encoding, expiry time, value.
type Contents = BTreeMap<(usize, Vec<u8>), Vec<Value>>;

/// Strings of every encoding and length class, with and without expiry.
fn fill(client: &mut Client) {
    let mut random = Random::new(7);
    for database in DATABASES {
        client.call(&["SELECT", &database.to_string()]);
        let integers: &[i64] = &[
            0,
            1,
            -1,
            12,
            127,
            128,
            -128,
            -129,
            255,
            32_767,
            32_768,
            -32_769,
            1 << 31,
            -(1 << 31),
            i64::MAX,
            i64::MIN,
        ];
        for number in integers {
            client.call(&["SET", &format!("int:{number}"), &number.to_string()]);
        }
        // Around each limit: RDB lengths of 6, 14 and 32 bits, LZF from 20, embstr 44, inline 192.
        for len in [
            0, 1, 11, 20, 21, 44, 45, 63, 64, 191, 192, 193, 254, 255, 256, 16_383, 16_384, 100_000,
        ] {
            let plain = "x".repeat(len);
            client.call(&["SET", &format!("plain:{len}"), &plain]);
            let noise: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
            client.call(&[b"SET".to_vec(), format!("noise:{len}").into(), noise]);
        }
        for number in ["007", "1.5", " 1", "+1", "-0", "9223372036854775808", "1e3"] {
            client.call(&["SET", &format!("text:{number}"), number]);
        }
        for key in [Vec::new(), b"\0\xff\r\n".to_vec(), vec![b'k'; 255], vec![b'K'; 70_000]] {
            client.call(&[b"SET".to_vec(), key.clone(), key.len().to_string().into()]);
        }
        client.words("SET expires 1 EXAT 4000000000");
        client.words("SET expires:ms text PXAT 4000000000123");
        client.words("SET expires:int 12345 PXAT 281474976710655");
        client.words("SET gone 1 PXAT 1");
        client.words("SET kept 1 EX 100");
        client.words("PERSIST kept");
        client.words("APPEND appended 12");
        client.words("APPEND appended 34");
        client.words("SETRANGE ranged 10 x");
        client.words("INCRBYFLOAT float 3.25");
        client.words("INCRBY counter 41");
        client.words("INCR counter");
        client.words("SET removed 1");
        client.words("DEL removed");
        client.words("SET old-name 1 EXAT 4000000001");
        client.words("RENAME old-name new-name");
        let transaction =
            ["MULTI", "SET multi:a 1", "INCRBY multi:a 5", "SET multi:b text", "EXEC"];
        client.pipeline(&transaction.map(argv));
        let replies =
            client.pipeline(&[argv("COPY counter copied"), argv("GETEX copied EXAT 4000000002")]);
        assert!(!replies.iter().any(Value::is_error), "{replies:?}");
    }
    // 10,000 more, so that tables grow.
    let many: Vec<_> = (0..10_000).map(|n| argv(&format!("SET many:{n} value:{n}"))).collect();
    client.pipeline(&many);
    client.call(&["SELECT", "0"]);
}

fn contents(client: &mut Client) -> Contents {
    let mut contents = Contents::new();
    for database in 0..16 {
        client.call(&["SELECT", &database.to_string()]);
        for key in client.call(&["KEYS", "*"]).elements() {
            let key = key.bytes().expect("a key").to_vec();
            let about = |line: &str| argv(line).into_iter().chain([key.clone()]).collect();
            // A type that isn't a string needs its own way of reading here.
            let questions = ["TYPE", "OBJECT ENCODING", "PEXPIRETIME", "GET"].map(about);
            contents.insert((database, key), client.pipeline(&questions));
        }
    }
    contents
}

fn compare(written: &Contents, read: &Contents) {
    assert!(!written.is_empty());
    for (place @ (database, key), facts) in written {
        let mut facts = facts.clone();
        let mut read = read.get(place).cloned().unwrap_or_default();
        // How a string lies in memory isn't in the file: `raw` may come back as `embstr`.
        if let ([_, written, ..], [_, read, ..]) = (facts.as_mut_slice(), read.as_mut_slice()) {
            if *written == Value::bulk("raw") && *read == Value::bulk("embstr") {
                written.clone_from(read);
            }
            if *written == Value::bulk("raw") && *read == Value::bulk("int") {
                written.clone_from(read);
            }
        }
        assert_eq!(facts, read, "db {database}, key {}", quote(&[key]));
    }
    let extra: Vec<_> = read.keys().filter(|place| !written.contains_key(*place)).collect();
    assert!(extra.is_empty(), "keys that were never written: {extra:?}");
}

/// Writes with one server, ends it, and starts the other on its directory.
fn hand_over(from: Program, to: Program, directives: &[&str], before_end: &[&str]) -> TempDir {
    let mut writer = Server::start_with(from, directives);
    let mut client = writer.connect();
    fill(&mut client);
    for command in before_end {
        let reply = client.words(command);
        assert!(!reply.is_error(), "{command}: {reply}");
    }
    let written = contents(&mut client);
    drop(client);
    if before_end.contains(&"SAVE") {
        writer.kill();
    } else {
        assert!(writer.terminate().success(), "{}", writer.log());
    }
    let reader = Server::start_in(to, writer.into_dir(), directives);
    compare(&written, &contents(&mut reader.connect()));
    reader.into_dir()
}

/// Waits until a background save or rewrite has ended.
fn await_background(client: &mut Client) {
    loop {
        let info = client.words("INFO persistence").text();
        let busy =
            ["rdb_bgsave_in_progress:1", "aof_rewrite_in_progress:1", "aof_rewrite_scheduled:1"];
        if !busy.iter().any(|flag| info.contains(flag)) {
            assert!(info.contains("rdb_last_bgsave_status:ok"), "{info}");
            assert!(info.contains("aof_last_bgrewrite_status:ok"), "{info}");
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Runs one of redis's own checkers, and fails unless it's content.
fn check_with(program: &str, file: &Path) {
    let output = Command::new(program).arg(file).output().expect("the checker is installed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {}: {said}", file.display());
    assert!(!said.contains("not valid"), "{program} {}: {said}", file.display());
}

fn manifest(dir: &Path) -> PathBuf {
    let entries = fs::read_dir(dir.join("appendonlydir")).expect("a log directory");
    let mut files = entries.map(|entry| entry.expect("an entry").path());
    files.find(|path| path.extension().is_some_and(|end| end == "manifest")).expect("a manifest")
}

#[test]
fn a_snapshot_of_redis_loads_here() {
    hand_over(Program::Redis, Program::Redstart, SNAPSHOT, &["SAVE"]);
}

#[test]
fn a_snapshot_of_ours_loads_in_redis() {
    let dir = hand_over(Program::Redstart, Program::Redis, SNAPSHOT, &["SAVE"]);
    check_with("redis-check-rdb", &dir.path().join("dump.rdb"));
}

#[test]
fn a_log_of_redis_loads_here() {
    hand_over(Program::Redis, Program::Redstart, LOG, &[]);
}

#[test]
fn a_log_of_ours_loads_in_redis() {
    let dir = hand_over(Program::Redstart, Program::Redis, LOG, &[]);
    check_with("redis-check-aof", &manifest(dir.path()));
}

/// A log that each server has rewritten and gone on with, handed to and fro.
fn relay(first: Program, second: Program) {
    let mut dir = tempfile::tempdir().expect("a directory");
    let mut expected = Contents::new();
    for (turn, program) in [first, second, first, second, first].into_iter().enumerate() {
        let mut server = Server::start_in(program, dir, LOG);
        let mut client = server.connect();
        if turn > 0 {
            compare(&expected, &contents(&mut client));
        }
        client.words("SELECT 3");
        client.words(&format!("SET before:{turn} {turn}"));
        if turn == 0 {
            fill(&mut client);
        }
        if turn % 2 == 0 {
            client.words("BGREWRITEAOF");
            // Written while the rewrite runs.
            client.words("SELECT 3");
            client.words(&format!("SET during:{turn} {turn}"));
            await_background(&mut client);
        }
        client.words("SELECT 4");
        client.words(&format!("SET after:{turn} {turn} EXAT 4000000000"));
        client.pipeline(&[argv("MULTI"), argv("INCR turns"), argv("APPEND story x"), argv("EXEC")]);
        expected = contents(&mut client);
        assert!(server.terminate().success(), "{}", server.log());
        dir = server.into_dir();
        check_with("redis-check-aof", &manifest(dir.path()));
    }
}

#[test]
fn a_log_goes_to_and_fro_from_redis() {
    relay(Program::Redis, Program::Redstart);
}

#[test]
fn a_log_goes_to_and_fro_from_ours() {
    relay(Program::Redstart, Program::Redis);
}

#[test]
fn a_background_snapshot_of_ours_loads_in_redis() {
    let mut ours = Server::start_with(Program::Redstart, SNAPSHOT);
    let mut client = ours.connect();
    fill(&mut client);
    let written = contents(&mut client);
    client.words("BGSAVE");
    await_background(&mut client);
    drop(client);
    ours.kill();
    let redis = Server::start_in(Program::Redis, ours.into_dir(), SNAPSHOT);
    compare(&written, &contents(&mut redis.connect()));
}

#[test]
fn a_log_directory_grows_out_of_a_snapshot() {
    let mut redis = Server::start_with(Program::Redis, SNAPSHOT);
    let mut client = redis.connect();
    fill(&mut client);
    client.words("SAVE");
    // redis-server turns its log on without losing what it holds.
    client.words("CONFIG SET appendonly yes");
    await_background(&mut client);
    client.words("SET last 1");
    let written = contents(&mut client);
    drop(client);
    assert!(redis.terminate().success(), "{}", redis.log());
    let ours = Server::start_in(Program::Redstart, redis.into_dir(), LOG);
    compare(&written, &contents(&mut ours.connect()));
}
