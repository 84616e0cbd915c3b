//! BITFIELD: integers of any width at any place of a string, read, set and counted up with a choice of
//! what happens where they overflow.

use crate::base::text;
use crate::command::args::Args;
use crate::command::bitmap::{BAD_OFFSET, READ, bytes_of, checked_offset, reader, writer};
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::spec::{Arity::AtLeast, Command, DataHandler, Flags, Flow, Key};
use crate::data::bits;
use crate::keyspace::string_edit::{Edited, StringEdit};
use crate::keyspace::unit::Event;
use crate::resp::reply::Reply;

const NOTES: &str = "This command allows both access and modification of the key";

/// Commands on integers in strings.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    writer("BITFIELD", AtLeast(2), bitfield)
        .keys(&[Key::at(1).rw().access().update().variable_flags().notes(NOTES)])
        .since("3.2.0")
        .cost("O(1) for each integer")
        .syntax(
            "key [<GET <encoding offset>|<[OVERFLOW <WRAP|SAT|FAIL>:wrap_sat_fail] \
             <SET <encoding offset value:integer>|\
             INCRBY <encoding offset increment>>:write_operation>:write>:operation ...]",
        )
        .deviates(&[
            "OVERFLOW SAT stores the smallest number for a SET far below it; upstream's sum \
             overflows there and the greatest is stored",
        ])
        .summary("Reads, sets and counts up integers of any width at any place of a string."),
    reader("BITFIELD_RO", AtLeast(2), bitfield_ro)
        .flags(Flags::FAST)
        .keys(READ)
        .since("6.0.0")
        .cost("O(1) for each integer")
        .syntax("key [GET <encoding offset> [GET <encoding offset> ...]]")
        .summary("Reads integers of any width at any place of a string."),
];

/// What happens to a result that the integer can't hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    /// Its low bits are taken.
    Wrap,
    /// The nearest number that fits.
    Saturate,
    /// Nothing is changed.
    Fail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Get,
    Set(i64),
    Add(i64),
}

/// What a subcommand did to the string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// It reads, or its result didn't fit.
    Refused,
    /// It wrote what was there.
    Same,
    /// A bit has changed.
    Changed,
}

/// One subcommand.
#[derive(Clone, Copy, Debug)]
struct Step {
    action: Action,
    signed: bool,
    width: u32,
    offset: u64,
    overflow: Overflow,
}

impl Step {
    /// The integer that some bits stand for.
    fn number(self, held: u64) -> i128 {
        if !self.signed {
            return i128::from(held);
        }
        let unused = 64 - self.width;
        i128::from((held << unused).cast_signed() >> unused)
    }

    /// What becomes of a result: the bits that hold it, unless it doesn't fit and that's refused.
    fn fitting(self, number: i128) -> Option<u64> {
        let (low, high) = if self.signed {
            (-(1_i128 << (self.width - 1)), (1_i128 << (self.width - 1)) - 1)
        } else {
            (0, (1_i128 << self.width) - 1)
        };
        let kept = match self.overflow {
            Overflow::Fail if number < low || number > high => return None,
            Overflow::Saturate => number.clamp(low, high),
            Overflow::Wrap | Overflow::Fail => number,
        };
        Some(kept as u64 & (u64::MAX >> (64 - self.width)))
    }

    /// Where the string must reach to.
    fn end_bytes(self) -> usize {
        ((self.offset + u64::from(self.width)).div_ceil(8)) as usize
    }

    /// Does it, and says what became of the string.
    fn run(self, string: &mut [u8], reply: &mut Reply<'_>) -> Outcome {
        let held = bits::get_field(string, self.offset, self.width);
        let old = self.number(held);
        let (wanted, replies_old) = match self.action {
            Action::Get => {
                reply.int(old as i64);
                return Outcome::Refused;
            }
            Action::Set(value) if self.signed => (i128::from(value), true),
            Action::Set(value) => (i128::from(value.cast_unsigned()), true),
            Action::Add(amount) => (old + i128::from(amount), false),
        };
        let Some(new) = self.fitting(wanted) else {
            reply.null();
            return Outcome::Refused;
        };
        bits::set_field(string, self.offset, self.width, new);
        reply.int(if replies_old { old } else { self.number(new) } as i64);
        if new == held { Outcome::Same } else { Outcome::Changed }
    }
}

/// `i8` or `u16`: whether it's signed, and how wide.
fn encoding(word: &[u8]) -> Option<(bool, u32)> {
    let (signed, widest) = match word.first()? {
        b'i' => (true, 64),
        b'u' => (false, 63),
        _ => return None,
    };
    let width = text::parse_i64(&word[1..]).filter(|width| (1..=widest).contains(width))?;
    Some((signed, width as u32))
}

/// A place in bits, or behind `#` in integers of that width.
fn offset(cx: &Cx<'_>, word: &[u8], width: u32) -> Result<u64, CommandError> {
    let (digits, unit) = match word.strip_prefix(b"#") {
        Some(digits) => (digits, i64::from(width)),
        None => (word, 1),
    };
    let number = text::parse_i64(digits).ok_or(BAD_OFFSET)?;
    // As upstream's, which a product beyond 64 bits doesn't stop.
    checked_offset(cx, number.wrapping_mul(unit))
}

fn parse(cx: &Cx<'_>, args: Args<'_>, read_only: bool) -> Result<Vec<Step>, CommandError> {
    let mut steps = Vec::new();
    let mut overflow = Overflow::Wrap;
    let mut writes = false;
    let mut index = 2;
    while index < args.len() {
        let left = args.len() - index - 1;
        if args.is(index, "OVERFLOW") && left >= 1 {
            overflow = match () {
                () if args.is(index + 1, "WRAP") => Overflow::Wrap,
                () if args.is(index + 1, "SAT") => Overflow::Saturate,
                () if args.is(index + 1, "FAIL") => Overflow::Fail,
                () => return Err(CommandError::text("ERR Invalid OVERFLOW type specified")),
            };
            index += 2;
            continue;
        }
        let words = match () {
            () if args.is(index, "GET") && left >= 2 => 3,
            () if args.is(index, "SET") && left >= 3 => 4,
            () if args.is(index, "INCRBY") && left >= 3 => 4,
            () => return Err(CommandError::Syntax),
        };
        let (signed, width) = encoding(args.at(index + 1)).ok_or(CommandError::text(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported \
             but i64 is.",
        ))?;
        let offset = offset(cx, args.at(index + 2), width)?;
        let action = if words == 3 {
            Action::Get
        } else if args.is(index, "SET") {
            Action::Set(args.int(index + 3)?)
        } else {
            Action::Add(args.int(index + 3)?)
        };
        writes |= action != Action::Get;
        steps.push(Step { action, signed, width, offset, overflow });
        index += words;
    }
    if writes && read_only {
        return Err(CommandError::text("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    Ok(steps)
}

fn bitfield(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let steps = parse(cx, args, false)?;
    let writes = steps.iter().filter(|step| step.action != Action::Get);
    let Some(len) = writes.map(|step| step.end_bytes()).max() else {
        return read_all(cx, args, &steps);
    };
    let start = cx.reply.position();
    let reply = &mut cx.reply;
    reply.array(steps.len());
    let edited = cx.databases.db(cx.selected).edit_string(
        args.at(1),
        Event::SETBIT,
        |string: &mut StringEdit<'_>| {
            let grows = string.bytes().len() < len;
            string.grow(len);
            let done = steps.iter().map(|step| step.run(string.bytes_mut(), reply)).max();
            match (done, grows) {
                (Some(Outcome::Changed), _) | (Some(Outcome::Same), true) => Edited::Changed,
                // As upstream, room that nothing was put into is no event.
                (_, true) => Edited::Unheard,
                _ => Edited::Nothing,
            }
        },
    );
    if edited.is_err() {
        cx.reply.rewind(start);
    }
    edited?;
    Ok(Flow::Done)
}

fn bitfield_ro(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let steps = parse(cx, args, true)?;
    read_all(cx, args, &steps)
}

fn read_all(cx: &mut Cx<'_>, args: Args<'_>, steps: &[Step]) -> Result<Flow, CommandError> {
    let mut digits = itoa::Buffer::new();
    let mut db = cx.databases.db(cx.selected);
    let bytes = bytes_of(db.read_string(args.at(1))?, &mut digits);
    cx.reply.array(steps.len());
    for step in steps {
        cx.reply.int(step.number(bits::get_field(bytes, step.offset, step.width)) as i64);
    }
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use crate::command::generic_tests::World;

    #[test]
    fn a_product_of_places_wraps_as_upstreams() {
        let mut world = World::new();
        world.run("SET k a");
        assert_eq!(world.run("BITFIELD k GET i64 #4611686018427387904"), "*1|:6989586621679009792");
        let smallest = "BITFIELD low OVERFLOW SAT SET i2 0 -9223372036854775808 GET i2 0";
        assert_eq!(world.run(smallest), "*2|:0|:-2");
        assert_eq!(
            world.run("BITFIELD k GET i64 #4611686018427387903"),
            "-ERR bit offset is not an integer or out of range"
        );
    }

    #[test]
    fn a_refused_result_still_makes_room() {
        let mut world = World::new();
        assert_eq!(world.run("BITFIELD k OVERFLOW FAIL INCRBY u2 100 5"), "*1|$-1");
        assert_eq!(world.run("STRLEN k"), ":13");
    }
}
