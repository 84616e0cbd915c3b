#!/usr/bin/env python3
"""What replicas cost: a full sync, a replica that stood still, the way of a change to a replica.

  benches/replication.py [--job full|stopped|lag] [--seconds N] SERVER_BINARY...

full     5 M small keys, 8,000 writes a second; a replica comes (diskless). How long until it is in step, how much
         more memory the primary takes at the most (proportional set size of all its processes), the longest PING
         there before and meanwhile.
stopped  50 MB of writes a second, a backlog of 1 MB, and the replica stands still (SIGSTOP) for --seconds. Full
         and partial syncs, the most that the primary's used_memory grows, how long until it has caught up.
lag      From PUBLISH at the primary to the message at a subscriber of the replica, at half of the most SETs that
         one connection gets through at pipeline 16.

In the end both have the same data (DEBUG DIGEST). Environment: BENCH_DIR (where data goes; a real disk, please).
"""

import argparse
import multiprocessing
import os
import random
import signal
import threading
import time

from walk_cost import Client, Process, encode

KEYS = 5_000_000
WRITES_A_SECOND = 8_000
BYTES_A_SECOND = 50_000_000
PATIENCE_SECONDS = 900
MIB = 1 << 20


class Group:
    """A primary, and a replica that doesn't follow it yet."""

    def __init__(self, binary, *directives):
        debug = ("--enable-debug-command", "yes", "--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0")
        self.primary = Process(binary, *debug, *directives)
        self.replica = Process(binary, *debug)
        self.stop = threading.Event()
        self.threads = []

    def spawn(self, work):
        self.threads.append(threading.Thread(target=work, daemon=True))
        self.threads[-1].start()

    def follow(self):
        self.replica.client("REPLICAOF", "127.0.0.1", self.primary.port)

    def behind(self):
        """Bytes of the stream that the replica lacks; None while it isn't in step."""
        ours, theirs = self.primary.client.info(), self.replica.client.info()
        if theirs.get("master_link_status") != "up" or "state=online" not in ours.get("slave0", ""):
            return None
        return int(ours["master_repl_offset"]) - int(theirs["slave_repl_offset"])

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
        """Ends the load; whether both have the same data."""
        self.stop.set()
        for thread in self.threads:
            thread.join()
        self.await_behind(0)
        equal = self.primary.client("DEBUG", "DIGEST") == self.replica.client("DEBUG", "DIGEST")
        self.primary.close()
        self.replica.close()
        return "equal" if equal else "DIFFERENT"


def ping(port, pipe):
    """A PING every millisecond; sends the longest since the last time it was asked, in seconds. It has a
    process of its own, and the core whenever it wants it: else its own waits would count as the server's."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        print("  PING without real-time priority: its own waits count, too", flush=True)
    client, longest = Client(port), 0
    while True:
        began = time.perf_counter()
        client("PING")
        longest = max(longest, time.perf_counter() - began)
        if pipe.poll():
            pipe.recv()
            pipe.send(longest)
            longest = 0
        time.sleep(0.001)


class Pinger:
    def __init__(self, port):
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("spawn").Process(target=ping, args=(port, theirs), daemon=True)
        self.process.start()

    def longest(self):
        """Seconds; counts anew from here on."""
        self.pipe.send("longest")
        return self.pipe.recv()

    def close(self):
        self.process.kill()
        self.process.join()


def send_all(client, commands):
    client.socket.sendall(b"".join(map(encode, commands)))
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
    before, most, began = group.primary.memory(), 0, time.monotonic()

    def watch():
        nonlocal most
        most = max(most, group.primary.memory())

    # What is asked meanwhile is asked before, too.
    while time.monotonic() - began < 15:
        group.behind()
        watch()
        time.sleep(0.1)
    idle = pinger.longest()
    group.follow()
    seconds = group.await_behind(1 << 20, watch)
    longest = pinger.longest()
    pinger.close()
    print(
        f"  {seconds:.1f} s, {before / MIB:.0f} MiB and {(most - before) / MIB:.0f} more, longest PING before "
        f"{idle * 1e3:.1f} ms, meanwhile {longest * 1e3:.1f} ms, {group.end()}",
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    jobs = {"full": full, "stopped": stopped, "lag": lag}
    parser.add_argument("--job", choices=jobs, default="full")
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("servers", nargs="+")
    options = parser.parse_args()
    for server in options.servers:
        print(f"{options.job} {os.path.basename(server)}", flush=True)
        jobs[options.job](server, options.seconds)


if __name__ == "__main__":
    main()
