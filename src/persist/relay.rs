//! A snapshot on its way to replicas' sockets while it is being written: what the snapshot's thread has
//! and not every reader has taken yet.
//!
//! ```text
//!  snapshot's thread ── append ──► kept in memory, up to KEPT_BYTES_MAX ──► Reader of each replica
//!                                     └── from there on a file ───────────►
//! ```
//!
//! Readers don't wait for one another, nor the thread for them: clients' writes would wait for the thread in
//! the end. What the slowest hasn't taken is kept in memory up to a bound; when it is reached, everything
//! that follows goes to a file without a name, and readers come to it when they have taken what was kept.
//! So memory is bounded whatever the number and speed of replicas, and the disk isn't touched while they
//! keep up.
//!
//! Invariants: `kept` ends where the file begins, or at `end` where there is none; readers' places are in
//! `kept`'s bytes or in the file's; a piece that every reader is beyond is gone.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

use crate::base::env::{Disk, DiskFile};

/// Bytes that are kept in memory for the slowest reader.
pub(crate) const KEPT_BYTES_MAX: u64 = 8 << 20;
/// Bytes that a reader gets at once, at most.
const PIECE_BYTES: usize = 64 << 10;

/// What a reader gets.
pub(crate) enum Piece {
    /// These bytes.
    Bytes(Bytes),
    /// Nothing yet.
    NotYet,
    /// It has had everything.
    End,
}

/// What has been written of a snapshot and not been taken by all.
pub struct Relay {
    state: Mutex<State>,
}

struct State {
    kept: VecDeque<Bytes>,
    /// The last of what is kept, which still grows.
    growing: BytesMut,
    /// Where `kept` begins in the snapshot.
    start: u64,
    /// How much of the snapshot there is.
    end: u64,
    spill: Option<Spill>,
    /// Where each reader is; nothing where it has gone.
    readers: Vec<Option<u64>>,
    /// Whether there is all of it.
    complete: bool,
}

/// What came when too much was kept.
struct Spill {
    file: Box<dyn DiskFile>,
    /// Where it begins in the snapshot.
    from: u64,
}

impl State {
    fn kept_end(&self) -> u64 {
        self.spill.as_ref().map_or(self.end, |spill| spill.from)
    }

    fn append(&mut self, bytes: &[u8], disk: &dyn Disk, path: &Path) -> io::Result<()> {
        if let Some(spill) = &mut self.spill {
            spill.file.append(bytes)?;
        } else if self.readers.iter().all(Option::is_none) {
            self.start = self.end + bytes.len() as u64;
        } else if self.end - self.start + bytes.len() as u64 > KEPT_BYTES_MAX {
            let mut file = disk.create(path)?;
            // Open files stay readable without a name.
            disk.remove(path)?;
            file.append(bytes)?;
            tracing::info!("A replica takes its snapshot slowly: the rest waits for it in a file");
            self.spill = Some(Spill { file, from: self.end });
        } else {
            self.growing.extend_from_slice(bytes);
            if self.growing.len() >= PIECE_BYTES {
                self.seal_growing();
            }
        }
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn seal_growing(&mut self) {
        if !self.growing.is_empty() {
            let bytes = self.growing.split().freeze();
            self.kept.push_back(bytes);
        }
    }

    fn read(&mut self, reader: usize) -> io::Result<Piece> {
        let Some(Some(at)) = self.readers.get(reader).copied() else { return Ok(Piece::End) };
        if at == self.end {
            return Ok(if self.complete { Piece::End } else { Piece::NotYet });
        }
        let bytes = if at < self.kept_end() {
            self.piece_at(at)
        } else {
            let Some(spill) = &self.spill else { return Ok(Piece::NotYet) };
            let room = (self.end - at).min(PIECE_BYTES as u64) as usize;
            let mut bytes = vec![0; room];
            let got = spill.file.read_at(&mut bytes, at - spill.from)?;
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.truncate(got);
            bytes.into()
        };
        self.readers[reader] = Some(at + bytes.len() as u64);
        self.trim();
        Ok(Piece::Bytes(bytes))
    }

    /// What is kept from a place on, to the end of its piece.
    fn piece_at(&mut self, at: u64) -> Bytes {
        self.seal_growing();
        let mut start = self.start;
        for piece in &self.kept {
            let end = start + piece.len() as u64;
            if at < end {
                return piece.slice((at - start) as usize..);
            }
            start = end;
        }
        Bytes::new()
    }

    /// Lets go what every reader has.
    fn trim(&mut self) {
        let wanted = self.readers.iter().flatten().min().copied().unwrap_or(self.end);
        while let Some(first) = self.kept.front()
            && self.start + first.len() as u64 <= wanted
        {
            self.start += first.len() as u64;
            self.kept.pop_front();
        }
        if self.readers.iter().all(Option::is_none) {
            self.kept.clear();
            self.growing.clear();
            self.start = self.kept_end();
        }
    }
}

impl Relay {
    /// An empty one.
    pub(crate) fn new() -> Arc<Self> {
        let state = State {
            kept: VecDeque::new(),
            growing: BytesMut::new(),
            start: 0,
            end: 0,
            spill: None,
            readers: Vec::new(),
            complete: false,
        };
        Arc::new(Self { state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is complete before anything in it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reader from the start on. Only before anything was written: what nobody reads isn't kept.
    pub(crate) fn reader(self: &Arc<Self>) -> Reader {
        let mut state = self.state();
        state.readers.push(Some(0));
        Reader { relay: Arc::clone(self), number: state.readers.len() - 1 }
    }

    /// Where the snapshot's thread writes. What doesn't fit into memory goes to a file at `path`, which
    /// loses its name at once.
    pub(crate) fn writer(self: &Arc<Self>, disk: Arc<dyn Disk>, path: PathBuf) -> RelayFile {
        RelayFile { relay: Arc::clone(self), disk, path }
    }

    /// Readers get [`Piece::End`] when they have what there is.
    pub(crate) fn complete(&self) {
        self.state().complete = true;
    }

    /// Bytes kept in memory, and in the file.
    pub(crate) fn held_bytes(&self) -> (u64, u64) {
        let state = self.state();
        let spilled = state.spill.as_ref().map_or(0, |spill| state.end - spill.from);
        (state.kept_end() - state.start, spilled)
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("held", &self.held_bytes()).finish_non_exhaustive()
    }
}

/// One replica's place in the snapshot.
pub(crate) struct Reader {
    relay: Arc<Relay>,
    number: usize,
}

impl Reader {
    /// Bytes that its relay keeps in memory.
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.relay.held_bytes().0
    }

    /// Whether it reads this relay.
    pub(crate) fn is_of(&self, relay: &Arc<Relay>) -> bool {
        Arc::ptr_eq(&self.relay, relay)
    }

    /// The next bytes. An error where the file can't be read.
    pub(crate) fn next(&mut self) -> io::Result<Piece> {
        self.relay.state().read(self.number)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.relay.state();
        state.readers[self.number] = None;
        state.trim();
    }
}

/// The relay, as the snapshot's thread sees it: a file that is appended to, and nothing else.
pub(crate) struct RelayFile {
    relay: Arc<Relay>,
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl DiskFile for RelayFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.relay.state().append(bytes, &*self.disk, &self.path)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&mut self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn duplicate(&self) -> io::Result<Box<dyn DiskFile>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::env::Rng;
    use crate::base::sim_disk::SimDisk;

    /// Readers of random speed, some of which go: each of the others gets every byte in order, and no
    /// more is kept than may be.
    #[test]
    fn every_reader_gets_all_of_it_whatever_the_others_do() {
        for seed in 0..40 {
            let mut rng = Rng::from_seed(seed);
            let disk: Arc<dyn Disk> = Arc::new(SimDisk::default());
            let relay = Relay::new();
            let mut readers: Vec<(Option<Reader>, Vec<u8>, u64)> =
                (0..4).map(|_| (Some(relay.reader()), Vec::new(), 1 + rng.below(100))).collect();
            let mut file = relay.writer(Arc::clone(&disk), "spill.rdb".into());
            let mut written = Vec::new();
            let wanted = 1 + rng.below(2 * KEPT_BYTES_MAX) as usize;
            let mut ended = 0;
            while ended < readers.iter().filter(|reader| reader.0.is_some()).count() {
                if written.len() < wanted {
                    let chunk = vec![rng.next_u64() as u8; rng.below(200_000) as usize];
                    file.append(&chunk).unwrap();
                    written.extend_from_slice(&chunk);
                    if written.len() >= wanted {
                        relay.complete();
                    }
                }
                assert!(relay.held_bytes().0 <= KEPT_BYTES_MAX);
                ended = 0;
                for (reader, got, speed) in &mut readers {
                    let Some(one) = reader else { continue };
                    if rng.below(100) > *speed {
                        continue;
                    }
                    match one.next().unwrap() {
                        Piece::Bytes(bytes) => got.extend_from_slice(&bytes),
                        Piece::NotYet => assert_eq!(got.len(), written.len()),
                        Piece::End => ended += 1,
                    }
                    if rng.below(5000) == 0 {
                        *reader = None;
                    }
                }
            }
            for (reader, got, _) in &readers {
                assert!(reader.is_none() || *got == written, "seed {seed}");
                assert!(written.starts_with(got), "seed {seed}");
            }
            drop(readers);
            assert_eq!(relay.held_bytes().0, 0);
            assert!(disk.list("".as_ref()).unwrap().is_empty());
        }
    }

    #[test]
    fn a_disk_that_is_full_is_an_error_and_what_keeps_up_needs_none() {
        let disk = SimDisk::default();
        disk.set_full(true);
        let relay = Relay::new();
        let mut reader = relay.reader();
        let mut file = relay.writer(Arc::new(disk), "spill.rdb".into());
        let piece = vec![7; 1 << 20];
        for _ in 0..(2 * KEPT_BYTES_MAX) >> 20 {
            file.append(&piece).unwrap();
            while let Piece::Bytes(_) = reader.next().unwrap() {}
        }
        let results: Vec<bool> =
            (0..=KEPT_BYTES_MAX >> 20).map(|_| file.append(&piece).is_ok()).collect();
        assert_eq!(results.iter().filter(|ok| !**ok).count(), 1);
        assert_eq!(results.last(), Some(&false));
    }
}
