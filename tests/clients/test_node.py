"""Applications of Node: BullMQ, ioredis, node-redis and redlock, from the folder that REDSTART_NODE names.

Their programs are in node/ and fail by themselves; what they counted is the last line that they print."""

import json
import os
import subprocess
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "node"


def run(program, *arguments):
    environment = {**os.environ, "NODE_PATH": os.environ["REDSTART_NODE"] + "/node_modules"}
    done = subprocess.run(
        ["node", PROGRAMS / program, *map(str, arguments)],
        env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_bullmq_does_a_thousand_jobs_once_each(start_server):
    server = start_server("--maxmemory-policy", "noeviction")
    counted = json.loads(run("bullmq.cjs", server.port))
    limited = counted.pop("limitedMillis")
    # A hundred jobs, ten in a window of 50 ms: more than eight whole windows lie between.
    assert limited >= 400
    assert counted == {
        "completed": 990, "failed": 10, "seen": {"completed": 990, "failed": 10},
        "done": 990, "doneOnce": 990, "early": 0,
        # 90 fail 0, 1 or 2 times; 10 fail twice.
        "attempts": 500 + 100 + (30 + 60 + 90) + 20 + 300,
        "sums": 60, "limited": 100, "paused": True, "left": 0,
    }


def test_ioredis(start_server):
    counted = json.loads(run("ioredis.cjs", start_server().port))
    # At least the first window of 100 ms is filled.
    assert counted["asked"] > counted["admitted"] >= 20


@pytest.mark.parametrize("protocol", [2, 3])
def test_node_redis(start_server, protocol):
    run("redis.cjs", start_server().port, protocol)


def test_redlock_over_three_servers(start_server):
    run("redlock.cjs", *(start_server().port for _ in range(3)))
