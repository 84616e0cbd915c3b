//! The whole server on a disk that fails: actor, log, snapshot, rewrite and recovery as they run in
//! the real process, without threads and on a simulated clock, so that a seed replays a run.
//!
//! Work is a sequence of units (a command or a transaction). A twin on a sound disk tells what the
//! data is after each of them; what is recovered must be the data after one of them, no earlier than
//! the last that was promised, no later than the last that was asked for. So nothing acknowledged is
//! lost, order is kept, and no transaction is there by half.
//!
//! `ENGINE_CRASH_SEEDS=n` makes the runs longer. `tests/crash.rs` does the same to the log alone.

#![expect(clippy::unwrap_used, reason = "a test may fail this way")]

mod embedded;

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;

use embedded::{Contents, Embedded, settings};
use redstart::base::env::{Disk, Env, Rng, Stopwatch, SyncPoint};
use redstart::base::sim_disk::{Fault, SimClock, SimDisk};
use redstart::config::settings::Settings;
use redstart::engine::actor::After;

/// Units of a run.
const UNITS: usize = 24;
const SECOND: u64 = 1_000_000_000;

/// What the server promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promise {
    /// What is acknowledged is durable.
    Always,
    /// What was acknowledged two seconds ago is.
    Everysec,
    /// No log: what a completed snapshot began with is.
    Snapshot,
}

impl Promise {
    fn of(seed: u64) -> Self {
        [Self::Always, Self::Everysec, Self::Snapshot][(seed % 3) as usize]
    }

    fn settings(self) -> Settings {
        let (log, policy) = match self {
            Self::Always => ("yes", "always"),
            Self::Everysec => ("yes", "everysec"),
            Self::Snapshot => ("no", "no"),
        };
        settings(&[
            ("appendonly", log),
            ("appendfsync", policy),
            ("save", ""),
            ("auto-aof-rewrite-percentage", "0"),
            // A walk takes about a second of the clock, so that there is time for trouble in it.
            ("rdb-key-save-delay", "60000"),
        ])
    }
}

fn env(disk: &SimDisk, clock: &Arc<SimClock>) -> Env {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let clock = Arc::clone(clock) as Arc<_>;
    Env { clock, stopwatch: Stopwatch::default(), disk, threads: false, seed: 7 }
}

/// The commands of a unit; its number makes them.
fn unit(number: usize) -> Vec<Vec<String>> {
    let words = |line: String| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let slot = number % 5;
    match number % 6 {
        0 => vec![words(format!("APPEND log:{slot} {number},"))],
        1 => vec![words(format!("SET key:{slot} {number} PXAT 99000000000000"))],
        2 => vec![words(format!("MSET a:{slot} {number} b:{slot} {number} c:{slot} {number}"))],
        3 => vec![words(format!("SET key:{slot} {}", "x".repeat(300 + number)))],
        4 => vec![words("INCR counter".into())],
        _ => vec![
            words("MULTI".into()),
            words(format!("SET twin:{slot} {number}")),
            words("SELECT 1".into()),
            words(format!("SET twin:{slot} {number}")),
            words("SELECT 0".into()),
            words("INCR counter".into()),
            words("EXEC".into()),
        ],
    }
}

fn send(server: &Embedded, number: usize) {
    for words in unit(number) {
        server.send(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
    }
}

/// The data after 0, 1, 2, ... units.
fn twin() -> Vec<Contents> {
    let clock = Arc::new(SimClock::default());
    let config = settings(&[("appendonly", "no"), ("save", "")]);
    let mut server = Embedded::open(env(&SimDisk::default(), &clock), config).unwrap();
    let mut states = vec![server.contents()];
    for number in 1..=3 * UNITS {
        send(&server, number);
        server.turn();
        let replies = server.take_replies();
        assert!(!replies.windows(2).any(|two| two == b"\n-"), "a unit is no error");
        states.push(server.contents());
    }
    states
}

/// What came of a life.
struct Life {
    /// Units that its beginning found.
    found: usize,
    /// Units that must be there after a power loss.
    promised: usize,
    /// Units that must be there where only the process ended.
    acknowledged: usize,
    /// Units that were asked for.
    asked: usize,
}

fn open(disk: &SimDisk, clock: &Arc<SimClock>, promise: Promise) -> Result<Embedded, String> {
    Embedded::open(env(disk, clock), promise.settings())
}

/// Which units the server's data has.
fn units_in(server: &mut Embedded, states: &[Contents]) -> Result<usize, String> {
    let contents = server.contents();
    let place = states.iter().position(|state| *state == contents);
    place.ok_or_else(|| format!("no state that ever was: {contents:?}"))
}

/// Recovers, and lives for so many units more, or until the disk or the server has had enough.
/// `None` where the disk's trouble left it no beginning.
fn live(
    disk: &SimDisk,
    promise: Promise,
    rng: &mut Rng,
    units: usize,
    trouble_at: Option<u64>,
    states: &[Contents],
) -> Result<Option<Life>, String> {
    let clock = Arc::new(SimClock::default());
    clock.advance(1_700_000_000 * SECOND);
    let mut server = match open(disk, &clock, promise) {
        Ok(server) => server,
        Err(_) if trouble_at.is_some_and(|at| disk.operations() > at) => return Ok(None),
        Err(error) => return Err(format!("not recovered: {error}")),
    };
    let begin = units_in(&mut server, states)?;
    let units = begin + units;
    // What was found in a log has been made durable before anything else was done.
    let promised = if promise == Promise::Snapshot { 0 } else { begin };
    let mut life = Life { found: begin, promised, acknowledged: promised, asked: begin };
    // Acknowledged units with their time, and the unit that a running snapshot began with.
    let mut acknowledged: VecDeque<(u64, usize)> = VecDeque::new();
    let (mut done, mut now, mut saving, mut saves) = (begin, 0, None, 0);
    // Units in flight: sent, and their replies held back by the server.
    let mut unanswered = 0;
    for _ in 0..4 * UNITS {
        if done >= units || disk.has_crashed() {
            break;
        }
        let step = rng.below(SECOND / 3);
        clock.advance(step);
        now += step;
        server.engine.cron_tick();
        match rng.below(8) {
            0 if promise != Promise::Snapshot => server.send(&[b"BGREWRITEAOF"]),
            0 | 1 => {
                server.send(&[b"BGSAVE"]);
                saving.get_or_insert(done);
            }
            _ => {}
        }
        let mut after = server.turn();
        let ends = |after: &After| matches!(after, After::Exit(_));
        let mut replies = server.take_replies();
        if unanswered == 0 {
            // Only the job's own reply.
            replies.clear();
            if !ends(&after) {
                unanswered = (1 + rng.below(3) as usize).min(units - done);
                for number in done + 1..=done + unanswered {
                    send(&server, number);
                }
                life.asked = life.asked.max(done + unanswered);
                after = server.turn();
                replies = server.take_replies();
            }
        }
        if disk.has_crashed() {
            // A process that has ended says nothing more.
            break;
        }
        let text = String::from_utf8_lossy(&replies);
        if text.contains("-MISCONF") || text.contains("-EXECABORT") {
            // Refused, all of them: they can be asked for again.
            (life.asked, unanswered) = (done, 0);
        } else if !replies.is_empty() {
            done += std::mem::take(&mut unanswered);
            acknowledged.push_back((now, done));
        }
        match promise {
            Promise::Always => life.promised = done,
            // A disk that refuses is told to clients, who then know that time proves nothing.
            Promise::Everysec
                if server.engine.log.as_ref().is_none_or(|l| l.failure().is_some()) => {}
            Promise::Everysec => {
                while acknowledged.front().is_some_and(|(at, _)| now - at > 2 * SECOND) {
                    life.promised = acknowledged.pop_front().map_or(life.promised, |(_, n)| n);
                }
            }
            Promise::Snapshot => {
                if server.engine.persistence.saves > saves {
                    saves = server.engine.persistence.saves;
                    life.promised = saving.unwrap_or(life.promised);
                }
                if !server.engine.persistence.saving() {
                    saving = None;
                }
            }
        }
        life.acknowledged = if promise == Promise::Snapshot { life.promised } else { done };
        if let After::Exit(_) = after {
            break;
        }
    }
    Ok(Some(life))
}

/// What happens to the disk in a life.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// The power goes at this operation, or the process is killed there.
    End { at: u64, power: bool },
    /// This operation fails, or this one and the ten after it; then the end.
    Fault { at: u64, fault: Fault, lasts: bool, power: bool },
}

/// Three lives: two that end in their trouble, and one that looks what is left. Says how many
/// operations the first had, and which syncs there were.
fn run(
    seed: u64,
    troubles: [Option<Trouble>; 2],
    ignored: Option<SyncPoint>,
    states: &[Contents],
) -> Result<(u64, BTreeSet<SyncPoint>), String> {
    let promise = Promise::of(seed);
    let mut rng = Rng::from_seed(seed);
    let mut disk = SimDisk::default();
    let (mut operations, mut points) = (0, BTreeSet::new());
    // What must be there now, what must be there even if the power goes before that is found.
    let (mut promised, mut durable, mut asked) = (0, 0, 0);
    for (number, trouble) in troubles.into_iter().chain([None]).enumerate() {
        if let Some(point) = ignored {
            disk.ignore(point);
        }
        let (mut power, mut trouble_at) = (true, None);
        match trouble {
            Some(Trouble::End { at, power: goes }) => {
                disk.crash_at(at);
                (power, trouble_at) = (goes, Some(at));
            }
            Some(Trouble::Fault { at, fault, lasts, power: goes }) => {
                for number in at..=at + if lasts { 10 } else { 0 } {
                    disk.inject(number, fault);
                }
                (power, trouble_at) = (goes, Some(at));
            }
            None => {}
        }
        let units = if number < 2 { UNITS } else { 0 };
        let wrong = |what: String| {
            format!("WRONG: seed {seed} ({promise:?}), life {number}, {troubles:?}: {what}")
        };
        let life = live(&disk, promise, &mut rng, units, trouble_at, states).map_err(wrong)?;
        if number == 0 {
            operations = disk.operations();
        }
        points.extend(disk.sync_points());
        let Some(life) = life else {
            promised = if power { durable } else { promised };
            disk = if power { disk.crash(&mut rng) } else { disk.kill() };
            continue;
        };
        if !(promised..=asked).contains(&life.found) {
            let found = life.found;
            return Err(wrong(format!("{found} units, promised {promised}, asked {asked}")));
        }
        durable = durable.max(life.promised);
        promised = if power { durable } else { durable.max(life.acknowledged) };
        asked = life.asked;
        disk = if power { disk.crash(&mut rng) } else { disk.kill() };
    }
    Ok((operations, points))
}

fn seeds(default: u64) -> std::ops::Range<u64> {
    let count = std::env::var("ENGINE_CRASH_SEEDS").map_or(default, |text| text.parse().unwrap());
    0..count
}

#[test]
fn power_loss_and_kill_at_every_operation() {
    let states = twin();
    let mut crashes = 0;
    for seed in seeds(30) {
        let (operations, _) = run(seed, [None, None], None, &states).unwrap();
        for at in 0..operations {
            for power in [true, false] {
                let second = Some(Trouble::End { at: at % 60, power: true });
                let troubles = [Some(Trouble::End { at, power }), second];
                run(seed, troubles, None, &states).unwrap_or_else(|error| panic!("{error}"));
                crashes += 2;
            }
        }
    }
    println!("{crashes} crashes");
}

#[test]
fn faults_at_every_operation() {
    let states = twin();
    let mut faults = 0;
    for seed in seeds(30) {
        let (operations, _) = run(seed, [None, None], None, &states).unwrap();
        for at in 0..operations {
            for (fault, lasts, power) in [
                (Fault::Io, false, true),
                (Fault::Io, true, false),
                (Fault::Full, false, false),
                (Fault::Full, true, true),
                (Fault::Short(7), false, true),
                (Fault::Short(7), true, false),
            ] {
                // Not yet shown: a power loss after a kill after a sync that failed. The next process
                // finds in memory what the disk may not have, and its own sync can't tell.
                let second = Some(Trouble::End { at: at % 60, power });
                let first = Some(Trouble::Fault { at, fault, lasts, power });
                run(seed, [first, second], None, &states).unwrap_or_else(|error| panic!("{error}"));
                faults += 1;
            }
        }
    }
    println!("{faults} faults");
}

/// Whether any run notices that this sync is left out.
fn is_noticed(point: SyncPoint, states: &[Contents]) -> bool {
    for seed in 0..60 {
        let Ok((operations, _)) = run(seed, [None, None], Some(point), states) else {
            return true;
        };
        for at in 0..operations {
            for power in [true, false] {
                let second = Some(Trouble::End { at: at % 60, power: true });
                let troubles = [Some(Trouble::End { at, power }), second];
                if run(seed, troubles, Some(point), states).is_err() {
                    return true;
                }
            }
        }
    }
    false
}

#[test]
fn no_sync_of_the_server_can_be_left_out() {
    let states = twin();
    let mut points = BTreeSet::new();
    for seed in 0..12 {
        points.extend(run(seed, [None, None], None, &states).unwrap().1);
    }
    println!("{points:?}");
    let missed: Vec<_> = points.into_iter().filter(|point| !is_noticed(*point, &states)).collect();
    assert!(missed.is_empty(), "nothing noticed that these were left out: {missed:?}");
}
