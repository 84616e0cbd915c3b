//! Real faults of the disk under the real server: what it tells clients, INFO and its log, that it
//! goes on by itself where that is safe, and that after a SIGKILL all that was acknowledged is there
//! and nothing that was refused.
//!
//! - [`inject`]: makes chosen system calls of a running server fail, by `strace`. [`log`] and
//!   [`walks`] use it on the log, and on snapshots and rewrites.
//! - [`repair`]: the same for `redstart-check`.
//! - [`full`]: a small file system that is full, which takes root: a `tmpfs` is mounted.
//!
//! `tests/run.sh` installs strace. Where tracing or mounting isn't permitted, the tests fail and say
//! so: they don't pass by not testing.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod full;
mod inject;
mod log;
mod repair;
#[path = "../support/mod.rs"]
mod support;
mod walks;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use support::client::{Client, argv, encode};
use support::server::Server;

/// How long a condition may take to come about.
const PATIENCE: Duration = Duration::from_secs(30);

fn say(client: &mut Client, line: &str) -> String {
    client.words(line).to_string()
}

/// Sends a command without waiting for its answer.
fn send(client: &mut Client, line: &str) {
    client.try_send_raw(&encode(&argv(line))).expect("a command can be sent");
}

fn answer(client: &mut Client) -> String {
    client.try_read().expect("an answer").to_string()
}

fn info(client: &mut Client, field: &str) -> String {
    let text = client.words("INFO persistence").text();
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {field} in\n{text}")).trim().to_owned()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn until_info(client: &mut Client, field: &str, value: &str) {
    until(&format!("{field}:{value}"), || info(client, field) == value);
}

fn until_logged(server: &Server, text: &str) {
    until(&format!("\"{text}\" in\n{}", server.log()), || server.log().contains(text));
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.expect("an entry").file_name().to_string_lossy().into_owned()
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

/// The log's directory of a data directory.
fn log_dir(dir: &Path) -> PathBuf {
    dir.join("appendonlydir")
}

fn increment(dir: &Path, number: usize) -> PathBuf {
    log_dir(dir).join(format!("appendonly.aof.{number}.incr.aof"))
}

/// That the log's directory holds what its manifest names, and nothing else.
fn assert_tidy(dir: &Path) {
    let dir = log_dir(dir);
    let manifest = dir.join("appendonly.aof.manifest");
    let text = std::fs::read_to_string(&manifest).expect("a manifest");
    let named = |line: &str| line.strip_prefix("file ")?.split(' ').next().map(str::to_owned);
    let mut expected: Vec<String> = text.lines().filter_map(named).collect();
    expected.push("appendonly.aof.manifest".into());
    expected.sort();
    assert_eq!(names_in(&dir), expected, "files that the manifest doesn't name:\n{text}");
}
