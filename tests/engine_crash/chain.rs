//! A chain of lives of one server on one disk, and what must be found after each moment of them.
//!
//! While a server lives, the whole of its data is noted after each step: its history. The disk keeps
//! what it was before each operation, so that one life shows every crash that it could have met. What
//! a crash leaves must be a state of the history, no earlier than the last that was promised, no later
//! than the last that was asked for; and so nothing acknowledged is lost, order is kept, and no
//! unit is there by half. The log and the snapshot promise different things: both are looked at.
//!
//! States are compared as they are stored: a key whose time has come is there until its removal is
//! in the log. That is why whoever looks at a disk does it with a clock at which nothing has expired.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use redstart::base::env::{Clock, Disk, Env, Rng, Stopwatch, SyncPoint, Threads, UnixMillis};
use redstart::base::sim_disk::{Fault, SimClock, SimDisk};
use redstart::config::kinds::AppendFsync;
use redstart::config::settings::Settings;
use redstart::engine::tick::actor::After;
use redstart::journal::StreamPosition;
use redstart::keyspace::databases::DbIndex;
use redstart::keyspace::digest;
use redstart::persist::manifest::{Layout, Manifest};

use crate::embedded::{Embedded, Peer, settings};
use crate::streams::Streams;
use crate::workload::{SMALL_FORMS, Words, Workload, words};

const SECOND: u64 = 1_000_000_000;
/// Gives snapshots time for what happens meanwhile; where somebody waits for one, time stands still.
const SLOW_WALKS: &str = "CONFIG SET rdb-key-save-delay 20000";
const FAST_WALKS: &str = "CONFIG SET rdb-key-save-delay 0";

/// Every key with its value's digest and its expiry.
pub type State = BTreeMap<(u32, Vec<u8>), (digest::Digest, Option<i64>)>;

/// What a run's server promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// What is acknowledged is durable.
    Always,
    /// What was acknowledged two seconds ago is.
    Everysec,
    /// No log: what a completed snapshot began with is.
    Snapshot,
}

impl Promise {
    pub fn of(seed: u64) -> Self {
        [Self::Always, Self::Everysec, Self::Snapshot][(seed % 3) as usize]
    }
}

/// The earliest states, as indexes of the history, that may be found.
#[derive(Clone, Copy, Debug, Default)]
struct Floors {
    /// In the log after a power loss; none while there has been no log.
    log: Option<usize>,
    /// In the log where only the process ended.
    acknowledged: Option<usize>,
    /// In the snapshot.
    snapshot: usize,
    /// Whether the server would start with the log.
    log_on: bool,
}

impl Floors {
    fn of(self, source: Source, power: bool) -> usize {
        let log = if power { self.log } else { self.acknowledged };
        // Without a log, a server that wants one begins with the snapshot.
        if source == Source::Log { log.unwrap_or(self.snapshot) } else { self.snapshot }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Log,
    Snapshot,
}

/// What was known when the disk had done so many operations.
#[derive(Clone, Copy, Debug)]
struct Mark {
    operations: u64,
    /// The last state.
    state: usize,
    floors: Floors,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Figures {
    pub lives: u64,
    pub crashes: u64,
    pub recoveries: u64,
    /// Of these, those that found out where in the stream the data is.
    pub placed: u64,
    /// By what was done and how it failed.
    pub faults: BTreeMap<String, u64>,
}

impl Figures {
    pub fn add(&mut self, other: &Self) {
        self.lives += other.lives;
        self.crashes += other.crashes;
        self.recoveries += other.recoveries;
        self.placed += other.placed;
        for (kind, count) in &other.faults {
            *self.faults.entry(kind.clone()).or_default() += count;
        }
    }
}

/// Faults of a life: from operation `at` on, so many operations fail.
#[derive(Clone, Copy, Debug)]
pub struct Trouble {
    pub at: u64,
    pub fault: Fault,
    pub lasts: u64,
}

/// Which crashes of a life are tried.
#[derive(Clone, Copy, Debug)]
pub enum Sweep {
    /// Every one.
    All,
    /// About so many, from an operation on.
    Some { from: u64, count: u64 },
}

/// The lives so far.
pub struct Chain {
    promise: Promise,
    rng: Rng,
    workload: Workload,
    /// A sync that does nothing, to show that it is missed.
    pub ignored: Option<SyncPoint>,
    pub figures: Figures,
    pub disk: SimDisk,
    now_nanos: u64,
    /// Whether a snapshot takes its time.
    slow_walks: bool,
    /// Whether the last step ends the server.
    shuts_down: bool,
    /// Whether any life has had a fault in it.
    troubled: bool,
    states: Vec<Rc<State>>,
    /// Where in the stream each state was.
    places: Vec<BTreeSet<StreamPosition>>,
    streams: Streams,
    floors: Floors,
    marks: Vec<Mark>,
    /// What was done, each with the number of the next operation of the disk.
    steps: Vec<(u64, String)>,
    /// What is told of earlier lives.
    story: Vec<String>,
}

/// A life under way.
struct Life {
    server: Embedded,
    clock: Arc<SimClock>,
    waiters: Vec<(Peer, bool)>,
    floors: Floors,
    /// What each step led to.
    led_to: Vec<usize>,
    /// States that were acknowledged under `everysec`, and when.
    acknowledged: VecDeque<(u64, usize)>,
    saves: u64,
    saving: Option<usize>,
}

fn env(disk: &SimDisk, clock: &Arc<SimClock>) -> Env {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let clock = Arc::clone(clock) as Arc<_>;
    Env { clock, stopwatch: Stopwatch::still(), disk, threads: Threads::None, seed: 7 }
}

/// All data as it is stored.
fn state_of(server: &mut Embedded) -> State {
    let databases = &mut server.engine.databases;
    databases.set_now(UnixMillis(0));
    let mut state = State::new();
    for index in 0..databases.count() {
        let mut db = databases.db(DbIndex(index));
        let mut keys = Vec::new();
        db.for_each(|entry| keys.push((entry.key().to_vec(), entry.expiry().map(|at| at.0))));
        for (key, expiry) in keys {
            let digest = digest::digest_value(&mut db, &key);
            state.insert((index, key), (digest, expiry));
        }
    }
    server.engine.refresh_time();
    state
}

/// What two states differ in.
fn difference(found: &State, wanted: &State) -> Vec<String> {
    let mut lines = Vec::new();
    let name = |key: &(u32, Vec<u8>)| format!("{}:{}", key.0, String::from_utf8_lossy(&key.1));
    for (key, value) in found {
        match wanted.get(key) {
            None => lines.push(format!("{} is there", name(key))),
            Some(other) if other == value => {}
            Some(other) if other.0 != value.0 => lines.push(format!("{} is another", name(key))),
            Some(other) => {
                lines.push(format!("{} expires {:?}, not {:?}", name(key), value.1, other.1));
            }
        }
    }
    let missing = wanted.keys().filter(|key| !found.contains_key(*key));
    lines.extend(missing.map(|key| format!("{} is missing", name(key))));
    lines
}

impl Chain {
    pub fn new(seed: u64) -> Self {
        let promise = Promise::of(seed);
        let floors = Floors { log_on: promise != Promise::Snapshot, ..Floors::default() };
        let mut rng = Rng::from_seed(seed ^ 0x5eed);
        Self {
            promise,
            workload: Workload::new(seed),
            ignored: None,
            figures: Figures::default(),
            disk: SimDisk::default(),
            now_nanos: SECOND,
            slow_walks: rng.below(4) != 0,
            shuts_down: false,
            troubled: false,
            states: vec![Rc::default()],
            places: vec![BTreeSet::new()],
            streams: Streams::new(seed.is_multiple_of(2)),
            floors,
            marks: Vec::new(),
            steps: Vec::new(),
            story: Vec::new(),
            rng,
        }
    }

    fn settings(&self, source: Source) -> Settings {
        let log = if source == Source::Log { "yes" } else { "no" };
        let policy = if self.promise == Promise::Always { "always" } else { "everysec" };
        let mut directives = vec![
            ("appendonly", log),
            ("appendfsync", policy),
            ("save", ""),
            ("auto-aof-rewrite-percentage", "0"),
            ("aof-write-out-bytes", "1024"),
            ("repl-backlog-size", "1gb"),
        ];
        directives.extend(SMALL_FORMS);
        let mut settings = settings(&directives);
        settings.databases = 4;
        settings
    }

    /// What a server would find on a disk; the disk stays as it is.
    fn look(
        &mut self,
        disk: &SimDisk,
        source: Source,
    ) -> Result<(State, Option<StreamPosition>), String> {
        self.figures.recoveries += 1;
        let settings = self.settings(source);
        let mut server = Embedded::look(env(disk, &Arc::default()), settings)
            .map_err(|error| format!("the {source:?} is not recovered: {error}"))?;
        self.figures.placed += u64::from(server.found.is_some());
        Ok((state_of(&mut server), server.found))
    }

    /// A place in the stream stands for the data that was found with it.
    fn check_place(&self, found: &State, at: Option<StreamPosition>) -> Result<(), String> {
        let Some(at) = at else { return Ok(()) };
        let is_there = |(state, places): (&Rc<State>, &BTreeSet<StreamPosition>)| {
            places.contains(&at) && **state == *found
        };
        if self.states.iter().zip(&self.places).rev().any(is_there) {
            return Ok(());
        }
        let was = self.places.iter().rposition(|places| places.contains(&at));
        if self.troubled && !self.places.iter().flatten().any(|place| place.id == at.id) {
            // A start that failed had begun that history, and nobody had more of it.
            return Ok(());
        }
        Err(format!("it says that it is at {at} of the stream, where state {was:?} was"))
    }

    /// Which state a disk holds.
    fn locate(
        &mut self,
        disk: &SimDisk,
        source: Source,
        floor: usize,
        ceiling: usize,
    ) -> Result<usize, String> {
        let (found, at) = self.look(disk, source)?;
        let is_found = |index: &usize| *self.states[*index] == found;
        if let Some(index) = (floor..=ceiling).rev().find(is_found) {
            self.check_place(&found, at)?;
            self.streams.check(disk)?;
            return Ok(index);
        }
        let promise = format!("the {source:?} must hold state {floor} to {ceiling}");
        if let Some(index) = (0..self.states.len()).rev().find(is_found) {
            return Err(format!("{promise} and holds state {index}"));
        }
        let differences = (0..self.states.len()).map(|index| {
            let lines = difference(&found, &self.states[index]);
            (lines.len(), index, lines)
        });
        let (_, index, lines) = differences.min().unwrap_or_default();
        let lines = lines[..lines.len().min(12)].join(", ");
        Err(format!("{promise} and holds none that ever was; of state {index} it differs: {lines}"))
    }

    fn note_state(&mut self, server: &mut Embedded) -> usize {
        let state = state_of(server);
        if self.states.last().is_none_or(|last| **last != state) {
            self.states.push(Rc::new(state));
            self.places.push(BTreeSet::new());
        }
        self.note_place(server);
        self.states.len() - 1
    }

    /// Where in the stream the last state is.
    fn note_place(&mut self, server: &Embedded) {
        if let (Some(places), Some(at)) = (self.places.last_mut(), server.engine.journal.position())
        {
            places.insert(at);
        }
    }

    fn mark(&mut self, floors: Floors) {
        let (operations, state) = (self.disk.operations(), self.states.len() - 1);
        self.marks.push(Mark { operations, state, floors });
    }

    /// Starts the server on what the disk holds. None where a fault did not let it.
    fn begin(&mut self) -> Result<Option<Life>, String> {
        self.figures.lives += 1;
        self.disk.keep_moments();
        if let Some(point) = self.ignored {
            self.disk.ignore(point);
        }
        self.steps.clear();
        self.marks.clear();
        self.mark(self.floors);
        let mut floors = self.floors;
        let source = if floors.log_on { Source::Log } else { Source::Snapshot };
        let ceiling = self.states.len() - 1;
        let found = self.locate(&self.disk.clone(), source, floors.of(source, false), ceiling)?;
        self.now_nanos += self.rng.below(SECOND / 2);
        let clock = Arc::new(SimClock::default());
        clock.advance(self.now_nanos);
        let now_ms = clock.unix_micros() / 1000;
        // Each life has its own randomness, and so a history of its own.
        let env = Env { seed: self.figures.lives, ..env(&self.disk, &clock) };
        let mut server = match Embedded::open(env, self.settings(source)) {
            Ok(server) => server,
            Err(_) if !self.disk.faults_met().is_empty() => return Ok(None),
            Err(error) => return Err(format!("the server does not start: {error}")),
        };
        // A snapshot's keys whose time has come aren't loaded.
        let mut wanted = (*self.states[found]).clone();
        let loaded = state_of(&mut server);
        wanted.retain(|key, (_, at)| loaded.contains_key(key) || at.is_none_or(|at| at >= now_ms));
        if loaded != wanted {
            let lines = difference(&loaded, &wanted).join(", ");
            return Err(format!("a server that starts has another state than was seen: {lines}"));
        }
        self.check_place(&self.states[found], server.found)?;
        self.streams.follow(&mut server);
        self.states.push(Rc::new(loaded));
        self.places.push(BTreeSet::new());
        self.note_place(&server);
        if server.engine.log.as_ref().is_some_and(|log| !log.waiting_for_base()) {
            // What was found in a log was made durable before anything else was done.
            floors.log = Some(self.states.len() - 1);
            floors.acknowledged = floors.log;
        }
        self.mark(floors);
        let waiters = (0..2).map(|_| (server.join(), false)).collect();
        Ok(Some(Life {
            server,
            clock,
            waiters,
            floors,
            led_to: Vec::new(),
            acknowledged: VecDeque::new(),
            saves: 0,
            saving: None,
        }))
    }

    /// A life of so many steps, or until the server has had enough.
    pub fn live(&mut self, steps: usize, trouble: Option<Trouble>) -> Result<(), String> {
        if let Some(Trouble { at, fault, lasts }) = trouble {
            self.troubled = true;
            (at..at + lasts).for_each(|number| self.disk.inject(number, fault));
        }
        let outcome = self.live_through(steps);
        for (_, kind, fault) in self.disk.faults_met() {
            let fault = match fault {
                Fault::Io => "EIO",
                Fault::Short(_) if kind == "append" => "short",
                Fault::Full | Fault::Short(_) => "ENOSPC",
            };
            *self.figures.faults.entry(format!("{kind}: {fault}")).or_default() += 1;
        }
        outcome.map_err(|what| self.tell(&what, self.disk.operations(), "the server still lives"))
    }

    fn live_through(&mut self, steps: usize) -> Result<(), String> {
        let Some(mut life) = self.begin()? else { return Ok(()) };
        for step in 0..steps {
            let last = step + 1 == steps;
            let after = self.step(&mut life, step, last);
            if let After::Exit(code) = after {
                self.steps.push((self.disk.operations(), format!("the server ends: {code}")));
                break;
            }
        }
        Ok(())
    }

    /// What a step begins with. A snapshot that begins here has what was there before the step.
    fn jobs(&mut self, on: bool, step: usize) -> Vec<Words> {
        let mut list: Vec<Words> = Vec::new();
        let (slow, fast) = (words(SLOW_WALKS), words(FAST_WALKS));
        if step == 0 && self.slow_walks {
            list.push(slow.clone());
        }
        match self.rng.below(24) {
            0..=1 => list.push(words("BGSAVE")),
            2..=3 => list.push(words("BGREWRITEAOF")),
            4 if self.rng.below(4) == 0 => list.extend([fast, words("SAVE"), slow]),
            5..=6 if self.workload.toggles => {
                list.push(words(&format!(
                    "CONFIG SET appendonly {}",
                    if on { "no" } else { "yes" }
                )));
            }
            _ => {}
        }
        list
    }

    /// What follows it.
    fn requests(&mut self, step: usize, last: bool) -> Vec<Words> {
        let mut list: Vec<Words> = Vec::new();
        for _ in 0..self.rng.below(4) {
            list.extend(self.workload.unit());
        }
        if self.rng.below(16) == 0 {
            list.push(words("BGSAVE"));
        }
        list.push(words(&format!("ECHO step-{step}-done")));
        if last && (self.shuts_down || self.rng.below(3) == 0) {
            let how = if self.shuts_down || self.rng.below(2) == 0 {
                "SHUTDOWN SAVE"
            } else {
                "SHUTDOWN NOSAVE"
            };
            list.extend([words(FAST_WALKS), words(how)]);
        }
        list
    }

    fn step(&mut self, life: &mut Life, step: usize, last: bool) -> After {
        let passed = self.rng.below(SECOND / 3);
        life.clock.advance(passed);
        self.now_nanos += passed;
        let began_at = self.disk.operations();
        // After a fault in this life or in one before, the mark need not be durable.
        let marked = !self.troubled && self.log_is_left();
        life.server.engine.cron_tick();
        // What expired on the way goes into the same frame; a snapshot may begin here.
        let before = self.note_state(&mut life.server);
        let stream = life.server.engine.journal.end();
        let mut told = format!("{} ms:", self.now_nanos / 1_000_000);
        for command in self.jobs(life.floors.log_on, step) {
            life.send(&mut told, &command);
        }
        for (peer, waits) in &mut life.waiters {
            *waits &= peer.take_replies().is_empty();
            if !*waits && self.rng.below(6) == 0 {
                let command = self.workload.waiting();
                tell_command(&mut told, &command);
                let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
                life.server.send_as(peer, &words);
                *waits = true;
            }
        }
        for command in self.requests(step, last) {
            life.send(&mut told, &command);
        }
        let mut after = life.server.turn();
        while after == After::Again {
            after = life.server.turn();
        }
        self.streams.follow(&mut life.server);
        let id = life.server.engine.journal.history().id;
        if id != stream.id {
            // The stream stood still, and is recorded since the log was turned on.
            self.places[before].insert(StreamPosition { id, ..stream });
        }
        let state = self.note_state(&mut life.server);
        life.led_to.push(state);
        let earlier = life.floors.snapshot;
        life.note_promises(before, state, marked, after);
        let replies = life.server.take_replies();
        life.note_replies(self.now_nanos, &replies);
        if life.server.engine.log.is_some() && !self.disk.faults_met().is_empty() {
            // A first base that the disk would not call durable may be in place all the same.
            life.floors.log.get_or_insert(earlier);
            life.floors.acknowledged.get_or_insert(earlier);
        }
        life.note_durable(self.now_nanos, earlier);
        let _ = write!(told, " => state {state}, {:?}", life.floors);
        self.steps.push((began_at, told));
        self.mark(life.floors);
        after
    }

    /// Whether the manifest says that no log follows what it names.
    fn log_is_left(&self) -> bool {
        let manifest = Manifest::load(&self.disk, &Layout::default_in(Path::new("")));
        manifest
            .is_ok_and(|read| read.is_some_and(|read| read.is_ok_and(|it| it.detached.is_some())))
    }

    /// What was known when operation `at` was the next.
    fn known(&self, at: u64) -> (Floors, usize) {
        let floors = self.marks.iter().rfind(|mark| mark.operations <= at).map(|mark| mark.floors);
        let under_way = self.marks.iter().find(|mark| mark.operations > at).or(self.marks.last());
        (floors.unwrap_or(self.floors), under_way.map_or(0, |mark| mark.state))
    }

    /// Tries the crashes of the life that was lived last.
    pub fn sweep(&mut self, which: Sweep) -> Result<(), String> {
        let end = self.disk.operations();
        let (from, stride) = match which {
            Sweep::All => (0, 1),
            Sweep::Some { from, count } => (from, (end.saturating_sub(from) / count).max(1)),
        };
        let mut at = from.min(end);
        loop {
            self.crash_before(at, true)?;
            if at.is_multiple_of(3) {
                self.crash_before(at, true)?;
                self.crash_before(at, false)?;
            }
            if at == end {
                return Ok(());
            }
            at = (at + stride).min(end);
        }
    }

    fn crash_before(&mut self, at: u64, power: bool) -> Result<(), String> {
        self.figures.crashes += 1;
        let (floors, ceiling) = self.known(at);
        let disk = self.disk.before(at);
        let left = if power { disk.crash(&mut self.rng) } else { disk.kill() };
        let sources: &[Source] = match (floors.log_on, at.is_multiple_of(4)) {
            (_, true) => &[Source::Log, Source::Snapshot],
            (true, false) => &[Source::Log],
            (false, false) => &[Source::Snapshot],
        };
        for source in sources {
            let located = self.locate(&left, *source, floors.of(*source, power), ceiling);
            let how = if power { "the power goes" } else { "the process is killed" };
            located.map_err(|what| self.tell(&what, at, how))?;
        }
        Ok(())
    }

    /// A life that ends with everything durable, in the log and in the snapshot. Returns the last state.
    pub fn live_and_shut_down(&mut self, steps: usize) -> Result<Rc<State>, String> {
        self.shuts_down = true;
        self.workload.toggles = false;
        self.floors.log_on = true;
        self.live(steps, None)?;
        let mut server_ends = self.steps.iter().rev().take(1);
        assert!(server_ends.any(|(_, step)| step == "the server ends: 0"));
        self.disk = self.disk.kill();
        Ok(Rc::clone(&self.states[self.states.len() - 1]))
    }

    /// Whether a disk that was damaged at rest holds a state all the same. None where it says that
    /// it doesn't.
    pub fn holds(&mut self, disk: &SimDisk, log: bool, state: &State) -> Option<bool> {
        let source = if log { Source::Log } else { Source::Snapshot };
        self.look(disk, source).ok().map(|(found, _)| found == *state)
    }

    /// Each look of a start on what the last life left fails once: the server starts with all that is
    /// there or says why it doesn't, and in neither case is anything gone. Returns how many of them
    /// kept it from starting, and how many did not.
    pub fn blind_starts(&mut self) -> Result<[u64; 2], String> {
        let source = if self.floors.log_on { Source::Log } else { Source::Snapshot };
        let clock = Arc::new(SimClock::default());
        clock.advance(self.now_nanos);
        let start = |chain: &Self, disk: &SimDisk| {
            let server = Embedded::open(env(disk, &clock), chain.settings(source));
            server.map(|mut server| state_of(&mut server))
        };
        let mut counts = [0; 2];
        // After a power loss all that is left is durable; after the end of a process it need not be.
        for power in [false, true] {
            let disk = self.disk.before(u64::MAX);
            let found = if power { disk.crash(&mut self.rng) } else { disk };
            let seeing = found.before(u64::MAX);
            let whole = start(self, &seeing)?;
            for number in 0..seeing.looks() {
                self.figures.lives += 1;
                let disk = found.before(u64::MAX);
                disk.fail_look(number);
                let started = start(self, &disk);
                counts[usize::from(started.is_ok())] += 1;
                if started.is_ok_and(|state| state != whole) {
                    return Err(format!("look {number} failed, and it started with other data"));
                }
                let left = if power { disk.crash(&mut self.rng) } else { disk.kill() };
                let state = start(self, &left);
                if state.as_ref() != Ok(&whole) {
                    let what = state.err().unwrap_or_else(|| "it has other data".into());
                    return Err(format!("look {number} failed, and at the next start: {what}"));
                }
            }
        }
        Ok(counts)
    }

    /// Ends the life that was lived last: at its last operation, or at one from `from` on.
    pub fn end(&mut self, from: u64) {
        let last = self.disk.operations();
        let from = from.min(last);
        let whole = self.rng.below(3) == 0;
        let at = if whole { last } else { from + self.rng.below((last + 1).saturating_sub(from)) };
        let power = self.rng.below(2) == 0;
        let (floors, ceiling) = self.known(at);
        let how = if power { "the power goes" } else { "the process is killed" };
        self.story.push(self.tell("", at, how));
        self.floors = floors;
        if power {
            self.floors.acknowledged = floors.log;
        }
        self.states.truncate(ceiling + 1);
        self.places.truncate(ceiling + 1);
        let disk = self.disk.before(at);
        self.disk = if power { disk.crash(&mut self.rng) } else { disk.kill() };
    }

    /// The life that was lived last, up to an operation.
    fn tell(&self, what: &str, at: u64, end: &str) -> String {
        const LINES: usize = 14;
        let mut text = self.story.join("");
        let steps: Vec<_> = self.steps.iter().filter(|(operation, _)| *operation <= at).collect();
        let _ = writeln!(
            text,
            "a life begins ({:?}, {:?}); its last steps:",
            self.promise, self.floors
        );
        for (operation, step) in &steps[steps.len().saturating_sub(LINES)..] {
            let _ = writeln!(text, "  before operation {operation}, at {step}");
        }
        let trace = self.disk.trace();
        let done = &trace[..trace.len().min(at as usize)];
        let _ = writeln!(text, "the disk's last operations, faults {:?}:", self.disk.faults_met());
        for line in &done[done.len().saturating_sub(LINES)..] {
            let _ = writeln!(text, "  {line}");
        }
        let _ = writeln!(text, "{end} before operation {at}");
        if !what.is_empty() {
            let _ = writeln!(text, "WRONG: {what}");
        }
        text
    }
}

fn tell_command(told: &mut String, words: &Words) {
    const SHOWN: usize = 60;
    let text: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word)).collect();
    let text: String = text.join(" ").chars().take(SHOWN).collect();
    let _ = write!(told, " [{text}]");
}

impl Life {
    fn send(&self, told: &mut String, command: &Words) {
        tell_command(told, command);
        self.server.send(&command.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }

    /// What snapshots promise, and a clean end. Before the step the log was `marked` as turned off.
    fn note_promises(&mut self, before: usize, state: usize, marked: bool, after: After) {
        let persistence = &self.server.engine.persistence;
        if persistence.saves > self.saves {
            self.saves = persistence.saves;
            self.floors.snapshot = self.saving.take().unwrap_or(before);
            if marked {
                // It is newer than the log that was turned off, and preferred to it.
                self.floors.log = self.floors.log.max(Some(self.floors.snapshot));
                self.floors.acknowledged = self.floors.acknowledged.max(self.floors.log);
            }
        }
        if persistence.saving() {
            self.saving.get_or_insert(before);
        } else {
            self.saving = None;
        }
        self.floors.log_on = self.server.engine.settings.appendonly;
        if after == After::Exit(0) {
            let whole = self.server.engine.log.as_ref().is_some_and(|log| !log.waiting_for_base());
            if whole {
                self.floors.log = Some(state);
                self.floors.acknowledged = Some(state);
            }
        }
    }

    fn note_replies(&mut self, now: u64, replies: &[u8]) {
        let text = String::from_utf8_lossy(replies);
        let steps = text.split("step-").skip(1).filter_map(|rest| rest.split_once("-done"));
        let Some(step) = steps.filter_map(|(number, _)| number.parse::<usize>().ok()).max() else {
            return;
        };
        // While a frame can't be written, a reply speaks for what its own client changed, which has
        // got into the log or there would be none; of what others did it says nothing.
        let engine = &self.server.engine;
        if engine.settings.appendfsync != AppendFsync::Always
            && engine.log.as_ref().is_some_and(|log| log.answerable() < log.offset())
        {
            return;
        }
        self.acknowledged.push_back((now, self.led_to[step]));
    }

    /// What of the acknowledged must not be lost. `snapshot` is what was in the snapshot before the
    /// step, and so in the first base of a log.
    fn note_durable(&mut self, now: u64, snapshot: usize) {
        let Some(log) = self.server.engine.log.as_ref().filter(|log| !log.waiting_for_base())
        else {
            // What was acknowledged without a log is promised when there is a base that has it.
            return;
        };
        self.floors.log.get_or_insert(snapshot);
        let Some(&(_, newest)) = self.acknowledged.back() else { return };
        self.floors.acknowledged = self.floors.acknowledged.max(Some(newest));
        // A disk that refuses is told to clients, who then know that time proves nothing.
        if log.failure().is_some() {
            return;
        }
        if self.server.engine.settings.appendfsync == AppendFsync::Always {
            if log.durable() == log.offset() {
                self.floors.log = self.floors.log.max(Some(newest));
            }
            return;
        }
        while let Some(&(at, state)) = self.acknowledged.front() {
            if now - at <= 2 * SECOND {
                break;
            }
            self.floors.log = self.floors.log.max(Some(state));
            self.acknowledged.pop_front();
        }
    }
}
