//! One connection's reading side: socket to mailbox.
//!
//! A connection that waits holds no buffer: it takes one from the mailbox's pool for the read that
//! has bytes, so that ten thousand idle clients cost ten thousand small tasks. Only an incomplete
//! request keeps its buffer.
//!
//! While requests of it wait, a connection reads nothing, so that what a client sends beyond stays in
//! the socket; but it watches the socket for the client's end, which stands behind what isn't read
//! (`EPOLLRDHUP`). That needs a descriptor of its own: to wait for the next event, readiness must be
//! cleared, and the reading side would never hear of the bytes that are there already.
//!
//! Reading uses `poll_read` straight away instead of asking for readiness first: that would cost a
//! second system call a request (measured). The writing side belongs to the actor.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio_util::io::poll_read_buf;

use crate::mailbox::{Batch, Hold, Link, Mailbox, Message, Outlet, READ_BUFFER_BYTES, SessionId};
use crate::net::transport::{ReadSide, WriteSide};
use crate::resp::request::{Parser, ProtocolError};

/// A reply is pending on a socket that takes nothing: one task waits for it.
struct Writer<W> {
    half: Rc<W>,
    mailbox: Rc<Mailbox>,
}

impl<W: WriteSide> Outlet for Writer<W> {
    #[inline]
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.half.try_write(bytes)
    }

    fn notify_writable(&self, session: SessionId) {
        let (half, mailbox) = (Rc::clone(&self.half), Rc::clone(&self.mailbox));
        tokio::task::spawn_local(async move {
            half.writable().await;
            drop(half);
            mailbox.push(Message::Writable(session));
        });
    }

    fn close(&self) {
        self.half.shut();
    }
}

/// A connection that was accepted.
pub(crate) struct Arrival<R, W> {
    pub(crate) read: R,
    pub(crate) write: W,
    pub(crate) link: Arc<Link>,
}

/// Announces connections that were accepted together, in that order, and has each read by a task of its
/// own. Ends when the actor has seen them.
pub(crate) async fn admit<R: ReadSide, W: WriteSide>(
    arrived: Vec<Arrival<R, W>>,
    mailbox: Rc<Mailbox>,
) {
    // An end that lies ready at another connection comes first: it may make room for these.
    tokio::task::yield_now().await;
    let turn = mailbox.turn();
    let links: Vec<Arc<Link>> = arrived.iter().map(|one| Arc::clone(&one.link)).collect();
    for arrival in arrived {
        tokio::task::spawn_local(announce(arrival, &mailbox).serve());
    }
    while mailbox.turn() == turn {
        tokio::task::yield_now().await;
    }
    if links.iter().any(|link| link.is_refused()) {
        // They have been shut, which their readers see in the first turn and the actor in the second: the
        // descriptors are free when the next connection is accepted.
        for _ in 0..2 {
            tokio::task::yield_now().await;
        }
    }
}

/// Gives a connection its place, and tells the actor.
fn announce<R: ReadSide, W: WriteSide>(arrival: Arrival<R, W>, mailbox: &Rc<Mailbox>) -> Reader<R> {
    let Arrival { read, write, link } = arrival;
    let outlet = Box::new(Writer { half: Rc::new(write), mailbox: Rc::clone(mailbox) });
    let session = mailbox.reserve();
    if let Some(bounds) = mailbox.opening_bounds() {
        link.set_bounds(bounds);
    }
    mailbox.push(Message::Opened(session, Arc::clone(&link), outlet));
    Reader {
        read,
        link,
        session,
        mailbox: Rc::clone(mailbox),
        parser: Parser::default(),
        partial: None,
        sent_in: None,
        looks_again: false,
    }
}

/// How standing still came to its end.
#[derive(PartialEq, Eq)]
enum Stood {
    GoesOn,
    Ended,
}

struct Reader<R> {
    read: R,
    link: Arc<Link>,
    session: SessionId,
    mailbox: Rc<Mailbox>,
    parser: Parser,
    /// The buffer of a request that is not complete yet.
    partial: Option<Batch>,
    /// The actor's turn in which requests were last sent.
    sent_in: Option<u64>,
    /// Whether what is kept is to be looked at again before more is read.
    looks_again: bool,
}

impl<R: ReadSide> Reader<R> {
    /// Reads until the connection ends, and says so.
    async fn serve(mut self) {
        self.run().await;
        self.mailbox.push(Message::Closed(self.session));
    }

    /// Until the client ends the connection, an error does, or the protocol is broken.
    async fn run(&mut self) {
        loop {
            if self.link.held() != Hold::Reads && self.stand().await == Stood::Ended {
                return;
            }
            let mut batch = if std::mem::take(&mut self.looks_again) {
                self.partial.take().unwrap_or_else(|| self.mailbox.spare())
            } else {
                let Ok(batch) = poll_fn(|cx| self.poll_fill(cx)).await else { return };
                batch
            };
            if batch.buffer.len() > self.mailbox.query_buffer_max() {
                self.mailbox.push(Message::Oversized(self.session, batch.buffer.len()));
                continue;
            }
            let bounds = self.link.bounds();
            let (used, mut result) =
                self.parser.parse(&mut batch.buffer, bounds, &mut batch.requests);
            let turn = self.mailbox.turn();
            if result.as_ref().is_err_and(ProtocolError::is_of_strangers)
                && (!batch.requests.is_empty() || self.sent_in == Some(turn))
            {
                // A command before it may be AUTH, which is to be executed first.
                self.looks_again = true;
                result = Ok(());
            }
            let failed = result.is_err();
            batch.error = result.err();
            if batch.requests.is_empty() && !failed {
                if used > 0 {
                    self.link.note_blank();
                    batch.buffer.drain(..used);
                }
                self.keep(batch);
                self.await_turn_after(turn).await;
                continue;
            }
            let rest = &batch.buffer[used..];
            if !rest.is_empty() && !failed {
                let mut next = self.mailbox.spare();
                next.buffer.extend_from_slice(rest);
                self.keep(next);
            } else {
                self.link.set_unread(0);
            }
            self.sent_in = Some(turn);
            self.mailbox.push(Message::Requests(self.session, batch));
            self.await_turn_after(turn).await;
            while self.mailbox.is_full() {
                tokio::task::yield_now().await;
            }
            if failed {
                // The actor answers and closes; nothing the client says after this counts.
                self.drain().await;
                return;
            }
        }
    }

    /// Where what is kept is to be looked at again: until the actor has taken what was sent.
    async fn await_turn_after(&self, turn: u64) {
        while self.looks_again && self.mailbox.turn() == turn {
            tokio::task::yield_now().await;
        }
    }

    /// Until reading may go on, or the client has ended the connection and that is asked for.
    #[cold]
    async fn stand(&self) -> Stood {
        loop {
            match self.link.held() {
                Hold::Reads => return Stood::GoesOn,
                Hold::Stands => self.link.hold_changed().await,
                Hold::WatchesForTheEnd => {
                    let mut ended = pin!(self.read.ended());
                    let mut changed = pin!(self.link.hold_changed());
                    let over = poll_fn(|cx| match changed.as_mut().poll(cx) {
                        Poll::Ready(()) => Poll::Ready(false),
                        Poll::Pending => ended.as_mut().poll(cx).map(|()| true),
                    });
                    // What the actor asks for may have changed meanwhile.
                    if over.await && self.link.held() == Hold::WatchesForTheEnd {
                        return Stood::Ended;
                    }
                }
            }
        }
    }

    /// Keeps an incomplete request, with room for the next read.
    fn keep(&mut self, mut batch: Batch) {
        let held = batch.buffer.len();
        self.link.set_unread(held);
        if held > self.mailbox.query_buffer_max() {
            self.mailbox.push(Message::Oversized(self.session, held));
        }
        if held == 0 {
            self.mailbox.recycle(batch);
            return;
        }
        // Room for the rest of the argument being read, but never more than what has arrived
        // already (or 1 MiB) on the client's word alone.
        let wanted = self.parser.wanted().saturating_sub(held);
        let room = wanted.clamp(READ_BUFFER_BYTES / 2, held.max(1 << 20));
        if batch.buffer.capacity() - held < room {
            batch.buffer.reserve(room);
        }
        self.partial = Some(batch);
    }

    /// Reads once into the kept buffer, or into one from the pool if there are bytes at all.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Batch>> {
        let mut batch = self.partial.take().unwrap_or_else(|| self.mailbox.spare());
        let polled = poll_read_buf(Pin::new(&mut self.read), cx, &mut batch.buffer);
        match polled {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Poll::Ready(result) => Poll::Ready(result.map(|_| batch)),
            Poll::Pending => {
                if batch.buffer.is_empty() {
                    self.mailbox.recycle(batch);
                } else {
                    self.partial = Some(batch);
                }
                Poll::Pending
            }
        }
    }

    /// Reads and forgets until the connection ends, so that closing it doesn't reset it before the
    /// client has read the last reply.
    async fn drain(&mut self) {
        loop {
            match poll_fn(|cx| self.poll_fill(cx)).await {
                Ok(mut batch) => {
                    batch.buffer.clear();
                    self.mailbox.recycle(batch);
                }
                Err(_) => return,
            }
        }
    }
}
