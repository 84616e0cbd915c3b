//! `redstart-check`: beside the tools that it stands in for, on the same damage; and on logs with
//! frames, which only it knows.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use redstart::persist::aof_encode::frame_checksum;
use redstart::persist::manifest::{Kind, Manifest, Part};
use support::client::encode;
use support::server::{Program, Server};
use tempfile::TempDir;

const LOG: &[&str] = &["--appendonly", "yes", "--appendfsync", "always", "--save", ""];

fn commands(lines: &[&str]) -> Vec<u8> {
    let words = |line: &&str| encode(&line.split(' ').collect::<Vec<_>>());
    lines.iter().flat_map(words).collect()
}

/// What a tool said, its exit code last.
fn run(program: &Path, dir: &Path, arguments: &[&str], answer: &str) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the tool starts");
    // A tool that asks nothing may have ended.
    let _ = child.stdin.take().expect("a pipe").write_all(answer.as_bytes());
    let output = child.wait_with_output().expect("the tool ends");
    let said = String::from_utf8_lossy(&output.stdout);
    format!("{said}exit {}\n", output.status.code().expect("a code"))
}

fn own() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_redstart-check"))
}

/// The tool under another name.
fn linked(dir: &Path, name: &str) -> PathBuf {
    let link = dir.join(name);
    if !link.exists() {
        std::os::unix::fs::symlink(own(), &link).expect("a link");
    }
    link
}

/// Everything in a directory, by name.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                left.push(path);
            } else {
                let bytes = fs::read(&path).expect("a file");
                found.push((path.strip_prefix(dir).expect("a path in it").to_owned(), bytes));
            }
        }
    }
    found.sort();
    found
}

/// Files on which both tools are tried, made anew for each.
fn damaged_files() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let good = commands(&["SET foo hello", "SET bar world"]);
    let put = |name: &str, parts: &[&[u8]]| {
        fs::write(dir.path().join(name), parts.concat()).expect("a file");
    };
    put("good.aof", &[&good]);
    put("empty.aof", &[]);
    put("bad.aof", &[&good, b"!!!", &good]);
    put("word.aof", &[&good, b"*3\r\n$3\r\nSET\r\n+3\r\nfoo\r\n"]);
    put("short.aof", &[&good, &good[..20]]);
    put("shorter.aof", &[&good, b"*"]);
    put("multi.aof", &[&good, &commands(&["MULTI", "SET lost 1"])]);
    put("exec.aof", &[&good, &commands(&["EXEC"]), &good]);
    put("times.aof", &[b"#TS:100\r\n", &good, b"#TS:200\r\n", &good]);
    static RDB: OnceLock<Vec<u8>> = OnceLock::new();
    let rdb = RDB.get_or_init(|| {
        let redis = Server::start_with(Program::Redis, &["--appendonly", "no", "--save", ""]);
        redis.connect().words("SET key value EX 1000");
        redis.connect().words("SAVE");
        fs::read(redis.dir().join("dump.rdb")).expect("a snapshot")
    });
    let mut flipped = rdb.clone();
    *flipped.last_mut().expect("a checksum") ^= 1;
    put("good.rdb", &[rdb]);
    put("flipped.rdb", &[&flipped]);
    put("short.rdb", &[&rdb[..rdb.len() - 12]]);
    put("empty.rdb", &[]);
    put("future.rdb", &[b"REDIS9999", &rdb[9..]]);
    put("preamble.aof", &[rdb, &good]);
    put("preamble-short.aof", &[rdb, &good[..20]]);
    put("preamble-flipped.aof", &[&flipped, &good]);
    let manifest = |name: &str, lines: &[&str]| {
        put(&format!("{name}.manifest"), &[lines.join("\n").as_bytes(), b"\n"]);
    };
    let base = "file good.rdb seq 1 type b";
    manifest("sound", &[base, "file good.aof seq 1 type i", "file empty.aof seq 2 type i"]);
    manifest("torn", &[base, "file good.aof seq 1 type i", "file short.aof seq 2 type i"]);
    manifest("torn-inside", &[base, "file short.aof seq 1 type i", "file good.aof seq 2 type i"]);
    manifest("resp", &["file good.aof seq 1 type b", "file multi.aof seq 1 type i"]);
    manifest("open-base", &["file multi.aof seq 1 type b", "file good.aof seq 1 type i"]);
    manifest("damaged-base", &["file flipped.rdb seq 1 type b", "file good.aof seq 1 type i"]);
    manifest("missing", &["file good.aof seq 1 type i", "file nothing seq 2 type i"]);
    manifest("timed", &[base, "file times.aof seq 1 type i"]);
    manifest("timed-inside", &[base, "file times.aof seq 1 type i", "file good.aof seq 2 type i"]);
    manifest("twice", &[base, "file other seq 2 type b"]);
    dir
}

/// The lines that scripts look for. What is wrong at a place is told in each tool's own words, and
/// so is where a file is; one counts lines over all of a log's files, the other in each.
fn facts(said: &str) -> Vec<String> {
    let known = [
        "Start ",
        "AOF ",
        "BASE ",
        "INCR ",
        "All AOF",
        "RDB preamble",
        "Successfully",
        "Truncate ",
        "Failed to",
        "This will shrink",
        "Cannot open",
        "Usage",
        "Invalid",
        "---",
        "[offset",
        "[info]",
        "If you insist",
        "exit",
        "Continue?",
        "***",
        "[additional info] While doing: check-sum",
    ];
    let mut facts = Vec::new();
    for line in said.lines() {
        let line = line.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == ':');
        let line = line.replace("/usr/bin/", "").replace(" ./", " ");
        if !known.iter().any(|start| line.starts_with(start)) || line.contains("Checking RDB file")
        {
            continue;
        }
        let line = match (line.find(", ok_up_to_line="), line.find(", diff=")) {
            (Some(from), Some(to)) => format!("{}{}", &line[..from], &line[to..]),
            _ => line,
        };
        facts.push(line);
    }
    facts
}

/// Runs both tools, each on files of its own, and compares what they say and what they leave.
fn beside(name: &str, arguments: &[&str], answer: &str) -> String {
    let (theirs, ours) = (damaged_files(), damaged_files());
    let links = tempfile::tempdir().expect("a directory");
    let expected = run(Path::new(name), theirs.path(), arguments, answer);
    let found = run(&linked(links.path(), name), ours.path(), arguments, answer);
    let what = format!("{name} {arguments:?} {answer:?}\n--- {name}\n{expected}--- ours\n{found}");
    assert_eq!(facts(&found), facts(&expected), "{what}");
    assert!(contents(ours.path()) == contents(theirs.path()), "{what}");
    found
}

#[test]
fn logs_are_judged_as_redis_judges_them() {
    for file in [
        "good.aof",
        "empty.aof",
        "bad.aof",
        "word.aof",
        "short.aof",
        "shorter.aof",
        "multi.aof",
        "exec.aof",
        "times.aof",
        "preamble.aof",
        "preamble-short.aof",
        "preamble-flipped.aof",
        "sound.manifest",
        "torn.manifest",
        "torn-inside.manifest",
        "resp.manifest",
        "open-base.manifest",
        "damaged-base.manifest",
        "missing.manifest",
        "no-such-file",
    ] {
        beside("redis-check-aof", &[file], "");
    }
    for (file, answer) in [
        ("good.aof", "y\n"),
        ("bad.aof", "y\n"),
        ("bad.aof", "n\n"),
        ("bad.aof", ""),
        ("word.aof", "Yes\n"),
        ("short.aof", "y\n"),
        ("multi.aof", "y\n"),
        ("exec.aof", "y\n"),
        ("preamble-short.aof", "y\n"),
        ("torn.manifest", "y\n"),
        ("torn-inside.manifest", "y\n"),
        ("open-base.manifest", "y\n"),
        ("resp.manifest", "y\n"),
    ] {
        beside("redis-check-aof", &["--fix", file], answer);
    }
    let damaged = beside("redis-check-aof", &["twice.manifest"], "");
    assert!(damaged.contains("Found duplicate base file information"), "{damaged}");
    assert!(damaged.contains(">>> 'file other seq 2 type b'"), "{damaged}");
}

#[test]
fn logs_are_cut_at_a_time_as_redis_cuts_them() {
    for until in ["99", "100", "150", "200", "x"] {
        for file in ["times.aof", "timed.manifest", "timed-inside.manifest"] {
            beside("redis-check-aof", &["--truncate-to-timestamp", until, file], "");
        }
    }
}

#[test]
fn snapshots_are_judged_as_redis_judges_them() {
    for file in ["good.rdb", "flipped.rdb", "preamble.aof"] {
        beside("redis-check-rdb", &[file], "");
    }
    // Where the reading stopped, and how many keys were begun, is each one's own business.
    for (file, words) in [
        ("short.rdb", "Unexpected EOF reading RDB file"),
        ("empty.rdb", "Unexpected EOF reading RDB file"),
        ("good.aof", "Wrong signature trying to load DB from file"),
        ("future.rdb", "Can't handle RDB format version 9999"),
    ] {
        let files = damaged_files();
        let links = tempfile::tempdir().expect("a directory");
        let expected = run(Path::new("redis-check-rdb"), files.path(), &[file], "");
        let link = linked(links.path(), "valkey-check-rdb");
        let found = run(&link, files.path(), &[file], "");
        for said in [&expected, &found] {
            for fact in ["--- RDB ERROR DETECTED ---", words, "0 expires", "exit 1"] {
                assert!(said.contains(fact), "{file}: {fact}\n{expected}\n{found}");
            }
        }
    }
}

#[test]
fn arguments_are_those_of_the_tool_it_is_called_as() {
    for arguments in [&[][..], &["a", "b"], &["--fix", "a", "b"], &["--fix"], &["a", "b", "c", "d"]]
    {
        beside("redis-check-aof", arguments, "");
    }
    for arguments in [&[][..], &["a", "b"]] {
        beside("redis-check-rdb", arguments, "");
    }
    let links = tempfile::tempdir().expect("a directory");
    for name in ["redis-check-aof", "redis-check-rdb", "valkey-check-aof", "valkey-check-rdb"] {
        for flag in ["-v", "--version"] {
            let said = run(&linked(links.path(), name), links.path(), &[flag], "");
            assert!(
                said.starts_with(&format!("{name} 7.2")) && said.ends_with("exit 0\n"),
                "{said}"
            );
        }
    }
    let said = run(&own(), links.path(), &["--help"], "");
    assert!(said.contains("--truncate-to-timestamp") && said.ends_with("exit 0\n"), "{said}");
    let said = run(&own(), links.path(), &["--fix", "--truncate-to-timestamp", "1", "x"], "");
    assert_eq!(said, "exit 1\n");
}

/// A frame as docs/formats.md draws it.
fn frame(sequence: u64, preface: &str, lines: &[&str]) -> Vec<u8> {
    let payload = [preface.as_bytes(), &commands(lines)].concat();
    let checksum = frame_checksum(sequence, &payload);
    let head = format!("#RS1:{sequence}:{}:{checksum:08x}\r\n", payload.len());
    [head.as_bytes(), &payload].concat()
}

/// A data directory with a log of two increments: frames 1 to 4 and 5 to 6, a second apart from 100
/// on. `synced`: what frame 4 says was durable.
fn framed(synced: u64) -> (TempDir, Vec<usize>) {
    let dir = tempfile::tempdir().expect("a directory");
    let log_dir = dir.path().join("appendonlydir");
    fs::create_dir(&log_dir).expect("a directory");
    let note = |number: u64| format!("#TS:{}\r\n", 100 + number);
    let frames = [
        frame(1, &note(1), &["SELECT 0", "SET key 1"]),
        frame(2, &note(2), &["SET key 2", "SET second 2"]),
        frame(3, &note(3), &["SET key 3"]),
        frame(4, &format!("#SYNCED:{synced}\r\n{}", note(4)), &["SET key 4"]),
    ];
    let later = [
        frame(5, &note(5), &["SELECT 0", "SET key 5"]),
        frame(6, &note(6), &["SET key 6", "SET last 6", "SET last 7"]),
    ];
    let names = ["appendonly.aof.1.incr.aof", "appendonly.aof.2.incr.aof"];
    fs::write(log_dir.join(names[0]), frames.concat()).expect("an increment");
    fs::write(log_dir.join(names[1]), later.concat()).expect("an increment");
    let mut manifest = Manifest::default();
    for (name, number, first) in [(names[0], 1, 1), (names[1], 2, 5)] {
        let (name, kind) = (name.as_bytes().to_vec(), Kind::Increment);
        manifest.increments.push(Part { name, number, kind, first_frame: Some(first) });
    }
    fs::write(log_dir.join("appendonly.aof.manifest"), manifest.to_bytes()).expect("a manifest");
    let mut ends = vec![0];
    for frame in &frames {
        ends.push(ends[ends.len() - 1] + frame.len());
    }
    (dir, ends)
}

const MANIFEST: &str = "appendonlydir/appendonly.aof.manifest";
const FIRST: &str = "appendonlydir/appendonly.aof.1.incr.aof";
const SECOND: &str = "appendonlydir/appendonly.aof.2.incr.aof";

fn size(dir: &TempDir, file: &str) -> usize {
    fs::read(dir.path().join(file)).expect("a file").len()
}

/// What both servers find in a log, ours first: it opens the log and goes on with it.
fn key_in(dir: TempDir) -> String {
    let mut ours = Server::start_in(Program::Redstart, dir, LOG);
    let found = ours.connect().words("GET key").text();
    ours.connect().words("SET after 1");
    ours.kill();
    ours.restart();
    assert_eq!(ours.connect().words("GET after").text(), "1");
    ours.kill();
    let redis = Server::start_in(Program::Redis, ours.into_dir(), LOG);
    assert_eq!(redis.connect().words("GET key").text(), found);
    assert_eq!(redis.connect().words("GET after").text(), "1");
    found
}

#[test]
fn a_log_with_frames_is_sound() {
    let (dir, _) = framed(3);
    for path in [".", MANIFEST, "appendonlydir"] {
        let said = run(&own(), dir.path(), &[path], "");
        assert!(said.contains("INCR AOF appendonly.aof.1.incr.aof is valid"), "{said}");
        assert!(said.ends_with("All AOF files and manifest are valid\nexit 0\n"), "{said}");
    }
    assert_eq!(key_in(dir), "6");
}

/// Damage in what was durable stops a server. What cutting it off would cost is told file by file,
/// frame by frame, before anything is cut.
#[test]
fn damage_among_frames_is_explained_and_cut() {
    let (dir, ends) = framed(3);
    let path = dir.path().join(FIRST);
    let mut bytes = fs::read(&path).expect("an increment");
    bytes[ends[3] - 3] ^= 1;
    fs::write(&path, &bytes).expect("damage");
    let before = contents(dir.path());
    let said = run(&own(), dir.path(), &[MANIFEST], "");
    assert!(said.contains("checksum") && said.contains("of frame 3"), "{said}");
    assert!(said.contains(&format!("ok_up_to={}, ", ends[2])), "{said}");
    assert!(said.contains("AOF appendonly.aof.1.incr.aof is not valid. Use the --fix"), "{said}");
    assert!(said.ends_with("exit 1\n"), "{said}");
    let said = run(&own(), dir.path(), &["--fix", MANIFEST], "n\n");
    assert!(said.ends_with("Continue? [y/N]: Aborting...\nexit 1\n"), "{said}");
    assert!(contents(dir.path()) == before, "nothing is cut without a yes");
    for fact in [
        format!(
            "appendonly.aof.1.incr.aof: {} bytes from offset {}, with 1 whole frames, 4 to 4, of 1 \
             commands\n",
            bytes.len() - ends[2],
            ends[2]
        ),
        "appendonly.aof.1.incr.aof: frame 4 says that all frames up to 3 were durable\n".into(),
        format!(
            "appendonly.aof.2.incr.aof: {} bytes from offset 0, with 2 whole frames, 5 to 6, of 5 \
             commands\n",
            size(&dir, SECOND)
        ),
    ] {
        assert!(said.contains(&fact), "{fact}\n{said}");
    }
    let mut refused = Server::start_with(Program::Redstart, LOG);
    refused.kill();
    fs::remove_dir_all(refused.dir().join("appendonlydir")).expect("its own log goes");
    fs::create_dir(refused.dir().join("appendonlydir")).expect("a directory");
    for (name, bytes) in &before {
        fs::write(refused.dir().join(name), bytes).expect("a copy");
    }
    let (_, log) = refused.restart_expecting_refusal();
    assert!(log.contains("Bad file format reading the append only file"), "{log}");
    let said = run(&own(), dir.path(), &["--fix", MANIFEST], "y\n");
    assert!(said.contains("Successfully truncated AOF appendonly.aof.1.incr.aof\n"), "{said}");
    assert!(said.ends_with("All AOF files and manifest are valid\nexit 0\n"), "{said}");
    assert_eq!((size(&dir, FIRST), size(&dir, SECOND)), (ends[2], 0));
    let said = run(&own(), dir.path(), &[MANIFEST], "");
    assert!(said.ends_with("exit 0\n"), "{said}");
    assert_eq!(key_in(dir), "2");
}

/// The same tool, as its name says, on a torn end that a server would cut by itself.
#[test]
fn a_torn_end_among_frames_is_cut() {
    let (dir, _) = framed(3);
    let links = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(SECOND);
    let bytes = fs::read(&path).expect("an increment");
    fs::write(&path, &bytes[..bytes.len() - 5]).expect("a torn end");
    let tool = linked(links.path(), "redis-check-aof");
    let said = run(&tool, dir.path(), &["--fix", MANIFEST], "y\n");
    assert!(said.contains("Successfully truncated AOF appendonly.aof.2.incr.aof\n"), "{said}");
    assert!(said.contains("no whole frame"), "{said}");
    assert_eq!(key_in(dir), "5");
}

#[test]
fn frames_are_cut_at_a_time() {
    let cut = |until: &str, answer: &str| {
        let (dir, ends) = framed(3);
        let said = run(&own(), dir.path(), &["--truncate-to-timestamp", until, MANIFEST], answer);
        (dir, ends, said)
    };
    // In the last file: at once, as with Redis's logs.
    let (dir, ends, said) = cut("105", "");
    assert!(said.contains("with 1 whole frames, 6 to 6, of 3 commands"), "{said}");
    let success = "Successfully truncated AOF appendonly.aof.2.incr.aof to timestamp 105\n";
    assert!(said.contains(success) && said.ends_with("are valid\nexit 0\n"), "{said}");
    assert_eq!(size(&dir, FIRST), ends[4]);
    assert_eq!(key_in(dir), "5");
    // In an earlier one: after a question, since the later ones go with it.
    let (dir, ends, said) = cut("102", "n\n");
    assert!(said.ends_with("Continue? [y/N]: Aborting...\nexit 1\n"), "{said}");
    assert_eq!(size(&dir, FIRST), ends[4]);
    let (dir, ends, said) = cut("102", "y\n");
    assert!(said.contains("with 2 whole frames, 3 to 4, of 2 commands"), "{said}");
    assert!(said.contains("with 2 whole frames, 5 to 6, of 5 commands"), "{said}");
    assert_eq!((size(&dir, FIRST), size(&dir, SECOND)), (ends[2], 0));
    assert_eq!(key_in(dir), "2");
    let (dir, _, said) = cut("106", "");
    assert!(said.contains("Truncate nothing in AOF appendonly.aof.2.incr.aof to timestamp 106"));
    assert!(said.ends_with("All AOF files and manifest are valid\nexit 0\n"), "{said}");
    assert_eq!(key_in(dir), "6");
    let (dir, _, said) = cut("100", "y\n");
    assert!(said.ends_with("has nothing before timestamp 100, aborting...\nexit 1\n"), "{said}");
    assert_eq!(key_in(dir), "6");
}

/// A server of ours writes the times that a cut needs.
#[test]
fn a_log_of_the_server_is_cut_at_a_time() {
    let directives = [LOG, &["--aof-timestamp-enabled", "yes"]].concat();
    let mut server = Server::start_with(Program::Redstart, &directives);
    let mut client = server.connect();
    let seconds = |client: &mut support::client::Client| {
        let time = client.words("TIME").elements();
        time[0].text().parse::<u64>().expect("a time")
    };
    client.words("SET key early");
    let early = seconds(&mut client);
    while seconds(&mut client) == early {}
    client.words("SET key late");
    drop(client);
    server.kill();
    let arguments = ["--truncate-to-timestamp", &early.to_string(), MANIFEST];
    let said = run(&own(), server.dir(), &arguments, "");
    assert!(said.contains("Successfully truncated AOF"), "{said}");
    assert_eq!(key_in(server.into_dir()), "early");
}

#[test]
fn a_missing_increment_is_replaced_after_a_question() {
    let (dir, ends) = framed(3);
    fs::remove_file(dir.path().join(SECOND)).expect("a file");
    let said = run(&own(), dir.path(), &[MANIFEST], "");
    assert!(said.ends_with("No such file or directory, aborting...\nexit 1\n"), "{said}");
    let said = run(&own(), dir.path(), &["--fix", MANIFEST], "y\n");
    assert!(said.ends_with("All AOF files and manifest are valid\nexit 0\n"), "{said}");
    assert_eq!((size(&dir, FIRST), size(&dir, SECOND)), (ends[4], 0));
    assert_eq!(key_in(dir), "4");
    // Where frames follow, they don't follow any more, which takes a second yes.
    let (dir, _) = framed(3);
    fs::remove_file(dir.path().join(FIRST)).expect("a file");
    let said = run(&own(), dir.path(), &["--fix", MANIFEST], "y\ny\n");
    assert!(said.contains("Expected frame 1, got frame 5"), "{said}");
    assert!(said.ends_with("All AOF files and manifest are valid\nexit 0\n"), "{said}");
    assert_eq!((size(&dir, FIRST), size(&dir, SECOND)), (0, 0));
}

/// Our server begins a new increment behind one of Redis's: what is torn before it can still be cut.
#[test]
fn an_empty_file_behind_a_torn_one_is_in_nobodys_way() {
    let dir = damaged_files();
    for (name, file) in [("log.manifest", "short.aof"), ("timed.manifest", "times.aof")] {
        let lines = format!("file {file} seq 1 type i\nfile empty.aof seq 2 type i\n");
        fs::write(dir.path().join(name), lines).expect("a manifest");
    }
    let said = run(&own(), dir.path(), &["--fix", "log.manifest"], "y\n");
    assert!(said.contains("Successfully truncated AOF short.aof\n"), "{said}");
    assert_eq!(size(&dir, "short.aof"), size(&dir, "good.aof"));
    let said = run(&own(), dir.path(), &["--truncate-to-timestamp", "150", "timed.manifest"], "");
    assert!(said.contains("Successfully truncated AOF times.aof to timestamp 150\n"), "{said}");
}

/// What our server leaves is sound to Redis's own tools.
#[test]
fn what_the_server_writes_is_sound_to_both() {
    let mut server = Server::start_with(Program::Redstart, LOG);
    let mut client = server.connect();
    client.words("SET key value");
    client.words("RPUSH list a b c");
    client.words("SAVE");
    client.words("SET key later");
    drop(client);
    server.kill();
    for tool in [PathBuf::from("redis-check-aof"), own()] {
        let said = run(&tool, server.dir(), &[MANIFEST], "");
        assert!(said.ends_with("All AOF files and manifest are valid\nexit 0\n"), "{said}");
    }
    for tool in [PathBuf::from("redis-check-rdb"), own()] {
        let said = run(&tool, server.dir(), &["dump.rdb"], "");
        assert!(said.contains("\\o/ RDB looks OK! \\o/\n[info] 2 keys read\n"), "{said}");
        assert!(said.contains("Checksum OK") && said.ends_with("exit 0\n"), "{said}");
    }
}

/// A path that is no file ends with a word on why, and at once: a pipe has no writer.
#[test]
fn what_is_no_file_is_told_at_once() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| dir.path().join(name);
    let pipes = [at("pipe"), at("pipe.rdb")];
    assert!(Command::new("mkfifo").args(&pipes).status().expect("mkfifo runs").success());
    fs::create_dir(at("directory")).expect("a directory");
    fs::create_dir(at("directory.rdb")).expect("a directory");
    fs::write(at("empty"), "").expect("written");
    fs::write(at("empty.rdb"), "").expect("written");
    fs::write(at("log.manifest"), "file pipe seq 1 type b\n").expect("written");
    let (aof, rdb) = (linked(dir.path(), "redis-check-aof"), linked(dir.path(), "redis-check-rdb"));
    for (tool, path, reason) in [
        (own(), "pipe", "not a regular file"),
        (own(), "pipe.rdb", "not a regular file"),
        (own(), "log.manifest", "not a regular file"),
        (own(), "/dev/zero", "not a regular file"),
        (own(), "missing", "No such file or directory"),
        (own(), "directory", "No manifest and no RDB file"),
        (aof.clone(), "pipe", "not a regular file"),
        (aof.clone(), "missing", "No such file or directory"),
        (aof, "directory", "No manifest and no RDB file"),
        (rdb.clone(), "pipe", "not a regular file"),
        (rdb.clone(), "directory", "Is a directory"),
        (rdb.clone(), "missing", "No such file or directory"),
        (rdb, "empty", "Unexpected EOF reading RDB file"),
    ] {
        let said = run(&tool, dir.path(), &[path], "");
        assert!(said.contains(reason) && said.ends_with("exit 1\n"), "{tool:?} {path}: {said}");
    }
}
