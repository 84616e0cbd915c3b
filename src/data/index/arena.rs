//! Where the entries of a big collection lie: chunks of memory filled from one end.
//!
//! ```text
//! | flags 1 | key length 1-2 | [value length 1-2] | [score 8] | [expiry 8] | key | [value] | padding
//!
//! flags  0  dead    1  it expires    2, 3  two bytes of key, value length
//!        4, 5  the key, the value is elsewhere: its 4 bytes are its number among the long ones
//! ```
//!
//! An entry begins at a multiple of 4 bytes, and its handle is its place in those units over all
//! chunks; it stays valid until the entry is removed or moved. What is removed is marked dead; a chunk
//! with nothing alive goes, and where a quarter of all is dead, the chunk with the most is emptied into
//! others ([`Arena::most_dead`]).
//!
//! Chunks are shared with frozen views: whoever changes one that is shared copies it first, so a view
//! costs one counter for each chunk and never sees a change. Long keys and values are shared the same
//! way, in blocks.

use std::sync::Arc;

use crate::base::courtesy;
use crate::base::env::UnixMillis;

/// Bytes of a unit.
const UNIT: usize = 4;
/// Bytes of a full chunk's data: with the counters before it, one of the allocator's sizes.
const CHUNK_BYTES: usize = 14 * 1024 - 16;
/// Units of a full chunk.
#[expect(clippy::cast_possible_truncation, reason = "3,580")]
const CHUNK_UNITS: u32 = (CHUNK_BYTES / UNIT) as u32;
/// The first chunk begins with so many bytes and grows.
const FIRST_BYTES: usize = 256;
/// The longest key or value that lies in the entry itself.
const INLINE_MAX: usize = 2048;
/// Long keys or values in one block.
const LONG_BLOCK: usize = 256;

/// Chunks whose places fit into a handle: 16 GiB.
const CHUNKS_MAX: usize = (u32::MAX / CHUNK_UNITS) as usize;
/// Those that emptying a chunk may take before it gives one back.
const CHUNKS_SPARE: usize = 4;
/// Chunks in use from which on nothing is added for a client: half of all. One request is shorter
/// than 4 GiB, so that it fits behind that with all that a chunk leaves unused; and what clients could
/// put in finds room again when it is loaded in another order.
const CHUNKS_USUAL: usize = CHUNKS_MAX / 2;

const DEAD: u8 = 1;
const EXPIRES: u8 = 1 << 1;
const KEY_WIDE: u8 = 1 << 2;
const VALUE_WIDE: u8 = 1 << 3;
const KEY_LONG: u8 = 1 << 4;
const VALUE_LONG: u8 = 1 << 5;

/// How far a collection may grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Room {
    /// As far as clients may have it grow: to 8 GiB of short elements.
    #[default]
    Usual,
    /// As far as it can: for what is loaded.
    All,
}

impl Room {
    fn chunks(self) -> usize {
        #[cfg(test)]
        if let Some(chunks) = lowered::get() {
            return if self == Self::Usual { chunks } else { 2 * chunks };
        }
        match self {
            Self::Usual => CHUNKS_USUAL,
            Self::All => CHUNKS_MAX - CHUNKS_SPARE,
        }
    }
}

/// A lower limit, for tests of what happens at it.
#[cfg(test)]
pub(crate) mod lowered {
    use std::cell::Cell;

    thread_local!(static CHUNKS: Cell<Option<usize>> = const { Cell::new(None) });

    pub(super) fn get() -> Option<usize> {
        CHUNKS.get()
    }

    /// Lets clients have so many chunks in this thread, and loading twice as many.
    pub(crate) fn set(chunks: Option<usize>) {
        CHUNKS.set(chunks);
    }
}

/// An entry's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Handle(pub u32);

/// What belongs to a key.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Body<'a> {
    /// A field's value.
    pub value: &'a [u8],
    /// A member's score.
    pub score: f64,
    /// When a field expires.
    pub expiry: Option<UnixMillis>,
}

/// Which parts entries have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Keys alone: a set.
    Members,
    /// Values and, where they have one, expiry times: a hash.
    Fields,
    /// Scores: a sorted set.
    Scores,
}

#[derive(Clone, Debug)]
struct Chunk {
    data: Arc<[u8]>,
    /// Units taken, dead ones included.
    used: u32,
    dead: u32,
}

impl Drop for Chunk {
    fn drop(&mut self) {
        courtesy::give_way();
    }
}

/// Keys and values too long for a chunk.
#[derive(Clone, Debug, Default)]
struct Long {
    blocks: Vec<Arc<Vec<Option<Arc<[u8]>>>>>,
    free: Vec<u32>,
    bytes: usize,
}

impl Long {
    fn get(&self, number: u32) -> &[u8] {
        let block = &self.blocks[number as usize / LONG_BLOCK];
        block[number as usize % LONG_BLOCK].as_deref().unwrap_or_default()
    }

    #[expect(clippy::cast_possible_truncation, reason = "each takes 2 KiB: memory has no 2^32")]
    fn add(&mut self, bytes: &[u8]) -> u32 {
        if self.free.is_empty() {
            let first = (self.blocks.len() * LONG_BLOCK) as u32;
            self.blocks.push(Arc::new(vec![None; LONG_BLOCK]));
            self.free.extend((first..first + LONG_BLOCK as u32).rev());
        }
        let Some(number) = self.free.pop() else { unreachable!("a block was added") };
        self.put(number, Some(bytes.into()));
        number
    }

    fn put(&mut self, number: u32, bytes: Option<Arc<[u8]>>) {
        let block = Arc::make_mut(&mut self.blocks[number as usize / LONG_BLOCK]);
        let place = &mut block[number as usize % LONG_BLOCK];
        let size = |bytes: &Option<Arc<[u8]>>| bytes.as_ref().map_or(0, |bytes| bytes.len() + 16);
        self.bytes = self.bytes + size(&bytes) - size(place);
        *place = bytes;
    }

    fn remove(&mut self, number: u32) {
        self.put(number, None);
        self.free.push(number);
        if self.free.len() == self.blocks.len() * LONG_BLOCK {
            *self = Self::default();
        }
    }

    fn heap_bytes(&self) -> usize {
        self.bytes
            + self.blocks.len() * (LONG_BLOCK * size_of::<Option<Arc<[u8]>>>() + 48)
            + self.free.capacity() * size_of::<u32>()
    }
}

/// See the file's head.
#[derive(Clone, Debug)]
pub(super) struct Arena {
    shape: Shape,
    chunks: Vec<Chunk>,
    /// The chunk that is being filled.
    current: usize,
    /// Chunks without memory, to be used again.
    empty: Vec<u32>,
    /// A chunk whose entries have all moved, but whose bytes are still looked at under their old
    /// handles.
    left_behind: Option<usize>,
    long: Long,
    /// Bytes of all chunks.
    bytes: usize,
    /// Units taken in all chunks, and those of them that are dead.
    used: u64,
    dead: u64,
}

/// Where an entry's parts are.
struct Layout {
    flags: u8,
    score: usize,
    expiry: usize,
    key: usize,
    value: usize,
    end: usize,
}

impl Layout {
    #[inline]
    fn of(shape: Shape, bytes: &[u8]) -> Self {
        let flags = bytes[0];
        let mut at = 1;
        let mut len = |wide: u8| {
            let low = usize::from(bytes[at]);
            at += 1;
            if flags & wide == 0 {
                return low;
            }
            at += 1;
            usize::from(bytes[at - 1]) << 8 | low
        };
        let key_len = len(KEY_WIDE);
        let value_len = if shape == Shape::Fields { len(VALUE_WIDE) } else { 0 };
        let score = at;
        at += if shape == Shape::Scores { 8 } else { 0 };
        let expiry = at;
        at += if flags & EXPIRES == 0 { 0 } else { 8 };
        let (key, value) = (at, at + key_len);
        Self { flags, score, expiry, key, value, end: value + value_len }
    }
}

/// A live entry.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    shape: Shape,
    bytes: &'a [u8],
    long: &'a Long,
}

impl<'a> Entry<'a> {
    #[inline]
    fn part(self, start: usize, end: usize, is_long: bool) -> &'a [u8] {
        let bytes = &self.bytes[start..end];
        if is_long { self.long.get(number_of(bytes)) } else { bytes }
    }

    /// The key.
    #[inline]
    pub(crate) fn key(self) -> &'a [u8] {
        let layout = Layout::of(self.shape, self.bytes);
        self.part(layout.key, layout.value, layout.flags & KEY_LONG != 0)
    }

    /// The value of a field.
    #[inline]
    pub(crate) fn value(self) -> &'a [u8] {
        let layout = Layout::of(self.shape, self.bytes);
        self.part(layout.value, layout.end, layout.flags & VALUE_LONG != 0)
    }

    /// The score of a member.
    #[inline]
    pub(crate) fn score(self) -> f64 {
        let layout = Layout::of(self.shape, self.bytes);
        f64::from_le_bytes(load(self.bytes, layout.score))
    }

    /// When a field expires.
    #[inline]
    pub(crate) fn expiry(self) -> Option<UnixMillis> {
        let layout = Layout::of(self.shape, self.bytes);
        (layout.flags & EXPIRES != 0)
            .then(|| UnixMillis(i64::from_le_bytes(load(self.bytes, layout.expiry))))
    }
}

fn number_of(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(load(bytes, 0))
}

#[inline]
fn load<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut loaded = [0; N];
    loaded.copy_from_slice(&bytes[at..at + N]);
    loaded
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "what an entry holds itself is below 8 KiB")]
fn units(bytes: usize) -> u32 {
    bytes.div_ceil(UNIT) as u32
}

impl Arena {
    pub(super) fn new(shape: Shape) -> Self {
        Self {
            shape,
            chunks: Vec::new(),
            current: 0,
            empty: Vec::new(),
            left_behind: None,
            long: Long::default(),
            bytes: 0,
            used: 0,
            dead: 0,
        }
    }

    #[inline]
    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Bytes of heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes
            + self.chunks.capacity() * size_of::<Chunk>()
            + self.empty.capacity() * size_of::<u32>()
            + self.long.heap_bytes()
    }

    /// Whether nothing more may be added.
    #[inline]
    pub(super) fn is_full(&self, room: Room) -> bool {
        self.chunks.len() - self.empty.len() > room.chunks()
    }

    #[inline]
    fn split(handle: Handle) -> (usize, usize) {
        let Handle(place) = handle;
        ((place / CHUNK_UNITS) as usize, (place % CHUNK_UNITS) as usize * UNIT)
    }

    /// The bytes from an entry on.
    #[inline]
    fn bytes_at(&self, handle: Handle) -> &[u8] {
        let (chunk, at) = Self::split(handle);
        &self.chunks[chunk].data[at..]
    }

    /// The entry at a place.
    #[inline]
    pub(super) fn get(&self, handle: Handle) -> Entry<'_> {
        Entry { shape: self.shape, bytes: self.bytes_at(handle), long: &self.long }
    }

    /// A chunk's bytes to be changed, copied first where a view has them too.
    #[inline]
    fn own(&mut self, chunk: usize) -> &mut [u8] {
        Arc::make_mut(&mut self.chunks[chunk].data)
    }

    /// Adds an entry.
    pub(super) fn add(&mut self, key: &[u8], body: &Body<'_>) -> Handle {
        let mut image = Image::new(self.shape);
        let long = &mut self.long;
        image.write(key, body, |bytes| long.add(bytes));
        let count = units(image.bytes().len());
        let place = self.allocate(count);
        self.write(place, image.bytes());
        place
    }

    /// Puts a body in the place of an entry's own. The entry moves where it doesn't fit; the handle
    /// that it then has is returned.
    pub(super) fn replace(&mut self, handle: Handle, key: &[u8], body: &Body<'_>) -> Handle {
        let old = self.units_of(handle);
        // The key's long bytes, if it has such, are written anew as well.
        self.free_long(handle);
        let mut image = Image::new(self.shape);
        let long = &mut self.long;
        image.write(key, body, |bytes| long.add(bytes));
        if units(image.bytes().len()) == old {
            self.write(handle, image.bytes());
            return handle;
        }
        self.kill(handle, old);
        let place = self.allocate(units(image.bytes().len()));
        self.write(place, image.bytes());
        place
    }

    /// Changes a member's score where it is.
    pub(super) fn set_score(&mut self, handle: Handle, score: f64) {
        let layout = Layout::of(self.shape, self.bytes_at(handle));
        let (chunk, at) = Self::split(handle);
        let start = at + layout.score;
        self.own(chunk)[start..start + 8].copy_from_slice(&score.to_le_bytes());
    }

    /// Removes an entry.
    pub(super) fn remove(&mut self, handle: Handle) {
        self.free_long(handle);
        let count = self.units_of(handle);
        self.kill(handle, count);
    }

    fn units_of(&self, handle: Handle) -> u32 {
        units(Layout::of(self.shape, self.bytes_at(handle)).end)
    }

    fn free_long(&mut self, handle: Handle) {
        let bytes = self.bytes_at(handle);
        if bytes[0] & (KEY_LONG | VALUE_LONG) == 0 {
            return;
        }
        let layout = Layout::of(self.shape, bytes);
        let key = (layout.flags & KEY_LONG != 0).then(|| number_of(&bytes[layout.key..]));
        let value = (layout.flags & VALUE_LONG != 0).then(|| number_of(&bytes[layout.value..]));
        for number in key.into_iter().chain(value) {
            self.long.remove(number);
        }
    }

    fn write(&mut self, handle: Handle, image: &[u8]) {
        let (chunk, at) = Self::split(handle);
        self.own(chunk)[at..at + image.len()].copy_from_slice(image);
    }

    /// Marks an entry's units dead.
    fn kill(&mut self, handle: Handle, count: u32) {
        let (chunk, at) = Self::split(handle);
        self.count_dead(chunk, count);
        if self.chunks[chunk].dead == self.chunks[chunk].used {
            self.give_back(chunk);
        } else {
            self.own(chunk)[at] |= DEAD;
        }
    }

    fn count_dead(&mut self, chunk: usize, count: u32) {
        self.dead += u64::from(count);
        self.chunks[chunk].dead += count;
    }

    /// A chunk in which nothing lives goes.
    #[expect(clippy::cast_possible_truncation, reason = "there are at most CHUNKS_MAX")]
    fn give_back(&mut self, chunk: usize) {
        let Chunk { data, used, dead } = &mut self.chunks[chunk];
        self.used -= u64::from(*used);
        self.dead -= u64::from(*dead);
        (*used, *dead) = (0, 0);
        if chunk != self.current {
            self.bytes -= data.len() + 16;
            *data = Arc::default();
            self.empty.push(chunk as u32);
        }
    }

    /// Room for an entry.
    #[expect(clippy::cast_possible_truncation, reason = "at most CHUNKS_MAX of CHUNK_BYTES")]
    fn allocate(&mut self, count: u32) -> Handle {
        let room = |chunk: &Chunk| chunk.data.len() as u32 / UNIT as u32 - chunk.used;
        match self.chunks.get(self.current) {
            Some(chunk) if room(chunk) >= count => {}
            Some(chunk) if self.chunks.len() == 1 && chunk.used + count <= CHUNK_UNITS => {
                self.grow_first(count);
            }
            _ => self.begin_chunk(count),
        }
        let chunk = &mut self.chunks[self.current];
        let handle = Handle(self.current as u32 * CHUNK_UNITS + chunk.used);
        chunk.used += count;
        self.used += u64::from(count);
        handle
    }

    /// A larger first chunk in the place of the small one, so that a small table is small.
    fn grow_first(&mut self, count: u32) {
        let chunk = &mut self.chunks[0];
        let needed = (chunk.used + count) as usize * UNIT;
        let size = (chunk.data.len() + chunk.data.len() / 4).max(needed).next_multiple_of(64);
        let mut data = vec![0; size.min(CHUNK_BYTES)];
        data[..chunk.data.len()].copy_from_slice(&chunk.data);
        self.bytes = self.bytes + data.len() - chunk.data.len();
        chunk.data = data.into();
    }

    fn begin_chunk(&mut self, count: u32) {
        let size = if self.chunks.is_empty() {
            FIRST_BYTES.max(count as usize * UNIT)
        } else {
            CHUNK_BYTES
        };
        let chunk = Chunk { data: vec![0; size].into(), used: 0, dead: 0 };
        self.bytes += size + 16;
        self.current = if let Some(number) = self.empty.pop() {
            self.chunks[number as usize] = chunk;
            number as usize
        } else {
            assert!(self.chunks.len() < CHUNKS_MAX, "whoever adds has asked `is_full`");
            self.chunks.push(chunk);
            self.chunks.len() - 1
        };
    }

    /// The chunk to empty, where too much of all is dead: its live entries.
    pub(super) fn most_dead(&self) -> Option<Vec<Handle>> {
        // A chunk's worth is always allowed to be dead.
        if self.dead < u64::from(CHUNK_UNITS) || self.dead * 4 < self.used {
            return None;
        }
        let chunks = self.chunks.iter().enumerate().filter(|(index, _)| *index != self.current);
        let (index, _) = chunks.max_by_key(|(_, chunk)| chunk.dead)?;
        Some(self.live_in(index).collect())
    }

    /// Moves an entry elsewhere. Its bytes can still be read at the old place, until
    /// [`Arena::let_go`].
    pub(super) fn relocate(&mut self, handle: Handle) -> Handle {
        let count = self.units_of(handle);
        let image = self.bytes_at(handle)[..count as usize * UNIT].to_vec();
        let place = self.allocate(count);
        self.write(place, &image);
        let (chunk, at) = Self::split(handle);
        self.count_dead(chunk, count);
        if self.chunks[chunk].dead == self.chunks[chunk].used {
            self.left_behind = Some(chunk);
        } else {
            self.own(chunk)[at] |= DEAD;
        }
        place
    }

    /// Nobody looks at old places any more: the chunk that was emptied goes.
    pub(super) fn let_go(&mut self) {
        if let Some(chunk) = self.left_behind.take() {
            self.give_back(chunk);
        }
    }

    fn live_in(&self, chunk: usize) -> impl Iterator<Item = Handle> {
        let walk = Iter { arena: self, chunk, at: 0 };
        walk.handles().take_while(move |(at, _)| *at == chunk).map(|(_, handle)| handle)
    }

    /// All live entries, in no order.
    pub(super) fn iter(&self) -> Iter<'_> {
        Iter { arena: self, chunk: 0, at: 0 }
    }
}

/// The live entries of a table, in no order.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    arena: &'a Arena,
    chunk: usize,
    /// The unit in the chunk where the next entry is.
    at: u32,
}

impl<'a> Iter<'a> {
    /// The next live entry: its chunk and place.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "there are at most CHUNKS_MAX")]
    fn step(&mut self) -> Option<(usize, Handle)> {
        loop {
            let chunk = self.arena.chunks.get(self.chunk)?;
            if self.at == chunk.used {
                self.chunk += 1;
                self.at = 0;
                continue;
            }
            let bytes = &chunk.data[self.at as usize * UNIT..];
            let handle = Handle(self.chunk as u32 * CHUNK_UNITS + self.at);
            self.at += units(Layout::of(self.arena.shape, bytes).end);
            if bytes[0] & DEAD == 0 {
                return Some((self.chunk, handle));
            }
        }
    }

    fn handles(mut self) -> impl Iterator<Item = (usize, Handle)> + use<'a> {
        std::iter::from_fn(move || self.step())
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        let (_, handle) = self.step()?;
        Some(self.arena.get(handle))
    }
}

/// An entry's bytes in the making.
struct Image {
    shape: Shape,
    short: [u8; 96],
    long: Vec<u8>,
    len: usize,
}

impl Image {
    fn new(shape: Shape) -> Self {
        Self { shape, short: [0; 96], long: Vec::new(), len: 0 }
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if end <= self.short.len() {
            self.short[self.len..end].copy_from_slice(bytes);
        } else {
            if self.long.is_empty() {
                self.long.extend_from_slice(&self.short[..self.len]);
            }
            self.long.extend_from_slice(bytes);
        }
        self.len = end;
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        if self.long.is_empty() { &self.short[..self.len] } else { &self.long }
    }

    /// `keep` takes what is too long for an entry, and gives its number.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "longer than INLINE_MAX is kept elsewhere")]
    fn write(&mut self, key: &[u8], body: &Body<'_>, mut keep: impl FnMut(&[u8]) -> u32) {
        let mut flags = 0;
        let mut numbers = [[0; 4]; 2];
        let mut part = |bytes: &[u8], slot: usize, wide: u8, long: u8| {
            if bytes.len() > INLINE_MAX {
                flags |= long;
                numbers[slot] = keep(bytes).to_le_bytes();
                return 4;
            }
            if bytes.len() > usize::from(u8::MAX) {
                flags |= wide;
            }
            bytes.len()
        };
        let valued = self.shape == Shape::Fields;
        let key_len = part(key, 0, KEY_WIDE, KEY_LONG);
        let value_len = if valued { part(body.value, 1, VALUE_WIDE, VALUE_LONG) } else { 0 };
        if body.expiry.is_some() {
            flags |= EXPIRES;
        }
        self.push(&[flags]);
        self.push(&(key_len as u16).to_le_bytes()[..=usize::from(flags & KEY_WIDE != 0)]);
        if valued {
            self.push(&(value_len as u16).to_le_bytes()[..=usize::from(flags & VALUE_WIDE != 0)]);
        }
        if self.shape == Shape::Scores {
            self.push(&body.score.to_le_bytes());
        }
        if let Some(UnixMillis(at)) = body.expiry {
            self.push(&at.to_le_bytes());
        }
        self.push(if flags & KEY_LONG == 0 { key } else { &numbers[0] });
        if valued {
            self.push(if flags & VALUE_LONG == 0 { body.value } else { &numbers[1] });
        }
    }
}
