//! Strings read and written whole or in part: SET and GET with their relatives.
//!
//! A value that is the canonical decimal form of an integer is stored as one. Counting is in
//! [`string_count`](crate::command::string_count), LCS in
//! [`string_lcs`](crate::command::string_lcs).

use crate::base::text;
use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::expire::delete_expired;
use crate::command::expiry::{Change, Form, Given, Range, Timeless};
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Command, DataHandler, Effect, Flags, Flow, Group, Key, read, write,
};
use crate::command::string_compared::Comparison;
use crate::data::value::{NewValue, ValueRef};
use crate::keyspace::databases::Expiry;
use crate::keyspace::unit::Event;
use crate::resp::reply::Reply;

const RW_NOTES: &str = "RW and ACCESS due to the optional `GET` argument";

/// Commands on whole strings and parts of them.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    writer("SET", AtLeast(3), set)
        .keys(&[Key::at(1).rw().access().update().variable_flags().notes(RW_NOTES)])
        .effect(Effect::Rewritten)
        .since("1.0.0")
        .syntax(
            "key value [NX|XX|IFEQ comparison-value|IFNE ifne-value|IFDEQ ifdeq-digest|\
             IFDNE ifdne-digest] [GET] [EX seconds|PX milliseconds|EXAT unix-time-seconds|\
             PXAT unix-time-milliseconds|KEEPTTL]",
        )
        .summary("Puts a string at a key, whatever was there.")
        .history(&[
            ("2.6.12", "Takes `EX`, `PX`, `NX` and `XX`."),
            ("6.0.0", "Takes `KEEPTTL`."),
            ("6.2.0", "Takes `GET`, `EXAT` and `PXAT`."),
            ("7.0.0", "Takes `NX` beside `GET`."),
            ("8.1.0", "Takes `IFEQ` (Valkey)."),
            ("8.4.0", "Takes `IFNE`, `IFDEQ` and `IFDNE`."),
        ]),
    writer("SETNX", Exactly(3), setnx)
        .flags(Flags::FAST)
        .keys(INSERTED)
        .since("1.0.0")
        .syntax("key value")
        .deprecated("2.6.12", "`SET` with the `NX` argument")
        .summary("Puts a string where there is no key yet."),
    writer("SETEX", Exactly(4), setex)
        .keys(OVERWRITTEN)
        .effect(Effect::Rewritten)
        .since("2.0.0")
        .syntax("key seconds value")
        .deprecated("2.6.12", "`SET` with the `EX` argument")
        .summary("Puts a string that expires after some seconds."),
    writer("PSETEX", Exactly(4), psetex)
        .keys(OVERWRITTEN)
        .effect(Effect::Rewritten)
        .since("2.6.0")
        .syntax("key milliseconds value")
        .deprecated("2.6.12", "`SET` with the `PX` argument")
        .summary("Puts a string that expires after some milliseconds."),
    reader("GET", Exactly(2), get)
        .flags(Flags::FAST)
        .keys(ASKED)
        .since("1.0.0")
        .syntax("key")
        .summary("Replies with the string at a key."),
    writer("GETSET", Exactly(3), getset)
        .flags(Flags::FAST)
        .keys(CHANGED)
        .effect(Effect::Rewritten)
        .since("1.0.0")
        .syntax("key value")
        .deprecated("6.2.0", "`SET` with the `!GET` argument")
        .summary("Puts a string and replies with the one before."),
    write::<DataHandler>("GETDEL", Exactly(2), getdel)
        .group(Group::String)
        .flags(Flags::FAST)
        .keys(&[Key::at(1).rw().access().delete()])
        .effect(Effect::Rewritten)
        .since("6.2.0")
        .syntax("key")
        .summary("Replies with a string and deletes its key."),
    write::<DataHandler>("GETEX", AtLeast(2), getex)
        .group(Group::String)
        .flags(Flags::FAST)
        .keys(&[Key::at(1)
            .rw()
            .access()
            .update()
            .notes("RW and UPDATE because it changes the TTL")])
        .effect(Effect::Rewritten)
        .since("6.2.0")
        .syntax(
            "key [EX seconds|PX milliseconds|EXAT unix-time-seconds|\
             PXAT unix-time-milliseconds|PERSIST]",
        )
        .summary("Replies with a string and sets or removes its expiry time."),
    reader("MGET", AtLeast(2), mget)
        .flags(Flags::FAST)
        .keys(&[Key::at(1).range(-1, 1).ro().access()])
        .tips(&["request_policy:multi_shard"])
        .since("1.0.0")
        .cost("O(N) for N keys")
        .syntax("key [key ...]")
        .summary("Replies with the strings at several keys."),
    writer("MSET", AtLeast(3), mset)
        .keys(&[Key::at(1).range(-1, 2).ow().update()])
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"])
        .since("1.0.1")
        .cost("O(N) for N keys")
        .syntax("key value [key value ...]")
        .summary("Puts several strings at once."),
    writer("MSETNX", AtLeast(3), msetnx)
        .keys(&[Key::at(1).range(-1, 2).ow().insert()])
        .tips(&["request_policy:multi_shard", "response_policy:agg_min"])
        .since("1.0.1")
        .cost("O(N) for N keys")
        .syntax("key value [key value ...]")
        .summary("Puts several strings if none of the keys is there."),
    reader("STRLEN", Exactly(2), strlen)
        .flags(Flags::FAST)
        .keys(&[Key::at(1).ro()])
        .since("2.2.0")
        .syntax("key")
        .summary("Replies with a string's length in bytes."),
    writer("APPEND", Exactly(3), append)
        .flags(Flags::FAST)
        .keys(&[Key::at(1).rw().insert()])
        .since("2.0.0")
        .syntax("key value")
        .summary("Adds bytes at the end of a string."),
    writer("SETRANGE", Exactly(4), setrange)
        .keys(&[Key::at(1).rw().update()])
        .since("2.2.0")
        .cost("O(N) for N bytes written")
        .syntax("key offset value")
        .summary("Overwrites a part of a string."),
    reader("GETRANGE", Exactly(4), getrange)
        .keys(ASKED)
        .since("2.4.0")
        .cost("O(N) for N bytes of reply")
        .syntax("key start end")
        .summary("Replies with a part of a string."),
    reader("SUBSTR", Exactly(4), getrange)
        .keys(ASKED)
        .since("1.0.0")
        .cost("O(N) for N bytes of reply")
        .syntax("key start end")
        .deprecated("2.0.0", "`GETRANGE`")
        .summary("Replies with a part of a string."),
];

const fn writer(
    name: &'static str,
    arity: crate::command::spec::Arity,
    run: DataHandler,
) -> Command<DataHandler> {
    write(name, arity, run).group(Group::String).flags(Flags::DENYOOM)
}

const fn reader(
    name: &'static str,
    arity: crate::command::spec::Arity,
    run: DataHandler,
) -> Command<DataHandler> {
    read(name, arity, run).group(Group::String)
}

const ASKED: &[Key] = &[Key::at(1).ro().access()];
const CHANGED: &[Key] = &[Key::at(1).rw().access().update()];
const INSERTED: &[Key] = &[Key::at(1).ow().insert()];
const OVERWRITTEN: &[Key] = &[Key::at(1).ow().update()];

/// Writes a string as a bulk reply, a null where there is none.
#[inline]
pub(crate) fn reply_string(reply: &mut Reply<'_>, value: Option<ValueRef<'_>>) {
    match value {
        Some(ValueRef::Str(bytes)) => reply.bulk(bytes),
        Some(ValueRef::Int(number)) => reply.bulk_int(number),
        Some(ValueRef::Object(_)) | None => reply.null(),
    }
}

/// Replies with the string at a key; false where there is none.
#[inline]
fn reply_with(cx: &mut Cx<'_>, key: &[u8]) -> Result<bool, CommandError> {
    let mut db = cx.databases.db(cx.selected);
    let value = db.read_string(key)?;
    let found = value.is_some();
    reply_string(&mut cx.reply, value);
    Ok(found)
}

/// When SET may write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Condition<'a> {
    #[default]
    Always,
    IfAbsent,
    IfPresent,
    Compared(Comparison<'a>),
}

#[derive(Clone, Copy, Default)]
struct SetOptions<'a> {
    condition: Condition<'a>,
    get: bool,
    expiry: Option<Given>,
}

impl<'a> SetOptions<'a> {
    fn parse(args: Args<'a>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut index = 3;
        while index < args.len() {
            let free = options.condition == Condition::Always;
            if args.is(index, "NX") && (free || options.condition == Condition::IfAbsent) {
                options.condition = Condition::IfAbsent;
            } else if args.is(index, "XX") && (free || options.condition == Condition::IfPresent) {
                options.condition = Condition::IfPresent;
            } else if free && let Some(comparison) = Comparison::at(args, index)? {
                options.condition = Condition::Compared(comparison);
                index += 1;
            } else if args.is(index, "GET") {
                options.get = true;
            } else if let Some(given) = Given::at(args, index, Timeless::Keep)
                && options.expiry.is_none_or(|earlier| earlier.is_like(given))
                && given.end(index) < args.len()
            {
                options.expiry = Some(given);
                index = given.end(index);
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        Ok(options)
    }
}

fn set(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    if args.len() == 3 {
        let value = NewValue::from_bytes(args.at(2));
        cx.databases.db(cx.selected).put(args.at(1), value, Expiry::Clear, Event::SET);
        cx.log_verbatim();
        cx.reply.ok();
        return Ok(Flow::Done);
    }
    set_with_options(cx, args, SetOptions::parse(args)?)
}

fn set_with_options(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    options: SetOptions<'_>,
) -> Result<Flow, CommandError> {
    let (key, value) = (args.at(1), args.at(2));
    let expiry = match options.expiry {
        Some(given) => match given.change(cx, args, Range::Positive, "set")? {
            Change::At(at) => Expiry::At(at),
            Change::Keep => Expiry::Keep,
            Change::Persist => Expiry::Clear,
        },
        None => Expiry::Clear,
    };
    let holds = match options.condition {
        Condition::Compared(comparison) => comparison.holds(cx.db().touch_string(key)?),
        _ => true,
    };
    if options.get {
        reply_with(cx, key)?;
    }
    let exists = cx.db().exists(key);
    let refused = match options.condition {
        Condition::Always => false,
        Condition::IfAbsent => exists,
        Condition::IfPresent => !exists,
        Condition::Compared(_) => !holds,
    };
    if refused {
        if !options.get {
            cx.reply.null();
        }
        return Ok(Flow::Done);
    }
    put_until(cx, key, value, expiry);
    if !options.get {
        cx.reply.ok();
    }
    Ok(Flow::Done)
}

/// Puts a string with an expiry time, or keeping the one there is, and logs that. A time that has
/// passed deletes the key instead, except while the log is replayed.
pub(super) fn put_until(cx: &mut Cx<'_>, key: &[u8], value: &[u8], expiry: Expiry) {
    if let Expiry::At(at) = expiry
        && at <= cx.now
        && !cx.replaying
    {
        delete_expired(cx, key);
        return;
    }
    cx.db().put(key, NewValue::from_bytes(value), expiry, Event::SET);
    match expiry {
        Expiry::At(at) => {
            cx.databases.unit.notice(Event::EXPIRE, cx.selected, key);
            let mut digits = itoa::Buffer::new();
            cx.log(&[b"SET", key, value, b"PXAT", digits.format(at.0).as_bytes()]);
        }
        Expiry::Keep => cx.log(&[b"SET", key, value, b"KEEPTTL"]),
        Expiry::Clear => cx.log(&[b"SET", key, value]),
    }
}

fn setnx(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let key = args.at(1);
    let absent = !cx.db().exists(key);
    if absent {
        cx.db().put(key, NewValue::from_bytes(args.at(2)), Expiry::Clear, Event::SET);
    }
    cx.reply.int(i64::from(absent));
    Ok(Flow::Done)
}

fn setex(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    set_for(cx, args, Form::SECONDS, "setex")
}

fn psetex(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    set_for(cx, args, Form::MILLIS, "psetex")
}

fn set_for(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    form: Form,
    command: &'static str,
) -> Result<Flow, CommandError> {
    let moment = form.moment(cx, args, 2, Range::Positive, command)?;
    put_until(cx, args.at(1), args.at(3), Expiry::At(moment));
    cx.reply.ok();
    Ok(Flow::Done)
}

fn get(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    reply_with(cx, args.at(1))?;
    Ok(Flow::Done)
}

fn getset(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    reply_with(cx, args.at(1))?;
    cx.db().put(args.at(1), NewValue::from_bytes(args.at(2)), Expiry::Clear, Event::SET);
    cx.log(&[b"SET", args.at(1), args.at(2)]);
    Ok(Flow::Done)
}

fn getdel(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let key = args.at(1);
    if reply_with(cx, key)? {
        let elsewhere = cx.limits.lazy_user_del;
        cx.db().remove(key, elsewhere, Event::DEL);
        cx.log(&[b"DEL", key]);
    }
    Ok(Flow::Done)
}

fn getex(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let key = args.at(1);
    let mut asked: Option<Given> = None;
    let mut index = 2;
    while index < args.len() {
        match Given::at(args, index, Timeless::Persist) {
            Some(given)
                if asked.is_none_or(|earlier| earlier.is_like(given))
                    && given.end(index) < args.len() =>
            {
                asked = Some(given);
                index = given.end(index) + 1;
            }
            _ => return Err(CommandError::Syntax),
        }
    }
    // Upstream looks at the key before the number: a wrong type is reported first.
    if cx.databases.db(cx.selected).touch_string(key)?.is_none() {
        // A miss counts as a read.
        reply_with(cx, key)?;
        return Ok(Flow::Done);
    }
    let change = match asked {
        Some(given) => given.change(cx, args, Range::Positive, "getex")?,
        None => Change::Keep,
    };
    reply_with(cx, key)?;
    apply_getex(cx, key, change);
    Ok(Flow::Done)
}

fn apply_getex(cx: &mut Cx<'_>, key: &[u8], change: Change) {
    match change {
        Change::At(at) if at <= cx.now && !cx.replaying => {
            delete_expired(cx, key);
        }
        Change::At(at) => {
            cx.db().set_expiry(key, Some(at), Event::EXPIRE);
            let mut digits = itoa::Buffer::new();
            cx.log(&[b"PEXPIREAT", key, digits.format(at.0).as_bytes()]);
        }
        Change::Persist => {
            let expires = cx.db().peek(key).is_some_and(|entry| entry.expiry().is_some());
            if expires {
                cx.db().set_expiry(key, None, Event::PERSIST);
                cx.log(&[b"PERSIST", key]);
            }
        }
        Change::Keep => {}
    }
}

fn mget(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    cx.reply.array(args.len() - 1);
    for key in args.from(1) {
        let mut db = cx.databases.db(cx.selected);
        let value = db.read_string(key).unwrap_or(None);
        reply_string(&mut cx.reply, value);
    }
    Ok(Flow::Done)
}

fn mset(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    put_pairs(cx, args, "mset")?;
    cx.reply.ok();
    Ok(Flow::Done)
}

fn msetnx(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::Arity("msetnx".into()));
    }
    for key in args.from(1).step_by(2) {
        if cx.db().exists(key) {
            cx.reply.int(0);
            return Ok(Flow::Done);
        }
    }
    put_pairs(cx, args, "msetnx")?;
    cx.reply.int(1);
    Ok(Flow::Done)
}

fn put_pairs(cx: &mut Cx<'_>, args: Args<'_>, command: &str) -> Result<(), CommandError> {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::Arity(command.into()));
    }
    let mut db = cx.databases.db(cx.selected);
    for index in (1..args.len()).step_by(2) {
        let value = NewValue::from_bytes(args.at(index + 1));
        db.put(args.at(index), value, Expiry::Clear, Event::SET);
    }
    Ok(())
}

fn strlen(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let len = match cx.db().read_string(args.at(1))? {
        None | Some(ValueRef::Object(_)) => 0,
        Some(ValueRef::Str(bytes)) => bytes.len(),
        Some(ValueRef::Int(number)) => itoa::Buffer::new().format(number).len(),
    };
    cx.reply.count(len);
    Ok(Flow::Done)
}

fn check_length(cx: &Cx<'_>, len: u64) -> Result<(), CommandError> {
    if len > cx.limits.string_bytes_max && !cx.replaying {
        return Err(CommandError::StringTooLong);
    }
    Ok(())
}

/// The length of the string at a key that is about to change.
fn length_of(cx: &mut Cx<'_>, key: &[u8]) -> Result<Option<usize>, CommandError> {
    let mut db = cx.databases.db(cx.selected);
    Ok(db.touch_string(key)?.map(|value| match value {
        ValueRef::Str(bytes) => bytes.len(),
        ValueRef::Int(number) => itoa::Buffer::new().format(number).len(),
        ValueRef::Object(_) => 0,
    }))
}

fn append(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (key, bytes) = (args.at(1), args.at(2));
    let len = match length_of(cx, key)? {
        None => {
            cx.db().put(key, NewValue::from_bytes(bytes), Expiry::Clear, Event::APPEND);
            bytes.len()
        }
        Some(old) => {
            check_length(cx, old as u64 + bytes.len() as u64)?;
            cx.db().edit_string(key, Event::APPEND, |string| {
                string.append(bytes);
                true
            })?;
            old + bytes.len()
        }
    };
    cx.reply.count(len);
    Ok(Flow::Done)
}

fn setrange(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (key, bytes) = (args.at(1), args.at(3));
    let offset = args.int(2)?;
    let Ok(offset) = usize::try_from(offset) else {
        return Err(CommandError::text("ERR offset is out of range"));
    };
    let old = length_of(cx, key)?;
    if bytes.is_empty() {
        cx.reply.count(old.unwrap_or(0));
        return Ok(Flow::Done);
    }
    let end = offset as u64 + bytes.len() as u64;
    check_length(cx, end)?;
    let end = end as usize;
    cx.db().edit_string(key, Event::SETRANGE, |string| {
        string.grow(end);
        string.bytes_mut()[offset..end].copy_from_slice(bytes);
        true
    })?;
    cx.reply.count(old.unwrap_or(0).max(end));
    Ok(Flow::Done)
}

fn getrange(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (start, end) = (args.int(2)?, args.int(3)?);
    let mut db = cx.databases.db(cx.selected);
    let mut digits = Vec::new();
    let bytes = match db.read_string(args.at(1))? {
        None | Some(ValueRef::Object(_)) => &[],
        Some(ValueRef::Str(bytes)) => bytes,
        Some(ValueRef::Int(number)) => {
            text::push_i64(&mut digits, number);
            digits.as_slice()
        }
    };
    cx.reply.bulk(part_of(bytes, start, end));
    Ok(Flow::Done)
}

/// The bytes from `start` to `end`, both included; negative positions count from the end.
fn part_of(bytes: &[u8], start: i64, end: i64) -> &[u8] {
    let len = bytes.len() as i64;
    if start < 0 && end < 0 && start > end {
        return &[];
    }
    let from_end = |at: i64| if at < 0 { (len.saturating_add(at)).max(0) } else { at };
    let (start, end) = (from_end(start), from_end(end).min(len - 1));
    if start > end || len == 0 {
        return &[];
    }
    &bytes[start as usize..=end as usize]
}

#[cfg(test)]
mod tests {
    use super::part_of;

    #[test]
    fn positions_count_from_both_ends() {
        let text = b"Hello World";
        for (start, end, expected) in [
            (0, 4, "Hello"),
            (-5, -1, "World"),
            (0, -1, "Hello World"),
            (5, 3, ""),
            (-1, -5, ""),
            (0, 500, "Hello World"),
            (-500, 2, "Hel"),
            (20, 30, ""),
            (i64::MIN, i64::MAX, "Hello World"),
        ] {
            let found = String::from_utf8_lossy(part_of(text, start, end));
            assert_eq!(found, expected, "{start} {end}");
        }
        assert!(part_of(b"", 0, -1).is_empty());
    }
}
