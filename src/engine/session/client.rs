//! CLIENT: what a client can learn of itself and change about itself. What concerns several clients
//! (LIST, KILL) is in [`client_list`](crate::engine::session::client_list).

use crate::base::text;
use crate::command::args::Args;
use crate::command::error::{self, CommandError};
use crate::command::spec::{
    Arity::{self, AtLeast, Exactly},
    Command, Flags, Flow, Group, control,
};
use crate::engine::session::blocking::Release;
use crate::engine::session::client_list::{info, kill, list};
use crate::engine::session::tracking::commands::{
    caching, get_redirection, tracking, tracking_info,
};
use crate::engine::session::{Manner, ReplyMode};
use crate::engine::{ControlHandler, Engine, container};
use crate::mailbox::SessionId;

const OPEN: Flags = Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE);
const ADMIN: Flags = OPEN.union(Flags::ADMIN);
const ALL_NODES: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

/// The row of this family.
pub(crate) const COMMANDS: &[Command<ControlHandler>] =
    &[control("CLIENT", AtLeast(2), container as ControlHandler)
        .group(Group::Connection)
        .since("2.4.0")
        .cost("That of the subcommand")
        .summary("Tells about clients and their connections, and changes them.")
        .subcommands(SUBCOMMANDS)];

const SUBCOMMANDS: &[Command<ControlHandler>] = &[
    row("CACHING", Exactly(3), caching, OPEN, "6.0.0")
        .syntax("<YES|NO>")
        .summary("Says whether the next command's keys are tracked."),
    row("CAPA", AtLeast(3), capa, OPEN, "8.0.0")
        .syntax("capability [capability ...]")
        .summary("Says what the client can do."),
    row("GETNAME", Exactly(2), get_name, OPEN, "2.6.9").summary("Replies with the name."),
    row("GETREDIR", Exactly(2), get_redirection, OPEN, "6.0.0")
        .summary("Replies with the client that invalidation messages go to."),
    row("HELP", Exactly(2), help, Flags::LOADING.union(Flags::STALE), "5.0.0")
        .summary("Lists the subcommands."),
    row("ID", Exactly(2), id, OPEN, "5.0.0").summary("Replies with the connection's number."),
    row("INFO", Exactly(2), info, OPEN, "6.2.0")
        .tips(&["nondeterministic_output"])
        .summary("Tells about this connection."),
    row("KILL", AtLeast(3), kill, ADMIN, "2.4.0")
        .cost("O(N) for N connections")
        .syntax(
            "<ip:port|<[ID client-id [client-id ...]]|\
             [TYPE NORMAL|MASTER|PRIMARY|SLAVE|REPLICA|PUBSUB]|[USER username]|[ADDR addr]|\
             [LADDR laddr]|[SKIPME YES|NO]|[MAXAGE maxage]|[NAME client-name]|[IDLE idle]|\
             [FLAGS flags]|[LIB-NAME lib-name]|[LIB-VER lib-version]|[DB db-id]|[CAPA capa]|\
             [IP ip]>>",
        )
        .summary("Ends connections.")
        .history(&[
            ("2.8.12", "Takes filters, each a word and its value."),
            ("2.8.12", "Filters by `ID`."),
            ("3.2.0", "Knows the type `master`."),
            ("5.0.0", "Knows the type `replica`; `slave` still means it."),
            ("6.2.0", "Filters by the server's own address: `LADDR`."),
            ("8.0.0", "Filters by age: `MAXAGE`."),
            ("8.0.0", "Knows the type `primary`; `master` still means it."),
            ("8.1.0", "`ID` takes several numbers."),
            ("9.0.0", "More filters, and `NOT-` in front of most."),
        ]),
    row("LIST", AtLeast(2), list, ADMIN, "2.4.0")
        .cost("O(N) for N connections")
        .tips(&["nondeterministic_output"])
        .syntax(
            "[TYPE NORMAL|MASTER|REPLICA|PUBSUB] [USER username] [ADDR addr] [LADDR laddr] \
             [ID client-id [client-id ...]] [SKIPME YES|NO] [MAXAGE maxage] [NAME client-name] \
             [IDLE idle] [FLAGS flags] [LIB-NAME lib-name] [LIB-VER lib-version] [DB db-id] \
             [CAPA capa] [IP ip]",
        )
        .summary("Lists connections.")
        .history(&[
            ("2.8.12", "Shows `id`, a number that no two clients share."),
            ("5.0.0", "Filters by `TYPE`."),
            ("6.0.0", "Shows `user`."),
            ("6.2.0", "Shows `argv-mem`, `tot-mem`, `laddr` and `redir`; filters by `ID`."),
            ("7.0.0", "Shows `resp`, `multi-mem`, `rbs` and `rbp`."),
            ("7.0.3", "Shows `ssub`."),
            ("8.1.0", "Takes CLIENT KILL's filters."),
            ("9.0.0", "More filters, and `NOT-` in front of most."),
        ]),
    row("NO-EVICT", Exactly(3), no_evict, ADMIN, "7.0.0")
        .syntax("<ON|OFF>")
        .summary("Keeps the connection when clients' buffers must be given up."),
    row("NO-TOUCH", Exactly(3), no_touch, OPEN, "7.2.0")
        .syntax("<ON|OFF>")
        .summary("Says whether this client's reads count as use of the keys."),
    row("PAUSE", AtLeast(3), pause, ADMIN, "3.0.0")
        .syntax("timeout [WRITE|ALL]")
        .summary("Lets clients' commands wait for a time.")
        .history(&[("6.2.0", "Takes a mode, and `WRITE` is one.")]),
    row("REPLY", Exactly(3), reply_mode, OPEN, "3.2.0")
        .syntax("<ON|OFF|SKIP>")
        .summary("Says whether commands are answered."),
    row("SETINFO", Exactly(4), set_info, OPEN, "7.2.0")
        .tips(ALL_NODES)
        .syntax("<LIB-NAME libname|LIB-VER libver>")
        .summary("Says which library the client uses."),
    row("SETNAME", Exactly(3), set_name, OPEN, "2.6.9")
        .syntax("connection-name")
        .summary("Gives the connection a name."),
    row("TRACKING", AtLeast(3), tracking, OPEN, "6.0.0")
        .cost("O(1), O(N) with N prefixes")
        .syntax(
            "<ON|OFF>:status [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] \
             [OPTOUT] [NOLOOP]",
        )
        .summary("Has the server tell which keys have changed.")
        .deviates(&[
            "SWAPDB invalidates everything, since what was read of either database is stale; \
             upstream tells nothing",
            "NOLOOP covers what a client's scripts change with BCAST too, and with BCAST a key \
             that two clients have changed at once is told to both",
            "the null that stands for all keys is written in the protocol of the client that \
             receives it; upstream writes it in that of the client that tracks, which a receiver \
             of the other protocol can't read",
            "a client that others redirect to hears what its own command invalidates behind that \
             command's reply, as in Valkey; Redis pushes in front of it or between its elements",
            "once no client tracks any more, what was read is forgotten; upstream tells a client \
             that turns tracking off and on again of what it had read before",
        ]),
    row("TRACKINGINFO", Exactly(2), tracking_info, OPEN, "6.2.0")
        .summary("Tells how keys are tracked for this connection."),
    row("UNBLOCK", AtLeast(3), unblock, ADMIN, "5.0.0")
        .cost("O(log(N)) for N connections")
        .syntax("client-id [TIMEOUT|ERROR]")
        .summary("Ends another client's waiting in a blocking command."),
    row("UNPAUSE", Exactly(2), unpause, ADMIN, "6.2.0")
        .cost("O(N) for N paused connections")
        .summary("Ends a pause."),
];

const fn row(
    name: &'static str,
    arity: Arity,
    run: ControlHandler,
    flags: Flags,
    since: &'static str,
) -> Command<ControlHandler> {
    let flags = flags.union(Flags::KEEPS_CACHING);
    control(name, arity, run).group(Group::Connection).flags(flags).since(since)
}

/// What a name that can't be shown in a list is answered with.
pub(crate) const BAD_NAME: CommandError =
    CommandError::text("ERR Client names cannot contain spaces, newlines or special characters.");

/// What an error quotes of a subcommand's name, in bytes.
pub(in crate::engine) const WORD_MAX: usize = 128;

const HELP: &[&str] = &[
    "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CACHING (YES|NO)",
    "    Track the next command's keys, or don't (with tracking OPTIN or OPTOUT).",
    "CAPA <option> [options...]",
    "    Say what this client can do. The option is:",
    "    * REDIRECT",
    "      It can follow redirections.",
    "GETREDIR",
    "    The client that invalidation messages go to.",
    "GETNAME",
    "    This connection's name.",
    "ID",
    "    This connection's number.",
    "INFO",
    "    What is known of this connection.",
    "KILL <ip:port>",
    "    End the connection from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    End connections that all options fit:",
    "    * ADDR (<ip:port>|<unixsocket>:0)",
    "      from this address,",
    "    * LADDR (<ip:port>|<unixsocket>:0)",
    "      to this address of ours,",
    "    * TYPE (NORMAL|MASTER|PRIMARY|SLAVE|REPLICA|PUBSUB)",
    "      of this type,",
    "    * USER <username>",
    "      logged in as <username>,",
    "    * ID <client-id> [<client-id> ...]",
    "      of these numbers,",
    "    * MAXAGE <seconds>",
    "      at least so old,",
    "    * IDLE <seconds>",
    "      silent for so long,",
    "    * NAME <name>, LIB-NAME <name>, LIB-VER <version>",
    "      of this name, or library, or version of it,",
    "    * FLAGS <letters>",
    "      with all of these flags,",
    "    * DB <number>",
    "      in this database,",
    "    * IP <ip>",
    "      from this host,",
    "    * CAPA <letters>",
    "      with these capabilities,",
    "    * NOT-<option> <value>",
    "      that the option doesn't fit (but for MAXAGE and IDLE),",
    "    * SKIPME (YES|NO)",
    "      this one or not (default: yes, it is spared).",
    "LIST [options ...]",
    "    What is known of all connections, or of those that KILL's options fit",
    "    (SKIPME's default: no, this one is shown).",
    "NO-EVICT (ON|OFF)",
    "    Keep this connection when clients' memory must be given up.",
    "NO-TOUCH (ON|OFF)",
    "    Don't count this client's reads as use of the keys.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Let all commands, or those that write, wait for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Answer this connection's commands, don't, or leave out the next.",
    "SETINFO <option> <value>",
    "    Say which library this client uses. Options:",
    "    * LIB-NAME: its name,",
    "    * LIB-VER: its version.",
    "SETNAME <name>",
    "    Give this connection a name.",
    "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
    "         [OPTIN] [OPTOUT] [NOLOOP]",
    "    Tell this client, or client <id>, which keys have changed of those it has read,",
    "    or of those with a prefix. Options:",
    "    * REDIRECT <id>",
    "      Tell client <id>.",
    "    * BCAST",
    "      Tell of all keys, or of those that begin with a PREFIX.",
    "    * OPTIN, OPTOUT",
    "      Only of what is read behind CACHING YES, or not of what is read behind CACHING NO.",
    "    * NOLOOP",
    "      Not of what this client changes itself.",
    "TRACKINGINFO",
    "    How keys are tracked for this connection.",
    "UNBLOCK <clientid> [TIMEOUT|ERROR]",
    "    End a client's waiting in a blocking command.",
    "UNPAUSE",
    "    End a pause.",
    "HELP",
    "    Print this help.",
];

fn help(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().status_lines(HELP.iter().copied());
    Ok(Flow::Done)
}

fn id(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    let session = &mut engine.sessions[slot];
    let id = session.id;
    session.reply().int(id as i64);
    Ok(Flow::Done)
}

fn get_name(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    let session = &mut engine.sessions[slot];
    let name = session.identity.name.clone();
    match name.as_slice() {
        [] => session.reply().null(),
        name => session.reply().bulk(name),
    }
    Ok(Flow::Done)
}

/// Texts that go into a list line must be one word of visible signs.
pub(crate) fn check_text(bytes: &[u8], error: CommandError) -> Result<(), CommandError> {
    if bytes.iter().all(|byte| (b'!'..=b'~').contains(byte)) { Ok(()) } else { Err(error) }
}

fn set_name(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    check_text(args.at(2), BAD_NAME)?;
    let session = &mut engine.sessions[slot];
    session.identity.name = args.at(2).to_vec();
    session.reply().ok();
    Ok(Flow::Done)
}

fn set_info(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let session = &mut engine.sessions[slot];
    let option = error::quotable(args.at(2));
    let field = if args.is(2, "LIB-NAME") {
        &mut session.identity.lib_name
    } else if args.is(2, "LIB-VER") {
        &mut session.identity.lib_version
    } else {
        let text = [b"ERR Unrecognized option '", option, b"'"].concat();
        return Err(CommandError::quoting(text));
    };
    const BAD: &[u8] = b" cannot contain spaces, newlines or special characters.";
    let bad = || CommandError::quoting([b"ERR ", option, BAD].concat());
    check_text(args.at(3), CommandError::Syntax).map_err(|_| bad())?;
    *field = args.at(3).to_vec();
    session.reply().ok();
    Ok(Flow::Done)
}

fn capa(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let session = &mut engine.sessions[slot];
    // Capabilities that aren't known are passed over.
    if (2..args.len()).any(|at| args.is(at, "REDIRECT")) {
        session.manner.insert(Manner::FOLLOWS);
    }
    session.reply().ok();
    Ok(Flow::Done)
}

/// What a subcommand answers whose number of arguments fits none of its forms.
pub(crate) fn misused(args: Args<'_>, container: &str) -> CommandError {
    let word = error::quotable(args.get(1).unwrap_or_default());
    let mut text = b"ERR unknown subcommand or wrong number of arguments for '".to_vec();
    text.extend_from_slice(&word[..word.len().min(WORD_MAX)]);
    text.extend_from_slice(format!("'. Try {container} HELP.").as_bytes());
    CommandError::quoting(text)
}

/// ON or OFF.
pub(in crate::engine) fn switch(args: Args<'_>, index: usize) -> Result<bool, CommandError> {
    match () {
        () if args.is(index, "ON") => Ok(true),
        () if args.is(index, "OFF") => Ok(false),
        () => Err(CommandError::Syntax),
    }
}

fn no_evict(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let session = &mut engine.sessions[slot];
    session.manner.set(Manner::NO_EVICT, switch(args, 2)?);
    session.reply().ok();
    Ok(Flow::Done)
}

fn no_touch(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let session = &mut engine.sessions[slot];
    session.manner.set(Manner::NO_TOUCH, switch(args, 2)?);
    session.reply().ok();
    Ok(Flow::Done)
}

fn reply_mode(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
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

fn pause(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let all = match args.len() {
        3 => true,
        4 if args.is(3, "ALL") => true,
        4 if args.is(3, "WRITE") => false,
        4 => return Err(CommandError::text("ERR CLIENT PAUSE mode must be WRITE or ALL")),
        _ => return Err(misused(args, "CLIENT")),
    };
    let timeout_ms = text::parse_i64(args.at(2))
        .ok_or(CommandError::text("ERR timeout is not an integer or out of range"))?;
    if timeout_ms < 0 {
        return Err(CommandError::text("ERR timeout is negative"));
    }
    if engine.now().0.checked_add(timeout_ms).is_none() {
        return Err(CommandError::text("ERR timeout is out of range"));
    }
    engine.pause_clients(timeout_ms, all);
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

fn unpause(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.unpause_clients();
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

fn unblock(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    match args.len() {
        3 => {}
        4 if args.is(3, "TIMEOUT") || args.is(3, "ERROR") => {}
        4 => {
            return Err(CommandError::text("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
        }
        _ => return Err(misused(args, "CLIENT")),
    }
    let id = args.int(2)?;
    let how = if args.is(3, "ERROR") {
        Release::Error(CommandError::text("UNBLOCKED client unblocked via CLIENT UNBLOCK"))
    } else {
        Release::Done
    };
    let released = match u64::try_from(id).ok().and_then(|id| engine.sessions.find(id)) {
        Some(waiting) => engine.release(waiting, how),
        None => false,
    };
    engine.sessions[slot].reply().int(i64::from(released));
    Ok(Flow::Done)
}
