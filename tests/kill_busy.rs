//! The kill loop while the server is busy with its files: SIGKILL in the midst of a snapshot or a
//! rewrite, and again in the midst of the starts that follow, over all types of data.
//!
//! Writers send numbered steps, each a few random commands that depend on nothing but the writer and
//! the number; a marker says which step was the last. So what is recovered must equal what a second
//! server has, which keeps nothing and was sent the steps up to the marker. A process that is killed
//! loses nothing that it acknowledged under any policy: the system has it.
//!
//! Files must not pile up either: after a start there are no temporary ones, and beside those that
//! the manifest names at most the ones that the next rewrite will overwrite.
//!
//! `KILL_ROUNDS` says how many rounds each policy gets, `KILL_SEED` replays the choices (not the
//! timing).

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::client::{Client, argv};
use support::contents;
use support::random::{Random, from_environment, seed_from_environment};
use support::server::{Program, Server};

const WRITERS: usize = 4;
/// Keys that nobody changes, so that walks and starts take a while.
const BALLAST: usize = 30_000;
/// A time to expire at that no test reaches, in milliseconds since the epoch.
const FAR: u64 = 4_000_000_000_000;
const PATIENCE: Duration = Duration::from_secs(30);

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// What a writer's keys are called, by type. Some names hold one type now and another later.
const KINDS: [&str; 6] = ["string", "list", "hash", "set", "zset", "any"];

/// One random command.
fn command(random: &mut Random, writer: usize, step: u64) -> String {
    let field = random.below(60);
    let at = FAR + random.below(1000) as u64;
    let mut key = |kind: &str| format!("w{writer}:{kind}:{}", random.below(3));
    let (string, list, hash) = (key("string"), key("list"), key("hash"));
    let (set, zset, any) = (key("set"), key("zset"), key("any"));
    match random.below(26) {
        0 => format!("SET {string} {step}"),
        1 => format!("APPEND {string} {step}"),
        2 => format!("SET {string} {step} PXAT {at}"),
        3 => format!("SETRANGE {string} {field} {step}"),
        4..=5 => format!("RPUSH {list} a{step} b{step} c{step}"),
        6 => format!("LPUSH {list} {step}"),
        7 => format!("LPOP {list} 2"),
        8 => format!("LTRIM {list} 0 200"),
        9 => format!("LMOVE {list} {any} LEFT RIGHT"),
        10..=11 => format!("HSET {hash} f{field} {step} g{field} {step}"),
        12 => format!("HPEXPIREAT {hash} {at} FIELDS 2 f{field} g{}", random.below(60)),
        13 => format!("HPERSIST {hash} FIELDS 1 f{field}"),
        14 => format!("HDEL {hash} f{field} g{field}"),
        15..=16 => format!("SADD {set} {field} m{step}"),
        17 => format!("SREM {set} {field}"),
        18 => format!("SUNIONSTORE {any} {set} {any}"),
        19..=20 => format!("ZADD {zset} {step} m{field} {field} n{field}"),
        21 => format!("ZINCRBY {zset} 1.5 m{field}"),
        22 => format!("ZPOPMIN {zset} 2"),
        23 => format!("PEXPIREAT {hash} {at}"),
        24 => format!("COPY {zset} {any} REPLACE"),
        _ => format!("DEL {any}"),
    }
}

fn marker(writer: usize) -> String {
    format!("w{writer}:marker")
}

/// The commands of a step. Every other writer sends transactions; of the rest, a step may be there
/// without its marker.
fn commands(writer: usize, step: u64) -> Vec<Vec<Vec<u8>>> {
    let mut random = Random::new((writer as u64) << 48 | step);
    let mark = format!("SET {} {step}", marker(writer));
    let mut lines = vec![command(&mut random, writer, step)];
    if writer.is_multiple_of(2) {
        lines.insert(0, "MULTI".into());
        for _ in 0..random.below(3) {
            lines.push(command(&mut random, writer, step));
        }
        lines.extend([mark, "EXEC".into()]);
    } else {
        lines.push(mark);
    }
    lines.iter().map(|line| argv(line)).collect()
}

/// All that a writer's keys hold, with the times at which it expires.
fn held_by(client: &mut Client, writer: usize) -> Vec<String> {
    let keys = KINDS
        .iter()
        .flat_map(|kind| (0..3).map(move |number| format!("w{writer}:{kind}:{number}")));
    keys.filter_map(|key| contents::of_key(client, &key)).collect()
}

/// What a writer did in a round: the last step sent, and the last that was acknowledged.
struct Told {
    issued: u64,
    acknowledged: u64,
}

fn write(port: u16, writer: usize, first: u64, depth: u64, stop: &AtomicBool) -> Told {
    let mut told = Told { issued: first, acknowledged: first };
    let Ok(mut client) = Client::try_connect(port) else { return told };
    while !stop.load(Ordering::Relaxed) {
        let last = told.issued + depth;
        let batch: Vec<_> =
            (told.issued + 1..=last).flat_map(|step| commands(writer, step)).collect();
        told.issued = last;
        let Ok(replies) = client.try_pipeline(&batch) else { break };
        let refused =
            replies.iter().find(|reply| reply.is_error() && !reply.text().starts_with("WRONGTYPE"));
        assert!(refused.is_none(), "writer {writer} got {refused:?}");
        told.acknowledged = last;
    }
    told
}

/// The server that keeps nothing, and how far each writer's steps have been told to it.
struct Oracle {
    _server: Server,
    client: Client,
    steps: [u64; WRITERS],
}

impl Oracle {
    fn new() -> Self {
        let server = Server::start(Program::Redstart);
        let client = server.connect();
        Self { _server: server, client, steps: [0; WRITERS] }
    }

    /// Compares what a writer's keys hold, and says which step was the last.
    fn judge(&mut self, client: &mut Client, writer: usize) -> u64 {
        let marked = client.words(&format!("GET {}", marker(writer)));
        let last: u64 = marked.bytes().map_or(0, |_| marked.text().parse().expect("a number"));
        assert!(last >= self.steps[writer], "writer {writer} was at {}", self.steps[writer]);
        for step in self.steps[writer] + 1..=last {
            self.client.pipeline(&commands(writer, step));
        }
        self.steps[writer] = last;
        let (held, expected) = (held_by(client, writer), held_by(&mut self.client, writer));
        if held == expected {
            return last;
        }
        assert!(writer % 2 == 1, "writer {writer}, step {last}: {held:#?}\nexpected {expected:#?}");
        // The next step may be there, all but its marker; then that follows now.
        let mut next = commands(writer, last + 1);
        let mark = next.pop().expect("a step has its marker");
        self.client.pipeline(&next);
        let expected = held_by(&mut self.client, writer);
        assert_eq!(held, expected, "writer {writer}, behind step {last}");
        client.call(&mark);
        self.client.call(&mark);
        self.steps[writer] = last + 1;
        last + 1
    }
}

fn load_ballast(client: &mut Client) {
    let set = |number| argv(&format!("SET ballast:{number} value:{number}"));
    let all: Vec<_> = (0..BALLAST).map(set).collect();
    for batch in all.chunks(1_000) {
        client.pipeline(batch);
    }
}

fn check_ballast(client: &mut Client) {
    let get = |number| argv(&format!("GET ballast:{number}"));
    let all: Vec<_> = (0..BALLAST).map(get).collect();
    let replies = all.chunks(1_000).flat_map(|batch| client.pipeline(batch));
    let wrong =
        replies.enumerate().find(|(number, reply)| reply.text() != format!("value:{number}"));
    assert!(wrong.is_none(), "{wrong:?}");
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let name = |entry: std::io::Result<fs::DirEntry>| {
        entry.expect("an entry").file_name().to_string_lossy().into_owned()
    };
    entries.map(name).collect()
}

/// That nothing has piled up, and that the snapshot is whole.
fn check_files(dir: &Path) {
    let known = ["appendonlydir", "dump.rdb", "server-output.txt"];
    let strange: Vec<_> =
        names_in(dir).into_iter().filter(|name| !known.contains(&name.as_str())).collect();
    assert!(strange.is_empty(), "left behind: {strange:?}");
    let log_dir = dir.join("appendonlydir");
    let manifest = fs::read_to_string(log_dir.join("appendonly.aof.manifest"));
    let manifest = manifest.expect("a manifest");
    let named = |kind: &str, wanted: usize| -> u64 {
        let numbers = manifest.lines().filter(|line| line.contains(kind)).map(|line| {
            line.split(' ').nth(wanted).and_then(|word| word.parse().ok()).expect("a number")
        });
        numbers.max().expect("a file of each kind")
    };
    let next = [
        format!("appendonly.aof.{}.base.rdb", named(".base.", 3) + 1),
        format!("appendonly.aof.{}.base.aof", named(".base.", 3) + 1),
        format!("appendonly.aof.{}.incr.aof", named(".incr.", 3) + 1),
        "appendonly.aof.manifest".into(),
    ];
    for name in names_in(&log_dir) {
        let known = next.contains(&name) || manifest.contains(&format!("file {name} "));
        assert!(known, "left behind: {name}; the manifest says\n{manifest}");
    }
    let dump = dir.join("dump.rdb");
    if dump.exists() {
        let check = Command::new(env!("CARGO_BIN_EXE_redstart-check")).arg(&dump).output();
        let check = check.expect("redstart-check runs");
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    }
}

/// Whether a walk was under way at the end.
fn is_unfinished(dir: &Path) -> bool {
    let mut names = names_in(dir);
    names.extend(names_in(&dir.join("appendonlydir")));
    names.iter().any(|name| name.starts_with("temp-"))
}

/// Begins a walk, or two, and waits until one is under way or done.
fn begin_walks(client: &mut Client, random: &mut Random) {
    assert_eq!(client.words("CONFIG SET rdb-key-save-delay 8").text(), "OK");
    for line in random.pick(&[
        &["BGSAVE"][..],
        &["BGREWRITEAOF"],
        &["BGREWRITEAOF", "BGSAVE SCHEDULE"],
        &["BGSAVE", "BGREWRITEAOF"],
    ]) {
        let reply = client.words(line);
        assert!(!reply.is_error(), "{line}: {reply}");
    }
    until("a walk is under way", || {
        let info = client.words("INFO persistence").text();
        !info.contains("current_save_keys_total:0\r") || info.contains("aof_rewrites:1\r")
    });
}

/// `preamble`: whether bases are RDB.
fn kill_loop(policy: &str, preamble: &str) {
    let rounds = from_environment("KILL_ROUNDS", 6);
    let mut random = Random::new(seed_from_environment("KILL_SEED"));
    let mut directives = vec!["--appendonly", "yes", "--appendfsync", policy, "--save", ""];
    directives.extend(["--aof-use-rdb-preamble", preamble]);
    let mut server = Server::start_with(Program::Redstart, &directives);
    let mut oracle = Oracle::new();
    load_ballast(&mut server.connect());
    let (mut walks_cut, mut starts_cut) = (0, 0);
    for round in 0..rounds {
        let stop = AtomicBool::new(false);
        let depths: Vec<u64> = (0..WRITERS).map(|_| random.pick(&[1, 5, 30])).collect();
        let (port, steps) = (server.port(), oracle.steps);
        let told: Vec<Told> = thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let (first, depth, stop) = (steps[writer], depths[writer], &stop);
                    scope.spawn(move || write(port, writer, first, depth, stop))
                })
                .collect();
            let _stops = StopOnDrop(&stop);
            begin_walks(&mut server.connect(), &mut random);
            // Somewhere in the walk, or shortly behind it.
            thread::sleep(Duration::from_millis(random.below(400) as u64));
            server.kill();
            stop.store(true, Ordering::Relaxed);
            writers.into_iter().map(|writer| writer.join().expect("a writer")).collect()
        });
        walks_cut += u64::from(is_unfinished(server.dir()));
        for _ in 0..random.below(4) {
            server.restart_briefly(Duration::from_millis(random.below(150) as u64));
            starts_cut += u64::from(!server.log().contains("Ready to accept connections"));
        }
        server.restart();
        check_files(server.dir());
        let mut client = server.connect();
        for (writer, told) in told.iter().enumerate() {
            let there = oracle.judge(&mut client, writer);
            let Told { issued, acknowledged } = told;
            assert!(
                (*acknowledged..=*issued).contains(&there),
                "{policy}, round {round}: writer {writer} is at step {there}; {acknowledged} were \
                 acknowledged, {issued} sent; log:\n{}",
                server.log()
            );
        }
        check_ballast(&mut client);
    }
    assert!(walks_cut > 0 && starts_cut > 0, "nothing was cut short: {walks_cut}, {starts_cut}");
    println!(
        "{policy}: {rounds} rounds, {walks_cut} walks and {starts_cut} starts cut short, steps {:?}, \
         nothing acknowledged was lost",
        oracle.steps
    );
}

/// Ends the writers also when the test fails: the scope would wait for them.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_busy_server_is_killed_under_always() {
    kill_loop("always", "yes");
}

#[test]
fn a_busy_server_is_killed_under_everysec() {
    kill_loop("everysec", "yes");
}

#[test]
fn a_busy_server_with_bases_of_commands_is_killed_under_no() {
    kill_loop("no", "no");
}
