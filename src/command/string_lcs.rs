//! LCS: the longest common subsequence of two strings, by the classic table of the lengths for all
//! pairs of prefixes (Wagner and Fischer 1974).

use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::spec::{Arity::AtLeast, Command, DataHandler, Flow, Group, Key, read};
use crate::data::value::ValueRef;

/// The one command.
pub(crate) const COMMANDS: &[Command<DataHandler>] = &[read::<DataHandler>("LCS", AtLeast(3), lcs)
    .group(Group::String)
    .keys(&[Key::at(1).range(1, 1).ro().access()])
    .since("7.0.0")
    .cost("O(N*M) for strings of N and M bytes")
    .syntax("key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]")
    .summary("Finds the longest common subsequence of two strings.")];

#[derive(Clone, Copy, Default)]
struct Options {
    len: bool,
    idx: bool,
    shortest_match: i64,
    with_lengths: bool,
}

/// A stretch that both strings share: first and last position in each.
struct Match {
    a: (usize, usize),
    b: (usize, usize),
}

impl Match {
    fn len(&self) -> usize {
        self.a.1 - self.a.0 + 1
    }
}

fn lcs(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (Some(a), Some(b)) = (bytes_of(cx, args.at(1)), bytes_of(cx, args.at(2))) else {
        return Err(CommandError::text("ERR The specified keys must contain string values"));
    };
    let options = parse(args)?;
    if options.len && options.idx {
        return Err(CommandError::text(
            "ERR If you want both the length and indexes, please just use IDX.",
        ));
    }
    let too_long = CommandError::text("ERR String too long for LCS");
    if a.len() >= u32::MAX as usize - 1 || b.len() >= u32::MAX as usize - 1 {
        return Err(too_long);
    }
    let cells = (a.len() as u64 + 1) * (b.len() as u64 + 1);
    if cells * 4 > cx.limits.string_bytes_max {
        return Err(CommandError::text(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    answer(cx, &a, &b, options);
    Ok(Flow::Done)
}

/// The string at a key, empty where there is none; `None` where it is something else.
fn bytes_of(cx: &mut Cx<'_>, key: &[u8]) -> Option<Vec<u8>> {
    match cx.databases.db(cx.selected).read_string(key) {
        Ok(None) => Some(Vec::new()),
        Ok(Some(ValueRef::Str(bytes))) => Some(bytes.to_vec()),
        Ok(Some(ValueRef::Int(number))) => Some(number.to_string().into_bytes()),
        Ok(Some(ValueRef::Object(_))) | Err(_) => None,
    }
}

fn parse(args: Args<'_>) -> Result<Options, CommandError> {
    let mut options = Options::default();
    let mut index = 3;
    while index < args.len() {
        if args.is(index, "IDX") {
            options.idx = true;
        } else if args.is(index, "LEN") {
            options.len = true;
        } else if args.is(index, "WITHMATCHLEN") {
            options.with_lengths = true;
        } else if args.is(index, "MINMATCHLEN") && index + 1 < args.len() {
            index += 1;
            options.shortest_match = args.int(index)?.max(0);
        } else {
            return Err(CommandError::Syntax);
        }
        index += 1;
    }
    Ok(options)
}

fn answer(cx: &mut Cx<'_>, a: &[u8], b: &[u8], options: Options) {
    let width = b.len() + 1;
    let mut table = vec![0u32; (a.len() + 1) * width];
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            table[(i + 1) * width + j + 1] = if x == y {
                table[i * width + j] + 1
            } else {
                table[i * width + j + 1].max(table[(i + 1) * width + j])
            };
        }
    }
    let length = table[a.len() * width + b.len()] as usize;
    if options.len {
        cx.reply.count(length);
        return;
    }
    let mut common = vec![0; length];
    let matches = walk_back(a, b, &table, &mut common);
    if !options.idx {
        cx.reply.bulk(&common);
        return;
    }
    let shown: Vec<&Match> =
        matches.iter().filter(|found| found.len() as i64 >= options.shortest_match).collect();
    cx.reply.map(2);
    cx.reply.bulk(b"matches");
    cx.reply.array(shown.len());
    for found in shown {
        cx.reply.array(2 + usize::from(options.with_lengths));
        for (first, last) in [found.a, found.b] {
            cx.reply.array(2);
            cx.reply.count(first);
            cx.reply.count(last);
        }
        if options.with_lengths {
            cx.reply.count(found.len());
        }
    }
    cx.reply.bulk(b"len");
    cx.reply.count(length);
}

/// Follows the table from its end: fills in the subsequence and returns the matches, the last ones
/// first.
fn walk_back(a: &[u8], b: &[u8], table: &[u32], common: &mut [u8]) -> Vec<Match> {
    let width = b.len() + 1;
    let mut matches: Vec<Match> = Vec::new();
    let (mut i, mut j, mut at) = (a.len(), b.len(), common.len());
    while i > 0 && j > 0 && at > 0 {
        if a[i - 1] == b[j - 1] {
            at -= 1;
            common[at] = a[i - 1];
            match matches.last_mut() {
                Some(last) if last.a.0 == i && last.b.0 == j => {
                    last.a.0 = i - 1;
                    last.b.0 = j - 1;
                }
                _ => matches.push(Match { a: (i - 1, i - 1), b: (j - 1, j - 1) }),
            }
            i -= 1;
            j -= 1;
        } else if table[(i - 1) * width + j] > table[i * width + j - 1] {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    matches
}
