"""Heartbeats of stream workers in Redis, which `encore status` shows."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
import redis

from features.state.online.answers import is_wrong_type

__all__ = ["Heartbeats", "LastBeat", "Membership", "WorkerStatus"]

_LIVES_S = 15
"""A worker without a heartbeat for this long is gone."""

_LATE_S = 3
"""A worker without a heartbeat for this long may have been killed."""

_REMEMBERED_S = 86_400
"""How long a worker that ended without `stop` is remembered."""

_REMEMBER = """
redis.call('HSET', KEYS[1], ARGV[1], redis.call('TIME')[1] .. ' ' .. ARGV[2])
"""
"""By Redis' clock: workers may be on several machines."""


class Membership(msgspec.Struct, frozen=True):
    """A worker's member id in its Kafka group, and the group's protocol (`consumer`: KIP-848; `classic`)."""

    member: str = ""
    protocol: str = ""


class WorkerStatus(msgspec.Struct, frozen=True):
    """Counts since the worker's start; times in µs since 1970.

    Per partition that it owns: `lag` in messages, and `ends`, the offset after the newest message. `types` counts
    accepted events by type. `freshness_ms` is median and 99th percentile, over a sample of the newest events, of the
    time from an event's own time until it is in the features. `lost` counts messages that Kafka's retention deleted
    unread. `stood_s`: seconds for which messages have been waiting while none was folded; `waiting`: what the worker
    waits for. `set_aside` counts states that could not be read. `uncommitted_s`: seconds for which folded events could
    not be logged and committed. `repeats`: events that their clients sent again, and that were not counted. `edition`
    is that of the states that the worker folds into, `follows` another one that has all that this one has, if any.
    `late` counts events that arrived in the topic long after their own time, `files` those written into the event log.
    `suppressed`: messages of people who were forgotten, which were dropped; `suppression`: the revision of the list by
    which the worker does so.
    """

    worker: str
    at_us: int
    started_us: int
    received: int
    folded: int
    rate: float
    dead_letters: dict[str, int]
    conflicts: int
    lag: dict[int, int]
    ends: dict[int, int]
    newest_event_us: int | None
    last_letter: str = ""
    types: dict[str, int] = {}
    freshness_ms: tuple[float, float] | None = None
    lost: int = 0
    membership: Membership = Membership()
    stood_s: float = 0.0
    waiting: str = ""
    set_aside: int = 0
    uncommitted_s: float = 0.0
    repeats: int = 0
    edition: str = ""
    follows: str = ""
    late: int = 0
    files: int = 0
    suppressed: int = 0
    suppression: int = 0


class LastBeat(NamedTuple):
    """A worker's last status, and how many seconds ago it was."""

    status: WorkerStatus
    age_s: float


class Heartbeats:
    """The workers' status, one key each, which expires when a worker stops renewing it.

    A set holds the workers' names, since scanning for their keys would visit every state. A worker's last status is
    kept beside it, until the worker stops or was silent for a day. What no worker wrote in these keys is ignored.
    """

    def __init__(self, client: "redis.Redis", project: str) -> None:
        self._client: Any = client
        self._names = f"{project}:workers"
        self._prefix = f"{project}:worker:"
        self._last = f"{project}:last_beats"

    def beat(self, status: WorkerStatus) -> bool:
        """Publish a worker's status.

        Returns False where a newer live worker owns the name, whose status is left alone.
        """
        key = self._prefix + status.worker
        other = self.of(status.worker)
        if other is not None and other.membership.member != status.membership.member:
            is_newer = (other.started_us, other.membership.member) > (status.started_us, status.membership.member)
            # Redis' clock, since workers may be on several machines.
            if is_newer and self._client.pttl(key) > (_LIVES_S - _LATE_S) * 1000:
                return False
        encoded = msgspec.json.encode(status)
        self._write(self._names, lambda: self._client.sadd(self._names, status.worker))
        self._client.set(key, encoded, ex=_LIVES_S)
        self._write(self._last, lambda: self._client.eval(_REMEMBER, 1, self._last, status.worker, encoded))
        return True

    def stop(self, worker: str) -> None:
        """Remove a worker that ends."""
        self._client.delete(self._prefix + worker)
        self._write(self._names, lambda: self._client.srem(self._names, worker))
        self._write(self._last, lambda: self._client.hdel(self._last, worker))

    def of(self, worker: str) -> WorkerStatus | None:
        """Return the status of one worker; None where its heartbeat has expired."""
        return _decoded(self._read(lambda: self._client.get(self._prefix + worker)))

    def all(self) -> list[WorkerStatus]:
        """Return the status of all live workers, by name."""
        lives = []
        for name in sorted(self._read(lambda: self._client.smembers(self._names)) or ()):
            status = self.of(name.decode(errors="replace"))
            if status is None:
                self._client.srem(self._names, name)
            else:
                lives.append(status)
        return lives

    def silent(self) -> list[LastBeat]:
        """Return the workers that went silent without `stop`, by name: they hang, or were killed."""
        beats = []
        last: dict[bytes, bytes] = self._read(lambda: self._client.hgetall(self._last)) or {}
        now_s = int(self._client.time()[0]) if last else 0
        for name, stored in sorted(last.items()):
            at_s, _, encoded = stored.partition(b" ")
            status = _decoded(encoded)
            age_s = now_s - int(at_s) if at_s.isdigit() else _REMEMBERED_S
            if status is None or age_s >= _REMEMBERED_S:
                self._client.hdel(self._last, name)
            elif age_s > _LIVES_S:
                beats.append(LastBeat(status, float(age_s)))
        return beats

    def forget_silent(self, text: str) -> None:
        """Forget the last status of silent workers that contains a text: a reason may name a person."""
        for last in self.silent():
            if text in f"{last.status.last_letter} {last.status.waiting}":
                self._client.hdel(self._last, last.status.worker)

    def _read(self, command: Callable[[], Any]) -> Any:
        """Return Redis' answer; None where the key is of another type."""
        try:
            return command()
        except redis.ResponseError as error:
            if is_wrong_type(error):
                return None
            raise

    def _write(self, key: str, command: Callable[[], Any]) -> None:
        """Run a command; where the key is of another type, delete the key and run it again."""
        try:
            command()
        except redis.ResponseError as error:
            if not is_wrong_type(error):
                raise
            self._client.delete(key)
            command()


def _decoded(encoded: bytes | None) -> WorkerStatus | None:
    with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return msgspec.json.decode(encoded, type=WorkerStatus) if encoded else None
    return None
