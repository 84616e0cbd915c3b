//! Where Redstart may answer otherwise than redis-server 7.0, each with its reason. Everything that
//! isn't listed here is a bug of ours.

use crate::support::client::Value;

/// A difference in replies that is meant.
pub struct Exception {
    /// Why Redstart differs.
    pub reason: &'static str,
    /// Whether it explains this difference; the arguments are the command's.
    pub explains: fn(argv: &[Vec<u8>], theirs: &Value, ours: &Value) -> bool,
}

/// Differences in replies to random commands.
pub const REPLIES: &[Exception] = &[
    Exception {
        reason: "HELP texts are written in our own words",
        explains: |argv, theirs, ours| {
            argv.len() == 2
                && argv[1].eq_ignore_ascii_case(b"HELP")
                && matches!((theirs, ours), (Value::Array(_), Value::Array(_)))
        },
    },
    Exception {
        reason: "SCAN reads cursors as 7.2: spaces may stand in front, nothing and -1 are no cursors",
        explains: |argv, _, _| {
            argv.len() > 1
                && argv[0].eq_ignore_ascii_case(b"SCAN")
                && [&b""[..], b"-1", b" 0"].contains(&&argv[1][..])
        },
    },
    Exception {
        reason: "HELLO tells another version and another client number",
        explains: |argv, theirs, ours| {
            argv[0].eq_ignore_ascii_case(b"HELLO")
                && !matches!(theirs, Value::Error(_))
                && !matches!(ours, Value::Error(_))
        },
    },
    Exception {
        reason: "COMMAND LIST, COUNT and the whole of COMMAND depend on which commands there are",
        explains: |argv, theirs, ours| {
            argv[0].eq_ignore_ascii_case(b"COMMAND")
                && argv.get(1).is_none_or(|word| {
                    [&b"LIST"[..], b"COUNT"].iter().any(|name| word.eq_ignore_ascii_case(name))
                })
                && !matches!(theirs, Value::Error(_))
                && !matches!(ours, Value::Error(_))
        },
    },
    Exception {
        reason: "CONFIG GET with a pattern finds directives that 7.0 doesn't have",
        explains: |argv, theirs, ours| {
            argv.len() > 2
                && argv[0].eq_ignore_ascii_case(b"CONFIG")
                && argv[1].eq_ignore_ascii_case(b"GET")
                && !matches!(theirs, Value::Error(_))
                && !matches!(ours, Value::Error(_))
        },
    },
    Exception {
        reason: "loglevel knows the word nothing, as in 7.2",
        explains: |argv, _, _| {
            argv.len() > 3
                && argv[0].eq_ignore_ascii_case(b"CONFIG")
                && argv[1].eq_ignore_ascii_case(b"SET")
                && argv[2].eq_ignore_ascii_case(b"loglevel")
        },
    },
];

/// Why these replies may differ, where they may.
pub fn reason(argv: &[Vec<u8>], theirs: &Value, ours: &Value) -> Option<&'static str> {
    let exception = REPLIES.iter().find(|exception| (exception.explains)(argv, theirs, ours))?;
    Some(exception.reason)
}

/// What raw conversations may answer otherwise: the conversation's name and the reason.
pub const CONVERSATIONS: &[(&str, &str)] = &[
    ("monitor is not for transactions", "there is no MONITOR yet"),
    ("inline, nul", "a zero byte ends upstream's line, and with it what it reads"),
    ("nothing goes", "COMMAND tells of other commands"),
    ("hello", "7.2's text, which names the protocol version"),
    ("hello without a version", "7.2's text, which names the protocol version"),
];

/// Commands (`name` or `container|subcommand`) whose COMMAND INFO differs.
pub const COMMAND_INFO: &[(&str, &str)] = &[];

/// Commands whose argument tree in COMMAND DOCS differs.
pub const COMMAND_DOCS: &[(&str, &str)] = &[
    ("client|list", "ID takes one or more"),
    ("client|kill", "the usage line has both forms in one"),
    ("client|no-evict", "7.2's form"),
    ("client|pause", "since when is 3.0.0 by its own page"),
    ("client|caching", "usage only"),
    ("client|tracking", "OFF is all there is"),
    ("client|reply", "usage only"),
    ("command|getkeys", "7.2's form"),
    ("command|getkeysandflags", "7.2's form"),
    ("config|get", "a string, as in 7.2"),
    ("hello", "names of blocks differ"),
    ("incrbyfloat", "the type of the word increment"),
    ("lcs", "7.2's names"),
    ("set", "IFEQ is Valkey's"),
];

/// Directives of redis-server 7.0 that CONFIG GET of ours doesn't know.
pub const CONFIG_LACKING: &[(&str, &str)] =
    &[("aof-disable-auto-gc", "hidden from patterns, as in Valkey")];

/// Fields of redis-server 7.0's INFO that ours doesn't give.
pub const INFO_LACKING: &[(&str, &str)] = &[
    ("active_defrag_hits", "there is no defragmentation: segments are compacted in place"),
    ("active_defrag_key_hits", "there is no defragmentation: segments are compacted in place"),
    ("active_defrag_key_misses", "there is no defragmentation: segments are compacted in place"),
    ("active_defrag_misses", "there is no defragmentation: segments are compacted in place"),
    ("allocator_active", "the tables' memory doesn't come from the allocator"),
    ("allocator_frag_bytes", "the tables' memory doesn't come from the allocator"),
    ("allocator_frag_ratio", "the tables' memory doesn't come from the allocator"),
    ("allocator_resident", "the tables' memory doesn't come from the allocator"),
    ("allocator_rss_bytes", "the tables' memory doesn't come from the allocator"),
    ("allocator_rss_ratio", "the tables' memory doesn't come from the allocator"),
    ("aof_rewrites_consecutive_failures", "not counted yet"),
    ("atomicvar_api", "it is about upstream's build"),
    ("current_active_defrag_time", "there is no defragmentation: segments are compacted in place"),
    ("current_cow_peak", "nothing is forked"),
    ("current_cow_size", "nothing is forked"),
    ("current_cow_size_age", "nothing is forked"),
    ("current_eviction_exceeded_time", "not counted yet"),
    ("current_fork_perc", "nothing is forked"),
    ("current_save_keys_processed", "nothing is forked"),
    ("current_save_keys_total", "nothing is forked"),
    ("expire_cycle_cpu_milliseconds", "not counted yet"),
    ("gcc_version", "it is about upstream's build"),
    ("instantaneous_input_repl_kbps", "there is no replication yet"),
    ("instantaneous_output_repl_kbps", "there is no replication yet"),
    ("io_threaded_reads_processed", "one thread does all input and output"),
    ("io_threaded_writes_processed", "one thread does all input and output"),
    ("mem_cluster_links", "there is no cluster yet"),
    ("mem_fragmentation_bytes", "the tables' memory doesn't come from the allocator"),
    ("mem_replication_backlog", "there is no replication yet"),
    ("mem_total_replication_buffers", "there is no replication yet"),
    ("module_fork_in_progress", "nothing is forked"),
    ("module_fork_last_cow_size", "nothing is forked"),
    ("number_of_cached_scripts", "there are no scripts yet"),
    ("number_of_functions", "there are no scripts yet"),
    ("number_of_libraries", "there are no scripts yet"),
    ("pubsubshard_channels", "there is no publish and subscribe yet"),
    ("rdb_last_load_keys_expired", "not counted yet"),
    ("rdb_last_load_keys_loaded", "not counted yet"),
    ("reply_buffer_expands", "there is no replication yet"),
    ("reply_buffer_shrinks", "there is no replication yet"),
    ("rss_overhead_bytes", "the tables' memory doesn't come from the allocator"),
    ("rss_overhead_ratio", "the tables' memory doesn't come from the allocator"),
    ("slave_expires_tracked_keys", "there is no replication yet"),
    ("total_active_defrag_time", "there is no defragmentation: segments are compacted in place"),
    ("total_net_repl_input_bytes", "there is no replication yet"),
    ("total_net_repl_output_bytes", "there is no replication yet"),
    ("tracking_total_items", "there is no tracking yet"),
    ("tracking_total_prefixes", "there is no tracking yet"),
    ("used_cpu_sys_main_thread", "one thread does all input and output"),
    ("used_cpu_user_main_thread", "one thread does all input and output"),
    ("used_memory_functions", "there are no scripts yet"),
    ("used_memory_lua", "there are no scripts yet"),
    ("used_memory_lua_human", "there are no scripts yet"),
    ("used_memory_scripts", "there are no scripts yet"),
    ("used_memory_scripts_eval", "there are no scripts yet"),
    ("used_memory_scripts_human", "there are no scripts yet"),
    ("used_memory_vm_eval", "there are no scripts yet"),
    ("used_memory_vm_functions", "there are no scripts yet"),
    ("used_memory_vm_total", "there are no scripts yet"),
    ("used_memory_vm_total_human", "there are no scripts yet"),
];
