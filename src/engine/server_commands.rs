//! Commands about the server that belong to no larger family: TIME, LOLWUT, MEMORY, SLOWLOG, ROLE,
//! WAIT, ACL's beginnings.

use std::fmt::Write;

use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::object;
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Command, Flags, Flow, Group, Key, control,
};
use crate::config::REDIS_VERSION;
use crate::engine::{ControlHandler, Engine, info};
use crate::mailbox::SessionId;

const LOADED: Flags = Flags::LOADING.or(Flags::STALE);

/// The rows of this family.
pub const COMMANDS: &[Command<ControlHandler>] = &[
    control("TIME", Exactly(1), time as ControlHandler)
        .group(Group::Server)
        .flags(LOADED.or(Flags::FAST))
        .tips(&["nondeterministic_output"])
        .since("2.6.0")
        .summary("Replies with the server's time: seconds and microseconds."),
    control("LOLWUT", AtLeast(1), lolwut as ControlHandler)
        .group(Group::Server)
        .flags(Flags::READONLY.or(Flags::FAST))
        .since("5.0.0")
        .syntax("[VERSION version]")
        .summary("Draws a picture, and tells the version.")
        .deviates(&["The picture is our own."]),
    control("ROLE", Exactly(1), role as ControlHandler)
        .group(Group::Server)
        .flags(Flags::NOSCRIPT.or(LOADED).or(Flags::FAST))
        .categories(&["admin", "dangerous"])
        .since("2.8.12")
        .summary("Replies with the server's place in replication."),
    control("WAIT", Exactly(3), wait as ControlHandler)
        .group(Group::Generic)
        .flags(Flags::NOSCRIPT)
        .categories(&["connection"])
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .since("3.0.0")
        .syntax("numreplicas timeout")
        .summary("Waits until replicas have this connection's writes.")
        .deviates(&["There are no replicas yet: replies 0 at once."]),
    control("MEMORY", AtLeast(2), memory as ControlHandler)
        .group(Group::Server)
        .since("4.0.0")
        .cost("Depends on subcommand.")
        .summary("A container for commands on memory.")
        .subcommands(MEMORY),
    control("SLOWLOG", AtLeast(2), slowlog as ControlHandler)
        .group(Group::Server)
        .since("2.2.12")
        .cost("Depends on subcommand.")
        .summary("A container for commands on the slow log.")
        .subcommands(SLOWLOG),
    control("ACL", AtLeast(2), acl as ControlHandler)
        .group(Group::Server)
        .since("6.0.0")
        .cost("Depends on subcommand.")
        .summary("A container for commands on users.")
        .subcommands(ACL)
        .deviates(&["There is only the default user yet."]),
];

const MEMORY: &[Command<ControlHandler>] = &[
    control("DOCTOR", Exactly(2), memory_doctor as ControlHandler)
        .group(Group::Server)
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .since("4.0.0")
        .summary("Replies with advice about memory."),
    control("HELP", Exactly(2), memory_help as ControlHandler)
        .group(Group::Server)
        .flags(LOADED)
        .since("4.0.0")
        .summary("Replies with help about MEMORY."),
    control("MALLOC-STATS", Exactly(2), memory_malloc_stats as ControlHandler)
        .group(Group::Server)
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .since("4.0.0")
        .summary("Replies with the allocator's figures."),
    control("PURGE", Exactly(2), memory_purge as ControlHandler)
        .group(Group::Server)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .since("4.0.0")
        .summary("Gives unused memory back to the system."),
    control("STATS", Exactly(2), memory_stats as ControlHandler)
        .group(Group::Server)
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .since("4.0.0")
        .summary("Replies with figures about memory."),
    control("USAGE", AtLeast(3), memory_usage as ControlHandler)
        .group(Group::Server)
        .flags(Flags::READONLY)
        .keys(&[Key::at(2).ro()])
        .since("4.0.0")
        .cost("O(N) where N is the number of samples.")
        .syntax("key [SAMPLES count]")
        .summary("Replies with the bytes that a key takes."),
];

const SLOWLOG: &[Command<ControlHandler>] = &[
    slow_row("GET", AtLeast(2), slowlog_get)
        .tips(&["request_policy:all_nodes", "nondeterministic_output"])
        .syntax("[count]")
        .summary("Replies with the latest slow commands."),
    control("HELP", Exactly(2), slowlog_help as ControlHandler)
        .group(Group::Server)
        .flags(LOADED)
        .since("6.2.0")
        .summary("Replies with help about SLOWLOG."),
    slow_row("LEN", Exactly(2), slowlog_len)
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"])
        .summary("Replies with how many slow commands are kept."),
    slow_row("RESET", Exactly(2), slowlog_reset)
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .summary("Forgets the slow commands."),
];

const fn slow_row(
    name: &'static str,
    arity: crate::command::spec::Arity,
    run: ControlHandler,
) -> Command<ControlHandler> {
    control(name, arity, run).group(Group::Server).flags(Flags::ADMIN.or(LOADED)).since("2.2.12")
}

const ACL: &[Command<ControlHandler>] = &[
    control("HELP", Exactly(2), acl_help as ControlHandler)
        .group(Group::Server)
        .flags(LOADED)
        .since("6.0.0")
        .summary("Replies with help about ACL."),
    control("WHOAMI", Exactly(2), acl_whoami as ControlHandler)
        .group(Group::Server)
        .flags(Flags::NOSCRIPT.or(LOADED))
        .since("6.0.0")
        .summary("Replies with the connection's user."),
];

type Handled = Result<Flow, CommandError>;

fn time(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    let micros = engine.env.clock.unix_micros();
    let mut reply = engine.sessions[slot].reply();
    reply.array(2);
    reply.bulk_int(micros / 1_000_000);
    reply.bulk_int(micros % 1_000_000);
    Ok(Flow::Done)
}

fn lolwut(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    if args.len() > 2 && args.is(1, "VERSION") {
        args.int(2)?;
    }
    // Birds on wires, another flock each time.
    let mut picture = String::new();
    for wire in 0..5 {
        let _ = write!(picture, "{:width$}", "", width = wire);
        for _ in 0..24 {
            picture.push_str(match engine.rng.below(7) {
                0 => "o>",
                1 => "<o",
                2 => "v ",
                _ => "__",
            });
        }
        picture.push('\n');
    }
    let _ = write!(picture, "\nRedis ver. {REDIS_VERSION}, Redstart {}\n", crate::config::VERSION);
    engine.sessions[slot].reply().verbatim("txt", picture.as_bytes());
    Ok(Flow::Done)
}

fn role(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    let mut reply = engine.sessions[slot].reply();
    reply.array(3);
    reply.bulk(b"master");
    reply.int(0);
    reply.array(0);
    Ok(Flow::Done)
}

fn wait(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    args.int(1)?;
    let timeout = args
        .int(2)
        .map_err(|_| CommandError::text("ERR timeout is not an integer or out of range"))?;
    if timeout < 0 {
        return Err(CommandError::text("ERR timeout is negative"));
    }
    engine.sessions[slot].reply().int(0);
    Ok(Flow::Done)
}

fn memory(_: &mut Engine, _: SessionId, _: Args<'_>) -> Handled {
    Err(CommandError::Arity("memory".into()))
}

fn memory_doctor(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    let (used, resident) = (engine.used_memory(), info::resident_bytes());
    let text = if used < 5 << 20 {
        "Hi, this server holds so little data that there is nothing to say about its memory.\n"
    } else if resident > used * 3 / 2 {
        "The process holds half as much memory again as its data needs: it had more data before. \
         MEMORY PURGE gives some of it back.\n"
    } else {
        "There is nothing wrong with this server's memory.\n"
    };
    engine.sessions[slot].reply().verbatim("txt", text.as_bytes());
    Ok(Flow::Done)
}

fn memory_help(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    engine.reply_help(slot, "MEMORY", MEMORY);
    Ok(Flow::Done)
}

fn memory_malloc_stats(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    let text = engine.info_text(&["memory"]);
    engine.sessions[slot].reply().verbatim("txt", text.as_bytes());
    Ok(Flow::Done)
}

fn memory_purge(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    engine.mailbox.shrink();
    engine.spares.shrink();
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

fn memory_stats(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    let (used, keys) = (engine.used_memory(), engine.databases.total_keys());
    let data: u64 =
        engine.databases.occupied().map(|(_, table)| table.memory().total() as u64).sum();
    let figures = [
        ("peak.allocated", engine.cron.peak_memory.max(used)),
        ("total.allocated", used),
        ("startup.allocated", engine.cron.startup_memory),
        ("overhead.total", used.saturating_sub(data)),
        ("keys.count", keys),
        ("keys.bytes-per-key", data / keys.max(1)),
        ("dataset.bytes", data),
    ];
    let mut reply = engine.sessions[slot].reply();
    reply.map(figures.len());
    for (name, value) in figures {
        reply.bulk(name.as_bytes());
        reply.int(value as i64);
    }
    Ok(Flow::Done)
}

fn memory_usage(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    match args.len() {
        3 => {}
        5 if args.is(3, "SAMPLES") => {
            if args.int(4)? < 0 {
                return Err(CommandError::Syntax);
            }
        }
        _ => return Err(CommandError::Syntax),
    }
    let db = engine.sessions[slot].db;
    let bytes = object::memory_usage(&mut engine.databases.db(db), args.at(2));
    let mut reply = engine.sessions[slot].reply();
    match bytes {
        Some(bytes) => reply.count(bytes),
        None => reply.null(),
    }
    Ok(Flow::Done)
}

fn slowlog(_: &mut Engine, _: SessionId, _: Args<'_>) -> Handled {
    Err(CommandError::Arity("slowlog".into()))
}

fn slowlog_get(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    let count = match args.len() {
        2 => 10,
        3 => {
            let count = args.int(2)?;
            if count < -1 {
                return Err(CommandError::text("ERR count should be greater than or equal to -1"));
            }
            usize::try_from(count).unwrap_or(usize::MAX)
        }
        _ => return Err(CommandError::Arity("slowlog|get".into())),
    };
    let entries: Vec<_> = engine.cron.slow_log.iter().take(count).cloned().collect();
    let mut reply = engine.sessions[slot].reply();
    reply.array(entries.len());
    for entry in entries {
        reply.array(6);
        reply.int(entry.id as i64);
        reply.int(entry.unix_seconds);
        reply.int(entry.micros as i64);
        reply.array(entry.args.len());
        for word in &entry.args {
            reply.bulk(word);
        }
        reply.bulk(entry.peer.as_bytes());
        reply.bulk(&entry.name);
    }
    Ok(Flow::Done)
}

fn slowlog_help(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    engine.reply_help(slot, "SLOWLOG", SLOWLOG);
    Ok(Flow::Done)
}

fn slowlog_len(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    let len = engine.cron.slow_log.len();
    engine.sessions[slot].reply().count(len);
    Ok(Flow::Done)
}

fn slowlog_reset(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    engine.cron.slow_log.clear();
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

fn acl(_: &mut Engine, _: SessionId, _: Args<'_>) -> Handled {
    Err(CommandError::Arity("acl".into()))
}

fn acl_help(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    engine.reply_help(slot, "ACL", ACL);
    Ok(Flow::Done)
}

fn acl_whoami(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    let user = engine.sessions[slot].user.clone();
    engine.sessions[slot].reply().bulk(&user);
    Ok(Flow::Done)
}
