//! DEBUG's subcommands that show how a value is kept. What is too long for a reply they print on the
//! server's standard output, as upstream does.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::object;
use crate::data::list::{List, Part};
use crate::data::value::{Object, ValueRef};
use crate::engine::Engine;
use crate::keyspace::databases::DbIndex;
use crate::mailbox::SessionId;
use crate::rdb::encode::{self, EncodeOptions};

/// Calls a closure with the value at the command's second argument.
fn with_value<R>(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
    look: impl FnOnce(ValueRef<'_>) -> R,
) -> Result<R, CommandError> {
    let db = engine.sessions[slot].db;
    match engine.databases.db(db).peek(args.at(2)) {
        Some(entry) => Ok(look(entry.value())),
        None => Err(CommandError::NoSuchKey),
    }
}

/// The list, if the value is one in nodes.
fn quicklist_of<'a>(value: &'a ValueRef<'_>) -> Option<&'a List> {
    match value {
        ValueRef::Object(object) => match &**object {
            Object::List(list @ List::Long(_)) => Some(list),
            _ => None,
        },
        _ => None,
    }
}

/// Prints on standard output; that nobody reads it is no error.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

pub(in crate::engine) fn listpack(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<(), CommandError> {
    let text = with_value(engine, slot, args, |value| {
        let ValueRef::Object(object) = value else { return None };
        let pack = object.listpack()?;
        let mut text =
            format!("{{total bytes {}}} {{num entries {}}}\n", pack.byte_len(), pack.len());
        for (index, element) in pack.iter().enumerate() {
            let element = String::from_utf8_lossy(&element.to_vec()).into_owned();
            let _ = writeln!(text, "{{entry {index}}} {element:?}");
        }
        Some(text)
    })?
    .ok_or(CommandError::text("ERR Not a listpack encoded object."))?;
    print(&text);
    engine.sessions[slot].reply().simple("Listpack structure printed on stdout");
    Ok(())
}

pub(in crate::engine) fn quicklist(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<(), CommandError> {
    let whole = args.get(3).is_some_and(|arg| arg != b"0");
    let text = with_value(engine, slot, args, |value| {
        let list = quicklist_of(&value)?;
        let mut text = format!("{{count : {}}}\n", list.len());
        for (number, part) in list.parts().enumerate() {
            let (kind, elements, bytes) = match part {
                Part::Packed(pack) => ("PACKED", pack.len(), pack.byte_len()),
                Part::Plain(bytes) => ("PLAIN", 1, bytes.len()),
            };
            let _ = writeln!(
                text,
                "{{quicklist node({number})}} {{container : {kind}, encoding : RAW, size : {bytes}, \
                 count : {elements}}}"
            );
            if let Part::Packed(pack) = part
                && whole
            {
                for (index, element) in pack.iter().enumerate() {
                    let element = String::from_utf8_lossy(&element.to_vec()).into_owned();
                    let _ = writeln!(text, "  {{entry {index}}} {element:?}");
                }
            }
        }
        Some(text)
    })?
    .ok_or(CommandError::text("ERR Not a quicklist encoded object."))?;
    print(&text);
    engine.sessions[slot].reply().simple("Quicklist structure printed on stdout");
    Ok(())
}

/// What DEBUG OBJECT tells of a list in nodes beyond what it tells of all values.
fn quicklist_details(list: &List, node_limit: i64) -> String {
    let nodes = list.parts().count();
    let bytes: usize = list
        .parts()
        .map(|part| match part {
            Part::Packed(pack) => pack.byte_len(),
            Part::Plain(bytes) => bytes.len(),
        })
        .sum();
    // Nodes are never compressed.
    format!(
        " ql_nodes:{nodes} ql_avg_node:{:.2} ql_listpack_max:{node_limit} ql_compressed:0 \
         ql_uncompressed_size:{bytes}",
        list.len() as f64 / nodes as f64
    )
}

pub(in crate::engine) fn object_details(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<(), CommandError> {
    let db = engine.sessions[slot].db;
    let node_limit = engine.limits.thresholds.list_size;
    // Also of a key whose time has come and that stays, on a replica.
    let table = engine.databases.table(db);
    let found = table.and_then(|table| table.get(args.at(2))).map(|entry| {
        let options = EncodeOptions { compress: false, ..EncodeOptions::default() };
        let mut bytes = Vec::new();
        encode::value(&mut bytes, &options, entry.value());
        let more = quicklist_of(&entry.value())
            .map(|list| quicklist_details(list, node_limit))
            .unwrap_or_default();
        // Upstream's number leaves out the type byte.
        (object::encoding_name(&entry), bytes.len() - 1, entry.access(), more)
    });
    let Some((encoding, length, access, more)) = found else {
        return Err(CommandError::NoSuchKey);
    };
    let idle = engine.databases.idle_seconds(access);
    let text = format!(
        "Value at:0x0 refcount:1 encoding:{encoding} serializedlength:{length} lru:{access} \
         lru_seconds_idle:{idle}{more}"
    );
    engine.sessions[slot].reply().simple(&text);
    Ok(())
}

pub(in crate::engine) fn string_lengths(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<(), CommandError> {
    let key = args.at(2);
    let db = engine.sessions[slot].db;
    let found = engine.databases.db(db).peek(key).map(|entry| {
        let length = match entry.value() {
            ValueRef::Str(bytes) => bytes.len(),
            ValueRef::Int(number) => number.to_string().len(),
            ValueRef::Object(_) => return None,
        };
        Some((length, entry.table_bytes(), entry.heap_bytes()))
    });
    let (length, table, heap) = found
        .ok_or(CommandError::NoSuchKey)?
        .ok_or(CommandError::text("ERR Not an sds encoded string."))?;
    let text = format!(
        "key_sds_len:{}, key_sds_avail:0, key_zmalloc: {table}, val_sds_len:{length}, \
         val_sds_avail:{}, val_zmalloc: {heap}",
        key.len(),
        heap.saturating_sub(length),
    );
    engine.sessions[slot].reply().simple(&text);
    Ok(())
}

pub(in crate::engine) fn table_statistics(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<(), CommandError> {
    let index = args.int(2)?;
    let Some(index) = u32::try_from(index).ok().filter(|index| *index < engine.databases.count())
    else {
        return Err(CommandError::text("ERR Out of range database"));
    };
    let text = match engine.databases.table(DbIndex(index)) {
        None => "[Dictionary HT]\nNo stats available for empty dictionaries\n".to_owned(),
        Some(table) => format!(
            "[Dictionary HT]\nTable of segments:\n number of segments: {}\n number of elements: {}\n \
             number of elements with expiry: {}\n bytes of segments: {}\n bytes of directory: {}\n",
            table.memory().segments,
            table.len(),
            table.expires_len(),
            table.memory().segment_bytes,
            table.memory().directory_bytes,
        ),
    };
    engine.sessions[slot].reply().verbatim("txt", text.as_bytes());
    Ok(())
}

pub(in crate::engine) fn value_statistics(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<(), CommandError> {
    let text = with_value(engine, slot, args, |value| match value {
        ValueRef::Object(object) if matches!(object.encoding(), "hashtable" | "skiplist") => {
            Some(format!(
                "[Dictionary HT]\nIndex of segments:\n number of elements: {}\n bytes: {}\n",
                object.len(),
                object.heap_bytes(),
            ))
        }
        _ => None,
    })?
    .ok_or(CommandError::text(
        "ERR The value stored at the specified key is not represented using an hash table",
    ))?;
    engine.sessions[slot].reply().verbatim("txt", text.as_bytes());
    Ok(())
}
