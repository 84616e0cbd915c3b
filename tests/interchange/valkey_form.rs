//! Version 80 of the format, Valkey 9's own: with one hash whose fields expire, Valkey refused our files,
//! payloads and full syncs, which were of Redis's 12.

use std::fs;
use std::process::Command;
use std::time::Instant;

use crate::support::client::{Client, Value};
use crate::support::group;
use crate::support::server::{Program, Server};
use crate::timed::{KEYS, Timed, compare_fields, fill, read};
use crate::{LOG, SNAPSHOT, await_background, data, hand_values, manifest};

const VERSION: [&str; 2] = ["--rdb-version", "80"];

/// Two pending entries that were given back, which are nobody's here and must be somebody's there.
const STREAM: &[&str] = &[
    "XADD stream 1-1 f v",
    "XADD stream 2-1 f v",
    "XADD stream 3-1 f v",
    "XGROUP CREATE stream group 0",
    "XREADGROUP GROUP group consumer STREAMS stream >",
    "XNACK stream group FAIL IDS 2 1-1 2-1",
];

fn start(directives: &[&str]) -> (Server, Vec<Timed>) {
    let directives = [directives, &VERSION].concat();
    let server = Server::start_with(Program::Redstart, &directives);
    let mut client = server.connect();
    data::fill(&mut client);
    client.words("SELECT 0");
    fill(&mut client);
    let replies = client.pipeline(&data::lines(STREAM));
    assert!(!replies.iter().any(Value::is_error), "{replies:?}");
    let written = read(&mut client);
    (server, written)
}

/// Whether Valkey has all that ours had.
fn assert_read(written: &[Timed], sizes: &[Value], valkey: &mut Client) {
    valkey.words("SELECT 0");
    compare_fields(written, &read(valkey));
    let pending = valkey.words("XPENDING stream group").elements();
    assert_eq!(pending[0], Value::Integer(3));
    let of_nobody = valkey.call(&["XPENDING", "stream", "group", "-", "+", "9", ""]).elements();
    assert_eq!(of_nobody.len(), 2);
    assert_eq!(self::sizes(valkey), sizes);
}

fn sizes(client: &mut Client) -> Vec<Value> {
    let size = |db| {
        client.words(&format!("SELECT {db}"));
        client.words("DBSIZE")
    };
    (0..16).map(size).collect()
}

#[test]
fn valkey_reads_our_snapshot_of_its_version() {
    let (mut server, written) = start(SNAPSHOT);
    let sizes = sizes(&mut server.connect());
    assert_eq!(server.connect().words("SAVE").text(), "OK");
    server.kill();
    let bytes = fs::read(server.dir().join("dump.rdb")).expect("the snapshot");
    assert!(bytes.starts_with(b"VALKEY080"));
    let mut again = Server::start_in(Program::Redstart, server.into_dir(), SNAPSHOT);
    compare_fields(&written, &read(&mut again.connect()));
    again.kill();
    let valkey = Server::start_in(Program::Valkey, again.into_dir(), SNAPSHOT);
    assert_read(&written, &sizes, &mut valkey.connect());
}

#[test]
fn valkey_reads_our_rewritten_log_of_its_version() {
    let (mut server, written) = start(LOG);
    let mut client = server.connect();
    let sizes = sizes(&mut client);
    client.words("BGREWRITEAOF");
    await_background(&mut client);
    drop(client);
    assert!(server.terminate().success(), "{}", server.log());
    let base = manifest(server.dir()).with_file_name("appendonly.aof.2.base.rdb");
    assert!(fs::read(base).expect("the base").starts_with(b"VALKEY080"));
    let mut again = Server::start_in(Program::Redstart, server.into_dir(), LOG);
    compare_fields(&written, &read(&mut again.connect()));
    assert!(again.terminate().success(), "{}", again.log());
    let valkey = Server::start_in(Program::Valkey, again.into_dir(), LOG);
    assert_read(&written, &sizes, &mut valkey.connect());
}

#[test]
fn valkey_restores_our_payloads_of_its_version_and_migrate_brings_them() {
    let (server, written) = start(SNAPSHOT);
    let mut client = server.connect();
    let sizes = sizes(&mut client);
    let valkey = Server::start_with(Program::Valkey, SNAPSHOT);
    let mut restored = valkey.connect();
    client.words("FUNCTION FLUSH");
    hand_values(&mut client, &mut restored);
    assert_read(&written, &sizes, &mut restored);
    let library = "#!lua name=lib\nredis.register_function('f', function() return 7 end)";
    assert_eq!(client.call(&["FUNCTION", "LOAD", library]).text(), "lib");
    let Value::Bulk(functions) = client.words("FUNCTION DUMP") else { panic!("a payload") };
    assert_eq!(restored.call(&[b"FUNCTION", &b"RESTORE"[..], &functions]).text(), "OK");
    restored.words("FLUSHALL");
    client.words("SELECT 0");
    restored.words("SELECT 0");
    let began = Instant::now();
    for key in KEYS {
        let line = format!("MIGRATE 127.0.0.1 {} {key} 0 10000 COPY", valkey.port());
        assert_eq!(client.words(&line).text(), "OK");
    }
    let mut arrived = read(&mut restored);
    let took_ms = began.elapsed().as_millis() as i64;
    for (written, arrived) in written.iter().zip(&mut arrived) {
        // MIGRATE sends what is left of a key's time, as upstream's does: the time of the way comes to it.
        let late = arrived.expiry.integer().zip(written.expiry.integer());
        let late = late.map(|(arrived, written)| arrived - written).expect("times of keys");
        assert!((0..=took_ms + 1).contains(&late), "{late} ms");
        arrived.expiry = written.expiry.clone();
    }
    compare_fields(&written, &arrived);
}

/// A file of 12 becomes one of Valkey's, and back.
#[test]
fn a_file_is_converted_for_valkey_and_back() {
    let server = Server::start_with(Program::Redstart, SNAPSHOT);
    let mut client = server.connect();
    fill(&mut client);
    let written = read(&mut client);
    let replies = client.pipeline(&data::lines(STREAM));
    assert!(!replies.iter().any(Value::is_error), "{replies:?}");
    let sizes = sizes(&mut client);
    assert_eq!(client.words("SAVE").text(), "OK");
    drop(client);
    let dir = server.into_dir();
    let convert = |version: &str, file: &str| {
        let mut check = Command::new(env!("CARGO_BIN_EXE_redstart-check"));
        let check = check.args(["--convert-to", version]).arg(dir.path().join(file));
        let output = check.output().expect("the tool runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}");
        said
    };
    let said = convert("80", "dump.rdb");
    assert!(said.contains("Left out: 2 pending entries") && !said.contains("expiry"), "{said}");
    let start_on = |program, file: &str| {
        let mut server = Server::start_with(program, SNAPSHOT);
        server.kill();
        fs::copy(dir.path().join(file), server.dir().join("dump.rdb")).expect("a copy");
        server.restart();
        server
    };
    let valkey = start_on(Program::Valkey, "dump.v80.rdb");
    assert_read(&written, &sizes, &mut valkey.connect());
    let said = convert("12", "dump.v80.rdb");
    assert!(!said.contains("Left out"), "{said}");
    let ours = start_on(Program::Redstart, "dump.v80.v12.rdb");
    compare_fields(&written, &read(&mut ours.connect()));
}

/// Waits until a replica has its primary's hashes.
fn await_hashes(written: &[Timed], replica: &Server) {
    let mut client = replica.connect();
    group::await_that("the link is up", || group::info(&mut client, "master_link_status") == "up");
    compare_fields(written, &read(&mut client));
}

/// Its full sync failed for ever.
#[test]
fn valkey_follows_us_whatever_the_version_and_a_replica_of_ours_beside_it() {
    for more in [&["--rdb-version", "10"][..], &VERSION, &["--repl-diskless-sync", "no"]] {
        let server = group::start(Program::Redstart, more);
        let mut client = server.connect();
        fill(&mut client);
        let written = read(&mut client);
        let port = server.port().to_string();
        let replicas =
            [Program::Valkey, Program::Redstart, Program::Valkey].map(|p| group::start(p, &[]));
        // All wait for one snapshot, and for two kinds of it.
        client.words("CONFIG SET rdb-key-save-delay 20000");
        for replica in &replicas {
            let reply = replica.connect().call(&["REPLICAOF", "127.0.0.1", &port]);
            assert_eq!(reply.text(), "OK");
        }
        for replica in &replicas {
            await_hashes(&written, replica);
        }
        // The times go on in the stream.
        client.words("HPEXPIREAT small 4000000000999 FIELDS 1 a");
        let written = read(&mut client);
        for replica in &replicas {
            let mut replica = replica.connect();
            group::await_that("the stream goes on", || {
                read(&mut replica)[0].fields == written[0].fields
            });
        }
        assert_eq!(group::number(&mut client, "sync_full"), 3, "{}", server.log());
    }
}

/// As Valkey judges them.
#[test]
fn versions_that_replicas_say_are_read_as_valkey_reads_them() {
    let [ours, valkey] = [Program::Redstart, Program::Valkey].map(Server::start);
    let (mut ours, mut valkey) = (ours.connect(), valkey.connect());
    for version in ["9.1.2", "8.0.0", "255.255.255", "256.1.1", "9", "9.1", "a.b.c", "9.1.2-rc1"] {
        let request = ["REPLCONF", "version", version];
        assert_eq!(ours.call(&request), valkey.call(&request), "{version}");
    }
}
