//! Collections: every form in which Redis 2.6 to 8.10 and Valkey wrote them.
//!
//! Whatever the form in the file, the form in memory is the one that our own thresholds ask for. A
//! block that fits them is checked and taken over as it is. Nothing is trusted: an element that is
//! there twice, a score that is no number, an empty collection, fields without values are all errors.

use std::collections::HashSet;
use std::io::Read;

use super::reader::Reader;
use super::stream::{self, STREAMS};
use super::template::{self, TEMPLATES, Templates};
use super::{DecodeError, string, ziplist, zipmap};
use crate::base::env::UnixMillis;
use crate::base::text;
use crate::data::element::Element;
use crate::data::hash::{FieldExpiry, Hash};
use crate::data::index::Room;
use crate::data::intset::IntSet;
use crate::data::list::ListBuilder;
use crate::data::listpack::Listpack;
use crate::data::set::Set;
use crate::data::thresholds::Thresholds;
use crate::data::value::Object;
use crate::data::zset::{Put, Zset};
use crate::rdb::format::{self, Dialect};

/// What decoding a collection depends on beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) thresholds: &'a Thresholds,
    pub(super) writer: Dialect,
    pub(super) templates: &'a Templates,
}

/// The bytes of a collection in one string, and where they stand.
pub(super) struct Blob {
    offset: u64,
    expected: &'static str,
    bytes: Vec<u8>,
}

impl Blob {
    pub(super) fn read<R: Read>(
        reader: &mut Reader<R>,
        expected: &'static str,
    ) -> Result<Self, DecodeError> {
        let offset = reader.offset();
        Ok(Self { offset, expected, bytes: string::bytes(reader, expected)? })
    }

    /// One that is yet to be read.
    pub(super) fn new(expected: &'static str) -> Self {
        Self { offset: 0, expected, bytes: Vec::new() }
    }

    /// Reads the next one into the same memory; `spare` is as for [`string::bytes_into`].
    pub(super) fn read_next<R: Read>(
        &mut self,
        reader: &mut Reader<R>,
        spare: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        self.offset = reader.offset();
        string::bytes_into(reader, &mut self.bytes, spare, self.expected)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn error(&self, found: impl Into<String>) -> DecodeError {
        wrong(self.offset, self.expected, found)
    }

    pub(super) fn listpack(&self) -> Result<Listpack, DecodeError> {
        Listpack::from_bytes(&self.bytes).map_err(|error| self.error(error.to_string()))
    }

    fn ziplist(&self) -> Result<Vec<Element<'_>>, DecodeError> {
        ziplist::elements(&self.bytes).ok_or_else(|| self.error("damage"))
    }
}

/// More than an index has room for.
const TOO_MANY: &str = "more than 16 GiB of elements in a collection";

pub(super) fn wrong(offset: u64, expected: &'static str, found: impl Into<String>) -> DecodeError {
    DecodeError::Collection { offset, expected, found: found.into() }
}

const LISTS: [u8; 4] = [
    format::TYPE_LIST,
    format::TYPE_LIST_ZIPLIST,
    format::TYPE_LIST_QUICKLIST,
    format::TYPE_LIST_QUICKLIST_2,
];
const SETS: [u8; 3] = [format::TYPE_SET, format::TYPE_SET_INTSET, format::TYPE_SET_LISTPACK];
const ZSETS: [u8; 4] =
    [format::TYPE_ZSET, format::TYPE_ZSET_2, format::TYPE_ZSET_ZIPLIST, format::TYPE_ZSET_LISTPACK];
const HASHES: [u8; 8] = [
    format::TYPE_HASH,
    format::TYPE_HASH_ZIPMAP,
    format::TYPE_HASH_ZIPLIST,
    format::TYPE_HASH_LISTPACK,
    format::TYPE_HASH_2,
    format::TYPE_HASH_LISTPACK_EX_PRE_GA,
    format::TYPE_HASH_METADATA,
    format::TYPE_HASH_LISTPACK_EX,
];

/// Whether a type is one of ours.
pub(super) fn is_known(type_byte: u8) -> bool {
    let families = [&LISTS[..], &SETS, &ZSETS, &HASHES, &STREAMS, &TEMPLATES];
    families.iter().any(|types| types.contains(&type_byte))
}

/// Reads what follows a type byte, which stood at `offset` and [`is_known`].
pub(super) fn object<R: Read>(
    reader: &mut Reader<R>,
    offset: u64,
    type_byte: u8,
    context: Context<'_>,
) -> Result<Object, DecodeError> {
    let object = if LISTS.contains(&type_byte) {
        Object::List(list(reader, type_byte, context)?)
    } else if SETS.contains(&type_byte) {
        Object::Set(set(reader, type_byte, context)?)
    } else if ZSETS.contains(&type_byte) {
        Object::Zset(zset(reader, type_byte, context)?)
    } else if STREAMS.contains(&type_byte) {
        Object::Stream(stream::stream(reader, type_byte)?)
    } else if TEMPLATES.contains(&type_byte) {
        Object::Hash(template::hash(reader, type_byte, context)?)
    } else {
        Object::Hash(hash(reader, type_byte, context)?)
    };
    if object.is_empty() && !object.keeps_empty() {
        return Err(DecodeError::Empty { offset });
    }
    Ok(object)
}

fn list<R: Read>(
    reader: &mut Reader<R>,
    type_byte: u8,
    context: Context<'_>,
) -> Result<crate::data::list::List, DecodeError> {
    let mut list = ListBuilder::default();
    let count = match type_byte {
        format::TYPE_LIST_ZIPLIST => 1,
        _ => reader.length("a number of list nodes")?,
    };
    for _ in 0..count {
        match type_byte {
            format::TYPE_LIST => {
                list.element(&string::bytes(reader, "a list element")?, context.thresholds);
            }
            format::TYPE_LIST_QUICKLIST_2 => {
                let offset = reader.offset();
                let kind = reader.length("a list node's kind")?;
                let blob = Blob::read(reader, "a list node")?;
                match u8::try_from(kind) {
                    // Nobody gives an empty element a node of its own.
                    Ok(format::NODE_PLAIN) if !blob.bytes.is_empty() => {
                        list.element(&blob.bytes, context.thresholds);
                    }
                    Ok(format::NODE_PLAIN) => return Err(blob.error("an empty one")),
                    Ok(format::NODE_PACKED) => list.pack(blob.listpack()?),
                    _ => return Err(wrong(offset, "a list node's kind", kind.to_string())),
                }
            }
            _ => {
                let blob = Blob::read(reader, "a list node")?;
                let mut pack = Listpack::new();
                pack.push_back_all(&blob.ziplist()?);
                list.pack(pack);
            }
        }
    }
    Ok(list.finish(context.thresholds))
}

fn set<R: Read>(
    reader: &mut Reader<R>,
    type_byte: u8,
    context: Context<'_>,
) -> Result<Set, DecodeError> {
    let thresholds = context.thresholds;
    match type_byte {
        format::TYPE_SET_INTSET => {
            let blob = Blob::read(reader, "a set of integers")?;
            let ints = IntSet::from_bytes(&blob.bytes);
            let ints = ints.map_err(|error| blob.error(error.to_string()))?;
            return Ok(Set::from_ints(ints, thresholds));
        }
        format::TYPE_SET_LISTPACK => {
            let blob = Blob::read(reader, "a set's listpack")?;
            let pack = blob.listpack()?;
            are_distinct(pack.iter()).map_err(|()| blob.error("a member twice"))?;
            return Ok(Set::from_packed(pack, thresholds));
        }
        _ => {}
    }
    let count = reader.length("a number of members")?;
    let mut set: Option<Set> = None;
    for _ in 0..count {
        let offset = reader.offset();
        let member = string::bytes(reader, "a member")?;
        let set = set.get_or_insert_with(|| {
            Set::for_members(&member, usize::try_from(count).unwrap_or(usize::MAX), thresholds)
        });
        if set.is_full(Room::All) {
            return Err(wrong(offset, "a member", TOO_MANY));
        }
        if !set.insert(&member, thresholds) {
            return Err(wrong(offset, "a member", "one that was there before"));
        }
    }
    Ok(set.unwrap_or_default())
}

/// Whether no element is there twice.
fn are_distinct<'a>(elements: impl Iterator<Item = Element<'a>>) -> Result<(), ()> {
    let mut seen: HashSet<Vec<u8>, ahash::RandomState> = HashSet::default();
    for element in elements {
        if !seen.insert(element.to_vec()) {
            return Err(());
        }
    }
    Ok(())
}

fn zset<R: Read>(
    reader: &mut Reader<R>,
    type_byte: u8,
    context: Context<'_>,
) -> Result<Zset, DecodeError> {
    let thresholds = context.thresholds;
    if matches!(type_byte, format::TYPE_ZSET_LISTPACK | format::TYPE_ZSET_ZIPLIST) {
        let blob = Blob::read(reader, "a sorted set's block")?;
        let pack = if type_byte == format::TYPE_ZSET_LISTPACK {
            blob.listpack()?
        } else {
            let mut pack = Listpack::new();
            pack.push_back_all(&blob.ziplist()?);
            pack
        };
        let is_sorted = check_scores(&pack).map_err(|found| blob.error(found))?;
        return Ok(Zset::from_packed(pack, is_sorted, thresholds));
    }
    let count = reader.length("a number of members")?;
    // A negative zero is lost in a listpack: where the set won't be one, it must not have been one.
    if count > thresholds.zset_entries as u64 {
        let mut zset = Zset::for_members(usize::MAX, 0, thresholds);
        for _ in 0..count {
            put(&mut zset, scored_member(reader, type_byte)?, thresholds)?;
        }
        return Ok(zset);
    }
    let members: Vec<ScoredMember> =
        (0..count).map(|_| scored_member(reader, type_byte)).collect::<Result<_, _>>()?;
    let longest = members.iter().map(|(_, member, _)| member.len()).max().unwrap_or(0);
    let mut zset = Zset::for_members(members.len(), longest, thresholds);
    for member in members {
        put(&mut zset, member, thresholds)?;
    }
    Ok(zset)
}

/// A member and its score, and where they stand.
type ScoredMember = (u64, Vec<u8>, f64);

fn scored_member<R: Read>(
    reader: &mut Reader<R>,
    type_byte: u8,
) -> Result<ScoredMember, DecodeError> {
    let offset = reader.offset();
    let member = string::bytes(reader, "a member")?;
    let score = if type_byte == format::TYPE_ZSET_2 {
        f64::from_le_bytes(reader.array("a score")?)
    } else {
        text_score(reader)?
    };
    if score.is_nan() {
        return Err(wrong(offset, "a score", "no number"));
    }
    Ok((offset, member, score))
}

fn put(
    zset: &mut Zset,
    (offset, member, score): ScoredMember,
    thresholds: &Thresholds,
) -> Result<(), DecodeError> {
    if zset.is_full(Room::All) {
        return Err(wrong(offset, "a member", TOO_MANY));
    }
    if zset.put(&member, score, thresholds) != Put::Added {
        return Err(wrong(offset, "a member", "one that was there before"));
    }
    Ok(())
}

/// A score as text, with its length before it; three lengths stand for what has no digits.
fn text_score<R: Read>(reader: &mut Reader<R>) -> Result<f64, DecodeError> {
    let offset = reader.offset();
    Ok(match reader.byte("a score's length")? {
        253 => f64::NAN,
        254 => f64::INFINITY,
        255 => f64::NEG_INFINITY,
        len => {
            let digits = reader.bytes(u64::from(len), "a score")?;
            text::parse_f64(&digits).ok_or_else(|| wrong(offset, "a score", "no number"))?
        }
    })
}

/// Whether members and scores are in order; what is wrong with them where something is.
fn check_scores(pack: &Listpack) -> Result<bool, &'static str> {
    if !pack.len().is_multiple_of(2) {
        return Err("a member without a score");
    }
    let mut last: Option<(f64, Vec<u8>)> = None;
    let mut sorted = true;
    for (member, score) in pack.pairs() {
        let score = score.with_bytes(text::parse_f64).ok_or("a score that is no number")?;
        let one = (score, member.to_vec());
        sorted &= last.as_ref().is_none_or(|last| *last < one);
        last = Some(one);
    }
    are_distinct(pack.pairs().map(|(member, _)| member)).map_err(|()| "a member twice")?;
    Ok(sorted)
}

fn hash<R: Read>(
    reader: &mut Reader<R>,
    type_byte: u8,
    context: Context<'_>,
) -> Result<Hash, DecodeError> {
    match type_byte {
        format::TYPE_HASH_LISTPACK => {
            let blob = Blob::read(reader, "a hash's listpack")?;
            packed_hash(&blob, blob.listpack()?, context)
        }
        format::TYPE_HASH_ZIPLIST | format::TYPE_HASH_ZIPMAP => {
            let blob = Blob::read(reader, "a hash's block")?;
            let elements = if type_byte == format::TYPE_HASH_ZIPLIST {
                blob.ziplist()?
            } else {
                zipmap::elements(&blob.bytes).ok_or_else(|| blob.error("damage"))?
            };
            let mut pack = Listpack::new();
            // What a zipmap holds may look like integers.
            for element in elements {
                element.with_bytes(|bytes| pack.push_back(bytes));
            }
            packed_hash(&blob, pack, context)
        }
        format::TYPE_HASH_LISTPACK_EX | format::TYPE_HASH_LISTPACK_EX_PRE_GA => {
            if type_byte == format::TYPE_HASH_LISTPACK_EX {
                // The earliest time, which the fields tell as well.
                reader.array::<8>("an expiry")?;
            }
            timed_hash(&Blob::read(reader, "a hash's listpack with expiries")?, context)
        }
        _ => fields(reader, type_byte, context),
    }
}

fn packed_hash(blob: &Blob, pack: Listpack, context: Context<'_>) -> Result<Hash, DecodeError> {
    are_distinct(pack.iter().step_by(2)).map_err(|()| blob.error("a field twice"))?;
    let longest = pack.iter().map(Element::len).max().unwrap_or(0);
    if longest > context.thresholds.hash_value && pack.len().is_multiple_of(2) {
        let mut hash = Hash::default();
        for (name, value) in pack.pairs() {
            put_field(&mut hash, name, value, None, context);
        }
        return Ok(hash);
    }
    Hash::from_packed(pack, context.thresholds).ok_or_else(|| blob.error("a field without a value"))
}

fn timed_hash(blob: &Blob, context: Context<'_>) -> Result<Hash, DecodeError> {
    let pack = blob.listpack()?;
    are_distinct(pack.iter().step_by(3)).map_err(|()| blob.error("a field twice"))?;
    Hash::from_timed(pack, context.thresholds)
        .ok_or_else(|| blob.error("a field without a value or an expiry"))
}

pub(super) fn put_field(
    hash: &mut Hash,
    name: Element<'_>,
    value: Element<'_>,
    expiry: Option<UnixMillis>,
    context: Context<'_>,
) -> bool {
    let expiry = expiry.map_or(FieldExpiry::Clear, FieldExpiry::At);
    name.with_bytes(|name| {
        value.with_bytes(|value| hash.insert(name, value, expiry, context.thresholds))
    })
}

fn fields<R: Read>(
    reader: &mut Reader<R>,
    type_byte: u8,
    context: Context<'_>,
) -> Result<Hash, DecodeError> {
    let earliest = match type_byte {
        format::TYPE_HASH_METADATA => i64::from_le_bytes(reader.array("an expiry")?),
        // As if times counted from the one before the first, so that they are what they say.
        _ => 1,
    };
    let valkey = type_byte == format::TYPE_HASH_2 && context.writer == Dialect::Valkey;
    let timed = type_byte != format::TYPE_HASH && !valkey;
    let count = reader.length("a number of fields")?;
    let mut hash = Hash::default();
    for _ in 0..count {
        let offset = reader.offset();
        let after = if timed { reader.length("an expiry")? } else { 0 };
        let mut expiry = None;
        if after > 0 {
            let at = i64::try_from(after - 1).ok().and_then(|after| after.checked_add(earliest));
            expiry = Some(at.ok_or_else(|| wrong(offset, "an expiry", "one too far away"))?);
        }
        let name = string::bytes(reader, "a field")?;
        let value = string::bytes(reader, "a value")?;
        if valkey {
            let at = i64::from_le_bytes(reader.array("an expiry")?);
            expiry = (at != -1).then_some(at);
        }
        if expiry.is_some_and(|at| at <= 0) {
            return Err(wrong(offset, "an expiry", "a negative one"));
        }
        if hash.is_full(Room::All) {
            return Err(wrong(offset, "a field", TOO_MANY));
        }
        let (name, value) = (Element::Bytes(&name), Element::Bytes(&value));
        if !put_field(&mut hash, name, value, expiry.map(UnixMillis), context) {
            return Err(wrong(offset, "a field", "one that was there before"));
        }
    }
    Ok(hash)
}
