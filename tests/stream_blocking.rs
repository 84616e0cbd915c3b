//! Clients that wait for entries of streams: what wakes them, with which meaning of `$`, and what they are
//! told when the key or the group goes; and what XGROUP refuses. The texts are those of Redis 7.2.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use support::client::{Client, Value, argv, encode};
use support::random::{self, Random};
use support::server::{Program, Server};

const PATIENCE: Duration = Duration::from_secs(20);
const NO_GROUP: &str =
    "-NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option";
const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

fn start() -> Server {
    Server::start_with(Program::Redstart, &["--appendonly", "no", "--save", ""])
}

/// Sends a command and waits until the server has parked the client.
fn park(control: &mut Client, server: &Server, line: &str) -> Client {
    let mut client = server.connect();
    let id = client.words("CLIENT ID").integer().expect("a client has a number");
    client.try_send_raw(&encode(&argv(line))).expect("a command can be sent");
    let began = Instant::now();
    let list = format!("CLIENT LIST ID {id}");
    while !control.words(&list).text().contains("flags=b") {
        assert!(began.elapsed() < PATIENCE, "{line} never waits");
        std::thread::yield_now();
    }
    client
}

fn read(client: &mut Client) -> String {
    client.try_read().expect("an answer").to_string().replace('\\', "")
}

/// A stream with a group that has read all of it.
fn group(control: &mut Client) {
    for line in ["FLUSHALL", "XADD s 1-1 a b", "XGROUP CREATE s g $", "XADD other 1-1 a b"] {
        assert!(!control.words(line).is_error(), "{line}");
    }
}

#[test]
fn a_dollar_means_the_last_entry_of_when_the_command_came() {
    let server = start();
    let mut control = server.connect();
    control.words("XADD s 5-0 a b");
    let mut client = park(&mut control, &server, "XREAD BLOCK 0 STREAMS none s $ $");
    // What changes but adds nothing new leaves it waiting; what comes in the end is behind what was last
    // when it came, not behind what is last now.
    for line in ["XDEL s 5-0", "MULTI", "XADD s 6-0 c d", "XADD s 7-0 e f", "XDEL s 6-0", "EXEC"] {
        control.words(line);
    }
    assert_eq!(read(&mut client), "*[*[\"s\", *[*[\"7-0\", *[\"e\", \"f\"]]]]]");
    let mut client = park(&mut control, &server, "XREAD BLOCK 0 STREAMS s $");
    control.words("DEL s");
    control.words("XADD s 3-0 a b");
    control.words("XADD s 8-0 a b");
    assert_eq!(read(&mut client), "*[*[\"s\", *[*[\"8-0\", *[\"a\", \"b\"]]]]]");
}

/// `+` was resolved once as `$` is: of two entries added at once a waiting client got both, and it found
/// nothing in a stream whose last entry was deleted.
#[test]
fn a_plus_means_the_last_entry_that_there_is() {
    let server = start();
    let mut control = server.connect();
    let last = |id: &str| format!("*[*[\"s\", *[*[\"{id}\", *[\"a\", \"b\"]]]]]");
    for stands in ["DEL s", "XGROUP CREATE s g $ MKSTREAM"] {
        control.words(stands);
        let mut client = park(&mut control, &server, "XREAD BLOCK 0 STREAMS none s + +");
        for line in ["MULTI", "XADD s 6-0 a b", "XADD s 7-0 a b", "EXEC"] {
            control.words(line);
        }
        assert_eq!(read(&mut client), last("7-0"), "{stands}");
        control.words("XDEL s 7-0");
        let reply = control.words("XREAD BLOCK 1 COUNT 5 STREAMS s +").to_string();
        assert_eq!(reply.replace('\\', ""), last("6-0"));
        control.words("XDEL s 6-0");
        assert_eq!(control.words("XREAD STREAMS s +").to_string(), "*nil");
        control.words("DEL s");
    }
}

#[test]
fn readers_of_a_group_hear_that_key_or_group_are_gone() {
    let server = start();
    let mut control = server.connect();
    for (commands, expected) in [
        (&["DEL s"][..], NO_GROUP),
        (&["UNLINK s"], NO_GROUP),
        (&["XGROUP DESTROY s g"], NO_GROUP),
        (&["SET s text"], WRONG_TYPE),
        (&["MULTI", "DEL s", "RPUSH s a", "EXEC"], WRONG_TYPE),
        (&["FLUSHALL"], NO_GROUP),
        (&["FLUSHDB ASYNC"], NO_GROUP),
        (&["SWAPDB 0 1"], NO_GROUP),
        (&["RENAME s elsewhere"], NO_GROUP),
        (&["RENAME other s"], NO_GROUP),
        (&["MOVE s 1"], NO_GROUP),
        (&["PEXPIRE s -1"], NO_GROUP),
        // A group that is made anew is as good.
        (
            &["MULTI", "DEL s", "XGROUP CREATE s g 0 MKSTREAM", "EXEC", "XADD s 9-9 a b"],
            "*[*[\"s\", *[*[\"9-9\", *[\"a\", \"b\"]]]]]",
        ),
    ] {
        group(&mut control);
        let line = "XREADGROUP GROUP g c BLOCK 0 STREAMS s >";
        let mut client = park(&mut control, &server, line);
        for line in commands {
            assert!(!control.words(line).is_error(), "{line}");
        }
        assert_eq!(read(&mut client), expected, "{commands:?}");
    }
}

#[test]
fn an_entry_wakes_the_first_that_waits_in_each_group() {
    let server = start();
    let mut control = server.connect();
    group(&mut control);
    control.words("XGROUP CREATE s h $");
    let first = "XREADGROUP GROUP g c BLOCK 0 STREAMS s >";
    let mut first = park(&mut control, &server, first);
    let mut second = park(&mut control, &server, "XREADGROUP GROUP g d BLOCK 0 STREAMS s >");
    let mut other = park(&mut control, &server, "XREADGROUP GROUP h c BLOCK 0 STREAMS s >");
    let mut alone = park(&mut control, &server, "XREAD BLOCK 0 STREAMS s $");
    control.words("XADD s 2-0 a b");
    let entry = |id: &str| format!("*[*[\"s\", *[*[\"{id}\", *[\"a\", \"b\"]]]]]");
    for client in [&mut first, &mut other, &mut alone] {
        assert_eq!(read(client), entry("2-0"));
    }
    assert_eq!(control.words("XPENDING s g").elements()[0].integer(), Some(1));
    control.words("XADD s 3-0 a b");
    assert_eq!(read(&mut second), entry("3-0"));
    assert_eq!(control.words("XACK s g 2-0 3-0").integer(), Some(2));
    // Only the time ends a wait for what doesn't come.
    let mut client = park(&mut control, &server, "XREADGROUP GROUP g c BLOCK 100 STREAMS s >");
    assert_eq!(read(&mut client), "*nil");
}

/// Redis 8.4's CLAIM: what has been pending for long enough comes to whoever waits, by time alone, and
/// what is given back (XNACK of 8.8) comes at once.
#[test]
fn time_brings_what_others_have_not_acknowledged() {
    let server = start();
    let mut control = server.connect();
    group(&mut control);
    control.words("XADD s 2-0 a b");
    control.words("XADD s 3-0 a b");
    control.words("XREADGROUP GROUP g slow STREAMS s >");
    let began = Instant::now();
    let line = "XREADGROUP GROUP g c BLOCK 0 CLAIM 300 COUNT 1 STREAMS other s > >";
    control.words("XGROUP CREATE other g $");
    let mut client = park(&mut control, &server, line);
    let reply = read(&mut client);
    assert!(reply.starts_with("*[*[\"s\", *[*[\"2-0\", *[\"a\", \"b\"], "), "{reply}");
    assert!(began.elapsed() >= Duration::from_millis(290), "{:?}", began.elapsed());
    control.words("XREADGROUP GROUP g slow CLAIM 0 STREAMS s >");
    // It gives up before anything has waited for so long.
    let line = "XREADGROUP GROUP g c BLOCK 100 CLAIM 100000000 STREAMS s >";
    let mut client = park(&mut control, &server, line);
    assert_eq!(read(&mut client), "*nil");
    let line = "XREADGROUP GROUP g c BLOCK 0 CLAIM 100000000 STREAMS s >";
    let mut client = park(&mut control, &server, line);
    assert_eq!(control.words("XNACK s g FAIL IDS 1 3-0").integer(), Some(1));
    let reply = read(&mut client);
    assert!(reply.starts_with("*[*[\"s\", *[*[\"3-0\", *[\"a\", \"b\"], "), "{reply}");
    assert_eq!(control.words("XPENDING s g 3 3 1 c").elements().len(), 1);
}

/// XCLAIM woke no reader with CLAIM: what it made pending, or what it says was delivered long ago, came
/// when the reader would have looked by itself, which may be never.
#[test]
fn a_claim_lets_readers_look_for_what_has_been_pending_for_long() {
    let server = start();
    let mut control = server.connect();
    group(&mut control);
    let line = "XREADGROUP GROUP g c BLOCK 0 CLAIM 100000 STREAMS s >";
    for claim in [
        "XCLAIM s g other 0 1-1 FORCE IDLE 100001 JUSTID",
        "XCLAIM s g other 0 1-1 IDLE 200000 JUSTID",
        "XCLAIM s g other 0 1-1 TIME 1000 JUSTID",
    ] {
        let mut client = park(&mut control, &server, line);
        assert_eq!(control.words(claim).elements().len(), 1, "{claim}");
        let reply = read(&mut client);
        assert!(reply.starts_with("*[*[\"s\", *[*[\"1-1\", *[\"a\", \"b\"], "), "{reply}");
    }
    // What is made pending now comes when its time has come.
    control.words("XACK s g 1-1");
    let line = "XREADGROUP GROUP g c BLOCK 0 CLAIM 50 STREAMS s >";
    let mut client = park(&mut control, &server, line);
    control.words("XCLAIM s g other 0 1-1 FORCE JUSTID");
    assert!(read(&mut client).starts_with("*[*[\"s\", *[*[\"1-1\", "));
}

/// A reader with CLAIM claimed when its time came, whatever was paused: it changed data while a failover or
/// CLIENT PAUSE holds those that write.
#[test]
fn time_claims_nothing_while_writers_are_paused() {
    let server = start();
    let mut control = server.connect();
    group(&mut control);
    control.words("XADD s 2-0 a b");
    control.words("XREADGROUP GROUP g slow STREAMS s >");
    let line = "XREADGROUP GROUP g c BLOCK 0 CLAIM 300 STREAMS s >";
    let mut client = park(&mut control, &server, line);
    let mut timed =
        park(&mut control, &server, "XREADGROUP GROUP g d BLOCK 350 CLAIM 300 STREAMS s >");
    control.words("CLIENT PAUSE 100000 WRITE");
    // Its time passes while what only reads goes on, and what waits gives up in time.
    assert_eq!(control.words("XREAD BLOCK 500 STREAMS none $").to_string(), "*nil");
    assert_eq!(read(&mut timed), "*nil");
    assert_eq!(control.words("XPENDING s g - + 9 slow").elements().len(), 1);
    assert!(!client.has_answer());
    control.words("CLIENT UNPAUSE");
    let reply = read(&mut client);
    assert!(reply.starts_with("*[*[\"s\", *[*[\"2-0\", *[\"a\", \"b\"], "), "{reply}");
}

/// What a transaction pushed that began a pause was popped by those who waited for it at once: a write
/// during the pause. Valkey serves them when it is over, too.
#[test]
fn waiting_clients_are_served_when_a_pause_is_over() {
    let server = start();
    let mut control = server.connect();
    for end in ["CLIENT UNPAUSE", "PING"] {
        let mut client = park(&mut control, &server, "BLPOP l 0");
        let pause = format!("CLIENT PAUSE {} WRITE", if end == "PING" { 300 } else { 100_000 });
        for line in ["MULTI", "RPUSH l x", &pause, "EXEC"] {
            assert!(!control.words(line).is_error(), "{line}");
        }
        assert_eq!(control.words("LLEN l").integer(), Some(1));
        assert!(!client.has_answer());
        assert!(!control.words(end).is_error());
        assert_eq!(read(&mut client), "*[\"l\", \"x\"]", "{end}");
    }
}

#[test]
fn xgroup_takes_as_many_words_as_all_its_options_have() {
    let server = start();
    let mut control = server.connect();
    let refusal = |name: &str| {
        format!(
            "-ERR unknown subcommand or wrong number of arguments for '{name}'. Try XGROUP HELP."
        )
    };
    // What the key lacks is told first.
    let reply = control.words("XGROUP CREATE s g 0 ENTRIESREAD 1 ENTRIESREAD 2").to_string();
    assert!(reply.starts_with("-ERR The XGROUP subcommand requires the key"), "{reply}");
    for (line, expected) in [
        ("XGROUP CREATE s g 0 MKSTREAM MKSTREAM MKSTREAM", "+OK".to_owned()),
        ("XGROUP CREATE s h 0 MKSTREAM ENTRIESREAD 5 MKSTREAM", refusal("CREATE")),
        ("XGROUP create s h x MKSTREAM ENTRIESREAD 5 MKSTREAM", refusal("create")),
        ("XGROUP SETID s g 0 ENTRIESREAD 5", "+OK".to_owned()),
        ("XGROUP SETID s g 0 ENTRIESREAD 5 ENTRIESREAD 5", refusal("SETID")),
    ] {
        let reply = control.words(line).to_string().replace('\\', "");
        assert_eq!(reply, expected, "{line}");
    }
}

/// Once every entry made all consumers that waited run their commands again: of 400 of them each paid
/// for the others.
#[test]
fn consumers_of_a_group_are_served_one_by_one_as_they_came() {
    let server = start();
    let mut control = server.connect();
    group(&mut control);
    control.words("XGROUP CREATE s h $");
    let mut clients: Vec<Client> = (0..40)
        .map(|one| {
            let group = if one % 4 == 3 { "h" } else { "g" };
            let line = format!("XREADGROUP GROUP {group} c{one} COUNT 1 BLOCK 0 STREAMS s >");
            park(&mut control, &server, &line)
        })
        .collect();
    for entry in 2..12 {
        control.words(&format!("XADD s {entry}-0 a b"));
    }
    // Ten entries: ten of the thirty in one group, and all ten in the other, in their order.
    let (mut next_g, mut next_h) = (2, 2);
    for (one, client) in clients.iter_mut().enumerate() {
        let next = if one % 4 == 3 { &mut next_h } else { &mut next_g };
        if *next < 12 {
            let expected = format!("\"{next}-0\"");
            let reply = read(client);
            assert!(reply.contains(&expected), "{one}: {reply}");
            *next += 1;
        }
    }
    assert_eq!((next_g, next_h), (12, 12));
    // Where there is more for the group than the one entry that came, more of them are served.
    control.words("XGROUP SETID s g 9-0");
    control.words("XADD s 12-0 a b");
    for (one, id) in [(13, "10-0"), (14, "11-0"), (16, "12-0")] {
        let reply = read(&mut clients[one]);
        assert!(reply.contains(id), "{one}: {reply}");
    }
    assert_eq!(control.words("CLIENT LIST").text().matches("flags=b").count(), 17);
}

/// A try makes the consumer seen, whether there is something for it or not: who wasn't seen anew wasn't
/// tried.
#[test]
fn an_entry_has_one_of_fifty_consumers_try() {
    const IDLE_MS: i64 = 300;
    let server = start();
    let mut control = server.connect();
    group(&mut control);
    let mut clients: Vec<Client> = (0..50)
        .map(|one| {
            let line = format!("XREADGROUP GROUP g c{one} BLOCK 0 STREAMS s >");
            park(&mut control, &server, &line)
        })
        .collect();
    let idle = |consumers: &Value| -> Vec<(String, i64)> {
        let one = |one: &Value| {
            let (name, idle) = (one.field("name"), one.field("idle"));
            (name.expect("a name").text(), idle.and_then(|ms| ms.integer()).expect("a number"))
        };
        consumers.elements().iter().map(one).collect()
    };
    let began = Instant::now();
    while idle(&control.words("XINFO CONSUMERS s g")).iter().any(|(_, ms)| *ms < IDLE_MS) {
        assert!(began.elapsed() < PATIENCE, "time passes");
        std::thread::yield_now();
    }
    let replies = control.pipeline(&[argv("XADD s 2-0 a b"), argv("XINFO CONSUMERS s g")]);
    let idle = idle(&replies[1]);
    assert_eq!(idle.len(), 50);
    let tried: Vec<&(String, i64)> = idle.iter().filter(|(_, ms)| *ms < IDLE_MS).collect();
    assert!(matches!(tried[..], [(name, _)] if name == "c0"), "{tried:?}");
    assert!(read(&mut clients[0]).contains("\"2-0\""));
}

/// Readers with CLAIM that are parked, and the least that an entry must have waited for each.
struct Claiming {
    server: Server,
    control: Client,
    readers: Vec<(Client, i64)>,
    /// Ids that were delivered as new ones.
    delivered: HashSet<String>,
    /// Entries that were new, that were claimed, and readers that were told that the group went.
    told: [usize; 3],
}

impl Claiming {
    fn park(&mut self, random: &mut Random) {
        let claim_ms = random.pick(&[5, 20, 100_000]);
        let consumer = random.below(3);
        let count = random.pick(&["", "COUNT 1 "]);
        let line =
            format!("XREADGROUP GROUP g c{consumer} BLOCK 0 CLAIM {claim_ms} {count}STREAMS s >");
        let mut client = self.server.connect();
        client.try_send_raw(&encode(&argv(&line))).expect("sent");
        self.readers.push((client, claim_ms));
    }

    /// What a pipeline of one to four commands says, in one tick.
    fn burst(&mut self, random: &mut Random, number: usize) {
        let pending = self.control.words("XPENDING s g - + 20").elements();
        let id = match pending.len() {
            0 => format!("{number}-1"),
            many => pending[random.below(many)].elements()[0].text(),
        };
        let mut lines: Vec<String> = Vec::new();
        for part in 1..=1 + random.below(4) {
            lines.push(match random.below(34) {
                0..=10 => format!("XADD s {number}-{part} a b"),
                11..=13 => format!("XACK s g {id}"),
                14 | 15 => format!("XCLAIM s g other 0 {id} IDLE 200000 JUSTID"),
                16 => format!("XCLAIM s g other 0 {id} FORCE"),
                17..=19 => format!("XNACK s g FAIL IDS 1 {id}"),
                20 | 21 => format!("XDEL s {id}"),
                22 => "XTRIM s MAXLEN 2".into(),
                23 => "XAUTOCLAIM s g other 5 - COUNT 1".into(),
                24 => format!("XGROUP DELCONSUMER s g c{}", random.below(3)),
                25..=27 => format!("CLIENT PAUSE {} WRITE", random.between(1, 30)),
                28 | 29 => "CLIENT UNPAUSE".into(),
                30 => "XGROUP DESTROY s g".into(),
                31 => "DEL s".into(),
                32 => "SET s text".into(),
                _ => "FLUSHALL".into(),
            });
        }
        if random.chance(30) {
            lines.insert(0, "MULTI".into());
            lines.push("EXEC".into());
        }
        let again = ["MULTI", "XGROUP CREATE s g $ MKSTREAM", "EXEC"];
        lines.extend(again.map(str::to_owned));
        let commands: Vec<_> = lines.iter().map(|line| argv(line)).collect();
        self.control.pipeline(&commands);
        if self.control.words("TYPE s").text() == "string" {
            self.control.words("DEL s");
            self.control.words("XGROUP CREATE s g $ MKSTREAM");
        }
    }

    /// Takes what the readers were answered, which must be what they asked for.
    fn take_answers(&mut self) {
        let mut index = 0;
        while index < self.readers.len() {
            let (client, claim_ms) = &mut self.readers[index];
            if !client.has_answer() {
                index += 1;
                continue;
            }
            let answer = client.try_read().expect("an answer");
            if answer.is_error() {
                let text = answer.text();
                assert!(text.starts_with("NOGROUP") || text.starts_with("WRONGTYPE"), "{text}");
                self.told[2] += 1;
            } else {
                let entries = answer.elements()[0].elements()[1].elements();
                assert!(!entries.is_empty(), "a reader waits until there is something");
                for entry in entries.iter().map(Value::elements) {
                    let (idle, times) = (entry[2].integer(), entry[3].integer());
                    let id = entry[0].text();
                    if times == Some(0) {
                        assert!(self.delivered.insert(id.clone()), "{id} is new for the second");
                        self.told[0] += 1;
                    } else {
                        assert!(idle >= Some(*claim_ms), "{id}: {idle:?} of {claim_ms} ms");
                        self.told[1] += 1;
                    }
                }
            }
            self.readers.swap_remove(index);
        }
    }

    /// What a reader should have been given, where there is something.
    fn due(&mut self) -> Option<String> {
        let group = self.control.words("XINFO GROUPS s").elements()[0].clone();
        let last = group.field("last-delivered-id").expect("a field").text();
        let new = self.control.words(&format!("XRANGE s ({last} + COUNT 1")).to_string();
        for (_, claim_ms) in &self.readers {
            let pending = format!("XPENDING s g IDLE {claim_ms} - + 1");
            let pending = self.control.words(&pending).to_string();
            if pending != "*[]" || new != "*[]" {
                return Some(format!("CLAIM {claim_ms}: new {new}, pending {pending}"));
            }
        }
        None
    }
}

/// Whatever happens to a stream in one tick, and whatever is paused meanwhile: no reader with CLAIM stays
/// parked beside an entry that it could have, none gets what hasn't waited for long enough, and nothing is
/// new twice. (No server beside: Valkey 9.1 has no CLAIM.)
#[test]
fn no_reader_with_claim_stands_still_beside_what_it_could_have() {
    let server = start();
    let mut random = Random::new(random::seed_from_environment("CLAIM_SEED"));
    let (control, readers) = (server.connect(), Vec::new());
    let mut claiming =
        Claiming { server, control, readers, delivered: HashSet::new(), told: [0; 3] };
    claiming.control.words("XGROUP CREATE s g $ MKSTREAM");
    for number in 1..=random::from_environment("CLAIM_STEPS", 400) as usize {
        while claiming.readers.len() < 4 {
            claiming.park(&mut random);
        }
        claiming.burst(&mut random, number);
        let began = Instant::now();
        loop {
            claiming.take_answers();
            let Some(due) = claiming.due() else { break };
            assert!(began.elapsed() < PATIENCE, "step {number}: stands still: {due}");
        }
        if random.chance(10) {
            let at = random.below(claiming.readers.len().max(1));
            claiming.readers.drain(at..claiming.readers.len().min(at + 1));
        }
    }
    println!("new, claimed, gone: {:?}", claiming.told);
    assert!(claiming.told.iter().all(|count| *count > 20), "{:?}", claiming.told);
}
