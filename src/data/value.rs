//! One vocabulary for values, shared by the dictionary, the RDB codec and the commands.
//!
//! A string lies in the dictionary's own entry where it is short ([`ValueRef::Int`],
//! [`ValueRef::Str`]); every collection is an [`Object`] on the heap, which the entry points to.

use crate::data::string::HeapString;

/// What kind of value a key holds, as TYPE names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// A byte string or an integer.
    String,
}

impl Type {
    /// The name that TYPE replies and `SCAN ... TYPE` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
        }
    }
}

/// A value that lives on the heap by itself: the collections. No collection exists yet, so this
/// enum has no variant and the compiler knows that no such value can be met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {}

impl Object {
    /// The object's type.
    pub fn kind(&self) -> Type {
        match *self {}
    }

    /// The name that OBJECT ENCODING replies.
    pub fn encoding(&self) -> &'static str {
        match *self {}
    }

    /// Bytes of heap that the object holds, itself included.
    pub fn heap_bytes(&self) -> usize {
        match *self {}
    }
}

/// A stored value, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueRef<'a> {
    /// A string that is the canonical decimal form of a signed 64-bit integer.
    Int(i64),
    /// Any other string.
    Str(&'a [u8]),
    /// A collection.
    Object(&'a Object),
}

impl ValueRef<'_> {
    /// The value's type.
    pub fn kind(&self) -> Type {
        match self {
            Self::Int(_) | Self::Str(_) => Type::String,
            Self::Object(object) => object.kind(),
        }
    }
}

/// A value on its way into the dictionary.
#[derive(Debug)]
pub enum NewValue<'a> {
    /// An integer, stored in 1 to 8 bytes.
    Int(i64),
    /// A string, stored as it is. Whoever wants integers found must use [`NewValue::from_bytes`].
    Str(&'a [u8]),
    /// A string that OBJECT ENCODING must call `raw` whatever its length: it was changed in place.
    Raw(&'a [u8]),
    /// A string that is on the heap already, kept there; `raw` as well.
    Heap(HeapString),
    /// A collection.
    Object(Box<Object>),
}

impl<'a> NewValue<'a> {
    /// The densest form of a string: an integer where the bytes are one's canonical decimal form.
    #[inline]
    pub fn from_bytes(bytes: &'a [u8]) -> Self {
        match crate::base::text::parse_i64(bytes) {
            Some(number) => Self::Int(number),
            None => Self::Str(bytes),
        }
    }
}
