//! MIGRATE between servers of each kind: what arrives, what stays, and what clients see meanwhile.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use support::client::{self, Client, Value};
use support::group::{assert_equal, await_that, digest, follower, number, start};
use support::random::{self, Random};
use support::server::{Program, Server};

fn migrate(client: &mut Client, target: &Server, rest: &str) -> String {
    client.words(&format!("MIGRATE 127.0.0.1 {} {rest}", target.port())).text()
}

/// Fills a server with keys of all types.
fn fill(client: &mut Client) {
    for line in [
        "SET string value",
        "SET number 12345",
        "SET expiring value PX 100000",
        "RPUSH list a b c",
        "SADD set a b c",
        "SADD ints 1 2 3",
        "HSET hash f v g w",
        "ZADD zset 1 a 2.5 b",
        "XADD stream 1-1 f v",
        "SETBIT bits 100 1",
        "PFADD hll a b c",
    ] {
        assert!(!client.words(line).is_error(), "{line}");
    }
}

/// All keys go from one to the other; the digest goes with them.
fn move_all(from: Program, to: Program) {
    let (source, target) = (start(from, &[]), start(to, &[]));
    let (mut client, mut there) = (source.connect(), target.connect());
    fill(&mut client);
    let before = digest(&mut client);
    let keys: Vec<String> = client.words("KEYS *").elements().iter().map(Value::text).collect();
    let list = keys[1..].join(" ");
    assert_eq!(migrate(&mut client, &target, &format!("{} 0 5000 COPY", keys[0])), "OK");
    let again = migrate(&mut client, &target, &format!("{} 0 5000 COPY", keys[0]));
    assert_eq!(
        again,
        "ERR Target instance replied with error: BUSYKEY Target key name already exists."
    );
    assert_eq!(migrate(&mut client, &target, &format!("{} 0 5000 REPLACE", keys[0])), "OK");
    let mut line =
        client::argv(&format!("MIGRATE 127.0.0.1 {} x 0 5000 KEYS {list}", target.port()));
    line[3].clear();
    assert_eq!(client.call(&line).text(), "OK");
    assert_eq!(client.words("DBSIZE"), Value::Integer(0));
    assert_eq!(client.call(&line).text(), "NOKEY");
    assert_eq!(digest(&mut there), before);
    let ttl = there.words("PTTL expiring").integer().expect("a number");
    assert!((90_000..=100_000).contains(&ttl), "{ttl}");
}

#[test]
fn to_ours() {
    move_all(Program::Redstart, Program::Redstart);
}

#[test]
fn to_redis() {
    move_all(Program::Redstart, Program::Redis);
}

#[test]
fn to_valkey() {
    move_all(Program::Redstart, Program::Valkey);
}

#[test]
fn from_redis_to_ours() {
    move_all(Program::Redis, Program::Redstart);
}

#[test]
fn what_was_accepted_goes_and_the_rest_stays() {
    let (source, target) = (start(Program::Redstart, &[]), start(Program::Redstart, &[]));
    let replica = follower(Program::Redstart, &source, &[]);
    let (mut client, mut there) = (source.connect(), target.connect());
    client.words("MSET a 1 b 2 c 3");
    there.words("SET b busy");
    let mut line =
        client::argv(&format!("MIGRATE 127.0.0.1 {} x 0 5000 KEYS a b c d", target.port()));
    line[3].clear();
    let answer = client.call(&line).text();
    assert!(answer.ends_with("BUSYKEY Target key name already exists."), "{answer}");
    assert_eq!(client.words("EXISTS a b c"), Value::Integer(1));
    assert_eq!(
        there.words("MGET a b c").elements().iter().map(Value::text).collect::<Vec<_>>(),
        ["1", "busy", "3"]
    );
    assert_equal(&[&source, &replica]);
    assert_eq!(number(&mut client, "migrate_cached_sockets"), 1);
    // Another database, by the same link; then one that isn't there.
    assert_eq!(migrate(&mut client, &target, "b 3 5000"), "OK");
    there.words("SELECT 3");
    assert_eq!(there.words("GET b").text(), "2");
    client.words("SET e 1");
    let answer = migrate(&mut client, &target, "e 99 5000");
    assert_eq!(answer, "ERR Target instance replied with error: ERR DB index is out of range");
    assert_eq!(client.words("EXISTS e"), Value::Integer(1), "it went nowhere");
}

#[test]
fn passwords_are_sent_and_not_shown() {
    let target = start(Program::Redstart, &["--requirepass", "secret"]);
    let source = start(Program::Redstart, &["--slowlog-log-slower-than", "0"]);
    let mut client = source.connect();
    client.words("MSET a 1 b 2");
    let answer = migrate(&mut client, &target, "a 0 5000");
    assert!(answer.contains("NOAUTH"), "{answer}");
    let answer = migrate(&mut client, &target, "a 0 5000 AUTH wrong");
    assert!(answer.contains("WRONGPASS"), "{answer}");
    assert_eq!(client.words("EXISTS a"), Value::Integer(1));
    assert_eq!(migrate(&mut client, &target, "a 0 5000 AUTH secret"), "OK");
    assert_eq!(migrate(&mut client, &target, "b 0 5000 AUTH2 default secret"), "OK");
    let shown = format!("{:?}", client.words("SLOWLOG GET -1"));
    assert!(!shown.contains("secret") && shown.contains("(redacted)"), "{shown}");
}

#[test]
fn wrong_words_are_refused() {
    let source = start(Program::Redstart, &[]);
    let mut client = source.connect();
    client.words("SET a 1");
    let mut refused = |line: &str, error: &str| assert_eq!(client.words(line).text(), error);
    refused("MIGRATE h 1 none 0 10", "NOKEY");
    refused("MIGRATE h 1 a x 10", "ERR value is not an integer or out of range");
    refused("MIGRATE h 1 a 0 x", "ERR value is not an integer or out of range");
    refused("MIGRATE h 1 a 0 10 AUTH", "ERR syntax error");
    refused(
        "MIGRATE h 1 a 0 10 KEYS b",
        "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
    );
    refused("MIGRATE h x a 0 10", "IOERR error or timeout connecting to the client");
    refused("MIGRATE 127.0.0.1 1 a 0 10", "IOERR error or timeout writing to target instance");
}

/// Begins to move `moving` to a server that accepts connections and says nothing.
fn begin_to_nowhere(source: &Server, patience_ms: u64) -> (Client, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let mut mover = source.connect();
    let line = format!("MIGRATE 127.0.0.1 {port} moving 0 {patience_ms}");
    mover.try_send_raw(&client::encode(&client::argv(&line))).expect("sent");
    let mut client = source.connect();
    await_that("it waits", || number(&mut client, "blocked_clients") == 1);
    (mover, listener)
}

#[test]
fn readers_are_served_meanwhile_and_no_write_is_lost() {
    let source = start(Program::Redstart, &[]);
    let mut client = source.connect();
    client.words("SET moving 1");
    let (mut mover, _listener) = begin_to_nowhere(&source, 500);
    assert_eq!(client.words("GET moving").text(), "1");
    let mut writer = source.connect();
    writer.try_send_raw(&client::encode(&["APPEND", "moving", "2"])).expect("sent");
    await_that("the writer is held", || number(&mut client, "blocked_clients") == 2);
    let answer = mover.try_read().expect("an answer").text();
    assert_eq!(answer, "IOERR error or timeout reading to target instance");
    assert_eq!(writer.try_read().expect("an answer"), Value::Integer(2));
    assert_eq!(client.words("GET moving").text(), "12", "it stays where it was");
}

#[test]
fn a_mover_that_goes_holds_nobody_any_more() {
    let source = start(Program::Redstart, &[]);
    let mut client = source.connect();
    client.words("SET moving 1");
    let (mover, listener) = begin_to_nowhere(&source, 100_000);
    let (mut link, _): (TcpStream, _) = listener.accept().expect("it comes");
    drop(mover);
    assert_eq!(client.words("APPEND moving 2"), Value::Integer(2));
    let mut sent = Vec::new();
    link.read_to_end(&mut sent).expect("the link ends with its errand");
    assert!(String::from_utf8_lossy(&sent).contains("RESTORE"));
}

/// Keys go from one server to the other while clients add to them: each addition is on one of them.
#[test]
fn keys_that_are_written_while_they_go_lose_nothing() {
    let (source, target) = (start(Program::Redstart, &[]), start(Program::Redstart, &[]));
    let mut random = Random::new(random::seed_from_environment("REPLICATION_SEED"));
    let (mut client, mut there) = (source.connect(), target.connect());
    let mut writers: Vec<Client> = (0..4).map(|_| source.connect()).collect();
    for round in 0..100 {
        let key = format!("list:{round}");
        client.words(&format!("RPUSH {key} first"));
        let mover = random.below(writers.len() + 1);
        for (index, writer) in writers.iter_mut().enumerate() {
            if index == mover {
                let line = format!("MIGRATE 127.0.0.1 {} {key} 0 5000", target.port());
                client.try_send_raw(&client::encode(&client::argv(&line))).expect("sent");
            }
            writer.try_send_raw(&client::encode(&["RPUSHX", &key, "more"])).expect("sent");
        }
        if mover == writers.len() {
            assert_eq!(migrate(&mut client, &target, &format!("{key} 0 5000")), "OK");
        } else {
            assert_eq!(client.try_read().expect("an answer").text(), "OK");
        }
        let answers = writers.iter_mut().map(|writer| writer.try_read().expect("an answer"));
        let pushed = answers.filter(|length| *length != Value::Integer(0)).count() as i64;
        let there = there.words(&format!("LLEN {key}"));
        assert_eq!(there, Value::Integer(1 + pushed), "what was pushed before has gone with it");
        assert_eq!(client.words(&format!("EXISTS {key}")), Value::Integer(0));
    }
}

/// One world of the random test: a server that keys are moved from, and one that they are moved to.
struct World {
    source: Client,
    target: Client,
    place: String,
    _servers: [Server; 2],
}

impl World {
    fn of(program: Program) -> Self {
        let servers = [start(program, &[]), start(program, &[])];
        let (source, target) = (servers[0].connect(), servers[1].connect());
        let place = format!("127.0.0.1 {}", servers[1].port());
        Self { source, target, place, _servers: servers }
    }

    fn run(&mut self, here: bool, words: &[String]) -> String {
        let place: Vec<&str> = self.place.split(' ').collect();
        let words: Vec<&str> = words
            .iter()
            .flat_map(|word| if word == "<place>" { place.clone() } else { vec![word.as_str()] })
            .collect();
        let client = if here { &mut self.source } else { &mut self.target };
        client.call(&words).text()
    }
}

/// MIGRATE with one key, with some, twice the same, with every option and with what can't be.
fn random_migration(random: &mut Random) -> Vec<String> {
    let key = |random: &mut Random| format!("k{}", random.below(6));
    let many = random.chance(50);
    let mut words = vec!["MIGRATE".to_owned(), "<place>".to_owned()];
    words.push(if many && !random.chance(5) { String::new() } else { key(random) });
    words.extend([random.pick(&["0", "0", "0", "3", "99"]).to_owned(), "5000".to_owned()]);
    for option in ["COPY", "REPLACE", "bogus"] {
        if random.chance(if option == "bogus" { 3 } else { 45 }) {
            words.push(option.to_owned());
        }
    }
    if random.chance(5) {
        words.extend(["AUTH".to_owned(), "wrong".to_owned()]);
    }
    if many {
        words.push("KEYS".to_owned());
        words.extend((0..=random.below(3)).map(|_| key(random)));
    }
    words
}

#[test]
fn random_migrations_go_as_with_redis() {
    let mut random = Random::new(random::seed_from_environment("MIGRATE_SEED"));
    let mut worlds = [World::of(Program::Redis), World::of(Program::Redstart)];
    let rounds = random::from_environment("MIGRATE_ROUNDS", 600);
    for round in 0..rounds {
        let key = format!("k{}", random.below(6));
        let (here, words) = match random.below(8) {
            0 | 1 => (true, format!("SET {key} {round}")),
            2 => (true, format!("SET {key} {round} PX 100000")),
            3 => (random.chance(50), format!("DEL {key}")),
            4 => (false, format!("SET {key} there")),
            _ => (true, String::new()),
        };
        let words: Vec<String> = if words.is_empty() {
            random_migration(&mut random)
        } else {
            words.split(' ').map(str::to_owned).collect()
        };
        let [redis, ours] = worlds.each_mut().map(|world| world.run(here, &words));
        assert_eq!(ours, redis, "{words:?} in round {round}");
    }
    let [redis, ours] =
        worlds.each_mut().map(|world| [digest(&mut world.source), digest(&mut world.target)]);
    assert_eq!(ours, redis);
    assert_ne!(ours[0], "0".repeat(40));
}

/// Several clients count at keys while these are moved to and fro: whoever was told a count finds it, at one
/// of the servers, and nothing is at both.
#[test]
fn what_is_counted_while_it_is_moved_is_not_lost() {
    let mut random = Random::new(random::seed_from_environment("MIGRATE_SEED"));
    let servers = [start(Program::Redstart, &[]), start(Program::Redstart, &[])];
    let mut clients: Vec<Vec<Client>> =
        servers.iter().map(|server| (0..4).map(|_| server.connect()).collect()).collect();
    let (keys, mut told) = (5, [0_i64; 5]);
    for _ in 0..150 {
        let at = random.below(2);
        // One tick meets all of it.
        let held = &mut clients[at][0];
        held.try_send_raw(&client::encode(&client::argv("DEBUG SLEEP 0.003"))).expect("sent");
        let mut sent = Vec::new();
        for (index, client) in clients[at].iter_mut().enumerate().skip(1) {
            let mut lines: Vec<Vec<Vec<u8>>> = Vec::new();
            for _ in 0..=random.below(4) {
                let key = random.below(keys);
                lines.push(if random.chance(30) {
                    let port = servers[1 - at].port();
                    let line = format!(
                        "MIGRATE 127.0.0.1 {port} x 0 5000 KEYS n{key} n{}",
                        (key + 1) % keys
                    );
                    let mut line = client::argv(&line);
                    line[3].clear();
                    line
                } else {
                    client::argv(&format!("INCR n{key}"))
                });
            }
            let bytes: Vec<u8> = lines.iter().flat_map(|line| client::encode(line)).collect();
            client.try_send_raw(&bytes).expect("sent");
            sent.push((index, lines));
        }
        clients[at][0].try_read().expect("it wakes");
        for (index, lines) in sent {
            for line in lines {
                let answer = clients[at][index].try_read().expect("an answer");
                if line[0] == b"INCR" {
                    let key = usize::from(line[1][1] - b'0');
                    assert!(answer.integer().is_some(), "{answer:?}");
                    told[key] += 1;
                } else {
                    let text = answer.text();
                    let fits = ["OK", "NOKEY", "ERR Target instance replied with error: BUSYKEY"];
                    assert!(fits.iter().any(|start| text.starts_with(start)), "{text}");
                }
            }
        }
    }
    for (key, told) in told.into_iter().enumerate() {
        let count = |client: &mut Client| {
            client.words(&format!("GET n{key}")).text().parse::<i64>().unwrap_or(0)
        };
        let there = [count(&mut clients[0][0]), count(&mut clients[1][0])];
        assert_eq!(there[0] + there[1], told, "n{key}: {there:?}");
    }
}

/// What can't be interrupted waits for the other server; what moved goes with the rest of its unit.
#[test]
fn keys_move_from_transactions_and_scripts() {
    for program in [Program::Redstart, Program::Redis] {
        let (source, target) = (start(program, &[]), start(Program::Redstart, &[]));
        let replica = follower(Program::Redstart, &source, &[]);
        let (mut client, mut there) = (source.connect(), target.connect());
        client.words("MSET a 1 b 2 c 3");
        client.words("MULTI");
        assert_eq!(migrate(&mut client, &target, "a 0 5000"), "QUEUED");
        client.words("EXISTS a");
        client.words("INCR b");
        let answers = client.words("EXEC");
        let texts: Vec<String> = answers.elements().iter().map(Value::text).collect();
        assert_eq!(texts, ["OK", ":0", ":3"], "{program:?}");
        let script = "return {redis.call('migrate','127.0.0.1',ARGV[1],'b',0,5000),redis.call('exists','b')}";
        let answer = client.call(&["EVAL", script, "1", "b", &target.port().to_string()]);
        let texts: Vec<String> = answer.elements().iter().map(Value::text).collect();
        assert_eq!(texts, ["OK", ":0"], "{program:?}");
        let moved = there.words("MGET a b");
        let moved: Vec<String> = moved.elements().iter().map(Value::text).collect();
        assert_eq!(moved, ["1", "3"], "{program:?}");
        assert_equal(&[&source, &replica]);
        // Nobody there: the error comes in the transaction's reply, and the key stays.
        let nowhere = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = nowhere.local_addr().expect("an address").port();
        client.words("MULTI");
        client.words(&format!("MIGRATE 127.0.0.1 {port} c 0 50"));
        client.words("EXISTS c");
        let answers = client.words("EXEC");
        let texts: Vec<String> = answers.elements().iter().map(Value::text).collect();
        assert_eq!(texts[1], ":1", "{program:?}");
        assert!(
            texts[0].starts_with("IOERR error or timeout reading"),
            "{program:?}: {}",
            texts[0]
        );
    }
}

/// Within a transaction the server waits for the other one: a write of somebody else that came meanwhile is
/// executed behind it.
#[test]
fn a_transaction_that_moves_keys_is_not_divided() {
    let source = start(Program::Redstart, &[]);
    let (mut client, mut mover) = (source.connect(), source.connect());
    let patience = Duration::from_millis(300);
    let other = Client::try_connect_to("127.0.0.1", source.port(), patience);
    let mut other = other.expect("it takes clients");
    client.words("SET moving 1");
    assert_eq!(other.words("PING").text(), "PONG");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let migrate = format!("MIGRATE 127.0.0.1 {port} moving 0 100000");
    for line in ["MULTI", &migrate, "EXISTS moving other", "EXEC"] {
        mover.try_send_raw(&client::encode(&client::argv(line))).expect("sent");
    }
    let (mut link, _) = listener.accept().expect("it comes");
    let mut sent = [0; 4096];
    assert!(link.read(&mut sent).expect("its request") > 0);
    other.try_send_raw(&client::encode(&client::argv("SET other 1"))).expect("sent");
    assert!(other.try_read().is_err(), "somebody is served in the midst of a transaction");
    link.write_all(b"+OK\r\n+OK\r\n").expect("sent");
    let answers: Vec<Value> = (0..4).map(|_| mover.try_read().expect("an answer")).collect();
    let texts: Vec<String> = answers[3].elements().iter().map(Value::text).collect();
    assert_eq!(texts, ["OK", ":0"], "{answers:?}");
    await_that("the other is served", || other.has_answer());
    assert_eq!(client.words("EXISTS moving other"), Value::Integer(1));
    assert_eq!(other.try_read().expect("an answer").text(), "OK");
}
