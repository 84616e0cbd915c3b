//! CLIENT LIST, INFO and KILL: clients as lines of text, and their end. Which ones is said by a
//! [filter](crate::engine::session::client_filter).

use std::fmt::Write;

use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::spec::Flow;
use crate::engine::Engine;
use crate::engine::session::client_filter::Filter;
use crate::engine::session::client_memory::Held;
use crate::engine::session::pubsub;
use crate::engine::session::run::Run;
use crate::engine::session::tracking::commands::redirection;
use crate::engine::session::tracking::{Mode, Redirect};
use crate::engine::session::{Manner, Session};
use crate::mailbox::{Origin, SessionId};

/// Unread reply bytes that count as the fixed buffer; what is beyond is upstream's reply list.
const FIXED_REPLY_BYTES: usize = 16 * 1024;

/// Clients, and the primary that is followed.
fn listed(engine: &Engine) -> impl Iterator<Item = &Session> {
    engine.sessions.clients().chain(engine.primary_session())
}

/// CLIENT LIST.
pub(crate) fn list(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    const BAD_ID: &str = "ERR Invalid client ID";
    let filter = Filter::parse(engine, slot, args, false, BAD_ID)?;
    let now = engine.steady();
    let mut lines = Vec::new();
    for session in listed(engine).filter(|session| filter.admits(session, now)) {
        push_line(&mut lines, engine, session);
    }
    engine.sessions[slot].reply().verbatim("txt", &lines);
    Ok(Flow::Done)
}

/// CLIENT INFO.
pub(crate) fn info(
    engine: &mut Engine,
    slot: SessionId,
    _: Args<'_>,
) -> Result<Flow, CommandError> {
    let mut line = Vec::new();
    push_line(&mut line, engine, &engine.sessions[slot]);
    engine.sessions[slot].reply().verbatim("txt", &line);
    Ok(Flow::Done)
}

/// CLIENT KILL.
pub(crate) fn kill(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    let old_form = args.len() == 3;
    const BAD_ID: &str = "ERR client-id should be greater than 0";
    let filter = if old_form {
        Filter::at(args.at(2))
    } else {
        Filter::parse(engine, slot, args, true, BAD_ID)?
    };
    let now = engine.steady();
    let chosen: Vec<SessionId> = listed(engine)
        .filter(|session| filter.admits(session, now))
        .map(|session| session.slot)
        .collect();
    if old_form && chosen.is_empty() {
        return Err(CommandError::text("ERR No such client"));
    }
    let mut reply = engine.sessions[slot].reply();
    if old_form {
        reply.ok();
    } else {
        reply.count(chosen.len());
    }
    for victim in chosen {
        if victim == slot {
            engine.leave(victim);
        } else if engine.sessions[victim].is_primary() {
            engine.lose_link("The link to the primary is closed by CLIENT KILL");
        } else {
            engine.kill(victim);
        }
    }
    Ok(Flow::Done)
}

/// Letters for what is special about a client, or `N`.
pub(super) fn letters(session: &Session) -> String {
    let unix = session.link.as_ref().is_some_and(|l| matches!(l.origin, Origin::Unix(_)));
    let tracking = session.hears.tracking.as_deref();
    let letters: String = [
        (session.hears.monitors, 'O'),
        (session.is_primary(), 'M'),
        (session.is_fed(), 'S'),
        (session.is_listening(), 'P'),
        (session.in_transaction(), 'x'),
        (matches!(session.run, Run::Parked(_) | Run::Paused(_)), 'b'),
        (tracking.is_some(), 't'),
        (tracking.is_some_and(|mine| matches!(mine.redirect, Redirect::Broken(_))), 'R'),
        (tracking.is_some_and(|mine| matches!(mine.mode, Mode::Broadcast(_))), 'B'),
        (session.watching.broken, 'd'),
        (matches!(session.run, Run::Leaving), 'c'),
        (unix, 'U'),
        (session.manner.contains(Manner::NO_EVICT), 'e'),
        (session.manner.contains(Manner::NO_TOUCH), 'T'),
    ]
    .iter()
    .filter(|(set, _)| *set)
    .map(|(_, letter)| *letter)
    .collect();
    if letters.is_empty() { "N".to_owned() } else { letters }
}

/// One client's line.
pub(in crate::engine) fn push_line(out: &mut Vec<u8>, engine: &Engine, session: &Session) {
    let now = engine.steady();
    let (peer, local, descriptor) = match &session.link {
        Some(link) => (link.origin.peer_text(), link.origin.local_text(), link.descriptor),
        None => (String::new(), String::new(), -1),
    };
    let (channels, patterns, shards) = pubsub::counts(session);
    let queued = session.transaction.as_ref();
    let pending = session.output.pending();
    let (fixed, listed) = if pending > FIXED_REPLY_BYTES { (0, pending) } else { (pending, 0) };
    let capacity = session.output.buffer.capacity();
    let Held { query, query_free, queued: multi_memory, total } = session.held();
    let command =
        session.traffic.last_command.map_or("NULL", |id| engine.registry[id].full_name.as_str());
    let mut line = String::with_capacity(512);
    // Writing to a String can't fail.
    let _ = write!(
        line,
        "id={} addr={peer} laddr={local} fd={descriptor} name={} age={} idle={} flags={} db={} \
         sub={channels} psub={patterns} ssub={shards} multi={} watch={} qbuf={query} qbuf-free={query_free} argv-mem=0 \
         multi-mem={multi_memory} rbs={capacity} rbp={} obl={fixed} oll={} omem={listed} \
         tot-mem={total} events={} cmd={command} user={} redir={} resp={} lib-name={} lib-ver={} \
         tot-net-in={} tot-net-out={} tot-cmds={}",
        session.id,
        String::from_utf8_lossy(&session.identity.name),
        now.since(session.traffic.created) / 1000,
        now.since(session.traffic.active) / 1000,
        letters(session),
        session.db.0,
        queued.map_or(-1, |transaction| transaction.len() as i64),
        session.watching.keys.len(),
        session.output.peak,
        usize::from(listed > 0),
        if session.output.awaiting_writable { "rw" } else { "r" },
        String::from_utf8_lossy(&session.identity.user),
        redirection(session.hears.tracking.as_deref()),
        session.protocol.number(),
        String::from_utf8_lossy(&session.identity.lib_name),
        String::from_utf8_lossy(&session.identity.lib_version),
        session.traffic.input_bytes,
        session.traffic.output_bytes,
        session.traffic.commands,
    );
    out.extend_from_slice(line.as_bytes());
    out.push(b'\n');
}
