//! The real disk: files of the operating system behind the interface of [`crate::base::env`].
//!
//! Every file is opened with `O_APPEND`, so that a handle and its duplicate agree on where the end
//! is, also after a truncation. Appending retries where a signal interrupted it; every other error
//! goes to the caller, who alone knows what a partial write means. Nothing here buffers.
//!
//! The last close of a deleted file frees its pages and blocks before it returns, which takes 0.16 s a
//! GB. A thread does that: see [`close_elsewhere`].

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

#[cfg(target_os = "linux")]
use crate::base::direct_file::DirectFile;
use crate::base::env::{Disk, DiskFile, SyncPoint};
use crate::base::process;

/// A deleted file of so many bytes or more is closed by a thread.
const CLOSED_ELSEWHERE_BYTES: u64 = 4 << 20;
/// What is read and written at once where bytes are copied.
const COPY_BYTES: usize = 64 << 10;

/// Files and directories of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDisk;

/// A file of the operating system.
#[derive(Debug)]
struct SystemFile(File);

impl Drop for SystemFile {
    fn drop(&mut self) {
        let _ = close_elsewhere(&self.0);
    }
}

impl DiskFile for SystemFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn append_two(&mut self, first: &[u8], second: &[u8]) -> io::Result<()> {
        let written = loop {
            match self.0.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome?,
            }
        };
        // A disk that is full, or a signal, cuts it short: the rest says which.
        let rest = written.saturating_sub(first.len()).min(second.len());
        self.0.write_all(&first[written.min(first.len())..])?;
        self.0.write_all(&second[rest..])
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    #[cfg(target_os = "linux")]
    fn write_out(&self, bytes: Range<u64>, wait: bool) -> io::Result<()> {
        let begin = libc::SYNC_FILE_RANGE_WRITE;
        let whole = libc::SYNC_FILE_RANGE_WAIT_BEFORE | begin | libc::SYNC_FILE_RANGE_WAIT_AFTER;
        let len = bytes.end.saturating_sub(bytes.start);
        // A length of zero would mean the rest of the file, and so would an offset past the end.
        let (Ok(start), Ok(len @ 1..)) = (i64::try_from(bytes.start), i64::try_from(len)) else {
            return Ok(());
        };
        let flags = if wait { whole } else { begin };
        // SAFETY: the call takes numbers only, and the descriptor is open as long as the file is.
        let result = unsafe { libc::sync_file_range(self.0.as_raw_fd(), start, len, flags) };
        let error = io::Error::last_os_error();
        // An error of the disk must be told: the system tells it once. What says that there is no such
        // call, here, for this file or for us (seccomp), is no error.
        let absent = [libc::ENOSYS, libc::EOPNOTSUPP, libc::EINVAL, libc::ESPIPE, libc::EPERM];
        let harmless = error.raw_os_error().is_some_and(|code| absent.contains(&code));
        if result == 0 || harmless { Ok(()) } else { Err(error) }
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.0.read_at(buffer, at)
    }

    fn duplicate(&self) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(Self(self.0.try_clone()?)))
    }
}

impl Disk for SystemDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        // The standard library refuses append together with truncate: empty it by hand.
        let file = open(path)?;
        file.set_len(0)?;
        Ok(Box::new(SystemFile(file)))
    }

    #[cfg(target_os = "linux")]
    fn create_streamed(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        match DirectFile::create(path)? {
            Some(file) => Ok(Box::new(file)),
            None => self.create(path),
        }
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(SystemFile(open(path)?)))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(path)?))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn free_bytes(&self, path: &Path) -> Option<u64> {
        let of = nix::sys::statvfs::statvfs(named(path)).ok()?;
        Some(of.blocks_available().saturating_mul(of.fragment_size()))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match path.try_exists() {
            // Part of it is a file: surely there is nothing in that.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
            outcome => outcome,
        }
    }

    fn write_again(&self, path: &Path, from: u64, _: SyncPoint) -> io::Result<()> {
        // Without O_APPEND: with it, Linux appends whatever the offset says.
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut chunk = vec![0; COPY_BYTES];
        let mut at = from;
        loop {
            let read = match file.read_at(&mut chunk, at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome?,
            };
            if read == 0 {
                return Ok(());
            }
            file.write_all_at(&chunk[..read], at)?;
            at += read as u64;
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match fs::DirBuilder::new().mode(0o755).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            outcome => outcome,
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(named(path))?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(named(path))?.map(|entry| Ok(PathBuf::from(entry?.file_name()))).collect()
    }
}

/// Opens for appending; only the owner may write, as upstream has it.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o644).open(path)
}

/// To be called before `file` is closed. If it is big and deleted, a thread gets a handle of its own and
/// closes it at idle priority, so that the caller's close isn't the last one. None where that isn't
/// needed, or can't be had.
pub(super) fn close_elsewhere(file: &File) -> Option<JoinHandle<()>> {
    let about = file.metadata().ok()?;
    if about.nlink() > 0 || about.len() < CLOSED_ELSEWHERE_BYTES {
        return None;
    }
    let last = file.try_clone().ok()?;
    let close = move || {
        process::take_time_left_over();
        drop(last);
    };
    thread::Builder::new().name("close-file".to_owned()).spawn(close).ok()
}

/// The parent of a bare file name is the empty path, which means the working directory.
fn named(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_big_file_without_a_name_is_closed_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for (bytes, removed) in [(0, true), (CLOSED_ELSEWHERE_BYTES, false)] {
            let file = open(&path).unwrap();
            file.set_len(bytes).unwrap();
            if removed {
                fs::remove_file(&path).unwrap();
            }
            assert!(close_elsewhere(&file).is_none());
        }
        let file = open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        close_elsewhere(&file).expect("a thread").join().unwrap();
    }

    #[test]
    fn a_file_is_appended_to_cut_and_renamed() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        let disk = SystemDisk;
        let mut file = disk.create(&old).unwrap();
        file.append(b"hello world").unwrap();
        let other = file.duplicate().unwrap();
        file.truncate(5).unwrap();
        file.append(b"!").unwrap();
        other.write_out(0..3, false).unwrap();
        other.write_out(3..3, true).unwrap();
        other.write_out(0..6, true).unwrap();
        other.sync().unwrap();
        assert_eq!(disk.len(&old).unwrap(), 6);
        disk.write_again(&old, 2, SyncPoint("test")).unwrap();
        disk.write_again(&old, 6, SyncPoint("test")).unwrap();
        disk.rename(&old, &new).unwrap();
        disk.sync_dir(dir.path()).unwrap();
        assert!(!disk.exists(&old).unwrap());
        let mut text = String::new();
        disk.open_read(&new).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello!");
        disk.open_append(&new).unwrap().append(b"?").unwrap();
        assert_eq!(disk.len(&new).unwrap(), 7);
        disk.create(&new).unwrap();
        assert_eq!(disk.len(&new).unwrap(), 0);
        assert_eq!(disk.list(dir.path()).unwrap(), [PathBuf::from("new")]);
        disk.remove(&new).unwrap();
        let below = dir.path().join("below");
        disk.create_dir(&below).unwrap();
        disk.create_dir(&below).unwrap();
        assert!(disk.exists(&below).unwrap());
        assert!(!disk.exists(&new.join("in a file")).unwrap());
        assert!(disk.create_dir(&below.join("a/b")).is_err());
    }
}
