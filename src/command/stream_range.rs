//! Streams: entries between two ids.

use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::spec::{Arity::AtLeast, Command, DataHandler, Flow, Key};
use crate::command::stream::reader;
use crate::command::stream_args::{Bound, interval_bound};
use crate::data::stream::{Entries, Stream, StreamId};
use crate::resp::reply::Reply;

/// XRANGE and XREVRANGE.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    reader("XRANGE", AtLeast(4), |cx, args| range(cx, args, false))
        .keys(&[Key::at(1).ro().access()])
        .since("5.0.0")
        .cost("O(log N + M) for N nodes and M entries of reply")
        .syntax("key start:string end:string [COUNT count]")
        .summary("Replies with the entries of a stream from one id to another, both included.")
        .history(&[("6.2.0", "Takes ids that are left out: `(<id>`.")]),
    reader("XREVRANGE", AtLeast(4), |cx, args| range(cx, args, true))
        .keys(&[Key::at(1).ro().access()])
        .since("5.0.0")
        .cost("O(log N + M) for N nodes and M entries of reply")
        .syntax("key end:string start:string [COUNT count]")
        .summary("Replies with the entries of a stream between two ids, the last first.")
        .history(&[("6.2.0", "Takes ids that are left out: `(<id>`.")]),
];

fn range(cx: &mut Cx<'_>, args: Args<'_>, backward: bool) -> Result<Flow, CommandError> {
    let (start_at, end_at) = if backward { (3, 2) } else { (2, 3) };
    let start = interval_bound(args.at(start_at), Bound::Start)?;
    let end = interval_bound(args.at(end_at), Bound::End)?;
    let mut count = None;
    let mut at = 4;
    while at < args.len() {
        if at + 1 == args.len() || !args.is(at, "COUNT") {
            return Err(CommandError::Syntax);
        }
        count = Some(usize::try_from(args.int(at + 1)?).unwrap_or(0));
        at += 2;
    }
    let mut db = cx.databases.db(cx.selected);
    let Some(stream) = db.read_as::<Stream>(args.at(1))? else {
        cx.reply.array(0);
        return Ok(Flow::Done);
    };
    if count == Some(0) {
        cx.reply.null_array();
        return Ok(Flow::Done);
    }
    let entries = if backward { stream.range_back(start, end) } else { stream.range(start, end) };
    reply_entries(&mut cx.reply, entries, count.unwrap_or(usize::MAX));
    Ok(Flow::Done)
}

/// Replies with up to `most` entries.
pub(super) fn reply_entries(reply: &mut Reply<'_>, mut entries: Entries<'_>, most: usize) {
    let start = reply.deferred();
    let mut count = 0;
    while count < most && reply_entry(reply, &mut entries).is_some() {
        count += 1;
    }
    reply.finish_array(start, count);
}

/// Replies with the next entry, if there is one: its id, and its fields and values in one array.
#[inline]
pub(super) fn reply_entry(reply: &mut Reply<'_>, entries: &mut Entries<'_>) -> Option<StreamId> {
    reply_entry_of(reply, entries, 2)
}

/// As [`reply_entry`], in an array of so many elements, of which the caller writes those behind the
/// second.
#[inline]
pub(super) fn reply_entry_of(
    reply: &mut Reply<'_>,
    entries: &mut Entries<'_>,
    elements: usize,
) -> Option<StreamId> {
    let entry = entries.next_entry()?;
    reply_present(reply, entries, entry, elements);
    Some(entry.0)
}

/// As [`reply_entry_of`] with the present entry, which [`Entries::next_entry`] has given.
#[inline]
pub(super) fn reply_present(
    reply: &mut Reply<'_>,
    entries: &mut Entries<'_>,
    (id, fields): (StreamId, usize),
    elements: usize,
) {
    reply.array(elements);
    reply.bulk(id.text().as_bytes());
    reply.array(2 * fields);
    while let Some((name, value)) = entries.next_field() {
        reply.element(name);
        reply.element(value);
    }
}
