//! The tick: everything that arrived since the last one is executed, committed and answered.
//!
//! Commands run in the order of arrival, a window of them at a time: the window's keys are hashed
//! and prefetched first, which is worth more than any other trick here (a lookup in a table of
//! millions of keys is two cache misses, and sixteen of them overlap).

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use crate::base::env::SteadyMillis;
use crate::command::args::Args;
use crate::engine::Engine;
use crate::engine::registry::CommandId;
use crate::engine::session::Session;
use crate::engine::session::run::set_hold;
use crate::engine::tick::pacing::{Active, Pacing};
use crate::keyspace::databases::DbIndex;
use crate::mailbox::{Batch, Message, SessionId};
use crate::resp::request::ProtocolError;

/// The longest time that an alarm is set for: cron looks as well.
const ALARM_MS_MAX: i64 = 1_000_000;

/// Commands that are prefetched together.
const WINDOW: usize = 16;

/// Buffers that a tick reuses.
#[derive(Debug, Default)]
pub(crate) struct Tick {
    pub(in crate::engine) work: Vec<(SessionId, Batch)>,
    plan: Vec<Planned>,
    /// Sessions with something to write.
    pub(in crate::engine) dirty: Vec<SessionId>,
    /// Sessions whose connection is gone with both its sides, to be taken out of the table.
    pub(in crate::engine) ended: Vec<SessionId>,
    /// Sessions that are resuming, first come first; those among them that aren't any more count
    /// for nothing.
    pub(in crate::engine) resumed: VecDeque<SessionId>,
    /// Bytes of replies made in it by sessions with many of them.
    pub(in crate::engine) made: usize,
    /// When it began, on the clock that never goes back.
    pub(in crate::engine) steady: SteadyMillis,
    /// How many clients are at it.
    pub(in crate::engine) active: Active,
}

/// A command of the tick: where it is, and what the name in it means.
#[derive(Clone, Copy, Debug)]
struct Planned {
    work: u32,
    index: u32,
    command: Option<CommandId>,
}

/// What a tick leaves to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Nothing before the next message.
    Wait,
    /// Background work goes on: the next tick should come soon, after I/O had its turn.
    Again,
    /// The server is to end.
    Exit(i32),
}

impl Engine {
    /// Polled by the actor's task: one tick.
    pub fn poll_tick(&mut self, cx: &mut Context<'_>, messages: &mut Vec<Message>) -> After {
        if self.is_busy() {
            // In front of what has come, so that its answers don't wait for the slice.
            self.continue_script();
        }
        let mailbox = std::rc::Rc::clone(&self.mailbox);
        let any_end = mailbox.take(messages, cx.waker());
        self.remote.register(cx.waker());
        self.refresh_time();
        self.tick.made = 0;
        let (began, commands) = (self.env.stopwatch.ticks(), self.metrics.commands);
        if any_end {
            for message in messages.iter() {
                if let Message::Closed(slot) = message {
                    self.end_input(*slot);
                }
            }
        }
        for message in messages.drain(..) {
            match message {
                Message::Requests(session, batch) => self.receive(session, batch),
                other => {
                    self.run_work();
                    if let Some(message) = self.hold_message(other) {
                        self.take_message(message);
                    }
                }
            }
        }
        self.run_work();
        self.check_pause();
        if !self.tick.resumed.is_empty() {
            self.run_resumed();
        }
        if self.is_replica() {
            self.apply_held_stream();
        }
        let after = self.finish_tick();
        let took = self.env.stopwatch.ticks().saturating_sub(began);
        self.metrics.note_tick(took, self.metrics.commands.saturating_sub(commands));
        after
    }

    pub(in crate::engine) fn take_message(&mut self, message: Message) {
        match message {
            Message::Opened(slot, link, outlet) => self.open_session(slot, link, outlet),
            Message::Closed(slot) => self.input_ended(slot),
            Message::Writable(slot) => {
                if let Some(session) = self.sessions.get_mut(slot) {
                    session.output.awaiting_writable = false;
                    self.mark_dirty(slot);
                }
            }
            Message::Oversized(slot, bytes) => self.refuse_oversized(slot, bytes),
            Message::Requests(slot, batch) => self.receive(slot, batch),
            Message::Uplink(number, event) => self.take_uplink(number, event),
            Message::Errand(number, end) => self.take_errand(number, &end),
        }
    }

    /// Puts a batch in line, behind what waits for the same session already.
    #[inline]
    fn receive(&mut self, slot: SessionId, batch: Batch) {
        let now = self.steady();
        let Some(session) = self.sessions.get_mut(slot) else {
            self.mailbox.recycle(batch);
            return;
        };
        if session.traffic.active != now {
            session.traffic.active = now;
            self.tick.active.note(now.0, batch.requests.len());
        }
        session.traffic.input_bytes += batch.buffer.len() as u64;
        self.metrics.input_bytes += batch.buffer.len() as u64;
        let runs = session.is_running();
        if self.exceeds_client_memory(slot, batch.buffer.len()) {
            self.mailbox.recycle(batch);
        } else if runs {
            self.tick.work.push((slot, batch));
        } else {
            self.keep_for_later(slot, batch);
        }
    }

    /// A session that isn't running can't execute these requests: they wait in its inbox, or go
    /// with it.
    #[cold]
    fn keep_for_later(&mut self, slot: SessionId, batch: Batch) {
        match self.sessions.get_mut(slot) {
            Some(session) if !session.is_ending() => {
                session.inbox.push_back(batch);
                set_hold(session);
            }
            _ => self.mailbox.recycle(batch),
        }
    }

    /// Executes the batches in line.
    pub(in crate::engine) fn run_work(&mut self) {
        if self.tick.work.is_empty() {
            return;
        }
        if self.shutdown.exit_code().is_some() {
            // All is saved; what came behind would be acknowledged and lost.
            self.tick.work.clear();
            return;
        }
        let mut work = std::mem::take(&mut self.tick.work);
        let mut plan = std::mem::take(&mut self.tick.plan);
        plan.clear();
        for (number, (_, batch)) in work.iter().enumerate() {
            for index in batch.next..batch.requests.len() {
                let args = Args::new(&batch.buffer, batch.requests.ranges(index));
                let command = self.registry.resolve(args);
                plan.push(Planned { work: number as u32, index: index as u32, command });
            }
        }
        'plan: for window in plan.chunks(WINDOW) {
            if window.len() > 1 {
                self.prefetch(window, &work);
            }
            for planned in window {
                let (slot, batch) = &mut work[planned.work as usize];
                if !self.sessions.get(*slot).is_some_and(Session::is_running) {
                    continue;
                }
                debug_assert_eq!(batch.next, planned.index as usize, "in order, none left out");
                batch.next += 1;
                let request = batch.requests.command(planned.index as usize, &batch.buffer);
                let args = Args::new(&batch.buffer, request.ranges);
                if !self.request(*slot, planned.command, args, request.encoded) {
                    // Held back (CLIENT PAUSE): it runs later.
                    batch.next -= 1;
                }
                if self.shutdown.exit_code().is_some() {
                    break 'plan;
                }
            }
        }
        plan.clear();
        self.tick.plan = plan;
        for (slot, batch) in work.drain(..) {
            self.finish_batch(slot, batch);
        }
        self.tick.work = work;
    }

    /// Fetches what the window's commands will look up into the cache.
    fn prefetch(&self, window: &[Planned], work: &[(SessionId, Batch)]) {
        let mut hashes = [0u64; WINDOW];
        let mut count = 0;
        let mut database = DbIndex(0);
        for planned in window {
            let (slot, batch) = &work[planned.work as usize];
            let key = planned.command.and_then(|id| self.registry[id].spec.first_key());
            let (Some(key), Some(session)) = (key, self.sessions.get(*slot)) else { continue };
            let Some(table) = self.databases.table(session.db) else { continue };
            // One database a window: clients of several at once are rare.
            if count == 0 {
                database = session.db;
            } else if session.db != database {
                continue;
            }
            let ranges = batch.requests.ranges(planned.index as usize);
            if let Some(key) = Args::new(&batch.buffer, ranges).get(key) {
                hashes[count] = table.hash(key);
                count += 1;
            }
        }
        if count > 1
            && let Some(table) = self.databases.table(database)
        {
            table.prefetch(&hashes[..count]);
        }
    }

    /// After a batch: keep what could not run, answer what broke the protocol, reuse the buffer.
    #[inline]
    fn finish_batch(&mut self, slot: SessionId, mut batch: Batch) {
        let running = self.sessions.get(slot).is_some_and(Session::is_running);
        if !running && (batch.next < batch.requests.len() || batch.error.is_some()) {
            self.keep_for_later(slot, batch);
            return;
        }
        if let Some(error) = batch.error.take() {
            self.refuse_protocol(slot, &error);
        }
        self.mailbox.recycle(batch);
    }

    /// Answers what broke the protocol; the connection ends with that.
    #[cold]
    fn refuse_protocol(&mut self, slot: SessionId, error: &ProtocolError) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let peer = session.link.as_ref().map(|link| link.origin.peer_text());
        tracing::debug!("{error} from client {}", peer.unwrap_or_default());
        session.reply().error_bytes(&error.wire());
        self.metrics.count_error(b"ERR");
        self.leave(slot);
    }

    /// Puts a session on the list of those that get their replies at the end of the tick.
    #[inline]
    pub(crate) fn mark_dirty(&mut self, slot: SessionId) {
        if let Some(session) = self.sessions.get_mut(slot)
            && !session.output.dirty
        {
            session.output.dirty = true;
            self.tick.dirty.push(slot);
        }
    }

    /// A slice of what walks through the data.
    fn walk_slice(&mut self) -> bool {
        let began = self.latency_begins();
        let more = self.background_slice();
        self.note_latency("snapshot-slice", began);
        more
    }

    /// The end of the tick: log, replies, and whether background work wants another tick.
    fn finish_tick(&mut self) -> After {
        self.check_signals();
        // A script that stands still has a unit open: nothing else changes data, or takes its picture.
        let busy = self.is_busy();
        let background = busy || self.evict_slice() | self.walk_slice();
        if self.observe.tracking.any_broadcast() {
            self.broadcast();
        }
        let began = self.latency_begins();
        self.write_log();
        self.note_latency("aof-write", began);
        self.note_longest_expiry();
        self.poll_log();
        self.serve_copies();
        if !busy {
            self.failover_tick();
            self.farewell_tick();
        }
        self.flush_dirty();
        self.evict.told = 0;
        self.check_client_memory();
        for slot in std::mem::take(&mut self.tick.ended) {
            if self.is_script_of(slot) {
                self.tick.ended.push(slot);
            } else {
                self.close_session(slot);
            }
        }
        if let Some(code) = self.shutdown.exit_code() {
            return After::Exit(code);
        }
        // Replies that went out may have let stopped sessions go on.
        if background || !self.tick.resumed.is_empty() { After::Again } else { After::Wait }
    }
}

/// Runs the engine as a task until it is to end; returns the exit code.
pub(crate) async fn run(mut engine: Engine) -> (i32, Engine) {
    if engine.persistence.load.is_none() {
        engine.mailbox.accept();
    }
    let mut messages = Vec::new();
    let mut interval = cron_interval(&engine);
    let mut hz = engine.cron.hz();
    let mut pacing = Pacing::new(&engine);
    let mut alarm = Alarm::default();
    let code = std::future::poll_fn(|cx| {
        if alarm.rings(cx) {
            engine.refresh_time();
            if !engine.is_busy() {
                engine.release_overdue();
                engine.check_pause();
                engine.failover_tick();
            }
        }
        while interval.poll_tick(cx).is_ready() {
            let began = engine.env.stopwatch.ticks();
            engine.cron_tick();
            engine.metrics.cron_busy += engine.env.stopwatch.ticks().saturating_sub(began);
            if engine.cron.hz() != hz {
                hz = engine.cron.hz();
                interval = cron_interval(&engine);
            }
            pacing.follow(&engine);
        }
        if pacing.gathers(&engine) {
            come_again(cx);
            return Poll::Pending;
        }
        let commands = engine.metrics.commands;
        match engine.poll_tick(cx, &mut messages) {
            After::Exit(code) => {
                // Before clients' connections end, so that who sees that finds nobody listening.
                engine.outside.relisten = None;
                return Poll::Ready(code);
            }
            After::Again => come_again(cx),
            After::Wait if pacing.looks_again(&engine, commands) => come_again(cx),
            After::Wait => {}
        }
        if alarm.set(&engine, cx) {
            come_again(cx);
        }
        Poll::Pending
    })
    .await;
    (code, engine)
}

/// Like `yield_now`: the wake comes after sockets were looked at, which a plain `wake_by_ref` would
/// put off for as long as the run queue isn't empty.
fn come_again(cx: &mut Context<'_>) {
    let mut turn = std::pin::pin!(tokio::task::yield_now());
    let _ = turn.as_mut().poll(cx);
}

/// Wakes the actor when the next waiting client's time is over.
#[derive(Debug, Default)]
struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    deadline: Option<SteadyMillis>,
}

impl Alarm {
    /// Whether the time has come.
    fn rings(&mut self, cx: &mut Context<'_>) -> bool {
        let rings = self.sleep.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready());
        if rings {
            *self = Self::default();
        }
        rings
    }

    /// Sets it to the next deadline. True where that is now.
    fn set(&mut self, engine: &Engine, cx: &mut Context<'_>) -> bool {
        let ends =
            [engine.blocking.next_deadline(), engine.pause.until, engine.failover_deadline()];
        let next = ends.into_iter().flatten().min();
        if next == self.deadline {
            return false;
        }
        self.deadline = next;
        self.sleep = next.map(|at| {
            let millis = at.since(engine.steady()).clamp(0, ALARM_MS_MAX);
            Box::pin(tokio::time::sleep(Duration::from_millis(millis as u64)))
        });
        // Asked once, it knows whom to wake.
        self.sleep.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready())
    }
}

fn cron_interval(engine: &Engine) -> tokio::time::Interval {
    let period = Duration::from_micros(1_000_000 / engine.cron.hz());
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    interval
}
