//! How a key's value is kept: OBJECT, and the bytes for MEMORY USAGE.

use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Command, DataHandler, Flags, Flow, Key, control, read,
};
use crate::data::value::ValueRef;
use crate::keyspace::databases::Db;
use crate::keyspace::table::Entry;

/// OBJECT.
pub(crate) const COMMANDS: &[Command<DataHandler>] =
    &[control::<DataHandler>("OBJECT", AtLeast(2), object)
        .since("2.2.3")
        .cost("O(1) for each subcommand")
        .summary("Tells how the value at a key is kept.")
        .subcommands(&[
            inspector("ENCODING", encoding)
                .since("2.2.3")
                .summary("Names the internal representation of the value at a key."),
            inspector("FREQ", frequency)
                .since("4.0.0")
                .summary("Replies with the logarithmic access counter of a key."),
            control::<DataHandler>("HELP", Exactly(2), help)
                .flags(Flags::LOADING.union(Flags::STALE))
                .since("6.2.0")
                .summary("Lists the subcommands."),
            inspector("IDLETIME", idle_time)
                .since("2.2.3")
                .summary("Replies with the seconds since a key was last used."),
            inspector("REFCOUNT", reference_count)
                .since("2.2.3")
                .summary("Replies with the number of references to the value at a key."),
        ])];

const fn inspector(name: &'static str, run: DataHandler) -> Command<DataHandler> {
    read(name, Exactly(3), run).keys(ASKED).tips(&["nondeterministic_output"]).syntax("key")
}

const ASKED: &[Key] = &[Key::at(2).ro()];

/// Strings of at most so many bytes are called `embstr`; clients and tests look at the border.
const EMBEDDED_BYTES_MAX: usize = 44;

const HELP: &[&str] = &[
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    The internal representation of the value at <key>.",
    "FREQ <key>",
    "    The access counter of <key>, which grows with the logarithm of its use.",
    "IDLETIME <key>",
    "    The seconds since <key> was last used.",
    "REFCOUNT <key>",
    "    The number of references to the value at <key>.",
    "HELP",
    "    Print this help.",
];

/// The name of an entry's representation, as OBJECT ENCODING replies it.
pub(crate) fn encoding_name(entry: &Entry<'_>) -> &'static str {
    match entry.value() {
        ValueRef::Int(_) => "int",
        ValueRef::Str(bytes) => {
            let raw = entry.is_raw() || entry.is_heap_string() || bytes.len() > EMBEDDED_BYTES_MAX;
            if raw { "raw" } else { "embstr" }
        }
        ValueRef::Object(object) => object.encoding(),
    }
}

/// The bytes that a key takes, with its value and its share of the table; for MEMORY USAGE.
pub(crate) fn memory_usage(db: &mut Db<'_>, key: &[u8]) -> Option<usize> {
    db.peek(key).map(|entry| entry.table_bytes() + entry.heap_bytes())
}

/// What runs when no subcommand matches; the engine has answered that before it gets here.
fn object(_cx: &mut Cx<'_>, _args: Args<'_>) -> Result<Flow, CommandError> {
    Err(CommandError::Syntax)
}

fn help(cx: &mut Cx<'_>, _args: Args<'_>) -> Result<Flow, CommandError> {
    cx.reply.status_lines(HELP.iter().copied());
    Ok(Flow::Done)
}

fn encoding(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    match cx.databases.db(cx.selected).examine(args.at(2)) {
        Some(entry) => cx.reply.bulk(encoding_name(&entry).as_bytes()),
        None => cx.reply.null(),
    }
    Ok(Flow::Done)
}

fn reference_count(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    match cx.databases.db(cx.selected).examine(args.at(2)).map(|entry| entry.value()) {
        // Upstream shares these integers between all keys, and says so. Here each is stored in its key's
        // own entry, which no client can tell apart but by this number.
        Some(ValueRef::Int(0..10_000)) => cx.reply.int(i64::from(i32::MAX)),
        Some(_) => cx.reply.int(1),
        None => cx.reply.null(),
    }
    Ok(Flow::Done)
}

fn frequency(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let Some(access) = cx.db().examine(args.at(2)).map(|entry| entry.access()) else {
        cx.reply.null();
        return Ok(Flow::Done);
    };
    if !cx.limits.lfu {
        return Err(CommandError::text(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note \
             that when switching between policies at runtime LRU and LFU data will take some time \
             to adjust.",
        ));
    }
    let frequency = cx.databases.decayed_frequency(access);
    cx.reply.int(i64::from(frequency));
    Ok(Flow::Done)
}

fn idle_time(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let Some(access) = cx.db().examine(args.at(2)).map(|entry| entry.access()) else {
        cx.reply.null();
        return Ok(Flow::Done);
    };
    if cx.limits.lfu {
        return Err(CommandError::text(
            "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when \
             switching between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    }
    let idle_seconds = cx.databases.idle_seconds(access);
    cx.reply.int(i64::from(idle_seconds));
    Ok(Flow::Done)
}
