"""What each stream worker says of itself in Redis, so that `encore status` can show it."""

from typing import Any

import msgspec
import redis

__all__ = ["Heartbeats", "WorkerStatus"]

_LIVES_S = 15
"""A worker that has said nothing for this long is gone."""


class WorkerStatus(msgspec.Struct, frozen=True):
    """Counts since the worker's start; times in µs since 1970. Per partition it owns: `lag` in messages, and `ends`,
    the offset after the newest message."""

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


class Heartbeats:
    """The workers' own accounts, one key each, that vanish when a worker stops renewing its own."""

    def __init__(self, client: "redis.Redis", project: str) -> None:
        self._client: Any = client
        self._prefix = f"{project}:worker:"

    def beat(self, status: WorkerStatus) -> None:
        """Say how this worker is."""
        self._client.set(self._prefix + status.worker, msgspec.json.encode(status), ex=_LIVES_S)

    def stop(self, worker: str) -> None:
        """This worker is gone."""
        self._client.delete(self._prefix + worker)

    def all(self) -> list[WorkerStatus]:
        """The workers that live, by name."""
        keys = sorted(self._client.scan_iter(match=f"{self._prefix}*"))
        found = self._client.mget(keys) if keys else []
        return [msgspec.json.decode(status, type=WorkerStatus) for status in found if status]
