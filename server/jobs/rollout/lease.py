"""The lease and progress of a rollout: a key in Redis that exists only while the rollout's process lives."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from data.clock import Clock, wall_clock
from data.errors import RedisRefusalError, UnavailableError
from data.units import MICROS
from features.state.online.answers import ask, read_value, take_turn

__all__ = ["Lease", "Step", "held", "last_step"]

_LIVES_S = 15
_RENEW_S = 1.0

_RENEW = """
local now = redis.call('GET', KEYS[1])
if now and string.find(now, ARGV[1], 1, true) == nil then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""

_RELEASE = """
local now = redis.call('GET', KEYS[1])
if now and string.find(now, ARGV[1], 1, true) then redis.call('DEL', KEYS[1]) end
return 1
"""


class Step(msgspec.Struct, frozen=True):
    """The present step of a rollout, its start (UTC µs), and how much is `done` of a `total` (0: unknown)."""

    token: str
    what: str
    began_us: int
    done: int = 0
    total: int = 0

    def remaining_s(self, now_us: int) -> float | None:
        """Return the remaining time of this step at its pace so far, s; None if unknown."""
        if not (0 < self.done <= self.total):
            return None
        return (now_us - self.began_us) / MICROS * (self.total - self.done) / self.done


class Lease:
    """The lease of one rollout, renewed until its end, or until its process dies."""

    def __init__(self, client: Any, project: str, clock: Clock) -> None:
        self._client = client
        self._key = _key(project)
        self._clock = clock
        self._step = Step(uuid.uuid4().hex, "begins", clock())
        self._lost = threading.Event()

    def say(self, what: str, done: int = 0, total: int = 0) -> None:
        """Record the present step and its progress. Raises UnavailableError if another rollout took the lease."""
        if self._lost.is_set():
            raise UnavailableError("another rollout is on its way, for Redis has lost the lease of this one")
        began_us = self._step.began_us if what == self._step.what else self._clock()
        self._step = Step(self._step.token, what, began_us, done, total)

    def take(self) -> None:
        """Take the lease. Raises UnavailableError if another rollout holds it."""
        try:
            taken = take_turn(self._client, self._key, msgspec.json.encode(self._step), _LIVES_S)
        except RedisRefusalError as error:
            raise RedisRefusalError(f"{error}; nothing was changed") from error
        if not taken:
            raise UnavailableError(
                "another rollout is on its way, or a person is being forgotten (`encore rollout status` shows which); "
                f"wait until it is done. One that was killed is forgotten after {_LIVES_S} s"
            )

    def keep(self, done: threading.Event) -> None:
        """Renew the lease until `done` is set."""
        while not done.wait(_RENEW_S):
            with suppress(UnavailableError):  # the lease outlasts a short outage
                words = (self._step.token, msgspec.json.encode(self._step), _LIVES_S)
                if not ask(lambda words=words: self._client.eval(_RENEW, 1, self._key, *words)):  # type: ignore[misc]
                    self._lost.set()

    def release(self) -> None:
        """Release the lease."""
        with suppress(UnavailableError):
            ask(lambda: self._client.eval(_RELEASE, 1, self._key, self._step.token))


@contextmanager
def held(client: Any, project: str, clock: Clock = wall_clock) -> Iterator[Lease]:
    """Hold the lease during the block. Raises UnavailableError if another rollout holds it."""
    lease, done = Lease(client, project, clock), threading.Event()
    lease.take()
    thread = threading.Thread(target=lease.keep, args=(done,), name="rollout", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        done.set()
        thread.join()
        lease.release()


def last_step(client: Any, project: str) -> Step | None:
    """Return the present step of the running rollout; None if there is none."""
    stored = read_value(client, _key(project))
    with suppress(msgspec.MsgspecError, UnicodeDecodeError):
        return msgspec.json.decode(stored, type=Step) if stored else None
    return None


def _key(project: str) -> str:
    return f"{project}:rollout"
