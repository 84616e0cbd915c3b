//! What a server does while it loads its data: it answers, but not with data, and it touches none of
//! its files. redis-server is asked the same where it has the same behaviour.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::fs;
use std::time::{Duration, Instant};

use support::client::{Client, Value, argv};
use support::group::{await_that, follower, info, number};
use support::server::{Program, Server};
use tempfile::TempDir;

const BOTH: [Program; 2] = [Program::Redis, Program::Redstart];
const SNAPSHOT: &[&str] = &["--appendonly", "no", "--save", ""];
const LOG: &[&str] = &["--appendonly", "yes", "--save", "", "--auto-aof-rewrite-percentage", "0"];
/// So slow that loading lasts as long as a test wants it to.
const SLOWLY: &[&str] =
    &["--key-load-delay", "2000", "--loading-process-events-interval-bytes", "1024"];
const KEYS: usize = 5_000;

/// A directory with a snapshot of many keys, one of them of each type.
fn directory(program: Program, directives: &[&str]) -> TempDir {
    let mut server = Server::start_with(program, directives);
    let mut client = server.connect();
    let many: Vec<_> =
        (0..KEYS).map(|n| argv(&format!("SET key:{n} {}", "v".repeat(40)))).collect();
    client.pipeline(&many);
    for line in ["RPUSH list a b", "HSET hash f v", "SADD set a 1", "ZADD zset 1.5 a"] {
        assert!(!client.words(line).is_error());
    }
    if directives == SNAPSHOT {
        assert_eq!(client.words("SAVE").text(), "OK");
    }
    drop(client);
    assert!(server.terminate().success());
    server.into_dir()
}

fn field(client: &mut Client, name: &str) -> Option<String> {
    let info = client.words("INFO persistence").text();
    let line = info.lines().find(|line| line.split(':').next() == Some(name))?;
    Some(line.split(':').nth(1)?.trim().to_owned())
}

fn await_loaded(client: &mut Client) {
    let start = Instant::now();
    while field(client, "loading").as_deref() != Some("0") {
        assert!(start.elapsed() < Duration::from_secs(60), "it loads");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn clients_are_told_that_it_loads() {
    for program in BOTH {
        let dir = directory(program, SNAPSHOT);
        let server = Server::start_loading(program, dir, &[SNAPSHOT, SLOWLY].concat());
        let mut client = server.connect();
        let loading = "LOADING Redis is loading the dataset in memory";
        for line in ["GET key:1", "PING", "SET a 1", "BGSAVE", "FLUSHALL"] {
            assert_eq!(client.words(line), Value::Error(loading.into()), "{program:?}: {line}");
        }
        assert_eq!(client.words("SELECT 3").text(), "OK");
        assert!(!client.words("HELLO").is_error());
        assert_eq!(field(&mut client, "loading").as_deref(), Some("1"));
        let size = fs::metadata(server.dir().join("dump.rdb")).expect("the file").len();
        let start = Instant::now();
        while field(&mut client, "loading_total_bytes") != Some(size.to_string()) {
            assert!(start.elapsed() < Duration::from_secs(5), "{program:?} tells {size}");
        }
        for name in ["start_time", "rdb_used_mem", "loaded_bytes", "loaded_perc", "eta_seconds"] {
            assert!(
                field(&mut client, &format!("loading_{name}")).is_some(),
                "{program:?}: {name}"
            );
        }
        assert!(!server.log().contains("Ready to accept"), "{program:?}: {}", server.log());
        assert_eq!(client.words("CONFIG SET key-load-delay 0").text(), "OK");
        await_loaded(&mut client);
        assert_eq!(field(&mut client, "loading_total_bytes"), None);
        client.words("SELECT 0");
        assert_eq!(client.words("DBSIZE").integer(), Some(KEYS as i64 + 4));
        assert!(server.log().contains("Ready to accept"), "{}", server.log());
        assert!(server.log().contains("Done loading RDB, keys loaded: 5004, keys expired: 0."));
    }
}

/// Where little is there to load, even who comes at once finds it loaded. Ours listened, and said
/// `-LOADING` for some milliseconds, an empty server, too. (As redis-server does with a log.)
#[test]
fn a_small_load_is_not_told() {
    let ours = [SNAPSHOT, LOG].map(|directives| (Program::Redstart, directives));
    for (program, directives) in [(Program::Redis, SNAPSHOT)].into_iter().chain(ours) {
        let mut dir = tempfile::tempdir().expect("a temporary directory");
        for keys in 0..6 {
            let mut server = Server::start_loading(program, dir, directives);
            let mut client = server.connect();
            let size = client.words("DBSIZE");
            assert_eq!(size.integer(), Some(keys), "{program:?} {directives:?}: {size:?}");
            client.words(&format!("SET key{keys} value"));
            if directives == SNAPSHOT {
                client.words("SAVE");
            }
            server.terminate();
            dir = server.into_dir();
        }
    }
}

/// A shutdown with save points would put what is loaded so far in the snapshot's place.
#[test]
fn a_shutdown_meanwhile_leaves_the_files_alone() {
    for directives in [SNAPSHOT, LOG] {
        for by_signal in [false, true] {
            let dir = directory(Program::Redstart, directives);
            let words = [directives, SLOWLY, &["--save", "1 1"]].concat();
            let before = contents(&dir);
            let mut server = Server::start_loading(Program::Redstart, dir, &words);
            let mut client = server.connect();
            while field(&mut client, "loading_loaded_bytes").is_none() {}
            if by_signal {
                assert!(server.terminate().success(), "{}", server.log());
            } else {
                client.try_send_raw(b"SHUTDOWN SAVE\r\n").expect("sent");
                assert!(server.await_end().success(), "{}", server.log());
            }
            let dir = server.into_dir();
            assert_eq!(contents(&dir), before, "{directives:?}");
            let server = Server::start_in(Program::Redstart, dir, directives);
            let mut client = server.connect();
            assert_eq!(client.words("DBSIZE").integer(), Some(KEYS as i64 + 4));
        }
    }
}

/// Every file of data: its name and bytes.
fn contents(dir: &TempDir) -> Vec<(String, Vec<u8>)> {
    let folders = [dir.path().to_owned(), dir.path().join("appendonlydir")];
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file() && !path.ends_with("server-output.txt"))
        .map(|path| (path.display().to_string(), fs::read(&path).expect("a file")))
        .collect();
    files.sort();
    files
}

#[test]
fn nothing_is_evicted_before_all_is_there() {
    let dir = directory(Program::Redstart, SNAPSHOT);
    let limits = ["--maxmemory", "1mb", "--maxmemory-policy", "allkeys-lru"];
    let words = [SNAPSHOT, SLOWLY, &limits].concat();
    let server = Server::start_loading(Program::Redstart, dir, &words);
    let mut client = server.connect();
    assert!(client.words("SET a 1").text().starts_with("LOADING"));
    client.words("CONFIG SET key-load-delay 0 maxmemory 0");
    await_loaded(&mut client);
    assert_eq!(client.words("DBSIZE").integer(), Some(KEYS as i64 + 4));
    assert!(client.words("INFO stats").text().contains("evicted_keys:0\r"));
}

/// A log has what was published, for replicas that were behind. Loading it told that once more to whoever
/// listened by then: Sentinels took their own hellos of a minute ago for news, and agreed on a primary that
/// was none (Valkey's sentinel/tests/12-primary-reboot.tcl). No keyspace event is told again either.
#[test]
fn what_was_published_is_not_told_again() {
    for (program, events) in
        [(Program::Redis, ""), (Program::Redstart, ""), (Program::Redstart, "KEA")]
    {
        let quick = ["--repl-diskless-sync-delay", "0", "--notify-keyspace-events", events];
        let directives = [LOG, &quick].concat();
        let mut server = Server::start_with(program, &directives);
        let mut client = server.connect();
        let replica = follower(program, &server, &[]);
        let mut replica = replica.connect();
        await_that("it follows", || info(&mut replica, "master_link_status") == "up");
        let lines = ["MULTI", "SET x 1", "PUBLISH news old", "EXEC", "PUBLISH news old"];
        let mut many: Vec<_> = (0..KEYS).map(|n| argv(&format!("SET key:{n} v"))).collect();
        many.extend(lines.into_iter().chain(["SPUBLISH shard old", "SET last 1"]).map(argv));
        client.pipeline(&many);
        let offset = number(&mut client, "master_repl_offset");
        await_that("it has all", || number(&mut replica, "slave_repl_offset") >= offset);
        assert!(server.terminate().success());

        let dir = server.into_dir();
        let server = Server::start_loading(program, dir, &[&directives, SLOWLY].concat());
        let (mut listener, mut client) = (server.connect(), server.connect());
        for line in ["PSUBSCRIBE *", "SSUBSCRIBE shard"] {
            assert!(!listener.words(line).is_error());
        }
        assert_eq!(field(&mut client, "loading").as_deref(), Some("1"));
        client.words("CONFIG SET key-load-delay 0");
        await_loaded(&mut client);
        assert_eq!(client.words("GET last").text(), "1");
        assert_eq!(client.words("PUBLISH news new").integer(), Some(1));
        let told = listener.next_value().expect("a message").elements();
        let told: Vec<_> = told.iter().map(Value::text).collect();
        assert_eq!(told, ["pmessage", "*", "news", "new"], "{program:?} {events:?}");
        assert_eq!(client.words("SPUBLISH shard new").integer(), Some(1));
        assert_eq!(listener.next_value().expect("a message").elements()[2].text(), "new");
    }
}

/// The thread that reads is ahead of the one that runs commands: an error of either ends the server,
/// and is told with its place.
#[test]
fn what_cannot_be_loaded_ends_the_server() {
    let cases: [(&str, &[u8], &str); 3] = [
        ("appendonly.aof", b"*1\r\n$7\r\nUNKNOWN\r\n", "Unknown command 'UNKNOWN'"),
        (
            "appendonly.aof",
            b"*2\r\n$3\r\nSET\r\n$1\r\na\r\n",
            "Wrong number of arguments for 'SET'",
        ),
        ("dump.rdb", b"REDIS0010\xfe\x32\x00\x01a\x01b\xff", "a key is in database 50"),
    ];
    for (name, bytes, expected) in cases {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join(name), bytes).expect("written");
        let (status, log) = Server::refused_in(Program::Redstart, dir, &["--appendonly", "yes"]);
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains(expected) && log.contains(name), "{log}");
        assert!(!log.contains("Ready to accept"), "{log}");
    }
}
