//! MONITOR: what is shown of which commands, in which order, and what a client that looks may do. The
//! conversations go to the real redis-server too, and the lines must be the same but for times and ports.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::time::{Duration, Instant};

use support::client::{Client, Value, argv, encode};
use support::server::{Program, Server};

fn start(program: Program) -> Server {
    let directives = ["--appendonly", "no", "--save", "", "--enable-debug-command", "yes"];
    Server::start_with(program, &directives)
}

/// What a client hears up to its next answer, times and addresses left out.
fn heard(client: &mut Client, last: &str) -> Vec<String> {
    client.try_send_raw(&encode(&["ECHO", last])).expect("sent");
    let mut lines = Vec::new();
    loop {
        let value = client.next_value().expect("an answer");
        if value == Value::bulk(last) {
            // Its own word of that comes behind it.
            let own = plain(&client.next_value().expect("its own command").to_string());
            assert_eq!(own, format!("+[0 client] \\\"ECHO\\\" \\\"{last}\\\""));
            return lines;
        }
        lines.push(plain(&value.to_string()));
    }
}

/// A line without its time and its client's address.
fn plain(line: &str) -> String {
    let Some((head, rest)) = line.split_once(" [") else { return line.to_owned() };
    let Some((client, command)) = rest.split_once(']') else { return line.to_owned() };
    if !head.starts_with('+') || head.len() != 18 {
        return line.to_owned();
    }
    let client = match client.split_once(' ') {
        Some((db, address)) if address.contains(':') => format!("{db} client"),
        _ => client.to_owned(),
    };
    format!("+[{client}]{command}")
}

/// Pipelines of one client, a line each.
const CONVERSATIONS: &[&[&str]] = &[
    &["SET a 1", "GET a", "get A", "SELECT 3", "GET a", "SELECT 0"],
    &["MULTI", "SET b 2", "GET b", "EXEC"],
    &["MULTI", "SET b 2", "DISCARD"],
    &["MULTI", "NOSUCH", "EXEC", "EXEC"],
    &["WATCH a", "MULTI", "SET a 3", "INCR s", "EXEC"],
    &["EVAL redis.call('set','x','1');redis.pcall('get');redis.call('get','x') 0"],
    &["EVAL return(redis.call('nosuch')) 0", "EVALSHA 0123456789012345678901234567890123456789 0"],
    &["MULTI", "EVAL redis.call('get','x') 0", "EXEC"],
    &["AUTH x", "AUTH u p", "HELLO 2 AUTH a b", "CONFIG SET requirepass foo", "AUTH foo"],
    &["CONFIG SET requirepass EMPTY", "CONFIG GET hz", "DEBUG SLEEP 0", "CLIENT LIST", "CLIENT ID"],
    &[
        "SLOWLOG GET",
        "INFO server",
        "NOSUCH",
        "GET",
        "SET a",
        "FLUSHALL",
        "MULTI",
        "MONITOR",
        "EXEC",
    ],
    &["SUBSCRIBE foo", "UNSUBSCRIBE", "PUBLISH foo bar", "XADD st * a b", "COMMAND COUNT"],
    &["LPOP nothing", "BLPOP nothing 0.01", "SORT nothing", "PING", "ECHO hello", "RESET"],
    &["CLIENT REPLY SKIP", "GET a", "CLIENT SETNAME me", "OBJECT HELP", "DBSIZE"],
];

#[test]
fn lines_are_those_of_redis_server() {
    let mut stories = [Program::Redis, Program::Redstart].map(|program| {
        let server = start(program);
        let (mut monitor, mut client) = (server.connect(), server.connect());
        assert_eq!(monitor.words("MONITOR").text(), "OK");
        let mut story = Vec::new();
        for (number, lines) in CONVERSATIONS.iter().enumerate() {
            let end = [vec![b"ECHO".to_vec(), b"done".to_vec()]];
            let words = |line: &&str| -> Vec<Vec<u8>> {
                let empty = |word| if word == b"EMPTY" { Vec::new() } else { word };
                argv(line).into_iter().map(empty).collect()
            };
            let all = lines.iter().map(words).chain(end);
            let bytes: Vec<u8> = all.flat_map(|line| encode(&line)).collect();
            client.try_send_raw(&bytes).expect("sent");
            while client.next_value().expect("an answer") != Value::bulk("done") {}
            story.push(lines.join(" / "));
            story.extend(heard(&mut monitor, &format!("end {number}")));
        }
        client.call(&[&b"SET"[..], b"\x00\r\n\t\"\\\x07\x08\x1b\xff", b"v"]);
        story.extend(heard(&mut monitor, "end"));
        // One that waits is shown when it comes, and once.
        let mut waiting = server.connect();
        waiting.try_send_raw(&encode(&argv("BLPOP l 0"))).expect("sent");
        while !client.words("INFO clients").text().contains("blocked_clients:1") {}
        client.words("LPUSH l 1");
        waiting.try_read().expect("an element");
        story.extend(heard(&mut monitor, "end").into_iter().filter(|line| !line.contains("INFO")));
        story
    });
    let ours = std::mem::take(&mut stories[1]);
    assert_eq!(ours, stories[0]);
}

#[test]
fn a_monitor_may_look_and_not_touch() {
    for program in [Program::Redis, Program::Redstart] {
        let server = start(program);
        let (mut monitor, mut other) = (server.connect(), server.connect());
        assert_eq!(monitor.words("MONITOR").text(), "OK");
        assert_eq!(monitor.words("GET a").text(), "ERR Replica can't interact with the keyspace");
        let list = other.words("CLIENT LIST").text();
        assert!(list.contains("flags=O "), "{list}");
        assert!(!other.words("CLIENT LIST TYPE replica").text().contains("id="));
        // A second one isn't answered.
        monitor.try_send_raw(&encode(&["MONITOR"])).expect("sent");
        assert_eq!(heard(&mut monitor, "end"), [""; 0]);
        assert_eq!(monitor.words("RESET").text(), "RESET");
        other.words("GET a");
        assert_eq!(monitor.words("ECHO quiet").text(), "quiet");
        assert_eq!(monitor.words("GET a"), Value::NullBulk);
        // In RESP3 the lines are no pushes.
        monitor.words("HELLO 3");
        assert_eq!(monitor.words("MONITOR").text(), "OK");
        other.words("GET b");
        let line = plain(&monitor.next_value().expect("a line").to_string());
        assert_eq!(line, "+[0 client] \\\"GET\\\" \\\"b\\\"");
        drop(monitor);
        let begin = Instant::now();
        while other.words("CLIENT LIST").text().contains("flags=O") {
            assert!(begin.elapsed() < Duration::from_secs(10), "it goes");
        }
    }
}

#[test]
fn a_monitor_that_does_not_read_is_closed_at_the_limit() {
    for program in [Program::Redis, Program::Redstart] {
        let server = start(program);
        let (mut monitor, mut other) = (server.connect(), server.connect());
        other.call(&["CONFIG", "SET", "client-output-buffer-limit", "normal 1000000 0 0"]);
        assert_eq!(monitor.words("MONITOR").text(), "OK");
        let value = "x".repeat(100_000);
        let begin = Instant::now();
        while other.words("CLIENT LIST").text().contains("flags=O") {
            other.call(&["SET", "k", &value]);
            assert!(begin.elapsed() < Duration::from_secs(30), "it is closed");
        }
    }
}
