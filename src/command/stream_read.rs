//! Streams: reading what is new, or waiting for it, alone and in groups.
//!
//! What XREADGROUP changes is logged as what it comes to: XCLAIM for the entries that it delivered, one
//! record for all that were delivered at the same time as often, XGROUP SETID for how far the group is,
//! and XGROUP CREATECONSUMER for a consumer that got nothing yet.

use std::ops::Range;

use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::{CommandError, quotable};
use crate::command::spec::{
    Arity::AtLeast, Begin, Command, DataHandler, Effect, Find, Flags, Flow, Key,
};
use crate::command::stream::{reader, writer};
use crate::command::stream_args::id_at;
use crate::command::stream_range::{reply_entries, reply_entry};
use crate::command::wait::{self, NullReply, Wait};
use crate::data::stream::{Pending, Stream, StreamId};
use crate::data::value::Type;
use crate::keyspace::collection::Changed;
use crate::keyspace::databases::Db;
use crate::keyspace::unit::Event;
use crate::keyspace::waits::Awaited;
use crate::resp::reply::{Protocol, Reply};

/// XREAD and XREADGROUP.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    reader("XREAD", AtLeast(4), xread)
        .flags(Flags::BLOCKING.union(Flags::MOVABLE_KEYS))
        .keys(&[streams_from(1).ro().access()])
        .since("5.0.0")
        .cost("O(M) for M entries of reply")
        .syntax("[COUNT count] [BLOCK milliseconds] STREAMS <key [key ...] id [id ...]>:streams")
        .summary("Replies with the entries of streams behind ids, or waits for some."),
    writer("XREADGROUP", AtLeast(7), xreadgroup)
        .flags(Flags::BLOCKING.union(Flags::MOVABLE_KEYS))
        .keys(&[streams_from(4).ro().access()])
        .effect(Effect::Rewritten)
        .since("5.0.0")
        .cost("O(M) for M entries of reply")
        .syntax(
            "GROUP <group consumer>:group_consumer [COUNT count] [BLOCK milliseconds] [NOACK] \
             STREAMS <key [key ...] id [id ...]>:streams",
        )
        .summary("Delivers entries of streams to a consumer of a group, or waits for some."),
];

/// The keys are the first half of what follows STREAMS.
const fn streams_from(from: i64) -> Key {
    let mut key = Key::after("STREAMS", from);
    key.find = Find::Range { last: -1, step: 1, limit: 2 };
    debug_assert!(matches!(key.begin, Begin::Keyword(..)));
    key
}

/// What to do where there is nothing.
#[derive(Clone, Copy, Debug)]
enum Block {
    /// Say so.
    No,
    /// Wait, for so many milliseconds; `None` for ever.
    For(Option<u64>),
}

/// The options of both.
#[derive(Debug)]
struct Options<'a> {
    /// Entries of each stream; `usize::MAX` for all.
    count: usize,
    block: Block,
    group: Option<(&'a [u8], &'a [u8])>,
    no_ack: bool,
    /// The arguments that are keys; ids are behind them.
    keys: Range<usize>,
}

impl<'a> Options<'a> {
    fn parse(args: Args<'a>, in_group: bool) -> Result<Self, CommandError> {
        let mut options =
            Self { count: usize::MAX, block: Block::No, group: None, no_ack: false, keys: 0..0 };
        let mut at = 1;
        while at < args.len() {
            let more = args.len() - 1 - at;
            if more > 0 && args.is(at, "BLOCK") {
                at += 1;
                options.block = Block::For(wait::timeout_in_millis(args, at)?);
            } else if more > 0 && args.is(at, "COUNT") {
                at += 1;
                // None, and less than none, is all.
                let count = usize::try_from(args.int(at)?).unwrap_or(0);
                options.count = if count == 0 { usize::MAX } else { count };
            } else if more > 0 && args.is(at, "STREAMS") {
                options.keys = Self::streams(args, at + 1, in_group)?;
                break;
            } else if more > 1 && args.is(at, "GROUP") {
                only_in_group(in_group, "GROUP")?;
                options.group = Some((args.at(at + 1), args.at(at + 2)));
                at += 2;
            } else if args.is(at, "NOACK") {
                only_in_group(in_group, "NOACK")?;
                options.no_ack = true;
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        if options.keys.is_empty() {
            return Err(CommandError::Syntax);
        }
        if in_group && options.group.is_none() {
            return Err(CommandError::text("ERR Missing GROUP option for XREADGROUP"));
        }
        Ok(options)
    }

    fn streams(args: Args<'_>, from: usize, in_group: bool) -> Result<Range<usize>, CommandError> {
        let words = args.len() - from;
        if words.is_multiple_of(2) {
            return Ok(from..from + words / 2);
        }
        let (name, sign) = if in_group { ("xreadgroup", '>') } else { ("xread", '$') };
        Err(CommandError::owned(format!(
            "ERR Unbalanced '{name}' list of streams: for each stream key an ID or '{sign}' must be \
             specified."
        )))
    }

    /// The argument with the id of a key's.
    fn id_index(&self, key_index: usize) -> usize {
        key_index + self.keys.len()
    }
}

fn only_in_group(in_group: bool, option: &str) -> Result<(), CommandError> {
    if in_group {
        return Ok(());
    }
    Err(CommandError::owned(format!(
        "ERR The {option} option is only supported by XREADGROUP. You called XREAD instead."
    )))
}

/// A reply of streams with something in them, as they are found.
struct Streams {
    start: crate::resp::reply::Deferred,
    count: usize,
}

impl Streams {
    fn new(reply: &mut Reply<'_>) -> Self {
        Self { start: reply.deferred(), count: 0 }
    }

    /// A stream follows: its entries are to be written next.
    fn begin(&mut self, reply: &mut Reply<'_>, key: &[u8]) {
        self.count += 1;
        if reply.protocol() == Protocol::Resp2 {
            reply.array(2);
        }
        reply.bulk(key);
    }

    /// False where there was none.
    fn finish(self, reply: &mut Reply<'_>) -> bool {
        if self.count > 0 {
            match reply.protocol() {
                Protocol::Resp2 => reply.finish_array(self.start, self.count),
                Protocol::Resp3 => reply.finish_map(self.start, self.count),
            }
        }
        self.count > 0
    }
}

fn xread(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let options = Options::parse(args, false)?;
    let mut behind = Vec::with_capacity(options.keys.len());
    for index in options.keys.clone() {
        let mut db = cx.databases.db(cx.selected);
        let stream = db.read_as::<Stream>(args.at(index))?;
        let id_index = options.id_index(index);
        behind.push(match args.at(id_index) {
            b"$" => stream.map_or(StreamId::MIN, |stream| stream.counts().last_id),
            // The last entry, unless it isn't the last that was added.
            b"+" => {
                stream.and_then(|stream| stream.counts().last_id.previous()).unwrap_or_default()
            }
            b">" => {
                return Err(CommandError::text(
                    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP \
                     <group> <consumer> option.",
                ));
            }
            _ => id_at(args, id_index)?,
        });
    }
    let mut streams = Streams::new(&mut cx.reply);
    for (index, behind) in options.keys.clone().zip(&behind) {
        let mut db = cx.databases.db(cx.selected);
        let Some(stream) = db.read_as::<Stream>(args.at(index))? else { continue };
        let Some(start) = behind.next() else { continue };
        if stream.last_entry_id().is_some_and(|last| last >= start) {
            streams.begin(&mut cx.reply, args.at(index));
            reply_entries(&mut cx.reply, stream.range(start, StreamId::MAX), options.count);
        }
    }
    if streams.finish(&mut cx.reply) {
        return Ok(Flow::Done);
    }
    let Block::For(timeout_ms) = options.block else {
        cx.reply.null_array();
        return Ok(Flow::Done);
    };
    let awaited = Awaited { kind: Type::Stream, or_loss: false };
    let words = resolved(args, &options, &behind);
    let on_timeout = NullReply::Array;
    Ok(Flow::Block(Wait { awaited, words, keys: options.keys, timeout_ms, on_timeout }))
}

/// The command's words with the ids that `$` and `+` stand for now, where it has such.
fn resolved(args: Args<'_>, options: &Options<'_>, behind: &[StreamId]) -> Option<Vec<Vec<u8>>> {
    let ids = options.keys.end..args.len();
    let is_open = |index: usize| matches!(args.at(index), b"$" | b"+");
    if !ids.clone().any(is_open) {
        return None;
    }
    let word = |(index, word): (usize, &[u8])| match index.checked_sub(ids.start) {
        Some(at) if is_open(index) => behind[at].to_string().into_bytes(),
        _ => word.to_vec(),
    };
    Some(args.from(0).enumerate().map(word).collect())
}

/// What a consumer asks of a stream.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// `>`: entries that were delivered to no consumer of the group yet.
    New,
    /// What it has that is pending, behind an id.
    History(StreamId),
}

/// One stream that XREADGROUP reads.
struct GroupRead<'a> {
    key: &'a [u8],
    group: &'a [u8],
    consumer: &'a [u8],
    wanted: Wanted,
    count: usize,
    no_ack: bool,
    now_ms: i64,
}

/// What reading did to the group, for the log.
#[derive(Default)]
struct Delivered {
    /// Whether the consumer is new.
    made_consumer: bool,
    /// What is pending now of what was delivered.
    pending: Vec<Pending>,
    /// How far the group is, where it went on.
    position: Option<(StreamId, Option<u64>)>,
}

fn xreadgroup(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let options = Options::parse(args, true)?;
    let (group, consumer) = options.group.unwrap_or_default();
    for index in options.keys.clone() {
        check_group(&mut cx.db(), args.at(index), group)?;
        let id_index = options.id_index(index);
        match args.at(id_index) {
            sign @ (b"$" | b"+") => return Err(meaningless(sign)),
            b">" => {}
            _ => {
                id_at(args, id_index)?;
            }
        }
    }
    let mut streams = Streams::new(&mut cx.reply);
    for index in options.keys.clone() {
        let id_index = options.id_index(index);
        let wanted = match args.at(id_index) {
            b">" => Wanted::New,
            _ => match id_at(args, id_index)? {
                StreamId::MAX => Wanted::New,
                id => Wanted::History(id),
            },
        };
        let read = GroupRead {
            key: args.at(index),
            group,
            consumer,
            wanted,
            count: options.count,
            no_ack: options.no_ack,
            now_ms: cx.now.0,
        };
        read.run(cx, &mut streams)?;
    }
    if streams.finish(&mut cx.reply) {
        return Ok(Flow::Done);
    }
    let Block::For(timeout_ms) = options.block else {
        cx.reply.null_array();
        return Ok(Flow::Done);
    };
    let awaited = Awaited { kind: Type::Stream, or_loss: true };
    let on_timeout = NullReply::Array;
    Ok(Flow::Block(Wait { awaited, words: None, keys: options.keys, timeout_ms, on_timeout }))
}

fn check_group(db: &mut Db<'_>, key: &[u8], group: &[u8]) -> Result<(), CommandError> {
    let stream = db.read_as::<Stream>(key)?;
    if stream.is_some_and(|stream| stream.group(group).is_some()) {
        return Ok(());
    }
    let mut text = b"NOGROUP No such key '".to_vec();
    text.extend_from_slice(quotable(key));
    text.extend_from_slice(b"' or consumer group '");
    text.extend_from_slice(quotable(group));
    text.extend_from_slice(b"' in XREADGROUP with GROUP option");
    Err(CommandError::quoting(text))
}

fn meaningless(sign: &[u8]) -> CommandError {
    CommandError::text(if sign == b"$" {
        "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of \
         this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID \
         would just return an empty result set."
    } else {
        "ERR The + ID is meaningless in the context of XREADGROUP: you want to read the history of \
         this consumer by specifying a proper ID, or use the > ID to get new messages. The + ID \
         would just return an empty result set."
    })
}

impl GroupRead<'_> {
    fn run(&self, cx: &mut Cx<'_>, streams: &mut Streams) -> Result<(), CommandError> {
        let reply = &mut cx.reply;
        let mut db = cx.databases.db(cx.selected);
        let done = db.edit_existing(self.key, Event::PENDING, |stream: &mut Stream| {
            let delivered = self.deliver(stream, reply, streams);
            let changes = usize::from(delivered.made_consumer)
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
        let made = stream.edit_group(self.group, |group| {
            let (id, made) = group.ensure(self.consumer, self.now_ms);
            group.see(id, self.now_ms, false);
            made
        });
        delivered.made_consumer = made == Some(true);
        match self.wanted {
            Wanted::New => self.deliver_new(stream, reply, streams, &mut delivered),
            Wanted::History(behind) => {
                streams.begin(reply, self.key);
                self.deliver_again(stream, reply, behind, &mut delivered);
            }
        }
        delivered
    }

    fn deliver_new(
        &self,
        stream: &mut Stream,
        reply: &mut Reply<'_>,
        streams: &mut Streams,
        delivered: &mut Delivered,
    ) {
        let Some(group) = stream.group(self.group) else { return };
        let Some(start) = group.last_id.next() else { return };
        if stream.last_entry_id().is_none_or(|last| last < start) {
            return;
        }
        let Some(consumer) = group.find(self.consumer) else { return };
        streams.begin(reply, self.key);
        let array = reply.deferred();
        let mut entries = stream.range(start, StreamId::MAX);
        let mut ids = Vec::new();
        while ids.len() < self.count {
            let Some(id) = reply_entry(reply, &mut entries) else { break };
            ids.push(id);
        }
        reply.finish_array(array, ids.len());
        let Some(last_id) = ids.last().copied() else { return };
        let entries_read = stream.count_read(group, &ids);
        let pending = ids.iter().map(|id| Pending {
            id: *id,
            delivered_ms: self.now_ms,
            deliveries: 1,
            consumer,
        });
        if !self.no_ack {
            delivered.pending = pending.collect();
        }
        stream.edit_group(self.group, |group| {
            delivered.pending.iter().for_each(|pending| group.put(*pending));
            (group.last_id, group.entries_read) = (last_id, entries_read);
            // As upstream, for which what is never pending is no activity.
            group.see(consumer, self.now_ms, !self.no_ack);
        });
        delivered.position = Some((last_id, entries_read));
    }

    fn deliver_again(
        &self,
        stream: &mut Stream,
        reply: &mut Reply<'_>,
        behind: StreamId,
        delivered: &mut Delivered,
    ) {
        let Some(group) = stream.group(self.group) else { return };
        let id = group.find(self.consumer);
        let Some(consumer) = id.and_then(|id| group.consumer(id)) else { return };
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
        let (at, count) = (run[0].delivered_ms.to_string(), run[0].deliveries.to_string());
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
