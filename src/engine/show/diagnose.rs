//! SLOWLOG, LATENCY and MEMORY: how the server is doing, for whoever watches it.

use crate::base::text;
use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::object;
use crate::command::spec::{
    Arity::{self, AtLeast, Exactly},
    Command, Flags, Flow, Group, Key, control, read,
};
use crate::engine::session::client::misused;
use crate::engine::show::info_memory;
use crate::engine::{ControlHandler, Engine, container};
use crate::mailbox::SessionId;
use crate::resp::reply::Reply;

const OPEN: Flags = Flags::LOADING.union(Flags::STALE);
const ADMIN: Flags = OPEN.union(Flags::ADMIN);
const WATCHER: Flags = ADMIN.union(Flags::NOSCRIPT);
const SPECIAL: &[&str] =
    &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"];
const SHARDS: &[&str] =
    &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"];
const NO_SAMPLES: &[&str] = &["latency events aren't recorded: use SLOWLOG and INFO latencystats"];

/// The rows of this family.
pub(crate) const COMMANDS: &[Command<ControlHandler>] = &[
    row("SLOWLOG", AtLeast(2), container, Flags::empty(), "2.2.12")
        .cost("That of the subcommand")
        .summary("Commands that took long.")
        .subcommands(&[
            row("GET", AtLeast(2), slow_get, ADMIN, "2.2.12")
                .cost("O(N) for N entries shown")
                .tips(&["request_policy:all_nodes", "nondeterministic_output"])
                .syntax("[count]")
                .summary("Replies with the last slow commands.")
                .history(&[("4.0.0", "Shows the client's address and name.")]),
            row("HELP", Exactly(2), slow_help, OPEN, "6.2.0").summary("Lists the subcommands."),
            row("LEN", Exactly(2), slow_len, ADMIN, "2.2.12")
                .tips(&[
                    "request_policy:all_nodes",
                    "response_policy:agg_sum",
                    "nondeterministic_output",
                ])
                .summary("Counts the slow commands kept."),
            row("RESET", Exactly(2), slow_reset, ADMIN, "2.2.12")
                .cost("O(N) for N entries")
                .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
                .summary("Forgets the slow commands."),
        ]),
    row("LATENCY", AtLeast(2), container, Flags::empty(), "2.8.13")
        .cost("That of the subcommand")
        .summary("What made the server slow.")
        .subcommands(&[
            row("DOCTOR", Exactly(2), latency_doctor, WATCHER, "2.8.13")
                .tips(SPECIAL)
                .summary("Explains latency in words.")
                .deviates(NO_SAMPLES),
            row("HELP", Exactly(2), latency_help, OPEN, "2.8.13").summary("Lists the subcommands."),
            row("HISTOGRAM", AtLeast(2), latency_histogram, WATCHER, "7.0.0")
                .cost("O(N) for N commands shown")
                .tips(SPECIAL)
                .syntax("[command [command ...]]")
                .summary("Replies with the distribution of commands' times."),
            row("HISTORY", Exactly(3), latency_history, WATCHER, "2.8.13")
                .tips(SPECIAL)
                .syntax("event")
                .summary("Replies with the samples of an event.")
                .deviates(NO_SAMPLES),
            row("LATEST", Exactly(2), latency_latest, WATCHER, "2.8.13")
                .tips(SPECIAL)
                .summary("Replies with the last sample of each event.")
                .deviates(NO_SAMPLES),
            row("RESET", AtLeast(2), latency_reset, WATCHER, "2.8.13")
                .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
                .syntax("[event [event ...]]")
                .summary("Forgets samples.")
                .deviates(NO_SAMPLES),
        ]),
    row("MEMORY", AtLeast(2), container, Flags::empty(), "4.0.0")
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
        ]),
];

const fn row(
    name: &'static str,
    arity: Arity,
    run: ControlHandler,
    flags: Flags,
    since: &'static str,
) -> Command<ControlHandler> {
    control(name, arity, run).group(Group::Server).flags(flags).since(since)
}

const SLOW_HELP: &[&str] = &[
    "SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET [<count>]",
    "    The last <count> slow commands (default: 10, -1 means all), each with its",
    "    id, timestamp, time in microseconds, arguments, client address and name.",
    "LEN",
    "    How many slow commands are kept.",
    "RESET",
    "    Forget them.",
    "HELP",
    "    Print this help.",
];

fn slow_help(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().status_lines(SLOW_HELP.iter().copied());
    Ok(Flow::Done)
}

fn slow_get(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let count = match args.len() {
        2 => 10,
        3 => match text::parse_i64(args.at(2)) {
            Some(-1) => usize::MAX,
            Some(count @ 0..) => count as usize,
            _ => {
                return Err(CommandError::text("ERR count should be greater than or equal to -1"));
            }
        },
        _ => return Err(misused(args, "SLOWLOG")),
    };
    let entries = &engine.cron.slow_log;
    let mut reply = engine.sessions[slot].reply();
    reply.array(entries.len().min(count));
    for entry in entries.iter().take(count) {
        reply.array(6);
        reply.int(entry.id as i64);
        reply.int(entry.unix_seconds);
        reply.int(entry.micros as i64);
        reply.array(entry.args.len());
        for arg in &entry.args {
            reply.bulk(arg);
        }
        reply.bulk(entry.peer.as_bytes());
        reply.bulk(&entry.name);
    }
    Ok(Flow::Done)
}

fn slow_len(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    let count = engine.cron.slow_log.len();
    engine.sessions[slot].reply().count(count);
    Ok(Flow::Done)
}

fn slow_reset(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.cron.slow_log.clear();
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

const LATENCY_HELP: &[&str] = &[
    "LATENCY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DOCTOR",
    "    Latency explained in words.",
    "HISTORY <event>",
    "    The samples of <event>.",
    "LATEST",
    "    The last sample of each event.",
    "RESET [<event> ...]",
    "    Forget the samples of the events named, or of all.",
    "HISTOGRAM [COMMAND ...]",
    "    How the times of the commands named, or of all, are distributed.",
    "HELP",
    "    Print this help.",
];

fn latency_help(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().status_lines(LATENCY_HELP.iter().copied());
    Ok(Flow::Done)
}

fn latency_doctor(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().verbatim(
        "txt",
        b"Latency events aren't recorded. SLOWLOG GET shows single slow commands, LATENCY HISTOGRAM \
          and INFO latencystats how long commands take.\n",
    );
    Ok(Flow::Done)
}

fn latency_history(
    engine: &mut Engine,
    slot: SessionId,
    _: Args<'_>,
) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().array(0);
    Ok(Flow::Done)
}

fn latency_latest(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().array(0);
    Ok(Flow::Done)
}

fn latency_reset(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().int(0);
    Ok(Flow::Done)
}

fn latency_histogram(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let registry = &engine.registry;
    let mut chosen: Vec<_> = registry.iter().map(|(id, _)| id).collect();
    if args.len() > 2 {
        let named: Vec<_> = args.from(2).filter_map(|name| registry.find_full(name)).collect();
        // A container stands for its subcommands.
        chosen.retain(|id| {
            named.contains(id) || registry[*id].parent.is_some_and(|parent| named.contains(&parent))
        });
    }
    chosen.retain(|id| engine.metrics.by_command[id.0 as usize].latency.total() > 0);
    let stopwatch = &engine.env.stopwatch;
    let mut reply = engine.sessions[slot].reply();
    reply.map(chosen.len());
    for id in chosen {
        let latency = &engine.metrics.by_command[id.0 as usize].latency;
        reply.bulk(registry[id].full_name.as_bytes());
        reply.map(2);
        reply.bulk(b"calls");
        reply.int(latency.total() as i64);
        reply.bulk(b"histogram_usec");
        let steps = latency.powers_of_two(|ticks| stopwatch.nanos(ticks));
        reply.map(steps.len());
        for (micros, count) in steps {
            reply.int(micros as i64);
            reply.int(count as i64);
        }
    }
    Ok(Flow::Done)
}

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
    let memory = info_memory::Figures::of(engine);
    let text = if memory.used < 5 << 20 {
        "There is hardly any data: nothing can be said about the use of memory.\n".to_owned()
    } else if memory.resident as f64 > memory.used as f64 * 1.5 {
        format!(
            "The process holds {:.2} times the memory that its data takes. After many deletions \
             this shrinks by itself within seconds to minutes.\n",
            memory.resident as f64 / memory.used as f64
        )
    } else {
        "Nothing about the use of memory is out of the ordinary.\n".to_owned()
    };
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
    number(&mut reply, "clients.slaves", 0);
    number(&mut reply, "clients.normal", memory.clients);
    number(&mut reply, "cluster.links", 0);
    number(&mut reply, "aof.buffer", aof as u64);
    number(&mut reply, "lua.caches", scripts.script_bytes);
    number(&mut reply, "functions.caches", scripts.library_bytes);
    for (index, directory) in databases {
        reply.bulk(format!("db.{index}").as_bytes());
        reply.map(2);
        number(&mut reply, "overhead.hashtable.main", directory as u64);
        number(&mut reply, "overhead.hashtable.expires", 0);
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
