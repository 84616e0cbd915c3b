//! HOTKEYS: which keys take the most processor time and the most bytes of the network (Redis 8.6).
//!
//! ```text
//!            START                    STOP, or DURATION is over
//!   idle ─────────────► collecting ─────────────────────────────► stopped
//!    ▲                      ▲                  START                │ │
//!    │                      └───────────────────────────────────────┘ │ RESET
//!    └────────────────────────────────────────────────────────────────┘
//! ```
//! *What counts.* Each call of a command counts for the keys that it names, a share each where these are
//! several: its time, and the bytes of its request and its reply. Of EXEC those are the queued commands',
//! of a command that waits all its tries'. What a script calls counts with its time alone, since nothing
//! of it goes over the network; the bytes are the keys' that EVAL or FCALL names, for which its time
//! isn't counted again. Keys are told apart by name, not by database.
//!
//! *Bound.* A list shows a key's weight at most [`hitters`]'s bound too low: the total weight divided by
//! [`counters`], a 512th by default. Memory: twice so many entries of about 200 bytes a metric, some 200 kB
//! by default, 3 MB with the largest COUNT. Of a long key the first 128 bytes are kept and shown.
//!
//! *Cost.* None while nothing is collected, but for the test of [`observe`](crate::engine::tick::observe).
//! While both metrics are, with a random key of many, which is the worst case: 1,200 instructions a request
//! (callgrind, pipelines of 16: GET 1,774 without and 2,978 with, SET 2,802 and 4,072); with SAMPLE 10 some
//! 400 (2,168, 3,250).
//!
//! *Written from Redis's documentation.* Where that is silent: COUNT is 10 without the option, and at most
//! [`COUNT_MAX`]; with SAMPLE one call in so many counts for its keys, and what is shown is the sample's,
//! not multiplied; the totals are those of all calls. Times of a list are whole microseconds. The network
//! bytes of commands are reckoned as RESP has them; `total-net-bytes` is what sockets have carried.
//! With RESP3 the reply of GET is a map, and its lists are flat arrays with either protocol. The options'
//! bounds and the errors' texts are our own.

use crate::base::env::{SteadyMillis, UnixMillis};
use crate::base::text;
use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::keyspec;
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Command, Flags, Flow,
};
use crate::engine::registry::CommandId;
use crate::engine::session::{Doing, tracking};
use crate::engine::show::hotkeys::hitters::Hitters;
use crate::engine::show::{info, row};
use crate::engine::tick::observe::Observers;
use crate::engine::{ControlHandler, Engine, container};
use crate::mailbox::SessionId;
use crate::resp::reply::Reply;

mod hitters;

const WATCHER: Flags = Flags::ADMIN.union(Flags::NOSCRIPT);
const OPEN: Flags = Flags::LOADING.union(Flags::STALE);

/// The rows of this family.
pub(crate) const COMMANDS: &[Command<ControlHandler>] =
    &[row("HOTKEYS", AtLeast(2), container, Flags::empty(), "8.6.0")
        .cost("That of the subcommand")
        .summary("Which keys take the most time and network.")
        .subcommands(&[
            row("GET", Exactly(2), get, WATCHER, "8.6.0")
                .cost("O(K) for K keys shown")
                .summary("Replies with what has been collected.")
                .deviates(&["see the head of src/engine/show/hotkeys/mod.rs for what counts"]),
            row("HELP", Exactly(2), help, OPEN, "8.6.1").summary("Lists the subcommands."),
            row("RESET", Exactly(2), reset, WATCHER, "8.6.0")
                .summary("Forgets what has been collected."),
            row("START", AtLeast(2), start, WATCHER, "8.6.0")
                .syntax(
                    "METRICS <count [CPU] [NET]>:metrics [COUNT k] [DURATION seconds] \
                     [SAMPLE ratio] [SLOTS <count slot [slot ...]>:slots]",
                )
                .summary("Begins to collect.")
                .deviates(&["`SLOTS` is refused: there is no cluster mode"]),
            row("STOP", Exactly(2), stop, WATCHER, "8.6.0")
                .summary("Ends collecting, and keeps what has been collected."),
        ])];

const HELP: &[&str] = &[
    "HOTKEYS <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "START METRICS <count> [CPU] [NET] [COUNT <k>] [DURATION <seconds>] [SAMPLE <ratio>]",
    "    Begin to collect which keys take the most processor time (CPU), or the most bytes of",
    "    the network (NET). The <k> heaviest are shown; with SAMPLE one call in <ratio> counts.",
    "GET",
    "    What has been collected, the heaviest first.",
    "STOP",
    "    Collect no more, but keep what there is.",
    "RESET",
    "    Forget what there is.",
    "HELP",
    "    Print this help.",
];

/// Keys of a list without COUNT, and at most.
const COUNT_DEFAULT: usize = 10;
const COUNT_MAX: usize = 1000;

/// Counters behind a list of so many keys.
const fn counters(count: usize) -> usize {
    if count <= 64 { 512 } else { count * 8 }
}

/// What START asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Options {
    /// Whether time and bytes are collected.
    cpu: bool,
    net: bool,
    /// Keys that a list shows.
    count: usize,
    /// For how long, in seconds.
    seconds: Option<i64>,
    /// One call in so many counts.
    sample: u64,
}

/// What the process has taken since its start.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    user_ms: u64,
    system_ms: u64,
    net_bytes: u64,
}

impl Usage {
    fn since(self, before: Self) -> Self {
        Self {
            user_ms: self.user_ms.saturating_sub(before.user_ms),
            system_ms: self.system_ms.saturating_sub(before.system_ms),
            // CONFIG RESETSTAT sets the counters back.
            net_bytes: self.net_bytes.saturating_sub(before.net_bytes),
        }
    }
}

/// What is collected.
#[derive(Debug)]
struct Collection {
    options: Options,
    /// When it began, by the clock that everybody reads.
    began_at: UnixMillis,
    /// When it began and when it ends by itself.
    began: SteadyMillis,
    ends: SteadyMillis,
    /// The process's figures when it began.
    before: Usage,
    /// Of all clients' commands: ticks of the stopwatch and bytes.
    ticks: u64,
    bytes: u64,
    hasher: ahash::RandomState,
    by_ticks: Hitters,
    by_bytes: Hitters,
}

/// A call that is over, or under way.
#[derive(Clone, Copy, Debug)]
struct Call {
    /// Where its reply begins in the session's buffer.
    written: usize,
    /// Ticks of the stopwatch that it took.
    took: u64,
    /// Whether its request has been counted.
    retry: bool,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Idle,
    Collecting(Box<Collection>),
    /// With what the process took, and for how many milliseconds.
    Stopped(Box<Collection>, Usage, i64),
}

/// What HOTKEYS knows.
#[derive(Debug, Default)]
pub(crate) struct State {
    phase: Phase,
    /// The calls under way: EXEC's or a script's, and the one in it.
    calls: Vec<Call>,
}

impl State {
    /// A call begins; its session's replies have so many bytes.
    pub(in crate::engine) fn enter_call(&mut self, written: usize) {
        if matches!(self.phase, Phase::Collecting(_)) {
            self.calls.push(Call { written, took: 0, retry: false });
        }
    }

    /// The call that began last took so many ticks.
    pub(in crate::engine) fn leave_call(&mut self, took: u64) {
        if let Some(call) = self.calls.last_mut() {
            call.took = took;
        }
    }

    /// A command that waited has been tried again.
    #[inline]
    pub(in crate::engine) fn enter_retry(&mut self, written: usize, took: u64) {
        if matches!(self.phase, Phase::Collecting(_)) {
            self.calls.push(Call { written, took, retry: true });
        }
    }
}

fn help(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().status_lines(HELP.iter().copied());
    Ok(Flow::Done)
}

fn number(args: Args<'_>, index: usize, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
    let number = text::parse_i64(args.get(index)?)?;
    range.contains(&number).then_some(number)
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        if args.len() < 3 || !args.is(2, "METRICS") {
            return Err(CommandError::text("ERR METRICS has to be the first option"));
        }
        let Some(metrics @ (1 | 2)) = number(args, 3, 1..=2) else {
            return Err(CommandError::text("ERR the count of METRICS must be 1 or 2"));
        };
        let behind = 4 + metrics as usize;
        let metric = |word: &str| (4..behind.min(args.len())).any(|index| args.is(index, word));
        let (cpu, net) = (metric("CPU"), metric("NET"));
        if i64::from(cpu) + i64::from(net) != metrics {
            return Err(CommandError::text(
                "ERR METRICS must be followed by as many different metrics (CPU, NET) as it counts",
            ));
        }
        let mut options = Self { cpu, net, count: COUNT_DEFAULT, seconds: None, sample: 1 };
        let mut seen = [false; 3];
        let mut index = behind;
        while index < args.len() {
            let which = match () {
                () if args.is(index, "COUNT") => 0,
                () if args.is(index, "DURATION") => 1,
                () if args.is(index, "SAMPLE") => 2,
                () if args.is(index, "SLOTS") => {
                    return Err(CommandError::text("ERR SLOTS can't be used without cluster mode"));
                }
                () => return Err(CommandError::Syntax),
            };
            if std::mem::replace(&mut seen[which], true) || index + 1 == args.len() {
                return Err(CommandError::Syntax);
            }
            options.set(which, args, index + 1)?;
            index += 2;
        }
        Ok(options)
    }

    fn set(&mut self, which: usize, args: Args<'_>, index: usize) -> Result<(), CommandError> {
        const NO_COUNT: CommandError = CommandError::text("ERR COUNT must be from 1 to 1000");
        const NO_DURATION: CommandError =
            CommandError::text("ERR DURATION must be a positive number of seconds");
        const NO_RATIO: CommandError =
            CommandError::text("ERR SAMPLE must be a positive number, one call in so many");
        match which {
            0 => {
                let count = number(args, index, 1..=COUNT_MAX as i64);
                self.count = count.ok_or(NO_COUNT)? as usize;
            }
            1 => self.seconds = Some(number(args, index, 1..=i64::MAX).ok_or(NO_DURATION)?),
            _ => self.sample = number(args, index, 1..=i64::MAX).ok_or(NO_RATIO)? as u64,
        }
        Ok(())
    }
}

fn start(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    engine.end_overdue_hotkeys();
    let options = Options::parse(args)?;
    if matches!(engine.observe.hotkeys.phase, Phase::Collecting(_)) {
        return Err(CommandError::text("ERR HOTKEYS is collecting already"));
    }
    let began = engine.steady();
    let seconds = options.seconds.unwrap_or(i64::MAX);
    let seed = engine.rng.next_u64();
    engine.observe.hotkeys.calls.clear();
    engine.observe.hotkeys.phase = Phase::Collecting(Box::new(Collection {
        options,
        began_at: engine.now(),
        began,
        ends: began.later(seconds.saturating_mul(1_000)),
        before: engine.usage(),
        ticks: 0,
        bytes: 0,
        hasher: ahash::RandomState::with_seeds(seed, 0, 0, 0),
        by_ticks: Hitters::new(counters(options.count)),
        by_bytes: Hitters::new(counters(options.count)),
    }));
    engine.observe.on.insert(Observers::HOTKEYS);
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

fn stop(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.end_overdue_hotkeys();
    if !matches!(engine.observe.hotkeys.phase, Phase::Collecting(_)) {
        return Err(CommandError::text("ERR HOTKEYS isn't collecting"));
    }
    engine.stop_hotkeys(engine.steady());
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

fn reset(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.end_overdue_hotkeys();
    if matches!(engine.observe.hotkeys.phase, Phase::Collecting(_)) {
        return Err(CommandError::text("ERR HOTKEYS is collecting, and must be stopped first"));
    }
    engine.observe.hotkeys = State::default();
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

fn get(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.end_overdue_hotkeys();
    let (now, usage) = (engine.steady(), engine.usage());
    let stopwatch = &engine.env.stopwatch;
    let mut reply = engine.sessions[slot].reply();
    let (active, collection, spent, millis) = match &engine.observe.hotkeys.phase {
        Phase::Idle => {
            reply.null();
            return Ok(Flow::Done);
        }
        Phase::Collecting(collection) => {
            let millis = now.since(collection.began);
            (1, collection, usage.since(collection.before), millis)
        }
        Phase::Stopped(collection, spent, millis) => (0, collection, *spent, *millis),
    };
    let Options { cpu, net, count, sample, .. } = collection.options;
    let micros = |ticks: u64| stopwatch.micros(ticks) as i64;
    let integer = |reply: &mut Reply<'_>, name: &str, value: i64| {
        reply.bulk(name.as_bytes());
        reply.int(value);
    };
    reply.map(7 + if cpu { 3 } else { 0 } + if net { 2 } else { 0 });
    integer(&mut reply, "tracking-active", active);
    integer(&mut reply, "sample-ratio", sample as i64);
    reply.bulk(b"selected-slots");
    reply.array(0);
    integer(&mut reply, "all-commands-all-slots-us", micros(collection.ticks));
    integer(&mut reply, "net-bytes-all-commands-all-slots", collection.bytes as i64);
    integer(&mut reply, "collection-start-time-unix-ms", collection.began_at.0);
    integer(&mut reply, "collection-duration-ms", millis);
    if cpu {
        integer(&mut reply, "total-cpu-time-user-ms", spent.user_ms as i64);
        integer(&mut reply, "total-cpu-time-sys-ms", spent.system_ms as i64);
    }
    if net {
        integer(&mut reply, "total-net-bytes", spent.net_bytes as i64);
    }
    let list =
        |reply: &mut Reply<'_>, name: &str, hitters: &Hitters, value: &dyn Fn(u64) -> i64| {
            let heaviest = hitters.heaviest(count);
            reply.bulk(name.as_bytes());
            reply.array(heaviest.len() * 2);
            for (key, weight) in heaviest {
                reply.bulk(key);
                reply.int(value(weight));
            }
        };
    if cpu {
        list(&mut reply, "by-cpu-time-us", &collection.by_ticks, &micros);
    }
    if net {
        list(&mut reply, "by-net-bytes", &collection.by_bytes, &|bytes| bytes as i64);
    }
    Ok(Flow::Done)
}

/// The bytes of a request as RESP has it: `*2 $3 GET $1 k`, each with its end of line.
pub(in crate::engine) fn request_bytes(args: Args<'_>) -> u64 {
    let line = |number: usize| number.checked_ilog10().unwrap_or(0) as usize + 4;
    let words = args.from(0).map(|word| line(word.len()) + word.len() + 2);
    (line(args.len()) + words.sum::<usize>()) as u64
}

impl Collection {
    /// Adds to what a key takes.
    #[inline]
    fn add(&mut self, key: &[u8], ticks: u64, bytes: u64) {
        let hash = self.hasher.hash_one(key);
        if self.options.cpu {
            self.by_ticks.add(hash, key, ticks);
        }
        if self.options.net {
            self.by_bytes.add(hash, key, bytes);
        }
    }
}

impl Engine {
    fn usage(&self) -> Usage {
        let (system, user) = info::cpu_seconds(nix::sys::resource::UsageWho::RUSAGE_SELF);
        Usage {
            user_ms: (user * 1000.0) as u64,
            system_ms: (system * 1000.0) as u64,
            net_bytes: self.metrics.input_bytes + self.metrics.output_bytes,
        }
    }

    /// Ends collecting where DURATION is over.
    pub(in crate::engine) fn end_overdue_hotkeys(&mut self) {
        if let Phase::Collecting(collection) = &self.observe.hotkeys.phase
            && collection.ends <= self.steady()
        {
            let ends = collection.ends;
            self.stop_hotkeys(ends);
        }
    }

    fn stop_hotkeys(&mut self, at: SteadyMillis) {
        let usage = self.usage();
        let hotkeys = &mut self.observe.hotkeys;
        self.observe.on.remove(Observers::HOTKEYS);
        hotkeys.calls = Vec::new();
        hotkeys.phase = match std::mem::take(&mut hotkeys.phase) {
            Phase::Collecting(collection) => {
                let spent = usage.since(collection.before);
                let millis = at.since(collection.began);
                Phase::Stopped(collection, spent, millis)
            }
            other => other,
        };
    }

    /// Behind a call, or another try of one that has waited: what it took counts for its keys.
    pub(in crate::engine) fn count_hotkeys(
        &mut self,
        slot: SessionId,
        command: CommandId,
        args: Args<'_>,
    ) {
        // There is none where collecting has begun since.
        let Some(call) = self.observe.hotkeys.calls.pop() else { return };
        self.end_overdue_hotkeys();
        let Phase::Collecting(collection) = &mut self.observe.hotkeys.phase else { return };
        let scripted = self.scripts.is_caller(slot);
        let session = self.sessions.get(slot);
        let queued = session.is_some_and(|session| session.doing == Doing::Exec);
        let written = session.map_or(0, |session| session.output.buffer.len());
        let request = if call.retry || scripted { 0 } else { request_bytes(args) };
        let reply = if scripted { 0 } else { written.saturating_sub(call.written) as u64 };
        // EXEC's and scripts' own calls have the time and the replies of what they call.
        if !queued && !scripted {
            collection.ticks += call.took;
            collection.bytes += reply;
        }
        collection.bytes += request;
        let sample = collection.options.sample;
        if sample > 1 && self.rng.below(sample) != 0 {
            return;
        }
        let spec = self.registry[command].spec;
        let ticks = if spec.flags.contains(Flags::RUNS_SCRIPTS) { 0 } else { call.took };
        let bytes = request + reply;
        if let Some(key) = tracking::only_key(spec).and_then(|index| args.get(index)) {
            collection.add(key, ticks, bytes);
            return;
        }
        let keys = keyspec::find(spec, args).unwrap_or_default();
        let share = |whole: u64| whole.div_ceil(keys.len() as u64);
        for key in &keys {
            collection.add(args.at(key.index), share(ticks), share(bytes));
        }
    }
}
