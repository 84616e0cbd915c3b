//! MSETEX: several strings at once under one condition and with one expiry time.

use crate::base::text;
use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::expiry::{Change, Given, Range, Timeless};
use crate::command::spec::{
    Arity::AtLeast, Command, DataHandler, Effect, Flags, Flow, Group, Key, write,
};
use crate::command::string::put_until;
use crate::keyspace::databases::Expiry;

/// Commands on several strings with options.
pub(crate) const COMMANDS: &[Command<DataHandler>] =
    &[write("MSETEX", AtLeast(4), msetex as DataHandler)
        .group(Group::String)
        .flags(Flags::DENYOOM)
        .keys(&[Key::at(1).counted(0, 1, 2).ow().update()])
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"])
        .effect(Effect::Rewritten)
        .since("8.4.0")
        .cost("O(N) for N keys")
        .syntax(
            "numkeys <key value [key value ...]>:data [NX|XX] [EX seconds|PX milliseconds|\
         EXAT unix-time-seconds|PXAT unix-time-milliseconds|KEEPTTL]",
        )
        .summary(
            "Puts several strings with one expiry time, if all or none of the keys are there.",
        )];

fn msetex(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let count = text::parse_i64(args.at(1))
        .and_then(|count| i32::try_from(count).ok())
        .and_then(|count| usize::try_from(count).ok())
        .filter(|count| *count > 0)
        .ok_or(CommandError::text("ERR invalid numkeys value or out of range"))?;
    let end = 2 + 2 * count;
    if end > args.len() {
        return Err(CommandError::Syntax);
    }
    // Whether the keys must be there, or must not.
    let mut present: Option<bool> = None;
    let mut given: Option<Given> = None;
    let mut index = end;
    while index < args.len() {
        if args.is(index, "NX") && present != Some(true) {
            present = Some(false);
        } else if args.is(index, "XX") && present != Some(false) {
            present = Some(true);
        } else if let Some(one) = Given::at(args, index, Timeless::Keep)
            && given.is_none_or(|earlier| earlier.is_like(one))
            && one.end(index) < args.len()
        {
            given = Some(one);
            index = one.end(index);
        } else {
            return Err(CommandError::Syntax);
        }
        index += 1;
    }
    let expiry = match given.map(|given| given.change(cx, args, Range::Positive, "msetex")) {
        None => Expiry::Clear,
        Some(change) => match change? {
            Change::At(at) => Expiry::At(at),
            Change::Keep => Expiry::Keep,
            Change::Persist => Expiry::Clear,
        },
    };
    let mut keys = (2..end).step_by(2);
    if let Some(present) = present
        && keys.clone().any(|at| cx.db().exists(args.at(at)) != present)
    {
        cx.reply.int(0);
        return Ok(Flow::Done);
    }
    keys.by_ref().for_each(|at| put_until(cx, args.at(at), args.at(at + 1), expiry));
    cx.reply.int(1);
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use crate::command::generic_tests::World;

    #[test]
    fn all_or_nothing() {
        let mut world = World::new();
        for (command, reply) in [
            ("MSETEX 1 a 1", ":1"),
            ("MSETEX 2 a 2 b 2 NX", ":0"),
            ("MSETEX 2 a 2 b 2 XX", ":0"),
            ("EXISTS b", ":0"),
            ("GET a", "$1|1"),
            ("MSETEX 2 a 2 b 2 EX 100", ":1"),
            ("TTL b", ":100"),
            ("MSETEX 2 a 3 b 4 KEEPTTL XX xx", ":1"),
            ("TTL b", ":100"),
            ("GET b", "$1|4"),
            ("MSETEX 1 b 4", ":1"),
            ("TTL b", ":-1"),
            ("MSETEX 2 c 1 c 2", ":1"),
            ("GET c", "$1|2"),
            ("MSETEX 1 a 1 EXAT 1", ":1"),
            ("EXISTS a", ":0"),
            ("MSETEX 2 a 1", "-ERR syntax error"),
            ("MSETEX 1 a 1 b", "-ERR syntax error"),
            ("MSETEX 1 a 1 NX XX", "-ERR syntax error"),
            ("MSETEX 1 a 1 EX 1 KEEPTTL", "-ERR syntax error"),
            ("MSETEX 1 a 1 EX", "-ERR syntax error"),
            ("MSETEX 0 a 1", "-ERR invalid numkeys value or out of range"),
            ("MSETEX 9999999999 a 1", "-ERR invalid numkeys value or out of range"),
            ("MSETEX 1 a 1 PX 0", "-ERR invalid expire time in 'msetex' command"),
        ] {
            assert_eq!(world.run(command), reply, "{command}");
        }
    }
}
