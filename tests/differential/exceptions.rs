//! Where Redstart may answer otherwise than redis-server 7.0, each with its reason. Everything that
//! isn't listed here is a bug of ours.

use crate::support::client::Value;

/// A difference in replies that is meant.
pub struct Exception {
    /// Why Redstart differs.
    pub reason: &'static str,
    /// Whether it explains this difference; the arguments are the command's.
    pub explains: fn(argv: &[Vec<u8>], theirs: &Value, ours: &Value) -> bool,
}

/// Differences in replies to random commands.
pub const REPLIES: &[Exception] = &[
    Exception {
        reason: "HELP texts are written in our own words",
        explains: |argv, theirs, ours| {
            argv.len() == 2
                && argv[1].eq_ignore_ascii_case(b"HELP")
                && matches!((theirs, ours), (Value::Array(_), Value::Array(_)))
        },
    },
    Exception {
        reason: "SCAN reads cursors as 7.2: spaces may stand in front, nothing and -1 are no cursors",
        explains: |argv, _, _| {
            argv.len() > 1
                && argv[0].eq_ignore_ascii_case(b"SCAN")
                && [&b""[..], b"-1", b" 0"].contains(&&argv[1][..])
        },
    },
];

/// Why these replies may differ, where they may.
pub fn reason(argv: &[Vec<u8>], theirs: &Value, ours: &Value) -> Option<&'static str> {
    let exception = REPLIES.iter().find(|exception| (exception.explains)(argv, theirs, ours))?;
    Some(exception.reason)
}

/// What raw conversations may answer otherwise: the conversation's name and the reason.
pub const CONVERSATIONS: &[(&str, &str)] = &[];

/// Commands (`name` or `container|subcommand`) whose COMMAND INFO differs.
pub const COMMAND_INFO: &[(&str, &str)] = &[];

/// Commands whose argument tree in COMMAND DOCS differs.
pub const COMMAND_DOCS: &[(&str, &str)] = &[];

/// Directives of redis-server 7.0 that CONFIG GET of ours doesn't know.
pub const CONFIG_LACKING: &[(&str, &str)] = &[];

/// Fields of redis-server 7.0's INFO that ours doesn't give.
pub const INFO_LACKING: &[(&str, &str)] = &[];
