//! redis-compat.md: what Redstart has of Redis and Valkey, what is different, and why. Generated from
//! the command table, the directives, and the few words here; a test fails when the file is stale.
//!
//! To bring the file up to date: `REGENERATE=1 cargo test --test compat`.

use std::collections::BTreeSet;
use std::fmt::Write;

use redstart::command::syntax;
use redstart::config::directives::{self, Standing};
use redstart::config::{REDIS_VERSION, VERSION};
use redstart::engine::compat_names::UPSTREAM;
use redstart::engine::registry::{Entry, Registry};

/// Differences that belong to no single command or directive.
const GENERAL: &[&str] = &[
    "**Durable by default**: without a configuration Redstart runs `appendonly yes`, `appendfsync \
     everysec` (Redis: no log). Big values are freed in the background (`lazyfree-lazy-*`, as in Valkey \
     8), so that deleting one holds nobody up. Every other default is Redis 7.2's.",
    "Each group commit of the append only file is framed by a comment line with its length and \
     checksum. Redis 7.0 and later skip such lines: they load our files, and we load theirs.",
    "Damage in the middle of the append only file stops the start with the place and the way out; \
     only a torn end is cut off. Redis goes on in fewer cases and says less.",
    "A log that was turned off (`CONFIG SET appendonly no`), or a base that BGREWRITEAOF wrote without \
     one, gives way at a start to a snapshot that was written after it. Redis loads the older log.",
    "No reply leaves before the log holds, as `appendfsync` asks for it, everything the reply shows: \
     under `always` reads wait too, and so do messages to subscribers. Where the disk refuses, what was \
     on its way is answered once the log has it (Redis answers at once); reads of others see it before.",
    "There is no fork: `latest_fork_usec`, `*_cow_size` and the like are always 0, and snapshots take \
     bounded memory whatever changes meanwhile.",
    "SCAN returns every element that is there throughout exactly once; Redis promises at least once.",
    "INFO's `redis_version` is the version whose behaviour is kept; `redstart_version` is our own.",
    "A connection that waits holds no query buffer, and a buffer grows with what has arrived, not \
     with what the client announces: CLIENT LIST's `qbuf` and `qbuf-free` are 0 for most clients.",
    "Entries of listpacks of exactly 16,383, 2,097,151 or 268,435,455 bytes are read as Redis 8.8 and Valkey \
     9.1 write them, but written as all versions before do. The new ones refuse that (also from Redis 7), \
     where such an element is in a stream, or in another collection whose limits let it in.",
    "When a stream's consumer was last active isn't in RDB files before version 11 (Redis 7.2), and `rdb-version` \
     is 10 unless it is set: after a start from one it is the time when it was last seen.",
    "Expiry times of fields of hashes raise a file, or a DUMP payload, to version 12 of the format, Redis 7.4's. \
     Valkey 9 refuses that: `rdb-version 80` writes its own, which no Redis reads, in files, DUMP and MIGRATE \
     (`redstart-check --convert-to 80` for a file that is there). A replica that says it is Valkey 9 or \
     later (`REPLCONF version`, which Redis 7.2 doesn't know) gets its full sync in 80 without being asked.",
    "Who waits for a key is served when SORT, ZUNIONSTORE and their kind store what it waits for in the place \
     of a value of another type; Redis leaves it waiting.",
    "Ranges by bytes (ZRANGEBYLEX and kin, BYLEX) of members with different scores, which the documentation leaves \
     unspecified, are others: after `ZADD k 1 z 2 a`, `ZRANGEBYLEX k [b +` replies `z a`, with Redis nothing.",
    "A client with many replies has its turn in parts, a MiB each, and is held against its limits behind each \
     request. One that reads meanwhile may be served where upstream, which makes all replies of what it has \
     read first, closes it at `client-output-buffer-limit`.",
    "HELP texts are our own words.",
    "A hash field whose time has come is never seen nor counted: HLEN, HKEYS, HSCAN and the others leave \
     it out at once. Redis counts it until it is removed.",
    "A client that has not authenticated is closed when more than 16 KiB of its replies are unread, as \
     Redis does since the fix of CVE-2025-21605.",
    "`client-query-buffer-limit` counts an incomplete request as a whole; Redis leaves out those of its \
     arguments that are complete.",
    "SLOWLOG hides passwords in wrong commands as well (`AUTH a b c`, `HELLO 2 AUTH password`).",
    "Crash reports have our own functions in their stack traces, not Redis's.",
];

/// Words that a line of a configuration file may begin with, besides directives, that are taken differently.
const LINES: &[(&str, &str)] = &[
    (
        "user",
        "of `default` only, and only if it comes to a user that may everything, as in each file that Redis or \
         Valkey has rewritten: its password is `requirepass`, with which it must agree (one that is given by \
         its hash alone is refused). CONFIG REWRITE takes the line out, since `requirepass` says the same. \
         Other users: access control lists are not there yet",
    ),
    (
        "loadmodule",
        "refused: there is no interface for modules; likewise what a module's directives are",
    ),
    ("sentinel", "refused: run the Sentinel of Redis or Valkey"),
];

/// What later versions have and Redstart has not.
const NEWER: &[&str] = &[
    "members of sets that expire (`SEXPIRE`, `STTL`, `SADDEX` and their kind, Redis 8.12)",
    "producers of streams that are told apart (`XADD` with `IDMP` and `IDMPAUTO`, `XCFGSET`, Redis 8.6): \
     what an RDB file knows of them is left out, and the log says so",
    "`MAXCOUNT` and `MAXSIZE` of `XREADGROUP` (Redis 8.10)",
    "`LMOVEM`, `BLMOVEM`, `SUNIONCARD`, `SDIFFCARD`, `HIMPORT` and `BACKUP` (Redis 8.10), `XIDMPRECORD` \
     (Redis 8.8), `CLUSTERSCAN`, `CLIENT IMPORT-SOURCE`, `SHUTDOWN` with `SAFE` and `FAILOVER` (Valkey), \
     vector sets (Redis 8.0)",
    "options behind `FIELDS` of `HEXPIRE`, `HSETEX`, `HGETEX` and their kind (Redis 8.6; not Valkey): \
     they stand in front of it",
    "keyspace events of the classes `o` and `c` and of subkeys (Redis 8.2 and later), and the policies \
     `volatile-lrm` and `allkeys-lrm` (Redis 8.6)",
    "arrays (Redis 8.8), rate limiters and what modules hold: keys of such types stop the load of an RDB \
     file, which names them, or are skipped (`rdb-load-unknown-types skip`)",
    "hashes from templates as an encoding of their own (Redis 8.10): they load as plain hashes",
];

/// Tests of Valkey's own suite that fail by design: unit, test, reason. What fails only because a
/// command isn't there yet is not listed.
const UPSTREAM_TESTS: &[(&str, &str, &str)] = &[
    (
        "unit/lazyfree",
        "lazy free a stream with all types of metadata",
        "a value is freed on another thread by its bytes, not by its parts; this one is too small",
    ),
    (
        "unit/client-eviction",
        "client evicted due to percentage of maxmemory, and the test after it; avoid client eviction \
         when client is freed by output buffer limit; evict clients in right order",
        "they look at a client's query buffer right after writing to it: here it grows with what \
         arrives, by at most 1 MiB a read, and isn't there whole yet",
    ),
    (
        "unit/expire",
        "All time-to-live(TTL) in commands are propagated as absolute timestamp in milliseconds in AOF",
        "its helpers take the manifest's last line for the last increment, and read no comment lines: \
         ours ends in a checksum, and frames begin with a comment line",
    ),
    ("unit/multi", "MULTI with FLUSHALL and AOF", "the same helpers"),
    (
        "unit/expire",
        "All TTL in commands are propagated as absolute timestamp in replication stream",
        "a SET with `pxat` is told with PXAT",
    ),
    (
        "unit/info",
        "errorstats: limit errors; clients: pubsub clients",
        "they want Valkey's ERRORSTATS_OVERFLOW and NOSUB; here they are as in Redis 7.2",
    ),
    (
        "unit/multi",
        "Nested MULTI are not allowed",
        "since Valkey 8.1 a nested MULTI makes EXEC fail; here, as in Redis 7.2, it is refused and \
         nothing else",
    ),
    ("unit/multi", "MULTI with BGREWRITEAOF", "it counts forks"),
    (
        "unit/multi",
        "MULTI / EXEC with REPLICAOF, and what writes on the same server after it",
        "a write behind REPLICAOF is refused in a transaction, too, and what was written before it is \
         in the stream, so that no server has what the others lack; the test ends there and leaves its \
         server a replica, so that the unit is counted without it",
    ),
    (
        "unit/multi",
        "MULTI propagation of XREADGROUP",
        "the entries that one read delivers are one XCLAIM record, where upstream writes one for each",
    ),
    (
        "unit/multi",
        "MULTI with config set appendonly",
        "it counts forks and waits for the message of a delayed one; here the log begins soon after \
         the transaction",
    ),
    (
        "unit/scripting",
        "redis.call variant raises a Lua error on Redis cmd error; Scripts can handle commands with \
         incorrect arity",
        "they want Valkey's texts; ours are Redis 7.0's",
    ),
    (
        "unit/scripting",
        "Test selective replication of certain commands from Lua",
        "the log and the replicas have one stream, so what is for one of them alone is for both",
    ),
    ("unit/scripting", "those after `script debug sync`", "there is no debugger"),
    (
        "unit/functions",
        "LIBRARIES - test registration ..., named arguments ...; FUNCTION - wrong flags type named \
         arguments",
        "they want Valkey's texts, in which the table is `server`; ours are Redis 7.0's",
    ),
    (
        "unit/obuf-limits",
        "HRANDFIELD with huge count stopped mid-run",
        "a count that asks for so many repetitions is refused beforehand (`value is out of range`), since a reply is \
         made whole before it is held against the limit",
    ),
    (
        "unit/introspection",
        "CONFIG sanity",
        "it sets every directive but those that it knows can't be set, and `mptcp` is newer than it: fixed here as in \
         Valkey 9.1",
    ),
    (
        "unit/introspection",
        "valkey-server command line arguments - error cases",
        "it wants Valkey's \"Invalid primary port\"; the text is Redis 7.2's, \"Invalid master port\"",
    ),
    (
        "unit/info",
        "memory: database and pubsub overhead and rehashing dict count",
        "the keyspace grows by splitting segments and never rehashes",
    ),
    (
        "unit/querybuf",
        "query buffer resized correctly, and its two variants",
        "a client holds no query buffer between requests, so there is none to be resized",
    ),
    (
        "unit/pubsub",
        "UNSUBSCRIBE and PUNSUBSCRIBE from non-subscribed channels",
        "since Valkey 8.1 they are refused without a subscription; here, as in Redis 7.2, answered",
    ),
    ("unit/pubsubshard", "SUNSUBSCRIBE from non-subscribed channels", "likewise"),
    (
        "unit/scan",
        "{standalone} SCAN unknown type",
        "Redis 8 and Valkey 9 refuse an unknown type; here, as in Redis 7.2, no key is of it",
    ),
    (
        "unit/type/set",
        "SRANDMEMBER with a dict containing long chain",
        "it waits for a hash table that rehashes; the index of a big set grows and shrinks by \
         segments. It leaves a directive changed, for which six tests of SMOVE fail after it",
    ),
    (
        "unit/sort",
        "SORT STORE quicklist with the right options",
        "it wants compressed nodes (`list-compress-depth`), and there are none",
    ),
    (
        "unit/other",
        "Don't rehash if server has child process",
        "there are no child processes, and nothing rehashes",
    ),
    ("unit/other", "Server can resize empty dict", "the keyspace is no dict that is resized"),
    (
        "unit/other",
        "Process title set as expected",
        "`set-proc-title` and `proc-title-template` have no effect: overwriting the arguments takes \
         code that isn't worth its risk",
    ),
    (
        "unit/shutdown",
        "Temp rdb will be deleted if we use bg_unlink when shutdown",
        "it looks for a child process; the file it is about is deleted (tests/process.rs)",
    ),
    (
        "unit/expire, unit/maxmemory, unit/multi",
        "what looks at SELECT behind MULTI, and lazy expiry in MULTI",
        "here SELECT comes in front of MULTI, and what one command removes is one unit",
    ),
    (
        "unit/maxmemory",
        "integers (not) shared; is the memory limit honoured, only allkeys-* should remove, should only \
         remove volatile keys",
        "no value is shared, so OBJECT REFCOUNT is 1; their limits leave 4 KB of room, and `used_memory` \
         goes by pages of 4 KB here, two at a time where a table grows",
    ),
    (
        "unit/maxmemory",
        "eviction due to output buffers of many MGET clients, with client eviction",
        "what clients hold is summed at the end of a tick, and a command of the same tick may find memory \
         full before: keys go first then",
    ),
    (
        "unit/functions, unit/scripting",
        "what wants `server.` or Valkey's words in errors",
        "the texts are Redis 7.2's",
    ),
    (
        "unit/latency-monitor",
        "LATENCY of expire events are correctly collected",
        "a round of expiry is shorter than the test's threshold",
    ),
    (
        "integration/replication",
        "Diskless load swapdb: replica enter loading, old database is exposed (two \
         tests), Blocked commands and configs during async-loading; replica actually flushes db if use \
         diskless load with flush-before-load; diskless replication read pipe cleanup",
        "they make the primary slow and want the replica to load meanwhile: here a snapshot is received into a \
         file, the old data is served, and orders are taken, until it is complete. `swapdb` is tested by \
         tests/swapdb.rs",
    ),
    (
        "integration/replication",
        "old database is exposed after async replication fails",
        "it fails after the one before it; and DEBUG POPULATE is told to replicas and the log here",
    ),
    (
        "integration/replication",
        "diskless slow, fast, all, timeout replicas drop during rdb pipe",
        "they want a slow replica to hold the snapshot up; here it is complete soon, and waits for it in a \
         file without a name",
    ),
    (
        "integration/replication",
        "diskless replication child being killed is collected; replication child dies when parent is killed",
        "they look for a child process",
    ),
    (
        "integration/replication",
        "Kill rdb child process if its dumping RDB is not useful",
        "its end wants a full sync's file to be kept as dump.rdb; here it is none, and is given up when no \
         replica waits for it",
    ),
    (
        "integration/replication",
        "Discard cache master before loading transferred RDB ... dual-channel-replication yes",
        "it counts a partial sync of that protocol",
    ),
    (
        "integration/replication",
        "replica can handle EINTR if use diskless load",
        "it uses `watchdog-period`, which has no effect here",
    ),
    (
        "integration/replication",
        "Replica keep the old data if RDB file save fails in disk-based replication",
        "it puts a directory in the way of dump.rdb, which a replica doesn't write here; a directory in the way \
         of what it writes is in tests/links.rs",
    ),
    (
        "integration/replication-3",
        "PFCOUNT updates cache on readonly replica",
        "a replica has its primary's bytes and reckons anew each time; the test after it wants the key gone that \
         this one leaves (it passes alone)",
    ),
    (
        "integration/failover",
        "failover aborts if target rejects sync request",
        "it makes the target refuse by ACL SETUSER, which isn't there yet",
    ),
    (
        "sentinel/03-runtime-reconf",
        "Sentinels (re)connection following primary ACL change",
        "it uses ACL SETUSER, which isn't there yet",
    ),
    (
        "sentinel/07-down-conditions",
        "SDOWN is triggered by misconfigured instance replying with errors, now and then",
        "a BGSAVE that failed is tried again after five seconds, just when the test sends the next one, which may \
         hear that one is in progress",
    ),
    (
        "integration/replication-buffer",
        "all tests with dualchannel yes",
        "a snapshot has no connection of its own; what a replica lacks meanwhile is a place in the log",
    ),
    ("integration/dual-channel-replication", "what asks for that protocol", "likewise"),
    (
        "integration/dual-channel-replication",
        "Dual channel replication sync doesn't impair subsequent normal syncs; dual-channel-replication fails when \
         primary diskless disabled",
        "they want a full sync for a replica that was a primary for a while and has written nothing; here that goes \
         on partially",
    ),
    (
        "unit/type/list",
        "SWAPDB wants to wake blocked client, but the key already expired; MULTI + LPUSH + EXPIRE + DEBUG SLEEP",
        "an expired key goes, and that is told, when a client that waits for it would be served, \
         not when it is looked for next. The first leaves the unit in another database, for which the \
         second fails, and the next BLPOP but one waits for ever, so that the unit is counted without them",
    ),
    (
        "integration/aof",
        "AOF fsync always barrier issue; GETEX should not append to AOF",
        "they take the manifest's last line for the last increment; see unit/expire. Nothing else is \
         wrong with them",
    ),
    (
        "integration/aof",
        "Generate timestamp annotations in AOF",
        "likewise; and an increment begins with the header of a frame, the annotation stands in it",
    ),
    (
        "integration/aof",
        "FLUSHDB / FLUSHALL should persist in AOF",
        "likewise; and emptying what is empty changes nothing, so it leaves no record",
    ),
    (
        "integration/aof",
        "Short read: Server should start if load-truncated is yes, and those after it up to Short read + \
         command; Short read: Utility should be able to fix the AOF; Truncate AOF to specific timestamp",
        "they damage the increment that they wrote, but the server has gone on in one of its own \
         since: it appends to no file that it didn't write, and a file that isn't the last is not cut",
    ),
    (
        "integration/aof",
        "EVAL timeout with slow verbatim Lua script from AOF",
        "a script that a log holds is awaited whatever it takes, as one of the primary's stream is; only logs \
         of Redis before 7.0 hold scripts",
    ),
    (
        "integration/aof-multi-part",
        "the tests that compare a manifest's lines",
        "ours has a pair and a line more, `firstframe` and `#CRC32:`; without those (in a copy of the \
         suite that skips them) these tests pass",
    ),
    (
        "integration/aof-multi-part",
        "Multi Part AOF can create BASE (AOF format) ...; Changing aof-use-rdb-preamble ...",
        "a base is always an RDB file",
    ),
    (
        "integration/aof-multi-part",
        "AOF multiple rewrite failures ...; AOF will open a temporary INCR AOF ...; AOF will trigger \
         limit ...; AOF enable during BGSAVE ...",
        "they kill child processes, or wait for one to end",
    ),
    (
        "integration/aof-multi-part",
        "AOF enable/disable auto gc, and the test after it",
        "history is listed oldest first, and goes with the next rewrite",
    ),
    (
        "integration/rdb",
        "Test child sending info; failed bgsave prevents writes; bgsave cancel aborts save, and the \
         test after it",
        "they look at the memory of a child process, kill it, or ask for its number (the test after, \
         on its own, passes)",
    ),
    (
        "integration/corrupt-dump",
        "listpack too long entry len; very long entry len; infinite loop; negative reply length; gcc \
         asan reports false leak on assert; lpFind invalid access; set with duplicate elements ...; NPD in \
         streamIteratorGetID; listpack NPD on invalid stream; stream bad lp_count - unsanitized; stream \
         with no records; stream listpack valgrind issue, and lpPrev valgrind issue",
        "they want a damaged payload to be taken and the server to fail over it later; here a payload \
         is checked in full, whatever `sanitize-dump-payload` says",
    ),
    (
        "integration/corrupt-dump",
        "load corrupted rdb with no CRC; hash listpack with duplicate records - convert; stream with \
         duplicate consumers",
        "the damage is found and refused; they look for upstream's words for it in the log",
    ),
    (
        "integration/logging",
        "Stacktraces generated on SIGALRM",
        "a stack trace made inside a signal handler could hang a server that is well; the signal is \
         noted in the log once the command under way has ended, and does no harm",
    ),
];

/// Valkey's units (October 2024) as measured on 23 to 29 November 2026: passed, failed for what isn't there
/// yet, failed by design.
const UPSTREAM_COUNTS: &[(&str, u32, u32, u32)] = &[
    ("unit/type/string", 83, 0, 0),
    ("unit/type/incr", 33, 0, 0),
    ("unit/expire", 67, 1, 5),
    ("unit/type/list", 283, 0, 2),
    ("unit/type/list-2", 2, 0, 0),
    ("unit/type/list-3", 11, 0, 0),
    ("unit/type/hash", 75, 0, 0),
    ("unit/type/set", 112, 0, 7),
    ("unit/type/zset", 322, 0, 0),
    ("unit/type/stream", 81, 0, 0),
    ("unit/bitops", 50, 0, 0),
    ("unit/bitfield", 22, 0, 0),
    ("unit/hyperloglog", 25, 0, 0),
    ("unit/geo", 64, 0, 0),
    ("unit/sort", 53, 2, 1),
    ("unit/pubsub", 31, 0, 1),
    ("unit/pubsubshard", 10, 0, 1),
    ("unit/tracking", 58, 0, 0),
    ("unit/slowlog", 19, 1, 0),
    ("unit/latency-monitor", 14, 0, 1),
    ("unit/functions", 98, 0, 12),
    ("unit/pause", 18, 0, 0),
    ("unit/lazyfree", 3, 0, 1),
    ("unit/other", 28, 3, 3),
    ("unit/keyspace", 59, 0, 0),
    ("unit/scan", 23, 2, 1),
    ("unit/multi", 55, 2, 8),
    ("unit/auth", 11, 2, 0),
    ("unit/protocol", 21, 4, 0),
    ("unit/quit", 3, 0, 0),
    ("unit/querybuf", 0, 0, 3),
    ("unit/scripting", 547, 8, 13),
    ("unit/memefficiency", 5, 3, 0),
    ("unit/aofrw", 22, 0, 0),
    ("unit/dump", 27, 0, 0),
    ("unit/maxmemory", 26, 0, 7),
    ("unit/info", 21, 1, 3),
    ("unit/introspection-2", 45, 1, 0),
    ("unit/introspection", 51, 1, 2),
    ("unit/shutdown", 8, 0, 1),
    ("integration/logging", 2, 0, 1),
    ("integration/aof", 30, 2, 11),
    ("integration/aof-multi-part", 17, 0, 19),
    ("integration/rdb", 13, 0, 3),
    ("integration/corrupt-dump", 60, 0, 16),
    ("integration/corrupt-dump-fuzzer", 2, 0, 0),
    ("integration/replication", 48, 0, 18),
    ("integration/replication-2", 7, 0, 0),
    ("integration/replication-3", 5, 0, 2),
    ("integration/replication-4", 17, 0, 0),
    ("integration/replication-buffer", 9, 0, 6),
    ("integration/replication-psync", 120, 0, 0),
    ("integration/psync2", 52, 0, 0),
    ("integration/psync2-reg", 18, 0, 0),
    ("integration/psync2-pingoff", 6, 0, 0),
    ("integration/psync2-master-restart", 4, 0, 0),
    ("integration/block-repl", 2, 0, 0),
    ("integration/failover", 12, 1, 0),
    ("integration/replica-redirect", 8, 0, 0),
    ("integration/shutdown", 5, 0, 0),
    ("unit/wait", 38, 0, 0),
    ("sentinel, with Valkey 9.1.2's Sentinel over servers of ours", 208, 1, 0),
    ("unit/type/stream-cgroups", 65, 0, 0),
    ("integration/convert-zipmap-hash-on-load", 3, 0, 0),
    ("integration/convert-ziplist-hash-on-load", 2, 0, 0),
    ("integration/convert-ziplist-zset-on-load", 2, 0, 0),
];

/// The whole file.
pub fn render() -> String {
    let registry = Registry::new();
    let mut out = String::new();
    // Writing to a String can't fail, here and below.
    let _ = write!(
        out,
        "# Compatibility with Redis and Valkey\n\nRedstart {VERSION} keeps the behaviour of Redis \
         {REDIS_VERSION} and, where Valkey 8 has more, of that. This file is generated from the \
         tables in the source: `REGENERATE=1 cargo test --test compat`.\n\n## In general\n\n"
    );
    for line in GENERAL {
        let _ = writeln!(out, "- {line}");
    }
    push_commands(&mut out, &registry);
    push_missing(&mut out, &registry);
    push_directives(&mut out);
    push_tests(&mut out);
    out
}

fn push_tests(out: &mut String) {
    out.push_str(
        "\n## Upstream's tests that fail by design\n\n| unit | test | reason |\n|---|---|---|\n",
    );
    for (unit, test, reason) in UPSTREAM_TESTS {
        let _ = writeln!(out, "| {unit} | {test} | {reason} |");
    }
    out.push_str(
        "\n### Counts\n\nOf whole units. Failed tests that are not by design use commands that are \
         not there yet, or follow one that does in the same unit.\n\n\
         | unit | passed | failed, later features | failed by design |\n|---|---|---|---|\n",
    );
    for (unit, passed, later, design) in UPSTREAM_COUNTS {
        let _ = writeln!(out, "| {unit} | {passed} | {later} | {design} |");
    }
}

fn push_commands(out: &mut String, registry: &Registry) {
    let _ = write!(
        out,
        "\n## Commands\n\n\"Since\" is the version of Redis or Valkey that brought the command. \
         Where the last column is empty, nothing is known to be different.\n"
    );
    for (family, _) in UPSTREAM {
        let of_family = |entry: &&Entry| entry.spec.group.name() == *family;
        let mut entries: Vec<&Entry> =
            registry.iter().map(|(_, entry)| entry).filter(of_family).collect();
        if entries.is_empty() {
            continue;
        }
        entries.sort_by(|a, b| a.full_name.cmp(&b.full_name));
        let _ = write!(out, "\n### {family}\n\n| command | since | state | differences |\n");
        out.push_str("|---|---|---|---|\n");
        for entry in entries {
            push_row(out, entry);
        }
    }
}

fn push_row(out: &mut String, entry: &Entry) {
    let spec = entry.spec;
    let usage = usage(entry);
    let state = if spec.deviations.is_empty() { "complete" } else { "differs" };
    let deviations: Vec<String> = spec
        .deviations
        .iter()
        .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let _ = writeln!(
        out,
        "| `{}` | {} | {state} | {} |",
        usage.replace('|', "\\|"),
        spec.since,
        deviations.join("; ").replace('|', "\\|"),
    );
}

/// Name and arguments as one writes them.
fn usage(entry: &Entry) -> String {
    let name = entry.full_name.to_ascii_uppercase().replace('|', " ");
    let words: Vec<String> = entry.spec.syntax.split(' ').map(syntax::without_type).collect();
    format!("{name} {}", words.join(" ")).trim_end().to_owned()
}

fn push_missing(out: &mut String, registry: &Registry) {
    let present: BTreeSet<String> = registry
        .iter()
        .map(|(_, entry)| entry.full_name.to_ascii_uppercase().replace('|', " "))
        .collect();
    out.push_str("\n## Not there yet\n\n");
    let mut count = 0;
    for (family, names) in UPSTREAM {
        let missing: Vec<String> = names
            .iter()
            .filter(|name| !present.contains(**name))
            .map(|name| format!("`{name}`"))
            .collect();
        count += missing.len();
        if !missing.is_empty() {
            let _ = writeln!(out, "- {family}: {}", missing.join(", "));
        }
    }
    let _ = write!(out, "\n{count} commands and subcommands in all.\n");
    out.push_str("\nOf what came after 7.2 and isn't in the tables above:\n\n");
    for line in NEWER {
        let _ = writeln!(out, "- {line}");
    }
}

fn push_directives(out: &mut String) {
    let mut heeded = 0;
    let (mut inert, mut refused) = (Vec::new(), Vec::new());
    for row in directives::all() {
        match row.standing {
            Standing::Implemented => heeded += 1,
            Standing::NoEffect(reason) => inert.push((row.name, reason)),
            Standing::Refused(reason) => refused.push((row.name, reason)),
        }
    }
    let _ = write!(
        out,
        "\n## Configuration\n\nEvery directive of Redis 7.2 and Valkey 9 is known. {heeded} do what \
         they say (`redstart --help` lists them with a sentence each).\n"
    );
    for (title, rows) in [
        ("Accepted, kept and shown, but without effect", inert),
        ("Refused unless at the default", refused),
    ] {
        let _ = write!(out, "\n### {title}\n\n| directive | reason |\n|---|---|\n");
        for (name, reason) in rows {
            let _ = writeln!(out, "| `{name}` | {} |", reason.replace('|', "\\|"));
        }
    }
    out.push_str("\n### Lines that are no directives\n\n| line | difference |\n|---|---|\n");
    for (name, difference) in LINES {
        let _ = writeln!(out, "| `{name}` | {difference} |");
    }
}
