//! The end of a primary waits for its replicas (`shutdown-timeout`).
//!
//! ```text
//!   SHUTDOWN, a signal ──a replica lacks something──► Waiting ──all have it, or time is over──► the end
//!                                                       │ SHUTDOWN ABORT, or the end fails
//!                                                       └─► as before; who asked gets an error
//! ```
//! Meanwhile clients that write are held, so that the stream's end stands still, and replicas have been
//! asked for their word. Who asked by SHUTDOWN waits like a client in a blocking command. NOW and
//! `shutdown-timeout 0` wait for nobody.

use crate::base::env::SteadyMillis;
use crate::command::error::CommandError;
use crate::config::kinds::ShutdownFlags;
use crate::engine::Engine;
use crate::engine::replicate::primary::replica_name;
use crate::engine::session::blocking::Release;
use crate::journal::Unlogged;
use crate::mailbox::SessionId;

/// What SHUTDOWN answers where the server goes on.
pub(in crate::engine) const FAILED: CommandError =
    CommandError::text("ERR Errors trying to SHUTDOWN. Check logs.");

/// An end that waits.
#[derive(Debug)]
pub(in crate::engine) struct Waiting {
    flags: ShutdownFlags,
    until: SteadyMillis,
    /// Clients that asked for it.
    pub(in crate::engine) clients: Vec<SessionId>,
}

impl Engine {
    /// Whether the end has to wait for replicas; it does from here on, then.
    pub(in crate::engine) fn waits_for_replicas(&mut self, flags: ShutdownFlags) -> bool {
        if self.shutdown.waiting.is_some() {
            return !flags.now;
        }
        let timeout_ms = self.settings.shutdown_timeout as i64 * 1000;
        if flags.now || timeout_ms == 0 || self.is_replica() || self.lagging() == 0 {
            return false;
        }
        let until = self.steady().later(timeout_ms);
        self.shutdown.waiting = Some(Waiting { flags, until, clients: Vec::new() });
        self.hold_for_end(true);
        self.journal.append_unlogged(Unlogged::GetAck);
        tracing::info!("Waiting for replicas before shutting down.");
        true
    }

    /// Replicas that haven't said that they have everything. One that is still being sent a snapshot
    /// would begin anew elsewhere.
    fn lagging(&self) -> usize {
        let end = self.journal.offset();
        self.replicas().filter(|(_, replica)| replica.acked < end).count()
    }

    /// Whether a client has asked for the end and waits for it.
    pub(super) fn awaits_end(&self, slot: SessionId) -> bool {
        self.shutdown.waiting.as_ref().is_some_and(|waiting| waiting.clients.contains(&slot))
    }

    /// How long the end will wait at most, in milliseconds, where one does.
    pub(in crate::engine) fn farewell_left_ms(&self) -> Option<i64> {
        Some(self.shutdown.waiting.as_ref()?.until.since(self.steady()).max(0))
    }

    /// The end of a tick: ends the server where nobody lags any more, or time is over.
    #[inline]
    pub(in crate::engine) fn farewell_tick(&mut self) {
        if self.shutdown.waiting.is_some() {
            self.look_for_lagging();
        }
    }

    #[cold]
    fn look_for_lagging(&mut self) {
        let over = self.farewell_left_ms() == Some(0);
        // Who is to be the primary hears of it first.
        if !over && (self.lagging() > 0 || self.replication.failover.is_handing()) {
            return;
        }
        let Some(waiting) = &self.shutdown.waiting else { return };
        let flags = waiting.flags;
        self.shut_down(flags);
        if self.shutdown.exit_code().is_none() {
            self.end_farewell();
        }
    }

    /// Says in the log who has everything when the server ends.
    pub(in crate::engine) fn say_farewell(&self) {
        let (end, now) = (self.journal.offset(), self.steady());
        let (mut all, mut in_step) = (0, 0);
        for (session, replica) in self.replicas() {
            all += 1;
            if replica.is_online() && replica.acked >= end {
                in_step += 1;
                continue;
            }
            tracing::warn!(
                "Lagging replica {} reported offset {} behind master, lag={}, state={}.",
                replica_name(session),
                end.saturating_sub(replica.acked),
                now.since(replica.heard) / 1000,
                replica.state()
            );
        }
        if all > 0 {
            tracing::info!("{in_step} of {all} replicas are in sync when shutting down.");
        }
    }

    /// The server goes on: writers too, and who asked for the end is told. False where none waits.
    pub(in crate::engine) fn end_farewell(&mut self) -> bool {
        let Some(waiting) = self.shutdown.waiting.take() else { return false };
        for slot in waiting.clients {
            self.release(slot, Release::Error(FAILED));
        }
        self.hold_for_end(false);
        true
    }
}
