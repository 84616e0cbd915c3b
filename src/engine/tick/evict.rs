//! `maxmemory`: which keys go when too much memory is in use.
//!
//! Candidates come from random buckets, up to twenty for one cache miss, and the best few are kept
//! from one round to the next, as upstream's pool does. What is kept may have changed since: a
//! candidate is scored again before it goes, and one that is used more now goes back in line. Each
//! evicted key is a unit of its own, a DEL in the log; where a command under way made it go, it is part
//! of that one's.
//!
//! ```text
//!            over the limit                      out of time
//!  enough ──────────────────► evicts keys ──────────────────────► evicts on, a slice a tick
//!     ▲                            │    ▲                              │
//!     └────────────────────────────┴────┼──────────────────────────────┘ below the limit,
//!                                       └ next command                   or no key may go
//! ```
//!
//! Bound: a command that finds memory over the limit evicts at least as much as came since the one
//! before it, however long that takes; only what was too much before that is left to the slices. So
//! data exceed `maxmemory` by no more than one command adds, unless `maxmemory` was lowered or no key
//! may go.

use crate::base::env::SteadyMillis;
use crate::config::kinds::EvictionPolicy;
use crate::engine::Engine;
use crate::engine::tick::memory::Meter;
use crate::keyspace::databases::{Databases, DbIndex, ExpiryMode};
use crate::keyspace::reclaim::removal_word;
use crate::keyspace::table::Entry;
use crate::keyspace::unit::Event;

/// Candidates kept between rounds.
const POOL_MAX: usize = 16;
/// Rounds of random buckets without a candidate before the slow, exact search.
const TRIES_MAX: usize = 8;
/// Segments that one of those rounds looks at for keys that expire, where these are rare.
const VOLATILE_SEGMENTS_MAX: usize = 64;
/// Keys evicted between two looks at the time.
const ROUND: usize = 16;

/// A key that may go: the higher the score, the sooner.
#[derive(Clone, Debug)]
struct Candidate {
    score: u64,
    db: DbIndex,
    key: Box<[u8]>,
}

/// What eviction keeps between its rounds.
#[derive(Debug)]
pub struct State {
    /// What memory is in use.
    pub(super) meter: Meter,
    /// What it took in this tick to tell followers of the keys that went, in bytes.
    pub(super) told: u64,
    /// The best candidate last.
    pool: Vec<Candidate>,
    /// The policy that scored them.
    policy: EvictionPolicy,
    /// What was too much when time was up, in bytes; 0 where nothing is.
    excess: u64,
    /// Whether slices go on with it.
    running: bool,
    /// Since when too much has been in use, in ticks of the stopwatch.
    exceeded_since: Option<u64>,
    /// How long it was before that, in ticks.
    exceeded: u64,
    /// Keys evicted (INFO `evicted_keys`).
    pub evicted: u64,
    /// Clients closed under `maxmemory-clients` since the start.
    pub(in crate::engine) evicted_clients: u64,
    /// Whether what clients hold is to be summed at the end of the tick.
    pub(in crate::engine) clients_due: bool,
    /// Bytes of replies that clients with many of them have made since.
    pub(in crate::engine) clients_made: u64,
    /// When that was done last.
    pub(in crate::engine) clients_summed: SteadyMillis,
}

impl Default for State {
    fn default() -> Self {
        Self {
            meter: Meter::default(),
            told: 0,
            pool: Vec::new(),
            policy: EvictionPolicy::NoEviction,
            excess: 0,
            running: false,
            exceeded_since: None,
            exceeded: 0,
            evicted: 0,
            evicted_clients: 0,
            clients_due: false,
            clients_made: 0,
            clients_summed: SteadyMillis::default(),
        }
    }
}

impl State {
    /// For how long memory has been over the limit at `now`, and for how long altogether since the
    /// last reset, in ticks.
    pub(crate) fn exceeded_ticks(&self, now: u64) -> (u64, u64) {
        let current = self.exceeded_since.map_or(0, |since| now.saturating_sub(since));
        (current, self.exceeded + current)
    }

    /// CONFIG RESETSTAT.
    pub(crate) fn reset(&mut self) {
        (self.evicted, self.exceeded, self.exceeded_since) = (0, 0, None);
    }

    fn note_exceeded(&mut self, exceeded: bool, now: u64) {
        if exceeded {
            self.exceeded_since.get_or_insert(now);
        } else if let Some(since) = self.exceeded_since.take() {
            self.exceeded += now.saturating_sub(since);
        }
    }
}

/// Who has room made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Urgency {
    /// A command: what came since the one before it goes, however long that takes.
    Command,
    /// Nobody waits for it.
    Slice,
}

/// How making room ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Memory is below the limit.
    Enough,
    /// Time was up first.
    OutOfTime,
    /// No key may go.
    Full,
}

impl Engine {
    /// Has the next tick look whether there is too much: the limit or the policy is another one. All
    /// that is too much now is left to the slices.
    pub(in crate::engine) fn begin_eviction(&mut self) {
        self.evict.running = true;
        if self.settings.maxmemory != 0 {
            self.evict.excess = self.counted_memory().saturating_sub(self.settings.maxmemory);
        }
    }

    /// Evicts until memory is below `maxmemory`, which isn't 0; false where that is not possible.
    #[inline]
    pub(in crate::engine) fn make_room(&mut self) -> bool {
        !self.is_over_limit() || self.evict(Urgency::Command) != Outcome::Full
    }

    /// Whether memory is over the limit, or was when it was last looked at.
    #[inline]
    fn is_over_limit(&mut self) -> bool {
        self.counted_memory() > self.settings.maxmemory || self.evict.exceeded_since.is_some()
    }

    /// A slice of eviction in the background; true where the next should follow soon.
    pub(in crate::engine) fn evict_slice(&mut self) -> bool {
        if !self.evict.running {
            return false;
        }
        self.evict.running = false;
        self.evict_in_background();
        self.evict.running
    }

    /// Looks whether too much is in use, and begins to evict then. Called by cron as well: memory may
    /// grow without any command, by what clients don't read.
    pub(in crate::engine) fn evict_in_background(&mut self) {
        if self.settings.maxmemory == 0 || self.persistence.loading {
            let now = self.env.stopwatch.ticks();
            self.evict.note_exceeded(false, now);
            return;
        }
        if self.is_over_limit() {
            self.evict(Urgency::Slice);
        }
    }

    /// As [`Engine::make_room`], where more is counted than may be.
    #[cold]
    fn evict(&mut self, urgency: Urgency) -> Outcome {
        // During CLIENT PAUSE, and on a replica, the data stay as they are, and nothing is refused
        // for that.
        if self.databases.expiry_mode() != ExpiryMode::Active {
            return Outcome::Enough;
        }
        // What is only kept for reuse goes before any key.
        self.output.spares.drop_large();
        let began = self.latency_begins();
        let outcome = self.evict_until(urgency);
        self.note_latency("eviction-cycle", began);
        self.evict.running |= outcome == Outcome::OutOfTime;
        let now = self.env.stopwatch.ticks();
        self.evict.note_exceeded(outcome != Outcome::Enough, now);
        outcome
    }

    fn evict_until(&mut self, urgency: Urgency) -> Outcome {
        let mut counted = self.counted_memory();
        let limit = self.settings.maxmemory;
        let began = self.env.stopwatch.ticks();
        let bound_micros = slice_micros(self.settings.maxmemory_eviction_tenacity);
        let owed = std::mem::take(&mut self.evict.excess);
        let mut keys = 0usize;
        while counted > limit {
            if !self.evict_one() {
                return Outcome::Full;
            }
            counted = self.counted_memory();
            keys += 1;
            let paid = urgency == Urgency::Slice || counted <= limit.saturating_add(owed);
            if paid && keys.is_multiple_of(ROUND) {
                let took = self.env.stopwatch.ticks().saturating_sub(began);
                if bound_micros.is_some_and(|bound| self.env.stopwatch.micros(took) > bound) {
                    self.evict.excess = counted.saturating_sub(limit);
                    break;
                }
            }
        }
        if counted > limit { Outcome::OutOfTime } else { Outcome::Enough }
    }

    /// Evicts the best candidate. False where no key may go.
    fn evict_one(&mut self) -> bool {
        let policy = self.settings.maxmemory_policy;
        if policy == EvictionPolicy::NoEviction {
            return false;
        }
        if self.evict.policy != policy {
            self.evict.pool.clear();
            self.evict.policy = policy;
        }
        for round in 0..=TRIES_MAX {
            let segments = if round < TRIES_MAX { VOLATILE_SEGMENTS_MAX } else { usize::MAX };
            self.gather_candidates(segments);
            while let Some(candidate) = self.evict.pool.pop() {
                let table = self.databases.table(candidate.db);
                let entry = table.and_then(|table| table.get(&candidate.key));
                match entry.and_then(|entry| score(&self.databases, policy, &entry)) {
                    Some(score) if score < candidate.score => {
                        let pool = &mut self.evict.pool;
                        let at = pool.partition_point(|other| other.score <= score);
                        pool.insert(at, Candidate { score, ..candidate });
                    }
                    Some(_) if self.evict_key(&candidate) => return true,
                    Some(_) | None => {}
                }
            }
        }
        false
    }

    fn evict_key(&mut self, candidate: &Candidate) -> bool {
        let elsewhere = self.settings.lazyfree_lazy_eviction;
        let unit = self.begin_own_unit();
        let began = self.latency_begins();
        let mut db = self.databases.db(candidate.db);
        let evicted = db.remove(&candidate.key, elsewhere, Event::EVICTED);
        self.note_latency("eviction-del", began);
        if evicted {
            self.databases.unit.record(candidate.db, &[removal_word(elsewhere), &candidate.key]);
            self.evict.evicted += 1;
        }
        // A key whose time has come is gone as well, though not counted here.
        let before = self.evict.meter.allocated();
        self.finish_own_unit(unit);
        self.evict.told += self.evict.meter.allocated().saturating_sub(before);
        evicted
    }

    /// Fills the pool up from random buckets of the databases that hold keys; where only keys that
    /// expire may go, looks for them in so many segments of each.
    fn gather_candidates(&mut self, segments_max: usize) {
        let policy = self.settings.maxmemory_policy;
        let indices: Vec<DbIndex> = self.databases.occupied().map(|(index, _)| index).collect();
        let buckets = (self.settings.maxmemory_samples as usize).div_ceil(10).max(1);
        for index in indices {
            let Some(table) = self.databases.table(index) else { continue };
            for _ in 0..buckets {
                let mut found = Vec::new();
                let collect = |entry: Entry<'_>| {
                    if let Some(score) = score(&self.databases, policy, &entry) {
                        found.push(Candidate { score, db: index, key: entry.key().into() });
                    }
                };
                if is_volatile(policy) {
                    table.sample_volatile_bucket(&mut self.rng, segments_max, collect);
                } else {
                    table.sample_bucket(&mut self.rng, collect);
                }
                self.evict.pool.append(&mut found);
            }
        }
        if matches!(policy, EvictionPolicy::AllkeysRandom | EvictionPolicy::VolatileRandom) {
            for at in (1..self.evict.pool.len()).rev() {
                let other = self.rng.below(at as u64 + 1) as usize;
                self.evict.pool.swap(at, other);
            }
            self.evict.pool.truncate(1);
            return;
        }
        let pool = &mut self.evict.pool;
        pool.sort_by(|a, b| a.score.cmp(&b.score).then_with(|| a.key.cmp(&b.key)));
        pool.dedup_by(|a, b| a.key == b.key && a.db == b.db);
        let surplus = pool.len().saturating_sub(POOL_MAX);
        pool.drain(..surplus);
    }
}

/// Time that a command, or a slice in the background, may spend on evicting, in microseconds: half a
/// millisecond by default, more by 15 % a step above that, and without bound at 100.
fn slice_micros(tenacity: u64) -> Option<u64> {
    match tenacity {
        0..=10 => Some(50 * tenacity),
        11..=99 => Some((500.0 * 1.15f64.powi(tenacity as i32 - 10)) as u64),
        _ => None,
    }
}

fn is_volatile(policy: EvictionPolicy) -> bool {
    matches!(
        policy,
        EvictionPolicy::VolatileLru
            | EvictionPolicy::VolatileLfu
            | EvictionPolicy::VolatileRandom
            | EvictionPolicy::VolatileTtl
    )
}

/// How much an entry deserves to go, where the policy lets it go at all.
fn score(databases: &Databases, policy: EvictionPolicy, entry: &Entry<'_>) -> Option<u64> {
    if is_volatile(policy) && entry.expiry().is_none() {
        return None;
    }
    Some(match policy {
        EvictionPolicy::AllkeysLru | EvictionPolicy::VolatileLru => {
            u64::from(databases.idle_seconds(entry.access()))
        }
        EvictionPolicy::AllkeysLfu | EvictionPolicy::VolatileLfu => {
            255 - u64::from(databases.decayed_frequency(entry.access()))
        }
        EvictionPolicy::VolatileTtl => u64::MAX - entry.expiry().map_or(0, |at| at.0.max(0) as u64),
        EvictionPolicy::AllkeysRandom | EvictionPolicy::VolatileRandom => 0,
        EvictionPolicy::NoEviction => return None,
    })
}
