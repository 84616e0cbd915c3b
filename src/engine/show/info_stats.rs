//! INFO's sections of counters: stats, commandstats, errorstats, latencystats.

use std::fmt::Write;

use crate::base::text;
use crate::engine::Engine;
use crate::engine::show::info::line;

/// INFO stats.
pub(crate) fn stats(out: &mut String, engine: &mut Engine) {
    let metrics = &engine.metrics;
    let keys = &engine.databases.stats;
    let in_commands: u64 = metrics.by_command.iter().map(|stats| stats.ticks).sum();
    line!(out, "total_connections_received:{}", metrics.connections);
    line!(out, "total_commands_processed:{}", metrics.commands);
    line!(out, "instantaneous_ops_per_sec:{}", metrics.commands_per_second());
    line!(out, "total_net_input_bytes:{}", metrics.input_bytes);
    line!(out, "total_net_output_bytes:{}", metrics.output_bytes);
    line!(out, "total_net_repl_input_bytes:0");
    line!(out, "total_net_repl_output_bytes:0");
    line!(out, "instantaneous_input_kbps:{:.2}", metrics.input_per_second() as f64 / 1024.0);
    line!(out, "instantaneous_output_kbps:{:.2}", metrics.output_per_second() as f64 / 1024.0);
    line!(out, "instantaneous_input_repl_kbps:0.00");
    line!(out, "instantaneous_output_repl_kbps:0.00");
    line!(out, "rejected_connections:{}", metrics.connections_rejected);
    line!(out, "sync_full:{}", engine.replication.counts.full);
    line!(out, "sync_partial_ok:{}", engine.replication.counts.partial);
    line!(out, "sync_partial_err:{}", engine.replication.counts.partial_refused);
    line!(out, "expired_keys:{}", keys.expired);
    line!(out, "expired_subkeys:{}", keys.expired_fields);
    line!(out, "expired_stale_perc:0.00");
    line!(out, "expired_time_cap_reached_count:{}", metrics.expire_cycle_cut_short);
    line!(out, "expire_cycle_cpu_milliseconds:0");
    line!(out, "evicted_keys:{}", engine.evict.evicted);
    line!(out, "evicted_clients:{}", engine.evict.evicted_clients);
    line!(out, "evicted_scripts:{}", engine.scripts.evicted());
    let exceeded = engine.evict.exceeded_ticks(engine.env.stopwatch.ticks());
    let (current, total) =
        (engine.env.stopwatch.micros(exceeded.0), engine.env.stopwatch.micros(exceeded.1));
    line!(out, "total_eviction_exceeded_time:{}", total / 1000);
    line!(out, "current_eviction_exceeded_time:{}", current / 1000);
    line!(out, "keyspace_hits:{}", keys.hits);
    line!(out, "keyspace_misses:{}", keys.misses);
    let directory = &engine.pubsub.directory;
    line!(out, "pubsub_channels:{}", directory.channels.len());
    line!(out, "pubsub_patterns:{}", directory.patterns.len());
    line!(out, "pubsubshard_channels:{}", directory.shards.len());
    line!(out, "migrate_cached_sockets:{}", engine.kept_links());
    line!(out, "slave_expires_tracked_keys:{}", engine.databases.own_expiring());
    for name in [
        "latest_fork_usec",
        "total_forks",
        "active_defrag_hits",
        "active_defrag_misses",
        "active_defrag_key_hits",
        "active_defrag_key_misses",
        "total_active_defrag_time",
        "current_active_defrag_time",
    ] {
        line!(out, "{name}:0");
    }
    for (name, size) in ["keys", "items", "prefixes"].iter().zip(engine.observe.tracking.sizes()) {
        line!(out, "tracking_total_{name}:{size}");
    }
    line!(out, "unexpected_error_replies:0");
    line!(out, "total_error_replies:{}", metrics.errors);
    line!(out, "dump_payload_sanitizations:0");
    line!(out, "total_reads_processed:{}", metrics.ticks);
    line!(out, "total_writes_processed:{}", metrics.replies);
    line!(out, "io_threaded_reads_processed:0");
    line!(out, "io_threaded_writes_processed:0");
    line!(out, "client_query_buffer_limit_disconnections:{}", metrics.query_buffer_disconnections);
    line!(
        out,
        "client_output_buffer_limit_disconnections:{}",
        metrics.output_buffer_disconnections
    );
    line!(out, "reply_buffer_shrinks:0");
    line!(out, "reply_buffer_expands:0");
    line!(out, "eventloop_cycles:{}", metrics.ticks);
    let micros = |ticks| engine.env.stopwatch.micros(ticks);
    line!(out, "eventloop_duration_sum:{}", micros(metrics.busy));
    line!(out, "eventloop_duration_cmd_sum:{}", micros(in_commands));
    line!(out, "instantaneous_eventloop_cycles_per_sec:{}", metrics.ticks_per_second());
    let mean = micros(metrics.busy).div_ceil(metrics.ticks.max(1));
    line!(out, "instantaneous_eventloop_duration_usec:{mean}");
    line!(out, "acl_access_denied_auth:{}", metrics.denied_logins);
    for name in ["cmd", "key", "channel"] {
        line!(out, "acl_access_denied_{name}:0");
    }
}

/// INFO debug: shown only when asked for by name.
pub(crate) fn event_loop(out: &mut String, engine: &mut Engine) {
    let metrics = &engine.metrics;
    let micros = |ticks| engine.env.stopwatch.micros(ticks);
    // The log is written inside the tick, and not measured apart.
    line!(out, "eventloop_duration_aof_sum:0");
    line!(out, "eventloop_duration_cron_sum:{}", micros(metrics.cron_busy));
    line!(out, "eventloop_duration_max:{}", micros(metrics.busy_max));
    line!(out, "eventloop_cmd_per_cycle_max:{}", metrics.commands_per_tick_max);
}

/// INFO commandstats: commands that were called or refused.
pub(crate) fn command_stats(out: &mut String, engine: &mut Engine) {
    for (id, entry) in engine.registry.iter() {
        let stats = &engine.metrics.by_command[id.0 as usize];
        if stats.calls + stats.rejected + stats.failed == 0 {
            continue;
        }
        let micros = engine.env.stopwatch.micros(stats.ticks);
        let each = if stats.calls == 0 { 0.0 } else { micros as f64 / stats.calls as f64 };
        line!(
            out,
            "cmdstat_{}:calls={},usec={micros},usec_per_call={each:.2},rejected_calls={},\
             failed_calls={}",
            entry.full_name,
            stats.calls,
            stats.rejected,
            stats.failed,
        );
    }
}

/// INFO errorstats: error replies by their code word.
pub(crate) fn error_stats(out: &mut String, engine: &mut Engine) {
    for (code, count) in &engine.metrics.errors_by_code {
        line!(out, "errorstat_{code}:count={count}");
    }
}

/// INFO latencystats: commands' times at the configured percentiles.
pub(crate) fn latency_stats(out: &mut String, engine: &mut Engine) {
    let percentiles = &engine.settings.latency_tracking_info_percentiles;
    for (id, entry) in engine.registry.iter() {
        let latency = &engine.metrics.by_command[id.0 as usize].latency;
        if latency.total() == 0 || !engine.settings.latency_tracking {
            continue;
        }
        let shown: Vec<String> = percentiles
            .iter()
            .map(|percentile| {
                let mut name = Vec::new();
                text::push_f64(&mut name, *percentile);
                let nanos = engine.env.stopwatch.nanos(latency.at_percentile(*percentile));
                format!("p{}={:.3}", String::from_utf8_lossy(&name), nanos as f64 / 1e3)
            })
            .collect();
        line!(out, "latency_percentiles_usec_{}:{}", entry.full_name, shown.join(","));
    }
}
