//! The journal: every change as one numbered stream of bytes, which log, backlog and replicas read.
//!
//! ```text
//!  commit ─► append / append_unit ─┐             ┌─► log writer   (what was sealed, as one frame)
//!  primary's link ─► append_raw ───┼─► open ─seal┤
//!  cron ─► append_unlogged ────────┘   block     └─► backlog      (chunks, shared) ◄─ cursors
//! ```
//! **The stream** is exactly Redis's replication stream: SELECT where the database changes, commands,
//! MULTI and EXEC around units of several, now and then PING and REPLCONF GETACK. The *offset* counts
//! its bytes and nothing else; what only a log file needs (annotations, the SELECT that each file begins
//! with) is not in it. PING and GETACK are in the stream but not worth a place on the disk: a frame of
//! the log notes in its header what stood before it ([`skipped`]), so that the bytes can be made again.
//!
//! **The history** is a random id: the same id and offset mean the same data. It ends, and another
//! begins, wherever that could become untrue:
//! - at a start: bytes that replicas saw may be gone with a crash. The new history goes on from what was
//!   recovered; the old id stays valid up to there ([`History::previous`], `master_replid2`), so that
//!   replicas go on partially. That is what upstream does after a clean end;
//! - when changes went unrecorded, see below.
//!
//! **Recording.** With neither a log nor a backlog nobody could read the stream, so it stands still:
//! changes are not encoded, which is why a server without a log pays nothing for the journal. When
//! somebody wants it again, a new history begins at the offset reached. (Upstream, too, gives itself a new
//! id whenever it makes a backlog from nothing.) While it stands still, no snapshot tells a position.
//!
//! **A tick** ends with [`Journal::seal`]: what was appended since the last goes to the log in one piece, and
//! may be read by cursors from then on. Without a backlog the block is then empty again and its memory is
//! reused; with one it grows to [`CHUNK_BYTES`] and becomes a chunk, whose bytes all replicas share: what
//! falls behind is held once. (Of the block, which is small, each gets a copy.) Cursors hold an offset
//! and no memory: one that falls behind the backlog is told so
//! ([`Read::Gone`]) and has to go on in the log's files.
//!
//! Invariants: the backlog's start <= `sealed_end()` <= `offset()`; a sealed byte never changes; units
//! are sealed whole. Deliberately absent: files, sockets, and what a command means.

mod backlog;
pub(crate) mod encode;
pub(crate) mod history;
pub mod skipped;

use bytes::Bytes;

pub(crate) use crate::journal::history::History;
pub use crate::journal::history::{Previous, ReplicationId, StreamPosition};
pub use crate::journal::skipped::Unlogged;

use crate::base::text;
use crate::journal::backlog::Backlog;
use crate::journal::encode::{EXEC, MULTI, push_select};

/// The block becomes a chunk of the backlog when it has grown to this.
pub(crate) const CHUNK_BYTES: usize = 64 << 10;
/// The largest offset at which a stream may begin: peers read offsets as signed numbers, and no stream
/// gets from here to their end.
const OFFSET_MAX: u64 = 1 << 62;
/// The block keeps up to this much room between ticks.
const BLOCK_KEPT_BYTES: usize = 1 << 20;

/// The offset at which a stream begins, as a peer or a file names it; nothing where none can begin there.
pub(crate) fn parse_offset(word: &[u8]) -> Option<u64> {
    text::parse_u64(word).filter(|offset| *offset <= OFFSET_MAX)
}

/// The stream, as far as it is in memory.
#[derive(Debug)]
pub struct Journal {
    history: History,
    recording: Recording,
    /// The newest bytes; the first `sealed` of them are final.
    open: Vec<u8>,
    sealed: usize,
    /// The offset of the block's first byte.
    open_start: u64,
    /// The database that the stream has selected, and had when it was last sealed.
    selected: Option<u32>,
    selected_sealed: Option<u32>,
    /// What was appended since the last seal that is not for the log.
    marks: Vec<Mark>,
    /// Where the last unit ended that was sealed.
    units_end: u64,
    backlog: Option<Backlog>,
    /// The oldest byte that a reader needs: the backlog keeps it whatever its size.
    held: Option<u64>,
}

/// Whether changes are appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recording {
    /// They are.
    On,
    /// Nobody has asked for it yet, and nothing has changed.
    NotYet,
    /// They are not: the history is broken.
    Off,
}

/// Bytes of the block that are not for the log.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: usize,
    what: Unlogged,
    /// The database that was selected there.
    db: Option<u32>,
}

/// What was appended between two seals.
#[derive(Debug)]
pub struct Sealed<'a> {
    offset: u64,
    start: usize,
    bytes: &'a [u8],
    db: Option<u32>,
    marks: &'a [Mark],
}

/// A piece of [`Sealed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SealedPart<'a> {
    /// Whole units.
    Units {
        /// Where they begin in the stream.
        offset: u64,
        /// The database selected before them.
        db: Option<u32>,
        /// They themselves.
        bytes: &'a [u8],
    },
    /// Something that the log only notes.
    Unlogged(Unlogged),
}

impl<'a> Sealed<'a> {
    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The pieces in order; nearly always one.
    pub(crate) fn parts(&self) -> impl Iterator<Item = SealedPart<'a>> {
        let (start, bytes, offset) = (self.start, self.bytes, self.offset);
        let units = move |from: usize, to: usize, db| {
            (from < to).then(|| SealedPart::Units {
                offset: offset + from as u64,
                db,
                bytes: &bytes[from..to],
            })
        };
        let mut at = 0;
        let mut db = self.db;
        let marked = self.marks.iter().flat_map(move |mark| {
            let from = std::mem::replace(&mut at, mark.at - start + mark.what.bytes().len());
            let before = units(from, mark.at - start, std::mem::replace(&mut db, mark.db));
            before.into_iter().chain([SealedPart::Unlogged(mark.what)])
        });
        let last = self.marks.last();
        let rest = last.map_or(0, |mark| mark.at - start + mark.what.bytes().len());
        marked.chain(units(rest, bytes.len(), last.map_or(self.db, |mark| mark.db)))
    }
}

/// What a cursor finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// Bytes from the cursor's offset on.
    Chunk(Bytes),
    /// It has everything that is sealed.
    CaughtUp,
    /// What it wants is not in memory, or not yet in the stream.
    Gone,
}

/// A reader's place. It costs the journal nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The offset of the next byte that it wants.
    pub offset: u64,
}

impl Cursor {
    /// The next bytes; the cursor is then behind them.
    pub fn next(&mut self, journal: &mut Journal) -> Read {
        let read = journal.read(self.offset);
        if let Read::Chunk(bytes) = &read {
            self.offset += bytes.len() as u64;
        }
        read
    }
}

impl Journal {
    /// A journal at the beginning of a history that nobody reads.
    pub fn new(id: ReplicationId) -> Self {
        Self {
            history: History { id, previous: None, is_shared: false },
            recording: Recording::NotYet,
            open: Vec::new(),
            sealed: 0,
            open_start: 0,
            selected: None,
            selected_sealed: None,
            marks: Vec::new(),
            units_end: 0,
            backlog: None,
            held: None,
        }
    }

    /// Goes on from what was recovered, under a new id; the old one is valid up to there. Before anything
    /// is appended.
    pub fn resume(&mut self, id: ReplicationId, recovered: Option<StreamPosition>) {
        let (offset, previous) = match recovered {
            None => (0, None),
            Some(StreamPosition { id, offset }) => (offset, Some(Previous { id, end: offset })),
        };
        self.adopt(StreamPosition { id, offset });
        self.history.previous = previous;
    }

    /// Goes on at a place in a primary's history: the data is what the primary had there. Who reads is
    /// to be said anew ([`Journal::set_recording`]).
    pub(crate) fn adopt(&mut self, position: StreamPosition) {
        let StreamPosition { id, offset } = position;
        *self = Self {
            open_start: offset,
            units_end: offset,
            backlog: self.backlog.take().map(|backlog| Backlog::new(backlog.limit(), offset)),
            ..Self::new(id)
        };
    }

    /// Goes on under another name: the old one is valid up to here.
    pub(crate) fn rename(&mut self, id: ReplicationId) {
        let StreamPosition { id: old, offset: end } = self.end();
        self.history = History { id, previous: Some(Previous { id: old, end }), is_shared: false };
    }

    /// The history's name, for another server to be told; or another server has told it to us. From now on
    /// others may know it ([`History::is_shared`]).
    pub(crate) fn share_name(&mut self) -> ReplicationId {
        self.history.is_shared = true;
        self.history.id
    }

    // ---- what goes in

    /// Adds a command that is a unit of its own.
    #[inline]
    pub fn append(&mut self, db: u32, record: &[u8]) {
        debug_assert!(self.is_recording(), "nobody reads what is appended");
        self.select(db);
        self.open.extend_from_slice(record);
    }

    /// Adds commands that are one unit.
    pub fn append_unit<'a>(&mut self, records: impl Iterator<Item = (u32, &'a [u8])>) {
        debug_assert!(self.is_recording(), "nobody reads what is appended");
        let mut records = records.peekable();
        let Some(&(db, _)) = records.peek() else { return };
        // Before MULTI, so that a transaction that stays in one database holds only its commands.
        self.select(db);
        self.open.extend_from_slice(MULTI);
        for (db, record) in records {
            self.select(db);
            self.open.extend_from_slice(record);
        }
        self.open.extend_from_slice(EXEC);
    }

    /// Adds whole units of a primary's stream as they came. `db` is the database that is selected behind
    /// them. The caller has taken out what is not for the log ([`Journal::append_unlogged`]).
    pub(crate) fn append_raw(&mut self, units: &[u8], db: Option<u32>) {
        debug_assert!(self.is_recording(), "nobody reads what is appended");
        self.open.extend_from_slice(units);
        self.selected = db;
    }

    /// Adds what replicas get and the log only notes. Between units.
    pub fn append_unlogged(&mut self, what: Unlogged) {
        if self.is_recording() {
            self.marks.push(Mark { at: self.open.len(), what, db: self.selected });
            self.open.extend_from_slice(what.bytes());
        }
    }

    #[inline]
    fn select(&mut self, db: u32) {
        if self.selected != Some(db) {
            push_select(&mut self.open, db);
            self.selected = Some(db);
        }
    }

    /// Before a primary's units are added: the database that its stream has selected, where that isn't
    /// known yet (after a start, a full sync).
    #[inline]
    pub(crate) fn assume_selected(&mut self, db: u32) {
        if self.selected.is_none() {
            self.selected = Some(db);
            if self.sealed == self.open.len() {
                self.selected_sealed = Some(db);
            }
        }
    }

    /// Has the next unit say its database: somebody begins to read there (a full sync).
    pub(crate) fn forget_selected(&mut self) {
        self.selected = None;
    }

    /// The end of a tick: hands what was appended since the last to the log's writer.
    #[inline]
    pub fn seal<R>(&mut self, write: impl FnOnce(Sealed<'_>) -> R) -> R {
        let result = write(Sealed {
            offset: self.open_start + self.sealed as u64,
            start: self.sealed,
            bytes: &self.open[self.sealed..],
            db: self.selected_sealed,
            marks: &self.marks,
        });
        if self.sealed != self.open.len() {
            self.retire();
        }
        result
    }

    /// What is sealed becomes the backlog's, or goes.
    fn retire(&mut self) {
        self.units_end = self.units_end();
        self.selected_sealed = self.selected;
        self.marks.clear();
        self.sealed = self.open.len();
        match &self.backlog {
            None => self.begin_block(),
            Some(backlog) => {
                if self.sealed >= backlog.chunk_bytes() {
                    self.freeze();
                }
                self.trim();
            }
        }
    }

    /// Makes chunks of the block, all of which is sealed: of one size, which the allocator hands out without
    /// waste; what is left over stays.
    fn freeze(&mut self) {
        let Some(backlog) = &mut self.backlog else { return };
        let len = self.open.len();
        if len > BLOCK_KEPT_BYTES {
            let block = std::mem::take(&mut self.open);
            let capacity = block.capacity();
            backlog.push(Bytes::from(block), capacity);
            self.open_start += len as u64;
            self.sealed = 0;
            return;
        }
        let size = backlog.chunk_bytes();
        let frozen = len - len % size;
        for chunk in self.open[..frozen].chunks(size) {
            backlog.push(Bytes::copy_from_slice(chunk), size);
        }
        self.open.drain(..frozen);
        self.open_start += frozen as u64;
        self.sealed = self.open.len();
    }

    /// Goes on with an empty block behind the one that was, all of which is sealed.
    fn begin_block(&mut self) {
        self.open_start += self.open.len() as u64;
        self.sealed = 0;
        self.open.clear();
        if self.open.capacity() > BLOCK_KEPT_BYTES {
            self.open = Vec::new();
        }
    }

    fn trim(&mut self) {
        let (end, held) = (self.sealed_end(), self.held);
        if let Some(backlog) = &mut self.backlog {
            backlog.trim(end, held);
        }
    }

    /// Has the backlog keep what lies behind an offset, for a reader that is to come to it; nothing
    /// where no reader is behind. How much that may be is the caller's to bound.
    pub(crate) fn hold(&mut self, from: Option<u64>) {
        self.held = from;
        self.trim();
    }

    // ---- who reads

    /// Whether changes are to be appended.
    pub(crate) fn is_recording(&self) -> bool {
        self.recording == Recording::On
    }

    /// Whether nobody has read for a while: the data may have changed since, and its place tells nothing.
    pub(crate) fn is_broken(&self) -> bool {
        self.recording == Recording::Off
    }

    /// Says whether anybody reads: a log, or replicas by the backlog. Where the stream stood still
    /// meanwhile, a history begins with an id that `fresh` makes.
    pub fn set_recording(&mut self, on: bool, fresh: impl FnOnce() -> ReplicationId) {
        if on && self.recording == Recording::Off {
            self.history = History { id: fresh(), previous: None, is_shared: false };
            self.selected = None;
        }
        self.recording = if on { Recording::On } else { Recording::Off };
    }

    /// Keeps so many of the newest bytes from now on; where there is a backlog, changes its size.
    pub(crate) fn keep_backlog(&mut self, limit: u64) {
        let end = self.sealed_end();
        match &mut self.backlog {
            Some(backlog) => backlog.set_limit(limit),
            None => {
                // What of the block is sealed was before its time.
                self.open.drain(..self.sealed);
                self.open_start = end;
                for mark in &mut self.marks {
                    mark.at -= self.sealed;
                }
                self.sealed = 0;
                self.backlog = Some(Backlog::new(limit, end));
            }
        }
        self.trim();
    }

    /// Changes the size of the backlog where there is one (`repl-backlog-size`).
    pub(crate) fn resize_backlog(&mut self, limit: u64) {
        if self.backlog.is_some() {
            self.keep_backlog(limit);
        }
    }

    /// Frees the backlog.
    pub(crate) fn drop_backlog(&mut self) {
        self.backlog = None;
    }

    /// Bytes from an offset on, as many as lie together. The newest, which are no chunk yet, are copied.
    pub(crate) fn read(&self, offset: u64) -> Read {
        let end = self.sealed_end();
        let Some(backlog) = &self.backlog else { return Read::Gone };
        if offset < backlog.start() || offset > end {
            return Read::Gone;
        }
        if offset == end {
            return Read::CaughtUp;
        }
        if offset >= self.open_start {
            let at = (offset - self.open_start) as usize;
            return Read::Chunk(Bytes::copy_from_slice(&self.open[at..self.sealed]));
        }
        backlog.read(offset).map_or(Read::Gone, Read::Chunk)
    }

    // ---- what is known

    /// The history in force.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Gives the history a new id; the old one means nothing any more (DEBUG CHANGE-REPL-ID).
    pub(crate) fn change_id(&mut self, id: ReplicationId) {
        self.history = History { id, previous: None, is_shared: false };
    }

    /// Bytes of the stream (`master_repl_offset`).
    #[inline]
    pub fn offset(&self) -> u64 {
        self.open_start + self.open.len() as u64
    }

    /// Where its last unit ends: what is behind it are words for replicas ([`Unlogged`]), which change
    /// nothing.
    pub(crate) fn units_end(&self) -> u64 {
        let mut end = self.open.len();
        for mark in self.marks.iter().rev() {
            if mark.at + mark.what.bytes().len() != end {
                break;
            }
            end = mark.at;
        }
        if end > self.sealed { self.open_start + end as u64 } else { self.units_end }
    }

    /// Where the data stands now, between units. Nothing where the stream doesn't follow it.
    pub fn position(&self) -> Option<StreamPosition> {
        self.is_recording().then(|| self.end())
    }

    /// The stream's end, whether it follows the data or not.
    pub fn end(&self) -> StreamPosition {
        StreamPosition { id: self.history.id, offset: self.offset() }
    }

    /// The database that the stream has selected, if any.
    pub(crate) fn selected(&self) -> Option<u32> {
        self.selected
    }

    /// Whether there is a backlog.
    pub fn has_backlog(&self) -> bool {
        self.backlog.is_some()
    }

    /// The offset of the oldest byte in the backlog, and how many there are; nothing without one.
    pub fn backlog_extent(&self) -> Option<(u64, u64)> {
        let start = self.backlog.as_ref()?.start();
        Some((start, self.sealed_end() - start))
    }

    /// Memory that the backlog holds, in bytes.
    pub(crate) fn backlog_memory(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.memory() + self.open.capacity())
    }

    /// The offset behind the last byte that cursors may read.
    #[inline]
    pub(crate) fn sealed_end(&self) -> u64 {
        self.open_start + self.sealed as u64
    }
}

#[cfg(test)]
mod tests;
