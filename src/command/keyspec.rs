//! Where a command's keys are: from a row's key specs to positions among given arguments.
//!
//! COMMAND GETKEYS and GETKEYSANDFLAGS, the first, last and step numbers that clients of before key
//! specs look at, and whether those numbers tell everything (`movablekeys`).

use crate::base::text;
use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::spec::{Begin, Find, Flags, Key, KeyFlags, Spec};

/// A key among a command's arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyAt {
    /// The argument's index.
    pub index: usize,
    /// What is done to it.
    pub flags: KeyFlags,
}

/// The numbers of the time before key specs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Legacy {
    /// The first key's index; 0 where there is none.
    pub first: i64,
    /// The last one's; negative: from the end.
    pub last: i64,
    /// The distance between keys.
    pub step: i64,
    /// Whether there are keys that these numbers don't tell.
    pub(crate) movable: bool,
}

const NO_KEYS: CommandError = CommandError::text("ERR The command has no key arguments");
const WRONG_COUNT: CommandError =
    CommandError::text("ERR Invalid number of arguments specified for command");
const WRONG: CommandError = CommandError::text("ERR Invalid arguments specified for command");
/// What COMMAND GETKEYS answers where there is no such command.
pub(crate) const NO_SUCH_COMMAND: CommandError =
    CommandError::text("ERR Invalid command specified");

impl Legacy {
    /// The numbers of a command.
    pub(crate) fn of(spec: &Spec) -> Self {
        let mut legacy =
            Self { movable: spec.flags.contains(Flags::MOVABLE_KEYS), ..Self::default() };
        for key in spec.keys {
            let (Begin::Index(first), Find::Range { last, step, limit }) = (key.begin, key.find)
            else {
                legacy.movable = true;
                continue;
            };
            if key.flags.contains(KeyFlags::INCOMPLETE) {
                legacy.movable = true;
            }
            let last = if last < 0 { last } else { first as i64 + last };
            if legacy.first == 0 {
                legacy.first = first as i64;
                legacy.last = last;
                legacy.step = step as i64;
                legacy.movable |= limit > 1;
            } else if legacy.last >= 0 && legacy.last + 1 == first as i64 && legacy.step == 1 {
                legacy.last = last;
            } else {
                legacy.movable = true;
            }
        }
        legacy
    }
}

/// The keys of a command given as arguments, for COMMAND GETKEYS.
///
/// # Errors
/// The command has no keys, or these arguments don't fit it.
pub(crate) fn keys(spec: &Spec, args: Args<'_>) -> Result<Vec<KeyAt>, CommandError> {
    if !spec.keys.iter().any(|key| !key.flags.contains(KeyFlags::NOT_KEY)) {
        return Err(NO_KEYS);
    }
    if !spec.arity.admits(args.len()) {
        return Err(WRONG_COUNT);
    }
    match find(spec, args) {
        Some(keys) if !keys.is_empty() => Ok(keys),
        _ if spec.flags.contains(Flags::NO_MANDATORY_KEYS) => Ok(Vec::new()),
        _ => Err(WRONG),
    }
}

/// The keys of a command given as arguments; `None` where they don't fit it.
pub(crate) fn find(spec: &Spec, args: Args<'_>) -> Option<Vec<KeyAt>> {
    let mut found = Vec::new();
    for key in spec.keys.iter().filter(|key| !key.flags.contains(KeyFlags::NOT_KEY)) {
        let begin = match key.begin {
            Begin::Index(index) if args.get(index) == Some(b"") && has_keys_elsewhere(spec) => {
                continue;
            }
            Begin::Index(index) => index,
            Begin::Keyword(word, from) => match after_keyword(word, from, args) {
                // MIGRATE takes its keys from one place or the other.
                Some(_) if key.flags.contains(KeyFlags::INCOMPLETE) && !found.is_empty() => {
                    return None;
                }
                Some(index) => index,
                None => continue,
            },
            Begin::Unknown => {
                if spec.name == "SORT" && key.flags.contains(KeyFlags::OW) {
                    let flags = key.flags;
                    found.extend(sort_destination(args).map(|index| KeyAt { index, flags }));
                }
                continue;
            }
        };
        let (first, last, step) = match key.find {
            Find::Range { last, step, limit } => {
                let last = match (last, limit) {
                    (0.., _) => begin as i64 + last,
                    (_, 0 | 1) => args.len() as i64 + last,
                    _ => begin as i64 + (args.len().saturating_sub(begin) / limit) as i64 + last,
                };
                (begin, last, step)
            }
            Find::KeyNum { number, first, step } => {
                let count = text::parse_i64(args.get(begin + number)?)?;
                let first = begin + first;
                let span = count.checked_sub(1)?.checked_mul(step as i64)?;
                if count == 0 {
                    continue;
                }
                (first, (first as i64).checked_add(span)?, step)
            }
            Find::Unknown => continue,
        };
        if last < first as i64 || last >= args.len() as i64 || step == 0 {
            return None;
        }
        let flags = variable_flags(spec, key, args);
        found.extend((first..=last as usize).step_by(step).map(|index| KeyAt { index, flags }));
    }
    Some(found)
}

/// Whether an empty first key stands for keys behind a keyword (MIGRATE).
fn has_keys_elsewhere(spec: &Spec) -> bool {
    let behind = |key: &Key| matches!(key.begin, Begin::Keyword(..));
    spec.keys.iter().any(|key| behind(key) && key.flags.contains(KeyFlags::INCOMPLETE))
}

/// Where SORT's last STORE says to put the result. Words that belong to other options don't count.
fn sort_destination(args: Args<'_>) -> Option<usize> {
    let mut destination = None;
    let mut index = 2;
    while index < args.len() {
        if args.is(index, "LIMIT") {
            index += 2;
        } else if args.is(index, "GET") || args.is(index, "BY") {
            index += 1;
        } else if args.is(index, "STORE") && index + 1 < args.len() {
            destination = Some(index + 1);
        }
        index += 1;
    }
    destination
}

/// What follows a keyword that is searched from an index on, or backwards from the end.
fn after_keyword(word: &str, from: i64, args: Args<'_>) -> Option<usize> {
    if from >= 0 {
        (from as usize..args.len()).find(|index| args.is(*index, word)).map(|index| index + 1)
    } else {
        let end = args.len().checked_sub(from.unsigned_abs() as usize)?;
        (1..=end).rev().find(|index| args.is(*index, word)).map(|index| index + 1)
    }
}

/// A spec's flags, narrowed to what these arguments do where the row says that this varies.
fn variable_flags(spec: &Spec, key: &Key, args: Args<'_>) -> KeyFlags {
    if !key.flags.contains(KeyFlags::VARIABLE_FLAGS) {
        return key.flags;
    }
    let plain = Key::at(0);
    match spec.name {
        "SET" if !(3..args.len()).any(|index| args.is(index, "GET")) => plain.ow().update().flags,
        "BITFIELD"
            if !(2..args.len()).any(|index| args.is(index, "SET") || args.is(index, "INCRBY")) =>
        {
            plain.ro().access().flags
        }
        "DELEX" if args.len() == 2 => plain.rm().delete().flags,
        "DELEX" => plain.rw().delete().flags,
        _ => plain.rw().access().update().flags,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::spec::{Arity, Command, Flow, read};
    use crate::resp::request::Range;

    type Handler = fn() -> Result<Flow, CommandError>;

    fn run() -> Result<Flow, CommandError> {
        Ok(Flow::Done)
    }

    const fn row(keys: &'static [Key]) -> Command<Handler> {
        read("X", Arity::AtLeast(1), run as Handler).keys(keys)
    }

    fn positions(row: &Command<Handler>, line: &str) -> Option<Vec<usize>> {
        let mut at = 0;
        let ranges: Vec<Range> = line
            .split(' ')
            .map(|word| {
                let range = Range::new(at, word.len());
                at += word.len() + 1;
                range
            })
            .collect();
        let found = find(&row.spec, Args::new(line.as_bytes(), &ranges))?;
        Some(found.into_iter().map(|key| key.index).collect())
    }

    #[test]
    fn each_kind_of_spec_finds_its_keys() {
        const PAIRS: Command<Handler> = row(&[Key::at(1).range(-1, 2)]);
        const COUNTED: Command<Handler> = row(&[Key::at(1), Key::at(2).counted(0, 1, 1)]);
        const STORED: Command<Handler> = row(&[Key::at(1), Key::after("STORE", 2)]);
        assert_eq!(positions(&PAIRS, "x a 1 b 2").unwrap(), [1, 3]);
        assert_eq!(positions(&COUNTED, "x d 2 a b LEFT").unwrap(), [1, 3, 4]);
        assert_eq!(positions(&COUNTED, "x d 9 a b"), None);
        assert_eq!(positions(&COUNTED, "x d no a b"), None);
        assert_eq!(positions(&STORED, "x a store b").unwrap(), [1, 3]);
        assert_eq!(positions(&STORED, "x a").unwrap(), [1]);
    }

    #[test]
    fn the_old_numbers_cover_what_they_can() {
        let numbers = |row: &Command<Handler>| {
            let legacy = Legacy::of(&row.spec);
            (legacy.first, legacy.last, legacy.step, legacy.movable)
        };
        const PAIRS: Command<Handler> = row(&[Key::at(1).range(-1, 2)]);
        const TWO: Command<Handler> = row(&[Key::at(1), Key::at(2)]);
        const STORED: Command<Handler> = row(&[Key::at(1), Key::after("STORE", 2)]);
        assert_eq!(numbers(&row(&[])), (0, 0, 0, false));
        assert_eq!(numbers(&PAIRS), (1, -1, 2, false));
        assert_eq!(numbers(&TWO), (1, 2, 1, false));
        assert_eq!(numbers(&STORED), (1, 1, 1, true));
    }
}
