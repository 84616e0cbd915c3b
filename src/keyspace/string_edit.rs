//! A string that a command changes in place: on the heap, or a copy that is put back.

use crate::data::string::HeapString;

/// From this length on a string that grows gets a block of its own at once.
const OWN_BLOCK_BYTES: usize = 16 << 10;

/// What a closure did to a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edited {
    /// It is as it was.
    Nothing,
    /// It is another, which listeners to events aren't told.
    Unheard,
    /// It is another.
    Changed,
}

impl From<bool> for Edited {
    fn from(changed: bool) -> Self {
        if changed { Self::Changed } else { Self::Nothing }
    }
}

/// A string being changed in place.
#[derive(Debug)]
pub(crate) enum StringEdit<'a> {
    /// On the heap, by itself.
    Heap(&'a mut HeapString),
    /// A copy that will be put back.
    Copy(&'a mut Vec<u8>),
    /// What such a copy became: a block that will be the key's.
    Own(HeapString),
}

impl<'a> StringEdit<'a> {
    /// The copy that is put back; nothing where the string has a block.
    pub(super) fn into_copy(self) -> &'a [u8] {
        match self {
            Self::Copy(copy) => copy,
            Self::Heap(_) | Self::Own(_) => &[],
        }
    }

    /// The bytes as they are now.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Heap(heap) => heap,
            Self::Copy(copy) => copy,
            Self::Own(heap) => heap,
        }
    }

    /// The bytes, to be overwritten.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(heap) => heap,
            Self::Copy(copy) => copy,
            Self::Own(heap) => heap,
        }
    }

    /// Adds bytes at the end.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        match self {
            Self::Heap(heap) => heap.extend_from_slice(bytes),
            Self::Copy(copy) => copy.extend_from_slice(bytes),
            Self::Own(heap) => heap.extend_from_slice(bytes),
        }
    }

    /// Puts other bytes in the place of some.
    pub(crate) fn replace(&mut self, at: usize, len: usize, with: &[u8]) {
        let (old, end) = (self.bytes().len(), at + len);
        let new = old - len + with.len();
        self.grow(new);
        self.bytes_mut().copy_within(end..old, at + with.len());
        self.bytes_mut()[at..at + with.len()].copy_from_slice(with);
        match self {
            Self::Heap(heap) => heap.resize(new, 0),
            Self::Copy(copy) => copy.truncate(new),
            Self::Own(heap) => heap.resize(new, 0),
        }
    }

    /// Grows to at least `len` bytes, with zeros.
    pub(crate) fn grow(&mut self, len: usize) {
        if self.bytes().len() >= len {
            return;
        }
        match self {
            Self::Copy(copy) if len >= OWN_BLOCK_BYTES => {
                // Pages that nobody writes to are zeros without being written.
                let mut own = HeapString::zeroed(len);
                own[..copy.len()].copy_from_slice(copy);
                *self = Self::Own(own);
            }
            Self::Copy(copy) => copy.resize(len, 0),
            Self::Heap(heap) => heap.grow_zeroed(len),
            Self::Own(heap) => heap.grow_zeroed(len),
        }
    }
}
