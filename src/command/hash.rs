//! Hashes: putting, reading, counting and removing fields.
//!
//! Random fields and scans are in [`hash_walk`](crate::command::hash_walk), expiry times of fields in
//! [`hash_expire`](crate::command::hash_expire), and what does both at once in
//! [`hash_extended`](crate::command::hash_extended). A field whose time has come is gone before any
//! handler sees the hash.

use crate::base::text::LongDouble;
use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::hash_expire::log_expiry;
use crate::command::spec::{
    Arity::{self, AtLeast, Exactly},
    Command, DataHandler, Effect, Flags, Flow, Group, Key, read, write,
};
use crate::data::element::Element;
use crate::data::hash::{FieldExpiry, Hash};
use crate::keyspace::collection::Changed;
use crate::keyspace::unit::Event;

/// Commands on fields and their values.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    writer("HSET", AtLeast(4), hset)
        .flags(Flags::DENYOOM)
        .keys(UPDATED)
        .since("2.0.0")
        .cost("O(N) for N fields")
        .syntax("key field value [field value ...]")
        .summary("Puts fields into a hash and tells how many of them are new.")
        .history(&[("4.0.0", "Takes several fields.")]),
    writer("HMSET", AtLeast(4), hmset)
        .flags(Flags::DENYOOM)
        .keys(UPDATED)
        .since("2.0.0")
        .cost("O(N) for N fields")
        .syntax("key field value [field value ...]")
        .deprecated("4.0.0", "`HSET` with multiple field-value pairs")
        .summary("Puts fields into a hash."),
    writer("HSETNX", Exactly(4), hsetnx)
        .flags(Flags::DENYOOM)
        .keys(&[Key::at(1).rw().insert()])
        .since("2.0.0")
        .syntax("key field value")
        .summary("Puts a field into a hash unless it is there."),
    reader("HGET", Exactly(3), hget)
        .flags(Flags::FAST)
        .keys(READ)
        .since("2.0.0")
        .syntax("key field")
        .summary("Replies with the value of a field."),
    reader("HMGET", AtLeast(3), hmget)
        .flags(Flags::FAST)
        .keys(READ)
        .since("2.0.0")
        .cost("O(N) for N fields")
        .syntax("key field [field ...]")
        .summary("Replies with the values of several fields."),
    reader("HGETALL", Exactly(2), hgetall)
        .keys(READ)
        .tips(UNORDERED)
        .since("2.0.0")
        .cost("O(N) for N fields")
        .syntax("key")
        .summary("Replies with all fields and their values."),
    reader("HKEYS", Exactly(2), hkeys)
        .keys(READ)
        .tips(UNORDERED)
        .since("2.0.0")
        .cost("O(N) for N fields")
        .syntax("key")
        .summary("Lists the names of all fields."),
    reader("HVALS", Exactly(2), hvals)
        .keys(READ)
        .tips(UNORDERED)
        .since("2.0.0")
        .cost("O(N) for N fields")
        .syntax("key")
        .summary("Lists the values of all fields."),
    reader("HLEN", Exactly(2), hlen)
        .flags(Flags::FAST)
        .keys(ASKED)
        .since("2.0.0")
        .syntax("key")
        .summary("Counts the fields of a hash."),
    reader("HSTRLEN", Exactly(3), hstrlen)
        .flags(Flags::FAST)
        .keys(ASKED)
        .since("3.2.0")
        .syntax("key field")
        .summary("Replies with the length in bytes of a field's value."),
    reader("HEXISTS", Exactly(3), hexists)
        .flags(Flags::FAST)
        .keys(ASKED)
        .since("2.0.0")
        .syntax("key field")
        .summary("Tells whether a field is there."),
    writer("HDEL", AtLeast(3), hdel)
        .keys(&[Key::at(1).rw().delete()])
        .since("2.0.0")
        .cost("O(N) for N fields")
        .syntax("key field [field ...]")
        .summary("Removes fields and tells how many there were; an empty hash goes.")
        .history(&[("2.4.0", "Takes several fields.")]),
    writer("HINCRBY", Exactly(4), hincrby)
        .flags(Flags::DENYOOM)
        .keys(COUNTED)
        .since("2.0.0")
        .syntax("key field increment")
        .summary("Adds to the integer that a field holds, 0 where there is none."),
    writer("HINCRBYFLOAT", Exactly(4), hincrbyfloat)
        .flags(Flags::DENYOOM)
        .keys(COUNTED)
        .effect(Effect::Rewritten)
        .since("2.6.0")
        .syntax("key field increment:double")
        .summary("Adds to the float that a field holds, 0 where there is none."),
];

/// A row that writes.
pub(super) const fn writer(
    name: &'static str,
    arity: Arity,
    run: DataHandler,
) -> Command<DataHandler> {
    write(name, arity, run).group(Group::Hash).flags(Flags::FAST)
}

/// A row that reads.
pub(super) const fn reader(
    name: &'static str,
    arity: Arity,
    run: DataHandler,
) -> Command<DataHandler> {
    read(name, arity, run).group(Group::Hash)
}

const ASKED: &[Key] = &[Key::at(1).ro()];
const COUNTED: &[Key] = &[Key::at(1).rw().access().update()];
/// The key of a command that replies with what it holds.
pub(super) const READ: &[Key] = &[Key::at(1).ro().access()];
/// The key of a command that changes what it holds.
pub(super) const UPDATED: &[Key] = &[Key::at(1).rw().update()];
const UNORDERED: &[&str] = &["nondeterministic_output_order"];

fn hset(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let created = put_pairs(cx, args, "hset")?;
    cx.reply.count(created);
    Ok(Flow::Done)
}

fn hmset(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    put_pairs(cx, args, "hmset")?;
    cx.reply.ok();
    Ok(Flow::Done)
}

fn put_pairs(cx: &mut Cx<'_>, args: Args<'_>, command: &str) -> Result<usize, CommandError> {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::Arity(command.into()));
    }
    let thresholds = &cx.limits.thresholds;
    let created =
        cx.databases.db(cx.selected).edit(args.at(1), Event::HSET, |hash: &mut Hash| {
            let mut created = 0;
            hash.expect(args.len() / 2 - 1, thresholds);
            for at in (2..args.len()).step_by(2) {
                let (name, value) = (args.at(at), args.at(at + 1));
                created += usize::from(hash.insert(name, value, FieldExpiry::Clear, thresholds));
            }
            Changed::count(args.len() / 2 - 1, created)
        })?;
    Ok(created)
}

fn hsetnx(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (name, value) = (args.at(2), args.at(3));
    let thresholds = &cx.limits.thresholds;
    let created =
        cx.databases.db(cx.selected).edit(args.at(1), Event::HSET, |hash: &mut Hash| {
            if hash.contains(name) {
                return Changed::nothing(false);
            }
            hash.insert(name, value, FieldExpiry::Clear, thresholds);
            Changed::count(1, true)
        })?;
    cx.reply.int(i64::from(created));
    Ok(Flow::Done)
}

fn hget(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut db = cx.databases.db(cx.selected);
    let hash = db.read_as::<Hash>(args.at(1))?;
    match hash.as_ref().and_then(|hash| hash.get(args.at(2))) {
        Some(value) => cx.reply.element(value),
        None => cx.reply.null(),
    }
    Ok(Flow::Done)
}

fn hmget(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut db = cx.databases.db(cx.selected);
    let hash = db.read_as::<Hash>(args.at(1))?;
    cx.reply.array(args.len() - 2);
    for name in args.from(2) {
        match hash.as_ref().and_then(|hash| hash.get(name)) {
            Some(value) => cx.reply.element(value),
            None => cx.reply.null(),
        }
    }
    Ok(Flow::Done)
}

fn hgetall(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut db = cx.databases.db(cx.selected);
    let hash = db.read_as::<Hash>(args.at(1))?;
    cx.reply.map(hash.as_ref().map_or(0, |hash| hash.len()));
    for field in hash.iter().flat_map(|hash| hash.iter()) {
        cx.reply.element(field.name);
        cx.reply.element(field.value);
    }
    Ok(Flow::Done)
}

fn hkeys(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut db = cx.databases.db(cx.selected);
    let hash = db.read_as::<Hash>(args.at(1))?;
    cx.reply.array(hash.as_ref().map_or(0, |hash| hash.len()));
    hash.iter().flat_map(|hash| hash.iter()).for_each(|field| cx.reply.element(field.name));
    Ok(Flow::Done)
}

fn hvals(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut db = cx.databases.db(cx.selected);
    let hash = db.read_as::<Hash>(args.at(1))?;
    cx.reply.array(hash.as_ref().map_or(0, |hash| hash.len()));
    hash.iter().flat_map(|hash| hash.iter()).for_each(|field| cx.reply.element(field.value));
    Ok(Flow::Done)
}

fn hlen(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let len = cx.db().read_as::<Hash>(args.at(1))?.map_or(0, |hash| hash.len());
    cx.reply.count(len);
    Ok(Flow::Done)
}

fn hstrlen(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut db = cx.databases.db(cx.selected);
    let hash = db.read_as::<Hash>(args.at(1))?;
    let value = hash.as_ref().and_then(|hash| hash.get(args.at(2)));
    cx.reply.count(value.map_or(0, Element::len));
    Ok(Flow::Done)
}

fn hexists(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut db = cx.databases.db(cx.selected);
    let hash = db.read_as::<Hash>(args.at(1))?;
    let found = hash.is_some_and(|hash| hash.contains(args.at(2)));
    cx.reply.int(i64::from(found));
    Ok(Flow::Done)
}

fn hdel(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let removed = cx.db().edit_existing(args.at(1), Event::HDEL, |hash: &mut Hash| {
        let removed = args.from(2).filter(|name| hash.remove(name)).count();
        Changed::count(removed, removed)
    })?;
    cx.reply.count(removed.unwrap_or(0));
    Ok(Flow::Done)
}

fn hincrby(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let amount = args.int(3)?;
    let name = args.at(2);
    let thresholds = &cx.limits.thresholds;
    let sum =
        cx.databases.db(cx.selected).edit(args.at(1), Event::HINCRBY, |hash: &mut Hash| {
            let sum = match hash.get(name).map(Element::as_int) {
                None => Ok(amount),
                Some(None) => Err(CommandError::text("ERR hash value is not an integer")),
                Some(Some(old)) => old
                    .checked_add(amount)
                    .ok_or(CommandError::text("ERR increment or decrement would overflow")),
            };
            if let Ok(sum) = sum {
                let mut digits = itoa::Buffer::new();
                hash.insert(name, digits.format(sum).as_bytes(), FieldExpiry::Keep, thresholds);
            }
            Changed::count(usize::from(sum.is_ok()), sum)
        })??;
    cx.reply.int(sum);
    Ok(Flow::Done)
}

fn hincrbyfloat(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let amount = LongDouble::parse(args.at(3)).ok_or(CommandError::NotFloat)?;
    if LongDouble::parse(b"0").and_then(|zero| zero.checked_add(amount)).is_none() {
        return Err(CommandError::text("ERR value is NaN or Infinity"));
    }
    let (key, name) = (args.at(1), args.at(2));
    let thresholds = &cx.limits.thresholds;
    let mut digits = Vec::with_capacity(32);
    let mut db = cx.databases.db(cx.selected);
    let expiry = db.edit(key, Event::HINCRBYFLOAT, |hash: &mut Hash| {
        let field = hash.field(name);
        let expiry = field.and_then(|field| field.expiry);
        let old = match field {
            None => LongDouble::parse(b"0"),
            Some(field) => field.value.with_bytes(LongDouble::parse),
        };
        let sum = match old {
            None => Err(CommandError::text("ERR hash value is not a float")),
            Some(old) => old
                .checked_add(amount)
                .ok_or(CommandError::text("ERR increment would produce NaN or Infinity")),
        };
        match sum {
            Err(error) => Changed::nothing(Err(error)),
            Ok(sum) => {
                sum.push(&mut digits);
                hash.insert(name, &digits, FieldExpiry::Keep, thresholds);
                Changed::count(1, Ok(expiry))
            }
        }
    })??;
    // The sum, not the increment: another machine's floats might round otherwise.
    cx.log(&[b"HSET", key, name, &digits]);
    if let Some(at) = expiry {
        log_expiry(cx, key, at, &[name]);
    }
    cx.reply.bulk(&digits);
    Ok(Flow::Done)
}
