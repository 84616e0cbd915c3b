//! Random commands on HyperLogLogs. What they hold is compared to the byte, as every string's value is.

use crate::generate::{Generator, Step, Words};

/// One command on HyperLogLogs.
pub fn generate(g: &mut Generator) -> Step {
    match g.random.below(24) {
        0..=9 => {
            let many = match g.random.below(12) {
                0 => 0,
                1 => 400,
                2..=4 => 40,
                _ => 1 + g.random.below(4),
            };
            let elements: Vec<Vec<u8>> = (0..many).map(|_| element(g)).collect();
            Words::new("PFADD").and(key(g)).and_all(elements).exact()
        }
        10..=15 => Words::new("PFCOUNT").and(key(g)).exact(),
        16..=17 => Words::new("PFCOUNT").and_all([key(g), key(g), key(g)]).exact(),
        18..=20 => {
            let sources: Vec<Vec<u8>> = (0..g.random.below(4)).map(|_| key(g)).collect();
            Words::new("PFMERGE").and(key(g)).and_all(sources).exact()
        }
        21 => Words::new("PFDEBUG").and("DECODE").and(key(g)).exact(),
        22 => {
            let word = g.random.pick(&["ENCODING", "GETREG", "TODENSE", "bogus", "encoding"]);
            Words::new("PFDEBUG").and(word).and(key(g)).exact()
        }
        // Wrong ones: as upstream's, but for a byte.
        _ => {
            let (place, byte) = (g.random.below(40).to_string(), [g.random.next() as u8]);
            Words::new("SETRANGE").and(key(g)).and(place).and(byte).exact()
        }
    }
}

/// Mostly of a few keys that other families rarely use.
fn key(g: &mut Generator) -> Vec<u8> {
    if g.random.chance(15) { g.key() } else { g.random.pick(&["a", "K0", "{tag}:x"]).into() }
}

fn element(g: &mut Generator) -> Vec<u8> {
    match g.random.below(3) {
        0 => g.value(),
        _ => g.random.below(20_000).to_string().into(),
    }
}
