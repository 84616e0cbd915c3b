//! Replication with the real servers on either side: redis-server and Valkey follow us, we follow them,
//! links are cut under load, and every digest agrees at the end.

mod support;

use std::time::{Duration, Instant};

use support::client::{self, Client, Value};
use support::group::{assert_equal, await_that, follower, info, number, start, write};
use support::random::{self, Random};
use support::server::Program;

#[test]
fn servers_of_each_kind_follow_us_and_go_on_where_they_were() {
    let primary = start(Program::Redstart, &[]);
    let mut client = primary.connect();
    let mut random = Random::new(random::seed_from_environment("REPLICATION_SEED"));
    write(&mut client, &mut random, 2_000);
    let replicas = [Program::Redis, Program::Valkey, Program::Redstart]
        .map(|program| follower(program, &primary, &[]));
    write(&mut client, &mut random, 2_000);
    let all = [&primary, &replicas[0], &replicas[1], &replicas[2]];
    assert_equal(&all);
    assert_eq!(number(&mut client, "sync_full"), 3);
    for round in 1..=4 {
        write(&mut client, &mut random, 500);
        assert_eq!(client.words("CLIENT KILL TYPE replica"), Value::Integer(3));
        write(&mut client, &mut random, 500);
        await_that("they came back", || number(&mut client, "sync_partial_ok") == 3 * round);
        assert_equal(&all);
    }
    assert_eq!(number(&mut client, "sync_full"), 3, "a cut link costs no full sync");
    client.words("SET waited 1");
    assert_eq!(client.words("WAIT 3 10000"), Value::Integer(3));
    let listed = client.words("CLIENT LIST TYPE replica").text();
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert_eq!(client.words("ROLE").elements()[2].elements().len(), 3);
}

fn follow_and_compare(program: Program, more: &[&str]) {
    let primary = start(program, more);
    let mut client = primary.connect();
    let mut random = Random::new(random::seed_from_environment("REPLICATION_SEED"));
    write(&mut client, &mut random, 2_000);
    let replica = follower(Program::Redstart, &primary, &[]);
    // Behind us is one of theirs, which gets the same bytes.
    let below = follower(Program::Redis, &replica, &[]);
    write(&mut client, &mut random, 2_000);
    assert_equal(&[&primary, &replica, &below]);
    let mut reader = replica.connect();
    assert_eq!(
        reader.words("SET a b").text(),
        "READONLY You can't write against a read only replica."
    );
    assert_eq!(reader.words("ROLE").elements()[3].text(), "connected");
    for _ in 0..3 {
        write(&mut client, &mut random, 300);
        client.words("CLIENT KILL TYPE replica");
        write(&mut client, &mut random, 300);
        assert_equal(&[&primary, &replica, &below]);
    }
    assert_eq!(number(&mut client, "sync_full"), 1);
    // The replica takes over, and the primary follows it: nobody needs a copy.
    assert_equal(&[&primary, &replica, &below]);
    let full = number(&mut reader, "sync_full");
    assert_eq!(reader.words("REPLICAOF NO ONE").text(), "OK");
    client.words(&format!("REPLICAOF 127.0.0.1 {}", replica.port()));
    write(&mut reader, &mut random, 500);
    assert_equal(&[&replica, &primary, &below]);
    assert_eq!(number(&mut reader, "sync_full"), full, "a failover costs no full sync");
}

#[test]
fn we_follow_redis_and_take_over_from_it() {
    follow_and_compare(Program::Redis, &[]);
}

#[test]
fn we_follow_redis_by_file() {
    follow_and_compare(Program::Redis, &["--repl-diskless-sync", "no"]);
}

#[test]
fn we_follow_valkey_and_take_over_from_it() {
    follow_and_compare(Program::Valkey, &[]);
}

#[test]
fn we_follow_ourselves_and_take_over() {
    follow_and_compare(Program::Redstart, &[]);
}

/// A primary and its replicas under a mixed load, with links cut all the time: for `REPLICATION_SOAK_SECONDS`
/// (two where nothing is said), after which everybody has the same.
fn soak(primary: Program, replicas: &[Program]) {
    let seconds = random::from_environment("REPLICATION_SOAK_SECONDS", 2);
    let primary = start(primary, &["--appendonly", "yes"]);
    let replicas: Vec<_> = replicas
        .iter()
        .map(|program| follower(*program, &primary, &["--appendonly", "yes"]))
        .collect();
    let mut random = Random::new(random::seed_from_environment("REPLICATION_SEED"));
    let (mut client, began) = (primary.connect(), Instant::now());
    let (mut cuts, mut commands) = (0, 0);
    while began.elapsed() < Duration::from_secs(seconds) {
        let until =
            Instant::now() + Duration::from_millis(500 + random.below(3000).min(600) as u64);
        while Instant::now() < until {
            write(&mut client, &mut random, 200);
            commands += 200;
        }
        match random.below(4) {
            0 => replicas.iter().for_each(|replica| {
                replica.connect().words("CLIENT KILL TYPE master");
            }),
            1 => {
                let replica = &replicas[random.below(replicas.len())];
                replica.halt();
                write(&mut client, &mut random, 500);
                replica.proceed();
            }
            _ => {
                client.words("CLIENT KILL TYPE replica");
            }
        }
        cuts += 1;
    }
    let mut servers = vec![&primary];
    servers.extend(&replicas);
    assert_equal(&servers);
    println!(
        "{}: {commands} commands, {cuts} cuts, sync_full {}, sync_partial_ok {}, sync_partial_err {}",
        primary.program().name(),
        number(&mut client, "sync_full"),
        number(&mut client, "sync_partial_ok"),
        number(&mut client, "sync_partial_err"),
    );
}

#[test]
fn links_to_everybody_are_cut_under_load() {
    soak(Program::Redstart, &[Program::Redis, Program::Valkey, Program::Redstart]);
}

#[test]
fn links_from_redis_are_cut_under_load() {
    soak(Program::Redis, &[Program::Redstart, Program::Redis]);
}

#[test]
fn links_from_valkey_are_cut_under_load() {
    soak(Program::Valkey, &[Program::Redstart, Program::Valkey]);
}

/// The log holds the primary's bytes with their offsets: a crash costs no copy of all data.
#[test]
fn a_killed_replica_goes_on_where_its_log_ends() {
    for program in [Program::Redis, Program::Redstart] {
        let primary = start(program, &["--repl-backlog-size", "10mb"]);
        let mut client = primary.connect();
        let mut random = Random::new(random::seed_from_environment("REPLICATION_SEED"));
        write(&mut client, &mut random, 1_000);
        let more = ["--appendonly", "yes", "--appendfsync", "always"];
        let mut replica = follower(Program::Redstart, &primary, &more);
        assert_equal(&[&primary, &replica]);
        let mut reader = replica.connect();
        await_that("its log has its base", || info(&mut reader, "aof_rewrite_in_progress") == "0");
        for _ in 0..3 {
            write(&mut client, &mut random, 1_000);
            replica.kill();
            write(&mut client, &mut random, 1_000);
            replica.restart();
            assert_equal(&[&primary, &replica]);
        }
        assert_eq!(number(&mut client, "sync_full"), 1, "{}", program.name());
    }
}

#[test]
fn a_killed_primary_that_lost_nothing_is_followed_on() {
    let more = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut primary = start(Program::Redstart, &more);
    let mut random = Random::new(random::seed_from_environment("REPLICATION_SEED"));
    write(&mut primary.connect(), &mut random, 1_000);
    let replicas =
        [Program::Redis, Program::Redstart].map(|program| follower(program, &primary, &[]));
    write(&mut primary.connect(), &mut random, 1_000);
    assert_equal(&[&primary, &replicas[0], &replicas[1]]);
    // A ping and a question for acknowledgement behind the last write count as well.
    let offset = number(&mut primary.connect(), "master_repl_offset");
    await_that("a ping", || number(&mut primary.connect(), "master_repl_offset") > offset);
    primary.connect().words("WAIT 2 1000");
    primary.kill();
    primary.restart();
    let mut client = primary.connect();
    for replica in &replicas {
        // It has another port now.
        replica.connect().words(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    }
    await_that("both came back", || number(&mut client, "connected_slaves") == 2);
    write(&mut client, &mut random, 500);
    assert_equal(&[&primary, &replicas[0], &replicas[1]]);
    assert_eq!(number(&mut client, "sync_full"), 0);
    assert_eq!(number(&mut client, "sync_partial_ok"), 2);
}

/// Values of 10 kB, about so many bytes of them.
fn write_much(client: &mut Client, bytes: usize) {
    let value = "v".repeat(10_000);
    for batch in 0..bytes / 1_000_000 {
        let set = |key: usize| client::argv(&format!("SET much{batch}:{key} {value}"));
        client.pipeline(&(0..100).map(set).collect::<Vec<_>>());
    }
}

/// Far behind the backlog, with a limit on what may be held for it: it reads from the log's files, also
/// from those that a rewrite has superseded meanwhile.
#[test]
fn a_replica_that_stood_still_catches_up_from_the_log() {
    for program in [Program::Redis, Program::Redstart] {
        let limit = "replica 2mb 1mb 1";
        let primary = start(
            Program::Redstart,
            &["--appendonly", "yes", "--client-output-buffer-limit", limit],
        );
        let mut client = primary.connect();
        let replica = follower(program, &primary, &[]);
        assert_equal(&[&primary, &replica]);
        replica.halt();
        let before = number(&mut client, "mem_replication_backlog");
        write_much(&mut client, 15_000_000);
        client.words("BGREWRITEAOF");
        await_that("the log is rewritten", || info(&mut client, "aof_rewrite_in_progress") == "0");
        write_much(&mut client, 15_000_000);
        let held = number(&mut client, "mem_replication_backlog") - before;
        assert!(held < 4 << 20, "{held} bytes are held for it");
        assert!(number(&mut client, "aof_superseded_size") > 10_000_000);
        replica.proceed();
        assert_equal(&[&primary, &replica]);
        assert_eq!(number(&mut client, "sync_full"), 1, "{}", program.name());
        assert_eq!(number(&mut client, "client_output_buffer_limit_disconnections"), 0);
    }
}

/// The files that it would read next are gone: nothing piles up for it from then on, and it begins anew.
#[test]
fn a_replica_that_lags_further_than_the_log_is_kept_is_closed() {
    let more = ["--appendonly", "yes", "--repl-log-catchup-size", "0"];
    let primary = start(Program::Redstart, &more);
    let mut client = primary.connect();
    let replica = follower(Program::Redis, &primary, &[]);
    assert_equal(&[&primary, &replica]);
    replica.halt();
    let before = number(&mut client, "mem_replication_backlog");
    write_much(&mut client, 15_000_000);
    assert!(info(&mut client, "slave0").contains("state=online"));
    client.words("BGREWRITEAOF");
    await_that("the log is rewritten", || info(&mut client, "aof_rewrite_in_progress") == "0");
    write_much(&mut client, 15_000_000);
    let held = number(&mut client, "mem_replication_backlog") - before;
    assert!(held < 4 << 20, "{held} bytes are held for it");
    assert_eq!(number(&mut client, "connected_slaves"), 0);
    assert!(primary.log().contains("the log doesn't have its place any more"));
    replica.proceed();
    assert_equal(&[&primary, &replica]);
    assert_eq!(number(&mut client, "sync_full"), 2);
}

/// What a replica lacks is in the log that the primary has read at its start.
#[test]
fn a_replica_catches_up_from_the_log_of_a_killed_primary() {
    for program in [Program::Redis, Program::Redstart] {
        let mut primary = start(Program::Redstart, &["--appendonly", "yes"]);
        let replica = follower(program, &primary, &[]);
        let mut random = Random::new(random::seed_from_environment("REPLICATION_SEED"));
        write(&mut primary.connect(), &mut random, 1_000);
        assert_equal(&[&primary, &replica]);
        replica.halt();
        write(&mut primary.connect(), &mut random, 5_000);
        write_much(&mut primary.connect(), 10_000_000);
        primary.kill();
        primary.restart();
        write(&mut primary.connect(), &mut random, 1_000);
        replica.proceed();
        // A restarted server has another port.
        replica.connect().words(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
        assert_equal(&[&primary, &replica]);
        let mut client = primary.connect();
        let syncs = ["sync_full", "sync_partial_ok", "sync_partial_err"];
        assert_eq!(syncs.map(|field| number(&mut client, field)), [0, 1, 0], "{}", program.name());
    }
}

#[test]
fn writes_need_as_many_replicas_as_are_asked_for() {
    let primary = start(Program::Redstart, &["--min-replicas-to-write", "1"]);
    let mut client = primary.connect();
    let refused = "NOREPLICAS Not enough good replicas to write.";
    assert_eq!(client.words("SET a b").text(), refused);
    assert_eq!(client.words("WAIT 0 0"), Value::Integer(0));
    let replica = follower(Program::Redstart, &primary, &[]);
    await_that("it counts", || number(&mut client, "min_slaves_good_slaves") == 1);
    assert_eq!(client.words("SET a b").text(), "OK");
    drop(replica);
    await_that("it counts no more", || client.words("SET a b").text() == refused);
}

#[test]
fn listeners_of_a_replica_hear_what_is_published_at_its_primary() {
    let primary = start(Program::Redstart, &[]);
    let mut client = primary.connect();
    let replica = follower(Program::Redstart, &primary, &[]);
    assert_equal(&[&primary, &replica]);
    let mut listener = replica.connect();
    listener.words("HELLO 3");
    listener.try_send_raw(&client::encode(&["SUBSCRIBE", "news"])).expect("sent");
    listener.next_push().expect("it listens");
    await_that("somebody hears it", || {
        client.words("PUBLISH news hello");
        listener.has_answer()
    });
    let heard = listener.next_push().expect("a message").elements();
    assert_eq!(heard.last().map(Value::text).as_deref(), Some("hello"));
}

/// What it had sent behind that was executed on a replica, where upstream ends the connection.
#[test]
fn a_blocked_client_is_sent_away_when_its_server_becomes_a_replica() {
    let (primary, other) = (start(Program::Redstart, &[]), start(Program::Redstart, &[]));
    let redis = start(Program::Redis, &[]);
    let told = [&redis, &other].map(|server| {
        let mut waiter = server.connect();
        let batch = [client::encode(&["BLPOP", "nothing", "0"]), client::encode(&["PING"])];
        waiter.try_send_raw(&batch.concat()).expect("sent");
        let mut client = server.connect();
        await_that("it waits", || number(&mut client, "blocked_clients") == 1);
        client.words(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
        let told = waiter.read_to_close().expect("its end");
        (String::from_utf8_lossy(&told).into_owned(), client.words("WAIT 0 0").text())
    });
    assert!(told[0].0.starts_with("-UNBLOCKED force unblock"), "{told:?}");
    assert_eq!(told[1], told[0]);
    let mut client = other.connect();
    assert_equal(&[&primary, &other]);
    client.words("REPLICAOF NO ONE");
    // The log's lines say what the server was when it wrote them.
    let log = other.log();
    let role = |text: &str| {
        let line = log.lines().find(|line| line.contains(text)).unwrap_or_default();
        line.split([':', ' ']).nth(1).map(str::to_owned)
    };
    assert_eq!(role("Ready to accept connections").as_deref(), Some("M"), "{log}");
    assert_eq!(role("Full resync from master").as_deref(), Some("S"), "{log}");
    assert_eq!(role("MASTER MODE enabled").as_deref(), Some("M"), "{log}");
}
