//! The whole server on a disk that fails: actor, log, snapshot, rewrite and recovery as they run in
//! the real process, without threads and on a simulated clock, so that a seed replays a run.
//!
//! Clients ask for commands of all types ([`workload`]), with snapshots, rewrites, CONFIG SET
//! appendonly and restarts in between. What is found after a crash at every operation of the disk is
//! compared as a whole with what must be there ([`chain`]). `tests/crash.rs` does the same to the log
//! alone.
//!
//! `ENGINE_CRASH_SEEDS=n cargo test --test engine_crash` makes the runs longer (a seed takes about 0.1 s
//! of processor time for crashes, 3 s for faults and 2 s for flipped bits); `ENGINE_CRASH_SEED=n` runs
//! that seed alone. What fails prints how to see it again and what had happened.

#![expect(clippy::unwrap_used, reason = "a test may fail this way")]

mod chain;
#[path = "../embedded/mod.rs"]
mod embedded;
#[path = "../support/guards.rs"]
mod guards;
mod streams;
mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use chain::{Chain, Figures, Sweep, Trouble};
use redstart::base::env::{Disk, Rng, SyncPoint};
use redstart::base::sim_disk::Fault;

/// Steps of a run's lives.
const STEPS: [usize; 3] = [22, 12, 8];

/// Seeds that CI runs, of each kind.
const CRASH_SEEDS: u64 = 60;
const FAULT_SEEDS: u64 = 9;
const FLIP_SEEDS: u64 = 5;
const BLIND_SEEDS: u64 = 12;

/// The seeds to run: so many, or as the environment says.
fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    match number("ENGINE_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ENGINE_CRASH_SEEDS").unwrap_or(default),
    }
}

/// Every crash of three lives.
fn crashes(seed: u64, ignored: Option<SyncPoint>) -> Result<Chain, String> {
    let mut chain = Chain::new(seed);
    chain.ignored = ignored;
    for steps in STEPS {
        chain.live(steps, None)?;
        chain.sweep(Sweep::All)?;
        chain.end(0);
    }
    chain.live(0, None)?;
    Ok(chain)
}

fn fails(test: &str, seed: u64, story: &str) -> ! {
    panic!("{story}\nAgain: ENGINE_CRASH_SEED={seed} cargo test --test engine_crash {test}\n")
}

#[test]
fn power_loss_and_kill_at_every_operation() {
    let mut figures = Figures::default();
    for seed in seeds(CRASH_SEEDS) {
        match crashes(seed, None) {
            Ok(chain) => figures.add(&chain.figures),
            Err(story) => fails("power_loss_and_kill_at_every_operation", seed, &story),
        }
    }
    println!("seeds {:?}: {figures:#?}", seeds(CRASH_SEEDS));
    // A snapshot that was begun while nobody read the stream says nothing of it.
    assert!(figures.placed * 10 > figures.recoveries * 7, "{figures:?}");
}

/// The ways in which operations fail: how, and how many of them.
const FAULTS: [(Fault, u64); 6] = [
    (Fault::Io, 1),
    (Fault::Io, 12),
    (Fault::Full, 1),
    (Fault::Full, 12),
    (Fault::Short(7), 1),
    // And then what was written of it can't be cut off.
    (Fault::Short(90), 2),
];

/// A life with a fault in it, some crashes after that, and a life on what is left.
fn fault(seed: u64, trouble: Trouble, ignored: Option<SyncPoint>) -> Result<Figures, String> {
    let mut chain = Chain::new(seed);
    chain.ignored = ignored;
    chain.live(14, Some(trouble))?;
    chain.sweep(Sweep::Some { from: trouble.at, count: 6 })?;
    chain.end(trouble.at);
    chain.live(4, None)?;
    chain.sweep(Sweep::Some { from: 0, count: 6 })?;
    chain.end(0);
    chain.live(0, None)?;
    Ok(chain.figures)
}

/// Each operation of a seed's first life fails, in half of the ways.
fn faults(seed: u64, ignored: Option<SyncPoint>) -> Result<Figures, String> {
    let mut figures = Figures::default();
    let mut chain = Chain::new(seed);
    chain.live(14, None)?;
    for at in 0..chain.disk.operations() {
        for kind in (0..3).map(|number| (2 * number + (at + seed) % 2) as usize) {
            let (fault_kind, lasts) = FAULTS[kind];
            let trouble = Trouble { at, fault: fault_kind, lasts };
            figures.add(&fault(seed, trouble, ignored)?);
        }
    }
    Ok(figures)
}

#[test]
fn faults_at_every_operation() {
    let mut figures = Figures::default();
    for seed in seeds(FAULT_SEEDS) {
        match faults(seed, None) {
            Ok(more) => figures.add(&more),
            Err(story) => fails("faults_at_every_operation", seed, &story),
        }
    }
    println!("seeds {:?}: {figures:#?}", seeds(FAULT_SEEDS));
}

/// A disk that can't be read now and then: nothing is taken for the end of a file, or for no file.
#[test]
fn a_start_that_can_not_read_something_loses_nothing() {
    let mut all = [0; 2];
    for seed in seeds(BLIND_SEEDS) {
        let mut chain = Chain::new(seed);
        let mut run = || {
            let mut counts = [0; 2];
            for steps in STEPS {
                chain.live(steps, None)?;
                chain.end(0);
                let more = chain.blind_starts()?;
                counts = [counts[0] + more[0], counts[1] + more[1]];
            }
            Ok(counts)
        };
        let counts = run().unwrap_or_else(|story: String| {
            fails("a_start_that_can_not_read_something_loses_nothing", seed, &story)
        });
        all = [all[0] + counts[0], all[1] + counts[1]];
    }
    println!("seeds {:?}: {} starts refused, {} made", seeds(BLIND_SEEDS), all[0], all[1]);
    assert!(all[0] > 5 * all[1], "{all:?}");
}

/// Whether any run notices that this sync is left out.
fn is_noticed(point: SyncPoint) -> bool {
    (0..60).any(|seed| crashes(seed, Some(point)).is_err() || faults(seed, Some(point)).is_err())
}

#[test]
fn no_sync_of_the_server_can_be_left_out() {
    let mut points = BTreeSet::new();
    for seed in 0..12 {
        let mut chain = Chain::new(seed);
        for steps in STEPS {
            chain.live(steps, None).unwrap();
            points.extend(chain.disk.sync_points());
            chain.end(0);
        }
    }
    let listed = guards::points_of("no_sync_of_the_server_can_be_left_out");
    points.retain(|point| listed.contains(point.0));
    assert_eq!(points.len(), listed.len(), "docs/formats.md lists others than {points:?}");
    let missed: Vec<_> = points.into_iter().filter(|point| !is_noticed(*point)).collect();
    assert!(missed.is_empty(), "nothing noticed that these were left out: {missed:?}");
}

/// Flips a bit of each byte of every file that a server left when it was shut down.
fn flip_all(seed: u64) -> Result<BTreeMap<String, [u64; 2]>, String> {
    let mut chain = Chain::new(seed);
    // Two files of each kind, and whatever the runs bring.
    chain.live(10, None)?;
    chain.end(u64::MAX);
    let state = chain.live_and_shut_down(14)?;
    for log in [false, true] {
        assert_eq!(chain.holds(&chain.disk.before(u64::MAX), log, &state), Some(true));
    }
    let mut rng = Rng::from_seed(seed);
    let mut counts: BTreeMap<String, [u64; 2]> = BTreeMap::new();
    for (dir, log) in [("", false), ("appendonlydir", true)] {
        for name in chain.disk.list(Path::new(dir)).unwrap_or_default() {
            let path = Path::new(dir).join(&name);
            let Ok(bytes) = chain.disk.contents(&path) else { continue };
            let kind = name.extension().unwrap_or_default().to_string_lossy().into_owned();
            let stride = 1 + bytes.len() / 3000;
            for byte in (0..bytes.len()).step_by(stride) {
                let bit = byte as u64 * 8 + rng.below(8);
                let flipped = chain.disk.before(u64::MAX);
                flipped.flip(&path, bit).unwrap();
                match chain.holds(&flipped, log, &state) {
                    Some(false) => {
                        return Err(format!("bit {bit} of {} brings other data", path.display()));
                    }
                    same => {
                        let count = counts.entry(kind.clone()).or_default();
                        count[usize::from(same.is_some())] += 1;
                    }
                }
            }
        }
    }
    Ok(counts)
}

#[test]
fn a_flipped_bit_is_reported_or_harms_nothing() {
    let mut all: BTreeMap<String, [u64; 2]> = BTreeMap::new();
    for seed in seeds(FLIP_SEEDS) {
        let counts = flip_all(seed).unwrap_or_else(|story| {
            fails("a_flipped_bit_is_reported_or_harms_nothing", seed, &story)
        });
        for (kind, [reported, harmless]) in counts {
            let sum = all.entry(kind).or_default();
            *sum = [sum[0] + reported, sum[1] + harmless];
        }
    }
    println!("seeds {:?}: flips reported and harmless: {all:?}", seeds(FLIP_SEEDS));
    // Base and snapshot, increments, manifest: most flips in each are seen.
    for kind in ["rdb", "aof", "manifest"] {
        let [reported, harmless] = all[kind];
        assert!(reported > 10 * harmless, "{kind}: {reported} reported, {harmless} harmless");
    }
}
