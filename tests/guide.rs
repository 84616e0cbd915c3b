//! docs/replication.md as a new user would follow it: the commands of two sections are taken from the text
//! and run by redis-cli, while clients write to whoever takes it.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use support::client::Client;
use support::group::{assert_equal, await_that, start};
use support::server::{Program, Server};

/// A section's commands: the words behind redis-cli, and what its output has to hold in the end.
fn steps(title: &str) -> Vec<(Vec<String>, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/replication.md");
    let text = std::fs::read_to_string(path).expect("the guide is there");
    let section = text.split("\n## ").find(|part| part.starts_with(title));
    let lines = section.expect("the section is there").lines().map(str::trim);
    let commands = lines.filter_map(|line| line.strip_prefix("redis-cli "));
    commands
        .map(|line| {
            let (command, expected) = line.split_once('#').unwrap_or((line, "OK"));
            let words = command.split_whitespace().map(str::to_owned).collect();
            (words, expected.trim().to_owned())
        })
        .collect()
}

/// Counts up at whichever server takes it, until it is told to stop: how often it was told yes.
fn count_up(name: &str, ports: [u16; 2], stopped: &AtomicBool) -> i64 {
    let (mut at, mut counted) = (0, 0);
    let mut clients = ports.map(|port| Client::try_connect(port).expect("a connection"));
    while !stopped.load(Ordering::Relaxed) {
        match clients[at].words(&format!("INCR {name}")).integer() {
            Some(number) => {
                counted += 1;
                assert_eq!(number, counted, "what was acknowledged is there");
            }
            None => at = 1 - at,
        }
    }
    counted
}

fn redis_cli(words: &[String]) -> String {
    let output = Command::new("redis-cli").args(words).output().expect("redis-cli runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A line of INFO replication.
fn told(port: u16, name: &str) -> Option<String> {
    let told = redis_cli(&["-p", &port.to_string(), "INFO", "replication"].map(str::to_owned));
    let line = told.lines().find_map(|line| line.strip_prefix(name))?;
    line.strip_prefix(':').map(|value| value.trim().to_owned())
}

/// Does what a section says with a Redis and a Redstart, under load.
fn follow(steps: Vec<(Vec<String>, String)>, ports: [u16; 2]) {
    for (words, expected) in steps {
        let port = |word: &String| match word.as_str() {
            "6379" => ports[0].to_string(),
            "6380" => ports[1].to_string(),
            other => other.to_owned(),
        };
        let words: Vec<String> = words.iter().map(port).collect();
        let what = format!("{words:?} says {expected}");
        if expected == "OK" {
            assert_eq!(redis_cli(&words).trim(), "OK", "{words:?}");
        } else if let Some(name) = expected.strip_prefix("same ") {
            await_that(&what, || {
                let both = ports.map(|port| told(port, name));
                both[0].is_some() && both[0] == both[1]
            });
        } else {
            await_that(&what, || redis_cli(&words).contains(&expected));
        }
    }
}

/// Follows steps while clients write, to the Redis at first: no acknowledged write is lost.
fn try_out(steps: Vec<(Vec<String>, String)>) -> [Server; 2] {
    let (redis, redstart) = (start(Program::Redis, &[]), start(Program::Redstart, &[]));
    let ports = [redis.port(), redstart.port()];
    let stopped = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let stopped = Arc::clone(&stopped);
            thread::spawn(move || count_up(&format!("counter:{writer}"), ports, &stopped))
        })
        .collect();
    follow(steps, ports);
    stopped.store(true, Ordering::Relaxed);
    for writer in writers {
        assert!(writer.join().expect("no count was lost") > 0);
    }
    [redis, redstart]
}

#[test]
fn from_redis_to_redstart_and_back() {
    let steps = steps("From Redis to Redstart");
    assert!(steps.len() >= 10, "the guide has its commands: {steps:?}");
    let [redis, redstart] = try_out(steps);
    assert_equal(&[&redis, &redstart]);
}

#[test]
fn from_an_old_redis_to_redstart() {
    let instead = steps("From a Redis before 6.2");
    assert!(instead.len() >= 6, "the guide has its commands: {instead:?}");
    let first = steps("From Redis to Redstart").into_iter().take(3);
    let [redis, redstart] = try_out(first.chain(instead).collect());
    assert_equal(&[&redstart, &redis]);
}
