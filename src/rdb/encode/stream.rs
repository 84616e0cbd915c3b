//! Streams in RDB: nodes as they lie in memory, then counts, then groups.
//!
//! ```text
//! nodes { base id (string of 16 bytes)  listpack (string) } ...
//! entries  last id  [first id  greatest deleted id  entries ever added]           from version 10 on
//! groups { name  last id  [entries read]                                          from version 10 on
//!          pending { id 16  delivered ms 8  deliveries } ...
//!          consumers { name  seen ms 8  [active ms 8]  pending { id 16 } ... } ...      from 11 on
//!          [given back { id 16 } ...] }                                            type 27
//! [seconds  ids a producer  producers { name  ids { id sent  id } ... } ...        types 26, 27
//!  ids added  ids met again]
//! ```
//! Ids are two lengths where nothing else is said. Numbers of 8 bytes are little-endian.
//!
//! Only a stream with entries that were given back is written as type 27, whatever the version: no
//! older form can hold them. Valkey doesn't read that type: in its version 80 a consumer with an empty name
//! has those entries. What is remembered of producers is read over, and written as nothing.

use super::{EncodeOptions, length, string, verbatim};
use crate::base::pieces::Full;
use crate::data::stream::{Counts, Group, Stream, StreamId};
use crate::rdb::format::{self, Dialect};

/// An `entries read` that isn't known.
const UNKNOWN: u64 = u64::MAX;
/// For how many seconds, and how many ids, upstream remembers of producers unless told otherwise.
const PRODUCER_DEFAULTS: [u64; 2] = [100, 100];

/// Whether a group has entries that were given back.
pub(super) fn has_released(stream: &Stream) -> bool {
    stream.groups().any(|(_, group)| group.released_len() > 0)
}

/// The byte that says how [`stream`] writes one.
pub(super) fn type_byte(stream: &Stream, options: EncodeOptions) -> u8 {
    match options.version {
        _ if options.dialect() == Dialect::Redis && has_released(stream) => format::TYPE_STREAM_5,
        format::VERSION_SET_LISTPACK.. => format::TYPE_STREAM_3,
        format::VERSION_LISTPACK.. => format::TYPE_STREAM_2,
        _ => format::TYPE_STREAM,
    }
}

pub(super) fn stream(out: &mut Vec<u8>, options: EncodeOptions, stream: &Stream, full: Full<'_>) {
    length(out, stream.node_count() as u64);
    for (base, pack) in stream.nodes() {
        verbatim(out, &base.to_bytes());
        string(out, options, pack.as_bytes());
        if !full(out) {
            return;
        }
    }
    let type_byte = type_byte(stream, options);
    let has_counts = type_byte != format::TYPE_STREAM;
    let Counts { last_id, max_deleted, added } = stream.counts();
    length(out, stream.len() as u64);
    id(out, last_id);
    if has_counts {
        id(out, stream.first_id().unwrap_or_default());
        id(out, max_deleted);
        length(out, added);
    }
    length(out, stream.group_count() as u64);
    for (name, members) in stream.groups() {
        string(out, options, name);
        id(out, members.last_id);
        if has_counts {
            length(out, members.entries_read.unwrap_or(UNKNOWN));
        }
        if !group(out, (options, type_byte), members, full) {
            return;
        }
    }
    if type_byte >= format::TYPE_STREAM_4 {
        // No producer, no id added, none met again.
        PRODUCER_DEFAULTS.into_iter().chain([0, 0, 0]).for_each(|number| length(out, number));
    }
}

fn id(out: &mut Vec<u8>, id: StreamId) {
    length(out, id.ms);
    length(out, id.seq);
}

/// False where nobody wants more.
fn group(
    out: &mut Vec<u8>,
    (options, type_byte): (EncodeOptions, u8),
    group: &Group,
    full: Full<'_>,
) -> bool {
    length(out, group.pending_len() as u64);
    for pending in group.pending_from(StreamId::MIN) {
        out.extend_from_slice(&pending.id.to_bytes());
        out.extend_from_slice(&pending.delivered_ms.to_le_bytes());
        length(out, pending.told_deliveries().unsigned_abs());
        if !full(out) {
            return false;
        }
    }
    // Entries that were given back and must be somebody's here.
    let disowned = if options.dialect() == Dialect::Valkey { group.released_len() } else { 0 };
    let nameless = group.consumers().any(|(name, _)| name.is_empty());
    let added = disowned > 0 && !nameless;
    length(out, (group.consumer_count() + usize::from(added)) as u64);
    for (name, consumer) in group.consumers() {
        string(out, options, name);
        out.extend_from_slice(&consumer.seen_ms.to_le_bytes());
        if type_byte >= format::TYPE_STREAM_3 {
            out.extend_from_slice(&consumer.active_ms.unwrap_or(-1).to_le_bytes());
        }
        let more = if name.is_empty() { disowned } else { 0 };
        length(out, (consumer.pending_len() + more) as u64);
        let pending = consumer.pending_from(StreamId::MIN).chain(group.released().take(more));
        if !ids(out, pending, full) {
            return false;
        }
    }
    if added {
        string(out, options, b"");
        out.extend_from_slice(&0_i64.to_le_bytes());
        out.extend_from_slice(&(-1_i64).to_le_bytes());
        length(out, disowned as u64);
        if !ids(out, group.released(), full) {
            return false;
        }
    }
    if type_byte == format::TYPE_STREAM_5 {
        length(out, group.released_len() as u64);
        return ids(out, group.released(), full);
    }
    true
}

/// False where nobody wants more.
fn ids(out: &mut Vec<u8>, ids: impl Iterator<Item = StreamId>, full: Full<'_>) -> bool {
    for id in ids {
        out.extend_from_slice(&id.to_bytes());
        if !full(out) {
            return false;
        }
    }
    true
}
