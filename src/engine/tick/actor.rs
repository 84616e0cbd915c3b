//! The tick: everything that arrived since the last one is executed, committed and answered.
//!
//! Commands run in the order of arrival, a window of them at a time: the window's keys are hashed
//! and prefetched first, which is worth more than any other trick here (a lookup in a table of
//! millions of keys is two cache misses, and sixteen of them overlap).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use crate::command::args::Args;
use crate::engine::Engine;
use crate::engine::registry::CommandId;
use crate::engine::session::{Closing, Session};
use crate::engine::tick::pacing::{Active, Pacing};
use crate::keyspace::databases::DbIndex;
use crate::mailbox::{Batch, Message, SessionId};

/// The longest time that an alarm is set for: cron looks as well.
const ALARM_MS_MAX: i64 = 1_000_000;

/// Commands that are prefetched together.
const WINDOW: usize = 16;

/// Buffers that a tick reuses.
#[derive(Debug, Default)]
pub struct Tick {
    work: Vec<(SessionId, Batch)>,
    plan: Vec<Planned>,
    /// Sessions with something to write.
    pub(in crate::engine) dirty: Vec<SessionId>,
    /// Sessions whose connection is gone, to be ended when their last replies had their chance.
    closed: Vec<SessionId>,
    /// Sessions that may go on with requests that had to wait.
    pub(in crate::engine) resumable: Vec<SessionId>,
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
        let mailbox = std::rc::Rc::clone(&self.mailbox);
        mailbox.take(messages, cx.waker());
        self.remote.register(cx.waker());
        self.refresh_time();
        let (began, commands) = (self.env.stopwatch.ticks(), self.metrics.commands);
        for message in messages.drain(..) {
            match message {
                Message::Requests(session, batch) => self.receive(session, batch),
                other => {
                    self.run_work();
                    self.take_message(other);
                }
            }
        }
        self.run_work();
        while !self.tick.resumable.is_empty() {
            self.resume();
        }
        let after = self.finish_tick();
        let took = self.env.stopwatch.ticks().saturating_sub(began);
        self.metrics.note_tick(took, self.metrics.commands.saturating_sub(commands));
        after
    }

    fn take_message(&mut self, message: Message) {
        match message {
            Message::Opened(slot, link, outlet) => self.open_session(slot, link, outlet),
            Message::Closed(slot) => {
                // It may still be owed replies; messages would keep it forever.
                self.silence(slot);
                self.tick.closed.push(slot);
            }
            Message::Writable(slot) => {
                if let Some(session) = self.sessions.get_mut(slot) {
                    session.awaiting_writable = false;
                    self.mark_dirty(slot);
                }
            }
            Message::Oversized(slot, bytes) => self.refuse_oversized(slot, bytes),
            Message::Requests(slot, batch) => self.receive(slot, batch),
        }
    }

    /// Puts a batch in line, behind what waits for the same session already.
    #[inline]
    fn receive(&mut self, slot: SessionId, batch: Batch) {
        let now_ms = self.now().0;
        let open = |session: &&mut Session| session.closing != Closing::Closed;
        let Some(session) = self.sessions.get_mut(slot).filter(open) else {
            self.mailbox.recycle(batch);
            return;
        };
        if session.active_ms != now_ms {
            session.active_ms = now_ms;
            self.tick.active.note(now_ms, batch.requests.len());
        }
        session.input_bytes += batch.buffer.len() as u64;
        self.metrics.input_bytes += batch.buffer.len() as u64;
        if session.is_stopped() || !session.inbox.is_empty() {
            session.inbox.push_back(batch);
            hold_reading(session);
            return;
        }
        self.tick.work.push((slot, batch));
    }

    /// Requests of sessions that may go on.
    #[cold]
    fn resume(&mut self) {
        for slot in std::mem::take(&mut self.tick.resumable) {
            let Some(session) = self.sessions.get_mut(slot) else { continue };
            if session.is_stopped() {
                continue;
            }
            if let Some(batch) = session.inbox.pop_front() {
                self.tick.work.push((slot, batch));
                self.run_work();
            }
            let Some(session) = self.sessions.get_mut(slot) else { continue };
            if session.inbox.is_empty() {
                if let Some(link) = &session.link {
                    link.hold(false);
                }
            } else if !session.is_stopped() {
                self.tick.resumable.push(slot);
            }
        }
    }

    /// Executes the batches in line.
    fn run_work(&mut self) {
        if self.tick.work.is_empty() {
            return;
        }
        let mut work = std::mem::take(&mut self.tick.work);
        let mut plan = std::mem::take(&mut self.tick.plan);
        plan.clear();
        for (number, (_, batch)) in work.iter().enumerate() {
            for index in batch.next..batch.requests.len() {
                let request = batch.requests.command(index, &batch.buffer);
                let args = Args::new(&batch.buffer, request.ranges);
                let command = self.registry.resolve(args);
                plan.push(Planned { work: number as u32, index: index as u32, command });
            }
        }
        for window in plan.chunks(WINDOW) {
            if window.len() > 1 {
                self.prefetch(window, &work);
            }
            for planned in window {
                let (slot, batch) = &mut work[planned.work as usize];
                let stopped = self.sessions.get(*slot).is_none_or(Session::is_stopped);
                if stopped || batch.next != planned.index as usize {
                    continue;
                }
                batch.next += 1;
                let request = batch.requests.command(planned.index as usize, &batch.buffer);
                let args = Args::new(&batch.buffer, request.ranges);
                if !self.request(*slot, planned.command, args, request.encoded) {
                    // Held back (CLIENT PAUSE): it runs later.
                    batch.next -= 1;
                }
            }
        }
        plan.clear();
        self.tick.plan = plan;
        // The last first: each puts what is left of it in front of its session's inbox.
        for (slot, batch) in work.drain(..).rev() {
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
            let request = batch.requests.command(planned.index as usize, &batch.buffer);
            if let Some(key) = Args::new(&batch.buffer, request.ranges).get(key) {
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
        if let Some(session) = self.sessions.get_mut(slot) {
            if batch.next < batch.requests.len() && session.closing == Closing::No {
                session.inbox.push_front(batch);
                hold_reading(session);
                return;
            }
            if let Some(error) = batch.error.take()
                && session.closing == Closing::No
            {
                let peer = session.link.as_ref().map(|link| link.origin.peer_text());
                tracing::debug!("{error} from client {}", peer.unwrap_or_default());
                session.reply().error_bytes(&error.wire());
                session.closing = Closing::AfterReply;
                self.metrics.count_error(b"ERR");
                self.mark_dirty(slot);
            }
        }
        self.mailbox.recycle(batch);
    }

    /// Puts a session on the list of those that get their replies at the end of the tick.
    #[inline]
    pub fn mark_dirty(&mut self, slot: SessionId) {
        if let Some(session) = self.sessions.get_mut(slot)
            && !session.dirty
        {
            session.dirty = true;
            self.tick.dirty.push(slot);
        }
    }

    /// Has the requests that a session was stopped with looked at again.
    pub fn mark_resumable(&mut self, slot: SessionId) {
        if !self.tick.resumable.contains(&slot) {
            self.tick.resumable.push(slot);
        }
    }

    /// The end of the tick: log, replies, and whether background work wants another tick.
    fn finish_tick(&mut self) -> After {
        self.check_signals();
        let background = self.background_slice();
        self.write_log();
        self.poll_log();
        self.serve_copies();
        self.flush_dirty();
        for slot in std::mem::take(&mut self.tick.closed) {
            // A client may close its sending side only, and still read what it is owed.
            let owed = self.sessions.get(slot).is_some_and(|session| {
                session.closing != Closing::Closed && !session.gates.is_empty()
            });
            if owed {
                self.tick.closed.push(slot);
            } else {
                self.close_session(slot);
            }
        }
        if let Some(code) = self.shutdown.exit_code() {
            return After::Exit(code);
        }
        // Replies that went out may have let stopped sessions go on.
        if background || !self.tick.resumable.is_empty() { After::Again } else { After::Wait }
    }
}

/// A stopped session's further requests stay in the socket.
fn hold_reading(session: &Session) {
    if let Some(link) = &session.link {
        link.hold(true);
    }
}

/// Runs the engine as a task until it is to end; returns the exit code.
pub async fn run(mut engine: Engine) -> (i32, Engine) {
    let mut messages = Vec::new();
    let mut interval = cron_interval(&engine);
    let mut hz = engine.cron.hz();
    let mut pacing = Pacing::new(&engine);
    let mut alarm = Alarm::default();
    let code = std::future::poll_fn(|cx| {
        if alarm.rings(cx) {
            engine.refresh_time();
            engine.release_overdue();
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
            After::Exit(code) => return Poll::Ready(code),
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
    /// In milliseconds since the epoch.
    deadline_ms: Option<i64>,
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
        let next = engine.blocking.next_deadline_ms();
        if next == self.deadline_ms {
            return false;
        }
        self.deadline_ms = next;
        self.sleep = next.map(|at| {
            let millis = (at - engine.now().0).clamp(0, ALARM_MS_MAX);
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
