//! Hashes that no directory can part: nothing is lost, nothing loops, memory stays bounded.

use super::{Pair, key_of};
use crate::data::value::NewValue;

fn crc(key: &[u8]) -> u64 {
    u64::from(crc32fast::hash(key))
}

/// The same 64 bits for all.
fn constant(_: &[u8]) -> u64 {
    0x1234_5678_9abc_def0
}

/// The upper 40 bits agree.
fn low_bits(key: &[u8]) -> u64 {
    0xaaaa_aaaa_aa00_0000 | crc(key) >> 8
}

/// All segments' worth of directory bits, but few buckets: one home in each segment.
fn few_homes(key: &[u8]) -> u64 {
    crc(key) >> 20 << 52 | crc(key) & 0xff
}

/// Hashes at the very end of the space, where borders wrap to 0.
fn last(key: &[u8]) -> u64 {
    !(crc(key) >> 12)
}

#[test]
fn colliding_keys_are_kept() {
    for (name, hasher) in [
        ("constant", constant as fn(&[u8]) -> u64),
        ("low_bits", low_bits),
        ("few_homes", few_homes),
        ("last", last),
    ] {
        // Comparing keys that all collide is quadratic.
        let space = if name == "constant" { 400 } else { 6_000 };
        let mut pair = Pair::with_hasher(1, space, Some(hasher));
        for growth in [90, 20, 75, 5] {
            for _ in 0..space * 2 {
                pair.change(growth);
            }
            pair.verify();
            let mut scanned = 0;
            let mut cursor = 0;
            loop {
                cursor = pair.table.scan(cursor, 10, |_| scanned += 1);
                if cursor == 0 {
                    break;
                }
            }
            assert_eq!(scanned, pair.model.len(), "{name}");
        }
        let memory = pair.table.memory();
        assert!(memory.directory_bytes <= 64 << 10, "{name}: {memory:?}");
        let keys: Vec<Vec<u8>> = pair.model.keys().cloned().collect();
        for key in &keys {
            pair.remove(key);
        }
        pair.verify();
    }
}

#[test]
fn a_full_chain_grows_further() {
    let mut pair = Pair::with_hasher(2, 1 << 20, Some(low_bits));
    let value = [b'v'; 180];
    for n in 0..8_000_u64 {
        pair.table.put(&key_of(n), NewValue::Str(&value), None, 0);
    }
    pair.table.check();
    assert_eq!(pair.table.len(), 8_000);
    // Growing in place where nothing can be split or compacted: through removal and insertion.
    for n in 0..8_000_u64 {
        let value = [b'w'; 224];
        assert!(
            pair.table
                .put(&key_of(n), NewValue::Str(&value[..(n % 225) as usize]), None, 0)
                .is_some()
        );
    }
    pair.table.check();
    for n in 0..8_000_u64 {
        assert!(pair.table.delete(&key_of(n)));
    }
    pair.table.check();
}
