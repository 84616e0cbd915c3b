//! Keys that clients of a writable replica gave an expiry time: nobody else removes them.
//!
//! A replica waits for its primary to say when a key goes. What its own clients wrote the primary doesn't
//! know, so these keys are remembered by name, and the background removes those that are due. A
//! key that has no expiry time any more, or isn't there, is forgotten when it is looked at. One that the
//! primary has written since under the same name goes early, as in upstream.
//!
//! Costs nothing where nothing is remembered, and one test for each expiry time that is set otherwise.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::base::env::UnixMillis;
use crate::keyspace::databases::{Databases, DbIndex, ExpiryMode};

/// What is remembered, and where the next round begins.
#[derive(Debug, Default)]
pub(super) struct OwnExpiry {
    /// Whether expiry times that are set now are remembered.
    remembers: bool,
    keys: BTreeMap<(DbIndex, Box<[u8]>), UnixMillis>,
    turn: Option<(DbIndex, Box<[u8]>)>,
}

impl OwnExpiry {
    /// Forgets what is in a database.
    pub(super) fn clear(&mut self, index: DbIndex) {
        self.keys.retain(|(db, _), _| *db != index);
    }

    /// Two databases change places.
    pub(super) fn swap(&mut self, a: DbIndex, b: DbIndex) {
        if self.keys.is_empty() {
            return;
        }
        let keys = std::mem::take(&mut self.keys);
        let moved = |((db, key), at): ((DbIndex, _), _)| ((db.exchanged(a, b), key), at);
        self.keys = keys.into_iter().map(moved).collect();
    }

    /// An expiry time was set.
    #[inline]
    pub(super) fn note(&mut self, mode: ExpiryMode, index: DbIndex, key: &[u8], at: UnixMillis) {
        // What a primary says is applied in another mode.
        if self.remembers && mode == ExpiryMode::Absent {
            self.keys.insert((index, key.into()), at);
        }
    }
}

impl Databases {
    /// Whether clients' expiry times are remembered from now on.
    pub(crate) fn remember_own_expiry(&mut self, remembers: bool) {
        self.expiry.own.remembers = remembers;
    }

    /// Another server's word counts for no key any more, or all data is that server's.
    pub(crate) fn forget_own_expiry(&mut self) {
        self.expiry.own.keys.clear();
    }

    /// How many keys are remembered.
    pub(crate) fn own_expiring(&self) -> usize {
        self.expiry.own.keys.len()
    }

    /// One round: looks at some of the keys that are remembered, and removes those that are due. The next
    /// round goes on behind them. Returns how many were removed.
    pub(crate) fn expire_own_due(&mut self, count: usize) -> usize {
        if self.expiry.own.keys.is_empty() {
            return 0;
        }
        let from = self.expiry.own.turn.take().map_or(Bound::Unbounded, Bound::Excluded);
        let keys = &self.expiry.own.keys;
        let round: Vec<_> = keys.range((from, Bound::Unbounded)).take(count).collect();
        // The end of the map is the end of the round: the next begins at its beginning.
        self.expiry.own.turn = round.get(count.wrapping_sub(1)).map(|(name, _)| (*name).clone());
        let due: Vec<_> = round
            .into_iter()
            .filter(|(_, at)| **at <= self.now)
            .map(|(name, _)| name.clone())
            .collect();
        let mut removed = 0;
        for name in due {
            let (index, key) = (name.0, &*name.1);
            let expiry = self.table(index).and_then(|table| table.get(key)).map(|one| one.expiry());
            match expiry.flatten() {
                Some(at) if at > self.now => {
                    self.expiry.own.keys.insert(name, at);
                    continue;
                }
                Some(_) => {
                    self.db(index).expire_now(key);
                    removed += 1;
                }
                None => {}
            }
            self.expiry.own.keys.remove(&name);
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::value::NewValue;
    use crate::keyspace::databases::Expiry;
    use crate::keyspace::unit::Event;

    fn put(databases: &mut Databases, name: usize, at: i64) {
        let expiry = Expiry::At(UnixMillis(at));
        databases.db(DbIndex(0)).put(
            name.to_string().as_bytes(),
            NewValue::Int(1),
            expiry,
            Event::UNHEARD,
        );
    }

    #[test]
    fn every_due_key_goes_and_no_other() {
        let mut databases = Databases::new(1, 7, crate::keyspace::reclaim::Reclaimer::default());
        databases.set_now(UnixMillis(1_000));
        databases.set_expiry_mode(ExpiryMode::Absent);
        put(&mut databases, 1_000, 1_500);
        databases.remember_own_expiry(true);
        (0..100).for_each(|name| put(&mut databases, name, if name < 60 { 2_000 } else { 9_000 }));
        databases.set_expiry_mode(ExpiryMode::AsLogged);
        put(&mut databases, 1_001, 1_500);
        databases.set_expiry_mode(ExpiryMode::Absent);
        assert_eq!(databases.own_expiring(), 100, "what was there, and what a primary says, isn't");
        assert_eq!(databases.expire_own_due(1_000), 0);
        // Its client changed its mind.
        databases.db(DbIndex(0)).set_expiry(b"7", None, Event::UNHEARD);
        databases.set_now(UnixMillis(5_000));
        let removed: usize = (0..30).map(|_| databases.expire_own_due(7)).sum();
        assert_eq!(removed, 59);
        assert_eq!(databases.own_expiring(), 40);
        assert_eq!(databases.db(DbIndex(0)).len(), 43);
        databases.flush(DbIndex(0), false);
        assert_eq!(databases.own_expiring(), 0);
    }

    /// SWAPDB did not move what is remembered: a key that it had moved was never removed.
    #[test]
    fn keys_that_change_their_database_go_in_time() {
        let mut databases = Databases::new(2, 7, crate::keyspace::reclaim::Reclaimer::default());
        databases.set_now(UnixMillis(1_000));
        databases.set_expiry_mode(ExpiryMode::Absent);
        databases.remember_own_expiry(true);
        put(&mut databases, 1, 2_000);
        databases.swap(DbIndex(0), DbIndex(1));
        databases.set_now(UnixMillis(3_000));
        assert_eq!(databases.expire_own_due(100), 1);
        assert_eq!(databases.db(DbIndex(1)).len(), 0);
    }
}
