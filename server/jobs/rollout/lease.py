"""One rollout at a time, and how far it is, for whoever asks: a key that lives only while the rollout does."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from data.clock import Clock, wall_clock
from data.errors import RedisRefusalError, UnavailableError
from data.units import MICROS
from features.state.answers import ask, read_value, take_turn

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
    """What a rollout is doing, since when (UTC µs), and how much of it is `done` of a `total` (0: unknown)."""

    token: str
    what: str
    began_us: int
    done: int = 0
    total: int = 0

    def remaining_s(self, now_us: int) -> float | None:
        """Return how long this step will take from now on, at its pace so far; None where nothing tells."""
        if not (0 < self.done <= self.total):
            return None
        return (now_us - self.began_us) / MICROS * (self.total - self.done) / self.done


class Lease:
    """That of one rollout. It is renewed until the end, or until its process dies."""

    def __init__(self, client: Any, project: str, clock: Clock) -> None:
        self._client = client
        self._key = _key(project)
        self._clock = clock
        self._step = Step(uuid.uuid4().hex, "begins", clock())
        self._lost = threading.Event()

    def say(self, what: str, done: int = 0, total: int = 0) -> None:
        """Say what is being done, and how far it is. Raises UnavailableError where another rollout has begun."""
        if self._lost.is_set():
            raise UnavailableError("another rollout is on its way, for Redis has lost the lease of this one")
        began_us = self._step.began_us if what == self._step.what else self._clock()
        self._step = Step(self._step.token, what, began_us, done, total)

    def take(self) -> None:
        """Begin. Raises UnavailableError where another rollout is on its way."""
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
        """Renew until `done`."""
        while not done.wait(_RENEW_S):
            with suppress(UnavailableError):  # it lasts for a while
                words = (self._step.token, msgspec.json.encode(self._step), _LIVES_S)
                if not ask(lambda words=words: self._client.eval(_RENEW, 1, self._key, *words)):  # type: ignore[misc]
                    self._lost.set()

    def release(self) -> None:
        """End."""
        with suppress(UnavailableError):
            ask(lambda: self._client.eval(_RELEASE, 1, self._key, self._step.token))


@contextmanager
def held(client: Any, project: str, clock: Clock = wall_clock) -> Iterator[Lease]:
    """Hold the lease. Raises UnavailableError where another rollout does."""
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
    """Return what the rollout is doing that is on its way; None where there is none."""
    found = read_value(client, _key(project))
    with suppress(msgspec.MsgspecError, UnicodeDecodeError):
        return msgspec.json.decode(found, type=Step) if found else None
    return None


def _key(project: str) -> str:
    return f"{project}:rollout"
