//! What a client holds in memory, and `maxmemory-clients`: where all clients together hold more,
//! those that hold most are closed.
//!
//! Adding up takes time for each client, so that it isn't done for each request, but:
//!
//! - in ticks and ten times a second, where `SUM_MICROS` for each client have passed since the last sum;
//! - at the end of a tick that leaves a single client with more than the limit;
//! - in the middle of a pipeline, where the replies of clients that leave many unread have come to a
//!   part of the limit since (`MADE_PART`).
//!
//! Between two sums clients may hold more than the limit, by that part and by what they send. Requests that
//! arrive together are measured before they run. Clients that have introduced themselves as replicas, the
//! link to a primary, and clients that said CLIENT NO-EVICT stay. Without the directive nothing is summed.

use crate::config::kinds::ClientMemory;
use crate::engine::Engine;
use crate::engine::session::{Manner, Session};
use crate::mailbox::{READ_BUFFER_BYTES, SessionId};

/// Microseconds between two sums, for each client: a hundred times what its part of one takes.
const SUM_MICROS: i64 = 10;
/// The least time between two sums, in microseconds.
const SUM_MICROS_MIN: i64 = 5_000;
/// A sum is due when so many parts of the limit have been made in replies.
const MADE_PART: u64 = 16;
/// Bytes of a watched key beside its name.
const WATCH_BYTES: usize = 80;

/// What a client holds, in bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Held {
    /// Requests that came and weren't executed.
    pub(in crate::engine) query: usize,
    /// Room for more of them.
    pub(in crate::engine) query_free: usize,
    /// Commands that wait for EXEC.
    pub(in crate::engine) queued: usize,
    /// All of it.
    pub(in crate::engine) total: usize,
}

impl Session {
    /// What the client holds now.
    pub(in crate::engine) fn held(&self) -> Held {
        let unread = self.link.as_ref().map_or(0, |link| link.unread());
        let waiting: usize = self.inbox.iter().map(|batch| batch.buffer.len()).sum();
        let query = unread + waiting;
        let query_free = if unread == 0 { 0 } else { READ_BUFFER_BYTES.saturating_sub(unread) };
        let queued = self.transaction.as_ref().map_or(0, |transaction| transaction.bytes());
        let subscribed = self.hears.subscriptions.as_ref().map_or(0, |mine| mine.bytes());
        let tracked = self.hears.tracking.as_ref().map_or(0, |tracking| tracking.bytes());
        let watched = self.watching.keys.iter().map(|(_, key)| key.len() + WATCH_BYTES);
        let total = size_of::<Self>()
            + query
            + query_free
            + self.output.buffer.capacity()
            + queued
            + subscribed
            + tracked
            + watched.sum::<usize>();
        Held { query, query_free, queued, total }
    }
}

impl Engine {
    /// How much all clients may hold together; `None` where that has no limit.
    #[inline]
    pub(in crate::engine) fn client_memory_max(&self) -> Option<u64> {
        match self.settings.maxmemory_clients {
            ClientMemory::Bytes(0) | ClientMemory::Percent(0) => None,
            ClientMemory::Bytes(bytes) => Some(bytes),
            ClientMemory::Percent(share) => {
                let max = self.settings.maxmemory / 100 * u64::from(share);
                (max != 0).then_some(max)
            }
        }
    }

    /// At the end of a tick, and in cron: looks at what clients hold where it's time.
    #[inline]
    pub(in crate::engine) fn check_client_memory(&mut self) {
        if self.client_memory_max().is_some() {
            let every = SUM_MICROS_MIN.max(self.sessions.client_count() as i64 * SUM_MICROS);
            let since = self.steady().since(self.evict.clients_summed) * 1000;
            if self.evict.clients_due || since >= every {
                self.evict.clients_due = false;
                self.evict.clients_summed = self.steady();
                self.evict_clients();
            }
        }
    }

    /// Closes clients, those first that hold most, until the others hold no more than they may.
    #[cold]
    pub(in crate::engine) fn evict_clients(&mut self) {
        let Some(max) = self.client_memory_max() else { return };
        self.evict.clients_made = 0;
        let counts = |session: &&Session| !session.is_fed();
        let mut held: Vec<(usize, bool, SessionId)> = self
            .sessions
            .clients()
            .filter(counts)
            .map(|session| {
                (session.held().total, session.manner.contains(Manner::NO_EVICT), session.slot)
            })
            .collect();
        let mut sum: u64 = held.iter().map(|(bytes, ..)| *bytes as u64).sum();
        if sum <= max {
            return;
        }
        held.sort_unstable_by_key(|(bytes, ..)| std::cmp::Reverse(*bytes));
        for (bytes, stays, slot) in held {
            if sum <= max {
                break;
            }
            if stays {
                continue;
            }
            self.evict_client(slot, bytes, max);
            sum -= bytes as u64;
        }
    }

    /// A client with many unread replies has got so many bytes more.
    pub(in crate::engine) fn note_replies(&mut self, slot: SessionId, made: usize) {
        let Some(max) = self.client_memory_max() else { return };
        self.evict.clients_made += made as u64;
        if self.evict.clients_made < max / MADE_PART {
            return;
        }
        if self.sessions[slot].is_running() {
            self.evict_clients();
        } else {
            // It was served while it waited: others in the same line must not end meanwhile.
            self.evict.clients_due = true;
        }
    }

    /// Whether a client with so many bytes of unread replies holds more than all may together.
    pub(in crate::engine) fn exceeds_alone(&self, session: &Session, pending: u64) -> bool {
        let stays = session.manner.contains(Manner::NO_EVICT) || session.is_fed();
        !stays && self.client_memory_max().is_some_and(|max| pending > max)
    }

    fn evict_client(&mut self, slot: SessionId, bytes: usize, max: u64) {
        let id = self.sessions[slot].id;
        tracing::info!("Evicting client: id={id} tot-mem={bytes}, maxmemory-clients={max}");
        self.kill(slot);
        self.evict.evicted_clients += 1;
    }

    /// Whether requests that arrive together are alone more than all clients may hold: their client
    /// is closed then, before any of them is executed.
    #[inline]
    pub(in crate::engine) fn exceeds_client_memory(
        &mut self,
        slot: SessionId,
        bytes: usize,
    ) -> bool {
        match self.client_memory_max() {
            Some(max)
                if bytes as u64 > max && !self.sessions[slot].manner.contains(Manner::NO_EVICT) =>
            {
                self.evict_client(slot, bytes, max);
                true
            }
            _ => false,
        }
    }
}
