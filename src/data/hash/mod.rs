//! A hash: fields with values, each field with an expiry time of its own where it has one.
//!
//! ```text
//! Packed   field, value, ...                 a listpack                   OBJECT ENCODING listpack
//! Timed    field, value, expiry, ...         a listpack in the order of   listpackex
//!          expiry times, 0 (none) at the end
//! Big      an index over an arena            and its expiring fields in   hashtable
//!                                            the order of their times
//! ```
//!
//! A hash begins packed. The first expiry time makes it timed, and a field or value too long or a
//! field too many makes it big; there is no way back, as in upstream. A time that has passed means
//! nothing here: whoever owns the hash calls [`Hash::remove_due`] before looking into it.

mod big;
mod due;
#[cfg(test)]
mod tests;
mod timed;

use std::fmt;

use crate::base::env::{Rng, UnixMillis};
use crate::data::element::Element;
use crate::data::hash::big::Big;
pub(crate) use crate::data::hash::big::FrozenFields;
use crate::data::index::Room;
use crate::data::listpack::{self, Cursor, Listpack};
use crate::data::thin::{Boxed, forms};
use crate::data::thresholds::Thresholds;

/// A hash.
#[derive(Clone)]
pub enum Hash {
    /// Fields and values in one block.
    Packed(Listpack),
    /// Fields, values and expiry times in one block, in the order of the times.
    Timed(Listpack),
    /// Too big for a block.
    Big(Boxed<Big>),
}

forms!(Hash { Packed = 0, Timed = 1, Big = 2 });

/// What becomes of a field's expiry time when its value is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldExpiry {
    /// It stays as it is.
    Keep,
    /// The field no longer expires.
    Clear,
    /// The field expires at that time.
    At(UnixMillis),
}

impl FieldExpiry {
    /// What a field has afterwards that had `old` before.
    #[inline]
    fn after(self, old: Option<UnixMillis>) -> Option<UnixMillis> {
        match self {
            Self::Keep => old,
            Self::Clear => None,
            Self::At(at) => Some(at),
        }
    }
}

/// A field and what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name.
    pub name: Element<'a>,
    /// Its value.
    pub value: Element<'a>,
    /// When it expires, if it does.
    pub expiry: Option<UnixMillis>,
}

impl Default for Hash {
    fn default() -> Self {
        Self::Packed(Listpack::new())
    }
}

/// Elements of a field in [`Hash::Packed`].
const PAIR: usize = 2;

impl Hash {
    /// A hash of fields and values that stand in a listpack, if they are pairs.
    pub(crate) fn from_packed(pack: Listpack, thresholds: &Thresholds) -> Option<Self> {
        let len = pack.len();
        if !len.is_multiple_of(PAIR) {
            return None;
        }
        let mut hash = Self::Packed(pack);
        if len / PAIR > thresholds.hash_entries {
            hash.make_big();
        }
        Some(hash)
    }

    /// A hash of fields, values and expiry times that stand in a listpack, if they are such.
    pub(crate) fn from_timed(pack: Listpack, thresholds: &Thresholds) -> Option<Self> {
        let len = pack.len();
        let is_sorted = timed::is_sorted(&pack)?;
        let mut hash = Self::Timed(pack);
        if len / timed::TRIPLE > thresholds.hash_entries {
            hash.make_big();
        } else if !is_sorted {
            let mut sorted = Listpack::new();
            for field in &hash {
                timed::put(&mut sorted, field);
            }
            hash = Self::Timed(sorted);
        }
        Some(hash)
    }

    /// How many fields there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Packed(pack) => pack.len() / PAIR,
            Self::Timed(pack) => pack.len() / timed::TRIPLE,
            Self::Big(big) => big.len(),
        }
    }

    /// Whether there is no field.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Packed(pack) | Self::Timed(pack) => pack.is_empty(),
            Self::Big(big) => big.len() == 0,
        }
    }

    /// The name that OBJECT ENCODING replies.
    pub(crate) fn encoding(&self) -> &'static str {
        match self {
            Self::Packed(_) => "listpack",
            Self::Timed(_) => "listpackex",
            Self::Big(_) => "hashtable",
        }
    }

    /// Bytes of heap that the hash owns. Costs the same for any size.
    #[inline]
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Packed(pack) | Self::Timed(pack) => pack.heap_bytes(),
            Self::Big(big) => size_of::<Big>() + big.heap_bytes(),
        }
    }

    /// Whether nothing more may be added: it is as large as it may get.
    #[inline]
    pub(crate) fn is_full(&self, room: Room) -> bool {
        matches!(self, Self::Big(big) if big.is_full(room))
    }

    /// Whether all fields are in one block, so that walking over them costs next to nothing.
    #[inline]
    pub(crate) fn is_compact(&self) -> bool {
        !matches!(self, Self::Big(_))
    }

    /// The listpack of fields and values, where the hash is one.
    pub(crate) fn as_packed(&self) -> Option<&Listpack> {
        match self {
            Self::Packed(pack) => Some(pack),
            _ => None,
        }
    }

    /// The listpack of fields, values and expiry times, where the hash is one.
    pub(crate) fn as_timed(&self) -> Option<&Listpack> {
        match self {
            Self::Timed(pack) => Some(pack),
            _ => None,
        }
    }

    /// The value of a field.
    #[inline]
    pub fn get(&self, name: &[u8]) -> Option<Element<'_>> {
        match self {
            Self::Packed(pack) => {
                let at = pack.find(pack.first()?, name, PAIR)?;
                Some(pack.get(pack.next(at)?))
            }
            _ => self.field(name).map(|field| field.value),
        }
    }

    /// A field with its value and expiry time.
    pub fn field(&self, name: &[u8]) -> Option<Field<'_>> {
        match self {
            Self::Packed(pack) => {
                let at = pack.find(pack.first()?, name, PAIR)?;
                pair_at(pack, at)
            }
            Self::Timed(pack) => timed::at(pack, timed::find(pack, name)?),
            Self::Big(big) => big.get(name),
        }
    }

    /// Whether the field is there.
    pub fn contains(&self, name: &[u8]) -> bool {
        match self {
            Self::Packed(pack) => {
                pack.first().is_some_and(|first| pack.find(first, name, PAIR).is_some())
            }
            Self::Timed(pack) => timed::find(pack, name).is_some(),
            Self::Big(big) => big.get(name).is_some(),
        }
    }

    /// Puts a field; whether it is a new one.
    pub fn insert(
        &mut self,
        name: &[u8],
        value: &[u8],
        expiry: FieldExpiry,
        thresholds: &Thresholds,
    ) -> bool {
        let longest = name.len().max(value.len());
        match self {
            Self::Big(_) => {}
            Self::Packed(pack) | Self::Timed(pack) => {
                let bytes = pack.byte_len().saturating_add(name.len()).saturating_add(value.len());
                if longest > thresholds.hash_value || bytes > listpack::BYTES_MAX {
                    self.make_big();
                }
            }
        }
        if matches!(expiry, FieldExpiry::At(_)) {
            self.make_timed();
        }
        let is_new = match self {
            Self::Packed(pack) => insert_pair(pack, name, value),
            Self::Timed(pack) => timed::insert(pack, name, value, expiry),
            Self::Big(big) => return big.insert(name, value, expiry),
        };
        if self.len() > thresholds.hash_entries {
            self.make_big();
        }
        is_new
    }

    /// Becomes an index at once where one command brings more fields than a listpack takes, be some of them
    /// there twice: as Redis 7.2 does it.
    pub(crate) fn expect(&mut self, count: usize, thresholds: &Thresholds) {
        if count > thresholds.hash_entries {
            self.make_big();
        }
    }

    /// Removes a field; whether it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        match self {
            Self::Packed(pack) => {
                let found = pack.first().and_then(|first| pack.find(first, name, PAIR));
                remove_at(pack, found, PAIR)
            }
            Self::Timed(pack) => {
                let found = timed::find(pack, name);
                remove_at(pack, found, timed::TRIPLE)
            }
            Self::Big(big) => big.remove(name),
        }
    }

    /// Sets or takes away the expiry time of a field; whether the field is there.
    pub fn set_expiry(&mut self, name: &[u8], expiry: Option<UnixMillis>) -> bool {
        if !self.contains(name) {
            return false;
        }
        if expiry.is_some() {
            self.make_timed();
        }
        match self {
            Self::Packed(_) => true,
            Self::Timed(pack) => timed::set_expiry(pack, name, expiry),
            Self::Big(big) => big.set_expiry(name, expiry),
        }
    }

    /// When the first of the fields expires. Costs the same for any size.
    #[inline]
    pub fn next_expiry(&self) -> Option<UnixMillis> {
        match self {
            Self::Packed(_) => None,
            Self::Timed(pack) => timed::next_expiry(pack),
            Self::Big(big) => big.next_expiry(),
        }
    }

    /// Whether all fields of a big hash expire at `now` or earlier: whoever wants them gone may drop
    /// the hash as a whole.
    pub fn is_all_due(&self, now: UnixMillis) -> bool {
        matches!(self, Self::Big(big) if big.is_all_due(now))
    }

    /// Removes up to `max` fields that expire at `now` or earlier, the earliest first, and adds their
    /// names to `removed`.
    pub fn remove_due(&mut self, now: UnixMillis, max: usize, removed: &mut Vec<Box<[u8]>>) {
        match self {
            Self::Packed(_) => {}
            Self::Timed(pack) => timed::remove_due(pack, now, max, removed),
            Self::Big(big) => big.remove_due(now, max, removed),
        }
    }

    /// All fields.
    pub fn iter(&self) -> Iter<'_> {
        Iter(match self {
            Self::Packed(pack) => Walk::Packed(pack.iter()),
            Self::Timed(pack) => Walk::Timed(pack.iter()),
            Self::Big(big) => Walk::Big(big.iter()),
        })
    }

    /// Goes on with a scan from `cursor` for about `count` fields and returns where to go on; 0 is
    /// both the beginning and the end. Fields present throughout are handed out. A hash in one block
    /// is handed out whole.
    pub fn scan(&self, cursor: u64, count: usize, mut each: impl FnMut(Field<'_>)) -> u64 {
        if let Self::Big(big) = self {
            return big.scan(cursor, count, each);
        }
        for field in self {
            each(field);
        }
        0
    }

    /// One of the fields, each with the same chance.
    pub fn sample(&self, rng: &mut Rng) -> Option<Field<'_>> {
        match self {
            Self::Big(big) => big.sample(rng),
            _ if self.is_empty() => None,
            _ => self.at_index(rng.index(self.len())),
        }
    }

    /// The field at an index of a block. In a big hash an index means nothing.
    fn at_index(&self, index: usize) -> Option<Field<'_>> {
        match self {
            Self::Packed(pack) => pair_at(pack, pack.seek(index * PAIR)?),
            Self::Timed(pack) => timed::at(pack, pack.seek(index * timed::TRIPLE)?),
            Self::Big(_) => None,
        }
    }

    /// The fields as they are now, for another thread; nothing for a hash in one block.
    pub(crate) fn freeze(&self) -> Option<FrozenFields> {
        match self {
            Self::Big(big) => Some(big.freeze()),
            Self::Packed(_) | Self::Timed(_) => None,
        }
    }

    /// Makes room for expiry times.
    fn make_timed(&mut self) {
        if let Self::Packed(pack) = self {
            *self = Self::Timed(timed::from_packed(pack));
        }
    }

    fn make_big(&mut self) {
        if !matches!(self, Self::Big(_)) {
            let mut big = Big::default();
            for Field { name, value, expiry } in &*self {
                let expiry = expiry.map_or(FieldExpiry::Clear, FieldExpiry::At);
                name.with_bytes(|name| value.with_bytes(|value| big.insert(name, value, expiry)));
            }
            *self = Self::Big(Boxed::new(big));
        }
    }
}

/// The pair whose field is at a cursor.
#[inline]
fn pair_at(pack: &Listpack, at: Cursor) -> Option<Field<'_>> {
    let value = pack.get(pack.next(at)?);
    Some(Field { name: pack.get(at), value, expiry: None })
}

/// Removes the elements of a field, if it was found.
#[inline]
fn remove_at(pack: &mut Listpack, found: Option<Cursor>, elements: usize) -> bool {
    if let Some(at) = found {
        pack.remove(at, elements);
    }
    found.is_some()
}

fn insert_pair(pack: &mut Listpack, name: &[u8], value: &[u8]) -> bool {
    let found = pack.first().and_then(|first| pack.find(first, name, PAIR));
    match found.and_then(|at| pack.next(at)) {
        Some(at) => {
            pack.replace(at, value);
            false
        }
        None => {
            pack.push_back_all(&[Element::of(name), Element::of(value)]);
            true
        }
    }
}

/// The fields of a hash.
pub struct Iter<'a>(Walk<'a>);

enum Walk<'a> {
    Packed(listpack::Iter<'a>),
    Timed(listpack::Iter<'a>),
    Big(big::Iter<'a>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        match &mut self.0 {
            Walk::Packed(elements) => {
                let (name, value) = (elements.next()?, elements.next()?);
                Some(Field { name, value, expiry: None })
            }
            Walk::Timed(elements) => {
                let (name, value) = (elements.next()?, elements.next()?);
                Some(Field { name, value, expiry: timed::expiry_of(elements.next()?) })
            }
            Walk::Big(fields) => fields.next(),
        }
    }
}

impl fmt::Debug for Iter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Iter")
    }
}

impl<'a> IntoIterator for &'a Hash {
    type Item = Field<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl PartialEq for Hash {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.iter().all(|field| {
                field.name.with_bytes(|name| {
                    other.field(name).is_some_and(|found| {
                        found.value == field.value && found.expiry == field.expiry
                    })
                })
            })
    }
}

impl Eq for Hash {}

/// Sorted by name, whatever the form.
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields: Vec<_> = self
            .iter()
            .map(|field| (field.name.to_vec(), field.value.to_vec(), field.expiry))
            .collect();
        fields.sort();
        let mut map = f.debug_map();
        for (name, value, expiry) in &fields {
            let (name, value) = (name.escape_ascii(), value.escape_ascii());
            match expiry {
                None => map.entry(&format_args!("\"{name}\""), &format_args!("\"{value}\"")),
                Some(at) => map.entry(
                    &format_args!("\"{name}\""),
                    &format_args!("\"{value}\" until {}", at.0),
                ),
            };
        }
        map.finish()
    }
}
