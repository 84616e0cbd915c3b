//! Snapshots and rewrites that fail at any of their steps: the old state stays good, nothing is left
//! lying about, and the next one succeeds.

use std::fs;
use std::path::PathBuf;

use crate::inject::{Fault, OPEN, RENAME, SYNC, WRITE};
use crate::support::client::Client;
use crate::support::server::{Program, Server};
use crate::{
    assert_tidy, increment, info, log_dir, names_in, say, until, until_info, until_logged,
};

/// Where the next base of a server's log is written.
pub fn base_temporary(server: &Server) -> PathBuf {
    log_dir(server.dir()).join(format!("temp-rewriteaof-bg-{}.aof", server.pid()))
}

const CONFIGURED: &str = "-MISCONF Redis is configured to save RDB snapshots, but it\\'s currently \
    unable to persist to disk. Commands that may modify the data set are disabled, because this \
    instance is configured to report errors during writes if RDB snapshotting fails \
    (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB \
    error.";

#[test]
fn a_snapshot_that_fails_stops_writes_until_one_succeeds() {
    let directives = ["--appendonly", "no", "--save", "3600 1000000"];
    let mut server = Server::start_with(Program::Redstart, &directives);
    let client = &mut server.connect();
    let (dir, dump) = (server.dir().to_owned(), server.dir().join("dump.rdb"));
    let temporary = dir.join(format!("temp-{}.rdb", server.pid()));
    let steps: [(&str, &str, &PathBuf); 5] = [
        (OPEN, "EACCES", &temporary),
        (WRITE, "ENOSPC", &temporary),
        (SYNC, "EIO", &temporary),
        (RENAME, "EIO", &temporary),
        // The name isn't durable: it may be there, and nothing is promised.
        (SYNC, "EIO", &dir),
    ];
    for (number, (calls, error, file)) in steps.into_iter().enumerate() {
        println!("{calls} {error} {}", file.display());
        assert_eq!(say(client, &format!("SET k {number}")), "+OK");
        assert_eq!(say(client, "SAVE"), "+OK");
        let good = fs::read(&dump).expect("a snapshot");
        let (saved, last) = (info(client, "rdb_saves"), say(client, "LASTSAVE"));
        assert_eq!(say(client, "SET unsaved 1"), "+OK");
        let fault = Fault::begin(&server, calls, error, std::slice::from_ref(file));
        say(client, "BGSAVE");
        until_info(client, "rdb_last_bgsave_status", "err");
        until_logged(&server, "Background saving error");
        assert_eq!(say(client, "SAVE"), "-ERR");
        fault.end();
        until("the failed file is gone", || !temporary.exists());
        if *file != dir {
            assert!(fs::read(&dump).expect("a snapshot") == good, "the old snapshot was touched");
        }
        assert_eq!(info(client, "rdb_saves"), saved);
        assert_eq!(say(client, "LASTSAVE"), last);
        for line in ["SET k x", "DEL k", "FLUSHALL", "PING"] {
            assert_eq!(say(client, line), CONFIGURED, "{line}");
        }
        assert_eq!(say(client, "GET k"), format!("\"{number}\""));
        assert_eq!(say(client, "CONFIG SET stop-writes-on-bgsave-error no"), "+OK");
        assert_eq!(say(client, "DEL unsaved"), ":1");
        assert_eq!(say(client, "CONFIG SET stop-writes-on-bgsave-error yes"), "+OK");
        assert_eq!(say(client, "DEL k"), CONFIGURED);
        assert_eq!(say(client, "BGSAVE"), "+Background saving started");
        until_info(client, "rdb_last_bgsave_status", "ok");
        assert_eq!(say(client, "PING"), "+PONG");
    }
    assert_eq!(say(client, "SET last 1"), "+OK");
    server.kill();
    server.restart();
    let client = &mut server.connect();
    assert_eq!(say(client, "GET k"), "\"4\"");
    assert_eq!(say(client, "EXISTS last unsaved"), ":0");
    assert_eq!(names_in(&dir), ["dump.rdb", "server-output.txt"]);
}

/// The step at which a rewrite fails.
enum Step {
    /// Before the walk begins, preparing the next increment.
    Preparing(&'static str, PathBuf),
    /// While the base is written, or afterwards.
    Running(&'static str, PathBuf),
}

fn rewrite(client: &mut Client, status: &str) {
    let before = failures_and_successes(client);
    let begun = say(client, "BGREWRITEAOF");
    assert_eq!(begun, "+Background append only file rewriting started");
    until("the rewrite ends", || {
        info(client, "aof_rewrite_in_progress") == "0" && failures_and_successes(client) != before
    });
    assert_eq!(info(client, "aof_last_bgrewrite_status"), status);
}

fn failures_and_successes(client: &mut Client) -> (String, String) {
    (info(client, "aof_rewrites_consecutive_failures"), info(client, "aof_rewrites"))
}

#[test]
fn a_rewrite_that_fails_leaves_the_log_as_it_was() {
    let directives = ["--appendonly", "yes", "--save", "", "--auto-aof-rewrite-percentage", "0"];
    for number in 0.. {
        let mut server = Server::start_with(Program::Redstart, &directives);
        let client = &mut server.connect();
        let (dir, base) = (log_dir(server.dir()), base_temporary(&server));
        let manifest = dir.join("temp-appendonly.aof.manifest");
        let next = increment(server.dir(), 2);
        let steps = [
            Step::Preparing(OPEN, next),
            Step::Preparing(OPEN, manifest.clone()),
            Step::Preparing(WRITE, manifest.clone()),
            Step::Preparing(SYNC, manifest.clone()),
            Step::Preparing(RENAME, manifest.clone()),
            Step::Preparing(SYNC, dir.clone()),
            Step::Preparing(OPEN, base.clone()),
            Step::Running(WRITE, base.clone()),
            Step::Running(SYNC, base.clone()),
            Step::Running(RENAME, base),
            Step::Running(SYNC, dir),
            Step::Running(OPEN, manifest.clone()),
            Step::Running(WRITE, manifest.clone()),
            Step::Running(SYNC, manifest.clone()),
            Step::Running(RENAME, manifest),
        ];
        let Some(step) = steps.into_iter().nth(number) else { break };
        fail_at(&mut server, client, step);
    }
}

fn fail_at(server: &mut Server, client: &mut Client, step: Step) {
    assert_eq!(say(client, "SET before 1"), "+OK");
    match step {
        Step::Preparing(calls, file) => {
            println!("preparing: {calls} {}", file.display());
            let fault = Fault::begin(server, calls, "EIO", &[file]);
            rewrite(client, "err");
            fault.end();
        }
        Step::Running(calls, file) => {
            println!("running: {calls} {}", file.display());
            // The walk waits behind its first key until the fault is in place.
            assert_eq!(say(client, "CONFIG SET rdb-key-save-delay 100000000"), "+OK");
            say(client, "BGREWRITEAOF");
            until_info(client, "current_save_keys_processed", "1");
            let fault = Fault::begin(server, calls, "ENOSPC", &[file]);
            assert_eq!(say(client, "CONFIG SET rdb-key-save-delay 0"), "+OK");
            until_info(client, "aof_last_bgrewrite_status", "err");
            fault.end();
        }
    }
    assert!(server.log().contains("Background AOF rewrite"), "{}", server.log());
    // Nothing is refused for it, and what comes now is kept.
    assert_eq!(info(client, "aof_last_write_status"), "ok");
    assert_eq!(say(client, "SET between 2"), "+OK");
    let leftovers = || {
        let names = names_in(&log_dir(server.dir()));
        names.into_iter().filter(|name| name.starts_with("temp-") && name.contains("-bg-")).count()
    };
    until("the unfinished base is gone", || leftovers() == 0);
    server.kill();
    server.restart();
    let client = &mut server.connect();
    assert_eq!(say(client, "MGET before between"), "*[\"1\", \"2\"]");
    rewrite(client, "ok");
    assert_eq!(say(client, "SET after 3"), "+OK");
    until("superseded files are gone", || !increment(server.dir(), 1).exists());
    server.kill();
    server.restart();
    let client = &mut server.connect();
    assert_eq!(say(client, "MGET before between after"), "*[\"1\", \"2\", \"3\"]");
    assert_tidy(server.dir());
}

/// Without a restart between failure and success, too, all that came to nothing goes.
#[test]
fn failed_rewrites_leave_nothing_behind() {
    let directives = ["--appendonly", "yes", "--save", "", "--auto-aof-rewrite-percentage", "0"];
    let mut server = Server::start_with(Program::Redstart, &directives);
    let client = &mut server.connect();
    assert_eq!(say(client, "SET a 1"), "+OK");
    let dir = log_dir(server.dir());
    let fault = Fault::begin(&server, SYNC, "EIO", &[dir]);
    for _ in 0..3 {
        rewrite(client, "err");
    }
    fault.end();
    assert_eq!(say(client, "SET b 2"), "+OK");
    rewrite(client, "ok");
    assert_eq!(info(client, "aof_rewrites_consecutive_failures"), "0");
    assert_tidy(server.dir());
    server.kill();
    server.restart();
    assert_eq!(say(&mut server.connect(), "MGET a b"), "*[\"1\", \"2\"]");
}
