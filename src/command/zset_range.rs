//! Ranges of sorted sets, by rank, score or bytes: answering, counting, storing and removing them.
//!
//! A range is first turned into ranks. The bytes of members only order those that have equal scores;
//! ranges by bytes are for sets whose scores are all the same.

use std::ops::Range;

use crate::base::text;
use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::spec::{
    Arity::{self, AtLeast, Exactly},
    Command, DataHandler, Flags, Flow, Key,
};
use crate::command::zset::{READ, reader, writer};
use crate::data::value::{NewValue, Object};
use crate::data::zset::{Iter, Zset};
use crate::keyspace::collection::Changed;
use crate::keyspace::databases::Expiry;
use crate::keyspace::unit::Event;
use crate::resp::reply::{Protocol, Reply};

/// Commands on ranges.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    ranging("ZRANGE", AtLeast(4), |cx, args| {
        range(cx, args, Request { first: 1, store: None, kind: None, reverse: None })
    })
    .since("1.2.0")
    .syntax("key start:string stop:string [BYSCORE|BYLEX] [REV] [LIMIT offset count] [WITHSCORES]")
    .summary("Replies with the members of a range by rank, score or bytes.")
    .history(&[("6.2.0", "Takes other kinds of ranges: `REV`, `BYSCORE`, `BYLEX`, `LIMIT`.")]),
    ranging("ZREVRANGE", AtLeast(4), |cx, args| answer(cx, args, Kind::Rank, true))
        .since("1.2.0")
        .syntax("key start:integer stop:integer [WITHSCORES]")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` argument")
        .summary("Replies with the members of a range by rank, the last one first."),
    ranging("ZRANGEBYSCORE", AtLeast(4), |cx, args| answer(cx, args, Kind::Score, false))
        .since("1.0.5")
        .syntax("key min:double max:double [WITHSCORES] [LIMIT offset count]")
        .deprecated("6.2.0", "`ZRANGE` with the `BYSCORE` argument")
        .summary("Replies with the members of a range by score.")
        .history(&[("2.0.0", "Replies with scores: `WITHSCORES`.")]),
    ranging("ZREVRANGEBYSCORE", AtLeast(4), |cx, args| answer(cx, args, Kind::Score, true))
        .since("2.2.0")
        .syntax("key max:double min:double [WITHSCORES] [LIMIT offset count]")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments")
        .summary("Replies with the members of a range by score, the last one first.")
        .history(&[("2.1.6", "Bounds can be left out: `(`.")]),
    ranging("ZRANGEBYLEX", AtLeast(4), |cx, args| answer(cx, args, Kind::Lex, false))
        .since("2.8.9")
        .syntax("key min max [LIMIT offset count]")
        .deprecated("6.2.0", "`ZRANGE` with the `BYLEX` argument")
        .summary("Replies with the members of a range by bytes, where all scores are the same."),
    ranging("ZREVRANGEBYLEX", AtLeast(4), |cx, args| answer(cx, args, Kind::Lex, true))
        .since("2.8.9")
        .syntax("key max min [LIMIT offset count]")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments")
        .summary("Replies with the members of a range by bytes, the last one first."),
    writer("ZRANGESTORE", AtLeast(5), |cx, args| {
        range(cx, args, Request { first: 2, store: Some(1), kind: None, reverse: None })
    })
    .flags(Flags::DENYOOM)
    .keys(&[Key::at(1).ow().update(), Key::at(2).ro().access()])
    .since("6.2.0")
    .cost("O(log(N)+M) for M members of the range")
    .syntax("dst:key src:key min max [BYSCORE|BYLEX] [REV] [LIMIT offset count]")
    .summary("Stores the members of a range."),
    counting("ZCOUNT", |cx, args| count(cx, args, Kind::Score))
        .since("2.0.0")
        .syntax("key min:double max:double")
        .summary("Counts the members of a range by score."),
    counting("ZLEXCOUNT", |cx, args| count(cx, args, Kind::Lex))
        .since("2.8.9")
        .summary("Counts the members of a range by bytes."),
    removing("ZREMRANGEBYRANK", |cx, args| remove(cx, args, Kind::Rank))
        .since("2.0.0")
        .syntax("key start:integer stop:integer")
        .summary("Removes the members of a range by rank; an empty set goes."),
    removing("ZREMRANGEBYSCORE", |cx, args| remove(cx, args, Kind::Score))
        .since("1.2.0")
        .syntax("key min:double max:double")
        .summary("Removes the members of a range by score; an empty set goes."),
    removing("ZREMRANGEBYLEX", |cx, args| remove(cx, args, Kind::Lex))
        .since("2.8.9")
        .syntax("key min max")
        .summary("Removes the members of a range by bytes; an empty set goes."),
];

const REMOVED: &[Key] = &[Key::at(1).rw().delete()];

const fn ranging(name: &'static str, arity: Arity, run: DataHandler) -> Command<DataHandler> {
    reader(name, arity, run).keys(READ).cost("O(log(N)+M) for M members of reply")
}

const fn counting(name: &'static str, run: DataHandler) -> Command<DataHandler> {
    reader(name, Exactly(4), run)
        .flags(Flags::FAST)
        .keys(READ)
        .cost("O(log(N))")
        .syntax("key min max")
}

const fn removing(name: &'static str, run: DataHandler) -> Command<DataHandler> {
    writer(name, Exactly(4), run).keys(REMOVED).cost("O(log(N)+M) for M members removed")
}

/// What a range's bounds are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rank,
    Score,
    Lex,
}

/// One bound, for a range that begins with it or ends with it.
#[derive(Clone, Copy, Debug)]
struct Bound<T> {
    value: T,
    excluded: bool,
}

/// A bound by bytes.
#[derive(Clone, Copy, Debug)]
enum Lex<'a> {
    First,
    Last,
    Member(&'a [u8]),
}

/// A range's bounds, the lower first.
#[derive(Clone, Copy, Debug)]
enum Bounds<'a> {
    Rank(i64, i64),
    Score(Bound<f64>, Bound<f64>),
    Lex(Bound<Lex<'a>>, Bound<Lex<'a>>),
}

impl<'a> Bounds<'a> {
    fn parse(args: Args<'a>, kind: Kind, low: usize, high: usize) -> Result<Self, CommandError> {
        Ok(match kind {
            Kind::Rank => Self::Rank(args.int(low)?, args.int(high)?),
            Kind::Score => {
                let wrong = CommandError::text("ERR min or max is not a float");
                let bound = |at| score_bound(args.at(at)).ok_or(wrong.clone());
                Self::Score(bound(low)?, bound(high)?)
            }
            Kind::Lex => {
                let wrong = CommandError::text("ERR min or max not valid string range item");
                let bound = |at| lex_bound(args.at(at)).ok_or(wrong.clone());
                Self::Lex(bound(low)?, bound(high)?)
            }
        })
    }

    /// The ranks that the bounds enclose. Bounds by rank count from the end where `reverse`.
    fn ranks(&self, zset: &Zset, reverse: bool) -> Range<usize> {
        let len = zset.len();
        match *self {
            Self::Rank(start, stop) => {
                let from_front =
                    |index: i64| if index < 0 { index.saturating_add(len as i64) } else { index };
                let start = from_front(start).max(0) as usize;
                let end = from_front(stop).saturating_add(1).clamp(0, len as i64) as usize;
                if start >= end {
                    0..0
                } else if reverse {
                    len - end..len - start
                } else {
                    start..end
                }
            }
            Self::Score(low, high) => {
                let start = zset.position_by_score(|score| {
                    score < low.value || low.excluded && score == low.value
                });
                let end = zset.position_by_score(|score| {
                    score < high.value || !high.excluded && score == high.value
                });
                start..end.max(start)
            }
            Self::Lex(low, high) => {
                let start = lex_position(zset, low, low.excluded);
                let end = lex_position(zset, high, !high.excluded);
                start..end.max(start)
            }
        }
    }
}

/// How many members come before a bound, those that are equal to it counted or not.
fn lex_position(zset: &Zset, bound: Bound<Lex<'_>>, with_equal: bool) -> usize {
    match bound.value {
        Lex::First => 0,
        Lex::Last => zset.len(),
        Lex::Member(wanted) => zset.position(|_, member| {
            member.with_bytes(|bytes| bytes < wanted || with_equal && bytes == wanted)
        }),
    }
}

fn score_bound(bytes: &[u8]) -> Option<Bound<f64>> {
    let (excluded, bytes) = match bytes {
        [b'(', rest @ ..] => (true, rest),
        all => (false, all),
    };
    Some(Bound { value: lenient_float(bytes)?, excluded })
}

/// A number as C's `strtod` reads it, which knows no overflow here: spaces may stand in front, nothing
/// is zero, and a zero byte ends the text.
fn lenient_float(bytes: &[u8]) -> Option<f64> {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Some(0.0);
    }
    let spaces = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
    let digits = &text[spaces..];
    text::parse_f64(digits).or_else(|| {
        let plain = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
        let number: f64 = str::from_utf8(digits).ok()?.parse().ok()?;
        digits.iter().all(plain).then_some(number)
    })
}

fn lex_bound(bytes: &[u8]) -> Option<Bound<Lex<'_>>> {
    let (value, excluded) = match bytes {
        [b'-'] => (Lex::First, true),
        [b'+'] => (Lex::Last, true),
        [b'(', member @ ..] => (Lex::Member(member), true),
        [b'[', member @ ..] => (Lex::Member(member), false),
        _ => return None,
    };
    Some(Bound { value, excluded })
}

/// What a command says of the range that it wants, beside its arguments.
#[derive(Clone, Copy, Debug)]
struct Request {
    /// The argument that names the set; its bounds follow.
    first: usize,
    /// The argument that names where it's stored.
    store: Option<usize>,
    /// The kind and direction, where the command's name tells them.
    kind: Option<Kind>,
    reverse: Option<bool>,
}

fn answer(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    kind: Kind,
    reverse: bool,
) -> Result<Flow, CommandError> {
    range(cx, args, Request { first: 1, store: None, kind: Some(kind), reverse: Some(reverse) })
}

/// The options behind a range's bounds.
#[derive(Clone, Copy, Debug)]
struct Options {
    kind: Kind,
    reverse: bool,
    with_scores: bool,
    offset: i64,
    count: i64,
}

impl Options {
    fn parse(args: Args<'_>, request: Request) -> Result<Self, CommandError> {
        let (mut kind, mut reverse) = (request.kind, request.reverse);
        let (mut with_scores, mut offset, mut count) = (false, 0, -1);
        let mut at = request.first + 3;
        while at < args.len() {
            if request.store.is_none() && args.is(at, "WITHSCORES") {
                with_scores = true;
            } else if args.is(at, "LIMIT") && at + 2 < args.len() {
                (offset, count) = (args.int(at + 1)?, args.int(at + 2)?);
                at += 2;
            } else if reverse.is_none() && args.is(at, "REV") {
                reverse = Some(true);
            } else if kind.is_none() && args.is(at, "BYLEX") {
                kind = Some(Kind::Lex);
            } else if kind.is_none() && args.is(at, "BYSCORE") {
                kind = Some(Kind::Score);
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        let kind = kind.unwrap_or(Kind::Rank);
        if count != -1 && kind == Kind::Rank {
            return Err(CommandError::text(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or \
                 BYLEX",
            ));
        }
        if with_scores && kind == Kind::Lex {
            return Err(CommandError::text(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        Ok(Self { kind, reverse: reverse.unwrap_or(false), with_scores, offset, count })
    }

    /// The part of a range that LIMIT leaves.
    fn limited(&self, ranks: Range<usize>) -> Range<usize> {
        if self.kind == Kind::Rank {
            return ranks;
        }
        let Ok(offset) = usize::try_from(self.offset) else { return 0..0 };
        let len = ranks.len().saturating_sub(offset);
        let count = usize::try_from(self.count).unwrap_or(usize::MAX).min(len);
        if count == 0 {
            return 0..0;
        }
        if self.reverse {
            ranks.end - offset - count..ranks.end - offset
        } else {
            ranks.start + offset..ranks.start + offset + count
        }
    }
}

fn range(cx: &mut Cx<'_>, args: Args<'_>, request: Request) -> Result<Flow, CommandError> {
    let options = Options::parse(args, request)?;
    let (mut low, mut high) = (request.first + 1, request.first + 2);
    if options.reverse && options.kind != Kind::Rank {
        (low, high) = (high, low);
    }
    let bounds = Bounds::parse(args, options.kind, low, high)?;
    let thresholds = &cx.limits.thresholds;
    let mut db = cx.databases.db(cx.selected);
    let key = args.at(request.first);
    let zset = db.read_as::<Zset>(key)?;
    let ranks =
        zset.as_ref().map_or(0..0, |zset| options.limited(bounds.ranks(zset, options.reverse)));
    let Some(destination) = request.store else {
        let count = ranks.len();
        let members = zset.as_ref().map(|zset| members_of(zset, ranks, options.reverse));
        reply_members(&mut cx.reply, members.into_iter().flatten(), count, options.with_scores);
        return Ok(Flow::Done);
    };
    let mut result = Zset::default();
    for (member, score) in
        zset.iter().flat_map(|zset| zset.iter_from(ranks.start)).take(ranks.len())
    {
        member.with_bytes(|bytes| result.put(bytes, score, thresholds));
    }
    store(cx, args.at(destination), result, Event::ZRANGESTORE);
    Ok(Flow::Done)
}

/// Puts a result in the place of what a key held, and replies with its length; nothing leaves nothing.
pub(super) fn store(cx: &mut Cx<'_>, destination: &[u8], result: Zset, event: Event) {
    let len = result.len();
    if len == 0 {
        let elsewhere = cx.databases.policy.lazy_server_del;
        cx.db().remove(destination, elsewhere, Event::DEL);
    } else {
        cx.db().put(destination, NewValue::Object(Object::Zset(result)), Expiry::Clear, event);
    }
    cx.reply.count(len);
}

fn members_of(zset: &Zset, ranks: Range<usize>, reverse: bool) -> std::iter::Take<Iter<'_>> {
    let count = ranks.len();
    if reverse {
        zset.iter_back_from(ranks.end.saturating_sub(1)).take(count)
    } else {
        zset.iter_from(ranks.start).take(count)
    }
}

/// Replies with members, with or without their scores: in RESP3 pairs are arrays of their own.
pub(super) fn reply_members<'a>(
    reply: &mut Reply<'_>,
    members: impl Iterator<Item = (crate::data::element::Element<'a>, f64)>,
    count: usize,
    with_scores: bool,
) {
    let nested = with_scores && reply.protocol() == Protocol::Resp3;
    reply.array(if with_scores && !nested { 2 * count } else { count });
    for (member, score) in members {
        if nested {
            reply.array(2);
        }
        reply.element(member);
        if with_scores {
            reply.double(score);
        }
    }
}

fn count(cx: &mut Cx<'_>, args: Args<'_>, kind: Kind) -> Result<Flow, CommandError> {
    let bounds = Bounds::parse(args, kind, 2, 3)?;
    let mut db = cx.databases.db(cx.selected);
    let count = db.read_as::<Zset>(args.at(1))?.map_or(0, |zset| bounds.ranks(&zset, false).len());
    cx.reply.count(count);
    Ok(Flow::Done)
}

fn remove(cx: &mut Cx<'_>, args: Args<'_>, kind: Kind) -> Result<Flow, CommandError> {
    let bounds = Bounds::parse(args, kind, 2, 3)?;
    let event = match kind {
        Kind::Rank => Event::ZREMRANGEBYRANK,
        Kind::Score => Event::ZREMRANGEBYSCORE,
        Kind::Lex => Event::ZREMRANGEBYLEX,
    };
    let removed = cx.db().edit_existing(args.at(1), event, |zset: &mut Zset| {
        let ranks = bounds.ranks(zset, false);
        let removed = zset.remove_range(ranks.start, ranks.len());
        Changed::count(removed, removed)
    })?;
    cx.reply.count(removed.unwrap_or(0));
    Ok(Flow::Done)
}
