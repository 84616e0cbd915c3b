//! Replies: when they may leave, how they are written, and what becomes of a client that doesn't
//! read them. Also the beginning and the end of a session.
//!
//! Under `appendfsync always` a reply waits until the log is durable up to where it stood when the
//! reply was made: no client ever sees what a crash could take back, be it its own write or
//! another's that it read.

use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::session::{Closing, PENDING_MAX, Session};
use crate::mailbox::{Link, Outlet, SessionId};
use crate::resp::request::Bounds;

/// Reply buffers kept for reuse, and the largest that is kept, in bytes.
const SPARES_MAX: usize = 256;
const SPARE_BYTES_MAX: usize = 64 * 1024;

/// Unwritten replies that no limit counts, in bytes: upstream's fixed buffer.
const UNCOUNTED_BYTES: usize = 16 * 1024;

/// Reply buffers for reuse.
#[derive(Debug, Default)]
pub struct Spares(Vec<Vec<u8>>);

impl Engine {
    /// A client connected.
    pub(in crate::engine) fn open_session(
        &mut self,
        slot: SessionId,
        link: Arc<Link>,
        outlet: Box<dyn Outlet>,
    ) {
        let id = self.next_client_id;
        self.next_client_id += 1;
        let mut session = Session::new(slot, id, self.now().0);
        session.authenticated = self.settings.requirepass.is_empty();
        link.set_bounds(Bounds {
            bulk_max: self.settings.proto_max_bulk_len as i64,
            authenticated: session.authenticated,
        });
        let refusal = self.refusal(&link);
        session.link = Some(link);
        session.outlet = Some(outlet);
        match refusal {
            None => self.metrics.connections += 1,
            Some(text) => {
                self.metrics.connections_rejected += 1;
                session.reply().error(text);
                session.closing = Closing::AfterReply;
            }
        }
        let refused = refusal.is_some();
        self.sessions.insert(session);
        if refused {
            self.mark_dirty(slot);
        }
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
        self.forget_parked(slot);
        self.silence(slot);
        if let Some(session) = self.sessions.remove(slot)
            && let Some(link) = &session.link
        {
            tracing::trace!(
                "Client closed connection id={} {}",
                session.id,
                link.origin.peer_text()
            );
        }
        self.mailbox.release(slot);
    }

    /// Ends a connection now, unwritten replies or not.
    pub fn kill(&mut self, slot: SessionId) {
        self.forget_parked(slot);
        self.silence(slot);
        if let Some(session) = self.sessions.get_mut(slot) {
            session.closing = Closing::Closed;
            session.inbox.clear();
            if let Some(link) = &session.link {
                link.hold(false);
            }
            if let Some(outlet) = &session.outlet {
                outlet.close();
            }
        }
    }

    /// Ends a connection when its replies so far are written.
    pub fn close_after_reply(&mut self, slot: SessionId) {
        if let Some(session) = self.sessions.get_mut(slot)
            && session.closing == Closing::No
        {
            session.closing = Closing::AfterReply;
            self.mark_dirty(slot);
        }
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
        let outcome = self.journal.seal(|sealed| match &mut self.log {
            Some(log) => log.commit(&sealed),
            None => Ok(0),
        });
        if let Err(error) = outcome {
            self.log_failed(&error);
        }
    }

    /// Writes what may leave to every session that has something.
    ///
    /// Under `always` a reply waits until the log holds durably everything it can show. Under the
    /// other policies only those wait whose own changes could not be written, and reads go on.
    pub(in crate::engine) fn flush_dirty(&mut self) {
        if !self.waiting.is_empty() {
            self.open_gates();
        }
        let (offset, answerable, always) = match &self.log {
            Some(log) => (log.offset(), log.answerable(), log.gates_replies()),
            None => (0, u64::MAX, false),
        };
        let mut dirty = std::mem::take(&mut self.tick.dirty);
        for slot in dirty.drain(..) {
            let Some(session) = self.sessions.get_mut(slot) else { continue };
            session.dirty = false;
            let shown = if always { offset } else { session.written };
            if shown > answerable || !session.gates.is_empty() {
                let gated_to = session.gates.back().map_or(session.released, |gate| gate.1);
                if session.out.len() > gated_to {
                    session.gates.push_back((offset, session.out.len()));
                    self.waiting.push_back((offset, slot));
                }
            } else {
                session.released = session.out.len();
            }
            self.flush(slot);
        }
        self.tick.dirty = dirty;
    }

    /// Lets replies go whose part of the log may be acknowledged.
    pub(in crate::engine) fn open_gates(&mut self) {
        let Some(answerable) = self.log.as_ref().map(|log| log.answerable()) else { return };
        while let Some(&(offset, slot)) = self.waiting.front() {
            if offset > answerable {
                break;
            }
            self.waiting.pop_front();
            if let Some(session) = self.sessions.get_mut(slot) {
                while let Some(&(_, len)) = session.gates.front().filter(|g| g.0 <= answerable) {
                    session.released = len;
                    session.gates.pop_front();
                }
                self.mark_dirty(slot);
            }
        }
    }

    /// Lets all replies go, when there is no log any more.
    pub(in crate::engine) fn drop_gates(&mut self) {
        for (_, slot) in std::mem::take(&mut self.waiting) {
            if let Some(session) = self.sessions.get_mut(slot) {
                session.gates.clear();
                self.mark_dirty(slot);
            }
        }
    }

    /// Writes one session's replies as far as they may leave and the socket takes them.
    #[inline]
    fn flush(&mut self, slot: SessionId) {
        // Replies count before they are written, as upstream has it.
        let counted = |session: &Session| session.pending() > UNCOUNTED_BYTES;
        if self.sessions.get(slot).is_some_and(counted) {
            self.check_output_limit(slot);
            if self.sessions.get(slot).is_none_or(|one| one.closing == Closing::Closed) {
                return;
            }
        }
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let (Some(outlet), false) = (&session.outlet, session.awaiting_writable) else { return };
        let was_stopped = session.pending() > PENDING_MAX;
        let mut failed = false;
        while session.sent < session.released {
            match outlet.try_write(&session.out[session.sent..session.released]) {
                Ok(0) => {
                    failed = true;
                    break;
                }
                Ok(written) => {
                    session.sent += written;
                    session.output_bytes += written as u64;
                    self.metrics.output_bytes += written as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    session.awaiting_writable = true;
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
        if failed {
            self.kill(slot);
            return;
        }
        session.reuse_output(&mut self.spares);
        if session.pending() == 0 {
            session.soft_limit_since_ms = 0;
            if session.closing == Closing::AfterReply {
                self.kill(slot);
            }
        } else if session.closing == Closing::No {
            self.check_output_limit(slot);
        }
        let resumes = |session: &Session| !session.inbox.is_empty() && !session.is_stopped();
        if was_stopped && self.sessions.get(slot).is_some_and(resumes) {
            self.mark_resumable(slot);
        }
    }

    /// Closes a client whose unread replies are past `client-output-buffer-limit`.
    pub(in crate::engine) fn check_output_limit(&mut self, slot: SessionId) {
        let now_ms = self.now().0;
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if session.closing == Closing::Closed {
            return;
        }
        let limits = &self.settings.client_output_buffer_limit;
        let limit = if session.is_listening() { limits.pubsub } else { limits.normal };
        let pending = session.pending() as u64;
        let hard = limit.hard != 0 && pending >= limit.hard;
        let soft = limit.soft != 0 && pending >= limit.soft;
        if !soft {
            session.soft_limit_since_ms = 0;
        } else if session.soft_limit_since_ms == 0 {
            session.soft_limit_since_ms = now_ms;
        }
        let too_long =
            soft && now_ms - session.soft_limit_since_ms > limit.soft_seconds as i64 * 1000;
        if hard || too_long {
            tracing::warn!(
                "Client id={} closed for overcoming of output buffer limits.",
                session.id
            );
            self.metrics.output_buffer_disconnections += 1;
            self.kill(slot);
        }
    }
}

impl Session {
    /// Gives the buffer back when all of it is written; gives up what is written when that is much.
    #[inline]
    fn reuse_output(&mut self, spares: &mut Spares) {
        self.out_peak = self.out_peak.max(self.out.len());
        if self.sent == self.out.len() {
            self.sent = 0;
            self.released = 0;
            let mut buffer = std::mem::take(&mut self.out);
            if buffer.capacity() <= SPARE_BYTES_MAX && spares.0.len() < SPARES_MAX {
                buffer.clear();
                spares.0.push(buffer);
            }
        } else if self.sent > 1 << 20 && self.sent > self.out.len() / 2 {
            let sent = std::mem::take(&mut self.sent);
            self.out.drain(..sent);
            self.released -= sent;
            for gate in &mut self.gates {
                gate.1 -= sent;
            }
        }
    }
}

impl Spares {
    /// A buffer to write replies into.
    #[inline]
    pub fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_else(|| Vec::with_capacity(4096))
    }

    /// Lets go of all but a few.
    pub fn shrink(&mut self) {
        self.0.truncate(16);
    }
}

const PROTECTED_MODE: &str = "DENIED Redis is running in protected mode: no password is set for the \
    default user, so only clients on this machine are served. To let others in, set a password \
    (requirepass), or turn the protection off with 'CONFIG SET protected-mode no' from this \
    machine or '--protected-mode no' at the start.";
