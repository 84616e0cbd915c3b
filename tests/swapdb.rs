//! `repl-diskless-load swapdb`: a replica loads a full copy beside its data, serves those meanwhile where they
//! are of the same history, and has them still where the load fails.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use support::client::{self, Client, Value};
use support::group::{assert_equal, await_that, digest, follower, info, number, start};
use support::server::{Program, Server};

const SWAPS: [&str; 2] = ["--repl-diskless-load", "swapdb"];

/// A primary, and a replica of it with a small backlog between them, both with the same data.
fn pair(program: Program, more: &[&str]) -> (Server, Server) {
    let primary = start(program, &["--repl-backlog-size", "16kb"]);
    let mut client = primary.connect();
    client.words("DEBUG POPULATE 3000 key 100");
    client.words("RPUSH list a");
    client.words("SET watched old");
    let replica = follower(Program::Redstart, &primary, &[&SWAPS, more].concat());
    assert_equal(&[&primary, &replica]);
    (primary, replica)
}

/// More is written than the backlog holds while the replica isn't there: it needs a full copy of the same
/// history.
fn need_full_copy(primary: &mut Client) {
    let filling = "x".repeat(20_000);
    let lines = ["MULTI", "CLIENT KILL TYPE replica", "SET watched new", "XADD stream 1-1 f v"];
    let mut commands: Vec<_> = lines.iter().map(|line| client::argv(line)).collect();
    for key in 0..8 {
        commands.push(client::argv(&format!("SET filling:{key} {filling}")));
    }
    commands.push(client::argv("EXEC"));
    primary.pipeline(&commands);
}

/// Waits until the replica loads a copy beside its data, slowly.
fn await_load_beside(replica: &mut Client) {
    await_that("it loads", || info(replica, "async_loading") == "1");
    assert_eq!(info(replica, "loading"), "0");
}

fn load_function(client: &mut Client, answer: &str) {
    let code = format!(
        "#!lua name=l\nredis.register_function{{function_name='f',callback=function() return '{answer}' \
         end,flags={{'no-writes'}}}}"
    );
    let words = ["FUNCTION", "LOAD", "REPLACE", &code];
    assert_eq!(client.call(&words).text(), "l");
}

fn serves_meanwhile(program: Program) {
    let (primary, replica) = pair(program, &["--key-load-delay", "400"]);
    let (mut above, mut reader) = (primary.connect(), replica.connect());
    load_function(&mut above, "old");
    assert_equal(&[&primary, &replica]);
    let (mut watcher, mut waiter) = (replica.connect(), replica.connect());
    let old = digest(&mut reader);
    assert_eq!(watcher.words("WATCH watched").text(), "OK");
    waiter
        .try_send_raw(&client::encode(&client::argv("XREAD BLOCK 0 STREAMS stream 0")))
        .expect("sent");
    await_that("it waits", || number(&mut reader, "blocked_clients") == 1);
    need_full_copy(&mut above);
    load_function(&mut above, "new");
    await_load_beside(&mut reader);
    assert_eq!(reader.words("GET watched").text(), "old");
    assert_eq!(reader.words("FCALL_RO f 0").text(), "old");
    assert_eq!(digest(&mut reader), old);
    for line in ["REPLICAOF NO ONE", "CONFIG SET appendonly yes", "BGSAVE", "DEBUG RELOAD"] {
        let answer = reader.words(line).text();
        assert!(
            answer.contains("LOADING Redis is loading the dataset in memory"),
            "{line}: {answer}"
        );
    }
    assert_eq!(info(&mut reader, "async_loading"), "1", "it was loading all the while");
    assert_equal(&[&primary, &replica]);
    assert_eq!(info(&mut reader, "async_loading"), "0");
    assert_eq!(reader.words("GET watched").text(), "new");
    assert_eq!(reader.words("FCALL_RO f 0").text(), "new");
    for line in ["MULTI", "PING"] {
        watcher.words(line);
    }
    assert_eq!(watcher.words("EXEC"), Value::NullArray, "the watched key is another");
    let read = waiter.try_read().expect("an answer");
    assert!(read.elements()[0].elements()[0].text() == "stream", "{read:?}");
    // The stream goes on behind the copy.
    above.words("SET behind 1");
    assert_equal(&[&primary, &replica]);
}

#[test]
fn a_replica_of_ours_serves_what_it_has_while_it_loads() {
    serves_meanwhile(Program::Redstart);
}

#[test]
fn a_replica_of_redis_serves_what_it_has_while_it_loads() {
    serves_meanwhile(Program::Redis);
}

/// Behind a copy that can't be loaded the old data is there, and served.
#[test]
fn what_can_not_be_loaded_takes_nothing_away() {
    for more in [&[][..], &SWAPS] {
        let primary = start(Program::Redstart, &["--databases", "32"]);
        let mut above = primary.connect();
        above.words("SELECT 20");
        above.words("SET beyond 1");
        let replica = start(Program::Redstart, more);
        let mut reader = replica.connect();
        reader.words("SET own 1");
        reader.words(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
        await_that("it has failed", || replica.log().contains("a key is in database 20"));
        let kept = !more.is_empty();
        assert_eq!(reader.words("EXISTS own"), Value::Integer(i64::from(kept)));
        above.words("FLUSHALL");
        above.words("SELECT 0");
        above.words("SET within 1");
        assert_equal(&[&primary, &replica]);
    }
}

/// What is of another history is not served while the primary's is being loaded.
#[test]
fn the_data_of_another_history_is_not_served_meanwhile() {
    let primary = start(Program::Redstart, &[]);
    primary.connect().words("DEBUG POPULATE 2000");
    let more = [&SWAPS[..], &["--key-load-delay", "1000"]].concat();
    let replica = start(Program::Redstart, &more);
    let mut reader = replica.connect();
    reader.words("SET own 1");
    reader.words(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    await_that("it loads", || info(&mut reader, "loading") == "1");
    assert!(reader.words("GET own").text().starts_with("LOADING"));
    assert_equal(&[&primary, &replica]);
    assert_eq!(reader.words("EXISTS own"), Value::Integer(0));
}

/// A replica that is killed while it loads beside its data comes back with those, at their place.
#[test]
fn a_replica_killed_while_it_loads_has_its_log() {
    let more = ["--appendonly", "yes", "--key-load-delay", "1000"];
    let (primary, mut replica) = pair(Program::Redstart, &more);
    let (mut above, mut reader) = (primary.connect(), replica.connect());
    let old = digest(&mut reader);
    need_full_copy(&mut above);
    await_load_beside(&mut reader);
    replica.kill();
    drop(above);
    let (port, offset) = (primary.port(), number(&mut primary.connect(), "master_repl_offset"));
    drop(primary);
    replica.restart();
    let mut reader = replica.connect();
    assert_eq!(digest(&mut reader), old, "{port}");
    assert!(number(&mut reader, "master_repl_offset") < offset);
}

/// A snapshot that is on its way to take the data's place is told of as with upstream, which loads it from the
/// socket.
#[test]
fn a_copy_that_comes_counts_as_loading_beside() {
    let (primary, replica) = pair(Program::Redstart, &[]);
    let (mut above, mut reader) = (primary.connect(), replica.connect());
    above.words("CONFIG SET rdb-key-save-delay 3000");
    need_full_copy(&mut above);
    await_load_beside(&mut reader);
    assert_eq!(info(&mut reader, "master_sync_total_bytes"), "0", "it is still coming");
    assert_eq!(reader.words("GET watched").text(), "old");
    above.words("CONFIG SET repl-diskless-sync-delay 5");
    above.words("CLIENT KILL TYPE replica");
    await_that("it is given up", || info(&mut reader, "async_loading") == "0");
    assert_eq!(reader.words("GET watched").text(), "old");
    above.words("CONFIG SET rdb-key-save-delay 0");
    assert_equal(&[&primary, &replica]);
    assert_eq!(reader.words("GET watched").text(), "new");
}
