//! Writes RDB. Every function appends to a `Vec`, so that the sink is the caller's choice: a slice
//! of a snapshot, a socket, a reply. Whoever writes the bytes on runs the checksum over them and
//! closes with [`checksum`].

mod object;
mod stream;
mod ziplist;

use crate::base::checksum::{Crc64, crc64};
use crate::base::env::UnixMillis;
use crate::base::{lzf, text};
use crate::data::frozen::Frozen;
use crate::data::string::Lent;
use crate::data::value::ValueRef;
pub(crate) use object::least_version;

use crate::rdb::Access;
use crate::rdb::format::{self, Dialect};

/// Strings up to this length aren't tried to compress: there is nothing to win.
const COMPRESS_ABOVE: usize = 20;
/// The longest text of an integer of 32 bits: no longer one is tried.
const INT32_LEN_MAX: usize = 11;
/// The longest encoding of a length.
const LENGTH_LEN_MAX: usize = 9;

/// How to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeOptions {
    /// The format's version, 9 or more: Redis 5 brought 9, 7.0 brought 10, 7.2 11, 7.4 12 and 8.8 14.
    /// Each reads the lower ones, too. 80 is Valkey 9's, which reads those up to 11.
    pub version: u16,
    /// Whether strings are compressed where that makes them shorter.
    pub compress: bool,
}

impl EncodeOptions {
    /// Whether compact collections are listpacks; ziplists otherwise.
    fn has_listpacks(self) -> bool {
        self.version >= format::VERSION_LISTPACK
    }

    fn dialect(self) -> Dialect {
        Dialect::of(self.version)
    }
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self { version: format::VERSION, compress: true }
    }
}

/// Begins a file.
pub fn header(out: &mut Vec<u8>, options: &EncodeOptions) {
    let magic = match options.dialect() {
        Dialect::Redis => format!("REDIS{:04}", options.version),
        Dialect::Valkey => format!("VALKEY{:03}", options.version),
    };
    debug_assert!(
        (9..=format::VERSION_MAX).contains(&options.version)
            || options.version == format::VERSION_VALKEY,
        "a version we write"
    );
    out.extend_from_slice(magic.as_bytes());
}

/// Writes a field about the file, such as `redis-ver`. Readers skip those they don't know.
pub fn aux(out: &mut Vec<u8>, options: &EncodeOptions, key: &[u8], value: &[u8]) {
    out.push(format::OPCODE_AUX);
    string(out, *options, key);
    string(out, *options, value);
}

/// Writes a function library's code.
pub fn function(out: &mut Vec<u8>, options: &EncodeOptions, code: &[u8]) {
    out.push(format::OPCODE_FUNCTION);
    string(out, *options, code);
}

/// What FUNCTION DUMP replies: libraries' texts, version and checksum.
pub(crate) fn functions_payload<'a>(
    texts: impl Iterator<Item = &'a [u8]>,
    version: u16,
) -> Vec<u8> {
    let mut payload = Vec::new();
    let options = EncodeOptions { version, ..EncodeOptions::default() };
    texts.for_each(|text| function(&mut payload, &options, text));
    payload.extend_from_slice(&version.to_le_bytes());
    let checksum = crc64(&payload);
    payload.extend_from_slice(&checksum.to_le_bytes());
    payload
}

/// Says which database the next keys are in.
pub fn select_db(out: &mut Vec<u8>, database: u32) {
    out.push(format::OPCODE_SELECT_DB);
    length(out, u64::from(database));
}

/// A string that is for [`Composer`] to finish.
#[derive(Debug)]
pub(crate) enum Unfinished {
    /// It was written as it is and may be compressed: its length begins at `start`, its bytes do at
    /// `bytes`.
    Written { start: usize, bytes: usize, end: usize },
    /// It was left out at a place.
    Lent { at: usize, text: Lent, compress: bool },
}

/// What the last string of `out` is, if `value` was written there as it is and is worth compressing.
pub(crate) fn last_written(out: &[u8], value: &[u8]) -> Option<Unfinished> {
    let end = out.len();
    let bytes = end.checked_sub(value.len()).filter(|_| value.len() > COMPRESS_ABOVE)?;
    let start = bytes - length_bytes(value.len() as u64);
    debug_assert!(&out[bytes..] == value, "the value is the last of an entry");
    Some(Unfinished::Written { start, bytes, end })
}

/// Writes a key with all that belongs to it but its value, a long string that was lent.
pub(crate) fn entry_without(
    out: &mut Vec<u8>,
    options: &EncodeOptions,
    key: &[u8],
    text: Lent,
    expiry: Option<UnixMillis>,
    access: Access,
) -> Unfinished {
    entry_head(out, expiry, access);
    out.push(type_byte(&ValueRef::Str(text.bytes()), *options));
    string(out, *options, key);
    Unfinished::Lent { at: out.len(), text, compress: options.compress }
}

/// Finishes what was written: puts in strings that were left out, and compresses strings.
///
/// A run of strings that no compression makes shorter (random or already compressed values) is costly:
/// it is most of what a snapshot of them costs. After `MISSES` in a row only every `TRIED`th is
/// tried, and after many times as many every `TRIED_LATER`th, until one gets shorter.
#[derive(Debug, Default)]
pub(crate) struct Composer {
    misses: u64,
    piece: Vec<u8>,
}

/// Strings in a row that got no shorter before the next ones are passed over.
const MISSES: u64 = 32;
/// One of so many is tried then,
const TRIED: u64 = 8;
/// and one of so many after a long row, a thousand times the bytes that are lost by it at most.
const TRIED_LATER: u64 = 64;
const MISSES_LATER: u64 = 1024;
/// Bytes of a string that are asked for while the one before is copied: the processor goes on by itself.
const PREFETCHED_MAX: usize = 2 << 10;

impl Composer {
    /// Writes to `out` what was written, with these strings, in their order, finished. Writes nothing,
    /// and says so by false, where that changes nothing.
    pub(crate) fn compose(
        &mut self,
        written: &[u8],
        strings: &[Unfinished],
        out: &mut Vec<u8>,
    ) -> bool {
        let mut copied = 0;
        let mut ahead = strings.iter().skip(1);
        for string in strings {
            if let Some(Unfinished::Lent { text, .. }) = ahead.next() {
                text.prefetch(PREFETCHED_MAX);
            }
            let (start, end) = match string {
                Unfinished::Written { start, bytes, end }
                    if self.shortens(&written[*bytes..*end]) =>
                {
                    (*start, *end)
                }
                Unfinished::Written { .. } => continue,
                Unfinished::Lent { at, .. } => (*at, *at),
            };
            out.extend_from_slice(&written[copied..start]);
            copied = end;
            match string {
                Unfinished::Lent { text, compress, .. }
                    if !(*compress && self.shortens(text.bytes())) =>
                {
                    verbatim(out, text.bytes());
                }
                _ => out.extend_from_slice(&self.piece),
            }
        }
        if copied > 0 {
            out.extend_from_slice(&written[copied..]);
        }
        copied > 0
    }

    /// Whether `piece` is the string now, compressed.
    fn shortens(&mut self, string: &[u8]) -> bool {
        let tried = match self.misses {
            ..MISSES => 1,
            MISSES..MISSES_LATER => TRIED,
            _ => TRIED_LATER,
        };
        let skipped = !self.misses.is_multiple_of(tried);
        self.piece.clear();
        if !skipped && compressed(&mut self.piece, string) {
            self.misses = 0;
            return true;
        }
        self.misses += 1;
        false
    }
}

/// Says how many keys the database holds and how many of them expire. A hint: readers size their
/// tables by it.
pub fn resize_db(out: &mut Vec<u8>, keys: u64, expires: u64) {
    out.push(format::OPCODE_RESIZE_DB);
    length(out, keys);
    length(out, expires);
}

/// Writes a key with all that belongs to it.
pub fn entry(
    out: &mut Vec<u8>,
    options: &EncodeOptions,
    key: &[u8],
    value: ValueRef<'_>,
    expiry: Option<UnixMillis>,
    access: Access,
) {
    entry_head(out, expiry, access);
    out.push(type_byte(&value, *options));
    string(out, *options, key);
    payload(out, *options, &value);
}

/// Writes what comes before a frozen collection: [`Frozen::encode`] writes the rest.
pub(crate) fn frozen_head(
    out: &mut Vec<u8>,
    options: &EncodeOptions,
    key: &[u8],
    frozen: &Frozen,
    expiry: Option<UnixMillis>,
    access: Access,
) {
    entry_head(out, expiry, access);
    out.push(frozen.type_byte(*options));
    string(out, *options, key);
}

fn entry_head(out: &mut Vec<u8>, expiry: Option<UnixMillis>, access: Access) {
    if let Some(UnixMillis(at)) = expiry {
        out.push(format::OPCODE_EXPIRE_MILLIS);
        out.extend_from_slice(&at.to_le_bytes());
    }
    match access {
        Access::Unknown => {}
        Access::Idle(seconds) => {
            out.push(format::OPCODE_IDLE);
            length(out, seconds);
        }
        Access::Frequency(counter) => out.extend_from_slice(&[format::OPCODE_FREQUENCY, counter]),
    }
}

/// Writes a value alone: its type byte and what follows it.
pub fn value(out: &mut Vec<u8>, options: &EncodeOptions, value: ValueRef<'_>) {
    out.push(type_byte(&value, *options));
    payload(out, *options, &value);
}

/// Ends a file, but for the checksum.
pub fn end(out: &mut Vec<u8>) {
    out.push(format::OPCODE_END);
}

/// Writes the checksum, which must have seen every byte before it. `None` writes zero, which tells
/// readers that there is none.
pub fn checksum(out: &mut Vec<u8>, crc: Option<&Crc64>) {
    out.extend_from_slice(&crc.map_or(0, Crc64::value).to_le_bytes());
}

/// What DUMP replies: the value, the format's version and a checksum of both. The version is a
/// higher one where the value needs it.
pub fn dump_payload(dumped: ValueRef<'_>, version: u16) -> Vec<u8> {
    let mut options = EncodeOptions { version, ..EncodeOptions::default() };
    if let ValueRef::Object(object) = &dumped {
        options.version = options.version.max(least_version(object));
    }
    let mut out = Vec::new();
    value(&mut out, &options, dumped);
    out.extend_from_slice(&options.version.to_le_bytes());
    out.extend_from_slice(&crc64(&out).to_le_bytes());
    out
}

/// The byte that says how [`payload`] writes this value.
fn type_byte(value: &ValueRef<'_>, options: EncodeOptions) -> u8 {
    match value {
        ValueRef::Int(_) | ValueRef::Str(_) => format::TYPE_STRING,
        ValueRef::Object(object) => object::type_byte(object, options),
    }
}

fn payload(out: &mut Vec<u8>, options: EncodeOptions, value: &ValueRef<'_>) {
    match value {
        ValueRef::Int(number) => integer(out, *number),
        ValueRef::Str(bytes) => string(out, options, bytes),
        ValueRef::Object(object) => object::payload(out, options, object),
    }
}

/// Writes a string in the shortest of its forms.
fn string(out: &mut Vec<u8>, options: EncodeOptions, bytes: &[u8]) {
    if bytes.len() <= INT32_LEN_MAX
        && let Some(number) = text::parse_i64(bytes)
    {
        integer(out, number);
        return;
    }
    if options.compress && bytes.len() > COMPRESS_ABOVE && compressed(out, bytes) {
        return;
    }
    verbatim(out, bytes);
}

fn verbatim(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(LENGTH_LEN_MAX + bytes.len());
    length(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Writes a string compressed, or nothing where that isn't shorter.
fn compressed(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let start = out.len();
    if !lzf::compress_into(bytes, out) {
        return false;
    }
    // The lengths stand before the bytes but are known only now.
    let middle = out.len();
    out.push(format::SPECIAL | format::SPECIAL_LZF);
    length(out, (middle - start) as u64);
    length(out, bytes.len() as u64);
    let head = out.len() - middle;
    out[start..].rotate_right(head);
    true
}

/// Writes a string that is an integer's decimal form.
fn integer(out: &mut Vec<u8>, number: i64) {
    if let Ok(number) = i8::try_from(number) {
        out.extend_from_slice(&[format::SPECIAL | format::SPECIAL_INT8, number as u8]);
    } else if let Ok(number) = i16::try_from(number) {
        out.push(format::SPECIAL | format::SPECIAL_INT16);
        out.extend_from_slice(&number.to_le_bytes());
    } else if let Ok(number) = i32::try_from(number) {
        out.push(format::SPECIAL | format::SPECIAL_INT32);
        out.extend_from_slice(&number.to_le_bytes());
    } else {
        verbatim(out, itoa::Buffer::new().format(number).as_bytes());
    }
}

/// How many bytes [`length`] writes.
fn length_bytes(length: u64) -> usize {
    match length {
        0..0x40 => 1,
        0x40..0x4000 => 2,
        0x4000..=0xffff_ffff => 5,
        _ => LENGTH_LEN_MAX,
    }
}

/// Writes a length in the shortest form: 6, 14, 32 or 64 bits, big-endian.
fn length(out: &mut Vec<u8>, length: u64) {
    match length {
        0..0x40 => out.push(length as u8),
        0x40..0x4000 => out.extend_from_slice(&(0x4000 | length as u16).to_be_bytes()),
        0x4000..=0xffff_ffff => {
            out.push(format::LENGTH_32);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
        _ => {
            out.push(format::LENGTH_64);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: EncodeOptions = EncodeOptions { version: 10, compress: false };

    fn encoded(options: EncodeOptions, what: ValueRef<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        value(&mut out, &options, what);
        out
    }

    #[test]
    fn what_does_not_compress_is_soon_passed_over_and_what_does_ends_that() {
        let mut rng = crate::base::env::Rng::from_seed(1);
        let noise: Vec<u8> = (0..1000).map(|_| rng.next_u64() as u8).collect();
        let mut composer = Composer::default();
        let mut shortens = |text: &[u8]| {
            let mut written = Vec::new();
            verbatim(&mut written, text);
            let string = last_written(&written, text).unwrap();
            let mut out = Vec::new();
            let shorter = composer.compose(&written, &[string], &mut out);
            assert_eq!(shorter, !out.is_empty());
            shorter
        };
        assert!((0..MISSES).all(|_| shortens(&[b'x'; 300]) && !shortens(&noise)));
        assert!((0..5 * MISSES).all(|_| !shortens(&noise)));
        let passed_over = (0..100).take_while(|_| !shortens(&[b'x'; 300])).count();
        assert!((1..TRIED as usize).contains(&passed_over), "{passed_over}");
        assert!(shortens(&[b'x'; 300]), "all are tried again");
    }

    #[test]
    fn strings_take_their_shortest_form() {
        for (number, bytes) in [
            (0, &b"\x00\xc0\x00"[..]),
            (-128, b"\x00\xc0\x80"),
            (128, b"\x00\xc1\x80\x00"),
            (-32_768, b"\x00\xc1\x00\x80"),
            (32_768, b"\x00\xc2\x00\x80\x00\x00"),
            (-2_147_483_648, b"\x00\xc2\x00\x00\x00\x80"),
            (2_147_483_648, b"\x00\x0a2147483648"),
            (i64::MIN, b"\x00\x14-9223372036854775808"),
        ] {
            assert_eq!(encoded(PLAIN, ValueRef::Int(number)), bytes);
            assert_eq!(encoded(PLAIN, ValueRef::Str(number.to_string().as_bytes())), bytes);
        }
        assert_eq!(encoded(PLAIN, ValueRef::Str(b"")), b"\0\0");
        assert_eq!(encoded(PLAIN, ValueRef::Str(b"012")), b"\0\x03012");
        assert_eq!(encoded(PLAIN, ValueRef::Str(&[b'x'; 64]))[..3], *b"\0\x40\x40");
        assert_eq!(encoded(PLAIN, ValueRef::Str(&[b'x'; 16_384]))[..6], *b"\0\x80\0\0\x40\0");
        let options = EncodeOptions::default();
        assert_eq!(encoded(options, ValueRef::Str(&[b'x'; 20]))[..3], *b"\0\x14x");
        for len in [21, 63, 64, 0x3fff, 0x4000, 70_000] {
            // Compressed later, it is the same as at once.
            let value = vec![b'x'; len];
            let mut written = b"before".to_vec();
            verbatim(&mut written, &value);
            let strings = [last_written(&written, &value).unwrap()];
            written.extend_from_slice(b"behind");
            let mut out = Vec::new();
            assert!(Composer::default().compose(&written, &strings, &mut out));
            let mut at_once = b"before".to_vec();
            string(&mut at_once, options, &value);
            at_once.extend_from_slice(b"behind");
            assert!(out == at_once && out.len() < written.len(), "{len}");
        }
        let compressed = encoded(options, ValueRef::Str(&[b'x'; 300]));
        assert_eq!(compressed[..2], *b"\0\xc3");
        assert_eq!(usize::from(compressed[2]), compressed.len() - 5);
        assert_eq!(compressed[3..5], *b"\x41\x2c");
    }

    #[test]
    fn lengths_over_32_bits() {
        let mut out = Vec::new();
        length(&mut out, 1 << 32);
        assert_eq!(out, b"\x81\0\0\0\x01\0\0\0\0");
    }

    /// What redis-server 7.0.15 replies to DUMP.
    #[test]
    fn dump_is_what_redis_dumps() {
        assert_eq!(dump_payload(ValueRef::Int(10), 10), b"\0\xc0\x0a\x0a\0n\x9fWE\x0e\xaec\xbb");
        let hello = b"\0\x05hello\x0a\0cr\xdfve4 \x0a";
        assert_eq!(dump_payload(ValueRef::Str(b"hello"), 10), hello);
    }
}
