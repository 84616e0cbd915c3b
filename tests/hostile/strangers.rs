//! Clients that have not authenticated cost bounded memory: they are closed when they leave their
//! errors unread (CVE-2025-21605), and what they announce takes nothing before it comes.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::support::client::encode;
use crate::support::server::{Program, Server};
use crate::{PATIENCE, await_that, start};

const MIB: u64 = 1 << 20;

fn resident_bytes(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a VmRSS line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("kilobytes") * 1024
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", server.port())).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn descriptors(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("descriptors").count()
}

/// Sends a piece as far as the socket takes it; a server that has closed it is no error.
fn send(stream: &mut TcpStream, piece: &[u8]) {
    stream.set_nonblocking(true).expect("a mode");
    let _ = stream.write(piece);
    stream.set_nonblocking(false).expect("a mode");
}

/// What a stranger sends: commands whose answer is much longer than they are.
const ANSWERED: &[&[u8]] =
    &[b"GET a\r\n", b"AUTH x\r\n", b"x\r\n", b"SET\r\n", b"HELLO\r\n", b"*1\r\n$1\r\nx\r\n"];

#[test]
fn one_that_never_reads_is_closed_at_once() {
    let server = start(Program::Redstart, &["--requirepass", "pw"]);
    let mut client = server.connect();
    client.words("AUTH pw");
    for command in ANSWERED {
        let (memory, open) = (resident_bytes(&server), descriptors(&server));
        let mut stream = connect(&server);
        let piece = command.repeat(64_000 / command.len());
        // Closed means that the server's side of it is gone, for good.
        await_that("the stranger is closed", || {
            send(&mut stream, &piece);
            client.words("PING");
            descriptors(&server) <= open
        });
        let ended = stream.read_to_end(&mut Vec::new());
        let reset = |error: std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
        assert!(ended.map_or_else(reset, |_| true), "{command:?}");
        let grown = resident_bytes(&server).saturating_sub(memory);
        assert!(grown < 16 * MIB, "{command:?}: grew by {grown} bytes");
    }
    let stats = client.words("INFO stats").text();
    let closed = format!("client_output_buffer_limit_disconnections:{}\r\n", ANSWERED.len());
    assert!(stats.contains(&closed), "{stats}");
}

#[test]
fn many_that_never_read_are_no_more_than_their_buffers() {
    let server = start(Program::Redstart, &["--requirepass", "pw"]);
    let mut client = server.connect();
    client.words("AUTH pw");
    let before = resident_bytes(&server);
    let mut streams: Vec<TcpStream> = (0..40).map(|_| connect(&server)).collect();
    let piece = b"GET a\r\n".repeat(9_000);
    for _ in 0..20 {
        streams.iter_mut().for_each(|stream| send(stream, &piece));
        // When it has answered, it has read much of that.
        client.words("PING");
    }
    let grown = resident_bytes(&server).saturating_sub(before);
    // Served, each would be owed 6 MB of errors.
    assert!(grown < 48 * MIB, "grew by {grown} bytes");
}

#[test]
fn one_that_reads_is_served() {
    let server = start(Program::Redstart, &["--requirepass", "pw"]);
    let mut client = server.connect();
    // 9 KiB of errors at a time, many times over.
    for _ in 0..20 {
        let commands = vec![crate::support::client::argv("GET a"); 250];
        for reply in client.pipeline(&commands) {
            assert_eq!(reply.text(), "NOAUTH Authentication required.");
        }
    }
    assert_eq!(client.words("AUTH pw").text(), "OK");
    // Now it is a client like any other: nothing bounds what it leaves unread but the limit for
    // its class.
    let commands =
        vec![crate::support::client::argv("ECHO 0123456789012345678901234567890"); 5_000];
    assert_eq!(client.pipeline(&commands).len(), 5_000);
}

#[test]
fn what_is_announced_takes_nothing_before_it_comes() {
    for (directives, announced) in [
        (&["--requirepass", "pw"][..], &b"*10\r\n$16384\r\n"[..]),
        (&[], b"*1048576\r\n$536870912\r\n"),
        (&[], b"*1048576\r\n$3\r\nSET\r\n$536870912\r\nx"),
    ] {
        let server = start(Program::Redstart, directives);
        let before = resident_bytes(&server);
        let mut streams = Vec::new();
        for _ in 0..500 {
            let mut stream = connect(&server);
            stream.write_all(announced).expect("it takes that");
            streams.push(stream);
        }
        // All have been read when the last one's error is there.
        let mut last = connect(&server);
        last.write_all(b"*x\r\n").expect("it takes that");
        last.read_to_end(&mut Vec::new()).expect("it answers and closes");
        let grown = resident_bytes(&server).saturating_sub(before);
        assert!(grown < 24 * MIB, "{announced:?}: 500 of them took {grown} bytes");
    }
}

/// A pipeline that begins with AUTH was held to a stranger's bounds to its end: it was parsed before AUTH was
/// executed. redis-server's MIGRATE with a password sends all it has before it reads an answer.
#[test]
fn what_stands_behind_auth_in_a_pipeline_is_no_strangers() {
    let server = start(Program::Redstart, &["--requirepass", "pw"]);
    let long = "x".repeat(100_000);
    let pairs: Vec<String> = (0..20).map(|number| format!("key{number}")).collect();
    let wide: Vec<&str> = ["MSET"].into_iter().chain(pairs.iter().map(String::as_str)).collect();
    let greetings: [&[&str]; 2] = [&["AUTH", "pw"], &["HELLO", "2", "AUTH", "default", "pw"]];
    for (greeting, command) in [
        (greetings[0], wide.clone()),
        (greetings[0], vec!["SET", "long", &long]),
        (greetings[1], wide),
        (greetings[1], vec!["SET", "long", &long]),
    ] {
        let pipeline = [encode(greeting), encode(&command), encode(&["PING"])].concat();
        let lengths = [pipeline.len(), 30, 60, encode(greeting).len() + 3];
        for length in lengths {
            let mut client = server.connect();
            let (first, rest) = pipeline.split_at(length);
            client.try_send_raw(first).expect("it is connected");
            client.try_send_raw(rest).expect("it is connected");
            assert!(!client.next_value().expect("an answer").is_error());
            assert_eq!(client.next_value().expect("an answer").text(), "OK");
            assert_eq!(client.next_value().expect("an answer").text(), "PONG");
        }
        // A wrong password leaves the bounds as they are.
        let mut client = server.connect();
        let pipeline = [encode(&["AUTH", "wrong"]), encode(&command), encode(&["PING"])].concat();
        client.try_send_raw(&pipeline).expect("it is connected");
        assert!(client.next_value().expect("an answer").text().starts_with("WRONGPASS"));
        let refusal = client.next_value().expect("an answer").text();
        assert!(refusal.starts_with("ERR Protocol error: unauthenticated"), "{refusal}");
        assert!(client.next_value().is_err(), "it is closed");
    }
}

/// A place that a client had just left counted as taken when the next one came at once.
#[test]
fn a_place_is_free_as_soon_as_its_client_has_gone() {
    let server = start(Program::Redstart, &["--maxclients", "3"]);
    let _others = [server.connect(), server.connect()];
    for _ in 0..200 {
        let mut client = server.connect();
        assert_eq!(client.words("PING").text(), "PONG");
    }
}
