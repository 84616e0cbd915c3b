//! Commands about the connection itself: PING, ECHO, AUTH, HELLO, SELECT, RESET, QUIT.

use sha2::{Digest, Sha256};

use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Command, Flags, Flow, Group, control,
};
use crate::engine::session::{ReplyMode, Session};
use crate::engine::{ControlHandler, Engine};
use crate::keyspace::databases::DbIndex;
use crate::mailbox::SessionId;
use crate::resp::reply::Protocol;
use crate::resp::request::Bounds;

/// The rows of this family.
pub const COMMANDS: &[Command<ControlHandler>] = &[
    row("PING", AtLeast(1), ping)
        .flags(Flags::FAST)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .since("1.0.0")
        .syntax("[message]")
        .summary("Replies with PONG, or with the message."),
    row("ECHO", Exactly(2), echo)
        .flags(Flags::LOADING.or(Flags::STALE).or(Flags::FAST))
        .since("1.0.0")
        .syntax("message")
        .summary("Replies with the message."),
    row("QUIT", AtLeast(1), quit)
        .flags(
            Flags::NOSCRIPT
                .or(Flags::LOADING)
                .or(Flags::STALE)
                .or(Flags::FAST)
                .or(Flags::NO_AUTH)
                .or(Flags::ALLOW_BUSY),
        )
        .since("1.0.0")
        .summary("Ends the connection."),
    row("RESET", Exactly(1), reset)
        .flags(QUICK.or(Flags::NO_AUTH).or(Flags::ALLOW_BUSY))
        .since("6.2.0")
        .summary("Brings the connection back to how it began."),
    row("AUTH", AtLeast(2), auth)
        .flags(QUICK.or(Flags::NO_AUTH).or(Flags::ALLOW_BUSY))
        .since("1.0.0")
        .cost("O(N) where N is the number of passwords defined for the user")
        .syntax("[username] password")
        .summary("Authenticates the connection.")
        .history(&[("6.0.0", "Added ACL style (username and password).")]),
    row("HELLO", AtLeast(1), hello)
        .flags(QUICK.or(Flags::NO_AUTH).or(Flags::ALLOW_BUSY))
        .since("6.0.0")
        .syntax("[protover [AUTH username password] [SETNAME clientname]]")
        .summary("Chooses the protocol version and tells about the server.")
        .history(&[(
            "6.2.0",
            "`protover` made optional; when called without arguments the command reports the \
             current connection's context.",
        )]),
    row("SELECT", Exactly(2), select)
        .flags(Flags::LOADING.or(Flags::STALE).or(Flags::FAST))
        .since("1.0.0")
        .syntax("index")
        .summary("Chooses the connection's database."),
];

const QUICK: Flags = Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE).or(Flags::FAST);

const fn row(
    name: &'static str,
    arity: crate::command::spec::Arity,
    run: ControlHandler,
) -> Command<ControlHandler> {
    control(name, arity, run).group(Group::Connection)
}

fn ping(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut reply = engine.sessions[slot].reply();
    match args.len() {
        1 => reply.simple("PONG"),
        2 => reply.bulk(args.at(1)),
        _ => return Err(CommandError::Arity("ping".into())),
    }
    Ok(Flow::Done)
}

fn echo(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().bulk(args.at(1));
    Ok(Flow::Done)
}

fn quit(engine: &mut Engine, slot: SessionId, _args: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().ok();
    engine.close_after_reply(slot);
    Ok(Flow::Done)
}

fn reset(engine: &mut Engine, slot: SessionId, _args: Args<'_>) -> Result<Flow, CommandError> {
    engine.unwatch_all(slot);
    let authenticated = engine.settings.requirepass.is_empty();
    let session = &mut engine.sessions[slot];
    session.transaction = None;
    session.db = DbIndex(0);
    session.protocol = Protocol::Resp2;
    session.name.clear();
    session.user = b"default".to_vec();
    session.reply_mode = ReplyMode::On;
    session.no_evict = false;
    session.no_touch = false;
    engine.set_authenticated(slot, authenticated);
    engine.sessions[slot].reply().simple("RESET");
    Ok(Flow::Done)
}

const WRONG_PASS: CommandError =
    CommandError::text("WRONGPASS invalid username-password pair or user is disabled.");

fn auth(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let (user, password) = match args.len() {
        2 => {
            if engine.settings.requirepass.is_empty() {
                return Err(CommandError::text(
                    "ERR AUTH <password> called without any password configured for the default \
                     user. Are you sure your configuration is correct?",
                ));
            }
            (&b"default"[..], args.at(1))
        }
        3 => (args.at(1), args.at(2)),
        _ => return Err(CommandError::Syntax),
    };
    engine.authenticate(slot, user, password)?;
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

fn hello(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut protocol = None;
    if args.len() > 1 {
        let number = args.int(1).map_err(|_| {
            CommandError::text("ERR Protocol version is not an integer or out of range")
        })?;
        protocol = Some(match number {
            2 => Protocol::Resp2,
            3 => Protocol::Resp3,
            _ => return Err(CommandError::text("NOPROTO unsupported protocol version")),
        });
    }
    let (mut credentials, mut name) = (None, None);
    let mut index = 2;
    while index < args.len() {
        let more = args.len() - index - 1;
        if args.is(index, "AUTH") && more >= 2 {
            credentials = Some((args.at(index + 1), args.at(index + 2)));
            index += 3;
        } else if args.is(index, "SETNAME") && more >= 1 {
            check_name(args.at(index + 1))?;
            name = Some(args.at(index + 1));
            index += 2;
        } else {
            let mut text = b"ERR Syntax error in HELLO option '".to_vec();
            text.extend_from_slice(args.at(index));
            text.push(b'\'');
            return Err(CommandError::quoting(text));
        }
    }
    if let Some((user, password)) = credentials {
        engine.authenticate(slot, user, password)?;
    }
    if !engine.sessions[slot].authenticated {
        return Err(CommandError::text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
             <proto> AUTH <user> <pass> option can be used to authenticate the client and select \
             the RESP protocol version at the same time",
        ));
    }
    let session = &mut engine.sessions[slot];
    if let Some(name) = name {
        session.name = name.to_vec();
    }
    if let Some(protocol) = protocol {
        session.protocol = protocol;
    }
    describe(session);
    Ok(Flow::Done)
}

/// HELLO's answer.
fn describe(session: &mut Session) {
    let (id, protocol) = (session.id, session.protocol);
    let mut reply = session.reply();
    reply.map(7);
    for (name, value) in [("server", "redis"), ("version", crate::config::REDIS_VERSION)] {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"proto");
    reply.int(i64::from(protocol.number()));
    reply.bulk(b"id");
    reply.int(id as i64);
    for (name, value) in [("mode", "standalone"), ("role", "master")] {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"modules");
    reply.array(0);
}

/// Names go into CLIENT LIST's lines: no spaces, no control characters, no other alphabets.
pub(super) fn check_name(name: &[u8]) -> Result<(), CommandError> {
    if name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Ok(());
    }
    Err(CommandError::text(
        "ERR Client names cannot contain spaces, newlines or special characters.",
    ))
}

fn select(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let index = args.int(1)?;
    if i32::try_from(index).is_err() {
        return Err(CommandError::text(
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        ));
    }
    let count = i64::from(engine.databases.count());
    if !(0..count).contains(&index) {
        return Err(CommandError::DbIndex);
    }
    let session = &mut engine.sessions[slot];
    session.db = DbIndex(index as u32);
    session.reply().ok();
    Ok(Flow::Done)
}

impl Engine {
    /// Says whether a session may use commands that need authentication.
    pub(super) fn set_authenticated(&mut self, slot: SessionId, authenticated: bool) {
        let bulk_max = self.settings.proto_max_bulk_len as i64;
        let session = &mut self.sessions[slot];
        session.authenticated = authenticated;
        if let Some(link) = &session.link {
            link.set_bounds(Bounds { bulk_max, authenticated });
        }
    }

    /// Checks a user's password.
    fn authenticate(
        &mut self,
        slot: SessionId,
        user: &[u8],
        password: &[u8],
    ) -> Result<(), CommandError> {
        let required = &self.settings.requirepass;
        let right = user == b"default" && (required.is_empty() || same_secret(required, password));
        if !right {
            return Err(WRONG_PASS);
        }
        self.sessions[slot].user = user.to_vec();
        self.set_authenticated(slot, true);
        Ok(())
    }
}

/// Compares hashes, so that the time it takes tells nothing of where the secrets differ.
fn same_secret(secret: &[u8], given: &[u8]) -> bool {
    Sha256::digest(secret) == Sha256::digest(given)
}
