//! A client over the simulated network.

use std::time::Duration;

use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;
use redstart::net::transport::{Network, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::net::{PORT, ReadHalf, Socket, WriteHalf, address};

/// The database of everything that is checked; others belong to the mixed load.
pub const CHECKED_DB: u32 = 3;

/// A reply.
pub type Reply = OwnedFrame;

/// Why there is no reply.
#[derive(Debug)]
pub enum Lost {
    /// The connection broke.
    Broken,
    /// It took too long.
    TooLong,
}

/// What became of a command.
#[derive(Debug)]
pub enum Outcome {
    /// It was answered.
    Done(Reply),
    /// It was refused before it ran.
    Refused,
    /// It may have run, or may yet.
    Unknown,
}

/// A connection to a server.
pub struct Client {
    read: ReadHalf,
    write: WriteHalf,
    buffer: Vec<u8>,
    patience: Duration,
    /// The host of the server.
    pub host: usize,
}

/// A command as it is sent.
pub fn encode(buffer: &mut Vec<u8>, words: &[&[u8]]) {
    buffer.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        buffer.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        buffer.extend_from_slice(word);
        buffer.extend_from_slice(b"\r\n");
    }
}

/// Errors that say that nothing was done.
fn is_refusal(text: &str) -> bool {
    !text.starts_with("UNCERTAIN")
}

impl Client {
    /// Connects to a host's server. What takes longer than `patience` counts as lost.
    pub async fn connect(from: &Socket, host: usize, patience: Duration) -> Result<Self, Lost> {
        let to = address(host).to_string();
        let connecting = from.connect(&to, PORT, None);
        let stream = timeout(patience, connecting).await.map_err(|_| Lost::TooLong)?;
        let Stream { read, write, .. } = stream.map_err(|_| Lost::Broken)?;
        Ok(Self { read, write, buffer: Vec::new(), patience, host })
    }

    /// Connects, and selects the database that is checked.
    pub async fn checked(from: &Socket, host: usize, patience: Duration) -> Result<Self, Lost> {
        let mut client = Self::connect(from, host, patience).await?;
        client.call(&format!("SELECT {CHECKED_DB}")).await?;
        Ok(client)
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        let sent = timeout(self.patience, self.write.write_all(bytes)).await;
        sent.map_err(|_| Lost::TooLong)?.map_err(|_| Lost::Broken)
    }

    /// The next reply.
    pub async fn reply(&mut self) -> Result<Reply, Lost> {
        self.reply_within(self.patience).await
    }

    /// The next reply, if it comes in time.
    pub async fn reply_within(&mut self, patience: Duration) -> Result<Reply, Lost> {
        timeout(patience, self.read_reply()).await.map_err(|_| Lost::TooLong)?
    }

    async fn read_reply(&mut self) -> Result<Reply, Lost> {
        loop {
            match decode(&self.buffer) {
                Ok(Some((frame, used))) => {
                    self.buffer.drain(..used);
                    return Ok(frame);
                }
                Ok(None) => {}
                Err(error) => panic!("a server answered what is no reply: {error}"),
            }
            let read = self.read.read_buf(&mut self.buffer).await.map_err(|_| Lost::Broken)?;
            if read == 0 {
                return Err(Lost::Broken);
            }
        }
    }

    /// Sends a command of words without spaces and returns its reply.
    pub async fn call(&mut self, text: &str) -> Result<Reply, Lost> {
        let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
        let mut bytes = Vec::new();
        encode(&mut bytes, &words);
        self.send(&bytes).await?;
        self.reply().await
    }

    /// What becomes of a command. After an unknown outcome the connection is of no more use.
    pub async fn run(&mut self, text: &str) -> Outcome {
        self.call(text).await.map_or(Outcome::Unknown, outcome)
    }
}

/// What a reply says of its command.
pub fn outcome(reply: Reply) -> Outcome {
    match reply {
        OwnedFrame::Error(text) if is_refusal(&text) => Outcome::Refused,
        OwnedFrame::Error(_) => Outcome::Unknown,
        reply => Outcome::Done(reply),
    }
}

/// The text of a reply that is a string.
pub fn text(reply: &Reply) -> Option<String> {
    match reply {
        OwnedFrame::BulkString(bytes) | OwnedFrame::SimpleString(bytes) => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
        _ => None,
    }
}

/// The number in a reply that is a string, or 0 where there is nothing.
pub fn number(reply: &Reply) -> u64 {
    text(reply).and_then(|text| text.parse().ok()).unwrap_or(0)
}
