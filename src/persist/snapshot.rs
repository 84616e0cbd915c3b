//! A snapshot on its way to the disk: chunks of RDB bytes from the actor, written, checksummed and
//! synced on a thread of their own.
//!
//! ```text
//!  actor ── write(chunk) ──► queue ──► thread: append, checksum, write out every 256 KiB
//!    ▲  poll()                            │ finish: checksum, sync, rename, sync of the directory
//!    └── empty buffers, outcome ◄─────────┘
//! ```
//!
//! Memory: the queue holds what [`SnapshotWriter::copied_bytes`] says; how much that may be is the
//! actor's to decide (`engine::keep::walks`). Parts that are encoded when their turn comes are shared
//! with the keyspace until it changes them, and count in [`SnapshotWriter::backlog_bytes`] only. Writing out
//! as it goes keeps the last sync short and dirty pages few; it isn't a sync, because each of those
//! commits the file system's journal, which the log's appends then wait for. Without threads each
//! chunk is written on the spot.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::checksum::Crc64;
use crate::base::env::{Disk, DiskFile, Env, SyncPoint};
use crate::base::pieces::PieceSink;
use crate::base::{courtesy, process};
use crate::persist::detached::DetachedBase;
use crate::persist::relay::Relay;
use crate::persist::worker::{Urgency, Waker, Worker};
use crate::rdb::encode::{Composer, Unfinished};

/// Bytes that are handed to the disk at once, before the last sync.
const WINDOW_BYTES: u64 = 256 << 10;
/// Bytes queued from which on the thread gets more than the time that is left over.
const HURRY_BYTES: usize = 8 << 20;
/// Empty buffers that are kept for reuse, each of at most this many bytes.
const BUFFERS_KEPT: usize = 8;
const BUFFER_KEPT_BYTES: usize = 1 << 20;

/// The whole of it.
pub const SYNC_SNAPSHOT: SyncPoint = SyncPoint("snapshot contents");
/// Its final name.
pub const SYNC_SNAPSHOT_NAME: SyncPoint = SyncPoint("snapshot name");

/// How a snapshot is written.
#[derive(Clone, Debug)]
pub struct SnapshotOptions {
    /// Where it is written.
    pub temporary: PathBuf,
    /// Where it goes in the end.
    pub target: Target,
    /// How it is closed.
    pub trailer: Trailer,
    /// Whether it is written out as it grows (`rdb-save-incremental-fsync`).
    pub incremental_sync: bool,
}

/// Where a snapshot goes when it is complete.
#[derive(Clone, Debug)]
pub enum Target {
    /// To this name.
    Name(PathBuf),
    /// It stays where it is: a log's base, which
    /// [`crate::persist::log::Log::finish_rewrite`] renames.
    Base,
    /// It stays where it is, and need not survive a crash: replicas read it.
    Transfer,
    /// To replicas' sockets.
    Relay(Arc<Relay>),
    /// To the log's directory, with a manifest.
    DetachedBase(DetachedBase),
}

/// How a file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trailer {
    /// With its checksum.
    Checksum,
    /// With a checksum of 0, which stands for none (`rdbchecksum no`).
    NoChecksum,
    /// With its last chunk: it is no RDB.
    Bare,
}

/// A snapshot that is complete and durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its length.
    pub bytes: u64,
}

/// What the thread works on.
struct Sink {
    disk: Arc<dyn Disk>,
    options: SnapshotOptions,
    file: Box<dyn DiskFile>,
    digest: Crc64,
    bytes: u64,
    /// The bytes last handed to the disk.
    window: Range<u64>,
    composer: Composer,
    /// A chunk with its strings finished.
    scratch: Vec<u8>,
    /// Something went wrong: nothing is written any more, and nothing renamed.
    failed: bool,
    /// What it was, until it is told.
    error: Option<io::Error>,
}

impl Sink {
    fn write(&mut self, chunk: &[u8]) {
        if !self.failed {
            self.error = self.append(chunk).err();
            self.failed = self.error.is_some();
        }
    }

    /// Writes a chunk, with these strings of it finished.
    fn write_finished(&mut self, chunk: &[u8], strings: &[Unfinished]) {
        if strings.is_empty() {
            return self.write(chunk);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let changed = self.composer.compose(chunk, strings, &mut scratch);
        self.write(if changed { &scratch } else { chunk });
        scratch.shrink_to(BUFFER_KEPT_BYTES);
        self.scratch = scratch;
    }

    fn append(&mut self, chunk: &[u8]) -> io::Result<()> {
        if self.options.trailer == Trailer::Checksum {
            self.digest.update(chunk);
        }
        self.file.append(chunk)?;
        self.bytes += chunk.len() as u64;
        if self.options.incremental_sync && self.bytes - self.window.end >= WINDOW_BYTES {
            let window = self.window.end..self.bytes;
            let before = std::mem::replace(&mut self.window, window);
            self.file.write_out(self.window.clone(), false)?;
            self.file.write_out(before, true)?;
        }
        Ok(())
    }

    /// Nothing where what went wrong is being told already.
    fn finish(&mut self) -> Option<io::Result<Outcome>> {
        if self.failed { self.error.take().map(Err) } else { Some(self.put_in_place()) }
    }

    fn put_in_place(&mut self) -> io::Result<Outcome> {
        let checksum = match self.options.trailer {
            Trailer::Checksum => Some(self.digest.value()),
            Trailer::NoChecksum => Some(0),
            Trailer::Bare => None,
        };
        if let Some(checksum) = checksum {
            self.file.append(&checksum.to_le_bytes())?;
            self.bytes += 8;
        }
        self.file.flush()?;
        if !matches!(self.options.target, Target::Transfer | Target::Relay(_)) {
            self.file.sync_at(SYNC_SNAPSHOT)?;
        }
        match &self.options.target {
            Target::Base | Target::Transfer => {}
            Target::Relay(relay) => relay.complete(),
            Target::DetachedBase(base) => base.install(&*self.disk)?,
            Target::Name(name) => {
                self.disk.rename(&self.options.temporary, name)?;
                let dir = name.parent().unwrap_or(Path::new(""));
                self.disk.sync_dir_at(dir, SYNC_SNAPSHOT_NAME)?;
            }
        }
        Ok(Outcome { bytes: self.bytes })
    }
}

/// Encodes a part of a snapshot piece by piece, on the snapshot's thread.
pub(crate) type Encode = Box<dyn FnOnce(PieceSink<'_>) + Send>;

/// What a job gives back: its buffer, emptied, and the outcome if it was the last.
struct Done {
    buffer: Vec<u8>,
    outcome: Option<io::Result<Outcome>>,
    /// That the temporary file was removed, if it was there.
    removal: bool,
}

/// What is on its way to the disk, as both sides see it.
#[derive(Default)]
struct Flow {
    /// Bytes queued and not written, whatever holds them.
    backlog: AtomicUsize,
    /// Those of them that are copies in memory.
    copied: AtomicUsize,
    /// Bytes that were written, or need not be any more.
    done: AtomicU64,
    /// Processor time that encoding and writing has taken, in nanoseconds. Stands still where there
    /// is no thread for it.
    cost_nanos: AtomicU64,
    /// What is still queued is not worth writing.
    given_up: AtomicBool,
}

impl Flow {
    fn add(&self, bytes: usize, copied: usize) {
        self.backlog.fetch_add(bytes, Ordering::Relaxed);
        self.copied.fetch_add(copied, Ordering::Relaxed);
    }

    fn remove(&self, bytes: usize, copied: usize) {
        self.backlog.fetch_sub(bytes, Ordering::Relaxed);
        self.copied.fetch_sub(copied, Ordering::Relaxed);
    }

    fn note(&self, done: usize) {
        self.done.fetch_add(done as u64, Ordering::Relaxed);
    }

    /// Does a part of the work, and counts what it costs if it is a thread's.
    fn measure(&self, threaded: bool, work: impl FnOnce()) {
        if !threaded {
            return work();
        }
        let before = process::thread_cpu_nanos();
        work();
        let cost = process::thread_cpu_nanos().saturating_sub(before);
        self.cost_nanos.fetch_add(cost, Ordering::Relaxed);
    }

    fn given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }
}

/// Writes one snapshot.
pub struct SnapshotWriter {
    /// Locked by one job at a time, and by nobody else.
    sink: Arc<Mutex<Sink>>,
    worker: Worker<Done>,
    threaded: bool,
    spare: Vec<Vec<u8>>,
    flow: Arc<Flow>,
    /// What came of it, while the removal is on its way.
    verdict: Option<io::Result<Outcome>>,
    /// What came of it, until it is asked for.
    outcome: Option<io::Result<Outcome>>,
    disk: Arc<dyn Disk>,
    temporary: PathBuf,
    bytes: u64,
}

impl std::fmt::Debug for SnapshotWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotWriter")
            .field("temporary", &self.temporary)
            .field("backlog", &self.backlog_bytes())
            .finish_non_exhaustive()
    }
}

impl SnapshotWriter {
    /// Creates the temporary file. The waker is called when there is something to
    /// [`SnapshotWriter::poll`].
    pub fn create(env: &Env, options: SnapshotOptions, wake: Waker) -> io::Result<Self> {
        // Replicas read a transfer at once, from memory if it still is there.
        let file = match options.target {
            Target::Transfer => env.disk.create(&options.temporary)?,
            Target::Relay(ref relay) => {
                Box::new(relay.writer(Arc::clone(&env.disk), options.temporary.clone()))
            }
            _ => env.disk.create_streamed(&options.temporary)?,
        };
        let temporary = options.temporary.clone();
        let sink = Sink {
            disk: Arc::clone(&env.disk),
            options,
            file,
            digest: Crc64::new(),
            bytes: 0,
            window: 0..0,
            composer: Composer::default(),
            scratch: Vec::new(),
            failed: false,
            error: None,
        };
        Ok(Self {
            sink: Arc::new(Mutex::new(sink)),
            worker: Worker::new("snapshot", Urgency::CanWait, &env.threads, wake),
            threaded: env.threads.are_real(),
            spare: Vec::new(),
            flow: Arc::default(),
            verdict: None,
            outcome: None,
            disk: Arc::clone(&env.disk),
            temporary,
            bytes: 0,
        })
    }

    /// An empty buffer for the next chunk.
    pub(crate) fn take_buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Queues a chunk.
    pub fn write(&mut self, chunk: Vec<u8>) {
        self.write_unfinished(chunk, Vec::new(), 0);
    }

    /// Queues a chunk of which these strings are still to be finished: that takes most of the time that
    /// a snapshot costs, and here it is the thread's. `lent` is how many bytes aren't in the chunk.
    pub(crate) fn write_unfinished(
        &mut self,
        chunk: Vec<u8>,
        strings: Vec<Unfinished>,
        lent: usize,
    ) {
        let bytes = chunk.len() + lent;
        self.bytes += bytes as u64;
        self.flow.add(bytes, bytes);
        let (sink, flow, threaded) = self.shared();
        self.worker.run(move || {
            let mut buffer = chunk;
            flow.measure(threaded, || {
                if !flow.given_up() {
                    lock(&sink).write_finished(&buffer, &strings);
                }
                drop(strings);
            });
            flow.note(bytes);
            flow.remove(bytes, bytes);
            buffer.clear();
            Done { buffer, outcome: None, removal: false }
        });
        self.recycle();
        if self.copied_bytes() > HURRY_BYTES {
            // Commands that write will wait for it.
            self.worker.hurry();
        }
    }

    /// Queues a part that is encoded only when its turn has come, on the thread: `encode` hands its
    /// bytes over in pieces for as long as it's told to go on. `weight` is what it counts for in the
    /// backlog.
    pub(crate) fn write_later(&mut self, weight: usize, encode: Encode) {
        self.flow.add(weight, 0);
        let (sink, flow, threaded) = self.shared();
        self.worker.run(move || {
            flow.measure(threaded, || {
                let mut sink = lock(&sink);
                encode(&mut |piece| {
                    let goes_on = !flow.given_up() && !sink.failed;
                    if goes_on {
                        sink.write(piece);
                    }
                    courtesy::give_way();
                    flow.note(piece.len());
                    goes_on
                });
            });
            flow.remove(weight, 0);
            Done { buffer: Vec::new(), outcome: None, removal: false }
        });
        self.recycle();
    }

    /// What a job needs of this.
    fn shared(&self) -> (Arc<Mutex<Sink>>, Arc<Flow>, bool) {
        (Arc::clone(&self.sink), Arc::clone(&self.flow), self.threaded)
    }

    /// Processor time that the thread has taken for it, in nanoseconds; 0 without a thread.
    pub(crate) fn cost_nanos(&self) -> u64 {
        self.flow.cost_nanos.load(Ordering::Relaxed)
    }

    /// Bytes queued and not written.
    pub(crate) fn backlog_bytes(&self) -> usize {
        self.flow.backlog.load(Ordering::Relaxed)
    }

    /// Those of them that only this writer keeps in memory.
    pub(crate) fn copied_bytes(&self) -> usize {
        self.flow.copied.load(Ordering::Relaxed)
    }

    /// Bytes that the thread is done with: stands still where the disk does.
    pub(crate) fn done_bytes(&self) -> u64 {
        self.flow.done.load(Ordering::Relaxed)
    }

    /// The last chunk was written: closes the file with its checksum and makes it durable.
    /// The outcome comes from [`SnapshotWriter::poll`].
    pub fn finish(&mut self) {
        let (sink, flow) = (Arc::clone(&self.sink), Arc::clone(&self.flow));
        self.worker.run(move || {
            let mut sink = lock(&sink);
            let outcome = if flow.given_up() { None } else { sink.finish() };
            Done { buffer: Vec::new(), outcome, removal: false }
        });
    }

    /// The outcome, once [`SnapshotWriter::finish`] was called and the disk is done; or an error,
    /// when there is one and the temporary file is gone: the next snapshot's may have its name.
    /// After that the writer is of no more use.
    pub(crate) fn poll(&mut self) -> Option<io::Result<Outcome>> {
        self.recycle();
        if self.outcome.is_none() && !self.flow.given_up() {
            let error = self.sink.try_lock().ok().and_then(|mut sink| sink.error.take())?;
            self.give_up(Some(error));
            self.recycle();
        }
        self.outcome.take()
    }

    /// [`SnapshotWriter::poll`], waiting for it.
    pub fn wait(&mut self) -> io::Result<Outcome> {
        while self.outcome.is_none()
            && let Some(done) = self.worker.wait()
        {
            self.outcome = self.take_back(done);
        }
        self.poll().unwrap_or_else(|| Err(io::Error::other("the snapshot was not finished")))
    }

    /// Gives the snapshot up and removes its file. Waits for that: the process may end next.
    pub fn abort(&mut self) {
        self.give_up(None);
        while self.worker.wait().is_some() {}
    }

    /// Gives the snapshot up without waiting for that: [`SnapshotWriter::poll`] tells the end, which
    /// is still success where the snapshot was in its place already, or else `reason`.
    pub(crate) fn cancel(&mut self, reason: io::Error) {
        if !self.flow.given_up() {
            self.give_up(Some(reason));
        }
    }

    /// Has the file removed, and the error told behind that.
    fn give_up(&mut self, error: Option<io::Error>) {
        self.flow.given_up.store(true, Ordering::Relaxed);
        let (disk, path) = (Arc::clone(&self.disk), self.temporary.clone());
        self.worker.run(move || {
            // Where it can't be removed it is a leftover that the next snapshot overwrites.
            let _ = disk.remove(&path);
            Done { buffer: Vec::new(), outcome: error.map(Err), removal: true }
        });
    }

    /// Takes back what the thread is done with. The outcome may be among it, whoever calls this.
    fn recycle(&mut self) {
        while self.outcome.is_none()
            && let Some(done) = self.worker.poll()
        {
            self.outcome = self.take_back(done);
        }
    }

    fn take_back(&mut self, done: Done) -> Option<io::Result<Outcome>> {
        let fits = (1..=BUFFER_KEPT_BYTES).contains(&done.buffer.capacity());
        if fits && self.spare.len() < BUFFERS_KEPT {
            self.spare.push(done.buffer);
        }
        if done.removal {
            // What came before counts: an error of the disk, or that it was too late to give it up.
            let failed = || lock(&self.sink).error.take().map(Err);
            return done.outcome.map(|own| self.verdict.take().or_else(failed).unwrap_or(own));
        }
        if self.flow.given_up() {
            // The removal must be over before the next snapshot begins, whose file has the same name.
            self.verdict = done.outcome.or(self.verdict.take());
            return None;
        }
        match done.outcome {
            Some(Err(error)) => {
                self.give_up(Some(error));
                None
            }
            outcome => outcome,
        }
    }
}

fn lock(sink: &Mutex<Sink>) -> MutexGuard<'_, Sink> {
    // A job that panicked has lost the snapshot, which its missing outcome shows.
    sink.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::env::Threads;
    use crate::base::sim_disk::{Fault, SimClock, SimDisk};

    fn env(disk: &SimDisk, threads: bool) -> Env {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let clock = Arc::new(SimClock::default());
        let threads = if threads { Threads::Real } else { Threads::None };
        Env { clock, stopwatch: crate::base::env::Stopwatch::default(), disk, threads, seed: 1 }
    }

    fn writer(disk: &SimDisk, threads: bool) -> SnapshotWriter {
        let options = SnapshotOptions {
            temporary: "temp.rdb".into(),
            target: Target::Name("dump.rdb".into()),
            trailer: Trailer::Checksum,
            incremental_sync: true,
        };
        SnapshotWriter::create(&env(disk, threads), options, Arc::new(|| ())).unwrap()
    }

    #[test]
    fn chunks_arrive_in_order_with_their_checksum() {
        for threads in [false, true] {
            let disk = SimDisk::default();
            let mut writer = writer(&disk, threads);
            let mut expected = Vec::new();
            for number in 0..100_u8 {
                let mut chunk = writer.take_buffer();
                assert!(chunk.is_empty());
                chunk.resize(100_000, number);
                expected.extend_from_slice(&chunk);
                writer.write(chunk);
            }
            writer.finish();
            let outcome = writer.wait().unwrap();
            expected.extend_from_slice(&crate::base::checksum::crc64(&expected).to_le_bytes());
            assert_eq!(outcome.bytes, expected.len() as u64);
            assert_eq!(writer.backlog_bytes(), 0);
            let after = disk.crash(&mut crate::base::env::Rng::from_seed(7));
            assert!(after.contents(Path::new("dump.rdb")).unwrap() == expected);
        }
    }

    #[test]
    fn cancelled_in_time_or_too_late_it_ends_with_its_file_removed() {
        for (threads, finished) in [(false, false), (false, true), (true, false), (true, true)] {
            let disk = SimDisk::default();
            let mut writer = writer(&disk, threads);
            writer.write(b"it".to_vec());
            if finished {
                writer.finish();
                while !disk.exists(Path::new("dump.rdb")).unwrap() {
                    std::thread::yield_now();
                }
            }
            writer.cancel(io::ErrorKind::Interrupted.into());
            writer.cancel(io::ErrorKind::Interrupted.into());
            let outcome = writer.wait();
            assert_eq!(outcome.is_ok(), finished, "{outcome:?}");
            assert_eq!(disk.exists(Path::new("dump.rdb")).unwrap(), finished);
            assert!(!disk.exists(Path::new("temp.rdb")).unwrap());
            // A removal to come would be that of the next snapshot's file, which has the same name.
            assert!(writer.worker.wait().is_none(), "it is told before all is done");
        }
    }

    /// A walk may hand over its last chunks when the disk has failed already: the outcome, which is taken
    /// back with their buffers, must still be told.
    #[test]
    fn an_end_that_is_met_while_writing_is_told() {
        for threads in [false, true] {
            let disk = SimDisk::default();
            let mut writer = writer(&disk, threads);
            writer.cancel(io::ErrorKind::StorageFull.into());
            while disk.exists(Path::new("temp.rdb")).unwrap() {
                std::thread::yield_now();
            }
            (0..3).for_each(|_| writer.write(b"late".to_vec()));
            writer.finish();
            let outcome = loop {
                if let Some(outcome) = writer.poll() {
                    break outcome;
                }
                assert!(writer.worker.busy(), "all is done, and nothing is told");
            };
            assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::StorageFull);
        }
    }

    #[test]
    fn an_error_counts_more_than_being_cancelled_and_the_file_is_removed_once() {
        for (threads, finished) in [(false, false), (false, true), (true, false), (true, true)] {
            let disk = SimDisk::default();
            let mut writer = writer(&disk, threads);
            disk.inject(disk.operations(), Fault::Full);
            writer.write(b"it".to_vec());
            if finished {
                writer.finish();
            }
            while disk.faults_met().is_empty() {
                std::thread::yield_now();
            }
            writer.cancel(io::ErrorKind::Interrupted.into());
            let outcome = loop {
                match writer.poll() {
                    Some(outcome) => break outcome,
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::StorageFull);
            assert!(!disk.exists(Path::new("temp.rdb")).unwrap());
            assert!(writer.worker.wait().is_none(), "it is told before all is done");
        }
    }

    #[test]
    fn parts_encoded_later_keep_their_place() {
        for threads in [false, true] {
            let disk = SimDisk::default();
            let mut writer = writer(&disk, threads);
            writer.write(b"before ".to_vec());
            writer.write_later(
                1000,
                Box::new(|sink| {
                    for piece in [&b"in "[..], b"pieces "] {
                        assert!(sink(piece), "nobody gave up");
                    }
                }),
            );
            writer.write(b"after".to_vec());
            writer.finish();
            writer.wait().unwrap();
            assert_eq!(writer.backlog_bytes(), 0);
            let contents = disk.contents(Path::new("dump.rdb")).unwrap();
            assert_eq!(contents[..contents.len() - 8], *b"before in pieces after");
        }
    }

    #[test]
    fn an_error_is_told_once_and_leaves_no_file() {
        for threads in [false, true] {
            let disk = SimDisk::default();
            disk.inject(2, Fault::Full);
            let mut writer = writer(&disk, threads);
            for _ in 0..3 {
                writer.write(vec![1; 10]);
            }
            writer.finish();
            assert_eq!(writer.wait().unwrap_err().raw_os_error(), Some(libc::ENOSPC));
            assert!(
                !disk.exists(Path::new("temp.rdb")).unwrap()
                    && !disk.exists(Path::new("dump.rdb")).unwrap()
            );
        }
    }

    /// An error that is noticed while the last step is on its way must not let that step happen, nor
    /// be told before the file is gone: the next snapshot would lose its own.
    #[test]
    fn a_failed_snapshot_never_gets_its_name() {
        let disk = SimDisk::default();
        disk.create(Path::new("dump.rdb")).unwrap().append(b"the old one").unwrap();
        let mut writer = writer(&disk, true);
        disk.set_full(true);
        let (open, gate) = std::sync::mpsc::channel::<()>();
        writer.write(vec![1; 10]);
        writer.worker.run(move || {
            gate.recv().unwrap();
            Done { buffer: Vec::new(), outcome: None, removal: false }
        });
        writer.finish();
        while !lock(&writer.sink).failed {
            std::thread::yield_now();
        }
        assert!(writer.poll().is_none(), "the file is still there");
        open.send(()).unwrap();
        assert_eq!(writer.wait().unwrap_err().raw_os_error(), Some(libc::ENOSPC));
        assert!(!disk.exists(Path::new("temp.rdb")).unwrap());
        assert_eq!(disk.contents(Path::new("dump.rdb")).unwrap(), b"the old one");
    }

    #[test]
    fn an_aborted_snapshot_leaves_no_file() {
        let disk = SimDisk::default();
        let mut writer = writer(&disk, false);
        writer.write(vec![1; 10]);
        writer.abort();
        assert!(disk.list(Path::new("")).unwrap().is_empty());
    }
}
