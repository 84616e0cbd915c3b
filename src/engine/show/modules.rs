//! MODULE: there are no modules here, which tools that ask for them are told in upstream's words.

use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Command, Flags, Flow, Group, control,
};
use crate::engine::show::row;
use crate::engine::{ControlHandler, Engine, container};
use crate::mailbox::SessionId;

const SHOWN: Flags = Flags::ADMIN.union(Flags::NOSCRIPT);
const CHANGING: Flags = SHOWN.union(Flags::PROTECTED).union(Flags::NO_ASYNC_LOADING);
const NONE: &[&str] = &["modules are not supported: none is ever loaded"];

/// The row of this family.
pub(crate) const COMMANDS: &[Command<ControlHandler>] =
    &[control("MODULE", AtLeast(2), container as ControlHandler)
        .group(Group::Server)
        .since("4.0.0")
        .cost("That of the subcommand")
        .summary("Looks after modules.")
        .deviates(NONE)
        .subcommands(&[
            row("HELP", Exactly(2), help, Flags::LOADING.union(Flags::STALE), "5.0.0")
                .summary("Lists the subcommands."),
            row("LIST", Exactly(2), list, SHOWN, "4.0.0")
                .tips(&["nondeterministic_output_order"])
                .summary("Lists the modules that are loaded: none."),
            row("LOAD", AtLeast(3), load, CHANGING, "4.0.0")
                .syntax("path [arg [arg ...]]")
                .summary("Is refused: modules are not supported."),
            row("UNLOAD", Exactly(3), unload, CHANGING, "4.0.0")
                .syntax("name")
                .summary("Is refused: no module is loaded."),
        ])];

const HELP: &[&str] = &[
    "MODULE <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "LIST",
    "    The modules that are loaded: none, for they are not supported.",
    "HELP",
    "    Print this help.",
];

fn help(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().status_lines(HELP.iter().copied());
    Ok(Flow::Done)
}

fn list(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().array(0);
    Ok(Flow::Done)
}

fn load(_: &mut Engine, _: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let path = String::from_utf8_lossy(args.at(2));
    tracing::warn!("Module {path} failed to load: modules are not supported");
    Err(CommandError::text("ERR Error loading the extension. Please check the server logs."))
}

fn unload(_: &mut Engine, _: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    Err(CommandError::text("ERR Error unloading module: no such module with that name"))
}
