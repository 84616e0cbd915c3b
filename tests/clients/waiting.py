"""What tests of waiting commands share: clients of their own, and knowing that they wait."""

import threading
import time

import redis

PATIENCE_SECONDS = 30


def another(client):
    """A connection of its own to the same server."""
    options = client.connection_pool.connection_kwargs
    return redis.Redis(
        port=options["port"], protocol=options["protocol"], decode_responses=True)


def waiting(client, count):
    """Waits until so many clients are blocked."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while client.info("clients")["blocked_clients"] != count:
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Waiters:
    """Threads that each call something with a client of their own, one behind the other."""

    def __init__(self, client):
        self.client = client
        self.threads = []
        self.results = []

    def start(self, call):
        """Starts one more, and returns when it's blocked."""
        waiter = another(self.client)

        def run():
            self.results.append(call(waiter))
            waiter.close()

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()
        waiting(self.client, len(self.threads))

    def join(self):
        """What they returned, in the order in which they did."""
        for thread in self.threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()
        return self.results
