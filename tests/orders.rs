//! Operators' orders at random over three servers: who follows whom, failovers, killed links, logs turned on
//! and off, snapshots, reloads, restarts; several of them in one tick, and in transactions, with writes
//! between. Nobody hangs or dies of it, and when one of them is made the primary all have the same data.
//!
//! Two of them may have been primaries at a time, so what is there at the end nobody promised; that it is the
//! same everywhere was. `ORDERS_SEED` repeats a run (as far as time allows), `ORDERS_STEPS` makes it longer.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::time::Duration;

use support::client::{self, Client};
use support::group::{assert_equal, await_that, info, start, write};
use support::random::{self, Random};
use support::server::{Program, Server};

/// How long an answer is waited for: who hands over holds its writers.
const PATIENCE: Duration = Duration::from_millis(400);
/// Steps between two times at which all is set right.
const STEPS_TOGETHER: usize = 20;

struct Orders {
    servers: Vec<Server>,
    random: Random,
}

/// One of them, or several in a transaction.
fn some_orders(random: &mut Random, program: Program, ports: &[u16]) -> Vec<String> {
    if random.chance(20) {
        let mut lines = vec!["MULTI".to_owned()];
        for _ in 0..=random.below(3) {
            lines.push(if random.chance(50) {
                some_write(random)
            } else {
                an_order(random, program, ports, true)
            });
        }
        lines.push("EXEC".to_owned());
        return lines;
    }
    vec![an_order(random, program, ports, false)]
}

fn some_write(random: &mut Random) -> String {
    let key = random.below(6);
    match random.below(6) {
        0 => format!("SET s:{key} {} PX {}", random.below(100), 1 + random.below(60)),
        1 => format!("LPUSH l:{key} a b"),
        2 => format!("SPOP u:{key} 1"),
        3 => format!("SADD u:{key} {} {}", random.below(9), random.below(9)),
        4 => format!("SELECT {}", random.below(3)),
        _ => format!("INCR n:{key}"),
    }
}

fn an_order(random: &mut Random, program: Program, ports: &[u16], queued: bool) -> String {
    let other = random.pick(ports);
    let ours = program == Program::Redstart;
    let yes = if random.chance(50) { "yes" } else { "no" };
    match random.below(19) {
        // A Redis that follows another in a transaction has what it wrote there, and its stream hasn't.
        0..=3 if ours || !queued => format!("REPLICAOF 127.0.0.1 {other}"),
        4 | 5 => "REPLICAOF NO ONE".to_owned(),
        6 => format!("FAILOVER TIMEOUT {}", 20 + random.below(200)),
        7 => {
            let force = if random.chance(30) { " FORCE" } else { "" };
            format!("FAILOVER TO 127.0.0.1 {other}{force} TIMEOUT {}", 20 + random.below(100))
        }
        8 => "FAILOVER ABORT".to_owned(),
        9 | 10 => {
            let kind = random.pick(&["replica", "replica", "master", "normal"]);
            format!("CLIENT KILL TYPE {kind}")
        }
        // A Redis that is told so in a transaction which goes on has a log without a file.
        11 if ours || !queued => format!("CONFIG SET appendonly {yes}"),
        12 => random.pick(&["BGSAVE", "BGSAVE SCHEDULE", "SAVE"]).to_owned(),
        13 => "BGREWRITEAOF".to_owned(),
        14 if ours => "DEBUG RELOAD".to_owned(),
        15 => format!("CONFIG SET repl-diskless-sync {yes}"),
        16 => {
            let load = random.pick(&["swapdb", "disabled", "on-empty-db"]);
            format!("CONFIG SET repl-diskless-load {load}")
        }
        17 => format!("CLIENT PAUSE {} {}", 1 + random.below(40), random.pick(&["WRITE", "ALL"])),
        18 => format!("WAIT {} 20", random.below(3)),
        _ => format!("CONFIG SET repl-backlog-size {}", random.pick(&["16kb", "1mb"])),
    }
}

impl Orders {
    fn start(programs: &[Program]) -> Self {
        let mut random = Random::new(random::seed_from_environment("ORDERS_SEED"));
        let start = |program: &Program| {
            let log = if random.chance(50) { "yes" } else { "no" };
            // A transfer that hangs would be waited for.
            let more = ["--appendonly", log, "--repl-timeout", "5", "--shutdown-timeout", "1"];
            start(*program, &more)
        };
        let servers = programs.iter().map(start).collect();
        Self { servers, random }
    }

    fn ports(&self, but: usize) -> Vec<u16> {
        let others = self.servers.iter().enumerate().filter(|(index, _)| *index != but);
        others.map(|(_, server)| server.port()).collect()
    }

    /// Several clients of a server send at the same time, while it is held: one tick takes it all.
    fn burst(&mut self, at: usize) {
        let (program, ports) = (self.servers[at].program(), self.ports(at));
        let connect = || Client::try_connect_to("127.0.0.1", self.servers[at].port(), PATIENCE);
        let count = 2 + self.random.below(3);
        let clients: Result<Vec<_>, _> = (0..count).map(|_| connect()).collect();
        let mut clients = clients.expect("it takes clients");
        let hold = client::encode(&client::argv("DEBUG SLEEP 0.01"));
        // Somebody may have killed it, or it is paused.
        let _ = clients[0].try_send_raw(&hold);
        let mut sent = vec![1];
        for client in &mut clients[1..] {
            let mut lines = Vec::new();
            for _ in 0..=self.random.below(4) {
                if self.random.chance(50) {
                    lines.push(some_write(&mut self.random));
                } else {
                    lines.extend(some_orders(&mut self.random, program, &ports));
                }
            }
            println!("{}: {}", self.servers[at].port(), lines.join("; "));
            let line = |line: &String| client::encode(&client::argv(line));
            let bytes: Vec<u8> = lines.iter().flat_map(line).collect();
            sent.push(if client.try_send_raw(&bytes).is_ok() { lines.len() } else { 0 });
        }
        for (client, count) in clients.iter_mut().zip(sent) {
            for _ in 0..count {
                if client.try_read().is_err() {
                    break;
                }
            }
        }
    }

    fn step(&mut self) {
        let at = self.random.below(self.servers.len());
        match self.random.below(20) {
            0 => {
                println!("{} is killed\n{}", self.servers[at].port(), self.servers[at].log());
                self.servers[at].kill();
                self.servers[at].restart();
            }
            1 => {
                let word = self.random.pick(&["SHUTDOWN", "SHUTDOWN SAVE", "SHUTDOWN NOSAVE"]);
                println!("{}: {word}\n{}", self.servers[at].port(), self.servers[at].log());
                let mut client = self.servers[at].connect();
                if client.try_call(&word.split(' ').collect::<Vec<_>>()).is_err() {
                    self.servers[at].await_end();
                    self.servers[at].restart();
                }
            }
            2..=7 => {
                let client = Client::try_connect_to("127.0.0.1", self.servers[at].port(), PATIENCE);
                let mut client = client.expect("it takes clients");
                let commands: Vec<_> =
                    (0..100).map(|_| support::group::command(&mut self.random)).collect();
                println!("{}: {} commands", self.servers[at].port(), commands.len());
                // It may be paused, or hand over.
                let _ = client.try_pipeline(&commands);
            }
            _ => self.burst(at),
        }
    }

    /// One of them becomes the primary, and the others follow it.
    fn set_right(&mut self) {
        let obeys = |server: &Server, line: &str| {
            let mut client = server.connect();
            await_that(&format!("{}: {line}", server.program().name()), || {
                client.words("FAILOVER ABORT");
                client.words("CLIENT UNPAUSE");
                client.words(line).text().starts_with("OK")
            });
        };
        let primary = self.random.below(self.servers.len());
        println!("{} becomes the primary", self.servers[primary].port());
        obeys(&self.servers[primary], "REPLICAOF NO ONE");
        let mut client = self.servers[primary].connect();
        write(&mut client, &mut self.random, 50);
        // With a key, so that nobody takes it for one that has lost its data.
        assert_eq!(client.words("SET there 1").text(), "OK");
        let line = format!("REPLICAOF 127.0.0.1 {}", self.servers[primary].port());
        let mut servers = vec![&self.servers[primary]];
        for (index, server) in self.servers.iter().enumerate() {
            if index != primary {
                obeys(server, &line);
                servers.push(server);
            }
        }
        // Behind a link that has failed a Redis waits for a second.
        for server in &servers[1..] {
            let mut client = server.connect();
            await_that("its link is up", || info(&mut client, "master_link_status") == "up");
        }
        assert_equal(&servers);
        for server in servers {
            let log = server.log();
            let bad = ["CRITICAL", "panicked", "REDIS BUG REPORT"];
            assert!(!bad.iter().any(|word| log.contains(word)), "{log}");
        }
    }
}

fn obey(programs: &[Program]) {
    let steps = random::from_environment("ORDERS_STEPS", 200) as usize;
    let mut orders = Orders::start(programs);
    for step in 1..=steps {
        orders.step();
        if step % STEPS_TOGETHER == 0 {
            orders.set_right();
        }
    }
}

#[test]
fn servers_of_ours_agree_after_any_orders() {
    obey(&[Program::Redstart; 3]);
}

#[test]
fn a_redis_between_ours_agrees_after_any_orders() {
    obey(&[Program::Redstart, Program::Redis, Program::Redstart]);
}

#[test]
fn a_valkey_between_ours_agrees_after_any_orders() {
    obey(&[Program::Redstart, Program::Valkey, Program::Redstart]);
}
