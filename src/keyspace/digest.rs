//! A digest of the data, for tests (clients get that of `shared_digest`): equal data gives equal
//! digests, whatever the order in which it came and however it is laid out in memory.
//!
//! A key's digest is the SHA-1 of its database, its name, its value's digest and its expiry time;
//! the digest of everything is the exclusive or of all of them, so it needs no order. The numbers
//! are ours: upstream's digests of the same data are others.

use sha1::{Digest as _, Sha1};

use crate::data::element::Element;
use crate::data::stream::{Stream, StreamId};
use crate::data::value::{Object, ValueRef};
#[cfg(test)]
use crate::keyspace::databases::Databases;
use crate::keyspace::databases::Db;
use crate::keyspace::table::Entry;

/// Bytes of a digest; written in hexadecimal it has twice as many digits.
pub(crate) const DIGEST_BYTES: usize = 20;

/// A SHA-1, or the exclusive or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(pub [u8; DIGEST_BYTES]);

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The digest of what a key holds, and of whether it expires, but not of its name or time: equal
/// for a key and its copy. All zeros where there is no such key.
pub fn digest_value(db: &mut Db<'_>, key: &[u8]) -> Digest {
    db.peek(key).map_or_else(Digest::default, |entry| of_value(entry))
}

/// The digest of all databases; all zeros where there is no key. Keys whose time has come but which
/// nobody met yet count as gone.
#[cfg(test)]
pub(crate) fn digest_all(databases: &mut Databases) -> Digest {
    let mut all = Digest::default();
    for index in 0..databases.count() {
        let db = databases.db(crate::keyspace::databases::DbIndex(index));
        db.for_each(|entry| {
            let of_key = of_key(index, *entry);
            all.0.iter_mut().zip(of_key.0).for_each(|(sum, byte)| *sum ^= byte);
        });
    }
    all
}

#[cfg(test)]
fn of_key(db: u32, entry: Entry<'_>) -> Digest {
    let mut hash = Sha1::new();
    hash.update(db.to_le_bytes());
    push_bytes(&mut hash, entry.key());
    hash.update(of_value(entry).0);
    if let Some(at) = entry.expiry() {
        hash.update(at.0.to_le_bytes());
    }
    Digest(hash.finalize().into())
}

fn of_value(entry: Entry<'_>) -> Digest {
    let mut hash = Sha1::new();
    let value = entry.value();
    push_bytes(&mut hash, value.kind().name().as_bytes());
    match value {
        ValueRef::Int(number) => {
            push_bytes(&mut hash, itoa::Buffer::new().format(number).as_bytes());
        }
        ValueRef::Str(bytes) => push_bytes(&mut hash, bytes),
        ValueRef::Object(object) => push_object(&mut hash, &object),
    }
    hash.update([u8::from(entry.expiry().is_some())]);
    Digest(hash.finalize().into())
}

/// A list's elements in order. What has no order of its own, or one that follows from what it holds, is
/// the exclusive or of its elements' digests, so that it doesn't matter how it lies in memory.
fn push_object(hash: &mut Sha1, object: &Object) {
    hash.update((object.len() as u64).to_le_bytes());
    let mut sum = Digest::default();
    let mut add = |parts: &[Element<'_>], number: u64| {
        let mut hash = Sha1::new();
        for part in parts {
            part.with_bytes(|bytes| push_bytes(&mut hash, bytes));
        }
        hash.update(number.to_le_bytes());
        let digest: [u8; DIGEST_BYTES] = hash.finalize().into();
        sum.0.iter_mut().zip(digest).for_each(|(sum, byte)| *sum ^= byte);
    };
    match object {
        Object::List(list) => {
            list.iter().enumerate().for_each(|(index, element)| add(&[element], index as u64));
        }
        Object::Hash(hash) => hash.iter().for_each(|field| {
            let expiry = field.expiry.map_or(0, |at| at.0 as u64);
            add(&[field.name, field.value], expiry);
        }),
        Object::Set(set) => set.iter().for_each(|member| add(&[member], 0)),
        // Adding zero makes one of both zeros.
        Object::Zset(zset) => {
            zset.iter().for_each(|(member, score)| add(&[member], (score + 0.0).to_bits()));
        }
        Object::Stream(stream) => push_stream(hash, stream),
    }
    hash.update(sum.0);
}

/// All that a stream tells, but for when its consumers were seen.
fn push_stream(hash: &mut Sha1, stream: &Stream) {
    let push_id = |hash: &mut Sha1, id: StreamId| hash.update(id.to_bytes());
    let counts = stream.counts();
    push_id(hash, counts.last_id);
    push_id(hash, counts.max_deleted);
    hash.update(counts.added.to_le_bytes());
    let mut entries = stream.range(StreamId::MIN, StreamId::MAX);
    while let Some((id, fields)) = entries.next_entry() {
        push_id(hash, id);
        hash.update((fields as u64).to_le_bytes());
        while let Some((name, value)) = entries.next_field() {
            name.with_bytes(|bytes| push_bytes(hash, bytes));
            value.with_bytes(|bytes| push_bytes(hash, bytes));
        }
    }
    for (name, group) in stream.groups() {
        push_bytes(hash, name);
        push_id(hash, group.last_id);
        hash.update(group.entries_read.map_or([0xff; 8], u64::to_le_bytes));
        hash.update((group.pending_len() as u64).to_le_bytes());
        for pending in group.pending_from(StreamId::MIN) {
            push_id(hash, pending.id);
            hash.update(pending.delivered_ms.to_le_bytes());
            hash.update(pending.deliveries.to_le_bytes());
        }
        group.released().for_each(|id| push_id(hash, id));
        for (name, consumer) in group.consumers() {
            push_bytes(hash, name);
            hash.update((consumer.pending_len() as u64).to_le_bytes());
            consumer.pending_from(StreamId::MIN).for_each(|id| push_id(hash, id));
        }
    }
}

/// Length and bytes, so that no two sequences of strings look alike.
fn push_bytes(hash: &mut Sha1, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}
