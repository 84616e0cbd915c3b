//! Entries on their way into a segment: made of a key and a value, or copied with another expiry.

use std::ptr::NonNull;

use super::entry::{
    ENTRY_BYTES_MAX, FIXED_BYTES, FLAGS, HAS_EXPIRY, KEY_INLINE_MAX, KEY_ON_HEAP, KIND_BYTES,
    KIND_INT, KIND_OBJECT, KIND_STRING, OBJECT_BYTES, POINTER_BYTES, RAW, RawEntry,
    VALUE_INLINE_MAX, WIDE_EXPIRY, expiry_bytes, key_bytes,
};
use crate::base::env::UnixMillis;
use crate::data::string::HeapString;
use crate::data::value::{NewValue, Object};

/// An entry that can be written into a segment.
pub(super) trait Image {
    /// Its length.
    fn bytes(&self) -> usize;
    /// Writes it.
    ///
    /// # Safety
    /// There must be room for [`Image::bytes`] at `to`, and the image must be written only once.
    unsafe fn write(self, to: NonNull<u8>);
}

enum DraftValue<'a> {
    Int(i64),
    Bytes(&'a [u8]),
    String(HeapString),
    Object(Object),
}

/// An entry to be made of a key and a value. Owns what the entry is going to own.
pub(super) struct Draft<'a> {
    key: &'a [u8],
    /// A long key that is on the heap already.
    pub(super) heap_key: Option<HeapString>,
    value: DraftValue<'a>,
    flags: u8,
    expiry: Option<UnixMillis>,
    access: u32,
}

impl<'a> Draft<'a> {
    #[inline]
    pub(super) fn new(
        key: &'a [u8],
        value: NewValue<'a>,
        expiry: Option<UnixMillis>,
        access: u32,
    ) -> Self {
        let (value, flags) = match value {
            NewValue::Int(number) => (DraftValue::Int(number), KIND_INT),
            NewValue::Str(bytes) => Self::string(bytes, 0),
            NewValue::Raw(bytes) => Self::string(bytes, RAW),
            NewValue::Heap(string) => (DraftValue::String(string), KIND_STRING | RAW),
            NewValue::Object(object) => (DraftValue::Object(object), KIND_OBJECT),
        };
        let flags = flags | expiry_flags(expiry);
        Self { key, heap_key: None, value, flags, expiry, access }
    }

    #[inline]
    fn string(bytes: &'a [u8], raw: u8) -> (DraftValue<'a>, u8) {
        if bytes.len() <= VALUE_INLINE_MAX {
            (DraftValue::Bytes(bytes), KIND_BYTES | raw)
        } else {
            (DraftValue::String(HeapString::new(bytes)), KIND_STRING | raw)
        }
    }

    #[inline]
    fn value_bytes(&self) -> usize {
        match &self.value {
            DraftValue::Int(number) => int_bytes(*number),
            DraftValue::Bytes(bytes) => bytes.len(),
            DraftValue::String(_) => POINTER_BYTES,
            DraftValue::Object(_) => OBJECT_BYTES,
        }
    }

    #[inline]
    fn key_len(&self) -> u8 {
        if self.key.len() <= KEY_INLINE_MAX { self.key.len() as u8 } else { KEY_ON_HEAP }
    }
}

impl Image for Draft<'_> {
    #[inline]
    fn bytes(&self) -> usize {
        FIXED_BYTES + expiry_bytes(self.flags) + key_bytes(self.key_len()) + self.value_bytes()
    }

    #[inline]
    unsafe fn write(mut self, to: NonNull<u8>) {
        let (key_len, value_len) = (self.key_len(), self.value_bytes());
        let [a0, a1, a2, _] = self.access.to_le_bytes();
        let fixed: [u8; FIXED_BYTES] = [self.flags, key_len, a0, a1, a2, value_len as u8];
        // SAFETY: every write is within `self.bytes()` from `to`, where the caller has room; the
        // parts' lengths are those that `bytes` adds up.
        unsafe {
            to.cast().write_unaligned(fixed);
            let mut at = to.add(FIXED_BYTES);
            if let Some(UnixMillis(expiry)) = self.expiry {
                let bytes = expiry.to_le_bytes();
                let len = expiry_bytes(self.flags);
                at.copy_from_nonoverlapping(NonNull::from(&bytes).cast(), len);
                at = at.add(len);
            }
            if key_len == KEY_ON_HEAP {
                let key = self.heap_key.take().unwrap_or_else(|| HeapString::new(self.key));
                debug_assert!(*key == *self.key);
                at.cast().write_unaligned(key.into_raw());
            } else {
                at.copy_from_nonoverlapping(NonNull::from(self.key).cast(), self.key.len());
            }
            at = at.add(key_bytes(key_len));
            match self.value {
                DraftValue::Int(number) => {
                    let bytes = number.to_le_bytes();
                    at.copy_from_nonoverlapping(NonNull::from(&bytes).cast(), value_len);
                }
                DraftValue::Bytes(bytes) => {
                    at.copy_from_nonoverlapping(NonNull::from(bytes).cast(), value_len);
                }
                DraftValue::String(string) => at.cast().write_unaligned(string.into_raw()),
                DraftValue::Object(object) => {
                    let (code, raw) = object.into_parts();
                    at.write(code);
                    at.add(1).cast().write_unaligned(raw);
                }
            }
        }
    }
}

/// An entry's bytes outside of any segment, on the way to their next place.
pub(super) struct Carried {
    bytes: [u8; ENTRY_BYTES_MAX],
    len: usize,
}

impl Carried {
    /// The entry's copy with another expiry. The original must be forgotten once this is written.
    pub(super) fn with_expiry(entry: RawEntry, expiry: Option<UnixMillis>) -> Self {
        let image = entry.image();
        let rest = &image[entry.key_at()..];
        let flags = image[FLAGS] & !(HAS_EXPIRY | WIDE_EXPIRY) | expiry_flags(expiry);
        let expiry = expiry.map_or(0, |at| at.0).to_le_bytes();
        let key_at = FIXED_BYTES + expiry_bytes(flags);
        let mut bytes = [0; ENTRY_BYTES_MAX];
        bytes[..FIXED_BYTES].copy_from_slice(&image[..FIXED_BYTES]);
        bytes[FLAGS] = flags;
        bytes[FIXED_BYTES..key_at].copy_from_slice(&expiry[..key_at - FIXED_BYTES]);
        bytes[key_at..key_at + rest.len()].copy_from_slice(rest);
        Self { bytes, len: key_at + rest.len() }
    }
}

impl Image for Carried {
    fn bytes(&self) -> usize {
        self.len
    }

    unsafe fn write(self, to: NonNull<u8>) {
        // SAFETY: the caller has room for `len` bytes.
        unsafe { to.copy_from_nonoverlapping(NonNull::from(&self.bytes).cast(), self.len) }
    }
}

#[inline]
fn int_bytes(number: i64) -> usize {
    if i64::from(number as i8) == number {
        1
    } else if i64::from(number as i16) == number {
        2
    } else if i64::from(number as i32) == number {
        4
    } else {
        8
    }
}

#[inline]
fn expiry_flags(expiry: Option<UnixMillis>) -> u8 {
    match expiry {
        None => 0,
        Some(UnixMillis(at)) if (0..1 << 48).contains(&at) => HAS_EXPIRY,
        Some(_) => HAS_EXPIRY | WIDE_EXPIRY,
    }
}
