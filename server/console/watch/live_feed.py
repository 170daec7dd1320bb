"""Recent status of the system, shared by all visitors, and rates between two observations."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from data.errors import UnavailableError
from data.units import MICROS
from events.stream.heartbeat import WorkerStatus
from server.console.deadline import Deadline
from server.jobs.status import Status

__all__ = ["LiveFeed", "Rates", "freshness_ms", "lag_by_partition", "rates"]

_KEPT_US = 180 * MICROS

_OLD_US = 10 * MICROS
"""Age from which an observation no longer describes the present, µs."""


class Rates(NamedTuple):
    """Folded events per second by type between two observations, at the time of the second (UTC µs)."""

    at_us: int
    by_type: dict[str, float]

    @property
    def total(self) -> float:
        """Sum over all types."""
        return sum(self.by_type.values())


class LiveFeed:
    """Observes the system when asked, at most every `every_s` seconds however many visitors ask.

    An observation may take `patience_s`; after that the previous one is returned, if it is recent.
    """

    def __init__(self, look: Callable[[], Status], *, every_s: float = 1.0, patience_s: float = 1.5) -> None:
        self._look = look
        self._in_time = Deadline(
            f"The system was not seen within {patience_s:g} s: Kafka, Redis, the API or a disk hangs; `encore doctor` "
            "says which",
            patience_s,
        )
        self._every_us = every_s * MICROS
        self._looks = deque[Status]()
        self._lock = threading.Lock()

    def looks(self, now_us: int) -> list[Status]:
        """Return the observations of the last minutes, oldest first; the last is new.

        Raises UnavailableError if none is made in time.
        """
        with self._lock:
            if not self._looks or not 0 <= now_us - self._looks[-1].at_us < self._every_us:
                try:
                    self._in_time(self._note)
                except UnavailableError:
                    if not self._looks or now_us - self._looks[-1].at_us > _OLD_US:
                        raise
                while len(self._looks) > 1 and now_us - self._looks[0].at_us > _KEPT_US:
                    self._looks.popleft()
            return list(self._looks)

    def _note(self) -> None:
        self._looks.append(self._look())


def rates(looks: Sequence[Status], types: Sequence[str]) -> list[Rates]:
    """Return the rates, by event type, between each observation and the next that has newer heartbeats."""
    results = []
    for before, after in pairwise(looks):
        earlier_workers = {worker.worker: worker for worker in before.workers}
        by_type: dict[str, float] = dict.fromkeys(types, 0.0)
        news = False
        for worker in after.workers:
            earlier = earlier_workers.get(worker.worker)
            if earlier is None or not _follows(earlier, worker):
                continue
            news = True
            seconds = (worker.at_us - earlier.at_us) / MICROS
            for event_type, count in worker.types.items():
                by_type[event_type] = (
                    by_type.get(event_type, 0.0) + (count - earlier.types.get(event_type, 0)) / seconds
                )
        if news:
            results.append(Rates(after.at_us, by_type))
    return results


def _follows(earlier: WorkerStatus, later: WorkerStatus) -> bool:
    """Return whether both are of one run of the worker, and the second is newer."""
    return earlier.started_us == later.started_us and later.at_us > earlier.at_us


def lag_by_partition(status: Status) -> dict[int, int]:
    """Return the lag, in messages, of each partition that a worker reads."""
    lag: dict[int, int] = {}
    for worker in status.workers:
        lag |= worker.lag
    return dict(sorted(lag.items()))


def freshness_ms(status: Status) -> tuple[float, float] | None:
    """Return median and 99th percentile of freshness, in ms, of the slowest worker."""
    return max(
        (worker.freshness_ms for worker in status.workers if worker.freshness_ms), key=lambda f: f[1], default=None
    )
