//! A collection that begins empty and is changed in every way, against one of the standard library.
//!
//! ```text
//! kind 1 | thresholds 1 | operation ...
//! ```

use redstart::data::hash::Hash;
use redstart::data::list::List;
use redstart::data::set::Set;
use redstart::data::stream::Stream;
use redstart::data::value::Object;
use redstart::data::zset::Zset;

use super::collections;
use super::input::Input;

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut object = match input.below(5) {
        0 => Object::List(List::default()),
        1 => Object::Hash(Hash::default()),
        2 => Object::Set(Set::default()),
        3 => Object::Zset(Zset::default()),
        _ => Object::Stream(Stream::default()),
    };
    let thresholds = input.thresholds();
    collections::exercise(&mut object, &thresholds, &mut input);
}
