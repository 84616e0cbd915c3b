//! Intersections, unions and differences of sets, answered or stored.
//!
//! A key that isn't there is an empty set. All keys' types are looked at before anything else.

use std::ops::Range;

use crate::base::text;
use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::set::{reader, writer};
use crate::command::spec::{Arity::AtLeast, Command, DataHandler, Flags, Flow, Key};
use crate::data::element::Element;
use crate::data::index::Room;
use crate::data::set::Set;
use crate::data::thresholds::Thresholds;
use crate::data::value::{NewValue, Object, ValueRef};
use crate::keyspace::databases::{Databases, DbIndex, Expiry, WrongType};
use crate::keyspace::unit::Event;

/// Commands on several sets at once.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    answering("SINTER", |cx, args| answer(cx, args, Operation::Intersection))
        .cost("O(N*M) for M keys of which the smallest has N members")
        .summary("Replies with what is in all of the sets."),
    answering("SUNION", |cx, args| answer(cx, args, Operation::Union))
        .cost("O(N) for N members of all the sets together")
        .summary("Replies with what is in any of the sets."),
    answering("SDIFF", |cx, args| answer(cx, args, Operation::Difference))
        .cost("O(N) for N members of all the sets together")
        .summary("Replies with what is in the first of the sets and in no other."),
    storing("SINTERSTORE", |cx, args| store(cx, args, Operation::Intersection))
        .keys(&[Key::at(1).rw().update(), Key::at(2).range(-1, 1).ro().access()])
        .cost("O(N*M) for M keys of which the smallest has N members")
        .summary("Stores what is in all of the sets."),
    storing("SUNIONSTORE", |cx, args| store(cx, args, Operation::Union))
        .cost("O(N) for N members of all the sets together")
        .summary("Stores what is in any of the sets."),
    storing("SDIFFSTORE", |cx, args| store(cx, args, Operation::Difference))
        .cost("O(N) for N members of all the sets together")
        .summary("Stores what is in the first of the sets and in no other."),
    reader("SINTERCARD", AtLeast(3), sintercard)
        .keys(&[Key::at(1).counted(0, 1, 1).ro().access()])
        .since("7.0.0")
        .cost("O(N*M) for M keys of which the smallest has N members")
        .syntax("numkeys key [key ...] [LIMIT limit:integer]")
        .summary("Counts what is in all of the sets."),
];

const ALL_READ: &[Key] = &[Key::at(1).range(-1, 1).ro().access()];
const STORED: &[Key] = &[Key::at(1).ow().update(), Key::at(2).range(-1, 1).ro().access()];

const fn answering(name: &'static str, run: DataHandler) -> Command<DataHandler> {
    reader(name, AtLeast(2), run)
        .keys(ALL_READ)
        .tips(&["nondeterministic_output_order"])
        .since("1.0.0")
        .syntax("key [key ...]")
}

const fn storing(name: &'static str, run: DataHandler) -> Command<DataHandler> {
    writer(name, AtLeast(3), run)
        .flags(Flags::DENYOOM)
        .keys(STORED)
        .since("1.0.0")
        .syntax("destination key [key ...]")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Intersection,
    Union,
    Difference,
}

impl Operation {
    const fn event(self) -> Event {
        match self {
            Self::Intersection => Event::SINTERSTORE,
            Self::Union => Event::SUNIONSTORE,
            Self::Difference => Event::SDIFFSTORE,
        }
    }
}

/// Sets at some keys of a database, which nothing changes meanwhile.
struct Sets<'a> {
    databases: &'a mut Databases,
    db: DbIndex,
    keys: Vec<&'a [u8]>,
}

impl<'a> Sets<'a> {
    /// Looks at all keys once: for their types, and as the uses that they are.
    fn new(
        databases: &'a mut Databases,
        db: DbIndex,
        args: Args<'a>,
        range: Range<usize>,
    ) -> Result<Self, WrongType> {
        let keys: Vec<&[u8]> = range.map(|index| args.at(index)).collect();
        for key in &keys {
            databases.db(db).read_as::<Set>(key)?;
        }
        Ok(Self { databases, db, keys })
    }

    /// Hands all the sets to a closure, those that aren't there as `None`.
    fn with<R>(&mut self, run: impl FnOnce(&[Option<&Set>]) -> R) -> R {
        let entries: Vec<_> =
            self.keys.iter().map(|key| self.databases.value(self.db, key)).collect();
        let sets: Vec<Option<&Set>> = entries
            .iter()
            .map(|value| match value {
                Some(ValueRef::Object(object)) => match &**object {
                    Object::Set(set) => Some(set),
                    _ => None,
                },
                _ => None,
            })
            .collect();
        run(&sets)
    }
}

/// Visits what is in all the sets, as long as the closure wants more.
fn intersection(sets: &[Option<&Set>], mut each: impl FnMut(Element<'_>) -> bool) {
    let Some(mut sets) = sets.iter().copied().collect::<Option<Vec<&Set>>>() else { return };
    sets.sort_by_key(|set| set.len());
    let Some((smallest, others)) = sets.split_first() else { return };
    for member in *smallest {
        if others.iter().all(|set| set.has(member)) && !each(member) {
            return;
        }
    }
}

/// What is in any of the sets.
fn union(sets: &[Option<&Set>], thresholds: &Thresholds, room: Room) -> Result<Set, CommandError> {
    let mut result = Set::default();
    for member in sets.iter().flatten().flat_map(|set| set.iter()) {
        if result.is_full(room) {
            return Err(CommandError::CollectionFull);
        }
        member.with_bytes(|bytes| result.insert(bytes, thresholds));
    }
    Ok(result)
}

/// What is in the first set and in no other. Each member of the first is looked for in the others, or
/// those are taken away from a copy of the first: whichever is less work, as upstream reckons it.
fn difference(sets: &[Option<&Set>], thresholds: &Thresholds) -> Set {
    let mut result = Set::default();
    let Some((Some(first), others)) = sets.split_first() else { return result };
    let others: Vec<&Set> = others.iter().copied().flatten().collect();
    let looks = first.len() * sets.len() / 2;
    let members: usize = first.len() + others.iter().map(|set| set.len()).sum::<usize>();
    if looks <= members {
        for member in *first {
            if !others.iter().any(|set| set.has(member)) {
                member.with_bytes(|bytes| result.insert(bytes, thresholds));
            }
        }
        return result;
    }
    for member in *first {
        member.with_bytes(|bytes| result.insert(bytes, thresholds));
    }
    for member in others.iter().flat_map(|set| set.iter()) {
        member.with_bytes(|bytes| result.remove(bytes));
    }
    result
}

fn answer(cx: &mut Cx<'_>, args: Args<'_>, operation: Operation) -> Result<Flow, CommandError> {
    let thresholds = &cx.limits.thresholds;
    let (reply, room) = (&mut cx.reply, cx.databases.room);
    let mut sets = Sets::new(cx.databases, cx.selected, args, 1..args.len())?;
    sets.with(|sets| {
        if operation == Operation::Intersection {
            let start = reply.deferred();
            let mut count = 0;
            intersection(sets, |member| {
                reply.element(member);
                count += 1;
                true
            });
            reply.finish_set(start, count);
            return Ok(Flow::Done);
        }
        let result = match operation {
            Operation::Union => union(sets, thresholds, room)?,
            _ => difference(sets, thresholds),
        };
        reply.set(result.len());
        result.iter().for_each(|member| reply.element(member));
        Ok(Flow::Done)
    })
}

fn store(cx: &mut Cx<'_>, args: Args<'_>, operation: Operation) -> Result<Flow, CommandError> {
    let thresholds = &cx.limits.thresholds;
    let (destination, room) = (args.at(1), cx.databases.room);
    let mut sets = Sets::new(cx.databases, cx.selected, args, 2..args.len())?;
    let result = sets.with(|sets| match operation {
        Operation::Union => union(sets, thresholds, room),
        Operation::Difference => Ok(difference(sets, thresholds)),
        Operation::Intersection => {
            let mut result = Set::default();
            intersection(sets, |member| {
                member.with_bytes(|bytes| result.insert(bytes, thresholds));
                true
            });
            Ok(result)
        }
    })?;
    let len = result.len();
    if result.is_empty() {
        let elsewhere = cx.databases.policy.lazy_server_del;
        cx.db().remove(destination, elsewhere, Event::DEL);
    } else {
        let value = NewValue::Object(Object::Set(result));
        cx.db().put(destination, value, Expiry::Clear, operation.event());
    }
    cx.reply.count(len);
    Ok(Flow::Done)
}

fn sintercard(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (keys, limit) = counted_keys(args)?;
    let mut sets = Sets::new(cx.databases, cx.selected, args, keys)?;
    let count = sets.with(|sets| {
        let mut count = 0;
        intersection(sets, |_| {
            count += 1;
            count != limit
        });
        count
    });
    cx.reply.count(count);
    Ok(Flow::Done)
}

/// The keys of `numkeys key [key ...] [LIMIT limit]`, and the limit; 0 for none.
fn counted_keys(args: Args<'_>) -> Result<(Range<usize>, usize), CommandError> {
    let count = text::parse_i64(args.at(1))
        .filter(|count| *count > 0)
        .ok_or(CommandError::text("ERR numkeys should be greater than 0"))?;
    let end = usize::try_from(count).unwrap_or(usize::MAX).saturating_add(2);
    if end > args.len() {
        return Err(CommandError::text("ERR Number of keys can't be greater than number of args"));
    }
    let mut limit = 0;
    let mut at = end;
    while at < args.len() {
        if !args.is(at, "LIMIT") || at + 1 == args.len() {
            return Err(CommandError::Syntax);
        }
        limit = text::parse_i64(args.at(at + 1))
            .and_then(|limit| usize::try_from(limit).ok())
            .ok_or(CommandError::text("ERR LIMIT can't be negative"))?;
        at += 2;
    }
    Ok((2..end, limit))
}

#[cfg(test)]
mod tests {
    use crate::command::generic_tests::World;

    #[test]
    fn an_intersection_of_integers_is_kept_as_integers() {
        let mut world = World::new();
        world.run("SADD a 1 2 3 x");
        world.run("SADD b 2 3 y z z2");
        assert_eq!(world.run("OBJECT ENCODING a"), "$8|listpack");
        assert_eq!(world.run("SINTERSTORE both a b"), ":2");
        assert_eq!(world.run("OBJECT ENCODING both"), "$6|intset");
        assert_eq!(world.run("SADD b x"), ":1");
        assert_eq!(world.run("SINTERSTORE both a b"), ":3");
        assert_eq!(world.run("OBJECT ENCODING both"), "$8|listpack");
    }
}
