//! A big collection as it was at one moment, for another thread to write down while it changes.

use crate::data::hash::FrozenFields;
use crate::data::index;
use crate::data::list::FrozenList;
use crate::data::stream::Stream;
use crate::data::value::Object;

/// See the file's head.
#[derive(Debug)]
pub enum Frozen {
    /// A list.
    List(FrozenList),
    /// A hash's fields.
    Hash(FrozenFields),
    /// A set's members.
    Set(index::Frozen),
    /// A sorted set's members and scores, in no order.
    Zset(index::Frozen),
    /// A stream.
    Stream(Stream),
}

impl Object {
    /// The collection as it is now; nothing where it is small enough to be written at once.
    pub fn freeze(&self) -> Option<Frozen> {
        match self {
            Self::List(list) => list.freeze().map(Frozen::List),
            Self::Hash(hash) => hash.freeze().map(Frozen::Hash),
            Self::Set(set) => set.freeze().map(Frozen::Set),
            Self::Zset(zset) => zset.freeze().map(Frozen::Zset),
            Self::Stream(stream) => Some(Frozen::Stream(stream.freeze())),
        }
    }
}
