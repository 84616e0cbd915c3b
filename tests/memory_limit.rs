//! `maxmemory`: which keys go, which never do, how exactly the limit is kept, and that it is kept
//! while nobody writes. Stories that hold for redis-server as well are told to it, too.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::client::{Client, Value, argv};
use support::server::{Program, Server};

const BOTH: [Program; 2] = [Program::Redis, Program::Redstart];

/// How long to wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);
const MIB: i64 = 1 << 20;
const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";

fn start(program: Program, directives: &[&str]) -> Server {
    let common = ["--appendonly", "no", "--save", "", "--enable-debug-command", "yes"];
    Server::start_with(program, &[&common, directives].concat())
}

fn info(client: &mut Client, field: &str) -> i64 {
    let text = client.words("INFO everything").text();
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {field}")).trim().parse().expect("a number")
}

/// The limit becomes what is used now and so many bytes more.
fn limit_to_used_and(client: &mut Client, more: i64) -> i64 {
    let limit = info(client, "used_memory") + more;
    assert_eq!(client.words(&format!("CONFIG SET maxmemory {limit}")).text(), "OK");
    limit
}

fn sets(count: usize, size: usize, name: &str, more: &str) -> Vec<Vec<Vec<u8>>> {
    let value = vec![b'v'; size];
    let set = |number: usize| {
        let mut words = argv(&format!("SET {name}{number} value {more}"));
        words[2].clone_from(&value);
        words
    };
    (0..count).map(set).collect()
}

fn count_of(replies: &[Value], text: &str) -> usize {
    replies.iter().filter(|reply| reply.text() == text).count()
}

const VOLATILE: [&str; 4] = ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"];

/// Buffers for a client's pipelines once stayed for the next ones: a quarter of a megabyte beside a stream of 26.
#[test]
fn what_pipelines_took_is_given_back() {
    let server = start(Program::Redstart, &[]);
    let (mut client, mut watcher) = (server.connect(), server.connect());
    let before = info(&mut watcher, "used_memory");
    let pipeline: Vec<_> =
        (0..1000).map(|_| argv("XADD stream * field value other value")).collect();
    client.pipeline(&pipeline);
    let stream = watcher.words("MEMORY USAGE stream").integer().expect("a number");
    let taken = |watcher: &mut Client| info(watcher, "used_memory") - before - stream;
    assert!(taken(&mut watcher) > 50_000, "{} bytes beside the stream", taken(&mut watcher));
    // What stays is the key's place, and the buffers that the next second's INFO makes again.
    let deadline = Instant::now() + PATIENCE;
    while taken(&mut watcher) > 40_000 {
        assert!(Instant::now() < deadline, "{} bytes beside the stream", taken(&mut watcher));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Candidates are kept between rounds: meanwhile each may have lost its expiry, or be another value.
#[test]
fn keys_that_do_not_expire_stay_under_volatile_policies() {
    for policy in VOLATILE {
        let server = start(Program::Redstart, &["--maxmemory-policy", policy]);
        let mut client = server.connect();
        client.pipeline(&sets(400, 2000, "a", "EX 1000"));
        limit_to_used_and(&mut client, 100_000);
        for batch in sets(1000, 2000, "b", "EX 1000").chunks(10) {
            client.pipeline(batch);
        }
        assert!(info(&mut client, "evicted_keys") > 0, "{policy}: candidates have been gathered");
        client.words("CONFIG SET maxmemory 0");
        let keys = client.words("KEYS *").elements();
        for (number, key) in keys.iter().enumerate() {
            let words = if number % 2 == 0 { "PERSIST key" } else { "SET key another" };
            let mut words = argv(words);
            words[1] = key.bytes().expect("a name").to_vec();
            client.call(&words);
        }
        limit_to_used_and(&mut client, -200_000);
        assert_eq!(client.words("SET one more").text(), OOM, "{policy}");
        assert_eq!(client.words("DBSIZE").integer(), Some(keys.len() as i64), "{policy}");
    }
}

#[test]
fn candidates_of_another_policy_are_forgotten() {
    let server = start(Program::Redstart, &["--maxmemory-policy", "allkeys-lru"]);
    let mut client = server.connect();
    client.pipeline(&sets(400, 2000, "a", ""));
    limit_to_used_and(&mut client, 100_000);
    client.pipeline(&sets(200, 2000, "b", ""));
    assert!(info(&mut client, "evicted_keys") > 0, "candidates have been gathered");
    client.words("CONFIG SET maxmemory 0 maxmemory-policy volatile-lru");
    let before = client.words("DBSIZE").integer();
    limit_to_used_and(&mut client, -200_000);
    assert_eq!(client.words("SET one more").text(), OOM);
    assert_eq!(client.words("DBSIZE").integer(), before);
}

/// A candidate that was read since it was chosen is no longer the best.
#[test]
fn a_candidate_that_is_used_again_stays() {
    let directives = ["--maxmemory-policy", "allkeys-lfu", "--maxmemory-samples", "2000"];
    let server = start(Program::Redstart, &directives);
    let mut client = server.connect();
    client.pipeline(&sets(20, 100_000, "key", ""));
    limit_to_used_and(&mut client, -50_000);
    client.words("PING");
    let start = Instant::now();
    while client.words("DBSIZE").integer() == Some(20) {
        assert!(start.elapsed() < PATIENCE, "a key goes, and others are candidates now");
    }
    client.words("CONFIG SET maxmemory 0");
    let mut keys: Vec<String> =
        client.words("KEYS *").elements().iter().map(|key| key.text()).collect();
    keys.sort();
    let (unused, used) = keys.split_at(5);
    for key in used {
        client.pipeline(&vec![argv(&format!("STRLEN {key}")); 300]);
    }
    let (evicted, mut gone) = (info(&mut client, "evicted_keys"), 0);
    limit_to_used_and(&mut client, -350_000);
    while gone < 2 {
        assert!(start.elapsed() < PATIENCE, "others go");
        gone = info(&mut client, "evicted_keys") - evicted;
    }
    for key in used {
        assert_eq!(client.words(&format!("EXISTS {key}")).integer(), Some(1), "{key} {unused:?}");
    }
}

/// A random search misses one key in hundreds of thousands; being refused for that would be wrong.
#[test]
fn the_only_key_that_expires_is_found() {
    let server = start(Program::Redstart, &["--maxmemory-policy", "volatile-ttl"]);
    let mut client = server.connect();
    client.words("DEBUG POPULATE 2000000 key 8");
    for _ in 0..8 {
        client.words("CONFIG SET maxmemory 0");
        client.call(&[&b"SET"[..], b"volatile", &vec![b'v'; 4 * MIB as usize], b"EX", b"1000"]);
        limit_to_used_and(&mut client, -2 * MIB);
        assert_eq!(client.words("SET one more").text(), "OK");
        assert_eq!(client.words("EXISTS volatile").integer(), Some(0));
    }
}

#[test]
fn big_values_in_one_tick_are_counted_one_by_one() {
    for program in BOTH {
        let server = start(program, &[]);
        let mut client = server.connect();
        let limit = limit_to_used_and(&mut client, 50 * MIB);
        let replies = client.pipeline(&sets(100, MIB as usize, "big", ""));
        let stored = count_of(&replies, "OK");
        assert_eq!(stored + count_of(&replies, OOM), 100, "{program:?}");
        assert!(stored >= 30, "{program:?}: only {stored} stored");
        let used = info(&mut client, "used_memory");
        assert!(used <= limit + 5 * MIB / 4, "{program:?}: {} over", used - limit);
    }
}

/// Here a thousand keys have to go for each that comes: more than fits into a slice.
#[test]
fn each_command_pays_for_the_one_before() {
    for lazy in ["no", "yes"] {
        let server = start(
            Program::Redstart,
            &["--maxmemory-policy", "allkeys-random", "--lazyfree-lazy-eviction", lazy],
        );
        let mut client = server.connect();
        client.words("DEBUG POPULATE 600000 key 150");
        let limit = limit_to_used_and(&mut client, 0);
        let replies = client.pipeline(&sets(40, MIB as usize, "big", ""));
        assert_eq!(count_of(&replies, "OK"), 40);
        let used = info(&mut client, "used_memory");
        assert!(used <= limit + 5 * MIB / 4, "lazy {lazy}: {} over", used - limit);
        assert!(info(&mut client, "evicted_keys") > 10_000);
    }
}

#[test]
fn a_flush_makes_room_at_once() {
    for flush in ["FLUSHALL SYNC", "FLUSHALL ASYNC", "FLUSHDB ASYNC"] {
        let server = start(Program::Redstart, &[]);
        let mut client = server.connect();
        client.words("DEBUG POPULATE 300000 key 1000");
        limit_to_used_and(&mut client, -MIB);
        assert_eq!(client.words("SET a 1").text(), OOM, "{flush}");
        let mut commands = vec![argv("SET a 1"), argv(flush)];
        commands.extend(sets(20, 10_000, "key", ""));
        let replies = client.pipeline(&commands);
        assert_eq!(replies[0].text(), OOM, "{flush}");
        assert_eq!(count_of(&replies, "OK"), 21, "{flush}: {replies:?}");
    }
}

/// The snapshot still needs the keys: that's no reason to refuse others.
#[test]
fn a_flush_makes_room_beside_a_snapshot() {
    let server = start(Program::Redstart, &["--rdb-key-save-delay", "1000000"]);
    let mut client = server.connect();
    client.words("DEBUG POPULATE 300000 key 1000");
    limit_to_used_and(&mut client, -60 * MIB);
    assert_eq!(client.words("SET a 1").text(), OOM);
    assert_eq!(client.words("BGSAVE").text(), "Background saving started");
    assert_eq!(client.words("FLUSHDB").text(), "OK");
    assert_eq!(client.words("SET a 1").text(), "OK");
    assert_eq!(info(&mut client, "rdb_bgsave_in_progress"), 1);
}

#[test]
fn nothing_is_queued_when_memory_is_full() {
    for program in BOTH {
        let server = start(program, &[]);
        let (mut client, mut other) = (server.connect(), server.connect());
        let refused = |client: &mut Client, line: &str| {
            assert_eq!(client.words(line).text(), OOM, "{program:?}: {line}");
        };
        client.words("MULTI");
        assert_eq!(client.words("GET a").text(), "QUEUED");
        other.words("CONFIG SET maxmemory 1");
        for line in ["GET a", "PING", "WATCH a", "MULTI", "UNWATCH", "CLIENT ID"] {
            refused(&mut client, line);
        }
        assert_eq!(
            client.words("EXEC").text(),
            "EXECABORT Transaction discarded because of previous errors."
        );
        // Outside of a transaction these run, full or not.
        assert_eq!(client.words("PING").text(), "PONG");
        for (end, answer) in [("DISCARD", "OK"), ("RESET", "RESET")] {
            client.words("MULTI");
            refused(&mut client, "PING");
            assert_eq!(client.words(end).text(), answer);
        }
        client.words("MULTI");
        assert_eq!(client.words("EXEC").elements(), []);
        client.words("MULTI");
        assert_eq!(client.words("QUIT").text(), "OK");
    }
}

/// A listener sends nothing, and the one that lowers the limit nothing more.
#[test]
fn a_lowered_limit_is_kept_though_nothing_comes() {
    for program in BOTH {
        let directives = ["--notify-keyspace-events", "Ee", "--maxmemory-policy", "allkeys-lru"];
        let server = start(program, &directives);
        let (mut client, mut listener) = (server.connect(), server.connect());
        client.words("DEBUG POPULATE 100000 key 100");
        listener.words("SUBSCRIBE __keyevent@0__:evicted");
        assert_eq!(info(&mut client, "total_eviction_exceeded_time"), 0, "{program:?}");
        let limit = limit_to_used_and(&mut client, -6 * MIB);
        let heard = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&heard);
        // To the end: what isn't read takes memory, for which more keys go.
        let thread = std::thread::spawn(move || {
            while listener.try_read().is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let start = Instant::now();
        while heard.load(Ordering::Relaxed) < 20_000 {
            assert!(start.elapsed() < PATIENCE, "{program:?}: {heard:?} keys went");
            std::thread::yield_now();
        }
        // INFO's own reply counts as well.
        while info(&mut client, "used_memory") > limit + 100_000 {
            let over = info(&mut client, "used_memory") - limit;
            assert!(start.elapsed() < PATIENCE, "{program:?}: still {over} over");
        }
        assert!(info(&mut client, "evicted_keys") >= 20_000);
        assert!(info(&mut client, "total_eviction_exceeded_time") > 0, "{program:?}");
        assert_eq!(info(&mut client, "current_eviction_exceeded_time"), 0, "{program:?}");
        client.words("CONFIG RESETSTAT");
        assert_eq!(info(&mut client, "total_eviction_exceeded_time"), 0, "{program:?}");
        drop(server);
        thread.join().expect("the listener ends with the server");
    }
}

#[test]
fn info_says_for_how_long_memory_has_been_full() {
    for program in BOTH {
        let server = start(program, &[]);
        let mut client = server.connect();
        client.words("CONFIG SET maxmemory 1");
        let start = Instant::now();
        while info(&mut client, "current_eviction_exceeded_time") < 20 {
            assert!(start.elapsed() < PATIENCE, "{program:?}");
        }
        assert!(info(&mut client, "total_eviction_exceeded_time") >= 20, "{program:?}");
        client.words("CONFIG SET maxmemory 0");
        client.words("CONFIG SET maxmemory 1gb");
        client.words("PING");
        assert_eq!(info(&mut client, "current_eviction_exceeded_time"), 0, "{program:?}");
    }
}

#[test]
fn nothing_is_evicted_or_refused_during_a_pause() {
    for program in BOTH {
        let server = start(program, &["--maxmemory-policy", "allkeys-lru"]);
        let (mut client, mut other) = (server.connect(), server.connect());
        client.words("DEBUG POPULATE 1000 key 1000");
        client.words("CLIENT PAUSE 100000 WRITE");
        limit_to_used_and(&mut client, -200_000);
        for _ in 0..100 {
            assert_eq!(client.words("DBSIZE").integer(), Some(1000), "{program:?}");
        }
        client.words("MULTI");
        assert_eq!(client.words("PING").text(), "QUEUED", "{program:?}");
        assert_eq!(info(&mut other, "evicted_keys"), 0, "{program:?}");
        other.words("CLIENT UNPAUSE");
        let start = Instant::now();
        while info(&mut other, "evicted_keys") == 0 {
            assert!(start.elapsed() < PATIENCE, "{program:?}: nothing is evicted");
        }
    }
}

/// A client that holds much goes first, and only what must; those that said NO-EVICT stay.
#[test]
fn clients_that_hold_most_are_closed_under_maxmemory_clients() {
    for program in BOTH {
        let server = start(program, &[]);
        let mut client = server.connect();
        client.words("CLIENT NO-EVICT ON");
        let half_sent = |bytes: usize, name: &str, stays: bool| {
            let mut one = server.connect();
            one.words(&format!("CLIENT SETNAME {name}"));
            one.words(&format!("CLIENT NO-EVICT {}", if stays { "ON" } else { "OFF" }));
            let mut request = format!("*2\r\n$4\r\nECHO\r\n${}\r\n", bytes + 100).into_bytes();
            request.resize(bytes, b'v');
            one.try_send_raw(&request).expect("sent");
            one
        };
        let listed = |client: &mut Client| {
            let text = client.words("CLIENT LIST").text();
            let names = ["small", "middle", "big", "kept"];
            let is = |name: &&str| text.contains(&format!(" name={name} "));
            names.into_iter().filter(is).collect::<Vec<_>>()
        };
        let arrived = |client: &mut Client| {
            let text = client.words("CLIENT LIST").text();
            let sizes = text.split(' ').filter_map(|word| word.strip_prefix("qbuf="));
            sizes.filter_map(|size| size.parse::<usize>().ok()).sum::<usize>() > 8_600_000
        };
        let _others = [
            half_sent(700_000, "small", false),
            half_sent(1_500_000, "middle", false),
            half_sent(3_200_000, "big", false),
            half_sent(3_300_000, "kept", true),
        ];
        let until = Instant::now() + PATIENCE;
        while !arrived(&mut client) {
            assert!(Instant::now() < until, "{program:?}: the requests arrive");
        }
        for (limit, left) in
            [("7000000", &["small", "middle", "kept"][..]), ("4900000", &["small", "kept"])]
        {
            client.words(&format!("CONFIG SET maxmemory-clients {limit}"));
            while listed(&mut client) != left {
                assert!(
                    Instant::now() < until,
                    "{program:?} at {limit}: {:?}",
                    listed(&mut client)
                );
            }
        }
        assert_eq!(info(&mut client, "evicted_clients"), 2, "{program:?}");
    }
}

/// What a slow replica is still to get takes memory that no key can make up for: its removal would be
/// one more thing to tell. All of that memory is left out of the count, also what a block of the stream
/// has beside its bytes, so that no key goes for it.
#[test]
fn a_replica_that_reads_nothing_has_no_key_evicted() {
    for program in BOTH {
        let limits = ["--client-output-buffer-limit", "replica 100mb 100mb 300"];
        let more = ["--maxmemory-policy", "allkeys-random", "--repl-backlog-size", "16kb"];
        let server = start(program, &[&limits[..], &more].concat());
        let replica = start(program, &[]);
        let (mut client, mut asker) = (server.connect(), server.connect());
        for key in 0..100 {
            client.words(&format!("SETRANGE key:{key} 100000 end"));
        }
        replica.connect().words(&format!("REPLICAOF 127.0.0.1 {}", server.port()));
        let until = Instant::now() + PATIENCE;
        while !client.words("INFO replication").text().contains("state=online") {
            assert!(Instant::now() < until, "{program:?}: the replica is there");
        }
        replica.halt();
        let counted = |client: &mut Client| {
            info(client, "used_memory") - info(client, "mem_not_counted_for_evict")
        };
        let limit = counted(&mut asker) + MIB;
        client.words(&format!("CONFIG SET maxmemory {limit}"));
        let request = argv(&format!("SETRANGE key:0 0 {}", "A".repeat(1000)));
        for _ in 0..40 {
            client.pipeline(&vec![request.clone(); 250]);
        }
        assert_eq!(client.words("DBSIZE"), Value::Integer(100), "{program:?}");
        assert!(info(&mut asker, "mem_clients_slaves") > 3_000_000, "{program:?}");
        assert!(counted(&mut asker) <= limit, "{program:?}");
        client.words("CLIENT KILL TYPE replica");
        assert_eq!(info(&mut asker, "mem_clients_slaves"), 0, "{program:?}");
        assert_eq!(client.words("DBSIZE"), Value::Integer(100), "{program:?}");
        replica.proceed();
    }
}

/// The snapshot on its way to a replica that doesn't take it, 8 MiB of which are kept, is no reason either.
#[test]
fn a_full_sync_that_nobody_takes_has_no_key_evicted() {
    let more = ["--maxmemory-policy", "allkeys-random", "--repl-diskless-sync-delay", "0"];
    let server = start(Program::Redstart, &more);
    let (mut client, mut link) = (server.connect(), server.connect());
    client.words("DEBUG POPULATE 40000 key 1000");
    client.words("CONFIG SET rdbcompression no");
    // A walk's own buffers take some ten.
    limit_to_used_and(&mut client, 14 * MIB);
    link.words("REPLCONF capa eof");
    link.try_send_raw(b"PSYNC ? -1\r\n").expect("sent");
    let until = Instant::now() + PATIENCE;
    while !server.log().contains("Background saving terminated with success") {
        client.words("SET key:1 value");
        assert!(Instant::now() < until, "the snapshot is made");
    }
    assert!(info(&mut client, "mem_not_counted_for_evict") > 4 * MIB);
    client.words("SET key:1 value");
    assert_eq!(client.words("DBSIZE"), Value::Integer(40_000));
}

/// Each key that went was told to ten clients, which took more memory than it gave: none was left in the end.
#[test]
fn followers_of_keys_do_not_have_the_database_drained() {
    for program in BOTH {
        let more = ["--maxmemory-policy", "allkeys-lru", "--maxmemory-eviction-tenacity", "100"];
        let server = start(program, &more);
        let mut client = server.connect();
        let mut followers: Vec<Client> = (0..10).map(|_| server.connect()).collect();
        for follower in &mut followers {
            follower.words("HELLO 3");
            follower.words("CLIENT TRACKING ON");
        }
        for number in 0..300 {
            let key = format!("{number}{}", "x".repeat(1000));
            client.words(&format!("SET {key} x"));
            for follower in &mut followers {
                follower.words(&format!("GET {key}"));
            }
        }
        limit_to_used_and(&mut client, -40_000);
        // Each of these looks at the limit, too.
        let asked = client.pipeline(&vec![argv("DBSIZE"); 5]);
        let Some(Value::Integer(left)) = asked.last() else { panic!("a number") };
        assert!((100..300).contains(left), "{program:?}: {left} keys are left");
    }
}

/// The command behind CONFIG SET, and the tick's end, evicted all that was too much at once: with
/// gigabytes nobody was served for seconds.
#[test]
fn a_lowered_limit_is_reached_in_slices() {
    let server = start(Program::Redstart, &["--maxmemory-policy", "allkeys-lru"]);
    let mut client = server.connect();
    client.words("DEBUG POPULATE 300000 key 100");
    let limit = info(&mut client, "used_memory") - 30 * MIB;
    let request = [
        argv(&format!("CONFIG SET maxmemory {limit}")),
        argv("SET key value"),
        argv("DBSIZE"),
        argv("GET key"),
        argv("DBSIZE"),
    ];
    for reply in client.pipeline(&request) {
        if let Value::Integer(keys) = reply {
            assert!(keys > 200_000, "only {keys} are left at once");
        }
    }
    let until = Instant::now() + PATIENCE;
    while info(&mut client, "used_memory") > limit + 100_000 {
        assert!(Instant::now() < until, "the limit is reached");
    }
}
