//! Hosts with whole servers on them, in one thread and in simulated time.
//!
//! Each host is a `LocalSet` of its own: a server's tasks (the store actor, connections, the link to the
//! primary), or the clients'. The world polls one host at a time, those that have something to do in an
//! order that the seed decides, and every poll takes some microseconds of simulated time; where none has
//! anything to do, time goes on to the next event: a segment that arrives, a step of the disk's threads,
//! a timer of tokio's paused clock. A host that is paused is not polled, and its disk's threads stand still.
//! One that crashes is dropped between two polls, or in the middle of one, at an operation of its disk.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use redstart::base::env::{Clock, Disk, Env, Later, Rng, Stopwatch, Threads};
use redstart::base::sim_disk::SimDisk;
use redstart::config::settings::Settings;
use redstart::engine::Engine;
use redstart::engine::keep::load_slices::Ready;
use redstart::mailbox::Mailbox;
use redstart::server;
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::net::Net;
use crate::story;

/// A host's clocks: the world's, and how wrong the one on the wall is.
#[derive(Debug)]
pub struct HostClock {
    now: Arc<AtomicU64>,
    skew_micros: AtomicI64,
}

impl Clock for HostClock {
    fn unix_micros(&self) -> i64 {
        const START_MICROS: i64 = 1_700_000_000_000_000;
        let passed = (self.now.load(Ordering::Relaxed) / 1000) as i64;
        START_MICROS + passed + self.skew_micros.load(Ordering::Relaxed)
    }

    fn monotonic_nanos(&self) -> u64 {
        // A host isn't started in the moment in which the world begins.
        1_000_000_000 + self.now.load(Ordering::Relaxed)
    }
}

type Step = Box<dyn FnOnce() + Send>;

/// Steps of the threads of a host, as they were handed over.
#[derive(Default)]
struct Steps(Mutex<Vec<(String, Step)>>);

impl Later for Steps {
    fn later(&self, name: &str, step: Step) {
        self.0.lock().unwrap().push((name.to_owned(), step));
    }
}

/// Says that a host has something to do.
struct Flag {
    ready: AtomicBool,
    world: Mutex<Option<Waker>>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.store(true, Ordering::Relaxed);
        if let Some(world) = &*self.world.lock().unwrap() {
            world.wake_by_ref();
        }
    }
}

/// A server's files and settings, and how it is.
struct Host {
    tasks: Option<LocalSet>,
    /// Tasks that are to begin with the next poll.
    born: Vec<Pin<Box<dyn Future<Output = ()>>>>,
    flag: Arc<Flag>,
    disk: SimDisk,
    clock: Arc<HostClock>,
    steps: Arc<Steps>,
    paused: bool,
    /// Whether its disk has ever been full.
    was_full: bool,
    /// Nanoseconds more that each step of its threads takes.
    slow_disk: u64,
    /// Starts so far: each has randomness of its own.
    lives: u64,
    /// What it returned, if it has ended by itself.
    exit: Rc<Cell<Option<i32>>>,
}

impl Host {
    /// Whether there is anything to poll.
    fn lives(&self) -> bool {
        self.tasks.is_some() || !self.born.is_empty()
    }
}

/// How a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Its process is killed: what it has written to files is there.
    Kill,
    /// The machine loses its power: what wasn't synced is lost, or some of it.
    Power,
    /// The same, at one of the disk's next operations.
    PowerInOperation,
}

struct State {
    rng: Rng,
    hosts: Vec<Host>,
    /// Steps of hosts' threads, by the time at which they are taken.
    due: BTreeMap<(u64, u64), (usize, u64, Step)>,
    next_step: u64,
    /// When the last step of a host's thread is due: they don't overtake each other.
    last_due: BTreeMap<(usize, String), u64>,
    deaths: [u64; 2],
    exits: Vec<(usize, i32, bool)>,
    polls: u64,
}

/// The world. Clones are the same.
#[derive(Clone)]
pub struct World {
    pub net: Net,
    now: Arc<AtomicU64>,
    settings: Rc<dyn Fn(usize) -> Settings>,
    state: Rc<RefCell<State>>,
}

/// What a poll of a host takes at most, in nanoseconds.
const POLL_NANOS: u64 = 30_000;

impl World {
    /// Hosts that are all there and run nothing. `settings` makes a server's by its host.
    pub fn new(hosts: usize, seed: u64, settings: impl Fn(usize) -> Settings + 'static) -> Self {
        let now = Arc::new(AtomicU64::new(0));
        let host = || Host {
            tasks: None,
            born: Vec::new(),
            flag: Arc::new(Flag { ready: AtomicBool::new(false), world: Mutex::new(None) }),
            disk: SimDisk::default(),
            clock: Arc::new(HostClock { now: Arc::clone(&now), skew_micros: AtomicI64::new(0) }),
            steps: Arc::default(),
            paused: false,
            was_full: false,
            slow_disk: 0,
            lives: 0,
            exit: Rc::default(),
        };
        let state = State {
            rng: Rng::from_seed(seed ^ 0x77),
            hosts: (0..hosts).map(|_| host()).collect(),
            due: BTreeMap::new(),
            next_step: 0,
            last_due: BTreeMap::new(),
            deaths: [0; 2],
            exits: Vec::new(),
            polls: 0,
        };
        Self {
            net: Net::new(hosts, seed),
            now: Arc::clone(&now),
            settings: Rc::new(settings),
            state: Rc::new(RefCell::new(state)),
        }
    }

    /// Simulated nanoseconds since the beginning.
    pub fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Simulated milliseconds since the beginning.
    pub fn now_ms(&self) -> u64 {
        self.now() / 1_000_000
    }

    /// Servers killed, and machines that lost their power.
    pub fn deaths(&self) -> [u64; 2] {
        self.state.borrow().deaths
    }

    /// How often a host was polled.
    pub fn polls(&self) -> u64 {
        self.state.borrow().polls
    }

    /// Whether a server runs on a host.
    pub fn is_up(&self, host: usize) -> bool {
        let state = self.state.borrow();
        state.hosts[host].tasks.is_some()
    }

    /// Servers that have ended by themselves: host, what they returned, whether their disk has been full.
    pub fn exits(&self) -> Vec<(usize, i32, bool)> {
        self.state.borrow().exits.clone()
    }

    /// Runs a task on a host beside what is there.
    pub fn spawn(&self, host: usize, task: impl Future<Output = ()> + 'static) {
        let mut state = self.state.borrow_mut();
        let host = &mut state.hosts[host];
        host.born.push(Box::pin(task));
        host.flag.wake_by_ref();
    }

    /// Starts the server of a host, with what its disk has.
    pub fn start(&self, number: usize, change: impl FnOnce(&mut Settings)) {
        let mut settings = (self.settings)(number);
        settings.dir = PathBuf::new();
        change(&mut settings);
        let mut state = self.state.borrow_mut();
        let seed = state.rng.next_u64();
        let host = &mut state.hosts[number];
        host.lives += 1;
        host.exit = Rc::default();
        host.steps = Arc::default();
        story!(self, number, "starts, life {}", host.lives);
        let disk: Arc<dyn Disk> = Arc::new(host.disk.clone());
        let env = Env {
            clock: Arc::clone(&host.clock) as Arc<_>,
            stopwatch: Stopwatch::still(),
            disk,
            threads: Threads::Simulated(Arc::clone(&host.steps) as Arc<_>),
            seed,
        };
        self.net.listen(number, &host.disk);
        let (network, exit) = (Rc::new(self.net.at(number)), Rc::clone(&host.exit));
        let tasks = LocalSet::new();
        tasks.spawn_local(async move {
            let mut engine = Engine::new(env, settings, None, Rc::new(Mailbox::new()));
            let code = match engine.begin_load(Ready(Box::new(|_| ()))) {
                Ok(()) => Box::pin(server::serve_on(engine, network)).await.0,
                Err(_) => 1,
            };
            exit.set(Some(code));
        });
        host.tasks = Some(tasks);
        host.paused = false;
        host.flag.wake_by_ref();
    }

    /// Ends the server of a host.
    pub fn end(&self, number: usize, death: Death) {
        let mut state = self.state.borrow_mut();
        if state.hosts[number].tasks.is_none() {
            return;
        }
        story!(self, number, "ends: {death:?}");
        if death == Death::PowerInOperation && !state.hosts[number].paused {
            let at = state.hosts[number].disk.operations() + state.rng.below(12);
            state.hosts[number].disk.crash_at(at);
            return;
        }
        let power = death != Death::Kill;
        state.deaths[usize::from(power)] += 1;
        drop(state);
        self.bury(number, power);
    }

    fn bury(&self, number: usize, power: bool) {
        self.net.die(number, power);
        let mut state = self.state.borrow_mut();
        let tasks = state.hosts[number].tasks.take();
        state.hosts[number].paused = false;
        let mut rng = Rng::from_seed(state.rng.next_u64());
        state.due.retain(|_, (host, ..)| *host != number);
        state.last_due.retain(|(host, _), _| *host != number);
        let disk = &state.hosts[number].disk;
        let left = if power { disk.crash(&mut rng) } else { disk.kill() };
        state.hosts[number].disk = left;
        state.hosts[number].steps = Arc::default();
        drop(state);
        // Sockets say that they are closed meanwhile.
        drop(tasks);
    }

    /// A host stands still (SIGSTOP), or goes on.
    pub fn pause(&self, number: usize, paused: bool) {
        let mut state = self.state.borrow_mut();
        story!(self, number, "{}", if paused { "stands still" } else { "goes on" });
        state.hosts[number].paused = paused;
        state.hosts[number].flag.wake_by_ref();
    }

    /// The clock on a host's wall is so wrong from now on.
    pub fn skew(&self, number: usize, micros: i64) {
        self.state.borrow().hosts[number].clock.skew_micros.store(micros, Ordering::Relaxed);
    }

    /// A host's disk takes nothing any more, or does again.
    pub fn fill_disk(&self, number: usize, full: bool) {
        let host = &mut self.state.borrow_mut().hosts[number];
        host.disk.set_full(full);
        host.was_full |= full;
    }

    /// Each step of a host's disk takes so much longer, in nanoseconds.
    pub fn slow_disk(&self, number: usize, nanos: u64) {
        self.state.borrow_mut().hosts[number].slow_disk = nanos;
    }

    /// Takes over what the threads of a host are to do.
    fn collect_steps(&self, number: usize) {
        let mut state = self.state.borrow_mut();
        let steps = std::mem::take(&mut *state.hosts[number].steps.0.lock().unwrap());
        for (name, step) in steps {
            let usual = 20_000 + state.rng.below(300_000);
            let odd = if state.rng.below(50) == 0 { state.rng.below(40_000_000) } else { 0 };
            let at = self.now() + usual + odd + state.hosts[number].slow_disk;
            let last = state.last_due.entry((number, name)).or_default();
            *last = at.max(*last + 1);
            let (at, life) = (*last, state.hosts[number].lives);
            let order = state.next_step;
            state.next_step += 1;
            state.due.insert((at, order), (number, life, step));
        }
    }

    /// Takes the steps that are due.
    fn take_steps(&self) {
        loop {
            let mut state = self.state.borrow_mut();
            let Some(entry) = state.due.first_entry() else { return };
            if entry.key().0 > self.now() {
                return;
            }
            let ((_, order), (number, life, step)) = entry.remove_entry();
            let host = &state.hosts[number];
            if host.lives != life {
                continue;
            }
            if host.paused {
                let at = self.now() + 1_000_000;
                state.due.insert((at, order), (number, life, step));
                continue;
            }
            drop(state);
            story::on(number, self.now());
            step();
            self.collect_steps(number);
            self.look_for_crash(number);
        }
    }

    fn look_for_crash(&self, number: usize) {
        let crashed = {
            let state = self.state.borrow();
            state.hosts[number].disk.has_crashed() && state.hosts[number].tasks.is_some()
        };
        if crashed {
            story!(self, number, "has lost its power");
            self.state.borrow_mut().deaths[1] += 1;
            self.bury(number, true);
            return;
        }
        let exit = self.state.borrow().hosts[number].exit.get();
        if let Some(code) = exit {
            story!(self, number, "has ended: {code}");
            let mut state = self.state.borrow_mut();
            state.hosts[number].exit = Rc::default();
            let full = state.hosts[number].was_full;
            state.exits.push((number, code, full));
            drop(state);
            self.bury(number, false);
        }
    }

    /// Polls a host that has something to do. False where none has.
    fn poll_one(&self) -> Option<u64> {
        let (number, mut tasks, flag, takes) = {
            let mut state = self.state.borrow_mut();
            let is_ready = |host: &Host| {
                host.lives() && !host.paused && host.flag.ready.load(Ordering::Relaxed)
            };
            let ready: Vec<usize> =
                (0..state.hosts.len()).filter(|host| is_ready(&state.hosts[*host])).collect();
            if ready.is_empty() {
                return None;
            }
            let number = ready[state.rng.below(ready.len() as u64) as usize];
            let takes = 1_000 + state.rng.below(POLL_NANOS);
            state.polls += 1;
            let host = &mut state.hosts[number];
            host.flag.ready.store(false, Ordering::Relaxed);
            let tasks = host.tasks.take().unwrap_or_default();
            for task in host.born.drain(..) {
                tasks.spawn_local(task);
            }
            (number, tasks, Arc::clone(&host.flag), takes)
        };
        story::on(number, self.now());
        self.net.note(&[self.now(), number as u64]);
        let waker = Waker::from(flag);
        // What it returns where it has no task any more is of no interest.
        let _ = Pin::new(&mut tasks).poll(&mut Context::from_waker(&waker));
        self.state.borrow_mut().hosts[number].tasks = Some(tasks);
        self.collect_steps(number);
        self.look_for_crash(number);
        Some(takes)
    }

    /// Lets the world go on until a task ends. Hosts' tasks are dropped at the end.
    pub async fn run(&self, done: Rc<Cell<bool>>) {
        let began = Instant::now();
        let elapsed = || began.elapsed().as_nanos() as u64;
        while !done.get() {
            self.now.store(elapsed(), Ordering::Relaxed);
            self.net.advance(self.now());
            self.take_steps();
            if let Some(takes) = self.poll_one() {
                tokio::time::advance(Duration::from_nanos(takes)).await;
                continue;
            }
            let step = self.state.borrow().due.first_key_value().map(|((at, _), _)| *at);
            let next = [self.net.next_at(), step].into_iter().flatten().min();
            self.idle(next, began).await;
        }
        let hosts = self.state.borrow().hosts.len();
        for host in 0..hosts {
            let tasks = self.state.borrow_mut().hosts[host].tasks.take();
            drop(tasks);
        }
    }

    /// Lets time go on to `until`, or until a host has something to do. Tokio's timers know whole
    /// milliseconds only, so the last one is stepped over at once.
    async fn idle(&self, until: Option<u64>, began: Instant) {
        const MILLI: u64 = 1_000_000;
        let left = until.map(|at| at.saturating_sub(self.now()));
        if let Some(left) = left.filter(|left| *left < MILLI) {
            tokio::time::advance(Duration::from_nanos(left.max(1))).await;
            return;
        }
        let at = until.map_or(u64::MAX / 4, |at| at - MILLI);
        let mut sleep = pin!(tokio::time::sleep_until(began + Duration::from_nanos(at)));
        poll_fn(|cx| {
            let state = self.state.borrow();
            for host in &state.hosts {
                *host.flag.world.lock().unwrap() = Some(cx.waker().clone());
                let ready = host.flag.ready.load(Ordering::Relaxed);
                if ready && host.lives() && !host.paused {
                    return Poll::Ready(());
                }
            }
            sleep.as_mut().poll(cx)
        })
        .await;
    }
}
