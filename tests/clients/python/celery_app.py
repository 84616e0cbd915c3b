"""Tasks for a worker of Celery, whose broker and results are on the server that APP_URL names."""

import os

import celery
import redis

url = os.environ["APP_URL"]
app = celery.Celery("app", broker=url, backend=url)
app.conf.update(
    broker_connection_retry_on_startup=True, worker_hijack_root_logger=False,
    task_acks_late=True, result_chord_retry_interval=0.01, worker_send_task_events=False)
counters = redis.Redis.from_url(url)


@app.task
def add(one, other):
    counters.incr("added")
    return one + other


@app.task
def total(numbers):
    return sum(numbers)


@app.task(bind=True, max_retries=3, default_retry_delay=0.01)
def flaky(self, name, failures):
    if counters.incr(f"tried:{name}") <= failures:
        raise self.retry()
    return name


@app.task
def broken():
    raise ValueError("as it should")
