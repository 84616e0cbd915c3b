//! A configuration file goes to and fro: each server starts on what the other has rewritten, as Sentinel
//! makes them do, and asks for the same password.

use std::fs;

use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::server::{Program, Server};

const FILE: &str = "server.conf";

/// What is said without a password, and with this one.
fn open_to(client: &mut Client, password: Option<&str>) {
    let Some(password) = password else {
        assert_eq!(client.words("PING").text(), "PONG");
        return;
    };
    assert!(client.words("GET key").text().starts_with("NOAUTH"));
    assert!(client.words("AUTH wrong").text().starts_with("WRONGPASS"));
    assert_eq!(client.words(&format!("AUTH {password}")).text(), "OK");
}

/// Starts a server on the directory's file, has it rewritten, perhaps with a new password, and gives
/// the directory back.
fn turn(
    program: Program,
    dir: TempDir,
    password: Option<&str>,
    new: Option<&str>,
) -> (TempDir, String) {
    let server = Server::start_in(program, dir, &[FILE]);
    let mut client = server.connect();
    open_to(&mut client, password);
    if let Some(new) = new {
        assert_eq!(client.words(&format!("CONFIG SET requirepass {new}")).text(), "OK");
    }
    assert_eq!(client.words("CONFIG REWRITE").text(), "OK");
    drop(client);
    let dir = server.into_dir();
    let text = fs::read_to_string(dir.path().join(FILE)).expect("the file");
    (dir, text)
}

/// Every file that Redis or Valkey has rewritten ends in `user default`: ours refused to start on it.
#[test]
fn files_that_others_rewrote_are_understood_and_ours_by_them() {
    for other in [Program::Redis, Program::Valkey] {
        for password in [None, Some("foo")] {
            let dir = tempfile::tempdir().expect("a directory");
            let line = password.map_or(String::new(), |word| format!("requirepass {word}\n"));
            let text = format!("save \"\"\nappendonly no\n{line}");
            fs::write(dir.path().join(FILE), text).expect("a file");
            let (dir, text) = turn(other, dir, password, None);
            assert!(text.contains("\nuser default on "), "{text}");
            let (dir, text) = turn(Program::Redstart, dir, password, None);
            assert!(!text.contains("\nuser "), "{text}");
            let (dir, text) = turn(other, dir, password, None);
            assert!(text.contains("\nuser default on "), "{text}");
            // With the line that was there, the old password would go on to be right for the others.
            let (dir, _) = turn(Program::Redstart, dir, password, Some("bar"));
            let (dir, _) = turn(other, dir, Some("bar"), None);
            turn(Program::Redstart, dir, Some("bar"), None);
        }
    }
}

#[test]
fn a_user_line_gives_the_password_or_says_what_to_write() {
    let start = |text: &str| {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join(FILE), text).expect("a file");
        dir
    };
    let line = "user default on >foo ~* &* +@all\nappendonly no\nsave \"\"\n";
    let (dir, text) = turn(Program::Redstart, start(line), Some("foo"), None);
    assert!(text.contains("requirepass \"foo\"") && !text.contains("user"), "{text}");
    turn(Program::Redis, dir, Some("foo"), None);
    let hash = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
    for (text, wanted) in [
        (format!("user default on #{hash} ~* &* +@all"), "write the password as 'requirepass'"),
        (
            "user default on >sesame ~* &* +get".to_owned(),
            "user default (redacted)'\n'user default' with '+get'",
        ),
        (
            "user alice on >sesame ~* &* +@all".to_owned(),
            "user alice (redacted)'\n'user' is supported by Redstart for",
        ),
        ("user".to_owned(), "Bad directive or wrong number of arguments"),
        ("user default on nopass ~* &* +@all\n".repeat(2), "'user default' is there twice"),
    ] {
        let (_, said) = Server::refused_in(Program::Redstart, start(&text), &[FILE]);
        assert!(said.contains(wanted) && !said.contains("sesame"), "{said}");
    }
}

/// Fifteen of Valkey 9's were no directives here, so that a file with one didn't start ours. RDMA is a transport
/// of its own.
#[test]
fn every_directive_of_valkey_is_known() {
    let [ours, valkey] = [Program::Redstart, Program::Valkey].map(Server::start);
    let (mut ours, mut valkey) = (ours.connect(), valkey.connect());
    let all = valkey.words("CONFIG GET *").elements();
    assert!(all.len() > 400, "{all:?}");
    let unknown: Vec<String> = all
        .chunks(2)
        .map(|pair| pair[0].text())
        // Those with a point are modules'.
        .filter(|name| !name.contains('.'))
        .filter(|name| ours.call(&["CONFIG", "GET", name]).elements().is_empty())
        .collect();
    assert_eq!(unknown, ["rdma-bind", "rdma-completion-vector", "rdma-port", "rdma-rx-size"]);
}

#[test]
fn what_valkey_9_brought_is_bounded_as_there() {
    let [ours, valkey] = [Program::Redstart, Program::Valkey].map(Server::start);
    let (mut ours, mut valkey) = (ours.connect(), valkey.connect());
    for name in [
        "active-defrag-cycle-us",
        "cluster-announce-client-port",
        "cluster-announce-client-tls-port",
        "cluster-manual-failover-timeout",
        "cluster-slot-migration-log-max-len",
        "slot-migration-max-failover-repl-bytes",
        "import-mode",
        "tls-auto-reload-interval",
        "tls-auth-clients-user",
        "rdb-version-check",
        "cluster-config-save-behavior",
        "cluster-databases",
        "hash-seed",
        "mptcp",
        "repl-mptcp",
    ] {
        let get = ["CONFIG", "GET", name];
        assert_eq!(ours.call(&get), valkey.call(&get));
        for value in
            ["-2", "-1", "0", "1", "70mb", "100001", "2147483648", "x", "99999999999999999999"]
        {
            let set = ["CONFIG", "SET", name, value];
            assert_eq!(ours.call(&set), valkey.call(&set), "{name} {value}");
            assert_eq!(ours.call(&get), valkey.call(&get), "{name} {value}");
        }
    }
    // It changes which keys are seen: not to be accepted without that.
    let refused = ours.words("CONFIG SET import-mode yes");
    assert!(refused.is_error() && refused.text().contains("CLIENT IMPORT-SOURCE"), "{refused}");
    assert_eq!(ours.words("CONFIG GET import-mode").elements()[1].text(), "no");
}
