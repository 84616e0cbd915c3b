//! Scripts: what they answer, compared with redis-server; what they leave behind; what hostile ones
//! can't do; and what others are told while one runs for too long.

#![allow(clippy::expect_used, reason = "a test's helpers fail the test")]

mod busy;
mod functions;
mod random;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use support::client::{Client, Value};
use support::server::{Program, Server};

const PLAIN: [&str; 6] = ["--appendonly", "no", "--save", "", "--enable-debug-command", "yes"];

fn ours() -> Server {
    Server::start_with(Program::Redstart, &PLAIN)
}

fn eval(client: &mut Client, script: &str) -> Value {
    client.call(&["EVAL", script, "1", "k1", "a1"])
}

/// Conversions, errors, the libraries: line by line as redis-server answers, in both protocols.
#[test]
fn replies_are_those_of_redis_server() {
    let (theirs, ours) = (Server::start_with(Program::Redis, &PLAIN), ours());
    for protocol in ["2", "3"] {
        let mut clients = [theirs.connect(), ours.connect()];
        for client in &mut clients {
            client.call(&["HELLO", protocol]);
            client.words("FLUSHALL");
        }
        for line in include_str!("replies.txt").lines() {
            let [theirs, ours] = clients.each_mut().map(|client| eval(client, line));
            assert_eq!(ours, theirs, "RESP{protocol}: {line}");
        }
    }
}

/// What libraries and scripts say of themselves in their first line may stand in quotes.
#[test]
fn first_lines_are_read_as_by_redis_server() {
    let (theirs, ours) = (Server::start_with(Program::Redis, &PLAIN), ours());
    let mut clients = [theirs.connect(), ours.connect()];
    for line in [
        "#!lua name=\"one\"",
        "#!lua name='two'",
        "#!lua name='a b'",
        "#!lua name=\"a\\x62\"",
        "#!lua \"name=three\"",
        "#!lua name=four name=five",
        "#!\"lua\" name=six",
        "#!lua name=\"six",
        "#! name=six",
        "#!LUA name=six",
        "#!lua",
        "#!",
        "#!lua flags=\"no-writes\"",
        "#!lua flags=no-writes,no-cluster",
        "#!lua flags=no-such",
        "#!lua flags=",
        "#!lua flags=,",
        "#!lua flags=no-writes,",
        "#!lua flags=no-writes,,no-cluster",
        "#!lua flags=no-writes, no-cluster",
        "#!lua name=six flags=no-writes",
        "#!js",
    ] {
        let library = format!("{line}\nredis.register_function('f', function() end)");
        let [theirs, ours] = clients.each_mut().map(|client| {
            client.words("FUNCTION FLUSH");
            client.call(&["FUNCTION", "LOAD", &library])
        });
        assert_eq!(ours, theirs, "{line}");
        let script = format!("{line}\nreturn 1");
        let [theirs, ours] = clients.each_mut().map(|client| eval(client, &script));
        assert_eq!(ours, theirs, "{line}");
    }
    // What may go to replicas counts as a write.
    for call in ["'PUBLISH', 'c', 'm'", "'PFCOUNT', 'a'", "'SPUBLISH', 'c', 'm'"] {
        let script = format!("#!lua flags=no-writes\nreturn redis.call({call})");
        let [theirs, ours] = clients.each_mut().map(|client| eval(client, &script));
        assert_eq!(ours, theirs, "{call}");
    }
}

/// A script's writes are recovered together, and one write needs no transaction around it.
#[test]
fn effects_are_one_unit_in_the_log() {
    let mut server = Server::start_with(Program::Redstart, &["--appendonly", "yes"]);
    let mut client = server.connect();
    let script = "redis.call('SET', KEYS[1], 'a') redis.call('INCR', 'n') \
                  redis.call('LPUSH', 'undeclared', '1', '2') return redis.call('RPOP', 'undeclared')";
    assert_eq!(eval(&mut client, script).text(), "1");
    assert_eq!(eval(&mut client, "return redis.call('SET', 'alone', 'x')").text(), "OK");
    // What a script wrote before it failed stays, as upstream.
    assert!(
        eval(&mut client, "redis.call('INCR', 'n') return redis.call('INCR', KEYS[1])").is_error()
    );
    // Nothing of this is logged.
    eval(&mut client, "redis.set_repl(redis.REPL_NONE) redis.call('SET', 'unlogged', 'x')");
    let log = log_of(&server);
    assert_eq!(log.matches("MULTI").count(), 1, "{log}");
    assert!(!log.contains("EVAL") && !log.contains("unlogged"), "{log}");
    let position = |word: &str| log.find(word).expect("it is in the log");
    assert!(position("MULTI") < position("undeclared") && position("RPOP") < position("EXEC"));
    server.kill();
    server.restart();
    let mut client = server.connect();
    assert_eq!(client.words("MGET k1 n alone").elements().len(), 3);
    assert_eq!(client.words("GET n").text(), "2");
    assert_eq!(client.words("LRANGE undeclared 0 -1").elements()[0].text(), "2");
}

/// All that the log's files hold.
fn log_of(server: &Server) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(server.dir().join("appendonlydir")).expect("the log") {
        let path = entry.expect("a file of the log").path();
        if path.to_string_lossy().contains(".incr.") {
            text += &String::from_utf8_lossy(&std::fs::read(path).expect("a file of the log"));
        }
    }
    text
}

/// What scripts share can't be changed, whichever way.
#[test]
fn nothing_that_scripts_share_can_be_changed() {
    let server = ours();
    let mut client = server.connect();
    let refused = "Attempt to modify a readonly table";
    for script in [
        "redis.call = 1",
        "rawset(redis, 'call', 1)",
        "setmetatable(redis, nil)",
        "table.insert(table, 1)",
        "table.sort(string)",
        "table.remove(redis)",
        "getmetatable('').__index = nil",
        "rawset(getmetatable(''), '__index', nil)",
        "string.rep = nil",
        "_G.x = 1",
        "_G.redis = nil",
        "KEYS = nil",
        "rawset(_G, 'x', 1)",
        "setmetatable(_G, {})",
        "loadstring('x = 1')()",
        "local n, t = pairs(redis) rawset(t, 'call', 1)",
        "cjson.encode = nil",
        "for k, v in pairs(_G) do if k == 'math' then v.floor = nil end end",
    ] {
        let answer = eval(&mut client, script);
        let text = answer.text();
        assert!(answer.is_error() && text.contains(refused), "{script}: {text}");
    }
    for name in ["getfenv", "setfenv", "debug", "io", "require", "dofile", "newproxy", "print"] {
        let answer = eval(&mut client, &format!("return {name}"));
        assert!(answer.text().contains("nonexistent global variable"), "{name}: {answer:?}");
    }
    assert_eq!(eval(&mut client, "return ('a'):rep(2) .. redis.call('PING').ok").text(), "aaPONG");
    // What a script kept for later is another value in the next.
    eval(&mut client, "local later = redis.call KEYS[1] = later return 1");
    assert_eq!(eval(&mut client, "return type(KEYS[1])").text(), "string");
}

/// The published vulnerabilities of Redis' Lua, and other ways to hurt a server.
#[test]
fn hostile_scripts_do_no_harm() {
    let server = ours();
    let mut client = server.connect();
    let mut answer = |script: &str| eval(&mut client, script).text();
    // CVE-2024-31449: bit.tohex with the smallest number.
    assert_eq!(answer("return bit.tohex(65535, -2147483648)"), "0000FFFF");
    // CVE-2024-46981, CVE-2025-49844: collections while chunks with names of their own are compiled.
    let collected = "for i = 1, 200 do collectgarbage('step') \
                     loadstring('return ' .. ('x'):rep(i), ('n'):rep(i)) collectgarbage() end return 1";
    assert_eq!(answer(collected), ":1");
    // CVE-2025-46817: ranges of unpack that overflow.
    for range in ["0, 2147483647", "-2147483648, 2147483647", "1, 1e15", "-1e15, 1e15", "1, 8001"] {
        let text = answer(&format!("return {{unpack({{}}, {range})}}"));
        assert!(text.contains("too many results to unpack"), "{range}: {text}");
    }
    // CVE-2025-46818: metatables of basic types.
    for value in ["''", "1", "nil", "true"] {
        let script =
            format!("local m = getmetatable({value}) if m then m.__index = 1 end return 'none'");
        let text = answer(&script);
        assert!(text == "none" || text.contains("readonly"), "{value}: {text}");
    }
    // CVE-2025-46819: long brackets that don't end.
    assert!(answer(&format!("return [{}", "=".repeat(100_000))).contains("Error compiling script"));
    // CVE-2014-5461: many parameters of a function with variable ones.
    let parameters: Vec<String> = (0..190).map(|number| format!("p{number}")).collect();
    let script = format!("local function f({}, ...) return 1 end return f()", parameters.join(","));
    assert_eq!(answer(&script), ":1");
    // Bytecode.
    assert!(answer("return type(loadstring(string.dump(function() end)))") == "nil");
    assert!(answer("\u{1b}Lua").contains("Error compiling script"));
    // Depth.
    assert!(answer("local function f() return 1 + f() end return f()").contains("stack overflow"));
    // A pattern's choices are bounded, its length isn't.
    let items = |item: &str, count: usize| {
        format!("return string.find(('a'):rep(9000), ('{item}'):rep({count}))")
    };
    assert_eq!(answer(&items("a?", 9000)), ":1");
    assert_eq!(answer(&items("b?", 1_100_000)), ":1");
    assert!(answer(&items("a-", 1_100_000)).contains("pattern too complex"));
    for script in ["return ('a'):gsub(p, '')", "return ('a'):match(p)", "return ('a'):gmatch(p)()"]
    {
        let text = answer(&format!("local p = ('(a?)'):rep(100000) {script}"));
        assert!(text.contains("too many captures"), "{script}: {text}");
    }
    let plain = "return ('x' .. ('a'):rep(9000)):find(('a'):rep(9000), 1, true)";
    assert_eq!(answer(plain), ":2");
    for script in [
        "local t = {} t[1] = t return cjson.encode(t)",
        "local t = {} t[1] = t return #cmsgpack.pack(t)",
    ] {
        answer(script);
    }
    answer("local s = ('['):rep(10000) return cjson.decode(s)");
    answer("return cmsgpack.unpack(('\\145'):rep(10000))");
    answer("local t = {} for i = 1, 100 do t = {t} end return t");
    // Sizes.
    for format in ["i33", "!3b", "c2147483647c2147483647", "i99999999999", "z"] {
        answer(&format!("return struct.pack('{format}', 1, 2)"));
        answer(&format!("return struct.unpack('{format}', 'x')"));
        answer(&format!("return struct.size('{format}')"));
    }
    assert!(answer("return #string.rep(('x'):rep(1e6), 2000)").contains("not enough memory"));
    let quoted = "local s = ('a\\0\\n\\r\"\\\\'):rep(300) local q = string.format('%q', s)
        local t = {'%', 1, q, q, 'x', s, 2}
        return string.format('%%%d%q%5.3q%s%s%02d', 1, s, s, 'x', s, 2) == table.concat(t):sub(1, -2)
            .. '02' and loadstring('return ' .. q)() == s and #q";
    assert_eq!(answer(quoted), ":3902");
    let long = "return string.format(('%%'):rep(1e6))";
    assert!(answer(long).contains("format is too long"));
    assert!(answer("return string.format('%q')").contains("#2 to 'format' (no value)"));
    let bomb = "local s = 'x' while true do s = s .. s end";
    assert!(answer(bomb).contains("not enough memory"));
    let bomb = "local t = {} while true do t[#t + 1] = ('x'):rep(1e6) .. #t end";
    assert!(answer(bomb).contains("not enough memory"));
    // Replies that end early.
    assert_eq!(answer("return {err = 'ERR a\\r\\n+OK'}"), "ERR a  +OK");
    assert_eq!(answer("return {ok = 'a\\r\\n+OK'}"), "a  +OK");
    assert!(!answer("error({err = 'ERR a\\r\\n+OK'})").contains('\r'));
    // redis-server 7.0 ends here.
    assert!(answer("error({})").contains("ERR unknown error"));
    assert_eq!(answer("return redis.call('PING')"), "PONG");
}

/// Memory that a script has used comes back.
#[test]
fn memory_comes_back() {
    let server = ours();
    let mut client = server.connect();
    let fill = "local t = {} for i = 1, 1e6 do t[i] = {i} end return #t";
    assert_eq!(eval(&mut client, fill).integer(), Some(1_000_000));
    let info = client.words("INFO memory").text();
    let used: u64 = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory_lua:"))
        .and_then(|number| number.parse().ok())
        .expect("INFO tells what Lua uses");
    assert!(used < 20 << 20, "{used} bytes");
}

fn slow_server() -> Server {
    let server = ours();
    assert_eq!(server.connect().words("CONFIG SET busy-reply-threshold 10").text(), "OK");
    server
}

/// Begins a script that doesn't end, and waits until others are told.
fn begin(server: &Server, client: &mut Client, other: &mut Client, script: &str) {
    let request = support::client::encode(&["EVAL", script, "1", "k1"]);
    client.try_send_raw(&request).expect("the server reads");
    let patience = Instant::now() + Duration::from_secs(60);
    while !other.words("PING").text().starts_with("BUSY") {
        assert!(Instant::now() < patience, "{script}\n{}", server.log());
    }
}

/// From loops of all kinds.
#[test]
fn a_script_that_does_not_end_is_killed() {
    let server = slow_server();
    for script in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "local function f() while true do pcall(f) end end f()",
        "coroutine.wrap(function() while true do end end)()",
        "while true do string.rep('x', 1e5) end",
        "local t = {} for i = 1, 1e4 do t[i] = i % 100 end \
         while true do table.sort(t, function(a, b) return a < b end) end",
        "while true do redis.call('PING') end",
        "while true do redis.pcall('NOSUCH') end",
        "while true do pcall(error) end",
        // One call of a library's function.
        "return ('a'):rep(30):find(('a?'):rep(30) .. ('a'):rep(30))",
        "pcall(string.gsub, ('a'):rep(5000), ('.-'):rep(5) .. 'b', '') while true do end",
        "return ('a'):rep(300):match(('(a*)'):rep(12) .. 'b')",
        "for f in ('('):rep(1e6):gmatch('%b()') do end",
        "local t = {1} for i = 1, 60 do t = {t, t} end return cjson.encode(t)",
        "local t = {} for i = 1, 12 do t = {t, t, t, t, t, t, t, t} end return cmsgpack.pack(t)",
        "local t = {} for i = 1, 3e6 do t[i] = i * 7919 % 3000017 end \
         while true do table.sort(t) for i = 1, 3e6 do t[i] = i * 7919 % 3000017 end end",
        "local t = {} for i = 1, 1e6 do t[i] = i end while true do table.insert(t, 1, 0) end",
        "local s = ('x = 1 '):rep(1e6) while true do loadstring(s) end",
        "while true do string.rep('', 2e9) end",
        "local s = ('\\0'):rep(5e7) while true do string.format('%q', s) end",
        "table.insert({}, -2147483640, 1) local t = {} for i = 1, 2000 do t[i] = i end \
         table.insert(t, -2147483640, 1)",
    ] {
        let (mut client, mut other) = (server.connect(), server.connect());
        begin(&server, &mut client, &mut other, script);
        assert_eq!(other.words("SCRIPT KILL").text(), "OK", "{script}");
        let answer = client.try_read().expect("an answer").text();
        assert!(answer.contains("Script killed by user with SCRIPT KILL"), "{script}: {answer}");
        assert_eq!(other.words("PING").text(), "PONG", "{script}");
        assert_eq!(eval(&mut client, "return 1").integer(), Some(1), "{script}");
    }
    assert_eq!(
        server.connect().words("SCRIPT KILL").text(),
        "NOTBUSY No scripts in execution right now."
    );
}

/// A replica keeps what its primary sends while a script runs, and no more of it than it may.
#[test]
fn what_a_primary_sends_during_a_slow_script_is_bounded() {
    let primary = ours();
    let mut directives = PLAIN.to_vec();
    directives.extend(["--busy-reply-threshold", "10", "--client-query-buffer-limit", "1mb"]);
    let replica = Server::start_with(Program::Redstart, &directives);
    let (mut writer, mut client, mut other) =
        (primary.connect(), replica.connect(), replica.connect());
    writer.words("CONFIG SET repl-diskless-sync-delay 0");
    other.words(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    writer.words("SET k small");
    while other.words("GET k").text() != "small" {
        std::thread::yield_now();
    }
    let told = "more has come from the primary than is kept";
    for (bytes, too_much) in [(100_000, false), (3_000_000, true)] {
        begin(&replica, &mut client, &mut other, "while true do end");
        let value = "x".repeat(bytes);
        writer.call(&["SET", "k", &value]);
        let began = Instant::now();
        while too_much && !replica.log().contains(told) {
            assert!(began.elapsed() < Duration::from_secs(60), "nothing bounds it");
            std::thread::yield_now();
        }
        assert_eq!(other.words("SCRIPT KILL").text(), "OK");
        client.try_read().expect("an answer");
        while other.words("STRLEN k").integer() != Some(bytes as i64) {
            assert!(began.elapsed() < Duration::from_secs(60), "it doesn't come");
            std::thread::yield_now();
        }
        assert_eq!(replica.log().contains(told), too_much);
    }
}

/// A script that wrote can't be killed, but ended with the server, and nothing of it stays.
#[test]
fn a_script_that_wrote_ends_with_the_server_only() {
    let mut server = Server::start_with(
        Program::Redstart,
        &["--appendonly", "yes", "--busy-reply-threshold", "10"],
    );
    let (mut client, mut other) = (server.connect(), server.connect());
    client.words("SET before 1");
    begin(&server, &mut client, &mut other, "redis.call('SET', 'half', 1) while true do end");
    assert!(other.words("SCRIPT KILL").text().starts_with("UNKILLABLE"));
    assert!(other.words("SHUTDOWN").text().starts_with("BUSY"));
    for refused in ["GET half", "EVAL x 0", "CONFIG GET port", "INFO"] {
        assert!(other.words(refused).text().starts_with("BUSY"), "{refused}");
    }
    other.try_send_raw(&support::client::encode(&["SHUTDOWN", "NOSAVE"])).expect("it reads");
    // Whoever sees the connection's end finds nobody listening.
    while other.try_read().is_ok() {}
    assert!(std::net::TcpStream::connect(("127.0.0.1", server.port())).is_err());
    server.await_end();
    server.restart();
    let mut client = server.connect();
    assert_eq!(client.words("EXISTS before").integer(), Some(1));
    assert_eq!(client.words("EXISTS half").integer(), Some(0));
}

/// EXEC, pipelines and clients that go, while a script runs for too long.
#[test]
fn what_waits_for_a_slow_script_goes_on_behind_it() {
    let server = slow_server();
    let (mut client, mut other) = (server.connect(), server.connect());
    let slow = "redis.call('SET', KEYS[1], 1) local t = redis.call('TIME') \
                for i = 1, 5e6 do end \
                local u = redis.call('TIME') return {t[1] == u[1] and t[2] == u[2] and 1 or 0}";
    // Time stands still in it, and what its client sent behind it comes behind it.
    let mut requests = support::client::encode(&["EVAL", slow, "1", "k1"]);
    requests.extend(support::client::encode(&["GET", "k1"]));
    client.try_send_raw(&requests).expect("it reads");
    assert_eq!(client.try_read().expect("an answer").elements()[0].integer(), Some(1));
    assert_eq!(client.try_read().expect("an answer").text(), "1");
    // In a transaction.
    for command in [
        &["MULTI"][..],
        &["SET", "in", "1"],
        &["EVAL", "while true do end", "0"],
        &["SET", "behind", "2"],
    ] {
        client.call(command);
    }
    client.try_send_raw(&support::client::encode(&["EXEC"])).expect("it reads");
    while !other.words("PING").text().starts_with("BUSY") {}
    let mut third = server.connect();
    assert_eq!(third.words("MULTI").text(), "OK");
    assert!(third.words("SET a b").text().starts_with("BUSY"));
    assert_eq!(other.words("SCRIPT KILL").text(), "OK");
    assert!(third.words("EXEC").text().starts_with("EXECABORT"));
    let answers = client.try_read().expect("an answer").elements();
    assert_eq!((answers.len(), answers[0].text().as_str()), (3, "OK"));
    assert!(answers[1].text().contains("killed by user"));
    assert_eq!(client.words("MGET in behind").elements().len(), 2);
    assert_eq!(client.words("GET behind").text(), "2");
    // Its client goes.
    begin(&server, &mut client, &mut other, "while true do end");
    client.abort();
    assert!(other.words("PING").text().starts_with("BUSY"));
    assert_eq!(other.words("SCRIPT KILL").text(), "OK");
    assert_eq!(other.words("PING").text(), "PONG");
    assert_eq!(other.words("EXISTS k1").integer(), Some(1));
}

const LIBRARY: &str = "#!lua name=library\nredis.register_function('put', function(keys, args) \
                       return redis.call('SET', keys[1], args[1]) end)\n\
                       redis.register_function{function_name = 'get', flags = {'no-writes'}, \
                       callback = function(keys) return redis.call('GET', keys[1]) end}";

/// Functions are in snapshots, logs of both forms, and what replicas get.
#[test]
fn functions_stay() {
    for preamble in ["yes", "no"] {
        let directives = ["--appendonly", "yes", "--aof-use-rdb-preamble", preamble];
        let mut server = Server::start_with(Program::Redstart, &directives);
        let mut client = server.connect();
        assert_eq!(client.call(&["FUNCTION", "LOAD", LIBRARY]).text(), "library");
        assert_eq!(client.words("FCALL put 1 k v").text(), "OK");
        let listed = client.words("FUNCTION LIST WITHCODE");
        for rewrites in [false, true] {
            if rewrites {
                client.words("BGREWRITEAOF");
                let done = "aof_rewrite_in_progress:0\r\naof_rewrite_scheduled:0";
                while !client.words("INFO persistence").text().contains(done) {
                    std::thread::yield_now();
                }
            }
            server.kill();
            server.restart();
            client = server.connect();
            assert_eq!(client.words("FUNCTION LIST WITHCODE"), listed);
            assert_eq!(client.words("FCALL_RO get 1 k").text(), "v");
        }
    }
    let (server, follower) = (ours(), ours());
    let (mut client, mut copy) = (server.connect(), follower.connect());
    client.call(&["FUNCTION", "LOAD", LIBRARY]);
    copy.call(&["FUNCTION", "LOAD", &LIBRARY.replace("library", "stale")]);
    copy.words(&format!("REPLICAOF 127.0.0.1 {}", server.port()));
    client.words("SET k v");
    while copy.words("FCALL_RO get 1 k").text() != "v" {
        std::thread::yield_now();
    }
    assert_eq!(copy.words("FUNCTION LIST").elements().len(), 1);
    assert!(copy.words("FCALL put 1 k w").text().starts_with("READONLY"));
    client.words("FUNCTION FLUSH");
    while !copy.words("FUNCTION LIST").elements().is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(client.words("DEBUG RELOAD").text(), "OK");
}

/// Without emptying, a key or a library that is there ends the load, unless it may give way.
#[test]
fn a_reload_beside_what_is_there_wants_to_be_told_so() {
    let server = ours();
    let mut client = server.connect();
    let failed = "ERR Error trying to load the RDB dump, check server logs.";
    assert_eq!(client.words("DEBUG RELOAD NOFLUSH").text(), "OK", "nothing is there");
    client.call(&["FUNCTION", "LOAD", LIBRARY]);
    assert_eq!(client.words("DEBUG RELOAD NOFLUSH").text(), failed);
    assert_eq!(client.words("DEBUG RELOAD NOFLUSH MERGE").text(), "OK");
    assert_eq!(client.words("FUNCTION LIST").elements().len(), 1);
    client.words("FUNCTION FLUSH");
    client.words("SET k saved");
    assert_eq!(client.words("DEBUG RELOAD").text(), "OK");
    client.words("SET k now");
    assert_eq!(client.words("DEBUG RELOAD NOSAVE NOFLUSH").text(), failed);
    assert_eq!(client.words("GET k").text(), "now");
    assert_eq!(client.words("DEBUG RELOAD NOSAVE NOFLUSH MERGE").text(), "OK");
    assert_eq!(client.words("GET k").text(), "saved");
    client.words("DEL k");
    assert_eq!(client.words("DEBUG RELOAD NOSAVE NOFLUSH").text(), "OK");
    assert_eq!(client.words("GET k").text(), "saved");
}

/// FUNCTION DUMP of one server is FUNCTION RESTORE's of the other.
#[test]
fn dumped_functions_are_exchanged_with_redis_server() {
    let servers = [Server::start_with(Program::Redis, &PLAIN), ours()];
    for (from, to) in [(0, 1), (1, 0)] {
        let (mut from, mut to) = (servers[from].connect(), servers[to].connect());
        for client in [&mut from, &mut to] {
            client.words("FUNCTION FLUSH");
        }
        from.call(&["FUNCTION", "LOAD", LIBRARY]);
        let dump = from.words("FUNCTION DUMP");
        let payload = dump.bytes().expect("a payload").to_vec();
        let restore = [b"FUNCTION".as_slice(), b"RESTORE", &payload];
        assert_eq!(to.call(&restore).text(), "OK");
        assert_eq!(to.words("FUNCTION LIST").elements().len(), 1);
        assert_eq!(to.words("FCALL put 1 k v").text(), "OK");
        assert_eq!(to.call(&restore).text(), "ERR Library library already exists");
        let again = [b"FUNCTION".as_slice(), b"RESTORE", &payload, b"REPLACE"];
        assert_eq!(to.call(&again).text(), "OK");
        let mut wrong = payload.clone();
        wrong[3] ^= 1;
        let text = to.call(&[b"FUNCTION".as_slice(), b"RESTORE", &wrong]).text();
        assert_eq!(text, "ERR DUMP payload version or checksum are wrong");
    }
}

/// What ends a script, and tells of a function, is refused where the other kind runs.
#[test]
fn functions_are_not_asked_for_while_a_script_runs() {
    let server = slow_server();
    let (mut client, mut other) = (server.connect(), server.connect());
    client
        .try_send_raw(&support::client::encode(&["EVAL", "while true do end", "0"]))
        .expect("it reads");
    while !other.words("PING").text().starts_with("BUSY") {}
    for command in ["FUNCTION STATS", "FUNCTION KILL"] {
        let text = other.words(command).text();
        assert!(text.contains("You can only call SCRIPT KILL"), "{command}: {text}");
    }
    assert_eq!(other.words("SCRIPT KILL").text(), "OK");
    client.try_read().expect("an answer");
    assert_eq!(other.words("FUNCTION STATS").elements().len(), 4);
}

/// A function that doesn't end, and a library that doesn't.
#[test]
fn a_function_that_does_not_end_is_killed() {
    let server = slow_server();
    let (mut client, mut other) = (server.connect(), server.connect());
    let endless = "#!lua name=a\nredis.register_function('f', function() while true do end end)";
    client.call(&["FUNCTION", "LOAD", endless]);
    client.try_send_raw(&support::client::encode(&["FCALL", "f", "0"])).expect("it reads");
    while !other.words("PING").text().starts_with("BUSY") {}
    assert_eq!(other.words("FUNCTION STATS").elements().len(), 4);
    assert!(other.words("SCRIPT KILL").text().starts_with("BUSY"));
    assert_eq!(other.words("FUNCTION KILL").text(), "OK");
    let answer = client.try_read().expect("an answer").text();
    assert!(answer.contains("killed by user with FUNCTION KILL"), "{answer}");
    let text = client.call(&["FUNCTION", "LOAD", "#!lua name=b\nwhile true do end"]).text();
    assert!(text.contains("FUNCTION LOAD timeout"), "{text}");
    assert_eq!(client.words("FUNCTION LIST").elements().len(), 1);
}
