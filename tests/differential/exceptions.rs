//! Where Redstart may answer otherwise than redis-server 7.0, each with its reason. Everything that
//! isn't listed here is a bug of ours.

use crate::compare::{Check, same, same_but_for_digits};
use crate::newer;
use crate::support::client::Value;
use crate::support::server::Program;

/// A difference in replies that is meant.
pub struct Exception {
    /// Why Redstart differs.
    pub reason: &'static str,
    /// Whether it explains this difference; the arguments are the command's.
    pub explains: fn(argv: &[Vec<u8>], theirs: &Value, ours: &Value) -> bool,
}

/// SCAN and its kin.
fn ends_with_scan(name: &[u8]) -> bool {
    [&b"SCAN"[..], b"HSCAN", b"SSCAN", b"ZSCAN"].iter().any(|scan| name.eq_ignore_ascii_case(scan))
}

/// Whether 7.2 names an encoding as ours does: lists have been listpacks only since then, and a hash or a
/// sorted set that gets more elements by one command than a listpack takes is none any more, even where some
/// of them are there twice.
pub fn is_encoding_of_7_2(theirs: &Value, ours: &Value) -> bool {
    let from =
        matches!(theirs.bytes(), Some(b"quicklist" | b"hashtable" | b"skiplist" | b"intset"));
    from && ours.bytes() == Some(b"listpack")
        || theirs.bytes() == Some(b"listpack")
            && matches!(ours.bytes(), Some(b"skiplist" | b"hashtable"))
}

/// XINFO's reply without what 7.2 added.
fn inactive(reply: &Value) -> Value {
    let is_new = |name: &Value| matches!(name.bytes(), Some(b"inactive" | b"active-time"));
    match reply {
        Value::Map(pairs) => Value::Map(
            pairs
                .iter()
                .filter(|(name, _)| !is_new(name))
                .map(|(name, value)| (name.clone(), inactive(value)))
                .collect(),
        ),
        Value::Array(all) => {
            let kept =
                |index: &usize| !is_new(&all[*index]) && (*index == 0 || !is_new(&all[index - 1]));
            Value::Array((0..all.len()).filter(kept).map(|index| inactive(&all[index])).collect())
        }
        other => other.clone(),
    }
}

/// Why what HELP replies differs.
pub const HELP: &str = "HELP texts are written in our own words";

/// Whether both sides explain a container's subcommands.
pub fn is_help(argv: &[Vec<u8>], theirs: &Value, ours: &Value) -> bool {
    argv.len() == 2
        && argv[1].eq_ignore_ascii_case(b"HELP")
        && matches!((theirs, ours), (Value::Array(_), Value::Array(_)))
}

/// Differences in replies to random commands.
pub const REPLIES: &[Exception] = &[
    Exception { reason: HELP, explains: is_help },
    Exception {
        reason: "SCAN reads cursors as 7.2: spaces may stand in front, nothing and -1 are no cursors",
        explains: |argv, theirs, ours| {
            let invalid = Value::Error(b"ERR invalid cursor".to_vec());
            argv.len() > 1
                && ends_with_scan(&argv[0])
                && argv.get(if argv[0].len() == 4 { 1 } else { 2 }).is_some_and(|cursor| {
                    cursor.is_empty() || cursor[0] == b'-' || cursor[0] == b' '
                })
                && (*theirs == invalid || *ours == invalid)
        },
    },
    Exception {
        reason: "7.0's MEMORY USAGE finds a key whose time has passed, until something else looks",
        explains: |argv, theirs, ours| {
            argv.len() > 2
                && argv[0].eq_ignore_ascii_case(b"MEMORY")
                && argv[1].eq_ignore_ascii_case(b"USAGE")
                && matches!(theirs, Value::Integer(_))
                && matches!(ours, Value::Null | Value::NullBulk)
        },
    },
    Exception {
        reason: "HELLO reads all its options before it looks at the password, as 7.2",
        explains: |argv, theirs, ours| {
            let starts = |value: &Value, start: &[u8]| match value {
                Value::Error(text) => text.starts_with(start),
                _ => false,
            };
            argv[0].eq_ignore_ascii_case(b"HELLO")
                && starts(theirs, b"WRONGPASS")
                && starts(ours, b"ERR Syntax error in HELLO option")
        },
    },
    Exception {
        reason: "a timeout beyond the clock is out of range as in 7.2, where 7.0 lets it overflow",
        explains: |_, theirs, ours| {
            *theirs == Value::Error(b"ERR timeout is negative".to_vec())
                && *ours == Value::Error(b"ERR timeout is out of range".to_vec())
        },
    },
    Exception {
        reason: "XREAD quotes its name where keys and ids don't match, as in 7.2",
        explains: |_, theirs, ours| {
            theirs.text().starts_with("ERR Unbalanced ")
                && ours.text().starts_with("ERR Unbalanced '")
        },
    },
    Exception {
        reason: "XAUTOCLAIM makes no room for as many ids as COUNT says",
        explains: |argv, theirs, _| {
            argv[0].eq_ignore_ascii_case(b"XAUTOCLAIM")
                && theirs.text().starts_with("ERR Insufficient memory")
        },
    },
    Exception {
        reason: "XREAD knows the id +, as in 7.4",
        explains: |argv, theirs, _| {
            argv[0].to_ascii_uppercase().starts_with(b"XREAD")
                && argv.iter().any(|word| word == b"+")
                && theirs.text().starts_with("ERR Invalid stream ID")
        },
    },
    Exception {
        reason: "XINFO tells when consumers were active, as in 7.2",
        explains: |argv, theirs, ours| {
            argv[0].eq_ignore_ascii_case(b"XINFO") && same(Check::Idle, theirs, &inactive(ours))
        },
    },
    Exception {
        reason: "a claim makes its consumer even if nothing can be claimed, as in 7.2",
        explains: |argv, theirs, ours| {
            let tells = |name: &[u8]| argv[0].eq_ignore_ascii_case(name);
            let is_consumers = argv.len() > 1
                && argv[1].to_ascii_uppercase().ends_with(b"CONSUMER")
                && matches!((theirs, ours), (Value::Integer(_), Value::Integer(_)));
            tells(b"XINFO") && !theirs.is_error() && !ours.is_error()
                || tells(b"XGROUP") && is_consumers
        },
    },
    Exception {
        reason: "XSETID doesn't go back behind what was deleted, as in 7.2",
        explains: |argv, _, ours| {
            let refusal = "ERR The ID specified in XSETID is smaller than current \
                           max_deleted_entry_id";
            argv[0].eq_ignore_ascii_case(b"XSETID") && ours.text() == refusal
        },
    },
    Exception {
        reason: "a sparse HyperLogLog whose runs don't cover all registers is refused at once",
        explains: |argv, theirs, ours| {
            argv[0].to_ascii_uppercase().starts_with(b"PF")
                && ours.text().starts_with("INVALIDOBJ")
                && !theirs.text().starts_with("WRONGTYPE")
        },
    },
    Exception {
        reason: "LPOS and LREM refuse the one number that has no counterpart, as 7.2",
        explains: |argv, _, ours| {
            let refusal = b"ERR value is out of range, value must between -9223372036854775807 \
                            and 9223372036854775807";
            [&b"LPOS"[..], b"LREM"].iter().any(|name| argv[0].eq_ignore_ascii_case(name))
                && argv.iter().any(|word| word == b"-9223372036854775808")
                && *ours == Value::Error(refusal.to_vec())
        },
    },
    Exception {
        reason: "encodings are those of 7.2, and SORT leaves a sorted set as it is",
        explains: |argv, theirs, ours| {
            argv.len() > 2
                && argv[0].eq_ignore_ascii_case(b"OBJECT")
                && argv[1].eq_ignore_ascii_case(b"ENCODING")
                && is_encoding_of_7_2(theirs, ours)
        },
    },
    Exception {
        reason: "scores have as few digits as tell the number, as in 7.2",
        explains: |argv, theirs, ours| {
            argv[0].to_ascii_uppercase().starts_with(b"Z") && same_but_for_digits(theirs, ours)
        },
    },
    Exception {
        reason: "ZRANK and ZREVRANK know WITHSCORE, as in 7.2",
        explains: |argv, theirs, _| {
            let ranks = |name: &[u8]| argv[0].eq_ignore_ascii_case(name);
            (ranks(b"ZRANK") || ranks(b"ZREVRANK")) && argv.len() > 3 && theirs.is_error()
        },
    },
    Exception {
        reason: "7.0's SORT takes an error for its own that another number left behind",
        explains: |argv, theirs, ours| {
            argv[0].to_ascii_uppercase().starts_with(b"SORT")
                && theirs.text().starts_with("ERR One or more scores can't be converted")
                && matches!(ours, Value::Array(_) | Value::Integer(_))
        },
    },
    Exception {
        reason: "BITCOUNT and BITPOS look at their arguments before the key, as in 7.2, and BITCOUNT takes a \
                 start without an end, as in Valkey 8",
        explains: |argv, theirs, ours| {
            let counts = argv[0].eq_ignore_ascii_case(b"BITCOUNT");
            let wrong_type = theirs.text().starts_with("WRONGTYPE");
            let none = |number: &i64| matches!(number, -1..=0);
            (counts || argv[0].eq_ignore_ascii_case(b"BITPOS"))
                && (ours.is_error()
                    && (wrong_type
                        || theirs.is_error()
                        || matches!(theirs, Value::Integer(number) if none(number)))
                    || counts && argv.len() == 3 && theirs.is_error())
        },
    },
    Exception {
        reason: "LOLWUT draws another picture, and draws it for every version",
        explains: |argv, theirs, ours| {
            argv[0].eq_ignore_ascii_case(b"LOLWUT")
                && std::mem::discriminant(theirs) == std::mem::discriminant(ours)
                && !theirs.is_error()
        },
    },
    Exception {
        reason: "COMMAND LIST and the whole of COMMAND depend on which commands there are",
        explains: |argv, theirs, ours| {
            argv[0].eq_ignore_ascii_case(b"COMMAND")
                && match argv.get(1) {
                    Some(word) => argv.len() == 2 && word.eq_ignore_ascii_case(b"LIST"),
                    None => true,
                }
                && !matches!(theirs, Value::Error(_))
                && !matches!(ours, Value::Error(_))
        },
    },
    Exception {
        reason: "CONFIG GET with a pattern finds directives that 7.0 doesn't have",
        explains: |argv, theirs, ours| {
            let (theirs, ours) = (theirs.elements(), ours.elements());
            argv.len() > 2
                && argv[0].eq_ignore_ascii_case(b"CONFIG")
                && argv[1].eq_ignore_ascii_case(b"GET")
                && argv[2..].iter().any(|word| word.contains(&b'*'))
                && theirs.chunks(2).all(|pair| ours.chunks(2).any(|other| pair == other))
        },
    },
    Exception {
        reason: "lazyfree-lazy-* are on by default, as in Valkey 8",
        explains: |argv, _, ours| {
            argv.len() == 3
                && argv[0].eq_ignore_ascii_case(b"CONFIG")
                && argv[1].eq_ignore_ascii_case(b"GET")
                && argv[2] == b"lazyfree-*"
                && ours.elements().chunks(2).all(|pair| pair[1] == Value::bulk("yes"))
        },
    },
    Exception {
        reason: "loglevel knows the word nothing, as in 7.2",
        explains: |argv, _, _| {
            argv.len() > 3
                && argv[0].eq_ignore_ascii_case(b"CONFIG")
                && argv[1].eq_ignore_ascii_case(b"SET")
                && argv[2].eq_ignore_ascii_case(b"loglevel")
        },
    },
];

/// Whether a command whose replies may differ leaves other data where they do.
pub fn may_store(oracle: Program, argv: &[Vec<u8>]) -> bool {
    oracle == Program::Valkey && newer::may_store(argv)
        || argv[0].eq_ignore_ascii_case(b"XSETID")
        || argv[0].eq_ignore_ascii_case(b"EXEC")
        || [&b"PFADD"[..], b"PFMERGE", b"XAUTOCLAIM"]
            .iter()
            .any(|name| argv[0].eq_ignore_ascii_case(name))
        || argv[0].eq_ignore_ascii_case(b"SORT")
            && argv.iter().any(|arg| arg.eq_ignore_ascii_case(b"STORE"))
}

/// Why these replies may differ, where they may.
pub fn reason(
    oracle: Program,
    argv: &[Vec<u8>],
    theirs: &Value,
    ours: &Value,
) -> Option<&'static str> {
    let exceptions = if oracle == Program::Valkey { newer::EXCEPTIONS } else { REPLIES };
    let exception = exceptions.iter().find(|exception| (exception.explains)(argv, theirs, ours))?;
    Some(exception.reason)
}

/// What raw conversations may answer otherwise: the conversation's name and the reason.
pub const CONVERSATIONS: &[(&str, &str)] = &[
    ("inline, nul", "a zero byte ends upstream's line, and with it what it reads"),
    ("hello", "7.2's text, which names the protocol version"),
    ("hello without a version", "7.2's text, which names the protocol version"),
];

/// Commands (`name` or `container|subcommand`) whose COMMAND INFO differs.
pub const COMMAND_INFO: &[(&str, &str)] = &[
    ("blmove", "scripts may call it since 7.2"),
    ("blpop", "scripts may call it since 7.2"),
    ("brpop", "scripts may call it since 7.2"),
    ("brpoplpush", "scripts may call it since 7.2"),
    ("bzpopmax", "scripts may call it since 7.2"),
    ("bzpopmin", "scripts may call it since 7.2"),
    ("wait", "scripts may call it since 7.2"),
    ("zrank", "7.2's form, which knows WITHSCORE"),
    ("zrevrank", "7.2's form, which knows WITHSCORE"),
];

/// Commands whose argument tree in COMMAND DOCS differs.
pub const COMMAND_DOCS: &[(&str, &str)] = &[
    ("function|restore", "the usage line has no name for the choice"),
    ("xadd", "it takes KEEPREF, DELREF and ACKED of Redis 8.2"),
    ("xreadgroup", "it takes CLAIM of Redis 8.4"),
    ("xtrim", "it takes KEEPREF, DELREF and ACKED of Redis 8.2"),
    ("bgsave", "CANCEL is Valkey 8.1's"),
    ("bitcount", "the end may be left out, as in Valkey 8"),
    ("bitop", "its operations have names since 7.2, and four are of Redis 8.2"),
    ("client|list", "ID takes one or more"),
    ("client|kill", "the usage line has both forms in one"),
    ("client|no-evict", "7.2's form"),
    ("client|pause", "since when is 3.0.0 by its own page"),
    ("migrate", "a choice that may be left out has no parts that may be left out as well"),
    ("command|getkeys", "7.2's form"),
    ("command|getkeysandflags", "7.2's form"),
    ("config|get", "a string, as in 7.2"),
    ("geosearch", "BYPOLYGON is Valkey 9's"),
    ("geosearchstore", "BYPOLYGON is Valkey 9's"),
    ("hscan", "NOVALUES is Redis 7.4's"),
    ("zscan", "NOSCORES is Valkey 8's"),
    ("lcs", "7.2's names"),
    ("pfmerge", "7.2's form"),
    ("psubscribe", "7.2's form"),
    ("set", "IFEQ is Valkey's"),
    ("zadd", "CH is named by its word"),
    ("zinter", "AGGREGATE COUNT is Redis 8.8's"),
    ("zinterstore", "AGGREGATE COUNT is Redis 8.8's"),
    ("zrank", "WITHSCORE is 7.2's"),
    ("zrevrank", "WITHSCORE is 7.2's"),
    ("zunion", "AGGREGATE COUNT is Redis 8.8's"),
    ("zunionstore", "AGGREGATE COUNT is Redis 8.8's"),
];

/// Directives of redis-server 7.0 that CONFIG GET of ours doesn't know.
pub const CONFIG_LACKING: &[(&str, &str)] =
    &[("aof-disable-auto-gc", "hidden from patterns, as in Valkey")];

/// Fields of redis-server 7.0's INFO that ours doesn't give.
pub const INFO_LACKING: &[(&str, &str)] = &[];
