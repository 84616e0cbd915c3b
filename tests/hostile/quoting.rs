//! Replies that repeat what a client sent stay inside the protocol, and are redis-server's to the byte.

use crate::start;
use crate::support::client::encode;
use crate::support::server::{Program, Server};

/// What is put in the place of `@`.
const WORDS: &[&[u8]] = &[
    b"a\r\nb",
    b"\r\n+OK\r\n",
    b"\nb",
    b"a\n",
    b"\r\n",
    b"\xff\xfe",
    b"\x7f\x80",
    b"\xc3\xa9",
    b"a\0b",
    b"\0",
    b"%s%n%d",
    b"'",
    b"\t\x01\x1b",
    b"",
    b"a b",
    &[b'x'; 200],
];

const COMMANDS: &[&str] = &[
    "@",
    "@ x",
    "NOSUCH @ @",
    "CLIENT @",
    "CLIENT KILL TYPE @",
    "CLIENT LIST TYPE @",
    "CLIENT SETNAME @",
    "CLIENT REPLY @",
    "HELLO @",
    "HELLO 2 @ x",
    "AUTH @",
    "CONFIG @",
    "CONFIG SET @ 1",
    "CONFIG SET hz 10 @ 2",
    "CONFIG GET @",
    "DEBUG @",
    "OBJECT @ x",
    "MEMORY @",
    "LATENCY @",
    "SLOWLOG @",
    "COMMAND @",
    "COMMAND INFO @",
    "COMMAND LIST FILTERBY ACLCAT @",
    "ACL @",
    "ACL CAT @",
    "PUBSUB @",
    "SET k v @",
    "SORT k BY @",
    "RESTORE k 0 @",
    "ZADD z @ m",
    "COPY a b @ x",
    "HELLO 2 AUTH @ x",
    "SUBSCRIBE @",
    "ECHO @",
    "PING @",
];

/// All that is answered to some bytes.
fn answer(server: &Server, bytes: &[u8]) -> String {
    let mut client = server.connect();
    client.try_send_raw(bytes).expect("the server reads");
    let _ = client.finish_sending();
    client.read_to_close().expect("the server closes").escape_ascii().to_string()
}

#[test]
fn quoted_words_are_upstream_s_to_the_byte() {
    let directives = ["--enable-debug-command", "yes"];
    let (theirs, ours) =
        (start(Program::Redis, &directives), start(Program::Redstart, &directives));
    for command in COMMANDS {
        for word in WORDS {
            let fill = |part: &str| if part == "@" { word.to_vec() } else { part.into() };
            let argv: Vec<Vec<u8>> = command.split(' ').map(fill).collect();
            let request = encode(&argv);
            let (theirs, ours) = (answer(&theirs, &request), answer(&ours, &request));
            assert_eq!(theirs, ours, "{command} with \"{}\"", word.escape_ascii());
        }
    }
}

/// Every byte where `$` must be. A zero byte ends the line for upstream's C strings, so that it waits
/// for more; we have seen enough.
#[test]
fn protocol_errors_quote_a_byte_as_it_came() {
    let (theirs, ours) = (start(Program::Redis, &[]), start(Program::Redstart, &[]));
    for byte in 1..=u8::MAX {
        let request = [b"*1\r\n".as_slice(), &[byte], b"4\r\nPING\r\n"].concat();
        let (theirs, ours) = (answer(&theirs, &request), answer(&ours, &request));
        assert_eq!(theirs, ours, "{byte:#x}");
    }
}

/// CLIENT SETINFO, which 7.0 hasn't, repeats the option as it was typed; and one word too many is a
/// matter of arity.
#[test]
fn errors_repeat_words_as_they_were_typed() {
    let server = start(Program::Redstart, &[]);
    let mut client = server.connect();
    for (command, reply) in [
        (
            &["CLIENT", "SETINFO", "lib-NAME", "a b"][..],
            "ERR lib-NAME cannot contain spaces, newlines or special characters.",
        ),
        (
            &["CLIENT", "SETINFO", "Lib-Ver", "a\nb"],
            "ERR Lib-Ver cannot contain spaces, newlines or special characters.",
        ),
        (&["CLIENT", "SETINFO", "bo\r\ngus", "x"], "ERR Unrecognized option 'bo  gus'"),
        (
            &["ZRANK", "z", "a", "WITHSCORE", "x"],
            "ERR wrong number of arguments for 'zrank' command",
        ),
        (&["ZREVRANK", "z", "a", "x", "x"], "ERR wrong number of arguments for 'zrevrank' command"),
        (&["ZRANK", "z", "a", "x"], "ERR syntax error"),
    ] {
        assert_eq!(client.call(command).text(), reply, "{command:?}");
    }
}
