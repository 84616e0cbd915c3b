//! Passwords are shown nowhere: not in the slow log, not in the error of a configuration line.

use crate::support::client::{Client, argv};
use crate::support::server::{Program, Server};
use crate::{BOTH, start};

const LOGS_ALL: &[&str] = &["--slowlog-log-slower-than", "0", "--requirepass", "pw"];

/// Commands that both servers have, and show alike.
const COMMANDS: &[&str] = &[
    "AUTH pw",
    "AUTH wrong",
    "AUTH default pw",
    "HELLO 3 AUTH default pw",
    "HELLO 2 AUTH default pw SETNAME n",
    "HELLO 2 SETNAME n auth default pw",
    "HELLO 2 SETNAME auth",
    "HELLO",
    "CONFIG SET requirepass pw",
    "CONFIG SET RequirePass pw maxmemory 0",
    "CONFIG SET maxmemory 0 masterauth secret",
    "CONFIG SET masteruser somebody",
    "CONFIG SET nosuch value",
    "CONFIG SET save requirepass",
    "CONFIG GET requirepass",
    "SET AUTH value",
    "CLIENT SETNAME auth",
];

/// What the slow log has of a command, whose arguments are the only thing looked at.
fn logged(client: &mut Client, command: &str, in_transaction: bool) -> String {
    client.words("SLOWLOG RESET");
    if in_transaction {
        client.words("MULTI");
    }
    client.call(&argv(command));
    if in_transaction {
        client.words("EXEC");
    }
    // Whatever it did: RESP2, and logged in.
    client.words("HELLO 2 AUTH default pw");
    let entries = client.words("SLOWLOG GET 10").elements();
    let arguments = |entry: &crate::support::client::Value| entry.elements()[3].to_string();
    entries.iter().map(arguments).collect::<Vec<_>>().join("\n")
}

fn logs(program: Program, commands: &[&str], in_transaction: bool) -> Vec<String> {
    let server = start(program, LOGS_ALL);
    let mut client = server.connect();
    client.words("AUTH pw");
    commands.iter().map(|command| logged(&mut client, command, in_transaction)).collect()
}

#[test]
fn the_slow_log_hides_what_upstream_hides() {
    for in_transaction in [false, true] {
        let theirs = logs(Program::Redis, COMMANDS, in_transaction);
        let ours = logs(Program::Redstart, COMMANDS, in_transaction);
        for ((command, theirs), ours) in COMMANDS.iter().zip(theirs).zip(ours) {
            assert_eq!(theirs, ours, "{command}, in a transaction: {in_transaction}");
        }
    }
}

/// Where upstream 7.0 shows a password because the command is wrong, or because it was built without
/// TLS, we don't.
#[test]
fn the_slow_log_hides_passwords_in_wrong_commands() {
    let commands = [
        "AUTH a secret b",
        "HELLO 2 AUTH secret",
        "HELLO 2 SETNAME AUTH AUTH default secret",
        "CONFIG SET tls-key-file-pass secret",
        "CONFIG SET hz 10 tls-client-key-file-pass secret",
        "CONFIG SET primaryauth secret",
    ];
    for in_transaction in [false, true] {
        let logs = logs(Program::Redstart, &commands, in_transaction);
        for (command, log) in commands.iter().zip(logs) {
            assert!(log.contains("(redacted)"), "{command}: {log}");
            assert!(!log.contains("secret"), "{command}: {log}");
        }
    }
}

#[test]
fn a_wrong_configuration_line_is_quoted_without_its_secret() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let directives = ["--requirepass", "one", "secret"];
    let (status, said) = Server::refused_in(Program::Redstart, dir, &directives);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("requirepass (redacted)") && !said.contains("secret"), "{said}");
}

/// The log of the process at its most talkative doesn't have them either.
#[test]
fn no_log_line_has_a_password() {
    for program in BOTH {
        let server = start(program, &["--loglevel", "debug", "--requirepass", "first-secret"]);
        let mut client = server.connect();
        client.words("AUTH wrong-secret");
        client.words("HELLO 3 AUTH default first-secret");
        client.words("CONFIG SET requirepass second-secret masterauth third-secret");
        client.words("NOSUCH fourth-secret");
        client.words("AUTH second-secret");
        assert_eq!(client.words("PING").text(), "PONG");
        let log = server.log();
        assert!(!log.contains("-secret"), "{program:?}: {log}");
    }
}
