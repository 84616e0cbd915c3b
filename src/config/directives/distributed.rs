//! Directives of replication, and of cluster mode. There is no cluster mode: its directives are known
//! and kept, so that the configuration of any server is accepted, but have no effect.

use crate::config::checks::{cluster_file, hostname, ipv4, ipv6, node_name};
use crate::config::directives::{
    Directive, INT, LONG, ULONG, choice, field, flag, memory, number, several, text,
};

const CLUSTER: &str = "cluster mode is not there yet";

/// The rows.
pub(crate) const ROWS: &[Directive] = &[
    several("replicaof", field!(replicaof), "no one")
        .alias("slaveof")
        .fixed()
        .doc("Host and port of the primary to replicate."),
    text("masteruser", field!(masteruser), "")
        .alias("primaryuser")
        .secret()
        .doc("User to log in to the primary as."),
    text("masterauth", field!(masterauth), "")
        .alias("primaryauth")
        .secret()
        .doc("Password for the primary."),
    text("replica-announce-ip", field!(replica_announce_ip), "")
        .alias("slave-announce-ip")
        .doc("Address that a replica tells its primary."),
    number("replica-announce-port", field!(replica_announce_port), (0, 65_535), "0")
        .alias("slave-announce-port")
        .doc("Port that a replica tells its primary; 0 for its own."),
    flag("replica-announced", field!(replica_announced), "yes")
        .doc("Whether Sentinel may show this replica."),
    number("replica-priority", field!(replica_priority), (0, INT), "100")
        .alias("slave-priority")
        .doc("Order in which Sentinel promotes replicas; 0 for never."),
    flag("replica-read-only", field!(replica_read_only), "yes")
        .alias("slave-read-only")
        .doc("Refuse writes of clients on a replica."),
    flag("replica-serve-stale-data", field!(replica_serve_stale_data), "yes")
        .alias("slave-serve-stale-data")
        .doc("Answer while the primary is out of reach."),
    flag("replica-lazy-flush", field!(replica_lazy_flush), "no")
        .alias("slave-lazy-flush")
        .doc("Free old data in the background before a full copy."),
    flag("replica-ignore-maxmemory", field!(replica_ignore_maxmemory), "yes")
        .alias("slave-ignore-maxmemory")
        .inert("a replica evicts nothing by itself")
        .doc("Leave eviction to the primary."),
    flag("replica-ignore-disk-write-errors", field!(replica_ignore_disk_write_errors), "no")
        .inert("a replica goes on replicating when its disk fails")
        .doc("Go on replicating when the disk fails."),
    number("min-replicas-to-write", field!(min_replicas_to_write), (0, INT), "0")
        .alias("min-slaves-to-write")
        .doc("Refuse writes with fewer healthy replicas."),
    number("min-replicas-max-lag", field!(min_replicas_max_lag), (0, INT), "10")
        .alias("min-slaves-max-lag")
        .doc("Seconds that a healthy replica may lag."),
    number("write-quorum", field!(write_quorum), (0, 1000), "0")
        .doc("Replicas that must have what a reply shows before it leaves; 0 for none."),
    flag("write-quorum-durable", field!(write_quorum_durable), "no")
        .doc("Whether they must have it in their logs."),
    number("write-quorum-timeout", field!(write_quorum_timeout), (1, INT), "5000")
        .doc("Milliseconds until a reply that waits for them is UNCERTAIN."),
    number("repl-ping-replica-period", field!(repl_ping_replica_period), (1, INT), "10")
        .alias("repl-ping-slave-period")
        .doc("Seconds between pings to replicas."),
    flag("repl-allow-empty-primary", field!(repl_allow_empty_primary), "no")
        .doc("Let a primary that has restarted empty empty its replicas, too."),
    number("repl-timeout", field!(repl_timeout), (1, INT), "60")
        .doc("Seconds after which the other side is gone."),
    memory("repl-backlog-size", field!(repl_backlog_size), (1, LONG), "1mb")
        .doc("Bytes of history for replicas that come back."),
    memory("repl-log-catchup-size", field!(repl_log_catchup_size), (0, LONG), "32gb")
        .doc("Bytes of superseded log files that stay for replicas that are behind."),
    number("repl-backlog-ttl", field!(repl_backlog_ttl), (0, LONG), "3600")
        .doc("Seconds to keep it without replicas; 0 for ever."),
    flag("repl-disable-tcp-nodelay", field!(repl_disable_tcp_nodelay), "no")
        .inert("links always send at once")
        .doc("Fewer packets to replicas for more delay."),
    flag("repl-diskless-sync", field!(repl_diskless_sync), "yes")
        .doc("Send full copies without a file."),
    number("repl-diskless-sync-delay", field!(repl_diskless_sync_delay), (0, INT), "5")
        .doc("Seconds to wait for further replicas before it."),
    number(
        "repl-diskless-sync-max-replicas",
        field!(repl_diskless_sync_max_replicas),
        (0, INT),
        "0",
    )
    .doc("Replicas at which not to wait; 0 for none."),
    choice("repl-diskless-load", field!(repl_diskless_load), "disabled")
        .not_while_loading()
        .doc("How a replica loads a full copy, which is always received into a file first: swapdb beside its \
             data, the others in their place."),
    flag("repl-mptcp", field!(repl_mptcp), "no")
        .fixed()
        .inert("connections are plain TCP")
        .doc("Follow a primary over several paths at once (Multipath TCP)."),
    flag("dual-channel-replication-enabled", field!(dual_channel_replication_enabled), "no")
        .inert("full copies come on the link itself")
        .doc("Send full copies on a connection of their own."),
    choice("propagation-error-behavior", field!(propagation_error_behavior), "ignore")
        .doc("Whether a replica that can't apply a command goes on without it, or stops there."),
    flag("cluster-enabled", field!(cluster_enabled), "no")
        .fixed()
        .refused(CLUSTER)
        .doc("Be a node of a cluster."),
    text("cluster-config-file", field!(cluster_config_file), "nodes.conf")
        .fixed()
        .inert(CLUSTER)
        .check(cluster_file)
        .doc("File that a node keeps its view of the cluster in."),
    choice("cluster-config-save-behavior", field!(cluster_config_save_behavior), "sync")
        .inert(CLUSTER)
        .doc("Whether a node ends when it can't keep that file."),
    number("cluster-databases", field!(cluster_databases), (1, INT), "1")
        .fixed()
        .inert(CLUSTER)
        .doc("Databases of a node."),
    number("cluster-port", field!(cluster_port), (0, 65_535), "0")
        .fixed()
        .inert(CLUSTER)
        .doc("Port of the cluster bus; 0 for the client port plus 10000."),
    number("cluster-node-timeout", field!(cluster_node_timeout), (0, LONG), "15000")
        .inert(CLUSTER)
        .doc("Milliseconds after which a node is taken for failed."),
    text("cluster-announce-ip", field!(cluster_announce_ip), "")
        .inert(CLUSTER)
        .doc("Address to tell other nodes."),
    text("cluster-announce-client-ipv4", field!(cluster_announce_client_ipv4), "")
        .inert(CLUSTER)
        .check(ipv4)
        .doc("IPv4 address to tell clients."),
    text("cluster-announce-client-ipv6", field!(cluster_announce_client_ipv6), "")
        .inert(CLUSTER)
        .check(ipv6)
        .doc("IPv6 address to tell clients."),
    text("cluster-announce-hostname", field!(cluster_announce_hostname), "")
        .inert(CLUSTER)
        .check(hostname)
        .doc("Host name to tell clients."),
    text("cluster-announce-human-nodename", field!(cluster_announce_human_nodename), "")
        .inert(CLUSTER)
        .check(node_name)
        .doc("Name of the node for people."),
    number("cluster-announce-port", field!(cluster_announce_port), (0, 65_535), "0")
        .inert(CLUSTER)
        .doc("Client port to tell other nodes; 0 for its own."),
    number("cluster-announce-tls-port", field!(cluster_announce_tls_port), (0, 65_535), "0")
        .inert(CLUSTER)
        .doc("TLS port to tell other nodes; 0 for its own."),
    number("cluster-announce-bus-port", field!(cluster_announce_bus_port), (0, 65_535), "0")
        .inert(CLUSTER)
        .doc("Bus port to tell other nodes; 0 for its own."),
    number("cluster-announce-client-port", field!(cluster_announce_client_port), (0, 65_535), "0")
        .inert(CLUSTER)
        .doc("Port to tell clients; 0 for its own."),
    number(
        "cluster-announce-client-tls-port",
        field!(cluster_announce_client_tls_port),
        (0, 65_535),
        "0",
    )
    .inert(CLUSTER)
    .doc("TLS port to tell clients; 0 for its own."),
    choice("cluster-preferred-endpoint-type", field!(cluster_preferred_endpoint_type), "ip")
        .inert(CLUSTER)
        .doc("What redirections name a node by."),
    flag("cluster-require-full-coverage", field!(cluster_require_full_coverage), "yes")
        .inert(CLUSTER)
        .doc("Serve nothing while a slot has no node."),
    flag("cluster-allow-reads-when-down", field!(cluster_allow_reads_when_down), "no")
        .inert(CLUSTER)
        .doc("Serve reads while the cluster is down."),
    flag("cluster-allow-pubsubshard-when-down", field!(cluster_allow_pubsubshard_when_down), "yes")
        .inert(CLUSTER)
        .doc("Serve sharded channels while the cluster is down."),
    flag("cluster-allow-replica-migration", field!(cluster_allow_replica_migration), "yes")
        .inert(CLUSTER)
        .doc("Let replicas move to primaries without one."),
    number("cluster-migration-barrier", field!(cluster_migration_barrier), (0, INT), "1")
        .inert(CLUSTER)
        .doc("Replicas that a primary keeps."),
    flag("cluster-replica-no-failover", field!(cluster_replica_no_failover), "no")
        .alias("cluster-slave-no-failover")
        .inert(CLUSTER)
        .doc("Never promote this replica on its own."),
    number(
        "cluster-replica-validity-factor",
        field!(cluster_replica_validity_factor),
        (0, INT),
        "10",
    )
    .alias("cluster-slave-validity-factor")
    .inert(CLUSTER)
    .doc("How old a promoted replica may be, in node timeouts."),
    memory("cluster-link-sendbuf-limit", field!(cluster_link_sendbuf_limit), (0, ULONG), "0")
        .inert(CLUSTER)
        .doc("Bytes that may wait for another node; 0 for no limit."),
    number("cluster-blacklist-ttl", field!(cluster_blacklist_ttl), (0, LONG), "60")
        .inert(CLUSTER)
        .doc("Seconds that a forgotten node stays forgotten."),
    number("cluster-ping-interval", field!(cluster_ping_interval), (0, LONG), "0")
        .hidden()
        .inert(CLUSTER)
        .doc("Milliseconds between pings to nodes."),
    flag("cluster-slot-stats-enabled", field!(cluster_slot_stats_enabled), "no")
        .inert(CLUSTER)
        .doc("Count for each slot."),
    number(
        "cluster-manual-failover-timeout",
        field!(cluster_manual_failover_timeout),
        (1, INT),
        "5000",
    )
    .inert(CLUSTER)
    .doc("Milliseconds that a failover that was asked for may take."),
    number(
        "cluster-slot-migration-log-max-len",
        field!(cluster_slot_migration_log_max_len),
        (0, LONG),
        "1000",
    )
    .inert(CLUSTER)
    .doc("Moves of slots remembered once they are over."),
    memory(
        "slot-migration-max-failover-repl-bytes",
        field!(slot_migration_max_failover_repl_bytes),
        (-1, LONG),
        "0",
    )
    .inert(CLUSTER)
    .doc("Bytes that the new node may lack when writes pause for a slot's move; -1 for any number."),
];
