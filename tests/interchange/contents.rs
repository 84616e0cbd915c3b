//! Everything a server holds, read by a client, and what of it must be the same after a trip: of each
//! key its type, encoding, expiry time and value, and its digest where the same program made both.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::data::Command;
use crate::streams;
use crate::support::client::{Client, Value, argv, quote};
use crate::support::server::{Program, Server};

/// Keys whose questions are sent before the answers are read.
const PIPELINE: usize = 200;

/// Facts of a key.
#[derive(Clone, PartialEq)]
pub struct Entry {
    kind: String,
    encoding: String,
    /// PEXPIRETIME's reply.
    expiry: Value,
    /// What it holds, in an order of its own where the type has none.
    value: Vec<Vec<u8>>,
    /// DEBUG DIGEST-VALUE's reply: what the server itself takes for the value, whatever it shows of
    /// it to clients. Each program has digests of its own.
    digest: Value,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (few, count) = (quote(&self.value[..self.value.len().min(20)]), self.value.len());
        write!(f, "{} {} {} {} ", self.kind, self.encoding, self.expiry, self.digest)?;
        write!(f, "{count}: {}", &few[..few.len().min(2_000)])
    }
}

/// What a server holds, by database and key.
pub struct Contents {
    program: Program,
    entries: BTreeMap<(usize, Vec<u8>), Entry>,
}

/// By which way data came into a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// As values.
    Values,
    /// As values or as the commands that made them.
    Commands,
}

/// Reads all databases; the connection ends in database 0.
pub fn contents(server: &Server, client: &mut Client) -> Contents {
    let mut entries = BTreeMap::new();
    for database in 0..16 {
        client.call(&["SELECT", &database.to_string()]);
        for chunk in keys(client).chunks(PIPELINE) {
            for (key, entry) in chunk.iter().zip(read(client, chunk)) {
                entries.insert((database, key.clone()), entry);
            }
        }
    }
    client.words("SELECT 0");
    Contents { program: server.program(), entries }
}

/// All keys of the selected database.
pub fn keys(client: &mut Client) -> Vec<Vec<u8>> {
    let keys = client.call(&["KEYS", "*"]).elements();
    keys.iter().map(|key| key.bytes().expect("a key").to_vec()).collect()
}

fn read(client: &mut Client, keys: &[Vec<u8>]) -> Vec<Entry> {
    let about = |line: &str, key: &Vec<u8>| -> Command {
        argv(line).into_iter().chain([key.clone()]).collect()
    };
    let questions: Vec<Command> = keys
        .iter()
        .flat_map(|key| {
            let facts = ["TYPE", "OBJECT ENCODING", "PEXPIRETIME", "DEBUG DIGEST-VALUE"];
            facts.map(|line| about(line, key))
        })
        .collect();
    let facts = client.pipeline(&questions);
    let reads: Vec<Command> = keys
        .iter()
        .zip(facts.chunks(4))
        .map(|(key, facts)| match facts[0].text().as_str() {
            "string" => about("GET", key),
            "list" => about("LRANGE", key).into_iter().chain(argv("0 -1")).collect(),
            "hash" => about("HGETALL", key),
            "set" => about("SMEMBERS", key),
            "zset" => about("ZRANGE", key).into_iter().chain(argv("0 -1 WITHSCORES")).collect(),
            "stream" => argv("XINFO STREAM")
                .into_iter()
                .chain([key.clone()])
                .chain(argv("FULL COUNT 0"))
                .collect(),
            other => panic!("{}: no way of reading a {other}", quote(&[key])),
        })
        .collect();
    let values = client.pipeline(&reads);
    facts
        .chunks(4)
        .zip(values)
        .map(|(facts, value)| {
            let kind = facts[0].text();
            Entry {
                encoding: facts[1].text(),
                expiry: facts[2].clone(),
                value: comparable(&kind, &value),
                digest: facts[3].clone(),
                kind,
            }
        })
        .collect()
}

/// What a value holds: fields and members sorted, scores as numbers, however many digits a server
/// prints of them.
fn comparable(kind: &str, value: &Value) -> Vec<Vec<u8>> {
    let bytes =
        |value: &Value| value.bytes().unwrap_or_else(|| panic!("a string: {value}")).to_vec();
    let elements = value.elements();
    match kind {
        "string" => vec![bytes(value)],
        "list" => elements.iter().map(bytes).collect(),
        "stream" => streams::comparable(value),
        "zset" => elements
            .chunks(2)
            .flat_map(|pair| {
                let score: f64 = pair[1].text().parse().expect("a score");
                [bytes(&pair[0]), format!("{score:?}").into_bytes()]
            })
            .collect(),
        _ => {
            let width = if kind == "hash" { 2 } else { 1 };
            let mut groups: Vec<Vec<Vec<u8>>> =
                elements.chunks(width).map(|group| group.iter().map(bytes).collect()).collect();
            groups.sort();
            groups.into_iter().flatten().collect()
        }
    }
}

impl Contents {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Which encodings there are of each type.
    pub fn encodings(&self) -> BTreeSet<(&str, &str)> {
        self.entries.values().map(|entry| (entry.kind.as_str(), entry.encoding.as_str())).collect()
    }

    /// The same with positive zeros only.
    pub fn without_signs_of_zeros(mut self) -> Self {
        for entry in self.entries.values_mut().filter(|entry| entry.kind == "zset") {
            for score in entry.value.iter_mut().skip(1).step_by(2).filter(|score| *score == b"-0.0")
            {
                score.remove(0);
            }
        }
        self
    }

    /// Asserts that a server that read what this one wrote holds the same, and nothing else.
    pub fn assert_same_in(&self, read: &Self, way: Way) {
        self.assert_part_of(read, way);
        let extra: Vec<String> = read
            .entries
            .keys()
            .filter(|place| !self.entries.contains_key(*place))
            .map(|(database, key)| format!("db {database}, key {}", quote(&[key])))
            .collect();
        assert!(extra.is_empty(), "keys that were never written: {extra:?}");
    }

    /// Asserts that a server that read what this one wrote holds all of it.
    pub fn assert_part_of(&self, read: &Self, way: Way) {
        assert!(!self.entries.is_empty());
        for (place @ (database, key), written) in &self.entries {
            let name = format!("db {database}, key {}", quote(&[key]));
            let Some(entry) = read.entries.get(place) else {
                panic!("{name}: {written:?} is gone");
            };
            let differs = (0..written.value.len().max(entry.value.len()))
                .find(|index| written.value.get(*index) != entry.value.get(*index))
                .map(|index| [written, entry].map(|it| it.value.get(index).map(|it| quote(&[it]))));
            let same = (&written.kind, &written.expiry) == (&entry.kind, &entry.expiry);
            assert!(
                same && differs.is_none(),
                "{name}: {differs:?}\nwritten {written:?}\nread    {entry:?}"
            );
            if self.program == read.program {
                assert_eq!(written.digest, entry.digest, "{name}: {written:?}");
            }
            let encodings = encodings_of(read.program, key, entry);
            // Commands may have made it big before they made it small, as the writer's did.
            let is_small = key.windows(6).any(|part| part == b":small");
            let kept = way == Way::Commands && written.encoding == entry.encoding && !is_small;
            assert!(
                kept || encodings.contains(&entry.encoding.as_str()),
                "{name}: one of {encodings:?} expected:\nwritten {written:?}\nread    {entry:?}"
            );
        }
    }
}

/// How a program keeps a value that it gets as a whole. How the writer kept it doesn't count: 7.0
/// knows neither lists nor sets in listpacks, which ours has after 7.2, and a collection that has
/// shrunk takes its compact form again only on such a way. The bounds are the defaults of both.
fn encodings_of(program: Program, key: &[u8], entry: &Entry) -> &'static [&'static str] {
    let count = entry.value.len();
    let since_7_2 = program != Program::Redis;
    let is_integer = |text: &Vec<u8>| {
        let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
        number.is_some_and(|number| number.to_string().as_bytes() == text)
    };
    let short =
        |most: usize| count <= most && entry.value.iter().all(|element| element.len() <= 64);
    match entry.kind.as_str() {
        // A command may leave a text that could be a number (APPEND), or one with room (SETRANGE).
        "string" if is_integer(&entry.value[0]) => &["int"],
        // Valkey counts the key in, and the expiry.
        "string" if program == Program::Valkey => &["embstr", "raw"],
        "string" if entry.value[0].len() <= 44 => &["embstr"],
        "string" => &["raw"],
        "list" if !since_7_2 => &["quicklist"],
        "list" if key.starts_with(b"list:small") => &["listpack"],
        "list" if entry.value.iter().map(Vec::len).sum::<usize>() > 8_192 => &["quicklist"],
        // It depends on its nodes.
        "list" => &["listpack", "quicklist"],
        "hash" if short(2 * 512) => &["listpack"],
        "set" if count <= 512 && entry.value.iter().all(is_integer) => &["intset"],
        "set" if since_7_2 && short(128) => &["listpack"],
        "hash" | "set" => &["hashtable"],
        "stream" => &["stream"],
        // The text of a score is never that long.
        "zset" if short(2 * 128) => &["listpack"],
        _ => &["skiplist"],
    }
}
