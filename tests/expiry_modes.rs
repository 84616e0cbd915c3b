//! Keys whose time comes while the data must not change (CLIENT PAUSE): they read as absent and stay,
//! and go when the pause is over. Then everything at random, and what the log makes of it.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::time::{Duration, Instant};

use support::client::{Client, Value, argv};
use support::random::Random;
use support::server::{Program, Server};

/// How long to wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
        std::thread::yield_now();
    }
}

fn info(client: &mut Client, field: &str) -> i64 {
    let text = client.words("INFO everything").text();
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {field}")).trim().parse().expect("a number")
}

#[test]
fn a_pause_hides_what_has_expired_and_keeps_it() {
    let mut told = Vec::new();
    for program in [Program::Redis, Program::Redstart] {
        let server = Server::start_with(
            program,
            &["--appendonly", "yes", "--save", "", "--notify-keyspace-events", "Exe"],
        );
        let (mut client, mut listener) = (server.connect(), server.connect());
        listener.words("SUBSCRIBE __keyevent@0__:expired");
        client.words("SET here 1");
        client.words("SET gone 1");
        client.words("RPUSH list 1 2");
        // The pause begins before they can go.
        client.pipeline(&[
            argv("PEXPIRE gone 20"),
            argv("PEXPIRE list 20"),
            argv("CLIENT PAUSE 100000 WRITE"),
        ]);
        await_that("the keys to expire", || {
            client.words("EXISTS gone").integer() == Some(0)
                && client.words("EXISTS list").integer() == Some(0)
        });
        let mut replies = Vec::new();
        for line in [
            "GET gone",
            "MGET gone here",
            "EXISTS gone here list",
            "TTL gone",
            "PTTL list",
            "TYPE gone",
            "TYPE list",
            "STRLEN gone",
            "LLEN list",
            "LRANGE list 0 -1",
            "TOUCH gone here",
            "OBJECT ENCODING gone",
            "DUMP gone",
            "KEYS *",
            "SCAN 0 COUNT 1000",
            "RANDOMKEY",
            "DBSIZE",
            "EXPIRETIME gone",
            "MULTI",
            "GET gone",
            "DBSIZE",
            "EXEC",
        ] {
            replies.push((line, client.words(line)));
        }
        for field in ["expired_keys", "evicted_keys"] {
            replies.push((field, Value::Integer(info(&mut client, field))));
        }
        assert!(!listener.has_answer(), "{program:?}: nothing expires yet");
        client.words("CLIENT UNPAUSE");
        let mut events: Vec<String> =
            (0..2).map(|_| listener.try_read().expect("a message").elements()[2].text()).collect();
        events.sort();
        assert_eq!(events, ["gone", "list"], "{program:?}");
        replies.push(("after it", client.words("DBSIZE")));
        told.push(replies);
    }
    assert_eq!(told[0], told[1]);
}

/// What one client may send; short and long times, and commands that meet keys in every way.
fn command(random: &mut Random) -> Vec<Vec<u8>> {
    let key = format!("k{}", random.below(40));
    let hash = format!("h{}", random.below(10));
    let millis = if random.chance(70) { random.between(1, 40) } else { 1_000_000 };
    argv(&match random.below(16) {
        0..=2 => format!("SET {key} {} PX {millis}", "v".repeat(random.below(300))),
        3 => format!("SET {key} {}", "v".repeat(random.below(3000))),
        4 => format!("PEXPIRE {key} {millis}"),
        5 => format!("APPEND {key} x"),
        6 => format!("RENAME {key} k{}", random.below(40)),
        7 => format!("COPY {key} k{} REPLACE", random.below(40)),
        8 => format!("GETEX {key} PX {millis}"),
        9 => format!("DEL {key}"),
        10 => format!("HSETEX {hash} PX {millis} FIELDS 2 a 1 b 2"),
        11 => format!("HSET {hash} c 1"),
        12 => format!("HGETALL {hash}"),
        13 => "RANDOMKEY".to_owned(),
        14 => format!("EXISTS {key} {hash}"),
        _ => format!("GET {key}"),
    })
}

/// Expiry, pauses, eviction and transactions at random: what is there at the end is what the log says.
#[test]
fn the_log_says_what_went() {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(14);
    println!("SEED={seed}");
    let mut random = Random::new(seed);
    for round in 0..4 {
        let mut server = Server::start_with(
            Program::Redstart,
            &["--appendonly", "yes", "--save", "", "--enable-debug-command", "yes"],
        );
        let (mut client, mut admin) = (server.connect(), server.connect());
        let (mut evicted, mut hidden) = (0, 0);
        for _ in 0..150 {
            let mut batch = Vec::new();
            while batch.len() < 30 {
                if random.chance(20) {
                    batch.push(argv("MULTI"));
                    batch.extend((0..random.below(6)).map(|_| command(&mut random)));
                    batch.push(argv(if random.chance(90) { "EXEC" } else { "DISCARD" }));
                } else {
                    batch.push(command(&mut random));
                }
            }
            let bytes: Vec<u8> =
                batch.iter().flat_map(|argv| support::client::encode(argv)).collect();
            client.try_send_raw(&bytes).expect("a server that reads");
            match random.below(6) {
                0 => {
                    admin.words("CLIENT PAUSE 100000 WRITE");
                    let all = admin.words("DBSIZE").integer();
                    let seen = admin.words("KEYS *").elements().len() as i64;
                    hidden += all.expect("a number") - seen;
                    // Long enough for some to expire.
                    let until = Instant::now() + Duration::from_millis(random.below(20) as u64);
                    while Instant::now() < until {
                        let before = admin.words("DBSIZE");
                        assert_eq!(admin.words("DBSIZE"), before, "the data stand still");
                    }
                    admin.words("CLIENT UNPAUSE");
                }
                1 => {
                    let policy = random.pick(&["allkeys-lru", "volatile-ttl", "allkeys-random"]);
                    let limit = info(&mut admin, "used_memory") - 2000;
                    admin.words(&format!("CONFIG SET maxmemory-policy {policy} maxmemory {limit}"));
                }
                2 => {
                    admin.words("CONFIG SET maxmemory 0");
                }
                _ => {}
            }
            for argv in &batch {
                client.try_read().unwrap_or_else(|error| panic!("{argv:?}: {error}"));
            }
            evicted = evicted.max(info(&mut admin, "evicted_keys"));
        }
        admin.words("CONFIG SET maxmemory 0");
        assert!(info(&mut admin, "expired_keys") > 0 && evicted > 0, "round {round}");
        println!("round {round}: {evicted} evicted, {hidden} were hidden");
        // What has a short time left goes first: a digest of the past is no digest.
        await_that("short times to be over", || {
            (0..40).all(|number| {
                let left = admin.words(&format!("PTTL k{number}")).integer().expect("a number");
                !(0..=10_000).contains(&left)
            }) && (0..10).all(|number| {
                let times = admin.words(&format!("HPTTL h{number} FIELDS 2 a b"));
                times.elements().iter().all(|left| {
                    let left = left.integer().expect("a number");
                    !(0..=10_000).contains(&left)
                })
            })
        });
        let digest = admin.words("DEBUG DIGEST").text();
        let size = admin.words("DBSIZE");
        server.kill();
        server.restart();
        let mut admin = server.connect();
        assert_eq!(admin.words("DBSIZE"), size, "round {round}");
        assert_eq!(admin.words("DEBUG DIGEST").text(), digest, "round {round}");
    }
}
