//! Full syncs: the walk for replicas that wait, and what becomes of what it writes.
//!
//! With `repl-diskless-sync yes` the walk's bytes go to the replicas' sockets while they are made; the
//! walk serves the replicas that waited when it began, and one that comes later waits for the next.
//! Otherwise, and where one of them doesn't know that form, it writes a file that is sent when it is
//! complete, and a replica that comes while it is written shares it.
//!
//! A snapshot is for replicas that read the same: Valkey from 9 on gets its own version of the format, since
//! it refuses Redis's where fields of hashes expire. Who reads the other waits for the next walk.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::checksum::Crc64;
use crate::engine::Engine;
use crate::engine::keep::walk_job::Job;
use crate::engine::keep::walks::{Purpose, Walk, Want};
use crate::engine::replicate::primary::replica_name;
use crate::journal::{Cursor, ReplicationId};
use crate::mailbox::SessionId;
use crate::persist::relay::Relay;
use crate::persist::snapshot::{Outcome, Target};
use crate::rdb::encode::{self, EncodeOptions};
use crate::rdb::format::{self, Dialect};
use crate::replication::replica::{Feed, Part, Replica, Stream, Transfer};

/// A walk for replicas.
#[derive(Debug)]
pub(crate) struct SyncWalk {
    /// Where in the stream it began.
    pub(in crate::engine) cursor: Cursor,
    target: SyncTarget,
    /// For whom it is written.
    version: u16,
}

#[derive(Debug)]
enum SyncTarget {
    File,
    Sockets(Arc<Relay>),
}

impl Engine {
    /// Puts a replica in line for a snapshot, or shares the one under way.
    pub(in crate::engine) fn await_full_sync(&mut self, slot: SessionId) {
        if !self.journal.has_backlog() {
            self.keep_backlog();
        }
        self.replication.counts.full += 1;
        self.add_replica(slot);
        let part = self.sessions[slot].replica.as_ref().and_then(|replica| replica.part);
        if let Some(part) = part {
            return self.send_part(slot, part);
        }
        if let (Walk::Sync(job), Some(walk)) = (&self.persistence.walk, &self.replication.walk)
            && !job.is_cancelled()
        {
            if Some(walk.version) != self.sync_version(slot) {
                tracing::info!(
                    "Current BGSAVE is in another format. Waiting for next BGSAVE for SYNC"
                );
            } else if let SyncTarget::File = walk.target {
                tracing::info!("Waiting for end of BGSAVE for SYNC");
                self.join_walk(slot, walk.cursor);
                return;
            } else {
                tracing::info!(
                    "Current BGSAVE has socket target. Waiting for next BGSAVE for SYNC"
                );
            }
        }
        let since = self.steady();
        if let Some(replica) = &mut self.sessions[slot].replica {
            replica.feed = Feed::Waiting { since };
        }
        if !matches!(self.persistence.walk, Walk::Idle | Walk::Sync(_)) {
            tracing::info!("Can't begin a snapshot for SYNC now: another is in progress");
        }
        self.want_due_sync();
    }

    /// Sends a snapshot without keys, which needs no walk.
    fn send_part(&mut self, slot: SessionId, part: Part) {
        let version = self.sync_version(slot).unwrap_or(format::VERSION);
        let options = EncodeOptions { version, ..Default::default() };
        let mut snapshot = Vec::new();
        self.push_aux(&mut snapshot, &options, Purpose::Sync);
        if part == Part::Functions {
            self.library_texts().for_each(|text| encode::function(&mut snapshot, &options, text));
        }
        encode::end(&mut snapshot);
        let mut crc = Crc64::new();
        crc.update(&snapshot);
        encode::checksum(&mut snapshot, self.settings.rdbchecksum.then_some(&crc));
        let (id, offset) = (self.journal.share_name(), self.journal.end().offset);
        let mark = ReplicationId::random(&mut self.rng);
        let head = format!("$EOF:{mark}\r\n").into_bytes();
        let session = &mut self.sessions[slot];
        let Some(replica) = &mut session.replica else { return };
        if !replica.plain {
            let line = format!("+FULLRESYNC {id} {offset}\r\n");
            session.output.buffer.extend_from_slice(line.as_bytes());
        }
        replica.piece = [&head[..], &snapshot, mark.digits()].concat().into();
        let cursor = Cursor { offset };
        replica.feed = if replica.snapshot_only { Feed::Done } else { Feed::Sent(cursor) };
        self.mark_dirty(slot);
    }

    /// The version of the format in which a replica gets its snapshot, but that fields of hashes that
    /// expire may raise it.
    fn sync_version(&self, slot: SessionId) -> Option<u16> {
        let replica = self.sessions.get(slot)?.replica.as_ref()?;
        let set = self.limits.rdb_version;
        Some(match (replica.reads, Dialect::of(set)) {
            (Dialect::Valkey, _) => format::VERSION_VALKEY,
            // It is for a file.
            (Dialect::Redis, _) if replica.snapshot_only => set,
            (Dialect::Redis, Dialect::Redis) => set,
            // Redis doesn't read it, and a replica of our own makes no base of it.
            (Dialect::Redis, Dialect::Valkey) => format::VERSION,
        })
    }

    /// The version of the walk for replicas that is under way, or about to begin.
    pub(in crate::engine) fn sync_walk_version(&self) -> Option<u16> {
        self.replication.walk.as_ref().map(|walk| walk.version)
    }

    /// Wants a walk where replicas wait for one, and have waited long enough for others to come.
    pub(in crate::engine) fn want_due_sync(&mut self) {
        if self.persistence.wanted.sync.is_wanted()
            || matches!(self.persistence.walk, Walk::Sync(_))
        {
            return;
        }
        let (mut count, mut oldest) = (0, self.steady());
        for slot in &self.replication.replicas {
            let replica = self.sessions.get(*slot).and_then(|session| session.replica.as_ref());
            if let Some(Feed::Waiting { since }) = replica.map(|replica| &replica.feed) {
                count += 1;
                oldest = oldest.min(*since);
            }
        }
        if count == 0 {
            return;
        }
        let settings = &self.settings;
        let delay_ms = settings.repl_diskless_sync_delay as i64 * 1000;
        let enough = settings.repl_diskless_sync_max_replicas;
        let waits = settings.repl_diskless_sync
            && self.steady().since(oldest) < delay_ms
            && (enough == 0 || count < enough);
        if !waits {
            self.persistence.wanted.sync.ask();
        }
    }

    /// Begins the walk. False where it can't.
    pub(in crate::engine) fn start_sync(&mut self) -> bool {
        // The stream that follows must say its database. That of a primary that is followed says it when it
        // likes: the snapshot tells which one it has.
        if !self.is_replica() {
            self.journal.forget_selected();
        }
        let mut waiting: Vec<SessionId> = self.fed_by(|feed| matches!(feed, Feed::Waiting { .. }));
        let since = |slot: &SessionId| match self.sessions[*slot].replica.as_ref()?.feed {
            Feed::Waiting { since } => Some(since),
            _ => None,
        };
        // Who waits for the other version gets the next walk.
        let first = waiting.iter().min_by_key(|slot| since(slot)).copied();
        let version = first.and_then(|slot| self.sync_version(slot)).unwrap_or(format::VERSION);
        waiting.retain(|slot| self.sync_version(*slot) == Some(version));
        let takes_mark = |slot: &SessionId| {
            self.sessions[*slot].replica.as_ref().is_some_and(|replica| replica.takes_mark)
        };
        let to_sockets = self.settings.repl_diskless_sync && waiting.iter().all(takes_mark);
        let target = if to_sockets { SyncTarget::Sockets(Relay::new()) } else { SyncTarget::File };
        let cursor = Cursor { offset: self.journal.offset() };
        self.replication.walk = Some(SyncWalk { cursor, target, version });
        match self.begin_job(Purpose::Sync) {
            Ok(job) => {
                let target = if to_sockets { "replicas sockets" } else { "disk" };
                tracing::info!("Starting BGSAVE for SYNC with target: {target}");
                tracing::info!("Background saving started by this process");
                self.set_walk(Walk::of(job));
                for slot in waiting {
                    self.join_walk(slot, cursor);
                }
                self.hold_backlog();
                true
            }
            Err(error) => {
                tracing::error!("Can't write a snapshot for SYNC: {error}");
                self.replication.walk = None;
                self.put_off(Purpose::Sync);
                false
            }
        }
    }

    /// The replicas of which the feed is such a one.
    fn fed_by(&self, such: impl Fn(&Feed) -> bool) -> Vec<SessionId> {
        let of = |slot: &SessionId| self.sessions.get(*slot)?.replica.as_deref();
        let slots = self.replication.replicas.iter().copied();
        slots.filter(|slot| of(slot).is_some_and(|replica: &Replica| such(&replica.feed))).collect()
    }

    /// Bytes of a snapshot on its way that are kept in memory for the slowest replica.
    pub(in crate::engine) fn relayed_bytes(&self) -> u64 {
        let of = |slot: &SessionId| self.sessions.get(*slot)?.replica.as_deref();
        let kept = |replica: &Replica| match &replica.feed {
            Feed::Streaming(stream, _) => stream.reader.kept_bytes(),
            _ => 0,
        };
        // Two at once are one that all have, and another's rest.
        self.replication.replicas.iter().filter_map(of).map(kept).max().unwrap_or(0)
    }

    /// Where the walk that is about to begin writes to.
    pub(in crate::engine) fn sync_target(&self) -> Target {
        match self.replication.walk.as_ref().map(|walk| &walk.target) {
            Some(SyncTarget::Sockets(relay)) => Target::Relay(Arc::clone(relay)),
            Some(SyncTarget::File) | None => Target::Transfer,
        }
    }

    /// The walk has gone on: what it gave to the relay goes to the sockets that take it.
    pub(in crate::engine) fn feed_streaming(&mut self) {
        for slot in self.fed_by(|feed| matches!(feed, Feed::Streaming(..))) {
            self.pump(slot);
        }
    }

    /// Tells a replica where the walk began whose snapshot it gets.
    fn join_walk(&mut self, slot: SessionId, cursor: Cursor) {
        let id = self.journal.share_name();
        let session = &mut self.sessions[slot];
        let Some(replica) = &mut session.replica else { return };
        if !replica.plain {
            let line = format!("+FULLRESYNC {id} {}\r\n", cursor.offset);
            session.output.buffer.extend_from_slice(line.as_bytes());
        }
        replica.feed = match self.replication.walk.as_ref().map(|walk| &walk.target) {
            Some(SyncTarget::Sockets(relay)) => {
                // As random as a replication ID, and as long.
                let mark = ReplicationId::random(&mut self.rng);
                let mark = Bytes::copy_from_slice(mark.digits());
                replica.piece = [&b"$EOF:"[..], &mark, b"\r\n"].concat().into();
                replica.heard = self.tick.steady;
                Feed::Streaming(Stream { reader: relay.reader(), mark }, cursor)
            }
            Some(SyncTarget::File) | None => Feed::Walking(cursor),
        };
        self.mark_dirty(slot);
    }

    /// Where a walk for replicas is written.
    pub(in crate::engine) fn sync_temporary(&self) -> PathBuf {
        // Cleared away like those of snapshots where the process dies.
        self.settings.dir.join(format!("temp-sync-{}.rdb", std::process::id()))
    }

    /// Where the snapshot of a full sync is received: not where one is written, since a server may do
    /// both at a time.
    pub(in crate::engine) fn reception_temporary(&self) -> PathBuf {
        self.settings.dir.join(format!("temp-repl-{}.rdb", std::process::id()))
    }

    /// The walk has ended: its file goes to those that waited for it, or it is wanted again.
    pub(in crate::engine) fn sync_ended(&mut self, job: &Job, outcome: io::Result<Outcome>) {
        self.set_walk(Walk::Idle);
        let walk = self.replication.walk.take();
        let relay = match walk.map(|walk| walk.target) {
            Some(SyncTarget::Sockets(relay)) => Some(relay),
            Some(SyncTarget::File) | None => None,
        };
        let to_file = relay.is_none();
        // Others may still be taking what the walk before this one has written.
        let walking = self.fed_by(|feed| match (feed, &relay) {
            (Feed::Walking(_), None) => true,
            (Feed::Streaming(stream, _), Some(relay)) => stream.reader.is_of(relay),
            _ => false,
        });
        match outcome {
            Ok(outcome) => {
                if relay.is_some() {
                    // Those that have taken all of it by now, too.
                    let count =
                        walking.len() + self.fed_by(|feed| matches!(feed, Feed::Sent(_))).len();
                    tracing::info!(
                        "Diskless rdb transfer, done reading from pipe, {count} replicas still up."
                    );
                }
                tracing::info!("Background saving terminated with success");
                self.persistence.wanted.sync = Want::No;
                if to_file {
                    for slot in walking {
                        self.begin_transfer(slot, outcome.bytes);
                    }
                    // Open files stay readable without a name.
                    let path = self.sync_temporary();
                    if let Err(error) = self.env.disk.remove(&path) {
                        tracing::warn!("Can't remove {}: {error}", path.display());
                    }
                } else {
                    self.feed_streaming();
                }
            }
            Err(error) => {
                if job.is_cancelled() {
                    tracing::info!("The snapshot for SYNC was given up: nobody waits for it");
                    self.persistence.wanted.sync = Want::No;
                } else {
                    tracing::error!("SYNC failed. BGSAVE child returned an error: {error}");
                    self.put_off(Purpose::Sync);
                }
                // They were told of a place that no snapshot has: they ask again.
                for slot in walking {
                    self.kill(slot);
                }
            }
        }
        // Where nobody took its place in the stream, nothing else lets that go before the next write.
        self.hold_backlog();
        self.want_due_sync();
    }

    fn begin_transfer(&mut self, slot: SessionId, bytes: u64) {
        let opened = self.env.disk.open_read(&self.sync_temporary());
        let name = replica_name(&self.sessions[slot]);
        let Some(replica) = &mut self.sessions[slot].replica else { return };
        match (opened, &replica.feed) {
            (Ok(file), Feed::Walking(cursor)) => {
                let cursor = *cursor;
                replica.piece = Bytes::from(format!("${bytes}\r\n"));
                replica.feed = Feed::Sending(Transfer { file, left: bytes }, cursor);
                self.mark_dirty(slot);
            }
            (Err(error), _) => {
                tracing::error!("Can't read the snapshot for replica {name}: {error}");
                self.kill(slot);
            }
            (Ok(_), _) => {}
        }
    }

    /// A replica's connection has ended.
    pub(in crate::engine) fn replica_gone(&mut self, slot: SessionId) {
        let Some(at) = self.replication.replicas.iter().position(|one| *one == slot) else {
            return;
        };
        self.replication.replicas.remove(at);
        tracing::info!("Connection with replica {} lost.", replica_name(&self.sessions[slot]));
        self.replication.backlog_used = self.steady();
        let awaits = |feed: &Feed| {
            matches!(feed, Feed::Walking(_) | Feed::Streaming(..) | Feed::Waiting { .. })
        };
        if self.fed_by(awaits).is_empty() {
            self.persistence.wanted.sync = Want::No;
            if let Walk::Sync(job) = &mut self.persistence.walk {
                job.cancel(&mut self.databases);
            }
        }
        self.hold_backlog();
    }
}
