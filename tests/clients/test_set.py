"""Sets through redis-py: what an application does with tags, friends and lotteries."""

import pytest
import redis


def test_members(client):
    assert client.sadd("s", "a", "b", "c") == 3
    assert client.sadd("s", "c", "d") == 1
    assert client.smembers("s") == {"a", "b", "c", "d"}
    assert client.smembers("none") == set()
    assert client.scard("s") == 4
    assert client.sismember("s", "a") == 1
    assert client.sismember("s", "x") == 0
    assert client.smismember("s", ["a", "x", "d"]) == [1, 0, 1]
    assert client.smismember("none", ["a"]) == [0]
    assert client.srem("s", "a", "x") == 1
    assert client.smove("s", "other", "b") is True
    assert client.smove("s", "other", "b") is False
    assert client.smembers("other") == {"b"}
    assert client.srem("s", "c", "d") == 2
    assert client.exists("s") == 0
    client.set("string", 1)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.sadd("string", "a")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.sunion("other", "string")


def test_encodings(client):
    client.sadd("s", *range(512))
    assert client.object("encoding", "s") == "intset"
    client.sadd("s", 512)
    assert client.object("encoding", "s") == "hashtable"
    assert client.smembers("s") == {str(number) for number in range(513)}
    client.sadd("words", "a", -5, 2**63 - 1)
    assert client.object("encoding", "words") == "listpack"
    client.sadd("words", "x" * 65)
    assert client.object("encoding", "words") == "hashtable"
    assert client.smembers("words") == {"a", "-5", str(2**63 - 1), "x" * 65}


# Sets of integers, small ones of text, big ones; and mixtures.
KINDS = {
    "integers": [set(range(0, 300)), set(range(100, 400, 2)), set(range(150, 250, 5))],
    "words": [{f"w{n}" for n in range(60)}, {f"w{n}" for n in range(20, 90)}, {"w30", "w40", "x"}],
    "large": [set(range(5_000)), set(range(1_000, 9_000)), set(range(0, 9_000, 7))],
    "mixed": [set(range(2_000)), {*range(50), "a", "b"}, {3, 5, "a"}],
}


@pytest.mark.parametrize("kind", KINDS)
def test_algebra(client, kind):
    sets = [{str(member) for member in members} for members in KINDS[kind]]
    names = ["one", "two", "three"]
    for name, members in zip(names, sets):
        client.sadd(name, *members)
    one, two, three = sets
    assert client.sinter("one", "two") == one & two
    assert client.sinter(names) == one & two & three
    assert client.sinter("one", "none") == set()
    assert client.sunion(names) == one | two | three
    assert client.sunion("none", "three") == three
    assert client.sdiff("one", "two") == one - two
    assert client.sdiff(names) == one - two - three
    assert client.sdiff("none", "one") == set()
    assert client.sintercard(3, names) == len(one & two & three)
    assert client.sintercard(2, ["one", "two"], limit=3) == min(3, len(one & two))
    assert client.sinterstore("to", names) == len(one & two & three)
    assert client.smembers("to") == one & two & three
    # A source may be the destination, and what was there is overwritten, whatever it was.
    assert client.sunionstore("three", ["three", "two"]) == len(three | two)
    assert client.smembers("three") == three | two
    client.set("to", "text", ex=1000)
    assert client.sdiffstore("to", ["one", "two"]) == len(one - two)
    assert client.smembers("to") == one - two
    assert client.ttl("to") == -1
    assert client.sinterstore("to", ["one", "none"]) == 0
    assert client.exists("to") == 0


@pytest.mark.parametrize("members", [
    [str(number) for number in range(200)],
    [f"member {number}" for number in range(100)],
    [f"member {number}" for number in range(2_000)],
], ids=["intset", "listpack", "hashtable"])
def test_lottery(client, request, members):
    client.sadd("s", *members)
    assert client.object("encoding", "s") == request.node.callspec.id.split("-")[-1]
    assert client.srandmember("s") in members
    assert client.srandmember("none") is None
    assert client.srandmember("none", 3) == []
    drawn = client.srandmember("s", 50)
    assert len(drawn) == len(set(drawn)) == 50 and set(drawn) <= set(members)
    assert set(client.srandmember("s", len(members) + 5)) == set(members)
    again = client.srandmember("s", -3 * len(members))
    assert len(again) == 3 * len(members) and set(again) <= set(members)
    assert len(set(again)) > len(members) / 2
    assert client.scard("s") == len(members)

    popped = {client.spop("s")}
    assert client.spop("s", 0) == []
    popped |= set(client.spop("s", 30))
    assert len(popped) == 31 and popped <= set(members)
    assert client.smembers("s") == set(members) - popped
    rest = client.spop("s", 10_000)
    assert len(rest) == len(members) - 31 and popped.isdisjoint(rest)
    assert client.exists("s") == 0
    assert client.spop("s") is None
    assert not client.spop("s", 3)


@pytest.mark.parametrize("count", [20, 20_000])
def test_iteration(client, count):
    members = {f"member:{number}" for number in range(count)}
    client.sadd("s", *members)
    assert set(client.sscan_iter("s")) == members
    # Small sets come at once, large ones in pieces.
    cursor, found = client.sscan("s", count=100)
    assert (cursor == 0) == (count == 20)
    assert len(found) < 1_000
    matching = {member for member in members if "7" in member}
    assert set(client.sscan_iter("s", match="*7*", count=1_000)) == matching
    client.sadd("numbers", *range(300))
    assert set(client.sscan_iter("numbers")) == {str(number) for number in range(300)}
    assert client.sscan("none") == (0, [])


def test_iteration_while_the_set_changes(client):
    client.sadd("s", *(f"stays {number}" for number in range(5_000)))
    client.sadd("s", *(f"goes {number}" for number in range(5_000)))
    seen = set()
    cursor, step = None, 0
    while cursor != 0:
        cursor, found = client.sscan("s", cursor=cursor or 0, count=200)
        seen.update(found)
        client.srem("s", *(f"goes {number}" for number in range(step * 200, step * 200 + 200)))
        client.sadd("s", *(f"new {step} {number}" for number in range(200)))
        step += 1
    assert step > 10
    assert {f"stays {number}" for number in range(5_000)} <= seen
    assert all(member.split(" ")[0] in ("stays", "goes", "new") for member in seen)


def test_binary(shared_server):
    raw = redis.Redis(port=shared_server.port)
    raw.delete(b"\x00s")
    members = {bytes(range(256)), b"", b"\r\n" * 100_000}
    assert raw.sadd(b"\x00s", *members) == 3
    assert raw.smembers(b"\x00s") == members
    raw.close()


def test_who_is_online(client):
    """Presence by minute: each minute a set that expires, a union tells who was there lately."""
    for minute in range(10):
        with client.pipeline() as pipeline:
            pipeline.sadd(f"online:{minute}", *(f"user:{n}" for n in range(minute, minute + 3)))
            pipeline.expire(f"online:{minute}", 600)
            assert pipeline.execute() == [3, True]
    lately = client.sunion(*(f"online:{minute}" for minute in range(7, 10)))
    assert lately == {f"user:{number}" for number in range(7, 12)}
    client.sadd("friends:1", "user:8", "user:9", "user:50")
    assert client.sunionstore("lately", *(f"online:{minute}" for minute in range(7, 10))) == 5
    assert client.sinter("friends:1", "lately") == {"user:8", "user:9"}
    assert client.ttl("lately") == -1
    assert 590 < client.ttl("online:3") <= 600
