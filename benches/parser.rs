//! Bytes from a socket to commands: one read buffer of a pipeline of `SET` with 16 bytes of key and
//! value, and the same cut in the middle of a command, as reads cut them.
//!
//! `cargo bench --profile quick --bench parser`

#![expect(missing_docs, reason = "made by criterion's macros")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use redstart::resp::record::push_command;
use redstart::resp::request::{Bounds, Parser, Requests};

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
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = parsing
}
criterion_main!(benches);
