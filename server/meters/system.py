"""Metrics of the system that the monitor collects: event log, disk, Redis memory, rollouts, drift."""

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
"""The shortest interval of collections, s, since each lists every file of the log; in between, results are reused."""


class _Drift(msgspec.Struct, frozen=True):
    """The fields of a `DriftReport` that are needed here; importing its module would take 160 MB of memory."""

    target: str
    psi: dict[str, float]
    drifted: list[str]


class SystemMeters:
    """Metrics of no single part. Those of a service that does not answer are absent."""

    def __init__(
        self, settings: Settings, clock: Clock = wall_clock, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._monotonic = monotonic
        self._metrics: list[Metric] = []
        self._collected_s = float("-inf")

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the latest collection."""
        if self._monotonic() - self._collected_s >= _EVERY_S:
            self._metrics = [metric for source in (self._log, self._redis, self._drift) for metric in _of(source)]
            self._collected_s = self._monotonic()
        yield from self._metrics

    def _log(self) -> Iterator[Metric]:
        log = open_log(self._settings)
        holes = sum(len(hole.offsets) for hole in log.holes())
        yield measured("encore_log_hole_offsets", "Offsets that the event log lacks.", holes)
        yield measured("encore_log_files", "Files of the event log.", len(log.listing()))
        sizes = growth(samples(self._settings))
        bytes_of = {growing.what: float(growing.bytes) for growing in sizes}
        yield measured("encore_kept_bytes", "How large things were at the last look of retention.", bytes_of, "what")
        grows = {growing.what: growing.a_day for growing in sizes if growing.a_day is not None}
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
        drifted = {report.target: float(len(report.drifted)) for report in reports}
        yield measured("encore_drifted_features", "Features that have moved much since training.", drifted, "target")
        psi = {report.target: max(report.psi.values()) for report in reports if report.psi}
        yield measured("encore_feature_psi", "PSI of the feature that has moved most.", psi, "target")


def _of(source: Callable[[], Iterator[Metric]]) -> list[Metric]:
    """Return the metrics of one function; those before the failure if its service is unavailable."""
    metrics: list[Metric] = []
    try:
        metrics.extend(source())
    except (EncoreError, OSError) as error:
        logger.warning("not all is measured: %s", error)
    return metrics
