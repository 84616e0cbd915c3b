//! Collections in RDB: whole ones, and frozen ones piece by piece.
//!
//! Compact forms are written as they lie in memory; what version 10 can't say (a set as a listpack,
//! which came with 11) is written element by element. Expiry times of fields need version 12:
//! whoever writes a file asks [`least_version`] of what is going to be in it.

use super::{EncodeOptions, length, string, verbatim};
use crate::base::env::UnixMillis;
use crate::data::element::Element;
use crate::data::frozen::Frozen;
use crate::data::hash::{Field, Hash};
use crate::data::list::{Part, Parts};
use crate::data::set::Set;
use crate::data::value::Object;
use crate::data::zset::Zset;
use crate::rdb::format;

/// Bytes after which a piece is handed over.
const PIECE_BYTES: usize = 64 << 10;

/// Is given what has been written when that is much, and says whether to go on.
type Full<'a> = &'a mut dyn FnMut(&mut Vec<u8>) -> bool;

/// The version that a value needs.
pub fn least_version(object: &Object) -> u16 {
    match object {
        Object::Hash(hash) if hash.next_expiry().is_some() => format::VERSION_FIELD_EXPIRY,
        _ => 0,
    }
}

/// The byte that says how [`payload`] writes this object.
pub(super) fn type_byte(object: &Object, options: EncodeOptions) -> u8 {
    match object {
        Object::List(_) => format::TYPE_LIST_QUICKLIST_2,
        Object::Hash(hash) => match hash {
            Hash::Packed(_) => format::TYPE_HASH_LISTPACK,
            Hash::Timed(_) if hash.next_expiry().is_some() => format::TYPE_HASH_LISTPACK_EX,
            _ => fields_type(hash.next_expiry()),
        },
        Object::Set(set) => match set {
            Set::Ints(_) => format::TYPE_SET_INTSET,
            Set::Packed(_) if options.version >= format::VERSION_SET_LISTPACK => {
                format::TYPE_SET_LISTPACK
            }
            _ => format::TYPE_SET,
        },
        Object::Zset(Zset::Packed(_)) => format::TYPE_ZSET_LISTPACK,
        Object::Zset(Zset::Big(_)) => format::TYPE_ZSET_2,
    }
}

fn fields_type(next_expiry: Option<UnixMillis>) -> u8 {
    if next_expiry.is_some() { format::TYPE_HASH_METADATA } else { format::TYPE_HASH }
}

/// Writes an object after its type byte and key.
pub(super) fn payload(out: &mut Vec<u8>, options: EncodeOptions, object: &Object) {
    let full: Full<'_> = &mut |_| true;
    match object {
        Object::List(list) => {
            parts(out, options, list.parts().count(), list.parts(), full);
        }
        Object::Hash(hash) => match (hash.as_packed(), hash.as_timed(), hash.next_expiry()) {
            (Some(pack), ..) => string(out, options, pack.as_bytes()),
            (_, Some(pack), Some(UnixMillis(earliest))) => {
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
            Some(pack) => string(out, options, pack.as_bytes()),
            None => scores(out, options, zset.len(), zset.iter(), full),
        },
    }
}

impl Frozen {
    /// The byte that says how [`Frozen::encode`] writes it.
    pub fn type_byte(&self) -> u8 {
        match self {
            Self::List(_) => format::TYPE_LIST_QUICKLIST_2,
            Self::Hash(hash) => fields_type(hash.next_expiry()),
            Self::Set(_) => format::TYPE_SET,
            Self::Zset(_) => format::TYPE_ZSET_2,
        }
    }

    /// Writes it after its type byte and key, in pieces, for as long as `sink` says to go on.
    pub fn encode(&self, options: EncodeOptions, sink: &mut dyn FnMut(&[u8]) -> bool) {
        let mut out = Vec::with_capacity(PIECE_BYTES + 4096);
        let mut goes_on = true;
        let full: Full<'_> = &mut |out| {
            if out.len() >= PIECE_BYTES {
                goes_on = sink(out);
                out.clear();
            }
            goes_on
        };
        match self {
            Self::List(list) => {
                parts(&mut out, options, list.parts().count(), list.parts(), full);
            }
            Self::Hash(hash) => {
                let head = (hash.len(), hash.next_expiry());
                fields(&mut out, options, head, hash.iter(), full);
            }
            Self::Set(set) => {
                let all = set.iter().map(|entry| Element::Bytes(entry.key()));
                members(&mut out, options, set.len(), all, full);
            }
            Self::Zset(zset) => {
                let all = zset.iter().map(|entry| (Element::Bytes(entry.key()), entry.score()));
                scores(&mut out, options, zset.len(), all, full);
            }
        }
        if goes_on {
            sink(&out);
        }
    }
}

fn element(out: &mut Vec<u8>, options: EncodeOptions, element: Element<'_>) {
    element.with_bytes(|bytes| string(out, options, bytes));
}

fn parts(
    out: &mut Vec<u8>,
    options: EncodeOptions,
    count: usize,
    parts: Parts<'_>,
    full: Full<'_>,
) {
    length(out, count as u64);
    for part in parts {
        match part {
            Part::Plain(bytes) => {
                out.push(format::NODE_PLAIN);
                verbatim(out, bytes);
            }
            Part::Packed(pack) => {
                out.push(format::NODE_PACKED);
                string(out, options, pack.as_bytes());
            }
        }
        if !full(out) {
            return;
        }
    }
}

/// `head`: how many fields there are, and when the first of them expires. Times count from that one,
/// plus one; 0 stands for none.
fn fields<'a>(
    out: &mut Vec<u8>,
    options: EncodeOptions,
    head: (usize, Option<UnixMillis>),
    fields: impl Iterator<Item = Field<'a>>,
    full: Full<'_>,
) {
    let (count, earliest) = head;
    if let Some(UnixMillis(earliest)) = earliest {
        out.extend_from_slice(&earliest.to_le_bytes());
    }
    length(out, count as u64);
    for field in fields {
        if let Some(UnixMillis(earliest)) = earliest {
            let after = field.expiry.map_or(0, |at| at.0.wrapping_sub(earliest) as u64 + 1);
            length(out, after);
        }
        element(out, options, field.name);
        element(out, options, field.value);
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
