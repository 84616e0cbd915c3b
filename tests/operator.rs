//! What an operator changes and reads while the server runs: where it listens, what FLUSHALL leaves
//! on disk, figures of INFO, CLIENT NO-TOUCH. Where redis-server has the same behaviour, it is asked
//! as well.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use support::client::Client;
use support::server::{Program, Server};

const BOTH: [Program; 2] = [Program::Redis, Program::Redstart];

const PATIENCE: Duration = Duration::from_secs(30);

fn info(client: &mut Client, section: &str, field: &str) -> String {
    let text = client.call(&["INFO", section]).text();
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {field} in\n{text}")).trim().to_owned()
}

fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("an address").port()
}

#[test]
fn the_port_changes_while_clients_stay() {
    for program in BOTH {
        let server = Server::start(program);
        let mut first = server.connect();
        let (port, taken) = (free_port(), TcpListener::bind("0.0.0.0:0").expect("a port"));
        assert_eq!(first.call(&["CONFIG", "SET", "port", &port.to_string()]).text(), "OK");
        assert_eq!(first.words("PING").text(), "PONG", "{program:?}: the old connection lives");
        let mut second = Client::try_connect(port).expect("the new port is open");
        assert_eq!(second.words("PING").text(), "PONG");
        let start = Instant::now();
        while Client::try_connect(server.port()).is_ok() {
            assert!(start.elapsed() < PATIENCE, "{program:?}: the old port stays open");
        }

        let taken = taken.local_addr().expect("an address").port().to_string();
        assert_eq!(
            second.call(&["CONFIG", "SET", "port", &taken]).text(),
            "ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on \
             this port. Check server logs."
        );
        assert_eq!(second.call(&["CONFIG", "GET", "port"]).elements()[1].text(), port.to_string());
        let mut third = Client::try_connect(port).expect("it listens where it did");
        assert_eq!(third.words("PING").text(), "PONG");
    }
}

#[test]
fn the_addresses_change_on_one_port() {
    for program in BOTH {
        let server = Server::start(program);
        let mut client = server.connect();
        // Each overlaps the one before, so that the old sockets must make room.
        for bind in ["127.0.0.1", "*", "127.0.0.1 127.0.0.2", "127.0.0.1"] {
            let answer = client.call(&["CONFIG", "SET", "bind", bind]).text();
            assert_eq!(answer, "OK", "{program:?}: {bind}");
            let mut other = Client::try_connect(server.port()).expect("it listens");
            assert_eq!(other.words("PING").text(), "PONG");
        }
        assert_eq!(
            client.call(&["CONFIG", "SET", "bind", "999.999.999.999"]).text(),
            "ERR CONFIG SET failed (possibly related to argument 'bind') - Failed to bind to \
             specified addresses."
        );
        let mut other = Client::try_connect(server.port()).expect("it listens where it did");
        assert_eq!(other.words("PING").text(), "PONG");
    }
}

#[test]
fn a_flushed_server_leaves_no_snapshot_of_what_was() {
    for program in BOTH {
        let directives = ["--appendonly", "no", "--save", "3600 1"];
        let mut server = Server::start_with(program, &directives);
        let mut client = server.connect();
        client.words("SET key value");
        assert_eq!(client.words("SAVE").text(), "OK");
        assert_eq!(client.words("FLUSHALL").text(), "OK");
        server.kill();
        server.restart();
        let size = server.connect().words("DBSIZE").integer();
        assert_eq!(size, Some(0), "{program:?}: the data came back");
    }
}

#[test]
fn without_save_points_flushing_writes_no_file() {
    for program in BOTH {
        let server = Server::start(program);
        server.connect().words("FLUSHALL");
        assert!(!server.dir().join("dump.rdb").exists(), "{program:?}");
    }
}

#[test]
fn a_snapshot_s_keys_are_counted_when_they_load() {
    for program in BOTH {
        let mut server = Server::start_with(program, &["--appendonly", "no", "--save", "3600 1"]);
        let mut client = server.connect();
        client.words("DEBUG SET-ACTIVE-EXPIRE 0");
        client.words("MSET a 1 b 2 c 3");
        client.words("SET short 1 PX 20");
        assert_eq!(client.words("SAVE").text(), "OK");
        let start = Instant::now();
        while client.words("EXISTS short").integer() == Some(1) {
            assert!(start.elapsed() < PATIENCE, "the key stays");
        }
        server.kill();
        server.restart();
        let mut client = server.connect();
        assert_eq!(info(&mut client, "persistence", "rdb_last_load_keys_loaded"), "3");
        assert_eq!(info(&mut client, "persistence", "rdb_last_load_keys_expired"), "1");
    }
}

#[test]
fn the_mean_time_to_live_is_told() {
    let server = Server::start(Program::Redstart);
    let mut client = server.connect();
    client.words("SET lasting 1");
    assert!(info(&mut client, "keyspace", "db0").ends_with("avg_ttl=0"));
    for key in 0..100 {
        client.words(&format!("SET key:{key} 1 EX 1000"));
    }
    let line = info(&mut client, "keyspace", "db0");
    let ttl: i64 = line.rsplit('=').next().and_then(|ttl| ttl.parse().ok()).expect("a number");
    assert!((900_000..=1_000_000).contains(&ttl), "{line}");
}

#[test]
fn no_touch_covers_reads_and_writes_but_not_touch() {
    for program in BOTH {
        if program == Program::Redis {
            // redis-server 7.0 hasn't the command.
            continue;
        }
        let server = Server::start(program);
        let mut client = server.connect();
        assert_eq!(client.words("CONFIG SET maxmemory-policy allkeys-lru").text(), "OK");
        client.words("SET key 1");
        client.words("CLIENT NO-TOUCH ON");
        let idle = |client: &mut Client| client.words("OBJECT IDLETIME key").integer();
        let start = Instant::now();
        while idle(&mut client) < Some(2) {
            assert!(start.elapsed() < PATIENCE, "the key never grows idle");
            client.words("GET key");
            client.words("EXPIRE key 1000");
            client.words("STRLEN key");
            std::thread::sleep(Duration::from_millis(20));
        }
        client.words("TOUCH key");
        assert!(idle(&mut client) < Some(2));
    }
}

#[test]
fn the_unix_socket_belongs_to_its_group() {
    let group = nix::unistd::Group::from_gid(nix::unistd::getgid()).expect("the groups");
    let Some(group) = group else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("socket");
    let text = path.display().to_string();
    let directives =
        ["--unixsocket", &text, "--unixsocketgroup", &group.name, "--unixsocketperm", "770"];
    let _server = Server::start_with(Program::Redstart, &directives);
    let metadata = fs::metadata(&path).expect("the socket");
    assert_eq!((metadata.gid(), metadata.mode() & 0o777), (group.gid.as_raw(), 0o770));
}

#[test]
fn the_zone_is_told() {
    let server = Server::start_with(Program::Redstart, &["--availability-zone", "eu-1a"]);
    assert_eq!(info(&mut server.connect(), "server", "availability_zone"), "eu-1a");
}

/// What DEBUG is asked for in upstream's tests: the structure goes to standard output, and a value that
/// isn't kept that way is refused.
#[test]
fn debug_shows_how_a_value_is_kept() {
    for program in BOTH {
        let server = Server::start_with(program, &["--enable-debug-command", "yes"]);
        let mut client = server.connect();
        client.words("HSET h a 1 b 2");
        client.words("SADD s a b");
        client.words("CONFIG SET list-max-listpack-size 2");
        client.words("RPUSH l a b c d e");
        client.words("CONFIG SET set-max-intset-entries 0");
        client.words("CONFIG SET hash-max-listpack-entries 0");
        client.words("HSET big a 1 b 2");
        let said = |client: &mut Client, words: &str| client.words(words).text();
        assert_eq!(said(&mut client, "DEBUG LISTPACK h"), "Listpack structure printed on stdout");
        assert_eq!(said(&mut client, "DEBUG LISTPACK big"), "ERR Not a listpack encoded object.");
        assert_eq!(said(&mut client, "DEBUG LISTPACK none"), "ERR no such key");
        assert_eq!(
            said(&mut client, "DEBUG QUICKLIST l 1"),
            "Quicklist structure printed on stdout"
        );
        assert_eq!(said(&mut client, "DEBUG QUICKLIST h"), "ERR Not a quicklist encoded object.");
        assert!(said(&mut client, "DEBUG HTSTATS-KEY big").contains("number of elements: 2"));
        assert_eq!(
            said(&mut client, "DEBUG HTSTATS-KEY h"),
            "ERR The value stored at the specified key is not represented using an hash table"
        );
        assert_eq!(said(&mut client, "DEBUG SDSLEN h"), "ERR Not an sds encoded string.");
        let details = said(&mut client, "DEBUG OBJECT l");
        let lists = " ql_nodes:3 ql_avg_node:1.67 ql_listpack_max:2 ql_compressed:0 ";
        assert!(details.contains(lists), "{program:?}: {details}");
    }
}

/// Only a failed snapshot in the background stops writes: whoever asked for SAVE, or for a shutdown, is
/// told. A directory in the snapshot's place lets it fail.
#[test]
fn a_failed_save_stops_no_writes() {
    for program in BOTH {
        let server = Server::start_with(program, &["--appendonly", "no", "--save", "900 1"]);
        let mut client = server.connect();
        client.words("SET a 1");
        fs::create_dir(server.dir().join("dump.rdb")).expect("a directory");
        assert!(client.words("SAVE").is_error(), "{program:?}");
        assert_eq!(client.words("PING").text(), "PONG", "{program:?}");
        assert!(client.words("SHUTDOWN").text().contains("Errors trying to SHUTDOWN"));
        assert_eq!(client.words("SET a 2").text(), "OK", "{program:?}");
        assert_eq!(info(&mut client, "persistence", "rdb_last_bgsave_status"), "ok");
    }
}
