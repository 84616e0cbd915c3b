//! Random hash commands. Those on the expiry times of fields are in [`crate::newer`]: 7.0 has none.

use crate::compare::Check;
use crate::generate::{Generator, Step, Words};

/// A field's name, most often one of few, so that commands meet.
pub fn field(g: &mut Generator) -> Vec<u8> {
    match g.random.below(20) {
        0..=12 => format!("f{}", g.random.below(12)).into(),
        13..=14 => g.random.between(-5, 5).to_string().into(),
        15 => g.random.pick(&["", "F1", "bin\0\r\n", "9223372036854775807", "007"]).into(),
        16 => vec![b'f'; 63 + g.random.below(3)],
        17 => format!("field {}", g.random.below(700)).into(),
        _ => g.value(),
    }
}

fn fields(g: &mut Generator) -> Vec<Vec<u8>> {
    (0..=g.random.below(4)).map(|_| field(g)).collect()
}

fn pairs(g: &mut Generator) -> Vec<Vec<u8>> {
    (0..=g.random.below(4)).flat_map(|_| [field(g), g.value()]).collect()
}

/// Many fields at once, up to and over what a listpack holds.
fn many(g: &mut Generator) -> Step {
    let (from, count) = (g.random.below(400), 1 + g.random.below(200));
    let pairs = (from..from + count)
        .flat_map(|index| [format!("field {index}").into_bytes(), index.to_string().into_bytes()]);
    Words::new("HSET").and(g.key()).and_all(pairs).exact()
}

fn scan(g: &mut Generator) -> Step {
    let mut words = Words::new("HSCAN").and(g.key());
    words = words.and(if g.random.chance(80) { b"0".to_vec() } else { g.integer() });
    if g.random.chance(40) {
        words = words.and("MATCH").and(g.random.pick(&["*", "f*", "f1", "*1*", "[a-f]*", "x", ""]));
    }
    if g.random.chance(40) {
        words = words.and("COUNT").and(g.random.pick(&["1", "10", "1000", "0", "-1", "abc"]));
    }
    if g.random.chance(5) {
        words = words.and(g.random.pick(&["TYPE", "bogus", "MATCH", "COUNT"]));
    }
    // A big hash gives some of its fields, and each server its own.
    words.checked(Check::Scan)
}

fn random_field(g: &mut Generator) -> Step {
    let mut words = Words::new("HRANDFIELD").and(g.key());
    if g.random.chance(70) {
        let count = g.random.pick(&[
            "0",
            "1",
            "-1",
            "5",
            "-5",
            "1000",
            "9223372036854775807",
            "-9223372036854775808",
            "-4611686018427387905",
            "4611686018427387904",
            "abc",
        ]);
        words = words.and(count);
        if g.random.chance(50) {
            words = words.and(g.random.pick(&["WITHVALUES", "withvalues"]));
        }
    }
    words.checked(Check::Shape)
}

/// One hash command.
pub fn generate(g: &mut Generator) -> Step {
    match g.random.below(40) {
        0..=7 => Words::new("HSET").and(g.key()).and_all(pairs(g)).exact(),
        8 => Words::new("HMSET").and(g.key()).and_all(pairs(g)).exact(),
        9 => many(g),
        10..=11 => Words::new("HSETNX").and(g.key()).and(field(g)).and(g.value()).exact(),
        12..=14 => Words::new("HGET").and(g.key()).and(field(g)).exact(),
        15..=16 => Words::new("HMGET").and(g.key()).and_all(fields(g)).exact(),
        17..=18 => Words::new("HGETALL").and(g.key()).checked(Check::Unordered),
        19 => Words::new(g.random.pick(&["HKEYS", "HVALS"])).and(g.key()).checked(Check::Unordered),
        20 => Words::new("HLEN").and(g.key()).exact(),
        21..=22 => {
            Words::new(g.random.pick(&["HSTRLEN", "HEXISTS"])).and(g.key()).and(field(g)).exact()
        }
        23..=27 => Words::new("HDEL").and(g.key()).and_all(fields(g)).exact(),
        28..=30 => Words::new("HINCRBY").and(g.key()).and(field(g)).and(g.integer()).exact(),
        31..=33 => Words::new("HINCRBYFLOAT").and(g.key()).and(field(g)).and(g.float()).exact(),
        34..=35 => random_field(g),
        36..=37 => scan(g),
        38 => Words::new("DEL").and(g.key()).exact(),
        _ => Words::new("OBJECT ENCODING").and(g.key()).exact(),
    }
}
