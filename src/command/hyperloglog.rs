//! HyperLogLog: estimating how many different elements there were. The format is in
//! `crate::data::hll`.

use crate::command::args::Args;
use crate::command::bitmap::bytes_of;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Command, DataHandler, Effect, Flags, Flow, Group, Key, control, read, write,
};
use crate::data::hll::{self, Corrupted, Encoding, HEADER_BYTES, REGISTERS, Store, dense, sparse};
use crate::keyspace::databases::ExpiryMode;
use crate::keyspace::string_edit::{Edited, StringEdit};
use crate::keyspace::unit::Event;

const COUNT_NOTES: &str =
    "RW because it may change the internal representation of the key, and propagate to replicas";

/// Commands on HyperLogLogs.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    write::<DataHandler>("PFADD", AtLeast(2), pfadd)
        .group(Group::HyperLogLog)
        .flags(Flags::DENYOOM.union(Flags::FAST))
        .keys(&[Key::at(1).rw().insert()])
        .since("2.8.9")
        .cost("O(1) for each element")
        .syntax("key [element [element ...]]")
        .summary("Adds elements to a HyperLogLog and tells whether it has changed."),
    read::<DataHandler>("PFCOUNT", AtLeast(2), pfcount)
        .group(Group::HyperLogLog)
        .flags(Flags::MAY_REPLICATE)
        .keys(&[Key::at(1).range(-1, 1).rw().access().notes(COUNT_NOTES)])
        .effect(Effect::Verbatim)
        .since("2.8.9")
        .cost("O(1) for one key that hasn't changed, else O(N) for N keys")
        .syntax("key [key ...]")
        .summary("Estimates how many different elements the HyperLogLogs have seen together.")
        .deviates(&["a replica keeps its primary's bytes: it reckons anew each time"]),
    write::<DataHandler>("PFMERGE", AtLeast(2), pfmerge)
        .group(Group::HyperLogLog)
        .flags(Flags::DENYOOM)
        .keys(&[Key::at(1).rw().access().insert(), Key::at(2).range(-1, 1).ro().access()])
        .since("2.8.9")
        .cost("O(N) for N keys")
        .syntax("destkey [sourcekey [sourcekey ...]]")
        .summary("Merges HyperLogLogs into one."),
    write::<DataHandler>("PFDEBUG", Exactly(3), pfdebug)
        .group(Group::HyperLogLog)
        .flags(Flags::DENYOOM.union(Flags::ADMIN))
        .keys(&[Key::at(2).rw().access()])
        .since("2.8.9")
        .cost("O(1)")
        .syntax("subcommand key")
        .summary("Shows how a HyperLogLog is kept, or turns it into a dense one."),
    control::<DataHandler>("PFSELFTEST", Exactly(1), pfselftest)
        .group(Group::HyperLogLog)
        .flags(Flags::ADMIN)
        .since("2.8.9")
        .cost("O(1)")
        .summary("Checks that both encodings agree and that estimates are near the truth."),
];

const NOT_ONE: CommandError =
    CommandError::text("WRONGTYPE Key is not a valid HyperLogLog string value.");

impl From<Corrupted> for CommandError {
    fn from(_: Corrupted) -> Self {
        Self::text("INVALIDOBJ Corrupted HLL object detected")
    }
}

impl Store for StringEdit<'_> {
    fn bytes(&self) -> &[u8] {
        StringEdit::bytes(self)
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        StringEdit::bytes_mut(self)
    }

    fn replace(&mut self, at: usize, len: usize, with: &[u8]) {
        StringEdit::replace(self, at, len, with);
    }
}

/// Looks at a key for a command that changes it: whether there is a HyperLogLog.
fn is_there(cx: &mut Cx<'_>, key: &[u8]) -> Result<bool, CommandError> {
    let mut digits = itoa::Buffer::new();
    let mut db = cx.databases.db(cx.selected);
    let Some(value) = db.touch_string(key)? else { return Ok(false) };
    hll::encoding(bytes_of(Some(value), &mut digits)).ok_or(NOT_ONE)?;
    Ok(true)
}

fn pfadd(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let key = args.at(1);
    let is_new = !is_there(cx, key)?;
    let sparse_max = cx.limits.thresholds.hll_sparse_bytes;
    let mut failed = None;
    // As upstream counts: the key, and each element that raised a register.
    let mut changes = u64::from(is_new);
    cx.db().edit_string(key, Event::PFADD, |string| {
        if is_new {
            string.append(&hll::empty());
        }
        for element in args.from(2) {
            match hll::add(string, element, sparse_max) {
                Ok(raised) => changes += u64::from(raised),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if changes > 0 {
            hll::forget_cardinality(string.bytes_mut());
        }
        changes > 0
    })?;
    // The edit has counted one.
    cx.databases.unit.changes += changes.saturating_sub(1);
    if let Some(error) = failed {
        return Err(error.into());
    }
    cx.reply.int(i64::from(changes > 0));
    Ok(Flow::Done)
}

fn pfcount(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    if args.len() > 2 {
        return count_union(cx, args);
    }
    let key = args.at(1);
    let mut digits = itoa::Buffer::new();
    let mut db = cx.databases.db(cx.selected);
    let Some(value) = db.read_string(key)? else {
        cx.reply.int(0);
        return Ok(Flow::Done);
    };
    let bytes = bytes_of(Some(value), &mut digits);
    hll::encoding(bytes).ok_or(NOT_ONE)?;
    if let Some(count) = hll::cached(bytes) {
        cx.reply.int(count as i64);
        return Ok(Flow::Done);
    }
    let count = hll::count(bytes)?;
    // Where the data must not change, it is reckoned again each time.
    if cx.databases.expiry_mode() != ExpiryMode::Absent {
        cx.db().edit_string(key, Event::UNHEARD, |string| {
            hll::cache(string.bytes_mut(), count);
            Edited::Unheard
        })?;
    }
    cx.reply.int(count as i64);
    Ok(Flow::Done)
}

/// The registers of all the keys from an argument on, and whether one of them is dense.
fn merged(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(Box<[u8; REGISTERS]>, bool), CommandError> {
    let mut registers = Box::new([0; REGISTERS]);
    let mut is_dense = false;
    let mut db = cx.databases.db(cx.selected);
    for key in args.from(1) {
        let mut digits = itoa::Buffer::new();
        let Some(value) = db.read_string(key)? else { continue };
        let bytes = bytes_of(Some(value), &mut digits);
        is_dense |= hll::encoding(bytes).ok_or(NOT_ONE)? == Encoding::Dense;
        hll::merge(&mut registers, bytes)?;
    }
    Ok((registers, is_dense))
}

fn count_union(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (registers, _) = merged(cx, args)?;
    cx.reply.int(hll::count_registers(&registers) as i64);
    Ok(Flow::Done)
}

fn pfmerge(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let key = args.at(1);
    let (registers, is_dense) = merged(cx, args)?;
    let is_new = !is_there(cx, key)?;
    let sparse_max = cx.limits.thresholds.hll_sparse_bytes;
    let mut result = Ok(());
    cx.db().edit_string(key, Event::PFADD, |string| {
        if is_new {
            string.append(&hll::empty());
        }
        result = put_registers(string, &registers, is_dense, sparse_max);
        true
    })?;
    result?;
    cx.reply.ok();
    Ok(Flow::Done)
}

fn put_registers(
    string: &mut StringEdit<'_>,
    registers: &[u8; REGISTERS],
    is_dense: bool,
    sparse_max: usize,
) -> Result<(), Corrupted> {
    if is_dense {
        hll::make_dense(string)?;
        dense::pack(registers, &mut string.bytes_mut()[HEADER_BYTES..]);
    } else {
        for (register, value) in registers.iter().enumerate().filter(|(_, value)| **value > 0) {
            hll::raise(string, register, *value, sparse_max)?;
        }
    }
    hll::forget_cardinality(string.bytes_mut());
    Ok(())
}

fn pfdebug(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let key = args.at(2);
    if !is_there(cx, key)? {
        return Err(CommandError::text("ERR The specified key does not exist"));
    }
    let densifies = args.is(1, "GETREG") || args.is(1, "TODENSE");
    let mut turned = Ok(false);
    if densifies {
        // The value is as it was to those who watch it.
        cx.db().edit_string(key, Event::RECODED, |string| {
            turned = hll::make_dense(string);
            Edited::from(turned == Ok(true))
        })?;
    }
    let turned = turned?;
    let mut digits = itoa::Buffer::new();
    let mut db = cx.databases.db(cx.selected);
    let bytes = bytes_of(db.touch_string(key)?, &mut digits);
    let is_dense = hll::encoding(bytes) == Some(Encoding::Dense);
    let registers = &bytes[HEADER_BYTES..];
    match () {
        () if args.is(1, "GETREG") => {
            cx.reply.array(REGISTERS);
            dense::each_eight(registers, |_, eight| {
                eight.to_le_bytes().iter().for_each(|held| cx.reply.int(i64::from(*held)));
            });
        }
        () if args.is(1, "TODENSE") => cx.reply.int(i64::from(turned)),
        () if args.is(1, "ENCODING") => cx.reply.simple(if is_dense { "dense" } else { "sparse" }),
        () if args.is(1, "DECODE") && is_dense => {
            return Err(CommandError::text("ERR HLL encoding is not sparse"));
        }
        () if args.is(1, "DECODE") => cx.reply.bulk(sparse::describe(registers).as_bytes()),
        () => {
            let text = [b"ERR Unknown PFDEBUG subcommand '", args.at(1), b"'"].concat();
            return Err(CommandError::quoting(text));
        }
    }
    Ok(Flow::Done)
}

/// Elements that the self-test adds.
const TEST_ELEMENTS: u64 = 100_000;

fn pfselftest(cx: &mut Cx<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    let failed = CommandError::text("ERR TESTFAILED the two encodings or the estimate are wrong");
    let sparse_max = cx.limits.thresholds.hll_sparse_bytes;
    let (mut one, mut other) = (hll::empty(), hll::empty());
    hll::make_dense(&mut other)?;
    let salt = cx.rng.next_u64();
    for number in 1..=TEST_ELEMENTS {
        let element = (number ^ salt).to_le_bytes();
        hll::add(&mut one, &element, sparse_max)?;
        hll::add(&mut other, &element, sparse_max)?;
        if number.is_power_of_two() || number == TEST_ELEMENTS {
            let counted = hll::count(&one)?;
            // Six times the standard error of 1.04 / sqrt(16384), and some for the first ones.
            let near = counted.abs_diff(number) <= number / 20 + 2;
            if counted != hll::count(&other)? || !near {
                return Err(failed);
            }
        }
    }
    cx.reply.ok();
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::generic_tests::World;

    #[test]
    fn a_count_is_kept_until_something_changes() {
        let mut world = World::new();
        world.run("PFADD h a b c");
        world.databases.unit.clear();
        assert_eq!(world.run("PFCOUNT h"), ":3");
        assert_eq!(world.databases.unit.changes, 1);
        world.databases.unit.clear();
        assert_eq!(world.run("PFCOUNT h"), ":3");
        assert_eq!(world.databases.unit.changes, 0);
        assert_eq!(world.run("PFADD h a"), ":0");
        assert_eq!(world.databases.unit.changes, 0);
        assert_eq!(world.run("PFADD h d"), ":1");
        assert_eq!(world.run("PFCOUNT h"), ":4");
    }

    #[test]
    fn where_data_must_not_change_no_count_is_kept() {
        let mut world = World::new();
        world.run("PFADD h a b c");
        world.databases.unit.clear();
        world.databases.set_expiry_mode(ExpiryMode::Absent);
        assert_eq!(world.run("PFCOUNT h"), ":3");
        assert_eq!(world.databases.unit.changes, 0);
    }

    #[test]
    fn corrupted_ones_are_refused() {
        let mut world = World::new();
        let error = "-INVALIDOBJ Corrupted HLL object detected";
        world.run("PFADD h a b c");
        world.run("APPEND h zzzz");
        assert_eq!(world.run("PFCOUNT h"), error);
        assert_eq!(world.run("PFCOUNT h h"), error);
        assert_eq!(world.run("PFMERGE h2 h"), error);
        assert_eq!(world.run("PFDEBUG TODENSE h"), error);
        world.run("PFADD d a");
        world.run("PFDEBUG TODENSE d");
        world.run("APPEND d z");
        assert_eq!(
            world.run("PFCOUNT d"),
            "-WRONGTYPE Key is not a valid HyperLogLog string value."
        );
        assert_eq!(world.run("PFSELFTEST"), "+OK");
    }
}
