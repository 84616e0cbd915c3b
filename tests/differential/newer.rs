//! Random commands that redis-server 7.0 doesn't know; Valkey is their oracle. Expiry times of fields,
//! SET's IFEQ, polygons, and what clients say of themselves; and among them enough common commands that
//! they meet keys of all kinds. The common commands themselves are for the other oracle: Valkey has
//! changed some of them since 7.2, whose behaviour we keep.

use crate::compare::Check;
use crate::exceptions::{Exception, HELP, is_help};
use crate::generate::{Family, Generator, Step, Words};
use crate::geo;
use crate::hashes;
use crate::streams;
use crate::support::client::Value;

/// What the run against Valkey is made of.
pub const FAMILIES: &[Family] = &[
    Family { name: "fields", weight: 60, generate: of_fields },
    Family { name: "kinds", weight: 12, generate: of_other_kinds },
    Family { name: "hashes", weight: 25, generate: hashes::generate },
    Family { name: "streams", weight: 60, generate: streams::generate },
    Family { name: "polygons", weight: 25, generate: geo::generate_polygons },
    Family { name: "compared", weight: 12, generate: compared },
    Family { name: "common", weight: 12, generate: common },
];

/// What 2^46 milliseconds are in seconds.
const FARTHEST_SECONDS: i64 = 70_368_744_177;

/// The commands on fields and their times.
const FIELD_COMMANDS: [&[u8]; 12] = [
    b"HEXPIRE",
    b"HPEXPIRE",
    b"HEXPIREAT",
    b"HPEXPIREAT",
    b"HTTL",
    b"HPTTL",
    b"HEXPIRETIME",
    b"HPEXPIRETIME",
    b"HPERSIST",
    b"HGETEX",
    b"HSETEX",
    b"HGETDEL",
];

/// Where Redstart may answer otherwise than Valkey, each with its reason.
pub const EXCEPTIONS: &[Exception] = &[
    Exception { reason: HELP, explains: is_help },
    Exception {
        reason: "trimming by MINID leaves no node all of whose entries are deleted",
        explains: |argv, theirs, ours| {
            let nodes = |reply: &Value| reply.field("radix-tree-keys").and_then(|it| it.integer());
            argv[0].eq_ignore_ascii_case(b"XINFO") && nodes(theirs) > nodes(ours)
        },
    },
    Exception {
        reason: "`+` of XREAD is the last entry that there is, as in Redis 7.4.2",
        explains: |argv, theirs, ours| {
            argv[0].eq_ignore_ascii_case(b"XREAD")
                && argv.iter().any(|word| word == b"+")
                && streams(theirs) < streams(ours)
        },
    },
    Exception {
        reason: "XAUTOCLAIM makes no room for as many ids as COUNT says",
        explains: |argv, theirs, _| {
            argv[0].eq_ignore_ascii_case(b"XAUTOCLAIM")
                && theirs.text().starts_with("ERR Insufficient memory")
        },
    },
    Exception {
        reason: "what is wrong with a command about fields is said in the words of Redis 7.4 and 8.0",
        explains: |argv, theirs, ours| {
            FIELD_COMMANDS.iter().any(|name| argv[0].eq_ignore_ascii_case(name))
                && theirs.is_error()
                && ours.is_error()
        },
    },
    Exception {
        reason: "times of fields end at 2^46 milliseconds, as in Redis 7.4",
        explains: |argv, _, ours| {
            let far = |word: &Vec<u8>| {
                let number =
                    std::str::from_utf8(word).ok().and_then(|word| word.parse::<i64>().ok());
                number.is_some_and(|number| number > FARTHEST_SECONDS)
            };
            FIELD_COMMANDS.iter().any(|name| argv[0].eq_ignore_ascii_case(name))
                && argv.iter().any(far)
                && ours.is_error()
        },
    },
    Exception {
        reason: "a command about fields takes one condition, and an option once, as in Redis 7.4",
        explains: |argv, _, ours| {
            let count = |word: &[u8]| {
                argv[1..].iter().filter(|other| other.eq_ignore_ascii_case(word)).count()
            };
            let words = ["FIELDS", "FNX", "FXX", "NX", "XX", "GT", "LT", "KEEPTTL", "PERSIST"]
                .map(str::as_bytes);
            FIELD_COMMANDS.iter().any(|name| argv[0].eq_ignore_ascii_case(name))
                && ours.is_error()
                && (words.iter().any(|word| count(word) > 1)
                    || ["NX", "XX", "GT", "LT"]
                        .iter()
                        .filter(|it| count(it.as_bytes()) > 0)
                        .count()
                        > 1
                    || argv[1].eq_ignore_ascii_case(b"FIELDS"))
        },
    },
    Exception {
        reason: "HSETEX looks at its time before it looks whether the key is there",
        explains: |argv, theirs, ours| {
            argv[0].eq_ignore_ascii_case(b"HSETEX")
                && *theirs == Value::Integer(0)
                && ours.is_error()
        },
    },
    Exception {
        reason: "HSCAN reads cursors as Redis 7.2",
        explains: |argv, _, ours| {
            argv[0].eq_ignore_ascii_case(b"HSCAN")
                && *ours == Value::Error(b"ERR invalid cursor".to_vec())
        },
    },
    Exception {
        reason: "what is wrong with a search for places is said in the words of Redis 7.2",
        explains: |argv, theirs, ours| {
            is_about_places(argv) && theirs.is_error() && ours.is_error()
        },
    },
    Exception {
        reason: "scores, coordinates and lengths may be hexadecimal, as in Redis",
        explains: |argv, theirs, _| has_hexadecimal_number(argv) && theirs.is_error(),
    },
    Exception {
        reason: "a polygon that is wide, or near a pole, has all its places, of which Valkey misses some, and \
                 finds them in another order",
        explains: |argv, theirs, ours| {
            is_about_polygons(argv)
                && match (theirs, ours) {
                    (Value::Integer(theirs), Value::Integer(ours)) => theirs < ours,
                    (Value::Array(theirs), Value::Array(ours)) => {
                        theirs.len() < ours.len()
                            || theirs.len() == ours.len()
                                && (!is_sorted(argv) && theirs.iter().all(|it| ours.contains(it))
                                    || counts(argv))
                    }
                    _ => false,
                }
        },
    },
    Exception {
        reason: "a short hash with times is a listpackex, and strings are embedded up to 44 bytes",
        explains: |argv, theirs, ours| {
            argv[0].eq_ignore_ascii_case(b"OBJECT") && is_encoding_of_redis(theirs, ours)
        },
    },
];

/// Whether a command whose replies may differ leaves other data where they do.
pub fn may_store(argv: &[Vec<u8>]) -> bool {
    FIELD_COMMANDS.iter().any(|name| argv[0].eq_ignore_ascii_case(name))
        || has_hexadecimal_number(argv)
        || is_about_polygons(argv)
}

/// Of how many streams a reply has entries.
fn streams(reply: &Value) -> usize {
    match reply {
        Value::Array(streams) => streams.len(),
        Value::Map(streams) => streams.len(),
        _ => 0,
    }
}

fn is_about_polygons(argv: &[Vec<u8>]) -> bool {
    is_about_places(argv) && argv.iter().any(|word| word.eq_ignore_ascii_case(b"BYPOLYGON"))
}

fn is_sorted(argv: &[Vec<u8>]) -> bool {
    let sorts =
        |word: &Vec<u8>| ["ASC", "DESC"].iter().any(|it| word.eq_ignore_ascii_case(it.as_bytes()));
    argv.iter().any(sorts)
}

/// Whether it chooses some of what it finds: the nearest, or the first.
fn counts(argv: &[Vec<u8>]) -> bool {
    argv.iter().any(|word| word.eq_ignore_ascii_case(b"COUNT"))
}

fn is_about_places(argv: &[Vec<u8>]) -> bool {
    argv[0].to_ascii_uppercase().starts_with(b"GEO")
}

fn has_hexadecimal_number(argv: &[Vec<u8>]) -> bool {
    let is_of_scores = argv[0].to_ascii_uppercase().starts_with(b"Z");
    (is_of_scores || is_about_places(argv)) && argv.iter().any(|word| word.starts_with(b"0x"))
}

/// Whether Redis names an encoding as ours does, and Valkey doesn't.
pub fn is_encoding_of_redis(theirs: &Value, ours: &Value) -> bool {
    [(&b"hashtable"[..], &b"listpackex"[..]), (b"embstr", b"raw"), (b"raw", b"embstr")]
        .iter()
        .any(|(valkey, redis)| theirs.bytes() == Some(valkey) && ours.bytes() == Some(redis))
}

/// Milliseconds by which what is left of a time may differ.
const APART_MS: i64 = 5_000;

/// Whole commands that need nothing random.
const FIXED: &[&str] = &[
    "CLIENT SETINFO LIB-NAME lib",
    "CLIENT SETINFO lib-ver 1.2",
    "CLIENT SETINFO LIB-VER",
    "CLIENT SETINFO lib-bogus x",
    "CLIENT CAPA redirect",
    "CLIENT CAPA bogus other",
    "CLIENT CAPA",
    "CLIENT NO-TOUCH ON",
    "CLIENT NO-TOUCH off",
    "CLIENT NO-TOUCH x",
    "CLIENT KILL MAXAGE 1000000",
    "CLIENT KILL MAXAGE 0",
    "CLIENT KILL MAXAGE -1",
    "CLIENT KILL MAXAGE abc",
    "CLIENT KILL ID 123456 TYPE replica",
    "CLIENT KILL TYPE primary",
    "WAITAOF 0 0 1",
    "WAITAOF 1 0 0",
    "WAITAOF 2 0 0",
    "WAITAOF 0 abc 0",
    "WAITAOF 0 0 -1",
    "WAITAOF 0 -1 0",
    "WAITAOF -1 0 0",
    "WAITAOF abc 0 0",
    "WAITAOF 0 0 abc",
    "WAITAOF 0 0",
    "BGSAVE CANCEL",
    "COMMAND GETKEYS HGETEX k FIELDS 1 f",
    "COMMAND GETKEYS HSETEX k FIELDS 1 f v",
    "COMMAND GETKEYSANDFLAGS MSETEX 2 a 1 b 2 EX 5",
    "COMMAND GETKEYS DELIFEQ k v",
    "COMMAND GETKEYSANDFLAGS HEXPIRE k 1 FIELDS 1 f",
    "COMMAND GETKEYSANDFLAGS HGETDEL k FIELDS 1 f",
    "COMMAND GETKEYSANDFLAGS SET k v IFEQ x",
    "COMMAND GETKEYSANDFLAGS SET k v IFEQ x GET",
];

/// `FIELDS`, how many, and the fields; now and then they don't fit.
fn counted(g: &mut Generator, each: fn(&mut Generator) -> Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let groups: Vec<Vec<Vec<u8>>> = (0..=g.random.below(4)).map(|_| each(g)).collect();
    let count = match g.random.below(40) {
        0 => g.integer(),
        1 => (groups.len() + 1).to_string().into(),
        2 => (groups.len() - 1).to_string().into(),
        _ => groups.len().to_string().into(),
    };
    let word = if g.random.chance(97) { "FIELDS" } else { g.random.pick(&["fields", "FIELD"]) };
    [word.into(), count].into_iter().chain(groups.into_iter().flatten()).collect()
}

fn fields(g: &mut Generator) -> Vec<Vec<u8>> {
    counted(g, |g| vec![hashes::field(g)])
}

fn pairs(g: &mut Generator) -> Vec<Vec<u8>> {
    counted(g, |g| vec![hashes::field(g), g.value()])
}

fn expire(g: &mut Generator) -> Step {
    let name = g.random.pick(&["HEXPIRE", "HPEXPIRE", "HEXPIREAT", "HPEXPIREAT"]);
    let time = match name {
        "HEXPIRE" => g.time_to_live(1),
        "HPEXPIRE" => g.time_to_live(1000),
        "HEXPIREAT" => g.moment(1),
        _ => g.moment(1000),
    };
    let mut words = Words::new(name).and(g.key()).and(time);
    if g.random.chance(40) {
        words = words.and(g.random.pick(&["NX", "XX", "GT", "LT", "nx", "bogus"]));
    }
    words.and_all(fields(g)).exact()
}

fn get_and_expire(g: &mut Generator) -> Step {
    let mut words = Words::new("HGETEX").and(g.key());
    words = match g.random.below(10) {
        0..=1 => words,
        2 => words.and("PERSIST"),
        3 => words.and(g.random.pick(&["KEEPTTL", "NX", "persist", "bogus", "EX"])),
        4 => words.and_all(g.expiry_option()).and("PERSIST"),
        _ => words.and_all(g.expiry_option()),
    };
    words.and_all(fields(g)).exact()
}

fn set_and_expire(g: &mut Generator) -> Step {
    let mut words = Words::new("HSETEX").and(g.key());
    if g.random.chance(25) {
        words = words.and(g.random.pick(&["NX", "XX", "nx"]));
    }
    if g.random.chance(40) {
        words = words.and(g.random.pick(&["FNX", "FXX", "fnx"]));
    }
    words = match g.random.below(10) {
        0..=1 => words,
        2..=3 => words.and("KEEPTTL"),
        4 => words.and(g.random.pick(&["PERSIST", "bogus", "EX", "FXX"])),
        5 => words.and_all(g.expiry_option()).and("KEEPTTL"),
        _ => words.and_all(g.expiry_option()),
    };
    words.and_all(pairs(g)).exact()
}

/// About the fields of hashes and when they expire.
fn of_fields(g: &mut Generator) -> Step {
    match g.random.below(20) {
        0..=5 => expire(g),
        6..=7 => get_and_expire(g),
        8..=11 => set_and_expire(g),
        12 => Words::new("HGETDEL").and(g.key()).and_all(fields(g)).exact(),
        13..=14 => Words::new("HPERSIST").and(g.key()).and_all(fields(g)).exact(),
        15 => Words::new("HTTL").and(g.key()).and_all(fields(g)).checked(Check::Near(5)),
        16 => Words::new("HPTTL").and(g.key()).and_all(fields(g)).checked(Check::Near(APART_MS)),
        17 => Words::new("HEXPIRETIME").and(g.key()).and_all(fields(g)).checked(Check::Near(5)),
        18 => {
            let words = Words::new("HPEXPIRETIME").and(g.key()).and_all(fields(g));
            words.checked(Check::Near(APART_MS))
        }
        _ => Words::new("HLEN").and(g.key()).exact(),
    }
}

fn of_other_kinds(g: &mut Generator) -> Step {
    match g.random.below(12) {
        0..=4 => {
            let compared = if g.random.chance(50) { g.integer() } else { g.value() };
            let mut words = Words::new("SET").and(g.key()).and(g.value()).and("IFEQ").and(compared);
            for _ in 0..g.random.below(3) {
                words = match g.random.below(8) {
                    0 => words.and(g.random.pick(&["NX", "XX", "IFEQ", "ifeq"])),
                    1..=3 => words.and("GET"),
                    4 => words.and("KEEPTTL"),
                    _ => words.and_all(g.expiry_option()),
                };
            }
            words.exact()
        }
        5..=6 => {
            let words = Words::new(g.random.pick(&["ZRANK", "ZREVRANK"]));
            words.and(g.key()).and(g.random.pick(&["a", "b", "f1", "1"])).and("WITHSCORE").exact()
        }
        7 => Words::new("HSCAN").and(g.key()).and("0").and("NOVALUES").checked(Check::Scan),
        8 => Words::new("ZSCAN").and(g.key()).and("0").and("NOSCORES").checked(Check::Scan),
        _ => Words::new(g.random.pick(FIXED)).exact(),
    }
}

/// Strings that are compared, and several with one expiry time. What only Redis has, is not here.
fn compared(g: &mut Generator) -> Step {
    if g.random.chance(35) {
        let value = if g.random.chance(50) { g.integer() } else { g.value() };
        return Words::new("DELIFEQ").and(g.key()).and(value).exact();
    }
    let pairs: Vec<Vec<u8>> = (0..=g.random.below(3)).flat_map(|_| [g.key(), g.value()]).collect();
    let count =
        if g.random.chance(94) { (pairs.len() / 2).to_string().into() } else { g.integer() };
    let mut words = Words::new("MSETEX").and(count).and_all(pairs);
    for _ in 0..g.random.below(3) {
        words = match g.random.below(8) {
            0..=2 => words.and(g.random.pick(&["NX", "XX", "nx", "GET"])),
            3 => words.and("KEEPTTL"),
            _ => words.and_all(g.expiry_option()),
        };
    }
    words.exact()
}

/// Enough of other commands that keys of all kinds are met.
fn common(g: &mut Generator) -> Step {
    let key = g.key();
    match g.random.below(14) {
        0..=2 => Words::new("SET").and(key).and(g.value()).exact(),
        3 => Words::new("GET").and(key).exact(),
        4 => Words::new("RPUSH").and(key).and(g.value()).exact(),
        5 => Words::new("ZADD").and(key).and("1").and("a").and("2").and("f1").exact(),
        6 => Words::new("DEL").and(key).exact(),
        7 => Words::new("RENAME").and(key).and(g.key()).exact(),
        8 => Words::new("COPY").and(key).and(g.key()).and("REPLACE").exact(),
        9 => Words::new("EXPIRE").and(key).and("100000").exact(),
        10 => Words::new("PERSIST").and(key).exact(),
        11 => Words::new("TYPE").and(key).exact(),
        12 => Words::new("MOVE").and(key).and("1").exact(),
        _ => Words::new("PTTL").and(key).checked(Check::Near(APART_MS)),
    }
}
