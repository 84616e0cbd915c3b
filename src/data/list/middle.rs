//! Changes in the middle of a long list: inserting, replacing, removing by value. Nodes split where
//! they would grow too large, and merge where neighbours got small.

use crate::data::element::Element;
use crate::data::list::End;
use crate::data::list::node::{Limit, Node};
use crate::data::list::nodes::{At, Nodes, Place};
use crate::data::list::wanted::Wanted;
use crate::data::listpack::Listpack;

impl Nodes {
    /// Where the first element is that is equal to one.
    pub(super) fn find(&self, element: &[u8]) -> Option<Place> {
        let wanted = Wanted::new(element);
        let mut current = self.end(End::Front);
        while let Some(at) = current {
            if let [index] = wanted.in_node(self.node(at), 1, End::Front)[..] {
                return Some(Place { block: at.block, node: at.node, index });
            }
            current = self.after(at);
        }
        None
    }

    /// Puts an element before or behind the one at a place.
    pub(super) fn insert(&mut self, place: Place, behind: bool, element: &[u8], limit: Limit) {
        let at = place.at();
        // The new element's index in the node, were it to come there.
        let index = place.index + usize::from(behind);
        let node = self.node(at);
        if node.has_room_for(element, limit) {
            self.edit(at, |node| insert_into(node, index, element));
            return;
        }
        let count = node.count();
        if index > 0 && index < count {
            self.insert_between(at, index, element, limit);
            return;
        }
        // At the node's edge: the neighbour there may have room, else a node comes between.
        let neighbour = if index == 0 { self.before(at) } else { self.after(at) };
        match neighbour {
            Some(other) if self.node(other).has_room_for(element, limit) => {
                self.edit(other, |node| {
                    let index = if index == 0 { node.count() } else { 0 };
                    insert_into(node, index, element);
                });
            }
            _ => {
                let place = At { node: at.node + usize::from(index > 0), ..at };
                self.insert_node(place, Node::of(element, limit));
            }
        }
    }

    /// Splits a node before an index, which isn't at its edge, and puts an element between.
    fn insert_between(&mut self, at: At, index: usize, element: &[u8], limit: Limit) {
        let rest = self.edit(at, |node| {
            let rest = node.split_off(index);
            if node.has_room_for(element, limit) {
                let end = node.count();
                insert_into(node, end, element);
                return (rest, true);
            }
            (rest, false)
        });
        let (rest, inserted) = rest;
        let behind = At { node: at.node + 1, ..at };
        let mut last = at;
        if let Some(rest) = rest {
            last = self.insert_node(behind, rest);
        }
        if !inserted {
            last = self.insert_node(last, Node::of(element, limit));
        }
        self.merge_around(last, limit);
    }

    /// Merges the nodes around one as far as they fit together.
    fn merge_around(&mut self, at: At, limit: Limit) {
        let mut from = at;
        for _ in 0..2 {
            from = self.before(from).unwrap_or(from);
        }
        let mut current = Some(from);
        for _ in 0..4 {
            let Some(at) = current else { break };
            if !self.merge_with_next(at, limit) {
                current = self.after(at);
            }
        }
        self.merge_blocks(from.block);
    }

    /// Makes one node of a node and the following one, if both fit into it.
    fn merge_with_next(&mut self, at: At, limit: Limit) -> bool {
        let Some(next) = self.after(at) else { return false };
        if !self.node(at).fits_with(self.node(next), limit) {
            return false;
        }
        if let Some(next) = self.take_node(next) {
            self.edit(at, |node| node.append(&next));
        }
        true
    }

    /// Puts an element in the place of another.
    pub(super) fn replace(&mut self, place: Place, element: &[u8], limit: Limit) {
        let at = place.at();
        let large = limit.is_large(element);
        match self.node(at) {
            Node::Plain(_) => self.replace_node(at, element, limit),
            Node::Pack { count: 1, .. } if large => self.replace_node(at, element, limit),
            Node::Pack { .. } if large => {
                let rest = self.edit(at, |node| node.split_off(place.index));
                let mut at = at;
                if let Some(rest) = rest {
                    at = self.insert_node(At { node: at.node + 1, ..at }, rest);
                }
                // The old element is the first of this node.
                if self.node(at).count() == 1 {
                    self.replace_node(at, element, limit);
                } else {
                    self.edit(at, |node| remove_from(node, 0, 1));
                    at = self.insert_node(at, Node::of(element, limit));
                    self.merge_around(at, limit);
                }
            }
            Node::Pack { .. } => {
                self.edit(at, |node| {
                    node.edit_at(place.index, |pack, cursor| pack.replace(cursor, element));
                });
                self.split_if_too_large(at, limit);
            }
        }
    }

    /// Puts an element in the place of a node of one element.
    fn replace_node(&mut self, at: At, element: &[u8], limit: Limit) {
        let next = self.after(at);
        if let Some(next) = next
            && self.node(next).has_room_for(element, limit)
        {
            self.edit(next, |node| insert_into(node, 0, element));
            self.take_node(at);
            return;
        }
        self.edit(at, |node| *node = Node::of(element, limit));
    }

    /// Splits a node into halves, and those again, until each is within bounds.
    fn split_if_too_large(&mut self, at: At, limit: Limit) {
        let (mut current, mut unchecked) = (Some(at), 1);
        while unchecked > 0
            && let Some(at) = current
        {
            let half = match self.node(at) {
                Node::Pack { count, pack } if pack.byte_len() > limit.bytes => *count as usize / 2,
                _ => 0,
            };
            match self.edit(at, |node| node.split_off(half)) {
                Some(rest) => {
                    let rest = self.insert_node(At { node: at.node + 1, ..at }, rest);
                    unchecked += 1;
                    current = self.before(rest);
                }
                None => {
                    unchecked -= 1;
                    current = self.after(at);
                }
            }
        }
    }

    /// Removes up to `most` elements that are equal to one, from an end on; says how many.
    pub(super) fn remove_equal(
        &mut self,
        element: &[u8],
        most: usize,
        from: End,
        limit: Limit,
    ) -> usize {
        let wanted = Wanted::new(element);
        let mut removed = 0;
        let mut current = self.end(from);
        while let Some(at) = current
            && removed < most
        {
            let matches = wanted.in_node(self.node(at), most - removed, from);
            removed += matches.len();
            let before = self.before(at);
            if matches.is_empty() {
                current = if from == End::Front { self.after(at) } else { before };
                continue;
            }
            if matches.len() == self.node(at).count() {
                self.take_node(at);
                current = if from == End::Front { self.settled(at) } else { before };
                continue;
            }
            self.edit(at, |node| node.edit(|pack| remove_all(pack, &matches)));
            current = self.merge_after_removal(at, from, limit);
        }
        self.merge_all_blocks();
        removed
    }

    /// Merges a node that became smaller with the one where the walk came from, and says where it
    /// goes on. Two nodes that are all there is stay, as they are what keeps the list long.
    fn merge_after_removal(&mut self, at: At, from: End, limit: Limit) -> Option<At> {
        let half = Limit { bytes: limit.bytes / 2, count: limit.count / 2 };
        let many = self.has_many_nodes();
        match from {
            End::Front => {
                let merged = many
                    && self.before(at).is_some_and(|before| self.merge_with_next(before, half));
                if merged { self.settled(at) } else { self.after(at) }
            }
            End::Back => {
                if many {
                    self.merge_with_next(at, half);
                }
                self.before(at)
            }
        }
    }

    fn merge_all_blocks(&mut self) {
        for block in (0..self.blocks.len().saturating_sub(1)).rev() {
            self.merge_blocks(block);
        }
    }
}

/// Puts an element before the one at an index of a node, or at its end.
fn insert_into(node: &mut Node, index: usize, element: &[u8]) {
    node.edit(|pack| match pack.seek(index) {
        Some(at) => pack.insert_before(at, element),
        None => pack.push_back(element),
    });
}

fn remove_from(node: &mut Node, index: usize, count: usize) {
    node.edit_at(index, |pack, at| {
        pack.remove(at, count);
    });
}

/// Removes the elements at some indices, which are ascending.
pub(super) fn remove_all(pack: &mut Listpack, indices: &[usize]) {
    let [first, .., last] = *indices else {
        if let Some(at) = indices.first().and_then(|index| pack.seek(*index)) {
            pack.remove(at, 1);
        }
        return;
    };
    if last - first + 1 == indices.len() {
        if let Some(at) = pack.seek(first) {
            pack.remove(at, indices.len());
        }
        return;
    }
    // Scattered: written anew, which costs the same however many go.
    let mut gone = indices.iter().peekable();
    let kept: Vec<Element<'_>> = Listpack::iter(pack)
        .enumerate()
        .filter(|(index, _)| gone.next_if_eq(&index).is_none())
        .map(|(_, element)| element)
        .collect();
    let mut fresh = Listpack::new();
    fresh.push_back_all(&kept);
    *pack = fresh;
}
