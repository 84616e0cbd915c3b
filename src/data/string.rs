//! A byte string on the heap behind one thin pointer, for values too long to lie in the
//! dictionary's own entry.
//!
//! ```text
//! HeapString -> [length: usize][capacity: usize, with two flags][bytes: capacity]
//! ```
//!
//! `Vec<u8>` would cost 24 bytes in the entry that points to it; this costs 8. It grows in place
//! (APPEND, SETRANGE) with spare capacity, so that building a string piece by piece is linear.
//! Deliberately absent: the integer form (the dictionary keeps integers in the entry itself), and
//! sharing in general: a string has one owner. But it can be lent to one reader on another thread
//! ([`Lent`]), which is how a snapshot's thread reads values without a copy having been made of them.
//! Meanwhile the owner may drop the string, which the reader frees then, or change it, which changes a
//! copy.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error, realloc};
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::prefetch::prefetch;

/// What stands before the bytes.
#[repr(C)]
struct Head {
    len: usize,
    /// The capacity, with [`LENT`] and [`DROPPED`].
    state: AtomicUsize,
}

/// Set while a reader ([`Lent`]) has a pointer to the block: its bytes must not change.
const LENT: usize = 1 << (usize::BITS - 1);
/// The owner has let go of it: the reader frees it.
const DROPPED: usize = 1 << (usize::BITS - 2);
/// The capacity's bits.
const CAPACITY: usize = DROPPED - 1;

const HEAD_BYTES: usize = size_of::<Head>();
/// Below this, growth doubles; above it, growth adds a quarter (or this much, if that's more).
const DOUBLING_LIMIT: usize = 1 << 20;

/// An owned byte string whose handle is one pointer wide.
pub struct HeapString {
    /// Invariant: a live block of `layout(capacity)` whose head is initialised and whose first
    /// `len <= capacity` bytes are initialised. The only other pointer to it is a reader's, and only
    /// while `LENT` is set.
    head: NonNull<Head>,
}

const _: () = assert!(size_of::<Option<HeapString>>() == 8 || size_of::<usize>() != 8);

// SAFETY: the block is owned alone, like a Vec's.
unsafe impl Send for HeapString {}
// SAFETY: a shared reference only reads.
unsafe impl Sync for HeapString {}

impl HeapString {
    /// An empty string with room for `capacity` bytes.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let layout = layout(capacity);
        // SAFETY: the layout is never empty, since the head is part of it.
        let block = unsafe { alloc(layout) };
        let Some(block) = NonNull::new(block) else { handle_alloc_error(layout) };
        let head = block.cast::<Head>();
        // SAFETY: the block is fresh, large enough and aligned for a head.
        unsafe { head.write(Head { len: 0, state: AtomicUsize::new(capacity) }) };
        Self { head }
    }

    /// So many zeros, without spare capacity. What the allocator gets fresh from the system isn't
    /// written to.
    pub(crate) fn zeroed(len: usize) -> Self {
        let layout = layout(len);
        // SAFETY: the layout is never empty, since the head is part of it.
        let block = unsafe { alloc_zeroed(layout) };
        let Some(block) = NonNull::new(block) else { handle_alloc_error(layout) };
        let head = block.cast::<Head>();
        // SAFETY: the block is fresh, large enough and aligned for a head; its bytes are initialised.
        unsafe { head.write(Head { len, state: AtomicUsize::new(len) }) };
        Self { head }
    }

    /// A copy of `bytes`, without spare capacity.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut string = Self::with_capacity(bytes.len());
        string.extend_from_slice(bytes);
        string
    }

    /// The bytes there is room for without moving.
    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        self.state().load(Ordering::Relaxed) & CAPACITY
    }

    #[inline]
    fn state(&self) -> &AtomicUsize {
        // SAFETY: the head is initialised (invariant).
        unsafe { &self.head.as_ref().state }
    }

    /// To be called before anything changes: a reader keeps the block as it is.
    #[inline]
    fn make_own(&mut self) {
        // Acquire: what the reader has read comes before what is written now.
        if self.state().load(Ordering::Acquire) & LENT != 0 {
            self.leave_to_reader();
        }
    }

    #[cold]
    fn leave_to_reader(&mut self) {
        let mut copy = Self::with_capacity(self.capacity());
        copy.extend_from_slice(self);
        *self = copy;
    }

    /// Bytes of heap this string holds.
    #[inline]
    pub(crate) fn heap_bytes(&self) -> usize {
        HEAD_BYTES + self.capacity()
    }

    /// Makes room for at least `additional` bytes after the last one, and some spare.
    pub(crate) fn reserve(&mut self, additional: usize) {
        self.make_own();
        let (len, capacity) = (self.len(), self.capacity());
        let needed = len.saturating_add(additional);
        if needed > capacity {
            let spare = capacity.min(DOUBLING_LIMIT.max(capacity / 4));
            self.set_capacity(needed.max(capacity.saturating_add(spare)));
        }
    }

    /// Appends `bytes`.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        let len = self.len();
        // SAFETY: `reserve` made room for `bytes` after `len`; `bytes` can't overlap the block,
        // because we hold it exclusively.
        unsafe {
            self.bytes()
                .add(len)
                .copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
            self.head.as_mut().len = len + bytes.len();
        }
    }

    /// Cuts the string to `len` bytes, or fills it up with `fill` to that length.
    pub(crate) fn resize(&mut self, len: usize, fill: u8) {
        self.make_own();
        let old = self.len();
        if len > old {
            self.reserve(len - old);
            // SAFETY: there is room for `len` bytes now.
            unsafe { self.bytes().add(old).write_bytes(fill, len - old) };
        }
        // SAFETY: the head is initialised, and so are the first `len` bytes.
        unsafe { self.head.as_mut().len = len };
    }

    /// Fills the string up with zeros to a length; a much longer one moves to a fresh block.
    pub(crate) fn grow_zeroed(&mut self, len: usize) {
        if len > self.capacity() && len / 2 > self.len() {
            let mut longer = Self::zeroed(len);
            longer[..self.len()].copy_from_slice(self);
            *self = longer;
        } else if len > self.len() {
            self.resize(len, 0);
        }
    }

    /// Hands the string out as a raw pointer. It leaks unless [`HeapString::from_raw`] takes it
    /// back.
    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<u8> {
        ManuallyDrop::new(self).head.cast()
    }

    /// Takes back what [`HeapString::into_raw`] gave.
    ///
    /// # Safety
    /// `raw` must come from `into_raw`, and each pointer may be taken back only once.
    #[inline]
    pub(crate) unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        Self { head: raw.cast() }
    }

    /// Reads a string that is out as a raw pointer.
    ///
    /// # Safety
    /// `raw` must come from `into_raw`, must not have been taken back, and nobody may change the
    /// string for as long as the slice lives.
    #[inline]
    pub(crate) unsafe fn peek<'a>(raw: NonNull<u8>) -> &'a [u8] {
        // SAFETY: the pointer names a live string (caller), whose first `len` bytes are
        // initialised (invariant).
        unsafe {
            let len = raw.cast::<Head>().as_ref().len;
            NonNull::slice_from_raw_parts(raw.add(HEAD_BYTES), len).as_ref()
        }
    }

    #[inline]
    fn bytes(&self) -> NonNull<u8> {
        // SAFETY: the block is at least HEAD_BYTES long.
        unsafe { self.head.cast::<u8>().add(HEAD_BYTES) }
    }

    fn set_capacity(&mut self, capacity: usize) {
        debug_assert!(capacity >= self.len());
        let (old, new) = (layout(self.capacity()), layout(capacity));
        // SAFETY: the block was allocated with `old`; the new size isn't 0 and `layout` checked
        // that it doesn't overflow.
        let block = unsafe { realloc(self.head.as_ptr().cast(), old, new.size()) };
        let Some(block) = NonNull::new(block) else { handle_alloc_error(new) };
        self.head = block.cast();
        // SAFETY: `realloc` kept the head.
        unsafe { *self.head.as_mut().state.get_mut() = capacity };
    }
}

/// The block for a capacity.
///
/// # Panics
/// If the block would be larger than the address space, which no string of a request can ask for.
fn layout(capacity: usize) -> Layout {
    capacity
        .checked_add(HEAD_BYTES)
        .filter(|size| *size <= CAPACITY)
        .and_then(|size| Layout::from_size_align(size, align_of::<Head>()).ok())
        .unwrap_or_else(|| panic!("a string of {capacity} bytes doesn't fit into memory"))
}

impl Drop for HeapString {
    fn drop(&mut self) {
        let state = self.state();
        // Acquire: as in `make_own`. Of the two who let go, one sees the other's flag.
        if state.load(Ordering::Acquire) & LENT != 0
            && state.fetch_or(DROPPED, Ordering::AcqRel) & LENT != 0
        {
            return;
        }
        // SAFETY: the block was allocated with this layout, and no reader has it.
        unsafe { dealloc(self.head.as_ptr().cast(), layout(self.capacity())) }
    }
}

/// A string that is lent to a reader, on any thread: the bytes are as they were when it was lent.
pub(crate) struct Lent {
    /// The string's block. `LENT` is set in it until this is dropped, so that its first `len` bytes are
    /// neither changed nor freed before.
    head: NonNull<Head>,
    /// As in the head, which `prefetch` must not wait for.
    len: usize,
}

// SAFETY: the bytes are only read, and who frees the block is decided by atomic operations.
unsafe impl Send for Lent {}
// SAFETY: a shared reference only reads.
unsafe impl Sync for Lent {}

impl Lent {
    /// Lends a string that is out as a raw pointer; nothing where a reader has it already.
    ///
    /// # Safety
    /// `raw` must come from [`HeapString::into_raw`] and must not have been taken back, and this is the
    /// thread that owns the string.
    #[inline]
    pub(crate) unsafe fn new(raw: NonNull<u8>) -> Option<Self> {
        let head = raw.cast::<Head>();
        // SAFETY: the pointer names a live string (caller), whose head is initialised.
        let (len, state) = unsafe { (head.as_ref().len, &head.as_ref().state) };
        // Without a reader only this thread changes the flags, so reading and storing them are safe apart.
        // Acquire: as in `make_own`.
        let before = state.load(Ordering::Acquire);
        if before & LENT != 0 {
            return None;
        }
        state.store(before | LENT, Ordering::Relaxed);
        Some(Self { head, len })
    }

    /// The bytes.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the block lives, and its first `len` bytes are initialised and not changed
        // (invariant).
        unsafe {
            let first = self.head.cast::<u8>().add(HEAD_BYTES);
            NonNull::slice_from_raw_parts(first, self.len).as_ref()
        }
    }

    /// Asks the processor for the first `max` bytes.
    pub(crate) fn prefetch(&self, max: usize) {
        let first = self.head.as_ptr().cast::<u8>();
        for line in (0..(HEAD_BYTES + self.len).min(max)).step_by(64) {
            prefetch(first.wrapping_add(line));
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // SAFETY: the block lives while `LENT` is set (invariant).
        let before = unsafe { self.head.as_ref().state.fetch_and(!LENT, Ordering::AcqRel) };
        if before & DROPPED != 0 {
            // SAFETY: the block was allocated with this layout, and the owner has let go of it.
            unsafe { dealloc(self.head.as_ptr().cast(), layout(before & CAPACITY)) }
        }
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lent({} bytes)", self.len)
    }
}

impl Deref for HeapString {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the first `len` bytes are initialised (invariant).
        unsafe { NonNull::slice_from_raw_parts(self.bytes(), self.head.as_ref().len).as_ref() }
    }
}

impl DerefMut for HeapString {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.make_own();
        // SAFETY: as `deref`, and we hold the string exclusively.
        unsafe { NonNull::slice_from_raw_parts(self.bytes(), self.head.as_ref().len).as_mut() }
    }
}

impl Clone for HeapString {
    fn clone(&self) -> Self {
        Self::new(self)
    }
}

impl fmt::Debug for HeapString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeapString({} bytes)", self.len())
    }
}

impl PartialEq for HeapString {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for HeapString {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_like_a_vec() {
        let mut string = HeapString::new(b"ab");
        let mut model = b"ab".to_vec();
        for step in 0..2_000_usize {
            let piece = vec![step as u8; step % 37];
            string.extend_from_slice(&piece);
            model.extend_from_slice(&piece);
            if step % 100 == 99 {
                string.resize(model.len() / 2, 0);
                model.truncate(model.len() / 2);
                string.resize(model.len() + 9, b'x');
                model.resize(model.len() + 9, b'x');
            }
            assert_eq!(&*string, &*model);
            assert!(string.capacity() >= string.len());
        }
        for len in [model.len() + 1, model.len() * 5, 100] {
            string.grow_zeroed(len);
            model.resize(model.len().max(len), 0);
            assert_eq!(&*string, &*model);
        }
        assert_eq!(&*HeapString::zeroed(1_000), &[0; 1_000]);
        assert_eq!(string.clone(), string);
    }

    /// An owner drops and changes strings at random while a thread reads them.
    #[test]
    fn what_is_lent_stays_as_it_was_whoever_lets_go_first() {
        let (lend, lent) = std::sync::mpsc::channel::<(Lent, Vec<u8>)>();
        let reader = std::thread::spawn(move || {
            let mut kept = Vec::new();
            for (number, (text, expected)) in lent.iter().enumerate() {
                assert_eq!(text.bytes(), expected);
                if number % 7 == 0 {
                    kept.push((text, expected));
                }
                if kept.len() == 100 {
                    kept.drain(..).for_each(|(text, expected)| assert_eq!(text.bytes(), expected));
                }
            }
            kept.iter().all(|(text, expected)| text.bytes() == expected)
        });
        let mut rng = crate::base::env::Rng::from_seed(5);
        let mut strings: Vec<HeapString> = (0..50).map(|_| HeapString::new(&[b'x'; 300])).collect();
        let mut models: Vec<Vec<u8>> = strings.iter().map(|string| string.to_vec()).collect();
        for step in 0..if cfg!(miri) { 300 } else { 30_000_usize } {
            let place = rng.index(strings.len());
            let (string, model) = (&mut strings[place], &mut models[place]);
            let raw = std::mem::replace(string, HeapString::with_capacity(0)).into_raw();
            // SAFETY: it comes from `into_raw`, and is taken back below.
            if let Some(text) = unsafe { Lent::new(raw) } {
                text.prefetch(1000);
                lend.send((text, model.clone())).unwrap();
            }
            // SAFETY: as above; this is the only time.
            *string = unsafe { HeapString::from_raw(raw) };
            match rng.index(6) {
                0 => {
                    *string = HeapString::new(&[step as u8; 400]);
                    *model = vec![step as u8; 400];
                }
                1 => {
                    string.extend_from_slice(b"more");
                    model.extend_from_slice(b"more");
                }
                2 => {
                    string.resize(model.len() / 2, 0);
                    model.truncate(model.len() / 2);
                }
                3 => {
                    string.grow_zeroed(300);
                    model.resize(model.len().max(300), 0);
                }
                4 => {
                    string.fill(step as u8);
                    model.fill(step as u8);
                }
                _ => {}
            }
            assert_eq!(&**string, &**model);
            assert!(string.capacity() >= string.len());
        }
        drop(lend);
        drop(strings);
        assert!(reader.join().unwrap());
    }

    #[test]
    fn goes_out_as_a_pointer_and_comes_back() {
        let raw = HeapString::new(b"hello").into_raw();
        // SAFETY: `raw` comes from `into_raw` and is taken back once, after the last look.
        let string = unsafe {
            assert_eq!(HeapString::peek(raw), b"hello");
            HeapString::from_raw(raw)
        };
        assert_eq!(&*string, b"hello");
        assert!(HeapString::with_capacity(0).is_empty());
    }
}
