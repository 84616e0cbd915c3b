//! Streams: adding, counting, deleting and trimming entries.
//!
//! Reading is in [`stream_range`](crate::command::stream_range) and
//! [`stream_read`](crate::command::stream_read), what is about consumer groups in
//! [`stream_group`](crate::command::stream_group) and
//! [`stream_pending`](crate::command::stream_pending), deleting with an eye on groups in
//! [`stream_delete`](crate::command::stream_delete). What is logged never depends on a clock or on how
//! a stream lies in memory: an id that the server chose is there as a number, and what was trimmed
//! roughly is there exactly, and what references had to do with is there in words that servers before
//! Redis 8.2 know.

use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::spec::{
    Arity::{self, AtLeast, Exactly},
    Command, DataHandler, Effect, Flags, Flow, Group, Key, read, write,
};
use crate::command::stream_args::{BAD_ID, Exact, TrimOption, TrimParser, id_at, log_references};
use crate::data::stream::{Counts, IdText, References, Stream, StreamId, Trimmed};
use crate::keyspace::collection::Changed;
use crate::keyspace::unit::Event;

/// Commands on a stream's entries.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    writer("XADD", AtLeast(5), xadd)
        .flags(Flags::DENYOOM.union(Flags::FAST))
        .keys(&[Key::at(1)
            .rw()
            .update()
            .notes("UPDATE instead of INSERT because of the optional trimming feature")])
        .tips(&["nondeterministic_output"])
        .effect(Effect::Rewritten)
        .since("5.0.0")
        .cost("O(1), and O(N) for N entries that trimming takes out")
        .syntax(
            "key [NOMKSTREAM] [KEEPREF|DELREF|ACKED]:condition \
             [<MAXLEN|MINID>:strategy [=|~]:operator threshold:string \
             [LIMIT count]]:trim <*|id>:id_or_auto field value [field value ...]",
        )
        .summary("Adds an entry to a stream, which is made where it isn't there.")
        .history(&[
            ("6.2.0", "Takes NOMKSTREAM, MINID and LIMIT."),
            ("7.0.0", "Takes ids of the form `<ms>-*`."),
            ("8.2.0", "Takes KEEPREF, DELREF and ACKED."),
        ])
        .deviates(&[
            "ACKED counts an entry that trimming took out from among others as deleted \
             (`max-deleted-entry-id`), so that no group's lag is told wrongly",
            "no IDMP and IDMPAUTO of Redis 8.6",
        ]),
    reader("XLEN", Exactly(2), xlen)
        .flags(Flags::FAST)
        .keys(&[Key::at(1).ro()])
        .since("5.0.0")
        .syntax("key")
        .summary("Counts the entries of a stream."),
    writer("XDEL", AtLeast(3), xdel)
        .flags(Flags::FAST)
        .keys(&[Key::at(1).rw().delete()])
        .since("5.0.0")
        .cost("O(1) for each entry")
        .syntax("key id [id ...]")
        .summary("Deletes entries of a stream by their ids, and counts those that were there."),
    writer("XTRIM", AtLeast(4), xtrim)
        .keys(&[Key::at(1).rw().delete()])
        .tips(&["nondeterministic_output"])
        .effect(Effect::Rewritten)
        .since("5.0.0")
        .cost("O(N) for N entries taken out")
        .syntax(
            "key <<MAXLEN|MINID>:strategy [=|~]:operator threshold:string [LIMIT count] \
             [KEEPREF|DELREF|ACKED]:condition>:trim",
        )
        .summary("Takes the oldest entries out of a stream, and counts them.")
        .history(&[
            ("6.2.0", "Takes MINID and LIMIT."),
            ("8.2.0", "Takes KEEPREF, DELREF and ACKED."),
        ])
        .deviates(&["ACKED counts an entry that it took out from among others as deleted \
             (`max-deleted-entry-id`), so that no group's lag is told wrongly"]),
    writer("XSETID", AtLeast(3), xsetid)
        .flags(Flags::DENYOOM.union(Flags::FAST))
        .keys(&[Key::at(1).rw().update()])
        .since("5.0.0")
        .syntax(
            "key last-id [ENTRIESADDED entries_added:integer] [MAXDELETEDID max_deleted_entry_id]",
        )
        .summary("Sets the last id of a stream; for replication and the log.")
        .history(&[("7.0.0", "Takes ENTRIESADDED and MAXDELETEDID.")])
        .deviates(&["counts of entries end at 2^63 - 1, behind which upstream's are negative"]),
];

/// A row that writes.
pub(super) const fn writer(
    name: &'static str,
    arity: Arity,
    run: DataHandler,
) -> Command<DataHandler> {
    write(name, arity, run).group(Group::Stream)
}

/// A row that reads.
pub(super) const fn reader(
    name: &'static str,
    arity: Arity,
    run: DataHandler,
) -> Command<DataHandler> {
    read(name, arity, run).group(Group::Stream)
}

/// The id that XADD is given.
#[derive(Clone, Copy, Debug)]
enum NewId {
    /// `*`: by the clock.
    Auto,
    /// One that leaves nothing open, or only part of it.
    Given(IdText),
}

impl NewId {
    /// The id of the entry that comes behind `last`.
    fn behind(self, last: StreamId, now_ms: u64) -> Result<StreamId, CommandError> {
        const TOO_SMALL: CommandError = CommandError::text(
            "ERR The ID specified in XADD is equal or smaller than the target stream top item",
        );
        let id = match self {
            Self::Auto if now_ms > last.ms => StreamId { ms: now_ms, seq: 0 },
            Self::Auto => last.next().ok_or(TOO_SMALL)?,
            Self::Given(IdText::Whole(id)) => id,
            Self::Given(IdText::NextIn(ms)) if ms == last.ms => {
                StreamId { ms, seq: last.seq.checked_add(1).ok_or(TOO_SMALL)? }
            }
            Self::Given(IdText::Millisecond(ms) | IdText::NextIn(ms)) => StreamId { ms, seq: 0 },
        };
        if id > last { Ok(id) } else { Err(TOO_SMALL) }
    }

    /// Whether the words say all of it.
    fn is_whole(self) -> bool {
        matches!(self, Self::Given(IdText::Whole(_) | IdText::Millisecond(_)))
    }
}

/// XADD's arguments.
struct Addition {
    make: bool,
    trim: Option<TrimOption>,
    /// The argument that says what becomes of references.
    references_at: Option<usize>,
    id: NewId,
    id_at: usize,
}

impl Addition {
    fn parse(args: Args<'_>, replaying: bool) -> Result<Self, CommandError> {
        let mut trim = TrimParser::default();
        let (mut make, mut at) = (true, 2);
        let mut id = None;
        while at < args.len() {
            if args.at(at) == b"*" {
                id = Some(NewId::Auto);
                break;
            }
            match trim.option(args, at)? {
                0 if args.is(at, "NOMKSTREAM") => {
                    make = false;
                    at += 1;
                }
                0 => {
                    id = Some(NewId::Given(StreamId::parse(args.at(at)).ok_or(BAD_ID)?));
                    break;
                }
                taken => at += taken,
            }
        }
        let references_at = trim.references_at();
        let trim = trim.finish(replaying)?;
        let words = args.len().saturating_sub(at + 1);
        let Some(id) = id.filter(|_| words > 0 && words.is_multiple_of(2)) else {
            return Err(CommandError::Arity("xadd".into()));
        };
        let least = [IdText::Whole(StreamId::MIN), IdText::Millisecond(0)];
        if matches!(id, NewId::Given(id) if least.contains(&id)) {
            return Err(CommandError::text(
                "ERR The ID specified in XADD must be greater than 0-0",
            ));
        }
        Ok(Self { make, trim, references_at, id, id_at: at })
    }
}

/// What XADD did to the stream.
struct Added {
    id: StreamId,
    trimmed: Trimmed,
    /// Where it was trimmed roughly: to what.
    exact: Exact,
}

fn xadd(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let addition = Addition::parse(args, cx.replaying)?;
    let key = args.at(1);
    let trim = addition.trim.map(|option| (option, option.trim(cx)));
    let (thresholds, now_ms) = (&cx.limits.thresholds, cx.now.0.unsigned_abs());
    let add = |stream: &mut Stream| {
        let last = stream.counts().last_id;
        if last == StreamId::MAX {
            return Changed::nothing(Err(CommandError::text(
                "ERR The stream has exhausted the last possible ID, unable to add more items",
            )));
        }
        let id = match addition.id.behind(last, now_ms) {
            Ok(id) => id,
            Err(error) => return Changed::nothing(Err(error)),
        };
        if stream.push(id, args.from(addition.id_at + 1), thresholds).is_err() {
            let error = CommandError::text("ERR Elements are too large to be stored");
            return Changed::nothing(Err(error));
        }
        let mut added = Added { id, trimmed: Trimmed::default(), exact: Exact::default() };
        if let Some((option, trim)) = trim {
            added.trimmed = stream.trim(trim);
            if option.is_vague() {
                added.exact = option.exact(stream);
            }
        }
        Changed::count(1, Ok(added))
    };
    let mut db = cx.databases.db(cx.selected);
    let added = if addition.make {
        Some(db.edit(key, Event::XADD, add)?)
    } else {
        db.edit_existing(key, Event::XADD, add)?
    };
    let Some(added) = added.transpose()? else {
        cx.reply.null();
        return Ok(Flow::Done);
    };
    let id = added.id.text();
    cx.reply.bulk(id.as_bytes());
    let addition =
        Addition { trim: addition.trim.map(|trim| trim.after(&added.trimmed)), ..addition };
    log_addition(cx, args, &addition, id.as_bytes(), &added.exact);
    if added.trimmed.count > 0 {
        cx.db().announce(key, Event::XTRIM);
        log_references(cx, key, &added.trimmed);
        free(cx, added.trimmed);
    }
    Ok(Flow::Done)
}

/// Big pieces are freed on the background thread.
fn free(cx: &Cx<'_>, trimmed: Trimmed) {
    let bytes = trimmed.bytes();
    if let Some(garbage) = trimmed.garbage() {
        cx.databases.reclaimer.free(garbage, bytes);
    }
}

fn log_addition(cx: &mut Cx<'_>, args: Args<'_>, addition: &Addition, id: &[u8], exact: &Exact) {
    match addition.trim.filter(TrimOption::is_vague) {
        None if addition.references_at.is_some() => {
            let kept =
                args.from(0).enumerate().filter(|(at, _)| Some(*at) != addition.references_at);
            let words = kept.map(|(at, word)| if at == addition.id_at { id } else { word });
            cx.log(&words.collect::<Vec<_>>());
        }
        None if addition.id.is_whole() => cx.log_verbatim(),
        None => {
            let words = args.from(0).enumerate();
            cx.log_words(words.map(|(at, word)| if at == addition.id_at { id } else { word }));
        }
        Some(option) => {
            let words = args.from(0).enumerate().filter_map(|(at, word)| {
                let word = if at == addition.id_at { id } else { word };
                option.exact_word(at, word, exact)
            });
            cx.log(&words.collect::<Vec<_>>());
        }
    }
}

fn xlen(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let len = cx.db().read_as::<Stream>(args.at(1))?.map_or(0, |stream| stream.len());
    cx.reply.count(len);
    Ok(Flow::Done)
}

fn xdel(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let key = args.at(1);
    if cx.db().touch_as::<Stream>(key)?.is_none() {
        cx.reply.int(0);
        return Ok(Flow::Done);
    }
    let ids = (2..args.len()).map(|index| id_at(args, index)).collect::<Result<Vec<_>, _>>()?;
    let deleted = cx.db().edit_existing(key, Event::XDEL, |stream: &mut Stream| {
        let deleted = ids.iter().filter(|id| stream.delete(**id)).count();
        Changed::count(deleted, deleted)
    })?;
    cx.reply.count(deleted.unwrap_or(0));
    Ok(Flow::Done)
}

fn xtrim(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut parser = TrimParser::default();
    let mut at = 2;
    while at < args.len() {
        match parser.option(args, at)? {
            0 => return Err(CommandError::Syntax),
            taken => at += taken,
        }
    }
    let Some(option) = parser.finish(cx.replaying)? else {
        return Err(CommandError::text(
            "ERR syntax error, XTRIM must be called with a trimming strategy",
        ));
    };
    let (key, trim) = (args.at(1), option.trim(cx));
    let trimmed = cx.db().edit_existing(key, Event::XTRIM, |stream: &mut Stream| {
        let trimmed = stream.trim(trim);
        Changed::count(trimmed.count, (trimmed, option.exact(stream)))
    })?;
    let Some((trimmed, exact)) = trimmed else {
        cx.reply.int(0);
        return Ok(Flow::Done);
    };
    cx.reply.count(trimmed.count);
    if trimmed.count > 0 {
        let option = option.after(&trimmed);
        if trimmed.references == References::Acknowledged {
            // Which entries went is said below.
        } else if option.is_vague() {
            let words = args.from(0).enumerate();
            let words = words.filter_map(|(at, word)| option.exact_word(at, word, &exact));
            cx.log(&words.collect::<Vec<_>>());
        } else {
            cx.log_verbatim();
        }
        log_references(cx, key, &trimmed);
        free(cx, trimmed);
    }
    Ok(Flow::Done)
}

fn xsetid(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let last_id = id_at(args, 2)?;
    let (mut added, mut max_deleted) = (None, None);
    let mut at = 3;
    while at < args.len() {
        let more = at + 1 < args.len();
        if more && args.is(at, "ENTRIESADDED") {
            let number = u64::try_from(args.int(at + 1)?);
            added =
                Some(number.map_err(|_| CommandError::text("ERR entries_added must be positive"))?);
        } else if more && args.is(at, "MAXDELETEDID") {
            let id = id_at(args, at + 1)?;
            if last_id < id {
                return Err(CommandError::text(
                    "ERR The ID specified in XSETID is smaller than the provided \
                     max_deleted_entry_id",
                ));
            }
            max_deleted = Some(id);
        } else {
            return Err(CommandError::Syntax);
        }
        at += 2;
    }
    // Older ones allowed it, so it may be in a log.
    let checked = !cx.replaying;
    let set = |stream: &mut Stream| {
        let counts = stream.counts();
        if checked && last_id < counts.max_deleted {
            return Changed::nothing(Err(CommandError::text(
                "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
            )));
        }
        if stream.last_entry_id().is_some_and(|last| last_id < last) {
            return Changed::nothing(Err(CommandError::text(
                "ERR The ID specified in XSETID is smaller than the target stream top item",
            )));
        }
        if added.is_some_and(|added| added < stream.len() as u64) {
            return Changed::nothing(Err(CommandError::text(
                "ERR The entries_added specified in XSETID is smaller than the target stream length",
            )));
        }
        stream.set_counts(Counts {
            last_id,
            // As upstream, where 0-0 stands for none given.
            max_deleted: max_deleted
                .filter(|id| *id != StreamId::MIN)
                .unwrap_or(counts.max_deleted),
            added: added.unwrap_or(counts.added),
        });
        Changed::count(1, Ok(()))
    };
    let set = cx.db().edit_existing(args.at(1), Event::XSETID, set)?;
    set.ok_or(CommandError::NoSuchKey)??;
    cx.reply.ok();
    Ok(Flow::Done)
}
