//! Which clients wait for which keys (BLPOP and the other blocking commands), in the order in which
//! they came.
//!
//! A client that waits has a ticket; tickets grow, so that a line is a map from ticket to client, and
//! joining it, leaving it and finding the first cost the same however long it is. A key's line is kept
//! by what is waited for: a change of one type doesn't look at those who wait for another, and of many
//! consumers of a group only as many are looked at as there are entries for. Some want to hear as well
//! that the key is gone or holds another type (XREADGROUP).
//!
//! The maps are empty nearly always, and then a change costs one test. A key that changes while
//! clients wait for it is noted as ready; the engine takes those keys at the end of each unit and
//! lets the waiting commands try again.

use std::collections::{BTreeMap, HashMap};

use crate::data::stream::Stream;
use crate::data::value::{Type, ValueRef};
use crate::keyspace::collection::Collection;
use crate::keyspace::databases::DbIndex;

/// A client, by its place in the table of sessions; it leaves all lines before the place is reused.
pub(crate) type Waiter = u32;

/// A wait's number; a later one is greater.
pub(crate) type Ticket = u64;

/// What is waited for at a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Awaited {
    /// A value of this type.
    pub kind: Type,
    /// Or that there is none any more: that the key goes, or holds another type.
    pub(crate) or_loss: bool,
    /// Of a stream only: entries that this group wasn't given yet, or that there is no such group.
    pub(crate) group: Option<Box<[u8]>>,
}

impl Awaited {
    /// A value of a type.
    pub(crate) fn value(kind: Type) -> Self {
        Self { kind, or_loss: false, group: None }
    }

    /// Whether it matters to who waits that the key holds this.
    pub(crate) fn is_met_by(&self, value: Option<ValueRef<'_>>) -> bool {
        let Some(value) = value.filter(|value| value.kind() == self.kind) else {
            return self.or_loss;
        };
        let (Some(name), ValueRef::Object(object)) = (&self.group, value) else { return true };
        Stream::of(&object).is_none_or(|stream| {
            stream.group(name).is_none_or(|group| group.last_id < stream.counts().last_id)
        })
    }
}

/// Those who wait for a key.
#[derive(Debug, Default)]
struct Line {
    by_awaited: BTreeMap<Awaited, BTreeMap<Ticket, Waiter>>,
    /// Whether the key is among those that changed.
    ready: bool,
}

impl Line {
    fn hears_of_loss(&self) -> bool {
        self.by_awaited.keys().any(|awaited| awaited.or_loss)
    }
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
        lines.filter(|line| line.hears_of_loss()).count()
    }

    /// Puts a client into a key's line, once even if it names the key twice.
    pub(crate) fn wait(
        &mut self,
        (ticket, waiter): (Ticket, Waiter),
        db: DbIndex,
        key: &[u8],
        awaited: &Awaited,
    ) {
        let index = db.0 as usize;
        if self.lines.len() <= index {
            self.lines.resize_with(index + 1, HashMap::default);
        }
        let line = self.lines[index].entry(key.into()).or_insert_with(|| {
            self.keys += 1;
            Line::default()
        });
        match line.by_awaited.get_mut(awaited) {
            Some(waiters) => {
                waiters.insert(ticket, waiter);
            }
            None => {
                line.by_awaited.insert(awaited.clone(), BTreeMap::from([(ticket, waiter)]));
            }
        }
    }

    /// Takes a client out of a key's line.
    pub(crate) fn leave(&mut self, ticket: Ticket, db: DbIndex, key: &[u8], awaited: &Awaited) {
        let Some(lines) = self.lines.get_mut(db.0 as usize) else { return };
        let Some(line) = lines.get_mut(key) else { return };
        let Some(waiters) = line.by_awaited.get_mut(awaited) else { return };
        waiters.remove(&ticket);
        if waiters.is_empty() {
            line.by_awaited.remove(awaited);
        }
        if line.by_awaited.is_empty() {
            lines.remove(key);
            self.keys -= 1;
        }
    }

    /// All that is waited for at a key.
    pub(crate) fn awaited(&self, db: DbIndex, key: &[u8]) -> Vec<Awaited> {
        let line = self.lines.get(db.0 as usize).and_then(|lines| lines.get(key));
        line.map(|line| line.by_awaited.keys().cloned().collect()).unwrap_or_default()
    }

    /// The first client with a ticket of at least `from` that waits for this at a key.
    pub(crate) fn next(
        &self,
        db: DbIndex,
        key: &[u8],
        awaited: &Awaited,
        from: Ticket,
    ) -> Option<(Ticket, Waiter)> {
        let line = self.lines.get(db.0 as usize)?.get(key)?;
        let (ticket, waiter) = line.by_awaited.get(awaited)?.range(from..).next()?;
        Some((*ticket, *waiter))
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
        let hears = |line: &&mut Line| !line.ready && (exists || line.hears_of_loss());
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
    use crate::data::stream::{Group, StreamId};

    const DB: DbIndex = DbIndex(0);

    fn line(waits: &Waits, kind: Type) -> Vec<Waiter> {
        let mut found = Vec::new();
        let mut from = 0;
        while let Some((ticket, waiter)) = waits.next(DB, b"k", &Awaited::value(kind), from) {
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
            waits.wait((ticket, waiter), DB, b"k", &Awaited::value(Type::List));
        }
        waits.wait((4, 9), DB, b"k", &Awaited::value(Type::Zset));
        waits.leave(2, DB, b"k", &Awaited::value(Type::List));
        assert_eq!(line(&waits, Type::List), [7, 5]);
        assert_eq!(line(&waits, Type::Zset), [9]);
        waits.note(DB, b"k", true);
        waits.note(DB, b"k", true);
        waits.note(DbIndex(1), b"k", true);
        assert_eq!(waits.take_ready(), [(DB, Box::from(&b"k"[..]))]);
        waits.note(DB, b"k", true);
        assert!(waits.any_ready(), "ready again after it was taken");
        for (ticket, kind) in [(1, Type::List), (3, Type::List), (4, Type::Zset)] {
            waits.leave(ticket, DB, b"k", &Awaited::value(kind));
        }
        assert!(waits.is_empty() && line(&waits, Type::List).is_empty());
    }

    /// A push must not walk all who wait for the key: with 10,000 of them it would take milliseconds.
    #[test]
    fn the_first_of_a_long_line_is_found_without_walking_it() {
        let mut waits = Waits::default();
        for ticket in 0..10_000 {
            waits.wait((ticket, ticket as Waiter), DB, b"k", &Awaited::value(Type::Zset));
        }
        waits.wait((10_000, 1), DB, b"k", &Awaited::value(Type::List));
        assert_eq!(waits.next(DB, b"k", &Awaited::value(Type::List), 0), Some((10_000, 1)));
        let zset = Awaited::value(Type::Zset);
        assert_eq!(waits.next(DB, b"k", &zset, 0), Some((0, 0)));
        waits.leave(0, DB, b"k", &zset);
        assert_eq!(waits.next(DB, b"k", &zset, 0), Some((1, 1)));
    }

    #[test]
    fn some_hear_of_a_loss_as_well() {
        let mut waits = Waits::default();
        waits.wait((1, 7), DB, b"k", &Awaited::value(Type::Stream));
        waits.note(DB, b"k", false);
        assert!(!waits.any_ready(), "whoever waits for a value goes on waiting");
        let or_loss = Awaited { or_loss: true, ..Awaited::value(Type::Stream) };
        waits.wait((2, 8), DB, b"k", &or_loss);
        waits.note(DB, b"k", false);
        assert_eq!((waits.take_ready().len(), waits.len_with_loss()), (1, 1));
        assert!(or_loss.is_met_by(None) && !Awaited::value(Type::Stream).is_met_by(None));
        assert_eq!(waits.next(DB, b"k", &or_loss, 0), Some((2, 8)));
        assert_eq!(waits.next(DB, b"k", &or_loss, 3), None);
    }

    #[test]
    fn a_group_waits_for_what_it_was_not_given() {
        let thresholds = crate::data::thresholds::Thresholds::default();
        let id = |ms| StreamId { ms, seq: 0 };
        let mut stream = Stream::default();
        stream.push(id(5), [&b"field"[..], b"value"].into_iter(), &thresholds).unwrap();
        stream.add_group(b"behind", Group::new(id(4), None));
        stream.add_group(b"level", Group::new(id(5), None));
        let object = stream.into_object();
        let value = || Some(ValueRef::Object((&object).into()));
        let of = |group: Option<&[u8]>| Awaited {
            kind: Type::Stream,
            or_loss: true,
            group: group.map(Box::from),
        };
        assert!(of(None).is_met_by(value()) && of(Some(b"behind")).is_met_by(value()));
        assert!(!of(Some(b"level")).is_met_by(value()));
        assert!(of(Some(b"gone")).is_met_by(value()) && of(Some(b"level")).is_met_by(None));
    }
}
