//! Fixed conversations, byte for byte: the protocol's corners, inline commands, and sessions that
//! end. Each goes down a fresh connection of both servers; everything up to the close is compared.

use std::fmt::Write as _;

use crate::exceptions::CONVERSATIONS;
use crate::support::server::{Program, Server};

/// Conversations with a server that has no password.
const OPEN: &[(&str, &[u8])] = &[
    ("inline", b"PING\r\n"),
    ("inline, bare line feed", b"PING\nPING hello\n"),
    ("inline, empty lines", b"\r\n\r\n\nPING\r\n"),
    ("inline, spaces", b"   SET   a    b   \r\nGET a\r\n"),
    ("inline, double quotes", b"SET q \"a b\\n\\x41\\\"\"\r\nGET q\r\n"),
    ("inline, single quotes", b"SET q 'a \\'b\\n'\r\nGET q\r\n"),
    ("inline, empty quotes", b"SET q \"\"\r\nGET q\r\nSTRLEN ''\r\n"),
    ("inline, open quote", b"SET q \"abc\r\nPING\r\n"),
    ("inline, quote then letter", b"SET q \"abc\"d\r\nPING\r\n"),
    ("inline, single open", b"ECHO 'abc\r\nPING\r\n"),
    ("inline, hex", b"ECHO \"\\xff\\x00\\xzz\"\r\n"),
    ("inline, tabs", b"ECHO\thello\r\n"),
    ("inline, nul", b"ECHO a\0b\r\nPING\r\n"),
    ("inline, no end", b"PING"),
    ("inline, unknown", b"GET / HTTP/1.1\r\nAccept: x\r\n\r\n"),
    ("cross-protocol post", b"POST / HTTP/1.1\r\nHost: x\r\n\r\nPING\r\n"),
    ("cross-protocol host", b"Host: example\r\nPING\r\n"),
    ("multibulk", b"*1\r\n$4\r\nPING\r\n"),
    ("multibulk, lower case and mixed", b"*1\r\n$4\r\npInG\r\n"),
    ("multibulk, empty", b"*0\r\n*1\r\n$4\r\nPING\r\n"),
    ("multibulk, negative", b"*-1\r\n*-10\r\nPING\r\n"),
    ("multibulk, count too large", b"*1048577\r\nPING\r\n"),
    ("multibulk, count huge", b"*3000000000\r\nPING\r\n"),
    ("multibulk, count overflow", b"*99999999999999999999\r\n"),
    ("multibulk, count text", b"*abc\r\nPING\r\n"),
    ("multibulk, count empty", b"*\r\nPING\r\n"),
    ("multibulk, count with space", b"* 1\r\n$4\r\nPING\r\n"),
    ("multibulk, count with plus", b"*+1\r\n$4\r\nPING\r\n"),
    ("multibulk, count with zero", b"*01\r\n$4\r\nPING\r\n"),
    ("bulk, no dollar", b"*1\r\nPING\r\n"),
    ("bulk, wrong letter", b"*2\r\n$4\r\nECHO\r\n:1\r\n"),
    ("bulk, length text", b"*1\r\n$abc\r\nPING\r\n"),
    ("bulk, length empty", b"*1\r\n$\r\nPING\r\n"),
    ("bulk, length negative", b"*1\r\n$-1\r\nPING\r\n"),
    ("bulk, length too large", b"*1\r\n$536870913\r\nPING\r\n"),
    ("bulk, length overflow", b"*1\r\n$99999999999999999999\r\n"),
    ("bulk, zero length", b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n"),
    ("bulk, zero length command", b"*1\r\n$0\r\n\r\nPING\r\n"),
    ("bulk, no end after it", b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n"),
    ("bulk, cut short", b"*2\r\n$4\r\nECHO\r\n$10\r\nabc"),
    ("bulk, binary", b"*2\r\n$4\r\nECHO\r\n$6\r\n\r\n\0\xff\r\n\r\n"),
    ("multibulk then inline", b"*1\r\n$4\r\nPING\r\nPING inline\r\n*1\r\n$4\r\nPING\r\n"),
    ("error text with line end", b"*1\r\n$8\r\nfoo\r\nbar\r\nPING\r\n"),
    ("error text, many arguments", b"bogus a b c d e f g h i j k l m n o p q r s t u v w x y z 0123456789012345678901234567890123456789\r\n"),
    ("quit", b"PING\r\nQUIT\r\nPING\r\n"),
    ("quit with arguments", b"QUIT a b\r\nPING\r\n"),
    ("quit in a transaction", b"MULTI\r\nSET x 1\r\nQUIT\r\nPING\r\n"),
    ("reply off", b"CLIENT REPLY OFF\r\nPING\r\nCLIENT REPLY ON\r\nPING\r\n"),
    ("reply skip", b"CLIENT REPLY SKIP\r\nPING\r\nPING two\r\n"),
    ("reply skip while off", b"CLIENT REPLY OFF\r\nCLIENT REPLY SKIP\r\nPING\r\nPING\r\nCLIENT REPLY ON\r\nPING\r\n"),
    ("reply off and an error", b"CLIENT REPLY OFF\r\nbogus\r\nCLIENT REPLY ON\r\n"),
    ("reset", b"HELLO 3\r\nSELECT 3\r\nCLIENT SETNAME x\r\nMULTI\r\nRESET\r\nCLIENT GETNAME\r\nGET nothing\r\n"),
    ("reset after reply off", b"CLIENT REPLY OFF\r\nRESET\r\nPING\r\n"),
    ("null in both protocols", b"GET nothing\r\nHELLO 3 SETNAME z\r\nGET nothing\r\nMULTI\r\nGET nothing\r\nEXEC\r\n"),
    ("exec aborted", b"MULTI\r\nbogus\r\nSET a\r\nSET a 1\r\nEXEC\r\nGET a\r\n"),
    ("exec, an error at run time", b"SET a x\r\nMULTI\r\nINCR a\r\nSET b 1\r\nEXEC\r\nGET b\r\n"),
    ("exec, watched and changed", b"WATCH a\r\nSET a 1\r\nMULTI\r\nGET a\r\nEXEC\r\nHELLO 3\r\nWATCH a\r\nSET a 2\r\nMULTI\r\nEXEC\r\n"),
    ("nested multi, watch inside", b"MULTI\r\nMULTI\r\nWATCH a\r\nUNWATCH\r\nEXEC\r\nEXEC\r\nDISCARD\r\n"),
    ("select in a transaction", b"MULTI\r\nSELECT 1\r\nSET here 1\r\nEXEC\r\nGET here\r\nSELECT 0\r\nGET here\r\n"),
    ("auth without a password", b"AUTH x\r\nAUTH default x\r\nAUTH default\r\nAUTH\r\nHELLO 3 AUTH default x\r\n"),
    ("monitor is not for transactions", b"MULTI\r\nMONITOR\r\nEXEC\r\n"),
    ("shutdown is not for transactions", b"MULTI\r\nSHUTDOWN bogus\r\nDISCARD\r\n"),
    ("subscribe", b"SUBSCRIBE a b a\r\nPING\r\nPING x\r\nPING a b\r\nGET a\r\nECHO\r\nbogus\r\nMULTI\r\nUNSUBSCRIBE a\r\nCLIENT ID\r\nUNSUBSCRIBE\r\nGET a\r\nPING\r\n"),
    ("subscribe, all kinds", b"SUBSCRIBE a\r\nPSUBSCRIBE a* b*\r\nSSUBSCRIBE a b\r\nUNSUBSCRIBE zz\r\nPUNSUBSCRIBE a* zz\r\nSUNSUBSCRIBE a zz\r\nPUNSUBSCRIBE\r\nGET a\r\nUNSUBSCRIBE\r\nGET a\r\nSUNSUBSCRIBE\r\nGET a\r\n"),
    ("unsubscribe from nothing", b"UNSUBSCRIBE\r\nPUNSUBSCRIBE\r\nSUNSUBSCRIBE\r\nUNSUBSCRIBE a b\r\nPUNSUBSCRIBE a\r\nSUNSUBSCRIBE a\r\nGET a\r\nHELLO 3 SETNAME z\r\nUNSUBSCRIBE\r\nSUNSUBSCRIBE a\r\n"),
    ("subscribe in a transaction", b"MULTI\r\nSUBSCRIBE a b\r\nGET x\r\nPSUBSCRIBE p*\r\nSSUBSCRIBE c\r\nUNSUBSCRIBE a\r\nEXEC\r\nPING\r\nMULTI\r\nEXEC\r\nGET x\r\n"),
    ("subscribe in a transaction of RESP3", b"HELLO 3 SETNAME z\r\nSUBSCRIBE a\r\nMULTI\r\nSUBSCRIBE b\r\nPING x\r\nUNSUBSCRIBE b a\r\nPSUBSCRIBE p*\r\nSSUBSCRIBE c\r\nEXEC\r\nGET x\r\n"),
    ("subscribe and change the protocol", b"HELLO 3 SETNAME z\r\nSUBSCRIBE a\r\nGET x\r\nPING\r\nHELLO 2 SETNAME z\r\nGET x\r\nPING\r\nHELLO 3\r\nRESET\r\nGET x\r\n"),
    ("subscribe and reset", b"SUBSCRIBE a\r\nPSUBSCRIBE b\r\nSSUBSCRIBE c\r\nRESET\r\nGET x\r\nPUBLISH a m\r\nPUBLISH b m\r\nSPUBLISH c m\r\nPUBSUB NUMPAT\r\nPUBSUB CHANNELS\r\n"),
    ("subscribe and quit", b"SUBSCRIBE a\r\nQUIT\r\nPING\r\n"),
    ("subscribe with replies off", b"CLIENT REPLY OFF\r\nSUBSCRIBE a\r\nPING\r\nGET x\r\nUNSUBSCRIBE\r\nGET x\r\nCLIENT REPLY ON\r\n"),
    ("subscribe with a reply skipped", b"CLIENT REPLY SKIP\r\nSUBSCRIBE a\r\nPING\r\nGET x\r\n"),
    ("subscribe in a transaction with replies off", b"CLIENT REPLY OFF\r\nMULTI\r\nPING\r\nSUBSCRIBE a\r\nUNSUBSCRIBE a\r\nEXEC\r\nCLIENT REPLY ON\r\nPING\r\n"),
    ("publish", b"PUBLISH a m\r\nSPUBLISH a m\r\nPUBLISH\r\nPUBLISH a\r\nPUBLISH a b c\r\nSPUBLISH a\r\nSUBSCRIBE\r\nPSUBSCRIBE\r\nSSUBSCRIBE\r\nMULTI\r\nPUBLISH a m\r\nEXEC\r\n"),
    ("pubsub", b"PUBSUB\r\nPUBSUB bogus\r\nPUBSUB CHANNELS\r\nPUBSUB CHANNELS a\r\nPUBSUB CHANNELS a b\r\nPUBSUB NUMSUB\r\nPUBSUB NUMSUB a a\r\nPUBSUB NUMPAT\r\nPUBSUB NUMPAT a\r\nPUBSUB SHARDCHANNELS\r\nPUBSUB SHARDCHANNELS a b\r\nPUBSUB SHARDNUMSUB a\r\nCOMMAND GETKEYS SPUBLISH a b\r\nCOMMAND GETKEYS PUBLISH a b\r\n"),
    ("protocol error after a subscription", b"SUBSCRIBE a\r\n*x\r\nPING\r\n"),
    ("protocol error after replies", b"PING\r\n*1\r\n$4\r\nPING\r\n*x\r\nPING\r\n"),
];

/// Conversations with a server whose password is `secret`.
const LOCKED: &[(&str, &[u8])] = &[
    ("nothing goes", b"PING\r\nGET a\r\nbogus\r\nSET\r\nMULTI\r\nEXEC\r\nSELECT 1\r\nCOMMAND\r\nQUIT\r\n"),
    ("reset goes", b"RESET\r\nGET a\r\n"),
    ("wrong password", b"AUTH wrong\r\nAUTH default wrong\r\nAUTH nobody secret\r\nGET a\r\n"),
    ("right password", b"AUTH secret\r\nGET a\r\nRESET\r\nGET a\r\n"),
    ("right password of the default user", b"AUTH default secret\r\nGET a\r\n"),
    ("a wrong one keeps the session", b"AUTH secret\r\nAUTH wrong\r\nGET a\r\n"),
    ("hello", b"HELLO 3\r\nHELLO 3 AUTH default wrong\r\nHELLO\r\nHELLO 2 SETNAME x\r\n"),
    ("hello without a version", b"HELLO\r\n"),
    ("hello with the password", b"HELLO 2 AUTH default secret SETNAME conn\r\nCLIENT GETNAME\r\n"),
    ("large multibulk before the password", b"*11\r\n$4\r\nPING\r\n"),
    ("large bulk before the password", b"*2\r\n$4\r\nECHO\r\n$16385\r\n"),
    ("just not too large", b"*10\r\n$4\r\nPING\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n"),
];

/// All that a server says to some bytes; the varying fields of HELLO are blanked.
fn answer(server: &Server, bytes: &[u8]) -> String {
    let mut client = server.connect();
    client.try_send_raw(bytes).expect("the server reads");
    // A server that has already closed the connection refuses this.
    let _ = client.finish_sending();
    let replies = client.read_to_close().expect("the server closes the connection");
    blank(&replies.escape_ascii().to_string())
}

/// Without what HELLO says of the process: its version, and the connection's number.
fn blank(text: &str) -> String {
    let mut blanked = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("version\\r\\n") {
        blanked.push_str(before);
        rest = after.find("$5\\r\\nproto").map_or("", |end| &after[end..]);
    }
    blanked.push_str(rest);
    let mut parts = blanked.split("$2\\r\\nid\\r\\n:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + "ID" + part.trim_start_matches(|c: char| c.is_ascii_digit())
    })
}

fn compare(conversations: &[(&str, &[u8])], directives: &[&str]) {
    let theirs = Server::start_with(Program::Redis, directives);
    let ours = Server::start_with(Program::Redstart, directives);
    let mut report = String::new();
    for (name, bytes) in conversations {
        let (their_answer, our_answer) = (answer(&theirs, bytes), answer(&ours, bytes));
        let expected = CONVERSATIONS.iter().any(|(exception, _)| exception == name);
        if expected {
            assert_ne!(their_answer, our_answer, "{name} is listed and doesn't differ");
        } else if their_answer != our_answer {
            let sent = bytes.escape_ascii();
            let _ = writeln!(
                report,
                "{name}: \"{sent}\"\n  theirs {their_answer}\n  ours   {our_answer}"
            );
        }
    }
    assert!(report.is_empty(), "conversations differ:\n{report}");
}

#[test]
fn conversations_are_equal_to_the_byte() {
    compare(OPEN, &["--appendonly", "no", "--save", ""]);
}

#[test]
fn conversations_before_a_password_are_equal_to_the_byte() {
    compare(LOCKED, &["--appendonly", "no", "--save", "", "--requirepass", "secret"]);
}
