//! DEBUG: what tests and people looking for faults use. Only where `enable-debug-command` allows.

use std::time::Duration;

use crate::base::text;
use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::object;
use crate::command::spec::{Arity::AtLeast, Command, Flags, Flow, Group, control};
use crate::data::value::NewValue;
use crate::engine::{ControlHandler, Engine};
use crate::keyspace::databases::Expiry;
use crate::keyspace::digest;
use crate::keyspace::unit::Event;
use crate::mailbox::SessionId;
use crate::rdb::encode::{self, EncodeOptions};

/// The rows of this family.
pub const COMMANDS: &[Command<ControlHandler>] =
    &[control("DEBUG", AtLeast(2), debug as ControlHandler)
        .group(Group::Server)
        .flags(
            Flags::ADMIN
                .or(Flags::NOSCRIPT)
                .or(Flags::LOADING)
                .or(Flags::STALE)
                .or(Flags::PROTECTED),
        )
        .since("1.0.0")
        .cost("Depends on subcommand.")
        .summary("A container for commands that look for faults.")
        .deviates(&["Subcommands that are about upstream's own structures are not there."])];

type Handled = Result<Flow, CommandError>;

/// A subcommand: its name, its arguments (least and most, DEBUG and the name included), its help,
/// and its code.
type Subcommand = (&'static str, usize, usize, &'static str, ControlHandler);

const SUBCOMMANDS: &[Subcommand] = &[
    ("CHANGE-REPL-ID", 2, 2, "Gives the server another replication id.", change_repl_id),
    ("DIGEST", 2, 2, "Replies with a digest of all data.", digest_all),
    ("DIGEST-VALUE", 3, usize::MAX, "key [key ...]: digests of values.", digest_value),
    ("DICT-RESIZING", 3, 3, "0|1: accepted; the dictionary here has no such phase.", accept),
    ("ERROR", 3, 3, "text: replies with that error.", error),
    ("HELP", 2, 2, "Replies with this.", help),
    ("LISTPACK", 3, 3, "key: for collections, of which there are none yet.", no_key),
    ("LOADAOF", 2, 2, "Writes the log and loads it again.", loadaof),
    ("LOG", 3, 3, "message: writes it to the server's log.", log),
    ("OBJECT", 3, 4, "key: facts about how a value is stored.", object_facts),
    ("PANIC", 2, 2, "Breaks the server on purpose.", panic),
    ("PAUSE-CRON", 3, 3, "0|1: stops what time brings.", accept),
    ("POPULATE", 3, 5, "count [prefix] [size]: creates keys.", populate),
    ("PROTOCOL", 3, 3, "type: replies with an example of a type of the protocol.", protocol),
    ("QUICKLIST-PACKED-THRESHOLD", 3, 3, "size: accepted; there are no lists yet.", accept),
    ("RELOAD", 2, 5, "[NOSAVE] [NOFLUSH] [MERGE]: saves and loads all data.", reload),
    ("REPLYBUFFER", 3, 4, "Accepted; reply buffers here have no fixed size.", accept),
    ("SEGFAULT", 2, 2, "Crashes the server on purpose.", segfault),
    ("SET-ACTIVE-EXPIRE", 3, 3, "0|1: turns active expiry off or on.", set_active_expire),
    ("SET-DISABLE-DENY-SCRIPTS", 3, 3, "0|1: accepted; there are no scripts yet.", accept),
    ("SLEEP", 3, 3, "seconds: does nothing for a time, clients waiting.", sleep),
    ("STRINGMATCH-LEN", 4, 4, "length pattern: matches a long text.", stringmatch),
];

fn debug(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    let found = SUBCOMMANDS
        .iter()
        .find(|(name, least, most, ..)| args.is(1, name) && (*least..=*most).contains(&args.len()));
    match found {
        Some((.., run)) => run(engine, slot, args),
        None => {
            let mut text = b"ERR unknown subcommand or wrong number of arguments for '".to_vec();
            text.extend_from_slice(&args.at(1)[..args.at(1).len().min(128)]);
            text.extend_from_slice(b"'. Try DEBUG HELP.");
            Err(CommandError::quoting(text))
        }
    }
}

fn accept(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

fn help(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    let mut lines =
        vec!["DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:".to_owned()];
    for (name, _, _, text, _) in SUBCOMMANDS {
        lines.push((*name).to_owned());
        lines.push(format!("    {text}"));
    }
    engine.sessions[slot].reply().status_lines(lines.iter().map(String::as_str));
    Ok(Flow::Done)
}

fn change_repl_id(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    engine.run_id = crate::engine::startup::hex_id(&mut engine.rng);
    accept(engine, slot, args)
}

fn digest_all(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    let text = digest::digest_all(&mut engine.databases).to_string();
    engine.sessions[slot].reply().simple(&text);
    Ok(Flow::Done)
}

fn digest_value(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    let db = engine.sessions[slot].db;
    let digests: Vec<String> = args
        .from(2)
        .map(|key| digest::digest_value(&mut engine.databases.db(db), key).to_string())
        .collect();
    let mut reply = engine.sessions[slot].reply();
    reply.array(digests.len());
    for text in digests {
        reply.simple(&text);
    }
    Ok(Flow::Done)
}

fn error(_: &mut Engine, _: SessionId, args: Args<'_>) -> Handled {
    Err(CommandError::quoting(args.at(2).to_vec()))
}

fn no_key(_: &mut Engine, _: SessionId, _: Args<'_>) -> Handled {
    Err(CommandError::text("ERR Not a listpack encoded object."))
}

fn loadaof(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    engine.write_log();
    if engine.log.is_none() {
        return Err(CommandError::text("ERR There is no append only file: appendonly is no"));
    }
    engine.reload(true, true).map_err(|error| {
        tracing::error!("DEBUG LOADAOF: {error}");
        CommandError::text("ERR Error trying to load the AOF files, check server logs.")
    })?;
    tracing::warn!("Append Only File loaded by DEBUG LOADAOF");
    accept(engine, slot, args)
}

fn log(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(args.at(2)));
    accept(engine, slot, args)
}

fn object_facts(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    let db = engine.sessions[slot].db;
    let mut database = engine.databases.db(db);
    let Some(entry) = database.peek(args.at(2)) else { return Err(CommandError::NoSuchKey) };
    let (encoding, access) = (object::encoding_name(&entry), entry.access());
    let mut bytes = Vec::new();
    encode::value(&mut bytes, &EncodeOptions::default(), entry.value());
    let idle = engine.databases.idle_seconds(access);
    engine.sessions[slot].reply().simple(&format!(
        "Value at:0x{:x} refcount:1 encoding:{encoding} serializedlength:{} lru:{access} \
         lru_seconds_idle:{idle}",
        0,
        bytes.len() - 1,
    ));
    Ok(Flow::Done)
}

fn panic(_: &mut Engine, _: SessionId, _: Args<'_>) -> Handled {
    panic!("called by DEBUG PANIC");
}

fn segfault(_: &mut Engine, _: SessionId, _: Args<'_>) -> Handled {
    // The same report as a real one, without undefined behaviour of our own.
    let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSEGV);
    Err(CommandError::text("ERR the signal did not end the process"))
}

fn populate(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    let count = args.int(2)?;
    let prefix = args.get(3).unwrap_or(b"key");
    let size = if args.len() > 4 { Some(args.int(4)?) } else { None };
    let db = engine.sessions[slot].db;
    for number in 0..count {
        let mut key = prefix.to_vec();
        key.push(b':');
        text::push_i64(&mut key, number);
        if engine.databases.db(db).exists(&key) {
            continue;
        }
        let mut value = b"value:".to_vec();
        text::push_i64(&mut value, number);
        if let Some(size) = size {
            value.resize(size.clamp(0, 512 << 20) as usize, 0);
        }
        engine.databases.db(db).put(&key, NewValue::from_bytes(&value), Expiry::Clear, Event::SET);
        engine.databases.unit.record(db, &[b"SET", &key, &value]);
    }
    accept(engine, slot, args)
}

fn protocol(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    let word = String::from_utf8_lossy(args.at(2)).to_ascii_lowercase();
    let mut reply = engine.sessions[slot].reply();
    match word.as_str() {
        "string" => reply.bulk(b"Hello World"),
        "integer" => reply.int(12345),
        // Upstream's example, which is not meant for computing.
        "double" => reply.double(3141.0 / 1000.0),
        "null" => reply.null(),
        "array" => {
            reply.array(3);
            (0..3).for_each(|number| reply.int(number));
        }
        "set" => {
            reply.set(3);
            (0..3).for_each(|number| reply.int(number));
        }
        "map" => {
            reply.map(3);
            for number in 0..3 {
                reply.int(number);
                reply.boolean(number == 1);
            }
        }
        "attrib" => {
            if reply.protocol().number() < 3 {
                return Err(CommandError::text("ERR Attribute reply type requires RESP3 protocol"));
            }
            reply.attribute(1);
            reply.bulk(b"key-popularity");
            reply.array(2);
            reply.bulk(b"key:123");
            reply.int(90);
            reply.bulk(b"Some real reply following the attribute");
        }
        "push" => {
            if reply.protocol().number() < 3 {
                return Err(CommandError::text("ERR Push reply type requires RESP3 protocol"));
            }
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.int(42);
        }
        "bignum" => {
            reply.big_number("1234567999999999999999999999999999999");
        }
        "true" => reply.boolean(true),
        "false" => reply.boolean(false),
        "verbatim" => reply.verbatim("txt", b"This is a verbatim\nstring"),
        _ => {
            return Err(CommandError::text(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(Flow::Done)
}

fn reload(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    let (mut save, mut flush) = (true, true);
    for index in 2..args.len() {
        match () {
            () if args.is(index, "MERGE") => {}
            () if args.is(index, "NOFLUSH") => flush = false,
            () if args.is(index, "NOSAVE") => save = false,
            () => {
                return Err(CommandError::text(
                    "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
                ));
            }
        }
    }
    if save && !engine.save_now() {
        return Err(CommandError::text("ERR Error trying to save the DB, check server logs."));
    }
    engine.reload(false, flush).map_err(|error| {
        tracing::error!("DEBUG RELOAD: {error}");
        CommandError::text("ERR Error trying to load the RDB dump, check server logs.")
    })?;
    tracing::warn!("DB reloaded by DEBUG RELOAD");
    accept(engine, slot, args)
}

fn set_active_expire(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    engine.cron.active_expire = args.int(2)? != 0;
    accept(engine, slot, args)
}

fn sleep(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    let seconds = text::parse_f64(args.at(2)).ok_or(CommandError::NotFloat)?;
    // Stopping the actor is what this command is for.
    std::thread::sleep(Duration::from_secs_f64(seconds.clamp(0.0, 3600.0)));
    accept(engine, slot, args)
}

fn stringmatch(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    let len = args.int(2)?.clamp(0, 1 << 30) as usize;
    text::glob(args.at(3), &vec![b'a'; len], false);
    accept(engine, slot, args)
}
