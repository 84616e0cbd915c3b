//! `rdb-version`: the versions that a real Redis 7.0 reads load there with equal contents, those
//! that it doesn't read it refuses, and all of them load here.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use support::client::{Client, Value, argv};
use support::server::{Program, Server};

const QUIET: &[&str] = &["--appendonly", "no", "--save", ""];

/// Every type in each of its forms, and lists with nodes of both kinds.
fn fill(client: &mut Client) {
    let mut requests = vec![
        argv("SET string text"),
        argv("SET int 1234567890123"),
        argv("SET expires 1 PXAT 4000000000123"),
        argv("RPUSH list:small a 5 -129 40000 9000000 5000000000 a"),
        argv("SADD set:small a b 7"),
        argv("SADD set:ints 1 2 300 70000 5000000000"),
        argv("ZADD zset:small 1 one 2.5 two -inf least inf most 1099511627776.5 large"),
        argv("HSET hash:small field value 12 34 long-number 123456789012345678"),
        argv("PEXPIREAT hash:small 4000000000000"),
    ];
    let long = "x".repeat(20_000);
    for number in 0..2000 {
        let element = if number % 400 == 5 { long.clone() } else { format!("element:{number}") };
        requests.push(owned(&["RPUSH", "list:long", &element]));
        requests.push(argv(&format!("SADD set:big member:{number} {number}")));
        requests.push(argv(&format!("ZADD zset:big {}.25 member:{number}", number % 37)));
        requests.push(argv(&format!("HSET hash:big field:{number} {number}")));
    }
    // Elements at the lengths where a ziplist changes its forms.
    for len in [0, 1, 62, 63, 64, 252, 253, 254, 255, 300] {
        let word = "y".repeat(len);
        // Twice: the second says how long the first is.
        requests.push(owned(&["RPUSH", "list:lengths", &word, &word]));
        let (field, value) = (format!("f{len}"), "z".repeat(len.min(64)));
        requests.push(owned(&["HSET", "hash:lengths", &field, &value]));
    }
    let replies = client.pipeline(&requests);
    let wrong: Vec<_> = replies.iter().filter(|reply| reply.is_error()).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// What is compared of a key.
#[derive(Clone, Debug, PartialEq)]
struct Facts {
    kind: String,
    encoding: String,
    expiry: i64,
    /// Those of sets and hashes in order of their text.
    elements: Vec<String>,
}

fn contents(client: &mut Client) -> BTreeMap<String, Facts> {
    let mut contents = BTreeMap::new();
    for key in client.words("KEYS *").elements() {
        let key = key.text();
        let kind = client.call(&["TYPE", &key]).text();
        let (question, sorted) = match kind.as_str() {
            "string" => (format!("GET {key}"), false),
            "list" => (format!("LRANGE {key} 0 -1"), false),
            "set" => (format!("SMEMBERS {key}"), true),
            "zset" => (format!("ZRANGE {key} 0 -1 WITHSCORES"), false),
            "hash" => (format!("HGETALL {key}"), true),
            "stream" => (format!("XRANGE {key} - +"), false),
            other => panic!("a type of {other}"),
        };
        let answer = client.words(&question);
        let words: Vec<String> = match &answer {
            Value::Bulk(_) => vec![answer.text()],
            _ if kind == "stream" => vec![answer.to_string()],
            _ => answer.elements().iter().map(Value::text).collect(),
        };
        let width = if kind == "hash" { 2 } else { 1 };
        let mut elements: Vec<String> = words.chunks(width).map(|pair| pair.join("=")).collect();
        if sorted {
            elements.sort();
        }
        let mut encoding = client.call(&["OBJECT", "ENCODING", &key]).text();
        // Redis 7.0 has neither sets nor whole lists in a listpack.
        match (kind.as_str(), encoding.as_str()) {
            ("set", "listpack") => encoding = "hashtable".into(),
            ("list", _) => encoding = "quicklist".into(),
            _ => {}
        }
        let expiry = client.call(&["PEXPIRETIME", &key]).integer().expect("a time");
        contents.insert(key, Facts { kind, encoding, expiry, elements });
    }
    contents
}

fn compare(written: &BTreeMap<String, Facts>, read: &BTreeMap<String, Facts>, version: &str) {
    assert!(written.keys().eq(read.keys()), "version {version}: {:?}", read.keys());
    for (key, facts) in written {
        assert!(*facts == read[key], "version {version}, {key}: {:.400?}", read[key]);
    }
}

/// A server of ours that has written everything in this version, killed after SAVE.
fn written_in(version: &str) -> (Server, BTreeMap<String, Facts>) {
    let directives = [QUIET, &["--rdb-version", version]].concat();
    let mut ours = Server::start_with(Program::Redstart, &directives);
    let mut client = ours.connect();
    fill(&mut client);
    let written = contents(&mut client);
    assert_eq!(client.words("SAVE").text(), "OK");
    drop(client);
    ours.kill();
    (ours, written)
}

fn owned(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

fn header(server: &Server) -> Vec<u8> {
    fs::read(server.dir().join("dump.rdb")).expect("a snapshot")[..9].to_vec()
}

#[test]
fn redis_reads_the_versions_it_knows() {
    for (version, header_text) in [("9", "REDIS0009"), ("10", "REDIS0010")] {
        let (ours, written) = written_in(version);
        assert_eq!(header(&ours), header_text.as_bytes());
        let redis = Server::start_in(Program::Redis, ours.into_dir(), QUIET);
        compare(&written, &contents(&mut redis.connect()), version);
    }
}

#[test]
fn later_versions_are_read_here_and_refused_by_redis() {
    for version in ["11", "12"] {
        let (mut ours, written) = written_in(version);
        assert_eq!(header(&ours), format!("REDIS00{version}").as_bytes());
        ours.restart();
        compare(&written, &contents(&mut ours.connect()), version);
        ours.kill();
        let mut redis = Server::start_with(Program::Redis, QUIET);
        redis.kill();
        let dump = fs::read(ours.dir().join("dump.rdb")).expect("a snapshot");
        fs::write(redis.dir().join("dump.rdb"), dump).expect("a copy");
        let (_, log) = redis.restart_expecting_refusal();
        assert!(log.contains(&format!("Can't handle RDB format version {version}")), "{log}");
    }
}

/// DUMP speaks the same version, so that an older server can RESTORE.
#[test]
fn dump_and_restore_speak_the_version() {
    let redis = Server::start(Program::Redis);
    let mut there = redis.connect();
    for version in [9_u16, 10, 11, 12, 80] {
        let version_text = version.to_string();
        let directives = [QUIET, &["--rdb-version", &version_text]].concat();
        let ours = Server::start_with(Program::Redstart, &directives);
        let mut here = ours.connect();
        fill(&mut here);
        let written = contents(&mut here);
        there.words("FLUSHALL");
        for (key, facts) in &written {
            let dumped = here.call(&["DUMP", key]);
            let dumped = dumped.bytes().expect("a payload").to_vec();
            assert_eq!(dumped[dumped.len() - 10..][..2], version.to_le_bytes());
            let ttl = facts.expiry.max(0).to_string();
            let words = [b"RESTORE", key.as_bytes(), ttl.as_bytes(), &dumped, b"ABSTTL"];
            let reply = there.call(&words);
            assert_eq!(reply.is_error(), version > 10, "{reply}");
            let words = [&words[..], &[b"REPLACE"]].concat();
            assert_eq!(here.call(&words).text(), "OK");
        }
        compare(&written, &contents(&mut here), &version_text);
        if version <= 10 {
            compare(&written, &contents(&mut there), &version_text);
        }
    }
}

/// What only 7.4 can say is said in its version, whatever is configured, and nothing is lost.
#[test]
fn expiring_fields_raise_the_version() {
    let directives = [QUIET, &["--rdb-version", "9"]].concat();
    let mut ours = Server::start_with(Program::Redstart, &directives);
    let mut client = ours.connect();
    client.words("HSET hash field value other 1");
    client.words("HPEXPIREAT hash 4000000000000 FIELDS 1 field");
    assert_eq!(client.words("SAVE").text(), "OK");
    drop(client);
    ours.kill();
    assert_eq!(header(&ours), b"REDIS0012");
    ours.restart();
    let mut client = ours.connect();
    let times = client.words("HPEXPIRETIME hash FIELDS 2 field other");
    let times: Vec<_> = times.elements().iter().map(Value::integer).collect();
    assert_eq!(times, [Some(4_000_000_000_000), Some(-1)]);
}

/// Runs `redstart-check` and returns what it says, and whether it succeeded.
fn check(arguments: &[&std::ffi::OsStr]) -> (String, bool) {
    let program = env!("CARGO_BIN_EXE_redstart-check");
    let output = Command::new(program).args(arguments).output().expect("the tool runs");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
}

/// A file of the newest version that we write, with what older ones can't hold, becomes one that the real
/// Redis 7.0 loads, and each version loads back here.
#[test]
fn a_newer_file_is_converted_for_older_servers() {
    let directives = [QUIET, &["--rdb-version", "12"]].concat();
    let mut ours = Server::start_with(Program::Redstart, &directives);
    let mut client = ours.connect();
    fill(&mut client);
    for line in [
        "HSET timed a 1 b 2",
        "HPEXPIREAT timed 4000000000000 FIELDS 1 a",
        "XADD stream 1-1 field value",
        "XADD stream 2-1 field value",
        "XADD stream 3-1 field value",
        "XGROUP CREATE stream group 0",
        "XREADGROUP GROUP group consumer STREAMS stream >",
        "XNACK stream group FAIL IDS 1 2-1",
        "XDEL stream 1-1",
    ] {
        assert!(!client.words(line).is_error(), "{line}");
    }
    let written = contents(&mut client);
    let pending = client.words("XPENDING stream group - + 9").elements().len();
    assert_eq!(client.words("SAVE").text(), "OK");
    drop(client);
    ours.kill();
    let dump = ours.dir().join("dump.rdb");
    for version in ["9", "10", "11", "12"] {
        let converted = ours.dir().join(format!("dump.v{version}.rdb"));
        let (said, ok) = check(&["--convert-to".as_ref(), version.as_ref(), dump.as_ref()]);
        assert!(ok, "{said}");
        assert!(said.contains(&format!("{} keys of ", written.len())), "{said}");
        let lost_times = said.contains("Left out: 1 expiry times of fields");
        assert_eq!(lost_times, version != "12", "{said}");
        assert!(said.contains("Left out: 1 pending entries that were given back"), "{said}");
        assert_eq!(said.contains("streams' counts"), version == "9", "{said}");
        let bytes = fs::read(&converted).expect("the new file");
        assert_eq!(bytes[..9], *format!("REDIS{version:0>4}").as_bytes());
        let mut expected = written.clone();
        if version != "12" {
            expected.get_mut("timed").expect("a hash").encoding = "listpack".into();
        }
        let readers: &[Program] = match version {
            "9" | "10" => &[Program::Redis, Program::Redstart],
            _ => &[Program::Redstart],
        };
        for reader in readers {
            let mut server = Server::start_with(*reader, QUIET);
            server.kill();
            fs::copy(&converted, server.dir().join("dump.rdb")).expect("a copy");
            server.restart();
            let mut client = server.connect();
            compare(&expected, &contents(&mut client), version);
            assert_eq!(client.words("XPENDING stream group - + 9").elements().len(), pending);
        }
        let (said, ok) = check(&["--convert-to".as_ref(), version.as_ref(), dump.as_ref()]);
        assert!(!ok && said.contains("is there already"), "{said}");
    }
    let damaged = ours.dir().join("damaged.rdb");
    let mut bytes = fs::read(&dump).expect("a snapshot");
    let end = bytes.len() - 1;
    bytes[end] ^= 1;
    fs::write(&damaged, bytes).expect("a file");
    let (said, ok) = check(&["--convert-to".as_ref(), "10".as_ref(), damaged.as_ref()]);
    assert!(!ok && said.contains("RDB CRC error"), "{said}");
    assert!(!ours.dir().join("damaged.v10.rdb").exists());
    assert!(!ours.dir().join("temp-damaged.v10.rdb").exists());
}

/// By the descriptions of Redis 8.10's forms: a hash from a template, and an array, which we don't have.
#[test]
fn a_key_of_an_unknown_type_stops_the_load_or_is_skipped() {
    let file = b"REDIS0015\xf2\x05\x01\x01f\xfe\0\x20\x01h\x05\x01v\x1c\x01a\x01\0\0\0\x01x\xff\0\0\0\0\0\0\0\0";
    let mut ours = Server::start_with(Program::Redstart, QUIET);
    ours.kill();
    let dump = ours.dir().join("dump.rdb");
    fs::write(&dump, file).expect("a file");
    let (_, log) = ours.restart_expecting_refusal();
    assert!(log.contains("in the key \"a\" a value of the type array (28)"), "{log}");
    let (said, ok) = check(&["--convert-to".as_ref(), "10".as_ref(), dump.as_ref()]);
    assert!(!ok && said.contains("a value of the type array"), "{said}");
    let skip = "--skip-unknown-types".as_ref();
    let (said, ok) = check(&["--convert-to".as_ref(), "10".as_ref(), skip, dump.as_ref()]);
    assert!(ok && said.contains("Left out: 1 keys of the type array"), "{said}");
    let directives = [QUIET, &["--rdb-load-unknown-types", "skip"]].concat();
    let ours = Server::start_in(Program::Redstart, ours.into_dir(), &directives);
    let mut client = ours.connect();
    assert_eq!(client.words("HGET h f").text(), "v");
    assert_eq!(client.words("DBSIZE").integer(), Some(1));
    assert!(ours.log().contains("skipping the key a: a value of the type array"), "{}", ours.log());
}
