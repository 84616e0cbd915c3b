"""Publish and subscribe through redis-py and redis-cli, and keyspace notifications."""

import subprocess
import threading

import pytest
import redis

PATIENCE_SECONDS = 30


def heard(listener, count):
    """The next messages, confirmations left out, as (type, pattern, channel, data)."""
    messages = []
    while len(messages) < count:
        message = listener.get_message(ignore_subscribe_messages=True, timeout=PATIENCE_SECONDS)
        if message is not None:
            messages.append(tuple(message[part] for part in ("type", "pattern", "channel", "data")))
    return messages


def confirmed(listener, count):
    """Waits for confirmations, and gives what was confirmed."""
    confirmations = []
    while len(confirmations) < count:
        message = listener.get_message(timeout=PATIENCE_SECONDS)
        assert message is not None, confirmations
        confirmations.append((message["type"], message["channel"], message["data"]))
    return confirmations


def test_channels(client):
    listener = client.pubsub()
    listener.subscribe("one", "two")
    assert confirmed(listener, 2) == [("subscribe", "one", 1), ("subscribe", "two", 2)]
    assert client.publish("one", "hello") == 1
    assert client.publish("three", "nobody") == 0
    assert client.publish("two", "world") == 1
    assert heard(listener, 2) == [("message", None, "one", "hello"),
                                  ("message", None, "two", "world")]
    assert sorted(client.pubsub_channels()) == ["one", "two"]
    assert client.pubsub_channels("t*") == ["two"]
    assert client.pubsub_numsub("one", "three") == [("one", 1), ("three", 0)]
    listener.unsubscribe("one")
    assert confirmed(listener, 1) == [("unsubscribe", "one", 1)]
    listener.unsubscribe()
    assert confirmed(listener, 1) == [("unsubscribe", "two", 0)]
    assert not listener.subscribed
    listener.close()


def test_patterns(client):
    listener = client.pubsub()
    listener.psubscribe("news.*", "h?llo")
    listener.subscribe("news.art")
    confirmed(listener, 3)
    assert client.pubsub_numpat() == 2
    assert client.publish("news.art", "x") == 2
    assert client.publish("hallo", "y") == 1
    assert heard(listener, 3) == [("message", None, "news.art", "x"),
                                  ("pmessage", "news.*", "news.art", "x"),
                                  ("pmessage", "h?llo", "hallo", "y")]
    listener.close()


def test_shard_channels(client):
    listener = client.pubsub()
    listener.ssubscribe("shard")
    listener.psubscribe("*")
    assert confirmed(listener, 2) == [("ssubscribe", "shard", 1), ("psubscribe", "*", 1)]
    assert client.spublish("shard", "x") == 1
    assert heard(listener, 1) == [("smessage", None, "shard", "x")]
    assert client.pubsub_shardchannels() == ["shard"]
    assert client.pubsub_shardnumsub("shard") == [("shard", 1)]
    listener.sunsubscribe()
    assert confirmed(listener, 1) == [("sunsubscribe", "shard", 0)]
    listener.close()


def test_handlers_in_a_thread(client):
    called = threading.Event()
    messages = []

    def handle(message):
        messages.append(message["data"])
        if message["data"] == "last":
            called.set()

    listener = client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(**{"work": handle})
    listener.psubscribe(**{"w*": handle})
    thread = listener.run_in_thread(sleep_time=0.001)
    while client.publish("work", "first") < 2:
        pass
    client.publish("work", "last")
    assert called.wait(PATIENCE_SECONDS)
    thread.stop()
    thread.join(PATIENCE_SECONDS)
    assert {"first", "last"} <= set(messages)


def test_binary_messages(shared_server):
    client = redis.Redis(port=shared_server.port)
    listener = client.pubsub(ignore_subscribe_messages=True)
    name, payload = b"\x00\r\n\xff", bytes(range(256)) * 5000
    listener.subscribe(name)
    while client.publish(name, payload) == 0:
        pass
    assert heard(listener, 1) == [("message", None, name, payload)]
    listener.close()
    client.close()


def test_a_listener_of_resp2_may_do_nothing_else(shared_server):
    client = redis.Redis(port=shared_server.port, protocol=2, single_connection_client=True)
    client.connection.send_command("SUBSCRIBE", "c")
    assert client.connection.read_response() == [b"subscribe", b"c", 1]
    client.connection.send_command("GET", "x")
    with pytest.raises(redis.ResponseError, match="Can't execute 'get': only"):
        client.connection.read_response()
    client.connection.send_command("RESET")
    assert client.connection.read_response() == b"RESET"
    client.connection.send_command("GET", "x")
    assert client.connection.read_response() is None
    client.close()


def test_keyspace_events(client):
    client.config_set("notify-keyspace-events", "KEA")
    listener = client.pubsub()
    listener.psubscribe("__key*__:*")
    confirmed(listener, 1)
    client.set("name", "redstart", ex=1000)
    client.rename("name", "other")
    client.lpush("list", "x")
    client.lpop("list")
    client.hset("hash", "field", "value")
    client.set("short", 1, px=1)
    events = [(channel.split(":", 1)[1], data) for _, _, channel, data in heard(listener, 20)]
    assert events == [
        ("name", "set"), ("set", "name"), ("name", "expire"), ("expire", "name"),
        ("name", "rename_from"), ("rename_from", "name"),
        ("other", "rename_to"), ("rename_to", "other"),
        ("list", "lpush"), ("lpush", "list"), ("list", "lpop"), ("lpop", "list"),
        ("list", "del"), ("del", "list"), ("hash", "hset"), ("hset", "hash"),
        ("short", "set"), ("set", "short"), ("short", "expire"), ("expire", "short"),
    ]
    events = [(channel.split(":", 1)[1], data) for _, _, channel, data in heard(listener, 2)]
    assert events == [("short", "expired"), ("expired", "short")]
    client.config_set("notify-keyspace-events", "")
    listener.close()


def test_a_listener_comes_back_after_the_server_did(start_server):
    server = start_server("--appendonly", "no", "--save", "")
    client = redis.Redis(port=server.port, decode_responses=True)
    listener = client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe("channel")
    while client.publish("channel", "before") == 0:
        pass
    assert heard(listener, 1) == [("message", None, "channel", "before")]
    client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    # redis-py connects again and subscribes to what it had.
    received = None
    while received is None:
        client.publish("channel", "after")
        received = listener.get_message(timeout=0.01)
    assert received["data"] == "after"
    listener.close()
    client.close()


@pytest.mark.parametrize("protocol", [[], ["-3"]], ids=["RESP2", "RESP3"])
def test_redis_cli_listens(shared_server, protocol):
    client = redis.Redis(port=shared_server.port, decode_responses=True)
    cli = subprocess.Popen(
        ["redis-cli", "-p", str(shared_server.port), *protocol, "PSUBSCRIBE", "cli:*"],
        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        said = [cli.stdout.readline().strip() for _ in range(3)]
        assert said == ["psubscribe", "cli:*", "1"]
        assert client.publish("cli:x", "hello") == 1
        said = [cli.stdout.readline().strip() for _ in range(4)]
        assert said == ["pmessage", "cli:*", "cli:x", "hello"]
    finally:
        cli.kill()
        cli.wait()
        cli.stdout.close()
    client.close()
