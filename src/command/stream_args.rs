//! What the commands on streams share of their arguments: ids, and what to trim.

use std::ops::Range;

use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::data::stream::{
    Forgotten, IdDigits, IdText, References, Stream, StreamId, Trim, TrimTo, Trimmed,
};

/// What is no id.
pub(super) const BAD_ID: CommandError =
    CommandError::text("ERR Invalid stream ID specified as stream command argument");

/// Where the ids are that an argument counts and that follow it.
///
/// # Errors
/// `no_count` where that is no positive number, `wrong_count` where there are fewer.
pub(super) fn counted_ids(
    args: Args<'_>,
    count_at: usize,
    no_count: CommandError,
    wrong_count: CommandError,
) -> Result<Range<usize>, CommandError> {
    let count = args.int(count_at).ok().and_then(|count| usize::try_from(count).ok());
    let count = count.filter(|count| *count > 0).ok_or(no_count)?;
    let first = count_at + 1;
    if count > args.len() - first {
        return Err(wrong_count);
    }
    Ok(first..first + count)
}

/// Entries that `~` takes out at most where no LIMIT is given, in nodes.
const NODES_AT_ONCE: usize = 100;
/// The same where a node's entries have no limit.
const ENTRIES_AT_ONCE: usize = 10_000;
/// And the most of all.
const ENTRIES_AT_ONCE_MAX: usize = 1_000_000;

/// An id in an argument, whose number within the millisecond is `seq` where it isn't given.
pub(super) fn id_in(text: &[u8], seq: u64) -> Result<StreamId, CommandError> {
    match StreamId::parse(text).ok_or(BAD_ID)? {
        IdText::Whole(id) => Ok(id),
        IdText::Millisecond(ms) => Ok(StreamId { ms, seq }),
        IdText::NextIn(_) => Err(BAD_ID),
    }
}

/// [`id_in`] of the argument at an index.
pub(super) fn id_at(args: Args<'_>, index: usize) -> Result<StreamId, CommandError> {
    id_in(args.at(index), 0)
}

/// As [`id_at`], where `-` and `+` stand for the least and the greatest.
pub(super) fn id_or_bound(text: &[u8], seq: u64) -> Result<StreamId, CommandError> {
    match text {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        text => id_in(text, seq),
    }
}

/// An end of an interval.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    Start,
    End,
}

/// An end of an interval, `(` before it leaving it out.
pub(super) fn interval_bound(text: &[u8], bound: Bound) -> Result<StreamId, CommandError> {
    let seq = match bound {
        Bound::Start => 0,
        Bound::End => u64::MAX,
    };
    match (text, bound) {
        ([b'('], _) => Err(BAD_ID),
        ([b'(', rest @ ..], Bound::Start) => id_in(rest, seq)?
            .next()
            .ok_or(CommandError::text("ERR invalid start ID for the interval")),
        ([b'(', rest @ ..], Bound::End) => id_in(rest, seq)?
            .previous()
            .ok_or(CommandError::text("ERR invalid end ID for the interval")),
        _ => id_or_bound(text, seq),
    }
}

/// What is to be trimmed, as the arguments of XADD and XTRIM say it.
#[derive(Clone, Copy, Debug)]
pub(super) struct TrimOption {
    pub(super) to: TrimTo,
    roughly: bool,
    limit: Option<usize>,
    /// The arguments that say so.
    strategy_at: usize,
    sign_at: Option<usize>,
    threshold_at: usize,
    limit_at: Option<usize>,
    references: References,
    references_at: Option<usize>,
}

/// To what a stream was trimmed.
#[derive(Debug, Default)]
pub(super) struct Exact {
    strategy: &'static [u8],
    threshold: Vec<u8>,
}

/// Options on the way, of which LIMIT may come first.
#[derive(Debug, Default)]
pub(super) struct TrimParser {
    strategy: Option<TrimOption>,
    limit: Option<(usize, usize)>,
    references: Option<(References, usize)>,
}

/// What the argument at an index says of references to entries that go, if it says that.
pub(super) fn references_at(args: Args<'_>, index: usize) -> Option<References> {
    Some(match () {
        () if args.is(index, "KEEPREF") => References::Keep,
        () if args.is(index, "DELREF") => References::Remove,
        () if args.is(index, "ACKED") => References::Acknowledged,
        () => return None,
    })
}

impl TrimParser {
    /// Reads an option at an index; says how many arguments it took, 0 where it is none.
    pub(super) fn option(&mut self, args: Args<'_>, at: usize) -> Result<usize, CommandError> {
        let more = args.len() - 1 - at;
        let is_len = args.is(at, "MAXLEN");
        if more > 0 && (is_len || args.is(at, "MINID")) {
            if self.strategy.is_some() {
                return Err(CommandError::text(
                    "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
                ));
            }
            let signed = more > 1 && matches!(args.at(at + 1), b"~" | b"=");
            let threshold_at = at + 1 + usize::from(signed);
            let to = if is_len {
                let keep = usize::try_from(args.int(threshold_at)?)
                    .map_err(|_| CommandError::text("ERR The MAXLEN argument must be >= 0."))?;
                TrimTo::Len(keep)
            } else {
                TrimTo::From(id_at(args, threshold_at)?)
            };
            self.strategy = Some(TrimOption {
                to,
                roughly: signed && args.at(at + 1) == b"~",
                limit: None,
                strategy_at: at,
                sign_at: signed.then_some(at + 1),
                threshold_at,
                limit_at: None,
                references: References::Keep,
                references_at: None,
            });
            return Ok(threshold_at + 1 - at);
        }
        if more > 0 && args.is(at, "LIMIT") {
            let limit = usize::try_from(args.int(at + 1)?)
                .map_err(|_| CommandError::text("ERR The LIMIT argument must be >= 0."))?;
            self.limit = Some((limit, at));
            return Ok(2);
        }
        if let Some(references) = references_at(args, at) {
            if self.references.replace((references, at)).is_some() {
                return Err(CommandError::Syntax);
            }
            return Ok(1);
        }
        Ok(0)
    }

    /// The argument that says what becomes of references.
    pub(super) fn references_at(&self) -> Option<usize> {
        self.references.map(|(_, at)| at)
    }

    /// What the options together say.
    pub(super) fn finish(self, replaying: bool) -> Result<Option<TrimOption>, CommandError> {
        let Some(mut option) = self.strategy else {
            if self.limit.is_some() {
                return Err(CommandError::text(
                    "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
                ));
            }
            return Ok(None);
        };
        if let Some((limit, at)) = self.limit {
            if !option.roughly && !replaying {
                return Err(CommandError::text(
                    "ERR syntax error, LIMIT cannot be used without the special ~ option",
                ));
            }
            (option.limit, option.limit_at) = (Some(limit), Some(at));
        }
        if let Some((references, at)) = self.references {
            (option.references, option.references_at) = (references, Some(at));
        }
        Ok(Some(option))
    }
}

impl TrimOption {
    /// What to trim. What was accepted once isn't limited again.
    pub(super) fn trim(&self, cx: &Cx<'_>) -> Trim {
        let limit = match self.limit {
            _ if cx.replaying || !self.roughly => 0,
            Some(limit) => limit,
            None => match cx.limits.thresholds.stream_node_entries.saturating_mul(NODES_AT_ONCE) {
                0 => ENTRIES_AT_ONCE,
                entries => entries.min(ENTRIES_AT_ONCE_MAX),
            },
        };
        Trim { to: self.to, roughly: self.roughly, limit, references: self.references }
    }

    /// Whether the command as it came could trim otherwise elsewhere, or older servers don't know it.
    pub(super) fn is_vague(&self) -> bool {
        self.roughly || self.references_at.is_some()
    }

    /// The same option as it turned out.
    pub(super) fn after(self, trimmed: &Trimmed) -> Self {
        Self { references: trimmed.references, ..self }
    }

    /// What was trimmed to.
    pub(super) fn exact(&self, stream: &Stream) -> Exact {
        match (self.to, stream.first_id()) {
            (TrimTo::From(_), Some(first)) => {
                Exact { strategy: b"MINID", threshold: first.to_string().into_bytes() }
            }
            // Nothing is left: no id says so as plainly.
            _ => Exact { strategy: b"MAXLEN", threshold: stream.len().to_string().into_bytes() },
        }
    }

    /// The word that stands for an argument in a record that trims exactly as far; `None` for one that
    /// is left out. Where only some entries go, others tell which.
    pub(super) fn exact_word<'w>(
        &self,
        index: usize,
        word: &'w [u8],
        exact: &'w Exact,
    ) -> Option<&'w [u8]> {
        let of_limit = self.limit_at.is_some_and(|at| index == at || index == at + 1);
        let of_trim = of_limit
            || index == self.strategy_at
            || index == self.threshold_at
            || Some(index) == self.sign_at;
        match index {
            _ if Some(index) == self.references_at => None,
            _ if !of_trim => Some(word),
            _ if self.references == References::Acknowledged || of_limit => None,
            _ if !self.roughly => Some(word),
            _ if index == self.strategy_at => Some(exact.strategy),
            _ if index == self.threshold_at => Some(&exact.threshold),
            _ => Some(b"="),
        }
    }
}

/// Logs a command on a stream that has ids as its last words, where there are any.
pub(super) fn log_ids(cx: &mut Cx<'_>, words: &[&[u8]], ids: &[StreamId]) {
    if ids.is_empty() || !cx.databases.unit.recording {
        return;
    }
    let ids: Vec<IdDigits> = ids.iter().map(|id| id.text()).collect();
    let words: Vec<&[u8]> =
        words.iter().copied().chain(ids.iter().map(IdDigits::as_bytes)).collect();
    cx.log(&words);
}

/// Logs what is no longer pending.
pub(super) fn log_forgotten(cx: &mut Cx<'_>, key: &[u8], forgotten: &[Forgotten]) {
    for Forgotten { group, ids } in forgotten {
        log_ids(cx, &[b"XACK", key, group], ids);
    }
}

/// Logs what trimming did beside taking the oldest entries out.
pub(super) fn log_references(cx: &mut Cx<'_>, key: &[u8], trimmed: &Trimmed) {
    if trimmed.references == References::Acknowledged {
        log_ids(cx, &[b"XDEL", key], &trimmed.ids);
    }
    log_forgotten(cx, key, &trimmed.forgotten);
}
