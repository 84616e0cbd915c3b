//! The stream is read back from every place, whatever was written, skipped, rewritten and let go.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::base::env::{Disk, Env, Rng, Stopwatch, Threads};
use crate::base::sim_disk::{SimClock, SimDisk};
use crate::config::kinds::AppendFsync;
use crate::journal::{Journal, ReplicationId, Unlogged};
use crate::persist::log::{Log, LogOptions};
use crate::persist::log_rewrite::RewriteEvent;
use crate::persist::manifest::{Layout, Manifest};
use crate::persist::recover::Resume;
use crate::persist::tail;
use crate::resp::record::push_command;

/// A log, the journal that feeds it, and the stream that should be in its files.
struct Run {
    disk: SimDisk,
    journal: Journal,
    log: Log,
    stream: Vec<u8>,
    /// The offset behind the last byte that a frame stands for.
    framed: u64,
}

impl Run {
    fn new() -> Self {
        let disk = SimDisk::default();
        let clock = Arc::new(SimClock::default());
        let env = Env {
            clock,
            stopwatch: Stopwatch::default(),
            disk: Arc::new(disk.clone()),
            threads: Threads::None,
            seed: 1,
        };
        let mut journal = Journal::new(ReplicationId::random(&mut Rng::from_seed(1)));
        journal.set_recording(true, || unreachable!("nothing has changed yet"));
        journal.keep_backlog(1 << 30);
        let resume = Resume {
            manifest: Manifest::default(),
            next_frame: 1,
            append_to_last: false,
            settled: tail::Place::default(),
            position: None,
            stream: Vec::new(),
        };
        let options = LogOptions::new(Layout::default_in(Path::new("")), AppendFsync::Everysec);
        let position = journal.end();
        let log = Log::open(env, options, resume, b"REDIS", position, Arc::new(|| ())).unwrap();
        Self { disk, journal, log, stream: Vec::new(), framed: 0 }
    }

    fn write(&mut self, rng: &mut Rng) {
        let mut units = false;
        for _ in 0..=rng.below(4) {
            match rng.below(8) {
                0 => self.journal.append_unlogged(Unlogged::Ping),
                1 => self.journal.append_unlogged(Unlogged::GetAck),
                _ => {
                    let bytes = if rng.below(20) == 0 { 300_000 } else { rng.below(200) };
                    let word = vec![b'x'; bytes as usize];
                    let mut record = Vec::new();
                    push_command(&mut record, [&b"ECHO"[..], &word].into_iter());
                    self.journal.append(rng.below(3) as u32, &record);
                    units = true;
                }
            }
        }
        self.journal.seal(|sealed| self.log.commit(&sealed)).unwrap();
        let mut at = crate::journal::Cursor { offset: self.stream.len() as u64 };
        while let crate::journal::Read::Chunk(bytes) = at.next(&mut self.journal) {
            self.stream.extend_from_slice(&bytes);
        }
        if units {
            self.framed = self.log.offset();
        }
    }

    fn rewrite(&mut self) {
        self.log.begin_rewrite();
        let prepared = self.log.poll(0).rewrite;
        assert!(matches!(prepared, Some(RewriteEvent::Prepared)), "{prepared:?}");
        assert!(self.log.switch(self.journal.end()));
        let temporary = self.log.base_temporary();
        self.disk.create(&temporary).unwrap().append(b"REDIS").unwrap();
        self.log.finish_rewrite(&temporary);
        let finished = self.log.poll(0).rewrite;
        assert!(matches!(finished, Some(RewriteEvent::Finished)), "{finished:?}");
    }

    fn read_from(&mut self, offset: u64) -> Vec<u8> {
        let mut place = self.log.find(offset).unwrap();
        let mut read = Vec::new();
        loop {
            match self.log.read(&mut place).unwrap() {
                Found::Bytes(bytes) => read.extend_from_slice(&bytes),
                Found::End => return read,
                Found::Gone => panic!("the files have it"),
            }
        }
    }
}

#[test]
fn every_place_is_read_on_from() {
    let mut rng = Rng::from_seed(7);
    let mut run = Run::new();
    for round in 0..120 {
        run.write(&mut rng);
        if round % 25 == 24 {
            run.rewrite();
        }
    }
    // Behind the last frame there may be pings, which are in no file yet.
    let framed = run.framed;
    assert_eq!(run.log.stream_extent(), Some((0, framed)));
    assert!(run.log.superseded_bytes() > 100_000, "rewrites have superseded some");
    for _ in 0..200 {
        let from = rng.below(framed + 1);
        assert_eq!(run.read_from(from), run.stream[from as usize..framed as usize]);
    }
    // A reader that waits at the end gets what comes.
    let mut place = run.log.find(framed).unwrap();
    assert!(matches!(run.log.read(&mut place), Ok(Found::End)));
    while run.framed == framed {
        run.write(&mut rng);
    }
    let Ok(Found::Bytes(bytes)) = run.log.read(&mut place) else { panic!("there is more") };
    assert_eq!(bytes, run.stream[framed as usize..run.framed as usize]);
}

#[test]
fn what_is_let_go_is_gone_and_the_rest_stays() {
    let mut rng = Rng::from_seed(8);
    let mut run = Run::new();
    for _ in 0..4 {
        for _ in 0..20 {
            run.write(&mut rng);
        }
        run.rewrite();
    }
    let mut place = run.log.find(0).unwrap();
    let kept = run.log.superseded_bytes();
    run.log.keep_superseded(kept - 1);
    assert!(run.log.superseded_bytes() < kept);
    assert!(matches!(run.log.read(&mut place), Ok(Found::Gone)));
    assert!(run.log.find(0).is_none());
    let (start, end) = run.log.stream_extent().unwrap();
    assert!(start > 0);
    assert_eq!(run.read_from(start), run.stream[start as usize..end as usize]);
    run.log.keep_superseded(0);
    assert_eq!(run.log.superseded_bytes(), 0);
}

#[test]
fn a_damaged_frame_is_told_once_and_not_given_out() {
    let mut rng = Rng::from_seed(9);
    let mut run = Run::new();
    (0..50).for_each(|_| run.write(&mut rng));
    let path = Path::new("appendonlydir/appendonly.aof.1.incr.aof");
    let mut bytes = run.disk.contents(path).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    run.disk.create(path).unwrap().append(&bytes).unwrap();
    let mut place = run.log.find(0).unwrap();
    let mut read = Vec::new();
    let error = loop {
        match run.log.read(&mut place) {
            Ok(Found::Bytes(bytes)) => read.extend_from_slice(&bytes),
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.to_string(), "a frame's checksum is wrong");
    assert!(run.stream.starts_with(&read), "nothing wrong was given out");
    assert!(run.log.find(0).is_none(), "nobody is sent there again");
}
