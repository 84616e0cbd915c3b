//! LATENCY: what kept clients waiting for longer than `latency-monitor-threshold` milliseconds.
//!
//! Each event has the last 160 samples, one a second at most (the longest of that second). Events, by
//! upstream's names as far as there is such a thing here:
//!
//! | event | what took long |
//! |---|---|
//! | `command`, `fast-command` | a command, its row's `fast` flag tells which |
//! | `command-unblocking` | serving a client that waited for a key |
//! | `expire-cycle`, `expire-del` | a round of active expiry; removing one key whose time had come |
//! | `eviction-cycle`, `eviction-del` | making room for a command, or in the background; removing one key |
//! | `aof-write` | handing a tick's frame to the log |
//! | `aof-fsync-always` | a sync that replies waited for (on its own thread: the server goes on) |
//! | `snapshot-slice` | a tick's share of a snapshot, rewrite or full sync (no fork here) |
//!
//! *Cost.* With the threshold at 0, its default, nothing is measured that wasn't already: commands share
//! the comparison of the slow log.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

use crate::command::args::Args;
use crate::command::error::{self, CommandError};
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Command, Flags, Flow,
};
use crate::engine::registry::CommandId;
use crate::engine::show::command_log::Kind;
use crate::engine::show::row;
use crate::engine::{ControlHandler, Engine, container};
use crate::mailbox::SessionId;

const OPEN: Flags = Flags::LOADING.union(Flags::STALE);
const WATCHER: Flags = OPEN.union(Flags::ADMIN).union(Flags::NOSCRIPT);
const SPECIAL: &[&str] =
    &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"];

/// The rows of this family.
pub(crate) const COMMANDS: &[Command<ControlHandler>] =
    &[row("LATENCY", AtLeast(2), container, Flags::empty(), "2.8.13")
        .cost("That of the subcommand")
        .summary("What made the server slow.")
        .subcommands(&[
            row("DOCTOR", Exactly(2), doctor, WATCHER, "2.8.13")
                .tips(SPECIAL)
                .summary("Explains latency in words."),
            row("GRAPH", Exactly(3), graph, WATCHER, "2.8.13")
                .tips(SPECIAL)
                .syntax("event")
                .summary("Draws the samples of an event."),
            row("HELP", Exactly(2), help, OPEN, "2.8.13").summary("Lists the subcommands."),
            row("HISTOGRAM", AtLeast(2), histogram, WATCHER, "7.0.0")
                .cost("O(N) for N commands shown")
                .tips(SPECIAL)
                .syntax("[command [command ...]]")
                .summary("Replies with the distribution of commands' times."),
            row("HISTORY", Exactly(3), history, WATCHER, "2.8.13")
                .tips(SPECIAL)
                .syntax("event")
                .summary("Replies with the samples of an event."),
            row("LATEST", Exactly(2), latest, WATCHER, "2.8.13")
                .tips(SPECIAL)
                .summary("Replies with the last sample of each event.")
                .deviates(&[
                    "expiry, eviction and snapshots work in slices of milliseconds, so that their \
                     events are rare; that of a snapshot's slice is `snapshot-slice`, since there \
                     is no fork",
                ]),
            row("RESET", AtLeast(2), reset, WATCHER, "2.8.13")
                .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
                .syntax("[event [event ...]]")
                .summary("Forgets samples."),
        ])];

const HELP: &[&str] = &[
    "LATENCY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DOCTOR",
    "    Latency explained in words.",
    "GRAPH <event>",
    "    The samples of <event> as a drawing.",
    "HISTORY <event>",
    "    The samples of <event>.",
    "LATEST",
    "    The last sample of each event.",
    "RESET [<event> ...]",
    "    Forget the samples of the events named, or of all.",
    "HISTOGRAM [COMMAND ...]",
    "    How the times of the commands named, or of all, are distributed.",
    "HELP",
    "    Print this help.",
];

/// Samples that are kept of an event.
const SAMPLES_MAX: usize = 160;
/// Rows of a drawing, and columns of the line above it.
const ROWS: usize = 4;
const LINE: usize = 80;

/// An event's samples: when, in seconds since the epoch, and how many milliseconds.
#[derive(Debug, Default)]
struct Event {
    samples: VecDeque<(i64, u64)>,
    max: u64,
}

impl Event {
    fn add(&mut self, now: i64, millis: u64) {
        self.max = self.max.max(millis);
        match self.samples.back_mut() {
            Some(last) if last.0 == now => last.1 = last.1.max(millis),
            _ => {
                if self.samples.len() == SAMPLES_MAX {
                    self.samples.pop_front();
                }
                self.samples.push_back((now, millis));
            }
        }
    }

    /// The mean, and the mean distance from it.
    fn spread(&self) -> (u64, u64) {
        let count = self.samples.len().max(1) as u64;
        let mean = self.samples.iter().map(|sample| sample.1).sum::<u64>() / count;
        let distance = self.samples.iter().map(|sample| sample.1.abs_diff(mean)).sum::<u64>();
        (mean, distance / count)
    }

    /// Columns of bars, the last sample to the right, with the time since then below each.
    fn draw(&self, name: &str, now: i64) -> String {
        let shown = self.samples.iter().skip(self.samples.len().saturating_sub(LINE));
        let shown: Vec<(i64, u64)> = shown.copied().collect();
        let low = shown.iter().map(|sample| sample.1).min().unwrap_or(0);
        let high = shown.iter().map(|sample| sample.1).max().unwrap_or(0);
        let mut text = format!(
            "{name} - high {high} ms, low {low} ms (all time high {} ms)\n{}\n",
            self.max,
            "-".repeat(LINE)
        );
        let steps = ROWS as u64 * 3;
        let step = |millis: u64| {
            let of_all = (millis - low) * steps / (high - low).max(1);
            of_all.min(steps - 1) as usize
        };
        for row in (0..ROWS).rev() {
            for (_, millis) in &shown {
                let step = step(*millis);
                text.push(match step / 3 {
                    top if top > row => '|',
                    top if top < row => ' ',
                    _ if *millis == high && high > low => '#',
                    _ => ['_', '-', '`'][step % 3],
                });
            }
            text.push('\n');
        }
        text.push('\n');
        let labels: Vec<String> = shown.iter().map(|sample| ago(now - sample.0)).collect();
        let longest = labels.iter().map(String::len).max().unwrap_or(0);
        for index in 0..longest {
            text.extend(labels.iter().map(|label| {
                label.as_bytes().get(index).map_or(' ', |letter| char::from(*letter))
            }));
            text.push('\n');
        }
        text
    }
}

/// How long ago something was, in its largest unit.
fn ago(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..86400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86400),
    }
}

/// The samples of all events.
#[derive(Debug, Default)]
pub(crate) struct State {
    events: BTreeMap<&'static str, Event>,
}

impl State {
    fn find(&self, name: &[u8]) -> Option<(&'static str, &Event)> {
        let found = self.events.iter().find(|(known, _)| known.as_bytes() == name);
        found.map(|(name, event)| (*name, event))
    }
}

fn help(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().status_lines(HELP.iter().copied());
    Ok(Flow::Done)
}

fn history(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut reply = engine.sessions[slot].reply();
    let Some((_, event)) = engine.observe.latency.find(args.at(2)) else {
        reply.array(0);
        return Ok(Flow::Done);
    };
    reply.array(event.samples.len());
    for (seconds, millis) in &event.samples {
        reply.array(2);
        reply.int(*seconds);
        reply.int(*millis as i64);
    }
    Ok(Flow::Done)
}

fn latest(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    let events = &engine.observe.latency.events;
    let mut reply = engine.sessions[slot].reply();
    reply.array(events.len());
    for (name, event) in events {
        let (seconds, millis) = event.samples.back().copied().unwrap_or_default();
        reply.array(4);
        reply.bulk(name.as_bytes());
        reply.int(seconds);
        reply.int(millis as i64);
        reply.int(event.max as i64);
    }
    Ok(Flow::Done)
}

fn reset(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let events = &mut engine.observe.latency.events;
    let before = events.len();
    let named = |name: &str| args.len() == 2 || args.from(2).any(|word| word == name.as_bytes());
    events.retain(|name, _| !named(name));
    let forgotten = before - events.len();
    engine.sessions[slot].reply().count(forgotten);
    Ok(Flow::Done)
}

fn graph(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let now = engine.now().0 / 1000;
    let Some((name, event)) = engine.observe.latency.find(args.at(2)) else {
        let name = error::quotable(args.at(2));
        let text = [b"ERR No samples available for event '", name, b"'"].concat();
        return Err(CommandError::quoting(text));
    };
    let text = event.draw(name, now);
    engine.sessions[slot].reply().verbatim("txt", text.as_bytes());
    Ok(Flow::Done)
}

/// What can be done about an event.
fn advice(event: &str) -> &'static str {
    match event {
        "command" => {
            "SLOWLOG GET shows the single commands. Those that work on many elements at once \
             (KEYS, SMEMBERS, big ranges, long scripts) can be replaced by SCAN, SSCAN and the like, or \
             asked of a replica."
        }
        "fast-command" => {
            "Such commands take microseconds: the process didn't get its core, or memory was \
             being fetched from disk. Look at other processes, swapping and virtual machines."
        }
        "expire-cycle" => {
            "Many keys expire at once: spread their times, or lower active-expire-effort."
        }
        "expire-del" | "eviction-del" => {
            "A big value was freed: lazyfree-lazy-expire and lazyfree-lazy-eviction have that done \
             on another thread."
        }
        "command-unblocking" => {
            "A client that waited was served much at once: let it ask for less."
        }
        "aof-fsync-always" => {
            "The disk takes long to sync, and replies wait for it: use a faster one, or \
             appendfsync everysec."
        }
        "eviction-cycle" => {
            "Much has to go to make room: raise maxmemory, write less at once, or lower \
             maxmemory-eviction-tenacity."
        }
        "aof-write" => {
            "The disk doesn't keep up: look at who else writes to it, or use appendfsync everysec."
        }
        _ => "A snapshot's or rewrite's share of a round took long, perhaps for one big value.",
    }
}

fn doctor(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    let events = &engine.observe.latency.events;
    let mut text = String::new();
    if events.is_empty() && engine.settings.latency_monitor_threshold == 0 {
        text.push_str(
            "Latency isn't monitored. CONFIG SET latency-monitor-threshold <milliseconds> begins \
             with it.\n",
        );
    } else if events.is_empty() {
        text.push_str("Nothing has taken longer than latency-monitor-threshold.\n");
    }
    // Writing to a String can't fail.
    for (number, (name, event)) in events.iter().enumerate() {
        let (mean, distance) = event.spread();
        let first = event.samples.front().map_or(0, |sample| sample.0);
        let last = event.samples.back().map_or(0, |sample| sample.0);
        let period = (last - first) as f64 / (event.samples.len().max(2) - 1) as f64;
        let _ = writeln!(
            text,
            "{}. {name}: {} times (mean {mean} ms, mean deviation {distance} ms, every {period:.2} \
             seconds, at most {} ms ever). {}",
            number + 1,
            event.samples.len(),
            event.max,
            advice(name),
        );
    }
    engine.sessions[slot].reply().verbatim("txt", text.as_bytes());
    Ok(Flow::Done)
}

fn histogram(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let registry = &engine.registry;
    let mut chosen: Vec<_> = registry.iter().map(|(id, _)| id).collect();
    if args.len() > 2 {
        let named: Vec<_> = args.from(2).filter_map(|name| registry.find_full(name)).collect();
        // A container stands for its subcommands.
        chosen.retain(|id| {
            named.contains(id) || registry[*id].parent.is_some_and(|parent| named.contains(&parent))
        });
    }
    chosen.retain(|id| engine.metrics.by_command[id.0 as usize].latency.total() > 0);
    let stopwatch = &engine.env.stopwatch;
    let mut reply = engine.sessions[slot].reply();
    reply.map(chosen.len());
    for id in chosen {
        let latency = &engine.metrics.by_command[id.0 as usize].latency;
        reply.bulk(registry[id].full_name.as_bytes());
        reply.map(2);
        reply.bulk(b"calls");
        reply.int(latency.total() as i64);
        reply.bulk(b"histogram_usec");
        let steps = latency.powers_of_two(|ticks| stopwatch.nanos(ticks));
        reply.map(steps.len());
        for (micros, count) in steps {
            reply.int(micros as i64);
            reply.int(count as i64);
        }
    }
    Ok(Flow::Done)
}

impl Engine {
    /// When something begins that may take long, in ticks of the stopwatch; 0 where nobody wants to know.
    #[inline]
    pub(in crate::engine) fn latency_begins(&self) -> u64 {
        if self.settings.latency_monitor_threshold == 0 { 0 } else { self.env.stopwatch.ticks() }
    }

    /// Keeps a sample of what took from `began` to now, where that is long.
    #[inline]
    pub(in crate::engine) fn note_latency(&mut self, event: &'static str, began: u64) {
        if began != 0 {
            let took = self.env.stopwatch.ticks().saturating_sub(began);
            self.keep_sample(event, took);
        }
    }

    /// Keeps a sample of the longest removal of an expired key since the last call, where that is long.
    #[inline]
    pub(in crate::engine) fn note_longest_expiry(&mut self) {
        let took = self.databases.take_longest_expiry();
        if took != 0 {
            self.keep_sample("expire-del", took);
        }
    }

    #[cold]
    fn keep_sample(&mut self, event: &'static str, took: u64) {
        self.note_latency_millis(event, self.env.stopwatch.micros(took) / 1000);
    }

    /// Keeps a sample of so many milliseconds, where that is long.
    pub(in crate::engine) fn note_latency_millis(&mut self, event: &'static str, millis: u64) {
        let threshold = self.settings.latency_monitor_threshold;
        if threshold != 0 && millis >= threshold {
            let now = self.env.clock.unix_micros() / 1_000_000;
            self.observe.latency.events.entry(event).or_default().add(now, millis);
        }
    }

    /// A command took so long that the slow log or LATENCY may want to know.
    #[cold]
    pub(in crate::engine) fn note_slow(
        &mut self,
        slot: SessionId,
        command: CommandId,
        args: Args<'_>,
        took: u64,
    ) {
        let fast = self.registry[command].has(Flags::FAST);
        self.keep_sample(if fast { "fast-command" } else { "command" }, took);
        let micros = self.env.stopwatch.micros(took);
        if u64::try_from(self.settings.slowlog_log_slower_than).is_ok_and(|from| micros >= from) {
            self.keep_command(Kind::Slow, slot, command, args, micros);
        }
    }

    /// Takes over what the settings say of commands that take long.
    pub(crate) fn apply_slow_threshold(&mut self) {
        let slow = u64::try_from(self.settings.slowlog_log_slower_than).unwrap_or(u64::MAX);
        let latency = match self.settings.latency_monitor_threshold {
            0 => u64::MAX,
            millis => millis.saturating_mul(1000),
        };
        let measured = latency != u64::MAX;
        self.databases.measure_expiry(measured.then(|| self.env.stopwatch.clone()));
        self.cron.slow_ticks = match slow.min(latency) {
            u64::MAX => u64::MAX,
            micros => self.env.stopwatch.ticks_of(micros),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_one_sample_and_an_event_so_many() {
        let mut event = Event::default();
        for (now, millis) in [(1, 5), (1, 9), (1, 7), (2, 3)] {
            event.add(now, millis);
        }
        assert_eq!(event.samples, [(1, 9), (2, 3)]);
        assert_eq!((event.max, event.spread()), (9, (6, 3)));
        (3..1000).for_each(|now| event.add(now, 1));
        assert_eq!((event.samples.len(), event.max), (SAMPLES_MAX, 9));
    }

    #[test]
    fn a_drawing_stands_on_its_lowest_sample() {
        let mut event = Event::default();
        event.add(0, 5);
        event.add(60, 15);
        let text = event.draw("command", 62);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "command - high 15 ms, low 5 ms (all time high 15 ms)");
        assert_eq!(lines[2..], [" #", " |", " |", "_|", "", "12", "ms"]);
    }
}
