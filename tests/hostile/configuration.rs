//! Lines of configuration that can't be: what redis-server refuses, we refuse, in its words.

use std::fs;
use std::process::{Command, Stdio};

use crate::BOTH;
use crate::support::client::Client;
use crate::support::server::{Program, Server};

/// Lines that both refuse; the words are upstream's.
const REFUSED: &[(&str, &str)] = &[
    ("rename-command nosuch x", "No such command in rename-command"),
    ("rename-command \"\" x", "No such command in rename-command"),
    ("rename-command get set", "Target command name already exists"),
    ("rename-command get EVAL", "Target command name already exists"),
    ("rename-command get x\nrename-command get y", "No such command in rename-command"),
    ("rename-command get \"\"\nrename-command GET y", "No such command in rename-command"),
    ("rename-command get x\nrename-command set X", "Target command name already exists"),
    ("rename-command set get\nrename-command get x", "Target command name already exists"),
    ("rename-command eval x\nrename-command evalsha x", "Target command name already exists"),
    ("rename-command get", "Bad directive or wrong number of arguments"),
    ("rename-command get a b", "Bad directive or wrong number of arguments"),
    ("save 1", "Invalid save parameters"),
    ("save 1 2 3", "Invalid save parameters"),
    ("save 0 1", "Invalid save parameters"),
    ("save 1 -1", "Invalid save parameters"),
    ("save a b", "Invalid save parameters"),
    ("save 1x 2", "Invalid save parameters"),
    (
        "client-output-buffer-limit normal 0 0",
        "Wrong number of arguments in buffer limit configuration.",
    ),
    (
        "client-output-buffer-limit master 0 0 0",
        "Invalid client class specified in buffer limit configuration.",
    ),
    (
        "client-output-buffer-limit normal 0 0 -1",
        "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
    ),
    ("bind 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17", "Too many bind addresses specified."),
    ("oom-score-adj-values 1 2", "wrong number of arguments"),
    ("oom-score-adj-values 0 0 2001", "elements must be between -2000 and 2000"),
    ("replicaof \"\"", "wrong number of arguments"),
    ("replicaof localhost", "wrong number of arguments"),
    ("replicaof localhost abc", "Invalid master port"),
    ("unixsocketperm 800", "argument couldn't be parsed as an octal number"),
    ("unixsocketperm 1777", "argument must be between 0 and 777 inclusive"),
    ("unixsocketperm 7 7", "wrong number of arguments"),
    ("latency-tracking-info-percentiles 50 101", "should sit between [0.0,100.0]"),
    ("shutdown-on-sigterm save nosave", "can't be used simultaneously"),
    ("include a b", "Bad directive or wrong number of arguments"),
    ("gopher-enabled no", "Bad directive or wrong number of arguments"),
];

/// Lines that both accept.
const ACCEPTED: &[&str] = &[
    "rename-command get fetch\nrename-command fetch take\nrename-command set get",
    "rename-command get GET",
    "rename-command get \"\"\nrename-command set get",
    // Commands that upstream has, whether we have them or not.
    "rename-command eval \"\"\nrename-command xadd yadd\nrename-command psync \"\"",
    "rename-command CONFIG b840fc02d524045429941cc15f59e41cb7be6c52",
    "save 1 2 3 4\nsave \"\"\nsave 5 6",
    "client-output-buffer-limit slave 1 1 1 replica 2 2 2",
    "oom-score-adj-values -2000 0 2000",
    "replicaof no one",
    "unixsocketperm 700",
];

fn outcome(program: Program, lines: &str) -> String {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("test.conf");
    fs::write(&file, format!("{lines}\n")).expect("written");
    // A later line that is wrong in any case ends the process without opening anything.
    let output = Command::new(program.path())
        .args([file.to_str().expect("text"), "--port", "none"])
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// What the line that always comes last is refused with.
const LAST: &str = "argument couldn't be parsed into an integer";

#[test]
fn what_upstream_refuses_is_refused() {
    for program in BOTH {
        for (lines, reason) in REFUSED {
            let said = outcome(program, lines);
            assert!(said.contains(reason) && !said.contains(LAST), "{program:?} {lines}: {said}");
        }
        for lines in ACCEPTED {
            let said = outcome(program, lines);
            assert!(said.contains(LAST), "{program:?} {lines}: {said}");
        }
    }
}

#[test]
fn renamed_commands_answer_to_their_last_name() {
    let lines = [
        "--rename-command",
        "get",
        "fetch",
        "--rename-command",
        "fetch",
        "take",
        "--rename-command",
        "set",
        "get",
        "--rename-command",
        "eval",
        "dbsize2",
    ];
    for program in BOTH {
        let server = Server::start_with(program, &lines);
        let mut client = server.connect();
        assert_eq!(client.words("GET a 1").text(), "OK", "{program:?}");
        assert_eq!(client.words("TAKE a").text(), "1", "{program:?}");
        assert!(client.words("FETCH a").is_error(), "{program:?}");
        assert!(client.words("SET a 1").is_error(), "{program:?}");
    }
}

/// Settings while the server runs, each with values that are right and wrong.
const CHANGES: &[(&str, &[&str])] = &[
    ("save", &["", "1", "1 2", "1 2 3", "a b", "1 2 3 4", "0 1", "1  2", "1 2 ", "-1 2"]),
    (
        "client-output-buffer-limit",
        &[
            "",
            "normal 0 0",
            "normal 1mb 1mb 1 pubsub 2mb 2mb 2",
            "normal 1 1 1 foo 2 2 2",
            "normal -1 0 0",
            "normal  0 0 0",
            "slave 1 1 1",
            "normal 0 0 x",
        ],
    ),
    ("oom-score-adj-values", &["", "1 2", "1 2 3", "3 2 1", "1 2 3 4", "a b c", "0 0 9999"]),
    ("latency-tracking-info-percentiles", &["", "50", "50 99 99.9", "101", "-1", "x", "50  99"]),
    ("notify-keyspace-events", &["", "KEA", "Kx E", "Q", "g$"]),
    ("shutdown-on-sigterm", &["", "default", "save nosave", "now force", "x"]),
    ("maxclients", &["0", "100", "x"]),
    ("maxmemory", &["1gb", "-1", "x", "50%", "0"]),
    ("maxmemory-policy", &["allkeys-lru", "x", "noeviction"]),
    ("hz", &["0", "5", "1000", "x", "10"]),
    ("timeout", &["-1", "10", "0"]),
    ("unixsocketperm", &["700"]),
    ("replicaof", &["", "no one"]),
    ("rename-command", &["get x"]),
];

/// What a server says of itself in INFO that a setting decides.
fn told(client: &mut Client) -> Vec<String> {
    const FIELDS: &[&str] = &["maxclients:", "maxmemory:", "maxmemory_policy:", "configured_hz:"];
    let text = client.words("INFO everything").text();
    let is_told = |line: &&str| FIELDS.iter().any(|field| line.starts_with(field));
    text.lines().filter(is_told).map(str::to_owned).collect()
}

#[test]
fn a_change_is_answered_shown_and_told_as_by_upstream() {
    let [theirs, ours] = BOTH.map(|program| {
        let server = crate::start(program, &[]);
        let mut client = server.connect();
        let mut story = Vec::new();
        for (name, values) in CHANGES {
            for value in *values {
                let answer = client.call(&["CONFIG", "SET", name, value]);
                let shown = client.call(&["CONFIG", "GET", name]);
                let told = told(&mut client);
                story.push(format!("{name} {value:?}: {answer}, {shown}, {told:?}"));
            }
        }
        // All of several pairs, or none.
        for pairs in ["maxmemory 5mb hz x", "hz 20 bogus 1", "maxmemory 7mb maxclients 0"] {
            let answer = client.words(&format!("CONFIG SET {pairs}"));
            story.push(format!("{pairs}: {answer}, {:?}", told(&mut client)));
        }
        story
    });
    for (theirs, ours) in theirs.iter().zip(&ours) {
        assert_eq!(theirs, ours, "redis-server's first");
    }
}

#[test]
fn who_asks_for_modules_is_answered_as_by_a_server_that_has_none() {
    for allowed in ["no", "yes"] {
        let [theirs, ours] = BOTH.map(|program| {
            let server = crate::start(program, &["--enable-module-command", allowed]);
            let mut client = server.connect();
            let commands = [
                "MODULE LIST",
                "MODULE LOAD /no/where.so",
                "MODULE UNLOAD nosuch",
                "MODULE UNLOAD a b",
                "MODULE NOSUCH",
                "MODULE",
                "COMMAND INFO MODULE|LIST MODULE|LOAD MODULE|UNLOAD MODULE|HELP",
            ];
            commands.map(|command| format!("{command}: {}", client.words(command)))
        });
        assert_eq!(theirs, ours, "redis-server's first");
    }
}
