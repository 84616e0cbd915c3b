//! The settings of log and snapshot, each by what it changes in the files or in what is promised.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use support::client::{Client, argv};
use support::contents;
use support::server::{Program, Server};

/// How long a condition may take to come about.
const PATIENCE: Duration = Duration::from_secs(30);

fn info(client: &mut Client, field: &str) -> String {
    let text = client.words("INFO persistence").text();
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {field} in\n{text}")).trim().to_owned()
}

fn until_info(client: &mut Client, field: &str, value: &str) {
    let began = Instant::now();
    while info(client, field) != value {
        assert!(began.elapsed() < PATIENCE, "in vain: {field}:{value}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn say(client: &mut Client, line: &str) -> String {
    client.words(line).to_string()
}

/// Values of all types, small, and so big that they are frozen for the walk.
fn fill(client: &mut Client) {
    let mut lines = vec![
        "SET int 12345678901".to_owned(),
        "SET text some-text PXAT 4000000000123".into(),
        "ZADD scores 1 one 0.1 tenth -inf least inf most 1e300 much 3.0000000000000004 pi".into(),
        "SADD ints 3 1 2".into(),
        "SELECT 5".into(),
        "RPUSH elsewhere a b c".into(),
        "SELECT 0".into(),
    ];
    for (size, count) in [("small", 70), ("big", 5_000)] {
        for number in 0..count {
            let long = "x".repeat(number % 90);
            lines.push(format!("RPUSH {size}:list {number} element:{number}:{long}"));
            lines.push(format!("SADD {size}:set {number} member:{number}:{long}"));
            lines.push(format!("HSET {size}:hash f{number} {number} g{number} value:{long}"));
            lines.push(format!("ZADD {size}:zset {number}.25 member:{number}:{long}"));
        }
        lines.push(format!("PEXPIREAT {size}:hash 4000000000456"));
    }
    let commands: Vec<_> = lines.iter().map(|line| argv(line)).collect();
    let replies = client.pipeline(&commands);
    assert!(!replies.iter().any(|reply| reply.is_error()), "all are right");
}

fn held(client: &mut Client) -> Vec<String> {
    let mut all = Vec::new();
    for database in [0, 5] {
        client.words(&format!("SELECT {database}"));
        let mut keys: Vec<String> =
            client.words("KEYS *").elements().iter().map(|key| key.text()).collect();
        keys.sort();
        all.extend(keys.iter().filter_map(|key| contents::of_key(client, key)));
    }
    client.words("SELECT 0");
    all
}

fn log_file(dir: &Path, name: &str) -> PathBuf {
    dir.join("appendonlydir").join(format!("appendonly.aof.{name}"))
}

const LOG: [&str; 4] = ["--appendonly", "yes", "--save", ""];

fn with(directives: &[&str]) -> Server {
    Server::start_with(Program::Redstart, &[&LOG, directives].concat())
}

#[test]
fn a_base_of_commands_is_what_redis_would_load() {
    let mut server = with(&["--aof-use-rdb-preamble", "no"]);
    assert_eq!(fs::read(log_file(server.dir(), "1.base.aof")).expect("a base"), b"");
    let client = &mut server.connect();
    fill(client);
    assert_eq!(say(client, "BGREWRITEAOF"), "+Background append only file rewriting started");
    until_info(client, "aof_rewrites", "1");
    let base = fs::read(log_file(server.dir(), "2.base.aof")).expect("a base");
    assert!(base.starts_with(b"*2\r\n$6\r\nSELECT\r\n"), "it begins with a database");
    assert!(!base.windows(5).any(|bytes| bytes == b"REDIS"), "there is no RDB in it");
    client.words("APPEND text +after");
    let expected = held(client);
    assert!(expected.len() == 13, "{}", expected.len());
    // Upstream's tools and server take it.
    server.kill();
    let dir = server.into_dir();
    let manifest = dir.path().join("appendonlydir/appendonly.aof.manifest");
    let check = Command::new("redis-check-aof").arg(manifest).output().expect("redis-check-aof");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    let redis = Server::start_in(Program::Redis, dir, &LOG);
    let read = held(&mut redis.connect());
    let other = read.iter().zip(&expected).find(|(read, expected)| read != expected);
    assert!(read == expected, "redis-server has something else: {other:?}");
    // And so do we; fields that expire as well, which Redis 7.0 doesn't know.
    let mut server = Server::start_in(
        Program::Redstart,
        redis.into_dir(),
        &[&LOG[..], &["--aof-use-rdb-preamble", "no"]].concat(),
    );
    let client = &mut server.connect();
    assert!(held(client) == expected, "we have something else");
    for key in ["small:hash", "big:hash"] {
        client.words(&format!("HPEXPIREAT {key} 4000000000789 FIELDS 3 f1 f2 g69"));
    }
    let expected = held(client);
    say(client, "BGREWRITEAOF");
    until_info(client, "aof_rewrites", "1");
    // Turning it on again brings RDB back, and the file of commands goes.
    server.kill();
    server.restart();
    let client = &mut server.connect();
    assert!(held(client) == expected, "fields lost their times");
    assert_eq!(say(client, "CONFIG SET aof-use-rdb-preamble yes"), "+OK");
    say(client, "BGREWRITEAOF");
    until_info(client, "aof_rewrites", "1");
    let names = fs::read_dir(server.dir().join("appendonlydir")).expect("a directory");
    let bases: Vec<String> = names
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains(".base."))
        .collect();
    assert!(bases.len() == 1 && bases[0].contains(".base.rdb"), "{bases:?}");
    server.kill();
    server.restart();
    assert!(held(&mut server.connect()) == expected, "the last rewrite lost something");
}

#[test]
fn a_snapshot_without_checksum_is_not_checked() {
    for (setting, trailer) in [("yes", false), ("no", true)] {
        let directives = ["--appendonly", "no", "--save", "", "--rdbchecksum", setting];
        let mut server = Server::start_with(Program::Redstart, &directives);
        let client = &mut server.connect();
        fill(client);
        let expected = held(client);
        assert_eq!(say(client, "SAVE"), "+OK");
        let dump = server.dir().join("dump.rdb");
        let mut bytes = fs::read(&dump).expect("a snapshot");
        assert_eq!(bytes.ends_with(&[0; 8]), trailer, "rdbchecksum {setting}");
        let check = Command::new("redis-check-rdb").arg(&dump).output().expect("redis-check-rdb");
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
        server.kill();
        server.restart();
        assert!(held(&mut server.connect()) == expected, "rdbchecksum {setting}");
        // A byte of a text changes: only a checksum can tell.
        server.kill();
        let at = bytes.windows(9).position(|text| text == b"some-text").expect("it is there");
        bytes[at] = b'S';
        fs::write(&dump, &bytes).expect("the snapshot can be written");
        if trailer {
            server.restart();
            assert_eq!(say(&mut server.connect(), "GET text"), "\"Some-text\"");
        } else {
            let (status, log) = server.restart_expecting_refusal();
            assert!(!status.success() && log.contains("RDB CRC error"), "{log}");
        }
    }
}

#[test]
fn compression_is_a_choice() {
    let sizes = ["yes", "no"].map(|setting| {
        let directives = ["--appendonly", "no", "--save", "", "--rdbcompression", setting];
        let mut server = Server::start_with(Program::Redstart, &directives);
        let client = &mut server.connect();
        client.call(&["SET", "key", &"z".repeat(50_000)]);
        assert_eq!(say(client, "SAVE"), "+OK");
        let size = fs::metadata(server.dir().join("dump.rdb")).expect("a snapshot").len();
        server.kill();
        server.restart();
        assert_eq!(say(&mut server.connect(), "STRLEN key"), ":50000");
        size
    });
    assert!(sizes[0] < 2_000 && sizes[1] > 50_000, "{sizes:?}");
}

#[test]
fn the_log_s_directory_and_files_have_the_names_given() {
    let names = ["--appenddirname", "elsewhere", "--appendfilename", "other.aof"];
    let mut server = with(&names);
    assert_eq!(say(&mut server.connect(), "SET k 1"), "+OK");
    assert!(server.dir().join("elsewhere/other.aof.1.incr.aof").exists());
    assert!(!server.dir().join("appendonlydir").exists());
    server.kill();
    server.restart();
    assert_eq!(say(&mut server.connect(), "GET k"), "\"1\"");
    let directives = [&LOG[..], &names].concat();
    let redis = Server::start_in(Program::Redis, server.into_dir(), &directives);
    assert_eq!(say(&mut redis.connect(), "GET k"), "\"1\"");
}

#[test]
fn an_end_that_is_cut_off_is_forgiven_or_not() {
    let mut server = with(&["--aof-load-truncated", "yes"]);
    let client = &mut server.connect();
    assert_eq!(say(client, "SET a 1"), "+OK");
    assert_eq!(say(client, "SET b 2"), "+OK");
    server.kill();
    let increment = log_file(server.dir(), "1.incr.aof");
    let whole = fs::read(&increment).expect("an increment");
    let torn = &whole[..whole.len() - 3];
    fs::write(&increment, torn).expect("it can be cut");
    server.restart();
    assert_eq!(say(&mut server.connect(), "MGET a b"), "*[\"1\", $nil]");
    assert!(server.log().contains("was cut off"), "{}", server.log());
    server.kill();
    fs::write(&increment, &whole).expect("it can be written");
    let dir = server.into_dir();
    let increment = log_file(dir.path(), "1.incr.aof");
    let directives = [&LOG[..], &["--aof-load-truncated", "no"]].concat();
    let mut server = Server::start_in(Program::Redstart, dir, &directives);
    assert_eq!(say(&mut server.connect(), "MGET a b"), "*[\"1\", \"2\"]");
    server.kill();
    fs::write(&increment, torn).expect("it can be cut");
    let (status, log) = server.restart_expecting_refusal();
    assert!(!status.success() && log.contains("aof-load-truncated"), "{log}");
    assert_eq!(fs::read(&increment).expect("an increment"), torn, "it was changed");
}

/// With the setting, nothing is made durable while a walk is under way.
#[test]
fn syncs_can_be_left_out_while_a_snapshot_is_written() {
    for (setting, kept) in [("no", 1), ("yes", 0)] {
        let server = with(&["--no-appendfsync-on-rewrite", setting]);
        let client = &mut server.connect();
        assert_eq!(say(client, "SET a 1"), "+OK");
        assert_eq!(say(client, "CONFIG SET rdb-key-save-delay 100000000"), "+OK");
        assert_eq!(say(client, "BGSAVE"), "+Background saving started");
        assert_eq!(say(client, "SET b 2"), "+OK");
        // Long enough for the sync of the second, had it not been left out.
        let told = say(client, "WAITAOF 1 0 2500");
        assert_eq!(told, format!("*[:{kept}, :0]"), "no-appendfsync-on-rewrite {setting}");
        assert_eq!(say(client, "CONFIG SET rdb-key-save-delay 0"), "+OK");
        assert_eq!(say(client, "WAITAOF 1 0 0"), "*[:1, :0]");
        until_info(client, "rdb_saves", "1");
    }
}

/// As Valkey 8.1's: one under way is given up, one that waits for its turn is forgotten, and neither
/// counts as a failure.
#[test]
fn a_snapshot_can_be_cancelled() {
    let nothing = "-ERR Background saving is currently not in progress or scheduled";
    let server = with(&[]);
    let client = &mut server.connect();
    fill(client);
    assert_eq!(say(client, "BGSAVE CANCEL"), nothing);
    assert_eq!(say(client, "CONFIG SET rdb-key-save-delay 100000000"), "+OK");
    let temporary = server.dir().join(format!("temp-{}.rdb", server.pid()));
    for _ in 0..3 {
        assert_eq!(say(client, "BGSAVE"), "+Background saving started");
        assert!(temporary.exists(), "{}", temporary.display());
        assert_eq!(say(client, "BGSAVE CANCEL"), "+Background saving cancelled");
        until_info(client, "rdb_bgsave_in_progress", "0");
        assert!(!temporary.exists() && !server.dir().join("dump.rdb").exists());
    }
    assert_eq!(info(client, "rdb_last_bgsave_status"), "ok");
    assert_eq!(info(client, "rdb_saves"), "0");
    assert_eq!(say(client, "BGREWRITEAOF"), "+Background append only file rewriting started");
    assert_eq!(say(client, "BGSAVE SCHEDULE"), "+Background saving scheduled");
    assert_eq!(say(client, "BGSAVE CANCEL"), "+Scheduled background saving cancelled");
    assert_eq!(say(client, "BGSAVE CANCEL"), nothing);
    assert_eq!(say(client, "CONFIG SET rdb-key-save-delay 0"), "+OK");
    until_info(client, "aof_rewrites", "1");
    assert_eq!(say(client, "BGSAVE"), "+Background saving started");
    until_info(client, "rdb_saves", "1");
    assert_eq!(say(client, "BGSAVE CANCEL x"), "-ERR syntax error");
}

#[test]
fn info_follows_snapshots_and_rewrites() {
    let server = with(&[]);
    let client = &mut server.connect();
    fill(client);
    let keys = client.words("DBSIZE").integer().expect("a number") + 1;
    assert_eq!(info(client, "current_save_keys_total"), "0");
    assert_eq!(say(client, "CONFIG SET rdb-key-save-delay 100000000"), "+OK");
    assert_eq!(say(client, "BGSAVE"), "+Background saving started");
    until_info(client, "current_save_keys_total", &keys.to_string());
    assert_eq!(info(client, "rdb_bgsave_in_progress"), "1");
    let taken: i64 = info(client, "current_save_keys_processed").parse().expect("a number");
    assert!((1..=keys).contains(&taken), "{taken} of {keys}");
    let share: f64 = info(client, "current_fork_perc").parse().expect("a number");
    assert!((share - taken as f64 * 100.0 / keys as f64).abs() < 0.01, "{share}");
    let running: i64 = info(client, "rdb_current_bgsave_time_sec").parse().expect("a number");
    assert!((0..30).contains(&running), "{running}");
    assert_eq!(say(client, "BGREWRITEAOF"), "+Background append only file rewriting scheduled");
    assert_eq!(info(client, "aof_rewrite_scheduled"), "1");
    assert_eq!(info(client, "aof_pending_rewrite"), "1");
    assert_eq!(say(client, "CONFIG SET rdb-key-save-delay 0"), "+OK");
    until_info(client, "aof_rewrites", "1");
    for (field, value) in [
        ("rdb_saves", "1"),
        ("rdb_bgsave_in_progress", "0"),
        ("rdb_last_bgsave_status", "ok"),
        ("rdb_current_bgsave_time_sec", "-1"),
        ("rdb_changes_since_last_save", "0"),
        ("aof_rewrite_scheduled", "0"),
        ("aof_pending_rewrite", "0"),
        ("aof_rewrite_in_progress", "0"),
        ("aof_current_rewrite_time_sec", "-1"),
        ("aof_last_bgrewrite_status", "ok"),
        ("aof_buffer_length", "0"),
        ("current_save_keys_processed", "0"),
        ("current_save_keys_total", "0"),
    ] {
        assert_eq!(info(client, field), value, "{field}");
    }
    let size =
        |client: &mut Client, field: &str| info(client, field).parse::<u64>().expect("bytes");
    let (current, base) = (size(client, "aof_current_size"), size(client, "aof_base_size"));
    let on_disk: u64 = fs::read_dir(server.dir().join("appendonlydir"))
        .expect("a directory")
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| !entry.file_name().to_string_lossy().ends_with("manifest"))
        .map(|entry| entry.metadata().expect("a size").len())
        .sum();
    assert_eq!((current, base), (on_disk, on_disk));
}
