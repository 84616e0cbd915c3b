//! HyperLogLog: how many different elements there were, in 12 KiB at most, as a string in upstream's
//! format.
//!
//! ```text
//! "HYLL" | encoding: 1 | unused: 3 | cardinality: 8, little-endian, its top bit set where it is stale
//! dense  (0)  16384 registers of 6 bits, the first in the lowest bits of the first byte
//! sparse (1)  runs of registers, see [`sparse`]
//! ```
//!
//! An element's hash says by its low 14 bits which register it belongs to, and by the place of the
//! lowest bit that is set in the others (counted from 1, at most 51) what the register becomes at
//! least. How registers become an estimate is in [`estimate`].

pub(crate) mod dense;
pub(crate) mod estimate;
pub(crate) mod sparse;
#[cfg(test)]
mod tests;

use crate::data::hll::estimate::Histogram;

/// Registers of each.
pub const REGISTERS: usize = 1 << INDEX_BITS;
/// Bits of the hash that say which register.
const INDEX_BITS: u32 = 14;
/// The greatest value that a register gets from a hash, but for the one that has no bit set.
pub(crate) const RUN_BITS: usize = 64 - INDEX_BITS as usize;
/// Bytes before the registers.
pub const HEADER_BYTES: usize = 16;
/// Bytes of a dense one.
pub const DENSE_BYTES: usize = HEADER_BYTES + REGISTERS * dense::BITS / 8;

const MAGIC: &[u8] = b"HYLL";
const ENCODING_AT: usize = 4;
const CARDINALITY_AT: usize = 8;
const STALE: u8 = 0x80;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
/// The seed of every implementation of this format.
const HASH_SEED: u64 = 0xadc8_3b19;

/// How the registers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Each by itself.
    Dense,
    /// In runs.
    Sparse,
}

/// Registers whose bytes say nothing that makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the registers are corrupted")]
pub struct Corrupted;

/// A string that holds a HyperLogLog and can be changed.
pub trait Store {
    /// All of it.
    fn bytes(&self) -> &[u8];
    /// All of it, to be written over.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// Puts other bytes in the place of some.
    fn replace(&mut self, at: usize, len: usize, with: &[u8]);
}

/// The encoding of a HyperLogLog; `None` where the string is none.
pub fn encoding(bytes: &[u8]) -> Option<Encoding> {
    if bytes.len() < HEADER_BYTES || !bytes.starts_with(MAGIC) {
        return None;
    }
    match bytes[ENCODING_AT] {
        DENSE if bytes.len() == DENSE_BYTES => Some(Encoding::Dense),
        SPARSE => Some(Encoding::Sparse),
        _ => None,
    }
}

/// One that has seen nothing.
pub fn empty() -> Vec<u8> {
    let mut bytes = header(SPARSE);
    bytes.extend_from_slice(&sparse::EMPTY);
    bytes
}

fn header(encoding: u8) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.resize(HEADER_BYTES, 0);
    bytes[ENCODING_AT] = encoding;
    bytes
}

/// The cardinality that was reckoned last, unless registers have changed since.
pub(crate) fn cached(bytes: &[u8]) -> Option<u64> {
    let held = bytes.get(CARDINALITY_AT..HEADER_BYTES)?.first_chunk::<8>()?;
    (held[7] & STALE == 0).then(|| u64::from_le_bytes(*held))
}

/// Keeps a cardinality.
pub(crate) fn cache(bytes: &mut [u8], cardinality: u64) {
    bytes[CARDINALITY_AT..HEADER_BYTES].copy_from_slice(&cardinality.to_le_bytes());
}

/// Says that the cardinality must be reckoned anew.
pub(crate) fn forget_cardinality(bytes: &mut [u8]) {
    bytes[HEADER_BYTES - 1] |= STALE;
}

/// Adds an element, and says whether a register has changed. A sparse one becomes dense where it would
/// be longer than `sparse_max` bytes.
pub fn add(store: &mut impl Store, element: &[u8], sparse_max: usize) -> Result<bool, Corrupted> {
    let (register, value) = place(element);
    raise(store, register, value, sparse_max)
}

/// The register of an element, and what it says.
fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur(element);
    #[expect(clippy::cast_possible_truncation, reason = "14 bits")]
    let register = hash as usize & (REGISTERS - 1);
    // The bit behind the last ends the search.
    let run = (hash >> INDEX_BITS | 1 << RUN_BITS).trailing_zeros() + 1;
    #[expect(clippy::cast_possible_truncation, reason = "64 at most")]
    let value = run as u8;
    (register, value)
}

/// Makes a register at least `value`.
pub(crate) fn raise(
    store: &mut impl Store,
    register: usize,
    value: u8,
    sparse_max: usize,
) -> Result<bool, Corrupted> {
    match encoding(store.bytes()).ok_or(Corrupted)? {
        Encoding::Dense => {
            Ok(dense::raise(&mut store.bytes_mut()[HEADER_BYTES..], register, value))
        }
        Encoding::Sparse => match sparse::raise(store, register, value, sparse_max)? {
            sparse::Raised::Is(changed) => Ok(changed),
            sparse::Raised::TooLong => {
                make_dense(store)?;
                Ok(dense::raise(&mut store.bytes_mut()[HEADER_BYTES..], register, value))
            }
        },
    }
}

/// Turns a sparse one into a dense one; false where it is already.
pub fn make_dense(store: &mut impl Store) -> Result<bool, Corrupted> {
    if encoding(store.bytes()).ok_or(Corrupted)? == Encoding::Dense {
        return Ok(false);
    }
    let mut whole = header(DENSE);
    // The bytes that mean nothing stay as well, as upstream leaves them.
    let kept = ENCODING_AT + 1..HEADER_BYTES;
    whole[kept.clone()].copy_from_slice(&store.bytes()[kept]);
    whole.resize(DENSE_BYTES, 0);
    sparse::each_run(&store.bytes()[HEADER_BYTES..], |from, len, value| {
        if value != 0 {
            for register in from..from + len {
                dense::raise(&mut whole[HEADER_BYTES..], register, value);
            }
        }
    })?;
    let len = store.bytes().len();
    store.replace(0, len, &whole);
    Ok(true)
}

/// All registers, a byte each.
pub type Registers = [u8; REGISTERS];

/// Raises registers to what another has.
pub fn merge(into: &mut Registers, bytes: &[u8]) -> Result<(), Corrupted> {
    let registers = &bytes[HEADER_BYTES.min(bytes.len())..];
    match encoding(bytes).ok_or(Corrupted)? {
        Encoding::Dense => dense::merge(into, registers),
        Encoding::Sparse => sparse::each_run(registers, |from, len, value| {
            if value != 0 {
                into[from..from + len].iter_mut().for_each(|held| *held = value.max(*held));
            }
        })?,
    }
    Ok(())
}

/// About how many different elements it has seen.
pub fn count(bytes: &[u8]) -> Result<u64, Corrupted> {
    let registers = &bytes[HEADER_BYTES.min(bytes.len())..];
    let mut histogram = Histogram::default();
    match encoding(bytes).ok_or(Corrupted)? {
        Encoding::Dense => dense::each_eight(registers, |_, eight| histogram.add_eight(eight)),
        Encoding::Sparse => {
            sparse::each_run(registers, |_, len, value| histogram.add(value, len))?;
        }
    }
    Ok(histogram.estimate())
}

/// As [`count`], of registers a byte each.
pub fn count_registers(registers: &Registers) -> u64 {
    let mut histogram = Histogram::default();
    for eight in registers.as_chunks::<8>().0 {
        histogram.add_eight(u64::from_le_bytes(*eight));
    }
    histogram.estimate()
}

/// MurmurHash2 in its 64-bit form for 64-bit machines (Austin Appleby), read little-endian.
fn murmur(bytes: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
    const SHIFT: u32 = 47;
    let mix = |word: u64| {
        let word = word.wrapping_mul(MULTIPLIER);
        (word ^ word >> SHIFT).wrapping_mul(MULTIPLIER)
    };
    let mut hash = HASH_SEED ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = (hash ^ mix(u64::from_le_bytes(*word))).wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ hash >> SHIFT).wrapping_mul(MULTIPLIER);
    hash ^ hash >> SHIFT
}

impl Store for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }

    fn replace(&mut self, at: usize, len: usize, with: &[u8]) {
        self.splice(at..at + len, with.iter().copied());
    }
}
