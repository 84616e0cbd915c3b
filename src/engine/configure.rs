//! CONFIG: the settings read, changed and written back while the server runs.

use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Command, Flags, Flow, Group, control,
};
use crate::config::change::{self, ConfigError, Origin};
use crate::config::rewrite::{self, Scope};
use crate::config::settings::Settings;
use crate::engine::{ControlHandler, Engine};
use crate::mailbox::SessionId;

/// The rows of this family.
pub const COMMANDS: &[Command<ControlHandler>] =
    &[control("CONFIG", AtLeast(2), container as ControlHandler)
        .group(Group::Server)
        .since("2.0.0")
        .cost("Depends on subcommand.")
        .summary("A container for commands on the configuration.")
        .subcommands(SUBCOMMANDS)];

const fn row(
    name: &'static str,
    arity: crate::command::spec::Arity,
    run: ControlHandler,
) -> Command<ControlHandler> {
    control(name, arity, run)
        .group(Group::Server)
        .flags(Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE))
}

const SUBCOMMANDS: &[Command<ControlHandler>] = &[
    row("GET", AtLeast(3), get)
        .since("2.0.0")
        .cost("O(N) when N is the number of configuration parameters provided")
        .syntax("parameter [parameter ...]")
        .summary("Replies with the values of directives.")
        .history(&[("7.0.0", "Added the ability to pass multiple pattern parameters in one call")]),
    control("HELP", Exactly(2), help as ControlHandler)
        .group(Group::Server)
        .flags(Flags::LOADING.or(Flags::STALE))
        .since("5.0.0")
        .summary("Replies with help about CONFIG."),
    row("RESETSTAT", Exactly(2), resetstat)
        .since("2.0.0")
        .summary("Sets the counters of INFO back."),
    row("REWRITE", Exactly(2), rewrite_file)
        .since("2.8.0")
        .summary("Writes the settings in force to the configuration file."),
    row("SET", AtLeast(4), set)
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .since("2.0.0")
        .cost("O(N) when N is the number of configuration parameters provided")
        .syntax("parameter value [parameter value ...]")
        .summary("Changes directives, all or none.")
        .history(&[("7.0.0", "Added the ability to set multiple parameters in one call.")]),
];

type Handled = Result<Flow, CommandError>;

fn container(_: &mut Engine, _: SessionId, _: Args<'_>) -> Handled {
    Err(CommandError::Arity("config".into()))
}

fn help(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    engine.reply_help(slot, "CONFIG", SUBCOMMANDS);
    Ok(Flow::Done)
}

fn get(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    let patterns: Vec<&[u8]> = args.from(2).collect();
    let found = change::get(&engine.settings, &patterns);
    let mut reply = engine.sessions[slot].reply();
    reply.map(found.len());
    for (name, value) in found {
        reply.bulk(&name);
        reply.bulk(&value);
    }
    Ok(Flow::Done)
}

fn set(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Handled {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::Arity("config|set".into()));
    }
    let pairs: Vec<(&[u8], &[u8])> =
        (2..args.len()).step_by(2).map(|index| (args.at(index), args.at(index + 1))).collect();
    let local = engine.sessions[slot].link.as_ref().is_none_or(|link| link.origin.is_local());
    let origin = Origin { local, loading: engine.persistence.loading };
    engine
        .change_settings(&pairs, origin)
        .map_err(|error| CommandError::owned(error.to_string()))?;
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

fn resetstat(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    engine.metrics.reset();
    engine.databases.stats = crate::keyspace::databases::KeyspaceStats::default();
    engine.databases.reclaimer.reset_freed();
    engine.evict.evicted = 0;
    if let Some(log) = &mut engine.log {
        log.reset_delayed_syncs();
    }
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

fn rewrite_file(engine: &mut Engine, slot: SessionId, _: Args<'_>) -> Handled {
    let Some(path) = engine.config_file.clone() else {
        return Err(CommandError::text("ERR The server is running without a config file"));
    };
    let written = rewrite::rewrite_file(&*engine.env.disk, &path, &engine.settings, Scope::Changed);
    if let Err(error) = written {
        tracing::warn!("CONFIG REWRITE failed: {error}");
        return Err(CommandError::owned(format!("ERR Rewriting config file: {error}")));
    }
    tracing::info!("CONFIG REWRITE executed with success.");
    engine.sessions[slot].reply().ok();
    Ok(Flow::Done)
}

impl Engine {
    /// Changes settings and puts them in force, all or none.
    pub(super) fn change_settings(
        &mut self,
        pairs: &[(&[u8], &[u8])],
        origin: Origin,
    ) -> Result<(), ConfigError> {
        let before = self.settings.clone();
        let changed = change::set(&mut self.settings, pairs, origin)?;
        let names: Vec<&str> = changed.iter().map(|row| row.name).collect();
        for name in &names {
            if let Err(reason) = self.put_in_force(name, &before) {
                let error = ConfigError::apply(name, reason);
                self.settings = before;
                self.apply_settings();
                return Err(error);
            }
        }
        self.apply_settings();
        Ok(())
    }

    /// What a changed directive needs beyond being looked at.
    fn put_in_force(&mut self, name: &str, before: &Settings) -> Result<(), String> {
        match name {
            "appendonly" if self.settings.appendonly && !before.appendonly => self.start_log(),
            "appendonly" => {
                self.stop_log();
                Ok(())
            }
            "dir" => self
                .settings
                .enter_directory()
                .map_err(|error| format!("Changing directory: {error}")),
            "loglevel" => {
                if let Some(log) = &self.log_handle {
                    log.set_level(self.settings.loglevel);
                }
                Ok(())
            }
            "log-format" | "log-timestamp-format" => {
                if let Some(log) = &self.log_handle {
                    log.set_format(self.settings.log_format, self.settings.log_timestamp_format);
                }
                Ok(())
            }
            "bind" | "port" | "tcp-backlog"
                if self.settings.port != before.port || self.settings.bind != before.bind =>
            {
                Err("Redstart can't change where it listens while it runs yet".into())
            }
            "maxclients" => {
                match crate::base::process::raise_file_limit(self.settings.maxclients) {
                    Ok(fitting) if fitting >= self.settings.maxclients => Ok(()),
                    Ok(fitting) => Err(format!(
                        "The operating system is not able to handle the specified number of clients, \
                     try with {fitting}"
                    )),
                    Err(error) => Err(error.to_string()),
                }
            }
            _ => Ok(()),
        }
    }
}
