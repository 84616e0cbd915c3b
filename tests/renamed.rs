//! Commands that have other names (`rename-command`) and the log, which knows them by their own: it
//! loads whatever they are called.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::fs;
use std::path::Path;

use support::client::Value;
use support::server::{Program, Server};

const LOG: &[&str] = &["--appendonly", "yes", "--appendfsync", "always", "--save", ""];

fn with(more: &[&'static str]) -> Vec<&'static str> {
    [LOG, more].concat()
}

fn log_of(dir: &Path) -> String {
    let files = fs::read_dir(dir.join("appendonlydir")).expect("a log");
    let paths = files.map(|file| file.expect("a file").path());
    let logs = paths.filter(|path| path.extension().is_some_and(|end| end == "aof"));
    logs.map(|path| String::from_utf8_lossy(&fs::read(path).expect("a log")).into_owned()).collect()
}

#[test]
fn an_expired_key_is_logged_where_clients_have_no_unlink() {
    let mut server =
        Server::start_with(Program::Redstart, &with(&["--rename-command", "UNLINK", ""]));
    let mut client = server.connect();
    assert!(client.words("UNLINK k").is_error());
    client.words("SET k v PX 1");
    while client.words("EXISTS k").integer() != Some(0) {}
    client.words("SET other 1");
    assert!(log_of(server.dir()).contains("\r\nUNLINK\r\n"));
    server.kill();
    server.restart();
    assert_eq!(server.connect().words("DBSIZE").integer(), Some(1));
}

#[test]
fn the_log_has_original_names_and_loads_without_the_new_ones() {
    let renamed = with(&[
        "--rename-command",
        "SET",
        "put",
        "--rename-command",
        "RPUSH",
        "add",
        "--rename-command",
        "RESTORE",
        "bring",
        "--rename-command",
        "MULTI",
        "begin",
    ]);
    let mut server = Server::start_with(Program::Redstart, &renamed);
    let mut client = server.connect();
    assert_eq!(client.words("put a 1").text(), "OK");
    assert_eq!(client.words("PUT b 2 EX 100000").text(), "OK");
    assert_eq!(client.words("begin").text(), "OK");
    client.words("put c 3");
    client.words("Add l x y");
    assert_eq!(client.words("EXEC").elements().len(), 2);
    let Value::Bulk(payload) = client.words("DUMP a") else { panic!("a payload") };
    for ttl in ["0", "5000000"] {
        let key = format!("restored:{ttl}");
        let restored = client.call(&[b"bring", key.as_bytes(), ttl.as_bytes(), &payload]);
        assert_eq!(restored.text(), "OK");
    }
    let log = log_of(server.dir());
    for (name, count) in [("SET", 3), ("RPUSH", 1), ("RESTORE", 2), ("MULTI", 1)] {
        assert_eq!(log.matches(&format!("\r\n{name}\r\n")).count(), count, "{name}: {log}");
    }
    for name in ["put", "add", "bring", "begin"] {
        assert!(!log.to_lowercase().contains(&format!("\r\n{name}\r\n")), "{name}: {log}");
    }
    server.kill();
    let dir = server.into_dir();
    let mut plain = Server::start_in(Program::Redstart, dir, LOG);
    let check = |server: &Server| {
        let mut client = server.connect();
        assert_eq!(client.words("MGET a b c restored:0 restored:5000000").elements().len(), 5);
        assert_eq!(client.words("GET c").text(), "3");
        assert_eq!(client.words("GET restored:5000000").text(), "1");
        assert_eq!(client.words("LLEN l").integer(), Some(2));
        assert_eq!(client.words("DBSIZE").integer(), Some(6));
    };
    check(&plain);
    plain.kill();
    check(&Server::start_in(Program::Redstart, plain.into_dir(), &renamed));
}

/// Redis logs a command by the name that the client used, and reads its logs by these names only.
#[test]
fn a_log_of_redis_with_other_names_loads() {
    let renamed = with(&["--rename-command", "SET", "put"]);
    let mut redis = Server::start_with(Program::Redis, &renamed);
    assert_eq!(redis.connect().words("put a 1").text(), "OK");
    assert!(redis.terminate().success());
    let server = Server::start_in(Program::Redstart, redis.into_dir(), &renamed);
    assert_eq!(server.connect().words("GET a").text(), "1");
}
