//! The stream of changes as INFO, snapshots and restarts show it, on a whole engine over a simulated disk.

#![expect(clippy::unwrap_used, reason = "a test may fail this way")]

mod embedded;

use std::path::Path;
use std::sync::Arc;

use embedded::{Embedded, settings};
use redstart::base::checksum::crc64;
use redstart::base::env::{Env, Stopwatch, Threads};
use redstart::base::sim_disk::{SimClock, SimDisk};
use redstart::config::kinds::Allowed;
use redstart::journal::{Cursor, Read, Unlogged};
use redstart::persist::aof_encode::{FrameHeader, HEADER_BYTES_MAX, push_select};
use redstart::rdb::encode::{self, EncodeOptions};
use redstart::resp::record::push_command;

struct World {
    disk: SimDisk,
    clock: Arc<SimClock>,
    seed: u64,
    server: Embedded,
}

impl World {
    fn on(disk: SimDisk, seed: u64, appendonly: &str) -> Self {
        let clock = Arc::new(SimClock::default());
        clock.advance(1_000_000_000 * (seed + 1));
        let env = Env {
            clock: Arc::clone(&clock) as Arc<_>,
            stopwatch: Stopwatch::still(),
            disk: Arc::new(disk.clone()),
            threads: Threads::None,
            seed,
        };
        let mut settings =
            settings(&[("appendonly", appendonly), ("save", ""), ("repl-backlog-size", "100kb")]);
        settings.enable_debug_command = Allowed::Yes;
        let server = Embedded::open(env, settings).unwrap();
        Self { disk, clock, seed, server }
    }

    fn new(appendonly: &str) -> Self {
        Self::on(SimDisk::default(), 1, appendonly)
    }

    /// What comes after the process was killed, or ended itself.
    fn again(self, appendonly: &str) -> Self {
        Self::on(self.disk.kill(), self.seed + 1, appendonly)
    }

    fn words(&mut self, line: &str) -> String {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        String::from_utf8(self.server.call(&words)).unwrap()
    }

    fn info(&mut self, field: &str) -> String {
        let text = self.words("INFO replication");
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("{field} in {text}")).to_owned()
    }

    fn number(&mut self, field: &str) -> i64 {
        self.info(field).parse().unwrap()
    }

    /// Id, id before, offset, end of what was before.
    fn history(&mut self) -> (String, String, i64, i64) {
        let [id, before] = ["master_replid", "master_replid2"].map(|field| self.info(field));
        (id, before, self.number("master_repl_offset"), self.number("second_repl_offset"))
    }
}

fn none() -> String {
    "0".repeat(40)
}

const SELECT_AND_SET: i64 = 23 + 27;

#[test]
fn a_start_goes_on_from_what_was_found() {
    let mut world = World::new("yes");
    let (first, before, offset, second) = world.history();
    assert_eq!((before, offset, second), (none(), 0, -1));
    world.words("SET a 1");
    assert_eq!(world.number("master_repl_offset"), SELECT_AND_SET);
    world.words("GET a");
    world.words("MULTI");
    world.words("SET a 2");
    world.words("SET b 2");
    world.words("EXEC");
    let end = SELECT_AND_SET + 15 + 2 * 27 + 14;
    assert_eq!(world.number("master_repl_offset"), end);
    // Killed.
    let mut world = world.again("yes");
    let (second_id, before, offset, second) = world.history();
    assert_ne!(second_id, first);
    assert_eq!((before, offset, second), (first, end, end + 1));
    // Ended, with something that the log only notes at the end of the stream.
    world.words("SET c 3");
    world.server.engine.journal.append_unlogged(Unlogged::Ping);
    let end = end + SELECT_AND_SET + Unlogged::Ping.bytes().len() as i64;
    assert_eq!(world.number("master_repl_offset"), end);
    world.words("SHUTDOWN NOSAVE");
    let mut world = world.again("yes");
    let (third_id, before, offset, second) = world.history();
    assert_eq!((before, offset, second), (second_id, end, end + 1));
    // A rewrite leaves the place where it is; nothing of what it needs is in the stream.
    world.words("BGREWRITEAOF");
    world.server.settle();
    world.server.settle();
    assert!(world.words("INFO persistence").contains("aof_rewrites:1"));
    assert_eq!(world.number("master_repl_offset"), end);
    let mut world = world.again("yes");
    let (_, before, offset, _) = world.history();
    assert_eq!((before, offset), (third_id, end));
}

#[test]
fn a_snapshot_says_where_it_is_while_the_stream_is_recorded() {
    let mut world = World::new("yes");
    world.words("SET a 1");
    world.words("SAVE");
    let (id, _, offset, _) = world.history();
    let text = world.disk.contents(Path::new("dump.rdb")).unwrap();
    let has = |word: &[u8]| holds(&text, word);
    assert!(has(b"repl-id") && has(b"repl-offset") && has(b"repl-stream-db"));
    assert!(has(id.as_bytes()));
    world.words("SET b 1");
    // Without its log: the snapshot's place, kept for replicas that may come back.
    let mut world = world.again("no");
    let (_, before, now, _) = world.history();
    assert_eq!((before, now), (id.clone(), offset));
    assert_eq!(world.info("repl_backlog_active"), "1");
    // Nobody comes.
    world.clock.advance(3_602_000_000_000);
    (0..20).for_each(|_| world.server.engine.cron_tick());
    assert_eq!(world.info("repl_backlog_active"), "0");
    world.words("SET c 1");
    assert_eq!(world.number("master_repl_offset"), offset, "nobody reads the stream");
    world.words("SAVE");
    let text = world.disk.contents(Path::new("dump.rdb")).unwrap();
    assert!(!holds(&text, b"repl-id"), "no stream leads there");
    let mut world = world.again("no");
    assert_eq!(world.history().1, none());
}

/// Keys that are left out since their time has come are in the stream's data all the same: who goes on from
/// there is told of them.
#[test]
fn a_snapshot_with_expired_keys_keeps_its_place_and_deletes_them() {
    for (expires, deleted) in [("PX 1500", true), ("PX 90000", false)] {
        let mut world = World::new("yes");
        world.words(&format!("SET a 1 {expires}"));
        world.words("SAVE");
        let (id, _, offset, _) = world.history();
        let mut world = World::on(world.disk.kill(), 6, "no");
        let (_, before, now, _) = world.history();
        assert_eq!(before, id, "{expires}");
        assert_eq!(now > offset, deleted, "{expires}");
    }
}

#[test]
fn a_history_ends_where_nobody_recorded_it() {
    let mut world = World::new("yes");
    world.words("SET a 1");
    let (id, _, offset, _) = world.history();
    world.words("CONFIG SET appendonly no");
    world.words("SET a 2");
    assert_eq!(world.history().2, offset);
    world.words("CONFIG SET appendonly yes");
    world.server.settle();
    world.server.settle();
    let (again, before, now, _) = world.history();
    assert_ne!(again, id);
    assert_eq!((before, now), (none(), offset));
    world.words("DEBUG CHANGE-REPL-ID");
    let changed = world.info("master_replid");
    assert_ne!(changed, again);
    world.words("SET a 3");
    let (_, _, offset, _) = world.history();
    let mut world = world.again("yes");
    let (_, before, now, _) = world.history();
    assert_eq!((before, now), (changed, offset));
}

#[test]
fn the_backlog_is_told_as_it_is() {
    let mut world = World::new("yes");
    world.words("SET before 1");
    let start = world.number("master_repl_offset");
    world.server.engine.keep_backlog();
    let fields = ["active", "size", "first_byte_offset", "histlen"];
    let told =
        |world: &mut World| fields.map(|field| world.number(&format!("repl_backlog_{field}")));
    assert_eq!(told(&mut world), [1, 102_400, start + 1, 0]);
    world.words("SET k v");
    let end = world.number("master_repl_offset");
    assert_eq!(told(&mut world), [1, 102_400, start + 1, end - start]);
    let mut cursor = Cursor { offset: start as u64 };
    let journal = &mut world.server.engine.journal;
    let expected = &b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n"[..];
    assert_eq!(cursor.next(journal), Read::Chunk(expected.to_vec().into()));
    assert_eq!(cursor.next(journal), Read::CaughtUp);
    for key in 0..200 {
        world.words(&format!("SET key:{key} {}", "x".repeat(2000)));
    }
    let end = world.number("master_repl_offset");
    assert_eq!(told(&mut world), [1, 102_400, end - 102_400 + 1, 102_400]);
    assert_eq!(cursor.next(&mut world.server.engine.journal), Read::Gone);
    world.words("CONFIG SET repl-backlog-size 50kb");
    assert_eq!(told(&mut world), [1, 51_200, end - 51_200 + 1, 51_200]);
}

/// A log of before loads, and what follows in it has a place.
#[test]
fn a_log_of_the_earlier_form_goes_on() {
    let disk = SimDisk::default();
    let mut base = Vec::new();
    encode::header(&mut base, &EncodeOptions::default());
    encode::end(&mut base);
    let checksum = crc64(&base);
    base.extend_from_slice(&checksum.to_le_bytes());
    disk.place(Path::new("appendonlydir/appendonly.aof.1.base.rdb"), &base);
    let mut payload = Vec::new();
    push_select(&mut payload, 0);
    push_command(&mut payload, [&b"SET"[..], b"old", b"1"].into_iter());
    let mut room = [0; HEADER_BYTES_MAX];
    let start = FrameHeader::of(1, &payload).write_before(&mut room);
    let frame = [&room[start..], &payload].concat();
    disk.place(Path::new("appendonlydir/appendonly.aof.1.incr.aof"), &frame);
    let manifest = "file appendonly.aof.1.base.rdb seq 1 type b\n\
        file appendonly.aof.1.incr.aof seq 1 type i\n";
    disk.place(Path::new("appendonlydir/appendonly.aof.manifest"), manifest.as_bytes());
    let mut world = World::on(disk, 1, "yes");
    let (id, before, offset, _) = world.history();
    assert_eq!((before, offset), (none(), 0));
    world.words("SET new 1");
    let offset = world.number("master_repl_offset");
    let mut world = world.again("yes");
    assert_eq!(world.words("MGET old new"), "*2\r\n$1\r\n1\r\n$1\r\n1\r\n");
    let (_, before, now, _) = world.history();
    assert_eq!((before, now), (id, offset));
}

fn holds(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part == word)
}
