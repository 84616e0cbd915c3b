//! The numbered databases, and [`Db`]: the only door to reading and changing them.
//!
//! Every change goes through a method of [`Db`]. It looks after lazy expiry, WATCH, the count of
//! changes and the notice for keyspace events, so that no command has to. Reading methods expire
//! lazily too: a key whose time has come is removed, and a DEL goes into the log.
//!
//! Not always does a key go when its time comes: see [`ExpiryMode`].

use std::fmt;

use crate::base::env::{Rng, Stopwatch, UnixMillis};
use crate::data::hash::Hash;
use crate::data::index::Room;
use crate::data::value::{Object, ValueRef};
pub(crate) use crate::keyspace::db::Db;
use crate::keyspace::field_expiry::ExpiringHashes;
use crate::keyspace::own_expiry::OwnExpiry;
use crate::keyspace::reclaim::Reclaimer;
use crate::keyspace::table::{HashSeed, Pool, Removed, Table};
use crate::keyspace::unit::Unit;
use crate::keyspace::waits::Waits;
use crate::keyspace::walk::Walk;
use crate::keyspace::watch::{Found, Watches};

/// A database's number, below `databases`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DbIndex(pub u32);

impl DbIndex {
    /// Which database this is after SWAPDB of two.
    pub(super) fn exchanged(self, a: Self, b: Self) -> Self {
        match self {
            index if index == a => b,
            index if index == b => a,
            index => index,
        }
    }
}

/// The key holds a value of another type than the command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrongType;

/// Why a collection can't be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EditError {
    /// The key holds a value of another type.
    WrongType,
    /// It is as large as it may get.
    Full,
}

impl From<WrongType> for EditError {
    fn from(_: WrongType) -> Self {
        Self::WrongType
    }
}

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
    pub(crate) lfu_log_factor: u32,
    /// Minutes after which the frequency counter falls by one (`lfu-decay-time`).
    pub(crate) lfu_decay_minutes: u32,
    /// Free expired values on the background thread (`lazyfree-lazy-expire`).
    pub(crate) lazy_expire: bool,
    /// Free values that a command replaces on the background thread (`lazyfree-lazy-server-del`).
    pub(crate) lazy_server_del: bool,
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
    pub(crate) hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Keys removed because their time had come.
    pub expired: u64,
    /// Fields of hashes removed because their time had come.
    pub(crate) expired_fields: u64,
}

/// What becomes of keys, and of fields of hashes, whose time has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ExpiryMode {
    /// They are removed, when somebody meets them or in the background.
    #[default]
    Active,
    /// They read as absent and stay: the data must not change (CLIENT PAUSE), or another server says
    /// when they go. DBSIZE counts them. Only a command that writes removes those that it meets.
    Absent,
    /// They are as good as any: while the log is replayed, which says what was deleted.
    AsLogged,
}

/// How a lookup counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// For a reading command: hits and misses count, the access is remembered.
    Read,
    /// For a command that asks about a key: hits and misses count, nothing is remembered.
    Inspect,
    /// As [`Look::Inspect`], and listeners hear nothing of a miss.
    Examine,
    /// The access is remembered, nothing counts.
    Touch,
    /// Nobody shall notice.
    Peek,
}

impl Look {
    /// Whether hits and misses count.
    #[inline]
    pub(super) fn is_counted(self) -> bool {
        matches!(self, Self::Read | Self::Inspect | Self::Examine)
    }
}

/// How keys and fields go whose time has come.
pub(super) struct ExpiryState {
    /// Whether they do.
    pub(super) mode: ExpiryMode,
    /// The database that the next round of expiry begins with, for keys...
    pub(super) key_turn: u32,
    /// ...and for fields of hashes.
    pub(super) field_turn: u32,
    /// A hash without its fields that are due, as a reader sees it while they stay.
    pub(super) without_due: Object,
    /// What clients of a writable replica gave an expiry time.
    pub(super) own: OwnExpiry,
    /// Measures removals, where anybody wants to know, and the longest since it was asked for.
    pub(super) stopwatch: Option<Stopwatch>,
    pub(super) longest: u64,
}

impl Default for ExpiryState {
    fn default() -> Self {
        let without_due = Object::Hash(Hash::default());
        let own = OwnExpiry::default();
        Self {
            mode: ExpiryMode::Active,
            key_turn: 0,
            field_turn: 0,
            without_due,
            own,
            stopwatch: None,
            longest: 0,
        }
    }
}

/// All databases of a server.
pub struct Databases {
    pub(super) tables: Vec<Option<Box<Table>>>,
    pub(super) seed: HashSeed,
    /// The memory of all tables.
    pub(super) pool: Pool,
    pub(super) rng: Rng,
    /// The account of the current unit.
    pub unit: Unit,
    /// Who watches what.
    pub watches: Watches,
    /// Who waits for what.
    pub waits: Waits,
    /// Which hashes have fields that expire.
    pub(super) expiring_hashes: ExpiringHashes,
    /// Hits, misses, expirations.
    pub stats: KeyspaceStats,
    /// How access is remembered.
    pub policy: Policy,
    /// How far collections may grow.
    pub room: Room,
    /// Where big removed values go.
    pub(crate) reclaimer: Reclaimer,
    /// The time of the current unit.
    pub(super) now: UnixMillis,
    /// How what is due goes.
    pub(super) expiry: ExpiryState,
    /// Whether the command under way leaves no trace of use on keys that are there (CLIENT NO-TOUCH).
    pub(crate) untouched: bool,
    pub(super) walk: Option<Walk>,
    pub(super) scratch: Vec<u8>,
}

impl fmt::Debug for Databases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Databases").field("count", &self.tables.len()).finish_non_exhaustive()
    }
}

impl Databases {
    /// `count` empty databases. `seed` keys the hash and the sampling.
    pub(crate) fn new(count: u32, seed: u64, reclaimer: Reclaimer) -> Self {
        let mut rng = Rng::from_seed(seed);
        let seed = HashSeed(rng.next_u64());
        Self::with(count, seed, Pool::new(), rng, reclaimer)
    }

    pub(super) fn with(
        count: u32,
        seed: HashSeed,
        pool: Pool,
        rng: Rng,
        reclaimer: Reclaimer,
    ) -> Self {
        let mut tables = Vec::new();
        tables.resize_with(count as usize, || None);
        Self {
            tables,
            seed,
            pool,
            rng,
            unit: Unit::default(),
            watches: Watches::default(),
            waits: Waits::default(),
            expiring_hashes: ExpiringHashes::new(count as usize),
            stats: KeyspaceStats::default(),
            policy: Policy::default(),
            room: Room::default(),
            reclaimer,
            now: UnixMillis(0),
            expiry: ExpiryState::default(),
            untouched: false,
            walk: None,
            scratch: Vec::new(),
        }
    }

    /// Gives back what was reserved for keys that didn't come.
    pub(crate) fn fit(&mut self) {
        self.tables.iter_mut().flatten().for_each(|table| table.fit());
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

    /// What becomes of what is due.
    #[inline]
    pub(crate) fn expiry_mode(&self) -> ExpiryMode {
        self.expiry.mode
    }

    /// Sets what becomes of what is due.
    pub(crate) fn set_expiry_mode(&mut self, mode: ExpiryMode) {
        self.expiry.mode = mode;
        if mode != ExpiryMode::Absent {
            self.expiry.without_due = Object::Hash(Hash::default());
        }
    }

    /// One database.
    #[inline]
    pub fn db(&mut self, index: DbIndex) -> Db<'_> {
        Db { all: self, index }
    }

    /// The table of a database, where it has ever held a key.
    pub(crate) fn table(&self, index: DbIndex) -> Option<&Table> {
        self.tables.get(index.0 as usize)?.as_deref()
    }

    /// The value at a key whose time has not come, without a trace: for a command that works on
    /// several values at once, behind a first look at each key by [`Db::read`].
    pub(crate) fn value(&self, index: DbIndex, key: &[u8]) -> Option<ValueRef<'_>> {
        let entry = self.table(index)?.get(key)?;
        (!self.is_due(entry.expiry())).then(|| entry.value())
    }

    /// The databases that hold keys.
    pub(crate) fn occupied(&self) -> impl Iterator<Item = (DbIndex, &Table)> {
        self.tables.iter().enumerate().filter_map(|(index, table)| {
            let table = table.as_deref()?;
            (!table.is_empty()).then_some((DbIndex(index as u32), table))
        })
    }

    /// Keys in all databases.
    pub(crate) fn total_keys(&self) -> u64 {
        self.occupied().map(|(_, table)| table.len() as u64).sum()
    }

    /// Whether something with this expiry time counts as gone.
    #[inline]
    pub(super) fn is_due(&self, expiry: Option<UnixMillis>) -> bool {
        expiry.is_some_and(|at| at <= self.now) && self.expiry.mode != ExpiryMode::AsLogged
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
        self.expiring_hashes.swap(a, b);
        self.expiry.own.swap(a, b);
        for db in [a, b] {
            for key in self.waits.keys_of(db) {
                let exists = self.table(db).is_some_and(|table| table.get(&key).is_some());
                self.waits.note(db, &key, exists);
            }
        }
        if let Some(walk) = &mut self.walk {
            for index in &mut walk.tables {
                *index = index.exchanged(a, b);
            }
        }
        self.unit.touch_all(a);
        self.unit.touch_all(b);
        self.unit.changes += 1;
    }

    /// Empties a database and returns how many keys it had. `elsewhere` frees on the background
    /// thread. A running snapshot still sees the keys.
    pub fn flush(&mut self, index: DbIndex, elsewhere: bool) -> u64 {
        for key in self.waits.keys_of(index) {
            if self.table(index).is_some_and(|table| table.get(&key).is_some()) {
                self.waits.note(index, &key, false);
            }
        }
        for key in self.watches.keys_of(index) {
            if self.table(index).is_some_and(|table| table.get(&key).is_some()) {
                self.watches.touch(index, &key, false);
            }
        }
        // Also where there is nothing: clients that track are told of each flush, as upstream has it.
        self.unit.touch_all(index);
        let Some(table) = self.tables[index.0 as usize].take() else { return 0 };
        self.expiring_hashes.clear(index);
        self.expiry.own.clear(index);
        let keys = table.len() as u64;
        if let Some(walk) = &mut self.walk
            && let Some(at) = walk.tables.iter().position(|walked| *walked == index)
        {
            walk.tables.swap_remove(at);
            walk.orphans.push(*table);
        } else if elsewhere && keys > 64 {
            self.reclaimer.free_table(table);
        }
        keys
    }

    /// Whether a snapshot is under way.
    pub(crate) fn snapshotting(&self) -> bool {
        self.walk.is_some()
    }

    /// Bytes of the heap that go without anybody doing anything for it: what waits to be freed, and
    /// the tables that a FLUSH took out of service and a snapshot has still to walk.
    pub(crate) fn departing_bytes(&self) -> u64 {
        let orphans = self.walk.iter().flat_map(|walk| &walk.orphans);
        let orphaned: usize = orphans.map(|table| table.memory().heap_bytes).sum();
        self.reclaimer.pending_bytes() + orphaned as u64
    }

    /// One round of active expiry: removes keys whose time has come, from at most `segments`
    /// segments a database and at most about `keys_max` keys altogether. Each removal is noted in
    /// the unit. The databases take turns: the next round begins behind the one that this round ended
    /// in. Returns how many keys were removed.
    pub(crate) fn expire_due(&mut self, segments: usize, keys_max: usize) -> usize {
        if self.expiry.mode != ExpiryMode::Active {
            return 0;
        }
        let (now, count, first) = (self.now, self.count(), self.expiry.key_turn);
        let mut removed = 0;
        for step in 0..count {
            let index = ((first + step) % count) as usize;
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
                self.expiry.key_turn = (index as u32 + 1) % count;
                break;
            }
        }
        removed
    }

    /// Begins or ceases to measure how long removals of expired keys take.
    pub(crate) fn measure_expiry(&mut self, stopwatch: Option<Stopwatch>) {
        self.expiry.stopwatch = stopwatch;
    }

    /// The longest removal of an expired key since the last call, in ticks; 0 where none was measured.
    #[inline]
    pub(crate) fn take_longest_expiry(&mut self) -> u64 {
        std::mem::take(&mut self.expiry.longest)
    }

    pub(super) fn dispose(&self, removed: Removed, elsewhere: bool) {
        let bytes = removed.heap_bytes();
        if elsewhere && bytes > 64 << 10 {
            self.reclaimer.free(Box::new(removed), bytes);
        }
    }
}
