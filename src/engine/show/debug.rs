//! DEBUG: what tests need to see and to provoke. Upstream's suite uses it; nobody else should.
//!
//! Switches of machinery that isn't here (packed thresholds, forks, reply buffer resizing) are
//! accepted without effect, so that the tests around them run.

use crate::base::text;
use crate::command::args::Args;
use crate::command::error::{self, CommandError};
use crate::command::spec::{Arity, Command, Flags, Flow, Group, control};
use crate::config::rewrite::Scope;
use crate::data::value::NewValue;
use crate::engine::session::client;
use crate::engine::show::{debug_protocol, debug_values, info_memory};
use crate::engine::tick::admit::LOADING;
use crate::engine::{ControlHandler, Engine};
use crate::keyspace::databases::Expiry;
use crate::keyspace::shared_digest;
use crate::keyspace::unit::Event;
use crate::mailbox::SessionId;
use crate::rdb::decode::Checksum;
use crate::resp::record::push_command;

/// The row of this family.
pub(crate) const COMMANDS: &[Command<ControlHandler>] =
    &[control("DEBUG", Arity::AtLeast(2), debug as ControlHandler)
        .group(Group::Server)
        .flags(
            Flags::ADMIN
                .union(Flags::NOSCRIPT)
                .union(Flags::LOADING)
                .union(Flags::STALE)
                .union(Flags::PROTECTED)
                .union(Flags::SHOWS_DATA),
        )
        .cost("That of the subcommand")
        .summary("Looks into the server and breaks it, for tests.")
        .deviates(&["has the subcommands that upstream's tests of what is here use"])];

type Subcommand = fn(&mut Engine, SessionId, Args<'_>) -> Result<(), CommandError>;

/// Name, least and most arguments behind it, code.
const SUBCOMMANDS: &[(&str, usize, usize, Subcommand)] = &[
    ("AOF-FLUSH-SLEEP", 1, 1, accept),
    ("ASSERT", 0, 0, crash),
    ("CHANGE-REPL-ID", 0, 0, change_replication_id),
    ("CLIENT-ENFORCE-REPLY-LIST", 1, 1, accept),
    ("CONFIG-REWRITE-FORCE-ALL", 0, 0, rewrite_all),
    ("DELAY-RDB-CLIENT-FREE-SECONDS", 1, 1, accept),
    ("DICT-RESIZING", 1, 1, accept),
    ("DIGEST", 0, 0, digest_all),
    ("DIGEST-VALUE", 1, usize::MAX, digest_values),
    ("ERROR", 1, 1, answer_error),
    ("HELP", 0, 0, help),
    ("HTSTATS", 1, 2, debug_values::table_statistics),
    ("HTSTATS-KEY", 1, 2, debug_values::value_statistics),
    ("LOADAOF", 0, 0, load_log),
    ("LISTPACK", 1, 1, debug_values::listpack),
    ("LOG", 1, 1, log),
    ("OBJECT", 1, 2, debug_values::object_details),
    ("OOM", 0, 0, crash),
    ("PANIC", 0, 0, crash),
    ("PAUSE-AFTER-FORK", 1, 1, accept),
    ("PAUSE-CRON", 1, 1, pause_cron),
    ("POPULATE", 1, 3, populate),
    ("PROTOCOL", 1, 1, debug_protocol::protocol),
    ("QUICKLIST", 1, 2, debug_values::quicklist),
    ("QUICKLIST-PACKED-THRESHOLD", 1, 1, packed_threshold),
    ("RELOAD", 0, usize::MAX, reload),
    ("REPLICATE", 1, usize::MAX, replicate),
    ("REPLYBUFFER", 2, 2, reply_buffer),
    ("SDSLEN", 1, 1, debug_values::string_lengths),
    ("SEGFAULT", 0, 0, crash),
    ("SET-ACTIVE-EXPIRE", 1, 1, set_active_expire),
    ("SET-DISABLE-DENY-SCRIPTS", 1, 1, disable_deny_scripts),
    ("SET-SKIP-CHECKSUM-VALIDATION", 1, 1, skip_checksums),
    ("SLEEP", 1, 1, sleep),
    ("STRINGMATCH-LEN", 2, 2, match_string),
];

const HELP: &[&str] = &[
    "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ASSERT, OOM, PANIC, SEGFAULT",
    "    Crash the server, each in its way.",
    "CHANGE-REPL-ID",
    "    Give the server another replication id.",
    "CONFIG-REWRITE-FORCE-ALL",
    "    As CONFIG REWRITE, but with every directive.",
    "DIGEST",
    "    A digest of all data.",
    "DIGEST-VALUE <key> [<key> ...]",
    "    Digests of the values of keys.",
    "ERROR <string>",
    "    Answer with an error of this text.",
    "HTSTATS <dbid>",
    "    Figures on a database's table.",
    "LOADAOF",
    "    Empty the databases and load the append only file.",
    "LOG <message>",
    "    Write a message into the log.",
    "OBJECT <key>",
    "    How a key's value is kept.",
    "PAUSE-CRON <0|1>",
    "    Stop what is done periodically, or let it go on.",
    "POPULATE <count> [<prefix>] [<size>]",
    "    Create keys named <prefix>:<number>.",
    "PROTOCOL <type>",
    "    Answer with a sample of a reply type: string, integer, double, bignum, null,",
    "    array, set, map, attrib, push, verbatim, true, false.",
    "RELOAD [NOSAVE] [NOFLUSH] [MERGE]",
    "    Save a snapshot, empty the databases, and load the snapshot. Without emptying them,",
    "    a key or library that is there ends the load with an error, or gives way with MERGE.",
    "SDSLEN <key>",
    "    Lengths of a key and its string.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    Remove expired keys in the background, or don't.",
    "SLEEP <seconds>",
    "    Stand still. Decimals allowed.",
    "STRINGMATCH-LEN <length> <pattern>",
    "    Match the pattern with a text of so many letters.",
    "HELP",
    "    Print this help.",
];

fn debug(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let given = args.len() - 2;
    let known = SUBCOMMANDS
        .iter()
        .find(|(name, least, most, _)| args.is(1, name) && (*least..=*most).contains(&given));
    let Some((_, _, _, run)) = known else {
        let mut text = b"ERR unknown subcommand or wrong number of arguments for '".to_vec();
        let word = error::quotable(args.at(1));
        text.extend_from_slice(&word[..word.len().min(client::WORD_MAX)]);
        text.extend_from_slice(b"'. Try DEBUG HELP.");
        return Err(CommandError::quoting(text));
    };
    run(engine, slot, args)?;
    Ok(Flow::Done)
}

/// Lets scripts call commands that are refused in them otherwise: for tests.
fn disable_deny_scripts(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<(), CommandError> {
    engine.scripts.all_allowed = args.is(2, "1");
    engine.sessions[slot].reply().ok();
    Ok(())
}

/// A switch of machinery that isn't here: accepted without effect.
fn accept(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<(), CommandError> {
    engine.sessions[slot].reply().ok();
    Ok(())
}

/// Nodes have no such threshold: only the number is looked at.
fn packed_threshold(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<(), CommandError> {
    if text::parse_memory(args.at(2)).is_none_or(|bytes| bytes >= 1 << 32) {
        return Err(CommandError::text(
            "ERR argument must be a memory value bigger than 1 and smaller than 4gb",
        ));
    }
    accept(engine, slot, args)
}

/// Reply buffers are shared: only the number is looked at.
fn reply_buffer(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<(), CommandError> {
    if args.is(2, "PEAK-RESET-TIME") && !args.is(3, "NEVER") && !args.is(3, "RESET") {
        args.int(3)?;
    }
    accept(engine, slot, args)
}

fn help(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<(), CommandError> {
    engine.sessions[slot].reply().status_lines(HELP.iter().copied());
    Ok(())
}

fn sleep(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<(), CommandError> {
    let seconds = text::parse_f64(args.at(2)).unwrap_or(0.0).clamp(0.0, 86_400.0);
    std::thread::sleep(std::time::Duration::from_secs_f64(seconds));
    engine.sessions[slot].reply().ok();
    Ok(())
}

fn crash(_: &mut Engine, _: SessionId, args: Args<'_>) -> Result<(), CommandError> {
    if args.is(1, "SEGFAULT") {
        // Fails for no signal that exists; and then the panic below ends the process as well.
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSEGV);
    }
    match () {
        () if args.is(1, "ASSERT") => panic!("ASSERTION FAILED: DEBUG ASSERT was called"),
        () if args.is(1, "OOM") => panic!("Out Of Memory: DEBUG OOM was called"),
        () => panic!("called by DEBUG {}", String::from_utf8_lossy(args.at(1))),
    }
}

/// Sends replicas what isn't done here. A log that held it could hardly be loaded.
fn replicate(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<(), CommandError> {
    if engine.log.is_some() {
        return Err(CommandError::text("ERR DEBUG REPLICATE needs 'appendonly no'"));
    }
    if engine.journal.is_recording() && !engine.is_replica() {
        let mut record = Vec::new();
        let words: Vec<&[u8]> = args.from(2).collect();
        push_command(&mut record, words.into_iter());
        let db = engine.sessions[slot].db;
        engine.journal.append(db.0, &record);
    }
    engine.sessions[slot].reply().ok();
    Ok(())
}

fn change_replication_id(
    engine: &mut Engine,
    slot: SessionId,
    _: Args<'_>,
) -> Result<(), CommandError> {
    tracing::info!("Changing replication IDs after receiving change-repl-id");
    engine.change_history();
    engine.sessions[slot].reply().ok();
    Ok(())
}

fn rewrite_all(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<(), CommandError> {
    engine.rewrite_config(Scope::All)?;
    engine.sessions[slot].reply().ok();
    Ok(())
}

fn digest_all(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<(), CommandError> {
    let digest = shared_digest::of_all(&mut engine.databases).to_string();
    engine.sessions[slot].reply().simple(&digest);
    Ok(())
}

fn digest_values(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<(), CommandError> {
    let mut db = engine.databases.db(engine.sessions[slot].db);
    let digests: Vec<String> =
        args.from(2).map(|key| shared_digest::of_value(&mut db, key).to_string()).collect();
    let mut reply = engine.sessions[slot].reply();
    reply.array(digests.len());
    for digest in &digests {
        reply.simple(digest);
    }
    Ok(())
}

fn answer_error(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<(), CommandError> {
    let text: Vec<u8> = args
        .at(2)
        .iter()
        .map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte })
        .collect();
    engine.sessions[slot].reply().error_bytes(&text);
    Ok(())
}

fn log(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<(), CommandError> {
    tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(args.at(2)));
    engine.sessions[slot].reply().ok();
    Ok(())
}

/// 0 or 1, as C reads numbers: anything else is 0.
fn switch(arg: &[u8]) -> bool {
    text::parse_i64(arg).is_some_and(|number| number != 0)
}

fn set_active_expire(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<(), CommandError> {
    engine.cron.active_expire = switch(args.at(2));
    engine.sessions[slot].reply().ok();
    Ok(())
}

/// For RESTORE, so that a test need not compute the checksums of what it has damaged.
fn skip_checksums(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<(), CommandError> {
    engine.limits.payload_checksum =
        if switch(args.at(2)) { Checksum::Ignore } else { Checksum::Verify };
    engine.sessions[slot].reply().ok();
    Ok(())
}

fn pause_cron(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<(), CommandError> {
    engine.cron.paused = switch(args.at(2));
    engine.sessions[slot].reply().ok();
    Ok(())
}

fn match_string(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<(), CommandError> {
    let length = positive(args, 2)?;
    if length > engine.settings.proto_max_bulk_len {
        return Err(CommandError::StringTooLong);
    }
    text::glob(args.at(3), &vec![b'a'; length as usize], false);
    accept(engine, slot, args)
}

/// A number that is not negative.
fn positive(args: Args<'_>, index: usize) -> Result<u64, CommandError> {
    text::parse_u64(args.at(index))
        .ok_or(CommandError::text("ERR value is out of range, must be positive"))
}

/// What a key of DEBUG POPULATE takes at least beside its name and value, in bytes.
const KEY_BYTES: u64 = 16;

/// Refuses what no string can hold, or what this machine's memory can't.
fn check_population(
    engine: &Engine,
    count: u64,
    prefix: &[u8],
    size: Option<u64>,
) -> Result<(), CommandError> {
    let size = size.unwrap_or(0);
    if size > engine.settings.proto_max_bulk_len {
        return Err(CommandError::StringTooLong);
    }
    let each = KEY_BYTES + prefix.len() as u64 + size;
    let memory = *info_memory::TOTAL_SYSTEM_BYTES;
    if memory != 0 && count.saturating_mul(each) > memory {
        return Err(CommandError::text("ERR OOM: this machine has no memory for so many keys"));
    }
    Ok(())
}

fn populate(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<(), CommandError> {
    let count = positive(args, 2)?;
    let prefix = args.get(3).unwrap_or(b"key");
    let size = match args.get(4) {
        None => None,
        // Without a size, as with none, a value is as long as its text.
        Some(_) => Some(positive(args, 4)?).filter(|size| *size > 0),
    };
    check_population(engine, count, prefix, size)?;
    let index = engine.sessions[slot].db;
    for number in 0..count {
        let mut key = prefix.to_vec();
        key.push(b':');
        text::push_u64(&mut key, number);
        let mut value = b"value:".to_vec();
        text::push_u64(&mut value, number);
        if let Some(size) = size {
            value.resize(size as usize, 0);
        }
        let mut db = engine.databases.db(index);
        if !db.exists(&key) {
            db.put(&key, NewValue::from_bytes(&value), Expiry::Clear, Event::SET);
            engine.databases.unit.record(index, &[b"SET", &key, &value]);
        }
        // A unit of a million keys would need as much memory again.
        if number % 1024 == 1023 {
            engine.divide_unit();
        }
    }
    engine.sessions[slot].reply().ok();
    Ok(())
}

fn reload(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<(), CommandError> {
    let (mut save, mut flush, mut merge) = (true, true, false);
    for index in 2..args.len() {
        if args.is(index, "NOSAVE") {
            save = false;
        } else if args.is(index, "NOFLUSH") {
            flush = false;
        } else if args.is(index, "MERGE") {
            merge = true;
        } else {
            return Err(CommandError::text(
                "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
            ));
        }
    }
    if engine.persistence.loads_beside() {
        return Err(LOADING);
    }
    if save && !engine.save_now() {
        return Err(CommandError::text("ERR Error trying to save the DB. Check the logs."));
    }
    engine.persistence.loaded.refuses_known = !flush && !merge;
    let reloaded = engine.reload(false, flush);
    engine.persistence.loaded.refuses_known = false;
    if let Err(error) = reloaded {
        tracing::error!("{error}");
        return Err(CommandError::text(
            "ERR Error trying to load the RDB dump, check server logs.",
        ));
    }
    tracing::warn!("DB reloaded by DEBUG RELOAD");
    engine.sessions[slot].reply().ok();
    Ok(())
}

const LOAD_LOG_FAILED: &str = "ERR Error trying to load the AOF files, check server logs.";

fn load_log(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<(), CommandError> {
    if engine.persistence.loads_beside() {
        return Err(LOADING);
    }
    engine.write_log();
    // Without a log there may be one that was turned off, or a base that BGREWRITEAOF made.
    match engine.env.disk.exists(&engine.layout().manifest()) {
        Ok(false) if engine.log.is_none() => {
            return Err(CommandError::text("ERR There is no append only file: appendonly is no"));
        }
        Ok(_) => {}
        Err(error) => {
            tracing::error!("Can't look for the manifest of the append only file: {error}");
            return Err(CommandError::text(LOAD_LOG_FAILED));
        }
    }
    if let Err(error) = engine.reload(true, true) {
        tracing::error!("{error}");
        return Err(CommandError::text(LOAD_LOG_FAILED));
    }
    engine.persistence.dirty = 0;
    tracing::warn!("Append Only File loaded by DEBUG LOADAOF");
    engine.sessions[slot].reply().ok();
    Ok(())
}
