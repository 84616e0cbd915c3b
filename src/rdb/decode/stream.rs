//! Streams: the forms of Redis 5, 7.0, 7.2, 8.6 and 8.8. What they hold is drawn in `encode/stream.rs`.
//!
//! A node is checked cell by cell, where there are many by two threads; ids must rise from node to node,
//! and whatever is pending must be a consumer's or have been given back. What is remembered of producers
//! (XADD IDMP) is read over.

use std::io::Read;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread;

use super::collection::{Blob, wrong};
use super::reader::Reader;
use super::{DecodeError, string};
use crate::data::stream::{CheckedNode, Counts, Group, Stream, StreamBuilder, StreamId};
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

    fn check(&self) -> Result<CheckedNode, DecodeError> {
        let Ok(bytes) = <[u8; 16]>::try_from(self.base.bytes()) else {
            return Err(self.base.error("one that hasn't 16 bytes"));
        };
        let checked = StreamBuilder::check(StreamId::from_bytes(bytes), self.node.bytes());
        checked.map_err(|found| self.node.error(found.to_string()))
    }

    /// Adds what was found when it was checked.
    fn push_to(
        &self,
        builder: &mut StreamBuilder,
        checked: CheckedNode,
    ) -> Result<(), DecodeError> {
        builder.push(checked).map_err(|found| self.node.error(found))
    }
}

fn nodes<R: Read>(reader: &mut Reader<R>, count: u64) -> Result<StreamBuilder, DecodeError> {
    let (mut builder, mut node, mut spare) = (StreamBuilder::default(), RawNode::new(), Vec::new());
    for _ in 0..count {
        node.read(reader, &mut spare)?;
        node.push_to(&mut builder, node.check()?)?;
    }
    Ok(builder)
}

/// Nodes that go from the thread that reads to the one that adds them to the stream.
#[derive(Default)]
struct Batch {
    nodes: Vec<RawNode>,
    /// The first of them that are checked already.
    checked: Vec<CheckedNode>,
}

impl Batch {
    /// Reads some of the nodes that are left, into the memory of those that were added.
    fn read<R: Read>(&mut self, reader: &mut Reader<R>, left: &mut u64) -> Result<(), DecodeError> {
        let (mut filled, mut bytes, mut spare) = (0, 0, Vec::new());
        while *left > 0 && filled < BATCH_NODES && bytes < BATCH_BYTES {
            if filled == self.nodes.len() {
                self.nodes.push(RawNode::new());
            }
            self.nodes[filled].read(reader, &mut spare)?;
            bytes += self.nodes[filled].node.bytes().len();
            filled += 1;
            *left -= 1;
        }
        self.nodes.truncate(filled);
        Ok(())
    }

    /// Checks one more node. False where all are checked, or the next is damaged: [`Self::add_to`] checks that
    /// one again and gives its error, unless a node before it is out of order.
    fn check_next(&mut self) -> bool {
        let Some(Ok(checked)) = self.nodes.get(self.checked.len()).map(RawNode::check) else {
            return false;
        };
        self.checked.push(checked);
        true
    }

    /// Adds all its nodes, checking those that aren't.
    fn add_to(&mut self, builder: &mut StreamBuilder) -> Result<(), DecodeError> {
        let mut checked = self.checked.drain(..);
        for node in &self.nodes {
            let found = checked.next().map_or_else(|| node.check(), Ok)?;
            node.push_to(builder, found)?;
        }
        Ok(())
    }
}

/// The same with a second thread, which checks the nodes and adds them in their order, while this one reads
/// and decompresses the next. Checking takes longer, so this one checks nodes, too, while the channel is full.
fn many_nodes<R: Read>(reader: &mut Reader<R>, count: u64) -> Result<StreamBuilder, DecodeError> {
    let (read, to_check) = mpsc::sync_channel::<Batch>(BATCHES_WAITING);
    let (checked, to_read) = mpsc::channel();
    let check = move || {
        let mut builder = StreamBuilder::default();
        for mut batch in to_check {
            batch.add_to(&mut builder)?;
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
            let mut batch: Batch = to_read.try_recv().unwrap_or_default();
            match batch.read(reader, &mut left) {
                // Where it isn't received any more, something is wrong with what came before.
                Ok(()) => left = if hand_over(&read, batch) { left } else { 0 },
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

/// Sends a batch to the thread that adds them. While the channel is full, this thread checks the batch's
/// nodes, one between two tries. False where that thread has ended, which it does at an error.
fn hand_over(read: &SyncSender<Batch>, mut batch: Batch) -> bool {
    loop {
        batch = match read.try_send(batch) {
            Ok(()) => return true,
            Err(TrySendError::Disconnected(_)) => return false,
            Err(TrySendError::Full(batch)) => batch,
        };
        if !batch.check_next() {
            return read.send(batch).is_ok();
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::thresholds::Thresholds;
    use crate::rdb::decode::Checksum;

    /// The body of an RDB's stream up to its nodes' end: their number is left out.
    fn written(ids: &[u64]) -> Vec<u8> {
        let mut body = Vec::new();
        for &ms in ids {
            let mut stream = Stream::default();
            let thresholds = Thresholds::default();
            let pairs = [&b"field"[..], b"value"];
            stream.push(StreamId { ms, seq: 0 }, pairs.into_iter(), &thresholds).unwrap();
            let (base, pack) = stream.nodes().next().unwrap();
            body.push(16);
            body.extend_from_slice(&base.to_bytes());
            body.push(u8::try_from(pack.as_bytes().len()).unwrap());
            body.extend_from_slice(pack.as_bytes());
        }
        body
    }

    /// Reads the nodes, checks the first `ahead` of them, and adds all.
    fn added(body: &[u8], count: usize, ahead: usize) -> Result<usize, String> {
        let mut reader = Reader::new(body, 64, Checksum::Ignore);
        let (mut batch, mut left) = (Batch::default(), count as u64);
        batch.read(&mut reader, &mut left).unwrap();
        assert_eq!(left, 0);
        for _ in 0..ahead {
            batch.check_next();
        }
        let mut builder = StreamBuilder::default();
        let result = batch.add_to(&mut builder);
        result.map(|()| builder.stream().len()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_batch_gives_does_not_go_by_who_checked_it() {
        let rising = written(&[1, 2, 3, 4, 5, 6]);
        let falling = written(&[1, 2, 4, 3, 5, 6]);
        // The flags of each node's entry.
        let entry = [2, 1, 0, 1, 0, 1];
        let flags: Vec<usize> =
            (0..rising.len() - 6).filter(|at| rising[*at..*at + 6] == entry).collect();
        assert_eq!(flags.len(), 6);
        assert_eq!(added(&rising, 6, 0), Ok(6));
        let order = added(&falling, 6, 0).unwrap_err();
        assert!(order.contains("the order of their ids"), "{order}");
        for ahead in 0..=6 {
            assert_eq!(added(&rising, 6, ahead), Ok(6));
            assert_eq!(added(&falling, 6, ahead), Err(order.clone()), "{ahead}");
            for node in 0..6 {
                let mut damaged = [rising.clone(), falling.clone()];
                damaged.iter_mut().for_each(|body| body[flags[node]] = 9);
                let found = damaged.map(|body| added(&body, 6, ahead).unwrap_err());
                assert!(found[0].contains("unknown flags"), "{}", found[0]);
                // Nodes 2 and 3 are out of order: a damaged node behind them is never reached.
                assert_eq!(found[1], if node > 3 { order.clone() } else { found[0].clone() });
            }
        }
    }
}
