//! A client, as the engine sees it: what it chose, what it is in the middle of, and the replies
//! that wait for it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crate::engine::registry::CommandId;
use crate::engine::session::blocking::Parked;
use crate::engine::session::pubsub::listeners::Subscriptions;
use crate::engine::tick::transaction::Transaction;
use crate::keyspace::databases::DbIndex;
use crate::mailbox::{Batch, Link, Outlet, SessionId};
use crate::resp::reply::{Protocol, Reply};

pub mod blocking;
pub mod client;
pub mod client_list;
pub mod connection;
pub mod copies;
pub mod output;
pub mod pause;
pub mod pubsub;

/// A place in the log; replies may have to wait until it is durable.
pub type LogOffset = u64;

/// What CLIENT REPLY chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
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

/// Whether a session is on its way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Closing {
    /// It is not.
    #[default]
    No,
    /// When the replies so far are written.
    AfterReply,
    /// The socket has been told; only its last message is missing.
    Closed,
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
    pub outlet: Option<Box<dyn Outlet>>,
    /// Replies not yet written; the first `sent` bytes are.
    pub out: Vec<u8>,
    /// How much of `out` is written.
    pub sent: usize,
    /// How much of `out` may be written: what is behind it waits for the log.
    pub released: usize,
    /// Parts of `out` that wait for the log: up to that length when that offset is durable.
    pub gates: VecDeque<(LogOffset, usize)>,
    /// Whether a write would have blocked and the socket will tell when it takes more.
    pub awaiting_writable: bool,
    /// Whether it is on the list of sessions with something to write this tick.
    pub dirty: bool,
    /// When its output buffer passed the soft limit, in milliseconds; 0 when it is below.
    pub soft_limit_since_ms: i64,
    /// Messages that came while its own command ran; they come behind the reply.
    pub deferred: Vec<u8>,
    /// The largest reply buffer it has had, in bytes.
    pub out_peak: usize,

    /// Requests that wait because the session is stopped.
    pub inbox: VecDeque<Batch>,
    /// Whether it is on its way out.
    pub closing: Closing,
    /// Whether CLIENT PAUSE holds it.
    pub paused: bool,

    /// The protocol version.
    pub protocol: Protocol,
    /// The selected database.
    pub db: DbIndex,
    /// Whether it may use commands that need authentication.
    pub authenticated: bool,
    /// The ACL user.
    pub user: Vec<u8>,
    /// CLIENT SETNAME.
    pub name: Vec<u8>,
    /// CLIENT SETINFO lib-name.
    pub lib_name: Vec<u8>,
    /// CLIENT SETINFO lib-ver.
    pub lib_version: Vec<u8>,
    /// CLIENT REPLY.
    pub reply_mode: ReplyMode,
    /// CLIENT NO-EVICT.
    pub no_evict: bool,
    /// CLIENT NO-TOUCH.
    pub no_touch: bool,
    /// When it connected, in milliseconds since the epoch.
    pub created_ms: i64,
    /// When it last sent something, in milliseconds since the epoch.
    pub active_ms: i64,
    /// The last command.
    pub last_command: Option<CommandId>,
    /// Commands executed.
    pub commands: u64,
    /// Bytes received and sent.
    pub input_bytes: u64,
    /// Bytes sent.
    pub output_bytes: u64,
    /// Where the log was when the session's last change had got into it.
    pub written: LogOffset,

    /// The transaction being queued.
    pub transaction: Option<Box<Transaction>>,
    /// Whether a command of its own is under way.
    pub running: bool,
    /// Whether EXEC is running its queue.
    pub executing: bool,
    /// The command that it waits in.
    pub parked: Option<Box<Parked>>,
    /// What it listens to; nothing where it doesn't listen.
    pub subscriptions: Option<Box<Subscriptions>>,
    /// Keys it watches.
    pub watching: Vec<(DbIndex, Box<[u8]>)>,
    /// Whether a watched key changed.
    pub watch_broken: bool,
    /// Whether its commands come from our own log.
    pub replaying: bool,
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
    pub fn new(slot: SessionId, id: u64, now_ms: i64) -> Self {
        Self {
            slot,
            id,
            link: None,
            outlet: None,
            out: Vec::new(),
            sent: 0,
            released: 0,
            gates: VecDeque::new(),
            awaiting_writable: false,
            dirty: false,
            soft_limit_since_ms: 0,
            deferred: Vec::new(),
            out_peak: 0,
            inbox: VecDeque::new(),
            closing: Closing::No,
            paused: false,
            protocol: Protocol::Resp2,
            db: DbIndex(0),
            authenticated: true,
            user: b"default".to_vec(),
            name: Vec::new(),
            lib_name: Vec::new(),
            lib_version: Vec::new(),
            reply_mode: ReplyMode::On,
            no_evict: false,
            no_touch: false,
            created_ms: now_ms,
            active_ms: now_ms,
            last_command: None,
            commands: 0,
            input_bytes: 0,
            output_bytes: 0,
            written: 0,
            transaction: None,
            running: false,
            executing: false,
            parked: None,
            subscriptions: None,
            watching: Vec::new(),
            watch_broken: false,
            replaying: false,
        }
    }

    /// A writer for its replies.
    #[inline]
    pub fn reply(&mut self) -> Reply<'_> {
        Reply::new(&mut self.out, self.protocol)
    }

    /// Bytes of replies not yet written.
    #[inline]
    pub fn pending(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Whether the session executes nothing for now.
    #[inline]
    pub fn is_stopped(&self) -> bool {
        self.closing != Closing::No
            || self.paused
            || self.parked.is_some()
            || self.pending() > PENDING_MAX
    }

    /// Whether it listens to anything.
    #[inline]
    pub fn is_listening(&self) -> bool {
        self.subscriptions.is_some()
    }

    /// Whether a transaction is being queued.
    #[inline]
    pub fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }
}

/// Bytes of unread replies past which a client's further requests wait until it reads. Upstream
/// has no such bound for normal clients, whose buffers may grow without end; this one is far above
/// what a pipelining client leaves unread.
pub const PENDING_MAX: usize = 256 << 20;

/// The table of clients.
#[derive(Debug, Default)]
pub struct Sessions {
    slots: Vec<Option<Box<Session>>>,
    count: usize,
}

impl Sessions {
    /// Puts a session at its place.
    pub fn insert(&mut self, session: Session) {
        let index = session.slot.0 as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        debug_assert!(self.slots[index].is_none(), "a place is given to one session at a time");
        self.count += 1;
        self.slots[index] = Some(Box::new(session));
    }

    /// Takes a session out.
    pub fn remove(&mut self, slot: SessionId) -> Option<Box<Session>> {
        let session = self.slots.get_mut(slot.0 as usize)?.take()?;
        self.count -= 1;
        Some(session)
    }

    /// A session, where the place is taken.
    #[inline]
    pub fn get(&self, slot: SessionId) -> Option<&Session> {
        self.slots.get(slot.0 as usize)?.as_deref()
    }

    /// As [`Sessions::get`], to be changed.
    #[inline]
    pub fn get_mut(&mut self, slot: SessionId) -> Option<&mut Session> {
        self.slots.get_mut(slot.0 as usize)?.as_deref_mut()
    }

    /// Clients connected over sockets, in the order of their places.
    pub fn clients(&self) -> impl Iterator<Item = &Session> {
        let all = self.slots.iter().flatten().map(|session| &**session);
        all.filter(|session| session.outlet.is_some() && session.closing != Closing::Closed)
    }

    /// The place of a client by its number.
    pub fn find(&self, id: u64) -> Option<SessionId> {
        self.clients().find(|session| session.id == id).map(|session| session.slot)
    }

    /// Places of the clients connected over sockets.
    pub fn client_slots(&self) -> Vec<SessionId> {
        self.clients().map(|session| session.slot).collect()
    }

    /// How many clients are connected over sockets.
    pub fn client_count(&self) -> usize {
        self.clients().count()
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
