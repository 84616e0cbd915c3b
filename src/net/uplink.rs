//! The link to a primary: connecting, the handshake, and what comes then.
//!
//! ```text
//!  connect ─ PING ─ AUTH ─ REPLCONF ... ─ PSYNC ─┬─ +CONTINUE ───────────────────────► stream
//!                                                └─ +FULLRESYNC ─ snapshot ─ resume() ─┘
//! ```
//! The task reads and tells the actor by the mailbox; what an answer means for the data is the actor's
//! business. Between snapshot and stream it reads nothing until the actor has loaded the one. Replies
//! are decoded by redis-protocol. Whatever the primary says is bounded: a line by [`LINE_MAX`], the rest
//! is handed on as it comes, and waits in the socket while the actor's mailbox is full. How long it may
//! be silent is the actor's business.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::journal;
use crate::mailbox::{Link, Mailbox, Message, Origin, Uplink, UplinkEvent, UplinkOrder};
use crate::net::transport::{Network, ReadSide, Stream, StreamOf, WriteSide};

/// The longest line of a primary's answer.
const LINE_MAX: usize = 64 << 10;
/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;
/// Length of the mark that ends a snapshot whose length isn't known.
const MARK_BYTES: usize = 40;

/// What the actor holds of a link.
struct Handle<W> {
    shared: Rc<Shared<W>>,
    task: AbortHandle,
}

struct Shared<W> {
    write: RefCell<Option<W>>,
    resume: Notify,
}

impl<W: WriteSide> Uplink for Handle<W> {
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        match &*self.shared.write.borrow() {
            // A primary that doesn't even take this is as good as gone: its silence shows it.
            Some(write) => write.try_write(bytes).map(|_| ()),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn resume(&self) {
        self.shared.resume.notify_one();
    }
}

impl<W> Drop for Handle<W> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Begins a link. Must be called inside a `LocalSet`.
pub(crate) fn dial<N: Network>(
    order: UplinkOrder,
    network: &Rc<N>,
    mailbox: &Rc<Mailbox>,
) -> Box<dyn Uplink> {
    let shared = Rc::new(Shared { write: RefCell::new(None), resume: Notify::new() });
    let (theirs, mailbox, network) = (Rc::clone(&shared), Rc::clone(mailbox), Rc::clone(network));
    let task = tokio::task::spawn_local(async move {
        let number = order.number;
        let mut link = Reader { order, shared: theirs, mailbox, buffer: Vec::new() };
        let why = match link.run(&*network).await {
            Ok(never) => match never {},
            Err(why) => why,
        };
        link.mailbox.push(Message::Uplink(number, UplinkEvent::Ended(why)));
    });
    Box::new(Handle { shared, task: task.abort_handle() })
}

enum Never {}

/// Connects to the primary, from the address that is wanted (`bind-source-addr`).
async fn connect<N: Network>(order: &UplinkOrder, network: &N) -> io::Result<StreamOf<N>> {
    let source = match order.source.as_str() {
        "" => None,
        text => Some(text.parse().map_err(io::Error::other)?),
    };
    network.connect(&order.host, order.port, source).await
}

struct Reader<W> {
    order: UplinkOrder,
    shared: Rc<Shared<W>>,
    mailbox: Rc<Mailbox>,
    /// What was read and not taken yet.
    buffer: Vec<u8>,
}

impl<W: WriteSide> Reader<W> {
    fn tell(&self, event: UplinkEvent) {
        self.mailbox.push(Message::Uplink(self.order.number, event));
    }

    /// Until the link ends: why it did.
    async fn run<N: Network<Write = W>>(&mut self, network: &N) -> Result<Never, String> {
        let stream = connect(&self.order, network)
            .await
            .map_err(|error| format!("Error condition on socket for SYNC: {error}"))?;
        let Stream { mut read, write, peer, local, descriptor } = stream;
        let link = Link::new(Origin::Tcp { peer, local }, descriptor);
        self.tell(UplinkEvent::Connected(Arc::new(link)));
        *self.shared.write.borrow_mut() = Some(write);
        if self.shake_hands(&mut read).await? {
            self.receive_snapshot(&mut read).await?;
            self.shared.resume.notified().await;
        }
        loop {
            if !self.buffer.is_empty() {
                let bytes = std::mem::take(&mut self.buffer);
                self.tell(UplinkEvent::Stream(bytes));
            }
            self.read(&mut read).await?;
        }
    }

    /// Empty lines before an answer are signs of life.
    fn skip_blank(&mut self) {
        let blank = self.buffer.iter().take_while(|byte| **byte == b'\n').count();
        if blank > 0 {
            self.buffer.drain(..blank);
            self.tell(UplinkEvent::SignOfLife);
        }
    }

    /// Reads more, as soon as the actor has room.
    async fn read(&mut self, read: &mut impl ReadSide) -> Result<(), String> {
        while self.mailbox.is_full() {
            tokio::task::yield_now().await;
        }
        self.buffer.reserve(READ_BYTES);
        match read.read_buf(&mut self.buffer).await {
            Ok(0) => Err("Connection with master lost.".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(format!("Connection with master lost: {error}")),
        }
    }

    /// Sends a command and returns its answer's line.
    async fn ask(&mut self, read: &mut impl ReadSide, words: &[&[u8]]) -> Result<String, String> {
        let mut bytes = Vec::new();
        crate::resp::record::push_command(&mut bytes, words.iter().copied());
        // Only this task writes before the stream; taken out so that nothing is borrowed meanwhile.
        let write = self.shared.write.borrow_mut().take();
        let Some(mut write) = write else { return Err("Connection with master lost.".to_owned()) };
        let sent = write.write_all(&bytes).await;
        *self.shared.write.borrow_mut() = Some(write);
        sent.map_err(|error| format!("Error writing to master: {error}"))?;
        self.line(read).await
    }

    /// The next line of an answer. Empty ones are signs of life.
    async fn line(&mut self, read: &mut impl ReadSide) -> Result<String, String> {
        loop {
            self.skip_blank();
            match decode(&self.buffer) {
                Ok(Some((OwnedFrame::SimpleString(text), used))) => {
                    self.buffer.drain(..used);
                    return Ok(format!("+{}", String::from_utf8_lossy(&text)));
                }
                Ok(Some((OwnedFrame::Error(text), used))) => {
                    self.buffer.drain(..used);
                    return Ok(format!("-{text}"));
                }
                Ok(Some(_)) => return Err("Unexpected answer from master".to_owned()),
                Ok(None) if self.buffer.len() <= LINE_MAX => self.read(read).await?,
                Ok(None) => return Err("Too long an answer from master".to_owned()),
                Err(error) => return Err(format!("Wrong answer from master: {error}")),
            }
        }
    }

    /// True where a snapshot follows, false where the stream does.
    async fn shake_hands(&mut self, read: &mut impl ReadSide) -> Result<bool, String> {
        let pong = self.ask(read, &[b"PING"]).await?;
        let refused = ["-NOAUTH", "-NOPERM", "-ERR operation not permitted"];
        if pong.starts_with('-') && !refused.iter().any(|error| pong.starts_with(error)) {
            return Err(format!("Error reply to PING from master: '{pong}'"));
        }
        tracing::info!("Master replied to PING, replication can continue...");
        let (user, password) = (self.order.user.clone(), self.order.password.clone());
        if !password.is_empty() {
            let mut words: Vec<&[u8]> = vec![b"AUTH"];
            if !user.is_empty() {
                words.push(user.as_bytes());
            }
            words.push(&password);
            let answer = self.ask(read, &words).await?;
            if answer.starts_with('-') {
                return Err(format!("Unable to AUTH to MASTER: {answer}"));
            }
        }
        let port = self.order.announced_port.to_string();
        let address = self.order.announced_address.clone();
        let mut introductions: Vec<Vec<&[u8]>> =
            vec![vec![b"REPLCONF", b"listening-port", port.as_bytes()]];
        if !address.is_empty() {
            introductions.push(vec![b"REPLCONF", b"ip-address", address.as_bytes()]);
        }
        introductions.push(vec![b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"]);
        for words in introductions {
            let answer = self.ask(read, &words).await?;
            if answer.starts_with('-') {
                let what = String::from_utf8_lossy(words[1]);
                tracing::info!(
                    "(Non critical) Master does not understand REPLCONF {what}: {answer}"
                );
            }
        }
        let (id, offset) = self.order.position.clone();
        if id == "?" {
            tracing::info!("Partial resynchronization not possible (no cached master)");
        } else {
            tracing::info!("Trying a partial resynchronization (request {id}:{offset}).");
        }
        let offset = offset.to_string();
        let mut words: Vec<&[u8]> = vec![b"PSYNC", id.as_bytes(), offset.as_bytes()];
        if self.order.failover {
            words.push(b"FAILOVER");
            self.tell(UplinkEvent::AsksForFailover);
        }
        let answer = self.ask(read, &words).await?;
        if answer.starts_with('-') {
            self.tell(UplinkEvent::Refused(answer.clone()));
        }
        let mut words = answer.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("+FULLRESYNC"), Some(id), Some(offset)) => {
                tracing::info!("Full resync from master: {id}:{offset}");
                let (id, offset) = (id.to_owned(), journal::parse_offset(offset.as_bytes()));
                let offset = offset.ok_or_else(|| format!("Wrong offset from master: {answer}"))?;
                self.tell(UplinkEvent::Full { id, offset });
                Ok(true)
            }
            (Some("+CONTINUE"), id, None) => {
                tracing::info!("Successful partial resynchronization with master.");
                self.tell(UplinkEvent::Continue { id: id.map(str::to_owned) });
                Ok(false)
            }
            _ => Err(format!("Unexpected reply to PSYNC from master: {answer}")),
        }
    }

    /// Hands the snapshot on, up to its length or its mark.
    async fn receive_snapshot(&mut self, read: &mut impl ReadSide) -> Result<(), String> {
        let head = loop {
            self.skip_blank();
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let head: Vec<u8> = self.buffer.drain(..=end).collect();
                break String::from_utf8_lossy(&head).trim_end().to_owned();
            }
            if self.buffer.len() > LINE_MAX {
                return Err("Too long an answer from master".to_owned());
            }
            self.read(read).await?;
        };
        if let Some(mark) = head.strip_prefix("$EOF:") {
            if mark.len() != MARK_BYTES {
                return Err(format!("Bad protocol from MASTER: '{head}'"));
            }
            tracing::info!("MASTER <-> REPLICA sync: receiving streamed RDB from master");
            self.tell(UplinkEvent::Expect(None));
            return self.until_mark(read, mark.as_bytes()).await;
        }
        let Some(bytes) = head.strip_prefix('$').and_then(|text| text.parse::<u64>().ok()) else {
            return Err(format!("Bad protocol from MASTER, the first byte is not '$': '{head}'"));
        };
        tracing::info!("MASTER <-> REPLICA sync: receiving {bytes} bytes from master to disk");
        self.tell(UplinkEvent::Expect(Some(bytes)));
        let mut left = bytes;
        while left > 0 {
            if self.buffer.is_empty() {
                self.read(read).await?;
            }
            let taken = left.min(self.buffer.len() as u64) as usize;
            let rest = self.buffer.split_off(taken);
            let piece = std::mem::replace(&mut self.buffer, rest);
            left -= taken as u64;
            self.tell(UplinkEvent::Snapshot(piece));
        }
        self.tell(UplinkEvent::SnapshotEnd);
        Ok(())
    }

    /// The mark may stand in several pieces: as many bytes as it has are kept back. Nothing follows it
    /// before the primary has heard of us.
    async fn until_mark(&mut self, read: &mut impl ReadSide, mark: &[u8]) -> Result<(), String> {
        loop {
            if self.buffer.ends_with(mark) {
                let end = self.buffer.len() - MARK_BYTES;
                self.buffer.truncate(end);
                let piece = std::mem::take(&mut self.buffer);
                self.tell(UplinkEvent::Snapshot(piece));
                self.tell(UplinkEvent::SnapshotEnd);
                return Ok(());
            }
            if self.buffer.len() > MARK_BYTES + READ_BYTES {
                let rest = self.buffer.split_off(self.buffer.len() - MARK_BYTES);
                let piece = std::mem::replace(&mut self.buffer, rest);
                self.tell(UplinkEvent::Snapshot(piece));
            }
            self.read(read).await?;
        }
    }
}
