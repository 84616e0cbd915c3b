//! Values as the commands that make them, for a base in commands (`aof-use-rdb-preamble no`).
//!
//! A collection takes a command for every 64 elements, as upstream has it, so that no loader meets
//! one that is too long; expiry times follow what they are about. There are no frames: a base is
//! whole before any manifest names it.

use crate::base::env::UnixMillis;
use crate::base::pieces::{Full, PieceSink, in_pieces};
use crate::base::text;
use crate::data::element::Element;
use crate::data::frozen::Frozen;
use crate::data::hash::Field;
use crate::data::value::{Object, ValueRef};
use crate::persist::aof_stream::push_stream;
use crate::resp::record::{push_bulk, push_command, push_head};

/// Elements of one command.
const ITEMS_MAX: usize = 64;
/// Writes a key with all it holds.
pub(crate) fn push_entry(
    out: &mut Vec<u8>,
    key: &[u8],
    value: ValueRef<'_>,
    expiry: Option<UnixMillis>,
) {
    let full: Full<'_> = &mut |_| true;
    match value {
        ValueRef::Int(number) => {
            let digits = number.to_string();
            push_command(out, [b"SET", key, digits.as_bytes()].into_iter());
        }
        ValueRef::Str(bytes) => push_command(out, [b"SET", key, bytes].into_iter()),
        ValueRef::Object(object) => match &*object {
            Object::List(list) => {
                push_elements(Batch::new(out, "RPUSH", key, full), list.iter());
            }
            Object::Set(set) => push_elements(Batch::new(out, "SADD", key, full), set.iter()),
            Object::Hash(hash) => push_fields(Batch::new(out, "HSET", key, full), hash.iter()),
            Object::Zset(zset) => push_scores(Batch::new(out, "ZADD", key, full), zset.iter()),
            Object::Stream(stream) => push_stream(out, key, stream, full),
        },
    }
    push_expiry(out, key, expiry);
}

/// Writes a key with a big collection, in pieces, for as long as `sink` says to go on.
pub(crate) fn push_frozen(
    key: &[u8],
    frozen: &Frozen,
    expiry: Option<UnixMillis>,
    sink: PieceSink<'_>,
) {
    in_pieces(sink, |out, full| {
        match frozen {
            Frozen::List(list) => push_elements(Batch::new(out, "RPUSH", key, full), list.iter()),
            Frozen::Set(set) => {
                let members = set.iter().map(|entry| Element::Bytes(entry.key()));
                push_elements(Batch::new(out, "SADD", key, full), members);
            }
            Frozen::Hash(hash) => push_fields(Batch::new(out, "HSET", key, full), hash.iter()),
            Frozen::Zset(zset) => {
                let scores = zset.iter().map(|entry| (Element::Bytes(entry.key()), entry.score()));
                push_scores(Batch::new(out, "ZADD", key, full), scores);
            }
            Frozen::Stream(stream) => push_stream(out, key, stream, full),
        }
        push_expiry(out, key, expiry);
    });
}

fn push_expiry(out: &mut Vec<u8>, key: &[u8], expiry: Option<UnixMillis>) {
    if let Some(UnixMillis(at)) = expiry {
        push_command(out, [b"PEXPIREAT", key, at.to_string().as_bytes()].into_iter());
    }
}

/// A command that is being filled with elements, and written when it has enough.
struct Batch<'a> {
    out: &'a mut Vec<u8>,
    name: &'static str,
    key: &'a [u8],
    words: Vec<u8>,
    word_count: usize,
    items: usize,
    /// Commands that follow it.
    behind: Vec<u8>,
    full: Full<'a>,
}

impl<'a> Batch<'a> {
    fn new(out: &'a mut Vec<u8>, name: &'static str, key: &'a [u8], full: Full<'a>) -> Self {
        let (words, behind) = (Vec::new(), Vec::new());
        Self { out, name, key, words, word_count: 0, items: 0, behind, full }
    }

    fn word(&mut self, word: Element<'_>) {
        word.with_bytes(|bytes| push_bulk(&mut self.words, bytes));
        self.word_count += 1;
    }

    /// An element is complete. False where nobody wants more.
    fn end_item(&mut self) -> bool {
        self.items += 1;
        self.items < ITEMS_MAX || self.write()
    }

    fn write(&mut self) -> bool {
        if self.items == 0 {
            return true;
        }
        push_head(self.out, b'*', self.word_count + 2);
        push_bulk(self.out, self.name.as_bytes());
        push_bulk(self.out, self.key);
        self.out.append(&mut self.words);
        self.out.append(&mut self.behind);
        (self.word_count, self.items) = (0, 0);
        (self.full)(self.out)
    }
}

fn push_elements<'e>(mut batch: Batch<'_>, elements: impl Iterator<Item = Element<'e>>) {
    for element in elements {
        batch.word(element);
        if !batch.end_item() {
            return;
        }
    }
    batch.write();
}

fn push_scores<'e>(mut batch: Batch<'_>, members: impl Iterator<Item = (Element<'e>, f64)>) {
    let mut digits = Vec::new();
    for (member, score) in members {
        digits.clear();
        text::push_f64_17(&mut digits, score);
        batch.word(Element::Bytes(&digits));
        batch.word(member);
        if !batch.end_item() {
            return;
        }
    }
    batch.write();
}

fn push_fields<'e>(mut batch: Batch<'_>, fields: impl Iterator<Item = Field<'e>>) {
    for field in fields {
        batch.word(field.name);
        batch.word(field.value);
        if let Some(UnixMillis(at)) = field.expiry {
            let (key, at) = (batch.key, at.to_string());
            let behind = &mut batch.behind;
            field.name.with_bytes(|name| {
                let words = [b"HPEXPIREAT", key, at.as_bytes(), b"FIELDS", b"1", name];
                push_command(behind, words.into_iter());
            });
        }
        if !batch.end_item() {
            return;
        }
    }
    batch.write();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::thresholds::Thresholds;
    use crate::data::value::ObjectRef;
    use crate::data::zset::Zset;

    #[test]
    fn a_sorted_set_takes_a_command_for_each_64_members() {
        let thresholds = Thresholds::default();
        let mut zset = Zset::for_members(130, 10, &thresholds);
        for number in 0..130 {
            zset.put(format!("m{number}").as_bytes(), f64::from(number) / 3.0, &thresholds);
        }
        let object = Object::Zset(zset);
        let mut out = Vec::new();
        let value = ValueRef::Object(ObjectRef::from(&object));
        push_entry(&mut out, b"key", value, Some(UnixMillis(5)));
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches("*130\r\n$4\r\nZADD\r\n$3\r\nkey\r\n").count(), 2);
        assert_eq!(text.matches("*6\r\n$4\r\nZADD\r\n$3\r\nkey\r\n").count(), 1);
        assert!(text.contains("$19\r\n0.33333333333333331\r\n$2\r\nm1\r\n"), "{text}");
        assert!(text.ends_with("*3\r\n$9\r\nPEXPIREAT\r\n$3\r\nkey\r\n$1\r\n5\r\n"));
    }
}
