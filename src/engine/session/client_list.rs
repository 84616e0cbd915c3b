//! CLIENT LIST, INFO and KILL: clients as lines of text, and the filters that choose among them.

use std::fmt::Write;

use crate::base::text;
use crate::command::args::Args;
use crate::command::error::{self, CommandError};
use crate::command::spec::Flow;
use crate::engine::Engine;
use crate::engine::session::client_memory::Held;
use crate::engine::session::pubsub;
use crate::engine::session::run::Run;
use crate::engine::session::tracking::commands::redirection;
use crate::engine::session::tracking::{Mode, Redirect};
use crate::engine::session::{Manner, Session};
use crate::mailbox::{Origin, SessionId};

/// Unread reply bytes that count as the fixed buffer; what is beyond is upstream's reply list.
const FIXED_REPLY_BYTES: usize = 16 * 1024;

/// What TYPE tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Normal,
    /// Clients with a subscription.
    Listener,
    /// Replicas.
    Replica,
    /// The primary that is followed.
    Primary,
}

impl Class {
    fn of(session: &Session) -> Self {
        if session.is_primary() {
            Self::Primary
        } else if session.is_fed() {
            Self::Replica
        } else if session.is_listening() {
            Self::Listener
        } else {
            Self::Normal
        }
    }
}

/// Which clients are meant.
#[derive(Debug, Default)]
struct Filter<'a> {
    ids: Vec<i64>,
    addr: Option<&'a [u8]>,
    laddr: Option<&'a [u8]>,
    class: Option<Class>,
    user: Option<&'a [u8]>,
    age_seconds: Option<i64>,
}

impl Filter<'_> {
    fn admits(&self, session: &Session, now_ms: i64) -> bool {
        let Some(link) = &session.link else { return false };
        (self.ids.is_empty() || self.ids.contains(&(session.id as i64)))
            && self.addr.is_none_or(|addr| link.origin.peer_text().as_bytes() == addr)
            && self.laddr.is_none_or(|addr| link.origin.local_text().as_bytes() == addr)
            && self.class.is_none_or(|class| class == Class::of(session))
            && self.user.is_none_or(|user| session.authenticated && session.identity.user == user)
            && self
                .age_seconds
                .is_none_or(|age| (now_ms - session.traffic.created_ms) / 1000 >= age)
    }
}

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
    let mut filter = Filter::default();
    if args.len() == 4 && args.is(2, "TYPE") {
        filter.class = Some(parse_type(args.at(3))?);
    } else if args.len() > 3 && args.is(2, "ID") {
        for word in args.from(3) {
            let id = text::parse_i64(word).filter(|id| *id > 0);
            filter.ids.push(id.ok_or(CommandError::text("ERR Invalid client ID"))?);
        }
    } else if args.len() != 2 {
        return Err(CommandError::Syntax);
    }
    let now_ms = engine.now().0;
    let mut lines = Vec::new();
    for session in listed(engine).filter(|session| filter.admits(session, now_ms)) {
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
    let mut filter = Filter::default();
    let mut spare_me = !old_form;
    if old_form {
        filter.addr = Some(args.at(2));
    }
    let mut index = 2;
    while index < args.len() && !old_form {
        let Some(value) = args.get(index + 1) else { return Err(CommandError::Syntax) };
        parse_option(engine, &mut filter, &mut spare_me, args, index, value)?;
        index += 2;
    }
    let now_ms = engine.now().0;
    let chosen: Vec<SessionId> = listed(engine)
        .filter(|session| filter.admits(session, now_ms) && !(spare_me && session.slot == slot))
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

fn parse_option<'a>(
    engine: &Engine,
    filter: &mut Filter<'a>,
    spare_me: &mut bool,
    args: Args<'a>,
    option: usize,
    value: &'a [u8],
) -> Result<(), CommandError> {
    if args.is(option, "ID") {
        let id = text::parse_i64(value).filter(|id| *id > 0);
        filter.ids = vec![id.ok_or(CommandError::text("ERR client-id should be greater than 0"))?];
    } else if args.is(option, "MAXAGE") {
        const NO_NUMBER: CommandError =
            CommandError::text("ERR maxage is not an integer or out of range");
        let age = text::parse_i64(value).ok_or(NO_NUMBER)?;
        if age <= 0 {
            return Err(CommandError::text("ERR maxage should be greater than 0"));
        }
        filter.age_seconds = Some(age);
    } else if args.is(option, "TYPE") {
        filter.class = Some(parse_type(value)?);
    } else if args.is(option, "ADDR") {
        filter.addr = Some(value);
    } else if args.is(option, "LADDR") {
        filter.laddr = Some(value);
    } else if args.is(option, "USER") {
        let known =
            value == b"default" || engine.sessions.clients().any(|one| one.identity.user == value);
        if !known {
            let text = [b"ERR No such user '", error::quotable(value), b"'"].concat();
            return Err(CommandError::quoting(text));
        }
        filter.user = Some(value);
    } else if args.is(option, "SKIPME") {
        *spare_me = match value {
            yes if yes.eq_ignore_ascii_case(b"yes") => true,
            no if no.eq_ignore_ascii_case(b"no") => false,
            _ => return Err(CommandError::Syntax),
        };
    } else {
        return Err(CommandError::Syntax);
    }
    Ok(())
}

/// The class that a type's name means.
fn parse_type(word: &[u8]) -> Result<Class, CommandError> {
    const NAMES: [(&[u8], Class); 6] = [
        (b"normal", Class::Normal),
        (b"pubsub", Class::Listener),
        (b"slave", Class::Replica),
        (b"replica", Class::Replica),
        (b"master", Class::Primary),
        (b"primary", Class::Primary),
    ];
    if let Some((_, class)) = NAMES.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)) {
        return Ok(*class);
    }
    Err(CommandError::quoting([b"ERR Unknown client type '", error::quotable(word), b"'"].concat()))
}

/// Letters for what is special about a client, or `N`.
fn letters(session: &Session) -> String {
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
    let now_ms = engine.now().0;
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
        (now_ms - session.traffic.created_ms).max(0) / 1000,
        (now_ms - session.traffic.active_ms).max(0) / 1000,
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
