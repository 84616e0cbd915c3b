//! The store actor: one task that owns all data and every session, and executes what the mailbox
//! brings, a tick at a time.
//!
//! By duty: [`tick`] runs commands and commits them, [`session`] is all about clients, [`keep`] about
//! files (snapshot, log, loading, shutdown), [`show`] about telling and configuring. [`registry`]
//! resolves names to commands.
//!
//! Invariant: nothing else changes data, and nothing here awaits.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::env::{Env, Rng, SteadyMillis, UnixMillis};
use crate::base::logging::LogHandle;
use crate::command::args::Args;
use crate::command::context::Limits;
use crate::command::error::CommandError;
use crate::command::spec::{Command, Flow};
use crate::config::settings::Settings;
use crate::engine::keep::{loading, persistence, save_commands, shutdown};
use crate::engine::registry::Registry;
use crate::engine::replicate::{causal, failover, follow, primary};
use crate::engine::script::{eval, functions};
use crate::engine::session::Sessions;
use crate::engine::session::{blocking, client, connection, copies, output, pause, pubsub};
use crate::engine::show::{
    command_info, command_log, configure, debug, diagnose, hotkeys, info, latency, modules,
    monitor, server_facts,
};
use crate::engine::tick::{actor, cron, evict, observe, transaction};
use crate::journal::Journal;
use crate::keyspace::databases::Databases;
use crate::mailbox::{Courier, Mailbox, SessionId, Uplink, UplinkOrder};
use crate::metrics::Metrics;
use crate::persist::log::Log;

pub mod compat_names;
pub mod keep;
pub(crate) mod migrate;
pub mod registry;
pub(crate) mod replicate;
pub mod script;
pub(crate) mod session;
pub(crate) mod show;
pub mod tick;

/// The code of a control command.
pub(crate) type ControlHandler = fn(&mut Engine, SessionId, Args<'_>) -> Result<Flow, CommandError>;

/// A container's own code, for when no subcommand matches. It isn't reached: the engine refuses such a
/// request before (`tick/admit`).
pub(crate) fn container(_: &mut Engine, _: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    Err(CommandError::Syntax)
}

/// The rows of the control commands, by family.
pub(crate) fn families() -> &'static [&'static [Command<ControlHandler>]] {
    &[
        transaction::COMMANDS,
        connection::COMMANDS,
        client::COMMANDS,
        configure::COMMANDS,
        command_info::COMMANDS,
        info::COMMANDS,
        diagnose::COMMANDS,
        command_log::COMMANDS,
        latency::COMMANDS,
        hotkeys::COMMANDS,
        pubsub::COMMANDS,
        modules::COMMANDS,
        monitor::COMMANDS,
        server_facts::COMMANDS,
        copies::COMMANDS,
        save_commands::COMMANDS,
        shutdown::COMMANDS,
        debug::COMMANDS,
        primary::COMMANDS,
        follow::COMMANDS,
        causal::COMMANDS,
        failover::COMMANDS,
        migrate::COMMANDS,
        eval::COMMANDS,
        functions::COMMANDS,
    ]
}

/// How the sockets above are told to listen elsewhere: settings in force, wanted ones, why not.
pub(crate) struct Relisten(pub(crate) Box<dyn FnMut(&Settings, &Settings) -> Result<(), String>>);

impl std::fmt::Debug for Relisten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Relisten")
    }
}

/// Begins a link to a primary.
pub(crate) struct Dial(pub(crate) Box<dyn Fn(UplinkOrder) -> Box<dyn Uplink>>);

impl std::fmt::Debug for Dial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dial")
    }
}

/// Sends errands to other servers.
pub(crate) struct SendErrand(pub(crate) Box<dyn Courier>);

impl std::fmt::Debug for SendErrand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SendErrand")
    }
}

/// What there is around the server: nothing in a test that has only an engine.
#[derive(Debug, Default)]
pub struct Outside {
    /// The process's own log: CONFIG SET loglevel.
    pub log_handle: Option<LogHandle>,
    /// What listens on `port` and `bind`: CONFIG SET.
    pub(crate) relisten: Option<Relisten>,
    /// How links to a primary are made.
    pub(crate) dial: Option<Dial>,
    /// How MIGRATE reaches other servers.
    pub(crate) courier: Option<SendErrand>,
}

/// Everything the server is.
#[derive(Debug)]
pub struct Engine {
    /// Time, randomness and disk.
    pub env: Env,
    /// The configuration in force.
    pub settings: Settings,
    /// The configuration file, where there is one.
    pub config_file: Option<PathBuf>,
    /// Bounds that handlers look at, from the settings.
    pub limits: Limits,
    /// All commands.
    pub registry: Registry,
    /// All data.
    pub databases: Databases,
    /// All clients.
    pub sessions: Sessions,
    /// The log, where `appendonly` is on.
    pub log: Option<Log>,
    /// Snapshots, rewrites, and what is known of the last ones.
    pub persistence: persistence::State,
    /// Counters.
    pub metrics: Metrics,
    /// Randomness for commands.
    pub rng: Rng,
    /// How connections reach the actor.
    pub mailbox: Rc<Mailbox>,
    /// The time that the current unit sees, in microseconds since the epoch.
    pub(crate) now_micros: i64,
    /// When the server started, in microseconds since the epoch.
    pub(crate) started_micros: i64,
    /// A number of 40 hexadecimal digits that is another at each start.
    pub(crate) run_id: String,
    /// All changes as a stream.
    pub journal: Journal,
    /// Replicas.
    pub(crate) replication: replicate::State,
    /// Clients that wait.
    pub blocking: blocking::State,
    /// Who listens to what.
    pub pubsub: pubsub::State,
    /// What looks at commands as they run.
    pub(crate) observe: observe::State,
    /// CLIENT PAUSE.
    pub pause: pause::Pause,
    /// `maxmemory`.
    pub evict: evict::State,
    /// What time brings.
    pub cron: cron::State,
    /// A shutdown under way, or asked for.
    pub shutdown: shutdown::State,
    /// What there is around the server.
    pub outside: Outside,
    /// The session that the log is replayed with.
    pub(crate) loader: SessionId,
    /// Scripts.
    pub scripts: script::State,
    /// Replies under way.
    output: output::State,
    /// How other threads wake the actor.
    remote: Arc<loading::RemoteWake>,
    tick: actor::Tick,
}

impl Engine {
    /// The time that the current unit sees.
    #[inline]
    pub(crate) fn now(&self) -> UnixMillis {
        UnixMillis(self.now_micros / 1000)
    }

    /// The same time on the clock that never goes back.
    #[inline]
    pub(crate) fn steady(&self) -> SteadyMillis {
        self.tick.steady
    }

    /// Reads the clocks for the next unit.
    #[inline]
    pub fn refresh_time(&mut self) {
        self.now_micros = self.env.clock.unix_micros();
        self.tick.steady = SteadyMillis((self.env.clock.monotonic_nanos() / 1_000_000) as i64);
        self.databases.set_now(self.now());
        if self.pause.until.is_some() {
            self.follow_expiry_mode();
        }
    }
}
