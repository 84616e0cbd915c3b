//! `write-quorum` and CAUSAL: what a reply promises when replicas stand still and primaries are killed.

mod support;

use std::time::{Duration, Instant};

use support::client::{self, Client};
use support::group::{assert_equal, await_that, follower, info, number, start};
use support::random::{self, Random};
use support::server::{Program, Server};

const QUORUM: [&str; 4] = ["--write-quorum", "1", "--write-quorum-timeout", "700"];

/// What comes of a command: its reply, or nothing where the connection has ended.
fn attempt(client: &mut Client, line: &str) -> Option<String> {
    client.try_send_raw(&client::encode(&line.split(' ').collect::<Vec<_>>())).ok()?;
    client.try_read().ok().map(|reply| reply.text())
}

fn pair(program: Program, more: &[&str]) -> (Server, Server) {
    let primary = start(Program::Redstart, &[&QUORUM, more].concat());
    let replica = follower(program, &primary, more_of(program, more));
    let mut client = primary.connect();
    await_that("the replica is there", || info(&mut client, "slave0").contains("state=online"));
    await_that("it has said so", || {
        attempt(&mut primary.connect(), "SET begun 1").as_deref() == Some("OK")
    });
    (primary, replica)
}

fn more_of<'a>(program: Program, more: &'a [&'a str]) -> &'a [&'a str] {
    if program == Program::Redstart { more } else { &[] }
}

#[test]
fn a_write_without_its_quorum_is_refused_or_uncertain_and_never_ok() {
    for program in [Program::Redis, Program::Redstart] {
        for log in ["no", "yes"] {
            let alone = start(Program::Redstart, &QUORUM);
            let refused = attempt(&mut alone.connect(), "SET a 1");
            assert_eq!(
                refused.as_deref(),
                Some("NOREPLICAS Not enough good replicas to write."),
                "nobody has it"
            );
            let (primary, replica) = pair(program, &["--appendonly", log]);
            let mut client = primary.connect();
            assert_eq!(attempt(&mut client, "SET a 1").as_deref(), Some("OK"));
            replica.halt();
            let began = Instant::now();
            let mut reader = primary.connect();
            let answer = attempt(&mut client, "SET a 2").expect("an answer");
            assert!(answer.starts_with("UNCERTAIN "), "{answer}");
            assert!(began.elapsed() >= Duration::from_millis(600), "it was waited for");
            assert_eq!(attempt(&mut client, "PING"), None, "the connection is closed");
            // Nobody sees what could be taken back; what shows no data goes on.
            assert_eq!(attempt(&mut reader, "PING").as_deref(), Some("PONG"));
            let seen = attempt(&mut reader, "GET a").expect("an answer");
            assert!(seen.starts_with("UNCERTAIN "), "{seen}");
            replica.proceed();
            let mut client = primary.connect();
            await_that("the quorum is back", || {
                attempt(&mut primary.connect(), "GET a").as_deref() == Some("2")
            });
            assert_eq!(attempt(&mut client, "SET a 3").as_deref(), Some("OK"));
            assert_equal(&[&primary, &replica]);
        }
    }
}

/// A replica of Redis acknowledges what is in front of a REPLCONF GETACK, and that again a second later: so
/// long did every read behind a write wait, where there is no log.
#[test]
fn a_read_does_not_wait_for_words_that_change_nothing() {
    let (primary, _replica) = pair(Program::Redis, &["--appendonly", "no"]);
    let mut client = primary.connect();
    let began = Instant::now();
    for number in 0..20 {
        assert_eq!(client.words(&format!("SET a {number}")).text(), "OK");
        assert_eq!(client.words("GET a").text(), number.to_string());
    }
    assert!(began.elapsed() < Duration::from_secs(10), "each took a second");
}

/// Who says nothing of its log can't have a write durably: it is refused, and not executed and uncertain.
#[test]
fn a_replica_without_a_log_is_no_durable_copy() {
    let more = ["--write-quorum-durable", "yes", "--write-quorum", "1"];
    let primary = start(Program::Redstart, &more);
    let mut client = primary.connect();
    for program in [Program::Redis, Program::Redstart] {
        let _replica = follower(program, &primary, &["--appendonly", "no"]);
        await_that("it is there", || info(&mut client, "slave0").contains("state=online"));
        let refused = "NOREPLICAS Not enough good replicas to write.";
        assert_eq!(client.words("SET a 1").text(), refused);
    }
    let _replica = follower(Program::Redstart, &primary, &["--appendonly", "yes"]);
    await_that("it counts", || client.words("SET a 1").text() == "OK");
}

/// The primary is killed under load, and the replica stands still now and then: what was acknowledged is at
/// the replica.
#[test]
fn what_was_acknowledged_survives_the_primary() {
    let mut random = Random::new(random::seed_from_environment("QUORUM_SEED"));
    for (program, log) in
        [(Program::Redis, "no"), (Program::Redis, "yes"), (Program::Redstart, "no")]
    {
        let (mut primary, replica) = pair(program, &["--appendonly", log]);
        let acknowledged = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|writer| {
                    let mut client = primary.connect();
                    let script = "return redis.call('RPUSH', 'numbers', 'x')";
                    let push: &[&str] = &["RPUSH", "numbers", "x"];
                    let push = if writer % 2 == 0 { push } else { &["EVAL", script, "0"] };
                    let batch = client::encode(push).repeat(10);
                    scope.spawn(move || {
                        let mut acknowledged = 0;
                        while client.try_send_raw(&batch).is_ok() {
                            for _ in 0..10 {
                                let Ok(reply) = client.try_read() else { return acknowledged };
                                acknowledged = acknowledged.max(reply.integer().unwrap_or(0));
                            }
                        }
                        acknowledged
                    })
                })
                .collect();
            for _ in 0..10 {
                std::thread::sleep(Duration::from_millis(random.below(40) as u64));
                replica.halt();
                std::thread::sleep(Duration::from_millis(random.below(40) as u64));
                replica.proceed();
            }
            primary.kill();
            writers.into_iter().map(|one| one.join().expect("a writer")).max()
        });
        // A length that was told is reached.
        let there = replica.connect().words("LLEN numbers").integer();
        assert!(there >= acknowledged && acknowledged > Some(0), "{there:?} of {acknowledged:?}");
    }
}

#[test]
fn a_durable_quorum_counts_logs() {
    let log = ["--appendonly", "yes", "--appendfsync", "always", "--write-quorum-durable", "yes"];
    let (primary, replica) = pair(Program::Redstart, &log);
    assert_eq!(attempt(&mut primary.connect(), "SET a 1").as_deref(), Some("OK"));
    // A replica whose log is off, or is never synced, has nothing durable: what it had said once was held
    // for its word, and each write was executed and uncertain.
    for (off, on) in [("appendonly no", "appendonly yes"), ("appendfsync no", "appendfsync always")]
    {
        replica.connect().words(&format!("CONFIG SET {off}"));
        await_that("it counts no more", || {
            let answer = attempt(&mut primary.connect(), "SET a 2").expect("an answer");
            answer == "NOREPLICAS Not enough good replicas to write." || {
                assert!(answer.starts_with("UNCERTAIN "), "{off}: {answer}");
                false
            }
        });
        replica.connect().words(&format!("CONFIG SET {on}"));
        await_that("it counts again", || {
            attempt(&mut primary.connect(), "SET a 3").as_deref() == Some("OK")
        });
    }
}

/// A replica that never syncs has its full sync durably, as in upstream: it said nothing of that, and WAITAOF
/// waited for ever.
#[test]
fn a_full_sync_is_durable_whatever_the_replica_syncs() {
    let log = ["--appendonly", "yes", "--appendfsync", "no"];
    let [primary, replica] = [(); 2].map(|()| start(Program::Redstart, &log));
    let mut client = primary.connect();
    client.words("SET a 1");
    replica.connect().words(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    let reached = client.words("WAITAOF 0 1 20000").to_string();
    assert!(reached.ends_with(", :1]"), "{reached}");
}

/// Scripts, functions, and what else reads or writes without being a command on keys was answered at once:
/// their commands run in a session of their own.
#[test]
fn whatever_shows_or_changes_data_waits_for_the_quorum() {
    let (primary, replica) = pair(Program::Redstart, &["--appendonly", "no"]);
    let mut client = primary.connect();
    let library = "#!lua name=l\nredis.register_function('set', function(k) return \
                   redis.call('SET', k[1], '1') end)\nredis.register_function{function_name='get', \
                   callback=function(k) return redis.call('GET', k[1]) end, flags={'no-writes'}}";
    assert_eq!(client.call(&["FUNCTION", "LOAD", library]).text(), "l");
    let dump = client.words("FUNCTION DUMP");
    let mut watching = primary.connect();
    watching.words("WATCH begun");
    watching.words("MULTI");
    replica.halt();
    client.try_send_raw(&client::encode(&["SET", "begun", "2"])).expect("sent");
    let mut other = primary.connect();
    await_that("it is executed", || info(&mut other, "cmdstat_set").starts_with("calls=2,"));
    let set = "return redis.call('SET', 'a', '1')";
    let get = "return redis.call('GET', 'begun')";
    let fails = "redis.call('SET', 'a', '2') return redis.error_reply('x')";
    let dump = dump.bytes().expect("a dump");
    let commands: &[&[&[u8]]] = &[
        &[b"EVAL", set.as_bytes(), b"0"],
        &[b"EVAL", get.as_bytes(), b"0"],
        &[b"EVAL_RO", get.as_bytes(), b"0"],
        &[b"EVAL", fails.as_bytes(), b"0"],
        &[b"FCALL", b"set", b"1", b"a"],
        &[b"FCALL_RO", b"get", b"1", b"begun"],
        &[b"FUNCTION", b"LIST"],
        &[b"FUNCTION", b"DUMP"],
        &[b"FUNCTION", b"LOAD", b"REPLACE", library.as_bytes()],
        &[b"FUNCTION", b"DELETE", b"l"],
        &[b"FUNCTION", b"RESTORE", dump],
        &[b"FUNCTION", b"FLUSH"],
        &[b"DEBUG", b"POPULATE", b"3", b"populated"],
        &[b"DEBUG", b"DIGEST"],
        &[b"MEMORY", b"USAGE", b"begun"],
        &[b"OBJECT", b"ENCODING", b"begun"],
        &[b"MIGRATE", b"127.0.0.1", b"1", b"missing", b"0", b"100"],
        &[b"SWAPDB", b"0", b"1"],
        &[b"BLPOP", b"missing", b"0.1"],
    ];
    let mut waiting: Vec<(String, Client)> = Vec::new();
    for command in commands {
        let mut client = primary.connect();
        client.try_send_raw(&client::encode(command)).expect("sent");
        waiting.push((client::quote(command), client));
    }
    let exec: &[&[&[u8]]] = &[&[b"MULTI"], commands[0], &[b"EXEC"]];
    let mut client = primary.connect();
    let bytes: Vec<u8> = exec.iter().flat_map(|command| client::encode(command)).collect();
    client.try_send_raw(&bytes).expect("sent");
    waiting.push(("EXEC of EVAL".to_owned(), client));
    watching.try_send_raw(&client::encode(&["EXEC"])).expect("sent");
    waiting.push(("EXEC of what is watched".to_owned(), watching));
    for (command, client) in &mut waiting {
        let answer = client.try_read().expect("an answer").text();
        assert!(answer.starts_with("UNCERTAIN "), "{command}: {answer}");
    }
    for line in ["EVAL return'1' 0", "SCRIPT LOAD return'1'", "PUBLISH a b", "ROLE", "CLIENT ID"] {
        let began = Instant::now();
        let answer = attempt(&mut other, line).expect("an answer");
        assert!(began.elapsed() < Duration::from_millis(500), "{line} waited: {answer}");
        assert!(!answer.starts_with("UNCERTAIN "), "{line}: {answer}");
    }
    replica.proceed();
}

/// A FAILOVER that had waited until its successor has everything ended what waited for just that.
#[test]
fn a_handover_confirms_what_the_successor_has() {
    let (primary, replica) = pair(Program::Redstart, &["--write-quorum-timeout", "60000"]);
    let mut other = primary.connect();
    replica.halt();
    let mut writers: Vec<Client> = (0..5).map(|_| primary.connect()).collect();
    for client in &mut writers {
        client.try_send_raw(&client::encode(&["INCR", "sum"])).expect("sent");
    }
    await_that("they wait", || info(&mut other, "cmdstat_incr").starts_with("calls=5,"));
    let line = format!("FAILOVER TO 127.0.0.1 {} TIMEOUT 20000", replica.port());
    assert_eq!(other.words(&line).text(), "OK");
    replica.proceed();
    // In which order the requests of several clients come in isn't said.
    let answer = |client: &mut Client| client.try_read().expect("an answer").integer();
    let mut sums: Vec<Option<i64>> = writers.iter_mut().map(answer).collect();
    sums.sort_unstable();
    assert_eq!(sums, (1..=5).map(Some).collect::<Vec<_>>());
    await_that("it is handed over", || info(&mut other, "role") == "slave");
    assert_equal(&[&replica, &primary]);
    assert_eq!(replica.connect().words("GET sum").text(), "5");
}

#[test]
fn a_primary_that_becomes_a_replica_confirms_nothing() {
    let (primary, replica) = pair(Program::Redis, &["--write-quorum-timeout", "60000"]);
    let mut client = primary.connect();
    replica.halt();
    client.try_send_raw(&client::encode(&["SET", "a", "1"])).expect("sent");
    let mut other = primary.connect();
    await_that("it is executed", || number(&mut other, "rdb_changes_since_last_save") > 1);
    other.words(&format!("REPLICAOF 127.0.0.1 {}", replica.port()));
    let answer = client.try_read().expect("an answer").text();
    assert!(answer.starts_with("UNCERTAIN "), "{answer}");
    replica.proceed();
}

#[test]
fn nothing_of_the_tick_in_which_a_primary_becomes_a_replica_is_confirmed() {
    for line in [&["SET a 2", "SET a 3"][..], &["MULTI", "SET a 2"]] {
        let (primary, replica) = pair(Program::Redstart, &[]);
        let other = start(Program::Redstart, &[]);
        replica.halt();
        let mut client = primary.connect();
        let follow = format!("REPLICAOF 127.0.0.1 {}", other.port());
        let end: &[&str] = if line[0] == "MULTI" { &["EXEC"] } else { &["GET a"] };
        let batch = [line, &[&follow], end].concat();
        let bytes: Vec<u8> =
            batch.iter().flat_map(|line| client::encode(&client::argv(line))).collect();
        client.try_send_raw(&bytes).expect("sent");
        let told = client.read_to_close().expect("answers");
        let told = String::from_utf8_lossy(&told);
        assert!(told.starts_with("-UNCERTAIN ") && told.lines().count() == 1, "{told}");
        replica.proceed();
    }
}

#[test]
fn a_token_is_waited_for_on_another_node() {
    let primary = start(Program::Redstart, &[]);
    let replica = follower(Program::Redstart, &primary, &[]);
    assert_equal(&[&primary, &replica]);
    let mut client = primary.connect();
    client.words("SET a 1");
    let token = client.words("CAUSAL TOKEN").text();
    let mut reader = replica.connect();
    assert_eq!(reader.words(&format!("CAUSAL WAIT {token} 5000")).integer(), Some(1));
    assert_eq!(reader.words("GET a").text(), "1");
    // Ahead of everything there: the time is over, or somebody writes.
    let (id, offset) = token.split_once(':').expect("two parts");
    let ahead = format!("{id}:{}", offset.parse::<u64>().expect("a number") + 60);
    assert_eq!(reader.words(&format!("CAUSAL WAIT {ahead} 100")).integer(), Some(0));
    reader.try_send_raw(&client::encode(&["CAUSAL", "WAIT", &ahead, "0"])).expect("sent");
    let mut other = replica.connect();
    await_that("it waits", || number(&mut other, "blocked_clients") == 1);
    client.words(&format!("SET a {}", "2".repeat(60)));
    assert_eq!(reader.try_read().expect("an answer").integer(), Some(1));
    let foreign = format!("{}:5", "a".repeat(40));
    let answer = reader.words(&format!("CAUSAL WAIT {foreign} 0")).text();
    assert!(answer.starts_with("OTHERHISTORY "), "{answer}");
    assert_eq!(reader.words("CAUSAL WAIT nonsense 0").text(), "ERR Invalid token");
    // What the old primary's clients know holds at its successor.
    let token = client.words("CAUSAL TOKEN").text();
    assert_equal(&[&primary, &replica]);
    reader.words("REPLICAOF NO ONE");
    assert_eq!(reader.words(&format!("CAUSAL WAIT {token} 1000")).integer(), Some(1));
    // One that waits while its history is left is told so.
    let mut left = primary.connect();
    let (id, offset) = token.split_once(':').expect("two parts");
    let ahead = format!("{id}:{}", offset.parse::<u64>().expect("a number") + 1_000_000);
    left.try_send_raw(&client::encode(&["CAUSAL", "WAIT", &ahead, "0"])).expect("sent");
    let mut other = primary.connect();
    await_that("it waits there", || number(&mut other, "blocked_clients") == 1);
    other.words(&format!("REPLICAOF 127.0.0.1 {}", replica.port()));
    let answer = left.try_read().expect("an answer").text();
    assert!(!answer.is_empty() && answer != "1", "{answer}");
}

/// Nothing looked at those who wait for a token where there is neither a log nor a replica: they waited for
/// ever.
#[test]
fn a_token_is_not_waited_for_in_vain_where_nobody_else_is() {
    let primary = start(Program::Redstart, &["--appendonly", "no"]);
    let replica = follower(Program::Redstart, &primary, &["--appendonly", "no"]);
    assert_equal(&[&primary, &replica]);
    let token = primary.connect().words("CAUSAL TOKEN").text();
    let (id, offset) = token.split_once(':').expect("two parts");
    let offset: u64 = offset.parse().expect("a number");
    let wait = |server: &Server, beyond: u64| {
        let mut client = server.connect();
        let token = format!("{id}:{}", offset + beyond);
        client.try_send_raw(&client::encode(&["CAUSAL", "WAIT", &token, "0"])).expect("sent");
        let mut other = server.connect();
        await_that("it waits", || number(&mut other, "blocked_clients") == 1);
        client
    };
    let mut left = wait(&replica, 1_000_000);
    replica.connect().words("REPLICAOF NO ONE");
    let answer = left.try_read().expect("an answer").text();
    assert!(answer.starts_with("OTHERHISTORY "), "{answer}");
    // A primary gets there by its own writes.
    let mut reached = wait(&primary, 60);
    primary.connect().words(&format!("SET a {}", "2".repeat(200)));
    assert_eq!(reached.try_read().expect("an answer").integer(), Some(1));
}

/// What a closed client had waited for was held against the next one in its place.
#[test]
fn a_closed_client_leaves_no_doubt_to_the_next() {
    let (primary, replica) = pair(Program::Redstart, &["--appendonly", "no"]);
    let mut writer = primary.connect();
    let id = writer.words("CLIENT ID").integer().expect("a number");
    let mut other = primary.connect();
    replica.halt();
    writer.try_send_raw(&client::encode(&["SET", "a", "1"])).expect("sent");
    await_that("it is executed", || info(&mut other, "cmdstat_set").starts_with("calls=2,"));
    assert_eq!(other.words(&format!("CLIENT KILL ID {id}")).integer(), Some(1));
    drop(writer);
    await_that("it has gone", || number(&mut other, "connected_clients") == 1);
    // Others' doubt ends when the first's would.
    let mut next: Vec<Client> = (0..3).map(|_| primary.connect()).collect();
    assert!(next.iter_mut().all(|client| client.words("PING").text() == "PONG"));
    assert!(attempt(&mut other, "GET a").is_some_and(|answer| answer.starts_with("UNCERTAIN ")));
    for client in &mut next {
        assert_eq!(attempt(client, "PING").as_deref(), Some("PONG"));
    }
    replica.proceed();
}

const SYNCED: [&str; 6] =
    ["--appendonly", "yes", "--appendfsync", "always", "--write-quorum-durable", "yes"];

/// Else a primary without its replicas would look dead to Sentinel, who could never give it any.
#[test]
fn what_shows_no_data_waits_for_no_quorum_under_any_policy() {
    let (primary, replica) = pair(Program::Redstart, &SYNCED);
    replica.halt();
    let mut client = primary.connect();
    let answer = attempt(&mut client, "SET a 1").expect("an answer");
    assert!(answer.starts_with("UNCERTAIN "), "{answer}");
    let mut other = primary.connect();
    for line in ["PING", "INFO replication", "CONFIG SET maxclients 500", "REPLICAOF NO ONE"] {
        let began = Instant::now();
        let answer = attempt(&mut other, line).expect("an answer");
        assert!(began.elapsed() < Duration::from_millis(500), "{line} waited: {answer}");
    }
    let answer = attempt(&mut primary.connect(), "GET a").expect("an answer");
    assert!(answer.starts_with("UNCERTAIN "), "a read still waits: {answer}");
    replica.proceed();
}

/// What follows the last unit (PING, GETACK) is in no log, and yet nothing is missing.
#[test]
fn a_restarted_primary_is_read_at_once_with_a_durable_quorum() {
    let (mut primary, replica) =
        pair(Program::Redstart, &[&SYNCED[..], &["--write-quorum-timeout", "60000"]].concat());
    let mut client = primary.connect();
    for _ in 0..20 {
        assert_eq!(attempt(&mut client, "SET a 1").as_deref(), Some("OK"));
    }
    let end = number(&mut client, "master_repl_offset");
    await_that("a ping follows", || number(&mut client, "master_repl_offset") > end);
    assert_equal(&[&primary, &replica]);
    primary.kill();
    primary.restart();
    let mut follower = replica.connect();
    follower.words(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    let mut client = primary.connect();
    await_that("it is followed", || info(&mut client, "slave0").contains("state=online"));
    let began = Instant::now();
    assert_eq!(attempt(&mut client, "GET a").as_deref(), Some("1"));
    // The next ping and the next word of the replica come a second later.
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    assert_eq!(number(&mut client, "sync_partial_ok"), 1);
}

/// A token was given within a transaction that left the transaction's own writes out.
#[test]
fn a_token_is_not_given_within_a_transaction() {
    let server = start(Program::Redstart, &[]);
    let mut client = server.connect();
    client.words("MULTI");
    let refusal = client.words("CAUSAL TOKEN").text();
    assert!(refusal.contains("not allowed inside a transaction"), "{refusal}");
}
