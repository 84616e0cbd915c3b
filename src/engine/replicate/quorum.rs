//! `write-quorum N`: a reply that shows data leaves only when N replicas have everything it can show.
//!
//! **State.** The gates that hold replies for the log (`session::output`) hold them for the quorum as
//! well: one more bound on what may be answered, the offset that the N-th best replica has acknowledged
//! (in its log, with `write-quorum-durable yes`). Nothing else is remembered. Reading commands wait like
//! writing ones, for a reply must not show what a failover may take back; commands that show no data
//! (PING, INFO, what Sentinel and replicas say) never wait.
//!
//! **Faults.** Fewer than N replicas that were heard of within `min-replicas-max-lag` seconds (and, with
//! `write-quorum-durable yes`, have told what their logs hold): writes are refused beforehand
//! (`-NOREPLICAS`). The quorum goes while replies wait: after `write-quorum-timeout` milliseconds the first
//! of them is `-UNCERTAIN`, and the connection is closed: nobody reads an OK that isn't one. A server that
//! becomes a replica meanwhile ends them so at once.
//!
//! **Proof.** `tests/quorum`: with replicas that stand still, and with primaries that are killed, every
//! write that was acknowledged is at a replica.

use crate::base::mutation::{self, Mutation};
use crate::command::error::CommandError;
use crate::engine::Engine;
use crate::engine::replicate::primary::NOT_ENOUGH;
use crate::mailbox::SessionId;
use crate::replication::replica::Replica;

const UNCERTAIN: &[u8] = b"UNCERTAIN The command was executed, but so many replicas as \
    write-quorum says didn't acknowledge it in time";

impl Engine {
    /// Up to where in the stream as many replicas have it as `write-quorum` asks for; `None` where it asks
    /// for none, and on a replica, whose data is its primary's to confirm.
    #[inline]
    pub(in crate::engine) fn quorum_reached(&self) -> Option<u64> {
        match self.settings.write_quorum {
            0 => None,
            wanted => self.reached_by(wanted),
        }
    }

    #[cold]
    fn reached_by(&self, wanted: u64) -> Option<u64> {
        if self.is_replica() {
            return None;
        }
        let durable =
            self.settings.write_quorum_durable && !mutation::is_on(Mutation::MemoryCountsAsDurable);
        let wanted = match wanted {
            1 if mutation::is_on(Mutation::QuorumOffByOne) => return None,
            _ if mutation::is_on(Mutation::QuorumOffByOne) => wanted - 1,
            _ => wanted,
        };
        let has = |replica: &Replica| {
            let lasting = || replica.durable.filter(|durable| durable.goes_on);
            if durable { lasting().map_or(0, |durable| durable.at) } else { replica.acked }
        };
        let mut offsets: Vec<u64> = self.online_replicas().map(has).collect();
        offsets.sort_unstable_by(|a, b| b.cmp(a));
        let reached = usize::try_from(wanted - 1).ok().and_then(|nth| offsets.get(nth));
        Some(reached.copied().unwrap_or(0))
    }

    /// Refuses writes that can't get their quorum.
    pub(in crate::engine) fn check_quorum(&self) -> Result<(), CommandError> {
        let wanted = self.settings.write_quorum;
        if wanted == 0 || self.is_replica() {
            return Ok(());
        }
        // A replica without a log, or of Redis before 7.2, acknowledges no durable offset (FACK), and one under
        // `appendfsync no` one that stands still: every write would wait for it in vain.
        let durable = self.settings.write_quorum_durable;
        let counts =
            |replica: &&Replica| !durable || replica.durable.is_some_and(|durable| durable.goes_on);
        let good = self.heard_replicas().filter(counts).count() as u64;
        if good < wanted { Err(NOT_ENOUGH) } else { Ok(()) }
    }

    /// The end of a tick: asks replicas for their word where replies will wait for it.
    pub(in crate::engine) fn ask_quorum(&mut self) {
        let end = self.journal.units_end();
        if end > self.replication.asked
            && self.quorum_reached().is_some_and(|reached| reached < end)
        {
            self.replication.wants_word = true;
        }
    }

    /// Ten times a second: ends the replies that have waited for too long.
    pub(in crate::engine) fn end_overdue_replies(&mut self) {
        let Some(reached) = self.quorum_reached() else { return };
        let (now, timeout_ms) = (self.steady(), self.settings.write_quorum_timeout as i64);
        loop {
            let front = self.output.quorum_front();
            let Some((_, slot, _)) = front
                .filter(|(offset, _, since)| *offset > reached && now.since(*since) >= timeout_ms)
            else {
                return;
            };
            self.end_uncertain(slot);
        }
    }

    /// This server becomes a replica: what waits is no longer its own to confirm, nor are the replies of
    /// this tick, which no gate holds yet.
    pub(in crate::engine) fn end_waiting_replies(&mut self) {
        if self.settings.write_quorum != 0 {
            // What has its quorum is confirmed: a FAILOVER that has waited for its successor ends nothing.
            self.open_gates();
            self.replication.unconfirmed |=
                self.quorum_reached().is_some_and(|reached| reached < self.journal.units_end());
            while let Some((_, slot, _)) = self.output.quorum_front() {
                self.end_uncertain(slot);
            }
        }
    }

    /// Ends a session whose replies of this tick show data.
    #[cold]
    pub(in crate::engine) fn end_unconfirmed(&mut self, slot: SessionId) {
        let output = self.sessions.get_mut(slot).map(|session| &mut session.output);
        if output.is_some_and(|output| std::mem::take(&mut output.shows_data)) {
            self.end_uncertain(slot);
        }
    }

    /// The replies of a session that wait become one error, and its connection ends behind it.
    fn end_uncertain(&mut self, slot: SessionId) {
        self.output.forget_waiting(slot);
        if mutation::is_on(Mutation::UncertainIsLetGo) {
            if let Some(session) = self.sessions.get_mut(slot) {
                session.output.gates.clear();
                session.output.released = session.output.buffer.len();
            }
            return self.mark_dirty(slot);
        }
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let output = &mut session.output;
        output.buffer.truncate(output.released);
        output.gates.clear();
        if !session.is_listening() {
            session.reply().error_bytes(UNCERTAIN);
        }
        session.output.released = session.output.buffer.len();
        self.replication.uncertain += 1;
        self.leave(slot);
        self.mark_dirty(slot);
    }
}
