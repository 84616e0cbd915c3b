//! Walking over a list, from any place towards either end, and its pieces for whoever writes it down.

use std::collections::VecDeque;

use crate::data::element::Element;
use crate::data::list::List;
use crate::data::list::node::Node;
use crate::data::list::nodes::{Block, Place};
use crate::data::listpack::{Iter as PackIter, Listpack};

/// A piece of a list, as an RDB has it.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// Some elements.
    Packed(&'a Listpack),
    /// One large element.
    Plain(&'a [u8]),
}

/// A list as it was at one moment, for another thread to go through while the list changes.
#[derive(Debug)]
pub struct FrozenList(pub(super) List);

impl FrozenList {
    /// The elements in order.
    pub(crate) fn iter(&self) -> Elements<'_> {
        self.0.iter()
    }

    /// The list, to be read only.
    pub(crate) fn as_list(&self) -> &List {
        &self.0
    }
}

impl<'a> IntoIterator for &'a FrozenList {
    type Item = Element<'a>;
    type IntoIter = Elements<'a>;

    fn into_iter(self) -> Elements<'a> {
        self.iter()
    }
}

/// The elements of one node that are still to come.
#[derive(Clone, Debug)]
enum InNode<'a> {
    Pack(PackIter<'a>),
    Plain(Option<&'a [u8]>),
}

impl<'a> InNode<'a> {
    fn whole(node: &'a Node) -> Self {
        match node {
            Node::Pack { pack, .. } => Self::Pack(pack.iter()),
            Node::Plain(bytes) => Self::Plain(Some(bytes)),
        }
    }

    /// From an index towards an end.
    fn from(node: &'a Node, index: usize, backward: bool) -> Self {
        match node {
            Node::Pack { pack, .. } => Self::Pack(pack_from(pack, index, backward)),
            Node::Plain(bytes) => Self::Plain((index == 0).then_some(bytes)),
        }
    }

    #[inline]
    fn step(&mut self, backward: bool) -> Option<Element<'a>> {
        match self {
            Self::Pack(iter) if backward => iter.next_back(),
            Self::Pack(iter) => iter.next(),
            Self::Plain(bytes) => bytes.take().map(Element::Bytes),
        }
    }
}

fn pack_from(pack: &Listpack, index: usize, backward: bool) -> PackIter<'_> {
    match pack.seek(index) {
        Some(at) if backward => pack.iter_up_to(at),
        Some(at) => pack.iter_from(at),
        None => Listpack::iter(pack),
    }
}

/// Elements of a list, one after the other towards one of its ends.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    current: InNode<'a>,
    /// Where the node after `current` is, in the direction of the walk.
    blocks: Option<&'a VecDeque<Block>>,
    block: usize,
    node: usize,
    backward: bool,
    /// How many elements are still to come.
    left: usize,
}

impl<'a> Elements<'a> {
    /// Over a list in one listpack.
    pub(super) fn packed(pack: &'a Listpack, index: usize, backward: bool) -> Self {
        let count = pack.len();
        let (left, iter) = if index < count {
            let left = if backward { index + 1 } else { count - index };
            (left, pack_from(pack, index, backward))
        } else {
            (0, pack.iter())
        };
        Self { current: InNode::Pack(iter), blocks: None, block: 0, node: 0, backward, left }
    }

    /// Over a long list from a place with `left` elements to come.
    pub(super) fn long(
        blocks: &'a VecDeque<Block>,
        place: Place,
        backward: bool,
        left: usize,
    ) -> Self {
        let node = blocks.get(place.block).and_then(|block| block.nodes.get(place.node));
        let current = match node {
            Some(node) if left > 0 => InNode::from(node, place.index, backward),
            _ => InNode::Plain(None),
        };
        let (block, node) = (place.block, place.node);
        Self { current, blocks: Some(blocks), block, node, backward, left }
    }

    /// Hands out the next `count` elements, or all if there aren't so many. Faster than one by one,
    /// as it goes node by node.
    #[inline]
    pub fn visit(mut self, count: usize, mut each: impl FnMut(Element<'a>)) {
        let mut left = count.min(self.left);
        while left > 0 {
            match &mut self.current {
                InNode::Pack(iter) if !self.backward => {
                    for element in iter.take(left) {
                        each(element);
                        left -= 1;
                    }
                }
                current => {
                    while left > 0
                        && let Some(element) = current.step(self.backward)
                    {
                        each(element);
                        left -= 1;
                    }
                }
            }
            if left > 0 && self.go_on().is_none() {
                break;
            }
        }
    }

    /// Goes on to the next node that there is.
    #[cold]
    fn go_on(&mut self) -> Option<()> {
        let blocks = self.blocks?;
        if !self.backward {
            self.node += 1;
            if self.node >= blocks.get(self.block)?.nodes.len() {
                (self.block, self.node) = (self.block + 1, 0);
            }
        } else if self.node > 0 {
            self.node -= 1;
        } else {
            self.block = self.block.checked_sub(1)?;
            self.node = blocks.get(self.block)?.nodes.len() - 1;
        }
        self.current = InNode::whole(blocks.get(self.block)?.nodes.get(self.node)?);
        Some(())
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        if self.left == 0 {
            return None;
        }
        loop {
            if let Some(element) = self.current.step(self.backward) {
                self.left -= 1;
                return Some(element);
            }
            self.go_on()?;
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Elements<'_> {}

/// The pieces of a list in order.
#[derive(Clone, Debug)]
pub(crate) struct Parts<'a> {
    pub(super) packed: Option<&'a Listpack>,
    pub(super) blocks: Option<&'a VecDeque<Block>>,
    pub(super) block: usize,
    pub(super) node: usize,
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        if let Some(pack) = self.packed.take() {
            return Some(Part::Packed(pack));
        }
        let blocks = self.blocks?;
        loop {
            let block = blocks.get(self.block)?;
            if let Some(node) = block.nodes.get(self.node) {
                self.node += 1;
                return Some(match node {
                    Node::Pack { pack, .. } => Part::Packed(pack),
                    Node::Plain(bytes) => Part::Plain(bytes),
                });
            }
            (self.block, self.node) = (self.block + 1, 0);
        }
    }
}
