//! Directives of snapshots and of the log of writes.

use crate::config::checks::{directory, log_directory, log_name, snapshot_name, snapshot_version};
use crate::config::directives::{
    Directive, INT, LONG, choice, field, flag, memory, number, several, text,
};

const TESTS: &str = "a switch for tests of another implementation";

/// The rows.
pub(crate) const ROWS: &[Directive] = &[
    text("dir", field!(dir), "")
        .protected()
        .not_while_loading()
        .always_written()
        .check(directory)
        .doc("Working directory: where data files are."),
    several("save", field!(save), "3600 1 300 100 60 10000")
        .always_written()
        .doc("Seconds and changes after which a snapshot is taken; empty for never."),
    text("dbfilename", field!(dbfilename), "dump.rdb")
        .protected()
        .check(snapshot_name)
        .doc("Name of the snapshot file."),
    flag("rdbcompression", field!(rdbcompression), "yes").doc("Compress strings in snapshots."),
    flag("rdbchecksum", field!(rdbchecksum), "yes").fixed().doc("Checksum snapshots."),
    flag("rdb-del-sync-files", field!(rdb_del_sync_files), "no")
        .inert("what a full copy needs of files is removed behind it at once")
        .doc("Remove snapshot files of replication where nothing else needs them."),
    flag("rdb-save-incremental-fsync", field!(rdb_save_incremental_fsync), "yes")
        .doc("Sync a snapshot in parts as it is written."),
    number("rdb-version", field!(rdb_version), (9, 80), "10")
        .check(snapshot_version)
        .doc("Version of the snapshot format to write: 9 for Redis 5 and 6, 10 for 7.0, 11 for 7.2, 12 for 7.4, 80 \
             for Valkey 9."),
    choice("rdb-version-check", field!(rdb_version_check), "strict")
        .inert("versions of Redis up to 15 and of Valkey up to 81 are read, and no others")
        .doc("Whether files of versions are read that are not known."),
    choice("rdb-load-unknown-types", field!(rdb_load_unknown_types), "stop").doc(
        "What a key of a type that this server doesn't have, in a file that is loaded, leads to: the load \
             stops and names it, or it is skipped and counted.",
    ),
    flag("stop-writes-on-bgsave-error", field!(stop_writes_on_bgsave_error), "yes")
        .doc("Refuse writes while snapshots fail."),
    flag("appendonly", field!(appendonly), "yes")
        .not_while_loading()
        .always_written()
        .doc("Keep a log of every write."),
    text("appendfilename", field!(appendfilename), "appendonly.aof")
        .fixed()
        .check(log_name)
        .doc("Start of the names of log files."),
    text("appenddirname", field!(appenddirname), "appendonlydir")
        .fixed()
        .check(log_directory)
        .doc("Directory of log files."),
    choice("appendfsync", field!(appendfsync), "everysec")
        .doc("When the log is made durable: before replies, each second, or some time."),
    flag("no-appendfsync-on-rewrite", field!(no_appendfsync_on_rewrite), "no")
        .doc("Do not sync the log while a snapshot is written."),
    number("auto-aof-rewrite-percentage", field!(auto_aof_rewrite_percentage), (0, INT), "100")
        .doc("Growth of the log in percent that starts a rewrite; 0 for never."),
    memory("auto-aof-rewrite-min-size", field!(auto_aof_rewrite_min_size), (0, LONG), "64mb")
        .doc("Size below which the log is not rewritten on its own."),
    flag("aof-load-truncated", field!(aof_load_truncated), "yes")
        .doc("Start with a log whose end is cut off, without the incomplete rest."),
    flag("aof-use-rdb-preamble", field!(aof_use_rdb_preamble), "yes")
        .doc("Begin a rewritten log with a snapshot."),
    flag("aof-timestamp-enabled", field!(aof_timestamp_enabled), "no")
        .doc("Note the time in the log."),
    flag("aof-rewrite-incremental-fsync", field!(aof_rewrite_incremental_fsync), "yes")
        .doc("Sync a rewritten log in parts as it is written."),
    flag("aof-disable-auto-gc", field!(aof_disable_auto_gc), "no")
        .hidden()
        .doc("Keep log files that a rewrite has replaced."),
    memory("aof-write-out-bytes", field!(aof_write_out_bytes), (0, LONG), "1mb").doc(
        "With appendfsync everysec: after so many bytes of log the disk begins to write them, without \
             waiting for the second to end; 0 to leave all of it to the sync.",
    ),
    memory("walk-memory-max", field!(walk_memory_max), (1 << 20, LONG), "64mb").doc(
        "Memory for what a snapshot or a rewrite has taken and the disk has not: from half of it on, \
             commands that write wait for the disk; past it the walk is given up and tried again.",
    ),
    choice("sanitize-dump-payload", field!(sanitize_dump_payload), "no")
        .inert("they are always checked")
        .doc("When to check payloads of RESTORE in depth."),
    number(
        "loading-process-events-interval-bytes",
        field!(loading_process_events_interval_bytes),
        (1024, INT),
        "2097152",
    )
    .hidden()
    .inert(TESTS)
    .doc("Bytes to load between looks at clients."),
    number("rdb-key-save-delay", field!(rdb_key_save_delay), (-INT - 1, INT), "0")
        .hidden()
        .doc("Microseconds to wait at each key of a snapshot."),
    number("key-load-delay", field!(key_load_delay), (-INT - 1, INT), "0")
        .hidden()
        .doc("Microseconds to wait at each key loaded."),
];
