//! Links that go wrong: a primary that breaks off at every byte, sends garbage or has lost its data;
//! replicas that read nothing or come all at once; disks that take no snapshot.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use support::client::{self, Client, Value};
use support::group::{assert_equal, await_that, digest, follower, info, number, start};
use support::random::{self, Random};
use support::server::{Program, Server};

const HISTORY: &str = "0123456789012345678901234567890123456789";

/// The snapshot that a server would send.
fn snapshot_of(server: &Server) -> Vec<u8> {
    let mut link = TcpStream::connect(("127.0.0.1", server.port())).expect("a connection");
    link.write_all(b"SYNC\r\n").expect("sent");
    let mut reader = BufReader::new(link);
    let length = loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        if let Some(length) = line.trim().strip_prefix('$') {
            break length.parse().expect("a length");
        }
    };
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).expect("the snapshot");
    bytes
}

/// What a primary says, in the order in which it is asked.
struct Script {
    /// Answers to the handshake's commands, PSYNC's last; the last is followed by what comes unasked.
    answers: Vec<Vec<u8>>,
}

impl Script {
    fn new(snapshot: &[u8], stream: &[u8]) -> Self {
        let mut last = format!("+FULLRESYNC {HISTORY} 0\r\n${}\r\n", snapshot.len()).into_bytes();
        last.extend_from_slice(snapshot);
        last.extend_from_slice(stream);
        let ok = b"+OK\r\n".to_vec();
        Self { answers: vec![b"+PONG\r\n".to_vec(), ok.clone(), ok, last] }
    }

    fn len(&self) -> usize {
        self.answers.iter().map(Vec::len).sum()
    }
}

/// A primary that follows a script.
struct Puppet {
    listener: TcpListener,
    /// How long it waits for a question: what it said before may have been no answer.
    patience: Duration,
}

impl Puppet {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        Self { listener, patience: Duration::from_secs(10) }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().expect("an address").port()
    }

    /// Lets a replica come and says so many bytes of the script.
    fn play(&self, script: &Script, mut budget: usize) -> TcpStream {
        let (mut link, _) = self.listener.accept().expect("a replica comes");
        link.set_read_timeout(Some(self.patience)).expect("a timeout");
        for answer in &script.answers {
            let mut asked = [0; 4096];
            if !link.read(&mut asked).is_ok_and(|count| count > 0) {
                break;
            }
            let said = &answer[..answer.len().min(budget)];
            // It may have hung up on nonsense.
            if link.write_all(said).is_err() || said.len() < answer.len() {
                break;
            }
            budget -= said.len();
        }
        link
    }
}

fn begin_to_follow(client: &mut Client, port: u16) {
    // What came before may still be loading.
    for line in ["REPLICAOF NO ONE".to_owned(), format!("REPLICAOF 127.0.0.1 {port}")] {
        await_that("it obeys", || client.words(&line).text() == "OK");
    }
}

/// A snapshot with keys of several types, and a stream with a transaction behind it.
fn material() -> (Vec<u8>, Vec<u8>) {
    let source = start(Program::Redstart, &[]);
    let mut client = source.connect();
    for line in ["SET string value", "RPUSH list a b", "HSET hash f v", "SET a 0", "SET b 0"] {
        client.words(line);
    }
    let mut stream = Vec::new();
    for line in ["SELECT 0", "MULTI", "INCR a", "INCR b", "EXEC", "RPUSH list c", "PING"] {
        stream.extend(client::encode(&client::argv(line)));
    }
    (snapshot_of(&source), stream)
}

/// Wherever the link breaks, the replica has all of a unit or nothing of it, and comes back.
#[test]
fn a_link_may_break_at_every_byte() {
    let (snapshot, stream) = material();
    let script = Script::new(&snapshot, &stream);
    let whole = script.len() - stream.len();
    let replica = start(Program::Redstart, &[]);
    let puppet = Puppet::new();
    let (mut client, mut reader) = (replica.connect(), replica.connect());
    client.words("SET own 1");
    for budget in 0..script.len() {
        begin_to_follow(&mut client, puppet.port());
        let link = puppet.play(&script, budget);
        if budget < whole {
            drop(link);
            assert_eq!(reader.words("PING").text(), "PONG", "after {budget} bytes");
            continue;
        }
        await_that("the snapshot is there", || info(&mut reader, "master_link_status") == "up");
        drop(link);
        await_that("the link is down", || info(&mut reader, "master_link_status") == "down");
        let pair: Vec<String> =
            reader.words("MGET a b").elements().iter().map(Value::text).collect();
        assert_eq!(pair[0], pair[1], "after {budget} bytes");
        assert_eq!(reader.words("EXISTS own string hash"), Value::Integer(2));
    }
    begin_to_follow(&mut client, puppet.port());
    let _link = puppet.play(&script, usize::MAX);
    await_that("it has the stream", || {
        info(&mut reader, "master_link_status") == "up"
            && number(&mut reader, "master_repl_offset") == stream.len() as i64
    });
    assert_eq!(reader.words("LLEN list"), Value::Integer(3));
    assert_eq!(reader.words("GET a").text(), "1");
}

/// Bytes that are wrong anywhere end the link with a word, and nothing else.
#[test]
fn a_primary_may_send_garbage() {
    let (snapshot, stream) = material();
    let replica = start(Program::Redstart, &[]);
    let mut puppet = Puppet::new();
    let mut random = Random::new(random::seed_from_environment("LINKS_SEED"));
    let (mut client, mut reader) = (replica.connect(), replica.connect());
    puppet.patience = Duration::from_millis(30);
    for _ in 0..300 {
        let mut script = Script::new(&snapshot, &stream);
        for _ in 0..=random.below(3) {
            let answer = random.below(script.answers.len());
            let bytes = &mut script.answers[answer];
            if bytes.is_empty() {
                continue;
            }
            let at = random.below(bytes.len());
            match random.below(3) {
                0 => bytes[at] = random.below(256) as u8,
                1 => drop(bytes.splice(at..at, (0..20).map(|_| random.below(256) as u8))),
                _ => bytes.truncate(at),
            }
        }
        begin_to_follow(&mut client, puppet.port());
        drop(puppet.play(&script, usize::MAX));
        let answer = reader.words("PING").text();
        assert!(answer == "PONG" || answer.starts_with("LOADING"), "{answer}");
    }
    puppet.patience = Duration::from_secs(10);
    begin_to_follow(&mut client, puppet.port());
    let _link = puppet.play(&Script::new(&snapshot, &stream), usize::MAX);
    // The offset alone may be that of an earlier round, until the snapshot is loaded.
    await_that("it has the stream", || {
        info(&mut reader, "master_link_status") == "up"
            && number(&mut reader, "master_repl_offset") == stream.len() as i64
    });
    assert_eq!(reader.words("LLEN list"), Value::Integer(3));
}

/// Where a stream begins so far on that its offset overflowed, nothing is begun.
#[test]
fn a_stream_that_leaves_no_room_for_an_offset_is_refused() {
    let (snapshot, stream) = material();
    let replica = start(Program::Redstart, &[]);
    let puppet = Puppet::new();
    let mut client = replica.connect();
    for (offset, refused) in [(u64::MAX - 30, true), (i64::MAX as u64, true), (1 << 62, false)] {
        let mut script = Script::new(&snapshot, &stream);
        let last = script.answers.last_mut().expect("PSYNC's answer");
        let head = format!("+FULLRESYNC {HISTORY} 0\r\n");
        last.splice(..head.len(), format!("+FULLRESYNC {HISTORY} {offset}\r\n").into_bytes());
        begin_to_follow(&mut client, puppet.port());
        let _link = puppet.play(&script, usize::MAX);
        if refused {
            let told = format!("Wrong offset from master: +FULLRESYNC {HISTORY} {offset}");
            await_that("the log says so", || replica.log().contains(&told));
            assert_eq!(client.words("EXISTS string"), Value::Integer(0));
        } else {
            let end = offset as i64 + stream.len() as i64;
            await_that("it is there", || number(&mut client, "master_repl_offset") == end);
        }
    }
}

/// A primary that was started again without its data, at the same address.
fn restarted_empty(more: &[&str]) -> (Server, Puppet, TcpStream) {
    let (snapshot, stream) = material();
    let replica = start(Program::Redstart, more);
    let puppet = Puppet::new();
    let mut client = replica.connect();
    begin_to_follow(&mut client, puppet.port());
    let link = puppet.play(&Script::new(&snapshot, &stream), usize::MAX);
    await_that("it follows", || info(&mut client, "master_link_status") == "up");
    drop(link);
    let mut empty = Script::new(&snapshot_of(&start(Program::Redstart, &[])), b"");
    let answer = empty.answers.pop().expect("an answer");
    let text = String::from_utf8_lossy(&answer[..HISTORY.len() + 20]).replace("0123", "3210");
    empty.answers.push([text.as_bytes(), &answer[text.len()..]].concat());
    let link = puppet.play(&empty, usize::MAX);
    (replica, puppet, link)
}

#[test]
fn a_primary_that_has_lost_its_data_does_not_empty_its_replicas() {
    let (replica, puppet, _link) = restarted_empty(&[]);
    await_that("it says why not", || replica.log().contains("it seems to have lost its data"));
    let mut client = replica.connect();
    assert_eq!(client.words("DBSIZE"), Value::Integer(5));
    assert_eq!(info(&mut client, "master_link_status"), "down");
    // Supervisors name the primary that is followed all the time.
    let known = client.words(&format!("REPLICAOF 127.0.0.1 {}", puppet.port()));
    assert_eq!(known.text(), "OK Already connected to specified master");
    // Whoever says so anew means it.
    begin_to_follow(&mut client, puppet.port());
    let empty = Script::new(&snapshot_of(&start(Program::Redstart, &[])), b"");
    let _link = puppet.play(&empty, usize::MAX);
    await_that("it follows", || info(&mut client, "master_link_status") == "up");
    assert_eq!(client.words("DBSIZE"), Value::Integer(0));
}

#[test]
fn a_primary_that_has_lost_its_data_empties_its_replicas_where_that_is_allowed() {
    let (replica, _puppet, _link) = restarted_empty(&["--repl-allow-empty-primary", "yes"]);
    let mut client = replica.connect();
    await_that("it is empty", || client.words("DBSIZE") == Value::Integer(0));
    await_that("it follows", || info(&mut client, "master_link_status") == "up");
}

#[test]
fn a_replica_that_reads_nothing_is_closed_and_costs_what_it_may() {
    let more = ["--repl-backlog-size", "1mb", "--client-output-buffer-limit", "replica 8mb 0 0"];
    let primary = start(Program::Redstart, &more);
    let mut client = primary.connect();
    let mut link = primary.connect();
    link.try_send_raw(&client::encode(&["PSYNC", "?", "-1"])).expect("sent");
    await_that("it is online", || info(&mut client, "slave0").contains("state=online"));
    let before = number(&mut client, "used_memory");
    let value = "x".repeat(1 << 20);
    for _ in 0..64 {
        client.call(&["SET", "big", &value]);
        let more = number(&mut client, "used_memory") - before;
        assert!(more < 32 << 20, "{more} bytes more");
    }
    await_that("it is closed", || number(&mut client, "connected_slaves") == 0);
    client.call(&["SET", "big", &value]);
    await_that("what it cost is free", || number(&mut client, "used_memory") - before < 6 << 20);
}

#[test]
fn ten_replicas_that_come_at_once_share_a_snapshot() {
    let primary = start(Program::Redstart, &["--repl-diskless-sync-delay", "1"]);
    let mut client = primary.connect();
    client.words("DEBUG POPULATE 20000");
    let replicas: Vec<Server> =
        (0..10).map(|_| follower(Program::Redstart, &primary, &[])).collect();
    for key in 0..500 {
        client.words(&format!("SET more:{key} 1"));
    }
    assert_eq!(client.words("WAIT 10 20000"), Value::Integer(10));
    let told = digest(&mut client);
    assert!(replicas.iter().all(|replica| digest(&mut replica.connect()) == told));
    assert_eq!(number(&mut client, "sync_full"), 10);
    let walks = primary.log().matches("Starting BGSAVE for SYNC").count();
    assert!(walks <= 3, "{walks} snapshots for ten replicas");
}

/// A directory stands where the snapshot's file should be: it can't be made. As soon as it can, it is.
fn with_a_file_in_the_way(blocks_primary: bool, told: &str) {
    let primary = start(Program::Redstart, &["--repl-diskless-sync", "no"]);
    let replica = start(Program::Redstart, &[]);
    let blocked = if blocks_primary { &primary } else { &replica };
    let kind = if blocks_primary { "sync" } else { "repl" };
    let path = blocked.dir().join(format!("temp-{kind}-{}.rdb", blocked.pid()));
    fs::create_dir(&path).expect("a directory");
    let mut client = replica.connect();
    client.words("SET own 1");
    primary.connect().words("SET a b");
    client.words(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    await_that("it says why", || blocked.log().contains(told));
    assert_eq!(client.words("GET own").text(), "1", "what there is stays meanwhile");
    fs::remove_dir(&path).expect("it is empty");
    assert_equal(&[&primary, &replica]);
    assert_eq!(client.words("GET a").text(), "b");
}

#[test]
fn a_full_sync_that_can_not_begin_does_later() {
    with_a_file_in_the_way(true, "Can't write a snapshot for SYNC");
}

#[test]
fn a_snapshot_that_can_not_be_received_is_asked_for_again() {
    with_a_file_in_the_way(false, "Opening the temp file needed for MASTER <-> REPLICA");
}
