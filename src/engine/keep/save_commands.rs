//! SAVE, BGSAVE, BGREWRITEAOF and LASTSAVE: what clients ask of [`crate::engine::keep::walks`].

use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::spec::{Arity, Command, Flags, Flow, Group, control};
use crate::engine::keep::walks::{Purpose, Want};
use crate::engine::session::Doing;
use crate::engine::{ControlHandler, Engine};
use crate::mailbox::SessionId;
use crate::persist::log::Log;

/// The rows of this family.
pub(crate) const COMMANDS: &[Command<ControlHandler>] = &[
    control("SAVE", Arity::Exactly(1), save as ControlHandler)
        .group(Group::Server)
        .flags(
            Flags::ADMIN
                .union(Flags::NOSCRIPT)
                .union(Flags::NO_ASYNC_LOADING)
                .union(Flags::NO_MULTI),
        )
        .cost("O(N) for N keys in all databases")
        .summary("Writes a snapshot while clients wait."),
    control("BGSAVE", Arity::AtLeast(1), bgsave as ControlHandler)
        .group(Group::Server)
        .flags(Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::NO_ASYNC_LOADING))
        .syntax("[SCHEDULE|CANCEL]")
        .summary("Writes a snapshot in the background.")
        .history(&[
            ("3.2.2", "Waits for another save with `SCHEDULE`."),
            ("8.1.0", "Gives one up with `CANCEL`."),
        ]),
    control("BGREWRITEAOF", Arity::Exactly(1), bgrewriteaof as ControlHandler)
        .group(Group::Server)
        .flags(Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::NO_ASYNC_LOADING))
        .summary("Rewrites the log to its shortest form in the background."),
    control("LASTSAVE", Arity::Exactly(1), lastsave as ControlHandler)
        .group(Group::Server)
        .flags(Flags::LOADING.union(Flags::STALE).union(Flags::FAST))
        .categories(&["admin", "dangerous"])
        .tips(&["nondeterministic_output"])
        .summary("Tells when the last snapshot was complete."),
];

fn save(engine: &mut Engine, slot: SessionId, _args: Args<'_>) -> Result<Flow, CommandError> {
    if engine.persistence.saving() {
        return Err(CommandError::text("ERR Background save already in progress"));
    }
    if !engine.save_now() {
        return Err(CommandError::text("ERR"));
    }
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

fn bgsave(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let schedule = match args.len() {
        1 => false,
        2 if args.is(1, "SCHEDULE") => true,
        2 if args.is(1, "CANCEL") => return cancel(engine, slot),
        _ => return Err(CommandError::Syntax),
    };
    if engine.persistence.saving() {
        return Err(CommandError::text("ERR Background save already in progress"));
    }
    // A transaction is in a snapshot wholly or not at all: one that it asks for begins behind it.
    let executing = engine.sessions[slot].doing == Doing::Exec;
    if executing || !engine.persistence.walk.is_idle() {
        if !schedule && !executing {
            return Err(CommandError::text(
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE \
                 SCHEDULE in order to schedule a BGSAVE whenever possible.",
            ));
        }
        engine.persistence.wanted.save.ask();
        engine.sessions[slot].reply().simple("Background saving scheduled");
        return Ok(Flow::Done);
    }
    if !engine.ask(Purpose::Save) {
        return Err(CommandError::text("ERR Can't begin the snapshot. Check the logs."));
    }
    engine.sessions[slot].reply().simple("Background saving started");
    Ok(Flow::Done)
}

fn cancel(engine: &mut Engine, slot: SessionId) -> Result<Flow, CommandError> {
    let reply = if engine.persistence.saving() {
        tracing::info!("Background saving will be aborted due to user request");
        engine.cancel_save();
        "Background saving cancelled"
    } else if std::mem::take(&mut engine.persistence.wanted.save) != Want::No {
        tracing::info!("Scheduled background saving will be cancelled due to user request");
        "Scheduled background saving cancelled"
    } else {
        return Err(CommandError::text(
            "ERR Background saving is currently not in progress or scheduled",
        ));
    };
    engine.sessions[slot].reply().simple(reply);
    Ok(Flow::Done)
}

fn bgrewriteaof(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    if engine.persistence.walk.is_rewrite() {
        return Err(CommandError::text(
            "ERR Background append only file rewriting already in progress",
        ));
    }
    // A log that has no base yet waits for its first.
    let baseless = engine.log.as_ref().is_some_and(Log::waiting_for_base);
    let purpose = if baseless { Purpose::FirstBase } else { Purpose::Rewrite };
    if (engine.sessions[slot].doing == Doing::Exec) || !engine.persistence.walk.is_idle() {
        engine.persistence.wanted.of(purpose).ask();
        engine.sessions[slot].reply().simple("Background append only file rewriting scheduled");
        return Ok(Flow::Done);
    }
    if !engine.ask(purpose) {
        return Err(CommandError::text(
            "ERR Can't execute an AOF background rewriting. Please check the server logs for more \
             information.",
        ));
    }
    engine.sessions[slot].reply().simple("Background append only file rewriting started");
    Ok(Flow::Done)
}

fn lastsave(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    let seconds = engine.persistence.last_save_seconds;
    engine.sessions[slot].reply().int(seconds);
    Ok(Flow::Done)
}
