"""Holding all stream workers still while states are made anew, so that none has to be stopped by hand.

    rebuild   ask ── wait for all ── forget states, fold the log ── let go
    worker          log, commit, say so ── wait ─────────────────── go on

A worker that folded meanwhile would give an entity whose state is gone one of the newest events alone, with a fence
that says otherwise. The request fades by itself where whoever asked has died.
"""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import redis

from data.errors import UnavailableError
from events.stream.heartbeat import Heartbeats

__all__ = ["paused_workers"]

_RENEW_S = 5.0
_PATIENCE_S = 60.0

_QUIET_S = 3.0
"""A worker is heard at least so often: those that are not lost their heartbeats with all the rest of Redis."""


@contextmanager
def paused_workers(heartbeats: Heartbeats, *, patience_s: float = _PATIENCE_S) -> Iterator[int]:
    """Every worker that lives stands still, with all that it has folded in the log; how many there are.

    UnavailableError where one does not answer within `patience_s`, or another rebuild is on its way; and at the end,
    where the request was lost meanwhile, so that they may have gone on.
    """
    token = uuid.uuid4().hex
    if not heartbeats.ask_pause(token):
        raise UnavailableError("another rebuild is on its way; wait until it is done")
    done = threading.Event()

    def renew() -> None:
        while not done.wait(_RENEW_S):
            with suppress(redis.RedisError):  # it lasts for a while, and is looked at in the end
                heartbeats.keep_pause()

    thread = threading.Thread(target=renew, name="pause", daemon=True)
    thread.start()
    try:
        yield _await_all(heartbeats, token, patience_s)
        kept = heartbeats.asked_pause() == token
    finally:
        done.set()
        thread.join()
        heartbeats.end_pause()
    if not kept:
        raise UnavailableError(
            "stream workers may have gone on meanwhile: Redis has lost the request that they stand still; run it again"
        )


def _await_all(heartbeats: Heartbeats, token: str, patience_s: float) -> int:
    asked = time.monotonic()
    while True:
        passed_s = time.monotonic() - asked
        workers = heartbeats.all()
        waiting = [one.worker for one in workers if one.paused != token]
        if not waiting and passed_s > _QUIET_S:
            return len(workers)
        if waiting and passed_s > patience_s:
            raise UnavailableError(
                f"stream workers do not stand still ({', '.join(waiting)}): they may be waiting for Kafka or the log's "
                "disk; look at their output, or stop them"
            )
        time.sleep(0.1)
