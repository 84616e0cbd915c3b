#!/usr/bin/env python3
"""What a snapshot or a log rewrite costs while clients write at full speed.

  benches/walk_cost.py [--keys N] [--rounds N] [--job save|rewrite|both] SERVER_BINARY...

1 M keys of 1 KB; 8 clients write SETs of 1 KB to random ones of them, one at a time each (redis-benchmark).
Per server and round: the job without load, the load without a job, both together. Told: how much longer the
job takes under load, how many fewer writes there are, the processor time of the thread that executes them for
each (the walk's part included), and how much more memory all processes of the server have at the most
(proportional set size, so that a fork's pages count once). The servers take turns; medians.

Environment: BENCH_DIR (where data goes; a real disk, please).
"""

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time

from probe import encode

CLIENTS = 8
VALUE_BYTES = 1024
PATIENCE_SECONDS = 300


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        self.file = self.socket.makefile("rb")

    def send(self, *words):
        self.socket.sendall(encode(*words))

    def read(self):
        line = self.file.readline()
        if line[:1] == b"$":
            length = int(line[1:])
            return self.file.read(length + 2)[:-2]
        return line.strip()

    def __call__(self, *words):
        self.send(*words)
        return self.read()

    def info(self):
        lines = self("INFO", "everything").decode().split("\r\n")
        return dict(line.split(":", 1) for line in lines if ":" in line)


def value():
    """As redis-benchmark's: it does not compress."""
    state, out = 1234, bytearray()
    for _ in range(VALUE_BYTES):
        state = (state * 1103515245 + 12345) & 0xFFFFFFFF
        out.append(ord("0") + (state >> 16 & 63))
    return bytes(out)


class Process:
    """A server of a binary, with its files in a directory of its own."""

    def __init__(self, binary, *directives):
        self.dir = tempfile.mkdtemp(prefix="bench-", dir=os.environ.get("BENCH_DIR"))
        self.port = free_port()
        command = [binary, "--port", str(self.port), "--dir", self.dir, "--save", "", *directives]
        out = open(os.path.join(self.dir, "server.out"), "ab")
        self.process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        began = time.time()
        while True:
            try:
                self.client = Client(self.port)
                if self.client("PING") == b"+PONG":
                    break
            except OSError:
                pass
            if time.time() - began > 20:
                raise SystemExit(f"{binary} does not answer")
            time.sleep(0.05)

    @staticmethod
    def children(pid):
        found = []
        for task in os.listdir(f"/proc/{pid}/task"):
            try:
                found += map(int, open(f"/proc/{pid}/task/{task}/children").read().split())
            except OSError:
                pass  # a thread that has ended
        return found

    def memory(self):
        """Bytes of all its processes. One process alone tells them for nothing; the pages of several
        must be walked, which costs a fifth of a second's processor time a GB."""
        pid = self.process.pid
        if not self.children(pid):
            for line in open(f"/proc/{pid}/status"):
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        total, todo = 0, [pid]
        while todo:
            pid = todo.pop()
            try:
                for line in open(f"/proc/{pid}/smaps_rollup"):
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
                todo += self.children(pid)
            except OSError:
                pass
        return total

    def cpu_seconds(self):
        """Processor time of all its threads."""
        tasks = f"/proc/{self.process.pid}/task"
        return sum(int(open(f"{tasks}/{task}/schedstat").read().split()[0]) for task in os.listdir(tasks)) / 1e9

    def close(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


class Server(Process):
    def __init__(self, binary, rewrites, keys):
        self.job = "BGREWRITEAOF" if rewrites else "BGSAVE"
        log = ["--appendonly", "yes", "--appendfsync", "everysec"] if rewrites else ["--appendonly", "no"]
        super().__init__(binary, *log, "--auto-aof-rewrite-percentage", "0")
        data, batch = value(), 1000
        for first in range(0, keys, batch):
            for key in range(first, first + batch):
                self.client.send("SET", "key:%012d" % key, data)
            for _ in range(batch):
                self.client.read()

    def cpu_micros(self):
        """Processor time of the thread that executes commands."""
        pid = self.process.pid
        return int(open(f"/proc/{pid}/task/{pid}/schedstat").read().split()[0]) / 1e3

    def writes(self):
        return int(self.client.info()["total_commands_processed"])

    def busy(self):
        info = self.client.info()
        return "1" in (info["rdb_bgsave_in_progress"], info["aof_rewrite_in_progress"], info["aof_rewrite_scheduled"])

    def run_job(self):
        """Seconds, writes a second meanwhile, processor time for each, and the most memory."""
        cpu = self.cpu_micros()
        before, began = self.writes(), time.monotonic()
        reply = self.client(self.job)
        if b"started" not in reply:
            raise SystemExit(f"{self.job}: {reply}")
        most = [0]
        stop = threading.Event()

        def watch():
            while not stop.wait(0.2):
                most[0] = max(most[0], self.memory())

        watcher = threading.Thread(target=watch)
        watcher.start()
        while self.busy():
            time.sleep(0.02)
        took = time.monotonic() - began
        writes, cpu = max(1, self.writes() - before), self.cpu_micros() - cpu
        stop.set()
        watcher.join()
        info = self.client.info()
        if "err" in (info["rdb_last_bgsave_status"], info["aof_last_bgrewrite_status"]):
            raise SystemExit("the job failed: " + self.dir)
        return took, writes / took, cpu / writes, most[0]

class Load:
    def __init__(self, port, keys):
        command = ["redis-benchmark", "-p", str(port), "-c", str(CLIENTS), "-n", "1000000000"]
        command += ["-r", str(keys), "-d", str(VALUE_BYTES), "-t", "set", "-q"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def close(self):
        self.process.kill()
        self.process.wait()


def measure(binary, rewrites, keys):
    server = Server(binary, rewrites, keys)
    try:
        idle, _, _, _ = server.run_job()
        load = Load(server.port, keys)
        try:
            time.sleep(2)
            before, began, cpu = server.writes(), time.monotonic(), server.cpu_micros()
            time.sleep(4)
            writes, cpu = server.writes() - before, server.cpu_micros() - cpu
            alone = writes / (time.monotonic() - began)
            resting = max(server.memory() for _ in range(3))
            busy, together, cpu_each, most = server.run_job()
        finally:
            load.close()
        return {
            "idle s": idle,
            "loaded s": busy,
            "times": busy / idle,
            "writes/s": alone,
            "meanwhile": together,
            "fewer %": 100 * (1 - together / alone),
            "us/write": cpu / writes,
            "meanwhile us/write": cpu_each,
            "more MiB": (most - resting) / (1 << 20),
        }
    finally:
        server.close()


def show(what, server, found):
    figures = "  ".join(f"{name} {figure:.2f}" for name, figure in found.items())
    print(f"  {what:6} {os.path.basename(server):16} {figures}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--job", choices=["save", "rewrite", "both"], default="both")
    parser.add_argument("servers", nargs="+")
    options = parser.parse_args()
    jobs = {"save": [False], "rewrite": [True], "both": [False, True]}[options.job]
    for rewrites in jobs:
        print("BGREWRITEAOF, appendfsync everysec" if rewrites else "BGSAVE, no log", flush=True)
        rounds = {server: [] for server in options.servers}
        for _ in range(options.rounds):
            for server, found in rounds.items():
                found.append(measure(server, rewrites, options.keys))
                show("round", server, found[-1])
        for server, found in rounds.items():
            middle = {name: statistics.median(one[name] for one in found) for name in found[0]}
            show("median", server, middle)


if __name__ == "__main__":
    main()
