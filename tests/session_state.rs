//! Sessions that stand still and go on (`src/engine/session/run.rs`): each test tells the story of a
//! fault that was there, on redis-server and on Redstart where both promise the same. The random
//! ones are in tests/sessions.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::time::{Duration, Instant};

use support::client::{Client, Value, argv, encode};
use support::server::{Program, Server};

const BOTH: [Program; 2] = [Program::Redis, Program::Redstart];
/// How long a condition may take to come about.
const PATIENCE: Duration = Duration::from_secs(20);

fn each(directives: &[&str], story: fn(&Server)) {
    for program in BOTH {
        println!("{}", program.name());
        let mut all = vec!["--appendonly", "no", "--save", ""];
        all.extend(directives);
        story(&Server::start_with(program, &all));
    }
}

fn send(client: &mut Client, lines: &[&str]) {
    let bytes: Vec<u8> = lines.iter().flat_map(|line| encode(&argv(line))).collect();
    client.try_send_raw(&bytes).expect("commands can be sent");
}

fn read(client: &mut Client) -> String {
    client.try_read().expect("a reply").to_string()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::yield_now();
    }
}

/// Sends commands of which the first that blocks is waited for.
fn park(server: &Server, client: &mut Client, lines: &[&str]) {
    let id = client.words("CLIENT ID").integer().expect("a client has a number");
    send(client, lines);
    let mut control = server.connect();
    until(lines[0], || {
        let line = control.words(&format!("CLIENT LIST ID {id}")).text();
        let flags = line.split_whitespace().find_map(|word| word.strip_prefix("flags="));
        flags.is_some_and(|flags| flags.contains('b'))
    });
}

fn stat(client: &mut Client, section: &str, field: &str) -> String {
    let info = client.words(&format!("INFO {section}")).text();
    let line = info.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.unwrap_or_default().to_owned()
}

/// The rest of the batch waited in the tick's own list when its session was served, and nothing
/// looked at it again: neither it nor anything that the client sent later was answered.
#[test]
fn requests_behind_a_blocking_command_served_in_the_same_tick_are_answered() {
    each(&[], |server| {
        for served in [&["LPUSH q x"][..], &["MULTI", "LPUSH q x", "EXEC"]] {
            let (mut waiter, mut pusher) = (server.connect(), server.connect());
            server.halt();
            send(&mut waiter, &["BLPOP q 0", "ECHO a", "BLPOP never 0.01", "ECHO b"]);
            send(&mut pusher, served);
            server.proceed();
            let first = read(&mut waiter);
            assert!(first.contains('x'), "{first}");
            assert_eq!(read(&mut waiter), Value::bulk("a").to_string());
            read(&mut waiter);
            assert_eq!(read(&mut waiter), Value::bulk("b").to_string());
            assert_eq!(waiter.words("ECHO c").text(), "c");
        }
    });
}

/// What came in a second batch passed the rest of the first when its session was served in between.
#[test]
fn batches_keep_their_order_around_a_blocking_command() {
    each(&[], |server| {
        let (mut waiter, mut pusher) = (server.connect(), server.connect());
        park(server, &mut waiter, &["BLPOP q 0", "SET k first"]);
        server.halt();
        send(&mut pusher, &["LPUSH q x"]);
        send(&mut waiter, &["SET k second", "GET k"]);
        server.proceed();
        let replies: Vec<String> = (0..4).map(|_| read(&mut waiter)).collect();
        assert_eq!(replies[3], Value::bulk("second").to_string(), "{replies:?}");
    });
}

/// A client that had gone was still in the line when the push of the same tick was executed.
#[test]
fn a_client_that_is_gone_takes_nothing() {
    let server = Server::start_with(Program::Redstart, &["--appendonly", "no", "--save", ""]);
    let behind = ["BLPOP q 0", "PING", "PING"];
    // The others' end stands behind a request: one that nothing reads while the client waits, or one
    // that is read in the same turn, so that watching for the end begins when it has come.
    for (lines, late) in [(&behind[..1], false), (&behind, false), (&behind, true)] {
        let (mut waiter, mut pusher) = (server.connect(), server.connect());
        park(&server, &mut waiter, lines);
        if late {
            server.halt();
            send(&mut waiter, &["PING"]);
        } else {
            send(&mut waiter, &["PING"]);
            server.halt();
        }
        drop(waiter);
        send(&mut pusher, &["LPUSH q x", "LLEN q"]);
        server.proceed();
        assert_eq!(read(&mut pusher), ":1");
        assert_eq!(read(&mut pusher), ":1", "{lines:?} {late}");
        pusher.words("DEL q");
    }
}

/// The end of a connection was noticed only by reading, and a connection whose requests wait reads
/// nothing: the client stayed in the line for ever.
#[test]
fn the_end_is_noticed_behind_requests_that_wait() {
    each(&[], |server| {
        let mut control = server.connect();
        for half in [false, true] {
            let mut waiter = server.connect();
            park(server, &mut waiter, &["BLPOP q 0", "SET k v"]);
            send(&mut waiter, &["SET k w"]);
            if half {
                waiter.finish_sending().expect("a half-close");
            }
            let kept = half.then_some(waiter);
            until("the session ends", || stat(&mut control, "clients", "blocked_clients") == "0");
            drop(kept);
        }
        assert_eq!(control.words("EXISTS k").integer(), Some(0));
    });
}

/// What a client is owed was dropped when it had ended its sending side and the socket was full.
#[test]
fn a_half_closed_client_gets_all_that_it_is_owed() {
    let server = Server::start_with(Program::Redstart, &["--appendonly", "no", "--save", ""]);
    let mut control = server.connect();
    control.call(&[b"SET".as_slice(), b"big", &vec![b'x'; 8 << 20]]);
    let mut client = server.connect();
    send(&mut client, &["GET big", "GET big", "GET big", "PING"]);
    client.finish_sending().expect("a half-close");
    until("the replies have been made", || {
        stat(&mut control, "clients", "connected_clients") == "1"
            || stat(&mut control, "clients", "client_recent_max_output_buffer") != "0"
    });
    let bytes = client.read_to_close().expect("all replies, then the end");
    assert_eq!(bytes.len(), 3 * ((8 << 20) + "$8388608\r\n\r\n".len()) + "+PONG\r\n".len());
    assert!(bytes.ends_with(b"+PONG\r\n"));
}

/// `timeout` closed clients that waited in a command: they are silent by no choice of theirs.
#[test]
fn waiting_clients_are_not_closed_as_idle() {
    each(&["--timeout", "1"], |server| {
        let (mut waiter, mut idle) = (server.connect(), server.connect());
        park(server, &mut waiter, &["BLPOP q 0"]);
        assert_eq!(idle.read_to_close().expect("an idle client is closed"), b"");
        let mut pusher = server.connect();
        pusher.words("LPUSH q x");
        assert!(read(&mut waiter).contains('x'));
        assert_eq!(waiter.words("ECHO on").text(), "on");
    });
}

/// Commands behind SHUTDOWN in a pipeline, and those of other clients in the same tick, ran after the
/// last save and were acknowledged.
#[test]
fn nothing_is_acknowledged_behind_the_last_save() {
    for program in BOTH {
        let mut server = Server::start_with(program, &["--appendonly", "no", "--save", "3600 1"]);
        let (mut client, mut other) = (server.connect(), server.connect());
        client.words("SET before 1");
        server.halt();
        send(&mut client, &["SHUTDOWN", "SET behind 1"]);
        send(&mut other, &["SET beside 1"]);
        server.proceed();
        let replies = client.read_to_close().expect("the server ends");
        assert!(!replies.starts_with(b"+OK"), "{}", String::from_utf8_lossy(&replies));
        let beside = other.read_to_close().expect("the server ends");
        server.await_end();
        server.restart();
        let mut client = server.connect();
        assert_eq!(client.words("GET before").text(), "1");
        assert_eq!(client.words("EXISTS behind").integer(), Some(0));
        // It may have been executed before SHUTDOWN; then it is there.
        if program == Program::Redstart && beside.starts_with(b"+OK") {
            assert_eq!(client.words("EXISTS beside").integer(), Some(1));
        }
    }
}

/// CLIENT REPLY SKIP was used up when the command parked, and its reply was sent when it was served.
#[test]
fn client_reply_covers_the_reply_of_a_command_that_waited() {
    each(&[], |server| {
        let mut pusher = server.connect();
        for (mode, back) in [("SKIP", "ECHO on"), ("OFF", "CLIENT REPLY ON")] {
            let mut waiter = server.connect();
            park(server, &mut waiter, &[&format!("CLIENT REPLY {mode}"), "BLPOP q 0"]);
            pusher.words("LPUSH q x");
            let expected =
                if mode == "SKIP" { Value::bulk("on").to_string() } else { "+OK".into() };
            send(&mut waiter, &[back]);
            assert_eq!(read(&mut waiter), expected, "{mode}");
            // A timeout's reply is covered, too.
            send(&mut waiter, &[&format!("CLIENT REPLY {mode}"), "BLPOP q 0.01"]);
            send(&mut waiter, &[back]);
            assert_eq!(read(&mut waiter), expected, "{mode}");
        }
    });
}

/// A command that waits is one call, however often it is tried again, and fails where CLIENT UNBLOCK
/// answers it with an error.
#[test]
fn a_waiting_command_is_counted_once() {
    each(&[], |server| {
        let (mut waiter, mut pusher) = (server.connect(), server.connect());
        pusher.words("CONFIG RESETSTAT");
        let id = waiter.words("CLIENT ID").integer().expect("a number");
        park(server, &mut waiter, &["BLPOP q 0"]);
        pusher.words("LPUSH q x");
        read(&mut waiter);
        park(server, &mut waiter, &["BLPOP q 0"]);
        assert_eq!(pusher.words(&format!("CLIENT UNBLOCK {id} ERROR")).integer(), Some(1));
        assert!(read(&mut waiter).contains("UNBLOCKED"));
        park(server, &mut waiter, &["BLMOVE from to LEFT LEFT 0"]);
        pusher.words("SET to string");
        pusher.words("LPUSH from x");
        assert!(read(&mut waiter).contains("WRONGTYPE"));
        for (command, calls, failed) in [("blpop", 2, 1), ("blmove", 1, 1)] {
            let line = stat(&mut pusher, "commandstats", &format!("cmdstat_{command}"));
            assert!(line.starts_with(&format!("calls={calls},")), "{command}: {line}");
            assert!(line.ends_with(&format!("failed_calls={failed}")), "{command}: {line}");
        }
    });
}

/// A pause held its sessions in the order of their places and ended at the next round of the cron.
#[test]
fn a_pause_holds_everything_and_ends_on_time() {
    each(&["--hz", "1"], |server| {
        let (mut first, mut second) = (server.connect(), server.connect());
        let mut control = server.connect();
        control.words("CLIENT PAUSE 60000 WRITE");
        park(server, &mut second, &["RPUSH order second"]);
        park(server, &mut first, &["RPUSH order first", "LRANGE order 0 -1"]);
        control.words("CLIENT UNPAUSE");
        assert_eq!(read(&mut second), ":1");
        assert_eq!(read(&mut first), ":2");
        let order = Value::Array(vec![Value::bulk("second"), Value::bulk("first")]);
        assert_eq!(read(&mut first), order.to_string());
        let began = Instant::now();
        control.words("CLIENT PAUSE 50 ALL");
        assert_eq!(control.words("ECHO on").text(), "on");
        assert!(began.elapsed() >= Duration::from_millis(45), "held until the pause ended");
    });
}

/// What a client gets before HELLO is the directive's to say; RESET goes back to it, and links of the
/// server's own, which read RESP2, don't follow it.
#[test]
fn clients_begin_with_the_protocol_version_of_the_directive() {
    let directives = ["--client-default-resp", "3", "--repl-diskless-sync-delay", "0"];
    let server = Server::start_with(Program::Redstart, &directives);
    let mut client = server.connect();
    let answers = |client: &mut Client| client.words("CONFIG GET client-default-resp").to_string();
    let map = Value::Map(vec![(Value::bulk("client-default-resp"), Value::bulk("3"))]).to_string();
    let flat = Value::Array(vec![Value::bulk("client-default-resp"), Value::bulk("3")]).to_string();
    assert_eq!(answers(&mut client), map);
    assert!(matches!(client.words("HELLO 2"), Value::Array(_)));
    assert_eq!(answers(&mut client), flat);
    assert_eq!(client.words("RESET").to_string(), "+RESET");
    assert_eq!(answers(&mut client), map);
    let typed = client.words("EVAL return(redis.call('GET','absent')==false) 0");
    assert_eq!(typed, Value::Integer(1), "a script begins with RESP2");
    let refused = client.words("CONFIG SET client-default-resp 2");
    assert!(refused.text().contains("can't set immutable config"), "{refused}");

    let replica = Server::start_with(Program::Redstart, &directives);
    client.words("SET k v");
    let mut other = replica.connect();
    other.words(&format!("REPLICAOF 127.0.0.1 {}", server.port()));
    until("the replica has the key", || other.words("GET k") == Value::bulk("v"));
}
