//! Streams: reading what is new, or waiting for it, alone and in groups.
//!
//! What XREADGROUP does to a stream is in [`stream_deliver`](crate::command::stream_deliver).

use std::ops::Range;

use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::{CommandError, quotable};
use crate::command::spec::{
    Arity::AtLeast, Begin, Command, DataHandler, Effect, Find, Flags, Flow, Key,
};
use crate::command::stream::{reader, writer};
use crate::command::stream_args::id_at;
use crate::command::stream_deliver::{GroupRead, Wanted};
use crate::command::stream_range::reply_entries;
use crate::command::wait::{self, NullReply, Wait};
use crate::data::stream::{Group, Stream, StreamId};
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
        .summary("Replies with the entries of streams behind ids, or waits for some.")
        .deviates(&[
            "`+` is the last entry that there is, as in Redis from 7.4.2 on; Valkey finds nothing where \
             the last that was added is deleted",
            "no MAXCOUNT and MAXSIZE of Redis 8.10",
        ]),
    writer("XREADGROUP", AtLeast(7), xreadgroup)
        .flags(Flags::BLOCKING.union(Flags::MOVABLE_KEYS))
        .keys(&[streams_from(4).ro().access()])
        .effect(Effect::Rewritten)
        .since("5.0.0")
        .cost("O(M) for M entries of reply")
        .syntax(
            "GROUP <group consumer>:group_consumer [COUNT count] [BLOCK milliseconds] \
             [CLAIM min-idle-time:integer] [NOACK] STREAMS <key [key ...] id [id ...]>:streams",
        )
        .summary("Delivers entries of streams to a consumer of a group, or waits for some.")
        .history(&[("8.4.0", "Takes CLAIM.")])
        .deviates(&[
            "CLAIM: an entry that was deleted stops being pending, and none takes its place in COUNT",
            "no MAXCOUNT and MAXSIZE of Redis 8.10",
        ]),
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
    claim_ms: Option<i64>,
    /// The arguments that are keys; ids are behind them.
    keys: Range<usize>,
}

impl<'a> Options<'a> {
    fn parse(args: Args<'a>, in_group: bool) -> Result<Self, CommandError> {
        let mut options = Self {
            count: usize::MAX,
            block: Block::No,
            group: None,
            no_ack: false,
            claim_ms: None,
            keys: 0..0,
        };
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
            } else if more > 0 && args.is(at, "CLAIM") {
                only_in_group(in_group, "CLAIM")?;
                at += 1;
                options.claim_ms = Some(min_idle_ms(args, at)?);
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

fn min_idle_ms(args: Args<'_>, at: usize) -> Result<i64, CommandError> {
    match args.int(at) {
        Ok(0..) => args.int(at),
        Ok(_) => Err(CommandError::text("ERR min-idle-time must be a positive integer")),
        Err(_) => Err(CommandError::text("ERR min-idle-time is not an integer")),
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
pub(super) struct Streams {
    start: crate::resp::reply::Deferred,
    count: usize,
}

impl Streams {
    fn new(reply: &mut Reply<'_>) -> Self {
        Self { start: reply.deferred(), count: 0 }
    }

    /// A stream follows: its entries are to be written next.
    pub(super) fn begin(&mut self, reply: &mut Reply<'_>, key: &[u8]) {
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
            // What is behind the id before the last entry is that entry.
            b"+" => {
                stream.and_then(|stream| stream.last_entry_id()?.previous()).unwrap_or_default()
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
    let awaited = Awaited::value(Type::Stream);
    let words = resolved(args, &options, &behind);
    let (keys, on_timeout) = (options.keys, NullReply::Array);
    Ok(Flow::Block(Wait { awaited, words, keys, timeout_ms, again_ms: None, on_timeout }))
}

/// The command's words with the ids that `$` stands for now, where it has such. A `+` stays: it is the
/// last entry whenever the command runs.
fn resolved(args: Args<'_>, options: &Options<'_>, behind: &[StreamId]) -> Option<Vec<Vec<u8>>> {
    let ids = options.keys.end..args.len();
    let is_open = |index: usize| args.at(index) == b"$";
    if !ids.clone().any(is_open) {
        return None;
    }
    let word = |(index, word): (usize, &[u8])| match index.checked_sub(ids.start) {
        Some(at) if is_open(index) => behind[at].to_string().into_bytes(),
        _ => word.to_vec(),
    };
    Some(args.from(0).enumerate().map(word).collect())
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
    // Upstream looks each stream up once more to read it, and counts that, too.
    cx.databases.stats.hits += options.keys.len() as u64;
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
            claim_ms: options.claim_ms,
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
    // What is claimed isn't new: with CLAIM every change of the stream may bring something.
    let group = options.claim_ms.is_none().then(|| group.into());
    let awaited = Awaited { kind: Type::Stream, or_loss: true, group };
    let again_ms = next_claim_ms(cx, args, &options)?;
    let on_timeout = NullReply::Array;
    let keys = options.keys;
    Ok(Flow::Block(Wait { awaited, words: None, keys, timeout_ms, again_ms, on_timeout }))
}

/// When the next pending entry will have waited for long enough to be claimed.
fn next_claim_ms(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    options: &Options<'_>,
) -> Result<Option<i64>, CommandError> {
    let (Some(idle_ms), Some((group, _))) = (options.claim_ms, options.group) else {
        return Ok(None);
    };
    let mut next_ms: Option<i64> = None;
    for index in options.keys.clone() {
        let mut db = cx.databases.db(cx.selected);
        let oldest = |stream: &mut Stream| {
            let oldest_ms = stream.edit_group(group, Group::oldest_delivery_ms).flatten();
            Changed::nothing(oldest_ms)
        };
        let found = db.edit_existing(args.at(index), Event::PENDING, oldest)?.flatten();
        let ripe_ms = found.map(|oldest_ms| oldest_ms.saturating_add(idle_ms));
        next_ms = next_ms.into_iter().chain(ripe_ms).min();
    }
    Ok(next_ms)
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
