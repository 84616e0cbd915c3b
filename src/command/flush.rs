//! Whole databases: their size, emptying and exchanging them.

use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::keys::database;
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Command, DataHandler, Flags, Flow, Group, read, write,
};
use crate::keyspace::databases::DbIndex;

/// Commands on whole databases.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    read::<DataHandler>("DBSIZE", Exactly(1), size)
        .flags(Flags::FAST)
        .group(Group::Server)
        .categories(&["keyspace"])
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"])
        .since("1.0.0")
        .summary("Counts the keys of the database."),
    flusher("FLUSHDB", flush_one)
        .cost("O(N) for N keys in the database")
        .summary("Removes all keys of the database."),
    flusher("FLUSHALL", flush_all)
        .cost("O(N) for N keys in all databases")
        .summary("Removes all keys of all databases."),
    write::<DataHandler>("SWAPDB", Exactly(3), swap)
        .flags(Flags::FAST)
        .group(Group::Server)
        .categories(&["keyspace", "dangerous"])
        .since("4.0.0")
        .cost("O(N) for N watched keys in both databases")
        .syntax("index1 index2")
        .summary("Exchanges two databases."),
];

const fn flusher(name: &'static str, run: DataHandler) -> Command<DataHandler> {
    write(name, AtLeast(1), run)
        .group(Group::Server)
        .categories(&["keyspace", "dangerous"])
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .since("1.0.0")
        .syntax("[ASYNC|SYNC]")
        .history(&[
            ("4.0.0", "Frees in the background with `ASYNC`."),
            ("6.2.0", "Frees at once with `SYNC`, whatever the configuration says."),
        ])
}

fn size(cx: &mut Cx<'_>, _args: Args<'_>) -> Result<Flow, CommandError> {
    let size = cx.db().len();
    cx.reply.count(size);
    Ok(Flow::Done)
}

/// Whether a flush shall free on the background thread.
fn elsewhere(cx: &Cx<'_>, args: Args<'_>) -> Result<bool, CommandError> {
    match args.len() {
        1 => Ok(cx.limits.lazy_user_flush),
        2 if args.is(1, "ASYNC") => Ok(true),
        2 if args.is(1, "SYNC") => Ok(false),
        _ => Err(CommandError::Syntax),
    }
}

fn flush_one(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let elsewhere = elsewhere(cx, args)?;
    let removed = cx.databases.flush(cx.selected, elsewhere);
    cx.databases.unit.changes += removed;
    if removed == 0 {
        // Logged and told to replicas even so, as upstream does.
        cx.databases.unit.record_words(cx.selected, args.from(0));
    }
    cx.reply.ok();
    Ok(Flow::Done)
}

fn flush_all(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let elsewhere = elsewhere(cx, args)?;
    let indices = (0..cx.databases.count()).map(DbIndex);
    let keys: u64 = indices.map(|index| cx.databases.flush(index, elsewhere)).sum();
    cx.databases.unit.changes += keys;
    if keys == 0 {
        // As above.
        cx.databases.unit.record_words(cx.selected, args.from(0));
    }
    cx.databases.unit.emptied = true;
    cx.reply.ok();
    Ok(Flow::Done)
}

fn swap(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let number = |index, error| {
        let number = args.int(index).ok().and_then(|number| i32::try_from(number).ok());
        number.ok_or(CommandError::text(error))
    };
    let first = number(1, "ERR invalid first DB index")?;
    let second = number(2, "ERR invalid second DB index")?;
    let (first, second) = (database(cx, first)?, database(cx, second)?);
    if first == second {
        // Counted all the same, as upstream does.
        cx.databases.unit.changes += 1;
    }
    cx.databases.swap(first, second);
    cx.reply.ok();
    Ok(Flow::Done)
}
