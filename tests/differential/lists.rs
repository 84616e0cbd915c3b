//! Random list commands. Those that wait do so for a moment only, and aren't spoiled: a number in the
//! timeout's place could make them wait for years.

use crate::generate::{Generator, Step, Words};

/// An element, most often one of few, so that it is found again.
pub fn element(g: &mut Generator) -> Vec<u8> {
    match g.random.below(20) {
        0..=8 => format!("e{}", g.random.below(6)).into(),
        9..=12 => g.random.between(-3, 3).to_string().into(),
        13 => g.random.pick(&["", "E1", "01", "bin\0\r\n", "-9223372036854775808", "4096"]).into(),
        // Around the limits of a node, 8192 bytes.
        14 if g.random.chance(10) => vec![b'n'; 8_180 + g.random.below(20)],
        _ => g.value(),
    }
}

fn elements(g: &mut Generator) -> Vec<Vec<u8>> {
    (0..=g.random.below(5)).map(|_| element(g)).collect()
}

fn index(g: &mut Generator) -> Vec<u8> {
    if g.random.chance(85) { g.random.between(-8, 8).to_string().into() } else { g.index() }
}

/// A number of elements.
fn count(g: &mut Generator) -> Vec<u8> {
    if g.random.chance(85) { g.random.between(0, 6).to_string().into() } else { g.integer() }
}

fn end(g: &mut Generator) -> &'static str {
    g.random.pick(&["LEFT", "RIGHT", "LEFT", "RIGHT", "left", "Right", "MIDDLE"])
}

/// One list command.
pub fn generate(g: &mut Generator) -> Step {
    match g.random.below(48) {
        0..=9 => {
            let name = g.random.pick(&["LPUSH", "RPUSH", "RPUSH", "LPUSHX", "RPUSHX"]);
            Words::new(name).and(g.key()).and_all(elements(g)).exact()
        }
        10 => many(g),
        11..=14 => {
            let words = Words::new(g.random.pick(&["LPOP", "RPOP"])).and(g.key());
            if g.random.chance(40) { words.and(count(g)).exact() } else { words.exact() }
        }
        15 => Words::new("LLEN").and(g.key()).exact(),
        16..=18 => Words::new("LINDEX").and(g.key()).and(index(g)).exact(),
        19..=21 => Words::new("LSET").and(g.key()).and(index(g)).and(element(g)).exact(),
        22..=24 => Words::new("LRANGE").and(g.key()).and(index(g)).and(index(g)).exact(),
        25 => {
            // Mostly little is cut off, so that something is left.
            let (start, stop) = if g.random.chance(70) {
                (g.random.below(3).to_string().into(), g.random.between(-3, -1).to_string().into())
            } else {
                (index(g), index(g))
            };
            Words::new("LTRIM").and(g.key()).and(start).and(stop).exact()
        }
        26..=27 => {
            let count = if g.random.chance(85) {
                g.random.between(-3, 3).to_string().into()
            } else {
                g.integer()
            };
            Words::new("LREM").and(g.key()).and(count).and(element(g)).exact()
        }
        28..=31 => {
            let place = g.random.pick(&["BEFORE", "AFTER", "BEFORE", "after", "BESIDE"]);
            Words::new("LINSERT").and(g.key()).and(place).and(element(g)).and(element(g)).exact()
        }
        32..=34 => position(g),
        35..=37 => {
            let words = Words::new("LMOVE").and(g.key()).and(g.key());
            words.and(end(g)).and(end(g)).exact()
        }
        38 => Words::new("RPOPLPUSH").and(g.key()).and(g.key()).exact(),
        39..=41 => some_of(g, Words::new("LMPOP")),
        42..=45 => waiting(g),
        _ => Words::new("OBJECT ENCODING").and(g.key()).exact(),
    }
}

/// Many elements at once: lists of several nodes.
fn many(g: &mut Generator) -> Step {
    let (from, count) = (g.random.below(3_000), 1 + g.random.below(1_500));
    let elements = (from..from + count).map(|number| match number % 3 {
        0 => number.to_string().into_bytes(),
        1 => format!("element {number}").into_bytes(),
        _ => format!("e{}", number % 6).into_bytes(),
    });
    Words::new(g.random.pick(&["LPUSH", "RPUSH"])).and(g.key()).and_all(elements).exact()
}

fn position(g: &mut Generator) -> Step {
    let mut words = Words::new("LPOS").and(g.key()).and(element(g));
    for _ in 0..g.random.below(4) {
        words = match g.random.below(7) {
            0..=1 => {
                let rank = g.random.between(-3, 3).to_string();
                words.and("RANK").and(rank)
            }
            2..=3 => words.and("COUNT").and(count(g)),
            4 => words.and("MAXLEN").and(count(g)),
            5 => words.and(g.random.pick(&["RANK", "COUNT", "MAXLEN"])).and(g.integer()),
            _ => words.and(g.random.pick(&["rank", "count", "maxlen", "bogus"])),
        };
    }
    words.exact()
}

/// `numkeys key [key ...] LEFT|RIGHT [COUNT count]`, mostly with the right number.
fn some_of(g: &mut Generator, words: Words) -> Step {
    let keys = g.keys();
    let number = match g.random.below(12) {
        0 => g.integer(),
        1 => g.random.below(6).to_string().into(),
        _ => keys.len().to_string().into(),
    };
    let mut words = words.and(number).and_all(keys).and(end(g));
    for _ in 0..g.random.below(5).saturating_sub(2) {
        words = match g.random.below(6) {
            0 => words.and(g.random.pick(&["COUNT", "count", "bogus"])),
            _ => words.and("COUNT").and(count(g)),
        };
    }
    words.exact()
}

fn waiting(g: &mut Generator) -> Step {
    let timeout = match g.random.below(12) {
        0 => g.random.pick(&["-1", "abc", "", "nan", "1e300", "inf", "0x", "1e5000"]),
        1 => "0.001",
        _ => "0.0005",
    };
    match g.random.below(5) {
        0..=1 => {
            let words = Words::new(g.random.pick(&["BLPOP", "BRPOP"])).and_all(g.keys());
            words.and(timeout).exact()
        }
        2 => {
            let words = Words::new("BLMOVE").and(g.key()).and(g.key());
            words.and(end(g)).and(end(g)).and(timeout).exact()
        }
        3 => Words::new("BRPOPLPUSH").and(g.key()).and(g.key()).and(timeout).exact(),
        _ => some_of(g, Words::new("BLMPOP").and(timeout)),
    }
}
