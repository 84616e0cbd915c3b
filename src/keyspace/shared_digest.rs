//! DEBUG DIGEST and DIGEST-VALUE: the digest that Redis and Valkey give of the same data, so that a
//! primary and its replicas can be compared whatever they are.
//!
//! A key's digest mixes its name, its type and its value; the digest of everything is the exclusive or
//! of all of them on top of the numbers of the databases. It says that a key expires, not when: our own
//! tests use [`super::digest`], which says it. (Facts of upstream's `debug.c`.)

use sha1::{Digest as _, Sha1};

use crate::base::text;
use crate::data::element::Element;
use crate::data::value::{Object, Type, ValueRef};
use crate::keyspace::databases::{Databases, Db, DbIndex};
use crate::keyspace::digest::{DIGEST_BYTES, Digest};
use crate::keyspace::table::Entry;

/// The digest of what a key holds; all zeros where there is no such key.
pub(crate) fn of_value(db: &mut Db<'_>, key: &[u8]) -> Digest {
    let mut digest = Digest::default();
    if let Some(entry) = db.peek(key) {
        add_value(&mut digest, &entry);
    }
    digest
}

/// The digest of all databases; all zeros where there is no key.
pub(crate) fn of_all(databases: &mut Databases) -> Digest {
    let mut all = Digest::default();
    for index in 0..databases.count() {
        let db = databases.db(DbIndex(index));
        let mut keys = Digest::default();
        let mut any = false;
        db.for_each(|entry| {
            any = true;
            let mut digest = Digest::default();
            mix(&mut digest, entry.key());
            add_value(&mut digest, entry);
            add(&mut keys, &digest.0);
        });
        if any {
            mix(&mut all, &index.to_be_bytes());
            all.0.iter_mut().zip(keys.0).for_each(|(sum, byte)| *sum ^= byte);
        }
    }
    all
}

fn add_value(digest: &mut Digest, entry: &Entry<'_>) {
    let value = entry.value();
    let number: u32 = match value.kind() {
        Type::String => 0,
        Type::List => 1,
        Type::Set => 2,
        Type::Zset => 3,
        Type::Hash => 4,
    };
    mix(digest, &number.to_be_bytes());
    match value {
        ValueRef::Int(number) => mix(digest, itoa::Buffer::new().format(number).as_bytes()),
        ValueRef::Str(bytes) => mix(digest, bytes),
        ValueRef::Object(object) => add_object(digest, &object),
    }
    if entry.expiry().is_some() {
        add(digest, b"!!expire!!");
    }
}

fn add_object(digest: &mut Digest, object: &Object) {
    match object {
        Object::List(list) => list.iter().for_each(|element| mix_element(digest, element)),
        Object::Set(set) => set.iter().for_each(|member| {
            member.with_bytes(|bytes| add(digest, bytes));
        }),
        Object::Hash(hash) => hash.iter().for_each(|field| {
            let mut of_field = Digest::default();
            mix_element(&mut of_field, field.name);
            mix_element(&mut of_field, field.value);
            if field.expiry.is_some() {
                add(&mut of_field, b"!!hexpire!!");
            }
            add(digest, &of_field.0);
        }),
        Object::Zset(zset) => zset.iter().for_each(|(member, score)| {
            let mut of_member = Digest::default();
            mix_element(&mut of_member, member);
            let mut score_text = Vec::new();
            text::push_f64_17(&mut score_text, score);
            mix(&mut of_member, &score_text);
            add(digest, &of_member.0);
        }),
    }
}

/// The exclusive or with the SHA-1 of `bytes`: the order of several doesn't matter.
fn add(digest: &mut Digest, bytes: &[u8]) {
    let hash: [u8; DIGEST_BYTES] = Sha1::digest(bytes).into();
    digest.0.iter_mut().zip(hash).for_each(|(sum, byte)| *sum ^= byte);
}

/// As [`add`], and the sum is hashed again: the order of several matters.
fn mix(digest: &mut Digest, bytes: &[u8]) {
    add(digest, bytes);
    digest.0 = Sha1::digest(digest.0).into();
}

fn mix_element(digest: &mut Digest, element: Element<'_>) {
    element.with_bytes(|bytes| mix(digest, bytes));
}
