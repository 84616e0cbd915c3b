//! Zsets. Only the compact form so far.

use crate::data::element::Element;
use crate::data::listpack::Listpack;
use crate::data::thin::forms;

/// A zset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Zset {
    /// In one block.
    Packed(Listpack),
}

forms!(Zset { Packed = 0 });

impl Default for Zset {
    fn default() -> Self {
        Self::Packed(Listpack::new())
    }
}

impl Zset {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        let Self::Packed(pack) = self;
        pack.len()
    }

    /// The members by their scores.
    pub fn members(&self) -> impl Iterator<Item = Element<'_>> {
        let Self::Packed(pack) = self;
        pack.pairs().map(|(member, _)| member)
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
