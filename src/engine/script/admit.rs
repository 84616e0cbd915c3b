//! What a script may do: before it begins, by what it says of itself, and each command that it calls.

use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::spec::Flags;
use crate::engine::Engine;
use crate::engine::registry::CommandId;
use crate::engine::script::cache::ScriptFlags;
use crate::engine::script::eval;
use crate::engine::tick::admit::{LOADING, ON_REPLICA, OUT_OF_MEMORY, STALE};
use crate::mailbox::SessionId;

/// A script that runs.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Running {
    /// The session that called it.
    pub(in crate::engine) client: SessionId,
    /// What it may do.
    pub(super) flags: ScriptFlags,
    /// Whether memory was over the limit when it began.
    pub(super) out_of_memory: bool,
    /// Whether it has called a command that writes.
    pub(in crate::engine) wrote: bool,
    /// Whether what it does has been decided elsewhere: the log, the primary.
    pub(super) obeyed: bool,
    /// Whether it is a function.
    pub(super) is_function: bool,
    /// When it began, in ticks of the stopwatch.
    pub(super) began: u64,
    /// When it looked at the time last.
    pub(super) looked_at: u64,
    /// When it has been running for too long.
    pub(super) overdue_at: u64,
    /// Whether changes were recorded when it began.
    pub(super) recording: bool,
}

impl Engine {
    /// A command's flags, as the script changes them that it runs: one that says what it does is admitted,
    /// queued and paused as a command that does that. What says nothing, or isn't known, changes nothing.
    pub(in crate::engine) fn flags_with_script(
        &mut self,
        command: CommandId,
        args: Args<'_>,
    ) -> Flags {
        let flags = self.registry[command].spec.flags;
        if !flags.contains(Flags::RUNS_SCRIPTS) {
            return flags;
        }
        let said = self.said_of_script(command, args);
        let Some(said) = said.filter(|said| !said.contains(ScriptFlags::COMPATIBLE)) else {
            return flags;
        };
        let mut flags = flags.difference(
            Flags::STALE.union(Flags::DENYOOM).union(Flags::WRITE).union(Flags::MAY_REPLICATE),
        );
        flags.set(Flags::WRITE, !said.contains(ScriptFlags::NO_WRITES));
        flags.set(
            Flags::DENYOOM,
            !said.intersects(ScriptFlags::ALLOW_OOM.union(ScriptFlags::NO_WRITES)),
        );
        flags.set(Flags::STALE, said.contains(ScriptFlags::ALLOW_STALE));
        flags
    }

    /// What the script that a command runs says of itself: a text's, a known one's, or a function's.
    fn said_of_script(&mut self, command: CommandId, args: Args<'_>) -> Option<ScriptFlags> {
        let script = args.get(1)?;
        match self.registry[command].spec.name {
            "FCALL" | "FCALL_RO" => {
                self.scripts.libraries.function(script).map(|function| function.flags)
            }
            "EVALSHA" | "EVALSHA_RO" => {
                let sha = eval::sha_of(script)?;
                self.scripts.cache.by_sha(&sha).map(|script| script.flags)
            }
            _ if script.starts_with(b"#!") => eval::shebang(script).ok().map(|(flags, _)| flags),
            _ => None,
        }
    }

    /// Whether a script may begin. `read_only` is what the command that calls it says.
    pub(super) fn admit_script(
        &mut self,
        client: SessionId,
        flags: ScriptFlags,
        read_only: bool,
    ) -> Result<Running, CommandError> {
        let obeyed = self.sessions[client].replaying;
        let out_of_memory = self.settings.maxmemory != 0
            && !self.persistence.loading
            && !obeyed
            && !self.make_room();
        let writes = !flags.contains(ScriptFlags::NO_WRITES);
        if flags.contains(ScriptFlags::COMPATIBLE) {
            if self.is_stale() {
                return Err(STALE);
            }
        } else {
            if out_of_memory && writes && !flags.contains(ScriptFlags::ALLOW_OOM) {
                return Err(OUT_OF_MEMORY);
            }
            if self.is_stale() && !flags.contains(ScriptFlags::ALLOW_STALE) {
                return Err(CommandError::text(
                    "MASTERDOWN Link with MASTER is down, replica-serve-stale-data is set to 'no' \
                     and 'allow-stale' flag is not set on the script.",
                ));
            }
            if writes && read_only {
                return Err(CommandError::text(
                    "ERR Can not execute a script with write flag using *_ro command.",
                ));
            }
            if writes && !obeyed {
                if self.refuses_writes() {
                    return Err(ON_REPLICA);
                }
                self.check_disk()?;
                self.check_replicas()?;
                self.check_quorum()?;
            }
        }
        let flags = if read_only { flags | ScriptFlags::NO_WRITES } else { flags };
        let recording = self.databases.unit.recording;
        let began = self.env.stopwatch.ticks();
        let overdue_at = began.saturating_add(self.script_ticks_max());
        Ok(Running {
            client,
            flags,
            out_of_memory,
            wrote: false,
            obeyed,
            is_function: false,
            began,
            looked_at: began,
            overdue_at,
            recording,
        })
    }

    /// How long a script may run before it is too long, in ticks of the stopwatch.
    #[inline]
    fn script_ticks_max(&mut self) -> u64 {
        let millis = self.settings.busy_reply_threshold;
        // Reckoned once: it costs a division of 128 bits.
        if self.scripts.threshold.0 != millis {
            let ticks = self.env.stopwatch.ticks_of(millis.saturating_mul(1000));
            self.scripts.threshold = (millis, if millis == 0 { u64::MAX } else { ticks });
        }
        self.scripts.threshold.1
    }

    /// The command that a script calls, where it may.
    pub(super) fn admit_call(&mut self, args: Args<'_>) -> Result<CommandId, CommandError> {
        const UNKNOWN: CommandError =
            CommandError::text("ERR Unknown Redis command called from script");
        let command = self.registry.resolve(args).ok_or(UNKNOWN)?;
        let entry = &self.registry[command];
        if !entry.subcommands.is_empty() && args.len() > 1 {
            return Err(UNKNOWN);
        }
        if !entry.spec.arity.admits(args.len()) {
            return Err(CommandError::text(
                "ERR Wrong number of args calling Redis command from script",
            ));
        }
        let flags = entry.spec.flags;
        if flags.contains(Flags::NOSCRIPT) && !self.scripts.all_allowed {
            return Err(CommandError::text("ERR This Redis command is not allowed from script"));
        }
        let Some(running) = &self.scripts.running else { return Err(UNKNOWN) };
        let running = *running;
        if self.persistence.loading && !flags.contains(Flags::LOADING) && !running.obeyed {
            return Err(LOADING);
        }
        if !flags.contains(Flags::STALE) && self.is_stale() {
            return Err(CommandError::text("ERR Can not execute the command on a stale replica"));
        }
        if flags.intersects(Flags::WRITE.union(Flags::MAY_REPLICATE)) {
            if running.flags.contains(ScriptFlags::NO_WRITES) {
                return Err(CommandError::text(
                    "ERR Write commands are not allowed from read-only scripts.",
                ));
            }
            if flags.contains(Flags::WRITE) {
                self.admit_writing_call(running)?;
            }
        }
        if flags.contains(Flags::DENYOOM)
            && running.out_of_memory
            && !running.wrote
            && !running.flags.contains(ScriptFlags::ALLOW_OOM)
        {
            return Err(OUT_OF_MEMORY);
        }
        if let Some(running) = &mut self.scripts.running
            && flags.contains(Flags::WRITE)
        {
            running.wrote = true;
        }
        Ok(command)
    }

    fn admit_writing_call(&self, running: Running) -> Result<(), CommandError> {
        if running.obeyed {
            return Ok(());
        }
        if self.refuses_writes() {
            return Err(ON_REPLICA);
        }
        // What has begun to write goes on: half of it would be worse.
        if running.wrote {
            return Ok(());
        }
        self.check_disk()?;
        self.check_replicas()?;
        self.check_quorum()
    }
}
