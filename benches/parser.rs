//! Bytes from a socket to commands: one read buffer of a pipeline of `SET` with 16 bytes of key and
//! value, and the same cut in the middle of a command, as reads cut them. Beside it the cheapest
//! decoder of `redis-protocol`, the reason why we have a parser of our own.
//!
//! `cargo bench --profile quick --bench parser`. The times are for people to compare: no test hangs
//! on them.

#![expect(missing_docs, reason = "made by criterion's macros")]
#![expect(clippy::expect_used, reason = "a benchmark may fail this way")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use redis_protocol::resp2::decode::decode_range;
use redstart::resp::record::push_command;
use redstart::resp::request::{Bounds, Parser, Requests};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const BOUNDS: Bounds = Bounds { bulk_max: 512 << 20, authenticated: true };

fn pipeline(depth: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..depth {
        let key = format!("key:{number:012}");
        let words = [&b"SET"[..], key.as_bytes(), b"value-0123456789"];
        push_command(&mut bytes, words.into_iter());
    }
    bytes
}

fn parsing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parser");
    let mut requests = Requests::default();
    for depth in [1, 16, 100] {
        let mut bytes = pipeline(depth);
        group.throughput(Throughput::Elements(depth as u64));
        group.bench_function(format!("set_pipeline_{depth}"), |bencher| {
            let mut parser = Parser::default();
            bencher.iter(|| {
                requests.clear();
                black_box(parser.parse(&mut bytes, BOUNDS, &mut requests)).0
            });
        });
        group.bench_function(format!("redis_protocol_set_pipeline_{depth}"), |bencher| {
            bencher.iter(|| {
                let mut rest = black_box(&bytes[..]);
                while !rest.is_empty() {
                    let decoded = decode_range(rest).expect("well formed");
                    let (frame, taken) = decoded.expect("complete");
                    black_box(frame);
                    rest = &rest[taken..];
                }
            });
        });
    }
    let bytes = pipeline(1);
    group.throughput(Throughput::Elements(1));
    group.bench_function("set_in_two_reads", |bencher| {
        let mut parser = Parser::default();
        let (mut first, mut whole) = (bytes[..30].to_vec(), bytes.clone());
        bencher.iter(|| {
            requests.clear();
            let (taken, _) = parser.parse(&mut first, BOUNDS, &mut requests);
            // What is incomplete is given again, with more behind it.
            black_box(parser.parse(&mut whole[taken..], BOUNDS, &mut requests)).0
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = parsing
}
criterion_main!(benches);
