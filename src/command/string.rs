//! stub until the strings helper's lands
use crate::command::args::Args;
use crate::command::context::Cx;
use crate::command::error::CommandError;
use crate::command::spec::*;
use crate::data::value::{NewValue, ValueRef};
use crate::keyspace::databases::Expiry;
use crate::keyspace::unit::Event;
pub const COMMANDS: &[Command<DataHandler>] = &[
    write("SET", Arity::AtLeast(3), set as DataHandler)
        .keys(&[Key::at(1).rw()])
        .effect(Effect::Rewritten),
    read("GET", Arity::Exactly(2), get as DataHandler).keys(&[Key::at(1).ro()]),
];
fn set(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    cx.db().put(args.at(1), NewValue::from_bytes(args.at(2)), Expiry::Clear, Event::SET);
    cx.log_verbatim();
    cx.reply.ok();
    Ok(Flow::Done)
}
fn get(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut db = cx.databases.db(cx.selected);
    match db.read_string(args.at(1))? {
        None => cx.reply.null(),
        Some(ValueRef::Int(n)) => cx.reply.bulk_int(n),
        Some(ValueRef::Str(s)) => cx.reply.bulk(s),
        Some(ValueRef::Object(_)) => return Err(CommandError::WrongType),
    }
    Ok(Flow::Done)
}
