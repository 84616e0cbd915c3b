//! Random sorted set commands. Ranges by bytes are for sets whose scores are all the same, and upstream's
//! answers for others follow from its structures, so there are keys for those alone.

use crate::compare::Check;
use crate::generate::{Generator, LEX_KEYS, Step, Words};

/// A member, most often one of few, so that commands meet.
fn member(g: &mut Generator) -> Vec<u8> {
    match g.random.below(20) {
        0..=13 => format!("m{}", g.random.below(14)).into(),
        14 => g.random.between(-6, 6).to_string().into(),
        15 => g.random.pick(&["", "M1", "bin\0\r\n", "9223372036854775807", "007", "1.5"]).into(),
        16 => vec![b'm'; 63 + g.random.below(3)],
        17 => format!("member {}", g.random.below(700)).into(),
        _ => g.value(),
    }
}

fn members(g: &mut Generator) -> Vec<Vec<u8>> {
    (0..=g.random.below(4)).map(|_| member(g)).collect()
}

fn score(g: &mut Generator) -> Vec<u8> {
    match g.random.below(30) {
        0..=19 => g.random.between(-8, 8).to_string().into(),
        20..=24 => (g.random.between(-4000, 4000) as f64 / 8.0).to_string().into(),
        25 => g.random.pick(&["inf", "-inf", "+inf", "Infinity"]).into(),
        26 => g.random.pick(&["0", "-0", "1e3", "0x10", "1e-3000", "5.", ".5"]).into(),
        27 => g.random.pick(&["1048576", "-4294967296.5", "9007199254740992"]).into(),
        28 => g.random.pick(&["nan", "abc", "", " 1", "1 ", "1e400", "1,5"]).into(),
        _ => g.random.between(-1_000_000, 1_000_000).to_string().into(),
    }
}

fn pairs(g: &mut Generator) -> Vec<Vec<u8>> {
    (0..=g.random.below(4)).flat_map(|_| [score(g), member(g)]).collect()
}

fn add(g: &mut Generator) -> Step {
    let mut words = Words::new("ZADD").and(g.key());
    if g.random.chance(40) {
        for _ in 0..=g.random.below(2) {
            words = words.and(g.random.pick(&["NX", "XX", "GT", "LT", "CH", "ch", "INCR"]));
        }
    }
    let pairs = if g.random.chance(30) { vec![score(g), member(g)] } else { pairs(g) };
    words = words.and_all(pairs);
    if g.random.chance(2) { words.and("odd").exact() } else { words.exact() }
}

/// Many members at once, up to and over what a listpack holds.
fn many(g: &mut Generator) -> Step {
    let (from, count) = (g.random.below(400), 1 + g.random.below(160));
    let spread = 1 + g.random.below(50);
    let pairs = (from..from + count).flat_map(|index| {
        [(index % spread).to_string().into_bytes(), format!("member {index}").into_bytes()]
    });
    Words::new("ZADD").and(g.key()).and_all(pairs).exact()
}

fn score_bound(g: &mut Generator) -> Vec<u8> {
    let number = match g.random.below(20) {
        0..=13 => g.random.between(-9, 9).to_string().into_bytes(),
        14 => b"-inf".to_vec(),
        15 => b"+inf".to_vec(),
        16 => g.random.pick(&["", " 2", "1e400", "-1e400", "0x4", "2.5", "1e-5000"]).into(),
        17 => g.random.pick(&["nan", "abc", "((1", "1 ", "[1"]).into(),
        _ => score(g),
    };
    if g.random.chance(25) { [b"(", number.as_slice()].concat() } else { number }
}

fn lex_bound(g: &mut Generator) -> Vec<u8> {
    match g.random.below(12) {
        0..=1 => b"-".to_vec(),
        2..=3 => b"+".to_vec(),
        4..=6 => [b"[", member(g).as_slice()].concat(),
        7..=9 => [b"(", member(g).as_slice()].concat(),
        _ => g.random.pick(&["", "m1", "++", "-x", "[", "("]).into(),
    }
}

fn limit(g: &mut Generator) -> Vec<Vec<u8>> {
    let numbers = ["0", "1", "2", "5", "100", "-1", "-2", "9223372036854775807", "abc"];
    vec![b"LIMIT".to_vec(), g.random.pick(&numbers).into(), g.random.pick(&numbers).into()]
}

/// A key that holds a sorted set of equal scores, if anything.
fn lex_key(g: &mut Generator) -> Vec<u8> {
    g.random.pick(LEX_KEYS).into()
}

fn lex_add(g: &mut Generator) -> Step {
    let pairs = members(g).into_iter().flat_map(|member| [b"0".to_vec(), member]);
    let pairs: Vec<Vec<u8>> = pairs.collect();
    Words::new("ZADD").and(lex_key(g)).and_all(pairs).exact()
}

/// Bounds of a kind, and the word that says the kind.
fn bounds(g: &mut Generator) -> (Vec<Vec<u8>>, &'static str) {
    match g.random.below(3) {
        0 => (vec![g.index(), g.index()], ""),
        1 => (vec![score_bound(g), score_bound(g)], "BYSCORE"),
        _ => (vec![lex_bound(g), lex_bound(g)], "BYLEX"),
    }
}

fn range(g: &mut Generator) -> Step {
    let (bounds, kind) = bounds(g);
    let store = g.random.chance(20);
    let source = if kind == "BYLEX" { lex_key(g) } else { g.key() };
    let mut words = if store {
        Words::new("ZRANGESTORE").and(g.key()).and(source)
    } else {
        Words::new("ZRANGE").and(source)
    };
    words = words.and_all(bounds);
    if !kind.is_empty() {
        words = words.and(kind);
    }
    if g.random.chance(35) {
        words = words.and("REV");
    }
    if g.random.chance(if kind.is_empty() { 5 } else { 30 }) {
        words = words.and_all(limit(g));
    }
    if g.random.chance(if store || kind == "BYLEX" { 4 } else { 40 }) {
        words = words.and(g.random.pick(&["WITHSCORES", "withscores"]));
    }
    if g.random.chance(3) {
        words = words.and(g.random.pick(&["bogus", "LIMIT", "REV"]));
    }
    words.exact()
}

fn old_range(g: &mut Generator) -> Step {
    let (name, lex) = g.random.pick(&[
        ("ZREVRANGE", None),
        ("ZRANGEBYSCORE", Some(false)),
        ("ZREVRANGEBYSCORE", Some(false)),
        ("ZRANGEBYLEX", Some(true)),
        ("ZREVRANGEBYLEX", Some(true)),
    ]);
    let bounds = match lex {
        None => [g.index(), g.index()],
        Some(false) => [score_bound(g), score_bound(g)],
        Some(true) => [lex_bound(g), lex_bound(g)],
    };
    let key = if lex == Some(true) { lex_key(g) } else { g.key() };
    let mut words = Words::new(name).and(key).and_all(bounds);
    if g.random.chance(if lex == Some(true) { 4 } else { 40 }) {
        words = words.and("WITHSCORES");
    }
    if g.random.chance(if lex.is_none() { 4 } else { 30 }) {
        words = words.and_all(limit(g));
    }
    words.exact()
}

fn about_range(g: &mut Generator) -> Step {
    let name = g.random.pick(&[
        "ZCOUNT",
        "ZCOUNT",
        "ZLEXCOUNT",
        "ZREMRANGEBYSCORE",
        "ZREMRANGEBYLEX",
        "ZREMRANGEBYRANK",
    ]);
    let bounds = match name {
        "ZREMRANGEBYRANK" => [g.index(), g.index()],
        "ZCOUNT" | "ZREMRANGEBYSCORE" => [score_bound(g), score_bound(g)],
        _ => [lex_bound(g), lex_bound(g)],
    };
    let key = if name.contains("LEX") { lex_key(g) } else { g.key() };
    Words::new(name).and(key).and_all(bounds).exact()
}

fn combine(g: &mut Generator) -> Step {
    let name =
        g.random.pick(&["ZUNION", "ZINTER", "ZDIFF", "ZUNIONSTORE", "ZINTERSTORE", "ZINTERCARD"]);
    let mut words = Words::new(name);
    if name.ends_with("STORE") {
        words = words.and(g.key());
    }
    let keys = g.keys();
    let count = if g.random.chance(92) { keys.len().to_string().into() } else { g.integer() };
    let len = keys.len();
    words = words.and(count).and_all(keys);
    let differs = name.starts_with("ZDIFF") || name == "ZINTERCARD";
    if g.random.chance(if differs { 3 } else { 35 }) {
        words = words.and("WEIGHTS");
        for _ in 0..len {
            words = words.and(g.random.pick(&["1", "2", "-1", "0.5", "0", "inf", "abc", "3", "4"]));
        }
    }
    if g.random.chance(if differs { 3 } else { 35 }) {
        words = words.and("AGGREGATE").and(g.random.pick(&["SUM", "min", "MAX", "AVG"]));
    }
    if g.random.chance(if name == "ZINTERCARD" { 40 } else { 2 }) {
        words = words.and("LIMIT").and(g.random.pick(&["0", "1", "3", "-1", "abc"]));
    }
    if g.random.chance(if name.ends_with("STORE") { 3 } else { 40 }) {
        words = words.and("WITHSCORES");
    }
    words.exact()
}

fn pop(g: &mut Generator) -> Step {
    if g.random.chance(50) {
        let mut words = Words::new(g.random.pick(&["ZPOPMIN", "ZPOPMAX"])).and(g.key());
        if g.random.chance(60) {
            words = words.and(g.random.pick(&["0", "1", "3", "1000", "-1", "abc"]));
        }
        return words.exact();
    }
    let keys = g.keys();
    let count = if g.random.chance(90) { keys.len().to_string().into() } else { g.integer() };
    let mut words = Words::new("ZMPOP").and(count).and_all(keys);
    words = words.and(g.random.pick(&["MIN", "MAX", "max", "MID"]));
    if g.random.chance(50) {
        words = words.and("COUNT").and(g.random.pick(&["1", "3", "1000", "0", "-1", "abc"]));
    }
    words.exact()
}

fn scan(g: &mut Generator) -> Step {
    let mut words = Words::new("ZSCAN").and(g.key());
    words = words.and(if g.random.chance(80) { b"0".to_vec() } else { g.integer() });
    if g.random.chance(40) {
        words = words.and("MATCH").and(g.random.pick(&["*", "m*", "m1", "*1*", "[a-m]*", "x", ""]));
    }
    if g.random.chance(40) {
        words = words.and("COUNT").and(g.random.pick(&["1", "10", "1000", "0", "-1", "abc"]));
    }
    words.checked(Check::Scan)
}

fn random_member(g: &mut Generator) -> Step {
    let mut words = Words::new("ZRANDMEMBER").and(g.key());
    if g.random.chance(70) {
        let count =
            g.random.pick(&["0", "1", "-1", "5", "-5", "1000", "-9223372036854775808", "abc"]);
        words = words.and(count);
        if g.random.chance(50) {
            words = words.and(g.random.pick(&["WITHSCORES", "withscores", "WITHVALUES"]));
        }
    }
    words.checked(Check::Shape)
}

/// One sorted set command.
pub fn generate(g: &mut Generator) -> Step {
    match g.random.below(46) {
        0..=8 => add(g),
        9 => lex_add(g),
        10..=11 => many(g),
        12..=13 => Words::new("ZINCRBY").and(g.key()).and(score(g)).and(member(g)).exact(),
        14..=17 => Words::new("ZREM").and(g.key()).and_all(members(g)).exact(),
        18 => Words::new("ZCARD").and(g.key()).exact(),
        19..=20 => Words::new("ZSCORE").and(g.key()).and(member(g)).exact(),
        21 => Words::new("ZMSCORE").and(g.key()).and_all(members(g)).exact(),
        22..=23 => {
            Words::new(g.random.pick(&["ZRANK", "ZREVRANK"])).and(g.key()).and(member(g)).exact()
        }
        24..=28 => range(g),
        29..=31 => old_range(g),
        32..=34 => about_range(g),
        35..=38 => combine(g),
        39..=40 => pop(g),
        41 => scan(g),
        42 => random_member(g),
        43 => Words::new("SADD").and(g.key()).and_all(members(g)).exact(),
        44 => Words::new("DEL").and(g.key()).exact(),
        _ => Words::new("OBJECT ENCODING").and(g.key()).exact(),
    }
}
