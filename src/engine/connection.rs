//! stub until the control helper's lands
use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::spec::{Arity, Command, Flags, Flow, Group, control};
use crate::engine::{ControlHandler, Engine};
use crate::mailbox::SessionId;

/// The rows of this family.
pub const COMMANDS: &[Command<ControlHandler>] = &[
    control("PING", Arity::AtLeast(1), ping as ControlHandler)
        .group(Group::Connection)
        .flags(Flags::FAST),
    control("CONFIG", Arity::AtLeast(2), config as ControlHandler).group(Group::Server),
];

fn ping(engine: &mut Engine, slot: SessionId, _args: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().simple("PONG");
    Ok(Flow::Done)
}

fn config(engine: &mut Engine, slot: SessionId, _args: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().array(0);
    Ok(Flow::Done)
}
