//! Random sequences of everything that begins, ends or disturbs a walk, on a disk that fails now and
//! then, judged by what was promised.
//!
//! Each write sets a counter; so a state is known by one number. A reply that says "started",
//! "scheduled" or, to SAVE, "OK" is a promise, kept by a snapshot or base that holds at least what the
//! counter was then. Promises are withdrawn by BGSAVE CANCEL, by turning the log off, and by the end of
//! the process.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

use redstart::base::env::{Disk, Env, Rng, Stopwatch, Threads};
use redstart::base::sim_disk::{Fault, SimClock, SimDisk};
use redstart::config::settings::Settings;
use redstart::engine::tick::actor::After;
use redstart::persist::log::Log;

use crate::embedded::{Embedded, Peer, settings};

const SECOND: u64 = 1_000_000_000;
const SEEDS: u64 = 300;
const LIVES: u64 = 3;
const STEPS: u64 = 40;
/// Longer than anything is put off.
const CALM_SECONDS: u64 = 8000;
const SLOW: &str = "CONFIG SET rdb-key-save-delay 30000";
const FAST: &str = "CONFIG SET rdb-key-save-delay 0";

/// What must still come about.
#[derive(Clone, Copy, Debug, Default)]
struct Owed {
    /// A snapshot of at least this counter.
    save: Option<u64>,
    /// More rewrites than there had been then.
    rewrite: Option<u64>,
}

struct World {
    rng: Rng,
    disk: SimDisk,
    clock: Arc<SimClock>,
    server: Embedded,
    always: bool,
    /// Whether `appendonly` is on, as it was last accepted.
    log_on: bool,
    counter: u64,
    acknowledged: u64,
    /// The counter that the snapshot holds at least.
    saved: u64,
    owed: Owed,
    /// Commands that have not been answered.
    pending: VecDeque<String>,
    /// Those of the transaction that is being answered.
    queued: Option<Vec<String>>,
    looker: Peer,
    story: String,
    /// How often each reply was given, to show that the run meets them all.
    met: BTreeMap<String, u64>,
}

fn env(disk: &SimDisk, clock: &Arc<SimClock>) -> Env {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let clock = Arc::clone(clock) as Arc<_>;
    Env { clock, stopwatch: Stopwatch::still(), disk, threads: Threads::None, seed: 3 }
}

fn configured(log_on: bool, always: bool, points: bool) -> Settings {
    let policy = if always { "always" } else { "everysec" };
    settings(&[
        ("appendonly", if log_on { "yes" } else { "no" }),
        ("appendfsync", policy),
        ("save", if points { "3 5" } else { "" }),
        ("stop-writes-on-bgsave-error", "no"),
        ("auto-aof-rewrite-min-size", "4kb"),
    ])
}

fn words(line: &str) -> Vec<&[u8]> {
    line.split(' ').map(str::as_bytes).collect()
}

/// The counter that a server finds on a disk.
fn found(disk: &SimDisk, log_on: bool) -> u64 {
    let clock = Arc::new(SimClock::default());
    let mut server = Embedded::look(env(disk, &clock), configured(log_on, true, false)).unwrap();
    let contents = server.contents();
    let counter = contents.get(&(0, b"counter".to_vec()));
    counter.map_or(0, |(value, _)| String::from_utf8_lossy(value).parse().unwrap())
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::from_seed(seed);
        let (disk, clock) = (SimDisk::default(), Arc::new(SimClock::default()));
        clock.advance(SECOND);
        let (log_on, always) = (rng.below(2) == 0, rng.below(2) == 0);
        let points = rng.below(3) == 0;
        let server = Embedded::open(env(&disk, &clock), configured(log_on, always, points));
        let server = server.unwrap();
        let looker = server.join();
        let mut world = Self {
            rng,
            server,
            disk,
            clock,
            always,
            log_on,
            counter: 0,
            acknowledged: 0,
            saved: 0,
            owed: Owed::default(),
            pending: VecDeque::new(),
            queued: None,
            looker,
            story: String::new(),
            met: BTreeMap::new(),
        };
        for key in 0..20 {
            world.server.call(&words(&format!("SET key:{key} x")));
        }
        world.server.call(&words(SLOW));
        world
    }

    /// Commands of one tick: what promises something, and what disturbs it.
    fn commands(&mut self) -> Vec<String> {
        let mut list: Vec<String> = Vec::new();
        for _ in 0..=self.rng.below(3) {
            match self.rng.below(20) {
                0..=1 => list.push("BGSAVE".into()),
                2 => list.push("BGSAVE SCHEDULE".into()),
                3..=4 => list.push("BGREWRITEAOF".into()),
                5..=6 => list.push("CONFIG SET appendonly yes".into()),
                7 => list.push("CONFIG SET appendonly no".into()),
                8 => list.push("BGSAVE CANCEL".into()),
                // Time stands still where clients wait.
                9..=10 => list.extend([FAST, "SAVE", SLOW].map(str::to_owned)),
                11 => list.extend(["SELECT 1", "FLUSHDB", "SELECT 0"].map(str::to_owned)),
                12 => {
                    let job = ["BGSAVE", "BGREWRITEAOF", "CONFIG SET appendonly yes"];
                    list.push("MULTI".into());
                    list.push(job[self.rng.below(3) as usize].into());
                    self.counter += 1;
                    list.push(format!("SET counter {}", self.counter));
                    list.push("EXEC".into());
                }
                _ => {
                    self.counter += 1;
                    list.push(format!("SET counter {}", self.counter));
                }
            }
        }
        list
    }

    /// Sends commands for one tick, does it, and takes note of what was promised.
    fn tick(&mut self, commands: &[String]) -> After {
        for command in commands {
            self.server.send(&words(command));
            self.pending.push_back(command.clone());
        }
        let after = self.server.turn();
        let text = String::from_utf8(self.server.take_replies()).unwrap();
        let mut lines = text.split("\r\n").filter(|line| !line.is_empty());
        while let Some(line) = lines.next() {
            let command = self.pending.pop_front().unwrap();
            let _ = writeln!(self.story, "  {command}: {line}");
            if command == "MULTI" {
                self.queued = Some(Vec::new());
            } else if command == "EXEC" {
                let queued = self.queued.take().unwrap_or_default();
                for command in queued.into_iter().filter(|_| line.starts_with('*')) {
                    let line = lines.next().unwrap();
                    let _ = writeln!(self.story, "    {command}: {line}");
                    self.note(&command, line);
                }
            } else if let Some(queued) = &mut self.queued {
                if line == "+QUEUED" {
                    queued.push(command);
                }
            } else {
                self.note(&command, line);
            }
        }
        after
    }

    fn note(&mut self, command: &str, line: &str) {
        let name = if command.starts_with("SET") { "SET" } else { command };
        *self.met.entry(format!("{name}: {line}")).or_default() += 1;
        if line.starts_with('-') {
            return;
        }
        let rewrites = self.server.engine.persistence.rewrites;
        match command {
            "BGSAVE" | "BGSAVE SCHEDULE" => self.owed.save = Some(self.acknowledged),
            "BGSAVE CANCEL" => self.owed.save = None,
            "SAVE" => self.saved = self.acknowledged,
            // One may have been finished in this tick, before it was noted.
            "BGREWRITEAOF" => self.owed.rewrite = Some(rewrites.saturating_sub(1)),
            "CONFIG SET appendonly yes" => self.log_on = true,
            "CONFIG SET appendonly no" => {
                self.log_on = false;
                self.owed.rewrite = None;
            }
            _ => {
                if let Some(number) = command.strip_prefix("SET counter ") {
                    self.acknowledged = number.parse().unwrap();
                }
            }
        }
    }

    fn has_base(&self) -> bool {
        self.server.engine.log.as_ref().is_some_and(|log| !Log::waiting_for_base(log))
    }

    /// What INFO says, and what the state is, at every moment.
    fn check_state(&mut self) -> Result<(), String> {
        let engine = &self.server.engine;
        let state = &engine.persistence;
        if engine.log.as_ref().is_some_and(Log::waiting_for_base)
            && !state.wanted.first_base.is_wanted()
        {
            return Err("a log has no base, and none is wanted".into());
        }
        let expected = [
            ("rdb_bgsave_in_progress", state.saving()),
            ("aof_rewrite_in_progress", state.walk.is_rewrite()),
            ("aof_rewrite_scheduled", state.rewrite_scheduled()),
            ("aof_enabled", self.log_on),
        ];
        if state.saving() && state.walk.is_rewrite() {
            return Err("two walks at once".into());
        }
        self.server.send_as(&self.looker, &[b"INFO", b"persistence"]);
        self.tick(&[]);
        let text = String::from_utf8(self.looker.take_replies()).unwrap();
        for (field, value) in expected {
            let line = format!("{field}:{}\r\n", u8::from(value));
            if !text.contains(&line) && !text.is_empty() {
                return Err(format!("INFO does not say {line}"));
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Result<After, String> {
        let _ = writeln!(self.story, "step, disk operation {}", self.disk.operations());
        if self.rng.below(12) == 0 {
            let (from, count) = (self.disk.operations(), 1 + self.rng.below(6));
            let fault = if self.rng.below(2) == 0 { Fault::Io } else { Fault::Full };
            (from..from + count).for_each(|at| self.disk.inject(at, fault));
            let _ = writeln!(self.story, "  {count} operations will fail: {fault:?}");
        }
        self.clock.advance(self.rng.below(SECOND));
        self.server.engine.cron_tick();
        let commands = self.commands();
        let mut after = self.tick(&commands);
        if !matches!(after, After::Exit(_)) {
            self.check_state()?;
            after = self.tick(&[]);
        }
        Ok(after)
    }

    /// The end of the process: what must be found, and a start on it.
    fn end(&mut self, orderly: bool) -> Result<(), String> {
        let power = (self.always || orderly) && self.rng.below(2) == 0;
        let left = if power { self.disk.crash(&mut self.rng) } else { self.disk.kill() };
        left.forget_faults();
        let _ = writeln!(self.story, "the end: power {power}, log {}", self.log_on);
        let floor = if self.log_on && self.has_base() { self.acknowledged } else { self.saved };
        let counter = found(&left, self.log_on);
        if counter < floor || counter > self.counter {
            return Err(format!("found {counter}, not from {floor} to {}", self.counter));
        }
        let points = self.rng.below(3) == 0;
        self.disk = left;
        let settings = configured(self.log_on, self.always, points);
        self.server = Embedded::open(env(&self.disk, &self.clock), settings)?;
        self.looker = self.server.join();
        self.pending.clear();
        self.queued = None;
        if self.log_on && !self.has_base() {
            return Err("a server that starts has a log without a base".into());
        }
        (self.acknowledged, self.owed) = (counter, Owed::default());
        self.saved = found(&self.disk, false);
        self.server.call(&words(SLOW));
        Ok(())
    }

    /// The disk is well again and time passes: all that was accepted has come about.
    fn calm(&mut self) -> Result<After, String> {
        let _ = writeln!(self.story, "calm");
        self.disk.forget_faults();
        let mut passed = 0;
        while passed < CALM_SECONDS {
            let seconds = if passed < 100 { 1 } else { 60 };
            passed += seconds;
            self.clock.advance(seconds * SECOND);
            self.server.engine.cron_tick();
            let commands = if passed == 1 { vec![FAST.to_owned()] } else { Vec::new() };
            let mut after = self.tick(&commands);
            while after == After::Again {
                after = self.tick(&[]);
            }
            if let After::Exit(_) = after {
                return Ok(after);
            }
        }
        self.check_state()?;
        let state = &self.server.engine.persistence;
        let wanted = &state.wanted;
        if !state.walk.is_idle() || wanted.first_base.is_wanted() || wanted.rewrite.is_wanted() {
            return Err(format!("still {:?} and wanted {wanted:?}", state.walk));
        }
        if self.log_on != self.has_base() {
            return Err(format!("the log was to be {}, and is not", self.log_on));
        }
        if self.owed.rewrite.is_some_and(|before| state.rewrites <= before) {
            return Err("a rewrite that was accepted has never been made".into());
        }
        let snapshot = found(&self.disk.before(u64::MAX), false);
        if self.owed.save.is_some_and(|counter| snapshot < counter) {
            return Err(format!("the snapshot has {snapshot}, {:?} is owed", self.owed));
        }
        Ok(After::Wait)
    }

    fn live(&mut self) -> Result<(), String> {
        for _ in 0..LIVES {
            let steps = 1 + self.rng.below(STEPS);
            let mut exits = false;
            for _ in 0..steps {
                if let After::Exit(code) = self.step()? {
                    let _ = writeln!(self.story, "the server ends: {code}");
                    exits = true;
                    break;
                }
            }
            if exits || self.rng.below(3) == 0 {
                self.end(false)?;
                continue;
            }
            if let After::Exit(_) = self.calm()? {
                self.end(false)?;
                continue;
            }
            let after = self.tick(&["SHUTDOWN".to_owned()]);
            if after != After::Exit(0) {
                return Err(format!("SHUTDOWN is refused: {after:?}"));
            }
            self.end(true)?;
        }
        Ok(())
    }
}

#[test]
fn what_was_accepted_happens_and_what_was_acknowledged_is_kept() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("WALKS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("WALKS_SEEDS").unwrap_or(SEEDS),
    };
    let whole = seeds.end - seeds.start >= SEEDS;
    let mut met = BTreeMap::<String, u64>::new();
    for seed in seeds {
        let mut world = World::new(seed);
        if let Err(what) = world.live() {
            panic!(
                "{}\nWRONG: {what}\nAgain: WALKS_SEED={seed} cargo test --test walks",
                world.story
            );
        }
        for (reply, count) in world.met {
            *met.entry(reply).or_default() += count;
        }
    }
    println!("{met:#?}");
    for reply in [
        "BGSAVE: +Background saving started",
        "BGSAVE: +Background saving scheduled",
        "BGSAVE SCHEDULE: +Background saving scheduled",
        "BGSAVE CANCEL: +Background saving cancelled",
        "BGSAVE CANCEL: +Scheduled background saving cancelled",
        "BGREWRITEAOF: +Background append only file rewriting started",
        "BGREWRITEAOF: +Background append only file rewriting scheduled",
        "CONFIG SET appendonly yes: +OK",
        "CONFIG SET appendonly no: +OK",
        "SAVE: +OK",
        "SAVE: -ERR",
    ] {
        assert!(!whole || met.get(reply).is_some_and(|count| *count > 20), "too rare: {reply}");
    }
}

/// The start of a log that a disk refuses, again and again.
#[test]
fn a_first_base_is_tried_until_it_is_there() {
    let (disk, clock) = (SimDisk::default(), Arc::new(SimClock::default()));
    let mut server = Embedded::open(env(&disk, &clock), configured(false, true, false)).unwrap();
    server.call(&words("SET counter 1"));
    server.call(&words(SLOW));
    assert_eq!(server.call(&words("CONFIG SET appendonly yes")), b"+OK\r\n");
    disk.set_full(true);
    server.call(&words(FAST));
    let mut tries = 0;
    for _ in 0..100 {
        clock.advance(SECOND);
        server.engine.cron_tick();
        server.settle();
        let log = server.engine.log.as_ref().unwrap();
        assert!(log.waiting_for_base() && server.engine.persistence.wanted.first_base.is_wanted());
        tries = server.engine.persistence.rewrites_failed_in_a_row;
    }
    assert!((5..20).contains(&tries), "{tries} tries in 100 seconds");
    // What can't be made durable isn't given up; what can is made so.
    assert!(server.call(&words("SHUTDOWN")).starts_with(b"-ERR Errors trying to SHUTDOWN"));
    disk.set_full(false);
    server.send(&words("SHUTDOWN"));
    assert_eq!(server.turn(), After::Exit(0));
    assert_eq!(found(&disk.crash(&mut Rng::from_seed(1)), true), 1);
}

/// SAVE while a rewrite walks: both come about.
#[test]
fn a_save_leaves_a_rewrite_and_a_first_base_alone() {
    for log_on in [true, false] {
        let (disk, clock) = (SimDisk::default(), Arc::new(SimClock::default()));
        let mut server =
            Embedded::open(env(&disk, &clock), configured(log_on, true, false)).unwrap();
        server.call(&words("SET counter 1"));
        server.call(&words(SLOW));
        let begin = if log_on { "BGREWRITEAOF" } else { "CONFIG SET appendonly yes" };
        server.call(&words(begin));
        server.turn();
        assert!(server.engine.persistence.walk.job().is_some(), "it walks");
        server.call(&words("SET counter 2"));
        for (command, reply) in [(FAST, &b"+OK\r\n"[..]), ("SAVE", b"+OK\r\n")] {
            server.send(&words(command));
            server.turn();
            assert_eq!(server.take_replies(), reply, "{command}");
        }
        server.settle();
        let state = &server.engine.persistence;
        assert_eq!((state.saves, state.rewrites, state.walk.is_idle()), (1, 1, true));
        for log in [true, false] {
            let left = disk.before(u64::MAX).crash(&mut Rng::from_seed(1));
            assert_eq!(found(&left, log), 2);
        }
    }
}

/// Under `always` no reply goes out with the log that it waits for.
#[test]
fn a_log_whose_last_sync_fails_is_not_turned_off_with_its_replies() {
    let mut refused = 0;
    for at in 0..20 {
        let (disk, clock) = (SimDisk::default(), Arc::new(SimClock::default()));
        let mut server = Embedded::open(env(&disk, &clock), configured(true, true, false)).unwrap();
        server.call(&words("SET counter 1"));
        disk.inject(disk.operations() + at, Fault::Io);
        server.send(&words("SET counter 2"));
        server.send(&words("CONFIG SET appendonly no"));
        let after = server.turn();
        let replies = String::from_utf8(server.take_replies()).unwrap();
        if !replies.starts_with("+OK") {
            assert_eq!(after, After::Exit(1), "fault {at}: {replies}");
            refused += 1;
            continue;
        }
        // Seeds, since a power loss keeps what was not synced now and then.
        for seed in 0..20 {
            let left = disk.before(u64::MAX).crash(&mut Rng::from_seed(seed));
            assert_eq!(found(&left, true), 2, "fault {at}, power loss {seed}");
        }
    }
    assert!(refused >= 1, "no fault met the last sync");
}
