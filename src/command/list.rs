//! Lists: adding, taking, reading and overwriting by position.
//!
//! What looks for elements by value is in [`list_search`](crate::command::list_search), what moves
//! them between keys in [`list_move`](crate::command::list_move), and what waits for them in
//! [`list_block`](crate::command::list_block).

use std::ops::Range;

use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::spec::{
    Arity::{self, AtLeast, Exactly},
    Command, DataHandler, Flags, Flow, Group, Key, read, write,
};
use crate::data::list::{End, List};
use crate::keyspace::collection::Changed;
use crate::keyspace::unit::Event;
use crate::resp::reply::Reply;

/// Commands on elements by their position.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    pusher("LPUSH", |cx, args| push(cx, args, End::Front))
        .since("1.0.0")
        .summary("Adds elements at the beginning of a list, one after the other.")
        .history(&[("2.4.0", "Takes several elements.")]),
    pusher("RPUSH", |cx, args| push(cx, args, End::Back))
        .since("1.0.0")
        .summary("Adds elements at the end of a list.")
        .history(&[("2.4.0", "Takes several elements.")]),
    pusher("LPUSHX", |cx, args| push_existing(cx, args, End::Front))
        .since("2.2.0")
        .summary("Adds elements at the beginning of a list that is there.")
        .history(&[("4.0.0", "Takes several elements.")]),
    pusher("RPUSHX", |cx, args| push_existing(cx, args, End::Back))
        .since("2.2.0")
        .summary("Adds elements at the end of a list that is there.")
        .history(&[("4.0.0", "Takes several elements.")]),
    popper("LPOP", |cx, args| pop(cx, args, End::Front))
        .summary("Takes the first elements out of a list; an empty list goes."),
    popper("RPOP", |cx, args| pop(cx, args, End::Back))
        .summary("Takes the last elements out of a list; an empty list goes."),
    reader("LLEN", Exactly(2), llen)
        .flags(Flags::FAST)
        .keys(&[Key::at(1).ro()])
        .since("1.0.0")
        .syntax("key")
        .summary("Counts the elements of a list."),
    reader("LINDEX", Exactly(3), lindex)
        .keys(READ)
        .since("1.0.0")
        .cost("O(1) near the ends, else O(N/M) for N elements of which M fit into a node")
        .syntax("key index")
        .summary("Replies with the element at an index, negative ones counted from the end."),
    writer("LSET", Exactly(4), lset)
        .flags(Flags::DENYOOM)
        .keys(&[Key::at(1).rw().update()])
        .since("1.0.0")
        .cost("As LINDEX")
        .syntax("key index element")
        .summary("Puts an element in the place of the one at an index."),
    reader("LRANGE", Exactly(4), lrange)
        .keys(READ)
        .since("1.0.0")
        .cost("That of LINDEX for the first element, and O(N) for N elements of reply")
        .syntax("key start stop:integer")
        .summary("Replies with the elements from one index to another, both included."),
    writer("LTRIM", Exactly(4), ltrim)
        .keys(&[Key::at(1).rw().delete()])
        .since("1.0.0")
        .cost("O(N) for N elements removed")
        .syntax("key start stop:integer")
        .summary("Keeps only the elements from one index to another; an empty list goes."),
];

/// The key of a command that replies with what it holds.
pub(super) const READ: &[Key] = &[Key::at(1).ro().access()];
/// The key of a command that adds elements.
pub(super) const INSERTED: &[Key] = &[Key::at(1).rw().insert()];
/// The keys of a command that replies with what it takes out.
pub(super) const TAKEN: &[Key] = &[Key::at(1).rw().access().delete()];

/// A row that writes.
pub(super) const fn writer(
    name: &'static str,
    arity: Arity,
    run: DataHandler,
) -> Command<DataHandler> {
    write(name, arity, run).group(Group::List)
}

/// A row that reads.
pub(super) const fn reader(
    name: &'static str,
    arity: Arity,
    run: DataHandler,
) -> Command<DataHandler> {
    read(name, arity, run).group(Group::List)
}

const fn pusher(name: &'static str, run: DataHandler) -> Command<DataHandler> {
    writer(name, AtLeast(3), run)
        .flags(Flags::DENYOOM.union(Flags::FAST))
        .keys(INSERTED)
        .cost("O(N) for N elements")
        .syntax("key element [element ...]")
}

const fn popper(name: &'static str, run: DataHandler) -> Command<DataHandler> {
    writer(name, AtLeast(2), run)
        .flags(Flags::FAST)
        .keys(TAKEN)
        .since("1.0.0")
        .cost("O(N) for N elements")
        .syntax("key [count]")
        .history(&[("6.2.0", "Takes `count`.")])
}

/// What adding at an end is called.
pub(super) fn push_event(end: End) -> Event {
    match end {
        End::Front => Event::LPUSH,
        End::Back => Event::RPUSH,
    }
}

/// What taking from an end is called.
pub(super) fn pop_event(end: End) -> Event {
    match end {
        End::Front => Event::LPOP,
        End::Back => Event::RPOP,
    }
}

/// The argument at `index`, an integer of which only `range` is allowed.
///
/// # Errors
/// The message; without one, upstream's words for what is wrong.
pub(super) fn int_within(
    args: Args<'_>,
    index: usize,
    range: std::ops::RangeInclusive<i64>,
    message: Option<&'static str>,
) -> Result<i64, CommandError> {
    let wrong = |error| message.map_or(error, CommandError::text);
    let number = args.int(index).map_err(wrong)?;
    if range.contains(&number) {
        return Ok(number);
    }
    Err(wrong(CommandError::owned(format!(
        "ERR value is out of range, value must between {} and {}",
        range.start(),
        range.end()
    ))))
}

/// The indices from `start` to `stop`, both included and both counted from the end where negative,
/// as far as they are among `len` elements.
pub(super) fn range_of(len: usize, start: i64, stop: i64) -> Range<usize> {
    let len = len as i64;
    let from_front = |index: i64| if index < 0 { len.saturating_add(index) } else { index };
    let start = from_front(start).max(0);
    let end = from_front(stop).saturating_add(1).min(len);
    if start >= end { 0..0 } else { start as usize..end as usize }
}

fn push(cx: &mut Cx<'_>, args: Args<'_>, end: End) -> Result<Flow, CommandError> {
    let thresholds = &cx.limits.thresholds;
    let len = cx.db().edit(args.at(1), push_event(end), |list: &mut List| {
        list.push(end, args.from(2), thresholds);
        Changed::count(args.len() - 2, list.len())
    })?;
    cx.reply.count(len);
    Ok(Flow::Done)
}

fn push_existing(cx: &mut Cx<'_>, args: Args<'_>, end: End) -> Result<Flow, CommandError> {
    let thresholds = &cx.limits.thresholds;
    let len = cx.db().edit_existing(args.at(1), push_event(end), |list: &mut List| {
        list.push(end, args.from(2), thresholds);
        Changed::count(args.len() - 2, list.len())
    })?;
    cx.reply.count(len.unwrap_or(0));
    Ok(Flow::Done)
}

fn pop(cx: &mut Cx<'_>, args: Args<'_>, end: End) -> Result<Flow, CommandError> {
    if args.len() > 2 {
        return pop_several(cx, args, end);
    }
    let thresholds = &cx.limits.thresholds;
    let mut db = cx.databases.db(cx.selected);
    let reply = &mut cx.reply;
    let found = db.edit_existing(args.at(1), pop_event(end), |list: &mut List| {
        match list.pop(end, thresholds, |element| reply.element(element)) {
            Some(()) => Changed::count(1, ()),
            None => {
                reply.null();
                Changed::nothing(())
            }
        }
    })?;
    if found.is_none() {
        cx.reply.null();
    }
    Ok(Flow::Done)
}

fn pop_several(cx: &mut Cx<'_>, args: Args<'_>, end: End) -> Result<Flow, CommandError> {
    if args.len() > 3 {
        let name = if end == End::Front { "lpop" } else { "rpop" };
        return Err(CommandError::Arity(name.into()));
    }
    const NEGATIVE: &str = "ERR value is out of range, must be positive";
    let count = int_within(args, 2, 0..=i64::MAX, Some(NEGATIVE))? as usize;
    let found = cx.db().touch_as::<List>(args.at(1))?.is_some();
    match (found, count) {
        (false, _) => cx.reply.null_array(),
        (true, 0) => cx.reply.array(0),
        (true, count) => {
            take_and_reply(cx, args.at(1), end, count)?;
        }
    }
    Ok(Flow::Done)
}

/// Takes elements out at an end and replies with an array of them; says how many there were.
pub(super) fn take_and_reply(
    cx: &mut Cx<'_>,
    key: &[u8],
    end: End,
    count: usize,
) -> Result<usize, CommandError> {
    let thresholds = &cx.limits.thresholds;
    let mut db = cx.databases.db(cx.selected);
    let reply = &mut cx.reply;
    let taken = db.edit_existing(key, pop_event(end), |list: &mut List| {
        let taken = count.min(list.len());
        reply.array(taken);
        list.iter_toward(end).visit(taken, |element| reply.element(element));
        let start = if end == End::Front { 0 } else { list.len() - taken };
        list.remove_range(start, taken, thresholds);
        Changed::count(taken, taken)
    })?;
    Ok(taken.unwrap_or(0))
}

fn llen(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let len = cx.db().read_as::<List>(args.at(1))?.map_or(0, |list| list.len());
    cx.reply.count(len);
    Ok(Flow::Done)
}

/// The place among `len` elements that an index means, if there is one.
fn index_of(len: usize, index: i64) -> Option<usize> {
    let index = match usize::try_from(index) {
        Ok(index) => index,
        Err(_) => len.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?,
    };
    (index < len).then_some(index)
}

fn lindex(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut db = cx.databases.db(cx.selected);
    let Some(list) = db.read_as::<List>(args.at(1))? else {
        cx.reply.null();
        return Ok(Flow::Done);
    };
    match index_of(list.len(), args.int(2)?).and_then(|index| list.get(index)) {
        Some(element) => cx.reply.element(element),
        None => cx.reply.null(),
    }
    Ok(Flow::Done)
}

fn lset(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let key = args.at(1);
    if cx.db().touch_as::<List>(key)?.is_none() {
        return Err(CommandError::NoSuchKey);
    }
    let (index, thresholds) = (args.int(2)?, &cx.limits.thresholds);
    let set = cx.db().edit_existing(key, Event::LSET, |list: &mut List| {
        // An index out of range is given on, since the list may become long by trying.
        let index = index_of(list.len(), index).unwrap_or(usize::MAX);
        let set = list.set(index, args.at(3), thresholds);
        Changed::count(usize::from(set), set)
    })?;
    if set != Some(true) {
        return Err(CommandError::IndexOutOfRange);
    }
    cx.reply.ok();
    Ok(Flow::Done)
}

fn lrange(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (start, stop) = (args.int(2)?, args.int(3)?);
    let mut db = cx.databases.db(cx.selected);
    match db.read_as::<List>(args.at(1))? {
        Some(list) => reply_range(&mut cx.reply, &list, range_of(list.len(), start, stop)),
        None => cx.reply.array(0),
    }
    Ok(Flow::Done)
}

fn reply_range(reply: &mut Reply<'_>, list: &List, range: Range<usize>) {
    reply.array(range.len());
    list.iter_from(range.start).visit(range.len(), |element| reply.element(element));
}

fn ltrim(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (start, stop) = (args.int(2)?, args.int(3)?);
    let thresholds = &cx.limits.thresholds;
    let trimmed = cx.db().edit_existing(args.at(1), Event::LTRIM, |list: &mut List| {
        let (len, keep) = (list.len(), range_of(list.len(), start, stop));
        list.trim(keep.start, keep.len(), thresholds);
        Changed::count(len - keep.len(), len - keep.len())
    })?;
    if trimmed == Some(0) {
        // Upstream tells of a trim that takes nothing away, too.
        cx.db().announce(args.at(1), Event::LTRIM);
    }
    cx.reply.ok();
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use super::{index_of, range_of};

    #[test]
    fn ranges_count_from_both_ends() {
        for (start, stop, expected) in [
            (0, 0, 0..1),
            (0, -1, 0..5),
            (-3, -2, 2..4),
            (-100, 1, 0..2),
            (3, 100, 3..5),
            (5, 9, 0..0),
            (3, 1, 0..0),
            (0, -6, 0..0),
            (i64::MIN, i64::MAX, 0..5),
            (i64::MAX, i64::MIN, 0..0),
        ] {
            assert_eq!(range_of(5, start, stop), expected, "{start} {stop}");
        }
        assert_eq!(range_of(0, 0, -1), 0..0);
    }

    #[test]
    fn indices_count_from_both_ends() {
        for (index, expected) in
            [(0, Some(0)), (4, Some(4)), (5, None), (-1, Some(4)), (-5, Some(0)), (-6, None)]
        {
            assert_eq!(index_of(5, index), expected, "{index}");
        }
        assert_eq!(index_of(5, i64::MIN), None);
    }
}
