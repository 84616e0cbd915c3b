//! The end of a primary and its replicas: it waits for them, not for ever, and can be called off.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use support::client::{self, Client};
use support::group::{assert_equal, await_that, follower, number, start};
use support::server::{Program, Server};

/// A primary with a replica that stands still and lacks a write.
fn lagging(more: &[&str]) -> (Server, Server) {
    let primary = start(Program::Redstart, more);
    let replica = follower(Program::Redstart, &primary, &[]);
    assert_equal(&[&primary, &replica]);
    replica.halt();
    primary.connect().words("SET last 1");
    (primary, replica)
}

/// Asks for the end, and gives the client that waits for it.
fn ask(primary: &Server) -> Client {
    let mut asker = primary.connect();
    asker.try_send_raw(&client::encode(&["SHUTDOWN"])).expect("sent");
    let mut client = primary.connect();
    await_that("it waits", || number(&mut client, "shutdown_in_milliseconds") > 0);
    asker
}

#[test]
fn a_primary_that_ends_waits_for_its_replicas() {
    let (mut primary, replica) = lagging(&["--shutdown-timeout", "60"]);
    let mut asker = ask(&primary);
    let mut writer = primary.connect();
    writer.try_send_raw(&client::encode(&["SET", "late", "1"])).expect("sent");
    replica.proceed();
    primary.await_end();
    assert!(asker.try_read().is_err() && writer.try_read().is_err(), "nobody is answered");
    let mut client = replica.connect();
    assert_eq!(client.words("GET last").text(), "1");
    assert_eq!(client.words("EXISTS late").integer(), Some(0));
    assert!(primary.log().contains("1 of 1 replicas are in sync when shutting down."));
}

/// Only replicas that were online counted: a full sync was cut off by the primary's end.
#[test]
fn it_waits_for_those_that_are_still_being_sent_a_snapshot() {
    for program in [Program::Redis, Program::Redstart] {
        let delayed = ["--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "3600"];
        let primary = start(program, &delayed);
        let mut replica = primary.connect();
        replica.try_send_raw(&client::encode(&["PSYNC", "?", "-1"])).expect("sent");
        let mut client = primary.connect();
        await_that("it is a replica", || number(&mut client, "connected_slaves") == 1);
        client.words("SET last 1");
        let _asker = ask(&primary);
        assert_eq!(client.words("SHUTDOWN ABORT").text(), "OK", "{program:?}");
    }
}

#[test]
fn it_does_not_wait_for_ever() {
    let (mut primary, _replica) = lagging(&["--shutdown-timeout", "1"]);
    primary.terminate();
    let log = primary.log();
    assert!(
        log.contains("Lagging replica") && log.contains("0 of 1 replicas are in sync"),
        "{log}"
    );
}

#[test]
fn now_means_now() {
    let (mut primary, _replica) = lagging(&["--shutdown-timeout", "60"]);
    let _first = ask(&primary);
    let mut client = primary.connect();
    client.try_send_raw(&client::encode(&["SHUTDOWN", "NOW"])).expect("sent");
    primary.await_end();
}

#[test]
fn an_end_that_waits_can_be_called_off() {
    let (primary, replica) = lagging(&["--shutdown-timeout", "60"]);
    let (mut first, mut second) = (ask(&primary), ask(&primary));
    let mut writer = primary.connect();
    writer.try_send_raw(&client::encode(&["SET", "held", "1"])).expect("sent");
    let mut client = primary.connect();
    await_that("all of them wait", || number(&mut client, "blocked_clients") == 3);
    assert_eq!(client.words("SHUTDOWN ABORT").text(), "OK");
    for asker in [&mut first, &mut second] {
        let answer = asker.try_read().expect("an answer").text();
        assert_eq!(answer, "ERR Errors trying to SHUTDOWN. Check logs.");
    }
    assert_eq!(writer.try_read().expect("an answer").text(), "OK");
    assert_eq!(client.words("SHUTDOWN ABORT").text(), "ERR No shutdown in progress.");
    replica.proceed();
    assert_equal(&[&primary, &replica]);
}

/// A change of roles frees clients that wait, as a rule; who has asked for the end was told UNBLOCKED by a server
/// that then ended.
#[test]
fn a_failover_on_the_way_to_the_end_tells_who_asked_for_it_nothing() {
    let (mut primary, replica) = lagging(&["--shutdown-timeout", "60"]);
    assert_eq!(primary.connect().words("FAILOVER").text(), "OK");
    let mut asker = ask(&primary);
    replica.proceed();
    primary.await_end();
    assert!(asker.try_read().is_err(), "nobody is answered");
    let mut client = replica.connect();
    await_that("it is the primary", || client.words("SET next 1").text() == "OK");
}
