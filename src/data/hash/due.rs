//! The expiring fields of a big hash in the order of their times.
//!
//! Only fields that expire are here, so that a hash without expiry times pays a few bytes for it.

use std::collections::BTreeSet;

use crate::base::env::UnixMillis;

/// What a node of the set takes for one field, beside the field's name: the name's pointer and
/// length, the time, and what is empty in the node.
const NODE_BYTES: usize = 36;

/// See the file's head.
#[derive(Clone, Default)]
pub(super) struct Due {
    fields: BTreeSet<(UnixMillis, Box<[u8]>)>,
    name_bytes: usize,
}

impl Due {
    /// The earliest time.
    #[inline]
    pub(super) fn next(&self) -> Option<UnixMillis> {
        self.fields.first().map(|(at, _)| *at)
    }

    /// The latest time.
    #[inline]
    pub(super) fn last(&self) -> Option<UnixMillis> {
        self.fields.last().map(|(at, _)| *at)
    }

    /// How many fields expire.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    /// Bytes of heap, about.
    #[inline]
    pub(super) fn heap_bytes(&self) -> usize {
        self.fields.len() * NODE_BYTES + self.name_bytes
    }

    /// A field's time has become another one.
    pub(super) fn change(&mut self, name: &[u8], old: Option<UnixMillis>, new: Option<UnixMillis>) {
        if old == new {
            return;
        }
        let mut entry = (UnixMillis(0), Box::from(name));
        if let Some(at) = old {
            entry.0 = at;
            if self.fields.remove(&entry) {
                self.name_bytes -= name.len().next_multiple_of(16);
            }
        }
        if let Some(at) = new {
            entry.0 = at;
            self.fields.insert(entry);
            self.name_bytes += name.len().next_multiple_of(16);
        }
    }

    /// Takes out the earliest field if its time has come.
    pub(super) fn pop(&mut self, now: UnixMillis) -> Option<Box<[u8]>> {
        if self.next()? > now {
            return None;
        }
        let (_, name) = self.fields.pop_first()?;
        self.name_bytes -= name.len().next_multiple_of(16);
        Some(name)
    }
}
