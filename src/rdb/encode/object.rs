//! Collections in RDB: whole ones, and frozen ones piece by piece.
//!
//! Compact forms are written as they lie in memory where the version has them: listpacks came with
//! 10, of sets with 11. Version 9 has ziplists in their place. What has no compact form in a version
//! is written element by element. Expiry times of fields need version 12, in which a hash may be a listpack,
//! or Valkey's version 80, in which each time stands behind its value. The version must be raised to that
//! before anything is written: [`least_version`] says what a value needs.

use super::ziplist::ziplist;
use super::{EncodeOptions, length, stream, string, verbatim};
use crate::base::env::UnixMillis;
use crate::base::pieces::{Full, PieceSink, in_pieces};
use crate::data::element::Element;
use crate::data::frozen::Frozen;
use crate::data::hash::{Field, Hash};
use crate::data::list::{List, Part, Parts};
use crate::data::listpack::{self, Listpack};
use crate::data::set::Set;
use crate::data::value::Object;
use crate::data::zset::Zset;
use crate::rdb::format::{self, Dialect};

/// The version that a value needs.
pub(crate) fn least_version(object: &Object) -> u16 {
    match object {
        Object::Hash(hash) if hash.next_expiry().is_some() => format::VERSION_FIELD_EXPIRY,
        Object::Stream(object) if stream::has_released(object) => format::VERSION_RELEASED,
        _ => 0,
    }
}

/// The byte that says how [`payload`] writes this object.
pub(super) fn type_byte(object: &Object, options: EncodeOptions) -> u8 {
    let listpacks = options.has_listpacks();
    match object {
        Object::List(list) => list_type(list, options),
        Object::Hash(hash) => match hash {
            Hash::Packed(_) if listpacks => format::TYPE_HASH_LISTPACK,
            Hash::Packed(_) => format::TYPE_HASH_ZIPLIST,
            Hash::Timed(_)
                if hash.next_expiry().is_some() && options.dialect() == Dialect::Redis =>
            {
                format::TYPE_HASH_LISTPACK_EX
            }
            _ => fields_type(hash.next_expiry(), options),
        },
        Object::Set(set) => match set {
            Set::Ints(_) => format::TYPE_SET_INTSET,
            Set::Packed(_) if options.version >= format::VERSION_SET_LISTPACK => {
                format::TYPE_SET_LISTPACK
            }
            _ => format::TYPE_SET,
        },
        Object::Zset(Zset::Packed(_)) if listpacks => format::TYPE_ZSET_LISTPACK,
        Object::Zset(Zset::Packed(_)) => format::TYPE_ZSET_ZIPLIST,
        Object::Zset(Zset::Big(_)) => format::TYPE_ZSET_2,
        Object::Stream(object) => stream::type_byte(object, options),
    }
}

fn fields_type(next_expiry: Option<UnixMillis>, options: EncodeOptions) -> u8 {
    match (next_expiry, options.dialect()) {
        (None, _) => format::TYPE_HASH,
        (Some(_), Dialect::Redis) => format::TYPE_HASH_METADATA,
        (Some(_), Dialect::Valkey) => format::TYPE_HASH_2,
    }
}

fn list_type(list: &List, options: EncodeOptions) -> u8 {
    if options.has_listpacks() {
        return format::TYPE_LIST_QUICKLIST_2;
    }
    // An element that is too large for a ziplist, which only a list of that size can have.
    let is_giant = |part| matches!(part, Part::Plain(bytes) if bytes.len() > listpack::BYTES_MAX);
    if list.heap_bytes() > listpack::BYTES_MAX && list.parts().any(is_giant) {
        format::TYPE_LIST
    } else {
        format::TYPE_LIST_QUICKLIST
    }
}

/// Writes an object after its type byte and key.
pub(super) fn payload(out: &mut Vec<u8>, options: EncodeOptions, object: &Object) {
    let full: Full<'_> = &mut |_| true;
    match object {
        Object::List(object) => list(out, options, object, full),
        Object::Hash(hash) => match (hash.as_packed(), hash.as_timed(), hash.next_expiry()) {
            (Some(pack), ..) => block(out, options, pack),
            (_, Some(pack), Some(UnixMillis(earliest))) if options.dialect() == Dialect::Redis => {
                out.extend_from_slice(&earliest.to_le_bytes());
                string(out, options, pack.as_bytes());
            }
            (.., earliest) => fields(out, options, (hash.len(), earliest), hash.iter(), full),
        },
        Object::Set(set) => match (set.as_ints(), set.as_packed()) {
            (Some(ints), _) => string(out, options, ints.as_bytes()),
            (_, Some(pack)) if options.version >= format::VERSION_SET_LISTPACK => {
                string(out, options, pack.as_bytes());
            }
            _ => members(out, options, set.len(), set.iter(), full),
        },
        Object::Zset(zset) => match zset.as_packed() {
            Some(pack) => block(out, options, pack),
            None => scores(out, options, zset.len(), zset.iter(), full),
        },
        Object::Stream(object) => stream::stream(out, options, object, full),
    }
}

impl Frozen {
    /// The byte that says how [`Frozen::encode`] writes it.
    pub fn type_byte(&self, options: EncodeOptions) -> u8 {
        match self {
            Self::List(list) => list_type(list.as_list(), options),
            Self::Hash(hash) => fields_type(hash.next_expiry(), options),
            Self::Set(_) => format::TYPE_SET,
            Self::Zset(_) => format::TYPE_ZSET_2,
            Self::Stream(object) => stream::type_byte(object, options),
        }
    }

    /// Writes it after its type byte and key, in pieces, for as long as `sink` says to go on.
    pub fn encode(&self, options: EncodeOptions, sink: PieceSink<'_>) {
        in_pieces(sink, |out, full| match self {
            Self::List(frozen) => list(out, options, frozen.as_list(), full),
            Self::Hash(hash) => {
                let head = (hash.len(), hash.next_expiry());
                fields(out, options, head, hash.iter(), full);
            }
            Self::Set(set) => {
                let all = set.iter().map(|entry| Element::Bytes(entry.key()));
                members(out, options, set.len(), all, full);
            }
            Self::Zset(zset) => {
                let all = zset.iter().map(|entry| (Element::Bytes(entry.key()), entry.score()));
                scores(out, options, zset.len(), all, full);
            }
            Self::Stream(frozen) => stream::stream(out, options, frozen, full),
        });
    }
}

fn element(out: &mut Vec<u8>, options: EncodeOptions, element: Element<'_>) {
    element.with_bytes(|bytes| string(out, options, bytes));
}

/// A collection in one block.
fn block(out: &mut Vec<u8>, options: EncodeOptions, pack: &Listpack) {
    if options.has_listpacks() {
        string(out, options, pack.as_bytes());
    } else {
        string(out, options, &ziplist(pack.iter()));
    }
}

fn list(out: &mut Vec<u8>, options: EncodeOptions, list: &List, full: Full<'_>) {
    if list_type(list, options) == format::TYPE_LIST {
        members(out, options, list.len(), list.iter(), full);
    } else {
        parts(out, options, list.parts(), full);
    }
}

fn parts(out: &mut Vec<u8>, options: EncodeOptions, parts: Parts<'_>, full: Full<'_>) {
    length(out, parts.clone().count() as u64);
    for part in parts {
        match part {
            Part::Plain(bytes) if options.has_listpacks() => {
                out.push(format::NODE_PLAIN);
                verbatim(out, bytes);
            }
            Part::Plain(bytes) => verbatim(out, &ziplist([Element::Bytes(bytes)].into_iter())),
            Part::Packed(pack) => {
                if options.has_listpacks() {
                    out.push(format::NODE_PACKED);
                }
                block(out, options, pack);
            }
        }
        if !full(out) {
            return;
        }
    }
}

/// `head`: how many fields there are, and when the first of them expires. Times count from that one,
/// plus one; 0 stands for none. Of Valkey a time stands for itself behind the value, and -1 for none.
fn fields<'a>(
    out: &mut Vec<u8>,
    options: EncodeOptions,
    head: (usize, Option<UnixMillis>),
    fields: impl Iterator<Item = Field<'a>>,
    full: Full<'_>,
) {
    let (count, earliest) = head;
    let timed = earliest.map(|earliest| (earliest.0, options.dialect()));
    if let Some((earliest, Dialect::Redis)) = timed {
        out.extend_from_slice(&earliest.to_le_bytes());
    }
    length(out, count as u64);
    for field in fields {
        if let Some((earliest, Dialect::Redis)) = timed {
            let after = field.expiry.map_or(0, |at| at.0.wrapping_sub(earliest) as u64 + 1);
            length(out, after);
        }
        element(out, options, field.name);
        element(out, options, field.value);
        if let Some((_, Dialect::Valkey)) = timed {
            let at = field.expiry.map_or(-1, |at| at.0);
            out.extend_from_slice(&at.to_le_bytes());
        }
        if !full(out) {
            return;
        }
    }
}

fn members<'a>(
    out: &mut Vec<u8>,
    options: EncodeOptions,
    count: usize,
    members: impl Iterator<Item = Element<'a>>,
    full: Full<'_>,
) {
    length(out, count as u64);
    for member in members {
        element(out, options, member);
        if !full(out) {
            return;
        }
    }
}

fn scores<'a>(
    out: &mut Vec<u8>,
    options: EncodeOptions,
    count: usize,
    members: impl Iterator<Item = (Element<'a>, f64)>,
    full: Full<'_>,
) {
    length(out, count as u64);
    for (member, score) in members {
        element(out, options, member);
        out.extend_from_slice(&score.to_le_bytes());
        if !full(out) {
            return;
        }
    }
}
