"""Sorted sets through redis-py: leaderboards, limits, schedules, and waiting for the next."""

import math
import random

import pytest
import redis

from waiting import Waiters


def pairs(reply):
    """Members with scores. It depends on the protocol whether they come as tuples or lists, the
    scores as numbers or texts, and one pair alone within a list or without."""
    if reply and not isinstance(reply[0], (tuple, list)):
        reply = [reply]
    return [(member, float(score)) for member, score in reply]


def test_members(client):
    assert client.zadd("z", {"a": 1, "b": 2, "c": 3}) == 3
    assert client.zscore("z", "b") == 2
    assert client.zscore("z", "none") is None
    assert client.zmscore("z", ["a", "none", "c"]) == [1, None, 3]
    assert client.zcard("z") == 3
    assert client.zrank("z", "c") == 2
    assert client.zrevrank("z", "c") == 0
    assert client.zrank("z", "none") is None
    assert list(client.zrank("z", "b", withscore=True)) == [1, 2]
    assert client.zincrby("z", 1.5, "a") == 2.5
    assert client.zrange("z", 0, -1) == ["b", "a", "c"]
    assert client.zrem("z", "a", "none") == 1
    assert client.zrem("z", "b", "c") == 2
    assert client.exists("z") == 0
    client.set("string", 1)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.zadd("string", {"a": 1})


def test_flags(client):
    client.zadd("z", {"a": 1, "b": 2})
    assert client.zadd("z", {"a": 9, "c": 3}, nx=True) == 1
    assert client.zadd("z", {"a": 1.5, "d": 4}, xx=True) == 0
    assert client.zadd("z", {"a": 1.5, "b": 5, "d": 4}, xx=True, ch=True) == 1
    assert client.zadd("z", {"a": 1, "b": 6, "e": 7}, gt=True, ch=True) == 2
    assert client.zadd("z", {"a": 1, "b": 9, "f": 8}, lt=True, ch=True) == 2
    assert client.zadd("z", {"a": 4}, incr=True) == 5
    assert client.zadd("z", {"a": 4}, incr=True, nx=True) is None
    assert client.zadd("z", {"none": 4}, incr=True, xx=True) is None
    assert client.zadd("z", {"a": -4}, incr=True, gt=True) is None
    assert pairs(client.zrange("z", 0, -1, withscores=True)) == [
        ("c", 3), ("a", 5), ("b", 6), ("e", 7), ("f", 8)]
    for words, message in [
        ("z NX GT 1 a", "GT, LT, and/or NX options at the same time are not compatible"),
        ("z NX XX 1 a", "XX and NX options at the same time are not compatible"),
        ("z INCR 1 a 2 b", "INCR option supports a single increment-element pair"),
        ("z 1 a 2", "syntax error"),
        ("z 1 a x b", "value is not a valid float"),
        ("z nan a", "value is not a valid float"),
    ]:
        with pytest.raises(redis.ResponseError, match=message):
            client.execute_command("ZADD", *words.split())


def test_scores(client):
    scores = {
        "low": -math.inf, "high": math.inf, "tenth": 0.1, "sum": 0.1 + 0.2, "huge": 3e300,
        "tiny": 5e-324, "large": 2**53 + 2, "digits": 123456789012345.67, "below": -1e-7}
    client.zadd("z", scores)
    for member, score in scores.items():
        assert client.zscore("z", member) == score, member
    ordered = sorted(scores.items(), key=lambda pair: pair[1])
    assert pairs(client.zrange("z", 0, -1, withscores=True)) == ordered
    assert client.zincrby("z", math.inf, "tenth") == math.inf
    with pytest.raises(redis.ResponseError, match="resulting score is not a number"):
        client.zincrby("z", -math.inf, "high")


@pytest.mark.parametrize("count", [100, 3_000], ids=["listpack", "skiplist"])
def test_ranges(client, request, count):
    rng = random.Random(count)
    model = {f"m{number:04}": rng.randrange(count // 4) / 2 for number in range(count)}
    client.zadd("z", model)
    assert client.object("encoding", "z") == request.node.callspec.id.split("-")[-1]
    ordered = sorted(model.items(), key=lambda pair: (pair[1], pair[0]))
    names = [name for name, _ in ordered]
    # By rank.
    for start, end in [
            (0, -1), (0, 0), (3, 9), (-5, -2), (count - 2, count + 9), (9, 3), (count, -1)]:
        last = len(names) if end == -1 else end + 1
        assert client.zrange("z", start, end) == names[start:last]
        assert client.zrange("z", start, end, desc=True) == names[::-1][start:last]
        assert client.zrevrange("z", start, end) == names[::-1][start:last]
    assert pairs(client.zrange("z", 2, 40, withscores=True)) == ordered[2:41]
    # By score; a parenthesis leaves the bound out.
    for low, high in [
            (3, 20), ("(3", 20), (3, "(20"), ("(3", "(3"), ("-inf", 7), (7, "+inf"), (20, 3)]:
        def inside(score, low=low, high=high):
            above = score > float(low[1:]) if str(low)[0] == "(" else score >= float(low)
            below = score < float(high[1:]) if str(high)[0] == "(" else score <= float(high)
            return above and below
        within = [pair for pair in ordered if inside(pair[1])]
        found = [name for name, _ in within]
        assert client.zcount("z", low, high) == len(within)
        assert client.zrangebyscore("z", low, high) == found
        assert pairs(client.zrangebyscore("z", low, high, withscores=True)) == within
        assert client.zrevrangebyscore("z", high, low) == found[::-1]
        assert client.zrange("z", low, high, byscore=True) == found
        assert client.zrange("z", high, low, byscore=True, desc=True) == found[::-1]
        assert client.zrange("z", low, high, byscore=True, offset=2, num=5) == found[2:7]
        assert client.zrange(
            "z", high, low, byscore=True, desc=True, offset=1, num=-1) == found[::-1][1:]
    for rank in range(0, count, 37):
        assert client.zrank("z", names[rank]) == rank
        assert client.zrevrank("z", names[rank]) == count - 1 - rank


@pytest.mark.parametrize("count", [100, 3_000], ids=["listpack", "skiplist"])
def test_ranges_of_words(client, count):
    words = sorted(f"{number * 7919 % count:x}" for number in range(count))
    client.zadd("z", dict.fromkeys(words, 0))
    assert client.zrange("z", "-", "+", bylex=True) == words
    assert client.zrange("z", "+", "-", bylex=True) == []
    found = [word for word in words if "2" <= word < "4"]
    assert len(found) > 5
    assert client.zrange("z", "[2", "(4", bylex=True) == found
    assert client.zrangebylex("z", "[2", "(4", start=3, num=4) == found[3:7]
    assert client.zrange("z", "(4", "[2", bylex=True, desc=True, offset=0, num=3) == found[:-4:-1]
    assert client.zrevrangebylex("z", "(4", "[2") == found[::-1]
    assert client.zlexcount("z", "[2", "(4") == len(found)
    assert client.zremrangebylex("z", "[2", "(4") == len(found)
    assert client.zrange("z", 0, -1) == [word for word in words if word not in found]
    with pytest.raises(redis.ResponseError, match="not valid string range item"):
        client.zrange("z", "2", "4", bylex=True)


def test_ranges_are_stored_and_removed(client):
    client.zadd("z", {f"m{number:03}": number for number in range(500)})
    assert client.zrangestore("to", "z", 10, 19) == 10
    assert client.zrange("to", 0, -1) == [f"m{number:03}" for number in range(10, 20)]
    assert client.zrangestore("to", "z", 5, "(8", byscore=True) == 3
    assert pairs(client.zrange("to", 0, -1, withscores=True)) == [
        ("m005", 5), ("m006", 6), ("m007", 7)]
    assert client.zrangestore("to", "z", "+inf", 0, byscore=True, desc=True, offset=1, num=2) == 2
    assert client.zrange("to", 0, -1) == ["m497", "m498"]
    assert client.zrangestore("to", "z", "[m1", "(m2", bylex=True) == 100
    assert client.zrangestore("to", "z", 900, 999) == 0
    assert client.exists("to") == 0
    assert client.zremrangebyrank("z", 0, 9) == 10
    assert client.zremrangebyscore("z", "(19", 29) == 10
    assert client.zremrangebyscore("z", 1_000, "+inf") == 0
    expected = [f"m{number:03}" for number in range(10, 500) if not 19 < number <= 29]
    assert client.zrange("z", 0, -1) == expected


def test_algebra(client):
    client.zadd("one", {"a": 1, "b": 2, "c": 3})
    client.zadd("two", {"b": 10, "c": 20, "d": 30})
    client.sadd("set", "c", "d")
    assert client.zunion(["one", "two"]) == ["a", "b", "c", "d"]
    assert pairs(client.zunion(["one", "two"], withscores=True)) == [
        ("a", 1), ("b", 12), ("c", 23), ("d", 30)]
    assert pairs(client.zunion({"one": 2, "two": 0.5}, withscores=True)) == [
        ("a", 2), ("b", 9), ("d", 15), ("c", 16)]
    assert pairs(client.zunion({"one": 1, "set": -5}, aggregate="MIN", withscores=True)) == [
        ("c", -5), ("d", -5), ("a", 1), ("b", 2)]
    assert pairs(client.zinter(["one", "two"], aggregate="MAX", withscores=True)) == [
        ("b", 10), ("c", 20)]
    assert pairs(client.zinter({"one": 1, "two": 2, "set": 100}, withscores=True)) == [("c", 143)]
    assert pairs(client.zdiff(["one", "two"], withscores=True)) == [("a", 1)]
    assert client.zintercard(2, ["one", "two"]) == 2
    assert client.zintercard(2, ["one", "two"], limit=1) == 1
    assert client.zunionstore("to", {"one": 2, "two": 3}, aggregate="MAX") == 4
    assert pairs(client.zrange("to", 0, -1, withscores=True)) == [
        ("a", 2), ("b", 30), ("c", 60), ("d", 90)]
    assert client.zinterstore("to", ["to", "one"]) == 3
    assert pairs(client.zrange("to", 0, -1, withscores=True)) == [("a", 3), ("b", 32), ("c", 63)]
    assert client.zdiffstore("to", ["one", "one"]) == 0
    assert client.exists("to") == 0
    with pytest.raises(redis.ResponseError, match="weight value is not a float"):
        client.execute_command("ZUNION", 1, "one", "WEIGHTS", "x")


def test_large_algebra(client):
    rng = random.Random(4)
    sets = [{f"m{rng.randrange(4_000)}": rng.randrange(1_000) for _ in range(3_000)}
            for _ in range(3)]
    for number, members in enumerate(sets):
        client.zadd(f"z{number}", members)
    names, weights = ["z0", "z1", "z2"], [1, -2, 0.5]
    everyone = set().union(*sets)
    for aggregate, fold in [("SUM", sum), ("MIN", min), ("MAX", max)]:
        union = {
            member: fold([weight * members[member]
                          for members, weight in zip(sets, weights) if member in members])
            for member in everyone}
        common = {member: score for member, score in union.items()
                  if all(member in members for members in sets)}
        mapping = dict(zip(names, weights))
        for command, expected in [(client.zunion, union), (client.zinter, common)]:
            ordered = sorted(expected.items(), key=lambda pair: (pair[1], pair[0]))
            assert pairs(command(mapping, aggregate=aggregate, withscores=True)) == ordered
    assert set(client.zdiff(names)) == set(sets[0]) - set(sets[1]) - set(sets[2])


def test_pops(client):
    client.zadd("z", {f"m{number}": number for number in range(9)})
    assert pairs(client.zpopmin("z")) == [("m0", 0)]
    assert pairs(client.zpopmin("z", 2)) == [("m1", 1), ("m2", 2)]
    assert pairs(client.zpopmax("z", 2)) == [("m8", 8), ("m7", 7)]
    assert client.zpopmin("none") == []
    name, popped = client.zmpop(2, ["none", "z"], min=True)
    assert (name, pairs(popped)) == ("z", [("m3", 3)])
    name, popped = client.zmpop(2, ["z", "none"], max=True, count=9)
    assert (name, pairs(popped)) == ("z", [("m6", 6), ("m5", 5), ("m4", 4)])
    assert client.zmpop(1, ["z"], min=True) is None
    assert client.exists("z") == 0


def test_waiting(client):
    assert client.bzpopmin("nothing", timeout=0.01) is None
    assert client.bzmpop(0.01, 1, ["nothing"], min=True) is None
    waiters = Waiters(client)
    waiters.start(lambda waiter: tuple(waiter.bzpopmin(["one", "two"], timeout=30)))
    waiters.start(lambda waiter: tuple(waiter.bzpopmax("one", timeout=30)))
    # What a transaction takes back wakes nobody; a list is nothing to pop scores from.
    with client.pipeline() as pipeline:
        pipeline.zadd("one", {"gone": 1}).delete("one").rpush("two", "x").delete("two").execute()
    assert client.info("clients")["blocked_clients"] == 2
    assert client.zadd("one", {"a": 1, "b": 2, "c": 3}) == 3
    results = waiters.join()
    # The one that came first is served first.
    assert sorted(results) == [("one", "a", 1), ("one", "c", 3)]
    assert client.zrange("one", 0, -1) == ["b"]

    waiters = Waiters(client)
    waiters.start(lambda waiter: waiter.bzmpop(30, 2, ["none", "queue"], min=True, count=2))
    client.zunionstore("queue", {"one": 5})
    [(name, popped)] = waiters.join()
    assert (name, pairs(popped)) == ("queue", [("b", 10)])
    assert client.keys() == ["one"]


@pytest.mark.parametrize("count", [20, 2_000])
def test_walks(client, count):
    members = {f"member {number}": number / 4 for number in range(count)}
    client.zadd("z", members)
    assert dict(pairs(list(client.zscan_iter("z")))) == members
    assert dict(pairs(list(client.zscan_iter("z", match="*1*", count=100)))) == {
        name: score for name, score in members.items() if "1" in name}
    assert client.zrandmember("z") in members
    names = client.zrandmember("z", 7)
    assert len(set(names)) == 7 and set(names) <= set(members)
    assert sorted(client.zrandmember("z", count + 1)) == sorted(members)
    names = client.zrandmember("z", -3 * count)
    assert len(names) == 3 * count and set(names) <= set(members)
    assert client.zrandmember("none") is None
    assert client.zrandmember("none", 3) == []


def test_leaderboard(client):
    """Points come in one by one; pages, ranks and neighbours are what sorting by hand gives."""
    rng = random.Random(7)
    points = {}
    for _ in range(20):
        with client.pipeline(transaction=False) as pipeline:
            for _ in range(500):
                player, won = f"player:{rng.randrange(3_000)}", rng.randrange(100)
                points[player] = points.get(player, 0) + won
                pipeline.zincrby("board", won, player)
            pipeline.execute()
    assert client.zcard("board") == len(points)
    ranking = sorted(points.items(), key=lambda pair: (pair[1], pair[0]), reverse=True)
    assert pairs(client.zrange("board", 0, 9, desc=True, withscores=True)) == ranking[:10]
    assert pairs(client.zrevrange("board", 100, 149, withscores=True)) == ranking[100:150]
    for rank in (0, 1, 500, len(ranking) - 1):
        player, score = ranking[rank]
        assert client.zrevrank("board", player) == rank
        assert client.zscore("board", player) == score
        near = max(0, rank - 2)
        around = client.zrange("board", near, rank + 2, desc=True)
        assert around == [name for name, _ in ranking[near:rank + 3]]
    # Only the first hundred stay.
    assert client.zremrangebyrank("board", 0, -101) == len(ranking) - 100
    assert pairs(client.zrevrange("board", 0, -1, withscores=True)) == ranking[:100]


def test_rate_limiter(client):
    """A sliding window: ten requests a minute, counted by when they came."""
    def is_admitted(user, now):
        key = f"requests:{user}"
        with client.pipeline() as pipeline:
            pipeline.zremrangebyscore(key, "-inf", now - 60)
            pipeline.zadd(key, {f"request at {now}": now})
            pipeline.zcard(key)
            pipeline.expire(key, 60)
            _, _, count, _ = pipeline.execute()
        if count > 10:
            client.zrem(key, f"request at {now}")
        return count <= 10

    admitted = [now for now in range(0, 150, 3) if is_admitted("alice", 1_000_000 + now)]
    expected = []
    for now in range(0, 150, 3):
        if len([then for then in expected if then > now - 60]) < 10:
            expected.append(now)
    assert admitted == expected and len(admitted) < 50
    assert is_admitted("bob", 1_000_000)
    assert client.zcard("requests:bob") == 1
    assert 50 < client.ttl("requests:alice") <= 60


def test_schedule(client):
    """Jobs by the time they are due; two workers never take the same one."""
    client.zadd("jobs", {f"job:{number}": number % 50 for number in range(200)})
    done = []
    while due := client.zrangebyscore("jobs", "-inf", 24, start=0, num=10):
        # Another worker has been there before.
        client.zrem("jobs", due[0])
        done += [job for job in due if client.zrem("jobs", job)]
    assert len(done) == len(set(done)) and len(done) >= 90
    assert client.zcount("jobs", "-inf", 24) == 0
    assert client.zcard("jobs") == 100
