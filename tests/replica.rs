//! What a replica is: its primary's link among the clients, what it lets clients write, what stays with
//! it over restarts and changes of its primary, and what it does with a stream that it can't apply.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use support::client::{self, Client, Value};
use support::group::{assert_equal, await_that, follower, info, number, start};
use support::server::{Program, Server};

fn pair(more: &[&str]) -> (Server, Server) {
    let primary = start(Program::Redstart, &[]);
    let replica = follower(Program::Redstart, &primary, more);
    assert_equal(&[&primary, &replica]);
    (primary, replica)
}

/// Waits until the replica has what its primary has, by offset.
fn await_offset(primary: &mut Client, replica: &mut Client) {
    await_that("it has caught up", || {
        number(primary, "master_repl_offset") == number(replica, "master_repl_offset")
    });
}

#[test]
fn the_link_to_the_primary_is_listed_and_can_be_closed() {
    let (primary, replica) = pair(&[]);
    let mut client = replica.connect();
    await_that("the link is a client", || number(&mut client, "connected_clients") == 2);
    let listed = client.words("CLIENT LIST TYPE master").text();
    assert!(listed.contains(&format!(" addr=127.0.0.1:{} ", primary.port())), "{listed}");
    assert!(listed.contains(" flags=M ") && listed.lines().count() == 1, "{listed}");
    for how in [format!("127.0.0.1:{}", primary.port()), "TYPE master".to_owned()] {
        let partial = number(&mut primary.connect(), "sync_partial_ok");
        let killed = client.words(&format!("CLIENT KILL {how}"));
        assert!(killed == Value::Integer(1) || killed.text() == "OK", "{killed:?}");
        await_that("it comes back", || {
            number(&mut primary.connect(), "sync_partial_ok") == partial + 1
        });
        assert_equal(&[&primary, &replica]);
    }
    assert_eq!(client.words("REPLICAOF NO ONE").text(), "OK");
    assert_eq!(client.words("CLIENT LIST TYPE master").text(), "");
    await_that("there is no link", || number(&mut client, "connected_clients") == 1);
}

#[test]
fn what_clients_write_to_a_replica_stays_there_and_expires_there() {
    let (primary, replica) = pair(&["--replica-read-only", "no"]);
    let below = follower(Program::Redstart, &replica, &[]);
    assert_equal(&[&primary, &replica, &below]);
    let (mut client, mut writer, mut reader) =
        (primary.connect(), replica.connect(), below.connect());
    let offset = number(&mut client, "master_repl_offset");
    writer.words("MSET mine 1 kept 2");
    writer.words("SET short 1 PX 1");
    writer.words("PEXPIRE mine 1");
    assert_eq!(number(&mut writer, "slave_expires_tracked_keys"), 2);
    client.words("DEBUG SET-ACTIVE-EXPIRE 0");
    client.words("SET theirs 1 PX 1");
    await_offset(&mut client, &mut writer);
    await_that("its own keys go", || number(&mut writer, "slave_expires_tracked_keys") == 0);
    assert_eq!(writer.words("DBSIZE"), Value::Integer(2), "the primary says when its keys go");
    assert_eq!(writer.words("EXISTS kept theirs"), Value::Integer(1));
    await_offset(&mut client, &mut reader);
    assert_eq!(reader.words("EXISTS kept mine"), Value::Integer(0));
    assert!(number(&mut writer, "master_repl_offset") > offset);
    assert_eq!(number(&mut client, "sync_full") + number(&mut writer, "sync_full"), 2);
}

#[test]
fn a_stream_that_can_not_be_applied_is_told_of_and_gone_on_with() {
    let (primary, replica) = pair(&["--replica-read-only", "no"]);
    let (mut client, mut writer) = (primary.connect(), replica.connect());
    writer.words("SET number text");
    client.words("INCRBY number 1");
    client.words("DEBUG REPLICATE no-such-command 1");
    client.words("DEBUG REPLICATE GET too many words");
    client.words("SET after 1");
    await_offset(&mut client, &mut writer);
    assert_eq!(writer.words("GET after").text(), "1");
    assert_eq!(writer.words("GET number").text(), "text");
    let log = replica.log();
    let critical = log.lines().filter(|line| line.contains("== CRITICAL =="));
    assert_eq!(critical.count(), 3, "{log}");
    assert_eq!(number(&mut client, "sync_partial_ok"), 0, "the link has lasted");
}

#[test]
fn a_stream_that_can_not_be_applied_ends_the_link_where_that_is_asked_for() {
    let (primary, replica) =
        pair(&["--replica-read-only", "no", "--propagation-error-behavior", "panic"]);
    let (mut client, mut writer) = (primary.connect(), replica.connect());
    writer.words("SET number text");
    client.words("INCRBY number 1");
    await_that("it says why", || replica.log().contains("as propagation-error-behavior says"));
    let offset = number(&mut writer, "master_repl_offset");
    assert!(offset < number(&mut client, "master_repl_offset"), "it doesn't claim to have it");
    writer.words("DEL number");
    assert_equal(&[&primary, &replica]);
}

/// The log must be one that can be loaded again.
#[test]
fn a_replica_with_a_log_does_not_skip_what_it_does_not_know() {
    let (primary, mut replica) = pair(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut client = primary.connect();
    client.words("SET before 1");
    assert_equal(&[&primary, &replica]);
    let mut reader = replica.connect();
    await_that("its log has its base", || info(&mut reader, "aof_rewrite_in_progress") == "0");
    client.words("DEBUG REPLICATE no-such-command 1");
    await_that("it says why", || replica.log().contains("the log can't hold"));
    replica.kill();
    replica.restart();
    assert_eq!(replica.connect().words("GET before").text(), "1");
}

/// Its snapshot leaves out what has expired; replicas are told of it as if that had happened then.
#[test]
fn a_restarted_primary_tells_its_replicas_what_expired_meanwhile() {
    let mut primary = start(Program::Redstart, &["--repl-ping-replica-period", "3600"]);
    let replicas =
        [Program::Redis, Program::Redstart].map(|program| follower(program, &primary, &[]));
    let mut client = primary.connect();
    client.words("DEBUG SET-ACTIVE-EXPIRE 0");
    for key in 0..50 {
        client.words(&format!("SELECT {}", key % 3));
        client.words(&format!("SET short:{key} 1 PX 1"));
        client.words(&format!("SET long:{key} 1"));
    }
    assert_eq!(client.words("WAIT 2 10000"), Value::Integer(2));
    assert_eq!(client.words("SAVE").text(), "OK");
    primary.kill();
    primary.restart();
    let mut client = primary.connect();
    for replica in &replicas {
        replica.connect().words(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    }
    await_that("both came back", || number(&mut client, "connected_slaves") == 2);
    assert_equal(&[&primary, &replicas[0], &replicas[1]]);
    assert_eq!(number(&mut client, "rdb_last_load_keys_expired"), 50);
    assert_eq!(number(&mut client, "sync_full"), 0, "nobody needs a copy");
    assert_eq!(replicas[1].connect().words("DBSIZE"), Value::Integer(17));
}

/// A replica asks for the data and sends a command; its primary closes the link, and the log says why.
fn closes_its_replica(primary: &Server, sent: &str, named: &str) {
    let mut link = primary.connect();
    link.try_send_raw(&client::encode(&["PSYNC", "?", "-1"])).expect("sent");
    let answer = link.try_read().expect("an answer").text();
    assert!(answer.starts_with("FULLRESYNC "), "{answer}");
    link.try_send_raw(&client::encode(&client::argv(sent))).expect("sent");
    link.read_to_close().expect("it is closed");
    let told = format!("Replica generated a reply to command '{named}', disconnecting it: id=");
    await_that("the log says why", || primary.log().contains(&told));
}

#[test]
fn a_replica_that_sends_commands_is_closed() {
    let primary = start(Program::Redstart, &[]);
    let mut client = primary.connect();
    client.words("SET a b");
    for (sent, named) in [("PING", "ping"), ("GET a", "get"), ("SLOWLOG GET", "slowlog|get")] {
        closes_its_replica(&primary, sent, named);
    }
    assert!(primary.log().contains("ERR Replica can't interact with the keyspace"));
    assert_eq!(
        client.words("PSYNC id offset").text(),
        "ERR value is not an integer or out of range"
    );
    assert_eq!(number(&mut client, "connected_slaves"), 0);
}

/// What a replica waited for was answered in the midst of its stream.
#[test]
fn a_replica_that_waits_for_an_answer_is_closed() {
    let primary = start(Program::Redstart, &[]);
    let mut client = primary.connect();
    for (sent, named) in [("WAIT 5 100", "wait"), ("WAITAOF 0 5 100", "waitaof")] {
        closes_its_replica(&primary, sent, named);
        await_that("it has gone", || number(&mut client, "connected_slaves") == 0);
    }
}

/// What a subscriber, a client that tracks, and a monitor are told came in the midst of the stream.
#[test]
fn a_replica_hears_nothing_but_its_stream() {
    let primary = start(Program::Redstart, &["--repl-diskless-sync", "no"]);
    let mut client = primary.connect();
    client.words("SET a b");
    let mut links = Vec::new();
    for (index, line) in ["SUBSCRIBE news", "CLIENT TRACKING ON BCAST"].iter().enumerate() {
        let mut link = primary.connect();
        link.words("HELLO 3");
        link.try_send_raw(&client::encode(&client::argv(line))).expect("sent");
        link.next_value().expect("an answer");
        link.try_send_raw(b"SYNC\r\n").expect("sent");
        await_that("it is fed", || {
            info(&mut client, &format!("slave{index}")).contains("state=online")
        });
        client.words("PUBLISH news hello");
        client.words("SET a c");
        assert_eq!(info(&mut client, "pubsub_clients"), "0", "{line}");
        assert_eq!(info(&mut client, "tracking_clients"), "0", "{line}");
        links.push(link);
    }
    let mut monitor = primary.connect();
    monitor.words("MONITOR");
    monitor.try_send_raw(b"SYNC\r\nPING\r\n").expect("sent");
    await_that("it is asked", || info(&mut client, "cmdstat_sync").starts_with("calls=3,"));
    assert_eq!(number(&mut client, "connected_slaves"), 2);
}

/// The word of one that isn't fed counted once it was, one that stood behind other options was taken from the
/// wrong place, and one that is no number was answered, which closed the link.
#[test]
fn only_what_a_replica_says_of_its_place_counts() {
    let primary = start(Program::Redstart, &["--repl-diskless-sync", "no"]);
    let mut client = primary.connect();
    client.words("SET a b");
    let mut link = primary.connect();
    let mut say = |line: &str| {
        link.try_send_raw(&client::encode(&client::argv(line))).expect("sent");
    };
    say("REPLCONF ACK nothing FACK nothing");
    say("REPLCONF listening-port 7777");
    say("REPLCONF ACK 1000000");
    say("PING");
    say("SYNC");
    await_that("it is fed", || info(&mut client, "slave0").contains("state=online"));
    assert!(info(&mut client, "slave0").contains(",offset=0,"), "{}", info(&mut client, "slave0"));
    say("REPLCONF ACK nothing");
    say("REPLCONF ACK 10 FACK nothing");
    await_that("it is heard", || info(&mut client, "slave0").contains(",offset=10,"));
    say("REPLCONF getack * ACK 11");
    say("REPLCONF ACK 12");
    await_that("it is heard", || info(&mut client, "slave0").contains(",offset=12,"));
    assert_eq!(link.try_read().expect("an answer").text(), "OK");
    assert_eq!(link.try_read().expect("an answer").text(), "PONG");
}

/// Following somebody else in vain costs those behind nothing.
#[test]
fn replicas_of_a_replica_stay_while_it_looks_for_another_primary() {
    let (primary, replica) = pair(&[]);
    let below = follower(Program::Redstart, &replica, &[]);
    assert_equal(&[&primary, &replica, &below]);
    let mut client = replica.connect();
    assert_eq!(client.words("REPLICAOF 127.0.0.1 1").text(), "OK");
    await_that("it can't be followed", || replica.log().contains("Connection refused"));
    primary.connect().words("SET a b");
    client.words(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    assert_equal(&[&primary, &replica, &below]);
    assert_eq!(number(&mut client, "sync_full"), 1);
    assert_eq!(number(&mut client, "sync_partial_ok"), 0, "it has never gone");
    assert!(info(&mut client, "slave0").contains("state=online"));
    let letter = format!("{}:S ", replica.pid());
    assert!(replica.log().contains(&letter), "a replica's lines say that it is one");
}

/// Sentinel says who is followed, and has the server remember it.
#[test]
fn a_primary_is_remembered_by_config_rewrite() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("redstart.conf");
    std::fs::write(&path, "# mine\nappendonly no\nsave \"\"\nenable-debug-command yes\n")
        .expect("a file");
    let file = path.to_str().expect("a path of text").to_owned();
    let primary = start(Program::Redstart, &[]);
    let mut server = Server::start_in(Program::Redstart, dir, &[&file]);
    let mut client = server.connect();
    client.words(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    assert_eq!(client.words("CONFIG REWRITE").text(), "OK");
    let line = format!("replicaof 127.0.0.1 {}", primary.port());
    let text = || std::fs::read_to_string(&path).expect("it is there");
    assert!(text().contains("# mine") && text().contains(&line), "{}", text());
    server.kill();
    server.restart();
    assert_equal(&[&primary, &server]);
    let mut client = server.connect();
    client.words("REPLICAOF NO ONE");
    assert_eq!(client.words("CONFIG REWRITE").text(), "OK");
    assert!(!text().contains("replicaof"), "{}", text());
}

/// What was queued while the data was fresh isn't read when it is stale.
#[test]
fn a_queue_of_reads_is_refused_where_the_data_is_stale() {
    let (primary, replica) = pair(&["--replica-serve-stale-data", "no"]);
    primary.connect().words("SET a b");
    assert_equal(&[&primary, &replica]);
    let (mut client, mut other) = (replica.connect(), replica.connect());
    let mut quiet = replica.connect();
    for line in ["MULTI", "GET a"] {
        client.words(line);
    }
    for line in ["MULTI", "TIME"] {
        quiet.words(line);
    }
    other.words("REPLICAOF 127.0.0.1 1");
    let answer = client.words("EXEC").text();
    assert!(
        answer.starts_with("EXECABORT Transaction discarded because of: MASTERDOWN"),
        "{answer}"
    );
    assert_eq!(quiet.words("EXEC").elements().len(), 1, "the time is never stale");
}

/// A script that says nothing of itself ran on stale data, where it read none; a listener was told of the
/// stale data and not of what it may send.
#[test]
fn a_stale_replica_says_so_as_upstream_does() {
    let [ours, theirs] = [Program::Redstart, Program::Redis].map(|program| {
        let replica = start(program, &["--replica-serve-stale-data", "no"]);
        let mut client = replica.connect();
        client.words("REPLICAOF 127.0.0.1 1");
        let mut said = vec![
            client.call(&["EVAL", "return 1", "0"]),
            client.call(&["EVAL_RO", "return 1", "0"]),
            client.call(&["EVAL", "#!lua\nreturn 1", "0"]),
            client.call(&["EVAL", "#!lua flags=allow-stale\nreturn 1", "0"]),
            client.words("GET a"),
        ];
        client.words("SUBSCRIBE c");
        said.push(client.words("GET a"));
        said
    });
    assert_eq!(ours, theirs);
}

/// Where a replica has `min-replicas-to-write` (every server of a group that Sentinel watches may become the
/// primary), it told its clients that replicas were missing, and not to look for the primary.
#[test]
fn a_replica_counts_no_replicas() {
    let careful = ["--min-replicas-to-write", "1"];
    let primary = start(Program::Redstart, &[]);
    let [ours, theirs] = [Program::Redstart, Program::Redis].map(|program| {
        let replica = follower(program, &primary, &careful);
        let mut client = replica.connect();
        let script = ["EVAL", "#!lua\nreturn redis.call('SET', 'a', 1)", "0"];
        let mut said = vec![client.words("SET a 1"), client.call(&script)];
        for line in ["MULTI", "SET a 1", "EXEC", "CONFIG SET replica-read-only no", "SET mine 1"] {
            said.push(client.words(line));
        }
        said.push(client.call(&script));
        said
    });
    assert_eq!(ours, theirs);
    assert!(ours[0].text().starts_with("READONLY"), "{ours:?}");
}

#[test]
fn the_link_comes_from_the_address_that_is_wanted() {
    let (primary, _replica) = pair(&["--bind-source-addr", "127.0.0.2"]);
    let told = info(&mut primary.connect(), "slave0");
    assert!(told.starts_with("ip=127.0.0.2,"), "{told}");
}

/// What comes during a pause is kept and applied behind it, whole units and in order.
#[test]
fn a_paused_replica_applies_nothing_until_the_pause_ends() {
    let (primary, replica) = pair(&[]);
    let (mut writer, mut reader) = (primary.connect(), replica.connect());
    writer.words("SET key old");
    await_offset(&mut writer, &mut reader);
    for (pause, ends) in [("CLIENT PAUSE 100000 WRITE", true), ("CLIENT PAUSE 300 ALL", false)] {
        assert_eq!(reader.words(pause).text(), "OK");
        writer.words("SET key new");
        writer.words("MULTI");
        writer.words("RPUSH list a b");
        writer.words("DEL key");
        writer.words("EXEC");
        let offset = number(&mut writer, "master_repl_offset");
        await_that("all has come", || {
            number(&mut replica.connect(), "slave_read_repl_offset") >= offset
        });
        if ends {
            assert!(number(&mut reader, "slave_repl_offset") < offset);
            assert_eq!(reader.words("GET key").text(), "old");
            assert_eq!(reader.words("CLIENT UNPAUSE").text(), "OK");
        }
        await_offset(&mut writer, &mut reader);
        assert_eq!(reader.words("EXISTS key"), Value::Integer(0));
    }
    assert_eq!(reader.words("LLEN list"), Value::Integer(4));
}

/// A stream says its database only where it changes: a replica whose log begins in between must know it.
#[test]
fn a_restarted_replica_keeps_the_database_of_its_stream_in_its_log() {
    let (primary, mut replica) = pair(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut client = primary.connect();
    client.words("SELECT 3");
    client.words("SET before 1");
    assert_equal(&[&primary, &replica]);
    let mut reader = replica.connect();
    await_that("its log has its base", || info(&mut reader, "aof_rewrite_in_progress") == "0");
    for key in ["first", "second"] {
        replica.kill();
        replica.restart();
        let mut reader = replica.connect();
        // A file of its own, in which nothing says the database yet.
        assert!(!reader.words("BGREWRITEAOF").is_error());
        await_that("it is rewritten", || number(&mut reader, "aof_rewrites") == 1);
        await_that("it follows", || info(&mut reader, "master_link_status") == "up");
        client.words(&format!("SET {key} 1"));
        assert_equal(&[&primary, &replica]);
    }
    replica.kill();
    replica.restart();
    let mut reader = replica.connect();
    assert_eq!(reader.words("DBSIZE"), Value::Integer(0), "nothing has gone astray");
    reader.words("SELECT 3");
    assert_eq!(reader.words("EXISTS before first second"), Value::Integer(3));
}

#[test]
fn a_replica_of_a_replica_begins_in_the_database_of_the_stream() {
    let (primary, replica) = pair(&[]);
    let mut client = primary.connect();
    client.words("SELECT 3");
    client.words("SET before 1");
    assert_equal(&[&primary, &replica]);
    let below = follower(Program::Redstart, &replica, &[]);
    let mut reader = below.connect();
    await_that("it has a copy", || info(&mut reader, "master_link_status") == "up");
    client.words("SET behind 1");
    await_offset(&mut client, &mut reader);
    reader.words("SELECT 3");
    assert_eq!(reader.words("EXISTS before behind"), Value::Integer(2));
    assert_equal(&[&primary, &replica, &below]);
}

/// One tick may bring more than the backlog holds.
#[test]
fn a_replica_in_step_stays_whatever_a_tick_brings() {
    for log in ["no", "yes"] {
        let sizes = ["--repl-backlog-size", "16kb", "--appendonly", log];
        let primary = start(Program::Redstart, &sizes);
        let replica = follower(Program::Redstart, &primary, &[]);
        assert_equal(&[&primary, &replica]);
        let mut client = primary.connect();
        let huge = "x".repeat(200_000);
        for _ in 0..20 {
            client.words(&format!("SET huge {huge}"));
        }
        assert_equal(&[&primary, &replica]);
        assert_eq!(number(&mut client, "sync_full"), 1);
        assert_eq!(number(&mut client, "sync_partial_ok"), 0, "the link has lasted");
    }
}

/// A client that follows redirections is sent to the primary as by Valkey, and can read here if it says so.
#[test]
fn a_client_that_follows_redirections_is_sent_to_the_primary() {
    for program in [Program::Valkey, Program::Redstart] {
        let primary = start(program, &[]);
        let replica = follower(program, &primary, &[]);
        assert_equal(&[&primary, &replica]);
        let redirect = format!("REDIRECT 127.0.0.1:{}", primary.port());
        let readonly = "READONLY You can't write against a read only replica.";
        let mut client = replica.connect();
        for (line, answer) in [
            ("SET a 1", readonly),
            ("GET a", "$nil"),
            ("CLIENT CAPA other redirect", "OK"),
            ("SET a 1", redirect.as_str()),
            ("GET a", &redirect),
            ("PING", "PONG"),
            ("PUBLISH a b", ":0"),
            ("MULTI", "OK"),
            ("GET a", &redirect),
            ("EXEC", "EXECABORT Transaction discarded because of previous errors."),
            ("READONLY", "OK"),
            ("GET a", "$nil"),
            ("SET a 1", &redirect),
            ("READWRITE", "OK"),
            ("GET a", &redirect),
            ("MULTI", "OK"),
            ("PING", "QUEUED"),
        ] {
            assert_eq!(client.words(line).text(), answer, "{line} at {}", program.name());
        }
        // What was queued at a primary that is one no more.
        let mut other = primary.connect();
        for line in ["CLIENT CAPA redirect", "WATCH a", "MULTI", "SET a 1"] {
            assert!(!other.words(line).is_error(), "{line}");
        }
        replica.connect().words("REPLICAOF NO ONE");
        primary.connect().words(&format!("REPLICAOF 127.0.0.1 {}", replica.port()));
        let back = format!("REDIRECT 127.0.0.1:{}", replica.port());
        assert_eq!(other.words("EXEC").text(), back, "{}", program.name());
        assert_eq!(other.words("EXEC").text(), "ERR EXEC without MULTI", "{}", program.name());
    }
}

#[test]
fn a_script_waits_for_what_its_client_has_written() {
    let primary = start(Program::Redstart, &[]);
    let replicas = [(); 2].map(|()| follower(Program::Redstart, &primary, &[]));
    assert_equal(&[&primary, &replicas[0], &replicas[1]]);
    replicas[1].halt();
    let mut client = primary.connect();
    client.words("SET a 1");
    assert_eq!(client.words("WAIT 1 10000"), Value::Integer(1));
    let waits = ["EVAL", "return redis.call('wait', 2, 0)", "0"];
    assert_eq!(client.call(&waits), Value::Integer(1), "the one that stands still doesn't count");
    replicas[1].proceed();
    assert_eq!(client.words("WAIT 2 10000"), Value::Integer(2));
    assert_eq!(client.call(&waits), Value::Integer(2));
}

#[test]
fn emptying_what_is_empty_is_told_to_replicas() {
    let (primary, replica) = pair(&[]);
    let (mut client, mut reader) = (primary.connect(), replica.connect());
    client.words("FLUSHDB ASYNC");
    client.words("FLUSHALL");
    await_offset(&mut client, &mut reader);
    let told = reader.words("INFO commandstats").text();
    for command in ["flushdb", "flushall"] {
        assert!(told.contains(&format!("cmdstat_{command}:calls=1,")), "{told}");
    }
}

/// WAIT forgot what its client had written when a log began, and counted replicas that don't have it.
#[test]
fn a_log_that_begins_does_not_make_wait_forget() {
    let (primary, replica) = pair(&[]);
    let (mut client, mut other) = (primary.connect(), primary.connect());
    replica.halt();
    client.words("SET a 1");
    assert_eq!(client.words("WAIT 1 1"), Value::Integer(0));
    other.words("CONFIG SET appendonly yes");
    await_that("the log has a base", || info(&mut other, "aof_rewrite_in_progress") == "0");
    assert_eq!(client.words("WAIT 1 1"), Value::Integer(0), "it stands still");
    replica.proceed();
    assert_eq!(client.words("WAIT 1 20000"), Value::Integer(1));
    assert_eq!(client.words("WAITAOF 1 0 20000").elements()[0], Value::Integer(1));
}

#[test]
fn hello_says_what_the_server_is() {
    let (primary, replica) = pair(&[]);
    for (server, role) in [(&primary, "master"), (&replica, "replica")] {
        assert_eq!(server.connect().words("HELLO").field("role").expect("a role").text(), role);
    }
}

/// REPLCONF alone made a client one that CLIENT PAUSE doesn't hold, nor a failover's hold.
#[test]
fn a_client_that_only_says_it_is_a_replica_is_paused_like_any() {
    let primary = start(Program::Redstart, &[]);
    let (mut client, mut other) = (primary.connect(), primary.connect());
    assert_eq!(client.words("REPLCONF capa eof").text(), "OK");
    other.words("CLIENT PAUSE 100000 WRITE");
    client.try_send_raw(&client::encode(&["SET", "a", "1"])).expect("it is connected");
    await_that("it waits", || number(&mut other, "blocked_clients") == 1);
    assert_eq!(other.words("EXISTS a"), Value::Integer(0));
    other.words("CLIENT UNPAUSE");
    assert_eq!(client.next_value().expect("an answer").text(), "OK");
}

/// The snapshot that came in and the one that was being written had one file.
#[test]
fn a_server_receives_a_snapshot_while_it_writes_one_for_a_replica() {
    let above = start(Program::Redstart, &["--repl-diskless-sync", "no"]);
    let slow = ["--repl-diskless-sync", "no", "--rdb-key-save-delay", "3000"];
    let middle = start(Program::Redstart, &slow);
    above.connect().words("DEBUG POPULATE 1000 above 100");
    middle.connect().words("DEBUG POPULATE 1000 middle 100");
    let below = start(Program::Redstart, &[]);
    let mut client = middle.connect();
    below.connect().words(&format!("REPLICAOF 127.0.0.1 {}", middle.port()));
    await_that("it is written", || info(&mut client, "rdb_bgsave_in_progress") == "1");
    client.words(&format!("REPLICAOF 127.0.0.1 {}", above.port()));
    await_that("it is received", || info(&mut client, "master_link_status") == "up");
    client.words("CONFIG SET rdb-key-save-delay 0");
    assert_equal(&[&above, &middle, &below]);
    assert_eq!(client.words("DBSIZE"), Value::Integer(1000));
}

/// Beside a walk for replicas FLUSHALL only wished for the empty snapshot, and a kill brought all back.
#[test]
fn flushall_beside_a_walk_for_replicas_is_kept() {
    let more = ["--save", "3600 1", "--rdb-key-save-delay", "3000"];
    let mut primary = start(Program::Redstart, &more);
    let mut client = primary.connect();
    client.words("DEBUG POPULATE 100 key 10");
    client.words("CONFIG SET rdb-key-save-delay 0");
    client.words("SAVE");
    client.words("DEBUG POPULATE 1000 more 10");
    client.words("CONFIG SET rdb-key-save-delay 3000");
    let replica = start(Program::Redstart, &[]);
    replica.connect().words(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    await_that("it is under way", || info(&mut client, "rdb_bgsave_in_progress") == "1");
    client.words("CONFIG SET rdb-key-save-delay 0");
    assert_eq!(client.words("FLUSHALL").text(), "OK");
    primary.kill();
    primary.restart();
    assert_eq!(primary.connect().words("DBSIZE"), Value::Integer(0));
}

#[test]
fn what_a_transaction_wrote_before_it_follows_another_is_in_its_own_stream() {
    let (primary, replica) = pair(&[]);
    let mut client = primary.connect();
    let mut other = replica.connect();
    client.words("SET before 1");
    await_offset(&mut client, &mut other);
    // It is one with the primary's history up to here, and writes one thing more.
    other.words("REPLICAOF NO ONE");
    let at = number(&mut other, "master_repl_offset");
    other.words("MULTI");
    other.words("SET alone 1");
    other.words(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    other.words("SET later 1");
    let answers = other.words("EXEC").elements();
    assert_eq!(answers[0].text(), "OK");
    assert_eq!(answers[1].text(), "OK");
    assert_eq!(answers[2].text(), "READONLY You can't write against a read only replica.");
    // What it has alone is told of in its stream, so that nobody takes the two for the same.
    assert_equal(&[&primary, &replica]);
    assert_eq!(other.words("EXISTS alone").integer(), Some(0));
    assert_eq!(number(&mut client, "sync_full"), 2, "the stream had gone on from {at}");
}

/// DEBUG RELOAD left out what was due, and nobody told the replicas, who waited for a DEL.
#[test]
fn what_a_reload_leaves_out_goes_from_replicas_too() {
    let (primary, replica) = pair(&[]);
    let mut client = primary.connect();
    for line in ["DEBUG SET-ACTIVE-EXPIRE 0", "SET lasting 1", "SET due 1 PX 1"] {
        client.words(line);
    }
    client.words("DEBUG SLEEP 0.01");
    assert_eq!(client.words("DEBUG RELOAD").text(), "OK");
    assert_eq!(client.words("DBSIZE"), Value::Integer(1));
    let mut below = replica.connect();
    await_that("it goes there", || below.words("DBSIZE") == Value::Integer(1));
}

/// A restarted primary whose log was turned off recorded nothing any more, and still let replicas go on at the
/// place where it had come back: they lacked what was written since.
#[test]
fn what_was_written_without_a_log_is_not_left_out() {
    let mut primary = start(Program::Redstart, &["--appendonly", "yes"]);
    let replica = follower(Program::Redstart, &primary, &[]);
    primary.connect().words("SET before 1");
    assert_equal(&[&primary, &replica]);
    primary.kill();
    primary.restart();
    let mut client = primary.connect();
    assert_eq!(client.words("CONFIG SET appendonly no").text(), "OK");
    client.words("SET since 1");
    let mut below = replica.connect();
    below.words(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    assert_equal(&[&primary, &replica]);
    assert_eq!(below.words("EXISTS since"), Value::Integer(1));
}

/// A replica without a log freed its backlog when `repl-backlog-ttl` had passed without replicas of its own,
/// and with it its place: each broken link was a full sync from then on, and a replica of its own made it name
/// its history anew. Made a primary, it waits as long again for the others.
#[test]
fn a_replica_keeps_its_place_however_long_nobody_follows_it() {
    let (primary, replica) = pair(&["--repl-backlog-ttl", "4"]);
    let (mut above, mut client) = (primary.connect(), replica.connect());
    await_that("the time is over", || number(&mut client, "uptime_in_seconds") >= 7);
    above.words("SET a 1");
    await_offset(&mut above, &mut client);
    assert_eq!(info(&mut client, "repl_backlog_active"), "1");
    let partial = number(&mut above, "sync_partial_ok");
    above.words("CLIENT KILL TYPE replica");
    await_that("it comes back", || number(&mut above, "sync_partial_ok") == partial + 1);
    let below = follower(Program::Redstart, &replica, &[]);
    assert_equal(&[&primary, &replica, &below]);
    assert_eq!(number(&mut above, "sync_full"), 1);
    drop(below);
    await_that("nobody follows it", || info(&mut client, "connected_slaves") == "0");
    let since = number(&mut client, "uptime_in_seconds");
    await_that("the time is over", || number(&mut client, "uptime_in_seconds") >= since + 6);
    client.words("REPLICAOF NO ONE");
    let promoted = number(&mut client, "uptime_in_seconds");
    await_that("it has looked at its backlog", || {
        let all = client.words("INFO everything").text();
        let seconds = all.lines().find_map(|line| line.strip_prefix("uptime_in_seconds:"));
        let passed =
            seconds.and_then(|text| text.parse::<i64>().ok()).expect("a number") - promoted;
        assert!(passed >= 4 || all.contains("repl_backlog_active:1"), "after {passed} seconds");
        passed >= 2
    });
}
