//! Building an engine from its settings.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::env::{Env, Rng};
use crate::command::context::Limits;
use crate::config::kinds::EvictionPolicy;
use crate::config::renames::CommandNames;
use crate::config::settings::Settings;
use crate::data::thresholds::Thresholds;
use crate::engine::compat_names::UPSTREAM;
use crate::engine::keep::{persistence, shutdown};
use crate::engine::registry::Registry;
use crate::engine::session::{Session, Sessions};
use crate::engine::session::{output, pause, pubsub};
use crate::engine::tick::{actor, cron, evict, observe};
use crate::engine::{Engine, Outside};
use crate::journal::{Journal, ReplicationId};
use crate::keyspace::databases::{Databases, Policy};
use crate::keyspace::reclaim::Reclaimer;
use crate::mailbox::Mailbox;
use crate::metrics::Metrics;

/// The names of all commands that `rename-command` may be given: ours, and those that only upstream
/// has.
pub fn command_names() -> CommandNames {
    let registry = Registry::new();
    let ours = registry.iter().filter(|(_, entry)| entry.parent.is_none());
    let upstream = UPSTREAM.iter().flat_map(|(_, names)| names.iter().copied());
    let upstream = upstream.filter(|name| !name.contains(' '));
    ours.map(|(_, entry)| entry.spec.name).chain(upstream).collect()
}

impl Engine {
    /// An engine without data. `mailbox` is how connections reach it.
    pub fn new(
        env: Env,
        settings: Settings,
        config_file: Option<PathBuf>,
        mailbox: Rc<Mailbox>,
    ) -> Self {
        let mut registry = Registry::new();
        for (from, to) in &settings.rename_command {
            if !registry.rename(from, to) {
                tracing::warn!(
                    "rename-command has no effect on a command that isn't there yet: {}",
                    String::from_utf8_lossy(from)
                );
            }
        }
        let reclaimer =
            if env.threads.are_real() { Reclaimer::with_thread() } else { Reclaimer::default() };
        let mut rng = Rng::from_seed(env.seed);
        let databases = Databases::new(settings.databases as u32, rng.next_u64(), reclaimer);
        let run_id = hex_id(&mut rng);
        let journal = Journal::new(ReplicationId::random(&mut rng));
        let loader = mailbox.reserve();
        let applier = mailbox.reserve();
        let caller = mailbox.reserve();
        let now_micros = env.clock.unix_micros();
        let metrics = Metrics::new(registry.len());
        let mut engine = Self {
            limits: Limits::default(),
            registry,
            databases,
            sessions: Sessions::default(),
            log: None,
            outside: Outside::default(),
            persistence: persistence::State::default(),
            replication: crate::engine::replicate::State::new(applier),
            metrics,
            rng,
            now_micros,
            started_micros: now_micros,
            run_id,
            journal,
            blocking: crate::engine::session::blocking::State::default(),
            pubsub: pubsub::State::default(),
            observe: observe::State::default(),
            pause: pause::Pause::default(),
            evict: evict::State::default(),
            cron: cron::State::new(settings.hz),
            shutdown: shutdown::State::default(),
            loader,
            scripts: crate::engine::script::State::new(caller),
            output: output::State::default(),
            remote: Arc::default(),
            tick: actor::Tick::default(),
            env,
            settings,
            config_file,
            mailbox,
        };
        engine.refresh_time();
        let now = engine.steady();
        let mut session = Session::new(loader, 0, now);
        session.replaying = true;
        engine.sessions.insert(session);
        let mut session = Session::new(applier, 0, now);
        session.replaying = true;
        engine.sessions.insert(session);
        engine.sessions.insert(Session::new(caller, 0, now));
        engine.apply_settings();
        engine.cron.startup_memory = engine.used_memory();
        engine
    }

    /// Takes over what the settings say wherever a copy of it is kept. Called at the start and
    /// after CONFIG SET.
    pub(crate) fn apply_settings(&mut self) {
        let settings = &self.settings;
        let lfu = matches!(
            settings.maxmemory_policy,
            EvictionPolicy::AllkeysLfu | EvictionPolicy::VolatileLfu
        );
        self.limits = Limits {
            string_bytes_max: settings.proto_max_bulk_len,
            databases: settings.databases as u32,
            lazy_user_del: settings.lazyfree_lazy_user_del,
            lazy_user_flush: settings.lazyfree_lazy_user_flush,
            lfu,
            rdb_version: settings.rdb_version as u16,
            payload_checksum: self.limits.payload_checksum,
            thresholds: Thresholds {
                hash_entries: settings.hash_max_listpack_entries as usize,
                hash_value: settings.hash_max_listpack_value as usize,
                list_size: settings.list_max_listpack_size,
                set_ints: settings.set_max_intset_entries as usize,
                set_entries: settings.set_max_listpack_entries as usize,
                set_value: settings.set_max_listpack_value as usize,
                zset_entries: settings.zset_max_listpack_entries as usize,
                zset_value: settings.zset_max_listpack_value as usize,
                stream_node_bytes: settings.stream_node_max_bytes as usize,
                stream_node_entries: settings.stream_node_max_entries as usize,
                hll_sparse_bytes: settings.hll_sparse_max_bytes as usize,
            },
        };
        self.databases.policy = Policy {
            lfu,
            lfu_log_factor: settings.lfu_log_factor as u32,
            lfu_decay_minutes: settings.lfu_decay_time as u32,
            lazy_expire: settings.lazyfree_lazy_expire,
            lazy_server_del: settings.lazyfree_lazy_server_del,
        };
        self.mailbox.set_query_buffer_max(settings.client_query_buffer_limit as usize);
        self.mailbox.set_arrivals_max(settings.max_new_connections_per_cycle as usize);
        self.mailbox.set_opening_bounds(crate::resp::request::Bounds {
            bulk_max: settings.proto_max_bulk_len as i64,
            authenticated: settings.requirepass.is_empty(),
        });
        self.cron.set_hz(settings.hz);
        self.journal.resize_backlog(settings.repl_backlog_size);
        self.note_writable_replica();
        let options = self.log_options();
        if let Some(log) = &mut self.log {
            log.set_options(options);
        }
        self.open_gates();
        self.observe_events();
        self.apply_slow_threshold();
        self.apply_command_log();
        for slot in self.sessions.client_slots() {
            let session = &self.sessions[slot];
            if let Some(link) = &session.link {
                link.set_bounds(crate::resp::request::Bounds {
                    bulk_max: self.settings.proto_max_bulk_len as i64,
                    authenticated: session.authenticated,
                });
            }
        }
    }
}

/// 40 random hexadecimal digits.
pub(crate) fn hex_id(rng: &mut Rng) -> String {
    let mut id = String::with_capacity(48);
    while id.len() < 40 {
        id.push_str(&format!("{:016x}", rng.next_u64()));
    }
    id.truncate(40);
    id
}
