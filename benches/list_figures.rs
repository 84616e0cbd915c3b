//! A long list's figures: bytes of heap per element, what single operations take, and the longest
//! single step with and without a frozen view beside it. Times are the thread's own processor time.
//!
//! `cargo bench --profile quick --bench list_figures -- [ELEMENTS]`
//! (16-byte elements; without an argument a million, under `cargo test` few).

use std::hint::black_box;
use std::time::Duration;

use redstart::base::env::Rng;
use redstart::data::list::{End, List};
use redstart::data::thresholds::Thresholds;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The processor time that this thread has used.
fn used() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn element(number: u64) -> [u8; 16] {
    let mut bytes = *b"element:00000000";
    let digits = format!("{number:08}");
    bytes[8..].copy_from_slice(digits.as_bytes());
    bytes
}

/// Prints what a step takes on average.
fn measure(name: &str, count: u64, mut step: impl FnMut(u64)) {
    let began = used();
    for number in 0..count {
        step(number);
    }
    let nanos = used().saturating_sub(began).as_nanos() as f64 / count as f64;
    println!("{name:32} {nanos:9.0} ns");
}

/// Prints how long the longest of many steps took, and the tenth longest: the machine's own pauses
/// are few, what a step really needs comes again.
fn longest(name: &str, count: u64, mut step: impl FnMut(u64)) {
    let mut took: Vec<Duration> = (0..count)
        .map(|number| {
            let began = used();
            step(number);
            used().saturating_sub(began)
        })
        .collect();
    took.sort_unstable_by(|a, b| b.cmp(a));
    let micros = |place: usize| took[place.min(took.len() - 1)].as_nanos() as f64 / 1000.0;
    println!("{name:32} {:9.1} us, tenth {:.1} us", micros(0), micros(9));
}

fn push(list: &mut List, end: End, element: &[u8; 16]) {
    list.push(end, std::iter::once(&element[..]), &Thresholds::default());
}

fn main() {
    let thresholds = Thresholds::default();
    let testing = std::env::args().any(|argument| argument == "--test");
    let given = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let count: u64 = given.unwrap_or(if testing { 2_000 } else { 1_000_000 });
    let elements: Vec<[u8; 16]> = (0..count).map(element).collect();
    let nth = |number: u64| &elements[number as usize];
    for end in [End::Front, End::Back] {
        let mut list = List::default();
        measure(&format!("push at {end:?}"), count, |number| push(&mut list, end, nth(number)));
        println!("{:32} {:9.2} B", "heap per element", list.heap_bytes() as f64 / count as f64);
        measure(&format!("pop at {end:?}"), count, |_| {
            list.pop(end, &thresholds, |element| black_box(element.len()));
        });
    }
    let mut list = List::default();
    (0..count).for_each(|number| push(&mut list, End::Back, nth(number)));
    let mut rng = Rng::from_seed(1);
    measure("get in the middle", 100_000, |_| {
        let index = count / 2 + rng.below(count / 100);
        black_box(list.get(index as usize).map(|element| element.len()));
    });
    measure("set anywhere", 100_000, |number| {
        let index = rng.below(count) as usize;
        list.set(index, nth(number % count), &thresholds);
    });
    measure("range of 100 in the middle", 10_000, |_| {
        let range = list.iter_from((count / 2) as usize).take(100);
        black_box(range.map(|element| element.len()).sum::<usize>());
    });
    measure("freeze", 1_000, |_| {
        black_box(list.freeze());
    });
    longest("push at the back", count, |number| push(&mut list, End::Back, nth(number)));
    longest("pop at the front", count, |_| {
        list.pop(End::Front, &thresholds, |element| black_box(element.len()));
    });
    let frozen = list.freeze();
    longest("set anywhere beside a view", 50_000, |number| {
        let index = rng.below(count) as usize;
        list.set(index, nth(number % count), &thresholds);
    });
    drop(black_box(frozen));
    longest("set much longer anywhere", 50_000, |_| {
        let index = rng.below(count) as usize;
        list.set(index, &[b'x'; 200], &thresholds);
    });
    longest("trim to half", 1, |_| list.trim((count / 2) as usize, usize::MAX, &thresholds));
}
