//! An owned piece of heap behind one thin pointer, whose length its own first bytes tell: the
//! compact forms of collections, which lie in memory as they lie in an RDB.
//!
//! There is no length or capacity beside the bytes. The capacity follows from the length: it is the
//! allocator's next size class, so growing costs an allocation only where the class changes.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// Bytes at a block's beginning that tell its length.
pub(crate) const HEAD_BYTES: usize = 8;

/// How a format's first bytes tell its length.
pub(crate) trait Format {
    /// The length in bytes of a block that begins like this; a block shorter than the head is filled
    /// up with zeros.
    fn length(head: [u8; HEAD_BYTES]) -> usize;
}

/// An owned block of a format.
pub(crate) struct Block<F: Format> {
    /// Invariant: points to an allocation of `layout(len)` that nobody else has a pointer to, where
    /// `len = F::length(its first bytes)`; all of the allocation is initialised.
    start: NonNull<u8>,
    format: PhantomData<F>,
}

// SAFETY: the block is owned alone, like a Vec's, and a format has no data.
unsafe impl<F: Format> Send for Block<F> {}
// SAFETY: a shared reference only reads.
unsafe impl<F: Format> Sync for Block<F> {}

/// The size that is allocated for a length: the size classes of jemalloc, four to each doubling.
#[inline]
fn capacity(len: usize) -> usize {
    if len <= 128 {
        return len.max(HEAD_BYTES).next_multiple_of(16);
    }
    let step = 1_usize << ((len - 1).ilog2() - 2);
    len.next_multiple_of(step)
}

/// The allocation of a length.
///
/// # Panics
/// If it would be larger than the address space, which no block that fits into memory asks for.
fn layout(len: usize) -> Layout {
    Layout::from_size_align(capacity(len), 8)
        .unwrap_or_else(|_| panic!("a block of {len} bytes doesn't fit into memory"))
}

impl<F: Format> Block<F> {
    /// A block that holds just these bytes, which must be of the format.
    ///
    /// # Panics
    /// Where the bytes' head tells another length than theirs.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut head = [0; HEAD_BYTES];
        let told = bytes.len().min(HEAD_BYTES);
        head[..told].copy_from_slice(&bytes[..told]);
        assert_eq!(F::length(head), bytes.len(), "the head tells the length");
        let layout = layout(bytes.len());
        // SAFETY: the layout is never empty.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        // SAFETY: the allocation is fresh and at least as long as the bytes; what is behind them in it
        // is filled up with zeros.
        unsafe {
            start.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
            start.add(bytes.len()).write_bytes(0, layout.size() - bytes.len());
        }
        Self { start, format: PhantomData }
    }

    /// The block's length.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        // SAFETY: the allocation has at least HEAD_BYTES initialised bytes.
        F::length(unsafe { self.start.cast().read() })
    }

    /// The bytes.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `len` bytes are allocated and initialised (invariant).
        unsafe { NonNull::slice_from_raw_parts(self.start, self.len()).as_ref() }
    }

    /// Replaces `removed` bytes at `at` by `inserted` ones, and the head by one that tells the new
    /// length.
    ///
    /// # Panics
    /// Where the range is outside of the block, or the head tells another length than the new one.
    pub(crate) fn splice(&mut self, at: usize, removed: usize, inserted: &[u8], head: &[u8]) {
        let len = self.len();
        assert!(at <= len && removed <= len - at && head.len() <= HEAD_BYTES, "within the block");
        let new_len = len - removed + inserted.len();
        let (old, new) = (layout(len), layout(new_len));
        // SAFETY: the allocation is grown first and shrunk last, so that it is long enough for all
        // that is moved: `tail` bytes from behind the removed ones to behind the inserted ones. The
        // head is written before anything else looks at the block. What is allocated beyond the old
        // capacity is written to zeros or bytes, so that all of it is initialised.
        unsafe {
            if new.size() > old.size() {
                self.resize(old, new);
                let grown = new.size() - old.size();
                self.start.add(old.size()).write_bytes(0, grown);
            }
            let tail = len - at - removed;
            let place = self.start.add(at);
            if removed != inserted.len() {
                place.add(inserted.len()).copy_from(place.add(removed), tail);
            }
            place.copy_from_nonoverlapping(NonNull::from(inserted).cast(), inserted.len());
            self.start.copy_from_nonoverlapping(NonNull::from(head).cast(), head.len());
            if new.size() < old.size() {
                self.resize(old, new);
            }
        }
        assert_eq!(self.len(), new_len, "the head tells the length");
    }

    /// Writes bytes over as many others. The length, which the head has, must stay the same.
    ///
    /// # Panics
    /// Where the range is outside of the block, or the head tells another length.
    #[inline]
    pub(crate) fn overwrite(&mut self, at: usize, bytes: &[u8]) {
        let len = self.len();
        assert!(at <= len && bytes.len() <= len - at, "within the block");
        // SAFETY: `len` bytes are allocated and initialised (invariant), and the others are borrowed
        // from elsewhere, for this block is borrowed alone.
        unsafe {
            self.start.add(at).copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
        }
        assert_eq!(self.len(), len, "the head tells the length");
    }

    /// # Safety
    /// The allocation is of `old`, and whatever is beyond `new` isn't needed.
    #[cold]
    unsafe fn resize(&mut self, old: Layout, new: Layout) {
        // SAFETY: allocated with `old` (caller); the new size isn't 0 and was checked by `layout`.
        let start = unsafe { realloc(self.start.as_ptr(), old, new.size()) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(new) };
        self.start = start;
    }

    /// Bytes of heap that the block takes.
    #[inline]
    pub(crate) fn heap_bytes(&self) -> usize {
        capacity(self.len())
    }

    /// Hands the block out as a raw pointer. It leaks unless [`Block::from_raw`] takes it back.
    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<u8> {
        ManuallyDrop::new(self).start
    }

    /// Takes back what [`Block::into_raw`] gave.
    ///
    /// # Safety
    /// `raw` must come from `into_raw` of the same format, and is used by one owner at a time.
    #[inline]
    pub(crate) unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        Self { start: raw, format: PhantomData }
    }
}

impl<F: Format> Drop for Block<F> {
    fn drop(&mut self) {
        let layout = layout(self.len());
        // SAFETY: the allocation is of this layout (invariant) and owned alone.
        unsafe { dealloc(self.start.as_ptr(), layout) }
    }
}

impl<F: Format> Clone for Block<F> {
    fn clone(&self) -> Self {
        Self::new(self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first two bytes are the length.
    struct Counted;

    impl Format for Counted {
        fn length(head: [u8; HEAD_BYTES]) -> usize {
            usize::from(u16::from_le_bytes([head[0], head[1]]))
        }
    }

    fn framed(content: &[u8]) -> Vec<u8> {
        let mut bytes = (content.len() as u16 + 2).to_le_bytes().to_vec();
        bytes.extend_from_slice(content);
        bytes
    }

    #[test]
    fn capacities_are_the_size_classes() {
        for (len, size) in [
            (0, 16),
            (16, 16),
            (17, 32),
            (128, 128),
            (129, 160),
            (160, 160),
            (161, 192),
            (256, 256),
            (257, 320),
            (8_192, 8_192),
            (8_193, 10_240),
        ] {
            assert_eq!(capacity(len), size, "{len}");
        }
    }

    #[test]
    fn splices_like_a_vec() {
        let mut rng = crate::base::env::Rng::from_seed(1);
        let mut model: Vec<u8> = Vec::new();
        let mut block = Block::<Counted>::new(&framed(&model));
        for step in 0..20_000_u64 {
            let at = rng.below(model.len() as u64 + 1) as usize;
            let removed = rng.below((model.len() - at).min(200) as u64 + 1) as usize;
            let inserted =
                vec![step as u8; rng.below(if model.len() > 2_000 { 90 } else { 120 }) as usize];
            model.splice(at..at + removed, inserted.iter().copied());
            let head = (model.len() as u16 + 2).to_le_bytes();
            block.splice(at + 2, removed, &inserted, &head);
            assert!(block.bytes()[2..] == model, "step {step}");
            assert_eq!(block.heap_bytes(), capacity(model.len() + 2));
            let end = model.len().min(at + 3);
            model[at.min(end)..end].fill(7);
            block.overwrite(at.min(end) + 2, &[7; 3][..end - at.min(end)]);
            assert!(block.bytes()[2..] == model, "step {step}");
            if step % 1000 == 0 {
                assert!(block.clone().bytes() == block.bytes());
                // SAFETY: taken back at once.
                block = unsafe { Block::from_raw(block.into_raw()) };
            }
        }
    }
}
