//! FAILOVER: the place of a primary goes to a replica of each kind without losing a write or costing a
//! full sync; what ends it early leaves a primary that takes writes.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use support::client::{self, Client, Value};
use support::group::{assert_equal, await_that, follower, info, number, start, write};
use support::random::{self, Random};
use support::server::{Program, Server};

fn state(client: &mut Client) -> String {
    info(client, "master_failover_state")
}

fn await_end(client: &mut Client) {
    await_that("the failover ends", || state(client) == "no-failover");
}

/// Counts up until it is told that this is no primary any more: the last number that it was answered.
fn count_up(mut client: Client) -> i64 {
    let mut last = 0;
    loop {
        match client.words("INCR counted") {
            Value::Integer(number) => last = number,
            refused => {
                assert!(refused.text().starts_with("READONLY"), "{refused:?}");
                return last;
            }
        }
    }
}

/// Hands over under load, back and forth.
fn hand_over(from: Program, to: Program) {
    let (mut old, mut new) = (start(from, &[]), None);
    let mut random = Random::new(random::seed_from_environment("REPLICATION_SEED"));
    write(&mut old.connect(), &mut random, 500);
    old.connect().words("SET counted 0");
    let mut counted = 0;
    for round in 0..4 {
        let next: Server = new.take().unwrap_or_else(|| follower(to, &old, &[]));
        assert_equal(&[&old, &next]);
        let (mut primary, mut replica) = (old.connect(), next.connect());
        let full = number(&mut replica, "sync_full") + number(&mut primary, "sync_full");
        let writers: Vec<_> = (0..3)
            .map(|_| {
                let client = old.connect();
                thread::spawn(move || count_up(client))
            })
            .collect();
        write(&mut primary, &mut random, 200);
        // It is online when the primary has heard of it.
        await_that("the replica is online", || {
            info(&mut primary, "slave0").contains("state=online")
        });
        let target = format!("FAILOVER TO 127.0.0.1 {}", next.port());
        let command = if round % 2 == 0 { target.as_str() } else { "FAILOVER" };
        assert_eq!(primary.words(command).text(), "OK");
        await_end(&mut primary);
        let ends = writers.into_iter().map(|writer| writer.join().expect("it ends"));
        // On a busy machine nobody may have been answered in this round.
        counted = ends.fold(counted, i64::max);
        let kept = replica.words("GET counted").text();
        assert_eq!(kept, counted.to_string(), "what was answered is kept");
        write(&mut replica, &mut random, 100);
        assert_equal(&[&next, &old]);
        let full_after = number(&mut replica, "sync_full") + number(&mut primary, "sync_full");
        assert_eq!(full_after, full, "a failover costs no full sync");
        new = Some(std::mem::replace(&mut old, next));
    }
}

#[test]
fn between_ours() {
    hand_over(Program::Redstart, Program::Redstart);
}

#[test]
fn between_us_and_redis() {
    hand_over(Program::Redstart, Program::Redis);
}

#[test]
fn between_valkey_and_us() {
    hand_over(Program::Valkey, Program::Redstart);
}

#[test]
fn what_can_not_be_is_refused_with_the_reason() {
    let primary = start(Program::Redstart, &[]);
    let mut client = primary.connect();
    let mut refused = |line: &str, error: &str| assert_eq!(client.words(line).text(), error);
    refused("FAILOVER", "ERR FAILOVER requires connected replicas.");
    refused("FAILOVER ABORT", "ERR No failover in progress.");
    let replica = follower(Program::Redstart, &primary, &[]);
    assert_equal(&[&primary, &replica]);
    refused("FAILOVER TO a b", "ERR value is not an integer or out of range");
    refused("FAILOVER TO a", "ERR syntax error");
    refused("FAILOVER ABORT x", "ERR syntax error");
    refused("FAILOVER TIMEOUT 0", "ERR FAILOVER timeout must be greater than 0");
    refused("FAILOVER TO a 99999", "ERR FAILOVER target HOST and PORT is not a replica.");
    refused(
        "FAILOVER FORCE TIMEOUT 100",
        "ERR FAILOVER with force option requires both a timeout and target HOST and IP.",
    );
    assert_eq!(
        replica.connect().words("FAILOVER").text(),
        "ERR FAILOVER is not valid when server is a replica."
    );
    replica.halt();
    client.words("SET a b");
    let mut refused = |line: &str, error: &str| assert_eq!(client.words(line).text(), error);
    refused("FAILOVER TIMEOUT 60000", "OK");
    refused("FAILOVER", "ERR FAILOVER already in progress.");
    refused("REPLICAOF NO ONE", "ERR REPLICAOF not allowed while failing over.");
    replica.proceed();
}

/// Begins a write that is held until the failover is over.
fn held_write(server: &Server) -> Client {
    let mut writer = server.connect();
    writer.try_send_raw(&client::encode(&["SET", "held", "1"])).expect("sent");
    let mut client = server.connect();
    await_that("the writer is held", || number(&mut client, "blocked_clients") == 1);
    writer
}

#[test]
fn a_replica_that_does_not_catch_up_leaves_a_primary_that_takes_writes() {
    let primary = start(Program::Redstart, &[]);
    let replica = follower(Program::Redstart, &primary, &[]);
    assert_equal(&[&primary, &replica]);
    let mut client = primary.connect();
    replica.halt();
    client.words("SET a b");
    assert_eq!(client.words("FAILOVER TIMEOUT 300").text(), "OK");
    assert_eq!(state(&mut client), "waiting-for-sync");
    assert_eq!(client.words("GET a").text(), "b", "readers are not held");
    assert_eq!(held_write(&primary).try_read().expect("an answer").text(), "OK");
    await_end(&mut client);
    assert_eq!(client.words("FAILOVER").text(), "OK");
    let mut held = held_write(&primary);
    assert_eq!(client.words("CLIENT UNPAUSE").text(), "OK");
    assert!(!held.has_answer(), "CLIENT UNPAUSE ends no failover");
    assert_eq!(client.words("FAILOVER ABORT").text(), "OK");
    assert_eq!(held.try_read().expect("an answer").text(), "OK");
    replica.proceed();
    assert_equal(&[&primary, &replica]);
    assert_eq!(number(&mut client, "sync_full"), 1);
}

#[test]
fn a_forced_failover_does_not_wait_for_the_replica_s_word() {
    let primary = start(Program::Redstart, &[]);
    let replica = follower(Program::Redstart, &primary, &[]);
    assert_equal(&[&primary, &replica]);
    let mut client = primary.connect();
    replica.halt();
    client.words("SET a b");
    let command = format!("FAILOVER TO 127.0.0.1 {} FORCE TIMEOUT 100", replica.port());
    assert_eq!(client.words(&command).text(), "OK");
    await_that("its time is over", || state(&mut client) == "failover-in-progress");
    assert_eq!(info(&mut client, "role"), "slave", "never two primaries");
    replica.proceed();
    await_end(&mut client);
    assert_equal(&[&replica, &primary]);
    assert_eq!(info(&mut replica.connect(), "role"), "master");
}

/// A replica that is none: it says it has everything, and answers who follows it as it is told.
struct Puppet {
    listener: TcpListener,
    primary: Client,
}

impl Puppet {
    fn of(primary: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let mut link = TcpStream::connect(("127.0.0.1", primary.port())).expect("a connection");
        let hello = [
            client::encode(&["REPLCONF", "listening-port", &port.to_string(), "capa", "psync2"]),
            client::encode(&["PSYNC", "?", "-1"]),
        ];
        link.write_all(&hello.concat()).expect("sent");
        let mut reads = link.try_clone().expect("a second handle");
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while reads.read(&mut bytes).is_ok_and(|count| count > 0) {}
        });
        let mut client = primary.connect();
        await_that("it is online", || info(&mut client, "slave0").contains("state=online"));
        client.words("FAILOVER");
        assert_eq!(state(&mut client), "waiting-for-sync");
        let offset = number(&mut client, "master_repl_offset").to_string();
        link.write_all(&client::encode(&["REPLCONF", "ACK", &offset])).expect("sent");
        Self { listener, primary: client }
    }

    /// Lets the primary come, and answers its PSYNC; nothing at all for an empty answer.
    fn answer(&mut self, psync: &str) -> String {
        let (mut link, _) = self.listener.accept().expect("the primary comes");
        let mut seen = Vec::new();
        loop {
            let mut bytes = [0; 4096];
            let count = link.read(&mut bytes).expect("it asks");
            assert!(count > 0, "it gave up: {}", String::from_utf8_lossy(&seen));
            let words = String::from_utf8_lossy(&bytes[..count]).into_owned();
            seen.extend_from_slice(&bytes[..count]);
            if words.contains("PSYNC") {
                link.write_all(psync.as_bytes()).expect("sent");
                return words;
            }
            let answer = if words.contains("PING") { "+PONG\r\n" } else { "+OK\r\n" };
            link.write_all(answer.as_bytes()).expect("sent");
        }
    }
}

#[test]
fn a_target_that_refuses_leaves_a_primary_that_takes_writes() {
    let primary = start(Program::Redstart, &[]);
    let mut puppet = Puppet::of(&primary);
    let asked = puppet.answer("-NOPERM not you\r\n");
    assert!(asked.contains("FAILOVER"), "{asked}");
    await_end(&mut puppet.primary);
    assert_eq!(info(&mut puppet.primary, "role"), "master");
    assert_eq!(puppet.primary.words("SET a b").text(), "OK");
    assert!(primary.log().contains("Failover target rejected psync request"));
}

/// Its answer was lost on the way: to be a primary beside it would split the group.
#[test]
fn a_target_that_took_over_before_the_link_broke_is_followed() {
    let primary = start(Program::Redstart, &[]);
    let mut puppet = Puppet::of(&primary);
    assert!(puppet.answer("").contains("FAILOVER"));
    let asked = puppet.answer("-ERR PSYNC FAILOVER can't be sent to a master.\r\n");
    assert!(asked.contains("FAILOVER"), "{asked}");
    await_end(&mut puppet.primary);
    assert_eq!(info(&mut puppet.primary, "role"), "slave");
    let asked = puppet.answer("-LOADING\r\n");
    assert!(!asked.contains("FAILOVER"), "{asked}");
}

/// Two promotions, one behind the other, with nothing written between: a replica asked by the name before
/// last, which the second primary doesn't know.
#[test]
fn two_promotions_with_nothing_between_go_on_partially() {
    let mut nodes: Vec<Server> = vec![start(Program::Redstart, &[])];
    for _ in 0..3 {
        nodes.push(follower(Program::Redstart, &nodes[0], &[]));
    }
    nodes[0].connect().words("SET a 1");
    assert_equal(&[&nodes[0], &nodes[1], &nodes[2], &nodes[3]]);
    for lost in 0..2 {
        nodes[lost].kill();
        let next = lost + 1;
        nodes[next].connect().words("REPLICAOF NO ONE");
        for other in &nodes[next + 1..] {
            other.connect().words(&format!("REPLICAOF 127.0.0.1 {}", nodes[next].port()));
            assert_equal(&[&nodes[next], other]);
        }
        let mut client = nodes[next].connect();
        assert_eq!(number(&mut client, "sync_full"), 0, "promotion {next}");
        assert_eq!(number(&mut client, "sync_partial_ok"), nodes.len() as i64 - 1 - next as i64);
    }
    // And back: who was promoted by mistake, and followed by nobody, has its old primary's name.
    let (second, third) = (&nodes[2], &nodes[3]);
    let full = number(&mut second.connect(), "sync_full");
    third.connect().words("REPLICAOF NO ONE");
    third.connect().words(&format!("REPLICAOF 127.0.0.1 {}", second.port()));
    assert_equal(&[second, third]);
    assert_eq!(number(&mut second.connect(), "sync_full"), full);
}
