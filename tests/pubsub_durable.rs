//! What a listener is told of the data is as durable as a reply: under `appendfsync always` nothing
//! that a message tells is lost with the power. The whole server on a simulated disk; the power goes
//! at every operation of the disk in turn, and fails to sync at every one.

#![expect(clippy::unwrap_used, reason = "a test may fail this way")]

mod embedded;

use std::sync::Arc;

use embedded::{Embedded, settings};
use redstart::base::env::{Disk, Env, Rng, Stopwatch, Threads};
use redstart::base::sim_disk::{Fault, SimClock, SimDisk};

/// Values that the counter is set to in a run.
const ROUNDS: u64 = 12;

fn open(disk: &SimDisk) -> Result<Embedded, String> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let clock = Arc::new(SimClock::default());
    clock.advance(1_700_000_000_000_000_000);
    let env = Env { clock, stopwatch: Stopwatch::default(), disk, threads: Threads::None, seed: 7 };
    let directives = [
        ("appendonly", "yes"),
        ("appendfsync", "always"),
        ("save", ""),
        ("notify-keyspace-events", "E$"),
    ];
    Embedded::open(env, settings(&directives))
}

/// Sets a counter to 1, 2, 3, ... and tells of each value in a transaction, and outside of one.
/// Returns the highest value that the listener has been told of and how many events it heard, until
/// the disk or the server has had enough.
fn run(disk: &SimDisk) -> (u64, usize) {
    let Ok(mut server) = open(disk) else { return (0, 0) };
    let listener = server.join();
    server.send_as(&listener, &[b"PSUBSCRIBE", b"*"]);
    server.turn();
    listener.take_replies();
    let (mut told, mut events) = (0, 0);
    for round in 1..=ROUNDS {
        let value = round.to_string();
        if round % 2 == 0 {
            server.send(&[b"MULTI"]);
            server.send(&[b"SET", b"counter", value.as_bytes()]);
            server.send(&[b"PUBLISH", b"value", value.as_bytes()]);
            server.send(&[b"EXEC"]);
        } else {
            server.send(&[b"SET", b"counter", value.as_bytes()]);
            server.send(&[b"PUBLISH", b"value", value.as_bytes()]);
        }
        server.turn();
        if disk.has_crashed() {
            // A process that has ended says nothing more.
            break;
        }
        let heard = String::from_utf8_lossy(&listener.take_replies()).into_owned();
        events += heard.matches("keyevent").count();
        let values = heard.split("\r\nvalue\r\n").skip(1);
        told =
            values.filter_map(|rest| rest.split("\r\n").nth(1)?.parse().ok()).fold(told, u64::max);
        if server.engine.log.as_ref().is_none_or(|log| log.failure().is_some()) {
            // What is not durable may be published no more, but PUBLISH itself goes on.
            break;
        }
    }
    (told, events)
}

/// What the counter is after the power went.
fn recovered(disk: &SimDisk, rng: &mut Rng) -> u64 {
    let mut server = open(&disk.crash(rng)).unwrap();
    let contents = server.contents();
    let value = contents.get(&(0, b"counter".to_vec()));
    value.map_or(0, |(bytes, _)| String::from_utf8_lossy(bytes).parse().unwrap())
}

#[test]
fn what_was_told_is_there_after_the_power_went() {
    let sound = SimDisk::default();
    assert_eq!(run(&sound), (ROUNDS, ROUNDS as usize), "a sound disk lets everything be told");
    let mut rng = Rng::from_seed(11);
    let mut some = 0;
    for at in 0..sound.operations() {
        for _ in 0..4 {
            let disk = SimDisk::default();
            disk.crash_at(at);
            let (told, _) = run(&disk);
            let found = recovered(&disk, &mut rng);
            assert!(told <= found, "power gone at operation {at}: told {told}, found {found}");
            some += u64::from(told > 0);
        }
    }
    assert!(some > 0, "something was told before the power went");
}

#[test]
fn what_could_not_be_synced_is_not_told() {
    let sound = SimDisk::default();
    run(&sound);
    let mut rng = Rng::from_seed(12);
    for at in 0..sound.operations() {
        for fault in [Fault::Io, Fault::Full, Fault::Short(20)] {
            let disk = SimDisk::default();
            disk.inject(at, fault);
            let (told, _) = run(&disk);
            let found = recovered(&disk, &mut rng);
            assert!(told <= found, "{fault:?} at operation {at}: told {told}, found {found}");
        }
    }
}
