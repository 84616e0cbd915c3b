//! Which clients watch which keys (WATCH), and who of them saw a change.
//!
//! The map is empty nearly always, and then a change costs one test. A watched key that had
//! already expired when WATCH came is `stale`: its removal, which only makes visible what was true,
//! breaks no transaction.

use std::collections::HashMap;

use crate::keyspace::databases::DbIndex;

/// A client, by its number.
pub(crate) type Watcher = u64;

/// What stands under a key's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing.
    Nothing,
    /// An entry whose time has come, though nobody has removed it yet.
    Expired,
    /// A key.
    Live,
}

#[derive(Debug)]
struct Watch {
    watcher: Watcher,
    stale: bool,
}

/// The watched keys.
#[derive(Debug, Default)]
pub struct Watches {
    keys: HashMap<(DbIndex, Box<[u8]>), Vec<Watch>, ahash::RandomState>,
    /// Clients whose watched keys changed; the engine takes them at the end of each unit.
    broken: Vec<Watcher>,
}

impl Watches {
    /// Whether no key is watched.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys are watched.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Makes `watcher` see changes of a key; `stale` where the key has expired already.
    pub(crate) fn watch(&mut self, watcher: Watcher, db: DbIndex, key: &[u8], stale: bool) {
        let watches = self.keys.entry((db, key.into())).or_default();
        if watches.iter().all(|watch| watch.watcher != watcher) {
            watches.push(Watch { watcher, stale });
        }
    }

    /// Ends one watch.
    pub(crate) fn unwatch(&mut self, watcher: Watcher, db: DbIndex, key: &[u8]) {
        let name = (db, Box::from(key));
        if let Some(watches) = self.keys.get_mut(&name) {
            watches.retain(|watch| watch.watcher != watcher);
            if watches.is_empty() {
                self.keys.remove(&name);
            }
        }
    }

    /// Whether `watcher` watches the key as one that had expired before.
    pub(crate) fn is_stale(&self, watcher: Watcher, db: DbIndex, key: &[u8]) -> bool {
        self.keys
            .get(&(db, Box::from(key)))
            .is_some_and(|watches| watches.iter().any(|w| w.watcher == watcher && w.stale))
    }

    /// Notes that a key changed; `exists` says whether it is there afterwards.
    pub(crate) fn touch(&mut self, db: DbIndex, key: &[u8], exists: bool) {
        if self.keys.is_empty() {
            return;
        }
        if let Some(watches) = self.keys.get_mut(&(db, Box::from(key))) {
            for watch in watches {
                if watch.stale && !exists {
                    watch.stale = false;
                } else {
                    self.broken.push(watch.watcher);
                }
            }
        }
    }

    /// Notes that another database's contents took the place of this one's (SWAPDB): `was_there`
    /// says whether the key was there before, expired or not, and `now` what is there instead.
    pub(crate) fn replace(&mut self, db: DbIndex, key: &[u8], was_there: bool, now: Found) {
        let Some(watches) = self.keys.get_mut(&(db, Box::from(key))) else { return };
        for watch in watches {
            match now {
                Found::Nothing if !was_there => {}
                // An expired key went, or another expired one came: no logical change.
                Found::Nothing if watch.stale => watch.stale = false,
                Found::Expired if watch.stale => {}
                Found::Expired if !was_there => watch.stale = true,
                _ => self.broken.push(watch.watcher),
            }
        }
    }

    /// The watched keys of one database.
    pub(crate) fn keys_of(&self, db: DbIndex) -> Vec<Box<[u8]>> {
        let of_db = self.keys.keys().filter(|(at, _)| *at == db);
        of_db.map(|(_, key)| key.clone()).collect()
    }

    /// Takes the clients whose watched keys changed.
    pub(crate) fn take_broken(&mut self) -> Vec<Watcher> {
        std::mem::take(&mut self.broken)
    }

    /// Whether any client saw a change since the last take.
    #[inline]
    pub(crate) fn any_broken(&self) -> bool {
        !self.broken.is_empty()
    }
}
