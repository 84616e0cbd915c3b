//! Expiry times: setting, asking for, removing them.
//!
//! The log never holds a relative time: whatever sets one is logged as PEXPIREAT, and a time that
//! has passed as the deletion that it is. While the log is replayed nothing expires, so a time in
//! the past is set like any other.

use crate::base::env::UnixMillis;
use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::{self, CommandError};
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Command, DataHandler, Effect, Flags, Flow, Key, read, write,
};
use crate::keyspace::unit::Event;

/// Commands on expiry times.
pub const COMMANDS: &[Command<DataHandler>] = &[
    setter("EXPIRE", expire)
        .since("1.0.0")
        .syntax("key seconds [NX|XX|GT|LT]")
        .summary("Lets a key expire after some seconds."),
    setter("PEXPIRE", pexpire)
        .since("2.6.0")
        .syntax("key milliseconds [NX|XX|GT|LT]")
        .summary("Lets a key expire after some milliseconds."),
    setter("EXPIREAT", expire_at)
        .since("1.2.0")
        .syntax("key unix-time-seconds [NX|XX|GT|LT]")
        .summary("Lets a key expire at a Unix time in seconds."),
    setter("PEXPIREAT", pexpire_at)
        .since("2.6.0")
        .syntax("key unix-time-milliseconds [NX|XX|GT|LT]")
        .summary("Lets a key expire at a Unix time in milliseconds."),
    getter("TTL", ttl)
        .tips(&["nondeterministic_output"])
        .since("1.0.0")
        .summary("Replies with the seconds that a key has left, -1 without expiry, -2 without key.")
        .history(&[("2.8.0", "Answers -2 where there is no key.")]),
    getter("PTTL", pttl)
        .tips(&["nondeterministic_output"])
        .since("2.6.0")
        .summary("Replies with the milliseconds that a key has left.")
        .history(&[("2.8.0", "Answers -2 where there is no key.")]),
    getter("EXPIRETIME", expire_time)
        .since("7.0.0")
        .summary("Replies with the Unix time in seconds at which a key expires."),
    getter("PEXPIRETIME", pexpire_time)
        .since("7.0.0")
        .summary("Replies with the Unix time in milliseconds at which a key expires."),
    write::<DataHandler>("PERSIST", Exactly(2), persist)
        .flags(Flags::FAST)
        .keys(CHANGED)
        .since("2.2.0")
        .syntax("key")
        .summary("Takes a key's expiry time away."),
];

const fn setter(name: &'static str, run: DataHandler) -> Command<DataHandler> {
    write(name, AtLeast(3), run)
        .flags(Flags::FAST)
        .keys(CHANGED)
        .effect(Effect::Rewritten)
        .history(&[("7.0.0", "Takes the conditions `NX`, `XX`, `GT` and `LT`.")])
}

const fn getter(name: &'static str, run: DataHandler) -> Command<DataHandler> {
    read(name, Exactly(2), run).flags(Flags::FAST).keys(ASKED).syntax("key")
}

const CHANGED: &[Key] = &[Key::at(1).rw().update()];
const ASKED: &[Key] = &[Key::at(1).ro().access()];

/// What an argument counts from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Base {
    Now,
    Epoch,
}

/// What an argument or reply counts in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    Millis,
}

/// When a new expiry time may be set; all that are given must hold.
#[derive(Clone, Copy, Default)]
struct Conditions {
    none_yet: bool,
    some_already: bool,
    greater: bool,
    less: bool,
}

impl Conditions {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut conditions = Self::default();
        for (index, word) in args.from(3).enumerate() {
            match () {
                () if args.is(3 + index, "NX") => conditions.none_yet = true,
                () if args.is(3 + index, "XX") => conditions.some_already = true,
                () if args.is(3 + index, "GT") => conditions.greater = true,
                () if args.is(3 + index, "LT") => conditions.less = true,
                () => {
                    let mut text = b"ERR Unsupported option ".to_vec();
                    text.extend_from_slice(error::quotable(word));
                    return Err(CommandError::quoting(text));
                }
            }
        }
        let Self { none_yet, some_already, greater, less } = conditions;
        if none_yet && (some_already || greater || less) {
            return Err(CommandError::text(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if greater && less {
            return Err(CommandError::text(
                "ERR GT and LT options at the same time are not compatible",
            ));
        }
        Ok(conditions)
    }

    /// No expiry time counts as one later than all others.
    fn admit(self, current: Option<UnixMillis>, new: UnixMillis) -> bool {
        match current {
            None => !self.some_already && !self.greater,
            Some(current) => {
                !self.none_yet && (!self.greater || new > current) && (!self.less || new < current)
            }
        }
    }
}

fn expire(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    set_expiry(cx, args, "expire", Base::Now, Unit::Seconds)
}

fn pexpire(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    set_expiry(cx, args, "pexpire", Base::Now, Unit::Millis)
}

fn expire_at(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    set_expiry(cx, args, "expireat", Base::Epoch, Unit::Seconds)
}

fn pexpire_at(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    set_expiry(cx, args, "pexpireat", Base::Epoch, Unit::Millis)
}

fn set_expiry(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    name: &'static str,
    base: Base,
    unit: Unit,
) -> Result<Flow, CommandError> {
    let conditions = Conditions::parse(args)?;
    let number = args.int(2)?;
    let millis = if unit == Unit::Seconds { number.checked_mul(1000) } else { Some(number) };
    let start = if base == Base::Now { cx.now.0 } else { 0 };
    let at = millis.and_then(|millis| millis.checked_add(start));
    let at = UnixMillis(at.ok_or(CommandError::ExpireTime(name))?);
    let key = args.at(1);
    let mut db = cx.databases.db(cx.selected);
    let Some(current) = db.touch(key).map(|entry| entry.expiry()) else {
        cx.reply.int(0);
        return Ok(Flow::Done);
    };
    if !conditions.admit(current, at) {
        cx.reply.int(0);
        return Ok(Flow::Done);
    }
    if at <= cx.now && !cx.replaying {
        delete_expired(cx, key);
    } else {
        db.set_expiry(key, Some(at), Event::EXPIRE);
        if base == Base::Epoch && unit == Unit::Millis && args.len() == 3 {
            cx.log_verbatim();
        } else {
            let mut digits = itoa::Buffer::new();
            cx.log(&[b"PEXPIREAT", key, digits.format(at.0).as_bytes()]);
        }
    }
    cx.reply.int(1);
    Ok(Flow::Done)
}

/// Deletes a key whose new expiry time has passed, and logs it as a deletion.
fn delete_expired(cx: &mut Cx<'_>, key: &[u8]) {
    let elsewhere = cx.databases.policy.lazy_expire;
    cx.db().remove(key, elsewhere, Event::DEL);
    cx.log(&[if elsewhere { b"UNLINK" } else { b"DEL" }, key]);
}

fn ttl(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    Ok(reply_expiry(cx, args, Base::Now, Unit::Seconds))
}

fn pttl(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    Ok(reply_expiry(cx, args, Base::Now, Unit::Millis))
}

fn expire_time(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    Ok(reply_expiry(cx, args, Base::Epoch, Unit::Seconds))
}

fn pexpire_time(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    Ok(reply_expiry(cx, args, Base::Epoch, Unit::Millis))
}

fn reply_expiry(cx: &mut Cx<'_>, args: Args<'_>, base: Base, unit: Unit) -> Flow {
    let start = if base == Base::Now { cx.now.0 } else { 0 };
    let expiry = cx.db().inspect(args.at(1)).map(|entry| entry.expiry());
    cx.reply.int(match expiry {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => {
            let millis = at.0.saturating_sub(start).max(0);
            // Rounded to the nearest second, as upstream does.
            let rounded = || millis / 1000 + i64::from(millis % 1000 >= 500);
            if unit == Unit::Millis { millis } else { rounded() }
        }
    });
    Flow::Done
}

fn persist(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let key = args.at(1);
    let mut db = cx.db();
    let expires = db.touch(key).is_some_and(|entry| entry.expiry().is_some());
    let persisted = expires && db.set_expiry(key, None, Event::PERSIST);
    cx.reply.int(i64::from(persisted));
    Ok(Flow::Done)
}
