//! Every setting of the server, typed: what the rest of the server reads.
//!
//! One public field a directive, named as the directive with `_` for `-`. What a field means, its
//! unit and its bounds are told once, in its row of [`crate::config::directives`]; defaults come
//! from there as well, so this file only says the types. Sizes are bytes. A new directive is a
//! field here and a row there; a test finds the one without the other.
//!
//! Deliberately absent: any effect. Storing a value opens no port and changes no directory, except
//! for [`Settings::enter_directory`], which is for the start and for CONFIG SET dir.

use std::io;
use std::path::PathBuf;

use crate::base::logging::{LogFormat, LogLevel, TimestampFormat};
use crate::config::directives;
use crate::config::kinds::{
    AclPubsub, Allowed, AppendFsync, BindAddress, CertificateUser, ClientMemory, ClusterSave,
    DisklessLoad, EndpointType, EventClasses, EvictionPolicy, OomScore, OomValues, OutputLimits,
    Percentiles, Primary, PropagationError, SanitizeDump, SavePoints, ShutdownFlags, Supervised,
    SyslogFacility, TlsClients, UnknownTypes, VersionCheck,
};

/// Declares the fields and a default that takes each from its row.
macro_rules! settings {
    ($($name:ident: $type:ty,)+) => {
        /// All settings. [`Settings::default`] is the server without a configuration file.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Settings {
            $(#[doc = concat!("Described by its row, of the same name.")] pub $name: $type,)+
        }

        impl Default for Settings {
            fn default() -> Self {
                let mut settings = Self { $($name: Default::default(),)+ };
                directives::all().for_each(|row| row.reset(&mut settings));
                settings
            }
        }

        #[cfg(test)]
        pub(crate) const FIELDS: &[&str] = &[$(stringify!($name)),+];
    };
}

settings! {
    // `rename-command` lines in order: a command's name and its new one, empty to remove it. The
    // only field without a row.
    rename_command: Vec<(Vec<u8>, Vec<u8>)>,

    bind: Vec<BindAddress>,
    bind_source_addr: String,
    port: u16,
    tcp_backlog: u64,
    unixsocket: PathBuf,
    unixsocketgroup: String,
    unixsocketperm: u32,
    socket_mark_id: u64,
    mptcp: bool,
    protected_mode: bool,
    requirepass: Vec<u8>,
    timeout: u64,
    tcp_keepalive: u64,
    maxclients: u64,
    maxmemory_clients: ClientMemory,
    client_output_buffer_limit: OutputLimits,
    client_query_buffer_limit: u64,
    proto_max_bulk_len: u64,
    client_default_resp: i64,
    max_new_connections_per_cycle: u64,
    max_new_tls_connections_per_cycle: u64,
    io_threads: u64,
    io_threads_do_reads: bool,
    events_per_io_thread: u64,
    prefetch_batch_max_size: u64,
    spin_us: u64,
    gather_us: u64,
    tracking_table_max_keys: u64,
    aclfile: PathBuf,
    acllog_max_len: u64,
    acl_pubsub_default: AclPubsub,
    availability_zone: String,

    daemonize: bool,
    pidfile: PathBuf,
    supervised: Supervised,
    shutdown_on_sigint: ShutdownFlags,
    shutdown_on_sigterm: ShutdownFlags,
    shutdown_timeout: u64,
    loglevel: LogLevel,
    logfile: PathBuf,
    log_format: LogFormat,
    log_timestamp_format: TimestampFormat,
    syslog_enabled: bool,
    syslog_ident: String,
    syslog_facility: SyslogFacility,
    hide_user_data_from_log: bool,
    always_show_logo: bool,
    set_proc_title: bool,
    proc_title_template: String,
    databases: u64,
    hz: u64,
    dynamic_hz: bool,
    enable_protected_configs: Allowed,
    enable_debug_command: Allowed,
    enable_module_command: Allowed,
    slowlog_log_slower_than: i64,
    slowlog_max_len: u64,
    commandlog_request_larger_than: i64,
    commandlog_large_request_max_len: u64,
    commandlog_reply_larger_than: i64,
    commandlog_large_reply_max_len: u64,
    latency_monitor_threshold: u64,
    latency_tracking: bool,
    latency_tracking_info_percentiles: Percentiles,
    busy_reply_threshold: u64,
    extended_redis_compatibility: bool,
    ignore_warnings: String,
    locale_collate: String,
    crash_log_enabled: bool,
    crash_memcheck_enabled: bool,
    use_exit_on_panic: bool,
    enable_debug_assert: bool,
    debug_context: String,
    watchdog_period: u64,
    disable_thp: bool,
    oom_score_adj: OomScore,
    oom_score_adj_values: OomValues,
    server_cpulist: String,
    bio_cpulist: String,
    aof_rewrite_cpulist: String,
    bgsave_cpulist: String,

    dir: PathBuf,
    save: SavePoints,
    dbfilename: PathBuf,
    rdbcompression: bool,
    rdbchecksum: bool,
    rdb_del_sync_files: bool,
    rdb_save_incremental_fsync: bool,
    rdb_version: u32,
    rdb_version_check: VersionCheck,
    rdb_load_unknown_types: UnknownTypes,
    stop_writes_on_bgsave_error: bool,
    appendonly: bool,
    appendfilename: PathBuf,
    appenddirname: PathBuf,
    appendfsync: AppendFsync,
    no_appendfsync_on_rewrite: bool,
    auto_aof_rewrite_percentage: u64,
    auto_aof_rewrite_min_size: u64,
    aof_load_truncated: bool,
    aof_use_rdb_preamble: bool,
    aof_timestamp_enabled: bool,
    aof_rewrite_incremental_fsync: bool,
    aof_disable_auto_gc: bool,
    aof_write_out_bytes: u64,
    walk_memory_max: u64,
    sanitize_dump_payload: SanitizeDump,
    loading_process_events_interval_bytes: u64,
    rdb_key_save_delay: i64,
    key_load_delay: i64,

    maxmemory: u64,
    maxmemory_policy: EvictionPolicy,
    maxmemory_samples: u64,
    maxmemory_eviction_tenacity: u64,
    lfu_log_factor: u64,
    lfu_decay_time: u64,
    active_expire_effort: u64,
    notify_keyspace_events: EventClasses,
    lazyfree_lazy_eviction: bool,
    lazyfree_lazy_expire: bool,
    lazyfree_lazy_server_del: bool,
    lazyfree_lazy_user_del: bool,
    lazyfree_lazy_user_flush: bool,
    activerehashing: bool,
    hash_seed: Vec<u8>,
    activedefrag: bool,
    active_defrag_ignore_bytes: u64,
    active_defrag_threshold_lower: u64,
    active_defrag_threshold_upper: u64,
    active_defrag_cycle_min: u64,
    active_defrag_cycle_max: u64,
    active_defrag_max_scan_fields: u64,
    active_defrag_cycle_us: u64,
    import_mode: bool,
    jemalloc_bg_thread: bool,
    hash_max_listpack_entries: u64,
    hash_max_listpack_value: u64,
    list_max_listpack_size: i64,
    list_compress_depth: u64,
    set_max_intset_entries: u64,
    set_max_listpack_entries: u64,
    set_max_listpack_value: u64,
    zset_max_listpack_entries: u64,
    zset_max_listpack_value: u64,
    hll_sparse_max_bytes: u64,
    stream_node_max_bytes: u64,
    stream_node_max_entries: u64,

    replicaof: Primary,
    masteruser: String,
    masterauth: Vec<u8>,
    replica_announce_ip: String,
    replica_announce_port: u16,
    replica_announced: bool,
    replica_priority: u64,
    replica_read_only: bool,
    replica_serve_stale_data: bool,
    replica_lazy_flush: bool,
    replica_ignore_maxmemory: bool,
    replica_ignore_disk_write_errors: bool,
    min_replicas_to_write: u64,
    min_replicas_max_lag: u64,
    write_quorum: u64,
    write_quorum_durable: bool,
    write_quorum_timeout: u64,
    repl_ping_replica_period: u64,
    repl_timeout: u64,
    repl_allow_empty_primary: bool,
    repl_backlog_size: u64,
    repl_log_catchup_size: u64,
    repl_backlog_ttl: u64,
    repl_disable_tcp_nodelay: bool,
    repl_mptcp: bool,
    repl_diskless_sync: bool,
    repl_diskless_sync_delay: u64,
    repl_diskless_sync_max_replicas: u64,
    repl_diskless_load: DisklessLoad,
    dual_channel_replication_enabled: bool,
    propagation_error_behavior: PropagationError,
    cluster_enabled: bool,
    cluster_config_file: String,
    cluster_config_save_behavior: ClusterSave,
    cluster_databases: u64,
    cluster_port: u16,
    cluster_node_timeout: u64,
    cluster_announce_ip: String,
    cluster_announce_client_ipv4: String,
    cluster_announce_client_ipv6: String,
    cluster_announce_hostname: String,
    cluster_announce_human_nodename: String,
    cluster_announce_port: u16,
    cluster_announce_tls_port: u16,
    cluster_announce_bus_port: u16,
    cluster_announce_client_port: u16,
    cluster_announce_client_tls_port: u16,
    cluster_preferred_endpoint_type: EndpointType,
    cluster_require_full_coverage: bool,
    cluster_allow_reads_when_down: bool,
    cluster_allow_pubsubshard_when_down: bool,
    cluster_allow_replica_migration: bool,
    cluster_migration_barrier: u64,
    cluster_replica_no_failover: bool,
    cluster_replica_validity_factor: u64,
    cluster_link_sendbuf_limit: u64,
    cluster_blacklist_ttl: u64,
    cluster_ping_interval: u64,
    cluster_slot_stats_enabled: bool,
    cluster_manual_failover_timeout: u64,
    cluster_slot_migration_log_max_len: u64,
    slot_migration_max_failover_repl_bytes: i64,

    tls_port: u16,
    tls_cert_file: PathBuf,
    tls_key_file: PathBuf,
    tls_key_file_pass: Vec<u8>,
    tls_client_cert_file: PathBuf,
    tls_client_key_file: PathBuf,
    tls_client_key_file_pass: Vec<u8>,
    tls_dh_params_file: PathBuf,
    tls_ca_cert_file: PathBuf,
    tls_ca_cert_dir: PathBuf,
    tls_auth_clients: TlsClients,
    tls_auth_clients_user: CertificateUser,
    tls_replication: bool,
    tls_cluster: bool,
    tls_protocols: String,
    tls_ciphers: String,
    tls_ciphersuites: String,
    tls_prefer_server_ciphers: bool,
    tls_session_caching: bool,
    tls_session_cache_size: u64,
    tls_session_cache_timeout: u64,
    tls_auto_reload_interval: u64,
}

impl Settings {
    /// Changes to the working directory `dir`, where one is given, and keeps its full path.
    ///
    /// # Errors
    /// There is no such directory, or it may not be entered; `dir` is then as it was.
    pub fn enter_directory(&mut self) -> io::Result<()> {
        if !self.dir.as_os_str().is_empty() {
            std::env::set_current_dir(&self.dir)?;
        }
        self.dir = std::env::current_dir()?;
        Ok(())
    }

    /// Brings values into range that are accepted out of range, as upstream does.
    pub(crate) fn settle(&mut self) {
        self.hz = self.hz.clamp(1, 500);
    }
}
