#!/usr/bin/env python3
"""redis-benchmark's default commands in pairs of short runs: one of redis-server, one of Redstart.

    benches/pairs.py [COMMAND]... [--rounds N] [--requests N] [--pipeline N] [--redstart BINARY] [--redis BINARY]

What a shared machine gives to a run changes within seconds, by more than the servers differ where each
request waits for its reply (pipeline 1). So a run takes a second or two, and the other server's follows at
once; the servers take turns in being first. The result is the median of the pairs' ratios, printed with
their quartiles. `benches/compare.sh` has the long runs, more servers and the processor time.

The commands are those of `redis-benchmark` without `-t`, each with its name there, on one key. LRANGE reads
a list of 1,000; its requests are fewer in a pipeline. 50 connections; servers on core 0, redis-benchmark on
core 1 (SERVER_CPU, LOAD_CPU).

Only Python's own library.
"""

import argparse
import csv
import os
import signal
import statistics
import subprocess
import sys

from streams import LOAD_CPU, ROOT, Server

VALUE = "xxx"
COMMANDS = {
    "PING": ["PING"],
    "SET": ["SET", "key:__rand_int__", VALUE],
    "GET": ["GET", "key:__rand_int__"],
    "INCR": ["INCR", "counter:__rand_int__"],
    "LPUSH": ["LPUSH", "mylist", VALUE],
    "RPUSH": ["RPUSH", "mylist", VALUE],
    "LPOP": ["LPOP", "mylist"],
    "RPOP": ["RPOP", "mylist"],
    "SADD": ["SADD", "myset", "element:__rand_int__"],
    "HSET": ["HSET", "myhash", "element:__rand_int__", VALUE],
    "SPOP": ["SPOP", "myset"],
    "ZADD": ["ZADD", "myzset", "0", "element:__rand_int__"],
    "ZPOPMIN": ["ZPOPMIN", "myzset"],
    "LRANGE_100": ["LRANGE", "filled", "0", "99"],
    "LRANGE_300": ["LRANGE", "filled", "0", "299"],
    "LRANGE_500": ["LRANGE", "filled", "0", "499"],
    "LRANGE_600": ["LRANGE", "filled", "0", "599"],
    "MSET": ["MSET"] + 10 * ["key:__rand_int__", VALUE],
    "XADD": ["XADD", "mystream", "*", "myfield", VALUE],
}


def benchmark(server, words, requests, pipeline):
    """Requests a second."""
    command = ["redis-benchmark", "-p", server.port, "-c", 50, "-n", requests, "-P", pipeline, "--csv", *words]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True)
    rows = csv.DictReader(line for line in done.stdout.splitlines() if line.startswith('"'))
    return float(next(rows)["rps"])


def pair(servers, name, options, swapped):
    """Both servers' requests a second, in their order."""
    requests = options.requests
    if name.startswith("LRANGE") and options.pipeline > 1:
        requests = max(requests // 5, 1)
    rates = [0.0, 0.0]
    for one in (1, 0) if swapped else (0, 1):
        rates[one] = benchmark(servers[one], COMMANDS[name], requests, options.pipeline)
    return rates


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="COMMAND", type=str.upper, help=", ".join(COMMANDS))
    parser.add_argument("--redstart", default=str(ROOT / "target/release/redstart"))
    parser.add_argument("--redis", default="redis-server")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=100_000, help="of a run")
    parser.add_argument("--pipeline", type=int, default=1)
    options = parser.parse_args()
    names = options.names or list(COMMANDS)
    for name in names:
        if name not in COMMANDS:
            parser.error(f"no command {name}")
    os.sched_setaffinity(0, {int(LOAD_CPU)})
    # What is killed ends its servers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    servers = [Server(binary, "--appendonly", "no", pinned=True) for binary in (options.redis, options.redstart)]
    try:
        for server in servers:
            benchmark(server, ["RPUSH", "filled", VALUE], 1000, 1)
        pairs = {name: [] for name in names}
        for number in range(options.rounds):
            for name in names:
                pairs[name].append(pair(servers, name, options, swapped=number % 2 == 1))
        print(f"{'requests a second':20} {'redis':>10} {'redstart':>10}   {'ratio':>5}   quartiles")
        for name in names:
            theirs, ours = (statistics.median(rates) for rates in zip(*pairs[name]))
            ratios = sorted(our / their for their, our in pairs[name])
            quarter = len(ratios) // 4
            print(f"{name:20} {theirs:10.0f} {ours:10.0f}   {statistics.median(ratios):5.2f}   "
                  f"{ratios[quarter]:.2f} to {ratios[-1 - quarter]:.2f}")
    finally:
        for server in servers:
            server.stop()


main()
