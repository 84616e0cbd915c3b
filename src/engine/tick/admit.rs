//! Whether a command may run: the checks between a parsed request and its handler, in upstream's
//! order, so that the first thing wrong is the one reported.

use crate::base::mutation::{self, Mutation};
use crate::command::args::Args;
use crate::command::error::{self, CommandError};
use crate::command::spec::Flags;
use crate::config::change::{self, Origin};
use crate::engine::Engine;
use crate::engine::registry::CommandId;
use crate::engine::session::run::Run;
use crate::engine::session::{Doing, Manner};
use crate::engine::tick::transaction::Queued;
use crate::mailbox::SessionId;
use crate::resp::reply::Protocol;

/// What an unknown command's error quotes of its name and of each argument, in bytes.
const QUOTE_MAX: usize = 128;

impl Engine {
    /// One request of a session, from its name to its reply. False where it has to wait (CLIENT
    /// PAUSE) and must be given again.
    pub(in crate::engine) fn request(
        &mut self,
        slot: SessionId,
        command: Option<CommandId>,
        args: Args<'_>,
        encoded: Option<&[u8]>,
    ) -> bool {
        let session = &mut self.sessions[slot];
        if session.output.buffer.capacity() == 0 {
            session.output.buffer = self.output.spares.take();
        }
        let (plain, was_fed) = (session.is_plain(), session.is_fed());
        if command.is_none() && is_http(args.at(0)) {
            tracing::warn!(
                "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: \
                 commands to Redstart. This is likely due to an attacker attempting to use Cross \
                 Protocol Scripting to compromise your instance. Connection aborted."
            );
            self.kill(slot);
            return true;
        }
        if !self.observe.on.is_empty() {
            self.before_request();
        }
        let verdict = match command {
            Some(command) => self.check(slot, command, args, plain),
            None => Err(unknown(args)),
        };
        let admitted = verdict.is_ok();
        if let (true, Some(command)) = (admitted, command)
            && self.is_paused_for(slot, command, args)
        {
            return false;
        }
        // The check may have made room, and what that tells listeners is no part of the reply.
        let session = &mut self.sessions[slot];
        let before = session.output.buffer.len();
        match (verdict, command) {
            (Ok(()), Some(command)) => {
                session.doing = Doing::Command;
                if session.in_transaction()
                    && !self.registry[command].spec.flags.contains(Flags::RUNS_IN_MULTI)
                {
                    self.queue(slot, command, args);
                } else {
                    let (id, db) = (session.id, session.db);
                    self.execute((slot, id, db), command, args, encoded);
                }
            }
            (Ok(()), None) => unreachable!("an unknown command is refused"),
            (Err(error), _) => {
                // A word that is no subcommand is an unknown command: no row counts it.
                let named =
                    |id: &CommandId| args.len() == 1 || self.registry[*id].subcommands.is_empty();
                self.refuse(slot, command.filter(named), &error);
            }
        }
        let session = &self.sessions[slot];
        if matches!(session.run, Run::Scripting) {
            // It is answered when its script has ended.
            return true;
        }
        let reply = session.output.buffer.len().saturating_sub(before);
        if args.held_bytes().max(reply) >= self.observe.command_log.least_bytes()
            && let Some(command) = command.filter(|_| admitted)
        {
            let request = encoded.map_or_else(|| length(args), <[u8]>::len);
            self.keep_large(slot, command, args, [request, reply]);
        }
        self.end_request(slot, before);
        if !self.observe.on.is_empty() {
            self.observe_request(slot, command);
        }
        if was_fed {
            self.close_answered_replica(slot, command, before);
        }
        true
    }

    /// A command's flags, together with what a script that it runs says of itself, and with those of the
    /// commands that it runs where it runs a queue: what refuses or holds back one of them refuses or holds
    /// back EXEC.
    pub(in crate::engine) fn effective_flags(
        &mut self,
        slot: SessionId,
        command: CommandId,
        args: Args<'_>,
    ) -> Flags {
        let flags = self.flags_with_script(command, args);
        match &self.sessions[slot].transaction {
            Some(transaction) if flags.contains(Flags::RUNS_QUEUE) => {
                let refusing = Flags::DENYOOM
                    .union(Flags::WRITE)
                    .union(Flags::MAY_REPLICATE)
                    .union(Flags::NO_ASYNC_LOADING);
                let allowing = Flags::STALE.union(Flags::LOADING);
                flags
                    .union(transaction.flags().intersection(refusing))
                    .difference(transaction.lacking().intersection(allowing))
            }
            _ => flags,
        }
    }

    /// Answers with an error instead of running; a transaction being queued can't be executed.
    fn refuse(&mut self, slot: SessionId, command: Option<CommandId>, error: &CommandError) {
        if let Some(command) = command {
            self.metrics.by_command[command.0 as usize].rejected += 1;
        }
        let text = error.wire();
        self.metrics.count_error(&text);
        let session = &mut self.sessions[slot];
        let runs_queue = command
            .is_some_and(|command| self.registry[command].spec.flags.contains(Flags::RUNS_QUEUE));
        if runs_queue {
            session.transaction = None;
            if let CommandError::Redirect { .. } = error {
                session.reply().error_bytes(&text);
                self.unwatch_all(slot);
                return;
            }
            let mut aborted = b"EXECABORT Transaction discarded because of: ".to_vec();
            // The usual code word gives way to the one in front; others (OOM, MISCONF) tell more.
            aborted.extend_from_slice(text.strip_prefix(b"ERR ").unwrap_or(&text));
            session.reply().error_bytes(&aborted);
            self.unwatch_all(slot);
            return;
        }
        if let Some(transaction) = &mut session.transaction {
            transaction.refused = true;
        }
        session.reply().error_bytes(&text);
        self.bound_unauthenticated(slot);
    }

    /// Whether a command may run. `plain`: whether the session is plain (`Session::is_plain`).
    #[inline]
    fn check(
        &mut self,
        slot: SessionId,
        command: CommandId,
        args: Args<'_>,
        plain: bool,
    ) -> Result<(), CommandError> {
        let entry = &self.registry[command];
        if !entry.subcommands.is_empty() && args.len() > 1 {
            return Err(unknown_subcommand(&entry.spec.name.to_ascii_uppercase(), args));
        }
        if !entry.spec.arity.admits(args.len()) {
            return Err(CommandError::Arity(entry.full_name.clone()));
        }
        let flags = entry.spec.flags;
        if !plain
            || !self.is_at_ease()
            || flags.intersects(Flags::PROTECTED.union(Flags::RUNS_QUEUE))
            || flags.contains(Flags::RUNS_SCRIPTS) && self.doubts_keeping()
        {
            return self.check_closely(slot, command, args);
        }
        if flags.intersects(Flags::WRITE.union(Flags::CHECKS_DISK)) && self.doubts_keeping() {
            self.check_kept(flags)?;
        }
        Ok(())
    }

    /// Whether the server is in none of the states in which it refuses commands to a plain session, but
    /// for what [`Engine::check_kept`] looks at.
    #[inline]
    fn is_at_ease(&self) -> bool {
        let limited = self.settings.maxmemory != 0;
        !(limited | self.persistence.loading | self.is_busy() | self.is_replica())
    }

    /// Whether [`Engine::check_kept`] may refuse anything.
    #[inline]
    #[expect(clippy::needless_bitwise_bool, reason = "one branch for all")]
    fn doubts_keeping(&self) -> bool {
        let replicas = self.settings.min_replicas_to_write | self.settings.write_quorum;
        (replicas != 0)
            | !self.persistence.last_save_ok
            | self.log.as_ref().is_some_and(|log| log.failure().is_some())
    }

    /// Whether what a command writes can be kept, here and by as many replicas as must have it.
    fn check_kept(&self, flags: Flags) -> Result<(), CommandError> {
        self.check_disk()?;
        if flags.contains(Flags::WRITE) {
            self.check_replicas()?;
            self.check_quorum()?;
        }
        Ok(())
    }

    /// All that may refuse a command whose arity is right.
    fn check_closely(
        &mut self,
        slot: SessionId,
        command: CommandId,
        args: Args<'_>,
    ) -> Result<(), CommandError> {
        let entry = &self.registry[command];
        let flags = entry.spec.flags;
        if flags.contains(Flags::PROTECTED) {
            self.check_protected(slot, entry.spec.name)?;
        }
        let busy = self.is_busy();
        let session = &self.sessions[slot];
        if !session.authenticated && !flags.contains(Flags::NO_AUTH) {
            return Err(NO_AUTH);
        }
        let flags = self.effective_flags(slot, command, args);
        let session = &self.sessions[slot];
        let queues = session.in_transaction();
        let listens = session.is_listening() && session.protocol == Protocol::Resp2;
        let follows = self.is_replica() && self.follows_redirections(slot, flags);
        if follows && !self.replication.failover.is_handing() {
            return Err(self.redirection());
        }
        let limited = self.settings.maxmemory != 0 && !self.persistence.loading && !busy;
        if limited && !self.make_room() {
            // A transaction must not queue without limit what it may never run.
            if flags.contains(Flags::DENYOOM) || queues && !flags.contains(Flags::ENDS_MULTI) {
                return Err(OUT_OF_MEMORY);
            }
        }
        if flags.intersects(Flags::WRITE.union(Flags::CHECKS_DISK)) {
            self.check_kept(flags)?;
        }
        if !follows && flags.contains(Flags::WRITE) && self.refuses_writes() {
            return Err(ON_REPLICA);
        }
        // With RESP2 a listener couldn't tell a reply from a message.
        if listens && !flags.contains(Flags::FOR_LISTENERS) {
            let name = &self.registry[command].full_name;
            return Err(CommandError::owned(format!(
                "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
                 RESET are allowed in this context"
            )));
        }
        if !flags.contains(Flags::STALE) && self.is_stale() {
            return Err(STALE);
        }
        if self.persistence.loading && !flags.contains(Flags::LOADING)
            || flags.contains(Flags::NO_ASYNC_LOADING) && self.persistence.loads_beside()
        {
            return Err(LOADING);
        }
        if busy && !flags.contains(Flags::ALLOW_BUSY) {
            return Err(self.busy_error());
        }
        let reaches = [Flags::WRITE, Flags::READONLY, Flags::MAY_REPLICATE];
        let session = &self.sessions[slot];
        if (session.is_fed() || session.hears.monitors)
            && reaches.iter().any(|flag| flags.contains(*flag))
        {
            return Err(CommandError::text("ERR Replica can't interact with the keyspace"));
        }
        if queues && flags.contains(Flags::NO_MULTI) {
            return Err(CommandError::text("ERR Command not allowed inside a transaction"));
        }
        Ok(())
    }

    /// Whether the client goes to the primary with such a command (CLIENT CAPA REDIRECT). While the
    /// primary's place is being handed over there is none: writes are held then.
    #[cold]
    fn follows_redirections(&self, slot: SessionId, flags: Flags) -> bool {
        let manner = self.sessions[slot].manner;
        manner.contains(Manner::FOLLOWS)
            && (flags.contains(Flags::WRITE)
                || flags.contains(Flags::READONLY) && !manner.contains(Manner::READS_HERE))
    }

    /// Where the primary is.
    fn redirection(&self) -> CommandError {
        let upstream = self.replication.upstream.as_ref();
        upstream.map_or(ON_REPLICA, |upstream| CommandError::Redirect {
            host: upstream.host.clone(),
            port: upstream.port,
        })
    }

    /// Whether this is a replica that takes no writes of its clients.
    pub(in crate::engine) fn refuses_writes(&self) -> bool {
        self.is_replica()
            && self.settings.replica_read_only
            && !mutation::is_on(Mutation::ReplicaIsWritten)
    }

    /// Whether this is a replica that must not show what it has.
    pub(in crate::engine) fn is_stale(&self) -> bool {
        let upstream = self.replication.upstream.as_ref();
        upstream.is_some_and(|upstream| !upstream.is_online())
            && !self.settings.replica_serve_stale_data
            && !self.persistence.loading
    }

    fn check_protected(&self, slot: SessionId, name: &str) -> Result<(), CommandError> {
        let link = self.sessions[slot].link.as_ref();
        let local = link.is_none_or(|link| link.origin.is_local());
        let (name, allowed, directive) = match name {
            "DEBUG" => ("DEBUG", self.settings.enable_debug_command, "enable-debug-command"),
            // A subcommand's.
            _ => ("MODULE", self.settings.enable_module_command, "enable-module-command"),
        };
        if change::may(allowed, Origin { local, loading: false }) {
            return Ok(());
        }
        Err(CommandError::owned(format!(
            "ERR {name} command not allowed. If the {directive} option is set to \"local\", you can \
             run it from a local connection, otherwise you need to set this option in the \
             configuration file, and then restart the server."
        )))
    }

    /// Writes are refused while what they change could not be kept.
    pub(in crate::engine) fn check_disk(&self) -> Result<(), CommandError> {
        if let Some(reason) = self.log.as_ref().and_then(|log| log.failure()) {
            return Err(CommandError::owned(format!(
                "MISCONF Errors writing to the AOF file: {reason}"
            )));
        }
        if self.settings.stop_writes_on_bgsave_error
            && !self.settings.save.is_empty()
            && !self.persistence.last_save_ok
        {
            return Err(CommandError::text(
                "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to \
                 persist to disk. Commands that may modify the data set are disabled, because this \
                 instance is configured to report errors during writes if RDB snapshotting fails \
                 (stop-writes-on-bgsave-error option). Please check the Redis logs for details \
                 about the RDB error.",
            ));
        }
        Ok(())
    }

    fn queue(&mut self, slot: SessionId, command: CommandId, args: Args<'_>) {
        let flags = self.flags_with_script(command, args);
        let session = &mut self.sessions[slot];
        session.traffic.last_command = Some(command);
        if let Some(transaction) = &mut session.transaction {
            transaction.queue(Queued::new(command, args), flags);
        }
        session.reply().simple("QUEUED");
    }
}

pub(in crate::engine) const OUT_OF_MEMORY: CommandError =
    CommandError::text("OOM command not allowed when used memory > 'maxmemory'.");
pub(in crate::engine) const ON_REPLICA: CommandError =
    CommandError::text("READONLY You can't write against a read only replica.");
pub(in crate::engine) const STALE: CommandError = CommandError::text(
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
);
pub(in crate::engine) const LOADING: CommandError =
    CommandError::text("LOADING Redis is loading the dataset in memory");
const NO_AUTH: CommandError = CommandError::text("NOAUTH Authentication required.");

/// The bytes of a request that came as a line.
fn length(args: Args<'_>) -> usize {
    args.from(0).map(|word| word.len() + 1).sum()
}

/// Words that begin lines of an HTTP request: a browser was made to talk to us.
fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// The beginning of a name or argument, as much of it as an error quotes.
fn cut(bytes: &[u8], room: usize) -> &[u8] {
    let bytes = error::quotable(bytes);
    &bytes[..bytes.len().min(room)]
}

fn unknown(args: Args<'_>) -> CommandError {
    let mut text = b"ERR unknown command '".to_vec();
    text.extend_from_slice(cut(args.at(0), QUOTE_MAX));
    text.extend_from_slice(b"', with args beginning with: ");
    let start = text.len();
    for arg in args.from(1) {
        let used = text.len() - start;
        if used >= QUOTE_MAX {
            break;
        }
        text.push(b'\'');
        text.extend_from_slice(cut(arg, QUOTE_MAX - used));
        text.extend_from_slice(b"' ");
    }
    CommandError::quoting(text)
}

fn unknown_subcommand(container: &str, args: Args<'_>) -> CommandError {
    let mut text = b"ERR unknown subcommand '".to_vec();
    text.extend_from_slice(args.get(1).map(|word| cut(word, QUOTE_MAX)).unwrap_or_default());
    text.extend_from_slice(format!("'. Try {container} HELP.").as_bytes());
    CommandError::quoting(text)
}
