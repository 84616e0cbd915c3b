//! Taking the first or last members out of sorted sets, or waiting until there are some. What is
//! logged is always the command that doesn't wait.

use std::ops::Range;

use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::list::int_within;
use crate::command::scan;
use crate::command::spec::{Arity::AtLeast, Command, DataHandler, Effect, Flags, Flow, Key};
use crate::command::wait::{self, NullReply, Wait};
use crate::command::zset::writer;
use crate::data::value::Type;
use crate::data::zset::Zset;
use crate::keyspace::collection::Changed;
use crate::keyspace::unit::Event;
use crate::resp::reply::Protocol;

/// Commands that take members out.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    popper("ZPOPMIN", |cx, args| pop(cx, args, End::Least))
        .summary("Takes the members with the lowest scores out of a sorted set."),
    popper("ZPOPMAX", |cx, args| pop(cx, args, End::Greatest))
        .summary("Takes the members with the highest scores out of a sorted set."),
    writer("ZMPOP", AtLeast(4), zmpop)
        .keys(&[Key::at(1).counted(0, 1, 1).rw().access().delete()])
        .effect(Effect::Rewritten)
        .since("7.0.0")
        .cost("O(N+M*log(L)) for N keys and M members of a set of L")
        .syntax("numkeys key [key ...] <MIN|MAX> [COUNT count]")
        .summary("Takes members out of the first of several sorted sets that has any."),
    waiter("BZPOPMIN", |cx, args| pop_or_wait(cx, args, End::Least))
        .summary("Takes the member with the lowest score out of a set, or waits for one."),
    waiter("BZPOPMAX", |cx, args| pop_or_wait(cx, args, End::Greatest))
        .summary("Takes the member with the highest score out of a set, or waits for one."),
    writer("BZMPOP", AtLeast(5), bzmpop)
        .flags(Flags::BLOCKING)
        .keys(&[Key::at(2).counted(0, 1, 1).rw().access().delete()])
        .effect(Effect::Rewritten)
        .since("7.0.0")
        .cost("O(N+M*log(L)) for N keys and M members of a set of L")
        .syntax("timeout:double numkeys key [key ...] <MIN|MAX> [COUNT count]")
        .summary("Takes members out of the first set that has any, or waits for some."),
];

const TAKEN: &[Key] = &[Key::at(1).rw().access().delete()];
/// All arguments but the last.
const WAITED: &[Key] = &[Key::at(1).range(-2, 1).rw().access().delete()];

const fn popper(name: &'static str, run: DataHandler) -> Command<DataHandler> {
    writer(name, AtLeast(2), run)
        .flags(Flags::FAST)
        .keys(TAKEN)
        .since("5.0.0")
        .cost("O(M*log(N)) for M members of a set of N")
        .syntax("key [count]")
}

const fn waiter(name: &'static str, run: DataHandler) -> Command<DataHandler> {
    writer(name, AtLeast(3), run)
        .flags(Flags::BLOCKING.union(Flags::FAST))
        .keys(WAITED)
        .effect(Effect::Rewritten)
        .since("5.0.0")
        .cost("O(log(N))")
        .syntax("key [key ...] timeout:double")
        .history(&[("6.0.0", "The timeout may have a fraction.")])
}

/// Which members are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Least,
    Greatest,
}

impl End {
    const fn event(self) -> Event {
        match self {
            Self::Least => Event::ZPOPMIN,
            Self::Greatest => Event::ZPOPMAX,
        }
    }

    const fn command(self) -> &'static [u8] {
        match self {
            Self::Least => b"ZPOPMIN",
            Self::Greatest => b"ZPOPMAX",
        }
    }

    /// The end that an argument names.
    fn at(args: Args<'_>, index: usize) -> Result<Self, CommandError> {
        if args.is(index, "MIN") {
            Ok(Self::Least)
        } else if args.is(index, "MAX") {
            Ok(Self::Greatest)
        } else {
            Err(CommandError::Syntax)
        }
    }
}

/// How members and scores are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// One after the other, with a head before them.
    Flat,
    /// Arrays of their own, with a head before them.
    Nested,
    /// One after the other, as parts of an array that has begun.
    Bare,
}

/// Takes up to `count` members out and replies with them; says how many, and nothing where there is
/// no set.
fn take(
    cx: &mut Cx<'_>,
    key: &[u8],
    end: End,
    count: usize,
    form: Form,
) -> Result<Option<usize>, CommandError> {
    let reply = &mut cx.reply;
    let taken =
        cx.databases.db(cx.selected).edit_existing(key, end.event(), |zset: &mut Zset| {
            let len = zset.len();
            let count = count.min(len);
            match form {
                Form::Flat => reply.array(2 * count),
                Form::Nested => reply.array(count),
                Form::Bare => {}
            }
            let members = match end {
                End::Least => zset.iter_from(0),
                End::Greatest => zset.iter_back_from(len - 1),
            };
            for (member, score) in members.take(count) {
                if form == Form::Nested {
                    reply.array(2);
                }
                reply.element(member);
                reply.double(score);
            }
            zset.remove_range(if end == End::Least { 0 } else { len - count }, count);
            Changed::count(count, count)
        })?;
    Ok(taken)
}

fn pop(cx: &mut Cx<'_>, args: Args<'_>, end: End) -> Result<Flow, CommandError> {
    let count = match args.len() {
        2 => 1,
        3 => scan::positive_count(args, 2)?,
        _ => return Err(CommandError::Syntax),
    };
    let nested = args.len() == 3 && cx.reply.protocol() == Protocol::Resp3;
    let form = if nested { Form::Nested } else { Form::Flat };
    if take(cx, args.at(1), end, count, form)?.is_none() {
        cx.reply.array(0);
    }
    Ok(Flow::Done)
}

fn pop_or_wait(cx: &mut Cx<'_>, args: Args<'_>, end: End) -> Result<Flow, CommandError> {
    let last = args.len() - 1;
    let timeout_ms = wait::timeout(args, last)?;
    for key in args.from(1).take(last - 1) {
        if cx.db().touch_as::<Zset>(key)?.is_none() {
            continue;
        }
        cx.reply.array(3);
        cx.reply.bulk(key);
        take(cx, key, end, 1, Form::Bare)?;
        cx.log(&[end.command(), key]);
        return Ok(Flow::Done);
    }
    let on_timeout = NullReply::Array;
    Ok(Flow::Block(Wait::for_value(Type::Zset, 1..last, timeout_ms, on_timeout)))
}

/// What ZMPOP and BZMPOP are to take.
struct TakeSome {
    keys: Range<usize>,
    end: End,
    count: usize,
}

impl TakeSome {
    /// Reads `numkeys key [key ...] MIN|MAX [COUNT count]` from an argument on.
    fn parse(args: Args<'_>, first: usize) -> Result<Self, CommandError> {
        const NO_KEYS: &str = "ERR numkeys should be greater than 0";
        const NO_COUNT: &str = "ERR count should be greater than 0";
        let keys = int_within(args, first, 1..=i64::MAX, Some(NO_KEYS))? as usize;
        let after = (first + 1).saturating_add(keys);
        if after >= args.len() {
            return Err(CommandError::Syntax);
        }
        let end = End::at(args, after)?;
        let mut count = None;
        let mut index = after + 1;
        while index < args.len() {
            if count.is_some() || !args.is(index, "COUNT") || index + 1 == args.len() {
                return Err(CommandError::Syntax);
            }
            count = Some(int_within(args, index + 1, 1..=i64::MAX, Some(NO_COUNT))? as usize);
            index += 2;
        }
        Ok(Self { keys: first + 1..after, end, count: count.unwrap_or(1) })
    }

    /// Takes members from the first set there is, replies with its key and them, and logs what that
    /// amounts to; false, and no reply, where there is none.
    fn run(&self, cx: &mut Cx<'_>, args: Args<'_>) -> Result<bool, CommandError> {
        for key in self.keys.clone().map(|index| args.at(index)) {
            if cx.db().touch_as::<Zset>(key)?.is_none() {
                continue;
            }
            cx.reply.array(2);
            cx.reply.bulk(key);
            let taken = take(cx, key, self.end, self.count, Form::Nested)?.unwrap_or(0);
            let mut digits = itoa::Buffer::new();
            cx.log(&[self.end.command(), key, digits.format(taken).as_bytes()]);
            return Ok(true);
        }
        Ok(false)
    }
}

fn zmpop(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    if !TakeSome::parse(args, 1)?.run(cx, args)? {
        cx.reply.null_array();
    }
    Ok(Flow::Done)
}

fn bzmpop(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let take = TakeSome::parse(args, 2)?;
    let timeout_ms = wait::timeout(args, 1)?;
    if take.run(cx, args)? {
        return Ok(Flow::Done);
    }
    let on_timeout = NullReply::Array;
    Ok(Flow::Block(Wait::for_value(Type::Zset, take.keys, timeout_ms, on_timeout)))
}
