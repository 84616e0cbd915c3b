//! What goes wrong: faults of one kind after the other, each for a while, often several at a time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use redstart::base::env::Rng;
use tokio::time::sleep;

use crate::actors::Scene;
use crate::agent::NOWHERE;
use crate::client::Client;
use crate::net::{PORT, Socket, address};
use crate::record::Promise;
use crate::world::Death;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A server and all others, clients too.
    Isolate,
    /// A server and the other servers.
    Split,
    /// Two hosts, in one direction.
    OneWay,
    /// A server and the agent, who takes it for dead.
    HideFromAgent,
    /// What goes to or from a server takes long.
    Delay,
    /// Connections are reset.
    Cut,
    /// A server stands still.
    Pause,
    /// The clock on a server's wall is wrong.
    Skew,
    /// A server is killed and started again.
    Kill,
    /// A server's machine loses its power.
    Power,
    /// The same, in the middle of an operation of the disk.
    PowerInOperation,
    /// All machines lose their power at once.
    Blackout,
    /// A disk is full.
    FullDisk,
    /// A disk takes its time.
    SlowDisk,
    /// A snapshot or a rewrite is asked for.
    Walk,
}

use Kind::{
    Blackout, Cut, Delay, FullDisk, HideFromAgent, Isolate, Kill, OneWay, Pause, Power,
    PowerInOperation, Skew, SlowDisk, Split, Walk,
};

const ALL: &[Kind] = &[
    Isolate,
    Split,
    OneWay,
    HideFromAgent,
    Delay,
    Cut,
    Cut,
    Pause,
    Skew,
    Kill,
    Power,
    PowerInOperation,
    Blackout,
    FullDisk,
    SlowDisk,
    Walk,
    Walk,
];

/// Faults by kind.
pub type Faults = BTreeMap<Kind, u64>;

#[derive(Clone)]
pub struct Nemesis {
    pub scene: Scene,
    pub socket: Socket,
    pub rng: Rng,
    pub promise: Promise,
    /// All hosts: servers, then clients and the agent, who is the last.
    pub hosts: usize,
    pub faults: Rc<RefCell<Faults>>,
    /// Which kinds it knows.
    pub only: Option<Kind>,
}

impl Nemesis {
    fn is_possible(&self, kind: Kind) -> bool {
        match kind {
            // A quorum in memory stands for what processes have written, not for what disks refuse.
            Power | PowerInOperation | Blackout | FullDisk => self.promise != Promise::Memory,
            _ => true,
        }
    }

    /// One fault after the other, until clients stop.
    pub async fn rage(mut self) {
        loop {
            sleep(Duration::from_millis(50 + self.rng.below(500))).await;
            if self.scene.over.get() {
                return;
            }
            let kind = match self.only {
                Some(kind) => kind,
                None => ALL[self.rng.below(ALL.len() as u64) as usize],
            };
            if self.is_possible(kind) && self.strike(kind).await {
                *self.faults.borrow_mut().entry(kind).or_default() += 1;
            }
        }
    }

    /// The primary, as often as not.
    fn victim(&mut self) -> usize {
        if self.rng.below(2) == 0 {
            self.scene.known.get()
        } else {
            self.rng.below(self.scene.servers as u64) as usize
        }
    }

    fn block_all(&self, victim: usize, others: impl Iterator<Item = usize>, blocked: bool) {
        for other in others.filter(|other| *other != victim) {
            self.scene.world.net.block(victim, other, blocked);
            self.scene.world.net.block(other, victim, blocked);
        }
    }

    async fn for_a_while(&mut self, millis: u64) {
        let millis = 20 + self.rng.below(millis);
        sleep(Duration::from_millis(millis)).await;
    }

    /// False where it could not be done now.
    async fn strike(&mut self, kind: Kind) -> bool {
        let (victim, world) = (self.victim(), self.scene.world.clone());
        story!(world, victim, "--- {kind:?}");
        match kind {
            Isolate | Split | OneWay | HideFromAgent | Delay => self.partition(kind, victim).await,
            Cut => {
                for _ in 0..=self.rng.below(8) {
                    world.net.cut_one(victim);
                    self.for_a_while(100).await;
                }
            }
            Pause => {
                if !world.is_up(victim) {
                    return false;
                }
                world.pause(victim, true);
                self.for_a_while(2500).await;
                if world.is_up(victim) {
                    world.pause(victim, false);
                }
            }
            Skew => {
                let micros = self.rng.below(40_000_000) as i64 - 20_000_000;
                world.skew(victim, micros);
            }
            Kill => return self.crash(victim, Death::Kill).await,
            Power => return self.crash(victim, Death::Power).await,
            PowerInOperation => return self.crash(victim, Death::PowerInOperation).await,
            Blackout => self.black_out().await,
            FullDisk => self.fill_disk(victim).await,
            SlowDisk => {
                world.slow_disk(victim, 1_000_000 + self.rng.below(400_000_000));
                self.for_a_while(1500).await;
                world.slow_disk(victim, 0);
            }
            Walk => {
                let walk = ["BGSAVE", "BGREWRITEAOF"][self.rng.below(2) as usize];
                let patience = Duration::from_millis(300);
                let Ok(mut client) = Client::connect(&self.socket, victim, patience).await else {
                    return false;
                };
                return client.call(walk).await.is_ok();
            }
        }
        true
    }

    /// What the network does for a while.
    async fn partition(&mut self, kind: Kind, victim: usize) {
        let (net, hosts) = (self.scene.world.net.clone(), self.hosts);
        let others = match kind {
            Isolate => 0..hosts,
            Split => 0..self.scene.servers,
            HideFromAgent => hosts - 1..hosts,
            OneWay => {
                let other = self.rng.below(hosts as u64) as usize;
                let comes = self.rng.below(2) == 0;
                let (from, to) = if comes { (other, victim) } else { (victim, other) };
                net.block(from, to, true);
                self.for_a_while(2500).await;
                net.block(from, to, false);
                return;
            }
            _ => {
                let nanos = 5_000_000 + self.rng.below(200_000_000);
                for (to, back) in [(nanos, nanos / 2), (0, 0)] {
                    for other in 0..hosts {
                        net.slow(victim, other, to);
                        net.slow(other, victim, back);
                    }
                    if to != 0 {
                        self.for_a_while(1500).await;
                    }
                }
                return;
            }
        };
        self.block_all(victim, others.clone(), true);
        self.for_a_while(3000).await;
        self.block_all(victim, others, false);
    }

    async fn black_out(&mut self) {
        let world = self.scene.world.clone();
        for host in 0..self.scene.servers {
            world.end(host, Death::Power);
        }
        self.for_a_while(500).await;
        self.start_all();
        self.for_a_while(2000).await;
    }

    async fn fill_disk(&mut self, victim: usize) {
        let world = self.scene.world.clone();
        world.fill_disk(victim, true);
        self.for_a_while(800).await;
        world.fill_disk(victim, false);
        if !world.is_up(victim) {
            // Under `always` it ends, as Redis does.
            self.for_a_while(500).await;
            self.start_all();
        }
    }

    /// Starts all that have ended.
    fn start_all(&mut self) {
        for host in 0..self.scene.servers {
            if !self.scene.world.is_up(host) {
                self.start(host);
            }
        }
    }

    /// Ends a server, and starts it again a while later.
    async fn crash(&mut self, victim: usize, death: Death) -> bool {
        let world = self.scene.world.clone();
        let down = (0..self.scene.servers).filter(|host| !world.is_up(*host)).count();
        if !world.is_up(victim) || down >= (self.scene.servers - 1) / 2 {
            return false;
        }
        world.end(victim, death);
        if death == Death::PowerInOperation {
            self.for_a_while(60).await;
            if world.is_up(victim) {
                world.end(victim, Death::Power);
            }
        }
        self.for_a_while(1500).await;
        if !world.is_up(victim) {
            self.start(victim);
        }
        // The agent is to see it before it goes once more.
        self.for_a_while(1000).await;
        true
    }

    /// Starts a server as its supervisor does.
    pub fn start(&mut self, host: usize) {
        let known = self.scene.known.get();
        let as_it_was = match self.promise {
            Promise::Eventual | Promise::Log => true,
            Promise::Synced => self.rng.below(2) == 0,
            // What it lacks others may have: the agent decides.
            Promise::Memory | Promise::EverySecond => false,
        };
        let follows = match as_it_was {
            true if host == known => None,
            true => Some((address(known).to_string(), PORT)),
            false => Some((NOWHERE.to_owned(), PORT)),
        };
        if follows.is_some() {
            self.scene.record.end_reign_of(host, self.scene.world.now());
        }
        self.scene.world.start(host, |settings| settings.replicaof = follows);
    }

    /// Ends all faults.
    pub fn heal(&mut self) {
        let world = self.scene.world.clone();
        story!(world, 0, "--- all faults end");
        world.net.heal();
        for host in 0..self.scene.servers {
            world.skew(host, 0);
            world.slow_disk(host, 0);
            world.fill_disk(host, false);
            if world.is_up(host) {
                world.pause(host, false);
            } else {
                self.start(host);
            }
        }
    }
}
