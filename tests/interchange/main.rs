//! Data goes both ways between redis-server 7.0, or Valkey, and Redstart: what one wrote, the other loads; as
//! snapshot, as multi-part log, and value by value with DUMP and RESTORE. What comes back from there
//! is what was sent.
//!
//! - [`data`] and [`collections`] are the dataset: every type in every encoding.
//! - [`configuration`]: files that CONFIG REWRITE left.
//! - [`contents`] reads all that a server holds through a client, and compares.
//! - [`lengths`]: elements of the lengths that today's Valkey writes another way.
//! - [`usage`]: how keys were used, and how many there are.
//! - [`valkey_form`]: the version that Valkey 9 has for itself.
//! - [`timed`]: expiry times of fields, which came after 7.0, so they go from ours to ours only.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod collections;
mod configuration;
mod contents;
mod data;
mod lengths;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod timed;
mod usage;
mod valkey_form;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use contents::{Contents, Way, contents, keys};
use support::client::{Client, Value, argv, quote};
use support::server::{Program, Server};

const SNAPSHOT: &[&str] = &["--enable-debug-command", "local", "--appendonly", "no", "--save", ""];
const LOG: &[&str] = &[
    "--enable-debug-command",
    "local",
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--save",
    "",
];

fn start_filled(program: Program, directives: &[&str]) -> (Server, Client, Contents) {
    let server = Server::start_with(program, directives);
    let mut client = server.connect();
    data::fill(&mut client);
    let written = contents(&server, &mut client);
    (server, client, written)
}

/// Ends a server so that its files hold everything, and starts a program on them.
fn hand_over(mut server: Server, to: Program, directives: &[&str]) -> Server {
    if directives == SNAPSHOT {
        assert_eq!(server.connect().words("SAVE").text(), "OK");
        server.kill();
        check_with("redis-check-rdb", &server.dir().join("dump.rdb"));
    } else {
        assert!(server.terminate().success(), "{}", server.log());
        check_with("redis-check-aof", &manifest(server.dir()));
    }
    Server::start_in(to, server.into_dir(), directives)
}

/// Writes with one program, reads with the other, and reads with the first what the other wrote.
fn there_and_back(from: Program, to: Program, directives: &[&str]) {
    let way = if directives == SNAPSHOT { Way::Values } else { Way::Commands };
    let (writer, client, written) = start_filled(from, directives);
    drop(client);
    let reader = hand_over(writer, to, directives);
    written.assert_same_in(&contents(&reader, &mut reader.connect()), way);
    let again = hand_over(reader, from, directives);
    written.assert_same_in(&contents(&again, &mut again.connect()), way);
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

/// Whether a snapshot, or one beside a manifest, has the format that is Valkey's alone.
fn is_of_valkey(file: &Path) -> bool {
    let beside = fs::read_dir(file.parent().expect("a directory")).expect("its files");
    let mut bytes = beside.map(|entry| fs::read(entry.expect("a file").path()).unwrap_or_default());
    bytes.any(|bytes| bytes.starts_with(b"VALKEY"))
}

/// Runs one of redis's own checkers, and fails unless it's content. They know no format of Valkey's.
fn check_with(program: &str, file: &Path) {
    if is_of_valkey(file) {
        return;
    }
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
fn a_snapshot_of_valkey_loads_here() {
    there_and_back(Program::Valkey, Program::Redstart, SNAPSHOT);
}

#[test]
fn a_snapshot_of_ours_loads_in_valkey() {
    there_and_back(Program::Redstart, Program::Valkey, SNAPSHOT);
}

#[test]
fn a_log_of_valkey_loads_here() {
    there_and_back(Program::Valkey, Program::Redstart, LOG);
}

#[test]
fn a_log_of_ours_loads_in_valkey() {
    there_and_back(Program::Redstart, Program::Valkey, LOG);
}

#[test]
fn values_dumped_by_valkey_are_restored_here() {
    values_there_and_back(Program::Valkey, Program::Redstart);
}

#[test]
fn values_dumped_by_ours_are_restored_in_valkey() {
    values_there_and_back(Program::Redstart, Program::Valkey);
}

#[test]
fn a_snapshot_of_redis_loads_here() {
    there_and_back(Program::Redis, Program::Redstart, SNAPSHOT);
}

#[test]
fn a_snapshot_of_ours_loads_in_redis() {
    there_and_back(Program::Redstart, Program::Redis, SNAPSHOT);
}

#[test]
fn a_log_of_redis_loads_here() {
    there_and_back(Program::Redis, Program::Redstart, LOG);
}

#[test]
fn a_log_of_ours_loads_in_redis() {
    there_and_back(Program::Redstart, Program::Redis, LOG);
}

/// A log that each server has rewritten and gone on with, handed to and fro.
fn relay(first: Program, second: Program) {
    let mut dir = tempfile::tempdir().expect("a directory");
    // What the first turn wrote, then what each turn left.
    let (mut filled, mut expected): (Option<Contents>, Option<Contents>) = (None, None);
    for (turn, program) in [first, second, first, second, first].into_iter().enumerate() {
        let mut server = Server::start_in(program, dir, LOG);
        let mut client = server.connect();
        let found = contents(&server, &mut client);
        if let Some(expected) = expected.take() {
            expected.assert_same_in(&found, Way::Commands);
        }
        match &filled {
            Some(filled) => filled.assert_part_of(&found, Way::Commands),
            None => {
                data::fill(&mut client);
                filled = Some(contents(&server, &mut client));
            }
        }
        write_on(&mut client, "before", turn);
        if turn % 2 == 0 {
            client.words("BGREWRITEAOF");
            // While the rewrite runs.
            write_on(&mut client, "during", turn);
            await_background(&mut client);
        }
        write_on(&mut client, "after", turn);
        expected = Some(contents(&server, &mut client));
        assert!(server.terminate().success(), "{}", server.log());
        dir = server.into_dir();
        check_with("redis-check-aof", &manifest(dir.path()));
    }
}

/// Adds to what other turns wrote, to collections in their compact forms and in the others.
fn write_on(client: &mut Client, when: &str, turn: usize) {
    let mut commands = vec![
        argv("SELECT 3"),
        argv(&format!("SET {when}:{turn} {turn} EXAT 4000000000")),
        argv("MULTI"),
        argv("INCR turns"),
        argv("APPEND story x"),
        argv(&format!("RPUSH list {when}:{turn}")),
        argv(&format!("HINCRBYFLOAT hash sum 0.{turn}1")),
        argv("EXEC"),
    ];
    for number in 0..40 {
        commands.extend(data::lines(&[
            &format!("LPUSH list:long {when}:{turn}:{number} {}", "l".repeat(number * 10)),
            &format!("HSET hash:large {when}:{turn}:{number} {number}"),
            &format!("SADD set:numbers {}", turn * 1_000_000 + number),
            &format!("SADD set:large {when}:{turn}:{number}"),
            &format!("ZADD zset:large {turn}.{number} {when}:{turn}:{number}"),
        ]));
    }
    commands.extend(data::lines(&[
        "LPOP list:long 7",
        "SPOP set:large 3",
        "SPOP set:numbers",
        "ZPOPMIN zset:large 3",
        "ZINCRBY zset 0.1 sum",
    ]));
    let replies = client.pipeline(&commands);
    assert!(!replies.iter().any(Value::is_error), "{replies:?}");
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
    let (mut ours, mut client, written) = start_filled(Program::Redstart, SNAPSHOT);
    client.words("BGSAVE");
    await_background(&mut client);
    drop(client);
    ours.kill();
    let redis = Server::start_in(Program::Redis, ours.into_dir(), SNAPSHOT);
    written.assert_same_in(&contents(&redis, &mut redis.connect()), Way::Values);
}

#[test]
fn a_log_directory_grows_out_of_a_snapshot() {
    let (mut redis, mut client, _) = start_filled(Program::Redis, SNAPSHOT);
    client.words("SAVE");
    // redis-server turns its log on without losing what it holds.
    client.words("CONFIG SET appendonly yes");
    await_background(&mut client);
    client.words("SET last 1");
    let written = contents(&redis, &mut client);
    drop(client);
    assert!(redis.terminate().success(), "{}", redis.log());
    let ours = Server::start_in(Program::Redstart, redis.into_dir(), LOG);
    written.assert_same_in(&contents(&ours, &mut ours.connect()), Way::Commands);
}

#[test]
fn a_base_of_commands_loads_here() {
    let directives = [LOG, &["--aof-use-rdb-preamble", "no"]].concat();
    let (mut redis, mut client, written) = start_filled(Program::Redis, &directives);
    client.words("BGREWRITEAOF");
    await_background(&mut client);
    drop(client);
    assert!(redis.terminate().success(), "{}", redis.log());
    let base = redis.dir().join("appendonlydir/appendonly.aof.2.base.aof");
    assert!(base.exists(), "the base is a file of commands");
    let ours = Server::start_in(Program::Redstart, redis.into_dir(), LOG);
    // Each command brings 64 elements: big sets begin as listpacks, where no zero has a sign.
    let read = contents(&ours, &mut ours.connect()).without_signs_of_zeros();
    written.without_signs_of_zeros().assert_same_in(&read, Way::Commands);
}

/// Gives each value of one server to the other by DUMP and RESTORE.
fn hand_values(from: &mut Client, to: &mut Client) {
    for database in 0..16 {
        let select = format!("SELECT {database}");
        from.words(&select);
        to.words(&select);
        for chunk in keys(from).chunks(100) {
            let about = |line: &str| -> Vec<data::Command> {
                chunk.iter().map(|key| data::command(line, [key.clone()])).collect()
            };
            let payloads = from.pipeline(&about("DUMP"));
            let expiries = from.pipeline(&about("PEXPIRETIME"));
            let restores: Vec<data::Command> = chunk
                .iter()
                .zip(payloads.iter().zip(expiries))
                .map(|(key, (payload, expiry))| {
                    let expiry = expiry.integer().expect("a time").max(0).to_string().into_bytes();
                    let payload = payload.bytes().expect("a payload").to_vec();
                    [b"RESTORE".to_vec(), key.clone(), expiry, payload, b"ABSTTL".to_vec()].into()
                })
                .collect();
            for (key, reply) in chunk.iter().zip(to.pipeline(&restores)) {
                assert_eq!(reply.text(), "OK", "RESTORE {}", quote(&[key]));
            }
        }
    }
}

fn values_there_and_back(from: Program, to: Program) {
    let (first, mut first_client, written) = start_filled(from, SNAPSHOT);
    let second = Server::start_with(to, SNAPSHOT);
    let mut second_client = second.connect();
    hand_values(&mut first_client, &mut second_client);
    written.assert_same_in(&contents(&second, &mut second_client), Way::Values);
    assert_eq!(first_client.words("FLUSHALL").text(), "OK");
    hand_values(&mut second_client, &mut first_client);
    written.assert_same_in(&contents(&first, &mut first_client), Way::Values);
}

#[test]
fn values_dumped_by_redis_are_restored_here() {
    values_there_and_back(Program::Redis, Program::Redstart);
}

#[test]
fn values_dumped_by_ours_are_restored_in_redis() {
    values_there_and_back(Program::Redstart, Program::Redis);
}

/// The other tests prove as much as the dataset holds.
#[test]
fn the_dataset_has_every_encoding() {
    let of_both = [
        ("string", "int"),
        ("string", "embstr"),
        ("string", "raw"),
        ("list", "quicklist"),
        ("hash", "listpack"),
        ("hash", "hashtable"),
        ("set", "intset"),
        ("set", "hashtable"),
        ("zset", "listpack"),
        ("zset", "skiplist"),
        ("stream", "stream"),
    ];
    let of_ours = [("list", "listpack"), ("set", "listpack")];
    for (program, more) in [(Program::Redis, &of_ours[..0]), (Program::Redstart, &of_ours)] {
        let (_server, mut client, written) = start_filled(program, SNAPSHOT);
        let expected: BTreeSet<(&str, &str)> = of_both.iter().chain(more).copied().collect();
        assert_eq!(written.encodings(), expected, "{}", program.name());
        assert!(written.len() > 10_000 + 4 * 70 + 2 * 120, "{}", written.len());

        let mut dump = |key: &str| client.call(&["DUMP", key]).bytes().expect("a key").to_vec();
        // String, set, hash, skiplist, intset, hash, sorted set and list in listpacks.
        let kinds = [
            ("int:1", 0),
            ("set:texts:129", 2),
            ("hash:513", 4),
            ("zset:129", 5),
            ("set:512", 11),
            ("hash:512", 16),
            ("zset:128", 17),
            ("list:small", 18),
            ("stream:many", 19),
        ];
        for (key, kind) in kinds {
            assert_eq!(dump(key)[0], kind, "{}: {key}", program.name());
        }
        // Behind the type come the number of nodes and the first node's kind: 1 is a plain one.
        assert_eq!(dump("list:small")[1..3], [1, 2], "{}", program.name());
        assert!(dump("list:texts")[1] > 3, "{}", program.name());
        assert_eq!(dump("list:plain")[1..3], [2, 1], "{}", program.name());
        assert_eq!(dump("list:plain:one")[1..3], [1, 1], "{}", program.name());
        assert_eq!(dump("list:of-three")[1..3], [7, 2], "{}", program.name());
        // An intset's bytes follow their length, the first is how wide its numbers are.
        for (key, bytes) in [("set:moved", 4), ("set:numbers:kept", 4), ("set:16", 2)] {
            assert_eq!(dump(key)[2], bytes, "{}: {key}", program.name());
        }
    }
}
