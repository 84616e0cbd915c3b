//! What a tick's commit costs: records of `SET` with 16 bytes of key and value, framed, checksummed
//! and written with one call. `nowhere` is our own work alone, `file` has the system's write with
//! it. A file that has grown is thrown away: the speed at which the system writes it out would be
//! measured instead. What a sync takes depends on the disk: `benches/compare.sh --only durability`.
//!
//! `cargo bench --profile quick --bench commit`. The times are for people to compare: no test hangs
//! on them.

#![expect(missing_docs, reason = "made by criterion's macros")]
#![expect(clippy::expect_used, reason = "a benchmark may fail this way")]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use redstart::base::disk::SystemDisk;
use redstart::base::env::{Disk, DiskFile, Env, Rng, SyncPoint};
use redstart::config::kinds::AppendFsync;
use redstart::journal::{Journal, ReplicationId, StreamPosition};
use redstart::persist::log::{Log, LogOptions};
use redstart::persist::manifest::{Layout, Manifest};
use redstart::persist::recover::Resume;
use redstart::persist::tail::Place;
use redstart::resp::record::push_command;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A log of this size is thrown away, outside of the time measured.
const LOG_BYTES_MAX: u64 = 64 << 20;

/// The system's disk, but for increments of the log, which go nowhere.
#[derive(Debug)]
struct Discarding(SystemDisk);

struct Nowhere;

impl DiskFile for Nowhere {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        std::hint::black_box(bytes);
        Ok(())
    }
    fn append_two(&mut self, first: &[u8], second: &[u8]) -> io::Result<()> {
        self.append(first)?;
        self.append(second)
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn truncate(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn duplicate(&self) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(Self))
    }
}

impl Disk for Discarding {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = self.0.create(path)?;
        let discard = path.to_string_lossy().ends_with(".incr.aof");
        Ok(if discard { Box::new(Nowhere) } else { file })
    }
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.create(path)
    }
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn io::Read + Send>> {
        self.0.open_read(path)
    }
    fn len(&self, path: &Path) -> io::Result<u64> {
        self.0.len(path)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.0.exists(path)
    }
    fn write_again(&self, _: &Path, _: u64, _: SyncPoint) -> io::Result<()> {
        Ok(())
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.0.list(path)
    }
}

fn open(dir: &Path, disk: Arc<dyn Disk>, position: StreamPosition) -> Log {
    let env = Env { disk, ..Env::system() };
    let options = LogOptions::new(Layout::default_in(dir), AppendFsync::No);
    let resume = Resume {
        manifest: Manifest::default(),
        next_frame: 1,
        append_to_last: false,
        settled: Place::default(),
        position: None,
        stream: Vec::new(),
    };
    Log::open(env, options, resume, b"", position, Arc::new(|| ())).expect("a log")
}

/// The time that so many commits take, in as many logs as their size asks for.
fn time(mut commits: u64, records: u64, record: &[u8], disk: &Arc<dyn Disk>) -> Duration {
    let mut elapsed = Duration::ZERO;
    while commits > 0 {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let id = ReplicationId::random(&mut Rng::from_seed(1));
        let mut journal = Journal::new(id);
        journal.set_recording(true, || id);
        let mut log = open(dir.path(), Arc::clone(disk), journal.end());
        let start = Instant::now();
        while commits > 0 && log.size_bytes() < LOG_BYTES_MAX {
            for _ in 0..records {
                journal.append(0, record);
            }
            journal.seal(|sealed| log.commit(&sealed)).expect("written");
            commits -= 1;
        }
        elapsed += start.elapsed();
    }
    elapsed
}

fn committing(criterion: &mut Criterion) {
    let mut record = Vec::new();
    let words = [&b"SET"[..], b"key:000000000042", b"value-0123456789"];
    push_command(&mut record, words.into_iter());
    let mut group = criterion.benchmark_group("commit");
    let disks: [(&str, Arc<dyn Disk>); 2] =
        [("nowhere", Arc::new(Discarding(SystemDisk))), ("file", Arc::new(SystemDisk))];
    for (name, disk) in disks {
        for records in [1, 16, 100] {
            group.throughput(Throughput::Elements(records));
            group.bench_function(format!("{name}_{records}_records"), |bencher| {
                bencher.iter_custom(|commits| time(commits, records, &record, &disk));
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = committing
}
criterion_main!(benches);
