//! The data itself, read back from both servers: every key of every database, its type, encoding,
//! time to live and value.

use std::collections::BTreeMap;

use crate::compare::{Check, same, same_but_for_digits};
use crate::exceptions::is_encoding_of_7_2;
use crate::generate::all_keys;
use crate::newer::is_encoding_of_redis;
use crate::support::client::{Client, Value, quote};
use crate::support::server::Program;

/// As many databases as there are by default.
const DATABASES: usize = 16;

/// How far apart times to live may be, in milliseconds.
const TIME_TO_LIVE_APART: i64 = 5_000;

/// What one key holds.
#[derive(Clone, Debug)]
pub struct Entry {
    /// TYPE's reply.
    pub kind: Value,
    /// OBJECT ENCODING's reply.
    pub encoding: Value,
    /// PTTL's reply.
    pub time_to_live: Value,
    /// The whole value, in an order of its own where the type has none.
    pub value: Value,
    /// HPEXPIRETIME's reply of a hash's fields in that order, where the oracle knows it.
    pub field_times: Value,
}

/// Everything a server holds, by database and key.
pub type State = BTreeMap<(usize, Vec<u8>), Entry>;

/// Reads everything; the connection ends in database 0.
pub fn read(oracle: Program, client: &mut Client) -> State {
    let mut state = State::new();
    for database in 0..DATABASES {
        client.call(&["SELECT", &database.to_string()]);
        let mut keys: Vec<Vec<u8>> = client
            .call(&["KEYS", "*"])
            .elements()
            .iter()
            .filter_map(|key| key.bytes().map(<[u8]>::to_vec))
            .collect();
        keys.sort();
        for chunk in keys.chunks(200) {
            for (key, entry) in chunk.iter().zip(read_entries(oracle, client, chunk)) {
                state.insert((database, key.clone()), entry);
            }
        }
    }
    client.call(&["SELECT", "0"]);
    state
}

fn read_entries(oracle: Program, client: &mut Client, keys: &[Vec<u8>]) -> Vec<Entry> {
    let about = |words: &[&str], key: &Vec<u8>| -> Vec<Vec<u8>> {
        words.iter().map(|word| word.as_bytes().to_vec()).chain([key.clone()]).collect()
    };
    let questions: Vec<Vec<Vec<u8>>> = keys
        .iter()
        .flat_map(|key| {
            [about(&["TYPE"], key), about(&["OBJECT", "ENCODING"], key), about(&["PTTL"], key)]
        })
        .collect();
    let facts = client.pipeline(&questions);
    let reads: Vec<Vec<Vec<u8>>> = keys
        .iter()
        .zip(facts.chunks(3))
        .map(|(key, facts)| reading(&facts[0].text(), key))
        .collect();
    let values = client.pipeline(&reads);
    keys.iter()
        .zip(facts.chunks(3).zip(values))
        .map(|(key, (facts, value))| {
            let value = in_order(&facts[0].text(), value);
            let timed = oracle == Program::Valkey && facts[0].text() == "hash";
            Entry {
                kind: facts[0].clone(),
                encoding: facts[1].clone(),
                time_to_live: facts[2].clone(),
                field_times: if timed { field_times(client, key, &value) } else { Value::Null },
                value,
            }
        })
        .collect()
}

fn field_times(client: &mut Client, key: &[u8], pairs: &Value) -> Value {
    let pairs = pairs.elements();
    let fields = pairs.iter().step_by(2).filter_map(Value::bytes);
    let count = (pairs.len() / 2).to_string();
    let words = [&b"HPEXPIRETIME"[..], key, b"FIELDS", count.as_bytes()];
    client.call(&words.into_iter().chain(fields).collect::<Vec<_>>())
}

/// The command that reads a whole value of a type.
fn reading(kind: &str, key: &[u8]) -> Vec<Vec<u8>> {
    let (before, after): (&str, &[&str]) = match kind {
        "list" => ("LRANGE", &["0", "-1"]),
        "hash" => ("HGETALL", &[]),
        "set" => ("SMEMBERS", &[]),
        "zset" => ("ZRANGE", &["0", "-1", "WITHSCORES"]),
        "stream" => ("XRANGE", &["-", "+"]),
        _ => ("GET", &[]),
    };
    let after = after.iter().map(|word| word.as_bytes().to_vec());
    [before.as_bytes().to_vec(), key.to_vec()].into_iter().chain(after).collect()
}

/// Fields and members have no order: sorts them.
fn in_order(kind: &str, value: Value) -> Value {
    let width = match kind {
        "hash" => 2,
        "set" => 1,
        _ => return value,
    };
    let elements = value.elements();
    let mut groups: Vec<Vec<Value>> = elements.chunks(width).map(<[Value]>::to_vec).collect();
    groups.sort();
    Value::Array(groups.into_iter().flatten().collect())
}

/// What differs between the states: each key and what is told of it.
pub fn differences(theirs: &State, ours: &State) -> Vec<(Vec<u8>, String)> {
    let mut found = Vec::new();
    for (place @ (database, key), entry) in theirs {
        let name = format!("db {database}, key {}", quote(&[key]));
        match ours.get(place) {
            None => found.push((key.clone(), format!("{name}: missing in ours; theirs {entry:?}"))),
            Some(our_entry) if !same_entry(entry, our_entry) => {
                let text = format!("{name}:\n  theirs {entry:?}\n  ours   {our_entry:?}");
                found.push((key.clone(), text));
            }
            Some(_) => {}
        }
    }
    for ((database, key), entry) in ours {
        if !theirs.contains_key(&(*database, key.clone())) {
            let text = format!("db {database}, key {}: only in ours: {entry:?}", quote(&[key]));
            found.push((key.clone(), text));
        }
    }
    found
}

fn same_entry(theirs: &Entry, ours: &Entry) -> bool {
    theirs.kind == ours.kind
        && (theirs.encoding == ours.encoding
            || is_encoding_of_7_2(&theirs.encoding, &ours.encoding)
            || is_encoding_of_redis(&theirs.encoding, &ours.encoding))
        && (theirs.value == ours.value
            || theirs.kind.text() == "zset" && same_but_for_digits(&theirs.value, &ours.value))
        && same(Check::Near(TIME_TO_LIVE_APART), &theirs.time_to_live, &ours.time_to_live)
        && same(Check::Near(TIME_TO_LIVE_APART), &theirs.field_times, &ours.field_times)
}

/// What differs in the data, and how many keys were compared: both states, and what DBSIZE says once
/// SCAN has looked at each key that might be past its time.
pub fn compare(
    oracle: Program,
    theirs: &mut Client,
    ours: &mut Client,
) -> (Vec<(Vec<u8>, String)>, usize) {
    let their_state = read(oracle, theirs);
    let mut found = differences(&their_state, &read(oracle, ours));
    let exists: Vec<Vec<u8>> = [b"EXISTS".to_vec()].into_iter().chain(all_keys()).collect();
    for database in 0..2 {
        let commands = [
            vec![b"SELECT".to_vec(), database.to_string().into()],
            ["SCAN", "0", "COUNT", "1000000"].map(|word| word.as_bytes().to_vec()).to_vec(),
            exists.clone(),
            vec![b"DBSIZE".to_vec()],
        ];
        let (their_replies, our_replies) = (theirs.pipeline(&commands), ours.pipeline(&commands));
        if their_replies[2..] != our_replies[2..] {
            let text = format!(
                "db {database}: EXISTS and DBSIZE: theirs {:?}, ours {:?}",
                &their_replies[2..],
                &our_replies[2..]
            );
            found.push((Vec::new(), text));
        }
    }
    (found, their_state.len())
}
