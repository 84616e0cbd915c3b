//! Members of a sorted set at random, and all of them in steps.

use std::collections::BTreeSet;

use crate::base::env::Rng;
use crate::base::text;
use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::scan::{self, ElementOptions};
use crate::command::spec::{Arity::AtLeast, Command, DataHandler, Flow};
use crate::command::zset::{READ, reader};
use crate::command::zset_range::reply_members;
use crate::data::zset::Zset;

/// Commands that choose among members.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    reader("ZRANDMEMBER", AtLeast(2), zrandmember)
        .keys(READ)
        .tips(&["nondeterministic_output"])
        .since("6.2.0")
        .cost("O(N) for N members of reply")
        .syntax("key [count [WITHSCORES]]")
        .summary("Replies with members chosen at random; a negative count may repeat some."),
    reader("ZSCAN", AtLeast(3), zscan)
        .keys(READ)
        .tips(&["nondeterministic_output"])
        .since("2.8.0")
        .cost("O(1) for a call with the default count, O(N) for a walk over all N members")
        .syntax("key cursor [MATCH pattern] [COUNT count] [NOSCORES]")
        .summary("Goes on with a walk over the members of a sorted set."),
];

fn zrandmember(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut db = cx.databases.db(cx.selected);
    if args.len() == 2 {
        let zset = db.read_as::<Zset>(args.at(1))?;
        match zset.as_ref().and_then(|zset| zset.sample(cx.rng)) {
            Some((member, _)) => cx.reply.element(member),
            None => cx.reply.null(),
        }
        return Ok(Flow::Done);
    }
    let count = scan::random_count(args, 2)?;
    let with_scores = match args.len() {
        3 => false,
        4 if args.is(3, "WITHSCORES") => true,
        _ => return Err(CommandError::Syntax),
    };
    if with_scores && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(CommandError::text("ERR value is out of range"));
    }
    let Some(zset) = db.read_as::<Zset>(args.at(1))? else {
        cx.reply.array(0);
        return Ok(Flow::Done);
    };
    let ranks = if count < 0 {
        any_ranks(zset.len(), scan::repeats(count)?, cx.rng)
    } else {
        distinct_ranks(zset.len(), count as usize, cx.rng)
    };
    let members = ranks.iter().filter_map(|rank| zset.iter_from(*rank).next());
    reply_members(&mut cx.reply, members, ranks.len(), with_scores);
    Ok(Flow::Done)
}

/// Ranks chosen one by one, whichever were chosen before.
fn any_ranks(len: usize, count: usize, rng: &mut Rng) -> Vec<usize> {
    (0..count).map(|_| rng.below(len as u64) as usize).collect()
}

/// Up to `count` different ranks, every choice equally likely.
fn distinct_ranks(len: usize, count: usize, rng: &mut Rng) -> Vec<usize> {
    let count = count.min(len);
    if count * 3 > len {
        // Each rank is taken with the chance that makes all choices equally likely (Knuth, The Art of
        // Computer Programming 2, 3.4.2, algorithm S).
        let mut wanted = count;
        return (0..len)
            .filter(|rank| {
                let taken = rng.below((len - rank) as u64) < wanted as u64;
                wanted -= usize::from(taken);
                taken
            })
            .collect();
    }
    let mut chosen = BTreeSet::new();
    while chosen.len() < count {
        chosen.insert(rng.below(len as u64) as usize);
    }
    chosen.into_iter().collect()
}

fn zscan(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let cursor = scan::cursor(args.at(2))?;
    let mut db = cx.databases.db(cx.selected);
    let Some(zset) = db.read_as::<Zset>(args.at(1))? else {
        scan::reply_nothing(&mut cx.reply);
        return Ok(Flow::Done);
    };
    let ElementOptions { count, pattern, values } = ElementOptions::parse(args, Some("NOSCORES"))?;
    let compact = zset.is_compact();
    scan::reply_elements(&mut cx.reply, |inner| {
        let mut found = 0;
        let mut digits = Vec::new();
        let next = zset.scan(cursor, count, |member, score| {
            if !member.with_bytes(|bytes| pattern.matches(bytes)) {
                return;
            }
            inner.element(member);
            found += 1;
            if !values {
                return;
            }
            digits.clear();
            // Here, and only here, upstream prints the scores of big sets with 17 digits.
            if compact {
                text::push_f64(&mut digits, score);
            } else {
                text::push_f64_17(&mut digits, score);
            }
            inner.bulk(&digits);
            found += 1;
        });
        (next, found)
    });
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use crate::command::generic_tests::World;

    #[test]
    fn a_walk_without_scores_is_of_members_alone() {
        let mut world = World::new();
        world.run("ZADD z 1 a 2 b");
        assert_eq!(world.run("ZSCAN z 0 NOSCORES"), "*2|$1|0|*2|$1|a|$1|b");
        assert_eq!(world.run("ZSCAN z 0 MATCH b NOSCORES"), "*2|$1|0|*1|$1|b");
        assert_eq!(world.run("ZSCAN z 0 NOVALUES"), "-ERR syntax error");
        assert_eq!(world.run("ZSCAN z 0 MATCH b"), "*2|$1|0|*2|$1|b|$1|2");
    }
}
