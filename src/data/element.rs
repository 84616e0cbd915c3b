//! One element of a collection: an integer where it is stored as one, bytes otherwise.

use crate::base::text;

/// An element, borrowed from its collection.
#[derive(Clone, Copy, Debug)]
pub enum Element<'a> {
    /// The canonical decimal form of this number.
    Int(i64),
    /// These bytes, which may look like a number as well.
    Bytes(&'a [u8]),
}

impl<'a> Element<'a> {
    /// The densest form of some bytes.
    #[inline]
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        match text::parse_i64(bytes) {
            Some(number) => Self::Int(number),
            None => Self::Bytes(bytes),
        }
    }

    /// Hands the element's bytes to `use_bytes`.
    #[inline]
    pub fn with_bytes<R>(self, use_bytes: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Self::Int(number) => use_bytes(itoa::Buffer::new().format(number).as_bytes()),
            Self::Bytes(bytes) => use_bytes(bytes),
        }
    }

    /// Whether the element is made of just these bytes.
    #[inline]
    pub fn is(self, bytes: &[u8]) -> bool {
        self.with_bytes(|own| own == bytes)
    }

    /// A copy of the element's bytes.
    pub fn to_vec(self) -> Vec<u8> {
        self.with_bytes(<[u8]>::to_vec)
    }

    /// How many bytes the element has.
    #[inline]
    pub fn len(self) -> usize {
        self.with_bytes(<[u8]>::len)
    }

    /// Whether the element has no bytes.
    pub fn is_empty(self) -> bool {
        matches!(self, Self::Bytes([]))
    }

    /// The number that the element spells, if it does.
    #[inline]
    pub(crate) fn as_int(self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(number),
            Self::Bytes(bytes) => text::parse_i64(bytes),
        }
    }
}

impl PartialEq for Element<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (element, Self::Bytes(bytes)) | (Self::Bytes(bytes), element) => element.is(bytes),
        }
    }
}

impl Eq for Element<'_> {}
