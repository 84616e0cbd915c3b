//! Clients that wait for keys: who is served, with what, and in which order. Stories told to Redstart
//! and to redis-server alike, and seeded random ones in which both must serve the same clients with
//! the same elements.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::time::{Duration, Instant};

use support::client::{Client, Value, argv, encode};
use support::random::{Random, seed_from_environment};
use support::server::{Program, Server};

const BOTH: [Program; 2] = [Program::Redis, Program::Redstart];
/// Clients of a random run.
const CLIENTS: usize = 7;
/// Steps of a random run.
const STEPS: usize = 1_500;
/// How long a condition may take to come about.
const PATIENCE: Duration = Duration::from_secs(20);

fn start(program: Program) -> Server {
    Server::start_with(program, &["--appendonly", "no", "--save", ""])
}

fn each(story: fn(&Server)) {
    for program in BOTH {
        println!("{}", program.name());
        story(&start(program));
    }
}

fn id_of(client: &mut Client) -> i64 {
    client.words("CLIENT ID").integer().expect("a client has a number")
}

/// Sends a command and waits until the server has parked the client.
fn park(server: &Server, client: &mut Client, line: &str) {
    let id = id_of(client);
    client.try_send_raw(&encode(&argv(line))).expect("a command can be sent");
    let mut control = server.connect();
    until(&format!("{line} blocks"), || is_parked(&mut control, id));
}

fn is_parked(control: &mut Client, id: i64) -> bool {
    let line = control.words(&format!("CLIENT LIST ID {id}")).text();
    let flags = line.split_whitespace().find_map(|word| word.strip_prefix("flags="));
    flags.is_some_and(|flags| flags.contains('b'))
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::yield_now();
    }
}

fn read(client: &mut Client) -> String {
    client.try_read().expect("an answer").to_string()
}

/// A value that takes the place of one of another type serves who waits for it. (Redis leaves them waiting.)
#[test]
fn a_stored_value_serves_whatever_it_takes_the_place_of() {
    let server = start(Program::Redstart);
    let mut giver = server.connect();
    for line in ["RPUSH source b a", "ZADD scores 1 one"] {
        giver.words(line);
    }
    for (waits, stores, got) in [
        ("BLPOP k 0", "SORT source ALPHA STORE k", "*[\"k\", \"a\"]"),
        ("BZPOPMIN k 0", "ZUNIONSTORE k 1 scores", "*[\"k\", \"one\", \"1\"]"),
    ] {
        giver.words("DEL k");
        let mut client = server.connect();
        park(&server, &mut client, waits);
        giver.words("MULTI");
        giver.words("SET k text");
        giver.words(stores);
        assert_eq!(giver.words("EXEC").elements().len(), 2);
        assert_eq!(read(&mut client), got, "{stores}");
    }
    // Likewise where the other value has been there for a while.
    giver.words("DEL k");
    let mut client = server.connect();
    park(&server, &mut client, "BLPOP k 0");
    giver.words("SET k text");
    giver.words("SORT source ALPHA STORE k");
    assert_eq!(read(&mut client), "*[\"k\", \"a\"]");
}

#[test]
fn those_who_came_first_are_served_first() {
    each(|server| {
        let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
        for client in &mut clients {
            park(server, client, "BLPOP other k 0");
        }
        let mut giver = server.connect();
        assert_eq!(giver.words("RPUSH k a b").to_string(), ":2");
        assert_eq!(read(&mut clients[0]), "*[\"k\", \"a\"]");
        assert_eq!(read(&mut clients[1]), "*[\"k\", \"b\"]");
        assert_eq!(giver.words("EXISTS k").to_string(), ":0");
        assert_eq!(giver.words("LPUSH other c").to_string(), ":1");
        assert_eq!(read(&mut clients[2]), "*[\"other\", \"c\"]");
    });
}

#[test]
fn what_waits_behind_a_blocking_command_runs_after_it() {
    each(|server| {
        let mut client = server.connect();
        park(server, &mut client, "BLPOP k 0");
        for line in ["SET after 1", "BRPOP l 0", "GET after"] {
            client.try_send_raw(&encode(&argv(line))).expect("a command can be sent");
        }
        let mut giver = server.connect();
        assert_eq!(giver.words("GET after").to_string(), "$nil");
        giver.words("LPUSH k a");
        assert_eq!(read(&mut client), "*[\"k\", \"a\"]");
        assert_eq!(read(&mut client), "+OK");
        giver.words("LPUSH l b");
        assert_eq!(read(&mut client), "*[\"l\", \"b\"]");
        assert_eq!(read(&mut client), "\"1\"");
    });
}

#[test]
fn waiting_ends_in_time_and_on_word() {
    each(|server| {
        let mut client = server.connect();
        let began = Instant::now();
        assert_eq!(client.words("BLPOP k 0.05").to_string(), "*nil");
        assert_eq!(client.words("BLMOVE k l LEFT LEFT 0.05").to_string(), "*nil");
        assert_eq!(client.words("BZPOPMIN z 0.05").to_string(), "*nil");
        assert!(began.elapsed() >= Duration::from_millis(150));
        let id = id_of(&mut client);
        let mut other = server.connect();
        assert_eq!(other.words(&format!("CLIENT UNBLOCK {id}")).to_string(), ":0");
        for (how, answer) in [
            ("", "*nil"),
            ("TIMEOUT", "*nil"),
            ("ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK"),
        ] {
            park(server, &mut client, "BLPOP k 0");
            assert_eq!(other.words(&format!("CLIENT UNBLOCK {id} {how}")).to_string(), ":1");
            assert_eq!(read(&mut client), answer);
        }
        assert_eq!(other.words("CLIENT UNBLOCK 123456").to_string(), ":0");
    });
}

#[test]
fn nobody_waits_in_a_transaction() {
    each(|server| {
        let mut client = server.connect();
        client.words("MULTI");
        for line in
            ["BLPOP k 0", "BLMOVE k l LEFT RIGHT 0", "BZPOPMAX z 0", "RPUSH k a", "BRPOP k 0"]
        {
            assert_eq!(client.words(line).to_string(), "+QUEUED");
        }
        assert_eq!(client.words("EXEC").to_string(), "*[*nil, $nil, *nil, :1, *[\"k\", \"a\"]]");
    });
}

/// A transaction's keys are given away when all of it is done.
#[test]
fn a_transaction_is_over_before_anybody_is_served() {
    each(|server| {
        let (mut first, mut second) = (server.connect(), server.connect());
        park(server, &mut first, "BLPOP k 0");
        let mut giver = server.connect();
        for line in ["MULTI", "RPUSH k a", "DEL k", "RPUSH k b", "LLEN k"] {
            giver.words(line);
        }
        assert_eq!(giver.words("EXEC").to_string(), "*[:1, :1, :1, :1]");
        assert_eq!(read(&mut first), "*[\"k\", \"b\"]");
        // One that is gone again serves nobody.
        park(server, &mut second, "BLPOP k 0");
        for line in ["MULTI", "RPUSH k a", "DEL k"] {
            giver.words(line);
        }
        giver.words("EXEC");
        let id = id_of(&mut giver);
        assert!(!is_parked(&mut giver, id), "only the other waits");
        giver.words("RPUSH k c");
        assert_eq!(read(&mut second), "*[\"k\", \"c\"]");
    });
}

#[test]
fn a_client_that_goes_takes_nothing() {
    each(|server| {
        let mut giver = server.connect();
        let mut client = server.connect();
        park(server, &mut client, "BLPOP k 0");
        drop(client);
        until("nobody waits", || giver.words("INFO clients").text().contains("blocked_clients:0"));
        giver.words("RPUSH k a");
        assert_eq!(giver.words("LRANGE k 0 -1").to_string(), "*[\"a\"]");
    });
}

#[test]
fn a_swap_brings_what_was_waited_for() {
    each(|server| {
        let (mut client, mut giver) = (server.connect(), server.connect());
        giver.words("SELECT 1");
        giver.words("RPUSH k a b");
        park(server, &mut client, "BLPOP k 0");
        giver.words("SWAPDB 0 1");
        assert_eq!(read(&mut client), "*[\"k\", \"a\"]");
    });
}

/// A world of its own: a server, its clients, and which of them wait.
struct World {
    _server: Server,
    control: Client,
    clients: Vec<(Client, i64)>,
    waiting: Vec<bool>,
}

impl World {
    fn new(program: Program) -> Self {
        let server = start(program);
        let clients = (0..CLIENTS)
            .map(|_| {
                let mut client = server.connect();
                let id = id_of(&mut client);
                (client, id)
            })
            .collect();
        Self { control: server.connect(), _server: server, clients, waiting: vec![false; CLIENTS] }
    }

    /// One client sends a command that may block; true where it does.
    fn send(&mut self, index: usize, line: &str) {
        let (client, _) = &mut self.clients[index];
        client.try_send_raw(&encode(&argv(line))).expect("a command can be sent");
        self.waiting[index] = true;
    }

    /// The answers that came since the last look, by client. All that was sent has been dealt with
    /// then.
    fn answers(&mut self, sender: usize) -> Vec<(usize, Value)> {
        let mut answers = Vec::new();
        // The sender's command has arrived when it is parked or answered; everybody else was served
        // in the same go.
        let id = self.clients[sender].1;
        until("the command is dealt with", || {
            is_parked(&mut self.control, id) || self.clients[sender].0.has_answer()
        });
        for index in 0..CLIENTS {
            let (client, id) = &mut self.clients[index];
            if self.waiting[index] && !is_parked(&mut self.control, *id) {
                answers.push((index, client.try_read().expect("an answer")));
                self.waiting[index] = false;
            }
        }
        answers
    }

    fn contents(&mut self) -> Vec<String> {
        let mut contents = Vec::new();
        for database in 0..2 {
            self.control.words(&format!("SELECT {database}"));
            for key in LISTS.iter().chain(&ZSETS) {
                let reads = match self.control.words(&format!("TYPE {key}")).text().as_str() {
                    "list" => format!("LRANGE {key} 0 -1"),
                    "zset" => format!("ZRANGE {key} 0 -1 WITHSCORES"),
                    "string" => format!("GET {key}"),
                    _ => continue,
                };
                contents.push(format!("{database} {key} {}", self.control.words(&reads)));
            }
        }
        self.control.words("SELECT 0");
        contents
    }
}

/// Lists and sorted sets have names of their own, and nobody waits for two keys: where several keys come
/// at once, Redis 7.0 looks only at the one that it is serving, while 7.2 and we run the whole command
/// again, which takes from the first of its keys, or fails where that is of another type.
const LISTS: [&str; 4] = ["k0", "k1", "k2", "k3"];
const ZSETS: [&str; 3] = ["z0", "z1", "z2"];

fn side(random: &mut Random) -> &'static str {
    random.pick(&["LEFT", "RIGHT"])
}

fn blocking(random: &mut Random) -> String {
    let (a, b) = (random.pick(&LISTS), random.pick(&LISTS));
    let z = random.pick(&ZSETS);
    match random.below(12) {
        0..=2 => format!("BLPOP {a} 0"),
        3 => format!("BRPOP {a} 0"),
        4..=5 => format!("BLMOVE {a} {b} {} {} 0", side(random), side(random)),
        6 => format!("BRPOPLPUSH {a} {b} 0"),
        7 => format!("BLMPOP 0 1 {a} {} COUNT 2", side(random)),
        8..=9 => format!("BZPOPMIN {z} 0"),
        10 => format!("BZPOPMAX {z} 0"),
        _ => format!("BZMPOP 0 1 {z} MAX COUNT 2"),
    }
}

fn plain(random: &mut Random, step: usize) -> String {
    let (a, b) = (random.pick(&LISTS), random.pick(&LISTS));
    let (y, z) = (random.pick(&ZSETS), random.pick(&ZSETS));
    match random.below(20) {
        0..=3 => format!("RPUSH {a} e{step}"),
        4..=5 => format!("LPUSH {a} e{step} f{step} g{step}"),
        6..=8 => format!("ZADD {z} {} m{step} {step} n{step}", random.below(9)),
        9 => format!("DEL {a} {z}"),
        10 => format!("UNLINK {b} {y}"),
        11 => format!("RENAME {a} {b}"),
        12 => format!("COPY {a} {b} REPLACE"),
        13 => format!("LMOVE {a} {b} {} {}", side(random), side(random)),
        14 => format!("LREM {a} 1 e0"),
        15 => format!("MOVE {a} 1"),
        16 => format!("LINSERT {a} BEFORE e0 x"),
        17 => format!("SORT {a} BY nosort STORE {b}"),
        18 => format!("ZUNIONSTORE {z} 2 {y} {z}"),
        _ => format!("RENAME {y} {z}"),
    }
}

/// One step of the same kind for both servers: who does what.
fn step(random: &mut Random, number: usize, waiting: &[bool]) -> Option<(usize, Vec<String>)> {
    let free: Vec<usize> = (0..CLIENTS).filter(|index| !waiting[*index]).collect();
    let giver = *free.first()?;
    // The first client never waits, so that there is always somebody to give.
    let taker = free.get(1 + random.below(free.len().max(2) - 1)).copied();
    if let Some(taker) = taker.filter(|_| random.chance(55)) {
        return Some((taker, vec![blocking(random)]));
    }
    if random.chance(20) {
        let mut lines = vec!["MULTI".to_owned()];
        lines.extend((0..=random.below(3)).map(|part| plain(random, number * 10 + part)));
        lines.push("EXEC".into());
        return Some((giver, lines));
    }
    Some((giver, vec![plain(random, number)]))
}

#[test]
fn the_same_clients_are_served_as_by_redis() {
    let seed = seed_from_environment("BLOCK_SEED");
    let mut random = Random::new(seed);
    let mut worlds = BOTH.map(World::new);
    let mut served = 0;
    for number in 0..STEPS {
        let Some((who, lines)) = step(&mut random, number, &worlds[0].waiting) else { break };
        let unblocked = (1..CLIENTS).find(|index| worlds[0].waiting[*index] && random.chance(3));
        let answers = worlds.each_mut().map(|world| {
            let mut answers = Vec::new();
            for line in &lines {
                world.send(who, line);
                answers.extend(world.answers(who));
            }
            if let Some(index) = unblocked.filter(|index| world.waiting[*index]) {
                let id = world.clients[index].1;
                world.control.words(&format!("CLIENT UNBLOCK {id}"));
                answers.extend(world.answers(index));
            }
            answers
        });
        assert_eq!(answers[0], answers[1], "seed {seed}, step {number}: client {who}: {lines:?}");
        served += answers[0].len().saturating_sub(1);
        if number % 50 == 0 {
            let contents = worlds.each_mut().map(World::contents);
            assert_eq!(contents[0], contents[1], "seed {seed}, step {number}");
        }
    }
    assert!(served > STEPS / 10, "clients were served: {served}");
}

/// `tot-cmds` of CLIENT LIST counts what was executed, and a command that waits is executed when it is
/// served, however often it was tried before. As in Valkey, which has the field.
#[test]
fn a_command_that_waits_counts_once_it_is_served() {
    let server = start(Program::Redstart);
    let (mut waiter, mut control) = (server.connect(), server.connect());
    let id = waiter.words("CLIENT ID").integer().expect("a number");
    let mut commands = || {
        let text = control.words(&format!("CLIENT LIST ID {id}")).text();
        let field = text.split(' ').find_map(|word| word.strip_prefix("tot-cmds="));
        field.and_then(|count| count.trim().parse::<u64>().ok()).expect("the field")
    };
    let before = commands();
    waiter.try_send_raw(&encode(&argv("BLPOP key 0"))).expect("sent");
    let mut writer = server.connect();
    let began = Instant::now();
    while writer.words("INFO clients").text().contains("blocked_clients:0") {
        assert!(began.elapsed() < PATIENCE);
    }
    assert_eq!(commands(), before);
    // Another type under its key: it is tried, and waits on.
    writer.words("SET key text");
    writer.words("DEL key");
    assert_eq!(commands(), before);
    writer.words("RPUSH key a");
    let served = waiter.try_read().expect("an answer");
    assert_eq!(served, Value::Array(vec![Value::bulk("key"), Value::bulk("a")]));
    assert_eq!(commands(), before + 1);
}
