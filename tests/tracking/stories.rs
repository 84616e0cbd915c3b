//! Single stories.

use std::time::Duration;

use crate::support::client::Client;
use crate::support::server::{Program, Server};

fn start(directives: &[&str]) -> Server {
    let plain = ["--appendonly", "no", "--save", "", "--enable-debug-command", "yes"];
    Server::start_with(Program::Redstart, &[&plain[..], directives].concat())
}

/// A client in RESP3 that tracks.
fn tracker(server: &Server, options: &str) -> Client {
    let mut client = server.connect();
    client.words("HELLO 3");
    assert_eq!(client.words(&format!("CLIENT TRACKING ON {options}")).text(), "OK");
    client
}

fn next(client: &mut Client) -> String {
    client.next_push().expect("a push").to_string()
}

fn told(keys: &str) -> String {
    format!(">[\"invalidate\", {keys}]")
}

/// A field of INFO.
fn info(client: &mut Client, field: &str) -> i64 {
    let text = client.call(&["INFO", "everything"]).text();
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {field} in\n{text}")).trim().parse().expect("a number")
}

#[test]
fn exchanged_databases_invalidate_everything() {
    let server = start(&[]);
    let (mut client, mut other) = (tracker(&server, ""), server.connect());
    client.words("GET k");
    other.words("SWAPDB 0 1");
    assert_eq!(next(&mut client), told("_nil"));
}

#[test]
fn no_loop_covers_a_clients_scripts() {
    let server = start(&[]);
    let mut client = tracker(&server, "BCAST NOLOOP");
    client.words("EVAL return(redis.call('set','mine','1')) 0");
    server.connect().words("SET others 1");
    assert_eq!(next(&mut client), told("*[\"others\"]"));
}

/// CLIENT CACHING is for the next command, also where that is a script that stands still.
#[test]
fn a_script_that_stood_still_ends_caching() {
    let server = start(&["--busy-reply-threshold", "5"]);
    let (mut client, mut other) = (tracker(&server, "OPTIN"), server.connect());
    client.words("CLIENT CACHING YES");
    let script = "local began = os.clock() while os.clock() - began < 0.1 do end";
    assert_eq!(client.call(&["EVAL", script, "0"]).to_string(), "_nil");
    client.words("GET unasked");
    client.words("CLIENT CACHING YES");
    client.words("GET asked");
    other.words("SET unasked 1");
    other.words("SET asked 1");
    assert_eq!(next(&mut client), told("*[\"asked\"]"));
}

/// XREADGROUP and XACK once told everyone who had read a queue's length, at each message.
#[test]
fn what_changes_a_streams_groups_alone_invalidates_nothing() {
    for program in [Program::Redis, Program::Redstart] {
        let server = Server::start_with(program, &["--appendonly", "no", "--save", ""]);
        let mut other = server.connect();
        other.words("XADD st 1-1 a b");
        let (mut reader, mut hearer) = (tracker(&server, ""), tracker(&server, "BCAST"));
        assert_eq!(reader.words("XLEN st").integer(), Some(1));
        for command in [
            "XGROUP CREATE st g 0",
            "XREADGROUP GROUP g me STREAMS st >",
            "XCLAIM st g you 0 1-1",
            "XACK st g 1-1",
            "XGROUP CREATECONSUMER st g third",
            "XGROUP DELCONSUMER st g third",
            "XGROUP SETID st g 0",
            "XSETID st 5-5",
            "XGROUP DESTROY st g",
        ] {
            assert!(!other.words(command).is_error(), "{command}");
        }
        other.words("SET last 1");
        assert_eq!(next(&mut hearer), told("*[\"last\"]"));
        other.words("XADD st 6-6 a b");
        assert_eq!(next(&mut reader), told("*[\"st\"]"));
    }
}

/// What Redis and Valkey do in other ways: see redis-compat.md.
#[test]
fn a_redirects_target_reads_its_own_protocol_behind_its_own_reply() {
    let server = start(&[]);
    let (mut target, mut client) = (server.connect(), server.connect());
    let id = target.words("HELLO 3").field("id").expect("a number");
    client.words(&format!("CLIENT TRACKING ON REDIRECT {}", id.integer().expect("a number")));
    client.words("GET k");
    target.try_send_raw(b"SET k 1\r\n").expect("sent");
    assert_eq!(target.next_value().expect("a reply").text(), "OK");
    assert_eq!(target.next_value().expect("a push").to_string(), told("*[\"k\"]"));
    client.words("FLUSHALL");
    assert_eq!(next(&mut target), told("_nil"));
    // The other way round, a RESP2 target is told in RESP2.
    let (mut target, mut client) = (server.connect(), server.connect());
    let id = target.words("CLIENT ID").integer().expect("a number");
    target.words("SUBSCRIBE __redis__:invalidate");
    client.words("HELLO 3");
    client.words(&format!("CLIENT TRACKING ON REDIRECT {id}"));
    client.words("FLUSHALL");
    let message = target.next_value().expect("a message").to_string();
    assert_eq!(message, "*[\"message\", \"__redis__:invalidate\", $nil]");
}

#[test]
fn changes_of_one_tick_are_broadcast_in_one_message() {
    let server = start(&[]);
    let (mut client, mut other) = (tracker(&server, "BCAST PREFIX a PREFIX b"), server.connect());
    // One unit, so one tick.
    other.words("MSET b2 1 a3 1 c 1 a1 1 a2 1");
    assert_eq!(next(&mut client), told("*[\"a1\", \"a2\", \"a3\"]"));
    assert_eq!(next(&mut client), told("*[\"b2\"]"));
}

#[test]
fn keys_that_time_or_lack_of_room_removes_are_told() {
    let server = start(&["--maxmemory-policy", "allkeys-random"]);
    let (mut client, mut other) = (tracker(&server, ""), server.connect());
    other.words("SET k 1 PX 30");
    client.words("GET k");
    assert_eq!(next(&mut client), told("*[\"k\"]"), "by the round of expiry");
    other.words("SET k 1");
    client.words("GET k");
    other.words("CONFIG SET maxmemory 1");
    assert_eq!(next(&mut client), told("*[\"k\"]"), "by eviction");
    // A field's end is a change of its key.
    other.words("CONFIG SET maxmemory 0");
    other.words("HSET h f v");
    client.words("HGETALL h");
    other.words("HPEXPIRE h 20 FIELDS 1 f");
    assert_eq!(next(&mut client), told("*[\"h\"]"), "by HPEXPIRE");
    client.words("HGETALL h");
    assert_eq!(next(&mut client), told("*[\"h\"]"), "by the round of expiry");
}

#[test]
fn a_full_table_forgets_keys_and_says_so() {
    let server = start(&["--tracking-table-max-keys", "100"]);
    let (mut client, mut asker) = (tracker(&server, "NOLOOP"), server.connect());
    for key in 0..1000 {
        client.words(&format!("GET k{key}"));
    }
    let forgotten = client.take_pushes().len();
    assert!((899..=900).contains(&forgotten), "{forgotten}");
    assert!(info(&mut asker, "tracking_total_keys") <= 101);
    asker.words("CONFIG SET tracking-table-max-keys 1");
    let begin = std::time::Instant::now();
    while info(&mut asker, "tracking_total_keys") > 1 {
        assert!(begin.elapsed() < Duration::from_secs(10), "the table is limited");
    }
}

#[test]
fn figures_follow_the_clients() {
    let server = start(&[]);
    let mut asker = server.connect();
    let figures = |asker: &mut Client| {
        [
            "tracking_clients",
            "tracking_total_keys",
            "tracking_total_items",
            "tracking_total_prefixes",
        ]
        .map(|field| info(asker, field))
    };
    assert_eq!(figures(&mut asker), [0, 0, 0, 0]);
    let (mut one, mut two) = (tracker(&server, ""), tracker(&server, ""));
    let three = tracker(&server, "BCAST PREFIX a PREFIX b");
    one.words("MGET a b");
    two.words("GET a");
    assert_eq!(figures(&mut asker), [3, 2, 3, 2]);
    drop(three);
    let begin = std::time::Instant::now();
    while figures(&mut asker) != [2, 2, 3, 0] {
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", figures(&mut asker));
    }
    one.words("CLIENT TRACKING OFF");
    two.words("RESET");
    assert_eq!(figures(&mut asker), [0, 0, 0, 0]);
}

#[test]
fn a_replicas_clients_hear_of_what_the_primary_changes() {
    let (primary, replica) = (start(&[]), start(&["--repl-diskless-sync-delay", "0"]));
    let (mut writer, mut asker) = (primary.connect(), replica.connect());
    let mut client = tracker(&replica, "");
    client.words("GET k");
    asker.words(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    let begin = std::time::Instant::now();
    while !asker.words("INFO replication").text().contains("master_link_status:up") {
        assert!(begin.elapsed() < Duration::from_secs(30), "it follows");
    }
    assert_eq!(next(&mut client), told("_nil"), "all it had is gone");
    client.words("GET k");
    writer.words("SET k 1");
    assert_eq!(next(&mut client), told("*[\"k\"]"));
    client.words("GET k");
    writer.words("FLUSHALL");
    assert_eq!(next(&mut client), told("_nil"));
}

#[test]
fn invalidations_wait_for_the_log_as_replies_do() {
    let server = Server::start_with(Program::Redstart, &["--appendfsync", "always"]);
    let (mut client, mut other) = (tracker(&server, ""), server.connect());
    for round in 0..20 {
        client.words("GET k");
        other.words(&format!("SET k {round}"));
        assert_eq!(next(&mut client), told("*[\"k\"]"));
    }
}

#[test]
fn what_does_not_fit_is_refused_in_redis_servers_words() {
    const LINES: &[&str] = &[
        "CACHING YES",
        "CACHING maybe",
        "GETREDIR",
        "TRACKING ON",
        "GETREDIR",
        "TRACKING ON BCAST",
        "TRACKING ON PREFIX a",
        "TRACKING ON OPTIN OPTOUT",
        "TRACKING ON REDIRECT 99999",
        "TRACKING ON REDIRECT @ REDIRECT @",
        "TRACKING ON REDIRECT -1",
        "TRACKING ON REDIRECT x",
        "TRACKING ON REDIRECT",
        "TRACKING ON PREFIX",
        "TRACKING ON FOO",
        "TRACKING FOO",
        "TRACKING OFF REDIRECT 99999",
        "CACHING YES",
        "CACHING NO",
        "CACHING maybe",
        "TRACKING ON OPTIN",
        "TRACKINGINFO",
        // What was said for the next request holds where the mode is chosen anew in between.
        "CACHING YES",
        "TRACKING ON OPTIN NOLOOP",
        "TRACKINGINFO",
        "TRACKING ON",
        "TRACKINGINFO",
        "TRACKING ON OPTIN",
        "TRACKINGINFO",
        "TRACKING ON OPTOUT",
        "CACHING NO",
        "CACHING YES",
        "TRACKINGINFO",
        "TRACKING ON NOLOOP",
        "TRACKINGINFO",
        "TRACKING OFF",
        "TRACKING ON OPTOUT",
        "TRACKING ON OPTIN",
        "CACHING YES",
        "CACHING NO",
        "TRACKINGINFO",
        "TRACKING OFF",
        "TRACKING ON BCAST OPTIN",
        "TRACKING ON BCAST PREFIX a PREFIX ab",
        "TRACKING ON BCAST PREFIX a PREFIX b",
        "TRACKING ON BCAST PREFIX bc",
        "TRACKING ON BCAST PREFIX a",
        "TRACKING ON BCAST PREFIX x",
        "TRACKING ON",
        "CACHING YES",
        "TRACKINGINFO",
        "TRACKING ON BCAST",
        "TRACKINGINFO",
        "TRACKING OFF",
        "TRACKINGINFO",
    ];
    let [theirs, ours] = [Program::Redis, Program::Redstart].map(|program| {
        let server = Server::start_with(program, &["--appendonly", "no", "--save", ""]);
        let (mut client, mut other) = (server.connect(), server.connect());
        client.words("HELLO 3");
        let id = other.words("CLIENT ID").integer().expect("a number").to_string();
        let answer = |line: &&str| {
            let words = format!("CLIENT {}", line.replace('@', &id));
            format!("{line}: {}", client.words(&words))
        };
        LINES.iter().map(answer).collect::<Vec<_>>()
    });
    assert_eq!(ours, theirs);
}
