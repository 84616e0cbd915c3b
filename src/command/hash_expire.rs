//! Expiry times of a hash's fields, by Redis 7.4's documentation: setting, asking for, removing them.
//!
//! Every field gets an answer of its own: `NO_FIELD`, and otherwise what the command says. As with
//! keys, the log never holds a relative time, and a time that has passed is the removal that it is.

use crate::base::env::UnixMillis;
use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::expiry::{Base, Condition, Form, Range, Unit};
use crate::command::hash::{READ, UPDATED, reader, writer};
use crate::command::spec::{Arity::AtLeast, Command, DataHandler, Effect, Flags, Flow};
use crate::data::hash::Hash;
use crate::keyspace::collection::Changed;
use crate::keyspace::unit::Event;

/// Commands on the expiry times of fields.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    setter("HEXPIRE", hexpire)
        .syntax("key seconds [NX|XX|GT|LT] FIELDS numfields field [field ...]")
        .summary("Lets fields expire after some seconds."),
    setter("HPEXPIRE", hpexpire)
        .syntax("key milliseconds [NX|XX|GT|LT] FIELDS numfields field [field ...]")
        .summary("Lets fields expire after some milliseconds."),
    setter("HEXPIREAT", hexpire_at)
        .syntax("key unix-time-seconds [NX|XX|GT|LT] FIELDS numfields field [field ...]")
        .summary("Lets fields expire at a Unix time in seconds."),
    setter("HPEXPIREAT", hpexpire_at)
        .syntax("key unix-time-milliseconds [NX|XX|GT|LT] FIELDS numfields field [field ...]")
        .summary("Lets fields expire at a Unix time in milliseconds."),
    getter("HTTL", httl)
        .tips(&["nondeterministic_output"])
        .summary("Replies with the seconds that fields have left."),
    getter("HPTTL", hpttl)
        .tips(&["nondeterministic_output"])
        .summary("Replies with the milliseconds that fields have left."),
    getter("HEXPIRETIME", hexpire_time)
        .summary("Replies with the Unix times in seconds at which fields expire."),
    getter("HPEXPIRETIME", hpexpire_time)
        .summary("Replies with the Unix times in milliseconds at which fields expire."),
    writer("HPERSIST", AtLeast(5), hpersist)
        .keys(UPDATED)
        .since("7.4.0")
        .cost("O(N) for N fields")
        .syntax("key FIELDS numfields field [field ...]")
        .summary("Takes the expiry times of fields away."),
];

const fn setter(name: &'static str, run: DataHandler) -> Command<DataHandler> {
    writer(name, AtLeast(6), run)
        .flags(Flags::DENYOOM)
        .keys(UPDATED)
        .effect(Effect::Rewritten)
        .since("7.4.0")
        .cost("O(N) for N fields")
}

const fn getter(name: &'static str, run: DataHandler) -> Command<DataHandler> {
    reader(name, AtLeast(5), run)
        .flags(Flags::FAST)
        .keys(READ)
        .since("7.4.0")
        .cost("O(N) for N fields")
        .syntax("key FIELDS numfields field [field ...]")
}

/// The answer for a field that isn't there.
const NO_FIELD: i64 = -2;
/// The answer for a field that doesn't expire.
const NO_EXPIRY: i64 = -1;
/// The index of the first of the fields that `FIELDS numfields field ...` names, up to the end, where
/// `at` is that of the word. `not_positive` is the error for a number that is none.
pub(super) fn fields_after(
    args: Args<'_>,
    at: usize,
    not_positive: &'static str,
) -> Result<usize, CommandError> {
    if !args.is(at, "FIELDS") {
        return Err(CommandError::text(
            "ERR Mandatory argument FIELDS is missing or not at the right position",
        ));
    }
    let number = args.get(at + 1).and_then(crate::base::text::parse_i64);
    let number = number.filter(|number| *number > 0).ok_or(CommandError::text(not_positive))?;
    if args.len() - (at + 2) != number as usize {
        return Err(CommandError::text(
            "ERR The `numfields` parameter must match the number of arguments",
        ));
    }
    Ok(at + 2)
}

/// What [`fields_after`] says in all commands but those that set a time.
pub(super) const NOT_POSITIVE: &str = "ERR Number of fields must be a positive integer";

fn hexpire(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    set_expiry(cx, args, "hexpire", Form::SECONDS)
}

fn hpexpire(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    set_expiry(cx, args, "hpexpire", Form::MILLIS)
}

fn hexpire_at(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    set_expiry(cx, args, "hexpireat", Form::UNIX_SECONDS)
}

fn hpexpire_at(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    set_expiry(cx, args, "hpexpireat", Form::UNIX_MILLIS)
}

fn set_expiry(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    command: &'static str,
    form: Form,
) -> Result<Flow, CommandError> {
    let key = args.at(1);
    // The type is looked at first, as upstream does.
    cx.db().touch_as::<Hash>(key)?;
    let at = form.moment(cx, args, 2, Range::Field, command)?;
    let condition = Condition::named(args, 3);
    let fields = fields_after(
        args,
        3 + usize::from(condition.is_some()),
        "ERR Parameter `numFields` should be greater than 0",
    )?;
    let condition = condition.unwrap_or(Condition::Always);
    let names: Vec<&[u8]> = args.from(fields).collect();
    cx.db().check_room::<Hash>(key)?;
    let answers = apply(cx, key, &names, at, condition)?;
    cx.reply.array(answers.len());
    answers.into_iter().for_each(|answer| cx.reply.int(answer));
    Ok(Flow::Done)
}

/// Lets fields expire at a time, or removes them where it has passed, and logs that. The answers are
/// [`NO_FIELD`], 0 where the condition doesn't hold, 1 and 2 where the field is removed.
fn apply(
    cx: &mut Cx<'_>,
    key: &[u8],
    names: &[&[u8]],
    at: UnixMillis,
    condition: Condition,
) -> Result<Vec<i64>, CommandError> {
    let passed = at <= cx.now && !cx.replaying;
    let event = if passed { Event::HDEL } else { Event::HEXPIRE };
    let mut changed = Vec::new();
    let answers = cx.databases.db(cx.selected).edit_existing(key, event, |hash: &mut Hash| {
        let mut answers = Vec::with_capacity(names.len());
        for name in names {
            let Some(old) = hash.field(name).map(|field| field.expiry) else {
                answers.push(NO_FIELD);
                continue;
            };
            if !condition.admits(old, at) {
                answers.push(0);
                continue;
            }
            if passed {
                hash.remove(name);
            } else {
                hash.set_expiry(name, Some(at));
            }
            answers.push(if passed { 2 } else { 1 });
            changed.push(*name);
        }
        Changed::count(changed.len(), answers)
    })?;
    if passed {
        log_removal(cx, key, &changed);
    } else {
        log_expiry(cx, key, at, &changed);
    }
    Ok(answers.unwrap_or_else(|| vec![NO_FIELD; names.len()]))
}

/// Lets those of the fields that are there expire at a time, and logs that.
pub(super) fn expire_at(
    cx: &mut Cx<'_>,
    key: &[u8],
    names: &[&[u8]],
    at: UnixMillis,
) -> Result<(), CommandError> {
    apply(cx, key, names, at, Condition::Always).map(drop)
}

/// Logs that fields expire at a time, where there are any.
pub(super) fn log_expiry(cx: &mut Cx<'_>, key: &[u8], at: UnixMillis, names: &[&[u8]]) {
    let mut millis = itoa::Buffer::new();
    log_fields(cx, &[b"HPEXPIREAT", key, millis.format(at.0).as_bytes()], names);
}

/// Logs that fields were removed, where there are any.
pub(super) fn log_removal(cx: &mut Cx<'_>, key: &[u8], names: &[&[u8]]) {
    if !names.is_empty() {
        let mut record: Vec<&[u8]> = vec![b"HDEL", key];
        record.extend_from_slice(names);
        cx.log(&record);
    }
}

/// Logs a command whose arguments end in `FIELDS numfields field ...`, where there are fields.
pub(super) fn log_fields(cx: &mut Cx<'_>, head: &[&[u8]], names: &[&[u8]]) {
    if !names.is_empty() {
        let mut count = itoa::Buffer::new();
        let mut record = head.to_vec();
        record.extend([&b"FIELDS"[..], count.format(names.len()).as_bytes()]);
        record.extend_from_slice(names);
        cx.log(&record);
    }
}

fn httl(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    reply_expiry(cx, args, Form::SECONDS)
}

fn hpttl(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    reply_expiry(cx, args, Form::MILLIS)
}

fn hexpire_time(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    reply_expiry(cx, args, Form::UNIX_SECONDS)
}

fn hpexpire_time(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    reply_expiry(cx, args, Form::UNIX_MILLIS)
}

fn reply_expiry(cx: &mut Cx<'_>, args: Args<'_>, form: Form) -> Result<Flow, CommandError> {
    let start = if form.base == Base::Now { cx.now.0 } else { 0 };
    let mut db = cx.databases.db(cx.selected);
    let hash = db.read_as::<Hash>(args.at(1))?;
    let fields = fields_after(args, 2, NOT_POSITIVE)?;
    cx.reply.array(args.len() - fields);
    for name in args.from(fields) {
        let field = hash.as_ref().and_then(|hash| hash.field(name));
        cx.reply.int(match field.map(|field| field.expiry) {
            None => NO_FIELD,
            Some(None) => NO_EXPIRY,
            Some(Some(at)) => {
                let millis = (at.0 - start).max(0);
                // A part of a second counts as a whole one here, other than with keys.
                let seconds = || millis / 1000 + i64::from(millis % 1000 > 0);
                if form.unit == Unit::Millis { millis } else { seconds() }
            }
        });
    }
    Ok(Flow::Done)
}

fn hpersist(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let key = args.at(1);
    cx.db().touch_as::<Hash>(key)?;
    let fields = fields_after(args, 2, NOT_POSITIVE)?;
    let count = args.len() - fields;
    let answers = cx.db().edit_existing(key, Event::HPERSIST, |hash: &mut Hash| {
        let mut answers = Vec::with_capacity(count);
        for name in args.from(fields) {
            answers.push(match hash.field(name).map(|field| field.expiry) {
                None => NO_FIELD,
                Some(None) => NO_EXPIRY,
                Some(Some(_)) => {
                    hash.set_expiry(name, None);
                    1
                }
            });
        }
        Changed::count(answers.iter().filter(|answer| **answer == 1).count(), answers)
    })?;
    cx.reply.array(count);
    let answers = answers.unwrap_or_else(|| vec![NO_FIELD; count]);
    answers.into_iter().for_each(|answer| cx.reply.int(answer));
    Ok(Flow::Done)
}
