//! Lists: moving elements from one to another, and taking them from the first list that has any.

use std::ops::Range;

use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::list::{TAKEN, int_within, pop_event, push_event, take_and_reply, writer};
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Command, DataHandler, Effect, Flags, Flow, Key,
};
use crate::data::list::{End, List};
use crate::keyspace::collection::Changed;

/// Commands that move elements.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    writer("LMOVE", Exactly(5), lmove)
        .flags(Flags::DENYOOM)
        .keys(MOVED)
        .since("6.2.0")
        .syntax("source destination <LEFT|RIGHT>:wherefrom <LEFT|RIGHT>:whereto")
        .summary("Takes an element from an end of a list and adds it at an end of another."),
    writer("RPOPLPUSH", Exactly(3), rpoplpush)
        .flags(Flags::DENYOOM)
        .keys(MOVED)
        .since("1.2.0")
        .syntax("source destination")
        .deprecated("6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments")
        .summary("Takes the last element of a list and adds it at the beginning of another."),
    writer("LMPOP", AtLeast(4), lmpop)
        .keys(&[Key::at(1).counted(0, 1, 1).rw().access().delete()])
        .effect(Effect::Rewritten)
        .since("7.0.0")
        .cost("O(N+M) for N keys and M elements")
        .syntax("numkeys key [key ...] <LEFT|RIGHT>:where [COUNT count]")
        .summary("Takes elements out of the first of several lists that has any."),
];

/// The keys between which an element moves.
pub(super) const MOVED: &[Key] = &[TAKEN[0], Key::at(2).rw().insert()];

/// The argument at `index` as an end of a list.
pub(super) fn end_at(args: Args<'_>, index: usize) -> Result<End, CommandError> {
    if args.is(index, "LEFT") {
        Ok(End::Front)
    } else if args.is(index, "RIGHT") {
        Ok(End::Back)
    } else {
        Err(CommandError::Syntax)
    }
}

fn lmove(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (from, to) = (end_at(args, 3)?, end_at(args, 4)?);
    move_or_null(cx, args, from, to)
}

fn rpoplpush(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    move_or_null(cx, args, End::Back, End::Front)
}

fn move_or_null(cx: &mut Cx<'_>, args: Args<'_>, from: End, to: End) -> Result<Flow, CommandError> {
    if !move_element(cx, args, from, to)? {
        cx.reply.null();
    }
    Ok(Flow::Done)
}

/// Moves an element from the list at argument 1 to the one at argument 2 and replies with it; false,
/// and no reply, where there is none.
pub(super) fn move_element(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    from: End,
    to: End,
) -> Result<bool, CommandError> {
    let (source, destination) = (args.at(1), args.at(2));
    let thresholds = &cx.limits.thresholds;
    let mut db = cx.databases.db(cx.selected);
    let Some(list) = db.touch_as::<List>(source)? else { return Ok(false) };
    let element = list.iter_toward(from).next().map(|element| element.to_vec());
    let Some(element) = element else { return Ok(false) };
    if source == destination {
        db.edit_existing(source, push_event(to), |list: &mut List| {
            list.rotate(from, to, thresholds, |_| ());
            Changed::count(1, ())
        })?;
        cx.databases.unit.notice(pop_event(from), cx.selected, source);
    } else {
        db.edit(destination, push_event(to), |list: &mut List| {
            list.push(to, std::iter::once(element.as_slice()), thresholds);
            Changed::count(1, ())
        })?;
        db.edit_existing(source, pop_event(from), |list: &mut List| {
            list.pop(from, thresholds, |_| ());
            Changed::count(1, ())
        })?;
        // Moving is one change, though two keys saw it.
        cx.databases.unit.changes -= 1;
    }
    cx.reply.bulk(&element);
    Ok(true)
}

/// What LMPOP and BLMPOP are to take.
pub(super) struct TakeSome {
    /// The arguments that name the keys.
    pub(super) keys: Range<usize>,
    pub(super) from: End,
    pub(super) count: usize,
}

impl TakeSome {
    /// Reads `numkeys key [key ...] LEFT|RIGHT [COUNT count]` from an argument on.
    pub(super) fn parse(args: Args<'_>, first: usize) -> Result<Self, CommandError> {
        const NO_KEYS: &str = "ERR numkeys should be greater than 0";
        const NO_COUNT: &str = "ERR count should be greater than 0";
        let keys = int_within(args, first, 1..=i64::MAX, Some(NO_KEYS))? as usize;
        let end = (first + 1).saturating_add(keys);
        if end >= args.len() {
            return Err(CommandError::Syntax);
        }
        let from = end_at(args, end)?;
        let mut count = None;
        let mut index = end + 1;
        while index < args.len() {
            if count.is_some() || !args.is(index, "COUNT") || index + 1 == args.len() {
                return Err(CommandError::Syntax);
            }
            count = Some(int_within(args, index + 1, 1..=i64::MAX, Some(NO_COUNT))? as usize);
            index += 2;
        }
        Ok(Self { keys: first + 1..end, from, count: count.unwrap_or(1) })
    }

    /// Takes elements from the first list there is, replies with its key and them, and logs what that
    /// amounts to; false, and no reply, where there is none.
    pub(super) fn run(&self, cx: &mut Cx<'_>, args: Args<'_>) -> Result<bool, CommandError> {
        for key in self.keys.clone().map(|index| args.at(index)) {
            if cx.db().touch_as::<List>(key)?.is_none() {
                continue;
            }
            cx.reply.array(2);
            cx.reply.bulk(key);
            let taken = take_and_reply(cx, key, self.from, self.count)?;
            let mut digits = itoa::Buffer::new();
            cx.log(&[pop_name(self.from), key, digits.format(taken).as_bytes()]);
            return Ok(true);
        }
        Ok(false)
    }
}

/// The command that takes from an end.
pub(super) fn pop_name(end: End) -> &'static [u8] {
    match end {
        End::Front => b"LPOP",
        End::Back => b"RPOP",
    }
}

fn lmpop(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    if !TakeSome::parse(args, 1)?.run(cx, args)? {
        cx.reply.null_array();
    }
    Ok(Flow::Done)
}
