//! The dictionary's figures that a timing harness doesn't give: resident bytes per key at many
//! fills and after removal, the longest single step, batches against single lookups, and the
//! longest pauses while a snapshot runs. Times are the thread's own processor time, so that other
//! work on the machine disturbs them less; single steps include a look at that clock.
//!
//! `cargo bench --profile quick --bench table_figures -- [KEYS] [VALUE_BYTES]`
//! (16-byte keys; without arguments a million keys and 16-byte values, under `cargo test` few).

use std::hint::black_box;
use std::time::Duration;

use redstart::base::env::{Rng, UnixMillis};
use redstart::data::value::{NewValue, Object};
use redstart::keyspace::table::{Entry, EntrySink, HashSeed, Pool, Table};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const BATCH: usize = 16;
const VALUE: [u8; 1024] = [b'v'; 1024];

/// The processor time that this thread has used.
#[derive(Clone, Copy)]
struct Instant(Duration);

impl Instant {
    fn now() -> Self {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a valid place for the answer.
        unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        Self(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }

    fn elapsed(self) -> Duration {
        Self::now() - self
    }
}

impl std::ops::Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// The longest of many steps, in order.
#[derive(Default)]
struct Longest([u128; 4]);

impl Longest {
    fn note(&mut self, step: Duration) {
        let micros = step.as_micros();
        if micros > self.0[3] {
            self.0[3] = micros;
            self.0.sort_unstable_by(|a, b| b.cmp(a));
        }
    }
}

impl std::fmt::Display for Longest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} us", self.0)
    }
}

struct Run {
    table: Table,
    keys: u64,
    value: &'static [u8],
    resident_before: usize,
    rng: Rng,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_bench = arguments.iter().any(|argument| argument == "--bench");
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse::<u64>().ok());
    let keys = numbers.next().unwrap_or(if is_bench { 1_000_000 } else { 20_000 });
    let value = &VALUE[..numbers.next().unwrap_or(16) as usize];
    let mut run = Run {
        table: Table::new(HashSeed(1), &Pool::new()),
        keys,
        value,
        resident_before: resident_bytes(),
        rng: Rng::from_seed(1),
    };
    println!("{keys} keys of 16 bytes, values of {} bytes", value.len());
    run.fill();
    run.look_up();
    run.overwrite();
    run.walk();
    run.snapshot();
    run.remove();
}

/// The keys' order of arrival: a permutation.
fn scattered(n: u64, keys: u64) -> u64 {
    let mut step = (keys as f64 * 0.618_033_988_7) as u64 | 1;
    while gcd(step, keys) != 1 {
        step += 2;
    }
    (u128::from(n) * u128::from(step) % u128::from(keys)) as u64
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn key_of(mut n: u64) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    for digit in key.iter_mut().rev().take(12) {
        *digit = b'0' + (n % 10) as u8;
        n /= 10;
    }
    key
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

/// The nanoseconds of one of `count` operations.
fn each(elapsed: Duration, count: u64) -> f64 {
    elapsed.as_nanos() as f64 / count as f64
}

impl Run {
    fn resident_per_key(&self) -> f64 {
        let resident = resident_bytes().saturating_sub(self.resident_before);
        resident as f64 / self.table.len() as f64
    }

    fn fill(&mut self) {
        let (mut low, mut high, mut sum, mut samples) = (f64::MAX, 0_f64, 0.0, 0_u32);
        let mut worst = Longest::default();
        let mut next = self.keys / 4;
        let start = Instant::now();
        let mut last = start;
        for n in 0..self.keys {
            let key = key_of(scattered(n, self.keys));
            self.table.put(&key, NewValue::Str(self.value), None, 0);
            let now = Instant::now();
            worst.note(now - last);
            last = now;
            if n + 1 >= next {
                let per_key = self.resident_per_key();
                (low, high) = (low.min(per_key), high.max(per_key));
                (sum, samples) = (sum + per_key, samples + 1);
                next += next / 32 + 1;
                last = Instant::now();
            }
        }
        println!(
            "resident bytes per key from a quarter to full: {low:.1} to {high:.1}, mean {:.1}; at \
             the end {:.1}",
            sum / f64::from(samples),
            self.resident_per_key(),
        );
        println!("counted: {:?}", self.table.memory());
        println!("insert {:.0} ns, the longest {}", each(start.elapsed(), self.keys), worst);
    }

    fn look_up(&mut self) {
        let rounds = 2_000_000.min(self.keys * 4);
        let start = Instant::now();
        for _ in 0..rounds {
            let key = key_of(self.rng.below(self.keys));
            assert!(black_box(self.table.get(&key)).is_some());
        }
        let single = each(start.elapsed(), rounds);
        let start = Instant::now();
        let mut check = 0;
        for _ in 0..rounds / BATCH as u64 {
            let keys: [[u8; 16]; BATCH] =
                std::array::from_fn(|_| key_of(self.rng.below(self.keys)));
            let hashes: [u64; BATCH] = std::array::from_fn(|n| self.table.hash(&keys[n]));
            self.table.prefetch(&hashes);
            for (key, hash) in keys.iter().zip(hashes) {
                if let Some(entry) = self.table.get_hashed(hash, key) {
                    entry.set_access(7);
                    check += entry.value().kind().name().len();
                }
            }
        }
        let batch = each(start.elapsed(), rounds);
        let start = Instant::now();
        for _ in 0..rounds {
            let key = key_of(self.keys + self.rng.below(self.keys));
            assert!(self.table.get(&key).is_none());
        }
        let miss = each(start.elapsed(), rounds);
        let start = Instant::now();
        for _ in 0..rounds {
            black_box(key_of(self.rng.below(self.keys)));
        }
        let keygen = each(start.elapsed(), rounds);
        black_box(check);
        println!(
            "get {single:.0} ns, in a prefetched batch of {BATCH} {batch:.0} ns, miss {miss:.0} ns \
             (making the key {keygen:.0} ns of each)"
        );
    }

    fn overwrite(&mut self) {
        let rounds = 2_000_000.min(self.keys * 4);
        let start = Instant::now();
        for _ in 0..rounds / BATCH as u64 {
            let keys: [[u8; 16]; BATCH] =
                std::array::from_fn(|_| key_of(self.rng.below(self.keys)));
            let hashes: [u64; BATCH] = std::array::from_fn(|n| self.table.hash(&keys[n]));
            self.table.prefetch(&hashes);
            for (key, hash) in keys.iter().zip(hashes) {
                self.table.put_hashed(hash, key, NewValue::Str(self.value), None, 1);
            }
        }
        println!("overwrite in a prefetched batch {:.0} ns", each(start.elapsed(), rounds));
        if self.value.len() != 16 {
            return;
        }
        let mut worst = Longest::default();
        let start = Instant::now();
        let mut last = start;
        for _ in 0..rounds {
            let key = key_of(self.rng.below(self.keys));
            let len = 8 + self.rng.below(17) as usize;
            self.table.put(&key, NewValue::Str(&VALUE[..len]), None, 1);
            let now = Instant::now();
            worst.note(now - last);
            last = now;
        }
        println!(
            "overwrite with 8 to 24 bytes {:.0} ns, the longest {}; resident bytes per key \
             then {:.1}",
            each(start.elapsed(), rounds),
            worst,
            self.resident_per_key()
        );
    }

    fn walk(&mut self) {
        let start = Instant::now();
        let (mut cursor, mut found) = (0, 0_u64);
        loop {
            cursor = self.table.scan(cursor, 10, |_| found += 1);
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(found, self.keys);
        let scan = each(start.elapsed(), self.keys);
        let start = Instant::now();
        for _ in 0..1_000_000 {
            black_box(self.table.sample(&mut self.rng));
        }
        println!(
            "scan of 10 {scan:.0} ns a key, sample {:.0} ns",
            each(start.elapsed(), 1_000_000)
        );
    }

    fn snapshot(&mut self) {
        struct Count(std::sync::Arc<std::sync::atomic::AtomicU64>, Vec<u8>);
        impl EntrySink for Count {
            fn entry(&mut self, entry: &Entry<'_>) {
                self.1.clear();
                self.1.extend_from_slice(entry.key());
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }

            fn object(&mut self, _: &[u8], _: Option<UnixMillis>, _: u32, _: &mut Object) {}
        }
        let count = std::sync::Arc::default();
        let sink = Count(std::sync::Arc::clone(&count), Vec::new());
        let start = Instant::now();
        self.table.begin_snapshot(Box::new(sink));
        let (mut worst_slice, mut worst_put) = (Duration::ZERO, Duration::ZERO);
        loop {
            let begin = Instant::now();
            let done = self.table.snapshot_slice(1_000);
            worst_slice = worst_slice.max(begin.elapsed());
            if done {
                break;
            }
            for _ in 0..100 {
                let key = key_of(self.rng.below(self.keys * 2));
                let begin = Instant::now();
                self.table.put(&key, NewValue::Str(self.value), None, 1);
                worst_put = worst_put.max(begin.elapsed());
            }
        }
        assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), self.keys);
        println!(
            "snapshot {:.0} ms with changes; the longest slice of 1000 {:.0} us, the longest put \
             {:.0} us",
            start.elapsed().as_secs_f64() * 1e3,
            worst_slice.as_secs_f64() * 1e6,
            worst_put.as_secs_f64() * 1e6
        );
        for n in self.keys..self.keys * 2 {
            self.table.delete(&key_of(n));
        }
    }

    fn remove(&mut self) {
        let mut worst = Longest::default();
        let start = Instant::now();
        let mut last = start;
        for n in 0..self.keys * 9 / 10 {
            assert!(self.table.delete(&key_of(scattered(n, self.keys))));
            let now = Instant::now();
            worst.note(now - last);
            last = now;
        }
        println!(
            "delete {:.0} ns, the longest {}; with a tenth left {:.1} resident bytes per key",
            each(start.elapsed(), self.keys * 9 / 10),
            worst,
            self.resident_per_key()
        );
        println!("counted: {:?}", self.table.memory());
    }
}
