#!/usr/bin/env python3
"""Collections side by side with redis-server: memory, and what big ones do to other commands.

    benches/elements.py [memory] [growth] [stalls] [walks] [--redstart BINARY] [--redis BINARY]

memory  resident bytes per element: 100 k hashes of 10 fields, 100 k sorted sets of 10 members, and
        one hash, set, sorted set and list of 1 M elements
growth  the longest single command while one hash, set, sorted set and list grows to 5 M elements, by
        the server's own measurement (SLOWLOG), and the longest that recurs from round to round
stalls  the longest PING of another client while a collection of 1 M elements is unlinked, deleted,
        flushed, expired, or snapshotted and changed at the same time
walks   a sorted set of 5 M members, changed all the time, with and without BGSAVE and BGREWRITEAOF: the
        longest PING of another client, the longest command by the server's own measurement (SLOWLOG),
        and the growth of memory over all processes

Only Python's own library. A real disk for the snapshots, please: TMPDIR says where.
"""

import argparse
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time

from probe import encode

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Client:
    """A connection that knows as much of RESP2 as this program asks for."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", 1 << 16)

    def read(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.read() for _ in range(int(rest))]
        return rest

    def call(self, *words):
        self.socket.sendall(encode(*words))
        return self.read()

    def pipeline(self, commands, batch=1000):
        """Sends encoded commands, some at a time, and drops their replies."""
        waiting = []
        for command in commands:
            waiting.append(command)
            if len(waiting) == batch:
                self.flush(waiting)
        self.flush(waiting)

    def flush(self, waiting):
        self.socket.sendall(b"".join(waiting))
        for _ in waiting:
            self.read()
        waiting.clear()


class Server:
    def __init__(self, name, binary, *directives):
        self.name = name
        self.directory = tempfile.mkdtemp(prefix="collections.")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        words = [binary, "--port", str(self.port), "--dir", self.directory, "--save", "",
                 "--appendonly", "no", *directives]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        for _ in range(200):
            try:
                self.client = Client(self.port)
                self.client.call("PING")
                return
            except (OSError, RuntimeError):
                time.sleep(0.05)
        raise SystemExit(f"{binary} doesn't start")

    def resident(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            line = next(line for line in status if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    def stop(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.directory)


def many_hashes():
    for key in range(100_000):
        words = ["HSET", f"hash:{key:08}"]
        for field in range(10):
            words += [f"field{field:03}", f"value:{key * 10 + field:010}"]
        yield encode(*words)


def many_zsets():
    for key in range(100_000):
        words = ["ZADD", f"zset:{key:08}"]
        for member in range(10):
            words += [key * 10 + member, f"member:{member:09}"]
        yield encode(*words)


def one_hash(count):
    return (encode("HSET", "big", f"field:{i:06}", f"value:{i:010}") for i in range(count))


def one_set(count):
    return (encode("SADD", "big", f"memb:{i:07}") for i in range(count))


def one_zset(count):
    # Scores in an order of their own, as they come in use.
    return (encode("ZADD", "big", i * 7919 % count, f"member:{i:09}") for i in range(count))


def one_list(count):
    return (encode("RPUSH", "big", f"element:{i:08}") for i in range(count))


MILLION = 1_000_000
MEMORY = [
    ("100 k hashes of 10", many_hashes, MILLION, 0.92),
    ("100 k sorted sets of 10", many_zsets, MILLION, 0.9),
    ("hash of 1 M", lambda: one_hash(MILLION), MILLION, 0.5),
    ("set of 1 M", lambda: one_set(MILLION), MILLION, 0.5),
    ("sorted set of 1 M", lambda: one_zset(MILLION), MILLION, 0.5),
    ("list of 1 M", lambda: one_list(MILLION), MILLION, 1.05),
]


def memory(servers):
    print(f"\n{'resident bytes per element':26} {'redis':>8} {'redstart':>9} {'ratio':>6} {'goal':>6}")
    for title, commands, count, goal in MEMORY:
        per_element = []
        for name, binary in servers:
            server = Server(name, binary)
            empty = server.resident()
            server.client.pipeline(commands())
            # jemalloc gives back what it no longer uses within ten seconds.
            time.sleep(11)
            per_element.append((server.resident() - empty) / count)
            server.stop()
        theirs, ours = per_element
        print(f"{title:26} {theirs:8.1f} {ours:9.1f} {ours / theirs:6.2f} {goal:6.2f}")


ROUNDS = 3


def slow_commands(binary, commands):
    """The commands of 0.1 ms and more by the server's own measurement: their words and ms."""
    server = Server("", binary, "--slowlog-log-slower-than", "100", "--slowlog-max-len", "100000")
    server.client.pipeline(commands)
    slow = server.client.call("SLOWLOG", "GET", "-1")
    server.stop()
    return {tuple(entry[3]): entry[2] / 1000 for entry in slow}


def growth(servers):
    print(f"""
longest command in ms while growing to 5 M elements, in {ROUNDS} rounds: the longest of each round,
and "same": the longest that the same command takes at least in two of them, which the scheduler
of a shared machine doesn't explain""")
    for title, commands in [("hash", one_hash), ("set", one_set), ("zset", one_zset),
                            ("list", one_list)]:
        for name, binary in servers:
            rounds = [slow_commands(binary, commands(5 * MILLION)) for _ in range(ROUNDS)]
            longest = [max(slow.values(), default=0.1) for slow in rounds]
            same = max((sorted(times)[-2] for times in (
                [slow[words] for slow in rounds if words in slow]
                for words in set().union(*rounds)) if len(times) > 1), default=0.1)
            print(f"{title:6} {name:9}", " ".join(f"{value:6.2f}" for value in longest),
                  f"  same {same:6.2f}")


class Pinger(threading.Thread):
    """Another client, which notes how long its longest PING takes."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.client = Client(port)
        self.longest = 0.0
        self.over = False
        self.start()

    def run(self):
        while not self.over:
            began = time.perf_counter()
            self.client.call("PING")
            self.longest = max(self.longest, time.perf_counter() - began)

    def stop(self):
        self.over = True
        self.join()
        return self.longest * 1000


def snapshot(client, change):
    client.call("BGSAVE")
    number = 0
    while b"rdb_bgsave_in_progress:1" in client.call("INFO", "persistence"):
        client.pipeline((change(number + i) for i in range(200)), 20)
        number += 200


CHANGES = {
    "hash": lambda i: encode("HSET", "big", f"field:{i * 7919 % MILLION:06}", f"changed{i}"),
    "set": lambda i: encode("SREM", "big", f"memb:{i * 7919 % MILLION:07}"),
    "zset": lambda i: encode("ZADD", "big", -i, f"member:{i * 7919 % MILLION:09}"),
    "list": lambda i: encode("LSET", "big", i * 7919 % MILLION, f"changed{i}"),
}


def expire(client):
    client.call("PEXPIRE", "big", 1)
    while client.call("EXISTS", "big"):
        pass


def stalls(servers):
    print("\nlongest PING in ms beside a collection of 1 M elements")
    for title, commands in [("hash", one_hash), ("set", one_set), ("zset", one_zset),
                            ("list", one_list)]:
        actions = [
            ("idle", lambda client: time.sleep(0.3)),
            ("UNLINK", lambda client: client.call("UNLINK", "big")),
            ("DEL lazy", lambda client: client.call("DEL", "big")),
            ("FLUSHALL ASYNC", lambda client: client.call("FLUSHALL", "ASYNC")),
            ("expiry", expire),
            ("BGSAVE", lambda client: snapshot(client, CHANGES[title])),
        ]
        for action, act in actions:
            found = []
            for name, binary in servers:
                server = Server(name, binary, "--lazyfree-lazy-user-del", "yes",
                                "--lazyfree-lazy-expire", "yes")
                server.client.pipeline(commands(MILLION))
                time.sleep(0.5)
                pinger = Pinger(server.port)
                act(server.client)
                time.sleep(0.2)
                found.append(pinger.stop())
                server.stop()
            print(f"{title:5} {action:15}", "  ".join(
                f"{name} {value:6.2f}" for (name, _), value in zip(servers, found)))


def family_bytes(pid):
    """Private bytes of a server and its children."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    total = 0
    for one in [str(pid), *children]:
        try:
            rollup = pathlib.Path(f"/proc/{one}/smaps_rollup").read_text()
        except OSError:
            continue
        for line in rollup.splitlines():
            if line.startswith(("Private_Clean", "Private_Dirty")):
                total += int(line.split()[1]) * 1024
    return total


def walk_window(server, job):
    """Changes the sorted set until the job is done, or for three seconds."""
    client = server.client
    client.call("SLOWLOG", "RESET")
    before, most = family_bytes(server.process.pid), 0
    pinger, began, number = Pinger(server.port), time.perf_counter(), 0
    if job:
        client.call(job)
    while True:
        client.pipeline((encode("ZADD", "big", -(number + i), f"member:{(number + i) * 7919 % (5 * MILLION):09}")
                         for i in range(200)), 20)
        number += 200
        if number % 10_000 == 0:
            most = max(most, family_bytes(server.process.pid) - before)
        if not job and time.perf_counter() - began > 3:
            break
        info = client.call("INFO", "persistence") if job and number % 1000 == 0 else None
        if info and b"bgsave_in_progress:0" in info and b"rewrite_in_progress:0" in info:
            break
    took = time.perf_counter() - began
    longest = max((entry[2] for entry in client.call("SLOWLOG", "GET", "-1")), default=0) / 1000
    return pinger.stop(), longest, max(most, 0) / MILLION, took


def walks(servers):
    print("\na sorted set of 5 M members being changed: ms of the longest PING and command, MB of growth, seconds")
    for name, binary in servers:
        server = Server(name, binary, "--appendonly", "yes", "--appendfsync", "everysec",
                        "--auto-aof-rewrite-percentage", "0",
                        "--slowlog-log-slower-than", "100", "--slowlog-max-len", "100000")
        server.client.pipeline(one_zset(5 * MILLION))
        for job in [None, "BGSAVE", "BGREWRITEAOF"] * 3:
            ping, command, growth_mb, took = walk_window(server, job)
            print(f"{name:9} {job or 'nothing':13} ping {ping:7.2f}  command {command:6.2f}"
                  f"  growth {growth_mb:6.1f}  in {took:5.1f}")
        server.stop()


def main():
    parser = argparse.ArgumentParser(description="collections side by side with redis-server")
    parser.add_argument("sections", nargs="*", default=["memory", "growth", "stalls"])
    parser.add_argument("--redstart", default=str(ROOT / "target/release/redstart"))
    parser.add_argument("--redis", default="redis-server")
    options = parser.parse_args()
    servers = [("redis", options.redis), ("redstart", options.redstart)]
    for section in options.sections:
        {"memory": memory, "growth": growth, "stalls": stalls, "walks": walks}[section](servers)


main()
