//! INFO: what the server knows of itself, by section.

use std::fmt::Write;

use crate::command::args::Args;
use crate::command::error::CommandError;
use crate::command::spec::{Arity::AtLeast, Command, Flags, Flow, Group, control};
use crate::config::{REDIS_VERSION, VERSION};
use crate::engine::{ControlHandler, Engine, evict};
use crate::mailbox::SessionId;
use crate::persist::log::Log;

/// The rows of this family.
pub const COMMANDS: &[Command<ControlHandler>] =
    &[control("INFO", AtLeast(1), info as ControlHandler)
        .group(Group::Server)
        .flags(Flags::LOADING.or(Flags::STALE))
        .categories(&["dangerous"])
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .since("1.0.0")
        .syntax("[section [section ...]]")
        .summary("Replies with facts about the server, by section.")
        .history(&[("7.0.0", "Added support for taking multiple section arguments.")])];

type Section = (&'static str, fn(&Engine, &mut String));

/// Sections in order; those up to `keyspace` without the statistics by command are the default.
const SECTIONS: &[Section] = &[
    ("server", server),
    ("clients", clients),
    ("memory", memory),
    ("persistence", persistence),
    ("stats", stats),
    ("replication", replication),
    ("cpu", cpu),
    ("modules", modules),
    ("commandstats", command_stats),
    ("errorstats", error_stats),
    ("latencystats", latency_stats),
    ("cluster", cluster),
    ("keyspace", keyspace),
];

const NOT_BY_DEFAULT: &[&str] = &["commandstats", "latencystats"];

/// Writing to a String can't fail, so the result of `writeln!` is nothing to look at.
macro_rules! line {
    ($out:expr, $($format:tt)*) => {{
        let _ = write!($out, $($format)*);
        $out.push_str("\r\n");
    }};
}

fn info(engine: &mut Engine, slot: SessionId, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut wanted: Vec<&str> = Vec::new();
    let by_default =
        || SECTIONS.iter().map(|(name, _)| *name).filter(|n| !NOT_BY_DEFAULT.contains(n));
    if args.len() == 1 {
        wanted.extend(by_default());
    }
    for word in args.from(1) {
        let word = String::from_utf8_lossy(word).to_ascii_lowercase();
        match word.as_str() {
            "default" => wanted.extend(by_default()),
            "all" | "everything" => wanted.extend(SECTIONS.iter().map(|(name, _)| *name)),
            word => wanted.extend(SECTIONS.iter().map(|(name, _)| *name).filter(|n| *n == word)),
        }
    }
    let text = engine.info_text(&wanted);
    engine.sessions[slot].reply().verbatim("txt", text.as_bytes());
    Ok(Flow::Done)
}

impl Engine {
    /// The text of some sections, each once, in their order.
    pub fn info_text(&self, wanted: &[&str]) -> String {
        let mut text = String::new();
        for (name, write_section) in SECTIONS {
            if wanted.contains(name) {
                if !text.is_empty() {
                    text.push_str("\r\n");
                }
                let title = match *name {
                    "cpu" => "CPU".to_owned(),
                    name => {
                        let mut title = name.to_owned();
                        title[..1].make_ascii_uppercase();
                        title
                    }
                };
                line!(text, "# {title}");
                write_section(self, &mut text);
            }
        }
        text
    }
}

fn server(engine: &Engine, out: &mut String) {
    let uptime = (engine.now_micros - engine.started_micros) / 1_000_000;
    line!(out, "redis_version:{REDIS_VERSION}");
    line!(out, "redstart_version:{VERSION}");
    line!(out, "redis_git_sha1:00000000");
    line!(out, "redis_git_dirty:0");
    line!(out, "redis_build_id:{:016x}", crate::base::checksum::crc64(VERSION.as_bytes()));
    line!(out, "redis_mode:standalone");
    line!(out, "os:{} {}", std::env::consts::OS, std::env::consts::ARCH);
    line!(out, "arch_bits:{}", usize::BITS);
    line!(out, "monotonic_clock:rust std Instant");
    line!(out, "multiplexing_api:epoll");
    line!(out, "process_id:{}", std::process::id());
    line!(out, "process_supervised:no");
    line!(out, "run_id:{}", engine.run_id);
    line!(out, "tcp_port:{}", engine.settings.port);
    line!(out, "server_time_usec:{}", engine.now_micros);
    line!(out, "uptime_in_seconds:{uptime}");
    line!(out, "uptime_in_days:{}", uptime / 86_400);
    line!(out, "hz:{}", engine.cron.hz());
    line!(out, "configured_hz:{}", engine.settings.hz);
    line!(out, "lru_clock:{}", (engine.now_micros / 1_000_000) & 0xff_ffff);
    let program = std::env::current_exe().unwrap_or_default();
    line!(out, "executable:{}", program.display());
    let file = engine.config_file.as_ref().map(|path| path.display().to_string());
    line!(out, "config_file:{}", file.unwrap_or_default());
    line!(out, "io_threads_active:0");
    let names = engine.settings.bind.iter().map(|bind| bind.text.as_str());
    for (number, name) in names.enumerate() {
        line!(out, "listener{number}:name=tcp,bind={name},port={}", engine.settings.port);
    }
}

fn clients(engine: &Engine, out: &mut String) {
    let (mut input, mut output) = (0, 0);
    for session in engine.sessions.clients() {
        input = input.max(session.link.as_ref().map_or(0, |link| link.unread()));
        output = output.max(session.pending());
    }
    line!(out, "connected_clients:{}", engine.sessions.client_count());
    line!(out, "cluster_connections:0");
    line!(out, "maxclients:{}", engine.settings.maxclients);
    line!(out, "client_recent_max_input_buffer:{input}");
    line!(out, "client_recent_max_output_buffer:{output}");
    line!(out, "blocked_clients:0");
    line!(out, "tracking_clients:0");
    line!(out, "pubsub_clients:0");
    let watching = engine.sessions.clients().filter(|session| !session.watching.is_empty());
    line!(out, "watching_clients:{}", watching.count());
    line!(out, "clients_in_timeout_table:0");
    line!(out, "total_watched_keys:{}", engine.databases.watches.len());
    line!(out, "total_blocking_keys:0");
    line!(out, "total_blocking_keys_on_nokey:0");
}

/// The process's resident memory in bytes; 0 where the system doesn't tell.
pub(super) fn resident_bytes() -> u64 {
    let Ok(text) = std::fs::read_to_string("/proc/self/statm") else { return 0 };
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

fn human(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        b if b < 1024.0 => format!("{b}B"),
        b if b < 1024.0 * 1024.0 => format!("{:.2}K", b / 1024.0),
        b if b < 1024.0 * 1024.0 * 1024.0 => format!("{:.2}M", b / 1024.0 / 1024.0),
        b => format!("{:.2}G", b / 1024.0 / 1024.0 / 1024.0),
    }
}

fn memory(engine: &Engine, out: &mut String) {
    let used = engine.used_memory();
    let resident = resident_bytes();
    let peak = engine.cron.peak_memory.max(used);
    let data: u64 =
        engine.databases.occupied().map(|(_, table)| table.memory().total() as u64).sum();
    let limit = engine.settings.maxmemory;
    line!(out, "used_memory:{used}");
    line!(out, "used_memory_human:{}", human(used));
    line!(out, "used_memory_rss:{resident}");
    line!(out, "used_memory_rss_human:{}", human(resident));
    line!(out, "used_memory_peak:{peak}");
    line!(out, "used_memory_peak_human:{}", human(peak));
    line!(out, "used_memory_peak_perc:{:.2}%", used as f64 * 100.0 / peak.max(1) as f64);
    line!(out, "used_memory_overhead:{}", used.saturating_sub(data));
    line!(out, "used_memory_startup:{}", engine.cron.startup_memory);
    line!(out, "used_memory_dataset:{data}");
    line!(out, "used_memory_dataset_perc:{:.2}%", data as f64 * 100.0 / used.max(1) as f64);
    line!(out, "allocator_allocated:{}", evict::allocated_bytes());
    line!(out, "total_system_memory:{}", system_memory());
    line!(out, "total_system_memory_human:{}", human(system_memory()));
    line!(out, "maxmemory:{limit}");
    line!(out, "maxmemory_human:{}", human(limit));
    let policy = crate::config::change::get(&engine.settings, &[b"maxmemory-policy"]);
    let policy = policy.first().map(|(_, value)| String::from_utf8_lossy(value).into_owned());
    line!(out, "maxmemory_policy:{}", policy.unwrap_or_default());
    line!(out, "mem_fragmentation_ratio:{:.2}", resident as f64 / used.max(1) as f64);
    line!(out, "mem_not_counted_for_evict:0");
    line!(out, "mem_clients_slaves:0");
    line!(out, "mem_clients_normal:{}", client_memory(engine));
    line!(out, "mem_aof_buffer:{}", engine.log.as_ref().map_or(0, Log::pending_bytes));
    line!(out, "mem_allocator:jemalloc");
    line!(out, "active_defrag_running:0");
    line!(out, "lazyfree_pending_objects:{}", engine.databases.reclaimer.pending());
    line!(out, "lazyfreed_objects:{}", engine.databases.reclaimer.freed());
}

fn client_memory(engine: &Engine) -> usize {
    engine.sessions.clients().map(|session| size_of_val(session) + session.out.capacity()).sum()
}

fn system_memory() -> u64 {
    let Ok(text) = std::fs::read_to_string("/proc/meminfo") else { return 0 };
    let line = text.lines().next().unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn persistence(engine: &Engine, out: &mut String) {
    let state = &engine.persistence;
    let word = |ok: bool| if ok { "ok" } else { "err" };
    let now = engine.now_micros / 1_000_000;
    let running =
        |on: bool| state.job.as_ref().filter(|_| on).map_or(-1, |job| now - job.started_seconds);
    line!(out, "loading:{}", u8::from(state.loading));
    line!(out, "async_loading:0");
    line!(out, "rdb_changes_since_last_save:{}", state.dirty);
    line!(out, "rdb_bgsave_in_progress:{}", u8::from(state.saving()));
    line!(out, "rdb_last_save_time:{}", state.last_save_seconds);
    line!(out, "rdb_last_bgsave_status:{}", word(state.last_save_ok));
    line!(out, "rdb_last_bgsave_time_sec:{}", state.last_save_took);
    line!(out, "rdb_current_bgsave_time_sec:{}", running(state.saving()));
    line!(out, "rdb_saves:{}", state.saves);
    line!(out, "rdb_last_cow_size:0");
    line!(out, "aof_enabled:{}", u8::from(engine.log.is_some()));
    line!(out, "aof_rewrite_in_progress:{}", u8::from(state.rewriting));
    line!(out, "aof_rewrite_scheduled:{}", u8::from(state.rewrite_scheduled));
    line!(out, "aof_last_rewrite_time_sec:{}", state.last_rewrite_took);
    line!(out, "aof_current_rewrite_time_sec:{}", running(state.rewriting));
    line!(out, "aof_last_bgrewrite_status:{}", word(state.last_rewrite_ok));
    line!(out, "aof_rewrites:{}", state.rewrites);
    let failure = engine.log.as_ref().and_then(Log::failure);
    line!(out, "aof_last_write_status:{}", word(failure.is_none()));
    line!(out, "aof_last_cow_size:0");
    if let Some(log) = &engine.log {
        line!(out, "aof_current_size:{}", log.size_bytes());
        line!(out, "aof_base_size:{}", state.log_base_bytes);
        line!(out, "aof_pending_rewrite:{}", u8::from(log.needs_rewrite()));
        line!(out, "aof_buffer_length:{}", log.pending_bytes());
        line!(out, "aof_pending_bio_fsync:{}", log.syncs_in_flight());
        line!(out, "aof_delayed_fsync:{}", log.delayed_syncs());
    }
}

fn stats(engine: &Engine, out: &mut String) {
    let metrics = &engine.metrics;
    let keys = &engine.databases.stats;
    line!(out, "total_connections_received:{}", metrics.connections);
    line!(out, "total_commands_processed:{}", metrics.commands);
    line!(out, "instantaneous_ops_per_sec:{}", metrics.commands_per_second());
    line!(out, "total_net_input_bytes:{}", metrics.input_bytes);
    line!(out, "total_net_output_bytes:{}", metrics.output_bytes);
    let kib = |bytes: u64| bytes as f64 / 1024.0;
    line!(out, "instantaneous_input_kbps:{:.2}", kib(metrics.input_per_second()));
    line!(out, "instantaneous_output_kbps:{:.2}", kib(metrics.output_per_second()));
    line!(out, "rejected_connections:{}", metrics.connections_rejected);
    line!(out, "sync_full:0");
    line!(out, "sync_partial_ok:0");
    line!(out, "sync_partial_err:0");
    line!(out, "expired_keys:{}", keys.expired);
    line!(out, "expired_stale_perc:0.00");
    line!(out, "expired_time_cap_reached_count:{}", metrics.expire_cycle_cut_short);
    line!(out, "evicted_keys:{}", engine.evict.evicted);
    line!(out, "evicted_clients:0");
    line!(out, "total_eviction_exceeded_time:0");
    line!(out, "keyspace_hits:{}", keys.hits);
    line!(out, "keyspace_misses:{}", keys.misses);
    line!(out, "pubsub_channels:0");
    line!(out, "pubsub_patterns:0");
    line!(out, "latest_fork_usec:0");
    line!(out, "total_forks:0");
    line!(out, "migrate_cached_sockets:0");
    line!(out, "tracking_total_keys:0");
    line!(out, "unexpected_error_replies:0");
    line!(out, "total_error_replies:{}", metrics.errors);
    line!(out, "dump_payload_sanitizations:0");
    line!(out, "total_reads_processed:{}", metrics.ticks);
    line!(out, "total_writes_processed:{}", metrics.replies);
    line!(out, "client_query_buffer_limit_disconnections:{}", metrics.query_buffer_disconnections);
    line!(
        out,
        "client_output_buffer_limit_disconnections:{}",
        metrics.output_buffer_disconnections
    );
}

fn replication(engine: &Engine, out: &mut String) {
    line!(out, "role:master");
    line!(out, "connected_slaves:0");
    line!(out, "master_failover_state:no-failover");
    line!(out, "master_replid:{}", engine.run_id);
    line!(out, "master_replid2:{}", "0".repeat(40));
    line!(out, "master_repl_offset:0");
    line!(out, "second_repl_offset:-1");
    line!(out, "repl_backlog_active:0");
    line!(out, "repl_backlog_size:{}", engine.settings.repl_backlog_size);
    line!(out, "repl_backlog_first_byte_offset:0");
    line!(out, "repl_backlog_histlen:0");
}

fn cpu(_: &Engine, out: &mut String) {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;
    for (who, name) in [(UsageWho::RUSAGE_SELF, ""), (UsageWho::RUSAGE_CHILDREN, "_children")] {
        let Ok(usage) = getrusage(who) else { continue };
        let seconds = |micros: i64| micros as f64 / 1e6;
        let system = seconds(usage.system_time().num_microseconds());
        line!(out, "used_cpu_sys{name}:{system:.6}");
        let user = seconds(usage.user_time().num_microseconds());
        line!(out, "used_cpu_user{name}:{user:.6}");
    }
}

fn modules(_: &Engine, _: &mut String) {}

fn command_stats(engine: &Engine, out: &mut String) {
    for (id, entry) in engine.registry.iter() {
        let stats = engine.metrics.by_command[id.0 as usize];
        if stats == crate::metrics::CommandStats::default() {
            continue;
        }
        let nanos = engine.env.stopwatch.nanos(stats.ticks);
        let per_call =
            if stats.calls == 0 { 0.0 } else { nanos as f64 / 1000.0 / stats.calls as f64 };
        line!(
            out,
            "cmdstat_{}:calls={},usec={},usec_per_call={per_call:.2},rejected_calls={},failed_calls={}",
            entry.full_name,
            stats.calls,
            nanos / 1000,
            stats.rejected,
            stats.failed
        );
    }
}

fn error_stats(engine: &Engine, out: &mut String) {
    for (code, count) in &engine.metrics.errors_by_code {
        line!(out, "errorstat_{code}:count={count}");
    }
}

fn latency_stats(_: &Engine, _: &mut String) {}

fn cluster(_: &Engine, out: &mut String) {
    line!(out, "cluster_enabled:0");
}

fn keyspace(engine: &Engine, out: &mut String) {
    for (index, table) in engine.databases.occupied() {
        line!(out, "db{}:keys={},expires={},avg_ttl=0", index.0, table.len(), table.expires_len());
    }
}
