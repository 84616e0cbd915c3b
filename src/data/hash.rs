//! Hashs. Only the compact form so far.

use crate::data::listpack::Listpack;
use crate::data::thin::forms;

/// A hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hash {
    /// In one block.
    Packed(Listpack),
}

forms!(Hash { Packed = 0 });

impl Default for Hash {
    fn default() -> Self {
        Self::Packed(Listpack::new())
    }
}

impl Hash {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        let Self::Packed(pack) = self;
        pack.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name that OBJECT ENCODING replies.
    pub fn encoding(&self) -> &'static str {
        "listpack"
    }

    /// Bytes of heap that it owns.
    pub fn heap_bytes(&self) -> usize {
        let Self::Packed(pack) = self;
        pack.heap_bytes()
    }
}
