//! What a walk over the keyspace has taken and not handed to its writer yet.
//!
//! Each database's table gives its entries to a `DbSink`; all of them encode into one
//! `WalkBuffer`, as RDB or as commands. Big collections aren't encoded here: they are frozen, and
//! the writer's thread goes through them when their turn has come.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::env::UnixMillis;
use crate::base::pieces::PieceSink;
use crate::data::frozen::Frozen;
use crate::data::value::{Object, ObjectRef, ValueRef};
use crate::keyspace::databases::DbIndex;
use crate::keyspace::table::{Entry, EntrySink};
use crate::persist::aof_encode::push_select;
use crate::persist::aof_value;
use crate::persist::snapshot::Encode;
use crate::rdb::Access;
use crate::rdb::encode::{self, EncodeOptions};

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

/// A big collection that is to be encoded later.
pub(in crate::engine) struct Part {
    /// What comes before it.
    pub before: Vec<u8>,
    pub encode: Encode,
    /// Its size.
    pub bytes: usize,
}

/// Where walked entries are encoded.
pub(in crate::engine) struct WalkBuffer {
    form: Form,
    pub bytes: Vec<u8>,
    /// Entries so far.
    pub entries: u64,
    db: Option<DbIndex>,
    pub parts: Vec<Part>,
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
    /// A buffer that begins with these bytes.
    pub fn new(form: Form, bytes: Vec<u8>) -> Self {
        Self { form, bytes, entries: 0, db: None, parts: Vec::new() }
    }

    /// All entries are there.
    pub fn end(&mut self) {
        if let Form::Rdb(_) = self.form {
            encode::end(&mut self.bytes);
        }
    }

    fn begin_entry(&mut self, db: DbIndex) {
        self.entries += 1;
        if self.db == Some(db) {
            return;
        }
        self.db = Some(db);
        match self.form {
            Form::Rdb(_) => encode::select_db(&mut self.bytes, db.0),
            Form::Commands => push_select(&mut self.bytes, db.0),
        }
    }
}

/// One database's way into the buffer.
pub(in crate::engine) struct DbSink {
    pub db: DbIndex,
    pub buffer: Arc<Mutex<WalkBuffer>>,
}

impl EntrySink for DbSink {
    fn entry(&mut self, entry: &Entry<'_>) {
        self.push(entry.key(), entry.expiry(), entry.value());
    }

    fn object(&mut self, key: &[u8], expiry: Option<UnixMillis>, object: &mut Object) {
        let size = object.heap_bytes();
        match if size >= FREEZE_BYTES { object.freeze() } else { None } {
            Some(frozen) => self.push_frozen(key, expiry, frozen, size),
            None => self.push(key, expiry, ValueRef::Object(ObjectRef::from(&*object))),
        }
    }
}

impl DbSink {
    fn buffer(&self) -> MutexGuard<'_, WalkBuffer> {
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        buffer.begin_entry(self.db);
        buffer
    }

    fn push(&self, key: &[u8], expiry: Option<UnixMillis>, value: ValueRef<'_>) {
        let mut buffer = self.buffer();
        match buffer.form {
            Form::Rdb(options) => {
                encode::entry(&mut buffer.bytes, &options, key, value, expiry, Access::Unknown);
            }
            Form::Commands => aof_value::push_entry(&mut buffer.bytes, key, value, expiry),
        }
    }

    /// A big collection, which the writer's thread will go through.
    fn push_frozen(&self, key: &[u8], expiry: Option<UnixMillis>, frozen: Frozen, bytes: usize) {
        let mut buffer = self.buffer();
        let encode: Encode = match buffer.form {
            Form::Rdb(options) => {
                encode::frozen_head(&mut buffer.bytes, &options, key, &frozen, expiry);
                Box::new(move |sink: PieceSink<'_>| frozen.encode(options, sink))
            }
            Form::Commands => {
                let key = key.to_vec();
                Box::new(move |sink: PieceSink<'_>| {
                    aof_value::push_frozen(&key, &frozen, expiry, sink);
                })
            }
        };
        let before = std::mem::take(&mut buffer.bytes);
        buffer.parts.push(Part { before, encode, bytes });
    }
}
