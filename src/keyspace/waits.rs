//! Which clients wait for which keys (BLPOP and the other blocking commands), in the order in which
//! they came.
//!
//! A client that waits has a ticket; tickets grow, so that a line is a map from ticket to client, and
//! joining it, leaving it and finding the first cost the same however long it is. A key's line is kept
//! by the type that is waited for: a change of one type doesn't look at those who wait for another. Some
//! want to hear as well that the key is gone or holds another type (XREADGROUP).
//!
//! The maps are empty nearly always, and then a change costs one test. A key that changes while
//! clients wait for it is noted as ready; the engine takes those keys at the end of each unit and
//! lets the waiting commands try again.

use std::collections::{BTreeMap, HashMap};

use crate::data::value::Type;
use crate::keyspace::databases::DbIndex;

/// A client, by its place in the table of sessions; it leaves all lines before the place is reused.
pub(crate) type Waiter = u32;

/// A wait's number; a later one is greater.
pub(crate) type Ticket = u64;

/// What is waited for at a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// A value of this type.
    pub kind: Type,
    /// Or that there is none any more: that the key goes, or holds another type.
    pub(crate) or_loss: bool,
}

/// Those who wait for a key.
#[derive(Debug, Default)]
struct Line {
    by_type: Vec<(Awaited, BTreeMap<Ticket, Waiter>)>,
    /// Whether the key is among those that changed.
    ready: bool,
}

/// The keys that are waited for.
#[derive(Debug, Default)]
pub struct Waits {
    /// By database.
    lines: Vec<HashMap<Box<[u8]>, Line, ahash::RandomState>>,
    /// Keys with a line, in all databases.
    keys: usize,
    /// Keys that changed, each once, in order.
    ready: Vec<(DbIndex, Box<[u8]>)>,
}

impl Waits {
    /// Whether no client waits.
    #[inline]
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// How many keys are waited for.
    pub(crate) fn len(&self) -> usize {
        self.keys
    }

    /// How many keys are waited for by somebody who wants to hear that the key is gone.
    pub(crate) fn len_with_loss(&self) -> usize {
        let lines = self.lines.iter().flat_map(HashMap::values);
        lines.filter(|line| line.by_type.iter().any(|(awaited, _)| awaited.or_loss)).count()
    }

    /// Puts a client into a key's line, once even if it names the key twice.
    pub(crate) fn wait(
        &mut self,
        (ticket, waiter): (Ticket, Waiter),
        db: DbIndex,
        key: &[u8],
        awaited: Awaited,
    ) {
        let index = db.0 as usize;
        if self.lines.len() <= index {
            self.lines.resize_with(index + 1, HashMap::default);
        }
        let line = self.lines[index].entry(key.into()).or_insert_with(|| {
            self.keys += 1;
            Line::default()
        });
        let at =
            line.by_type.iter().position(|(other, _)| *other == awaited).unwrap_or_else(|| {
                line.by_type.push((awaited, BTreeMap::new()));
                line.by_type.len() - 1
            });
        line.by_type[at].1.insert(ticket, waiter);
    }

    /// Takes a client out of a key's line.
    pub(crate) fn leave(&mut self, ticket: Ticket, db: DbIndex, key: &[u8]) {
        let Some(lines) = self.lines.get_mut(db.0 as usize) else { return };
        let Some(line) = lines.get_mut(key) else { return };
        line.by_type.retain_mut(|(_, waiters)| {
            waiters.remove(&ticket);
            !waiters.is_empty()
        });
        if line.by_type.is_empty() {
            lines.remove(key);
            self.keys -= 1;
        }
    }

    /// The first client with a ticket of at least `from` to which it matters that a key holds this
    /// type, or nothing.
    pub(crate) fn next(
        &self,
        db: DbIndex,
        key: &[u8],
        kind: Option<Type>,
        from: Ticket,
    ) -> Option<(Ticket, Waiter)> {
        let line = self.lines.get(db.0 as usize)?.get(key)?;
        let concerned = line
            .by_type
            .iter()
            .filter(|(awaited, _)| kind == Some(awaited.kind) || awaited.or_loss);
        let first = concerned.filter_map(|(_, waiters)| waiters.range(from..).next());
        first.min().map(|(ticket, waiter)| (*ticket, *waiter))
    }

    /// Notes that a key has changed, and whether it is still there.
    #[inline]
    pub(crate) fn note(&mut self, db: DbIndex, key: &[u8], exists: bool) {
        if self.keys != 0 {
            self.note_waited(db, key, exists);
        }
    }

    #[cold]
    fn note_waited(&mut self, db: DbIndex, key: &[u8], exists: bool) {
        let line = self.lines.get_mut(db.0 as usize).and_then(|lines| lines.get_mut(key));
        let hears = |line: &&mut Line| {
            !line.ready && (exists || line.by_type.iter().any(|(awaited, _)| awaited.or_loss))
        };
        if let Some(line) = line.filter(hears) {
            line.ready = true;
            self.ready.push((db, key.into()));
        }
    }

    /// Whether a key has changed that a client waits for.
    #[inline]
    pub(crate) fn any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes the keys that changed.
    pub(crate) fn take_ready(&mut self) -> Vec<(DbIndex, Box<[u8]>)> {
        let ready = std::mem::take(&mut self.ready);
        for (db, key) in &ready {
            let line = self.lines.get_mut(db.0 as usize).and_then(|lines| lines.get_mut(key));
            if let Some(line) = line {
                line.ready = false;
            }
        }
        ready
    }

    /// The keys of one database that are waited for.
    pub(crate) fn keys_of(&self, db: DbIndex) -> Vec<Box<[u8]>> {
        let lines = self.lines.get(db.0 as usize);
        lines.map(|lines| lines.keys().cloned().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DB: DbIndex = DbIndex(0);

    fn value(kind: Type) -> Awaited {
        Awaited { kind, or_loss: false }
    }

    fn line(waits: &Waits, kind: Type) -> Vec<Waiter> {
        let mut found = Vec::new();
        let mut from = 0;
        while let Some((ticket, waiter)) = waits.next(DB, b"k", Some(kind), from) {
            found.push(waiter);
            from = ticket + 1;
        }
        found
    }

    #[test]
    fn a_line_keeps_its_order_and_a_key_is_ready_once() {
        let mut waits = Waits::default();
        waits.note(DB, b"k", true);
        assert!(!waits.any_ready(), "no client waits");
        for (ticket, waiter) in [(1, 7), (1, 7), (2, 3), (3, 5)] {
            waits.wait((ticket, waiter), DB, b"k", value(Type::List));
        }
        waits.wait((4, 9), DB, b"k", value(Type::Zset));
        waits.leave(2, DB, b"k");
        assert_eq!(line(&waits, Type::List), [7, 5]);
        assert_eq!(line(&waits, Type::Zset), [9]);
        waits.note(DB, b"k", true);
        waits.note(DB, b"k", true);
        waits.note(DbIndex(1), b"k", true);
        assert_eq!(waits.take_ready(), [(DB, Box::from(&b"k"[..]))]);
        waits.note(DB, b"k", true);
        assert!(waits.any_ready(), "ready again after it was taken");
        for ticket in [1, 3, 4] {
            waits.leave(ticket, DB, b"k");
        }
        assert!(waits.is_empty() && line(&waits, Type::List).is_empty());
    }

    /// One push once walked all who waited for the key: with 10,000 of them each push took
    /// milliseconds. Now the first is found without looking at the others.
    #[test]
    fn the_first_of_a_long_line_is_found_without_walking_it() {
        let mut waits = Waits::default();
        for ticket in 0..10_000 {
            waits.wait((ticket, ticket as Waiter), DB, b"k", value(Type::Zset));
        }
        waits.wait((10_000, 1), DB, b"k", value(Type::List));
        assert_eq!(waits.next(DB, b"k", Some(Type::List), 0), Some((10_000, 1)));
        assert_eq!(waits.next(DB, b"k", Some(Type::Zset), 0), Some((0, 0)));
        waits.leave(0, DB, b"k");
        assert_eq!(waits.next(DB, b"k", Some(Type::Zset), 0), Some((1, 1)));
    }

    #[test]
    fn some_hear_of_a_loss_as_well() {
        let mut waits = Waits::default();
        waits.wait((1, 7), DB, b"k", value(Type::Stream));
        waits.note(DB, b"k", false);
        assert!(!waits.any_ready(), "whoever waits for a value goes on waiting");
        waits.wait((2, 8), DB, b"k", Awaited { kind: Type::Stream, or_loss: true });
        waits.note(DB, b"k", false);
        assert_eq!((waits.take_ready().len(), waits.len_with_loss()), (1, 1));
        assert_eq!(waits.next(DB, b"k", None, 0), Some((2, 8)));
        assert_eq!(waits.next(DB, b"k", Some(Type::String), 0), Some((2, 8)));
        assert_eq!(waits.next(DB, b"k", Some(Type::Stream), 0), Some((1, 7)));
        assert_eq!(waits.next(DB, b"k", Some(Type::Stream), 2), Some((2, 8)));
    }
}
