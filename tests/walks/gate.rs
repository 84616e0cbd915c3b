//! A disk whose snapshots stand still while a gate is shut: appends to temporary files wait there.

use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use redstart::base::env::{Disk, DiskFile, SyncPoint};
use redstart::base::sim_disk::SimDisk;

/// The gate.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    shut: bool,
    /// How many have come to it so far.
    came: usize,
}

impl Gate {
    pub fn shut(&self, shut: bool) {
        self.0.0.lock().unwrap().shut = shut;
        self.0.1.notify_all();
    }

    /// Waits until somebody has come to it. A thread that is to stand here may not have had the
    /// processor yet, and one that comes only when all is given up doesn't stand still at all.
    pub fn await_somebody(&self) {
        let state = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(state, |state| state.came == 0).unwrap());
    }

    fn pass(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.came += 1;
        self.0.1.notify_all();
        drop(self.0.1.wait_while(state, |state| state.shut).unwrap());
    }
}

/// The disk behind it.
#[derive(Clone)]
pub struct GatedDisk {
    pub disk: SimDisk,
    pub gate: Gate,
}

impl fmt::Debug for GatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.disk.fmt(f)
    }
}

struct GatedFile {
    file: Box<dyn DiskFile>,
    gate: Option<Gate>,
}

impl DiskFile for GatedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(gate) = &self.gate {
            gate.pass();
        }
        self.file.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn sync_at(&self, point: SyncPoint) -> io::Result<()> {
        self.file.sync_at(point)
    }

    fn write_out(&self, bytes: Range<u64>, wait: bool) -> io::Result<()> {
        self.file.write_out(bytes, wait)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }

    fn duplicate(&self) -> io::Result<Box<dyn DiskFile>> {
        self.file.duplicate()
    }
}

impl Disk for GatedDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let gate = name.starts_with("temp-").then(|| self.gate.clone());
        Ok(Box::new(GatedFile { file: self.disk.create(path)?, gate }))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open_append(path)
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        self.disk.open_read(path)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.disk.len(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn write_again(&self, path: &Path, from: u64, point: SyncPoint) -> io::Result<()> {
        self.disk.write_again(path, from, point)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }

    fn sync_dir_at(&self, path: &Path, point: SyncPoint) -> io::Result<()> {
        self.disk.sync_dir_at(path, point)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(path)
    }
}
