//! The order of a big sorted set: a counted B+tree of scores and entry handles.
//!
//! Leaves hold elements in order and know their neighbours; inner nodes know of each child how many
//! elements are below it and what the first of them is. So an element's rank, the element of a rank,
//! and where a bound falls are all found on one way down. The tree is a sequence: it compares nothing
//! itself, but asks whether an element comes before what is wanted ([`Tree::position`]).
//!
//! A node that is full is halved, except at the very end, where it stays full: elements that come in
//! order fill their leaves. A node that is sparse merges with a neighbour. Nothing touches more than a
//! few nodes a level, and nodes never move once they are made.

use super::narrow;
use crate::data::index::Handle;
use crate::data::zset::nodes::Nodes;

/// Elements of a leaf: about a kilobyte.
const LEAF: usize = 84;
/// Children of an inner node.
const INNER: usize = 42;
/// The neighbour of the first or last leaf.
const NONE: u32 = u32::MAX;

/// An element: its score and where its entry is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ranked {
    /// Its score.
    pub score: f64,
    /// Its entry.
    pub handle: Handle,
}

#[derive(Clone, Debug)]
struct Leaf {
    len: usize,
    previous: u32,
    next: u32,
    scores: [f64; LEAF],
    handles: [u32; LEAF],
}

#[derive(Clone, Debug)]
struct Inner {
    len: usize,
    children: [u32; INNER],
    counts: [u32; INNER],
    scores: [f64; INNER],
    handles: [u32; INNER],
}

/// A child as its parent knows it.
#[derive(Clone, Copy, Debug)]
struct Child {
    node: u32,
    count: usize,
    first: Ranked,
}

/// Moves `array[at..len]` up by one and puts a value at `at`.
fn insert_at<T: Copy, const N: usize>(array: &mut [T; N], at: usize, len: usize, value: T) {
    array.copy_within(at..len, at + 1);
    array[at] = value;
}

impl Leaf {
    fn new() -> Self {
        Self { len: 0, previous: NONE, next: NONE, scores: [0.0; LEAF], handles: [0; LEAF] }
    }

    #[inline]
    fn get(&self, at: usize) -> Ranked {
        Ranked { score: self.scores[at], handle: Handle(self.handles[at]) }
    }

    fn set(&mut self, at: usize, element: Ranked) {
        self.scores[at] = element.score;
        self.handles[at] = element.handle.0;
    }

    fn insert(&mut self, at: usize, element: Ranked) {
        insert_at(&mut self.scores, at, self.len, element.score);
        insert_at(&mut self.handles, at, self.len, element.handle.0);
        self.len += 1;
    }

    fn remove(&mut self, at: usize, count: usize) {
        self.scores.copy_within(at + count..self.len, at);
        self.handles.copy_within(at + count..self.len, at);
        self.len -= count;
    }

    /// Adds another's elements from `from` on at the end.
    fn append(&mut self, other: &Self, from: usize) {
        let count = other.len - from;
        self.scores[self.len..self.len + count].copy_from_slice(&other.scores[from..other.len]);
        self.handles[self.len..self.len + count].copy_from_slice(&other.handles[from..other.len]);
        self.len += count;
    }
}

impl Inner {
    fn new() -> Self {
        Self {
            len: 0,
            children: [0; INNER],
            counts: [0; INNER],
            scores: [0.0; INNER],
            handles: [0; INNER],
        }
    }

    #[inline]
    fn first_of(&self, at: usize) -> Ranked {
        Ranked { score: self.scores[at], handle: Handle(self.handles[at]) }
    }

    fn set(&mut self, at: usize, child: Child) {
        self.children[at] = child.node;
        self.counts[at] = narrow(child.count);
        self.scores[at] = child.first.score;
        self.handles[at] = child.first.handle.0;
    }

    fn insert(&mut self, at: usize, child: Child) {
        let len = self.len;
        insert_at(&mut self.children, at, len, child.node);
        insert_at(&mut self.counts, at, len, narrow(child.count));
        insert_at(&mut self.scores, at, len, child.first.score);
        insert_at(&mut self.handles, at, len, child.first.handle.0);
        self.len += 1;
    }

    fn remove(&mut self, at: usize) {
        let rest = at + 1..self.len;
        self.children.copy_within(rest.clone(), at);
        self.counts.copy_within(rest.clone(), at);
        self.scores.copy_within(rest.clone(), at);
        self.handles.copy_within(rest, at);
        self.len -= 1;
    }

    fn child(&self, at: usize) -> Child {
        let first = self.first_of(at);
        Child { node: self.children[at], count: self.counts[at] as usize, first }
    }

    fn append(&mut self, other: &Self, from: usize) {
        for at in from..other.len {
            self.insert(self.len, other.child(at));
        }
    }

    fn total(&self) -> usize {
        self.counts[..self.len].iter().map(|count| *count as usize).sum()
    }

    /// The child in which a rank is, and the rank there. The rank behind the last is in the last.
    #[inline]
    fn descend(&self, mut rank: usize) -> (usize, usize) {
        for (at, count) in self.counts[..self.len - 1].iter().enumerate() {
            if rank < *count as usize {
                return (at, rank);
            }
            rank -= *count as usize;
        }
        (self.len - 1, rank)
    }
}

/// See the file's head.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    leaves: Nodes<Leaf>,
    inners: Nodes<Inner>,
    root: u32,
    /// Levels of inner nodes above the leaves.
    height: usize,
    len: usize,
}

impl Default for Tree {
    fn default() -> Self {
        let mut leaves = Nodes::new();
        let root = leaves.add(Leaf::new());
        Self { leaves, inners: Nodes::new(), root, height: 0, len: 0 }
    }
}

impl Tree {
    /// How many elements there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of heap.
    #[inline]
    pub(crate) fn heap_bytes(&self) -> usize {
        self.leaves.heap_bytes() + self.inners.heap_bytes()
    }

    /// How many elements come before: `is_before` must hold for those, from the first on, and for none
    /// behind them.
    #[inline]
    pub(crate) fn position(&self, is_before: impl Fn(Ranked) -> bool) -> usize {
        let (mut node, mut rank) = (self.root, 0);
        for _ in 0..self.height {
            let inner = self.inners.get(node);
            // The last child that begins before; the first where none does.
            let at = partition(inner.len, |at| is_before(inner.first_of(at))).max(1) - 1;
            rank += inner.counts[..at].iter().map(|count| *count as usize).sum::<usize>();
            node = inner.children[at];
        }
        let leaf = self.leaves.get(node);
        rank + partition(leaf.len, |at| is_before(leaf.get(at)))
    }

    /// The leaf in which a rank is, and the place in it.
    #[inline]
    fn find(&self, mut rank: usize) -> (u32, usize) {
        let mut node = self.root;
        for _ in 0..self.height {
            let inner = self.inners.get(node);
            let (at, rest) = inner.descend(rank);
            node = inner.children[at];
            rank = rest;
        }
        (node, rank)
    }

    /// The element of a rank.
    pub(crate) fn get(&self, rank: usize) -> Option<Ranked> {
        let (leaf, at) = self.find(rank);
        (rank < self.len).then(|| self.leaves.get(leaf).get(at))
    }

    /// The elements from a rank on.
    pub(crate) fn iter_from(&self, rank: usize) -> Forward<'_> {
        let (leaf, at) = self.find(rank);
        Forward { tree: self, leaf, at, left: self.len.saturating_sub(rank) }
    }

    /// The elements from a rank backwards to the first; nothing where there is no such rank.
    pub(crate) fn iter_back_from(&self, rank: usize) -> Backward<'_> {
        let left = if rank < self.len { rank + 1 } else { 0 };
        let (leaf, at) = self.find(rank.min(self.len.saturating_sub(1)));
        Backward { tree: self, leaf, at: at + 1, left }
    }

    /// Puts an element before the one of a rank.
    pub(crate) fn insert(&mut self, rank: usize, element: Ranked) {
        let split = self.insert_below(self.root, self.height, rank, element, true);
        self.len += 1;
        if let Some(second) = split {
            let mut root = Inner::new();
            let count = self.len - second.count;
            let first = self.first_below(self.root, self.height);
            root.insert(0, Child { node: self.root, count, first });
            root.insert(1, second);
            self.root = self.inners.add(root);
            self.height += 1;
        }
    }

    /// The first element below a node, which isn't empty.
    fn first_below(&self, node: u32, height: usize) -> Ranked {
        if height == 0 { self.leaves.get(node).get(0) } else { self.inners.get(node).first_of(0) }
    }

    /// Inserts below a node; returns the node that its second half became, if it was full. `is_last`:
    /// nothing follows the node.
    fn insert_below(
        &mut self,
        node: u32,
        height: usize,
        rank: usize,
        element: Ranked,
        is_last: bool,
    ) -> Option<Child> {
        if height == 0 {
            return self.insert_into_leaf(node, rank, element, is_last);
        }
        let inner = self.inners.get(node);
        let (at, rest) = inner.descend(rank);
        let (child, is_last) = (inner.children[at], is_last && at + 1 == inner.len);
        let split = self.insert_below(child, height - 1, rest, element, is_last);
        let first = self.first_below(child, height - 1);
        let inner = self.inners.get_mut(node);
        let moved = split.map_or(0, |second| second.count);
        let count = inner.counts[at] as usize + 1 - moved;
        inner.set(at, Child { node: child, count, first });
        let second = split?;
        if inner.len < INNER {
            inner.insert(at + 1, second);
            return None;
        }
        self.split_inner(node, at + 1, second, is_last)
    }

    fn insert_into_leaf(
        &mut self,
        node: u32,
        at: usize,
        element: Ranked,
        is_last: bool,
    ) -> Option<Child> {
        let leaf = self.leaves.get_mut(node);
        if leaf.len < LEAF {
            leaf.insert(at, element);
            return None;
        }
        let next = leaf.next;
        let mut second = Leaf::new();
        let half = if is_last && at == LEAF { LEAF } else { LEAF / 2 };
        second.append(leaf, half);
        leaf.len = half;
        if at <= half && half < LEAF {
            leaf.insert(at, element);
        } else {
            second.insert(at - half, element);
        }
        (second.previous, second.next) = (node, next);
        let (count, first) = (second.len, second.get(0));
        let number = self.leaves.add(second);
        self.leaves.get_mut(node).next = number;
        if next != NONE {
            self.leaves.get_mut(next).previous = number;
        }
        Some(Child { node: number, count, first })
    }

    /// Halves a full inner node that gets one more child at a place.
    fn split_inner(&mut self, node: u32, at: usize, child: Child, is_last: bool) -> Option<Child> {
        let inner = self.inners.get_mut(node);
        let half = if is_last && at == INNER { INNER } else { INNER / 2 };
        let mut second = Inner::new();
        second.append(inner, half);
        inner.len = half;
        if at <= half && half < INNER {
            inner.insert(at, child);
        } else {
            second.insert(at - half, child);
        }
        let (count, first) = (second.total(), second.first_of(0));
        let node = self.inners.add(second);
        Some(Child { node, count, first })
    }

    /// Takes the element of a rank out.
    pub(crate) fn remove(&mut self, rank: usize) -> Option<Ranked> {
        let element = self.get(rank)?;
        self.remove_range(rank, 1);
        Some(element)
    }

    /// Removes elements from a rank on.
    pub(crate) fn remove_range(&mut self, rank: usize, count: usize) {
        let mut left = count.min(self.len.saturating_sub(rank));
        while left > 0 {
            // As many as are in one leaf, which is one way down and up.
            let removed = self.remove_below(self.root, self.height, rank, left);
            left -= removed;
            self.len -= removed;
            while self.height > 0 && self.inners.get(self.root).len == 1 {
                let old = self.inners.take(self.root);
                self.root = old.children[0];
                self.height -= 1;
            }
        }
    }

    /// Removes up to `most` elements from a rank on, all of one leaf; says how many.
    fn remove_below(&mut self, node: u32, height: usize, rank: usize, most: usize) -> usize {
        if height == 0 {
            let leaf = self.leaves.get_mut(node);
            let count = most.min(leaf.len - rank);
            leaf.remove(rank, count);
            return count;
        }
        let (at, rest) = self.inners.get(node).descend(rank);
        let child = self.inners.get(node).children[at];
        let removed = self.remove_below(child, height - 1, rest, most);
        let inner = self.inners.get_mut(node);
        inner.counts[at] -= narrow(removed);
        if inner.counts[at] == 0 && inner.len > 1 {
            inner.remove(at);
            self.drop_node(child, height - 1);
            return removed;
        }
        if inner.counts[at] > 0 {
            let count = inner.counts[at] as usize;
            let first = self.first_below(child, height - 1);
            self.inners.get_mut(node).set(at, Child { node: child, count, first });
        }
        if at + 1 < self.inners.get(node).len {
            self.merge(node, at, height - 1);
        }
        if at > 0 {
            self.merge(node, at - 1, height - 1);
        }
        removed
    }

    /// Lets an empty node go.
    fn drop_node(&mut self, node: u32, height: usize) {
        if height > 0 {
            let inner = self.inners.take(node);
            for child in &inner.children[..inner.len] {
                self.drop_node(*child, height - 1);
            }
            return;
        }
        let leaf = self.leaves.take(node);
        if leaf.previous != NONE {
            self.leaves.get_mut(leaf.previous).next = leaf.next;
        }
        if leaf.next != NONE {
            self.leaves.get_mut(leaf.next).previous = leaf.previous;
        }
    }

    /// Merges a node's child with the next one, if one of them is sparse and both fit into one with
    /// some room.
    fn merge(&mut self, node: u32, at: usize, height: usize) {
        let inner = self.inners.get(node);
        let (first, second) = (inner.children[at], inner.children[at + 1]);
        let (a, b, most) = if height == 0 {
            (self.leaves.get(first).len, self.leaves.get(second).len, LEAF)
        } else {
            (self.inners.get(first).len, self.inners.get(second).len, INNER)
        };
        if a.min(b) > most / 3 || a + b > most * 3 / 4 {
            return;
        }
        if height == 0 {
            let next = self.leaves.take(second);
            self.leaves.get_mut(first).append(&next, 0);
            self.leaves.get_mut(first).next = next.next;
            if next.next != NONE {
                self.leaves.get_mut(next.next).previous = first;
            }
        } else {
            let next = self.inners.take(second);
            self.inners.get_mut(first).append(&next, 0);
        }
        let inner = self.inners.get_mut(node);
        inner.counts[at] += inner.counts[at + 1];
        inner.remove(at + 1);
    }

    /// Puts an element in the place of the one of a rank.
    pub(crate) fn set(&mut self, rank: usize, element: Ranked) {
        self.set_below(self.root, self.height, rank, element);
    }

    fn set_below(&mut self, node: u32, height: usize, rank: usize, element: Ranked) {
        if height == 0 {
            self.leaves.get_mut(node).set(rank, element);
            return;
        }
        let inner = self.inners.get_mut(node);
        let (at, rest) = inner.descend(rank);
        let child = inner.children[at];
        if rest == 0 {
            inner.scores[at] = element.score;
            inner.handles[at] = element.handle.0;
        }
        self.set_below(child, height - 1, rest, element);
    }

    /// Looks whether counts, firsts and neighbours are what they should be.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let mut leaves = Vec::new();
        assert_eq!(self.check_below(self.root, self.height, &mut leaves), self.len);
        let mut previous = NONE;
        for (index, leaf) in leaves.iter().enumerate() {
            let found = self.leaves.get(*leaf);
            assert_eq!(found.previous, previous);
            assert_eq!(found.next, leaves.get(index + 1).copied().unwrap_or(NONE));
            assert!(found.len > 0 || leaves.len() == 1);
            previous = *leaf;
        }
    }

    #[cfg(test)]
    fn check_below(&self, node: u32, height: usize, leaves: &mut Vec<u32>) -> usize {
        if height == 0 {
            leaves.push(node);
            return self.leaves.get(node).len;
        }
        let inner = self.inners.get(node);
        assert!(inner.len > 0);
        for at in 0..inner.len {
            let count = self.check_below(inner.children[at], height - 1, leaves);
            assert_eq!(count, inner.counts[at] as usize);
            assert_eq!(self.first_below(inner.children[at], height - 1), inner.first_of(at));
        }
        inner.total()
    }
}

/// How many of `0..len` come first for which something holds.
#[inline]
fn partition(len: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = usize::midpoint(low, high);
        if holds(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// Elements in ascending order.
#[derive(Clone, Debug)]
pub(crate) struct Forward<'a> {
    tree: &'a Tree,
    leaf: u32,
    at: usize,
    left: usize,
}

impl Iterator for Forward<'_> {
    type Item = Ranked;

    #[inline]
    fn next(&mut self) -> Option<Ranked> {
        self.left = self.left.checked_sub(1)?;
        let mut leaf = self.tree.leaves.get(self.leaf);
        if self.at == leaf.len {
            (self.leaf, self.at) = (leaf.next, 0);
            leaf = self.tree.leaves.get(self.leaf);
        }
        self.at += 1;
        Some(leaf.get(self.at - 1))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// Elements in descending order.
#[derive(Clone, Debug)]
pub(crate) struct Backward<'a> {
    tree: &'a Tree,
    leaf: u32,
    at: usize,
    left: usize,
}

impl Iterator for Backward<'_> {
    type Item = Ranked;

    #[inline]
    fn next(&mut self) -> Option<Ranked> {
        self.left = self.left.checked_sub(1)?;
        if self.at == 0 {
            self.leaf = self.tree.leaves.get(self.leaf).previous;
            self.at = self.tree.leaves.get(self.leaf).len;
        }
        self.at -= 1;
        Some(self.tree.leaves.get(self.leaf).get(self.at))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::env::Rng;

    fn element(number: u64) -> Ranked {
        Ranked { score: number as f64, handle: Handle(number as u32) }
    }

    #[test]
    fn behaves_like_a_vector() {
        for (seed, most) in [(1, 60), (2, 3_000), (3, 40_000)] {
            let mut rng = Rng::from_seed(seed);
            let (mut tree, mut model) = (Tree::default(), Vec::<Ranked>::new());
            let mut number = 0;
            for phase in 0..6 {
                for _ in 0..most {
                    let rank = rng.below(model.len() as u64 + 1) as usize;
                    number += 1;
                    match rng.below(100) {
                        grow if grow < if phase % 2 == 0 { 75 } else { 20 } => {
                            let rank = if rng.below(3) == 0 { model.len() } else { rank };
                            tree.insert(rank, element(number));
                            model.insert(rank, element(number));
                        }
                        _ if rng.below(30) == 0 => {
                            let count = rng.below(200) as usize;
                            tree.remove_range(rank, count);
                            model.drain(rank..(rank + count).min(model.len()));
                        }
                        _ if rng.below(4) == 0 && rank < model.len() => {
                            tree.set(rank, element(number));
                            model[rank] = element(number);
                        }
                        _ => {
                            let expected = (rank < model.len()).then(|| model.remove(rank));
                            assert_eq!(tree.remove(rank), expected);
                        }
                    }
                }
                tree.check();
                assert!(tree.iter_from(0).eq(model.iter().copied()));
                let rank = rng.below(model.len() as u64 + 2) as usize;
                assert!(tree.iter_from(rank).eq(model.iter().skip(rank).copied()));
                let back: Vec<Ranked> = tree.iter_back_from(rank).collect();
                let expected = model.iter().take(rank + 1).rev().copied();
                assert!(rank < model.len() && back.into_iter().eq(expected) || rank >= model.len());
            }
            tree.remove_range(0, usize::MAX);
            tree.check();
            assert_eq!((tree.len(), tree.get(0)), (0, None));
        }
    }

    #[test]
    fn positions_are_found_among_many() {
        let mut tree = Tree::default();
        for number in 0..100_000 {
            tree.insert(number as usize, element(number * 2));
        }
        tree.check();
        for probe in [0, 1, 2, 3, 77_777, 100_000, 199_997, 199_998, 199_999, 300_000] {
            let before = tree.position(|one| one.score < f64::from(probe));
            assert_eq!(before, (probe as usize).div_ceil(2).min(100_000));
        }
        // In order, leaves are filled to the brim.
        assert!(tree.heap_bytes() < 100_000 * 14, "{}", tree.heap_bytes());
    }
}
