//! COMMAND: the server's description of its own commands.

use crate::base::text;
use crate::command::args::Args;
use crate::command::category::Categories;
use crate::command::error::CommandError;
use crate::command::keyspec;
use crate::command::spec::{
    Arity::{self, AtLeast, Exactly},
    Command, Flags, Flow, Group, KeyFlags, control,
};
use crate::engine::registry::{CommandId, Registry};
use crate::engine::show::command_info_reply::{reply_docs, reply_info, reply_names};
use crate::engine::{ControlHandler, Engine};
use crate::mailbox::SessionId;
use crate::resp::request::Range;

const OPEN: Flags = Flags::LOADING.union(Flags::STALE);
const ANY_ORDER: &[&str] = &["nondeterministic_output_order"];

/// The row of this family.
pub(crate) const COMMANDS: &[Command<ControlHandler>] =
    &[row("COMMAND", AtLeast(1), command, "2.8.13")
        .cost("O(N) for N commands in the table")
        .tips(ANY_ORDER)
        .summary("Describes all commands.")
        .subcommands(&[
            row("COUNT", Exactly(2), count, "2.8.13").summary("Counts the commands."),
            row("DOCS", AtLeast(2), docs, "7.0.0")
                .cost("O(N) for N commands asked about")
                .tips(ANY_ORDER)
                .syntax("[command-name [command-name ...]]")
                .summary("Replies with commands' documentation."),
            row("GETKEYS", AtLeast(4), get_keys, "2.8.13")
                .cost("O(N) for a command of N arguments")
                .syntax("command [arg [arg ...]]")
                .summary("Finds the keys in a command."),
            row("GETKEYSANDFLAGS", AtLeast(4), get_keys_and_flags, "7.0.0")
                .cost("O(N) for a command of N arguments")
                .syntax("command [arg [arg ...]]")
                .summary("Finds the keys in a command and what it does to them."),
            row("HELP", Exactly(2), help, "5.0.0").summary("Lists the subcommands."),
            row("INFO", AtLeast(2), info, "2.8.13")
                .cost("O(N) for N commands asked about")
                .tips(ANY_ORDER)
                .syntax("[command-name [command-name ...]]")
                .summary("Describes commands as numbers, flags and key positions.")
                .history(&[("7.0.0", "Describes all commands when none is named.")]),
            row("LIST", AtLeast(2), list, "7.0.0")
                .cost("O(N) for N commands in the table")
                .tips(ANY_ORDER)
                .syntax("[FILTERBY MODULE module-name|ACLCAT category|PATTERN pattern]")
                .summary("Lists the commands' names."),
        ])];

const fn row(
    name: &'static str,
    arity: Arity,
    run: ControlHandler,
    since: &'static str,
) -> Command<ControlHandler> {
    control(name, arity, run)
        .group(Group::Server)
        .flags(OPEN)
        .categories(&["connection"])
        .since(since)
}

const HELP: &[&str] = &[
    "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "(no subcommand)",
    "    Describe all commands.",
    "COUNT",
    "    The number of commands.",
    "LIST",
    "    The names of all commands.",
    "INFO [<command-name> ...]",
    "    Describe the commands named, or all of them.",
    "DOCS [<command-name> ...]",
    "    The documentation of the commands named, or of all of them.",
    "GETKEYS <full-command>",
    "    The keys in a command.",
    "GETKEYSANDFLAGS <full-command>",
    "    The keys in a command and what it does to them.",
    "HELP",
    "    Print this help.",
];

/// Commands of the top level.
fn top(registry: &Registry) -> impl Iterator<Item = CommandId> {
    registry.iter().filter(|(_, entry)| entry.parent.is_none() && entry.reachable).map(|(id, _)| id)
}

fn command(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    let registry = &engine.registry;
    let mut reply = engine.sessions[slot].reply();
    reply.array(top(registry).count());
    for id in top(registry) {
        reply_info(&mut reply, registry, id);
    }
    Ok(Flow::Done)
}

fn info(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    if args.len() == 2 {
        return command(engine, slot, args);
    }
    let registry = &engine.registry;
    let mut reply = engine.sessions[slot].reply();
    reply.array(args.len() - 2);
    for name in args.from(2) {
        match registry.find_full(name) {
            Some(id) => reply_info(&mut reply, registry, id),
            None => reply.null(),
        }
    }
    Ok(Flow::Done)
}

fn count(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    let count = top(&engine.registry).count();
    engine.sessions[slot].reply().count(count);
    Ok(Flow::Done)
}

fn docs(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let registry = &engine.registry;
    let ids: Vec<CommandId> = if args.len() == 2 {
        top(registry).collect()
    } else {
        args.from(2).filter_map(|name| registry.find_full(name)).collect()
    };
    let mut reply = engine.sessions[slot].reply();
    reply.map(ids.len());
    for id in ids {
        reply_docs(&mut reply, registry, id);
    }
    Ok(Flow::Done)
}

/// What COMMAND LIST shows.
enum Wanted<'a> {
    All,
    None,
    Category(Categories),
    Pattern(&'a [u8]),
}

fn list(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let wanted = match args.len() {
        2 => Wanted::All,
        5 if args.is(2, "FILTERBY") && args.is(3, "MODULE") => Wanted::None,
        5 if args.is(2, "FILTERBY") && args.is(3, "ACLCAT") => {
            Categories::named(args.at(4)).map_or(Wanted::None, Wanted::Category)
        }
        5 if args.is(2, "FILTERBY") && args.is(3, "PATTERN") => Wanted::Pattern(args.at(4)),
        _ => return Err(CommandError::Syntax),
    };
    let shown = |entry: &&crate::engine::registry::Entry| match wanted {
        Wanted::All => true,
        Wanted::None => false,
        Wanted::Category(category) => {
            Categories::of(entry.spec, !entry.subcommands.is_empty()).has(category)
        }
        Wanted::Pattern(pattern) => text::glob(pattern, entry.full_name.as_bytes(), true),
    };
    let names: Vec<&str> = engine
        .registry
        .iter()
        .map(|(_, entry)| entry)
        .filter(|entry| entry.reachable)
        .filter(shown)
        .map(|entry| entry.full_name.as_str())
        .collect();
    let mut reply = engine.sessions[slot].reply();
    reply.array(names.len());
    for name in names {
        reply.bulk(name.as_bytes());
    }
    Ok(Flow::Done)
}

/// The keys of the command that stands behind `COMMAND GETKEYS`.
fn keys_of(registry: &Registry, args: Args<'_>) -> Result<Vec<(Vec<u8>, KeyFlags)>, CommandError> {
    let mut bytes = Vec::new();
    let ranges: Vec<Range> = args
        .from(2)
        .map(|word| {
            let range = Range::new(bytes.len(), word.len());
            bytes.extend_from_slice(word);
            range
        })
        .collect();
    let inner = Args::new(&bytes, &ranges);
    let id = registry.resolve(inner).ok_or(keyspec::NO_SUCH_COMMAND)?;
    let entry = &registry[id];
    if !entry.subcommands.is_empty() && inner.len() > 1 {
        return Err(keyspec::NO_SUCH_COMMAND);
    }
    let keys = keyspec::keys(entry.spec, inner)?;
    Ok(keys.into_iter().map(|key| (inner.at(key.index).to_vec(), key.flags)).collect())
}

fn get_keys(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let keys = keys_of(&engine.registry, args)?;
    let mut reply = engine.sessions[slot].reply();
    reply.array(keys.len());
    for (key, _) in keys {
        reply.bulk(&key);
    }
    Ok(Flow::Done)
}

fn get_keys_and_flags(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let keys = keys_of(&engine.registry, args)?;
    let mut reply = engine.sessions[slot].reply();
    reply.array(keys.len());
    for (key, flags) in keys {
        reply.array(2);
        reply.bulk(&key);
        reply_names(&mut reply, flags.names());
    }
    Ok(Flow::Done)
}

fn help(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().status_lines(HELP.iter().copied());
    Ok(Flow::Done)
}
