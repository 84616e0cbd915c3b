//! Streams: delivering entries to a consumer of a group, as XREADGROUP does, and logging that.
//!
//! What a delivery changes is logged as what it comes to: XCLAIM for the entries that it delivered, one
//! record for all that were delivered at the same time as often, XACK for what was pending and turned out
//! to be deleted, XGROUP SETID for how far the group is, and XGROUP CREATECONSUMER for a consumer that
//! got nothing yet.

use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::stream_args::log_ids;
use crate::command::stream_range::{reply_entry, reply_entry_of, reply_present};
use crate::command::stream_read::Streams;
use crate::data::stream::{Bookmark, ConsumerId, Entries, Pending, Stream, StreamId};
use crate::keyspace::collection::Changed;
use crate::keyspace::unit::Event;
use crate::resp::reply::Reply;

/// What a consumer asks of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    /// `>`: entries that were delivered to no consumer of the group yet.
    New,
    /// What it has that is pending, behind an id.
    History(StreamId),
}

/// One stream that XREADGROUP reads.
pub(super) struct GroupRead<'a> {
    pub(super) key: &'a [u8],
    pub(super) group: &'a [u8],
    pub(super) consumer: &'a [u8],
    pub(super) wanted: Wanted,
    pub(super) count: usize,
    pub(super) no_ack: bool,
    /// Before new entries, those that have been pending for so long (CLAIM).
    pub(super) claim_ms: Option<i64>,
    pub(super) now_ms: i64,
}

/// What reading did to the group, for the log.
#[derive(Default)]
struct Delivered {
    /// Whether the consumer is new.
    made_consumer: bool,
    /// What is pending now of what was delivered.
    pending: Vec<Pending>,
    /// What is no longer pending, for it was deleted.
    gone: Vec<StreamId>,
    /// How far the group is, where it went on.
    position: Option<(StreamId, Option<u64>)>,
}

impl GroupRead<'_> {
    /// Delivers, and logs that.
    pub(super) fn run(&self, cx: &mut Cx<'_>, streams: &mut Streams) -> Result<(), CommandError> {
        let reply = &mut cx.reply;
        let mut db = cx.databases.db(cx.selected);
        let done = db.edit_existing(self.key, Event::PENDING, |stream: &mut Stream| {
            let delivered = self.deliver(stream, reply, streams);
            let changes = usize::from(delivered.made_consumer)
                + delivered.gone.len()
                + usize::from(delivered.position.is_some() || !delivered.pending.is_empty());
            Changed::count(changes, delivered)
        })?;
        if let Some(delivered) = done {
            self.log(cx, &delivered);
        }
        Ok(())
    }

    fn deliver(
        &self,
        stream: &mut Stream,
        reply: &mut Reply<'_>,
        streams: &mut Streams,
    ) -> Delivered {
        let mut delivered = Delivered::default();
        let seen = stream.edit_group(self.group, |group| {
            let (id, made) = group.ensure(self.consumer, self.now_ms);
            group.see(id, self.now_ms, false);
            (id, made)
        });
        let Some((consumer, made)) = seen else { return delivered };
        delivered.made_consumer = made;
        match self.wanted {
            Wanted::New => self.deliver_new(stream, reply, streams, consumer, &mut delivered),
            Wanted::History(behind) => {
                streams.begin(reply, self.key);
                self.deliver_again(stream, reply, (consumer, behind), &mut delivered);
            }
        }
        delivered
    }

    fn deliver_new(
        &self,
        stream: &mut Stream,
        reply: &mut Reply<'_>,
        streams: &mut Streams,
        consumer: ConsumerId,
        delivered: &mut Delivered,
    ) {
        let claimed = self.claim(stream, consumer, delivered);
        let Some(group) = stream.group(self.group) else { return };
        // Nothing is behind the last id that there can be.
        let start = group.last_id.next().filter(|_| claimed.len() < self.count);
        let start = start.filter(|start| stream.counts().last_id >= *start);
        let new = start.map(|start| stream.range_from(group.bookmark, start, StreamId::MAX));
        let new = new.and_then(|mut entries| Some((entries.next_entry()?, entries)));
        if claimed.is_empty() && new.is_none() {
            return;
        }
        streams.begin(reply, self.key);
        let array = reply.deferred();
        for pending in &claimed {
            reply_entry_of(reply, &mut stream.range(pending.id, pending.id), 4);
            reply.int(self.now_ms.saturating_sub(pending.delivered_ms).max(0));
            reply.int(pending.told_deliveries());
        }
        let (ids, bookmark) = match new {
            Some((first, entries)) => {
                self.reply_new(reply, first, entries, self.count - claimed.len())
            }
            None => (Vec::new(), None),
        };
        reply.finish_array(array, claimed.len() + ids.len());
        let Some(last_id) = ids.last().copied() else { return };
        let entries_read = stream.count_read(group, &ids);
        let pending = ids.iter().map(|id| Pending {
            id: *id,
            delivered_ms: self.now_ms,
            deliveries: 1,
            consumer,
        });
        let new = delivered.pending.len();
        if !self.no_ack {
            delivered.pending.extend(pending);
        }
        stream.edit_group(self.group, |group| {
            delivered.pending[new..].iter().for_each(|pending| group.put(*pending));
            (group.last_id, group.entries_read) = (last_id, entries_read);
            group.bookmark = bookmark;
            // With NOACK nothing becomes pending, and upstream leaves the active time as it was.
            group.see(consumer, self.now_ms, !self.no_ack);
        });
        delivered.position = Some((last_id, entries_read));
    }

    /// Replies with new entries, of which the first is present, and says which, and where the next begin.
    fn reply_new(
        &self,
        reply: &mut Reply<'_>,
        first: (StreamId, usize),
        mut entries: Entries<'_>,
        most: usize,
    ) -> (Vec<StreamId>, Option<Bookmark>) {
        let mut ids = Vec::new();
        let elements = if self.claim_ms.is_some() { 4 } else { 2 };
        let mut next = Some(first);
        while let Some(entry) = next {
            reply_present(reply, &mut entries, entry, elements);
            if self.claim_ms.is_some() {
                // A new entry: idle for 0 ms, delivered 0 times before.
                reply.int(0);
                reply.int(0);
            }
            ids.push(entry.0);
            next = if ids.len() < most { entries.next_entry() } else { None };
        }
        (ids, entries.bookmark())
    }

    /// Passes entries that have been pending for long enough on to the consumer, and returns them as
    /// they were before.
    fn claim(
        &self,
        stream: &mut Stream,
        consumer: ConsumerId,
        delivered: &mut Delivered,
    ) -> Vec<Pending> {
        let Some(idle_ms) = self.claim_ms else { return Vec::new() };
        let until_ms = self.now_ms.saturating_sub(idle_ms);
        let ids = stream.edit_group(self.group, |group| group.claimable(until_ms, self.count));
        let mut claimed = Vec::new();
        for id in ids.unwrap_or_default() {
            let exists = stream.contains(id);
            stream.edit_group(self.group, |group| {
                let Some(before) = group.pending(id) else { return };
                if !exists {
                    group.acknowledge(id);
                    delivered.gone.push(id);
                    return;
                }
                let pending = Pending {
                    id,
                    delivered_ms: self.now_ms,
                    deliveries: before.deliveries.saturating_add(1),
                    consumer,
                };
                group.put(pending);
                delivered.pending.push(pending);
                claimed.push(before);
            });
        }
        if !claimed.is_empty() {
            stream.edit_group(self.group, |group| group.see(consumer, self.now_ms, true));
        }
        claimed
    }

    fn deliver_again(
        &self,
        stream: &mut Stream,
        reply: &mut Reply<'_>,
        (consumer, behind): (ConsumerId, StreamId),
        delivered: &mut Delivered,
    ) {
        let Some(group) = stream.group(self.group) else { return };
        let Some(consumer) = group.consumer(consumer) else { return };
        let Some(start) = behind.next() else { return };
        let array = reply.deferred();
        let mut count = 0;
        let mut found = Vec::new();
        for id in consumer.pending_from(start).take(self.count) {
            if reply_entry(reply, &mut stream.range(id, id)).is_some() {
                found.push(id);
            } else {
                // It was deleted.
                reply.array(2);
                reply.bulk(id.text().as_bytes());
                reply.null_array();
            }
            count += 1;
        }
        reply.finish_array(array, count);
        stream.edit_group(self.group, |group| {
            for id in found {
                group.deliver_again(id, self.now_ms);
                delivered.pending.extend(group.pending(id));
            }
        });
    }

    fn log(&self, cx: &mut Cx<'_>, delivered: &Delivered) {
        if delivered.made_consumer {
            cx.db().announce(self.key, Event::XGROUP_CREATECONSUMER);
            if delivered.pending.is_empty() {
                let words =
                    [&b"XGROUP"[..], b"CREATECONSUMER", self.key, self.group, self.consumer];
                cx.log(&words);
            }
        }
        log_pending(cx, (self.key, self.group, self.consumer), &delivered.pending);
        log_ids(cx, &[b"XACK", self.key, self.group], &delivered.gone);
        if let Some((last_id, entries_read)) = delivered.position {
            log_position(cx, (self.key, self.group), last_id, entries_read);
        }
    }
}

/// Logs what is pending at a consumer: a record for each run of what was delivered at the same time as
/// often.
pub(super) fn log_pending(
    cx: &mut Cx<'_>,
    (key, group, consumer): (&[u8], &[u8], &[u8]),
    pending: &[Pending],
) {
    if !cx.databases.unit.recording {
        return;
    }
    let runs =
        pending.chunk_by(|a, b| (a.delivered_ms, a.deliveries) == (b.delivered_ms, b.deliveries));
    for run in runs {
        let (at, count) = (run[0].delivered_ms.to_string(), run[0].told_deliveries().to_string());
        let ids: Vec<_> = run.iter().map(|pending| pending.id.text()).collect();
        let mut words: Vec<&[u8]> = Vec::with_capacity(ids.len() + 11);
        words.extend([&b"XCLAIM"[..], key, group, consumer, b"0"]);
        words.extend(ids.iter().map(|id| id.as_bytes()));
        words.extend([&b"TIME"[..], at.as_bytes(), b"RETRYCOUNT", count.as_bytes()]);
        words.extend([&b"FORCE"[..], b"JUSTID"]);
        cx.log(&words);
    }
}

/// Logs how far a group is.
pub(super) fn log_position(
    cx: &mut Cx<'_>,
    (key, group): (&[u8], &[u8]),
    last_id: StreamId,
    entries_read: Option<u64>,
) {
    if !cx.databases.unit.recording {
        return;
    }
    let read = entries_read.map_or_else(|| "-1".to_owned(), |read| read.to_string());
    let id = last_id.text();
    let words =
        [&b"XGROUP"[..], b"SETID", key, group, id.as_bytes(), b"ENTRIESREAD", read.as_bytes()];
    cx.log(&words);
}
