//! The run of random commands: batches go down one of several connections to both servers at once,
//! replies are compared one by one and the data at intervals. After a difference both servers start
//! afresh, so that one bug is reported once and doesn't hide the next.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::time::Instant;

use crate::compare::{Check, same};
use crate::exceptions;
use crate::generate::{FAMILIES, Family, Generator, Step};
use crate::newer;
use crate::state;
use crate::support::client::{Client, Value, encode, quote};
use crate::support::random::{from_environment, seed_from_environment};
use crate::support::server::{Program, Server};

const CONNECTIONS: usize = 3;
const BATCH_MAX: usize = 50;

/// Commands between two comparisons of all data.
const STATE_INTERVAL: u64 = 500;

/// Different commands with differences after which a run ends early.
const DIFFERENCES_MAX: usize = 40;

/// Commands that are remembered to tell a key's story, and how many of them are printed.
const HISTORY: usize = 4_000;
const STORY: usize = 20;

/// A time that has passed, in seconds since 1970.
const PAST_SECONDS: u64 = 1_700_000_000;

/// One connection to each server, and what is queued in its transaction.
struct Pair {
    theirs: Client,
    ours: Client,
    queued: Vec<Step>,
}

impl Pair {
    fn new(theirs: &Server, ours: &Server) -> Self {
        Self { theirs: theirs.connect(), ours: ours.connect(), queued: Vec::new() }
    }

    /// What in the replies doesn't agree: the step's own reply, or for a transaction each of the
    /// queued commands whose reply differs. Follows the transaction from the oracle's replies.
    fn differences(&mut self, step: &Step, theirs: &Value, ours: &Value) -> Vec<Difference> {
        let name = step.argv[0].to_ascii_uppercase();
        let differences = match (theirs, ours) {
            (Value::Array(theirs), Value::Array(ours))
                if name == b"EXEC"
                    && theirs.len() == self.queued.len()
                    && ours.len() == self.queued.len() =>
            {
                let replies = theirs.iter().zip(ours);
                self.queued
                    .iter()
                    .zip(replies)
                    .filter_map(|(step, (theirs, ours))| Difference::between(step, theirs, ours))
                    .collect()
            }
            _ => Difference::between(step, theirs, ours).into_iter().collect(),
        };
        if *theirs == Value::Simple(b"QUEUED".to_vec()) {
            self.queued.push(step.clone());
            return differences;
        }
        // EXEC and DISCARD that are refused for their number of arguments leave the transaction as
        // it is, unless the refusal says that it ends it.
        let ended = match theirs {
            Value::Error(text) => text.starts_with(b"EXECABORT"),
            _ => matches!(name.as_slice(), b"EXEC" | b"DISCARD" | b"RESET"),
        };
        if ended {
            self.queued.clear();
        }
        differences
    }
}

/// Two replies to one command that aren't the same.
struct Difference {
    step: Step,
    theirs: Value,
    ours: Value,
}

impl Difference {
    fn between(step: &Step, theirs: &Value, ours: &Value) -> Option<Self> {
        // Queued is queued, whatever the command's own reply will be.
        let queued = Value::Simple(b"QUEUED".to_vec());
        let check = if *theirs == queued || *ours == queued { Check::Exact } else { step.check };
        let differs = !same(check, theirs, ours);
        differs.then(|| Self { step: step.clone(), theirs: theirs.clone(), ours: ours.clone() })
    }
}

/// A command that was sent, for the story of a key.
struct Sent {
    index: u64,
    connection: usize,
    step: Step,
    reply: Value,
}

impl Sent {
    /// Whether it is one of these commands, and was done: no error, and not queued.
    fn is_done(&self, names: &[&str]) -> bool {
        let is_named = |name: &&str| self.step.argv[0].eq_ignore_ascii_case(name.as_bytes());
        let queued = Value::Simple(b"QUEUED".to_vec());
        names.iter().any(is_named) && !self.reply.is_error() && self.reply != queued
    }
}

struct Run {
    oracle: Program,
    theirs: Server,
    ours: Server,
    pairs: Vec<Pair>,
    inspectors: Pair,
    history: VecDeque<Sent>,
    /// The first difference of each kind of command, and how many there were.
    found: BTreeMap<String, (String, usize)>,
    /// How many differences each exception explained.
    excused: BTreeMap<&'static str, usize>,
    /// Replies that were errors: a run of mostly errors would prove little.
    errors: u64,
    /// Keys whose data was compared.
    keys_compared: usize,
}

impl Run {
    fn new(oracle: Program) -> Self {
        let (theirs, ours) = (Server::start(oracle), Server::start(Program::Redstart));
        let inspectors = Pair::new(&theirs, &ours);
        let mut run = Self {
            oracle,
            theirs,
            ours,
            pairs: Vec::new(),
            inspectors,
            history: VecDeque::new(),
            found: BTreeMap::new(),
            excused: BTreeMap::new(),
            errors: 0,
            keys_compared: 0,
        };
        run.start_afresh();
        run
    }

    /// New connections and empty databases; the second connection speaks RESP3.
    fn start_afresh(&mut self) {
        self.history.clear();
        self.inspectors = Pair::new(&self.theirs, &self.ours);
        self.inspectors.theirs.call(&["FLUSHALL"]);
        self.inspectors.ours.call(&["FLUSHALL"]);
        self.pairs = (0..CONNECTIONS).map(|_| Pair::new(&self.theirs, &self.ours)).collect();
        self.pairs[1].theirs.call(&["HELLO", "3"]);
        self.pairs[1].ours.call(&["HELLO", "3"]);
    }

    /// Sends a batch, compares its replies, and says whether all agreed.
    fn batch(
        &mut self,
        generator: &mut Generator,
        connection: usize,
        first: u64,
        steps: Vec<Step>,
    ) -> bool {
        let pair = &mut self.pairs[connection];
        let bytes: Vec<u8> = steps.iter().flat_map(|step| encode(&step.argv)).collect();
        pair.theirs.try_send_raw(&bytes).expect("the oracle reads");
        if let Err(error) = pair.ours.try_send_raw(&bytes) {
            self.report("connection", format!("ours doesn't read: {error}"));
            return false;
        }
        let mut agreed = true;
        // Their data differ as meant: what comes of it in the rest of the batch means nothing.
        let mut apart = false;
        for (offset, step) in steps.into_iter().enumerate() {
            let index = first + offset as u64;
            let pair = &mut self.pairs[connection];
            let their_reply = pair
                .theirs
                .try_read()
                .unwrap_or_else(|error| panic!("the oracle, to {}: {error}", quote(&step.argv)));
            let our_reply = match pair.ours.try_read() {
                Ok(reply) => reply,
                Err(error) => {
                    let what = format!("#{index} {}: no reply: {error}", quote(&step.argv));
                    self.report(&String::from_utf8_lossy(&step.argv[0]).to_uppercase(), what);
                    return false;
                }
            };
            self.errors += u64::from(their_reply.is_error());
            for difference in pair.differences(&step, &their_reply, &our_reply) {
                let Difference { step, theirs, ours } = difference;
                let reason = exceptions::reason(self.oracle, &step.argv, &theirs, &ours)
                    .or_else(|| self.reason_of_exec(connection, &step, &theirs, &ours));
                if let Some(reason) = reason {
                    *self.excused.entry(reason).or_default() += 1;
                    // Where one of them has stored something, their data differ from here on.
                    let refused = theirs.is_error() && ours.is_error();
                    apart |= !refused && exceptions::may_store(self.oracle, &step.argv);
                } else if !apart {
                    self.report_reply(index, connection, &step, &theirs, &ours);
                    agreed = false;
                }
            }
            if step.argv[0].eq_ignore_ascii_case(b"DUMP") {
                remember_payload(generator, &their_reply, &our_reply);
            }
            self.history.push_back(Sent { index, connection, step, reply: their_reply });
            if self.history.len() > HISTORY {
                self.history.pop_front();
            }
        }
        agreed && !apart
    }

    fn report_reply(
        &mut self,
        index: u64,
        connection: usize,
        step: &Step,
        theirs: &Value,
        ours: &Value,
    ) {
        let mut text = format!(
            "#{index} on connection {connection}: {}\n  theirs {theirs}\n  ours   {ours}\n",
            shorten(&quote(&step.argv))
        );
        let mut kind = String::from_utf8_lossy(&step.argv[0]).to_uppercase();
        let keys = match kind.as_str() {
            "EXEC" => {
                let watches = self.watches(connection);
                watches.flat_map(|sent| sent.step.argv[1..].iter().cloned()).collect()
            }
            "XREAD" | "XREADGROUP" => {
                let is_streams = |word: &Vec<u8>| word.eq_ignore_ascii_case(b"STREAMS");
                let words = step.argv.iter().skip_while(|word| !is_streams(word)).skip(1);
                words.take(step.argv.len().div_ceil(4)).cloned().collect()
            }
            _ => step.argv[1..step.argv.len().min(4)].to_vec(),
        };
        self.tell_story(&mut text, Some(connection), &keys);
        // A container's subcommands are commands of their own.
        if matches!(kind.as_str(), "CLIENT" | "CONFIG" | "COMMAND" | "OBJECT" | "MEMORY" | "DEBUG")
        {
            let subcommand =
                step.argv.get(1).map(|word| String::from_utf8_lossy(word).to_uppercase());
            kind = format!("{kind} {}", subcommand.unwrap_or_default());
        }
        self.report(&kind, text);
    }

    /// Every accepted WATCH of a connection since its last transaction ended, the latest first.
    fn watches(&self, connection: usize) -> impl Iterator<Item = &Sent> {
        let own = self.history.iter().rev().filter(move |sent| sent.connection == connection);
        own.take_while(|sent| !sent.is_done(&["EXEC", "DISCARD", "UNWATCH", "RESET"]))
            .filter(|sent| sent.is_done(&["WATCH"]))
    }

    /// Why an EXEC ran in ours alone, where the keys that it watched tell.
    fn reason_of_exec(
        &self,
        connection: usize,
        step: &Step,
        theirs: &Value,
        ours: &Value,
    ) -> Option<&'static str> {
        let ran_here = step.argv[0].eq_ignore_ascii_case(b"EXEC")
            && matches!((theirs, ours), (Value::Null | Value::NullArray, Value::Array(_)));
        let explained = self.oracle == Program::Redis && ran_here;
        (explained && self.watched_a_set_of_the_past(connection))
            .then_some("SET with a time that has passed makes no key that is watched, as in Valkey")
    }

    /// Whether a key was watched that wasn't there, and a SET gave it a time that has passed. Redis 7.0
    /// makes that key and deletes it when its time is looked at; Valkey from 8.1 on doesn't make it.
    fn watched_a_set_of_the_past(&self, connection: usize) -> bool {
        let Some(first) = self.watches(connection).last() else { return false };
        let watched = |key| self.watches(connection).any(|sent| sent.step.argv[1..].contains(key));
        let since = self.history.iter().filter(|sent| sent.index > first.index);
        since.filter(|sent| sent.is_done(&["SET"])).any(|sent| {
            let is_past = |pair: &[Vec<u8>]| {
                let time =
                    std::str::from_utf8(&pair[1]).ok().and_then(|time| time.parse::<u64>().ok());
                let now = match pair[0].to_ascii_uppercase().as_slice() {
                    b"EXAT" => PAST_SECONDS,
                    b"PXAT" => PAST_SECONDS * 1000,
                    _ => 0,
                };
                time.is_some_and(|time| time < now)
            };
            watched(&sent.step.argv[1]) && sent.step.argv.windows(2).any(is_past)
        })
    }

    /// The last commands that named one of the keys, or framed this connection's state.
    fn tell_story(&self, text: &mut String, connection: Option<usize>, keys: &[Vec<u8>]) {
        let about = |sent: &&Sent| {
            let name = sent.step.argv[0].to_ascii_uppercase();
            let frames = connection == Some(sent.connection)
                && matches!(
                    name.as_slice(),
                    b"MULTI"
                        | b"EXEC"
                        | b"DISCARD"
                        | b"WATCH"
                        | b"UNWATCH"
                        | b"SELECT"
                        | b"HELLO"
                        | b"RESET"
                );
            let everywhere = matches!(name.as_slice(), b"FLUSHALL" | b"FLUSHDB" | b"SWAPDB");
            frames || everywhere || sent.step.argv[1..].iter().any(|word| keys.contains(word))
        };
        let story: Vec<&Sent> = self.history.iter().rev().filter(about).take(STORY).collect();
        for sent in story.iter().rev() {
            let line = format!("{} -> {}", quote(&sent.step.argv), sent.reply);
            // A String takes whatever is written to it.
            let _ = writeln!(text, "    #{} c{}: {}", sent.index, sent.connection, shorten(&line));
        }
    }

    fn report(&mut self, kind: &str, text: String) {
        let entry = self.found.entry(kind.to_owned()).or_insert((text, 0));
        entry.1 += 1;
    }

    /// Compares all data, and says whether it agreed.
    fn compare_state(&mut self, index: u64) -> bool {
        let (differences, keys) =
            state::compare(self.oracle, &mut self.inspectors.theirs, &mut self.inspectors.ours);
        self.keys_compared += keys;
        for (key, difference) in &differences {
            let mut text = format!("after #{index}: {}\n", shorten(difference));
            self.tell_story(&mut text, None, std::slice::from_ref(key));
            self.report("(data)", text);
        }
        differences.is_empty()
    }
}

/// Payloads of both servers are restored later, on both.
fn remember_payload(generator: &mut Generator, theirs: &Value, ours: &Value) {
    for reply in [theirs, ours] {
        if let Value::Bulk(payload) = reply {
            if generator.payloads.len() < 64 {
                generator.payloads.push(payload.clone());
            } else {
                let place = generator.random.below(64);
                generator.payloads[place].clone_from(payload);
            }
        }
    }
}

fn shorten(text: &str) -> String {
    const MAX: usize = 600;
    match text.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}... ({} characters)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

#[test]
fn random_commands_get_equal_replies_and_leave_equal_data() {
    compare_with(Program::Redis, FAMILIES, 200_000);
}

#[test]
fn what_redis_lacks_is_as_in_valkey() {
    compare_with(Program::Valkey, newer::FAMILIES, 100_000);
}

fn compare_with(oracle: Program, families: &'static [Family], commands: u64) {
    let total = from_environment("DIFF_COMMANDS", commands);
    let seed = seed_from_environment("DIFF_SEED");
    let start = Instant::now();
    let mut generator = Generator::new(seed, families);
    let mut run = Run::new(oracle);
    let (mut index, mut next_state) = (0, STATE_INTERVAL);
    while index < total && run.found.len() < DIFFERENCES_MAX {
        let connection = generator.random.below(CONNECTIONS);
        let count = 1 + generator.random.below(BATCH_MAX);
        let steps: Vec<Step> = (0..count).map(|_| generator.step()).collect();
        let mut agreed = run.batch(&mut generator, connection, index, steps);
        index += count as u64;
        if agreed && index >= next_state {
            agreed = run.compare_state(index);
            next_state = index + STATE_INTERVAL;
        }
        if !agreed {
            run.start_afresh();
        }
    }
    run.compare_state(index);
    println!(
        "{index} commands in {:.1?}, {} % of the replies were errors, {} keys read back",
        start.elapsed(),
        run.errors * 100 / index.max(1),
        run.keys_compared
    );
    for (reason, count) in &run.excused {
        println!("{count} replies differ as meant: {reason}");
    }
    if !run.found.is_empty() {
        let mut report = String::new();
        for (kind, (text, count)) in &run.found {
            let _ = writeln!(report, "=== {kind}: {count} differences, the first:\n{text}");
        }
        let kinds: Vec<String> =
            run.found.iter().map(|(kind, (_, count))| format!("{kind} x{count}")).collect();
        println!("{report}");
        panic!("differences with DIFF_SEED={seed} DIFF_COMMANDS={total}: {}", kinds.join(", "));
    }
}
