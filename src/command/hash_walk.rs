//! Fields of a hash at random, and all of them in steps.

use std::collections::HashSet;

use crate::base::env::Rng;
use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::hash::{READ, reader};
use crate::command::scan::{self, ElementOptions};
use crate::command::spec::{Arity::AtLeast, Command, DataHandler, Flow};
use crate::data::hash::{Field, Hash};
use crate::resp::reply::{Protocol, Reply};

/// Commands that choose among fields.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    reader("HRANDFIELD", AtLeast(2), hrandfield)
        .keys(READ)
        .tips(&["nondeterministic_output"])
        .since("6.2.0")
        .cost("O(N) for N fields of reply")
        .syntax("key [count [WITHVALUES]]")
        .summary("Replies with fields chosen at random; a negative count may repeat some."),
    reader("HSCAN", AtLeast(3), hscan)
        .keys(READ)
        .tips(&["nondeterministic_output"])
        .since("2.8.0")
        .cost("O(1) for a call with the default count, O(N) for a walk over all N fields")
        .syntax("key cursor [MATCH pattern] [COUNT count] [NOVALUES]")
        .summary("Goes on with a walk over the fields of a hash."),
];

fn hrandfield(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut db = cx.databases.db(cx.selected);
    if args.len() == 2 {
        let hash = db.read_as::<Hash>(args.at(1))?;
        match hash.as_ref().and_then(|hash| hash.sample(cx.rng)) {
            Some(field) => cx.reply.element(field.name),
            None => cx.reply.null(),
        }
        return Ok(Flow::Done);
    }
    let count = scan::random_count(args, 2)?;
    let with_values = match args.len() {
        3 => false,
        4 if args.is(3, "WITHVALUES") => true,
        _ => return Err(CommandError::Syntax),
    };
    if with_values && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(CommandError::text("ERR value is out of range"));
    }
    let hash = db.read_as::<Hash>(args.at(1))?;
    let mut fields = Fields { reply: &mut cx.reply, with_values };
    match hash {
        None => fields.begin(0),
        Some(hash) if count < 0 => reply_any(&mut fields, &hash, scan::repeats(count)?, cx.rng),
        Some(hash) => reply_distinct(&mut fields, &hash, count as usize, cx.rng),
    }
    Ok(Flow::Done)
}

/// Writes fields, alone or with their values: in RESP3 pairs are arrays of their own.
struct Fields<'a, 'r> {
    reply: &'a mut Reply<'r>,
    with_values: bool,
}

impl Fields<'_, '_> {
    fn begin(&mut self, count: usize) {
        let flat = self.with_values && self.reply.protocol() == Protocol::Resp2;
        self.reply.array(if flat { 2 * count } else { count });
    }

    fn push(&mut self, field: Field<'_>) {
        if self.with_values && self.reply.protocol() == Protocol::Resp3 {
            self.reply.array(2);
        }
        self.reply.element(field.name);
        if self.with_values {
            self.reply.element(field.value);
        }
    }
}

/// Fields chosen one by one, whichever were chosen before.
fn reply_any(fields: &mut Fields<'_, '_>, hash: &Hash, count: usize, rng: &mut Rng) {
    fields.begin(count);
    if hash.is_compact() {
        // Walking to an index takes long in comparison.
        let all: Vec<Field<'_>> = hash.iter().collect();
        (0..count).for_each(|_| fields.push(all[rng.below(all.len() as u64) as usize]));
        return;
    }
    for _ in 0..count {
        if let Some(field) = hash.sample(rng) {
            fields.push(field);
        }
    }
}

/// Up to `count` different fields.
fn reply_distinct(fields: &mut Fields<'_, '_>, hash: &Hash, count: usize, rng: &mut Rng) {
    let len = hash.len();
    let count = count.min(len);
    fields.begin(count);
    if hash.is_compact() || count.saturating_mul(3) > len {
        // Each field is taken with the chance that makes all choices equally likely (Knuth, The Art
        // of Computer Programming 2, 3.4.2, algorithm S).
        let mut wanted = count;
        for (index, field) in hash.iter().enumerate() {
            if rng.below((len - index) as u64) < wanted as u64 {
                fields.push(field);
                wanted -= 1;
            }
        }
        return;
    }
    let mut chosen: HashSet<Vec<u8>, ahash::RandomState> = HashSet::default();
    while chosen.len() < count {
        let Some(field) = hash.sample(rng) else { return };
        if chosen.insert(field.name.to_vec()) {
            fields.push(field);
        }
    }
}

fn hscan(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let cursor = scan::cursor(args.at(2))?;
    let mut db = cx.databases.db(cx.selected);
    let Some(hash) = db.read_as::<Hash>(args.at(1))? else {
        scan::reply_nothing(&mut cx.reply);
        return Ok(Flow::Done);
    };
    let ElementOptions { count, pattern, values } = ElementOptions::parse(args, Some("NOVALUES"))?;
    scan::reply_elements(&mut cx.reply, |inner| {
        let mut found = 0;
        let next = hash.scan(cursor, count, |field| {
            if field.name.with_bytes(|name| pattern.matches(name)) {
                inner.element(field.name);
                if values {
                    inner.element(field.value);
                }
                found += 1 + usize::from(values);
            }
        });
        (next, found)
    });
    Ok(Flow::Done)
}
