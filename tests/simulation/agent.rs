//! The failover agent: one that never fails, and that talks to servers by commands alone, as Sentinel does.
//!
//! It differs from Sentinel in what a quorum needs to be safe: before it looks who is furthest, it fences
//! a majority (has them follow an address that no server has), so that none of these acknowledges
//! anything to the old primary any more; and it compares offsets only within the history of the last
//! primary.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use redstart::base::env::Rng;
use tokio::time::sleep;

use crate::actors::Scene;
use crate::client::{Client, Lost, text};
use crate::net::{PORT, Socket, address};
use crate::record::{Promise, Reign};

/// An address that nobody has.
pub const NOWHERE: &str = "10.0.0.200";
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_millis(250);
/// After so long without an answer a primary is down, in milliseconds.
const DOWN_MS: u64 = 900;

/// What a server says of itself.
#[derive(Clone, Debug, Default)]
pub struct Info {
    pub is_primary: bool,
    pub follows: String,
    pub link_up: bool,
    pub id: String,
    pub previous_id: String,
    pub offset: u64,
    pub handing_over: bool,
}

impl Info {
    pub fn parse(info: &str) -> Self {
        let field = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().to_owned()
        };
        Self {
            is_primary: field("role:") == "master",
            follows: field("master_host:"),
            link_up: field("master_link_status:") == "up",
            id: field("master_replid:"),
            previous_id: field("master_replid2:"),
            offset: field("master_repl_offset:").parse().unwrap_or_default(),
            handing_over: field("master_failover_state:") != "no-failover",
        }
    }

    /// Whether its data is of a history, or goes on from it.
    fn is_of(&self, history: &str) -> bool {
        self.id == history || self.previous_id == history
    }
}

/// What it has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub failovers: u64,
    pub handovers: u64,
    pub forced: u64,
}

pub struct Agent {
    scene: Scene,
    socket: Socket,
    rng: Rng,
    promise: Promise,
    current: usize,
    /// The history of the current primary.
    history: String,
    links: Vec<Option<Client>>,
    /// Since when the primary doesn't answer as one.
    missed_since_ms: Option<u64>,
    /// Since when there has been no majority that could elect.
    stuck_since_ms: Option<u64>,
    pub figures: Rc<Cell<Figures>>,
    /// Whether it uses FAILOVER now and then.
    pub hands_over: bool,
    /// Whether everything is as it should be.
    pub settled: Rc<Cell<bool>>,
}

impl Agent {
    /// One that takes the first host for the primary.
    pub fn new(promise: Promise, scene: Scene, socket: Socket, rng: Rng) -> Self {
        Self {
            socket,
            rng,
            promise,
            current: 0,
            history: String::new(),
            links: (0..scene.servers).map(|_| None).collect(),
            missed_since_ms: None,
            stuck_since_ms: None,
            figures: Rc::default(),
            hands_over: true,
            settled: Rc::default(),
            scene,
        }
    }

    fn majority(&self) -> usize {
        self.scene.servers / 2 + 1
    }

    fn now_ms(&self) -> u64 {
        self.scene.world.now_ms()
    }

    async fn call(&mut self, host: usize, command: &str) -> Result<String, Lost> {
        if self.links[host].is_none() {
            self.links[host] = Some(Client::connect(&self.socket, host, PATIENCE).await?);
        }
        let Some(link) = &mut self.links[host] else { unreachable!("made just now") };
        let outcome = link.call(command).await;
        match outcome {
            Ok(redis_protocol::resp2::types::OwnedFrame::Error(error)) => Ok(format!("-{error}")),
            Ok(reply) => Ok(text(&reply).unwrap_or_default()),
            Err(lost) => {
                self.links[host] = None;
                Err(lost)
            }
        }
    }

    async fn info(&mut self, host: usize) -> Option<Info> {
        let info = self.call(host, "INFO replication").await.ok()?;
        (!info.starts_with('-')).then(|| Info::parse(&info))
    }

    /// Watches until there is no more world.
    pub async fn watch(mut self) {
        self.begin_reign(self.current);
        loop {
            let millis = 60 + self.rng.below(120);
            sleep(Duration::from_millis(millis)).await;
            let mut infos = Vec::new();
            for host in 0..self.scene.servers {
                infos.push(self.info(host).await);
            }
            let settled = self.look(&infos).await;
            self.scene_settled(settled && self.all_in_step(&infos));
        }
    }

    fn scene_settled(&self, settled: bool) {
        self.settled.set(settled);
    }

    fn all_in_step(&self, infos: &[Option<Info>]) -> bool {
        let Some(Some(primary)) = infos.get(self.current) else { return false };
        infos.iter().enumerate().all(|(host, info)| {
            host == self.current
                || info.as_ref().is_some_and(|info| {
                    info.link_up && info.id == primary.id && info.offset == primary.offset
                })
        })
    }

    /// False where something has to be done yet.
    async fn look(&mut self, infos: &[Option<Info>]) -> bool {
        let Some(primary) = infos[self.current].clone() else {
            self.miss().await;
            return false;
        };
        if !primary.is_primary {
            self.look_for_heir(&primary, infos).await;
            return false;
        }
        if self.history.is_empty() {
            self.history.clone_from(&primary.id);
        }
        if primary.id != self.history {
            // It was started again; whether it lacks what was acknowledged depends on its log.
            let stays = match self.promise {
                Promise::Eventual | Promise::Log => true,
                Promise::Synced => primary.previous_id == self.history,
                Promise::Memory | Promise::EverySecond => false,
            };
            if stays {
                self.history.clone_from(&primary.id);
            } else {
                self.elect().await;
                return false;
            }
        }
        self.missed_since_ms = None;
        self.stuck_since_ms = None;
        if self.scene.record.reigns.borrow().last().is_none_or(|last| last.until != u64::MAX) {
            self.begin_reign(self.current);
        }
        let wanted = address(self.current).to_string();
        let mut right = true;
        for (host, info) in infos.iter().enumerate() {
            let Some(info) = info.as_ref().filter(|_| host != self.current) else { continue };
            if info.is_primary || info.follows != wanted {
                right = false;
                let _ = self.call(host, &format!("REPLICAOF {wanted} {PORT}")).await;
            }
        }
        if right && self.hands_over && !self.scene.over.get() && self.rng.below(40) == 0 {
            self.hand_over(infos).await;
        }
        right
    }

    async fn miss(&mut self) {
        let since = *self.missed_since_ms.get_or_insert(self.scene.world.now_ms());
        if self.now_ms() - since > DOWN_MS {
            self.elect().await;
        }
    }

    /// The primary follows somebody: a hand-over whose end wasn't seen, or a fence.
    async fn look_for_heir(&mut self, primary: &Info, infos: &[Option<Info>]) {
        let heir = (0..infos.len()).find(|host| address(*host).to_string() == primary.follows);
        if let Some(host) = heir
            && let Some(info) = &infos[host]
            && info.is_primary
            && info.is_of(&self.history)
        {
            self.end_reign();
            self.accept(host, info.id.clone());
            return;
        }
        self.miss().await;
    }

    fn begin_reign(&mut self, host: usize) {
        let from = self.scene.world.now();
        self.scene.record.reigns.borrow_mut().push(Reign { host, from, until: u64::MAX });
    }

    fn end_reign(&mut self) {
        let now = self.scene.world.now();
        if let Some(last) = self.scene.record.reigns.borrow_mut().last_mut() {
            last.until = last.until.min(now);
        }
    }

    fn accept(&mut self, host: usize, history: String) {
        story!(self.scene.world, host, "is the primary now, of history {history}");
        self.current = host;
        self.history = history;
        self.missed_since_ms = None;
        self.begin_reign(host);
        self.scene.known.set(host);
    }

    fn count(&self, change: impl FnOnce(&mut Figures)) {
        let mut figures = self.figures.get();
        change(&mut figures);
        self.figures.set(figures);
    }

    /// Fences as many as it can, and has the one that is furthest take over if they are a majority.
    async fn elect(&mut self) {
        if self.promise == Promise::Log {
            return;
        }
        let mut fenced = Vec::new();
        for host in 0..self.scene.servers {
            let answer = self.call(host, &format!("REPLICAOF {NOWHERE} {PORT}")).await;
            if answer.is_ok_and(|answer| answer.starts_with("OK"))
                && let Some(info) = self.info(host).await
            {
                fenced.push((host, info));
            }
        }
        story!(self.scene.world, self.current, "is to be replaced: {fenced:?}");
        let of_history = |info: &Info| info.is_of(&self.history);
        let mut able: Vec<_> =
            fenced.iter().filter(|(_, info)| of_history(info)).cloned().collect();
        if able.len() < self.majority() {
            if self.promise.keeps() {
                let since = *self.stuck_since_ms.get_or_insert(self.scene.world.now_ms());
                if fenced.len() < self.scene.servers || self.now_ms() - since < 4_000 {
                    return;
                }
                // Too many have been started twice since anybody looked: by hand, then.
                self.count(|figures| figures.forced += 1);
            } else if fenced.len() < self.majority() {
                return;
            }
            if able.is_empty() {
                able = fenced;
            }
        }
        let Some((chosen, _)) =
            able.iter().max_by_key(|(host, info)| (info.offset, usize::MAX - host)).cloned()
        else {
            return;
        };
        self.end_reign();
        let answer = self.call(chosen, "REPLICAOF NO ONE").await;
        let Some(info) = self.info(chosen).await.filter(|info| info.is_primary) else { return };
        if answer.is_ok() {
            self.count(|figures| figures.failovers += 1);
            self.accept(chosen, info.id);
        }
    }

    /// FAILOVER: without need, and without loss.
    async fn hand_over(&mut self, infos: &[Option<Info>]) {
        let current = self.current;
        let able = |host: &usize| {
            *host != current && infos[*host].as_ref().is_some_and(|info| info.link_up)
        };
        let targets: Vec<usize> = (0..infos.len()).filter(able).collect();
        if targets.is_empty() {
            return;
        }
        let target = targets[self.rng.below(targets.len() as u64) as usize];
        self.end_reign();
        let order = format!("FAILOVER TO {} {PORT} TIMEOUT 800", address(target));
        story!(self.scene.world, current, "is told {order}");
        let asked = self.call(current, &order).await;
        if asked.as_ref().is_ok_and(|answer| answer.starts_with('-')) {
            self.begin_reign(current);
            return;
        }
        for _ in 0..12 {
            sleep(Duration::from_millis(100)).await;
            let (old, new) = (self.info(current).await, self.info(target).await);
            if let Some(new) = new.filter(|new| new.is_primary && new.is_of(&self.history)) {
                self.count(|figures| figures.handovers += 1);
                self.accept(target, new.id);
                return;
            }
            if old.is_some_and(|old| old.is_primary && !old.handing_over) {
                self.begin_reign(current);
                return;
            }
        }
        let _ = self.call(current, "FAILOVER ABORT").await;
        if self.info(current).await.is_some_and(|info| info.is_primary) {
            self.begin_reign(current);
        }
    }
}
