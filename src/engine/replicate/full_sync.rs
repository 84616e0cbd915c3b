//! Full syncs: the walk for replicas that wait, and what becomes of its file.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;

use crate::engine::Engine;
use crate::engine::keep::walk_job::Job;
use crate::engine::keep::walks::{Purpose, Walk, Want};
use crate::engine::replicate::primary::replica_name;
use crate::journal::Cursor;
use crate::mailbox::SessionId;
use crate::persist::snapshot::Outcome;
use crate::replication::replica::{Feed, Transfer};

impl Engine {
    /// Puts a replica in line for a snapshot, or shares the one under way.
    pub(in crate::engine) fn await_full_sync(&mut self, slot: SessionId) {
        if !self.journal.has_backlog() {
            self.keep_backlog();
        }
        self.replication.full += 1;
        self.add_replica(slot);
        if let (Walk::Sync(job), Some(cursor)) = (&self.persistence.walk, self.replication.walk)
            && !job.is_cancelled()
        {
            tracing::info!("Waiting for end of BGSAVE for SYNC");
            self.join_walk(slot, cursor);
            return;
        }
        let since_ms = self.now().0;
        if let Some(replica) = &mut self.sessions[slot].replica {
            replica.feed = Feed::Waiting { since_ms };
        }
        if !self.persistence.walk.is_idle() {
            tracing::info!("Can't begin a snapshot for SYNC now: another is in progress");
        }
        self.want_due_sync();
    }

    /// Wants a walk where replicas wait for one, and have waited long enough for others to come.
    pub(in crate::engine) fn want_due_sync(&mut self) {
        if self.persistence.wanted.sync.is_wanted()
            || matches!(self.persistence.walk, Walk::Sync(_))
        {
            return;
        }
        let (mut count, mut oldest_ms) = (0, i64::MAX);
        for slot in &self.replication.replicas {
            let replica = self.sessions.get(*slot).and_then(|session| session.replica.as_ref());
            if let Some(Feed::Waiting { since_ms }) = replica.map(|replica| &replica.feed) {
                count += 1;
                oldest_ms = oldest_ms.min(*since_ms);
            }
        }
        if count == 0 {
            return;
        }
        let settings = &self.settings;
        let delay_ms = settings.repl_diskless_sync_delay as i64 * 1000;
        let enough = settings.repl_diskless_sync_max_replicas;
        let waits = settings.repl_diskless_sync
            && self.now().0 - oldest_ms < delay_ms
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
        match self.begin_job(Purpose::Sync) {
            Ok(job) => {
                tracing::info!("Starting BGSAVE for SYNC with target: disk");
                tracing::info!("Background saving started by this process");
                self.set_walk(Walk::of(job));
                let cursor = Cursor { offset: self.journal.offset() };
                self.replication.walk = Some(cursor);
                for slot in self.replication.replicas.clone() {
                    let feed = self.sessions[slot].replica.as_ref().map(|replica| &replica.feed);
                    if let Some(Feed::Waiting { .. }) = feed {
                        self.join_walk(slot, cursor);
                    }
                }
                self.hold_backlog();
                true
            }
            Err(error) => {
                tracing::error!("Can't write a snapshot for SYNC: {error}");
                self.put_off(Purpose::Sync);
                false
            }
        }
    }

    /// Tells a replica where the walk began whose snapshot it gets.
    fn join_walk(&mut self, slot: SessionId, cursor: Cursor) {
        let id = self.journal.history().id;
        let session = &mut self.sessions[slot];
        let Some(replica) = &mut session.replica else { return };
        replica.feed = Feed::Walking(cursor);
        if !replica.plain {
            let line = format!("+FULLRESYNC {id} {}\r\n", cursor.offset);
            session.output.buffer.extend_from_slice(line.as_bytes());
        }
        self.mark_dirty(slot);
    }

    /// Where a walk for replicas is written.
    pub(in crate::engine) fn sync_temporary(&self) -> PathBuf {
        // Cleared away like those of snapshots where the process dies.
        self.settings.dir.join(format!("temp-repl-{}.rdb", std::process::id()))
    }

    /// The walk has ended: its file goes to those that waited for it, or it is wanted again.
    pub(in crate::engine) fn sync_ended(&mut self, job: &Job, outcome: io::Result<Outcome>) {
        self.set_walk(Walk::Idle);
        self.replication.walk = None;
        let walking: Vec<SessionId> = self.replication.replicas.clone();
        let walking = walking.into_iter().filter(|slot| {
            let replica = self.sessions.get(*slot).and_then(|one| one.replica.as_ref());
            matches!(replica.map(|replica| &replica.feed), Some(Feed::Walking(_)))
        });
        let walking: Vec<SessionId> = walking.collect();
        let path = self.sync_temporary();
        match outcome {
            Ok(outcome) => {
                tracing::info!("Background saving terminated with success");
                self.persistence.wanted.sync = Want::No;
                for slot in walking {
                    self.begin_transfer(slot, outcome.bytes);
                }
                // Open files stay readable without a name.
                if let Err(error) = self.env.disk.remove(&path) {
                    tracing::warn!("Can't remove {}: {error}", path.display());
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
        self.persistence.backlog_used_ms = self.now().0;
        let awaited = self.replication.replicas.iter().any(|slot| {
            let replica = self.sessions.get(*slot).and_then(|session| session.replica.as_ref());
            replica.is_some_and(|one| matches!(one.feed, Feed::Walking(_) | Feed::Waiting { .. }))
        });
        if !awaited {
            self.persistence.wanted.sync = Want::No;
            if let Walk::Sync(job) = &mut self.persistence.walk {
                job.cancel(&mut self.databases);
            }
        }
        self.hold_backlog();
    }
}
