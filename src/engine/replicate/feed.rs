//! From the snapshot's file, the backlog and the log's files to replicas' sockets.
//!
//! A replica costs no memory but its place: pieces of a file are read when the socket takes more, and
//! pieces of the backlog are shared by all. One that is further behind than the backlog's size reads from
//! the log's files and comes back to the backlog when it has caught up, however far that is; the files
//! that rewrites superseded stay for it, up to `repl-log-catchup-size`. When those have gone that it would
//! read next, it is closed at once: nothing is kept for a replica that can't go on. Without a log the backlog
//! keeps what it lacks, as far as `client-output-buffer-limit replica` allows.

use std::io::{ErrorKind, Read};

use bytes::{Buf, Bytes};

use crate::engine::Engine;
use crate::engine::keep::walks::Walk;
use crate::engine::replicate::primary::replica_name;
use crate::engine::session::run::Run;
use crate::journal::{Cursor, Journal, Read as Piece, Unlogged};
use crate::mailbox::SessionId;
use crate::persist::log::Log;
use crate::persist::relay::Piece as Snapshot;
use crate::persist::stream_files::Found;
use crate::replication::replica::{Feed, PIECE_BYTES, Replica};

/// Superseded files of the log take at most this part of the room that there would be without them.
const FREE_SHARE: u64 = 2;
const LOST_PLACE: &str = "the log doesn't have its place any more";
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

/// Whether the log's files, which have the stream from one offset to another, have it at this one.
fn is_in(files: Option<(u64, u64)>, offset: u64) -> bool {
    files.is_some_and(|(start, end)| (start..=end).contains(&offset))
}

/// From where on the backlog must keep the stream for a replica: it needs what no file has, and one in step
/// is fed from memory, which may be a tick that is longer than the backlog.
fn kept_for(replica: &Replica, files: Option<(u64, u64)>) -> Option<u64> {
    let in_step = matches!(replica.feed, Feed::Online(_));
    replica.needs().filter(|offset| in_step || !is_in(files, *offset))
}

impl Engine {
    /// The end of a tick that added to the stream: replicas get it before clients get their answers, so
    /// that what was acknowledged is on its way when this process dies.
    #[inline]
    pub(in crate::engine) fn feed_replicas(&mut self) {
        if !self.replication.replicas.is_empty() {
            let mut index = 0;
            while let Some(&slot) = self.replication.replicas.get(index) {
                let session = self.sessions.get(slot);
                if session.is_some_and(|session| session.output.awaiting_writable) {
                    // What it doesn't take piles up with every tick; this may be its end.
                    self.check_behind(slot);
                } else {
                    self.pump(slot);
                }
                index += usize::from(self.replication.replicas.get(index) == Some(&slot));
            }
            self.hold_backlog();
        }
    }

    /// A replica has asked for the data.
    pub(in crate::engine) fn add_replica(&mut self, slot: SessionId) {
        if self.replication.replicas.is_empty() {
            // The first ping comes a period from now.
            self.replication.pinged = self.steady();
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

    /// Has the backlog keep what replicas lack and the log's files don't have. A replica that is further
    /// behind than the backlog's size goes on from the files.
    pub(in crate::engine) fn hold_backlog(&mut self) {
        let oldest = self.journal.offset().saturating_sub(self.settings.repl_backlog_size);
        let log = self.log.as_ref();
        let files = log.and_then(Log::stream_extent);
        let given_up = matches!(&self.persistence.walk, Walk::Sync(job) if job.is_cancelled());
        let walk = self.replication.walk.as_ref().filter(|_| !given_up);
        let walk = walk.map(|walk| walk.cursor.offset);
        let mut held = walk.filter(|offset| !is_in(files, *offset)).unwrap_or(u64::MAX);
        let mut relies = walk.is_some();
        let mut lost = Vec::new();
        for slot in &self.replication.replicas {
            let session = self.sessions.get_mut(*slot);
            let Some(replica) = session.and_then(|one| one.replica.as_mut()) else { continue };
            if let Feed::Online(cursor) = replica.feed
                && cursor.offset < oldest
                && let Some(place) = log.and_then(|log| log.find(cursor.offset))
            {
                replica.feed = Feed::CatchingUp(place);
            }
            match replica.needs() {
                // The oldest files go first: what it would read next is in none.
                Some(offset)
                    if matches!(replica.feed, Feed::CatchingUp(_))
                        && files.is_none_or(|(start, _)| offset < start) =>
                {
                    lost.push(*slot);
                }
                Some(offset) if kept_for(replica, files).is_some() => held = held.min(offset),
                Some(offset) => relies |= offset < oldest,
                None => {}
            }
        }
        if let Some((_, end)) = files.filter(|_| relies) {
            // What a disk that fails doesn't take is in no file.
            held = held.min(end);
        }
        self.journal.hold((held != u64::MAX).then_some(held));
        // Closing one comes back here, and may have closed the others already.
        for slot in lost {
            if !self.replication.replicas.contains(&slot) {
                continue;
            }
            let name = replica_name(&self.sessions[slot]);
            tracing::warn!("Closing replica {name}: {LOST_PLACE}");
            self.kill(slot);
        }
    }

    /// Lets superseded files of the log go that nobody may want: all of them where no replica has been
    /// there lately, and what would leave others too little room on the disk.
    pub(in crate::engine) fn bound_superseded(&mut self) {
        let Some(log) = &mut self.log else { return };
        let kept = log.superseded_bytes();
        if kept == 0 {
            return;
        }
        let free = self.env.disk.free_bytes(&log.layout().dir).unwrap_or(0);
        let wanted =
            if self.journal.has_backlog() { self.settings.repl_log_catchup_size } else { 0 };
        log.keep_superseded(wanted.min((free + kept) / FREE_SHARE));
    }

    /// Writes what there is for a replica, as much as its socket takes.
    #[cold]
    pub(in crate::engine) fn pump(&mut self, slot: SessionId) {
        let (mut turn, now) = (0, self.steady());
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
                match replica.next_piece(&mut self.journal, self.log.as_mut()) {
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
                    if !replica.is_online() {
                        replica.heard = now;
                    }
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
        let (now, end) = (self.steady(), self.journal.offset());
        let limit = self.settings.client_output_buffer_limit.replica;
        let backlog = self.settings.repl_backlog_size;
        let files = self.log.as_ref().and_then(Log::stream_extent);
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let Some(replica) = &mut session.replica else { return };
        // What it lacks that the log's files have costs no memory.
        let behind = kept_for(replica, files).map_or(0, |offset| end.saturating_sub(offset));
        // A limit below the backlog would close replicas that cost nothing.
        let hard = limit.hard != 0 && behind > limit.hard.max(backlog);
        let soft = limit.soft != 0 && behind > limit.soft.max(backlog);
        let too_long = limit.outlasted(soft, &mut replica.behind_since, now);
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
        let now = self.steady();
        if self.replication.replicas.is_empty() {
            return;
        }
        self.replication.backlog_used = now;
        let period_ms = self.settings.repl_ping_replica_period as i64 * 1000;
        // A replica passes its primary's pings on, and adds nothing to that stream.
        // A failover waits for the stream's end.
        let adds = !self.is_replica() && !self.pause.handover;
        if adds && now.since(self.replication.pinged) >= period_ms {
            self.replication.pinged = now;
            self.journal.append_unlogged(Unlogged::Ping);
        }
        let timeout_ms = self.settings.repl_timeout as i64 * 1000;
        for slot in self.replication.replicas.clone() {
            self.check_behind(slot);
            let Some(session) = self.sessions.get_mut(slot) else { continue };
            let Some(replica) = &mut session.replica else { continue };
            // While it loads a snapshot it says nothing else.
            if session.link.as_ref().is_some_and(|link| link.take_blank()) {
                replica.heard = now;
            }
            let silent = now.since(replica.heard) > timeout_ms;
            match replica.feed {
                Feed::Done if replica.piece.is_empty() && session.output.pending() == 0 => {
                    let name = replica_name(session);
                    tracing::info!(
                        "RDB transfer completed, rdb only replica ({name}) should be disconnected \
                         asap"
                    );
                    self.kill(slot);
                }
                Feed::Waiting { .. } | Feed::Walking(_) => {
                    session.output.buffer.push(b'\n');
                    self.mark_dirty(slot);
                }
                Feed::Online(_) | Feed::CatchingUp(_) if silent && !replica.plain => {
                    let name = replica_name(session);
                    tracing::warn!("Disconnecting timedout replica (streaming sync): {name}");
                    self.kill(slot);
                }
                Feed::Sending(..) | Feed::Streaming(..) | Feed::Sent(_) if silent => {
                    // One that has all there is so far doesn't stand still: the walk does.
                    if !matches!(replica.feed, Feed::Sent(_)) && !session.output.awaiting_writable {
                        continue;
                    }
                    let name = replica_name(session);
                    tracing::warn!("Disconnecting timedout replica (full sync): {name}");
                    self.kill(slot);
                }
                _ => {}
            }
        }
        self.want_due_sync();
    }
}

impl Feed {
    /// The stream from an offset on: from the backlog where that has it, else from the log's files.
    /// Nothing where neither has.
    pub(in crate::engine) fn from(
        offset: u64,
        journal: &Journal,
        log: Option<&Log>,
    ) -> Option<Self> {
        let held = |(start, _): (u64, u64)| (start..=journal.offset()).contains(&offset);
        if journal.backlog_extent().is_some_and(held) {
            return Some(Self::Online(Cursor { offset }));
        }
        log?.find(offset).map(Self::CatchingUp)
    }
}

impl Replica {
    /// It has its snapshot: the stream follows.
    pub(in crate::engine) fn begin_stream(
        &mut self,
        cursor: Cursor,
        journal: &Journal,
        log: Option<&Log>,
    ) {
        self.feed = if self.snapshot_only {
            Feed::Done
        } else {
            Feed::from(cursor.offset, journal, log).unwrap_or(Feed::Online(cursor))
        };
    }

    fn next_piece(&mut self, journal: &mut Journal, log: Option<&mut Log>) -> Next {
        match &mut self.feed {
            Feed::Sending(transfer, cursor) if transfer.left == 0 => {
                let cursor = *cursor;
                self.begin_stream(cursor, journal, log.as_deref());
                self.next_piece(journal, log)
            }
            Feed::Streaming(stream, cursor) => match stream.reader.next() {
                Ok(Snapshot::Bytes(bytes)) => {
                    self.piece = bytes;
                    Next::Bytes
                }
                Ok(Snapshot::NotYet) => Next::Nothing,
                Ok(Snapshot::End) => {
                    self.piece = stream.mark.clone();
                    self.feed = if self.snapshot_only { Feed::Done } else { Feed::Sent(*cursor) };
                    Next::Bytes
                }
                Err(error) => Next::Broken(format!("its snapshot can't be read: {error}")),
            },
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
                Piece::Gone => match log.as_ref().and_then(|log| log.find(cursor.offset)) {
                    Some(place) => {
                        self.feed = Feed::CatchingUp(place);
                        self.next_piece(journal, log)
                    }
                    None => Next::Broken("the backlog doesn't have its place any more".into()),
                },
            },
            Feed::CatchingUp(place) => {
                let offset = place.offset;
                if journal.backlog_extent().is_some_and(|(start, _)| start <= offset) {
                    self.feed = Feed::Online(Cursor { offset });
                    return self.next_piece(journal, log);
                }
                match log.map(|log| log.read(place)) {
                    Some(Ok(Found::Bytes(bytes))) => {
                        self.piece = bytes;
                        Next::Bytes
                    }
                    Some(Ok(Found::End)) => Next::Nothing,
                    Some(Ok(Found::Gone)) | None => Next::Broken(LOST_PLACE.into()),
                    Some(Err(error)) => Next::Broken(format!("the log can't be read: {error}")),
                }
            }
            _ => Next::Nothing,
        }
    }
}
