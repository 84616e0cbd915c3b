//! Random string commands.

use crate::generate::{Generator, Step, Words};

/// One string command.
pub fn generate(g: &mut Generator) -> Step {
    match g.random.below(30) {
        0..=5 => set(g),
        6 => Words::new(g.random.pick(&["GET", "GETDEL", "STRLEN"])).and(g.key()).exact(),
        7..=8 => Words::new("GET").and(g.key()).exact(),
        9 => Words::new("GETSET").and(g.key()).and(g.value()).exact(),
        10..=11 => getex(g),
        12 => Words::new("MGET").and_all(g.keys()).exact(),
        13 => {
            let name = g.random.pick(&["MSET", "MSETNX"]);
            let pairs: Vec<Vec<u8>> =
                g.keys().into_iter().flat_map(|key| [key, g.value()]).collect();
            Words::new(name).and_all(pairs).exact()
        }
        14 => Words::new("SETNX").and(g.key()).and(g.value()).exact(),
        15 => Words::new("SETEX").and(g.key()).and(g.time_to_live(1)).and(g.value()).exact(),
        16 => Words::new("PSETEX").and(g.key()).and(g.time_to_live(1000)).and(g.value()).exact(),
        17..=18 => Words::new("APPEND").and(g.key()).and(g.value()).exact(),
        19 => Words::new("SETRANGE").and(g.key()).and(g.index()).and(g.value()).exact(),
        20..=21 => {
            let name = g.random.pick(&["GETRANGE", "SUBSTR"]);
            Words::new(name).and(g.key()).and(g.index()).and(g.index()).exact()
        }
        22..=23 => Words::new(g.random.pick(&["INCR", "DECR"])).and(g.key()).exact(),
        24..=25 => {
            let name = g.random.pick(&["INCRBY", "DECRBY"]);
            Words::new(name).and(g.key()).and(g.integer()).exact()
        }
        26..=27 => Words::new("INCRBYFLOAT").and(g.key()).and(g.float()).exact(),
        28 => lcs(g),
        // Keys that hold numbers, so that the above find some.
        _ => Words::new("SET")
            .and(g.key())
            .and(if g.random.chance(50) { g.integer() } else { g.float() })
            .exact(),
    }
}

fn set(g: &mut Generator) -> Step {
    let mut words = Words::new("SET").and(g.key()).and(g.value());
    for _ in 0..g.random.below(4) {
        words = match g.random.below(9) {
            0 => words.and("NX"),
            1 => words.and("XX"),
            2..=3 => words.and("GET"),
            4 => words.and("KEEPTTL"),
            5 => {
                words.and(g.random.pick(&["nx", "Xx", "get", "keepTTL", "PERSIST", "EX", "bogus"]))
            }
            _ => words.and_all(g.expiry_option()),
        };
    }
    words.exact()
}

fn getex(g: &mut Generator) -> Step {
    let words = Words::new("GETEX").and(g.key());
    match g.random.below(6) {
        0 => words.exact(),
        1 => words.and("PERSIST").exact(),
        2 => words.and(g.random.pick(&["KEEPTTL", "NX", "persist", "bogus", "EX"])).exact(),
        3 => words.and_all(g.expiry_option()).and("PERSIST").exact(),
        _ => words.and_all(g.expiry_option()).exact(),
    }
}

fn lcs(g: &mut Generator) -> Step {
    let mut words = Words::new("LCS").and(g.key()).and(g.key());
    for _ in 0..g.random.below(4) {
        words = match g.random.below(5) {
            0 => words.and("LEN"),
            1..=2 => words.and("IDX"),
            3 => words.and("WITHMATCHLEN"),
            _ => words.and("MINMATCHLEN").and(g.integer()),
        };
    }
    words.exact()
}
