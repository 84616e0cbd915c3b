//! Walking over the entries of a range, from either end, without copying anything.

use crate::data::element::Element;
use crate::data::stream::id::StreamId;
use crate::data::stream::node::Walk;
use crate::data::stream::nodes::{At, Nodes};

/// The entries of a range, one after the other; the fields of the present one are read by
/// [`Entries::next_field`].
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    nodes: &'a Nodes,
    /// The node that is walked, and where it is.
    present: Option<(At, Walk<'a>)>,
    start: StreamId,
    end: StreamId,
    backward: bool,
}

impl<'a> Entries<'a> {
    pub(super) fn forward(nodes: &'a Nodes, start: StreamId, end: StreamId) -> Self {
        let at = if start > end { None } else { nodes.find(start).or_else(|| nodes.first()) };
        Self::new(nodes, at, (start, end), false)
    }

    pub(super) fn backward(nodes: &'a Nodes, start: StreamId, end: StreamId) -> Self {
        let at = if start > end { None } else { nodes.find(end) };
        Self::new(nodes, at, (start, end), true)
    }

    fn new(
        nodes: &'a Nodes,
        at: Option<At>,
        (start, end): (StreamId, StreamId),
        backward: bool,
    ) -> Self {
        let mut entries = Self { nodes, present: None, start, end, backward };
        entries.enter(at);
        entries
    }

    fn enter(&mut self, at: Option<At>) {
        self.present = at.and_then(|at| {
            let node = self.nodes.get(at)?;
            Some((at, if self.backward { Walk::backward(node) } else { Walk::forward(node) }))
        });
    }

    /// The next entry's id, and how many fields it has.
    #[inline]
    pub fn next_entry(&mut self) -> Option<(StreamId, usize)> {
        loop {
            let (at, walk) = self.present.as_mut()?;
            let Some(entry) = walk.next_entry() else {
                let at = *at;
                let next = if self.backward { self.nodes.before(at) } else { self.nodes.after(at) };
                self.enter(next);
                continue;
            };
            let passed = if self.backward { entry.id < self.start } else { entry.id > self.end };
            if passed {
                self.present = None;
                return None;
            }
            let inside = if self.backward { entry.id <= self.end } else { entry.id >= self.start };
            if inside && !entry.is_deleted() {
                return Some((entry.id, entry.pairs));
            }
        }
    }

    /// The next field of the present entry, and its value.
    #[inline]
    pub fn next_field(&mut self) -> Option<(Element<'a>, Element<'a>)> {
        self.present.as_mut()?.1.next_field()
    }
}
