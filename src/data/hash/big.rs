//! A hash that outgrew its block.

use std::collections::BTreeMap;
use std::collections::btree_map;

use super::due::Due;
use super::{Field, FieldExpiry};
use crate::base::env::{Rng, UnixMillis};
use crate::data::element::Element;

/// See the file's head.
#[derive(Clone, Default)]
pub struct Big {
    table: Table,
    due: Due,
}

impl Big {
    pub(super) fn len(&self) -> usize {
        self.table.fields.len()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.table.bytes + self.due.heap_bytes()
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<Field<'_>> {
        self.table.get(name)
    }

    pub(super) fn insert(&mut self, name: &[u8], value: &[u8], expiry: FieldExpiry) -> bool {
        let (is_new, old) = match self.table.get(name) {
            Some(field) => (false, field.expiry),
            None => (true, None),
        };
        let new = expiry.after(old);
        self.due.change(name, old, new);
        self.table.insert(name, value, new);
        is_new
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> bool {
        let Some(field) = self.table.get(name) else { return false };
        let old = field.expiry;
        self.due.change(name, old, None);
        self.table.remove(name)
    }

    pub(super) fn set_expiry(&mut self, name: &[u8], expiry: Option<UnixMillis>) -> bool {
        let Some(field) = self.table.get(name) else { return false };
        let old = field.expiry;
        if old != expiry {
            let value = field.value.to_vec();
            self.due.change(name, old, expiry);
            self.table.insert(name, &value, expiry);
        }
        true
    }

    pub(super) fn next_expiry(&self) -> Option<UnixMillis> {
        self.due.next()
    }

    pub(super) fn is_all_due(&self, now: UnixMillis) -> bool {
        self.due.len() == self.len() && self.due.last().is_some_and(|last| last <= now)
    }

    pub(super) fn remove_due(&mut self, now: UnixMillis, max: usize, removed: &mut Vec<Box<[u8]>>) {
        for _ in 0..max {
            let Some(name) = self.due.pop(now) else { break };
            self.table.remove(&name);
            removed.push(name);
        }
    }

    pub(super) fn iter(&self) -> Iter<'_> {
        Iter(self.table.fields.iter())
    }

    pub(super) fn scan(&self, cursor: u64, count: usize, each: impl FnMut(Field<'_>)) -> u64 {
        self.table.scan(cursor, count, each)
    }

    pub(super) fn sample(&self, rng: &mut Rng) -> Option<Field<'_>> {
        self.table.sample(rng)
    }
}

/// The fields of a big hash.
pub(super) struct Iter<'a>(btree_map::Iter<'a, (u64, Box<[u8]>), (Box<[u8]>, Option<UnixMillis>)>);

impl<'a> Iterator for Iter<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let ((_, name), (value, expiry)) = self.0.next()?;
        let (name, value) = (Element::Bytes(name), Element::Bytes(value));
        Some(Field { name, value, expiry: *expiry })
    }
}

/// Stands for the index until that is there: fields in the order of their hash.
#[derive(Clone, Default)]
struct Table {
    fields: BTreeMap<(u64, Box<[u8]>), (Box<[u8]>, Option<UnixMillis>)>,
    bytes: usize,
}

fn hash(name: &[u8]) -> u64 {
    ahash::RandomState::with_seeds(1, 2, 3, 4).hash_one(name) >> 1
}

impl Table {
    fn get(&self, name: &[u8]) -> Option<Field<'_>> {
        let (key, (value, expiry)) = self.fields.get_key_value(&(hash(name), name.into()))?;
        let (name, value) = (Element::Bytes(&key.1), Element::Bytes(value));
        Some(Field { name, value, expiry: *expiry })
    }

    fn insert(&mut self, name: &[u8], value: &[u8], expiry: Option<UnixMillis>) {
        self.bytes += name.len() + value.len() + 60;
        let displaced = self.fields.insert((hash(name), name.into()), (value.into(), expiry));
        if let Some((value, _)) = displaced {
            self.bytes -= name.len() + value.len() + 60;
        }
    }

    fn remove(&mut self, name: &[u8]) -> bool {
        let Some((value, _)) = self.fields.remove(&(hash(name), name.into())) else { return false };
        self.bytes -= name.len() + value.len() + 60;
        true
    }

    fn scan(&self, cursor: u64, count: usize, mut each: impl FnMut(Field<'_>)) -> u64 {
        let mut last = None;
        let from = self.fields.range((cursor, Box::from(&b""[..]))..);
        for (done, ((hash, name), (value, expiry))) in from.enumerate() {
            if done >= count && last != Some(*hash) {
                return *hash;
            }
            last = Some(*hash);
            let (name, value) = (Element::Bytes(name), Element::Bytes(value));
            each(Field { name, value, expiry: *expiry });
        }
        0
    }

    fn sample(&self, rng: &mut Rng) -> Option<Field<'_>> {
        let index = rng.below((self.fields.len() as u64).max(1)) as usize;
        Iter(self.fields.iter()).nth(index)
    }
}
