//! Expiry times: setting, asking for, removing them.
//!
//! The log never holds a relative time: whatever sets one is logged as PEXPIREAT, and a time that
//! has passed as the deletion that it is. While the log is replayed nothing expires, so a time in
//! the past is set like any other.

use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::expiry::{Base, Condition, Form, Range, Unit};
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Command, DataHandler, Effect, Flags, Flow, Key, read, write,
};
use crate::keyspace::reclaim::removal_word;
use crate::keyspace::unit::Event;

/// Commands on expiry times.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
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

fn expire(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    set_expiry(cx, args, "expire", Form::SECONDS)
}

fn pexpire(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    set_expiry(cx, args, "pexpire", Form::MILLIS)
}

fn expire_at(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    set_expiry(cx, args, "expireat", Form::UNIX_SECONDS)
}

fn pexpire_at(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    set_expiry(cx, args, "pexpireat", Form::UNIX_MILLIS)
}

fn set_expiry(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    name: &'static str,
    form: Form,
) -> Result<Flow, CommandError> {
    let condition = Condition::all_from(args, 3)?;
    let at = form.moment(cx, args, 2, Range::Any, name)?;
    let key = args.at(1);
    let mut db = cx.databases.db(cx.selected);
    let Some(current) = db.touch(key).map(|entry| entry.expiry()) else {
        cx.reply.int(0);
        return Ok(Flow::Done);
    };
    if !condition.admits(current, at) {
        cx.reply.int(0);
        return Ok(Flow::Done);
    }
    if at <= cx.now && !cx.replaying {
        delete_expired(cx, key);
    } else {
        db.set_expiry(key, Some(at), Event::EXPIRE);
        if form == Form::UNIX_MILLIS && args.len() == 3 {
            cx.log_verbatim();
        } else {
            let mut digits = itoa::Buffer::new();
            cx.log(&[b"PEXPIREAT", key, digits.format(at.0).as_bytes()]);
        }
    }
    cx.reply.int(1);
    Ok(Flow::Done)
}

/// Deletes a key, where it is there, whose new expiry time has passed, and logs it as a deletion.
pub(super) fn delete_expired(cx: &mut Cx<'_>, key: &[u8]) {
    let elsewhere = cx.databases.policy.lazy_expire;
    if cx.db().remove(key, elsewhere, Event::DEL) {
        cx.log(&[removal_word(elsewhere), key]);
    }
}

fn ttl(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    Ok(reply_expiry(cx, args, Form::SECONDS))
}

fn pttl(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    Ok(reply_expiry(cx, args, Form::MILLIS))
}

fn expire_time(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    Ok(reply_expiry(cx, args, Form::UNIX_SECONDS))
}

fn pexpire_time(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    Ok(reply_expiry(cx, args, Form::UNIX_MILLIS))
}

fn reply_expiry(cx: &mut Cx<'_>, args: Args<'_>, form: Form) -> Flow {
    let start = if form.base == Base::Now { cx.now.0 } else { 0 };
    let expiry = cx.db().inspect(args.at(1)).map(|entry| entry.expiry());
    cx.reply.int(match expiry {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => {
            let millis = at.0.saturating_sub(start).max(0);
            // Rounded to the nearest second, as upstream does.
            let rounded = || millis / 1000 + i64::from(millis % 1000 >= 500);
            if form.unit == Unit::Millis { millis } else { rounded() }
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
