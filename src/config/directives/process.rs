//! Directives of the process, its log, and what people look at.

use crate::config::checks::title_template;
use crate::config::directives::{Directive, INT, LONG, choice, field, flag, number, several, text};

const CRASHES: &str = "a crash report looks at no memory";
const TESTS: &str = "a switch for tests of another implementation";
const PINNING: &str = "threads are not pinned";

/// The rows.
pub(crate) const ROWS: &[Directive] = &[
    flag("daemonize", field!(daemonize), "no").fixed().doc("Go to the background after the start."),
    text("pidfile", field!(pidfile), "").fixed().doc("File to write the process number to."),
    choice("supervised", field!(supervised), "no")
        .fixed()
        .doc("Service manager to report readiness to."),
    several("shutdown-on-sigint", field!(shutdown_on_sigint), "default")
        .doc("Options of SHUTDOWN that SIGINT has."),
    several("shutdown-on-sigterm", field!(shutdown_on_sigterm), "default")
        .doc("Options of SHUTDOWN that SIGTERM has."),
    number("shutdown-timeout", field!(shutdown_timeout), (0, INT), "10")
        .doc("Seconds to wait for replicas at shutdown."),
    choice("loglevel", field!(loglevel), "notice").doc("Least important messages to log."),
    text("logfile", field!(logfile), "").fixed().doc("File to log to; empty for standard output."),
    choice("log-format", field!(log_format), "legacy")
        .doc("Shape of log lines: legacy (also text), logfmt, or json."),
    choice("log-timestamp-format", field!(log_timestamp_format), "legacy")
        .doc("Shape of the time in log lines."),
    flag("syslog-enabled", field!(syslog_enabled), "no")
        .fixed()
        .doc("Log to the system log as well."),
    text("syslog-ident", field!(syslog_ident), "redis").fixed().doc("Name in the system log."),
    choice("syslog-facility", field!(syslog_facility), "local0")
        .fixed()
        .doc("Facility in the system log."),
    flag("hide-user-data-from-log", field!(hide_user_data_from_log), "yes")
        .inert("they are never logged")
        .doc("Keep keys and values out of the log."),
    flag("always-show-logo", field!(always_show_logo), "no")
        .fixed()
        .inert("there is no picture")
        .doc("Log a picture at the start even where the log is no terminal."),
    flag("set-proc-title", field!(set_proc_title), "yes")
        .fixed()
        .inert("the process keeps its name")
        .doc("Show the addresses in the process list."),
    text("proc-title-template", field!(proc_title_template), "{title} {listen-addr} {server-mode}")
        .inert("the process keeps its name")
        .check(title_template)
        .doc("Text for the process list."),
    number("databases", field!(databases), (1, INT), "16")
        .fixed()
        .doc("How many databases there are."),
    number("hz", field!(hz), (0, INT), "10")
        .doc("Rounds of background work a second; kept within 1 and 500."),
    flag("dynamic-hz", field!(dynamic_hz), "yes")
        .inert("background work goes by need")
        .doc("More rounds the more clients there are."),
    choice("enable-protected-configs", field!(enable_protected_configs), "no")
        .fixed()
        .doc("Who may change directives that reach outside of the server, such as dir."),
    choice("enable-debug-command", field!(enable_debug_command), "no")
        .fixed()
        .doc("Who may use DEBUG."),
    choice("enable-module-command", field!(enable_module_command), "no")
        .fixed()
        .inert("modules are not supported")
        .doc("Who may use MODULE."),
    number("slowlog-log-slower-than", field!(slowlog_log_slower_than), (-1, LONG), "10000")
        .alias("commandlog-execution-slower-than")
        .doc("Microseconds from which a command goes to the slow log; -1 for never."),
    number("slowlog-max-len", field!(slowlog_max_len), (0, LONG), "128")
        .alias("commandlog-slow-execution-max-len")
        .doc("Commands that the slow log keeps."),
    number(
        "commandlog-request-larger-than",
        field!(commandlog_request_larger_than),
        (-1, LONG),
        "1048576",
    )
    .doc("Bytes from which a request goes to the log of large ones; -1 for never."),
    number(
        "commandlog-large-request-max-len",
        field!(commandlog_large_request_max_len),
        (0, LONG),
        "128",
    )
    .doc("Commands that the log of large requests keeps."),
    number(
        "commandlog-reply-larger-than",
        field!(commandlog_reply_larger_than),
        (-1, LONG),
        "1048576",
    )
    .doc("Bytes from which a reply goes to the log of large ones; -1 for never."),
    number(
        "commandlog-large-reply-max-len",
        field!(commandlog_large_reply_max_len),
        (0, LONG),
        "128",
    )
    .doc("Commands that the log of large replies keeps."),
    number("latency-monitor-threshold", field!(latency_monitor_threshold), (0, LONG), "0")
        .doc("Milliseconds from which LATENCY keeps an event; 0 for never."),
    flag("latency-tracking", field!(latency_tracking), "yes")
        .doc("Keep the distribution of latency for each command."),
    several(
        "latency-tracking-info-percentiles",
        field!(latency_tracking_info_percentiles),
        "50 99 99.9",
    )
    .always_written()
    .doc("Percentiles of latency that INFO shows."),
    number("busy-reply-threshold", field!(busy_reply_threshold), (0, LONG), "5000")
        .alias("lua-time-limit")
        .doc("Milliseconds after which a running script lets others be answered with BUSY."),
    flag("extended-redis-compatibility", field!(extended_redis_compatibility), "no")
        .inert("it always does")
        .doc("Say in more places to be Redis."),
    text("ignore-warnings", field!(ignore_warnings), "")
        .inert("no warning stops the start")
        .doc("Warnings of the start that must not stop it."),
    text("locale-collate", field!(locale_collate), "")
        .inert("SORT ALPHA compares bytes, as in the locale C")
        .doc("Locale that sorting follows."),
    flag("crash-log-enabled", field!(crash_log_enabled), "yes").doc("Report crashes in the log."),
    flag("crash-memcheck-enabled", field!(crash_memcheck_enabled), "yes")
        .inert(CRASHES)
        .doc("Check memory after a crash."),
    flag("use-exit-on-panic", field!(use_exit_on_panic), "no")
        .hidden()
        .inert(TESTS)
        .doc("Exit rather than abort on a bug."),
    flag("enable-debug-assert", field!(enable_debug_assert), "no")
        .hidden()
        .fixed()
        .inert(TESTS)
        .doc("Check more."),
    text("debug-context", field!(debug_context), "")
        .hidden()
        .inert("a crash report has no text of the user's")
        .doc("Text for crash reports."),
    number("watchdog-period", field!(watchdog_period), (0, INT), "0")
        .hidden()
        .inert(TESTS)
        .doc("Milliseconds after which a stall is reported."),
    flag("disable-thp", field!(disable_thp), "yes")
        .fixed()
        .inert("the table never uses huge pages")
        .doc("Have no huge pages."),
    choice("oom-score-adj", field!(oom_score_adj), "no")
        .inert("the score is left as it is")
        .doc("Adjust the score by which the system picks a process to kill when memory runs out."),
    several("oom-score-adj-values", field!(oom_score_adj_values), "0 200 800")
        .inert("the score is left as it is")
        .doc("Scores of a primary, a replica and a background process."),
    text("server_cpulist", field!(server_cpulist), "")
        .alias("server-cpulist")
        .fixed()
        .inert(PINNING)
        .doc("Processors to run on."),
    text("bio_cpulist", field!(bio_cpulist), "")
        .alias("bio-cpulist")
        .fixed()
        .inert(PINNING)
        .doc("Processors for background threads."),
    text("aof_rewrite_cpulist", field!(aof_rewrite_cpulist), "")
        .alias("aof-rewrite-cpulist")
        .fixed()
        .inert(PINNING)
        .doc("Processors for rewriting the log."),
    text("bgsave_cpulist", field!(bgsave_cpulist), "")
        .alias("bgsave-cpulist")
        .fixed()
        .inert(PINNING)
        .doc("Processors for snapshots."),
];
