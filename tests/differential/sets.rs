//! Random set commands.

use crate::compare::Check;
use crate::generate::{Generator, Step, Words};

/// A member, most often one of few, so that commands meet.
fn member(g: &mut Generator) -> Vec<u8> {
    match g.random.below(20) {
        0..=6 => format!("m{}", g.random.below(12)).into(),
        7..=14 => g.random.between(-6, 6).to_string().into(),
        15 => g.random.pick(&["", "M1", "bin\0\r\n", "9223372036854775807", "007", "70000"]).into(),
        16 => vec![b'm'; 63 + g.random.below(3)],
        17 => format!("member {}", g.random.below(700)).into(),
        _ => g.value(),
    }
}

fn members(g: &mut Generator) -> Vec<Vec<u8>> {
    (0..=g.random.below(4)).map(|_| member(g)).collect()
}

/// Many members at once, up to and over what the compact forms hold.
fn many(g: &mut Generator) -> Step {
    let (from, count) = (g.random.below(500), 1 + g.random.below(200));
    let words = g.random.chance(40);
    let members = (from..from + count).map(|index| {
        if words { format!("member {index}").into_bytes() } else { index.to_string().into_bytes() }
    });
    Words::new("SADD").and(g.key()).and_all(members).exact()
}

fn scan(g: &mut Generator) -> Step {
    let mut words = Words::new("SSCAN").and(g.key());
    words = words.and(if g.random.chance(80) { b"0".to_vec() } else { g.integer() });
    if g.random.chance(40) {
        words = words.and("MATCH").and(g.random.pick(&["*", "m*", "m1", "*1*", "[a-m]*", "x", ""]));
    }
    if g.random.chance(40) {
        words = words.and("COUNT").and(g.random.pick(&["1", "10", "1000", "0", "-1", "abc"]));
    }
    if g.random.chance(5) {
        words = words.and(g.random.pick(&["TYPE", "bogus", "MATCH", "COUNT"]));
    }
    words.checked(Check::Scan)
}

fn random_member(g: &mut Generator) -> Step {
    let mut words = Words::new("SRANDMEMBER").and(g.key());
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
            "abc",
        ]);
        words = words.and(count);
        if g.random.chance(4) {
            words = words.and("more");
        }
    }
    words.checked(Check::Shape)
}

/// What SPOP takes is chance, so it takes nothing or all.
fn pop(g: &mut Generator) -> Step {
    let count = g.random.pick(&["0", "100000", "9223372036854775807", "-1", "abc"]);
    let words = Words::new("SPOP").and(g.key()).and(count);
    // A word too many may be lost again on the way to the servers.
    let words = if g.random.chance(4) { words.and("more") } else { words };
    words.checked(Check::Unordered)
}

fn intersection_size(g: &mut Generator) -> Step {
    let keys = g.keys();
    let count = if g.random.chance(85) { keys.len().to_string().into() } else { g.integer() };
    let mut words = Words::new("SINTERCARD").and(count).and_all(keys);
    if g.random.chance(40) {
        words = words.and("LIMIT").and(g.random.pick(&["0", "1", "3", "100", "-1", "abc"]));
    }
    if g.random.chance(4) {
        words = words.and(g.random.pick(&["LIMIT", "bogus"]));
    }
    words.exact()
}

/// One set command.
pub fn generate(g: &mut Generator) -> Step {
    match g.random.below(40) {
        0..=9 => Words::new("SADD").and(g.key()).and_all(members(g)).exact(),
        10..=11 => many(g),
        12..=16 => Words::new("SREM").and(g.key()).and_all(members(g)).exact(),
        17..=18 => Words::new("SISMEMBER").and(g.key()).and(member(g)).exact(),
        19 => Words::new("SMISMEMBER").and(g.key()).and_all(members(g)).exact(),
        20 => Words::new("SCARD").and(g.key()).exact(),
        21..=22 => Words::new("SMEMBERS").and(g.key()).checked(Check::Unordered),
        23..=25 => Words::new("SMOVE").and(g.key()).and(g.key()).and(member(g)).exact(),
        26 => pop(g),
        27 => random_member(g),
        28..=31 => {
            let name = g.random.pick(&["SINTER", "SUNION", "SDIFF"]);
            Words::new(name).and_all(g.keys()).checked(Check::Unordered)
        }
        32..=34 => {
            let name = g.random.pick(&["SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"]);
            Words::new(name).and(g.key()).and_all(g.keys()).exact()
        }
        35 => intersection_size(g),
        36..=37 => scan(g),
        38 => Words::new("DEL").and(g.key()).exact(),
        _ => Words::new("OBJECT ENCODING").and(g.key()).exact(),
    }
}
