//! Random MULTI, EXEC, DISCARD, WATCH and UNWATCH. What is queued between them comes from the other
//! families; the other connections change what is watched.

use crate::generate::{Generator, Step, Words};

/// One command of a transaction's frame.
pub fn generate(g: &mut Generator) -> Step {
    match g.random.below(20) {
        0..=5 => Words::new("MULTI").exact(),
        6..=12 => Words::new("EXEC").exact(),
        13 => Words::new("DISCARD").exact(),
        14..=16 => Words::new("WATCH").and_all(g.keys()).exact(),
        17 => Words::new("UNWATCH").exact(),
        18 => Words::new(g.random.pick(&["MULTI x", "EXEC x", "DISCARD x", "WATCH", "UNWATCH x"]))
            .exact(),
        _ => Words::new("WATCH").and(g.key()).exact(),
    }
}
