//! Freeing away from the store actor: UNLINK, FLUSHALL ASYNC and lazy expiry hand what they removed
//! to one background thread, so that no command waits for the freeing of another's gigabytes.
//!
//! The thread has the usual share of the processor: with idle priority it could stand still with one of the
//! allocator's locks in hand, and what it is to free would pile up. But after each block of nodes, chunk or
//! segment it yields, and the actor, if it has woken on the same core, runs at once ([`courtesy::give_way`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};

use crate::base::courtesy;
use crate::keyspace::table::Table;

/// Something to be dropped elsewhere.
pub(crate) type Garbage = Box<dyn Send>;

/// The command that tells of a removed key: UNLINK where its value is freed elsewhere, so that it is there, too.
pub(crate) const fn removal_word(elsewhere: bool) -> &'static [u8] {
    if elsewhere { b"UNLINK" } else { b"DEL" }
}

/// What the thread gets.
struct Load {
    garbage: Garbage,
    /// Objects that it counts as in INFO.
    objects: u64,
    /// Bytes that it counts as while it is pending; 0 where it counts them down itself.
    bytes: u64,
}

/// Where removed values go.
#[derive(Debug, Default)]
pub(crate) struct Reclaimer {
    thread: Option<Sender<Load>>,
    pending: Arc<AtomicU64>,
    pending_bytes: Arc<AtomicU64>,
    freed: Arc<AtomicU64>,
}

impl Reclaimer {
    /// A reclaimer with a thread of its own. Where none can be had it frees on the spot.
    pub(crate) fn with_thread() -> Self {
        let (sender, receiver) = channel::<Load>();
        let mut reclaimer = Self::default();
        let (pending, freed) = (Arc::clone(&reclaimer.pending), Arc::clone(&reclaimer.freed));
        let pending_bytes = Arc::clone(&reclaimer.pending_bytes);
        let spawned = std::thread::Builder::new().name("reclaim".into()).spawn(move || {
            courtesy::yield_between_pieces();
            for Load { garbage, objects, bytes } in receiver {
                drop(garbage);
                pending_bytes.fetch_sub(bytes, Ordering::Relaxed);
                pending.fetch_sub(objects, Ordering::Relaxed);
                freed.fetch_add(objects, Ordering::Relaxed);
            }
        });
        if spawned.is_ok() {
            reclaimer.thread = Some(sender);
        }
        reclaimer
    }

    /// Frees `garbage` on the thread: so many bytes of the heap, which count as one object in INFO.
    pub(crate) fn free(&self, garbage: Garbage, bytes: usize) {
        let bytes = if self.thread.is_some() { bytes as u64 } else { 0 };
        self.pending_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.send(Load { garbage, objects: 1, bytes });
    }

    /// Frees a table on the thread; each key counts as an object in INFO.
    pub(crate) fn free_table(&self, mut table: Box<Table>) {
        let objects = table.len() as u64;
        if self.thread.is_some() {
            // Not all at its end: it may take seconds.
            table.count_down(Arc::clone(&self.pending_bytes));
        }
        self.send(Load { garbage: table, objects, bytes: 0 });
    }

    fn send(&self, load: Load) {
        let Some(thread) = &self.thread else {
            let Load { garbage, objects, bytes: _ } = load;
            drop(garbage);
            self.freed.fetch_add(objects, Ordering::Relaxed);
            return;
        };
        self.pending.fetch_add(load.objects, Ordering::Relaxed);
        // The thread ends only with the sender: a send can't fail while we hold it. Were it gone,
        // the returned garbage would be dropped here, which is right too.
        let _ = thread.send(load);
    }

    /// Bytes of the heap that wait to be freed.
    #[inline]
    pub(crate) fn pending_bytes(&self) -> u64 {
        self.pending_bytes.load(Ordering::Relaxed)
    }

    /// Objects waiting to be freed (INFO `lazyfree_pending_objects`).
    pub(crate) fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }

    /// Objects freed so far (INFO `lazyfreed_objects`).
    pub(crate) fn freed(&self) -> u64 {
        self.freed.load(Ordering::Relaxed)
    }

    /// Sets the count of freed objects back (CONFIG RESETSTAT).
    pub(crate) fn reset_freed(&self) {
        self.freed.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::value::NewValue;
    use crate::keyspace::table::{HashSeed, Pool};

    #[test]
    fn what_is_pending_comes_down_to_nothing() {
        let reclaimer = Reclaimer::with_thread();
        let pool = Pool::new();
        let mut table = Box::new(Table::new(HashSeed(1), &pool));
        for number in 0..5000 {
            let key = format!("key{number}").into_bytes();
            table.put(&key, NewValue::Raw(&[b'v'; 500][..number % 500]), None, 0);
        }
        let bytes = table.memory().heap_bytes as u64;
        assert!(bytes > 500_000, "most of them are on the heap");
        // Something that is in the way until it is told to go.
        let (go, gate) = channel::<()>();
        struct Blocker(std::sync::mpsc::Receiver<()>);
        impl Drop for Blocker {
            fn drop(&mut self) {
                let _ = self.0.recv();
            }
        }
        reclaimer.free(Box::new(Blocker(gate)), 7);
        reclaimer.free_table(table);
        assert_eq!(reclaimer.pending_bytes(), 7 + bytes);
        go.send(()).unwrap();
        while reclaimer.pending() > 0 {
            std::thread::yield_now();
        }
        assert_eq!((reclaimer.pending_bytes(), reclaimer.freed()), (0, 5001));
    }
}
