//! Hash templates of Redis 8.10: the names of fields that many hashes share, told once. Their hashes are
//! read as plain ones.
//!
//! ```text
//! F2 id  fields { name } ...               a template, before the keys that refer to it
//! 29     fields { name } ...  listpack     names, then a listpack of as many values
//! 30     listpack                          a template's id, then the values
//! 31     fields { name  value } ...
//! 32     id  { value } ...                 as many values as the template has names
//! ```

use std::collections::HashMap;
use std::io::Read;

use super::collection::{Blob, Context, put_field, wrong};
use super::reader::Reader;
use super::{DecodeError, string};
use crate::base::text;
use crate::data::element::Element;
use crate::data::hash::Hash;
use crate::data::index::Room;
use crate::rdb::format;

/// What makes a hash of these type bytes.
pub(super) const TEMPLATES: [u8; 4] = [
    format::TYPE_HASH_TEMPLATE,
    format::TYPE_HASH_TEMPLATE_REF,
    format::TYPE_HASH_TEMPLATE_ARRAY,
    format::TYPE_HASH_TEMPLATE_ARRAY_REF,
];

/// The templates of a file so far.
#[derive(Debug, Default)]
pub(super) struct Templates(HashMap<u64, Vec<Vec<u8>>, ahash::RandomState>);

impl Templates {
    /// Reads a template behind its opcode.
    pub(super) fn read<R: Read>(&mut self, reader: &mut Reader<R>) -> Result<(), DecodeError> {
        let offset = reader.offset();
        let id = reader.length("a hash template's id")?;
        if self.0.insert(id, names(reader)?).is_some() {
            return Err(wrong(offset, "a hash template", "one that was there before"));
        }
        Ok(())
    }

    fn of(&self, offset: u64, id: Option<u64>) -> Result<&[Vec<u8>], DecodeError> {
        let found = id.and_then(|id| self.0.get(&id));
        found.map(Vec::as_slice).ok_or_else(|| {
            wrong(offset, "a hash template's id", "one that no template of the file has")
        })
    }
}

fn names<R: Read>(reader: &mut Reader<R>) -> Result<Vec<Vec<u8>>, DecodeError> {
    let count = reader.length("a number of fields")?;
    (0..count).map(|_| string::bytes(reader, "a field")).collect()
}

/// Reads what follows a type byte of [`TEMPLATES`].
pub(super) fn hash<R: Read>(
    reader: &mut Reader<R>,
    type_byte: u8,
    context: Context<'_>,
) -> Result<Hash, DecodeError> {
    let offset = reader.offset();
    let mut hash = Hash::default();
    let mut put = |name: &[u8], value: Element<'_>| {
        if hash.is_full(Room::All) {
            return Err(wrong(offset, "a field", "more than an index has room for"));
        }
        if !put_field(&mut hash, Element::Bytes(name), value, None, context) {
            return Err(wrong(offset, "a field", "one that was there before"));
        }
        Ok(())
    };
    match type_byte {
        format::TYPE_HASH_TEMPLATE | format::TYPE_HASH_TEMPLATE_REF => {
            let own = match type_byte {
                format::TYPE_HASH_TEMPLATE => Some(names(reader)?),
                _ => None,
            };
            let blob = Blob::read(reader, "a hash's values")?;
            let pack = blob.listpack()?;
            let mut values = pack.iter();
            let names = match &own {
                Some(names) => names.as_slice(),
                None => {
                    let id = values.next().and_then(|id| id.with_bytes(text::parse_u64));
                    context.templates.of(offset, id)?
                }
            };
            for name in names {
                let value = values.next().ok_or_else(|| blob.error("fewer than fields"))?;
                put(name, value)?;
            }
            if values.next().is_some() {
                return Err(blob.error("more than fields"));
            }
        }
        format::TYPE_HASH_TEMPLATE_ARRAY => {
            for _ in 0..reader.length("a number of fields")? {
                let name = string::bytes(reader, "a field")?;
                put(&name, Element::Bytes(&string::bytes(reader, "a value")?))?;
            }
        }
        _ => {
            let id = reader.length("a hash template's id")?;
            for name in context.templates.of(offset, Some(id))? {
                put(name, Element::Bytes(&string::bytes(reader, "a value")?))?;
            }
        }
    }
    Ok(hash)
}
