//! Reads RDB, as a stream of events: the file's fields, databases and keys in their order.
//!
//! The bytes may come from anyone (RESTORE, a full synchronisation, a damaged disk): nothing
//! panics, nothing is allocated that bytes really read don't justify, and every error says where
//! it is, what was expected there and what was found. Deliberately absent: what to do with a key,
//! whether it has expired, and how to go on after damage.

mod collection;
mod error;
mod module;
mod payload;
mod reader;
mod stream;
mod string;
mod template;
mod unknown;
mod ziplist;
mod zipmap;

use std::io::Read;

pub use error::DecodeError;
pub(crate) use payload::functions_payload;
pub use payload::{RestoreError, restore_payload};

use crate::base::env::UnixMillis;
use crate::data::thresholds::Thresholds;
use crate::rdb::format::{self, Dialect};
use crate::rdb::{Access, OwnedValue};
use collection::Context;
use reader::Reader;
use template::Templates;

/// How much is read from the source at once.
const BUFFER_LEN: usize = 64 * 1024;

/// Whether the checksum at the end is looked at (`rdbchecksum`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// It must be right, unless the writer left it out.
    #[default]
    Verify,
    /// It isn't computed.
    Ignore,
}

/// What becomes of keys of types that there is no place for (`rdb-load-unknown-types`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownTypes {
    /// They end it: nothing is lost in silence.
    #[default]
    Stop,
    /// They are passed over where the layout of their values is known.
    Skip,
}

/// What was passed over because there is no place for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// What modules know of keys, by key.
    pub key_metadata: u64,
    /// Ids of producers' entries in streams (XADD IDMP).
    pub producer_ids: u64,
    /// Slots that were on their way to a node of a cluster, by job.
    pub slot_imports: u64,
}

/// What the end of a file said about its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is one and it is right.
    Verified,
    /// The writer left it out: the version has none, or it is zero.
    Absent,
    /// There is one, but it was not to be looked at.
    Ignored,
}

/// One element of a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A field about the file.
    Aux {
        /// Its name, such as `redis-ver`.
        key: Vec<u8>,
        /// Its value as text.
        value: Vec<u8>,
    },
    /// The following keys are in this database.
    SelectDb(u32),
    /// How much is in the database that begins; a hint that may be wrong.
    ResizeDb {
        /// All keys.
        keys: u64,
        /// Those that expire.
        expires: u64,
    },
    /// A key.
    Entry {
        /// Its name.
        key: Vec<u8>,
        /// Its value.
        value: OwnedValue,
        /// When it expires, which may have passed.
        expiry: Option<UnixMillis>,
        /// When or how often it was used.
        access: Access,
    },
    /// A key of a type that there is no place for, which was passed over.
    Skipped {
        /// Its name.
        key: Vec<u8>,
        /// What its type is called.
        type_name: &'static str,
    },
    /// A key whose collection has no elements, which is as if it weren't there.
    EmptyKey(Vec<u8>),
    /// A function library's code.
    Function(Vec<u8>),
    /// Data that a module kept, which was skipped.
    ModuleAux {
        /// The module's type name, 9 characters.
        module: String,
    },
    /// The last event.
    End(Verdict),
}

/// Reads one file. The first error ends it.
#[derive(Debug)]
pub struct Decoder<R> {
    reader: Reader<R>,
    version: u16,
    thresholds: Thresholds,
    unknown_types: UnknownTypes,
    templates: Templates,
    ended: bool,
}

impl<R: Read> Decoder<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`DecodeError`], where the source is no RDB or one of an unknown version.
    pub fn new(source: R, checksum: Checksum) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(source, BUFFER_LEN, checksum);
        let version = version(reader.array("a magic and a version")?)?;
        if version < format::VERSION_CHECKSUM {
            reader.ignore_checksum();
        }
        Ok(Self {
            reader,
            version,
            thresholds: Thresholds::default(),
            unknown_types: UnknownTypes::default(),
            templates: Templates::default(),
            ended: false,
        })
    }

    /// Up to where collections are to be kept compact; upstream's defaults otherwise.
    #[must_use]
    pub(crate) fn with_thresholds(mut self, thresholds: Thresholds) -> Self {
        self.thresholds = thresholds;
        self
    }

    /// What is to become of keys of types that there is no place for; they end it otherwise.
    #[must_use]
    pub fn with_unknown_types(mut self, unknown_types: UnknownTypes) -> Self {
        self.unknown_types = unknown_types;
        self
    }

    /// What was passed over so far.
    pub fn passed_over(&self) -> PassedOver {
        self.reader.passed_over
    }

    /// How many bytes have been decoded.
    pub fn offset(&self) -> u64 {
        self.reader.offset()
    }

    /// The next event; nothing after [`Event::End`].
    ///
    /// # Errors
    /// [`DecodeError`]. There is no going on after it.
    pub fn next_event(&mut self) -> Result<Option<Event>, DecodeError> {
        if self.ended {
            return Ok(None);
        }
        let event = self.event();
        self.ended = matches!(event, Err(_) | Ok(Event::End(_)));
        event.map(Some)
    }

    /// What was read behind the end, and the source of more: an append-only file may go on behind
    /// an RDB.
    pub fn into_rest(self) -> (Vec<u8>, R) {
        self.reader.into_rest()
    }

    fn event(&mut self) -> Result<Event, DecodeError> {
        let reader = &mut self.reader;
        let writer = Dialect::of(self.version);
        let (mut expiry, mut access) = (None, Access::Unknown);
        loop {
            let offset = reader.offset();
            let event = match reader.byte("an opcode or a type")? {
                format::OPCODE_EXPIRE_SECONDS => {
                    let seconds = i32::from_le_bytes(reader.array("an expiry in seconds")?);
                    expiry = Some(UnixMillis(i64::from(seconds) * 1000));
                    continue;
                }
                format::OPCODE_EXPIRE_MILLIS => {
                    let millis = i64::from_le_bytes(reader.array("an expiry in milliseconds")?);
                    expiry = Some(UnixMillis(millis));
                    continue;
                }
                format::OPCODE_IDLE => {
                    access = Access::Idle(reader.length("an idle time")?);
                    continue;
                }
                format::OPCODE_FREQUENCY => {
                    access = Access::Frequency(reader.byte("an access frequency")?);
                    continue;
                }
                format::OPCODE_HASH_TEMPLATE => {
                    self.templates.read(reader)?;
                    continue;
                }
                format::OPCODE_KEY_METADATA if writer == Dialect::Redis => {
                    module::skip_key_metadata(reader)?;
                    reader.passed_over.key_metadata += 1;
                    continue;
                }
                format::OPCODE_KEY_METADATA => {
                    slot_import(reader)?;
                    continue;
                }
                format::OPCODE_SLOT_INFO => {
                    for what in ["a slot", "a slot's keys", "a slot's expiring keys"] {
                        reader.length(what)?;
                    }
                    continue;
                }
                format::OPCODE_AUX => Event::Aux {
                    key: string::bytes(reader, "an auxiliary field's name")?,
                    value: string::bytes(reader, "an auxiliary field's value")?,
                },
                format::OPCODE_SELECT_DB => Event::SelectDb(database(reader)?),
                format::OPCODE_RESIZE_DB => Event::ResizeDb {
                    keys: reader.length("a number of keys")?,
                    expires: reader.length("a number of expiring keys")?,
                },
                format::OPCODE_FUNCTION => {
                    Event::Function(string::bytes(reader, "a function library")?)
                }
                format::OPCODE_MODULE_AUX => Event::ModuleAux { module: module::skip_aux(reader)? },
                format::OPCODE_END => Event::End(end(reader, self.version)?),
                type_byte => return self.keyed(offset, type_byte, expiry, access),
            };
            return Ok(event);
        }
    }
}

impl<R: Read> Decoder<R> {
    /// A key and its value, behind the value's type byte, which stood at `offset`.
    fn keyed(
        &mut self,
        offset: u64,
        type_byte: u8,
        expiry: Option<UnixMillis>,
        access: Access,
    ) -> Result<Event, DecodeError> {
        let reader = &mut self.reader;
        let unknown = unknown_type(offset, type_byte)?;
        let key = string::bytes(reader, "a key")?;
        if let Some(type_name) = unknown {
            if self.unknown_types == UnknownTypes::Skip && unknown::skip(reader, type_byte)? {
                return Ok(Event::Skipped { key, type_name });
            }
            let key = format!("in the key {:?}", String::from_utf8_lossy(&key));
            return Err(DecodeError::UnsupportedType { offset, type_byte, name: type_name, key });
        }
        let writer = Dialect::of(self.version);
        let (thresholds, templates) = (&self.thresholds, &self.templates);
        match object(reader, offset, type_byte, Context { thresholds, writer, templates }) {
            Ok(value) => Ok(Event::Entry { key, value, expiry, access }),
            // Older versions of upstream wrote such keys; for clients they aren't there.
            Err(DecodeError::Empty { .. }) => Ok(Event::EmptyKey(key)),
            Err(error) => Err(error),
        }
    }
}

/// Reads the version out of a header.
pub(crate) fn version(header: [u8; 9]) -> Result<u16, DecodeError> {
    let unknown = || DecodeError::Magic { found: header };
    let (digits, known) = if let Some(digits) = header.strip_prefix(b"REDIS") {
        (digits, 1..=format::VERSION_MAX)
    } else {
        let digits = header.strip_prefix(b"VALKEY").ok_or_else(unknown)?;
        (digits, format::VERSIONS_VALKEY)
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(unknown());
    }
    let found = digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    if !known.contains(&found) {
        return Err(DecodeError::Version { found });
    }
    Ok(found)
}

fn database<R: Read>(reader: &mut Reader<R>) -> Result<u32, DecodeError> {
    let offset = reader.offset();
    let found = reader.length("a database number")?;
    u32::try_from(found).map_err(|_| DecodeError::Database { offset, found })
}

/// Reads the checksum and compares it.
fn end<R: Read>(reader: &mut Reader<R>, version: u16) -> Result<Verdict, DecodeError> {
    if version < format::VERSION_CHECKSUM {
        return Ok(Verdict::Absent);
    }
    let offset = reader.offset();
    let computed = reader.checksum();
    let found = u64::from_le_bytes(reader.array("a checksum")?);
    verdict(offset, computed, found)
}

/// What a checksum that stands there says; nothing is `computed` where it is of no interest.
pub(crate) fn verdict(
    offset: u64,
    computed: Option<u64>,
    found: u64,
) -> Result<Verdict, DecodeError> {
    match computed {
        _ if found == 0 => Ok(Verdict::Absent),
        None => Ok(Verdict::Ignored),
        Some(computed) if computed == found => Ok(Verdict::Verified),
        Some(computed) => Err(DecodeError::Checksum { offset, expected: computed, found }),
    }
}

/// The name of a type that [`object`] can't read, nothing for one that it can; refuses what is no type.
fn unknown_type(offset: u64, type_byte: u8) -> Result<Option<&'static str>, DecodeError> {
    match format::type_name(type_byte) {
        _ if type_byte == format::TYPE_STRING || collection::is_known(type_byte) => Ok(None),
        Some(name) => Ok(Some(name)),
        None if type_byte == format::OPCODE_FUNCTION_PRE_GA => {
            let (name, key) = ("function of a release candidate", "before the keys".to_owned());
            Err(DecodeError::UnsupportedType { offset, type_byte, name, key })
        }
        None => Err(DecodeError::Opcode { offset, found: type_byte }),
    }
}

/// Passes over slots that were on their way to a node: a job's name, and ranges of slots.
fn slot_import<R: Read>(reader: &mut Reader<R>) -> Result<(), DecodeError> {
    string::skip(reader, "a job's name")?;
    for _ in 0..reader.length("a number of slot ranges")? {
        reader.length("a slot")?;
        reader.length("a slot")?;
    }
    reader.passed_over.slot_imports += 1;
    Ok(())
}

/// Reads what follows a type byte, which stood at `offset`.
fn object<R: Read>(
    reader: &mut Reader<R>,
    offset: u64,
    type_byte: u8,
    context: Context<'_>,
) -> Result<OwnedValue, DecodeError> {
    if let Some(name) = unknown_type(offset, type_byte)? {
        let key = "alone".to_owned();
        return Err(DecodeError::UnsupportedType { offset, type_byte, name, key });
    }
    if type_byte == format::TYPE_STRING {
        return string::value(reader);
    }
    collection::object(reader, offset, type_byte, context).map(OwnedValue::Object)
}

#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod type_tests;
