//! Whether a session executes what its client sends: one state, and the functions that change it.
//!
//! ```text
//!              stop(Parked)  blocking command, WAIT
//!   Running ── stop(Paused)  CLIENT PAUSE ───────────┐
//!    ▲    │    stop(Paced)   a walk's writer lags    │
//!    │    │    stop(Choked)  many replies are unread │ go_on
//!    │    │    stop(Scripting)  its script runs on   │
//!    │    │                                          ▼
//!    │    │                                      Resuming  in `tick.resumed`
//!    └────┼──────────────────────────────────────────┘ when this tick's batches are done
//!         │
//!         ├─ leave    QUIT, protocol error, the client has stopped sending: Leaving
//!         └─ kill     at once: Closed        (both from every state)
//! ```
//!
//! Requests that arrive while a session isn't running, and what is left of a batch in which it
//! stopped, wait in its inbox in the order in which they came. `Resuming` exists for that order:
//! a session that is resumed while the tick's batches are being executed may have more of them
//! further behind, and they must not pass the inbox. Invariant: a running session's inbox is empty.
//!
//! Faults, and what answers them:
//! - The client is gone. The reading side says so with its last message, which a tick looks for
//!   before it executes anything (`Engine::end_input`): a session that stands still is given up
//!   with what it waited in, so that nothing is delivered to a client that isn't there. A session
//!   that runs executes what was read before the end, and is closed when its replies are written,
//!   as a client may close its sending side alone.
//! - The reading side doesn't read while requests wait ([`Hold`]). It goes on watching the socket for
//!   the end, except where the session is paced, choked, or runs a slow script: its requests will be
//!   executed.
//! - The server ends: requests behind SHUTDOWN are not executed (`Engine::run_work`).
//!
//! Proven by tests/sessions (random clients, against the real redis-server) and `tests/session_state.rs`.

use std::mem;

use crate::engine::Engine;
use crate::engine::session::Session;
use crate::engine::session::blocking::Parked;
use crate::mailbox::{Hold, SessionId};

/// Bytes of unread replies past which a client's further requests wait until it reads. Upstream
/// has no such bound for normal clients, whose buffers may grow without end; this one is far above
/// what a pipelining client leaves unread.
pub(crate) const PENDING_MAX: usize = 256 << 20;

/// Bytes of replies after which a session's turn is over: its further requests run in the next tick, when
/// these replies have been given to the socket and other clients have had their turn. It is resumed then
/// whether the socket took them or not, and whether they wait for the log or not: a client may send all
/// of a pipeline before it reads.
pub(crate) const TURN_BYTES: usize = 1 << 20;

/// Bytes of replies after which a tick should end: turns are over sooner then, and no more than that is made
/// by sessions that are resumed.
pub(crate) const TICK_BYTES: usize = 4 << 20;

/// Whether a session executes requests, and if not, why.
#[derive(Debug)]
pub enum Run {
    /// It executes what it sends.
    Running,
    /// It waits in a command: for a key, or for copies of what it wrote.
    Parked(Box<Parked>),
    /// A pause (CLIENT PAUSE, FAILOVER, MIGRATE, the end of the server) holds the request that is next; the
    /// number is its place in the line.
    Paused(u64),
    /// Its next command writes, and too much waits for a walk's writer.
    Paced,
    /// It has made [`TURN_BYTES`] of replies in this tick, or more than [`PENDING_MAX`] of them are unread.
    Choked,
    /// Its script has been running for too long and stands still.
    Scripting,
    /// What it stood still for is over; its requests follow when the tick's batches are done.
    Resuming,
    /// It ends when the replies so far are written.
    Leaving,
    /// The socket has been closed; the session goes with the last message of its reading side.
    Closed,
}

/// How far a connection's reading side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// It reads.
    Open,
    /// Its last message is among this tick's.
    Ending,
    /// Its last message has been taken.
    Ended,
}

impl Engine {
    /// Stops a running session for a reason.
    pub(in crate::engine) fn stop(&mut self, slot: SessionId, why: Run) {
        let session = &mut self.sessions[slot];
        debug_assert!(
            matches!(session.run, Run::Running | Run::Resuming),
            "a session stops for one reason at a time"
        );
        session.run = why;
    }

    /// Whether a session may stand still. One whose client has ended its sending side ends instead.
    pub(in crate::engine) fn may_stand_still(&mut self, slot: SessionId) -> bool {
        if self.sessions[slot].input == Input::Open {
            return true;
        }
        self.leave(slot);
        false
    }

    /// Takes a session out of what it stands still for, and returns that. It is resuming then;
    /// [`Engine::go_on`] or another state follows.
    pub(in crate::engine) fn leave_run(&mut self, slot: SessionId) -> Run {
        let Some(session) = self.sessions.get_mut(slot) else { return Run::Closed };
        let old = mem::replace(&mut session.run, Run::Resuming);
        match &old {
            Run::Parked(parked) => self.leave_lines(slot, parked),
            Run::Paused(place) => self.pause.leave(*place),
            _ => {}
        }
        old
    }

    /// Resumes a session that stands still; its requests run in this tick or the next.
    pub(in crate::engine) fn go_on(&mut self, slot: SessionId) {
        self.leave_run(slot);
        self.tick.resumed.push_back(slot);
    }

    /// Ends a session when its replies so far are written; what it sent and didn't get executed is
    /// dropped.
    pub(crate) fn leave(&mut self, slot: SessionId) {
        if self.sessions.get(slot).is_none_or(Session::is_ending) {
            return;
        }
        self.leave_run(slot);
        let session = &mut self.sessions[slot];
        session.run = Run::Leaving;
        session.inbox.clear();
        set_hold(session);
        self.mark_dirty(slot);
    }

    /// Ends a connection now, unwritten replies or not.
    pub(crate) fn kill(&mut self, slot: SessionId) {
        if self.sessions.get(slot).is_none_or(|session| matches!(session.run, Run::Closed)) {
            return;
        }
        self.leave_run(slot);
        self.silence(slot);
        self.untrack(slot);
        self.unmonitor(slot);
        if self.sessions[slot].replica.is_some() {
            self.replica_gone(slot);
        }
        let session = &mut self.sessions[slot];
        session.run = Run::Closed;
        session.inbox.clear();
        session.output.discard();
        set_hold(session);
        if let Some(outlet) = &session.outlet {
            outlet.close();
        }
        let (id, input) = (session.id, session.input);
        self.sessions.delist(id);
        if input == Input::Ended {
            self.tick.ended.push(slot);
        }
    }

    /// Gives up the sessions that stand still and whose clients have gone, before anything that
    /// this tick executes could be delivered to them.
    pub(in crate::engine) fn end_input(&mut self, slot: SessionId) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        session.input = Input::Ending;
        if matches!(session.run, Run::Parked(_) | Run::Paused(_)) {
            self.leave(slot);
        }
    }

    /// The reading side has ended; nothing follows of this connection.
    pub(in crate::engine) fn input_ended(&mut self, slot: SessionId) {
        // It may still be owed replies; messages of others would keep it for ever.
        self.silence(slot);
        self.untrack(slot);
        self.unmonitor(slot);
        let Some(session) = self.sessions.get_mut(slot) else { return };
        session.input = Input::Ended;
        match session.run {
            Run::Closed => self.tick.ended.push(slot),
            // One that stopped in this very tick waits for a client that has gone.
            Run::Running | Run::Parked(_) | Run::Paused(_) => self.leave(slot),
            Run::Paced | Run::Choked | Run::Scripting | Run::Resuming | Run::Leaving => {}
        }
    }

    /// Executes what resumed sessions had sent, one session after the other. Those behind many replies are
    /// left to the next tick.
    #[cold]
    pub(in crate::engine) fn run_resumed(&mut self) {
        let enough = self.tick.made + TICK_BYTES;
        while self.tick.made < enough
            && let Some(slot) = self.tick.resumed.pop_front()
        {
            if self.shutdown.exit_code().is_some() {
                return;
            }
            let Some(session) = self.sessions.get_mut(slot) else { continue };
            if !matches!(session.run, Run::Resuming) {
                continue;
            }
            if session.output.pending() > PENDING_MAX {
                session.run = Run::Choked;
                set_hold(session);
                continue;
            }
            session.run = Run::Running;
            for batch in mem::take(&mut session.inbox) {
                self.tick.work.push((slot, batch));
            }
            self.run_work();
            let Some(session) = self.sessions.get_mut(slot) else { continue };
            if session.is_running() {
                set_hold(session);
                if session.input != Input::Open {
                    self.leave(slot);
                }
            }
        }
    }
}

/// Has the connection read, or not, as the session's state asks for.
pub(in crate::engine) fn set_hold(session: &Session) {
    let Some(link) = &session.link else { return };
    link.hold(match (&session.run, session.inbox.is_empty()) {
        (_, true) => Hold::Reads,
        (Run::Paced | Run::Choked | Run::Scripting, false) => Hold::Stands,
        (_, false) => Hold::WatchesForTheEnd,
    });
}
