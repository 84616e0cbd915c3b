//! A long list: nodes in blocks of at most 256, so that no step touches more than one block.
//!
//! Blocks and nodes are shared with frozen views of the list; a block's vector of nodes, or a node's
//! listpack, is copied before it is changed if somebody else has it too. Counts of elements are kept
//! with each block and node, so an index is found by walking over blocks, then over one block's
//! nodes, from the nearer end.
//!
//! Invariants: no node and no block is empty; `len` and `heap` are the sums over the blocks.
//!
//! What is about elements in the middle is in [`middle`](super::middle).

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::base::courtesy;
use crate::data::element::Element;
use crate::data::list::End;
use crate::data::list::node::{ARC_BYTES, Limit, Node};
use crate::data::listpack::Listpack;

/// How many nodes a block has at most.
const BLOCK_NODES: usize = 256;
/// Neighbouring blocks that together have no more nodes than this become one.
const BLOCK_NODES_FEW: usize = BLOCK_NODES / 2;

/// Some nodes, and how many elements they have together.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) nodes: Arc<VecDeque<Node>>,
    pub(super) count: usize,
}

impl Drop for Block {
    fn drop(&mut self) {
        courtesy::give_way();
    }
}

impl Block {
    fn new(nodes: VecDeque<Node>) -> Self {
        let count = nodes.iter().map(Node::count).sum();
        Self { nodes: Arc::new(nodes), count }
    }

    /// Bytes of heap without the nodes' own.
    fn frame_bytes(&self) -> usize {
        ARC_BYTES + size_of::<VecDeque<Node>>() + self.nodes.capacity() * size_of::<Node>()
    }

    fn heap_bytes(&self) -> usize {
        self.frame_bytes() + self.nodes.iter().map(Node::heap_bytes).sum::<usize>()
    }
}

/// Where a node is, until nodes come or go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) block: usize,
    pub(super) node: usize,
}

/// Where an element is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) block: usize,
    pub(super) node: usize,
    pub(super) index: usize,
}

impl Place {
    pub(super) fn at(self) -> At {
        At { block: self.block, node: self.node }
    }
}

/// See the file's head.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    pub(super) blocks: VecDeque<Block>,
    len: usize,
    heap: usize,
}

impl Nodes {
    /// How many elements there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of heap, with this struct's own where it is boxed.
    #[inline]
    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.blocks.capacity() * size_of::<Block>() + self.heap
    }

    /// The only node, where there is just one.
    pub(super) fn only_node(&self) -> Option<&Node> {
        if self.blocks.len() != 1 || self.blocks[0].nodes.len() != 1 {
            return None;
        }
        self.blocks[0].nodes.front()
    }

    /// Whether there are more nodes than two.
    pub(super) fn has_many_nodes(&self) -> bool {
        self.blocks.len() > 2
            || self.blocks.iter().map(|block| block.nodes.len()).sum::<usize>() > 2
    }

    pub(super) fn node(&self, at: At) -> &Node {
        &self.blocks[at.block].nodes[at.node]
    }

    /// The node that follows.
    pub(super) fn after(&self, at: At) -> Option<At> {
        self.settled(At { node: at.node + 1, ..at })
    }

    /// A place that may be one behind its block's last node.
    pub(super) fn settled(&self, at: At) -> Option<At> {
        let nodes = &self.blocks.get(at.block)?.nodes;
        if at.node < nodes.len() {
            return Some(at);
        }
        (at.block + 1 < self.blocks.len()).then_some(At { block: at.block + 1, node: 0 })
    }

    /// The node before.
    pub(super) fn before(&self, at: At) -> Option<At> {
        if at.node > 0 {
            return Some(At { node: at.node - 1, ..at });
        }
        let block = at.block.checked_sub(1)?;
        Some(At { block, node: self.blocks[block].nodes.len() - 1 })
    }

    /// The node at an end.
    #[inline]
    pub(super) fn end(&self, end: End) -> Option<At> {
        match end {
            End::Front => (!self.blocks.is_empty()).then_some(At { block: 0, node: 0 }),
            End::Back => {
                let block = self.blocks.len().checked_sub(1)?;
                Some(At { block, node: self.blocks[block].nodes.len() - 1 })
            }
        }
    }

    /// A block's nodes to be changed, copied first where a frozen view has them too.
    #[inline]
    fn own(&mut self, block: usize) -> &mut VecDeque<Node> {
        let nodes = &mut self.blocks[block].nodes;
        let before = nodes.capacity();
        let owned = Arc::make_mut(nodes);
        self.heap = self.heap + owned.capacity() * size_of::<Node>() - before * size_of::<Node>();
        owned
    }

    /// Changes a node, which keeps at least one element.
    #[inline]
    pub(super) fn edit<R>(&mut self, at: At, change: impl FnOnce(&mut Node) -> R) -> R {
        let node = &mut self.own(at.block)[at.node];
        let (count, heap) = (node.count(), node.heap_bytes());
        let result = change(node);
        let (new_count, new_heap) = (node.count(), node.heap_bytes());
        debug_assert!(new_count > 0, "a node is never empty");
        self.heap = self.heap + new_heap - heap;
        self.len = self.len + new_count - count;
        let block = &mut self.blocks[at.block];
        block.count = block.count + new_count - count;
        result
    }

    /// Changes which nodes a block has.
    fn edit_block<R>(&mut self, block: usize, change: impl FnOnce(&mut VecDeque<Node>) -> R) -> R {
        let nodes = self.own(block);
        let before = nodes.capacity();
        let result = change(nodes);
        let after = nodes.capacity();
        self.heap = self.heap + after * size_of::<Node>() - before * size_of::<Node>();
        result
    }

    fn put_block(&mut self, index: usize, block: Block) {
        self.heap += block.frame_bytes();
        self.blocks.insert(index, block);
    }

    /// Puts a node before the one at a place, which may be just behind a block's last; says where it
    /// came to lie.
    pub(super) fn insert_node(&mut self, at: At, node: Node) -> At {
        self.heap += node.heap_bytes();
        self.len += node.count();
        let count = node.count();
        if self.blocks.is_empty() {
            self.put_block(0, Block::new(VecDeque::from([node])));
            return At { block: 0, node: 0 };
        }
        let nodes = self.blocks[at.block].nodes.len();
        if nodes < BLOCK_NODES {
            self.edit_block(at.block, |nodes| nodes.insert(at.node, node));
            self.blocks[at.block].count += count;
            return at;
        }
        // At either end of the list a full block stays full, and a new one begins.
        if at.block + 1 == self.blocks.len() && at.node == nodes {
            self.put_block(at.block + 1, Block::new(VecDeque::from([node])));
            return At { block: at.block + 1, node: 0 };
        }
        if at.block == 0 && at.node == 0 {
            self.put_block(0, Block::new(VecDeque::from([node])));
            return At { block: 0, node: 0 };
        }
        self.halve_block(at.block);
        let mut place = at;
        if at.node > BLOCK_NODES / 2 {
            place = At { block: at.block + 1, node: at.node - BLOCK_NODES / 2 };
        }
        self.edit_block(place.block, |nodes| nodes.insert(place.node, node));
        self.blocks[place.block].count += count;
        place
    }

    #[cold]
    fn halve_block(&mut self, block: usize) {
        let rest = Block::new(self.edit_block(block, |nodes| {
            let rest = nodes.split_off(BLOCK_NODES / 2);
            nodes.shrink_to_fit();
            rest
        }));
        self.blocks[block].count -= rest.count;
        self.put_block(block + 1, rest);
    }

    /// Takes a node out, and its block if that was the last one.
    pub(super) fn take_node(&mut self, at: At) -> Option<Node> {
        let node = self.edit_block(at.block, |nodes| nodes.remove(at.node))?;
        self.heap -= node.heap_bytes();
        self.len -= node.count();
        let block = &mut self.blocks[at.block];
        block.count -= node.count();
        if block.nodes.is_empty() {
            self.heap -= block.frame_bytes();
            self.blocks.remove(at.block);
        }
        Some(node)
    }

    /// Makes one of two neighbouring blocks that have few nodes.
    pub(super) fn merge_blocks(&mut self, block: usize) {
        let Some([first, second]) = self
            .blocks
            .get(block)
            .zip(self.blocks.get(block + 1))
            .map(|(first, second)| [first.nodes.len(), second.nodes.len()])
        else {
            return;
        };
        if first + second > BLOCK_NODES_FEW {
            return;
        }
        if let Some(next) = self.blocks.remove(block + 1) {
            self.heap -= next.frame_bytes();
            self.edit_block(block, |nodes| nodes.extend(next.nodes.iter().cloned()));
            self.blocks[block].count += next.count;
        }
    }

    /// Adds an element at an end.
    #[inline]
    pub(super) fn push(&mut self, end: End, element: &[u8], limit: Limit) {
        if let Some(at) = self.end(end)
            && self.node(at).has_room_for(element, limit)
        {
            self.edit(at, |node| {
                node.edit(|pack| match end {
                    End::Front => pack.push_front(element),
                    End::Back => pack.push_back(element),
                });
            });
            return;
        }
        self.push_node(end, Node::of(element, limit));
    }

    /// Adds a node at an end.
    pub(super) fn push_node(&mut self, end: End, node: Node) {
        let at = match (end, self.end(end)) {
            (End::Back, Some(last)) => At { node: last.node + 1, ..last },
            _ => At { block: 0, node: 0 },
        };
        self.insert_node(at, node);
    }

    /// Removes the element at an end, and hands it to a closure before.
    #[inline]
    pub(super) fn pop<R>(&mut self, end: End, give: impl FnOnce(Element<'_>) -> R) -> Option<R> {
        let at = self.end(end)?;
        let Node::Pack { count: 2.., pack } = self.node(at) else {
            let node = self.take_node(at)?;
            return node.get(0).map(give);
        };
        let cursor = match end {
            End::Front => pack.first(),
            End::Back => pack.last(),
        }?;
        let result = give(pack.get(cursor));
        self.edit(at, |node| {
            node.edit(|pack| {
                pack.remove(cursor, 1);
            });
        });
        Some(result)
    }

    /// Where the element at an index is, which is below the length.
    pub(super) fn locate(&self, index: usize) -> Option<Place> {
        if index >= self.len {
            return None;
        }
        let (block, index) = descend(self.blocks.iter().map(|block| block.count), self.len, index)?;
        let nodes = &self.blocks[block].nodes;
        let count = self.blocks[block].count;
        let (node, index) = descend(nodes.iter().map(Node::count), count, index)?;
        Some(Place { block, node, index })
    }

    /// Removes elements from an index on.
    pub(super) fn remove_range(&mut self, start: usize, count: usize) {
        let mut left = count.min(self.len.saturating_sub(start));
        let Some(Place { block, node, mut index }) = self.locate(start) else { return };
        let mut at = At { block, node };
        while left > 0 {
            let block = &self.blocks[at.block];
            if at.node == 0 && index == 0 && block.count <= left {
                left -= block.count;
                self.drop_block(at.block);
                continue;
            }
            let size = block.nodes[at.node].count();
            if index > 0 || size > left {
                let gone = (size - index).min(left);
                self.edit(at, |node| {
                    node.edit_at(index, |pack, cursor| {
                        pack.remove(cursor, gone);
                    });
                });
                left -= gone;
                at.node += 1;
            } else {
                left -= self.drop_nodes(at, left);
            }
            index = 0;
            match self.settled(at) {
                Some(next) => at = next,
                None => break,
            }
        }
        self.merge_blocks(at.block);
        self.merge_blocks(at.block.saturating_sub(1));
    }

    fn drop_block(&mut self, block: usize) {
        if let Some(block) = self.blocks.remove(block) {
            self.heap -= block.heap_bytes();
            self.len -= block.count;
        }
    }

    /// Removes whole nodes of a block from one on, up to so many elements, but not all of the block's;
    /// says how many elements went.
    fn drop_nodes(&mut self, at: At, most: usize) -> usize {
        let nodes = &self.blocks[at.block].nodes;
        let (mut end, mut gone) = (at.node, 0);
        while let Some(node) = nodes.get(end)
            && gone + node.count() <= most
        {
            gone += node.count();
            end += 1;
        }
        let range: Range<usize> = at.node..end;
        self.heap -= nodes.range(range.clone()).map(Node::heap_bytes).sum::<usize>();
        self.len -= gone;
        self.blocks[at.block].count -= gone;
        self.edit_block(at.block, |nodes| {
            nodes.drain(range);
        });
        gone
    }

    /// The listpack of a list that has no other node.
    pub(super) fn into_only_pack(mut self) -> Option<Listpack> {
        let node = self.take_node(At { block: 0, node: 0 })?;
        match node {
            Node::Pack { pack, .. } => Some(Arc::unwrap_or_clone(pack)),
            Node::Plain(_) => None,
        }
    }

    /// Looks whether the sums are what they should be.
    #[cfg(test)]
    pub(super) fn check(&self, limit: Limit) {
        let mut heap = 0;
        let mut len = 0;
        for block in &self.blocks {
            assert!((1..=BLOCK_NODES).contains(&block.nodes.len()));
            assert_eq!(block.count, block.nodes.iter().map(Node::count).sum::<usize>());
            for node in block.nodes.iter() {
                assert!(node.count() > 0);
                match node {
                    Node::Pack { count, pack } => {
                        assert_eq!(*count as usize, pack.len());
                        assert!(pack.byte_len() <= limit.bytes + 20, "{}", pack.byte_len());
                    }
                    Node::Plain(bytes) => assert!(bytes.len() > limit.bytes),
                }
            }
            heap += block.heap_bytes();
            len += block.count;
        }
        assert_eq!((self.len, self.heap), (len, heap));
    }
}

/// Which of several parts has the element at an index, and its index there. Walks from the nearer
/// end; `total` is the sum of the parts.
fn descend(
    mut parts: impl DoubleEndedIterator<Item = usize> + ExactSizeIterator,
    total: usize,
    mut index: usize,
) -> Option<(usize, usize)> {
    if index < total / 2 {
        for (number, size) in parts.enumerate() {
            if index < size {
                return Some((number, index));
            }
            index -= size;
        }
        return None;
    }
    let mut behind = total - index;
    let mut number = parts.len();
    while let Some(size) = parts.next_back() {
        number -= 1;
        if behind <= size {
            return Some((number, size - behind));
        }
        behind -= size;
    }
    None
}
