//! The real kill loop: writers over real sockets, SIGKILL at a random moment, a start on what is
//! left, and a look at every key.
//!
//! Each writer numbers its steps; a step is one command or one transaction, and the value it leaves
//! says its number. So what is recovered must be what the writer's first `n` steps leave, for one
//! `n`: not fewer than the policy promises, not more than were sent, and nothing in between.
//!
//! `KILL_ROUNDS` says how many rounds each policy gets, `KILL_SEED` replays the choices (not the
//! timing).

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::client::{Client, Value};
use support::random::{Random, from_environment, seed_from_environment};
use support::server::{Program, Server};

const WRITERS: usize = 6;

/// Keys of one writer; its steps go round them.
const SLOTS: u64 = 97;

/// What `everysec` may lose: the second of its name, and one for a sync that is under way.
const EVERYSEC_LOSS: Duration = Duration::from_secs(2);

/// What one writer did in a round.
#[derive(Debug)]
struct Told {
    /// Steps sent so far, over all rounds.
    issued: u64,
    /// When each batch was acknowledged, and the number of its last step.
    acknowledged: Vec<(Instant, u64)>,
}

/// How a writer's step looks; chosen by the writer's number.
#[derive(Clone, Copy)]
enum Style {
    /// `SET slot value`
    Set,
    /// The same, the value a few KiB long.
    LargeSet,
    /// `MULTI`, two `SET`s of the same value, `EXEC`
    Transaction,
    /// `SET`, and `INCR` of a counter, one step each: their order shows.
    Counter,
}

impl Style {
    fn of(writer: usize) -> Self {
        match writer % 4 {
            0 => Self::Set,
            1 => Self::Transaction,
            2 => Self::LargeSet,
            _ => Self::Counter,
        }
    }

    fn value(self, step: u64) -> String {
        let padding = match self {
            Self::LargeSet => (step * 37 % 8_000) as usize,
            _ => (step % 40) as usize,
        };
        format!("{step}:{}", "v".repeat(padding))
    }

    /// The commands of one step.
    fn commands(self, writer: usize, step: u64) -> Vec<Vec<Vec<u8>>> {
        let words = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let (slot, value) = (key(writer, step), self.value(step));
        match self {
            Self::Set | Self::LargeSet => vec![words(&["SET", &slot, &value])],
            Self::Transaction => vec![
                words(&["MULTI"]),
                words(&["SET", &slot, &value]),
                words(&["SET", &twin(&slot), &value]),
                words(&["EXEC"]),
            ],
            Self::Counter => {
                vec![words(&["SET", &slot, &value]), words(&["INCR", &format!("counter{writer}")])]
            }
        }
    }
}

fn key(writer: usize, step: u64) -> String {
    format!("writer{writer}:{}", step % SLOTS)
}

fn twin(slot: &str) -> String {
    format!("twin:{slot}")
}

/// Writes until the connection breaks.
fn write(port: u16, writer: usize, first: u64, depth: u64, stop: &AtomicBool) -> Told {
    let style = Style::of(writer);
    let mut told = Told { issued: first, acknowledged: Vec::new() };
    let Ok(mut client) = Client::try_connect(port) else { return told };
    while !stop.load(Ordering::Relaxed) {
        let last = told.issued + depth;
        let commands: Vec<_> =
            (told.issued + 1..=last).flat_map(|step| style.commands(writer, step)).collect();
        told.issued = last;
        match client.try_pipeline(&commands) {
            Ok(replies) => {
                let error = replies.iter().find(|reply| reply.is_error());
                assert!(error.is_none(), "writer {writer} got {error:?}");
                told.acknowledged.push((Instant::now(), last));
            }
            Err(_) => break,
        }
    }
    told
}

/// How many steps of a writer the server remembers. Panics where what it holds isn't what exactly
/// those steps leave.
fn recovered_steps(client: &mut Client, writer: usize) -> u64 {
    let style = Style::of(writer);
    let read = |client: &mut Client, name: &dyn Fn(String) -> String| -> Vec<Option<String>> {
        let slots = (0..SLOTS).map(|slot| name(key(writer, slot)));
        let argv: Vec<String> = ["MGET".to_owned()].into_iter().chain(slots).collect();
        let replies = client.call(&argv).elements();
        replies.iter().map(|reply| reply.bytes().map(|_| reply.text())).collect()
    };
    let values = read(client, &|slot| slot);
    let step_of = |value: &Option<String>| -> u64 {
        let Some(text) = value else { return 0 };
        let (number, _) = text.split_once(':').expect("a value has its number");
        let step = number.parse().expect("a value has its number");
        assert_eq!(*text, style.value(step), "writer {writer}: a value that was never written");
        step
    };
    let steps = values.iter().map(step_of).max().unwrap_or(0);
    for (slot, value) in values.iter().enumerate() {
        let slot = slot as u64;
        // The greatest step up to `steps` that went to this slot; step 0 doesn't exist.
        let expected = if steps < slot { 0 } else { steps - (steps - slot) % SLOTS };
        assert_eq!(
            step_of(value),
            expected,
            "writer {writer}, slot {slot}: other steps up to {steps} are there"
        );
    }
    match style {
        Style::Transaction => {
            let twins = read(client, &|slot| twin(&slot));
            assert_eq!(values, twins, "writer {writer}: half a transaction is there");
        }
        Style::Counter => {
            let counter = client.call(&["GET", &format!("counter{writer}")]);
            let counter: u64 = if counter.bytes().is_none() {
                0
            } else {
                counter.text().parse().expect("a number")
            };
            // The counter follows its SET: it may be one behind at the cut, and only there.
            assert!(
                counter == steps || counter + 1 == steps,
                "writer {writer}: counter {counter}, but {steps} steps are there"
            );
        }
        Style::Set | Style::LargeSet => {}
    }
    steps
}

/// The last step that must be there, given what a loss of the last `loss` permits.
fn promised(told: &Told, killed: Instant, loss: Duration, before: u64) -> u64 {
    let mut from_last = told.acknowledged.iter().rev();
    let kept = from_last.find(|(when, _)| loss.is_zero() || *when + loss <= killed);
    kept.map_or(before, |(_, step)| *step)
}

/// Ends the writers also when the test fails: the scope would wait for them.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does one of the things that run beside writes, at random.
fn disturb(server: &Server, random: &mut Random) {
    let mut client = server.connect();
    for _ in 0..random.below(4) {
        let reply = client.words(random.pick(&["BGREWRITEAOF", "BGREWRITEAOF", "BGSAVE"]));
        if let Value::Error(text) = &reply {
            let text = String::from_utf8_lossy(text);
            assert!(text.contains("progress") || text.to_lowercase().contains("another"), "{text}");
        }
        thread::sleep(Duration::from_millis(random.below(60) as u64));
    }
}

fn kill_loop(policy: &str, loss: Duration) {
    let rounds = from_environment("KILL_ROUNDS", 10);
    let mut random = Random::new(seed_from_environment("KILL_SEED"));
    let directives = [
        "--appendonly",
        "yes",
        "--appendfsync",
        policy,
        "--save",
        "",
        // Small, so that rewrites also start by themselves.
        "--auto-aof-rewrite-percentage",
        "100",
        "--auto-aof-rewrite-min-size",
        "3mb",
    ];
    let mut server = Server::start_with(Program::Redstart, &directives);
    let mut steps = [0; WRITERS];
    let mut total_issued = 0;
    for round in 0..rounds {
        let stop = AtomicBool::new(false);
        let depths: Vec<u64> = (0..WRITERS).map(|_| random.pick(&[1, 1, 5, 30])).collect();
        // Under `everysec` some rounds must outlast what may be lost, or nothing is proven.
        let lasting = if !loss.is_zero() && round % 3 == 0 { 2_600 } else { 30 };
        let life = Duration::from_millis(lasting + random.below(400) as u64);
        let port = server.port();
        let (killed, told) = thread::scope(|scope| {
            let start = Instant::now();
            let _stops = StopOnDrop(&stop);
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let (first, depth, stop) = (steps[writer], depths[writer], &stop);
                    scope.spawn(move || write(port, writer, first, depth, stop))
                })
                .collect();
            if random.chance(60) {
                disturb(&server, &mut random);
            }
            thread::sleep(life.saturating_sub(start.elapsed()));
            // What was acknowledged before this moment counts; the kill comes after it.
            let killed = Instant::now();
            server.kill();
            stop.store(true, Ordering::Relaxed);
            let told: Vec<Told> =
                writers.into_iter().map(|writer| writer.join().expect("a writer")).collect();
            (killed, told)
        });
        server.restart();
        let mut client = server.connect();
        for (writer, told) in told.iter().enumerate() {
            let recovered = recovered_steps(&mut client, writer);
            let needed = promised(told, killed, loss, steps[writer]);
            let log = server.log();
            assert!(
                recovered >= needed,
                "round {round}, {policy}: writer {writer} has {recovered} steps, {needed} were promised; log:\n{log}"
            );
            assert!(
                recovered <= told.issued,
                "round {round}: writer {writer} has {recovered} steps of {}",
                told.issued
            );
            total_issued += told.issued - steps[writer];
            // What wasn't acknowledged may be gone; the writer goes on after what is there. A step
            // of the counter's style may be there by half: then that half is done again.
            if matches!(Style::of(writer), Style::Counter) {
                client.call(&["SET", &format!("counter{writer}"), &recovered.to_string()]);
            }
            steps[writer] = recovered;
        }
    }
    println!("{policy}: {rounds} rounds, {total_issued} steps sent, nothing promised was lost");
}

#[test]
fn what_always_acknowledged_survives_sigkill() {
    kill_loop("always", Duration::ZERO);
}

#[test]
fn everysec_loses_no_more_than_its_second() {
    kill_loop("everysec", EVERYSEC_LOSS);
}
