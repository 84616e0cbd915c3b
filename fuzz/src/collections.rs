//! A collection against a model of it from the standard library: each operation must do to both the
//! same, and what the collection holds must survive being written down, at once or frozen.
//!
//! The model begins as what iterating over the collection shows, so that any collection can be
//! exercised, one that RESTORE has let in, too.

mod hash;
mod list;
mod set;
mod stream;
mod zset;

use redstart::data::element::Element;
use redstart::data::frozen::Frozen;
use redstart::data::thresholds::Thresholds;
use redstart::data::value::{Object, ValueRef};
use redstart::rdb::OwnedValue;
use redstart::rdb::decode::{Checksum, restore_payload};
use redstart::rdb::encode::{EncodeOptions, dump_payload, value};

use super::input::Input;
use super::restore::sealed;

/// An element with what belongs to it: a field's value and expiry, a member's score.
pub type Row = (Vec<u8>, Vec<u8>, Option<i64>);

/// Changes of one input; more bytes are for longer words, not for longer runs.
const STEPS_MAX: usize = 1200;

/// What a collection should be.
trait Model {
    /// All elements, in order where the collection has one, sorted where it has none.
    fn rows(&self) -> Vec<Row>;
    /// Whether there is no element.
    fn is_empty(&self) -> bool;
    /// Changes or asks the object and the model alike.
    fn step(&mut self, object: &mut Object, thresholds: &Thresholds, input: &mut Input<'_>);
    /// Asks the object for everything.
    fn look(&self, object: &Object);
}

/// Changes the object as the input says, up to its end.
pub fn exercise(object: &mut Object, thresholds: &Thresholds, input: &mut Input<'_>) {
    let mut model: Box<dyn Model> = match &*object {
        Object::List(_) => Box::new(list::Model::of(rows(object))),
        Object::Hash(_) => Box::new(hash::Model::of(rows(object))),
        Object::Set(_) => Box::new(set::Model::of(rows(object))),
        Object::Zset(_) => Box::new(zset::Model::of(rows(object))),
        Object::Stream(stream) => Box::new(stream::Model::of(rows(object), stream)),
    };
    check(object, &*model, thresholds);
    let mut frozen: Option<(Frozen, Vec<Row>)> = None;
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        match input.below(32) {
            0 => {
                if let Some((frozen, expected)) = frozen.take() {
                    check_frozen(&frozen, &expected, thresholds);
                }
                frozen = object.freeze().map(|frozen| (frozen, model.rows()));
            }
            1 => check(object, &*model, thresholds),
            _ => model.step(object, thresholds, input),
        }
        assert_eq!(object.is_empty(), model.is_empty());
    }
    check(object, &*model, thresholds);
    if let Some((frozen, expected)) = frozen {
        check_frozen(&frozen, &expected, thresholds);
    }
}

/// What an object shows of itself.
fn rows(object: &Object) -> Vec<Row> {
    let alone = |element: Element<'_>| (element.to_vec(), Vec::new(), None);
    match object {
        Object::List(list) => list.iter().map(alone).collect(),
        Object::Hash(hash) => {
            sorted(hash.iter().map(|field| {
                (field.name.to_vec(), field.value.to_vec(), field.expiry.map(|at| at.0))
            }))
        }
        Object::Set(set) => sorted(set.iter().map(alone)),
        Object::Zset(zset) => {
            zset.iter().map(|(member, score)| zset::row(member.to_vec(), score)).collect()
        }
        Object::Stream(stream) => stream::rows(stream),
    }
}

fn sorted(rows: impl Iterator<Item = Row>) -> Vec<Row> {
    let mut rows: Vec<Row> = rows.collect();
    rows.sort();
    rows
}

fn check(object: &Object, model: &dyn Model, thresholds: &Thresholds) {
    let expected = model.rows();
    assert_eq!(object.len(), expected.len(), "{} of {expected:?}", object.encoding());
    assert_same(&rows(object), &expected);
    assert!(object.clone() == *object);
    model.look(object);
    let mut plain = Vec::new();
    let options = EncodeOptions { version: 12, compress: false };
    value(&mut plain, &options, ValueRef::Object(object.into()));
    check_payload(&sealed(&plain, 12), &expected, thresholds);
    for version in 9..=12 {
        let payload = dump_payload(ValueRef::Object(object.into()), version);
        check_payload(&payload, &expected, thresholds);
    }
}

fn check_frozen(frozen: &Frozen, expected: &[Row], thresholds: &Thresholds) {
    let mut body = vec![frozen.type_byte(EncodeOptions::default())];
    frozen.encode(EncodeOptions::default(), &mut |piece| {
        body.extend_from_slice(piece);
        true
    });
    check_payload(&sealed(&body, 12), expected, thresholds);
}

/// Whether a payload holds these elements; one that holds none is refused.
fn check_payload(payload: &[u8], expected: &[Row], thresholds: &Thresholds) {
    let restored = restore_payload(payload, Checksum::Verify, thresholds);
    match restored {
        Ok(OwnedValue::Object(again)) => assert_same(&rows(&again), expected),
        Ok(other) => panic!("a collection became {other:?}"),
        Err(error) => assert!(expected.is_empty(), "{error:?} for {expected:?}"),
    }
}

fn assert_same(found: &[Row], expected: &[Row]) {
    if found != expected {
        let at = found.iter().zip(expected).take_while(|(one, other)| one == other).count();
        panic!(
            "element {at} of {} is {:?}, of {} it should be {:?}",
            found.len(),
            found.get(at),
            expected.len(),
            expected.get(at)
        );
    }
}
