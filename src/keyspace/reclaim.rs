//! Freeing away from the store actor: UNLINK, FLUSHALL ASYNC and lazy expiry hand what they removed
//! to one background thread, so that no command waits for the freeing of another's gigabytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};

/// Something to be dropped elsewhere.
pub type Garbage = Box<dyn Send>;

/// Where removed values go.
#[derive(Debug, Default)]
pub struct Reclaimer {
    thread: Option<Sender<(Garbage, u64)>>,
    pending: Arc<AtomicU64>,
    freed: Arc<AtomicU64>,
}

impl Reclaimer {
    /// A reclaimer with a thread of its own. Where none can be had it frees on the spot.
    pub fn with_thread() -> Self {
        let (sender, receiver) = channel::<(Garbage, u64)>();
        let mut reclaimer = Self::default();
        let (pending, freed) = (Arc::clone(&reclaimer.pending), Arc::clone(&reclaimer.freed));
        let spawned = std::thread::Builder::new().name("reclaim".into()).spawn(move || {
            for (garbage, objects) in receiver {
                drop(garbage);
                pending.fetch_sub(objects, Ordering::Relaxed);
                freed.fetch_add(objects, Ordering::Relaxed);
            }
        });
        if spawned.is_ok() {
            reclaimer.thread = Some(sender);
        }
        reclaimer
    }

    /// Frees `garbage`, which counts as `objects` in INFO, on the thread.
    pub fn free(&self, garbage: Garbage, objects: u64) {
        let Some(thread) = &self.thread else {
            drop(garbage);
            self.freed.fetch_add(objects, Ordering::Relaxed);
            return;
        };
        self.pending.fetch_add(objects, Ordering::Relaxed);
        // The thread ends only with the sender: a send can't fail while we hold it. Were it gone,
        // the returned garbage would be dropped here, which is right too.
        let _ = thread.send((garbage, objects));
    }

    /// Objects waiting to be freed (INFO `lazyfree_pending_objects`).
    pub fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }

    /// Objects freed so far (INFO `lazyfreed_objects`).
    pub fn freed(&self) -> u64 {
        self.freed.load(Ordering::Relaxed)
    }

    /// Sets the count of freed objects back (CONFIG RESETSTAT).
    pub fn reset_freed(&self) {
        self.freed.store(0, Ordering::Relaxed);
    }
}
