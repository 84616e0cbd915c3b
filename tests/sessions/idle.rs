//! The `timeout` directive: silent clients are closed, those that wait for something are not.

use std::time::{Duration, Instant};

use crate::support::client::{Client, Value, argv, encode};
use crate::support::random::{Random, seed_from_environment};
use crate::support::server::{Program, Server};

/// Clients of each kind.
const CLIENTS: usize = 12;
/// A second of `timeout`, as long again until it is looked at, and what a busy machine adds.
const PATIENCE: Duration = Duration::from_secs(30);

/// What clients say before they fall silent, none of which keeps them.
const SILENT: [&str; 10] = [
    "PING",
    "MULTI",
    "MULTI|BLPOP q 0|BLPOP q 0",
    "WATCH k",
    "CLIENT REPLY OFF|PING",
    "HELLO 3|CLIENT SETNAME n",
    "BLPOP q 0.01|PING",
    "SUBSCRIBE ch|UNSUBSCRIBE ch",
    "SUBSCRIBE ch|RESET",
    "RPUSH l a|BLPOP l 0|WAIT 0 0",
];

/// What keeps them: a blocking command without an end, and subscriptions.
const KEPT: [&str; 10] = [
    "BLPOP q 0|PING",
    "BRPOP q r 0|MULTI|PING|EXEC",
    "BLMOVE q m LEFT LEFT 0|BLPOP r 0",
    "BLMPOP 0 2 q r LEFT|GET k",
    "BZPOPMIN z 0|BZPOPMAX z 0|PING",
    "CLIENT REPLY OFF|BLPOP q 0",
    "CLIENT REPLY SKIP|BZPOPMIN z 0",
    "HELLO 3|BLPOP q 0",
    "SUBSCRIBE ch",
    "WAIT 1 0|PING",
];

/// A client that has said a line's commands.
fn speak(server: &Server, line: &str) -> (Client, i64) {
    let mut client = server.connect();
    let id = client.words("CLIENT ID").integer().expect("a client has a number");
    let bytes: Vec<u8> = line.split('|').flat_map(|command| encode(&argv(command))).collect();
    client.try_send_raw(&bytes).expect("the server reads");
    (client, id)
}

/// Everything up to the connection's end, which must come by itself.
fn read_all(client: &mut Client) -> Vec<Value> {
    std::iter::from_fn(|| client.try_read().ok()).map(nameless).collect()
}

fn nameless(value: Value) -> Value {
    let hello = value.elements().first() == Some(&Value::bulk("server"));
    if hello { Value::Simple(b"(hello)".to_vec()) } else { value }
}

/// What each client was told, after two generations of silent ones have been closed.
fn play(program: Program, seed: u64) -> Vec<String> {
    let mut random = Random::new(seed);
    let directives = ["--appendonly", "no", "--save", "", "--timeout", "1"];
    let server = Server::start_with(program, &directives);
    let mut kept: Vec<(&str, Client, i64)> = (0..CLIENTS)
        .map(|_| random.pick(&KEPT))
        .map(|line| {
            let (client, id) = speak(&server, line);
            (line, client, id)
        })
        .collect();
    let mut told = Vec::new();
    for _ in 0..2 {
        let silent: Vec<(&str, Client)> = (0..CLIENTS)
            .map(|_| random.pick(&SILENT))
            .map(|line| (line, speak(&server, line).0))
            .collect();
        for (line, mut client) in silent {
            told.push(format!("{line}: {:?}, closed", read_all(&mut client)));
        }
    }
    // Another connection each time: this one would be closed, too.
    let mut control = server.connect();
    for (line, client, id) in &mut kept {
        // Where the server has closed it, reading says so.
        let _ = client.try_send_raw(&[encode(&["RESET"]), encode(&["PING", "last"])].concat());
        let mut replies = Vec::new();
        let start = Instant::now();
        while replies.last() != Some(&Value::bulk("last")) {
            assert!(start.elapsed() < PATIENCE, "{line}: not answered: {replies:?}");
            control.words(&format!("CLIENT UNBLOCK {id}"));
            if client.has_answer() {
                let reply = client.try_read();
                let reply = reply.unwrap_or_else(|_| panic!("{line}: closed after {replies:?}"));
                replies.push(nameless(reply));
            }
        }
        told.push(format!("{line}: {replies:?}"));
    }
    told
}

#[test]
fn silent_clients_are_closed_and_waiting_ones_are_kept() {
    let seed = seed_from_environment("SESSION_SEED");
    let [theirs, ours] = [Program::Redis, Program::Redstart]
        .map(|program| std::thread::spawn(move || play(program, seed)))
        .map(|thread| thread.join().expect("both servers keep who waits"));
    for (theirs, ours) in theirs.iter().zip(&ours) {
        assert_eq!(theirs, ours, "seed {seed}");
    }
}
