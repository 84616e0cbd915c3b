//! Whole keys, whatever they hold: deleting, asking for, naming, copying, moving.
//!
//! Deliberately absent: expiry times (`expire`), walking over keys (`scan`), payloads (`dump`).

use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Command, DataHandler, Flags, Flow, Key, read, write,
};
use crate::keyspace::databases::DbIndex;
use crate::keyspace::unit::Event;

/// Commands on keys as such.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    write::<DataHandler>("DEL", AtLeast(2), del)
        .keys(&[Key::at(1).range(-1, 1).rm().delete()])
        .tips(SPREAD_AND_SUM)
        .since("1.0.0")
        .cost(
            "O(N) for N keys; a key that holds a collection of M elements costs O(M), unless the \
             lazyfree-lazy-user-del directive moves that to the background",
        )
        .syntax("key [key ...]")
        .summary("Removes keys and tells how many there were."),
    write::<DataHandler>("UNLINK", AtLeast(2), unlink)
        .flags(Flags::FAST)
        .keys(&[Key::at(1).range(-1, 1).rm().delete()])
        .tips(SPREAD_AND_SUM)
        .since("4.0.0")
        .cost("O(1) for each key; big values are freed in the background")
        .syntax("key [key ...]")
        .summary("Removes keys without waiting for their memory to be freed."),
    read::<DataHandler>("EXISTS", AtLeast(2), exists)
        .flags(Flags::FAST)
        .keys(&[Key::at(1).range(-1, 1).ro()])
        .tips(SPREAD_AND_SUM)
        .since("1.0.0")
        .cost("O(N) for N keys")
        .syntax("key [key ...]")
        .summary("Counts how many of the keys exist; a key named twice counts twice.")
        .history(&[("3.0.3", "Takes several keys.")]),
    read::<DataHandler>("TYPE", Exactly(2), kind)
        .flags(Flags::FAST)
        .keys(&[Key::at(1).ro()])
        .since("1.0.0")
        .syntax("key")
        .summary("Names the type of the value at a key."),
    read::<DataHandler>("TOUCH", AtLeast(2), touch)
        .flags(Flags::FAST.union(Flags::TOUCHES))
        .keys(&[Key::at(1).range(-1, 1).ro()])
        .tips(SPREAD_AND_SUM)
        .since("3.2.1")
        .cost("O(N) for N keys")
        .syntax("key [key ...]")
        .summary("Marks keys as just used and tells how many of them exist."),
    write::<DataHandler>("RENAME", Exactly(3), rename)
        .keys(&[Key::at(1).rw().access().delete(), Key::at(2).ow().update()])
        .since("1.0.0")
        .cost("O(1), and freeing what the new name held")
        .syntax("key newkey")
        .summary("Gives a key another name, replacing what has that name."),
    write::<DataHandler>("RENAMENX", Exactly(3), rename_unless_taken)
        .flags(Flags::FAST)
        .keys(&[Key::at(1).rw().access().delete(), Key::at(2).ow().insert()])
        .since("1.0.0")
        .syntax("key newkey")
        .summary("Gives a key another name unless that is taken.")
        .history(&[("3.2.0", "Takes the same name twice.")]),
    write::<DataHandler>("COPY", AtLeast(3), copy)
        .flags(Flags::DENYOOM)
        .keys(&[Key::at(1).ro().access(), Key::at(2).ow().update()])
        .since("6.2.0")
        .cost("O(N) for a collection of N elements, O(1) for a string")
        .syntax("source destination [DB destination-db] [REPLACE]")
        .summary("Copies the value and the expiry time of a key to another key."),
    write::<DataHandler>("MOVE", Exactly(3), move_to)
        .flags(Flags::FAST)
        .keys(&[Key::at(1).rw().access().update()])
        .since("1.0.0")
        .syntax("key db")
        .summary("Moves a key to another database unless it exists there."),
    read::<DataHandler>("RANDOMKEY", Exactly(1), random_key)
        .tips(&["request_policy:all_shards", "nondeterministic_output"])
        .since("1.0.0")
        .summary("Replies with a key chosen at random."),
];

/// Tips of commands whose keys may be spread over partitions, the counts to be summed up.
const SPREAD_AND_SUM: &[&str] = &["request_policy:multi_shard", "response_policy:agg_sum"];

const SAME_OBJECT: CommandError =
    CommandError::text("ERR source and destination objects are the same");

/// The argument at `index` as a 32-bit integer, which is what database numbers are.
pub(super) fn small_int(args: Args<'_>, index: usize) -> Result<i32, CommandError> {
    i32::try_from(args.int(index)?).map_err(|_| {
        CommandError::text(
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        )
    })
}

/// The database of a number.
pub(super) fn database(cx: &Cx<'_>, number: i32) -> Result<DbIndex, CommandError> {
    match u32::try_from(number) {
        Ok(number) if number < cx.databases.count() => Ok(DbIndex(number)),
        _ => Err(CommandError::DbIndex),
    }
}

fn del(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let elsewhere = cx.limits.lazy_user_del;
    Ok(remove(cx, args, elsewhere))
}

fn unlink(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    Ok(remove(cx, args, true))
}

fn remove(cx: &mut Cx<'_>, args: Args<'_>, elsewhere: bool) -> Flow {
    let mut db = cx.db();
    let removed = args.from(1).filter(|key| db.remove(key, elsewhere, Event::DEL)).count();
    cx.reply.count(removed);
    Flow::Done
}

fn exists(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut db = cx.db();
    let found = args.from(1).filter(|key| db.inspect(key).is_some()).count();
    cx.reply.count(found);
    Ok(Flow::Done)
}

fn kind(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let kind = cx.db().inspect(args.at(1)).map(|entry| entry.value().kind());
    cx.reply.simple(kind.map_or("none", |kind| kind.name()));
    Ok(Flow::Done)
}

fn touch(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut db = cx.db();
    let found = args.from(1).filter(|key| db.read(key).is_some()).count();
    cx.reply.count(found);
    Ok(Flow::Done)
}

fn rename(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (key, name, selected) = (args.at(1), args.at(2), cx.selected);
    let mut db = cx.db();
    if db.touch(key).is_none() {
        return Err(CommandError::NoSuchKey);
    }
    if key != name {
        db.rename(key, selected, name, (Event::RENAME_FROM, Event::RENAME_TO));
    }
    cx.reply.ok();
    Ok(Flow::Done)
}

fn rename_unless_taken(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (key, name, selected) = (args.at(1), args.at(2), cx.selected);
    let mut db = cx.db();
    if db.touch(key).is_none() {
        return Err(CommandError::NoSuchKey);
    }
    let renamed = key != name
        && db.touch(name).is_none()
        && db.rename(key, selected, name, (Event::RENAME_FROM, Event::RENAME_TO));
    cx.reply.int(i64::from(renamed));
    Ok(Flow::Done)
}

fn copy(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (key, name) = (args.at(1), args.at(2));
    let (mut to, mut replace) = (cx.selected, false);
    let mut at = 3;
    while at < args.len() {
        if args.is(at, "REPLACE") {
            replace = true;
        } else if args.is(at, "DB") && at + 1 < args.len() {
            at += 1;
            to = database(cx, small_int(args, at)?)?;
        } else {
            return Err(CommandError::Syntax);
        }
        at += 1;
    }
    if to == cx.selected && key == name {
        return Err(SAME_OBJECT);
    }
    let mut db = cx.db();
    let copied = db.read(key).is_some()
        && (db.at(to).touch(name).is_none() || replace)
        && db.copy(key, to, name, Event::COPY_TO);
    cx.reply.int(i64::from(copied));
    Ok(Flow::Done)
}

fn move_to(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let key = args.at(1);
    let to = database(cx, small_int(args, 2)?)?;
    if to == cx.selected {
        return Err(SAME_OBJECT);
    }
    let mut db = cx.db();
    let moved = db.touch(key).is_some()
        && db.at(to).touch(key).is_none()
        && db.rename(key, to, key, (Event::MOVE_FROM, Event::MOVE_TO));
    cx.reply.int(i64::from(moved));
    Ok(Flow::Done)
}

fn random_key(cx: &mut Cx<'_>, _args: Args<'_>) -> Result<Flow, CommandError> {
    match cx.db().random() {
        Some(key) => cx.reply.bulk(&key),
        None => cx.reply.null(),
    }
    Ok(Flow::Done)
}
