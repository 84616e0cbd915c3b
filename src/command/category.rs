//! ACL categories: which of them a command belongs to, as COMMAND INFO shows them and ACL CAT and
//! `COMMAND LIST FILTERBY ACLCAT` ask for them.
//!
//! Most follow from a row's flags and group; a row names only what doesn't.

use crate::command::spec::{Flags, Group, Spec};

/// Every category, in the order in which replies list them.
pub(crate) const NAMES: &[&str] = &[
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// A set of categories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Categories(u32);

impl Categories {
    /// The set of one category of that name, in any case.
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        let at = NAMES.iter().position(|known| name.eq_ignore_ascii_case(known.as_bytes()))?;
        Some(Self(1 << at))
    }

    /// What a command belongs to. `container`: it only holds subcommands, which have categories of
    /// their own.
    pub(crate) fn of(spec: &Spec, container: bool) -> Self {
        let mut found = Self::default();
        for name in spec.categories {
            found.add(name);
        }
        let flags = spec.flags;
        // A family that the row names itself stands instead of the group's.
        let named = spec.categories.iter().any(|name| !matches!(*name, "admin" | "dangerous"));
        if !container
            && !named
            && let Some(family) = spec.group.category()
        {
            found.add(family);
        }
        let scripting = spec.group == Group::Scripting;
        for (holds, name) in [
            (flags.contains(Flags::WRITE), "write"),
            (flags.contains(Flags::READONLY) && !scripting, "read"),
            (flags.contains(Flags::ADMIN), "admin"),
            (flags.contains(Flags::ADMIN) || flags.contains(Flags::DANGEROUS), "dangerous"),
            (flags.contains(Flags::PUBSUB), "pubsub"),
            (flags.contains(Flags::FAST), "fast"),
            (!flags.contains(Flags::FAST), "slow"),
            (flags.contains(Flags::BLOCKING), "blocking"),
        ] {
            if holds {
                found.add(name);
            }
        }
        found
    }

    fn add(&mut self, name: &str) {
        let known = Self::named(name.as_bytes());
        debug_assert!(known.is_some(), "{name} is a category");
        self.0 |= known.unwrap_or_default().0;
    }

    /// Whether every category of `other` is in this set.
    pub(crate) fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names, in order.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES
            .iter()
            .enumerate()
            .filter(move |(at, _)| self.0 & (1 << at) != 0)
            .map(|(_, name)| *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command;

    fn of(name: &str) -> Vec<&'static str> {
        let rows = command::FAMILIES.iter().flat_map(|family| family.iter());
        rows.filter(|row| row.spec.name == name)
            .flat_map(|row| Categories::of(&row.spec, !row.subcommands.is_empty()).names())
            .collect()
    }

    #[test]
    fn categories_follow_from_flags_and_group() {
        assert_eq!(of("SET"), ["write", "string", "slow"]);
        assert_eq!(of("GET"), ["read", "string", "fast"]);
        assert_eq!(of("KEYS"), ["keyspace", "read", "slow", "dangerous"]);
        assert_eq!(of("OBJECT"), ["slow"]);
    }

    #[test]
    fn names_are_found_in_any_case() {
        assert!(Categories::named(b"SortedSet").is_some());
        assert!(Categories::named(b"nothing").is_none());
    }
}
