//! One database: reading, and the only way to change. Every change goes through a method here, which
//! looks after lazy expiry, WATCH, waiting clients, the count of changes and the notice for keyspace
//! events.

use std::ops::RangeInclusive;

use crate::base::env::{Stopwatch, UnixMillis};
use crate::data::string::HeapString;
use crate::data::value::{NewValue, Object, Type, ValueRef};
use crate::keyspace::databases::{
    Databases, DbIndex, Expiry, ExpiryMode, KeyspaceStats, Look, WrongType,
};
use crate::keyspace::field_expiry;
use crate::keyspace::reclaim::removal_word;
use crate::keyspace::string_edit::{Edited, StringEdit};
use crate::keyspace::table::{Entry, EntryMut, Table, Taken};
use crate::keyspace::unit::{Classes, Event, Unit};

/// Random keys that may have expired, one after the other, before [`Db::random`] looks for any other.
const RANDOM_TRIES_MAX: usize = 100;
/// Entries that it looks at then.
const RANDOM_ENTRIES_MAX: usize = 10_000;
/// Fewer keys are not reserved for.
const RESERVE_MIN: usize = 5_000;

/// What a string's edit found at the key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Met {
    Nothing,
    /// A string with a block of its own.
    OnHeap,
    /// One in the table that was changed before.
    Raw,
    /// One in the table in its densest form.
    Dense,
}

/// One database: reading, and the only way to change.
#[derive(Debug)]
pub struct Db<'a> {
    pub(super) all: &'a mut Databases,
    pub(super) index: DbIndex,
}

impl Db<'_> {
    /// The database's number.
    pub(crate) fn index(&self) -> DbIndex {
        self.index
    }

    #[inline]
    pub(super) fn table(&self) -> Option<&Table> {
        self.all.tables[self.index.0 as usize].as_deref()
    }

    /// The hash that the table keeps keys by, for [`Db::load`].
    pub(crate) fn hash(&mut self, key: &[u8]) -> u64 {
        self.table_mut().hash(key)
    }

    #[inline]
    pub(super) fn table_mut(&mut self) -> &mut Table {
        let Databases { tables, seed, pool, .. } = &mut *self.all;
        tables[self.index.0 as usize].get_or_insert_with(|| Box::new(Table::new(*seed, pool)))
    }

    /// How many keys there are, those included whose time has come but which nobody met yet.
    pub(crate) fn len(&self) -> usize {
        self.table().map_or(0, Table::len)
    }

    /// Whether there is no key.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub(super) fn is_due(&self, expiry: Option<UnixMillis>) -> bool {
        self.all.is_due(expiry)
    }

    /// Whether a key must not be seen though it is there. Removes it where it is to go: while keys
    /// expire, and before a command changes it.
    #[inline]
    fn hides(&mut self, key: &[u8], look: Look) -> bool {
        match self.all.expiry.mode {
            ExpiryMode::Absent if look != Look::Touch => self.reads_as_absent(key),
            _ => {
                self.expire_if_due(key);
                false
            }
        }
    }

    #[cold]
    fn reads_as_absent(&self, key: &[u8]) -> bool {
        self.table().and_then(|table| table.get(key)).is_some_and(|entry| self.is_gone(&entry))
    }

    /// Removes the key if its time has come, or those of its fields whose time has. Costs nothing
    /// where no key of the database expires, and next to nothing where no field does.
    #[inline]
    fn expire_if_due(&mut self, key: &[u8]) {
        let Some(table) = self.table() else { return };
        if table.expires_len() != 0
            && let Some(entry) = table.get(key)
            && self.is_due(entry.expiry())
        {
            self.expire_now(key);
        }
        if self.all.expiring_hashes.is_due(self.index, self.all.now) {
            self.expire_fields(key);
        }
    }

    /// Removes a key whose time has come, and says so in the log.
    #[cold]
    pub(crate) fn expire_now(&mut self, key: &[u8]) {
        let began = self.all.expiry.stopwatch.as_ref().map(Stopwatch::ticks);
        let Some(removed) = self.table_mut().remove(key) else { return };
        self.note_field_expiry(key, field_expiry::of_removed(&removed), None);
        self.all.dispose(removed, self.all.policy.lazy_expire);
        if let (Some(began), Some(stopwatch)) = (began, &self.all.expiry.stopwatch) {
            let took = stopwatch.ticks().saturating_sub(began);
            self.all.expiry.longest = self.all.expiry.longest.max(took);
        }
        let word = removal_word(self.all.policy.lazy_expire);
        self.all.unit.record(self.index, &[word, key]);
        self.all.stats.expired += 1;
        // Not counted as a change: the command that met the key did nothing by that.
        self.noted(key, Event::EXPIRED, false);
    }

    #[inline]
    fn look(&mut self, key: &[u8], look: Look) -> Option<Entry<'_>> {
        if self.hides(key, look) {
            note_miss(&mut self.all.stats, &mut self.all.unit, (self.index, key), look);
            return None;
        }
        let remembered = matches!(look, Look::Touch | Look::Read) && !self.all.untouched;
        let lfu = self.all.policy.lfu;
        if remembered && lfu {
            self.count_use(key);
        }
        let access = self.all.fresh_access();
        let all = &mut *self.all;
        let table = all.tables[self.index.0 as usize].as_ref();
        let Some(entry) = table.and_then(|table| table.get(key)) else {
            note_miss(&mut all.stats, &mut all.unit, (self.index, key), look);
            return None;
        };
        if look.is_counted() {
            all.stats.hits += 1;
        }
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
    pub(crate) fn read(&mut self, key: &[u8]) -> Option<Entry<'_>> {
        self.look(key, Look::Read)
    }

    /// The entry of a key, for a command that asks about it (EXISTS, TTL): counts as hit or miss, but
    /// not as an access.
    #[inline]
    pub(crate) fn inspect(&mut self, key: &[u8]) -> Option<Entry<'_>> {
        self.look(key, Look::Inspect)
    }

    /// The entry of a key, for a command that asks about its representation (OBJECT): as
    /// [`Db::inspect`], but listeners hear nothing of a miss.
    #[inline]
    pub(crate) fn examine(&mut self, key: &[u8]) -> Option<Entry<'_>> {
        self.look(key, Look::Examine)
    }

    /// The entry of a key, for a command that will change it: counts as an access only.
    #[inline]
    pub(crate) fn touch(&mut self, key: &[u8]) -> Option<Entry<'_>> {
        self.look(key, Look::Touch)
    }

    /// The entry of a key, without a trace.
    #[inline]
    pub(crate) fn peek(&mut self, key: &[u8]) -> Option<Entry<'_>> {
        self.look(key, Look::Peek)
    }

    /// Whether the key is there.
    pub(crate) fn exists(&mut self, key: &[u8]) -> bool {
        self.peek(key).is_some()
    }

    /// The string at a key, for a command that reads.
    #[inline]
    pub(crate) fn read_string(&mut self, key: &[u8]) -> Result<Option<ValueRef<'_>>, WrongType> {
        string_of(self.look(key, Look::Read))
    }

    /// The string at a key, for a command that will change it.
    #[inline]
    pub(crate) fn touch_string(&mut self, key: &[u8]) -> Result<Option<ValueRef<'_>>, WrongType> {
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
        if self.all.unit.observed != Classes::default() {
            // Listeners hear that an expired key went before another of its name came; to everybody
            // else that is the same as a new value.
            self.expire_if_due(key);
        }
        let access = self.all.fresh_access();
        let before = self.len();
        self.place(key, value, expiry, access);
        let is_new = self.len() != before;
        if is_new {
            self.all.unit.notice(Event::NEW, self.index, key);
        }
        self.changed(key, event, true);
    }

    /// Puts a value as a new key with the access bytes given too (RESTORE, COPY, loading), whatever
    /// was there before.
    pub(crate) fn put_with_access(
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

    /// Sizes the database ahead for so many keys that are going to be loaded, where it has none yet.
    pub(crate) fn reserve(&mut self, keys: usize) {
        // Small ones grow as fast, and the empty table of a database that stays empty isn't free.
        if keys > RESERVE_MIN {
            self.table_mut().reserve(keys);
        }
    }

    /// Puts a key that is being loaded, whatever was there before: no change that anybody is told of.
    /// `hash` is the table's own of the key.
    pub(crate) fn load(
        &mut self,
        hash: u64,
        key: &[u8],
        value: NewValue<'_>,
        expiry: Option<UnixMillis>,
        access: Option<u32>,
    ) {
        let access = access.unwrap_or_else(|| self.all.fresh_access());
        self.place_hashed(hash, key, value, expiry, access);
    }

    #[inline]
    fn place(&mut self, key: &[u8], value: NewValue<'_>, expiry: Option<UnixMillis>, access: u32) {
        let hash = self.table_mut().hash(key);
        self.place_hashed(hash, key, value, expiry, access);
        if let Some(at) = expiry {
            self.note_own_expiry(key, at);
        }
    }

    #[inline]
    fn note_own_expiry(&mut self, key: &[u8], at: UnixMillis) {
        let (mode, index) = (self.all.expiry.mode, self.index);
        self.all.expiry.own.note(mode, index, key, at);
    }

    #[inline]
    fn place_hashed(
        &mut self,
        hash: u64,
        key: &[u8],
        value: NewValue<'_>,
        expiry: Option<UnixMillis>,
        access: u32,
    ) {
        let new = field_expiry::of_new(&value);
        let displaced = self.table_mut().put_hashed(hash, key, value, expiry, access);
        let old = displaced.as_ref().and_then(field_expiry::of_removed);
        self.note_field_expiry(key, old, new);
        if let Some(displaced) = displaced {
            self.all.dispose(displaced, self.all.policy.lazy_server_del);
        }
    }

    /// Changes a string in place, an empty one where there is none. The closure says what it
    /// did; the expiry time stays. A string that was met in this way is `raw` from then
    /// on, changed or not.
    ///
    /// # Errors
    /// [`WrongType`] where the key holds something else.
    pub(crate) fn edit_string<R: Into<Edited>>(
        &mut self,
        key: &[u8],
        event: Event,
        edit: impl FnOnce(&mut StringEdit<'_>) -> R,
    ) -> Result<(), WrongType> {
        let heard = |edited| if edited == Edited::Changed { event } else { Event::UNHEARD };
        let mut scratch = std::mem::take(&mut self.all.scratch);
        scratch.clear();
        let met = match self.look(key, Look::Touch) {
            None => Met::Nothing,
            Some(entry) => match entry.value() {
                ValueRef::Object(_) => {
                    self.all.scratch = scratch;
                    return Err(WrongType);
                }
                ValueRef::Str(_) if entry.is_heap_string() => Met::OnHeap,
                ValueRef::Str(bytes) => {
                    scratch.extend_from_slice(bytes);
                    if entry.is_raw() { Met::Raw } else { Met::Dense }
                }
                ValueRef::Int(number) => {
                    crate::base::text::push_i64(&mut scratch, number);
                    Met::Dense
                }
            },
        };
        if met == Met::OnHeap {
            let mut entry = self.table_mut().get_mut(key);
            let heap = entry.as_mut().and_then(EntryMut::heap_string_mut);
            let edited =
                heap.map_or(Edited::Nothing, |heap| edit(&mut StringEdit::Heap(heap)).into());
            drop(entry);
            if edited != Edited::Nothing {
                self.changed(key, heard(edited), true);
            }
        } else {
            let mut string = StringEdit::Copy(&mut scratch);
            let edited = edit(&mut string).into();
            let value = match string {
                StringEdit::Own(heap) => NewValue::Heap(heap),
                other => NewValue::Raw(other.into_copy()),
            };
            if edited != Edited::Nothing {
                self.put(key, value, Expiry::Keep, heard(edited));
            } else if met == Met::Dense {
                self.place_as_it_is(key, value);
            }
        }
        // One huge value must not keep its copy forever.
        scratch.shrink_to(64 << 10);
        self.all.scratch = scratch;
        Ok(())
    }

    /// The block of the string at a key, whose capacity is in a range, for a new value to be built in.
    /// An empty string stands there until the caller puts the new one.
    pub(crate) fn take_block(
        &mut self,
        key: &[u8],
        capacity: RangeInclusive<usize>,
    ) -> Option<HeapString> {
        if !self.peek(key)?.is_heap_string() {
            return None;
        }
        let mut entry = self.table_mut().get_mut(key)?;
        let heap = entry.heap_string_mut().filter(|heap| capacity.contains(&heap.capacity()))?;
        Some(std::mem::replace(heap, HeapString::with_capacity(0)))
    }

    /// Puts another form of what a key holds, which nobody is told of.
    fn place_as_it_is(&mut self, key: &[u8], value: NewValue<'_>) {
        let Some((expiry, access)) = self.peek(key).map(|entry| (entry.expiry(), entry.access()))
        else {
            return;
        };
        self.place(key, value, expiry, access);
    }

    /// Sets or removes the expiry time; false where the key isn't there.
    pub(crate) fn set_expiry(
        &mut self,
        key: &[u8],
        expiry: Option<UnixMillis>,
        event: Event,
    ) -> bool {
        self.expire_if_due(key);
        if self.is_empty() || !self.table_mut().set_expiry(key, expiry) {
            return false;
        }
        if let Some(at) = expiry {
            self.note_own_expiry(key, at);
        }
        self.changed(key, event, true);
        true
    }

    /// Removes a key; `elsewhere` frees a big value on the background thread. False where the key
    /// isn't there.
    pub(crate) fn remove(&mut self, key: &[u8], elsewhere: bool, event: Event) -> bool {
        self.expire_if_due(key);
        if self.is_empty() {
            return false;
        }
        let Some(removed) = self.table_mut().remove(key) else { return false };
        self.note_field_expiry(key, field_expiry::of_removed(&removed), None);
        self.changed(key, event, false);
        self.all.dispose(removed, elsewhere);
        true
    }

    /// Removes a key and returns what it held.
    pub(crate) fn take(&mut self, key: &[u8], event: Event) -> Option<Taken> {
        self.expire_if_due(key);
        if self.is_empty() {
            return None;
        }
        let taken = self.table_mut().take(key)?;
        self.note_field_expiry(key, field_expiry::of_taken(&taken), None);
        self.changed(key, event, false);
        Some(taken)
    }

    /// Moves a key to another name and database with its expiry time, replacing what is there.
    /// False where the key isn't there.
    pub(crate) fn rename(
        &mut self,
        key: &[u8],
        to: DbIndex,
        name: &[u8],
        events: (Event, Event),
    ) -> bool {
        if !self.exists(key) {
            return false;
        }
        self.all.db(to).expire_if_due(name);
        self.all.unit.notice(Event::NEW, to, name);
        let Some(taken) = self.take(key, events.0) else { return false };
        let Taken { mut value, expiry, access } = taken;
        let mut target = self.all.db(to);
        target.place(name, value.as_new(), expiry, access);
        // Moving is one change, though two keys saw it.
        target.noted(name, events.1, true);
        true
    }

    /// Copies a key to another name and database with its expiry time, replacing what is there.
    /// False where the key isn't there.
    pub(crate) fn copy(&mut self, key: &[u8], to: DbIndex, name: &[u8], event: Event) -> bool {
        self.expire_if_due(key);
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

    /// A random key that has not expired. Where a hundred in a row have, the first that is found, and
    /// none where there is none among some thousands.
    pub(crate) fn random(&mut self) -> Option<Box<[u8]>> {
        for _ in 0..RANDOM_TRIES_MAX {
            let mut rng = self.all.rng.clone();
            let entry = self.table()?.sample(&mut rng)?;
            let (key, gone) = (Box::<[u8]>::from(entry.key()), self.is_gone(&entry));
            self.all.rng = rng;
            if !gone {
                return Some(key);
            }
            if self.all.expiry.mode == ExpiryMode::Active {
                self.expire_now(&key);
            }
        }
        let mut found = None;
        self.table()?.scan(0, RANDOM_ENTRIES_MAX, |entry| {
            if found.is_none() && !self.is_gone(&entry) {
                found = Some(entry.key().into());
            }
        });
        found
    }

    /// Goes on with a scan from `cursor` for about `count` entries, hands those that are `wanted` to
    /// `each`, and returns where to go on; 0 is both the beginning and the end. Wanted entries whose
    /// time has come are left out, and removed while keys expire.
    pub(crate) fn scan(
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
                if !self.is_gone(&entry) {
                    each(&entry);
                } else if self.all.expiry.mode == ExpiryMode::Active {
                    due.push(entry.key().into());
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
                if !self.is_gone(&entry) {
                    each(&entry);
                }
            });
        }
    }

    /// Whether the key is there though its time has come.
    pub(crate) fn is_stale(&self, key: &[u8]) -> bool {
        self.table().and_then(|table| table.get(key)).is_some_and(|e| self.is_due(e.expiry()))
    }

    /// Another database.
    pub(crate) fn at(&mut self, index: DbIndex) -> Db<'_> {
        self.all.db(index)
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

    /// Tells listeners and watchers of an event that changed nothing: neither the log nor the count
    /// of changes learns of it.
    pub(crate) fn announce(&mut self, key: &[u8], event: Event) {
        self.noted(key, event, true);
    }

    #[inline(always)]
    pub(super) fn changed(&mut self, key: &[u8], event: Event, exists: bool) {
        self.all.unit.changes += 1;
        self.noted(key, event, exists);
    }

    /// What notifications, watchers and those who follow keys see of a change.
    #[inline(always)]
    pub(super) fn noted(&mut self, key: &[u8], event: Event, exists: bool) {
        self.all.unit.notice(event, self.index, key);
        if event.reach.has_watchers() {
            self.all.unit.touch(self.index, key, event);
            if !self.all.watches.is_empty() {
                self.all.watches.touch(self.index, key, exists);
            }
        }
        if event.reach.has_waiters() {
            self.all.waits.note(self.index, key, exists);
        }
    }
}

/// A look at a key that isn't there, or mustn't be seen.
fn note_miss(stats: &mut KeyspaceStats, unit: &mut Unit, (db, key): (DbIndex, &[u8]), look: Look) {
    if look.is_counted() {
        stats.misses += 1;
        if look != Look::Examine {
            unit.notice(Event::KEYMISS, db, key);
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
