//! Values as portable bytes: DUMP and RESTORE.
//!
//! The bytes are a value's RDB form with its format version and a checksum behind it, the same that
//! upstream writes, so they may come from there and go there. A relative time to live is logged as
//! an absolute one, and one that has passed as the deletion of what it replaced.

use crate::base::env::UnixMillis;
use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Command, DataHandler, Effect, Flags, Flow, Group, Key, read, write,
};
use crate::keyspace::reclaim::removal_word;
use crate::keyspace::unit::Event;
use crate::rdb::decode::{RestoreError, restore_payload};
use crate::rdb::encode::dump_payload;
use crate::rdb::format;

/// Commands on values as bytes.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    read::<DataHandler>("DUMP", Exactly(2), dump)
        .keys(&[Key::at(1).ro().access()])
        .tips(&["nondeterministic_output"])
        .since("2.6.0")
        .cost("O(N) for a value of N bytes")
        .syntax("key")
        .summary("Replies with the value at a key as portable bytes."),
    write::<DataHandler>("RESTORE", AtLeast(4), restore)
        .flags(Flags::DENYOOM)
        .keys(&[Key::at(1).ow().update()])
        .categories(&["dangerous"])
        .effect(Effect::Rewritten)
        .since("2.6.0")
        .cost("O(N) for a value of N bytes, O(N*log(N)) for a sorted set")
        .syntax("key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]")
        .summary("Creates a key from the bytes that DUMP gave.")
        .history(&[
            ("3.0.0", "Overwrites with `REPLACE`."),
            ("5.0.0", "Takes the ttl as a time with `ABSTTL`."),
            ("5.0.0", "Sets how the key was used: `IDLETIME`, `FREQ`."),
        ]),
    write::<DataHandler>("RESTORE-ASKING", AtLeast(4), restore)
        .flags(Flags::DENYOOM.union(Flags::ASKING))
        .group(Group::Server)
        .keys(&[Key::at(1).ow().update()])
        .categories(&["dangerous", "keyspace"])
        .effect(Effect::Rewritten)
        .since("3.0.0")
        .cost("O(N) for a value of N bytes, O(N*log(N)) for a sorted set")
        .syntax("key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]")
        .summary("RESTORE, as MIGRATE sends it between nodes of a cluster.")
        .history(&[
            ("3.0.0", "Overwrites with `REPLACE`."),
            ("5.0.0", "Takes the ttl as a time with `ABSTTL`."),
            ("5.0.0", "Sets how the key was used: `IDLETIME`, `FREQ`."),
        ]),
];

/// Longer idle times than the clock of the access bytes holds mean the longest.
const IDLE_SECONDS_MAX: i64 = 0xff_ffff;

fn dump(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    match cx.databases.db(cx.selected).read(args.at(1)) {
        Some(entry) => cx.reply.bulk(&dump_payload(entry.value(), cx.limits.rdb_version)),
        None => cx.reply.null(),
    }
    Ok(Flow::Done)
}

/// What RESTORE was asked for beyond the value.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle_seconds: Option<u32>,
    frequency: Option<u8>,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut at = 4;
        while at < args.len() {
            let valued = at + 1 < args.len();
            if args.is(at, "REPLACE") {
                options.replace = true;
            } else if args.is(at, "ABSTTL") {
                options.absolute = true;
            } else if args.is(at, "IDLETIME") && valued && options.frequency.is_none() {
                at += 1;
                let seconds = args.int(at)?;
                if seconds < 0 {
                    return Err(CommandError::text("ERR Invalid IDLETIME value, must be >= 0"));
                }
                options.idle_seconds = Some(seconds.min(IDLE_SECONDS_MAX) as u32);
            } else if args.is(at, "FREQ") && valued && options.idle_seconds.is_none() {
                at += 1;
                let frequency = u8::try_from(args.int(at)?).map_err(|_| {
                    CommandError::text("ERR Invalid FREQ value, must be >= 0 and <= 255")
                })?;
                options.frequency = Some(frequency);
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        Ok(options)
    }

    /// The access bytes asked for, in the way that is in force.
    fn access(self, cx: &Cx<'_>) -> Option<u32> {
        if cx.limits.lfu {
            self.frequency.map(|frequency| cx.databases.access_from_frequency(frequency))
        } else {
            self.idle_seconds.map(|seconds| cx.databases.access_from_idle(seconds))
        }
    }
}

fn restore(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let options = Options::parse(args)?;
    let key = args.at(1);
    if !options.replace && cx.db().touch(key).is_some() {
        return Err(CommandError::text("BUSYKEY Target key name already exists."));
    }
    let ttl = args.int(2)?;
    if ttl < 0 {
        return Err(CommandError::text("ERR Invalid TTL value, must be >= 0"));
    }
    let checksum = cx.limits.payload_checksum;
    let restored = restore_payload(args.at(3), checksum, &cx.limits.thresholds);
    let mut value = restored.map_err(|error| {
        if let RestoreError::Value(reason) = &error {
            // The client isn't told where it is, and upstream's log has it, too.
            let block = args.at(3).first().map_or("Value", |byte| format::block_name(*byte));
            tracing::warn!("RESTORE: {block} integrity check failed: {reason}");
        }
        CommandError::owned(format!("ERR {error}"))
    })?;
    // A sum that overflows has passed long ago, as it does upstream.
    let start = if options.absolute { 0 } else { cx.now.0 };
    let expiry = (ttl != 0).then(|| UnixMillis(ttl.wrapping_add(start)));
    if expiry.is_some_and(|at| at <= cx.now) && !cx.replaying {
        replace_by_nothing(cx, key, options);
    } else {
        let access = options.access(cx);
        cx.db().put_with_access(key, value.as_new(), expiry, access, Event::RESTORE);
        log_restore(cx, args, expiry, options);
    }
    cx.reply.ok();
    Ok(Flow::Done)
}

/// What was restored has expired already: only what it replaces goes away.
fn replace_by_nothing(cx: &mut Cx<'_>, key: &[u8], options: Options) {
    let elsewhere = cx.databases.policy.lazy_server_del;
    if options.replace && cx.db().remove(key, elsewhere, Event::DEL) {
        cx.log(&[removal_word(elsewhere), key]);
    }
}

fn log_restore(cx: &mut Cx<'_>, args: Args<'_>, expiry: Option<UnixMillis>, options: Options) {
    match expiry {
        Some(at) if !options.absolute => {
            let mut digits = itoa::Buffer::new();
            let mut record: Vec<&[u8]> = args.from(0).collect();
            record[0] = b"RESTORE";
            record[2] = digits.format(at.0).as_bytes();
            record.push(b"ABSTTL");
            cx.log(&record);
        }
        _ => cx.log_verbatim(),
    }
}
