//! A thread for work that takes as long as the disk likes, so that the actor never waits for it.
//!
//! Jobs are closures, done in the order they were given; each result is kept until
//! [`Worker::poll`] fetches it, after the waker was called. Without threads a job is done on the
//! spot, which makes a simulated run's order its seed's alone.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Called from another thread when there is something to poll. It must not block.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// How a worker's thread competes with the actor where both have one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Clients may be waiting for it: the scheduler's usual share.
    Waited,
    /// Nobody waits: the least share, and the core is offered to others between any two jobs. At the
    /// usual share a client's command waits for the thread's time slice, some milliseconds.
    CanWait,
}

impl Urgency {
    /// To the calling thread.
    fn apply(self) {
        /// The scheduler's lowest share, see sched(7).
        const LEAST: i32 = 19;
        if self == Self::CanWait {
            // On Linux `None` is the calling thread alone. Where it isn't allowed, the thread has
            // the usual share: slower for clients, and right.
            let _ = rustix::process::setpriority_process(None, LEAST);
        }
    }
}

type Job<T> = Box<dyn FnOnce() -> T + Send>;

/// Does jobs of one kind of result.
pub struct Worker<T> {
    thread: Option<(Sender<Job<T>>, Receiver<T>)>,
    done: VecDeque<T>,
    running: usize,
}

impl<T> fmt::Debug for Worker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("running", &self.running).finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Worker<T> {
    /// A worker with a thread of this name if `threaded`, where one can be had; else without.
    pub fn new(name: &str, urgency: Urgency, threaded: bool, wake: Waker) -> Self {
        let mut worker = Self { thread: None, done: VecDeque::new(), running: 0 };
        if !threaded {
            return worker;
        }
        let (jobs, inbox) = channel::<Job<T>>();
        let (outbox, results) = channel();
        let spawned = std::thread::Builder::new().name(name.into()).spawn(move || {
            urgency.apply();
            for job in inbox {
                if outbox.send(job()).is_err() {
                    break;
                }
                wake();
                if urgency == Urgency::CanWait {
                    std::thread::yield_now();
                }
            }
        });
        if spawned.is_ok() {
            worker.thread = Some((jobs, results));
        }
        worker
    }

    /// Has a job done: on the thread, or here and now.
    pub fn run(&mut self, job: impl FnOnce() -> T + Send + 'static) {
        let mut job: Job<T> = Box::new(job);
        if let Some((jobs, _)) = &self.thread {
            match jobs.send(job) {
                Ok(()) => {
                    self.running += 1;
                    return;
                }
                Err(refused) => job = refused.0,
            }
        }
        self.done.push_back(job());
    }

    /// The next result, where there is one.
    pub fn poll(&mut self) -> Option<T> {
        if let Some(done) = self.done.pop_front() {
            return Some(done);
        }
        if self.running == 0 {
            return None;
        }
        let done = self.thread.as_ref()?.1.try_recv().ok()?;
        self.running -= 1;
        Some(done)
    }

    /// The next result, waiting for it; nothing where no job is left.
    pub fn wait(&mut self) -> Option<T> {
        if let Some(done) = self.done.pop_front() {
            return Some(done);
        }
        if self.running == 0 {
            return None;
        }
        self.running -= 1;
        self.thread.as_ref()?.1.recv().ok()
    }

    /// Whether jobs are not done yet.
    pub fn busy(&self) -> bool {
        self.running > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn results_come_in_order_with_and_without_a_thread() {
        for threaded in [false, true] {
            let woken = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&woken);
            let wake: Waker = Arc::new(move || {
                count.fetch_add(1, Ordering::SeqCst);
            });
            let mut worker = Worker::new("test", Urgency::CanWait, threaded, wake);
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
}
