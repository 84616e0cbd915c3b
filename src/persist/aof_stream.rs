//! A stream as the commands that make it: its entries, its counts, and for each group what is pending
//! and its consumers. All of them are in Redis 7.0.

use crate::base::pieces::Full;
use crate::data::stream::{Counts, Group, Stream, StreamId};
use crate::resp::record::{push_bulk, push_command, push_head};

/// The group by which a stream without an entry is made.
const PASSING_GROUP: &[u8] = b"redstart-passing";

/// Writes a stream, for as long as `full` says to go on.
pub(super) fn push_stream(out: &mut Vec<u8>, key: &[u8], stream: &Stream, full: Full<'_>) {
    let mut entries = stream.range(StreamId::MIN, StreamId::MAX);
    while let Some((id, fields)) = entries.next_entry() {
        push_head(out, b'*', 3 + 2 * fields);
        [b"XADD", key, id.text().as_bytes()].iter().for_each(|word| push_bulk(out, word));
        while let Some((name, value)) = entries.next_field() {
            name.with_bytes(|bytes| push_bulk(out, bytes));
            value.with_bytes(|bytes| push_bulk(out, bytes));
        }
        if !full(out) {
            return;
        }
    }
    if stream.is_empty() {
        // It leaves nothing behind, unlike an entry that is added and trimmed away.
        let words = [b"XGROUP", b"CREATE", key, PASSING_GROUP, b"0", b"MKSTREAM"];
        push_command(out, words.into_iter());
        push_command(out, [&b"XGROUP"[..], b"DESTROY", key, PASSING_GROUP].into_iter());
    }
    let Counts { last_id, max_deleted, added } = stream.counts();
    let (last_id, max_deleted, added) = (last_id.text(), max_deleted.text(), added.to_string());
    let words = [
        b"XSETID",
        key,
        last_id.as_bytes(),
        b"ENTRIESADDED",
        added.as_bytes(),
        b"MAXDELETEDID",
        max_deleted.as_bytes(),
    ];
    push_command(out, words.into_iter());
    for (name, group) in stream.groups() {
        if !push_group(out, key, (name, group), full) {
            return;
        }
    }
}

/// False where nobody wants more.
fn push_group(
    out: &mut Vec<u8>,
    key: &[u8],
    (name, group): (&[u8], &Group),
    full: Full<'_>,
) -> bool {
    let read = group.entries_read.map_or("-1".to_owned(), |read| read.to_string());
    let last_id = group.last_id.text();
    let words =
        [b"XGROUP", b"CREATE", key, name, last_id.as_bytes(), b"ENTRIESREAD", read.as_bytes()];
    push_command(out, words.into_iter());
    for (consumer_name, consumer) in group.consumers() {
        let words = [&b"XGROUP"[..], b"CREATECONSUMER", key, name, consumer_name];
        push_command(out, words.into_iter());
        for id in consumer.pending_from(StreamId::MIN) {
            let Some(pending) = group.pending(id) else { continue };
            let at = pending.delivered_ms.to_string();
            let count = pending.told_deliveries().to_string();
            let id = id.text();
            let words = [
                b"XCLAIM",
                key,
                name,
                consumer_name,
                b"0",
                id.as_bytes(),
                b"TIME",
                at.as_bytes(),
                b"RETRYCOUNT",
                count.as_bytes(),
                b"JUSTID",
                b"FORCE",
            ];
            push_command(out, words.into_iter());
            if !full(out) {
                return false;
            }
        }
    }
    for id in group.released() {
        let Some(pending) = group.pending(id) else { continue };
        let (id, count) = (id.text(), pending.told_deliveries().to_string());
        let words = [&b"XNACK"[..], key, name, b"FAIL", b"IDS", b"1", id.as_bytes()];
        let options = [&b"RETRYCOUNT"[..], count.as_bytes(), b"FORCE"];
        push_command(out, words.into_iter().chain(options).collect::<Vec<_>>().into_iter());
        if !full(out) {
            return false;
        }
    }
    true
}
