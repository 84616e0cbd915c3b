//! The stock redis-sentinel over three servers: it finds the group, promotes a replica when the primary
//! is killed, stands still or is cut off, and makes a replica of what comes back.
//!
//! `SENTINEL_ROUNDS=100` measures instead (`failovers_under_load`): how long nobody takes writes, and how
//! many acknowledged writes are lost. `SENTINEL_PROGRAM=redis` does so with redis-server, and
//! `SENTINEL_DIRECTIVES="--min-replicas-to-write 1 ..."` with further directives, `SENTINEL_DOWN_AFTER=1000`
//! with so many milliseconds until a server is taken for down.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod nodes;
#[path = "../support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nodes::{GROUP, Group, Network, await_that, follow};
use support::client::Client;
use support::server::Program;

/// How long a writer waits for an answer before it asks a Sentinel who the primary is.
const PATIENCE: Duration = Duration::from_millis(300);

/// Writes that were acknowledged: the writer, the number, and when.
type Acknowledged = Arc<Mutex<Vec<(usize, u64, Instant)>>>;

/// Clients that write unique keys to whoever the Sentinels say is the primary.
struct Load {
    acknowledged: Acknowledged,
    stopped: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Load {
    /// So many writers, each of which pauses so long between two writes.
    fn start(group: &Group, count: usize, pace: Duration) -> Self {
        let acknowledged = Acknowledged::default();
        let stopped = Arc::new(AtomicBool::new(false));
        let sentinels: Vec<(String, u16)> =
            group.sentinels.iter().map(|one| (one.host.clone(), one.port)).collect();
        let threads = (0..count).map(|writer| {
            let (acknowledged, stopped) = (Arc::clone(&acknowledged), Arc::clone(&stopped));
            let sentinels = sentinels.clone();
            thread::spawn(move || write_until(writer, &sentinels, &acknowledged, &stopped, pace))
        });
        let threads = threads.collect();
        Self { acknowledged, stopped, threads }
    }

    /// How long after a moment the next write was acknowledged.
    fn await_next(&self, gone: Instant) -> Duration {
        // What was acknowledged before may have been on its way here.
        let after = gone + Duration::from_millis(100);
        let mut first = None;
        await_that("writes are taken again", || {
            let all = self.acknowledged.lock().expect("no writer panicked");
            let last = all.iter().rev().take_while(|one| one.2 > after);
            first = last.last().map(|one| one.2 - gone);
            first.is_some()
        });
        first.unwrap_or_default()
    }

    /// Ends it, and gives what was acknowledged.
    fn end(self) -> Vec<(usize, u64, Instant)> {
        self.stopped.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|one| one.join().expect("no writer panicked"));
        std::mem::take(&mut self.acknowledged.lock().expect("no writer panicked"))
    }
}

fn write_until(
    writer: usize,
    sentinels: &[(String, u16)],
    acknowledged: &Acknowledged,
    stopped: &AtomicBool,
    pace: Duration,
) {
    let (mut number, mut link): (u64, Option<Client>) = (0, None);
    while !stopped.load(Ordering::Relaxed) {
        number += 1;
        let Some(client) = &mut link else {
            let (host, port) = &sentinels[number as usize % sentinels.len()];
            link = find_primary(host, *port);
            if link.is_none() {
                thread::sleep(Duration::from_millis(10));
            }
            continue;
        };
        match client.try_call(&["SET", &format!("{writer}:{number}"), "1"]) {
            Ok(answer) if answer.text() == "OK" => {
                let now = Instant::now();
                acknowledged.lock().expect("no writer panicked").push((writer, number, now));
                thread::sleep(pace);
            }
            // Too few replicas: that may pass.
            Ok(answer) if answer.text().starts_with("NOREPLICAS") => {
                thread::sleep(Duration::from_millis(5));
                link = None;
            }
            _ => link = None,
        }
    }
}

fn find_primary(host: &str, port: u16) -> Option<Client> {
    let mut sentinel = Client::try_connect_to(host, port, PATIENCE).ok()?;
    let told = sentinel.try_call(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", GROUP]).ok()?.elements();
    let port = told.get(1)?.text().parse().ok()?;
    Client::try_connect_to(&told.first()?.text(), port, PATIENCE).ok()
}

/// How many of the acknowledged writes a node doesn't have.
fn count_lost(client: &mut Client, acknowledged: &[(usize, u64, Instant)]) -> usize {
    let mut lost = 0;
    for some in acknowledged.chunks(500) {
        let command = |one: &(usize, u64, Instant)| {
            vec![b"EXISTS".to_vec(), format!("{}:{}", one.0, one.1).into_bytes()]
        };
        let commands: Vec<_> = some.iter().map(command).collect();
        let answers = client.pipeline(&commands);
        lost += answers.iter().filter(|answer| answer.integer() == Some(0)).count();
    }
    lost
}

/// Takes the primary away until another node has its place. Gives both, and when the first had gone.
fn fail_over(group: &mut Group, take: impl FnOnce(&mut Group, usize)) -> (usize, usize, Instant) {
    let old = group.primary().expect("a primary");
    take(group, old);
    let gone = Instant::now();
    let mut new = old;
    await_that("a replica is promoted", || {
        new = group.primary().unwrap_or(old);
        new != old && group.nodes[new].info("role") == "master"
    });
    (old, new, gone)
}

#[test]
fn sentinel_fails_three_of_ours_over() {
    let mut group = Group::start([Program::Redstart; 3], &[], None, 1000);
    let load = Load::start(&group, 2, Duration::from_millis(1));
    let (old, _, began) = fail_over(&mut group, |group, old| group.nodes[old].kill());
    load.await_next(began);
    // It comes back as the primary that it was, and empty.
    group.nodes[old].start(&[]);
    group.await_settled();
    let stop = |group: &mut Group, old: usize| group.nodes[old].signal(Signal::SIGSTOP);
    let (old, _, began) = fail_over(&mut group, stop);
    load.await_next(began);
    group.nodes[old].signal(Signal::SIGCONT);
    group.await_settled();
    assert!(load.end().len() > 100);
    group.assert_equal();
}

#[test]
fn sentinel_fails_a_mixed_group_over() {
    let mut group =
        Group::start([Program::Redis, Program::Redstart, Program::Redstart], &[], None, 1000);
    let load = Load::start(&group, 2, Duration::from_millis(1));
    for program in [Program::Redis, Program::Redstart] {
        let (old, new, began) = fail_over(&mut group, |group, old| group.nodes[old].kill());
        load.await_next(began);
        let words = follow(program, &group.nodes[new]);
        group.nodes[old].start(&words);
        group.await_settled();
    }
    assert!(load.end().len() > 100);
    group.assert_equal();
}

/// The minority side of a partition stops taking writes, and joins the others when it can.
#[test]
fn sentinel_fails_over_when_the_primary_is_cut_off() {
    let Some(network) = Network::lay_out(3) else {
        println!("not run: network namespaces need root and iproute2");
        return;
    };
    let careful = ["--min-replicas-to-write", "1", "--min-replicas-max-lag", "2"];
    let mut group = Group::start([Program::Redstart; 3], &careful, Some(network), 1000);
    assert_eq!(group.nodes[0].ask_inside("SET before 1"), "OK");
    let join = |group: &Group, index, joined| {
        group.network.as_ref().expect("a network").join(index, joined);
    };
    let (old, new, _) = fail_over(&mut group, |group, old| join(group, old, false));
    await_that("the minority takes no writes", || {
        group.nodes[old].ask_inside("SET lost 1").starts_with("NOREPLICAS")
    });
    assert_eq!(group.nodes[new].ask("SET kept 1").text(), "OK");
    join(&group, old, true);
    group.await_settled();
    group.assert_equal();
    assert_eq!(group.nodes[old].ask("EXISTS before kept").integer(), Some(2));
}

/// The figures of docs/replication.md; nothing where no rounds are asked for.
#[test]
fn failovers_under_load() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let rounds: usize = variable("SENTINEL_ROUNDS").parse().unwrap_or(0);
    let program = match variable("SENTINEL_PROGRAM").as_str() {
        "redis" => Program::Redis,
        "valkey" => Program::Valkey,
        _ => Program::Redstart,
    };
    let directives = variable("SENTINEL_DIRECTIVES");
    let more: Vec<&str> = directives.split_whitespace().collect();
    if rounds == 0 {
        return;
    }
    let down_after_ms = variable("SENTINEL_DOWN_AFTER").parse().unwrap_or(2000);
    let mut group = Group::start([program; 3], &more, None, down_after_ms);
    let (mut outages, mut lost, mut rounds_that_lost, mut written) = (Vec::new(), 0, 0, 0);
    for round in 0..rounds {
        let load = Load::start(&group, 3, Duration::ZERO);
        thread::sleep(Duration::from_millis(700));
        let kills = round % 2 == 0;
        let (old, new, began) = fail_over(&mut group, |group, old| {
            if kills { group.nodes[old].kill() } else { group.nodes[old].signal(Signal::SIGSTOP) }
        });
        outages.push(load.await_next(began).as_millis() as u64);
        let acknowledged = load.end();
        let mut client = group.nodes[new].connect().expect("the primary is there");
        let gone = count_lost(&mut client, &acknowledged);
        (lost, written) = (lost + gone, written + acknowledged.len());
        rounds_that_lost += usize::from(gone > 0);
        println!("round {round}: {} ms, {gone} of {} lost", outages[round], acknowledged.len());
        if kills {
            let words = follow(program, &group.nodes[new]);
            group.nodes[old].start(&words);
        } else {
            group.nodes[old].signal(Signal::SIGCONT);
            // As Sentinel does some ten seconds later.
            let (host, port) = (group.nodes[new].host.clone(), group.nodes[new].port);
            group.nodes[old].ask(&format!("REPLICAOF {host} {port}"));
        }
        group.await_settled();
        client.words("FLUSHALL");
        group.assert_equal();
    }
    outages.sort_unstable();
    println!(
        "{} {directives}: {rounds} failovers, nobody takes writes for {} ms (median), {} ms (most); {lost} \
         of {written} acknowledged writes lost, in {rounds_that_lost} rounds",
        program.name(),
        outages[rounds / 2],
        outages[rounds - 1],
    );
}
