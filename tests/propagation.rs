//! What a command changes is what the log says it changed: every row that writes is run with
//! generated arguments, the log is replayed into an empty server, and both must hold the same.
//!
//! One test for all commands: a row that writes and has no generator here fails it.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod embedded;

use std::sync::Arc;

use embedded::{Embedded, settings};
use redstart::base::env::{Env, Rng, Stopwatch, Threads};
use redstart::base::sim_disk::{SimClock, SimDisk};
use redstart::command::spec::Effect;
use redstart::engine::registry::Registry;

/// Commands run with each seed.
const COMMANDS: usize = 6_000;

fn env(disk: &SimDisk, clock: &Arc<SimClock>, seed: u64) -> Env {
    Env {
        clock: Arc::clone(clock) as Arc<_>,
        stopwatch: Stopwatch::default(),
        disk: Arc::new(disk.clone()),
        threads: Threads::None,
        seed,
    }
}

type Words = Vec<Vec<u8>>;

fn pick<'a>(rng: &mut Rng, choices: &[&'a str]) -> &'a str {
    choices[rng.below(choices.len() as u64) as usize]
}

fn key(rng: &mut Rng) -> Vec<u8> {
    match rng.below(4) {
        0 => hash_key(rng),
        1 => list_key(rng),
        _ => format!("key:{}", rng.below(12)).into_bytes(),
    }
}

fn list_key(rng: &mut Rng) -> Vec<u8> {
    format!("list:{}", rng.below(5)).into_bytes()
}

fn hash_key(rng: &mut Rng) -> Vec<u8> {
    format!("hash:{}", rng.below(6)).into_bytes()
}

fn value(rng: &mut Rng) -> Vec<u8> {
    match rng.below(6) {
        0 => rng.below(1000).to_string().into_bytes(),
        1 => format!("-{}", rng.below(1000)).into_bytes(),
        2 => format!("{}.5", rng.below(1000)).into_bytes(),
        3 => vec![b'x'; rng.below(400) as usize],
        4 => Vec::new(),
        _ => format!("value:{}", rng.next_u64()).into_bytes(),
    }
}

fn number(rng: &mut Rng) -> Vec<u8> {
    (rng.below(200) as i64 - 100).to_string().into_bytes()
}

/// The place of a bit.
fn place(rng: &mut Rng) -> Vec<u8> {
    rng.below(4_000).to_string().into_bytes()
}

fn words(text: &str) -> Words {
    text.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
}

/// Expiry options of SET and GETEX; times are about `now_ms`, some of them in the past.
fn expiry_option(rng: &mut Rng, now_ms: i64, keep: &str) -> Words {
    let soon = rng.below(200) as i64 + 1;
    let text = match rng.below(7) {
        0 => format!("EX {soon}"),
        1 => format!("PX {}", soon * 10),
        2 => format!("EXAT {}", now_ms / 1000 + soon - 20),
        3 => format!("PXAT {}", now_ms + soon * 10 - 200),
        4 => keep.to_owned(),
        _ => String::new(),
    };
    words(&text)
}

/// Arguments for a row, its name not included; `None` where this test doesn't know the command.
fn arguments(name: &str, rng: &mut Rng, now_ms: i64, dump: &[u8]) -> Option<Words> {
    let pairs = |rng: &mut Rng| -> Words {
        (0..=rng.below(3)).flat_map(|_| [key(rng), value(rng)]).collect()
    };
    let keys = |rng: &mut Rng| -> Words { (0..=rng.below(3)).map(|_| key(rng)).collect() };
    let database = |rng: &mut Rng| rng.below(3).to_string().into_bytes();
    Some(match name {
        "SET" | "GETEX" | "DELEX" | "DELIFEQ" | "MSETEX" | "INCREX" => {
            return option_arguments(name, rng, now_ms);
        }
        "SETNX" | "GETSET" | "APPEND" => vec![key(rng), value(rng)],
        "SETEX" | "PSETEX" => {
            vec![key(rng), (rng.below(500) + 1).to_string().into_bytes(), value(rng)]
        }
        "MSET" | "MSETNX" => pairs(rng),
        "SETRANGE" => vec![key(rng), rng.below(300).to_string().into_bytes(), value(rng)],
        _ if name.starts_with("PF") || name.contains("BIT") => return bit_arguments(name, rng),
        "INCR" | "DECR" | "GETDEL" | "PERSIST" => vec![key(rng)],
        "INCRBY" | "DECRBY" => vec![key(rng), number(rng)],
        "INCRBYFLOAT" => vec![key(rng), pick(rng, &["0.1", "1e3", "-7.25", "3"]).as_bytes().into()],
        "DEL" | "UNLINK" => keys(rng),
        "EXPIRE" | "PEXPIRE" | "EXPIREAT" | "PEXPIREAT" => {
            let after = rng.below(2000) as i64 - 100;
            let time = match name {
                "EXPIRE" => after / 10,
                "PEXPIRE" => after,
                "EXPIREAT" => now_ms / 1000 + after / 10,
                _ => now_ms + after,
            };
            let mut list = vec![key(rng), time.to_string().into_bytes()];
            list.extend(words(pick(rng, &["", "", "NX", "XX", "GT", "LT"])));
            list
        }
        "RENAME" | "RENAMENX" => vec![key(rng), key(rng)],
        "MOVE" => vec![key(rng), database(rng)],
        "COPY" => {
            let mut list = vec![key(rng), key(rng)];
            if rng.below(2) == 0 {
                list.extend([b"DB".to_vec(), database(rng)]);
            }
            list.extend(words(pick(rng, &["", "REPLACE"])));
            list
        }
        _ if name.starts_with("FUNCTION") || name == "EVAL" => return script_arguments(name, rng),
        // Without a network it moves nothing; what it does to the log is in tests/migrate.rs.
        "MIGRATE" => [words("127.0.0.1 1"), vec![key(rng)], words("0 10")].concat(),
        "RESTORE" | "RESTORE-ASKING" => {
            let time = rng.below(2) * rng.below(1000);
            let mut list = vec![key(rng), time.to_string().into_bytes(), dump.to_vec()];
            list.extend(words(pick(rng, &["", "REPLACE", "REPLACE IDLETIME 5"])));
            list
        }
        "SORT" => {
            let mut list = vec![list_key(rng)];
            let options =
                ["ALPHA", "BY nosort", "ALPHA BY key:*", "ALPHA GET # GET hash:*->f1", "DESC"];
            list.extend(words(pick(rng, &options)));
            list.extend([b"STORE".to_vec(), key(rng)]);
            list
        }
        "LPUSH" | "RPUSH" | "LPUSHX" | "RPUSHX" | "LPOP" | "RPOP" | "LSET" | "LTRIM" | "LREM"
        | "LINSERT" | "LMOVE" | "RPOPLPUSH" | "LMPOP" | "BLPOP" | "BRPOP" | "BLMOVE"
        | "BRPOPLPUSH" | "BLMPOP" => list_arguments(name, rng),
        _ if name.starts_with('H') => return hash_arguments(name, rng, now_ms),
        _ if name.starts_with('S') && name != "SORT" && name != "SWAPDB" => {
            return set_arguments(name, rng);
        }
        _ if name.starts_with('Z') || name.starts_with("BZ") => return zset_arguments(name, rng),
        _ if name.starts_with('X') => return stream_arguments(name, rng, now_ms),
        _ if name.starts_with("GEO") => return geo_arguments(name, rng),
        // Emptying everything often would leave nothing to look at.
        "FLUSHDB" | "FLUSHALL" => match rng.below(30) {
            0 => words(pick(rng, &["", "ASYNC", "SYNC"])),
            _ => words("nonsense"),
        },
        "SWAPDB" => vec![database(rng), database(rng)],
        _ => return None,
    })
}

/// As [`arguments`], for strings with expiry times and comparisons.
fn script_arguments(name: &str, rng: &mut Rng) -> Option<Words> {
    let library = pick(rng, &["one", "two", "three"]);
    Some(match name {
        "FUNCTION LOAD" => {
            let constant = rng.below(100);
            let code = format!(
                "#!lua name={library}\nredis.register_function('f_{library}', function() return \
                 {constant} end)"
            );
            let mut list = words(pick(rng, &["", "REPLACE"]));
            list.push(code.into_bytes());
            list
        }
        "FUNCTION DELETE" => words(library),
        "FUNCTION FLUSH" if rng.below(4) > 0 => words("NOSUCHOPTION"),
        "FUNCTION FLUSH" => words(""),
        "FUNCTION RESTORE" => words("x"),
        "EVAL" => {
            let script = "local made = redis.pcall('INCRBYFLOAT', KEYS[1], '0.1') \
                          redis.pcall('SPOP', KEYS[2]) redis.pcall('PEXPIRE', KEYS[1], 100) \
                          redis.pcall('SELECT', 1) redis.pcall('LPUSH', KEYS[3], 'a') return made";
            [vec![script.into(), b"3".to_vec()], (0..3).map(|_| key(rng)).collect()].concat()
        }
        _ => return None,
    })
}

fn option_arguments(name: &str, rng: &mut Rng, now_ms: i64) -> Option<Words> {
    Some(match name {
        "SET" => {
            let mut list = vec![key(rng), value(rng)];
            list.extend(words(pick(
                rng,
                &["", "", "NX", "XX GET", "IFNE 7", "IFDNE 9555e8555c62dcfd"],
            )));
            list.extend(expiry_option(rng, now_ms, "KEEPTTL"));
            list
        }
        "GETEX" => {
            let mut list = vec![key(rng)];
            list.extend(expiry_option(rng, now_ms, "PERSIST"));
            list
        }
        "DELIFEQ" => vec![key(rng), value(rng)],
        "INCREX" => {
            let options = ["", "BYINT -7", "BYFLOAT 0.3", "UBOUND 20", "LBOUND 3 SATURATE"];
            let mut list: Words =
                [key(rng)].into_iter().chain(words(pick(rng, &options))).collect();
            let times = expiry_option(rng, now_ms, "PERSIST");
            let may_be_kept = times.len() == 2 && rng.below(3) == 0;
            list.extend(times);
            list.extend(words(if may_be_kept { "ENX" } else { "" }));
            list
        }
        "DELEX" => {
            let options = ["", "IFEQ x", "IFNE x", "IFDNE 9555e8555c62dcfd"];
            [key(rng)].into_iter().chain(words(pick(rng, &options))).collect()
        }
        "MSETEX" => {
            let mut list = vec![b"2".to_vec(), key(rng), value(rng), key(rng), value(rng)];
            list.extend(words(pick(rng, &["", "", "NX", "XX"])));
            list.extend(expiry_option(rng, now_ms, "KEEPTTL"));
            list
        }
        _ => return None,
    })
}

/// As [`arguments`], for HyperLogLogs.
fn hyperloglog_arguments(name: &str, rng: &mut Rng) -> Option<Words> {
    let key = |rng: &mut Rng| format!("hll:{}", rng.below(4)).into_bytes();
    Some(match name {
        "PFADD" => {
            let many = if rng.below(10) == 0 { 1_000 } else { rng.below(4) };
            let elements = (0..many).map(|_| rng.below(5_000).to_string().into_bytes());
            let elements: Words = elements.collect();
            [key(rng)].into_iter().chain(elements).collect()
        }
        "PFCOUNT" => (0..=rng.below(2)).map(|_| key(rng)).collect(),
        "PFMERGE" => (0..=rng.below(3)).map(|_| key(rng)).collect(),
        "PFDEBUG" => vec![pick(rng, &["ENCODING", "ENCODING", "TODENSE"]).into(), key(rng)],
        _ => return None,
    })
}

/// As [`arguments`], for bits of strings and HyperLogLogs.
fn bit_arguments(name: &str, rng: &mut Rng) -> Option<Words> {
    Some(match name {
        _ if name.starts_with("PF") => return hyperloglog_arguments(name, rng),
        "SETBIT" => vec![key(rng), place(rng), rng.below(2).to_string().into_bytes()],
        "BITOP" => {
            let operation =
                pick(rng, &["AND", "OR", "XOR", "NOT", "DIFF", "DIFF1", "ANDOR", "ONE"]);
            let sources =
                if operation == "NOT" { vec![key(rng)] } else { vec![key(rng), key(rng)] };
            [operation.into(), key(rng)].into_iter().chain(sources).collect()
        }
        "BITFIELD" => {
            let mut list = vec![key(rng)];
            list.extend(words(pick(rng, &["", "OVERFLOW FAIL", "OVERFLOW SAT"])));
            for _ in 0..=rng.below(3) {
                let verb = pick(rng, &["SET", "INCRBY"]);
                let width = pick(rng, &["u1", "i5", "u8", "i64", "u63"]);
                list.extend([verb.into(), width.into(), place(rng), number(rng)]);
                list.extend([b"GET".to_vec(), width.into(), place(rng)]);
            }
            list
        }
        _ => return None,
    })
}

/// As [`arguments`], for places. They are where the sorted sets are.
fn geo_arguments(name: &str, rng: &mut Rng) -> Option<Words> {
    let key = |rng: &mut Rng| format!("zset:{}", rng.below(5)).into_bytes();
    let degrees = |rng: &mut Rng| (rng.below(2_000) as f64 / 100.0).to_string().into_bytes();
    let size = |rng: &mut Rng| (1 + rng.below(1500)).to_string().into_bytes();
    let mut list = vec![key(rng)];
    let last = match name {
        "GEOADD" => {
            list.extend(words(pick(rng, &["", "", "NX", "XX", "CH"])));
            for member in members(rng) {
                list.extend([degrees(rng), degrees(rng), member]);
            }
            return Some(list);
        }
        "GEOSEARCHSTORE" => {
            list.push(key(rng));
            match rng.below(3) {
                0 => {
                    list.extend([b"FROMLONLAT".to_vec(), degrees(rng), degrees(rng)]);
                    list.extend([b"BYBOX".to_vec(), size(rng), size(rng), b"km".to_vec()]);
                }
                1 => {
                    list.extend([b"FROMMEMBER".to_vec(), members(rng).swap_remove(0)]);
                    list.extend([b"BYRADIUS".to_vec(), size(rng), b"mi".to_vec()]);
                }
                _ => {
                    list.extend(words("BYPOLYGON 3"));
                    list.extend((0..6).map(|_| degrees(rng)));
                }
            }
            pick(rng, &["", "STOREDIST", "COUNT 4", "COUNT 3 ANY", "DESC COUNT 2 STOREDIST"])
        }
        "GEORADIUS" | "GEORADIUSBYMEMBER" => {
            if name == "GEORADIUS" {
                list.extend([degrees(rng), degrees(rng)]);
            } else {
                list.push(members(rng).swap_remove(0));
            }
            list.extend([size(rng), b"km".to_vec()]);
            list.extend(words(pick(rng, &["", "COUNT 5", "WITHDIST"])));
            pick(rng, &["STORE", "STOREDIST", "DESC"])
        }
        _ => return None,
    };
    list.extend(words(last));
    if last.starts_with("STORE") && name != "GEOSEARCHSTORE" {
        list.push(key(rng));
    }
    Some(list)
}

fn members(rng: &mut Rng) -> Words {
    let many = if rng.below(20) == 0 { 200 } else { rng.below(4) };
    (0..=many)
        .map(|_| match rng.below(3) {
            0 => rng.below(600).to_string().into_bytes(),
            _ => format!("m{}", rng.below(40)).into_bytes(),
        })
        .collect()
}

/// As [`arguments`], for sets.
fn set_arguments(name: &str, rng: &mut Rng) -> Option<Words> {
    let key = |rng: &mut Rng| format!("set:{}", rng.below(5)).into_bytes();
    let mut list = vec![key(rng)];
    match name {
        "SADD" | "SREM" => list.extend(members(rng)),
        "SMOVE" => list.extend([key(rng), members(rng).swap_remove(0)]),
        "SPOP" if rng.below(2) == 0 => {}
        "SPOP" => list.push(pick(rng, &["0", "1", "3", "50", "1000"]).into()),
        "SINTERSTORE" | "SUNIONSTORE" | "SDIFFSTORE" => list.extend([key(rng), key(rng)]),
        _ => return None,
    }
    Some(list)
}

/// As [`arguments`], for sorted sets. What would wait does so for a moment.
fn zset_arguments(name: &str, rng: &mut Rng) -> Option<Words> {
    let key = |rng: &mut Rng| format!("zset:{}", rng.below(5)).into_bytes();
    let score = |rng: &mut Rng| match rng.below(8) {
        0 => pick(rng, &["inf", "-inf", "0.1", "-0", "1e300"]).as_bytes().to_vec(),
        _ => (rng.below(20) as i64 - 10).to_string().into_bytes(),
    };
    let two = |rng: &mut Rng| vec![b"2".to_vec(), key(rng), key(rng)];
    let mut list = vec![key(rng)];
    match name {
        "ZADD" => {
            list.extend(words(pick(rng, &["", "", "", "NX", "XX", "GT", "LT CH", "CH"])));
            list.extend(members(rng).into_iter().flat_map(|member| [score(rng), member]));
        }
        "ZINCRBY" => list.extend([score(rng), members(rng).swap_remove(0)]),
        "ZREM" => list.extend(members(rng)),
        "ZPOPMIN" | "ZPOPMAX" => list.push(pick(rng, &["0", "1", "5", "300"]).into()),
        "BZPOPMIN" | "BZPOPMAX" => list.extend([key(rng), b"0.001".to_vec()]),
        "ZMPOP" | "BZMPOP" => {
            list = if name == "ZMPOP" { Words::new() } else { words("0.001") };
            list.extend(two(rng));
            list.extend(words(pick(rng, &["MIN", "MAX", "MIN COUNT 3", "MAX COUNT 400"])));
        }
        "ZREMRANGEBYRANK" => list.extend(words(pick(rng, &["0 1", "-3 -2", "5 40", "3 1"]))),
        "ZREMRANGEBYSCORE" => list.extend(words(pick(rng, &["-3 -2", "(0 1", "9 +inf", "3 1"]))),
        "ZREMRANGEBYLEX" => list.extend(words(pick(rng, &["[m1 [m11", "(m3 (m5", "- [1"]))),
        "ZRANGESTORE" => {
            list.push(key(rng));
            let ranges = ["0 -1", "0 9 REV", "-5 5 BYSCORE", "-inf +inf BYSCORE LIMIT 1 7", "5 2"];
            list.extend(words(pick(rng, &ranges)));
        }
        "ZUNIONSTORE" | "ZINTERSTORE" | "ZDIFFSTORE" => {
            list.extend(two(rng));
            if name != "ZDIFFSTORE" {
                let options = ["", "WEIGHTS 2 -1", "AGGREGATE MIN", "WEIGHTS 0.1 0.3"];
                list.extend(words(pick(rng, &options)));
            }
        }
        _ => return None,
    }
    Some(list)
}

/// As [`arguments`], for lists. What would wait does so for a moment.
fn list_arguments(name: &str, rng: &mut Rng) -> Words {
    let element = |rng: &mut Rng| match rng.below(3) {
        0 => value(rng),
        _ => rng.below(8).to_string().into_bytes(),
    };
    let end = |rng: &mut Rng| pick(rng, &["LEFT", "RIGHT"]).as_bytes().to_vec();
    let number = |rng: &mut Rng| (rng.below(7) as i64 - 3).to_string().into_bytes();
    let count = |rng: &mut Rng| (1 + rng.below(4)).to_string().into_bytes();
    let blocking = name.starts_with('B');
    let plain = name.strip_prefix('B').unwrap_or(name);
    let mut list = match plain {
        "LPUSH" | "RPUSH" | "LPUSHX" | "RPUSHX" => {
            let many = if rng.below(20) == 0 { 300 } else { rng.below(4) };
            [list_key(rng)].into_iter().chain((0..=many).map(|_| element(rng))).collect()
        }
        "LPOP" | "RPOP" if blocking => vec![list_key(rng), list_key(rng)],
        "LPOP" | "RPOP" if rng.below(2) == 0 => vec![list_key(rng)],
        "LPOP" | "RPOP" => vec![list_key(rng), count(rng)],
        "LSET" | "LREM" => vec![list_key(rng), number(rng), element(rng)],
        "LTRIM" => vec![list_key(rng), rng.below(3).to_string().into(), b"-2".to_vec()],
        "LINSERT" => {
            let place = pick(rng, &["BEFORE", "AFTER"]).as_bytes().to_vec();
            vec![list_key(rng), place, element(rng), element(rng)]
        }
        "LMOVE" => vec![list_key(rng), key(rng), end(rng), end(rng)],
        "RPOPLPUSH" => vec![list_key(rng), key(rng)],
        _ => {
            let list = vec![b"2".to_vec(), list_key(rng), list_key(rng), end(rng)];
            list.into_iter().chain([b"COUNT".to_vec(), count(rng)]).collect()
        }
    };
    if blocking {
        let at = if plain == "LMPOP" { 0 } else { list.len() };
        list.insert(at, b"0.001".to_vec());
    }
    list
}

fn stream_id(rng: &mut Rng) -> Vec<u8> {
    format!("{}-{}", rng.below(300), rng.below(3)).into_bytes()
}

/// Options of XADD and XTRIM.
fn trimming(rng: &mut Rng) -> Words {
    let sign = pick(rng, &["", "=", "~", "~"]);
    let mut list = if rng.below(2) == 0 {
        words(&format!("MAXLEN {sign} {}", rng.below(150)))
    } else {
        words(&format!("MINID {sign} {}", rng.below(300)))
    };
    if sign == "~" && rng.below(3) == 0 {
        list.extend(words(&format!("LIMIT {}", rng.below(300))));
    }
    list.extend(words(pick(rng, &["", "", "DELREF", "ACKED"])));
    list
}

/// As [`arguments`], for streams. What would wait does so for a moment.
fn stream_arguments(name: &str, rng: &mut Rng, now_ms: i64) -> Option<Words> {
    let mut list = vec![format!("stream:{}", rng.below(4)).into_bytes()];
    let group = |rng: &mut Rng| pick(rng, &["g", "h"]).as_bytes().to_vec();
    let consumer = |rng: &mut Rng| pick(rng, &["a", "b", "c"]).as_bytes().to_vec();
    let position = |rng: &mut Rng| match rng.below(3) {
        0 => b"$".to_vec(),
        1 => b"0".to_vec(),
        _ => stream_id(rng),
    };
    match name {
        "XADD" => {
            list.extend(words(pick(rng, &["", "", "", "NOMKSTREAM"])));
            if rng.below(6) == 0 {
                list.extend(trimming(rng));
            }
            list.push(match rng.below(12) {
                0 => b"*".to_vec(),
                1 => stream_id(rng),
                2 => b"299".to_vec(),
                _ => format!("{}-*", rng.below(300)).into_bytes(),
            });
            for number in 0..=rng.below(3) {
                list.extend([format!("f{number}").into_bytes(), value(rng)]);
            }
        }
        "XTRIM" => list.extend(trimming(rng)),
        "XDELEX" | "XACKDEL" | "XNACK" => {
            if name != "XDELEX" {
                list.push(group(rng));
            }
            let first: &[&str] = match name {
                "XNACK" => &["SILENT", "FAIL", "FATAL"],
                _ => &["", "KEEPREF", "DELREF", "ACKED"],
            };
            list.extend(words(pick(rng, first)));
            list.extend(counted_ids(rng));
            if name == "XNACK" {
                list.extend(words(pick(rng, &["", "", "FORCE", "RETRYCOUNT 3 FORCE"])));
            }
        }
        "XDEL" => list.extend((0..=rng.below(6)).map(|_| stream_id(rng))),
        "XACK" => {
            list.push(group(rng));
            list.extend((0..=rng.below(6)).map(|_| stream_id(rng)));
        }
        "XSETID" => {
            list.push(stream_id(rng));
            list.extend(words(pick(rng, &["", "ENTRIESADDED 1000", "MAXDELETEDID 5-1"])));
        }
        "XGROUP CREATE" => {
            list.extend([group(rng), position(rng)]);
            list.extend(words(pick(rng, &["", "MKSTREAM", "ENTRIESREAD 3", "MKSTREAM"])));
        }
        "XGROUP SETID" => {
            list.extend([group(rng), position(rng)]);
            list.extend(words(pick(rng, &["", "ENTRIESREAD 3"])));
        }
        "XGROUP DESTROY" if rng.below(8) > 0 => return Some(words("nokey g")),
        "XGROUP DESTROY" => list.push(group(rng)),
        "XGROUP DELCONSUMER" if rng.below(4) > 0 => return Some(words("nokey g c")),
        "XGROUP CREATECONSUMER" | "XGROUP DELCONSUMER" => {
            list.extend([group(rng), consumer(rng)]);
        }
        "XREADGROUP" | "XCLAIM" | "XAUTOCLAIM" => return delivery_arguments(name, rng, now_ms),
        _ => return None,
    }
    Some(list)
}

/// As [`arguments`], for what brings entries of streams to consumers.
fn delivery_arguments(name: &str, rng: &mut Rng, now_ms: i64) -> Option<Words> {
    let mut list = vec![format!("stream:{}", rng.below(4)).into_bytes()];
    let group = |rng: &mut Rng| pick(rng, &["g", "h"]).as_bytes().to_vec();
    let consumer = |rng: &mut Rng| pick(rng, &["a", "b", "c"]).as_bytes().to_vec();
    match name {
        "XREADGROUP" => {
            let key = list.swap_remove(0);
            list.extend([b"GROUP".to_vec(), group(rng), consumer(rng)]);
            let options = ["", "COUNT 3", "COUNT 1", "NOACK", "BLOCK 1", "CLAIM 0 COUNT 2"];
            list.extend(words(pick(rng, &options)));
            list.extend([b"STREAMS".to_vec(), key]);
            list.push(pick(rng, &[">", ">", ">", "0", "50"]).into());
        }
        "XCLAIM" => {
            list.extend([group(rng), consumer(rng)]);
            list.push(pick(rng, &["0", "0", "100"]).into());
            list.extend((0..=rng.below(6)).map(|_| stream_id(rng)));
            let time = format!("TIME {}", now_ms - 50);
            let options = ["", "FORCE", "JUSTID", "FORCE JUSTID RETRYCOUNT 5", "IDLE 7", &time];
            list.extend(words(pick(rng, &options)));
            list.extend(words(pick(rng, &["", "", "LASTID 100-1"])));
        }
        "XAUTOCLAIM" => {
            list.extend([group(rng), consumer(rng)]);
            list.extend(words(pick(rng, &["0 0", "100 0", "0 100-0 COUNT 3", "0 - JUSTID"])));
        }
        _ => return None,
    }
    Some(list)
}

/// `IDS`, how many, and the ids.
fn counted_ids(rng: &mut Rng) -> Words {
    let ids: Words = (0..=rng.below(6)).map(|_| stream_id(rng)).collect();
    [b"IDS".to_vec(), ids.len().to_string().into_bytes()].into_iter().chain(ids).collect()
}

/// As [`arguments`], for hashes.
fn hash_arguments(name: &str, rng: &mut Rng, now_ms: i64) -> Option<Words> {
    let field = |rng: &mut Rng| format!("f{}", rng.below(20)).into_bytes();
    // Keys of their own, so that they meet hashes.
    let mut list = vec![hash_key(rng)];
    let after = rng.below(2000) as i64 - 100;
    let at = match name {
        "HEXPIRE" => (after / 10).max(0),
        "HPEXPIRE" => after.max(0),
        "HEXPIREAT" => now_ms / 1000 + after / 10,
        _ => now_ms + after,
    };
    let count = 1 + rng.below(3) as usize;
    let width = if name.starts_with("HSET") || name == "HMSET" { 2 } else { 1 };
    let listed: Words = (0..count)
        .flat_map(|_| [field(rng), value(rng)].into_iter().take(width).collect::<Words>())
        .collect();
    let counted = name.contains("EX") || matches!(name, "HPERSIST" | "HGETDEL");
    match name {
        "HSET" | "HMSET" | "HDEL" | "HPERSIST" | "HGETDEL" => {}
        "HSETNX" => list.extend([field(rng), value(rng)]),
        "HINCRBY" => list.extend([field(rng), number(rng)]),
        "HINCRBYFLOAT" => list.extend([field(rng), pick(rng, &["0.1", "-7.25", "3"]).into()]),
        "HEXPIRE" | "HPEXPIRE" | "HEXPIREAT" | "HPEXPIREAT" => {
            list.push(at.to_string().into_bytes());
            list.extend(words(pick(rng, &["", "", "", "NX", "XX", "GT", "LT"])));
        }
        "HGETEX" => list.extend(expiry_option(rng, now_ms, "PERSIST")),
        "HSETEX" => {
            list.extend(words(pick(rng, &["", "", "FNX", "FXX", "XX", "NX FNX"])));
            list.extend(expiry_option(rng, now_ms, "KEEPTTL"));
        }
        _ => return None,
    }
    if counted {
        list.extend([b"FIELDS".to_vec(), count.to_string().into_bytes()]);
    }
    if counted || matches!(name, "HSET" | "HMSET" | "HDEL") {
        list.extend(listed);
    }
    Some(list)
}

fn run(seed: u64) {
    let disk = SimDisk::default();
    let clock = Arc::new(SimClock::default());
    clock.advance(1_700_000_000_000_000_000);
    let config = || settings(&[("appendfsync", "always"), ("save", "")]);
    let mut server = Embedded::open(env(&disk, &clock, seed), config()).expect("an empty disk");
    let registry = Registry::new();
    let rows: Vec<String> = registry
        .iter()
        .filter(|(_, entry)| entry.spec.effect != Effect::None)
        .map(|(_, entry)| entry.full_name.replace('|', " ").to_ascii_uppercase())
        .collect();
    assert!(rows.len() > 20, "the table has the writing commands");
    // It writes what it calls.
    let rows: Vec<String> = rows.into_iter().chain(["EVAL".to_owned()]).collect();

    let mut rng = Rng::from_seed(seed);
    server.call(&[b"SET", b"dumped", b"for restore"]);
    let reply = server.call(&[b"DUMP", b"dumped"]);
    let head = reply.iter().position(|byte| *byte == b'\n').expect("a bulk reply") + 1;
    let dump = reply[head..reply.len() - 2].to_vec();

    let mut depth = 0;
    for _ in 0..COMMANDS {
        clock.advance(rng.below(20) * 1_000_000);
        let now_ms = server.engine.env.clock.unix_micros() / 1000;
        match rng.below(40) {
            0 if depth == 0 => {
                server.call(&[b"MULTI"]);
                depth = 1 + rng.below(5);
                continue;
            }
            1 => {
                server.call(&[b"SELECT", rng.below(3).to_string().as_bytes()]);
                continue;
            }
            2 => server.engine.cron_tick(),
            _ => {}
        }
        let row = rows[rng.below(rows.len() as u64) as usize].as_str();
        let list = arguments(row, &mut rng, now_ms, &dump)
            .unwrap_or_else(|| panic!("{row} writes: this test must know how to call it"));
        let mut command: Vec<&[u8]> = row.split(' ').map(str::as_bytes).collect();
        command.extend(list.iter().map(Vec::as_slice));
        let mut reply = server.call(&command);
        if reply.is_empty() {
            // It waits for a key that nobody else will fill: until its time is over.
            clock.advance(2_000_000);
            server.engine.cron_tick();
            server.turn();
            reply = server.take_replies();
        }
        assert!(!reply.is_empty(), "{row} is answered in its own turn");
        if depth > 0 {
            depth -= 1;
            if depth == 0 {
                server.call(&[b"EXEC"]);
            }
        }
    }
    if depth > 0 {
        server.call(&[b"DISCARD"]);
    }
    // What has expired is gone on both sides, whoever noticed first.
    server.engine.cron_tick();
    server.settle();
    let expected = server.contents();
    let libraries = server.call(&[b"FUNCTION", b"LIST", b"WITHCODE"]);
    drop(server);
    let mut replayed =
        Embedded::open(env(&disk.kill(), &clock, seed + 1), config()).expect("our own log loads");
    assert!(!expected.is_empty(), "seed {seed}: something is left to compare");
    assert_eq!(replayed.call(&[b"FUNCTION", b"LIST", b"WITHCODE"]), libraries, "seed {seed}");
    let found = replayed.contents();
    for (key, value) in &expected {
        let text = |value: &(Vec<u8>, Option<i64>)| {
            format!("{} {:?}", String::from_utf8_lossy(&value.0), value.1)
        };
        let name = String::from_utf8_lossy(&key.1);
        let (found, expected) = (found.get(key).map(text), Some(text(value)));
        assert_eq!(found, expected, "seed {seed}: {name} of database {}", key.0);
    }
    assert_eq!(found.len(), expected.len(), "seed {seed}");
}

#[test]
fn replaying_the_log_gives_the_same_data() {
    let seeds = std::env::var("PROPAGATION_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    for seed in 1..=seeds.unwrap_or(8) {
        run(seed);
    }
}
