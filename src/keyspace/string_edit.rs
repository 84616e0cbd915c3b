//! A string that a command changes in place: on the heap, or a copy that is put back.

use crate::data::string::HeapString;

/// A string being changed in place.
#[derive(Debug)]
pub enum StringEdit<'a> {
    /// On the heap, by itself.
    Heap(&'a mut HeapString),
    /// A copy that will be put back.
    Copy(&'a mut Vec<u8>),
}

impl StringEdit<'_> {
    /// The bytes as they are now.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Heap(heap) => heap,
            Self::Copy(copy) => copy,
        }
    }

    /// The bytes, to be overwritten.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(heap) => heap,
            Self::Copy(copy) => copy,
        }
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, bytes: &[u8]) {
        match self {
            Self::Heap(heap) => heap.extend_from_slice(bytes),
            Self::Copy(copy) => copy.extend_from_slice(bytes),
        }
    }

    /// Grows to at least `len` bytes, with zeros.
    pub fn grow(&mut self, len: usize) {
        if self.bytes().len() >= len {
            return;
        }
        match self {
            Self::Heap(heap) => heap.resize(len, 0),
            Self::Copy(copy) => copy.resize(len, 0),
        }
    }
}
