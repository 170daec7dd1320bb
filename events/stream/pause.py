"""Pause all stream workers while states are rebuilt, so that none has to be stopped by hand.

    rebuild   request ─ wait for all ── delete states, fold the log ── release
    worker          log, commit, confirm ── wait ──────────────────── go on

A worker that folded meanwhile would write a state of the newest events alone, with a fence that claims all earlier
ones. The request expires by itself where the rebuild has died.
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
"""Live workers publish at least this often, s: the time to wait for heartbeats that Redis may have lost."""


@contextmanager
def paused_workers(heartbeats: Heartbeats, *, patience_s: float = _PATIENCE_S) -> Iterator[int]:
    """Pause every live worker, with all that it has folded in the log; yield their number.

    Raises UnavailableError where one does not answer within `patience_s`, or another rebuild is running; and at the
    end, where the request was lost meanwhile, so that workers may have resumed.
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
