//! CAUSAL: reading one's own writes, and what they followed from, on any node.
//!
//! A token is a place in a history, `replid:offset`: everything that the server which gave it had. Another
//! node answers CAUSAL WAIT when it has that much. It costs one wait, only for those who ask. A token of
//! another history is an error, never a wait for ever; so is one whose history is left while it waits.

use crate::base::text;
use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::spec::Arity::{AtLeast, Exactly};
use crate::command::spec::{Command, Flags, Flow, Group, control};
use crate::engine::session::copies::{Copies, timeout};
use crate::engine::{ControlHandler, Engine, container};
use crate::journal::{ReplicationId, StreamPosition};
use crate::mailbox::SessionId;

/// The rows of this family.
pub(crate) const COMMANDS: &[Command<ControlHandler>] =
    &[control("CAUSAL", AtLeast(2), container as ControlHandler)
        .group(Group::Connection)
        .since("7.2.0")
        .summary("Reads of one's own writes on other nodes.")
        .subcommands(&[
            // Within a transaction the stream has not reached what the transaction does.
            control("TOKEN", Exactly(2), token as ControlHandler)
                .group(Group::Connection)
                .flags(Flags::NOSCRIPT.union(Flags::NO_MULTI))
                .since("7.2.0")
                .summary("Replies with the place in the stream that this server has reached."),
            control("WAIT", Exactly(4), wait as ControlHandler)
                .group(Group::Connection)
                .flags(Flags::NOSCRIPT)
                .since("7.2.0")
                .syntax("token timeout")
                .summary("Waits until this server has what a token's had."),
            control("HELP", Exactly(2), help as ControlHandler)
                .group(Group::Connection)
                .flags(Flags::LOADING.union(Flags::STALE))
                .since("7.2.0")
                .summary("Lists the subcommands."),
        ])];

const HELP: [&str; 7] = [
    "CAUSAL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "TOKEN",
    "    The place in the stream that this server has reached.",
    "WAIT <token> <timeout>",
    "    Wait until this server has what <token>'s had: 1, or 0 after <timeout> milliseconds.",
    "HELP",
    "    Print this help.",
];

pub(crate) const OTHER_HISTORY: CommandError =
    CommandError::text("OTHERHISTORY The token is of another history than the data of this server");

fn help(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().status_lines(HELP.iter().copied());
    Ok(Flow::Done)
}

fn token(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    if !engine.journal.is_recording() {
        // From now on the stream follows the data.
        engine.keep_backlog();
    }
    let StreamPosition { id, offset } = engine.journal.end();
    engine.sessions[slot].reply().bulk(format!("{id}:{offset}").as_bytes());
    Ok(Flow::Done)
}

fn wait(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    const WRONG: CommandError = CommandError::text("ERR Invalid token");
    let token = args.at(2);
    let colon = token.iter().position(|byte| *byte == b':').ok_or(WRONG)?;
    let id = ReplicationId::parse(&token[..colon]).ok_or(WRONG)?;
    let offset = text::parse_u64(&token[colon + 1..]).ok_or(WRONG)?;
    let timeout_ms = timeout(engine, args, 3)?;
    let position = StreamPosition { id, offset };
    if !engine.is_of_history(position) {
        return Err(OTHER_HISTORY);
    }
    Ok(engine.await_copies(slot, Copies::Here(position), timeout_ms))
}

impl Engine {
    /// Whether a place is, or is going to be, in the history that the data is of.
    pub(in crate::engine) fn is_of_history(&self, position: StreamPosition) -> bool {
        self.journal.history().continues(position.id, position.offset)
    }

    /// Whether everything up to a place is here.
    pub(in crate::engine) fn has_reached(&self, position: StreamPosition) -> bool {
        self.is_of_history(position) && self.journal.offset() >= position.offset
    }
}
