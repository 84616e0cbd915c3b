//! A set: members, each once, in no order.
//!
//! ```text
//! Ints     sorted integers in one block      OBJECT ENCODING intset
//! Packed   a listpack                        listpack
//! Big      an index over an arena            hashtable
//! ```
//!
//! A set of integers begins as one; a member that is none makes a listpack of it, or an index where
//! that would be too large, and one integer too many makes an index. There is no way back, as in
//! upstream.

#[cfg(test)]
mod tests;

use std::fmt;

use crate::base::env::Rng;
use crate::data::element::Element;
use crate::data::index::{self, Body, Room, Shape, Table};
use crate::data::intset::IntSet;
use crate::data::listpack::{self, Listpack};
use crate::data::thin::{Boxed, forms};
use crate::data::thresholds::Thresholds;

/// A set.
#[derive(Clone)]
pub enum Set {
    /// Integers only.
    Ints(IntSet),
    /// In one block.
    Packed(Listpack),
    /// Too big for a block.
    Big(Boxed<Table>),
}

forms!(Set { Ints = 0, Packed = 1, Big = 2 });

/// Integers beyond this are too many for a block, whatever the directive says: an index, which they
/// then move to, has room for them.
const INTS_MAX: usize = 1 << 28;

impl Default for Set {
    fn default() -> Self {
        Self::Ints(IntSet::new())
    }
}

impl Set {
    /// An empty set in the form that suits a first member, where so many are going to come.
    pub(crate) fn for_members(first: &[u8], count: usize, thresholds: &Thresholds) -> Self {
        if Element::of(first).as_int().is_some() && count <= thresholds.set_ints {
            Self::default()
        } else if count <= thresholds.set_entries {
            Self::Packed(Listpack::new())
        } else {
            Self::Big(Boxed::new(Table::new(Shape::Members)))
        }
    }

    /// A set of integers, as one block where they are few enough.
    pub(crate) fn from_ints(ints: IntSet, thresholds: &Thresholds) -> Self {
        let mut set = Self::Ints(ints);
        if set.len() > thresholds.set_ints.min(INTS_MAX) {
            set.make_big();
        }
        set
    }

    /// A set of the elements of a listpack, none of which is there twice.
    pub(crate) fn from_packed(pack: Listpack, thresholds: &Thresholds) -> Self {
        let many = pack.len() > thresholds.set_entries
            || pack.iter().any(|member| member.len() > thresholds.set_value);
        let mut set = Self::Packed(pack);
        if many {
            set.make_big();
        }
        set
    }

    /// How many members there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Ints(ints) => ints.len(),
            Self::Packed(pack) => pack.len(),
            Self::Big(table) => table.len(),
        }
    }

    /// Whether there is no member.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Ints(ints) => ints.is_empty(),
            Self::Packed(pack) => pack.is_empty(),
            Self::Big(table) => table.is_empty(),
        }
    }

    /// The name that OBJECT ENCODING replies.
    pub(crate) fn encoding(&self) -> &'static str {
        match self {
            Self::Ints(_) => "intset",
            Self::Packed(_) => "listpack",
            Self::Big(_) => "hashtable",
        }
    }

    /// Bytes of heap that the set owns. Costs the same for any size.
    #[inline]
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Ints(ints) => ints.heap_bytes(),
            Self::Packed(pack) => pack.heap_bytes(),
            Self::Big(table) => size_of::<Table>() + table.heap_bytes(),
        }
    }

    /// Whether nothing more may be added: it is as large as it may get.
    #[inline]
    pub(crate) fn is_full(&self, room: Room) -> bool {
        matches!(self, Self::Big(table) if table.is_full(room))
    }

    /// Whether all members are in one block, so that walking over them costs next to nothing.
    #[inline]
    pub(crate) fn is_compact(&self) -> bool {
        !matches!(self, Self::Big(_))
    }

    /// Whether a member is there.
    #[inline]
    pub fn contains(&self, member: &[u8]) -> bool {
        self.has(Element::of(member))
    }

    /// Whether an element of another collection is a member here.
    pub(crate) fn has(&self, member: Element<'_>) -> bool {
        match self {
            Self::Ints(ints) => member.as_int().is_some_and(|number| ints.contains(number)),
            Self::Packed(pack) => pack
                .first()
                .is_some_and(|first| member.with_bytes(|b| pack.find(first, b, 1).is_some())),
            Self::Big(table) => member.with_bytes(|bytes| table.find(bytes).is_some()),
        }
    }

    /// Adds a member; false where it was there.
    pub fn insert(&mut self, member: &[u8], thresholds: &Thresholds) -> bool {
        match self {
            Self::Ints(ints) => {
                let Some(number) = Element::of(member).as_int() else {
                    self.widen(member.len(), thresholds);
                    return self.insert(member, thresholds);
                };
                let is_new = ints.insert(number);
                if is_new && ints.len() > thresholds.set_ints.min(INTS_MAX) {
                    self.make_big();
                }
                is_new
            }
            Self::Packed(pack) => {
                let first = pack.first();
                if first.is_some_and(|first| pack.find(first, member, 1).is_some()) {
                    return false;
                }
                if pack.len() < thresholds.set_entries
                    && member.len() <= thresholds.set_value
                    && pack.byte_len() + member.len() < listpack::BYTES_MAX
                {
                    pack.push_back(member);
                    return true;
                }
                self.make_big();
                self.insert(member, thresholds)
            }
            Self::Big(table) => table.put(member, &Body::default()).1,
        }
    }

    /// Integers become a listpack to which a member of `longest` bytes can be added, or an index where
    /// that would be too large.
    #[cold]
    fn widen(&mut self, longest: usize, thresholds: &Thresholds) {
        let Self::Ints(ints) = self else { return };
        let ends = [ints.get(0), ints.len().checked_sub(1).and_then(|last| ints.get(last))];
        let longest_int = ends.into_iter().flatten().map(|end| Element::Int(end).len()).max();
        let fits = ints.len() < thresholds.set_entries
            && longest.max(longest_int.unwrap_or(0)) <= thresholds.set_value;
        if fits {
            let mut pack = Listpack::new();
            let members: Vec<Element<'_>> = ints.iter().map(Element::Int).collect();
            pack.push_back_all(&members);
            *self = Self::Packed(pack);
        } else {
            self.make_big();
        }
    }

    fn make_big(&mut self) {
        let mut table = Table::new(Shape::Members);
        for member in &*self {
            member.with_bytes(|bytes| table.put(bytes, &Body::default()));
        }
        *self = Self::Big(Boxed::new(table));
    }

    /// Becomes an index at once where so many members are going to be added that it will.
    pub fn expect(&mut self, count: usize, thresholds: &Thresholds) {
        let fits = match self {
            Self::Ints(_) => count <= thresholds.set_ints,
            Self::Packed(_) => count <= thresholds.set_entries,
            Self::Big(_) => true,
        };
        if !fits {
            self.make_big();
        }
    }

    /// Removes a member; false where it wasn't there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self {
            Self::Ints(ints) => {
                Element::of(member).as_int().is_some_and(|number| ints.remove(number))
            }
            Self::Packed(pack) => {
                let found = pack.first().and_then(|first| pack.find(first, member, 1));
                if let Some(at) = found {
                    pack.remove(at, 1);
                }
                found.is_some()
            }
            Self::Big(table) => table.remove(member).is_some(),
        }
    }

    /// All members.
    pub fn iter(&self) -> Iter<'_> {
        Iter(match self {
            Self::Ints(ints) => Walk::Ints(ints, 0),
            Self::Packed(pack) => Walk::Packed(pack.iter()),
            Self::Big(table) => Walk::Big(table.iter()),
        })
    }

    /// Goes on with a scan from `cursor` for about `count` members and returns where to go on; 0 is
    /// both the beginning and the end. Members present throughout are handed out. A set in one block
    /// is handed out whole.
    pub fn scan(&self, cursor: u64, count: usize, mut each: impl FnMut(Element<'_>)) -> u64 {
        if let Self::Big(table) = self {
            return table.scan(cursor, count, |entry| each(Element::Bytes(entry.key())));
        }
        self.iter().for_each(each);
        0
    }

    /// One of the members, each with the same chance.
    pub fn sample(&self, rng: &mut Rng) -> Option<Element<'_>> {
        if self.is_empty() {
            return None;
        }
        let index = || rng.index(self.len());
        match self {
            Self::Ints(ints) => ints.get({ index }()).map(Element::Int),
            Self::Packed(pack) => Some(pack.get(pack.seek({ index }())?)),
            Self::Big(table) => table.sample(rng).map(|entry| Element::Bytes(entry.key())),
        }
    }

    /// The integers, where the set is of such.
    pub(crate) fn as_ints(&self) -> Option<&IntSet> {
        match self {
            Self::Ints(ints) => Some(ints),
            _ => None,
        }
    }

    /// The listpack of members, where the set is one.
    pub(crate) fn as_packed(&self) -> Option<&Listpack> {
        match self {
            Self::Packed(pack) => Some(pack),
            _ => None,
        }
    }

    /// The members as they are now, for another thread; nothing for a set in one block.
    pub(crate) fn freeze(&self) -> Option<index::Frozen> {
        match self {
            Self::Big(table) => Some(table.freeze()),
            _ => None,
        }
    }
}

/// The members of a set.
#[derive(Clone, Debug)]
pub struct Iter<'a>(Walk<'a>);

#[derive(Clone, Debug)]
enum Walk<'a> {
    Ints(&'a IntSet, usize),
    Packed(listpack::Iter<'a>),
    Big(index::Iter<'a>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        match &mut self.0 {
            Walk::Ints(ints, at) => {
                let number = ints.get(*at)?;
                *at += 1;
                Some(Element::Int(number))
            }
            Walk::Packed(elements) => elements.next(),
            Walk::Big(entries) => entries.next().map(|entry| Element::Bytes(entry.key())),
        }
    }
}

impl<'a> IntoIterator for &'a Set {
    type Item = Element<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl PartialEq for Set {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|member| other.has(member))
    }
}

impl Eq for Set {}

/// Sorted, whatever the form.
impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut members: Vec<Vec<u8>> = self.iter().map(Element::to_vec).collect();
        members.sort();
        f.debug_set()
            .entries(members.iter().map(|member| member.escape_ascii().to_string()))
            .finish()
    }
}
