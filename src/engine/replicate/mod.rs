//! Replication, the engine's part: replicas that are fed, and the primary that is followed.
//!
//! **State.** A session that has introduced itself by REPLCONF, or asked by PSYNC or SYNC, has a
//! `Replica` with one enum, what it gets next (`Feed`); [`State::replicas`] lists those that are fed.
//! A full sync is a walk like any other (`keep::walks`, `Purpose::Sync`): it is wanted as long as a
//! replica waits for one, whoever fails or goes meanwhile, and all that wait when it begins share it.
//! It goes to their sockets while it is made (`persist::relay`), or to a file which each replica reads at its
//! own pace (`repl-diskless-sync no`, or a replica that knows no other form); the stream behind it is a
//! cursor into the backlog.
//!
//! **Who owns what.** As a primary: [`primary`] the handshake and what acknowledgements mean,
//! [`full_sync`] the walk and its file, [`feed`] the bytes to the sockets and how far a replica may be
//! behind, [`quorum`] replies that wait for replicas, [`failover`] the handing over of a primary's place,
//! [`farewell`] a shutdown that waits for replicas. As a replica: [`follow`] the link, [`receive`] a
//! snapshot, [`apply`] the stream, [`empty_primary`] what must not empty us. [`causal`] tokens; [`crate::journal`] the stream.
//!
//! **Faults.** A replica that reads nothing: it is fed from the log's files when it reads again; without
//! a log its place holds the backlog up to `client-output-buffer-limit replica`, then it is closed. One
//! that is silent for `repl-timeout`, or takes nothing of its snapshot for so long: closed. A walk that
//! fails: it is wanted still, later each time. A link that breaks: the replica comes back and goes on
//! at its place if backlog or log have it. Nothing here is kept for one that is gone.
//!
//! **Proof.** `tests/replication`: the real redis-server and Valkey follow us under load, with links cut.

use crate::base::env::SteadyMillis;
use crate::engine::Engine;
use crate::engine::session::Session;
use crate::mailbox::SessionId;
use crate::replication::replica::Replica;

pub(crate) mod apply;
pub(crate) mod causal;
pub(crate) mod empty_primary;
pub(crate) mod failover;
pub(in crate::engine) mod farewell;
pub(crate) mod feed;
pub(crate) mod follow;
pub(crate) mod full_sync;
pub(crate) mod primary;
pub(crate) mod quorum;
pub(crate) mod receive;

/// What is known of replicas together.
#[derive(Debug)]
pub(crate) struct State {
    /// The session that a primary's stream is applied with.
    pub(crate) applier: SessionId,
    /// The primary that is followed, if any.
    pub(crate) upstream: Option<Box<follow::Upstream>>,
    /// A failover under way.
    pub(crate) failover: failover::Failover,
    /// Links to a primary so far.
    pub(crate) links: u64,
    /// Sessions that are fed, in the order in which they asked.
    pub(crate) replicas: Vec<SessionId>,
    /// The full sync's walk that is under way.
    pub(crate) walk: Option<full_sync::SyncWalk>,
    /// Whether somebody waits for replicas' word: they are asked at the end of the tick.
    pub(crate) wants_word: bool,
    /// Up to where in the stream they were asked.
    pub(crate) asked: u64,
    /// Whether this server became a replica in this tick, before a quorum had what it did as a primary:
    /// no reply of the tick that shows data may leave.
    pub(crate) unconfirmed: bool,
    /// Connections that `write-quorum-timeout` has ended.
    pub(crate) uncertain: u64,
    /// Whether a replica has said how far it is, since those who wait were last looked at.
    pub(crate) heard: bool,
    /// When replicas were last pinged.
    pub(crate) pinged: SteadyMillis,
    /// When the backlog was last needed.
    pub(crate) backlog_used: SteadyMillis,
    /// What INFO counts.
    pub(crate) counts: Counts,
}

/// What became of replicas that asked for the data.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Full syncs begun.
    pub(crate) full: u64,
    /// Replicas that went on where they were.
    pub(crate) partial: u64,
    /// Replicas that wanted to, and could not.
    pub(crate) partial_refused: u64,
}

impl State {
    /// Neither replicas nor a primary.
    pub(crate) fn new(applier: SessionId) -> Self {
        Self {
            applier,
            upstream: None,
            failover: failover::Failover::Idle,
            links: 0,
            replicas: Vec::new(),
            walk: None,
            wants_word: false,
            asked: 0,
            unconfirmed: false,
            uncertain: 0,
            heard: false,
            pinged: SteadyMillis::default(),
            backlog_used: SteadyMillis::default(),
            counts: Counts::default(),
        }
    }

    /// Counts from 0 again.
    pub(crate) fn reset_counts(&mut self) {
        self.counts = Counts::default();
    }
}

impl Engine {
    /// The replicas that are fed, in the order in which they asked.
    pub(crate) fn replicas(&self) -> impl Iterator<Item = (&Session, &Replica)> {
        self.replication.replicas.iter().filter_map(|slot| {
            let session = self.sessions.get(*slot)?;
            Some((session, session.replica.as_deref()?))
        })
    }
}
