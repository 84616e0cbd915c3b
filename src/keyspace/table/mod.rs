//! The dictionary: the keys of one database, with their values, expiries and access bits.
//!
//! Extendible hashing in hash order. The directory (`directory`) maps the top bits of a hash to a
//! segment (`segment`), which holds buckets (`bucket`) and entries (`entry`) together in one
//! frame of a [`Pool`]; a lookup is two cache misses, the bucket and the entry. The table grows by
//! splitting one segment and shrinks by merging two (`grow`), never all at once: the longest step
//! is one segment's work, about 0.1 ms (and the directory's doubling, which is 1 MiB of words at
//! 100 M keys).
//!
//! Invariants, which `check` verifies:
//! - an entry is in the segment (or its chain) that the directory names for its hash, in one of the
//!   four buckets from its home, and every earlier bucket counts it as overflow;
//! - no entry of a segment expires before the segment's `earliest`;
//! - entries and holes cover each heap up to its end, without overlap;
//! - while a snapshot runs, a slot that it hasn't been handed holds what it held at its start.
//!
//! Entries move, so nothing keeps a pointer into the table: after a change a key is looked up again.
//! Deliberately absent: lazy expiry, types, memory limits, notifications; the databases above know
//! those. The table is owned by one thread at a time (`Send`, not `Sync`).

mod bucket;
mod directory;
mod draft;
mod due;
mod entry;
mod grow;
mod pool;
mod sample;
mod scan;
mod segment;
mod snapshot;

#[cfg(test)]
mod check;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::courtesy;
use crate::base::env::{Rng, UnixMillis};
use crate::data::string::HeapString;
use crate::data::value::{NewValue, Object};

use directory::Directory;
use draft::{Carried, Draft, Image};
use entry::RawEntry;
use segment::{Segment, Spot, Tally, fingerprint_of, granules, home_of};

pub use entry::Entry;
pub(crate) use entry::{HeapPart, Removed, Taken, TakenValue};
pub use pool::Pool;
pub use snapshot::EntrySink;

/// Keys that one pass of [`Table::prefetch`] asks for: about as many cache lines as a core can wait
/// for at a time.
const PREFETCH_GROUP: usize = 16;

/// The key of the hash function. A client that doesn't know it can't choose keys that collide.
#[derive(Clone, Copy, Debug)]
pub struct HashSeed(pub u64);

/// The hash function.
#[derive(Clone)]
enum Hasher {
    Keyed(ahash::RandomState),
    /// One that a test chose, to make keys collide.
    #[cfg(test)]
    Chosen(fn(&[u8]) -> u64),
}

impl Hasher {
    #[inline(always)]
    fn hash(&self, key: &[u8]) -> u64 {
        match self {
            Self::Keyed(state) => {
                use std::hash::{BuildHasher, Hasher};
                let mut hasher = state.build_hasher();
                hasher.write(key);
                hasher.finish()
            }
            #[cfg(test)]
            Self::Chosen(function) => function(key),
        }
    }
}

/// What a table holds of the machine's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableMemory {
    /// Segments.
    pub segments: usize,
    /// Bytes of their pages that have been touched.
    pub(crate) segment_bytes: usize,
    /// Bytes of the directory.
    pub(crate) directory_bytes: usize,
    /// Bytes of long keys, long strings and collections.
    pub heap_bytes: usize,
}

impl TableMemory {
    /// All bytes.
    #[cfg(test)]
    pub(crate) fn total(&self) -> usize {
        self.segment_bytes + self.directory_bytes + self.heap_bytes
    }
}

/// One database's keys.
pub struct Table {
    directory: Directory,
    hasher: Hasher,
    len: usize,
    expiring: usize,
    tally: Tally,
    pool: Pool,
    snapshot: Option<snapshot::Running>,
    /// The last snapshot's number.
    epoch: u64,
    /// Where [`Table::expire_step`] continues, a position in hash order.
    expire_position: u64,
    /// Segments in the longest chain that ever was: 1 unless hashes collide.
    chain_max: usize,
    /// What shows others how far the table's end has come; see [`Table::count_down`].
    countdown: Option<Arc<AtomicU64>>,
}

// SAFETY: the table owns its segments and all that their entries point to; the pool's handle, the
// hasher and the snapshot's sink are Send themselves.
unsafe impl Send for Table {}

/// Where an entry was found.
#[derive(Clone, Copy)]
struct Hit {
    segment: NonNull<Segment>,
    spot: Spot,
    entry: RawEntry,
}

impl Table {
    /// An empty table that takes its memory from `pool`. It costs three pages.
    pub fn new(seed: HashSeed, pool: &Pool) -> Self {
        let mut rng = Rng::from_seed(seed.0);
        let [a, b, c, d] = std::array::from_fn(|_| rng.next_u64());
        Self::with_hasher(Hasher::Keyed(ahash::RandomState::with_seeds(a, b, c, d)), pool)
    }

    fn with_hasher(hasher: Hasher, pool: &Pool) -> Self {
        let pool = pool.clone();
        let mut tally = Tally::default();
        let segment = Segment::create(&pool, 0, 0, &mut tally);
        // The pages of a frame that had another use: nothing shall fill them soon.
        segment.trim(&mut tally);
        Self {
            directory: Directory::new(NonNull::from(segment)),
            hasher,
            len: 0,
            expiring: 0,
            tally,
            pool,
            snapshot: None,
            epoch: 0,
            expire_position: 0,
            chain_max: 1,
            countdown: None,
        }
    }

    /// How many keys there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no key.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many keys have an expiry.
    #[inline]
    pub fn expires_len(&self) -> usize {
        self.expiring
    }

    /// What the table holds of memory. Costs nothing: it's counted as it changes.
    pub fn memory(&self) -> TableMemory {
        TableMemory {
            segments: self.tally.segments,
            segment_bytes: self.tally.pages * pool::PAGE_BYTES,
            directory_bytes: self.directory.bytes(),
            heap_bytes: self.tally.owned_bytes,
        }
    }

    /// Adds the bytes that the table owns on the heap to `bytes`, and has them taken off again as they
    /// are freed, a segment at a time. For a table that nothing is done with any more.
    pub(crate) fn count_down(&mut self, bytes: Arc<AtomicU64>) {
        bytes.fetch_add(self.tally.owned_bytes as u64, Ordering::Relaxed);
        self.countdown = Some(bytes);
    }

    /// A key's hash, for [`Table::prefetch`] and the `_hashed` forms.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash(key)
    }

    /// Asks the processor for what lookups of these hashes are going to need: the directory, then
    /// the buckets, then the entries. Worth four to ten times in a batch of keys.
    pub fn prefetch(&self, hashes: &[u64]) {
        for group in hashes.chunks(PREFETCH_GROUP) {
            for &hash in group {
                self.directory.prefetch(hash);
            }
            for &hash in group {
                let handle = self.directory.get(hash);
                // SAFETY: the directory names live segments, and `&self` keeps them as they are.
                let segment = unsafe { handle.segment() };
                segment.prefetch_bucket(home_of(hash, handle.depth()));
                segment.prefetch_header();
            }
            for &hash in group {
                let handle = self.directory.get(hash);
                // SAFETY: as above.
                let segment = unsafe { handle.segment() };
                segment.prefetch_match(home_of(hash, handle.depth()), fingerprint_of(hash));
            }
        }
    }

    /// A key's entry.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<Entry<'_>> {
        self.get_hashed(self.hash(key), key)
    }

    /// [`Table::get`] for a hash that is known already.
    #[inline]
    pub fn get_hashed(&self, hash: u64, key: &[u8]) -> Option<Entry<'_>> {
        debug_assert_eq!(hash, self.hash(key));
        let hit = self.find(hash, key)?;
        // SAFETY: `&self` keeps the entry as it is for the entry's lifetime.
        Some(unsafe { Entry::new(hit.entry) })
    }

    /// A key's entry, to be changed in place. A running snapshot gets it as it was.
    pub fn get_mut(&mut self, key: &[u8]) -> Option<EntryMut<'_>> {
        let hit = self.find(self.hash(key), key)?;
        self.hand_out(hit.segment, hit.spot.bucket, hit.spot.slot);
        let owned = hit.entry.owned().bytes;
        let tally = &mut self.tally;
        Some(EntryMut { raw: hit.entry, string: None, object: None, owned, tally })
    }

    /// Puts a value under a key, in place of the one that was there, if any: its expiry goes too.
    pub fn put(
        &mut self,
        key: &[u8],
        value: NewValue<'_>,
        expiry: Option<UnixMillis>,
        access: u32,
    ) -> Option<Removed> {
        self.put_hashed(self.hash(key), key, value, expiry, access)
    }

    /// [`Table::put`] for a hash that is known already.
    pub fn put_hashed(
        &mut self,
        hash: u64,
        key: &[u8],
        value: NewValue<'_>,
        expiry: Option<UnixMillis>,
        access: u32,
    ) -> Option<Removed> {
        debug_assert_eq!(hash, self.hash(key));
        let mut draft = Draft::new(key, value, expiry, access);
        let Some(hit) = self.find(hash, key) else {
            self.insert(hash, draft, expiry);
            return None;
        };
        self.hand_out(hit.segment, hit.spot.bucket, hit.spot.slot);
        let old = granules(hit.entry.bytes());
        let old_expiry = hit.entry.expiry();
        self.forget(&hit);
        // SAFETY: what `find` lent isn't in use any more; the entry is overwritten or freed next.
        let (heap_key, heap) = unsafe { hit.entry.disown() };
        draft.heap_key = heap_key;
        self.rewrite(hash, &hit, old, draft, expiry);
        Some(Removed { heap, expiry: old_expiry })
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &[u8]) -> Option<Removed> {
        let hash = self.hash(key);
        let hit = self.find(hash, key)?;
        let expiry = hit.entry.expiry();
        let (_key, heap) = self.remove_hit(hash, &hit);
        Some(Removed { heap, expiry })
    }

    /// Removes a key and frees its value; says whether it was there.
    pub fn delete(&mut self, key: &[u8]) -> bool {
        self.remove(key).is_some()
    }

    /// Removes a key and keeps its value, for RENAME and MOVE. What is on the heap isn't copied.
    pub fn take(&mut self, key: &[u8]) -> Option<Taken> {
        use crate::data::value::ValueRef;
        let hash = self.hash(key);
        let hit = self.find(hash, key)?;
        let entry = hit.entry;
        let (expiry, access) = (entry.expiry(), entry.access());
        let small = match entry.value() {
            ValueRef::Int(number) => Some(TakenValue::Int(number)),
            ValueRef::Str(bytes) if !entry.is_string() => {
                Some(TakenValue::Bytes(bytes.into(), entry.is_raw()))
            }
            _ => None,
        };
        let (_key, heap) = self.remove_hit(hash, &hit);
        let value = match (heap, small) {
            (HeapPart::String(string), _) => TakenValue::String(string),
            (HeapPart::Object(object), _) => TakenValue::Object(object),
            (HeapPart::Nothing, Some(small)) => small,
            (HeapPart::Nothing, None) => unreachable!("what isn't small is on the heap"),
        };
        Some(Taken { value, expiry, access })
    }

    /// Puts what [`Table::take`] gave under a key, with its expiry and access bits.
    pub fn put_taken(&mut self, key: &[u8], taken: Taken) -> Option<Removed> {
        let Taken { mut value, expiry, access } = taken;
        self.put(key, value.as_new(), expiry, access)
    }

    /// Sets or clears a key's expiry; says whether the key is there.
    pub fn set_expiry(&mut self, key: &[u8], expiry: Option<UnixMillis>) -> bool {
        let hash = self.hash(key);
        let Some(hit) = self.find(hash, key) else { return false };
        if hit.entry.expiry() == expiry {
            return true;
        }
        self.hand_out(hit.segment, hit.spot.bucket, hit.spot.slot);
        let old = granules(hit.entry.bytes());
        let carried = Carried::with_expiry(hit.entry, expiry);
        self.forget(&hit);
        self.rewrite(hash, &hit, old, carried, expiry);
        true
    }

    // ---- one entry at a time

    /// Looks for a key, down the chain if there is one.
    #[inline(always)]
    fn find(&self, hash: u64, key: &[u8]) -> Option<Hit> {
        let handle = self.directory.get(hash);
        let home = home_of(hash, handle.depth());
        let fingerprint = fingerprint_of(hash);
        let mut segment = handle.pointer();
        loop {
            // SAFETY: the directory and the chains name live segments, which only `&mut self`
            // changes.
            let here = unsafe { segment.as_ref() };
            if let Some((spot, entry)) = here.find(home, fingerprint, key) {
                return Some(Hit { segment, spot, entry });
            }
            if here.bucket(home).spilled() == 0 {
                return None;
            }
            segment = here.next()?;
        }
    }

    /// Adds an entry whose key isn't there.
    fn insert(&mut self, hash: u64, image: impl Image, expiry: Option<UnixMillis>) {
        let (mut segment, to) = self.make_place(hash, granules(image.bytes()));
        // SAFETY: `make_place` found room for the image and made the slot name it; from here on
        // the slot's entry is well-formed.
        let entry = unsafe {
            image.write(to);
            RawEntry::new(to)
        };
        self.len += 1;
        // SAFETY: a live segment, and we hold the table exclusively.
        self.remember(unsafe { segment.as_mut() }, entry, expiry);
    }

    /// Writes `image` where `hit` is, of `old` granules; or elsewhere, if it doesn't fit.
    #[inline]
    fn rewrite(
        &mut self,
        hash: u64,
        hit: &Hit,
        old: u16,
        image: impl Image,
        expiry: Option<UnixMillis>,
    ) {
        let mut pointer = hit.segment;
        // SAFETY: a live segment, and we hold the table exclusively.
        let segment = unsafe { pointer.as_mut() };
        let new = granules(image.bytes());
        let to = if old == new {
            hit.entry.start()
        } else if let Some(place) = segment.allocate(new, &mut self.tally) {
            let bucket = segment.bucket_mut(hit.spot.bucket);
            let old_place = bucket.place(hit.spot.slot);
            bucket.set_place(hit.spot.slot, place);
            segment.free(old_place, old);
            segment.address(place)
        } else {
            self.vacate(hash, hit, old);
            self.insert(hash, image, expiry);
            return;
        };
        // SAFETY: there are `new` granules at `to`, either the old entry's own or new ones.
        let entry = unsafe {
            image.write(to);
            RawEntry::new(to)
        };
        self.remember(segment, entry, expiry);
    }

    /// Counts an entry in that was just written.
    #[inline]
    fn remember(&mut self, segment: &mut Segment, entry: RawEntry, expiry: Option<UnixMillis>) {
        debug_assert_eq!(entry.expiry(), expiry);
        if let Some(UnixMillis(at)) = expiry {
            segment.add_expiry(at);
            self.expiring += 1;
        }
        let owned = entry.owned();
        self.tally.owned_blocks += owned.blocks;
        self.tally.owned_bytes += owned.bytes;
    }

    /// Counts an entry out, before it is disowned or overwritten.
    #[inline]
    fn forget(&mut self, hit: &Hit) {
        if hit.entry.has_expiry() {
            let mut segment = hit.segment;
            // SAFETY: a live segment, and we hold the table exclusively.
            unsafe { segment.as_mut() }.drop_expiry();
            self.expiring -= 1;
        }
        let owned = hit.entry.owned();
        self.tally.owned_blocks -= owned.blocks;
        self.tally.owned_bytes -= owned.bytes;
    }

    /// Removes a found entry and gives back what it owned.
    fn remove_hit(&mut self, hash: u64, hit: &Hit) -> (Option<HeapString>, HeapPart) {
        self.hand_out(hit.segment, hit.spot.bucket, hit.spot.slot);
        let old = granules(hit.entry.bytes());
        self.forget(hit);
        // SAFETY: nothing lent from the entry is in use any more, and its slot goes next.
        let owned = unsafe { hit.entry.disown() };
        self.vacate(hash, hit, old);
        self.shrink(hash, hit);
        owned
    }

    /// Takes a forgotten entry's slot and bytes away.
    fn vacate(&mut self, hash: u64, hit: &Hit, granules: u16) {
        let mut pointer = hit.segment;
        // SAFETY: a live segment, and we hold the table exclusively.
        unsafe { pointer.as_mut() }.release(hit.spot, granules);
        self.len -= 1;
        // The segments before it in its chain no longer need to send lookups on.
        let mut earlier = self.directory.get(hash).pointer();
        while earlier != hit.segment {
            // SAFETY: as above.
            let segment = unsafe { earlier.as_mut() };
            segment.bucket_mut(hit.spot.home).drop_spilled();
            let Some(next) = segment.next() else { unreachable!("the hit is in this chain") };
            earlier = next;
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let mut left = self.tally.owned_blocks;
        for handle in self.directory.iter() {
            let mut next = Some(handle.pointer());
            while let Some(mut pointer) = next {
                // SAFETY: each live segment is met once, and the table is used no more.
                let segment = unsafe { pointer.as_mut() };
                next = segment.next();
                if left > 0 {
                    let mut bytes = 0;
                    segment.for_each(|_, entry| {
                        let owned = entry.owned();
                        left -= owned.blocks;
                        bytes += owned.bytes as u64;
                        // SAFETY: each entry is met once, and its segment goes next.
                        drop(unsafe { entry.disown() });
                    });
                    if let Some(countdown) = &self.countdown {
                        countdown.fetch_sub(bytes, Ordering::Relaxed);
                    }
                }
                // SAFETY: as above.
                unsafe { segment.destroy(&self.pool, &mut self.tally) };
                courtesy::give_way();
            }
        }
        debug_assert_eq!((self.tally.segments, self.tally.pages), (0, 0));
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("len", &self.len)
            .field("expiring", &self.expiring)
            .field("memory", &self.memory())
            .finish_non_exhaustive()
    }
}

/// A stored value that may be changed in place. What it holds on the heap is counted anew when this
/// goes.
pub struct EntryMut<'a> {
    raw: RawEntry,
    /// The value, while it is lent out; not in the entry then.
    string: Option<HeapString>,
    /// As `string`.
    object: Option<Object>,
    /// Bytes on the heap before the change.
    owned: usize,
    tally: &'a mut Tally,
}

impl EntryMut<'_> {
    /// Notes something for the eviction policy, as [`Entry::set_access`].
    #[inline]
    pub(crate) fn set_access(&self, access: u32) {
        self.raw.set_access(access);
    }

    /// The collection, if the value is one.
    pub fn object_mut(&mut self) -> Option<&mut Object> {
        if self.object.is_none() {
            // The object moves here because the entry's pointer isn't aligned.
            // SAFETY: the borrow of `self` is exclusive, and so is the one of the table in it.
            self.object = unsafe { self.raw.take_object() };
        }
        self.object.as_mut()
    }

    /// The string, if it is one on the heap. A shorter one has to be `put` anew.
    pub fn heap_string_mut(&mut self) -> Option<&mut HeapString> {
        if self.string.is_none() {
            // The string moves here because the entry's pointer isn't aligned.
            // SAFETY: the borrow of `self` is exclusive, and so is the one of the table in it.
            self.string = unsafe { self.raw.take_string() };
        }
        self.string.as_mut()
    }
}

impl Drop for EntryMut<'_> {
    fn drop(&mut self) {
        if let Some(string) = self.string.take() {
            // SAFETY: the entry is held exclusively, and `heap_string_mut` took the string out.
            unsafe { self.raw.put_string(string) };
        }
        if let Some(object) = self.object.take() {
            // SAFETY: as above, for `object_mut`.
            unsafe { self.raw.put_object(object) };
        }
        let bytes = self.raw.owned().bytes;
        self.tally.owned_bytes = self.tally.owned_bytes - self.owned + bytes;
    }
}
