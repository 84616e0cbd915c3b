//! The server as a process: its configuration from file, standard input and command line, its log
//! and number file, its place in the background, and its ends. Where redis-server has the same
//! behaviour, it is asked as well.

#![expect(clippy::expect_used, reason = "a test may fail this way")]

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::client::Client;
use support::server::{Program, Server};

/// How long to wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

const BOTH: [Program; 2] = [Program::Redis, Program::Redstart];

fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The value of one directive.
fn setting(client: &mut Client, name: &str) -> String {
    client.call(&["CONFIG", "GET", name]).elements()[1].text()
}

/// Runs the program to its end.
fn run(program: Program, arguments: &[&str]) -> Output {
    Command::new(program.path())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn file_include_and_command_line_in_this_order() {
    for program in BOTH {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (main, more) = (dir.path().join("main.conf"), dir.path().join("more.conf"));
        let text = format!(
            "# a comment\nmaxmemory 10mb\nslowlog-max-len 7\ninclude {}\nhz 20\nsave \"\"\n\
             appendonly no\n",
            more.display()
        );
        fs::write(&main, text).expect("written");
        fs::write(&more, "hz 50\nslowlog-max-len 9\n").expect("written");
        let file = main.to_str().expect("a path in UTF-8").to_owned();
        let server = Server::start_in(program, dir, &[&file, "--maxmemory", "20mb"]);
        let mut client = server.connect();
        assert_eq!(setting(&mut client, "maxmemory"), "20971520", "{program:?}");
        assert_eq!(setting(&mut client, "slowlog-max-len"), "9", "{program:?}");
        assert_eq!(setting(&mut client, "hz"), "20", "{program:?}");
        assert!(client.words("INFO server").text().contains(&format!("config_file:{file}\r\n")));
    }
}

#[test]
fn the_configuration_can_be_piped() {
    for program in BOTH {
        let server = Server::start_piped(program, "appendonly no\nsave 77 88\nmaxmemory-samples 9");
        let mut client = server.connect();
        assert_eq!(setting(&mut client, "save"), "77 88", "{program:?}");
        assert_eq!(setting(&mut client, "maxmemory-samples"), "9", "{program:?}");
    }
}

#[test]
fn what_was_set_is_written_into_the_file() {
    for program in BOTH {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("redis.conf");
        fs::write(&path, "# kept\nappendonly no\nsave \"\"\n\n# this one, too\nhz 12\n")
            .expect("written");
        let file = path.to_str().expect("a path in UTF-8").to_owned();
        let mut server = Server::start_in(program, dir, &[&file]);
        let mut client = server.connect();
        assert_eq!(client.words("CONFIG SET hz 33 maxmemory-samples 8 timeout 99").text(), "OK");
        assert_eq!(client.words("CONFIG REWRITE").text(), "OK");
        let written = fs::read_to_string(&path).expect("the file is there");
        for line in ["# kept", "# this one, too", "hz 33", "maxmemory-samples 8", "timeout 99"] {
            assert!(written.lines().any(|one| one == line), "{program:?}: no {line} in\n{written}");
        }
        assert!(!written.contains("hz 12"), "{program:?}:\n{written}");
        server.kill();
        server.restart();
        assert_eq!(setting(&mut server.connect(), "hz"), "33", "{program:?}");
    }
}

#[test]
fn a_wrong_configuration_is_refused_with_its_line() {
    for program in BOTH {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("redis.conf");
        fs::write(&path, "hz 10\n\nno-such-directive 1\n").expect("written");
        let output = run(program, &[path.to_str().expect("a path in UTF-8")]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{program:?}: {said}");
        for part in ["FATAL CONFIG FILE ERROR", "at line 3", ">>> 'no-such-directive 1'"] {
            assert!(said.contains(part), "{program:?}: no {part} in\n{said}");
        }
        assert!(said.contains("Bad directive or wrong number of arguments"), "{program:?}: {said}");

        let output = run(program, &["--maxmemory", "lots"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{program:?}: {said}");
        assert!(said.contains("argument must be a memory value"), "{program:?}: {said}");

        let output = run(program, &["/no/such/file.conf"]);
        assert_eq!(output.status.code(), Some(1), "{program:?}");
    }
}

#[test]
fn version_and_help_are_told() {
    for program in BOTH {
        for option in ["--version", "-v"] {
            let output = run(program, &[option]);
            assert!(output.status.success() && text(&output.stdout).contains(" v="), "{program:?}");
        }
    }
    let output = run(Program::Redstart, &["--help"]);
    assert!(output.status.success());
    assert!(text(&output.stdout).contains("--appendfsync"));
}

#[test]
fn the_log_says_what_upstreams_tests_wait_for() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (log, pid_file) = (dir.path().join("server.log"), dir.path().join("server.pid"));
    let directives = [
        "--appendonly",
        "no",
        "--save",
        "",
        "--logfile",
        log.to_str().expect("a path in UTF-8"),
        "--pidfile",
        pid_file.to_str().expect("a path in UTF-8"),
    ];
    let mut server = Server::start_in(Program::Redstart, dir, &directives);
    let pid = server.pid();
    let said = fs::read_to_string(&log).expect("a log file");
    for part in [&format!("PID: {pid}"), "Server initialized", "Ready to accept connections"] {
        assert!(said.contains(part), "no {part} in\n{said}");
    }
    // `PID:ROLE DD Mon YYYY HH:MM:SS.mmm LEVEL text`
    for line in said.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let head = words[0].split_once(':').expect("a number and a role");
        assert_eq!(head.0, pid.to_string(), "{line}");
        assert!(["C", "M"].contains(&head.1), "{line}");
        assert!(words[1].parse::<u8>().is_ok() && words[2].len() == 3, "{line}");
        assert!(words[4].len() == "01:02:03.456".len(), "{line}");
        assert!(["#", "*", "-", "."].contains(&words[5]), "{line}");
    }
    assert_eq!(fs::read_to_string(&pid_file).expect("a number file").trim(), pid.to_string());
    assert!(server.terminate().success());
    assert!(!pid_file.exists(), "the number file outlives the process");
    let said = fs::read_to_string(&log).expect("a log file");
    assert!(said.contains("Received SIGTERM scheduling shutdown..."), "{said}");
    assert!(said.contains("bye bye..."), "{said}");
}

#[test]
fn loglevel_keeps_quiet() {
    let server =
        Server::start_with(Program::Redstart, &["--appendonly", "no", "--loglevel", "warning"]);
    let mut client = server.connect();
    assert_eq!(client.words("PING").text(), "PONG");
    assert!(!server.log().contains(" * "), "{}", server.log());
}

#[test]
fn in_the_background_it_serves_and_ends() {
    for program in BOTH {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
        let port = TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr());
        let port = port.expect("a free port").port();
        let output = run(
            program,
            &[
                "--port",
                &port.to_string(),
                "--daemonize",
                "yes",
                "--dir",
                &at(""),
                "--pidfile",
                &at("pid"),
                "--logfile",
                &at("log"),
            ],
        );
        assert!(output.status.success(), "{program:?}: {}", text(&output.stderr));
        await_that("a server in the background", || Client::try_connect(port).is_ok());
        let mut client = Client::try_connect(port).expect("it listens");
        // A connection is taken up by the system before the server has written its number
        // (redis-server); an answer means that it's past that.
        let said = client.words("INFO server").text();
        let pid = fs::read_to_string(at("pid")).expect("a number file");
        assert!(said.contains(&format!("process_id:{}\r\n", pid.trim())), "{program:?}: {said}");
        client.try_call(&["SHUTDOWN", "NOSAVE"]).expect_err("the connection ends");
        await_that("its end", || !Path::new(&at("pid")).exists());
    }
}

#[test]
fn every_orderly_end_keeps_the_data() {
    let number = |server: &Server| Pid::from_raw(server.pid() as i32);
    for program in BOTH {
        for (save, how, kept) in [
            ("3600 1", "SIGTERM", true),
            ("3600 1", "SIGINT", true),
            ("3600 1", "SHUTDOWN", true),
            ("3600 1", "SHUTDOWN NOSAVE", false),
            ("", "SHUTDOWN", false),
            ("", "SIGTERM", false),
            ("", "SHUTDOWN SAVE", true),
        ] {
            let mut server = Server::start_with(program, &["--appendonly", "no", "--save", save]);
            let mut client = server.connect();
            assert_eq!(client.words("SET a 1").text(), "OK");
            match how {
                "SIGTERM" => kill(number(&server), Signal::SIGTERM).expect("sent"),
                "SIGINT" => kill(number(&server), Signal::SIGINT).expect("sent"),
                _ => drop(client.try_call(&how.split(' ').collect::<Vec<_>>())),
            }
            let status = server.await_end();
            assert_eq!(status.code(), Some(0), "{program:?} {save:?} {how}: {status}");
            server.restart();
            let found = server.connect().words("GET a").bytes().is_some();
            assert_eq!(found, kept, "{program:?} save {save:?}, {how}");
        }
    }
}

/// The file of a snapshot under way, in a directory.
fn temporary_snapshot(dir: &Path) -> Option<std::path::PathBuf> {
    let names = fs::read_dir(dir).expect("a directory").filter_map(Result::ok);
    names.map(|entry| entry.path()).find(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("temp-") && path.extension().is_some_and(|end| end == "rdb")
    })
}

#[test]
fn a_snapshot_cut_short_leaves_no_file() {
    for program in BOTH {
        for how in ["SHUTDOWN NOSAVE", "SIGINT, SIGINT"] {
            let mut server =
                Server::start_with(program, &["--appendonly", "no", "--save", "3600 1"]);
            let mut client = server.connect();
            for number in 0..20 {
                client.words(&format!("SET key:{number} x"));
            }
            assert_eq!(client.words("CONFIG SET rdb-key-save-delay 10000000").text(), "OK");
            let pid = Pid::from_raw(server.pid() as i32);
            let dir = server.dir().to_owned();
            if how == "SHUTDOWN NOSAVE" {
                client.words("BGSAVE");
            } else {
                kill(pid, Signal::SIGINT).expect("sent");
            }
            await_that("the snapshot's file", || temporary_snapshot(&dir).is_some());
            if how == "SHUTDOWN NOSAVE" {
                client.try_call(&["SHUTDOWN", "NOSAVE"]).expect_err("the connection ends");
            } else {
                kill(pid, Signal::SIGINT).expect("sent");
            }
            server.await_end();
            // redis-server's child may take a moment longer than its parent.
            await_that("the end of the file", || temporary_snapshot(&dir).is_none());
        }
    }
}

#[test]
fn a_signal_can_be_taken_back() {
    for program in BOTH {
        let server = Server::start_with(
            program,
            &["--appendonly", "no", "--save", "", "--enable-debug-command", "yes"],
        );
        let mut client = server.connect();
        if client.words("DEBUG PAUSE-CRON 1").is_error() {
            // redis-server 7.0 doesn't know it.
            continue;
        }
        assert_eq!(
            client.words("SHUTDOWN ABORT").text(),
            "ERR No shutdown in progress.",
            "{program:?}"
        );
        kill(Pid::from_raw(server.pid() as i32), Signal::SIGTERM).expect("sent");
        await_that("the signal's line", || server.log().contains("Received SIGTERM"));
        assert_eq!(client.words("SHUTDOWN ABORT").text(), "OK", "{program:?}");
        assert_eq!(client.words("DEBUG PAUSE-CRON 0").text(), "OK", "{program:?}");
        assert_eq!(client.words("PING").text(), "PONG", "{program:?}");
        assert!(server.log().contains("Shutdown manually aborted"), "{}", server.log());
    }
}

#[test]
fn a_log_being_turned_on_holds_the_end_up() {
    for program in BOTH {
        let mut server = Server::start_with(program, &["--appendonly", "no", "--save", ""]);
        let mut client = server.connect();
        for number in 0..10 {
            client.words(&format!("SET key:{number} x"));
        }
        client.words("CONFIG SET rdb-key-save-delay 10000000");
        assert_eq!(client.words("CONFIG SET appendonly yes").text(), "OK");
        await_that("the first rewrite", || {
            client.words("INFO persistence").text().contains("aof_rewrite_in_progress:1")
        });
        assert!(client.words("SHUTDOWN").is_error(), "{program:?}");
        assert!(server.log().contains("Writing initial AOF, can't exit"), "{}", server.log());
        client.try_call(&["SHUTDOWN", "FORCE"]).expect_err("the connection ends");
        assert!(server.await_end().success(), "{program:?}");
    }
}

/// The settings were put back after an error, and the working directory was not, in which files of
/// relative names are (`logfile`).
#[test]
fn a_directory_that_is_put_back_is_left_again() {
    for program in BOTH {
        let directives = ["--appendonly", "no", "--save", "", "--enable-protected-configs", "yes"];
        let server = Server::start_with(program, &directives);
        let mut client = server.connect();
        let other = tempfile::tempdir().expect("a directory");
        fs::write(other.path().join("appendonlydir"), "no directory").expect("a file in its place");
        let other = other.path().to_str().expect("a plain name");
        let refused = client.call(&["CONFIG", "SET", "dir", other, "appendonly", "yes"]);
        assert!(refused.is_error(), "{program:?}: {refused:?}");
        let cwd = fs::read_link(format!("/proc/{}/cwd", server.pid())).expect("a directory");
        assert_eq!(cwd, server.dir().canonicalize().expect("its real name"), "{program:?}");
    }
}

#[test]
fn a_port_in_use_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    for program in BOTH {
        let output = run(program, &["--port", &port, "--bind", "127.0.0.1", "--appendonly", "no"]);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{program:?}: {said}");
        let expected = format!("Could not create server TCP listening socket 127.0.0.1:{port}");
        assert!(said.contains(&expected), "{program:?}: {said}");
        // Redis 7.0 has "TCP" there, 7.2 the word for the kind of connection.
        let expected = format!("failed listening on port {port} (tcp), aborting.");
        assert!(said.to_lowercase().contains(&expected), "{program:?}: {said}");
    }
}
