//! `repl-diskless-load swapdb`: a replica loads a full copy beside its data, serves those meanwhile where they
//! are of the same history, and has them still where the load fails.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::collections::{BTreeSet, VecDeque};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use support::client::{self, Client, Value};
use support::group::{assert_equal, await_that, digest, follower, info, number, start};
use support::random::{self, Random};
use support::server::{Program, Server};

const SWAPS: [&str; 2] = ["--repl-diskless-load", "swapdb"];

/// A primary, and a replica of it with a small backlog between them, both with the same data.
fn pair(program: Program, more: &[&str]) -> (Server, Server) {
    let primary = start(program, &["--repl-backlog-size", "16kb"]);
    let mut client = primary.connect();
    client.words("DEBUG POPULATE 3000 key 100");
    client.words("RPUSH list a");
    client.words("SET watched old");
    let replica = follower(Program::Redstart, &primary, &[&SWAPS, more].concat());
    assert_equal(&[&primary, &replica]);
    (primary, replica)
}

/// More is written than the backlog holds while the replica isn't there: it needs a full copy of the same
/// history.
fn need_full_copy(primary: &mut Client) {
    let filling = "x".repeat(20_000);
    let lines = ["MULTI", "CLIENT KILL TYPE replica", "SET watched new", "XADD stream 1-1 f v"];
    let mut commands: Vec<_> = lines.iter().map(|line| client::argv(line)).collect();
    for key in 0..8 {
        commands.push(client::argv(&format!("SET filling:{key} {filling}")));
    }
    commands.push(client::argv("EXEC"));
    primary.pipeline(&commands);
}

/// Waits until the replica loads a copy beside its data, slowly.
fn await_load_beside(replica: &mut Client) {
    await_that("it loads", || !info(replica, "loading_total_bytes").is_empty());
    assert_eq!(
        (info(replica, "async_loading"), info(replica, "loading")),
        ("1".into(), "0".into())
    );
}

fn load_function(client: &mut Client, answer: &str) {
    let code = format!(
        "#!lua name=l\nredis.register_function{{function_name='f',callback=function() return '{answer}' \
         end,flags={{'no-writes'}}}}"
    );
    let words = ["FUNCTION", "LOAD", "REPLACE", &code];
    assert_eq!(client.call(&words).text(), "l");
}

fn serves_meanwhile(program: Program) {
    let (primary, replica) = pair(program, &["--key-load-delay", "400"]);
    let (mut above, mut reader) = (primary.connect(), replica.connect());
    load_function(&mut above, "old");
    assert_equal(&[&primary, &replica]);
    let (mut watcher, mut waiter) = (replica.connect(), replica.connect());
    let old = digest(&mut reader);
    assert_eq!(watcher.words("WATCH watched").text(), "OK");
    waiter
        .try_send_raw(&client::encode(&client::argv("XREAD BLOCK 0 STREAMS stream 0")))
        .expect("sent");
    await_that("it waits", || number(&mut reader, "blocked_clients") == 1);
    need_full_copy(&mut above);
    load_function(&mut above, "new");
    await_load_beside(&mut reader);
    assert_eq!(reader.words("GET watched").text(), "old");
    assert_eq!(reader.words("FCALL_RO f 0").text(), "old");
    assert_eq!(digest(&mut reader), old);
    for line in ["REPLICAOF NO ONE", "CONFIG SET appendonly yes", "BGSAVE", "DEBUG RELOAD"] {
        let answer = reader.words(line).text();
        assert!(
            answer.contains("LOADING Redis is loading the dataset in memory"),
            "{line}: {answer}"
        );
    }
    assert_eq!(info(&mut reader, "async_loading"), "1", "it was loading all the while");
    assert_equal(&[&primary, &replica]);
    assert_eq!(info(&mut reader, "async_loading"), "0");
    assert_eq!(reader.words("GET watched").text(), "new");
    assert_eq!(reader.words("FCALL_RO f 0").text(), "new");
    for line in ["MULTI", "PING"] {
        watcher.words(line);
    }
    assert_eq!(watcher.words("EXEC"), Value::NullArray, "the watched key is another");
    let read = waiter.try_read().expect("an answer");
    assert!(read.elements()[0].elements()[0].text() == "stream", "{read:?}");
    // The stream goes on behind the copy.
    above.words("SET behind 1");
    assert_equal(&[&primary, &replica]);
}

#[test]
fn a_replica_of_ours_serves_what_it_has_while_it_loads() {
    serves_meanwhile(Program::Redstart);
}

#[test]
fn a_replica_of_redis_serves_what_it_has_while_it_loads() {
    serves_meanwhile(Program::Redis);
}

/// What was queued before the load began ran in it: a replica made a primary meanwhile took the copy over under
/// its own name, at its old place.
#[test]
fn a_queue_does_nothing_that_a_load_beside_the_data_forbids() {
    let (primary, replica) = pair(Program::Redstart, &["--key-load-delay", "400"]);
    let (mut above, mut reader) = (primary.connect(), replica.connect());
    let lines = ["REPLICAOF NO ONE", "REPLICAOF 127.0.0.1 1", "BGSAVE", "BGREWRITEAOF"];
    let mut queues: Vec<Client> = lines
        .iter()
        .map(|line| {
            let mut client = replica.connect();
            client.words("MULTI");
            assert_eq!(client.words(line).text(), "QUEUED");
            client
        })
        .collect();
    need_full_copy(&mut above);
    await_load_beside(&mut reader);
    for (client, line) in queues.iter_mut().zip(lines) {
        assert_eq!(
            client.words("EXEC").text(),
            "EXECABORT Transaction discarded because of: LOADING Redis is loading the dataset in memory",
            "{line}"
        );
    }
    assert_eq!(info(&mut reader, "async_loading"), "1", "it was loading all the while");
    assert_equal(&[&primary, &replica]);
    assert_eq!(info(&mut reader, "role"), "slave");
}

/// Behind a copy that can't be loaded the old data is there, and served.
#[test]
fn what_can_not_be_loaded_takes_nothing_away() {
    for more in [&[][..], &SWAPS] {
        let primary = start(Program::Redstart, &["--databases", "32"]);
        let mut above = primary.connect();
        above.words("SELECT 20");
        above.words("SET beyond 1");
        let replica = start(Program::Redstart, more);
        let mut reader = replica.connect();
        reader.words("SET own 1");
        reader.words(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
        await_that("it has failed", || replica.log().contains("a key is in database 20"));
        let kept = !more.is_empty();
        assert_eq!(reader.words("EXISTS own"), Value::Integer(i64::from(kept)));
        above.words("FLUSHALL");
        above.words("SELECT 0");
        above.words("SET within 1");
        assert_equal(&[&primary, &replica]);
    }
}

/// What is of another history is not served while the primary's is being loaded.
#[test]
fn the_data_of_another_history_is_not_served_meanwhile() {
    let primary = start(Program::Redstart, &[]);
    primary.connect().words("DEBUG POPULATE 2000");
    let more = [&SWAPS[..], &["--key-load-delay", "1000"]].concat();
    let replica = start(Program::Redstart, &more);
    let mut reader = replica.connect();
    reader.words("SET own 1");
    reader.words(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    await_that("it loads", || info(&mut reader, "loading") == "1");
    assert!(reader.words("GET own").text().starts_with("LOADING"));
    assert_equal(&[&primary, &replica]);
    assert_eq!(reader.words("EXISTS own"), Value::Integer(0));
}

/// A replica that is killed while it loads beside its data comes back with those, at their place.
#[test]
fn a_replica_killed_while_it_loads_has_its_log() {
    let more = ["--appendonly", "yes", "--key-load-delay", "1000"];
    let (primary, mut replica) = pair(Program::Redstart, &more);
    let (mut above, mut reader) = (primary.connect(), replica.connect());
    let old = digest(&mut reader);
    need_full_copy(&mut above);
    await_load_beside(&mut reader);
    replica.kill();
    drop(above);
    let (port, offset) = (primary.port(), number(&mut primary.connect(), "master_repl_offset"));
    drop(primary);
    replica.restart();
    let mut reader = replica.connect();
    assert_eq!(digest(&mut reader), old, "{port}");
    assert!(number(&mut reader, "master_repl_offset") < offset);
}

/// A snapshot that is on its way to take the data's place is told of as with upstream, which loads it from the
/// socket.
#[test]
fn a_copy_that_comes_counts_as_loading_beside() {
    let (primary, replica) = pair(Program::Redstart, &[]);
    let (mut above, mut reader) = (primary.connect(), replica.connect());
    above.words("CONFIG SET rdb-key-save-delay 3000");
    need_full_copy(&mut above);
    await_that("it comes", || info(&mut reader, "async_loading") == "1");
    assert_eq!(info(&mut reader, "loading"), "0");
    assert_eq!(info(&mut reader, "master_sync_total_bytes"), "0", "it is still coming");
    assert_eq!(reader.words("GET watched").text(), "old");
    above.words("CONFIG SET repl-diskless-sync-delay 5");
    above.words("CLIENT KILL TYPE replica");
    await_that("it is given up", || info(&mut reader, "async_loading") == "0");
    assert_eq!(reader.words("GET watched").text(), "old");
    above.words("CONFIG SET rdb-key-save-delay 0");
    assert_equal(&[&primary, &replica]);
    assert_eq!(reader.words("GET watched").text(), "new");
}

/// Between a replica and its primary: lets each connection pass as many bytes of the primary's as is next in
/// line, and all where nothing is.
struct Gate {
    port: u16,
    budgets: Arc<Mutex<VecDeque<usize>>>,
}

impl Gate {
    fn before(primary: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let budgets = Arc::<Mutex<VecDeque<usize>>>::default();
        let line = Arc::clone(&budgets);
        thread::spawn(move || {
            for below in listener.incoming() {
                let (Ok(below), Ok(above)) = (below, TcpStream::connect(("127.0.0.1", primary)))
                else {
                    return;
                };
                let budget = line.lock().expect("nobody panicked").pop_front();
                let ends = [&below, &above].map(|end| end.try_clone().expect("a second handle"));
                thread::spawn(move || pass(&below, &above, usize::MAX));
                let [below, above] = ends;
                thread::spawn(move || pass(&above, &below, budget.unwrap_or(usize::MAX)));
            }
        });
        Self { port, budgets }
    }

    fn set(&self, budgets: VecDeque<usize>) {
        *self.budgets.lock().expect("nobody panicked") = budgets;
    }
}

/// Passes so many bytes, and ends the connection.
fn pass(mut from: &TcpStream, mut to: &TcpStream, mut budget: usize) {
    let mut buffer = [0; 4096];
    while budget > 0 {
        let most = buffer.len().min(budget);
        match from.read(&mut buffer[..most]) {
            Ok(read) if read > 0 && to.write_all(&buffer[..read]).is_ok() => budget -= read,
            _ => break,
        }
    }
    // They may have ended already.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Keys of each generation, in each of two databases.
const KEYS: usize = 100;

/// What makes the next generation of a primary's data, as one unit; its replicas need a full copy of it.
fn generation(number: usize, random: &mut Random) -> Vec<Vec<Vec<u8>>> {
    let mut commands: Vec<_> =
        ["MULTI", "CLIENT KILL TYPE replica"].iter().map(|line| client::argv(line)).collect();
    let code = format!(
        "#!lua name=l\nredis.register_function{{function_name='f',callback=function() return '{number}:' \
         end,flags={{'no-writes'}}}}"
    );
    commands
        .push(["FUNCTION", "LOAD", "REPLACE", &code].map(|word| word.as_bytes().to_vec()).into());
    for db in 0..2 {
        commands.push(client::argv(&format!("SELECT {db}")));
        for key in 0..KEYS {
            let filling = "x".repeat(random.below(1000));
            commands.push(client::argv(&format!("SET k:{key} {number}:{filling}")));
        }
    }
    commands.push(client::argv("EXEC"));
    commands
}

/// The generation that a server shows in one look at both databases and the functions.
fn look(client: &mut Client) -> usize {
    let keys: Vec<String> = (0..KEYS).map(|key| format!("k:{key}")).collect();
    let keys = format!("MGET {}", keys.join(" "));
    let lines = ["MULTI", "SELECT 0", &keys, "SELECT 1", &keys, "FCALL_RO f 0", "EXEC"];
    let answers = client.pipeline(&lines.map(client::argv));
    let answers = answers[6].elements();
    assert_eq!(answers.len(), 5, "{answers:?}");
    let mut seen = BTreeSet::new();
    for answer in [answers[1].elements(), answers[3].elements(), vec![answers[4].clone()]].concat()
    {
        let text = answer.text();
        let (number, _) =
            text.split_once(':').unwrap_or_else(|| panic!("a key is missing: {text}"));
        seen.insert(number.parse().unwrap_or_else(|_| panic!("{text}")));
    }
    assert_eq!(seen.len(), 1, "a mix of {seen:?}");
    seen.pop_first().expect("it has one")
}

/// Full copies that break off at random bytes, and readers all the while: they see the old data or the new,
/// whole. `SWAP_SEED` repeats a run (as far as time allows), `SWAP_ROUNDS` makes it longer.
fn breaks_show_nothing(program: Program) {
    let mut random = Random::new(random::seed_from_environment("SWAP_SEED"));
    let rounds = random::from_environment("SWAP_ROUNDS", 3) as usize;
    let primary = start(program, &["--repl-backlog-size", "16kb", "--rdbcompression", "no"]);
    let mut above = primary.connect();
    above.pipeline(&generation(0, &mut random));
    let gate = Gate::before(primary.port());
    let delay = random.below(300).to_string();
    let replica = start(Program::Redstart, &[&SWAPS[..], &["--key-load-delay", &delay]].concat());
    let mut reader = replica.connect();
    reader.words(&format!("REPLICAOF 127.0.0.1 {}", gate.port));
    assert_equal(&[&primary, &replica]);
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (stop, mut client) = (Arc::clone(&stop), replica.connect());
            thread::spawn(move || {
                let (mut looks, mut last) = (0, 0);
                while !stop.load(Ordering::Relaxed) {
                    let seen = look(&mut client);
                    assert!(seen >= last, "{seen} behind {last}");
                    (looks, last) = (looks + 1, seen);
                }
                looks
            })
        })
        .collect();
    for number in 1..=rounds {
        let breaks = 1 + random.below(3);
        // The handshake and the snapshot have about so many bytes.
        gate.set((0..breaks).map(|_| random.below(120_000)).collect());
        above.pipeline(&generation(number, &mut random));
        let alive = || readers.iter().all(|reader| !reader.is_finished());
        await_that("the next is there", || !alive() || look(&mut reader) == number);
        gate.set(VecDeque::new());
        assert_equal(&[&primary, &replica]);
    }
    stop.store(true, Ordering::Relaxed);
    let looks: usize =
        readers.into_iter().map(|reader| reader.join().expect("it saw all whole")).sum();
    let syncs = number(&mut above, "sync_full") - 1;
    println!("{looks} looks, {syncs} full syncs for {rounds} generations");
    assert!(looks > 100 && syncs > rounds as i64, "nothing was tested");
}

#[test]
fn copies_of_ours_that_break_off_show_nothing() {
    breaks_show_nothing(Program::Redstart);
}

#[test]
fn copies_of_redis_that_break_off_show_nothing() {
    breaks_show_nothing(Program::Redis);
}
