//! Random stream commands. Ids are given, since those that a server chooses tell its clock: few and close
//! together, so that they meet again, or far ahead. Groups and consumers are few as well. Those that
//! wait do so for a moment only, and aren't spoiled.

use crate::compare::Check;
use crate::generate::{Generator, STREAM_KEYS, Step, Words};

/// Ids at and beyond the edges, well and badly formed.
const ODD_IDS: &[&str] = &[
    "0-0",
    "0",
    "-",
    "+",
    "$",
    ">",
    "*",
    "5-*",
    "18446744073709551615-18446744073709551615",
    "18446744073709551615",
    "18446744073709551614-18446744073709551615",
    "18446744073709551616",
    "1-18446744073709551616",
    "007-01",
    "+5-1",
    " 5-1",
    "5- -1",
    "5--1",
    "-5",
    "5-",
    "5-x",
    "x",
    "",
    "(5",
    "(5-3",
    "(",
    "(-",
    "5-1\0",
];
const GROUPS: &[&str] = &["g", "h", "g", "no such group", ""];
const CONSUMERS: &[&str] = &["alice", "bob", "Alice", "c", ""];

fn id(g: &mut Generator) -> Vec<u8> {
    match g.random.below(20) {
        0 => g.random.pick(ODD_IDS).into(),
        1..=3 => g.random.below(120).to_string().into(),
        _ => format!("{}-{}", g.random.below(120), g.random.below(3)).into(),
    }
}

fn ids(g: &mut Generator) -> Vec<Vec<u8>> {
    (0..=g.random.below(4)).map(|_| id(g)).collect()
}

/// A key, most often one that holds no other type.
fn key(g: &mut Generator) -> Vec<u8> {
    if g.random.chance(70) { g.random.pick(STREAM_KEYS).to_vec() } else { g.key() }
}

fn bound(g: &mut Generator) -> Vec<u8> {
    match g.random.below(10) {
        0..=3 => g.random.pick(&["-", "+"]).into(),
        4 => [b"(".to_vec(), id(g)].concat(),
        _ => id(g),
    }
}

fn group(g: &mut Generator) -> &'static str {
    g.random.pick(GROUPS)
}

fn consumer(g: &mut Generator) -> &'static str {
    g.random.pick(CONSUMERS)
}

fn count(g: &mut Generator) -> Vec<u8> {
    match g.random.below(12) {
        0 => g.integer(),
        _ => g.random.between(-1, 6).to_string().into(),
    }
}

/// `[COUNT count]`, mostly not.
fn maybe_count(g: &mut Generator, words: Words) -> Words {
    match g.random.below(8) {
        0..=1 => {
            let count = count(g);
            words.and("COUNT").and(count)
        }
        2 if g.random.chance(10) => words.and(g.random.pick(&["COUNT", "bogus"])),
        _ => words,
    }
}

fn trimming(g: &mut Generator, words: Words) -> Words {
    let by_id = g.random.chance(40);
    let words = words.and(if by_id { "MINID" } else { g.random.pick(&["MAXLEN", "maxlen"]) });
    let words = match g.random.below(4) {
        0 => words.and("~"),
        1 => words.and("="),
        _ => words,
    };
    let threshold = match g.random.below(12) {
        0 => g.integer(),
        _ if by_id => id(g),
        _ => g.random.below(40).to_string().into(),
    };
    let words = words.and(threshold);
    if g.random.chance(12) {
        let limit = count(g);
        return words.and("LIMIT").and(limit);
    }
    words
}

/// One stream command.
pub fn generate(g: &mut Generator) -> Step {
    match g.random.below(80) {
        0..=17 => add(g),
        18 => many(g),
        19 => Words::new("XLEN").and(key(g)).exact(),
        20..=27 => {
            let words = Words::new(g.random.pick(&["XRANGE", "XREVRANGE"])).and(key(g));
            let words = words.and(bound(g)).and(bound(g));
            maybe_count(g, words).exact()
        }
        28..=31 => Words::new("XDEL").and(key(g)).and_all(ids(g)).exact(),
        32..=34 => {
            let words = Words::new("XTRIM").and(key(g));
            trimming(g, words).exact()
        }
        35 => set_id(g),
        36..=39 => read(g),
        40..=51 => read_group(g),
        52..=56 => groups(g),
        57..=60 => Words::new("XACK").and(key(g)).and(group(g)).and_all(ids(g)).exact(),
        61..=65 => pending(g),
        66..=69 => claim(g),
        70..=72 => claim_automatically(g),
        73..=77 => info(g),
        78 => Words::new("OBJECT ENCODING").and(key(g)).exact(),
        _ => Words::new("TYPE").and(key(g)).exact(),
    }
}

fn add(g: &mut Generator) -> Step {
    let mut words = Words::new("XADD").and(key(g));
    if g.random.chance(8) {
        words = words.and("NOMKSTREAM");
    }
    if g.random.chance(15) {
        words = trimming(g, words);
    }
    let id = match g.random.below(10) {
        0 => id(g),
        1..=3 => format!("{}-*", g.random.below(120)).into(),
        _ => format!("{}-{}", g.random.below(120), g.random.below(3)).into(),
    };
    // A server's own clock would tell.
    let id = if id == b"*" { b"119-*".to_vec() } else { id };
    words = words.and(id);
    for _ in 0..=g.random.below(3) {
        let name = g.random.pick(&["f", "g", "name", "7", ""]);
        let value = g.value();
        words = words.and(name).and(value);
    }
    words.exact()
}

/// Enough for several nodes, one command.
fn many(g: &mut Generator) -> Step {
    let value = vec![b'v'; 3_000 + g.random.below(3_000)];
    Words::new("XADD")
        .and(key(g))
        .and(format!("{}-*", g.random.below(120)))
        .and("f")
        .and(value)
        .exact()
}

fn set_id(g: &mut Generator) -> Step {
    let mut words = Words::new("XSETID").and(key(g)).and(id(g));
    for _ in 0..g.random.below(3) {
        words = match g.random.below(5) {
            0..=1 => {
                let number = g.random.below(300).to_string();
                words.and("ENTRIESADDED").and(number)
            }
            2..=3 => {
                let id = id(g);
                words.and("MAXDELETEDID").and(id)
            }
            _ => words.and(g.random.pick(&["ENTRIESADDED", "MAXDELETEDID", "bogus"])),
        };
    }
    words.exact()
}

/// `[BLOCK milliseconds]`, for a moment.
fn maybe_block(g: &mut Generator, words: Words) -> Words {
    match g.random.below(10) {
        0 => words.and("BLOCK").and("1"),
        1 if g.random.chance(20) => words.and("BLOCK").and(g.random.pick(&["-1", "x", "1.5"])),
        _ => words,
    }
}

fn streams(g: &mut Generator, words: Words, mut id: impl FnMut(&mut Generator) -> Vec<u8>) -> Step {
    let keys: Vec<_> = (0..=g.random.below(3)).map(|_| key(g)).collect();
    let mut ids: Vec<Vec<u8>> = keys.iter().map(|_| id(g)).collect();
    if g.random.chance(3) {
        ids.pop();
    }
    words.and("STREAMS").and_all(keys).and_all(ids).exact()
}

fn read(g: &mut Generator) -> Step {
    let words = maybe_count(g, Words::new("XREAD"));
    let words = maybe_block(g, words);
    streams(g, words, |g| match g.random.below(8) {
        0 => b"$".to_vec(),
        _ => id(g),
    })
}

fn read_group(g: &mut Generator) -> Step {
    let mut words = Words::new("XREADGROUP GROUP").and(group(g)).and(consumer(g));
    if g.random.chance(10) {
        words = words.and("NOACK");
    }
    let words = maybe_count(g, words);
    let words = maybe_block(g, words);
    let first = key(g);
    let id = match g.random.below(10) {
        0 => id(g),
        1..=2 => b"0".to_vec(),
        _ => b">".to_vec(),
    };
    if g.random.chance(15) {
        let second = key(g);
        return words.and("STREAMS").and(first).and(second).and(id).and(">").exact();
    }
    words.and("STREAMS").and(first).and(id).exact()
}

fn groups(g: &mut Generator) -> Step {
    let position = if g.random.chance(30) { b"$".to_vec() } else { id(g) };
    let read = g.random.between(-2, 200).to_string();
    match g.random.below(12) {
        0..=4 => {
            let mut words = Words::new("XGROUP CREATE").and(key(g)).and(group(g)).and(position);
            if g.random.chance(50) {
                words = words.and("MKSTREAM");
            }
            if g.random.chance(20) {
                words = words.and("ENTRIESREAD").and(read);
            }
            words.exact()
        }
        5..=6 => {
            let words = Words::new("XGROUP SETID").and(key(g)).and(group(g)).and(position);
            if g.random.chance(30) {
                words.and("ENTRIESREAD").and(read).exact()
            } else {
                words.exact()
            }
        }
        7 => Words::new("XGROUP DESTROY").and(key(g)).and(group(g)).exact(),
        8..=9 => {
            Words::new("XGROUP CREATECONSUMER").and(key(g)).and(group(g)).and(consumer(g)).exact()
        }
        10 => Words::new("XGROUP DELCONSUMER").and(key(g)).and(group(g)).and(consumer(g)).exact(),
        _ => Words::new(g.random.pick(&["XGROUP", "XGROUP HELP", "XGROUP bogus a b"])).exact(),
    }
}

fn pending(g: &mut Generator) -> Step {
    let words = Words::new("XPENDING").and(key(g)).and(group(g));
    if g.random.chance(40) {
        return words.exact();
    }
    let words = match g.random.below(6) {
        0 => words.and("IDLE").and(g.random.pick(&["0", "100000000", "-5", "x"])),
        _ => words,
    };
    let words = words.and(bound(g)).and(bound(g)).and(count(g));
    let words = if g.random.chance(40) { words.and(consumer(g)) } else { words };
    words.checked(Check::Idle)
}

/// None waits so long, or all do.
fn idle(g: &mut Generator) -> &'static str {
    g.random.pick(&["0", "0", "0", "100000000", "-7", "x"])
}

fn claim(g: &mut Generator) -> Step {
    let mut words = Words::new("XCLAIM").and(key(g)).and(group(g)).and(consumer(g));
    words = words.and(idle(g)).and_all(ids(g));
    for _ in 0..g.random.below(3) {
        words = match g.random.below(9) {
            0..=1 => words.and("FORCE"),
            2..=3 => words.and("JUSTID"),
            4 => words.and("RETRYCOUNT").and(g.random.pick(&["0", "7", "-1", "x"])),
            5 => words.and("IDLE").and(g.random.pick(&["0", "5000000", "-3", "x"])),
            6 => {
                words.and("TIME").and(g.random.pick(&["0", "1700000000000", "99999999999999", "x"]))
            }
            7 => {
                let id = id(g);
                words.and("LASTID").and(id)
            }
            _ => words.and(g.random.pick(&["bogus", "TIME", "LASTID"])),
        };
    }
    words.exact()
}

fn claim_automatically(g: &mut Generator) -> Step {
    let words = Words::new("XAUTOCLAIM").and(key(g)).and(group(g)).and(consumer(g));
    let words = words.and(idle(g)).and(bound(g));
    let words = maybe_count(g, words);
    if g.random.chance(30) { words.and("JUSTID").exact() } else { words.exact() }
}

fn info(g: &mut Generator) -> Step {
    match g.random.below(8) {
        0..=1 => Words::new("XINFO STREAM").and(key(g)).exact(),
        2..=3 => {
            let words = Words::new("XINFO STREAM").and(key(g)).and("FULL");
            maybe_count(g, words).checked(Check::Idle)
        }
        4..=5 => Words::new("XINFO GROUPS").and(key(g)).exact(),
        6 => Words::new("XINFO CONSUMERS").and(key(g)).and(group(g)).checked(Check::Idle),
        _ => Words::new(g.random.pick(&["XINFO", "XINFO HELP", "XINFO STREAM"])).exact(),
    }
}
