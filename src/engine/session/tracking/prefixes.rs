//! Which clients want to hear of which prefixes, and what has changed under them: broadcasting mode.
//!
//! Nothing is remembered of what clients read. A changed key is put beside each prefix that it begins
//! with, and at the end of the tick the prefix's clients get all its keys in one message, ordered by their
//! bytes. The prefixes of a key are found by search, not by trying all: about a search for each that fits.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::engine::session::tracking::table::Reader;

/// Who changed a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    /// Nobody: its time came, or room was needed.
    Nobody,
    /// The client of this number alone, last of all.
    Client(u64),
    /// Several: each wants word of what the others did.
    Several,
}

impl Writer {
    /// The two together, `later` behind it.
    fn then(self, later: Self) -> Self {
        match (self, later) {
            (one, other) if one == other => one,
            // What it writes to a key that had gone it knows.
            (Self::Nobody, later) => later,
            _ => Self::Several,
        }
    }

    /// Whether a client has no need to hear of it that wants no word of its own changes.
    pub(super) fn is(self, id: u64) -> bool {
        self == Self::Client(id)
    }
}

/// What there is to a prefix.
#[derive(Debug, Default)]
pub(super) struct Prefix {
    /// Who wants to hear of it.
    pub(super) clients: BTreeSet<Reader>,
    /// The keys that have changed in this tick.
    pub(super) changed: BTreeMap<Arc<[u8]>, Writer>,
}

/// All prefixes.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    by_name: BTreeMap<Box<[u8]>, Prefix>,
    /// Those with changes.
    changed: BTreeSet<Box<[u8]>>,
}

impl Prefixes {
    /// How many prefixes there are.
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// A client wants to hear of a prefix.
    pub(super) fn add(&mut self, prefix: &[u8], client: Reader) {
        self.by_name.entry(prefix.into()).or_default().clients.insert(client);
    }

    /// A client doesn't any more. A prefix without clients is forgotten, changes and all.
    pub(super) fn remove(&mut self, prefix: &[u8], client: Reader) {
        let Some(found) = self.by_name.get_mut(prefix) else { return };
        found.clients.remove(&client);
        if found.clients.is_empty() {
            self.by_name.remove(prefix);
            self.changed.remove(prefix);
        }
    }

    /// A key has changed.
    pub(super) fn note(&mut self, key: &[u8], writer: Writer) {
        let mut shared: Option<Arc<[u8]>> = None;
        let mut end = key.len();
        loop {
            // The greatest prefix that isn't behind the first `end` bytes of the key.
            let bounds = (Bound::Unbounded, Bound::Included(&key[..end]));
            let Some((prefix, found)) = self.by_name.range_mut::<[u8], _>(bounds).next_back()
            else {
                return;
            };
            let common = key[..end].iter().zip(prefix.iter()).take_while(|(a, b)| a == b).count();
            if common == prefix.len() {
                let name = shared.get_or_insert_with(|| key.into());
                found
                    .changed
                    .entry(Arc::clone(name))
                    .and_modify(|before| *before = before.then(writer))
                    .or_insert(writer);
                if found.changed.len() == 1 {
                    self.changed.insert(prefix.clone());
                }
            }
            // All others that the key begins with are shorter than this one, and not longer than what
            // the two have in common.
            let next = if common == prefix.len() { common.checked_sub(1) } else { Some(common) };
            match next {
                Some(next) => end = next,
                None => return,
            }
        }
    }

    /// Whether anything has changed under a prefix.
    #[inline]
    pub(super) fn any_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Takes what has changed, a prefix after the other.
    pub(super) fn take_changed(&mut self) -> Option<(Vec<Reader>, BTreeMap<Arc<[u8]>, Writer>)> {
        let name = self.changed.pop_first()?;
        let prefix = self.by_name.get_mut(&name)?;
        Some((prefix.clients.iter().copied().collect(), std::mem::take(&mut prefix.changed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::env::{Rng, SteadyMillis};
    use crate::engine::session::Session;
    use crate::mailbox::SessionId;

    /// A random word of few letters, so that words are prefixes of each other.
    fn word(rng: &mut Rng, most: u64) -> Vec<u8> {
        (0..rng.below(most + 1)).map(|_| b'a' + rng.below(2) as u8).collect()
    }

    #[test]
    fn a_key_is_noted_under_all_of_its_prefixes_and_no_other() {
        let mut rng = Rng::from_seed(3);
        let client = Reader::of(&Session::new(SessionId(1), 1, SteadyMillis::default()));
        for _ in 0..2000 {
            let mut prefixes = Prefixes::default();
            let names: Vec<_> = (0..rng.below(12)).map(|_| word(&mut rng, 5)).collect();
            names.iter().for_each(|name| prefixes.add(name, client));
            let key = word(&mut rng, 7);
            prefixes.note(&key, Writer::Nobody);
            for name in &names {
                let noted = prefixes.by_name[&**name].changed.contains_key(&*key);
                assert_eq!(noted, key.starts_with(name), "{key:?} under {name:?} of {names:?}");
            }
            assert_eq!(prefixes.any_changed(), names.iter().any(|name| key.starts_with(name)));
        }
    }

    #[test]
    fn a_key_that_two_have_changed_is_nobodys_own() {
        let mut prefixes = Prefixes::default();
        prefixes.add(b"", Reader::of(&Session::new(SessionId(1), 1, SteadyMillis::default())));
        for (key, writer) in [(b"a", 1), (b"a", 1), (b"b", 1), (b"b", 2), (b"b", 1), (b"d", 2)] {
            prefixes.note(key, Writer::Client(writer));
        }
        prefixes.note(b"c", Writer::Nobody);
        prefixes.note(b"c", Writer::Client(1));
        prefixes.note(b"d", Writer::Nobody);
        let (clients, changed) = prefixes.take_changed().expect("changes");
        assert_eq!(clients.len(), 1);
        assert_eq!(
            changed.values().copied().collect::<Vec<_>>(),
            [Writer::Client(1), Writer::Several, Writer::Client(1), Writer::Several]
        );
        assert!(!prefixes.any_changed());
    }
}
