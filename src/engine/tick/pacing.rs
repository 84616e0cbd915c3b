//! When the actor sleeps, looks again at once, or waits for more before it begins a tick.
//!
//! ```text
//!            requests                  none for spin-us
//!  asleep ─────────────► ticks ──────────────────────────► asleep
//!                        ▲    │ few requests of many clients,
//!                        │    │ and the last tick began just now
//!                        └────┘ gather: look at the sockets first
//! ```
//!
//! Both only while commands come fast, so that a server with little to do sleeps; and not where there
//! is one processor, which the client needs. Deliberately absent: timers. What waits here is at most
//! tens of microseconds, which no timer keeps.

use crate::base::process;
use crate::engine::Engine;
use crate::persist::log::Log;

/// Commands that are enough for a tick.
const ENOUGH_COMMANDS: u64 = 8;
/// So is one of so many active clients.
const ENOUGH_CLIENTS: u64 = 6;
/// Where pipelines of many clients go to a log, so many commands are enough, or those of half of them.
const ENOUGH_LOGGED: u64 = 400;
/// More of them is waited for only while some come within this part of `gather-us`.
const LOGGED_PATIENCE: u64 = 20;
/// What counts as many clients there, and as a pipeline.
const MANY_CLIENTS: usize = 32;
const PIPELINE: usize = 4;
/// Ticks gather while commands come in less than this part of `gather-us`.
const GATHER_GAPS: u64 = 5;

/// With so many active clients the actor looks for requests three times as long before it sleeps. Not while
/// a snapshot or a rewrite runs: its threads need the processor.
const SEVERAL_CLIENTS: usize = 8;
const SEVERAL_SPINS: u64 = 3;

/// The waits before sleep (`spin-us`) and before a tick (`gather-us`).
///
/// Before sleep: for so long after the last command the actor looks at the sockets again and again. A
/// thread that sleeps must be woken by whoever sends, and at one request at a time that costs the client
/// more than anything we do: `redis-benchmark` gets 10 to 25 % more answers from a server that doesn't
/// sleep. Several clients that are slower with their answers than we with ours, since these are long, are
/// looked for longer: they ask 25 thousand times a second, not 50 (LRANGE with 600 elements).
///
/// Before a tick: a server that is quicker than its clients answers each request alone, and then they
/// (and it) pay a system call for every single one. So where many clients are active, a tick that would
/// follow upon the last at once waits until a part of them has asked. It is what network cards do with
/// their interrupts: 50 clients of LRANGE with 300 elements get 63 instead of 54 thousand answers a
/// second, and each of them sooner. A client alone never waits.
///
/// So do pipelines of many clients where they go to a log: a tick is one write to its file, and a write
/// of 25 KB costs little more than one of 15 (`everysec`, 50 clients with 16 SETs each: 1.02x). Of few
/// clients each is needed to keep the server busy, and none waits.
#[derive(Debug)]
pub(crate) struct Pacing {
    /// In ticks of the stopwatch, as all times here.
    last_command: u64,
    /// The mean time from one command to the next.
    mean_gap: u64,
    /// How long to look before sleep.
    spin: u64,
    /// How long after the beginning of a tick the next one may gather.
    gather: u64,
    /// When the last tick with commands began.
    last_tick: u64,
    /// Commands that were waiting at the last look, and since when so many are.
    seen: u64,
    seen_since: u64,
    /// Whether there is no other processor.
    alone: bool,
}

impl Pacing {
    /// As the engine's settings say.
    pub(crate) fn new(engine: &Engine) -> Self {
        let mut pacing = Self {
            last_command: 0,
            mean_gap: u64::MAX / 8,
            spin: 0,
            gather: 0,
            last_tick: 0,
            seen: 0,
            seen_since: 0,
            alone: process::processors() < 2,
        };
        pacing.follow(engine);
        pacing
    }

    /// Takes over what the settings say.
    pub(crate) fn follow(&mut self, engine: &Engine) {
        let ticks_of = |micros| engine.env.stopwatch.ticks_of(if self.alone { 0 } else { micros });
        (self.spin, self.gather) =
            (ticks_of(engine.settings.spin_us), ticks_of(engine.settings.gather_us));
    }

    /// Whether to look at the sockets once more before beginning a tick with what there is.
    #[inline]
    pub(crate) fn gathers(&mut self, engine: &Engine) -> bool {
        let commands = engine.mailbox.waiting_commands() as u64;
        if commands == 0 || self.gather == 0 || waits_for_disk(engine) {
            return false;
        }
        let now = engine.env.stopwatch.ticks();
        let clients = engine.tick.active.clients();
        if commands != self.seen {
            (self.seen, self.seen_since) = (commands, now);
        }
        let comes = now.saturating_sub(self.seen_since) < self.gather / LOGGED_PATIENCE;
        let wanted = if engine.log.is_some() && comes && few_pipelines(engine) {
            ENOUGH_LOGGED
        } else {
            (clients as u64 / ENOUGH_CLIENTS).min(ENOUGH_COMMANDS)
        };
        let window = wanted.saturating_mul(self.mean_gap).min(self.gather);
        if commands < wanted
            && self.mean_gap < self.gather / GATHER_GAPS
            && now.saturating_sub(self.last_tick) < window
        {
            return true;
        }
        (self.last_tick, self.seen) = (now, 0);
        false
    }

    /// Whether to look again rather than to sleep. `before` is how many commands had been executed
    /// before this tick.
    #[inline]
    pub(crate) fn looks_again(&mut self, engine: &Engine, before: u64) -> bool {
        let now = engine.env.stopwatch.ticks();
        let gap = now.saturating_sub(self.last_command);
        let commands = engine.metrics.commands.saturating_sub(before);
        let several =
            engine.tick.active.clients() >= SEVERAL_CLIENTS && engine.persistence.walk.is_idle();
        let spin = if several { SEVERAL_SPINS * self.spin } else { self.spin };
        if commands == 0 {
            return self.mean_gap < spin && gap < spin && !waits_for_disk(engine);
        }
        self.last_command = now;
        // One long silence must not count for more than a few short ones.
        let most = 8 * self.spin.max(self.gather);
        self.mean_gap = (self.mean_gap.min(most) * 7 + (gap / commands).min(most)) / 8;
        self.mean_gap < spin && !waits_for_disk(engine)
    }
}

/// Whether many clients send pipelines, and fewer than half of them have sent one.
fn few_pipelines(engine: &Engine) -> bool {
    let pipelines = engine.tick.active.pipelines();
    pipelines >= MANY_CLIENTS && 2 * engine.mailbox.waiting_messages() < pipelines
}

/// Whether replies wait for the disk: requests gather by themselves then, and the thread that syncs may
/// need this core (`appendfsync always` on one core: 1.16x of redis-server's throughput, 1.02x with both
/// waits).
fn waits_for_disk(engine: &Engine) -> bool {
    engine.log.as_ref().is_some_and(Log::gates_replies)
}

/// How many clients have sent something within a millisecond, and how many of them a pipeline.
#[derive(Debug, Default)]
pub(crate) struct Active {
    /// The millisecond that is being counted.
    now_ms: i64,
    count: Counts,
    /// What the millisecond before came to, if it was the one before.
    last: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    clients: usize,
    pipelines: usize,
}

impl Active {
    /// A client has sent something for the first time in this millisecond: so many commands.
    #[inline]
    pub(crate) fn note(&mut self, now_ms: i64, commands: usize) {
        if now_ms != self.now_ms {
            let last = if now_ms == self.now_ms + 1 { self.count } else { Counts::default() };
            (self.now_ms, self.last, self.count) = (now_ms, last, Counts::default());
        }
        self.count.clients += 1;
        self.count.pipelines += usize::from(commands >= PIPELINE);
    }

    /// Clients that sent something in the last whole millisecond, or in this one.
    #[inline]
    pub(crate) fn clients(&self) -> usize {
        self.count.clients.max(self.last.clients)
    }

    /// Those of them that sent several commands at once.
    #[inline]
    pub(crate) fn pipelines(&self) -> usize {
        self.count.pipelines.max(self.last.pipelines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_count_by_the_millisecond() {
        let mut active = Active::default();
        assert_eq!(active.clients(), 0);
        for commands in [1, 1, 16, PIPELINE, PIPELINE - 1] {
            active.note(7, commands);
        }
        active.note(8, 1);
        assert_eq!((active.clients(), active.pipelines()), (5, 2));
        active.note(9, 1);
        assert_eq!((active.clients(), active.pipelines()), (1, 0));
        for _ in 0..3 {
            active.note(9, 16);
        }
        assert_eq!((active.clients(), active.pipelines()), (4, 3));
        active.note(200, 1);
        assert_eq!(active.clients(), 1, "those of long ago are not active");
        assert_eq!(active.pipelines(), 0);
    }
}
