//! Databases beside those in use: a snapshot is loaded into them, and they take the others' place when all
//! of it is there.
//!
//! Who waits for keys, watches them or has read them follows the databases in use: an exchange is to them
//! what FLUSHALL and writing everything anew would be.

use crate::base::env::Rng;
use crate::data::index::Room;
use crate::keyspace::databases::{Databases, DbIndex, ExpiryMode};
use crate::keyspace::reclaim::Reclaimer;
use crate::keyspace::watch::Found;

impl Databases {
    /// As many empty ones, for loading: nothing expires in them, and nothing is recorded.
    pub(crate) fn beside(&mut self) -> Self {
        let rng = Rng::from_seed(self.rng.next_u64());
        let (seed, pool, count) = (self.seed, self.pool.clone(), self.count());
        let mut beside = Self::with(count, seed, pool, rng, Reclaimer::default());
        beside.policy = self.policy.clone();
        beside.now = self.now;
        beside.room = Room::All;
        beside.set_expiry_mode(ExpiryMode::AsLogged);
        beside.unit.recording = false;
        beside
    }

    /// Exchanges what is in them with what is in others of the same server. No walk may be under way.
    pub(crate) fn exchange(&mut self, other: &mut Self) {
        debug_assert!(self.walk.is_none() && other.walk.is_none(), "a walk is over these tables");
        for index in 0..self.count() {
            let db = DbIndex(index);
            let has = |all: &Self, key: &[u8]| {
                all.table(db).is_some_and(|table| table.get(key).is_some())
            };
            for key in self.watches.keys_of(db) {
                let there = if has(other, &key) { Found::Live } else { Found::Nothing };
                self.watches.replace(db, &key, has(self, &key), there);
            }
            for key in self.waits.keys_of(db) {
                self.waits.note(db, &key, has(other, &key));
            }
            self.unit.touch_all(db);
        }
        std::mem::swap(&mut self.tables, &mut other.tables);
        std::mem::swap(&mut self.expiring_hashes, &mut other.expiring_hashes);
        self.forget_own_expiry();
    }

    /// Frees all that is in others, on the background thread if `elsewhere`.
    pub(crate) fn free(&self, mut other: Self, elsewhere: bool) {
        for table in other.tables.iter_mut().filter_map(Option::take) {
            if elsewhere {
                self.reclaimer.free_table(table);
            }
        }
    }

    /// Bytes of the pages that tables map themselves.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.occupied().map(|(_, table)| table.memory().segment_bytes as u64).sum()
    }
}
