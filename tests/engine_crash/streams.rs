//! The bytes of each history that a server had, read from its journal as a replica would, and compared with
//! what the log's frames say of them.

use std::collections::BTreeMap;
use std::path::Path;

use redstart::base::sim_disk::SimDisk;
use redstart::journal::{Cursor, Read, ReplicationId};
use redstart::persist::manifest::{Layout, Manifest};
use redstart::persist::scan::{Piece, Preface, Scanner};

use crate::embedded::Embedded;

/// A history's bytes from an offset on.
#[derive(Default)]
struct Stream {
    start: u64,
    bytes: Vec<u8>,
}

/// All histories that were read.
pub struct Streams {
    /// Whether they are read at all: without, the server has a log and no backlog.
    reads: bool,
    known: BTreeMap<ReplicationId, Stream>,
}

impl Streams {
    pub fn new(reads: bool) -> Self {
        Self { reads, known: BTreeMap::new() }
    }

    /// Reads what the server's journal has got since the last time.
    pub fn follow(&mut self, server: &mut Embedded) {
        if !self.reads {
            return;
        }
        if !server.engine.journal.has_backlog() {
            server.engine.keep_backlog();
        }
        let journal = &mut server.engine.journal;
        let start = journal.backlog_extent().unwrap_or_default().0;
        let stream = self
            .known
            .entry(journal.history().id)
            .or_insert_with(|| Stream { start, bytes: Vec::new() });
        let mut cursor = Cursor { offset: stream.start + stream.bytes.len() as u64 };
        loop {
            match cursor.next(journal) {
                Read::Chunk(bytes) => stream.bytes.extend_from_slice(&bytes),
                Read::CaughtUp => return,
                Read::Gone => panic!("the backlog is larger than any run's stream"),
            }
        }
    }

    /// Whether the frames on a disk hold the bytes that were at their offsets.
    pub fn check(&self, disk: &SimDisk) -> Result<(), String> {
        let layout = Layout::default_in(Path::new(""));
        let Ok(Some(Ok(manifest))) = Manifest::load(disk, &layout) else { return Ok(()) };
        let mut id = manifest.base_position.map(|position| position.id);
        for part in &manifest.increments {
            let bytes = disk.contents(&layout.log_file(&part.name)).unwrap_or_default();
            let len = bytes.len() as u64;
            let mut scanner = Scanner::new(Box::new(std::io::Cursor::new(bytes)), len);
            while let Ok(Piece::Frame { sequence }) = scanner.next_piece() {
                let Some(place) = scanner.place() else { continue };
                id = Preface::of(scanner.payload()).history.or(id);
                let Some(stream) = id.and_then(|id| self.known.get(&id)) else { continue };
                let units = &scanner.payload()[place.uncounted as usize..];
                let at = (place.offset - stream.start) as usize;
                if stream.bytes.get(at..at + units.len()) != Some(units) {
                    return Err(format!(
                        "frame {sequence} says that it is at {} of the stream, which has other bytes there",
                        place.offset
                    ));
                }
            }
        }
        Ok(())
    }
}
