//! Directives of sockets and of what a client may take.

use crate::config::directives::{
    Directive, INT, LONG, UINT, choice, field, flag, memory, number, octal, several, single, text,
};

use crate::resp::request::{ARGUMENT_BYTES_MAX, BUFFER_BYTES_MAX};

const THREADS: &str = "one thread reads and writes";
const USERS: &str = "access control lists are not there yet";

/// The rows.
pub(crate) const ROWS: &[Directive] = &[
    several("bind", field!(bind), "* -::*")
        .doc("Addresses to listen on; a leading - makes one optional."),
    text("bind-source-addr", field!(bind_source_addr), "")
        .doc("Address that outgoing connections come from."),
    number("port", field!(port), (0, 65_535), "6379").doc("TCP port; 0 for none."),
    number("tcp-backlog", field!(tcp_backlog), (0, INT), "511")
        .fixed()
        .doc("Connections that may wait to be accepted."),
    text("unixsocket", field!(unixsocket), "")
        .fixed()
        .doc("Path of a unix socket to listen on as well."),
    text("unixsocketgroup", field!(unixsocketgroup), "")
        .fixed()
        .doc("Group that the unix socket belongs to."),
    octal("unixsocketperm", field!(unixsocketperm), (0, 0o777), "0")
        .fixed()
        .doc("Permissions of the unix socket, octal; 0 leaves them to the umask."),
    number("socket-mark-id", field!(socket_mark_id), (0, UINT), "0")
        .fixed()
        .refused("sockets are not marked")
        .doc("Mark on every socket for the firewall; 0 for none."),
    flag("mptcp", field!(mptcp), "no")
        .fixed()
        .inert("connections are plain TCP")
        .doc("Take clients over several paths at once (Multipath TCP)."),
    flag("protected-mode", field!(protected_mode), "yes")
        .doc("Without a password, only clients on this machine may connect."),
    text("requirepass", field!(requirepass), "")
        .secret()
        .doc("Password that clients must give to AUTH or HELLO; empty for none."),
    number("timeout", field!(timeout), (0, INT), "0")
        .doc("Seconds after which an idle client is closed; 0 for never."),
    number("tcp-keepalive", field!(tcp_keepalive), (0, INT), "300")
        .doc("Seconds between probes of an idle connection; 0 for none."),
    number("maxclients", field!(maxclients), (1, UINT), "10000").doc("Clients served at once."),
    single("maxmemory-clients", field!(maxmemory_clients), "0")
        .doc("Memory for all client buffers together, in bytes or percent of maxmemory."),
    several(
        "client-output-buffer-limit",
        field!(client_output_buffer_limit),
        "normal 0 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60",
    )
    .doc("How far replies may pile up: class, hard limit, soft limit, seconds."),
    memory(
        "client-query-buffer-limit",
        field!(client_query_buffer_limit),
        (1 << 20, BUFFER_BYTES_MAX as i128),
        "1gb",
    )
    .doc("Size of a request in the making at which its client is closed; below 4 GiB."),
    memory(
        "proto-max-bulk-len",
        field!(proto_max_bulk_len),
        (1 << 20, ARGUMENT_BYTES_MAX as i128),
        "512mb",
    )
    .doc("Longest single argument and longest string; at most a MiB less than 4 GiB."),
    number("client-default-resp", field!(client_default_resp), (2, 3), "2")
        .hidden()
        .fixed()
        .doc("Version of RESP for clients that have not said HELLO."),
    number("max-new-connections-per-cycle", field!(max_new_connections_per_cycle), (1, 1000), "10")
        .doc("Connections accepted in one go, before clients have their turn."),
    number(
        "max-new-tls-connections-per-cycle",
        field!(max_new_tls_connections_per_cycle),
        (1, 1000),
        "1",
    )
    .inert("TLS is not there yet")
    .doc("TLS connections accepted in one go."),
    number("io-threads", field!(io_threads), (1, 128), "1")
        .fixed()
        .inert(THREADS)
        .doc("Threads that read and write sockets."),
    flag("io-threads-do-reads", field!(io_threads_do_reads), "no")
        .inert(THREADS)
        .doc("Whether these threads read as well."),
    number("events-per-io-thread", field!(events_per_io_thread), (0, INT), "2")
        .inert(THREADS)
        .doc("Events at which a further thread helps."),
    number("prefetch-batch-max-size", field!(prefetch_batch_max_size), (0, 128), "16")
        .inert("a whole batch is always fetched ahead")
        .doc("Keys fetched ahead together."),
    number("spin-us", field!(spin_us), (0, 1_000_000), "20").doc(
        "Microseconds to look for requests before going to sleep, while they come that fast, and \
             three times as many for 8 active clients and more, except while a snapshot runs; 0 to \
             sleep at once, for less CPU.",
    ),
    number("gather-us", field!(gather_us), (0, 1_000_000), "200").doc(
        "Microseconds from the beginning of one round of commands within which the next one waits \
             for more clients, where many of them send single commands, or pipelines that go to a \
             log; 0 to answer each at once.",
    ),
    number("tracking-table-max-keys", field!(tracking_table_max_keys), (0, LONG), "1000000")
        .doc("Keys remembered for client-side caches; 0 for no limit."),
    text("aclfile", field!(aclfile), "")
        .fixed()
        .refused(USERS)
        .doc("File of users and their rights."),
    number("acllog-max-len", field!(acllog_max_len), (0, LONG), "128")
        .inert(USERS)
        .doc("Denied commands remembered for ACL LOG."),
    choice("acl-pubsub-default", field!(acl_pubsub_default), "resetchannels")
        .inert(USERS)
        .doc("Channels that a new user may use."),
    text("availability-zone", field!(availability_zone), "")
        .doc("Where this server runs, for clients that prefer a near one."),
];
