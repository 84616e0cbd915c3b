//! One run: a group, its clients and its faults from one seed, and the verdict.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::rc::Rc;
use std::time::Duration;

use redis_protocol::resp2::types::OwnedFrame;
use redstart::base::env::Rng;
use redstart::base::mutation::{self, Mutation};
use redstart::base::sim_disk::SimDisk;
use redstart::config::arguments::{self, Invocation};
use redstart::config::settings::Settings;
use redstart::engine::keep::startup::command_names;
use tokio::time::sleep;

use crate::actors::{Actor, Scene};
use crate::agent::{Agent, Figures};
use crate::client::{Client, text};
use crate::nemesis::{Faults, Kind, Nemesis};
use crate::net::{PORT, address};
use crate::record::{Counts, Promise};
use crate::story;
use crate::world::World;

/// How long clients and nemeses are at it, in simulated milliseconds.
const BUSY_MS: u64 = 6_000;
/// How long the group may take to become one again, in simulated milliseconds.
const HEALING_MS: u64 = 60_000;

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub servers: usize,
    pub promise: Promise,
    pub quorum: usize,
    pub directives: Vec<(&'static str, String)>,
    pub mutation: Option<Mutation>,
    pub only: Option<Kind>,
    /// Nothing goes wrong.
    pub calm: bool,
}

impl Plan {
    /// Of a seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::from_seed(seed ^ 0x9e37);
        let servers = [3, 3, 4, 5][rng.below(4) as usize];
        let promise = [
            Promise::Eventual,
            Promise::Log,
            Promise::Memory,
            Promise::Synced,
            Promise::EverySecond,
        ][(seed % 5) as usize];
        let majority = servers / 2 + 1;
        // Any majority has one that has what was acknowledged: the primary counts where a reply says
        // that its own copy is as good.
        let quorum = match promise {
            Promise::Eventual | Promise::Log => 0,
            Promise::Memory | Promise::Synced => servers - majority,
            Promise::EverySecond => servers - majority + 1,
        };
        let mut plan = Self {
            seed,
            servers,
            promise,
            quorum,
            directives: Vec::new(),
            mutation: None,
            only: None,
            calm: false,
        };
        plan.choose_directives(&mut rng);
        plan
    }

    fn choose_directives(&mut self, rng: &mut Rng) {
        let log = self.promise.keeps() || rng.below(3) > 0;
        let policy = match self.promise {
            Promise::Synced | Promise::Log => "always",
            Promise::EverySecond | Promise::Memory => "everysec",
            Promise::Eventual => ["always", "everysec", "no"][rng.below(3) as usize],
        };
        let yes = |yes: bool| if yes { "yes" } else { "no" };
        let durable = matches!(self.promise, Promise::Synced | Promise::EverySecond);
        let backlog = ["1", "16kb", "1mb"][rng.below(3) as usize];
        self.directives = vec![
            ("databases", "4".to_owned()),
            ("appendonly", yes(log).to_owned()),
            ("appendfsync", policy.to_owned()),
            ("save", String::new()),
            ("protected-mode", "no".to_owned()),
            ("repl-ping-replica-period", "1".to_owned()),
            ("repl-timeout", "3".to_owned()),
            ("repl-backlog-size", backlog.to_owned()),
            ("min-replicas-max-lag", (1 + rng.below(4)).to_string()),
            // Without a log, who has saved a snapshot may have more than its primary.
            ("repl-allow-empty-primary", yes(!log).to_owned()),
            ("write-quorum", self.quorum.to_string()),
            ("write-quorum-durable", yes(durable).to_owned()),
            ("write-quorum-timeout", (300 + rng.below(2500)).to_string()),
            ("auto-aof-rewrite-percentage", "50".to_owned()),
            ("auto-aof-rewrite-min-size", (20_000 + rng.below(200_000)).to_string()),
            ("aof-write-out-bytes", "1024".to_owned()),
            ("enable-debug-command", "yes".to_owned()),
            // The stopwatch stands still.
            ("spin-us", "0".to_owned()),
            ("gather-us", "0".to_owned()),
        ];
        self.choose_for_replicas();
    }

    /// How full syncs are made and received, and what replicas and who waits for them do meanwhile.
    fn choose_for_replicas(&mut self) {
        let mut rng = Rng::from_seed(self.seed ^ 0x5ab);
        let mut pick = |values: &[&str]| values[rng.below(values.len() as u64) as usize].to_owned();
        self.directives.extend([
            ("repl-diskless-load", pick(&["swapdb", "swapdb", "disabled", "on-empty-db"])),
            ("repl-diskless-sync", pick(&["yes", "yes", "no"])),
            ("repl-diskless-sync-delay", pick(&["0", "0", "1"])),
            ("repl-diskless-sync-max-replicas", pick(&["0", "1", "2"])),
            ("replica-lazy-flush", pick(&["yes", "no"])),
            ("replica-serve-stale-data", pick(&["yes", "yes", "no"])),
            ("repl-backlog-ttl", pick(&["0", "1", "3600"])),
            ("repl-log-catchup-size", pick(&["32gb", "32gb", "100kb", "0"])),
            ("propagation-error-behavior", pick(&["ignore", "panic"])),
        ]);
        let needed = pick(&["0", "0", "0", "1"]);
        if self.promise == Promise::Eventual && needed == "1" {
            // A primary that came back empty would get neither replicas nor writes.
            self.directives.push(("repl-allow-empty-primary", "yes".to_owned()));
        }
        self.directives.push(("min-replicas-to-write", needed));
    }

    fn settings(&self) -> Settings {
        let mut arguments: Vec<OsString> = vec!["redstart".into()];
        for (name, value) in &self.directives {
            arguments.extend([format!("--{name}").into(), value.into()]);
        }
        let configured =
            arguments::configure(&arguments, &SimDisk::default(), &mut &[][..], command_names());
        let Ok(Invocation::Serve(configured)) = configured else {
            panic!("directives of a test are right: {configured:?}");
        };
        let mut settings = configured.settings;
        settings.port = PORT;
        settings
    }
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Verdict {
    pub problems: Vec<String>,
    pub counts: Counts,
    pub faults: Faults,
    pub figures: Figures,
    pub deaths: [u64; 2],
    pub partial_syncs: u64,
    pub full_syncs: u64,
    pub polls: u64,
    pub segments: u64,
    pub trace: u64,
    pub story: Vec<String>,
}

impl Verdict {
    /// Adds another's figures.
    pub fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        for (kind, count) in &other.faults {
            *self.faults.entry(*kind).or_default() += count;
        }
        self.figures.failovers += other.figures.failovers;
        self.figures.handovers += other.figures.handovers;
        self.figures.forced += other.figures.forced;
        self.deaths = [self.deaths[0] + other.deaths[0], self.deaths[1] + other.deaths[1]];
        self.partial_syncs += other.partial_syncs;
        self.full_syncs += other.full_syncs;
        self.polls += other.polls;
        self.segments += other.segments;
    }
}

/// Runs a plan, and keeps its story if that is wanted.
pub fn run(plan: &Plan, with_story: bool) -> Verdict {
    mutation::set(plan.mutation);
    story::keep(with_story);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    let mut verdict = runtime.block_on(act(plan));
    drop(runtime);
    mutation::set(None);
    verdict.story = story::take();
    story::keep(false);
    verdict
}

async fn act(plan: &Plan) -> Verdict {
    let hosts = plan.servers + 4;
    let base = plan.settings();
    let world = World::new(hosts, plan.seed, move |_| base.clone());
    let mut rng = Rng::from_seed(plan.seed ^ 0xac7);
    let scene = Scene {
        world: world.clone(),
        record: Rc::default(),
        servers: plan.servers,
        known: Rc::new(Cell::new(0)),
        over: Rc::default(),
        keeps: plan.promise.keeps(),
        expires: rng.below(3) == 0,
    };
    for host in 0..plan.servers {
        let follows = (host != 0).then(|| (address(0).to_string(), PORT));
        world.start(host, |settings| settings.replicaof = follows);
    }
    let socket = world.net.at(hosts - 1);
    let mut agent = Agent::new(plan.promise, scene.clone(), socket, Rng::from_seed(rng.next_u64()));
    agent.hands_over = !plan.calm && plan.promise != Promise::Log;
    let (figures, settled) = (Rc::clone(&agent.figures), Rc::clone(&agent.settled));
    world.spawn(hosts - 1, agent.watch());
    let faults = Rc::new(RefCell::new(Faults::new()));
    let nemesis = |seed| Nemesis {
        scene: scene.clone(),
        socket: world.net.at(hosts - 2),
        rng: Rng::from_seed(seed),
        promise: plan.promise,
        hosts,
        faults: Rc::clone(&faults),
        only: plan.only,
    };
    let director = Director {
        scene: scene.clone(),
        settled,
        nemeses: (0..if plan.calm { 0 } else { 2 }).map(|_| nemesis(rng.next_u64())).collect(),
        healer: nemesis(rng.next_u64()),
        syncs: Rc::default(),
        rng,
        hosts,
        forced: Rc::clone(&figures),
    };
    let syncs = Rc::clone(&director.syncs);
    let done = Rc::new(Cell::new(false));
    let finished = Rc::clone(&done);
    world.spawn(hosts - 2, async move {
        director.direct().await;
        finished.set(true);
    });
    world.run(done).await;
    let record = &scene.record;
    if plan.promise.keeps() && figures.get().forced == 0 {
        record.check_registers();
    }
    let (partial_syncs, full_syncs) = syncs.get();
    let faults = faults.borrow().clone();
    Verdict {
        problems: record.problems(),
        counts: record.counts.get(),
        faults,
        figures: figures.get(),
        deaths: world.deaths(),
        partial_syncs,
        full_syncs,
        polls: world.polls(),
        segments: world.net.counts().segments,
        trace: world.net.trace(),
        story: Vec::new(),
    }
}

/// Lets clients and nemeses begin and end, and looks at what is left.
struct Director {
    scene: Scene,
    settled: Rc<Cell<bool>>,
    nemeses: Vec<Nemesis>,
    healer: Nemesis,
    syncs: Rc<Cell<(u64, u64)>>,
    rng: Rng,
    hosts: usize,
    forced: Rc<Cell<Figures>>,
}

impl Director {
    async fn direct(mut self) {
        if !self.settle(HEALING_MS).await {
            self.scene.record.problem("the group has not come into being".to_owned());
            return;
        }
        self.begin();
        sleep(Duration::from_millis(BUSY_MS)).await;
        self.scene.over.set(true);
        // Faults under way come to their end.
        sleep(Duration::from_millis(500)).await;
        self.healer.heal();
        sleep(Duration::from_millis(4_500)).await;
        self.healer.heal();
        if let Some(problem) = self.await_unity().await {
            self.scene.record.problem(problem);
            return;
        }
        self.look_for_lost().await;
    }

    /// Whether everything is as it should be within a time.
    async fn settle(&self, millis: u64) -> bool {
        let until = self.scene.world.now_ms() + millis;
        while !self.settled.get() {
            if self.scene.world.now_ms() > until {
                return false;
            }
            sleep(Duration::from_millis(50)).await;
        }
        true
    }

    fn begin(&mut self) {
        for number in 0..13 {
            // Clients are on two hosts: one may be cut off.
            let host = self.scene.servers + (number % 2);
            let actor = Actor {
                scene: self.scene.clone(),
                socket: self.scene.world.net.at(host),
                rng: Rng::from_seed(self.rng.next_u64()),
                number: number as u64,
            };
            let world = &self.scene.world;
            match number {
                0..=1 => world.spawn(host, actor.keep_writing()),
                2..=6 => world.spawn(host, actor.use_registers()),
                7..=8 => world.spawn(host, actor.use_pairs()),
                9..=10 => world.spawn(host, actor.follow_tokens()),
                11 => world.spawn(host, actor.load()),
                _ => world.spawn(host, actor.audit()),
            }
        }
        for nemesis in std::mem::take(&mut self.nemeses) {
            self.scene.world.spawn(self.hosts - 2, nemesis.rage());
        }
    }

    /// All servers have the same data in the end; why not, where they haven't.
    async fn await_unity(&mut self) -> Option<String> {
        let until = self.scene.world.now_ms() + HEALING_MS;
        let mut seen = BTreeMap::new();
        while self.scene.world.now_ms() < until {
            if let Some((host, code, _)) =
                self.scene.world.exits().into_iter().find(|(.., was_full)| !was_full)
            {
                return Some(format!("host {host}'s server has ended by itself: {code}"));
            }
            if self.settled.get() {
                seen.clear();
                let mut syncs = (0, 0);
                for host in 0..self.scene.servers {
                    let Some((digest, partial, full)) = self.ask(host).await else { break };
                    syncs = (syncs.0 + partial, syncs.1 + full);
                    seen.entry(digest).or_insert_with(Vec::new).push(host);
                }
                let all: usize = seen.values().map(Vec::len).sum();
                if seen.len() == 1 && all == self.scene.servers {
                    self.syncs.set(syncs);
                    return None;
                }
            }
            sleep(Duration::from_millis(200)).await;
        }
        let firsts: Vec<usize> = seen.values().filter_map(|hosts| hosts.first().copied()).collect();
        let mut values = Vec::new();
        for host in &firsts {
            values.push(self.values(*host).await.unwrap_or_default());
        }
        let mut differences = Vec::new();
        if let [first, rest @ ..] = &values[..] {
            for (other, host) in rest.iter().zip(&firsts[1..]) {
                let keys = first.keys().chain(other.keys()).collect::<BTreeSet<_>>();
                differences.extend(keys.into_iter().filter_map(|key| {
                    let pair = (first.get(key), other.get(key));
                    (pair.0 != pair.1)
                        .then(|| format!("{key} of {} and {host}: {pair:?}", firsts[0]))
                }));
            }
        }
        differences.truncate(12);
        Some(format!(
            "the group has not become one again: digests {seen:?}, {differences:#?}, {:?}",
            self.infos().await
        ))
    }

    /// What a server has: each key with its expiry and a digest of its value.
    async fn values(&self, host: usize) -> Option<BTreeMap<String, String>> {
        let socket = self.scene.world.net.at(self.hosts - 2);
        let mut client = Client::connect(&socket, host, Duration::from_secs(5)).await.ok()?;
        let mut values = BTreeMap::new();
        for db in 0..4 {
            client.call(&format!("SELECT {db}")).await.ok()?;
            let OwnedFrame::Array(keys) = client.call("KEYS *").await.ok()? else { return None };
            for key in keys.iter().filter_map(text) {
                let expiry = client.call(&format!("PEXPIRETIME {key}")).await.ok()?;
                let digest = client.call(&format!("DEBUG DIGEST-VALUE {key}")).await.ok()?;
                values.insert(format!("{db}:{key}"), format!("{expiry:?} {digest:?}"));
            }
        }
        Some(values)
    }

    async fn infos(&self) -> Vec<Option<String>> {
        let mut infos = Vec::new();
        for host in 0..self.scene.servers {
            let patience = Duration::from_millis(500);
            let socket = self.scene.world.net.at(self.hosts - 2);
            let info = match Client::connect(&socket, host, patience).await {
                Ok(mut client) => client.call("INFO replication persistence").await.ok(),
                Err(_) => None,
            };
            infos.push(info.and_then(|info| text(&info)));
        }
        infos
    }

    async fn ask(&self, host: usize) -> Option<(String, u64, u64)> {
        let socket = self.scene.world.net.at(self.hosts - 2);
        let patience = Duration::from_millis(500);
        let mut client = Client::connect(&socket, host, patience).await.ok()?;
        let digest = text(&client.call("DEBUG DIGEST").await.ok()?)?;
        let info = text(&client.call("INFO stats").await.ok()?)?;
        let field = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
        };
        Some((digest, field("sync_partial_ok:"), field("sync_full:")))
    }

    /// Everything that was acknowledged is there.
    async fn look_for_lost(&self) {
        let socket = self.scene.world.net.at(self.hosts - 2);
        let host = self.scene.known.get();
        let patience = Duration::from_secs(5);
        let Ok(mut client) = Client::checked(&socket, host, patience).await else {
            self.scene.record.problem(format!("host {host} is gone in the end"));
            return;
        };
        let acknowledged = self.scene.record.acknowledged.borrow().clone();
        let mut lost = Vec::new();
        for part in acknowledged.chunks(200) {
            let command = format!("MGET {}", part.join(" "));
            let values = match client.call(&command).await {
                Ok(OwnedFrame::Array(values)) => values,
                other => {
                    let infos = self.infos().await;
                    let what = format!("host {host} answers MGET {other:?}: {infos:#?}");
                    self.scene.record.problem(what);
                    return;
                }
            };
            let is_lost =
                |(key, value): &(&String, &OwnedFrame)| text(value).as_ref() != Some(*key);
            lost.extend(part.iter().zip(&values).filter(is_lost).map(|(key, _)| key.clone()));
        }
        self.scene.record.count(|counts| counts.lost += lost.len() as u64);
        if self.scene.keeps && self.forced.get().forced == 0 && !lost.is_empty() {
            let shown = &lost[..lost.len().min(10)];
            let what = format!("{} acknowledged writes are lost: {shown:?}", lost.len());
            self.scene.record.problem(what);
        }
    }
}
