//! Lists: in one listpack while they are short, else in nodes (see `nodes`).
//!
//! When a list changes its form is upstream's business to the letter, since OBJECT ENCODING tells: it
//! becomes long when a change would take it over `list-max-listpack-size`, before the change is made
//! and even if nothing comes of it, and it goes back when one node of at most half of that is left.
//!
//! A long list shares its nodes with its clones and frozen views until either side changes them, so
//! both cost a few dozen counters.
//!
//! Deliberately absent: compressed nodes (`list-compress-depth`); every node can be read as it is.

mod iter;
mod middle;
mod node;
mod nodes;
mod wanted;

#[cfg(test)]
mod tests;

use std::fmt;

use crate::data::element::Element;
use crate::data::list::node::{Limit, Node};
use crate::data::list::nodes::{Nodes, Place};
use crate::data::list::wanted::Wanted;
use crate::data::listpack::Listpack;
use crate::data::thin::{Boxed, forms};
use crate::data::thresholds::Thresholds;

pub use iter::{Elements, Part};
pub(crate) use iter::{FrozenList, Parts};

/// One of a list's ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where index 0 is: LEFT.
    Front,
    /// Where index -1 is: RIGHT.
    Back,
}

/// A list.
#[derive(Clone)]
pub enum List {
    /// In one block.
    Packed(Listpack),
    /// In nodes.
    Long(Boxed<Nodes>),
}

forms!(List { Packed = 0, Long = 1 });

impl Default for List {
    fn default() -> Self {
        Self::Packed(Listpack::new())
    }
}

impl List {
    /// How many elements there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Packed(pack) => pack.len(),
            Self::Long(nodes) => nodes.len(),
        }
    }

    /// Whether there is none.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Packed(pack) => pack.is_empty(),
            Self::Long(nodes) => nodes.len() == 0,
        }
    }

    /// The name that OBJECT ENCODING replies.
    pub(crate) fn encoding(&self) -> &'static str {
        match self {
            Self::Packed(_) => "listpack",
            Self::Long(_) => "quicklist",
        }
    }

    /// Bytes of heap that it owns.
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Packed(pack) => pack.heap_bytes(),
            Self::Long(nodes) => nodes.heap_bytes(),
        }
    }

    /// The list as it is now, for another thread; nothing for one in one block.
    pub fn freeze(&self) -> Option<FrozenList> {
        matches!(self, Self::Long(_)).then(|| FrozenList(self.clone()))
    }

    /// The elements in order.
    pub fn iter(&self) -> Elements<'_> {
        self.walk(0, false)
    }

    /// The elements from an index on.
    #[inline]
    pub fn iter_from(&self, index: usize) -> Elements<'_> {
        self.walk(index, false)
    }

    /// The elements from an index backwards to the first.
    #[inline]
    pub fn iter_back_from(&self, index: usize) -> Elements<'_> {
        self.walk(index, true)
    }

    /// The elements from an end on towards the other.
    pub fn iter_toward(&self, from: End) -> Elements<'_> {
        match from {
            End::Front => self.walk(0, false),
            End::Back => self.walk(self.len().saturating_sub(1), true),
        }
    }

    fn walk(&self, index: usize, backward: bool) -> Elements<'_> {
        match self {
            Self::Packed(pack) => Elements::packed(pack, index, backward),
            Self::Long(nodes) => {
                let place = nodes.locate(index);
                let left = match place {
                    None => 0,
                    Some(_) if backward => index + 1,
                    Some(_) => nodes.len() - index,
                };
                let place = place.unwrap_or(Place { block: 0, node: 0, index: 0 });
                Elements::long(&nodes.blocks, place, backward, left)
            }
        }
    }

    /// The pieces of the list in order, for an RDB.
    pub(crate) fn parts(&self) -> Parts<'_> {
        let (packed, blocks) = match self {
            Self::Packed(pack) => (Some(pack), None),
            Self::Long(nodes) => (None, Some(&nodes.blocks)),
        };
        Parts { packed, blocks, block: 0, node: 0 }
    }

    /// The element at an index.
    pub fn get(&self, index: usize) -> Option<Element<'_>> {
        match self {
            Self::Packed(pack) => Some(pack.get(pack.seek(index)?)),
            Self::Long(nodes) => {
                let place = nodes.locate(index)?;
                nodes.node(place.at()).get(place.index)
            }
        }
    }

    /// Becomes long if so many bytes and elements more would be too many for one listpack.
    #[inline]
    fn grow(&mut self, bytes: usize, count: usize, limit: Limit) {
        if let Self::Packed(pack) = self
            && limit.is_exceeded(pack.byte_len() + bytes, pack.len() + count)
        {
            let pack = std::mem::take(pack);
            self.lengthen(pack);
        }
    }

    #[cold]
    fn lengthen(&mut self, pack: Listpack) {
        let mut nodes = Nodes::default();
        if !pack.is_empty() {
            nodes.push_node(End::Back, Node::of_pack(pack));
        }
        *self = Self::Long(Boxed::new(nodes));
    }

    /// Goes back into one listpack if a single small node is left.
    #[inline]
    fn shrink(&mut self, limit: Limit) {
        if let Self::Long(nodes) = self
            && let Some(Node::Pack { count, pack }) = nodes.only_node()
            && !limit.is_exceeded(pack.byte_len(), *count as usize)
        {
            self.shorten();
        }
    }

    #[cold]
    fn shorten(&mut self) {
        if let Self::Long(nodes) = std::mem::take(self)
            && let Some(pack) = nodes.into_inner().into_only_pack()
        {
            *self = Self::Packed(pack);
        }
    }

    /// Adds elements at an end, one after the other.
    #[inline]
    pub fn push<'e>(
        &mut self,
        end: End,
        elements: impl ExactSizeIterator<Item = &'e [u8]> + Clone,
        thresholds: &Thresholds,
    ) {
        let limit = Limit::of(thresholds);
        if let Self::Packed(_) = self {
            let bytes = elements.clone().map(<[u8]>::len).sum();
            self.grow(bytes, elements.len(), limit);
        }
        match self {
            Self::Packed(pack) => elements.for_each(|element| match end {
                End::Front => pack.push_front(element),
                End::Back => pack.push_back(element),
            }),
            Self::Long(nodes) => elements.for_each(|element| nodes.push(end, element, limit)),
        }
    }

    /// Removes the element at an end, and hands it to a closure before.
    #[inline]
    pub fn pop<R>(
        &mut self,
        end: End,
        thresholds: &Thresholds,
        give: impl FnOnce(Element<'_>) -> R,
    ) -> Option<R> {
        match self {
            Self::Packed(pack) => {
                let at = match end {
                    End::Front => pack.first(),
                    End::Back => pack.last(),
                }?;
                let result = give(pack.get(at));
                pack.remove(at, 1);
                Some(result)
            }
            Self::Long(nodes) => {
                let result = nodes.pop(end, give);
                self.shrink(Limit::of(thresholds).halved());
                result
            }
        }
    }

    /// Moves the element at an end to an end, handing it to a closure.
    pub fn rotate<R>(
        &mut self,
        from: End,
        to: End,
        thresholds: &Thresholds,
        give: impl FnOnce(Element<'_>) -> R,
    ) -> Option<R> {
        // It stays long until the element is back in: a list of one element doesn't change its form.
        let mut taken = Vec::new();
        let take = |element: Element<'_>| {
            taken = element.to_vec();
            give(element)
        };
        let result = match self {
            Self::Packed(_) => self.pop(from, thresholds, take),
            Self::Long(nodes) => nodes.pop(from, take),
        }?;
        self.push(to, std::iter::once(taken.as_slice()), thresholds);
        self.shrink(Limit::of(thresholds).halved());
        Some(result)
    }

    /// Removes elements from an index on.
    pub fn remove_range(&mut self, start: usize, count: usize, thresholds: &Thresholds) {
        match self {
            Self::Packed(pack) => {
                if let Some(at) = pack.seek(start) {
                    pack.remove(at, count);
                }
            }
            Self::Long(nodes) => {
                nodes.remove_range(start, count);
                self.shrink(Limit::of(thresholds).halved());
            }
        }
    }

    /// Keeps `count` elements from an index on, and removes those before and behind.
    pub fn trim(&mut self, start: usize, count: usize, thresholds: &Thresholds) {
        self.remove_range(start.saturating_add(count), usize::MAX, thresholds);
        self.remove_range(0, start, thresholds);
    }

    /// Puts an element in another's place; false where there is none at the index.
    pub fn set(&mut self, index: usize, element: &[u8], thresholds: &Thresholds) -> bool {
        let limit = Limit::of(thresholds);
        self.grow(element.len(), 1, limit);
        match self {
            Self::Packed(pack) => {
                let Some(at) = pack.seek(index) else { return false };
                pack.replace(at, element);
            }
            Self::Long(nodes) => {
                let Some(place) = nodes.locate(index) else { return false };
                nodes.replace(place, element, limit);
                self.shrink(limit.halved());
            }
        }
        true
    }

    /// Adds an element before or behind the first that is equal to `pivot`; false where none is.
    pub fn insert(
        &mut self,
        pivot: &[u8],
        behind: bool,
        element: &[u8],
        thresholds: &Thresholds,
    ) -> bool {
        let limit = Limit::of(thresholds);
        self.grow(element.len(), 1, limit);
        match self {
            Self::Packed(pack) => {
                let Some(at) = pack.first().and_then(|first| pack.find(first, pivot, 1)) else {
                    return false;
                };
                if behind {
                    pack.insert_after(at, element);
                } else {
                    pack.insert_before(at, element);
                }
            }
            Self::Long(nodes) => {
                let Some(place) = nodes.find(pivot) else { return false };
                nodes.insert(place, behind, element, limit);
            }
        }
        true
    }

    /// Removes up to `most` elements that are equal to one, from an end on; says how many.
    pub fn remove_equal(
        &mut self,
        element: &[u8],
        most: usize,
        from: End,
        thresholds: &Thresholds,
    ) -> usize {
        match self {
            Self::Packed(pack) => {
                let found = Wanted::new(element).in_pack(pack, most, from);
                middle::remove_all(pack, &found);
                found.len()
            }
            Self::Long(nodes) => {
                let limit = Limit::of(thresholds);
                let removed = nodes.remove_equal(element, most, from, limit);
                self.shrink(limit.halved());
                removed
            }
        }
    }

    /// How far from an end on the elements are that are equal to one, in order, among the first
    /// `within` from there.
    pub fn distances_to<'a>(
        &'a self,
        element: &'a [u8],
        from: End,
        within: usize,
    ) -> impl Iterator<Item = usize> + use<'a> {
        let wanted = Wanted::new(element);
        let (packed, long) = match self {
            Self::Packed(pack) => {
                let found = wanted.in_pack(pack, usize::MAX, from);
                (wanted::in_order(found, pack.len(), from), None)
            }
            Self::Long(nodes) => (Vec::new(), Some(wanted::distances(nodes, wanted, from, within))),
        };
        let all = packed.into_iter().chain(long.into_iter().flatten());
        all.take_while(move |distance| *distance < within)
    }
}

/// A list in the making, from the pieces of an RDB.
#[derive(Debug, Default)]
pub(crate) struct ListBuilder {
    nodes: Nodes,
}

impl ListBuilder {
    /// Adds a piece of elements at the end; one without any is left out.
    pub(crate) fn pack(&mut self, pack: Listpack) {
        if !pack.is_empty() {
            self.nodes.push_node(End::Back, Node::of_pack(pack));
        }
    }

    /// Adds one element at the end.
    pub(crate) fn element(&mut self, element: &[u8], thresholds: &Thresholds) {
        self.nodes.push(End::Back, element, Limit::of(thresholds));
    }

    /// The list, in one listpack where it fits.
    pub(crate) fn finish(self, thresholds: &Thresholds) -> List {
        if self.nodes.len() == 0 {
            return List::default();
        }
        let mut list = List::Long(Boxed::new(self.nodes));
        list.shrink(Limit::of(thresholds));
        list
    }
}

impl<'a> IntoIterator for &'a List {
    type Item = Element<'a>;
    type IntoIter = Elements<'a>;

    fn into_iter(self) -> Elements<'a> {
        self.iter()
    }
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |element: Element<'_>| String::from_utf8_lossy(&element.to_vec()).into_owned();
        f.debug_list().entries(self.iter().map(text)).finish()
    }
}

impl PartialEq for List {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for List {}
