//! Random changes, scans and expiry against the model.

use std::collections::{BTreeMap, BTreeSet};

use super::{Pair, key_of};
use crate::base::env::UnixMillis;
use crate::data::value::NewValue;

/// Spaces that make a table of one segment, of a few, and of dozens.
const SPACES: [u64; 3] = [60, 4_000, 40_000];

#[test]
fn behaves_like_a_map() {
    for (seed, space) in SPACES.into_iter().enumerate() {
        let mut pair = Pair::new(seed as u64, space);
        for growth in [90, 20, 75, 5, 50] {
            for _ in 0..space * 2 {
                pair.change(growth);
            }
            pair.verify();
        }
        let keys: Vec<Vec<u8>> = pair.model.keys().cloned().collect();
        for key in &keys {
            pair.remove(key);
        }
        pair.verify();
        assert!(pair.table.is_empty());
        let memory = pair.table.memory();
        assert_eq!(memory.heap_bytes, 0);
        // Shrinking leaves a few segments at most, since buddies join as they empty.
        assert!(memory.segments <= 4, "{memory:?}");
    }
}

#[test]
fn an_empty_table_is_small() {
    let pair = Pair::new(1, 10);
    assert!(pair.table.memory().total() <= 12 << 10);
}

#[test]
fn scan_meets_all_that_stays_exactly_once() {
    for seed in 0..12 {
        let space = SPACES[seed as usize % 3];
        let mut pair = Pair::new(seed, space);
        for growth in [95, 3, 50] {
            for _ in 0..space {
                pair.change(100 - growth);
            }
            let stay: BTreeSet<Vec<u8>> =
                pair.model.keys().filter(|key| key.len() % 3 != 0).cloned().collect();
            let mut seen: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
            let changes = pair.rng.below(60);
            let count = 1 + pair.rng.below(30) as usize;
            let mut cursor = 0;
            loop {
                cursor = pair.table.scan(cursor, count, |entry| {
                    *seen.entry(entry.key().to_vec()).or_default() += 1;
                });
                assert!(i64::try_from(cursor).is_ok());
                if cursor == 0 {
                    break;
                }
                for _ in 0..changes {
                    // Those that stay may change their value and size, but don't go.
                    let key = pair.key();
                    if stay.contains(&key) || pair.rng.below(100) < growth {
                        pair.put(key);
                    } else {
                        pair.remove(&key);
                    }
                }
            }
            for key in &stay {
                assert_eq!(seen.get(key), Some(&1), "{}", String::from_utf8_lossy(key));
            }
            pair.verify();
        }
    }
}

#[test]
fn scan_works_a_bounded_stretch_at_a_time() {
    let mut pair = Pair::new(3, 10);
    // Any cursor will do, and one that was never handed out does no harm.
    for cursor in [1, 77, i64::MAX as u64, u64::MAX] {
        assert!(pair.table.scan(cursor, 10, |_| panic!("nothing there")) < 1 << 63);
    }
    for n in 0..30 {
        pair.put(key_of(n));
    }
    let (mut cursor, mut calls, mut found) = (0, 0, 0);
    loop {
        let before = found;
        cursor = pair.table.scan(cursor, 1, |_| found += 1);
        calls += 1;
        assert!(found - before <= 4, "a bucket's keys");
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(found, 30);
    assert!((15..=31).contains(&calls), "{calls} calls");
}

/// A call ends with the last key where it began with the first, and covers a segment at least.
#[test]
fn a_small_table_is_scanned_in_one_call() {
    let mut pair = Pair::new(3, 10);
    for n in 1..=300 {
        pair.put(key_of(n));
        for count in [n, n + 1, 1000] {
            let mut found = 0;
            assert_eq!(pair.table.scan(0, count as usize, |_| found += 1), 0, "{count} of {n}");
            assert_eq!(found, n);
        }
    }
}

/// What has shrunk is scanned like what was always small.
#[test]
fn a_table_that_shrank_is_scanned_in_one_call() {
    let mut pair = Pair::new(3, 10);
    (0..30_000).for_each(|n| pair.put(key_of(n)));
    (9..30_000).for_each(|n| pair.remove(&key_of(n)));
    let mut found = 0;
    assert_eq!(pair.table.scan(0, 10, |_| found += 1), 0);
    assert_eq!(found, 9);
}

#[test]
fn expire_steps_find_every_due_key_once() {
    let mut pair = Pair::new(11, 20_000);
    for n in 0..20_000_u64 {
        let expiry = (n % 4 == 0).then_some(UnixMillis((n * 7919 % 1000) as i64));
        pair.table.put(&key_of(n), NewValue::Int(1), expiry, 0);
    }
    assert_eq!(pair.table.expires_len(), 5_000);
    let due_by =
        |now: i64| (0..20_000).filter(move |n| n % 4 == 0 && (n * 7919 % 1000) as i64 <= now);
    let mut removed = BTreeSet::new();
    for now in [-1, 0, 100, 100, 500, 998, 2_000] {
        loop {
            let mut found = Vec::new();
            let progress = pair.table.expire_step(UnixMillis(now), 3, 40, &mut |key| {
                found.push(key.to_vec());
            });
            assert_eq!(progress.due, found.len());
            assert!(progress.segments <= 3 && progress.due <= 40 + 20);
            for key in found {
                assert!(pair.table.delete(&key));
                assert!(removed.insert(key));
            }
            pair.table.check();
            if progress.finished {
                break;
            }
        }
        assert_eq!(removed.len(), due_by(now).count(), "at {now}");
    }
    assert_eq!(pair.table.expires_len(), 0);
    // Nothing left that could expire: nothing to open.
    let progress = pair.table.expire_step(UnixMillis(i64::MAX), 100, 100, &mut |_| ());
    assert_eq!((progress.opened, progress.finished), (0, true));
}

#[test]
fn moves_to_another_thread_to_be_dropped() {
    let mut pair = Pair::new(5, 3_000);
    for _ in 0..6_000 {
        pair.change(90);
    }
    let table = pair.table;
    assert!(std::thread::spawn(move || drop(table)).join().is_ok());
}

#[test]
fn in_place_changes_are_counted() {
    let mut pair = Pair::new(6, 10);
    pair.table.put(b"key", NewValue::Str(&[b'x'; 1000]), None, 0);
    let before = pair.table.memory().heap_bytes;
    if let Some(mut entry) = pair.table.get_mut(b"key")
        && let Some(string) = entry.heap_string_mut()
    {
        string.resize(10_000, 0);
    }
    assert!(pair.table.memory().heap_bytes >= before + 9_000);
    pair.table.check();
}

/// Made for more keys than come, or fewer: it behaves as one that grew, and takes no more memory once
/// it was told that all are there.
#[test]
fn a_table_that_was_sized_ahead_is_like_one_that_grew() {
    for (reserved, keys) in [(0, 3_000), (3_000, 3_000), (40_000, 9), (9, 40_000), (30_000, 40_000)]
    {
        let mut pair = Pair::new(5, keys);
        let mut grown = Pair::new(5, keys);
        pair.table.reserve(reserved);
        let segments = pair.table.memory().segments;
        assert!(segments <= 1 + reserved / 1_150, "{segments} for {reserved}");
        for key in (0..keys).map(key_of) {
            pair.put(key.clone());
            grown.put(key);
        }
        // It has keys by now.
        pair.table.reserve(1 << 20);
        pair.table.fit();
        pair.verify();
        let (ahead, usual) = (pair.table.memory().total(), grown.table.memory().total());
        assert!(ahead <= usual + usual / 50, "{ahead} {usual} for {keys} of {reserved}");
        let (mut cursor, mut calls, mut found) = (0, 0, 0);
        loop {
            cursor = pair.table.scan(cursor, 10, |_| found += 1);
            calls += 1;
            if cursor == 0 {
                break;
            }
        }
        assert!(found == keys && calls <= 1 + keys / 8, "{found} of {keys}, {calls} calls");
        for _ in 0..keys {
            pair.change(10);
        }
        pair.verify();
    }
}

/// A count that nothing can bring costs a bounded step and bounded memory, and a scan of what is empty
/// works a bounded stretch at a time.
#[test]
fn sizing_ahead_is_bounded() {
    let mut pair = Pair::new(5, 10);
    pair.table.reserve(usize::MAX);
    let memory = pair.table.memory();
    assert!(memory.total() < 40 << 20, "{memory:?}");
    pair.put(key_of(1));
    let (mut cursor, mut calls, mut found) = (0, 0, 0);
    loop {
        let before = cursor;
        cursor = pair.table.scan(cursor, 1, |_| found += 1);
        calls += 1;
        if cursor == 0 {
            break;
        }
        assert!(cursor - before <= (u64::MAX >> 1) / 4096 * 124, "{before} to {cursor}");
    }
    assert!(found == 1 && calls >= 16, "{found} in {calls} calls");
    pair.table.fit();
    assert_eq!(pair.table.memory().segments, 1);
    pair.verify();
}
