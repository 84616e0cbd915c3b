//! Values to and from RDB, the format of snapshots, of DUMP and RESTORE, and of full
//! synchronisation. Knows no files: [`encode`] appends to a `Vec`, [`decode`] takes any reader.
//!
//! ```text
//! "REDIS0010"                     magic and version, 4 digits (Valkey 9: "VALKEY080")
//! FA key value ...                auxiliary fields
//! FE n  FB keys expires           database n, and how much is in it
//! [FC ms] [F8 idle | F9 freq]     the next key's expiry and access, where it has them
//! type key value                  one key
//! FF crc64                        end; the checksum is of all before it, little-endian, 0 for none
//! ```
//! Lengths are big-endian and variable; strings are a length and bytes, or an integer of 1, 2 or 4
//! bytes, or LZF. `docs/formats.md` draws it in full.
//!
//! A new type family is a file beside `decode/collection.rs` and one beside `encode/object.rs`, with
//! its arms in these two.

pub(crate) mod arrival;
pub mod decode;
pub mod downgrade;
pub mod encode;
pub mod format;

use crate::data::value::{NewValue, Object, ValueRef};

/// A value as it comes out of RDB bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum OwnedValue {
    /// A string that is the canonical decimal form of a signed 64-bit integer.
    Int(i64),
    /// Any other string.
    Str(Vec<u8>),
    /// A collection.
    Object(Object),
}

impl OwnedValue {
    /// The value, borrowed.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Int(number) => ValueRef::Int(*number),
            Self::Str(bytes) => ValueRef::Str(bytes),
            Self::Object(object) => ValueRef::Object(object.into()),
        }
    }

    /// The value on its way into the dictionary. A collection goes with it, and an empty string stays
    /// behind.
    pub(crate) fn as_new(&mut self) -> NewValue<'_> {
        match self {
            Self::Int(number) => NewValue::Int(*number),
            Self::Str(bytes) => NewValue::Str(bytes),
            Self::Object(_) => match std::mem::replace(self, Self::Str(Vec::new())) {
                Self::Object(object) => NewValue::Object(object),
                Self::Int(_) | Self::Str(_) => unreachable!("matched above"),
            },
        }
    }
}

/// What is remembered about the use of a key, for eviction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    #[default]
    Unknown,
    /// Seconds since it was used last.
    Idle(u64),
    /// The logarithmic counter of how often it is used.
    Frequency(u8),
}
