//! Keyspace events: one listener on each server hears everything while random commands of all
//! families run, and hears the same events in the same order after each of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::exceptions;
use crate::generate::{FAMILIES, Generator, Step, Words};
use crate::support::client::{Client, Value, quote};
use crate::support::random::{from_environment, seed_from_environment};
use crate::support::server::{Program, Server};

/// One part in so many of `DIFF_COMMANDS`: every command takes several round trips.
const SHARE: u64 = 20;

/// Different commands with differences after which a run ends early.
const DIFFERENCES_MAX: usize = 40;

/// Commands that are told of a difference's way there.
const STORY: usize = 12;

/// How long a key has that is to expire while both servers wait: enough to run a command in.
const SOON_MS: u64 = 20;

/// Commands that meet expired keys in an order, or at a rate, that is each server's own; and what
/// names a consumer, which makes one even if it gets nothing only since 7.2.
const LEFT_OUT: &[&[u8]] = &[b"SCAN", b"RANDOMKEY", b"XREADGROUP", b"XCLAIM", b"XAUTOCLAIM"];

/// A server with its three connections.
struct Side {
    server: Server,
    driver: Client,
    marker: Client,
    listener: Client,
}

impl Side {
    fn new(program: Program) -> Self {
        let server = Server::start_with(
            program,
            &[
                "--appendonly",
                "no",
                "--save",
                "",
                "--notify-keyspace-events",
                "KEAmn",
                "--enable-debug-command",
                "yes",
            ],
        );
        let (driver, marker) = (server.connect(), server.connect());
        let mut listener = server.connect();
        listener.call(&["PSUBSCRIBE", "__key*__:*"]);
        listener.call(&["SUBSCRIBE", "marker"]);
        let mut side = Self { server, driver, marker, listener };
        // Only commands shall find keys whose time has passed.
        side.marker.call(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
        side
    }

    fn start_afresh(&mut self) {
        self.driver = self.server.connect();
        self.marker.call(&["FLUSHALL"]);
        self.events();
    }

    /// Waits until so many clients wait.
    fn await_blocked(&mut self, count: usize) {
        let wanted = format!("blocked_clients:{count}\r");
        while !self.marker.words("INFO clients").text().contains(&wanted) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What the listener has heard since the last call: channel and payload.
    fn events(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.marker.call(&["PUBLISH", "marker", "here"]);
        let mut events = Vec::new();
        loop {
            let heard = self.listener.try_read().expect("a message").elements();
            let words: Vec<&[u8]> = heard.iter().filter_map(Value::bytes).collect();
            match words.as_slice() {
                [b"pmessage", _, channel, payload] => {
                    events.push((channel.to_vec(), payload.to_vec()));
                }
                [b"message", b"marker", _] => return events,
                other => panic!("not a message: {other:?}"),
            }
        }
    }

    fn run(&mut self, step: &Step) -> (Value, Vec<(Vec<u8>, Vec<u8>)>) {
        let reply = self.driver.try_call(&step.argv);
        let reply = reply.unwrap_or_else(|error| {
            panic!("{} to {}: {error}", self.server.program().name(), quote(&step.argv))
        });
        (reply, self.events())
    }
}

fn show(events: &[(Vec<u8>, Vec<u8>)]) -> String {
    let mut text = String::new();
    for (channel, payload) in events {
        let (channel, payload) = (channel.escape_ascii(), payload.escape_ascii());
        let line = format!("{channel}={payload}");
        // A String takes whatever is written to it.
        let _ = write!(text, " {}", line.chars().take(60).collect::<String>());
    }
    text
}

/// Whether a SET gives a key a time that has passed. 7.0 keeps such a key until somebody looks;
/// here, as in later versions, it is never there.
fn sets_what_is_over(argv: &[Vec<u8>]) -> bool {
    let is_moment = |word: &Vec<u8>| word.len() == 4 && word.to_ascii_uppercase().ends_with(b"XAT");
    argv[0].eq_ignore_ascii_case(b"SET") && argv.iter().any(is_moment)
}

/// Events with every end of a key told alike. A command that stores nothing removes what it would
/// have replaced; where that had expired already, upstream tells of `del`, we of `expired`.
fn ends(events: &[(Vec<u8>, Vec<u8>)]) -> Vec<String> {
    let events = events
        .iter()
        .map(|(channel, payload)| format!("{}={}", channel.escape_ascii(), payload.escape_ascii()));
    events
        .map(|event| event.replace("__:expired=", "__:del=").replace("=expired", "=del"))
        .collect()
}

/// Which parts of a reply are errors.
fn errors(reply: &Value) -> Vec<bool> {
    match reply {
        Value::Array(replies) => replies.iter().flat_map(errors).collect(),
        reply => vec![reply.is_error()],
    }
}

#[test]
fn random_commands_cause_equal_events() {
    let total = from_environment("DIFF_COMMANDS", 200_000) / SHARE;
    let seed = seed_from_environment("DIFF_SEED");
    let mut generator = Generator::new(seed, FAMILIES);
    let (mut theirs, mut ours) = (Side::new(Program::Redis), Side::new(Program::Redstart));
    let mut found: BTreeMap<String, (String, usize)> = BTreeMap::new();
    let mut story: Vec<String> = Vec::new();
    let (mut heard, mut queued) = (0, false);
    for index in 0..total {
        // Now and then a key whose time passes while both wait.
        let passes = generator.random.chance(2);
        let step = if passes {
            Words::new("PEXPIRE").and(generator.key()).and(SOON_MS.to_string()).exact()
        } else {
            generator.step()
        };
        let name = step.argv[0].to_ascii_uppercase();
        // SORT looks keys up in the order of a set's members, which each server has for itself.
        let sorts = name.starts_with(b"SORT");
        if sorts || LEFT_OUT.contains(&name.as_slice()) || sets_what_is_over(&step.argv) {
            continue;
        }
        let (their_reply, their_events) = theirs.run(&step);
        let (our_reply, our_events) = ours.run(&step);
        heard += their_events.len();
        queued |= passes && their_reply.text() == "QUEUED";
        if passes || (queued && name == b"EXEC") {
            std::thread::sleep(Duration::from_millis(SOON_MS + 5));
            queued &= name != b"EXEC";
        }
        if name == b"DUMP"
            && let Value::Bulk(payload) = &their_reply
        {
            generator.payloads.truncate(32);
            generator.payloads.insert(0, payload.clone());
        }
        let mut line: String = quote(&step.argv).chars().take(200).collect();
        let _ = write!(line, " -> {their_reply}");
        story.push(line.chars().take(300).collect());
        if their_events == our_events {
            continue;
        }
        // What follows from different replies is the other test's business.
        let explained =
            exceptions::reason(Program::Redis, &step.argv, &their_reply, &our_reply).is_some();
        if explained
            || errors(&their_reply) != errors(&our_reply)
            || ends(&their_events) == ends(&our_events)
        {
            theirs.start_afresh();
            ours.start_afresh();
            continue;
        }
        let before = story.len().saturating_sub(STORY);
        let text = format!(
            "#{index}\n    {}\n  theirs {}\n  ours   {}\n  our reply {}\n",
            story[before..].join("\n    "),
            show(&their_events),
            show(&our_events),
            our_reply.to_string().chars().take(200).collect::<String>(),
        );
        let entry = found.entry(String::from_utf8_lossy(&name).into_owned()).or_insert((text, 0));
        entry.1 += 1;
        if found.len() >= DIFFERENCES_MAX {
            break;
        }
        theirs.start_afresh();
        ours.start_afresh();
        story.clear();
    }
    println!("{heard} events heard");
    assert!(heard > 0, "nothing was heard");
    let mut report = String::new();
    for (kind, (text, count)) in &found {
        let _ = writeln!(report, "=== {kind}: {count} differences, the first:\n{text}");
    }
    println!("{report}");
    let kinds: Vec<String> =
        found.iter().map(|(kind, found)| format!("{kind} x{}", found.1)).collect();
    assert!(found.is_empty(), "differences with DIFF_SEED={seed}: {}", kinds.join(", "));
}

/// What clients wait in, and what wakes them.
const WOKEN: &[(&[&str], &[&str])] = &[
    (&["BLPOP l 0"], &["RPUSH l a"]),
    (&["BRPOP x l 0"], &["LPUSH l a b"]),
    (&["BLMOVE s d LEFT RIGHT 0"], &["RPUSH s a b"]),
    (&["BLMOVE s d LEFT RIGHT 0"], &["RPUSH s a"]),
    (&["BRPOPLPUSH s d 0"], &["RPUSH s a"]),
    (&["BLMPOP 0 2 a b LEFT COUNT 2"], &["RPUSH b 1 2 3"]),
    (&["BLMPOP 0 1 b RIGHT COUNT 5"], &["RPUSH b 1 2 3"]),
    (&["BLMOVE a b LEFT LEFT 0", "BLPOP b 0"], &["RPUSH a x"]),
    (&["BLPOP l 0", "BLPOP l 0"], &["RPUSH l a b"]),
    (&["BLPOP l 0"], &["RPUSH z a", "RENAME z l"]),
    (&["BLPOP l 0", "BLPOP k 0"], &["MULTI", "RPUSH l a", "RPUSH k b", "EXEC"]),
    (&["BLPOP l 0"], &["MULTI", "RPUSH l a", "DEL l", "SET x 1", "RPUSH l b", "EXEC"]),
];

#[test]
fn woken_clients_cause_equal_events() {
    let (mut theirs, mut ours) = (Side::new(Program::Redis), Side::new(Program::Redstart));
    for (waits, wakes) in WOKEN {
        let heard = [&mut theirs, &mut ours].map(|side| {
            side.start_afresh();
            let waiting: Vec<Client> = waits
                .iter()
                .enumerate()
                .map(|(number, line)| {
                    let mut client = side.server.connect();
                    client.try_send_raw(format!("{line}\r\n").as_bytes()).expect("sent");
                    side.await_blocked(number + 1);
                    client
                })
                .collect();
            for line in *wakes {
                side.driver.words(line);
            }
            let events = side.events();
            drop(waiting);
            side.await_blocked(0);
            events
        });
        assert_eq!(show(&heard[0]), show(&heard[1]), "theirs and ours after {waits:?}, {wakes:?}");
        assert!(!heard[0].is_empty(), "{wakes:?} causes events");
    }
}
