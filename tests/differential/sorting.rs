//! Random SORT commands. Where a set's inner order shows, elements are compared without order, and
//! nothing that depends on it is stored.

use crate::compare::Check;
use crate::generate::{Generator, Step, Words};

/// Patterns that derive keys from elements; lists hold small numbers, so some of them are there.
const PATTERNS: &[&str] =
    &["k*", "k*", "k*->f1", "k*->f2", "*", "k*->", "k*->f*", "*k*", "{tag}:*"];
const GET: &[&str] = &["#", "#", "k*", "k*->f1", "k*->f3", "nothing", "*", "##", ""];

/// One SORT command.
pub fn generate(g: &mut Generator) -> Step {
    let mut words = Words::new(g.random.pick(&["SORT", "SORT", "SORT_RO"])).and(g.key());
    let mut check = Check::Exact;
    let alphabetic = g.random.chance(60);
    let (mut may_limit, mut may_store) = (true, true);
    match g.random.below(10) {
        0 => {
            words = words.and("BY").and(g.random.pick(&["nosort", "k1", "", "nosort"]));
            check = Check::Unordered;
            may_limit = false;
        }
        1..=3 => {
            words = words.and("BY").and(g.random.pick(PATTERNS));
            if alphabetic {
                // Equal weights leave the order to how each server sorts.
                check = Check::Unordered;
                (may_limit, may_store) = (false, false);
            }
        }
        _ => {}
    }
    if alphabetic {
        words = words.and("ALPHA");
    }
    for _ in 0..g.random.below(3) {
        words = match g.random.below(8) {
            0..=1 if may_limit => {
                let (offset, count) = (g.random.between(-2, 5), g.random.between(-2, 6));
                words.and("LIMIT").and(offset.to_string()).and(count.to_string())
            }
            2 if may_limit => words.and("LIMIT").and(g.integer()).and(g.integer()),
            3..=4 => words.and("GET").and(g.random.pick(GET)),
            5 => words.and("DESC"),
            6 => words.and(g.random.pick(&["ASC", "asc", "Desc"])),
            _ => words.and(g.random.pick(&["bogus", "LIMIT", "GET", "STORE"])),
        };
    }
    if may_store && g.random.chance(35) {
        words = words.and("STORE").and(g.key());
    }
    // With a word behind it, it could leave the order to how each server sorts.
    if g.random.chance(3) {
        words = words.and("BY");
    }
    words.checked(check)
}
