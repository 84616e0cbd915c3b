//! Model tests: the table against plain collections, with seeded random changes.

mod collisions;
mod model;
mod sampling;
mod snapshots;

use std::collections::BTreeMap;

use crate::base::env::{Rng, UnixMillis};
use crate::data::value::{NewValue, ValueRef};

use super::{Entry, HashSeed, Hasher, Pool, Table, TakenValue};

/// What the model knows of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    value: Value,
    expiry: Option<UnixMillis>,
    access: u32,
    raw: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Int(i64),
    Bytes(Vec<u8>),
}

impl Known {
    fn of(entry: Entry<'_>) -> Self {
        let value = match entry.value() {
            ValueRef::Int(number) => Value::Int(number),
            ValueRef::Str(bytes) => Value::Bytes(bytes.to_vec()),
            ValueRef::Object(_) => unreachable!("the model has strings"),
        };
        Self { value, expiry: entry.expiry(), access: entry.access(), raw: entry.is_raw() }
    }
}

/// A table and what should be in it.
pub(super) struct Pair {
    table: Table,
    model: BTreeMap<Vec<u8>, Known>,
    rng: Rng,
    /// Keys are drawn from so many.
    space: u64,
}

impl Pair {
    fn new(seed: u64, space: u64) -> Self {
        Self::with_hasher(seed, space, None)
    }

    fn with_hasher(seed: u64, space: u64, hasher: Option<fn(&[u8]) -> u64>) -> Self {
        let pool = Pool::new();
        let table = match hasher {
            None => Table::new(HashSeed(seed), &pool),
            Some(function) => Table::with_hasher(Hasher::Chosen(function), &pool),
        };
        Self { table, model: BTreeMap::new(), rng: Rng::from_seed(seed), space }
    }

    /// One of the possible keys; a few are too long for an entry.
    fn key(&mut self) -> Vec<u8> {
        key_of(self.rng.below(self.space))
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = match self.rng.below(12) {
            0 => 0,
            1..=5 => self.rng.below(30),
            6..=8 => self.rng.below(190),
            9 | 10 => 200 + self.rng.below(50),
            _ => self.rng.below(2000),
        };
        (0..len).map(|_| self.rng.next_u64() as u8).collect()
    }

    fn expiry(&mut self) -> Option<UnixMillis> {
        match self.rng.below(16) {
            0..=10 => None,
            11..=13 => Some(UnixMillis(self.rng.below(1 << 44) as i64)),
            14 => Some(UnixMillis(-(self.rng.below(1000) as i64) - 1)),
            _ => Some(UnixMillis((1 << 48) - 2 + self.rng.below(4) as i64)),
        }
    }

    /// A random change that makes the table larger with `growth` percent of probability.
    fn change(&mut self, growth: u64) {
        let key = self.key();
        match self.rng.below(20) {
            0 => self.set_expiry(&key),
            1 => self.rename(&key),
            2 => self.append(&key),
            3 => self.touch(&key),
            _ if self.rng.below(100) < growth => self.put(key),
            _ => self.remove(&key),
        }
    }

    fn put(&mut self, key: Vec<u8>) {
        let (expiry, access) = (self.expiry(), self.rng.next_u64() as u32 & 0xff_ffff);
        let bytes = self.bytes();
        let old = self.model.get(&key);
        let (new, value, raw) = match self.rng.below(4) {
            0 => {
                let number = self.rng.next_u64() as i64 >> self.rng.below(64);
                (NewValue::Int(number), Value::Int(number), false)
            }
            1 => (NewValue::Raw(&bytes), Value::Bytes(bytes.clone()), true),
            _ => (NewValue::Str(&bytes), Value::Bytes(bytes.clone()), false),
        };
        let removed = self.table.put(&key, new, expiry, access);
        assert_eq!(removed.is_some(), old.is_some());
        if let (Some(removed), Some(old)) = (removed, old) {
            assert_eq!(removed.expiry, old.expiry);
        }
        self.model.insert(key, Known { value, expiry, access, raw });
    }

    fn remove(&mut self, key: &[u8]) {
        let removed = self.table.remove(key);
        let known = self.model.remove(key);
        assert_eq!(removed.is_some(), known.is_some());
        assert_eq!(removed.and_then(|r| r.expiry), known.and_then(|k| k.expiry));
    }

    fn set_expiry(&mut self, key: &[u8]) {
        let expiry = self.expiry();
        assert_eq!(self.table.set_expiry(key, expiry), self.model.contains_key(key));
        if let Some(known) = self.model.get_mut(key) {
            known.expiry = expiry;
        }
    }

    fn rename(&mut self, from: &[u8]) {
        let to = self.key();
        let taken = self.table.take(from);
        let known = self.model.remove(from);
        assert_eq!(taken.is_some(), known.is_some());
        if let (Some(taken), Some(mut known)) = (taken, known) {
            // A long string that moves is taken for raw, which it is by its length anyway.
            known.raw |= matches!(taken.value, TakenValue::String(_));
            let displaced = self.table.put_taken(&to, taken);
            assert_eq!(displaced.is_some(), self.model.insert(to, known).is_some());
        }
    }

    fn append(&mut self, key: &[u8]) {
        let piece = self.bytes();
        let Some(mut entry) = self.table.get_mut(key) else {
            assert!(!self.model.contains_key(key));
            return;
        };
        if let Some(string) = entry.heap_string_mut() {
            string.extend_from_slice(&piece);
            let Some(Known { value: Value::Bytes(bytes), .. }) = self.model.get_mut(key) else {
                panic!("a string is a string");
            };
            bytes.extend_from_slice(&piece);
            // And off again, or they would all grow without end.
            if bytes.len() > 4000 {
                string.resize(200, 0);
                bytes.truncate(200);
            }
        }
    }

    fn touch(&mut self, key: &[u8]) {
        let access = self.rng.next_u64() as u32 & 0xff_ffff;
        if let Some(entry) = self.table.get(key) {
            entry.set_access(access);
        }
        if let Some(known) = self.model.get_mut(key) {
            known.access = access;
        }
    }

    /// Everything equal, and every invariant holds.
    fn verify(&self) {
        self.table.check();
        assert_eq!(self.table.len(), self.model.len());
        let expiring = self.model.values().filter(|known| known.expiry.is_some()).count();
        assert_eq!(self.table.expires_len(), expiring);
        for (key, known) in &self.model {
            let entry = self.table.get(key).unwrap_or_else(|| panic!("lost {key:?}"));
            assert_eq!(entry.key(), key);
            assert_eq!(&Known::of(entry), known);
        }
        for n in 0..50 {
            assert!(self.table.get(&key_of(self.space + n)).is_none());
        }
        let mut walked = 0;
        self.table.for_each(|entry| {
            assert!(self.model.contains_key(entry.key()));
            walked += 1;
        });
        assert_eq!(walked, self.model.len());
    }
}

/// The key of a number: of all lengths, some beyond what an entry takes.
pub(super) fn key_of(number: u64) -> Vec<u8> {
    let pad = match number % 97 {
        0 => 240 + (number / 97 % 40) as usize,
        1 => 600,
        _ => (number % 23) as usize,
    };
    let mut key = number.to_string().into_bytes();
    key.resize(key.len() + pad, b'k');
    key
}
