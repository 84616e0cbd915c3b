//! CONFIG, and what a changed setting leads to.

use crate::command::args::Args;
use crate::command::error::{self, CommandError};
use crate::command::secrets::Secrets;
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Command, Flags, Flow, Group, control,
};
use crate::config::directives::Directive;
use crate::config::rewrite::{self, Scope};
use crate::config::settings::Settings;
use crate::config::{self, ConfigError, Origin};
use crate::engine::session::Doing;
use crate::engine::show::row;
use crate::engine::{ControlHandler, Engine, container};
use crate::keyspace::databases::KeyspaceStats;
use crate::mailbox::SessionId;

const ADMIN: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE);
const ALL_NODES: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

/// The row of this family.
pub(crate) const COMMANDS: &[Command<ControlHandler>] =
    &[control("CONFIG", AtLeast(2), container as ControlHandler)
        .group(Group::Server)
        .since("2.0.0")
        .cost("That of the subcommand")
        .summary("Reads and changes the configuration.")
        .subcommands(&[
            row("GET", AtLeast(3), get, ADMIN, "2.0.0")
                .cost("O(N) for N names given")
                .syntax("parameter [parameter ...]")
                .summary("Replies with the settings that match patterns.")
                .history(&[("7.0.0", "Takes several patterns.")]),
            row("HELP", Exactly(2), help, Flags::LOADING.union(Flags::STALE), "5.0.0")
                .summary("Lists the subcommands."),
            row("RESETSTAT", Exactly(2), reset_statistics, ADMIN, "2.0.0")
                .summary("Sets the counters that INFO shows to zero."),
            row("REWRITE", Exactly(2), rewrite_file, ADMIN, "2.8.0")
                .summary("Writes the settings in force into the configuration file."),
            row("SET", AtLeast(4), set, ADMIN, "2.0.0")
                .secrets(&Secrets::Settings(2))
                .cost("O(N) for N names given")
                .tips(ALL_NODES)
                .syntax("parameter value [parameter value ...]")
                .summary("Changes settings, all of those given or none.")
                .history(&[("7.0.0", "Takes several pairs, and sets all or none.")])
                .deviates(&["the unix socket can't change while the server runs"]),
        ])];

const HELP: &[&str] = &[
    "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET <pattern>",
    "    The settings whose names match <pattern>, with their values.",
    "SET <directive> <value>",
    "    Change the setting <directive> to <value>.",
    "RESETSTAT",
    "    Set the counters that INFO shows to zero.",
    "REWRITE",
    "    Write the settings in force into the configuration file.",
    "HELP",
    "    Print this help.",
];

fn help(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.sessions[slot].reply().status_lines(HELP.iter().copied());
    Ok(Flow::Done)
}

fn get(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let patterns: Vec<&[u8]> = args.from(2).collect();
    let found = config::get(&engine.settings, &patterns);
    let mut reply = engine.sessions[slot].reply();
    reply.map(found.len());
    for (name, value) in found {
        reply.bulk(&name);
        reply.bulk(&value);
    }
    Ok(Flow::Done)
}

fn set(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    let words: Vec<&[u8]> = args.from(2).collect();
    let pairs: Vec<(&[u8], &[u8])> = words.chunks(2).map(|pair| (pair[0], pair[1])).collect();
    let link = engine.sessions[slot].link.as_ref();
    let origin = Origin {
        local: link.is_none_or(|link| link.origin.is_local()),
        loading: engine.persistence.loading || engine.persistence.loads_beside(),
    };
    let mut wanted = engine.settings.clone();
    let changed = config::set(&mut wanted, &pairs, origin).map_err(refusal)?;
    if changed.iter().any(|row| row.name == "repl-backlog-size") {
        wanted.repl_backlog_size = wanted.repl_backlog_size.max(BACKLOG_BYTES_MIN);
    }
    let old = std::mem::replace(&mut engine.settings, wanted);
    if let Err(error) = engine.apply_changes(slot, &old, &changed) {
        engine.settings = old;
        engine.apply_settings();
        return Err(refusal(error));
    }
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

/// A smaller backlog can only be had by the configuration file, as upstream has it.
const BACKLOG_BYTES_MIN: u64 = 16 << 10;

/// Names are quoted byte for byte, as they came.
const UNKNOWN_SETTING: &[u8] = b"ERR Unknown option or number of arguments for CONFIG SET - '";

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn refusal(error: ConfigError) -> CommandError {
    match &error {
        ConfigError::Unknown(name) => {
            CommandError::quoting([UNKNOWN_SETTING, error::quotable(name), b"'"].concat())
        }
        _ => CommandError::owned(error.to_string()),
    }
}

fn reset_statistics(
    engine: &mut Engine,
    slot: SessionId,
    _: Args<'_>,
) -> Result<Flow, CommandError> {
    engine.metrics.reset();
    engine.databases.stats = KeyspaceStats::default();
    engine.databases.reclaimer.reset_freed();
    engine.evict.reset();
    engine.replication.reset_counts();
    if let Some(log) = &mut engine.log {
        log.reset_delayed_syncs();
    }
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

fn rewrite_file(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    engine.rewrite_config(Scope::Changed)?;
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

impl Engine {
    /// Brings the configuration file up to date.
    pub(in crate::engine) fn rewrite_config(&mut self, scope: Scope) -> Result<(), CommandError> {
        let Some(path) = &self.config_file else {
            return Err(CommandError::text("ERR The server is running without a config file"));
        };
        match rewrite::rewrite_file(&*self.env.disk, path, &self.settings, scope) {
            Ok(()) => {
                tracing::info!("CONFIG REWRITE executed with success.");
                Ok(())
            }
            Err(error) => {
                tracing::warn!("CONFIG REWRITE failed: {error}");
                Err(CommandError::owned(format!("ERR Rewriting config file: {error}")))
            }
        }
    }

    /// Does what the new settings ask for. After an error the caller puts the old ones back.
    fn apply_changes(
        &mut self,
        slot: SessionId,
        old: &Settings,
        changed: &[&'static Directive],
    ) -> Result<(), ConfigError> {
        self.apply_settings();
        // What can fail goes first, the hardest to take back last.
        let is_changed = |name: &str| changed.iter().any(|row| row.name == name);
        let (mut moved, mut entered) = (false, false);
        for name in ["port", "bind", "maxclients", "dir", "appendonly"] {
            // Both at once are one move.
            if !is_changed(name) || (moved && name == "bind") {
                continue;
            }
            if let Err(reason) = self.apply_fallible(slot, name, old) {
                if moved && let Some(relisten) = &mut self.outside.relisten {
                    // Back to where the clients know us; should that fail, it is in the log.
                    if let Err(error) = (relisten.0)(&self.settings, old) {
                        tracing::error!("Can't listen where it did before: {error}");
                    }
                }
                if entered && let Err(error) = old.clone().enter_directory() {
                    tracing::error!("Can't go back to {}: {error}", old.dir.display());
                }
                return Err(ConfigError::apply(name, reason));
            }
            moved |= matches!(name, "port" | "bind");
            entered |= name == "dir";
        }
        let options = self.log_options();
        if let Some(log) = &mut self.log {
            log.set_options(options);
        }
        self.open_gates();
        for row in changed {
            match row.name {
                // Not here: this may be part of a transaction, and what goes is no part of it.
                "maxmemory" | "maxmemory-policy" => self.begin_eviction(),
                "maxmemory-clients" => self.evict.clients_due = true,
                "loglevel" => {
                    if let Some(log) = &self.outside.log_handle {
                        log.set_level(self.settings.loglevel);
                    }
                }
                "log-format" | "log-timestamp-format" => {
                    if let Some(log) = &self.outside.log_handle {
                        let settings = &self.settings;
                        log.set_format(settings.log_format, settings.log_timestamp_format);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Does what a changed directive asks for, where that can fail.
    fn apply_fallible(
        &mut self,
        slot: SessionId,
        name: &str,
        old: &Settings,
    ) -> Result<(), String> {
        match name {
            "port" => {
                self.listen_elsewhere(old, "Unable to listen on this port. Check server logs.")
            }
            "bind" => self.listen_elsewhere(old, "Failed to bind to specified addresses."),
            "maxclients" if self.settings.maxclients > old.maxclients => {
                let wanted = self.settings.maxclients;
                let fitting = crate::base::process::raise_file_limit(wanted);
                match fitting.unwrap_or(old.maxclients) {
                    fitting if fitting >= wanted => Ok(()),
                    fitting => Err(format!(
                        "The operating system is not able to handle the specified number of \
                         clients, try with {fitting}"
                    )),
                }
            }
            "dir" => self.settings.enter_directory().map_err(|error| error_text(&error)),
            "appendonly"
                if self.settings.appendonly && self.sessions[slot].doing == Doing::Exec =>
            {
                // The log's first base has a transaction wholly or not at all.
                self.persistence.wanted.first_base.ask();
                Ok(())
            }
            "appendonly" if self.settings.appendonly => self.start_log(),
            "appendonly" => self.stop_log(),
            _ => Ok(()),
        }
    }
}

impl Engine {
    /// Listens as the new settings say; where that fails, goes on as before.
    fn listen_elsewhere(&mut self, old: &Settings, refusal: &str) -> Result<(), String> {
        let Some(relisten) = &mut self.outside.relisten else { return Ok(()) };
        (relisten.0)(old, &self.settings).map_err(|reason| {
            tracing::warn!("{reason}");
            refusal.to_owned()
        })
    }
}

/// The operating system's words, without the number that Rust adds.
fn error_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
