//! Sets: adding, removing, moving, counting and asking for members.
//!
//! Random members and scans are in [`set_walk`](crate::command::set_walk), intersections, unions and
//! differences in [`set_algebra`](crate::command::set_algebra).

use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::spec::{
    Arity::{self, AtLeast, Exactly},
    Command, DataHandler, Flags, Flow, Group, Key, read, write,
};
use crate::data::set::Set;
use crate::keyspace::collection::Changed;
use crate::keyspace::unit::Event;

/// Commands on members.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    writer("SADD", AtLeast(3), sadd)
        .flags(Flags::DENYOOM.union(Flags::FAST))
        .keys(&[Key::at(1).rw().insert()])
        .since("1.0.0")
        .cost("O(N) for N members")
        .syntax("key member [member ...]")
        .summary("Adds members to a set and tells how many of them are new.")
        .history(&[("2.4.0", "Takes several members.")]),
    writer("SREM", AtLeast(3), srem)
        .flags(Flags::FAST)
        .keys(&[Key::at(1).rw().delete()])
        .since("1.0.0")
        .cost("O(N) for N members")
        .syntax("key member [member ...]")
        .summary("Removes members and tells how many there were; an empty set goes.")
        .history(&[("2.4.0", "Takes several members.")]),
    writer("SMOVE", Exactly(4), smove)
        .flags(Flags::FAST)
        .keys(&[Key::at(1).rw().access().delete(), Key::at(2).rw().insert()])
        .since("1.0.0")
        .syntax("source destination member")
        .summary("Takes a member out of a set and adds it to another."),
    reader("SISMEMBER", Exactly(3), sismember)
        .flags(Flags::FAST)
        .keys(ASKED)
        .since("1.0.0")
        .syntax("key member")
        .summary("Tells whether something is a member of a set."),
    reader("SMISMEMBER", AtLeast(3), smismember)
        .flags(Flags::FAST)
        .keys(READ)
        .since("6.2.0")
        .cost("O(N) for N members")
        .syntax("key member [member ...]")
        .summary("Tells of several things whether they are members of a set."),
    reader("SCARD", Exactly(2), scard)
        .flags(Flags::FAST)
        .keys(ASKED)
        .since("1.0.0")
        .syntax("key")
        .summary("Counts the members of a set."),
    reader("SMEMBERS", Exactly(2), smembers)
        .keys(READ)
        .tips(&["nondeterministic_output_order"])
        .since("1.0.0")
        .cost("O(N) for N members")
        .syntax("key")
        .summary("Replies with all members of a set."),
];

const ASKED: &[Key] = &[Key::at(1).ro()];
/// The key of a command that replies with what it holds.
pub(super) const READ: &[Key] = &[Key::at(1).ro().access()];

/// A row that writes.
pub(super) const fn writer(
    name: &'static str,
    arity: Arity,
    run: DataHandler,
) -> Command<DataHandler> {
    write(name, arity, run).group(Group::Set)
}

/// A row that reads.
pub(super) const fn reader(
    name: &'static str,
    arity: Arity,
    run: DataHandler,
) -> Command<DataHandler> {
    read(name, arity, run).group(Group::Set)
}

fn sadd(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let thresholds = &cx.limits.thresholds;
    let count = args.len() - 2;
    let added = cx.databases.db(cx.selected).edit(args.at(1), Event::SADD, |set: &mut Set| {
        if set.is_empty() {
            *set = Set::for_members(args.at(2), count, thresholds);
        } else {
            set.expect(count, thresholds);
        }
        let added = args.from(2).filter(|member| set.insert(member, thresholds)).count();
        Changed::count(added, added)
    })?;
    cx.reply.count(added);
    Ok(Flow::Done)
}

fn srem(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let removed = cx.db().edit_existing(args.at(1), Event::SREM, |set: &mut Set| {
        let removed = args.from(2).filter(|member| set.remove(member)).count();
        Changed::count(removed, removed)
    })?;
    cx.reply.count(removed.unwrap_or(0));
    Ok(Flow::Done)
}

fn smove(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (source, destination, member) = (args.at(1), args.at(2), args.at(3));
    let thresholds = &cx.limits.thresholds;
    let mut db = cx.databases.db(cx.selected);
    let exists = db.touch(source).is_some();
    db.touch(destination);
    if exists {
        db.touch_as::<Set>(source)?;
        db.touch_as::<Set>(destination)?;
    }
    let there = exists && db.touch_as::<Set>(source)?.is_some_and(|set| set.contains(member));
    if there && source != destination {
        db.check_room::<Set>(destination)?;
        db.edit_existing(source, Event::SREM, |set: &mut Set| {
            set.remove(member);
            Changed::count(1, ())
        })?;
        db.edit(destination, Event::SADD, |set: &mut Set| {
            if set.is_empty() {
                *set = Set::for_members(member, 1, thresholds);
            }
            Changed::count(usize::from(set.insert(member, thresholds)), ())
        })?;
    }
    cx.reply.int(i64::from(there));
    Ok(Flow::Done)
}

fn sismember(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let found = cx.db().read_as::<Set>(args.at(1))?.is_some_and(|set| set.contains(args.at(2)));
    cx.reply.int(i64::from(found));
    Ok(Flow::Done)
}

fn smismember(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut db = cx.databases.db(cx.selected);
    let set = db.read_as::<Set>(args.at(1))?;
    cx.reply.array(args.len() - 2);
    for member in args.from(2) {
        let found = set.as_ref().is_some_and(|set| set.contains(member));
        cx.reply.int(i64::from(found));
    }
    Ok(Flow::Done)
}

fn scard(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let len = cx.db().read_as::<Set>(args.at(1))?.map_or(0, |set| set.len());
    cx.reply.count(len);
    Ok(Flow::Done)
}

fn smembers(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut db = cx.databases.db(cx.selected);
    let set = db.read_as::<Set>(args.at(1))?;
    cx.reply.set(set.as_ref().map_or(0, |set| set.len()));
    set.iter().flat_map(|set| set.iter()).for_each(|member| cx.reply.element(member));
    Ok(Flow::Done)
}
