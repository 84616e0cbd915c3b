//! Fields of hashes that expire: which hashes have some, and what happens when their time comes.
//!
//! Each database knows its hashes that have expiring fields, in the order in which the first field of
//! each expires. [`Db`] keeps that up to date wherever a value comes, goes or changes, so an entry is
//! always the hash's own [`Hash::next_expiry`]. Nothing here costs a database without such hashes
//! more than one comparison a lookup.
//!
//! Fields whose time has come are removed before anybody sees the hash (by [`Db`]'s lookups), and in
//! the background (by [`Databases::expire_fields_due`]). Either way the log gets an HDEL, and a hash
//! without fields goes. Where what is due is to stay ([`ExpiryMode::Absent`]), readers get a copy of
//! the hash without those fields, which costs them a pass over it.
//!
//! [`Hash::next_expiry`]: crate::data::hash::Hash::next_expiry

use std::collections::BTreeSet;

use crate::base::env::UnixMillis;
use crate::data::hash::Hash;
use crate::data::value::{NewValue, Object, ValueRef};
use crate::keyspace::databases::{Databases, DbIndex, ExpiryMode};
use crate::keyspace::db::Db;
use crate::keyspace::table::{Entry, HeapPart, Removed, Taken, TakenValue};
use crate::keyspace::unit::Event;

/// Names in one HDEL record, so that no record is huge.
const NAMES_PER_RECORD: usize = 1000;

/// The hashes of all databases that have expiring fields.
#[derive(Debug, Default)]
pub(super) struct ExpiringHashes {
    databases: Vec<ByTime>,
}

/// Those of one database.
#[derive(Debug)]
struct ByTime {
    keys: BTreeSet<(UnixMillis, Box<[u8]>)>,
    /// The time of the first; without any, one that never comes.
    earliest: UnixMillis,
}

impl Default for ByTime {
    fn default() -> Self {
        Self { keys: BTreeSet::new(), earliest: UnixMillis(i64::MAX) }
    }
}

impl ByTime {
    fn change(&mut self, key: &[u8], old: Option<UnixMillis>, new: Option<UnixMillis>) {
        let mut entry = (UnixMillis(0), Box::from(key));
        if let Some(at) = old {
            entry.0 = at;
            self.keys.remove(&entry);
        }
        if let Some(at) = new {
            entry.0 = at;
            self.keys.insert(entry);
        }
        self.earliest = self.keys.first().map_or(UnixMillis(i64::MAX), |(at, _)| *at);
    }
}

impl ExpiringHashes {
    /// For so many databases.
    pub(super) fn new(count: usize) -> Self {
        let mut databases = Vec::new();
        databases.resize_with(count, ByTime::default);
        Self { databases }
    }

    /// Whether any hash of a database has a field whose time has come.
    #[inline]
    pub(super) fn is_due(&self, db: DbIndex, now: UnixMillis) -> bool {
        self.databases[db.0 as usize].earliest <= now
    }

    /// Forgets a database's hashes.
    pub(super) fn clear(&mut self, db: DbIndex) {
        self.databases[db.0 as usize] = ByTime::default();
    }

    /// Exchanges two databases.
    pub(super) fn swap(&mut self, a: DbIndex, b: DbIndex) {
        self.databases.swap(a.0 as usize, b.0 as usize);
    }
}

fn of_object(object: &Object) -> Option<UnixMillis> {
    match object {
        Object::Hash(hash) => hash.next_expiry(),
        _ => None,
    }
}

/// When the first field of a new value expires.
#[inline]
pub(super) fn of_new(value: &NewValue<'_>) -> Option<UnixMillis> {
    match value {
        NewValue::Object(object) => of_object(object),
        _ => None,
    }
}

/// When the first field of a removed value would have expired.
#[inline]
pub(super) fn of_removed(removed: &Removed) -> Option<UnixMillis> {
    match &removed.heap {
        HeapPart::Object(object) => of_object(object),
        _ => None,
    }
}

/// When the first field of a value that was taken out expires.
pub(super) fn of_taken(taken: &Taken) -> Option<UnixMillis> {
    match &taken.value {
        TakenValue::Object(object) => of_object(object),
        _ => None,
    }
}

impl Databases {
    /// One round of removing fields whose time has come, at most about `fields_max`. Returns how many
    /// were removed.
    pub(crate) fn expire_fields_due(&mut self, fields_max: usize) -> usize {
        let mut removed = 0;
        if self.expiry.mode != ExpiryMode::Active {
            return removed;
        }
        let (count, first) = (self.count(), self.expiry.field_turn);
        for step in 0..count {
            let index = DbIndex((first + step) % count);
            while removed < fields_max
                && self.expiring_hashes.is_due(index, self.now)
                && let Some((at, key)) =
                    self.expiring_hashes.databases[index.0 as usize].keys.first().cloned()
            {
                let count = self.db(index).remove_due_fields(&key, fields_max - removed);
                debug_assert!(count > 0, "the entry is the hash's own time");
                if count == 0 {
                    // Rather than coming back to it for ever.
                    self.expiring_hashes.databases[index.0 as usize].change(&key, Some(at), None);
                }
                removed += count;
            }
            if removed >= fields_max {
                self.expiry.field_turn = (index.0 + 1) % self.count();
                break;
            }
        }
        removed
    }

    /// How many hashes of a database have fields that expire.
    pub(crate) fn expiring_hashes(&self, index: DbIndex) -> usize {
        self.expiring_hashes.databases.get(index.0 as usize).map_or(0, |hashes| hashes.keys.len())
    }
}

impl Db<'_> {
    /// Notes that the first field to expire of a key's value has another time now.
    #[inline]
    pub(super) fn note_field_expiry(
        &mut self,
        key: &[u8],
        old: Option<UnixMillis>,
        new: Option<UnixMillis>,
    ) {
        if old != new {
            let index = self.index().0 as usize;
            self.all.expiring_hashes.databases[index].change(key, old, new);
        }
    }

    /// Removes all fields of a key's value whose time has come.
    #[cold]
    pub(super) fn expire_fields(&mut self, key: &[u8]) {
        self.remove_due_fields(key, usize::MAX);
    }

    /// Removes up to `max` fields whose time has come, and says so in the log. Returns how many.
    fn remove_due_fields(&mut self, key: &[u8], max: usize) -> usize {
        let (now, index) = (self.all.now, self.index());
        let found = self.stored_hash(key, |hash| (hash.next_expiry(), hash.is_all_due(now)));
        let Some((due, all)) = found.filter(|(due, _)| self.is_due(*due)) else { return 0 };
        if all {
            return self.drop_due_hash(key);
        }
        let mut names = Vec::new();
        let Some(mut entry) = self.table_mut().get_mut(key) else { return 0 };
        let Some(Object::Hash(hash)) = entry.object_mut() else { return 0 };
        hash.remove_due(now, max, &mut names);
        let (next, emptied) = (hash.next_expiry(), hash.is_empty());
        drop(entry);
        self.note_field_expiry(key, due, next);
        for names in names.chunks(NAMES_PER_RECORD) {
            let mut record: Vec<&[u8]> = vec![b"HDEL", key];
            record.extend(names.iter().map(|name| &**name));
            self.all.unit.record(index, &record);
        }
        self.all.stats.expired_fields += names.len() as u64;
        // Not counted as a change: the command that met the hash did nothing by that.
        self.noted(key, Event::HEXPIRED, true);
        if emptied {
            self.drop_emptied(key);
        }
        names.len()
    }

    /// Removes a big hash all of whose fields are due, at once: one by one they would take long.
    #[cold]
    fn drop_due_hash(&mut self, key: &[u8]) -> usize {
        let count = self.stored_hash(key, Hash::len).unwrap_or(0);
        let Some(removed) = self.table_mut().remove(key) else { return 0 };
        self.note_field_expiry(key, of_removed(&removed), None);
        self.all.dispose(removed, true);
        self.all.unit.record(self.index(), &[b"UNLINK", key]);
        self.all.stats.expired_fields += count as u64;
        self.noted(key, Event::HEXPIRED, false);
        self.noted(key, Event::DEL, false);
        count
    }

    /// Whether a reader must not see some fields of the hash at a key, which stay though they are due.
    #[inline]
    pub(super) fn hides_fields(&self, key: &[u8]) -> bool {
        self.all.expiry.mode == ExpiryMode::Absent
            && self.all.expiring_hashes.is_due(self.index(), self.all.now)
            && self.stored_hash(key, Hash::next_expiry).is_some_and(|next| self.is_due(next))
    }

    /// The hash at a key as a reader sees it, where [`Db::hides_fields`] says that it differs.
    #[cold]
    pub(super) fn without_due_fields(&mut self, key: &[u8]) -> &Object {
        let now = self.all.now;
        let mut hash = self.stored_hash(key, Hash::clone).unwrap_or_default();
        hash.remove_due(now, usize::MAX, &mut Vec::new());
        self.all.expiry.without_due = Object::Hash(hash);
        &self.all.expiry.without_due
    }

    /// Whether an entry reads as absent, though it is there: its time has come, or that of all its
    /// fields while they stay.
    #[inline]
    pub(super) fn is_gone(&self, entry: &Entry<'_>) -> bool {
        self.is_due(entry.expiry())
            || (self.all.expiry.mode == ExpiryMode::Absent
                && self.all.expiring_hashes.is_due(self.index(), self.all.now)
                && is_all_due(entry, self.all.now))
    }

    /// What a function finds in the hash at a key.
    fn stored_hash<R>(&self, key: &[u8], find: impl FnOnce(&Hash) -> R) -> Option<R> {
        match self.table()?.get(key)?.value() {
            ValueRef::Object(object) => match &*object {
                Object::Hash(hash) => Some(find(hash)),
                _ => None,
            },
            _ => None,
        }
    }
}

fn is_all_due(entry: &Entry<'_>, now: UnixMillis) -> bool {
    match entry.value() {
        ValueRef::Object(object) => match &*object {
            Object::Hash(hash) if hash.is_compact() => {
                hash.iter().all(|field| field.expiry.is_some_and(|at| at <= now))
            }
            Object::Hash(hash) => hash.is_all_due(now),
            _ => false,
        },
        _ => false,
    }
}
