//! Somebody sets the clock on the wall: what lasts so long or so long goes by the other one.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod embedded;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use embedded::{Embedded, Peer, settings};
use redstart::base::env::{Clock, Env, Stopwatch, Threads};
use redstart::base::sim_disk::SimDisk;

const HOUR_MICROS: i64 = 3_600_000_000;

/// Two clocks that go apart.
#[derive(Debug, Default)]
struct Clocks {
    wall_micros: AtomicI64,
    steady_nanos: AtomicU64,
}

impl Clock for Clocks {
    fn unix_micros(&self) -> i64 {
        self.wall_micros.load(Ordering::Relaxed)
    }

    fn monotonic_nanos(&self) -> u64 {
        self.steady_nanos.load(Ordering::Relaxed)
    }
}

impl Clocks {
    fn pass(&self, seconds: u64) {
        self.wall_micros.fetch_add(seconds as i64 * 1_000_000, Ordering::Relaxed);
        self.steady_nanos.fetch_add(seconds * 1_000_000_000, Ordering::Relaxed);
    }
}

struct World {
    clocks: Arc<Clocks>,
    disk: SimDisk,
    server: Embedded,
    replica: Peer,
    client: Peer,
}

impl World {
    /// A primary with a replica in step, and a client.
    fn new() -> Self {
        let clocks = Arc::new(Clocks::default());
        clocks.wall_micros.store(1_700_000_000_000_000, Ordering::Relaxed);
        clocks.pass(100);
        let disk = SimDisk::default();
        let env = Env {
            clock: Arc::clone(&clocks) as Arc<_>,
            stopwatch: Stopwatch::still(),
            disk: Arc::new(disk.clone()),
            threads: Threads::None,
            seed: 1,
        };
        let settings = settings(&[
            ("appendonly", "no"),
            ("save", ""),
            ("repl-timeout", "60"),
            ("repl-backlog-ttl", "600"),
            ("repl-diskless-sync-delay", "0"),
            ("min-replicas-to-write", "1"),
            ("timeout", "60"),
        ]);
        let server = Embedded::open(env, settings).expect("an empty disk");
        let (replica, client) = (server.join(), server.join());
        let mut world = Self { clocks, disk, server, replica, client };
        for line in ["REPLCONF capa psync2", "PSYNC ? -1"] {
            world.say(line);
        }
        world.seconds(2);
        world.say("REPLCONF ACK 0");
        assert!(world.info("slave0").contains("state=online"), "{}", world.info("slave0"));
        world
    }

    /// The replica says something.
    fn say(&mut self, line: &str) {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.server.send_as(&self.replica, &words);
        self.server.settle();
    }

    /// Time passes: what is looked at once a second is looked at.
    fn seconds(&mut self, count: u64) {
        for _ in 0..count {
            self.clocks.pass(1);
            for _ in 0..self.server.engine.settings.hz {
                self.server.engine.cron_tick();
            }
            // Who asks is not silent.
            self.words("PING");
            self.server.settle();
        }
    }

    /// The same, while nobody asks for anything.
    fn unwatched_seconds(&mut self, count: u64) {
        for _ in 0..count {
            self.clocks.pass(1);
            self.server.engine.cron_tick();
            self.server.settle();
        }
    }

    fn words(&mut self, line: &str) -> String {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        String::from_utf8(self.server.call(&words)).expect("text")
    }

    fn info(&mut self, field: &str) -> String {
        let text = self.words("INFO");
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("{field} in {text}")).to_owned()
    }

    /// Whether the other client is served.
    fn is_served(&mut self) -> bool {
        self.server.send_as(&self.client, &[b"PING"]);
        self.server.settle();
        self.client.take_replies() == b"+PONG\r\n"
    }
}

#[test]
fn a_clock_that_jumps_cuts_no_link() {
    for jump in [HOUR_MICROS, -HOUR_MICROS] {
        let mut world = World::new();
        world.clocks.wall_micros.fetch_add(jump, Ordering::Relaxed);
        world.seconds(2);
        assert_eq!(world.words("SET a 1"), "+OK\r\n", "the replica counts as heard of");
        assert!(world.info("slave0").ends_with("lag=2"), "{}", world.info("slave0"));
        assert!(world.is_served());
    }
}

#[test]
fn a_backlog_outlives_a_jump() {
    let mut world = World::new();
    world.say("QUIT");
    assert_eq!(world.info("connected_slaves"), "0");
    world.clocks.wall_micros.fetch_add(HOUR_MICROS, Ordering::Relaxed);
    world.seconds(2);
    assert_eq!(world.info("repl_backlog_active"), "1");
    world.seconds(600);
    assert_eq!(world.info("repl_backlog_active"), "0");
}

/// The clock is put back: who is silent is closed when their time is over, not an hour later.
#[test]
fn silence_ends_in_time_whatever_the_clock_says() {
    let mut world = World::new();
    world.clocks.wall_micros.fetch_sub(HOUR_MICROS, Ordering::Relaxed);
    world.seconds(62);
    assert_eq!(world.info("connected_slaves"), "0");
    assert!(!world.is_served());
}

/// BLPOP, WAIT and CLIENT PAUSE went by the clock on the wall: set forward, it ended them early; put back, it
/// held them for an hour.
#[test]
fn who_waits_waits_as_long_as_it_said() {
    for jump in [HOUR_MICROS, -HOUR_MICROS] {
        for (line, answer) in [
            ("BLPOP list 10", "*-1\r\n"),
            ("XREAD BLOCK 10000 STREAMS stream $", "*-1\r\n"),
            ("WAIT 2 10000", ":1\r\n"),
            ("CLIENT PAUSE 10000", "+OK\r\n+PONG\r\n"),
        ] {
            let mut world = World::new();
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            world.server.send_as(&world.client, &words);
            if line.starts_with("CLIENT") {
                world.server.send_as(&world.client, &[b"PING"]);
            }
            world.server.settle();
            world.clocks.wall_micros.fetch_add(jump, Ordering::Relaxed);
            world.unwatched_seconds(9);
            let early = world.client.take_replies();
            assert!(early == b"" || early == b"+OK\r\n", "{line}, {jump}: {early:?} too early");
            world.unwatched_seconds(2);
            let all = [early, world.client.take_replies()].concat();
            assert_eq!(String::from_utf8_lossy(&all), answer, "{line}, {jump}");
        }
    }
}

/// `save` points went by the clock on the wall: put back an hour, it held snapshots for an hour.
#[test]
fn a_snapshot_that_is_due_comes_in_time() {
    for jump in [HOUR_MICROS, -HOUR_MICROS] {
        let mut world = World::new();
        world.server.call(&[b"CONFIG", b"SET", b"save", b"10 1"]);
        assert_eq!(world.words("SET a 1"), "+OK\r\n");
        world.clocks.wall_micros.fetch_add(jump, Ordering::Relaxed);
        world.seconds(5);
        assert_eq!(world.info("rdb_saves"), "0", "{jump}");
        world.seconds(9);
        assert_eq!(world.info("rdb_saves"), "1", "{jump}");
    }
}

/// So did the time until a walk that failed is tried again.
#[test]
fn a_walk_that_failed_is_tried_again_in_time() {
    for jump in [HOUR_MICROS, -HOUR_MICROS] {
        let mut world = World::new();
        world.disk.set_full(true);
        world.words("BGSAVE");
        world.seconds(1);
        assert_eq!(world.info("rdb_last_bgsave_status"), "err");
        world.disk.set_full(false);
        world.clocks.wall_micros.fetch_add(jump, Ordering::Relaxed);
        world.seconds(3);
        assert_eq!(world.info("rdb_saves"), "0", "{jump}");
        world.seconds(4);
        assert_eq!(world.info("rdb_saves"), "1", "{jump}");
    }
}

/// So did HOTKEYS: its DURATION, and how long it says that it has collected.
#[test]
fn hotkeys_collect_as_long_as_they_were_told() {
    for jump in [HOUR_MICROS, -HOUR_MICROS] {
        let mut world = World::new();
        let active =
            |world: &mut World| world.words("HOTKEYS GET").contains("tracking-active\r\n:1");
        assert_eq!(world.words("HOTKEYS START METRICS 1 CPU DURATION 10"), "+OK\r\n");
        world.clocks.wall_micros.fetch_add(jump, Ordering::Relaxed);
        world.seconds(9);
        assert!(active(&mut world), "{jump}: ended early");
        let report = world.words("HOTKEYS GET");
        assert!(report.contains("collection-duration-ms\r\n:9000\r\n"), "{jump}: {report}");
        world.seconds(2);
        assert!(!active(&mut world), "{jump}: ended late");
        let report = world.words("HOTKEYS GET");
        assert!(report.contains("collection-duration-ms\r\n:10000\r\n"), "{jump}: {report}");
    }
}
