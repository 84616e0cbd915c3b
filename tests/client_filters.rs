//! CLIENT LIST's and CLIENT KILL's filters choose the clients that Valkey 9 chooses.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use support::client::{Client, Value};
use support::server::{Program, Server};

/// Filters; `@a` is the number of client a.
const FILTERS: &[&str] = &[
    "",
    "ID @a",
    "ID @a @b",
    "ID @a ID @b",
    "ID @a @b TYPE normal",
    "ID @a @b TYPE pubsub",
    "NOT-ID @a",
    "NOT-ID @a @b @c NAME d",
    "ID 999",
    "TYPE normal",
    "TYPE pubsub",
    "TYPE master",
    "NOT-TYPE normal",
    "NOT-TYPE replica",
    "TYPE pubsub TYPE normal",
    "NAME a",
    "NOT-NAME a",
    "NAME a NOT-NAME a",
    "NAME a NAME b",
    "USER default",
    "NOT-USER default",
    "DB 3",
    "NOT-DB 3",
    "DB 3 NAME a",
    "FLAGS N",
    "FLAGS P",
    "FLAGS x",
    "FLAGS Px",
    "NOT-FLAGS P",
    "LIB-NAME lib",
    "NOT-LIB-NAME lib",
    "LIB-VER 1.0",
    "NOT-LIB-VER 1.0",
    "CAPA r",
    "NOT-CAPA r",
    "IP 127.0.0.1",
    "NOT-IP 127.0.0.1",
    "IP 10.0.0.1",
    "ADDR 10.0.0.1:1",
    "NOT-ADDR 10.0.0.1:1",
    "NOT-LADDR 10.0.0.1:1",
    "SKIPME yes",
    "SKIPME no",
    "MAXAGE 1000",
    "IDLE 1000",
    "name A",
    "not-name a type NORMAL",
];

/// What is refused by both in the same words.
const WRONG: &[&str] = &[
    "TYPE nosuch",
    "NOT-TYPE nosuch",
    "USER nosuch",
    "FLAGS foo",
    "NOT-FLAGS q",
    "CAPA x",
    "DB 99",
    "DB x",
    "NOT-DB -1",
    "MAXAGE 0",
    "MAXAGE x",
    "NOT-MAXAGE 1",
    "IDLE 0",
    "IDLE x",
    "NOT-IDLE 1",
    "NOT-SKIPME yes",
    "SKIPME maybe",
    "NOSUCH x",
    "NAME",
];

struct World {
    _server: Server,
    clients: Vec<Client>,
    ids: Vec<(char, String)>,
}

impl World {
    fn new(program: Program) -> Self {
        let server = Server::start_with(program, &["--appendonly", "no", "--save", ""]);
        let mut clients = Vec::new();
        let mut ids = Vec::new();
        for (name, lines) in [
            ('a', &["SELECT 3", "CLIENT SETINFO LIB-NAME lib"][..]),
            ('b', &["CLIENT CAPA redirect", "CLIENT SETINFO LIB-VER 1.0"]),
            ('c', &["MULTI"]),
            ('d', &["SUBSCRIBE news"]),
            ('e', &[]),
        ] {
            let mut client = server.connect();
            client.words(&format!("CLIENT SETNAME {name}"));
            let id = client.words("CLIENT ID").integer().expect("a number");
            ids.push((name, id.to_string()));
            lines.iter().for_each(|line| drop(client.words(line)));
            clients.push(client);
        }
        Self { _server: server, clients, ids }
    }

    /// The last one asks.
    fn ask(&mut self, command: &str, filter: &str) -> Value {
        let mut line = format!("CLIENT {command} {filter}");
        for (name, id) in &self.ids {
            line = line.replace(&format!("@{name}"), id);
        }
        self.clients.last_mut().expect("a client").words(&line)
    }

    fn names(&mut self, filter: &str) -> String {
        let list = self.ask("LIST", filter);
        if list.is_error() {
            return list.text();
        }
        let text = list.text();
        let name = |line: &str| line.split_once("name=")?.1.split(' ').next().map(str::to_owned);
        let mut names: Vec<String> = text.lines().filter_map(name).collect();
        names.sort();
        names.join(" ")
    }
}

#[test]
fn the_same_clients_are_listed() {
    let [mut theirs, mut ours] = [Program::Valkey, Program::Redstart].map(World::new);
    for filter in FILTERS.iter().chain(WRONG) {
        assert_eq!(ours.names(filter), theirs.names(filter), "CLIENT LIST {filter}");
    }
    for filter in WRONG {
        let [here, there] = [&mut ours, &mut theirs]
            .map(|world| world.ask("KILL", &format!("SKIPME yes {filter}")));
        assert_eq!(here.text(), there.text(), "CLIENT KILL {filter}");
    }
}

#[test]
fn the_same_clients_are_killed() {
    for filter in
        ["NAME a", "NOT-ID @a @b", "DB 3 NOT-NAME b", "FLAGS P", "CAPA r SKIPME no", "ID @a @b @c"]
    {
        let [here, there] = [Program::Valkey, Program::Redstart].map(|program| {
            let mut world = World::new(program);
            let count = world.ask("KILL", filter).text();
            let begin = std::time::Instant::now();
            loop {
                let left = world.names("");
                let gone = 5 - left.split(' ').count();
                if format!(":{gone}") == count || begin.elapsed().as_secs() > 10 {
                    return (count, left);
                }
            }
        });
        assert_eq!(here, there, "CLIENT KILL {filter}");
    }
}
