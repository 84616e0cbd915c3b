//! The index against a map, with frozen views, scans and samples on the way.

use std::collections::{BTreeMap, BTreeSet};

use super::{Body, Entry, Frozen, Handle, Shape, Table, keyed_hash};
use crate::base::env::{Rng, UnixMillis};

#[derive(Clone, Debug, PartialEq)]
struct Known {
    value: Vec<u8>,
    score: f64,
    expiry: Option<UnixMillis>,
}

type Model = BTreeMap<Vec<u8>, Known>;

fn known(shape: Shape, entry: Entry<'_>) -> (Vec<u8>, Known) {
    let known = Known {
        value: if shape == Shape::Fields { entry.value().to_vec() } else { Vec::new() },
        score: if shape == Shape::Scores { entry.score() } else { 0.0 },
        expiry: entry.expiry(),
    };
    (entry.key().to_vec(), known)
}

struct Pair {
    shape: Shape,
    table: Table,
    model: Model,
    /// Where a tree would think that entries are.
    handles: BTreeMap<Vec<u8>, Handle>,
    rng: Rng,
    space: u64,
}

impl Pair {
    fn new(shape: Shape, hash: fn(&[u8]) -> u64, seed: u64, space: u64) -> Self {
        let table = Table::with_hash(shape, hash);
        let rng = Rng::from_seed(seed);
        Self { shape, table, model: Model::new(), handles: BTreeMap::new(), rng, space }
    }

    fn key(&mut self) -> Vec<u8> {
        let number = self.rng.below(self.space);
        match number % 40 {
            0 => format!("{number}").repeat(90).into_bytes(),
            1 if number % 400 == 1 => format!("{number}").repeat(900).into_bytes(),
            2 if number == 2 => Vec::new(),
            _ => format!("key:{number}").into_bytes(),
        }
    }

    fn known(&mut self) -> Known {
        let mut known = Known { value: Vec::new(), score: 0.0, expiry: None };
        match self.shape {
            Shape::Members => {}
            Shape::Scores => known.score = self.rng.next_u64() as i32 as f64 / 4.0,
            Shape::Fields => {
                let len = match self.rng.below(60) {
                    0 => self.rng.below(600),
                    1 => 2_000 + self.rng.below(100),
                    _ => self.rng.below(40),
                };
                known.value = vec![self.rng.next_u64() as u8; len as usize];
                if self.rng.below(4) == 0 {
                    known.expiry = Some(UnixMillis(self.rng.next_u64() as i64));
                }
            }
        }
        known
    }

    fn change(&mut self, growth: u64) {
        let key = self.key();
        if self.rng.below(100) < growth {
            let known = self.known();
            let body = Body { value: &known.value, score: known.score, expiry: known.expiry };
            if self.shape == Shape::Scores
                && let Some(handle) = self.table.find(&key)
            {
                self.table.set_score(handle, known.score);
                self.model.insert(key, known);
                return;
            }
            let (handle, is_new) = self.table.put(&key, &body);
            assert_eq!(is_new, !self.model.contains_key(&key));
            self.handles.insert(key.clone(), handle);
            self.model.insert(key, known);
        } else {
            let removed = self.table.remove(&key);
            assert_eq!(removed.is_some(), self.model.remove(&key).is_some());
            let expected = self.handles.remove(&key);
            if self.shape == Shape::Scores {
                assert_eq!(removed, expected);
            }
        }
        for (old, new) in self.table.take_moves() {
            let found = self.handles.iter_mut().find(|(_, handle)| **handle == old);
            assert_eq!(self.table.at(old).key(), self.table.at(new).key());
            *found.unwrap().1 = new;
        }
        self.table.let_go();
    }

    fn same(&self) {
        assert_eq!(self.table.len(), self.model.len());
        for (key, expected) in &self.model {
            let entry = self.table.get(key).unwrap();
            assert!(known(self.shape, entry) == (key.clone(), expected.clone()));
        }
        let all: Model = self.table.iter().map(|entry| known(self.shape, entry)).collect();
        assert!(all == self.model);
        let mut scanned = BTreeSet::new();
        let mut cursor = 0;
        loop {
            cursor = self.table.scan(cursor, 9, |entry| {
                assert!(scanned.insert(entry.key().to_vec()), "met twice");
            });
            assert!(i64::try_from(cursor).is_ok());
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(scanned.len(), self.model.len());
        if self.shape == Shape::Scores {
            for (key, handle) in &self.handles {
                assert_eq!(self.table.at(*handle).key(), key);
            }
        }
    }
}

fn frozen(shape: Shape, view: &Frozen) -> Model {
    let all: Model = view.iter().map(|entry| known(shape, entry)).collect();
    assert_eq!(all.len(), view.len());
    all
}

const SHAPES: [Shape; 3] = [Shape::Members, Shape::Fields, Shape::Scores];

#[test]
fn behaves_like_a_map_and_shows_its_past() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        for space in [20, 900, 9_000] {
            let mut pair = Pair::new(shape, keyed_hash, seed as u64 + space, space);
            for growth in [90, 50, 10, 70, 3] {
                let then = pair.model.clone();
                let view = pair.table.freeze();
                // Another thread looks at the view while the table changes.
                let reader = std::thread::spawn(move || (frozen(shape, &view), view));
                for _ in 0..space * 2 {
                    pair.change(growth);
                }
                let (seen, view) = reader.join().unwrap();
                assert!(seen == then);
                pair.same();
                assert!(frozen(shape, &view) == then);
                let copy = pair.table.clone();
                drop(view);
                pair.change(0);
                assert!(copy.len() >= pair.table.len());
            }
        }
    }
}

/// Keys that all hash alike, or nearly: no split parts them, and all are found.
#[test]
fn colliding_hashes_cost_time_and_nothing_else() {
    let same: fn(&[u8]) -> u64 = |_| 7 << 40;
    let few: fn(&[u8]) -> u64 = |key| u64::from(key.last().copied().unwrap_or(0)) << 56;
    let low: fn(&[u8]) -> u64 = |key| keyed_hash(key) >> 50;
    for (number, hash) in [same, few, low].into_iter().enumerate() {
        let mut pair = Pair::new(Shape::Fields, hash, number as u64, 1_500);
        for growth in [90, 50, 5] {
            for _ in 0..2_500 {
                pair.change(growth);
            }
            pair.same();
        }
        let mut rng = Rng::from_seed(4);
        let sample = pair.table.sample(&mut rng).unwrap();
        assert!(pair.model.contains_key(sample.key()));
    }
}

#[test]
fn what_is_there_throughout_is_scanned() {
    let mut pair = Pair::new(Shape::Members, keyed_hash, 8, 20_000);
    for round in 0..12 {
        let (grow, shrink) = if round % 2 == 0 { (80, 30) } else { (30, 4) };
        for _ in 0..15_000 {
            pair.change(grow);
        }
        let mut steady: BTreeSet<Vec<u8>> = pair.model.keys().cloned().collect();
        let mut met = BTreeSet::new();
        let mut cursor = 0;
        loop {
            cursor = pair.table.scan(cursor, 20, |entry| {
                met.insert(entry.key().to_vec());
            });
            if cursor == 0 {
                break;
            }
            for _ in 0..60 {
                pair.change(shrink);
            }
            steady.retain(|key| pair.model.contains_key(key));
        }
        assert!(steady.is_subset(&met), "round {round}");
    }
}

#[test]
fn samples_are_uniform() {
    for len in [5_u64, 300, 5_000] {
        let mut table = Table::new(Shape::Members);
        // Removing some leaves segments of different depths.
        for number in 0..len * 3 {
            table.put(&number.to_le_bytes(), &Body::default());
        }
        for number in len..len * 3 {
            table.remove(&number.to_le_bytes());
        }
        let mut rng = Rng::from_seed(len);
        let mut counts = vec![0_u64; len as usize];
        let each = 200;
        for _ in 0..len * each {
            let key = table.sample(&mut rng).unwrap().key().first_chunk().copied().unwrap();
            counts[u64::from_le_bytes(key) as usize] += 1;
        }
        let squares: f64 = counts.iter().map(|count| (*count as f64 - each as f64).powi(2)).sum();
        let per_degree = squares / each as f64 / (len - 1) as f64;
        let tolerance = 6.0 / ((len - 1) as f64).sqrt();
        assert!((per_degree - 1.0).abs() < tolerance, "{len}: {per_degree}");
    }
}

#[test]
fn memory_is_given_back() {
    let mut table = Table::new(Shape::Fields);
    let small = table.heap_bytes();
    let body = Body { value: &[b'v'; 16], ..Body::default() };
    for number in 0..200_000_u64 {
        table.put(&number.to_le_bytes(), &body);
    }
    let full = table.heap_bytes();
    assert!((36.0..46.0).contains(&(full as f64 / 200_000.0)), "{full}");
    for number in 0..200_000_u64 {
        if number % 2 == 0 {
            table.remove(&number.to_le_bytes());
        }
    }
    assert!(table.heap_bytes() < full * 3 / 4);
    for number in 0..199_990_u64 {
        table.remove(&number.to_le_bytes());
    }
    assert_eq!(table.len(), 5);
    assert!(table.heap_bytes() < small + 33_000, "{}", table.heap_bytes());
}

/// A call ends with the last key where it began with the first, and covers a segment at least.
#[test]
fn a_small_table_is_scanned_in_one_call() {
    let mut table = Table::new(Shape::Members);
    let one_call = |table: &Table, count| {
        let mut found = 0;
        assert_eq!(table.scan(0, count, |_| found += 1), 0, "{count} of {}", table.len());
        assert_eq!(found, table.len());
    };
    for number in 0..600_u64 {
        table.put(&number.to_le_bytes(), &Body::default());
        one_call(&table, table.len());
    }
    // What has shrunk is scanned like what was always small, a sparse segment with a count of 1, too.
    for number in 0..20_000_u64 {
        table.put(&number.to_le_bytes(), &Body::default());
    }
    for number in 1..20_000_u64 {
        table.remove(&number.to_le_bytes());
    }
    one_call(&table, 1);
}
