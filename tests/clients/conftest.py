"""A server for the tests: REDSTART_BIN, started on a free port in a directory of its own."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest
import redis

PATIENCE_SECONDS = 30


class Server:
    """A server process; kill it and start it again on the same directory."""

    def __init__(self, *directives):
        self.directory = tempfile.mkdtemp(prefix="redstart-py-")
        self.directives = directives
        self.process = None
        self.start()

    def start(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = open(os.path.join(self.directory, "server-output.txt"), "ab")
        self.process = subprocess.Popen(
            [os.environ["REDSTART_BIN"], "--port", str(self.port), "--bind", "127.0.0.1",
             "--dir", self.directory, *self.directives],
            stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.is_ready():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.005)

    def is_ready(self):
        """Whether it answers, and is past loading; any other error is an answer, too."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(b"PING\r\n")
                answer = connection.recv(100)
                return len(answer) > 0 and not answer.startswith(b"-LOADING")
        except OSError:
            return False

    def output(self):
        with open(self.log.name, errors="replace") as log:
            return log.read()

    def kill(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        return self.process.wait(PATIENCE_SECONDS)

    def remove(self):
        self.process.kill()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_server():
    server = Server("--appendonly", "no", "--save", "")
    yield server
    server.remove()


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def client(request, shared_server):
    """A client on an empty server, in either protocol."""
    connection = redis.Redis(port=shared_server.port, protocol=request.param, decode_responses=True)
    connection.flushall()
    yield connection
    connection.close()


@pytest.fixture
def start_server():
    """Starts servers with directives of one's own; they end with the test."""
    servers = []

    def start(*directives):
        servers.append(Server(*directives))
        return servers[-1]

    yield start
    for server in servers:
        server.remove()
