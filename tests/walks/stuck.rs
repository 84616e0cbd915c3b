//! A snapshot whose disk stands still: memory is bounded, clients that write are slowed and answered in
//! order, those that read aren't slowed, and in the end the walk gives up and is tried again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redstart::base::env::{Disk, Env, Stopwatch, Threads};
use redstart::base::sim_disk::{SimClock, SimDisk};

use redstart::engine::keep::walks::Want;

use crate::embedded::{Embedded, Peer, settings};
use crate::gate::{Gate, GatedDisk};

const MILLI: u64 = 1_000_000;
const MEMORY_MAX: usize = 1 << 20;
const KEYS: usize = 4000;
const VALUE_BYTES: usize = 1000;
/// A bucket's entries, which one write may hand over after the bound was looked at.
const SLACK_BYTES: usize = 64 << 10;

fn waiting(server: &Embedded) -> usize {
    server.engine.persistence.walk.job().map_or(0, |job| job.waiting_bytes())
}

/// Bytes that don't count against `maxmemory`.
fn not_counted(server: &mut Embedded) -> usize {
    let text = server.call(&[b"INFO", b"memory"]);
    let text = String::from_utf8_lossy(&text);
    let value = text.lines().find_map(|line| line.strip_prefix("mem_not_counted_for_evict:"));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

fn start() -> (Embedded, Arc<SimClock>, GatedDisk) {
    let clock = Arc::new(SimClock::default());
    let gated = GatedDisk { disk: SimDisk::default(), gate: Gate::default() };
    let disk: Arc<dyn Disk> = Arc::new(gated.clone());
    let env = Env {
        clock: Arc::clone(&clock) as Arc<_>,
        stopwatch: Stopwatch::still(),
        disk,
        threads: Threads::Real,
        seed: 3,
    };
    let settings = settings(&[
        ("appendonly", "no"),
        ("save", ""),
        ("rdbcompression", "no"),
        ("walk-memory-max", "1mb"),
    ]);
    let mut server = Embedded::open(env, settings).unwrap();
    for key in 0..KEYS {
        let value = vec![b'v'; VALUE_BYTES];
        server.call(&[b"SET", format!("key:{key}").as_bytes(), &value]);
    }
    (server, clock, gated)
}

fn count_replies(peer: &Peer, seen: &mut usize) -> usize {
    let text = String::from_utf8(peer.take_replies()).unwrap();
    let mut count = 0;
    for line in text.split("\r\n").filter(|line| !line.is_empty()) {
        // INCR tells the order.
        if let Some(number) = line.strip_prefix(':') {
            *seen += 1;
            assert_eq!(number.parse::<usize>().unwrap(), *seen, "out of order");
        }
        count += 1;
    }
    count
}

#[test]
fn a_disk_that_stands_still_costs_bounded_memory_and_slows_writers_only() {
    let (mut server, clock, gated) = start();
    let (writer, reader) = (server.join(), server.join());
    server.turn();
    gated.gate.shut(true);
    assert_eq!(server.call(&[b"BGSAVE"]), b"+Background saving started\r\n");
    let (mut sent, mut answered, mut seen, mut most) = (0, 0, 0, 0);
    let (mut longest_ms, mut quiet_ms, mut given_up_at) = (0, 0, None);
    for millis in (0..6000).step_by(10) {
        clock.advance(10 * MILLI);
        if millis % 100 == 0 {
            server.engine.cron_tick();
        }
        // Two commands at a time, as fast as they are answered.
        while sent - answered < 8 && sent < 2 * KEYS {
            let key = format!("key:{}", sent / 2);
            server.send_as(&writer, &[b"SET", key.as_bytes(), b"x"]);
            server.send_as(&writer, &[b"INCR", b"order"]);
            sent += 2;
        }
        server.send_as(&reader, &[b"GET", b"key:1"]);
        server.turn();
        assert!(!reader.take_replies().is_empty(), "a client that reads waits");
        most = most.max(waiting(&server));
        if waiting(&server) > MEMORY_MAX / 2 {
            // Evicting keys would only make more of them.
            assert!(not_counted(&mut server) >= waiting(&server), "copies count as data");
        }
        if most > 0 {
            gated.gate.await_somebody();
        }
        let more = count_replies(&writer, &mut seen);
        answered += more;
        quiet_ms = if more == 0 { quiet_ms + 10 } else { 0 };
        longest_ms = longest_ms.max(quiet_ms);
        let ended = !server.engine.walk_is_taking();
        if ended && given_up_at.is_none() {
            given_up_at = Some(millis);
        } else if ended {
            assert_eq!(answered, sent, "without a walk nobody waits");
        }
    }
    assert!(most > MEMORY_MAX * 3 / 4, "the bound was not reached: {most}");
    assert!(most <= MEMORY_MAX + SLACK_BYTES, "{most} bytes waited");
    assert!(longest_ms <= 300, "a client that writes stood still for {longest_ms} ms");
    assert!(given_up_at.is_some_and(|at| (4800..5400).contains(&at)), "{given_up_at:?}");
    assert!(answered > 900, "{answered}");
    // Its thread is still in the disk's hands; then it is tried again, and succeeds.
    assert!(server.engine.persistence.saving());
    gated.gate.shut(false);
    let began = Instant::now();
    while server.engine.persistence.saves == 0 {
        assert!(began.elapsed() < Duration::from_secs(30), "the snapshot is never made");
        clock.advance(100 * MILLI);
        server.engine.cron_tick();
        server.turn();
        std::thread::yield_now();
    }
    assert!(server.engine.persistence.wanted.save == Want::No);
}

#[test]
fn one_command_that_changes_everything_ends_the_walk_and_not_the_bound() {
    let (mut server, clock, gated) = start();
    gated.gate.shut(true);
    assert_eq!(server.call(&[b"BGSAVE"]), b"+Background saving started\r\n");
    let names: Vec<Vec<u8>> = (0..KEYS).map(|key| format!("key:{key}").into_bytes()).collect();
    let mut command: Vec<&[u8]> = vec![b"DEL"];
    command.extend(names.iter().map(Vec::as_slice));
    let largest = {
        server.send(&command);
        server.turn();
        waiting(&server)
    };
    assert!(largest <= MEMORY_MAX + SLACK_BYTES, "{largest}");
    assert!(!server.engine.walk_is_taking(), "a walk that lacks entries goes on");
    gated.gate.shut(false);
    let began = Instant::now();
    while server.engine.persistence.saves == 0 {
        assert!(began.elapsed() < Duration::from_secs(30), "the snapshot is never made");
        clock.advance(100 * MILLI);
        server.engine.cron_tick();
        server.turn();
        std::thread::yield_now();
    }
    assert!(gated.disk.contents(std::path::Path::new("dump.rdb")).unwrap().len() < 1000);
}

/// The disk fails while entries are still to be taken: the next snapshot met the walk of this one, and the
/// server ended.
#[test]
fn a_snapshot_that_fails_half_way_leaves_no_walk_behind() {
    let (mut server, clock, gated) = start();
    server.call(&[b"CONFIG", b"SET", b"rdb-key-save-delay", b"100000000"]);
    gated.disk.set_full(true);
    assert_eq!(server.call(&[b"BGSAVE"]), b"+Background saving started\r\n");
    let began = Instant::now();
    while server.engine.persistence.last_save_ok {
        assert!(began.elapsed() < Duration::from_secs(30), "its failure is never told");
        clock.advance(100 * MILLI);
        server.engine.cron_tick();
        server.turn();
        std::thread::yield_now();
    }
    assert!(!server.engine.walk_is_taking());
    gated.disk.set_full(false);
    server.call(&[b"CONFIG", b"SET", b"rdb-key-save-delay", b"0"]);
    assert_eq!(server.call(&[b"SAVE"]), b"+OK\r\n");
}
