//! Functions and scripts with what keeps and moves data: redis-server's files and ours, replicas of each
//! kind, limits on memory, paused clients.

use crate::support::client::{Client, Value};
use crate::support::server::{Program, Server};
use crate::{LIBRARY, PLAIN, eval, ours};

const OTHER: &str = "#!lua name=other\nredis.register_function('both', function(keys, args) \
                     return {redis.call('GET', keys[1]), args[1]} end)";

fn fill(client: &mut Client) {
    for library in [LIBRARY, OTHER] {
        assert!(!client.call(&["FUNCTION", "LOAD", library]).is_error());
    }
    assert_eq!(client.words("FCALL put 1 k v").text(), "OK");
}

/// What FUNCTION LIST WITHCODE tells, as text whose order is that of names.
fn libraries(client: &mut Client) -> Vec<String> {
    let list = client.words("FUNCTION LIST WITHCODE");
    let mut texts: Vec<String> = list.elements().iter().map(sorted).collect();
    texts.sort();
    texts
}

/// A library's parts as text, in an order of their own.
fn sorted(value: &Value) -> String {
    match value {
        Value::Array(elements) => {
            let mut texts: Vec<String> = elements.iter().map(sorted).collect();
            texts.sort();
            texts.join(" ")
        }
        other => other.text(),
    }
}

fn await_rewrite(client: &mut Client) {
    while client
        .words("INFO persistence")
        .text()
        .lines()
        .any(|line| line == "aof_rewrite_in_progress:1" || line == "aof_rewrite_scheduled:1")
    {
        std::thread::yield_now();
    }
}

/// Snapshots and logs of both forms, from redis-server to ours and back.
#[test]
fn files_with_functions_go_both_ways() {
    let log = |preamble| ["--appendonly", "yes", "--save", "", "--aof-use-rdb-preamble", preamble];
    let ways = [&PLAIN[..4], &log("yes"), &log("no")];
    for (directives, rewrites) in ways.iter().flat_map(|way| [(*way, false), (*way, true)]) {
        for (from, to) in [(Program::Redis, Program::Redstart), (Program::Redstart, Program::Redis)]
        {
            let mut server = Server::start_with(from, directives);
            fill(&mut server.connect());
            let before = libraries(&mut server.connect());
            assert_eq!(before.len(), 2);
            for program in [to, from] {
                let mut client = server.connect();
                if directives[1] == "no" {
                    assert_eq!(client.words("SAVE").text(), "OK");
                } else if rewrites {
                    client.words("BGREWRITEAOF");
                    await_rewrite(&mut client);
                }
                assert!(server.terminate().success(), "{}", server.log());
                server = Server::start_in(program, server.into_dir(), directives);
                let mut client = server.connect();
                assert_eq!(libraries(&mut client), before, "{directives:?} {rewrites}");
                assert_eq!(client.words("FCALL_RO get 1 k").text(), "v");
                assert_eq!(client.words("FCALL both 1 k x").elements().len(), 2);
            }
        }
    }
}

/// FUNCTION LOAD, DELETE and FLUSH reach replicas, before and after they are there.
#[test]
fn replicas_of_each_kind_have_the_functions() {
    let programs = [Program::Redis, Program::Redstart, Program::Valkey];
    for primary in programs {
        for replica in programs {
            if primary != Program::Redstart && replica != Program::Redstart {
                continue;
            }
            let (server, copy) = (
                Server::start_with(primary, &PLAIN[..4]),
                Server::start_with(replica, &PLAIN[..4]),
            );
            let (mut client, mut reader) = (server.connect(), copy.connect());
            fill(&mut client);
            reader.words(&format!("REPLICAOF 127.0.0.1 {}", server.port()));
            while reader.words("FCALL_RO get 1 k").text() != "v" {
                std::thread::yield_now();
            }
            let mut same = |client: &mut Client| {
                let wanted = libraries(client);
                while libraries(&mut reader) != wanted {
                    std::thread::yield_now();
                }
                wanted.len()
            };
            assert_eq!(same(&mut client), 2);
            assert_eq!(client.words("FUNCTION DELETE other").text(), "OK");
            assert_eq!(same(&mut client), 1);
            let third = OTHER.replace("other", "third");
            client.call(&["FUNCTION", "LOAD", "REPLACE", &third]);
            assert_eq!(same(&mut client), 2);
            client.words("FUNCTION FLUSH");
            assert_eq!(same(&mut client), 0);
        }
    }
}

/// Without memory, scripts may do what redis-server lets them do.
#[test]
fn scripts_without_memory_do_what_redis_server_lets_them() {
    let (theirs, ours) = (Server::start_with(Program::Redis, &PLAIN), ours());
    let mut clients = [theirs.connect(), ours.connect()];
    for client in &mut clients {
        fill(client);
        client.words("CONFIG SET maxmemory 1");
    }
    let set = "return redis.call('SET', KEYS[1], 'x')";
    let get = "return redis.call('GET', KEYS[1])";
    let mut commands: Vec<Vec<String>> = Vec::new();
    for flags in ["", "#!lua\n", "#!lua flags=allow-oom\n", "#!lua flags=no-writes\n"] {
        for body in [set, get, "redis.call('DEL', KEYS[1]) return redis.call('SET', KEYS[1], 'y')"]
        {
            for name in ["EVAL", "EVAL_RO"] {
                let script = format!("{flags}{body}");
                commands.push([name, &script, "1", "k"].map(str::to_owned).to_vec());
            }
        }
        commands.push(["SCRIPT", "LOAD", &format!("{flags}return 5")].map(str::to_owned).to_vec());
    }
    for words in [
        &["FCALL", "put", "1", "k", "z"][..],
        &["FCALL", "get", "1", "k"],
        &["FCALL_RO", "get", "1", "k"],
        &["FUNCTION", "LOAD", "REPLACE", OTHER],
        &["FUNCTION", "DELETE", "other"],
        &["FUNCTION", "STATS"],
        &["FUNCTION", "FLUSH"],
        &["SCRIPT", "EXISTS", "0000000000000000000000000000000000000000"],
    ] {
        commands.push(words.iter().map(|word| (*word).to_owned()).collect());
    }
    for command in commands {
        let [theirs, ours] = clients.each_mut().map(|client| client.call(&command));
        assert_eq!(ours, theirs, "{command:?}");
    }
}

/// While writes are paused, what only reads goes on, and what may write waits.
#[test]
fn scripts_that_may_write_wait_while_writes_are_paused() {
    let server = ours();
    let (mut pausing, mut reading) = (server.connect(), server.connect());
    fill(&mut pausing);
    let call = "return redis.call('GET', KEYS[1])";
    let declared = format!("#!lua flags=no-writes\n{call}");
    let waiting: [&[&str]; 4] = [
        &["EVAL", call, "1", "k"],
        &["FCALL", "put", "1", "k", "w"],
        &["EVAL", "#!lua\nreturn redis.call('SET', KEYS[1], 'w')", "1", "k"],
        &["FUNCTION", "FLUSH"],
    ];
    assert_eq!(pausing.words("CLIENT PAUSE 60000 WRITE").text(), "OK");
    let mut held = 0;
    let mut clients: Vec<Client> = waiting
        .iter()
        .map(|words| {
            let mut client = server.connect();
            client.try_send_raw(&crate::support::client::encode(words)).expect("it reads");
            // They go on in the order in which they came to wait, and the last one deletes all.
            held += 1;
            let blocked = format!("blocked_clients:{held}\r\n");
            while !pausing.words("INFO clients").text().contains(&blocked) {
                std::thread::yield_now();
            }
            client
        })
        .collect();
    for words in [
        &["EVAL_RO", call, "1", "k"][..],
        &["EVAL", &declared, "1", "k"],
        &["FCALL_RO", "get", "1", "k"],
        &["FCALL", "get", "1", "k"],
    ] {
        assert_eq!(reading.call(words).text(), "v", "{words:?}");
    }
    assert_eq!(pausing.words("CLIENT UNPAUSE").text(), "OK");
    for client in &mut clients {
        assert!(!client.try_read().expect("an answer").is_error());
    }
    assert!(libraries(&mut pausing).is_empty());
    // While everything is paused, scripts that read wait, too.
    let began = std::time::Instant::now();
    assert_eq!(pausing.words("CLIENT PAUSE 50 ALL").text(), "OK");
    assert!(!reading.call(&["EVAL_RO", call, "1", "k"]).is_error());
    assert!(began.elapsed().as_millis() >= 50);
}

/// Scripts that only EVAL brought are evicted, those of SCRIPT LOAD stay.
#[test]
fn scripts_of_eval_are_evicted() {
    let server = ours();
    let mut client = server.connect();
    let loaded = client.call(&["SCRIPT", "LOAD", "return 'loaded'"]).text();
    for number in 0..700 {
        assert_eq!(eval(&mut client, &format!("return {number}")).integer(), Some(number));
        assert_eq!(eval(&mut client, "return 'used'").text(), "used");
    }
    let exists = |client: &mut Client, script: &str| {
        let sha = client.call(&["EVAL", "return redis.sha1hex(ARGV[1])", "0", script]).text();
        client.words(&format!("SCRIPT EXISTS {sha}")).elements()[0].integer() == Some(1)
    };
    assert!(exists(&mut client, "return 'loaded'") && exists(&mut client, "return 'used'"));
    assert!(exists(&mut client, "return 699") && !exists(&mut client, "return 0"));
    let info = client.words("INFO").text();
    let figure = |name: &str| -> Option<u64> {
        info.lines().find_map(|line| line.strip_prefix(name)?.parse().ok())
    };
    assert_eq!(figure("number_of_cached_scripts:"), Some(501));
    assert_eq!(figure("evicted_scripts:"), Some(700 + 2 - 500));
    assert_eq!(client.words(&format!("EVALSHA {loaded} 0")).text(), "loaded");
}

/// After an error the libraries of before were run anew, which lost what they kept, and they themselves
/// where that failed.
#[test]
fn a_restore_that_fails_changes_nothing() {
    let counter = "#!lua name=counter\nlocal count = 0\nredis.register_function('count', function() \
                   count = count + 1 return count end)";
    let holder = "#!lua name=holder\nredis.register_function('taken', function() return 1 end)";
    let clashing = "#!lua name=zlib\nredis.register_function('taken', function() return 2 end)";
    for (from, to) in
        [(Program::Redis, ours()), (Program::Redstart, Server::start_with(Program::Redis, &PLAIN))]
    {
        let version = "redis.REDIS_VERSION:sub(1, 3)";
        let at_home = if from == Program::Redis { "==" } else { "~=" };
        let only_there = format!(
            "#!lua name=there\nif not ({version} {at_home} '7.0') then error('elsewhere') end\n\
             redis.register_function('there', function() return 1 end)"
        );
        let source = Server::start_with(from, &PLAIN);
        let (mut source, mut to) = (source.connect(), to.connect());
        for library in [counter, holder] {
            assert!(!to.call(&["FUNCTION", "LOAD", library]).is_error());
        }
        assert_eq!(to.words("FCALL count 0").integer(), Some(1));
        for (second, policy) in [(clashing, "REPLACE"), (&only_there, "FLUSH")] {
            source.words("FUNCTION FLUSH");
            for library in [counter, second] {
                let loaded = source.call(&["FUNCTION", "LOAD", library]);
                assert!(!loaded.is_error(), "{from:?}: {loaded:?}");
            }
            let dump = source.words("FUNCTION DUMP");
            let payload = dump.bytes().expect("a payload");
            let restore = [b"FUNCTION".as_slice(), b"RESTORE", payload, policy.as_bytes()];
            assert!(to.call(&restore).is_error(), "{from:?} {policy}");
        }
        assert_eq!(to.words("FCALL count 0").integer(), Some(2), "from {from:?}");
        assert_eq!(to.words("FCALL taken 0").integer(), Some(1));
        assert_eq!(to.words("FUNCTION LIST").elements().len(), 2);
    }
}
