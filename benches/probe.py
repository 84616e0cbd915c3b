"""What the measuring programs share: requests as bytes, and a PING that looks at a server from beside them."""

import multiprocessing
import os
import socket
import time


def encode(*words):
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        word = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(parts)


PING = encode("PING")


def ping(port, pipe):
    """A PING every millisecond; sends the longest since the last time it was asked, in seconds. It has a
    process of its own, and the core whenever it wants it: else its own waits would count as the server's."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        print("  PING without real-time priority: its own waits count, too", flush=True)
    connection, longest = socket.create_connection(("127.0.0.1", port)), 0
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while True:
        began = time.perf_counter()
        connection.sendall(PING)
        connection.recv(100)
        longest = max(longest, time.perf_counter() - began)
        if pipe.poll():
            pipe.recv()
            pipe.send(longest)
            longest = 0
        time.sleep(0.001)


class Pinger:
    def __init__(self, port):
        self.pipe, theirs = multiprocessing.Pipe()
        spawn = multiprocessing.get_context("spawn")
        self.process = spawn.Process(target=ping, args=(port, theirs), daemon=True)
        self.process.start()
        self.longest()

    def longest(self):
        """Seconds; counts anew from here on."""
        self.pipe.send("longest")
        return self.pipe.recv()

    def close(self):
        self.process.kill()
        self.process.join()
