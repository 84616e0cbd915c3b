//! Running a script: what is set up before, and what is left behind it.

use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::spec::Flow;
use crate::engine::Engine;
use crate::engine::script::admit::Running;
use crate::mailbox::SessionId;
use crate::resp::reply::Protocol;
use crate::script::machine::{Call, Kept, Machine, ScriptError};

impl Engine {
    /// Runs a script or a function that may begin, from its beginning to its answer. The first `keys` of the
    /// arguments from 3 on are its keys; `name` is what its errors call it.
    pub(super) fn run_whole(
        &mut self,
        running: Running,
        kept: Kept,
        name: &[u8],
        keys: usize,
        args: Args<'_>,
    ) -> Result<Flow, CommandError> {
        let (slot, is_function) = (running.client, running.is_function);
        self.begin_script(running);
        let mut machine =
            if is_function { self.take_functions_machine() } else { self.take_machine() };
        let call = Call {
            keys: args.from(3).take(keys),
            arguments: args.from(3 + keys),
            as_globals: !is_function,
        };
        let outcome = self.run_in(&mut machine, slot, kept, call);
        let scripts = &mut self.scripts;
        let place = if is_function { &mut scripts.functions_machine } else { &mut scripts.machine };
        *place = Some(machine);
        self.end_script();
        match outcome {
            Ok(()) => Ok(Flow::Done),
            Err(error) => self.answer_script_error(slot, name, error),
        }
    }

    /// A script begins: its commands are one step, in the caller's database, in RESP2.
    fn begin_script(&mut self, running: Running) {
        debug_assert!(self.scripts.running.is_none(), "one script at a time");
        self.databases.unit.hold_together();
        let (slot, db) = (self.scripts.caller, self.sessions[running.client].db);
        let client = &self.sessions[running.client];
        // WAIT in a script counts who has what its client has written.
        let (replaying, written) = (client.replaying, client.written);
        let session = &mut self.sessions[slot];
        (session.db, session.written) = (db, written);
        session.protocol = Protocol::Resp2;
        session.replaying = replaying;
        self.scripts.running = Some(running);
        self.scripts.killed = false;
    }

    /// Runs a function in a machine; its result is appended to the client's replies.
    fn run_in<'a>(
        &mut self,
        machine: &mut Machine,
        slot: SessionId,
        kept: Kept,
        call: Call<
            impl ExactSizeIterator<Item = &'a [u8]>,
            impl ExactSizeIterator<Item = &'a [u8]>,
        >,
    ) -> Result<(), ScriptError> {
        let protocol = self.sessions[slot].protocol;
        let outcome = machine.run(self, kept, call, protocol);
        if outcome.is_ok() {
            self.sessions[slot].output.buffer.extend_from_slice(machine.reply());
            self.count_reply_errors(slot, machine);
        }
        machine.settle();
        outcome
    }

    /// Errors that are a script's result, or in it, count as its failure.
    #[inline]
    fn count_reply_errors(&mut self, slot: SessionId, machine: &mut Machine) {
        let errors = machine.take_reply_errors();
        if errors.is_empty() {
            return;
        }
        for text in errors.iter().flatten() {
            self.metrics.count_error(text);
        }
        if let Some(command) = self.sessions[slot].traffic.last_command {
            // One for each, as upstream counts.
            self.metrics.by_command[command.0 as usize].failed += errors.len() as u64;
        }
    }

    /// A script is over.
    fn end_script(&mut self) {
        let caller = &mut self.sessions[self.scripts.caller];
        let calls = std::mem::take(&mut caller.traffic.commands);
        let shows_data = std::mem::take(&mut caller.output.shows_data);
        if let Some(running) = self.scripts.running.take() {
            self.databases.unit.recording = running.recording;
            // What a script has called counts as its client's.
            let client = &mut self.sessions[running.client];
            client.traffic.commands += calls;
            client.output.shows_data |= shows_data;
        }
        let buffer = &mut self.sessions[self.scripts.caller].output.buffer;
        buffer.clear();
        buffer.shrink_to(64 << 10);
    }

    /// Answers with a script's error; `name` is the script's.
    #[cold]
    fn answer_script_error(
        &mut self,
        slot: SessionId,
        name: &[u8],
        error: ScriptError,
    ) -> Result<Flow, CommandError> {
        let mut text = error.text;
        if let Some((source, line)) = error.place {
            text.extend_from_slice(b" script: ");
            text.extend_from_slice(name);
            text.extend_from_slice(b", on ");
            text.extend_from_slice(&source);
            text.extend_from_slice(format!(":{line}.").as_bytes());
        }
        let answer = CommandError::quoting(text);
        if !error.counted {
            return Err(answer);
        }
        // The command that failed in the script has been counted among the errors.
        let session = &mut self.sessions[slot];
        session.reply().error_bytes(&answer.wire());
        if let Some(command) = session.traffic.last_command {
            self.metrics.by_command[command.0 as usize].failed += 1;
        }
        Ok(Flow::Done)
    }
}
