//! The stream in the log's files: which of its bytes are where, and reading them from there.
//!
//! **State.** A list of increments, oldest first, each with the piece of the stream that its frames
//! hold and a mark for about each mebibyte of it, from which a place is found by going from frame to
//! frame. The list is whole: where a frame doesn't begin where the one before it ended, everything
//! before it is forgotten. Recovery notes the frames it reads, the log those it writes.
//!
//! **Who owns what.** The log has the list; a reader has a [`Place`] and nothing else, so that any number
//! of them costs nothing. Files are read by handles that are open anyway: an increment that a rewrite
//! has superseded can be read on though its name is gone, until the list lets it go
//! (`repl-log-catchup-size`).
//!
//! **Faults.** A frame is given out only after its checksum was found right. What can't be read or is
//! damaged is an error once, and forgotten with everything before it: whoever asks again is told that
//! the files don't have it.
//!
//! **Proof.** The tests below read the stream back from random places over several rewrites;
//! `tests/replication` has replicas that catch up from files, also from those that a restart has read.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem;

use crate::base::env::DiskFile;
use crate::journal::skipped::Skipped;
use crate::persist::frame::FrameHead;
use crate::persist::log::Log;
use crate::persist::scan::Scanner;

/// Bytes of a file between two marks, about.
const MARK_BYTES: u64 = 1 << 20;
/// Bytes that are read at once.
const READ_BYTES: usize = 128 << 10;
/// The longest line before a frame.
const HEAD_BYTES_MAX: usize = 512;

/// What the frames of a file hold of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileMarks {
    /// The offset of the first byte, and the one behind the last.
    start: u64,
    end: u64,
    /// Length of the file up to the last frame.
    bytes: u64,
    /// Frames: the first byte of the stream that each stands for, and its place in the file.
    marks: Vec<(u64, u64)>,
}

/// A frame's place, in the stream and in its file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Framed {
    /// The first byte that it stands for: what was skipped before it counts as well.
    pub(super) start: u64,
    pub(super) end: u64,
    /// Where it begins in the file, and behind it.
    pub(super) at: u64,
    pub(super) behind: u64,
}

impl Framed {
    /// A frame whose units begin at `offset`. Nothing where no stream can be so long.
    pub(super) fn of(
        offset: u64,
        units: u64,
        skipped: &Skipped,
        at: u64,
        behind: u64,
    ) -> Option<Self> {
        let start = offset.checked_sub(skipped.stream_bytes()?)?;
        Some(Self { start, end: offset.checked_add(units)?, at, behind })
    }
}

impl FileMarks {
    /// Adds a frame. False where it doesn't follow the one before: then it is the first.
    pub(super) fn note(&mut self, frame: Framed) -> bool {
        let follows = !self.marks.is_empty() && frame.start == self.end;
        if !follows {
            *self = Self { start: frame.start, ..Self::default() };
        }
        self.end = frame.end;
        self.bytes = frame.behind;
        if self.marks.last().is_none_or(|(_, at)| frame.at - at >= MARK_BYTES) {
            self.marks.push((frame.start, frame.at));
        }
        follows
    }

    /// Adds the frame that a scanner has read at a place in the file. One that says nothing of the stream
    /// makes a gap.
    pub(super) fn note_read(&mut self, scanner: &Scanner, at: u64) {
        let frame = scanner.place().and_then(|place| {
            let units = scanner.payload().len() as u64 - place.uncounted;
            Framed::of(place.offset, units, &place.skipped, at, scanner.offset())
        });
        match frame {
            Some(frame) => {
                self.note(frame);
            }
            None => *self = Self::default(),
        }
    }
}

struct StreamFile {
    /// Counts up with each file.
    number: u64,
    handle: Arc<dyn DiskFile>,
    held: FileMarks,
    /// Whether a rewrite has superseded it.
    superseded: bool,
}

/// A reader's place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The next byte of the stream that it wants.
    pub(crate) offset: u64,
    /// The file, and the place in it of a frame at or before that.
    file: u64,
    at: u64,
}

/// What a reader finds.
#[derive(Debug)]
pub(crate) enum Found {
    /// Bytes from its offset on.
    Bytes(Bytes),
    /// It has everything that was written.
    End,
    /// The files don't have its place any more.
    Gone,
}

/// The increments that hold the stream.
#[derive(Default)]
pub(super) struct StreamFiles {
    files: VecDeque<StreamFile>,
    last_number: u64,
}

impl StreamFiles {
    /// A file to which the next frames go, or which recovery has read.
    pub(super) fn begin(&mut self, handle: Arc<dyn DiskFile>, held: FileMarks) {
        self.last_number += 1;
        if !held.marks.is_empty() && self.end().is_some_and(|end| end != held.start) {
            self.files.clear();
        }
        let number = self.last_number;
        self.files.push_back(StreamFile { number, handle, held, superseded: false });
    }

    /// A frame was written to the last file.
    #[inline]
    pub(super) fn note(&mut self, frame: Framed) {
        let before = self.end();
        let Some(file) = self.files.back_mut() else { return };
        let follows = file.held.note(frame) || before == Some(frame.start);
        if !follows {
            self.files.drain(..self.files.len() - 1);
        }
    }

    /// The offset behind the last frame.
    fn end(&self) -> Option<u64> {
        let held = self.files.iter().rev().map(|file| &file.held);
        held.filter(|held| !held.marks.is_empty()).map(|held| held.end).next()
    }

    /// The first and the last byte that the files have, as offsets from one to behind the other.
    pub(super) fn extent(&self) -> Option<(u64, u64)> {
        let first = self.files.iter().find(|file| !file.held.marks.is_empty())?;
        Some((first.held.start, self.end()?))
    }

    /// A rewrite has superseded all files but the last.
    pub(super) fn supersede(&mut self) {
        let count = self.files.len().saturating_sub(1);
        self.files.iter_mut().take(count).for_each(|file| file.superseded = true);
    }

    /// Lets superseded files go, oldest first, until the others have no more than `most` bytes.
    pub(super) fn keep(&mut self, most: u64) {
        while self.superseded_bytes() > most {
            self.files.pop_front();
        }
    }

    /// Bytes of files that are kept for readers alone.
    pub(super) fn superseded_bytes(&self) -> u64 {
        let superseded = self.files.iter().take_while(|file| file.superseded);
        superseded.map(|file| file.held.bytes).sum()
    }

    /// The place of a byte; nothing where the files don't have it.
    pub(super) fn find(&self, offset: u64) -> Option<Place> {
        let (start, end) = self.extent()?;
        if !(start..=end).contains(&offset) {
            return None;
        }
        let has = |file: &&StreamFile| !file.held.marks.is_empty() && file.held.start <= offset;
        let file = self.files.iter().rev().find(has)?;
        let behind = file.held.marks.partition_point(|(start, _)| *start <= offset);
        let (_, at) = *file.held.marks.get(behind.checked_sub(1)?)?;
        Some(Place { offset, file: file.number, at })
    }

    /// The next bytes from a place on, which is behind them then.
    pub(super) fn read(&mut self, place: &mut Place) -> io::Result<Found> {
        let read = self.read_on(place);
        if read.is_err() {
            // Nobody is to come here again.
            self.files.retain(|file| file.number > place.file);
        }
        read
    }

    fn read_on(&self, place: &mut Place) -> io::Result<Found> {
        loop {
            let first = self.files.front().map_or(u64::MAX, |file| file.number);
            let Some(index) = place.file.checked_sub(first) else { return Ok(Found::Gone) };
            let Some(file) = self.files.get(index as usize) else { return Ok(Found::Gone) };
            if place.at >= file.held.bytes {
                let Some(next) = self.files.get(index as usize + 1) else { return Ok(Found::End) };
                (place.file, place.at) = (next.number, 0);
                continue;
            }
            let mut out = Vec::new();
            place.at = read_frames(file, place.at, place.offset, &mut out)?;
            if !out.is_empty() {
                place.offset += out.len() as u64;
                return Ok(Found::Bytes(Bytes::from(out)));
            }
        }
    }
}

/// Appends to `out` what the frames from `at` on have of the stream from `wanted` on, and tells where the
/// next frame is.
fn read_frames(file: &StreamFile, at: u64, wanted: u64, out: &mut Vec<u8>) -> io::Result<u64> {
    let left = file.held.bytes - at;
    let mut buffer = read_exactly(&*file.handle, at, left.min(READ_BYTES as u64) as usize)?;
    let mut from = 0;
    loop {
        match take_frame(&buffer[from..], wanted + out.len() as u64, out)? {
            Taken::Frame(bytes) => from += bytes,
            Taken::Needs(bytes) if from == 0 && bytes > buffer.len() => {
                if bytes as u64 > left {
                    return Err(damaged("a frame is longer than its file"));
                }
                buffer = read_exactly(&*file.handle, at, bytes)?;
            }
            Taken::Needs(_) => return Ok(at + from as u64),
        }
    }
}

enum Taken {
    /// A frame of so many bytes.
    Frame(usize),
    /// So many bytes must be there.
    Needs(usize),
}

fn take_frame(bytes: &[u8], wanted: u64, out: &mut Vec<u8>) -> io::Result<Taken> {
    let window = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    let Some(end) = memmem::find(window, b"\r\n") else {
        return match bytes.len() {
            HEAD_BYTES_MAX.. => Err(damaged("no frame where one must be")),
            _ => Ok(Taken::Needs(HEAD_BYTES_MAX.min(bytes.len() + 1))),
        };
    };
    let line = &bytes[..end + 2];
    let head = FrameHead::parse(line).ok_or_else(|| damaged("no frame where one must be"))?;
    let whole = line.len().checked_add(usize::try_from(head.bytes).unwrap_or(usize::MAX));
    let whole = whole.ok_or_else(|| damaged("a frame is longer than its file"))?;
    let Some(payload) = bytes.get(line.len()..whole) else { return Ok(Taken::Needs(whole)) };
    if head.checksum_of(line, payload) != head.checksum {
        return Err(damaged("a frame's checksum is wrong"));
    }
    let place = head.place.ok_or_else(|| damaged("a frame says nothing of the stream"))?;
    let units = &payload[place.uncounted as usize..];
    let mut at = place.offset.wrapping_sub(place.skipped.stream_bytes().unwrap_or_default());
    let mut push = |piece: &[u8]| {
        // What lies before it the reader has.
        let passed = wanted.saturating_sub(at).min(piece.len() as u64);
        out.extend_from_slice(&piece[passed as usize..]);
        at += piece.len() as u64;
    };
    place.skipped.iter().for_each(|what| push(what.bytes()));
    push(units);
    Ok(Taken::Frame(whole))
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn read_exactly(file: &dyn DiskFile, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    let mut read = 0;
    while read < bytes {
        match file.read_at(&mut buffer[read..], at + read as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => read += more,
        }
    }
    Ok(buffer)
}

impl Log {
    /// The piece of the stream that the files have, from its first byte to behind its last.
    pub(crate) fn stream_extent(&self) -> Option<(u64, u64)> {
        self.stream_files.extent()
    }

    /// Where a byte of the stream is in the files.
    pub(crate) fn find(&self, offset: u64) -> Option<Place> {
        self.stream_files.find(offset)
    }

    /// The stream's next bytes from a place in the files on.
    ///
    /// # Errors
    /// They can't be read, or are damaged. The files are not asked for them again.
    pub(crate) fn read(&mut self, place: &mut Place) -> io::Result<Found> {
        self.stream_files.read(place)
    }

    /// Keeps so many bytes of what rewrites have superseded, for those who read the stream from it.
    pub(crate) fn keep_superseded(&mut self, bytes: u64) {
        self.stream_files.keep(bytes);
    }

    /// How many bytes are kept so.
    pub(crate) fn superseded_bytes(&self) -> u64 {
        self.stream_files.superseded_bytes()
    }
}

#[cfg(test)]
mod tests;
