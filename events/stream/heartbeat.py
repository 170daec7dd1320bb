"""Heartbeats of stream workers in Redis, which `encore status` shows."""

from typing import Any

import msgspec
import redis

__all__ = ["Heartbeats", "Membership", "WorkerStatus"]

_LIVES_S = 15
"""A worker without a heartbeat for this long is gone."""

_LATE_S = 3
"""A worker without a heartbeat for this long may have been killed."""


class Membership(msgspec.Struct, frozen=True):
    """A worker's member id in its Kafka group, and the group's protocol (`consumer`: KIP-848; `classic`)."""

    member: str = ""
    protocol: str = ""


class WorkerStatus(msgspec.Struct, frozen=True):
    """Counts since the worker's start; times in µs since 1970.

    Per partition that it owns: `lag` in messages, and `ends`, the offset after the newest message. `types` counts
    accepted events by type. `freshness_ms` is median and 99th percentile, over a sample of the newest events, of the
    time from an event's own time until it is in the features. `lost` counts messages that Kafka's retention deleted
    unread. `paused` names the request for which the worker is paused (`events.stream.pause`).
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
    paused: str = ""
    membership: Membership = Membership()


class Heartbeats:
    """The workers' status, one key each, which expires when a worker stops renewing it.

    A set holds the workers' names, since scanning for their keys would visit every state.
    """

    def __init__(self, client: "redis.Redis", project: str) -> None:
        self._client: Any = client
        self._names = f"{project}:workers"
        self._prefix = f"{project}:worker:"
        self._pause = f"{project}:pause"

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
        self._client.sadd(self._names, status.worker)
        self._client.set(key, msgspec.json.encode(status), ex=_LIVES_S)
        return True

    def stop(self, worker: str) -> None:
        """Remove a worker that ends."""
        self._client.delete(self._prefix + worker)
        self._client.srem(self._names, worker)

    def ask_pause(self, token: str) -> bool:
        """Request that all workers pause; False where another request is active. The request expires unless renewed."""
        return bool(self._client.set(self._pause, token, nx=True, ex=_LIVES_S))

    def keep_pause(self) -> None:
        """Renew the request."""
        self._client.expire(self._pause, _LIVES_S)

    def end_pause(self) -> None:
        """Remove the request: workers go on."""
        self._client.delete(self._pause)

    def asked_pause(self) -> str:
        """Return the active request to pause; empty where there is none."""
        token = self._client.get(self._pause)
        return token.decode() if token else ""

    def of(self, worker: str) -> WorkerStatus | None:
        """Return the status of one worker; None where its heartbeat has expired."""
        found = self._client.get(self._prefix + worker)
        return msgspec.json.decode(found, type=WorkerStatus) if found else None

    def all(self) -> list[WorkerStatus]:
        """Return the status of all live workers, by name."""
        lives = []
        for name in sorted(self._client.smembers(self._names)):
            status = self.of(name.decode())
            if status is None:
                self._client.srem(self._names, name)
            else:
                lives.append(status)
        return lives
