//! SHUTDOWN, SIGTERM and SIGINT: the orderly end.
//!
//! Either everything acknowledged is on disk when the process ends, or it doesn't end and says why
//! (unless it is told to by force).

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::spec::{Arity, Command, Flags, Flow, Group, control};
use crate::config::kinds::ShutdownFlags;
use crate::engine::keep::walks::{Purpose, Walk};
use crate::engine::replicate::farewell::{self, Waiting};
use crate::engine::{ControlHandler, Engine};
use crate::mailbox::SessionId;

/// The rows of this family.
pub(crate) const COMMANDS: &[Command<ControlHandler>] =
    &[control("SHUTDOWN", Arity::AtLeast(1), shutdown as ControlHandler)
        .group(Group::Server)
        .flags(
            Flags::ADMIN
                .union(Flags::NOSCRIPT)
                .union(Flags::LOADING)
                .union(Flags::STALE)
                .union(Flags::NO_MULTI)
                .union(Flags::ALLOW_BUSY),
        )
        .since("1.0.0")
        .cost("O(N) for N keys that are saved, O(1) without saving")
        .syntax("[NOSAVE|SAVE] [NOW] [FORCE] [ABORT]")
        .summary("Saves what must be saved and ends the server.")
        .history(&[("7.0.0", "Takes `NOW`, `FORCE` and `ABORT`.")])];

/// A signal that asks for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM.
    Term,
    /// SIGINT.
    Int,
}

/// A shutdown asked for, or decided.
#[derive(Debug, Default)]
pub struct State {
    exit: Option<i32>,
    asked: Rc<Cell<Option<Signal>>>,
    /// A signal that was announced in the log; the next round of the cron acts on it.
    scheduled: Option<Signal>,
    /// One that waits for replicas.
    pub(in crate::engine) waiting: Option<Waiting>,
    /// Whether the end that a signal asked for is under way.
    acting: bool,
    /// Set by each SIGINT. One that comes while the data is being saved ends that.
    insisted: Arc<AtomicBool>,
}

impl State {
    /// The exit code, when the server is to end now.
    pub(crate) fn exit_code(&self) -> Option<i32> {
        self.exit
    }

    /// Ends the server at the end of this tick, with no further ado.
    pub(crate) fn exit_now(&mut self, code: i32) {
        self.exit = Some(code);
    }

    /// Where a signal handler leaves its wish; the actor looks there at every tick.
    pub(crate) fn asked(&self) -> Rc<Cell<Option<Signal>>> {
        Rc::clone(&self.asked)
    }

    /// What a handler of SIGINT sets at once, even while the actor is busy.
    pub(crate) fn insisted(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.insisted)
    }

    /// Whether SIGINT came since the shutdown began that a signal asked for.
    pub(crate) fn is_insisted(&self) -> bool {
        self.acting && self.insisted.load(Ordering::Relaxed)
    }
}

fn shutdown(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut flags = ShutdownFlags::default();
    let mut abort = false;
    for index in 1..args.len() {
        match args.at(index) {
            word if word.eq_ignore_ascii_case(b"NOSAVE") && !flags.save => flags.nosave = true,
            word if word.eq_ignore_ascii_case(b"SAVE") && !flags.nosave => flags.save = true,
            word if word.eq_ignore_ascii_case(b"NOW") => flags.now = true,
            word if word.eq_ignore_ascii_case(b"FORCE") => flags.force = true,
            word if word.eq_ignore_ascii_case(b"ABORT") => abort = true,
            _ => return Err(CommandError::Syntax),
        }
    }
    if abort && args.len() > 2 {
        return Err(CommandError::Syntax);
    }
    if abort {
        if engine.shutdown.scheduled.take().is_none() && !engine.end_farewell() {
            return Err(CommandError::text("ERR No shutdown in progress."));
        }
        tracing::info!("Shutdown manually aborted.");
        engine.sessions[slot].reply().ok();
        return Ok(Flow::Done);
    }
    if engine.is_busy() && !flags.nosave {
        return Err(engine.busy_error());
    }
    let by = engine.sessions[slot].id;
    tracing::info!("User requested shutdown... (client id={by})");
    if engine.waits_for_replicas(flags) {
        engine.park_for_end(slot);
    } else if !engine.shut_down(flags) {
        engine.end_farewell();
        return Err(farewell::FAILED);
    }
    Ok(Flow::Done)
}

impl Engine {
    /// Takes note of a signal that came since the last tick.
    pub(in crate::engine) fn check_signals(&mut self) {
        let Some(signal) = self.shutdown.asked.take() else { return };
        let name = match signal {
            Signal::Term => "SIGTERM",
            Signal::Int => "SIGINT",
        };
        tracing::warn!("Received {name} scheduling shutdown...");
        self.shutdown.scheduled = Some(signal);
    }

    /// Does what a signal asked for; until here it could be taken back (SHUTDOWN ABORT).
    pub(in crate::engine) fn act_on_signal(&mut self) {
        let Some(signal) = self.shutdown.scheduled.take() else { return };
        let flags = match signal {
            Signal::Term => self.settings.shutdown_on_sigterm,
            Signal::Int => self.settings.shutdown_on_sigint,
        };
        tracing::warn!("User requested shutdown...");
        self.shutdown.insisted.store(false, Ordering::Relaxed);
        if self.waits_for_replicas(flags) {
            return;
        }
        self.shutdown.acting = true;
        self.shut_down(flags);
        self.shutdown.acting = false;
    }

    /// Makes everything durable and decides the end. False where that failed and nobody forced it:
    /// the server goes on.
    pub(crate) fn shut_down(&mut self, flags: ShutdownFlags) -> bool {
        self.say_farewell();
        let saved = self.save_for_shutdown(flags);
        if self.shutdown.exit.is_some() {
            // Told to end at once in the midst of it.
            return true;
        }
        if !saved && !flags.force {
            tracing::warn!(
                "Errors trying to shut down the server. Check the logs for more information."
            );
            return false;
        }
        self.remove_traces();
        tracing::warn!("Redis is now ready to exit, bye bye...");
        self.shutdown.exit = Some(0);
        true
    }

    /// Makes everything durable that the flags and the configuration ask for.
    fn save_for_shutdown(&mut self, flags: ShutdownFlags) -> bool {
        if self.persistence.loading {
            // What there is of the data must not take the place of all of it.
            self.abandon_load();
            return true;
        }
        let mut ok = true;
        if self.persistence.wanted.first_base.is_wanted() && !self.first_base_for_shutdown(flags) {
            return false;
        }
        if self.persistence.walk.is_rewrite() {
            tracing::warn!("There is a rewrite of the append only file under way. Ending it.");
            self.abort_walk();
        }
        self.write_log();
        if let Some(log) = &mut self.log {
            tracing::info!("Calling fsync() on the AOF file.");
            if let Err(error) = log.close() {
                tracing::warn!("Fail to fsync the AOF file: {error}");
                ok = false;
            }
        }
        if (!self.settings.save.is_empty() && !flags.nosave) || flags.save {
            tracing::info!("Saving the final RDB snapshot before exiting.");
            if !self.save_now() {
                tracing::warn!("Error trying to save the DB, can't exit.");
                ok = false;
            }
        } else {
            self.abort_walk();
        }
        ok
    }

    /// The log has no base yet. One that is being written is waited for by whoever asks for the end, as
    /// upstream; one that waits for its turn, or has failed, is made now. Whether to go on.
    fn first_base_for_shutdown(&mut self, flags: ShutdownFlags) -> bool {
        if flags.force {
            tracing::warn!("Writing initial AOF. Exiting anyway.");
            return true;
        }
        if matches!(self.persistence.walk, Walk::FirstBase(_)) {
            tracing::warn!("Writing initial AOF, can't exit.");
            return false;
        }
        tracing::info!("Writing the initial AOF before exiting.");
        // The end comes before its result would.
        self.abort_walk();
        if self.ask(Purpose::FirstBase) && self.complete_first_base() {
            return true;
        }
        if self.shutdown.exit.is_none() {
            tracing::warn!("Error writing the initial AOF, can't exit.");
        }
        false
    }

    fn remove_traces(&self) {
        if !self.settings.pidfile.as_os_str().is_empty() && self.settings.daemonize {
            tracing::info!("Removing the pid file.");
        }
        if !self.settings.unixsocket.as_os_str().is_empty() {
            tracing::info!("Removing the unix socket file.");
            if let Err(error) = std::fs::remove_file(&self.settings.unixsocket) {
                tracing::warn!("Error removing the unix socket file: {error}");
            }
        }
    }
}
