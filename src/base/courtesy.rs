//! How threads that work for long leave the core to one that has woken on it, as the actor.
//!
//! The scheduler (EEVDF, Linux 6.6 and later) switches between two runnable threads at its tick, up to 4 ms
//! later; and once it owes a thread of idle priority its small share, that keeps the core for a whole tick,
//! too, though the actor is runnable and another core idle. So a long job calls [`give_way`] between its
//! pieces, and what that does is set once for each thread:
//!
//! | thread | `give_way` |
//! |---|---|
//! | set nothing | does nothing |
//! | [`yield_between_pieces`] | `sched_yield(2)`: another thread that is runnable on this core runs next |
//! | [`rest_between_turns`] | sleeps for [`REST`] after [`TURN`] of work, if the core is shared |
//!
//! A thread that sleeps leaves the core at any priority, and when it wakes up the scheduler gives it an idle
//! core if there is one. A core counts as shared for [`SHARED_FOR`] after the count of the thread's
//! involuntary context switches (`getrusage(2)`) has grown; otherwise the thread doesn't rest. The count is
//! looked at once in a turn: the first time that another thread wants the core, it may wait for the tick.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

/// Work between two rests; twice that where an involuntary switch came in the first of two turns.
const TURN: Duration = Duration::from_millis(1);
/// The kernel adds its timer slack, as much again.
const REST: Duration = Duration::from_micros(50);
/// After being switched off the thread takes the core for shared so long.
const SHARED_FOR: Duration = Duration::from_millis(20);

/// What [`give_way`] does on a thread.
#[derive(Clone, Copy)]
enum Courtesy {
    None,
    Yields,
    Rests(Turn),
}

/// A turn of work, and what its end is decided by.
#[derive(Clone, Copy)]
struct Turn {
    began: Instant,
    /// How often the thread had been switched off by then.
    switched: i64,
    /// Until when the core counts as shared.
    shared_until: Instant,
}

thread_local! {
    static COURTESY: Cell<Courtesy> = const { Cell::new(Courtesy::None) };
}

/// From now on the calling thread yields at each [`give_way`].
pub(crate) fn yield_between_pieces() {
    COURTESY.set(Courtesy::Yields);
}

/// From now on the calling thread rests at [`give_way`] where it has worked for a turn on a shared core.
pub(crate) fn rest_between_turns() {
    let now = Instant::now();
    COURTESY.set(Courtesy::Rests(Turn {
        began: now,
        switched: times_switched_off(),
        shared_until: now,
    }));
}

/// To be called between the pieces of a long job. See the module.
#[inline]
pub(crate) fn give_way() {
    match COURTESY.get() {
        Courtesy::None => {}
        Courtesy::Yields => thread::yield_now(),
        Courtesy::Rests(turn) => {
            let now = Instant::now();
            if now.duration_since(turn.began) >= TURN {
                COURTESY.set(Courtesy::Rests(turn.end(now)));
            }
        }
    }
}

impl Turn {
    /// The next turn, after a rest if this one needs one.
    fn end(self, now: Instant) -> Self {
        let (next, rests) = self.next(now, times_switched_off());
        if !rests {
            return next;
        }
        thread::sleep(REST);
        Self { began: Instant::now(), ..next }
    }

    /// The next turn, and whether a rest comes before it.
    fn next(self, now: Instant, switched: i64) -> (Self, bool) {
        if switched != self.switched {
            // The turn was shorter than it seems, and the thread that wanted the core has had it.
            let next = Self { began: now, switched, shared_until: now + SHARED_FOR };
            return (next, false);
        }
        (Self { began: now, ..self }, now < self.shared_until)
    }
}

/// How often the scheduler has taken the core from the calling thread while it could have run on.
fn times_switched_off() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.involuntary_context_switches())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::unistd::Pid;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn rests_come_while_the_core_is_shared_and_after_a_whole_turn_only() {
        let start = Instant::now();
        let turn = Turn { began: start, switched: 7, shared_until: start };
        // Alone.
        let (turn, rests) = turn.next(start + TURN, 7);
        assert!(!rests);
        // Switched off within the turn: another thread has run meanwhile.
        let taken = start + 10 * TURN;
        let (turn, rests) = turn.next(taken, 8);
        assert!(!rests);
        let (turn, rests) = turn.next(taken + TURN, 8);
        assert!(rests && turn.began == taken + TURN);
        let (turn, rests) = turn.next(taken + 2 * TURN, 8);
        assert!(rests);
        // Not switched off for `SHARED_FOR`.
        let (_, rests) = turn.next(taken + SHARED_FOR, 8);
        assert!(!rests);
        // Switched off right after a turn began: two turns of work come before the rest.
        let turn = Turn { began: start, switched: 7, shared_until: start };
        let (turn, rests) = turn.next(start + TURN, 8);
        assert!(!rests);
        let (_, rests) = turn.next(start + 2 * TURN, 8);
        assert!(rests);
    }

    #[test]
    fn the_system_tells_that_a_thread_was_switched_off() {
        let mine = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let core = (0..CpuSet::count()).find(|core| mine.is_set(*core).unwrap()).unwrap();
        let done = AtomicBool::new(false);
        let spin = |until: &dyn Fn() -> bool| {
            let mut one = CpuSet::new();
            one.set(core).unwrap();
            sched_setaffinity(Pid::from_raw(0), &one).unwrap();
            let deadline = Instant::now() + Duration::from_secs(60);
            while !until() && Instant::now() < deadline {
                std::hint::spin_loop();
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| spin(&|| done.load(Ordering::Relaxed)));
            scope.spawn(|| {
                let before = times_switched_off();
                spin(&|| times_switched_off() > before);
                done.store(true, Ordering::Relaxed);
                assert!(times_switched_off() > before);
            });
        });
    }
}
