//! What a walk over the keyspace has taken and not handed to its writer yet.
//!
//! Each database's table gives its entries to a [`DbSink`]; all of them encode into one
//! [`WalkBuffer`]. Big collections aren't encoded here: they are frozen, and the writer's thread goes
//! through them when their turn has come.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::env::UnixMillis;
use crate::data::frozen::Frozen;
use crate::data::value::{Object, ObjectRef, ValueRef};
use crate::keyspace::databases::DbIndex;
use crate::keyspace::table::{Entry, EntrySink};
use crate::rdb::Access;
use crate::rdb::encode::{self, EncodeOptions};

/// Collections of so many bytes are frozen, and encoded by the writer's thread.
const FREEZE_BYTES: usize = 64 << 10;

/// Where walked entries are encoded.
#[derive(Debug, Default)]
pub(super) struct WalkBuffer {
    pub bytes: Vec<u8>,
    /// Entries so far.
    pub entries: u64,
    pub db: Option<DbIndex>,
    pub options: EncodeOptions,
    /// Bytes, each with what comes behind them: a big collection and its size.
    pub parts: Vec<(Vec<u8>, Frozen, usize)>,
}

/// One database's way into the buffer.
pub(super) struct DbSink {
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
        buffer.entries += 1;
        if buffer.db != Some(self.db) {
            encode::select_db(&mut buffer.bytes, self.db.0);
            buffer.db = Some(self.db);
        }
        buffer
    }

    fn push(&self, key: &[u8], expiry: Option<UnixMillis>, value: ValueRef<'_>) {
        let mut buffer = self.buffer();
        let WalkBuffer { bytes, options, .. } = &mut *buffer;
        encode::entry(bytes, options, key, value, expiry, Access::Unknown);
    }

    /// A big collection, which the writer's thread will go through.
    fn push_frozen(&self, key: &[u8], expiry: Option<UnixMillis>, frozen: Frozen, size: usize) {
        let mut buffer = self.buffer();
        let WalkBuffer { bytes, options, parts, .. } = &mut *buffer;
        encode::frozen_head(bytes, options, key, &frozen, expiry);
        parts.push((std::mem::take(bytes), frozen, size));
    }
}
