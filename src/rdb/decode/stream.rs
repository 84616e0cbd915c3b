//! Streams: the forms of Redis 5, 7.0, 7.2, 8.6 and 8.8. What they hold is drawn in `encode/stream.rs`.
//!
//! A node is checked cell by cell, where there are many on a second thread; ids must rise from node to
//! node, and whatever is pending must be a consumer's or have been given back. What is remembered of
//! producers (XADD IDMP) is read over.

use std::io::Read;
use std::sync::mpsc;
use std::thread;

use super::collection::{Blob, wrong};
use super::reader::Reader;
use super::{DecodeError, string};
use crate::data::stream::{Counts, Group, Stream, StreamBuilder, StreamId};
use crate::rdb::format;

/// What makes a stream of this type byte; it may have no entry.
pub(super) const STREAMS: [u8; 5] = [
    format::TYPE_STREAM,
    format::TYPE_STREAM_2,
    format::TYPE_STREAM_3,
    format::TYPE_STREAM_4,
    format::TYPE_STREAM_5,
];

/// Nodes from which on a stream is loaded by two threads.
const MANY_NODES: u64 = 1024;
/// What is handed from one to the other at once: so many nodes, or what has so many bytes.
const BATCH_NODES: usize = 64;
const BATCH_BYTES: usize = 256 * 1024;
/// So many times that may wait to be checked.
const BATCHES_WAITING: usize = 4;

pub(super) fn stream<R: Read>(
    reader: &mut Reader<R>,
    type_byte: u8,
) -> Result<Stream, DecodeError> {
    let has_counts = type_byte != format::TYPE_STREAM;
    let builder = match reader.length("a number of stream nodes")? {
        count @ ..MANY_NODES => nodes(reader, count)?,
        count => many_nodes(reader, count)?,
    };
    let offset = reader.offset();
    // How many entries there are is counted in the nodes.
    reader.length("a number of entries")?;
    let last_id = id(reader, "a stream's last id")?;
    let mut counts =
        Counts { last_id, max_deleted: StreamId::MIN, added: builder.stream().len() as u64 };
    if has_counts {
        id(reader, "a stream's first id")?;
        counts.max_deleted = id(reader, "a stream's greatest deleted id")?;
        counts.added = countable(reader, "a number of entries ever added")?;
    }
    let mut stream =
        builder.finish(counts).map_err(|found| wrong(offset, "a stream's last id", found))?;
    for _ in 0..reader.length("a number of consumer groups")? {
        let offset = reader.offset();
        let name = string::bytes(reader, "a consumer group's name")?;
        let last_id = id(reader, "a consumer group's last id")?;
        let entries_read =
            if has_counts { entries_read(reader)? } else { stream.added_up_to(last_id) };
        let mut members = Group::new(last_id, entries_read);
        group(reader, type_byte, &mut members)?;
        if !stream.add_group(&name, members) {
            return Err(wrong(offset, "a consumer group", "one that was there before"));
        }
    }
    if type_byte >= format::TYPE_STREAM_4 {
        producers(reader)?;
    }
    Ok(stream)
}

/// A node as it was read, still to be checked.
struct RawNode {
    base: Blob,
    node: Blob,
}

impl RawNode {
    fn new() -> Self {
        Self { base: Blob::new("a stream node's id"), node: Blob::new("a stream's node") }
    }

    /// Reads the next one into the same memory.
    fn read<R: Read>(
        &mut self,
        reader: &mut Reader<R>,
        spare: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        self.base.read_next(reader, spare)?;
        self.node.read_next(reader, spare)
    }

    fn add_to(&self, builder: &mut StreamBuilder) -> Result<(), DecodeError> {
        let Ok(bytes) = <[u8; 16]>::try_from(self.base.bytes()) else {
            return Err(self.base.error("one that hasn't 16 bytes"));
        };
        let added = builder.node(StreamId::from_bytes(bytes), self.node.bytes());
        added.map_err(|found| self.node.error(found.to_string()))
    }
}

fn nodes<R: Read>(reader: &mut Reader<R>, count: u64) -> Result<StreamBuilder, DecodeError> {
    let (mut builder, mut node, mut spare) = (StreamBuilder::default(), RawNode::new(), Vec::new());
    for _ in 0..count {
        node.read(reader, &mut spare)?;
        node.add_to(&mut builder)?;
    }
    Ok(builder)
}

/// The same, but another thread checks what was read while this one reads on and decompresses, which
/// take about as long.
fn many_nodes<R: Read>(reader: &mut Reader<R>, count: u64) -> Result<StreamBuilder, DecodeError> {
    let (read, to_check) = mpsc::sync_channel::<Vec<RawNode>>(BATCHES_WAITING);
    let (checked, to_read) = mpsc::channel();
    let check = move || {
        let mut builder = StreamBuilder::default();
        for batch in to_check {
            batch.iter().try_for_each(|node: &RawNode| node.add_to(&mut builder))?;
            // The other side may have read all that it needs memory for.
            let _ = checked.send(batch);
        }
        Ok(builder)
    };
    thread::scope(|scope| {
        let checker = thread::Builder::new().name("load-check".into()).spawn_scoped(scope, check);
        let Ok(checker) = checker else { return nodes(reader, count) };
        let mut left = count;
        let mut result = Ok(());
        while left > 0 && result.is_ok() {
            let batch = to_read.try_recv().unwrap_or_default();
            match read_batch(reader, batch, &mut left) {
                // Where it isn't received any more, something is wrong with what came before.
                Ok(batch) => left = if read.send(batch).is_ok() { left } else { 0 },
                Err(error) => result = Err(error),
            }
        }
        drop(read);
        match checker.join() {
            // What is wrong in front is told, whoever finds it.
            Ok(checked) => checked.and_then(|builder| result.map(|()| builder)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Reads some of the nodes that are left, into the memory of a batch that was checked.
fn read_batch<R: Read>(
    reader: &mut Reader<R>,
    mut batch: Vec<RawNode>,
    left: &mut u64,
) -> Result<Vec<RawNode>, DecodeError> {
    let (mut filled, mut bytes, mut spare) = (0, 0, Vec::new());
    while *left > 0 && filled < BATCH_NODES && bytes < BATCH_BYTES {
        if filled == batch.len() {
            batch.push(RawNode::new());
        }
        batch[filled].read(reader, &mut spare)?;
        bytes += batch[filled].node.bytes().len();
        filled += 1;
        *left -= 1;
    }
    batch.truncate(filled);
    Ok(batch)
}

/// Reads over what is remembered of producers: for how long, how much, and their ids.
fn producers<R: Read>(reader: &mut Reader<R>) -> Result<(), DecodeError> {
    const EXPECTED: &str = "what a stream remembers of its producers";
    reader.length(EXPECTED)?;
    reader.length(EXPECTED)?;
    for _ in 0..reader.length("a number of producers")? {
        string::skip(reader, "a producer's name")?;
        for _ in 0..reader.length("a number of a producer's ids")? {
            reader.passed_over.producer_ids += 1;
            string::skip(reader, "a producer's id")?;
            id(reader, "the id of an entry")?;
        }
    }
    reader.length(EXPECTED)?;
    reader.length(EXPECTED)?;
    Ok(())
}

fn id<R: Read>(reader: &mut Reader<R>, expected: &'static str) -> Result<StreamId, DecodeError> {
    Ok(StreamId { ms: reader.length(expected)?, seq: reader.length(expected)? })
}

/// A count that a command can tell, too: one of 63 bits.
fn countable<R: Read>(reader: &mut Reader<R>, expected: &'static str) -> Result<u64, DecodeError> {
    let offset = reader.offset();
    let count = reader.length(expected)?;
    if i64::try_from(count).is_err() {
        return Err(wrong(offset, expected, count.to_string()));
    }
    Ok(count)
}

/// Nothing where it isn't known, which is written as -1.
fn entries_read<R: Read>(reader: &mut Reader<R>) -> Result<Option<u64>, DecodeError> {
    let offset = reader.offset();
    let expected = "a number of entries read";
    match reader.length(expected)? {
        u64::MAX => Ok(None),
        read if i64::try_from(read).is_ok() => Ok(Some(read)),
        read => Err(wrong(offset, expected, read.to_string())),
    }
}

fn raw_id<R: Read>(reader: &mut Reader<R>) -> Result<StreamId, DecodeError> {
    Ok(StreamId::from_bytes(reader.array("a pending entry's id")?))
}

fn group<R: Read>(
    reader: &mut Reader<R>,
    type_byte: u8,
    group: &mut Group,
) -> Result<(), DecodeError> {
    for _ in 0..reader.length("a number of pending entries")? {
        let offset = reader.offset();
        let id = raw_id(reader)?;
        let delivered_ms = i64::from_le_bytes(reader.array("a delivery's time")?);
        let deliveries = reader.length("a number of deliveries")?;
        if !group.load_pending(id, delivered_ms, deliveries) {
            return Err(wrong(offset, "a pending entry", "one that was there before"));
        }
    }
    for _ in 0..reader.length("a number of consumers")? {
        let offset = reader.offset();
        let name = string::bytes(reader, "a consumer's name")?;
        let seen_ms = i64::from_le_bytes(reader.array("a consumer's time")?);
        let active_ms = if type_byte >= format::TYPE_STREAM_3 {
            i64::from_le_bytes(reader.array("a consumer's time")?)
        } else {
            seen_ms
        };
        let (consumer, is_new) = group.ensure(&name, seen_ms);
        if !is_new {
            return Err(wrong(offset, "a consumer", "one that was there before"));
        }
        group.set_times(consumer, seen_ms, (active_ms != -1).then_some(active_ms));
        for _ in 0..reader.length("a number of a consumer's entries")? {
            let offset = reader.offset();
            if !group.load_owner(consumer, raw_id(reader)?) {
                let found = "one that isn't pending, or another's";
                return Err(wrong(offset, "a consumer's entry", found));
            }
        }
    }
    if type_byte == format::TYPE_STREAM_5 {
        for _ in 0..reader.length("a number of entries that were given back")? {
            let offset = reader.offset();
            if !group.load_released(raw_id(reader)?) {
                let found = "one that isn't pending, or a consumer's";
                return Err(wrong(offset, "an entry that was given back", found));
            }
        }
    }
    if group.loaded_owners() {
        return Ok(());
    }
    Err(wrong(reader.offset(), "the end of a consumer group", "a pending entry that is nobody's"))
}
