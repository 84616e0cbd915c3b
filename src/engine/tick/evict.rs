//! `maxmemory`: how much memory is in use, and which keys go when it is too much.
//!
//! Candidates come from random buckets, up to twenty for one cache miss, and the best few are kept
//! from one round to the next, as upstream's pool does. Each evicted key is a unit of its own, a
//! DEL in the log; where a command under way made it go, it is part of that one's.

use crate::config::kinds::EvictionPolicy;
use crate::engine::Engine;
use crate::keyspace::databases::{Databases, DbIndex};
use crate::keyspace::table::Entry;
use crate::keyspace::unit::Event;

/// Candidates kept between rounds.
const POOL_MAX: usize = 16;
/// Keys evicted between two looks at the allocator.
const ROUND: usize = 16;
/// Time that one command may spend on evicting, in microseconds; then it goes on if it can.
const EVICT_MICROS_MAX: u64 = 500;

/// A key that may go: the higher the score, the sooner.
#[derive(Clone, Debug)]
struct Candidate {
    score: u64,
    db: DbIndex,
    key: Box<[u8]>,
}

/// What eviction keeps between its rounds.
#[derive(Debug, Default)]
pub struct State {
    pool: Vec<Candidate>,
    /// Memory in use at the last look, in bytes.
    used: u64,
    /// When that was, in ticks of the stopwatch.
    looked: u64,
    /// Keys evicted (INFO `evicted_keys`).
    pub evicted: u64,
}

/// Bytes that the allocator has handed out, without the pages that tables map themselves.
pub fn allocated_bytes() -> u64 {
    use tikv_jemalloc_ctl::{epoch, stats};
    // Fails only where the allocator is another one, as in tests: nothing is known then.
    if epoch::advance().is_err() {
        return 0;
    }
    stats::allocated::read().unwrap_or(0) as u64
}

impl Engine {
    /// Memory in use for data and clients, in bytes.
    pub fn used_memory(&self) -> u64 {
        let tables: usize =
            self.databases.occupied().map(|(_, table)| table.memory().segment_bytes).sum();
        allocated_bytes() + tables as u64
    }

    /// Evicts until memory is below `maxmemory`; false where that is not possible.
    pub(in crate::engine) fn make_room(&mut self) -> bool {
        let limit = self.settings.maxmemory;
        let now = self.env.stopwatch.ticks();
        // Looking costs microseconds, so not for every command: memory grows by little in between.
        if now.saturating_sub(self.evict.looked) > self.env.stopwatch.ticks_of(200) {
            self.evict.used = self.used_memory();
            self.evict.looked = now;
        }
        if self.evict.used <= limit {
            return true;
        }
        if self.settings.maxmemory_policy == EvictionPolicy::NoEviction {
            return false;
        }
        let bound = self.env.stopwatch.ticks_of(EVICT_MICROS_MAX);
        loop {
            for _ in 0..ROUND {
                if !self.evict_one() {
                    return self.used_memory() <= limit;
                }
            }
            self.evict.used = self.used_memory();
            self.evict.looked = self.env.stopwatch.ticks();
            // Out of time: the next commands go on with it.
            if self.evict.used <= limit || self.evict.looked - now > bound {
                return true;
            }
        }
    }

    /// Evicts the best candidate. False where there is none.
    fn evict_one(&mut self) -> bool {
        for _ in 0..8 {
            self.gather_candidates();
            while let Some(candidate) = self.evict.pool.pop() {
                let unit = self.begin_own_unit();
                let mut db = self.databases.db(candidate.db);
                let elsewhere = self.settings.lazyfree_lazy_eviction;
                let evicted = db.remove(&candidate.key, elsewhere, Event::EVICTED);
                if evicted {
                    let record: [&[u8]; 2] = [b"DEL", &candidate.key];
                    self.databases.unit.record(candidate.db, &record);
                }
                self.finish_own_unit(unit);
                if !evicted {
                    continue;
                }
                self.evict.evicted += 1;
                return true;
            }
        }
        false
    }

    /// Fills the pool up from random buckets of the databases that hold keys.
    fn gather_candidates(&mut self) {
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
                    table.sample_volatile_bucket(&mut self.rng, collect);
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
