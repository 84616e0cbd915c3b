//! One command's description, as COMMAND INFO and COMMAND DOCS write it.

use crate::command::category::Categories;
use crate::command::keyspec::Legacy;
use crate::command::spec::{Begin, Find, Flags, Key};
use crate::command::syntax;
use crate::engine::registry::{CommandId, Registry};
use crate::resp::reply::Reply;

/// Writes what COMMAND INFO says of a command.
pub(crate) fn reply_info(reply: &mut Reply<'_>, registry: &Registry, id: CommandId) {
    let entry = &registry[id];
    let spec = entry.spec;
    let legacy = Legacy::of(spec);
    reply.array(10);
    reply.bulk(entry.full_name.as_bytes());
    reply.int(spec.arity.signed());
    let mut flags = spec.flags;
    if legacy.movable {
        flags = flags.union(Flags::MOVABLE_KEYS);
    }
    reply_names(reply, flags.names());
    reply.int(legacy.first);
    reply.int(legacy.last);
    reply.int(legacy.step);
    let categories = Categories::of(spec, !entry.subcommands.is_empty());
    reply.set(categories.names().count());
    for name in categories.names() {
        reply.simple(&format!("@{name}"));
    }
    reply.set(spec.tips.len());
    for tip in spec.tips {
        reply.bulk(tip.as_bytes());
    }
    reply.set(spec.keys.len());
    for key in spec.keys {
        reply_key(reply, key);
    }
    if entry.subcommands.is_empty() {
        reply.set(0);
    } else {
        reply.array(entry.subcommands.len());
    }
    for subcommand in &entry.subcommands {
        reply_info(reply, registry, *subcommand);
    }
}

/// A set of names.
pub(super) fn reply_names(
    reply: &mut Reply<'_>,
    names: impl Iterator<Item = &'static str> + Clone,
) {
    reply.set(names.clone().count());
    for name in names {
        reply.simple(name);
    }
}

fn reply_key(reply: &mut Reply<'_>, key: &Key) {
    reply.map(3 + usize::from(key.notes.is_some()));
    if let Some(notes) = key.notes {
        reply.bulk(b"notes");
        reply.bulk(notes.as_bytes());
    }
    reply.bulk(b"flags");
    reply_names(reply, key.flags.names());
    reply.bulk(b"begin_search");
    match key.begin {
        Begin::Index(index) => kind(reply, "index", &[("index", index as i64)]),
        Begin::Keyword(word, from) => {
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
        Begin::Unknown => kind(reply, "unknown", &[]),
    }
    reply.bulk(b"find_keys");
    match key.find {
        Find::Range { last, step, limit } => kind(
            reply,
            "range",
            &[("lastkey", last), ("keystep", step as i64), ("limit", limit as i64)],
        ),
        Find::KeyNum { number, first, step } => kind(
            reply,
            "keynum",
            &[("keynumidx", number as i64), ("firstkey", first as i64), ("keystep", step as i64)],
        ),
        Find::Unknown => kind(reply, "unknown", &[]),
    }
}

fn kind(reply: &mut Reply<'_>, name: &str, numbers: &[(&str, i64)]) {
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(name.as_bytes());
    reply.bulk(b"spec");
    reply.map(numbers.len());
    for (name, number) in numbers {
        reply.bulk(name.as_bytes());
        reply.int(*number);
    }
}

/// Writes a command's name and what COMMAND DOCS says of it.
pub(crate) fn reply_docs(reply: &mut Reply<'_>, registry: &Registry, id: CommandId) {
    let entry = &registry[id];
    let spec = entry.spec;
    reply.bulk(entry.full_name.as_bytes());
    let start = reply.deferred();
    let mut fields = 4;
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
        fields += 3;
    }
    if !spec.history.is_empty() {
        reply.bulk(b"history");
        reply.set(spec.history.len());
        for (version, change) in spec.history {
            reply.array(2);
            reply.bulk(version.as_bytes());
            reply.bulk(change.as_bytes());
        }
        fields += 1;
    }
    // A test holds every row to the notation.
    let arguments = syntax::parse(spec.syntax, spec.keys).unwrap_or_default();
    if !arguments.is_empty() {
        reply.bulk(b"arguments");
        syntax::reply_arguments(reply, &arguments);
        fields += 1;
    }
    if !entry.subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(entry.subcommands.len());
        for subcommand in &entry.subcommands {
            reply_docs(reply, registry, *subcommand);
        }
        fields += 1;
    }
    reply.finish_map(start, fields);
}
