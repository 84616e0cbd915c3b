//! How much memory is in use: the figure that `maxmemory` is compared with before each command.
//!
//! Asking the allocator costs microseconds, too much for every command. But it counts what each
//! thread has allocated and freed, and those two counters cost a load each. Nearly all memory comes
//! and goes on the actor's thread, so the figure is the last answer of the allocator, at most
//! `READING_MICROS_MAX` old, and what this thread has allocated since then.
//!
//! Not counted against the limit, though in use:
//! - what the background thread is going to free (UNLINK, FLUSHALL ASYNC), and tables that a FLUSH
//!   took out of service while a snapshot needs them: no write has to wait for that;
//! - what is to be written to the log, to a snapshot, and to replicas (beyond `repl-backlog-size`):
//!   evicting keys only makes it more, by their DELs and by what a snapshot must keep of them;
//! - until the tick's end, what followers of evicted keys were told: it may be read then.

use std::fmt;

use tikv_jemalloc_ctl::thread::{self, ThreadLocal};

use crate::engine::Engine;
use crate::engine::keep::load_slices::Load;

/// The age at which the allocator's answer is asked for anew, in microseconds.
const READING_MICROS_MAX: u64 = 1000;
/// The same where the figure is over the limit: other threads may have freed something.
const OVER_MICROS_MAX: u64 = 50;

/// What threads' caches have, of all arenas (4096 stands for them): a name of jemalloc's.
const IN_CACHES: &str = "stats.arenas.4096.tcache_bytes\0";

/// What the allocator has handed out, kept up to date by this thread's own counters.
pub(crate) struct Meter {
    own: Option<OwnCounters>,
    /// The allocator's last answer, in bytes.
    reading: u64,
    /// This thread's balance at that time.
    balance: u64,
    /// When that was, in ticks of the stopwatch.
    read_at: u64,
}

/// Bytes that this thread has ever allocated and freed. Pointers into the thread's own memory, which
/// is why a meter can't be sent to another.
struct OwnCounters {
    allocated: ThreadLocal<u64>,
    freed: ThreadLocal<u64>,
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("reading", &self.reading).finish_non_exhaustive()
    }
}

impl Default for Meter {
    fn default() -> Self {
        // Fails only where jemalloc was built without statistics: then it's readings alone.
        let own = thread::allocatedp::read().ok().zip(thread::deallocatedp::read().ok());
        let own = own.map(|(allocated, freed)| OwnCounters { allocated, freed });
        Self { own, reading: 0, balance: 0, read_at: 0 }
    }
}

impl Meter {
    /// What this thread has allocated and not freed; wraps where it freed more than it allocated.
    #[inline]
    fn balance(&self) -> u64 {
        self.own.as_ref().map_or(0, |own| own.allocated.get().wrapping_sub(own.freed.get()))
    }

    /// Asks the allocator.
    fn read(&mut self, now: u64) {
        self.reading = allocated_bytes();
        self.balance = self.balance();
        self.read_at = now;
    }

    /// Bytes handed out, as of now on this thread.
    #[inline]
    pub(super) fn allocated(&self) -> u64 {
        let change = self.balance().wrapping_sub(self.balance).cast_signed();
        self.reading.saturating_add_signed(change)
    }
}

/// Bytes that the allocator has handed out, without the pages that tables map themselves. What threads
/// keep in their caches for the next allocation, some 100 KB each, is not handed out.
pub(crate) fn allocated_bytes() -> u64 {
    use tikv_jemalloc_ctl::{Access, AsName, epoch, stats};
    // Fails only where jemalloc was built without statistics.
    if epoch::advance().is_err() {
        return 0;
    }
    let cached: usize = IN_CACHES.name().read().unwrap_or(0);
    stats::allocated::read().unwrap_or(0).saturating_sub(cached) as u64
}

impl Engine {
    /// Memory in use for data and clients, in bytes, as the allocator says now.
    pub(crate) fn used_memory(&self) -> u64 {
        allocated_bytes() + self.table_bytes()
    }

    /// Pages of tables, which they map themselves.
    #[inline]
    fn table_bytes(&self) -> u64 {
        let beside = self.persistence.load.as_ref().map_or(0, Load::segment_bytes);
        self.databases.segment_bytes() + beside
    }

    /// Memory in use that doesn't count against `maxmemory`, in bytes.
    pub(crate) fn uncounted_memory(&self) -> u64 {
        let log = self.log.as_ref().map_or(0, |log| log.pending_bytes() as u64);
        let walk = self.persistence.walk.job().map_or(0, |job| job.queued_bytes() as u64);
        let stream = self.beyond_backlog();
        self.databases.departing_bytes() + log + walk + stream + self.relayed_bytes()
    }

    /// Bytes of the stream in memory beyond `repl-backlog-size`, for replicas that are behind.
    pub(crate) fn beyond_backlog(&self) -> u64 {
        (self.journal.backlog_memory() as u64).saturating_sub(self.settings.repl_backlog_size)
    }

    /// What `maxmemory` is compared with.
    #[inline]
    pub(in crate::engine) fn counted_memory(&mut self) -> u64 {
        let now = self.env.stopwatch.ticks();
        let age = self.env.stopwatch.micros(now.saturating_sub(self.evict.meter.read_at));
        if age <= READING_MICROS_MAX {
            let counted = self.estimate();
            if counted <= self.settings.maxmemory || age <= OVER_MICROS_MAX {
                return counted;
            }
        }
        self.evict.meter.read(now);
        self.estimate()
    }

    #[inline]
    fn estimate(&self) -> u64 {
        let uncounted = self.uncounted_memory() + self.evict.told;
        (self.evict.meter.allocated() + self.table_bytes()).saturating_sub(uncounted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_after_a_reading_is_counted() {
        let mut meter = Meter { reading: 1000, ..Meter::default() };
        assert_eq!(meter.allocated(), meter.reading + meter.balance());
        meter.balance = meter.balance().wrapping_add(300);
        assert_eq!(meter.allocated(), 700, "less than at the reading");
        meter.balance = meter.balance().wrapping_sub(300);
        assert_eq!(meter.allocated(), 1300, "more than at the reading");
        meter.balance = meter.balance().wrapping_add(5000);
        assert_eq!(meter.allocated(), 0, "never less than nothing");
    }
}
