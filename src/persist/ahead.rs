//! Recovery on a thread of its own, ahead of the actor, which puts what it finds into the keyspace.
//!
//! ```text
//!  files ─► recover (checksums, parsing, values) ─► batches, a few at most ─► the actor
//!              ▲                                                                  │
//!              └──────────────────────── emptied batches ◄────────────────────────┘
//! ```
//! Reading, checking and decoding take about as long as putting keys in their place, so two cores
//! load in half the time; and the actor can serve clients between batches (they are told
//! `-LOADING`). Strings and the words of commands lie packed in a batch's buffer: nothing is allocated
//! for each of them. Batches under way are bounded in number, in items and in packed bytes; collections
//! and long strings in them are owned, and their size is bounded by nothing.
//!
//! Deliberately absent: what a key or a command means, and when there is time for the next batch.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};

use crate::base::env::{Env, Later, Threads, UnixMillis};
use crate::persist::recover::{RecoverError, RecoverOptions, Recovered, Replay, recover};
use crate::persist::worker::Waker;
use crate::rdb::{Access, OwnedValue};
use crate::resp::request::{BUFFER_BYTES_MAX, Range};

/// A batch is handed over when it has so many bytes, or so many items.
const BATCH_BYTES: usize = 64 << 10;
const BATCH_ITEMS: usize = 1024;
/// Batches that may wait for the actor.
const BATCHES_MAX: usize = 16;
/// The thread's name.
const NAME: &str = "load";
/// Longer strings are passed on as they were allocated, instead of copied.
const PACKED_BYTES_MAX: usize = 4 << 10;

/// What recovery found, in the order in which it found it.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    words: Vec<Range>,
    items: Vec<Item>,
}

/// One thing that was found. Ranges are of the batch's bytes.
#[derive(Debug)]
pub(crate) enum Item {
    /// A file begins ([`Replay::begin_file`]).
    File(PathBuf),
    /// So many bytes will be read.
    Expect(u64),
    /// So many bytes more have been read.
    Progress(u64),
    /// An auxiliary field of a snapshot.
    Aux {
        /// Its name.
        key: Range,
        /// Its value.
        value: Range,
    },
    /// A database of a snapshot will have about so many keys.
    Resize {
        /// Which one.
        db: u32,
        /// How many.
        keys: u64,
    },
    /// A key of a snapshot.
    Entry {
        /// Its database.
        db: u32,
        /// Its name.
        key: Range,
        /// Its value.
        value: Packed,
        /// When it expires.
        expiry: Option<UnixMillis>,
        /// When or how often it was used.
        access: Access,
    },
    /// A command of the log.
    Command {
        /// Which of the batch's words are its own.
        words: (u32, u32),
        /// Where in the file it begins, or the frame that it is in.
        offset: u64,
    },
}

/// A value in a batch.
#[derive(Debug)]
pub(crate) enum Packed {
    /// A string that lies in the batch's bytes.
    Str(Range),
    /// Any other value.
    Owned(OwnedValue),
}

impl Batch {
    /// The things in it.
    pub(crate) fn items(&self) -> &[Item] {
        &self.items
    }

    /// Takes a value that isn't in the batch's bytes; an empty string stays behind.
    pub(crate) fn take_owned(&mut self, index: usize) -> Option<OwnedValue> {
        match &mut self.items[index] {
            Item::Entry { value: Packed::Owned(value), .. } => {
                Some(std::mem::replace(value, OwnedValue::Str(Vec::new())))
            }
            _ => None,
        }
    }

    /// What ranges are of.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The words of a command.
    pub(crate) fn words(&self, (from, to): (u32, u32)) -> &[Range] {
        &self.words[from as usize..to as usize]
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.words.clear();
        self.items.clear();
        // One huge value must not keep its room forever.
        self.bytes.shrink_to(2 * BATCH_BYTES);
    }

    /// Copies bytes in.
    fn pack(&mut self, bytes: &[u8]) -> Range {
        let range = Range::new(self.bytes.len(), bytes.len());
        self.bytes.extend_from_slice(bytes);
        range
    }
}

enum Message {
    Batch(Batch),
    End(Box<Result<Recovered, RecoverError>>),
}

/// What [`Ahead::poll`] has.
#[derive(Debug)]
pub(crate) enum Next {
    /// The next batch.
    Batch(Batch),
    /// Nothing yet; the waker is called when there is.
    Nothing,
    /// Recovery has ended, and every batch was taken.
    End(Box<Result<Recovered, RecoverError>>),
}

/// The actor's end. Dropping it ends the recovery.
#[derive(Debug)]
pub(crate) struct Ahead {
    messages: Receiver<Message>,
    emptied: Sender<Batch>,
}

impl Ahead {
    /// Begins to recover on a thread.
    ///
    /// # Errors
    /// There can be no thread.
    pub(crate) fn start(env: Env, options: RecoverOptions, wake: Waker) -> io::Result<Self> {
        let threads = env.threads.clone();
        let (emptied, spares) = channel();
        let work = move |to| {
            let mut packer = Packer { batch: Batch::default(), offset: 0, to, spares };
            let result = recover(&env, &options, &mut packer);
            // Where nobody listens any more, nobody wants to know.
            if packer.hand_over().is_ok() {
                let _ = packer.to.send(Message::End(Box::new(result)));
            }
        };
        if let Threads::Simulated(later) = &threads {
            let (to, messages) = channel();
            let to = Outbox::Simulated(to, wake, Arc::clone(later));
            later.later(NAME, Box::new(move || work(to)));
            return Ok(Self { messages, emptied });
        }
        let (to, messages) = sync_channel(BATCHES_MAX);
        let to = Outbox::Thread(to, wake);
        std::thread::Builder::new().name(NAME.into()).spawn(move || work(to))?;
        Ok(Self { messages, emptied })
    }

    /// The next batch, if there is one.
    pub(crate) fn poll(&mut self) -> Next {
        match self.messages.try_recv() {
            Ok(Message::Batch(batch)) => Next::Batch(batch),
            Ok(Message::End(result)) => Next::End(result),
            Err(TryRecvError::Empty) => Next::Nothing,
            Err(TryRecvError::Disconnected) => panic!("recovery ended without a word"),
        }
    }

    /// Gives a batch back for reuse.
    pub(crate) fn recycle(&self, mut batch: Batch) {
        batch.clear();
        // Recovery may be over.
        let _ = self.emptied.send(batch);
    }
}

/// How what was found gets to the actor.
enum Outbox {
    /// From a thread, which waits where the actor is behind.
    Thread(SyncSender<Message>, Waker),
    /// When the simulation likes.
    Simulated(Sender<Message>, Waker, Arc<dyn Later>),
}

impl Outbox {
    /// An error where nobody listens any more.
    fn send(&self, message: Message) -> Result<(), ()> {
        match self {
            Self::Thread(to, wake) => {
                to.send(message).map_err(drop)?;
                wake();
            }
            Self::Simulated(to, wake, later) => {
                let (to, wake) = (to.clone(), Arc::clone(wake));
                let step = move || {
                    // As above.
                    let _ = to.send(message);
                    wake();
                };
                later.later(NAME, Box::new(step));
            }
        }
        Ok(())
    }
}

/// The thread's end.
struct Packer {
    batch: Batch,
    offset: u64,
    to: Outbox,
    spares: Receiver<Batch>,
}

impl Packer {
    fn hand_over(&mut self) -> Result<(), String> {
        if self.batch.items.is_empty() {
            return Ok(());
        }
        let next = self.spares.try_recv().unwrap_or_default();
        let batch = std::mem::replace(&mut self.batch, next);
        self.to.send(Message::Batch(batch)).map_err(|()| "loading was given up".to_owned())
    }

    /// Makes room for an item that brings so many bytes.
    fn make_room(&mut self, bytes: usize) -> Result<(), String> {
        let used = self.batch.bytes.len();
        if used + bytes > BATCH_BYTES || self.batch.items.len() >= BATCH_ITEMS {
            self.hand_over()?;
        }
        // Ranges have 32 bits.
        if bytes > BUFFER_BYTES_MAX {
            return Err(format!("a key or a command of {bytes} bytes is too long"));
        }
        Ok(())
    }

    /// Adds an item that takes no room. That it can't be handed over shows itself at the next.
    fn push(&mut self, item: Item) {
        let _ = self.make_room(0);
        self.batch.items.push(item);
    }
}

impl Replay for Packer {
    fn begin_file(&mut self, path: &Path) {
        self.push(Item::File(path.to_owned()));
    }

    fn aux(&mut self, key: &[u8], value: &[u8]) {
        if self.make_room(key.len() + value.len()).is_ok() {
            let (key, value) = (self.batch.pack(key), self.batch.pack(value));
            self.batch.items.push(Item::Aux { key, value });
        }
    }

    fn resize(&mut self, db: u32, keys: u64) {
        self.push(Item::Resize { db, keys });
    }

    fn entry(
        &mut self,
        db: u32,
        key: Vec<u8>,
        value: OwnedValue,
        expiry: Option<UnixMillis>,
        access: Access,
    ) -> Result<(), String> {
        let packed = match &value {
            OwnedValue::Str(bytes) if bytes.len() <= PACKED_BYTES_MAX => bytes.len(),
            _ => 0,
        };
        self.make_room(key.len() + packed)?;
        let key = self.batch.pack(&key);
        let value = match value {
            OwnedValue::Str(bytes) if bytes.len() <= PACKED_BYTES_MAX => {
                Packed::Str(self.batch.pack(&bytes))
            }
            value => Packed::Owned(value),
        };
        self.batch.items.push(Item::Entry { db, key, value, expiry, access });
        Ok(())
    }

    fn command(&mut self, words: &[&[u8]]) -> Result<(), String> {
        self.make_room(words.iter().map(|word| word.len()).sum())?;
        let from = self.batch.words.len() as u32;
        for word in words {
            let range = self.batch.pack(word);
            self.batch.words.push(range);
        }
        let words = (from, self.batch.words.len() as u32);
        self.batch.items.push(Item::Command { words, offset: self.offset });
        Ok(())
    }

    fn position(&mut self, offset: u64) {
        self.offset = offset;
    }

    fn progress(&mut self, bytes: u64) {
        self.push(Item::Progress(bytes));
    }

    fn expect(&mut self, bytes: u64) {
        self.push(Item::Expect(bytes));
        // At once: it is what INFO tells until there is more. A failure shows itself at the next.
        let _ = self.hand_over();
    }
}
