//! What happened once counts once: the counters of INFO after a scripted session, beside redis-server's.

use std::collections::BTreeMap;

use crate::start;
use crate::support::client::{Client, argv};
use crate::support::server::Program;

/// A session of commands that succeed, fail, are refused, and find or miss keys, in transactions too.
const SESSION: &[&str] = &[
    "GET a",
    "SET a 1",
    "GET a",
    "INCR a",
    "LPUSH a x",
    "MGET a b c",
    "EXISTS a b",
    "TOUCH a b",
    "TYPE b",
    "TTL b",
    "DUMP b",
    "OBJECT ENCODING b",
    "OBJECT ENCODING a",
    "STRLEN b",
    "HGET h f",
    "HSET h f 1",
    "HMGET h f g",
    "SISMEMBER s a",
    "DEL nosuch",
    "GETSET n 1",
    "GETDEL n",
    "GETDEL n",
    "GETEX n",
    "SET a 2 XX",
    "SET a 2 NX",
    "SET q 2 XX",
    "SET a 3 GET",
    "COPY a b",
    "COPY nosuch c",
    "RENAME nosuch c",
    "SORT l",
    "SORT a",
    "RANDOMKEY",
    "ZADD z 1 a",
    "ZSCORE z a",
    "LRANGE l 0 -1",
    "LPOP l",
    "BLPOP l 0.01",
    "RPUSH l a b",
    "BLPOP l 0",
    "LMOVE l m LEFT RIGHT",
    "EVAL return{err='MINE'} 0",
    "EVAL return{1,{err='MINE'},redis.pcall('INCR','m')} 0",
    "EVAL return(redis.pcall('INCR','m')) 0",
    "EVAL return(redis.call('INCR','m')) 0",
    "EVAL redis.pcall('INCR','m') 0",
    "BLMOVE l m LEFT RIGHT 0.01",
    "SINTER s1 s2",
    "SUNIONSTORE d s1 s2",
    "EXPIRE a 100",
    "EXPIRE nosuch 100",
    "PERSIST a",
    "NOSUCH",
    "GET",
    "SET",
    "CONFIG NOSUCH",
    "CONFIG",
    "CONFIG GET",
    "CONFIG SET x",
    "CONFIG SET nosuch 1",
    "CONFIG SET maxmemory abc",
    "CLIENT NOSUCH",
    "CLIENT",
    "CLIENT KILL ID 99999",
    "DEBUG NOSUCH",
    "AUTH x",
    "AUTH a b",
    "HELLO 4",
    "SELECT 99",
    "SELECT 1",
    "GET a",
    "SELECT 0",
    "WATCH a",
    "MULTI",
    "GET a",
    "INCR h",
    "NOSUCH",
    "EXEC",
    "MULTI",
    "GET a",
    "INCR h",
    "SET k v",
    "EXEC",
    "MULTI",
    "DISCARD",
    "DISCARD",
    "EXEC",
    "MULTI",
    "MULTI",
    "WATCH a",
    "EXEC",
    "MULTI",
    "CONFIG NOSUCH",
    "EXEC",
    "MULTI",
    "CONFIG GET",
    "EXEC",
    "SUBSCRIBE a",
    "GET a",
    "PING",
    "UNSUBSCRIBE",
    "PUBLISH a b",
    "OBJECT FREQ a",
    "MEMORY USAGE a",
    "EXPIRE a -1",
    "GET a",
    "SETRANGE a 0 x",
    "GETRANGE nosuch 0 1",
    "SMOVE s t x",
    "SPOP s",
    "HINCRBY h f x",
    "HINCRBY nh f 1",
    "LINSERT nol BEFORE a b",
    "LSET nol 0 a",
    "LPUSHX nol a",
    "INCRBYFLOAT a x",
    "MSET x 1 y",
    "MSETNX x 1 y 2",
    "RESTORE r 0 bad",
    "SWAPDB 0 1",
    "SWAPDB 0 99",
    "FLUSHALL x",
    "COMMAND GETKEYS set",
    "SLOWLOG GET x",
    "PING a b",
];

/// The counters that both have, by name; a command's own are those of the calls, not of time.
fn counters(client: &mut Client) -> BTreeMap<String, String> {
    const NAMES: &[&str] = &[
        "total_connections_received",
        "total_commands_processed",
        "rejected_connections",
        "expired_keys",
        "evicted_keys",
        "keyspace_hits",
        "keyspace_misses",
        "total_error_replies",
    ];
    let text = client.words("INFO everything").text();
    let counter = |line: &str| {
        let (name, value) = line.split_once(':')?;
        if name.starts_with("cmdstat_") {
            let counts = value.split(',').filter(|count| !count.starts_with("usec"));
            return Some((name.to_owned(), counts.collect::<Vec<_>>().join(",")));
        }
        let wanted = NAMES.contains(&name) || name.starts_with("errorstat_");
        wanted.then(|| (name.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(counter).collect()
}

#[test]
fn a_session_counts_as_upstream_counts_it() {
    let played = [Program::Redis, Program::Redstart].map(|program| {
        let server = start(program, &["--enable-debug-command", "yes"]);
        let (mut watcher, mut client) = (server.connect(), server.connect());
        client.words("PING");
        watcher.words("CONFIG RESETSTAT");
        let mut after = Vec::new();
        for command in SESSION {
            client.call(&argv(command));
            after.push(counters(&mut watcher));
        }
        after
    });
    let [theirs, ours] = played;
    for ((command, theirs), ours) in SESSION.iter().zip(theirs).zip(ours) {
        assert_eq!(theirs, ours, "after {command}: redis-server's first");
    }
}
