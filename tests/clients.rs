//! Real clients against the real server: redis-rs, and the tools that come with Redis (redis-cli,
//! redis-benchmark). redis-py has its own file, `clients/test_redis_py.py`, which `run.sh` runs.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::num::NonZeroUsize;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redis::{
    Commands, ConnectionLike, Direction, ErrorKind, ExistenceCheck, ExpireOption,
    IntegerReplyOrNoOp, LposOptions, RedisResult, SetExpiry, SetOptions,
};
use support::server::{Program, Server};

/// How long a condition may take to come about.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// Runs a call in a thread with a client of its own, and returns when the server has it waiting.
fn start_waiting<T: Send + 'static>(
    server: &Server,
    mut connection: redis::Connection,
    call: impl FnOnce(&mut redis::Connection) -> RedisResult<T> + Send + 'static,
) -> JoinHandle<RedisResult<T>> {
    let thread = std::thread::spawn(move || call(&mut connection));
    let mut control = server.connect();
    let began = Instant::now();
    while !control.words("INFO clients").text().contains("blocked_clients:1\r\n") {
        assert!(began.elapsed() < PATIENCE, "nobody waits");
        std::thread::yield_now();
    }
    thread
}

#[test]
fn redis_rs_lists() {
    each_protocol(|server, mut connection| {
        assert_eq!(connection.rpush::<_, _, usize>("l", &["b", "c", "d"]).expect("RPUSH"), 3);
        assert_eq!(connection.lpush::<_, _, usize>("l", "a").expect("LPUSH"), 4);
        assert_eq!(connection.lpush_exists::<_, _, usize>("none", "a").expect("LPUSHX"), 0);
        let all: Vec<String> = connection.lrange("l", 0, -1).expect("LRANGE");
        assert_eq!(all, ["a", "b", "c", "d"]);
        let last: Option<String> = connection.lindex("l", -1).expect("LINDEX");
        assert_eq!(last.as_deref(), Some("d"));
        let _: () = connection.lset("l", 1, &[0_u8, 13, 10, 255][..]).expect("LSET");
        assert_eq!(connection.lindex::<_, Vec<u8>>("l", 1).expect("LINDEX"), [0, 13, 10, 255]);
        assert_eq!(connection.linsert_before::<_, _, _, usize>("l", "c", "x").expect("LINSERT"), 5);
        let at: Option<usize> = connection.lpos("l", "d", LposOptions::default()).expect("LPOS");
        assert_eq!(at, Some(4));
        assert_eq!(connection.lrem::<_, _, usize>("l", 0, "x").expect("LREM"), 1);
        let moved: String =
            connection.lmove("l", "to", Direction::Left, Direction::Right).expect("LMOVE");
        assert_eq!(moved, "a");
        let _: () = connection.ltrim("l", 1, -1).expect("LTRIM");
        let popped: Option<(String, Vec<String>)> =
            connection.lmpop(2, &["none", "l"], Direction::Right, 5).expect("LMPOP");
        assert_eq!(popped, Some(("l".to_owned(), vec!["d".to_owned(), "c".to_owned()])));
        assert_eq!(connection.llen::<_, usize>("l").expect("LLEN"), 0);
        let few: Vec<String> = connection.lpop("to", NonZeroUsize::new(9)).expect("LPOP");
        assert_eq!(few, ["a"]);

        let nothing: Option<[String; 2]> = connection.blpop("queue", 0.01).expect("BLPOP");
        assert_eq!(nothing, None);
        let other = connect(server, "?protocol=resp3");
        let waiter = start_waiting(server, other, |other| {
            other.blpop::<_, Option<[String; 2]>>(&["none", "queue"], 30.0)
        });
        assert_eq!(connection.rpush::<_, _, usize>("queue", &["job", "next"]).expect("RPUSH"), 2);
        let served = waiter.join().expect("it ends").expect("BLPOP");
        assert_eq!(served, Some(["queue", "job"].map(str::to_owned)));
        let rest: Vec<String> = connection.lrange("queue", 0, -1).expect("LRANGE");
        assert_eq!(rest, ["next"]);

        let many: Vec<u32> = (0..20_000).collect();
        assert_eq!(connection.rpush::<_, _, usize>("many", &many).expect("RPUSH"), 20_000);
        assert_eq!(connection.lrange::<_, Vec<u32>>("many", 0, -1).expect("LRANGE"), many);
    });
}

#[test]
fn redis_rs_hashes() {
    each_protocol(|_, mut connection| {
        let fields = [("name", "redstart"), ("kind", "server"), ("", "empty")];
        let _: () = connection.hset_multiple("h", &fields).expect("HMSET");
        assert_eq!(connection.hset::<_, _, _, usize>("h", "name", "Redstart").expect("HSET"), 0);
        assert!(!connection.hset_nx::<_, _, _, bool>("h", "name", "x").expect("HSETNX"));
        assert_eq!(connection.hget::<_, _, String>("h", "name").expect("HGET"), "Redstart");
        let some: Vec<Option<String>> = connection.hmget("h", &["kind", "none"]).expect("HMGET");
        assert_eq!(some, [Some("server".to_owned()), None]);
        let all: HashMap<String, String> = connection.hgetall("h").expect("HGETALL");
        assert_eq!(all.len(), 3);
        assert_eq!(all[""], "empty");
        assert!(connection.hexists::<_, _, bool>("h", "kind").expect("HEXISTS"));
        assert_eq!(connection.hlen::<_, usize>("h").expect("HLEN"), 3);
        assert_eq!(connection.hincr::<_, _, _, i64>("h", "n", 42).expect("HINCRBY"), 42);
        let sum: f64 = connection.hincr("h", "n", 0.5).expect("HINCRBYFLOAT");
        assert!((sum - 42.5).abs() < 1e-9);
        assert_eq!(connection.hdel::<_, _, usize>("h", &["n", "", "none"]).expect("HDEL"), 2);
        let mut keys: Vec<String> = connection.hkeys("h").expect("HKEYS");
        keys.sort();
        assert_eq!(keys, ["kind", "name"]);

        let many: Vec<(String, u32)> = (0..5_000).map(|n| (format!("field:{n}"), n)).collect();
        let _: () = connection.hset_multiple("many", &many).expect("HMSET");
        let scanned: HashMap<String, u32> =
            connection.hscan("many").expect("HSCAN").collect::<HashMap<String, u32>>();
        assert_eq!(scanned, many.into_iter().collect());

        let set: Vec<IntegerReplyOrNoOp> =
            connection.hexpire("h", 1000, ExpireOption::NONE, &["kind", "none"]).expect("HEXPIRE");
        assert_eq!(set, [IntegerReplyOrNoOp::IntegerReply(1), IntegerReplyOrNoOp::NotExists]);
        let left: Vec<i64> = connection.httl("h", &["kind", "name"]).expect("HTTL");
        assert!((990..=1000).contains(&left[0]), "{left:?}");
        assert_eq!(left[1], -1);
        let persisted: Vec<i64> = connection.hpersist("h", "kind").expect("HPERSIST");
        assert_eq!(persisted, [1]);
    });
}

#[test]
fn redis_rs_sets() {
    each_protocol(|_, mut connection| {
        let set = |members: &[&str]| -> HashSet<String> {
            members.iter().map(|member| (*member).to_owned()).collect()
        };
        assert_eq!(connection.sadd::<_, _, usize>("one", &["a", "b", "c", "a"]).expect("SADD"), 3);
        assert_eq!(connection.sadd::<_, _, usize>("two", &["b", "c", "d"]).expect("SADD"), 3);
        let all: HashSet<String> = connection.smembers("one").expect("SMEMBERS");
        assert_eq!(all, set(&["a", "b", "c"]));
        assert!(connection.sismember::<_, _, bool>("one", "a").expect("SISMEMBER"));
        let there: Vec<bool> = connection.smismember("one", &["a", "x"]).expect("SMISMEMBER");
        assert_eq!(there, [true, false]);
        let both = ["one", "two"];
        let common: HashSet<String> = connection.sinter(&both).expect("SINTER");
        assert_eq!(common, set(&["b", "c"]));
        let union: HashSet<String> = connection.sunion(&both).expect("SUNION");
        assert_eq!(union, set(&["a", "b", "c", "d"]));
        let rest: HashSet<String> = connection.sdiff(&both).expect("SDIFF");
        assert_eq!(rest, set(&["a"]));
        assert_eq!(connection.sunionstore::<_, _, usize>("to", &both).expect("SUNIONSTORE"), 4);
        assert!(connection.smove::<_, _, _, bool>("to", "away", "d").expect("SMOVE"));
        assert_eq!(connection.srem::<_, _, usize>("to", &["a", "x"]).expect("SREM"), 1);
        assert_eq!(connection.scard::<_, usize>("to").expect("SCARD"), 2);
        let drawn: Vec<String> = connection.srandmember_multiple("to", 5).expect("SRANDMEMBER");
        assert_eq!(drawn.into_iter().collect::<HashSet<String>>(), set(&["b", "c"]));
        let popped: String = connection.spop("away").expect("SPOP");
        assert_eq!(popped, "d");
        assert!(!connection.exists::<_, bool>("away").expect("EXISTS"));

        let numbers: HashSet<i64> = (-100..100).collect();
        let members: Vec<i64> = numbers.iter().copied().collect();
        assert_eq!(connection.sadd::<_, _, usize>("numbers", &members).expect("SADD"), 200);
        assert_eq!(connection.smembers::<_, HashSet<i64>>("numbers").expect("SMEMBERS"), numbers);
        let many: Vec<String> = (0..5_000).map(|n| format!("member:{n}")).collect();
        assert_eq!(connection.sadd::<_, _, usize>("many", &many).expect("SADD"), 5_000);
        let scanned: HashSet<String> =
            connection.sscan("many").expect("SSCAN").collect::<HashSet<String>>();
        assert_eq!(scanned, many.into_iter().collect());
    });
}

#[test]
fn redis_rs_sorted_sets() {
    each_protocol(|server, mut connection| {
        let pairs = |pairs: &[(&str, f64)]| -> Vec<(String, f64)> {
            pairs.iter().map(|(member, score)| ((*member).to_owned(), *score)).collect()
        };
        let items = [(1.0, "a"), (2.5, "b"), (f64::INFINITY, "c"), (-0.25, "d")];
        assert_eq!(connection.zadd_multiple::<_, _, _, usize>("z", &items).expect("ZADD"), 4);
        let all: Vec<(String, f64)> = connection.zrange_withscores("z", 0, -1).expect("ZRANGE");
        assert_eq!(all, pairs(&[("d", -0.25), ("a", 1.0), ("b", 2.5), ("c", f64::INFINITY)]));
        assert_eq!(connection.zscore::<_, _, Option<f64>>("z", "b").expect("ZSCORE"), Some(2.5));
        assert_eq!(connection.zscore::<_, _, Option<f64>>("z", "x").expect("ZSCORE"), None);
        let some: Vec<Option<f64>> = connection.zscore_multiple("z", &["a", "x"]).expect("ZMSCORE");
        assert_eq!(some, [Some(1.0), None]);
        assert_eq!(connection.zincr::<_, _, _, f64>("z", "a", 0.5).expect("ZINCRBY"), 1.5);
        assert_eq!(connection.zrank::<_, _, Option<usize>>("z", "b").expect("ZRANK"), Some(2));
        assert_eq!(
            connection.zrevrank::<_, _, Option<usize>>("z", "b").expect("ZREVRANK"),
            Some(1)
        );
        assert_eq!(connection.zcount::<_, _, _, usize>("z", "(1.5", "+inf").expect("ZCOUNT"), 2);
        let between: Vec<String> =
            connection.zrangebyscore_limit("z", "-inf", 3, 1, 5).expect("ZRANGEBYSCORE");
        assert_eq!(between, ["a", "b"]);
        let backward: Vec<String> =
            connection.zrevrangebyscore("z", 3, 0).expect("ZREVRANGEBYSCORE");
        assert_eq!(backward, ["b", "a"]);
        let weighted = [("z", 2), ("z", 1)];
        assert_eq!(
            connection.zunionstore_weights::<_, _, _, usize>("to", &weighted).expect("ZUNIONSTORE"),
            4
        );
        assert_eq!(connection.zscore::<_, _, f64>("to", "b").expect("ZSCORE"), 7.5);
        assert_eq!(connection.zremrangebyrank::<_, usize>("to", 0, 1).expect("ZREMRANGE..."), 2);
        let popped: Option<(String, Vec<(String, f64)>)> =
            connection.zmpop_max(&["none", "z"], 2).expect("ZMPOP");
        assert_eq!(popped, Some(("z".to_owned(), pairs(&[("c", f64::INFINITY), ("b", 2.5)]))));
        assert_eq!(connection.zrem::<_, _, usize>("z", &["a", "d", "x"]).expect("ZREM"), 2);
        assert!(!connection.exists::<_, bool>("z").expect("EXISTS"));

        let nothing: Option<(String, String, f64)> =
            connection.bzpopmin("queue", 0.01).expect("BZPOPMIN");
        assert_eq!(nothing, None);
        let other = connect(server, "?protocol=resp3");
        let waiter = start_waiting(server, other, |other| {
            other.bzpopmin::<_, Option<(String, String, f64)>>(&["none", "queue"], 30.0)
        });
        let jobs = [(2, "later"), (1, "first")];
        assert_eq!(connection.zadd_multiple::<_, _, _, usize>("queue", &jobs).expect("ZADD"), 2);
        let served = waiter.join().expect("it ends").expect("BZPOPMIN");
        assert_eq!(served, Some(("queue".to_owned(), "first".to_owned(), 1.0)));
        assert_eq!(connection.zcard::<_, usize>("queue").expect("ZCARD"), 1);

        let many: Vec<(u32, String)> = (0..5_000).map(|n| (n % 100, format!("m{n:04}"))).collect();
        assert_eq!(connection.zadd_multiple::<_, _, _, usize>("many", &many).expect("ZADD"), 5_000);
        let ordered: Vec<(String, u32)> = {
            let mut many = many;
            many.sort();
            many.into_iter().map(|(score, member)| (member, score)).collect()
        };
        let found: Vec<(String, u32)> =
            connection.zrange_withscores("many", 0, -1).expect("ZRANGE");
        assert_eq!(found, ordered);
        let scanned: HashMap<String, u32> =
            connection.zscan("many").expect("ZSCAN").collect::<HashMap<String, u32>>();
        assert_eq!(scanned, ordered.into_iter().collect());
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
