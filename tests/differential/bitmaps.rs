//! Random commands on bits of strings.

use crate::generate::{Generator, Step, Words};

/// One command on bits.
pub fn generate(g: &mut Generator) -> Step {
    match g.random.below(20) {
        0..=3 => {
            let bit = g.random.pick(&["0", "1", "1", "1"]);
            Words::new("SETBIT").and(g.key()).and(place(g)).and(bit).exact()
        }
        4..=5 => Words::new("GETBIT").and(g.key()).and(place(g)).exact(),
        6..=8 => {
            let range = range(g);
            Words::new("BITCOUNT").and(g.key()).and_all(range).exact()
        }
        9..=11 => {
            let bit = g.random.pick(&["0", "1"]);
            let range = range(g);
            Words::new("BITPOS").and(g.key()).and(bit).and_all(range).exact()
        }
        12..=14 => {
            let operation = g.random.pick(&["AND", "OR", "XOR", "NOT", "and", "NOR"]);
            let sources = if operation == "NOT" { vec![g.key()] } else { g.keys() };
            Words::new("BITOP").and(operation).and(g.key()).and_all(sources).exact()
        }
        15..=18 => fields(g, "BITFIELD"),
        _ => fields(g, "BITFIELD_RO"),
    }
}

/// The place of a bit.
fn place(g: &mut Generator) -> Vec<u8> {
    match g.random.below(20) {
        0..=9 => g.random.below(200).to_string().into(),
        10..=16 => g.random.below(5_000).to_string().into(),
        17 => g.random.pick(&["4294967296", "999999", "-1", "#1"]).into(),
        _ => g.integer(),
    }
}

fn range(g: &mut Generator) -> Vec<Vec<u8>> {
    let words = g.random.below(4);
    let unit = g.random.pick(&["BYTE", "BIT", "bit", "bytes"]);
    let mut range: Vec<Vec<u8>> = (0..words.min(2)).map(|_| g.index()).collect();
    if words == 3 {
        range.push(unit.into());
    }
    range
}

fn fields(g: &mut Generator, name: &str) -> Step {
    let mut words = Words::new(name).and(g.key());
    for _ in 0..g.random.below(5) {
        let width = 1 + g.random.below(66);
        let encoding = match g.random.below(12) {
            0 => g.random.pick(&["u0", "i65", "u64", "x8", "u08", "i", "I8"]).to_owned(),
            1 => g.random.pick(&["u63", "i64"]).to_owned(),
            2..=5 => g.random.pick(&["u2", "u8", "i8", "i5", "u16", "i16"]).to_owned(),
            6..=8 => format!("u{}", width.min(63)),
            _ => format!("i{}", width.min(64)),
        };
        let offset: Vec<u8> = match g.random.below(10) {
            0..=4 => g.random.below(120).to_string().into(),
            5..=7 => format!("#{}", g.random.below(12)).into(),
            8 => g.random.pick(&["#-1", "##", "#", "#4611686018427387904", "#01"]).into(),
            _ => place(g),
        };
        let reads = name == "BITFIELD_RO" && g.random.chance(95);
        words = match if reads { 0 } else { g.random.below(9) } {
            0..=2 => words.and("GET").and(encoding).and(offset),
            3..=4 => words.and("SET").and(encoding).and(offset).and(g.integer()),
            5..=6 => words.and("INCRBY").and(encoding).and(offset).and(g.integer()),
            _ => words.and("OVERFLOW").and(g.random.pick(&["WRAP", "SAT", "FAIL", "sat", "NONE"])),
        };
    }
    words.exact()
}
