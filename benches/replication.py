#!/usr/bin/env python3
"""What replicas cost: a full sync, a replica that stood still, the way of a change to a replica.

  benches/replication.py [--job full|stopped|lag|throughput|quorum] [--seconds N] [--rounds N] [--requests N]
                         SERVER_BINARY...

full     5 M small keys, 8,000 writes a second; a replica comes (diskless). How long until it is in step, how much
         more memory the primary takes at the most (proportional set size of all its processes), the longest PING
         there before and meanwhile.
stopped  50 MB of writes a second, a backlog of 1 MB, and the replica stands still (SIGSTOP) for --seconds. Full
         and partial syncs, the most that the primary's used_memory grows, how long until it has caught up.
lag      From PUBLISH at the primary to the message at a subscriber of the replica, at half of the most SETs that
         one connection gets through at pipeline 16.
throughput  SET at pipeline 16, 50 connections (redis-benchmark), random ones of 100,000 keys, no log, with 0, 1 and
         2 replicas of the same binary: requests a second, and the primary's processor time for each (all its
         threads; what counts where the replicas take the load's core from it). The binaries take turns in each
         round; medians, and the second binary's to the first's.
quorum   SET at pipeline 1, 50 connections, no log, one replica: `write-quorum` 0 and 1 in turns, on one server;
         requests a second and the median latency; medians, and 1 to 0. Passes over binaries that don't know it.

In the end all have the same data (DEBUG DIGEST). Environment: BENCH_DIR (where data goes; a real disk, please),
SERVER_CPU=0 (the primary's core), LOAD_CPU=1 (that of the replicas and of all load).
"""

import argparse
import csv
import os
import random
import signal
import statistics
import subprocess
import threading
import time

from probe import Pinger, encode
from walk_cost import Client, Process

KEYS = 5_000_000
WRITES_A_SECOND = 8_000
BYTES_A_SECOND = 50_000_000
PATIENCE_SECONDS = 900
MIB = 1 << 20
REPLICAS = (0, 1, 2)
REQUESTS = {"throughput": 4_000_000, "quorum": 300_000}
SERVER_CPU = int(os.environ.get("SERVER_CPU", 0))
LOAD_CPU = int(os.environ.get("LOAD_CPU", 1))


def stolen():
    """Seconds that the machine's owner has given to others, of all cores together."""
    with open("/proc/stat") as file:
        return int(file.readline().split()[8]) / os.sysconf("SC_CLK_TCK")


def pin(process, cpu):
    """All threads that it has; those to come inherit it."""
    for task in os.listdir(f"/proc/{process.process.pid}/task"):
        os.sched_setaffinity(int(task), {cpu})


class Group:
    """A primary, and replicas that don't follow it yet."""

    def __init__(self, binary, *directives, all_have=(), replicas=1):
        debug = ("--enable-debug-command", "yes", "--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0")
        self.primary = Process(binary, *debug, *all_have, *directives)
        self.replicas = [Process(binary, *debug, *all_have) for _ in range(replicas)]
        # The primary has a core of its own, as on a machine of its own: else it waits for the replicas' threads.
        os.sched_setaffinity(0, {LOAD_CPU})
        pin(self.primary, SERVER_CPU)
        for replica in self.replicas:
            pin(replica, LOAD_CPU)
        self.stop = threading.Event()
        self.threads = []

    @property
    def replica(self):
        return self.replicas[0]

    def spawn(self, work):
        self.threads.append(threading.Thread(target=work, daemon=True))
        self.threads[-1].start()

    def follow(self):
        for replica in self.replicas:
            replica.client("REPLICAOF", "127.0.0.1", self.primary.port)

    def behind(self):
        """Bytes of the stream that the last replica lacks; None while one isn't in step."""
        ours, behind = self.primary.client.info(), 0
        for number, replica in enumerate(self.replicas):
            theirs = replica.client.info()
            if theirs.get("master_link_status") != "up" or "state=online" not in ours.get(f"slave{number}", ""):
                return None
            behind = max(behind, int(ours["master_repl_offset"]) - int(theirs["slave_repl_offset"]))
        return behind

    def await_behind(self, bound, watch=lambda: None):
        """Waits until the replica lacks no more than a bound; seconds."""
        began = time.monotonic()
        while True:
            behind = self.behind()
            watch()
            if behind is not None and behind <= bound:
                return time.monotonic() - began
            if time.monotonic() - began > PATIENCE_SECONDS:
                raise SystemExit(f"the replica lacks {behind} bytes for ever")
            time.sleep(0.1)

    def end(self):
        """Ends the load; whether all have the same data."""
        self.stop.set()
        for thread in self.threads:
            thread.join()
        self.await_behind(0)
        servers = [self.primary, *self.replicas]
        digests = {server.client("DEBUG", "DIGEST") for server in servers}
        for server in servers:
            server.close()
        return "equal" if len(digests) == 1 else "DIFFERENT"


def send_all(client, commands):
    client.socket.sendall(b"".join(encode(*command) for command in commands))
    for _ in commands:
        client.read()


def full(binary, _):
    limit = ("--client-output-buffer-limit", "replica 0 0 0")
    group = Group(binary, *limit)
    client = group.primary.client
    for first in range(0, KEYS, 1000):
        send_all(client, [("SET", "key:%012d" % key, "value:%08d" % key) for key in range(first, first + 1000)])
    pinger = Pinger(group.primary.port)

    def write():
        client, chosen, sent, began = Client(group.primary.port), random.Random(1), 0, time.monotonic()
        while not group.stop.is_set():
            keys = [chosen.randrange(KEYS) for _ in range(20)]
            send_all(client, [("SET", "key:%012d" % key, "other:%08d" % sent) for key in keys])
            sent += 20
            time.sleep(max(0, began + sent / WRITES_A_SECOND - time.monotonic()))

    group.spawn(write)
    time.sleep(3)
    pinger.longest()
    before, most, began, stolen_at = group.primary.memory(), 0, time.monotonic(), [stolen()]

    def watch():
        nonlocal most
        most = max(most, group.primary.memory())

    # What is asked meanwhile is asked before, too.
    while time.monotonic() - began < 15:
        group.behind()
        watch()
        time.sleep(0.1)
    idle = pinger.longest()
    stolen_at.append(stolen())
    group.follow()
    seconds = group.await_behind(1 << 20, watch)
    longest = pinger.longest()
    stolen_at.append(stolen())
    pinger.close()
    print(
        f"  {seconds:.1f} s, {before / MIB:.0f} MiB and {(most - before) / MIB:.0f} more, longest PING before "
        f"{idle * 1e3:.1f} ms, meanwhile {longest * 1e3:.1f} ms ({1e3 * (stolen_at[1] - stolen_at[0]):.0f} and "
        f"{1e3 * (stolen_at[2] - stolen_at[1]):.0f} ms stolen), {group.end()}",
        flush=True,
    )


def stopped(binary, seconds):
    group = Group(binary, "--repl-backlog-size", "1mb")
    client, sent = group.primary.client, 0

    def write():
        nonlocal sent
        client, chosen, began = Client(group.primary.port), random.Random(1), time.monotonic()
        values = os.urandom(1 << 20)
        while not group.stop.is_set():
            at = [(chosen.randrange(20_000), chosen.randrange(1_000_000)) for _ in range(50)]
            send_all(client, [("SET", f"key:{key}", values[start : start + 4096]) for key, start in at])
            sent += 50 * 4096
            time.sleep(max(0, began + sent / BYTES_A_SECOND - time.monotonic()))

    group.spawn(write)
    time.sleep(1)
    group.follow()
    group.await_behind(1 << 20)
    time.sleep(5)
    counts = ("sync_full", "sync_partial_ok", "sync_partial_err")
    before, written = client.info(), sent
    most = 0

    def watch():
        nonlocal most
        most = max(most, int(client.info()["used_memory"]))

    group.replica.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        watch()
        time.sleep(0.25)
    rate = (sent - written) / (time.monotonic() - began)
    group.replica.process.send_signal(signal.SIGCONT)
    caught_up = group.await_behind(5_000_000, watch)
    after = client.info()
    told = ", ".join(f"{name} +{int(after[name]) - int(before[name])}" for name in counts)
    print(
        f"  {seconds} s at {rate / 1e6:.0f} MB/s: {told}, used_memory +{(most - int(before['used_memory'])) / MIB:.1f} "
        f"MiB, caught up after {caught_up:.1f} s, {group.end()}",
        flush=True,
    )


def lag(binary, _):
    group = Group(binary)
    group.follow()
    group.await_behind(0)
    lags = []

    def load(rate, seconds):
        client, sent, began = Client(group.primary.port), 0, time.monotonic()
        while time.monotonic() - began < seconds:
            send_all(client, [("SET", "key:%d" % random.randrange(100_000), "abc") for _ in range(16)])
            sent += 16
            if rate:
                time.sleep(max(0, began + sent / rate - time.monotonic()))
        return sent / (time.monotonic() - began)

    def listen():
        client = Client(group.replica.port)
        client("SUBSCRIBE", "lag")
        for _ in range(3):
            client.read()
        while client.read():
            client.read()
            client.read()
            lags.append(time.perf_counter() - float(client.read()))

    most = load(0, 4)
    group.spawn(lambda: load(most / 2, 12))
    threading.Thread(target=listen, daemon=True).start()
    for _ in range(2000):
        group.primary.client("PUBLISH", "lag", repr(time.perf_counter()))
        time.sleep(0.005)
    lags.sort()
    print(
        f"  {most / 2:.0f} SETs a second: median {lags[len(lags) // 2] * 1e3:.2f} ms, "
        f"p99 {lags[len(lags) * 99 // 100] * 1e3:.2f} ms, {group.end()}",
        flush=True,
    )


def load_sets(port, pipeline, requests):
    """Requests a second and the median latency in milliseconds, as redis-benchmark tells them."""
    command = ["redis-benchmark", "-p", str(port), "-t", "set", "-r", "100000"]
    command += ["-c", "50", "-P", str(pipeline), "-n", str(requests), "--csv"]
    told = subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
    row = next(csv.DictReader(line for line in told.splitlines() if line.startswith('"')))
    return float(row["rps"]), float(row["p50_latency_ms"])


def middle(rounds):
    return [statistics.median(figures) for figures in zip(*rounds)]


def load_group(binary, replicas):
    """A primary without a log that keeps what slow replicas lack, and replicas in step."""
    no_log = ("--appendonly", "no", "--client-output-buffer-limit", "replica 0 0 0")
    group = Group(binary, all_have=no_log, replicas=replicas)
    group.follow()
    group.await_behind(0)
    return group


def throughput(options):
    names = {number: f"{number + 1} {os.path.basename(server)}" for number, server in enumerate(options.servers)}
    found = {(number, replicas): [] for replicas in REPLICAS for number in names}
    for _ in range(options.rounds):
        for (number, replicas), rounds in found.items():
            group = load_group(options.servers[number], replicas)
            port, requests = group.primary.port, options.requests
            load_sets(port, 16, requests // 10)
            group.await_behind(0)
            cpu = group.primary.cpu_seconds()
            rate, _ = load_sets(port, 16, requests)
            cpu = (group.primary.cpu_seconds() - cpu) / requests * 1e6
            later, syncs = group.await_behind(0), group.primary.client.info()["sync_full"]
            rounds.append((rate, cpu))
            print(
                f"  round  {names[number]:16} {replicas} replicas: {rate:.0f} SETs a second, {cpu:.3f} us each, "
                f"in step {later:.1f} s later, {syncs} full syncs, {group.end()}",
                flush=True,
            )
    medians = {key: middle(rounds) for key, rounds in found.items()}
    for (number, replicas), (rate, cpu) in medians.items():
        what = f"{names[number]:16} {replicas} replicas"
        print(f"  median {what}: {rate:.0f} SETs a second, {cpu:.3f} us each", flush=True)
    if len(names) == 2:
        for replicas in REPLICAS:
            (rate, cpu), (other_rate, other_cpu) = medians[0, replicas], medians[1, replicas]
            print(
                f"  second to first, {replicas} replicas: {other_rate / rate:.2f} times the SETs, "
                f"{other_cpu / cpu:.2f} times the processor time each",
                flush=True,
            )


def quorum(options):
    for server in options.servers:
        name = os.path.basename(server)
        group = load_group(server, 1)
        client, port = group.primary.client, group.primary.port
        if client("CONFIG", "SET", "write-quorum", "0") != b"+OK":
            print(f"  {name} doesn't know write-quorum", flush=True)
            group.end()
            continue
        load_sets(port, 1, options.requests // 10)
        found = {"0": [], "1": []}
        for number in range(options.rounds):
            for asked in sorted(found, reverse=number % 2 == 1):
                if client("CONFIG", "SET", "write-quorum", asked) != b"+OK":
                    raise SystemExit(f"{name} refuses write-quorum {asked}")
                rate, latency = load_sets(port, 1, options.requests)
                found[asked].append((rate, latency))
                what = f"{name:16} write-quorum {asked}"
                print(f"  round  {what}: {rate:.0f} SETs a second, {latency:.3f} ms", flush=True)
        medians = {asked: middle(rounds) for asked, rounds in found.items()}
        for asked, (rate, latency) in medians.items():
            what = f"{name:16} write-quorum {asked}"
            print(f"  median {what}: {rate:.0f} SETs a second, {latency:.3f} ms", flush=True)
        print(f"  1 to 0: {medians['1'][0] / medians['0'][0]:.2f} times the SETs, {group.end()}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    jobs = {"full": full, "stopped": stopped, "lag": lag}
    in_turns = {"throughput": throughput, "quorum": quorum}
    parser.add_argument("--job", choices=[*jobs, *in_turns], default="full")
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, help="of one measurement of throughput or quorum")
    parser.add_argument("servers", nargs="+")
    options = parser.parse_args()
    if options.job in in_turns:
        options.requests = options.requests or REQUESTS[options.job]
        print(f"{options.job}, {options.requests} requests each", flush=True)
        in_turns[options.job](options)
        return
    for server in options.servers:
        print(f"{options.job} {os.path.basename(server)}", flush=True)
        jobs[options.job](server, options.seconds)


if __name__ == "__main__":
    main()
