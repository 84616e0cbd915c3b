"""redis-py against the real server: what an application written for Redis does."""

import os
import signal
import threading

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry


def test_strings(client):
    assert client.set("name", "redstart") is True
    assert client.get("name") == "redstart"
    assert client.get("nothing") is None
    assert client.set("name", "x", nx=True) is None
    assert client.set("name", "new", xx=True, get=True) == "redstart"
    assert client.getset("name", "newer") == "new"
    assert client.append("name", "!") == 6
    assert client.strlen("name") == 6
    assert client.getrange("name", 0, 2) == "new"
    assert client.setrange("name", 3, "st") == 6
    assert client.substr("name", 0, -1) == "newst!"
    assert client.getdel("name") == "newst!"
    assert client.mset({"a": 1, "b": 2}) is True
    assert client.msetnx({"b": 3, "c": 3}) is False
    assert client.mget("a", "b", "c") == ["1", "2", None]
    assert client.setnx("c", 3) is True


def test_numbers(client):
    assert client.incr("n") == 1
    assert client.incrby("n", 41) == 42
    assert client.decr("n") == 41
    assert client.decrby("n", 1) == 40
    assert client.incrbyfloat("n", 0.5) == 40.5
    client.set("big", 2**63 - 1)
    with pytest.raises(redis.ResponseError, match="increment or decrement would overflow"):
        client.incr("big")
    client.set("text", "abc")
    with pytest.raises(redis.ResponseError, match="value is not an integer or out of range"):
        client.incr("text")


def test_binary_values(shared_server):
    raw = redis.Redis(port=shared_server.port)
    value = bytes(range(256)) * 100
    raw.set(b"\x00key\r\n", value)
    assert raw.get(b"\x00key\r\n") == value
    raw.set("large", b"x" * 10_000_000)
    assert raw.strlen("large") == 10_000_000
    assert raw.get("large") == b"x" * 10_000_000
    raw.close()


def test_lcs(client):
    client.mset({"one": "ohmytext", "two": "mynewtext"})
    assert client.lcs("one", "two") == "mytext"
    assert client.lcs("one", "two", len=True) == 6
    found = client.lcs("one", "two", idx=True, minmatchlen=4, withmatchlen=True)
    if isinstance(found, list):
        found = dict(zip(found[::2], found[1::2]))
    assert found["len"] == 6
    assert found["matches"] == [[[4, 7], [5, 8], 4]]


def test_expiry(client):
    client.set("k", "v", ex=1000)
    assert 990 <= client.ttl("k") <= 1000
    assert client.pexpire("k", 500_000) is True
    assert 490_000 <= client.pttl("k") <= 500_000
    assert client.expire("k", 100, gt=True) is False
    assert client.expire("k", 1000, gt=True) is True
    assert client.expireat("k", 4_000_000_000) is True
    assert client.expiretime("k") == 4_000_000_000
    assert client.pexpiretime("k") == 4_000_000_000_000
    assert client.persist("k") is True
    assert client.ttl("k") == -1
    assert client.ttl("none") == -2
    assert client.getex("k", px=1_000_000) == "v"
    assert client.expire("k", -1) is True
    assert client.exists("k") == 0
    client.psetex("short", 20, "v")
    while client.exists("short"):
        pass
    assert client.get("short") is None


def test_keys(client):
    client.mset({f"key:{number}": number for number in range(1000)})
    assert client.dbsize() == 1000
    assert set(client.scan_iter(match="key:*", count=50)) == {f"key:{n}" for n in range(1000)}
    assert sorted(client.keys("key:99?")) == [f"key:{n}" for n in range(990, 1000)]
    assert client.randomkey().startswith("key:")
    assert client.type("key:1") == "string"
    assert client.type("none") == "none"
    assert client.rename("key:1", "renamed") is True
    assert client.renamenx("key:2", "renamed") is False
    assert client.copy("renamed", "copied") is True
    assert client.copy("renamed", "copied") is False
    assert client.copy("renamed", "copied", replace=True) is True
    assert client.move("copied", 1) is True
    assert client.touch("renamed", "none") == 1
    assert client.exists("renamed", "renamed", "none") == 2
    assert client.delete("renamed", "none") == 1
    assert client.unlink("key:3", "key:4") == 2
    assert client.object("encoding", "key:5") == "int"
    with pytest.raises(redis.ResponseError, match="no such key"):
        client.rename("none", "x")


def test_dump_and_restore(shared_server):
    raw = redis.Redis(port=shared_server.port)
    for value in (b"12345", b"short", b"compressible " * 100):
        raw.set("k", value)
        payload = raw.dump("k")
        raw.delete("restored")
        assert raw.restore("restored", 0, payload) == b"OK"
        assert raw.get("restored") == value
        with pytest.raises(redis.ResponseError, match="BUSYKEY"):
            raw.restore("restored", 0, payload)
        with pytest.raises(redis.ResponseError, match="DUMP payload version or checksum are wrong"):
            raw.restore("broken", 0, payload[:-1] + bytes([payload[-1] ^ 1]))
    raw.close()


def test_databases(shared_server):
    zero, one = (redis.Redis(port=shared_server.port, db=db, decode_responses=True) for db in (0, 1))
    zero.flushall()
    zero.set("where", "zero")
    assert one.get("where") is None
    one.set("where", "one")
    assert zero.swapdb(0, 1) is True
    assert (zero.get("where"), one.get("where")) == ("one", "zero")
    zero.flushdb()
    assert (zero.dbsize(), one.dbsize()) == (0, 1)
    with pytest.raises(redis.ResponseError, match="DB index is out of range"):
        redis.Redis(port=shared_server.port, db=99).ping()


def test_pipelines(client):
    pipeline = client.pipeline(transaction=False)
    for number in range(5000):
        pipeline.set(f"p:{number}", number)
        pipeline.get(f"p:{number}")
    replies = pipeline.execute()
    assert replies[::2] == [True] * 5000
    assert replies[1::2] == [str(number) for number in range(5000)]


def test_transactions(client):
    with client.pipeline() as pipeline:
        pipeline.set("n", 1).incr("n").get("n")
        assert pipeline.execute() == [True, 2, "2"]
    with client.pipeline() as pipeline:
        pipeline.set("text", "abc").incr("text").set("after", 1)
        replies = pipeline.execute(raise_on_error=False)
        assert replies[0] is True and replies[2] is True
        assert isinstance(replies[1], redis.ResponseError)
    with client.pipeline() as pipeline:
        pipeline.watch("n")
        client.set("n", 100)
        pipeline.multi()
        pipeline.set("n", 3)
        with pytest.raises(redis.WatchError):
            pipeline.execute()
    assert client.get("n") == "100"


def test_watched_counter_loses_nothing(client):
    def add(times):
        for _ in range(times):
            client.transaction(
                lambda pipeline: (
                    number := int(pipeline.get("counter") or 0),
                    pipeline.multi(),
                    pipeline.set("counter", number + 1),
                ), "counter")

    threads = [threading.Thread(target=add, args=(50,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.get("counter") == "200"


def test_connection(client):
    assert client.ping() is True
    assert client.echo("hello") == "hello"
    assert client.client_setname("worker") is True
    assert client.client_getname() == "worker"
    assert client.client_id() > 0
    info = client.client_info()
    assert info["name"] == "worker"
    assert any(entry["name"] == "worker" for entry in client.client_list())
    assert client.time()[0] > 1_600_000_000
    with pytest.raises(redis.ResponseError, match="unknown command"):
        client.execute_command("NOSUCHCOMMAND", "a")
    with pytest.raises(redis.ResponseError, match="wrong number of arguments for 'get' command"):
        client.execute_command("GET")


def test_introspection(client):
    info = client.info()
    assert info["redis_version"].startswith("7.")
    assert info["role"] == "master"
    assert client.config_get("maxmemory*")["maxmemory"] == "0"
    old = client.config_get("maxmemory-samples")["maxmemory-samples"]
    assert client.config_set("maxmemory-samples", 7) is True
    assert client.config_get("maxmemory-samples") == {"maxmemory-samples": "7"}
    client.config_set("maxmemory-samples", old)
    assert client.config_resetstat() is True
    commands = client.command()
    assert {"get", "set", "expire", "multi"} <= set(commands)
    assert client.command_count() >= len(commands) // 2
    assert client.command_getkeys("MSET", "a", 1, "b", 2) == ["a", "b"]
    client.set("measured", "x" * 100)
    assert client.memory_usage("measured") >= 100
    assert client.lastsave() is not None


def test_password(start_server):
    server = start_server("--requirepass", "secret", "--appendonly", "no", "--save", "")
    once = Retry(NoBackoff(), 0)
    for password in (None, "wrong"):
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=server.port, password=password, retry=once).ping()
    for protocol in (2, 3):
        assert redis.Redis(port=server.port, password="secret", protocol=protocol).ping() is True
        full = redis.Redis(port=server.port, username="default", password="secret", protocol=protocol)
        assert full.ping() is True


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_acknowledged_writes_survive(start_server, how):
    server = start_server("--appendonly", "yes", "--appendfsync", "always")
    client = redis.Redis(port=server.port, decode_responses=True)
    for number in range(200):
        client.set(f"k:{number}", number)
    client.set("expires", 1, exat=4_000_000_000)
    client.set("removed", 1)
    client.delete("removed")
    server.kill(how)
    server.start()
    client = redis.Redis(port=server.port, decode_responses=True)
    assert client.dbsize() == 201
    assert client.mget([f"k:{number}" for number in range(200)]) == [str(n) for n in range(200)]
    assert client.expiretime("expires") == 4_000_000_000


def shut_down(client, **options):
    """SHUTDOWN, without asking again once the server is gone."""
    client.connection_pool.connection_kwargs["retry"] = Retry(NoBackoff(), 0)
    client.connection_pool.disconnect()
    client.shutdown(**options)


def test_snapshot_and_shutdown(start_server):
    server = start_server("--appendonly", "no", "--save", "")
    client = redis.Redis(port=server.port, decode_responses=True)
    client.set("k", "v")
    assert client.save() is True
    assert os.path.exists(os.path.join(server.directory, "dump.rdb"))
    client.set("k", "changed")
    shut_down(client, save=True)
    assert server.process.wait(30) == 0
    server.start()
    client = redis.Redis(port=server.port, decode_responses=True)
    assert client.get("k") == "changed"
    client.set("k", "not saved")
    shut_down(client, nosave=True)
    assert server.process.wait(30) == 0
    server.start()
    assert redis.Redis(port=server.port, decode_responses=True).get("k") == "changed"
