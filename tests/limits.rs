//! What one client may cost: connections, idle time, memory on the way in and out; and who may
//! connect at all. Each story is told to redis-server and to Redstart where both have the limit.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::collections::VecDeque;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use support::client::{Client, encode};
use support::random::{self, Random};
use support::server::{Program, Server};

/// How long to wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

const BOTH: [Program; 2] = [Program::Redis, Program::Redstart];

const NO_FILES: [&str; 4] = ["--appendonly", "no", "--save", ""];

fn start(program: Program, directives: &[&str]) -> Server {
    Server::start_with(program, &[&NO_FILES, directives].concat())
}

/// Waits for a condition; the text says what was awaited.
fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn info(client: &mut Client, section: &str, field: &str) -> i64 {
    let text = client.call(&["INFO", section]).text();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .unwrap_or_else(|| panic!("no {field} in\n{text}"));
    value.trim().parse().expect("a number")
}

fn resident_bytes(server: &Server) -> u64 {
    status_bytes(server, "VmRSS:")
}

/// A figure in bytes that the system keeps about the process.
fn status_bytes(server: &Server, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("its line");
    let kib = line.trim().trim_end_matches(" kB").parse::<u64>().expect("kilobytes");
    kib * 1024
}

/// An address of this machine that isn't its loopback, where it has one.
fn outside_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: connecting only chooses a route.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then_some(address)
}

/// What a client's own command has pushed to it was kept without bound until that command ended.
#[test]
fn a_client_that_floods_itself_is_closed_without_all_of_the_flood_in_memory() {
    for program in BOTH {
        let server = start(program, &["--client-output-buffer-limit", "pubsub 1mb 0 0"]);
        let (mut flooded, mut other) = (server.connect(), server.connect());
        flooded.words("HELLO 3");
        flooded.try_send_raw(&encode(&["SUBSCRIBE", "flood"])).expect("sent");
        flooded.next_push().expect("it listens");
        let script = "local text = string.rep('x', 1000000) for _ = 1, 400 do \
                      redis.call('PUBLISH', 'flood', text) end";
        let before = status_bytes(&server, "VmHWM:");
        flooded.try_send_raw(&encode(&["EVAL", script, "0"])).expect("sent");
        await_that("its end", || {
            other.words("PUBSUB NUMSUB flood").elements()[1].integer() == Some(0)
        });
        let more = status_bytes(&server, "VmHWM:") - before;
        assert!(more < 64 << 20, "{program:?}: {more} bytes more");
    }
}

#[test]
fn one_client_too_many_is_told_so() {
    for program in BOTH {
        let server = start(program, &["--maxclients", "3"]);
        let mut clients = vec![alone(&server), server.connect(), server.connect()];
        for client in &mut clients {
            assert_eq!(client.words("PING").text(), "PONG");
        }
        let refusal = server.connect().read_to_close().expect("closed");
        assert_eq!(refusal, b"-ERR max number of clients reached\r\n", "{program:?}");
        assert_eq!(info(&mut clients[0], "stats", "rejected_connections"), 1, "{program:?}");
        drop(clients.pop());
        await_that("a place that became free", || {
            Client::try_connect(server.port())
                .and_then(|mut client| client.try_call(&["PING"]))
                .is_ok_and(|reply| reply.text() == "PONG")
        });
        // At run time, too.
        let mut client = clients.remove(0);
        assert_eq!(client.words("CONFIG SET maxclients 100").text(), "OK");
        let many: Vec<Client> = (0..20).map(|_| server.connect()).collect();
        for mut client in many {
            assert_eq!(client.words("PING").text(), "PONG", "{program:?}");
        }
    }
}

/// Connections that came together were admitted last come, first served.
#[test]
fn clients_are_admitted_in_the_order_in_which_they_connected() {
    for program in BOTH {
        let server = start(program, &["--maxclients", "20"]);
        let mut control = alone(&server);
        server.halt();
        let mut came: Vec<Client> = (0..26).map(|_| server.connect()).collect();
        server.proceed();
        let mut last = control.words("CLIENT ID").integer().expect("a number");
        for (place, client) in came.iter_mut().enumerate() {
            if place < 19 {
                let id = client.words("CLIENT ID").integer().expect("a number");
                assert!(id > last, "{program:?}: {id} behind {last} at {place}");
                last = id;
            } else {
                let refusal = client.read_to_close().expect("closed");
                assert_eq!(refusal, b"-ERR max number of clients reached\r\n", "{program:?}");
            }
        }
    }
}

/// A burst was accepted as a whole before the first of it was refused: the log could open no file.
#[test]
fn a_burst_of_connections_leaves_descriptors_to_the_server() {
    for program in BOTH {
        let server = start(program, &["--maxclients", "20", "--loglevel", "notice"]);
        let mut control = alone(&server);
        let descriptors =
            fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("a list").count();
        // For 19 more clients, one turn of accepting, and what a snapshot opens.
        let limit = descriptors + 19 + 10 + 2;
        let limited = Command::new("prlimit")
            .args([format!("--pid={}", server.pid()), format!("--nofile={limit}:{limit}")])
            .status();
        assert!(limited.expect("prlimit of util-linux").success());
        server.halt();
        let mut came: Vec<Client> = (0..200).map(|_| server.connect()).collect();
        server.proceed();
        for client in &mut came[19..] {
            let refusal = client.read_to_close().expect("closed");
            assert_eq!(refusal, b"-ERR max number of clients reached\r\n", "{program:?}");
        }
        for client in &mut came[..19] {
            assert_eq!(client.words("PING").text(), "PONG", "{program:?}");
        }
        assert_eq!(control.words("SAVE").text(), "OK", "{program:?}");
        let log = server.log();
        assert!(!log.contains("Accepting client connection"), "{program:?}: {log}");
    }
}

/// A client, when all that looked whether the server is ready have ended.
fn alone(server: &Server) -> Client {
    let mut client = server.connect();
    await_that("a server without other clients", || {
        info(&mut client, "clients", "connected_clients") == 1
    });
    client
}

#[test]
fn an_idle_client_is_closed_and_a_busy_one_is_not() {
    for program in BOTH {
        let server = start(program, &["--timeout", "2"]);
        let (mut idle, mut busy) = (server.connect(), server.connect());
        assert_eq!(idle.words("PING").text(), "PONG");
        let start = Instant::now();
        // Its own reading blocks until the server closes.
        let closed = std::thread::spawn(move || (idle.read_to_close(), start.elapsed()));
        await_that("the end of the idle connection", || {
            assert_eq!(busy.words("PING").text(), "PONG", "{program:?}");
            closed.is_finished()
        });
        let (bytes, after) = closed.join().expect("the reader ended");
        assert_eq!(bytes.expect("closed"), b"", "{program:?}");
        assert!(after >= Duration::from_secs(1), "{program:?} closed after {after:?}");
    }
}

#[test]
fn a_reader_past_its_output_limit_is_closed() {
    for program in BOTH {
        let server = start(program, &["--client-output-buffer-limit", "normal 4mb 0 0"]);
        let mut good = server.connect();
        good.call(&["SET", "big", &"x".repeat(1 << 20)]);
        let mut slow = server.connect();
        let request = encode(&["GET", "big"]);
        // 200 MB of replies that nobody reads; sending may fail once the server has closed.
        for _ in 0..200 {
            if slow.try_send_raw(&request).is_err() {
                break;
            }
        }
        await_that("the end of the slow reader", || {
            info(&mut good, "clients", "connected_clients") == 1
        });
        assert_eq!(good.call(&["STRLEN", "big"]).integer(), Some(1 << 20), "{program:?}");
    }
}

/// Upstream lets the replies of a normal client grow without bound. Redstart stops to read its
/// requests, which costs it nothing but what it has already been promised.
#[test]
fn replies_that_nobody_reads_cost_bounded_memory() {
    const REPLIES: usize = 500;
    let server = start(Program::Redstart, &[]);
    let mut good = server.connect();
    good.call(&["SET", "big", &"x".repeat(1 << 20)]);
    let before = resident_bytes(&server);
    let mut slow = server.connect();
    slow.try_send_raw(&encode(&["GET", "big"]).repeat(REPLIES)).expect("small requests fit");
    // The server has taken what it takes when its memory stands still.
    let mut last = 0;
    await_that("memory that stands still", || {
        let now = resident_bytes(&server);
        let still = now == last && now > before + (64 << 20);
        last = now;
        assert_eq!(good.words("PING").text(), "PONG");
        std::thread::sleep(Duration::from_millis(20));
        still
    });
    let grown = (last - before) >> 20;
    assert!(grown < 400, "{grown} MiB for one reader");
    for number in 0..REPLIES {
        let reply = slow.try_read().expect("every reply comes, late");
        assert_eq!(reply.bytes().map(<[u8]>::len), Some(1 << 20), "reply {number}");
    }
}

/// What a client's pipeline was answered was looked at when all of it had been executed: a limit of 1 MiB
/// was met with 250 MiB.
#[test]
fn a_pipeline_past_the_output_limit_ends_at_the_limit() {
    for program in BOTH {
        for transaction in [false, true] {
            let server = start(program, &["--client-output-buffer-limit", "normal 2mb 0 0"]);
            let mut good = server.connect();
            good.call(&["SET", "big", &"x".repeat(1 << 20)]);
            let came = info(&mut good, "stats", "total_connections_received");
            let before = status_bytes(&server, "VmHWM:");
            let mut commands = vec![encode(&["GET", "big"]).repeat(250), encode(&["INCR", "ran"])];
            if transaction {
                commands.insert(0, encode(&["MULTI"]));
                commands.push(encode(&["EXEC"]));
            }
            let requests = commands.concat();
            let mut slow: Vec<Client> = (0..10).map(|_| server.connect()).collect();
            for client in &mut slow {
                client.try_send_raw(&requests).expect("small requests fit");
            }
            await_that("the end of those that don't read", || {
                info(&mut good, "stats", "total_connections_received") >= came + 10
                    && info(&mut good, "clients", "connected_clients") == 1
            });
            let more = (status_bytes(&server, "VmHWM:") - before) >> 20;
            assert!(more < 64, "{program:?}: {more} MiB more");
            // A pipeline is cut where it is past the limit; a transaction runs as a whole.
            let ran = good.words("GET ran").bytes().map(<[u8]>::to_vec);
            let all = transaction.then(|| b"10".to_vec());
            assert_eq!(ran, all, "{program:?}");
        }
    }
}

/// Clients got all of their pipelines answered before what they hold was summed.
#[test]
fn pipelines_that_nobody_reads_end_where_all_clients_hold_too_much() {
    for program in BOTH {
        let server = start(program, &["--maxmemory-clients", "50mb"]);
        let mut good = server.connect();
        good.call(&["SET", "big", &"x".repeat(1 << 20)]);
        let before = status_bytes(&server, "VmHWM:");
        let mut slow: Vec<Client> = (0..10).map(|_| server.connect()).collect();
        for client in &mut slow {
            client.try_send_raw(&encode(&["GET", "big"]).repeat(250)).expect("they fit");
        }
        await_that("the end of most of them", || info(&mut good, "stats", "evicted_clients") >= 9);
        let more = (status_bytes(&server, "VmHWM:") - before) >> 20;
        assert!(more < 200, "{program:?}: {more} MiB more");
    }
}

/// The prefixes of CLIENT TRACKING counted as nothing: a client could hold any number of them.
#[test]
fn prefixes_count_as_what_a_client_holds() {
    for program in BOTH {
        let server = start(program, &["--maxmemory-clients", "200000"]);
        let mut client = server.connect();
        let ends = (0..5000).find(|number| {
            let (one, two) = (format!("a{number:09}"), format!("b{number:09}"));
            let line = ["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", &one, "PREFIX", &two];
            client.try_call(&line).is_err()
        });
        assert!(ends.is_some_and(|number| number > 100), "{program:?}: {ends:?}");
    }
}

/// One tick executed a whole pipeline, whatever the replies came to, and nobody else's request before.
#[test]
fn a_pipeline_of_large_replies_lets_others_have_their_turn() {
    let server = start(Program::Redstart, &[]);
    let (mut other, mut control) = (server.connect(), server.connect());
    other.call(&["SET", "big", &"x".repeat(1 << 20)]);
    let mut slow = server.connect();
    server.halt();
    let pipeline = encode(&["GET", "big"]).repeat(200);
    slow.try_send_raw(&[pipeline, encode(&["SET", "done", "1"])].concat()).expect("they fit");
    control.try_send_raw(&encode(&["EXISTS", "done"])).expect("sent");
    server.proceed();
    assert_eq!(control.try_read().expect("an answer").integer(), Some(0));
    for number in 0..200 {
        let reply = slow.try_read().expect("every reply comes");
        assert_eq!(reply.bytes().map(<[u8]>::len), Some(1 << 20), "reply {number}");
    }
    assert_eq!(slow.try_read().expect("the last").text(), "OK");
}

/// Clients with replies of all sizes, some of which read only when all is sent: turns end anywhere in their
/// pipelines, and each reply is right and in its place.
#[test]
fn random_pipelines_with_large_replies_are_answered_in_order() {
    const SIZES: [usize; 6] = [1, 900, 17_000, 300_000, 1_100_000, 3_000_000];
    let seed = random::seed_from_environment("LIMITS_SEED");
    for log in [&["--appendonly", "no"][..], &["--appendonly", "yes", "--appendfsync", "always"]] {
        let server = Server::start_with(Program::Redstart, &[&["--save", ""], log].concat());
        for size in SIZES {
            server.connect().call(&["SET", &size.to_string(), &"x".repeat(size)]);
        }
        std::thread::scope(|scope| {
            for number in 0..6 {
                let mut client = server.connect();
                scope.spawn(move || {
                    let mut random = Random::new(seed + number);
                    let own = format!("counter:{number}");
                    let (mut sent, mut counted, mut bytes) = (VecDeque::new(), 0, 0);
                    for _ in 0..40 {
                        let mut requests = Vec::new();
                        for _ in 0..=random.below(60) {
                            let size = SIZES[random.below(SIZES.len()).min(random.below(7))];
                            if random.chance(30) || bytes > (100 << 20) {
                                counted += 1;
                                requests.extend(encode(&["INCR", &own]));
                                sent.push_back(Err(counted));
                            } else {
                                bytes += size;
                                requests.extend(encode(&["GET", &size.to_string()]));
                                sent.push_back(Ok(size));
                            }
                        }
                        client.try_send_raw(&requests).expect("sent");
                        let reads = number % 2 == 0 && random.chance(70);
                        for _ in 0..if reads { random.below(sent.len() + 1) } else { 0 } {
                            check_reply(&mut client, sent.pop_front());
                        }
                    }
                    while !sent.is_empty() {
                        check_reply(&mut client, sent.pop_front());
                    }
                });
            }
        });
    }
}

/// A value of so many bytes, or a counter's.
fn check_reply(client: &mut Client, expected: Option<Result<usize, i64>>) {
    let reply = client.try_read().expect("a reply");
    match expected.expect("one is owed") {
        Ok(size) => assert_eq!(reply.bytes().map(<[u8]>::len), Some(size)),
        Err(count) => assert_eq!(reply.integer(), Some(count)),
    }
}

#[test]
fn an_endless_request_is_cut_off() {
    for program in BOTH {
        let server = start(program, &["--client-query-buffer-limit", "2mb"]);
        let mut good = server.connect();
        let mut endless = server.connect();
        let mut bytes = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100000000\r\n".to_vec();
        bytes.resize(bytes.len() + (8 << 20), b'x');
        // The server may close while this is being sent.
        let _ = endless.try_send_raw(&bytes);
        let reply = endless.read_to_close().expect("closed");
        assert_eq!(reply, b"", "{program:?}");
        assert_eq!(good.words("GET a").bytes(), None, "{program:?}");
        assert_eq!(good.words("PING").text(), "PONG", "{program:?}");
    }
}

#[test]
fn without_a_password_only_this_machine_is_served() {
    let Some(address) = outside_address() else {
        println!("this machine has no address but its loopback: nothing to connect from");
        return;
    };
    for program in BOTH {
        let server = start(program, &["--bind", "0.0.0.0", "--protected-mode", "yes"]);
        let outside = || {
            let mut stream = TcpStream::connect((address, server.port())).expect("it listens");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            // A server that refuses may have closed already.
            let _ = stream.write_all(b"PING\r\n");
            let mut reply = [0; 7];
            stream.read_exact(&mut reply).expect("an answer");
            reply
        };
        assert_eq!(&outside(), b"-DENIED", "{program:?}");
        let mut inside = server.connect();
        assert_eq!(inside.words("PING").text(), "PONG", "{program:?}");
        assert_eq!(inside.words("CONFIG SET protected-mode no").text(), "OK");
        assert_eq!(&outside(), b"+PONG\r\n", "{program:?}");
        assert_eq!(inside.words("CONFIG SET protected-mode yes requirepass secret").text(), "OK");
        assert_eq!(&outside(), b"-NOAUTH", "{program:?}");
    }
}

#[test]
fn several_addresses_and_a_unix_socket() {
    let six = TcpListener::bind("[::1]:0").is_ok();
    for program in BOTH {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("socket");
        let socket = path.to_str().expect("a path in UTF-8");
        let addresses = if six { "127.0.0.1 ::1" } else { "127.0.0.1 -::1" };
        let server = start(
            program,
            &["--bind", addresses, "--unixsocket", socket, "--unixsocketperm", "700"],
        );
        let mut streams: Vec<Box<dyn ReadWrite>> = vec![
            Box::new(TcpStream::connect(("127.0.0.1", server.port())).expect("IPv4")),
            Box::new(UnixStream::connect(&path).expect("the socket")),
        ];
        if six {
            streams.push(Box::new(TcpStream::connect(("::1", server.port())).expect("IPv6")));
        }
        for stream in &mut streams {
            stream.write_all(b"PING\r\n").expect("sent");
            let mut reply = [0; 7];
            stream.read_exact(&mut reply).expect("an answer");
            assert_eq!(&reply, b"+PONG\r\n", "{program:?}");
        }
        let mode = fs::metadata(&path).expect("the socket's file").permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{program:?}");
        let list = server.connect().words("CLIENT LIST").text();
        assert!(list.contains(&format!("{socket}:0")), "{program:?}: {list}");
        assert_eq!(list.contains("[::1]:"), six, "{program:?}: {list}");
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}
