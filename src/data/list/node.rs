//! A node of a long list: a listpack, or one element too large for one. And how large nodes get.

use std::sync::Arc;

use crate::data::element::Element;
use crate::data::listpack::{Cursor, Listpack};
use crate::data::thresholds::Thresholds;

/// What an entry of a listpack takes beyond its element, at most.
const ENTRY_OVERHEAD: usize = 8;
/// The most a node has where the directive counts elements instead of bytes.
const COUNTED_BYTES_MAX: usize = 8 << 10;
/// Bytes of nodes that the directive's values -1 to -5 stand for.
const SIZES: [usize; 5] = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];
/// What an `Arc` allocates beside the value.
pub(super) const ARC_BYTES: usize = 16;

/// How large a node may be, and a list in one listpack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) bytes: usize,
    pub(super) count: usize,
}

impl Limit {
    /// The bounds that `list-max-listpack-size` stands for.
    #[inline]
    pub(super) fn of(thresholds: &Thresholds) -> Self {
        match usize::try_from(thresholds.list_size) {
            Ok(count) => Self { bytes: COUNTED_BYTES_MAX, count: count.max(1) },
            Err(_) => {
                let bytes = match thresholds.list_size {
                    -1 => SIZES[0],
                    -2 => SIZES[1],
                    -3 => SIZES[2],
                    -4 => SIZES[3],
                    _ => SIZES[4],
                };
                Self { bytes, count: usize::MAX }
            }
        }
    }

    /// Whether so many bytes, or elements, are too many.
    #[inline]
    pub(super) fn is_exceeded(self, bytes: usize, count: usize) -> bool {
        bytes > self.bytes || count > self.count
    }

    /// Whether an element must stand alone.
    #[inline]
    pub(super) fn is_large(self, element: &[u8]) -> bool {
        element.len() > self.bytes
    }

    /// What a long list must get down to before it goes back into one listpack: half, so that it
    /// doesn't go to and fro.
    pub(super) fn halved(self) -> Self {
        let counted = self.count != usize::MAX;
        let bytes = if counted { self.bytes } else { self.bytes / 2 };
        Self { bytes, count: if counted { self.count / 2 } else { self.count } }
    }
}

/// One node. Cloning it shares what it holds; whoever changes a shared one copies it first.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// A listpack, never empty, and how many elements it has.
    Pack { count: u32, pack: Arc<Listpack> },
    /// One element that is larger than a node.
    Plain(Arc<Box<[u8]>>),
}

const _: () = assert!(size_of::<Node>() == 16, "256 nodes make a block of 4 KiB");

/// How many elements a node's listpack has.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a listpack is shorter than 4 GiB")]
fn count_of(pack: &Listpack) -> u32 {
    pack.len() as u32
}

impl Node {
    /// A node of one element.
    pub(super) fn of(element: &[u8], limit: Limit) -> Self {
        if limit.is_large(element) {
            return Self::Plain(Arc::new(element.into()));
        }
        let mut pack = Listpack::new();
        pack.push_back(element);
        Self::Pack { count: 1, pack: Arc::new(pack) }
    }

    /// A node of a listpack that isn't empty.
    pub(super) fn of_pack(pack: Listpack) -> Self {
        Self::Pack { count: count_of(&pack), pack: Arc::new(pack) }
    }

    /// How many elements there are.
    #[inline]
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Pack { count, .. } => *count as usize,
            Self::Plain(_) => 1,
        }
    }

    /// Bytes of heap, as if they were shared with nobody.
    #[inline]
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Pack { pack, .. } => ARC_BYTES + size_of::<Listpack>() + pack.heap_bytes(),
            Self::Plain(bytes) => ARC_BYTES + size_of::<Box<[u8]>>() + bytes.len(),
        }
    }

    /// Whether one more element fits.
    #[inline]
    pub(super) fn has_room_for(&self, element: &[u8], limit: Limit) -> bool {
        match self {
            Self::Pack { count, pack } => {
                let bytes = pack.byte_len() + element.len() + ENTRY_OVERHEAD;
                !limit.is_large(element) && !limit.is_exceeded(bytes, *count as usize + 1)
            }
            Self::Plain(_) => false,
        }
    }

    /// Whether both fit into one.
    pub(super) fn fits_with(&self, next: &Self, limit: Limit) -> bool {
        match (self, next) {
            (Self::Pack { count, pack }, Self::Pack { count: more, pack: other }) => {
                let bytes = pack.byte_len() + other.byte_len();
                !limit.is_exceeded(bytes, *count as usize + *more as usize)
            }
            _ => false,
        }
    }

    /// The element at an index.
    pub(super) fn get(&self, index: usize) -> Option<Element<'_>> {
        match self {
            Self::Pack { pack, .. } => Some(pack.get(pack.seek(index)?)),
            Self::Plain(bytes) => (index == 0).then_some(Element::Bytes(bytes)),
        }
    }

    /// Changes the listpack, copied first where somebody else has it too; the count follows. Nothing
    /// happens to a plain node.
    #[inline]
    pub(super) fn edit(&mut self, change: impl FnOnce(&mut Listpack)) {
        if let Self::Pack { count, pack } = self {
            let pack = Arc::make_mut(pack);
            change(pack);
            *count = count_of(pack);
        }
    }

    /// Changes the listpack at an index, as [`Node::edit`].
    pub(super) fn edit_at(&mut self, index: usize, change: impl FnOnce(&mut Listpack, Cursor)) {
        self.edit(|pack| {
            if let Some(at) = pack.seek(index) {
                change(pack, at);
            }
        });
    }

    /// Takes the elements from an index on away into a node of their own; both keep some.
    pub(super) fn split_off(&mut self, index: usize) -> Option<Self> {
        if index == 0 || index >= self.count() {
            return None;
        }
        let mut rest = Listpack::new();
        self.edit(|pack| rest = pack.split_off(index));
        Some(Self::of_pack(rest))
    }

    /// Adds another's elements at the end. Both are listpacks.
    pub(super) fn append(&mut self, next: &Self) {
        if let Self::Pack { pack: more, .. } = next {
            self.edit(|pack| pack.append(more));
        }
    }
}
