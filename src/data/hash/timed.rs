//! A listpack of triples, field, value and expiry time: a small hash in which fields expire.
//!
//! The triples are in the order of their times, which are milliseconds since 1970, and 0 where the
//! field doesn't expire; those are at the end. So what is due is at the beginning, and the first
//! triple tells when next something is. It is the form that upstream has since 7.4.

use super::{Field, FieldExpiry};
use crate::base::env::UnixMillis;
use crate::data::element::Element;
use crate::data::listpack::{Cursor, Listpack};

/// Elements of a field.
pub(super) const TRIPLE: usize = 3;

/// The time that a triple's last element tells.
#[inline]
pub(super) fn expiry_of(element: Element<'_>) -> Option<UnixMillis> {
    element.as_int().filter(|millis| *millis > 0).map(UnixMillis)
}

/// Whether triples are in order; `None` where they are no triples.
pub(super) fn is_sorted(pack: &Listpack) -> Option<bool> {
    if !pack.len().is_multiple_of(TRIPLE) {
        return None;
    }
    let (mut last, mut sorted) = (0, true);
    for element in pack.iter().skip(2).step_by(TRIPLE) {
        let millis = element.as_int().filter(|millis| *millis >= 0)?;
        let rank = rank(expiry_of(Element::Int(millis)));
        sorted &= last <= rank;
        last = rank;
    }
    Some(sorted)
}

/// What triples are ordered by: those that don't expire are behind the latest time.
/// Times are behind the epoch, so that their order is that of unsigned numbers.
#[inline]
fn rank(expiry: Option<UnixMillis>) -> u64 {
    expiry.map_or(u64::MAX, |at| at.0.cast_unsigned())
}

/// The same fields without expiry times.
pub(super) fn from_packed(pack: &Listpack) -> Listpack {
    let mut elements = Vec::with_capacity(pack.len() / 2 * TRIPLE);
    for (name, value) in pack.pairs() {
        elements.extend([name, value, Element::Int(0)]);
    }
    let mut timed = Listpack::new();
    timed.push_back_all(&elements);
    timed
}

/// Where a field is.
#[inline]
pub(super) fn find(pack: &Listpack, name: &[u8]) -> Option<Cursor> {
    pack.find(pack.first()?, name, TRIPLE)
}

/// The field at a cursor.
pub(super) fn at(pack: &Listpack, at: Cursor) -> Option<Field<'_>> {
    let mut elements = pack.iter_from(at);
    let (name, value) = (elements.next()?, elements.next()?);
    Some(Field { name, value, expiry: expiry_of(elements.next()?) })
}

/// When the first field expires.
#[inline]
pub(super) fn next_expiry(pack: &Listpack) -> Option<UnixMillis> {
    at(pack, pack.first()?)?.expiry
}

/// Puts a field that isn't there yet where its time belongs, behind those of the same time.
pub(super) fn put(pack: &mut Listpack, field: Field<'_>) {
    let Field { name, value, expiry } = field;
    let triple = [name, value, Element::Int(expiry.map_or(0, |at| at.0))];
    let place = expiry.and_then(|_| first_after(pack, rank(expiry)));
    match place {
        Some(place) => pack.insert_all_before(place, &triple),
        None => pack.push_back_all(&triple),
    }
}

/// The first triple whose time is later than one.
fn first_after(pack: &Listpack, wanted: u64) -> Option<Cursor> {
    let mut next = pack.first();
    while let Some(place) = next {
        let time = pack.next(pack.next(place)?)?;
        if rank(expiry_of(pack.get(time))) > wanted {
            return Some(place);
        }
        next = pack.next(time);
    }
    None
}

/// Puts a field; whether it is a new one.
pub(super) fn insert(pack: &mut Listpack, name: &[u8], value: &[u8], expiry: FieldExpiry) -> bool {
    let found = find(pack, name);
    let old = found.and_then(|place| at(pack, place)?.expiry);
    let new = expiry.after(old);
    if let Some(place) = found {
        if old == new {
            if let Some(place) = pack.next(place) {
                pack.replace(place, value);
            }
            return false;
        }
        pack.remove(place, TRIPLE);
    }
    put(pack, Field { name: Element::of(name), value: Element::of(value), expiry: new });
    found.is_none()
}

/// Sets or takes away a field's time; whether the field is there.
pub(super) fn set_expiry(pack: &mut Listpack, name: &[u8], expiry: Option<UnixMillis>) -> bool {
    let Some(place) = find(pack, name) else { return false };
    let Some(field) = at(pack, place) else { return false };
    if field.expiry != expiry {
        let value = field.value.to_vec();
        pack.remove(place, TRIPLE);
        put(pack, Field { name: Element::of(name), value: Element::of(&value), expiry });
    }
    true
}

/// Removes up to `max` fields that are due at `now`.
pub(super) fn remove_due(
    pack: &mut Listpack,
    now: UnixMillis,
    max: usize,
    removed: &mut Vec<Box<[u8]>>,
) {
    let before = removed.len();
    let mut elements = pack.iter();
    while removed.len() - before < max
        && let (Some(name), Some(_), Some(time)) =
            (elements.next(), elements.next(), elements.next())
        && expiry_of(time).is_some_and(|at| at <= now)
    {
        removed.push(name.to_vec().into());
    }
    let count = removed.len() - before;
    if count > 0 {
        pack.truncate_front(count * TRIPLE);
    }
}
