//! Running one command: the handler, what it cost, and what it changed.

use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::spec::{Effect, Flow};
use crate::engine::Engine;
use crate::engine::registry::{CommandId, Run};
use crate::engine::session::ReplyMode;
use crate::keyspace::databases::DbIndex;
use crate::mailbox::SessionId;
use crate::resp::reply::Reply;

impl Engine {
    /// Runs a command as a unit of its own.
    #[inline]
    pub(in crate::engine) fn execute(
        &mut self,
        slot: SessionId,
        command: CommandId,
        args: Args<'_>,
        encoded: Option<&[u8]>,
    ) {
        let db = self.sessions[slot].db;
        self.call(slot, command, args);
        self.commit_own(slot, db, args, encoded);
        self.serve_waiting();
    }

    /// Runs a command inside the unit under way. The reply is written, an error too.
    #[inline]
    pub(in crate::engine) fn call(&mut self, slot: SessionId, command: CommandId, args: Args<'_>) {
        let entry = &self.registry[command];
        let (run, effect, logged_name) = (entry.run, entry.spec.effect, entry.logged_name);
        let changes = self.databases.unit.changes;
        let began = self.env.stopwatch.ticks();
        let result = match run {
            Run::Data(handler) => {
                let session = &mut self.sessions[slot];
                session.last_command = Some(command);
                session.commands += 1;
                let before = session.out.len();
                // TOUCH is asked for by name, so it does what it says.
                self.databases.untouched = session.no_touch && entry.spec.name != "TOUCH";
                let mut cx = Cx {
                    databases: &mut self.databases,
                    selected: session.db,
                    reply: Reply::new(&mut session.out, session.protocol),
                    now: crate::base::env::UnixMillis(self.now_micros / 1000),
                    rng: &mut self.rng,
                    limits: &self.limits,
                    replaying: session.replaying,
                };
                let result = handler(&mut cx, args);
                debug_assert!(
                    matches!(result, Ok(Flow::Done)) || cx.reply.position() == before,
                    "a handler that fails or blocks has written no reply"
                );
                result
            }
            Run::Control(handler) => {
                let session = &mut self.sessions[slot];
                session.last_command = Some(command);
                session.commands += 1;
                handler(self, slot, args)
            }
        };
        let took = self.env.stopwatch.ticks().saturating_sub(began);
        self.metrics.commands += 1;
        let stats = &mut self.metrics.by_command[command.0 as usize];
        stats.calls += 1;
        stats.ticks += took;
        if self.settings.latency_tracking {
            stats.latency.record(took);
        }
        if took > self.cron.slow_ticks {
            self.note_slow(slot, command, args, took);
        }
        if self.databases.unit.changes != changes {
            match effect {
                Effect::Verbatim => self.databases.unit.verbatim = true,
                Effect::Rewritten => debug_assert!(
                    self.databases.unit.verbatim
                        || self.databases.unit.record_count() > 0
                        || !self.databases.unit.recording,
                    "{}: a change must get into the log",
                    self.registry[command].full_name
                ),
                Effect::None => debug_assert!(
                    matches!(run, Run::Control(_)),
                    "{}: a reading command changed something",
                    self.registry[command].full_name
                ),
            }
        }
        if let Some(name) = logged_name {
            self.record_original(slot, name, args);
        }
        match result {
            Ok(Flow::Done) => {}
            Ok(Flow::Block(wait)) => self.park(slot, command, args, wait),
            Err(error) => self.answer_error(slot, command, &error),
        }
        self.publish_notices();
    }

    /// A command that clients call by another name goes into the log by its own, so that the log loads
    /// under any `rename-command` lines.
    #[cold]
    fn record_original(&mut self, slot: SessionId, name: &str, args: Args<'_>) {
        let unit = &mut self.databases.unit;
        if std::mem::take(&mut unit.verbatim) {
            let mut words: Vec<&[u8]> = args.from(0).collect();
            words[0] = name.as_bytes();
            unit.record(self.sessions[slot].db, &words);
        }
    }

    #[cold]
    fn answer_error(&mut self, slot: SessionId, command: CommandId, error: &CommandError) {
        self.metrics.by_command[command.0 as usize].failed += 1;
        let text = error.wire();
        self.metrics.count_error(&text);
        if let Some(session) = self.sessions.get_mut(slot) {
            session.reply().error_bytes(&text);
        }
    }

    /// After a session's own command: leaves out the reply where CLIENT REPLY said so, and puts
    /// the messages behind it that came meanwhile.
    #[inline]
    pub(in crate::engine) fn settle_reply(&mut self, slot: SessionId, before: usize) {
        let session = &mut self.sessions[slot];
        session.running = false;
        match session.reply_mode {
            ReplyMode::On => {}
            ReplyMode::Off => session.out.truncate(before),
            ReplyMode::SkipNext => {
                session.out.truncate(before);
                session.reply_mode = ReplyMode::Skip;
            }
            ReplyMode::Skip => {
                session.out.truncate(before);
                session.reply_mode = ReplyMode::On;
            }
        }
        if !session.deferred.is_empty() {
            let session = &mut self.sessions[slot];
            session.out.extend_from_slice(&session.deferred);
            session.deferred = Vec::new();
        }
    }

    /// Ends the unit that a client's command was, and remembers how far the log has come with it.
    #[inline]
    pub(in crate::engine) fn commit_own(
        &mut self,
        slot: SessionId,
        db: DbIndex,
        args: Args<'_>,
        encoded: Option<&[u8]>,
    ) {
        let before = self.offset();
        if self.commit_unit(db, args, encoded)
            && self.offset() > before
            && let Some(session) = self.sessions.get_mut(slot)
        {
            session.written = self.log.as_ref().map_or(0, |log| log.offset());
        }
    }

    /// Ends the unit: what changed goes into the log, and who watched it learns of it. False where
    /// nothing changed.
    #[inline]
    pub(in crate::engine) fn commit_unit(
        &mut self,
        db: DbIndex,
        args: Args<'_>,
        encoded: Option<&[u8]>,
    ) -> bool {
        self.publish_notices();
        let unit = &self.databases.unit;
        if unit.changes == 0 && unit.record_count() == 0 && !self.databases.watches.any_broken() {
            // Nothing happened: a reading command, nearly always.
            debug_assert!(!unit.verbatim, "a command that goes into the log changed something");
            return false;
        }
        self.commit(db, args, encoded);
        true
    }
}
