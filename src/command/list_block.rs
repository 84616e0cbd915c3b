//! Lists: taking and moving elements, or waiting until there are some. What is logged is always the
//! command that doesn't wait.

use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::list::{pop_event, writer};
use crate::command::list_move::{MOVED, TakeSome, end_at, move_element, pop_name};
use crate::command::spec::{
    Arity::{self, AtLeast, Exactly},
    Command, DataHandler, Effect, Flags, Flow, Key,
};
use crate::command::wait::{self, NullReply, Wait};
use crate::data::list::{End, List};
use crate::data::value::Type;
use crate::keyspace::collection::Changed;

/// Commands that wait for elements.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    waiter("BLPOP", AtLeast(3), |cx, args| pop_or_wait(cx, args, End::Front))
        .keys(WAITED)
        .since("2.0.0")
        .cost("O(N) for N keys")
        .syntax("key [key ...] timeout:double")
        .summary("Takes the first element of the first list that has any, or waits for one.")
        .history(TIMEOUT_HISTORY),
    waiter("BRPOP", AtLeast(3), |cx, args| pop_or_wait(cx, args, End::Back))
        .keys(WAITED)
        .since("2.0.0")
        .cost("O(N) for N keys")
        .syntax("key [key ...] timeout:double")
        .summary("Takes the last element of the first list that has any, or waits for one.")
        .history(TIMEOUT_HISTORY),
    waiter("BLMOVE", Exactly(6), blmove)
        .flags(Flags::DENYOOM)
        .keys(MOVED)
        .since("6.2.0")
        .syntax("source destination <LEFT|RIGHT>:wherefrom <LEFT|RIGHT>:whereto timeout:double")
        .summary("Moves an element from an end of a list to an end of another, or waits for one."),
    waiter("BRPOPLPUSH", Exactly(4), brpoplpush)
        .flags(Flags::DENYOOM)
        .keys(MOVED)
        .since("2.2.0")
        .syntax("source destination timeout:double")
        .deprecated("6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments")
        .summary("Moves the last element of a list to the beginning of another, or waits for one.")
        .history(TIMEOUT_HISTORY),
    waiter("BLMPOP", AtLeast(5), blmpop)
        .keys(&[Key::at(2).counted(0, 1, 1).rw().access().delete()])
        .since("7.0.0")
        .cost("O(N+M) for N keys and M elements")
        .syntax("timeout:double numkeys key [key ...] <LEFT|RIGHT>:where [COUNT count]")
        .summary("Takes elements out of the first list that has any, or waits for some."),
];

/// All arguments but the last.
const WAITED: &[Key] = &[Key::at(1).range(-2, 1).rw().access().delete()];

const TIMEOUT_HISTORY: &[(&str, &str)] = &[("6.0.0", "The timeout may have a fraction.")];

const fn waiter(name: &'static str, arity: Arity, run: DataHandler) -> Command<DataHandler> {
    writer(name, arity, run).flags(Flags::BLOCKING).effect(Effect::Rewritten)
}

fn pop_or_wait(cx: &mut Cx<'_>, args: Args<'_>, end: End) -> Result<Flow, CommandError> {
    let last = args.len() - 1;
    let timeout_ms = wait::timeout(args, last)?;
    for key in args.from(1).take(last - 1) {
        let thresholds = &cx.limits.thresholds;
        let mut db = cx.databases.db(cx.selected);
        let reply = &mut cx.reply;
        let found = db.edit_existing(key, pop_event(end), |list: &mut List| {
            reply.array(2);
            reply.bulk(key);
            list.pop(end, thresholds, |element| reply.element(element));
            Changed::count(1, ())
        })?;
        if found.is_some() {
            cx.log(&[pop_name(end), key]);
            return Ok(Flow::Done);
        }
    }
    let on_timeout = NullReply::Array;
    Ok(Flow::Block(Wait::for_value(Type::List, 1..last, timeout_ms, on_timeout)))
}

fn blmove(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (from, to) = (end_at(args, 3)?, end_at(args, 4)?);
    let timeout_ms = wait::timeout(args, 5)?;
    if move_element(cx, args, from, to)? {
        cx.log(&[b"LMOVE", args.at(1), args.at(2), args.at(3), args.at(4)]);
        return Ok(Flow::Done);
    }
    Ok(wait_for_source(timeout_ms))
}

fn brpoplpush(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let timeout_ms = wait::timeout(args, 3)?;
    if move_element(cx, args, End::Back, End::Front)? {
        cx.log(&[b"RPOPLPUSH", args.at(1), args.at(2)]);
        return Ok(Flow::Done);
    }
    Ok(wait_for_source(timeout_ms))
}

fn wait_for_source(timeout_ms: Option<u64>) -> Flow {
    let on_timeout = NullReply::BulkAtOnce;
    Flow::Block(Wait::for_value(Type::List, 1..2, timeout_ms, on_timeout))
}

fn blmpop(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let take = TakeSome::parse(args, 2)?;
    let timeout_ms = wait::timeout(args, 1)?;
    if take.run(cx, args)? {
        return Ok(Flow::Done);
    }
    let on_timeout = NullReply::Array;
    Ok(Flow::Block(Wait::for_value(Type::List, take.keys, timeout_ms, on_timeout)))
}
