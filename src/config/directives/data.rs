//! Directives of memory, keys and values.

use crate::config::directives::{
    Directive, INT, LONG, ULONG, choice, field, flag, memory, number, single, text,
};

const IMPORT: &str = "keys go when their time has come, and CLIENT IMPORT-SOURCE is not there yet: follow the \
                      source instead (replicaof)";
const COMPACTS: &str = "the table compacts itself";
const PLAIN: &str = "nodes are not compressed";

/// The rows.
pub(crate) const ROWS: &[Directive] = &[
    memory("maxmemory", field!(maxmemory), (0, ULONG), "0")
        .doc("Bytes that data may take; 0 for no limit."),
    choice("maxmemory-policy", field!(maxmemory_policy), "noeviction")
        .doc("Which keys go when memory is full."),
    number("maxmemory-samples", field!(maxmemory_samples), (1, INT), "5")
        .doc("Keys looked at to find one that goes."),
    number("maxmemory-eviction-tenacity", field!(maxmemory_eviction_tenacity), (0, 100), "10")
        .doc("How long a command may wait for room: 10 for half a millisecond, 100 for ever."),
    number("lfu-log-factor", field!(lfu_log_factor), (0, INT), "10")
        .doc("How slowly the counter of uses grows."),
    number("lfu-decay-time", field!(lfu_decay_time), (0, INT), "1")
        .doc("Minutes after which the counter of uses falls."),
    number("active-expire-effort", field!(active_expire_effort), (1, 10), "1")
        .doc("How hard to look for expired keys, 1 to 10."),
    single("notify-keyspace-events", field!(notify_keyspace_events), "")
        .doc("Classes of keyspace events to publish, as letters; empty for none."),
    flag("lazyfree-lazy-eviction", field!(lazyfree_lazy_eviction), "yes")
        .doc("Free evicted values in the background."),
    flag("lazyfree-lazy-expire", field!(lazyfree_lazy_expire), "yes")
        .doc("Free expired values in the background."),
    flag("lazyfree-lazy-server-del", field!(lazyfree_lazy_server_del), "yes")
        .doc("Free overwritten values in the background."),
    flag("lazyfree-lazy-user-del", field!(lazyfree_lazy_user_del), "yes")
        .doc("Let DEL free in the background, as UNLINK does."),
    flag("lazyfree-lazy-user-flush", field!(lazyfree_lazy_user_flush), "yes")
        .doc("Let FLUSHALL and FLUSHDB free in the background unless told otherwise."),
    flag("activerehashing", field!(activerehashing), "yes")
        .inert("the table grows segment by segment")
        .doc("Spend idle time on growing tables."),
    text("hash-seed", field!(hash_seed), "")
        .fixed()
        .inert("hashes have a random seed, another one at each start")
        .doc("Seed of hash tables; empty for a random one."),
    flag("activedefrag", field!(activedefrag), "no")
        .inert(COMPACTS)
        .doc("Move values together when memory is fragmented."),
    memory("active-defrag-ignore-bytes", field!(active_defrag_ignore_bytes), (1, LONG), "100mb")
        .inert(COMPACTS)
        .doc("Fragmentation in bytes to put up with."),
    number("active-defrag-threshold-lower", field!(active_defrag_threshold_lower), (0, 1000), "10")
        .inert(COMPACTS)
        .doc("Fragmentation in percent to put up with."),
    number(
        "active-defrag-threshold-upper",
        field!(active_defrag_threshold_upper),
        (0, 1000),
        "100",
    )
    .inert(COMPACTS)
    .doc("Fragmentation in percent for full effort."),
    number("active-defrag-cycle-min", field!(active_defrag_cycle_min), (1, 99), "1")
        .inert(COMPACTS)
        .doc("Least effort in percent of time."),
    number("active-defrag-cycle-max", field!(active_defrag_cycle_max), (1, 99), "25")
        .inert(COMPACTS)
        .doc("Full effort in percent of time."),
    number(
        "active-defrag-max-scan-fields",
        field!(active_defrag_max_scan_fields),
        (1, LONG),
        "1000",
    )
    .inert(COMPACTS)
    .doc("Elements of a collection to handle at once."),
    number("active-defrag-cycle-us", field!(active_defrag_cycle_us), (0, 100_000), "500")
        .inert(COMPACTS)
        .doc("Microseconds of one go."),
    flag("import-mode", field!(import_mode), "no")
        .refused(IMPORT)
        .doc("Remove no key whose time has come, and let clients that import (CLIENT IMPORT-SOURCE) see it."),
    flag("jemalloc-bg-thread", field!(jemalloc_bg_thread), "yes")
        .inert("it always does")
        .doc("Let the allocator return memory in the background."),
    number("hash-max-listpack-entries", field!(hash_max_listpack_entries), (0, LONG), "512")
        .alias("hash-max-ziplist-entries")
        .doc("Fields up to which a hash is kept compact."),
    memory("hash-max-listpack-value", field!(hash_max_listpack_value), (0, LONG), "64")
        .alias("hash-max-ziplist-value")
        .doc("Longest field or value in a compact hash."),
    number("list-max-listpack-size", field!(list_max_listpack_size), (-INT - 1, INT), "-2")
        .alias("list-max-ziplist-size")
        .doc("Elements in a node of a list, or its size: -1 for 4 KiB to -5 for 64 KiB."),
    number("list-compress-depth", field!(list_compress_depth), (0, INT), "0")
        .inert(PLAIN)
        .doc("Nodes at either end of a list that are not compressed; 0 compresses none."),
    number("set-max-intset-entries", field!(set_max_intset_entries), (0, LONG), "512")
        .doc("Members up to which a set of integers is kept compact."),
    number("set-max-listpack-entries", field!(set_max_listpack_entries), (0, LONG), "128")
        .doc("Members up to which a set is kept compact."),
    number("set-max-listpack-value", field!(set_max_listpack_value), (0, LONG), "64")
        .doc("Longest member in a compact set."),
    number("zset-max-listpack-entries", field!(zset_max_listpack_entries), (0, LONG), "128")
        .alias("zset-max-ziplist-entries")
        .doc("Members up to which a sorted set is kept compact."),
    memory("zset-max-listpack-value", field!(zset_max_listpack_value), (0, LONG), "64")
        .alias("zset-max-ziplist-value")
        .doc("Longest member in a compact sorted set."),
    memory("hll-sparse-max-bytes", field!(hll_sparse_max_bytes), (0, LONG), "3000")
        .doc("Size up to which a HyperLogLog is kept sparse."),
    memory("stream-node-max-bytes", field!(stream_node_max_bytes), (0, LONG), "4096")
        .doc("Size of a node of a stream; 0 for no limit."),
    number("stream-node-max-entries", field!(stream_node_max_entries), (0, LONG), "100")
        .doc("Entries in a node of a stream; 0 for no limit."),
];
