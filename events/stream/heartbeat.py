"""What each stream worker says of itself in Redis, so that `encore status` can show it."""

from typing import Any

import msgspec
import redis

__all__ = ["Heartbeats", "Membership", "WorkerStatus"]

_LIVES_S = 15
"""A worker that has said nothing for this long is gone."""

_LATE_S = 3
"""A worker that has said nothing for this long may have ended without a farewell."""


class Membership(msgspec.Struct, frozen=True):
    """What Kafka calls a worker in its group, and the group's protocol (`consumer`: KIP-848; `classic`)."""

    member: str = ""
    protocol: str = ""


class WorkerStatus(msgspec.Struct, frozen=True):
    """Counts since the worker's start; times in µs since 1970. Per partition it owns: `lag` in messages, and `ends`,
    the offset after the newest message. `types` counts accepted events by type. `freshness_ms` is the median and the
    99th percentile, over a sample of the newest events, of the time from an event's own time to its being in the
    features. `lost` counts messages that Kafka's retention dropped before anyone read them. `paused` names
    the request for which the worker stands still (`events.stream.pause`)."""

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
    """The workers' own accounts, one key each, that vanish when a worker stops renewing its own.

    A set holds the workers' names: looking for their keys among all the states' would take a look at every state.
    """

    def __init__(self, client: "redis.Redis", project: str) -> None:
        self._client: Any = client
        self._names = f"{project}:workers"
        self._prefix = f"{project}:worker:"
        self._pause = f"{project}:pause"

    def beat(self, status: WorkerStatus) -> bool:
        """Say how this worker is; False where a newer one that lives has the name, which is then left alone."""
        key = self._prefix + status.worker
        other = self.of(status.worker)
        if other is not None and other.membership.member != status.membership.member:
            is_newer = (other.started_us, other.membership.member) > (status.started_us, status.membership.member)
            # By Redis' clock: workers may be on several machines.
            if is_newer and self._client.pttl(key) > (_LIVES_S - _LATE_S) * 1000:
                return False
        self._client.sadd(self._names, status.worker)
        self._client.set(key, msgspec.json.encode(status), ex=_LIVES_S)
        return True

    def stop(self, worker: str) -> None:
        """This worker is gone."""
        self._client.delete(self._prefix + worker)
        self._client.srem(self._names, worker)

    def ask_pause(self, token: str) -> bool:
        """Ask all workers to stand still; False where somebody else does already. The request fades in a while."""
        return bool(self._client.set(self._pause, token, nx=True, ex=_LIVES_S))

    def keep_pause(self) -> None:
        """The request is meant still."""
        self._client.expire(self._pause, _LIVES_S)

    def end_pause(self) -> None:
        """Workers go on."""
        self._client.delete(self._pause)

    def asked_pause(self) -> str:
        """The request that workers stand still; empty where there is none."""
        token = self._client.get(self._pause)
        return token.decode() if token else ""

    def of(self, worker: str) -> WorkerStatus | None:
        """The account of one worker; None where it has been silent for too long."""
        found = self._client.get(self._prefix + worker)
        return msgspec.json.decode(found, type=WorkerStatus) if found else None

    def all(self) -> list[WorkerStatus]:
        """The workers that live, by name."""
        lives = []
        for name in sorted(self._client.smembers(self._names)):
            status = self.of(name.decode())
            if status is None:
                self._client.srem(self._names, name)
            else:
                lives.append(status)
        return lives
