//! A hash that outgrew its block: an index, and its expiring fields in the order of their times.

use super::due::Due;
use super::{Field, FieldExpiry};
use crate::base::env::{Rng, UnixMillis};
use crate::data::element::Element;
use crate::data::index::{self, Body, Entry, Frozen, Room, Shape, Table};

/// See the file's head.
#[derive(Clone)]
pub struct Big {
    table: Table,
    due: Due,
}

impl Default for Big {
    fn default() -> Self {
        Self { table: Table::new(Shape::Fields), due: Due::default() }
    }
}

/// An entry as a field.
#[inline]
fn field(entry: Entry<'_>) -> Field<'_> {
    Field {
        name: Element::Bytes(entry.key()),
        value: Element::Bytes(entry.value()),
        expiry: entry.expiry(),
    }
}

impl Big {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    #[inline]
    pub(super) fn is_full(&self, room: Room) -> bool {
        self.table.is_full(room)
    }

    #[inline]
    pub(super) fn heap_bytes(&self) -> usize {
        self.table.heap_bytes() + self.due.heap_bytes()
    }

    #[inline]
    pub(super) fn get(&self, name: &[u8]) -> Option<Field<'_>> {
        self.table.get(name).map(field)
    }

    pub(super) fn insert(&mut self, name: &[u8], value: &[u8], expiry: FieldExpiry) -> bool {
        let mut new = expiry.after(None);
        // Where no field expires, and this one won't, there is no time to look after.
        if new.is_some() || self.due.next().is_some() {
            let old = self.table.get(name).and_then(Entry::expiry);
            new = expiry.after(old);
            self.due.change(name, old, new);
        }
        self.table.put(name, &Body { value, expiry: new, ..Body::default() }).1
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> bool {
        if self.due.next().is_some() {
            let old = self.table.get(name).and_then(Entry::expiry);
            self.due.change(name, old, None);
        }
        self.table.remove(name).is_some()
    }

    pub(super) fn set_expiry(&mut self, name: &[u8], expiry: Option<UnixMillis>) -> bool {
        let Some(entry) = self.table.get(name) else { return false };
        let old = entry.expiry();
        if old != expiry {
            let value = entry.value().to_vec();
            self.due.change(name, old, expiry);
            self.table.put(name, &Body { value: &value, expiry, ..Body::default() });
        }
        true
    }

    #[inline]
    pub(super) fn next_expiry(&self) -> Option<UnixMillis> {
        self.due.next()
    }

    pub(super) fn remove_due(&mut self, now: UnixMillis, max: usize, removed: &mut Vec<Box<[u8]>>) {
        for _ in 0..max {
            let Some(name) = self.due.pop(now) else { break };
            self.table.remove(&name);
            removed.push(name);
        }
    }

    /// Whether all fields expire at `now` or earlier.
    pub(super) fn is_all_due(&self, now: UnixMillis) -> bool {
        self.due.len() == self.len() && self.due.last().is_some_and(|last| last <= now)
    }

    #[inline]
    pub(super) fn iter(&self) -> Iter<'_> {
        Iter(self.table.iter())
    }

    pub(super) fn scan(&self, cursor: u64, count: usize, mut each: impl FnMut(Field<'_>)) -> u64 {
        self.table.scan(cursor, count, |entry| each(field(entry)))
    }

    pub(super) fn sample(&self, rng: &mut Rng) -> Option<Field<'_>> {
        self.table.sample(rng).map(field)
    }

    /// The fields as they are now, for another thread.
    pub(super) fn freeze(&self) -> FrozenFields {
        FrozenFields { entries: self.table.freeze(), expires: self.due.next() }
    }
}

/// The fields of a big hash.
pub(super) struct Iter<'a>(index::Iter<'a>);

impl<'a> Iterator for Iter<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        self.0.next().map(field)
    }
}

/// The fields of a big hash as they were at one moment.
#[derive(Debug)]
pub struct FrozenFields {
    entries: Frozen,
    expires: Option<UnixMillis>,
}

impl FrozenFields {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// When the first of them expires.
    pub(crate) fn next_expiry(&self) -> Option<UnixMillis> {
        self.expires
    }

    /// All fields.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.entries.iter().map(field)
    }
}
