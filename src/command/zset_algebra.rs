//! Unions, intersections and differences of sorted sets, answered or stored. Plain sets take part,
//! too, as if all their members had the score 1.

use std::collections::HashMap;
use std::ops::Range;

use crate::base::text;
use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::spec::{Arity::AtLeast, Command, DataHandler, Flags, Flow, Key};
use crate::command::zset::{reader, writer};
use crate::command::zset_range::{reply_members, store};
use crate::data::element::Element;
use crate::data::index::Room;
use crate::data::set::Set;
use crate::data::thresholds::Thresholds;
use crate::data::value::{Object, ValueRef};
use crate::data::zset::Zset;
use crate::keyspace::databases::{Databases, DbIndex};
use crate::keyspace::unit::Event;

/// Commands on several sorted sets at once.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    answering("ZUNION", |cx, args| answer(cx, args, Operation::Union, "zunion"))
        .cost("O(N+M*log(M)) for N members of all the sets and M of the result")
        .syntax(
            "numkeys key [key ...] [WEIGHTS weight:integer [weight:integer ...]] [AGGREGATE <SUM|MIN|MAX|COUNT>] \
             [WITHSCORES]",
        )
        .summary("Replies with what is in any of the sets."),
    answering("ZINTER", |cx, args| answer(cx, args, Operation::Intersection, "zinter"))
        .cost("O(N*K+M*log(M)) for K sets, the smallest of N members, and M of the result")
        .syntax(
            "numkeys key [key ...] [WEIGHTS weight:integer [weight:integer ...]] [AGGREGATE <SUM|MIN|MAX|COUNT>] \
             [WITHSCORES]",
        )
        .summary("Replies with what is in all of the sets."),
    answering("ZDIFF", |cx, args| answer(cx, args, Operation::Difference, "zdiff"))
        .cost("O(N+M*log(M)) for N members of all the sets and M of the result")
        .syntax("numkeys key [key ...] [WITHSCORES]")
        .summary("Replies with what is in the first of the sets and in no other."),
    storing("ZUNIONSTORE", |cx, args| keep(cx, args, Operation::Union, "zunionstore"))
        .since("2.0.0")
        .cost("O(N+M*log(M)) for N members of all the sets and M of the result")
        .syntax(
            "destination numkeys key [key ...] [WEIGHTS weight:integer [weight:integer ...]] \
             [AGGREGATE <SUM|MIN|MAX|COUNT>]",
        )
        .summary("Stores what is in any of the sets."),
    storing("ZINTERSTORE", |cx, args| keep(cx, args, Operation::Intersection, "zinterstore"))
        .since("2.0.0")
        .cost("O(N*K+M*log(M)) for K sets, the smallest of N members, and M of the result")
        .syntax(
            "destination numkeys key [key ...] [WEIGHTS weight:integer [weight:integer ...]] \
             [AGGREGATE <SUM|MIN|MAX|COUNT>]",
        )
        .summary("Stores what is in all of the sets."),
    storing("ZDIFFSTORE", |cx, args| keep(cx, args, Operation::Difference, "zdiffstore"))
        .since("6.2.0")
        .cost("O(N+M*log(M)) for N members of all the sets and M of the result")
        .syntax("destination numkeys key [key ...]")
        .summary("Stores what is in the first of the sets and in no other."),
    reader("ZINTERCARD", AtLeast(3), zintercard)
        .keys(COUNTED)
        .since("7.0.0")
        .cost("O(N*K) for K sets, the smallest of N members")
        .syntax("numkeys key [key ...] [LIMIT limit:integer]")
        .summary("Counts what is in all of the sets."),
];

const COUNTED: &[Key] = &[Key::at(1).counted(0, 1, 1).ro().access()];
const STORED: &[Key] = &[Key::at(1).ow().update(), Key::at(2).counted(0, 1, 1).ro().access()];

const fn answering(name: &'static str, run: DataHandler) -> Command<DataHandler> {
    reader(name, AtLeast(3), run).keys(COUNTED).since("6.2.0")
}

const fn storing(name: &'static str, run: DataHandler) -> Command<DataHandler> {
    writer(name, AtLeast(4), run).flags(Flags::DENYOOM).keys(STORED)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

impl Operation {
    const fn event(self) -> Event {
        match self {
            Self::Union => Event::ZUNIONSTORE,
            Self::Intersection => Event::ZINTERSTORE,
            Self::Difference => Event::ZDIFFSTORE,
        }
    }
}

/// How scores of one member come together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Aggregate {
    #[default]
    Sum,
    Min,
    Max,
    /// The sum of the weights (Redis 8.8).
    Count,
}

impl Aggregate {
    /// What a set brings in with a member; it may be no number.
    fn weigh(self, score: f64, weight: f64) -> f64 {
        if self == Self::Count { weight } else { score * weight }
    }

    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Sum | Self::Count => number(a + b),
            // Of a zero of either sign the first stays.
            Self::Min => {
                if b < a {
                    b
                } else {
                    a
                }
            }
            Self::Max => {
                if b > a {
                    b
                } else {
                    a
                }
            }
        }
    }
}

/// What is no number counts as zero: infinities of both signs, or one times zero.
fn number(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// A set of either kind.
#[derive(Clone, Copy)]
enum Source<'a> {
    Zset(&'a Zset),
    Set(&'a Set),
    Nothing,
}

impl<'a> Source<'a> {
    fn len(self) -> usize {
        match self {
            Self::Zset(zset) => zset.len(),
            Self::Set(set) => set.len(),
            Self::Nothing => 0,
        }
    }

    fn score(self, member: Element<'_>) -> Option<f64> {
        match self {
            Self::Zset(zset) => member.with_bytes(|bytes| zset.score(bytes)),
            Self::Set(set) => set.has(member).then_some(1.0),
            Self::Nothing => None,
        }
    }

    fn for_each(self, mut each: impl FnMut(Element<'a>, f64)) {
        match self {
            Self::Zset(zset) => zset.iter().for_each(|(member, score)| each(member, score)),
            Self::Set(set) => set.iter().for_each(|member| each(member, 1.0)),
            Self::Nothing => {}
        }
    }
}

/// What a command wants, beside what it does with the result.
#[derive(Debug)]
struct Request {
    keys: Range<usize>,
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    /// Where counting stops; 0 for never.
    limit: usize,
}

/// What becomes of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Answer,
    Store,
    Count,
}

impl Request {
    /// Reads `numkeys key [key ...]` from an argument on and what may follow.
    fn parse(
        cx: &mut Cx<'_>,
        args: Args<'_>,
        first: usize,
        operation: Operation,
        (name, purpose): (&str, Purpose),
    ) -> Result<Self, CommandError> {
        let count = args.int(first)?;
        if count < 1 {
            return Err(CommandError::owned(format!(
                "ERR at least 1 input key is needed for '{name}' command"
            )));
        }
        let end = usize::try_from(count).unwrap_or(usize::MAX).saturating_add(first + 1);
        if end > args.len() {
            return Err(CommandError::Syntax);
        }
        let mut request = Self {
            keys: first + 1..end,
            weights: vec![1.0; end - first - 1],
            aggregate: Aggregate::default(),
            with_scores: false,
            limit: 0,
        };
        check_types(cx, args, request.keys.clone())?;
        let mut at = end;
        while at < args.len() {
            let left = args.len() - at - 1;
            let weighs = operation != Operation::Difference && purpose != Purpose::Count;
            if weighs && args.is(at, "WEIGHTS") && left >= request.keys.len() {
                for (index, weight) in request.weights.iter_mut().enumerate() {
                    *weight = text::parse_f64(args.at(at + 1 + index))
                        .ok_or(CommandError::text("ERR weight value is not a float"))?;
                }
                at += request.keys.len();
            } else if weighs && args.is(at, "AGGREGATE") && left >= 1 {
                at += 1;
                request.aggregate = match () {
                    () if args.is(at, "SUM") => Aggregate::Sum,
                    () if args.is(at, "MIN") => Aggregate::Min,
                    () if args.is(at, "MAX") => Aggregate::Max,
                    () if args.is(at, "COUNT") => Aggregate::Count,
                    () => return Err(CommandError::Syntax),
                };
            } else if purpose == Purpose::Answer && args.is(at, "WITHSCORES") {
                request.with_scores = true;
            } else if purpose == Purpose::Count && args.is(at, "LIMIT") && left >= 1 {
                at += 1;
                request.limit = text::parse_i64(args.at(at))
                    .and_then(|limit| usize::try_from(limit).ok())
                    .ok_or(CommandError::text("ERR LIMIT can't be negative"))?;
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        Ok(request)
    }
}

/// All keys hold sets of either kind, or nothing.
fn check_types(cx: &mut Cx<'_>, args: Args<'_>, keys: Range<usize>) -> Result<(), CommandError> {
    for index in keys {
        if let Some(entry) = cx.db().read(args.at(index)) {
            match entry.value() {
                ValueRef::Object(object)
                    if matches!(&*object, Object::Zset(_) | Object::Set(_)) => {}
                _ => return Err(CommandError::WrongType),
            }
        }
    }
    Ok(())
}

/// Hands the sets at some keys, whose types were looked at, to a closure.
fn with_sources<R>(
    databases: &Databases,
    db: DbIndex,
    args: Args<'_>,
    keys: Range<usize>,
    run: impl FnOnce(&[Source<'_>]) -> R,
) -> R {
    let values: Vec<_> = keys.map(|index| databases.value(db, args.at(index))).collect();
    let sources: Vec<Source<'_>> = values
        .iter()
        .map(|value| match value {
            Some(ValueRef::Object(object)) => match &**object {
                Object::Zset(zset) => Source::Zset(zset),
                Object::Set(set) => Source::Set(set),
                _ => Source::Nothing,
            },
            _ => Source::Nothing,
        })
        .collect();
    run(&sources)
}

type Scores = HashMap<Vec<u8>, f64, ahash::RandomState>;

/// Members and scores of the result, in no order.
fn combine(sources: &[Source<'_>], request: &Request, operation: Operation) -> Scores {
    let mut result = Scores::default();
    // The order in which scores are added up shows in their last digits: smallest set first.
    let mut weighed: Vec<(Source<'_>, f64)> =
        sources.iter().copied().zip(request.weights.iter().copied()).collect();
    if operation != Operation::Difference {
        weighed.sort_by_key(|(source, _)| source.len());
    }
    let Some(((first, weight), others)) = weighed.split_first() else { return result };
    match operation {
        Operation::Union => {
            for (source, weight) in &weighed {
                source.for_each(|member, score| {
                    let score = number(request.aggregate.weigh(score, *weight));
                    let known = result.entry(member.to_vec());
                    known
                        .and_modify(|sum| *sum = request.aggregate.of(*sum, score))
                        .or_insert(score);
                });
            }
        }
        Operation::Intersection => first.for_each(|member, score| {
            let mut sum = number(request.aggregate.weigh(score, *weight));
            for (other, weight) in others {
                let Some(score) = other.score(member) else { return };
                // Upstream looks whether it is a number only behind the sum, which is zero then.
                sum = request.aggregate.of(sum, request.aggregate.weigh(score, *weight));
            }
            result.insert(member.to_vec(), sum);
        }),
        Operation::Difference => first.for_each(|member, score| {
            if others.iter().all(|(other, _)| other.score(member).is_none()) {
                result.insert(member.to_vec(), score);
            }
        }),
    }
    result
}

/// The result in the order of a sorted set.
fn in_order(scores: Scores) -> Vec<(f64, Vec<u8>)> {
    let mut members: Vec<(f64, Vec<u8>)> =
        scores.into_iter().map(|(member, score)| (score, member)).collect();
    members.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    members
}

/// The result as a sorted set, in the form that suits it.
fn sorted(scores: Scores, thresholds: &Thresholds, room: Room) -> Result<Zset, CommandError> {
    let longest = scores.keys().map(Vec::len).max().unwrap_or(0);
    let mut zset = Zset::for_members(scores.len(), longest, thresholds);
    for (score, member) in in_order(scores) {
        if zset.is_full(room) {
            return Err(CommandError::CollectionFull);
        }
        zset.put(&member, score, thresholds);
    }
    Ok(zset)
}

fn answer(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    operation: Operation,
    name: &'static str,
) -> Result<Flow, CommandError> {
    let request = Request::parse(cx, args, 1, operation, (name, Purpose::Answer))?;
    let keys = request.keys.clone();
    let scores = with_sources(cx.databases, cx.selected, args, keys, |sources| {
        combine(sources, &request, operation)
    });
    let members = in_order(scores);
    let pairs = members.iter().map(|(score, member)| (Element::Bytes(member), *score));
    reply_members(&mut cx.reply, pairs, members.len(), request.with_scores);
    Ok(Flow::Done)
}

fn keep(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    operation: Operation,
    name: &'static str,
) -> Result<Flow, CommandError> {
    let request = Request::parse(cx, args, 2, operation, (name, Purpose::Store))?;
    let keys = request.keys.clone();
    let scores = with_sources(cx.databases, cx.selected, args, keys, |sources| {
        combine(sources, &request, operation)
    });
    let zset = sorted(scores, &cx.limits.thresholds, cx.databases.room)?;
    store(cx, args.at(1), zset, operation.event());
    Ok(Flow::Done)
}

fn zintercard(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let name = ("zintercard", Purpose::Count);
    let request = Request::parse(cx, args, 1, Operation::Intersection, name)?;
    let limit = request.limit;
    let keys = request.keys.clone();
    let count = with_sources(cx.databases, cx.selected, args, keys, |sources| {
        let mut sources = sources.to_vec();
        sources.sort_by_key(|source| source.len());
        let Some((first, others)) = sources.split_first() else { return 0 };
        let mut count = 0;
        first.for_each(|member, _| {
            let wanted = limit == 0 || count < limit;
            if wanted && others.iter().all(|other| other.score(member).is_some()) {
                count += 1;
            }
        });
        count
    });
    cx.reply.count(count);
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use crate::command::generic_tests::World;

    #[test]
    fn sets_with_a_member_are_counted() {
        let mut world = World::new();
        for line in ["ZADD a 5 m -inf n", "ZADD b 7 m", "SADD c m o"] {
            world.run(line);
        }
        for (command, weights, scores) in [
            ("ZINTER", "", "*2|$1|m|$1|3"),
            ("ZUNION", "", "*6|$1|n|$1|1|$1|o|$1|1|$1|m|$1|3"),
            ("ZUNION", "WEIGHTS 2 0.5 -1", "*6|$1|o|$2|-1|$1|m|$3|1.5|$1|n|$1|2"),
        ] {
            let line = format!("{command} 3 a b c {weights} AGGREGATE COUNT WITHSCORES");
            assert_eq!(world.run(&line.replace("  ", " ")), scores, "{line}");
        }
    }

    /// Zero times infinity in an intersection: it ends the sum, where it counted as zero before, and
    /// changes neither a minimum nor a maximum.
    #[test]
    fn what_is_no_number_ends_the_sum_of_an_intersection() {
        let mut world = World::new();
        world.run("ZADD a 5 m");
        world.run("ZADD b inf m inf n");
        for (command, weights, aggregate, score) in [
            ("ZINTER", "1 0", "SUM", "$1|0"),
            ("ZINTER", "1 0", "MIN", "$1|5"),
            ("ZINTER", "-1 0", "MAX", "$2|-5"),
            ("ZINTER", "0 1", "SUM", "$3|inf"),
            ("ZUNION", "1 0", "SUM", "$1|5"),
        ] {
            let options = format!("WEIGHTS {weights} AGGREGATE {aggregate} WITHSCORES");
            let reply = world.run(&format!("{command} 2 a b {options}"));
            assert!(reply.contains(&format!("$1|m|{score}")), "{command} {options}: {reply}");
        }
    }
}
