//! COMMANDLOG and SLOWLOG: commands that took long, that came in many bytes, or were answered with many.
//!
//! Each of the three has a list of its own, the last first, bounded by its `-max-len`. SLOWLOG is a view of
//! the first. What is kept of a command is bounded too: 32 words of 128 bytes, secrets hidden.
//!
//! A command is slow by its own time, and its reply large by its own size, also within EXEC and scripts.
//! A request is what the client sent, queued or not. *Cost:* a comparison each, with `usize::MAX` where a
//! list is off.

use std::collections::VecDeque;

use crate::base::text;
use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Command, Flags, Flow,
};
use crate::config::directives;
use crate::engine::registry::CommandId;
use crate::engine::session::client::misused;
use crate::engine::show::hotkeys::request_bytes;
use crate::engine::show::row;
use crate::engine::{ControlHandler, Engine, container};
use crate::mailbox::SessionId;

const OPEN: Flags = Flags::LOADING.union(Flags::STALE);
const ADMIN: Flags = OPEN.union(Flags::ADMIN);
const SHOWS: &[&str] = &["request_policy:all_nodes", "nondeterministic_output"];
const COUNTS: &[&str] =
    &["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"];
const FORGETS: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

/// The rows of this family.
pub(crate) const COMMANDS: &[Command<ControlHandler>] = &[
    row("SLOWLOG", AtLeast(2), container, Flags::empty(), "2.2.12")
        .cost("That of the subcommand")
        .summary("Commands that took long.")
        .subcommands(&[
            row("GET", AtLeast(2), slow_get, ADMIN, "2.2.12")
                .cost("O(N) for N entries shown")
                .tips(SHOWS)
                .syntax("[count]")
                .summary("Replies with the last slow commands.")
                .history(&[("4.0.0", "Shows the client's address and name.")]),
            row("HELP", Exactly(2), slow_help, OPEN, "6.2.0").summary("Lists the subcommands."),
            row("LEN", Exactly(2), slow_len, ADMIN, "2.2.12")
                .tips(COUNTS)
                .summary("Replies with the number of slow commands kept."),
            row("RESET", Exactly(2), slow_reset, ADMIN, "2.2.12")
                .cost("O(N) for N entries")
                .tips(FORGETS)
                .summary("Forgets the slow commands."),
        ]),
    row("COMMANDLOG", AtLeast(2), container, Flags::empty(), "8.1.0")
        .cost("That of the subcommand")
        .summary("Commands that took long, or whose request or reply was large.")
        .subcommands(&[
            row("GET", Exactly(4), get, ADMIN, "8.1.0")
                .cost("O(N) for N entries shown")
                .tips(SHOWS)
                .syntax("count <SLOW|LARGE-REQUEST|LARGE-REPLY>:type")
                .summary("Replies with the last entries of a type.")
                .deviates(&[
                    "within EXEC a reply is measured by itself; Valkey adds those before it, so \
                     that a PING behind a large GET counts as large",
                    "a large request that is queued in MULTI is kept; Valkey keeps none of those",
                ]),
            row("HELP", Exactly(2), help, OPEN, "8.1.0").summary("Lists the subcommands."),
            row("LEN", Exactly(3), len, ADMIN, "8.1.0")
                .tips(COUNTS)
                .syntax("<SLOW|LARGE-REQUEST|LARGE-REPLY>:type")
                .summary("Replies with the number of entries of a type."),
            row("RESET", Exactly(3), reset, ADMIN, "8.1.0")
                .cost("O(N) for N entries")
                .tips(FORGETS)
                .syntax("<SLOW|LARGE-REQUEST|LARGE-REPLY>:type")
                .summary("Forgets the entries of a type."),
        ]),
];

const SLOW_HELP: &[&str] = &[
    "SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET [<count>]",
    "    The last <count> slow commands (default: 10, -1 means all), each with its",
    "    id, timestamp, time in microseconds, arguments, client address and name.",
    "LEN",
    "    How many slow commands are kept.",
    "RESET",
    "    Forget them.",
    "HELP",
    "    Print this help.",
];

const HELP: &[&str] = &[
    "COMMANDLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET <count> <type>",
    "    The last <count> entries of <type> (-1 means all), each with its id, timestamp,",
    "    time in microseconds or size in bytes, arguments, client address and name.",
    "    The types are: slow, large-request, large-reply.",
    "LEN <type>",
    "    How many entries of <type> are kept.",
    "RESET <type>",
    "    Forget them.",
    "HELP",
    "    Print this help.",
];

/// What a command is kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Kind {
    /// It took long.
    Slow,
    /// It came in many bytes.
    LargeRequest,
    /// It was answered with many.
    LargeReply,
}

impl Kind {
    fn parse(args: Args<'_>, index: usize) -> Result<Self, CommandError> {
        match () {
            () if args.is(index, "SLOW") => Ok(Self::Slow),
            () if args.is(index, "LARGE-REQUEST") => Ok(Self::LargeRequest),
            () if args.is(index, "LARGE-REPLY") => Ok(Self::LargeReply),
            () => Err(CommandError::text(
                "ERR type should be one of the following: slow, large-request, large-reply",
            )),
        }
    }
}

#[derive(Debug)]
struct Entry {
    /// Its number: one more than that of the entry before, RESET or not.
    id: u64,
    /// When, in seconds since the epoch.
    unix_seconds: i64,
    /// How long it took, in microseconds, or how many bytes.
    value: u64,
    /// The arguments, shortened.
    args: Vec<Vec<u8>>,
    /// The client's address.
    peer: String,
    /// The client's name.
    name: Vec<u8>,
}

#[derive(Debug, Default)]
struct List {
    /// The last first.
    entries: VecDeque<Entry>,
    next_id: u64,
    len_max: usize,
}

/// What is kept, and from where on.
#[derive(Debug)]
pub(crate) struct State {
    lists: [List; 3],
    /// Bytes of a request and of a reply from which they are kept.
    request_bytes: usize,
    reply_bytes: usize,
    /// The smaller of the two.
    least_bytes: usize,
}

impl State {
    /// Bytes below which neither a request nor a reply is kept.
    #[inline]
    pub(in crate::engine) fn least_bytes(&self) -> usize {
        self.least_bytes
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            lists: Default::default(),
            request_bytes: usize::MAX,
            reply_bytes: usize::MAX,
            least_bytes: usize::MAX,
        }
    }
}

fn slow_help(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().status_lines(SLOW_HELP.iter().copied());
    Ok(Flow::Done)
}

fn help(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().status_lines(HELP.iter().copied());
    Ok(Flow::Done)
}

fn parse_count(word: &[u8]) -> Result<usize, CommandError> {
    match text::parse_i64(word) {
        Some(-1) => Ok(usize::MAX),
        Some(count @ 0..) => Ok(count as usize),
        _ => Err(CommandError::text("ERR count should be greater than or equal to -1")),
    }
}

fn slow_get(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let count = match args.len() {
        2 => 10,
        3 => parse_count(args.at(2))?,
        _ => return Err(misused(args, "SLOWLOG")),
    };
    engine.show_command_log(slot, Kind::Slow, count);
    Ok(Flow::Done)
}

fn get(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let count = parse_count(args.at(2))?;
    engine.show_command_log(slot, Kind::parse(args, 3)?, count);
    Ok(Flow::Done)
}

fn slow_len(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.count_command_log(slot, Kind::Slow);
    Ok(Flow::Done)
}

fn len(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    engine.count_command_log(slot, Kind::parse(args, 2)?);
    Ok(Flow::Done)
}

fn slow_reset(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.clear_command_log(slot, Kind::Slow);
    Ok(Flow::Done)
}

fn reset(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    engine.clear_command_log(slot, Kind::parse(args, 2)?);
    Ok(Flow::Done)
}

/// Words of a command that are kept, and bytes of each.
const WORDS_MAX: usize = 32;
const WORD_BYTES_MAX: usize = 128;

impl Engine {
    fn show_command_log(&mut self, slot: SessionId, kind: Kind, count: usize) {
        let entries = &self.observe.command_log.lists[kind as usize].entries;
        let mut reply = self.sessions[slot].reply();
        reply.array(entries.len().min(count));
        for entry in entries.iter().take(count) {
            reply.array(6);
            reply.int(entry.id as i64);
            reply.int(entry.unix_seconds);
            reply.int(entry.value as i64);
            reply.array(entry.args.len());
            for arg in &entry.args {
                reply.bulk(arg);
            }
            reply.bulk(entry.peer.as_bytes());
            reply.bulk(&entry.name);
        }
    }

    fn count_command_log(&mut self, slot: SessionId, kind: Kind) {
        let count = self.observe.command_log.lists[kind as usize].entries.len();
        self.sessions[slot].reply().count(count);
    }

    fn clear_command_log(&mut self, slot: SessionId, kind: Kind) {
        self.observe.command_log.lists[kind as usize].entries.clear();
        self.sessions[slot].reply().ok();
    }

    /// Keeps a command; `value` is microseconds or bytes.
    #[cold]
    pub(in crate::engine) fn keep_command(
        &mut self,
        kind: Kind,
        slot: SessionId,
        command: CommandId,
        args: Args<'_>,
        value: u64,
    ) {
        let len_max = self.observe.command_log.lists[kind as usize].len_max;
        if self.registry[command].has(Flags::SKIP_SLOWLOG) || len_max == 0 {
            return;
        }
        let shown = if args.len() > WORDS_MAX { WORDS_MAX - 1 } else { args.len() };
        let secrets = self.registry[command].spec.secrets;
        let mut words: Vec<Vec<u8>> = secrets
            .shown(args, shown, directives::is_secret)
            .iter()
            .map(|word| shortened(word))
            .collect();
        if args.len() > shown {
            words.push(format!("... ({} more arguments)", args.len() - shown).into_bytes());
        }
        // Of what a script has called, the client that has called the script.
        let client = self.scripts.client_of(slot);
        let Some(session) = self.sessions.get(client) else { return };
        let list = &mut self.observe.command_log.lists[kind as usize];
        let entry = Entry {
            id: list.next_id,
            unix_seconds: self.now_micros / 1_000_000,
            value,
            args: words,
            peer: session.link.as_ref().map(|link| link.origin.peer_text()).unwrap_or_default(),
            name: session.identity.name.clone(),
        };
        list.next_id += 1;
        list.entries.push_front(entry);
        list.entries.truncate(list.len_max);
    }

    /// A request that came or was answered with so many bytes that it is kept.
    #[cold]
    pub(in crate::engine) fn keep_large(
        &mut self,
        slot: SessionId,
        command: CommandId,
        args: Args<'_>,
        [request, reply]: [usize; 2],
    ) {
        if request >= self.observe.command_log.request_bytes {
            self.keep_command(Kind::LargeRequest, slot, command, args, request as u64);
        }
        if reply >= self.observe.command_log.reply_bytes {
            self.keep_command(Kind::LargeReply, slot, command, args, reply as u64);
        }
    }

    /// A request that is answered later, where it is so large that it is kept.
    pub(in crate::engine) fn keep_large_request(
        &mut self,
        slot: SessionId,
        command: CommandId,
        args: Args<'_>,
    ) {
        let bytes = request_bytes(args);
        if bytes >= self.observe.command_log.request_bytes as u64 {
            self.keep_command(Kind::LargeRequest, slot, command, args, bytes);
        }
    }

    /// The reply of a command that EXEC or a script has called, or that is answered later, where it is so
    /// large that it is kept. It begins at `before` in the session's buffer.
    #[inline]
    pub(in crate::engine) fn keep_large_reply(
        &mut self,
        slot: SessionId,
        command: CommandId,
        args: Args<'_>,
        before: usize,
    ) {
        let least = self.observe.command_log.reply_bytes;
        let Some(session) = self.sessions.get(slot) else { return };
        let reply = session.output.buffer.len().saturating_sub(before);
        if reply >= least {
            self.keep_command(Kind::LargeReply, slot, command, args, reply as u64);
        }
    }

    /// Takes over what the settings say.
    pub(crate) fn apply_command_log(&mut self) {
        let settings = &self.settings;
        let log = &mut self.observe.command_log;
        let bytes = |setting: i64| usize::try_from(setting).unwrap_or(usize::MAX);
        log.request_bytes = bytes(settings.commandlog_request_larger_than);
        log.reply_bytes = bytes(settings.commandlog_reply_larger_than);
        log.least_bytes = log.request_bytes.min(log.reply_bytes);
        let lens = [
            settings.slowlog_max_len,
            settings.commandlog_large_request_max_len,
            settings.commandlog_large_reply_max_len,
        ];
        for (list, len) in log.lists.iter_mut().zip(lens) {
            list.len_max = usize::try_from(len).unwrap_or(usize::MAX);
            list.entries.truncate(list.len_max);
        }
    }
}

fn shortened(arg: &[u8]) -> Vec<u8> {
    if arg.len() <= WORD_BYTES_MAX {
        return arg.to_vec();
    }
    let mut text = arg[..WORD_BYTES_MAX].to_vec();
    text.extend_from_slice(format!("... ({} more bytes)", arg.len() - WORD_BYTES_MAX).as_bytes());
    text
}
