//! The big form of hashes, sets and sorted sets: keys, each with what belongs to it, found by hash.
//!
//! Entries lie in an `arena`; what finds them is an extendible hash index of `segment`s, whose
//! buckets hold a fingerprint and a [`Handle`] for each. The directory maps the top bits of a hash to
//! a segment. Nothing ever happens all at once: a segment that is full splits, two that are sparse
//! merge, one chunk of the arena is emptied at a time, and only the directory doubles, which is a
//! word for every few hundred keys.
//!
//! A [`Frozen`] view shows the keys of one moment to another thread while the table goes on changing;
//! it shares the arena's chunks until they change, and needs no index.
//!
//! Deliberately absent: what order a sorted set has (its tree keeps handles, see [`Table::take_moves`])
//! and when a hash's fields expire (the table only keeps each field's time).

mod arena;
mod segment;

#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use crate::base::env::Rng;

use arena::Arena;
use segment::{DEPTH_MAX, Segment, home_of};

#[cfg(test)]
pub(crate) use arena::lowered;
pub(crate) use arena::{Body, Handle, Room};
pub use arena::{Entry, Iter, Shape};

/// Two buddies with no more keys than this become one.
const MERGE_MAX: usize = segment::SLOTS_MAX * 5 / 8;
/// A segment with fewer keys looks at its buddy.
const SPARSE_MAX: usize = segment::SLOTS_MAX / 4;
/// Tries of a sample before the table is walked instead.
const SAMPLE_TRIES: usize = 2_000;
/// A scan looks at so many buckets for each key it was asked for, found or not...
const BUCKETS_PER_KEY: usize = 10;
/// ...but always at as many as a segment has, so that one call covers a table of one segment that
/// holds fewer keys than were asked for. A segment without keys counts as one bucket.
const BUCKETS_MIN: usize = segment::BUCKETS;

/// The hash's key: another in each process, so that nobody can choose keys that collide.
static HASHER: LazyLock<ahash::RandomState> = LazyLock::new(|| {
    let mut rng = Rng::from_os();
    let [a, b, c, d] = std::array::from_fn(|_| rng.next_u64());
    ahash::RandomState::with_seeds(a, b, c, d)
});

/// See the file's head.
#[derive(Clone)]
pub struct Table {
    arena: Arena,
    segments: Vec<Segment>,
    /// Places in `segments` that are free.
    vacant: Vec<u32>,
    /// The segment of each prefix of `depth` bits.
    directory: Vec<u32>,
    depth: u32,
    len: usize,
    /// Bytes of all segments.
    segment_bytes: usize,
    /// Keys that found no slot in their segments.
    spilled: usize,
    /// Entries that moved: from where to where, where anybody keeps handles.
    moves: Vec<(Handle, Handle)>,
    hash: fn(&[u8]) -> u64,
}

fn keyed_hash(key: &[u8]) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = HASHER.build_hasher();
    hasher.write(key);
    hasher.finish()
}

impl Table {
    /// An empty table of entries of a shape.
    pub(crate) fn new(shape: Shape) -> Self {
        Self::with_hash(shape, keyed_hash)
    }

    fn with_hash(shape: Shape, hash: fn(&[u8]) -> u64) -> Self {
        let first = Segment::new(1, 0);
        Self {
            arena: Arena::new(shape),
            segment_bytes: first.heap_bytes(),
            segments: vec![first],
            vacant: Vec::new(),
            directory: vec![0],
            depth: 0,
            len: 0,
            spilled: 0,
            moves: Vec::new(),
            hash,
        }
    }

    /// How many keys there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether nothing more may be added.
    #[inline]
    pub(crate) fn is_full(&self, room: Room) -> bool {
        self.arena.is_full(room)
    }

    /// Bytes of heap.
    #[inline]
    pub(crate) fn heap_bytes(&self) -> usize {
        self.arena.heap_bytes()
            + self.segment_bytes
            + self.segments.capacity() * size_of::<Segment>()
            + (self.directory.capacity() + self.vacant.capacity()) * size_of::<u32>()
            + self.moves.capacity() * size_of::<(Handle, Handle)>()
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "at most DEPTH_MAX bits are left")]
    fn slot_of(&self, hash: u64) -> usize {
        if self.depth == 0 { 0 } else { (hash >> (64 - self.depth)) as usize }
    }

    #[inline]
    fn segment_of(&self, hash: u64) -> usize {
        self.directory[self.slot_of(hash)] as usize
    }

    /// The place of a key's entry.
    #[inline]
    pub(crate) fn find(&self, key: &[u8]) -> Option<Handle> {
        let hash = (self.hash)(key);
        let segment = &self.segments[self.segment_of(hash)];
        segment.find(hash, |handle| self.arena.get(handle).key() == key)
    }

    /// A key's entry.
    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Option<Entry<'_>> {
        self.find(key).map(|handle| self.arena.get(handle))
    }

    /// The entry at a place.
    #[inline]
    pub(crate) fn at(&self, handle: Handle) -> Entry<'_> {
        self.arena.get(handle)
    }

    /// Puts a key with its body, in the place of the old body if it is there already; says whether it
    /// is new, and where its entry is.
    pub(crate) fn put(&mut self, key: &[u8], body: &Body<'_>) -> (Handle, bool) {
        let hash = (self.hash)(key);
        let index = self.segment_of(hash);
        let found = self.segments[index].find(hash, |handle| self.arena.get(handle).key() == key);
        if let Some(old) = found {
            let new = self.arena.replace(old, key, body);
            if new != old {
                self.segments[index].rehandle(hash, old, new);
                self.note_move(old, new);
                self.tidy();
            }
            return (new, false);
        }
        let handle = self.arena.add(key, body);
        self.place(hash, handle);
        self.len += 1;
        (handle, true)
    }

    /// Changes a member's score where its entry is.
    pub(crate) fn set_score(&mut self, handle: Handle, score: f64) {
        self.arena.set_score(handle, score);
    }

    /// Removes a key; says where its entry was.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<Handle> {
        let hash = (self.hash)(key);
        let index = self.segment_of(hash);
        let handle = self.segments[index].find(hash, |at| self.arena.get(at).key() == key)?;
        self.spilled -= usize::from(self.segments[index].remove(hash, handle));
        self.arena.remove(handle);
        self.len -= 1;
        self.shrink(hash);
        self.tidy();
        Some(handle)
    }

    /// A sorted set's entries that moved since this was asked last, in order: their old and new
    /// places. The old ones can still be read until [`Table::let_go`], and must not be afterwards.
    #[inline]
    pub(crate) fn take_moves(&mut self) -> Vec<(Handle, Handle)> {
        std::mem::take(&mut self.moves)
    }

    /// Says that nobody has old handles any more.
    #[inline]
    pub(crate) fn let_go(&mut self) {
        self.arena.let_go();
    }

    /// Gives a chunk of the arena back where much of it is dead.
    fn tidy(&mut self) {
        let Some(handles) = self.arena.most_dead() else { return };
        for old in handles {
            let hash = (self.hash)(self.arena.get(old).key());
            let new = self.arena.relocate(old);
            let index = self.segment_of(hash);
            self.segments[index].rehandle(hash, old, new);
            self.note_move(old, new);
        }
        if self.arena.shape() != Shape::Scores {
            self.arena.let_go();
        }
    }

    /// Only a sorted set's tree keeps handles.
    fn note_move(&mut self, old: Handle, new: Handle) {
        if self.arena.shape() == Shape::Scores {
            self.moves.push((old, new));
        }
    }

    /// Finds a slot for a handle that has none.
    fn place(&mut self, hash: u64, handle: Handle) {
        loop {
            let index = self.segment_of(hash);
            let segment = &mut self.segments[index];
            if segment.insert(hash, handle) {
                return;
            }
            if segment.is_growing() {
                self.grow(index);
            } else if segment.is_crowded() && segment.depth() < DEPTH_MAX {
                self.split(hash);
            } else {
                // Hashes that collide; no split would part them.
                segment.spill(hash, handle);
                self.spilled += 1;
                return;
            }
        }
    }

    /// Puts a segment's handles into others that take its place.
    fn refill(&mut self, handles: Vec<Handle>) {
        for handle in handles {
            let hash = (self.hash)(self.arena.get(handle).key());
            let index = self.segment_of(hash);
            if !self.segments[index].insert(hash, handle) {
                self.segments[index].spill(hash, handle);
                self.spilled += 1;
            }
        }
    }

    fn replace_segment(&mut self, index: usize, new: Segment) -> Vec<Handle> {
        let old = std::mem::replace(&mut self.segments[index], new);
        self.segment_bytes += self.segments[index].heap_bytes();
        self.segment_bytes -= old.heap_bytes();
        self.spilled -= old.spilled();
        old.into_handles()
    }

    /// A small segment becomes a larger one.
    fn grow(&mut self, index: usize) {
        let new = self.segments[index].larger();
        let handles = self.replace_segment(index, new);
        self.refill(handles);
    }

    /// A full segment becomes two.
    #[cold]
    fn split(&mut self, hash: u64) {
        let index = self.segment_of(hash);
        let depth = self.segments[index].depth();
        if depth == self.depth {
            self.directory = self.directory.iter().flat_map(|segment| [*segment; 2]).collect();
            self.depth += 1;
        }
        let handles = self.replace_segment(index, Segment::full_size(depth + 1));
        let second = self.add_segment(Segment::full_size(depth + 1));
        let (start, span) = self.span_of(hash, depth);
        self.directory[start + span / 2..start + span].fill(second);
        self.refill(handles);
    }

    /// Where the segment of a hash and a depth is in the directory: from where, and how often.
    fn span_of(&self, hash: u64, depth: u32) -> (usize, usize) {
        let span = 1 << (self.depth - depth);
        (self.slot_of(hash) & !(span - 1), span)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "no more than the directory's 2^24 entries"
    )]
    fn add_segment(&mut self, segment: Segment) -> u32 {
        self.segment_bytes += segment.heap_bytes();
        if let Some(number) = self.vacant.pop() {
            self.segments[number as usize] = segment;
            return number;
        }
        self.segments.push(segment);
        self.segments.len() as u32 - 1
    }

    /// Merges the segment of a hash with its buddy, or makes it smaller, where it has become sparse.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "no more than the directory's 2^24 entries"
    )]
    fn shrink(&mut self, hash: u64) {
        let index = self.segment_of(hash);
        let (count, depth) = (self.segments[index].count(), self.segments[index].depth());
        if depth == 0 {
            if let Some(smaller) = self.segments[index].smaller() {
                let handles = self.replace_segment(index, smaller);
                self.refill(handles);
            }
            return;
        }
        if count > SPARSE_MAX {
            return;
        }
        let (start, span) = self.span_of(hash, depth);
        let buddy = self.directory[start ^ span] as usize;
        if self.segments[buddy].depth() != depth || count + self.segments[buddy].count() > MERGE_MAX
        {
            return;
        }
        let mut handles = self.replace_segment(index, Segment::full_size(depth - 1));
        handles.extend(self.replace_segment(buddy, Segment::default()));
        self.vacant.push(buddy as u32);
        let start = start & !span;
        self.directory[start..start + 2 * span].fill(index as u32);
        self.refill(handles);
        self.halve();
    }

    /// Halves the directory as long as nothing needs its last bit.
    fn halve(&mut self) {
        let live = self.segments.len() - self.vacant.len();
        while self.depth > 0
            && (live == 1 || self.directory.len() > 4 * live)
            && self.directory.chunks(2).all(|pair| pair[0] == pair[1])
        {
            self.directory = self.directory.iter().copied().step_by(2).collect();
            self.depth -= 1;
        }
        if self.depth == 0 {
            // One segment is left: the memory of the others' places goes, too.
            let last = self.directory[0] as usize;
            self.segments.swap(0, last);
            self.segments.truncate(1);
            self.segments.shrink_to_fit();
            self.directory = vec![0];
            self.vacant = Vec::new();
        }
    }

    /// All entries, in no order.
    pub(crate) fn iter(&self) -> Iter<'_> {
        self.arena.iter()
    }

    /// Visits about `count` entries from `cursor` on and returns the next cursor; 0 is both start and
    /// end. A key that is there from the first call to the last is visited exactly once, whatever
    /// else changes. A table with fewer keys than `count` in one segment takes one call.
    pub(crate) fn scan(&self, cursor: u64, count: usize, mut each: impl FnMut(Entry<'_>)) -> u64 {
        // Positions are borders between buckets, which no hash's lowest bit decides: shifted by one
        // they fit a positive signed number.
        let mut position = cursor << 1;
        let mut found = 0;
        for _ in 0..count.saturating_mul(BUCKETS_PER_KEY).max(BUCKETS_MIN) {
            let segment = &self.segments[self.segment_of(position)];
            if segment.count() == 0 {
                position = segment.end_position(position);
                if position == 0 {
                    break;
                }
                continue;
            }
            let home = home_of(position, segment.depth(), segment.buckets());
            segment.for_each_near(home, |handle| {
                let entry = self.arena.get(handle);
                let hash = (self.hash)(entry.key());
                if hash >= position && home_of(hash, segment.depth(), segment.buckets()) == home {
                    each(entry);
                    found += 1;
                }
            });
            position = segment.next_position(position);
            if position == 0 || found >= count {
                break;
            }
        }
        if cursor == 0 && found == self.len {
            // What is behind the last key is empty.
            return 0;
        }
        position >> 1
    }

    /// One of the entries, each with the same chance.
    pub(crate) fn sample(&self, rng: &mut Rng) -> Option<Entry<'_>> {
        if self.len == 0 {
            return None;
        }
        if self.spilled > 0 && rng.below(self.len as u64) < self.spilled as u64 {
            let mut spilled = self.segments.iter().flat_map(Segment::spilled_handles);
            let handle = spilled.nth(rng.index(self.spilled));
            return handle.map(|handle| self.arena.get(handle));
        }
        // All segments but a single one have as many slots, so that each slot is met with the same
        // chance where each segment is.
        for _ in 0..SAMPLE_TRIES {
            let slot = rng.index(self.directory.len());
            let segment = &self.segments[self.directory[slot] as usize];
            let span = 1 << (self.depth - segment.depth());
            if slot & (span - 1) != 0 {
                continue;
            }
            if let Some(handle) = segment.sample(rng) {
                return Some(self.arena.get(handle));
            }
        }
        self.arena.iter().nth(rng.index(self.len))
    }

    /// The entries as they are now, for another thread.
    pub(crate) fn freeze(&self) -> Frozen {
        Frozen { arena: self.arena.clone(), len: self.len }
    }
}

impl<'a> IntoIterator for &'a Table {
    type Item = Entry<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a Frozen {
    type Item = Entry<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("len", &self.len).finish_non_exhaustive()
    }
}

/// The entries of a table as they were at one moment.
#[derive(Debug)]
pub struct Frozen {
    arena: Arena,
    len: usize,
}

impl Frozen {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All entries, in no order.
    pub(crate) fn iter(&self) -> Iter<'_> {
        self.arena.iter()
    }
}
