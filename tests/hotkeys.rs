//! HOTKEYS: the keys that take the most time and network, what counts for them, and its bounds.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use support::client::{Client, Value, encode};
use support::random::{Random, seed_from_environment};
use support::server::{Program, Server};

fn start() -> Server {
    Server::start_with(Program::Redstart, &["--appendonly", "no", "--save", ""])
}

fn get(client: &mut Client, field: &str) -> Value {
    let report = client.words("HOTKEYS GET");
    report.field(field).unwrap_or_else(|| panic!("{field} in {report:?}"))
}

/// A list's keys and weights, in its order.
fn list(client: &mut Client, field: &str) -> Vec<(String, u64)> {
    let flat = get(client, field).elements();
    let pair = |pair: &[Value]| (pair[0].text(), pair[1].integer().unwrap_or(-1) as u64);
    flat.chunks(2).map(pair).collect()
}

/// What a request and its reply have in bytes.
fn bytes(line: &str, reply: &str) -> u64 {
    let words: Vec<&str> = line.split(' ').collect();
    (encode(&words).len() + reply.len()) as u64
}

#[test]
fn the_heaviest_keys_come_out_within_the_bound() {
    let server = start();
    let mut client = server.connect();
    let mut random = Random::new(17);
    client.words("HOTKEYS START METRICS 2 CPU NET COUNT 8");
    let mut exact: BTreeMap<String, u64> = BTreeMap::new();
    for _ in 0..200 {
        let mut commands = Vec::new();
        for _ in 0..200 {
            // Half of the load is eight keys', the first the heaviest.
            let key = match random.below(2) {
                0 => {
                    let most = 1 + random.below(8);
                    format!("hot{}", random.below(most))
                }
                _ => format!("cold{}", random.below(5000)),
            };
            let value = "x".repeat(random.below(40));
            *exact.entry(key.clone()).or_default() +=
                bytes(&format!("SET {key} {value}"), "+OK\r\n");
            commands.push(vec![b"SET".to_vec(), key.into_bytes(), value.into_bytes()]);
        }
        client.pipeline(&commands);
    }
    let all = get(&mut client, "net-bytes-all-commands-all-slots").integer().unwrap() as u64;
    let found = list(&mut client, "by-net-bytes");
    let mut wanted: Vec<(&String, u64)> = exact.iter().map(|(key, sum)| (key, *sum)).collect();
    wanted.sort_by_key(|(_, sum)| std::cmp::Reverse(*sum));
    let sum: u64 = exact.values().sum();
    assert_eq!(all, sum);
    let names = |of: &[(&String, u64)]| of.iter().map(|one| one.0.clone()).collect::<Vec<_>>();
    assert_eq!(found.len(), 8);
    assert_eq!(found.iter().map(|one| one.0.clone()).collect::<Vec<_>>(), names(&wanted[..8]));
    for ((key, shown), (_, exact)) in found.iter().zip(&wanted) {
        assert!(shown <= exact && *exact <= shown + all / 512, "{key}: {shown} of {exact}");
    }
    let by_time = list(&mut client, "by-cpu-time-us");
    // Any key's call may have been preempted, and is among the first then.
    assert!(by_time.iter().any(|(key, _)| key == "hot0"), "{by_time:?}");
}

#[test]
fn time_counts_for_the_key_that_takes_it() {
    let server = start();
    let mut client = server.connect();
    let words: Vec<String> = (0..20_000).map(|number| number.to_string()).collect();
    let mut push = vec!["RPUSH".to_owned(), "big".to_owned()];
    push.extend(words);
    client.call(&push);
    client.words("HOTKEYS START METRICS 1 CPU");
    for _ in 0..50 {
        client.words("SET small 1");
        client.words("LRANGE big 0 -1");
    }
    let found = list(&mut client, "by-cpu-time-us");
    assert_eq!(found[0].0, "big");
    assert!(found[0].1 > 500, "{found:?}");
    let all = get(&mut client, "all-commands-all-slots-us").integer().unwrap() as u64;
    assert!(all >= found[0].1, "{all}");
    let report = client.words("HOTKEYS GET");
    assert_eq!(report.field("by-net-bytes"), None);
    assert_eq!(report.field("total-net-bytes"), None);
    assert!(report.field("total-cpu-time-user-ms").is_some());
}

/// What a key of a transaction, of a script, of several keys, or of a command that waits counts.
#[test]
fn each_way_to_a_key_counts_once() {
    let server = start();
    let mut client = server.connect();
    client.words("HOTKEYS START METRICS 2 CPU NET");
    client.words("MULTI");
    client.words("SET queued 1");
    client.words("EXEC");
    let script = "for i=1,100 do redis.call('SET','called',i) end return 1";
    client.call(&["EVAL", script, "1", "named"]);
    client.words("MGET one two");
    client.words("GET");
    client.words("LPUSH queued 1");
    let mut waiter = server.connect();
    waiter.try_send_raw(&encode(&["BLPOP", "line", "0"])).unwrap();
    let waits =
        |client: &mut Client| client.words("INFO clients").text().contains("blocked_clients:1");
    let begin = Instant::now();
    while !waits(&mut client) {
        assert!(begin.elapsed() < Duration::from_secs(20), "it waits");
    }
    client.words("RPUSH line x");
    assert_eq!(waiter.try_read().unwrap().elements().len(), 2);
    let eval = encode(&["EVAL", script, "1", "named"]).len() as u64 + 4;
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    let mut wanted = vec![
        ("named".to_owned(), eval),
        ("queued".to_owned(), bytes("SET queued 1", "+OK\r\n") + bytes("LPUSH queued 1", wrong)),
        (
            "line".to_owned(),
            bytes("BLPOP line 0", "*2\r\n$4\r\nline\r\n$1\r\nx\r\n")
                + bytes("RPUSH line x", ":1\r\n"),
        ),
        ("one".to_owned(), bytes("MGET one two", "*2\r\n$-1\r\n$-1\r\n").div_ceil(2)),
        ("two".to_owned(), bytes("MGET one two", "*2\r\n$-1\r\n$-1\r\n").div_ceil(2)),
    ];
    wanted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    assert_eq!(list(&mut client, "by-net-bytes"), wanted);
    let timed: Vec<String> =
        list(&mut client, "by-cpu-time-us").into_iter().map(|one| one.0).collect();
    assert!(timed.contains(&"called".to_owned()), "{timed:?}");
    assert!(!timed.contains(&"named".to_owned()), "{timed:?}");
}

#[test]
fn it_is_idle_collecting_or_stopped() {
    let server = start();
    let mut client = server.connect();
    let mut modern = server.connect();
    modern.words("HELLO 3");
    assert_eq!(client.words("HOTKEYS GET"), Value::NullBulk);
    assert_eq!(modern.words("HOTKEYS GET"), Value::Null);
    assert_eq!(client.words("HOTKEYS STOP").text(), "ERR HOTKEYS isn't collecting");
    assert_eq!(client.words("HOTKEYS RESET").text(), "OK");
    assert_eq!(client.words("HOTKEYS START METRICS 1 NET").text(), "OK");
    let again = client.words("HOTKEYS START METRICS 1 CPU").text();
    assert_eq!(again, "ERR HOTKEYS is collecting already");
    let reset = client.words("HOTKEYS RESET").text();
    assert_eq!(reset, "ERR HOTKEYS is collecting, and must be stopped first");
    client.words("SET k 1");
    assert_eq!(get(&mut client, "tracking-active").integer(), Some(1));
    assert!(matches!(client.words("HOTKEYS GET"), Value::Array(_)));
    assert!(matches!(modern.words("HOTKEYS GET"), Value::Map(_)));
    assert_eq!(client.words("HOTKEYS STOP").text(), "OK");
    let stopped = client.words("HOTKEYS GET");
    client.words("SET k 1");
    assert_eq!(client.words("HOTKEYS GET"), stopped, "it stands still");
    assert_eq!(get(&mut client, "tracking-active").integer(), Some(0));
    let set = bytes("SET k 1", "+OK\r\n");
    assert_eq!(list(&mut client, "by-net-bytes"), [("k".to_owned(), set)]);
    // Another begins anew.
    assert_eq!(client.words("HOTKEYS START METRICS 1 NET").text(), "OK");
    assert_eq!(list(&mut client, "by-net-bytes"), []);
    client.words("HOTKEYS STOP");
    assert_eq!(client.words("HOTKEYS RESET").text(), "OK");
    assert_eq!(client.words("HOTKEYS GET"), Value::NullBulk);
}

#[test]
fn a_duration_ends_it() {
    let server = start();
    let mut client = server.connect();
    client.words("HOTKEYS START METRICS 1 NET DURATION 1");
    client.words("SET before 1");
    let begin = Instant::now();
    while get(&mut client, "tracking-active").integer() == Some(1) {
        assert!(begin.elapsed() < Duration::from_secs(20), "it ends");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(begin.elapsed() > Duration::from_millis(900));
    client.words("SET after 1");
    assert_eq!(list(&mut client, "by-net-bytes").len(), 1);
    assert_eq!(get(&mut client, "collection-duration-ms").integer(), Some(1000));
    assert_eq!(client.words("HOTKEYS STOP").text(), "ERR HOTKEYS isn't collecting");
    assert_eq!(client.words("HOTKEYS RESET").text(), "OK");
}

#[test]
fn a_sample_counts_a_part() {
    let server = start();
    let mut client = server.connect();
    client.words("HOTKEYS START METRICS 1 NET SAMPLE 10");
    let set = ["SET", "k", "1"].map(|word| word.as_bytes().to_vec()).to_vec();
    client.pipeline(&vec![set; 10_000]);
    let found = list(&mut client, "by-net-bytes")[0].1 / bytes("SET k 1", "+OK\r\n");
    // Four standard deviations of a binomial distribution are 120.
    assert!((800..1200).contains(&found), "{found}");
    assert_eq!(get(&mut client, "sample-ratio").integer(), Some(10));
    let all = get(&mut client, "net-bytes-all-commands-all-slots").integer().unwrap() as u64;
    assert!(all > 10_000 * bytes("SET k 1", "+OK\r\n"), "the totals are of all: {all}");
}

#[test]
fn what_it_does_not_understand_is_refused() {
    let server = start();
    let mut client = server.connect();
    let first = "ERR METRICS has to be the first option";
    let count = "ERR the count of METRICS must be 1 or 2";
    let metrics =
        "ERR METRICS must be followed by as many different metrics (CPU, NET) as it counts";
    let most = "ERR COUNT must be from 1 to 1000";
    let seconds = "ERR DURATION must be a positive number of seconds";
    let ratio = "ERR SAMPLE must be a positive number, one call in so many";
    let syntax = "ERR syntax error";
    for (options, error) in [
        ("", first),
        (" COUNT 5", first),
        (" METRICS", count),
        (" METRICS x", count),
        (" METRICS 0", count),
        (" METRICS 3 CPU NET", count),
        (" METRICS 1", metrics),
        (" METRICS 2 CPU", metrics),
        (" METRICS 2 CPU CPU", metrics),
        (" METRICS 1 DISK", metrics),
        (" METRICS 1 CPU NET", syntax),
        (" METRICS 1 CPU COUNT", syntax),
        (" METRICS 1 CPU COUNT 0", most),
        (" METRICS 1 CPU COUNT 1001", most),
        (" METRICS 1 CPU COUNT 9223372036854775808", most),
        (" METRICS 1 CPU DURATION 0", seconds),
        (" METRICS 1 CPU DURATION -1", seconds),
        (" METRICS 1 CPU SAMPLE 0", ratio),
        (" METRICS 1 CPU SAMPLE many", ratio),
        (" METRICS 1 CPU COUNT 5 COUNT 5", syntax),
        (" METRICS 1 CPU SLOTS 1 0", "ERR SLOTS can't be used without cluster mode"),
        (" METRICS 1 CPU WHAT 1", syntax),
    ] {
        assert_eq!(client.words(&format!("HOTKEYS START{options}")).text(), error, "{options}");
        assert_eq!(client.words("HOTKEYS GET"), Value::NullBulk, "{options}");
    }
    let big = "HOTKEYS START METRICS 2 NET CPU DURATION 9223372036854775807 SAMPLE \
               9223372036854775807 COUNT 1000";
    assert_eq!(client.words(big).text(), "OK");
    assert_eq!(client.words("GET k"), Value::NullBulk);
    assert!(client.words("HOTKEYS GET x").is_error());
    assert!(client.words("HOTKEYS NOSUCH").is_error());
    assert!(client.words("HOTKEYS HELP").elements().len() > 5);
}

/// Many keys, and long ones, take no more than the head says.
#[test]
fn its_memory_is_bounded() {
    let server = start();
    let mut client = server.connect();
    let allocated = |client: &mut Client| {
        let stats = client.words("MEMORY STATS");
        stats.field("allocator.allocated").and_then(|field| field.integer()).unwrap()
    };
    let long = "k".repeat(100_000);
    let long_ones = |client: &mut Client| {
        for number in 0..300 {
            client.call(&["GET", &format!("{long}{number}")]);
        }
    };
    long_ones(&mut client);
    let before = allocated(&mut client);
    client.words("HOTKEYS START METRICS 2 CPU NET COUNT 1000");
    for round in 0..50 {
        let one = |number| vec![b"GET".to_vec(), format!("{round}:{number}").into_bytes()];
        client.pipeline(&(0..1000).map(one).collect::<Vec<_>>());
    }
    long_ones(&mut client);
    let found = list(&mut client, "by-net-bytes");
    assert_eq!(found.len(), 1000);
    let shown = format!("{}... (99873 more bytes)", &long[..128]);
    assert_eq!(found.iter().filter(|one| one.0 == shown).count(), 10, "{:?}", found[0].0);
    let grown = allocated(&mut client) - before;
    assert!(grown < 8 << 20, "{grown} bytes");
    client.words("HOTKEYS STOP");
    client.words("HOTKEYS RESET");
    let kept = allocated(&mut client) - before;
    assert!(kept < 1 << 20, "{kept} of {grown} bytes");
}

/// How many bytes a reply has in RESP2.
fn reply_bytes(reply: &Value) -> u64 {
    let line = |number: usize| number.to_string().len() + 3;
    (match reply {
        Value::Simple(text) | Value::Error(text) => text.len() + 3,
        Value::Integer(number) => number.to_string().len() + 3,
        Value::Bulk(bytes) => line(bytes.len()) + bytes.len() + 2,
        Value::NullBulk | Value::NullArray => 5,
        Value::Array(items) => {
            return line(items.len()) as u64 + items.iter().map(reply_bytes).sum::<u64>();
        }
        other => panic!("RESP2 has no {other}"),
    }) as u64
}

/// A command, and the keys that its bytes count for.
#[derive(Clone, Debug)]
struct Call {
    words: Vec<String>,
    keys: Vec<String>,
}

impl Call {
    /// One whose keys are among its words.
    fn new(words: &[&str], keys: &[&str]) -> Self {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self { words: owned(words), keys: owned(keys) }
    }

    fn request_bytes(&self) -> u64 {
        encode(&self.words).len() as u64
    }
}

/// What a client sends at once.
#[derive(Debug)]
enum Request {
    One(Call),
    /// MULTI, these, and EXEC or DISCARD.
    Transaction(Vec<Call>, &'static str),
}

/// What the test itself has counted.
#[derive(Debug, Default)]
struct Counted {
    by_key: BTreeMap<String, u64>,
    all: u64,
}

impl Counted {
    fn count(&mut self, call: &Call, reply: &Value) {
        let bytes = call.request_bytes() + reply_bytes(reply);
        self.all += bytes;
        self.count_keys(call, bytes);
    }

    fn count_keys(&mut self, call: &Call, bytes: u64) {
        for key in &call.keys {
            let share = bytes.div_ceil(call.keys.len() as u64);
            *self.by_key.entry(key.clone()).or_default() += share;
        }
    }
}

impl Request {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::One(call) => encode(&call.words),
            Self::Transaction(calls, end) => {
                let mut bytes = encode(&["MULTI"]);
                bytes.extend(calls.iter().flat_map(|call| encode(&call.words)));
                bytes.extend(encode(&[end]));
                bytes
            }
        }
    }

    /// Reads the replies, and counts by them.
    fn finish(&self, client: &mut Client, counted: &mut Counted) {
        let mut read = || client.try_read().expect("a reply");
        match self {
            Self::One(call) => counted.count(call, &read()),
            Self::Transaction(calls, end) => {
                counted.count(&Call::new(&["MULTI"], &[]), &read());
                calls.iter().for_each(|_| assert_eq!(read().text(), "QUEUED"));
                let reply = read();
                counted.count(&Call::new(&[end], &[]), &reply);
                for (call, reply) in calls.iter().zip(reply.elements()) {
                    // Its reply is a part of EXEC's.
                    counted.all += call.request_bytes();
                    counted.count_keys(call, call.request_bytes() + reply_bytes(&reply));
                }
            }
        }
    }
}

fn random_call(random: &mut Random) -> Call {
    let key = |random: &mut Random| format!("key:{}", random.below(30));
    let (one, two) = (key(random), key(random));
    let value = "v".repeat(random.below(300));
    match random.below(9) {
        0 => Call::new(&["SET", &one, &value], &[&one]),
        1 => Call::new(&["GET", &one], &[&one]),
        2 => Call::new(&["APPEND", &one, &value], &[&one]),
        3 => Call::new(&["MGET", &one, &two, &one], &[&one, &two, &one]),
        4 => Call::new(&["MSET", &one, &value, &two, "1"], &[&one, &two]),
        // Refused where the key holds another type, which counts all the same.
        5 => Call::new(&["LPUSH", &one, &value], &[&one]),
        6 => Call::new(&["INCR", &one], &[&one]),
        7 => Call::new(&["DEL", &one, &two], &[&one, &two]),
        _ => {
            let script = "for i = 1, 5 do redis.pcall('INCR', KEYS[1]) end \
                          return redis.pcall('GET', KEYS[2])";
            Call::new(&["EVAL", script, "2", &one, &two], &[&one, &two])
        }
    }
}

/// A push onto a line, straight, or by a script, whose own call has no bytes.
fn push(random: &mut Random, line: &str) -> Call {
    if random.chance(50) {
        return Call::new(&["RPUSH", line, "element"], &[line]);
    }
    Call::new(&["EVAL", "return redis.call('RPUSH', ARGV[1], 'element')", "1", "k", line], &["k"])
}

/// Clients whose requests fall into one tick, with transactions, scripts, and waiting clients that those
/// serve: each byte counts once, for the keys that its own command names.
#[test]
fn every_byte_of_many_clients_counts_once() {
    let server = start();
    let mut control = server.connect();
    let mut workers: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    let mut waiters: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    let mut random = Random::new(seed_from_environment("HOTKEYS_SEED"));
    let mut counted = Counted::default();
    control.words("HOTKEYS START METRICS 2 CPU NET COUNT 100");
    for _ in 0..300 {
        let mut requests: Vec<Request> = Vec::new();
        for worker in 0..workers.len() {
            // Each line that somebody waits in gets one element in each round.
            let served = (worker < waiters.len()).then(|| format!("line:{worker}"));
            let served = served.map(|line| push(&mut random, &line));
            requests.push(if random.chance(40) {
                let count = random.below(5);
                let mut calls: Vec<Call> = (0..count).map(|_| random_call(&mut random)).collect();
                calls.extend(served.clone());
                let end = if served.is_none() && random.chance(20) { "DISCARD" } else { "EXEC" };
                Request::Transaction(calls, end)
            } else {
                Request::One(served.unwrap_or_else(|| random_call(&mut random)))
            });
        }
        let waits: Vec<Call> = (0..waiters.len())
            .map(|waiter| format!("line:{waiter}"))
            .map(|line| Call::new(&["BLPOP", &line, "0"], &[&line]))
            .collect();
        // Some wait already when the elements come, some only then.
        let early = random.below(waiters.len() + 1);
        let mut send_waits = |range: std::ops::Range<usize>| {
            for waiter in range {
                waiters[waiter].try_send_raw(&encode(&waits[waiter].words)).unwrap();
            }
        };
        send_waits(0..early);
        for (worker, request) in workers.iter_mut().zip(&requests) {
            worker.try_send_raw(&request.encode()).unwrap();
        }
        send_waits(early..waits.len());
        for (worker, request) in workers.iter_mut().zip(&requests) {
            request.finish(worker, &mut counted);
        }
        for (waiter, call) in waiters.iter_mut().zip(&waits) {
            counted.count(call, &waiter.try_read().expect("an element"));
        }
    }
    control.words("HOTKEYS STOP");
    let found: BTreeMap<String, u64> = list(&mut control, "by-net-bytes").into_iter().collect();
    assert_eq!(found, counted.by_key);
    let all = get(&mut control, "net-bytes-all-commands-all-slots").integer();
    assert_eq!(all, Some(counted.all as i64));
    // What scripts call is in the scripts' time, which counts for no key again.
    let timed = list(&mut control, "by-cpu-time-us");
    let sum: u64 = timed.iter().map(|one| one.1).sum();
    let whole = get(&mut control, "all-commands-all-slots-us").integer().unwrap() as u64;
    assert!(sum <= whole + timed.len() as u64, "{sum} of {whole} microseconds");
}
