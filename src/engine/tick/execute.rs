//! Running one command: the handler, what it cost, and what it changed.

use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::spec::{Effect, Flags, Flow};
use crate::engine::Engine;
use crate::engine::registry::{self, CommandId};
use crate::engine::session::output::UNCOUNTED_BYTES;
use crate::engine::session::{Doing, Manner, ReplyMode};
use crate::keyspace::databases::DbIndex;
use crate::keyspace::unit::Origin;
use crate::mailbox::SessionId;
use crate::resp::reply::Reply;

/// Commands of the server's own whose replies may show data, as those of all commands on data do.
const ON_DATA: Flags = Flags::READONLY.union(Flags::WRITE).union(Flags::SHOWS_DATA);

impl Engine {
    /// Runs a command as a unit of its own. The session: its place, its number, its database.
    #[inline(always)]
    pub(in crate::engine) fn execute(
        &mut self,
        (slot, id, db): (SessionId, u64, DbIndex),
        command: CommandId,
        args: Args<'_>,
        encoded: Option<&[u8]>,
    ) {
        let mut unit = self.databases.unit.begin(Origin::Session(id));
        if self.runs_scripts(slot, command) {
            let Some(guard) = self.call_on_stack(slot, command, args, unit) else { return };
            unit = guard;
        } else {
            self.call(slot, command, args);
        }
        self.finish_command(unit, slot, db, args, encoded);
        self.serve_waiting();
    }

    /// Runs a command inside the unit under way. The reply is written, an error too.
    #[inline]
    pub(in crate::engine) fn call(&mut self, slot: SessionId, command: CommandId, args: Args<'_>) {
        let observed = !self.observe.on.is_empty();
        if observed {
            self.begin_call(slot, command, args);
        }
        let (result, took) = self.invoke(slot, command, args);
        if observed {
            self.end_call(slot, command, args, took);
        }
        self.metrics.commands += 1;
        let stats = &mut self.metrics.by_command[command.0 as usize];
        stats.calls += 1;
        stats.ticks += took;
        match result {
            Ok(Flow::Done) => {}
            // How long it took is known when it is answered.
            Ok(Flow::Block(wait)) => {
                self.park(slot, command, args, wait, took);
                self.after_call(slot, command, args);
                return;
            }
            Err(error) => self.answer_error(slot, command, &error),
        }
        self.note_duration(slot, command, args, took);
        self.after_call(slot, command, args);
    }

    /// How long a command took, all its tries together, in ticks of the stopwatch: the histogram
    /// and the slow log.
    #[inline]
    pub(in crate::engine) fn note_duration(
        &mut self,
        slot: SessionId,
        command: CommandId,
        args: Args<'_>,
        took: u64,
    ) {
        if self.settings.latency_tracking {
            self.metrics.by_command[command.0 as usize].latency.record(took);
        }
        if took >= self.cron.slow_ticks {
            self.note_slow(slot, command, args, took);
        }
    }

    /// Runs a command's handler inside the unit under way, and tells how long it took, in ticks of
    /// the stopwatch.
    #[inline(always)]
    pub(in crate::engine) fn invoke(
        &mut self,
        slot: SessionId,
        command: CommandId,
        args: Args<'_>,
    ) -> (Result<Flow, CommandError>, u64) {
        let entry = &self.registry[command];
        let (run, effect, logged_name) = (entry.run, entry.spec.effect, entry.logged_name);
        let shows_data = entry.spec.flags.intersects(ON_DATA);
        let changes = self.databases.unit.changes;
        let began = self.env.stopwatch.ticks();
        let result = match run {
            registry::Run::Data(handler) => {
                let session = &mut self.sessions[slot];
                session.traffic.last_command = Some(command);
                session.traffic.commands += 1;
                session.output.shows_data = true;
                let before = session.output.buffer.len();
                self.databases.untouched = session.manner.contains(Manner::NO_TOUCH)
                    && !entry.spec.flags.contains(Flags::TOUCHES);
                let mut cx = Cx {
                    databases: &mut self.databases,
                    selected: session.db,
                    reply: Reply::new(&mut session.output.buffer, session.protocol),
                    now: crate::base::env::UnixMillis(self.now_micros / 1000),
                    rng: &mut self.rng,
                    limits: &self.limits,
                    replaying: session.replaying,
                    in_script: self.scripts.is_caller(slot),
                };
                let result = handler(&mut cx, args);
                debug_assert!(
                    matches!(result, Ok(Flow::Done)) || cx.reply.position() == before,
                    "a handler that fails or blocks has written no reply"
                );
                result
            }
            registry::Run::Control(handler) => {
                let session = &mut self.sessions[slot];
                session.traffic.last_command = Some(command);
                session.traffic.commands += 1;
                session.output.shows_data |= shows_data;
                handler(self, slot, args)
            }
        };
        let took = self.env.stopwatch.ticks().saturating_sub(began);
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
                    matches!(run, registry::Run::Control(_)),
                    "{}: a reading command changed something",
                    self.registry[command].full_name
                ),
            }
        }
        if let Some(name) = logged_name {
            self.record_original(slot, name, args);
        }
        (result, took)
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
    pub(in crate::engine) fn answer_error(
        &mut self,
        slot: SessionId,
        command: CommandId,
        error: &CommandError,
    ) {
        self.metrics.by_command[command.0 as usize].failed += 1;
        let text = error.wire();
        self.metrics.count_error(&text);
        if let Some(session) = self.sessions.get_mut(slot) {
            session.reply().error_bytes(&text);
        }
        self.bound_unauthenticated(slot);
    }

    /// The end of a session's own request, when it is answered: leaves out the reply where CLIENT
    /// REPLY said so, and puts the messages behind it that came meanwhile. `before` is where its reply
    /// begins. A command that waits isn't answered yet. Many replies have consequences: [`Engine::bound_replies`].
    #[inline]
    pub(in crate::engine) fn end_request(&mut self, slot: SessionId, before: usize) {
        let session = &mut self.sessions[slot];
        session.doing = Doing::Nothing;
        if session.reply_mode != ReplyMode::On && !session.is_parked() {
            session.leave_out_reply(before);
        }
        let output = &mut session.output;
        if !output.deferred.is_empty() {
            output.release_deferred();
        }
        if !output.dirty {
            output.dirty = true;
            self.tick.dirty.push(slot);
        }
        if output.pending() > UNCOUNTED_BYTES {
            self.bound_replies(slot, before);
        }
    }
}
