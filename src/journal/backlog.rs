//! The newest bytes of the stream, as chunks that readers share.
//!
//! Bytes go from the front one by one, but their memory goes a chunk at a time. A chunk of which more has
//! gone than the backlog may hold, and than is left of it, is copied, so that one huge unit doesn't stay in
//! memory for its last bytes: of a chunk at most the limit, or as much as is left of it, is held in vain.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use crate::journal::CHUNK_BYTES;

/// A tiny backlog's chunks are larger than it: more than their places in the list take.
const CHUNK_BYTES_MIN: u64 = 4096;
/// Room for so many chunks is kept.
const CHUNKS_KEPT: usize = 64;

/// Bytes that lie together.
#[derive(Debug)]
struct Chunk {
    offset: u64,
    bytes: Bytes,
    /// What the bytes take, with those in front that have gone.
    memory: usize,
}

/// The newest bytes of the stream that were sealed into chunks.
#[derive(Debug)]
pub(super) struct Backlog {
    chunks: VecDeque<Chunk>,
    /// The offset of the oldest byte.
    start: u64,
    /// The offset behind the newest.
    end: u64,
    limit: u64,
    /// What the chunks take, in bytes.
    memory: usize,
}

impl Backlog {
    /// An empty one at an offset, for `limit` bytes.
    pub(crate) fn new(limit: u64, offset: u64) -> Self {
        Self { chunks: VecDeque::new(), start: offset, end: offset, limit: limit.max(1), memory: 0 }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// How long chunks are to be.
    pub(crate) fn chunk_bytes(&self) -> usize {
        self.limit.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES as u64) as usize
    }

    pub(crate) fn set_limit(&mut self, limit: u64) {
        self.limit = limit.max(1);
    }

    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Adds a chunk, whose bytes take so much memory.
    pub(crate) fn push(&mut self, bytes: Bytes, memory: usize) {
        let offset = self.end;
        self.end += bytes.len() as u64;
        self.memory += memory;
        self.chunks.push_back(Chunk { offset, bytes, memory });
    }

    /// Lets the oldest bytes go, the stream's end being at `end`, but for those from `held` on.
    pub(crate) fn trim(&mut self, end: u64, held: Option<u64>) {
        let wanted = end.saturating_sub(self.limit).min(held.unwrap_or(u64::MAX));
        let start = wanted.max(self.start);
        self.start = start;
        while let Some(chunk) = self.chunks.front_mut() {
            let surplus = start.saturating_sub(chunk.offset);
            if surplus >= chunk.bytes.len() as u64 {
                self.memory -= chunk.memory;
                self.chunks.pop_front();
                if self.chunks.capacity() > CHUNKS_KEPT.max(4 * self.chunks.len()) {
                    self.chunks.shrink_to(CHUNKS_KEPT.max(2 * self.chunks.len()));
                }
                continue;
            }
            chunk.bytes.advance(surplus as usize);
            chunk.offset += surplus;
            let gone = chunk.memory - chunk.bytes.len();
            if gone as u64 > self.limit.max(chunk.bytes.len() as u64) {
                chunk.bytes = Bytes::copy_from_slice(&chunk.bytes);
                self.memory -= gone;
                chunk.memory = chunk.bytes.len();
            }
            break;
        }
    }

    /// The rest of the chunk that an offset is in.
    pub(crate) fn read(&self, offset: u64) -> Option<Bytes> {
        let behind = self.chunks.partition_point(|chunk| chunk.offset <= offset);
        let chunk = self.chunks.get(behind.checked_sub(1)?)?;
        let at = (offset - chunk.offset) as usize;
        (at < chunk.bytes.len()).then(|| chunk.bytes.slice(at..))
    }

    /// Memory held, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.memory + self.chunks.capacity() * size_of::<Chunk>()
    }
}
