//! From entries to the snapshot's writer: what a walk over the keyspace takes, and what commands hand
//! it before they change something.
//!
//! Each database's table gives its entries to a `DbSink`; all of them encode into one
//! `WalkBuffer`, as RDB or as commands, which queues a chunk with its writer as soon as there is one:
//! one command may change thousands of buckets. Big collections aren't encoded here: they are frozen,
//! and the writer's thread goes through them when their turn has come. Nor are long strings copied into
//! RDB: they are lent to the writer's thread, and count as copies, which they are once their owner drops
//! or changes them.
//!
//! Invariant: what waits for the writer in copies is at most `copied_max` bytes, a chunk and one entry.
//! What would be more is not kept, and the walk has `overflowed`: it comes to nothing.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::env::UnixMillis;
use crate::base::pieces::PieceSink;
use crate::data::frozen::Frozen;
use crate::data::string::Lent;
use crate::data::value::{Object, ObjectRef, ValueRef};
use crate::keyspace::access::Remembered;
use crate::keyspace::databases::DbIndex;
use crate::keyspace::table::{Entry, EntrySink};
use crate::persist::aof_encode::push_select;
use crate::persist::aof_value;
use crate::persist::snapshot::{Encode, SnapshotWriter};
use crate::rdb::encode::{self, EncodeOptions, Unfinished};

/// Bytes that are handed to the writer at once, at most. Handing over costs both threads some system calls:
/// with 16 KiB a walk under load took half again as long and three times the memory.
const CHUNK_BYTES_MAX: usize = 256 << 10;
/// And at least. Chunks are smaller where few bytes may wait: with large ones, clients that write
/// would stop and go on in turns.
const CHUNK_BYTES_MIN: usize = 16 << 10;
/// The part of what may wait that is handed over at once.
const CHUNK_PART: usize = 256;
/// Collections of so many bytes are frozen, and encoded by the writer's thread.
const FREEZE_BYTES: usize = 64 << 10;

/// How entries are written.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) enum Form {
    /// As RDB.
    Rdb(EncodeOptions),
    /// As the commands that make them.
    Commands,
}

/// Where walked entries are encoded.
pub(in crate::engine) struct WalkBuffer {
    form: Form,
    bytes: Vec<u8>,
    /// Strings in them, or left out of them, that the writer finishes.
    strings: Vec<Unfinished>,
    /// Bytes of those that were left out.
    lent_bytes: usize,
    /// Entries so far.
    pub entries: u64,
    db: Option<DbIndex>,
    /// Databases that no entry came from yet: how many keys each has, and how many of them expire.
    sizes: Vec<(DbIndex, u64, u64)>,
    remembered: Remembered,
    pub writer: SnapshotWriter,
    copied_max: usize,
    /// Something was not kept, for more had waited than may.
    pub(crate) overflowed: bool,
}

impl fmt::Debug for WalkBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { form, entries, .. } = self;
        f.debug_struct("WalkBuffer")
            .field("form", form)
            .field("entries", entries)
            .finish_non_exhaustive()
    }
}

impl WalkBuffer {
    /// A buffer that begins with these bytes, of which the writer may keep `copied_max`. `remembered` is
    /// what it tells of the use of keys.
    pub(crate) fn new(
        form: Form,
        bytes: Vec<u8>,
        remembered: Remembered,
        writer: SnapshotWriter,
        copied_max: usize,
    ) -> Self {
        let (strings, entries, db) = (Vec::new(), 0, None);
        let (sizes, overflowed, lent_bytes) = (Vec::new(), false, 0);
        Self {
            form,
            bytes,
            strings,
            lent_bytes,
            entries,
            db,
            sizes,
            remembered,
            writer,
            copied_max,
            overflowed,
        }
    }

    /// Says how many keys each database has, and how many of them expire: readers size their tables
    /// by that.
    pub(crate) fn expect(&mut self, sizes: Vec<(DbIndex, u64, u64)>) {
        self.sizes = sizes;
    }

    /// All entries are there: the rest of them goes to the writer, which is told that it is the rest.
    pub(crate) fn end(&mut self) {
        if let Form::Rdb(_) = self.form {
            encode::end(&mut self.bytes);
        }
        self.hand_over();
        self.writer.finish();
    }

    /// Queues what there is.
    fn hand_over(&mut self) {
        let next = self.writer.take_buffer();
        let chunk = std::mem::replace(&mut self.bytes, next);
        let strings = std::mem::take(&mut self.strings);
        self.writer.write_unfinished(chunk, strings, std::mem::take(&mut self.lent_bytes));
    }

    /// A long string stays where it is, and the writer's thread reads it there.
    fn push_lent(&mut self, options: EncodeOptions, head: Head<'_>, text: Lent) {
        let Head { key, expiry, access } = head;
        let access = self.remembered.of(access);
        self.lent_bytes += text.bytes().len();
        let string = encode::entry_without(&mut self.bytes, &options, key, text, expiry, access);
        self.strings.push(string);
    }

    /// A string is compressed by the writer's thread, to which most of the work is left that way.
    fn push_rdb(
        &mut self,
        options: EncodeOptions,
        Head { key, expiry, access }: Head<'_>,
        value: ValueRef<'_>,
    ) {
        let access = self.remembered.of(access);
        let out = &mut self.bytes;
        let (options, text) = match value {
            ValueRef::Str(bytes) if options.compress => {
                (EncodeOptions { compress: false, ..options }, Some(bytes))
            }
            _ => (options, None),
        };
        encode::entry(out, &options, key, value, expiry, access);
        self.strings.extend(text.and_then(|bytes| encode::last_written(out, bytes)));
    }

    fn push(&mut self, head: Head<'_>, value: ValueRef<'_>) {
        match self.form {
            Form::Rdb(options) => self.push_rdb(options, head, value),
            Form::Commands => {
                aof_value::push_entry(&mut self.bytes, head.key, value, head.expiry);
            }
        }
        self.hand_over_full();
    }

    fn hand_over_full(&mut self) {
        let chunk = (self.copied_max / CHUNK_PART).clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        if self.bytes.len() + self.lent_bytes >= chunk {
            self.hand_over();
        }
    }

    /// False where the entry can't be kept.
    fn begin_entry(&mut self, db: DbIndex) -> bool {
        self.overflowed |= self.writer.copied_bytes() > self.copied_max;
        if self.overflowed {
            return false;
        }
        self.entries += 1;
        if self.db == Some(db) {
            return true;
        }
        self.db = Some(db);
        match self.form {
            Form::Rdb(_) => {
                encode::select_db(&mut self.bytes, db.0);
                // Entries about to change come out of turn, so a database may begin more than once.
                if let Some(at) = self.sizes.iter().position(|(index, ..)| *index == db) {
                    let (_, keys, expires) = self.sizes.swap_remove(at);
                    encode::resize_db(&mut self.bytes, keys, expires);
                }
            }
            Form::Commands => push_select(&mut self.bytes, db.0),
        }
        true
    }
}

/// One database's way into the buffer.
pub(in crate::engine) struct DbSink {
    pub db: DbIndex,
    pub buffer: Arc<Mutex<WalkBuffer>>,
}

impl EntrySink for DbSink {
    fn reads_strings(&self) -> bool {
        let buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(buffer.form, Form::Commands)
    }

    fn entry(&mut self, entry: &Entry<'_>) {
        let head = Head { key: entry.key(), expiry: entry.expiry(), access: entry.access() };
        let Some(mut buffer) = self.buffer() else { return };
        if let Form::Rdb(options) = buffer.form
            && let Some(text) = entry.lend()
        {
            buffer.push_lent(options, head, text);
            buffer.hand_over_full();
        } else {
            buffer.push(head, entry.value());
        }
    }

    fn object(&mut self, key: &[u8], expiry: Option<UnixMillis>, access: u32, object: &mut Object) {
        let (head, size) = (Head { key, expiry, access }, object.heap_bytes());
        match if size >= FREEZE_BYTES { object.freeze() } else { None } {
            Some(frozen) => self.push_frozen(head, frozen, size),
            None => {
                let Some(mut buffer) = self.buffer() else { return };
                buffer.push(head, ValueRef::Object(ObjectRef::from(&*object)));
            }
        }
    }
}

/// What an entry is beside its value.
#[derive(Clone, Copy)]
struct Head<'a> {
    key: &'a [u8],
    expiry: Option<UnixMillis>,
    access: u32,
}

impl DbSink {
    /// The buffer, ready for an entry; nothing where it takes no more.
    fn buffer(&self) -> Option<MutexGuard<'_, WalkBuffer>> {
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        buffer.begin_entry(self.db).then_some(buffer)
    }

    /// A big collection, which the writer's thread will go through.
    fn push_frozen(&self, head: Head<'_>, frozen: Frozen, bytes: usize) {
        let Head { key, expiry, access } = head;
        let Some(mut buffer) = self.buffer() else { return };
        let encode: Encode = match buffer.form {
            Form::Rdb(options) => {
                let access = buffer.remembered.of(access);
                encode::frozen_head(&mut buffer.bytes, &options, key, &frozen, expiry, access);
                Box::new(move |sink: PieceSink<'_>| frozen.encode(options, sink))
            }
            Form::Commands => {
                let key = key.to_vec();
                Box::new(move |sink: PieceSink<'_>| {
                    aof_value::push_frozen(&key, &frozen, expiry, sink);
                })
            }
        };
        buffer.hand_over();
        buffer.writer.write_later(bytes, encode);
    }
}
