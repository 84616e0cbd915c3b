//! The log on a simulated disk: what it writes, when it syncs, how it fails and heals.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::base::env::{Disk, Rng, Threads};
use crate::base::sim_disk::{Fault, SimClock, SimDisk};
use crate::journal::{Journal, Unlogged};
use crate::persist::frame::FramePlace;
use crate::persist::recover::Resume;
use crate::persist::scan::{Piece, Scanner};
use crate::persist::tail::Place;
use crate::resp::record::push_command;

const INCREMENT: &str = "appendonlydir/appendonly.aof.1.incr.aof";

fn record(word: &str) -> Vec<u8> {
    let mut out = Vec::new();
    push_command(&mut out, [word.as_bytes()].into_iter());
    out
}

/// A log with the journal that feeds it.
struct Fed {
    journal: Journal,
    log: Log,
}

impl std::ops::Deref for Fed {
    type Target = Log;

    fn deref(&self) -> &Log {
        &self.log
    }
}

impl std::ops::DerefMut for Fed {
    fn deref_mut(&mut self) -> &mut Log {
        &mut self.log
    }
}

impl Fed {
    fn new(env: Env, options: LogOptions, wake: Waker) -> Self {
        let mut journal = Journal::new(ReplicationId::random(&mut Rng::from_seed(1)));
        journal.set_recording(true, || unreachable!("nothing has changed yet"));
        let position = journal.end();
        let resume = Resume {
            manifest: Manifest::default(),
            next_frame: 1,
            append_to_last: false,
            settled: Place::default(),
            position: None,
            stream: Vec::new(),
        };
        let log = Log::open(env, options, resume, b"REDIS", position, wake).unwrap();
        Self { journal, log }
    }

    fn append(&mut self, db: u32, record: &[u8]) {
        self.journal.append(db, record);
    }

    fn commit(&mut self) -> Result<u64, LogError> {
        self.journal.seal(|sealed| self.log.commit(&sealed))
    }

    fn switch(&mut self) -> bool {
        let position = self.journal.end();
        self.log.switch(position)
    }

    /// The frames of a file: what each says of its place, and its payload.
    fn frames(disk: &SimDisk, path: &str) -> Vec<(FramePlace, String)> {
        let bytes = disk.contents(Path::new(path)).unwrap();
        let len = bytes.len() as u64;
        let mut scanner = Scanner::new(Box::new(io::Cursor::new(bytes)), len);
        let mut frames = Vec::new();
        while let Piece::Frame { .. } = scanner.next_piece().unwrap() {
            let payload = String::from_utf8(scanner.payload().to_vec()).unwrap();
            frames.push((scanner.place().unwrap().clone(), payload));
        }
        assert_eq!(scanner.offset(), len);
        frames
    }
}

fn open(disk: Arc<dyn Disk>, clock: &Arc<SimClock>, policy: AppendFsync, threads: Threads) -> Fed {
    let clock = Arc::clone(clock) as Arc<_>;
    let env =
        Env { clock, stopwatch: crate::base::env::Stopwatch::default(), disk, threads, seed: 1 };
    let options = LogOptions::new(Layout::default_in(Path::new("")), policy);
    Fed::new(env, options, Arc::new(|| ()))
}

fn sim(policy: AppendFsync) -> (SimDisk, Arc<SimClock>, Fed) {
    let (disk, clock) = (SimDisk::default(), Arc::default());
    let log = open(Arc::new(disk.clone()), &clock, policy, Threads::None);
    (disk, clock, log)
}

fn text(disk: &SimDisk) -> String {
    String::from_utf8(disk.contents(Path::new(INCREMENT)).unwrap()).unwrap()
}

#[test]
fn a_tick_is_one_frame_and_one_write() {
    let (disk, _, mut log) = sim(AppendFsync::Always);
    log.append(0, &record("A"));
    log.append(3, &record("B"));
    let records = [(3, record("C")), (3, record("D"))];
    log.journal.append_unit(records.iter().map(|(db, record)| (*db, record.as_slice())));
    let before = disk.operations();
    let offset = log.commit().unwrap();
    assert_eq!(disk.operations() - before, 2, "one write, one sync");
    assert_eq!((log.offset(), log.durable()), (offset, offset));
    let payload = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*1\r\n$1\r\nA\r\n\
        *2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*1\r\n$1\r\nB\r\n\
        *1\r\n$5\r\nMULTI\r\n*1\r\n$1\r\nC\r\n*1\r\n$1\r\nD\r\n*1\r\n$4\r\nEXEC\r\n";
    assert_eq!(offset, payload.len() as u64);
    let id = log.journal.history().id;
    let preface = format!("#HISTORY:{id}\r\n");
    let (bytes, uncounted) = (preface.len() + payload.len(), preface.len());
    assert!(text(&disk).starts_with(&format!("#RS2:1:{bytes}:{uncounted}:0::")));
    assert!(text(&disk).ends_with(&[&preface, payload].concat()));
    let before = disk.operations();
    log.commit().unwrap();
    assert_eq!(disk.operations(), before, "nothing to write, nothing to sync");
    log.append(3, &record("E"));
    log.commit().unwrap();
    assert!(text(&disk).ends_with("\r\n#SYNCED:1\r\n*1\r\n$1\r\nE\r\n"));
}

#[test]
fn each_policy_syncs_when_it_says() {
    for (policy, expected) in
        [(AppendFsync::Always, 3), (AppendFsync::Everysec, 1), (AppendFsync::No, 0)]
    {
        let (disk, clock, mut log) = sim(policy);
        let syncs = |disk: &SimDisk| {
            disk.trace().iter().filter(|line| line.ends_with(SYNC_FRAMES.0)).count()
        };
        for _ in 0..3 {
            log.append(0, &record("A"));
            log.commit().unwrap();
            clock.advance(400_000_000);
            log.poll(crate::base::env::Clock::monotonic_nanos(&*clock));
        }
        assert_eq!(syncs(&disk), expected, "{policy:?}");
        log.close().unwrap();
        assert_eq!(log.durable(), log.offset());
        assert_eq!(log.gates_replies(), policy == AppendFsync::Always);
    }
}

#[test]
fn a_full_disk_heals_and_nothing_is_written_twice() {
    let (disk, _, mut log) = sim(AppendFsync::Always);
    disk.set_full(true);
    log.append(0, &record("A"));
    assert_eq!(log.commit().unwrap_err().doing, Doing::Write);
    assert_eq!(log.failure(), Some("No space left on device"));
    log.append(0, &record("B"));
    log.commit().unwrap();
    // It is tried again now and then, and told more rarely than that: the news may go to the same disk.
    let tries = disk.operations();
    assert!(log.poll(RETRY_NANOS - 1).error.is_none() && disk.operations() == tries);
    assert!(log.poll(RETRY_NANOS).error.is_none() && disk.operations() > tries);
    assert!(log.poll(TELL_AGAIN_NANOS).error.is_some());
    assert!(log.poll(TELL_AGAIN_NANOS + RETRY_NANOS).error.is_none());
    assert!(text(&disk).is_empty() && log.durable() == 0 && !log.needs_rewrite());
    disk.set_full(false);
    assert!(log.poll(TELL_AGAIN_NANOS + 2 * RETRY_NANOS).healed && log.failure().is_none());
    assert_eq!(log.durable(), log.offset());
    assert_eq!(text(&disk).matches("#RS2").count(), 1);
    assert!(text(&disk).ends_with("*1\r\n$1\r\nA\r\n*1\r\n$1\r\nB\r\n"));
}

#[test]
fn after_a_failed_sync_only_a_new_base_makes_anything_durable() {
    let (disk, _, mut log) = sim(AppendFsync::Always);
    log.append(0, &record("A"));
    log.commit().unwrap();
    let durable = log.durable();
    log.append(0, &record("B"));
    disk.inject(disk.operations() + 1, Fault::Io);
    log.commit().unwrap();
    assert_eq!(log.poll(0).error.unwrap().doing, Doing::Sync);
    assert!(log.needs_rewrite() && log.failure() == Some("Input/output error"));
    log.append(0, &record("C"));
    log.commit().unwrap();
    assert_eq!(log.durable(), durable, "a sync that succeeds later says nothing");
    for _ in 0..2 {
        assert_eq!(log.close().unwrap_err().doing, Doing::Sync, "nor is it a clean end");
    }
    log.begin_rewrite();
    assert!(matches!(log.poll(0).rewrite, Some(RewriteEvent::Prepared)) && log.switch());
    let temporary = log.base_temporary();
    disk.create(&temporary).unwrap().append(b"REDIS base").unwrap();
    assert_eq!(log.durable(), durable);
    log.finish_rewrite(&temporary);
    assert!(matches!(log.poll(0).rewrite, Some(RewriteEvent::Finished)));
    assert!(!log.needs_rewrite() && log.failure().is_none());
    assert_eq!(log.durable(), log.offset());
    assert_eq!(log.base_bytes(), 10);
    assert!(!disk.exists(Path::new(INCREMENT)).unwrap(), "superseded files are deleted");
}

#[test]
fn nothing_follows_a_part_of_a_frame_that_could_not_be_cut_off() {
    let (disk, _, mut log) = sim(AppendFsync::Everysec);
    log.append(0, &record("A"));
    log.commit().unwrap();
    let whole = text(&disk);
    log.append(0, &record("B"));
    let next = disk.operations();
    disk.inject(next, Fault::Short(5));
    disk.inject(next + 1, Fault::Io);
    disk.inject(next + 2, Fault::Io);
    assert!(log.commit().is_err());
    let torn = text(&disk);
    assert_eq!(torn, format!("{whole}#RS2:"));
    assert_eq!(log.close().unwrap_err().doing, Doing::Write);
    assert_eq!(text(&disk), torn);
    log.close().unwrap();
    assert!(text(&disk).starts_with(&format!("{whole}#RS2:2:")), "{}", text(&disk));
}

#[test]
fn with_threads_completion_wakes_and_everything_becomes_durable() {
    let disk = SimDisk::default();
    let woken = Arc::new(AtomicBool::new(false));
    let wake: Waker = {
        let woken = Arc::clone(&woken);
        Arc::new(move || woken.store(true, Ordering::SeqCst))
    };
    let env = Env { disk: Arc::new(disk.clone()), ..Env::system() };
    let options = LogOptions::new(Layout::default_in(Path::new("")), AppendFsync::Always);
    let mut log = Fed::new(env, options, wake);
    for _ in 0..100 {
        log.append(0, &record("A"));
        log.commit().unwrap();
    }
    while log.durable() < log.offset() {
        if woken.swap(false, Ordering::SeqCst) {
            log.poll(0);
        }
        std::thread::yield_now();
    }
    let syncs = disk.trace().iter().filter(|line| line.ends_with(SYNC_FRAMES.0)).count();
    assert!((1..=100).contains(&syncs), "{syncs}");
}

#[test]
fn under_everysec_the_system_is_asked_to_write_before_the_sync_does() {
    for (policy, expected) in
        [(AppendFsync::Always, 0), (AppendFsync::Everysec, 4), (AppendFsync::No, 0)]
    {
        let (disk, _, mut log) = sim(policy);
        log.options.write_out_bytes = 100;
        for _ in 0..5 {
            log.append(0, &record(&"x".repeat(30)));
            log.commit().unwrap();
            log.poll(0);
        }
        let parts: Vec<_> =
            disk.trace().into_iter().filter(|line| line.contains("write out")).collect();
        assert_eq!(parts.len(), expected, "{policy:?}: {parts:?}");
        // Up to a block's end, so that the page where the next frame goes is left alone.
        let said = ["bytes 0..100 ", "bytes 100..200 ", "bytes 200..300 "];
        assert!(parts.iter().zip(said).all(|(line, said)| line.contains(said)), "{parts:?}");
    }
}

#[test]
fn what_the_system_could_not_write_is_not_durable_whatever_a_later_sync_says() {
    let (disk, _, mut log) = sim(AppendFsync::Everysec);
    log.options.write_out_bytes = 10;
    log.append(0, &record("A"));
    disk.inject(disk.operations() + 1, Fault::Io);
    log.commit().unwrap();
    assert_eq!(log.poll(0).error.unwrap().doing, Doing::Sync);
    assert!(log.needs_rewrite() && log.failure() == Some("Input/output error"));
    log.poll(SECOND_NANOS);
    assert!(disk.trace().last().unwrap().ends_with(SYNC_FRAMES.0));
    assert_eq!(log.durable(), 0);
    assert_eq!(log.close().unwrap_err().doing, Doing::Sync);
}

/// Each file is right by itself, and the stream has nothing of what that takes.
#[test]
fn a_frame_says_where_in_the_stream_it_is() {
    let (disk, _, mut log) = sim(AppendFsync::Always);
    log.append(3, &record("A"));
    log.commit().unwrap();
    log.begin_rewrite();
    assert!(matches!(log.poll(0).rewrite, Some(RewriteEvent::Prepared)));
    let first = log.offset();
    assert!(log.switch());
    log.append(3, &record("B"));
    log.commit().unwrap();
    log.append(3, &record("C"));
    log.journal.append_unlogged(Unlogged::Ping);
    log.journal.append_unlogged(Unlogged::Ping);
    log.append(3, &record("D"));
    log.journal.append_unlogged(Unlogged::GetAck);
    log.commit().unwrap();
    let (offset, end) = (log.offset(), log.journal.offset());
    assert_eq!(log.durable(), offset, "nobody waits for what isn't logged");
    log.close().unwrap();
    let id = log.journal.history().id;
    let ping = Unlogged::Ping.bytes().len() as u64;
    let bytes = |word: &str| String::from_utf8(record(word)).unwrap();
    let frames: Vec<_> = Fed::frames(&disk, "appendonlydir/appendonly.aof.2.incr.aof")
        .into_iter()
        .map(|(place, payload)| (place.offset, place.skipped.to_string(), payload))
        .collect();
    let select = "*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n";
    let b = format!("#SYNCED:1\r\n#HISTORY:{id}\r\n{select}{}", bytes("B"));
    let c = format!("#SYNCED:2\r\n{}", bytes("C"));
    let expected = [
        (first, String::new(), b),
        (first + 11, String::new(), c),
        (first + 22 + 2 * ping, "2p".to_owned(), bytes("D")),
        (end, "1g".to_owned(), String::new()),
        (end, String::new(), "#SYNCED:5\r\n".to_owned()),
    ];
    assert_eq!(frames, expected);
}

/// A ping that came while the disk was full made the frame that the next units went into, which then said no
/// database: in a file's first frame they came back in database 0.
#[test]
fn units_kept_behind_a_ping_keep_their_database() {
    let (disk, _, mut log) = sim(AppendFsync::Always);
    log.append(3, &record("A"));
    log.commit().unwrap();
    log.begin_rewrite();
    assert!(matches!(log.poll(0).rewrite, Some(RewriteEvent::Prepared)));
    assert!(log.switch());
    disk.set_full(true);
    log.journal.append_unlogged(Unlogged::Ping);
    assert!(log.commit().is_err());
    log.append(3, &record("B"));
    log.commit().unwrap();
    disk.set_full(false);
    assert!(log.poll(RETRY_NANOS).healed);
    let frames = Fed::frames(&disk, "appendonlydir/appendonly.aof.2.incr.aof");
    let told: String = frames.into_iter().map(|(_, payload)| payload).collect();
    let b = String::from_utf8(record("B")).unwrap();
    assert!(told.ends_with(&format!("*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n{b}")), "{told}");
}
