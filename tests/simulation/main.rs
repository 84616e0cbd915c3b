//! Whole servers, several of them, in one thread: network, clocks and disks are simulated, from one seed.
//!
//! **What runs.** Three to five servers as they are: engine, journal, log, snapshots, `net`'s connections
//! and links. What is replaced is what they ask the system for: sockets (`net::transport::Network`), clocks
//! and disks (`base::env`), threads (`base::env::Threads`: steps of the log's sync, of a snapshot's writer,
//! of loading are taken at times of the simulation's choice). Not simulated: MIGRATE's errands, the Unix
//! socket, signals.
//!
//! **Decision.** Not turmoil. It stands in for tokio's net types, but a Redstart's sockets are also asked
//! for descriptors, polled for their end, bound to addresses; its disks, its threads, a clock for each host,
//! a host that stands still, a crash in the middle of a disk's operation and a network that cuts a
//! connection would all be ours to add, and time would be its own. The seam that was there already (the
//! mailbox, `Outlet`, `Uplink`, `Env`) made generic over a stream is 150 lines (`net::transport`), resolved
//! at compile time, and the release server's code for TCP is what it was.
//!
//! **State and who owns it.** [`world`] the hosts, each a `LocalSet` on tokio's paused clock: which is polled
//! next, what time it is, what its threads do and when; [`net`] connections and what is on its way;
//! [`agent`] who is the primary (a failover agent that never fails, by commands as Sentinel, but one that
//! fences first); [`nemesis`] what goes wrong; [`actors`] clients; [`record`] what they saw, and
//! the verdict; [`linear`] the search for an order; [`run`] a plan of all that from a seed. All randomness is
//! the seed's: a seed run twice gives one trace.
//!
//! **Promises**, by the seed (`record::Promise`): no quorum; a log that is synced before replies; a quorum
//! in memory; in logs synced before replies; in logs synced once a second. Where one promises that
//! acknowledged writes are kept, they are looked for in the end. Always looked at: the order of replies,
//! reads of a connection's own writes, causal order by tokens, whole units, the same data at the same place
//! in the stream, no server that ends by itself, and one data everywhere when all faults have ended. With a
//! promise also registers, for linearizability: reads count while the server that answered was the primary.
//!
//! **Faults** (`nemesis::Kind`): partitions of all kinds, delays, connections that are cut, hosts that stand
//! still, clocks that jump, processes killed, machines without power (also in an operation of the disk, and
//! all at once), full and slow disks, snapshots and rewrites at bad moments. Hand-overs (FAILOVER) and
//! full syncs come by themselves.
//!
//! **Proof** of the checkers: every mutation of `base::mutation` is noticed by a seed of CI. They exist in
//! builds with debug assertions alone.
//!
//! Replay: `SIM_SEED=17 SIM_STORY=1 cargo nextest run --test simulation one_seed --no-capture` prints what
//! happened with all servers' logs; `SIM_MUTATION=QuorumOffByOne`, `SIM_CALM=1` change the run. Soak:
//! `SIM_SEED=1000 SIM_SEEDS=5000 cargo nextest run --test simulation seeds_0 --no-capture`.

#![expect(clippy::unwrap_used, reason = "a test may fail this way")]

#[macro_use]
mod story;
mod actors;
mod agent;
mod client;
mod linear;
mod nemesis;
mod net;
mod record;
mod run;
#[expect(dead_code, reason = "its waiting clients are not for here")]
#[path = "../engine_crash/workload.rs"]
mod workload;
mod world;

use std::ops::Range;

use redstart::base::mutation::Mutation;

use crate::run::{Plan, Verdict, run};

/// The seeds of a test: those of CI, or as `SIM_SEED` and `SIM_SEEDS` say.
fn seeds(usual: Range<u64>) -> Range<u64> {
    let number =
        |name: &str| -> Option<u64> { std::env::var(name).ok().map(|text| text.parse().unwrap()) };
    match (number("SIM_SEED"), number("SIM_SEEDS")) {
        (Some(seed), None) => seed..seed + 1,
        (from, Some(count)) => from.unwrap_or(0)..from.unwrap_or(0) + count,
        (None, None) => usual,
    }
}

fn keep_logs() {
    // A second one of the same process is refused, and the first does as well.
    let _ = tracing::subscriber::set_global_default(story::Logs);
}

fn soak(seeds: Range<u64>) {
    keep_logs();
    let began = std::time::Instant::now();
    let mut failed = Vec::new();
    let mut sum = Verdict::default();
    for seed in seeds.clone() {
        let plan = Plan::of(seed);
        let verdict = run(&plan, false);
        if !verdict.problems.is_empty() {
            let shown: Vec<String> = verdict
                .problems
                .iter()
                .take(3)
                .map(|one| one.chars().take(1500).collect())
                .collect();
            println!("seed {seed} ({:?}, {} servers): {shown:#?}", plan.promise, plan.servers);
            failed.push(seed);
        }
        sum.add(&verdict);
    }
    println!("{seeds:?} in {:?}: {sum:#?}", began.elapsed());
    assert!(failed.is_empty(), "replay with SIM_SEED={failed:?} SIM_STORY=1");
}

#[test]
fn one_seed() {
    keep_logs();
    let seed = seeds(1..2).start;
    let began = std::time::Instant::now();
    let mut plan = Plan { calm: std::env::var("SIM_CALM").is_ok(), ..Plan::of(seed) };
    if let Ok(name) = std::env::var("SIM_MUTATION") {
        plan.mutation = MUTATIONS.iter().map(|one| one.0).find(|one| format!("{one:?}") == name);
    }
    println!("{plan:?}");
    let mut verdict = run(&plan, std::env::var("SIM_STORY").is_ok());
    println!("{}", std::mem::take(&mut verdict.story).join("\n"));
    println!("{verdict:#?} in {:?}", began.elapsed());
    assert!(verdict.problems.is_empty());
}

/// The seeds of CI, in parts that run beside each other.
macro_rules! soaks {
    ($($name:ident: $seeds:expr),* $(,)?) => {
        $(#[test]
        fn $name() {
            soak(seeds($seeds));
        })*
    };
}

soaks! {
    seeds_0: 0..50,
    seeds_50: 50..100,
    seeds_100: 100..150,
    seeds_150: 150..200,
}

#[test]
fn a_seed_run_twice_gives_one_trace() {
    keep_logs();
    for seed in seeds(0..12) {
        let plan = Plan::of(seed);
        let [first, second] = [run(&plan, false), run(&plan, false)];
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_eq!(first.counts, second.counts, "seed {seed}");
        let other = run(&Plan::of(seed + 1000), false);
        assert_ne!(first.trace, other.trace, "seed {seed}");
    }
}

/// Where nothing goes wrong no link breaks, whatever the sizes of backlog and ticks.
#[test]
fn without_faults_nothing_is_synchronized_twice() {
    keep_logs();
    for seed in seeds(0..24) {
        let plan = Plan { calm: true, ..Plan::of(seed) };
        let verdict = run(&plan, false);
        assert!(verdict.problems.is_empty(), "seed {seed}: {:#?}", verdict.problems);
        let syncs = (verdict.partial_syncs, verdict.full_syncs);
        assert_eq!(syncs, (0, plan.servers as u64 - 1), "seed {seed}: {plan:?}");
        assert_eq!(verdict.counts.unknown, 0, "seed {seed}");
    }
}

/// Each with a seed that has noticed it; others are tried where that one doesn't any more.
const MUTATIONS: &[(Mutation, u64)] = &[
    (Mutation::QuorumOffByOne, 132),
    (Mutation::MemoryCountsAsDurable, 4),
    (Mutation::ReadsDoNotWait, 622),
    (Mutation::UncertainIsLetGo, 107),
    (Mutation::AnswerBeforeSync, 6),
    (Mutation::DurableBeforeSync, 4),
    (Mutation::AcknowledgeUnapplied, 27),
    (Mutation::OffsetNotAdopted, 0),
    (Mutation::PromotionKeepsHistory, 28),
    (Mutation::ForkIsContinued, 28),
    (Mutation::PartialSyncLeavesGap, 2),
    (Mutation::TokenNotAwaited, 0),
    (Mutation::TransactionDivided, 37),
    (Mutation::ReplicaIsWritten, 0),
];

/// The first seed that notices, and what it says: the likely one, which another build may not have, or one of
/// the first thousand.
fn notices(mutation: Mutation, likely: u64) -> Option<(u64, String)> {
    std::iter::once(likely).chain(0..1000).find_map(|seed| {
        let plan = Plan { mutation: Some(mutation), ..Plan::of(seed) };
        let outcome = std::panic::catch_unwind(|| run(&plan, false));
        let problem = match outcome {
            Ok(verdict) => verdict.problems.first()?.clone(),
            Err(_) => "a server has panicked".to_owned(),
        };
        Some((seed, problem))
    })
}

#[test]
fn every_mutation_is_noticed() {
    keep_logs();
    let mut missed = Vec::new();
    for (mutation, likely) in MUTATIONS {
        match notices(*mutation, *likely) {
            Some((seed, problem)) => {
                let problem: String = problem.chars().take(150).collect();
                println!("{mutation:?}: seed {seed}: {problem}");
            }
            None => missed.push(mutation),
        }
    }
    assert!(missed.is_empty(), "nothing noticed {missed:?}");
}
