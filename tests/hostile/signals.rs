//! What ends the server and what doesn't: every signal does to Redstart what it does to redis-server.

use std::os::unix::process::ExitStatusExt as _;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::client::Client;
use crate::support::server::{Program, Server};
use crate::{BOTH, await_that, start};

/// Signals that mean that the process is broken.
const CRASHES: [Signal; 5] =
    [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGABRT];

fn send(server: &Server, signal: Signal) {
    kill(Pid::from_raw(server.pid() as i32), signal).expect("sent");
}

/// Whether the server survives a signal, and by which it ended where not.
fn fate(program: Program, signal: Signal) -> (Server, String) {
    let mut server = start(program, &[]);
    let mut client = server.connect();
    send(&server, signal);
    // A signal that ends the process may be delivered only while the next request runs; one that makes a
    // crash report is seen when that is written.
    let (began, crashes) = (Instant::now(), CRASHES.contains(&signal));
    let mut tries = 0;
    while tries < 20 || crashes && began.elapsed() < Duration::from_secs(10) {
        tries += 1;
        if client.try_call(&["PING"]).is_err() {
            let status = server.await_end();
            let fate = format!("exit code {:?}, signal {:?}", status.code(), status.signal());
            return (server, fate);
        }
        thread::yield_now();
    }
    (server, "survives".to_owned())
}

#[test]
fn every_signal_does_what_it_does_to_upstream() {
    for signal in Signal::iterator() {
        // These stop or end a process whatever it wants; stopping is the shell's business.
        let stops = [Signal::SIGSTOP, Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];
        // An orderly end takes its time: tests/process.rs has it.
        let orderly = [Signal::SIGTERM, Signal::SIGINT];
        if signal == Signal::SIGKILL || stops.contains(&signal) || orderly.contains(&signal) {
            continue;
        }
        let mut fates = BOTH.map(|program| fate(program, signal).1);
        if CRASHES.contains(&signal) {
            // redis-server's report may crash by itself, and by another signal: what counts is that
            // both end. Ours is held to its signal below.
            fates = fates.map(|fate| if fate == "survives" { fate } else { "ends".to_owned() });
        }
        assert_eq!(fates[0], fates[1], "{signal}: redis-server first");
    }
}

#[test]
fn a_hangup_while_it_starts_is_ignored_too() {
    let server = start(Program::Redstart, &[]);
    send(&server, Signal::SIGHUP);
    send(&server, Signal::SIGPIPE);
    let mut client = Client::try_connect(server.port()).expect("it listens");
    assert_eq!(client.words("PING").text(), "PONG");
}

/// A report that breaks off says nothing of where it broke.
#[test]
fn a_crash_report_is_whole() {
    for signal in CRASHES {
        let (server, fate) = fate(Program::Redstart, signal);
        assert_eq!(fate, format!("exit code None, signal Some({})", signal as i32));
        await_that("the report's end", || server.log().contains("BUG REPORT END"));
        let log = server.log();
        assert!(log.contains(&format!("crashed by signal: {}", signal as i32)), "{log}");
        assert!(log.contains("STACK TRACE DONE"), "{log}");
    }
}
