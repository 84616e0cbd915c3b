//! What a key holds, whatever its type, as a text that can be compared between servers: elements in
//! their order where they have one, sorted where they haven't, and when the key and a hash's fields
//! expire.

use super::client::{Client, Value};

/// All that a key holds; nothing where there is no such key.
pub fn of_key(client: &mut Client, key: &str) -> Option<String> {
    let held = match client.call(&["TYPE", key]).text().as_str() {
        "none" => return None,
        "string" => client.call(&["GET", key]),
        "list" => client.call(&["LRANGE", key, "0", "-1"]),
        "zset" => scores(client.call(&["ZRANGE", key, "0", "-1", "WITHSCORES"])),
        "set" => sorted(client.call(&["SMEMBERS", key])),
        "hash" => hash(client, key),
        other => panic!("{key} holds a {other}"),
    };
    let expiry = client.call(&["PEXPIRETIME", key]);
    Some(format!("{key} {expiry} {held}"))
}

/// Fields, values, and the times at which fields expire, where any does and the server knows them.
fn hash(client: &mut Client, key: &str) -> Value {
    let fields = sorted(client.call(&["HKEYS", key]));
    let names: Vec<String> = fields.elements().iter().map(Value::text).collect();
    let count = names.len().to_string();
    let ask = |client: &mut Client, words: &[&str]| {
        let words = words.iter().copied().chain(names.iter().map(String::as_str));
        client.call(&words.collect::<Vec<_>>())
    };
    let values = ask(client, &["HMGET", key]);
    let times = ask(client, &["HPEXPIRETIME", key, "FIELDS", &count]);
    let expires = times.elements().iter().any(|time| time.integer() != Some(-1));
    Value::Array(vec![fields, values, if expires { times } else { Value::NullArray }])
}

/// Scores in one form: Redis 7.0 prints 0.1 with all its 17 digits, 7.2 doesn't.
fn scores(members: Value) -> Value {
    let mut elements = members.elements();
    for score in elements.iter_mut().skip(1).step_by(2) {
        let number: f64 = score.text().parse().expect("a score is a number");
        *score = Value::bulk(&format!("{number:?}"));
    }
    Value::Array(elements)
}

fn sorted(value: Value) -> Value {
    let mut elements = value.elements();
    elements.sort();
    Value::Array(elements)
}
