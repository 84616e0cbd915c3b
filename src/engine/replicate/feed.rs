//! From the snapshot's file and the backlog to replicas' sockets.
//!
//! A replica costs no memory but its place: pieces of the file are read when the socket takes more, and
//! pieces of the backlog are shared by all. How far one may be behind is said by
//! `client-output-buffer-limit replica`; the backlog keeps what it lacks until then.

use std::io::{ErrorKind, Read};

use bytes::{Buf, Bytes};

use crate::engine::Engine;
use crate::engine::replicate::primary::replica_name;
use crate::engine::session::run::Run;
use crate::journal::{Read as Piece, Unlogged};
use crate::mailbox::SessionId;
use crate::replication::replica::{Feed, PIECE_BYTES, Replica};

/// Bytes that one replica gets before others have their turn.
const TURN_BYTES: usize = 1 << 20;

/// What there is for a replica.
enum Next {
    /// Its piece holds bytes.
    Bytes,
    /// Nothing for now.
    Nothing,
    /// It can't go on.
    Broken(String),
}

impl Engine {
    /// The end of a tick that added to the stream: has replicas get it.
    #[inline]
    pub(in crate::engine) fn feed_replicas(&mut self) {
        if !self.replication.replicas.is_empty() {
            for index in 0..self.replication.replicas.len() {
                self.mark_dirty(self.replication.replicas[index]);
            }
            self.hold_backlog();
        }
    }

    /// A replica has asked for the data.
    pub(in crate::engine) fn add_replica(&mut self, slot: SessionId) {
        if self.replication.replicas.is_empty() {
            // The first ping comes a period from now.
            self.replication.pinged_ms = self.now().0;
        }
        self.replication.replicas.push(slot);
    }

    /// Adds to the stream what changes no data and concerns replicas alone. It gets into the log with
    /// the rest, where it means nothing; without replicas it is left out.
    pub(in crate::engine) fn tell_replicas(&mut self, slot: SessionId, words: &[&[u8]]) {
        if !self.replication.replicas.is_empty() {
            let db = self.sessions[slot].db;
            self.databases.unit.record(db, words);
        }
    }

    /// Has the backlog keep what replicas lack.
    pub(in crate::engine) fn hold_backlog(&mut self) {
        let replicas = self.replication.replicas.iter();
        let needs = replicas.filter_map(|slot| self.sessions.get(*slot)?.replica.as_ref()?.needs());
        let walk = self.replication.walk.map(|cursor| cursor.offset);
        self.journal.hold(needs.chain(walk).min());
    }

    /// Writes what there is for a replica, as much as its socket takes.
    #[cold]
    pub(in crate::engine) fn pump(&mut self, slot: SessionId) {
        let mut turn = 0;
        loop {
            let Some(session) = self.sessions.get_mut(slot) else { return };
            let ends = matches!(session.run, Run::Leaving | Run::Closed);
            if ends || session.output.pending() > 0 || session.output.awaiting_writable {
                return;
            }
            let (Some(replica), Some(outlet)) = (&mut session.replica, &session.outlet) else {
                return;
            };
            if turn >= TURN_BYTES {
                session.output.awaiting_writable = true;
                outlet.notify_writable(slot);
                return;
            }
            if replica.piece.is_empty() {
                match replica.next_piece(&mut self.journal) {
                    Next::Bytes => {}
                    Next::Nothing => {
                        self.check_behind(slot);
                        return;
                    }
                    Next::Broken(why) => {
                        tracing::warn!("Closing replica {}: {why}", replica_name(session));
                        self.kill(slot);
                        return;
                    }
                }
            }
            match outlet.try_write(&replica.piece) {
                Ok(written) if written > 0 => {
                    replica.piece.advance(written);
                    turn += written;
                    session.traffic.output_bytes += written as u64;
                    self.metrics.output_bytes += written as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    session.output.awaiting_writable = true;
                    outlet.notify_writable(slot);
                    self.check_behind(slot);
                    return;
                }
                _ => {
                    self.kill(slot);
                    return;
                }
            }
        }
    }

    /// Closes a replica that is too far behind.
    fn check_behind(&mut self, slot: SessionId) {
        let (now_ms, end) = (self.now().0, self.journal.offset());
        let limit = self.settings.client_output_buffer_limit.replica;
        let backlog = self.settings.repl_backlog_size;
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let Some(replica) = &mut session.replica else { return };
        let behind = replica.needs().map_or(0, |offset| end.saturating_sub(offset));
        // A limit below the backlog would close replicas that cost nothing.
        let hard = limit.hard != 0 && behind > limit.hard.max(backlog);
        let soft = limit.soft != 0 && behind > limit.soft.max(backlog);
        if !soft {
            replica.behind_since_ms = 0;
        } else if replica.behind_since_ms == 0 {
            replica.behind_since_ms = now_ms;
        }
        let too_long = soft && now_ms - replica.behind_since_ms > limit.soft_seconds as i64 * 1000;
        if hard || too_long {
            tracing::warn!(
                "Client id={} (replica {}) closed for overcoming of output buffer limits: {behind} \
                 bytes behind.",
                session.id,
                replica_name(session)
            );
            self.metrics.output_buffer_disconnections += 1;
            self.kill(slot);
        }
    }

    /// Once a second: pings, signs of life to those that wait, and the end of those that are silent.
    pub(in crate::engine) fn replicas_cron(&mut self) {
        let now_ms = self.now().0;
        if self.replication.replicas.is_empty() {
            return;
        }
        self.persistence.backlog_used_ms = now_ms;
        let period_ms = self.settings.repl_ping_replica_period as i64 * 1000;
        // A replica passes its primary's pings on, and adds nothing to that stream.
        // A failover waits for the stream's end.
        let adds = !self.is_replica() && !self.pause.handover;
        if adds && now_ms - self.replication.pinged_ms >= period_ms {
            self.replication.pinged_ms = now_ms;
            self.journal.append_unlogged(Unlogged::Ping);
        }
        let timeout_ms = self.settings.repl_timeout as i64 * 1000;
        for slot in self.replication.replicas.clone() {
            self.check_behind(slot);
            let Some(session) = self.sessions.get_mut(slot) else { continue };
            let Some(replica) = &session.replica else { continue };
            match replica.feed {
                Feed::Waiting { .. } | Feed::Walking(_) => {
                    session.output.buffer.push(b'\n');
                    self.mark_dirty(slot);
                }
                Feed::Online(_) if now_ms - replica.heard_ms > timeout_ms && !replica.plain => {
                    let name = replica_name(session);
                    tracing::warn!("Disconnecting timedout replica (streaming sync): {name}");
                    self.kill(slot);
                }
                _ => {}
            }
        }
        self.want_due_sync();
    }
}

impl Replica {
    fn next_piece(&mut self, journal: &mut crate::journal::Journal) -> Next {
        match &mut self.feed {
            Feed::Sending(transfer, cursor) if transfer.left == 0 => {
                self.feed = if self.snapshot_only { Feed::Done } else { Feed::Online(*cursor) };
                self.next_piece(journal)
            }
            Feed::Sending(transfer, _) => {
                let room = transfer.left.min(PIECE_BYTES as u64) as usize;
                let mut piece = vec![0; room];
                match transfer.file.read_exact(&mut piece) {
                    Ok(()) => {
                        transfer.left -= room as u64;
                        self.piece = Bytes::from(piece);
                        Next::Bytes
                    }
                    Err(error) => Next::Broken(format!("its snapshot can't be read: {error}")),
                }
            }
            Feed::Online(cursor) => match cursor.next(journal) {
                Piece::Chunk(bytes) => {
                    self.piece = bytes;
                    Next::Bytes
                }
                Piece::CaughtUp => Next::Nothing,
                Piece::Gone => Next::Broken("the backlog doesn't have its place any more".into()),
            },
            _ => Next::Nothing,
        }
    }
}
