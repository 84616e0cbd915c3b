//! The stream's bytes, its offset, and what cursors read of it.

use super::*;
use crate::base::env::Rng;
use crate::resp::record::push_command;

fn record(word: &str) -> Vec<u8> {
    let mut out = Vec::new();
    push_command(&mut out, [word.as_bytes()].into_iter());
    out
}

fn id(seed: u64) -> ReplicationId {
    ReplicationId::random(&mut Rng::from_seed(seed))
}

fn recording() -> Journal {
    let mut journal = Journal::new(id(1));
    journal.set_recording(true, || unreachable!("nothing has changed yet"));
    journal
}

/// What the log gets, with the offset where it begins.
fn sealed(journal: &mut Journal) -> Vec<(u64, Option<u32>, String)> {
    journal.seal(|sealed| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        sealed
            .parts()
            .map(|part| match part {
                SealedPart::Units { offset, db, bytes } => (offset, db, text(bytes)),
                SealedPart::Unlogged(what) => (u64::MAX, None, format!("{what:?}")),
            })
            .collect()
    })
}

#[test]
fn the_stream_is_that_of_redis() {
    let mut journal = recording();
    journal.append(0, &record("A"));
    journal.append(0, &record("B"));
    let unit = [(0, record("C")), (3, record("D"))];
    journal.append_unit(unit.iter().map(|(db, record)| (*db, record.as_slice())));
    journal.append_unit(std::iter::empty());
    let wanted = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*1\r\n$1\r\nA\r\n*1\r\n$1\r\nB\r\n\
        *1\r\n$5\r\nMULTI\r\n*1\r\n$1\r\nC\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*1\r\n$1\r\nD\r\n\
        *1\r\n$4\r\nEXEC\r\n";
    assert_eq!(journal.offset(), wanted.len() as u64);
    assert_eq!(sealed(&mut journal), [(0, None, wanted.to_owned())]);
    assert_eq!(sealed(&mut journal), []);
    journal.append(3, &record("E"));
    let at = wanted.len() as u64;
    assert_eq!(sealed(&mut journal), [(at, Some(3), "*1\r\n$1\r\nE\r\n".to_owned())]);
    journal.forget_selected();
    journal.append(3, &record("F"));
    assert!(sealed(&mut journal)[0].2.starts_with("*2\r\n$6\r\nSELECT"));
}

#[test]
fn what_the_log_only_notes_counts_and_is_told_apart() {
    let mut journal = recording();
    journal.append(0, &record("A"));
    journal.append_unlogged(Unlogged::Ping);
    journal.append_unlogged(Unlogged::GetAck);
    journal.append_raw(&record("B"), Some(2));
    let end = journal.offset();
    journal.append_unlogged(Unlogged::Ping);
    assert_eq!(journal.units_end(), end);
    let [ping, ask] = [Unlogged::Ping, Unlogged::GetAck].map(|what| what.bytes().len() as u64);
    let parts = sealed(&mut journal);
    let [a, b] = [&parts[0], &parts[3]].map(|part| (part.0, part.1, part.2.len() as u64));
    assert_eq!((a.0, a.1, b), (0, None, (a.2 + ping + ask, Some(0), 11)));
    let names: Vec<_> = [1, 2, 4].map(|at: usize| parts[at].2.as_str()).into();
    assert_eq!(names, ["Ping", "GetAck", "Ping"]);
    assert_eq!((parts.len(), journal.offset()), (5, a.2 + ask + 2 * ping + 11));
    assert_eq!(journal.units_end(), end);
    journal.append_unlogged(Unlogged::Ping);
    assert_eq!((sealed(&mut journal).len(), journal.units_end()), (1, end));
    journal.append(2, &record("C"));
    assert_eq!(journal.units_end(), journal.offset());
    assert_eq!(sealed(&mut journal)[0].1, Some(2));
}

#[test]
fn cursors_read_every_byte_once_from_any_offset() {
    let mut rng = Rng::from_seed(3);
    let mut journal = recording();
    journal.append(0, &record("before the backlog"));
    sealed(&mut journal);
    let start = journal.offset();
    journal.keep_backlog(1 << 30);
    let mut stream = Vec::new();
    let mut cursors: Vec<(Cursor, Vec<u8>)> = Vec::new();
    for tick in 0..400 {
        for _ in 0..rng.below(4) {
            let word = "x".repeat(rng.below(if tick % 50 == 0 { 100_000 } else { 100 }) as usize);
            journal.append(rng.below(2) as u32, &record(&word));
            if rng.below(5) == 0 {
                journal.append_unlogged(Unlogged::Ping);
            }
        }
        if rng.below(3) == 0 {
            // Unsealed bytes are nobody's yet, and stay what they are while others read.
            for (cursor, read) in &mut cursors {
                while let Read::Chunk(bytes) = cursor.next(&mut journal) {
                    read.extend_from_slice(&bytes);
                }
            }
        }
        let more = journal.seal(|sealed| {
            let parts = sealed.parts().map(|part| match part {
                SealedPart::Units { bytes, .. } => bytes,
                SealedPart::Unlogged(what) => what.bytes(),
            });
            parts.collect::<Vec<_>>().concat()
        });
        stream.extend_from_slice(&more);
        if tick % 100 == 0 {
            let offset = start + rng.below(stream.len() as u64 + 1);
            cursors.push((Cursor { offset }, stream[..(offset - start) as usize].to_vec()));
        }
    }
    assert_eq!(journal.offset(), start + stream.len() as u64);
    for (mut cursor, mut read) in cursors {
        while let Read::Chunk(bytes) = cursor.next(&mut journal) {
            read.extend_from_slice(&bytes);
        }
        assert_eq!(cursor.next(&mut journal), Read::CaughtUp);
        assert!(read == stream);
    }
    assert_eq!(journal.read(start - 1), Read::Gone);
    assert_eq!(journal.read(journal.offset() + 1), Read::Gone);
}

#[test]
fn the_backlog_keeps_what_it_may_and_no_more() {
    let limit = 100_000;
    let mut journal = recording();
    journal.keep_backlog(limit);
    for size in [10, 300, 5_000, 3_000_000, 70, 90_000, 20].into_iter().cycle().take(700) {
        journal.append(0, &record(&"x".repeat(size)));
        sealed(&mut journal);
        let (start, bytes) = journal.backlog_extent().unwrap();
        assert_eq!((start + bytes, bytes), (journal.offset(), limit.min(journal.offset())));
        assert!(matches!(journal.read(start), Read::Chunk(_)));
        assert!(matches!(journal.read(start.wrapping_sub(1)), Read::Gone));
        // Once the huge unit has gone by.
        if size < 3_000_000 {
            let memory = journal.backlog_memory();
            assert!(memory < 3_200_000, "{memory}");
        }
    }
    journal.resize_backlog(10);
    assert_eq!(journal.backlog_extent().unwrap().1, 10);
    journal.drop_backlog();
    assert_eq!((journal.backlog_extent(), journal.read(journal.offset())), (None, Read::Gone));
    journal.append(0, &record("x"));
    sealed(&mut journal);
    assert_eq!(journal.backlog_memory(), 0);
}

#[test]
fn chunks_are_shared_and_not_copied() {
    let mut journal = recording();
    journal.keep_backlog(4 << 20);
    for size in [CHUNK_BYTES, BLOCK_KEPT_BYTES + 1] {
        let start = journal.offset();
        journal.append(0, &record(&"x".repeat(size)));
        sealed(&mut journal);
        let [one, other] = [start, start].map(|offset| match journal.read(offset) {
            Read::Chunk(bytes) => bytes.as_ptr(),
            other => panic!("{other:?}"),
        });
        assert_eq!(one, other, "whoever falls behind holds no memory of its own");
    }
}

/// A reader that follows closely must not make the backlog hold a whole block for a few bytes.
#[test]
fn what_is_held_for_a_slow_reader_takes_what_it_is_long() {
    for limit in [10, 10_000] {
        let mut journal = recording();
        journal.keep_backlog(limit);
        let from = journal.offset();
        for number in 0..50_000 {
            journal.append(0, &record("SETRANGE key 0 value"));
            sealed(&mut journal);
            journal.hold(Some(from));
            // Another follows closely.
            if number % 2 == 0 {
                assert!(matches!(journal.read(journal.offset() - 1), Read::Chunk(_)));
            }
        }
        let (_, bytes) = journal.backlog_extent().unwrap();
        let memory = journal.backlog_memory() as u64;
        assert!(bytes > 1_000_000 && memory < bytes + bytes / 20, "{bytes} in {memory}");
    }
}

#[test]
fn a_history_ends_where_changes_went_unrecorded() {
    let mut journal = Journal::new(id(1));
    let recovered = StreamPosition { id: id(2), offset: 500 };
    journal.resume(id(3), Some(recovered));
    assert_eq!((journal.position(), journal.offset()), (None, 500));
    journal.set_recording(true, || unreachable!("the history goes on"));
    let history = journal.history().clone();
    assert_eq!((history.id, history.previous), (id(3), Some(Previous { id: id(2), end: 500 })));
    assert_eq!(journal.position(), Some(StreamPosition { id: id(3), offset: 500 }));
    journal.set_recording(true, || unreachable!("it was recorded all the time"));
    journal.append(1, &record("A"));
    sealed(&mut journal);
    let offset = journal.offset();
    journal.set_recording(false, || unreachable!("nobody reads"));
    assert_eq!(journal.position(), None);
    journal.append_unlogged(Unlogged::Ping);
    journal.set_recording(true, || id(4));
    assert_eq!(*journal.history(), History { id: id(4), previous: None, is_shared: false });
    assert_eq!(journal.offset(), offset, "an offset never falls");
    journal.append(1, &record("A"));
    assert!(sealed(&mut journal)[0].2.starts_with("*2\r\n$6\r\nSELECT"), "readers are new");
}
