"""Lists through redis-py: what an application does with queues, and that waiting works."""

import pytest
import redis

from waiting import Waiters


def test_ends(client):
    assert client.rpush("l", "b", "c") == 2
    assert client.lpush("l", "a") == 3
    assert client.lpushx("nothing", "x") == 0
    assert client.rpushx("l", 4) == 4
    assert client.llen("l") == 4
    assert client.lrange("l", 0, -1) == ["a", "b", "c", "4"]
    assert client.lpop("l") == "a"
    assert client.rpop("l", 2) == ["4", "c"]
    assert client.lpop("nothing", 2) is None
    assert client.lpop("l") == "b"
    assert client.exists("l") == 0


def test_middle(client):
    client.rpush("l", *"abcabc")
    assert client.lindex("l", -1) == "c"
    assert client.lset("l", 0, "x") is True
    assert client.linsert("l", "before", "c", "y") == 7
    assert client.lrange("l", 0, -1) == list("xbycabc")
    assert client.lpos("l", "c", rank=-1) == 6
    assert client.lpos("l", "c", count=0) == [3, 6]
    assert client.lrem("l", -1, "c") == 1
    assert client.ltrim("l", 1, 3) is True
    assert client.lrange("l", 0, -1) == list("byc")
    with pytest.raises(redis.ResponseError, match="index out of range"):
        client.lset("l", 9, "x")
    client.set("s", "text")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.lpush("s", "x")


def test_moves(client):
    client.rpush("from", *"abc")
    assert client.lmove("from", "to", "LEFT", "RIGHT") == "a"
    assert client.rpoplpush("from", "to") == "c"
    assert client.lrange("to", 0, -1) == ["c", "a"]
    assert client.lmpop(2, "nothing", "to", direction="LEFT", count=9) == ["to", ["c", "a"]]
    assert client.blmove("from", "to", 1, "LEFT", "LEFT") == "b"
    assert client.keys() == ["to"]


def test_long_lists_change_their_encoding(client):
    client.rpush("l", *range(10_000))
    assert client.object("encoding", "l") == "quicklist"
    assert client.lindex("l", 5_000) == "5000"
    assert client.lrange("l", 9_998, 20_000) == ["9998", "9999"]
    client.ltrim("l", 0, 9)
    assert client.object("encoding", "l") == "listpack"
    assert client.lrange("l", 0, -1) == [str(number) for number in range(10)]


def test_sort(client):
    client.rpush("ids", 3, 1, 2)
    for number, name in [(1, "c"), (2, "b"), (3, "a")]:
        client.hset(f"user:{number}", "name", name)
    assert client.sort("ids") == ["1", "2", "3"]
    assert client.sort("ids", by="user:*->name", alpha=True, get="#") == ["3", "2", "1"]
    assert client.sort("ids", desc=True, start=0, num=2, store="sorted") == 2
    assert client.lrange("sorted", 0, -1) == ["3", "2"]


def test_waiting(client):
    assert client.blpop("nothing", timeout=0.01) is None
    waiters = Waiters(client)
    for _ in range(3):
        waiters.start(lambda waiter: tuple(waiter.blpop(["one", "two"], timeout=30)))
    # A transaction's last state counts: nobody is woken by what it takes back.
    with client.pipeline() as pipeline:
        pipeline.rpush("one", "gone").delete("one").rpush("two", "b", "c").execute()
    client.rpush("one", "a")
    assert sorted(waiters.join()) == [("one", "a"), ("two", "b"), ("two", "c")]
    assert client.keys() == []
