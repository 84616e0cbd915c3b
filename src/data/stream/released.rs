//! Pending entries that were given back (XNACK) and that no consumer has, in the order in which they
//! were.
//!
//! ```text
//! by_id    [ id, turn ] ...     finds an entry's turn
//! by_turn  [ turn, id ] ...     the queue
//! ```
//! Both are [`Sorted`], so that a clone (a snapshot) costs as little as one of the other pending entries.

use crate::data::stream::id::StreamId;
use crate::data::stream::sorted::{Record, Sorted};

#[derive(Clone, Copy, Debug)]
struct ById {
    id: StreamId,
    turn: u64,
}

impl Record for ById {
    #[inline]
    fn id(&self) -> StreamId {
        self.id
    }
}

#[derive(Clone, Copy, Debug)]
struct ByTurn {
    turn: u64,
    id: StreamId,
}

impl ByTurn {
    /// A turn as the key of [`Sorted`].
    fn key(turn: u64) -> StreamId {
        StreamId { ms: turn, seq: 0 }
    }
}

impl Record for ByTurn {
    #[inline]
    fn id(&self) -> StreamId {
        Self::key(self.turn)
    }
}

/// See the file's head.
#[derive(Clone, Debug, Default)]
pub(super) struct Released {
    by_id: Sorted<ById>,
    by_turn: Sorted<ByTurn>,
    last_turn: u64,
}

impl Released {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Bytes of heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.by_id.heap_bytes() + self.by_turn.heap_bytes()
    }

    /// Puts an entry at the queue's end, wherever it was before.
    pub(super) fn put(&mut self, id: StreamId) {
        self.remove(id);
        self.last_turn += 1;
        let turn = self.last_turn;
        self.by_id.put(ById { id, turn });
        self.by_turn.put(ByTurn { turn, id });
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, id: StreamId) {
        if let Some(ById { turn, .. }) = self.by_id.remove(id) {
            self.by_turn.remove(ByTurn::key(turn));
        }
    }

    /// Whether an entry is among them.
    pub(super) fn contains(&self, id: StreamId) -> bool {
        self.by_id.get(id).is_some()
    }

    /// The entries in the order of their ids.
    #[cfg(test)]
    pub(super) fn by_id(&self) -> impl Iterator<Item = StreamId> + Clone {
        self.by_id.iter().map(|record| record.id)
    }

    /// The entries, the one that was given back first in front.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = StreamId> + Clone {
        self.by_turn.iter().map(|record| record.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_their_turns() {
        let id = |ms| StreamId { ms, seq: 0 };
        let mut released = Released::default();
        for ms in [3, 1, 2, 5] {
            released.put(id(ms));
        }
        released.put(id(3));
        released.remove(id(2));
        released.remove(id(9));
        assert_eq!(released.in_turn().collect::<Vec<_>>(), [id(1), id(5), id(3)]);
        assert_eq!(released.by_id().collect::<Vec<_>>(), [id(1), id(3), id(5)]);
        assert_eq!(released.len(), 3);
        assert!(released.contains(id(5)) && !released.contains(id(2)));
    }
}
