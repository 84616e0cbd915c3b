//! Snapshots show one moment, whatever happens between slices.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::super::{Entry, EntrySink};
use super::{Known, Pair};
use crate::base::env::UnixMillis;
use crate::data::value::Object;

type Collected = Arc<Mutex<BTreeMap<Vec<u8>, Known>>>;

struct Collector(Collected);

impl EntrySink for Collector {
    fn entry(&mut self, entry: &Entry<'_>) {
        let mut collected = self.0.lock().unwrap_or_else(|_| panic!("nobody panics inside"));
        let twice = collected.insert(entry.key().to_vec(), Known::of(*entry));
        assert!(twice.is_none(), "handed out twice");
    }

    fn object(&mut self, _: &[u8], _: Option<UnixMillis>, _: u32, _: &mut Object) {
        unreachable!("the model has strings");
    }
}

/// The model without access bits, which may be newer than the snapshot.
fn plain(model: &BTreeMap<Vec<u8>, Known>) -> BTreeMap<Vec<u8>, Known> {
    model.iter().map(|(key, known)| (key.clone(), Known { access: 0, ..known.clone() })).collect()
}

fn run(pair: &mut Pair, growth: u64, abort_after: Option<usize>) {
    let expected = plain(&pair.model);
    let collected = Collected::default();
    pair.table.begin_snapshot(Box::new(Collector(Arc::clone(&collected))));
    let changes = pair.rng.below(200);
    let budget = 1 + pair.rng.below(300) as usize;
    let mut slices = 0;
    loop {
        for _ in 0..changes {
            pair.change(growth);
        }
        if pair.table.snapshot_slice(budget) {
            break;
        }
        slices += 1;
        if abort_after == Some(slices) {
            pair.table.abort_snapshot();
            return;
        }
    }
    assert!(!pair.table.is_snapshotting());
    let Some(collected) = Arc::into_inner(collected) else { panic!("the sink is gone") };
    let collected = collected.into_inner().unwrap_or_else(|_| panic!("nobody panics inside"));
    assert_eq!(plain(&collected).len(), expected.len());
    assert!(plain(&collected) == expected, "a value is not what it was");
}

#[test]
fn shows_the_moment_it_began() {
    for seed in 0..9 {
        let space = [60, 4_000, 30_000][seed as usize % 3];
        let mut pair = Pair::new(seed, space);
        for growth in [95, 5, 50] {
            for _ in 0..space {
                pair.change(100 - growth);
            }
            run(&mut pair, growth, None);
            pair.verify();
        }
    }
}

#[test]
fn an_aborted_snapshot_leaves_no_marks() {
    let mut pair = Pair::new(77, 3_000);
    for _ in 0..6_000 {
        pair.change(80);
    }
    // More than a byte of epochs, with marks of all ages.
    for round in 0..600 {
        run(&mut pair, 50, Some(round % 5 + 1));
    }
    run(&mut pair, 50, None);
    pair.verify();
}

#[test]
fn an_empty_table_has_an_empty_snapshot() {
    let mut pair = Pair::new(78, 10);
    run(&mut pair, 50, None);
    assert!(pair.table.snapshot_slice(1));
}
