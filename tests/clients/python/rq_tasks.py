"""Tasks for a worker of RQ."""

import rq


def add(one, other):
    rq.get_current_job().connection.incr("added")
    return one + other


def flaky(failures):
    job = rq.get_current_job()
    tried = job.connection.incr(f"tried:{job.id}")
    if tried <= failures:
        raise ValueError("as it should")
    return tried


def after():
    return rq.get_current_job().dependency.return_value() + 1
