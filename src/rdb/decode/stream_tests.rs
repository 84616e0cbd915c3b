//! Streams as other servers dumped them, and what is wrong in hostile ones.

use super::*;
use crate::data::stream::{Counts, Group, Stream, StreamId};
use crate::data::value::Object;
use crate::rdb::encode::{self, EncodeOptions};

/// What redis-server 7.0.15 dumps: entries of which one is deleted, two with the same fields, and a group
/// in which two consumers have something.
const FORM_2: &str = "\
    13011000000000000000010000000000000001404c4c0000001d000301010101018161020001020100010001\
    010104010301010104018374776f04040100010201dfff020201816202817802817902817a0208010201c12b\
    02dfff0204010401ff03412c000101020504020167030081ffffffffffffffff020000000000000001000000\
    00000000010168e5cf8b010000412c000000000000000300000000000000000068e5cf8b010000070205616c\
    696365eb92dd21a2010000010000000000000001000000000000000103626f62eb92dd21a201000001000000\
    000000000300000000000000000168412c0081ffffffffffffffff0000";
/// The same of valkey-server 9.1.2.
const FORM_3: &str = "\
    15011000000000000000010000000000000001404c4c0000001d000301010101018161020001020100010001\
    010104010301010104018374776f04040100010201dfff020201816202817802817902817a0208010201c12b\
    02dfff0204010401ff03412c000101020504020167030081ffffffffffffffff020000000000000001000000\
    00000000010168e5cf8b010000412c000000000000000300000000000000000068e5cf8b010000070205616c\
    696365ed92dd21a2010000ed92dd21a2010000010000000000000001000000000000000103626f62ed92dd21\
    a2010000ed92dd21a201000001000000000000000300000000000000000168412c0081ffffffffffffffff00\
    00";

fn bytes(hex: &str) -> Vec<u8> {
    let pair = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(pair).collect()
}

fn decoded(body: &[u8]) -> Result<Stream, DecodeError> {
    let mut reader = Reader::new(body, 64, Checksum::Ignore);
    let type_byte = reader.byte("a type")?;
    let thresholds = Thresholds::default();
    let templates = Templates::default();
    let context =
        Context { thresholds: &thresholds, writer: Dialect::Redis, templates: &templates };
    match object(&mut reader, 0, type_byte, context)? {
        OwnedValue::Object(Object::Stream(stream)) => Ok(stream),
        other => panic!("no stream: {other:?}"),
    }
}

fn encoded(stream: &Stream, version: u16) -> Vec<u8> {
    let mut out = Vec::new();
    let object = Object::Stream(stream.clone());
    let options = EncodeOptions { version, ..EncodeOptions::default() };
    encode::value(&mut out, &options, crate::data::value::ValueRef::Object((&object).into()));
    out
}

#[test]
fn streams_of_other_servers_are_read_and_written_alike() {
    for (hex, version) in [(FORM_2, 10), (FORM_3, 11)] {
        let stream = decoded(&bytes(hex)).unwrap();
        let id = |ms, seq| StreamId { ms, seq };
        let counts = Counts { last_id: id(300, 0), max_deleted: id(2, 5), added: 4 };
        assert_eq!((stream.len(), stream.counts()), (3, counts));
        let group = stream.group(b"g").unwrap();
        assert_eq!((group.last_id, group.entries_read), (id(3, 0), None));
        let names = group.names();
        let pending: Vec<_> = group
            .pending_from(StreamId::MIN)
            .map(|p| (p.id, p.delivered_ms, p.deliveries, p.consumer.name_in(&names)))
            .collect();
        let first = (id(1, 1), 1_700_000_000_001, 300, &b"alice"[..]);
        assert_eq!(pending, [first, (id(3, 0), 1_700_000_000_000, 7, &b"bob"[..])]);
        assert_eq!(encoded(&stream, version), bytes(hex));
    }
    // The first form doesn't tell what was deleted.
    let stream = decoded(&bytes(FORM_2)).unwrap();
    let first_form = decoded(&encoded(&stream, 9)).unwrap();
    assert_eq!((first_form.len(), first_form.group_count()), (3, 2));
    let counts = Counts { max_deleted: StreamId::MIN, added: 3, ..stream.counts() };
    assert_eq!(first_form.counts(), counts);
}

/// By the description of Redis 8.8's form: no node, and a group in which three entries are pending; one
/// is alice's, two were given back, the later id first. Then what is remembered of a producer.
const FORM_5: &str = "\
    1b000009000000000009\
    01016705000303\
    0000000000000001000000000000000068e5cf8b0100000001\
    00000000000000020000000000000000000000000000000002\
    000000000000000300000000000000000000000000000000817fffffffffffffff\
    0105616c696365eb92dd21a2010000ffffffffffffffff01\
    00000000000000010000000000000000\
    02\
    00000000000000030000000000000000\
    00000000000000020000000000000000\
    40644064010170010169010005\
    01";

#[test]
fn entries_that_were_given_back_keep_their_order() {
    let body = bytes(FORM_5);
    let stream = decoded(&body).unwrap();
    let id = |ms| StreamId { ms, seq: 0 };
    let group = stream.group(b"g").unwrap();
    assert_eq!(group.released().collect::<Vec<_>>(), [id(3), id(2)]);
    let told: Vec<i64> =
        group.pending_from(StreamId::MIN).map(|pending| pending.told_deliveries()).collect();
    assert_eq!(told, [1, 2, i64::MAX]);
    // Producers are read over. Whatever the version, the form is the one that can tell.
    for version in [10, 12, 14] {
        let again = encoded(&stream, version);
        assert_eq!(again[0], 27);
        assert_eq!(decoded(&again).unwrap(), stream);
        assert_eq!(decoded(&again).unwrap().group(b"g").unwrap().released_len(), 2);
        assert!(again.ends_with(&bytes("40644064000000")));
    }
    // Alice's entry can't have been given back, too, and no entry twice.
    let last_given_back = body.len() - 14 - 16;
    for wrong in [1, 3, 9] {
        let mut body = body.clone();
        body[last_given_back + 7] = wrong;
        assert!(decoded(&body).is_err(), "{wrong}");
    }
    for end in 1..body.len() {
        assert!(decoded(&body[..end]).is_err(), "cut at {end}");
    }
}

/// XSETID may put a count to the end of what a command can tell. With the next XADD it was greater, and
/// then neither a snapshot of the stream could be loaded nor its DUMP restored.
#[test]
fn counts_stay_within_what_can_be_read_again() {
    const MOST: u64 = i64::MAX as u64;
    let id = |ms| StreamId { ms, seq: 0 };
    let mut stream = Stream::default();
    stream.set_counts(Counts { added: MOST - 1, ..Counts::default() });
    stream.add_group(b"g", Group::new(StreamId::MIN, Some(MOST - 1)));
    let ids = [id(1), id(2), id(3)];
    for id in ids {
        stream.push(id, [&b"f"[..], b"v"].into_iter(), &Thresholds::default()).unwrap();
    }
    stream.edit_group(b"g", |group| group.last_id = id(1));
    let read = stream.count_read(stream.group(b"g").unwrap(), &ids[1..]);
    assert_eq!((stream.counts().added, read), (MOST, Some(MOST)));
    stream.edit_group(b"g", |group| group.entries_read = read);
    assert!(decoded(&encoded(&stream, 10)).unwrap() == stream);
}

#[test]
fn a_stream_without_an_entry_is_one() {
    let mut stream = Stream::default();
    stream.set_counts(Counts { last_id: StreamId { ms: 5, seq: 1 }, ..Counts::default() });
    assert!(decoded(&encoded(&stream, 10)).unwrap() == stream);
}

#[test]
fn damaged_streams_are_refused_or_read_but_never_believed() {
    for hex in [FORM_2, FORM_3] {
        let body = bytes(hex);
        for end in 1..body.len() {
            assert!(decoded(&body[..end]).is_err(), "cut at {end}");
        }
        for at in 1..body.len() {
            for wrong in [0, 1, 0x7f, 0x80, 0xff, body[at] ^ 1] {
                let mut body = body.clone();
                body[at] = wrong;
                // Whatever is read is whole: it can be gone through, and written down.
                if let Ok(stream) = decoded(&body) {
                    let again = encoded(&stream, 11);
                    assert_eq!(decoded(&again).unwrap().len(), stream.len(), "{at} as {wrong}");
                    assert!(!format!("{stream:?}").is_empty());
                }
            }
        }
    }
}

#[test]
fn a_stream_of_many_nodes_is_read_as_one_of_few() {
    let thresholds = Thresholds { stream_node_entries: 1, ..Thresholds::default() };
    let mut stream = Stream::default();
    for ms in 1..=1_500 {
        let value = ms.to_string();
        let fields = [&b"field"[..], value.as_bytes()];
        stream.push(StreamId { ms, seq: 0 }, fields.into_iter(), &thresholds).unwrap();
    }
    let body = encoded(&stream, 11);
    assert!(decoded(&body).unwrap() == stream);
    // Wherever it breaks off, and whatever is wrong in a node, is found; of two faults the first.
    for cut in (0..body.len()).step_by(body.len() / 40) {
        assert!(matches!(decoded(&body[..cut]), Err(DecodeError::Truncated { .. })), "at {cut}");
    }
    let flags = |ms: u64| {
        let entry = [2, 1, 0, 1, 0, 1];
        let nodes: Vec<usize> =
            (0..body.len() - 6).filter(|at| body[*at..*at + 6] == entry).collect();
        nodes[ms as usize]
    };
    for ms in [0, 63, 64, 700, 1_499] {
        let mut bad = body.clone();
        bad[flags(ms)] = 9;
        for cut in [bad.len() - 1, bad.len()] {
            match decoded(&bad[..cut]) {
                Err(DecodeError::Collection { found, .. }) => assert_eq!(found, "unknown flags"),
                other => panic!("node {ms}: {:?}", other.map(|stream| stream.len())),
            }
        }
    }
}
