//! A client, as the engine sees it: what it chose, what it is in the middle of, and the replies
//! that wait for it.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use bitflags::bitflags;

use crate::base::env::SteadyMillis;
use crate::engine::registry::CommandId;
use crate::engine::session::pubsub::listeners::Subscriptions;
use crate::engine::session::run::{Input, Run};
use crate::engine::session::tracking::Tracking;
use crate::engine::tick::transaction::Transaction;
use crate::keyspace::databases::DbIndex;
use crate::mailbox::{Batch, Link, Outlet, SessionId};
use crate::replication::replica::Replica;
use crate::resp::reply::{Protocol, Reply};

pub(crate) mod blocking;
pub(crate) mod client;
mod client_filter;
pub(crate) mod client_list;
pub(crate) mod client_memory;
pub(crate) mod connection;
pub(crate) mod copies;
pub(crate) mod output;
pub(crate) mod pause;
pub(crate) mod pubsub;
pub(crate) mod push;
pub(crate) mod run;
pub(crate) mod tracking;

bitflags! {
    /// How a client wants to be treated.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Manner: u8 {
        /// CLIENT NO-EVICT.
        const NO_EVICT = 1 << 0;
        /// CLIENT NO-TOUCH.
        const NO_TOUCH = 1 << 1;
        /// CLIENT CAPA REDIRECT: it follows `-REDIRECT` to the primary.
        const FOLLOWS = 1 << 2;
        /// READONLY: it reads from a replica although it follows.
        const READS_HERE = 1 << 3;
    }
}

/// A place in the log; replies may have to wait until it is durable.
pub(crate) type LogOffset = u64;

/// What CLIENT REPLY chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ReplyMode {
    /// Every command is answered.
    #[default]
    On,
    /// None is.
    Off,
    /// This command and the next are not.
    SkipNext,
    /// This command is not.
    Skip,
}

/// What the session itself is executing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Doing {
    /// Nothing: pushes go straight into its replies.
    #[default]
    Nothing,
    /// A command; what is pushed to it meanwhile comes behind the reply.
    Command,
    /// EXEC's queue: as a command, and nothing in it may wait.
    Exec,
}

/// A part of a buffer of replies that waits for the log, or for a quorum as well.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate {
    /// How far these must have come.
    pub(crate) offset: LogOffset,
    /// Where the part ends.
    pub(crate) len: usize,
    /// Whether it shows data, which a quorum must have.
    pub(crate) awaits_quorum: bool,
}

/// Replies: what is made, what may leave, what has left.
#[derive(Debug, Default)]
pub struct Output {
    /// Replies not yet written; the first `sent` bytes are.
    pub buffer: Vec<u8>,
    /// How much of the buffer is written.
    pub sent: usize,
    /// How much of the buffer may be written: what is behind it waits for the log or a quorum.
    pub(crate) released: usize,
    /// Where the replies of this tick begin in the buffer.
    pub(crate) turn_began: usize,
    /// Parts of the buffer that wait.
    pub(crate) gates: VecDeque<Gate>,
    /// Whether a command on data ran since the replies were last looked at.
    pub(crate) shows_data: bool,
    /// Whether a write would have blocked and the socket will tell when it takes more.
    pub(crate) awaiting_writable: bool,
    /// Whether the session is on the list of those with something to write this tick.
    pub(crate) dirty: bool,
    /// Since when the buffer has been past the soft limit, where it is.
    pub(crate) soft_limit_since: Option<SteadyMillis>,
    /// Messages that came while the session's own command ran; they come behind the reply.
    pub deferred: Vec<u8>,
    /// The largest buffer so far, in bytes.
    pub(crate) peak: usize,
}

impl Output {
    /// Bytes not yet written.
    #[inline]
    pub(crate) fn pending(&self) -> usize {
        self.buffer.len() - self.sent
    }

    /// Drops all replies: the connection is closed.
    pub(crate) fn discard(&mut self) {
        (self.buffer, self.deferred) = (Vec::new(), Vec::new());
        (self.sent, self.released, self.turn_began) = (0, 0, 0);
        for gate in &mut self.gates {
            gate.len = 0;
        }
    }

    /// Puts the messages behind the replies that came while a command ran.
    #[cold]
    pub(crate) fn release_deferred(&mut self) {
        let deferred = std::mem::take(&mut self.deferred);
        self.buffer.extend_from_slice(&deferred);
    }
}

/// What the client says of itself.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The ACL user.
    pub user: Vec<u8>,
    /// CLIENT SETNAME.
    pub name: Vec<u8>,
    /// CLIENT SETINFO lib-name.
    pub(crate) lib_name: Vec<u8>,
    /// CLIENT SETINFO lib-ver.
    pub(crate) lib_version: Vec<u8>,
}

/// What CLIENT LIST counts.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// When it connected.
    pub(crate) created: SteadyMillis,
    /// When something was last read from it or written to it.
    pub(crate) active: SteadyMillis,
    /// The last command.
    pub(crate) last_command: Option<CommandId>,
    /// Commands executed.
    pub commands: u64,
    /// Bytes received.
    pub(crate) input_bytes: u64,
    /// Bytes sent.
    pub(crate) output_bytes: u64,
}

/// What is pushed to a client beside the replies to its commands.
#[derive(Debug, Default)]
pub struct Hears {
    /// What it listens to; nothing where it doesn't listen.
    pub subscriptions: Option<Box<Subscriptions>>,
    /// CLIENT TRACKING: how it follows changes of keys; `None` where that is off.
    pub(crate) tracking: Option<Box<Tracking>>,
    /// MONITOR: it is shown what others do.
    pub(crate) monitors: bool,
}

/// WATCH.
#[derive(Debug, Default)]
pub struct Watching {
    /// The keys.
    pub keys: Vec<(DbIndex, Box<[u8]>)>,
    /// Whether one of them has changed.
    pub broken: bool,
}

/// A client.
pub struct Session {
    /// Its place in the table.
    pub slot: SessionId,
    /// Its number, never used again (CLIENT ID).
    pub id: u64,
    /// What both ends of the connection look at; `None` for the engine's own sessions.
    pub link: Option<Arc<Link>>,
    /// The writing end.
    pub(crate) outlet: Option<Box<dyn Outlet>>,
    /// Whether it executes what it sends, and if not, why.
    pub run: Run,
    /// How far the connection's reading side is.
    pub input: Input,
    /// Requests that wait because the session doesn't execute any for now.
    pub(crate) inbox: VecDeque<Batch>,
    /// What it is executing itself.
    pub doing: Doing,
    /// Replies.
    pub output: Output,
    /// The protocol version.
    pub protocol: Protocol,
    /// CLIENT REPLY.
    pub(crate) reply_mode: ReplyMode,
    /// The selected database.
    pub db: DbIndex,
    /// Whether it may use commands that need authentication.
    pub authenticated: bool,
    /// Who it says it is.
    pub(crate) identity: Identity,
    /// How it wants to be treated.
    pub(crate) manner: Manner,
    /// What CLIENT LIST counts.
    pub(crate) traffic: Traffic,
    /// How far the stream was when the session's last change had got into it; 0 where it made none.
    pub written: LogOffset,
    /// The transaction being queued.
    pub transaction: Option<Box<Transaction>>,
    /// What is pushed to it.
    pub hears: Hears,
    /// WATCH.
    pub watching: Watching,
    /// What is known of it as a replica; nothing where it is none.
    pub(crate) replica: Option<Box<Replica>>,
    /// Whether its commands come from our own log, or from the primary's stream.
    pub(crate) replaying: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// A client that has just connected.
    pub(crate) fn new(slot: SessionId, id: u64, now: SteadyMillis) -> Self {
        Self {
            slot,
            id,
            link: None,
            outlet: None,
            run: Run::Running,
            input: Input::Open,
            inbox: VecDeque::new(),
            doing: Doing::Nothing,
            output: Output::default(),
            protocol: Protocol::Resp2,
            reply_mode: ReplyMode::On,
            db: DbIndex(0),
            authenticated: true,
            identity: Identity {
                user: b"default".to_vec(),
                name: Vec::new(),
                lib_name: Vec::new(),
                lib_version: Vec::new(),
            },
            manner: Manner::empty(),
            traffic: Traffic { created: now, active: now, ..Traffic::default() },
            written: 0,
            transaction: None,
            hears: Hears::default(),
            watching: Watching::default(),
            replica: None,
            replaying: false,
        }
    }

    /// A writer for its replies.
    #[inline]
    pub(crate) fn reply(&mut self) -> Reply<'_> {
        Reply::new(&mut self.output.buffer, self.protocol)
    }

    /// Whether it is a replica that has asked for the data.
    pub(crate) fn is_fed(&self) -> bool {
        self.replica.as_ref().is_some_and(|replica| replica.is_fed())
    }

    /// Whether it is the link to the primary that is followed.
    pub(crate) fn is_primary(&self) -> bool {
        self.link.is_some() && self.outlet.is_none()
    }

    /// Whether it is a client whose commands nothing of its own forbids: it may use all, queues none,
    /// listens to nothing with RESP2, and is no replica nor monitor.
    #[inline]
    #[expect(clippy::needless_bitwise_bool, reason = "one branch for all")]
    pub(crate) fn is_plain(&self) -> bool {
        self.authenticated
            & !self.in_transaction()
            & !self.is_listening()
            & !self.hears.monitors
            & self.replica.is_none()
    }

    /// Whether it executes the next request.
    #[inline]
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.run, Run::Running)
    }

    /// Drops the reply that begins at `before`, as CLIENT REPLY wants it.
    #[cold]
    pub(crate) fn leave_out_reply(&mut self, before: usize) {
        self.output.buffer.truncate(before);
        self.reply_mode = match self.reply_mode {
            ReplyMode::SkipNext => ReplyMode::Skip,
            ReplyMode::Skip | ReplyMode::On => ReplyMode::On,
            ReplyMode::Off => ReplyMode::Off,
        };
    }

    /// Whether it waits in a command.
    #[inline]
    pub(crate) fn is_parked(&self) -> bool {
        matches!(self.run, Run::Parked(_))
    }

    /// Whether the connection ends, now or when the replies so far are written.
    #[inline]
    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.run, Run::Leaving | Run::Closed)
    }

    /// Whether a command of it may wait. Not inside EXEC, not in the engine's own sessions, and not on a
    /// replica's link, which carries no answers.
    pub(crate) fn may_wait(&self) -> bool {
        self.doing != Doing::Exec && !self.replaying && self.outlet.is_some() && !self.is_fed()
    }

    /// Whether it listens to anything.
    #[inline]
    pub(crate) fn is_listening(&self) -> bool {
        self.hears.subscriptions.is_some()
    }

    /// Whether a transaction is being queued.
    #[inline]
    pub(crate) fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }
}

/// The table of clients.
#[derive(Debug, Default)]
pub struct Sessions {
    slots: Vec<Option<Box<Session>>>,
    /// Clients connected over sockets and not closed, by number.
    by_id: HashMap<u64, SessionId, ahash::RandomState>,
    /// The last number given to a client.
    last_id: u64,
}

impl Sessions {
    /// Puts a session at its place.
    pub(crate) fn insert(&mut self, session: Session) {
        let index = session.slot.0 as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        debug_assert!(self.slots[index].is_none(), "a place is given to one session at a time");
        if session.outlet.is_some() {
            self.by_id.insert(session.id, session.slot);
        }
        self.slots[index] = Some(Box::new(session));
    }

    /// A client's connection is closed: it is listed and counted no more.
    pub(crate) fn delist(&mut self, id: u64) {
        self.by_id.remove(&id);
    }

    /// Takes a session out.
    pub(crate) fn remove(&mut self, slot: SessionId) -> Option<Box<Session>> {
        let session = self.slots.get_mut(slot.0 as usize)?.take()?;
        self.delist(session.id);
        Some(session)
    }

    /// A session, where the place is taken.
    #[inline]
    pub(crate) fn get(&self, slot: SessionId) -> Option<&Session> {
        self.slots.get(slot.0 as usize)?.as_deref()
    }

    /// As [`Sessions::get`], to be changed.
    #[inline]
    pub(crate) fn get_mut(&mut self, slot: SessionId) -> Option<&mut Session> {
        self.slots.get_mut(slot.0 as usize)?.as_deref_mut()
    }

    /// Clients connected over sockets, in the order of their places.
    pub(crate) fn clients(&self) -> impl Iterator<Item = &Session> {
        let all = self.slots.iter().flatten().map(|session| &**session);
        all.filter(|session| session.outlet.is_some() && !matches!(session.run, Run::Closed))
    }

    /// The place of a client by its number.
    pub(crate) fn find(&self, id: u64) -> Option<SessionId> {
        self.by_id.get(&id).copied()
    }

    /// Places of the clients connected over sockets.
    pub(crate) fn client_slots(&self) -> Vec<SessionId> {
        self.clients().map(|session| session.slot).collect()
    }

    /// How many clients are connected over sockets.
    pub(crate) fn client_count(&self) -> usize {
        self.by_id.len()
    }
}

impl std::ops::Index<SessionId> for Sessions {
    type Output = Session;

    #[inline]
    #[expect(clippy::expect_used, reason = "a handler runs for a session that is there")]
    fn index(&self, slot: SessionId) -> &Session {
        self.get(slot).expect("the session is there while its command runs")
    }
}

impl std::ops::IndexMut<SessionId> for Sessions {
    #[inline]
    #[expect(clippy::expect_used, reason = "a handler runs for a session that is there")]
    fn index_mut(&mut self, slot: SessionId) -> &mut Session {
        self.get_mut(slot).expect("the session is there while its command runs")
    }
}
