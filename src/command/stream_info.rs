//! Streams: what XINFO tells of them.

use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Command, DataHandler, Flags, Flow, Group as CommandGroup, Key, control, read,
};
use crate::command::stream_group::no_group;
use crate::command::stream_range::{reply_entries, reply_entry};
use crate::data::stream::{Consumer, Counts, Group, Stream, StreamId};
use crate::keyspace::collection::Lent;
use crate::resp::reply::Reply;

/// XINFO.
pub(crate) const COMMANDS: &[Command<DataHandler>] =
    &[control::<DataHandler>("XINFO", AtLeast(2), container)
        .group(CommandGroup::Stream)
        .since("5.0.0")
        .cost("That of each subcommand")
        .summary("Tells about a stream, its groups and their consumers.")
        .subcommands(&[
            read::<DataHandler>("CONSUMERS", Exactly(4), consumers)
                .group(CommandGroup::Stream)
                .keys(ASKED)
                .tips(&["nondeterministic_output"])
                .since("5.0.0")
                .syntax("key groupname")
                .summary("Tells about the consumers of a group.")
                .history(&[("7.2.0", "Tells `inactive`.")]),
            read::<DataHandler>("GROUPS", Exactly(3), groups)
                .group(CommandGroup::Stream)
                .keys(ASKED)
                .since("5.0.0")
                .syntax("key")
                .summary("Tells about the consumer groups of a stream.")
                .history(&[("7.0.0", "Tells `entries-read` and `lag`.")]),
            control::<DataHandler>("HELP", Exactly(2), help)
                .group(CommandGroup::Stream)
                .flags(Flags::LOADING.union(Flags::STALE))
                .since("5.0.0")
                .summary("Lists the subcommands."),
            read::<DataHandler>("STREAM", AtLeast(3), stream)
                .group(CommandGroup::Stream)
                .keys(ASKED)
                .since("5.0.0")
                .cost("O(N) for N nodes")
                .syntax("key [FULL <[COUNT count]>:full]")
                .summary("Tells about a stream.")
                .history(&[
                    ("6.0.0", "Takes FULL."),
                    ("7.0.0", "Tells what was deleted and added."),
                    ("7.2.0", "Tells `active-time` and `seen-time` of consumers."),
                    ("8.8.0", "Tells how much was given back (`nacked-count`)."),
                ])
                .deviates(&[
                    "`nacked-count` is left out where it is 0, so that the reply is that of 7.2",
                ]),
        ])];

const ASKED: &[Key] = &[Key::at(2).ro().access()];

/// Entries and pending entries that FULL shows unless told otherwise.
const FULL_COUNT: usize = 10;

const HELP: &[&str] = &[
    "XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CONSUMERS <key> <groupname>",
    "    The consumers of <groupname>.",
    "GROUPS <key>",
    "    The consumer groups of the stream.",
    "STREAM <key> [FULL [COUNT <count>]",
    "    The stream itself; with FULL its entries and groups, too.",
    "HELP",
    "    Print this help.",
];

/// What runs when no subcommand matches; the engine has answered that before it gets here.
fn container(_cx: &mut Cx<'_>, _args: Args<'_>) -> Result<Flow, CommandError> {
    Err(CommandError::Syntax)
}

fn help(cx: &mut Cx<'_>, _args: Args<'_>) -> Result<Flow, CommandError> {
    cx.reply.status_lines(HELP.iter().copied());
    Ok(Flow::Done)
}

fn found(stream: Option<Lent<'_, Stream>>) -> Result<Lent<'_, Stream>, CommandError> {
    stream.ok_or(CommandError::NoSuchKey)
}

/// A field's name and the id in it.
fn field_id(reply: &mut Reply<'_>, name: &str, id: StreamId) {
    reply.bulk(name.as_bytes());
    reply.bulk(id.text().as_bytes());
}

fn field_count(reply: &mut Reply<'_>, name: &str, count: usize) {
    reply.bulk(name.as_bytes());
    reply.count(count);
}

/// A field's name and a number that may not be known.
fn field_known(reply: &mut Reply<'_>, name: &str, number: Option<u64>) {
    reply.bulk(name.as_bytes());
    match number {
        Some(number) => reply.int(number.cast_signed()),
        None => reply.null(),
    }
}

fn consumers(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let now_ms = cx.now.0;
    let mut db = cx.databases.db(cx.selected);
    let stream = found(db.read_as::<Stream>(args.at(2))?)?;
    let group = stream.group(args.at(3)).ok_or_else(|| no_group(args.at(2), args.at(3)))?;
    let reply = &mut cx.reply;
    reply.array(group.consumer_count());
    for (name, consumer) in group.consumers() {
        let since = |at: i64| now_ms.saturating_sub(at).max(0);
        reply.map(4);
        reply.bulk(b"name");
        reply.bulk(name);
        field_count(reply, "pending", consumer.pending_len());
        reply.bulk(b"idle");
        reply.int(since(consumer.seen_ms));
        reply.bulk(b"inactive");
        reply.int(consumer.active_ms.map_or(-1, since));
    }
    Ok(Flow::Done)
}

fn groups(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut db = cx.databases.db(cx.selected);
    let stream = found(db.read_as::<Stream>(args.at(2))?)?;
    let reply = &mut cx.reply;
    reply.array(stream.group_count());
    for (name, group) in stream.groups() {
        reply.map(6);
        reply.bulk(b"name");
        reply.bulk(name);
        field_count(reply, "consumers", group.consumer_count());
        field_count(reply, "pending", group.pending_len());
        field_id(reply, "last-delivered-id", group.last_id);
        field_known(reply, "entries-read", group.entries_read);
        field_known(reply, "lag", stream.lag(group));
    }
    Ok(Flow::Done)
}

fn stream(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut db = cx.databases.db(cx.selected);
    let stream = found(db.read_as::<Stream>(args.at(2))?)?;
    let full = full_count(args)?;
    let reply = &mut cx.reply;
    reply.map(if full.is_some() { 9 } else { 10 });
    let Counts { last_id, max_deleted, added } = stream.counts();
    field_count(reply, "length", stream.len());
    field_count(reply, "radix-tree-keys", stream.node_count());
    field_count(reply, "radix-tree-nodes", radix_nodes(stream.nodes().map(|(base, _)| base)));
    field_id(reply, "last-generated-id", last_id);
    field_id(reply, "max-deleted-entry-id", max_deleted);
    field_known(reply, "entries-added", Some(added));
    field_id(reply, "recorded-first-entry-id", stream.first_id().unwrap_or_default());
    match full {
        None => {
            field_count(reply, "groups", stream.group_count());
            let all = (StreamId::MIN, StreamId::MAX);
            for (name, mut entries) in [
                (&b"first-entry"[..], stream.range(all.0, all.1)),
                (&b"last-entry"[..], stream.range_back(all.0, all.1)),
            ] {
                reply.bulk(name);
                if reply_entry(reply, &mut entries).is_none() {
                    reply.null();
                }
            }
        }
        Some(count) => {
            reply.bulk(b"entries");
            reply_entries(reply, stream.range(StreamId::MIN, StreamId::MAX), count);
            reply.bulk(b"groups");
            reply.array(stream.group_count());
            for (name, group) in stream.groups() {
                full_group(reply, &stream, (name, group), count);
            }
        }
    }
    Ok(Flow::Done)
}

/// How much FULL shows, where it is asked for.
fn full_count(args: Args<'_>) -> Result<Option<usize>, CommandError> {
    let is_full = args.len() > 3 && args.is(3, "FULL");
    match args.len() {
        3 => Ok(None),
        4 if is_full => Ok(Some(FULL_COUNT)),
        6 if is_full && args.is(4, "COUNT") => Ok(Some(match args.int(5)? {
            0 => usize::MAX,
            count => usize::try_from(count).unwrap_or(FULL_COUNT),
        })),
        _ => Err(CommandError::owned(format!(
            "ERR unknown subcommand or wrong number of arguments for '{}'. Try XINFO HELP.",
            String::from_utf8_lossy(args.at(1))
        ))),
    }
}

fn full_group(
    reply: &mut Reply<'_>,
    stream: &Stream,
    (name, group): (&[u8], &Group),
    count: usize,
) {
    let released = group.released_len();
    reply.map(if released > 0 { 8 } else { 7 });
    reply.bulk(b"name");
    reply.bulk(name);
    field_id(reply, "last-delivered-id", group.last_id);
    field_known(reply, "entries-read", group.entries_read);
    field_known(reply, "lag", stream.lag(group));
    field_count(reply, "pel-count", group.pending_len());
    if released > 0 {
        field_count(reply, "nacked-count", released);
    }
    reply.bulk(b"pending");
    reply.array(count.min(group.pending_len()));
    let names = group.names();
    for pending in group.pending_from(StreamId::MIN).take(count) {
        reply.array(4);
        reply.bulk(pending.id.text().as_bytes());
        reply.bulk(pending.consumer.name_in(&names));
        reply.int(pending.delivered_ms);
        reply.int(pending.told_deliveries());
    }
    reply.bulk(b"consumers");
    reply.array(group.consumer_count());
    for consumer in group.consumers() {
        full_consumer(reply, group, consumer, count);
    }
}

fn full_consumer(
    reply: &mut Reply<'_>,
    group: &Group,
    (name, consumer): (&[u8], &Consumer),
    count: usize,
) {
    reply.map(5);
    reply.bulk(b"name");
    reply.bulk(name);
    reply.bulk(b"seen-time");
    reply.int(consumer.seen_ms);
    reply.bulk(b"active-time");
    reply.int(consumer.active_ms.unwrap_or(-1));
    field_count(reply, "pel-count", consumer.pending_len());
    reply.bulk(b"pending");
    reply.array(count.min(consumer.pending_len()));
    for id in consumer.pending_from(StreamId::MIN).take(count) {
        let (at, times) =
            group.pending(id).map_or((0, 0), |p| (p.delivered_ms, p.told_deliveries()));
        reply.array(3);
        reply.bulk(id.text().as_bytes());
        reply.int(at);
        reply.int(times);
    }
}

/// How many nodes upstream's radix tree would have for keys of 16 bytes that rise: a node for each
/// place where keys part, for each run of bytes between those places, and for each key's end.
fn radix_nodes(keys: impl Iterator<Item = StreamId>) -> usize {
    const KEY_BYTES: usize = 16;
    let keys: Vec<[u8; KEY_BYTES]> = keys.map(StreamId::to_bytes).collect();
    if keys.is_empty() {
        return 1;
    }
    let common =
        |pair: &[[u8; KEY_BYTES]]| pair[0].iter().zip(&pair[1]).take_while(|(a, b)| a == b).count();
    let depths: Vec<usize> = keys.windows(2).map(common).collect();
    let mut nodes = keys.len();
    // The partings on the path to the present key.
    let mut path: Vec<usize> = Vec::new();
    for (index, _) in keys.iter().enumerate() {
        // A key's own run begins behind the deepest parting that it has with a neighbour.
        let before = index.checked_sub(1).map(|before| depths[before]);
        let parting = before.max(depths.get(index).copied());
        nodes += usize::from(parting.map_or(0, |depth| depth + 1) < KEY_BYTES);
        let Some(depth) = depths.get(index).copied() else { break };
        let mut passed = None;
        while path.last().is_some_and(|part| *part > depth) {
            passed = path.pop();
        }
        if path.last() != Some(&depth) {
            let above = path.last().map_or(0, |part| part + 1);
            nodes += 1 + usize::from(depth > above);
            // What was a run down to a deeper parting is cut here.
            if let Some(deeper) = passed {
                nodes -= usize::from(deeper > above);
                nodes += usize::from(deeper > depth + 1);
            }
            path.push(depth);
        }
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn radix_nodes_are_those_of_redis() {
        // As redis-server 7.0.15 tells with one entry to a node.
        let cases: [(&[(u64, u64)], usize); 9] = [
            (&[], 1),
            (&[(0, 257)], 2),
            (&[(52, 8_589_934_592), (20_312, 2)], 6),
            (&[(0, 8_589_934_592), (53821, 18_446_744_073_709_551_615)], 6),
            (&[(0, 257), (1, 256), (2, 8_589_934_592), (124, 256)], 10),
            (&[(0, 257), (159, 2), (247, 256), (8688, 3)], 11),
            (&[(0, 3), (2, 2), (2, 8_589_934_592)], 10),
            (&[(0, 3), (1, 1), (3676, 257)], 9),
            (&[(0, 3), (285, 1), (395_399_215_960, 256)], 10),
        ];
        for (ids, expected) in cases {
            let keys = ids.iter().map(|&(ms, seq)| StreamId { ms, seq });
            assert_eq!(radix_nodes(keys), expected, "{ids:?}");
        }
    }
}
