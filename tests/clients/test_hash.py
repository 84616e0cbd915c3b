"""redis-py against the real server: hashes, and the expiry times of their fields."""

import signal
import time

import pytest
import redis
from redis.commands.core import HashDataPersistOptions

PATIENCE_SECONDS = 30


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_fields(client):
    assert client.hset("h", mapping={"a": 1, "b": "two", "c": ""}) == 3
    assert client.hset("h", "a", "one") == 0
    assert client.hget("h", "a") == "one"
    assert client.hget("h", "none") is None
    assert client.hget("none", "a") is None
    assert client.hmget("h", "a", "none", "c") == ["one", None, ""]
    assert client.hgetall("h") == {"a": "one", "b": "two", "c": ""}
    assert client.hgetall("none") == {}
    assert sorted(client.hkeys("h")) == ["a", "b", "c"]
    assert sorted(client.hvals("h")) == ["", "one", "two"]
    assert client.hlen("h") == 3
    assert client.hstrlen("h", "b") == 3
    assert client.hexists("h", "b") and not client.hexists("h", "d")
    assert client.hsetnx("h", "a", 1) == 0
    assert client.hsetnx("h", "d", 1) == 1
    assert client.hdel("h", "a", "d", "none") == 2
    assert client.hdel("h", "b", "c") == 2
    assert client.exists("h") == 0
    client.set("string", 1)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.hget("string", "a")


def test_numbers(client):
    assert client.hincrby("h", "n") == 1
    assert client.hincrby("h", "n", 41) == 42
    assert client.hincrbyfloat("h", "n", 0.5) == 42.5
    assert client.hincrbyfloat("h", "f", "1e3") == 1000
    with pytest.raises(redis.ResponseError, match="hash value is not an integer"):
        client.hincrby("h", "n")
    client.hset("h", "big", 2**63 - 1)
    with pytest.raises(redis.ResponseError, match="increment or decrement would overflow"):
        client.hincrby("h", "big")
    client.hset("h", "text", "abc")
    with pytest.raises(redis.ResponseError, match="hash value is not a float"):
        client.hincrbyfloat("h", "text")


@pytest.mark.parametrize("count", [20, 2000])
def test_walks(client, count):
    fields = {f"field {i}": f"value {i}" for i in range(count)}
    client.hset("h", mapping=fields)
    assert client.object("encoding", "h") == ("listpack" if count < 512 else "hashtable")
    assert dict(client.hscan_iter("h")) == fields
    assert dict(client.hscan_iter("h", match="*1*", count=100)) == {
        name: value for name, value in fields.items() if "1" in name}
    assert sorted(client.hscan_iter("h", no_values=True)) == sorted(fields)
    assert client.hrandfield("h") in fields
    names = client.hrandfield("h", 7)
    assert len(set(names)) == 7 and set(names) <= set(fields)
    assert sorted(client.hrandfield("h", count + 1)) == sorted(fields)
    names = client.hrandfield("h", -3 * count)
    assert len(names) == 3 * count and set(names) <= set(fields)
    assert len(client.hrandfield("h", 5, withvalues=True)) in (5, 10)
    assert client.hrandfield("none") is None
    assert client.hrandfield("none", 3) == []


def test_binary(shared_server):
    raw = redis.Redis(port=shared_server.port)
    name, value = bytes(range(256)), b"\r\n" * 100_000
    raw.hset(b"\x00h", name, value)
    assert raw.hgetall(b"\x00h") == {name: value}
    raw.close()


def test_field_expiry(client):
    client.hset("h", mapping={"a": 1, "b": 2, "c": 3})
    assert client.hexpire("h", 100, "a", "none") == [1, -2]
    assert client.hexpire("none", 100, "a") == [-2]
    assert client.hexpire("h", 200, "a", "b", nx=True) == [0, 1]
    assert client.hexpire("h", 300, "a", "c", xx=True) == [1, 0]
    assert client.hexpire("h", 250, "a", "b", "c", gt=True) == [0, 1, 0]
    assert client.hexpire("h", 270, "a", "b", "c", lt=True) == [1, 0, 1]
    assert client.httl("h", "a", "b", "c", "d") == [270, 250, 270, -2]
    left = client.hpttl("h", "a")[0]
    assert 260_000 < left <= 270_000
    at = int(time.time()) + 1000
    assert client.hexpireat("h", at, "a") == [1]
    assert client.hexpiretime("h", "a") == [at]
    assert client.hpexpireat("h", at * 1000 + 1, "a") == [1]
    assert client.hpexpiretime("h", "a") == [at * 1000 + 1]
    assert client.hexpiretime("h", "a") == [at + 1]
    assert client.object("encoding", "h") == "listpackex"
    assert client.info("keyspace")["db0"]["subexpiry"] == 1
    assert client.hpersist("h", "a", "a", "d") == [1, -1, -2]
    assert client.hset("h", "b", 4) == 0
    assert client.httl("h", "a", "b") == [-1, -1]
    assert client.hincrby("h", "c", 4) == 7
    assert client.httl("h", "c") == [270]
    assert client.hexpireat("h", 1, "a", "d") == [2, -2]
    assert client.hexpire("h", 0, "b", "c") == [2, 2]
    assert client.exists("h") == 0


@pytest.mark.parametrize("count", [2, 1000])
def test_fields_that_expire_are_gone(client, count):
    client.hset("h", mapping={f"f{i}": i for i in range(count)})
    client.hset("other", "a", 1)
    names = [f"f{i}" for i in range(1, count)]
    expired = client.info("stats")["expired_subkeys"]
    assert client.hpexpire("h", 20, *names) == [1] * (count - 1)
    assert client.hpexpire("other", 20, "a") == [1]
    wait_until(lambda: client.hpttl("h", "f1") == [-2])
    assert client.hgetall("h") == {"f0": "0"}
    assert client.hlen("h") == 1
    # Nobody asks for the other's fields, and still it goes.
    wait_until(lambda: client.dbsize() == 1)
    assert client.info("stats")["expired_subkeys"] == expired + count


def test_fields_and_times_at_once(client):
    client.hset("h", mapping={"a": 1, "b": 2, "c": 3})
    assert client.hgetdel("h", "a", "none") == ["1", None]
    assert client.hgetex("h", "b", "none", ex=100) == ["2", None]
    assert client.httl("h", "b", "c") == [100, -1]
    assert client.hgetex("h", "b", persist=True) == ["2"]
    assert client.httl("h", "b") == [-1]
    assert client.hsetex("h", mapping={"d": 4, "e": 5}, ex=50) == 1
    assert client.httl("h", "d", "e") == [50, 50]
    assert client.hsetex("h", "d", 6, keepttl=True) == 1
    assert client.hsetex("h", "e", 7) == 1
    assert client.httl("h", "d", "e") == [50, -1]
    fnx, fxx = HashDataPersistOptions.FNX, HashDataPersistOptions.FXX
    assert client.hsetex("h", mapping={"e": 8, "f": 8}, data_persist_option=fnx) == 0
    assert client.hsetex("h", mapping={"e": 8, "f": 8}, data_persist_option=fxx) == 0
    assert client.hsetex("h", "f", 8, data_persist_option=fnx, px=90_000) == 1
    assert client.hgetall("h") == {"b": "2", "c": "3", "d": "6", "e": "7", "f": "8"}
    assert client.hgetdel("h", "b", "c", "d", "e", "f") == ["2", "3", "6", "7", "8"]
    assert client.exists("h") == 0


def test_times_survive_the_server(start_server):
    server = start_server("--appendfsync", "always")
    client = redis.Redis(port=server.port, decode_responses=True)
    client.hset("h", mapping={"a": 1, "b": 2, "c": 3, "d": 4})
    client.hexpire("h", 1000, "a")
    client.hexpire("h", 2000, "b")
    client.hsetex("h", "b", 5, keepttl=True)
    client.hpersist("h", "a")
    client.hpexpire("h", 1, "d")
    times = client.hpexpiretime("h", "a", "b", "c")
    server.kill(signal.SIGKILL)
    server.start()
    client = redis.Redis(port=server.port, decode_responses=True)
    assert client.hpexpiretime("h", "a", "b", "c") == times
    assert client.hgetall("h") == {"a": "1", "b": "5", "c": "3"}
