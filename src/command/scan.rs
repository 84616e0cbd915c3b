//! Walking over the keys of a database: SCAN in steps, KEYS at once.

use crate::base::text;
use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Command, DataHandler, Flow, read,
};
use crate::resp::reply::Reply;

/// Commands that list keys.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[
    read::<DataHandler>("SCAN", AtLeast(2), scan)
        .tips(&["nondeterministic_output", "request_policy:special"])
        .since("2.8.0")
        .cost("O(1) for a call with the default count, O(N) for a walk over all N keys")
        .syntax("cursor [MATCH pattern] [COUNT count] [TYPE type]")
        .summary("Goes on with a walk over the keys of the database.")
        .history(&[("6.0.0", "Filters by `TYPE`.")]),
    read::<DataHandler>("KEYS", Exactly(2), keys)
        .categories(&["dangerous"])
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"])
        .since("1.0.0")
        .cost("O(N) for N keys in the database")
        .syntax("pattern")
        .summary("Lists all keys whose names match a pattern."),
];

/// How many entries a call looks for where COUNT doesn't say.
const COUNT: usize = 10;

/// A glob pattern, with the forms that need no matching told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern<'a> {
    /// Everything.
    All,
    /// One name.
    Name(&'a [u8]),
    /// All that begins with a prefix: no special character but a `*` at the end.
    Prefix(&'a [u8]),
    /// Whatever else.
    Glob(&'a [u8]),
}

impl<'a> Pattern<'a> {
    /// The simplest form of a pattern.
    pub(super) fn new(pattern: &'a [u8]) -> Self {
        let special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b'\\');
        match (pattern.iter().position(special), pattern) {
            (_, b"*") => Self::All,
            (None, name) => Self::Name(name),
            (Some(at), [prefix @ .., b'*']) if at == prefix.len() => Self::Prefix(prefix),
            _ => Self::Glob(pattern),
        }
    }

    /// Whether a name matches.
    #[inline]
    pub(super) fn matches(self, name: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Name(wanted) => name == wanted,
            Self::Prefix(prefix) => name.starts_with(prefix),
            Self::Glob(pattern) => text::glob(pattern, name, false),
        }
    }
}

/// What SCAN was asked for.
struct Options<'a> {
    count: usize,
    pattern: Pattern<'a>,
    kind: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(args: Args<'a>) -> Result<Self, CommandError> {
        let mut options = Self { count: COUNT, pattern: Pattern::All, kind: None };
        let mut at = 2;
        while at < args.len() {
            let Some(value) = args.get(at + 1) else { return Err(CommandError::Syntax) };
            if args.is(at, "COUNT") {
                let count = args.int(at + 1)?;
                options.count = usize::try_from(count).map_err(|_| CommandError::Syntax)?;
                if count == 0 {
                    return Err(CommandError::Syntax);
                }
            } else if args.is(at, "MATCH") {
                options.pattern = Pattern::new(value);
            } else if args.is(at, "TYPE") {
                options.kind = Some(value);
            } else {
                return Err(CommandError::Syntax);
            }
            at += 2;
        }
        Ok(options)
    }
}

/// A cursor as a client gives it back: any unsigned 64-bit number, which may have spaces, a sign and
/// zeros in front and anything behind a zero byte. As in upstream, which reads with `strtoull` what is no
/// signed number in plain digits, a minus counts from 2^64 down there, and is refused otherwise.
pub(super) fn cursor(bytes: &[u8]) -> Result<u64, CommandError> {
    const INVALID: CommandError = CommandError::text("ERR invalid cursor");
    if let Some(number) = text::parse_i64(bytes) {
        return u64::try_from(number).map_err(|_| INVALID);
    }
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default().trim_ascii_start();
    let (negative, digits) = match bytes {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    let number = digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    });
    let number = number.filter(|_| !digits.is_empty()).ok_or(INVALID)?;
    Ok(if negative { number.wrapping_neg() } else { number })
}

fn scan(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let start = cursor(args.at(1))?;
    let Options { count, pattern, kind } = Options::parse(args)?;
    let mut names = Vec::new();
    let mut ends = Vec::new();
    let next = cx.databases.db(cx.selected).scan(
        start,
        count,
        |entry| {
            let of_kind =
                |kind: &[u8]| entry.value().kind().name().as_bytes().eq_ignore_ascii_case(kind);
            kind.is_none_or(of_kind) && pattern.matches(entry.key())
        },
        |entry| {
            names.extend_from_slice(entry.key());
            ends.push(names.len());
        },
    );
    cx.reply.array(2);
    let mut digits = itoa::Buffer::new();
    cx.reply.bulk(digits.format(next).as_bytes());
    cx.reply.array(ends.len());
    let mut begin = 0;
    for end in ends {
        cx.reply.bulk(&names[begin..end]);
        begin = end;
    }
    Ok(Flow::Done)
}

fn keys(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut db = cx.databases.db(cx.selected);
    let start = cx.reply.deferred();
    let mut found = 0;
    match Pattern::new(args.at(1)) {
        Pattern::Name(name) => {
            if db.exists(name) {
                cx.reply.bulk(name);
                found = 1;
            }
        }
        pattern => db.for_each(|entry| {
            if pattern.matches(entry.key()) {
                cx.reply.bulk(entry.key());
                found += 1;
            }
        }),
    }
    cx.reply.finish_array(start, found);
    Ok(Flow::Done)
}

/// What HSCAN, SSCAN and ZSCAN are asked for.
pub(super) struct ElementOptions<'a> {
    pub(super) count: usize,
    pub(super) pattern: Pattern<'a>,
    /// Without HSCAN's NOVALUES and ZSCAN's NOSCORES.
    pub(super) values: bool,
}

impl<'a> ElementOptions<'a> {
    /// Reads the options from argument 3 on. `bare` is the one that leaves out what belongs to an
    /// element, where the command has such an option.
    pub(super) fn parse(args: Args<'a>, bare: Option<&str>) -> Result<Self, CommandError> {
        let mut options = Self { count: COUNT, pattern: Pattern::All, values: true };
        let mut at = 3;
        while at < args.len() {
            if bare.is_some_and(|bare| args.is(at, bare)) {
                options.values = false;
                at += 1;
                continue;
            }
            let Some(value) = args.get(at + 1) else { return Err(CommandError::Syntax) };
            if args.is(at, "COUNT") {
                let count = usize::try_from(args.int(at + 1)?).unwrap_or(0);
                options.count =
                    Some(count).filter(|count| *count > 0).ok_or(CommandError::Syntax)?;
            } else if args.is(at, "MATCH") {
                options.pattern = Pattern::new(value);
            } else {
                return Err(CommandError::Syntax);
            }
            at += 2;
        }
        Ok(options)
    }
}

/// The answer to a scan of what isn't there.
pub(super) fn reply_nothing(reply: &mut Reply<'_>) {
    reply.array(2);
    reply.bulk(b"0");
    reply.array(0);
}

/// Replies with the next cursor and elements, both of which `scan` finds out: it writes the elements,
/// and returns the cursor and their number.
pub(super) fn reply_elements(
    reply: &mut Reply<'_>,
    scan: impl FnOnce(&mut Reply<'_>) -> (u64, usize),
) {
    // The cursor comes first, and is known last.
    let mut elements = Vec::new();
    let (next, found) = scan(&mut Reply::new(&mut elements, reply.protocol()));
    reply.array(2);
    let mut digits = itoa::Buffer::new();
    reply.bulk(digits.format(next).as_bytes());
    reply.array(found);
    reply.raw(&elements);
}

/// The count of a command that chooses elements at random: negative where it may choose one twice.
pub(super) fn random_count(args: Args<'_>, index: usize) -> Result<i64, CommandError> {
    let count = args.int(index)?;
    if count == i64::MIN {
        return Err(CommandError::text(
            "ERR value is out of range, value must between -9223372036854775807 and \
             9223372036854775807",
        ));
    }
    Ok(count)
}

/// The count of a command that takes elements out.
pub(super) fn positive_count(args: Args<'_>, index: usize) -> Result<usize, CommandError> {
    let count = args.int(index).ok().and_then(|count| usize::try_from(count).ok());
    count.ok_or(CommandError::text("ERR value is out of range, must be positive"))
}

/// Elements that one command may choose where it may choose one twice: more would fill any memory.
const REPEATS_MAX: u64 = 1 << 27;

/// How many elements a negative count asks for.
pub(super) fn repeats(count: i64) -> Result<usize, CommandError> {
    let repeats = count.unsigned_abs();
    if repeats > REPEATS_MAX {
        return Err(CommandError::text("ERR value is out of range"));
    }
    Ok(repeats as usize)
}
