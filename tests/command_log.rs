//! SLOWLOG, COMMANDLOG and LATENCY beside the real Valkey: random clients that meet in one tick, from a
//! printed seed (`COMMAND_LOG_SEED`, `COMMAND_LOG_ROUNDS`).
//!
//! A step is played on one server after the other: clients send a pipeline each while the server is held
//! asleep. Then each list's entries are compared client by client, since nothing says which client is
//! served first: words as they are cut and hidden, names, sizes in bytes; and its length. Every command
//! counts as slow. Clients work on keys of their own.
//!
//! Left out, since they differ on purpose: wrong commands with passwords, which Redstart hides as well, and
//! sizes within MULTI and EXEC (see redis-compat.md, COMMANDLOG GET).

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use support::client::{Client, Value, encode};
use support::random::{Random, from_environment, seed_from_environment};
use support::server::{Program, Server};

const CLIENTS: usize = 4;
const STEPS: usize = 25;
const KINDS: [&str; 3] = ["slow", "large-request", "large-reply"];

type Command = Vec<String>;

#[derive(Debug)]
enum Step {
    /// These clients send at once.
    Act(Vec<(usize, Vec<Command>)>),
    /// A client waits, and something comes, or its time is over.
    Wait(usize, Command, Option<Command>),
    /// The empty lists' lengths, and what one client does then.
    Bound(usize, usize, Vec<Command>),
    /// A list is emptied.
    Reset(&'static str),
}

fn words(line: &str) -> Command {
    line.split(' ').map(str::to_owned).collect()
}

struct Maker {
    random: Random,
}

impl Maker {
    fn value(&mut self) -> String {
        let bytes = self.random.pick(&[1, 10, 127, 128, 129, 150, 300]);
        "v".repeat(bytes)
    }

    /// A command on a client's own keys.
    fn plain(&mut self, client: usize) -> Command {
        let (string, list) = (format!("c{client}:s"), format!("c{client}:l"));
        match self.random.below(12) {
            0..=1 => vec!["SET".to_owned(), string, self.value()],
            2 => vec!["GET".to_owned(), string],
            3 => vec!["append".to_owned(), string, self.value()],
            4 => {
                let mut push = vec!["RPUSH".to_owned(), list];
                let count = self.random.pick(&[1, 5, 29, 30, 31, 40]);
                push.extend((0..count).map(|_| self.value()));
                push
            }
            5 => vec!["LRANGE".to_owned(), list, "0".to_owned(), "-1".to_owned()],
            6 => vec!["LPOP".to_owned(), list, "30".to_owned()],
            7 => vec!["INCR".to_owned(), list],
            8 => vec!["GET".to_owned(), list],
            9 => words("PING"),
            10 => vec!["ECHO".to_owned(), self.value()],
            _ => vec!["SET".to_owned(), string, self.value(), "EX".to_owned(), "0".to_owned()],
        }
    }

    fn script(&mut self, client: usize) -> Command {
        let key = format!("c{client}:s");
        let body = self.random.pick(&[
            "return redis.call('set',KEYS[1],ARGV[1])",
            "redis.call('set',KEYS[1],ARGV[1]) return redis.call('get',KEYS[1])",
            "return redis.pcall('incr',KEYS[1])",
            "redis.call('set',KEYS[1],ARGV[1]) return redis.call('lpush',KEYS[1],'x')",
            "return redis.call('get')",
            "return redis.call('mget',KEYS[1],KEYS[1],KEYS[1])",
            "this isn't Lua",
        ]);
        let command = self.random.pick(&["EVAL", "eval"]).to_owned();
        vec![command, body.to_owned(), "1".to_owned(), key, self.value()]
    }

    fn secret(&mut self) -> Command {
        words(self.random.pick(&[
            "AUTH password",
            "AUTH somebody password",
            "HELLO 2 AUTH somebody password",
            "CONFIG SET requirepass ",
            "CONFIG SET masterauth ",
            "CONFIG SET slowlog-log-slower-than 0",
            "CONFIG SET nothing password",
        ]))
    }

    fn commands(&mut self, client: usize) -> Vec<Command> {
        let mut all = Vec::new();
        for _ in 0..=self.random.below(6) {
            match self.random.below(20) {
                0..=11 => all.push(self.plain(client)),
                12..=13 => all.push(self.script(client)),
                14 => all.push(self.secret()),
                15 => all.push(vec![
                    "CLIENT".to_owned(),
                    "SETNAME".to_owned(),
                    format!("c{client}{}", self.random.pick(&["", "a", "b"])),
                ]),
                16 => all.push(words(self.random.pick(&["GET", "NOSUCH x y", "CLIENT NOSUCH"]))),
                17 => all.push(words("DEBUG SLEEP 0")),
                _ => {
                    all.push(words(&format!("CLIENT SETNAME c{client}m")));
                    all.push(words("MULTI"));
                    for _ in 0..self.random.below(4) {
                        let scripted = self.random.chance(20);
                        let command =
                            if scripted { self.script(client) } else { self.plain(client) };
                        all.push(command);
                    }
                    if self.random.chance(10) {
                        all.push(words("NOSUCH"));
                    }
                    all.push(words(if self.random.chance(85) { "EXEC" } else { "DISCARD" }));
                    all.push(words(&format!("CLIENT SETNAME c{client}")));
                }
            }
        }
        all
    }

    fn step(&mut self) -> Step {
        let client = self.random.below(CLIENTS);
        match self.random.below(20) {
            0 => Step::Reset(self.random.pick(&KINDS)),
            1 => {
                let count = 1 + self.random.below(20);
                let commands = (0..count).map(|_| self.plain(client)).collect();
                Step::Bound(client, self.random.below(8), commands)
            }
            2..=4 => {
                let key = format!("c{client}:q");
                let wait = match self.random.below(3) {
                    0 => format!("BLPOP {key} 0.01"),
                    1 => format!("BLMOVE {key} c{client}:l LEFT RIGHT 0.01"),
                    _ => format!("BLMPOP 0.01 1 {key} LEFT COUNT 5"),
                };
                let comes = self.random.chance(70);
                let wait = if comes { wait.replace("0.01", "0") } else { wait };
                let value = self.value();
                let push = vec!["RPUSH".to_owned(), key, value.clone(), value];
                Step::Wait(client, words(&wait), comes.then_some(push))
            }
            _ => {
                let acting = (0..CLIENTS).filter(|_| self.random.chance(60)).collect::<Vec<_>>();
                Step::Act(acting.into_iter().map(|one| (one, self.commands(one))).collect())
            }
        }
    }
}

struct World {
    server: Server,
    control: Client,
    sleeper: Client,
    clients: Vec<Client>,
}

impl World {
    fn new(program: Program) -> Self {
        let directives = ["--appendonly", "no", "--save", "", "--enable-debug-command", "yes"];
        let server = Server::start_with(program, &directives);
        let (control, sleeper) = (server.connect(), server.connect());
        Self { server, control, sleeper, clients: Vec::new() }
    }

    fn begin(&mut self) {
        self.clients = (0..CLIENTS).map(|_| self.server.connect()).collect();
        for (place, client) in self.clients.iter_mut().enumerate() {
            client.words(&format!("HELLO {} SETNAME c{place}", 2 + place % 2));
        }
        self.control.words("FLUSHALL");
        for line in [
            "CONFIG SET slowlog-log-slower-than 0",
            "CONFIG SET commandlog-request-larger-than 150",
            "CONFIG SET commandlog-reply-larger-than 150",
        ] {
            assert_eq!(self.control.words(line).text(), "OK");
        }
        self.bound(1_000_000);
        self.empty();
    }

    fn empty(&mut self) {
        for kind in KINDS {
            self.control.words(&format!("COMMANDLOG RESET {kind}"));
        }
    }

    fn bound(&mut self, len: usize) {
        for directive in [
            "slowlog-max-len",
            "commandlog-large-request-max-len",
            "commandlog-large-reply-max-len",
        ] {
            self.control.words(&format!("CONFIG SET {directive} {len}"));
        }
    }

    fn act(&mut self, doings: &[(usize, Vec<Command>)]) {
        if doings.len() > 1 {
            self.sleeper.try_send_raw(&encode(&["DEBUG", "SLEEP", "0.003"])).expect("sent");
        }
        for (client, commands) in doings {
            let bytes: Vec<u8> = commands.iter().flat_map(|command| encode(command)).collect();
            self.clients[*client].try_send_raw(&bytes).expect("sent");
        }
        for (client, commands) in doings {
            for _ in commands {
                self.clients[*client].next_value().expect("a reply");
            }
        }
        if doings.len() > 1 {
            self.sleeper.try_read().expect("it wakes up");
        }
    }

    fn play(&mut self, step: &Step) {
        match step {
            Step::Act(doings) => self.act(doings),
            Step::Bound(client, len, commands) => {
                // Valkey shortens a list when the next entry comes.
                self.empty();
                self.bound(*len);
                self.act(&[(*client, commands.clone())]);
            }
            Step::Reset(kind) => {
                assert_eq!(self.control.words(&format!("COMMANDLOG RESET {kind}")).text(), "OK");
            }
            Step::Wait(client, wait, push) => {
                self.control.words(&format!("DEL c{client}:q"));
                self.clients[*client].try_send_raw(&encode(wait)).expect("sent");
                if let Some(push) = push {
                    let waits = |text: &str| text.contains("blocked_clients:1\r\n");
                    let begin = Instant::now();
                    while !waits(&self.control.words("INFO clients").text()) {
                        assert!(begin.elapsed() < Duration::from_secs(20), "it waits: {step:?}");
                    }
                    self.control.call(push);
                }
                self.clients[*client].next_value().expect("a reply");
            }
        }
    }

    /// Each client's entries of each list, the last first, and all lists' lengths but for what this
    /// itself and the waiting for others adds.
    fn told(&mut self) -> String {
        let mut told = String::new();
        for kind in KINDS {
            let all = self.control.words(&format!("COMMANDLOG GET -1 {kind}")).elements();
            let mut by_client: BTreeMap<String, Vec<String>> = BTreeMap::new();
            let (mut last, mut own) = (i64::MAX, 0);
            for entry in &all {
                let fields = entry.elements();
                let id = fields[0].integer().expect("a number");
                assert!(id < last, "numbers go down");
                last = id;
                assert!(fields[4].text().starts_with("127.0.0.1:"), "{entry}");
                let name = fields[5].text();
                // Sizes within MULTI and EXEC differ on purpose.
                let left_out = name.ends_with('m') && kind != "slow";
                if name.is_empty() || left_out {
                    continue;
                }
                own += 1;
                let size = fields[2].integer().expect("a number");
                let size = if kind == "slow" { 0 } else { size };
                let line = format!("{size} {} {name}", fields[3]);
                by_client.entry(name[..2].to_owned()).or_default().push(line);
            }
            for (client, entries) in by_client {
                // Writing to a String can't fail.
                let _ = writeln!(told, "{kind} {client}\n  {}", entries.join("\n  "));
            }
            let _ = writeln!(told, "{kind}: {own}");
        }
        told
    }
}

#[test]
fn what_is_kept_of_commands_is_what_valkey_keeps() {
    let seed = seed_from_environment("COMMAND_LOG_SEED");
    let rounds = from_environment("COMMAND_LOG_ROUNDS", 12);
    println!("COMMAND_LOG_SEED={seed} COMMAND_LOG_ROUNDS={rounds}");
    let mut ours = World::new(Program::Redstart);
    let mut theirs = World::new(Program::Valkey);
    let mut entries = 0;
    for round in 0..rounds {
        let seed = seed.wrapping_add(round);
        let mut maker = Maker { random: Random::new(seed) };
        ours.begin();
        theirs.begin();
        let mut story = Vec::new();
        for _ in 0..STEPS {
            let step = maker.step();
            story.push(format!("{step:?}"));
            let [here, there] = [&mut ours, &mut theirs].map(|world| {
                world.play(&step);
                let told = world.told();
                world.bound(1_000_000);
                told
            });
            let differ = here.lines().zip(there.lines()).find(|(a, b)| a != b);
            assert_eq!(
                here.len(),
                there.len(),
                "seed {seed}: {differ:#?}\nafter\n{}",
                story.last().expect("a step")
            );
            assert_eq!(differ, None, "seed {seed}, after\n{}", story.last().expect("a step"));
            entries += here.lines().filter(|line| line.starts_with("  ")).count();
        }
    }
    println!("{entries} entries");
    assert!(entries > 1000, "too few to tell: {entries}");
}

/// What takes long is an event on both servers, whoever does it and in whatever tick.
#[test]
fn latency_has_the_events_that_valkey_has() {
    let seed = seed_from_environment("COMMAND_LOG_SEED");
    let mut ours = World::new(Program::Redstart);
    let mut theirs = World::new(Program::Valkey);
    let mut maker = Maker { random: Random::new(seed) };
    for world in [&mut ours, &mut theirs] {
        world.begin();
        world.control.words("CONFIG SET latency-monitor-threshold 80");
    }
    for _ in 0..12 {
        let mut doings = Vec::new();
        let mut sleeps = false;
        for client in 0..CLIENTS {
            let mut commands = maker.commands(client);
            let whole = commands.iter().all(|command| command[0] != "MULTI");
            if whole && maker.random.chance(25) {
                commands.insert(0, words("DEBUG SLEEP 0.1"));
                sleeps = true;
            } else if whole && maker.random.chance(10) {
                commands.splice(0..0, ["MULTI", "DEBUG SLEEP 0.1", "EXEC"].map(words));
                sleeps = true;
            }
            doings.push((client, commands));
        }
        for world in [&mut ours, &mut theirs] {
            world.control.words("LATENCY RESET");
            world.act(&doings);
            let latest = world.control.words("LATENCY LATEST").elements();
            let named = |entry: &&Value| entry.elements()[0].text() == "command";
            let event = latest.iter().find(named).map(|entry| entry.elements()[3].clone());
            let program = world.server.program();
            assert_eq!(event.is_some(), sleeps, "{program:?}: {latest:?} {doings:?}");
            assert!(event.is_none_or(|max| max.integer() >= Some(100)), "{latest:?}");
            let count = world.control.words("LATENCY RESET command nothing").integer();
            assert_eq!(count, Some(i64::from(sleeps)));
        }
    }
}
