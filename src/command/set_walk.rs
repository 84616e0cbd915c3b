//! Members of a set at random, and all of them in steps.

use std::collections::HashSet;

use crate::base::env::Rng;
use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::scan::{self, ElementOptions};
use crate::command::set::{READ, reader, writer};
use crate::command::spec::{Arity::AtLeast, Command, DataHandler, Effect, Flags, Flow, Key};
use crate::data::set::Set;
use crate::keyspace::collection::Changed;
use crate::keyspace::reclaim::removal_word;
use crate::keyspace::unit::Event;
use crate::resp::reply::Reply;

/// Commands that choose among members.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    writer("SPOP", AtLeast(2), spop)
        .flags(Flags::FAST)
        .keys(&[Key::at(1).rw().access().delete()])
        .tips(&["nondeterministic_output"])
        .effect(Effect::Rewritten)
        .since("1.0.0")
        .cost("O(N) for N members of reply")
        .syntax("key [count]")
        .summary("Takes members chosen at random out of a set.")
        .history(&[("3.2.0", "Takes a `count`.")]),
    reader("SRANDMEMBER", AtLeast(2), srandmember)
        .keys(READ)
        .tips(&["nondeterministic_output"])
        .since("1.0.0")
        .cost("O(N) for N members of reply")
        .syntax("key [count]")
        .summary("Replies with members chosen at random; a negative count may repeat some.")
        .history(&[("2.6.0", "Takes a `count`.")]),
    reader("SSCAN", AtLeast(3), sscan)
        .keys(READ)
        .tips(&["nondeterministic_output"])
        .since("2.8.0")
        .cost("O(1) for a call with the default count, O(N) for a walk over all N members")
        .syntax("key cursor [MATCH pattern] [COUNT count]")
        .summary("Goes on with a walk over the members of a set."),
];

/// Members in one record of the log, and bytes of them after which it gets no more: no record is
/// huge, and none is longer than what a request may be.
const MEMBERS_PER_RECORD: usize = 1024;
const BYTES_PER_RECORD: usize = 16 << 20;

fn spop(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    match args.len() {
        2 => pop_one(cx, args.at(1)),
        3 => pop_some(cx, args),
        _ => Err(CommandError::Syntax),
    }
}

fn pop_one(cx: &mut Cx<'_>, key: &[u8]) -> Result<Flow, CommandError> {
    let rng = &mut *cx.rng;
    let popped =
        cx.databases.db(cx.selected).edit_existing(key, Event::SPOP, |set: &mut Set| {
            let member = set.sample(rng).map(|member| member.to_vec());
            if let Some(member) = &member {
                set.remove(member);
            }
            Changed::count(usize::from(member.is_some()), member)
        })?;
    match popped.flatten() {
        Some(member) => {
            cx.log(&[b"SREM", key, &member]);
            cx.reply.bulk(&member);
        }
        None => cx.reply.null(),
    }
    Ok(Flow::Done)
}

fn pop_some(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let key = args.at(1);
    let count = scan::positive_count(args, 2)?;
    let rng = &mut *cx.rng;
    let mut db = cx.databases.db(cx.selected);
    let len = db.touch_as::<Set>(key)?.map_or(0, |set| set.len());
    if count == 0 || len == 0 {
        cx.reply.set(0);
        return Ok(Flow::Done);
    }
    if count >= len {
        let set = db.touch_as::<Set>(key)?;
        cx.reply.set(len);
        set.iter().flat_map(|set| set.iter()).for_each(|member| cx.reply.element(member));
        let elsewhere = cx.databases.policy.lazy_server_del;
        cx.databases.unit.notice(Event::SPOP, cx.selected, key);
        cx.db().remove(key, elsewhere, Event::DEL);
        cx.log(&[removal_word(elsewhere), key]);
        return Ok(Flow::Done);
    }
    let popped = db.edit_existing(key, Event::SPOP, |set: &mut Set| {
        let popped = choose(set, count, rng);
        popped.iter().for_each(|member| {
            set.remove(member);
        });
        Changed::count(count, popped)
    })?;
    let popped = popped.unwrap_or_default();
    cx.reply.set(popped.len());
    popped.iter().for_each(|member| cx.reply.bulk(member));
    let mut rest = popped.as_slice();
    while !rest.is_empty() {
        let mut bytes = 0;
        let fitting = rest.iter().take(MEMBERS_PER_RECORD).take_while(|member| {
            let has_room = bytes < BYTES_PER_RECORD;
            bytes += member.len();
            has_room
        });
        let mut record: Vec<&[u8]> = vec![b"SREM", key];
        record.extend(fitting.map(Vec::as_slice));
        rest = &rest[record.len() - 2..];
        cx.log(&record);
    }
    Ok(Flow::Done)
}

fn srandmember(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut db = cx.databases.db(cx.selected);
    if args.len() == 2 {
        let set = db.read_as::<Set>(args.at(1))?;
        match set.as_ref().and_then(|set| set.sample(cx.rng)) {
            Some(member) => cx.reply.element(member),
            None => cx.reply.null(),
        }
        return Ok(Flow::Done);
    }
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    let count = scan::random_count(args, 2)?;
    match db.read_as::<Set>(args.at(1))? {
        None => cx.reply.array(0),
        Some(set) if count < 0 => reply_any(&mut cx.reply, &set, scan::repeats(count)?, cx.rng),
        Some(set) => {
            let chosen = choose(&set, (count as usize).min(set.len()), cx.rng);
            cx.reply.array(chosen.len());
            chosen.iter().for_each(|member| cx.reply.bulk(member));
        }
    }
    Ok(Flow::Done)
}

/// Members chosen one by one, whichever were chosen before.
fn reply_any(reply: &mut Reply<'_>, set: &Set, count: usize, rng: &mut Rng) {
    reply.array(count);
    if set.is_compact() {
        // Walking to an index takes long in comparison.
        let all: Vec<_> = set.iter().collect();
        (0..count).for_each(|_| reply.element(all[rng.below(all.len() as u64) as usize]));
        return;
    }
    for _ in 0..count {
        if let Some(member) = set.sample(rng) {
            reply.element(member);
        }
    }
}

/// `count` different members, which must be there.
fn choose(set: &Set, count: usize, rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut chosen = Vec::with_capacity(count);
    if set.is_compact() || count.saturating_mul(3) > set.len() {
        // Each member is taken with the chance that makes all choices equally likely (Knuth, The Art
        // of Computer Programming 2, 3.4.2, algorithm S).
        for (index, member) in set.iter().enumerate() {
            let wanted = count - chosen.len();
            if rng.below((set.len() - index) as u64) < wanted as u64 {
                chosen.push(member.to_vec());
            }
        }
        return chosen;
    }
    let mut seen: HashSet<Vec<u8>, ahash::RandomState> = HashSet::default();
    while chosen.len() < count {
        let Some(member) = set.sample(rng).map(|member| member.to_vec()) else { break };
        if seen.insert(member.clone()) {
            chosen.push(member);
        }
    }
    chosen
}

fn sscan(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let cursor = scan::cursor(args.at(2))?;
    let mut db = cx.databases.db(cx.selected);
    let Some(set) = db.read_as::<Set>(args.at(1))? else {
        scan::reply_nothing(&mut cx.reply);
        return Ok(Flow::Done);
    };
    let ElementOptions { count, pattern, .. } = ElementOptions::parse(args, None)?;
    scan::reply_elements(&mut cx.reply, |inner| {
        let mut found = 0;
        let next = set.scan(cursor, count, |member| {
            if member.with_bytes(|bytes| pattern.matches(bytes)) {
                inner.element(member);
                found += 1;
            }
        });
        (next, found)
    });
    Ok(Flow::Done)
}
