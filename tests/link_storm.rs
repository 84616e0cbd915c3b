//! Links at random against the real redis-server: several clients in one tick (DEBUG SLEEP holds a server
//! while they send), primaries that change, links that are cut, pauses, WAIT, blocked clients and
//! transactions, all from one printed seed. At the end everybody has the same data.
//!
//! `LINK_STORM_SEED` repeats a run, `LINK_STORM_STEPS` makes it longer.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use support::client::{self, Client, Value};
use support::group::{assert_equal, await_that, info, start, write};
use support::random::{self, Random};
use support::server::{Program, Server};

/// Clients at each server.
const CLIENTS: usize = 4;

struct Storm {
    servers: Vec<Server>,
    clients: Vec<Vec<Client>>,
    /// Whom each follows; the primary nobody.
    follows: Vec<Option<usize>>,
    random: Random,
}

impl Storm {
    fn start(programs: &[Program]) -> Self {
        let random = Random::new(random::seed_from_environment("LINK_STORM_SEED"));
        // A small backlog, so that some links need a full sync.
        let more = ["--repl-backlog-size", "100kb", "--repl-timeout", "20"];
        let servers: Vec<Server> = programs.iter().map(|one| start(*one, &more)).collect();
        let connect = |server: &Server| (0..CLIENTS).map(|_| server.connect()).collect();
        let clients = servers.iter().map(connect).collect();
        let follows = (0..servers.len()).map(|index| (index > 0).then_some(0)).collect();
        let mut storm = Self { servers, clients, follows, random };
        for index in 1..storm.servers.len() {
            storm.follow(index, 0);
        }
        storm
    }

    fn primary(&self) -> usize {
        self.follows.iter().position(Option::is_none).expect("somebody is the primary")
    }

    fn any_replica(&mut self) -> usize {
        let primary = self.primary();
        let at = self.random.below(self.servers.len() - 1);
        at + usize::from(at >= primary)
    }

    /// Whether a server is behind another, directly or not.
    fn is_behind(&self, mut index: usize, other: usize) -> bool {
        while let Some(next) = self.follows[index] {
            if next == other {
                return true;
            }
            index = next;
        }
        false
    }

    fn follow(&mut self, index: usize, other: usize) {
        self.follows[index] = Some(other);
        let line = format!("REPLICAOF 127.0.0.1 {}", self.servers[other].port());
        let answer = self.order(index, &line);
        assert!(answer.starts_with("OK") || answer.starts_with("LOADING"), "{answer}");
        if answer.starts_with("LOADING") {
            let client = &mut self.clients[index][0];
            await_that("it obeys", || client.words(&line).text().starts_with("OK"));
        }
    }

    fn order(&mut self, index: usize, line: &str) -> String {
        self.clients[index][0].words(line).text()
    }

    /// Several clients of a server send at the same time, while it is held: one tick takes it all.
    fn burst(&mut self, index: usize) {
        let held = &mut self.clients[index][0];
        held.try_send_raw(&client::encode(&client::argv("DEBUG SLEEP 0.02"))).expect("sent");
        let mut sent = Vec::new();
        for at in 1..CLIENTS {
            let mut lines = Vec::new();
            for _ in 0..=self.random.below(6) {
                lines.extend(some_lines(&mut self.random));
            }
            let bytes: Vec<u8> =
                lines.iter().flat_map(|line| client::encode(&client::argv(line))).collect();
            self.clients[index][at].try_send_raw(&bytes).expect("sent");
            sent.push((at, lines.len()));
        }
        self.clients[index][0].try_read().expect("it wakes");
        for (at, count) in sent {
            for _ in 0..count {
                self.clients[index][at].try_read().expect("an answer");
            }
        }
    }

    fn step(&mut self) {
        let primary = self.primary();
        match self.random.below(20) {
            0..=5 | 17 => self.burst(primary),
            6 | 7 => {
                let (clients, random) = (&mut self.clients[primary], &mut self.random);
                write(&mut clients[1], random, 300);
            }
            8 => {
                let victim = self.random.below(self.servers.len());
                self.order(victim, "CLIENT KILL TYPE replica");
            }
            9 => {
                let replica = self.any_replica();
                self.order(replica, "CLIENT KILL TYPE master");
            }
            10 => {
                let mode = if self.random.chance(50) { "WRITE" } else { "ALL" };
                self.order(primary, &format!("CLIENT PAUSE 30 {mode}"));
                self.burst(primary);
            }
            11 => {
                let count = self.random.below(3);
                self.order(primary, &format!("WAIT {count} 30"));
            }
            12 => self.blocked(primary),
            13 | 14 => {
                // Behind any other that isn't behind it.
                let replica = self.any_replica();
                let other = self.random.below(self.servers.len());
                if other != replica && !self.is_behind(other, replica) {
                    self.follow(replica, other);
                }
            }
            15 => self.change_primary(),
            16 => {
                let replica = self.any_replica();
                let client = &mut self.clients[replica][1];
                let answer = client.words("SET refused 1").text();
                let refused = ["READONLY", "LOADING", "MASTERDOWN"];
                assert!(refused.iter().any(|word| answer.starts_with(word)), "{answer}");
            }
            _ => {
                let replica = self.any_replica();
                self.clients[replica][1].words("DEBUG SLEEP 0.01");
            }
        }
    }

    /// A client waits for a key; another serves it, or its time passes.
    fn blocked(&mut self, primary: usize) {
        let clients = &mut self.clients[primary];
        let line = client::encode(&client::argv("BLPOP l:1 waited 0.05"));
        clients[2].try_send_raw(&line).expect("sent");
        if self.random.chance(60) {
            clients[1].words("RPUSH waited a b");
        }
        clients[2].try_read().expect("an answer");
    }

    /// A replica that has everything takes over: everybody follows it.
    fn change_primary(&mut self) {
        let (old, new) = (self.primary(), self.any_replica());
        self.settle();
        assert_eq!(self.order(new, "REPLICAOF NO ONE"), "OK");
        self.follows[new] = None;
        for index in 0..self.servers.len() {
            if index != new && (index == old || self.random.chance(70)) {
                self.follow(index, new);
            }
        }
    }

    /// Waits until everybody has everything.
    fn settle(&mut self) {
        let primary = self.primary();
        for (index, server) in self.servers.iter().enumerate() {
            let mut client = server.connect();
            await_that("its link is up", || {
                index == primary || info(&mut client, "master_link_status") == "up"
            });
        }
        let mut servers = vec![&self.servers[primary]];
        servers.extend(
            self.servers.iter().enumerate().filter(|one| one.0 != primary).map(|one| one.1),
        );
        assert_equal(&servers);
    }
}

/// A line, or those of a transaction.
fn some_lines(random: &mut Random) -> Vec<String> {
    let key = random.below(8);
    let one = match random.below(12) {
        0 => format!("SET s:{key} {} PX {}", random.below(100), 1 + random.below(60)),
        1 => format!("INCR n:{key}"),
        2 => format!("LPUSH l:{key} a b c"),
        3 => format!("RPOP l:{key} 2"),
        4 => format!("SPOP u:{key} 1"),
        5 => format!("SADD u:{key} {} {}", random.below(9), random.below(9)),
        6 => format!("PEXPIRE n:{key} {}", 1 + random.below(60)),
        // No such command: it refuses the transaction that it is in.
        7 => format!("NOSUCH {key}"),
        8 => format!("GETEX s:{key} PX 20"),
        9 => format!("XADD x:{key} MAXLEN 5 * f v"),
        10 => format!("ZADD z:{key} {} m", random.below(9)),
        _ => format!("HINCRBY h:{key} f 1"),
    };
    if random.chance(15) {
        vec!["MULTI".into(), one, format!("INCR n:{key}"), format!("GET s:{key}"), "EXEC".into()]
    } else if random.chance(10) {
        vec![format!("SELECT {}", random.below(3)), one]
    } else {
        vec![one]
    }
}

fn storm(programs: &[Program]) {
    let steps = std::env::var("LINK_STORM_STEPS").ok().and_then(|text| text.parse().ok());
    let mut storm = Storm::start(programs);
    for step in 0..steps.unwrap_or(150) {
        storm.step();
        if step % 50 == 49 {
            storm.settle();
        }
    }
    storm.settle();
    let primary = storm.primary();
    let mut client = storm.servers[primary].connect();
    assert_ne!(client.words("DBSIZE"), Value::Integer(0));
}

#[test]
fn around_a_redis() {
    storm(&[Program::Redis, Program::Redstart, Program::Redstart]);
}

#[test]
fn around_ours() {
    storm(&[Program::Redstart, Program::Redis, Program::Redstart, Program::Redstart]);
}

#[test]
fn with_valkey() {
    storm(&[Program::Redstart, Program::Valkey, Program::Redstart]);
}
