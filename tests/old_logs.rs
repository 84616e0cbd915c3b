//! Logs that others wrote: single files as they were before Redis 7.0, and the multi-part ones of
//! redis-server 7.0 in each of its settings. All of them load, and go on as logs of ours; a real
//! Redis loads what has become of them. And bases that no log follows.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::fs;
use std::path::Path;

use support::client::{Client, encode};
use support::server::{Program, Server};

const LOG: &[&str] = &["--appendonly", "yes", "--appendfsync", "always", "--save", ""];
const NO_LOG: &[&str] = &["--appendonly", "no", "--save", ""];

fn commands(lines: &[&str]) -> Vec<u8> {
    let words = |line: &&str| encode(&line.split(' ').collect::<Vec<_>>());
    lines.iter().flat_map(words).collect()
}

/// An RDB file of redis-server with `preamble:*` in two databases.
fn rdb_of_redis() -> Vec<u8> {
    let redis = Server::start_with(Program::Redis, NO_LOG);
    let mut client = redis.connect();
    client.words("RPUSH preamble:list a b c");
    client.words("SET preamble:string text PXAT 4000000000000");
    client.words("SELECT 3");
    client.words("SADD preamble:set x");
    assert_eq!(client.words("SAVE").text(), "OK");
    fs::read(redis.dir().join("dump.rdb")).expect("a snapshot")
}

/// What `rdb_of_redis` holds.
fn check_preamble(client: &mut Client) {
    assert_eq!(client.words("LRANGE preamble:list 0 -1").elements().len(), 3);
    assert_eq!(client.words("PEXPIRETIME preamble:string").integer(), Some(4_000_000_000_000));
    client.words("SELECT 3");
    assert_eq!(client.words("SCARD preamble:set").integer(), Some(1));
    client.words("SELECT 0");
}

fn check_tail(client: &mut Client) {
    assert_eq!(client.words("GET tail").text(), "2");
    assert_eq!(client.words("GET in-transaction").text(), "yes");
    client.words("SELECT 5");
    assert_eq!(client.words("GET elsewhere").text(), "1");
    client.words("SELECT 0");
}

const TAIL: &[&str] = &[
    "SELECT 0",
    "SET tail 1",
    "INCR tail",
    "MULTI",
    "SET in-transaction yes",
    "EXEC",
    "SELECT 5",
    "SET elsewhere 1",
];

fn manifest(dir: &Path) -> String {
    let path = dir.join("appendonlydir/appendonly.aof.manifest");
    String::from_utf8(fs::read(path).expect("a manifest")).expect("text")
}

/// Loads a single-file log, which becomes the base of a multi-part one, writes more, rewrites, and
/// hands each stage over to a new process of ours; the last one to redis-server.
fn upgrade(log: &[u8], directives: &[&str], check: &dyn Fn(&mut Client)) {
    let directives = [LOG, directives].concat();
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("appendonly.aof"), log).expect("a log");
    let mut server = Server::start_in(Program::Redstart, dir, &directives);
    let mut client = server.connect();
    check(&mut client);
    assert!(!server.dir().join("appendonly.aof").exists(), "it was moved");
    let moved = fs::read(server.dir().join("appendonlydir/appendonly.aof")).expect("a base");
    assert!(moved == log, "nothing in it was changed");
    let files = manifest(server.dir());
    assert!(files.starts_with("file appendonly.aof seq 1 type b\n"), "{files}");
    assert!(files.contains("file appendonly.aof.1.incr.aof seq 1 type i"), "{files}");
    client.words("SET written-later 1");
    drop(client);
    server.kill();
    server.restart();
    let mut client = server.connect();
    check(&mut client);
    client.words("BGREWRITEAOF");
    while client.words("INFO persistence").text().contains("aof_rewrite_in_progress:1") {
        std::thread::yield_now();
    }
    client.words("INCR written-later");
    drop(client);
    server.kill();
    let files = manifest(server.dir());
    assert!(files.starts_with("file appendonly.aof.2.base.rdb seq 2 type b"), "{files}");
    assert!(!server.dir().join("appendonlydir/appendonly.aof").exists(), "it was superseded");
    let redis = Server::start_in(Program::Redis, server.into_dir(), LOG);
    let mut client = redis.connect();
    check(&mut client);
    assert_eq!(client.words("GET written-later").text(), "2");
}

#[test]
fn a_single_file_of_commands_is_taken_over() {
    upgrade(&commands(TAIL), &[], &check_tail);
}

#[test]
fn a_single_file_that_begins_with_an_rdb_is_taken_over() {
    let log = [rdb_of_redis(), commands(TAIL)].concat();
    upgrade(&log, &[], &|client| {
        check_preamble(client);
        check_tail(client);
    });
}

#[test]
fn a_single_file_with_timestamps_is_taken_over() {
    let mut log = Vec::new();
    for (number, line) in TAIL.iter().enumerate() {
        // Not within a transaction.
        if !(4..=5).contains(&number) {
            log.extend_from_slice(format!("#TS:{}\r\n", 1_628_217_470 + number).as_bytes());
        }
        log.extend_from_slice(&commands(&[line]));
    }
    upgrade(&log, &["--aof-timestamp-enabled", "yes"], &check_tail);
    let log = [rdb_of_redis(), log].concat();
    upgrade(&log, &["--aof-timestamp-enabled", "yes"], &|client| {
        check_preamble(client);
        check_tail(client);
    });
}

/// An end that is cut off goes, as upstream has it; the transaction that it was in goes with it.
#[test]
fn a_single_file_without_its_end_is_cut_and_taken_over() {
    let whole = commands(TAIL);
    for cut_off in [commands(&["SET lost 1"]), commands(&["MULTI", "SET lost 1", "SET lost 2"])] {
        let torn = [whole.as_slice(), &cut_off[..cut_off.len() - 3]].concat();
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("appendonly.aof"), &torn).expect("a log");
        let mut server = Server::start_in(Program::Redstart, dir, LOG);
        check_tail(&mut server.connect());
        assert_eq!(server.connect().words("EXISTS lost").integer(), Some(0));
        server.kill();
        let base = fs::read(server.dir().join("appendonlydir/appendonly.aof")).expect("a base");
        assert!(base == whole);
        assert!(server.log().contains("was cut off"), "{}", server.log());
        let mut server =
            Server::start_with(Program::Redstart, &[LOG, &["--aof-load-truncated", "no"]].concat());
        server.kill();
        fs::remove_dir_all(server.dir().join("appendonlydir")).expect("its own log goes");
        fs::write(server.dir().join("appendonly.aof"), &torn).expect("a log");
        let (_, log) = server.restart_expecting_refusal();
        assert!(log.contains("Unexpected end of file reading the append only file"), "{log}");
        let kept = fs::read(server.dir().join("appendonlydir/appendonly.aof")).expect("a base");
        assert!(kept == torn, "a server that refuses to start changes no byte");
    }
}

/// Every setting of redis-server 7.0 that changes its files: each base and increment loads, and
/// Redis loads what is written behind them.
#[test]
fn logs_of_every_setting_of_redis_are_gone_on_with() {
    for preamble in ["yes", "no"] {
        for timestamps in ["yes", "no"] {
            let settings =
                ["--aof-use-rdb-preamble", preamble, "--aof-timestamp-enabled", timestamps];
            let directives = [LOG, &settings].concat();
            let mut redis = Server::start_with(Program::Redis, &directives);
            let mut client = redis.connect();
            client.words("RPUSH preamble:list a b c");
            client.words("SET preamble:string text PXAT 4000000000000");
            client.words("SELECT 3");
            client.words("SADD preamble:set x");
            client.words("BGREWRITEAOF");
            while !client.words("INFO persistence").text().contains("aof_rewrite_in_progress:0") {
                std::thread::yield_now();
            }
            for line in TAIL {
                client.words(line);
            }
            drop(client);
            redis.kill();
            let base = format!(
                "appendonlydir/appendonly.aof.2.base.{}",
                match preamble {
                    "yes" => "rdb",
                    _ => "aof",
                }
            );
            assert!(redis.dir().join(base).exists(), "{}", manifest(redis.dir()));
            let mut ours = Server::start_in(Program::Redstart, redis.into_dir(), &directives);
            let mut client = ours.connect();
            check_preamble(&mut client);
            check_tail(&mut client);
            client.words("SET ours 1");
            drop(client);
            ours.kill();
            let redis = Server::start_in(Program::Redis, ours.into_dir(), &directives);
            let mut client = redis.connect();
            check_preamble(&mut client);
            check_tail(&mut client);
            assert_eq!(client.words("GET ours").text(), "1");
        }
    }
}

fn rewrite(client: &mut Client) {
    let reply = client.words("BGREWRITEAOF");
    assert_eq!(reply.text(), "Background append only file rewriting started");
    while client.words("INFO persistence").text().contains("aof_rewrite_in_progress:1") {
        std::thread::yield_now();
    }
    let info = client.words("INFO persistence").text();
    assert!(info.contains("aof_last_bgrewrite_status:ok"), "{info}");
}

fn server_without_log() -> Server {
    Server::start_with(Program::Redstart, NO_LOG)
}

/// What a start with the default settings on what a killed server left holds at `key`.
fn after_restart(mut server: Server) -> (String, Server) {
    server.kill();
    let server = Server::start_in(Program::Redstart, server.into_dir(), &["--save", ""]);
    let found = server.connect().words("GET key").text();
    (found, server)
}

/// BGREWRITEAOF without a log leaves a base. By default the next start has a log: the base must not
/// be taken for the newest data where a snapshot is newer.
#[test]
fn a_base_alone_gives_way_to_a_newer_snapshot() {
    let server = server_without_log();
    let mut client = server.connect();
    client.words("SET key old");
    rewrite(&mut client);
    client.words("SET key new");
    client.words("SAVE");
    drop(client);
    let (found, server) = after_restart(server);
    assert_eq!(found, "new");
    // From here on the log counts, also against a snapshot of an unknown origin.
    server.connect().words("SET key newest");
    assert!(!manifest(server.dir()).contains("DETACHED"), "{}", manifest(server.dir()));
    let (found, _server) = after_restart(server);
    assert_eq!(found, "newest");
}

/// The same within one second, with equal lengths, and a snapshot of before the base.
#[test]
fn snapshots_are_told_apart_that_look_alike() {
    for checksum in ["yes", "no"] {
        let directives = [NO_LOG, &["--rdbchecksum", checksum]].concat();
        let server = Server::start_with(Program::Redstart, &directives);
        let mut client = server.connect();
        client.words("SET key one");
        client.words("SAVE");
        rewrite(&mut client);
        client.words("SET key two");
        client.words("SAVE");
        drop(client);
        assert_eq!(after_restart(server).0, "two");
    }
}

#[test]
fn a_base_alone_counts_where_it_is_the_newest() {
    // Without any snapshot, and with an older one.
    for saves in [false, true] {
        let server = server_without_log();
        let mut client = server.connect();
        client.words("SET key old");
        if saves {
            client.words("SAVE");
        }
        client.words("SET key new");
        rewrite(&mut client);
        client.words("SET key lost");
        drop(client);
        let (found, server) = after_restart(server);
        assert_eq!(found, "new");
        server.connect().words("SET key newer");
        assert_eq!(after_restart(server).0, "newer");
    }
}

/// A log that was turned off at run time is the newest data only until the next snapshot.
#[test]
fn a_log_turned_off_gives_way_to_a_newer_snapshot() {
    for (snapshot, found) in [(None, "logged"), (Some("before"), "logged"), (Some("after"), "new")]
    {
        let server = Server::start_with(Program::Redstart, LOG);
        let mut client = server.connect();
        client.words("SET key old");
        if snapshot == Some("before") {
            client.words("SAVE");
        }
        client.words("SET key logged");
        assert_eq!(client.words("CONFIG SET appendonly no").text(), "OK");
        assert!(manifest(server.dir()).contains("DETACHED"), "{}", manifest(server.dir()));
        client.words("SET key new");
        if snapshot == Some("after") {
            client.words("SAVE");
        }
        drop(client);
        let (there, server) = after_restart(server);
        assert_eq!(there, found, "a snapshot {snapshot:?}");
        server.connect().words("SET key newest");
        let (there, server) = after_restart(server);
        assert_eq!(there, "newest");
        assert!(!manifest(server.dir()).contains("DETACHED"), "{}", manifest(server.dir()));
    }
}

/// A snapshot that began before the log was turned off, and ends after that, holds less than the log.
#[test]
fn a_log_turned_off_counts_beside_a_snapshot_begun_before() {
    let server = Server::start_with(Program::Redstart, LOG);
    let mut client = server.connect();
    client.words("SET key old");
    client.words("CONFIG SET rdb-key-save-delay 100000000");
    assert_eq!(client.words("BGSAVE").text(), "Background saving started");
    client.words("SET key logged");
    assert_eq!(client.words("CONFIG SET appendonly no").text(), "OK");
    client.words("CONFIG SET rdb-key-save-delay 0");
    while !client.words("INFO persistence").text().contains("rdb_saves:1") {
        std::thread::yield_now();
    }
    assert!(manifest(server.dir()).contains("DETACHED"), "{}", manifest(server.dir()));
    drop(client);
    assert_eq!(after_restart(server).0, "logged");
}

/// Redis goes on in the last increment of such a log and doesn't touch the manifest: what it
/// acknowledged after its own snapshot is in the log alone.
#[test]
fn a_log_turned_off_that_redis_went_on_with_counts() {
    let server = Server::start_with(Program::Redstart, LOG);
    let mut client = server.connect();
    client.words("SET key logged");
    assert_eq!(client.words("CONFIG SET appendonly no").text(), "OK");
    client.words("SAVE");
    drop(client);
    let mut redis = Server::start_in(Program::Redis, server.into_dir(), LOG);
    let mut client = redis.connect();
    client.words("SET key saved");
    client.words("SAVE");
    client.words("SET key redis");
    drop(client);
    redis.kill();
    assert!(manifest(redis.dir()).contains("DETACHED"), "{}", manifest(redis.dir()));
    let server = Server::start_in(Program::Redstart, redis.into_dir(), LOG);
    assert_eq!(server.connect().words("GET key").text(), "redis");
}

/// A log that was given up because its disk failed is no longer the newest data either, and a mark
/// that could not be written is written before the next snapshot.
#[test]
fn a_log_turned_off_gives_way_also_where_the_mark_failed_first() {
    let server = Server::start_with(Program::Redstart, LOG);
    let mut client = server.connect();
    client.words("SET key logged");
    // In the way of the next manifest.
    let obstacle = server.dir().join("appendonlydir/temp-appendonly.aof.manifest");
    fs::create_dir(&obstacle).expect("a directory");
    assert_eq!(client.words("CONFIG SET appendonly no").text(), "OK");
    assert!(server.log().contains("Can't mark"), "{}", server.log());
    fs::remove_dir(&obstacle).expect("it is empty");
    client.words("SET key new");
    client.words("SAVE");
    drop(client);
    assert_eq!(after_restart(server).0, "new");
}

/// A real Redis takes the base, too, as it would take its own.
#[test]
fn redis_loads_a_base_alone() {
    let server = server_without_log();
    let mut client = server.connect();
    client.words("SET key value");
    rewrite(&mut client);
    drop(client);
    let mut redis = Server::start_in(Program::Redis, server.into_dir(), LOG);
    assert_eq!(redis.connect().words("GET key").text(), "value");
    redis.connect().words("SET key later");
    redis.kill();
    // It has left the mark away: the log counts, whatever snapshot there is.
    fs::write(redis.dir().join("dump.rdb"), rdb_of_redis()).expect("a snapshot");
    let ours = Server::start_in(Program::Redstart, redis.into_dir(), LOG);
    assert_eq!(ours.connect().words("GET key").text(), "later");
}

#[test]
fn debug_loadaof_loads_the_base_alone() {
    let debug = [NO_LOG, &["--enable-debug-command", "yes"]].concat();
    let server = Server::start_with(Program::Redstart, &debug);
    let mut client = server.connect();
    assert!(client.words("DEBUG LOADAOF").is_error(), "there is none yet");
    client.words("SET key base");
    rewrite(&mut client);
    client.words("SET key later");
    client.words("SAVE");
    assert_eq!(client.words("DEBUG LOADAOF").text(), "OK");
    assert_eq!(client.words("GET key").text(), "base");
    // Turning the log on makes a log of its own of it.
    client.words("SET key newest");
    assert_eq!(client.words("CONFIG SET appendonly yes").text(), "OK");
    while client.words("INFO persistence").text().contains("aof_rewrite_in_progress:1") {
        std::thread::yield_now();
    }
    client.words("SAVE");
    client.words("INCR counter");
    assert_eq!(client.words("CONFIG SET appendonly no").text(), "OK");
    rewrite(&mut client);
    let files = manifest(server.dir());
    assert!(files.contains("base.rdb") && !files.contains("incr.aof"), "{files}");
    drop(client);
    let (found, server) = after_restart(server);
    assert_eq!(found, "newest");
    assert_eq!(server.connect().words("GET counter").text(), "1");
}
