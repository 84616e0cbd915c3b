//! The dictionary's single operations, timed.
//!
//! `cargo bench --profile quick --bench table`; memory and pauses: `table_figures`.

#![expect(missing_docs, reason = "made by criterion's macros")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use redstart::base::env::Rng;
use redstart::data::value::NewValue;
use redstart::keyspace::table::{HashSeed, Pool, Table};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const KEYS: u64 = 1_000_000;
const BATCH: usize = 16;
const VALUE: &[u8] = b"value-0123456789";

fn key_of(n: u64) -> [u8; 16] {
    let mut key = *b"key:....:.......";
    key[8..].copy_from_slice(&n.to_be_bytes());
    key
}

fn filled() -> Table {
    let mut table = Table::new(HashSeed(1), &Pool::new());
    for n in 0..KEYS {
        table.put(&key_of(n), NewValue::Str(VALUE), None, 0);
    }
    table
}

fn random_batch(rng: &mut Rng) -> [[u8; 16]; BATCH] {
    std::array::from_fn(|_| key_of(rng.below(KEYS)))
}

fn operations(criterion: &mut Criterion) {
    let mut table = filled();
    let mut rng = Rng::from_seed(2);
    let mut group = criterion.benchmark_group("table");
    group.bench_function("get", |bencher| {
        bencher.iter(|| black_box(table.get(&key_of(rng.below(KEYS)))).is_some());
    });
    group.bench_function("sample", |bencher| {
        bencher.iter(|| black_box(table.sample(&mut rng)).is_some());
    });
    group.bench_function("put_and_delete", |bencher| {
        bencher.iter(|| {
            let key = key_of(KEYS + rng.below(KEYS));
            table.put(&key, NewValue::Str(VALUE), None, 0);
            table.delete(&key)
        });
    });
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("get_batch_of_16", |bencher| {
        bencher.iter(|| {
            let keys = random_batch(&mut rng);
            let hashes = keys.map(|key| table.hash(&key));
            table.prefetch(&hashes);
            for (key, hash) in keys.iter().zip(hashes) {
                black_box(table.get_hashed(hash, key));
            }
        });
    });
    group.bench_function("put_batch_of_16", |bencher| {
        bencher.iter(|| {
            let keys = random_batch(&mut rng);
            let hashes = keys.map(|key| table.hash(&key));
            table.prefetch(&hashes);
            for (key, hash) in keys.iter().zip(hashes) {
                table.put_hashed(hash, key, NewValue::Str(VALUE), None, 0);
            }
        });
    });
    group.finish();
}

criterion_group!(benches, operations);
criterion_main!(benches);
