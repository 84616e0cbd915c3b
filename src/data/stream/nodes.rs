//! A stream's nodes in order: the last one in the struct itself, where entries are added, those before
//! it in blocks.
//!
//! ```text
//! blocks ─► [ node x256 ] [ node x256 ] ... [ node ... ]    tail ─► node
//!               └► base, listpack
//! ```
//! Blocks and listpacks are shared with frozen views of the stream; what somebody else has too is
//! copied before it is changed. So no step touches more than a block's nodes and one listpack, and a
//! stream of one node has no block at all.
//!
//! Invariants: bases rise; no block is empty; without a tail there is no node; `heap` and the counts
//! are sums.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::courtesy;
use crate::data::stream::id::StreamId;
use crate::data::stream::node::Node;

/// Nodes of a block at most.
const BLOCK_NODES: usize = 256;
/// What an `Arc` takes beside what it holds.
const ARC_BYTES: usize = 16;

/// Some nodes, and how many entries they have together.
#[derive(Clone, Debug)]
pub(super) struct Block {
    nodes: Arc<VecDeque<Node>>,
    /// Entries that aren't deleted.
    len: usize,
}

impl Drop for Block {
    fn drop(&mut self) {
        courtesy::give_way();
    }
}

impl Block {
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    /// Bytes of heap without the nodes' own.
    fn frame_bytes(&self) -> usize {
        ARC_BYTES + size_of::<VecDeque<Node>>() + self.nodes.capacity() * size_of::<Node>()
    }
}

/// Where a node is, until nodes come or go; the tail is behind the last block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    block: usize,
    node: usize,
}

/// See the file's head.
#[derive(Clone, Debug, Default)]
pub(super) struct Nodes {
    blocks: VecDeque<Block>,
    tail: Option<Node>,
    /// Bytes of all nodes, and of the blocks but for their place in `blocks`.
    heap: usize,
    /// Nodes that have gone.
    removals: u64,
}

impl Nodes {
    /// How often nodes have gone: while that stays, nodes are only added, and entries stay in theirs.
    #[inline]
    pub(super) fn removals(&self) -> u64 {
        self.removals
    }

    #[inline]
    pub(super) fn heap_bytes(&self) -> usize {
        self.heap + self.blocks.capacity() * size_of::<Block>()
    }

    /// How many nodes there are.
    pub(super) fn count(&self) -> usize {
        self.blocks.iter().map(|block| block.nodes.len()).sum::<usize>()
            + usize::from(self.tail.is_some())
    }

    #[inline]
    pub(super) fn get(&self, at: At) -> Option<&Node> {
        match self.blocks.get(at.block) {
            Some(block) => block.nodes.get(at.node),
            None => self.tail.as_ref().filter(|_| at == self.tail_at()),
        }
    }

    #[inline]
    fn tail_at(&self) -> At {
        At { block: self.blocks.len(), node: 0 }
    }

    #[inline]
    pub(super) fn tail(&self) -> Option<&Node> {
        self.tail.as_ref()
    }

    #[inline]
    pub(super) fn first(&self) -> Option<At> {
        self.tail.as_ref().map(|_| At { block: 0, node: 0 })
    }

    #[inline]
    pub(super) fn last(&self) -> Option<At> {
        self.tail.as_ref().map(|_| self.tail_at())
    }

    pub(super) fn after(&self, at: At) -> Option<At> {
        let block = self.blocks.get(at.block)?;
        if at.node + 1 < block.nodes.len() {
            return Some(At { node: at.node + 1, ..at });
        }
        Some(At { block: at.block + 1, node: 0 })
    }

    pub(super) fn before(&self, at: At) -> Option<At> {
        if at.node > 0 {
            return Some(At { node: at.node - 1, ..at });
        }
        let block = at.block.checked_sub(1)?;
        Some(At { block, node: self.blocks.get(block)?.nodes.len().checked_sub(1)? })
    }

    /// The node in which an id is, or would be if it isn't behind all: the last that begins at or
    /// before it.
    pub(super) fn find(&self, id: StreamId) -> Option<At> {
        if self.tail.as_ref()?.base <= id {
            return self.last();
        }
        let begins = |block: &Block| block.nodes.front().is_some_and(|node| node.base <= id);
        let block = self.blocks.partition_point(begins).checked_sub(1)?;
        let node = self.blocks[block].nodes.partition_point(|node| node.base <= id);
        Some(At { block, node: node.checked_sub(1)? })
    }

    /// All nodes from one on.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Node> + Clone {
        self.blocks.iter().flat_map(|block| block.nodes.iter()).chain(&self.tail)
    }

    /// Adds a node behind all others.
    pub(super) fn push(&mut self, node: Node) {
        self.heap += node.heap_bytes();
        if let Some(full) = self.tail.replace(node) {
            self.push_to_blocks(full);
        }
    }

    #[cold]
    fn push_to_blocks(&mut self, node: Node) {
        let len = node.len();
        match self.blocks.back_mut() {
            Some(last) if last.nodes.len() < BLOCK_NODES => {
                self.heap -= last.frame_bytes();
                last.len += len;
                Arc::make_mut(&mut last.nodes).push_back(node);
                self.heap += last.frame_bytes();
            }
            last => {
                // The first one grows with the stream.
                let room = if last.is_some() { BLOCK_NODES } else { 1 };
                let mut nodes = VecDeque::with_capacity(room);
                nodes.push_back(node);
                let block = Block { nodes: Arc::new(nodes), len };
                self.heap += block.frame_bytes();
                self.blocks.push_back(block);
            }
        }
    }

    /// Changes the tail.
    #[inline]
    pub(super) fn edit_tail<R>(&mut self, change: impl FnOnce(&mut Node) -> R) -> Option<R> {
        let tail = self.tail.as_mut()?;
        self.heap -= tail.heap_bytes();
        let result = change(tail);
        self.heap += tail.heap_bytes();
        Some(result)
    }

    /// Changes a node, which keeps at least one entry that isn't deleted.
    pub(super) fn edit<R>(&mut self, at: At, change: impl FnOnce(&mut Node) -> R) -> Option<R> {
        if at.block == self.blocks.len() {
            return self.edit_tail(change);
        }
        let block = self.blocks.get_mut(at.block)?;
        self.heap -= block.frame_bytes();
        let node = Arc::make_mut(&mut block.nodes).get_mut(at.node)?;
        let (len, heap) = (node.len(), node.heap_bytes());
        let result = change(node);
        let (new_len, new_heap) = (node.len(), node.heap_bytes());
        debug_assert!(new_len > 0, "a node is never empty");
        block.len = block.len + new_len - len;
        self.heap = self.heap + block.frame_bytes() + new_heap - heap;
        Some(result)
    }

    /// Takes a node out.
    pub(super) fn remove(&mut self, at: At) -> Option<Node> {
        self.removals += 1;
        let node = if at.block == self.blocks.len() {
            let node = self.tail.take()?;
            let before = self.before(at);
            self.tail = before.and_then(|before| self.take_from_block(before));
            node
        } else {
            self.take_from_block(at)?
        };
        self.heap -= node.heap_bytes();
        Some(node)
    }

    fn take_from_block(&mut self, at: At) -> Option<Node> {
        let block = self.blocks.get_mut(at.block)?;
        self.heap -= block.frame_bytes();
        let node = Arc::make_mut(&mut block.nodes).remove(at.node)?;
        block.len -= node.len();
        self.heap += block.frame_bytes();
        if block.nodes.is_empty() {
            self.heap -= block.frame_bytes();
            self.blocks.remove(at.block);
            if self.blocks.is_empty() {
                self.blocks = VecDeque::new();
            }
        }
        Some(node)
    }

    /// How many entries the first block has, where there is one.
    pub(super) fn first_block_len(&self) -> Option<usize> {
        self.blocks.front().map(|block| block.len)
    }

    /// The last node of the first block.
    pub(super) fn first_block_last(&self) -> Option<&Node> {
        self.blocks.front()?.nodes.back()
    }

    /// Takes the first block out with all its nodes.
    pub(super) fn take_first_block(&mut self) -> Option<Block> {
        let block = self.blocks.pop_front()?;
        self.removals += 1;
        let nodes: usize = block.nodes.iter().map(Node::heap_bytes).sum();
        self.heap -= block.frame_bytes() + nodes;
        if self.blocks.is_empty() {
            self.blocks = VecDeque::new();
        }
        Some(block)
    }

    /// Looks whether order and sums are what they should be.
    #[cfg(test)]
    pub(super) fn check(&self) {
        assert!(self.iter().is_sorted_by(|a, b| a.base < b.base));
        assert!(self.tail.is_some() || self.blocks.is_empty());
        let mut heap: usize = self.iter().map(Node::heap_bytes).sum();
        for block in &self.blocks {
            assert!((1..=BLOCK_NODES).contains(&block.nodes.len()));
            assert_eq!(block.len, block.nodes.iter().map(Node::len).sum::<usize>());
            heap += block.frame_bytes();
        }
        assert_eq!(self.heap, heap);
        assert!(self.iter().all(|node| node.len() > 0));
    }
}

impl PartialEq for Nodes {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.base == other.base && self.pack == other.pack
    }
}
