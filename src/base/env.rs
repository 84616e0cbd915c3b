//! The outside world: time, randomness and the disk, behind interfaces, so that a test can replay
//! a run from its seed and crash the disk at any operation.
//!
//! Nothing else in the server asks the operating system for time, randomness or files of data
//! (`tests/tidy` names the few places of another kind).

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rand_xoshiro::Xoshiro256StarStar;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

/// Milliseconds since the Unix epoch, as Redis counts expiry times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub i64);

/// Milliseconds of the clock that never goes back, from an arbitrary start: for how long something has
/// lasted, whatever is done to the clock on the wall meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SteadyMillis(pub(crate) i64);

impl SteadyMillis {
    /// Milliseconds from an earlier time to this one.
    pub(crate) fn since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }

    /// So many milliseconds later.
    pub(crate) fn later(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// Wall-clock time in microseconds since the Unix epoch.
    fn unix_micros(&self) -> i64;
    /// A clock that never goes back, in nanoseconds from an arbitrary start.
    fn monotonic_nanos(&self) -> u64;
}

/// The operating system's clocks.
#[derive(Debug)]
pub(crate) struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[inline]
    fn unix_micros(&self) -> i64 {
        // A clock set before 1970 reads as 1970: no expiry time can be before it anyway.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_micros() as i64)
    }

    #[inline]
    fn monotonic_nanos(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}

/// A clock for how long things take: the processor's own counter where it has a steady one, so
/// that reading it costs a few nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Stopwatch(quanta::Clock);

impl Stopwatch {
    /// One that stands still, for runs that must not depend on how fast the machine is.
    pub fn still() -> Self {
        Self(quanta::Clock::mock().0)
    }

    /// The counter now.
    #[inline]
    pub(crate) fn ticks(&self) -> u64 {
        self.0.raw()
    }

    /// A number of ticks in nanoseconds.
    pub(crate) fn nanos(&self, ticks: u64) -> u64 {
        self.0.delta_as_nanos(0, ticks)
    }

    /// A number of ticks in microseconds.
    pub(crate) fn micros(&self, ticks: u64) -> u64 {
        self.nanos(ticks) / 1000
    }

    /// Ticks in so many microseconds.
    pub(crate) fn ticks_of(&self, micros: u64) -> u64 {
        // Calibrated over a second's worth of ticks at any frequency we meet.
        const SAMPLE: u64 = 1 << 32;
        let nanos = u128::from(self.nanos(SAMPLE).max(1));
        (u128::from(micros) * 1000 * u128::from(SAMPLE) / nanos) as u64
    }
}

/// A fast generator (xoshiro256**, Blackman and Vigna 2018), for sampling and identifiers; not for
/// secrets.
#[derive(Clone, Debug)]
pub struct Rng(Xoshiro256StarStar);

impl Rng {
    /// The generator of a given seed: the same seed gives the same sequence.
    pub fn from_seed(seed: u64) -> Self {
        Self(Xoshiro256StarStar::seed_from_u64(seed))
    }

    /// A generator seeded from the operating system.
    pub(crate) fn from_os() -> Self {
        use std::hash::{BuildHasher, Hasher};
        let seed = std::collections::hash_map::RandomState::new().build_hasher().finish();
        Self::from_seed(seed)
    }

    /// The next 64 uniform bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A uniform number in `0..bound`; 0 where `bound` is 0.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        // Lemire 2018: multiply and keep the high half; the bias is below 2^-32 for our bounds.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A uniform index of a slice of `len`; 0 where it is empty.
    #[inline]
    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }
}

/// The purpose of one sync, or of writing something again for a sync, so that a simulated disk can
/// leave that one out and a test can show that it is missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyncPoint(pub &'static str);

/// A file opened for appending, or created anew. Nothing written is durable before
/// [`DiskFile::sync`] returns.
pub trait DiskFile: Send + Sync {
    /// Appends all of `bytes` at the end. After an error any prefix of them may be in the file.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Appends two pieces, one behind the other, in one operation. As [`DiskFile::append`].
    fn append_two(&mut self, first: &[u8], second: &[u8]) -> io::Result<()> {
        self.append(&[first, second].concat())
    }
    /// Hands over what appending has kept back: only a file of [`Disk::create_streamed`] does that.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
    /// Makes everything appended so far durable (fdatasync).
    fn sync(&self) -> io::Result<()>;
    /// [`DiskFile::sync`], saying which one it is.
    fn sync_at(&self, _point: SyncPoint) -> io::Result<()> {
        self.sync()
    }
    /// Has the system write these bytes of the file to the disk, so that a later sync finds less to
    /// do, and waits until it has if `wait` says so. A hint: it makes nothing durable, and no journal
    /// is committed for it. Where the system has no such call, nothing happens.
    fn write_out(&self, _bytes: Range<u64>, _wait: bool) -> io::Result<()> {
        Ok(())
    }
    /// Cuts the file to `len` bytes.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
    /// Reads bytes from a place on, as many as there are at once; 0 at the end. Also where the file has
    /// lost its name.
    fn read_at(&self, _buffer: &mut [u8], _at: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// A second handle to the same file, for syncing from another thread.
    fn duplicate(&self) -> io::Result<Box<dyn DiskFile>>;
}

/// The disk, as far as the server uses it. Paths are relative to the working directory or absolute.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates a file, emptying one that exists.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Creates a file, emptying one that exists, that will be large, is written once from its start to
    /// its end, and not read again soon. Bytes appended may be kept back until [`DiskFile::flush`].
    fn create_streamed(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.create(path)
    }
    /// Opens a file for appending, creating it where there is none.
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file for reading from its start.
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn io::Read + Send>>;
    /// The file's length in bytes.
    fn len(&self, path: &Path) -> io::Result<u64>;
    /// Whether a file or directory of this name exists. That it can't be told is an error:
    /// taken for a no, it would begin a new log on top of data.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Writes a file's bytes from `from` to its end over themselves, so that the next sync of it
    /// writes them to the disk: also those that an earlier sync failed to write, and which the system
    /// takes for written since. Nothing is lost if this ends half-way.
    fn write_again(&self, path: &Path, from: u64, point: SyncPoint) -> io::Result<()>;
    /// Renames, replacing what was there. Durable after [`Disk::sync_dir`] of the directory that
    /// the new name is in.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Durable after [`Disk::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Creates a directory where there is none; one that exists is no error.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// [`Disk::sync_dir`], saying which one it is.
    fn sync_dir_at(&self, path: &Path, _point: SyncPoint) -> io::Result<()> {
        self.sync_dir(path)
    }
    /// Room on the disk that a directory is on, in bytes, where that can be told.
    fn free_bytes(&self, _path: &Path) -> Option<u64> {
        None
    }
    /// The names in a directory, in no order.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
}

/// Does steps of work at a time of its own choice, on the thread that it was told them on: steps of one
/// name in the order in which they came.
pub trait Later: Send + Sync {
    /// Takes over a step.
    fn later(&self, name: &str, step: Box<dyn FnOnce() + Send>);
}

/// Who does work that may take long.
#[derive(Clone)]
pub enum Threads {
    /// Threads of the system's.
    Real,
    /// No thread: the caller does it at once, so that the order of a run depends on its seed only.
    None,
    /// A simulation, which lets time pass between a step and what follows from it.
    Simulated(Arc<dyn Later>),
}

impl Threads {
    /// Whether there are threads of the system's.
    pub(crate) fn are_real(&self) -> bool {
        matches!(self, Self::Real)
    }
}

/// The world a server runs in.
#[derive(Clone)]
pub struct Env {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// How long things take. Never decides what happens, so a simulated run has a real one.
    pub stopwatch: Stopwatch,
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Who does work that may take long (fsync, writing a snapshot).
    pub threads: Threads,
    /// The seed that every generator of the server derives from.
    pub seed: u64,
}

impl Env {
    /// The real world, with a random seed.
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock::default()),
            stopwatch: Stopwatch::default(),
            disk: Arc::new(crate::base::disk::SystemDisk),
            threads: Threads::Real,
            seed: Rng::from_os().next_u64(),
        }
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env").field("disk", &self.disk).finish_non_exhaustive()
    }
}
