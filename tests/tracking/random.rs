//! Random clients that track, read, write, let keys expire, redirect and go, in lockstep on both servers.
//!
//! A step is played on one server after the other: some clients send a pipeline each, all while the server
//! is held asleep, so that the requests meet in one tick. Then every client is asked for an answer, and
//! what it heard before that is compared: replies and invalidations in their order where one client alone
//! was at work, else as a bag, since nothing says which of several is served first. Keys that a step
//! works on belong to one of its clients each, so that the outcome doesn't hang on that either.
//!
//! Left out, since they differ on purpose: SWAPDB, and what a script changes under BCAST and NOLOOP. Keys
//! that scripts read are declared, as redis-server 7.0 tracks those.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::client::{Client, Value, argv, encode};
use crate::support::random::{Random, from_environment, seed_from_environment};
use crate::support::server::{Program, Server};

const CLIENTS: usize = 5;
const KEYS: usize = 8;
const STEPS: usize = 60;
/// The last thing a client is asked in a step.
const FENCE: &str = "end-of-step";

/// What one client does in a step.
#[derive(Clone, Debug)]
struct Doing {
    client: usize,
    commands: Vec<String>,
}

#[derive(Clone, Debug)]
enum Step {
    /// These clients send at once. Others redirect to those in the second list.
    Act(Vec<Doing>, [bool; CLIENTS]),
    /// A client sends, and its keys' time comes. Others redirect to it.
    Expire(Doing, bool),
    /// A client closes, and another takes its place, of this protocol.
    Replace(usize, u8),
}

/// What is known of a client beforehand.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    protocol: u8,
    subscribed: bool,
    /// It tracks with BCAST and NOLOOP, perhaps.
    keeps_from_scripts: bool,
    /// Another client redirects to it, perhaps.
    is_target: bool,
}

struct Maker {
    random: Random,
    known: [Known; CLIENTS],
}

impl Maker {
    fn key(&mut self, owned: &[usize]) -> String {
        const NAMES: [&str; KEYS] = ["a", "ab", "abc", "b", "ba", "x:1", "x:2", "zz"];
        NAMES[owned[self.random.below(owned.len())]].to_owned()
    }

    fn tracking(&mut self, client: usize) -> String {
        let mut line = "CLIENT TRACKING ".to_owned();
        if self.random.chance(25) {
            self.known[client].keeps_from_scripts = false;
            return line + "OFF";
        }
        line += "ON";
        if self.random.chance(30) {
            let target = self.random.below(CLIENTS);
            self.known[target].is_target = true;
            line += &format!(" REDIRECT @{target}");
        }
        let (broadcast, no_loop) = (self.random.chance(40), self.random.chance(30));
        if broadcast {
            line += " BCAST";
        }
        for _ in 0..self.random.below(if broadcast { 3 } else { 1 }) {
            line += &format!(" PREFIX {}", self.random.pick(&["a", "ab", "b", "x:", "q"]));
        }
        line += self.random.pick(&["", "", "", " OPTIN", " OPTOUT"]);
        if no_loop {
            line += " NOLOOP";
            self.known[client].keeps_from_scripts |= broadcast;
        }
        line
    }

    fn command(&mut self, client: usize, owned: &[usize], alone: bool) -> Vec<String> {
        let (key, other) = (self.key(owned), self.key(owned));
        let one = |line: String| vec![line];
        match self.random.below(30) {
            0..=6 => one(format!("GET {key}")),
            7 => one(format!("MGET {key} {other}")),
            8 => one(format!("EXISTS {key} {other}")),
            9..=12 => one(format!("SET {key} {}", self.random.below(9))),
            13 => one(format!("DEL {key} {other}")),
            14 => one(format!("INCR {key}")),
            15 => one(format!("EXPIRE {key} 1000")),
            16 => one(format!("RENAME {key} {other}")),
            17 => one(format!("MSET {key} 1 {other} 2")),
            18 => one(format!("APPEND {key} 1")),
            19 if alone => one(self.random.pick(&["FLUSHALL", "FLUSHDB"]).to_owned()),
            20 if !self.known[client].keeps_from_scripts => one(format!(
                "EVAL return{{redis.call('get',KEYS[1]),redis.call('set',KEYS[1],'7')}} 1 {key}"
            )),
            21 => one(format!("EVAL return(redis.call('get',KEYS[1])) 1 {key}")),
            22 if !self.known[client].is_target => {
                let mut lines = vec!["MULTI".to_owned()];
                for _ in 0..self.random.between(1, 4) {
                    let key = self.key(owned);
                    lines.push(match self.random.below(3) {
                        0 => format!("SET {key} 1"),
                        1 => format!("DEL {key}"),
                        _ => format!("GET {key}"),
                    });
                }
                lines.push(self.random.pick(&["EXEC", "EXEC", "EXEC", "DISCARD"]).to_owned());
                lines
            }
            23 => {
                vec!["CLIENT CACHING YES".to_owned(), format!("GET {key}"), format!("GET {other}")]
            }
            24 => {
                vec!["CLIENT CACHING NO".to_owned(), format!("GET {key}"), format!("GET {other}")]
            }
            25 => one("CLIENT TRACKINGINFO".to_owned()),
            26 => vec!["CLIENT REPLY SKIP".to_owned(), format!("SET {key} 5")],
            27 => one(format!("SELECT {}", self.random.below(2))),
            // At the end of which tick a client tracks what must be certain.
            _ if alone => one(self.tracking(client)),
            _ => one(format!("GET {key}")),
        }
    }

    fn doing(&mut self, client: usize, owned: &[usize], alone: bool) -> Doing {
        let mut commands = Vec::new();
        // A listener of RESP2 can't do anything else.
        if self.known[client].subscribed && self.known[client].protocol == 2 {
            commands.push("PING".to_owned());
        } else if alone && self.known[client].protocol == 2 && self.random.chance(25) {
            self.known[client].subscribed = true;
            let channel = self.random.pick(&["__redis__:invalidate", "other"]);
            commands.push(format!("SUBSCRIBE {channel}"));
        } else {
            if alone && self.random.chance(25) {
                commands.push(self.tracking(client));
            }
            for _ in 0..self.random.between(1, 5) {
                commands.extend(self.command(client, owned, alone));
            }
        }
        Doing { client, commands }
    }

    fn step(&mut self) -> Step {
        let all: Vec<usize> = (0..KEYS).collect();
        match self.random.below(20) {
            0 => {
                let (client, protocol) = (self.random.below(CLIENTS), self.random.pick(&[2, 3, 3]));
                self.known[client] = Known { protocol, ..Known::default() };
                Step::Replace(client, protocol)
            }
            1 | 2 => {
                let client = self.random.below(CLIENTS);
                let key = self.key(&all);
                let listens = self.known[client].subscribed;
                let commands = if listens { vec![] } else { vec![format!("SET {key} 1 PX 5")] };
                Step::Expire(Doing { client, commands }, self.known[client].is_target)
            }
            3..=12 => {
                let client = self.random.below(CLIENTS);
                let doing = self.doing(client, &all, true);
                Step::Act(vec![doing], self.known.map(|known| known.is_target))
            }
            _ => {
                let mut owned = vec![Vec::new(); CLIENTS];
                all.iter().for_each(|key| owned[self.random.below(CLIENTS)].push(*key));
                let busy = (0..CLIENTS).filter(|client| !owned[*client].is_empty());
                let busy: Vec<usize> = busy.collect();
                let acts = busy.into_iter().map(|client| {
                    let keys = owned[client].clone();
                    self.doing(client, &keys, false)
                });
                Step::Act(acts.collect(), self.known.map(|known| known.is_target))
            }
        }
    }
}

/// A server and its clients.
struct World {
    server: Server,
    control: Client,
    sleeper: Client,
    clients: Vec<Client>,
    ids: Vec<i64>,
    gone: Vec<i64>,
}

impl World {
    fn new(program: Program) -> Self {
        let directives = ["--appendonly", "no", "--save", "", "--enable-debug-command", "yes"];
        let server = Server::start_with(program, &directives);
        let (mut control, sleeper) = (server.connect(), server.connect());
        control.words("DEBUG SET-ACTIVE-EXPIRE 0");
        Self { server, control, sleeper, clients: vec![], ids: vec![], gone: vec![] }
    }

    fn client(&self, protocol: u8) -> (Client, i64) {
        let mut client = self.server.connect();
        client.words(&format!("HELLO {protocol}"));
        let id = client.words("CLIENT ID").integer().expect("a number");
        (client, id)
    }

    /// New clients and no data.
    fn begin(&mut self, protocols: &[u8]) {
        self.clients.clear();
        self.ids.clear();
        while self.control.words("CLIENT LIST").text().lines().count() > 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.control.words("FLUSHALL");
        for protocol in protocols {
            let (client, id) = self.client(*protocol);
            self.clients.push(client);
            self.ids.push(id);
        }
    }

    /// A command in its wire form; `@3` is the number of the client at place 3.
    fn encoded(&self, line: &str) -> Vec<u8> {
        let words = argv(line).into_iter().map(|word| match word.strip_prefix(b"@") {
            Some(place) => self.ids[usize::from(place[0] - b'0')].to_string().into_bytes(),
            None => word,
        });
        encode(&words.collect::<Vec<_>>())
    }

    /// Lets clients send at once.
    fn send(&mut self, doings: &[Doing]) {
        let asleep = doings.len() > 1;
        if asleep {
            self.sleeper.try_send_raw(&encode(&argv("DEBUG SLEEP 0.003"))).expect("sent");
        }
        for doing in doings {
            let bytes: Vec<u8> =
                doing.commands.iter().flat_map(|line| self.encoded(line)).collect();
            self.clients[doing.client].try_send_raw(&bytes).expect("sent");
        }
        if asleep {
            self.sleeper.try_read().expect("it wakes up");
        }
        // Broadcasts leave at the end of the tick: all must be executed before anybody is asked.
        for doing in doings {
            let bytes = encode(&["PING", "between"]);
            self.clients[doing.client].try_send_raw(&bytes).expect("sent");
        }
    }

    /// What a client reads next: one value, and in front of it the pushes that redis-server has put
    /// between its elements, where they take the places of as many elements.
    fn read(&mut self, client: usize) -> Vec<Value> {
        let mut next = || self.clients[client].next_value().expect("an answer");
        let value = next();
        let Value::Array(items) = value else { return vec![value] };
        let len = items.len();
        let is_push = |item: &Value| matches!(item, Value::Push(_));
        let (mut values, mut items): (Vec<_>, Vec<_>) = items.into_iter().partition(is_push);
        while items.len() < len {
            let value = next();
            if is_push(&value) { values.push(value) } else { items.push(value) }
        }
        values.push(Value::Array(items));
        values
    }

    /// What each client hears up to the fence.
    fn hear(&mut self, doings: &[Doing]) -> Vec<Vec<String>> {
        let mut heard = vec![Vec::new(); CLIENTS];
        let fenced = |value: &Value, word: &str| {
            *value == Value::bulk(word) || value.elements().last() == Some(&Value::bulk(word))
        };
        for doing in doings {
            loop {
                let values = self.read(doing.client);
                if values.iter().any(|value| fenced(value, "between")) {
                    break;
                }
                heard[doing.client].extend(values.iter().map(|value| self.shown(value)));
            }
        }
        for (client, heard) in heard.iter_mut().enumerate() {
            let asked = encode(&["PING", FENCE]);
            self.clients[client].try_send_raw(&asked).expect("sent");
            loop {
                let values = self.read(client);
                if values.iter().any(|value| fenced(value, FENCE)) {
                    break;
                }
                heard.extend(values.iter().map(|value| self.shown(value)));
            }
        }
        heard
    }

    /// A value as both servers should show it: clients by place, and nothing in one form.
    fn shown(&self, value: &Value) -> String {
        let mut text = value.to_string().replace("$nil", "_nil").replace("*nil", "_nil");
        if text.contains("redir") {
            for (place, id) in self.ids.iter().enumerate() {
                text = text.replace(&format!(":{id}]"), &format!(":client-{place}]"));
                text = text.replace(&format!(":{id},"), &format!(":client-{place},"));
            }
            for (place, id) in self.gone.iter().enumerate() {
                text = text.replace(&format!(":{id}]"), &format!(":gone-{place}]"));
                text = text.replace(&format!(":{id},"), &format!(":gone-{place},"));
            }
        }
        text
    }

    fn play(&mut self, step: &Step) -> Vec<Vec<String>> {
        match step {
            Step::Act(doings, _) => {
                self.send(doings);
                self.hear(doings)
            }
            Step::Expire(doing, _) => {
                self.send(std::slice::from_ref(doing));
                let heard = self.hear(std::slice::from_ref(doing));
                std::thread::sleep(Duration::from_millis(8));
                heard
            }
            Step::Replace(place, protocol) => {
                let gone = self.ids[*place];
                let (client, id) = self.client(*protocol);
                drop(std::mem::replace(&mut self.clients[*place], client));
                self.ids[*place] = id;
                self.gone.push(gone);
                let listed = |list: &str| list.contains(&format!("id={gone} "));
                while listed(&self.control.words("CLIENT LIST").text()) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                self.hear(&[])
            }
        }
    }
}

/// Invalidations, key by key, in no order: how a broadcast is divided into messages hangs on how many
/// ticks a pipeline takes.
fn bag(heard: &[String]) -> BTreeMap<String, usize> {
    let mut bag = BTreeMap::new();
    for line in heard {
        let invalidation = line.contains("invalidate");
        let keys = line.rsplit_once('[').filter(|_| invalidation && !line.contains("_nil"));
        match keys {
            Some((head, keys)) => {
                for key in keys.trim_end_matches(']').split(", ") {
                    bag.insert(format!("{head}{key}"), 1);
                }
            }
            // One for each message that there would have been.
            None if line.contains("redir-broken") => {
                bag.insert(line.clone(), 1);
            }
            None => *bag.entry(line.clone()).or_insert(0) += 1,
        }
    }
    bag
}

/// Whether both heard the same: in order where there is one. To a client that others redirect to,
/// redis-server pushes in front of the reply of its own command, even in the middle of EXEC's or of
/// MGET's; Redstart pushes behind it.
fn same(step: &Step, client: usize, ours: &[String], theirs: &[String]) -> bool {
    let loose = match step {
        Step::Act(doings, targets) => doings.len() > 1 || targets[client],
        Step::Expire(_, is_target) => *is_target,
        Step::Replace(..) => false,
    };
    ours == theirs || loose && bag(ours) == bag(theirs)
}

#[test]
fn clients_hear_what_redis_server_tells_them() {
    let seed = seed_from_environment("TRACKING_SEED");
    let rounds = from_environment("TRACKING_ROUNDS", 30);
    println!("TRACKING_SEED={seed} TRACKING_ROUNDS={rounds}");
    let mut ours = World::new(Program::Redstart);
    let mut theirs = World::new(Program::Redis);
    let (mut told, mut steps) = (0, 0);
    for round in 0..rounds {
        let mut maker =
            Maker { random: Random::new(seed.wrapping_add(round)), known: Default::default() };
        let protocols = [3, 3, 3, 2, 2];
        for (known, protocol) in maker.known.iter_mut().zip(protocols) {
            known.protocol = protocol;
        }
        ours.begin(&protocols);
        theirs.begin(&protocols);
        let mut story = Vec::new();
        for _ in 0..STEPS {
            let step = maker.step();
            story.push(format!("{step:?}"));
            let (here, there) = (ours.play(&step), theirs.play(&step));
            for client in 0..CLIENTS {
                assert!(
                    same(&step, client, &here[client], &there[client]),
                    "seed {} client {client}\nours   {:#?}\ntheirs {:#?}\nafter\n{}",
                    seed.wrapping_add(round),
                    here[client],
                    there[client],
                    story[story.len().saturating_sub(25)..].join("\n")
                );
                told += here[client].iter().filter(|line| line.contains("invalidate")).count();
            }
            steps += 1;
        }
    }
    println!("{steps} steps, {told} invalidations");
    assert!(told as u64 > rounds * 10, "clients were told of something: {told}");
}
