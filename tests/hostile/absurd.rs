//! Numbers that no machine can serve are refused, and the server goes on.

use crate::start;
use crate::support::server::Program;

#[test]
fn debug_refuses_absurd_numbers() {
    let server = start(Program::Redstart, &["--enable-debug-command", "yes"]);
    let mut client = server.connect();
    let huge = i64::MAX.to_string();
    for (command, refusal) in [
        (format!("DEBUG POPULATE 1 k {huge}"), "ERR string exceeds maximum allowed size"),
        ("DEBUG POPULATE 1 k 536870913".to_owned(), "ERR string exceeds maximum allowed size"),
        (format!("DEBUG POPULATE {huge}"), "ERR OOM"),
        (format!("DEBUG POPULATE {huge} k 1"), "ERR OOM"),
        ("DEBUG POPULATE 1000000000 k 100000000".to_owned(), "ERR OOM"),
        ("DEBUG POPULATE -1".to_owned(), "ERR value is out of range, must be positive"),
        ("DEBUG POPULATE 99999999999999999999".to_owned(), "ERR value is out of range"),
        (format!("DEBUG STRINGMATCH-LEN {huge} a*b"), "ERR string exceeds maximum allowed size"),
        ("DEBUG STRINGMATCH-LEN -1 a*b".to_owned(), "ERR value is out of range"),
        ("DEBUG QUICKLIST-PACKED-THRESHOLD 4gb".to_owned(), "ERR argument must be a memory value"),
        ("DEBUG REPLYBUFFER PEAK-RESET-TIME x".to_owned(), "ERR value is not an integer"),
        ("DEBUG HTSTATS 99999999999".to_owned(), "ERR Out of range database"),
    ] {
        let reply = client.words(&command).text();
        assert!(reply.starts_with(refusal), "{command}: {reply}");
    }
    assert_eq!(client.words("DBSIZE").integer(), Some(0));
}

#[test]
fn a_populated_value_of_no_size_is_its_text() {
    for program in crate::BOTH {
        let server = start(program, &["--enable-debug-command", "yes"]);
        let mut client = server.connect();
        assert_eq!(client.words("DEBUG POPULATE 2 k 0").text(), "OK");
        assert_eq!(client.words("GET k:1").text(), "value:1", "{program:?}");
    }
}
