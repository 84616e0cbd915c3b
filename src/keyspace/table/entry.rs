//! One key with its value, as it is stored in a segment's heap.
//!
//! ```text
//! | flags 1 | key length 1 | access 3 | value length 1 | [expiry 6 or 8] | key | value |
//!
//! flags    0-2  what the value is: 0 bytes, 1 integer, 2 HeapString pointer, 3 Object
//!            3  an expiry is there        4  it takes 8 bytes, not 6
//!            5  the string was changed in place (OBJECT ENCODING says `raw`)
//! key      up to 254 bytes; a key length of 255 means a HeapString pointer to the key
//! value    bytes as they are; an integer in 1, 2, 4 or 8 bytes; a pointer in 8; an object in 9:
//!          what it is in 1, and its pointer in 8
//! ```
//!
//! All numbers are little-endian and unaligned. An expiry is milliseconds since 1970: 6 bytes last
//! until the year 10889, all others (negative ones too) take 8. The access bytes belong to the
//! eviction policy; they are the only ones that may change under a shared reference.
//!
//! An entry may be moved as bytes, so it holds no pointer to itself, and nothing outside keeps one
//! to it. It owns the heap blocks it points to: code that copies the bytes must forget the original.

use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::base::env::UnixMillis;
use crate::base::prefetch::prefetch;
use crate::data::string::{HeapString, Lent};
use crate::data::value::{NewValue, Object, ObjectRef, ValueRef};

pub(super) const FLAGS: usize = 0;
const KEY_LEN: usize = 1;
const ACCESS: usize = 2;
const VALUE_LEN: usize = 5;
pub(super) const FIXED_BYTES: usize = 6;

const KIND: u8 = 0b111;
pub(super) const KIND_BYTES: u8 = 0;
pub(super) const KIND_INT: u8 = 1;
pub(super) const KIND_STRING: u8 = 2;
pub(super) const KIND_OBJECT: u8 = 3;
pub(super) const HAS_EXPIRY: u8 = 1 << 3;
pub(super) const WIDE_EXPIRY: u8 = 1 << 4;
pub(super) const RAW: u8 = 1 << 5;

/// The longest key that is stored in the entry itself.
pub(super) const KEY_INLINE_MAX: usize = 254;
pub(super) const KEY_ON_HEAP: u8 = 255;
/// The longest string value that is stored in the entry itself. In the entry a value costs 34 to 40
/// bytes beyond its own (with a key of 16), on the heap 73 and more, at every length measured; so
/// this is the most that the exact-size free lists of a segment can hold.
pub(super) const VALUE_INLINE_MAX: usize = 224;
/// Bytes of a value that the processor is asked for ahead; behind them it sees by itself what is read.
const PREFETCHED_MAX: usize = 2 << 10;
/// Bytes of a pointer to the heap.
pub(super) const POINTER_BYTES: usize = 8;
/// Bytes of an object: its code and its pointer.
pub(super) const OBJECT_BYTES: usize = 1 + POINTER_BYTES;
/// No entry is longer.
pub(super) const ENTRY_BYTES_MAX: usize = FIXED_BYTES + 8 + KEY_INLINE_MAX + VALUE_INLINE_MAX;

const _: () = assert!(VALUE_INLINE_MAX <= u8::MAX as usize);
const _: () = assert!(size_of::<*mut u8>() <= POINTER_BYTES);

/// What a replaced or removed entry held on the heap, for the caller to drop where it likes.
#[derive(Debug)]
pub enum HeapPart {
    /// The value was in the entry itself.
    Nothing,
    /// A long string.
    String(HeapString),
    /// A collection.
    Object(Object),
}

/// What is left of an entry that was replaced or removed.
#[derive(Debug)]
pub struct Removed {
    /// The value, as far as it was on the heap.
    pub heap: HeapPart,
    /// When the entry would have expired.
    pub expiry: Option<UnixMillis>,
}

impl Removed {
    /// Bytes of heap that dropping this frees.
    pub(crate) fn heap_bytes(&self) -> usize {
        match &self.heap {
            HeapPart::Nothing => 0,
            HeapPart::String(string) => string.heap_bytes(),
            HeapPart::Object(object) => object.heap_bytes(),
        }
    }
}

/// A value taken out of a table whole, to be put under another key or into another table.
#[derive(Debug)]
pub struct Taken {
    /// The value; what of it is on the heap was not copied.
    pub value: TakenValue,
    /// When it expires.
    pub expiry: Option<UnixMillis>,
    /// Its access bits.
    pub access: u32,
}

/// The value of a [`Taken`].
#[derive(Debug)]
pub enum TakenValue {
    /// An integer.
    Int(i64),
    /// A short string, and whether it is raw.
    Bytes(Box<[u8]>, bool),
    /// A long string.
    String(HeapString),
    /// A collection.
    Object(Object),
}

impl TakenValue {
    /// The value on its way back into a table. What is on the heap goes with it, and an empty
    /// string stays behind.
    pub(crate) fn as_new(&mut self) -> NewValue<'_> {
        match self {
            Self::Int(number) => NewValue::Int(*number),
            Self::Bytes(bytes, false) => NewValue::Str(bytes),
            Self::Bytes(bytes, true) => NewValue::Raw(bytes),
            Self::String(_) | Self::Object(_) => {
                match std::mem::replace(self, Self::Bytes(Box::default(), false)) {
                    Self::String(string) => NewValue::Heap(string),
                    Self::Object(object) => NewValue::Object(object),
                    Self::Int(_) | Self::Bytes(..) => unreachable!("matched above"),
                }
            }
        }
    }
}

/// A live entry's address.
///
/// Invariant: it points to a well-formed entry in a segment's heap, and the holder may read it (and
/// write its access bytes) for as long as it uses this handle. Code that changes or frees the
/// entry drops all handles to it first.
#[derive(Clone, Copy)]
pub(super) struct RawEntry(NonNull<u8>);

impl RawEntry {
    /// # Safety
    /// The type's invariant.
    #[inline(always)]
    pub(super) unsafe fn new(start: NonNull<u8>) -> Self {
        Self(start)
    }

    #[inline(always)]
    pub(super) fn start(self) -> NonNull<u8> {
        self.0
    }

    #[inline(always)]
    fn byte(self, at: usize) -> u8 {
        // SAFETY: all callers ask for a fixed byte, which every entry has, or for one that they
        // derive from the entry's own lengths.
        unsafe { self.0.add(at).read() }
    }

    #[inline(always)]
    fn load<const N: usize>(self, at: usize) -> [u8; N] {
        // SAFETY: callers derive `at` from the entry's own lengths, so the bytes are within it.
        unsafe { self.0.add(at).cast::<[u8; N]>().read_unaligned() }
    }

    #[inline(always)]
    fn pointer(self, at: usize) -> NonNull<u8> {
        // SAFETY: callers ask where the flags say that a pointer is; it was written from NonNull.
        unsafe { self.0.add(at).cast::<NonNull<u8>>().read_unaligned() }
    }

    /// A fixed slice of the entry.
    #[inline(always)]
    fn slice<'a>(self, at: usize, len: usize) -> &'a [u8] {
        // SAFETY: the range is derived from the entry's own lengths, and nothing writes to key or
        // value bytes while the entry is lent out (invariant).
        unsafe { NonNull::slice_from_raw_parts(self.0.add(at), len).as_ref() }
    }

    #[inline(always)]
    pub(super) fn key_at(self) -> usize {
        FIXED_BYTES + expiry_bytes(self.byte(FLAGS))
    }

    #[inline(always)]
    fn value_at(self) -> usize {
        self.key_at() + key_bytes(self.byte(KEY_LEN))
    }

    /// The entry's length in bytes.
    #[inline(always)]
    pub(super) fn bytes(self) -> usize {
        self.value_at() + usize::from(self.byte(VALUE_LEN))
    }

    /// The entry's bytes.
    pub(super) fn image<'a>(self) -> &'a [u8] {
        self.slice(0, self.bytes())
    }

    #[inline(always)]
    pub(super) fn key<'a>(self) -> &'a [u8] {
        match self.byte(KEY_LEN) {
            // SAFETY: the entry owns the key's string, and nothing changes it while lent out.
            KEY_ON_HEAP => unsafe { HeapString::peek(self.pointer(self.key_at())) },
            len => self.slice(self.key_at(), usize::from(len)),
        }
    }

    #[inline(always)]
    pub(super) fn value<'a>(self) -> ValueRef<'a> {
        let (at, len) = (self.value_at(), usize::from(self.byte(VALUE_LEN)));
        match self.byte(FLAGS) & KIND {
            KIND_BYTES => ValueRef::Str(self.slice(at, len)),
            KIND_INT => ValueRef::Int(match len {
                1 => i64::from(i8::from_le_bytes(self.load(at))),
                2 => i64::from(i16::from_le_bytes(self.load(at))),
                4 => i64::from(i32::from_le_bytes(self.load(at))),
                _ => i64::from_le_bytes(self.load(at)),
            }),
            KIND_STRING => ValueRef::Str(self.value_bytes_on_heap()),
            // SAFETY: the entry owns the object, and nothing changes it while lent out.
            _ => ValueRef::Object(unsafe {
                ObjectRef::of_parts(self.byte(at), self.pointer(at + 1))
            }),
        }
    }

    /// Lends the value to a reader on another thread, where that is possible ([`Lent::new`]).
    #[inline]
    fn lend(self) -> Option<Lent> {
        if self.byte(FLAGS) & KIND != KIND_STRING {
            return None;
        }
        // SAFETY: the pointer came from `into_raw`, and entries don't leave their thread while anybody
        // looks at them.
        unsafe { Lent::new(self.pointer(self.value_at())) }
    }

    /// Asks the processor for the beginning of a value that stands elsewhere; of a string whose bytes
    /// won't be read, only for its length.
    #[inline]
    pub(super) fn prefetch_value(self, reads_strings: bool) {
        // A string that stands elsewhere is mostly longer than any that doesn't.
        let string_bytes = if reads_strings { VALUE_INLINE_MAX } else { 1 };
        let at = self.value_at();
        match self.byte(FLAGS) & KIND {
            KIND_STRING => {
                let head = self.pointer(at).as_ptr();
                for line in (0..string_bytes).step_by(64) {
                    prefetch(head.wrapping_add(line));
                }
            }
            KIND_OBJECT => prefetch(self.pointer(at + 1).as_ptr()),
            _ => {}
        }
    }

    /// Asks for the rest of such a value, whose beginning is there by now.
    #[inline]
    pub(super) fn prefetch_rest(self) {
        if self.byte(FLAGS) & KIND == KIND_STRING {
            let bytes = self.value_bytes_on_heap();
            for line in (VALUE_INLINE_MAX..bytes.len().min(PREFETCHED_MAX)).step_by(64) {
                prefetch(bytes.as_ptr().wrapping_add(line));
            }
        }
    }

    /// A string that stands elsewhere.
    #[inline(always)]
    fn value_bytes_on_heap<'a>(self) -> &'a [u8] {
        // SAFETY: the entry owns the string, and nothing changes it while lent out.
        unsafe { HeapString::peek(self.pointer(self.value_at())) }
    }

    #[inline(always)]
    pub(super) fn has_expiry(self) -> bool {
        self.byte(FLAGS) & HAS_EXPIRY != 0
    }

    #[inline]
    pub(super) fn expiry(self) -> Option<UnixMillis> {
        match self.byte(FLAGS) & (HAS_EXPIRY | WIDE_EXPIRY) {
            0 => None,
            HAS_EXPIRY => {
                let low = u32::from_le_bytes(self.load(FIXED_BYTES));
                let high = u16::from_le_bytes(self.load(FIXED_BYTES + 4));
                Some(UnixMillis(i64::from(high) << 32 | i64::from(low)))
            }
            _ => Some(UnixMillis(i64::from_le_bytes(self.load(FIXED_BYTES)))),
        }
    }

    #[inline(always)]
    pub(super) fn access(self) -> u32 {
        let [a, b, c] = self.load(ACCESS);
        u32::from_le_bytes([a, b, c, 0])
    }

    #[inline(always)]
    pub(super) fn set_access(self, access: u32) {
        let [a, b, c, _] = access.to_le_bytes();
        // SAFETY: the bytes are the entry's; no reference to them exists, since `key` and `value`
        // lend others, and a table isn't shared between threads.
        unsafe { self.0.add(ACCESS).cast::<[u8; 3]>().write_unaligned([a, b, c]) }
    }

    pub(super) fn is_raw(self) -> bool {
        self.byte(FLAGS) & RAW != 0
    }

    pub(super) fn is_string(self) -> bool {
        self.byte(FLAGS) & KIND == KIND_STRING
    }

    /// How many heap blocks the entry owns, and how many bytes they have.
    #[inline]
    pub(super) fn owned(self) -> Owned {
        let mut owned = Owned::default();
        if self.byte(KEY_LEN) == KEY_ON_HEAP {
            owned.add(string_bytes(self.pointer(self.key_at())));
        }
        match self.byte(FLAGS) & KIND {
            KIND_STRING => owned.add(string_bytes(self.pointer(self.value_at()))),
            KIND_OBJECT => {
                if let ValueRef::Object(object) = self.value() {
                    owned.add(object.heap_bytes());
                }
            }
            _ => {}
        }
        owned
    }

    /// Takes what the entry owns on the heap: its key where that is long, and its value. The entry
    /// must not be used again, except to be overwritten or freed.
    ///
    /// # Safety
    /// Nothing lent out from the entry may live on, and this may happen only once.
    pub(super) unsafe fn disown(self) -> (Option<HeapString>, HeapPart) {
        let at = self.value_at();
        let key = (self.byte(KEY_LEN) == KEY_ON_HEAP)
            // SAFETY: the pointer came from `into_raw` and is taken once (caller).
            .then(|| unsafe { HeapString::from_raw(self.pointer(self.key_at())) });
        let value = match self.byte(FLAGS) & KIND {
            // SAFETY: as above.
            KIND_STRING => HeapPart::String(unsafe { HeapString::from_raw(self.pointer(at)) }),
            KIND_OBJECT => HeapPart::Object(
                // SAFETY: the parts came from `into_parts` and are taken once (caller).
                unsafe { Object::from_parts(self.byte(at), self.pointer(at + 1)) },
            ),
            _ => HeapPart::Nothing,
        };
        (key, value)
    }

    /// Takes the object out, to be put back with [`RawEntry::put_object`]. In the meantime the entry
    /// is a short string, so that forgetting to put back leaks, and no worse.
    ///
    /// # Safety
    /// Nothing else lent out from the entry may be in use.
    pub(super) unsafe fn take_object(self) -> Option<Object> {
        let flags = self.byte(FLAGS);
        if flags & KIND != KIND_OBJECT {
            return None;
        }
        let at = self.value_at();
        // SAFETY: the parts came from `into_parts` and are taken once, since the flags change. The
        // flags are the entry's first byte, held exclusively.
        unsafe {
            let object = Object::from_parts(self.byte(at), self.pointer(at + 1));
            self.0.write(flags & !KIND | KIND_BYTES);
            Some(object)
        }
    }

    /// Undoes [`RawEntry::take_object`]; the object may be another one.
    ///
    /// # Safety
    /// Nothing else lent out from the entry may be in use, and the last thing done to it was
    /// `take_object`.
    pub(super) unsafe fn put_object(self, object: Object) {
        debug_assert_eq!(self.byte(FLAGS) & KIND, KIND_BYTES);
        let (code, raw) = object.into_parts();
        let at = self.value_at();
        // SAFETY: the value field has room for an object (caller), and we hold the entry.
        unsafe {
            self.0.add(at).write(code);
            self.0.add(at + 1).cast().write_unaligned(raw);
            self.0.write(self.byte(FLAGS) & !KIND | KIND_OBJECT);
        }
    }

    /// Takes the long string out, to be put back with [`RawEntry::put_string`]. In the meantime
    /// the entry is a short string of as many bytes as a pointer has, so that forgetting to put
    /// back leaks, and no worse.
    ///
    /// # Safety
    /// Nothing else lent out from the entry may be in use.
    pub(super) unsafe fn take_string(self) -> Option<HeapString> {
        let flags = self.byte(FLAGS);
        if flags & KIND != KIND_STRING {
            return None;
        }
        // SAFETY: the pointer came from `into_raw` and is taken once, since the flags change. The
        // flags are the entry's first byte, held exclusively.
        unsafe {
            let string = HeapString::from_raw(self.pointer(self.value_at()));
            self.0.write(flags & !KIND | KIND_BYTES);
            Some(string)
        }
    }

    /// Undoes [`RawEntry::take_string`]; the string may be another one.
    ///
    /// # Safety
    /// Nothing else lent out from the entry may be in use, and the last thing done to it was
    /// `take_string`.
    pub(super) unsafe fn put_string(self, string: HeapString) {
        debug_assert_eq!(self.byte(FLAGS) & KIND, KIND_BYTES);
        // SAFETY: the value field has room for a pointer (caller), and we hold the entry.
        unsafe {
            self.0.add(self.value_at()).cast().write_unaligned(string.into_raw());
            self.0.write(self.byte(FLAGS) & !KIND | KIND_STRING);
        }
    }
}

/// Heap blocks and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) blocks: usize,
    pub(super) bytes: usize,
}

impl Owned {
    fn add(&mut self, bytes: usize) {
        self.blocks += 1;
        self.bytes += bytes;
    }
}

fn string_bytes(pointer: NonNull<u8>) -> usize {
    // SAFETY: the pointer came from `into_raw`; ManuallyDrop leaves the string with its entry.
    let string = std::mem::ManuallyDrop::new(unsafe { HeapString::from_raw(pointer) });
    string.heap_bytes()
}

#[inline(always)]
pub(super) fn expiry_bytes(flags: u8) -> usize {
    // 0, 6 or 8: WIDE_EXPIRY is only set beside HAS_EXPIRY.
    usize::from(flags >> 3 & 1) * 6 + usize::from(flags >> 4 & 1) * 2
}

#[inline(always)]
pub(super) fn key_bytes(key_len: u8) -> usize {
    if key_len == KEY_ON_HEAP { POINTER_BYTES } else { usize::from(key_len) }
}

/// A stored key with its value, borrowed from its table.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    raw: RawEntry,
    table: PhantomData<&'a ()>,
}

impl<'a> Entry<'a> {
    /// # Safety
    /// The entry must stay as it is for `'a`.
    #[inline(always)]
    pub(super) unsafe fn new(raw: RawEntry) -> Self {
        Self { raw, table: PhantomData }
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &'a [u8] {
        self.raw.key()
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> ValueRef<'a> {
        self.raw.value()
    }

    /// When the key expires.
    #[inline]
    pub fn expiry(&self) -> Option<UnixMillis> {
        self.raw.expiry()
    }

    /// What the eviction policy noted: 24 bits.
    #[inline]
    pub fn access(&self) -> u32 {
        self.raw.access()
    }

    /// Notes something for the eviction policy; the upper 8 bits are dropped. This isn't a change
    /// of the key: neither a snapshot nor WATCH looks at it.
    #[inline]
    pub fn set_access(&self, access: u32) {
        self.raw.set_access(access);
    }

    /// Whether the string was changed in place.
    pub(crate) fn is_raw(&self) -> bool {
        self.raw.is_raw()
    }

    /// Lends the value to a reader on another thread, if it is a string that stands elsewhere and no
    /// reader has it.
    #[inline]
    pub(crate) fn lend(&self) -> Option<Lent> {
        self.raw.lend()
    }

    /// Whether the value is a string with a heap block of its own, which can grow in place.
    pub(crate) fn is_heap_string(&self) -> bool {
        self.raw.is_string()
    }

    /// Bytes that the key takes in the table: the entry and its share of a bucket.
    pub(crate) fn table_bytes(&self) -> usize {
        self.raw.bytes() + 4
    }

    /// Bytes on the heap that the key and its value own.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.raw.owned().bytes
    }
}

impl std::fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key())
            .field("value", &self.value())
            .field("expiry", &self.expiry())
            .field("access", &self.access())
            .finish()
    }
}
