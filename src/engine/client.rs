//! CLIENT: who is connected, and what becomes of them.

use std::fmt::Write;

use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Command, Flags, Flow, Group, control,
};
use crate::engine::connection::check_name;
use crate::engine::session::{Closing, ReplyMode, Session};
use crate::engine::{ControlHandler, Engine};
use crate::mailbox::{Origin, SessionId};

/// The rows of this family.
pub const COMMANDS: &[Command<ControlHandler>] =
    &[control("CLIENT", AtLeast(2), container as ControlHandler)
        .group(Group::Connection)
        .since("2.4.0")
        .cost("Depends on subcommand.")
        .summary("A container for commands on client connections.")
        .subcommands(SUBCOMMANDS)];

const COMMON: Flags = Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE);

const fn row(
    name: &'static str,
    arity: crate::command::spec::Arity,
    run: ControlHandler,
) -> Command<ControlHandler> {
    control(name, arity, run).group(Group::Connection).flags(COMMON)
}

const SUBCOMMANDS: &[Command<ControlHandler>] = &[
    row("CACHING", Exactly(3), caching)
        .since("6.0.0")
        .syntax("YES|NO")
        .summary("Tells whether the next command's keys are tracked.")
        .deviates(&["There is no tracking yet: always an error."]),
    row("GETNAME", Exactly(2), getname).since("2.6.9").summary("Replies with the client's name."),
    row("GETREDIR", Exactly(2), getredir)
        .since("6.0.0")
        .summary("Replies with the client that tracking messages go to."),
    control("HELP", Exactly(2), help as ControlHandler)
        .group(Group::Connection)
        .flags(Flags::LOADING.or(Flags::STALE))
        .since("5.0.0")
        .summary("Replies with help about CLIENT."),
    row("ID", Exactly(2), id).since("5.0.0").summary("Replies with the client's number."),
    row("INFO", Exactly(2), info)
        .tips(&["nondeterministic_output"])
        .since("6.2.0")
        .summary("Replies with what is known of this client."),
    row("KILL", AtLeast(3), kill)
        .flags(Flags::ADMIN)
        .since("2.4.0")
        .cost("O(N) where N is the number of client connections")
        .syntax(
            "[ip:port] [ID client-id] [TYPE NORMAL|MASTER|SLAVE|REPLICA|PUBSUB] \
             [USER username] [ADDR addr] [LADDR laddr] [SKIPME yes|no] [MAXAGE maxage]",
        )
        .summary("Ends connections."),
    row("LIST", AtLeast(2), list)
        .flags(Flags::ADMIN)
        .tips(&["nondeterministic_output"])
        .since("2.4.0")
        .cost("O(N) where N is the number of client connections")
        .syntax("[TYPE NORMAL|MASTER|REPLICA|PUBSUB] [ID client-id [client-id ...]]")
        .summary("Replies with a line for each client."),
    row("NO-EVICT", Exactly(3), no_evict)
        .flags(Flags::ADMIN)
        .since("7.0.0")
        .syntax("ON|OFF")
        .summary("Keeps this client from being closed for lack of memory."),
    row("NO-TOUCH", Exactly(3), no_touch)
        .since("7.2.0")
        .syntax("ON|OFF")
        .summary("Keeps this client's commands from counting as use of their keys."),
    row("PAUSE", AtLeast(3), pause)
        .flags(Flags::ADMIN)
        .since("3.0.0")
        .syntax("timeout [WRITE|ALL]")
        .summary("Makes all clients' commands wait for a time."),
    row("REPLY", Exactly(3), reply)
        .since("3.2.0")
        .syntax("ON|OFF|SKIP")
        .summary("Tells whether commands are answered."),
    row("SETINFO", Exactly(4), setinfo)
        .since("7.2.0")
        .syntax("LIB-NAME libname|LIB-VER libver")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .summary("Notes the client library's name or version."),
    row("SETNAME", Exactly(3), setname)
        .since("2.6.9")
        .syntax("connection-name")
        .summary("Gives the client a name."),
    row("TRACKING", AtLeast(3), tracking)
        .since("6.0.0")
        .syntax("ON|OFF")
        .summary("Turns server-assisted client caching on or off.")
        .deviates(&["OFF only: there is no tracking yet."]),
    row("TRACKINGINFO", Exactly(2), trackinginfo)
        .since("6.2.0")
        .summary("Replies with what is tracked for this client."),
    row("UNBLOCK", AtLeast(3), unblock)
        .flags(Flags::ADMIN)
        .since("5.0.0")
        .syntax("client-id [TIMEOUT|ERROR]")
        .summary("Ends another client's waiting in a blocking command."),
    row("UNPAUSE", Exactly(2), unpause).flags(Flags::ADMIN).since("6.2.0").summary("Ends a pause."),
];

type Handled = Result<Flow, CommandError>;

fn container(_: &mut Engine, _: SessionId, _: Args<'_>) -> Handled {
    Err(CommandError::Arity("client".into()))
}

fn ok(engine: &mut Engine, slot: SessionId) -> Handled {
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

fn on_off(args: Args<'_>) -> Result<bool, CommandError> {
    match () {
        () if args.is(2, "ON") => Ok(true),
        () if args.is(2, "OFF") => Ok(false),
        () => Err(CommandError::Syntax),
    }
}

fn caching(_: &mut Engine, _: SessionId, _: Args<'_>) -> Handled {
    Err(CommandError::text(
        "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or \
         OPTOUT mode enabled",
    ))
}

fn getname(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    let name = engine.sessions[slot].name.clone();
    let mut reply = engine.sessions[slot].reply();
    if name.is_empty() {
        reply.null();
    } else {
        reply.bulk(&name);
    }
    Ok(Flow::Done)
}

fn getredir(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    engine.sessions[slot].reply().int(-1);
    Ok(Flow::Done)
}

fn id(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    let id = engine.sessions[slot].id;
    engine.sessions[slot].reply().int(id as i64);
    Ok(Flow::Done)
}

fn info(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    let mut line = engine.client_line(&engine.sessions[slot]);
    line.push('\n');
    engine.sessions[slot].reply().verbatim("txt", line.as_bytes());
    Ok(Flow::Done)
}

fn unknown_type(word: &[u8]) -> CommandError {
    let mut text = b"ERR Unknown client type '".to_vec();
    text.extend_from_slice(word);
    text.push(b'\'');
    CommandError::quoting(text)
}

/// Whether a type's name stands for clients as there are here: all are normal ones.
fn is_normal(word: &[u8]) -> Result<bool, CommandError> {
    let others = ["master", "primary", "slave", "replica", "pubsub"];
    match () {
        () if word.eq_ignore_ascii_case(b"normal") => Ok(true),
        () if others.iter().any(|other| word.eq_ignore_ascii_case(other.as_bytes())) => Ok(false),
        () => Err(unknown_type(word)),
    }
}

fn list(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    let mut ids: Option<Vec<u64>> = None;
    let mut normal = true;
    if args.len() == 4 && args.is(2, "TYPE") {
        normal = is_normal(args.at(3))?;
    } else if args.len() > 3 && args.is(2, "ID") {
        let mut wanted = Vec::new();
        for index in 3..args.len() {
            let id = args.int(index).ok().filter(|id| *id > 0);
            wanted.push(id.ok_or(CommandError::text("ERR Invalid client ID"))? as u64);
        }
        ids = Some(wanted);
    } else if args.len() != 2 {
        return Err(CommandError::Syntax);
    }
    let mut lines = String::new();
    for session in engine.sessions.clients() {
        if normal && ids.as_ref().is_none_or(|ids| ids.contains(&session.id)) {
            lines.push_str(&engine.client_line(session));
            lines.push('\n');
        }
    }
    engine.sessions[slot].reply().verbatim("txt", lines.as_bytes());
    Ok(Flow::Done)
}

/// What CLIENT KILL looks for.
#[derive(Default)]
struct Filter {
    id: Option<u64>,
    address: Option<Vec<u8>>,
    local_address: Option<Vec<u8>>,
    user: Option<Vec<u8>>,
    normal: Option<bool>,
    max_age_seconds: Option<i64>,
    skip_me: bool,
}

impl Filter {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut filter = Self { skip_me: true, ..Self::default() };
        let mut index = 2;
        while index < args.len() {
            if index + 1 >= args.len() {
                return Err(CommandError::Syntax);
            }
            let value = args.at(index + 1);
            if args.is(index, "ID") {
                let id = args.int(index + 1).ok().filter(|id| *id > 0);
                let error = CommandError::text("ERR client-id should be greater than 0");
                filter.id = Some(id.ok_or(error)? as u64);
            } else if args.is(index, "MAXAGE") {
                let age = args.int(index + 1).map_err(|_| {
                    CommandError::text("ERR maxage is not an integer or out of range")
                })?;
                if age <= 0 {
                    return Err(CommandError::text("ERR maxage should be greater than 0"));
                }
                filter.max_age_seconds = Some(age);
            } else if args.is(index, "TYPE") {
                filter.normal = Some(is_normal(value)?);
            } else if args.is(index, "ADDR") {
                filter.address = Some(value.to_vec());
            } else if args.is(index, "LADDR") {
                filter.local_address = Some(value.to_vec());
            } else if args.is(index, "USER") {
                if value != b"default" {
                    let mut text = b"ERR No such user '".to_vec();
                    text.extend_from_slice(value);
                    text.push(b'\'');
                    return Err(CommandError::quoting(text));
                }
                filter.user = Some(value.to_vec());
            } else if args.is(index, "SKIPME") {
                filter.skip_me = match () {
                    () if value.eq_ignore_ascii_case(b"yes") => true,
                    () if value.eq_ignore_ascii_case(b"no") => false,
                    () => return Err(CommandError::Syntax),
                };
            } else {
                return Err(CommandError::Syntax);
            }
            index += 2;
        }
        Ok(filter)
    }

    fn matches(&self, session: &Session, me: SessionId, now_ms: i64) -> bool {
        let origin = session.link.as_ref().map(|link| &link.origin);
        let is = |wanted: &Option<Vec<u8>>, text: fn(&Origin) -> String| {
            wanted.as_ref().is_none_or(|wanted| {
                origin.is_some_and(|origin| text(origin).as_bytes() == &wanted[..])
            })
        };
        self.id.is_none_or(|id| id == session.id)
            && is(&self.address, Origin::peer_text)
            && is(&self.local_address, Origin::local_text)
            && self.user.as_ref().is_none_or(|user| *user == session.user)
            && self.normal.unwrap_or(true)
            && self.max_age_seconds.is_none_or(|age| (now_ms - session.created_ms) / 1000 >= age)
            && !(self.skip_me && session.slot == me)
    }
}

fn kill(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    let old_form = args.len() == 3;
    let filter = if old_form {
        Filter { address: Some(args.at(2).to_vec()), ..Filter::default() }
    } else {
        Filter::parse(args)?
    };
    let now_ms = engine.now().0;
    let found: Vec<SessionId> = engine
        .sessions
        .clients()
        .filter(|session| session.closing == Closing::No && filter.matches(session, slot, now_ms))
        .map(|session| session.slot)
        .collect();
    if old_form && found.is_empty() {
        return Err(CommandError::text("ERR No such client"));
    }
    for victim in &found {
        if *victim != slot {
            engine.kill(*victim);
        }
    }
    let mut reply = engine.sessions[slot].reply();
    if old_form {
        reply.ok();
    } else {
        reply.count(found.len());
    }
    if found.contains(&slot) {
        engine.close_after_reply(slot);
    }
    Ok(Flow::Done)
}

fn no_evict(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    engine.sessions[slot].no_evict = on_off(args)?;
    ok(engine, slot)
}

fn no_touch(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    engine.sessions[slot].no_touch = on_off(args)?;
    ok(engine, slot)
}

fn pause(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    let all = match args.len() {
        3 => true,
        4 if args.is(3, "WRITE") => false,
        4 if args.is(3, "ALL") => true,
        _ => {
            return Err(CommandError::text("ERR CLIENT PAUSE mode must be WRITE or ALL"));
        }
    };
    let invalid = CommandError::text("ERR timeout is not an integer or out of range");
    let timeout_ms = args.int(2).map_err(|_| invalid.clone())?;
    if timeout_ms < 0 {
        return Err(CommandError::text("ERR timeout is negative"));
    }
    let until = engine.now().0.checked_add(timeout_ms).ok_or(invalid)?;
    engine.pause_clients(until, all);
    ok(engine, slot)
}

fn unpause(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    engine.unpause_clients();
    ok(engine, slot)
}

fn reply(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    let session = &mut engine.sessions[slot];
    if args.is(2, "ON") {
        session.reply_mode = ReplyMode::On;
        session.reply().ok();
    } else if args.is(2, "OFF") {
        session.reply_mode = ReplyMode::Off;
    } else if args.is(2, "SKIP") {
        if session.reply_mode != ReplyMode::Off {
            session.reply_mode = ReplyMode::SkipNext;
        }
    } else {
        return Err(CommandError::Syntax);
    }
    Ok(Flow::Done)
}

fn setinfo(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    let value = args.at(3);
    let printable = value.iter().all(|byte| (b'!'..=b'~').contains(byte));
    let is_name = args.is(2, "LIB-NAME");
    if !is_name && !args.is(2, "LIB-VER") {
        let mut text = b"ERR Unrecognized option '".to_vec();
        text.extend_from_slice(args.at(2));
        text.push(b'\'');
        return Err(CommandError::quoting(text));
    }
    if !printable {
        let what = if is_name { "lib-name" } else { "lib-ver" };
        return Err(CommandError::owned(format!(
            "ERR {what} cannot contain spaces, newlines or special characters."
        )));
    }
    let session = &mut engine.sessions[slot];
    let field = if is_name { &mut session.lib_name } else { &mut session.lib_version };
    *field = value.to_vec();
    ok(engine, slot)
}

fn setname(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    check_name(args.at(2))?;
    engine.sessions[slot].name = args.at(2).to_vec();
    ok(engine, slot)
}

fn tracking(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    if on_off(args)? {
        return Err(CommandError::text("ERR CLIENT TRACKING is not supported by Redstart yet"));
    }
    ok(engine, slot)
}

fn trackinginfo(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    let mut reply = engine.sessions[slot].reply();
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(1);
    reply.bulk(b"off");
    reply.bulk(b"redirect");
    reply.int(-1);
    reply.bulk(b"prefixes");
    reply.array(0);
    Ok(Flow::Done)
}

fn unblock(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    if args.len() > 4 || (args.len() == 4 && !args.is(3, "TIMEOUT") && !args.is(3, "ERROR")) {
        return Err(CommandError::text("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
    }
    args.int(2)?;
    // No command blocks yet, so nobody is ever waiting.
    engine.sessions[slot].reply().int(0);
    Ok(Flow::Done)
}

fn help(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    engine.reply_help(slot, "CLIENT", SUBCOMMANDS);
    Ok(Flow::Done)
}

impl Engine {
    /// A container's HELP: a line of usage and one of explanation for each subcommand.
    pub(super) fn reply_help(
        &mut self,
        slot: SessionId,
        container: &str,
        subcommands: &[Command<ControlHandler>],
    ) {
        let mut lines =
            vec![format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")];
        for subcommand in subcommands {
            let spec = &subcommand.spec;
            lines.push(format!("{} {}", spec.name, spec.syntax).trim_end().to_owned());
            lines.push(format!("    {}", spec.summary));
        }
        let session = &mut self.sessions[slot];
        session.reply().status_lines(lines.iter().map(String::as_str));
    }

    /// A client's line in CLIENT LIST.
    pub(super) fn client_line(&self, session: &Session) -> String {
        let now_ms = self.now().0;
        let mut line = String::with_capacity(320);
        let (peer, local, descriptor, unread) = session.link.as_ref().map_or_else(
            || (String::new(), String::new(), -1, 0),
            |link| {
                let origin = &link.origin;
                (origin.peer_text(), origin.local_text(), link.descriptor, link.unread())
            },
        );
        let mut flags = String::new();
        if matches!(&session.link, Some(link) if matches!(link.origin, Origin::Unix(_))) {
            flags.push('U');
        }
        if session.in_transaction() {
            flags.push('x');
        }
        if session.watch_broken {
            flags.push('d');
        }
        if session.closing == Closing::AfterReply {
            flags.push('c');
        }
        if session.no_evict {
            flags.push('e');
        }
        if session.no_touch {
            flags.push('T');
        }
        if flags.is_empty() {
            flags.push('N');
        }
        let queued = session.transaction.as_ref().map_or(-1, |multi| multi.len() as i64);
        let queued_bytes = session.transaction.as_ref().map_or(0, |multi| multi.bytes());
        let command = session
            .last_command
            .map_or("NULL", |command| self.registry[command].full_name.as_str());
        // Writing to a String can't fail.
        let _ = write!(
            line,
            "id={} addr={peer} laddr={local} fd={descriptor} name={} age={} idle={} flags={flags} \
             db={} sub=0 psub=0 ssub=0 multi={queued} watch={} qbuf={unread} qbuf-free={} \
             argv-mem=0 multi-mem={queued_bytes} rbs={} rbp={} obl={} oll=0 omem=0 tot-mem={} \
             events={} cmd={command} user={} redir=-1 resp={} lib-name={} lib-ver={}",
            session.id,
            String::from_utf8_lossy(&session.name),
            (now_ms - session.created_ms) / 1000,
            (now_ms - session.active_ms) / 1000,
            session.db.0,
            session.watching.len(),
            if unread > 0 { crate::mailbox::READ_BUFFER_BYTES } else { 0 },
            session.out.capacity(),
            session.out_peak,
            session.pending(),
            size_of::<Session>() + session.out.capacity() + unread + queued_bytes,
            if session.awaiting_writable { "rw" } else { "r" },
            String::from_utf8_lossy(&session.user),
            session.protocol.number(),
            String::from_utf8_lossy(&session.lib_name),
            String::from_utf8_lossy(&session.lib_version),
        );
        line
    }
}
