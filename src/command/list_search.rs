//! Lists: looking for elements by their value, and adding and removing beside them.

use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::list::{INSERTED, READ, int_within, reader, writer};
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Command, DataHandler, Flags, Flow, Key,
};
use crate::data::list::{End, List};
use crate::keyspace::collection::Changed;
use crate::keyspace::unit::Event;

/// Commands on elements by their value.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    writer("LREM", Exactly(4), lrem)
        .keys(&[Key::at(1).rw().delete()])
        .since("1.0.0")
        .cost("O(N) for N elements looked at")
        .syntax("key count element")
        .summary("Removes elements of a value, from the end where the count is negative."),
    writer("LINSERT", Exactly(5), linsert)
        .flags(Flags::DENYOOM)
        .keys(INSERTED)
        .since("2.2.0")
        .cost("O(N) for N elements before the pivot")
        .syntax("key <BEFORE|AFTER>:where pivot element")
        .summary("Adds an element before or after the first one of a value."),
    reader("LPOS", AtLeast(3), lpos)
        .keys(READ)
        .since("6.0.6")
        .cost("O(N) for N elements looked at")
        .syntax("key element [RANK rank:integer] [COUNT num-matches:integer] [MAXLEN len]")
        .summary("Finds the indices of elements of a value."),
];

/// A number whose sign is a direction must have a counterpart of the other sign.
const SIGNED: std::ops::RangeInclusive<i64> = -i64::MAX..=i64::MAX;

fn lrem(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let count = int_within(args, 2, SIGNED, None)?;
    let from = if count < 0 { End::Back } else { End::Front };
    let most = match count.unsigned_abs() as usize {
        0 => usize::MAX,
        most => most,
    };
    let thresholds = &cx.limits.thresholds;
    let removed = cx.db().edit_existing(args.at(1), Event::LREM, |list: &mut List| {
        let removed = list.remove_equal(args.at(3), most, from, thresholds);
        Changed::count(removed, removed)
    })?;
    cx.reply.count(removed.unwrap_or(0));
    Ok(Flow::Done)
}

fn linsert(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let behind = args.is(2, "AFTER");
    if !behind && !args.is(2, "BEFORE") {
        return Err(CommandError::Syntax);
    }
    let thresholds = &cx.limits.thresholds;
    let found = cx.db().edit_existing(args.at(1), Event::LINSERT, |list: &mut List| {
        let found = list.insert(args.at(3), behind, args.at(4), thresholds);
        Changed::count(usize::from(found), found.then_some(list.len()))
    })?;
    match found {
        None => cx.reply.int(0),
        Some(None) => cx.reply.int(-1),
        Some(Some(len)) => cx.reply.count(len),
    }
    Ok(Flow::Done)
}

/// What LPOS is to look for.
struct Search {
    from: End,
    /// How many matches are passed over.
    skipped: usize,
    /// How many are replied, where it is to be an array.
    count: Option<usize>,
    /// How many elements are looked at.
    looked_at: usize,
}

impl Search {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut search = Self { from: End::Front, skipped: 0, count: None, looked_at: usize::MAX };
        // 0 means all of them.
        let most = |index, message| -> Result<usize, CommandError> {
            let most = int_within(args, index, 0..=i64::MAX, Some(message))?;
            Ok(if most == 0 { usize::MAX } else { most as usize })
        };
        let mut index = 3;
        while index < args.len() {
            if index + 1 == args.len() {
                return Err(CommandError::Syntax);
            }
            if args.is(index, "RANK") {
                let rank = int_within(args, index + 1, SIGNED, None)?;
                if rank == 0 {
                    return Err(RANK_ZERO);
                }
                search.from = if rank < 0 { End::Back } else { End::Front };
                search.skipped = rank.unsigned_abs() as usize - 1;
            } else if args.is(index, "COUNT") {
                search.count = Some(most(index + 1, "ERR COUNT can't be negative")?);
            } else if args.is(index, "MAXLEN") {
                search.looked_at = most(index + 1, "ERR MAXLEN can't be negative")?;
            } else {
                return Err(CommandError::Syntax);
            }
            index += 2;
        }
        Ok(search)
    }
}

const RANK_ZERO: CommandError = CommandError::text(
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use \
     negative to start from the end of the list",
);

fn lpos(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let search = Search::parse(args)?;
    let mut db = cx.databases.db(cx.selected);
    let list = db.read_as::<List>(args.at(1))?;
    let found = list.iter().flat_map(|list| {
        let len = list.len();
        list.distances_to(args.at(2), search.from, search.looked_at)
            .skip(search.skipped)
            .take(search.count.unwrap_or(1))
            .map(move |distance| match search.from {
                End::Front => distance,
                End::Back => len - 1 - distance,
            })
    });
    let reply = &mut cx.reply;
    if search.count.is_some() {
        let (start, mut count) = (reply.deferred(), 0);
        for index in found {
            reply.count(index);
            count += 1;
        }
        reply.finish_array(start, count);
    } else {
        match { found }.next() {
            Some(index) => reply.count(index),
            None => reply.null(),
        }
    }
    Ok(Flow::Done)
}
