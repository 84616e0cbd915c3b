//! The numbered databases, and [`Db`]: the only door to reading and changing them.
//!
//! Every change goes through a method of [`Db`]. It looks after lazy expiry, WATCH, the count of
//! changes and the notice for keyspace events, so that no command has to. Reading methods expire
//! lazily too: a key whose time has come is removed, and a DEL goes into the log.
//!
//! While the log is being replayed nothing expires by itself: the log says what was deleted.

use std::fmt;

use crate::base::env::{Rng, UnixMillis};
use crate::data::string::HeapString;
use crate::data::value::{NewValue, Object, Type, ValueRef};
use crate::keyspace::reclaim::Reclaimer;
use crate::keyspace::string_edit::StringEdit;
use crate::keyspace::table::{Entry, EntryMut, HashSeed, Pool, Removed, Table, Taken};
use crate::keyspace::unit::{Event, Unit};
use crate::keyspace::waits::Waits;
use crate::keyspace::walk::Walk;
use crate::keyspace::watch::{Found, Watches};

/// A database's number, below `databases`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DbIndex(pub u32);

/// The key holds a value of another type than the command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType;

/// What becomes of a key's expiry time when its value is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It stays as it is.
    Keep,
    /// The key no longer expires.
    Clear,
    /// The key expires at that time.
    At(UnixMillis),
}

/// How access to keys is remembered, and how values are freed.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Remember frequency (LFU) instead of recency (LRU).
    pub lfu: bool,
    /// How slowly the frequency counter saturates (`lfu-log-factor`).
    pub lfu_log_factor: u32,
    /// Minutes after which the frequency counter falls by one (`lfu-decay-time`).
    pub lfu_decay_minutes: u32,
    /// Free expired values on the background thread (`lazyfree-lazy-expire`).
    pub lazy_expire: bool,
    /// Free values that a command replaces on the background thread (`lazyfree-lazy-server-del`).
    pub lazy_server_del: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            lfu: false,
            lfu_log_factor: 10,
            lfu_decay_minutes: 1,
            lazy_expire: false,
            lazy_server_del: false,
        }
    }
}

/// What INFO says of the keyspace since the last reset.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyspaceStats {
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Keys removed because their time had come.
    pub expired: u64,
}

/// How a lookup counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// For a reading command: hits and misses count, the access is remembered.
    Read,
    /// For a command that asks about a key: hits and misses count, nothing is remembered.
    Inspect,
    /// The access is remembered, nothing counts.
    Touch,
    /// Nobody shall notice.
    Peek,
}

/// All databases of a server.
pub struct Databases {
    pub(super) tables: Vec<Option<Box<Table>>>,
    seed: HashSeed,
    /// The memory of all tables.
    pool: Pool,
    pub(super) rng: Rng,
    /// The account of the current unit.
    pub unit: Unit,
    /// Who watches what.
    pub watches: Watches,
    /// Who waits for what.
    pub waits: Waits,
    /// Hits, misses, expirations.
    pub stats: KeyspaceStats,
    /// How access is remembered.
    pub policy: Policy,
    /// Where big removed values go.
    pub reclaimer: Reclaimer,
    /// The time of the current unit.
    pub(super) now: UnixMillis,
    /// Whether the log is being replayed.
    loading: bool,
    /// Whether keys whose time has come are left alone (DEBUG, and a client's import mode).
    pub expiry_paused: bool,
    /// Whether the command under way leaves no trace of use on keys that are there (CLIENT NO-TOUCH).
    pub untouched: bool,
    pub(super) walk: Option<Walk>,
    scratch: Vec<u8>,
}

impl fmt::Debug for Databases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Databases").field("count", &self.tables.len()).finish_non_exhaustive()
    }
}

impl Databases {
    /// `count` empty databases. `seed` keys the hash and the sampling.
    pub fn new(count: u32, seed: u64, reclaimer: Reclaimer) -> Self {
        let mut rng = Rng::from_seed(seed);
        let mut tables = Vec::new();
        tables.resize_with(count as usize, || None);
        Self {
            tables,
            seed: HashSeed(rng.next_u64()),
            pool: Pool::new(),
            rng,
            unit: Unit::default(),
            watches: Watches::default(),
            waits: Waits::default(),
            stats: KeyspaceStats::default(),
            policy: Policy::default(),
            reclaimer,
            now: UnixMillis(0),
            loading: false,
            expiry_paused: false,
            untouched: false,
            walk: None,
            scratch: Vec::new(),
        }
    }

    /// How many databases there are.
    pub fn count(&self) -> u32 {
        self.tables.len() as u32
    }

    /// Sets the time that the next unit sees.
    #[inline]
    pub fn set_now(&mut self, now: UnixMillis) {
        self.now = now;
    }

    /// Says whether the log is being replayed.
    pub fn set_loading(&mut self, loading: bool) {
        self.loading = loading;
    }

    /// One database.
    #[inline]
    pub fn db(&mut self, index: DbIndex) -> Db<'_> {
        Db { all: self, index }
    }

    /// The table of a database, where it has ever held a key.
    pub fn table(&self, index: DbIndex) -> Option<&Table> {
        self.tables.get(index.0 as usize)?.as_deref()
    }

    /// The databases that hold keys.
    pub fn occupied(&self) -> impl Iterator<Item = (DbIndex, &Table)> {
        self.tables.iter().enumerate().filter_map(|(index, table)| {
            let table = table.as_deref()?;
            (!table.is_empty()).then_some((DbIndex(index as u32), table))
        })
    }

    /// Keys in all databases.
    pub fn total_keys(&self) -> u64 {
        self.occupied().map(|(_, table)| table.len() as u64).sum()
    }

    /// Whether something with this expiry time counts as gone.
    #[inline]
    fn is_due(&self, expiry: Option<UnixMillis>) -> bool {
        expiry.is_some_and(|at| at <= self.now) && !self.loading && !self.expiry_paused
    }

    /// Exchanges two databases.
    pub fn swap(&mut self, a: DbIndex, b: DbIndex) {
        if a == b {
            return;
        }
        // Watched keys see the change where either side holds a key of that name.
        for (db, other) in [(a, b), (b, a)] {
            for key in self.watches.keys_of(db) {
                let here = self.table(db).is_some_and(|table| table.get(&key).is_some());
                let there = match self.table(other).and_then(|table| table.get(&key)) {
                    None => Found::Nothing,
                    Some(entry) if self.is_due(entry.expiry()) => Found::Expired,
                    Some(_) => Found::Live,
                };
                self.watches.replace(db, &key, here, there);
            }
        }
        self.tables.swap(a.0 as usize, b.0 as usize);
        for db in [a, b] {
            for key in self.waits.keys_of(db) {
                if self.table(db).is_some_and(|table| table.get(&key).is_some()) {
                    self.waits.note(db, &key);
                }
            }
        }
        if let Some(walk) = &mut self.walk {
            for index in &mut walk.tables {
                *index = match *index {
                    index if index == a => b,
                    index if index == b => a,
                    index => index,
                };
            }
        }
        self.unit.changes += 1;
    }

    /// Empties a database and returns how many keys it had. `elsewhere` frees on the background
    /// thread. A running snapshot still sees the keys.
    pub fn flush(&mut self, index: DbIndex, elsewhere: bool) -> u64 {
        for key in self.watches.keys_of(index) {
            if self.table(index).is_some_and(|table| table.get(&key).is_some()) {
                self.watches.touch(index, &key, false);
            }
        }
        let Some(table) = self.tables[index.0 as usize].take() else { return 0 };
        let keys = table.len() as u64;
        if let Some(walk) = &mut self.walk
            && let Some(at) = walk.tables.iter().position(|walked| *walked == index)
        {
            walk.tables.swap_remove(at);
            walk.orphans.push(*table);
        } else if elsewhere && keys > 64 {
            self.reclaimer.free(Box::new(table), keys);
        }
        keys
    }

    /// Whether a snapshot is under way.
    pub fn snapshotting(&self) -> bool {
        self.walk.is_some()
    }

    /// One round of active expiry: removes keys whose time has come, from at most `segments`
    /// segments a database and at most about `keys_max` keys altogether. Each removal is noted in
    /// the unit. Returns how many keys were removed.
    pub fn expire_due(&mut self, segments: usize, keys_max: usize) -> usize {
        let now = self.now;
        let mut removed = 0;
        for index in 0..self.tables.len() {
            let Some(table) = &mut self.tables[index] else { continue };
            if table.expires_len() == 0 {
                continue;
            }
            let mut due: Vec<Box<[u8]>> = Vec::new();
            table.expire_step(now, segments, keys_max - removed, &mut |key| due.push(key.into()));
            removed += due.len();
            for key in due {
                self.db(DbIndex(index as u32)).expire_now(&key);
            }
            if removed >= keys_max {
                break;
            }
        }
        removed
    }

    fn dispose(&self, removed: Removed, elsewhere: bool) {
        if elsewhere && removed.heap_bytes() > 64 << 10 {
            self.reclaimer.free(Box::new(removed), 1);
        }
    }
}

/// One database: reading, and the only way to change.
#[derive(Debug)]
pub struct Db<'a> {
    all: &'a mut Databases,
    index: DbIndex,
}

impl Db<'_> {
    /// The database's number.
    pub fn index(&self) -> DbIndex {
        self.index
    }

    #[inline]
    fn table(&self) -> Option<&Table> {
        self.all.tables[self.index.0 as usize].as_deref()
    }

    #[inline]
    fn table_mut(&mut self) -> &mut Table {
        let Databases { tables, seed, pool, .. } = &mut *self.all;
        tables[self.index.0 as usize].get_or_insert_with(|| Box::new(Table::new(*seed, pool)))
    }

    /// How many keys there are, those included whose time has come but which nobody met yet.
    pub fn len(&self) -> usize {
        self.table().map_or(0, Table::len)
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn is_due(&self, expiry: Option<UnixMillis>) -> bool {
        self.all.is_due(expiry)
    }

    /// Removes the key if its time has come. Costs nothing where no key of the database expires.
    #[inline]
    fn expire_if_due(&mut self, key: &[u8]) {
        let Some(table) = self.table() else { return };
        if table.expires_len() != 0
            && let Some(entry) = table.get(key)
            && self.is_due(entry.expiry())
        {
            self.expire_now(key);
        }
    }

    /// Removes a key whose time has come, and says so in the log.
    #[cold]
    pub(crate) fn expire_now(&mut self, key: &[u8]) {
        let Some(removed) = self.table_mut().remove(key) else { return };
        self.all.dispose(removed, self.all.policy.lazy_expire);
        let record: &[u8] = if self.all.policy.lazy_expire { b"UNLINK" } else { b"DEL" };
        self.all.unit.record(self.index, &[record, key]);
        self.all.stats.expired += 1;
        // Not counted as a change: the command that met the key did nothing by that.
        self.noted(key, Event::EXPIRED, false);
    }

    #[inline]
    fn look(&mut self, key: &[u8], look: Look) -> Option<Entry<'_>> {
        self.expire_if_due(key);
        let remembered = matches!(look, Look::Touch | Look::Read) && !self.all.untouched;
        if remembered && self.all.policy.lfu {
            self.count_use(key);
        }
        let access = self.all.fresh_access();
        let lfu = self.all.policy.lfu;
        let all = &mut *self.all;
        let entry = all.tables[self.index.0 as usize].as_ref().and_then(|table| table.get(key));
        if matches!(look, Look::Read | Look::Inspect) {
            match entry {
                Some(_) => all.stats.hits += 1,
                None => all.stats.misses += 1,
            }
        }
        let entry = entry?;
        if remembered && !lfu {
            entry.set_access(access);
        }
        Some(entry)
    }

    /// Counts one more use of a key under LFU.
    #[cold]
    fn count_use(&mut self, key: &[u8]) {
        let Some(old) = self.table().and_then(|table| table.get(key)).map(|e| e.access()) else {
            return;
        };
        let access = self.all.next_access(old);
        if let Some(entry) = self.table().and_then(|table| table.get(key)) {
            entry.set_access(access);
        }
    }

    /// The entry of a key, for a command that reads: counts as hit or miss and as an access.
    #[inline]
    pub fn read(&mut self, key: &[u8]) -> Option<Entry<'_>> {
        self.look(key, Look::Read)
    }

    /// The entry of a key, for a command that asks about it (EXISTS, TTL): counts as hit or miss, but
    /// not as an access.
    #[inline]
    pub fn inspect(&mut self, key: &[u8]) -> Option<Entry<'_>> {
        self.look(key, Look::Inspect)
    }

    /// The entry of a key, for a command that will change it: counts as an access only.
    #[inline]
    pub fn touch(&mut self, key: &[u8]) -> Option<Entry<'_>> {
        self.look(key, Look::Touch)
    }

    /// The entry of a key, without a trace.
    #[inline]
    pub fn peek(&mut self, key: &[u8]) -> Option<Entry<'_>> {
        self.look(key, Look::Peek)
    }

    /// Whether the key is there.
    pub fn exists(&mut self, key: &[u8]) -> bool {
        self.peek(key).is_some()
    }

    /// The string at a key, for a command that reads.
    #[inline]
    pub fn read_string(&mut self, key: &[u8]) -> Result<Option<ValueRef<'_>>, WrongType> {
        string_of(self.look(key, Look::Read))
    }

    /// The string at a key, for a command that will change it.
    #[inline]
    pub fn touch_string(&mut self, key: &[u8]) -> Result<Option<ValueRef<'_>>, WrongType> {
        string_of(self.look(key, Look::Touch))
    }

    /// Puts a value, whatever was there before.
    #[inline]
    pub fn put(&mut self, key: &[u8], value: NewValue<'_>, expiry: Expiry, event: Event) {
        let expiry = match expiry {
            Expiry::Clear => None,
            Expiry::At(at) => Some(at),
            Expiry::Keep => self.peek(key).and_then(|entry| entry.expiry()),
        };
        let access = self.all.fresh_access();
        let table = self.table_mut();
        let before = table.len();
        let displaced = table.put(key, value, expiry, access);
        let is_new = table.len() != before;
        if let Some(displaced) = displaced {
            self.all.dispose(displaced, self.all.policy.lazy_server_del);
        }
        if is_new {
            self.all.unit.notice(Event::NEW, self.index, key);
        }
        self.changed(key, event, true);
    }

    /// Puts a value as a new key with the access bytes given too (RESTORE, COPY, loading), whatever
    /// was there before.
    pub fn put_with_access(
        &mut self,
        key: &[u8],
        value: NewValue<'_>,
        expiry: Option<UnixMillis>,
        access: Option<u32>,
        event: Event,
    ) {
        self.all.unit.notice(Event::NEW, self.index, key);
        let access = access.unwrap_or_else(|| self.all.fresh_access());
        self.place(key, value, expiry, access);
        self.changed(key, event, true);
    }

    fn place(&mut self, key: &[u8], value: NewValue<'_>, expiry: Option<UnixMillis>, access: u32) {
        if let Some(displaced) = self.table_mut().put(key, value, expiry, access) {
            self.all.dispose(displaced, self.all.policy.lazy_server_del);
        }
    }

    /// Changes a string in place, an empty one where there is none. The closure says whether it
    /// changed anything; the expiry time stays.
    ///
    /// # Errors
    /// [`WrongType`] where the key holds something else.
    pub fn edit_string(
        &mut self,
        key: &[u8],
        event: Event,
        edit: impl FnOnce(&mut StringEdit<'_>) -> bool,
    ) -> Result<(), WrongType> {
        let mut scratch = std::mem::take(&mut self.all.scratch);
        scratch.clear();
        let boxed = match self.look(key, Look::Touch) {
            None => false,
            Some(entry) => match entry.value() {
                ValueRef::Object(_) => return Err(WrongType),
                ValueRef::Str(_) if entry.is_heap_string() => true,
                ValueRef::Str(bytes) => {
                    scratch.extend_from_slice(bytes);
                    false
                }
                ValueRef::Int(number) => {
                    crate::base::text::push_i64(&mut scratch, number);
                    false
                }
            },
        };
        if boxed {
            let mut entry = self.table_mut().get_mut(key);
            let heap = entry.as_mut().and_then(EntryMut::heap_string_mut);
            let changed = heap.is_some_and(|heap| edit(&mut StringEdit::Heap(heap)));
            drop(entry);
            if changed {
                self.changed(key, event, true);
            }
        } else if edit(&mut StringEdit::Copy(&mut scratch)) {
            self.put(key, NewValue::Raw(&scratch), Expiry::Keep, event);
        }
        // One huge value must not keep its copy forever.
        scratch.shrink_to(64 << 10);
        self.all.scratch = scratch;
        Ok(())
    }

    /// Sets or removes the expiry time; false where the key isn't there.
    pub fn set_expiry(&mut self, key: &[u8], expiry: Option<UnixMillis>, event: Event) -> bool {
        self.expire_if_due(key);
        if self.is_empty() || !self.table_mut().set_expiry(key, expiry) {
            return false;
        }
        self.changed(key, event, true);
        true
    }

    /// Removes a key; `elsewhere` frees a big value on the background thread. False where the key
    /// isn't there.
    pub fn remove(&mut self, key: &[u8], elsewhere: bool, event: Event) -> bool {
        self.expire_if_due(key);
        if self.is_empty() {
            return false;
        }
        let Some(removed) = self.table_mut().remove(key) else { return false };
        self.changed(key, event, false);
        self.all.dispose(removed, elsewhere);
        true
    }

    /// Removes a key and returns what it held.
    pub fn take(&mut self, key: &[u8], event: Event) -> Option<Taken> {
        self.expire_if_due(key);
        if self.is_empty() {
            return None;
        }
        let taken = self.table_mut().take(key)?;
        self.changed(key, event, false);
        Some(taken)
    }

    /// Moves a key to another name and database with its expiry time, replacing what is there.
    /// False where the key isn't there.
    pub fn rename(&mut self, key: &[u8], to: DbIndex, name: &[u8], events: (Event, Event)) -> bool {
        if !self.exists(key) {
            return false;
        }
        self.all.unit.notice(Event::NEW, to, name);
        let Some(taken) = self.take(key, events.0) else { return false };
        let Taken { mut value, expiry, access } = taken;
        let mut target = self.all.db(to);
        target.expire_if_due(name);
        target.place(name, value.as_new(), expiry, access);
        // Moving is one change, though two keys saw it.
        target.noted(name, events.1, true);
        true
    }

    /// Copies a key to another name and database with its expiry time, replacing what is there.
    /// False where the key isn't there.
    pub fn copy(&mut self, key: &[u8], to: DbIndex, name: &[u8], event: Event) -> bool {
        let Some(entry) = self.peek(key) else { return false };
        let expiry = entry.expiry();
        // What lies in the table can move while it is being put, so it is copied first.
        let bytes: Vec<u8>;
        let value = match entry.value() {
            ValueRef::Int(number) => NewValue::Int(number),
            ValueRef::Str(text) if entry.is_heap_string() => NewValue::Heap(HeapString::new(text)),
            ValueRef::Str(text) => {
                let raw = entry.is_raw();
                bytes = text.to_vec();
                if raw { NewValue::Raw(&bytes) } else { NewValue::Str(&bytes) }
            }
            ValueRef::Object(object) => NewValue::Object(Object::clone(&object)),
        };
        let mut target = self.all.db(to);
        target.expire_if_due(name);
        target.put_with_access(name, value, expiry, None, event);
        true
    }

    /// A random key that has not expired.
    pub fn random(&mut self) -> Option<Box<[u8]>> {
        // Where expired keys abound they are removed on the way; the bound keeps a paused expiry
        // (which removes nothing) from going on forever.
        for _ in 0..100 {
            let mut rng = self.all.rng.clone();
            let entry = self.table()?.sample(&mut rng)?;
            let (key, due) = (Box::<[u8]>::from(entry.key()), self.is_due(entry.expiry()));
            self.all.rng = rng;
            if !due {
                return Some(key);
            }
            self.expire_now(&key);
        }
        None
    }

    /// Goes on with a scan from `cursor` for about `count` entries, hands those that are `wanted` to
    /// `each`, and returns where to go on; 0 is both the beginning and the end. Wanted entries whose
    /// time has come are removed instead.
    pub fn scan(
        &mut self,
        cursor: u64,
        count: usize,
        wanted: impl Fn(&Entry<'_>) -> bool,
        mut each: impl FnMut(&Entry<'_>),
    ) -> u64 {
        let Some(table) = self.table() else { return 0 };
        let mut due: Vec<Box<[u8]>> = Vec::new();
        let next = table.scan(cursor, count, |entry| {
            if wanted(&entry) {
                if self.is_due(entry.expiry()) {
                    due.push(entry.key().into());
                } else {
                    each(&entry);
                }
            }
        });
        for key in due {
            self.expire_now(&key);
        }
        next
    }

    /// Every entry whose time has not come.
    pub fn for_each(&self, mut each: impl FnMut(&Entry<'_>)) {
        if let Some(table) = self.table() {
            table.for_each(|entry| {
                if !self.is_due(entry.expiry()) {
                    each(&entry);
                }
            });
        }
    }

    /// Whether the key is there though its time has come.
    pub fn is_stale(&self, key: &[u8]) -> bool {
        self.table().and_then(|table| table.get(key)).is_some_and(|e| self.is_due(e.expiry()))
    }

    /// Another database.
    pub fn at(&mut self, index: DbIndex) -> Db<'_> {
        self.all.db(index)
    }

    /// The databases' own account of access bytes, for OBJECT.
    pub fn databases(&self) -> &Databases {
        self.all
    }

    /// A stored value, to be changed in place: counts as an access.
    #[inline]
    pub(super) fn touch_mut(&mut self, key: &[u8]) -> Option<EntryMut<'_>> {
        self.expire_if_due(key);
        let remembered = !self.all.untouched;
        let lfu = self.all.policy.lfu;
        if remembered && lfu {
            self.count_use(key);
        }
        let access = self.all.fresh_access();
        let table = self.all.tables[self.index.0 as usize].as_mut()?;
        let entry = table.get_mut(key)?;
        if remembered && !lfu {
            entry.set_access(access);
        }
        Some(entry)
    }

    /// Counts further changes of one and the same step.
    #[inline]
    pub(super) fn count_more(&mut self, changes: u64) {
        self.all.unit.changes += changes;
    }

    /// Removes a key whose collection has become empty. The command's own record says so already.
    pub(super) fn drop_emptied(&mut self, key: &[u8]) {
        self.table_mut().remove(key);
        self.noted(key, Event::DEL, false);
    }

    #[inline]
    pub(super) fn changed(&mut self, key: &[u8], event: Event, exists: bool) {
        self.all.unit.changes += 1;
        self.noted(key, event, exists);
    }

    /// What notifications and watchers see of a change.
    #[inline]
    fn noted(&mut self, key: &[u8], event: Event, exists: bool) {
        self.all.unit.notice(event, self.index, key);
        if !self.all.watches.is_empty() {
            self.all.watches.touch(self.index, key, exists);
        }
        if exists {
            self.all.waits.note(self.index, key);
        }
    }
}

#[inline]
fn string_of(entry: Option<Entry<'_>>) -> Result<Option<ValueRef<'_>>, WrongType> {
    match entry {
        None => Ok(None),
        Some(entry) => match entry.value() {
            ValueRef::Object(object) if object.kind() != Type::String => Err(WrongType),
            value => Ok(Some(value)),
        },
    }
}
