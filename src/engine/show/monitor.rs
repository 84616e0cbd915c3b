//! MONITOR: every client's commands as lines of text, for people.
//!
//! ```text
//!  +1764363845.123456 [0 127.0.0.1:40000] "SET" "key" "value"
//!                      db, client, or `lua` for what a script has called
//! ```
//! A line is written once and pushed to all who look. It comes behind the command's execution, so EXEC's
//! behind those of its commands; of a command that runs scripts in front, so that what the script calls
//! follows. What waits for a key is shown when it comes. Not shown: what a row says (`SKIP_MONITOR`,
//! administration), and what isn't executed (queued, refused). Secrets are hidden as in SLOWLOG.
//!
//! *State.* Who looks is in [`State`], and a word of it in the session. *Faults.* One that doesn't read is
//! bounded by `client-output-buffer-limit normal`, as upstream, and its lines wait for the log as replies
//! do; one that goes is taken out by `Engine::unmonitor`. *Cost.* None where nobody looks, but for the test
//! of [`observe`](crate::engine::tick::observe).

use crate::base::text;
use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::spec::{Arity, Command, Flags, Flow, Group, control};
use crate::config::directives;
use crate::engine::registry::CommandId;
use crate::engine::session::push::{self, Pushes};
use crate::engine::session::{Doing, ReplyMode};
use crate::engine::tick::observe::Observers;
use crate::engine::{ControlHandler, Engine};
use crate::mailbox::{Origin, SessionId};

/// The row.
pub(crate) const COMMANDS: &[Command<ControlHandler>] =
    &[control("MONITOR", Arity::Exactly(1), monitor as ControlHandler)
        .group(Group::Server)
        .flags(Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE))
        .since("1.0.0")
        .summary("Shows all clients' commands as they are executed.")];

/// Who looks.
#[derive(Debug, Default)]
pub(crate) struct State {
    monitors: Vec<SessionId>,
    line: Vec<u8>,
}

fn monitor(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    let session = &mut engine.sessions[slot];
    if session.doing == Doing::Exec {
        return Err(CommandError::text("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    // As upstream: a second one isn't answered, nor is that of a replica.
    if session.hears.monitors || session.replica.is_some() {
        return Ok(Flow::Done);
    }
    session.hears.monitors = true;
    session.reply().ok();
    engine.observe.monitor.monitors.push(slot);
    engine.observe.on.insert(Observers::MONITOR);
    Ok(Flow::Done)
}

impl Engine {
    /// A client looks no more: it said so, or it has gone.
    pub(in crate::engine) fn unmonitor(&mut self, slot: SessionId) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if std::mem::take(&mut session.hears.monitors) {
            self.observe.monitor.monitors.retain(|other| *other != slot);
            self.observe.on.set(Observers::MONITOR, !self.observe.monitor.monitors.is_empty());
        }
    }

    /// Shows a command of a session to those who look.
    pub(in crate::engine) fn feed_monitors(
        &mut self,
        slot: SessionId,
        command: CommandId,
        args: Args<'_>,
    ) {
        if self.persistence.loading {
            return;
        }
        self.write_line(slot, command, args);
        let mut choked = Vec::new();
        let monitors = std::mem::take(&mut self.observe.monitor.monitors);
        for monitor in &monitors {
            let Some(session) = self.sessions.get_mut(*monitor) else { continue };
            if session.is_ending() || session.reply_mode == ReplyMode::Off {
                continue;
            }
            let most = push::pending_max(&self.settings.client_output_buffer_limit, session);
            let mut pushes = Pushes {
                dirty: &mut self.tick.dirty,
                spares: &mut self.output.spares,
                choked: &mut choked,
            };
            pushes.push(session, &self.observe.monitor.line, most);
        }
        self.observe.monitor.monitors = monitors;
        // A line of gigabytes must not keep its buffer.
        self.observe.monitor.line.shrink_to(64 << 10);
        self.drop_choked(choked);
    }

    fn write_line(&mut self, slot: SessionId, command: CommandId, args: Args<'_>) {
        let micros = self.env.clock.unix_micros();
        let session = &self.sessions[slot];
        let client = match &session.link {
            _ if self.scripts.client_of(slot) != slot => "lua".to_owned(),
            Some(link) => match &link.origin {
                Origin::Unix(path) => format!("unix:{path}"),
                Origin::Tcp { .. } => link.origin.peer_text(),
            },
            None => "?:0".to_owned(),
        };
        let head = format!(
            "+{}.{:06} [{} {client}]",
            micros / 1_000_000,
            micros % 1_000_000,
            session.db.0
        );
        let secrets = self.registry[command].spec.secrets;
        let line = &mut self.observe.monitor.line;
        line.clear();
        line.extend_from_slice(head.as_bytes());
        for word in &secrets.shown(args, usize::MAX, directives::is_secret) {
            line.push(b' ');
            text::push_quoted(line, word);
        }
        line.extend_from_slice(b"\r\n");
    }
}
