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
//! - A sync that fails leaves its bytes in doubt: they can be read until the crash, later syncs
//!   succeed, and still each of their sectors may be zeros afterwards, as on Linux. Only a sync of
//!   bytes that were written once more ([`Disk::write_again`]) ends the doubt.
//!
//! Every operation that changes something has a number. [`SimDisk::crash_at`] ends the world at one,
//! [`SimDisk::inject`] makes one fail, [`SimDisk::ignore`] makes syncs of one purpose do nothing.
//! [`SimDisk::keep_moments`] has the disk remember what it was before each operation, so that one run
//! shows every crash it could have met ([`SimDisk::before`]).
//!
//! Looks, which change nothing (opening and reading, lengths, names), have numbers of their own; one of
//! them can fail: [`SimDisk::fail_look`].
//!
//! Deliberately absent: permissions, links, time stamps.

mod content;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Cursor, Read};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::env::{Clock, Disk, DiskFile, Rng, SyncPoint};
use content::Content;

/// What a disk writes at once or not at all.
pub(crate) const SECTOR_BYTES: usize = 512;
/// The most that one call of a reader gives.
const READ_BYTES: usize = 512;

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

/// What is on the disk and in the memory before it.
#[derive(Clone, Debug, Default)]
struct World {
    /// Shared with moments that were kept, until one of them changes.
    files: Vec<Arc<Content>>,
    /// What programs see, and what is left after a crash at this moment.
    names: BTreeMap<PathBuf, Node>,
    durable_names: BTreeMap<PathBuf, Node>,
    /// Changes of names that are not durable, in order, each with the directory to sync.
    pending: Vec<(PathBuf, NameChange)>,
}

impl World {
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

    fn content(&mut self, file: usize) -> &mut Content {
        Arc::make_mut(&mut self.files[file])
    }

    /// What a power loss leaves.
    fn after_power_loss(&self, rng: &mut Rng) -> Self {
        let mut names = self.durable_names.clone();
        let mood = rng.below(4);
        for (_, change) in &self.pending {
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
        let survive = |file: &Arc<Content>| Arc::new(Content::durable(file.survivors(rng)));
        let files = self.files.iter().map(survive).collect();
        Self { files, durable_names: names.clone(), names, pending: Vec::new() }
    }
}

#[derive(Debug, Default)]
struct State {
    world: World,
    /// What the world was before each operation, if that is kept.
    moments: Option<Vec<World>>,
    operations: u64,
    crash_at: Option<u64>,
    crashed: bool,
    full: bool,
    faults: BTreeMap<u64, Fault>,
    /// Looks so far, which change nothing, and the one that fails.
    looks: u64,
    bad_look: Option<u64>,
    /// Faults that came to pass: at which operation, of what kind.
    met: Vec<(u64, &'static str, Fault)>,
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

enum Verdict {
    Go,
    /// The operation takes effect, without being durable, and is the last one.
    Last,
    Fail(Fault),
}

impl State {
    fn begin(&mut self, kind: &'static str, what: impl FnOnce() -> String) -> io::Result<Verdict> {
        if self.crashed {
            return Err(crashed());
        }
        let number = self.operations;
        self.operations += 1;
        self.trace.push(format!("{number}: {kind} {}", what()));
        if let Some(moments) = &mut self.moments {
            moments.push(self.world.clone());
        }
        if self.crash_at == Some(number) {
            self.crashed = true;
            return Ok(Verdict::Last);
        }
        let Some(fault) = self.faults.get(&number) else { return Ok(Verdict::Go) };
        self.met.push((number, kind, *fault));
        Ok(Verdict::Fail(*fault))
    }

    /// Reads something of a file, or asks about a name.
    fn look(&mut self) -> io::Result<()> {
        if self.crashed {
            return Err(crashed());
        }
        let number = self.looks;
        self.looks += 1;
        if self.bad_look == Some(number) { Err(Fault::Io.error()) } else { Ok(()) }
    }

    /// An operation on names: it happens or it fails.
    fn change(
        &mut self,
        kind: &'static str,
        what: impl FnOnce() -> String,
        directory: &Path,
        change: NameChange,
    ) -> io::Result<()> {
        let verdict = self.begin(kind, what)?;
        if let Verdict::Fail(fault) = verdict {
            return Err(fault.error());
        }
        change.apply(&mut self.world.names);
        self.world.pending.push((directory.to_owned(), change));
        if matches!(verdict, Verdict::Last) { Err(crashed()) } else { Ok(()) }
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

    /// What each operation was, for the analysis of a failed run.
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

    /// What was to fail and has not yet does not fail any more.
    pub fn forget_faults(&self) {
        self.state().faults.clear();
    }

    /// Look `number` fails.
    pub fn fail_look(&self, number: u64) {
        self.state().bad_look = Some(number);
    }

    /// How many looks there have been.
    pub fn looks(&self) -> u64 {
        self.state().looks
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

    /// From now on remembers what was there before each operation, for [`SimDisk::before`].
    pub fn keep_moments(&self) {
        let mut state = self.state();
        let skipped = (0..state.operations).map(|_| World::default()).collect();
        state.moments.get_or_insert(skipped);
    }

    /// The disk as it was before operation `number`, where moments were kept since then; as it is
    /// now for a number that has not come yet. To be read, killed or crashed; this one continues.
    #[must_use]
    pub fn before(&self, number: u64) -> Self {
        let state = self.state();
        let moments = state.moments.as_ref();
        let moment = moments.and_then(|moments| moments.get(number as usize));
        Self::of(State { world: moment.unwrap_or(&state.world).clone(), ..State::default() })
    }

    /// Faults that came to pass: at which operation, what kind of operation, which fault.
    pub fn faults_met(&self) -> Vec<(u64, &'static str, Fault)> {
        self.state().met.clone()
    }

    /// Whether a sync has failed and nothing has ended the doubt about what it should have written.
    #[cfg(test)]
    pub(crate) fn in_doubt(&self) -> bool {
        self.state().world.files.iter().any(|file| file.in_doubt())
    }

    /// The disk after a power loss at this moment. This one is dead from now on.
    #[must_use]
    pub fn crash(&self, rng: &mut Rng) -> Self {
        let mut state = self.state();
        state.crashed = true;
        Self::of(State { world: state.world.after_power_loss(rng), ..State::default() })
    }

    /// The disk after the process was killed but the machine went on: all that was written is there,
    /// and still only durable as far as it was. This one is dead from now on.
    #[must_use]
    pub fn kill(&self) -> Self {
        let mut state = self.state();
        state.crashed = true;
        Self::of(State { world: state.world.clone(), ..State::default() })
    }

    /// Flips one bit of a file at rest.
    pub fn flip(&self, path: &Path, bit: u64) -> io::Result<()> {
        let world = &mut self.state().world;
        let file = world.file(path)?;
        world.content(file).flip(bit);
        Ok(())
    }

    /// A file's bytes as programs read them.
    pub fn contents(&self, path: &Path) -> io::Result<Vec<u8>> {
        let world = &self.state().world;
        Ok(world.files[world.file(path)?].bytes.clone())
    }

    /// Puts a file there, durably, without that counting as an operation.
    pub fn place(&self, path: &Path, bytes: &[u8]) {
        let world = &mut self.state().world;
        let path = plain(path);
        for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            world.names.insert(above.to_owned(), Node::Directory);
            world.durable_names.insert(above.to_owned(), Node::Directory);
        }
        let node = Node::File(world.files.len());
        world.files.push(Arc::new(Content::durable(bytes.to_vec())));
        world.names.insert(path.clone(), node);
        world.durable_names.insert(path, node);
    }

    fn open(&self, path: &Path, empty: bool) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        let path = plain(path);
        let kind = if empty { "create" } else { "open" };
        if state.world.names.contains_key(&path) {
            let file = state.world.file(&path)?;
            if empty {
                match state.begin(kind, || path.display().to_string())? {
                    Verdict::Fail(fault) => return Err(fault.error()),
                    Verdict::Last => {
                        state.world.content(file).truncate(0);
                        return Err(crashed());
                    }
                    Verdict::Go => state.world.content(file).truncate(0),
                }
            } else if state.crashed {
                return Err(crashed());
            }
            return Ok(Box::new(SimFile { disk: self.clone(), path, file }));
        }
        let directory = parent(&path);
        state.world.directory(&directory)?;
        let file = state.world.files.len();
        let change = NameChange::Link(path.clone(), Node::File(file));
        state.world.files.push(Arc::default());
        state.change(kind, || path.display().to_string(), &directory, change)?;
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
        self.state().look()?;
        Ok(Box::new(SimReader { disk: self.clone(), bytes: Cursor::new(self.contents(path)?) }))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let mut state = self.state();
        state.look()?;
        let world = &state.world;
        Ok(world.files[world.file(path)?].bytes.len() as u64)
    }

    fn free_bytes(&self, _: &Path) -> Option<u64> {
        Some(u64::MAX / 2)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let path = plain(path);
        let mut state = self.state();
        state.look()?;
        Ok(path.as_os_str().is_empty() || state.world.names.contains_key(&path))
    }

    fn write_again(&self, path: &Path, from: u64, point: SyncPoint) -> io::Result<()> {
        let mut state = self.state();
        let file = state.world.file(path)?;
        state.seen.insert(point);
        match state.begin("write again", || format!("{} from {from} on", path.display()))? {
            // Whatever was written of it, it was what is there.
            Verdict::Last => Err(crashed()),
            Verdict::Fail(fault) => Err(fault.error()),
            Verdict::Go => {
                if !state.ignored.contains(&point) {
                    state.world.content(file).write_again(from as usize);
                }
                Ok(())
            }
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (plain(from), plain(to));
        let mut state = self.state();
        let node = Node::File(state.world.file(&from)?);
        let directory = parent(&to);
        state.world.directory(&directory)?;
        let text = format!("{} to {}", from.display(), to.display());
        state.change("rename", || text, &directory, NameChange::Move(from, to, node))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let path = plain(path);
        let mut state = self.state();
        state.world.file(&path)?;
        let text = path.display().to_string();
        state.change("remove", || text, &parent(&path), NameChange::Unlink(path.clone()))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let path = plain(path);
        let mut state = self.state();
        if state.world.directory(&path).is_ok() {
            return Ok(());
        }
        let above = parent(&path);
        state.world.directory(&above)?;
        let text = path.display().to_string();
        let change = NameChange::Link(path, Node::Directory);
        state.change("create directory", || text, &above, change)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.sync_dir_at(path, SyncPoint("unnamed"))
    }

    fn sync_dir_at(&self, path: &Path, point: SyncPoint) -> io::Result<()> {
        let path = plain(path);
        let mut state = self.state();
        state.world.directory(&path)?;
        state.seen.insert(point);
        let text = || format!("{}: {}", path.display(), point.0);
        match state.begin("sync directory", text)? {
            Verdict::Fail(fault) => return Err(fault.error()),
            Verdict::Last => return Err(crashed()),
            Verdict::Go => {}
        }
        if state.ignored.contains(&point) {
            return Ok(());
        }
        let world = &mut state.world;
        for (directory, change) in std::mem::take(&mut world.pending) {
            if directory == path {
                change.apply(&mut world.durable_names);
            } else {
                world.pending.push((directory, change));
            }
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let path = plain(path);
        let mut state = self.state();
        state.look()?;
        let world = &state.world;
        world.directory(&path)?;
        let inside = world.names.keys().filter(|name| parent(name) == path);
        Ok(inside.filter_map(|name| name.file_name()).map(PathBuf::from).collect())
    }
}

/// A file as it was when it was opened.
struct SimReader {
    disk: SimDisk,
    bytes: Cursor<Vec<u8>>,
}

impl Read for SimReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk.state().look()?;
        // In parts, so that a fault can come in the middle of a file, too.
        let some = buffer.len().min(READ_BYTES);
        self.bytes.read(&mut buffer[..some])
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
        let verdict = state
            .begin("append", || format!("{} bytes to {}", bytes.len(), self.path.display()))?;
        let (taken, outcome) = match verdict {
            Verdict::Go if state.full => (bytes.len() / 2, Err(Fault::Full.error())),
            Verdict::Go => (bytes.len(), Ok(())),
            Verdict::Last => (bytes.len(), Err(crashed())),
            Verdict::Fail(Fault::Short(taken)) => {
                (taken.min(bytes.len()), Err(Fault::Full.error()))
            }
            Verdict::Fail(fault) => (0, Err(fault.error())),
        };
        state.world.content(self.file).bytes.extend_from_slice(&bytes[..taken]);
        outcome
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_at(SyncPoint("unnamed"))
    }

    fn sync_at(&self, point: SyncPoint) -> io::Result<()> {
        let mut state = self.disk.state();
        state.seen.insert(point);
        match state.begin("sync", || format!("{}: {}", self.path.display(), point.0))? {
            Verdict::Last => Err(crashed()),
            Verdict::Fail(fault) => {
                state.world.content(self.file).sync_failed();
                Err(fault.error())
            }
            Verdict::Go => {
                if !state.ignored.contains(&point) {
                    state.world.content(self.file).sync();
                }
                Ok(())
            }
        }
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.look()?;
        let bytes = &state.world.content(self.file).bytes;
        let there = bytes.get(at as usize..).unwrap_or_default();
        let read = there.len().min(buffer.len());
        buffer[..read].copy_from_slice(&there[..read]);
        Ok(read)
    }

    fn write_out(&self, bytes: Range<u64>, _: bool) -> io::Result<()> {
        let mut state = self.disk.state();
        let text = || format!("bytes {bytes:?} of {}", self.path.display());
        match state.begin("write out", text)? {
            Verdict::Go => Ok(()),
            Verdict::Last => Err(crashed()),
            Verdict::Fail(fault) => {
                // The pages count as written, as after a sync that failed.
                state.world.content(self.file).sync_failed();
                Err(fault.error())
            }
        }
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let verdict = state.begin("truncate", || format!("{} to {len}", self.path.display()))?;
        if let Verdict::Fail(fault) = verdict {
            return Err(fault.error());
        }
        state.world.content(self.file).truncate(len as usize);
        if matches!(verdict, Verdict::Last) { Err(crashed()) } else { Ok(()) }
    }

    fn duplicate(&self) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(Self { disk: self.disk.clone(), path: self.path.clone(), file: self.file }))
    }
}

#[cfg(test)]
mod tests;
