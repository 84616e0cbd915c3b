//! What can be wrong with RDB bytes: where, what was expected, what was found.

use std::io;

use crate::base::lzf::LzfError;
use crate::rdb::format::{VERSION_MAX, VERSIONS_VALKEY};

/// Why RDB bytes could not be decoded. Offsets count from the first byte of the header.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The source failed.
    #[error("reading at offset {offset} failed: {source}")]
    Io {
        /// Up to where it could be read.
        offset: u64,
        /// What the source said.
        source: io::Error,
    },
    /// The bytes end too early.
    #[error("{expected} expected at offset {offset}, found the end of the data")]
    Truncated {
        /// Where the element begins, or where its bytes ran out.
        offset: u64,
        /// What should have followed.
        expected: &'static str,
    },
    /// Not an RDB at all.
    #[error("an RDB header expected at offset 0, found {:?}", String::from_utf8_lossy(found))]
    Magic {
        /// The first bytes.
        found: [u8; 9],
    },
    /// A version that isn't known.
    #[error(
        "a version from 1 to {VERSION_MAX} of Redis or {} to {} of Valkey expected at offset 5, \
         found {found}",
        VERSIONS_VALKEY.start(),
        VERSIONS_VALKEY.end()
    )]
    Version {
        /// The version in the header.
        found: u16,
    },
    /// A byte that is neither a type nor an opcode.
    #[error("an opcode or a type expected at offset {offset}, found {found}")]
    Opcode {
        /// Where it stands.
        offset: u64,
        /// The byte.
        found: u8,
    },
    /// A type that is known by name but that there is no place for.
    #[error(
        "at offset {offset} stands {key} a value of the type {name} ({type_byte}), which this server doesn't have"
    )]
    UnsupportedType {
        /// Where its type byte stands.
        offset: u64,
        /// The type byte.
        type_byte: u8,
        /// What the type is called.
        name: &'static str,
        /// The key that holds it, as it is to be read, where there is one.
        key: String,
    },
    /// A first byte of a length or string that says no known encoding.
    #[error("{expected} expected at offset {offset}, found encoding {found:#04x}")]
    Encoding {
        /// Where the byte stands.
        offset: u64,
        /// What should begin there.
        expected: &'static str,
        /// The byte.
        found: u8,
    },
    /// A compressed string that doesn't decompress.
    #[error("{expected} expected at offset {offset}, found damaged compression: {source}")]
    Lzf {
        /// Where the compressed bytes begin.
        offset: u64,
        /// What the string should be.
        expected: &'static str,
        /// What is wrong with it.
        source: LzfError,
    },
    /// A collection whose parts don't fit together.
    #[error("{expected} expected at offset {offset}, found {found}")]
    Collection {
        /// Where it stands.
        offset: u64,
        /// What should be there.
        expected: &'static str,
        /// What is wrong with it.
        found: String,
    },
    /// A collection without elements, which no key holds.
    #[error("a collection expected at offset {offset}, found an empty one")]
    Empty {
        /// Where its type byte stands.
        offset: u64,
    },
    /// A database number over 32 bits.
    #[error("a database number expected at offset {offset}, found {found}")]
    Database {
        /// Where it stands.
        offset: u64,
        /// The number.
        found: u64,
    },
    /// An element of a module's data that no module writes.
    #[error("an element of a module's data expected at offset {offset}, found code {found}")]
    Module {
        /// Where it stands.
        offset: u64,
        /// Its code.
        found: u64,
    },
    /// The checksum is wrong: some byte isn't what was written.
    #[error("RDB CRC error: {expected:016x} expected at offset {offset}, found {found:016x}")]
    Checksum {
        /// Where the checksum stands.
        offset: u64,
        /// What the bytes before it amount to.
        expected: u64,
        /// The checksum in the file.
        found: u64,
    },
}
