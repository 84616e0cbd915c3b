"""Applications of Python: task queues with a worker's process, locks, and what a web framework keeps."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

MODULES = str(Path(__file__).parent / "python")
PATIENCE_SECONDS = 60


@pytest.fixture
def start_worker(start_server):
    """Starts a worker's process for a server of its own; both end with the test."""
    server = start_server()
    workers = []

    def start(*words):
        environment = {
            **os.environ, "APP_URL": f"redis://127.0.0.1:{server.port}/0",
            "PYTHONPATH": MODULES, "C_FORCE_ROOT": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        workers.append(subprocess.Popen(
            [sys.executable, "-m", *words], env=environment, cwd=server.directory,
            stdin=subprocess.DEVNULL, stdout=server.log, stderr=server.log))
        return workers[-1]

    yield server, start
    for worker in workers:
        worker.terminate()
        worker.wait(PATIENCE_SECONDS)


def test_celery(start_worker, monkeypatch):
    server, start = start_worker
    url = f"redis://127.0.0.1:{server.port}/0"
    monkeypatch.setenv("APP_URL", url)
    monkeypatch.syspath_prepend(MODULES)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import celery
    import celery_app as tasks
    start("celery", "-A", "celery_app", "worker", "--pool=threads", "--concurrency=4",
          "--without-gossip", "--without-mingle", "--loglevel=WARNING")

    sums = celery.group(tasks.add.s(number, number) for number in range(200)).apply_async()
    assert sums.get(timeout=PATIENCE_SECONDS) == [2 * number for number in range(200)]
    chord = celery.chord(tasks.add.s(number, 1) for number in range(20))(tasks.total.s())
    chain = (tasks.add.s(1, 2) | tasks.add.s(10) | tasks.add.s(100)).apply_async()
    retried = [tasks.flaky.delay(f"task-{failures}", failures) for failures in range(4)]
    lost = tasks.flaky.delay("lost", 9)
    later = tasks.add.apply_async((1, 1), countdown=0.2)
    assert chord.get(timeout=PATIENCE_SECONDS) == sum(range(1, 21))
    assert chain.get(timeout=PATIENCE_SECONDS) == 113
    assert [task.get(timeout=PATIENCE_SECONDS) for task in retried] == [
        f"task-{failures}" for failures in range(4)]
    with pytest.raises(celery.exceptions.MaxRetriesExceededError):
        lost.get(timeout=PATIENCE_SECONDS)
    with pytest.raises(ValueError, match="as it should"):
        tasks.broken.delay().get(timeout=PATIENCE_SECONDS)
    assert later.get(timeout=PATIENCE_SECONDS) == 2
    counters = redis.Redis(port=server.port, decode_responses=True)
    assert int(counters.get("added")) == 200 + 20 + 3 + 1
    assert [int(counters.get(f"tried:task-{failures}")) for failures in range(4)] == [1, 2, 3, 4]
    assert int(counters.get("tried:lost")) == 4
    sums.forget()
    tasks.app.close()


def test_rq(start_worker):
    server, start = start_worker
    from rq import Queue, Retry
    connection = redis.Redis(port=server.port)
    queue = Queue("work", connection=connection)
    with connection.pipeline() as pipeline:
        jobs = queue.enqueue_many([
            Queue.prepare_data("rq_tasks.add", (number, number), result_ttl=600)
            for number in range(200)], pipeline=pipeline)
        pipeline.execute()
    retried = queue.enqueue("rq_tasks.flaky", 2, retry=Retry(max=3))
    failing = queue.enqueue("rq_tasks.flaky", 9, retry=Retry(max=1))
    dependent = queue.enqueue("rq_tasks.after", depends_on=jobs[-1])
    worker = start("rq.cli", "worker", "--url", f"redis://127.0.0.1:{server.port}/0",
                   "--worker-class", "rq.worker.SimpleWorker", "--burst", "--quiet", "work")
    assert worker.wait(PATIENCE_SECONDS) == 0, server.output()
    assert [job.return_value(refresh=True) for job in jobs] == [2 * n for n in range(200)]
    assert int(connection.get("added")) == 200
    assert (retried.get_status(), retried.return_value()) == ("finished", 3)
    assert dependent.return_value() == 399
    assert failing.get_status() == "failed"
    assert "as it should" in failing.latest_result().exc_string
    assert int(connection.get(f"tried:{failing.id}")) == 2
    assert queue.failed_job_registry.get_job_ids() == [failing.id]
    assert len(queue.finished_job_registry) == 202
    assert failing.requeue().get_status() == "queued"
    assert (len(queue), len(queue.failed_job_registry)) == (1, 0)


def test_python_redis_lock(start_server):
    import redis_lock
    server = start_server()
    connection = redis.Redis(port=server.port)
    counted, inside = [], []

    def count():
        own = redis.Redis(port=server.port)
        for _ in range(10):
            with redis_lock.Lock(own, "counter", expire=30):
                inside.append(1)
                counted.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert counted == [1] * 80
    lock = redis_lock.Lock(connection, "renewed", expire=1, auto_renewal=True)
    assert lock.acquire()
    other = redis_lock.Lock(connection, "renewed", expire=2)
    assert other.acquire(blocking=False) is False
    assert other.acquire(timeout=2) is False  # Longer than the lock's own time.
    with pytest.raises(redis_lock.NotAcquired):
        other.release()
    lock.release()
    assert other.acquire(blocking=False)
    redis_lock.reset_all(connection)
    assert other.locked() is False
    # redis-py's own.
    with connection.lock("own", timeout=10) as own:
        assert own.extend(10)
        assert connection.lock("own", blocking=False).acquire() is False
        assert connection.pttl("own") > 10_000
    assert connection.exists("own") == 0


def test_pottery_redlock_over_three_servers(start_server):
    from pottery import NextID, Redlock
    servers = [start_server() for _ in range(3)]
    masters = {redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)) for server in servers}
    lock = Redlock(key="printer", masters=masters, auto_release_time=10)
    other = Redlock(key="printer", masters=masters, auto_release_time=10)
    assert lock.acquire()
    assert other.acquire(blocking=False) is False
    lock.extend()
    assert lock.locked() > 0
    lock.release()
    servers[0].kill()
    assert other.acquire(timeout=PATIENCE_SECONDS)
    other.release()
    numbers = NextID(key="numbers", masters=masters)
    assert [next(numbers) for _ in range(20)] == list(range(1, 21))


def test_django_cache_and_sessions(start_server):
    import django
    from django.conf import settings
    location = f"redis://127.0.0.1:{start_server().port}/"
    settings.configure(
        SECRET_KEY="test", USE_TZ=True, SESSION_ENGINE="django.contrib.sessions.backends.cache",
        CACHES={
            "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache",
                        "LOCATION": location + "0"},
            "other": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": location + "1",
                      "OPTIONS": {"COMPRESSOR": "django_redis.compressors.zlib.ZlibCompressor"}},
        })
    django.setup()
    from django.contrib.sessions.backends.cache import SessionStore
    from django.core.cache import caches
    for cache in (caches["default"], caches["other"]):
        cache.set_many({f"key:{number}": {"n": [number]} for number in range(100)}, timeout=100)
        assert cache.get_many(["key:7", "key:99", "no"]) == {
            "key:7": {"n": [7]}, "key:99": {"n": [99]}}
        assert cache.add("key:7", 1) is False
        assert cache.get_or_set("made", lambda: "x" * 10_000, 100) == "x" * 10_000
        cache.set("n", 1)
        assert (cache.incr("n", 4), cache.decr("n", 2)) == (5, 3)
        with pytest.raises(ValueError):
            cache.incr("missing")
        assert cache.touch("n", 50) is True
        assert cache.delete("n") is True
        cache.set("old", 1, timeout=0)
        assert cache.get("old") is None
        cache.set("first", 1, version=1)
        assert cache.incr_version("first", version=1) == 2
        assert (cache.get("first", version=1), cache.get("first", version=2)) == (None, 1)
    other = caches["other"]
    assert 90 <= other.ttl("key:1") <= 100
    assert len(list(other.iter_keys("key:*"))) == 100
    assert other.delete_pattern("key:*") == 100
    with other.lock("lock", timeout=10):
        assert other.keys("lock") == ["lock"]
    session = SessionStore()
    session["user"] = {"id": 5, "basket": [1, 2]}
    session.save()
    again = SessionStore(session_key=session.session_key)
    assert again["user"] == {"id": 5, "basket": [1, 2]}
    again.cycle_key()
    assert not SessionStore().exists(session.session_key)
    assert SessionStore(session_key=again.session_key)["user"]["id"] == 5
    again.flush()
    caches["default"].clear()
    assert caches["default"].get("made") is None


def test_rate_limiter_admits_no_more_than_its_limit(start_server):
    """A fixed window by INCR and PEXPIRE: twenty threads, each window counted."""
    server = start_server()
    script = """
        local used = redis.call('INCR', KEYS[1])
        if used == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
        if used > tonumber(ARGV[1]) then return {0, redis.call('PTTL', KEYS[1])} end
        return {1, redis.call('INCR', KEYS[2])}"""
    admitted = []

    def ask():
        own = redis.Redis(port=server.port)
        limit = own.register_script(script)
        for _ in range(100):
            may, place = limit(keys=["window", "total"], args=[50, 60_000])
            if may:
                admitted.append(place)
            else:
                assert 0 < place <= 60_000
        own.close()

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert sorted(admitted) == list(range(1, 51))
