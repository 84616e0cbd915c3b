//! INFO: the server in `name:value` lines, section by section. Names are upstream's where the figure
//! has a meaning here; memory has a file of its own, `info_memory`.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::LazyLock;

use crate::base::env::Rng;
use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::spec::{Arity, Command, Flags, Flow, Group, control};
use crate::config::{REDIS_VERSION, VERSION};
use crate::engine::keep::walks::Walk;
use crate::engine::replicate::follow::{Stage, Upstream};
use crate::engine::replicate::primary::replica_address;
use crate::engine::show::{info_memory, info_stats};
use crate::engine::{ControlHandler, Engine};
use crate::keyspace::table::Table;
use crate::mailbox::SessionId;

/// The row of this family.
pub(crate) const COMMANDS: &[Command<ControlHandler>] =
    &[control("INFO", Arity::AtLeast(1), info as ControlHandler)
        .group(Group::Server)
        .flags(Flags::LOADING.union(Flags::STALE).union(Flags::DANGEROUS))
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .syntax("[section [section ...]]")
        .summary("Replies with figures on the server.")
        .history(&[("7.0.0", "Takes several sections.")])];

/// A section: its name, its heading, whether it is shown unasked, and what writes its lines.
struct Section {
    name: &'static str,
    title: &'static str,
    default: bool,
    push: fn(&mut String, &mut Engine),
}

const SECTIONS: &[Section] = &[
    section("server", "Server", true, server),
    section("clients", "Clients", true, clients),
    section("memory", "Memory", true, info_memory::push_section),
    section("persistence", "Persistence", true, persistence),
    section("stats", "Stats", true, info_stats::stats),
    section("replication", "Replication", true, replication),
    section("cpu", "CPU", true, cpu),
    section("modules", "Modules", true, |_, _| {}),
    section("commandstats", "Commandstats", false, info_stats::command_stats),
    section("errorstats", "Errorstats", true, info_stats::error_stats),
    section("latencystats", "Latencystats", false, info_stats::latency_stats),
    section("cluster", "Cluster", true, cluster),
    section("keyspace", "Keyspace", true, keyspace),
    section("debug", "Debug", false, info_stats::event_loop),
];

const fn section(
    name: &'static str,
    title: &'static str,
    default: bool,
    push: fn(&mut String, &mut Engine),
) -> Section {
    Section { name, title, default, push }
}

fn info(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let asked = |section: &Section| {
        if args.len() == 1 {
            return section.default;
        }
        args.from(1).any(|word| {
            word.eq_ignore_ascii_case(section.name.as_bytes())
                || (word.eq_ignore_ascii_case(b"default") && section.default)
                || (word.eq_ignore_ascii_case(b"all")
                    && !matches!(section.name, "modules" | "debug"))
                || (word.eq_ignore_ascii_case(b"everything") && section.name != "debug")
        })
    };
    let mut text = String::with_capacity(8192);
    for section in SECTIONS.iter().filter(|section| asked(section)) {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        let _ = write!(text, "# {}\r\n", section.title);
        (section.push)(&mut text, engine);
    }
    engine.sessions[slot].reply().verbatim("txt", text.as_bytes());
    Ok(Flow::Done)
}

/// Writing to a String can't fail; this says so once.
macro_rules! line {
    ($out:expr, $($form:tt)*) => {{
        let _ = write!($out, $($form)*);
        $out.push_str("\r\n");
    }};
}
pub(in crate::engine) use line;

fn server(out: &mut String, engine: &mut Engine) {
    let uptime = (engine.now_micros - engine.started_micros).max(0) / 1_000_000;
    let config = engine.config_file.as_deref().map(std::path::Path::display);
    line!(out, "redis_version:{REDIS_VERSION}");
    line!(out, "redstart_version:{VERSION}");
    line!(out, "redis_git_sha1:00000000");
    line!(out, "redis_git_dirty:0");
    line!(out, "redis_build_id:0");
    line!(out, "redis_mode:standalone");
    line!(out, "os:{}", *OPERATING_SYSTEM);
    line!(out, "arch_bits:64");
    line!(out, "monotonic_clock:POSIX clock_gettime");
    line!(out, "multiplexing_api:epoll");
    line!(out, "atomicvar_api:rust");
    line!(out, "gcc_version:0.0.0");
    line!(out, "process_id:{}", std::process::id());
    line!(out, "process_supervised:no");
    line!(out, "run_id:{}", engine.run_id);
    line!(out, "tcp_port:{}", engine.settings.port);
    line!(out, "server_time_usec:{}", engine.now_micros);
    line!(out, "uptime_in_seconds:{uptime}");
    if let Some(left) = engine.farewell_left_ms() {
        line!(out, "shutdown_in_milliseconds:{left}");
    }
    line!(out, "uptime_in_days:{}", uptime / 86_400);
    line!(out, "hz:{}", engine.cron.hz());
    line!(out, "configured_hz:{}", engine.settings.hz);
    line!(out, "lru_clock:{}", (engine.now_micros / 1_000_000) & 0x00ff_ffff);
    line!(out, "executable:{}", EXECUTABLE.display());
    line!(out, "config_file:{}", config.map_or_else(String::new, |path| path.to_string()));
    line!(out, "io_threads_active:0");
    line!(out, "availability_zone:{}", engine.settings.availability_zone);
    let settings = &engine.settings;
    if settings.port != 0 {
        let binds: Vec<String> =
            settings.bind.iter().map(|bind| format!("bind={},", bind.text)).collect();
        line!(out, "listener0:name=tcp,{}port={}", binds.concat(), settings.port);
    }
    if !settings.unixsocket.as_os_str().is_empty() {
        line!(out, "listener1:name=unix,bind={}", settings.unixsocket.display());
    }
}

/// What runs. Told as it was the first time: the file may have been replaced since.
static EXECUTABLE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::current_exe().unwrap_or_default());

static OPERATING_SYSTEM: LazyLock<String> = LazyLock::new(|| {
    let read = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
        text.trim().to_owned()
    };
    format!("{} {} {}", read("ostype"), read("osrelease"), std::env::consts::ARCH)
});

fn clients(out: &mut String, engine: &mut Engine) {
    let sessions = &engine.sessions;
    let input = sessions.clients().filter_map(|one| one.link.as_ref()).map(|link| link.unread());
    let output = sessions.clients().map(|one| one.output.pending());
    let watching = sessions.clients().filter(|one| !one.watching.keys.is_empty());
    // As upstream counts: the primary is one, replicas are none.
    let clients = sessions.client_count() + usize::from(engine.primary_session().is_some());
    let clients = clients.saturating_sub(engine.replication.replicas.len());
    line!(out, "connected_clients:{}", clients);
    line!(out, "cluster_connections:0");
    line!(out, "maxclients:{}", engine.settings.maxclients);
    line!(out, "client_recent_max_input_buffer:{}", input.max().unwrap_or(0));
    line!(out, "client_recent_max_output_buffer:{}", output.max().unwrap_or(0));
    line!(out, "blocked_clients:{}", engine.blocking.count() + engine.pause.held());
    line!(out, "tracking_clients:{}", engine.observe.tracking.clients());
    line!(out, "pubsub_clients:{}", engine.pubsub.clients);
    line!(out, "watching_clients:{}", watching.count());
    line!(out, "clients_in_timeout_table:0");
    line!(out, "total_watched_keys:{}", engine.databases.watches.len());
    let waits = &engine.databases.waits;
    line!(out, "total_blocking_keys:{}", waits.len());
    line!(out, "total_blocking_keys_on_nokey:{}", waits.len_with_loss());
    let paused = engine.is_client_pause();
    let handover = engine.pause.handover;
    let actions = match (paused || handover, engine.pause.all) {
        (false, _) => "none",
        (true, true) => "all",
        (true, false) => "write",
    };
    let reason = match (handover, paused) {
        (true, _) => "failover_in_progress",
        (false, true) => "client_pause",
        (false, false) => "none",
    };
    let left = engine.pause.until.map_or(0, |until| until.since(engine.steady()).max(0));
    line!(out, "paused_reason:{reason}");
    line!(out, "paused_actions:{actions}");
    line!(out, "paused_timeout_milliseconds:{left}");
}

fn persistence(out: &mut String, engine: &mut Engine) {
    let state = &engine.persistence;
    let now = engine.now_micros / 1_000_000;
    let word = |ok: bool| if ok { "ok" } else { "err" };
    let running = |this: bool| {
        let since = state.walk.started_seconds().unwrap_or(now);
        if this { now - since } else { -1 }
    };
    line!(out, "loading:{}", u8::from(state.loading));
    line!(out, "async_loading:{}", u8::from(engine.awaits_exchange()));
    line!(out, "current_cow_peak:0");
    let waiting = state.walk.job().map_or(0, crate::engine::keep::walk_job::Job::waiting_bytes);
    // There is no fork; it is what was copied and waits for the disk.
    line!(out, "current_cow_size:{waiting}");
    line!(out, "current_cow_size_age:0");
    let (taken, keys) = state.walk.job().map_or((0, 0), |job| (job.keys_taken(), job.keys));
    // There is no fork; it is the share of the keys that the walk has taken.
    line!(out, "current_fork_perc:{:.2}", taken as f64 * 100.0 / keys.max(1) as f64);
    line!(out, "current_save_keys_processed:{taken}");
    line!(out, "current_save_keys_total:{keys}");
    line!(out, "rdb_changes_since_last_save:{}", state.dirty);
    // As upstream counts: a full sync's snapshot, too.
    let snapshot = state.saving() || matches!(state.walk, Walk::Sync(_));
    line!(out, "rdb_bgsave_in_progress:{}", u8::from(snapshot));
    line!(out, "rdb_last_save_time:{}", state.last_save_seconds);
    line!(out, "rdb_last_bgsave_status:{}", word(state.last_save_ok));
    line!(out, "rdb_last_bgsave_time_sec:{}", state.last_save_took);
    line!(out, "rdb_current_bgsave_time_sec:{}", running(snapshot));
    line!(out, "rdb_saves:{}", state.saves);
    line!(out, "rdb_last_cow_size:0");
    line!(out, "rdb_last_load_keys_expired:{}", state.loaded.expired);
    line!(out, "rdb_last_load_keys_loaded:{}", state.loaded.keys);
    line!(
        out,
        "aof_enabled:{}",
        u8::from(engine.log.is_some() || state.wanted.first_base.is_wanted())
    );
    line!(out, "aof_rewrite_in_progress:{}", u8::from(state.walk.is_rewrite()));
    line!(out, "aof_rewrite_scheduled:{}", u8::from(state.rewrite_scheduled()));
    line!(out, "aof_last_rewrite_time_sec:{}", state.last_rewrite_took);
    line!(out, "aof_current_rewrite_time_sec:{}", running(state.walk.is_rewrite()));
    line!(out, "aof_last_bgrewrite_status:{}", word(state.last_rewrite_ok));
    line!(out, "aof_rewrites:{}", state.rewrites);
    line!(out, "aof_rewrites_consecutive_failures:{}", state.rewrites_failed_in_a_row);
    let failed = engine.log.as_ref().is_some_and(|log| log.failure().is_some());
    line!(out, "aof_last_write_status:{}", word(!failed));
    line!(out, "aof_last_cow_size:0");
    line!(out, "module_fork_in_progress:0");
    line!(out, "module_fork_last_cow_size:0");
    if let Some(log) = &engine.log {
        line!(out, "aof_current_size:{}", log.size_bytes());
        line!(out, "aof_base_size:{}", state.log_base_bytes);
        line!(out, "aof_pending_rewrite:{}", u8::from(state.rewrite_scheduled()));
        line!(out, "aof_buffer_length:{}", log.pending_bytes());
        line!(out, "aof_pending_bio_fsync:{}", log.syncs_in_flight());
        line!(out, "aof_superseded_size:{}", log.superseded_bytes());
        line!(out, "aof_delayed_fsync:{}", log.delayed_syncs());
    }
    if state.load.is_some() {
        let progress = state.progress;
        line!(out, "loading_start_time:{}", progress.started_seconds);
        line!(out, "loading_total_bytes:{}", progress.total_bytes);
        line!(out, "loading_rdb_used_mem:{}", progress.snapshot_used_memory);
        line!(out, "loading_loaded_bytes:{}", progress.loaded_bytes);
        line!(out, "loading_loaded_perc:{:.2}", progress.percent());
        line!(out, "loading_eta_seconds:{}", progress.seconds_left(now));
    }
}

fn replication(out: &mut String, engine: &mut Engine) {
    match &engine.replication.upstream {
        None => line!(out, "role:master"),
        Some(upstream) => followed(out, engine, upstream),
    }
    line!(out, "connected_slaves:{}", engine.replication.replicas.len());
    if engine.settings.min_replicas_to_write > 0 && engine.settings.min_replicas_max_lag > 0 {
        line!(out, "min_slaves_good_slaves:{}", engine.good_replicas());
    }
    for (index, (session, replica)) in engine.replicas().enumerate() {
        let (address, port) = replica_address(session);
        let lag = if replica.is_online() { engine.steady().since(replica.heard) / 1000 } else { 0 };
        line!(
            out,
            "slave{index}:ip={address},port={port},state={},offset={},lag={lag}",
            replica.state(),
            replica.acked
        );
    }
    line!(out, "replicas_waiting_psync:0");
    line!(out, "master_failover_state:{}", engine.replication.failover.name());
    let history = engine.journal.history();
    line!(out, "master_replid:{}", history.id);
    match history.previous {
        Some(previous) => line!(out, "master_replid2:{}", previous.id),
        None => line!(out, "master_replid2:{}", "0".repeat(40)),
    }
    line!(out, "master_repl_offset:{}", engine.offset());
    // Upstream counts from 1 here and below.
    let second = history.previous.map_or(-1, |previous| i128::from(previous.end) + 1);
    line!(out, "second_repl_offset:{second}");
    let extent = engine.journal.backlog_extent();
    line!(out, "repl_backlog_active:{}", u8::from(extent.is_some()));
    line!(out, "repl_backlog_size:{}", engine.settings.repl_backlog_size);
    line!(out, "repl_backlog_first_byte_offset:{}", extent.map_or(0, |(start, _)| start + 1));
    line!(out, "repl_backlog_histlen:{}", extent.map_or(0, |(_, bytes)| bytes));
}

/// What a replica tells of its primary.
fn followed(out: &mut String, engine: &Engine, upstream: &Upstream) {
    let now = engine.steady();
    let online = upstream.is_online();
    line!(out, "role:slave");
    line!(out, "master_host:{}", upstream.host);
    line!(out, "master_port:{}", upstream.port);
    line!(out, "master_link_status:{}", if online { "up" } else { "down" });
    let heard = if online { now.since(upstream.heard) / 1000 } else { -1 };
    line!(out, "master_last_io_seconds_ago:{heard}");
    let syncs = matches!(upstream.stage, Stage::Receiving(_) | Stage::Loading(_));
    line!(out, "master_sync_in_progress:{}", u8::from(syncs));
    let read = engine.offset() + upstream.applier.waiting_bytes() as u64;
    line!(out, "slave_read_repl_offset:{read}");
    line!(out, "slave_repl_offset:{}", engine.offset());
    if let Stage::Receiving(reception) = &upstream.stage {
        let total = reception.total.unwrap_or(0);
        let percent = reception.arrival.bytes() as f64 * 100.0 / total.max(1) as f64;
        line!(out, "master_sync_total_bytes:{total}");
        line!(out, "master_sync_read_bytes:{}", reception.arrival.bytes());
        line!(out, "master_sync_left_bytes:{}", total.saturating_sub(reception.arrival.bytes()));
        line!(out, "master_sync_perc:{:.2}", if total == 0 { 0.0 } else { percent });
        line!(out, "master_sync_last_io_seconds_ago:{}", now.since(upstream.heard) / 1000);
    }
    if !online {
        line!(out, "master_link_down_since_seconds:{}", now.since(upstream.down_since) / 1000);
    }
    line!(out, "slave_priority:{}", engine.settings.replica_priority);
    line!(out, "slave_read_only:{}", u8::from(engine.settings.replica_read_only));
    line!(out, "replica_announced:{}", u8::from(engine.settings.replica_announced));
}

/// CPU seconds of the process: system and user.
pub(in crate::engine::show) fn cpu_seconds(who: nix::sys::resource::UsageWho) -> (f64, f64) {
    let seconds = |time: nix::sys::time::TimeVal| {
        time.tv_sec() as f64 + f64::from(time.tv_usec() as i32) / 1e6
    };
    nix::sys::resource::getrusage(who)
        .map_or((0.0, 0.0), |usage| (seconds(usage.system_time()), seconds(usage.user_time())))
}

fn cpu(out: &mut String, _: &mut Engine) {
    use nix::sys::resource::UsageWho;
    for (who, suffix) in [
        (UsageWho::RUSAGE_SELF, ""),
        (UsageWho::RUSAGE_CHILDREN, "_children"),
        (UsageWho::RUSAGE_THREAD, "_main_thread"),
    ] {
        let (system, user) = cpu_seconds(who);
        line!(out, "used_cpu_sys{suffix}:{system:.6}");
        line!(out, "used_cpu_user{suffix}:{user:.6}");
    }
}

fn cluster(out: &mut String, _: &mut Engine) {
    line!(out, "cluster_enabled:0");
}

fn keyspace(out: &mut String, engine: &mut Engine) {
    let (now, mut rng) = (engine.now().0, Rng::from_seed(engine.rng.next_u64()));
    for (index, table) in engine.databases.occupied().filter(|(_, table)| !table.is_empty()) {
        let (keys, expires) = (table.len(), table.expires_len());
        let ttl = mean_ttl(table, &mut rng, now);
        // Redis 7.4's field; left out where there is nothing to tell, as 7.2 doesn't have it.
        let subexpiry = match engine.databases.expiring_hashes(index) {
            0 => String::new(),
            hashes => format!(",subexpiry={hashes}"),
        };
        line!(out, "db{}:keys={keys},expires={expires},avg_ttl={ttl}{subexpiry}", index.0);
    }
}

/// How long keys that expire have left on the mean, in milliseconds, estimated from a few of them.
fn mean_ttl(table: &Table, rng: &mut Rng, now: i64) -> i64 {
    if table.expires_len() == 0 {
        return 0;
    }
    let (mut sum, mut count) = (0i128, 0i128);
    for _ in 0..TTL_SAMPLES {
        table.sample_volatile_bucket(rng, TTL_SEGMENTS_MAX, |entry| {
            if let Some(at) = entry.expiry() {
                sum += i128::from((at.0 - now).max(0));
                count += 1;
            }
        });
    }
    (sum / count.max(1)).try_into().unwrap_or(i64::MAX)
}

/// Places that are looked at for [`mean_ttl`], and segments for each.
const TTL_SAMPLES: usize = 16;
const TTL_SEGMENTS_MAX: usize = 64;

impl Engine {
    /// How far the stream of changes has come, in bytes.
    pub(in crate::engine) fn offset(&self) -> u64 {
        self.journal.offset()
    }
}
