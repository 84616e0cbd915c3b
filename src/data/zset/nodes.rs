//! Nodes of a tree of one kind, by number: a number stays its node's until that is taken out.

use super::narrow;
use crate::base::courtesy;

/// Nodes that are freed at once.
const NODES_AT_ONCE: usize = 64;

/// See the file's head.
#[derive(Clone, Debug)]
pub(super) struct Nodes<N> {
    nodes: Vec<Option<Box<N>>>,
    vacant: Vec<u32>,
}

impl<N> Drop for Nodes<N> {
    fn drop(&mut self) {
        for some in self.nodes.chunks_mut(NODES_AT_ONCE) {
            some.fill_with(|| None);
            courtesy::give_way();
        }
    }
}

impl<N> Nodes<N> {
    pub(super) const fn new() -> Self {
        Self { nodes: Vec::new(), vacant: Vec::new() }
    }

    #[inline]
    pub(super) fn get(&self, node: u32) -> &N {
        match &self.nodes[node as usize] {
            Some(node) => node,
            None => unreachable!("parents and neighbours name nodes that are there"),
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, node: u32) -> &mut N {
        match &mut self.nodes[node as usize] {
            Some(node) => node,
            None => unreachable!("parents and neighbours name nodes that are there"),
        }
    }

    pub(super) fn add(&mut self, node: N) -> u32 {
        if let Some(number) = self.vacant.pop() {
            self.nodes[number as usize] = Some(Box::new(node));
            return number;
        }
        self.nodes.push(Some(Box::new(node)));
        narrow(self.nodes.len() - 1)
    }

    pub(super) fn take(&mut self, node: u32) -> N {
        self.vacant.push(node);
        match self.nodes[node as usize].take() {
            Some(node) => *node,
            None => unreachable!("parents and neighbours name nodes that are there"),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        (self.nodes.len() - self.vacant.len()) * size_of::<N>()
            + self.nodes.capacity() * size_of::<Option<Box<N>>>()
            + self.vacant.capacity() * size_of::<u32>()
    }
}
