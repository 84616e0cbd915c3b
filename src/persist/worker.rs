//! A thread for work that takes as long as the disk likes, so that the actor never waits for it.
//!
//! Jobs are closures, done in the order they were given; each result is kept until
//! [`Worker::poll`] fetches it, after the waker was called. Without threads a job is done on the
//! spot, which makes a run's order its seed's alone; or a simulation does it at a time of its choice.
//!
//! A thread whose work can wait takes only what processor time is left over. Where nothing is left,
//! a second thread with a usual share helps it until the queue is empty. Both yield after each job, and
//! rest within a long one ([`courtesy`]).

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use crate::base::env::{Later, Threads};
use crate::base::{courtesy, process};

/// How long work that can wait does wait before it gets help.
const PATIENCE: Duration = Duration::from_millis(500);

/// Called from another thread when there is something to poll. It must not block.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// How a worker's thread competes with the actor where both have one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Clients may be waiting for it: the scheduler's usual share.
    Waited,
    /// No client waits for it: idle priority ([`process::take_time_left_over`]), and rests within a long job
    /// ([`courtesy::rest_between_turns`]).
    CanWait,
}

impl Urgency {
    /// To the calling thread.
    fn apply(self) {
        if self == Self::CanWait {
            process::take_time_left_over();
            courtesy::rest_between_turns();
        }
    }
}

type Job<T> = Box<dyn FnOnce() -> T + Send>;

/// What the threads of one worker share. It goes with the last of them, and so a result that no
/// thread will give isn't waited for.
struct Desk<T> {
    /// Held from taking a job until its result is handed in: that keeps them in order.
    inbox: Mutex<Receiver<Job<T>>>,
    outbox: Sender<T>,
    /// A second thread is there.
    helped: AtomicBool,
    wake: Waker,
}

impl<T> Desk<T> {
    /// Does the next job; false where there is none, or will be none if it `waits` for one. A job
    /// that panicked is the last, whichever thread had it.
    fn work(&self, waits: bool) -> bool {
        let Ok(inbox) = self.inbox.lock() else { return false };
        let job = if waits { inbox.recv().ok() } else { inbox.try_recv().ok() };
        let Some(job) = job else { return false };
        let received = self.outbox.send(job()).is_ok();
        drop(inbox);
        (self.wake)();
        received
    }
}

/// The actor's end of a worker's threads.
struct Hands<T> {
    jobs: Sender<Job<T>>,
    results: Receiver<T>,
    doer: Doer<T>,
}

/// Who takes jobs from the desk.
enum Doer<T> {
    Threads(Weak<Desk<T>>),
    Simulation(Arc<Desk<T>>, Arc<dyn Later>),
}

/// Does jobs of one kind of result.
pub(crate) struct Worker<T> {
    name: String,
    urgency: Urgency,
    hands: Option<Hands<T>>,
    done: VecDeque<T>,
    /// When the jobs whose results are to come were given.
    running: VecDeque<Instant>,
}

impl<T> fmt::Debug for Worker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("running", &self.running.len()).finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Worker<T> {
    /// A worker with a thread of this name where there are threads and one can be had.
    pub(crate) fn new(name: &str, urgency: Urgency, threads: &Threads, wake: Waker) -> Self {
        let (name, done, running) = (name.to_owned(), VecDeque::new(), VecDeque::new());
        let mut worker = Self { name, urgency, hands: None, done, running };
        if matches!(threads, Threads::None) {
            return worker;
        }
        let (jobs, inbox) = channel::<Job<T>>();
        let (outbox, results) = channel();
        let (inbox, helped) = (Mutex::new(inbox), AtomicBool::new(false));
        let desk = Arc::new(Desk { inbox, outbox, helped, wake });
        if let Threads::Simulated(later) = threads {
            let doer = Doer::Simulation(desk, Arc::clone(later));
            worker.hands = Some(Hands { jobs, results, doer });
            return worker;
        }
        let hands = Hands { jobs, results, doer: Doer::Threads(Arc::downgrade(&desk)) };
        let spawned = std::thread::Builder::new().name(worker.name.clone()).spawn(move || {
            urgency.apply();
            while desk.work(true) {
                if urgency == Urgency::CanWait {
                    // The helper may be waiting for the inbox, too.
                    std::thread::yield_now();
                }
            }
        });
        if spawned.is_ok() {
            worker.hands = Some(hands);
        }
        worker
    }

    /// Has a job done: on the thread, or here and now.
    pub(crate) fn run(&mut self, job: impl FnOnce() -> T + Send + 'static) {
        let mut job: Job<T> = Box::new(job);
        if let Some(hands) = &self.hands {
            match hands.jobs.send(job) {
                Ok(()) => {
                    self.running.push_back(Instant::now());
                    if let Doer::Simulation(desk, later) = &hands.doer {
                        let desk = Arc::clone(desk);
                        let step = move || {
                            desk.work(false);
                        };
                        later.later(&self.name, Box::new(step));
                    }
                    return;
                }
                Err(refused) => job = refused.0,
            }
        }
        self.done.push_back(job());
    }

    /// The next result, where there is one.
    pub(crate) fn poll(&mut self) -> Option<T> {
        if let Some(done) = self.done.pop_front() {
            return Some(done);
        }
        let given = self.running.front()?;
        let Ok(done) = self.hands.as_ref()?.results.try_recv() else {
            if given.elapsed() > PATIENCE {
                self.hurry();
            }
            return None;
        };
        self.running.pop_front();
        Some(done)
    }

    /// The next result, waiting for it; nothing where no job is left.
    pub(crate) fn wait(&mut self) -> Option<T> {
        if let Some(done) = self.done.pop_front() {
            return Some(done);
        }
        self.running.front()?;
        self.hurry();
        self.running.pop_front();
        let hands = self.hands.as_ref()?;
        if let Doer::Simulation(desk, _) = &hands.doer {
            // It is this thread that would do it.
            return hands.results.try_recv().ok().or_else(|| {
                desk.work(false);
                hands.results.try_recv().ok()
            });
        }
        hands.results.recv().ok()
    }

    /// The desk, where threads of the system's work at it.
    fn desk(&self) -> Option<Arc<Desk<T>>> {
        match &self.hands.as_ref()?.doer {
            Doer::Threads(desk) => desk.upgrade(),
            Doer::Simulation(..) => None,
        }
    }

    /// What was given can't wait any longer: a thread with a usual share helps until it is done.
    pub(crate) fn hurry(&self) {
        let Some(desk) = self.desk().filter(|_| self.urgency == Urgency::CanWait) else { return };
        if desk.helped.swap(true, Ordering::AcqRel) {
            return;
        }
        let helper = Arc::clone(&desk);
        let spawned = std::thread::Builder::new().name(self.name.clone()).spawn(move || {
            courtesy::rest_between_turns();
            while helper.work(false) {
                std::thread::yield_now();
            }
            helper.helped.store(false, Ordering::Release);
        });
        if spawned.is_err() {
            desk.helped.store(false, Ordering::Release);
        }
    }

    /// Whether jobs are not done yet.
    pub(crate) fn busy(&self) -> bool {
        !self.running.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn results_come_in_order_with_and_without_a_thread() {
        for (threaded, threads) in [(false, Threads::None), (true, Threads::Real)] {
            let woken = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&woken);
            let wake: Waker = Arc::new(move || {
                count.fetch_add(1, Ordering::SeqCst);
            });
            let mut worker = Worker::new("test", Urgency::CanWait, &threads, wake);
            for number in 0..10 {
                worker.run(move || number);
            }
            let results: Vec<_> = std::iter::from_fn(|| worker.wait()).collect();
            assert_eq!(results, (0..10).collect::<Vec<_>>());
            assert!(!worker.busy() && worker.poll().is_none());
            drop(worker);
            assert!(threaded || woken.load(Ordering::SeqCst) == 0);
        }
    }

    #[test]
    fn help_keeps_the_order_and_ends() {
        let mut worker = Worker::new("test", Urgency::CanWait, &Threads::Real, Arc::new(|| ()));
        for round in 0..50 {
            let (open, gate) = channel::<()>();
            worker.run(move || {
                gate.recv().unwrap();
                0
            });
            for number in 1..100 {
                worker.run(move || {
                    // Uneven, so that a job could overtake the one before.
                    for _ in 0..number % 4 * 20 {
                        std::thread::yield_now();
                    }
                    number
                });
            }
            worker.hurry();
            open.send(()).unwrap();
            let results: Vec<_> = std::iter::from_fn(|| worker.wait()).collect();
            assert_eq!(results, (0..100).collect::<Vec<_>>(), "round {round}");
        }
        // The helper may wait for the lock that its colleague holds while there's nothing to do.
        let helped = |worker: &Worker<_>| {
            let desk = worker.desk();
            desk.is_some_and(|desk| desk.helped.load(Ordering::Acquire))
        };
        while helped(&worker) {
            worker.run(|| 0);
            assert_eq!(worker.wait(), Some(0));
        }
    }

    #[test]
    fn a_job_that_panics_is_not_waited_for() {
        // Often enough that either thread has it.
        for _ in 0..50 {
            let mut worker = Worker::new("test", Urgency::CanWait, &Threads::Real, Arc::new(|| ()));
            worker.run(|| -> u8 { panic!("meant, a test's") });
            assert_eq!(worker.wait(), None);
        }
    }
}
