//! Random commands about keys, whatever they hold, and about databases.

use crate::compare::Check;
use crate::generate::{Generator, Step, Words};

const PATTERNS: &[&str] = &[
    "*", "k*", "k?", "k[0-3]", "k[^0-3]", "[k]1", "*x", "\\k1", "k[3-1]", "k[", "k[0", "**", "",
    "?", "nothing*", "k\\", "[a-]", "*[0-9]*", "k[\\0]",
];

/// How far apart the servers' clocks may be when an expiry is set and when it is asked for.
const SECONDS_APART: i64 = 2;
const MILLISECONDS_APART: i64 = 2_000;

/// One command about keys.
pub fn generate(g: &mut Generator) -> Step {
    match g.random.below(40) {
        0..=2 => Words::new(g.random.pick(&["DEL", "UNLINK"])).and_all(g.keys()).exact(),
        3 => Words::new(g.random.pick(&["EXISTS", "TOUCH"])).and_all(g.keys()).exact(),
        4 => Words::new("TYPE").and(g.key()).exact(),
        5..=9 => expire(g),
        10..=12 => Words::new(g.random.pick(&["TTL", "EXPIRETIME"]))
            .and(g.key())
            .checked(Check::Near(SECONDS_APART)),
        13..=14 => {
            let name = g.random.pick(&["PTTL", "PEXPIRETIME"]);
            Words::new(name).and(g.key()).checked(Check::Near(MILLISECONDS_APART))
        }
        15 => Words::new("PERSIST").and(g.key()).exact(),
        16..=18 => {
            Words::new(g.random.pick(&["RENAME", "RENAMENX"])).and(g.key()).and(g.key()).exact()
        }
        19..=20 => copy(g),
        21 => Words::new("MOVE").and(g.key()).and(database(g)).exact(),
        22..=23 => Words::new("KEYS").and(g.random.pick(PATTERNS)).checked(Check::Unordered),
        24..=26 => scan(g),
        27 => Words::new("RANDOMKEY").checked(Check::Shape),
        28..=30 => object(g),
        31..=32 => Words::new("DUMP").and(g.key()).checked(Check::Shape),
        33..=35 => restore(g),
        // It counts keys past their time that aren't removed yet: `state` compares the number.
        36 => Words::new(g.random.pick(&["DBSIZE", "DBSIZE now"])).checked(Check::Shape),
        37 => match g.random.below(4) {
            0 => Words::new(g.random.pick(&["FLUSHDB", "FLUSHALL"])).exact(),
            1 => {
                let name = g.random.pick(&["FLUSHDB", "FLUSHALL"]);
                Words::new(name).and(g.random.pick(&["SYNC", "ASYNC", "async", "NOW"])).exact()
            }
            _ => Words::new("SWAPDB").and(database(g)).and(database(g)).exact(),
        },
        38 => Words::new("SELECT").and(database(g)).exact(),
        _ => Words::new("MEMORY USAGE").and(g.key()).checked(Check::Shape),
    }
}

/// A database's number: mostly the first two, which every connection visits.
pub fn database(g: &mut Generator) -> Vec<u8> {
    match g.random.below(10) {
        0..=6 => g.random.pick(&["0", "0", "1"]).into(),
        7 => g.random.pick(&["2", "9", "15"]).into(),
        8 => g.random.pick(&["16", "-1", "2147483648", "9223372036854775807"]).into(),
        _ => g.integer(),
    }
}

fn expire(g: &mut Generator) -> Step {
    let (name, time) = match g.random.below(4) {
        0 => ("EXPIRE", g.time_to_live(1)),
        1 => ("PEXPIRE", g.time_to_live(1000)),
        2 => ("EXPIREAT", g.moment(1)),
        _ => ("PEXPIREAT", g.moment(1000)),
    };
    let mut words = Words::new(name).and(g.key()).and(time);
    for _ in 0..g.random.below(6).saturating_sub(2) {
        words = words.and(g.random.pick(&["NX", "XX", "GT", "LT", "nx", "gT", "AB"]));
    }
    words.exact()
}

fn copy(g: &mut Generator) -> Step {
    let mut words = Words::new("COPY").and(g.key()).and(g.key());
    for _ in 0..g.random.below(3) {
        words = match g.random.below(3) {
            0 => words.and("REPLACE"),
            1 => words.and("DB").and(database(g)),
            _ => words.and(g.random.pick(&["replace", "DB", "bogus"])),
        };
    }
    words.exact()
}

fn scan(g: &mut Generator) -> Step {
    // Mostly one call that sees everything: then the elements can be compared.
    let cursor = if g.random.chance(90) {
        b"0".to_vec()
    } else {
        g.random.pick(&["abc", "", "-1", "1x", " 0"]).into()
    };
    let mut words = Words::new("SCAN").and(cursor).and("COUNT").and("100000");
    for _ in 0..g.random.below(4) {
        words = match g.random.below(8) {
            0..=2 => words.and("MATCH").and(g.random.pick(PATTERNS)),
            3..=4 => words
                .and("TYPE")
                .and(g.random.pick(&["string", "STRING", "list", "hash", "zset", "bogus", ""])),
            5 => words.and("COUNT").and(g.random.pick(&[
                "0",
                "-1",
                "abc",
                "9223372036854775808",
                "100000",
            ])),
            6 => words.and("COUNT").and("200000"),
            _ => words.and(g.random.pick(&["MATCH", "bogus", "COUNT", "TYPE"])),
        };
    }
    words.checked(Check::Scan)
}

fn object(g: &mut Generator) -> Step {
    match g.random.below(8) {
        0..=3 => Words::new("OBJECT ENCODING").and(g.key()).exact(),
        // Small integers are shared objects there, and nothing is shared here.
        4 => Words::new("OBJECT REFCOUNT").and(g.key()).checked(Check::Shape),
        5 => Words::new("OBJECT IDLETIME").and(g.key()).checked(Check::Shape),
        6 => Words::new("OBJECT FREQ").and(g.key()).exact(),
        _ => {
            Words::new(g.random.pick(&["OBJECT HELP", "OBJECT bogus", "OBJECT", "OBJECT ENCODING"]))
                .exact()
        }
    }
}

fn restore(g: &mut Generator) -> Step {
    let mut payload = match g.payloads.len() {
        0 => b"not a payload".to_vec(),
        count => g.payloads[g.random.below(count)].clone(),
    };
    match g.random.below(12) {
        0 if !payload.is_empty() => {
            let place = g.random.below(payload.len());
            payload[place] ^= 1 << g.random.below(8);
        }
        1 => payload.truncate(g.random.below(payload.len() + 1)),
        _ => {}
    }
    let absolute = g.random.chance(20);
    let time = match g.random.below(10) {
        0..=4 => b"0".to_vec(),
        _ if absolute => g.moment(1000),
        _ => g.time_to_live(1000),
    };
    let mut words = Words::new("RESTORE").and(g.key()).and(time).and(payload);
    if absolute {
        words = words.and("ABSTTL");
    }
    if g.random.chance(60) {
        words = words.and("REPLACE");
    }
    if g.random.chance(10) {
        words = words
            .and(g.random.pick(&["IDLETIME", "FREQ"]))
            .and(g.random.pick(&["0", "5", "255", "256", "-1", "abc"]));
    }
    words.exact()
}
