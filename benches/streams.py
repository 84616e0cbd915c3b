#!/usr/bin/env python3
"""Streams side by side with redis-server: memory, stalls of other clients, loading, a work queue.

    benches/streams.py [memory] [stalls] [loads] [loop] [--scale PERCENT] [--rounds N]
                       [--redstart BINARY] [--redis BINARY] [--valkey BINARY] [--load BINARY]

memory  bytes (used_memory and resident) of a stream of 1 M entries of two fields, of each of three
        more, of 1 M pending entries of one group and consumer, and of 100 k streams of 5 entries
stalls  the longest PING of another client, asked every millisecond, beside a stream of 5 M entries:
        idle, XADD at full speed, XREADGROUP COUNT 100 at full speed, BGSAVE while XADD goes on, XTRIM
        of all but a thousand in one command, with ~ and without, DEL with the pending entries of the
        reads before, and of a stream without a group
loads   the time from the process's start until it answers PING, less that of an empty server: from the
        same RDB file, which redis-server wrote, and from a log of plain commands that each has written.
        one: a stream of 1 M entries. r1: the same, read by a group, 1 M pending. r4: four such as r1.
        many: 100 k streams of 10 entries
loop    50 producers and 50 consumers of a group, which read (COUNT 1 and 10) and acknowledge:
        acknowledged entries a second; the server on core 0 and the load on core 1

Without a section's name all of them run, which takes half an hour. The servers take turns in every
round; medians, and the ratio to redis-server's. --scale makes all counts smaller.

Only Python's own library; redis-benchmark, and for loop `cargo build --release -p redstart-load`.
Environment: SERVER_CPU=0 LOAD_CPU=1 (cores for either side of loop), BENCH_DIR or TMPDIR (where data
goes; a real disk, please).
"""

import argparse
import atexit
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from probe import PING, Pinger, encode

ROOT = pathlib.Path(__file__).resolve().parent.parent
MILLION = 1_000_000
MIB = 1 << 20
PATIENCE_SECONDS = 300
SERVER_CPU = os.environ.get("SERVER_CPU", "0")
LOAD_CPU = os.environ.get("LOAD_CPU", "1")
PONG = b"+PONG\r\n"
# Entries that are added at once; all counts are multiples of it.
BATCH = 1000


class Client:
    """A connection that takes replies as bytes, up to the PONG of a PING behind the commands."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def replies(self, commands):
        """Sends encoded commands at once; all their replies. One that is an error at its start ends the
        program, save LOADING."""
        self.socket.sendall(commands + PING)
        parts, end = [], b""
        while not end.endswith(PONG):
            part = self.socket.recv(1 << 18)
            if not part:
                raise ConnectionError("the server closed the connection")
            parts.append(part)
            end = (end + part)[-len(PONG):]
        replies = b"".join(parts)[: -len(PONG)]
        if replies.startswith(b"-"):
            raise SystemExit(f"{commands[:100]}: {replies[:200]}")
        return replies

    def call(self, *words):
        return self.replies(encode(*words))

    def number(self, *words):
        return int(self.call(*words)[1:])

    def info(self, section="everything"):
        lines = self.call("INFO", section).decode().split("\r\n")
        return dict(line.split(":", 1) for line in lines if ":" in line)


class Server:
    """A server of a binary, in a directory of its own or in one that another has left."""

    def __init__(self, binary, *directives, directory=None, pinned=False):
        self.directory = directory or new_directory()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        words = ["taskset", "-c", SERVER_CPU] if pinned else []
        words += [binary, "--port", str(self.port), "--dir", self.directory, "--save", "",
                  "--auto-aof-rewrite-percentage", "0", *directives]
        self.output = open(os.path.join(self.directory, "output.txt"), "ab")
        began = time.perf_counter()
        self.process = subprocess.Popen(words, stdout=self.output, stderr=self.output)
        atexit.register(self.process.kill)
        self.await_pong(began)
        self.start_seconds = time.perf_counter() - began
        self.client = Client(self.port)

    def await_pong(self, began):
        """Until a PING is answered, and not with LOADING."""
        while time.perf_counter() - began < PATIENCE_SECONDS and self.process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port)) as connection:
                    while True:
                        connection.sendall(PING)
                        reply = connection.recv(100)
                        if reply == PONG:
                            return
                        if not reply.startswith(b"-LOADING"):
                            break
                        time.sleep(0.002)
            except OSError:
                pass
            time.sleep(0.002)
        raise SystemExit(f"{self.process.args} doesn't start")

    def memory(self):
        """used_memory and resident bytes, after what is no longer used has been given back: jemalloc
        does so within ten seconds."""
        time.sleep(11)
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        resident = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))
        return int(self.client.info()["used_memory"]), resident

    def end(self):
        """Ends it as its user would, and leaves its directory."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE_SECONDS)
        self.output.close()

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.output.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def new_directory():
    directory = tempfile.mkdtemp(prefix="streams.", dir=os.environ.get("BENCH_DIR"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def add_command(key, number):
    return encode("XADD", key, "*", "sensor-id", 1000 + number * 7 % 997,
                  "temperature", f"{15 + number * 31 % 103 / 10:.1f}")


def add_entries(client, key, count):
    """Adds entries to one stream, as fast as it takes them."""
    blocks = [b"".join(add_command(key, block * BATCH + i) for i in range(BATCH)) for block in range(20)]
    for block in range(count // BATCH):
        client.replies(blocks[block % len(blocks)])


def add_many(client, streams, each):
    for first in range(0, streams, 200):
        client.replies(b"".join(add_command(f"stream:{key:07}", key * each + i)
                                for key in range(first, min(first + 200, streams)) for i in range(each)))


def read_all(client, key):
    """One consumer of a new group reads all entries."""
    client.call("XGROUP", "CREATE", key, "group", "0")
    read = encode("XREADGROUP", "GROUP", "group", "consumer", "COUNT", 1000, "STREAMS", key, ">")
    while client.replies(read) not in (b"*-1\r\n", b"_\r\n"):
        pass


def check(what, found, expected):
    if found != expected:
        raise SystemExit(f"{what}: {found} instead of {expected}")


def table(title, names, rows, digits):
    """Rows are a label and the figures by server, of which the first is redis-server's."""
    print(f"\n{title}")
    print(" " * 44, " ".join(f"{name:>11}" for name in names), "  ratios to", names[0], flush=True)
    for label, figures in rows:
        ratios = " ".join(f"{figure / figures[0]:6.2f}" if figures[0] else "     -" for figure in figures[1:])
        print(f"{label:44}", " ".join(f"{figure:11.{digits}f}" for figure in figures), "  ", ratios, flush=True)


def memory_steps(binary, options):
    """Label, and bytes of used_memory and of resident memory for one entry or pending entry."""
    count, streams = options.scaled(MILLION), options.scaled(100_000)
    server = Server(binary, "--appendonly", "no")
    client, found, last = server.client, [], server.memory()

    def step(label, things):
        nonlocal last
        now = server.memory()
        found.append((label, [(after - before) / things for before, after in zip(last, now)]))
        last = now

    add_entries(client, "stream:a", count)
    step("entry of the first stream", count)
    for key in ("stream:b", "stream:c", "stream:d"):
        add_entries(client, key, count)
    step("entry of three more", 3 * count)
    read_all(client, "stream:a")
    step("pending entry", count)
    client.call("FLUSHALL")
    last = server.memory()
    add_many(client, streams, 5)
    step("entry of many streams of 5", 5 * streams)
    check("many streams", client.number("DBSIZE"), streams)
    server.stop()
    return found


def memory(servers, options):
    by_server = [memory_steps(binary, options) for _, binary in servers]
    for index, kind in enumerate(("used_memory", "resident")):
        rows = [(steps[0][0], [figures[index] for _, figures in steps]) for steps in zip(*by_server)]
        table(f"bytes of {kind} for one", [name for name, _ in servers], rows, 1)


class Load:
    """redis-benchmark with a command. At most 32 XADDs or 2 reads are before a PING."""

    def __init__(self, server, words):
        self.process = subprocess.Popen(
            ["redis-benchmark", "-p", str(server.port), "-n", "1000000000", "-r", "1000000", "-q", *words],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        time.sleep(0.2)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


ADD = ("-c", "8", "-P", "4", "XADD", "big", "*", "sensor-id", "1234", "temperature", "__rand_int__")
READ = ("-c", "2", "XREADGROUP", "GROUP", "group", "consumer", "COUNT", "100", "STREAMS", "big", ">")


def load_for(server, seconds, words):
    with Load(server, words):
        time.sleep(seconds)


def save_under_load(server):
    with Load(server, ADD):
        before = server.client.info("persistence")["rdb_last_save_time"]
        server.client.call("BGSAVE")
        time.sleep(0.5)
        while True:
            info = server.client.info("persistence")
            if info["rdb_bgsave_in_progress"] == "0":
                break
            time.sleep(0.05)
        check("BGSAVE", info["rdb_last_bgsave_status"], "ok")
        if info["rdb_last_save_time"] < before:
            raise SystemExit("BGSAVE has saved nothing")


def stall_round(binary, options):
    """The longest PING in ms by what is done."""
    count, found = options.scaled(5 * MILLION), {}
    server = Server(binary, "--appendonly", "no")
    client = server.client
    pinger = Pinger(server.port)

    def measure(what, act):
        time.sleep(0.2)
        pinger.longest()
        act()
        time.sleep(0.2)
        found[what] = pinger.longest() * 1000

    def refill():
        add_entries(client, "big", count)
        time.sleep(1)

    refill()
    client.call("XGROUP", "CREATE", "big", "group", "0")
    measure("idle", lambda: time.sleep(2))
    measure("XADD", lambda: load_for(server, 4, ADD))
    measure("XREADGROUP COUNT 100", lambda: load_for(server, 4, READ))
    measure("BGSAVE beside XADD", lambda: save_under_load(server))
    for what, words in [
        ("XTRIM MAXLEN ~ 1000 LIMIT 0", ("XTRIM", "big", "MAXLEN", "~", 1000, "LIMIT", 0)),
        ("XTRIM MAXLEN = 1000", ("XTRIM", "big", "MAXLEN", "=", 1000)),
        ("DEL with pending entries", ("DEL", "big")),
        ("DEL without a group", ("DEL", "big")),
    ]:
        if client.number("XLEN", "big") < count:
            refill()
        measure(what, lambda words=words: client.call(*words))
    pinger.close()
    server.stop()
    return found


def stalls(servers, options):
    rounds = {name: [] for name, _ in servers}
    for _ in range(options.rounds or 3):
        for name, binary in servers:
            rounds[name].append(stall_round(binary, options))
            print(f"  {name:9}", ", ".join(f"{what} {ms:.1f}" for what, ms in rounds[name][-1].items()), flush=True)
    rows = []
    for what in rounds[servers[0][0]][0]:
        figures = [[one[what] for one in rounds[name]] for name, _ in servers]
        rows.append((what, [statistics.median(times) for times in figures]))
        rows.append(("    longest of all rounds", [max(times) for times in figures]))
    title = f"longest PING in ms beside a stream of {options.scaled(5 * MILLION)} entries, median of the rounds"
    table(title, [name for name, _ in servers], rows, 2)


def fill_one(client, options):
    add_entries(client, "stream:a", options.scaled(MILLION))


def fill_read(client, options, keys=("stream:a",)):
    for key in keys:
        add_entries(client, key, options.scaled(MILLION))
        read_all(client, key)


def fill_read_four(client, options):
    fill_read(client, options, [f"stream:{letter}" for letter in "abcd"])


def fill_many(client, options):
    add_many(client, options.scaled(100_000), 10)


LOADS = {"one": fill_one, "r1": fill_read, "r4": fill_read_four, "many": fill_many}


def fingerprint(client):
    """What a loaded server must have as the one that was filled."""
    found = [client.call("DBSIZE")]
    if client.number("DBSIZE") < 10:
        for key in (f"stream:{letter}" for letter in "abcd"):
            found.append(client.call("XLEN", key))
            if client.call("EXISTS", key) == b":1\r\n" and client.call("XINFO", "GROUPS", key) != b"*0\r\n":
                found.append(client.call("XPENDING", key, "group"))
    return found


def load_seconds(binary, directory, directives, expected):
    server = Server(binary, *directives, directory=directory)
    check("what was loaded", fingerprint(server.client), expected)
    server.process.kill()
    server.process.wait()
    server.output.close()
    return server.start_seconds


def disk_bytes(directory):
    return sum(path.stat().st_size for path in pathlib.Path(directory).rglob("*")
               if path.is_file() and path.name != "output.txt")


def written_logs(servers, fill, options, directives):
    """A directory by server with the log that it has written, and what it had."""
    found = {}
    for name, binary in servers:
        server = Server(binary, *directives, "--appendfsync", "no")
        fill(server.client, options)
        found[name] = (server.directory, fingerprint(server.client))
        server.end()
    return found


def written_file(servers, fill, options):
    """The same RDB file for all, which redis-server has written, each in a directory of its own."""
    server = Server(servers[0][1], "--appendonly", "no")
    fill(server.client, options)
    server.client.call("SAVE")
    found = {}
    for name, _ in servers:
        found[name] = (new_directory(), fingerprint(server.client))
        shutil.copy(os.path.join(server.directory, "dump.rdb"), found[name][0])
    server.stop()
    return found


def loads(servers, options):
    names = [name for name, _ in servers]
    log = ("--appendonly", "yes", "--aof-use-rdb-preamble", "no")
    for kind, directives in [("RDB", ("--appendonly", "no")), ("log", log)]:
        rows = []
        for what, fill in LOADS.items():
            if kind == "RDB":
                written = written_file(servers, fill, options)
            else:
                written = written_logs(servers, fill, options, directives)
            times = {name: [] for name in names}
            for _ in range(options.rounds or 3):
                for name, binary in servers:
                    empty = Server(binary, *directives)
                    empty.stop()
                    directory, expected = written[name]
                    seconds = load_seconds(binary, directory, directives, expected)
                    times[name].append(seconds - empty.start_seconds)
            rows.append((what, [statistics.median(times[name]) for name in names]))
            rows.append(("    MiB on disk", [disk_bytes(written[name][0]) / MIB for name in names]))
            for directory, _ in written.values():
                shutil.rmtree(directory, ignore_errors=True)
        table(f"seconds to load from a {kind}", names, rows, 3)


def loop(servers, options):
    names, rows = [name for name, _ in servers], []
    running = [Server(binary, "--appendonly", "no", pinned=True) for _, binary in servers]
    for count in (1, 10):
        rates = [[] for _ in servers]
        for _ in range(options.rounds or 5):
            for server, found in zip(running, rates):
                told = subprocess.run(
                    ["taskset", "-c", LOAD_CPU, options.load, "streams", "--port", str(server.port),
                     "--producers", "50", "--consumers", "50", "--seconds", "3", "--count", str(count)],
                    check=True, capture_output=True, text=True, timeout=PATIENCE_SECONDS).stdout
                # "1234 acknowledged/s, 1234 added/s, ..."
                found.append([float(part.split()[0]) for part in told.split(",")])
                server.client.call("FLUSHALL")
                time.sleep(0.3)
        for index, what in enumerate(("acknowledged", "added", "reads", "empty reads")):
            rows.append((f"COUNT {count}: {what}",
                         [statistics.median(one[index] for one in found) for found in rates]))
    for server in running:
        server.stop()
    table("50 producers, 50 consumers, a second", names, rows, 0)


def main():
    sections = {"memory": memory, "stalls": stalls, "loads": loads, "loop": loop}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", default=list(sections), metavar="section")
    parser.add_argument("--redstart", default=str(ROOT / "target/release/redstart"))
    parser.add_argument("--redis", default="redis-server")
    parser.add_argument("--valkey")
    parser.add_argument("--load", default=str(ROOT / "target/release/redstart-load"))
    parser.add_argument("--scale", type=float, default=100, help="percent of all counts of entries")
    parser.add_argument("--rounds", type=int, help="instead of each section's own number")
    options = parser.parse_args()
    options.scaled = lambda count: max(BATCH, int(count * options.scale / 100) // BATCH * BATCH)
    for section in options.sections:
        if section not in sections:
            parser.error(f"no section {section}")
    servers = [("redis", options.redis), ("redstart", options.redstart)]
    if options.valkey:
        servers.append(("valkey", options.valkey))
    # What is killed ends its servers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for section in options.sections:
        sections[section](servers, options)


if __name__ == "__main__":
    main()
