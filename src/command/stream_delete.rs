//! Streams: deleting entries with an eye on the groups that have yet to read or acknowledge them, by the
//! documentation of Redis 8.2: XDELEX, XACKDEL.
//!
//! Both are logged as what they come to, in commands that older servers know: XACK for what is no longer
//! pending, XDEL for what was deleted.

use std::ops::Range;

use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::spec::{Arity::AtLeast, Command, DataHandler, Effect, Flags, Flow, Key};
use crate::command::stream::writer;
use crate::command::stream_args::{counted_ids, id_at, log_forgotten, log_ids, references_at};
use crate::data::stream::{Forgotten, References, Stream, StreamId};
use crate::keyspace::collection::Changed;
use crate::keyspace::unit::Event;

/// XDELEX and XACKDEL.
pub const COMMANDS: &[Command<DataHandler>] = &[
    writer("XDELEX", AtLeast(5), xdelex)
        .flags(Flags::FAST)
        .keys(&[Key::at(1).rw().delete()])
        .effect(Effect::Rewritten)
        .since("8.2.0")
        .cost("O(1) for each id, and each group that is looked at for it")
        .syntax("key [KEEPREF|DELREF|ACKED]:condition IDS <numids:integer id [id ...]>:ids")
        .summary("Deletes entries of a stream and says what becomes of groups' references to them.")
        .deviates(&[
            "ACKED: an entry of a stream without groups is deleted, as Redis 8.2 does and its \
                     documentation doesn't say",
        ]),
    writer("XACKDEL", AtLeast(6), xackdel)
        .flags(Flags::FAST)
        .keys(&[Key::at(1).rw().update().delete()])
        .effect(Effect::Rewritten)
        .since("8.2.0")
        .cost("O(1) for each id, and each group that is looked at for it")
        .syntax("key group [KEEPREF|DELREF|ACKED]:condition IDS <numids:integer id [id ...]>:ids")
        .summary("Acknowledges entries in a group and deletes them.")
        .deviates(&[
            "an id that isn't pending in the group is left alone, whatever other groups have",
        ]),
];

/// There is no such entry.
const ABSENT: i64 = -1;
/// It is deleted.
const DELETED: i64 = 1;
/// It stays, for a group refers to it.
const REFERENCED: i64 = 2;

/// Which entries are to go, and how.
struct Request {
    references: References,
    /// The arguments that are ids.
    ids: Range<usize>,
}

const NO_COUNT: CommandError = CommandError::text("ERR Number of IDs must be a positive integer");
const WRONG_COUNT: CommandError =
    CommandError::text("ERR The `numids` parameter must match the number of arguments");

impl Request {
    /// Reads the arguments from one on.
    fn parse(args: Args<'_>, first: usize) -> Result<Self, CommandError> {
        let (mut references, mut ids) = (None, None);
        let mut at = first;
        while at < args.len() {
            if let Some(named) = references_at(args, at) {
                if references.replace(named).is_some() {
                    return Err(CommandError::Syntax);
                }
                at += 1;
            } else if ids.is_none() && args.is(at, "IDS") && at + 1 < args.len() {
                let named = counted_ids(args, at + 1, NO_COUNT, WRONG_COUNT)?;
                at = named.end;
                ids = Some(named);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        let ids = ids.ok_or(CommandError::Syntax)?;
        Ok(Self { references: references.unwrap_or_default(), ids })
    }

    fn ids(&self, args: Args<'_>) -> Result<Vec<StreamId>, CommandError> {
        self.ids.clone().map(|index| id_at(args, index)).collect()
    }
}

/// What a command did, for its reply and for the log.
#[derive(Default)]
struct Done {
    replies: Vec<i64>,
    acknowledged: Vec<StreamId>,
    deleted: Vec<StreamId>,
    forgotten: Vec<Forgotten>,
}

impl Done {
    fn changed(self) -> Changed<Self> {
        let forgotten: usize = self.forgotten.iter().map(|forgotten| forgotten.ids.len()).sum();
        Changed::count(self.acknowledged.len() + self.deleted.len() + forgotten, self)
    }

    fn finish(self, cx: &mut Cx<'_>, key: &[u8], group: Option<&[u8]>) -> Flow {
        cx.reply.array(self.replies.len());
        self.replies.iter().for_each(|reply| cx.reply.int(*reply));
        if !self.deleted.is_empty() {
            cx.db().announce(key, Event::XDEL);
        }
        if let Some(group) = group {
            log_ids(cx, &[b"XACK", key, group], &self.acknowledged);
        }
        log_ids(cx, &[b"XDEL", key], &self.deleted);
        log_forgotten(cx, key, &self.forgotten);
        Flow::Done
    }
}

fn xdelex(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let request = Request::parse(args, 2)?;
    let ids = request.ids(args)?;
    let done = cx.db().edit_existing(args.at(1), Event::PENDING, |stream: &mut Stream| {
        let mut done = Done::default();
        for id in &ids {
            let stays = request.references == References::Acknowledged
                && stream.is_referenced(*id)
                && stream.contains(*id);
            done.replies.push(match () {
                () if stays => REFERENCED,
                () if stream.delete(*id) => {
                    done.deleted.push(*id);
                    DELETED
                }
                () => ABSENT,
            });
        }
        if request.references == References::Remove {
            done.forgotten = stream.forget(&ids);
        }
        done.changed()
    })?;
    Ok(done.unwrap_or_else(|| nothing_done(&ids)).finish(cx, args.at(1), None))
}

fn nothing_done(ids: &[StreamId]) -> Done {
    Done { replies: vec![ABSENT; ids.len()], ..Done::default() }
}

fn xackdel(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let request = Request::parse(args, 3)?;
    let ids = request.ids(args)?;
    let name = args.at(2);
    let done = cx.db().edit_existing(args.at(1), Event::PENDING, |stream: &mut Stream| {
        let mut done = Done::default();
        for id in &ids {
            if stream.edit_group(name, |group| group.acknowledge(*id)) != Some(true) {
                done.replies.push(ABSENT);
                continue;
            }
            done.acknowledged.push(*id);
            let stays = request.references == References::Acknowledged && stream.is_referenced(*id);
            if !stays && stream.delete(*id) {
                done.deleted.push(*id);
            }
            done.replies.push(if stays { REFERENCED } else { DELETED });
        }
        if request.references == References::Remove {
            done.forgotten = stream.forget(&done.acknowledged);
        }
        done.changed()
    })?;
    Ok(done.unwrap_or_else(|| nothing_done(&ids)).finish(cx, args.at(1), Some(name)))
}

#[cfg(test)]
mod tests {
    use crate::command::generic_tests::World;

    /// Entries 1-0 to 4-0, of which two groups have read three each.
    fn world() -> World {
        let mut world = World::new();
        for line in [
            "XADD s 1-0 a b",
            "XADD s 2-0 a b",
            "XADD s 3-0 a b",
            "XADD s 4-0 a b",
            "XGROUP CREATE s g 0",
            "XGROUP CREATE s h 0",
            "XREADGROUP GROUP g c COUNT 3 STREAMS s >",
            "XREADGROUP GROUP h d COUNT 3 STREAMS s >",
        ] {
            world.run(line);
        }
        world
    }

    #[test]
    fn references_stay_go_or_hold_an_entry() {
        let mut world = world();
        assert_eq!(world.run("XDELEX s IDS 2 1-0 9-9"), "*2|:1|:-1");
        assert_eq!(world.logged(), "XDEL s 1-0");
        assert_eq!(world.run("XPENDING s g"), "*4|:3|$3|1-0|$3|3-0|*1|*2|$1|c|$1|3");
        assert_eq!(world.run("XDELEX s DELREF IDS 2 1-0 2-0"), "*2|:-1|:1");
        assert_eq!(world.logged(), "XDEL s 2-0;XACK s g 1-0 2-0;XACK s h 1-0 2-0");
        assert_eq!(world.run("XDELEX s ACKED IDS 3 3-0 4-0 5-0"), "*3|:2|:2|:-1");
        assert_eq!(world.logged(), "");
        world.run("XACK s g 3-0");
        assert_eq!(world.run("XDELEX s IDS 1 3-0 ACKED"), "*1|:2", "the other group has it");
        world.run("XACK s h 3-0");
        assert_eq!(world.run("XDELEX s ACKED IDS 1 3-0"), "*1|:1");
        world.run("XGROUP DESTROY s g");
        assert_eq!(world.run("XDELEX s ACKED IDS 1 4-0"), "*1|:2", "it is still to be read");
        world.run("XGROUP DESTROY s h");
        assert_eq!(world.run("XDELEX s ACKED IDS 1 4-0"), "*1|:1", "there is no group");
        assert_eq!(world.run("XDELEX none IDS 2 1 2"), "*2|:-1|:-1");
    }

    #[test]
    fn acknowledged_entries_go() {
        let mut world = world();
        assert_eq!(world.run("XACKDEL s g ACKED IDS 2 1-0 9-0"), "*2|:2|:-1");
        assert_eq!(world.logged(), "XACK s g 1-0");
        assert_eq!(world.run("XACKDEL s h ACKED IDS 1 1-0"), "*1|:1");
        assert_eq!(world.logged(), "XACK s h 1-0;XDEL s 1-0");
        assert_eq!(world.run("XACKDEL s g IDS 1 2-0"), "*1|:1");
        assert_eq!(world.logged(), "XACK s g 2-0;XDEL s 2-0");
        assert_eq!(world.run("XACKDEL s h IDS 1 2-0"), "*1|:1", "though it is deleted");
        assert_eq!(world.logged(), "XACK s h 2-0");
        assert_eq!(world.run("XACKDEL s g DELREF IDS 1 3-0"), "*1|:1");
        assert_eq!(world.logged(), "XACK s g 3-0;XDEL s 3-0;XACK s h 3-0");
        assert_eq!(world.run("XACKDEL s h DELREF IDS 1 3-0"), "*1|:-1");
        assert_eq!(world.run("XACKDEL s none IDS 1 4-0"), "*1|:-1");
        assert_eq!(world.run("XACKDEL none g IDS 1 4-0"), "*1|:-1");
    }

    #[test]
    fn arguments_are_checked() {
        let mut world = world();
        world.run("SET string x");
        let not_positive = "-ERR Number of IDs must be a positive integer";
        let mismatch = "-ERR The `numids` parameter must match the number of arguments";
        for (command, reply) in [
            ("XDELEX s IDS abc 1-1", not_positive),
            ("XDELEX s IDS 0 1-1", not_positive),
            ("XDELEX s IDS -5 1-1", not_positive),
            ("XDELEX s IDS 3 1-1 2-2", mismatch),
            ("XDELEX s IDS 1 1-1 2-2", "-ERR syntax error"),
            ("XDELEX s KEEPREF DELREF IDS 1 1-1", "-ERR syntax error"),
            ("XDELEX s IDS 1 1-1 IDS 1 1-1", "-ERR syntax error"),
            ("XDELEX s ACKED DELREF ACKED", "-ERR syntax error"),
            ("XACKDEL s g KEEPREF KEEPREF IDS 1 1-1", "-ERR syntax error"),
            ("XDELEX s IDS 1 x", "-ERR Invalid stream ID specified as stream command argument"),
        ] {
            assert_eq!(world.run(command), reply, "{command}");
        }
        assert!(world.run("XDELEX string IDS 1 1-1").starts_with("-WRONGTYPE"));
        assert!(world.run("XACKDEL string g IDS 1 1-1").starts_with("-WRONGTYPE"));
    }

    #[test]
    fn trimming_takes_references_along_or_spares_what_has_some() {
        let mut world = world();
        assert_eq!(world.run("XTRIM s MAXLEN 3 DELREF"), ":1");
        assert_eq!(world.logged(), "XTRIM s MAXLEN 3;XACK s g 1-0;XACK s h 1-0");
        assert_eq!(world.run("XTRIM s ACKED MAXLEN 0"), ":0");
        world.run("XACK s g 3-0");
        world.run("XACK s h 3-0");
        assert_eq!(world.run("XTRIM s ACKED MAXLEN = 0"), ":1");
        assert_eq!(world.logged(), "XDEL s 3-0");
        assert_eq!(world.run("XRANGE s - +").matches("-0").count(), 2, "2-0 and 4-0");
        world.run("XACK s g 2-0");
        world.run("XACK s h 2-0");
        assert_eq!(world.run("XADD s ACKED MINID = 9 5-0 a b"), "$3|5-0");
        assert_eq!(world.logged(), "XADD s 5-0 a b;XDEL s 2-0");
        assert_eq!(world.run("XADD s KEEPREF 6-* a b"), "$3|6-0");
        assert_eq!(world.logged(), "XADD s 6-0 a b");
        world.run("XREADGROUP GROUP g c STREAMS s >");
        assert_eq!(world.run("XADD s DELREF MAXLEN ~ 1 LIMIT 0 7-0 a b"), "$3|7-0");
        assert_eq!(world.logged(), "XADD s MAXLEN = 4 7-0 a b");
        assert_eq!(world.run("XADD s DELREF MAXLEN 1 8-0 a b"), "$3|8-0");
        assert_eq!(world.logged(), "XADD s MAXLEN 1 8-0 a b;XACK s g 4-0 5-0 6-0");
        assert_eq!(world.run("XADD s DELREF ACKED MAXLEN 1 * a b"), "-ERR syntax error");
        world.run("XGROUP DESTROY s g");
        world.run("XGROUP DESTROY s h");
        world.run("XADD s 9-0 a b");
        assert_eq!(world.run("XTRIM s MAXLEN 1 ACKED"), ":1", "there is no group");
        assert_eq!(world.logged(), "XTRIM s MAXLEN 1");
    }
}
