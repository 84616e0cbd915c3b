//! Strings that are numbers: INCR and its relatives.

use crate::base::text::LongDouble;
use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::spec::{
    Arity::Exactly, Command, DataHandler, Effect, Flags, Flow, Group, Key, write,
};
use crate::data::value::{NewValue, ValueRef};
use crate::keyspace::databases::Expiry;
use crate::keyspace::unit::Event;

/// Commands that count.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    counter("INCR", 2, incr).since("1.0.0").syntax("key").summary("Adds one to a number."),
    counter("DECR", 2, decr).since("1.0.0").syntax("key").summary("Takes one from a number."),
    counter("INCRBY", 3, incrby)
        .since("1.0.0")
        .syntax("key increment")
        .summary("Adds an integer to a number."),
    counter("DECRBY", 3, decrby)
        .since("1.0.0")
        .syntax("key decrement")
        .summary("Takes an integer from a number."),
    counter("INCRBYFLOAT", 3, incrbyfloat)
        .effect(Effect::Rewritten)
        .since("2.6.0")
        .syntax("key increment:double")
        .summary("Adds a floating-point number to a number.")
        .deviates(&[
            "The sum is exact to the 80-bit floats that upstream has on x86-64, on every \
                     machine.",
        ]),
];

const fn counter(name: &'static str, arity: usize, run: DataHandler) -> Command<DataHandler> {
    write(name, Exactly(arity), run)
        .group(Group::String)
        .flags(Flags::DENYOOM.union(Flags::FAST))
        .keys(CHANGED)
}

const CHANGED: &[Key] = &[Key::at(1).rw().access().update()];

fn incr(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    add(cx, args.at(1), 1)
}

fn decr(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    add(cx, args.at(1), -1)
}

fn incrby(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let amount = args.int(2)?;
    add(cx, args.at(1), amount)
}

fn decrby(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let amount = args.int(2)?;
    let amount = amount.checked_neg().ok_or(CommandError::text("ERR decrement would overflow"))?;
    add(cx, args.at(1), amount)
}

fn add(cx: &mut Cx<'_>, key: &[u8], amount: i64) -> Result<Flow, CommandError> {
    let mut db = cx.databases.db(cx.selected);
    let old = match db.touch_string(key)? {
        None => 0,
        Some(ValueRef::Int(number)) => number,
        // A string that was changed in place may hold digits.
        Some(ValueRef::Str(bytes)) => {
            crate::base::text::parse_i64(bytes).ok_or(CommandError::NotInteger)?
        }
        Some(ValueRef::Object(_)) => return Err(CommandError::WrongType),
    };
    let sum = old
        .checked_add(amount)
        .ok_or(CommandError::text("ERR increment or decrement would overflow"))?;
    db.put(key, NewValue::Int(sum), Expiry::Keep, Event::INCRBY);
    cx.reply.int(sum);
    Ok(Flow::Done)
}

fn incrbyfloat(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let key = args.at(1);
    let old = match cx.databases.db(cx.selected).touch_string(key)? {
        None => LongDouble::parse(b"0"),
        Some(ValueRef::Int(number)) => LongDouble::parse(number.to_string().as_bytes()),
        Some(ValueRef::Str(bytes)) => LongDouble::parse(bytes),
        Some(ValueRef::Object(_)) => return Err(CommandError::WrongType),
    };
    let old = old.ok_or(CommandError::NotFloat)?;
    let amount = LongDouble::parse(args.at(2)).ok_or(CommandError::NotFloat)?;
    let sum = old
        .checked_add(amount)
        .ok_or(CommandError::text("ERR increment would produce NaN or Infinity"))?;
    let mut digits = Vec::with_capacity(32);
    sum.push(&mut digits);
    cx.db().put(key, NewValue::Str(&digits), Expiry::Keep, Event::INCRBYFLOAT);
    // The sum, not the increment: another machine's floats might round otherwise.
    cx.log(&[b"SET", key, &digits, b"KEEPTTL"]);
    cx.reply.bulk(&digits);
    Ok(Flow::Done)
}
