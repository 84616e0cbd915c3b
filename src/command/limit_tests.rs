//! Values at the limits of their size: the client is told, and nothing is lost.

use crate::command::generic_tests::World;
use crate::data::index::{Room, lowered};

/// Half a chunk of the arena's, as text.
const ELEMENT_BYTES: usize = 1_500;

fn element(number: usize) -> String {
    format!("{number:0ELEMENT_BYTES$}")
}

const FULL: &str = "-ERR collection exceeds maximum allowed size (8 GiB of short elements)";

/// Adds until nothing more goes in; says how much went in.
fn fill(world: &mut World, command: &str) -> usize {
    (0..1_000).find(|number| world.run(&format!("{command}{}", element(*number))) == FULL).unwrap()
}

/// One collection in a lowered room for three chunks of 14 KiB.
#[test]
fn a_collection_that_is_full_takes_nothing_and_loses_nothing() {
    lowered::set(Some(3));
    for (add, more, count) in [
        ("SADD k ", "SADD k small", "SCARD k"),
        ("HSET k f 1 ", "HSET k small 1", "HLEN k"),
        ("ZADD k 1 ", "ZADD k 2 small", "ZCARD k"),
    ] {
        let mut world = World::new();
        // HSET has its value last.
        let add = if add.starts_with("HSET") { "HINCRBY k " } else { add };
        let held = if add.starts_with("HINCRBY") {
            (0..1_000)
                .find(|number| world.run(&format!("{add}{} 1", element(*number))) == FULL)
                .unwrap()
        } else {
            fill(&mut world, add)
        };
        assert!((9..60).contains(&held), "{add}: {held}");
        assert_eq!(world.run(more), FULL);
        assert_eq!((world.run(count), world.logged()), (format!(":{held}"), String::new()));
        // What takes away goes on, and makes room.
        let removal =
            count.replace("SCARD", "SREM").replace("HLEN", "HDEL").replace("ZCARD", "ZREM");
        for number in 0..held {
            assert_eq!(world.run(&format!("{removal} {}", element(number))), ":1");
        }
        assert_eq!(world.run(more), ":1");
        assert_eq!(world.run(count), ":1");
    }
    lowered::set(None);
}

#[test]
fn what_a_full_collection_refuses_leaves_the_rest_as_it_was() {
    lowered::set(Some(3));
    let mut world = World::new();
    let held = fill(&mut world, "SADD full ");
    world.run("SADD other small");
    assert_eq!(world.run("SMOVE other full small"), FULL);
    assert_eq!(world.run("SCARD other"), ":1");
    // A result that has no room replaces nothing.
    for number in held..2 * held {
        world.run(&format!("SADD second {}", element(number)));
    }
    world.run("SET result old");
    assert_eq!(world.run("SUNIONSTORE result full second"), FULL);
    assert_eq!(world.run("ZUNIONSTORE result 2 full second"), FULL);
    assert_eq!(world.run("GET result"), "$3|old");
    // Times take room in a hash.
    for number in 0..1_000 {
        if world.run(&format!("HSET hash {} 1", element(number))) == FULL {
            break;
        }
    }
    let name = element(0);
    assert_eq!(world.run(&format!("HEXPIRE hash 100 FIELDS 1 {name}")), FULL);
    assert_eq!(world.run(&format!("HGETEX hash EX 100 FIELDS 1 {name}")), FULL);
    assert_eq!(world.run(&format!("HTTL hash FIELDS 1 {name}")), "*1|:-1");
    // The log's word is law: it has more room, so that what went in once goes in again.
    world.databases.room = Room::All;
    assert_eq!(world.run("SADD full small"), ":1");
    lowered::set(None);
}

#[test]
fn a_payload_with_more_than_there_is_room_for_is_refused() {
    let mut world = World::new();
    for number in 0..100 {
        world.run(&format!("SADD set {}", element(number)));
    }
    let dumped = crate::rdb::encode::dump_payload(
        world.databases.db(crate::keyspace::databases::DbIndex(0)).peek(b"set").unwrap().value(),
        10,
    );
    lowered::set(Some(3));
    let reply = world.run_words(&[b"RESTORE", b"copy", b"0", &dumped]);
    assert!(reply.starts_with("-ERR"), "{reply}");
    assert_eq!(world.run("EXISTS copy"), ":0");
    lowered::set(None);
    assert_eq!(world.run_words(&[b"RESTORE", b"copy", b"0", &dumped]), "+OK");
}

#[test]
fn strings_end_at_proto_max_bulk_len() {
    let mut world = World::new();
    world.limits.string_bytes_max = 10;
    let too_long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    for (command, reply) in [
        ("APPEND k 12345678", ":8"),
        ("APPEND k 901", too_long),
        ("APPEND k 90", ":10"),
        ("APPEND k x", too_long),
        ("SETRANGE k 9 ab", too_long),
        ("SETRANGE k 9223372036854775807 ab", too_long),
        ("SETRANGE k 8 ab", ":10"),
        ("SETRANGE new 10 x", too_long),
        ("EXISTS new", ":0"),
        ("GET k", "$10|12345678ab"),
    ] {
        assert_eq!(world.run(command), reply, "{command}");
    }
    // What is in the log was within the limit of its time.
    world.replaying = true;
    assert_eq!(world.run("APPEND k x"), ":11");
}

#[test]
fn a_record_of_spop_is_bounded_in_members_and_bytes() {
    let mut world = World::new();
    let big = 3 << 20;
    for number in 0..12 {
        world.run(&format!("SADD s {number}{}", "x".repeat(big)));
    }
    for number in 0..2_500 {
        world.run(&format!("SADD t {number}"));
    }
    world.run("SPOP s 11");
    let lengths: Vec<usize> =
        world.databases.unit.records().map(|(_, bytes)| bytes.len()).collect();
    assert!(lengths.len() == 2 && lengths.iter().all(|len| *len < 20 << 20), "{lengths:?}");
    world.run("SPOP t 2400");
    assert_eq!(world.databases.unit.record_count(), 3);
    assert_eq!((world.run("SCARD s"), world.run("SCARD t")), (":1".into(), ":100".into()));
}
