//! The log can't be written, or not be made durable.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::inject::{Fault, OPEN, RENAME, SYNC, WRITE, WRITE_OUT};
use crate::support::client::Client;
use crate::support::server::{Program, Server};
use crate::{
    answer, assert_tidy, increment, info, log_dir, names_in, say, send, until, until_info,
    until_logged,
};

fn start(policy: &str) -> Server {
    let directives = ["--appendonly", "yes", "--appendfsync", policy, "--save", ""];
    Server::start_with(Program::Redstart, &directives)
}

fn log_of(server: &Server) -> PathBuf {
    increment(server.dir(), 1)
}

/// After a SIGKILL: the keys and nothing else.
fn assert_recovers(server: &mut Server, keys: &[(&str, &str)]) {
    server.kill();
    server.restart();
    let client = &mut server.connect();
    for (key, value) in keys {
        assert_eq!(say(client, &format!("GET {key}")), format!("{value:?}"), "{key}");
    }
    assert_eq!(client.words("DBSIZE").integer(), Some(keys.len() as i64));
    assert_tidy(server.dir());
}

fn refusal(reason: &str) -> String {
    format!("-MISCONF Errors writing to the AOF file: {reason}")
}

#[test]
fn what_cannot_be_written_is_not_acknowledged_and_written_later() {
    for (error, reason) in [("ENOSPC", "No space left on device"), ("EIO", "Input/output error")] {
        for policy in ["everysec", "no"] {
            let mut server = start(policy);
            let (writer, other) = (&mut server.connect(), &mut server.connect());
            assert_eq!(say(writer, "SET before 1"), "+OK");
            let fault = Fault::begin(&server, WRITE, error, &[log_of(&server)]);
            send(writer, "SET held 2");
            until_info(other, "aof_last_write_status", "err");
            assert_eq!(say(other, "SET refused 3"), refusal(reason));
            assert_eq!(say(other, "MULTI"), "+OK");
            assert_eq!(say(other, "SET refused 3"), refusal(reason));
            assert!(say(other, "EXEC").starts_with("-EXECABORT"), "a write was refused");
            assert_eq!(say(other, "GET before"), "\"1\"");
            assert!(info(other, "aof_buffer_length").parse::<u64>().expect("a number") > 0);
            until_logged(&server, &format!("Error writing to the AOF file: {reason}"));
            // It is tried again and again, and the log isn't flooded with it.
            let tries = fault.count();
            until("it is tried again", || fault.count() > tries + 2);
            for _ in 0..1_000 {
                say(other, "GET before");
            }
            let told = server.log().matches("Error writing to the AOF file").count();
            assert!(told < 3, "told {told} times:\n{}", server.log());
            assert!(!writer.has_answer(), "a write was acknowledged that is nowhere");
            fault.end();
            assert_eq!(answer(writer), "+OK");
            until_logged(&server, "AOF write error looks solved");
            assert_eq!(info(other, "aof_last_write_status"), "ok");
            assert_eq!(say(other, "SET after 4"), "+OK");
            assert_recovers(&mut server, &[("before", "1"), ("held", "2"), ("after", "4")]);
        }
    }
}

/// Where a part of a frame may be in the file and can't be cut off, another file must go on.
#[test]
fn a_log_that_cannot_be_cut_is_replaced_by_itself() {
    let mut server = start("everysec");
    let (writer, other) = (&mut server.connect(), &mut server.connect());
    assert_eq!(say(writer, "SET before 1"), "+OK");
    let calls = format!("{WRITE},ftruncate");
    let fault = Fault::begin(&server, &calls, "EIO", &[log_of(&server)]);
    assert_eq!(say(writer, "SET held 2"), "+OK");
    // The fault is still there, on a file that nobody needs.
    until_info(other, "aof_rewrites", "1");
    until_info(other, "aof_last_write_status", "ok");
    assert_eq!(say(other, "SET after 3"), "+OK");
    assert!(server.log().contains("Error writing to the AOF file: Input/output error"));
    fault.end();
    assert_recovers(&mut server, &[("before", "1"), ("held", "2"), ("after", "3")]);
}

/// Under `everysec` a sync that failed is not repeated as if nothing had happened: a rewrite puts a
/// new base in the place of what may not be there.
#[test]
fn after_a_failed_sync_the_log_is_replaced_by_itself() {
    let mut server = start("everysec");
    let client = &mut server.connect();
    let fault = Fault::begin(&server, SYNC, "EIO", &[log_of(&server)]);
    assert_eq!(say(client, "SET a 1"), "+OK");
    // It is not told to be kept before it is.
    assert_eq!(say(client, "WAITAOF 1 0 0"), "*[:1, :0]");
    assert_eq!(info(client, "aof_rewrites"), "1");
    assert!(server.log().contains("Fail to fsync the AOF file: Input/output error"));
    assert_eq!(info(client, "aof_last_write_status"), "ok");
    assert_eq!(say(client, "SET b 2"), "+OK");
    fault.end();
    assert_recovers(&mut server, &[("a", "1"), ("b", "2")]);
}

/// The system is asked to write ahead of the sync. Where it has no such call, nothing is amiss; an error
/// of the disk counts as that of a sync.
#[test]
fn an_error_while_the_log_is_written_out_is_one_of_the_disk() {
    for (error, rewrites) in [("ENOSYS", "0"), ("EPERM", "0"), ("EIO", "1")] {
        let mut server = start("everysec");
        let client = &mut server.connect();
        assert_eq!(say(client, "CONFIG SET aof-write-out-bytes 1"), "+OK");
        let fault = Fault::begin(&server, WRITE_OUT, error, &[log_of(&server)]);
        assert_eq!(say(client, "SET a 1"), "+OK");
        until("it is written out", || fault.count() > 0);
        assert_eq!(say(client, "WAITAOF 1 0 0"), "*[:1, :0]");
        assert_eq!(info(client, "aof_rewrites"), rewrites, "{error}");
        assert_eq!(say(client, "SET b 2"), "+OK");
        fault.end();
        assert_recovers(&mut server, &[("a", "1"), ("b", "2")]);
    }
}

#[test]
fn while_nothing_can_be_synced_nothing_is_promised() {
    let mut server = start("everysec");
    let (client, other) = (&mut server.connect(), &mut server.connect());
    let fault = Fault::begin(&server, SYNC, "EIO", &[]);
    assert_eq!(say(client, "SET a 1"), "+OK");
    until_info(other, "aof_last_bgrewrite_status", "err");
    assert_eq!(info(other, "aof_last_write_status"), "err");
    assert_eq!(say(other, "SET refused 2"), refusal("Input/output error"));
    assert_eq!(say(other, "GET a"), "\"1\"");
    assert_eq!(say(client, "WAITAOF 1 0 50"), "*[:0, :0]");
    fault.end();
    send(client, "WAITAOF 1 0 0");
    // Later syncs succeed, and say nothing of what the failed one was about.
    assert_eq!(say(other, "SET refused 2"), refusal("Input/output error"));
    assert_eq!(answer(client), "*[:1, :0]");
    until_info(other, "aof_last_write_status", "ok");
    assert_eq!(say(other, "SET b 2"), "+OK");
    assert_recovers(&mut server, &[("a", "1"), ("b", "2")]);
}

/// Writes don't wait for a disk that is slow to sync; who asks for it does.
#[test]
fn a_slow_sync_is_told() {
    let server = start("everysec");
    let (client, other) = (&mut server.connect(), &mut server.connect());
    let fault = Fault::slow(&server, SYNC, Duration::from_millis(2_600), &[log_of(&server)]);
    assert_eq!(say(client, "SET a 1"), "+OK");
    until_info(other, "aof_pending_bio_fsync", "1");
    assert_eq!(info(other, "aof_delayed_fsync"), "0");
    assert_eq!(say(client, "SET b 2"), "+OK");
    assert_eq!(say(client, "WAITAOF 1 0 100"), "*[:0, :0]");
    until_info(other, "aof_delayed_fsync", "1");
    assert_eq!(say(client, "WAITAOF 1 0 0"), "*[:1, :0]");
    fault.end();
    assert_eq!(say(other, "CONFIG RESETSTAT"), "+OK");
    assert_eq!(info(other, "aof_delayed_fsync"), "0");
}

/// LATENCY keeps it where replies waited for it.
#[test]
fn a_slow_sync_that_replies_wait_for_is_an_event() {
    let server = start("always");
    let client = &mut server.connect();
    assert_eq!(say(client, "CONFIG SET latency-monitor-threshold 30"), "+OK");
    let fault = Fault::slow(&server, SYNC, Duration::from_millis(50), &[log_of(&server)]);
    assert_eq!(say(client, "SET a 1"), "+OK");
    assert!(say(client, "LATENCY HISTORY aof-fsync-always").starts_with("*[*[:"));
    fault.end();
}

/// Under `always` there is no way to take back what was done and can't be kept, as upstream has it.
#[test]
fn under_always_the_process_ends() {
    for (calls, error, last_words) in [
        (
            WRITE,
            "ENOSPC",
            "Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting...",
        ),
        (
            SYNC,
            "EIO",
            "Can't persist AOF for fsync error when the AOF fsync policy is 'always': Input/output \
             error",
        ),
    ] {
        let mut server = start("always");
        let client = &mut server.connect();
        assert_eq!(say(client, "SET before 1"), "+OK");
        let fault = Fault::begin(&server, calls, error, &[log_of(&server)]);
        send(client, "SET lost 2");
        assert!(client.try_read().is_err(), "it was acknowledged");
        assert_eq!(server.await_end().code(), Some(1));
        assert!(server.log().contains(last_words), "{}", server.log());
        fault.end();
        server.restart();
        let mut client = server.connect();
        assert_eq!(say(&mut client, "GET before"), "\"1\"");
        // What was written and not synced may be there; what could not be written is not.
        let may_be = if calls == SYNC { "\"2\"" } else { "$nil" };
        let lost = say(&mut client, "GET lost");
        assert!(lost == "$nil" || lost == may_be, "{lost}");
    }
}

/// A replica whose log can't be brought to its end, when a full sync is about to take the data's place, ends
/// with its files as they are, and comes back with what it had.
#[test]
fn under_always_a_full_sync_that_the_log_can_not_make_way_for_ends_the_process() {
    for load in ["disabled", "swapdb"] {
        let quiet = ["--appendonly", "no", "--save", "", "--repl-diskless-sync-delay", "0"];
        let primary = Server::start_with(Program::Redstart, &quiet);
        assert_eq!(say(&mut primary.connect(), "SET new 1"), "+OK");
        let mut replica = start("always");
        let client = &mut replica.connect();
        assert_eq!(say(client, &format!("CONFIG SET repl-diskless-load {load}")), "+OK");
        assert_eq!(say(client, "SET old 1"), "+OK");
        let before = contents(&replica);
        let fault = Fault::begin(&replica, WRITE, "ENOSPC", &[log_of(&replica)]);
        send(client, &format!("REPLICAOF 127.0.0.1 {}", primary.port()));
        assert_eq!(replica.await_end().code(), Some(1));
        let log = replica.log();
        let place = |text: &str| log.find(text).unwrap_or_else(|| panic!("{text:?} in {log}"));
        let received = place("MASTER <-> REPLICA sync: receiving");
        let failed = place("Can't recover from AOF write error");
        assert!(received < failed && !log.contains("Finished with success"), "{log}");
        fault.end();
        assert_eq!(contents(&replica), before, "{load}");
        replica.restart();
        assert_recovers(&mut replica, &[("old", "1")]);
    }
}

/// The log's files.
fn contents(server: &Server) -> Vec<(String, Vec<u8>)> {
    let dir = log_dir(server.dir());
    let read = |name: String| (name.clone(), fs::read(dir.join(name)).expect("a file"));
    names_in(&dir).into_iter().map(read).collect()
}

/// A failed start of a log leaves the server as it was.
#[test]
fn a_log_that_cannot_be_begun_is_not_turned_on() {
    let mut server = Server::start_with(Program::Redstart, &["--appendonly", "no", "--save", ""]);
    let client = &mut server.connect();
    assert_eq!(say(client, "SET a 1"), "+OK");
    let temporary = log_dir(server.dir()).join("temp-appendonly.aof.1.incr");
    let fault = Fault::begin(&server, OPEN, "EIO", &[temporary]);
    let refused = say(client, "CONFIG SET appendonly yes");
    assert!(refused.starts_with("-ERR CONFIG SET failed"), "{refused}");
    fault.end();
    assert_eq!(info(client, "aof_enabled"), "0");
    assert_eq!(say(client, "SET b 2"), "+OK");
    // Its first base can't get its name: the log stays on, and tries again.
    let base = crate::walks::base_temporary(&server);
    let fault = Fault::begin(&server, RENAME, "EIO", &[base]);
    assert_eq!(say(client, "CONFIG SET appendonly yes"), "+OK");
    until_info(client, "aof_last_bgrewrite_status", "err");
    fault.end();
    assert_eq!(say(client, "WAITAOF 1 0 10"), "*[:0, :0]");
    begin_rewrite(client);
    assert_eq!(say(client, "WAITAOF 1 0 0"), "*[:1, :0]");
    until_info(client, "aof_rewrite_in_progress", "0");
    server.kill();
    let dir = server.into_dir();
    let directives = ["--appendonly", "yes", "--save", ""];
    let mut server = Server::start_in(Program::Redstart, dir, &directives);
    assert_recovers(&mut server, &[("a", "1"), ("b", "2")]);
}

fn begin_rewrite(client: &mut Client) {
    let begun = say(client, "BGREWRITEAOF");
    assert_eq!(begun, "+Background append only file rewriting started");
}
