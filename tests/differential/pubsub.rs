//! Random subscribing and publishing by a few clients on both servers: after every command each
//! client has been told the same.
//!
//! Where upstream has no order of its own (which pattern comes first, in which order UNSUBSCRIBE
//! without names ends subscriptions), none is asked for.

use std::fmt::Write as _;

use crate::support::client::{Client, Value, argv, quote};
use crate::support::random::{Random, from_environment, seed_from_environment};
use crate::support::server::{Program, Server};

/// One part in so many of `DIFF_COMMANDS`: every command takes several round trips.
const SHARE: u64 = 20;

/// Clients of a server; the last ones speak RESP3.
const CLIENTS: usize = 4;
const RESP2_CLIENTS: usize = 2;

const NAMES: &[&str] = &["a", "b", "ab", "news.1", "news.2", "*", "a?", "", "[ab]"];
const PATTERNS: &[&str] = &["*", "a*", "?", "[ab]", "news.*", "nothing", "\\*", "a", "**"];

struct Side {
    clients: Vec<Client>,
    /// It ends with the test.
    _server: Server,
}

impl Side {
    fn new(program: Program) -> Self {
        let server = Server::start(program);
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.connect()).collect();
        for client in &mut clients[RESP2_CLIENTS..] {
            client.call(&["HELLO", "3"]);
        }
        Self { clients, _server: server }
    }

    /// Sends a command, where there is one, and gives all that the client is told until now.
    fn told(&mut self, who: usize, command: Option<&[Vec<u8>]>, marker: &str) -> Vec<Value> {
        let client = &mut self.clients[who];
        let mut bytes = command.map(crate::support::client::encode).unwrap_or_default();
        bytes.extend(crate::support::client::encode(&["PING", marker]));
        client.try_send_raw(&bytes).expect("the server reads");
        let mut told = Vec::new();
        loop {
            let value = client.next_push().expect("a reply");
            let is_marker = |value: &Value| value.bytes() == Some(marker.as_bytes());
            if is_marker(&value) || value.elements().last().is_some_and(is_marker) {
                return told;
            }
            told.push(value);
        }
    }
}

fn command(random: &mut Random) -> Vec<Vec<u8>> {
    let word = random.pick(&[
        "SUBSCRIBE",
        "SUBSCRIBE",
        "PSUBSCRIBE",
        "PSUBSCRIBE",
        "SSUBSCRIBE",
        "UNSUBSCRIBE",
        "PUNSUBSCRIBE",
        "SUNSUBSCRIBE",
        "PUBLISH",
        "PUBLISH",
        "PUBLISH",
        "SPUBLISH",
        "other",
    ]);
    let names = if word.starts_with('P') && word != "PUBLISH" { PATTERNS } else { NAMES };
    let mut words = vec![word.as_bytes().to_vec()];
    let mut push = |count: usize, random: &mut Random| {
        words.extend((0..count).map(|_| random.pick(names).as_bytes().to_vec()));
    };
    match word {
        "PUBLISH" | "SPUBLISH" => {
            push(1, random);
            words.push(random.pick(&["hello", "", "x\r\ny"]).into());
        }
        "other" => {
            return argv(random.pick(&[
                "GET x",
                "PING",
                "PING y",
                "ECHO x",
                "RESET",
                "HELLO",
                "MULTI x",
                "PUBSUB CHANNELS",
                "PUBSUB CHANNELS a*",
                "PUBSUB SHARDCHANNELS",
                "PUBSUB NUMSUB a b news.1 nothing",
                "PUBSUB SHARDNUMSUB a b",
                "PUBSUB NUMPAT",
                "PUBSUB bogus",
                "SUBSCRIBE",
                "PUBLISH a",
                "CLIENT LIST TYPE bogus",
            ]));
        }
        _ => {
            let least = usize::from(word.ends_with("SUBSCRIBE") && !word.contains("UNSUB"));
            let count = random.below(4).max(least);
            push(count, random);
        }
    }
    words
}

/// What was told, without the order that upstream doesn't promise.
fn settle(told: &mut Vec<Value>, command: &[Vec<u8>]) {
    match (command[0].as_slice(), command.len()) {
        (b"PUBLISH" | b"SPUBLISH", _) => told.sort(),
        (b"UNSUBSCRIBE" | b"PUNSUBSCRIBE" | b"SUNSUBSCRIBE", 1) => {
            let mut names: Vec<Value> = told.iter().map(|one| one.elements()[1].clone()).collect();
            names.sort();
            for (one, name) in told.iter_mut().zip(names) {
                if let Value::Array(words) | Value::Push(words) = one {
                    words[1] = name;
                }
            }
        }
        (b"PUBSUB", _) => {
            for one in told {
                if let Value::Array(words) = one
                    && command[1].ends_with(b"CHANNELS")
                {
                    words.sort();
                }
            }
        }
        // Version and number of the connection are the process's own.
        (b"HELLO", _) => told.retain(Value::is_error),
        _ => {}
    }
}

#[test]
fn random_subscribers_are_told_the_same() {
    let total = from_environment("DIFF_COMMANDS", 200_000) / SHARE;
    let seed = seed_from_environment("DIFF_SEED");
    let mut random = Random::new(seed);
    let (mut theirs, mut ours) = (Side::new(Program::Redis), Side::new(Program::Redstart));
    let mut messages = 0;
    let mut story = Vec::new();
    for index in 0..total {
        let speaker = random.below(CLIENTS);
        let command = command(&mut random);
        story.push(format!("c{speaker}: {}", quote(&command)));
        let marker = format!("marker {index}");
        let others = (0..CLIENTS).filter(|who| *who != speaker);
        for who in std::iter::once(speaker).chain(others) {
            let sent = (who == speaker).then_some(command.as_slice());
            let mut their_words = theirs.told(who, sent, &marker);
            let mut our_words = ours.told(who, sent, &marker);
            settle(&mut their_words, &command);
            settle(&mut our_words, &command);
            messages += their_words.iter().filter(|told| told.elements().len() > 2).count();
            if their_words != our_words {
                let before = story.len().saturating_sub(30);
                let mut report = story[before..].join("\n");
                let _ = write!(report, "\nclient {who} was told\n  theirs {their_words:?}");
                let _ = write!(report, "\n  ours   {our_words:?}");
                panic!("different with DIFF_SEED={seed} at #{index}:\n{report}");
            }
        }
    }
    println!("{messages} messages and confirmations");
    assert!(total == 0 || messages > 0, "nobody was told anything");
}
