//! COMMANDLOG and LATENCY: what is kept of commands that take long or move much.

mod support;

use std::time::{Duration, Instant};

use support::client::Client;
use support::server::{Program, Server};

fn start(program: Program) -> Server {
    let directives = ["--appendonly", "no", "--save", "", "--enable-debug-command", "yes"];
    Server::start_with(program, &directives)
}

/// Entries of a type: value and words.
fn entries(client: &mut Client, kind: &str) -> Vec<String> {
    let all = client.words(&format!("COMMANDLOG GET -1 {kind}")).elements();
    let shown = all.iter().map(|entry| {
        let fields = entry.elements();
        let words: Vec<String> = fields[3].elements().iter().map(|word| word.text()).collect();
        format!("{} {}", fields[2].text(), words.join(" "))
    });
    shown.collect()
}

/// The same as Valkey, which has it from 8.1 on.
#[test]
fn large_requests_and_replies_are_kept_as_in_valkey() {
    let [theirs, ours] = [Program::Valkey, Program::Redstart].map(|program| {
        let server = start(program);
        let mut client = server.connect();
        let value = "x".repeat(300);
        client.words("CONFIG SET commandlog-request-larger-than 100");
        client.words("CONFIG SET commandlog-reply-larger-than 308");
        client.call(&["SET", "big", &value]);
        client.words("GET big");
        client.call(&["SET", "big", &value[..299]]);
        client.words("GET big");
        client.call(&["AUTH", &value]);
        client.call(&["HMGET", &value, "a"]);
        client.words("CONFIG SET commandlog-reply-larger-than -1");
        client.call(&["ECHO", &value]);
        let mut story = entries(&mut client, "large-request");
        story.extend(entries(&mut client, "LARGE-REPLY"));
        client.words("CONFIG SET commandlog-large-request-max-len 2");
        for line in [
            "COMMANDLOG LEN large-request",
            "COMMANDLOG LEN large-reply",
            "COMMANDLOG RESET large-request",
            "COMMANDLOG LEN large-request",
            "COMMANDLOG LEN slow",
            "COMMANDLOG LEN quick",
            "COMMANDLOG GET -2 slow",
            "COMMANDLOG GET x slow",
            "COMMANDLOG GET 1 quick",
            "COMMANDLOG GET 1",
            "COMMANDLOG NOSUCH",
            "CONFIG SET commandlog-request-larger-than -2",
            "CONFIG GET commandlog-execution-slower-than",
        ] {
            story.push(format!("{line}: {}", client.words(line)));
        }
        story
    });
    assert_eq!(ours, theirs);
}

#[test]
fn the_slow_log_is_one_of_the_three() {
    let server = start(Program::Redstart);
    let mut client = server.connect();
    client.words("CONFIG SET commandlog-execution-slower-than 0");
    assert_eq!(client.words("CONFIG GET slowlog-log-slower-than").elements()[1].text(), "0");
    client.words("SET a 1");
    client.words("CONFIG SET slowlog-log-slower-than -1");
    let slow = entries(&mut client, "slow");
    assert!(slow.iter().any(|entry| entry.ends_with("SET a 1")), "{slow:?}");
    assert_eq!(client.words("SLOWLOG LEN").integer(), Some(slow.len() as i64));
    client.words("COMMANDLOG RESET slow");
    assert_eq!(client.words("SLOWLOG LEN").integer(), Some(0));
}

#[test]
fn a_transactions_reply_counts_by_itself() {
    let server = start(Program::Redstart);
    let mut client = server.connect();
    client.words("CONFIG SET commandlog-reply-larger-than 100");
    client.call(&["SET", "k", &"x".repeat(60)]);
    for line in ["MULTI", "GET k", "GET k"] {
        client.words(line);
    }
    client.words("EXEC");
    // EXEC stays out of the log, as upstream; its commands' replies are smaller than the bound.
    assert_eq!(entries(&mut client, "large-reply"), [""; 0]);
    client.words("CONFIG SET commandlog-request-larger-than 100");
    for line in ["MULTI", "GET k", &format!("SET k {}", "y".repeat(100)), "GET k", "PING"] {
        client.words(line);
    }
    client.words("EXEC");
    assert_eq!(entries(&mut client, "large-reply"), [":108 GET k"]);
    let request = format!(":128 SET k {}", "y".repeat(100));
    assert_eq!(entries(&mut client, "large-request"), [request]);
}

#[test]
fn events_are_kept_from_the_threshold_on() {
    for program in [Program::Redis, Program::Redstart] {
        let server = start(program);
        let mut client = server.connect();
        client.words("DEBUG SLEEP 0.02");
        assert_eq!(client.words("LATENCY LATEST").elements().len(), 0, "it is off");
        client.words("CONFIG SET latency-monitor-threshold 10");
        client.words("DEBUG SLEEP 0.03");
        client.words("DEBUG SLEEP 0.001");
        let latest = client.words("LATENCY LATEST").elements();
        assert_eq!(latest.len(), 1, "{latest:?}");
        let fields = latest[0].elements();
        assert_eq!((fields[0].text(), fields.len()), ("command".to_owned(), 4));
        let millis = fields[2].integer().expect("a number");
        assert!((30..1000).contains(&millis), "{millis}");
        assert_eq!(client.words("LATENCY HISTORY command").elements().len(), 1);
        assert_eq!(client.words("LATENCY HISTORY nothing").elements().len(), 0);
        let graph = client.words("LATENCY GRAPH command").text();
        assert!(
            graph.starts_with(&format!("command - high {millis} ms, low {millis} ms")),
            "{graph}"
        );
        let error = client.words("LATENCY GRAPH nothing").text();
        assert_eq!(error, "ERR No samples available for event 'nothing'");
        assert!(client.words("LATENCY DOCTOR").text().contains("1. command: 1 "));
        assert_eq!(client.words("LATENCY RESET nothing").integer(), Some(0));
        assert_eq!(client.words("LATENCY RESET command nothing").integer(), Some(1));
        assert_eq!(client.words("LATENCY LATEST").elements().len(), 0);
    }
}

#[test]
fn a_round_of_expiry_that_takes_long_is_an_event() {
    let server = start(Program::Redstart);
    let mut client = server.connect();
    client.words("CONFIG SET latency-monitor-threshold 1");
    client.words("CONFIG SET active-expire-effort 10");
    client.words("DEBUG SET-ACTIVE-EXPIRE 0");
    let expire = "for i=1,40000 do redis.call('SET',i,string.rep('x',300),'PX',1) end";
    client.call(&["EVAL", expire, "0"]);
    client.words("DEBUG SET-ACTIVE-EXPIRE 1");
    let begin = Instant::now();
    while client.words("LATENCY HISTORY expire-cycle").elements().is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(20), "it is kept");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_a_script_calls_is_its_clients() {
    let server = start(Program::Redstart);
    let mut client = server.connect();
    client.words("CLIENT SETNAME me");
    let count = |client: &mut Client| -> u64 {
        let line = client.words("CLIENT INFO").text();
        let field = line.split(' ').find_map(|field| field.strip_prefix("tot-cmds="));
        field.and_then(|number| number.trim().parse().ok()).unwrap_or_else(|| panic!("{line}"))
    };
    let before = count(&mut client);
    client.words("CONFIG SET slowlog-log-slower-than 0");
    client.words("EVAL redis.call('ping');redis.call('echo','x') 0");
    client.words("CONFIG SET slowlog-log-slower-than -1");
    assert_eq!(count(&mut client), before + 6, "CONFIG, EVAL, ping, echo, CONFIG, CLIENT");
    let entries = client.words("SLOWLOG GET").elements();
    let called =
        |entry: &&support::client::Value| entry.elements()[3].elements()[0].text() == "echo";
    let fields = entries.iter().find(called).unwrap_or_else(|| panic!("{entries:?}")).elements();
    assert!(fields[4].text().starts_with("127.0.0.1:"), "{fields:?}");
    assert_eq!(fields[5].text(), "me");
}

/// Of what waits, and of a script that stood still, as of others.
#[test]
fn what_is_answered_later_is_kept_when_it_is() {
    let server = start(Program::Redstart);
    let (mut client, mut other) = (server.connect(), server.connect());
    client.words("CONFIG SET busy-reply-threshold 5");
    client.words("CONFIG SET commandlog-reply-larger-than 300");
    client.words("CONFIG SET commandlog-request-larger-than 150");
    let value = "x".repeat(300);
    client.try_send_raw(b"BLPOP line 0\r\n").expect("a request");
    while !other.words("INFO clients").text().contains("blocked_clients:1") {}
    other.words("CONFIG SET commandlog-request-larger-than 1000");
    other.call(&["RPUSH", "line", &value]);
    other.words("CONFIG SET commandlog-request-larger-than 150");
    client.try_read().expect("an element");
    assert_eq!(entries(&mut other, "large-reply")[0], ":322 BLPOP line 0");
    let script = "local began = os.clock() while os.clock() - began < 0.1 do end return \
                  string.rep('x', 600) -- a comment that makes the request a large one, of as many bytes";
    other.words("COMMANDLOG RESET large-reply");
    client.call(&["EVAL", script, "0"]);
    assert!(entries(&mut other, "large-reply")[0].starts_with(":608 EVAL local"));
    assert!(entries(&mut other, "large-request")[0].contains(" EVAL local"));
}

/// Waits until an event has a sample.
fn await_event(client: &mut Client, event: &str) {
    let begin = Instant::now();
    while client.call(&["LATENCY", "HISTORY", event]).elements().is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{event} is kept");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(client.words("LATENCY DOCTOR").text().contains(&format!("{event}: ")));
}

/// A list of many strings that lie by themselves, so that freeing it takes milliseconds.
fn push_many(client: &mut Client, key: &str) {
    let value = "x".repeat(9000);
    let mut push = vec!["RPUSH", key];
    push.extend(std::iter::repeat_n(&*value, 5000));
    for _ in 0..8 {
        client.call(&push);
    }
}

#[test]
fn removing_a_big_key_is_an_event_of_expiry_and_of_eviction() {
    let server = start(Program::Redstart);
    let mut client = server.connect();
    client.words("CONFIG SET lazyfree-lazy-expire no lazyfree-lazy-eviction no");
    push_many(&mut client, "expires");
    client.words("CONFIG SET latency-monitor-threshold 1");
    client.words("DEBUG SET-ACTIVE-EXPIRE 0");
    client.words("PEXPIRE expires 1");
    while client.words("EXISTS expires").integer() != Some(0) {}
    await_event(&mut client, "expire-del");
    client.words("CONFIG SET latency-monitor-threshold 0");
    client.words("DEBUG SET-ACTIVE-EXPIRE 1");
    push_many(&mut client, "evicted");
    client.words("CONFIG SET latency-monitor-threshold 1");
    client.words("CONFIG SET maxmemory-policy allkeys-random");
    client.words("CONFIG SET maxmemory 50mb");
    await_event(&mut client, "eviction-del");
    assert_eq!(client.words("DBSIZE").integer(), Some(0));
}

#[test]
fn serving_a_client_that_waited_is_an_event() {
    let server = start(Program::Redstart);
    let mut client = server.connect();
    let mut waiter = server.connect();
    client.words("CONFIG SET latency-monitor-threshold 1");
    waiter.try_send_raw(b"BLMPOP 0 1 line LEFT COUNT 100000\r\n").expect("a request");
    while !client.words("INFO clients").text().contains("blocked_clients:1") {}
    push_many(&mut client, "line");
    assert_eq!(waiter.try_read().expect("elements").elements().len(), 2);
    await_event(&mut client, "command-unblocking");
}
