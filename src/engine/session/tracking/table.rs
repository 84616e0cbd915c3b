//! Which clients have read which keys: what default-mode tracking remembers.
//!
//! A key's readers are forgotten together, when it changes or when the table is full, so an entry is
//! written once by each reader and taken out whole. Readers that have gone since stay until then: they are
//! recognised by their number ([`Reader`]), and cost nothing but their 8 bytes. Keys are told apart by
//! name alone, not by database, as upstream does.
//!
//! Most keys have one reader, which takes no memory of its own; few lie in a vector, many in a hash set,
//! so that remembering is constant time with any number of clients. `names` has every key once, in no
//! order, so that a random one can be taken in constant time.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use crate::base::env::Rng;
use crate::engine::session::Session;
use crate::mailbox::SessionId;

/// Readers of a key that are searched one by one.
const FEW: usize = 16;

/// A client that tracks: its place, and the low half of its number, which tells it from those that had
/// the place before. A place must be given to two clients 2^32 numbers apart for one to hear of a key
/// that only the other has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Reader {
    pub(super) slot: SessionId,
    id: u32,
}

impl Reader {
    /// A session as a reader.
    pub(super) fn of(session: &Session) -> Self {
        Self { slot: session.slot, id: session.id as u32 }
    }

    /// Whether the session is this reader.
    pub(super) fn is(self, session: &Session) -> bool {
        self.id == session.id as u32
    }
}

/// The readers of one key.
#[derive(Debug)]
pub(super) enum Readers {
    One(Reader),
    Few(Vec<Reader>),
    Many(HashSet<Reader, ahash::RandomState>),
}

impl Readers {
    /// Adds a reader; false where it is there.
    fn insert(&mut self, reader: Reader) -> bool {
        match self {
            Self::One(one) if *one == reader => return false,
            Self::One(one) => *self = Self::Few(vec![*one, reader]),
            Self::Few(few) if few.contains(&reader) => return false,
            Self::Few(few) if few.len() < FEW => few.push(reader),
            Self::Few(few) => {
                *self = Self::Many(few.iter().copied().chain([reader]).collect());
            }
            Self::Many(many) => return many.insert(reader),
        }
        true
    }

    /// How many there are.
    fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }

    /// Hands each to `each`.
    pub(super) fn for_each(&self, each: impl FnMut(Reader)) {
        match self {
            Self::One(one) => [*one].into_iter().for_each(each),
            Self::Few(few) => few.iter().copied().for_each(each),
            Self::Many(many) => many.iter().copied().for_each(each),
        }
    }
}

#[derive(Debug)]
struct Tracked {
    /// Where the key is in `names`.
    place: usize,
    readers: Readers,
}

/// The keys that clients have read.
#[derive(Debug, Default)]
pub(super) struct Table {
    keys: HashMap<Arc<[u8]>, Tracked, ahash::RandomState>,
    names: Vec<Arc<[u8]>>,
    items: usize,
}

impl Table {
    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// How many readers they have, altogether.
    pub(super) fn items(&self) -> usize {
        self.items
    }

    /// Bytes that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        self.keys.capacity() * size_of::<(Arc<[u8]>, Tracked)>()
            + self.names.capacity() * size_of::<Arc<[u8]>>()
            + self.names.iter().map(|name| name.len() + 16).sum::<usize>()
            + self.items * size_of::<Reader>()
    }

    /// A client has read a key.
    pub(super) fn remember(&mut self, key: &[u8], reader: Reader) {
        if let Some(tracked) = self.keys.get_mut(key) {
            self.items += usize::from(tracked.readers.insert(reader));
            return;
        }
        let name: Arc<[u8]> = key.into();
        let tracked = Tracked { place: self.names.len(), readers: Readers::One(reader) };
        self.names.push(Arc::clone(&name));
        self.keys.insert(name, tracked);
        self.items += 1;
    }

    /// Takes a key out, with its readers.
    pub(super) fn take(&mut self, key: &[u8]) -> Option<Readers> {
        let Tracked { place, readers } = self.keys.remove(key)?;
        self.names.swap_remove(place);
        if let Some(moved) = self.names.get(place)
            && let Some(tracked) = self.keys.get_mut(moved)
        {
            tracked.place = place;
        }
        self.items -= readers.len();
        Some(readers)
    }

    /// Takes any key out, each as likely as the others.
    pub(super) fn take_any(&mut self, rng: &mut Rng) -> Option<(Arc<[u8]>, Readers)> {
        if self.names.is_empty() {
            return None;
        }
        let name = Arc::clone(&self.names[rng.index(self.names.len())]);
        let readers = self.take(&name)?;
        Some((name, readers))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn reader(slot: u32, id: u32) -> Reader {
        Reader { slot: SessionId(slot), id }
    }

    #[test]
    fn the_table_is_a_map_of_sets() {
        let mut rng = Rng::from_seed(7);
        let mut table = Table::default();
        let mut model: BTreeMap<Vec<u8>, BTreeSet<Reader>> = BTreeMap::new();
        for _ in 0..60_000 {
            let key = format!("k{}", rng.below(60)).into_bytes();
            match rng.below(100) {
                0..90 => {
                    let reader = reader(rng.below(40) as u32, rng.below(2) as u32);
                    table.remember(&key, reader);
                    model.entry(key).or_default().insert(reader);
                }
                90..98 => {
                    let mut taken = BTreeSet::new();
                    if let Some(readers) = table.take(&key) {
                        readers.for_each(|one| assert!(taken.insert(one)));
                    }
                    assert_eq!(taken, model.remove(&key).unwrap_or_default());
                }
                _ => {
                    let taken = table.take_any(&mut rng);
                    assert_eq!(taken.is_none(), model.is_empty());
                    if let Some((key, readers)) = taken {
                        assert_eq!(readers.len(), model.remove(&*key).expect("a key").len());
                    }
                }
            }
            assert_eq!(table.len(), model.len());
            assert_eq!(table.items(), model.values().map(BTreeSet::len).sum());
        }
    }

    #[test]
    fn any_key_may_be_taken() {
        let mut rng = Rng::from_seed(1);
        let mut first = BTreeMap::<Vec<u8>, u32>::new();
        for _ in 0..4000 {
            let mut table = Table::default();
            for key in [b"a", b"b", b"c", b"d"] {
                table.remember(key, reader(1, 1));
            }
            let (key, _) = table.take_any(&mut rng).expect("a key");
            *first.entry(key.to_vec()).or_default() += 1;
        }
        assert_eq!(first.len(), 4);
        assert!(first.values().all(|count| (900..1100).contains(count)), "{first:?}");
    }
}
