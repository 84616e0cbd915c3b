//! Hashes whose fields expire go through files and payloads of ours. redis-server 7.0 and its
//! checkers don't know what is in them.

use std::collections::BTreeSet;

use crate::contents::Way;
use crate::data::{command, lines};
use crate::support::client::{Client, Value};
use crate::support::server::{Program, Server};
use crate::{LOG, SNAPSHOT, await_background, hand_values};

pub const KEYS: [&str; 6] = ["small", "some", "large", "long", "key-too", "persisted"];

/// The farthest time that a field may have: 2^46 - 1.
const FARTHEST: i64 = 70_368_744_177_663;

pub fn fill(client: &mut Client) {
    let many: Vec<String> = (0..600).map(|number| format!("f{number} v{number}")).collect();
    let commands = lines(&[
        "HSET small a 1",
        "HPEXPIREAT small 4000000000123 FIELDS 1 a",
        "HSET some a 1 b 2 c 3 d 4",
        "HEXPIRE some 100000 FIELDS 2 b c",
        &format!("HPEXPIREAT some {FARTHEST} FIELDS 1 a"),
        "HPEXPIREAT some 1 FIELDS 1 d",
        &format!("HSET large {}", many.join(" ")),
        "HPEXPIREAT large 4000000000001 FIELDS 3 f1 f5 f599",
        "HPEXPIREAT large 4000000000000 FIELDS 2 f2 f598",
        &format!("HSET long a {} b 2", "v".repeat(65)),
        "HPEXPIREAT long 4000000000000 FIELDS 1 b",
        "HSET key-too a 1 b 2",
        "HPEXPIREAT key-too 4000000000000 FIELDS 1 a",
        "PEXPIREAT key-too 4000000000007",
        "HSET persisted a 1 b 2",
        "HPEXPIREAT persisted 4000000000000 FIELDS 1 a",
        "HPERSIST persisted FIELDS 1 a",
    ]);
    let replies = client.pipeline(&commands);
    assert!(!replies.iter().any(Value::is_error), "{replies:?}");
}

/// What is to be said of a hash.
#[derive(Debug, PartialEq)]
pub struct Timed {
    encoding: String,
    /// Each field with its value and its time.
    pub fields: Vec<[Value; 3]>,
    pub expiry: Value,
    digest: Value,
}

pub fn read(client: &mut Client) -> Vec<Timed> {
    let mut hash = |key: &str| {
        let mut fields = client.words(&format!("HKEYS {key}")).elements();
        fields.sort();
        let count = fields.len().to_string().into_bytes();
        let names = fields.iter().map(|field| field.bytes().expect("a field").to_vec());
        let counted = [count].into_iter().chain(names.clone());
        let times = client.call(&command(&format!("HPEXPIRETIME {key} FIELDS"), counted));
        let values = client.call(&command(&format!("HMGET {key}"), names));
        let both = values.elements().into_iter().zip(times.elements());
        Timed {
            encoding: client.words(&format!("OBJECT ENCODING {key}")).text(),
            fields: fields.into_iter().zip(both).map(|(f, (v, time))| [f, v, time]).collect(),
            expiry: client.words(&format!("PEXPIRETIME {key}")),
            digest: client.words(&format!("DEBUG DIGEST-VALUE {key}")),
        }
    };
    KEYS.map(&mut hash).into()
}

fn compare(written: &[Timed], read: &[Timed], way: Way) {
    for (key, (written, read)) in KEYS.iter().zip(written.iter().zip(read)) {
        for (written, read) in written.fields.iter().zip(&read.fields) {
            assert_eq!(written, read, "{key}");
        }
        assert_eq!(written.fields.len(), read.fields.len(), "{key}");
        assert_eq!((&written.expiry, &written.digest), (&read.expiry, &read.digest), "{key}");
        // A hash that has no times any more is written as one that never had any, for every reader.
        let plain = *key == "persisted" && way == Way::Values;
        assert_eq!(if plain { "listpack" } else { &written.encoding }, read.encoding, "{key}");
    }
}

/// Ends a server so that its files hold everything, and starts it on them.
fn start_again(mut server: Server, directives: &[&str]) -> Server {
    if directives == SNAPSHOT {
        assert_eq!(server.connect().words("SAVE").text(), "OK");
        server.kill();
    } else {
        assert!(server.terminate().success(), "{}", server.log());
    }
    Server::start_in(Program::Redstart, server.into_dir(), directives)
}

fn start_filled(directives: &[&str]) -> (Server, Vec<Timed>) {
    let server = Server::start_with(Program::Redstart, directives);
    let mut client = server.connect();
    fill(&mut client);
    let written = read(&mut client);
    (server, written)
}

#[test]
fn the_hashes_are_what_they_should_be() {
    let (_server, written) = start_filled(SNAPSHOT);
    let time = |hash: usize, field: usize| written[hash].fields[field][2].clone();
    assert_eq!(time(0, 0), Value::Integer(4_000_000_000_123));
    assert_eq!(time(1, 0), Value::Integer(FARTHEST));
    assert_eq!(time(5, 0), Value::Integer(-1));
    assert_eq!((written[1].fields.len(), written[2].fields.len()), (3, 600));
    let encodings: BTreeSet<&str> = written.iter().map(|hash| hash.encoding.as_str()).collect();
    assert_eq!(encodings, ["hashtable", "listpackex"].into());
}

#[test]
fn times_of_fields_survive_in_a_snapshot() {
    let (server, written) = start_filled(SNAPSHOT);
    let server = start_again(server, SNAPSHOT);
    compare(&written, &read(&mut server.connect()), Way::Values);
}

#[test]
fn times_of_fields_survive_in_a_log() {
    let (server, written) = start_filled(LOG);
    let server = start_again(server, LOG);
    let mut client = server.connect();
    compare(&written, &read(&mut client), Way::Commands);
    client.words("BGREWRITEAOF");
    await_background(&mut client);
    drop(client);
    let server = start_again(server, LOG);
    compare(&written, &read(&mut server.connect()), Way::Values);
}

/// Fields and times; encodings and digests are each program's own.
pub fn compare_fields(written: &[Timed], read: &[Timed]) {
    for (key, (written, read)) in KEYS.iter().zip(written.iter().zip(read)) {
        assert_eq!(written.fields, read.fields, "{key}");
        assert_eq!(written.expiry, read.expiry, "{key}");
    }
}

fn start_filled_valkey(directives: &[&str]) -> (Server, Vec<Timed>) {
    let server = Server::start_with(Program::Valkey, directives);
    let mut client = server.connect();
    fill(&mut client);
    let written = read(&mut client);
    (server, written)
}

#[test]
fn times_of_fields_of_valkey_are_read_from_its_snapshot() {
    let (server, written) = start_filled_valkey(SNAPSHOT);
    let server = start_again(server, SNAPSHOT);
    let snapshot = std::fs::read(server.dir().join("dump.rdb")).expect("Valkey's snapshot");
    assert!(snapshot.starts_with(b"VALKEY080"), "a format of its own");
    compare_fields(&written, &read(&mut server.connect()));
}

#[test]
fn times_of_fields_of_valkey_are_read_from_its_log() {
    for rewritten in [false, true] {
        let (server, written) = start_filled_valkey(LOG);
        if rewritten {
            let mut client = server.connect();
            client.words("BGREWRITEAOF");
            await_background(&mut client);
        }
        let server = start_again(server, LOG);
        compare_fields(&written, &read(&mut server.connect()));
    }
}

#[test]
fn times_of_fields_of_valkey_are_read_from_its_payloads() {
    let (from, written) = start_filled_valkey(SNAPSHOT);
    let to = Server::start_with(Program::Redstart, SNAPSHOT);
    let mut client = to.connect();
    hand_values(&mut from.connect(), &mut client);
    client.words("SELECT 0");
    compare_fields(&written, &read(&mut client));
}

#[test]
fn valkey_reads_times_of_fields_from_our_log() {
    let (mut server, written) = start_filled(LOG);
    assert!(server.terminate().success(), "{}", server.log());
    let server = Server::start_in(Program::Valkey, server.into_dir(), LOG);
    compare_fields(&written, &read(&mut server.connect()));
}

#[test]
fn times_of_fields_survive_in_payloads() {
    let (from, written) = start_filled(SNAPSHOT);
    let to = Server::start_with(Program::Redstart, SNAPSHOT);
    let mut client = to.connect();
    hand_values(&mut from.connect(), &mut client);
    client.words("SELECT 0");
    compare(&written, &read(&mut client), Way::Values);
}
