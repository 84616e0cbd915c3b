//! Which clients wait for which keys (BLPOP and its kin), in the order in which they came.
//!
//! The map is empty nearly always, and then a change costs one test. A key that changes while
//! somebody waits for it is noted as ready; the engine takes those keys at the end of each unit and
//! lets the waiting commands try again.

use std::collections::{HashMap, VecDeque};

use crate::data::value::Type;
use crate::keyspace::databases::DbIndex;

/// A client, by its place: whoever leaves it leaves all lines first.
pub type Waiter = u32;

type Name = (DbIndex, Box<[u8]>);

/// The keys that are waited for.
#[derive(Debug, Default)]
pub struct Waits {
    keys: HashMap<Name, VecDeque<(Waiter, Type)>, ahash::RandomState>,
    /// Keys that changed, each once, in order.
    ready: Vec<Name>,
}

impl Waits {
    /// Whether nobody waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys are waited for.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Puts a client at the end of a key's line, once even if it names the key twice.
    pub fn wait(&mut self, waiter: Waiter, db: DbIndex, key: &[u8], kind: Type) {
        let line = self.keys.entry((db, key.into())).or_default();
        if line.back().is_none_or(|(last, _)| *last != waiter) {
            line.push_back((waiter, kind));
        }
    }

    /// Takes a client out of a key's line.
    pub fn leave(&mut self, waiter: Waiter, db: DbIndex, key: &[u8]) {
        let name = (db, Box::from(key));
        if let Some(line) = self.keys.get_mut(&name) {
            if let Some(at) = line.iter().position(|(other, _)| *other == waiter) {
                line.remove(at);
            }
            if line.is_empty() {
                self.keys.remove(&name);
            }
        }
    }

    /// The clients that wait for a key, first come first.
    pub fn line(&self, db: DbIndex, key: &[u8]) -> Vec<(Waiter, Type)> {
        let line = self.keys.get(&(db, Box::from(key)));
        line.map(|line| line.iter().copied().collect()).unwrap_or_default()
    }

    /// Notes that a key is there and has changed.
    #[inline]
    pub fn note(&mut self, db: DbIndex, key: &[u8]) {
        if !self.keys.is_empty() {
            self.note_waited(db, key);
        }
    }

    #[cold]
    fn note_waited(&mut self, db: DbIndex, key: &[u8]) {
        let name = (db, Box::from(key));
        if self.keys.contains_key(&name) && !self.ready.contains(&name) {
            self.ready.push(name);
        }
    }

    /// Whether a key has changed that somebody waits for.
    #[inline]
    pub fn any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes the keys that changed.
    pub fn take_ready(&mut self) -> Vec<(DbIndex, Box<[u8]>)> {
        std::mem::take(&mut self.ready)
    }

    /// The keys of one database that are waited for.
    pub fn keys_of(&self, db: DbIndex) -> Vec<Box<[u8]>> {
        let of_db = self.keys.keys().filter(|(at, _)| *at == db);
        of_db.map(|(_, key)| key.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_its_order_and_a_key_is_ready_once() {
        let db = DbIndex(0);
        let mut waits = Waits::default();
        waits.note(db, b"k");
        assert!(!waits.any_ready(), "nobody waits");
        for waiter in [7, 7, 3, 5] {
            waits.wait(waiter, db, b"k", Type::List);
        }
        waits.leave(3, db, b"k");
        assert_eq!(waits.line(db, b"k"), [(7, Type::List), (5, Type::List)]);
        waits.note(db, b"k");
        waits.note(db, b"k");
        waits.note(DbIndex(1), b"k");
        assert_eq!(waits.take_ready(), [(db, Box::from(&b"k"[..]))]);
        waits.leave(7, db, b"k");
        waits.leave(5, db, b"k");
        assert!(waits.is_empty() && waits.line(db, b"k").is_empty());
    }
}
