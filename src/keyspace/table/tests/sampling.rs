//! Random keys are uniform.

use super::super::Entry;
use super::{Pair, key_of};
use crate::base::env::Rng;
use crate::data::value::NewValue;

/// Chi-squared per degree of freedom of `draws` samples over the table's keys.
fn chi_squared(pair: &Pair, draws: usize, seed: u64) -> f64 {
    let mut rng = Rng::from_seed(seed);
    let mut counts = std::collections::HashMap::new();
    for _ in 0..draws {
        let Some(entry) = pair.table.sample(&mut rng) else { panic!("there are keys") };
        *counts.entry(entry.key().to_vec()).or_insert(0_u32) += 1;
    }
    let keys = pair.table.len();
    let expected = draws as f64 / keys as f64;
    let met: f64 = counts.values().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
    let unmet = (keys - counts.len()) as f64 * expected;
    (met + unmet) / (keys - 1) as f64
}

#[test]
fn sample_is_uniform() {
    let mut pair = Pair::new(1, 1 << 20);
    for n in 0..30_000 {
        pair.table.put(&key_of(n), NewValue::Int(n as i64), None, 0);
        // At sizes with one segment, few, and segments of different depths; half of the largest
        // are removed again below.
        if [1, 2, 700, 2_500, 7_000, 30_000].contains(&(n + 1)) && n > 0 {
            let chi = chi_squared(&pair, (n as usize + 1) * 20, n);
            let sigma = (2.0 / n as f64).sqrt();
            assert!((chi - 1.0).abs() < 5.0 * sigma, "{} keys: {chi}", n + 1);
        }
    }
    for n in 0..27_000 {
        pair.table.delete(&key_of(n));
    }
    let chi = chi_squared(&pair, 60_000, 9);
    assert!((chi - 1.0).abs() < 0.15, "after removal: {chi}");
}

#[test]
fn sample_is_uniform_in_chains() {
    // All keys share 40 bits, so that they fill a chain of segments.
    fn colliding(key: &[u8]) -> u64 {
        u64::from(crc32fast::hash(key)) & 0xff_ffff
    }
    let mut pair = Pair::with_hasher(2, 1 << 20, Some(colliding));
    for n in 0..3_000 {
        pair.table.put(&key_of(n), NewValue::Int(n as i64), None, 0);
    }
    assert!(pair.table.chain_max > 1);
    let chi = chi_squared(&pair, 60_000, 5);
    assert!((chi - 1.0).abs() < 0.15, "{chi}");
}

#[test]
fn bucket_samples_find_something() {
    let mut pair = Pair::new(3, 10_000);
    let mut rng = Rng::from_seed(4);
    let bucket = |pair: &Pair, rng: &mut Rng| {
        let mut keys = Vec::new();
        pair.table.sample_bucket(rng, |entry: Entry<'_>| keys.push(entry.key().to_vec()));
        keys
    };
    assert!(bucket(&pair, &mut rng).is_empty());
    pair.put(key_of(1));
    assert_eq!(bucket(&pair, &mut rng), [key_of(1)]);
    for n in 0..10_000 {
        pair.put(key_of(n));
    }
    for _ in 0..1_000 {
        assert!((1..=20).contains(&bucket(&pair, &mut rng).len()));
        pair.table.sample_volatile_bucket(&mut rng, 64, |entry| assert!(entry.expiry().is_some()));
    }
}
