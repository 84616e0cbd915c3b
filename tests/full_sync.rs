//! How a copy of all data goes to replicas: to their sockets while it is made, or as a file; replicas that
//! take nothing of it, and those that say nothing while they load it.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use support::client::{Client, Value};
use support::group::{assert_equal, await_that, follower, info, number, start, write};
use support::random::{self, Random};
use support::server::{Program, Server};

/// A replica that does what the test says, and takes the snapshot as it comes.
struct Taker {
    reader: BufReader<TcpStream>,
}

impl Taker {
    /// Asks for everything, with these capabilities, and reads up to the snapshot's first line.
    fn ask(primary: &Server, capabilities: &str) -> (Self, String) {
        let mut link = TcpStream::connect(("127.0.0.1", primary.port())).expect("a connection");
        write!(link, "REPLCONF {capabilities}\r\nPSYNC ? -1\r\n").expect("sent");
        let mut reader = BufReader::new(link);
        loop {
            let mut line = String::new();
            assert!(reader.read_line(&mut line).expect("a line") > 0, "the link has ended");
            if line.starts_with('$') {
                return (Self { reader }, line.trim_end()[1..].to_owned());
            }
        }
    }

    /// The snapshot up to the mark that the first line has told.
    fn up_to_mark(&mut self, first: &str) -> Vec<u8> {
        let mark = first.strip_prefix("EOF:").expect("a mark").as_bytes();
        assert_eq!(mark.len(), 40);
        let (mut bytes, mut piece) = (Vec::new(), vec![0; 1 << 16]);
        while !bytes.ends_with(mark) {
            let got = self.reader.read(&mut piece).expect("more of it");
            assert!(got > 0, "it ends before its mark");
            bytes.extend_from_slice(&piece[..got]);
        }
        bytes.truncate(bytes.len() - mark.len());
        bytes
    }
}

/// What a server has that starts on this snapshot.
fn digest_of(snapshot: &[u8]) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("dump.rdb"), snapshot).expect("written");
    let server =
        Server::start_in(Program::Redis, dir, &["--save", "", "--enable-debug-command", "yes"]);
    server.connect().words("DEBUG DIGEST").text()
}

/// One replica takes nothing of a snapshot that is many times what may be kept in memory for it: the others
/// have theirs meanwhile, writers go on, and it gets the same when it comes to itself.
#[test]
fn a_slow_replica_holds_up_neither_others_nor_writers_nor_memory() {
    let primary =
        start(Program::Redstart, &["--repl-diskless-sync-delay", "1", "--rdbcompression", "no"]);
    let mut client = primary.connect();
    client.words("DEBUG POPULATE 60000 key 1000");
    let told = client.words("DEBUG DIGEST").text();
    let port = primary.port();
    let slow = std::thread::scope(|scope| {
        let slow = scope.spawn(|| Taker::ask(&primary, "capa eof capa psync2"));
        let replica = start(Program::Redis, &[]);
        replica.connect().words(&format!("REPLICAOF 127.0.0.1 {port}"));
        let slow = slow.join().expect("it has asked");
        await_that("the other has it", || {
            info(&mut client, "slave0").contains("state=online")
                || info(&mut client, "slave1").contains("state=online")
        });
        let mut random = Random::new(random::seed_from_environment("FULL_SYNC_SEED"));
        write(&mut client, &mut random, 1_000);
        assert_equal(&[&primary, &replica]);
        slow
    });
    assert_eq!(number(&mut client, "sync_full"), 2);
    assert_eq!(primary.log().matches("target: replicas sockets").count(), 1);
    assert!(primary.log().contains("the rest waits for it in a file"));
    let files = fs::read_dir(primary.dir()).expect("readable").flatten();
    let left = files.filter(|file| file.file_name().to_string_lossy().starts_with("temp-"));
    assert_eq!(left.count(), 0, "what is kept on disk has no name");
    let (mut taker, first) = slow;
    assert_eq!(digest_of(&taker.up_to_mark(&first)), told);
    // The stream comes when the replica says that it has found the mark, and not before.
    assert!(
        info(&mut client, "slave0").contains("state=send_bulk")
            || info(&mut client, "slave1").contains("state=send_bulk")
    );
    taker.reader.get_mut().write_all(b"REPLCONF ACK 0\r\n").expect("sent");
    client.words("PUBLISH end 1");
    let mut byte = [0];
    taker.reader.read_exact(&mut byte).expect("the stream");
    assert_eq!(byte, *b"*");
}

#[test]
fn a_replica_that_knows_no_mark_gets_a_length() {
    for (capabilities, more) in [("capa psync2", "yes"), ("capa eof capa psync2", "no")] {
        let primary = start(Program::Redstart, &["--repl-diskless-sync", more]);
        let mut client = primary.connect();
        client.words("DEBUG POPULATE 5000 key 100");
        let told = client.words("DEBUG DIGEST").text();
        let (mut taker, first) = Taker::ask(&primary, capabilities);
        let mut snapshot = vec![0; first.parse().expect("a length")];
        taker.reader.read_exact(&mut snapshot).expect("the snapshot");
        assert_eq!(digest_of(&snapshot), told);
        assert!(primary.log().contains("target: disk"));
        await_that("it is online", || info(&mut client, "slave0").contains("state=online"));
    }
}

#[test]
fn a_replica_that_takes_nothing_of_its_snapshot_is_given_up() {
    for diskless in ["yes", "no"] {
        let mut more = vec!["--repl-timeout", "2", "--repl-diskless-sync", diskless];
        more.extend(["--rdbcompression", "no"]);
        let primary = start(Program::Redstart, &more);
        let mut client = primary.connect();
        client.words("DEBUG POPULATE 30000 key 1000");
        let (_taker, _) = Taker::ask(&primary, "capa eof capa psync2");
        await_that("it is closed", || number(&mut client, "connected_slaves") == 0);
        assert!(primary.log().contains("Disconnecting timedout replica (full sync)"));
        assert_eq!(info(&mut client, "rdb_bgsave_in_progress"), "0");
        let replica = follower(Program::Redstart, &primary, &[]);
        assert_equal(&[&primary, &replica]);
    }
}

/// A replica that loads for longer than `repl-timeout` was closed meanwhile, and had to hope for its place in
/// the backlog: it said nothing, and what others say then was not heard.
#[test]
fn a_replica_that_loads_for_longer_than_the_timeout_is_kept() {
    for (program, diskless) in [(Program::Redstart, "yes"), (Program::Redis, "no")] {
        let primary = start(program, &["--repl-timeout", "1", "--repl-diskless-sync", diskless]);
        let mut client = primary.connect();
        client.words("DEBUG POPULATE 3000");
        // A millisecond each, which it takes between two looks at the clock.
        let replica = start(Program::Redstart, &["--key-load-delay", "1000"]);
        let mut reader = replica.connect();
        reader.words(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
        await_that("it has loaded it", || info(&mut reader, "master_link_status") == "up");
        assert_equal(&[&primary, &replica]);
        assert_eq!(number(&mut client, "sync_full"), 1, "{}", program.name());
        assert_eq!(number(&mut client, "sync_partial_ok"), 0, "{}", program.name());
        assert_eq!(client.words("DBSIZE"), Value::Integer(3000));
    }
}

/// redis-cli asks for functions alone, and gets a file that a server starts on.
#[test]
fn functions_alone_are_sent_to_those_who_want_them() {
    for program in [Program::Redstart, Program::Redis] {
        let server = start(program, &[]);
        let mut client = server.connect();
        let code = "#!lua name=l\nredis.register_function('f', function() return 1 end)";
        assert_eq!(client.call(&["FUNCTION", "LOAD", code]).text(), "l");
        client.words("SET key 1");
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("dump.rdb");
        let mut cli = std::process::Command::new("redis-cli");
        cli.args(["-p", &server.port().to_string(), "--functions-rdb"]).arg(&file);
        let output = cli.output().expect("redis-cli runs");
        assert!(output.status.success(), "{program:?}: {output:?}");
        let other = Server::start_in(Program::Redis, dir, &["--save", ""]);
        let mut there = other.connect();
        assert_eq!(there.words("FUNCTION LIST").elements().len(), 1, "{program:?}");
        assert_eq!(there.words("DBSIZE"), Value::Integer(0), "{program:?}");
        await_that("it is closed", || number(&mut client, "connected_slaves") == 0);
        for (line, told) in [
            ("REPLCONF rdb-only 2", "ERR value is out of range, value must between 0 and 1"),
            ("REPLCONF rdb-only x", "ERR value is not an integer or out of range"),
            ("REPLCONF rdb-filter-only nothing", "ERR Unsupported rdb-filter-only option: nothing"),
            ("REPLCONF rdb-filter-only \"", "ERR Missing rdb-filter-only values"),
            ("REPLCONF rdb-filter-only FUNCTIONS", "OK"),
            ("PSYNC ? -1", "ERR Filtered replica requires EOF capability"),
        ] {
            assert_eq!(client.words(line).text(), told, "{program:?}: {line}");
        }
    }
}

/// The place in the stream that a full sync had begun at was kept until the next write, though nobody wanted
/// the sync any more.
#[test]
fn what_a_replica_that_has_gone_lacked_goes_at_once() {
    let quiet = ["--repl-ping-replica-period", "3600", "--repl-backlog-size", "16kb"];
    let primary = start(Program::Redstart, &quiet);
    let mut client = primary.connect();
    client.words("SET key 1");
    let replica = follower(Program::Redstart, &primary, &[]);
    assert_equal(&[&primary, &replica]);
    client.words("CONFIG SET rdb-key-save-delay 1000000");
    client.words("DEBUG POPULATE 100");
    let (taker, first) = Taker::ask(&primary, "capa eof capa psync2");
    assert!(first.starts_with("EOF:"));
    let value = "x".repeat(1000);
    for key in 0..1000 {
        client.words(&format!("SET a:{key} {value}"));
    }
    let kept = |client: &mut Client| number(client, "mem_total_replication_buffers");
    assert!(kept(&mut client) > 1_000_000, "what it lacks is there");
    drop(taker);
    await_that("all of it goes", || kept(&mut client) < 100_000);
    assert_eq!(number(&mut client, "connected_slaves"), 1);
}

/// While a replica loads its snapshot the limit for replicas counted what it lacks though the log's files
/// have it: it was closed, asked again, and came to no end.
#[test]
fn a_replica_that_loads_costs_no_memory_where_there_is_a_log() {
    let directives = [
        &["--appendonly", "yes", "--repl-diskless-sync", "yes", "--repl-backlog-size", "16kb"][..],
        &["--client-output-buffer-limit", "replica 1mb 0 0"],
    ];
    let primary = start(Program::Redstart, &directives.concat());
    let mut client = primary.connect();
    client.words("DEBUG POPULATE 400 key 100");
    let began = number(&mut client, "used_memory");
    // Two milliseconds for each key.
    let replica = follower(Program::Redis, &primary, &["--key-load-delay", "2000"]);
    await_that("it loads", || info(&mut client, "slave0").contains("state=send_bulk"));
    let value = "x".repeat(100_000);
    for number in 0..100 {
        assert_eq!(client.call(&["SET", &format!("n:{}", number % 5), &value]).text(), "OK");
    }
    assert!(info(&mut client, "slave0").contains("state=send_bulk"), "it still loads");
    let used = number(&mut client, "used_memory");
    assert!(used < began + (3 << 20), "{used} of {began}");
    assert_equal(&[&primary, &replica]);
    assert_eq!(number(&mut client, "sync_full"), 1);
    assert_eq!(number(&mut client, "client_output_buffer_limit_disconnections"), 0);
}
