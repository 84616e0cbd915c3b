//! One vocabulary for values, shared by the dictionary, the RDB codec and the commands.
//!
//! A string lies in the dictionary's own entry where it is short ([`ValueRef::Int`],
//! [`ValueRef::Str`]); every collection is an [`Object`], of which the entry holds a byte for what it
//! is and one pointer.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;

use crate::data::hash::Hash;
use crate::data::list::List;
use crate::data::listpack::Listpack;
use crate::data::set::Set;
use crate::data::stream::Stream;
use crate::data::string::HeapString;
use crate::data::thin::Forms;
use crate::data::zset::Zset;

/// What kind of value a key holds, as TYPE names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Type {
    /// A byte string or an integer.
    String,
    /// A list.
    List,
    /// A hash.
    Hash,
    /// A set.
    Set,
    /// A sorted set.
    Zset,
    /// A stream.
    Stream,
}

impl Type {
    /// The name that TYPE replies and `SCAN ... TYPE` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List => "list",
            Self::Hash => "hash",
            Self::Set => "set",
            Self::Zset => "zset",
            Self::Stream => "stream",
        }
    }
}

/// A value that lives on the heap by itself: the collections.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A list.
    List(List),
    /// A hash.
    Hash(Hash),
    /// A set.
    Set(Set),
    /// A sorted set.
    Zset(Zset),
    /// A stream.
    Stream(Stream),
}

/// Calls the same for whichever collection it is.
macro_rules! each {
    ($object:expr, $collection:ident => $result:expr) => {
        match $object {
            Object::List($collection) => $result,
            Object::Hash($collection) => $result,
            Object::Set($collection) => $result,
            Object::Zset($collection) => $result,
            Object::Stream($collection) => $result,
        }
    };
}

/// Bits of an object's code that tell the collection's form; those above tell the type.
const FORM_BITS: u32 = 4;

impl Object {
    /// The object's type.
    pub(crate) fn kind(&self) -> Type {
        match self {
            Self::List(_) => Type::List,
            Self::Hash(_) => Type::Hash,
            Self::Set(_) => Type::Set,
            Self::Zset(_) => Type::Zset,
            Self::Stream(_) => Type::Stream,
        }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        each!(self, collection => collection.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        each!(self, collection => collection.is_empty())
    }

    /// Whether a key may hold it without an element.
    pub fn keeps_empty(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// The name that OBJECT ENCODING replies.
    pub fn encoding(&self) -> &'static str {
        each!(self, collection => collection.encoding())
    }

    /// The block of one that is kept as a listpack.
    pub(crate) fn listpack(&self) -> Option<&Listpack> {
        match self {
            Self::List(List::Packed(pack))
            | Self::Hash(Hash::Packed(pack) | Hash::Timed(pack))
            | Self::Set(Set::Packed(pack))
            | Self::Zset(Zset::Packed(pack)) => Some(pack),
            _ => None,
        }
    }

    /// Bytes of heap that the object holds. Costs the same for any size.
    #[inline]
    pub(crate) fn heap_bytes(&self) -> usize {
        each!(self, collection => collection.heap_bytes())
    }

    /// Hands the object out as a byte and a pointer. It leaks unless [`Object::from_parts`] takes it
    /// back.
    #[inline]
    pub(crate) fn into_parts(self) -> (u8, NonNull<u8>) {
        let kind = match self {
            Self::List(_) => 0,
            Self::Hash(_) => 1,
            Self::Set(_) => 2,
            Self::Zset(_) => 3,
            Self::Stream(_) => 4,
        };
        let (form, raw) = each!(self, collection => collection.into_parts());
        (kind << FORM_BITS | form, raw)
    }

    /// Takes back what [`Object::into_parts`] gave.
    ///
    /// # Safety
    /// As [`Forms::from_parts`].
    #[inline]
    pub(crate) unsafe fn from_parts(code: u8, raw: NonNull<u8>) -> Self {
        let form = code & ((1 << FORM_BITS) - 1);
        // SAFETY: the code says which collection the pointer came from (caller).
        unsafe {
            match code >> FORM_BITS {
                0 => Self::List(List::from_parts(form, raw)),
                1 => Self::Hash(Hash::from_parts(form, raw)),
                2 => Self::Set(Set::from_parts(form, raw)),
                3 => Self::Zset(Zset::from_parts(form, raw)),
                _ => Self::Stream(Stream::from_parts(form, raw)),
            }
        }
    }
}

/// An object that is owned elsewhere.
pub struct ObjectRef<'a> {
    /// A copy of the owner's pointer, not to be dropped or changed.
    object: ManuallyDrop<Object>,
    owner: PhantomData<&'a Object>,
}

impl ObjectRef<'_> {
    /// What the parts of an object name.
    ///
    /// # Safety
    /// The parts come from [`Object::into_parts`], and for the lifetime nobody takes the object back or
    /// changes it.
    #[inline]
    pub(crate) unsafe fn of_parts(code: u8, raw: NonNull<u8>) -> Self {
        // SAFETY: the caller's promise; never dropped.
        let object = ManuallyDrop::new(unsafe { Object::from_parts(code, raw) });
        Self { object, owner: PhantomData }
    }
}

impl<'a> From<&'a Object> for ObjectRef<'a> {
    fn from(object: &'a Object) -> Self {
        // SAFETY: `object` is borrowed for as long as the copy lives, which is never dropped.
        let object = ManuallyDrop::new(unsafe { std::ptr::from_ref(object).read() });
        Self { object, owner: PhantomData }
    }
}

impl Clone for ObjectRef<'_> {
    fn clone(&self) -> Self {
        // SAFETY: as the original, the copy is neither dropped nor changed.
        let object = unsafe { std::ptr::from_ref(&self.object).read() };
        Self { object, owner: PhantomData }
    }
}

impl Deref for ObjectRef<'_> {
    type Target = Object;

    #[inline]
    fn deref(&self) -> &Object {
        &self.object
    }
}

impl std::fmt::Debug for ObjectRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.object.fmt(f)
    }
}

impl PartialEq for ObjectRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

/// A stored value, borrowed.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// A string that is the canonical decimal form of a signed 64-bit integer.
    Int(i64),
    /// Any other string.
    Str(&'a [u8]),
    /// A collection.
    Object(ObjectRef<'a>),
}

impl ValueRef<'_> {
    /// The value's type.
    #[inline]
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
    Object(Object),
}

impl<'a> NewValue<'a> {
    /// The densest form of a string: an integer where the bytes are one's canonical decimal form.
    #[inline]
    pub(crate) fn from_bytes(bytes: &'a [u8]) -> Self {
        match crate::base::text::parse_i64(bytes) {
            Some(number) => Self::Int(number),
            None => Self::Str(bytes),
        }
    }
}
