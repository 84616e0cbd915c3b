//! How a connection hands its requests to the store actor, and how the actor answers.
//!
//! A connection parses what it read into a [`Batch`] and pushes it here; the first push wakes the
//! actor, which tokio's FIFO run queue puts behind all connections that are readable already: what
//! they push in the meantime is executed as one tick. The actor writes replies itself through the
//! connection's [`Outlet`].
//!
//! This is the same-thread transport: nothing here locks. A cross-thread one (for `io-threads`)
//! would carry the same messages, which is why what both sides share, [`Link`], is `Sync`.
//! Deliberately absent: anything about commands or data.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicUsize, Ordering};
use std::task::Waker;

use tokio::sync::Notify;

use crate::base::env::SteadyMillis;
use crate::resp::request::{Bounds, ProtocolError, Requests};

/// Size of a fresh read buffer in bytes: what a pipeline of a few hundred small commands takes.
pub(crate) const READ_BUFFER_BYTES: usize = 16 * 1024;
/// Buffers kept for reuse, and the largest that is kept.
const SPARES_MAX: usize = 256;
const SPARE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of requests at which connections read no more before the actor has taken them: what a tick
/// works on counts as used memory.
const WAITING_BYTES_MAX: usize = 2 << 20;

/// A connection's place in the actor's table of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u32);

/// Where a connection came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// TCP.
    Tcp {
        /// The client's address.
        peer: SocketAddr,
        /// Ours.
        local: SocketAddr,
    },
    /// The Unix socket at this path.
    Unix(String),
}

impl Origin {
    /// The client's address as CLIENT LIST shows it.
    pub(crate) fn peer_text(&self) -> String {
        match self {
            Self::Tcp { peer, .. } => peer.to_string(),
            Self::Unix(path) => format!("{path}:0"),
        }
    }

    /// Our address as CLIENT LIST shows it.
    pub(crate) fn local_text(&self) -> String {
        match self {
            Self::Tcp { local, .. } => local.to_string(),
            Self::Unix(path) => format!("{path}:0"),
        }
    }

    /// Whether the client is on this machine.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Tcp { peer, .. } => match peer.ip() {
                std::net::IpAddr::V4(ip) => ip.is_loopback(),
                std::net::IpAddr::V6(ip) => {
                    ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback())
                }
            },
            Self::Unix(_) => true,
        }
    }
}

/// What a connection's reading side is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Hold {
    /// To read.
    Reads,
    /// To leave what comes in the socket, since requests wait already, and to tell when the client
    /// has ended the connection.
    WatchesForTheEnd,
    /// To leave what comes in the socket, and its end, too: the requests before it will be read.
    Stands,
}

/// What both ends of a connection look at.
#[derive(Debug)]
pub struct Link {
    /// Where it came in.
    pub origin: Origin,
    /// The socket's number, for CLIENT LIST.
    pub descriptor: i32,
    /// The longest argument that is accepted, in bytes.
    bulk_max: AtomicI64,
    authenticated: AtomicBool,
    hold: AtomicU8,
    changed: Notify,
    /// Bytes of requests read but not yet executed or not yet complete.
    unread: AtomicUsize,
    /// Whether an empty line has come: a sign of life, and no request.
    blank: AtomicBool,
    /// Whether its client isn't served.
    refused: AtomicBool,
}

impl Link {
    /// A link whose reading is not held back.
    pub fn new(origin: Origin, descriptor: i32) -> Self {
        Self {
            origin,
            descriptor,
            bulk_max: AtomicI64::new(512 << 20),
            authenticated: AtomicBool::new(true),
            hold: AtomicU8::new(Hold::Reads as u8),
            changed: Notify::new(),
            unread: AtomicUsize::new(0),
            blank: AtomicBool::new(false),
            refused: AtomicBool::new(false),
        }
    }

    /// Its client isn't served.
    pub(crate) fn refuse(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// Whether its client isn't served.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// An empty line has come.
    pub(crate) fn note_blank(&self) {
        self.blank.store(true, Ordering::Relaxed);
    }

    /// Whether an empty line has come since this was last asked.
    pub(crate) fn take_blank(&self) -> bool {
        self.blank.swap(false, Ordering::Relaxed)
    }

    /// The bounds that the parser must hold the client to.
    #[inline]
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            bulk_max: self.bulk_max.load(Ordering::Relaxed),
            authenticated: self.authenticated.load(Ordering::Relaxed),
        }
    }

    /// Sets the bounds.
    pub(crate) fn set_bounds(&self, bounds: Bounds) {
        self.bulk_max.store(bounds.bulk_max, Ordering::Relaxed);
        self.authenticated.store(bounds.authenticated, Ordering::Relaxed);
    }

    /// Asks the connection to read no more, or to go on.
    pub(crate) fn hold(&self, hold: Hold) {
        if self.hold.swap(hold as u8, Ordering::Relaxed) != hold as u8 {
            self.changed.notify_one();
        }
    }

    /// What the connection is asked to do.
    #[inline]
    pub(crate) fn held(&self) -> Hold {
        match self.hold.load(Ordering::Relaxed) {
            0 => Hold::Reads,
            1 => Hold::WatchesForTheEnd,
            _ => Hold::Stands,
        }
    }

    /// Ends when the connection is asked for something else.
    pub(crate) async fn hold_changed(&self) {
        self.changed.notified().await;
    }

    /// Bytes of an incomplete request, for CLIENT LIST `qbuf`.
    pub(crate) fn unread(&self) -> usize {
        self.unread.load(Ordering::Relaxed)
    }

    /// Sets the bytes of an incomplete request.
    #[inline]
    pub(crate) fn set_unread(&self, bytes: usize) {
        self.unread.store(bytes, Ordering::Relaxed);
    }
}

/// The writing end of a connection.
pub trait Outlet {
    /// Writes what the socket takes now.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Has [`Message::Writable`] sent when the socket takes more.
    fn notify_writable(&self, session: SessionId);
    /// Ends the connection in both directions; [`Message::Closed`] follows.
    fn close(&self);
}

/// Complete requests in the buffer they were read into.
#[derive(Debug, Default)]
pub struct Batch {
    /// The bytes read.
    pub buffer: Vec<u8>,
    /// The commands in them.
    pub requests: Requests,
    /// What came after them and broke the protocol.
    pub error: Option<ProtocolError>,
    /// The first command not executed yet.
    pub next: usize,
}

/// How a link to a primary is to be made.
#[derive(Clone, Debug)]
pub(crate) struct UplinkOrder {
    /// The link's number, with which it says everything.
    pub(crate) number: u64,
    /// Where the primary is.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
    /// Who to log in as; empty for the default user.
    pub(crate) user: String,
    /// The password; empty where none is asked for.
    pub(crate) password: Vec<u8>,
    /// The address that the connection comes from; empty for any.
    pub(crate) source: String,
    /// The port that we say we listen on.
    pub(crate) announced_port: u16,
    /// The address that we say we have; empty for that of the connection.
    pub(crate) announced_address: String,
    /// The history and the next byte that are asked for, as PSYNC has them.
    pub(crate) position: (String, i64),
    /// Whether it is asked to be the primary from here on (FAILOVER).
    pub(crate) failover: bool,
}

/// What a link to a primary tells.
#[derive(Debug)]
pub(crate) enum UplinkEvent {
    /// It is connected.
    Connected(Arc<Link>),
    /// The primary lets us wait.
    SignOfLife,
    /// It is about to be asked to be the primary.
    AsksForFailover,
    /// It answered PSYNC with that error.
    Refused(String),
    /// A snapshot comes, of that place in that history.
    Full {
        /// The history.
        id: String,
        /// Bytes of the stream before the snapshot.
        offset: u64,
    },
    /// The snapshot's length, where it is known beforehand.
    Expect(Option<u64>),
    /// A piece of it.
    Snapshot(Vec<u8>),
    /// It is there.
    SnapshotEnd,
    /// The stream goes on where we are, in a history of that name.
    Continue {
        /// The name, if the primary says one.
        id: Option<String>,
    },
    /// Bytes of the stream.
    Stream(Vec<u8>),
    /// The link is over, and why.
    Ended(String),
}

impl UplinkEvent {
    /// Whether it is of a snapshot that begins or is under way, and so touches no data.
    pub(crate) fn is_of_arrival(&self) -> bool {
        matches!(
            self,
            Self::Connected(_)
                | Self::SignOfLife
                | Self::Full { .. }
                | Self::Expect(_)
                | Self::Snapshot(_)
        )
    }
}

/// The actor's end of a link to a primary. Dropped, the link ends.
pub(crate) trait Uplink {
    /// Sends a few bytes.
    fn send(&self, bytes: &[u8]) -> io::Result<()>;
    /// Has the stream read that follows a snapshot.
    fn resume(&self);
}

/// What is to be asked of another server (MIGRATE).
#[derive(Debug)]
pub(crate) struct Errand {
    /// The errand's number, with which its end is told.
    pub(crate) number: u64,
    /// Where the server is.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
    /// Milliseconds that connecting, a write or a read may take.
    pub(crate) patience_ms: u64,
    /// Commands, one behind the other.
    pub(crate) request: Vec<u8>,
    /// How many there are.
    pub(crate) answers: usize,
    /// When it begins.
    pub(crate) now: SteadyMillis,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct ErrandEnd {
    /// The answers that came, errors with their texts.
    pub(crate) answers: Vec<Result<(), String>>,
    /// What the link broke in, where it did.
    pub(crate) broken: Option<&'static str>,
    /// Whether that was for want of patience.
    pub(crate) timed_out: bool,
}

/// An errand under way. Dropped, it ends.
pub(crate) trait ErrandTask: fmt::Debug {}

/// Runs errands.
pub(crate) trait Courier {
    /// Begins one; [`Message::Errand`] tells its end.
    fn send(&self, errand: Errand) -> Box<dyn ErrandTask>;
    /// Runs one to its end, and does nothing else meanwhile.
    fn send_and_wait(&self, errand: Errand) -> ErrandEnd;
    /// Links that are kept for further errands.
    fn kept(&self, now: SteadyMillis) -> usize;
}

/// What a connection tells the actor.
pub enum Message {
    /// A client connected.
    Opened(SessionId, Arc<Link>, Box<dyn Outlet>),
    /// Requests arrived.
    Requests(SessionId, Batch),
    /// The socket takes more after a write that would have blocked.
    Writable(SessionId),
    /// The incomplete request grew past the buffer limit (bytes).
    Oversized(SessionId, usize),
    /// The connection is gone; the last message of its session.
    Closed(SessionId),
    /// The link of that number to a primary says something.
    #[expect(private_interfaces, reason = "only the server's own link says it")]
    Uplink(u64, UplinkEvent),
    /// The errand of that number has ended.
    #[expect(private_interfaces, reason = "only the server's own courier says it")]
    Errand(u64, ErrandEnd),
}

/// The same-thread transport.
#[derive(Default)]
pub struct Mailbox {
    queue: RefCell<Vec<Message>>,
    spares: RefCell<Vec<Batch>>,
    free: RefCell<Vec<SessionId>>,
    sessions: Cell<u32>,
    waker: RefCell<Option<Waker>>,
    awake: Cell<bool>,
    /// Commands among what waits.
    waiting_commands: Cell<usize>,
    /// Whether a connection's end is among what waits.
    waiting_end: Cell<bool>,
    /// Bytes of what waits.
    waiting_bytes: Cell<usize>,
    /// Ticks that have begun.
    turn: Cell<u64>,
    query_buffer_max: Cell<usize>,
    /// How many connections are accepted together.
    arrivals_max: Cell<usize>,
    /// What a new connection is held to before the actor has seen it.
    opening_bounds: Cell<Option<Bounds>>,
    /// Whether connections are accepted, and who is to be told when they are.
    accepts: Cell<bool>,
    accepting: Notify,
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("sessions", &self.sessions).finish_non_exhaustive()
    }
}

impl Mailbox {
    /// An empty mailbox.
    pub fn new() -> Self {
        let mailbox = Self::default();
        mailbox.query_buffer_max.set(1 << 30);
        mailbox.arrivals_max.set(1);
        mailbox
    }

    /// Connections are accepted from now on.
    pub(crate) fn accept(&self) {
        if !self.accepts.replace(true) {
            self.accepting.notify_waiters();
        }
    }

    /// Waits until connections are to be accepted.
    pub(crate) async fn accepting(&self) {
        while !self.accepts.get() {
            self.accepting.notified().await;
        }
    }

    /// A place in the actor's table for a new connection.
    pub fn reserve(&self) -> SessionId {
        self.free.borrow_mut().pop().unwrap_or_else(|| {
            let next = self.sessions.get();
            self.sessions.set(next + 1);
            SessionId(next)
        })
    }

    /// Gives a place back, after the session's last message.
    pub(crate) fn release(&self, session: SessionId) {
        self.free.borrow_mut().push(session);
    }

    /// Sends a message and wakes the actor.
    #[inline]
    pub fn push(&self, message: Message) {
        match &message {
            Message::Requests(_, batch) => {
                self.waiting_commands.set(self.waiting_commands.get() + batch.requests.len());
                self.waiting_bytes.set(self.waiting_bytes.get() + batch.buffer.len());
            }
            Message::Closed(_) => self.waiting_end.set(true),
            Message::Uplink(_, UplinkEvent::Snapshot(bytes) | UplinkEvent::Stream(bytes)) => {
                self.waiting_bytes.set(self.waiting_bytes.get() + bytes.len());
            }
            _ => {}
        }
        self.queue.borrow_mut().push(message);
        self.wake();
    }

    /// Wakes the actor, once a tick.
    #[inline]
    pub(crate) fn wake(&self) {
        if !self.awake.replace(true)
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    /// Begins a tick: exchanges the queue for an empty one and arms the next wake. True where the
    /// end of a connection is among the messages.
    #[inline]
    pub(crate) fn take(&self, messages: &mut Vec<Message>, waker: &Waker) -> bool {
        {
            let mut registered = self.waker.borrow_mut();
            if registered.as_ref().is_none_or(|old| !old.will_wake(waker)) {
                *registered = Some(waker.clone());
            }
        }
        self.awake.set(false);
        self.turn.set(self.turn.get() + 1);
        self.waiting_commands.set(0);
        self.waiting_bytes.set(0);
        debug_assert!(messages.is_empty(), "a tick begins with nothing left of the last");
        std::mem::swap(messages, &mut self.queue.borrow_mut());
        self.waiting_end.replace(false)
    }

    /// How many ticks have begun. What was sent before the last of them has been executed, or waits
    /// with its session.
    #[inline]
    pub(crate) fn turn(&self) -> u64 {
        self.turn.get()
    }

    /// How many messages wait for the actor.
    #[inline]
    pub(crate) fn waiting_messages(&self) -> usize {
        self.queue.borrow().len()
    }

    /// How many commands wait for the actor.
    #[inline]
    pub(crate) fn waiting_commands(&self) -> usize {
        self.waiting_commands.get()
    }

    /// Whether so much waits for the actor that it should be taken first.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.waiting_bytes.get() >= WAITING_BYTES_MAX
    }

    /// An empty batch with room to read into.
    #[inline]
    pub(crate) fn spare(&self) -> Batch {
        self.spares.borrow_mut().pop().unwrap_or_else(|| Batch {
            buffer: Vec::with_capacity(READ_BUFFER_BYTES),
            ..Batch::default()
        })
    }

    /// Takes a batch back for reuse; one that grew is let go.
    #[inline]
    pub(crate) fn recycle(&self, mut batch: Batch) {
        let mut spares = self.spares.borrow_mut();
        if spares.len() < SPARES_MAX && batch.buffer.capacity() <= SPARE_BYTES_MAX {
            batch.buffer.clear();
            batch.requests.clear();
            batch.error = None;
            batch.next = 0;
            spares.push(batch);
        }
    }

    /// Frees the buffers kept for reuse. For when traffic is low: buffers are then allocated anew so seldom
    /// that it costs nothing.
    pub(crate) fn shrink(&self) {
        self.spares.borrow_mut().clear();
    }

    /// The largest incomplete request that a connection may hold (`client-query-buffer-limit`).
    #[inline]
    pub(crate) fn query_buffer_max(&self) -> usize {
        self.query_buffer_max.get()
    }

    /// What a new connection is held to before the actor has seen it.
    pub(crate) fn opening_bounds(&self) -> Option<Bounds> {
        self.opening_bounds.get()
    }

    /// Sets what a new connection is held to.
    pub(crate) fn set_opening_bounds(&self, bounds: Bounds) {
        self.opening_bounds.set(Some(bounds));
    }

    /// How many connections are accepted before the actor sees them (`max-new-connections-per-cycle`).
    pub(crate) fn arrivals_max(&self) -> usize {
        self.arrivals_max.get()
    }

    /// Sets how many connections are accepted together.
    pub(crate) fn set_arrivals_max(&self, connections: usize) {
        self.arrivals_max.set(connections);
    }

    /// Sets the largest incomplete request.
    pub(crate) fn set_query_buffer_max(&self, bytes: usize) {
        self.query_buffer_max.set(bytes);
    }
}
