//! What clients saw, and what is wrong with it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::linear::{Action, Operation, is_linearizable};

/// How a group is set up, and so what it promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// No quorum: what was acknowledged may be lost.
    Eventual,
    /// No quorum, but a log that is synced before a reply, and a primary that is waited for, whatever
    /// becomes of it: nothing is lost.
    Log,
    /// A quorum in memory: nothing is lost as long as no machine loses its power.
    Memory,
    /// A quorum in logs, each synced before a reply: nothing is lost.
    Synced,
    /// A quorum in logs synced once a second, the primary's own not counted: nothing is lost.
    EverySecond,
}

impl Promise {
    /// Whether acknowledged writes are kept.
    pub fn keeps(self) -> bool {
        self != Self::Eventual
    }
}

/// From when to when a server was the primary, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Reign {
    pub host: usize,
    pub from: u64,
    pub until: u64,
}

/// An operation on a register, and which server answered.
#[derive(Clone, Copy, Debug)]
struct Seen {
    operation: Operation,
    host: usize,
}

/// What was seen, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub acknowledged: u64,
    pub refused: u64,
    pub unknown: u64,
    pub lost: u64,
    pub registers: u64,
    pub register_operations: u64,
    pub tokens_awaited: u64,
    pub pairs_read: u64,
    pub own_writes_read: u64,
    pub places_compared: u64,
}

impl Counts {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.lost += other.lost;
        self.registers += other.registers;
        self.register_operations += other.register_operations;
        self.tokens_awaited += other.tokens_awaited;
        self.pairs_read += other.pairs_read;
        self.own_writes_read += other.own_writes_read;
        self.places_compared += other.places_compared;
    }
}

/// What clients saw.
#[derive(Default)]
pub struct Record {
    registers: RefCell<BTreeMap<String, Vec<Seen>>>,
    /// Keys whose write was acknowledged.
    pub acknowledged: RefCell<Vec<String>>,
    /// Digests by place in the stream.
    digests: RefCell<BTreeMap<(String, u64), (String, usize)>>,
    problems: RefCell<Vec<String>>,
    pub reigns: RefCell<Vec<Reign>>,
    pub counts: Cell<Counts>,
}

impl Record {
    /// Something is wrong.
    pub fn problem(&self, what: String) {
        self.problems.borrow_mut().push(what);
    }

    /// What is wrong.
    pub fn problems(&self) -> Vec<String> {
        self.problems.borrow().clone()
    }

    /// Counts something.
    pub fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }

    /// An operation on a register.
    pub fn register(&self, key: &str, host: usize, operation: Operation) {
        let seen = Seen { operation, host };
        self.registers.borrow_mut().entry(key.to_owned()).or_default().push(seen);
    }

    /// Data at a place in the stream, as a server has it. The same place means the same data.
    pub fn place(&self, host: usize, id: &str, offset: u64, digest: &str) {
        self.count(|counts| counts.places_compared += 1);
        let mut digests = self.digests.borrow_mut();
        let known = digests.entry((id.to_owned(), offset));
        let (before, other) = known.or_insert_with(|| (digest.to_owned(), host));
        if before != digest {
            let what = format!(
                "hosts {other} and {host} are at {id}:{offset} with other data: {before}, {digest}"
            );
            self.problem(what);
        }
    }

    /// A host begins another life as a replica, of nobody that is there perhaps: until the agent has seen
    /// it as the primary again it answers reads as replicas do.
    pub fn end_reign_of(&self, host: usize, at: u64) {
        if let Some(last) = self.reigns.borrow_mut().last_mut().filter(|last| last.host == host) {
            last.until = last.until.min(at);
        }
    }

    fn was_primary(&self, host: usize, at: u64) -> bool {
        let reigns = self.reigns.borrow();
        reigns.iter().any(|one| one.host == host && one.from <= at && at < one.until)
    }

    /// Looks at all registers. Reads count where the server was the primary when it answered: one that
    /// has a successor and doesn't know answers reads as far as its data was acknowledged.
    pub fn check_registers(&self) {
        for (key, seen) in &*self.registers.borrow() {
            let counts = |one: &&Seen| match (one.operation.action, one.operation.ended) {
                (Action::Read(_), Some(ended)) => self.was_primary(one.host, ended),
                (Action::Read(_), None) => false,
                _ => true,
            };
            let operations: Vec<Operation> =
                seen.iter().filter(counts).map(|one| one.operation).collect();
            self.count(|counts| {
                counts.registers += 1;
                counts.register_operations += operations.len() as u64;
            });
            if !is_linearizable(&operations) {
                let mut lines: Vec<String> = seen
                    .iter()
                    .map(|Seen { operation: Operation { action, began, ended }, host }| {
                        let millis = |nanos: u64| nanos as f64 / 1e6;
                        let ended = ended.map_or(f64::INFINITY, millis);
                        format!("{:.3}..{ended:.3} host {host} {action:?}", millis(*began))
                    })
                    .collect();
                lines.sort();
                self.problem(format!("{key} is not linearizable:\n    {}", lines.join("\n    ")));
            }
        }
    }
}
