//! A consumer group: how far it has read, what is pending, and who has it.
//!
//! What is pending is kept twice, each time in the order of ids: the group's records (32 bytes: id, time
//! and number of deliveries, consumer's number), and each consumer's ids (16 bytes), so that a consumer's
//! history is read without looking at what others have. An entry that was given back (XNACK) is
//! no consumer's and has a place in a queue (`released`). Consumers are in the order of their names, as
//! upstream lists them.

use std::collections::BTreeMap;
use std::fmt;

use crate::data::stream::entries::Bookmark;
use crate::data::stream::id::StreamId;
use crate::data::stream::released::Released;
use crate::data::stream::sorted::{Record, Sorted};

/// Deliveries that are counted at most. Clients are told 2^63 - 1 for it, the mark of an entry that no
/// consumer should try again (XNACK FATAL).
pub(crate) const DELIVERIES_MAX: u32 = u32::MAX;
/// Taking one record out by its id costs less than looking at so many.
const RECORDS_FOR_ONE: usize = 64;
/// Bytes that a name in an ordered map takes beside itself, about.
const NAME_BYTES: usize = 48;

/// A consumer's number, for as long as it is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConsumerId(u32);

impl ConsumerId {
    /// Pending entries that no consumer has.
    pub const NOBODY: Self = Self(u32::MAX);

    fn index(self) -> usize {
        self.0 as usize
    }

    /// Its name among those that [`Group::names`] gave; empty for entries that no consumer has.
    pub fn name_in<'n>(self, names: &[&'n [u8]]) -> &'n [u8] {
        names.get(self.index()).copied().unwrap_or_default()
    }
}

/// An entry that was delivered and not yet acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The entry's id.
    pub id: StreamId,
    /// When it was delivered last, in Unix milliseconds.
    pub delivered_ms: i64,
    /// How often.
    pub deliveries: u32,
    /// To whom, the last time.
    pub consumer: ConsumerId,
}

impl Pending {
    /// How often it was delivered, as clients and files tell it.
    pub(crate) fn told_deliveries(&self) -> i64 {
        match self.deliveries {
            DELIVERIES_MAX => i64::MAX,
            deliveries => i64::from(deliveries),
        }
    }

    /// Since when it has been waiting, in milliseconds; `None` where no consumer has it.
    pub(crate) fn idle_ms(&self, now_ms: i64) -> Option<i64> {
        (self.consumer != ConsumerId::NOBODY).then(|| now_ms.saturating_sub(self.delivered_ms))
    }
}

const _: () = assert!(size_of::<Pending>() == 32, "the bound that the file's head tells");

impl Record for Pending {
    #[inline]
    fn id(&self) -> StreamId {
        self.id
    }

    /// What no consumer has isn't found by its time.
    #[inline]
    fn time_ms(&self) -> i64 {
        if self.consumer == ConsumerId::NOBODY { i64::MAX } else { self.delivered_ms }
    }
}

/// A consumer of a group: one of the readers that share its entries.
#[derive(Clone)]
pub struct Consumer {
    /// When it was last named in a command, in Unix milliseconds.
    pub(crate) seen_ms: i64,
    /// When it last got or claimed something; `None` where never.
    pub(crate) active_ms: Option<i64>,
    pending: Sorted<StreamId>,
}

impl Consumer {
    /// How much of what is pending it has.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// The ids of it from one on.
    pub(crate) fn pending_from(&self, id: StreamId) -> impl Iterator<Item = StreamId> + Clone {
        self.pending.iter_from(id).copied()
    }
}

/// See the file's head.
#[derive(Clone, Default)]
pub struct Group {
    /// The last entry that was delivered.
    pub last_id: StreamId,
    /// How many entries were ever added up to that one, where that is known.
    pub(crate) entries_read: Option<u64>,
    /// Where the entries behind that one begin, after a consumer has read it.
    pub(crate) bookmark: Option<Bookmark>,
    pending: Sorted<Pending>,
    names: BTreeMap<Box<[u8]>, ConsumerId>,
    /// By their numbers; nothing where one has gone.
    consumers: Vec<Option<Consumer>>,
    /// Bytes of the consumers' ids and names.
    consumer_bytes: usize,
    /// Pending entries that no consumer has.
    released: Released,
}

impl Group {
    /// A group that nothing is pending in.
    pub fn new(last_id: StreamId, entries_read: Option<u64>) -> Self {
        Self { last_id, entries_read, ..Self::default() }
    }

    /// Bytes of heap.
    #[inline]
    pub(crate) fn heap_bytes(&self) -> usize {
        self.pending.heap_bytes()
            + self.released.heap_bytes()
            + self.consumers.capacity() * size_of::<Option<Consumer>>()
            + self.consumer_bytes
    }

    /// How many entries are pending.
    #[inline]
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// What is pending of an entry.
    #[inline]
    pub(crate) fn pending(&self, id: StreamId) -> Option<Pending> {
        self.pending.get(id)
    }

    /// What is pending from an id on.
    pub fn pending_from(&self, id: StreamId) -> impl Iterator<Item = &Pending> + Clone {
        self.pending.iter_from(id)
    }

    /// The least and the greatest id that is pending.
    pub(crate) fn pending_bounds(&self) -> Option<(StreamId, StreamId)> {
        Some((self.pending.first()?.id, self.pending.last()?.id))
    }

    /// The ids of pending entries that no consumer has, in the order in which they were given back.
    pub fn released(&self) -> impl Iterator<Item = StreamId> + Clone {
        self.released.in_turn()
    }

    /// How many pending entries no consumer has.
    pub fn released_len(&self) -> usize {
        self.released.len()
    }

    /// Up to `most` pending entries that no consumer has, or that were last delivered at a time or
    /// before it: those given back first, then by that time.
    pub fn claimable(&mut self, until_ms: i64, most: usize) -> Vec<StreamId> {
        let mut ids: Vec<StreamId> = self.released.in_turn().take(most).collect();
        if ids.len() < most {
            ids.extend(self.pending.oldest(until_ms, most - ids.len()));
        }
        ids
    }

    /// When that of the pending entries was delivered which has waited longest at a consumer.
    pub(crate) fn oldest_delivery_ms(&mut self) -> Option<i64> {
        let id = self.pending.oldest(i64::MAX - 1, 1).pop()?;
        Some(self.pending.get(id)?.delivered_ms)
    }

    /// How many consumers there are.
    pub(crate) fn consumer_count(&self) -> usize {
        self.names.len()
    }

    /// A consumer's number.
    #[inline]
    pub(crate) fn find(&self, name: &[u8]) -> Option<ConsumerId> {
        self.names.get(name).copied()
    }

    /// A consumer.
    #[inline]
    pub(crate) fn consumer(&self, id: ConsumerId) -> Option<&Consumer> {
        self.consumers.get(id.index())?.as_ref()
    }

    /// All consumers with their names, in the names' order.
    pub fn consumers(&self) -> impl Iterator<Item = (&[u8], &Consumer)> {
        self.names.iter().filter_map(|(name, id)| Some((&**name, self.consumer(*id)?)))
    }

    /// The names of the consumers by their numbers: pending entries have numbers only.
    pub fn names(&self) -> Vec<&[u8]> {
        let mut names = vec![&[][..]; self.consumers.len()];
        for (name, id) in &self.names {
            names[id.index()] = name;
        }
        names
    }

    /// A consumer's number; it is made where there is none of the name, which the second tells.
    pub fn ensure(&mut self, name: &[u8], now_ms: i64) -> (ConsumerId, bool) {
        if let Some(id) = self.find(name) {
            return (id, false);
        }
        let consumer = Consumer { seen_ms: now_ms, active_ms: None, pending: Sorted::default() };
        let id = match self.consumers.iter().position(Option::is_none) {
            Some(free) => {
                self.consumers[free] = Some(consumer);
                free
            }
            None => {
                self.consumers.push(Some(consumer));
                self.consumers.len() - 1
            }
        };
        let id = ConsumerId(u32::try_from(id).unwrap_or(u32::MAX - 1));
        self.names.insert(name.into(), id);
        self.consumer_bytes += NAME_BYTES + name.len();
        (id, true)
    }

    /// Notes that a consumer was named, and whether it got something.
    pub(crate) fn see(&mut self, id: ConsumerId, now_ms: i64, active: bool) {
        if let Some(Some(consumer)) = self.consumers.get_mut(id.index()) {
            consumer.seen_ms = now_ms;
            if active {
                consumer.active_ms = Some(now_ms);
            }
        }
    }

    /// Sets a consumer's times, as a file tells them.
    pub(crate) fn set_times(&mut self, id: ConsumerId, seen_ms: i64, active_ms: Option<i64>) {
        if let Some(Some(consumer)) = self.consumers.get_mut(id.index()) {
            (consumer.seen_ms, consumer.active_ms) = (seen_ms, active_ms);
        }
    }

    /// Removes a consumer and what it has; says how much that was, or nothing where there is none.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let id = self.names.remove(name)?;
        let consumer = self.consumers.get_mut(id.index())?.take()?;
        self.consumer_bytes -= NAME_BYTES + name.len() + consumer.pending.heap_bytes();
        let owned = consumer.pending.len();
        if owned < self.pending.len() / RECORDS_FOR_ONE {
            consumer.pending.iter().for_each(|id| {
                self.pending.remove(*id);
            });
        } else {
            self.pending.retain(|pending| pending.consumer != id);
        }
        Some(owned)
    }

    /// The ids that are pending at a consumer; `None` for [`ConsumerId::NOBODY`], which stands for
    /// entries that XNACK has given back.
    fn owned(&mut self, owner: ConsumerId) -> Option<(&mut Sorted<StreamId>, &mut usize)> {
        if owner == ConsumerId::NOBODY {
            // Their bytes are counted by themselves.
            return None;
        }
        let consumer = self.consumers.get_mut(owner.index())?.as_mut()?;
        Some((&mut consumer.pending, &mut self.consumer_bytes))
    }

    fn own(&mut self, owner: ConsumerId, id: StreamId) {
        match self.owned(owner) {
            Some((ids, bytes)) => {
                *bytes -= ids.heap_bytes();
                ids.put(id);
                *bytes += ids.heap_bytes();
            }
            None => {
                self.released.put(id);
            }
        }
    }

    fn disown(&mut self, owner: ConsumerId, id: StreamId) {
        match self.owned(owner) {
            Some((ids, bytes)) => {
                *bytes -= ids.heap_bytes();
                ids.remove(id);
                *bytes += ids.heap_bytes();
            }
            None => {
                self.released.remove(id);
            }
        }
    }

    /// Makes an entry pending, or changes who has it, when and how often it was delivered.
    pub fn put(&mut self, pending: Pending) {
        match self.pending.put(pending) {
            Some(before) if before.consumer == pending.consumer => {}
            before => {
                if let Some(before) = before {
                    self.disown(before.consumer, pending.id);
                }
                self.own(pending.consumer, pending.id);
            }
        }
    }

    /// An entry is given back: no consumer has it, and it is the last of those that are waiting so.
    pub fn release(&mut self, id: StreamId, deliveries: u32) {
        self.put(Pending { id, delivered_ms: 0, deliveries, consumer: ConsumerId::NOBODY });
        self.released.put(id);
    }

    /// An entry is no longer pending; false where it wasn't.
    #[inline]
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        let Some(pending) = self.pending.remove(id) else { return false };
        self.disown(pending.consumer, id);
        true
    }

    /// Counts an entry as delivered once more to the one who has it; false where it isn't pending.
    pub fn deliver_again(&mut self, id: StreamId, now_ms: i64) -> bool {
        self.pending.update(id, |pending| {
            pending.delivered_ms = now_ms;
            pending.deliveries = pending.deliveries.saturating_add(1);
        })
    }

    /// Makes an entry pending for which [`Group::load_owner`] is going to tell whose it is; false where
    /// it was pending before.
    pub(crate) fn load_pending(
        &mut self,
        id: StreamId,
        delivered_ms: i64,
        deliveries: u64,
    ) -> bool {
        let deliveries = u32::try_from(deliveries).unwrap_or(DELIVERIES_MAX);
        let consumer = ConsumerId::NOBODY;
        self.pending.put(Pending { id, delivered_ms, deliveries, consumer }).is_none()
    }

    /// Gives a consumer an entry that nobody has; false where there is no such.
    pub(crate) fn load_owner(&mut self, consumer: ConsumerId, id: StreamId) -> bool {
        let mut was_free = false;
        self.pending.update(id, |pending| {
            was_free = pending.consumer == ConsumerId::NOBODY;
            if was_free {
                pending.consumer = consumer;
            }
        });
        if was_free {
            self.own(consumer, id);
        }
        was_free
    }

    /// Puts an entry that nobody has at the end of those that were given back; false where there is no
    /// such.
    pub(crate) fn load_released(&mut self, id: StreamId) -> bool {
        let is_free = self.pending.get(id).is_some_and(|p| p.consumer == ConsumerId::NOBODY)
            && !self.released.contains(id);
        if is_free {
            self.released.put(id);
        }
        is_free
    }

    /// Whether all that is pending is somebody's or was given back.
    pub(crate) fn loaded_owners(&self) -> bool {
        let owned = self.consumers.iter().flatten().map(|consumer| consumer.pending.len());
        owned.sum::<usize>() + self.released.len() == self.pending.len()
    }

    /// Looks whether both sides say the same.
    #[cfg(test)]
    pub(super) fn check(&self) {
        self.pending.check();
        let mut bytes = 0;
        for (name, id) in &self.names {
            let Some(consumer) = self.consumer(*id) else { panic!("a name without its consumer") };
            consumer.pending.check();
            bytes += NAME_BYTES + name.len() + consumer.pending.heap_bytes();
            let own = self.pending.iter().filter(|p| p.consumer == *id).map(|p| p.id);
            assert!(own.eq(consumer.pending.iter().copied()));
        }
        let nobody = self.pending.iter().filter(|p| p.consumer == ConsumerId::NOBODY);
        assert!(nobody.map(|p| p.id).eq(self.released.by_id()));
        assert_eq!(self.consumer_bytes, bytes);
    }
}

/// All but when consumers were seen.
impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let names = self.names();
        write!(f, "last {} read {:?} ", self.last_id, self.entries_read)?;
        f.debug_list().entries(self.names.keys().map(|name| text(name))).finish()?;
        let pending = self.pending.iter().map(|pending| {
            let Pending { id, delivered_ms, deliveries, consumer } = pending;
            format!("{id} {} {delivered_ms} {deliveries}", text(consumer.name_in(&names)))
        });
        f.debug_list().entries(pending).finish()
    }
}

/// Equal where a client could tell no difference, but for when consumers were seen.
impl PartialEq for Group {
    fn eq(&self, other: &Self) -> bool {
        let (names, theirs) = (self.names(), other.names());
        let owner = |names: &[&[u8]], pending: &Pending| {
            names.get(pending.consumer.index()).map(|name| name.to_vec())
        };
        (self.last_id, self.entries_read, self.pending_len())
            == (other.last_id, other.entries_read, other.pending_len())
            && self.names.keys().eq(other.names.keys())
            && self.pending.iter().zip(other.pending.iter()).all(|(a, b)| {
                (a.id, a.delivered_ms, a.deliveries) == (b.id, b.delivered_ms, b.deliveries)
                    && owner(&names, a) == owner(&theirs, b)
            })
    }
}
