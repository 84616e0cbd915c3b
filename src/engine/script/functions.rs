//! `FCALL`, `FCALL_RO` and `FUNCTION`.

use crate::base::text;
use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::spec::{Arity, Command, Flags, Flow, Group, control, write};
use crate::engine::script::eval::{COST, READ_NOTED, READS, RUNS, WRITTEN_NOTED, key_count};
use crate::engine::script::library::{Existing, Libraries};
use crate::engine::{ControlHandler, Engine, container};
use crate::mailbox::SessionId;
use crate::rdb::decode::functions_payload;
use crate::rdb::encode;
use crate::script::machine::Machine;

const ALL_SHARDS: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];

/// The rows of this family.
pub(crate) const COMMANDS: &[Command<ControlHandler>] = &[
    control("FCALL", Arity::AtLeast(3), fcall as ControlHandler)
        .group(Group::Scripting)
        .flags(RUNS)
        .keys(WRITTEN_NOTED)
        .since("7.0.0")
        .cost(COST)
        .syntax("function numkeys [key [key ...]] [arg [arg ...]]")
        .summary("Calls a function."),
    control("FCALL_RO", Arity::AtLeast(3), fcall_reading as ControlHandler)
        .group(Group::Scripting)
        .flags(READS)
        .keys(READ_NOTED)
        .since("7.0.0")
        .cost(COST)
        .syntax("function numkeys [key [key ...]] [arg [arg ...]]")
        .summary("Calls a function that may not write."),
    control("FUNCTION", Arity::AtLeast(2), container as ControlHandler)
        .group(Group::Scripting)
        .since("7.0.0")
        .cost("That of the subcommand")
        .summary("Looks after libraries of functions.")
        .subcommands(&[
            write("DELETE", Arity::Exactly(3), delete as ControlHandler)
                .group(Group::Scripting)
                .flags(Flags::NOSCRIPT)
                .tips(ALL_SHARDS)
                .since("7.0.0")
                .syntax("library-name")
                .summary("Deletes a library and its functions."),
            control("DUMP", Arity::Exactly(2), dump as ControlHandler)
                .group(Group::Scripting)
                .flags(Flags::NOSCRIPT.union(Flags::SHOWS_DATA))
                .since("7.0.0")
                .cost("O(N) for N functions")
                .summary("Replies with all libraries in one string."),
            write("FLUSH", Arity::AtLeast(2), flush as ControlHandler)
                .group(Group::Scripting)
                .flags(Flags::NOSCRIPT)
                .tips(ALL_SHARDS)
                .since("7.0.0")
                .cost("O(N) for N functions")
                .syntax("[ASYNC | SYNC]")
                .summary("Deletes all libraries."),
            control("HELP", Arity::Exactly(2), help as ControlHandler)
                .group(Group::Scripting)
                .flags(Flags::LOADING.union(Flags::STALE))
                .since("7.0.0")
                .summary("Lists the subcommands."),
            control("KILL", Arity::Exactly(2), kill as ControlHandler)
                .group(Group::Scripting)
                .flags(Flags::NOSCRIPT.union(Flags::ALLOW_BUSY))
                .tips(&["request_policy:all_shards", "response_policy:one_succeeded"])
                .since("7.0.0")
                .summary("Ends the function that runs."),
            control("LIST", Arity::AtLeast(2), list as ControlHandler)
                .group(Group::Scripting)
                .flags(Flags::NOSCRIPT.union(Flags::SHOWS_DATA))
                .tips(&["nondeterministic_output_order"])
                .since("7.0.0")
                .cost("O(N) for N functions")
                .syntax("[LIBRARYNAME library-name-pattern] [WITHCODE]")
                .summary("Tells which libraries there are."),
            write("LOAD", Arity::AtLeast(3), load as ControlHandler)
                .group(Group::Scripting)
                .flags(Flags::DENYOOM.union(Flags::NOSCRIPT))
                .tips(ALL_SHARDS)
                .since("7.0.0")
                .cost("O(1) (considering compilation time is redundant)")
                .syntax("[REPLACE] function-code")
                .summary("Loads a library."),
            write("RESTORE", Arity::AtLeast(3), restore as ControlHandler)
                .group(Group::Scripting)
                .flags(Flags::DENYOOM.union(Flags::NOSCRIPT))
                .tips(ALL_SHARDS)
                .since("7.0.0")
                .cost("O(N) for N functions")
                .syntax("serialized-value [FLUSH | APPEND | REPLACE]")
                .summary("Loads the libraries that DUMP replied with."),
            control("STATS", Arity::Exactly(2), stats as ControlHandler)
                .group(Group::Scripting)
                .flags(Flags::NOSCRIPT.union(Flags::ALLOW_BUSY).union(Flags::SHOWS_DATA))
                .tips(&[
                    "nondeterministic_output",
                    "request_policy:all_shards",
                    "response_policy:special",
                ])
                .since("7.0.0")
                .summary("Tells what runs, and how many functions there are."),
        ]),
];

fn fcall(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    engine.call_function(slot, args, false)
}

fn fcall_reading(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    engine.call_function(slot, args, true)
}

impl Engine {
    fn call_function(
        &mut self,
        slot: SessionId,
        args: Args<'_>,
        read_only: bool,
    ) -> Result<Flow, CommandError> {
        let Some(function) = self.scripts.libraries.function(args.at(1)) else {
            return Err(CommandError::text("ERR Function not found"));
        };
        let (kept, flags) = (function.kept, function.flags);
        let Some(count) = text::parse_i64(args.at(2)) else {
            return Err(CommandError::text("ERR Bad number of keys provided"));
        };
        let keys = key_count(args, count)?;
        let mut running = self.admit_script(slot, flags, read_only)?;
        running.is_function = true;
        self.run_whole(running, kept, args.at(1), keys, args)
    }

    /// Forgets all libraries, and the machine with them.
    pub(in crate::engine) fn clear_functions(&mut self) {
        drop(self.take_functions());
    }

    /// All libraries with their machine, which leaves none.
    fn take_functions(&mut self) -> (Libraries, Option<Box<Machine>>) {
        let libraries = std::mem::take(&mut self.scripts.libraries);
        (libraries, self.scripts.functions_machine.take())
    }

    /// Loads libraries, all or none of them; `flushes` takes away those that were there.
    fn restore_libraries(
        &mut self,
        texts: &[impl AsRef<[u8]>],
        flushes: bool,
        existing: Existing,
    ) -> Result<(), CommandError> {
        let before = flushes.then(|| self.take_functions());
        let loaded = self.load_libraries(texts.iter().map(AsRef::as_ref), existing);
        if let (Err(_), Some((libraries, machine))) = (&loaded, before) {
            self.scripts.libraries = libraries;
            self.scripts.functions_machine = machine;
        }
        loaded.map(drop)
    }

    /// These libraries take the place of all that were there. Where one can't be loaded those stay.
    pub(in crate::engine) fn replace_functions(
        &mut self,
        texts: &[Box<[u8]>],
    ) -> Result<(), CommandError> {
        self.restore_libraries(texts, true, Existing::Keep)
    }

    /// The texts of all libraries, for snapshots and logs.
    pub(in crate::engine) fn library_texts(&self) -> impl Iterator<Item = &[u8]> {
        self.scripts.libraries.by_name.values().map(|library| &*library.code)
    }
}

fn load(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut existing = Existing::Keep;
    for word in args.from(2).take(args.len() - 3) {
        if !word.eq_ignore_ascii_case(b"REPLACE") {
            let text = [b"ERR Unknown option given: ", word].concat();
            return Err(CommandError::quoting(text));
        }
        existing = Existing::Replace;
    }
    let text = args.at(args.len() - 1);
    let name = engine.load_libraries(std::iter::once(text), existing)?;
    engine.databases.unit.changes += 1;
    engine.sessions[slot].reply().bulk(name.as_deref().unwrap_or_default());
    Ok(Flow::Done)
}

fn delete(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut machine = engine.take_functions_machine();
    let removed = engine.scripts.libraries.remove(args.at(2), &mut machine);
    engine.scripts.functions_machine = Some(machine);
    if !removed {
        return Err(CommandError::text("ERR Library not found"));
    }
    engine.databases.unit.changes += 1;
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

fn flush(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    if args.len() > 3 {
        return Err(wrong_number(args));
    }
    if args.len() == 3 && !(args.is(2, "SYNC") || args.is(2, "ASYNC")) {
        return Err(CommandError::text("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    engine.clear_functions();
    engine.databases.unit.changes += 1;
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

fn wrong_number(args: Args<'_>) -> CommandError {
    let subcommand = String::from_utf8_lossy(args.at(1));
    CommandError::owned(format!(
        "ERR unknown subcommand or wrong number of arguments for '{subcommand}'. Try FUNCTION HELP."
    ))
}

fn kill(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.kill_script(true)?;
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

fn dump(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    let version = engine.limits.rdb_version;
    let payload = encode::functions_payload(engine.library_texts(), version);
    engine.sessions[slot].reply().bulk(&payload);
    Ok(Flow::Done)
}

fn restore(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    if args.len() > 4 {
        return Err(wrong_number(args));
    }
    let (flushes, existing) = match args.get(3) {
        None => (false, Existing::Keep),
        Some(word) if word.eq_ignore_ascii_case(b"APPEND") => (false, Existing::Keep),
        Some(word) if word.eq_ignore_ascii_case(b"REPLACE") => (false, Existing::Replace),
        Some(word) if word.eq_ignore_ascii_case(b"FLUSH") => (true, Existing::Keep),
        Some(_) => {
            return Err(CommandError::text(
                "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ));
        }
    };
    let texts = functions_payload(args.at(2), engine.limits.payload_checksum)
        .map_err(|error| CommandError::owned(format!("ERR {error}")))?;
    engine.restore_libraries(&texts, flushes, existing).map_err(unquoted)?;
    engine.databases.unit.changes += 1;
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

/// The same without quotation marks, as RESTORE says what LOAD says with them.
fn unquoted(error: CommandError) -> CommandError {
    let text = error.wire().iter().copied().filter(|byte| *byte != b'\'').collect();
    CommandError::quoting(text)
}

fn list(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let (mut pattern, mut with_code) = (None, false);
    let mut index = 2;
    while index < args.len() {
        if !with_code && args.is(index, "WITHCODE") {
            with_code = true;
        } else if pattern.is_none() && args.is(index, "LIBRARYNAME") {
            index += 1;
            pattern = Some(
                args.get(index)
                    .ok_or(CommandError::text("ERR library name argument was not given"))?,
            );
        } else {
            let text = [b"ERR Unknown argument ", args.at(index)].concat();
            return Err(CommandError::quoting(text));
        }
        index += 1;
    }
    let libraries = &engine.scripts.libraries;
    let mut reply = engine.sessions[slot].reply();
    let start = reply.deferred();
    let mut count = 0;
    for (name, library) in &libraries.by_name {
        if pattern.is_some_and(|pattern| !text::glob(pattern, name, true)) {
            continue;
        }
        count += 1;
        reply.map(3 + usize::from(with_code));
        reply.bulk(b"library_name");
        reply.bulk(name);
        reply.bulk(b"engine");
        reply.bulk(b"LUA");
        reply.bulk(b"functions");
        reply.array(library.functions.len());
        for name in &library.functions {
            let function = libraries.function(name);
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(name);
            reply.bulk(b"description");
            match function.and_then(|function| function.description.as_ref()) {
                Some(description) => reply.bulk(description),
                None => reply.null(),
            }
            reply.bulk(b"flags");
            let flags = function.map(|function| function.flags).unwrap_or_default();
            reply.set(flags.names().count());
            flags.names().for_each(|name| reply.simple(name));
        }
        if with_code {
            reply.bulk(b"library_code");
            reply.bulk(&library.code);
        }
    }
    reply.finish_array(start, count);
    Ok(Flow::Done)
}

fn stats(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    if engine.is_busy() && !engine.scripts.running.is_some_and(|running| running.is_function) {
        return Err(engine.busy_error());
    }
    let running = engine.running_script();
    let libraries = engine.scripts.libraries.by_name.len();
    let functions = engine.scripts.libraries.functions.len();
    let mut reply = engine.sessions[slot].reply();
    reply.map(2);
    reply.bulk(b"running_script");
    match running {
        None => reply.null(),
        Some((words, millis)) => {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(words.get(1).map(|name| &**name).unwrap_or_default());
            reply.bulk(b"command");
            reply.array(words.len());
            words.iter().for_each(|word| reply.bulk(word));
            reply.bulk(b"duration_ms");
            reply.int(millis);
        }
    }
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(b"LUA");
    reply.map(2);
    reply.bulk(b"libraries_count");
    reply.count(libraries);
    reply.bulk(b"functions_count");
    reply.count(functions);
    Ok(Flow::Done)
}

fn help(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().status_lines(HELP.iter().copied());
    Ok(Flow::Done)
}

const HELP: [&str; 19] = [
    "FUNCTION <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DELETE <LIBRARY NAME>",
    "    Deletes a library and its functions.",
    "DUMP",
    "    Replies with all libraries in one string, for RESTORE.",
    "FLUSH [ASYNC|SYNC]",
    "    Deletes all libraries.",
    "KILL",
    "    Ends the function that runs, where it hasn't written.",
    "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
    "    Tells which libraries there are, and their functions.",
    "LOAD [REPLACE] <FUNCTION CODE>",
    "    Loads a library and replies with its name.",
    "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
    "    Loads what DUMP replied with: behind a flush, beside what is there, or over it.",
    "STATS",
    "    Tells what runs, for how long, and how many libraries and functions there are.",
    "HELP",
    "    Prints this help.",
];
