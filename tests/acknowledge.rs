//! WAIT and WAITAOF: who is told what, when, and in which words. That WAITAOF tells the truth while
//! syncs fail is in `faults.rs`, where they do.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::thread;
use std::time::{Duration, Instant};

use support::client::{Client, argv, encode};
use support::server::{Program, Server};

/// How long a condition may take to come about.
const PATIENCE: Duration = Duration::from_secs(20);

const NO_LOG: &str = "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";

fn with_log(policy: &str) -> Server {
    let directives = ["--appendonly", "yes", "--appendfsync", policy, "--save", ""];
    Server::start_with(Program::Redstart, &directives)
}

fn without_log(program: Program) -> Server {
    Server::start_with(program, &["--appendonly", "no", "--save", ""])
}

fn say(client: &mut Client, line: &str) -> String {
    client.words(line).to_string()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Sends a command and waits until the server has parked the client.
fn park(control: &mut Client, client: &mut Client, line: &str) {
    let waiting = |control: &mut Client| {
        let info = control.words("INFO clients").text();
        let line = info.lines().find_map(|line| line.strip_prefix("blocked_clients:"));
        line.and_then(|count| count.parse::<u64>().ok()).expect("a count")
    };
    let before = waiting(control);
    client.try_send_raw(&encode(&argv(line))).expect("a command can be sent");
    until(&format!("{line} blocks"), || waiting(control) > before);
}

fn answer(client: &mut Client) -> String {
    client.try_read().expect("an answer").to_string()
}

#[test]
fn what_is_not_asked_rightly_is_refused_in_upstream_words() {
    // Redis 7.0 has no WAITAOF; what both have is asked of both.
    for program in [Program::Redis, Program::Redstart] {
        let server = without_log(program);
        let client = &mut server.connect();
        for (line, answer) in [
            ("WAIT x 0", "-ERR value is not an integer or out of range"),
            ("WAIT 0 x", "-ERR timeout is not an integer or out of range"),
            ("WAIT 0 -1", "-ERR timeout is negative"),
            ("WAIT 0 0", ":0"),
            ("WAIT -5 0", ":0"),
            ("WAIT 3000000000 1", ":0"),
        ] {
            assert_eq!(say(client, line), answer, "{}: {line}", program.name());
        }
    }
    let server = without_log(Program::Redstart);
    let client = &mut server.connect();
    for (line, answer) in [
        ("WAITAOF x 0 0", "-ERR value is not an integer or out of range"),
        ("WAITAOF 2 0 0", "-ERR value is out of range, value must between 0 and 1"),
        ("WAITAOF -1 0 0", "-ERR value is out of range, value must between 0 and 1"),
        ("WAITAOF 0 x 0", "-ERR value is out of range, must be positive"),
        ("WAITAOF 0 -1 0", "-ERR value is out of range, must be positive"),
        ("WAITAOF 0 0 x", "-ERR timeout is not an integer or out of range"),
        ("WAITAOF 1 0 -1", "-ERR timeout is negative"),
        ("WAITAOF 0 0 9223372036854775807", "-ERR timeout is out of range"),
        ("WAITAOF 1 0 0", NO_LOG),
        ("WAITAOF 0 0 0", "*[:0, :0]"),
    ] {
        assert_eq!(say(client, line), answer, "{line}");
    }
}

#[test]
fn a_write_is_told_to_be_kept_once_it_is_synced() {
    for policy in ["everysec", "always"] {
        let server = with_log(policy);
        let client = &mut server.connect();
        // Who wrote nothing waits for nothing.
        assert_eq!(say(client, "WAITAOF 1 0 0"), "*[:1, :0]");
        for round in 0..2 {
            assert_eq!(say(client, &format!("SET k {round}")), "+OK");
            assert_eq!(say(client, "WAITAOF 1 0 0"), "*[:1, :0]", "{policy}");
        }
    }
}

/// Under `no` nothing is known to be durable before a rewrite; its base is.
#[test]
fn without_syncs_a_rewrite_answers() {
    let server = with_log("no");
    let (client, control) = (&mut server.connect(), &mut server.connect());
    assert_eq!(say(client, "SET k 1"), "+OK");
    assert_eq!(say(client, "WAITAOF 1 0 30"), "*[:0, :0]");
    // Another client's writes are not this one's.
    assert_eq!(say(control, "WAITAOF 1 0 30"), "*[:1, :0]");
    park(control, client, "WAITAOF 1 0 0");
    // What comes behind it waits for its turn.
    client.try_send_raw(&encode(&argv("GET k"))).expect("a command can be sent");
    assert!(!client.has_answer());
    control.words("BGREWRITEAOF");
    assert_eq!(answer(client), "*[:1, :0]");
    assert_eq!(answer(client), "\"1\"");
}

#[test]
fn replicas_that_are_not_there_are_waited_for_in_vain() {
    let server = with_log("always");
    let (client, control) = (&mut server.connect(), &mut server.connect());
    say(client, "SET k 1");
    let began = Instant::now();
    assert_eq!(say(client, "WAIT 1 40"), ":0");
    assert_eq!(say(client, "WAITAOF 0 1 40"), "*[:1, :0]");
    assert_eq!(say(client, "WAITAOF 1 1 40"), "*[:1, :0]");
    assert!(began.elapsed() >= Duration::from_millis(120));
    let id = client.words("CLIENT ID").integer().expect("a client has a number");
    for (line, how, expected) in [
        ("WAIT 1 0", "", ":0"),
        ("WAITAOF 1 1 0", "TIMEOUT", "*[:1, :0]"),
        ("WAITAOF 1 1 0", "ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK"),
    ] {
        park(control, client, line);
        assert_eq!(say(control, &format!("CLIENT UNBLOCK {id} {how}")), ":1");
        assert_eq!(answer(client), expected);
    }
}

#[test]
fn nobody_waits_in_a_transaction() {
    let server = with_log("no");
    let client = &mut server.connect();
    say(client, "SET k 1");
    for line in ["MULTI", "WAIT 1 0", "WAITAOF 1 1 0", "WAITAOF 0 0 0"] {
        say(client, line);
    }
    assert_eq!(say(client, "EXEC"), "*[:0, *[:0, :0], *[:0, :0]]");
}

#[test]
fn turning_the_log_off_and_on_leaves_nobody_waiting() {
    let server = with_log("no");
    let (client, control) = (&mut server.connect(), &mut server.connect());
    say(client, "SET k 1");
    park(control, client, "WAITAOF 1 0 0");
    assert_eq!(say(control, "CONFIG SET appendonly no"), "+OK");
    assert_eq!(answer(client), NO_LOG);
    // The new log's base has what was written before it began.
    say(client, "SET k 2");
    assert_eq!(say(control, "CONFIG SET rdb-key-save-delay 10000000"), "+OK");
    assert_eq!(say(control, "CONFIG SET appendonly yes"), "+OK");
    park(control, client, "WAITAOF 1 0 0");
    assert_eq!(say(control, "CONFIG SET rdb-key-save-delay 0"), "+OK");
    assert_eq!(answer(client), "*[:1, :0]");
}

#[test]
fn a_client_that_goes_is_not_waited_for() {
    let server = with_log("no");
    let control = &mut server.connect();
    let mut client = server.connect();
    say(&mut client, "SET k 1");
    park(control, &mut client, "WAITAOF 1 0 0");
    drop(client);
    until("nobody waits", || control.words("INFO clients").text().contains("blocked_clients:0"));
    control.words("BGREWRITEAOF");
    until("the rewrite is done", || {
        control.words("INFO persistence").text().contains("aof_rewrites:1")
    });
}
