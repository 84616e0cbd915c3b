//! CLIENT PAUSE: for a time, clients' commands wait: all of them, or those that write.

use crate::command::spec::Flags;
use crate::engine::Engine;
use crate::engine::registry::CommandId;
use crate::mailbox::SessionId;

/// A pause in force.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pause {
    /// When it ends, in milliseconds since the epoch; 0 where there is none.
    pub until_ms: i64,
    /// Whether reading commands wait too.
    pub all: bool,
}

impl Engine {
    /// Begins or extends a pause.
    pub fn pause_clients(&mut self, until_ms: i64, all: bool) {
        let running = self.pause.until_ms > self.now().0;
        self.pause.all = all || (running && self.pause.all);
        self.pause.until_ms = self.pause.until_ms.max(until_ms);
    }

    /// Ends the pause; what waited goes on.
    pub fn unpause_clients(&mut self) {
        self.pause = Pause::default();
        for slot in self.sessions.client_slots() {
            if self.sessions[slot].paused {
                self.sessions[slot].paused = false;
                self.mark_resumable(slot);
            }
        }
    }

    /// Ends the pause when its time is over; called by cron.
    pub(in crate::engine) fn check_pause(&mut self) {
        if self.pause.until_ms != 0 && self.now().0 >= self.pause.until_ms {
            self.unpause_clients();
        }
    }

    /// Whether keys must not expire because of the pause: what a writing command would do.
    pub(in crate::engine) fn pauses_expiry(&self) -> bool {
        self.pause.until_ms > self.now().0
    }

    /// Whether this command has to wait; the session is stopped then.
    #[inline]
    pub(in crate::engine) fn is_paused_for(&mut self, slot: SessionId, command: CommandId) -> bool {
        let walk = self.walk_holds_writers();
        if self.pause.until_ms == 0 && !walk {
            return false;
        }
        let flags = self.registry[command].spec.flags;
        let waits = if self.pause.all && self.pause.until_ms != 0 {
            self.registry[command].spec.name != "CLIENT"
                && self.registry[command]
                    .parent
                    .is_none_or(|parent| self.registry[parent].spec.name != "CLIENT")
        } else {
            flags.has(Flags::WRITE)
                || flags.has(Flags::MAY_REPLICATE)
                || (self.registry[command].spec.name == "EXEC"
                    && self.sessions[slot].transaction.as_ref().is_some_and(|transaction| {
                        transaction.writes() || transaction.flags().has(Flags::MAY_REPLICATE)
                    }))
        };
        let in_queue =
            self.sessions[slot].in_transaction() && self.registry[command].spec.name != "EXEC";
        if waits && !in_queue {
            self.sessions[slot].paused = true;
            if walk {
                self.pace(slot);
            }
        }
        waits && !in_queue
    }
}
