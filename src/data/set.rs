//! Sets. Only the compact form so far.

use crate::data::element::Element;
use crate::data::listpack::Listpack;
use crate::data::thin::forms;

/// A set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Set {
    /// In one block.
    Packed(Listpack),
}

forms!(Set { Packed = 0 });

impl Default for Set {
    fn default() -> Self {
        Self::Packed(Listpack::new())
    }
}

impl Set {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        let Self::Packed(pack) = self;
        pack.len()
    }

    /// The members, in any order.
    pub fn iter(&self) -> impl Iterator<Item = Element<'_>> {
        let Self::Packed(pack) = self;
        pack.iter()
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
