//! Real clients against the real server: redis-rs, and the tools that come with Redis (redis-cli,
//! redis-benchmark). redis-py has its own file, `clients/test_redis_py.py`, which `run.sh` runs.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use redis::{
    Commands, ConnectionLike, ErrorKind, ExistenceCheck, RedisResult, SetExpiry, SetOptions,
};
use support::server::{Program, Server};

fn connect(server: &Server, options: &str) -> redis::Connection {
    let url = format!("redis://127.0.0.1:{}/{options}", server.port());
    let client = redis::Client::open(url).expect("a URL");
    client.get_connection_with_timeout(Duration::from_secs(10)).expect("a connection")
}

fn each_protocol(test: fn(&Server, redis::Connection)) {
    let server = Server::start(Program::Redstart);
    test(&server, connect(&server, ""));
    let mut client = server.connect();
    client.words("FLUSHALL");
    test(&server, connect(&server, "?protocol=resp3"));
}

#[test]
fn redis_rs_strings() {
    each_protocol(|_, mut connection| {
        let _: () = connection.set("name", "redstart").expect("SET");
        let name: String = connection.get("name").expect("GET");
        assert_eq!(name, "redstart");
        let nothing: Option<String> = connection.get("nothing").expect("GET");
        assert_eq!(nothing, None);
        let binary = vec![0, 13, 10, 255];
        let _: () = connection.set("binary", &binary).expect("SET");
        assert_eq!(connection.get::<_, Vec<u8>>("binary").expect("GET"), binary);
        assert_eq!(connection.incr::<_, _, i64>("n", 5).expect("INCRBY"), 5);
        assert_eq!(connection.decr::<_, _, i64>("n", 7).expect("DECRBY"), -2);
        let sum: f64 = connection.incr("n", 0.5).expect("INCRBYFLOAT");
        assert!((sum + 1.5).abs() < 1e-9);
        assert_eq!(connection.append::<_, _, usize>("name", "!").expect("APPEND"), 9);
        assert_eq!(connection.strlen::<_, usize>("name").expect("STRLEN"), 9);
        let part: String = connection.getrange("name", 0, 2).expect("GETRANGE");
        assert_eq!(part, "red");
        let _: () = connection.mset(&[("a", 1), ("b", 2)]).expect("MSET");
        let both: Vec<Option<i64>> = connection.mget(&["a", "none", "b"]).expect("MGET");
        assert_eq!(both, [Some(1), None, Some(2)]);
        let options = SetOptions::default()
            .conditional_set(ExistenceCheck::NX)
            .get(true)
            .with_expiration(SetExpiry::EX(1000));
        let old: Option<String> = connection.set_options("name", "x", options).expect("SET NX GET");
        assert_eq!(old.as_deref(), Some("redstart!"));
        let gone: Option<String> = connection.get_del("name").expect("GETDEL");
        assert_eq!(gone.as_deref(), Some("redstart!"));
    });
}

#[test]
fn redis_rs_keys_and_scan() {
    each_protocol(|_, mut connection| {
        for number in 0..1000 {
            let _: () = connection.set(format!("key:{number}"), number).expect("SET");
        }
        let mut found: Vec<String> =
            connection.scan_match("key:*").expect("SCAN").collect::<Vec<String>>();
        found.sort();
        found.dedup();
        assert_eq!(found.len(), 1000);
        let some: Vec<String> = connection.keys("key:99?").expect("KEYS");
        assert_eq!(some.len(), 10);
        assert!(connection.expire::<_, bool>("key:1", 1000).expect("EXPIRE"));
        let left: i64 = connection.ttl("key:1").expect("TTL");
        assert!((990..=1000).contains(&left));
        assert!(connection.persist::<_, bool>("key:1").expect("PERSIST"));
        assert_eq!(connection.ttl::<_, i64>("key:1").expect("TTL"), -1);
        assert_eq!(connection.ttl::<_, i64>("none").expect("TTL"), -2);
        let _: () = connection.rename("key:1", "renamed").expect("RENAME");
        assert!(connection.exists::<_, bool>("renamed").expect("EXISTS"));
        assert_eq!(connection.del::<_, usize>(&["renamed", "key:2", "none"]).expect("DEL"), 2);
        let kind: String = redis::cmd("TYPE").arg("key:3").query(&mut connection).expect("TYPE");
        assert_eq!(kind, "string");
    });
}

#[test]
fn redis_rs_pipelines_and_transactions() {
    each_protocol(|server, mut connection| {
        let (one, two): (i64, i64) = redis::pipe()
            .atomic()
            .set("n", 41)
            .ignore()
            .incr("n", 1)
            .get("n")
            .query(&mut connection)
            .expect("a transaction");
        assert_eq!((one, two), (42, 42));
        let mut pipeline = redis::pipe();
        for number in 0..10_000 {
            pipeline.set(format!("p:{number}"), number).ignore();
        }
        let _: () = pipeline.query(&mut connection).expect("a pipeline");
        assert_eq!(connection.get::<_, i64>("p:9999").expect("GET"), 9999);

        let mut other = connect(server, "");
        let mut attempts = 0;
        let result: (i64,) = redis::transaction(&mut connection, &["n"], |connection, pipe| {
            attempts += 1;
            let number: i64 = connection.get("n")?;
            if attempts == 1 {
                // Another client gets in between: the first attempt must not count.
                let _: () = other.set("n", 100)?;
            }
            pipe.incr("n", number).query(connection)
        })
        .expect("a watched transaction");
        assert_eq!((result.0, attempts), (200, 2));
    });
}

#[test]
fn redis_rs_publishes_and_subscribes() {
    each_protocol(|server, mut connection| {
        let mut listener = connect(server, "");
        let mut listener = listener.as_pubsub();
        listener.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        listener.subscribe(&["news", "more"]).expect("SUBSCRIBE");
        listener.psubscribe("n*").expect("PSUBSCRIBE");
        let heard: usize = connection.publish("news", b"\x00\r\n").expect("PUBLISH");
        assert_eq!(heard, 2);
        let message = listener.get_message().expect("a message");
        assert_eq!((message.get_channel_name(), message.from_pattern()), ("news", false));
        assert_eq!(message.get_payload_bytes(), b"\x00\r\n");
        let message = listener.get_message().expect("a message");
        assert_eq!(message.get_pattern::<String>().expect("a pattern"), "n*");
        listener.unsubscribe("news").expect("UNSUBSCRIBE");
        listener.punsubscribe("n*").expect("PUNSUBSCRIBE");
        let heard: usize = connection.publish("news", "x").expect("PUBLISH");
        assert_eq!(heard, 0);
    });
}

#[test]
fn redis_rs_errors_and_databases() {
    each_protocol(|server, mut connection| {
        let _: () = connection.set("text", "abc").expect("SET");
        let error = connection.incr::<_, _, i64>("text", 1).expect_err("not a number");
        assert_eq!(error.kind(), ErrorKind::ResponseError);
        assert!(error.to_string().contains("not an integer"), "{error}");
        let unknown: RedisResult<()> = redis::cmd("NOSUCHCOMMAND").query(&mut connection);
        assert!(unknown.expect_err("an unknown command").to_string().contains("unknown command"));
        assert!(connection.check_connection());

        let mut other = connect(server, "1");
        assert!(!other.exists::<_, bool>("text").expect("EXISTS"));
        let _: () = other.set("text", "in one").expect("SET");
        assert_eq!(connection.get::<_, String>("text").expect("GET"), "abc");
    });
}

/// Runs a tool against a server, with something on its standard input, and gives its output.
fn run_tool(tool: &str, server: &Server, arguments: &[&str], input: &[u8]) -> String {
    let mut child = Command::new(tool)
        .args(["-h", "127.0.0.1", "-p", &server.port().to_string()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("can't start {tool}: {error}"));
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(input).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?}: {said}{errors}");
    said
}

#[test]
fn redis_cli_talks() {
    let server = Server::start(Program::Redstart);
    let cli = |arguments: &[&str]| run_tool("redis-cli", &server, arguments, b"");
    assert_eq!(cli(&["set", "greeting", "hello world"]), "OK\n");
    assert_eq!(cli(&["get", "greeting"]), "hello world\n");
    assert_eq!(cli(&["--no-raw", "get", "greeting"]), "\"hello world\"\n");
    assert_eq!(cli(&["--no-raw", "get", "nothing"]), "(nil)\n");
    assert_eq!(cli(&["-3", "--no-raw", "get", "nothing"]), "(nil)\n");
    assert_eq!(cli(&["-n", "5", "dbsize"]), "0\n");
    assert!(cli(&["incr", "greeting"]).starts_with("ERR value is not an integer"));
    let session =
        run_tool("redis-cli", &server, &[], b"multi\nincr n\nincr n\nexec\nselect 2\ndbsize\n");
    assert!(session.ends_with("1\n2\nOK\n0\n"), "{session}");
    assert!(cli(&["info", "server"]).contains("redis_version:"));
    // The stream of its --latency mode is endless; a second of samples will do.
    let latency = Command::new("timeout")
        .args(["1", "redis-cli", "-p", &server.port().to_string(), "--latency", "--raw"])
        .output()
        .expect("timeout is installed");
    let said = String::from_utf8_lossy(&latency.stdout);
    assert!(!said.contains("Error"), "{said}");
}

#[test]
fn redis_cli_finds_hints() {
    let server = Server::start(Program::Redstart);
    let docs = run_tool("redis-cli", &server, &["-3", "command", "docs", "set"], b"");
    for word in
        ["summary", "since", "group", "complexity", "arguments", "key_spec_index", "token", "EXAT"]
    {
        assert!(docs.contains(word), "`{word}` is missing in:\n{docs}");
    }
    // Interactive hints and `help` are made from the whole reply.
    let all = run_tool("redis-cli", &server, &["-3", "command", "docs"], b"");
    for name in ["get", "set", "expire", "client|setname", "config|get", "object|encoding"] {
        assert!(
            all.lines()
                .any(|line| line.trim_start_matches(|c: char| !c.is_alphabetic()).contains(name)),
            "{name}"
        );
    }
    let help = run_tool("redis-cli", &server, &[], b"help getex\n");
    assert!(help.contains("GETEX"), "{help}");
}

#[test]
fn redis_cli_moves_masses() {
    let server = Server::start(Program::Redstart);
    let mut commands = Vec::new();
    for number in 0..10_000 {
        commands.extend(support::client::encode(&[
            "SET",
            &format!("mass:{number:05}"),
            &"v".repeat(number % 200),
        ]));
    }
    let piped = run_tool("redis-cli", &server, &["--pipe"], &commands);
    assert!(piped.contains("errors: 0, replies: 10000"), "{piped}");
    let scanned = run_tool("redis-cli", &server, &["--scan", "--pattern", "mass:*"], b"");
    assert_eq!(scanned.lines().count(), 10_000);
    let biggest = run_tool("redis-cli", &server, &["--bigkeys"], b"");
    assert!(biggest.contains("10000 strings with"), "{biggest}");
    let memory = run_tool("redis-cli", &server, &["--memkeys"], b"");
    assert!(memory.contains("10000 strings with"), "{memory}");
}

#[test]
fn redis_benchmark_completes() {
    let server = Server::start(Program::Redstart);
    let arguments = ["-t", "ping,set,get,incr,mset", "-P", "16", "-n", "100000", "-q"];
    let said = run_tool("redis-benchmark", &server, &arguments, b"");
    for name in ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)"] {
        let line = said
            .split(['\n', '\r'])
            .find(|line| line.starts_with(name) && line.contains("requests per second"));
        assert!(line.is_some(), "{name} is missing in:\n{said}");
    }
    assert!(!said.to_lowercase().contains("error"), "{said}");
}

#[test]
fn idle_connections_and_broken_ones_do_no_harm() {
    let server = Server::start(Program::Redstart);
    let idle: Vec<_> = (0..200).map(|_| server.connect()).collect();
    for _ in 0..50 {
        // Half a command, then gone.
        let mut broken = server.connect();
        broken.try_send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100000\r\nabc").expect("sent");
    }
    let mut client = server.connect();
    assert_eq!(client.words("SET a b").text(), "OK");
    assert_eq!(client.words("GET a").text(), "b");
    drop(idle);
    let mut closed = server.connect();
    closed.finish_sending().expect("half closed");
    assert_eq!(closed.read_to_close().expect("closed").len(), 0);
}
