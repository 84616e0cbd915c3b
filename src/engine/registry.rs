//! All commands by name: the rows of the data layer and of the engine, in one table.
//!
//! Looked up for every request: an open-addressing table over the lower-cased name, probed once
//! nearly always. Built at start from the const slices, so `rename-command` is just another name.
//!
//! The log knows commands by their original names, whatever clients call them: a second table is kept
//! for it ([`Registry::resolve_logged`]). So a log loads under any `rename-command` lines.

use std::fmt;

use crate::command;
use crate::command::args::Args;
use crate::command::spec::{Command, DataHandler, Flags, Spec};
use crate::engine::{ControlHandler, families};

/// A command's place in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(pub u16);

/// A command's code.
#[derive(Clone, Copy)]
pub enum Run {
    /// Works on data through a context.
    Data(DataHandler),
    /// Works on the engine.
    Control(ControlHandler),
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Data(_) => "Data",
            Self::Control(_) => "Control",
        })
    }
}

/// One command of the registry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its description.
    pub spec: &'static Spec,
    /// Its code.
    pub run: Run,
    /// Its full name in lower case, e.g. `client|list`.
    pub full_name: String,
    /// A container's subcommands.
    pub subcommands: Vec<CommandId>,
    /// A subcommand's container.
    pub parent: Option<CommandId>,
    /// Whether a client can call it by name (not renamed away).
    pub(crate) reachable: bool,
    /// What stands in the log for its first word, where clients call it by another name.
    pub(crate) logged_name: Option<&'static str>,
}

/// All commands.
#[derive(Debug)]
pub struct Registry {
    entries: Vec<Entry>,
    /// Those that clients can call, by the names that they have for them.
    called: Slots,
    /// All, by their original names.
    logged: Slots,
    names: Vec<Box<[u8]>>,
}

/// Slots of names, a power of two many, at most half full.
type Slots = Vec<Option<NameSlot>>;

/// A command's name as it is looked for.
#[derive(Clone, Copy, Debug)]
struct NameSlot {
    /// Of the name in lower case.
    key: NameKey,
    id: CommandId,
}

/// What tells names apart, in any case of their letters: names of up to eight bytes wholly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NameKey {
    /// The first eight bytes, with zeros behind them.
    head: u64,
    len: usize,
}

impl NameKey {
    #[inline]
    fn of(name: &[u8]) -> Self {
        Self { head: lower_case(head_of(name)), len: name.len() }
    }

    /// Whether the key says all of the name.
    #[inline]
    fn is_whole(self) -> bool {
        self.len <= size_of::<u64>()
    }

    #[inline]
    fn hash(self) -> usize {
        let mixed = (self.head ^ self.len as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as usize
    }
}

/// The first eight bytes, with zeros behind them where there are fewer. Of fewer than eight the halves
/// that are read overlap.
#[inline]
fn head_of(name: &[u8]) -> u64 {
    let half = |at: usize| {
        name.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |four| u32::from_le_bytes(*four))
    };
    match name {
        [_, _, _, _, _, _, _, _, ..] => u64::from(half(0)) | u64::from(half(4)) << 32,
        [_, _, _, _, ..] => {
            let back = name.len() - 4;
            u64::from(half(0)) | u64::from(half(back)) << (8 * back)
        }
        [first, .., last] => {
            let middle = name.len() / 2;
            let byte = |byte: u8, at: usize| u64::from(byte) << (8 * at);
            byte(*first, 0) | byte(name[middle], middle) | byte(*last, name.len() - 1)
        }
        [only] => u64::from(*only),
        [] => 0,
    }
}

/// Eight bytes with their ASCII letters in lower case.
#[inline]
fn lower_case(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let low = word & !HIGH;
    // A byte's high bit: whether it is at least `A`, and whether it is beyond `Z`.
    let from_a = low + ONES * (0x80 - b'A' as u64);
    let beyond_z = low + ONES * (0x7f - b'Z' as u64);
    let letters = from_a & !beyond_z & !word & HIGH;
    word | letters >> 2
}

impl Registry {
    /// The registry of all rows.
    pub fn new() -> Self {
        let mut registry = Self {
            entries: Vec::new(),
            called: Slots::new(),
            logged: Slots::new(),
            names: Vec::new(),
        };
        for family in command::FAMILIES {
            for row in *family {
                registry.add(row, None, Run::Data);
            }
        }
        for family in families() {
            for row in *family {
                registry.add(row, None, Run::Control);
            }
        }
        registry.index();
        registry
    }

    fn add<H: Copy>(
        &mut self,
        row: &'static Command<H>,
        parent: Option<CommandId>,
        run: fn(H) -> Run,
    ) -> CommandId {
        let id = CommandId(self.entries.len() as u16);
        let mut full_name = row.spec.name.to_ascii_lowercase();
        if let Some(parent) = parent {
            full_name = format!("{}|{full_name}", self[parent].full_name);
        }
        self.names.push(row.spec.name.to_ascii_lowercase().into_bytes().into());
        self.entries.push(Entry {
            spec: &row.spec,
            run: run(row.run),
            full_name,
            subcommands: Vec::new(),
            parent,
            reachable: true,
            logged_name: None,
        });
        let subcommands = row.subcommands.iter().map(|sub| self.add(sub, Some(id), run)).collect();
        self.entries[id.0 as usize].subcommands = subcommands;
        id
    }

    fn index(&mut self) {
        self.called =
            self.slots_of(|index| self.entries[index].reachable.then_some(&*self.names[index]));
        self.logged = self.slots_of(|index| Some(self.entries[index].spec.name.as_bytes()));
    }

    /// The slots of all commands that have a name here, but for subcommands.
    fn slots_of<'a>(&'a self, name: impl Fn(usize) -> Option<&'a [u8]>) -> Slots {
        let size = (self.entries.len() * 4).next_power_of_two();
        let mut slots = vec![None; size];
        for (index, entry) in self.entries.iter().enumerate() {
            let Some(name) = name(index).filter(|_| entry.parent.is_none()) else { continue };
            let key = NameKey::of(name);
            let mut at = key.hash() & (size - 1);
            while slots[at].is_some() {
                at = (at + 1) & (size - 1);
            }
            slots[at] = Some(NameSlot { key, id: CommandId(index as u16) });
        }
        slots
    }

    /// The command of a name, in any case; of a container the container itself.
    #[inline]
    pub(crate) fn find(&self, name: &[u8]) -> Option<CommandId> {
        Self::find_in(&self.called, name, |id| &self.names[id.0 as usize])
    }

    #[inline]
    fn find_in<'a>(
        slots: &[Option<NameSlot>],
        name: &[u8],
        name_of: impl Fn(CommandId) -> &'a [u8],
    ) -> Option<CommandId> {
        let key = NameKey::of(name);
        let mask = slots.len() - 1;
        let mut at = key.hash() & mask;
        while let Some(slot) = slots[at] {
            if slot.key == key && (key.is_whole() || name_of(slot.id).eq_ignore_ascii_case(name)) {
                return Some(slot.id);
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// The command that arguments name, a container's subcommand where they name one.
    #[inline]
    pub(crate) fn resolve(&self, args: Args<'_>) -> Option<CommandId> {
        self.find(args.at(0)).map(|id| self.narrowed(id, args))
    }

    /// The command that a record of the log names: by its original name, else by the one that clients
    /// have for it, since Redis logs commands by that.
    #[inline]
    pub(crate) fn resolve_logged(&self, args: Args<'_>) -> Option<CommandId> {
        let name = args.at(0);
        let logged = Self::find_in(&self.logged, name, |id| self[id].spec.name.as_bytes());
        logged.or_else(|| self.find(name)).map(|id| self.narrowed(id, args))
    }

    /// As [`Registry::resolve_logged`], of a command that is to be executed; else what is wrong with it.
    pub(crate) fn resolve_streamed(&self, args: Args<'_>) -> Result<CommandId, &'static str> {
        let command = self.resolve_logged(args).ok_or("Unknown command")?;
        if !self[command].spec.arity.admits(args.len()) {
            return Err("Wrong number of arguments for");
        }
        Ok(command)
    }

    /// The subcommand of a container that the arguments name, or the command itself.
    #[inline]
    fn narrowed(&self, id: CommandId, args: Args<'_>) -> CommandId {
        if self[id].subcommands.is_empty() {
            return id;
        }
        args.get(1).and_then(|word| self.find_subcommand(id, word)).unwrap_or(id)
    }

    /// A container's subcommand of a name.
    pub(crate) fn find_subcommand(&self, container: CommandId, name: &[u8]) -> Option<CommandId> {
        let subcommands = &self[container].subcommands;
        subcommands.iter().copied().find(|id| self.names[id.0 as usize].eq_ignore_ascii_case(name))
    }

    /// The command of a full name such as `config|get`, in any case.
    pub(crate) fn find_full(&self, name: &[u8]) -> Option<CommandId> {
        let mut parts = name.splitn(2, |byte| *byte == b'|');
        let container = self.find(parts.next()?)?;
        match parts.next() {
            Some(word) => self.find_subcommand(container, word),
            None => Some(container),
        }
    }

    /// Gives a command another name; an empty one makes it unreachable. False where there is no
    /// such command or the new name is taken.
    pub(crate) fn rename(&mut self, from: &[u8], to: &[u8]) -> bool {
        let Some(id) = self.find(from) else { return false };
        if !to.is_empty() && self.find(to).is_some() {
            return false;
        }
        let index = id.0 as usize;
        if to.is_empty() {
            self.entries[index].reachable = false;
        } else {
            self.names[index] = to.to_ascii_lowercase().into();
            let name = self.entries[index].spec.name;
            for id in [&[id][..], &self.entries[index].subcommands.clone()].concat() {
                self.entries[id.0 as usize].logged_name = Some(name);
            }
        }
        self.index();
        true
    }

    /// Every command, subcommands behind their containers.
    pub fn iter(&self) -> impl Iterator<Item = (CommandId, &Entry)> {
        self.entries.iter().enumerate().map(|(index, entry)| (CommandId(index as u16), entry))
    }

    /// How many commands there are, subcommands included.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl std::ops::Index<CommandId> for Registry {
    type Output = Entry;

    #[inline]
    fn index(&self, id: CommandId) -> &Entry {
        &self.entries[id.0 as usize]
    }
}

impl Entry {
    /// Whether the command has all of these flags.
    #[inline]
    pub(crate) fn has(&self, flags: Flags) -> bool {
        self.spec.flags.contains(flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::request::Range;

    #[test]
    fn every_name_is_found_in_any_case() {
        let registry = Registry::new();
        for (id, entry) in registry.iter() {
            if entry.parent.is_none() {
                assert_eq!(registry.find(entry.spec.name.as_bytes()), Some(id), "{entry:?}");
                let lower = entry.spec.name.to_ascii_lowercase();
                assert_eq!(registry.find(lower.as_bytes()), Some(id), "{entry:?}");
            }
        }
        assert_eq!(registry.find(b"NOSUCH"), None);
        assert_eq!(registry.find(b""), None);
    }

    proptest::proptest! {
        #[test]
        fn names_are_told_apart_as_by_their_letters(
            name in proptest::collection::vec(0u8.., 0..12),
            change in 0usize..12,
            bit in 0u8..8,
        ) {
            let mut other = name.clone();
            if let Some(byte) = other.get_mut(change) {
                *byte ^= 1 << bit;
            }
            let same = name.eq_ignore_ascii_case(&other);
            let (key, other) = (NameKey::of(&name), NameKey::of(&other));
            // The head tells all of a short name, and some of a long one.
            let alike = key == other;
            proptest::prop_assert_eq!(alike || !key.is_whole(), same || !key.is_whole());
            proptest::prop_assert!(alike || !same);
        }
    }

    #[test]
    fn a_renamed_command_answers_to_its_new_name_only() {
        let mut registry = Registry::new();
        let id = registry.find(b"ping");
        assert!(registry.rename(b"PING", b"pong"));
        assert_eq!(registry.find(b"PONG"), id);
        assert_eq!(registry.find(b"PING"), None);
        assert!(registry.rename(b"pong", b""));
        assert_eq!(registry.find(b"PONG"), None);
    }

    #[test]
    fn the_log_knows_commands_by_their_original_names() {
        let mut registry = Registry::new();
        let (del, set) = (registry.find(b"del"), registry.find(b"set"));
        assert!(registry.rename(b"DEL", b"") && registry.rename(b"SET", b"put"));
        // What Redis wrote under such a name is understood, too, unless it is another's.
        assert!(registry.rename(b"GET", b"del"));
        let resolve =
            |words: &[u8]| registry.resolve_logged(Args::new(words, &[Range::new(0, words.len())]));
        assert_eq!((resolve(b"DEL"), resolve(b"Set"), resolve(b"PUT")), (del, set, set));
        assert_eq!(resolve(b"nosuch"), None);
    }
}
