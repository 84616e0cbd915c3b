//! Test equipment: a disk and a clock that live in memory and obey a seed, so that a test can take
//! the power away at any operation and look at what is left. The server itself never uses them.
//!
//! What is durable, and what a power loss does to the rest:
//!
//! - A file's bytes are durable once a sync of it succeeded. Of bytes appended since, a crash keeps
//!   nothing, or a prefix that ends at any byte, or any choice of 512-byte sectors, the others being
//!   zeros or garbage. A truncation that was not synced may be undone, wholly or in mixture.
//! - A name (creation, rename, removal) is durable once its directory was synced after it. Each
//!   change of a name since is kept or lost by itself; a rename is atomic.
//! - A sync that fails leaves its bytes in doubt for good: they can be read until the crash, later
//!   syncs succeed, and still each of their sectors may be zeros afterwards, as on Linux.
//!
//! Every operation that changes something has a number. [`SimDisk::crash_at`] ends the world at one,
//! [`SimDisk::inject`] makes one fail, [`SimDisk::ignore`] makes syncs of one purpose do nothing.
//!
//! Deliberately absent: permissions, links, time stamps, reading errors.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Cursor, Read};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::env::{Clock, Disk, DiskFile, Rng, SyncPoint};

/// What a disk writes at once or not at all.
pub const SECTOR_BYTES: usize = 512;

/// How an operation fails that was chosen to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Input/output error: nothing happens. A sync that fails leaves what it covers in doubt.
    Io,
    /// No space left: nothing happens.
    Full,
    /// So many bytes are appended, then there is no space left.
    Short(usize),
}

impl Fault {
    fn error(self) -> io::Error {
        io::Error::from_raw_os_error(if self == Self::Io { libc::EIO } else { libc::ENOSPC })
    }
}

/// A clock that only moves when told.
#[derive(Debug, Default)]
pub struct SimClock(AtomicU64);

impl SimClock {
    /// Lets time pass.
    pub fn advance(&self, nanos: u64) {
        self.0.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn unix_micros(&self) -> i64 {
        const START_MICROS: i64 = 1_700_000_000_000_000;
        START_MICROS + (self.0.load(Ordering::Relaxed) / 1000) as i64
    }

    fn monotonic_nanos(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").field("operations", &self.operations()).finish_non_exhaustive()
    }
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::of(State::default())
    }
}

#[derive(Clone, Debug, Default)]
struct State {
    files: Vec<Content>,
    /// What programs see, and what is left after a crash at this moment.
    names: BTreeMap<PathBuf, Node>,
    durable_names: BTreeMap<PathBuf, Node>,
    /// Changes of names that are not durable, in order, each with the directory to sync.
    pending: Vec<(PathBuf, NameChange)>,
    operations: u64,
    crash_at: Option<u64>,
    crashed: bool,
    full: bool,
    faults: BTreeMap<u64, Fault>,
    ignored: BTreeSet<SyncPoint>,
    seen: BTreeSet<SyncPoint>,
    trace: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Directory,
    File(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(PathBuf, Node),
    Unlink(PathBuf),
    Move(PathBuf, PathBuf, Node),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Self::Link(name, node) => {
                names.insert(name.clone(), *node);
            }
            Self::Unlink(name) => {
                names.remove(name);
            }
            Self::Move(from, to, node) => {
                if names.get(from) == Some(node) {
                    names.remove(from);
                }
                names.insert(to.clone(), *node);
            }
        }
    }
}

/// A file's bytes.
#[derive(Clone, Debug, Default)]
struct Content {
    /// What programs read.
    bytes: Vec<u8>,
    /// What the last successful sync made durable.
    durable: Vec<u8>,
    /// The shortest the file has been since then: `bytes` and `durable` agree up to there.
    low: usize,
    /// Ranges whose sync failed: they may be zeros after a crash.
    doubtful: Vec<Range<usize>>,
}

impl Content {
    fn truncate(&mut self, len: usize) {
        self.bytes.resize(len, 0);
        self.low = self.low.min(len);
        for range in &mut self.doubtful {
            range.end = range.end.min(len);
        }
        self.doubtful.retain(|range| range.start < range.end);
    }

    fn sync(&mut self) {
        self.durable.truncate(self.low);
        self.durable.extend_from_slice(&self.bytes[self.low..]);
        self.low = self.bytes.len();
    }

    fn sync_failed(&mut self) {
        if self.low < self.bytes.len() {
            self.doubtful.push(self.low..self.bytes.len());
        }
    }

    /// The bytes after a power loss.
    fn survivors(&self, rng: &mut Rng) -> Vec<u8> {
        let mut left = match rng.below(5) {
            0 => self.durable.clone(),
            1 => self.bytes.clone(),
            2 => {
                let unsynced = self.bytes.len() - self.low;
                let kept = self.low + rng.below(unsynced as u64 + 1) as usize;
                self.bytes[..kept].to_vec()
            }
            _ => self.scattered(rng),
        };
        let len = left.len();
        for range in &self.doubtful {
            for sector in sectors(range.start.min(len)..range.end.min(len)) {
                if rng.below(2) == 0 {
                    left[sector].fill(0);
                }
            }
        }
        left
    }

    /// Some sectors as they were, some as they were to be, some neither.
    fn scattered(&self, rng: &mut Rng) -> Vec<u8> {
        let (old, new) = (self.durable.len(), self.bytes.len());
        let len = if old > new && rng.below(2) == 0 { old } else { new };
        let mut left = self.durable[..self.low].to_vec();
        left.resize(len, 0);
        left[self.low..old.min(len).max(self.low)]
            .copy_from_slice(&self.durable[self.low..old.min(len).max(self.low)]);
        for sector in sectors(self.low..new.min(len)) {
            match rng.below(8) {
                0 => {}
                1 if sector.start >= old => {
                    left[sector].iter_mut().for_each(|byte| *byte = rng.next_u64() as u8);
                }
                _ => left[sector.clone()].copy_from_slice(&self.bytes[sector]),
            }
        }
        // The length may not have got as far either.
        if rng.below(4) == 0 && len > old {
            left.truncate(old + rng.below((len - old) as u64 + 1) as usize);
        }
        left
    }
}

/// The sectors that a range touches, each cut to the range.
fn sectors(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let start = at;
        at = ((start / SECTOR_BYTES + 1) * SECTOR_BYTES).min(range.end);
        (start < range.end).then_some(start..at)
    })
}

enum Verdict {
    Go,
    /// The operation takes effect, without being durable, and is the last one.
    Last,
    Fail(Fault),
}

impl State {
    fn begin(&mut self, what: impl FnOnce() -> String) -> io::Result<Verdict> {
        if self.crashed {
            return Err(crashed());
        }
        let number = self.operations;
        self.operations += 1;
        self.trace.push(format!("{number}: {}", what()));
        if self.crash_at == Some(number) {
            self.crashed = true;
            return Ok(Verdict::Last);
        }
        Ok(self.faults.get(&number).map_or(Verdict::Go, |fault| Verdict::Fail(*fault)))
    }

    /// An operation on names: it happens or it fails.
    fn change(
        &mut self,
        what: impl FnOnce() -> String,
        directory: &Path,
        change: NameChange,
    ) -> io::Result<()> {
        let verdict = self.begin(what)?;
        if let Verdict::Fail(fault) = verdict {
            return Err(fault.error());
        }
        change.apply(&mut self.names);
        self.pending.push((directory.to_owned(), change));
        if matches!(verdict, Verdict::Last) { Err(crashed()) } else { Ok(()) }
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.names.get(&plain(path)) {
            Some(Node::File(file)) => Ok(*file),
            Some(Node::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::Error::from_raw_os_error(libc::ENOENT)),
        }
    }

    fn directory(&self, path: &Path) -> io::Result<()> {
        match self.names.get(path) {
            _ if path.as_os_str().is_empty() => Ok(()),
            Some(Node::Directory) => Ok(()),
            _ => Err(io::Error::from_raw_os_error(libc::ENOENT)),
        }
    }
}

fn crashed() -> io::Error {
    io::Error::other("crashed")
}

/// The path without `.` and `/` components, so that one file has one name.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

fn parent(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

impl SimDisk {
    fn of(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked while holding it has said what there was to say.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Operations so far: the number that the next one gets.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// What each operation was, for whoever looks into a failed run.
    pub fn trace(&self) -> Vec<String> {
        self.state().trace.clone()
    }

    /// The power goes at operation `number`: it may or may not have an effect, all later ones fail.
    pub fn crash_at(&self, number: u64) {
        self.state().crash_at = Some(number);
    }

    /// Whether the power is gone.
    pub fn has_crashed(&self) -> bool {
        self.state().crashed
    }

    /// Operation `number` fails.
    pub fn inject(&self, number: u64, fault: Fault) {
        self.state().faults.insert(number, fault);
    }

    /// From now on appending fails after half the bytes, or no longer does.
    pub fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    /// From now on syncs of this purpose do nothing and say they did.
    pub fn ignore(&self, point: SyncPoint) {
        self.state().ignored.insert(point);
    }

    /// The purposes of all syncs so far.
    pub fn sync_points(&self) -> BTreeSet<SyncPoint> {
        self.state().seen.clone()
    }

    /// The disk after a power loss at this moment. This one is dead from now on.
    #[must_use]
    pub fn crash(&self, rng: &mut Rng) -> Self {
        let mut state = self.state();
        state.crashed = true;
        let mut names = state.durable_names.clone();
        let mood = rng.below(4);
        for (_, change) in &state.pending {
            let kept = match mood {
                0 => false,
                1 => true,
                _ => rng.below(2) == 0,
            };
            if kept {
                change.apply(&mut names);
            }
        }
        let orphan = |name: &Path, names: &BTreeMap<PathBuf, Node>| {
            let above = parent(name);
            !above.as_os_str().is_empty() && names.get(&above) != Some(&Node::Directory)
        };
        let everything = names.clone();
        names.retain(|name, _| !orphan(name, &everything));
        let mut files = state.files.clone();
        for file in &mut files {
            let bytes = file.survivors(rng);
            *file = Content { low: bytes.len(), durable: bytes.clone(), bytes, doubtful: vec![] };
        }
        Self::of(State { files, durable_names: names.clone(), names, ..State::default() })
    }

    /// The disk after the process was killed but the machine went on: all that was written is there,
    /// and still only durable as far as it was. This one is dead from now on.
    #[must_use]
    pub fn kill(&self) -> Self {
        let mut state = self.state();
        state.crashed = true;
        let State { files, names, durable_names, pending, .. } = state.clone();
        Self::of(State { files, names, durable_names, pending, ..State::default() })
    }

    /// Flips one bit of a file at rest.
    pub fn flip(&self, path: &Path, bit: u64) -> io::Result<()> {
        let mut state = self.state();
        let file = state.file(path)?;
        let content = &mut state.files[file];
        for bytes in [&mut content.bytes, &mut content.durable] {
            if let Some(byte) = bytes.get_mut((bit / 8) as usize) {
                *byte ^= 1 << (bit % 8);
            }
        }
        Ok(())
    }

    /// A file's bytes as programs read them.
    pub fn contents(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state();
        Ok(state.files[state.file(path)?].bytes.clone())
    }

    /// Puts a file there, durably, without that counting as an operation.
    pub fn place(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        let path = plain(path);
        for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            state.names.insert(above.to_owned(), Node::Directory);
            state.durable_names.insert(above.to_owned(), Node::Directory);
        }
        let node = Node::File(state.files.len());
        let bytes = bytes.to_vec();
        let low = bytes.len();
        state.files.push(Content { durable: bytes.clone(), bytes, low, doubtful: vec![] });
        state.names.insert(path.clone(), node);
        state.durable_names.insert(path, node);
    }

    fn open(&self, path: &Path, empty: bool) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        let path = plain(path);
        let verb = if empty { "create" } else { "open" };
        if state.names.contains_key(&path) {
            let file = state.file(&path)?;
            if empty {
                match state.begin(|| format!("{verb} {}", path.display()))? {
                    Verdict::Fail(fault) => return Err(fault.error()),
                    Verdict::Last => {
                        state.files[file].truncate(0);
                        return Err(crashed());
                    }
                    Verdict::Go => state.files[file].truncate(0),
                }
            } else if state.crashed {
                return Err(crashed());
            }
            return Ok(Box::new(SimFile { disk: self.clone(), path, file }));
        }
        let directory = parent(&path);
        state.directory(&directory)?;
        let file = state.files.len();
        let change = NameChange::Link(path.clone(), Node::File(file));
        state.files.push(Content::default());
        state.change(|| format!("{verb} {}", path.display()), &directory, change)?;
        Ok(Box::new(SimFile { disk: self.clone(), path, file }))
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open(path, true)
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open(path, false)
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        if self.has_crashed() {
            return Err(crashed());
        }
        Ok(Box::new(Cursor::new(self.contents(path)?)))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let state = self.state();
        Ok(state.files[state.file(path)?].bytes.len() as u64)
    }

    fn exists(&self, path: &Path) -> bool {
        let path = plain(path);
        path.as_os_str().is_empty() || self.state().names.contains_key(&path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (plain(from), plain(to));
        let mut state = self.state();
        let node = Node::File(state.file(&from)?);
        let directory = parent(&to);
        state.directory(&directory)?;
        let text = format!("rename {} to {}", from.display(), to.display());
        state.change(|| text, &directory, NameChange::Move(from, to, node))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let path = plain(path);
        let mut state = self.state();
        state.file(&path)?;
        let text = format!("remove {}", path.display());
        state.change(|| text, &parent(&path), NameChange::Unlink(path.clone()))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let path = plain(path);
        let mut state = self.state();
        if state.directory(&path).is_ok() {
            return Ok(());
        }
        let above = parent(&path);
        state.directory(&above)?;
        let text = format!("create directory {}", path.display());
        state.change(|| text, &above, NameChange::Link(path, Node::Directory))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.sync_dir_at(path, SyncPoint("unnamed"))
    }

    fn sync_dir_at(&self, path: &Path, point: SyncPoint) -> io::Result<()> {
        let path = plain(path);
        let mut state = self.state();
        state.directory(&path)?;
        state.seen.insert(point);
        match state.begin(|| format!("sync directory {}: {}", path.display(), point.0))? {
            Verdict::Fail(fault) => return Err(fault.error()),
            Verdict::Last => return Err(crashed()),
            Verdict::Go => {}
        }
        if state.ignored.contains(&point) {
            return Ok(());
        }
        let pending = std::mem::take(&mut state.pending);
        for (directory, change) in pending {
            if directory == path {
                change.apply(&mut state.durable_names);
            } else {
                state.pending.push((directory, change));
            }
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let path = plain(path);
        let state = self.state();
        state.directory(&path)?;
        let inside = state.names.keys().filter(|name| parent(name) == path);
        Ok(inside.filter_map(|name| name.file_name()).map(PathBuf::from).collect())
    }
}

struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    file: usize,
}

impl DiskFile for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let verdict =
            state.begin(|| format!("append {} bytes to {}", bytes.len(), self.path.display()))?;
        let (taken, outcome) = match verdict {
            Verdict::Go if state.full => (bytes.len() / 2, Err(Fault::Full.error())),
            Verdict::Go => (bytes.len(), Ok(())),
            Verdict::Last => (bytes.len(), Err(crashed())),
            Verdict::Fail(Fault::Short(taken)) => {
                (taken.min(bytes.len()), Err(Fault::Full.error()))
            }
            Verdict::Fail(fault) => (0, Err(fault.error())),
        };
        state.files[self.file].bytes.extend_from_slice(&bytes[..taken]);
        outcome
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_at(SyncPoint("unnamed"))
    }

    fn sync_at(&self, point: SyncPoint) -> io::Result<()> {
        let mut state = self.disk.state();
        state.seen.insert(point);
        match state.begin(|| format!("sync {}: {}", self.path.display(), point.0))? {
            Verdict::Last => Err(crashed()),
            Verdict::Fail(fault) => {
                state.files[self.file].sync_failed();
                Err(fault.error())
            }
            Verdict::Go => {
                if !state.ignored.contains(&point) {
                    state.files[self.file].sync();
                }
                Ok(())
            }
        }
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let verdict = state.begin(|| format!("truncate {} to {len}", self.path.display()))?;
        if let Verdict::Fail(fault) = verdict {
            return Err(fault.error());
        }
        state.files[self.file].truncate(len as usize);
        if matches!(verdict, Verdict::Last) { Err(crashed()) } else { Ok(()) }
    }

    fn duplicate(&self) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(Self { disk: self.disk.clone(), path: self.path.clone(), file: self.file }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "data/log";

    fn written(bytes: &[u8], synced: usize) -> SimDisk {
        let disk = SimDisk::default();
        disk.create_dir(Path::new("data")).unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        let mut file = disk.create(Path::new(FILE)).unwrap();
        disk.sync_dir(Path::new("data")).unwrap();
        file.append(&bytes[..synced]).unwrap();
        file.sync().unwrap();
        file.append(&bytes[synced..]).unwrap();
        disk
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_any_of_the_rest() {
        let bytes: Vec<u8> = (0..4000_u32).map(|n| (n % 251) as u8 + 1).collect();
        let mut lengths = BTreeSet::new();
        let mut holes = 0;
        for seed in 0..300 {
            let after = written(&bytes, 1000).crash(&mut Rng::from_seed(seed));
            let left = after.contents(Path::new(FILE)).unwrap();
            assert_eq!(left[..1000], bytes[..1000], "seed {seed}");
            lengths.insert(left.len());
            holes += usize::from(left != bytes[..left.len()]);
        }
        assert!(lengths.contains(&1000) && lengths.contains(&4000) && lengths.len() > 50);
        assert!(holes > 50, "{holes}");
    }

    #[test]
    fn names_are_durable_after_a_sync_of_their_directory() {
        let mut seen = BTreeSet::new();
        for seed in 0..100 {
            let disk = written(b"x", 1);
            disk.rename(Path::new(FILE), Path::new("data/new")).unwrap();
            disk.create(Path::new("data/other")).unwrap();
            let after = disk.crash(&mut Rng::from_seed(seed));
            let names = after.list(Path::new("data")).unwrap();
            let renamed = names.contains(&PathBuf::from("new"));
            assert_ne!(renamed, names.contains(&PathBuf::from("log")), "a rename is atomic");
            seen.insert(names);
        }
        assert_eq!(seen.len(), 4);
        let disk = written(b"x", 1);
        disk.rename(Path::new(FILE), Path::new("data/new")).unwrap();
        disk.sync_dir(Path::new("data")).unwrap();
        let after = disk.crash(&mut Rng::from_seed(1));
        assert_eq!(after.list(Path::new("data")).unwrap(), [PathBuf::from("new")]);
    }

    #[test]
    fn a_failed_sync_loses_bytes_that_later_syncs_cover() {
        let mut lost = 0;
        for seed in 0..50 {
            let disk = written(&[7; 2000], 0);
            disk.inject(disk.operations(), Fault::Io);
            let mut file = disk.open_append(Path::new(FILE)).unwrap();
            assert!(file.sync().is_err());
            file.append(b"more").unwrap();
            file.sync().unwrap();
            let after = disk.crash(&mut Rng::from_seed(seed));
            let left = after.contents(Path::new(FILE)).unwrap();
            assert_eq!((left.len(), &left[2000..]), (2004, b"more".as_slice()));
            lost += usize::from(left[..2000].contains(&0));
        }
        assert!(lost > 40);
    }

    #[test]
    fn faults_and_the_end_come_at_their_operation() {
        let disk = written(b"", 0);
        let mut file = disk.open_append(Path::new(FILE)).unwrap();
        disk.inject(disk.operations(), Fault::Short(2));
        assert_eq!(file.append(b"abcd").unwrap_err().raw_os_error(), Some(libc::ENOSPC));
        assert_eq!(disk.contents(Path::new(FILE)).unwrap(), b"ab");
        disk.crash_at(disk.operations() + 1);
        file.append(b"c").unwrap();
        assert!(file.sync().is_err() && file.append(b"d").is_err() && disk.has_crashed());
        assert_eq!(disk.kill().contents(Path::new(FILE)).unwrap(), b"abc");
    }
}
