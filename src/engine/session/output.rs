//! Replies: when they may leave, how they are written, and what becomes of a client that doesn't
//! read them. Also the beginning and the end of a session.
//!
//! Under `appendfsync always` a reply waits until the log is durable up to where it stood when the
//! reply was made: no client ever sees what a crash could take back, be it its own write or
//! another's that it read.

use std::sync::Arc;

use std::collections::VecDeque;

use crate::base::env::SteadyMillis;
use crate::base::mutation::{self, Mutation};
use crate::engine::Engine;
use crate::engine::session::LogOffset;
use crate::engine::session::push::pending_max;
use crate::engine::session::run::{PENDING_MAX, Run, TICK_BYTES, TURN_BYTES};
use crate::engine::session::{Gate, Output, Session};
use crate::mailbox::{Link, Outlet, SessionId};
use crate::resp::reply::Protocol;
use crate::resp::request::Bounds;

/// Reply buffers kept for reuse, and the largest that is kept, in bytes.
const SPARES_MAX: usize = 256;
const SPARE_BYTES_MAX: usize = 64 * 1024;
/// Room in a new buffer.
const NEW_BYTES: usize = 4096;

/// Unwritten replies that no limit counts, in bytes: upstream's fixed buffer. A client that has not
/// authenticated may not leave more of them unread.
pub(in crate::engine) const UNCOUNTED_BYTES: usize = 16 * 1024;

/// Replies under way.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Sessions whose replies wait for the log alone, by the offset they wait for.
    for_log: VecDeque<Waiting>,
    /// Those whose replies wait for the log and for a quorum.
    for_quorum: VecDeque<Waiting>,
    pub(in crate::engine) spares: Spares,
}

/// What a session waits for, and since when.
type Waiting = (LogOffset, SessionId, SteadyMillis);

impl State {
    /// What has waited longest for a quorum.
    pub(in crate::engine) fn quorum_front(&self) -> Option<Waiting> {
        self.for_quorum.front().copied()
    }

    /// A session's replies wait no more.
    pub(in crate::engine) fn forget_waiting(&mut self, slot: SessionId) {
        self.for_log.retain(|(_, other, _)| *other != slot);
        self.for_quorum.retain(|(_, other, _)| *other != slot);
    }
}

/// Reply buffers for reuse.
#[derive(Debug, Default)]
pub(crate) struct Spares(Vec<Vec<u8>>);

impl Engine {
    /// A number that no client had before.
    pub(in crate::engine) fn take_client_id(&mut self) -> u64 {
        self.sessions.last_id += 1;
        self.sessions.last_id
    }

    /// A client connected.
    pub(in crate::engine) fn open_session(
        &mut self,
        slot: SessionId,
        link: Arc<Link>,
        outlet: Box<dyn Outlet>,
    ) {
        let id = self.take_client_id();
        let mut session = Session::new(slot, id, self.steady());
        session.authenticated = self.settings.requirepass.is_empty();
        session.protocol = self.first_protocol();
        link.set_bounds(Bounds {
            bulk_max: self.settings.proto_max_bulk_len as i64,
            authenticated: session.authenticated,
        });
        let refusal = self.refusal(&link);
        if refusal.is_some() {
            link.refuse();
        }
        session.link = Some(link);
        session.outlet = Some(outlet);
        match refusal {
            None => self.metrics.connections += 1,
            Some(text) => {
                self.metrics.connections_rejected += 1;
                session.reply().error(text);
                session.run = Run::Leaving;
            }
        }
        let refused = refusal.is_some();
        self.sessions.insert(session);
        if refused {
            self.mark_dirty(slot);
        }
    }

    /// The protocol version of a client that has not said HELLO (`client-default-resp`).
    pub(in crate::engine) fn first_protocol(&self) -> Protocol {
        Protocol::of(self.settings.client_default_resp).unwrap_or_default()
    }

    /// Why a new client can't be served, where it can't.
    fn refusal(&self, link: &Link) -> Option<&'static str> {
        if self.sessions.client_count() as u64 >= self.settings.maxclients {
            return Some("ERR max number of clients reached");
        }
        if self.settings.protected_mode
            && self.settings.requirepass.is_empty()
            && !link.origin.is_local()
        {
            return Some(PROTECTED_MODE);
        }
        None
    }

    /// A connection is gone: its session goes with all it held.
    pub(in crate::engine) fn close_session(&mut self, slot: SessionId) {
        self.unwatch_all(slot);
        self.untrack(slot);
        self.unmonitor(slot);
        if let Some(session) = self.sessions.remove(slot) {
            if !session.output.gates.is_empty() {
                // Its place is given to another.
                self.output.forget_waiting(slot);
            }
            if let Some(link) = &session.link {
                tracing::trace!(
                    "Client closed connection id={} {}",
                    session.id,
                    link.origin.peer_text()
                );
            }
        }
        self.mailbox.release(slot);
    }

    /// A request outgrew `client-query-buffer-limit`.
    pub(in crate::engine) fn refuse_oversized(&mut self, slot: SessionId, bytes: usize) {
        if let Some(session) = self.sessions.get(slot) {
            tracing::warn!(
                "Closing client that reached max query buffer length: id={} ({bytes} bytes)",
                session.id
            );
            self.metrics.query_buffer_disconnections += 1;
            self.kill(slot);
        }
    }

    /// The end of a tick: the journal is sealed, and the log gets the tick's frame.
    pub(in crate::engine) fn write_log(&mut self) {
        self.ask_replicas();
        let before = self.journal.sealed_end();
        let outcome = self.journal.seal(|sealed| match &mut self.log {
            Some(log) => log.commit(&sealed),
            None => Ok(0),
        });
        if self.journal.sealed_end() != before {
            self.feed_replicas();
        }
        if let Err(error) = outcome {
            self.log_failed(&error);
        }
    }

    /// Writes what may leave to every session that has something.
    ///
    /// Under `always` a reply waits until the log holds durably everything it can show, and with
    /// `write-quorum` until so many replicas have that. Else only those wait whose own changes could
    /// not be written, and reads go on.
    pub(in crate::engine) fn flush_dirty(&mut self) {
        if !self.output.for_log.is_empty() || !self.output.for_quorum.is_empty() {
            self.open_gates();
        }
        let (offset, answerable, always) = match &self.log {
            Some(log) => (log.offset(), log.answerable(), log.gates_replies()),
            None => (self.journal.units_end(), u64::MAX, false),
        };
        let quorum = self.quorum_reached();
        let unconfirmed = std::mem::take(&mut self.replication.unconfirmed);
        let quorum_answerable = quorum.map_or(answerable, |reached| answerable.min(reached));
        let now = self.steady();
        let most = self.client_memory_max();
        // Writing may end or resume sessions, which marks further ones.
        while !self.tick.dirty.is_empty() {
            let mut dirty = std::mem::take(&mut self.tick.dirty);
            for slot in dirty.drain(..) {
                if unconfirmed {
                    self.end_unconfirmed(slot);
                }
                let Some(session) = self.sessions.get_mut(slot) else { continue };
                let is_fed = session.is_fed();
                let output = &mut session.output;
                output.dirty = false;
                let shows = std::mem::take(&mut output.shows_data) && quorum.is_some();
                let reads = session.written <= quorum.unwrap_or(0);
                let shows = shows && !(reads && mutation::is_on(Mutation::ReadsDoNotWait));
                let shown = if always || shows { offset } else { session.written };
                // What a replica is told of its own sync must not wait for that sync.
                let shown = if is_fed { 0 } else { shown };
                // What shows no data doesn't wait for replicas: else a primary without them would
                // look dead to Sentinel.
                let bound = if shows { quorum_answerable } else { answerable };
                if shown > bound || !output.gates.is_empty() {
                    let gated_to = output.gates.back().map_or(output.released, |gate| gate.len);
                    if output.buffer.len() > gated_to {
                        let len = output.buffer.len();
                        output.gates.push_back(Gate { offset, len, awaits_quorum: shows });
                        let State { for_log, for_quorum, .. } = &mut self.output;
                        let line = if shows { for_quorum } else { for_log };
                        line.push_back((offset, slot, now));
                    }
                } else {
                    output.released = output.buffer.len();
                }
                self.flush(slot);
                if let Some(most) = most {
                    let held = self.sessions.get(slot).map_or(0, |session| session.held().total);
                    self.evict.clients_due |= held as u64 > most;
                }
            }
            if self.tick.dirty.is_empty() {
                self.tick.dirty = dirty;
                return;
            }
        }
    }

    /// Lets replies go whose part of the log may be acknowledged.
    pub(in crate::engine) fn open_gates(&mut self) {
        let log = self.log.as_ref().map_or(u64::MAX, |log| log.answerable());
        let both = log.min(self.quorum_reached().unwrap_or(u64::MAX));
        for (awaits_quorum, bound) in [(false, log), (true, both)] {
            loop {
                let State { for_log, for_quorum, .. } = &mut self.output;
                let line = if awaits_quorum { for_quorum } else { for_log };
                let Some(&(_, slot, _)) = line.front().filter(|one| one.0 <= bound) else { break };
                line.pop_front();
                let Some(session) = self.sessions.get_mut(slot) else { continue };
                let output = &mut session.output;
                let opens =
                    |gate: &&Gate| gate.offset <= if gate.awaits_quorum { both } else { log };
                while let Some(gate) = output.gates.front().filter(opens) {
                    output.released = gate.len;
                    output.gates.pop_front();
                }
                self.mark_dirty(slot);
            }
        }
    }

    /// There is no log any more: lets all replies go that wait for nothing else.
    pub(in crate::engine) fn drop_gates(&mut self) {
        if self.quorum_reached().is_some() {
            return self.open_gates();
        }
        let State { for_log, for_quorum, .. } = &mut self.output;
        let waiting = std::mem::take(for_log).into_iter().chain(std::mem::take(for_quorum));
        for (_, slot, _) in waiting {
            if let Some(session) = self.sessions.get_mut(slot) {
                session.output.gates.clear();
                self.mark_dirty(slot);
            }
        }
    }

    /// Writes one session's replies as far as they may leave and the socket takes them.
    #[inline]
    fn flush(&mut self, slot: SessionId) {
        // Replies count before they are written, as upstream has it.
        let counted = |session: &Session| session.output.pending() > UNCOUNTED_BYTES;
        if self.sessions.get(slot).is_some_and(counted) {
            self.check_output_limit(slot);
            if self.sessions.get(slot).is_none_or(|one| matches!(one.run, Run::Closed)) {
                return;
            }
        }
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let output = &mut session.output;
        output.turn_began = output.buffer.len();
        let (Some(outlet), false) = (&session.outlet, output.awaiting_writable) else {
            self.begin_turn(slot);
            return;
        };
        let sent = output.sent;
        let mut failed = false;
        while output.sent < output.released {
            match outlet.try_write(&output.buffer[output.sent..output.released]) {
                Ok(0) => {
                    failed = true;
                    break;
                }
                Ok(written) => output.sent += written,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    output.awaiting_writable = true;
                    outlet.notify_writable(slot);
                    break;
                }
                Err(error) => {
                    tracing::trace!("Error writing to client: {error}");
                    failed = true;
                    break;
                }
            }
        }
        let written = output.sent - sent;
        if written > 0 {
            session.traffic.output_bytes += written as u64;
            session.traffic.active = self.tick.steady;
            self.metrics.output_bytes += written as u64;
        }
        if failed {
            self.kill(slot);
            return;
        }
        output.reuse(&mut self.output.spares);
        let pending = output.pending();
        if pending == 0 {
            output.soft_limit_since = None;
        }
        match session.run {
            Run::Leaving if pending == 0 => self.kill(slot),
            Run::Choked => self.begin_turn(slot),
            Run::Running if pending > PENDING_MAX => self.stop(slot, Run::Choked),
            Run::Leaving | Run::Closed => {}
            _ if pending > 0 => self.check_output_limit(slot),
            _ if session.replica.is_some() => self.pump(slot),
            _ => {}
        }
    }

    /// Resumes a session that stands still for its replies, unless too many of them are unread.
    fn begin_turn(&mut self, slot: SessionId) {
        let goes_on = |session: &Session| {
            matches!(session.run, Run::Choked) && session.output.pending() <= PENDING_MAX
        };
        if self.sessions.get(slot).is_some_and(goes_on) {
            self.go_on(slot);
        }
    }

    /// After a request behind which more replies are unread than upstream's fixed buffer holds: closes
    /// the client where they are past its limit, and those that hold most where all clients hold too much,
    /// so that nothing of a pipeline runs beyond; and ends the session's turn when it has made many.
    /// `before` is where the request's reply begins.
    #[inline(never)]
    pub(in crate::engine) fn bound_replies(&mut self, slot: SessionId, before: usize) {
        self.check_output_limit(slot);
        let made = self.sessions[slot].output.buffer.len().saturating_sub(before);
        self.tick.made += made;
        self.note_replies(slot, made);
        let session = &self.sessions[slot];
        let output = &session.output;
        let turn = output.buffer.len().saturating_sub(output.turn_began);
        let least = if self.tick.made < TICK_BYTES { TURN_BYTES } else { UNCOUNTED_BYTES };
        if session.is_running() && (turn >= least || output.pending() > PENDING_MAX) {
            self.stop(slot, Run::Choked);
        }
    }

    /// Whether a client will be closed for the replies that it has, so that none needs to be added.
    pub(in crate::engine) fn has_too_many_replies(&self, slot: SessionId) -> bool {
        let session = &self.sessions[slot];
        let pending = session.output.pending() as u64;
        let hard = pending_max(&self.settings.client_output_buffer_limit, session);
        hard != 0 && pending >= hard || self.exceeds_alone(session, pending)
    }

    /// After an error reply: a client that has not authenticated is closed at once when it leaves
    /// more replies unread than upstream's fixed buffer holds, so that it costs bounded memory
    /// (CVE-2025-21605). All that such a client gets by sending more is errors.
    #[cold]
    pub(in crate::engine) fn bound_unauthenticated(&mut self, slot: SessionId) {
        let over = |session: &Session| {
            !session.authenticated && session.output.pending() > UNCOUNTED_BYTES
        };
        if self.sessions.get(slot).is_some_and(over) {
            self.check_output_limit(slot);
        }
    }

    /// Closes a client whose unread replies are past `client-output-buffer-limit`.
    pub(in crate::engine) fn check_output_limit(&mut self, slot: SessionId) {
        let now = self.steady();
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if matches!(session.run, Run::Closed) {
            return;
        }
        let limits = &self.settings.client_output_buffer_limit;
        let limit = if session.is_listening() { limits.pubsub } else { limits.normal };
        let pending = session.output.pending() as u64;
        let hard = limit.hard != 0 && pending >= limit.hard;
        let soft = limit.soft != 0 && pending >= limit.soft;
        let too_long = limit.outlasted(soft, &mut session.output.soft_limit_since, now);
        let unauthenticated = !session.authenticated && session.output.pending() > UNCOUNTED_BYTES;
        if hard || too_long || unauthenticated {
            self.close_for_replies(slot);
        }
    }

    /// Closes a client that has too many replies.
    #[cold]
    pub(in crate::engine) fn close_for_replies(&mut self, slot: SessionId) {
        tracing::warn!(
            "Client id={} closed for overcoming of output buffer limits.",
            self.sessions[slot].id
        );
        self.metrics.output_buffer_disconnections += 1;
        self.kill(slot);
    }
}

impl Output {
    /// Gives the buffer back when all of it is written; gives up what is written when that is much.
    #[inline]
    fn reuse(&mut self, spares: &mut Spares) {
        self.peak = self.peak.max(self.buffer.len());
        if self.sent == self.buffer.len() {
            (self.sent, self.released, self.turn_began) = (0, 0, 0);
            let mut buffer = std::mem::take(&mut self.buffer);
            if buffer.capacity() <= SPARE_BYTES_MAX && spares.0.len() < SPARES_MAX {
                buffer.clear();
                spares.0.push(buffer);
            }
        } else if self.sent > 1 << 20 && self.sent > self.buffer.len() / 2 {
            let sent = std::mem::take(&mut self.sent);
            self.buffer.drain(..sent);
            self.released -= sent;
            self.turn_began -= sent;
            for gate in &mut self.gates {
                gate.len -= sent;
            }
        }
    }
}

impl Spares {
    /// A buffer to write replies into.
    #[inline]
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_else(|| Vec::with_capacity(NEW_BYTES))
    }

    /// Frees the buffers that are larger than a new one, where memory is short.
    pub(in crate::engine) fn drop_large(&mut self) {
        self.0.retain(|buffer| buffer.capacity() <= NEW_BYTES);
    }

    /// Frees all. For when traffic is low: buffers are then allocated anew so seldom that it costs nothing.
    pub(crate) fn shrink(&mut self) {
        self.0.clear();
    }
}

const PROTECTED_MODE: &str = "DENIED Redis is running in protected mode: no password is set for the \
    default user, so only clients on this machine are served. To let others in, set a password \
    (requirepass), or turn the protection off with 'CONFIG SET protected-mode no' from this \
    machine or '--protected-mode no' at the start.";
