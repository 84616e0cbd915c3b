//! Fields of a hash and their expiry times at once, by Redis 8's documentation: HGETDEL, HGETEX,
//! HSETEX.
//!
//! The log gets the plain commands that they amount to (HSET, HDEL, HPEXPIREAT, HPERSIST), which
//! older servers know, too.

use std::collections::HashSet;

use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::{self, CommandError};
use crate::command::expiry::{Change, Given, Range, Timeless};
use crate::command::hash::{UPDATED, writer};
use crate::command::hash_expire::{
    NOT_POSITIVE, expire_at, fields_after, log_expiry, log_fields, log_removal,
};
use crate::command::spec::{Arity::AtLeast, Command, DataHandler, Effect, Flags, Flow, Key};
use crate::data::hash::{FieldExpiry, Hash};
use crate::keyspace::collection::Changed;
use crate::keyspace::unit::Event;

/// Commands that touch fields and their expiry times at once.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    writer("HGETDEL", AtLeast(5), hgetdel)
        .keys(&[Key::at(1).rw().access().delete()])
        .effect(Effect::Rewritten)
        .since("8.0.0")
        .cost("O(N) for N fields")
        .syntax("key FIELDS numfields field [field ...]")
        .summary("Replies with the values of fields and removes them."),
    writer("HGETEX", AtLeast(5), hgetex)
        .keys(&[Key::at(1).rw().access().update()])
        .effect(Effect::Rewritten)
        .since("8.0.0")
        .cost("O(N) for N fields")
        .syntax(
            "key [EX seconds|PX milliseconds|EXAT unix-time-seconds|\
             PXAT unix-time-milliseconds|PERSIST] FIELDS numfields field [field ...]",
        )
        .summary("Replies with the values of fields and sets or removes their expiry times."),
    writer("HSETEX", AtLeast(6), hsetex)
        .flags(Flags::DENYOOM)
        .keys(UPDATED)
        .effect(Effect::Rewritten)
        .since("8.0.0")
        .cost("O(N) for N fields")
        .syntax(
            "key [NX|XX]:key-condition [FNX|FXX] [EX seconds|PX milliseconds|EXAT unix-time-seconds|\
             PXAT unix-time-milliseconds|KEEPTTL] FIELDS numfields field value [field value ...]",
        )
        .summary("Puts fields into a hash and sets their expiry times.")
        .history(&[("9.0.0", "Asks whether the key is there: `NX`, `XX` (of Valkey).")]),
];

fn hgetdel(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let key = args.at(1);
    cx.db().touch_as::<Hash>(key)?;
    let fields = fields_after(args, 2, NOT_POSITIVE)?;
    let mut removed = Vec::new();
    let reply = &mut cx.reply;
    let mut db = cx.databases.db(cx.selected);
    let found = db.edit_existing(key, Event::HDEL, |hash: &mut Hash| {
        reply.array(args.len() - fields);
        for name in args.from(fields) {
            match hash.get(name) {
                None => reply.null(),
                Some(value) => {
                    reply.element(value);
                    hash.remove(name);
                    removed.push(name);
                }
            }
        }
        Changed::count(removed.len(), ())
    })?;
    if found.is_none() {
        reply_nulls(cx, args.len() - fields);
    }
    log_removal(cx, key, &removed);
    Ok(Flow::Done)
}

fn reply_nulls(cx: &mut Cx<'_>, count: usize) {
    cx.reply.array(count);
    (0..count).for_each(|_| cx.reply.null());
}

/// When HSETEX may write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Condition {
    #[default]
    Always,
    /// None of the fields is there.
    IfNone,
    /// All of the fields are there.
    IfAll,
}

/// The options of HGETEX and HSETEX, and where their fields begin.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    /// Whether the key must be there (`XX`) or must not (`NX`).
    present: Option<bool>,
    condition: Condition,
    /// What becomes of the fields' expiry times.
    time: Option<Change>,
    fields: usize,
}

/// What is different in the options of the two commands.
struct Dialect {
    command: &'static str,
    timeless: Timeless,
    conditions: bool,
    /// Arguments of a field.
    step: usize,
    two_times: &'static str,
}

const GETTING: Dialect = Dialect {
    command: "hgetex",
    timeless: Timeless::Persist,
    conditions: false,
    step: 1,
    two_times: "ERR Only one of EX, PX, EXAT, PXAT or PERSIST arguments can be specified",
};

const SETTING: Dialect = Dialect {
    command: "hsetex",
    timeless: Timeless::Keep,
    conditions: true,
    step: 2,
    two_times: "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified",
};

impl Options {
    fn parse(cx: &Cx<'_>, args: Args<'_>, dialect: &Dialect) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut at = 2;
        while at < args.len() {
            if args.is(at, "FIELDS") {
                options.fields = fields_of(args, at, dialect)?;
                return Ok(options);
            } else if let Some(given) = Given::at(args, at, dialect.timeless) {
                if options.time.is_some() {
                    return Err(CommandError::text(dialect.two_times));
                }
                at = given.end(at);
                if at == args.len() {
                    return Err(CommandError::text("ERR missing expire time"));
                }
                options.time = Some(given.change(cx, args, Range::Field, dialect.command)?);
            } else if dialect.conditions && (args.is(at, "NX") || args.is(at, "XX")) {
                if options.present.is_some() {
                    return Err(CommandError::text(
                        "ERR Only one of XX or NX arguments can be specified",
                    ));
                }
                options.present = Some(args.is(at, "XX"));
            } else if let Some(condition) = condition(args, at).filter(|_| dialect.conditions) {
                if options.condition != Condition::Always {
                    return Err(CommandError::text(
                        "ERR Only one of FXX or FNX arguments can be specified",
                    ));
                }
                options.condition = condition;
            } else {
                let mut text = b"ERR unknown argument: ".to_vec();
                text.extend_from_slice(error::quotable(args.at(at)));
                return Err(CommandError::quoting(text));
            }
            at += 1;
        }
        Err(CommandError::text("ERR missing FIELDS argument"))
    }
}

fn condition(args: Args<'_>, at: usize) -> Option<Condition> {
    match () {
        () if args.is(at, "FNX") => Some(Condition::IfNone),
        () if args.is(at, "FXX") => Some(Condition::IfAll),
        () => None,
    }
}

/// Where the fields begin that go from behind `FIELDS numfields` to the end.
fn fields_of(args: Args<'_>, at: usize, dialect: &Dialect) -> Result<usize, CommandError> {
    let arity = || CommandError::Arity(dialect.command.into());
    let number = crate::base::text::parse_i64(args.get(at + 1).ok_or_else(arity)?);
    let number = number
        .filter(|number| (1..=i64::from(i32::MAX)).contains(number))
        .ok_or(CommandError::text("ERR invalid number of fields"))?;
    if args.len() - (at + 2) != number as usize * dialect.step {
        return Err(arity());
    }
    Ok(at + 2)
}

fn hgetex(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let key = args.at(1);
    let Options { time, fields, .. } = Options::parse(cx, args, &GETTING)?;
    let mut db = cx.databases.db(cx.selected);
    if matches!(time, Some(Change::At(_))) {
        db.check_room::<Hash>(key)?;
    }
    let hash = db.touch_as::<Hash>(key)?;
    let names: Vec<&[u8]> = args.from(fields).collect();
    // A field whose new time is past is gone when it is named again.
    let past = matches!(time, Some(Change::At(at)) if at <= cx.now);
    let mut removed: Option<HashSet<&[u8], ahash::RandomState>> = past.then(HashSet::default);
    cx.reply.array(names.len());
    for name in &names {
        let again = removed.as_mut().is_some_and(|removed| !removed.insert(name));
        match hash.as_ref().and_then(|hash| hash.get(name)).filter(|_| !again) {
            Some(value) => cx.reply.element(value),
            None => cx.reply.null(),
        }
    }
    match time {
        Some(Change::At(at)) => expire_at(cx, key, &names, at)?,
        Some(Change::Persist) => persist(cx, key, &names)?,
        Some(Change::Keep) | None => {}
    }
    Ok(Flow::Done)
}

fn persist(cx: &mut Cx<'_>, key: &[u8], names: &[&[u8]]) -> Result<(), CommandError> {
    let mut persisted = Vec::new();
    cx.db().edit_existing(key, Event::HPERSIST, |hash: &mut Hash| {
        for name in names {
            if hash.field(name).is_some_and(|field| field.expiry.is_some()) {
                hash.set_expiry(name, None);
                persisted.push(*name);
            }
        }
        Changed::count(persisted.len(), ())
    })?;
    log_fields(cx, &[b"HPERSIST", key], &persisted);
    Ok(())
}

fn hsetex(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let key = args.at(1);
    let Options { present, condition, time, fields } = Options::parse(cx, args, &SETTING)?;
    let names: Vec<&[u8]> = args.from(fields).step_by(2).collect();
    let mut db = cx.databases.db(cx.selected);
    let hash = db.touch_as::<Hash>(key)?;
    let contains = |name: &&[u8]| hash.as_ref().is_some_and(|hash| hash.contains(name));
    let admitted = match condition {
        Condition::Always => true,
        Condition::IfNone => !names.iter().any(contains),
        Condition::IfAll => names.iter().all(contains),
    };
    if !admitted || present.is_some_and(|present| present != hash.is_some()) {
        cx.reply.int(0);
        return Ok(Flow::Done);
    }
    match time {
        // Put and expired at once: all that is left to do is to remove what was there.
        Some(Change::At(at)) if at <= cx.now && !cx.replaying => expire_at(cx, key, &names, at)?,
        Some(Change::At(at)) => put(cx, args, fields, FieldExpiry::At(at))?,
        Some(Change::Keep) => put(cx, args, fields, FieldExpiry::Keep)?,
        Some(Change::Persist) | None => put(cx, args, fields, FieldExpiry::Clear)?,
    }
    cx.reply.int(1);
    Ok(Flow::Done)
}

/// Puts the fields from an argument on, and logs that.
fn put(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    fields: usize,
    expiry: FieldExpiry,
) -> Result<(), CommandError> {
    let key = args.at(1);
    let thresholds = &cx.limits.thresholds;
    let mut kept = Vec::new();
    cx.databases.db(cx.selected).edit(key, Event::HSET, |hash: &mut Hash| {
        for at in (fields..args.len()).step_by(2) {
            let (name, value) = (args.at(at), args.at(at + 1));
            if expiry == FieldExpiry::Keep
                && let Some(at) = hash.field(name).and_then(|field| field.expiry)
            {
                kept.push((at, name));
            }
            hash.insert(name, value, expiry, thresholds);
        }
        Changed::count((args.len() - fields) / 2, ())
    })?;
    let mut record: Vec<&[u8]> = vec![b"HSET", key];
    record.extend(args.from(fields));
    cx.log(&record);
    if let FieldExpiry::At(at) = expiry {
        cx.databases.unit.notice(Event::HEXPIRE, cx.selected, key);
        let names: Vec<&[u8]> = args.from(fields).step_by(2).collect();
        log_expiry(cx, key, at, &names);
    }
    // HSET takes the times away.
    kept.sort_unstable();
    for same in kept.chunk_by(|(a, _), (b, _)| a == b) {
        let names: Vec<&[u8]> = same.iter().map(|(_, name)| *name).collect();
        log_expiry(cx, key, same[0].0, &names);
    }
    Ok(())
}
