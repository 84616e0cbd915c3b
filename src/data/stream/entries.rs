//! Walking over the entries of a range, from either end, without copying anything.

use crate::data::element::Element;
use crate::data::stream::id::StreamId;
use crate::data::stream::node::Walk;
use crate::data::stream::nodes::{At, Nodes};

/// Where the entries behind one begin, so that who reads on walks over nothing that was read before. Good
/// while no node goes; what is added or marked as deleted doesn't move what was there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bookmark {
    behind: StreamId,
    /// Bytes of its node's entries up to there.
    passed: usize,
    /// Nodes that had gone by then.
    removals: u64,
}

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
    /// The present entry.
    id: StreamId,
}

impl<'a> Entries<'a> {
    /// As [`Entries::forward`], from a bookmark at the start where that is good.
    pub(super) fn forward_from(
        nodes: &'a Nodes,
        bookmark: Option<Bookmark>,
        start: StreamId,
        end: StreamId,
    ) -> Self {
        let good = |bookmark: &Bookmark| {
            bookmark.removals == nodes.removals() && bookmark.behind.next() == Some(start)
        };
        let found = bookmark.filter(good).filter(|_| start <= end).and_then(|bookmark| {
            let at = nodes.find(bookmark.behind)?;
            Some((at, Walk::forward_from(nodes.get(at)?, bookmark.passed)))
        });
        match found {
            Some(present) => Self {
                nodes,
                present: Some(present),
                start,
                end,
                backward: false,
                id: StreamId::MIN,
            },
            None => Self::forward(nodes, start, end),
        }
    }

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
        let id = StreamId::MIN;
        let mut entries = Self { nodes, present: None, start, end, backward, id };
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
                // Behind the last node the walk stays at its end, for a bookmark.
                next?;
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
                self.id = entry.id;
                return Some((entry.id, entry.pairs));
            }
        }
    }

    /// Where the entries behind the present one begin, on a walk forward.
    pub(crate) fn bookmark(&self) -> Option<Bookmark> {
        debug_assert!(!self.backward, "what is behind is in front on the way back");
        let (_, walk) = self.present.as_ref().filter(|_| self.id != StreamId::MIN)?;
        Some(Bookmark { behind: self.id, passed: walk.passed(), removals: self.nodes.removals() })
    }

    /// The next field of the present entry, and its value.
    #[inline]
    pub fn next_field(&mut self) -> Option<(Element<'a>, Element<'a>)> {
        self.present.as_mut()?.1.next_field()
    }
}
