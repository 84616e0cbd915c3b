//! Streams: giving back what was delivered, by the documentation of Redis 8.8: XNACK.
//!
//! Such an entry stays pending and no consumer has it, so that the next that claims gets it without
//! waiting; those given back first come first. It is logged with the deliveries that it came to, one record
//! for all entries that have the same.

use std::ops::Range;

use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::{CommandError, quotable};
use crate::command::spec::{Arity::AtLeast, Command, DataHandler, Effect, Flags, Flow, Key};
use crate::command::stream::writer;
use crate::command::stream_args::{counted_ids, id_at};
use crate::command::stream_group::no_key_or_group;
use crate::data::stream::{DELIVERIES_MAX, IdDigits, Pending, Stream, StreamId};
use crate::keyspace::collection::Changed;
use crate::keyspace::unit::Event;

/// XNACK.
pub const COMMANDS: &[Command<DataHandler>] = &[writer("XNACK", AtLeast(7), xnack)
    .flags(Flags::FAST)
    .keys(&[Key::at(1).rw().update()])
    .effect(Effect::Rewritten)
    .since("8.8.0")
    .cost("O(log N) for each id, of N entries pending")
    .syntax(
        "key group <SILENT|FAIL|FATAL>:mode IDS <numids:integer id [id ...]>:ids \
         [RETRYCOUNT count:integer] [FORCE]",
    )
    .summary("Gives entries back that were delivered: they stay pending, at no consumer.")
    .deviates(&["deliveries from 2^32 - 1 on are told as 2^63 - 1"])];

/// What giving back says of the delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// It doesn't count.
    Silent,
    /// It counts.
    Fail,
    /// No consumer should try the entry again.
    Fatal,
}

struct Request {
    mode: Mode,
    /// The arguments that are ids.
    ids: Range<usize>,
    deliveries: Option<u32>,
    force: bool,
}

const NO_COUNT: CommandError = CommandError::text("ERR numids must be a positive integer");
const WRONG_COUNT: CommandError = CommandError::text("ERR number of IDs doesn't match numids");

impl Request {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mode = match () {
            () if args.is(3, "SILENT") => Mode::Silent,
            () if args.is(3, "FAIL") => Mode::Fail,
            () if args.is(3, "FATAL") => Mode::Fatal,
            () => return Err(CommandError::text("ERR mode must be SILENT, FAIL, or FATAL")),
        };
        let mut request = Self { mode, ids: 0..0, deliveries: None, force: false };
        let mut at = 4;
        while at < args.len() {
            let more = at + 1 < args.len();
            if more && request.ids.is_empty() && args.is(at, "IDS") {
                request.ids = counted_ids(args, at + 1, NO_COUNT, WRONG_COUNT)?;
                at = request.ids.end;
            } else if more && args.is(at, "RETRYCOUNT") {
                let count = u64::try_from(args.int(at + 1)?).map_err(|_| {
                    CommandError::text("ERR Invalid RETRYCOUNT value, must be >= 0")
                })?;
                request.deliveries = Some(u32::try_from(count).unwrap_or(DELIVERIES_MAX));
                at += 2;
            } else if args.is(at, "FORCE") {
                request.force = true;
                at += 1;
            } else {
                let mut text = b"ERR Unrecognized XNACK option '".to_vec();
                text.extend_from_slice(quotable(args.at(at)));
                text.push(b'\'');
                return Err(CommandError::quoting(text));
            }
        }
        if request.ids.is_empty() {
            return Err(CommandError::text("ERR syntax error, expected IDS keyword"));
        }
        Ok(request)
    }

    /// How often an entry counts as delivered that was so often before.
    fn deliveries(&self, before: u32) -> u32 {
        self.deliveries.unwrap_or(match self.mode {
            Mode::Silent => before.saturating_sub(1),
            Mode::Fail => before,
            Mode::Fatal => DELIVERIES_MAX,
        })
    }
}

fn xnack(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (key, name) = (args.at(1), args.at(2));
    let request = Request::parse(args)?;
    let ids = request.ids.clone().map(|index| id_at(args, index)).collect::<Result<Vec<_>, _>>()?;
    let has_group = cx.db().read_as::<Stream>(key)?.map(|stream| stream.group(name).is_some());
    if has_group != Some(true) {
        return Err(no_key_or_group(key, name));
    }
    // A log may tell of an entry that was deleted while it was pending.
    let may_be_gone = cx.replaying;
    let released = cx.db().edit_existing(key, Event::CLAIMABLE, |stream: &mut Stream| {
        let release = |id: StreamId| release(stream, name, id, &request, may_be_gone);
        let released: Vec<Pending> = ids.into_iter().filter_map(release).collect();
        Changed::count(released.len(), released)
    })?;
    let released = released.unwrap_or_default();
    cx.reply.count(released.len());
    if cx.databases.unit.recording {
        let runs = released.chunk_by(|a, b| a.deliveries == b.deliveries);
        runs.for_each(|run| log_run(cx, key, name, run));
    }
    Ok(Flow::Done)
}

/// Logs entries that count as delivered equally often.
fn log_run(cx: &mut Cx<'_>, key: &[u8], name: &[u8], run: &[Pending]) {
    let (count, times) = (run.len().to_string(), run[0].told_deliveries().to_string());
    let ids: Vec<IdDigits> = run.iter().map(|pending| pending.id.text()).collect();
    let mut words: Vec<&[u8]> = vec![b"XNACK", key, name, b"FAIL", b"IDS", count.as_bytes()];
    words.extend(ids.iter().map(IdDigits::as_bytes));
    words.extend([&b"RETRYCOUNT"[..], times.as_bytes(), b"FORCE"]);
    cx.log(&words);
}

/// Gives one entry back, and says what it is then; nothing where it isn't pending.
fn release(
    stream: &mut Stream,
    name: &[u8],
    id: StreamId,
    request: &Request,
    may_be_gone: bool,
) -> Option<Pending> {
    let may_be_new = request.force && (may_be_gone || stream.contains(id));
    let released = stream.edit_group(name, |group| {
        let before = group.pending(id).map(|pending| pending.deliveries);
        group.release(id, request.deliveries(before.or(may_be_new.then_some(0))?));
        group.pending(id)
    });
    released.flatten()
}

#[cfg(test)]
mod tests {
    use crate::command::generic_tests::{NOW, World};

    fn world() -> World {
        let mut world = World::new();
        for line in [
            "XADD s 1-0 a b",
            "XADD s 2-0 a b",
            "XADD s 3-0 a b",
            "XGROUP CREATE s g 0",
            "XREADGROUP GROUP g c STREAMS s >",
        ] {
            world.run(line);
        }
        world
    }

    #[test]
    fn a_count_for_which_there_is_no_room_makes_no_consumer() {
        let mut world = world();
        let count = 1u64 << 50;
        let group = world.run(&format!("XAUTOCLAIM s nothing d 0 - COUNT {count}"));
        assert!(group.starts_with("-NOGROUP"), "{group}");
        let room = world.run(&format!("XAUTOCLAIM s g d 0 - COUNT {count}"));
        assert!(room.starts_with("-ERR Insufficient memory"), "{room}");
        assert!(!world.run("XINFO CONSUMERS s g").contains("|$1|d|"));
    }

    #[test]
    fn an_entry_that_is_given_back_is_nobodys() {
        let mut world = world();
        assert_eq!(world.run("XNACK s g FAIL IDS 2 2-0 9-9"), ":1");
        assert_eq!(world.logged(), "XNACK s g FAIL IDS 1 2-0 RETRYCOUNT 1 FORCE");
        assert_eq!(world.run("XPENDING s g 2 2 1"), "*1|*4|$3|2-0|$0||:-1|:1");
        assert_eq!(world.run("XPENDING s g"), "*4|:3|$3|1-0|$3|3-0|*1|*2|$1|c|$1|2");
        assert_eq!(world.run("XPENDING s g IDLE 99999 - + 9").matches("2-0").count(), 1);
        assert_eq!(world.run("XNACK s g SILENT IDS 2 2-0 2-0"), ":2");
        assert_eq!(world.run("XPENDING s g 2 2 1"), "*1|*4|$3|2-0|$0||:-1|:0");
        assert_eq!(world.run("XNACK s g FATAL IDS 1 2-0"), ":1");
        let most = "*1|*4|$3|2-0|$0||:-1|:9223372036854775807";
        assert_eq!(world.run("XPENDING s g 2 2 1"), most);
        assert!(world.run("XINFO STREAM s FULL").contains("nacked-count|:1|"));
        // An entry that no consumer has meets any minimal idle time.
        assert_eq!(world.run("XCLAIM s g d 9999999999999 2-0 JUSTID RETRYCOUNT 7"), "*1|$3|2-0");
        assert!(!world.run("XINFO STREAM s FULL").contains("nacked-count"));
        assert_eq!(world.run("XNACK s g FAIL IDS 1 2-0 RETRYCOUNT 3"), ":1");
        assert_eq!(world.run("XAUTOCLAIM s g d 9999999999999 0 JUSTID"), "*3|$3|0-0|*1|$3|2-0|*0");
        assert_eq!(world.run("XPENDING s g 2 2 1 d"), "*1|*4|$3|2-0|$1|d|:0|:3");
        world.run("XNACK s g FAIL IDS 1 2-0");
        assert_eq!(world.run("XGROUP DELCONSUMER s g d"), ":0");
        assert_eq!(world.run("XACK s g 2-0"), ":1");
        assert_eq!(world.run("XNACK s g FAIL IDS 1 2-0"), ":0");
        assert_eq!(world.logged(), "");
    }

    #[test]
    fn force_makes_what_is_there_pending() {
        let mut world = world();
        world.run("XGROUP CREATE s h 0");
        assert_eq!(world.run("XNACK s h SILENT FORCE IDS 2 1-0 9-9"), ":1");
        assert_eq!(world.run("XNACK s h FATAL IDS 1 2-0 FORCE RETRYCOUNT 7"), ":1");
        let pending = "*2|*4|$3|1-0|$0||:-1|:0|*4|$3|2-0|$0||:-1|:7";
        assert_eq!(world.run("XPENDING s h - + 9"), pending);
        world.replaying = true;
        assert_eq!(world.run("XNACK s h FAIL IDS 1 9-9 FORCE"), ":1", "it was there once");
    }

    #[test]
    fn what_was_given_back_first_is_claimed_first() {
        let mut world = world();
        world.run("XADD s 4-0 a b");
        world.run("XNACK s g FAIL IDS 2 3-0 1-0");
        world.run("XDEL s 3-0");
        world.at(NOW + 100);
        let entry =
            |id: &str, idle: i64, times: u32| format!("*4|$3|{id}|*2|$1|a|$1|b|:{idle}|:{times}");
        let reply = world.run("XREADGROUP GROUP g d CLAIM 100 COUNT 3 STREAMS s >");
        let claimed = [entry("1-0", NOW + 100, 1), entry("2-0", 100, 1)].join("|");
        // The third that was to be claimed is gone; a new entry takes its place.
        let new = entry("4-0", 0, 0);
        assert_eq!(reply, format!("*1|*2|$1|s|*3|{claimed}|{new}"));
        let at = NOW + 100;
        assert_eq!(
            world.logged(),
            format!(
                "XCLAIM s g d 0 1-0 2-0 TIME {at} RETRYCOUNT 2 FORCE JUSTID;\
                 XCLAIM s g d 0 4-0 TIME {at} RETRYCOUNT 1 FORCE JUSTID;\
                 XACK s g 3-0;XGROUP SETID s g 4-0 ENTRIESREAD 4"
            )
        );
        assert_eq!(world.run("XREADGROUP GROUP g d CLAIM 1 STREAMS s >"), "*-1");
        let history = world.run("XREADGROUP GROUP g d CLAIM 0 COUNT 1 STREAMS s 0");
        assert_eq!(history, "*1|*2|$1|s|*1|*2|$3|1-0|*2|$1|a|$1|b", "CLAIM says nothing of it");
        let errors = [
            ("CLAIM x", "-ERR min-idle-time is not an integer"),
            ("CLAIM -1", "-ERR min-idle-time must be a positive integer"),
        ];
        for (option, error) in errors {
            let line = format!("XREADGROUP GROUP g d {option} STREAMS s >");
            assert_eq!(world.run(&line), error);
        }
        assert_eq!(
            world.run("XREAD CLAIM 1 STREAMS s 0"),
            "-ERR The CLAIM option is only supported by XREADGROUP. You called XREAD instead."
        );
    }

    #[test]
    fn arguments_are_checked() {
        let mut world = world();
        let unknown = |word: &str| format!("-ERR Unrecognized XNACK option '{word}'");
        let numids = "-ERR numids must be a positive integer".to_owned();
        for (words, reply) in [
            ("BAD IDS 1 1-0", "-ERR mode must be SILENT, FAIL, or FATAL".to_owned()),
            ("FAIL FATAL IDS 1 1-0", unknown("FATAL")),
            ("FAIL IDS 1 1-0 2-0", unknown("2-0")),
            ("FAIL IDS 1 1-0 RETRYCOUNT", unknown("RETRYCOUNT")),
            ("FAIL FORCE RETRYCOUNT 5", "-ERR syntax error, expected IDS keyword".to_owned()),
            ("FAIL IDS x 1-0", numids.clone()),
            ("FAIL IDS 0 1-0", numids),
            ("FAIL IDS 2 1-0", "-ERR number of IDs doesn't match numids".to_owned()),
            (
                "FAIL IDS 1 1-0 RETRYCOUNT -1",
                "-ERR Invalid RETRYCOUNT value, must be >= 0".to_owned(),
            ),
            (
                "FAIL IDS 1 1-0 RETRYCOUNT x",
                "-ERR value is not an integer or out of range".to_owned(),
            ),
            (
                "FAIL IDS 1 x",
                "-ERR Invalid stream ID specified as stream command argument".to_owned(),
            ),
        ] {
            assert_eq!(world.run(&format!("XNACK s g {words}")), reply, "{words}");
        }
        assert!(world.run("XNACK s none FAIL IDS 1 1-0").starts_with("-NOGROUP"));
        assert!(world.run("XNACK none g FAIL IDS 1 1-0").starts_with("-NOGROUP"));
        world.run("SET string x");
        assert!(world.run("XNACK string g FAIL IDS 1 1-0").starts_with("-WRONGTYPE"));
    }
}
