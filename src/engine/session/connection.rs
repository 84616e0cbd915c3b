//! PING, ECHO, QUIT, RESET, HELLO, AUTH, SELECT: what a client says of its own connection.

use sha2::{Digest, Sha256};

use crate::command::args::Args;
use crate::command::error::{self, CommandError};
use crate::command::secrets::Secrets;
use crate::command::spec::{Arity, Command, Flags, Flow, Group, control};
use crate::config::REDIS_VERSION;
use crate::engine::session::client;
use crate::engine::session::{Manner, ReplyMode};
use crate::engine::{ControlHandler, Engine};
use crate::keyspace::databases::DbIndex;
use crate::mailbox::SessionId;
use crate::resp::reply::Protocol;
use crate::resp::request::Bounds;

/// The rows of this family.
pub(crate) const COMMANDS: &[Command<ControlHandler>] = &[
    control("PING", Arity::AtLeast(1), ping as ControlHandler)
        .group(Group::Connection)
        .flags(Flags::FAST.union(Flags::FOR_LISTENERS).union(Flags::CHECKS_DISK))
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .syntax("[message]")
        .summary("Answers PONG, or repeats a message: is anybody there?"),
    control("ECHO", Arity::Exactly(2), echo as ControlHandler)
        .group(Group::Connection)
        .flags(Flags::LOADING.union(Flags::STALE).union(Flags::FAST))
        .syntax("message")
        .summary("Repeats a message."),
    control("QUIT", Arity::AtLeast(1), quit as ControlHandler)
        .group(Group::Connection)
        .flags(ENDS)
        .deprecated("7.2.0", "just closing the connection")
        .summary("Ends the connection when all replies are written."),
    control("RESET", Arity::Exactly(1), reset as ControlHandler)
        .group(Group::Connection)
        .flags(ENDS)
        .since("6.2.0")
        .summary("Makes the connection as it was when it began."),
    control("READONLY", Arity::Exactly(1), read_only as ControlHandler)
        .group(Group::Cluster)
        .flags(FOLLOWERS)
        .categories(&["connection"])
        .since("3.0.0")
        .summary("Reads from this replica although the client follows redirections.")
        .deviates(&["no error without a cluster, as in Valkey 8: see CLIENT CAPA"]),
    control("READWRITE", Arity::Exactly(1), read_write as ControlHandler)
        .group(Group::Cluster)
        .flags(FOLLOWERS)
        .categories(&["connection"])
        .since("3.0.0")
        .summary("Takes READONLY back.")
        .deviates(&["no error without a cluster, as in Valkey 8: see CLIENT CAPA"]),
    control("HELLO", Arity::AtLeast(1), hello as ControlHandler)
        .group(Group::Connection)
        .flags(ALWAYS)
        .secrets(&Secrets::Behind { from: 2, words: &[("AUTH", 2)] })
        .since("6.0.0")
        .syntax("[protover [AUTH username password] [SETNAME clientname]]")
        .summary("Chooses the protocol version and tells about the server.")
        .history(&[(
            "6.2.0",
            "Without arguments it tells about the connection and changes nothing.",
        )]),
    control("AUTH", Arity::AtLeast(2), auth as ControlHandler)
        .group(Group::Connection)
        .flags(ALWAYS)
        .secrets(&Secrets::From(1))
        .cost("O(N) for a user with N passwords")
        .syntax("[username] password")
        .summary("Logs in.")
        .history(&[("6.0.0", "Takes a user's name in front of the password.")])
        .deviates(&["the default user is the only one, since ACL users aren't there yet"]),
    control("SELECT", Arity::Exactly(2), select as ControlHandler)
        .group(Group::Connection)
        .flags(Flags::LOADING.union(Flags::STALE).union(Flags::FAST))
        .syntax("index")
        .summary("Chooses a database."),
];

/// Commands that must work in every state of the server and of the connection.
const ALWAYS: Flags = Flags::NOSCRIPT
    .union(Flags::LOADING)
    .union(Flags::STALE)
    .union(Flags::FAST)
    .union(Flags::NO_AUTH)
    .union(Flags::ALLOW_BUSY);

/// Commands that end what the connection was doing.
const ENDS: Flags =
    ALWAYS.union(Flags::RUNS_IN_MULTI).union(Flags::ENDS_MULTI).union(Flags::FOR_LISTENERS);

const FOLLOWERS: Flags = Flags::LOADING.union(Flags::STALE).union(Flags::FAST);

const WRONG_PASSWORD: CommandError =
    CommandError::text("WRONGPASS invalid username-password pair or user is disabled.");

fn ping(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let session = &mut engine.sessions[slot];
    // A listener of RESP2 expects nothing but arrays.
    let as_message = session.is_listening() && session.protocol == Protocol::Resp2;
    let mut reply = session.reply();
    match args.len() {
        1 | 2 if as_message => {
            reply.array(2);
            reply.bulk(b"pong");
            reply.bulk(args.get(1).unwrap_or_default());
        }
        1 => reply.simple("PONG"),
        2 => reply.bulk(args.at(1)),
        _ => return Err(CommandError::Arity("ping".to_owned())),
    }
    Ok(Flow::Done)
}

fn echo(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().bulk(args.at(1));
    Ok(Flow::Done)
}

fn quit(engine: &mut Engine, slot: SessionId, _args: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().ok();
    engine.leave(slot);
    Ok(Flow::Done)
}

fn reset(engine: &mut Engine, slot: SessionId, _args: Args<'_>) -> Result<Flow, CommandError> {
    engine.unwatch_all(slot);
    engine.silence(slot);
    engine.untrack(slot);
    engine.unmonitor(slot);
    let open = engine.settings.requirepass.is_empty();
    let protocol = engine.first_protocol();
    let session = &mut engine.sessions[slot];
    session.transaction = None;
    session.protocol = protocol;
    session.db = DbIndex(0);
    session.identity.user = b"default".to_vec();
    session.identity.name.clear();
    // As upstream: a SKIP in front covers the reply of RESET itself.
    if session.reply_mode == ReplyMode::Off {
        session.reply_mode = ReplyMode::On;
    }
    session.manner = Manner::empty();
    engine.set_authenticated(slot, open);
    engine.sessions[slot].reply().simple("RESET");
    Ok(Flow::Done)
}

fn read_only(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    let session = &mut engine.sessions[slot];
    session.manner.insert(Manner::READS_HERE);
    session.reply().ok();
    Ok(Flow::Done)
}

fn read_write(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    let session = &mut engine.sessions[slot];
    session.manner.remove(Manner::READS_HERE);
    session.reply().ok();
    Ok(Flow::Done)
}

fn select(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let index = args.int(1)?;
    if i32::try_from(index).is_err() {
        return Err(CommandError::text(
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        ));
    }
    let Some(index) = u32::try_from(index).ok().filter(|index| *index < engine.limits.databases)
    else {
        return Err(CommandError::DbIndex);
    };
    let session = &mut engine.sessions[slot];
    session.db = DbIndex(index);
    session.reply().ok();
    Ok(Flow::Done)
}

fn auth(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    match args.len() {
        2 if engine.settings.requirepass.is_empty() => {
            return Err(CommandError::text(
                "ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?",
            ));
        }
        2 => engine.log_in(slot, b"default", args.at(1))?,
        3 => engine.log_in(slot, args.at(1), args.at(2))?,
        _ => return Err(CommandError::Syntax),
    }
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

fn hello(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let follows = engine.is_replica();
    let mut protocol = None;
    if args.len() > 1 {
        let version = args.int(1).map_err(|_| {
            CommandError::text("ERR Protocol version is not an integer or out of range")
        })?;
        protocol = Protocol::of(version);
        if protocol.is_none() {
            return Err(CommandError::text("NOPROTO unsupported protocol version"));
        }
    }
    let (mut login, mut name) = (None, None);
    let mut index = 2;
    while index < args.len() {
        let left = args.len() - index - 1;
        if args.is(index, "AUTH") && left >= 2 {
            login = Some((args.at(index + 1), args.at(index + 2)));
            index += 3;
        } else if args.is(index, "SETNAME") && left >= 1 {
            let text = args.at(index + 1);
            client::check_text(text, client::BAD_NAME)?;
            name = Some(text);
            index += 2;
        } else {
            let word = error::quotable(args.at(index));
            let text = [b"ERR Syntax error in HELLO option '", word, b"'"].concat();
            return Err(CommandError::quoting(text));
        }
    }
    if let Some((user, password)) = login {
        engine.log_in(slot, user, password)?;
    }
    let session = &mut engine.sessions[slot];
    if !session.authenticated {
        return Err(CommandError::text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
             <proto> AUTH <user> <pass> option can be used to authenticate the client and select \
             the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        session.identity.name = name.to_vec();
    }
    session.protocol = protocol.unwrap_or(session.protocol);
    let (version, id) = (i64::from(session.protocol.number()), session.id);
    let role = if follows { "replica" } else { "master" };
    let mut reply = session.reply();
    reply.map(7);
    for (field, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    for (field, value) in [("proto", version), ("id", id as i64)] {
        reply.bulk(field.as_bytes());
        reply.int(value);
    }
    for (field, value) in [("mode", "standalone"), ("role", role)] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"modules");
    reply.array(0);
    Ok(Flow::Done)
}

impl Engine {
    /// Logs a session in as the default user, the only one there is.
    fn log_in(
        &mut self,
        slot: SessionId,
        user: &[u8],
        password: &[u8],
    ) -> Result<(), CommandError> {
        let wanted = &self.settings.requirepass;
        if user != b"default" || !(wanted.is_empty() || same_secret(wanted, password)) {
            self.metrics.denied_logins += 1;
            return Err(WRONG_PASSWORD);
        }
        self.set_authenticated(slot, true);
        Ok(())
    }

    /// Says whether a session may use commands, to the parser too: it holds strangers to small
    /// requests.
    pub(in crate::engine) fn set_authenticated(&mut self, slot: SessionId, authenticated: bool) {
        let bulk_max = self.settings.proto_max_bulk_len as i64;
        let session = &mut self.sessions[slot];
        session.authenticated = authenticated;
        if let Some(link) = &session.link {
            link.set_bounds(Bounds { bulk_max, authenticated });
        }
    }
}

/// Compares hashes, so that the time it takes tells nothing of where the secrets differ.
fn same_secret(secret: &[u8], guess: &[u8]) -> bool {
    Sha256::digest(secret) == Sha256::digest(guess)
}
