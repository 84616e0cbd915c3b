//! Streams: what was delivered and not acknowledged, and passing it on to another consumer.
//!
//! What is passed on is logged as it is then: its consumer, time and number of deliveries. What turns
//! out to be deleted stops being pending, and is logged as acknowledged.

use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::{CommandError, quotable};
use crate::command::spec::{Arity::AtLeast, Command, DataHandler, Effect, Flags, Flow, Key};
use crate::command::stream::{reader, writer};
use crate::command::stream_args::{Bound, id_at, id_in, interval_bound, log_ids};
use crate::command::stream_deliver::{log_pending, log_position};
use crate::command::stream_group::no_key_or_group;
use crate::command::stream_range::reply_entry;
use crate::data::stream::{ConsumerId, DELIVERIES_MAX, Group, Pending, Stream, StreamId};
use crate::keyspace::collection::Changed;
use crate::keyspace::unit::Event;
use crate::resp::reply::Reply;

/// XPENDING, XCLAIM and XAUTOCLAIM.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    reader("XPENDING", AtLeast(3), xpending)
        .keys(&[Key::at(1).ro().access()])
        .tips(&["nondeterministic_output"])
        .since("5.0.0")
        .cost("O(N) for N entries of reply")
        .syntax(
            "key group [[IDLE min-idle-time:integer] start:string end:string count \
             [consumer]]:filters",
        )
        .summary("Tells what is pending in a group, or which entries they are.")
        .history(&[("6.2.0", "Takes IDLE, and ids that are left out.")]),
    writer("XCLAIM", AtLeast(6), xclaim)
        .flags(Flags::FAST)
        .keys(&[Key::at(1).rw().update()])
        .tips(&["nondeterministic_output"])
        .effect(Effect::Rewritten)
        .since("5.0.0")
        .cost("O(log N) for N entries pending, for each id")
        .syntax(
            "key group consumer min-idle-time:string id [id ...] [IDLE ms:integer] \
             [TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID id]",
        )
        .summary("Passes entries that are pending on to a consumer."),
    writer("XAUTOCLAIM", AtLeast(6), xautoclaim)
        .flags(Flags::FAST)
        .keys(&[Key::at(1).rw().delete()])
        .tips(&["nondeterministic_output"])
        .effect(Effect::Rewritten)
        .since("6.2.0")
        .cost("O(1) where COUNT is small")
        .syntax("key group consumer min-idle-time:string start:string [COUNT count] [JUSTID]")
        .summary("Passes entries that have been pending for long on to a consumer.")
        .history(&[(
            "7.0.0",
            "Replies with the deleted entries as well, which stop being pending.",
        )]),
];

/// XAUTOCLAIM's COUNT above which there could be no room for its ids.
const IDS_MAX: usize = 1 << 40;

/// Entries that XAUTOCLAIM looks at for each that it may pass on.
const ATTEMPTS_FACTOR: usize = 10;
/// What it passes on where no COUNT is given.
const AUTOCLAIM_COUNT: usize = 100;
/// More can't be asked for: upstream makes room for so many ids.
const AUTOCLAIM_COUNT_MAX: i64 = i64::MAX / 16;

fn xpending(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let filter = Filter::parse(args)?;
    let (key, name, now_ms) = (args.at(1), args.at(2), cx.now.0);
    let mut db = cx.databases.db(cx.selected);
    let stream = db.read_as::<Stream>(key)?;
    let group = stream.as_ref().and_then(|stream| stream.group(name));
    let group = group.ok_or_else(|| no_key_or_group(key, name))?;
    match filter {
        None => summary(&mut cx.reply, group),
        Some(filter) => filter.reply(&mut cx.reply, group, now_ms),
    }
    Ok(Flow::Done)
}

fn summary(reply: &mut Reply<'_>, group: &Group) {
    reply.array(4);
    reply.count(group.pending_len());
    let Some((first, last)) = group.pending_bounds() else {
        reply.null();
        reply.null();
        reply.null_array();
        return;
    };
    reply.bulk(first.text().as_bytes());
    reply.bulk(last.text().as_bytes());
    let start = reply.deferred();
    let mut count = 0;
    for (name, consumer) in group.consumers() {
        if consumer.pending_len() > 0 {
            reply.array(2);
            reply.bulk(name);
            reply.bulk_int(i64::try_from(consumer.pending_len()).unwrap_or(i64::MAX));
            count += 1;
        }
    }
    reply.finish_array(start, count);
}

/// Which pending entries XPENDING shows.
struct Filter<'a> {
    idle_ms: i64,
    start: StreamId,
    end: StreamId,
    count: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> Filter<'a> {
    fn parse(args: Args<'a>) -> Result<Option<Self>, CommandError> {
        if args.len() == 3 {
            return Ok(None);
        }
        if !(6..=9).contains(&args.len()) {
            return Err(CommandError::Syntax);
        }
        let (mut idle_ms, mut at) = (0, 3);
        if args.is(3, "IDLE") {
            idle_ms = args.int(4)?;
            if args.len() < 8 {
                return Err(CommandError::Syntax);
            }
            at = 5;
        }
        // None at all where it is negative.
        let count = usize::try_from(args.int(at + 2)?).unwrap_or(0);
        let start = interval_bound(args.at(at), Bound::Start)?;
        let end = interval_bound(args.at(at + 1), Bound::End)?;
        Ok(Some(Self { idle_ms, start, end, count, consumer: args.get(at + 3) }))
    }

    fn reply(&self, reply: &mut Reply<'_>, group: &Group, now_ms: i64) {
        let names = group.names();
        let array = reply.deferred();
        let mut count = 0;
        let mut show = |pending: &Pending| {
            let idle_ms = pending.idle_ms(now_ms);
            let is_idle = idle_ms.is_none_or(|idle_ms| idle_ms >= self.idle_ms);
            if count < self.count && (self.idle_ms == 0 || is_idle) {
                reply.array(4);
                reply.bulk(pending.id.text().as_bytes());
                reply.bulk(pending.consumer.name_in(&names));
                reply.int(idle_ms.map_or(-1, |idle_ms| idle_ms.max(0)));
                reply.int(pending.told_deliveries());
                count += 1;
            }
            count < self.count
        };
        match self.consumer {
            None => {
                let all = group.pending_from(self.start);
                let _ = all.take_while(|pending| pending.id <= self.end).all(&mut show);
            }
            Some(name) => {
                let consumer = group.find(name).and_then(|id| group.consumer(id));
                let ids = consumer.into_iter().flat_map(|own| own.pending_from(self.start));
                let ids = ids.take_while(|id| *id <= self.end);
                let _ = ids.filter_map(|id| group.pending(id)).all(|pending| show(&pending));
            }
        }
        reply.finish_array(array, count);
    }
}

/// How a claim changes what it passes on.
#[derive(Clone, Copy, Debug)]
struct Claim {
    idle_ms: i64,
    delivered_ms: i64,
    deliveries: Option<u32>,
    just_id: bool,
    force: bool,
    now_ms: i64,
    /// Whether it comes from a log: then it also makes pending again what was deleted.
    replaying: bool,
}

/// What a claim did.
#[derive(Default)]
struct Claimed {
    made_consumer: bool,
    /// What is at the consumer now.
    pending: Vec<Pending>,
    /// What is no longer pending, for it was deleted.
    gone: Vec<StreamId>,
    /// How far the group is, where that changed.
    position: Option<(StreamId, Option<u64>)>,
}

impl Claim {
    /// Passes one entry on; true where the consumer has it now.
    fn take(
        &self,
        stream: &mut Stream,
        name: &[u8],
        consumer: ConsumerId,
        id: StreamId,
        claimed: &mut Claimed,
    ) -> bool {
        let exists = stream.contains(id);
        let found = stream.group(name).and_then(|group| group.pending(id));
        let taken = match found {
            Some(_) if !exists => {
                stream.edit_group(name, |group| group.acknowledge(id));
                claimed.gone.push(id);
                return false;
            }
            Some(found) => {
                let idle_ms = found.idle_ms(self.now_ms);
                if self.idle_ms > 0 && idle_ms.is_some_and(|idle_ms| idle_ms < self.idle_ms) {
                    return false;
                }
                found
            }
            None if self.force && (exists || self.replaying) => {
                Pending { id, delivered_ms: 0, deliveries: 1, consumer }
            }
            None => return false,
        };
        let counted = taken.deliveries.saturating_add(u32::from(!self.just_id));
        let pending = Pending {
            id,
            delivered_ms: self.delivered_ms,
            deliveries: self.deliveries.unwrap_or(counted),
            consumer,
        };
        stream.edit_group(name, |group| group.put(pending));
        claimed.pending.push(pending);
        true
    }

    /// Replies with an entry that was passed on.
    fn reply(&self, reply: &mut Reply<'_>, stream: &Stream, id: StreamId) {
        if self.just_id {
            reply.bulk(id.text().as_bytes());
        } else if reply_entry(reply, &mut stream.range(id, id)).is_none() {
            reply.null_array();
        }
    }
}

/// What XCLAIM's options say, behind the ids.
struct Options {
    claim: Claim,
    last_id: StreamId,
    /// The arguments that are ids.
    ids: std::ops::Range<usize>,
}

impl Options {
    fn parse(cx: &Cx<'_>, args: Args<'_>) -> Result<Self, CommandError> {
        let idle_ms = args
            .int(4)
            .map_err(|_| CommandError::text("ERR Invalid min-idle-time argument for XCLAIM"))?;
        let first_option =
            (5..args.len()).find(|index| id_in(args.at(*index), 0).is_err()).unwrap_or(args.len());
        let now_ms = cx.now.0;
        let (mut at, mut delivered_ms, mut last_id) = (first_option, None, StreamId::MIN);
        let mut claim = Claim {
            idle_ms: idle_ms.max(0),
            delivered_ms: now_ms,
            deliveries: None,
            just_id: false,
            force: false,
            now_ms,
            replaying: cx.replaying,
        };
        while at < args.len() {
            let more = at + 1 < args.len();
            let number = |name: &str| {
                args.int(at + 1).map_err(|_| {
                    CommandError::owned(format!("ERR Invalid {name} option argument for XCLAIM"))
                })
            };
            let mut taken = 2;
            if args.is(at, "FORCE") {
                (claim.force, taken) = (true, 1);
            } else if args.is(at, "JUSTID") {
                (claim.just_id, taken) = (true, 1);
            } else if more && args.is(at, "IDLE") {
                delivered_ms = Some(now_ms.wrapping_sub(number("IDLE")?));
            } else if more && args.is(at, "TIME") {
                delivered_ms = Some(number("TIME")?);
            } else if more && args.is(at, "RETRYCOUNT") {
                // As upstream, for which less than none is as if it weren't given.
                let count = u64::try_from(number("RETRYCOUNT")?).ok();
                claim.deliveries =
                    count.map(|count| u32::try_from(count).unwrap_or(DELIVERIES_MAX));
            } else if more && args.is(at, "LASTID") {
                last_id = id_at(args, at + 1)?;
            } else {
                let mut text = b"ERR Unrecognized XCLAIM option '".to_vec();
                text.extend_from_slice(quotable(args.at(at)));
                text.push(b'\'');
                return Err(CommandError::quoting(text));
            }
            at += taken;
        }
        // A client's clock may be ahead of ours; what was logged was right once.
        let is_sane = |at: &i64| cx.replaying || (0..=now_ms).contains(at);
        claim.delivered_ms = delivered_ms.filter(is_sane).unwrap_or(now_ms);
        Ok(Self { claim, last_id, ids: 5..first_option })
    }
}

fn has_group(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, name) = (args.at(1), args.at(2));
    let stream = cx.db().read_as::<Stream>(key)?.map(|stream| stream.group(name).is_some());
    if stream == Some(true) { Ok(()) } else { Err(no_key_or_group(key, name)) }
}

fn xclaim(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    has_group(cx, args)?;
    let Options { claim, last_id, ids } = Options::parse(cx, args)?;
    // What is made pending, or is older than it was, others may claim sooner than they know of.
    let is_sooner = claim.force || claim.delivered_ms < claim.now_ms;
    let event = if is_sooner { Event::CLAIMABLE } else { Event::PENDING };
    let mut db = cx.databases.db(cx.selected);
    let reply = &mut cx.reply;
    let claimed = db.edit_existing(args.at(1), event, |stream: &mut Stream| {
        let name = args.at(2);
        let (mut claimed, consumer) = begin(stream, args, claim.now_ms);
        stream.edit_group(name, |group| {
            if last_id > group.last_id {
                group.last_id = last_id;
                claimed.position = Some((last_id, group.entries_read));
            }
        });
        let array = reply.deferred();
        let mut count = 0;
        for id in ids.filter_map(|index| id_at(args, index).ok()) {
            if claim.take(stream, name, consumer, id, &mut claimed) {
                claim.reply(reply, stream, id);
                count += 1;
            }
        }
        reply.finish_array(array, count);
        end(stream, args, consumer, &claim, claimed)
    })?;
    log(cx, args, claimed.unwrap_or_default());
    Ok(Flow::Done)
}

/// Finds the consumer that a claim is for, or makes it.
fn begin(stream: &mut Stream, args: Args<'_>, now_ms: i64) -> (Claimed, ConsumerId) {
    let found = stream.edit_group(args.at(2), |group| {
        let (consumer, made) = group.ensure(args.at(3), now_ms);
        group.see(consumer, now_ms, false);
        (Claimed { made_consumer: made, ..Claimed::default() }, consumer)
    });
    found.unwrap_or((Claimed::default(), ConsumerId::NOBODY))
}

fn end(
    stream: &mut Stream,
    args: Args<'_>,
    consumer: ConsumerId,
    claim: &Claim,
    claimed: Claimed,
) -> Changed<Claimed> {
    if !claimed.pending.is_empty() {
        stream.edit_group(args.at(2), |group| group.see(consumer, claim.now_ms, true));
    }
    let changes = claimed.pending.len()
        + claimed.gone.len()
        + usize::from(claimed.made_consumer)
        + usize::from(claimed.position.is_some());
    Changed::count(changes, claimed)
}

fn log(cx: &mut Cx<'_>, args: Args<'_>, claimed: Claimed) {
    let (key, group, consumer) = (args.at(1), args.at(2), args.at(3));
    if claimed.made_consumer {
        cx.db().announce(key, Event::XGROUP_CREATECONSUMER);
        if claimed.pending.is_empty() {
            cx.log(&[b"XGROUP", b"CREATECONSUMER", key, group, consumer]);
        }
    }
    log_pending(cx, (key, group, consumer), &claimed.pending);
    log_gone(cx, (key, group), &claimed.gone);
    if let Some((last_id, entries_read)) = claimed.position {
        log_position(cx, (key, group), last_id, entries_read);
    }
}

/// Logs that entries are no longer pending.
pub(super) fn log_gone(cx: &mut Cx<'_>, (key, group): (&[u8], &[u8]), gone: &[StreamId]) {
    log_ids(cx, &[b"XACK", key, group], gone);
}

fn xautoclaim(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let idle_ms = args
        .int(4)
        .map_err(|_| CommandError::text("ERR Invalid min-idle-time argument for XAUTOCLAIM"))?;
    let start = interval_bound(args.at(5), Bound::Start)?;
    let (mut most, mut just_id, mut at) = (AUTOCLAIM_COUNT, false, 6);
    while at < args.len() {
        if args.is(at, "COUNT") && at + 1 < args.len() {
            most = autoclaim_count(args, at + 1)?;
            at += 2;
        } else if args.is(at, "JUSTID") {
            just_id = true;
            at += 1;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    has_group(cx, args)?;
    if most > IDS_MAX {
        return Err(CommandError::text(
            "ERR Insufficient memory, failed allocating transient memory, COUNT too high.",
        ));
    }
    let claim = Claim {
        idle_ms: idle_ms.max(0),
        delivered_ms: cx.now.0,
        deliveries: None,
        just_id,
        force: false,
        now_ms: cx.now.0,
        replaying: false,
    };
    let mut db = cx.databases.db(cx.selected);
    let reply = &mut cx.reply;
    let claimed = db.edit_existing(args.at(1), Event::PENDING, |stream: &mut Stream| {
        let name = args.at(2);
        let (mut claimed, consumer) = begin(stream, args, claim.now_ms);
        let (ids, cursor) = candidates(stream, name, start, &claim, most);
        reply.array(3);
        reply.bulk(cursor.text().as_bytes());
        let array = reply.deferred();
        let mut count = 0;
        for id in ids {
            if claim.take(stream, name, consumer, id, &mut claimed) {
                claim.reply(reply, stream, id);
                count += 1;
            }
        }
        reply.finish_array(array, count);
        reply.array(claimed.gone.len());
        claimed.gone.iter().for_each(|id| reply.bulk(id.text().as_bytes()));
        end(stream, args, consumer, &claim, claimed)
    })?;
    log(cx, args, claimed.unwrap_or_default());
    Ok(Flow::Done)
}

fn autoclaim_count(args: Args<'_>, at: usize) -> Result<usize, CommandError> {
    const NOT_POSITIVE: CommandError = CommandError::text("ERR COUNT must be > 0");
    let count = args.int(at).map_err(|_| NOT_POSITIVE)?;
    if !(1..=AUTOCLAIM_COUNT_MAX).contains(&count) {
        return Err(NOT_POSITIVE);
    }
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// Up to `most` entries that have been pending for long enough or are deleted, and where to go on.
fn candidates(
    stream: &Stream,
    name: &[u8],
    start: StreamId,
    claim: &Claim,
    most: usize,
) -> (Vec<StreamId>, StreamId) {
    let Some(group) = stream.group(name) else { return (Vec::new(), StreamId::MIN) };
    let mut found = Vec::new();
    let mut attempts = most.saturating_mul(ATTEMPTS_FACTOR);
    let mut all = group.pending_from(start);
    while attempts > 0 && found.len() < most {
        attempts -= 1;
        let Some(pending) = all.next() else { break };
        let idle_ms = pending.idle_ms(claim.now_ms);
        let is_ripe = claim.idle_ms == 0 || idle_ms.is_none_or(|idle_ms| idle_ms >= claim.idle_ms);
        if is_ripe || !stream.contains(pending.id) {
            found.push(pending.id);
        }
    }
    (found, all.next().map_or(StreamId::MIN, |next| next.id))
}
