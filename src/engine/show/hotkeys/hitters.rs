//! The heaviest of many keys in bounded memory: the Misra-Gries summary with weights.
//!
//! Twice as many keys as it has counters lie in a hash table with their weights. When that is full, the
//! weight of the last counter that may stay is taken off every key, and those that have none left go.
//! So an addition is one lookup, and a cut costs a constant for each addition before it.
//!
//! *Bound.* A cut takes the same weight off as many keys as there are counters, so with `m` counters and
//! a total weight of `N` all cuts together take off at most `N / m`: [`Hitters::short_max`], which is known
//! exactly. A key's true weight is what is shown or up to that much more; a key that isn't there weighs
//! no more than that. (Misra and Gries 1982; with weights and cuts by rank: Anderson and others 2017.)
//!
//! *Memory.* `2 * m` entries, each with up to [`SHOWN_MAX`] bytes of its key. Keys are told apart by a
//! seeded hash of 64 bits, so that a long one needn't be kept: two of ten thousand fall together with
//! odds of one in 10^11.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Bytes of a key that are kept.
pub(super) const SHOWN_MAX: usize = 128;

#[derive(Debug)]
struct Hitter {
    /// The key, shortened.
    key: Box<[u8]>,
    weight: u64,
}

/// Hands a hash through.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        debug_assert!(false, "only hashes are hashed");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The heaviest keys.
#[derive(Debug)]
pub(super) struct Hitters {
    by_hash: HashMap<u64, Hitter, BuildHasherDefault<Hashed>>,
    counters: usize,
    short_max: u64,
}

impl Hitters {
    /// With so many counters, at least one.
    pub(super) fn new(counters: usize) -> Self {
        Self { by_hash: HashMap::default(), counters: counters.max(1), short_max: 0 }
    }

    /// Adds to the weight of a key, whose hash is given.
    #[inline]
    pub(super) fn add(&mut self, hash: u64, key: &[u8], weight: u64) {
        if let Some(hitter) = self.by_hash.get_mut(&hash) {
            hitter.weight = hitter.weight.saturating_add(weight);
            return;
        }
        if weight > 0 {
            if self.by_hash.len() == self.counters * 2 {
                self.cut();
            }
            self.by_hash.insert(hash, Hitter { key: shown(key), weight });
        }
    }

    /// Makes room: fewer keys remain than there are counters.
    #[cold]
    fn cut(&mut self) {
        let mut weights: Vec<u64> = self.by_hash.values().map(|hitter| hitter.weight).collect();
        let at = weights.len() - self.counters;
        let (_, &mut off, _) = weights.select_nth_unstable(at);
        self.by_hash.retain(|_, hitter| {
            hitter.weight = hitter.weight.saturating_sub(off);
            hitter.weight > 0
        });
        self.short_max += off;
    }

    /// How much more than what is shown a key may weigh.
    #[cfg(test)]
    fn short_max(&self) -> u64 {
        self.short_max
    }

    /// The heaviest so many keys and their weights, the heaviest first.
    pub(super) fn heaviest(&self, count: usize) -> Vec<(&[u8], u64)> {
        let mut all: Vec<(&[u8], u64)> =
            self.by_hash.values().map(|hitter| (&*hitter.key, hitter.weight)).collect();
        all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        all.truncate(count);
        all
    }
}

/// As much of a key as is kept.
fn shown(key: &[u8]) -> Box<[u8]> {
    if key.len() <= SHOWN_MAX {
        return key.into();
    }
    let more = format!("... ({} more bytes)", key.len() - SHOWN_MAX);
    [&key[..SHOWN_MAX], more.as_bytes()].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::env::Rng;

    fn hash(key: &[u8]) -> u64 {
        ahash::RandomState::with_seeds(1, 2, 3, 4).hash_one(key)
    }

    /// Random streams beside exact sums: what the head promises of every key.
    #[test]
    fn a_weight_is_short_by_no_more_than_the_bound() {
        for seed in 0..200 {
            let mut rng = Rng::from_seed(seed);
            let counters = 1 + rng.below(20) as usize;
            let names = 1 + rng.below(200);
            let mut hitters = Hitters::new(counters);
            let mut exact: HashMap<Vec<u8>, u64> = HashMap::new();
            let mut total = 0;
            for _ in 0..rng.below(3000) {
                // Skewed: the smaller of some names.
                let name = (0..=rng.below(4)).map(|_| rng.below(names)).min().unwrap();
                let key = name.to_string().into_bytes();
                let weight = rng.below(50);
                hitters.add(hash(&key), &key, weight);
                *exact.entry(key).or_default() += weight;
                total += weight;
            }
            let found = hitters.heaviest(usize::MAX);
            assert!(found.len() <= counters * 2, "seed {seed}: {} keys", found.len());
            assert!(found.is_sorted_by(|a, b| a.1 >= b.1), "seed {seed}");
            let short_max = hitters.short_max();
            assert!(short_max <= total / counters as u64, "seed {seed}: {short_max} of {total}");
            for (key, weight) in &exact {
                let shown = found.iter().find(|(name, _)| name == key).map_or(0, |one| one.1);
                assert!(shown <= *weight && *weight <= shown + short_max, "seed {seed}");
            }
        }
    }

    #[test]
    fn a_long_key_is_kept_by_its_beginning() {
        let mut hitters = Hitters::new(4);
        let long = vec![b'a'; SHOWN_MAX + 7];
        let mut other = long.clone();
        other[SHOWN_MAX + 6] = b'b';
        for (key, weight) in [(&long, 3), (&other, 2), (&long, 1)] {
            hitters.add(hash(key), key, weight);
        }
        let shown = [vec![b'a'; SHOWN_MAX], b"... (7 more bytes)".to_vec()].concat();
        assert_eq!(hitters.heaviest(9), [(&*shown, 4), (&*shown, 2)]);
        assert_eq!(hitters.heaviest(1), [(&*shown, 4)]);
    }
}
