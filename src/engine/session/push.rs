//! Putting what a client didn't ask for into its replies: messages, invalidations, MONITOR's lines.
//!
//! It goes where the client's replies go, at once, so that it leaves in the order of execution and waits
//! for the log as replies do. While the client's own command runs it is kept apart, and comes behind that
//! command's reply (of a transaction, behind EXEC's).

use crate::config::kinds::OutputLimits;
use crate::engine::Engine;
use crate::engine::session::output::Spares;
use crate::engine::session::{Doing, Session};
use crate::mailbox::SessionId;

/// What it takes to push, beside the session.
pub(in crate::engine) struct Pushes<'a> {
    /// Sessions with something to write.
    pub(in crate::engine) dirty: &'a mut Vec<SessionId>,
    pub(in crate::engine) spares: &'a mut Spares,
    /// Clients that don't read what they are sent: past the limit.
    pub(in crate::engine) choked: &'a mut Vec<SessionId>,
}

impl Pushes<'_> {
    /// Appends bytes to a session's replies. `pending_max` is how many bytes may be unread; 0 for no
    /// limit. Those past it must not wait for the end of the tick with what they hold.
    #[inline]
    pub(in crate::engine) fn push(
        &mut self,
        session: &mut Session,
        bytes: &[u8],
        pending_max: u64,
    ) {
        let output = &mut session.output;
        if session.doing != Doing::Nothing {
            // Past the limit already: the client is closed when its command has ended.
            let kept = output.pending() + output.deferred.len();
            if pending_max == 0 || (kept as u64) < pending_max {
                output.deferred.extend_from_slice(bytes);
            }
            return;
        }
        if output.buffer.capacity() == 0 {
            output.buffer = self.spares.take();
        }
        output.buffer.extend_from_slice(bytes);
        if !output.dirty {
            output.dirty = true;
            self.dirty.push(session.slot);
        }
        if pending_max != 0 && output.pending() as u64 >= pending_max {
            self.choked.push(session.slot);
        }
    }
}

/// How many bytes a client may leave unread at any moment; 0 for no limit.
#[inline]
pub(in crate::engine) fn pending_max(limits: &OutputLimits, session: &Session) -> u64 {
    if session.is_fed() {
        limits.replica.hard
    } else if session.is_listening() {
        limits.pubsub.hard
    } else {
        limits.normal.hard
    }
}

impl Engine {
    /// Closes those that were found past their limit.
    pub(in crate::engine) fn drop_choked(&mut self, choked: Vec<SessionId>) {
        for slot in choked {
            self.check_output_limit(slot);
        }
    }
}
