//! A unit is one in the log whatever happens inside it: eviction, lazy expiry, loading, flushing. Told
//! as transactions on a whole engine over a simulated disk, whose log is then read and replayed.

#![expect(clippy::unwrap_used, reason = "a test may fail this way")]

mod embedded;

use std::path::Path;
use std::sync::Arc;

use embedded::{Embedded, settings};
use redstart::base::env::{Disk, Env, Stopwatch, Threads};
use redstart::base::sim_disk::{SimClock, SimDisk};
use redstart::keyspace::databases::DbIndex;
use redstart::keyspace::unit::{Origin, Touched};
use redstart::persist::scan::{Command, Piece, Preface, Scanner, parse_command};

struct World {
    disk: SimDisk,
    clock: Arc<SimClock>,
    server: Embedded,
}

fn env(disk: &SimDisk, clock: &Arc<SimClock>) -> Env {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let clock = Arc::clone(clock) as Arc<_>;
    Env { clock, stopwatch: Stopwatch::default(), disk, threads: Threads::None, seed: 7 }
}

fn directives(save: &str) -> redstart::config::settings::Settings {
    settings(&[
        ("appendonly", "yes"),
        ("save", save),
        ("maxmemory-policy", "allkeys-random"),
        ("auto-aof-rewrite-percentage", "0"),
    ])
}

impl World {
    fn new(save: &str) -> Self {
        let (disk, clock) = (SimDisk::default(), Arc::new(SimClock::default()));
        clock.advance(1_000_000_000);
        let mut settings = directives(save);
        settings.enable_debug_command = redstart::config::kinds::Allowed::Yes;
        let server = Embedded::open(env(&disk, &clock), settings).unwrap();
        Self { disk, clock, server }
    }

    fn words(&mut self, line: &str) -> String {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        String::from_utf8(self.server.call(&words)).unwrap()
    }

    /// The names of the commands in the log, a list for each frame.
    fn log(&self) -> Vec<Vec<String>> {
        let dir = Path::new("appendonlydir");
        let mut names = self.disk.list(dir).unwrap();
        names.retain(|name| name.to_string_lossy().ends_with(".incr.aof"));
        let path = dir.join(names.pop().unwrap());
        let bytes = self.disk.contents(&path).unwrap();
        let len = bytes.len() as u64;
        let mut scanner = Scanner::new(Box::new(std::io::Cursor::new(bytes)), len);
        let mut frames = Vec::new();
        while let Piece::Frame { .. } = scanner.next_piece().unwrap() {
            let payload = scanner.payload();
            let mut command = Command { end: Preface::of(payload).end, ..Command::default() };
            let mut names = Vec::new();
            while parse_command(payload, command.end, &mut command).is_ok() {
                let words = command.words.iter().take(2).map(|word| &payload[word.clone()]);
                names.push(String::from_utf8(words.collect::<Vec<_>>().join(&b' ')).unwrap());
            }
            frames.push(names);
        }
        frames
    }

    /// A transaction of these commands between two SETs. What the log then says of it: its commands
    /// without those of the envelope.
    fn transaction(&mut self, inside: &[&str]) -> Vec<String> {
        let before = self.log().len();
        self.words("MULTI");
        self.words("SET first 1");
        for line in inside {
            assert_eq!(self.words(line), "+QUEUED\r\n");
        }
        self.words("SET last 2");
        let replies = self.words("EXEC");
        assert!(!replies.contains("-ERR"), "{replies}");
        let mut frames = self.log().split_off(before);
        frames.retain(|frame| !frame.is_empty());
        assert_eq!(frames.len(), 1, "{frames:?}");
        let mut frame = frames.pop().unwrap();
        let envelope = frame.iter().filter(|name| ["MULTI", "EXEC"].contains(&name.as_str()));
        assert_eq!(envelope.count(), 2, "{frame:?}");
        assert_eq!(frame.last().unwrap(), "EXEC");
        let begin = frame.iter().position(|name| name == "MULTI").unwrap();
        assert!(frame[..begin].iter().all(|name| name.starts_with("SELECT")), "{frame:?}");
        frame.pop();
        frame.split_off(begin + 1)
    }

    /// What a restart finds is what was in memory.
    fn restarts_as_it_is(mut self) {
        let wanted = self.server.contents();
        let left = self.disk.kill();
        let mut again = Embedded::open(env(&left, &self.clock), directives("")).unwrap();
        assert_eq!(again.contents(), wanted);
    }
}

/// CONFIG SET begins to evict when the transaction is over.
#[test]
fn an_eviction_that_a_transaction_causes_does_not_divide_it() {
    let mut world = World::new("");
    for key in 0..40 {
        world.words(&format!("SET key:{key} {key}"));
    }
    let before = world.log().len();
    for line in ["MULTI", "SET first 1", "CONFIG SET maxmemory 1", "SET last 2", "EXEC"] {
        world.words(line);
    }
    world.server.settle();
    let log = world.log().split_off(before).concat();
    let at = |name: &str| log.iter().position(|other| other == name).unwrap();
    assert_eq!(log[at("MULTI") + 1..at("EXEC")], ["SET first", "SET last"]);
    assert!(log[at("EXEC")..].iter().any(|name| name.starts_with("UNLINK ")), "{log:?}");
    world.restarts_as_it_is();
}

#[test]
fn loading_inside_a_transaction_loses_nothing_of_it() {
    for command in ["DEBUG RELOAD", "DEBUG LOADAOF"] {
        let mut world = World::new("");
        world.words("SET before 0");
        assert_eq!(world.transaction(&[command]), ["SET first", "SET last"], "{command}");
        assert!(world.words("INFO persistence").contains("changes_since_last_save:1\r\n"));
        assert_eq!(
            world.words("MGET before first last"),
            "*3\r\n$1\r\n0\r\n$1\r\n1\r\n$1\r\n2\r\n"
        );
        world.restarts_as_it_is();
    }
}

#[test]
fn what_expires_inside_a_transaction_is_part_of_it() {
    let mut world = World::new("");
    world.words("DEBUG SET-ACTIVE-EXPIRE 0");
    world.words("SET short 1 PX 5");
    world.clock.advance(10_000_000);
    assert_eq!(world.transaction(&["GET short"]), ["SET first", "UNLINK short", "SET last"]);
    world.restarts_as_it_is();
}

/// FLUSHALL saves where `save` points are set, when the transaction is over.
#[test]
fn flushing_inside_a_transaction_saves_behind_it() {
    let mut world = World::new("3600 1");
    world.words("SET before 0");
    assert_eq!(world.transaction(&["FLUSHALL"]), ["SET first", "FLUSHALL", "SET last"]);
    assert!(world.words("INFO persistence").contains("changes_since_last_save:0\r\n"));
    world.words("DEBUG RELOAD NOSAVE");
    assert_eq!(world.words("KEYS *"), "*1\r\n$4\r\nlast\r\n");
    world.restarts_as_it_is();
}

/// A command of many steps that is a unit for each thousand of them is none in a transaction.
#[test]
fn a_command_that_divides_its_work_stays_whole_in_a_transaction() {
    let mut world = World::new("");
    assert_eq!(world.words("DEBUG POPULATE 3000 alone"), "+OK\r\n");
    let envelopes = world.log().concat().iter().filter(|name| *name == "MULTI").count();
    assert_eq!(envelopes, 3);
    assert_eq!(world.transaction(&["DEBUG POPULATE 3000"]).len(), 3002);
    world.restarts_as_it_is();
}

#[test]
fn a_unit_knows_whose_it_is_and_what_it_touched() {
    let mut world = World::new("");
    let databases = &mut world.server.engine.databases;
    databases.unit.tracing = true;
    let unit = databases.unit.begin(Origin::Session(9));
    let mut db = databases.db(DbIndex(3));
    db.put(
        b"k",
        redstart::data::value::NewValue::Int(1),
        redstart::keyspace::databases::Expiry::Clear,
        redstart::keyspace::unit::Event::SET,
    );
    databases.swap(DbIndex(3), DbIndex(4));
    databases.flush(DbIndex(4), false);
    let key = Touched::Key(DbIndex(3), b"k"[..].into());
    let [a, b] = [3, 4].map(|index| Touched::Database(DbIndex(index)));
    assert_eq!(databases.unit.touched(), [key, a, b.clone(), b]);
    assert_eq!(databases.unit.origin(), Some(Origin::Session(9)));
    databases.unit.clear();
    assert!(databases.unit.finish(unit));
}
