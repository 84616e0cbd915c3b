//! The store actor: one task that owns all data and every session, and executes what the mailbox
//! brings, a tick at a time.
//!
//! A request's way through here: [`actor`] takes a tick's messages and prefetches their keys;
//! [`admit`] decides whether a command may run; [`execute`] runs it; [`commit`] turns what it
//! changed into log records; at the end of the tick the log is written once and [`output`] writes
//! each session's replies. [`transaction`] queues and runs MULTI; [`cron`] does what time brings;
//! [`pubsub`] and [`notify`] bring messages to those who listen;
//! [`persistence`] drives snapshot and rewrite; [`startup`] builds an engine and loads its data.
//!
//! Invariant: nothing else changes data, and nothing here awaits.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::env::{Env, Rng, UnixMillis};
use crate::base::logging::LogHandle;
use crate::command::args::Args;
use crate::command::context::Limits;
use crate::command::error::CommandError;
use crate::command::spec::{Command, Flow};
use crate::config::settings::Settings;
use crate::engine::registry::Registry;
use crate::engine::session::{LogOffset, Sessions};
use crate::keyspace::databases::Databases;
use crate::mailbox::{Mailbox, SessionId};
use crate::metrics::Metrics;
use crate::persist::log::Log;

pub mod acknowledge;
pub mod actor;
pub mod admit;
pub mod block;
pub mod client;
pub mod client_list;
pub mod commit;
pub mod compat;
mod compat_names;
pub mod configure;
pub mod connection;
pub mod cron;
pub mod debug;
pub mod debug_protocol;
mod debug_values;
pub mod evict;
pub mod execute;
pub mod info;
pub mod info_memory;
pub mod info_stats;
pub mod introspect;
pub mod introspect_reply;
pub mod load_slices;
pub mod loading;
mod log_switch;
pub mod notify;
pub mod observe;
pub mod output;
pub mod pacing;
pub mod pause;
pub mod persistence;
pub mod pubsub;
pub mod registry;
mod save;
pub mod server_commands;
pub mod session;
pub mod shutdown;
pub mod startup;
pub mod transaction;
mod walk_buffer;

/// The code of a control command.
pub type ControlHandler = fn(&mut Engine, SessionId, Args<'_>) -> Result<Flow, CommandError>;

/// A container's own code: what runs when no subcommand matches; the engine has answered that before it gets here.
pub(crate) fn container(_: &mut Engine, _: SessionId, _: Args<'_>) -> Result<Flow, CommandError> {
    Err(CommandError::Syntax)
}

/// The rows of the control commands, by family.
pub fn families() -> &'static [&'static [Command<ControlHandler>]] {
    &[
        transaction::COMMANDS,
        connection::COMMANDS,
        client::COMMANDS,
        configure::COMMANDS,
        introspect::COMMANDS,
        info::COMMANDS,
        observe::COMMANDS,
        pubsub::COMMANDS,
        server_commands::COMMANDS,
        acknowledge::COMMANDS,
        save::COMMANDS,
        shutdown::COMMANDS,
        debug::COMMANDS,
    ]
}

/// How the sockets above are told to listen elsewhere: settings in force, wanted ones, why not.
pub struct Relisten(pub Box<dyn FnMut(&Settings, &Settings) -> Result<(), String>>);

impl std::fmt::Debug for Relisten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Relisten")
    }
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
    pub now_micros: i64,
    /// When the server started, in microseconds since the epoch.
    pub started_micros: i64,
    /// A number of 40 hexadecimal digits that is another at each start.
    pub run_id: String,
    /// What names the history of changes to replicas.
    pub replication_id: String,
    /// Clients that wait.
    pub blocking: block::State,
    /// Who listens to what.
    pub pubsub: pubsub::State,
    /// CLIENT PAUSE.
    pub pause: pause::Pause,
    /// `maxmemory`.
    pub evict: evict::State,
    /// What time brings.
    pub cron: cron::State,
    /// A shutdown under way, or asked for.
    pub shutdown: shutdown::State,
    /// The process's own log, where it has one: CONFIG SET loglevel.
    pub log_handle: Option<LogHandle>,
    /// What listens on `port` and `bind`, where anything does: CONFIG SET.
    pub relisten: Option<Relisten>,
    /// The session that the log is replayed with.
    pub loader: SessionId,
    next_client_id: u64,
    /// Sessions whose replies wait for the log, by the offset they wait for.
    waiting: VecDeque<(LogOffset, SessionId)>,
    spares: output::Spares,
    /// How other threads wake the actor.
    remote: Arc<loading::RemoteWake>,
    tick: actor::Tick,
}

impl Engine {
    /// The time that the current unit sees.
    #[inline]
    pub fn now(&self) -> UnixMillis {
        UnixMillis(self.now_micros / 1000)
    }

    /// Reads the clock for the next unit.
    #[inline]
    pub fn refresh_time(&mut self) {
        self.now_micros = self.env.clock.unix_micros();
        self.databases.set_now(self.now());
    }
}
