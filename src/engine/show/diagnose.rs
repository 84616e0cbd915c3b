//! MEMORY: what takes memory.

use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::object;
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Command, Flags, Flow, Group, Key, read,
};
use crate::engine::show::info_memory;
use crate::engine::show::memory_doctor;
use crate::engine::show::row;
use crate::engine::{ControlHandler, Engine, container};
use crate::mailbox::SessionId;
use crate::resp::reply::Reply;

const OPEN: Flags = Flags::LOADING.union(Flags::STALE);
const SHARDS: &[&str] =
    &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"];

/// The rows of this family.
pub(crate) const COMMANDS: &[Command<ControlHandler>] =
    &[row("MEMORY", AtLeast(2), container, Flags::empty(), "4.0.0")
        .cost("That of the subcommand")
        .summary("What takes memory.")
        .subcommands(&[
            row("DOCTOR", Exactly(2), memory_doctor, Flags::empty(), "4.0.0")
                .tips(SHARDS)
                .summary("Explains the use of memory in words."),
            row("HELP", Exactly(2), memory_help, OPEN, "4.0.0").summary("Lists the subcommands."),
            row("MALLOC-STATS", Exactly(2), memory_allocator, Flags::empty(), "4.0.0")
                .cost("O(N) for N pages of memory")
                .tips(SHARDS)
                .summary("Replies with the allocator's own report."),
            row("PURGE", Exactly(2), memory_purge, Flags::empty(), "4.0.0")
                .cost("O(N) for N pages of memory")
                .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
                .summary("Asks the allocator to give memory back.")
                .deviates(&["gives spare buffers up; pages go back by the allocator's own thread"]),
            row("STATS", Exactly(2), memory_stats, Flags::empty(), "4.0.0")
                .tips(SHARDS)
                .summary("Replies with figures on the use of memory."),
            read("USAGE", AtLeast(3), memory_usage as ControlHandler)
                .group(Group::Server)
                .keys(&[Key::at(2).ro()])
                .since("4.0.0")
                .cost("O(N) for N samples")
                .syntax("key [SAMPLES count]")
                .summary("Replies with the bytes that a key and its value take."),
        ])];

const MEMORY_HELP: &[&str] = &[
    "MEMORY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DOCTOR",
    "    The use of memory explained in words.",
    "MALLOC-STATS",
    "    The allocator's own report.",
    "PURGE",
    "    Ask the allocator to give memory back.",
    "STATS",
    "    Figures on the use of memory.",
    "USAGE <key> [SAMPLES <count>]",
    "    The bytes that <key> and its value take.",
    "HELP",
    "    Print this help.",
];

fn memory_help(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().status_lines(MEMORY_HELP.iter().copied());
    Ok(Flow::Done)
}

fn memory_usage(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let mut index = 3;
    while index < args.len() {
        if !args.is(index, "SAMPLES") || index + 1 >= args.len() {
            return Err(CommandError::Syntax);
        }
        if args.int(index + 1)? < 0 {
            return Err(CommandError::Syntax);
        }
        index += 2;
    }
    let mut db = engine.databases.db(engine.sessions[slot].db);
    let bytes = object::memory_usage(&mut db, args.at(2));
    let mut reply = engine.sessions[slot].reply();
    match bytes {
        Some(bytes) => reply.count(bytes),
        None => reply.null(),
    }
    Ok(Flow::Done)
}

fn memory_doctor(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    let text = memory_doctor::examine(engine);
    engine.sessions[slot].reply().verbatim("txt", text.as_bytes());
    Ok(Flow::Done)
}

fn memory_purge(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.mailbox.shrink();
    engine.output.spares.shrink();
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

fn memory_allocator(
    engine: &mut Engine,
    slot: SessionId,
    _: Args<'_>,
) -> Result<Flow, CommandError> {
    let memory = info_memory::Figures::of(engine);
    let text = format!(
        "jemalloc: allocated {}, active {}, resident {}; tables mapped outside of it: {}\n",
        memory.allocated, memory.active, memory.allocator_resident, memory.tables
    );
    engine.sessions[slot].reply().verbatim("txt", text.as_bytes());
    Ok(Flow::Done)
}

fn memory_stats(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    let memory = info_memory::Figures::of(engine);
    let keys = engine.databases.total_keys();
    let databases: Vec<(u32, usize)> = engine
        .databases
        .occupied()
        .filter(|(_, table)| !table.is_empty())
        .map(|(index, table)| (index.0, table.memory().directory_bytes))
        .collect();
    let lookup: usize = databases.iter().map(|(_, bytes)| bytes).sum();
    let aof = engine.log.as_ref().map_or(0, |log| log.pending_bytes());
    let scripts = engine.scripts.figures();
    let mut reply = engine.sessions[slot].reply();
    reply.map(30 + databases.len());
    let number = |reply: &mut Reply<'_>, name: &str, value: u64| {
        reply.bulk(name.as_bytes());
        reply.int(value as i64);
    };
    let share = |reply: &mut Reply<'_>, name: &str, value: f64| {
        reply.bulk(name.as_bytes());
        reply.double(value);
    };
    number(&mut reply, "peak.allocated", memory.peak);
    number(&mut reply, "total.allocated", memory.used);
    number(&mut reply, "startup.allocated", memory.startup);
    number(&mut reply, "replication.backlog", engine.journal.backlog_memory() as u64);
    number(&mut reply, "clients.slaves", memory.replicas);
    number(&mut reply, "clients.normal", memory.clients);
    number(&mut reply, "cluster.links", 0);
    number(&mut reply, "aof.buffer", aof as u64);
    number(&mut reply, "lua.caches", scripts.script_bytes);
    number(&mut reply, "functions.caches", scripts.library_bytes);
    for (index, directory) in databases {
        reply.bulk(format!("db.{index}").as_bytes());
        reply.map(3);
        number(&mut reply, "overhead.hashtable.main", directory as u64);
        // Expiry times lie beside their keys, and there are no slots.
        number(&mut reply, "overhead.hashtable.expires", 0);
        number(&mut reply, "overhead.hashtable.slot-to-keys", 0);
    }
    number(&mut reply, "overhead.db.hashtable.lut", lookup as u64);
    number(&mut reply, "overhead.db.hashtable.rehashing", 0);
    number(&mut reply, "db.dict.rehashing.count", 0);
    number(&mut reply, "overhead.total", memory.overhead());
    number(&mut reply, "keys.count", keys);
    number(&mut reply, "keys.bytes-per-key", memory.dataset().checked_div(keys).unwrap_or(0));
    number(&mut reply, "dataset.bytes", memory.dataset());
    share(&mut reply, "dataset.percentage", memory.dataset_share());
    share(&mut reply, "peak.percentage", memory.peak_share());
    number(&mut reply, "allocator.allocated", memory.allocated);
    number(&mut reply, "allocator.active", memory.active);
    number(&mut reply, "allocator.resident", memory.allocator_resident);
    share(
        &mut reply,
        "allocator-fragmentation.ratio",
        info_memory::ratio(memory.active, memory.allocated),
    );
    number(
        &mut reply,
        "allocator-fragmentation.bytes",
        memory.active.saturating_sub(memory.allocated),
    );
    share(
        &mut reply,
        "allocator-rss.ratio",
        info_memory::ratio(memory.allocator_resident, memory.active),
    );
    number(
        &mut reply,
        "allocator-rss.bytes",
        memory.allocator_resident.saturating_sub(memory.active),
    );
    let mapped = memory.allocator_resident + memory.tables;
    share(&mut reply, "rss-overhead.ratio", info_memory::ratio(memory.resident, mapped));
    number(&mut reply, "rss-overhead.bytes", memory.resident.saturating_sub(mapped));
    share(&mut reply, "fragmentation", info_memory::ratio(memory.resident, memory.used));
    number(&mut reply, "fragmentation.bytes", memory.resident.saturating_sub(memory.used));
    Ok(Flow::Done)
}
