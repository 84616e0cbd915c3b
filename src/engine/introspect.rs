//! COMMAND: what the table of commands says, in all of upstream's forms.

use crate::base::text;
use crate::command::args::Args;
use crate::command::category::Categories;
use crate::command::error::CommandError;
use crate::command::keyspec::{self, Legacy};
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Begin, Command, Find, Flags, Flow, Group, Key, control,
};
use crate::command::syntax;
use crate::engine::registry::{CommandId, Entry, Registry};
use crate::engine::{ControlHandler, Engine};
use crate::mailbox::SessionId;
use crate::resp::reply::Reply;

const LOADED: Flags = Flags::LOADING.or(Flags::STALE);

/// The rows of this family.
pub const COMMANDS: &[Command<ControlHandler>] =
    &[control("COMMAND", AtLeast(1), command as ControlHandler)
        .group(Group::Server)
        .flags(LOADED)
        .categories(&["connection"])
        .tips(&["nondeterministic_output_order"])
        .since("2.8.13")
        .cost("O(N) where N is the total number of Redis commands")
        .summary("Replies with facts about all commands.")
        .subcommands(SUBCOMMANDS)];

const fn row(
    name: &'static str,
    arity: crate::command::spec::Arity,
    run: ControlHandler,
) -> Command<ControlHandler> {
    control(name, arity, run).group(Group::Server).flags(LOADED).categories(&["connection"])
}

const SUBCOMMANDS: &[Command<ControlHandler>] = &[
    row("COUNT", Exactly(2), count).since("2.8.13").summary("Replies with how many there are."),
    row("DOCS", AtLeast(2), docs)
        .tips(&["nondeterministic_output_order"])
        .since("7.0.0")
        .cost("O(N) where N is the number of commands to look up")
        .syntax("[command-name [command-name ...]]")
        .summary("Replies with documentation, arguments included."),
    row("GETKEYS", AtLeast(4), getkeys)
        .since("2.8.13")
        .cost("O(N) where N is the number of arguments to the command")
        .syntax("command [arg [arg ...]]")
        .summary("Replies with the keys among a command's arguments."),
    row("GETKEYSANDFLAGS", AtLeast(4), getkeysandflags)
        .since("7.0.0")
        .cost("O(N) where N is the number of arguments to the command")
        .syntax("command [arg [arg ...]]")
        .summary("Replies with the keys among a command's arguments and what is done to them."),
    row("HELP", Exactly(2), help).since("5.0.0").summary("Replies with help about COMMAND."),
    row("INFO", AtLeast(2), info)
        .tips(&["nondeterministic_output_order"])
        .since("2.8.13")
        .cost("O(N) where N is the number of commands to look up")
        .syntax("[command-name [command-name ...]]")
        .summary("Replies with facts about some commands.")
        .history(&[(
            "7.0.0",
            "Allowed to be called with no argument to get info on all commands.",
        )]),
    row("LIST", AtLeast(2), list)
        .tips(&["nondeterministic_output_order"])
        .since("7.0.0")
        .cost("O(N) where N is the total number of Redis commands")
        .syntax("[FILTERBY MODULE module-name|ACLCAT category|PATTERN pattern]")
        .summary("Replies with the names of commands."),
];

type Handled = Result<Flow, CommandError>;

fn top_level(registry: &Registry) -> Vec<CommandId> {
    let all = registry.iter().filter(|(_, entry)| entry.parent.is_none() && entry.reachable);
    all.map(|(id, _)| id).collect()
}

fn command(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    if args.len() > 1 {
        return Err(CommandError::Arity("command".into()));
    }
    let Engine { registry, sessions, .. } = engine;
    let ids = top_level(registry);
    let mut reply = sessions[slot].reply();
    reply.array(ids.len());
    for id in ids {
        reply_info(&mut reply, registry, id);
    }
    Ok(Flow::Done)
}

fn count(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    let count = top_level(&engine.registry).len();
    engine.sessions[slot].reply().count(count);
    Ok(Flow::Done)
}

fn help(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    engine.reply_help(slot, "COMMAND", SUBCOMMANDS);
    Ok(Flow::Done)
}

fn info(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    let Engine { registry, sessions, .. } = engine;
    let wanted: Vec<Option<CommandId>> = if args.len() == 2 {
        top_level(registry).into_iter().map(Some).collect()
    } else {
        args.from(2).map(|name| registry.find_full(name)).collect()
    };
    let mut reply = sessions[slot].reply();
    reply.array(wanted.len());
    for id in wanted {
        match id {
            Some(id) => reply_info(&mut reply, registry, id),
            None => reply.null(),
        }
    }
    Ok(Flow::Done)
}

fn list(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    let Engine { registry, sessions, .. } = engine;
    let every = |entry: &&Entry| entry.reachable;
    let names: Vec<&str> = match args.len() {
        2 => registry
            .iter()
            .map(|(_, entry)| entry)
            .filter(|entry| entry.parent.is_none())
            .filter(every)
            .map(|entry| entry.full_name.as_str())
            .collect(),
        5 if args.is(2, "FILTERBY") => {
            let value = args.at(4);
            let all = registry.iter().map(|(_, entry)| entry).filter(every);
            if args.is(3, "MODULE") {
                Vec::new()
            } else if args.is(3, "ACLCAT") {
                let wanted = Categories::named(value);
                all.filter(|entry| wanted.is_some_and(|wanted| categories(entry).has(wanted)))
                    .map(|entry| entry.full_name.as_str())
                    .collect()
            } else if args.is(3, "PATTERN") {
                all.map(|entry| entry.full_name.as_str())
                    .filter(|name| text::glob(value, name.as_bytes(), true))
                    .collect()
            } else {
                return Err(CommandError::Syntax);
            }
        }
        _ => return Err(CommandError::Syntax),
    };
    let mut reply = sessions[slot].reply();
    reply.array(names.len());
    for name in names {
        reply.bulk(name.as_bytes());
    }
    Ok(Flow::Done)
}

/// The command that a COMMAND GETKEYS names, and its own arguments.
fn named<'a>(
    registry: &Registry,
    args: Args<'a>,
) -> Result<(CommandId, Vec<&'a [u8]>), CommandError> {
    let words: Vec<&[u8]> = args.from(2).collect();
    let id = registry.find(words[0]).ok_or(keyspec::NO_SUCH_COMMAND)?;
    let sub = words.get(1).and_then(|word| registry.find_subcommand(id, word));
    Ok((sub.unwrap_or(id), words))
}

fn key_positions(registry: &Registry, args: Args<'_>) -> Result<Vec<(Vec<u8>, u16)>, CommandError> {
    let (id, words) = named(registry, args)?;
    let mut bytes = Vec::new();
    let mut ranges = Vec::new();
    for word in &words {
        ranges.push(crate::resp::request::Range::new(bytes.len(), word.len()));
        bytes.extend_from_slice(word);
    }
    let found = keyspec::keys(registry[id].spec, Args::new(&bytes, &ranges))?;
    Ok(found.into_iter().map(|key| (words[key.index].to_vec(), key.flags)).collect())
}

fn getkeys(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    let keys = key_positions(&engine.registry, args)?;
    let mut reply = engine.sessions[slot].reply();
    reply.array(keys.len());
    for (key, _) in keys {
        reply.bulk(&key);
    }
    Ok(Flow::Done)
}

fn getkeysandflags(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    let keys = key_positions(&engine.registry, args)?;
    let mut reply = engine.sessions[slot].reply();
    reply.array(keys.len());
    for (key, flags) in keys {
        reply.array(2);
        reply.bulk(&key);
        reply_key_flags(&mut reply, flags);
    }
    Ok(Flow::Done)
}

fn reply_key_flags(reply: &mut Reply<'_>, flags: u16) {
    let names: Vec<&str> =
        Key::NAMES.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect();
    reply.set(names.len());
    for name in names {
        reply.simple(name);
    }
}

fn categories(entry: &Entry) -> Categories {
    Categories::of(entry.spec, !entry.subcommands.is_empty())
}

/// COMMAND INFO's answer for a command.
fn reply_info(reply: &mut Reply<'_>, registry: &Registry, id: CommandId) {
    let entry = &registry[id];
    let spec = entry.spec;
    let legacy = Legacy::of(spec);
    reply.array(10);
    reply.bulk(entry.full_name.as_bytes());
    reply.int(spec.arity.signed());
    let mut flags: Vec<&str> = Flags::NAMES
        .iter()
        .filter(|(flag, name)| spec.flags.has(*flag) && !name.is_empty())
        .map(|(_, name)| *name)
        .collect();
    if legacy.movable && !spec.flags.has(Flags::MOVABLE_KEYS) {
        flags.push("movablekeys");
    }
    reply.set(flags.len());
    for flag in flags {
        reply.simple(flag);
    }
    reply.int(legacy.first);
    reply.int(legacy.last);
    reply.int(legacy.step);
    let names: Vec<&str> = categories(entry).names().collect();
    reply.set(names.len());
    for name in names {
        reply.simple(&format!("@{name}"));
    }
    reply.set(spec.tips.len());
    for tip in spec.tips {
        reply.bulk(tip.as_bytes());
    }
    reply.set(spec.keys.len());
    for key in spec.keys {
        reply_key_spec(reply, key);
    }
    reply.array(entry.subcommands.len());
    for &subcommand in &entry.subcommands {
        reply_info(reply, registry, subcommand);
    }
}

fn reply_key_spec(reply: &mut Reply<'_>, key: &Key) {
    reply.map(3 + usize::from(key.notes.is_some()));
    if let Some(notes) = key.notes {
        reply.bulk(b"notes");
        reply.bulk(notes.as_bytes());
    }
    reply.bulk(b"flags");
    reply_key_flags(reply, key.flags);
    let pairs = |reply: &mut Reply<'_>, title: &str, kind: &str, spec: &[(&str, i64)]| {
        reply.bulk(title.as_bytes());
        reply.map(2);
        reply.bulk(b"type");
        reply.bulk(kind.as_bytes());
        reply.bulk(b"spec");
        reply.map(spec.len());
        for (name, value) in spec {
            reply.bulk(name.as_bytes());
            reply.int(*value);
        }
    };
    match key.begin {
        Begin::Index(index) => pairs(reply, "begin_search", "index", &[("index", index as i64)]),
        Begin::Unknown => pairs(reply, "begin_search", "unknown", &[]),
        Begin::Keyword(word, from) => {
            reply.bulk(b"begin_search");
            reply.map(2);
            reply.bulk(b"type");
            reply.bulk(b"keyword");
            reply.bulk(b"spec");
            reply.map(2);
            reply.bulk(b"keyword");
            reply.bulk(word.as_bytes());
            reply.bulk(b"startfrom");
            reply.int(from);
        }
    }
    match key.find {
        Find::Range { last, step, limit } => pairs(
            reply,
            "find_keys",
            "range",
            &[("lastkey", last), ("keystep", step as i64), ("limit", limit as i64)],
        ),
        Find::KeyNum { number, first, step } => pairs(
            reply,
            "find_keys",
            "keynum",
            &[("keynumidx", number as i64), ("firstkey", first as i64), ("keystep", step as i64)],
        ),
        Find::Unknown => pairs(reply, "find_keys", "unknown", &[]),
    }
}

fn docs(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    let Engine { registry, sessions, .. } = engine;
    let wanted: Vec<CommandId> = if args.len() == 2 {
        top_level(registry)
    } else {
        args.from(2).filter_map(|name| registry.find_full(name)).collect()
    };
    let mut reply = sessions[slot].reply();
    reply.map(wanted.len());
    for id in wanted {
        reply_docs(&mut reply, registry, id);
    }
    Ok(Flow::Done)
}

/// COMMAND DOCS' answer for a command: its name, then a map.
fn reply_docs(reply: &mut Reply<'_>, registry: &Registry, id: CommandId) {
    let entry = &registry[id];
    let spec = entry.spec;
    // `tests/compat.rs` holds every row's syntax to the notation.
    let arguments = syntax::parse(spec.syntax, spec.keys).unwrap_or_default();
    let fields = 4
        + usize::from(!spec.history.is_empty())
        + usize::from(!arguments.is_empty())
        + usize::from(!entry.subcommands.is_empty())
        + 3 * usize::from(spec.deprecated.is_some());
    reply.bulk(entry.full_name.as_bytes());
    reply.map(fields);
    for (name, value) in [
        ("summary", spec.summary),
        ("since", spec.since),
        ("group", spec.group.name()),
        ("complexity", spec.cost),
    ] {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    if let Some((since, replacement)) = spec.deprecated {
        reply.bulk(b"doc_flags");
        reply.set(1);
        reply.simple("deprecated");
        reply.bulk(b"deprecated_since");
        reply.bulk(since.as_bytes());
        reply.bulk(b"replaced_by");
        reply.bulk(replacement.as_bytes());
    }
    if !spec.history.is_empty() {
        reply.bulk(b"history");
        reply.set(spec.history.len());
        for (version, change) in spec.history {
            reply.array(2);
            reply.bulk(version.as_bytes());
            reply.bulk(change.as_bytes());
        }
    }
    if !arguments.is_empty() {
        reply.bulk(b"arguments");
        syntax::reply_arguments(reply, &arguments);
    }
    if !entry.subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(entry.subcommands.len());
        for &subcommand in &entry.subcommands {
            reply_docs(reply, registry, subcommand);
        }
    }
}
