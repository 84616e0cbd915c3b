//! EVAL, EVALSHA, their read-only forms, and SCRIPT.

use crate::base::text::split_arguments;
use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::spec::{Arity, Command, Flags, Flow, Group, Key, control};
use crate::engine::script::cache::{Script, ScriptFlags, Sha};
use crate::engine::{ControlHandler, Engine, container};
use crate::mailbox::SessionId;
use crate::script::machine::Kept;
use crate::script::redis_lib::hex_digest;

/// Flags of all commands that run scripts.
pub(super) const RUNS: Flags = Flags::NOSCRIPT
    .union(Flags::RUNS_SCRIPTS)
    .union(Flags::STALE)
    .union(Flags::SKIP_MONITOR)
    .union(Flags::MAY_REPLICATE)
    .union(Flags::NO_MANDATORY_KEYS);
pub(super) const READS: Flags = Flags::NOSCRIPT
    .union(Flags::RUNS_SCRIPTS)
    .union(Flags::STALE)
    .union(Flags::SKIP_MONITOR)
    .union(Flags::READONLY)
    .union(Flags::NO_MANDATORY_KEYS);

const WRITTEN: &[Key] = &[Key::at(2).counted(0, 1, 1).rw().access().update()];
const READ: &[Key] = &[Key::at(2).counted(0, 1, 1).ro().access()];
pub(super) const WRITTEN_NOTED: &[Key] = &[Key::at(2)
    .counted(0, 1, 1)
    .rw()
    .access()
    .update()
    .notes("We cannot tell how the keys will be used so we assume the worst, RW and UPDATE")];
pub(super) const READ_NOTED: &[Key] = &[Key::at(2)
    .counted(0, 1, 1)
    .ro()
    .access()
    .notes("We cannot tell how the keys will be used so we assume the worst, RO and ACCESS")];
pub(super) const COST: &str = "That of what the script does";

const DIFFERENCES: &[&str] = &[
    "`redis.set_repl` with the log or replicas alone is as with both: they have one stream",
    "a pattern of Lua's `string` has no more than a million choices open at a time",
    "`struct.unpack` refuses a length for `c0` that no string has, where Redis takes one of 2^64 and \
     more for 0",
];

/// The rows of this family.
pub(crate) const COMMANDS: &[Command<ControlHandler>] = &[
    control("EVAL", Arity::AtLeast(3), eval as ControlHandler)
        .group(Group::Scripting)
        .flags(RUNS)
        .keys(WRITTEN_NOTED)
        .since("2.6.0")
        .cost(COST)
        .syntax("script numkeys [key [key ...]] [arg [arg ...]]")
        .deviates(DIFFERENCES)
        .summary("Runs a Lua script."),
    control("EVALSHA", Arity::AtLeast(3), eval_sha as ControlHandler)
        .group(Group::Scripting)
        .flags(RUNS)
        .keys(WRITTEN)
        .since("2.6.0")
        .cost(COST)
        .syntax("sha1 numkeys [key [key ...]] [arg [arg ...]]")
        .deviates(DIFFERENCES)
        .summary("Runs a Lua script that the server has, by its SHA1."),
    control("EVAL_RO", Arity::AtLeast(3), eval_reading as ControlHandler)
        .group(Group::Scripting)
        .flags(READS)
        .keys(READ_NOTED)
        .since("7.0.0")
        .cost(COST)
        .syntax("script numkeys [key [key ...]] [arg [arg ...]]")
        .summary("Runs a Lua script that may not write."),
    control("EVALSHA_RO", Arity::AtLeast(3), eval_sha_reading as ControlHandler)
        .group(Group::Scripting)
        .flags(READS)
        .keys(READ)
        .since("7.0.0")
        .cost(COST)
        .syntax("sha1 numkeys [key [key ...]] [arg [arg ...]]")
        .summary("Runs a Lua script that the server has and that may not write, by its SHA1."),
    control("SCRIPT", Arity::AtLeast(2), container as ControlHandler)
        .group(Group::Scripting)
        .since("2.6.0")
        .cost("That of the subcommand")
        .summary("Looks after the scripts that the server has.")
        .subcommands(&[
            control("DEBUG", Arity::Exactly(3), script_debug as ControlHandler)
                .group(Group::Scripting)
                .flags(Flags::NOSCRIPT)
                .since("3.2.0")
                .syntax("<YES | SYNC | NO>")
                .summary("Refused: there is no debugger.")
                .deviates(&[
                    "YES and SYNC are refused: a debugged script would hold the server up",
                ]),
            control("EXISTS", Arity::AtLeast(3), script_exists as ControlHandler)
                .group(Group::Scripting)
                .flags(Flags::NOSCRIPT)
                .tips(&["request_policy:all_shards", "response_policy:agg_logical_and"])
                .since("2.6.0")
                .cost("O(N) for N names")
                .syntax("sha1 [sha1 ...]")
                .summary("Tells which scripts the server has."),
            control("FLUSH", Arity::AtLeast(2), script_flush as ControlHandler)
                .group(Group::Scripting)
                .flags(Flags::NOSCRIPT)
                .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
                .since("2.6.0")
                .cost("O(N) for N scripts")
                .syntax("[ASYNC | SYNC]")
                .summary("Forgets all scripts.")
                .history(&[("6.2.0", "Added the `ASYNC` and `SYNC` flushing mode modifiers.")]),
            control("HELP", Arity::Exactly(2), script_help as ControlHandler)
                .group(Group::Scripting)
                .flags(Flags::LOADING.union(Flags::STALE))
                .since("5.0.0")
                .summary("Lists the subcommands."),
            control("KILL", Arity::Exactly(2), script_kill as ControlHandler)
                .group(Group::Scripting)
                .flags(Flags::NOSCRIPT.union(Flags::ALLOW_BUSY))
                .tips(&["request_policy:all_shards", "response_policy:one_succeeded"])
                .since("2.6.0")
                .summary("Ends the script that runs."),
            control("LOAD", Arity::Exactly(3), script_load as ControlHandler)
                .group(Group::Scripting)
                .flags(Flags::NOSCRIPT.union(Flags::STALE))
                .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
                .since("2.6.0")
                .cost("O(N) for a script of N bytes")
                .syntax("script")
                .summary("Keeps a script without running it."),
            control("SHOW", Arity::Exactly(3), script_show as ControlHandler)
                .group(Group::Scripting)
                .flags(Flags::NOSCRIPT)
                .since("8.0.0")
                .syntax("sha1")
                .summary("Replies with the text of a script that the server has."),
        ]),
];

const NO_SCRIPT: CommandError = CommandError::text("NOSCRIPT No matching script. Please use EVAL.");

fn eval(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    engine.eval_text(slot, args, false)
}

fn eval_reading(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    engine.eval_text(slot, args, true)
}

fn eval_sha(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    engine.eval_named(slot, args, false)
}

fn eval_sha_reading(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    engine.eval_named(slot, args, true)
}

/// A script's name in lower case.
pub(super) fn sha_of(word: &[u8]) -> Option<Sha> {
    let mut sha: Sha = word.try_into().ok()?;
    sha.make_ascii_lowercase();
    Some(sha)
}

/// How many of the arguments are keys, where the one at 2 is that number.
pub(super) fn key_count(args: Args<'_>, count: i64) -> Result<usize, CommandError> {
    if count > args.len() as i64 - 3 {
        return Err(CommandError::text("ERR Number of keys can't be greater than number of args"));
    }
    usize::try_from(count).map_err(|_| CommandError::text("ERR Number of keys can't be negative"))
}

/// What a script says of itself in its first line, and where its code begins.
pub(super) fn shebang(text: &[u8]) -> Result<(ScriptFlags, usize), CommandError> {
    if !text.starts_with(b"#!") {
        return Ok((ScriptFlags::COMPATIBLE, 0));
    }
    let Some(end) = memchr::memchr(b'\n', text) else {
        return Err(CommandError::text("ERR Invalid script shebang"));
    };
    let Ok(words) = split_arguments(&text[..end]) else {
        return Err(CommandError::text("ERR Invalid engine in script shebang"));
    };
    let mut words = words.iter().map(Vec::as_slice);
    let engine = words.next().unwrap_or_default();
    if engine != b"#!lua" {
        let text = [b"ERR Unexpected engine in script shebang: ", engine].concat();
        return Err(CommandError::quoting(text));
    }
    let mut flags = ScriptFlags::empty();
    for word in words {
        let Some(names) = word.strip_prefix(b"flags=") else {
            let text = [b"ERR Unknown lua shebang option: ", word].concat();
            return Err(CommandError::quoting(text));
        };
        // No flags at all are fine, none between two commas is not.
        for name in names.split(|byte| *byte == b',').filter(|_| !names.is_empty()) {
            let Some(flag) = ScriptFlags::named(name) else {
                let text = [b"ERR Unexpected flag in script shebang: ", name].concat();
                return Err(CommandError::quoting(text));
            };
            flags |= flag;
        }
    }
    // The line's end stays, so that lines keep their numbers.
    Ok((flags, end))
}

impl Engine {
    fn eval_text(
        &mut self,
        slot: SessionId,
        args: Args<'_>,
        read_only: bool,
    ) -> Result<Flow, CommandError> {
        let keys = key_count(args, args.int(2)?)?;
        let text = args.at(1);
        let script = match self.scripts.cache.by_text(text) {
            Some(script) => (script.kept, script.flags, script.sha),
            None => self.add_script(text, false)?,
        };
        self.run_script(slot, script, keys, args, read_only)
    }

    fn eval_named(
        &mut self,
        slot: SessionId,
        args: Args<'_>,
        read_only: bool,
    ) -> Result<Flow, CommandError> {
        let keys = key_count(args, args.int(2)?)?;
        let sha = sha_of(args.at(1)).ok_or(NO_SCRIPT)?;
        let Script { kept, flags, sha, .. } = self.scripts.cache.by_sha(&sha).ok_or(NO_SCRIPT)?;
        let script = (*kept, *flags, *sha);
        self.run_script(slot, script, keys, args, read_only)
    }

    /// Compiles and keeps a script.
    fn add_script(
        &mut self,
        text: &[u8],
        loaded: bool,
    ) -> Result<(Kept, ScriptFlags, Sha), CommandError> {
        let (flags, code) = shebang(text)?;
        let mut machine = self.take_machine();
        let compiled = machine.compile(&text[code..], c"@user_script");
        let sha = hex_digest(text);
        let outcome = match compiled {
            Ok(kept) => {
                self.scripts.cache.add(text, sha, kept, flags, loaded, &mut machine);
                Ok((kept, flags, sha))
            }
            Err(message) => {
                let text = [b"ERR Error compiling script (new function): ", &*message].concat();
                Err(CommandError::quoting(text))
            }
        };
        self.scripts.machine = Some(machine);
        outcome
    }

    fn run_script(
        &mut self,
        slot: SessionId,
        (kept, flags, sha): (Kept, ScriptFlags, Sha),
        keys: usize,
        args: Args<'_>,
        read_only: bool,
    ) -> Result<Flow, CommandError> {
        let running = self.admit_script(slot, flags, read_only)?;
        self.run_whole(running, kept, &sha, keys, args)
    }
}

fn script_load(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let text = args.at(2);
    let sha = match engine.scripts.cache.by_text(text) {
        Some(script) => script.sha,
        None => engine.add_script(text, true)?.2,
    };
    engine.scripts.cache.keep(&sha);
    engine.sessions[slot].reply().bulk(&sha);
    Ok(Flow::Done)
}

fn script_exists(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().array(args.len() - 2);
    for word in args.from(2) {
        let exists = sha_of(word).is_some_and(|sha| engine.scripts.cache.has(&sha));
        engine.sessions[slot].reply().int(i64::from(exists));
    }
    Ok(Flow::Done)
}

fn script_flush(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    if args.len() > 3 || args.len() == 3 && !(args.is(2, "SYNC") || args.is(2, "ASYNC")) {
        return Err(CommandError::text("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    engine.scripts.cache.clear();
    engine.scripts.machine = None;
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

fn script_kill(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.kill_script(false)?;
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

fn script_show(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let sha = sha_of(args.at(2)).ok_or(NO_SCRIPT)?;
    let text = engine.scripts.cache.text(&sha).ok_or(NO_SCRIPT)?;
    engine.sessions[slot].reply().bulk(text);
    Ok(Flow::Done)
}

fn script_debug(
    engine: &mut Engine,
    slot: SessionId,
    args: Args<'_>,
) -> Result<Flow, CommandError> {
    if args.is(2, "NO") {
        engine.sessions[slot].reply().ok();
        return Ok(Flow::Done);
    }
    if args.is(2, "YES") || args.is(2, "SYNC") {
        return Err(CommandError::text(
            "ERR there is no script debugger: it would hold the server up",
        ));
    }
    Err(CommandError::text("ERR Use SCRIPT DEBUG YES/SYNC/NO"))
}

fn script_help(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().status_lines(HELP.iter().copied());
    Ok(Flow::Done)
}

const HELP: [&str; 15] = [
    "SCRIPT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DEBUG (YES|SYNC|NO)",
    "    NO does nothing; there is no debugger.",
    "EXISTS <sha1> [<sha1> ...]",
    "    Tells of each script whether the server has it.",
    "FLUSH [ASYNC|SYNC]",
    "    Forgets all scripts.",
    "KILL",
    "    Ends the script that runs, where it hasn't written.",
    "LOAD <script>",
    "    Keeps a script without running it, and replies with its SHA1.",
    "SHOW <sha1>",
    "    Replies with a script's text.",
    "HELP",
    "    Prints this help.",
];
