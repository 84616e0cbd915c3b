//! Sorted sets: putting members with scores, removing them, and asking for scores and ranks.
//!
//! Ranges are in [`zset_range`](crate::command::zset_range), what takes members out in
//! [`zset_pop`](crate::command::zset_pop), random members and scans in
//! [`zset_walk`](crate::command::zset_walk), and what combines several sets in
//! [`zset_algebra`](crate::command::zset_algebra).

use crate::base::text;
use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::spec::{
    Arity::{self, AtLeast, Exactly},
    Command, DataHandler, Flags, Flow, Group, Key, read, write,
};
use crate::data::zset::{Put, Zset};
use crate::keyspace::collection::Changed;
use crate::keyspace::unit::Event;

/// Commands on members and their scores.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    writer("ZADD", AtLeast(4), zadd)
        .flags(Flags::DENYOOM.union(Flags::FAST))
        .keys(&[Key::at(1).rw().update()])
        .since("1.2.0")
        .cost("O(log(N)) for each member")
        .syntax("key [NX|XX] [GT|LT] [CH] [INCR] score member [score member ...]")
        .summary("Puts members with scores into a sorted set and tells how many of them are new.")
        .history(&[
            ("2.4.0", "Takes several members."),
            ("3.0.2", "Takes conditions and another way to count: `XX`, `NX`, `CH`, `INCR`."),
            ("6.2.0", "Compares scores: `GT`, `LT`."),
        ]),
    writer("ZINCRBY", Exactly(4), zincrby)
        .flags(Flags::DENYOOM.union(Flags::FAST))
        .keys(&[Key::at(1).rw().access().update()])
        .since("1.2.0")
        .cost("O(log(N))")
        .syntax("key increment member")
        .summary("Adds to the score of a member, 0 where there is none."),
    writer("ZREM", AtLeast(3), zrem)
        .flags(Flags::FAST)
        .keys(&[Key::at(1).rw().delete()])
        .since("1.2.0")
        .cost("O(log(N)) for each member")
        .syntax("key member [member ...]")
        .summary("Removes members and tells how many there were; an empty set goes.")
        .history(&[("2.4.0", "Takes several members.")]),
    reader("ZCARD", Exactly(2), zcard)
        .flags(Flags::FAST)
        .keys(&[Key::at(1).ro()])
        .since("1.2.0")
        .syntax("key")
        .summary("Counts the members of a sorted set."),
    reader("ZSCORE", Exactly(3), zscore)
        .flags(Flags::FAST)
        .keys(READ)
        .since("1.2.0")
        .syntax("key member")
        .summary("Replies with the score of a member."),
    reader("ZMSCORE", AtLeast(3), zmscore)
        .flags(Flags::FAST)
        .keys(READ)
        .since("6.2.0")
        .cost("O(N) for N members")
        .syntax("key member [member ...]")
        .summary("Replies with the scores of several members."),
    reader("ZRANK", AtLeast(3), |cx, args| rank(cx, args, false))
        .flags(Flags::FAST)
        .keys(READ)
        .since("2.0.0")
        .cost("O(log(N))")
        .syntax("key member [WITHSCORE]")
        .summary("Replies with how many members come before one.")
        .history(&[("7.2.0", "Replies with the score as well: `WITHSCORE`.")]),
    reader("ZREVRANK", AtLeast(3), |cx, args| rank(cx, args, true))
        .flags(Flags::FAST)
        .keys(READ)
        .since("2.0.0")
        .cost("O(log(N))")
        .syntax("key member [WITHSCORE]")
        .summary("Replies with how many members come behind one.")
        .history(&[("7.2.0", "Replies with the score as well: `WITHSCORE`.")]),
];

/// The key of a command that replies with what it holds.
pub(super) const READ: &[Key] = &[Key::at(1).ro().access()];

/// A row that writes.
pub(super) const fn writer(
    name: &'static str,
    arity: Arity,
    run: DataHandler,
) -> Command<DataHandler> {
    write(name, arity, run).group(Group::SortedSet)
}

/// A row that reads.
pub(super) const fn reader(
    name: &'static str,
    arity: Arity,
    run: DataHandler,
) -> Command<DataHandler> {
    read(name, arity, run).group(Group::SortedSet)
}

/// The options of ZADD.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    /// Only members that aren't there.
    new_only: bool,
    /// Only members that are there.
    known_only: bool,
    /// Only to higher scores.
    greater: bool,
    /// Only to lower scores.
    less: bool,
    /// Count changed members, too.
    changed: bool,
    /// Scores are added to those that are there.
    increment: bool,
}

impl Options {
    /// Reads them from argument 2 on; says where scores begin.
    fn parse(args: Args<'_>) -> Result<(Self, usize), CommandError> {
        let mut options = Self::default();
        let mut at = 2;
        while at < args.len() {
            let option = match () {
                () if args.is(at, "NX") => &mut options.new_only,
                () if args.is(at, "XX") => &mut options.known_only,
                () if args.is(at, "GT") => &mut options.greater,
                () if args.is(at, "LT") => &mut options.less,
                () if args.is(at, "CH") => &mut options.changed,
                () if args.is(at, "INCR") => &mut options.increment,
                () => break,
            };
            *option = true;
            at += 1;
        }
        let words = args.len() - at;
        if words == 0 || !words.is_multiple_of(2) {
            return Err(CommandError::Syntax);
        }
        if options.new_only && options.known_only {
            return Err(CommandError::text(
                "ERR XX and NX options at the same time are not compatible",
            ));
        }
        if (options.greater || options.less) && options.new_only || options.greater && options.less
        {
            return Err(CommandError::text(
                "ERR GT, LT, and/or NX options at the same time are not compatible",
            ));
        }
        if options.increment && words > 2 {
            return Err(CommandError::text(
                "ERR INCR option supports a single increment-element pair",
            ));
        }
        Ok((options, at))
    }

    /// The score that a member gets, if it's to get one.
    fn score(self, old: Option<f64>, given: f64) -> Result<Option<f64>, CommandError> {
        let Some(old) = old else { return Ok((!self.known_only).then_some(given)) };
        if self.new_only {
            return Ok(None);
        }
        let score = if self.increment { old + given } else { given };
        if score.is_nan() {
            return Err(NOT_A_NUMBER);
        }
        let refused = self.less && score >= old || self.greater && score <= old;
        Ok((!refused).then_some(score))
    }
}

const NOT_A_NUMBER: CommandError = CommandError::text("ERR resulting score is not a number (NaN)");

/// The argument at `index` as a score.
pub(super) fn score_at(args: Args<'_>, index: usize) -> Result<f64, CommandError> {
    text::parse_f64(args.at(index)).ok_or(CommandError::NotFloat)
}

fn zadd(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (options, first) = Options::parse(args)?;
    add(cx, args, options, first)
}

fn zincrby(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    // The words of ZADD's options mean the same here, which leaves no pair behind them.
    let (options, first) = Options::parse(args)?;
    add(cx, args, Options { increment: true, ..options }, first)
}

/// Puts scores and members from an argument on.
fn add(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    options: Options,
    first: usize,
) -> Result<Flow, CommandError> {
    for at in (first..args.len()).step_by(2) {
        score_at(args, at)?;
    }
    let thresholds = &cx.limits.thresholds;
    let event = if options.increment { Event::ZINCR } else { Event::ZADD };
    let (mut added, mut moved, mut last) = (0, 0, None);
    let count = (args.len() - first) / 2;
    let failed = cx.databases.db(cx.selected).edit(args.at(1), event, |zset: &mut Zset| {
        if zset.is_empty() {
            *zset = Zset::for_members(count, args.at(first + 1).len(), thresholds);
        } else {
            zset.expect(count, thresholds);
        }
        let mut failed = None;
        for at in (first..args.len()).step_by(2) {
            let member = args.at(at + 1);
            let given = text::parse_f64(args.at(at)).unwrap_or_default();
            let score = match options.score(zset.score(member), given) {
                Ok(score) => score,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            };
            last = score;
            let Some(score) = score else { continue };
            match zset.put(member, score, thresholds) {
                Put::Added => added += 1,
                Put::Moved => moved += 1,
                Put::Same => {}
            }
        }
        Changed::count(added + moved, failed)
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    match (options.increment, last) {
        (true, Some(score)) => cx.reply.double(score),
        (true, None) => cx.reply.null(),
        (false, _) => cx.reply.count(if options.changed { added + moved } else { added }),
    }
    Ok(Flow::Done)
}

fn zrem(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let removed = cx.db().edit_existing(args.at(1), Event::ZREM, |zset: &mut Zset| {
        let removed = args.from(2).filter(|member| zset.remove(member).is_some()).count();
        Changed::count(removed, removed)
    })?;
    cx.reply.count(removed.unwrap_or(0));
    Ok(Flow::Done)
}

fn zcard(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let len = cx.db().read_as::<Zset>(args.at(1))?.map_or(0, |zset| zset.len());
    cx.reply.count(len);
    Ok(Flow::Done)
}

fn zscore(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let zset = cx
        .databases
        .db(cx.selected)
        .read_as::<Zset>(args.at(1))?
        .map(|zset| zset.score(args.at(2)));
    match zset.flatten() {
        Some(score) => cx.reply.double(score),
        None => cx.reply.null(),
    }
    Ok(Flow::Done)
}

fn zmscore(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut db = cx.databases.db(cx.selected);
    let zset = db.read_as::<Zset>(args.at(1))?;
    cx.reply.array(args.len() - 2);
    for member in args.from(2) {
        match zset.as_ref().and_then(|zset| zset.score(member)) {
            Some(score) => cx.reply.double(score),
            None => cx.reply.null(),
        }
    }
    Ok(Flow::Done)
}

fn rank(cx: &mut Cx<'_>, args: Args<'_>, reverse: bool) -> Result<Flow, CommandError> {
    let with_score = match args.len() {
        3 => false,
        4 if args.is(3, "WITHSCORE") => true,
        4 => return Err(CommandError::Syntax),
        _ => {
            let name = if reverse { "zrevrank" } else { "zrank" };
            return Err(CommandError::Arity(name.to_owned()));
        }
    };
    let mut db = cx.databases.db(cx.selected);
    let found = db.read_as::<Zset>(args.at(1))?.and_then(|zset| {
        let (rank, score) = zset.rank(args.at(2))?;
        Some((if reverse { zset.len() - 1 - rank } else { rank }, score))
    });
    match found {
        None if with_score => cx.reply.null_array(),
        None => cx.reply.null(),
        Some((rank, _)) if !with_score => cx.reply.count(rank),
        Some((rank, score)) => {
            cx.reply.array(2);
            cx.reply.count(rank);
            cx.reply.double(score);
        }
    }
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use crate::command::generic_tests::World;

    #[test]
    fn an_increment_is_no_option() {
        let mut world = World::new();
        assert_eq!(world.run("ZINCRBY z 1.5 gt"), "$3|1.5");
        assert_eq!(world.run("ZINCRBY z gt 1"), "-ERR syntax error");
        assert_eq!(world.run("ZINCRBY z NX xx"), "-ERR syntax error");
        assert_eq!(world.run("ZINCRBY z x 1"), "-ERR value is not a valid float");
    }
}
