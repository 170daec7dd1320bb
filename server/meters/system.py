"""The system as the monitor sees it beside its own work: event log, disk, Redis' memory, rollouts, drift."""

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import msgspec
from prometheus_client.core import Metric

from data.clock import Clock, wall_clock
from data.errors import EncoreError
from data.units import MICROS
from server.event_log import open_log
from server.jobs.retention.sizes import growth, samples
from server.jobs.rollout.rollout import rollout_status
from server.meters.part import measured
from server.redis.capacity import capacity_of
from server.redis.connections import connect_redis
from server.settings import Settings

__all__ = ["SystemMeters"]

logger = logging.getLogger(__name__)

_EVERY_S = 10.0
"""Whoever asks more often is told the same again: it is a look at every name of the log."""


class _Drift(msgspec.Struct, frozen=True):
    """What is told of a `DriftReport`, whose module would take 160 MB of a process that draws nothing."""

    target: str
    psi: dict[str, float]
    drifted: list[str]


class SystemMeters:
    """What concerns no single part. Where something does not answer its metrics are absent."""

    def __init__(
        self, settings: Settings, clock: Clock = wall_clock, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._monotonic = monotonic
        self._found: list[Metric] = []
        self._looked_s = float("-inf")

    def collect(self) -> Iterator[Metric]:
        """Yield what was seen at the last look."""
        if self._monotonic() - self._looked_s >= _EVERY_S:
            self._found = [metric for look in (self._log, self._redis, self._drift) for metric in _of(look)]
            self._looked_s = self._monotonic()
        yield from self._found

    def _log(self) -> Iterator[Metric]:
        log = open_log(self._settings)
        holes = sum(len(hole.offsets) for hole in log.holes())
        yield measured("encore_log_hole_offsets", "Offsets that the event log lacks.", holes)
        yield measured("encore_log_files", "Files of the event log.", len(log.listing()))
        kept = growth(samples(self._settings))
        bytes_of = {one.what: float(one.bytes) for one in kept}
        yield measured("encore_kept_bytes", "How large things were at the last look of retention.", bytes_of, "what")
        grows = {one.what: one.a_day for one in kept if one.a_day is not None}
        yield measured("encore_kept_growth_bytes", "By how much they grow in a day.", grows, "what")
        disk = shutil.disk_usage(self._settings.home)
        yield measured("encore_home_free_bytes", "Free on the disk of the home.", disk.free)
        yield measured("encore_home_size_bytes", "Size of the disk of the home.", disk.total)

    def _redis(self) -> Iterator[Metric]:
        with closing(connect_redis(self._settings)) as client:
            capacity = capacity_of(client)
        if capacity is not None:
            yield measured("encore_redis_memory_bytes", "Memory that Redis uses.", capacity.used)
            yield measured("encore_redis_memory_bound_bytes", "Memory that it may use, 0: unknown.", capacity.bound)
        status = rollout_status(self._settings)
        stage = status.standing.stage if status.standing else "settled"
        yield measured("encore_rollout", "The stage of a rollout; settled: there is none.", {stage: 1.0}, "stage")
        interrupted = float(status.interrupted)
        yield measured("encore_rollout_interrupted", "Whether one was begun, and nobody is at it.", interrupted)
        step_s = (self._clock() - status.step.began_us) / MICROS if status.step else 0.0
        yield measured("encore_rollout_step_seconds", "How long its present step lasts.", step_s)

    def _drift(self) -> Iterator[Metric]:
        path = self._settings.quality / "drift.json"
        reports: list[_Drift] = []
        with suppress(FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError):
            reports = msgspec.json.decode(path.read_bytes(), type=list[_Drift])
        drifted = {one.target: float(len(one.drifted)) for one in reports}
        yield measured("encore_drifted_features", "Features that have moved much since training.", drifted, "target")
        psi = {one.target: max(one.psi.values()) for one in reports if one.psi}
        yield measured("encore_feature_psi", "PSI of the feature that has moved most.", psi, "target")


def _of(look: Callable[[], Iterator[Metric]]) -> list[Metric]:
    """Return what a look finds; nothing where what it looks at is away."""
    found: list[Metric] = []
    try:
        found.extend(look())
    except (EncoreError, OSError) as error:
        logger.warning("not all is measured: %s", error)
    return found
