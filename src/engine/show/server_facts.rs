//! TIME, LOLWUT, ROLE, and what ACL tells of the default user, the only one.

use crate::command::args::Args;
use crate::command::category::{self, Categories};
use crate::command::error::{self, CommandError};
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Command, Flags, Flow, Group, control, read,
};
use crate::config::REDIS_VERSION;
use crate::engine::replicate::follow::Stage;
use crate::engine::replicate::primary::replica_address;
use crate::engine::session::Session;
use crate::engine::session::client::{self, misused};
use crate::engine::{ControlHandler, Engine, container};
use crate::mailbox::SessionId;
use crate::replication::replica::Replica;

const OPEN: Flags = Flags::LOADING.union(Flags::STALE);
const ONLY_DEFAULT: &[&str] =
    &["the default user is the only one, since ACL users aren't there yet"];

/// The rows of this family.
pub(crate) const COMMANDS: &[Command<ControlHandler>] = &[
    control("TIME", Exactly(1), time as ControlHandler)
        .group(Group::Server)
        .flags(OPEN.union(Flags::FAST))
        .tips(&["nondeterministic_output"])
        .since("2.6.0")
        .summary("Replies with the server's time."),
    read("LOLWUT", AtLeast(1), lolwut as ControlHandler)
        .group(Group::Server)
        .flags(Flags::FAST)
        .since("5.0.0")
        .cost("O(1)")
        .syntax("[VERSION version]")
        .summary("Draws something.")
        .deviates(&["draws a redstart on a branch, the same for every version"]),
    control("ROLE", Exactly(1), role as ControlHandler)
        .group(Group::Server)
        .flags(OPEN.union(Flags::NOSCRIPT).union(Flags::FAST))
        .categories(&["admin", "dangerous"])
        .since("2.8.12")
        .summary("Tells the server's part in replication."),
    control("ACL", AtLeast(2), container as ControlHandler)
        .group(Group::Server)
        .since("6.0.0")
        .cost("That of the subcommand")
        .summary("Users and what they may do.")
        .deviates(ONLY_DEFAULT)
        .subcommands(&[
            control("CAT", AtLeast(2), acl_cat as ControlHandler)
                .group(Group::Server)
                .flags(OPEN.union(Flags::NOSCRIPT))
                .since("6.0.0")
                .cost("O(1)")
                .syntax("[categoryname]")
                .summary("Lists categories, or the commands of one."),
            control("HELP", Exactly(2), acl_help as ControlHandler)
                .group(Group::Server)
                .flags(OPEN)
                .since("6.0.0")
                .summary("Lists the subcommands."),
            control("WHOAMI", Exactly(2), acl_whoami as ControlHandler)
                .group(Group::Server)
                .flags(OPEN.union(Flags::NOSCRIPT))
                .since("6.0.0")
                .summary("Replies with this connection's user."),
        ]),
];

fn time(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    let micros = engine.now_micros;
    let mut reply = engine.sessions[slot].reply();
    reply.array(2);
    reply.bulk_int(micros / 1_000_000);
    reply.bulk_int(micros % 1_000_000);
    Ok(Flow::Done)
}

const ART: &str = r"
                 __
               <(o )___         it sits, it looks,
                ( ._> /         its tail is fire;
    ~~~~~~~~~~~~~`---'===-~~~   a moment later
             /  /  //           the branch alone
   ";

fn lolwut(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    if args.len() > 2 && args.is(1, "VERSION") {
        // The pictures of these versions take numbers; ours has one size, but wrong ones are told.
        let numbers = match args.int(2)? {
            5 => 3,
            6 => 2,
            _ => 0,
        };
        for index in (3..args.len()).take(numbers) {
            args.int(index)?;
        }
    }
    let text = format!("{}\n\nRedis ver. {REDIS_VERSION}\n", ART.trim_matches('\n').trim_end());
    engine.sessions[slot].reply().verbatim("txt", text.as_bytes());
    Ok(Flow::Done)
}

fn role(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    let offset = engine.offset();
    if let Some(upstream) = &engine.replication.upstream {
        let state = match upstream.stage {
            Stage::Waiting(_) => "connect",
            Stage::Connecting => "connecting",
            Stage::Handshake => "handshake",
            Stage::Receiving(_) | Stage::Loading(_) => "sync",
            Stage::Online => "connected",
        };
        let (host, port) = (upstream.host.clone(), upstream.port);
        let offset = if upstream.is_online() { offset as i64 } else { -1 };
        let mut reply = engine.sessions[slot].reply();
        reply.array(5);
        reply.bulk(b"slave");
        reply.bulk(host.as_bytes());
        reply.int(i64::from(port));
        reply.bulk(state.as_bytes());
        reply.int(offset);
        return Ok(Flow::Done);
    }
    let online = engine.replicas().filter(|(_, replica)| replica.is_online());
    let told = |(session, replica): (&Session, &Replica)| {
        let (address, port) = replica_address(session);
        (address, port, replica.acked)
    };
    let replicas: Vec<_> = online.map(told).collect();
    let mut reply = engine.sessions[slot].reply();
    reply.array(3);
    reply.bulk(b"master");
    reply.int(offset as i64);
    reply.array(replicas.len());
    for (address, port, acked) in replicas {
        reply.array(3);
        reply.bulk(address.as_bytes());
        reply.bulk(port.to_string().as_bytes());
        reply.bulk(acked.to_string().as_bytes());
    }
    Ok(Flow::Done)
}

fn acl_whoami(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    let session = &mut engine.sessions[slot];
    let user = session.identity.user.clone();
    session.reply().bulk(&user);
    Ok(Flow::Done)
}

fn acl_cat(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let names: Vec<&str> = match args.len() {
        2 => category::NAMES.to_vec(),
        3 => {
            let Some(wanted) = Categories::named(args.at(2)) else {
                let word = error::quotable(args.at(2));
                let word = &word[..word.len().min(client::WORD_MAX)];
                let text = [b"ERR Unknown category '", word, b"'"].concat();
                return Err(CommandError::quoting(text));
            };
            let commands = engine.registry.iter().map(|(_, entry)| entry);
            commands
                .filter(|entry| {
                    Categories::of(entry.spec, !entry.subcommands.is_empty()).has(wanted)
                })
                .map(|entry| entry.full_name.as_str())
                .collect()
        }
        _ => return Err(misused(args, "ACL")),
    };
    let mut reply = engine.sessions[slot].reply();
    reply.array(names.len());
    for name in names {
        reply.bulk(name.as_bytes());
    }
    Ok(Flow::Done)
}

const ACL_HELP: &[&str] = &[
    "ACL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CAT [<category>]",
    "    The commands that belong to <category>, or all categories.",
    "WHOAMI",
    "    This connection's user.",
    "HELP",
    "    Print this help.",
];

fn acl_help(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().status_lines(ACL_HELP.iter().copied());
    Ok(Flow::Done)
}
