//! Strings as arrays of bits: single bits, counts, searches, and combining several strings.
//!
//! Integers within a string are in [`bitfield`](crate::command::bitfield).

use crate::base::text;
use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::spec::{
    Arity::{self, AtLeast, Exactly},
    Command, DataHandler, Flags, Flow, Group, Key, read, write,
};
use crate::data::bits::{self, Operation};
use crate::data::string::HeapString;
use crate::data::value::{NewValue, ValueRef};
use crate::keyspace::databases::{Databases, DbIndex, Expiry, WrongType};
use crate::keyspace::unit::Event;

/// Commands on bits.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    writer("SETBIT", Exactly(4), setbit)
        .keys(&[Key::at(1).rw().access().update()])
        .since("2.2.0")
        .syntax("key offset value:integer")
        .summary("Sets or clears a bit of a string and replies with what it was."),
    reader("GETBIT", Exactly(3), getbit)
        .flags(Flags::FAST)
        .keys(READ)
        .since("2.2.0")
        .syntax("key offset")
        .summary("Replies with a bit of a string."),
    reader("BITCOUNT", AtLeast(2), bitcount)
        .keys(READ)
        .since("2.6.0")
        .cost("O(N)")
        .syntax("key [start [end [BYTE|BIT]:index_unit]:end_index]:index")
        .summary("Counts the bits that are set in a string.")
        .history(&[
            ("7.0.0", "Takes `BYTE` and `BIT`."),
            ("8.0.0", "Takes a start without an end (Valkey)."),
        ]),
    reader("BITPOS", AtLeast(3), bitpos)
        .keys(READ)
        .since("2.8.7")
        .cost("O(N)")
        .syntax("key bit [start [end [BYTE|BIT]:index_unit]:end_index]:index")
        .summary("Finds the first bit that is set, or isn't, in a string.")
        .history(&[("7.0.0", "Takes `BYTE` and `BIT`.")]),
    writer("BITOP", AtLeast(4), bitop)
        .keys(&[Key::at(2).ow().update(), Key::at(3).range(-1, 1).ro().access()])
        .since("2.6.0")
        .cost("O(N)")
        .syntax("<AND|OR|XOR|NOT|DIFF|DIFF1|ANDOR|ONE>:operation destkey key [key ...]")
        .summary("Combines the bits of several strings and puts the result at a key.")
        .history(&[("8.2.0", "Takes `DIFF`, `DIFF1`, `ANDOR` and `ONE` (Redis).")]),
];

/// The key of a command that replies with what it holds.
pub(super) const READ: &[Key] = &[Key::at(1).ro().access()];

/// A row that writes.
pub(super) const fn writer(
    name: &'static str,
    arity: Arity,
    run: DataHandler,
) -> Command<DataHandler> {
    write(name, arity, run).group(Group::Bitmap).flags(Flags::DENYOOM)
}

/// A row that reads.
pub(super) const fn reader(
    name: &'static str,
    arity: Arity,
    run: DataHandler,
) -> Command<DataHandler> {
    read(name, arity, run).group(Group::Bitmap)
}

/// What is wrong with the place of a bit.
pub(super) const BAD_OFFSET: CommandError =
    CommandError::text("ERR bit offset is not an integer or out of range");

/// The place of a bit that a string may have.
pub(super) fn checked_offset(cx: &Cx<'_>, offset: i64) -> Result<u64, CommandError> {
    let offset = u64::try_from(offset).map_err(|_| BAD_OFFSET)?;
    if offset / 8 >= cx.limits.string_bytes_max && !cx.replaying {
        return Err(BAD_OFFSET);
    }
    Ok(offset)
}

/// The argument at `index` as the place of a bit.
fn offset_at(cx: &Cx<'_>, args: Args<'_>, index: usize) -> Result<u64, CommandError> {
    checked_offset(cx, text::parse_i64(args.at(index)).ok_or(BAD_OFFSET)?)
}

/// The bytes of a string, an integer's as digits; none where there is no string.
pub(super) fn bytes_of<'a>(value: Option<ValueRef<'a>>, digits: &'a mut itoa::Buffer) -> &'a [u8] {
    match value {
        Some(ValueRef::Str(bytes)) => bytes,
        Some(ValueRef::Int(number)) => digits.format(number).as_bytes(),
        Some(ValueRef::Object(_)) | None => &[],
    }
}

fn setbit(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let offset = offset_at(cx, args, 2)?;
    let value = match text::parse_i64(args.at(3)) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(CommandError::text("ERR bit is not an integer or out of range")),
    };
    let len = (offset / 8) as usize + 1;
    let mut old = false;
    cx.db().edit_string(args.at(1), Event::SETBIT, |string| {
        let grows = string.bytes().len() < len;
        string.grow(len);
        old = bits::set(string.bytes_mut(), offset, value);
        grows || old != value
    })?;
    cx.reply.int(i64::from(old));
    Ok(Flow::Done)
}

fn getbit(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let offset = offset_at(cx, args, 2)?;
    let mut digits = itoa::Buffer::new();
    let mut db = cx.databases.db(cx.selected);
    let value = db.read_string(args.at(1))?;
    let bit = bits::get(bytes_of(value, &mut digits), offset);
    cx.reply.int(i64::from(bit));
    Ok(Flow::Done)
}

/// A range of a string as BITCOUNT and BITPOS take it.
#[derive(Clone, Copy, Debug)]
struct Part {
    start: i64,
    end: i64,
    /// How many bits make up one of its units.
    unit_bits: i64,
}

impl Part {
    /// Reads `[start [end [BYTE|BIT]]]` from an argument on.
    fn parse(args: Args<'_>, first: usize) -> Result<Self, CommandError> {
        if args.len() > first + 3 {
            return Err(CommandError::Syntax);
        }
        let number = |index| if index < args.len() { args.int(index).map(Some) } else { Ok(None) };
        let start = number(first)?.unwrap_or(0);
        // The unit before the end, as upstream.
        let unit_bits = match () {
            () if args.len() < first + 3 || args.is(first + 2, "BYTE") => 8,
            () if args.is(first + 2, "BIT") => 1,
            () => return Err(CommandError::Syntax),
        };
        let end = number(first + 1)?.unwrap_or(-1);
        Ok(Self { start, end, unit_bits })
    }

    /// The bits of a string of so many bytes that are in it, where there are any.
    fn bits(self, bytes: usize) -> Option<std::ops::Range<u64>> {
        let len = bytes as i64 * 8 / self.unit_bits;
        let from_end = |at: i64| if at < 0 { len.saturating_add(at).max(0) } else { at };
        let (start, end) = (from_end(self.start), from_end(self.end).min(len - 1));
        let bit = |at: i64| (at * self.unit_bits) as u64;
        (start <= end).then(|| bit(start)..bit(end + 1))
    }
}

fn bitcount(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let part = Part::parse(args, 2)?;
    let mut digits = itoa::Buffer::new();
    let mut db = cx.databases.db(cx.selected);
    let bytes = bytes_of(db.read_string(args.at(1))?, &mut digits);
    // Both before the beginning would else be the first.
    let reversed = part.start < 0 && part.end < 0 && part.start > part.end;
    let range = part.bits(bytes.len()).filter(|_| !reversed);
    let count = range.map_or(0, |range| bits::count_range(bytes, range));
    cx.reply.int(count as i64);
    Ok(Flow::Done)
}

fn bitpos(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let wanted = match args.int(2)? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::text("ERR The bit argument must be 1 or 0.")),
    };
    let part = Part::parse(args, 3)?;
    let mut digits = itoa::Buffer::new();
    let mut db = cx.databases.db(cx.selected);
    let value = db.read_string(args.at(1))?;
    if value.is_none() {
        cx.reply.int(if wanted { -1 } else { 0 });
        return Ok(Flow::Done);
    }
    let bytes = bytes_of(value, &mut digits);
    let found = part.bits(bytes.len()).and_then(|range| {
        // Behind the end there are zeros, unless the client says where it ends.
        let zeros_follow = !wanted && args.len() < 5;
        bits::find(bytes, range, wanted).or(zeros_follow.then_some(bytes.len() as u64 * 8))
    });
    cx.reply.int(found.map_or(-1, |bit| bit as i64));
    Ok(Flow::Done)
}

/// The keys of several strings.
struct Strings<'a>(Vec<&'a [u8]>);

impl<'a> Strings<'a> {
    /// Looks at all keys once: for their types, and as the uses that they are.
    fn new(
        databases: &mut Databases,
        db: DbIndex,
        keys: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Self, WrongType> {
        let keys: Vec<&[u8]> = keys.collect();
        for key in &keys {
            databases.db(db).read_string(key)?;
        }
        Ok(Self(keys))
    }

    /// Hands all the strings to a closure, empty ones for keys that aren't there.
    fn with<R>(&self, databases: &Databases, db: DbIndex, run: impl FnOnce(&[&[u8]]) -> R) -> R {
        let mut digits = vec![itoa::Buffer::new(); self.0.len()];
        let entries: Vec<_> = self.0.iter().map(|key| databases.value(db, key)).collect();
        let strings: Vec<&[u8]> = entries
            .into_iter()
            .zip(&mut digits)
            .map(|(value, digits)| bytes_of(value, digits))
            .collect();
        run(&strings)
    }
}

const OPERATIONS: &[(&str, Operation)] = &[
    ("AND", Operation::And),
    ("OR", Operation::Or),
    ("XOR", Operation::Xor),
    ("NOT", Operation::Not),
    ("DIFF", Operation::Diff),
    ("DIFF1", Operation::Diff1),
    ("ANDOR", Operation::AndOr),
    ("ONE", Operation::One),
];

fn bitop(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (name, operation) = OPERATIONS
        .iter()
        .copied()
        .find(|(name, _)| args.is(1, name))
        .ok_or(CommandError::Syntax)?;
    let count = args.len() - 3;
    match operation {
        Operation::Not if count != 1 => {
            return Err(CommandError::text(
                "ERR BITOP NOT must be called with a single source key.",
            ));
        }
        Operation::Diff | Operation::Diff1 | Operation::AndOr if count < 2 => {
            return Err(CommandError::owned(format!(
                "ERR BITOP {name} must be called with at least two source keys."
            )));
        }
        _ => {}
    }
    let destination = args.at(2);
    let sources = Strings::new(cx.databases, cx.selected, args.from(3))?;
    let longest = |strings: &[&[u8]]| strings.iter().map(|string| string.len()).max();
    let len = sources.with(cx.databases, cx.selected, longest).unwrap_or(0);
    // A block of fresh pages costs several times what combining the bits does.
    let block = cx.db().take_block(destination, len..=2 * len.max(SHORT_BYTES));
    let own = block.is_some();
    let block = block.unwrap_or_else(|| HeapString::with_capacity(len));
    let result = sources.with(cx.databases, cx.selected, |strings| {
        let strings: Vec<Option<&[u8]>> = strings
            .iter()
            .zip(args.from(3))
            .map(|(string, key)| (!own || key != destination).then_some(*string))
            .collect();
        bits::combine(operation, &strings, block)
    });
    if len == 0 {
        let elsewhere = cx.databases.policy.lazy_server_del;
        cx.db().remove(destination, elsewhere, Event::DEL);
    } else if len < SHORT_BYTES {
        cx.db().put(destination, NewValue::Raw(&result), Expiry::Clear, Event::SET);
    } else {
        cx.db().put(destination, NewValue::Heap(result), Expiry::Clear, Event::SET);
    }
    cx.reply.count(len);
    Ok(Flow::Done)
}

/// Below this a result is left to the table, which may have room for it beside the key.
const SHORT_BYTES: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use crate::command::generic_tests::World;

    #[test]
    fn the_operations_of_redis_8_2() {
        let mut world = World::new();
        // 01100001, 01100010, 01100011
        world.run("MSET x a y b z c");
        assert_eq!(world.run("BITOP DIFF d x y"), ":1");
        assert_eq!(world.run("GETBIT d 7"), ":1");
        assert_eq!(world.run("BITCOUNT d"), ":1");
        assert_eq!(world.run("BITOP diff1 d x y z"), ":1");
        assert_eq!(world.run("BITPOS d 1"), ":6");
        assert_eq!(world.run("BITOP ANDOR d x y z"), ":1");
        assert_eq!(world.run("GET d"), "$1|a");
        assert_eq!(world.run("BITOP ONE d x y z"), ":1");
        assert_eq!(world.run("BITCOUNT d"), ":0");
        assert_eq!(world.run("BITOP ONE d x y"), ":1");
        assert_eq!(world.run("BITCOUNT d"), ":2");
        assert_eq!(world.run("BITOP ONE d x"), ":1");
        for name in ["DIFF", "DIFF1", "ANDOR"] {
            assert_eq!(
                world.run(&format!("BITOP {name} d x")),
                format!("-ERR BITOP {name} must be called with at least two source keys.")
            );
        }
        assert_eq!(world.run("BITOP DIFF d none other"), ":0");
        assert_eq!(world.run("EXISTS d"), ":0");
    }

    #[test]
    fn only_what_changes_is_a_change() {
        let mut world = World::new();
        world.run("SETBIT k 7 0");
        assert_eq!(world.databases.unit.changes, 1);
        world.databases.unit.clear();
        world.run("SETBIT k 6 0");
        world.run("SET n 12");
        world.databases.unit.clear();
        assert_eq!(world.run("SETBIT n 7 1"), ":1");
        assert_eq!(world.databases.unit.changes, 0);
        assert_eq!(world.run("OBJECT ENCODING n"), "$3|raw");
        assert_eq!(world.run("SETBIT n 4294967295 1"), ":0");
        assert_eq!(world.run("STRLEN n"), ":536870912");
        assert_eq!(world.run("GETRANGE n 0 3"), "$4|12\0\0");
    }
}
