//! Scripts that run for too long: a stack of their own, and what goes on while they stand still.
//!
//! ```text
//!           execute                     check_time: past busy-reply-threshold
//!  Idle ────────────► Runs (on its stack) ─────────────────► Busy: stands still ◄──┐
//!   ▲                   │                                        │ next tick       │ check_time:
//!   │     it has ended  │                                        ▼                 │ a slice is over
//!   └───────────────────┴─────────────────────────────────────  runs a slice ──────┘
//! ```
//! A command that runs scripts (or EXEC, where such a command is queued) runs on a stack of its own. As
//! long as the script is quick that costs two switches. One that is past `busy-reply-threshold` stands
//! still at the point where it has asked for the time, and the tick goes on: other clients are told BUSY,
//! and a slice of the script runs in each tick. Its unit stays open all the while, so nothing else may
//! touch data: what does is refused (`admit`), put off (cron, expiry, eviction, the primary's stream,
//! clients that wait for keys) or held ([`Engine::hold_message`]). Pieces of a
//! primary's snapshot that come meanwhile are held as well, and nothing bounds them.
//!
//! *Owner.* [`State`](super::State): `suspended` is there from the first time that a script stands still
//! to its end, but for its slices. *Faults.* The client goes: its session stays in the table until the
//! script has ended. The server ends (SHUTDOWN NOSAVE): the stack is given up, and what the script had
//! done was never committed.

use std::fmt;
use std::ptr::NonNull;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::spec::Flags;
use crate::engine::Engine;
use crate::engine::registry::CommandId;
use crate::engine::session::run::Run;
use crate::engine::tick::transaction::Queued;
use crate::keyspace::databases::DbIndex;
use crate::keyspace::unit::UnitGuard;
use crate::mailbox::{Message, SessionId, UplinkEvent};
use crate::script::Pace;

/// Bytes of a script's stack: Lua's own depth is bounded (200 levels of C), commands need the most.
const STACK_BYTES: usize = 8 << 20;
/// How long a busy script runs between two looks at what others want, in microseconds.
const SLICE_MICROS: u64 = 500;

/// What a script's stack begins with, and is handed in anew whenever it goes on: the engine, which
/// stays where it is as long as one stands still.
#[derive(Clone, Copy)]
pub(super) struct Access(NonNull<Engine>);

type Stack = Coroutine<Access, (), (), DefaultStack>;

/// Where a script stands still.
pub(super) type Standing = NonNull<Yielder<Access, ()>>;

/// A command whose script stands still.
pub(super) struct Suspended {
    stack: Option<Stack>,
    /// The right to end its unit.
    unit: Option<UnitGuard>,
    engine: NonNull<Engine>,
    slot: SessionId,
    db: DbIndex,
    /// Its words, which the stack refers to.
    words: Box<Queued>,
    /// Where its reply begins.
    before: usize,
    /// The time that the script sees, in microseconds since the epoch.
    now_micros: i64,
    /// Other steps of the link to the primary, and ends of errands, that came meanwhile.
    held: Vec<Message>,
}

impl fmt::Debug for Suspended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suspended").field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl Drop for Suspended {
    fn drop(&mut self) {
        if let Some(stack) = &mut self.stack
            && stack.started()
            && !stack.done()
        {
            // SAFETY: the server ends, and with it the process or the test. What is on the stack is
            // leaked, and nothing refers to it any more but the machine, which is on it as well.
            unsafe { stack.force_reset() };
        }
        std::mem::forget(self.unit.take());
    }
}

/// What a script answers that was told to end, and a function.
const KILLED: &str = "Script killed by user with SCRIPT KILL...";
const FUNCTION_KILLED: &str = "Script killed by user with FUNCTION KILL...";

impl Engine {
    /// Whether a script stands still.
    #[inline]
    pub(in crate::engine) fn is_busy(&self) -> bool {
        self.scripts.is_busy()
    }

    /// Whether a command may run a script.
    #[inline]
    pub(in crate::engine) fn runs_scripts(&self, slot: SessionId, command: CommandId) -> bool {
        let flags = self.registry[command].spec.flags;
        if flags.contains(Flags::RUNS_QUEUE) {
            let transaction = self.sessions[slot].transaction.as_ref();
            return transaction
                .is_some_and(|transaction| transaction.flags().contains(Flags::RUNS_SCRIPTS));
        }
        flags.contains(Flags::RUNS_SCRIPTS)
    }

    /// Runs a command on a stack of its own. The unit's guard comes back where the command has ended;
    /// else its session stands still.
    pub(in crate::engine) fn call_on_stack(
        &mut self,
        slot: SessionId,
        command: CommandId,
        args: Args<'_>,
        unit: UnitGuard,
    ) -> Option<UnitGuard> {
        // What comes from the log or the primary is awaited whatever it takes.
        let stack = if self.sessions[slot].replaying || self.scripts.standing.is_some() {
            None
        } else {
            self.scripts.spare.take().or_else(|| DefaultStack::new(STACK_BYTES).ok())
        };
        let Some(stack) = stack else {
            self.call(slot, command, args);
            return Some(unit);
        };
        let before = self.sessions[slot].output.buffer.len();
        let db = self.sessions[slot].db;
        // The batch may be gone before the script is.
        let words = Box::new(Queued::new(command, args));
        let queued = NonNull::from(&*words);
        let mut stack = Coroutine::with_stack(stack, move |yielder, access: Access| {
            let mut engine = access.0;
            // SAFETY: whoever resumes has lent its engine until this stack stands still or has ended,
            // and the words stay until then.
            let (engine, queued) = unsafe { (engine.as_mut(), queued.as_ref()) };
            engine.scripts.standing = Some(NonNull::from(yielder));
            engine.call(slot, command, queued.args());
            engine.scripts.standing = None;
        });
        self.scripts.slice_end = None;
        let engine = NonNull::from(&mut *self);
        match stack.resume(Access(engine)) {
            CoroutineResult::Return(()) => {
                self.scripts.spare = Some(stack.into_stack());
                Some(unit)
            }
            CoroutineResult::Yield(()) => {
                self.scripts.suspended = Some(Box::new(Suspended {
                    stack: Some(stack),
                    unit: Some(unit),
                    engine,
                    slot,
                    db,
                    words,
                    before,
                    now_micros: self.now_micros,
                    held: Vec::new(),
                }));
                self.stop(slot, Run::Scripting);
                None
            }
        }
    }

    /// Runs a slice of the script that stands still.
    #[cold]
    pub(in crate::engine) fn continue_script(&mut self) {
        let Some(mut suspended) = self.scripts.suspended.take() else { return };
        let Some(stack) = &mut suspended.stack else { return };
        let engine = NonNull::from(&mut *self);
        assert_eq!(engine, suspended.engine, "the engine stays where it is while a script runs");
        self.now_micros = suspended.now_micros;
        self.databases.set_now(self.now());
        let slice = self.env.stopwatch.ticks_of(SLICE_MICROS);
        self.scripts.slice_end = Some(self.env.stopwatch.ticks() + slice);
        match stack.resume(Access(NonNull::from(&mut *self))) {
            CoroutineResult::Yield(()) => {
                self.refresh_time();
                self.scripts.suspended = Some(suspended);
            }
            CoroutineResult::Return(()) => {
                self.scripts.slice_end = None;
                self.finish_suspended(*suspended);
            }
        }
    }

    /// The script has ended: what follows every command, and what was put off.
    fn finish_suspended(&mut self, mut suspended: Suspended) {
        if let Some(stack) = suspended.stack.take() {
            self.scripts.spare = Some(stack.into_stack());
        }
        let (slot, db) = (suspended.slot, suspended.db);
        if let Some(unit) = suspended.unit.take() {
            self.finish_command(unit, slot, db, suspended.words.args(), None);
        }
        self.refresh_time();
        self.serve_waiting();
        let (command, args) = (suspended.words.command(), suspended.words.args());
        self.keep_large_request(slot, command, args);
        self.keep_large_reply(slot, command, args, suspended.before);
        self.end_request(slot, suspended.before);
        if !self.observe.on.is_empty() {
            self.observe_request(slot, Some(command));
        }
        if matches!(self.sessions[slot].run, Run::Scripting) {
            self.go_on(slot);
        }
        for message in std::mem::take(&mut suspended.held) {
            self.take_message(message);
        }
    }

    /// Whether a message has to wait until the script has ended: it would touch data. It is kept then. The
    /// primary's stream is kept where it is during a pause, and bounded there ([`Engine::apply_stream`]);
    /// the pieces of a snapshot are written to their file.
    pub(in crate::engine) fn hold_message(&mut self, message: Message) -> Option<Message> {
        match (&mut self.scripts.suspended, message) {
            (_, message @ Message::Uplink(_, UplinkEvent::Stream(_))) => Some(message),
            (Some(suspended), Message::Uplink(number, event))
                if event.is_of_arrival()
                    && !suspended.held.iter().any(|held| matches!(held, Message::Uplink(..))) =>
            {
                Some(Message::Uplink(number, event))
            }
            (Some(suspended), message @ (Message::Uplink(..) | Message::Errand(..))) => {
                suspended.held.push(message);
                None
            }
            (_, message) => Some(message),
        }
    }

    /// The words that called the function that stands still, and for how many milliseconds it has run.
    pub(super) fn running_script(&self) -> Option<(Vec<Vec<u8>>, i64)> {
        let suspended = self.scripts.suspended.as_ref()?;
        let running = self.scripts.running.filter(|running| running.is_function)?;
        let words = suspended.words.args().from(0).map(<[u8]>::to_vec).collect();
        let ticks = self.env.stopwatch.ticks().saturating_sub(running.began);
        Some((words, self.env.stopwatch.micros(ticks) as i64 / 1000))
    }

    /// Whether a session's script stands still: the session must stay in the table.
    pub(in crate::engine) fn is_script_of(&self, slot: SessionId) -> bool {
        self.scripts.suspended.as_ref().is_some_and(|suspended| suspended.slot == slot)
    }

    /// Called from within a script: stands still where it has been running for too long. The error is
    /// why it must end.
    #[inline]
    pub(super) fn check_script_time(&mut self) -> Result<Pace, &'static str> {
        if let Some(until) = self.scripts.loading_until {
            let late = self.env.stopwatch.ticks() > until;
            return if late { Err("FUNCTION LOAD timeout") } else { Ok(Pace::Right) };
        }
        let Some(standing) = self.scripts.standing else { return Ok(Pace::Quick) };
        let now = self.env.stopwatch.ticks();
        let Some(running) = &mut self.scripts.running else { return Ok(Pace::Quick) };
        let end = self.scripts.slice_end.unwrap_or(running.overdue_at);
        let since = now.saturating_sub(std::mem::replace(&mut running.looked_at, now));
        if now < end && !self.scripts.killed {
            return Ok(self.script_pace(since));
        }
        let pace = self.script_pace(since);
        self.stand_still(standing, now)?;
        if let Some(running) = &mut self.scripts.running {
            running.looked_at = self.env.stopwatch.ticks();
        }
        Ok(pace)
    }

    /// Whether it was too long since a script has asked for the time.
    fn script_pace(&self, since: u64) -> Pace {
        match self.env.stopwatch.micros(since) {
            0..30 => Pace::Quick,
            30..SLICE_MICROS => Pace::Right,
            _ => Pace::Slow,
        }
    }

    #[cold]
    fn stand_still(&mut self, standing: Standing, now: u64) -> Result<(), &'static str> {
        if self.scripts.slice_end.is_none() {
            let began = self.scripts.running.map_or(now, |running| running.began);
            let millis = self.env.stopwatch.micros(now.saturating_sub(began)) / 1000;
            tracing::warn!(
                "Slow script detected: still in execution after {millis} milliseconds. You can try \
                 killing the script using the SCRIPT KILL command."
            );
        }
        if !self.scripts.killed {
            // SAFETY: it lives at the bottom of the stack that this runs on.
            unsafe { standing.as_ref() }.suspend(());
        }
        if !self.scripts.killed {
            return Ok(());
        }
        let function = self.scripts.running.is_some_and(|running| running.is_function);
        Err(if function { FUNCTION_KILLED } else { KILLED })
    }

    /// What a command is told that comes while a script stands still.
    #[cold]
    pub(in crate::engine) fn busy_error(&self) -> CommandError {
        if self.scripts.running.is_some_and(|running| running.is_function) {
            return CommandError::text(
                "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN \
                 NOSAVE.",
            );
        }
        CommandError::text(
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        )
    }

    /// Has the script end that stands still.
    pub(super) fn kill_script(&mut self, function: bool) -> Result<(), CommandError> {
        let Some(running) = self.scripts.running.filter(|_| self.is_busy()) else {
            return Err(CommandError::text("NOTBUSY No scripts in execution right now."));
        };
        if running.obeyed {
            return Err(CommandError::text(
                "UNKILLABLE The busy script was sent by a master instance in the context of \
                 replication and cannot be killed.",
            ));
        }
        if running.wrote {
            return Err(CommandError::text(
                "UNKILLABLE Sorry the script already executed write commands against the dataset. \
                 You can either wait the script termination or kill the server in a hard way using \
                 the SHUTDOWN NOSAVE command.",
            ));
        }
        if running.is_function != function {
            return Err(self.busy_error());
        }
        self.scripts.killed = true;
        Ok(())
    }
}
