//! MEMORY DOCTOR: what is out of the ordinary about the use of memory, and what can be done.
//!
//! The signs are upstream's, measured by the figures of INFO memory: each has a ratio and, where small
//! servers would show it always, an amount that it must reach. How each is brought about is in
//! `tests/memory_doctor.rs`. Deliberately absent: what the process has beside the allocator and the tables.
//! Lua's machines take their memory from the allocator, too, so that nothing could make it grow.

use std::fmt::Write;

use crate::engine::Engine;
use crate::engine::show::info_memory::{Figures, human, ratio};

/// With less in use nothing can be told.
const USED_MIN: u64 = 5 << 20;
/// What is lost must be as much to be worth a word.
const LOST_MIN: u64 = 10 << 20;
/// The peak, beside what is in use now.
const PEAK_RATIO_MAX: f64 = 1.5;
/// A layer's memory, beside that of the layer below.
const LAYER_RATIO_MAX: f64 = 1.1;
/// What a client, and what a replica holds on average.
const CLIENT_BYTES_MAX: u64 = 200 << 10;
const REPLICA_BYTES_MAX: u64 = 10 << 20;
/// Scripts in the cache.
const SCRIPTS_MAX: usize = 1000;

/// Whether one figure is so much larger than another that it is worth a word.
fn stands_out(larger: u64, smaller: u64) -> bool {
    larger.saturating_sub(smaller) > LOST_MIN && ratio(larger, smaller) > LAYER_RATIO_MAX
}

/// The examination's result in words.
pub(super) fn examine(engine: &mut Engine) -> String {
    let memory = Figures::of(engine);
    let replicas = engine.sessions.clients().filter(|one| one.is_fed()).count() as u64;
    let clients = engine.sessions.clients().count() as u64 - replicas;
    let scripts = engine.scripts.figures().scripts;
    if memory.used < USED_MIN {
        return "There is hardly any data: nothing can be said about the use of memory.\n".into();
    }
    let mut signs = String::new();
    let mut sign = |name: &str, text: String| {
        // Writing to a String can't fail.
        let _ = writeln!(signs, " * {name}: {text}");
    };
    if ratio(memory.peak, memory.used) > PEAK_RATIO_MAX {
        let text = format!(
            "{} were in use once, now it is {}. What the process still holds of that can make its \
             memory look fragmented; it goes back to the system when the allocator gets to it \
             (MEMORY PURGE gives up what it can at once).",
            human(memory.peak),
            human(memory.used),
        );
        sign("Peak memory", text);
    }
    if stands_out(memory.active, memory.allocated) {
        let text = format!(
            "the allocator's pages are {:.2} times as much as what lies in them, so {} lie idle \
             between values. That follows many deletions, or values that change their size; new \
             values fill it again.",
            ratio(memory.active, memory.allocated),
            human(memory.active - memory.allocated),
        );
        sign("Fragmentation", text);
    }
    if stands_out(memory.allocator_resident, memory.active) {
        let text = format!(
            "{} that the allocator no longer uses haven't gone back to the system yet. It gives \
             them back by itself some seconds after a big deletion.",
            human(memory.allocator_resident - memory.active),
        );
        sign("Unreturned pages", text);
    }
    if memory.clients / clients.max(1) > CLIENT_BYTES_MAX {
        let text = format!(
            "a client holds {} on average. CLIENT LIST shows who (omem, qbuf): readers that are \
             too slow, long pipelines, or MONITOR. client-output-buffer-limit and maxmemory-clients \
             bound it.",
            human(memory.clients / clients.max(1)),
        );
        sign("Client buffers", text);
    }
    if memory.replicas / replicas.max(1) > REPLICA_BYTES_MAX {
        let text = format!(
            "a replica holds {} on average: it reads more slowly than the data changes. Look at \
             the network and at the replica's load.",
            human(memory.replicas / replicas.max(1)),
        );
        sign("Replica buffers", text);
    }
    if scripts > SCRIPTS_MAX {
        let text = format!(
            "{scripts} scripts are cached. Where they are the same but for some values, pass these \
             as arguments; SCRIPT FLUSH empties the cache.",
        );
        sign("Many scripts", text);
    }
    if signs.is_empty() {
        return "Nothing about the use of memory is out of the ordinary.\n".into();
    }
    format!("What is out of the ordinary about the use of memory:\n{signs}")
}
